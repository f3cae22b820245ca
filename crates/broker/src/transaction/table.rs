// SPDX-License-Identifier: Apache-2.0
//! Which halves have not ended. Pure: it knows neither the log nor clocks nor sockets; whoever appends tells it.
//!
//! ```text
//! half queue   ... ended ... | pending and ended, mixed | everything but what `ahead` says ... |
//!                            ^ progress                 ^ scanned                              ^ end
//! ```
//!
//! Below `scanned` a half is in `pending` or it has ended. From there on nobody has looked yet: most transactions end
//! within milliseconds, so a half costs nothing here until it is some seconds old, and one bit when it has ended before
//! that. What ended is remembered with the gate of the records that end it: if they cannot be written, it has not ended.
//!
//! A half that is asked about is written again at the end of the queue. The copy takes the place of the first: who ends
//! one of them ends all. Copies are recognised by their print, which is made of what the copies have in common.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

use store::{Gate, GateState};
use wire::Str;

/// One half that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Half {
    /// Position of its newest copy.
    pub(crate) pos: i64,
    pub(crate) born_at: i64,
    pub(crate) born_host: SocketAddr,
    /// How often its producers were asked.
    pub(crate) checks: u32,
    /// CHECK_IMMUNITY_TIME_IN_SECONDS, in ms; -1 for the default.
    pub(crate) immunity_ms: Option<i64>,
    pub(crate) group: Str,
    /// The topic it is meant for.
    pub(crate) topic: Str,
    pub(crate) print: u64,
    /// It was written again.
    pub(crate) is_copy: bool,
    /// The client that was asked last.
    pub(crate) asked: Option<Str>,
}

/// How a half stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It can be ended; its newest copy has this offset.
    Open(i64),
    /// Somebody has ended it, and it is ended when this gate passes.
    Ending(Gate),
    /// It has ended, and what ended it is written no later than what lies behind this gate; `None`: it was on disk when
    /// the broker started.
    Ended(Option<Gate>),
}

/// A copy whose write has not passed yet.
#[derive(Debug)]
struct Unsure {
    gate: Gate,
    copy: i64,
    /// What it replaced.
    before: Option<(i64, Half)>,
}

/// The halves of one queue.
#[derive(Debug, Default)]
pub(crate) struct Table {
    scanned: i64,
    pending: BTreeMap<i64, Half>,
    /// Pending copies by print.
    copies: HashMap<u64, i64>,
    ahead: Bits,
    ending: HashMap<i64, Gate>,
    order: VecDeque<(i64, Gate)>,
    /// The last gate of those that have passed.
    passed: Option<Gate>,
    unsure: Vec<Unsure>,
    ops: Ops,
}

impl Table {
    /// Nothing is known of halves from `from` on; all before have ended. Nor of op records from `ops_from` on; those before
    /// are not needed.
    pub(crate) fn starting_at(from: i64, ops_from: i64) -> Table {
        Table {
            scanned: from,
            ahead: Bits::starting_at(from),
            ops: Ops {
                end: ops_from,
                ..Ops::default()
            },
            ..Table::default()
        }
    }

    /// Where to look next.
    pub(crate) fn scanned(&self) -> i64 {
        self.scanned
    }

    /// How many are pending among those that were looked at.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The next offsets to look at, as a run from the first one that is not known to have ended, up to `end`.
    pub(crate) fn unknown(&mut self, end: i64, run_max: i64) -> Option<std::ops::Range<i64>> {
        while self.scanned < end && self.is_known(self.scanned) {
            self.pass(self.scanned + 1);
        }
        let from = self.scanned;
        let to = (from + 1..end.min(from + run_max)).find(|offset| self.is_known(*offset));
        (from < end).then(|| from..to.unwrap_or(end.min(from + run_max)))
    }

    fn is_known(&self, offset: i64) -> bool {
        self.ahead.get(offset) || self.pending.contains_key(&offset)
    }

    /// What was found in `range`, which begins at `scanned`. Offsets of it that are missing hold nothing to end.
    pub(crate) fn learn(&mut self, range: std::ops::Range<i64>, found: Vec<(i64, Half)>) {
        for (offset, half) in found {
            if range.contains(&offset) && offset >= self.scanned && !self.is_known(offset) {
                self.insert(offset, half);
            }
        }
        self.pass(range.end.max(self.scanned));
    }

    /// A copy is there, and was found before there was room to look at all that lies before it.
    pub(crate) fn learn_ahead(&mut self, offset: i64, copy: Half) {
        self.insert(
            offset,
            Half {
                is_copy: true,
                ..copy
            },
        );
    }

    fn pass(&mut self, to: i64) {
        self.scanned = to;
        self.ahead.forget_below(to);
    }

    fn insert(&mut self, offset: i64, half: Half) {
        if half.is_copy {
            self.copies.insert(half.print, offset);
        }
        self.pending.insert(offset, half);
    }

    fn remove(&mut self, offset: i64) -> Option<Half> {
        let half = self.pending.remove(&offset)?;
        if half.is_copy && self.copies.get(&half.print) == Some(&offset) {
            self.copies.remove(&half.print);
        }
        Some(half)
    }

    /// How the half at an offset stands.
    pub(crate) fn standing(&self, offset: i64, print: u64) -> Standing {
        if let Some(gate) = self.ending.get(&offset) {
            return Standing::Ending(*gate);
        }
        let is_open = if offset < self.scanned {
            self.pending.contains_key(&offset)
        } else {
            !self.ahead.get(offset)
        };
        match self.copies.get(&print) {
            _ if is_open => Standing::Open(offset),
            None => Standing::Ended(self.passed),
            Some(copy) => match self.ending.get(copy) {
                Some(gate) => Standing::Ending(*gate),
                None => Standing::Open(*copy),
            },
        }
    }

    /// The record that ends a half, given by its newest copy, is appended; it has ended when the gate passes.
    pub(crate) fn end(&mut self, offset: i64, gate: Gate) {
        self.ending.insert(offset, gate);
        self.order.push_back((offset, gate));
    }

    /// These halves have ended: their record was found.
    pub(crate) fn ended(&mut self, offset: i64) {
        self.remove(offset);
        if offset >= self.scanned {
            self.ahead.set(offset);
        }
    }

    /// Whether a half that was not looked at yet is known to have ended.
    pub(crate) fn has_ended(&self, offset: i64) -> bool {
        self.ahead.get(offset)
    }

    /// A copy of the half at `offset` is appended, with all that is to be known of it.
    pub(crate) fn replace(&mut self, offset: Option<i64>, copy: (i64, Half), gate: Gate) {
        let before = offset.and_then(|offset| Some((offset, self.remove(offset)?)));
        if let Some((offset, _)) = before.as_ref().filter(|(offset, _)| *offset >= self.scanned) {
            self.ahead.set(*offset);
        }
        self.insert(copy.0, copy.1);
        self.unsure.push(Unsure {
            gate,
            copy: copy.0,
            before,
        });
    }

    /// Takes note of gates that have passed, and takes back what will never be written.
    pub(crate) fn settle(&mut self, state: impl Fn(&Gate) -> GateState) {
        while let Some((offset, gate)) = self.order.front().copied() {
            let state = state(&gate);
            if state == GateState::Waiting {
                break;
            }
            self.order.pop_front();
            if self.ending.get(&offset) == Some(&gate) {
                self.ending.remove(&offset);
                if state == GateState::Passed {
                    self.passed = Some(gate);
                    self.ended(offset);
                }
            }
        }
        // The last first: it may have replaced one that is taken back, too.
        for at in (0..self.unsure.len()).rev() {
            match self.unsure.get(at).map(|unsure| state(&unsure.gate)) {
                None | Some(GateState::Waiting) => {}
                Some(GateState::Passed) => drop(self.unsure.remove(at)),
                Some(GateState::Failed) => {
                    let unsure = self.unsure.remove(at);
                    // A newer copy may have got the same offset.
                    if !self.unsure.iter().any(|newer| newer.copy == unsure.copy) {
                        self.remove(unsure.copy);
                    }
                    if let Some((offset, half)) = unsure.before {
                        self.ahead.clear(offset);
                        self.insert(offset, half);
                    }
                }
            }
        }
    }

    /// The first half that has not ended for sure: nothing before it is needed any more.
    pub(crate) fn progress(&self) -> i64 {
        let unsure = self
            .unsure
            .iter()
            .filter_map(|unsure| Some(unsure.before.as_ref()?.0));
        let pending = self.pending.first_key_value().map(|(offset, _)| *offset);
        let ending = self.order.iter().map(|(offset, _)| *offset);
        unsure.chain(pending).chain(ending).fold(self.scanned, i64::min)
    }

    /// The offset of the first op record that is still needed, given the progress on the halves.
    pub(crate) fn ops_progress(&mut self, progress: i64) -> i64 {
        self.ops.progress(progress)
    }

    /// There is an op record, the last half of which is `last`.
    pub(crate) fn note_op(&mut self, op_offset: i64, last: i64) {
        self.ops.note(op_offset, last);
    }

    /// The pending copy of a half, by what all its copies have in common.
    pub(crate) fn newest(&self, print: u64) -> Option<i64> {
        let copy = self.copies.get(&print).copied();
        copy.filter(|copy| !self.ending.contains_key(copy))
    }

    /// The half at an offset, unless it is about to end.
    pub(crate) fn get(&self, offset: i64) -> Option<&Half> {
        self.pending
            .get(&offset)
            .filter(|_| !self.ending.contains_key(&offset))
    }

    /// Notes who was asked.
    pub(crate) fn asked(&mut self, offset: i64, client: Str) {
        if let Some(half) = self.pending.get_mut(&offset) {
            half.asked = Some(client);
        }
    }

    /// All that are pending, from an offset on.
    pub(crate) fn pending_from(&self, offset: i64) -> impl Iterator<Item = (i64, &Half)> {
        let rest = self.pending.range(offset..);
        rest.filter(|(offset, _)| !self.ending.contains_key(offset))
            .map(|(offset, half)| (*offset, half))
    }
}

/// One bit for each offset from some offset on.
#[derive(Debug, Default)]
struct Bits {
    /// The offset of the first bit.
    base: i64,
    words: VecDeque<u64>,
}

/// Halves behind `scanned` beyond which none is ended before there was a look at the others: 8 MiB of bits.
pub(crate) const AHEAD_MAX: i64 = 1 << 26;

impl Bits {
    fn starting_at(base: i64) -> Bits {
        Bits {
            base,
            words: VecDeque::new(),
        }
    }

    fn place(&self, offset: i64) -> Option<(usize, u64)> {
        let at = usize::try_from(offset.checked_sub(self.base)?).ok()?;
        Some((at / 64, 1 << (at % 64)))
    }

    fn get(&self, offset: i64) -> bool {
        self.place(offset)
            .and_then(|(word, bit)| Some(self.words.get(word)? & bit != 0))
            .unwrap_or(false)
    }

    fn set(&mut self, offset: i64) {
        if let Some((word, bit)) = self.place(offset) {
            if self.words.len() <= word {
                self.words.resize(word + 1, 0);
            }
            if let Some(word) = self.words.get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn clear(&mut self, offset: i64) {
        if let Some((word, bit)) = self.place(offset)
            && let Some(word) = self.words.get_mut(word)
        {
            *word &= !bit;
        }
    }

    /// Bits below are not asked for any more.
    fn forget_below(&mut self, offset: i64) {
        while offset - self.base >= 64 {
            if self.words.pop_front().is_none() {
                self.base += (offset - self.base) / 64 * 64;
                return;
            }
            self.base += 64;
        }
    }
}

/// Op records that are noted together.
const OPS_TOGETHER: u32 = 256;

/// Which op records are needed, some together: the first of them, how many, and their last half.
#[derive(Debug, Default)]
struct Ops {
    groups: VecDeque<(i64, u32, i64)>,
    /// Behind the last op record that is known.
    end: i64,
}

impl Ops {
    fn note(&mut self, op_offset: i64, last: i64) {
        self.end = self.end.max(op_offset + 1);
        match self.groups.back_mut() {
            // After a failed write offsets are given out again: lower ones may follow higher ones.
            Some((first, count, end)) if *count < OPS_TOGETHER => {
                (*first, *count, *end) = ((*first).min(op_offset), *count + 1, (*end).max(last));
            }
            _ => self.groups.push_back((op_offset, 1, last)),
        }
    }

    fn progress(&mut self, halves: i64) -> i64 {
        while self.groups.front().is_some_and(|(_, _, last)| *last < halves) {
            self.groups.pop_front();
        }
        let first = self.groups.iter().map(|(first, _, _)| *first).min();
        first.unwrap_or(self.end)
    }
}

#[cfg(test)]
mod tests;
