// SPDX-License-Identifier: Apache-2.0
//! How long what one socket brings has lain in the system before it was read.
//!
//! Nobody says when bytes arrived. But what is seen to lie there at one moment and is read at a later one has waited at least
//! for the time between. It is looked only where a read has left something, so that a connection whose peer waits for
//! answers costs nothing, and one that was not served because the machine stood still is not blamed for it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Time between two looks: what is known is late by no more than this and one turn.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Looks that are remembered.
const LOOKS_MAX: usize = 256;

/// What was seen to wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Bytes read since the beginning.
    read: u64,
    /// Where what lay there ended, and when that was; both grow.
    seen: VecDeque<(u64, Instant)>,
    looked: Option<Instant>,
}

impl Waiting {
    /// Takes note of bytes that were read, and says how long all of them have waited at least.
    pub(crate) fn took(&mut self, bytes: usize, now: impl Fn() -> Instant) -> Duration {
        self.read += bytes as u64;
        while self.seen.pop_front_if(|(end, _)| *end < self.read).is_some() {}
        let first = self.seen.front();
        first.map_or(Duration::ZERO, |(_, at)| now().saturating_duration_since(*at))
    }

    /// Whether it is time to look again.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.looked
            .is_none_or(|at| now.saturating_duration_since(at) >= LOOK_EVERY)
    }

    /// Takes note of bytes that lie there now.
    pub(crate) fn saw(&mut self, bytes: usize, now: Instant) {
        self.looked = Some(now);
        let end = self.read + bytes as u64;
        if bytes == 0 || self.seen.back().is_some_and(|(last, _)| end <= *last) {
            return;
        }
        if self.seen.len() == LOOKS_MAX {
            // Its bytes are known by the next look, if not for as long.
            self.seen.pop_front();
        }
        self.seen.push_back((end, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_and_is_read_later_has_waited_for_the_time_between() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut waiting = Waiting::default();
        assert_eq!(waiting.took(100, || at(5)), Duration::ZERO);
        assert!(waiting.is_due(at(5)));
        waiting.saw(300, at(5));
        assert!(!waiting.is_due(at(14)) && waiting.is_due(at(15)));
        // What has come since the first look is known by the second one.
        waiting.saw(500, at(15));
        assert_eq!(waiting.took(200, || at(30)), Duration::from_millis(25));
        assert_eq!(waiting.took(100, || at(40)), Duration::from_millis(35));
        assert_eq!(waiting.took(200, || at(40)), Duration::from_millis(25));
        // And what has come since then is not.
        assert_eq!(waiting.took(1, || at(50)), Duration::ZERO);
    }

    #[test]
    fn nothing_waits_where_nothing_is_left() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        waiting.saw(0, start);
        let later = start + Duration::from_secs(9);
        assert_eq!(waiting.took(10, || later), Duration::ZERO);
    }

    #[test]
    fn looks_take_no_more_room_than_there_is() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        for look in 0..2 * LOOKS_MAX {
            waiting.saw(look + 1, start + Duration::from_millis(look as u64));
        }
        assert_eq!(waiting.seen.len(), LOOKS_MAX);
    }
}
