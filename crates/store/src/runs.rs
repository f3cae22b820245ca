// SPDX-License-Identifier: Apache-2.0
//! Consume queues for a million queues: not a directory and a file for each, but files that hold units of all.
//!
//! Units wait in memory until the next checkpoint, or until there are many. Then all of them go, sorted by queue, to one new file,
//! a run ([`mod@file`]): to read them back takes one or two reads. Runs follow each other: each holds what came from a
//! stretch of the log, and small ones are merged to larger ones ([`merge`]), so that there are few. No run ever changes.
//!
//! A recovery keeps the runs that end at the safe position or before it and reads the log from there on. A recovery may also
//! have made such a run, so what is in a run is durable before it has its name; the name need not be before the checkpoint is.
//! The first run of all (flush 0) says that the directory counts: whoever removes it has removed all, and a conversion from the
//! Java layout writes it last. The reference never looks into this directory.

mod file;
mod fill;
mod merge;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use self::file::{
    Born, Changes, Contents, Extent, NUMBERS_MAX, Run, RunEntry, RunWriter, Says, next_born, parse_name,
};
use crate::disk::{Disk, synced};
use crate::log::ReadMode;
use crate::queue::{End, Held, Queue, Unit};
use crate::queue_batch::{self, QueueKind};
use crate::queues::Queues;

/// The directory of the runs, in that of the store.
pub(crate) const DIR: &str = "barque-queues";
/// Number of a queue that no run has.
const NO_NUMBER: u32 = 0;
const NO_NUMBERS_LEFT: &str =
    "no consume queue can be added any more; start once with consumeQueueLayout=files";
/// A file that is being written.
const UNFINISHED: &str = "unfinished";

/// The runs of a store.
#[derive(Debug)]
pub(crate) struct Runs {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Runs that reach over more of the log are not merged.
    span_max: i64,
    /// Oldest first, without gaps.
    list: RwLock<Arc<Vec<Arc<Run>>>>,
    /// Changed only by whoever holds the lock of the tidy thread, or opens the store.
    next: Mutex<Next>,
}

/// What the next run begins with.
#[derive(Debug, Default)]
struct Next {
    number: u32,
    /// Deleted queues that some run has.
    gone: Vec<u32>,
    /// Numbers of batch queues, also of deleted ones of which a run has units: they are longer.
    batches: HashSet<u32>,
    /// Runs up to this position of the log are durable.
    durable: i64,
}

/// Whether there are runs that count.
pub(crate) fn are_there(disk: &dyn Disk, root: &Path) -> io::Result<bool> {
    let names = disk.list(&root.join(DIR))?;
    Ok(names
        .iter()
        .filter_map(|entry| parse_name(&entry.name))
        .any(|(first, _)| first == 0))
}

/// Whether something was written to runs: the first one is made before there is a log, and has nothing but its foot.
pub(crate) fn have_units(disk: &dyn Disk, root: &Path) -> io::Result<bool> {
    let entries = disk.list(&root.join(DIR))?;
    Ok(entries
        .iter()
        .any(|entry| parse_name(&entry.name).is_some() && entry.len > file::FOOT_BYTES as u64))
}

/// Removes all runs: first the one that says that they count.
pub(crate) fn remove_all(disk: &dyn Disk, root: &Path) -> io::Result<()> {
    let dir = root.join(DIR);
    if disk.entry(&dir)?.is_none() {
        return Ok(());
    }
    let names = disk.list(&dir)?;
    // Of those that begin so the longest counts, so it goes last.
    let mut firsts: Vec<_> = names
        .iter()
        .filter_map(|entry| Some((parse_name(&entry.name)?, &entry.name)))
        .filter(|((first, _), _)| *first == 0)
        .collect();
    firsts.sort_unstable();
    for (_, name) in firsts {
        disk.remove(&dir.join(name))?;
    }
    synced(disk.sync_dir(&dir))?;
    disk.remove_tree(&dir)
}

impl Runs {
    /// Opens the runs there are, as far as each follows the one before, and removes other files.
    pub(crate) fn open(disk: Arc<dyn Disk>, root: &Path, span_max: i64) -> io::Result<Runs> {
        let dir = root.join(DIR);
        disk.make_dirs_durable(&dir)?;
        let mut found = Vec::new();
        for entry in disk.list(&dir)? {
            match parse_name(&entry.name) {
                Some((first, last)) => found.push((first, std::cmp::Reverse(last), entry.name)),
                None if entry.is_dir => {}
                None => disk.remove(&dir.join(&entry.name))?,
            }
        }
        // Of a merge that was cut short both are there: what it made, and what it was made of.
        found.sort_unstable();
        let mut list: Vec<Arc<Run>> = Vec::new();
        for (first, std::cmp::Reverse(last), name) in found {
            let path = dir.join(name);
            let next = list.last().map_or(0, |run| run.extent.flushes.1 + 1);
            let run = if first == next {
                Run::open(&*disk, &path, (first, last))?
            } else {
                None
            };
            match run {
                Some(run) => list.push(Arc::new(run)),
                None => disk.remove(&path)?,
            }
        }
        Ok(Runs {
            disk,
            dir,
            span_max,
            list: RwLock::new(Arc::new(list)),
            next: Mutex::new(Next {
                number: NO_NUMBER + 1,
                ..Next::default()
            }),
        })
    }

    fn list(&self) -> Arc<Vec<Arc<Run>>> {
        Arc::clone(&self.list.read())
    }

    /// The names of the files that count.
    pub(crate) fn names(&self) -> Vec<String> {
        let list = self.list();
        let names = list.iter().filter_map(|run| run.path.file_name()?.to_str());
        names.map(str::to_owned).collect()
    }

    /// Where the newest run ends in the log.
    pub(crate) fn end(&self) -> i64 {
        self.list().last().map_or(0, |run| run.extent.end)
    }

    /// Forgets the runs that reach beyond a position of the log, and tells queues what the others have. Returns where the
    /// last of them ends. A damaged one counts as little as those behind it.
    pub(crate) fn load(&self, queues: &Queues, upto: i64) -> io::Result<i64> {
        let mut kept: Vec<Arc<Run>> = Vec::new();
        let mut known = HashMap::new();
        for run in self.list().iter().filter(|run| run.extent.end <= upto) {
            let Some(mut fresh) = Run::open(&*self.disk, &run.path, run.extent.flushes)? else {
                break;
            };
            let Some(contents) = fresh.load()? else {
                tracing::warn!(file = %run.path.display(), "a damaged file of consume queues; the log is read again from there");
                break;
            };
            self.take_up(queues, &contents, &mut known);
            kept.push(Arc::new(fresh));
        }
        for run in self.list().iter().skip(kept.len()) {
            self.disk.remove(&run.path)?;
        }
        let end = kept.last().map_or(0, |run| run.extent.end);
        self.next.lock().durable = end;
        *self.list.write() = Arc::new(kept);
        Ok(end)
    }

    /// Tells queues what a run has of them. `known` are those that have a number, by that.
    fn take_up(&self, queues: &Queues, contents: &Contents, known: &mut HashMap<u32, Arc<Queue>>) {
        let mut next = self.next.lock();
        next.number = next.number.max(contents.changes.next_number);
        for number in &contents.changes.gone {
            if let Some(queue) = known.remove(number) {
                queue.held.lock().number = NO_NUMBER;
                queue.reset(End::plain(0));
            }
        }
        let mut born = &contents.changes.born[..];
        while let Some(born) = next_born(&mut born) {
            let queue = queues.get_found(born.topic, born.id, born.kind);
            if queue.kind() == born.kind {
                let old = std::mem::replace(&mut queue.held.lock().number, born.number);
                if known.remove(&old).is_some() {
                    // It was deleted, which only a later run says.
                    queue.reset(End::plain(0));
                }
                if queue.is_batch() {
                    next.batches.insert(born.number);
                }
                known.insert(born.number, queue);
            } else {
                tracing::warn!(
                    topic = born.topic,
                    queue = born.id,
                    "units of a queue that is kept otherwise now are dropped"
                );
                next.gone.push(born.number);
            }
        }
        for entry in contents.entries() {
            let Some(queue) = known.get(&entry.number) else {
                continue;
            };
            let (first, end) = queue.indexes();
            // The end of a batch queue is in its last unit.
            queue.reset(End::plain(entry.end()));
            let is_first = first == end;
            queue.held.lock().first = if is_first { entry.first } else { first };
        }
    }

    /// The bytes of units of one run, from an index on, at most `count` units; none when no run has them. Units that a damaged run
    /// may have are zeros: so are those of damaged pages of other files, and their messages are looked for in the log.
    pub(crate) fn bytes(
        &self,
        queue: &Queue,
        from: i64,
        count: usize,
        mode: ReadMode,
    ) -> io::Result<Vec<u8>> {
        let (number, start) = {
            let held = queue.held.lock();
            (held.number, held.start)
        };
        let list = self.list();
        let unit_bytes = queue.unit_bytes();
        // From this index on others have the units.
        let (mut next, mut is_damaged) = (start, false);
        for run in list.iter().rev().filter(|_| number != NO_NUMBER) {
            let entry = match run.entry(number, mode)? {
                Says::This(entry) => entry,
                Says::Nothing => continue,
                // Their units stand for many messages, and cannot be told one by one.
                Says::Damaged if queue.is_batch() => return Err(io::ErrorKind::InvalidData.into()),
                Says::Damaged => {
                    is_damaged = true;
                    continue;
                }
            };
            if entry.first > from {
                next = next.min(entry.first);
                continue;
            }
            let left = usize::try_from(entry.end().saturating_sub(from)).unwrap_or(0);
            if left == 0 && is_damaged {
                break;
            }
            let mut bytes = vec![0; count.min(left) * unit_bytes as usize];
            // It is read again, and may be another one than was checked.
            let before = from.saturating_sub(entry.first).saturating_mul(unit_bytes);
            let at = entry.at.saturating_add(before.unsigned_abs());
            run.read_units(at, &mut bytes, mode)?;
            return Ok(bytes);
        }
        let left = usize::try_from(next.saturating_sub(from)).unwrap_or(0);
        let unsure = if is_damaged { count.min(left) } else { 0 };
        Ok(vec![0; unsure * unit_bytes as usize])
    }

    /// First index behind one of which there is no unit: where a run has the next, or memory.
    pub(crate) fn behind_gap(&self, queue: &Queue, index: i64, mode: ReadMode) -> io::Result<i64> {
        let (number, start) = {
            let held = queue.held.lock();
            (held.number, held.start)
        };
        let mut next = start.max(index + 1);
        for run in self.list().iter().rev().filter(|_| number != NO_NUMBER) {
            let entry = match run.entry(number, mode)? {
                Says::This(entry) if entry.count > 0 => entry,
                Says::This(_) | Says::Nothing => continue,
                Says::Damaged => return Ok(index + 1),
            };
            if entry.end() <= index {
                break;
            }
            next = next.min(entry.first.max(index + 1));
        }
        Ok(next)
    }

    /// Whether all units of the runs point to records from a position of the log on.
    pub(crate) fn begins_at_least(&self, pos: i64) -> bool {
        self.list().first().is_none_or(|run| run.extent.begin >= pos)
    }

    /// Writes the units that these queues got from records in front of a position of the log. Nobody else may write or forget
    /// units meanwhile. Returns how many there were if there is a new run, of which the name is not durable yet.
    pub(crate) fn flush(&self, queues: &[Arc<Queue>], upto: i64) -> io::Result<Option<i64>> {
        let mut next = self.next.lock();
        let mut parts = Vec::with_capacity(queues.len());
        let mut changes = Changes {
            gone: next.gone.clone(),
            ..Changes::default()
        };
        let mut number = next.number;
        for queue in queues {
            let held = queue.held.lock();
            let count = fresh_before(&held, upto);
            let known = match held.number {
                _ if count == 0 => continue,
                NO_NUMBER => {
                    if number >= NUMBERS_MAX {
                        return Err(io::Error::other(NO_NUMBERS_LEFT));
                    }
                    number += 1;
                    let born = Born {
                        number: number - 1,
                        id: queue.id(),
                        kind: queue.kind(),
                        topic: queue.topic(),
                    };
                    born.encode(&mut changes.born);
                    born.number
                }
                known => known,
            };
            parts.push((known, count, queue));
        }
        if parts.is_empty() && changes.gone.is_empty() {
            return Ok(None);
        }
        parts.sort_unstable_by_key(|(number, ..)| *number);
        changes.next_number = number;
        let run = self.write(&parts, &changes, upto)?;
        self.replace(|list| list.push(Arc::new(run)));
        (next.number, next.gone) = (number, Vec::new());
        let mut units = 0;
        for (number, count, queue) in parts {
            let mut held = queue.held.lock();
            held.number = number;
            if queue.is_batch() {
                next.batches.insert(number);
            }
            held.written += count as i64;
            units += count as i64;
        }
        Ok(Some(units))
    }

    fn write(&self, parts: &[(u32, usize, &Arc<Queue>)], changes: &Changes, upto: i64) -> io::Result<Run> {
        let list = self.list();
        let last = list.last().map(|run| run.extent);
        let flush = last.map_or(0, |last| last.flushes.1 + 1);
        let end = last.map_or(upto, |last| last.end.max(upto));
        let mut extent = Extent {
            flushes: (flush, flush),
            begin: last.map_or(end, |last| last.end),
            end,
        };
        let mut writer = RunWriter::new(&*self.disk, self.dir.join(UNFINISHED))?;
        for (number, count, queue) in parts {
            let held = queue.held.lock();
            let done = (held.written - held.start) as usize;
            let units = &held.units[done..done + count];
            let first_real = units.iter().find(|unit| !unit.is_blank());
            let pos = first_real.map_or(end, |unit| unit.pos);
            extent.begin = extent.begin.min(pos);
            writer.add_entry(&RunEntry {
                number: *number,
                count: *count as u32,
                first: held.written,
                at: writer.place(),
            });
            writer.add_units(|out| match queue.kind() {
                QueueKind::Plain => units.iter().for_each(|unit| unit.encode(out)),
                QueueKind::Batch => units
                    .iter()
                    .zip(&held.spans[done..])
                    .for_each(|(unit, span)| queue_batch::encode(unit, span, out)),
            });
            // Publishers wait for the queue, and with them whoever sends.
            drop(held);
            writer.spill()?;
        }
        self.settle(writer.finish(changes, extent)?)
    }

    /// Makes durable what is in a new run, and gives it its name.
    fn settle(&self, mut run: Run) -> io::Result<Run> {
        synced(run.file.sync())?;
        let path = run.extent.path(&self.dir);
        self.disk.rename(&run.path, &path)?;
        run.path = path;
        Ok(run)
    }

    fn replace(&self, change: impl FnOnce(&mut Vec<Arc<Run>>)) {
        let mut list = self.list.write();
        let mut fresh = Vec::clone(&list);
        change(&mut fresh);
        *list = Arc::new(fresh);
    }

    /// Forgets what runs have of a queue that is deleted, or begins anew; the next run says so.
    pub(crate) fn forget(&self, queue: &Queue) {
        let number = std::mem::replace(&mut queue.held.lock().number, NO_NUMBER);
        if number != NO_NUMBER {
            self.next.lock().gone.push(number);
        }
    }

    /// Whether queues were deleted that some run has, and none says so yet.
    pub(crate) fn has_deletions(&self) -> bool {
        !self.next.lock().gone.is_empty()
    }

    /// Forgets all.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for run in self.list().iter() {
            self.disk.remove(&run.path)?;
        }
        *self.list.write() = Arc::default();
        Ok(())
    }

    /// A checkpoint has made durable what was written of the log before that position.
    pub(crate) fn note_durable(&self, pos: i64) {
        self.next.lock().durable = pos;
    }

    /// The directory of the runs.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Units of a queue that no run has and that come from records in front of a position, with the blank ones between them.
fn fresh_before(held: &Held, upto: i64) -> usize {
    let done = (held.written - held.start) as usize;
    let fresh = held.units.get(done..).unwrap_or_default();
    let is_later = |unit: &Unit| !unit.is_blank() && unit.pos >= upto;
    if !fresh.last().is_some_and(|unit| unit.is_blank() || is_later(unit)) {
        return fresh.len();
    }
    match fresh.iter().position(is_later) {
        // What lies in front of it came with it.
        Some(later) => fresh[..later]
            .iter()
            .rposition(|unit| !unit.is_blank())
            .map_or(0, |last| last + 1),
        None => fresh.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    fn opened(disk: &Arc<SimDisk>) -> Runs {
        Runs::open(Arc::clone(disk) as Arc<dyn Disk>, Path::new("/"), i64::MAX).unwrap()
    }

    /// What a run says of a queue of topic T that it is about.
    #[derive(Default)]
    struct Said {
        born: Vec<(u32, u32)>,
        gone: Vec<u32>,
        /// Number, index of the first unit and how many.
        units: Vec<(u32, i64, u32)>,
    }

    /// Writes runs that follow each other.
    fn write(disk: &Arc<SimDisk>, all: Vec<Said>) {
        disk.make_dirs(Path::new("/barque-queues")).unwrap();
        for (flush, said) in all.into_iter().enumerate() {
            let extent = Extent {
                flushes: (flush as u64, flush as u64),
                begin: 0,
                end: 100,
            };
            let mut writer = RunWriter::new(&**disk, extent.path(Path::new("/barque-queues"))).unwrap();
            for (number, first, count) in said.units {
                writer.add_entry(&RunEntry {
                    number,
                    count,
                    first,
                    at: writer.place(),
                });
                writer.add_units(|out| (0..count).for_each(|_| Unit::BLANK.encode(out)));
            }
            let mut changes = Changes {
                gone: said.gone,
                next_number: 10,
                ..Changes::default()
            };
            for (number, id) in said.born {
                let born = Born {
                    number,
                    id,
                    kind: QueueKind::Plain,
                    topic: "T",
                };
                born.encode(&mut changes.born);
            }
            writer.finish(&changes, extent).unwrap();
        }
    }

    #[test]
    fn a_queue_can_be_added_to_while_its_units_are_written() {
        let disk = Arc::new(SimDisk::seeded(1));
        let (runs, queues) = (opened(&disk), Queues::default());
        let queue = queues.get("T", 0);
        let unit = |pos| Unit {
            pos,
            size: 1,
            tags_code: 0,
        };
        let span = crate::queue_batch::Span {
            stored_at: 0,
            base: 0,
            count: 1,
        };
        // More than are written at once.
        for pos in 0..60_000 {
            queue.push(unit(pos), span);
        }
        let held = disk.hold_writes();
        std::thread::scope(|scope| {
            let flushed = scope.spawn(|| runs.flush(&queues.all(), 60_000).unwrap());
            assert!(held.wait_for_one(std::time::Duration::from_secs(60)));
            assert!(queue.held.try_lock().is_some());
            drop(held);
            assert_eq!(flushed.join().unwrap(), Some(60_000));
        });
    }

    #[test]
    fn a_file_of_a_newer_version_ends_the_start_and_stays() {
        let disk = Arc::new(SimDisk::seeded(1));
        write(&disk, vec![Said::default()]);
        let path = Path::new("/barque-queues/00000000000000000000-00000000000000000000");
        let bytes = disk.load(path).unwrap().unwrap();
        let at = bytes.len() - 68;
        let mut foot = bytes[at..at + 64].to_vec();
        foot[7] += 1;
        foot.extend_from_slice(&crc32fast::hash(&foot).to_be_bytes());
        disk.open(path).unwrap().write_at(&foot, at as u64).unwrap();
        let error = Runs::open(Arc::clone(&disk) as Arc<dyn Disk>, Path::new("/"), 1).unwrap_err();
        assert!(error.to_string().contains("newer version"), "{error}");
        assert!(disk.entry(path).unwrap().is_some());
    }

    #[test]
    fn what_is_known_of_a_deleted_queue_goes_with_its_units() {
        let disk = Arc::new(SimDisk::seeded(1));
        let gone = || Said {
            gone: vec![2],
            ..Said::default()
        };
        let some = Said {
            units: vec![(2, 0, 1)],
            ..Said::default()
        };
        write(&disk, vec![some, Said::default(), gone()]);
        let runs = opened(&disk);
        runs.load(&Queues::default(), 100).unwrap();
        runs.next.lock().batches.insert(2);
        for (range, left) in [(1..3, 1), (0..2, 0)] {
            runs.merge_range(range, i64::MIN).unwrap();
            assert_eq!(runs.next.lock().batches.len(), left);
        }
    }

    #[test]
    fn a_queue_that_was_made_again_stays_though_the_old_one_goes_later() {
        let old = || Said {
            born: vec![(2, 0)],
            units: vec![(2, 3, 4)],
            ..Said::default()
        };
        // Units of both, because the old one was deleted meanwhile.
        let new = || Said {
            born: vec![(5, 0)],
            units: vec![(2, 7, 1), (5, 0, 2)],
            ..Said::default()
        };
        let gone = || Said {
            gone: vec![2],
            ..Said::default()
        };
        for all in [vec![old(), new()], vec![old(), new(), gone()]] {
            let disk = Arc::new(SimDisk::seeded(1));
            write(&disk, all);
            let queues = Queues::default();
            assert_eq!(opened(&disk).load(&queues, 100).unwrap(), 100);
            let queue = queues.find("T", 0).unwrap();
            assert_eq!((queue.indexes(), queue.max()), ((0, 2), 2));
            assert_eq!(queue.held.lock().number, 5);
        }
    }
}
