// SPDX-License-Identifier: Apache-2.0
//! The requests of one connection that are under way: what each was about, by the number that its answer will have.

/// Requests under way.
#[derive(Debug)]
pub(crate) struct Flight<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u16>,
    max: usize,
}

#[derive(Debug)]
struct Slot<T> {
    /// Counts how often the slot was used, so that a late answer to an earlier request finds nothing.
    turn: u16,
    deadline: u64,
    asked: Option<T>,
}

impl<T> Flight<T> {
    /// `max` is at most 65 536.
    pub(crate) fn new(max: usize) -> Flight<T> {
        Flight {
            slots: Vec::new(),
            free: Vec::new(),
            max: max.min(1 << 16),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    /// Notes a request; its number. It must not be full.
    pub(crate) fn put(&mut self, asked: T, deadline: u64) -> i32 {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.slots.push(Slot {
                    turn: 0,
                    deadline,
                    asked: None,
                });
                (self.slots.len() - 1) as u16
            }
        };
        let mut turn = 0;
        if let Some(slot) = self.slots.get_mut(usize::from(place)) {
            // 15 bits: numbers are not negative.
            slot.turn = slot.turn.wrapping_add(1) & 0x7fff;
            slot.deadline = deadline;
            slot.asked = Some(asked);
            turn = slot.turn;
        }
        i32::from(turn) << 16 | i32::from(place)
    }

    /// The request that is answered.
    pub(crate) fn take(&mut self, opaque: i32) -> Option<T> {
        let (turn, place) = ((opaque >> 16) as u16, (opaque & 0xffff) as u16);
        let slot = self.slots.get_mut(usize::from(place))?;
        if slot.turn != turn {
            return None;
        }
        let asked = slot.asked.take()?;
        self.free.push(place);
        Some(asked)
    }

    /// Requests whose time is up.
    pub(crate) fn expired(&mut self, now: u64) -> Vec<T> {
        let mut all = Vec::new();
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if slot.deadline <= now
                && let Some(asked) = slot.asked.take()
            {
                self.free.push(place as u16);
                all.push(asked);
            }
        }
        all
    }

    /// All of them: their connection has ended.
    pub(crate) fn lost(&mut self) -> Vec<T> {
        self.expired(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_finds_its_request_once_and_a_late_one_finds_nothing() {
        let mut flight = Flight::new(2);
        let (a, b) = (flight.put('a', 10), flight.put('b', 20));
        assert!(flight.is_full());
        assert_eq!(flight.expired(15), ['a']);
        let c = flight.put('c', 30);
        assert_eq!(flight.take(a), None, "the slot is another's now");
        assert_eq!((flight.take(c), flight.take(c)), (Some('c'), None));
        assert_eq!(flight.take(b), Some('b'));
        assert_eq!((flight.take(-1), flight.take(i32::MAX)), (None, None));
        assert_eq!(flight.len(), 0);
    }

    #[test]
    fn numbers_go_on_when_the_turns_of_a_slot_begin_again() {
        let mut flight = Flight::new(1);
        let first = flight.put(0, 1);
        assert_eq!(flight.take(first), Some(0));
        for n in 1..=0x8000 {
            let opaque = flight.put(n, 1);
            assert!(opaque >= 0);
            assert_eq!(flight.take(opaque), Some(n));
        }
        flight.put(7, 1);
        assert_eq!(flight.lost(), [7]);
    }
}
