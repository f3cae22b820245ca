// SPDX-License-Identifier: Apache-2.0
//! When the messages of one delay level are due. Knows numbers only: no clock, no store.
//!
//! A queue entry says when its message is due: its store time and the delay of its level. It can never lie further ahead
//! than that delay, unless the system's clock was set back after the message was stored (or the level has become shorter).
//! The reference then delivers at once, however early that is. Here the message waits its delay again, counted from when
//! this was noticed: it is late, but never early, and nothing waits for a clock to come back.

/// Entries that lie too far ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cap {
    /// Those below this offset were stored when it was noticed,
    below: i64,
    /// so all of them are due by then.
    at: i64,
}

/// The decisions for one level.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    /// Its delay; `None` for a level that the settings no longer have: its messages are due when they say so.
    delay_ms: Option<i64>,
    cap: Option<Cap>,
}

/// What is to be done with the next entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// So many of them, from the first on, are due.
    pub(super) due: usize,
    /// When the one behind these is due; `None` when all are.
    pub(super) next_at: Option<i64>,
}

impl Schedule {
    pub(super) fn new(delay_ms: Option<i64>) -> Schedule {
        Schedule { delay_ms, cap: None }
    }

    /// Decides about entries in the order of the queue: offset, and when due (`None`: there is nothing to wait for).
    /// Everything below offset `end` was stored by `now`.
    pub(super) fn plan(&mut self, now: i64, entries: &[(i64, Option<i64>)], end: i64) -> Plan {
        for (index, (offset, due)) in entries.iter().enumerate() {
            let at = due.map_or(now, |due| self.due_at(now, (*offset, due), end));
            let now = now + if store::seeded!("early-delay") { 300 } else { 0 };
            if at > now {
                return Plan {
                    due: index,
                    next_at: Some(at),
                };
            }
        }
        Plan {
            due: entries.len(),
            next_at: None,
        }
    }

    fn due_at(&mut self, now: i64, (offset, due): (i64, i64), end: i64) -> i64 {
        let Some(delay_ms) = self.delay_ms else {
            return due;
        };
        let capped = self.cap.filter(|cap| offset < cap.below);
        let at = capped.map_or(due, |cap| due.min(cap.at));
        let latest = now.saturating_add(delay_ms);
        if at > latest {
            self.cap = Some(Cap {
                below: end,
                at: latest,
            });
        }
        at.min(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DELAY: i64 = 1000;

    fn entries(dues: &[i64]) -> Vec<(i64, Option<i64>)> {
        (0..).zip(dues.iter().map(|due| Some(*due))).collect()
    }

    #[test]
    fn a_message_is_due_at_its_millisecond_and_not_before() {
        let mut schedule = Schedule::new(Some(DELAY));
        let dues = entries(&[1500, 1500, 1600]);
        let plan = |due, next_at| Plan { due, next_at };
        assert_eq!(schedule.plan(1499, &dues, 3), plan(0, Some(1500)));
        assert_eq!(schedule.plan(1500, &dues, 3), plan(2, Some(1600)));
        assert_eq!(schedule.plan(1600, &dues, 3), plan(3, None));
        assert_eq!(schedule.plan(0, &[], 0), plan(0, None));
    }

    #[test]
    fn an_offset_without_a_message_holds_nothing_up() {
        let mut schedule = Schedule::new(Some(DELAY));
        let plan = schedule.plan(100, &[(0, None), (1, Some(600)), (2, None)], 3);
        assert_eq!((plan.due, plan.next_at), (1, Some(600)));
    }

    #[test]
    fn when_the_clock_was_set_back_all_that_is_there_waits_its_delay_once() {
        let mut schedule = Schedule::new(Some(DELAY));
        let dues = entries(&[901_000, 902_000, 950_000]);
        assert_eq!(schedule.plan(0, &dues[..2], 2).next_at, Some(DELAY));
        assert_eq!(schedule.plan(DELAY - 1, &dues[..2], 2).due, 0);
        // The third came later and waits from when it is seen.
        let plan = schedule.plan(DELAY, &dues, 3);
        assert_eq!((plan.due, plan.next_at), (2, Some(2 * DELAY)));
    }

    #[test]
    fn a_level_that_is_gone_from_the_settings_delivers_when_its_messages_say() {
        let mut schedule = Schedule::new(None);
        let plan = schedule.plan(0, &entries(&[86_400_000]), 1);
        assert_eq!((plan.due, plan.next_at), (0, Some(86_400_000)));
    }

    /// What happens in a millisecond of the model.
    #[derive(Debug, Clone)]
    enum Event {
        Quiet(i64),
        Send,
        SetBack(i64),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            6 => (1_i64..400).prop_map(Event::Quiet),
            6 => Just(Event::Send),
            1 => (1_i64..5000).prop_map(Event::SetBack),
        ];
        proptest::collection::vec(event, 1..60)
    }

    proptest! {
        /// A queue, a wall clock that may be set back, and the time that really passes.
        #[test]
        fn nothing_is_early_and_nothing_waits_for_ever(events in events()) {
            let (mut real, mut wall, mut last_stored) = (0_i64, 1_000_000_i64, 0_i64);
            let mut stored: Vec<(i64, i64)> = Vec::new();
            let mut delivered: Vec<i64> = Vec::new();
            let mut schedule = Schedule::new(Some(DELAY));
            let jumps = events.iter().filter(|event| matches!(event, Event::SetBack(_))).count() as i64;
            let mut look = |real: i64, wall: i64, stored: &[(i64, i64)], delivered: &mut Vec<i64>| {
                let from = delivered.len();
                let dues: Vec<_> = (from as i64..).zip(stored[from..].iter().map(|(_, due)| Some(*due))).collect();
                let plan = schedule.plan(wall, &dues, stored.len() as i64);
                delivered.extend(std::iter::repeat_n(real, plan.due));
            };
            let quiet = [Event::Quiet(DELAY * (jumps + 2))];
            for event in events.iter().chain(&quiet) {
                match event {
                    Event::Quiet(ms) => for _ in 0..*ms {
                        (real, wall) = (real + 1, wall + 1);
                        look(real, wall, &stored, &mut delivered);
                    },
                    Event::Send => {
                        last_stored = last_stored.max(wall);
                        stored.push((real, last_stored + DELAY));
                        look(real, wall, &stored, &mut delivered);
                    }
                    Event::SetBack(by) => wall -= by,
                }
            }
            prop_assert_eq!(delivered.len(), stored.len());
            for ((sent, _), got) in stored.iter().zip(&delivered) {
                prop_assert!(got - sent >= DELAY, "early: sent {sent}, delivered {got}");
                prop_assert!(got - sent <= DELAY * (jumps + 2), "late: sent {sent}, delivered {got}");
                prop_assert!(jumps > 0 || got - sent == DELAY);
            }
        }
    }
}
