// SPDX-License-Identifier: Apache-2.0
//! One run: a cluster from a seed, what goes wrong in it, how it comes to rest, and the last look at everything.

mod audit;
mod rot;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use store::disk::sim::Loss;
use store::env::Rng as _;
use wire::api::topic::UpdateAndCreateTopic;

use self::audit::audit;
pub(crate) use self::audit::bounds;
use crate::client::{Client, Phase, Place, Shared, TIMEOUT};
use crate::consumer::consumer;
use crate::history::{Commit, Found, History, Progress};
use crate::network::Way;
use crate::operator::{self, Job, Whom};
use crate::popper::popper;
use crate::producer::producer;
use crate::server::{self, BROKER_PORT, NAMES_PORT, Stop};
use crate::world::{Begin, End, Log, World, now_ms};

/// Delay levels of the brokers.
pub(crate) const LEVELS_MS: [u64; 3] = [1000, 2000, 4000];
/// For so long things go wrong.
const BUSY_MS: u64 = 12_000;
/// The longest that it may take until everything has come to rest.
const REST_MS: u64 = 120_000;
/// What the broker promises of offsets when it is killed.
const OFFSETS_WITHIN_MS: u64 = 1000;

/// The longest that a send takes when nothing is wrong.
pub(crate) const CALM_MS: u64 = 250;

const GROUP: &str = "readers";
/// Reads by lease, of one topic.
pub(crate) const POPPERS: &str = "poppers";
/// Reads by lease and in order.
const LINED: &str = "lined";
/// Is set to other offsets all the time, in one topic.
pub(crate) const REWOUND: &str = "rewound";
const POPPED_AGAIN: &str = "%RETRY%poppers_plain";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    Plain,
    Ordered,
    Delayed,
    Timed,
    Half,
}

impl Topic {
    const ALL: [Topic; 5] = [
        Topic::Plain,
        Topic::Ordered,
        Topic::Delayed,
        Topic::Timed,
        Topic::Half,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Topic::Plain => "plain",
            Topic::Ordered => "ordered",
            Topic::Delayed => "delayed",
            Topic::Timed => "timed",
            Topic::Half => "half",
        }
    }
}

/// The body of a message: its number, and bytes that follow from it.
pub(crate) fn body_of(attempt: u64) -> Vec<u8> {
    let mut body = format!("{attempt}:").into_bytes();
    let many = 1 + attempt.wrapping_mul(0x9E37_79B9) % 300;
    body.extend((0..many).map(|index| (attempt.wrapping_mul(31).wrapping_add(index * 7) % 251) as u8));
    body
}

/// Which message it is, if it is whole.
pub(crate) fn attempt_of(body: &[u8]) -> Option<u64> {
    let end = body.iter().position(|byte| *byte == b':')?;
    let attempt = std::str::from_utf8(&body[..end]).ok()?.parse().ok()?;
    (body_of(attempt) == body).then_some(attempt)
}

pub(crate) fn try_commit(shared: &Shared, key: Progress, offset: i64) {
    let mut history = shared.history.lock();
    history.commits.entry(key).or_default().push(Commit {
        offset,
        tried_ms: now_ms(),
        acked_ms: None,
        is_reset: false,
    });
}

pub(crate) fn committed(shared: &Shared, key: Progress, offset: i64) {
    let mut history = shared.history.lock();
    let commits = history.commits.entry(key).or_default();
    let is_it = |commit: &&mut Commit| commit.offset == offset && !commit.is_reset;
    if let Some(commit) = commits.iter_mut().rev().find(is_it) {
        commit.acked_ms = Some(now_ms());
    }
}

/// It never left, or the broker said that it does not count.
pub(crate) fn not_committed(shared: &Shared, key: Progress, offset: i64) {
    let mut history = shared.history.lock();
    let commits = history.commits.entry(key).or_default();
    let is_it = |commit: &Commit| commit.offset == offset && commit.acked_ms.is_none() && !commit.is_reset;
    if let Some(index) = commits.iter().rposition(is_it) {
        commits.remove(index);
    }
}

pub(crate) fn check_commit(shared: &Shared, key: &Progress, found: i64, asked_ms: u64) {
    let mut history = shared.history.lock();
    history.check_commit(key, found, asked_ms, OFFSETS_WITHIN_MS);
}

/// How a run is made.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) is_sync: bool,
    /// Records have a CRC over all of their fields.
    pub(crate) is_sealed: bool,
    /// Consume queues lie together in runs.
    pub(crate) is_compact: bool,
    pub(crate) names: usize,
    pub(crate) brokers: usize,
    pub(crate) producers: usize,
    pub(crate) consumers: usize,
    pub(crate) poppers: usize,
}

struct Play {
    world: World,
    plan: Plan,
    shared: Shared,
    names: Vec<usize>,
    brokers: Vec<(usize, Stop)>,
    clients: Vec<usize>,
    rewound: usize,
    operator: usize,
    job: Job,
}

/// What a run found.
pub(crate) struct Outcome {
    pub(crate) faults: Vec<String>,
    pub(crate) summary: String,
}

pub(crate) fn play(seed: u64, log: &Log) -> Outcome {
    let world = World::seeded(seed);
    let plan = Plan {
        is_sync: world.rng.below(2) == 0,
        // No number of its own: what else follows from a seed stays.
        is_sealed: seed.is_multiple_of(2),
        is_compact: seed.is_multiple_of(3),
        names: 1 + world.rng.below(2) as usize,
        brokers: 1 + world.rng.below(2) as usize,
        producers: 1 + world.rng.below(3) as usize,
        consumers: 1 + world.rng.below(3) as usize,
        poppers: 1 + world.rng.below(2) as usize,
    };
    log.line("plan", format!("{plan:?}"));
    let history = Arc::new(Mutex::new(History::new(plan.is_sync)));
    let shared = Shared {
        names: Vec::new(),
        history: Arc::clone(&history),
        log: log.clone(),
        phase: Arc::new(Mutex::new(Phase::Busy)),
    };
    let mut play = Play {
        world,
        plan,
        shared,
        names: Vec::new(),
        brokers: Vec::new(),
        clients: Vec::new(),
        rewound: 0,
        operator: 0,
        job: Job::default(),
    };
    play.set_up();
    play.go_wrong();
    play.come_to_rest();
    let mut history = history.lock();
    Outcome {
        faults: std::mem::take(&mut history.faults),
        summary: history.summary(),
    }
}

impl Play {
    fn say(&self, what: impl std::fmt::Display) {
        self.shared.log.line("play", what);
    }

    fn below(&self, bound: u64) -> u64 {
        self.world.rng.below(bound)
    }

    fn set_up(&mut self) {
        let log = self.shared.log.clone();
        for index in 0..self.plan.names {
            let (begin, _) = server::names(log.clone());
            let node = self.world.add(&format!("names-{index}"), begin);
            self.names.push(node);
            self.shared
                .names
                .push(SocketAddr::new(self.world.ip(node), NAMES_PORT));
        }
        for index in 0..self.plan.brokers {
            let name = format!("broker-{index}");
            // The address is that of the node that comes next.
            let ip = format!("10.0.0.{}", self.world.nodes.len() + 1);
            let (begin, stop) = server::broker(&name, self.settings(&name, &ip), self.shared.clone());
            let node = self.world.add(&name, begin);
            self.brokers.push((node, stop));
        }
        for node in self.names.clone() {
            self.world.start(node);
        }
        for (node, _) in self.brokers.clone() {
            self.world.start(node);
        }
        self.run_apart("topics", Play::make_topics);
        for index in 0..self.plan.producers {
            let name = format!("producer-{index}");
            let begin = producer(&name, self.shared.clone(), 20);
            let node = self.world.add(&name, begin);
            self.clients.push(node);
        }
        let topics = Topic::ALL.map(Topic::name);
        for index in 0..self.plan.consumers {
            let name = format!("consumer-{index}");
            let begin = consumer(&name, GROUP, &topics, self.shared.clone());
            let node = self.world.add(&name, begin);
            self.clients.push(node);
        }
        for index in 0..self.plan.poppers {
            let name = format!("popper-{index}");
            let begin = popper(&name, POPPERS, Topic::Plain, self.shared.clone());
            let node = self.world.add(&name, begin);
            self.clients.push(node);
            let name = format!("liner-{index}");
            let begin = popper(&name, LINED, Topic::Ordered, self.shared.clone());
            let node = self.world.add(&name, begin);
            self.clients.push(node);
        }
        let begin = consumer(REWOUND, REWOUND, &[operator::PULLED.name()], self.shared.clone());
        self.rewound = self.world.add(REWOUND, begin);
        self.clients.push(self.rewound);
        for node in self.clients.clone() {
            self.world.start(node);
        }
        let begin = operator::operator(self.shared.clone(), self.job.clone());
        self.operator = self.world.add("operator", begin);
        let brokers = self.brokers.iter().map(|(node, _)| {
            let addr = SocketAddr::new(self.world.ip(*node), BROKER_PORT);
            (self.world.nodes[*node].name.clone(), addr)
        });
        let begin = operator::onlooker(self.shared.clone(), brokers.collect());
        let onlooker = self.world.add("onlooker", begin);
        self.world.start(onlooker);
    }

    fn settings(&self, name: &str, ip: &str) -> Vec<(String, String)> {
        let names: Vec<String> = self.shared.names.iter().map(ToString::to_string).collect();
        let flush = if self.plan.is_sync {
            "SYNC_FLUSH"
        } else {
            "ASYNC_FLUSH"
        };
        let levels: Vec<String> = LEVELS_MS.iter().map(|ms| format!("{}s", ms / 1000)).collect();
        let port = BROKER_PORT.to_string();
        [
            ("brokerClusterName", "sim"),
            ("brokerName", name),
            ("brokerIP1", ip),
            ("brokerIP2", ip),
            ("listenPort", &port),
            ("namesrvAddr", &names.join(";")),
            // Clients make their topics themselves, and are on other hosts.
            ("adminAllowedFrom", "0.0.0.0/0"),
            ("storePathRootDir", "/store"),
            ("flushDiskType", flush),
            (
                "enabledAppendPropCRC",
                if self.plan.is_sealed { "true" } else { "false" },
            ),
            (
                "consumeQueueLayout",
                if self.plan.is_compact { "compact" } else { "files" },
            ),
            ("messageDelayLevel", &levels.join(" ")),
            ("mappedFileSizeCommitLog", "65536"),
            ("mappedFileSizeConsumeQueue", "4000"),
            ("mappedFileSizeTimerLog", "52000"),
            ("maxHashSlotNum", "64"),
            ("maxIndexNum", "400"),
            ("timerWheelEnable", "true"),
            ("transactionTimeOut", "1000"),
            ("transactionCheckInterval", "1000"),
            ("hotBytes", "8192"),
            ("metricsExporterType", "DISABLE"),
            ("registerNameServerPeriod", "10000"),
            ("fileReservedTime", "72"),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
    }

    /// One turn; a broker that ended by itself is started again after a while.
    fn turn(&mut self) {
        // Where nothing goes wrong on purpose it may go faster.
        let ms = match self.shared.phase() {
            Phase::Busy | Phase::Calm => 1,
            Phase::Rest | Phase::Drain => 4,
        };
        for node in self.world.turn(ms) {
            self.say(format!("{} has ended", self.world.nodes[node].name));
            let own = self.brokers.iter().find(|(broker, _)| *broker == node);
            if own.is_some_and(|(_, stop)| !stop.is_in_order()) {
                self.note_crash(node, End::Kill);
            }
            if own.is_some_and(|(_, stop)| !stop.is_in_order()) {
                self.note_gone(node);
            }
            self.world.end(node, End::Kill);
        }
    }

    fn turns(&mut self, ms: u64) {
        let until = now_ms() + ms;
        while now_ms() < until {
            self.turn();
        }
    }

    /// Runs a client to its end.
    fn run_apart(&mut self, name: &str, what: fn(Arc<Client>, Vec<SocketAddr>) -> crate::world::Main) {
        let (done, shared) = (Arc::new(Mutex::new(false)), self.shared.clone());
        let brokers: Vec<SocketAddr> = self
            .brokers
            .iter()
            .map(|(node, _)| SocketAddr::new(self.world.ip(*node), BROKER_PORT))
            .collect();
        let (finished, client_name) = (Arc::clone(&done), name.to_owned());
        let begin: Begin = Box::new(move |env| {
            let (client, _) = Client::new(&client_name, env, shared.clone());
            let (work, done) = (what(client, brokers.clone()), Arc::clone(&finished));
            Box::pin(async move {
                work.await;
                *done.lock() = true;
            })
        });
        let node = self.world.add(name, begin);
        self.world.start(node);
        let begun = now_ms();
        while !*done.lock() {
            self.turn();
            if now_ms() > begun + REST_MS {
                self.shared
                    .history
                    .lock()
                    .fault(format!("{name} did not end within {REST_MS} ms"));
                break;
            }
        }
        self.world.end(node, End::Kill);
    }

    fn make_topics(client: Arc<Client>, brokers: Vec<SocketAddr>) -> crate::world::Main {
        Box::pin(async move {
            for addr in brokers {
                for topic in Topic::ALL {
                    let ask = UpdateAndCreateTopic {
                        topic: topic.name().into(),
                        default_topic: "TBW102".into(),
                        read_queue_nums: 2,
                        write_queue_nums: 2,
                        perm: 6,
                        topic_filter_type: "SINGLE_TAG".into(),
                        ..UpdateAndCreateTopic::default()
                    };
                    while !client
                        .ask(addr, &ask, Bytes::new(), TIMEOUT)
                        .await
                        .is_ok_and(|reply| reply.code == 0)
                    {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        })
    }

    /// Things go wrong at random moments, one or two at a time.
    fn go_wrong(&mut self) {
        let until = now_ms() + BUSY_MS;
        self.turns(500);
        while now_ms() < until {
            let pause = 100 + self.below(1500);
            self.turns(pause);
            self.restart_some();
            let (broker, stop) = {
                let index = self.below(self.brokers.len() as u64) as usize;
                self.brokers[index].clone()
            };
            match self.below(17) {
                0..=2 => self.end_broker(broker, End::Kill),
                3..=4 => self.cut_power(broker),
                5 => {
                    self.say(format!("{} is stopped", self.world.nodes[broker].name));
                    stop.stop();
                }
                6 => {
                    let node = self.names[self.below(self.names.len() as u64) as usize];
                    self.say(format!("{} is killed", self.world.nodes[node].name));
                    self.world.end(node, End::Kill);
                }
                7 => {
                    let node = self.clients[self.below(self.clients.len() as u64) as usize];
                    self.say(format!("{} is killed", self.world.nodes[node].name));
                    self.world.end(node, End::Kill);
                }
                8..=9 => self.disturb(broker),
                10 => {
                    let ms = 50 + self.below(4000);
                    self.say(format!(
                        "{} stands still for {ms} ms",
                        self.world.nodes[broker].name
                    ));
                    self.world.nodes[broker].frozen_until_ms = now_ms() + ms;
                    self.note_still(broker, ms);
                }
                11 => {
                    self.say(format!("{} has a full disk", self.world.nodes[broker].name));
                    self.world.nodes[broker].disk.set_full(true);
                    let ms = 200 + self.below(1500);
                    self.note_still(broker, ms);
                    self.turns(ms);
                    self.world.nodes[broker].disk.set_full(false);
                    if !self.world.nodes[broker].is_up() {
                        // It was stopped, and could save nothing.
                        self.note_crash(broker, End::Kill);
                    }
                }
                12 => self.fail_once(broker),
                13 => self.rot(broker),
                14..=15 => self.set_group(broker),
                _ => {
                    let client = self.clients[self.below(self.clients.len() as u64) as usize];
                    let (one, other) = (self.world.ip(client), self.world.ip(broker));
                    let is_half = self.below(2) == 0;
                    let name = self.world.nodes[client].name.clone();
                    self.say(format!("connections of {name} are reset"));
                    self.world.net.reset(one, other, is_half);
                }
            }
        }
    }

    /// The power goes at any moment, or within an operation of the disk: behind a write, and in front of its sync.
    fn cut_power(&mut self, broker: usize) {
        let loss = if self.below(2) == 0 {
            Loss::Everything
        } else {
            Loss::Random
        };
        if self.below(2) == 0 {
            let disk = Arc::clone(&self.world.nodes[broker].disk);
            disk.halt_at(disk.ops() + self.below(60));
            let until = now_ms() + 200;
            while now_ms() < until && !disk.is_halted() {
                self.turn();
            }
        }
        self.end_broker(broker, End::PowerCut(loss));
    }

    /// One operation of a disk fails, or some reads of a file.
    fn fail_once(&mut self, broker: usize) {
        let disk = Arc::clone(&self.world.nodes[broker].disk);
        let name = self.world.nodes[broker].name.clone();
        if self.below(2) == 0 {
            let op = disk.ops() + 1 + self.below(40);
            self.say(format!("{name} fails at operation {op}"));
            disk.fail_at(op, store::disk::sim::Fault::Broken);
            return;
        }
        let paths = rot::files_of(
            &*disk,
            &["commitlog", "consumequeue", "barque-queues", "index", "timerlog"],
        );
        let Some(path) = paths.get(self.below(1 + paths.len() as u64) as usize) else {
            return;
        };
        let times = 1 + self.below(8) as u32;
        self.say(format!("{name}: {times} reads of {} fail", path.display()));
        disk.fail_reads(path, times);
    }

    /// A group is set to another offset, while its consumer runs or not; and the broker may end as soon as it has said yes.
    fn set_group(&mut self, broker: usize) {
        let whom = [Whom::Pulls, Whom::Pops][self.below(2) as usize];
        if whom == Whom::Pulls && self.below(2) == 0 {
            self.say(format!("{REWOUND} is killed"));
            self.world.end(self.rewound, End::Kill);
        }
        let addr = SocketAddr::new(self.world.ip(broker), BROKER_PORT);
        let place = Place {
            broker: self.world.nodes[broker].name.clone(),
            addr,
            queue: self.below(2) as i32,
        };
        self.job.give(whom, place);
        self.world.start(self.operator);
        let until = now_ms() + operator::WITHIN_MS;
        while now_ms() < until && self.job.is_open() {
            self.turn();
        }
        if self.job.is_done() {
            match self.below(4) {
                0 => self.end_broker(broker, End::Kill),
                1 if self.plan.is_sync => self.end_broker(broker, End::PowerCut(Loss::Everything)),
                _ => {}
            }
        }
        self.world.end(self.operator, End::Kill);
    }

    fn end_broker(&mut self, node: usize, end: End) {
        if !self.world.nodes[node].is_up() {
            return;
        }
        self.say(format!("{}: {end:?}", self.world.nodes[node].name));
        self.note_crash(node, end);
        self.world.end(node, end);
        self.note_gone(node);
    }

    fn note_gone(&self, broker: usize) {
        let name = &self.world.nodes[broker].name;
        let mut history = self.shared.history.lock();
        let still = history.still.entry(name.clone()).or_default();
        for (_, end_ms) in &mut *still {
            // The next one does not stand still.
            *end_ms = now_ms().min(*end_ms);
        }
        // Until it is there again nobody makes durable what it left in the memory of the system.
        still.push((now_ms(), u64::MAX));
    }

    /// For so long a broker can keep nothing for anybody.
    fn note_still(&self, node: usize, ms: u64) {
        let name = self.world.nodes[node].name.clone();
        let mut history = self.shared.history.lock();
        history
            .still
            .entry(name)
            .or_default()
            .push((now_ms(), now_ms() + ms));
    }

    fn note_crash(&self, node: usize, end: End) {
        let name = self.world.nodes[node].name.clone();
        let mut history = self.shared.history.lock();
        history.crashed.entry(name.clone()).or_default().push(now_ms());
        if matches!(end, End::PowerCut(_)) {
            // What it said last may arrive a moment later.
            history.cuts.entry(name).or_default().push(now_ms() + 1);
        }
    }

    /// Ways become late, or are cut in one direction or both.
    fn disturb(&mut self, broker: usize) {
        let others: Vec<usize> = self.names.iter().chain(&self.clients).copied().collect();
        let other = others[self.below(others.len() as u64) as usize];
        let (one, other_ip) = (self.world.ip(broker), self.world.ip(other));
        let way = if self.below(2) == 0 {
            Way {
                is_cut: true,
                ..Way::default()
            }
        } else {
            Way {
                is_cut: false,
                least_ms: 1 + self.below(20),
                most_ms: 30 + self.below(800),
            }
        };
        self.say(format!(
            "the way between {} and {} is {way:?}",
            self.world.nodes[broker].name, self.world.nodes[other].name
        ));
        if self.below(2) == 0 {
            self.world.net.set_way(one, other_ip, way);
        }
        self.world.net.set_way(other_ip, one, way);
        let ms = 100 + self.below(4000);
        self.turns(ms);
        self.world.net.mend();
    }

    fn restart_some(&mut self) {
        for node in 0..self.world.nodes.len() {
            let is_ours = self.names.contains(&node)
                || self.clients.contains(&node)
                || self.brokers.iter().any(|(broker, _)| *broker == node);
            if is_ours && !self.world.nodes[node].is_up() && self.below(2) == 0 {
                self.say(format!("{} is started", self.world.nodes[node].name));
                self.world.start(node);
            }
        }
    }

    /// Everything is whole again; consumers take what is left; then everything is looked at.
    fn come_to_rest(&mut self) {
        self.world.net.mend();
        *self.shared.phase.lock() = Phase::Rest;
        self.say("everything is mended");
        let until = now_ms() + REST_MS;
        // Until clients know their ways; a while of calm; then what is due, and transactions that are asked about.
        let calm = now_ms() + 5000;
        let (drain, settled) = (calm + 2000, calm + 12_000);
        while now_ms() < settled {
            *self.shared.phase.lock() = match now_ms() {
                now if now < calm => Phase::Rest,
                now if now < drain => Phase::Calm,
                _ => Phase::Drain,
            };
            for (node, _) in self.brokers.clone() {
                self.world.nodes[node].disk.set_full(false);
                self.world.nodes[node].disk.fail_no_more();
                self.world.nodes[node].frozen_until_ms = 0;
            }
            for node in 0..self.world.nodes.len() {
                let is_ours = self.names.contains(&node)
                    || self.clients.contains(&node)
                    || self.brokers.iter().any(|(broker, _)| *broker == node);
                if is_ours && !self.world.nodes[node].is_up() {
                    self.say(format!("{} is started", self.world.nodes[node].name));
                    self.world.start(node);
                }
            }
            self.turns(100);
        }
        let (is_done, audited) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (finished, found, shared) = (Arc::clone(&is_done), Arc::clone(&audited), self.shared.clone());
        let brokers: Vec<(String, SocketAddr)> = self
            .brokers
            .iter()
            .map(|(node, _)| {
                let addr = SocketAddr::new(self.world.ip(*node), BROKER_PORT);
                (self.world.nodes[*node].name.clone(), addr)
            })
            .collect();
        let begin: Begin = Box::new(move |env| {
            let (client, _) = Client::new("audit", env, shared.clone());
            let (done, found, brokers) = (Arc::clone(&finished), Arc::clone(&found), brokers.clone());
            Box::pin(async move {
                let all = audit(&client, &brokers).await;
                *found.lock() = all;
                *done.lock() = true;
            })
        });
        let node = self.world.add("audit", begin);
        self.world.start(node);
        while !*is_done.lock() && now_ms() < until {
            self.turn();
        }
        let mut history = self.shared.history.lock();
        if !*is_done.lock() {
            history.fault(format!("the cluster did not come to rest within {REST_MS} ms"));
            return;
        }
        let all = audited.lock();
        self.shared.log.line("audit", format!("{} messages", all.len()));
        let (dead, plain): (Vec<Found>, Vec<Found>) = all
            .iter()
            .cloned()
            .partition(|found| found.topic.starts_with('%'));
        history.check(&plain, self.plan.is_sync);
        let dead_of = |group: &str| -> BTreeSet<u64> {
            let topic = format!("%DLQ%{group}");
            let of_group = dead.iter().filter(|found| found.topic == topic);
            of_group.map(|found| found.attempt).collect()
        };
        check_consumed(&mut history, &all, &dead_of(GROUP));
        self.check_popped(&mut history, &all, &dead_of(POPPERS));
        let leases = history.leases.remove(LINED).unwrap_or_default();
        let of_topic = plain.iter().filter(|one| one.topic == Topic::Ordered.name());
        let of_topic: Vec<Found> = of_topic.cloned().collect();
        history.check_batches(&leases, &of_topic);
    }

    fn check_popped(&self, history: &mut History, all: &[Found], dead: &BTreeSet<u64>) {
        let of_topic = |topic: &str| -> Vec<Found> {
            let found = all.iter().filter(|one| one.topic == topic);
            found.cloned().collect()
        };
        let (plain, copies) = (of_topic(Topic::Plain.name()), of_topic(POPPED_AGAIN));
        history.check_leases(&plain, self.plan.is_sync);
        let leases = history.leases.remove(POPPERS).unwrap_or_default();
        history.check_resets(&leases, &plain);
        for one in &plain {
            // A copy may have taken the place of a damaged one, behind which the group was.
            let mut copies = copies.iter().filter(|copy| copy.attempt == one.attempt);
            let is_damaged = history.is_damaged(&one.broker, one.attempt)
                || history.is_at_damage(one)
                || copies.any(|copy| history.is_at_damage(copy));
            // What was handed out may have had a copy there that was lost.
            let lent_ms = leases.lent_ms(one.attempt);
            let is_copy_lost =
                lent_ms.is_some_and(|lent_ms| history.is_cut_short_since(&one.broker, lent_ms));
            let is_excused = is_damaged || is_copy_lost || history.is_passed_over(one);
            if !leases.is_let_go(one.attempt) && !is_excused {
                history.fault(format!(
                    "{POPPERS} have not settled {one:?}, and yet are behind it"
                ));
            }
        }
        for attempt in dead.iter().filter(|attempt| !leases.is_let_go(**attempt)) {
            history.fault(format!(
                "message {attempt} is a dead letter, and nobody of {POPPERS} gave it up"
            ));
        }
        for (attempt, (broker, at_ms)) in history.dead.remove(POPPERS).unwrap_or_default() {
            if !dead.contains(&attempt) && !history.may_be_lost(attempt, &broker, at_ms, self.plan.is_sync) {
                history.fault(format!(
                    "message {attempt} was given up at {broker}, and is no dead letter"
                ));
            }
        }
    }
}

fn check_consumed(history: &mut History, all: &[Found], dead: &BTreeSet<u64>) {
    let consumed = history.consumed.get(GROUP).cloned().unwrap_or_default();
    for one in all.iter().filter(|one| !one.topic.starts_with('%')) {
        let is_excused = history.may_be_missed(GROUP, one, all);
        if !consumed.contains_key(&one.attempt) && !dead.contains(&one.attempt) && !is_excused {
            history.fault(format!("{GROUP} never got {one:?}"));
        }
    }
}
