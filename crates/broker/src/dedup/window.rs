// SPDX-License-Identifier: Apache-2.0
//! The messages that one topic remembers, oldest first. Pure: it is told the time.

use std::collections::{HashMap, VecDeque};

use super::{First, Print};

/// What one topic remembers.
#[derive(Debug, Default)]
pub(super) struct Window {
    messages: HashMap<Print, First>,
    /// When each was stored, never earlier than the one before, and where.
    order: VecDeque<(i64, i64, Print)>,
    /// Its topic has no window any more, or is gone.
    is_closed: bool,
}

impl Window {
    /// Where a message is, if it is remembered and was not stored before a time.
    pub(super) fn find(&self, print: &Print, since_ms: i64) -> Option<&First> {
        let first = self.messages.get(print);
        first.filter(|first| first.stored_at >= since_ms)
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Remembers a message, which is the newest. Returns how many more are remembered now.
    pub(super) fn remember(&mut self, print: Print, first: First) -> usize {
        if self.is_closed {
            return 0;
        }
        let stored_at = self
            .order
            .back()
            .map_or(first.stored_at, |(last, _, _)| first.stored_at.max(*last));
        self.order.push_back((stored_at, first.pos, print));
        let first = First { stored_at, ..first };
        usize::from(self.messages.insert(print, first).is_none())
    }

    /// Whether something was stored before a time.
    pub(super) fn is_older(&self, since_ms: i64) -> bool {
        let oldest = self.order.front();
        oldest.is_some_and(|(stored_at, _, _)| *stored_at < since_ms)
    }

    /// Gives back memory that is not needed any more.
    pub(super) fn shrink(&mut self) {
        if self.order.capacity() > 4 * self.order.len().max(1024) {
            self.order.shrink_to_fit();
            self.messages.shrink_to_fit();
        }
    }

    /// Forgets everything, and remembers nothing any more. Returns how much that was.
    pub(super) fn close(&mut self) -> usize {
        let forgotten = self.messages.len();
        *self = Window {
            is_closed: true,
            ..Window::default()
        };
        forgotten
    }

    /// Forgets the oldest message. Returns 0 when there is none.
    pub(super) fn forget_oldest(&mut self) -> usize {
        while !self.order.is_empty() {
            if self.forget_first() == 1 {
                return 1;
            }
        }
        0
    }

    /// Takes the first place away, and its message with it, unless that was remembered anew since. Returns how many are
    /// remembered less.
    pub(super) fn forget_first(&mut self) -> usize {
        let Some((stored_at, pos, print)) = self.order.pop_front() else {
            return 0;
        };
        let known = self.messages.get(&print);
        let is_its_own = known.is_some_and(|first| (first.stored_at, first.pos) == (stored_at, pos));
        if is_its_own {
            self.messages.remove(&print);
            return 1;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use store::{Gate, LogPos};

    use super::*;

    fn first(stored_at: i64, pos: i64) -> First {
        First {
            pos,
            queue_id: 0,
            queue_offset: 0,
            stored_at,
            gate: Gate {
                end: LogPos(pos),
                generation: 0,
            },
            size: 1,
        }
    }

    fn print(id: u8) -> Print {
        Print::of("PG", &id.to_string(), b"body")
    }

    fn forget_before(window: &mut Window, since_ms: i64) -> usize {
        let mut forgotten = 0;
        while window.is_older(since_ms) {
            forgotten += window.forget_first();
        }
        window.shrink();
        forgotten
    }

    #[derive(Debug, Clone)]
    enum Act {
        Send(u8),
        Pass(i64),
        Full,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => (0_u8..12).prop_map(Act::Send),
            3 => (0_i64..60).prop_map(Act::Pass),
            1 => Just(Act::Full),
        ]
    }

    proptest! {
        /// The model is a list of what was stored, looked through from its end.
        #[test]
        fn a_message_is_remembered_for_the_window_and_no_longer(acts in proptest::collection::vec(act(), 0..200)) {
            const WINDOW: i64 = 100;
            let mut window = Window::default();
            let (mut model, mut now, mut count): (Vec<(u8, i64, i64)>, i64, usize) = (Vec::new(), 0, 0);
            for (pos, act) in (0..).zip(acts) {
                match act {
                    Act::Pass(ms) => now += ms,
                    Act::Full => {
                        model.retain(|(_, at, _)| *at >= now - WINDOW);
                        count -= forget_before(&mut window, now - WINDOW);
                        prop_assert_eq!(window.forget_oldest(), usize::from(!model.is_empty()));
                        count = count.saturating_sub(usize::from(!model.is_empty()));
                        if !model.is_empty() {
                            model.remove(0);
                        }
                    }
                    Act::Send(id) => {
                        model.retain(|(_, at, _)| *at >= now - WINDOW);
                        // As a send does: it forgets a little, and must not find what is left.
                        if window.is_older(now - WINDOW) {
                            count -= window.forget_first();
                        }
                        let known = model.iter().find(|(known, _, _)| *known == id).map(|(_, _, pos)| *pos);
                        prop_assert_eq!(window.find(&print(id), now - WINDOW).map(|first| first.pos), known);
                        if known.is_none() {
                            model.push((id, now, pos));
                            count += window.remember(print(id), first(now, pos));
                        }
                    }
                }
                prop_assert_eq!(count, window.messages.len());
            }
        }
    }

    #[test]
    fn what_is_stored_anew_after_a_failed_write_is_forgotten_by_its_new_time() {
        let mut window = Window::default();
        assert_eq!(window.remember(print(1), first(10, 1)), 1);
        assert_eq!(window.remember(print(1), first(50, 2)), 0);
        assert_eq!(forget_before(&mut window, 20), 0);
        assert_eq!(window.find(&print(1), 20).map(|first| first.pos), Some(2));
        assert_eq!(forget_before(&mut window, 60), 1);
        assert_eq!(window.find(&print(1), 0), None);
    }

    #[test]
    fn another_group_another_id_and_another_body_are_other_messages() {
        let prints = [
            Print::of("A", "1", b"x"),
            Print::of("B", "1", b"x"),
            Print::of("A", "2", b"x"),
            Print::of("A", "1", b"y"),
            Print::of("A1", "", b"x"),
        ];
        let distinct: std::collections::BTreeSet<Print> = prints.into_iter().collect();
        assert_eq!(distinct.len(), prints.len());
    }
}
