// SPDX-License-Identifier: Apache-2.0
//! Whatever goes wrong in whatever order, by a seed: what a sender was promised is on whoever survives.
//!
//! `PROPTEST_CASES` says how many seeds are tried, `REPLICATION_SEED` names one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use net::Copies;
use store::disk::sim::Loss;
use store::env::Rng as _;
use store::env::sim::SimRng;
use store::{All, FlushMode, Gate, GateState, Level, ReadError, ReadLimit, Store};
use tokio::time::{Instant, sleep};
use wire::record::Record;

use super::cable::{Cable, Port};
use super::node::{Node, Virtual, append, config, difference, walk};
use crate::config::Config;

const TOPICS: [&str; 3] = ["A", "B", "%RETRY%C"];
const STEPS: usize = 60;
/// Of a normal run.
const SEEDS: u64 = 8;
const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Nothing yet.
    Waiting,
    /// SEND_OK.
    Kept,
    /// That it is stored, and no more.
    Stored,
    /// Nothing, ever: the master is gone, or refused it.
    Nothing,
}

#[derive(Debug, Clone)]
struct Sent {
    topic: &'static str,
    id: u32,
    body: String,
    pos: i64,
    queue_offset: i64,
    gate: Gate,
    copies: Copies,
    told: Told,
    /// How many of those that had it have lost it since everybody did.
    losses: usize,
    number: u32,
}

impl Sent {
    fn end(&self) -> i64 {
        self.gate.end.0
    }

    /// With so many slaves that have it, as many may lose it, the master among them.
    fn has_to_be_there(&self) -> bool {
        let spare = match self.copies {
            Copies::Until(slaves, _) => slaves,
            Copies::None | Copies::Missing => 0,
        };
        self.told == Told::Kept && self.losses <= spare
    }
}

struct World {
    why: String,
    rng: SimRng,
    port: Port,
    cables: Vec<Arc<Cable>>,
    nodes: Vec<Node>,
    config: Config,
    master: usize,
    sent: Vec<Sent>,
    names: u32,
    /// Nodes that have what their master has not: they are refused until they are emptied.
    apart: BTreeSet<usize>,
    /// The newest message there was when a node lost something that it had reported.
    lost_at: Vec<u32>,
    /// Up to where the log was when a topic was deleted, by node and topic.
    deleted: BTreeMap<(usize, &'static str), i64>,
    counts: Counts,
}

/// What happened, so that a schedule in which nothing does is noticed.
#[derive(Debug, Default)]
struct Counts {
    kept: usize,
    promoted: usize,
    /// Slaves that their master turned away for good.
    refused: usize,
    crashes: usize,
}

fn modes(rng: &SimRng) -> FlushMode {
    if rng.below(2) == 0 {
        FlushMode::Sync
    } else {
        FlushMode::Async
    }
}

impl World {
    fn new(seed: u64) -> World {
        let rng = SimRng::seeded(seed);
        let clock = Virtual::begin();
        let port = Port::default();
        let count = 2 + rng.below(2) as usize;
        let flush = modes(&rng);
        let nodes: Vec<Node> = (0..count)
            .map(|n| Node::new(seed * 10 + n as u64, flush, &clock))
            .collect();
        let cables = (0..count)
            .map(|n| Cable::to(&port, seed * 10 + n as u64))
            .collect();
        let mut settings = vec![("brokerRole", "SYNC_MASTER"), ("slaveTimeout", "3000")];
        if count == 3 && rng.below(2) == 0 {
            settings.push(("inSyncReplicas", "3"));
        }
        let mut world = World {
            why: format!("seed {seed}, {count} nodes, {flush:?}, {settings:?}"),
            rng,
            port,
            cables,
            nodes,
            config: config(&settings),
            master: 0,
            sent: Vec::new(),
            names: 0,
            apart: BTreeSet::new(),
            lost_at: vec![0; count],
            deleted: BTreeMap::new(),
            counts: Counts::default(),
        };
        world.lead(0);
        for slave in 1..count {
            world.follow(slave);
        }
        world
    }

    fn below(&self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    fn lead(&mut self, node: usize) {
        self.master = node;
        self.nodes[node].lead(&self.port, &self.config);
    }

    fn follow(&mut self, node: usize) {
        let cable = Arc::clone(&self.cables[node]);
        self.nodes[node].follow(&cable);
    }

    fn a_slave(&self) -> usize {
        let others = self.nodes.len() as u64 - 1;
        (self.master + 1 + self.below(others) as usize) % self.nodes.len()
    }

    fn store_of(&self, node: usize) -> Option<Arc<Store>> {
        self.nodes[node].life.as_ref().map(|life| Arc::clone(&life.store))
    }

    fn send(&mut self) {
        let Some(life) = &self.nodes[self.master].life else {
            return;
        };
        for _ in 0..=self.below(4) {
            let topic = TOPICS[self.below(3) as usize];
            let id = self.below(2) as u32;
            let len = match self.below(12) {
                0 => 3_000 + self.below(900),
                _ => self.below(400),
            };
            self.names += 1;
            let body = format!("m{} {}", self.names, "x".repeat(len as usize));
            let Ok(receipt) = append(&life.store, topic, id, body.as_bytes()) else {
                continue;
            };
            self.sent.push(Sent {
                topic,
                id,
                body,
                pos: receipt.pos.0,
                queue_offset: receipt.queue_offset,
                gate: receipt.gate,
                copies: life.replication.copies(&life.store, Instant::now()),
                told: Told::Waiting,
                losses: 0,
                number: self.names,
            });
        }
    }

    /// Lets time pass, and senders be answered meanwhile.
    async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            sleep(LOOK).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let Some(life) = &self.nodes[self.master].life else {
            return;
        };
        let (store, replication) = (Arc::clone(&life.store), Arc::clone(&life.replication));
        let level = match store.config().flush {
            FlushMode::Sync => Level::Durable,
            FlushMode::Async => Level::Written,
        };
        let (now, written) = (Instant::now(), store.written().0);
        for slave in replication.quorum.lock().slaves() {
            assert!(
                slave.acked <= slave.sent && slave.sent <= written,
                "{}: {slave:?} counts for what was not sent, of {written}",
                self.why
            );
        }
        let mut kept = Vec::new();
        let mut seen = Vec::new();
        for sent in self.sent.iter_mut().filter(|sent| sent.told == Told::Waiting) {
            let end = sent.end();
            sent.told = match (store.state(&sent.gate, level), sent.copies) {
                (GateState::Waiting, _) => Told::Waiting,
                (GateState::Failed, _) => Told::Nothing,
                (GateState::Passed, Copies::Until(slaves, _)) if replication.has_copies(slaves, end) => {
                    kept.push((sent.number, slaves));
                    Told::Kept
                }
                (GateState::Passed, Copies::Until(slaves, deadline)) if now < deadline => {
                    let queue = store.find_queue(sent.topic, sent.id);
                    if queue.is_some_and(|queue| queue.max() > sent.queue_offset) {
                        // The link that said so may have ended since anybody looked.
                        seen.push((sent.number, slaves));
                    }
                    Told::Waiting
                }
                (GateState::Passed, _) => Told::Stored,
            };
        }
        self.counts.kept += kept.len();
        for (number, slaves) in kept.into_iter().chain(seen) {
            self.check_copies(number, slaves);
        }
    }

    /// So many slaves have a message, or had it when they said so.
    fn check_copies(&mut self, number: u32, slaves: usize) {
        let at = self.sent.iter().position(|sent| sent.number == number).unwrap();
        let sent = &self.sent[at];
        let slave_nodes = || (0..self.nodes.len()).filter(|node| *node != self.master);
        let has = slave_nodes()
            .filter(|node| self.has(*node, sent.pos, sent.end()))
            .count();
        let had =
            slave_nodes().filter(|node| self.nodes[*node].life.is_none() || self.lost_at[*node] >= number);
        assert!(
            has + had.count() >= slaves,
            "{}: {has} of {slaves} slaves have {sent:?}",
            self.why
        );
        self.sent[at].losses = slaves.saturating_sub(has);
    }

    /// Whether a node has a part of its master's log, as safely as it is to be.
    fn has(&self, node: usize, pos: i64, end: i64) -> bool {
        !self.apart.contains(&node) && self.holds(node, pos, end)
    }

    fn holds(&self, node: usize, pos: i64, end: i64) -> bool {
        self.store_of(node).is_some_and(|store| {
            let upto = match store.config().flush {
                FlushMode::Sync => store.durable().0,
                FlushMode::Async => store.written().0,
            };
            upto >= end && store.min_pos().0 <= pos
        })
    }

    async fn step(&mut self) {
        match self.below(40) {
            0..=19 => self.send(),
            20 => self.delete_topic(),
            21..=23 => {
                let (up, down) = [(true, true), (true, false), (false, true)][self.below(3) as usize];
                let cable = &self.cables[self.a_slave()];
                cable.change(|state| (state.is_cut_up, state.is_cut_down) = (up, down));
            }
            24 | 25 => self.heal(),
            26 => {
                let delay = Duration::from_millis(self.below(300));
                self.cables[self.a_slave()].change(|state| state.delay = delay);
            }
            27 => self.cables[self.a_slave()].change(|state| state.drops += 1),
            28 => self.nodes[self.below(self.nodes.len() as u64) as usize].freeze(),
            29 | 30 => self.nodes.iter().for_each(Node::thaw),
            31 => self.nodes[self.a_slave()].disk.set_full(true),
            32 => self.nodes.iter().for_each(|node| node.disk.set_full(false)),
            33 => {
                let node = &self.nodes[self.below(self.nodes.len() as u64) as usize];
                node.disk.set_cold(self.below(2) == 0);
            }
            34 | 35 => self.crash_slave().await,
            36 => self.crash_master().await,
            37 => self.lose_master().await,
            38 => self.age().await,
            _ => self.empty_slave().await,
        }
        let time = [0, 5, 50, 300, 2_000][self.below(5) as usize];
        self.pass(Duration::from_millis(time)).await;
    }

    fn heal(&self) {
        for cable in &self.cables {
            cable.change(|state| {
                (state.is_cut_up, state.is_cut_down, state.delay) = (false, false, Duration::ZERO);
            });
        }
    }

    fn delete_topic(&mut self) {
        let topic = TOPICS[self.below(3) as usize];
        if let Some(store) = self.store_of(self.master) {
            let end = store.max_pos().0;
            if store.delete_topic(topic).is_ok() {
                self.deleted.insert((self.master, topic), end);
            }
        }
    }

    fn a_loss(&self) -> Loss {
        [Loss::Nothing, Loss::Everything, Loss::Random][self.below(3) as usize]
    }

    async fn crash_slave(&mut self) {
        let slave = self.a_slave();
        if self.below(2) == 0 {
            // In the middle of something.
            let disk = &self.nodes[slave].disk;
            disk.halt_at(disk.ops() + self.below(40));
            self.send();
            self.pass(Duration::from_millis(200)).await;
        }
        self.crash(slave).await;
        let away = [0, 100, 6_000][self.below(3) as usize];
        self.pass(Duration::from_millis(away)).await;
        self.follow(slave);
    }

    /// Ends a node, and says up to where it has what it had.
    async fn crash(&mut self, node: usize) -> i64 {
        self.counts.crashes += 1;
        let loss = self.a_loss();
        let mut safe = i64::MAX;
        if self.nodes[node].flush == FlushMode::Async && loss != Loss::Nothing {
            safe = self.store_of(node).map_or(0, |store| store.durable().0);
        }
        self.note_loss(node, safe);
        self.nodes[node].crash(loss).await;
        safe
    }

    /// A node loses what lies behind a position.
    fn note_loss(&mut self, node: usize, from: i64) {
        if from < i64::MAX {
            self.lost_at[node] = self.names;
        }
        let everywhere = |world: &World, sent: &Sent| {
            (0..world.nodes.len()).all(|node| world.has(node, sent.pos, sent.end()))
        };
        let mut sent = std::mem::take(&mut self.sent);
        for sent in &mut sent {
            if everywhere(self, sent) {
                sent.losses = 0;
            }
            // What has expired nobody has to have.
            let min = self.store_of(node).map_or(0, |store| store.min_pos().0);
            if sent.pos < min || sent.end() > from && self.holds(node, sent.pos, sent.end()) {
                sent.losses += 1;
            }
        }
        self.sent = sent;
    }

    /// Gives a node a new disk.
    fn renew(&mut self, node: usize) {
        self.nodes[node].disk = Arc::new(store::disk::sim::SimDisk::seeded(self.below(1 << 40)));
        self.deleted.retain(|(of, _), _| *of != node);
        self.apart.remove(&node);
    }

    /// Who has something that the master has not?
    fn note_apart(&mut self) {
        let master = self.store_of(self.master).unwrap();
        let mut turned_away = Vec::new();
        for node in 0..self.nodes.len() {
            if let Some(store) = self.store_of(node)
                && (store.written() > master.written() || difference(&store, &master).is_some())
                && self.apart.insert(node)
            {
                turned_away.push(node);
            }
        }
        // Nobody takes over with such a log: its copies are as good as lost.
        for node in turned_away {
            self.note_loss(node, 0);
        }
    }

    /// Nobody hears any more what became of messages.
    fn forget_waiting(&mut self) {
        for sent in self.sent.iter_mut().filter(|sent| sent.told == Told::Waiting) {
            sent.told = Told::Nothing;
        }
    }

    async fn crash_master(&mut self) {
        let master = self.master;
        *self.port.lock() = None;
        if self.below(2) == 0 {
            let disk = &self.nodes[master].disk;
            disk.halt_at(disk.ops() + self.below(40));
            self.send();
            self.pass(Duration::from_millis(50)).await;
        }
        self.forget_waiting();
        let safe = self.crash(master).await;
        let away = [0, 100, 6_000][self.below(3) as usize];
        self.pass(Duration::from_millis(away)).await;
        self.lead(master);
        let store = self.store_of(master).unwrap();
        self.check_kept(&store, "a master after a crash", safe);
        if self.below(2) == 0 && self.is_anyone_ahead() {
            // What an operator does who finds a slave that has more than the master that came back.
            *self.port.lock() = None;
            self.nodes[master].stop().await;
            self.promote().await;
            self.follow(master);
        } else {
            self.settle(&store);
        }
        self.note_apart();
    }

    fn is_anyone_ahead(&self) -> bool {
        let end = self.store_of(self.master).unwrap().written();
        let ahead = |node| self.store_of(node).is_some_and(|store| store.written() > end);
        (0..self.nodes.len()).any(|node| ahead(node) && !self.apart.contains(&node))
    }

    /// The master is lost, and the slave that has most takes over.
    async fn lose_master(&mut self) {
        let old = self.master;
        if self.apart.len() + 1 == self.nodes.len() {
            return;
        }
        *self.port.lock() = None;
        self.forget_waiting();
        // Whatever is left of it: its log does not count any more.
        self.note_loss(old, 0);
        let loss = self.a_loss();
        self.nodes[old].crash(loss).await;
        if self.below(2) == 0 {
            self.renew(old);
        }
        self.promote().await;
        self.follow(old);
        self.note_apart();
    }

    async fn promote(&mut self) {
        let old = self.master;
        let end_of = |node: &usize| self.store_of(*node).map_or(-1, |store| store.written().0);
        let others = (0..self.nodes.len()).filter(|node| *node != old && !self.apart.contains(node));
        let best = others.max_by_key(end_of).unwrap();
        self.nodes[best].stop().await;
        self.lead(best);
        self.counts.promoted += 1;
        let store = self.store_of(best).unwrap();
        self.check_kept(&store, "a slave that takes over", i64::MAX);
        self.settle(&store);
        self.check_queues(best, &store);
    }

    /// What the senders were promised is there.
    fn check_kept(&self, store: &Store, what: &str, upto: i64) {
        let log: BTreeMap<i64, Record> = walk(store)
            .into_iter()
            .map(|record| (record.physical_offset, record))
            .collect();
        let kept = self.sent.iter();
        let kept = kept.filter(|sent| sent.has_to_be_there() && sent.end() <= upto);
        for sent in kept.filter(|sent| sent.pos >= store.min_pos().0) {
            let found = log.get(&sent.pos);
            let is_it = found.is_some_and(|record| {
                record.body == sent.body.as_bytes() && record.queue_offset == sent.queue_offset
            });
            assert!(
                is_it,
                "{}: {what}, from {} to {}, lacks {sent:?}",
                self.why,
                store.min_pos(),
                store.written()
            );
        }
    }

    /// From here on the log is what this store has.
    fn settle(&mut self, store: &Store) {
        let log: BTreeMap<i64, Record> = walk(store)
            .into_iter()
            .map(|record| (record.physical_offset, record))
            .collect();
        let min = store.min_pos().0;
        self.sent.retain(|sent| {
            sent.pos < min
                || log
                    .get(&sent.pos)
                    .is_some_and(|found| found.body == sent.body.as_bytes())
        });
    }

    /// Much later old files are removed.
    async fn age(&mut self) {
        self.pass(Duration::from_secs(61)).await;
        for node in 0..self.nodes.len() {
            if let Some(store) = self.store_of(node) {
                store.clean_soon();
            }
        }
        self.pass(Duration::from_secs(15)).await;
    }

    async fn empty_slave(&mut self) {
        let slave = self.a_slave();
        self.empty(slave).await;
    }

    /// A slave with a new disk begins in the middle.
    async fn empty(&mut self, slave: usize) {
        self.note_loss(slave, 0);
        self.nodes[slave].crash(Loss::Everything).await;
        self.renew(slave);
        self.follow(slave);
    }

    /// Every queue says what the log says. Where a topic was deleted and its queue goes on nevertheless, because a slave took over
    /// that had it still, a recovery may have found in the log what is in front: it looks for what a queue lacks.
    fn check_queues(&self, node: usize, store: &Store) {
        let mut expected: BTreeMap<(String, u32), Vec<(i64, i64)>> = BTreeMap::new();
        let mut deleted: BTreeMap<(String, u32), Vec<(i64, i64)>> = BTreeMap::new();
        for record in walk(store) {
            let key = (record.topic.to_string(), record.queue_id);
            let entry = (record.queue_offset, record.physical_offset);
            let gone = self
                .deleted
                .iter()
                .find(|((of, topic), _)| *of == node && *topic == record.topic);
            let is_gone = gone.is_some_and(|(_, end)| record.physical_offset < *end);
            let queue = if is_gone { &mut deleted } else { &mut expected };
            let queue = queue.entry(key).or_default();
            if record.queue_offset == 0 {
                // The topic was deleted and made again.
                queue.clear();
            }
            queue.push(entry);
        }
        for topic in TOPICS {
            for id in 0..2 {
                let found = read_all(store, topic, id);
                let key = (topic.to_owned(), id);
                let expected = expected.remove(&key).unwrap_or_default();
                let mut with_deleted = deleted.remove(&key).unwrap_or_default();
                with_deleted.extend(&expected);
                let goes_on = expected.first().is_some_and(|(offset, _)| *offset > 0);
                if goes_on && found == with_deleted {
                    continue;
                }
                assert_eq!(found, expected, "{}: {topic}/{id} of node {node}", self.why);
            }
        }
    }

    /// Everything works again, and the slaves catch up; those that cannot begin anew.
    async fn end(&mut self) {
        self.heal();
        self.nodes.iter().for_each(Node::thaw);
        for node in &self.nodes {
            node.mend();
        }
        self.pass(Duration::from_secs(20)).await;
        let master = self.store_of(self.master).unwrap();
        for slave in 0..self.nodes.len() {
            let store = self.store_of(slave).unwrap();
            if store.written() == master.written() && difference(&store, &master).is_none() {
                continue;
            }
            let node = &self.nodes[slave];
            let said = node.last_said() + &self.nodes[self.master].last_said_to(node);
            assert!(
                said.contains("is ahead") || said.contains("is gone") || said.contains("are not the same"),
                "{}: node {slave} is at {} of {} and says only: {said}",
                self.why,
                store.written(),
                master.written()
            );
            self.counts.refused += 1;
            self.empty(slave).await;
        }
        self.pass(Duration::from_secs(20)).await;
        self.send();
        self.pass(Duration::from_secs(20)).await;
        for node in 0..self.nodes.len() {
            let store = self.store_of(node).unwrap();
            assert_eq!(store.written(), master.written(), "{}: node {node}", self.why);
            assert_eq!(difference(&store, &master), None, "{}: node {node}", self.why);
            self.check_queues(node, &store);
        }
        let last = self.sent.last().unwrap();
        assert_eq!(last.told, Told::Kept, "{}: {last:?}", self.why);
        self.check_kept(&master, "the master", i64::MAX);
    }
}

/// Offsets and positions of all messages of a queue.
fn read_all(store: &Store, topic: &str, id: u32) -> Vec<(i64, i64)> {
    const MANY: ReadLimit = ReadLimit {
        count: 1000,
        bytes: 1 << 20,
        scan: 1000,
        far: None,
    };
    let Some(queue) = store.find_queue(topic, id) else {
        return Vec::new();
    };
    let (mut all, mut next) = (Vec::new(), queue.min());
    loop {
        match store.read(&queue, next, &MANY, &All) {
            Ok(batch) => {
                let records = Record::decode_all(&batch.bytes).map(|record| record.expect("record is sound"));
                all.extend(records.map(|record| (record.queue_offset, record.physical_offset)));
                assert!(batch.next_offset > next, "a read goes on");
                next = batch.next_offset;
            }
            Err(ReadError::AtEnd { .. } | ReadError::Empty) => return all,
            Err(error) => panic!("{topic}/{id} at {next}: {error}"),
        }
    }
}

fn run(seed: u64) -> Counts {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step().await;
        }
        world.end().await;
        world.counts
    })
}

#[test]
fn what_was_promised_is_on_whoever_survives() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    if let Some(seed) = number("REPLICATION_SEED") {
        eprintln!("{:?}", run(seed));
        return;
    }
    let mut all = Counts::default();
    let seeds = number("PROPTEST_CASES").unwrap_or(SEEDS);
    for seed in 0..seeds {
        let counts = run(seed);
        all.kept += counts.kept;
        all.promoted += counts.promoted;
        all.refused += counts.refused;
        all.crashes += counts.crashes;
    }
    assert!(all.kept > 0 && all.promoted > 0 && all.crashes > 0, "{all:?}");
    // Few seeds end with a slave that its master turns away.
    assert!(seeds < SEEDS || all.refused > 0, "{all:?}");
}
