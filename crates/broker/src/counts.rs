// SPDX-License-Identifier: Apache-2.0
//! What the broker counts about itself, for request 28, request 315 and metrics. What is counted of single topics and groups
//! is in `traffic.rs`.
//!
//! Counting is one relaxed addition; rates come from samples that [`Counts::sample`] takes once a second.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::Counter;
use parking_lot::Mutex;

use crate::latency::Latencies;
use crate::send::properties::MessageType;
use crate::topic::Topic;
use crate::traffic::{History, Span, Tick, Totals};

/// Samples of a meter that is sampled each second: ten minutes and one.
const SECONDS_KEPT: usize = 601;
const DAY_MS: i64 = 86_400_000;

/// Something that is counted, and how fast it grows.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    total: AtomicU64,
    /// Oldest first: when, and the total then.
    samples: Mutex<VecDeque<(i64, u64)>>,
}

impl Meter {
    /// Counts `n` more.
    pub(crate) fn add(&self, n: u64) {
        self.total.fetch_add(n, Ordering::Relaxed);
    }

    /// All that was counted.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Remembers the total of this moment.
    fn sample(&self, now_ms: i64) {
        let mut samples = self.samples.lock();
        if samples.len() >= SECONDS_KEPT {
            samples.pop_front();
        }
        samples.push_back((now_ms, self.total()));
    }

    /// Per second over the last `back` samples; `None` when there are not that many yet.
    pub(crate) fn rate(&self, back: usize) -> Option<f64> {
        let samples = self.samples.lock();
        let last = samples.back()?;
        let first = samples.get(samples.len().checked_sub(back + 1)?)?;
        Some(per_second(*first, *last))
    }
}

fn per_second((first_ms, first): (i64, u64), (last_ms, last): (i64, u64)) -> f64 {
    let ms = last_ms - first_ms;
    if ms <= 0 {
        0.0
    } else {
        last.saturating_sub(first) as f64 * 1000.0 / ms as f64
    }
}

/// The counters of a broker.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Messages written.
    pub(crate) puts: Meter,
    /// Bytes of their records.
    pub(crate) put_bytes: AtomicU64,
    /// Sends that the store refused.
    pub(crate) put_failures: AtomicU64,
    /// Pulls that found something.
    pub(crate) found: Meter,
    /// Pulls that found nothing.
    pub(crate) missed: Meter,
    /// Messages handed out.
    pub(crate) transferred: Meter,
    /// Messages written to topics of the system.
    system_puts: Counter,
    /// Messages of such topics handed out.
    system_gets: Counter,
    /// Messages that pop consumers have to settle.
    pub(crate) leases: Counter,
    /// Messages they have settled.
    pub(crate) acks: Counter,
    /// Messages that timers took in.
    pub(crate) timers_in: Meter,
    /// Messages that they dealt with.
    pub(crate) timers_out: Meter,
    /// How long sends and pulls took.
    pub(crate) latencies: Latencies,
    history: Mutex<[History; Flow::ALL.len()]>,
    /// When the broker was opened, ms since 1970.
    started_ms: i64,
    mornings: Mutex<Mornings>,
}

/// What is counted of the broker as a whole for request 315.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Puts,
    Gets,
    UserPuts,
    UserGets,
    Acks,
    Leases,
}

impl Flow {
    const ALL: [Flow; 6] = [
        Flow::Puts,
        Flow::Gets,
        Flow::UserPuts,
        Flow::UserGets,
        Flow::Acks,
        Flow::Leases,
    ];
}

/// Totals of messages put and handed out at the last two midnights.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Mornings {
    day: i64,
    pub(crate) yesterday: (u64, u64),
    pub(crate) today: (u64, u64),
}

impl Counts {
    pub(crate) fn new(now_ms: i64) -> Counts {
        Counts {
            started_ms: now_ms,
            ..Counts::default()
        }
    }

    /// Counts messages that were written together: their kind, how many, and the bytes of their records.
    pub(crate) fn put(&self, topic: &Topic, (kind, messages, bytes): (MessageType, u64, u64)) {
        self.put_anywhere((kind, messages, bytes));
        topic.traffic.put(kind, messages, bytes);
        if topic.is_system {
            self.system_puts.add(messages);
        }
    }

    /// The same for a topic that is not in the table.
    pub(crate) fn put_anywhere(&self, (_, messages, bytes): (MessageType, u64, u64)) {
        self.puts.add(messages);
        self.put_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts an answer with messages of a topic.
    pub(crate) fn got(&self, is_system: bool, messages: u64) {
        self.found.add(1);
        self.transferred.add(messages);
        if is_system {
            self.system_gets.add(messages);
        }
    }

    /// What flowed since the start.
    pub(crate) fn total(&self, flow: Flow) -> u64 {
        match flow {
            Flow::Puts => self.puts.total(),
            Flow::Gets => self.transferred.total(),
            // The two are not read in one moment.
            Flow::UserPuts => self.puts.total().saturating_sub(self.system_puts.total()),
            Flow::UserGets => self.transferred.total().saturating_sub(self.system_gets.total()),
            Flow::Acks => self.acks.total(),
            Flow::Leases => self.leases.total(),
        }
    }

    /// What flowed lately.
    pub(crate) fn lately(&self, flow: Flow) -> Option<[Span; 3]> {
        self.history.lock()[flow as usize].spans(self.total(flow))
    }

    /// When the broker was opened, ms since 1970.
    pub(crate) fn started_ms(&self) -> i64 {
        self.started_ms
    }

    /// Totals at the last two midnights.
    pub(crate) fn mornings(&self) -> Mornings {
        *self.mornings.lock()
    }

    /// Takes a sample of everything; called once a second. `utc_offset_ms` says when a day begins here.
    pub(crate) fn sample(&self, (now_ms, utc_offset_ms): (i64, i64), tick: Tick) {
        let pulls = [&self.found, &self.missed, &self.transferred];
        let others = [&self.puts, &self.timers_in, &self.timers_out];
        for meter in pulls.into_iter().chain(others) {
            meter.sample(now_ms);
        }
        if tick.is_any() {
            let mut history = self.history.lock();
            for flow in Flow::ALL {
                let number = self.total(flow);
                // The reference does not count how often.
                let totals = Totals {
                    number,
                    ..Totals::default()
                };
                history[flow as usize].sample(now_ms, tick, totals);
            }
        }
        let day = (now_ms + utc_offset_ms).div_euclid(DAY_MS);
        let mut mornings = self.mornings.lock();
        if mornings.day == 0 {
            mornings.day = day;
        } else if mornings.day != day {
            let now = (self.total(Flow::UserPuts), self.total(Flow::UserGets));
            *mornings = Mornings {
                day,
                yesterday: mornings.today,
                today: now,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_as_many_samples_as_it_looks_back() {
        let meter = Meter::default();
        assert_eq!(meter.rate(1), None);
        meter.sample(1_000);
        assert_eq!(meter.rate(1), None);
        meter.add(30);
        meter.sample(3_000);
        assert_eq!(meter.rate(1), Some(15.0));
        assert_eq!(meter.rate(2), None);
    }

    #[test]
    fn midnight_moves_the_totals_of_the_day_on() {
        let counts = Counts::new(0);
        counts.sample((DAY_MS, 0), Tick::at(1));
        counts.puts.add(5);
        counts.sample((2 * DAY_MS, 0), Tick::at(2));
        counts.puts.add(2);
        counts.sample((3 * DAY_MS, 0), Tick::at(3));
        assert_eq!(counts.mornings().yesterday.0, 5);
        assert_eq!(counts.mornings().today.0, 7);
    }
}
