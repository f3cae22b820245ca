// SPDX-License-Identifier: Apache-2.0
//! Opening the files of a store to look at them: what a start would refuse is noted and gone around.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Finding, Mend, Totals};
use crate::checkpoint::{self, Loaded};
use crate::config::StoreConfig;
use crate::disk::{Disk, Entry, File};
use crate::hot::Hot;
use crate::index::file::Shape;
use crate::log::{Log, Segment, file_name, parse_file_name};
use crate::open::open_runs;
use crate::queue::UNIT_BYTES;
use crate::queue_batch::{BATCH_UNIT_BYTES, QueueKind};
use crate::queue_files::{Home, QueueFiles};
use crate::queues::Queues;
use crate::survey::{numbered_dirs, queue_dir};
use crate::{reached, runs};

/// An open store.
pub(super) struct View {
    pub(super) config: StoreConfig,
    pub(super) disk: Arc<dyn Disk>,
    /// Parts of the log whose files follow each other, ascending.
    pub(super) log: Vec<Log>,
    pub(super) unread: Arc<Unread>,
    pub(super) queues: Queues,
    pub(super) files: QueueFiles,
    pub(super) loaded: Loaded,
    /// The log is known to have reached this position.
    pub(super) reached: Option<i64>,
    pub(super) is_abnormal: bool,
    /// Entries of queues may hold addresses in files of another kind instead of hashes of tags.
    pub(super) has_addresses: bool,
    pub(super) findings: Vec<Finding>,
    pub(super) totals: Totals,
}

/// What a disk gives or does not give at once.
const SECTOR: usize = 4096;

/// A file of the log. What is missing at its end reads as zero, and so does what the disk does not give.
#[derive(Debug)]
struct Padded {
    base: i64,
    file: Arc<dyn File>,
    len: u64,
    unread: Arc<Unread>,
}

/// Positions of the log at which the disk does not give what is there, in steps of a sector.
#[derive(Debug, Default)]
pub(super) struct Unread(Mutex<BTreeSet<i64>>);

impl Unread {
    /// Whether there is one between two positions.
    pub(super) fn is_in(&self, from: i64, to: i64) -> bool {
        let first = from - from.rem_euclid(SECTOR as i64);
        from < to && self.0.lock().range(first..to).next().is_some()
    }
}

/// Reads as far as there is something; what the disk does not give becomes zero, and `tell` is told where it is.
pub(super) fn read_around(
    file: &dyn File,
    buf: &mut [u8],
    at: u64,
    mut tell: impl FnMut(u64),
) -> io::Result<usize> {
    if let Ok(read) = file.read_at(buf, at) {
        return Ok(read);
    }
    let mut done = 0;
    while done < buf.len() {
        let begin = at + done as u64;
        let len = (SECTOR - (begin % SECTOR as u64) as usize).min(buf.len() - done);
        let some = buf.get_mut(done..done + len).unwrap_or_default();
        match file.read_at(some, begin) {
            Ok(read) if read < len => return Ok(done + read),
            Ok(_) => {}
            Err(_) => {
                some.fill(0);
                tell(begin - begin % SECTOR as u64);
            }
        }
        done += len;
    }
    Ok(done)
}

impl File for Padded {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let wanted = buf
            .len()
            .min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        let buf = buf.get_mut(..wanted).unwrap_or_default();
        let tell = |at: u64| {
            self.unread.0.lock().insert(self.base + at as i64);
        };
        let read = read_around(&*self.file, buf, at, tell)?;
        buf.get_mut(read..).unwrap_or_default().fill(0);
        Ok(wanted)
    }

    fn read_at_nowait(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.read_at(buf, at)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn zero(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn next_written(&self, at: u64) -> io::Result<Option<u64>> {
        self.file.next_written(at)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}

/// The settings with the sizes that most files of a kind have: for whoever has no configuration at hand.
pub fn measured(mut config: StoreConfig, disk: &dyn Disk) -> io::Result<StoreConfig> {
    let mut lens = Vec::new();
    for dir in &config.commit_log_dirs {
        lens.extend(disk.list(dir)?.iter().map(|entry| entry.len));
    }
    config.segment_bytes = most(&lens).unwrap_or(config.segment_bytes);
    config.is_measured = true;
    for kind in [QueueKind::Plain, QueueKind::Batch] {
        let mut lens = Vec::new();
        for (_, _, dir) in dirs_of(&config, disk, kind)? {
            lens.extend(disk.list(&dir)?.iter().map(|entry| entry.len));
        }
        let (bytes, unit) = match kind {
            QueueKind::Plain => (&mut config.queue_file_bytes, UNIT_BYTES),
            QueueKind::Batch => (&mut config.batch_queue_file_bytes, BATCH_UNIT_BYTES),
        };
        let whole = most(&lens).filter(|len| len.is_multiple_of(unit.unsigned_abs()));
        *bytes = whole.unwrap_or(*bytes).next_multiple_of(unit.unsigned_abs());
    }
    let index = disk.list(&config.root.join("index"))?;
    let lens: Vec<u64> = index.iter().map(|entry| entry.len).collect();
    let fits = |config: &StoreConfig| {
        let shape = Shape {
            slots: config.index_slots,
            entries: config.index_entries,
        };
        lens.iter().all(|len| *len == 0 || *len == shape.file_bytes())
    };
    // Four entries a slot, as by default: the file does not say it.
    if let Some(slots) = most(&lens)
        .and_then(|len| len.checked_sub(40))
        .map(|len| len / 84)
        && (1..u64::from(u32::MAX / 4)).contains(&slots)
        && lens.contains(&(slots * 84 + 40))
    {
        config.index_slots = slots as u32;
        config.index_entries = slots as u32 * 4;
    }
    // Or nobody knows, and it is not looked at.
    config.index_enabled = fits(&config);
    Ok(config)
}

/// The only file of a log whose size was taken from it although more is known to have been in the log: whether it was cut, or
/// others are missing, the configuration has to tell. With its length and what the log reached.
pub(super) fn doubtful_file(
    config: &StoreConfig,
    disk: &dyn Disk,
) -> io::Result<Option<(PathBuf, u64, i64)>> {
    if !config.is_measured || config.segment_bytes >= StoreConfig::at(&config.root).segment_bytes {
        return Ok(None);
    }
    let mut files = Vec::new();
    for dir in &config.commit_log_dirs {
        for entry in disk.list(dir)?.into_iter().filter(|entry| entry.len > 0) {
            let base = parse_file_name(&entry.name).filter(|_| !entry.is_dir);
            files.extend(base.map(|base| (dir.join(&entry.name), entry.len, base)));
        }
    }
    let safe = checkpoint::load(disk, &config.root.join("checkpoint"))?.safe;
    let reached = reached::load(disk, &config.root)?.max(safe.map(|safe| safe.pos));
    Ok(match (files.as_slice(), reached) {
        ([(path, len, base)], Some(reached)) if reached > base + *len as i64 => {
            Some((path.clone(), *len, reached))
        }
        _ => None,
    })
}

/// The length that most have.
fn most(lens: &[u64]) -> Option<u64> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for len in lens.iter().filter(|len| **len > 0) {
        *counts.entry(*len).or_default() += 1;
    }
    counts
        .into_iter()
        .max_by_key(|(len, count)| (*count, *len))
        .map(|(len, _)| len)
}

/// The directories of the queues of a kind.
pub(super) fn dirs_of(
    config: &StoreConfig,
    disk: &dyn Disk,
    kind: QueueKind,
) -> io::Result<Vec<(String, u32, PathBuf)>> {
    numbered_dirs(disk, &config.root.join(queue_dir(kind))).map_err(io::Error::other)
}

impl View {
    pub(super) fn open(config: &StoreConfig, disk: &Arc<dyn Disk>) -> io::Result<View> {
        let loaded = checkpoint::load(&**disk, &config.root.join("checkpoint"))?;
        let mut findings = Vec::new();
        let unread = Arc::default();
        let log = open_log(config, disk, &unread, &mut findings)?;
        let noted = reached::load(&**disk, &config.root)?;
        let reached = match &loaded.safe {
            Some(safe) => noted.max(Some(safe.pos)),
            // Without any file of the log, that is what a start asks.
            None => noted.filter(|_| log.is_empty()),
        };
        let home = |kind, file_bytes: u64| Home {
            root: config.root.join(queue_dir(kind)),
            file_bytes: file_bytes as i64,
        };
        let plain = home(QueueKind::Plain, config.queue_file_bytes);
        let batch = home(QueueKind::Batch, config.batch_queue_file_bytes);
        let files = QueueFiles::new(Arc::clone(disk), plain, batch, config.queue_files_open_max);
        let queues = Queues::new(config.kinds.clone());
        let is_compact = runs::are_there(&**disk, &config.root)?;
        let runs = match is_compact {
            true => Some(open_runs(config, disk)?),
            false => None,
        };
        let mut view = View {
            is_abnormal: disk.entry(&config.root.join("abort"))?.is_some(),
            has_addresses: disk.entry(&config.root.join("consumequeue_ext"))?.is_some(),
            config: config.clone(),
            disk: Arc::clone(disk),
            log,
            unread,
            queues,
            files: files.with_runs(runs),
            loaded,
            reached,
            findings,
            totals: Totals::default(),
        };
        if is_compact {
            view.load_runs()?;
        } else {
            view.find_queues()?;
        }
        Ok(view)
    }

    /// Whether all of the log is gone, and nobody knows how far it was: then a repair gives up what was derived of it, too.
    pub(super) fn is_log_gone(&self) -> io::Result<bool> {
        let has_queues = self.queues.all().iter().any(|queue| self.extent(queue).1 > 0);
        let is_known =
            has_queues || self.loaded.times.log_ms > 0 || runs::have_units(&*self.disk, &self.config.root)?;
        Ok(self.log.is_empty() && self.reached.is_none() && is_known)
    }

    /// What the log begins and ends with, by its files.
    pub(super) fn log_min(&self) -> i64 {
        self.log.first().map_or(0, Log::min)
    }

    /// The part of the log that has a position.
    pub(super) fn part_at(&self, pos: i64) -> Option<&Log> {
        self.log.iter().find(|log| log.segment_at(pos).is_some())
    }

    /// The file of a position of the log, and the place in it.
    pub(super) fn place_of(&self, pos: i64) -> (PathBuf, u64) {
        let bytes = self.config.segment_bytes as i64;
        let base = pos.div_euclid(bytes) * bytes;
        let found = self.part_at(pos).and_then(|log| log.segment_at(pos));
        let path = found.map_or_else(
            || {
                self.config
                    .commit_log_dirs
                    .first()
                    .cloned()
                    .unwrap_or_default()
                    .join(file_name(base))
            },
            |segment| segment.path.clone(),
        );
        (path, (pos - base).unsigned_abs())
    }

    fn load_runs(&mut self) -> io::Result<()> {
        let Some(runs) = self.files.runs() else {
            return Ok(());
        };
        let dir = runs.dir().to_path_buf();
        let names = self.disk.list(&dir)?.into_iter().filter(|entry| !entry.is_dir);
        let names: Vec<String> = names.map(|entry| entry.name).collect();
        let upto = self.loaded.safe.map_or(i64::MAX, |safe| safe.pos);
        runs.load(&self.queues, upto)?;
        let kept = runs.names();
        // After a kill those behind the checkpoint do not count, and are written again.
        let is_wrong = |name: &String| !self.is_abnormal && !kept.contains(name);
        for name in names.into_iter().filter(is_wrong) {
            self.findings.push(Finding {
                kind: "consume queues",
                file: dir.join(name),
                at: None,
                what: "is damaged, or follows on one that is damaged or missing".to_owned(),
                lost: "nothing: it is derived".to_owned(),
                mend: Mend::Start,
            });
        }
        for queue in self.queues.all() {
            if queue.is_batch() {
                let (first, index) = queue.indexes();
                queue.reset(self.files.end_at(&queue, index)?);
                queue.held.lock().first = first;
            }
        }
        Ok(())
    }

    fn find_queues(&mut self) -> io::Result<()> {
        for kind in [QueueKind::Batch, QueueKind::Plain] {
            let expected = match kind {
                QueueKind::Plain => self.config.queue_file_bytes,
                QueueKind::Batch => self.config.batch_queue_file_bytes,
            };
            for (topic, id, dir) in dirs_of(&self.config, &*self.disk, kind)? {
                let queue = self.queues.get_found(&topic, id, kind);
                let mut entries = self.disk.list(&dir)?;
                entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
                let mut bases = Vec::new();
                for entry in &entries {
                    bases.extend(self.queue_file(&dir, entry, expected));
                }
                if queue.kind() == kind {
                    queue.held.lock().bases = bases;
                }
            }
        }
        Ok(())
    }

    /// Where a file of a queue begins, if it can be one.
    fn queue_file(&mut self, dir: &std::path::Path, entry: &Entry, expected: u64) -> Option<i64> {
        let base = parse_file_name(&entry.name).filter(|base| base.unsigned_abs().is_multiple_of(expected));
        let (what, mend) = match base {
            None => (
                "is not the name of a file of a consume queue".to_owned(),
                Mend::Copy,
            ),
            Some(_) if entry.len == expected || entry.len == 0 => return base.filter(|_| entry.len > 0),
            Some(_) => (
                format!("has {} bytes instead of {expected}", entry.len),
                Mend::Repair,
            ),
        };
        self.findings.push(Finding {
            kind: "consume queue",
            file: dir.join(&entry.name),
            at: None,
            what,
            lost: "nothing: it is derived".to_owned(),
            mend,
        });
        base
    }
}

/// Opens the files of the log, as far as they can be any.
fn open_log(
    config: &StoreConfig,
    disk: &Arc<dyn Disk>,
    unread: &Arc<Unread>,
    findings: &mut Vec<Finding>,
) -> io::Result<Vec<Log>> {
    let mut files: BTreeMap<i64, (PathBuf, u64)> = BTreeMap::new();
    let size = config.segment_bytes;
    let mut tell = |file: PathBuf, what: String, mend| {
        findings.push(Finding {
            kind: "commit log",
            file,
            at: None,
            what,
            lost: String::new(),
            mend,
        });
    };
    for dir in &config.commit_log_dirs {
        for entry in disk.list(dir)?.into_iter().filter(|entry| !entry.is_dir) {
            let path = dir.join(&entry.name);
            let base = parse_file_name(&entry.name).filter(|base| base.unsigned_abs().is_multiple_of(size));
            let Some(base) = base else {
                tell(
                    path,
                    "is not the name of a file of the commit log".to_owned(),
                    Mend::Copy,
                );
                continue;
            };
            if let Some((other, _)) = files.get(&base) {
                tell(path, format!("is there twice: {}", other.display()), Mend::Copy);
                continue;
            }
            files.insert(base, (path, entry.len));
        }
    }
    if let Some((file, what)) = missing_front(config, &**disk, files.first_key_value())? {
        tell(file, what, Mend::Copy);
    }
    let last = files.last_key_value().map(|(base, _)| *base);
    let mut parts: Vec<Vec<Arc<Segment>>> = Vec::new();
    let mut next = None;
    for (base, (path, len)) in files {
        // An end between making a file and giving it its size.
        if len == 0 && Some(base) == last {
            continue;
        }
        if len != size {
            let mend = if len < size { Mend::Repair } else { Mend::Copy };
            tell(path.clone(), format!("has {len} bytes instead of {size}"), mend);
        }
        let file = Arc::new(Padded {
            base,
            file: disk.open(&path)?,
            len: size,
            unread: Arc::clone(unread),
        });
        if next != Some(base) {
            parts.push(Vec::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(Arc::new(Segment { base, path, file }));
        }
        next = Some(base + size as i64);
    }
    let of_part = |segments| {
        let (disk, dirs) = (Arc::clone(disk), config.commit_log_dirs.clone());
        Log::new(disk, dirs, size as i64, segments, Hot::new(0))
    };
    Ok(parts.into_iter().map(of_part).collect())
}

/// The first file of the log that was there once and is not any more.
fn missing_front(
    config: &StoreConfig,
    disk: &dyn Disk,
    first: Option<(&i64, &(PathBuf, u64))>,
) -> io::Result<Option<(PathBuf, String)>> {
    let begun = reached::load_begin(disk, &config.root)?;
    let (Some(begun), Some((first, _)), Some(dir)) = (begun, first, config.commit_log_dirs.first()) else {
        return Ok(None);
    };
    let what = format!(
        "is missing: the log began at {begun} and begins at {first}, unless what was there had expired"
    );
    Ok((begun < *first).then(|| (dir.join(file_name(begun)), what)))
}
