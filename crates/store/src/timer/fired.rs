// SPDX-License-Identifier: Apache-2.0
//! Which entries have fired, beyond the ticks before the read time: the first ones of a tick that is firing, and those of
//! ticks that fired while the clock ran ahead. The reference has no place for either, so a reference broker that takes
//! over delivers them again.

/// How often the clock may be set back anew before the time is reached from which it was set back.
const BACKS: usize = 3;
pub(crate) const FIRED_BYTES: usize = 8 + 16 * BACKS;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fired {
    /// Entries of the tick at the read time that lie before this place of the log.
    pub(crate) part: i64,
    /// Entries of ticks before a time that lie before a place of the log. Time 0: none.
    backs: [(i64, i64); BACKS],
}

impl Fired {
    /// Whether an entry at `pos` of a tick at or behind the read time has fired.
    pub(crate) fn covers(&self, tick_ms: i64, pos: i64) -> bool {
        self.backs.iter().any(|(ms, end)| tick_ms < *ms && pos < *end)
    }

    /// Entries of a tick at or behind the read time that lie before this place have fired.
    pub(crate) fn done_pos(&self, tick_ms: i64, read_ms: i64) -> i64 {
        let part = if tick_ms == read_ms { self.part } else { 0 };
        let backs = self.backs.iter().filter(|(ms, _)| tick_ms < *ms);
        backs.map(|(_, end)| *end).fold(part, i64::max)
    }

    /// Notes that all ticks before `read_ms` have fired, up to the place `log_end`; false when there is no room for that.
    pub(crate) fn set_back(&mut self, read_ms: i64, log_end: i64) -> bool {
        self.reached(read_ms);
        let free = self.backs.iter_mut().find(|(ms, _)| *ms == 0);
        let is_noted = free.is_some();
        if let Some(free) = free {
            *free = (read_ms, log_end);
        }
        is_noted
    }

    /// Forgets what lies before the read time anyway.
    pub(crate) fn reached(&mut self, read_ms: i64) {
        for back in &mut self.backs {
            if back.0 <= read_ms {
                *back = (0, 0);
            }
        }
    }

    pub(crate) fn encode(&self) -> [u8; FIRED_BYTES] {
        let mut bytes = [0; FIRED_BYTES];
        let words = self.backs.iter().flat_map(|(ms, end)| [*ms, *end]);
        let words = std::iter::once(self.part).chain(words);
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = word.to_be_bytes();
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; FIRED_BYTES]) -> Fired {
        let mut words = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| i64::from_be_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        Fired {
            part: next(),
            backs: std::array::from_fn(|_| (next(), next())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fired_before_the_clock_was_set_back_is_covered_and_what_came_later_is_not() {
        let mut fired = Fired::default();
        assert!(fired.set_back(60_000, 520));
        assert!(fired.covers(59_000, 468) && !fired.covers(59_000, 520) && !fired.covers(60_000, 0));
        assert!(fired.set_back(30_000, 1040));
        assert!(fired.covers(29_000, 988) && fired.covers(59_000, 468) && !fired.covers(30_000, 520));
        assert_eq!(Fired::decode(&fired.encode()), fired);
        fired.reached(30_000);
        assert!(fired.set_back(20_000, 2080) && fired.set_back(10_000, 3120));
        assert!(!fired.set_back(5_000, 4160), "there is no room for more");
        fired.reached(60_000);
        assert_eq!(fired, Fired::default());
    }
}
