// SPDX-License-Identifier: Apache-2.0
//! Messages that wait for their time: a wheel of ticks, a log of entries, and how far both have come. The files are the
//! reference's and can be handed over in either direction.
//!
//! The timers know positions in the commit log and ticks, not messages: whoever runs them reads the timer topic, parks
//! what is not due ([`Timers::park`]), and delivers what fires ([`Timers::due`], [`Timers::batch`], [`Timers::done`]).
//!
//! What must hold: a message that was read but is not delivered has an entry that is durable before the mark moves past
//! its queue offset ([`Flush::run`] syncs commit log, timer log, wheel and mark, in this order); the wheel's file is
//! written only behind the log it points to; a tick takes no entry once it may fire. After a crash the log is walked
//! from the mark on and the wheel corrected; messages behind the mark are read again, and those that have an entry
//! already ([`Timers::knows`]) are not parked twice.

mod chain;
mod fired;
mod flush;
mod log;
mod mark;
mod mend;
mod plan;
mod recover;
mod wheel;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use self::chain::{Chain, Opened};
use self::fired::Fired;
use self::log::{TimerLog, kind};
use self::mark::MarkFile;
use self::plan::{Place, Window, floor, place};
use self::wheel::{Slot, Wheel};
use crate::draft::LogPos;
use crate::env::Env;

pub use self::flush::Flush;
pub use self::log::TimerEntry;
pub(crate) use self::log::faults_of_log;
pub use self::mark::TimerMark;
pub use self::mend::Lost;
pub use self::plan::tick_of;

/// Ticks of a wheel turn in one direction: seven days of seconds. The wheel has twice as many slots.
const TICKS: usize = 7 * 86_400;
/// Ticks that stay free at the end of the window, as in the reference.
const BLANK_TICKS: i64 = 60;

/// What timers are opened with.
#[derive(Debug, Clone)]
pub struct TimerConfig {
    /// Directory of the wheel and the log.
    pub root: PathBuf,
    /// Directory of the mark.
    pub config_dir: PathBuf,
    /// Length of a tick, ms.
    pub precision_ms: i64,
    /// Ticks after which a message is written anew.
    pub roll_ticks: i64,
    /// Bytes of a file of the log.
    pub log_file_bytes: u64,
    /// Half the slots of the wheel.
    pub ticks: usize,
}

impl TimerConfig {
    /// The reference's defaults for a store at `root`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> TimerConfig {
        let root = root.into();
        TimerConfig {
            config_dir: root.join("config"),
            root,
            precision_ms: 1000,
            roll_ticks: 172_800,
            log_file_bytes: 104_857_600,
            ticks: TICKS,
        }
    }

    fn window(&self) -> Window {
        // An entry holds the distance to its tick in 31 bits.
        let fits = i64::from(i32::MAX) / self.precision_ms;
        let most = (self.ticks as i64 - BLANK_TICKS).min(fits).max(2);
        let ticks = if (2..=most).contains(&self.roll_ticks) {
            self.roll_ticks
        } else {
            most
        };
        Window {
            precision_ms: self.precision_ms,
            ticks,
        }
    }
}

/// A message of the timer topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    /// Its tick, see [`tick_of`].
    pub out_ms: i64,
    /// Where it lies in the commit log.
    pub pos: LogPos,
    /// Its size.
    pub size: usize,
    /// Java hash of the topic it is meant for.
    pub topic_hash: i32,
    /// It takes back another message of its tick.
    pub is_delete: bool,
}

/// The waiting messages of a store. One owner at a time.
#[derive(Debug)]
pub struct Timers {
    env: Env,
    config: TimerConfig,
    window: Window,
    wheel: Wheel,
    log: TimerLog,
    mark_file: Arc<Mutex<MarkFile>>,
    mark: TimerMark,
    /// All ticks before this have fired.
    read_ms: i64,
    /// Ticks before this may fire, and take no more entries.
    write_ms: i64,
    /// No tick behind this has entries.
    furthest_ms: i64,
    queue_offset: i64,
    /// What has fired although its tick lies at or behind `read_ms`.
    fired: Fired,
    firing: Option<Chain>,
    /// Positions of messages that were parked behind the mark of the last life, ascending.
    parked: Vec<i64>,
    /// Messages whose entries were damaged.
    lost: VecDeque<Lost>,
    /// Places in the log of what stood for such, and is not needed once the next flush is over.
    found: Vec<i64>,
    is_changed: bool,
    is_flushing: bool,
}

impl Timers {
    /// The next message of the timer topic to read.
    pub fn queue_offset(&self) -> i64 {
        self.queue_offset
    }

    /// Sets it where the topic begins later or ends earlier.
    pub fn set_queue_offset(&mut self, offset: i64) {
        self.is_changed |= self.queue_offset != offset;
        self.queue_offset = offset;
    }

    /// Goes back to the end of the timer topic if that has lost what is behind, and notes it before there are new messages:
    /// after another crash nobody could tell these from those that were read. Blocks.
    pub fn end_at(&mut self, end: i64) -> io::Result<()> {
        let from = self.queue_offset;
        if from <= end {
            return Ok(());
        }
        tracing::warn!(from, to = end, "the timer topic has lost its end; going on there");
        self.set_queue_offset(end);
        let mark = TimerMark {
            queue_offset: end,
            master_queue_offset: self.mark.master_queue_offset.min(end),
            ..self.mark
        };
        self.mark_file.lock().write(&mark, &self.fired)?;
        self.mark = mark;
        Ok(())
    }

    /// Length of a tick, ms.
    pub fn precision_ms(&self) -> i64 {
        self.config.precision_ms
    }

    /// How far they have come.
    pub fn mark(&self) -> TimerMark {
        TimerMark {
            read_ms: self.read_ms,
            queue_offset: self.queue_offset,
            master_queue_offset: self.queue_offset,
            ..self.mark
        }
    }

    /// Lets ticks that are over fire from now on.
    pub fn advance(&mut self) -> io::Result<()> {
        let now = floor(self.env.clock.now_ms(), self.config.precision_ms);
        if self.firing.is_some() {
            self.write_ms = self.write_ms.max(now);
            return Ok(());
        }
        self.set_back(now);
        self.write_ms = self.write_ms.max(now);
        let next = self.wheel.first_pending(self.read_ms, self.read_ms)?;
        let upto = next.unwrap_or(i64::MAX).min(self.write_ms);
        self.read_ms = self.read_ms.max(upto);
        self.fired.reached(self.read_ms);
        Ok(())
    }

    /// Follows a clock that was set back by more than a tick, so that what comes is not late by as much. What has fired
    /// stays so.
    fn set_back(&mut self, now: i64) {
        let back = self.write_ms.saturating_sub(now);
        if back <= self.config.precision_ms {
            return;
        }
        // What waits keeps its slots: those of the new window must be others.
        let turn = 2 * self.config.ticks as i64 * self.config.precision_ms;
        if self.furthest_ms.saturating_sub(now) >= turn && self.wheel.is_pending() {
            return;
        }
        if self.read_ms > now {
            let (read_ms, mut fired) = (self.read_ms, self.fired);
            let part = std::mem::take(&mut fired.part);
            let is_noted = part == 0 || fired.set_back(read_ms + self.config.precision_ms, part);
            if !is_noted || !fired.set_back(read_ms, self.log.end()) {
                return;
            }
            self.fired = fired;
            self.read_ms = now;
            self.is_changed = true;
        }
        tracing::warn!(ms = back, "the clock was set back, and the timers with it");
        self.write_ms = now;
    }

    /// Says that somebody else has fired all ticks before a moment: what waits here in those does not fire any more.
    pub fn pass(&mut self, before_ms: i64) -> io::Result<()> {
        let before_ms = floor(before_ms, self.config.precision_ms);
        self.write_ms = self
            .write_ms
            .max(floor(self.env.clock.now_ms(), self.config.precision_ms));
        if before_ms <= self.read_ms {
            return Ok(());
        }
        if self.firing.take().is_some() {
            // It was cut short, and somebody else has fired the rest of it.
            self.fired.part = 0;
        }
        while let Some(tick) = self.wheel.first_pending(self.read_ms, self.read_ms)?
            && tick < before_ms
        {
            self.wheel.fired(tick);
        }
        self.read_ms = before_ms;
        self.fired.reached(before_ms);
        self.is_changed = true;
        Ok(())
    }

    /// Whether so many ticks are behind that a new entry could take the slot of one that has not fired: nothing may be
    /// parked before some have.
    pub fn is_far_behind(&self) -> bool {
        let turn = self.config.ticks as i64 * self.config.precision_ms;
        self.read_ms < self.write_ms.saturating_sub(turn)
    }

    /// Whether a message has an entry from before the last crash.
    pub fn knows(&mut self, pos: LogPos) -> bool {
        match self.parked.last() {
            None => false,
            Some(last) if *last < pos.0 => {
                self.parked = Vec::new();
                false
            }
            Some(_) => self.parked.binary_search(&pos.0).is_ok(),
        }
    }

    /// Whether a message of this tick is to be delivered at once.
    pub fn is_due(&self, out_ms: i64) -> bool {
        let now_ms = self.env.clock.now_ms();
        let out_ms = floor(out_ms, self.config.precision_ms);
        place(out_ms, self.write_ms, now_ms, &self.window) == Place::Now
    }

    /// Whether a message of this tick that takes another one back still has an effect, although the tick is over: it has
    /// not begun to fire.
    pub fn can_recall(&self, out_ms: i64) -> bool {
        let tick = floor(out_ms, self.config.precision_ms);
        let is_firing = self.firing.as_ref().is_some_and(|chain| chain.tick_ms == tick);
        tick >= self.read_ms && !is_firing
    }

    /// Gives messages their entries: all or, after an error, none.
    pub fn park(&mut self, messages: &[Timed]) -> io::Result<()> {
        let now_ms = self.env.clock.now_ms();
        let mut slots: HashMap<i64, Slot> = HashMap::new();
        let mut entries = Vec::with_capacity(messages.len());
        let mut end = self.log.end();
        for message in messages {
            // Anybody may claim a time that is no tick.
            let out_ms = floor(message.out_ms, self.config.precision_ms);
            let (tick, kind) = match place(out_ms, self.write_ms, now_ms, &self.window) {
                Place::Now if message.is_delete && self.can_recall(out_ms) => (out_ms, kind::DEFAULT),
                // It has become due meanwhile: the next tick to fire.
                Place::Now => (self.write_ms, kind::DEFAULT),
                Place::Tick(tick) => (tick, kind::DEFAULT),
                Place::Roll(tick) => (tick, kind::DEFAULT | kind::ROLL),
            };
            let slot = match slots.entry(tick) {
                std::collections::hash_map::Entry::Occupied(held) => held.into_mut(),
                std::collections::hash_map::Entry::Vacant(vacant) => {
                    let slot = self.wheel.get(tick)?;
                    let is_over = self.fired.covers(tick, slot.last);
                    vacant.insert(if is_over { Slot::empty(tick) } else { slot })
                }
            };
            let seat = self.log.seat(end);
            let delete = if message.is_delete { kind::DELETE } else { 0 };
            let entry = TimerEntry {
                prev: slot.last,
                kind: kind | delete,
                written_ms: self.write_ms,
                delay_ms: i32::try_from(tick - self.write_ms).unwrap_or(i32::MAX),
                pos: message.pos.0,
                size: i32::try_from(message.size).unwrap_or(i32::MAX),
                topic_hash: message.topic_hash,
                is_lost: false,
            };
            entries.push((seat, entry));
            slot.first = if slot.first < 0 { seat } else { slot.first };
            slot.last = seat;
            slot.count += if message.is_delete { -1 } else { 1 };
            end = seat + log::ENTRY_BYTES;
            self.furthest_ms = self.furthest_ms.max(tick);
        }
        // Nothing may fail behind the log: who tries again would make a second entry.
        slots.keys().try_for_each(|tick| self.wheel.hold(*tick))?;
        self.log.append(&entries)?;
        self.is_changed |= !entries.is_empty();
        slots.values().try_for_each(|slot| self.wheel.put(slot))
    }

    /// The tick that fires now, with the messages that take others of it back; the same until it is over.
    pub fn due(&mut self) -> io::Result<Option<(i64, &[LogPos])>> {
        if self.firing.is_none() {
            let Some(tick) = self.wheel.first_pending(self.read_ms, self.read_ms)? else {
                return Ok(None);
            };
            // The tick in front of the one that is being written is over.
            let early_ms = if crate::seeded!("early-timer") { 500 } else { 0 };
            if tick >= self.write_ms + early_ms {
                return Ok(None);
            }
            let done_pos = self.fired.done_pos(tick, self.read_ms);
            self.firing = Some(self.open_chain(tick, done_pos)?);
            self.read_ms = tick;
            self.fired.reached(tick);
        }
        Ok(self
            .firing
            .as_ref()
            .map(|chain| (chain.tick_ms, chain.deletes.as_slice())))
    }

    fn open_chain(&mut self, tick: i64, done_pos: i64) -> io::Result<Chain> {
        loop {
            let slot = self.wheel.get(tick)?;
            match Chain::open(&mut self.log, tick, slot.last, done_pos)? {
                Opened::Chain(chain) => return Ok(chain),
                Opened::Broken(at) => self.mend_chain(at, &slot)?,
            }
        }
    }

    /// The next entries of the tick that fires, oldest first; none when it is over.
    pub fn batch(&mut self, max: usize) -> io::Result<Vec<TimerEntry>> {
        match &mut self.firing {
            Some(chain) => chain.next(&mut self.log, max),
            None => Ok(Vec::new()),
        }
    }

    /// Says that so many of the entries of [`Timers::batch`] have been dealt with. Returns whether the tick is over.
    pub fn done(&mut self, count: usize) -> bool {
        let Some(chain) = &mut self.firing else {
            return true;
        };
        chain.done(count);
        self.fired.part = chain.done_pos;
        self.is_changed = true;
        if chain.is_over() {
            let tick = chain.tick_ms;
            self.firing = None;
            self.fired.part = 0;
            self.wheel.fired(tick);
            self.read_ms = tick + self.config.precision_ms;
        }
        self.firing.is_none()
    }

    /// Whether something happened since the last flush.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// When the next tick is over, if any is waiting.
    pub fn next_due_ms(&mut self) -> io::Result<Option<i64>> {
        if let Some(chain) = &self.firing {
            return Ok(Some(chain.tick_ms));
        }
        let next = self.wheel.first_pending(self.read_ms, self.read_ms)?;
        Ok(next.map(|tick| tick.max(self.write_ms - self.config.precision_ms) + self.config.precision_ms))
    }

    /// Messages that wait in a tick.
    pub fn count_at(&mut self, tick_ms: i64) -> io::Result<i32> {
        Ok(self.wheel.get(tick_ms)?.count)
    }

    /// The first tick from a moment on that has entries which have not fired.
    pub fn pending_from(&mut self, from_ms: i64) -> io::Result<Option<i64>> {
        self.wheel.first_pending(from_ms.max(self.read_ms), self.read_ms)
    }

    /// Entries of a tick, newest first, from the one at `from` on (`None`: the newest), at most `max`; then where to go on.
    pub fn entries(
        &mut self,
        tick_ms: i64,
        from: Option<i64>,
        max: usize,
    ) -> io::Result<(Vec<TimerEntry>, Option<i64>)> {
        let mut at = match from {
            Some(from) => from,
            None => self.wheel.get(tick_ms)?.last,
        };
        let mut entries = Vec::new();
        while entries.len() < max {
            match self.log.entry_at(at)? {
                Some(entry) if entry.tick_ms() == tick_ms => {
                    entries.push(entry);
                    at = entry.prev;
                }
                _ => return Ok((entries, None)),
            }
        }
        Ok((entries, Some(at).filter(|at| *at >= 0)))
    }

    /// Removes files of the log whose messages are gone from the commit log.
    pub fn clean(&mut self, min: LogPos) -> io::Result<()> {
        let removed = self.log.remove_before(min.0)?;
        if removed > 0 {
            tracing::info!(files = removed, "old files of the timer log removed");
        }
        Ok(())
    }
}
