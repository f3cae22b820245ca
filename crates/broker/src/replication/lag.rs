// SPDX-License-Identifier: Apache-2.0
//! How long ago a master's log ended where a slave is now: pure.

use std::collections::VecDeque;

/// Between two samples, ms.
const STEP_MS: i64 = 1_000;
/// Samples: an hour. A slave that is further behind is "an hour or more" behind.
const SAMPLES_MAX: usize = 3_600;

/// Ends of the log with the time they were seen, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ends(VecDeque<(i64, i64)>);

impl Ends {
    /// Time passes; the log ends there.
    pub(crate) fn tick(&mut self, now_ms: i64, end: i64) {
        if self.0.back().is_some_and(|(at, _)| now_ms - at < STEP_MS) {
            return;
        }
        // While nothing is written the newest of equal samples says how fresh that is.
        let is_same = self.0.back().is_some_and(|(_, last)| *last == end);
        if is_same {
            self.0.pop_back();
        }
        self.0.push_back((now_ms, end));
        if self.0.len() > SAMPLES_MAX {
            self.0.pop_front();
        }
    }

    /// How long the oldest message has been there that a slave lacks which has the log up to a position, to a second.
    pub(crate) fn lag_ms(&self, acked: i64, now_ms: i64, end: i64) -> i64 {
        if acked >= end {
            return 0;
        }
        // What it lacks was written between two samples: behind the last that it has all of.
        let has_all_of = self.0.partition_point(|(_, at)| *at <= acked);
        let since = match has_all_of.checked_sub(1) {
            Some(last) => self.0.get(last),
            None => self.0.front(),
        };
        since.map_or(0, |(at, _)| (now_ms - at).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slave_is_as_far_behind_as_the_oldest_message_it_lacks_is_old() {
        let mut ends = Ends::default();
        for second in 0..10 {
            ends.tick(second * 1_000, second * 100);
            ends.tick(second * 1_000 + 1, 7);
        }
        assert_eq!(ends.lag_ms(900, 9_500, 900), 0);
        assert_eq!(ends.lag_ms(850, 9_500, 900), 1_500);
        assert_eq!(ends.lag_ms(100, 9_500, 900), 8_500);
    }

    #[test]
    fn rest_does_not_count_as_lag() {
        let mut ends = Ends::default();
        for second in 0..100 {
            ends.tick(second * 1_000, 500);
        }
        // Something new was just written.
        assert_eq!(ends.lag_ms(500, 99_300, 600), 300);
        assert!(ends.0.len() < 3);
    }

    #[test]
    fn an_hour_is_remembered_and_no_more() {
        let mut ends = Ends::default();
        for second in 0..10_000 {
            ends.tick(second * 1_000, second);
        }
        assert_eq!(ends.0.len(), SAMPLES_MAX);
        assert_eq!(ends.lag_ms(0, 9_999_000, 9_999), 3_599_000);
    }
}
