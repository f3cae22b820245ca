// SPDX-License-Identifier: Apache-2.0
//! Which messages were acknowledged and which have come: what is lost, doubled, or came though it should not.
//!
//! Two bits per message, in pages; a page is dropped when all of its messages were acknowledged and have come, so that a
//! long run keeps only what is open.

use serde::{Deserialize, Serialize};

/// Messages of a page.
const PAGE: u64 = 1 << 16;
/// Pages at once: 16 KiB each, so 1 GiB.
const OPEN_PAGES_MAX: usize = 1 << 16;
/// Pages in all: 8 bytes each.
const PAGES_MAX: usize = 1 << 24;

#[derive(Debug, Clone)]
struct Page {
    acked: Vec<u64>,
    came: Vec<u64>,
    /// Messages of which both is true.
    settled: u64,
}

#[derive(Debug, Clone)]
enum Slot {
    Untouched,
    Open(Box<Page>),
    /// All of it was acknowledged and has come.
    Settled,
}

/// What has come for a message before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// Nothing.
    First,
    /// It has.
    Again,
}

/// What became of the messages of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Acknowledged by the server and to be delivered.
    pub expected: u64,
    /// Different messages that have come.
    pub received: u64,
    /// Expected and not received.
    pub lost: u64,
    /// Received once more.
    pub doubled: u64,
    /// Received behind a later message of the same queue.
    pub out_of_order: u64,
    /// Received though their send was not answered with success.
    pub unacknowledged: u64,
    /// Received though their transaction was rolled back.
    pub forbidden: u64,
    /// Received with a body that was not sent.
    pub corrupt: u64,
    /// Messages of other runs, passed over.
    pub foreign: u64,
}

/// The bits.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    slots: Vec<Slot>,
    open: usize,
    /// What is not worked out from the bits.
    pub(crate) counted: Delivery,
    /// Acknowledged but not come yet, as far as known without looking.
    pending: i64,
    /// Beyond this it keeps nothing.
    full: bool,
}

impl Ledger {
    /// The server has promised to deliver it. Whether that is new.
    pub(crate) fn acked(&mut self, number: u64) -> bool {
        let mut first = false;
        self.note(number, |page, word, bit| {
            if let Some(acked) = page.acked.get_mut(word) {
                first = *acked & bit == 0;
                *acked |= bit;
            }
        });
        self.counted.expected += u64::from(first);
        self.pending += i64::from(first);
        first
    }

    /// Whether the server has promised that.
    pub(crate) fn has_acked(&self, number: u64) -> bool {
        match self.slots.get((number / PAGE) as usize) {
            Some(Slot::Open(page)) => {
                let word = page.acked.get((number % PAGE / 64) as usize);
                word.is_some_and(|word| word & (1 << (number % 64)) != 0)
            }
            Some(Slot::Settled) => true,
            Some(Slot::Untouched) | None => false,
        }
    }

    /// It has come.
    pub(crate) fn came(&mut self, number: u64) -> Came {
        let mut first = false;
        let known = self.note(number, |page, word, bit| {
            if let Some(came) = page.came.get_mut(word) {
                first = *came & bit == 0;
                *came |= bit;
            }
        });
        if known && !first {
            self.counted.doubled += 1;
            return Came::Again;
        }
        self.counted.received += 1;
        self.pending -= 1;
        Came::First
    }

    /// Whether more can be kept.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether everything that was promised has come. What came unpromised makes this look at the bits.
    pub(crate) fn is_complete(&self) -> bool {
        self.pending <= 0 && self.missing() == 0
    }

    fn missing(&self) -> u64 {
        let open = self.slots.iter().filter_map(|slot| match slot {
            Slot::Open(page) => Some(page),
            _ => None,
        });
        open.map(|page| count(page, |acked, came| acked & !came)).sum()
    }

    /// The sum of it.
    pub(crate) fn delivery(&self) -> Delivery {
        let open = self.slots.iter().filter_map(|slot| match slot {
            Slot::Open(page) => Some(page),
            _ => None,
        });
        Delivery {
            lost: self.missing(),
            unacknowledged: open.map(|page| count(page, |acked, came| came & !acked)).sum(),
            ..self.counted
        }
    }

    /// `false`: nothing is known about this number any more, as all of its page is settled, or it is beyond the limit.
    fn note(&mut self, number: u64, set: impl FnOnce(&mut Page, usize, u64)) -> bool {
        let index = (number / PAGE) as usize;
        if index >= PAGES_MAX || self.full {
            self.full = true;
            return false;
        }
        if index >= self.slots.len() {
            self.slots.resize(index + 1, Slot::Untouched);
        }
        let Some(slot) = self.slots.get_mut(index) else {
            return false;
        };
        if matches!(slot, Slot::Untouched) {
            self.full = self.open >= OPEN_PAGES_MAX;
            self.open += 1;
            let bits = || vec![0; (PAGE / 64) as usize];
            *slot = Slot::Open(Box::new(Page {
                acked: bits(),
                came: bits(),
                settled: 0,
            }));
        }
        // A settled page knows the answer: all of it came.
        let Slot::Open(page) = slot else {
            return true;
        };
        let (word, bit) = ((number % PAGE / 64) as usize, 1 << (number % 64));
        let both = |page: &Page| {
            let acked = page.acked.get(word).copied().unwrap_or_default();
            acked & page.came.get(word).copied().unwrap_or_default() & bit != 0
        };
        let before = both(page);
        set(page, word, bit);
        page.settled += u64::from(both(page) && !before);
        if page.settled == PAGE {
            *slot = Slot::Settled;
            self.open -= 1;
        }
        true
    }
}

fn count(page: &Page, of: impl Fn(u64, u64) -> u64) -> u64 {
    let words = page.acked.iter().zip(&page.came);
    words
        .map(|(acked, came)| u64::from(of(*acked, *came).count_ones()))
        .sum()
}

/// Whether messages of a queue come in the order in which they were sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order(Option<u64>);

impl Order {
    /// Whether this one comes behind a later one.
    pub(crate) fn is_broken_by(&mut self, number: u64) -> bool {
        if self.0.is_some_and(|last| number < last) {
            return true;
        }
        self.0 = Some(number);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_doubled_and_unpromised_messages_are_told_apart() {
        let mut ledger = Ledger::default();
        for number in [0, 1, 2, 100_000] {
            ledger.acked(number);
        }
        assert!(!ledger.is_complete());
        assert_eq!(ledger.came(0), Came::First);
        assert_eq!(ledger.came(2), Came::First);
        assert_eq!(ledger.came(2), Came::Again);
        assert_eq!(ledger.came(77), Came::First);
        let delivery = ledger.delivery();
        assert_eq!((delivery.expected, delivery.received, delivery.lost), (4, 3, 2));
        assert_eq!((delivery.doubled, delivery.unacknowledged), (1, 1));
        // One came that nobody promised: the count alone would hide the one that is missing.
        assert_eq!(ledger.came(1), Came::First);
        assert!(!ledger.is_complete());
        ledger.came(100_000);
        assert!(ledger.is_complete());
    }

    #[test]
    fn pages_of_which_everything_has_come_cost_nothing_and_still_know_doubles() {
        let mut ledger = Ledger::default();
        for number in 0..3 * PAGE {
            // A message may be received before its sender has the answer.
            if number % 2 == 0 {
                ledger.acked(number);
                ledger.came(number);
            } else {
                ledger.came(number);
                ledger.acked(number);
            }
        }
        assert_eq!(ledger.open, 0);
        assert!(ledger.is_complete());
        assert_eq!(ledger.came(PAGE + 1), Came::Again);
        let delivery = ledger.delivery();
        assert_eq!(
            (delivery.lost, delivery.doubled, delivery.unacknowledged),
            (0, 1, 0)
        );
        assert_eq!(delivery.received, 3 * PAGE);
    }

    #[test]
    fn numbers_beyond_the_limit_are_said_to_be_and_take_no_memory() {
        let mut ledger = Ledger::default();
        ledger.acked(u64::MAX / 2);
        assert!(ledger.is_full());
        assert!(ledger.slots.is_empty());
    }

    #[test]
    fn a_message_behind_a_later_one_breaks_the_order_once() {
        let mut order = Order::default();
        let broken = [1, 5, 3, 4, 9, 9].map(|number| order.is_broken_by(number));
        assert_eq!(broken, [false, false, true, true, false, false]);
    }
}
