// SPDX-License-Identifier: Apache-2.0
//! Opening the timers: walk the log from the file in front of the mark on, correct the wheel by what the walk sees, and
//! find what is pending.

use std::io;

use super::log::TimerLog;
use super::mark::{MarkFile, TimerMark};
use super::plan::floor;
use super::wheel::{Slot, Wheel};
use super::{BLANK_TICKS, TimerConfig, Timers};
use crate::env::Env;

impl Timers {
    /// Opens or makes the files and recovers. Blocks.
    pub fn open(config: TimerConfig, env: Env) -> io::Result<Timers> {
        let disk = &*env.disk;
        disk.make_dirs_durable(&config.root)?;
        let mark_path = config.config_dir.join("timercheck");
        let (mark_file, found) = MarkFile::open(disk, &mark_path, config.precision_ms)?;
        if let Some((_, Some(precision))) = found
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
        let mark = found.map(|(mark, _)| mark);
        let read_ms = mark.map_or_else(|| without_mark(&config, &log, now), |mark| mark.read_ms);
        let mark = mark.unwrap_or_default();
        let parked = revise(&mut log, &mut wheel, &mark, is_new)?;
        if !log.is_empty() && log.end() < mark.log_end {
            tracing::error!(
                end = log.end(),
                expected = mark.log_end,
                "the timer log has lost entries"
            );
        }
        let damaged = wheel.survey(read_ms, log.end())?;
        if !damaged.is_empty() {
            tracing::error!(ticks = damaged.len(), "the wheel points behind the timer log");
            rebuild(&log, &mut wheel, &damaged)?;
        }
        let window = config.window();
        let (queue_offset, write_ms) = (mark.queue_offset, read_ms.max(now));
        tracing::info!(read_ms, queue_offset, log_end = log.end(), "timers are recovered");
        Ok(Timers {
            env,
            config,
            window,
            wheel,
            log,
            mark_file,
            mark,
            read_ms,
            write_ms,
            queue_offset,
            firing: None,
            parked,
            is_changed: true,
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

/// Walks the log and lets the wheel follow. Returns which messages have entries behind the mark.
fn revise(log: &mut TimerLog, wheel: &mut Wheel, mark: &TimerMark, is_new: bool) -> io::Result<Vec<i64>> {
    // One file more than needed, as in the reference: a wheel that is a little behind its mark is corrected as well.
    let from = if is_new {
        0
    } else {
        mark.log_end - log.file_bytes()
    };
    let mut parked = Vec::new();
    let end = log.walk(from, |at, entry| {
        if at >= mark.log_end {
            parked.push(entry.pos);
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
    log.end_at(end)?;
    parked.sort_unstable();
    Ok(parked)
}

/// Builds the chains of these slots anew from what the log holds.
fn rebuild(log: &TimerLog, wheel: &mut Wheel, damaged: &[Slot]) -> io::Result<()> {
    let mut ticks = std::collections::HashSet::new();
    for slot in damaged {
        ticks.insert(slot.at_ms);
        wheel.put(&Slot::empty(slot.at_ms))?;
    }
    log.walk(0, |at, entry| {
        if !ticks.contains(&entry.tick_ms()) {
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
