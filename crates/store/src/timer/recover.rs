// SPDX-License-Identifier: Apache-2.0
//! Opening the timers: walk the log from the file in front of the mark on, correct the wheel by what the walk sees, and
//! find what is pending.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::fired::Fired;
use super::log::TimerLog;
use super::mark::{Found, MarkFile, TimerMark};
use super::mend::{Lost, gaps, mend};
use super::plan::floor;
use super::wheel::{Slot, Wheel};
use super::{BLANK_TICKS, TimerConfig, Timers};
use crate::disk::Disk;
use crate::draft::LogPos;
use crate::env::Env;

/// The end of the year 9999.
pub(super) const MS_MAX: i64 = 253_402_300_799_999;
/// So much later than now nobody has fired ticks, but for us, whose part of the mark is guarded.
const AHEAD_MS: i64 = 24 * 60 * 60 * 1000;

impl Timers {
    /// Opens or makes the files and recovers. `log_end` is where the commit log ends, before anything is appended to it. Blocks.
    pub fn open(config: TimerConfig, env: Env, log_end: LogPos) -> io::Result<Timers> {
        let disk = &*env.disk;
        disk.make_dirs_durable(&config.root)?;
        let now = floor(env.clock.now_ms(), config.precision_ms);
        let (mark_file, found) = marked(disk, &config, now)?;
        let mut log = TimerLog::open(
            std::sync::Arc::clone(&env.disk),
            config.root.join("timerlog"),
            config.log_file_bytes,
        )?;
        let wheel_path = config.root.join("timerwheel");
        let (mut wheel, is_new) = Wheel::open(disk, &wheel_path, config.ticks * 2, config.precision_ms)?;
        let read_ms = found
            .as_ref()
            .map_or_else(|| without_mark(&config, &log, now), |found| found.mark.read_ms);
        let (mark, fired) = found.map(|found| (found.mark, found.fired)).unwrap_or_default();
        let over_ms = read_ms - config.precision_ms;
        let (revised, pending) = Walk {
            log: &mut log,
            wheel: &mut wheel,
            mark: &mark,
            fired: &fired,
            log_end,
        }
        .sound(disk, (&config, &wheel_path, is_new), (read_ms, over_ms))?;
        let damaged = revised.damaged.keys().copied();
        let lost_at = revised.lost_at.into_iter().chain(damaged).collect();
        let mut lost = VecDeque::from(gaps(&mut log, lost_at, read_ms, None)?);
        if pending.lacks_front {
            lost.push_front(Lost::front(&log, read_ms)?);
        }
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
            furthest_ms: pending.furthest_ms,
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

/// The mark, if it is one.
fn marked(disk: &dyn Disk, config: &TimerConfig, now: i64) -> io::Result<(MarkFile, Option<Found>)> {
    let path = config.config_dir.join("timercheck");
    let (file, found) = MarkFile::open(disk, &path, config.precision_ms)?;
    if let Some(precision) = found.as_ref().and_then(|found| found.precision_ms)
        && precision != config.precision_ms
    {
        let what = format!(
            "the timers were written with timerPrecisionMs={precision}, they cannot be read with {}",
            config.precision_ms
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    // Nothing guards the reference's part: what is no time at which it can have been written counts as damaged.
    let is_time = |ms: i64| (0..=now.saturating_add(AHEAD_MS)).contains(&ms);
    let is_sound = |found: &Found| found.is_ours || is_time(found.mark.read_ms);
    if found.as_ref().is_some_and(|found| !is_sound(found)) {
        tracing::error!(file = %path.display(), "the mark of the timers is damaged; all timers are looked for");
        return Ok((file, None));
    }
    Ok((file, found))
}

/// Where firing begins when nothing says how far it had come: nowhere when nothing waits, else as far back as the
/// reference goes.
fn without_mark(config: &TimerConfig, log: &TimerLog, now: i64) -> i64 {
    if log.is_empty() {
        return now;
    }
    now - (config.ticks as i64 - BLANK_TICKS).max(0) * config.precision_ms
}

/// What the wheel is corrected by.
struct Walk<'a> {
    log: &'a mut TimerLog,
    wheel: &'a mut Wheel,
    mark: &'a TimerMark,
    fired: &'a Fired,
    log_end: LogPos,
}

impl Walk<'_> {
    /// Corrects the wheel and finds what is pending; a wheel with slots that cannot be is made anew first.
    fn sound(
        self,
        disk: &dyn Disk,
        (config, path, is_new): (&TimerConfig, &Path, bool),
        times: (i64, i64),
    ) -> io::Result<(Revised, Pending)> {
        let Walk {
            log, wheel, fired, ..
        } = self;
        let marked = (self.mark, fired, self.log_end);
        let is_blank = !is_new && !log.is_empty() && wheel.is_blank()?;
        if is_blank {
            tracing::error!(file = %path.display(), "the timer wheel is empty; it is made anew of the timer log");
        }
        let mut revised = revise(log, wheel, marked, is_new || is_blank)?;
        let mut settled = settle(log, wheel, (&revised, fired), times)?;
        if let Settled::Wrong(count) = settled {
            tracing::error!(
                file = %path.display(),
                count,
                "slots of the timer wheel are damaged; it is made anew of the timer log"
            );
            disk.remove(path)?;
            *wheel = Wheel::open(disk, path, config.ticks * 2, config.precision_ms)?.0;
            revised = revise(log, wheel, marked, true)?;
            settled = settle(log, wheel, (&revised, fired), times)?;
        }
        match settled {
            Settled::Sound(pending) => Ok((revised, pending)),
            Settled::Wrong(_) => {
                let what = format!("{} does not keep what is written to it", path.display());
                Err(io::Error::new(io::ErrorKind::InvalidData, what))
            }
        }
    }
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
    (mark, fired, log_end): (&TimerMark, &Fired, LogPos),
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
    let mut cut_at = None;
    let end = log.walk(from, mark.log_end, |at, entry| {
        if cut_at.is_some() {
            return Ok(());
        }
        let Some(entry) = entry else {
            revised.damaged.insert(at, None);
            return Ok(());
        };
        if at >= mark.log_end {
            // It has outlived its message, whose place another one will get: that would fire when this one is due. What is
            // behind it was not flushed either, and is read again.
            if entry.pos >= log_end.0 {
                cut_at = Some(at);
                return Ok(());
            }
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
    let end = cut_at.unwrap_or(end);
    revised.damaged.retain(|at, _| *at < end);
    log.end_at(end)?;
    revised.parked.sort_unstable();
    Ok(revised)
}

/// What waits.
#[derive(Debug, Default)]
struct Pending {
    /// The last tick.
    furthest_ms: i64,
    /// Chains began in front of the first file of the log.
    lacks_front: bool,
}

/// What is known of the wheel.
enum Settled {
    Sound(Pending),
    /// So many slots cannot be what was written.
    Wrong(usize),
}

/// Finds what is pending, and mends what it hangs on.
fn settle(
    log: &mut TimerLog,
    wheel: &mut Wheel,
    (revised, fired): (&Revised, &Fired),
    (read_ms, over_ms): (i64, i64),
) -> io::Result<Settled> {
    let (mut beyond, mut broken, mut pending) = (Vec::new(), Vec::new(), Pending::default());
    let is_over = |slot: &Slot| fired.covers(slot.at_ms, slot.last);
    let wrong = wheel.survey(read_ms, (is_over, |pos| log.is_seat(pos)), |slot| {
        pending.furthest_ms = slot.at_ms.max(pending.furthest_ms);
        pending.lacks_front |= slot.first < log.begin();
        if slot.last >= log.end() {
            beyond.push(*slot);
        } else if revised.damaged.contains_key(&slot.last) {
            broken.push(*slot);
        }
    })?;
    if wrong > 0 {
        return Ok(Settled::Wrong(wrong));
    }
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
    Ok(Settled::Sound(pending))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::env::sim::{SimClock, SimRng};

    #[test]
    fn a_mark_whose_time_is_none_counts_as_damaged() {
        for read_ms in [i64::MIN, -1, i64::MAX, 1_800_000_000_000 | (1 << 44)] {
            let disk = Arc::new(SimDisk::seeded(1));
            let env = Env {
                clock: Arc::new(SimClock::at(1_800_000_000_000)),
                disk: Arc::clone(&disk) as Arc<dyn Disk>,
                rng: Arc::new(SimRng::seeded(1)),
            };
            drop(Timers::open(TimerConfig::at("/store"), env.clone(), LogPos(0)).unwrap());
            let path = Path::new("/store/config/timercheck");
            let mark = disk.open(path).or_else(|_| disk.create(path, 4096)).unwrap();
            mark.write_at(&read_ms.to_be_bytes(), 0).unwrap();
            let timers = Timers::open(TimerConfig::at("/store"), env, LogPos(0)).unwrap();
            assert!(
                (0..=1_800_000_000_000).contains(&timers.mark().read_ms),
                "{read_ms}"
            );
        }
    }

    #[test]
    fn a_slot_of_the_wheel_that_says_a_tick_of_another_place_is_never_due() {
        // The first is the end of all time at its own place.
        for (tick, place) in [(i64::MAX, 375), (1_800_000_005_i64, 7)] {
            let disk = Arc::new(SimDisk::seeded(1));
            let env = Env {
                clock: Arc::new(SimClock::at(1_800_000_000_000)),
                disk: Arc::clone(&disk) as Arc<dyn Disk>,
                rng: Arc::new(SimRng::seeded(1)),
            };
            let config = TimerConfig {
                ticks: 200,
                roll_ticks: 100,
                ..TimerConfig::at("/store")
            };
            drop(Timers::open(config.clone(), env.clone(), LogPos(0)).unwrap());
            let wheel = disk.open(Path::new("/store/timerwheel")).unwrap();
            wheel.write_at(&tick.to_be_bytes(), place * 32).unwrap();
            let mut timers = Timers::open(config, env, LogPos(0)).unwrap();
            assert_eq!(timers.next_due_ms().unwrap(), None, "{tick}");
        }
    }
}
