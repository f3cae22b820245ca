// SPDX-License-Identifier: Apache-2.0
//! The messages of one queue that are with the consumers of one group. Pure: told the time, it touches nothing.
//!
//! What is unsettled is [`Flight::next`] and everything behind it, which nobody was handed yet, and the messages of the
//! leases before it. Everything else is settled. The first unsettled offset is what the group has committed: whatever is
//! lost, a message comes once too often at worst.
//!
//! A lease holds messages that were handed out together, up to 64 offsets wide: bit i of its mask is offset `first + i`,
//! and bit 0 is always set, so that no two leases have the same key. A settled lease is gone.

use std::collections::{BTreeMap, BTreeSet};

/// Offsets a lease spans.
const SPAN: i64 = 64;

/// Messages that were handed out together and are not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Offset of its first message.
    pub(crate) first: i64,
    /// Which offsets from there on.
    pub(crate) mask: u64,
    /// When they were handed out, ms: a handle is good for this time only. Negative while they are written to the retry
    /// topic, so that no handle is good then.
    pub(crate) popped_at: i64,
    /// When they come again, ms.
    pub(crate) visible_at: i64,
    /// The connection that has them; 0: not known, as after a start.
    pub(crate) by: u64,
}

impl Lease {
    /// The offsets, ascending.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = i64> {
        let Lease { first, mask, .. } = *self;
        (0..SPAN)
            .filter(move |i| mask >> i & 1 == 1)
            .map(move |i| first.saturating_add(i))
    }

    /// Behind its last offset.
    fn end(&self) -> i64 {
        self.first
            .saturating_add(SPAN - i64::from(self.mask.leading_zeros()))
    }

    fn bit(&self, offset: i64) -> u64 {
        match u32::try_from(offset.wrapping_sub(self.first)) {
            Ok(bit) => 1_u64.checked_shl(bit).unwrap_or(0) & self.mask,
            Err(_) => 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    mask: u64,
    popped_at: i64,
    visible_at: i64,
    by: u64,
}

/// What one pop takes from a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handout {
    /// [`Flight::next`] before.
    pub(crate) from: i64,
    /// [`Flight::next`] afterwards.
    pub(crate) next: i64,
    /// The messages, each offset in one lease.
    pub(crate) leases: Vec<Lease>,
}

impl Handout {
    /// What is between `from` and `next` and not among `offsets` (ascending) was not wanted, and counts as settled.
    pub(crate) fn new(
        (from, next): (i64, i64),
        offsets: &[i64],
        (popped_at, visible_at): (i64, i64),
    ) -> Handout {
        let mut leases: Vec<Lease> = Vec::with_capacity(1 + offsets.len() / 32);
        for offset in offsets {
            match leases.last_mut() {
                Some(lease) if offset - lease.first < SPAN => lease.mask |= 1 << (offset - lease.first),
                _ => leases.push(Lease {
                    first: *offset,
                    mask: 1,
                    popped_at,
                    visible_at,
                    by: 0,
                }),
            }
        }
        Handout { from, next, leases }
    }

    /// Notes which connection gets them.
    pub(crate) fn to(mut self, peer: u64) -> Handout {
        for lease in &mut self.leases {
            lease.by = peer;
        }
        self
    }
}

/// The state of one queue for one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flight {
    next: i64,
    leases: BTreeMap<i64, Held>,
    /// When leases end, and their first offsets.
    ends: BTreeSet<(i64, i64)>,
    count: usize,
}

impl Flight {
    /// Nothing is handed out, and the first message to be is `next`.
    pub(crate) fn new(next: i64) -> Flight {
        Flight {
            next,
            ..Flight::default()
        }
    }

    /// The first offset nobody was handed.
    pub(crate) fn next(&self) -> i64 {
        self.next
    }

    /// The first offset that is not settled.
    pub(crate) fn floor(&self) -> i64 {
        self.leases
            .first_key_value()
            .map_or(self.next, |(first, _)| *first)
    }

    /// Messages that are with consumers.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// When the first lease ends.
    pub(crate) fn ends_at(&self) -> Option<i64> {
        self.ends.first().map(|(visible_at, _)| *visible_at)
    }

    /// All leases, ascending.
    pub(crate) fn leases(&self) -> impl Iterator<Item = Lease> {
        self.leases.iter().map(|(first, held)| of(*first, held))
    }

    /// Hands messages out. `false`: it does not follow on what was handed out before, and nothing is done.
    pub(crate) fn hand_out(&mut self, handout: &Handout) -> bool {
        let is_next = handout.from == self.next && handout.next >= handout.from;
        let mut end = handout.from;
        let fits = |lease: &Lease| {
            let begin = std::mem::replace(&mut end, lease.end());
            lease.mask & 1 == 1 && lease.first >= begin
        };
        if !is_next || !handout.leases.iter().all(fits) || end > handout.next {
            return false;
        }
        for lease in &handout.leases {
            self.insert(*lease);
        }
        self.next = handout.next;
        true
    }

    /// Whether the message is with the consumer who was handed it at that time.
    pub(crate) fn holds(&self, offset: i64, popped_at: i64) -> bool {
        self.find(offset)
            .is_some_and(|lease| lease.popped_at == popped_at)
    }

    /// The lease of a message that is handed out and unsettled.
    pub(crate) fn lease_of(&self, offset: i64) -> Option<Lease> {
        self.find(offset)
    }

    /// Whether the message is handed out and unsettled, whoever has it.
    pub(crate) fn is_open(&self, offset: i64) -> bool {
        self.find(offset).is_some()
    }

    /// The message is done. `false`: it was already, or was never handed out.
    pub(crate) fn settle(&mut self, offset: i64) -> bool {
        let Some(lease) = self.find(offset) else {
            return false;
        };
        self.remove(lease.first);
        self.insert_rest(Lease {
            mask: lease.mask & !lease.bit(offset),
            ..lease
        });
        true
    }

    /// The message gets a lease of its own. `false`: it is not handed out.
    pub(crate) fn change(&mut self, offset: i64, popped_at: i64, visible_at: i64) -> bool {
        let Some(Lease { by, .. }) = self.find(offset) else {
            return false;
        };
        self.settle(offset);
        self.lend(offset, popped_at, visible_at, by);
        true
    }

    /// A message before [`Flight::next`] that was settled is unsettled, and handed out like this: somebody else's lease is
    /// taken over.
    pub(crate) fn adopt(&mut self, offset: i64, popped_at: i64, visible_at: i64) -> bool {
        let is_new = offset < self.next && !self.is_open(offset);
        if is_new {
            self.lend(offset, popped_at, visible_at, 0);
        }
        is_new
    }

    /// Takes leases that have ended, at most `max`: no handle is good for them until they are settled, and they end
    /// again at `again_at` if they never are.
    pub(crate) fn take_ended(&mut self, now_ms: i64, max: usize, again_at: i64) -> Vec<Lease> {
        let ended = self.ends.iter().take_while(|(at, _)| *at <= now_ms);
        let firsts: Vec<i64> = ended.take(max).map(|(_, first)| *first).collect();
        let mut taken = Vec::with_capacity(firsts.len());
        for first in firsts {
            if let Some(lease) = self.remove(first) {
                taken.push(lease);
                self.insert(Lease {
                    popped_at: -lease.popped_at.saturating_abs(),
                    visible_at: again_at.max(now_ms.saturating_add(1)),
                    ..lease
                });
            }
        }
        taken
    }

    /// The next message to be handed out is another one: those from there on are handed out to nobody, those before it are
    /// settled unless they are in a lease.
    pub(crate) fn move_to(&mut self, next: i64) {
        let behind: Vec<i64> = self
            .leases
            .range(next.saturating_sub(SPAN)..)
            .map(|(first, _)| *first)
            .collect();
        for first in behind {
            if let Some(lease) = self.remove(first) {
                let keep = next.saturating_sub(lease.first).clamp(0, SPAN);
                let mask = u32::try_from(keep)
                    .ok()
                    .and_then(|keep| 1_u64.checked_shl(keep))
                    .map_or(u64::MAX, |end| end - 1);
                self.insert_rest(Lease {
                    mask: lease.mask & mask,
                    ..lease
                });
            }
        }
        self.next = next;
    }

    /// Everything before that offset is settled.
    pub(crate) fn settle_below(&mut self, offset: i64) {
        while let Some(lease) = self
            .leases
            .first_key_value()
            .map(|(first, held)| of(*first, held))
            && lease.first < offset
        {
            self.remove(lease.first);
            let gone = offset.saturating_sub(lease.first);
            let mask = if gone >= SPAN {
                0
            } else {
                lease.mask >> gone << gone
            };
            self.insert_rest(Lease { mask, ..lease });
        }
        self.next = self.next.max(offset);
    }

    /// A lease as it stands in a snapshot.
    pub(crate) fn restore(&mut self, lease: Lease) {
        let is_sound = lease.mask & 1 == 1 && lease.end() <= self.next;
        if is_sound && !lease.offsets().any(|offset| self.is_open(offset)) {
            self.insert(lease);
        }
    }

    fn lend(&mut self, offset: i64, popped_at: i64, visible_at: i64, by: u64) {
        self.insert(Lease {
            first: offset,
            mask: 1,
            popped_at,
            visible_at,
            by,
        });
    }

    /// The lease an offset belongs to. Leases may lie inside each other's span, but no offset is in two.
    fn find(&self, offset: i64) -> Option<Lease> {
        let near = self.leases.range(offset.saturating_sub(SPAN - 1)..=offset).rev();
        near.map(|(first, held)| of(*first, held))
            .find(|lease| lease.bit(offset) != 0)
    }

    fn insert(&mut self, lease: Lease) {
        self.count += lease.mask.count_ones() as usize;
        self.ends.insert((lease.visible_at, lease.first));
        let Lease {
            first,
            mask,
            popped_at,
            visible_at,
            by,
        } = lease;
        let before = self.leases.insert(
            first,
            Held {
                mask,
                popped_at,
                visible_at,
                by,
            },
        );
        assert!(before.is_none(), "offset {first} is in two leases");
    }

    /// What is left of a lease, which may begin later than it did.
    fn insert_rest(&mut self, lease: Lease) {
        if lease.mask != 0 {
            let shift = lease.mask.trailing_zeros();
            self.insert(Lease {
                first: lease.first.saturating_add(i64::from(shift)),
                mask: lease.mask >> shift,
                ..lease
            });
        }
    }

    fn remove(&mut self, first: i64) -> Option<Lease> {
        let held = self.leases.remove(&first)?;
        self.ends.remove(&(held.visible_at, first));
        self.count -= held.mask.count_ones() as usize;
        Some(of(first, &held))
    }
}

fn of(first: i64, held: &Held) -> Lease {
    Lease {
        first,
        mask: held.mask,
        popped_at: held.popped_at,
        visible_at: held.visible_at,
        by: held.by,
    }
}
