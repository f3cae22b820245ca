// SPDX-License-Identifier: Apache-2.0
//! Damaged entries of the log: each is replaced by one that keeps the chain of its tick together, so that nothing behind it
//! is lost, here or with the reference, whose recovery ends at the first unsound entry. The message of the damaged
//! one lies in the timer topic between those of its neighbours; whoever reads the topic is told where to look
//! ([`Timers::lost`]). The replacement says that this is still to be done until a flush has made the new entry durable.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use super::Timers;
use super::log::{ENTRY_BYTES, TimerEntry, TimerLog};
use super::plan::{Place, floor, place};
use super::wheel::Slot;
use crate::draft::LogPos;

/// Neighbours that are asked where their messages lie: one that was found again lies out of order.
const NEIGHBOURS: usize = 16;

/// Messages whose entries were damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// They lie behind this message of the timer topic, `None`: anywhere.
    pub after: Option<LogPos>,
    /// And before this one, `None`: before the next one to read.
    pub before: Option<LogPos>,
    /// They had their entries at this time.
    written_ms: i64,
    /// Ticks before this had fired.
    fired_ms: i64,
    /// The tick of the one that is lost, as far as it is known.
    tick_ms: Option<i64>,
    /// Where they were; none when the log itself is shorter than it was.
    seats: Vec<i64>,
}

impl Lost {
    /// What files in front of the first one that is there held.
    pub(crate) fn front(log: &TimerLog, fired_ms: i64) -> io::Result<Lost> {
        let mut first = None;
        log.walk(log.begin(), log.end(), |_, entry| {
            first = first.or(entry.filter(|entry| !entry.is_lost).copied());
            Ok(())
        })?;
        let path = log.file_of(log.begin());
        tracing::error!(
            file = %path.display(),
            "files in front of this one of the timer log are missing; their messages are looked for"
        );
        Ok(Lost {
            before: first.map(|entry| LogPos(entry.pos)),
            written_ms: first.map_or(fired_ms, |entry| entry.written_ms),
            ..Lost::end(None, fired_ms)
        })
    }

    /// What an end that is gone held.
    pub(crate) fn end(after: Option<LogPos>, fired_ms: i64) -> Lost {
        Lost {
            after,
            before: None,
            written_ms: fired_ms,
            fired_ms,
            tick_ms: None,
            seats: Vec::new(),
        }
    }
}

impl Timers {
    /// Messages that have lost their entries, and have to be looked for in the timer topic.
    pub fn lost(&self) -> Option<&Lost> {
        self.lost.front()
    }

    /// Whether a lost message of this tick has not fired: it gets an entry again, or is delivered if it is due.
    pub fn is_missing(&self, lost: &Lost, out_ms: i64) -> bool {
        let out_ms = floor(out_ms, self.config.precision_ms);
        match place(out_ms, lost.written_ms, lost.written_ms, &self.window) {
            Place::Now | Place::Tick(_) => {
                out_ms >= lost.fired_ms && lost.tick_ms.is_none_or(|tick| tick == out_ms)
            }
            // It rolled at about this tick.
            Place::Roll(tick) => tick >= lost.fired_ms,
        }
    }

    /// Says that all of [`Timers::lost`] were looked for.
    pub fn found(&mut self) {
        if let Some(lost) = self.lost.pop_front() {
            self.found.extend(lost.seats);
            self.is_changed = true;
        }
    }

    /// Mends the chain of a tick that is about to fire. Damaged entries beside it are left to their own ticks.
    pub(crate) fn mend_chain(&mut self, broken: i64, slot: &Slot) -> io::Result<()> {
        let tick = slot.at_ms;
        let mut damaged = BTreeSet::new();
        let mut seats = BTreeMap::from([(broken, tick)]);
        self.log.walk(slot.first, self.log.end(), |at, entry| {
            match entry {
                None if at <= slot.last => {
                    damaged.insert(at);
                }
                Some(entry) if entry.tick_ms() == tick && damaged.contains(&entry.prev) => {
                    seats.insert(entry.prev, tick);
                }
                _ => {}
            }
            Ok(())
        })?;
        mend(&mut self.log, &seats, slot.first)?;
        // Others of the tick may have hung on one of these alone.
        let seats = damaged.into_iter().chain([broken]).collect();
        self.lost.extend(gaps(&mut self.log, seats, tick, Some(tick))?);
        self.is_changed = true;
        Ok(())
    }
}

/// Replaces damaged entries, of which the ticks are given. The chains of these ticks begin at `first` or behind it.
pub(crate) fn mend(log: &mut TimerLog, seats: &BTreeMap<i64, i64>, first: i64) -> io::Result<()> {
    let mut newest: HashMap<i64, i64> = seats.values().map(|tick| (*tick, -1)).collect();
    let mut pos = 0;
    let mut fresh = Vec::new();
    let first = seats.keys().next().map_or(first, |seat| first.min(*seat));
    log.walk(first, log.end(), |at, entry| {
        let tick = match entry {
            Some(entry) => {
                pos = pos.max(entry.pos);
                entry.tick_ms()
            }
            None => match seats.get(&at) {
                Some(tick) => {
                    let prev = newest.get(tick).copied().unwrap_or(-1);
                    fresh.push((at, TimerEntry::lost(*tick, prev, pos)));
                    *tick
                }
                None => return Ok(()),
            },
        };
        if let Some(newest) = newest.get_mut(&tick) {
            *newest = at;
        }
        Ok(())
    })?;
    let path = log.file_of(first);
    tracing::error!(
        file = %path.display(),
        count = fresh.len(),
        "entries of the timer log were damaged from this file on, and are looked for"
    );
    log.replace(&fresh)
}

/// Where in the timer topic the messages of damaged entries are to be looked for, and those of one tick only if there is
/// one.
pub(crate) fn gaps(
    log: &mut TimerLog,
    mut seats: Vec<i64>,
    fired_ms: i64,
    tick_ms: Option<i64>,
) -> io::Result<Vec<Lost>> {
    seats.sort_unstable();
    seats.dedup();
    let mut gaps: Vec<Lost> = Vec::new();
    let mut last = i64::MIN;
    for seat in seats {
        match gaps.last_mut().filter(|_| seat == log.seat(last + ENTRY_BYTES)) {
            Some(gap) => gap.seats.push(seat),
            None => gaps.push(Lost {
                seats: vec![seat],
                ..Lost::end(None, fired_ms)
            }),
        }
        last = seat;
    }
    for gap in &mut gaps {
        let (Some(first), Some(last)) = (gap.seats.first().copied(), gap.seats.last().copied()) else {
            continue;
        };
        gap.tick_ms = tick_ms;
        if tick_ms.is_none() && first == last {
            let tick = log.entry_at(first)?.map(|entry| entry.tick_ms());
            gap.tick_ms = tick.filter(|tick| *tick >= fired_ms);
        }
        let (mut at, mut left) = (log.seat_before(first), NEIGHBOURS);
        while log.has(at) && left > 0 {
            if let Some(entry) = log.entry_at(at)?.filter(|entry| !entry.is_lost) {
                gap.after = gap.after.max(Some(LogPos(entry.pos)));
                left -= 1;
            }
            at = log.seat_before(at);
        }
        let mut at = log.seat(last + ENTRY_BYTES);
        while log.has(at) {
            let sound = log.entry_at(at)?.filter(|entry| !entry.is_lost);
            if let Some(entry) = sound.filter(|entry| Some(LogPos(entry.pos)) > gap.after) {
                gap.before = Some(LogPos(entry.pos));
                gap.written_ms = entry.written_ms;
                break;
            }
            at = log.seat(at + ENTRY_BYTES);
        }
    }
    // Between the same neighbours lies the same.
    gaps.dedup_by(|next, gap| {
        let is_same = (next.after, next.before) == (gap.after, gap.before);
        if is_same {
            gap.seats.append(&mut next.seats);
            gap.tick_ms = gap.tick_ms.filter(|tick| next.tick_ms == Some(*tick));
        }
        is_same
    });
    Ok(gaps)
}
