// SPDX-License-Identifier: Apache-2.0
//! The records of the pop journal, and how the state comes back from them.
//!
//! ```text
//! name     1 | id 4 | queue 4 | group length 2, group | topic
//! state    2 | id 4 | next 8 | number of leases records 4           replaces all that is known of the queue, with the
//! leases   3 | id 4 | leases                                        last of its leases records
//! popped   4 | id 4 | from 8 | next 8 | leases
//! settled  5 | id 4 | offsets 8 each                                acknowledged, or written to the retry topic
//! changed  6 | id 4 | offset 8 | popped at 8 | visible at 8
//! adopted  7 | id 4 | offset 8 | popped at 8 | visible at 8
//! moved    8 | id 4 | next 8 before | next 8 now
//! dropped  9 | id 4
//! clean   10                                                        the broker ended in order behind it
//! ours    11 | since 8                                              nobody else has handed anything out since then (ms)
//! lease: first 8 | mask 8 | popped at 8 | visible at 8
//! ```
//!
//! A `popped` or a `moved` (forward) that does not follow on the state before it is passed over: something before it was
//! lost, and its messages are handed out once more. What later records say of messages that are not handed out has no effect.

use std::collections::HashMap;

use wire::Str;

use super::flight::{Flight, Handout, Lease};

/// Leases of one record: 32 KiB.
const LEASES_MAX: usize = 1024;

/// Whose state it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) group: Str,
    pub(crate) topic: Str,
    pub(crate) queue_id: i32,
}

/// One record, as it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Record<'a> {
    Name(&'a Name),
    State { next: i64, parts: u32 },
    Leases(&'a [Lease]),
    Popped(&'a Handout),
    Settled(&'a [i64]),
    Changed(Single),
    Adopted(Single),
    Moved { from: i64, next: i64 },
    Dropped,
}

/// A lease on one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Single {
    pub(crate) offset: i64,
    pub(crate) popped_at: i64,
    pub(crate) visible_at: i64,
}

mod kind {
    pub(super) const NAME: u8 = 1;
    pub(super) const STATE: u8 = 2;
    pub(super) const LEASES: u8 = 3;
    pub(super) const POPPED: u8 = 4;
    pub(super) const SETTLED: u8 = 5;
    pub(super) const CHANGED: u8 = 6;
    pub(super) const ADOPTED: u8 = 7;
    pub(super) const MOVED: u8 = 8;
    pub(super) const DROPPED: u8 = 9;
    pub(super) const CLEAN: u8 = 10;
    pub(super) const OURS: u8 = 11;
}

/// The record that says that the broker ended in order.
pub(crate) const CLEAN: &[u8] = &[kind::CLEAN];

/// The record that says since when nobody else has handed anything out.
pub(crate) fn ours(since_ms: i64) -> Vec<u8> {
    let mut out = vec![kind::OURS];
    out.extend_from_slice(&since_ms.to_be_bytes());
    out
}

/// The bytes of a record about a queue.
pub(crate) fn encode(id: u32, record: Record<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let start = |out: &mut Vec<u8>, kind: u8| {
        out.push(kind);
        out.extend_from_slice(&id.to_be_bytes());
    };
    let put = |out: &mut Vec<u8>, number: i64| out.extend_from_slice(&number.to_be_bytes());
    let leases = |out: &mut Vec<u8>, leases: &[Lease]| {
        for lease in leases {
            put(out, lease.first);
            out.extend_from_slice(&lease.mask.to_be_bytes());
            put(out, lease.popped_at);
            put(out, lease.visible_at);
        }
    };
    let single = |out: &mut Vec<u8>, single: Single| {
        put(out, single.offset);
        put(out, single.popped_at);
        put(out, single.visible_at);
    };
    match record {
        Record::Name(name) => {
            start(&mut out, kind::NAME);
            out.extend_from_slice(&name.queue_id.to_be_bytes());
            out.extend_from_slice(&(name.group.len() as u16).to_be_bytes());
            out.extend_from_slice(name.group.as_bytes());
            out.extend_from_slice(name.topic.as_bytes());
        }
        Record::State { next, parts } => {
            start(&mut out, kind::STATE);
            put(&mut out, next);
            out.extend_from_slice(&parts.to_be_bytes());
        }
        Record::Leases(all) => {
            start(&mut out, kind::LEASES);
            leases(&mut out, all);
        }
        Record::Popped(handout) => {
            start(&mut out, kind::POPPED);
            put(&mut out, handout.from);
            put(&mut out, handout.next);
            leases(&mut out, &handout.leases);
        }
        Record::Settled(offsets) => {
            start(&mut out, kind::SETTLED);
            offsets.iter().for_each(|offset| put(&mut out, *offset));
        }
        Record::Changed(one) => {
            start(&mut out, kind::CHANGED);
            single(&mut out, one);
        }
        Record::Adopted(one) => {
            start(&mut out, kind::ADOPTED);
            single(&mut out, one);
        }
        Record::Moved { from, next } => {
            start(&mut out, kind::MOVED);
            put(&mut out, from);
            put(&mut out, next);
        }
        Record::Dropped => start(&mut out, kind::DROPPED),
    }
    out
}

/// The records that hold all of a queue's state.
pub(crate) fn snapshot(
    id: u32,
    name: &Name,
    flight: &Flight,
    mut put: impl FnMut(Vec<u8>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    put(encode(id, Record::Name(name)))?;
    let leases: Vec<Lease> = flight.leases().collect();
    let parts = leases.chunks(LEASES_MAX);
    let state = Record::State {
        next: flight.next(),
        parts: parts.len() as u32,
    };
    put(encode(id, state))?;
    for leases in parts {
        put(encode(id, Record::Leases(leases)))?;
    }
    Ok(())
}

/// What the records come to.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    queues: HashMap<u32, (Name, Option<Flight>)>,
    /// A state that lacks so many of its leases records: an end in between must leave the state before.
    partial: Option<(u32, Flight, u32)>,
    /// The broker ended in order: the file of offsets is as new as the journal, unless somebody else wrote it since.
    pub(crate) is_clean: bool,
    /// Since when nobody else has handed anything out, if the journal says.
    pub(crate) ours_since: Option<i64>,
}

impl Replayed {
    /// Takes the next record. One that makes no sense has no effect.
    pub(crate) fn read(&mut self, record: &[u8]) {
        self.is_clean = record == CLEAN;
        if let Some((&kind::OURS, since)) = record.split_first() {
            self.ours_since = Cursor(since).number();
        } else if !self.is_clean {
            let _damaged_if_none: Option<()> = self.apply(record);
        }
    }

    /// All queues with what is in flight, and the number after the last one used.
    pub(crate) fn into_queues(self) -> (Vec<(u32, Name, Flight)>, u32) {
        let end = self.queues.keys().max().map_or(0, |id| id + 1);
        let queues = self.queues.into_iter();
        let queues = queues.filter_map(|(id, (name, flight))| Some((id, name, flight?)));
        (queues.collect(), end)
    }

    fn apply(&mut self, record: &[u8]) -> Option<()> {
        let mut at = Cursor(record);
        let kind = at.take::<1>()?[0];
        let id = u32::from_be_bytes(at.take()?);
        if kind == kind::NAME {
            let queue_id = i32::from_be_bytes(at.take()?);
            let len = usize::from(u16::from_be_bytes(at.take()?));
            let (group, topic) = at.0.split_at_checked(len)?;
            let name = Name {
                group: std::str::from_utf8(group).ok()?.into(),
                topic: std::str::from_utf8(topic).ok()?.into(),
                queue_id,
            };
            if self.queues.get(&id).is_none_or(|(known, _)| *known != name) {
                self.queues.insert(id, (name, None));
            }
            return Some(());
        }
        if kind == kind::DROPPED {
            self.queues.remove(&id);
            return Some(());
        }
        let (_, slot) = self.queues.get_mut(&id)?;
        if kind == kind::STATE {
            let (flight, parts) = (Flight::new(at.number()?), u32::from_be_bytes(at.take()?));
            if parts == 0 {
                *slot = Some(flight);
            } else {
                self.partial = Some((id, flight, parts));
            }
            return Some(());
        }
        if kind == kind::LEASES {
            let (_, flight, parts) = self.partial.as_mut().filter(|(of, ..)| *of == id)?;
            at.leases().into_iter().for_each(|lease| flight.restore(lease));
            *parts -= 1;
            if *parts == 0 {
                *slot = self.partial.take().map(|(_, flight, _)| flight);
            }
            return Some(());
        }
        let flight = slot.as_mut()?;
        match kind {
            kind::POPPED => {
                let (from, next) = (at.number()?, at.number()?);
                let leases = at.leases();
                flight.hand_out(&Handout { from, next, leases });
            }
            kind::SETTLED => {
                while let Some(offset) = at.number() {
                    flight.settle(offset);
                }
            }
            kind::CHANGED => {
                let one = at.single()?;
                flight.change(one.offset, one.popped_at, one.visible_at);
            }
            kind::ADOPTED => {
                let one = at.single()?;
                flight.adopt(one.offset, one.popped_at, one.visible_at);
            }
            kind::MOVED => {
                let (from, next) = (at.number()?, at.number()?);
                if from == flight.next() || next < flight.next() {
                    flight.move_to(next);
                }
            }
            _ => {}
        }
        Some(())
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        let taken = *taken;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn leases(&mut self) -> Vec<Lease> {
        std::iter::from_fn(|| {
            Some(Lease {
                first: self.number()?,
                mask: u64::from_be_bytes(self.take()?),
                popped_at: self.number()?,
                visible_at: self.number()?,
                by: 0,
            })
        })
        .collect()
    }

    fn single(&mut self) -> Option<Single> {
        Some(Single {
            offset: self.number()?,
            popped_at: self.number()?,
            visible_at: self.number()?,
        })
    }
}
