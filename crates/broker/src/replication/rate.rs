// SPDX-License-Identifier: Apache-2.0
//! How many bytes of the log go over a link in a second: pure.

/// What is counted at once, ms: a second, as the reference counts.
const SECOND_MS: i64 = 1_000;

/// Counts what is sent over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// When the second that runs began, ms; nobody has told the time yet.
    since_ms: Option<i64>,
    /// How far the log was sent then.
    from: i64,
    per_second: i64,
}

impl Rate {
    /// Nothing is sent yet; the log will be sent from there on.
    pub(crate) fn begin(from: i64) -> Rate {
        Rate {
            since_ms: None,
            from,
            per_second: 0,
        }
    }

    /// Time passes; the log was sent up to there.
    pub(crate) fn tick(&mut self, now_ms: i64, sent: i64) {
        let Some(since_ms) = self.since_ms else {
            self.since_ms = Some(now_ms);
            return;
        };
        let passed = now_ms - since_ms;
        if passed < SECOND_MS {
            return;
        }
        self.per_second = (sent - self.from).saturating_mul(SECOND_MS) / passed;
        (self.since_ms, self.from) = (Some(now_ms), sent);
    }

    /// Bytes of the last whole second; 0 in the first.
    pub(crate) fn per_second(&self) -> i64 {
        self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_second_counts() {
        let mut rate = Rate::begin(500);
        // What was sent before anybody told the time counts, too.
        rate.tick(7_000, 600);
        rate.tick(7_900, 1_500);
        assert_eq!(rate.per_second(), 0, "a second is not over");
        rate.tick(8_000, 1_700);
        assert_eq!(rate.per_second(), 1_200);
        rate.tick(8_999, 9_000);
        assert_eq!(rate.per_second(), 1_200);
        rate.tick(9_000, 9_000);
        assert_eq!(rate.per_second(), 7_300);
        rate.tick(10_000, 9_000);
        assert_eq!(rate.per_second(), 0);
    }

    #[test]
    fn a_second_that_took_longer_is_no_burst() {
        let mut rate = Rate::begin(0);
        rate.tick(0, 0);
        rate.tick(4_000, 4_000);
        assert_eq!(rate.per_second(), 1_000);
    }
}
