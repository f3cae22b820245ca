// SPDX-License-Identifier: Apache-2.0
//! Opening the timers: walk the log from the file in front of the mark on, correct the wheel by what the walk sees, and
//! find what is pending.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::fired::Fired;
use super::log::TimerLog;
use super::mark::{MarkFile, TimerMark};
use super::mend::{Lost, gaps, mend};
use super::plan::floor;
use super::wheel::{Slot, Wheel};
use super::{BLANK_TICKS, TimerConfig, Timers};
use crate::draft::LogPos;
use crate::env::Env;

impl Timers {
    /// Opens or makes the files and recovers. Blocks.
    pub fn open(config: TimerConfig, env: Env) -> io::Result<Timers> {
        let disk = &*env.disk;
        disk.make_dirs_durable(&config.root)?;
        let mark_path = config.config_dir.join("timercheck");
        let (mark_file, found) = MarkFile::open(disk, &mark_path, config.precision_ms)?;
        if let Some(precision) = found.as_ref().and_then(|found| found.precision_ms)
            && precision != config.precision_ms
        {
            let what = format!(
                "the timers were written with timerPrecisionMs={precision}, they cannot be read with {}",
                config.precision_ms
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut log = TimerLog::open(
            std::sync::Arc::clone(&env.disk),
            config.root.join("timerlog"),
            config.log_file_bytes,
        )?;
        let wheel_path = config.root.join("timerwheel");
        let (mut wheel, is_new) = Wheel::open(disk, &wheel_path, config.ticks * 2, config.precision_ms)?;
        let now = floor(env.clock.now_ms(), config.precision_ms);
        let read_ms = found
            .as_ref()
            .map_or_else(|| without_mark(&config, &log, now), |found| found.mark.read_ms);
        let (mark, fired) = found.map(|found| (found.mark, found.fired)).unwrap_or_default();
        let over_ms = read_ms - config.precision_ms;
        let revised = revise(&mut log, &mut wheel, (&mark, &fired), is_new)?;
        let furthest_ms = settle(&mut log, &mut wheel, (&revised, &fired), (read_ms, over_ms))?;
        let damaged = revised.damaged.keys().copied();
        let lost_at = revised.lost_at.into_iter().chain(damaged).collect();
        let mut lost = VecDeque::from(gaps(&mut log, lost_at, read_ms, None)?);
        // A blank may follow the last entry.
        if log.seat(log.end()) < mark.log_end {
            let (end, expected) = (log.end(), mark.log_end);
            let path = log.file_of(end);
            tracing::error!(
                file = %path.display(),
                end,
                expected,
                "the timer log has lost its end, which is looked for"
            );
            lost.push_back(Lost::end(revised.last, read_ms));
        }
        let parked = revised.parked;
        let window = config.window();
        let (queue_offset, write_ms) = (mark.queue_offset, read_ms.max(now));
        tracing::info!(read_ms, queue_offset, log_end = log.end(), "timers are recovered");
        Ok(Timers {
            env,
            config,
            window,
            wheel,
            log,
            mark_file: Arc::new(Mutex::new(mark_file)),
            mark,
            read_ms,
            write_ms,
            furthest_ms,
            queue_offset,
            fired,
            firing: None,
            parked,
            lost,
            found: Vec::new(),
            is_changed: true,
            is_flushing: false,
        })
    }
}

/// Where firing begins when nothing says how far it had come: nowhere when nothing waits, else as far back as the
/// reference goes.
fn without_mark(config: &TimerConfig, log: &TimerLog, now: i64) -> i64 {
    if log.is_empty() {
        return now;
    }
    now - (config.ticks as i64 - BLANK_TICKS).max(0) * config.precision_ms
}

/// What a walk over the log finds.
struct Revised {
    /// Messages with entries behind the mark, ascending.
    parked: Vec<i64>,
    /// Places of damaged entries, and the tick of the entry that is chained to each.
    damaged: BTreeMap<i64, Option<i64>>,
    /// Places of entries that were damaged once, whose messages have not been found again.
    lost_at: Vec<i64>,
    /// The last message that has an entry.
    last: Option<LogPos>,
}

/// Walks the log and lets the wheel follow.
fn revise(
    log: &mut TimerLog,
    wheel: &mut Wheel,
    (mark, fired): (&TimerMark, &Fired),
    is_new: bool,
) -> io::Result<Revised> {
    // One file more than needed, as in the reference: a wheel that is a little behind its mark is corrected as well.
    let from = if is_new {
        0
    } else {
        mark.log_end - log.file_bytes()
    };
    let mut revised = Revised {
        parked: Vec::new(),
        damaged: BTreeMap::new(),
        lost_at: Vec::new(),
        last: None,
    };
    let end = log.walk(from, mark.log_end, |at, entry| {
        let Some(entry) = entry else {
            revised.damaged.insert(at, None);
            return Ok(());
        };
        if at >= mark.log_end {
            revised.parked.push(entry.pos);
        }
        if entry.is_lost {
            revised.lost_at.push(at);
        }
        revised.last = revised.last.max(Some(LogPos(entry.pos)));
        if let Some(tick) = revised.damaged.get_mut(&entry.prev) {
            *tick = Some(entry.tick_ms());
        }
        if fired.covers(entry.tick_ms(), at) {
            return Ok(());
        }
        let mut slot = wheel.get(entry.tick_ms())?;
        if at >= mark.log_end || slot.is_empty() || slot.last < at {
            slot.count += i32::from(slot.last < at);
            slot.first = if slot.first < 0 { at } else { slot.first };
            slot.last = at;
            wheel.put(&slot)?;
        }
        Ok(())
    })?;
    revised.damaged.retain(|at, _| *at < end);
    log.end_at(end)?;
    revised.parked.sort_unstable();
    Ok(revised)
}

/// Finds what is pending, and mends what it hangs on. Returns the last tick that is.
fn settle(
    log: &mut TimerLog,
    wheel: &mut Wheel,
    (revised, fired): (&Revised, &Fired),
    (read_ms, over_ms): (i64, i64),
) -> io::Result<i64> {
    let (mut beyond, mut broken, mut furthest_ms) = (Vec::new(), Vec::new(), 0);
    wheel.survey(
        read_ms,
        |slot| fired.covers(slot.at_ms, slot.last),
        |slot| {
            furthest_ms = slot.at_ms.max(furthest_ms);
            if slot.last >= log.end() {
                beyond.push(*slot);
            } else if revised.damaged.contains_key(&slot.last) {
                broken.push(*slot);
            }
        },
    )?;
    if !revised.damaged.is_empty() {
        // One that nothing hangs on is given to a tick that is over.
        let pointed = |(at, tick): (&i64, &Option<i64>)| (*at, tick.unwrap_or(over_ms));
        let mut seats: BTreeMap<i64, i64> = revised.damaged.iter().map(pointed).collect();
        seats.extend(broken.iter().map(|slot| (slot.last, slot.at_ms)));
        let first = first_of(wheel, seats.values().filter(|tick| **tick >= read_ms))?;
        mend(log, &seats, first)?;
    }
    if !beyond.is_empty() {
        let path = log.file_of(log.end());
        tracing::error!(
            file = %path.display(),
            count = beyond.len(),
            "ticks of the wheel point behind the timer log and are rebuilt from it"
        );
        rebuild(log, wheel, fired, &beyond)?;
    }
    Ok(furthest_ms)
}

/// Where the oldest chain of some ticks begins.
fn first_of<'a>(wheel: &mut Wheel, ticks: impl Iterator<Item = &'a i64>) -> io::Result<i64> {
    let mut first = i64::MAX;
    for tick in ticks {
        first = first.min(wheel.get(*tick)?.first);
    }
    Ok(first)
}

/// Builds the chains of these slots anew from what the log holds.
fn rebuild(log: &TimerLog, wheel: &mut Wheel, fired: &Fired, beyond: &[Slot]) -> io::Result<()> {
    let mut ticks = std::collections::HashSet::new();
    for slot in beyond {
        ticks.insert(slot.at_ms);
        wheel.put(&Slot::empty(slot.at_ms))?;
    }
    log.walk(0, log.end(), |at, entry| {
        let Some(entry) = entry.filter(|entry| ticks.contains(&entry.tick_ms())) else {
            return Ok(());
        };
        if fired.covers(entry.tick_ms(), at) {
            return Ok(());
        }
        let mut slot = wheel.get(entry.tick_ms())?;
        slot.count += if entry.is_delete() { -1 } else { 1 };
        slot.first = if slot.first < 0 { at } else { slot.first };
        slot.last = at;
        wheel.put(&slot)
    })?;
    Ok(())
}
