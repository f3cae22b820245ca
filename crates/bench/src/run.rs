// SPDX-License-Identifier: Apache-2.0
//! One run from its options to its result: connects, starts the connections, looks at them every second, waits for what
//! is missing, and adds up.

use std::sync::Arc;
use std::time::Duration;

use net::Pipe;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::cpu_time;
use crate::cluster::{self, ClusterError, Place, Server};
use crate::ledger::Order;
use crate::line::{connect, drive};
use crate::message::Maker;
use crate::options::{From, Kind, Later, Options, Rate, Usage};
use crate::pop::Pop;
use crate::produce::Produce;
use crate::pull::{Pull, Queue};
use crate::random::{self, Random};
use crate::receive::Receiver;
use crate::report::{Latency, Report, Second, VERSION, main_measure};
use crate::schedule::{Schedule, Share};
use crate::shared::Shared;
use crate::tally::Tally;
use crate::transact::Transact;

/// How often the end of a run looks whether something is missing.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a run that was ended early waits for what is under way.
const HURRY: Duration = Duration::from_secs(2);
/// Notes of more connections than this share a place.
const TALLIES_MAX: usize = 16;
/// Other numbers than those of the bodies.
const TIMES: u64 = 0x7135;

/// Why there is no result.
#[derive(Debug, Error)]
pub enum RunError {
    /// The options do not go.
    #[error(transparent)]
    Usage(#[from] Usage),
    /// The servers.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// What a run says while it goes on.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Seconds measured so far; negative while it gets warm.
    pub elapsed: f64,
    /// Messages that ended well, per second, in the last second.
    pub per_second: f64,
    /// In all.
    pub ok: u64,
    /// Messages that did not end well, in all.
    pub errors: u64,
    /// Of the last second.
    pub p50_us: u64,
    /// Of the last second.
    pub p99_us: u64,
    /// Of the last second.
    pub max_us: u64,
    /// What the run waits for at its end.
    pub waiting: Option<&'static str>,
}

/// Runs what the options say, until it is over or `stop` is cancelled. `progress` is called every second.
pub async fn run(
    options: Options,
    stop: CancellationToken,
    mut progress: impl FnMut(&Progress),
) -> Result<Report, RunError> {
    options.check()?;
    let places = cluster::find(&options).await?;
    let mut servers = Vec::new();
    for place in &places {
        servers.push(cluster::server(place).await);
    }
    let mut crew = Crew::gather(&options, &places).await?;
    let shared = Arc::new(Shared::new(&options, crew.connections().min(TALLIES_MAX)));
    let mut readers = JoinSet::new();
    let mut senders = JoinSet::new();
    crew.start_readers(&shared, &mut readers);
    crew.start_senders(&shared, &mut senders);
    let mut watch = Watch::new(Arc::clone(&shared));
    let working = if options.kind.sends() {
        &mut senders
    } else {
        &mut readers
    };
    watch.measure(working, &stop, &mut progress).await;
    watch
        .wait_for_the_rest((&mut senders, crew.delay_ms), &stop, &mut progress)
        .await;
    shared.finish();
    for mut tasks in [readers, senders] {
        let ended = tokio::time::timeout(HURRY, async { while tasks.join_next().await.is_some() {} });
        // What does not end by itself is ended with the set.
        let _late = ended.await;
    }
    Ok(watch.report(servers))
}

/// A connection that was made, and what it is for.
struct Member {
    pipe: Pipe,
    place: usize,
    lane: u64,
}

/// All connections of a run, before it starts.
struct Crew {
    options: Options,
    places: Vec<Place>,
    senders: Vec<Member>,
    readers: Vec<Member>,
    /// Where each queue of each broker is read from, and to.
    bounds: Vec<Vec<(i64, i64)>>,
    delay_ms: u64,
}

impl Crew {
    async fn gather(options: &Options, places: &[Place]) -> Result<Crew, ClusterError> {
        let mut crew = Crew {
            options: options.clone(),
            places: places.to_vec(),
            senders: Vec::new(),
            readers: Vec::new(),
            bounds: Vec::new(),
            delay_ms: 0,
        };
        let reads = options.kind != Kind::Produce;
        let from = if options.kind.sends() {
            From::Last
        } else {
            options.from
        };
        for (at, place) in places.iter().enumerate() {
            if let Some(Later::Level(level)) = options.later {
                crew.delay_ms = cluster::level_ms(place, level).await?;
            }
            if reads && options.pop {
                cluster::commit(place, options, from).await?;
            }
            if reads {
                crew.bounds.push(cluster::bounds(place, options).await?);
            }
            for lane in 0..options.connections as u64 {
                let member = |pipe| Member {
                    pipe,
                    place: at,
                    lane,
                };
                if options.kind.sends() {
                    crew.senders.push(member(connect(place.addr).await?));
                }
                if reads && lane < u64::from(place.read_queues) {
                    crew.readers.push(member(connect(place.addr).await?));
                }
            }
        }
        if let Some(Later::Ms(ms)) = options.later {
            crew.delay_ms = ms;
        }
        Ok(crew)
    }

    fn connections(&self) -> usize {
        self.senders.len() + self.readers.len()
    }

    fn start_readers(&mut self, shared: &Arc<Shared>, tasks: &mut JoinSet<std::io::Result<()>>) {
        let from = if self.options.kind.sends() {
            From::Last
        } else {
            self.options.from
        };
        for (connection, member) in std::mem::take(&mut self.readers).into_iter().enumerate() {
            let Some(place) = self.places.get(member.place) else {
                continue;
            };
            let bounds = self.bounds.get(member.place).map_or(&[][..], Vec::as_slice);
            let lanes = self.options.connections;
            let own = bounds
                .iter()
                .enumerate()
                .skip(member.lane as usize)
                .step_by(lanes);
            let queues: Vec<Queue> = own
                .map(|(id, (first, last))| Queue {
                    id: id as i32,
                    offset: if from == From::First { *first } else { *last },
                    end: self.options.to_end.then_some(*last),
                    order: Order::default(),
                })
                .collect();
            let receiver = Receiver::new(shared, connection);
            let (pipe, shared) = ((member.pipe, place.addr), Arc::clone(shared));
            if self.options.pop {
                let in_flight = queues.len() + self.options.in_flight;
                tasks.spawn(drive(
                    Pop::new(receiver, queues, &place.name),
                    pipe,
                    in_flight,
                    shared,
                ));
            } else {
                let in_flight = queues.len();
                tasks.spawn(drive(
                    Pull::new(receiver, queues, &place.name),
                    pipe,
                    in_flight,
                    shared,
                ));
            }
        }
    }

    fn start_senders(&mut self, shared: &Arc<Shared>, tasks: &mut JoinSet<std::io::Result<()>>) {
        let targets: u64 = self
            .places
            .iter()
            .map(|place| u64::from(place.write_queues))
            .sum();
        let firsts = self.places.iter().scan(0, |first, place| {
            let this = *first;
            *first += u64::from(place.write_queues);
            Some(this)
        });
        let firsts: Vec<u64> = firsts.collect();
        let in_flight = self.options.in_flight;
        for (connection, member) in std::mem::take(&mut self.senders).into_iter().enumerate() {
            let (Some(place), Some(first)) = (self.places.get(member.place), firsts.get(member.place)) else {
                continue;
            };
            let share = Share {
                targets,
                first: *first,
                queues: place.write_queues.into(),
                lane: member.lane,
                lanes: self.options.connections as u64,
            };
            let schedule = schedule(&self.options, share, (connection, shared.end));
            let maker = Maker::new(shared, &place.name, connection);
            let (pipe, shared) = ((member.pipe, place.addr), Arc::clone(shared));
            if self.options.kind == Kind::Transaction {
                let work = Transact::new(&shared, connection, schedule, maker);
                tasks.spawn(drive(work, pipe, in_flight, shared));
            } else {
                let work = Produce::new(&shared, connection, schedule, maker, self.delay_ms);
                tasks.spawn(drive(work, pipe, in_flight, shared));
            }
        }
    }
}

fn schedule(options: &Options, share: Share, (connection, end): (usize, u64)) -> Schedule {
    let batch = u64::from(options.batch);
    let rate = match options.rate {
        Rate::Max => None,
        Rate::PerSecond(rate) => {
            let random = Random::new(random::at(options.seed ^ TIMES, connection as u64));
            Some((rate as f64 / batch as f64, options.poisson.then_some(random)))
        }
    };
    let requests = options
        .messages
        .map_or(u64::MAX, |messages| messages.div_ceil(batch));
    Schedule::new(share, rate, (end, requests))
}

/// Looks at a run while it goes on.
struct Watch {
    shared: Arc<Shared>,
    start: Instant,
    sum: Tally,
    second: Tally,
    series: Vec<Second>,
    /// Until when the series goes, ns.
    seen: u64,
    cpu_begin: Duration,
    cpu_end: Duration,
    interrupted: bool,
}

impl Watch {
    fn new(shared: Arc<Shared>) -> Watch {
        Watch {
            start: Instant::now() - Duration::from_nanos(shared.clock.now()),
            seen: shared.warm,
            shared,
            sum: Tally::default(),
            second: Tally::default(),
            series: Vec::new(),
            cpu_begin: cpu_time(),
            cpu_end: cpu_time(),
            interrupted: false,
        }
    }

    fn at(&self, ns: u64) -> Instant {
        self.start + Duration::from_nanos(ns)
    }

    /// Until the measured time is over, or everything is sent (read, where nothing is sent), or somebody ends it.
    async fn measure(
        &mut self,
        working: &mut JoinSet<std::io::Result<()>>,
        stop: &CancellationToken,
        progress: &mut impl FnMut(&Progress),
    ) {
        let second = 1_000_000_000;
        let mut warm = self.shared.warm == 0;
        loop {
            let next = if warm {
                (self.seen + second).min(self.shared.end)
            } else {
                self.shared.warm
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => { self.interrupted = true; break }
                ended = ended(working) => {
                    if let Some(error) = ended {
                        self.sum.failure(&format!("a connection ended: {error}"), 1);
                    }
                    break;
                }
                () = tokio::time::sleep_until(self.at(next)) => {}
            }
            if self.shared.clock.now() >= self.shared.end {
                break;
            }
            if !warm {
                warm = true;
                self.cpu_begin = cpu_time();
                continue;
            }
            progress(&self.look());
            if self.shared.ledger.lock().is_full() {
                self.sum
                    .failure("more messages than can be kept track of: the run ended early", 1);
                break;
            }
        }
        progress(&self.look());
        self.cpu_end = cpu_time();
        if self.interrupted || !self.shared.options.kind.sends() {
            self.shared.stop();
        }
    }

    /// Takes the notes since the last look.
    fn look(&mut self) -> Progress {
        let now = self.shared.clock.now().min(self.shared.end).max(self.seen);
        self.shared.collect(&mut self.second);
        let main = main_measure(self.shared.options.kind);
        let (mut p50_us, mut p99_us, mut max_us) = (0, 0, 0);
        if let Some(times) = self.second.histogram(main).filter(|times| !times.is_empty()) {
            max_us = times.max();
            (p50_us, p99_us) = (
                times.value_at_quantile(0.5).min(max_us),
                times.value_at_quantile(0.99).min(max_us),
            );
        }
        let seconds = (now - self.seen) as f64 / 1e9;
        let end = now.saturating_sub(self.shared.warm) as f64 / 1e9;
        self.seen = now;
        let row = Second {
            end,
            seconds,
            ok: self.second.counts.ok,
            errors: self.second.counts.errors(),
            bytes: self.second.counts.bytes,
            p50_us,
            p99_us,
            max_us,
        };
        let per_second = if seconds > 0.0 {
            row.ok as f64 / seconds
        } else {
            0.0
        };
        if seconds > 0.0 || row.ok > 0 {
            self.series.push(row);
        }
        self.sum.take(&mut self.second);
        Progress {
            elapsed: end,
            per_second,
            ok: self.sum.counts.ok,
            errors: self.sum.counts.errors(),
            p50_us,
            p99_us,
            max_us,
            waiting: None,
        }
    }

    /// Until what is under way is answered, and what was promised has come.
    async fn wait_for_the_rest(
        &mut self,
        (senders, delay_ms): (&mut JoinSet<std::io::Result<()>>, u64),
        stop: &CancellationToken,
        progress: &mut impl FnMut(&Progress),
    ) {
        let options = &self.shared.options;
        let later = Duration::from_millis(delay_ms);
        let answers = options.timeout + Duration::from_secs(2);
        let longest = if self.interrupted {
            HURRY
        } else {
            answers.max(options.drain + later)
        };
        let deadline = Instant::now() + longest;
        let mut told = Instant::now();
        while Instant::now() < deadline {
            while senders.try_join_next().is_some() {}
            let unanswered = !senders.is_empty() && self.shared.unknown() == 0;
            let missing = self.shared.options.kind.expects() && !self.shared.ledger.lock().is_complete();
            let unasked = self.shared.unknown() > 0;
            let waiting = if unanswered {
                "answers"
            } else if unasked {
                "questions of the broker"
            } else if missing {
                "messages"
            } else {
                return;
            };
            if told.elapsed() >= Duration::from_secs(1) {
                told = Instant::now();
                self.shared.collect(&mut self.sum);
                progress(&Progress {
                    waiting: Some(waiting),
                    elapsed: self.seen.saturating_sub(self.shared.warm) as f64 / 1e9,
                    ok: self.sum.counts.ok,
                    errors: self.sum.counts.errors(),
                    ..Progress::default()
                });
            }
            tokio::select! {
                () = stop.cancelled(), if !self.interrupted => {
                    self.interrupted = true;
                    self.shared.stop();
                    return;
                }
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    fn report(mut self, servers: Vec<Server>) -> Report {
        let shared = Arc::clone(&self.shared);
        let options = &shared.options;
        shared.collect(&mut self.sum);
        let unasked = shared.unknown();
        if unasked > 0 {
            self.sum
                .failure("transactions that the broker never asked about", unasked);
        }
        let seconds = self.series.iter().map(|second| second.seconds).sum::<f64>();
        let (ok, bytes) = self.series.iter().fold((0, 0), |(ok, bytes), second| {
            (ok + second.ok, bytes + second.bytes)
        });
        let per_second = |count: u64| {
            if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            }
        };
        let reads = options.kind != Kind::Produce;
        let cpu_seconds = self.cpu_end.saturating_sub(self.cpu_begin).as_secs_f64();
        let times = self.sum.histograms().filter(|(_, times)| !times.is_empty());
        let times = times.map(|(measure, times)| (measure, Latency::of(times, &options.percentiles)));
        Report {
            version: VERSION,
            tool: concat!("barque ", env!("CARGO_PKG_VERSION")).to_owned(),
            kind: options.kind.name().to_owned(),
            label: options.label.clone(),
            started_ms: shared.clock.wall_ms(0),
            loop_kind: if options.is_open() { "open" } else { "closed" }.to_owned(),
            interrupted: self.interrupted,
            options: serde_json::to_value(options).unwrap_or_default(),
            servers,
            seconds,
            messages_per_second: per_second(ok),
            bytes_per_second: per_second(bytes),
            errors: self.sum.counts.errors(),
            remarks: self.sum.remarks().clone(),
            breaks: shared.breaks(),
            delivery: reads.then(|| shared.ledger.lock().delivery()),
            main: main_measure(options.kind),
            latencies: times.collect(),
            cpu_seconds,
            cpu_us_per_message: if ok > 0 {
                cpu_seconds * 1e6 / ok as f64
            } else {
                0.0
            },
            notes: notes(options),
            counts: self.sum.counts,
            series: self.series,
        }
    }
}

/// Returns when all have ended, with the first error of them.
async fn ended(tasks: &mut JoinSet<std::io::Result<()>>) -> Option<String> {
    let mut first = None;
    while let Some(ended) = tasks.join_next().await {
        let error = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        first = first.or(error);
    }
    first
}

fn notes(options: &Options) -> Vec<String> {
    let mut notes = Vec::new();
    if options.kind.sends() && options.rate == Rate::Max {
        notes.push(
            "closed loop: latencies have coordinated omission; compare them at a fixed --rate".to_owned(),
        );
    }
    if options.oneway {
        notes.push(
            "one-way: a message counts when it is written, nobody says whether it was stored".to_owned(),
        );
    }
    if options.batch > 1 {
        notes.push(format!(
            "the {} messages of a batch are due together",
            options.batch
        ));
    }
    notes
}
