// SPDX-License-Identifier: Apache-2.0
//! One run from its options to its result: connects, starts the connections, looks at them every second, waits for what
//! is missing, and adds up.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::cpu_time;
use crate::cluster::{self, ClusterError, Server};
use crate::crew::Crew;
use crate::options::{Kind, Options, Rate, Usage};
use crate::report::{Latency, Report, Second, VERSION, main_measure};
use crate::shared::Shared;
use crate::tally::Tally;

/// How often the end of a run looks whether something is missing.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a run that was ended early waits for what is under way.
const HURRY: Duration = Duration::from_secs(2);
/// Notes of more connections than this share a place.
const TALLIES_MAX: usize = 16;

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
    /// Seconds measured so far. While it gets warm nothing is told.
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
    shared.rest();
    watch.join(&mut readers).await;
    shared.finish();
    watch.join(&mut readers).await;
    watch.join(&mut senders).await;
    watch.note_unended(readers.len() + senders.len());
    Ok(watch.report(servers))
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
                (self.seen + second).min(self.shared.end())
            } else {
                self.shared.warm
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => { self.interrupted = true; break }
                ended = working.join_next() => match ended {
                    Some(ended) => { self.note_end(ended); continue }
                    None => break,
                },
                () = tokio::time::sleep_until(self.at(next)) => {}
            }
            if self.shared.clock.now() >= self.shared.end() {
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
        if self.interrupted || !self.shared.options.kind.sends() {
            self.shared.stop();
        }
    }

    /// Takes the notes since the last look.
    fn look(&mut self) -> Progress {
        let now = self.shared.clock.now().min(self.shared.end()).max(self.seen);
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
            while let Some(ended) = senders.try_join_next() {
                self.note_end(ended);
            }
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

    /// A connection has ended. That it did not by itself is an error of the run.
    fn note_end(&mut self, ended: Result<std::io::Result<()>, JoinError>) {
        let error = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        self.sum.failure(&format!("a connection ended: {error}"), 1);
    }

    /// Waits until these connections have ended, but not for long.
    async fn join(&mut self, tasks: &mut JoinSet<std::io::Result<()>>) {
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                self.note_end(ended);
            }
        };
        // What is left is seen by who looks at the set.
        let _all_or_late = tokio::time::timeout(HURRY, all).await;
    }

    /// Connections that do not end end with their sets, and nobody knows what they had under way.
    fn note_unended(&mut self, connections: usize) {
        if connections > 0 {
            self.sum
                .failure("connections did not end with the run", connections as u64);
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
        let reads = options.kind.expects() || options.verify;
        let messages = self.sum.counts.ok;
        let cpu_seconds = cpu_time().saturating_sub(self.cpu_begin).as_secs_f64();
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
            cpu_us_per_message: cpu_seconds * 1e6 / messages.max(1) as f64,
            notes: notes(options),
            counts: self.sum.counts,
            series: self.series,
        }
    }
}

fn notes(options: &Options) -> Vec<String> {
    let mut notes = Vec::new();
    if options.kind.sends() && options.rate == Rate::Max {
        notes.push(
            "closed loop: latencies have coordinated omission; compare them at a fixed --rate".to_owned(),
        );
    }
    if options.kind == Kind::Delay {
        notes.push("the throughput is what was received in the time of sending; what was promised later is not in it".to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn how_a_connection_ended_is_in_the_result_though_others_go_on() {
        let options = Options {
            duration: Duration::from_secs(60),
            ..Options::new(Kind::Produce)
        };
        let mut watch = Watch::new(Arc::new(Shared::new(&options, 1)));
        let (stop, done) = (CancellationToken::new(), CancellationToken::new());
        let mut working = JoinSet::new();
        working.spawn(async { Err(std::io::Error::other("no more of it")) });
        let goes_on = done.clone();
        working.spawn(async move {
            goes_on.cancelled().await;
            Ok(())
        });
        watch.measure(&mut working, &stop, &mut |_| done.cancel()).await;
        assert_eq!(watch.sum.counts.failures["a connection ended: no more of it"], 1);
        assert!(!watch.interrupted && working.is_empty());
    }
}
