// SPDX-License-Identifier: Apache-2.0
//! How long sends and pulls took, from the arrival of the request to its answer, for request 28: its percentiles, its table of
//! ranges and its longest times. Nothing is measured for it: the connection knows these times ([`net::Answered`]), for all
//! requests that arrived together at once.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Histogram, Sharded};
use parking_lot::Mutex;

/// The ranges of the reference's table, and the last millisecond of each.
const RANGES: [(&str, u64); 13] = [
    ("[<=0ms]", 0),
    ("[0~10ms]", 9),
    ("[10~50ms]", 49),
    ("[50~100ms]", 99),
    ("[100~200ms]", 199),
    ("[200~500ms]", 499),
    ("[500ms~1s]", 999),
    ("[1~2s]", 1_999),
    ("[2~3s]", 2_999),
    ("[3~4s]", 3_999),
    ("[4~5s]", 4_999),
    ("[5~10s]", 9_999),
    ("[10s~]", u64::MAX),
];
/// What times are counted by, in ms: the ranges above, and between them the steps that the reference reads percentiles from.
const BOUNDS: [u64; BOUND_COUNT] = bounds();
const BOUND_COUNT: usize = 86;
const COUNTS: usize = BOUND_COUNT + 1;
/// How long a table counts before it is shown and the next begins.
const TURN: Duration = Duration::from_secs(60);

const fn bounds() -> [u64; BOUND_COUNT] {
    let mut bounds = [0; BOUND_COUNT];
    let (mut at, mut ms) = (0, 0);
    while ms <= 10_000 {
        let step = match ms {
            0..=20 => 1,
            21..=50 => 2,
            51..=100 => 5,
            101..=200 => 10,
            201..=500 => 50,
            501..=1_000 => 100,
            _ => 1_000,
        };
        let ends_range = matches!(
            ms,
            49 | 99 | 199 | 499 | 999 | 1_999 | 2_999 | 3_999 | 4_999 | 9_999
        );
        if ms % step == 0 || ends_range {
            bounds[at] = ms;
            at += 1;
        }
        ms += 1;
    }
    assert!(at == BOUND_COUNT);
    bounds
}

/// The times.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    sends: Sharded<Histogram<COUNTS>>,
    send_max_ms: AtomicU64,
    pull_max_ms: AtomicU64,
    turn: Mutex<Turn>,
}

/// A count that is over, and where the one after it began.
#[derive(Debug, Default)]
struct Turn {
    seconds: u64,
    began: Option<[u64; COUNTS]>,
    last: Option<[u64; COUNTS]>,
}

impl Latencies {
    /// So many sends took so long.
    pub(crate) fn sent(&self, count: u32, took: Duration) {
        let ms = millis(took);
        self.sends.own().place(&BOUNDS, ms, u64::from(count));
        raise(&self.send_max_ms, ms);
    }

    /// A pull that was not held took so long.
    pub(crate) fn pulled(&self, took: Duration) {
        raise(&self.pull_max_ms, millis(took));
    }

    /// The longest a send took, ms.
    pub(crate) fn send_max_ms(&self) -> u64 {
        self.send_max_ms.load(Ordering::Relaxed)
    }

    /// The longest a pull took, ms.
    pub(crate) fn pull_max_ms(&self) -> u64 {
        self.pull_max_ms.load(Ordering::Relaxed)
    }

    /// Called once a second: each minute a table is over.
    pub(crate) fn tick(&self) {
        let mut turn = self.turn.lock();
        turn.seconds += 1;
        if turn.seconds < TURN.as_secs() {
            return;
        }
        let now = self.sends.read().counts;
        let began = turn.began.unwrap_or([0; COUNTS]);
        *turn = Turn {
            seconds: 0,
            last: Some(std::array::from_fn(|at| now[at].saturating_sub(began[at]))),
            began: Some(now),
        };
    }

    /// How many sends of the last table took how long, in the words of the reference; `None` before the first is over.
    pub(crate) fn table(&self) -> Option<String> {
        let last = self.turn.lock().last?;
        let mut counts = last
            .into_iter()
            .zip(BOUNDS.into_iter().chain([u64::MAX]))
            .peekable();
        let mut text = String::new();
        for (name, end) in RANGES {
            let mut sum = 0;
            while let Some((count, _)) = counts.next_if(|(_, bound)| *bound <= end) {
                sum += count;
            }
            // Writing to a string cannot fail.
            _ = write!(text, "{name}:{sum} ");
        }
        Some(text)
    }

    /// The time within which this share of the sends of the last table was done, ms.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let Some(last) = self.turn.lock().last else {
            return 0.0;
        };
        let total: u64 = last.iter().sum();
        let wanted = (total as f64 * share) as u64;
        let mut passed = 0;
        for (at, count) in last.iter().enumerate() {
            if wanted <= passed + count {
                let from = at.checked_sub(1).map_or(0, |before| BOUNDS[before]) as f64;
                let to = BOUNDS.get(at).copied().unwrap_or(BOUNDS[BOUNDS.len() - 1]) as f64;
                let share = if *count == 0 {
                    0.0
                } else {
                    (wanted - passed) as f64 / *count as f64
                };
                return from + (to - from) * share;
            }
            passed += count;
        }
        0.0
    }
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// Only a new record is written: others read a value that nobody changes.
fn raise(max: &AtomicU64, ms: u64) {
    if ms > max.load(Ordering::Relaxed) {
        max.fetch_max(ms, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_a_minute(latencies: &Latencies) {
        (0..60).for_each(|_| latencies.tick());
    }

    #[test]
    fn a_table_is_told_when_its_minute_is_over_and_speaks_of_that_minute_only() {
        let latencies = Latencies::default();
        for (ms, count) in [(0, 5), (1, 1), (9, 2), (12, 3), (250, 4), (60_000, 1)] {
            latencies.sent(count, Duration::from_millis(ms));
        }
        assert_eq!((latencies.table(), latencies.send_max_ms()), (None, 60_000));
        after_a_minute(&latencies);
        assert_eq!(
            latencies.table().unwrap(),
            "[<=0ms]:5 [0~10ms]:3 [10~50ms]:3 [50~100ms]:0 [100~200ms]:0 [200~500ms]:4 [500ms~1s]:0 \
             [1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:1 "
        );
        after_a_minute(&latencies);
        assert!(latencies.table().unwrap().starts_with("[<=0ms]:0 [0~10ms]:0 "));
    }

    #[test]
    fn a_percentile_lies_within_the_range_it_falls_into() {
        let latencies = Latencies::default();
        latencies.sent(990, Duration::from_millis(1));
        latencies.sent(10, Duration::from_millis(150));
        after_a_minute(&latencies);
        assert_eq!(latencies.percentile(0.99), 1.0);
        let p999 = latencies.percentile(0.999);
        assert!((140.0..=150.0).contains(&p999), "{p999}");
    }
}
