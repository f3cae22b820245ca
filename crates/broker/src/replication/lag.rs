// SPDX-License-Identifier: Apache-2.0
//! How long ago a master's log ended where a slave is now, and when that is worth a line: pure.

use std::collections::{BTreeSet, VecDeque};

/// Between two samples, ms.
const STEP_MS: i64 = 1_000;
/// Samples: an hour. A slave that is further behind is "an hour or more" behind.
const SAMPLES_MAX: usize = 3_600;
/// A slave that is so far behind is worth a line in the log; one that is less than a tenth of it behind has caught up.
const LAG_MS: i64 = 10_000;

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

/// What is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    Lags,
    CaughtUp,
}

/// Links of slaves of which was said that they lag.
#[derive(Debug, Default)]
pub(crate) struct Laggards(BTreeSet<u64>);

impl Laggards {
    /// A slave is so far behind. Between the two bounds it is what it was, so that one on the edge is not told of again and
    /// again.
    pub(crate) fn news(&mut self, link: u64, lag_ms: i64) -> Option<News> {
        if lag_ms >= LAG_MS {
            self.0.insert(link).then_some(News::Lags)
        } else if lag_ms < LAG_MS / 10 {
            self.0.remove(&link).then_some(News::CaughtUp)
        } else {
            None
        }
    }

    /// Forgets links that have ended.
    pub(crate) fn retain(&mut self, is_there: impl Fn(u64) -> bool) {
        self.0.retain(|link| is_there(*link));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slave_that_lags_is_told_of_once_and_once_more_when_it_has_caught_up() {
        let mut laggards = Laggards::default();
        let said = [
            (9_999, None),
            (10_000, Some(News::Lags)),
            (10_001, None),
            (9_999, None),
            (12_000, None),
            (1_000, None),
            (999, Some(News::CaughtUp)),
            (0, None),
            (10_000, Some(News::Lags)),
        ];
        for (ms, news) in said {
            assert_eq!(laggards.news(7, ms), news, "{ms}");
        }
        assert_eq!(laggards.news(8, 0), None, "another one");
        assert_eq!(laggards.news(8, 20_000), Some(News::Lags));
    }

    #[test]
    fn a_link_that_has_ended_is_forgotten() {
        let mut laggards = Laggards::default();
        for link in [7, 8] {
            assert_eq!(laggards.news(link, 10_000), Some(News::Lags));
        }
        laggards.retain(|link| link == 8);
        assert_eq!(
            (laggards.news(7, 0), laggards.news(8, 0)),
            (None, Some(News::CaughtUp))
        );
    }

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
