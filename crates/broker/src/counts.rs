// SPDX-License-Identifier: Apache-2.0
//! What the broker counts about itself, for request 28 and the topic statistics.
//!
//! Counting is one relaxed addition; rates come from samples that [`Counts::sample`] takes once a second.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Samples of a meter that is sampled each second: ten minutes and one.
const SECONDS_KEPT: usize = 601;
/// Samples of a meter that is sampled every ten seconds: one minute and one.
const TENS_KEPT: usize = 7;
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
    fn sample(&self, now_ms: i64, kept: usize) {
        let mut samples = self.samples.lock();
        if samples.len() >= kept {
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

    /// Per second over all samples that are kept.
    pub(crate) fn rate_of_all(&self) -> f64 {
        let samples = self.samples.lock();
        match (samples.front(), samples.back()) {
            (Some(first), Some(last)) => per_second(*first, *last),
            _ => 0.0,
        }
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
    /// When the broker was opened, ms since 1970.
    started_ms: i64,
    mornings: Mutex<Mornings>,
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

    /// Counts a pull that found `messages`.
    pub(crate) fn pulled(&self, messages: u64) {
        self.found.add(1);
        self.transferred.add(messages);
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
    pub(crate) fn sample(&self, now_ms: i64, utc_offset_ms: i64) {
        for meter in [&self.puts, &self.found, &self.missed, &self.transferred] {
            meter.sample(now_ms, SECONDS_KEPT);
        }
        let day = (now_ms + utc_offset_ms).div_euclid(DAY_MS);
        let mut mornings = self.mornings.lock();
        if mornings.day == 0 {
            mornings.day = day;
        } else if mornings.day != day {
            let now = (self.puts.total(), self.transferred.total());
            *mornings = Mornings {
                day,
                yesterday: mornings.today,
                today: now,
            };
        }
    }
}

/// Takes the ten-second sample of a topic.
pub(crate) fn sample_topic(puts: &Meter, now_ms: i64) {
    puts.sample(now_ms, TENS_KEPT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_as_many_samples_as_it_looks_back() {
        let meter = Meter::default();
        assert_eq!(meter.rate(1), None);
        meter.sample(1_000, SECONDS_KEPT);
        assert_eq!(meter.rate(1), None);
        meter.add(30);
        meter.sample(3_000, SECONDS_KEPT);
        assert_eq!(meter.rate(1), Some(15.0));
        assert_eq!(meter.rate(2), None);
        assert_eq!(meter.rate_of_all(), 15.0);
    }

    #[test]
    fn midnight_moves_the_totals_of_the_day_on() {
        let counts = Counts::new(0);
        counts.sample(DAY_MS, 0);
        counts.puts.add(5);
        counts.sample(2 * DAY_MS, 0);
        counts.puts.add(2);
        counts.sample(3 * DAY_MS, 0);
        assert_eq!(counts.mornings().yesterday.0, 5);
        assert_eq!(counts.mornings().today.0, 7);
    }
}
