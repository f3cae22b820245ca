// SPDX-License-Identifier: Apache-2.0
//! Mending a store that nobody runs, with a copy of all that is replaced.
//!
//! * What cannot be read in the log is replaced by records that are in no queue (rollbacks of nothing), so that every program
//!   reads on behind it and no position and no offset is given out twice.
//! * Entries of queues are written as the log says; those of messages that are lost say that there is none.
//! * What is derived as a whole (index, checkpoint, runs of the compact layout) is put aside: the next start makes it anew.
//! * A damaged table is replaced by its backup, or put aside.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wire::record::{
    Parts, RECORD_BYTES_MIN, SEAL_BYTES, Seal, Stamp, crc31, encode_blank, encode_record, record_len, sysflag,
};

use super::queues::Wrong;
use super::tables::{State, tables};
use super::view::{View, doubtful_file, read_around};
use super::walk::Damage;
use super::{Examined, InspectError, Mend, Report, examine, frozen, tried};
use crate::calendar::calendar;
use crate::config::StoreConfig;
use crate::disk::{Disk, backup_of};
use crate::env::Env;
use crate::log::file_name;
use crate::queue_batch::{self, BATCH_UNIT_BYTES, QueueKind};
use crate::runs;
use crate::survey::queue_dir;

/// Every broker has this topic, and nothing of it is in a queue.
pub(super) const FILLER_TOPIC: &str = "TBW102";
/// A longer stretch gets several records.
const FILLER_BYTES_MAX: i64 = 1 << 20;
/// Findings beyond what one round remembers are left to the next.
const ROUNDS: usize = 20;

/// Something that a repair does, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The file.
    pub file: PathBuf,
    /// What is done to it.
    pub what: String,
}

/// What a repair has done, or would do.
#[derive(Debug, Clone, Default)]
pub struct Repaired {
    /// In the order in which it was done.
    pub actions: Vec<Action>,
    /// Where copies of what was replaced are; only when something was written.
    pub copies: Option<PathBuf>,
    /// What is wrong afterwards; when nothing was written, what is wrong now.
    pub left: Report,
}

/// Mends what can be mended, or with `is_dry` only says what it would do.
pub fn repair(config: &StoreConfig, env: &Env, is_dry: bool) -> Result<Repaired, InspectError> {
    let looking = frozen(config, env)?;
    let doubtful = tried("look at the size of the log", doubtful_file(config, &*looking))?;
    if let Some((file, len, reached)) = doubtful {
        return Err(InspectError::Size { file, len, reached });
    }
    let mut repaired = Repaired::default();
    let lock_path = config.root.join("lock");
    let lock = match is_dry {
        true => None,
        false => Some(
            tried("lock the store", env.disk.lock(&lock_path))?
                .ok_or_else(|| InspectError::Running(config.root.clone()))?,
        ),
    };
    let copies = config
        .root
        .join(format!("repair-{}", calendar(env.clock.now_ms())));
    let mut work = Work {
        config,
        disk: &*env.disk,
        copies,
        is_dry,
        actions: Vec::new(),
        fresh: BTreeSet::new(),
    };
    for _ in 0..ROUNDS {
        // The lock is our own while we write.
        let examined = examine(config, &looking)?;
        repaired.left = examined.report.clone();
        let before = work.actions.len();
        if !examined.report.is_mendable() {
            break;
        }
        tried("mend", work.round(&examined, &looking))?;
        if is_dry || work.actions.len() == before {
            break;
        }
    }
    drop(lock);
    if !is_dry && !work.actions.is_empty() {
        repaired.copies = Some(work.copies);
    }
    repaired.actions = work.actions;
    Ok(repaired)
}

struct Work<'a> {
    config: &'a StoreConfig,
    disk: &'a dyn Disk,
    copies: PathBuf,
    is_dry: bool,
    actions: Vec<Action>,
    /// What was put aside or replaced already.
    fresh: BTreeSet<PathBuf>,
}

impl Work<'_> {
    fn round(&mut self, examined: &Examined, looking: &Arc<dyn Disk>) -> io::Result<()> {
        let view = View::open(self.config, looking)?;
        if view.is_log_gone()? {
            for name in [
                queue_dir(QueueKind::Plain),
                queue_dir(QueueKind::Batch),
                runs::DIR,
                "checkpoint",
            ] {
                self.put_aside(&self.config.root.join(name))?;
            }
            return self.tables(&view);
        }
        self.lengthen()?;
        for range in &examined.damage {
            self.fill(range)?;
        }
        self.entries(&view, &examined.wrong)?;
        for finding in &examined.report.findings {
            let is_queue_file = finding.kind == "consume queue" && finding.at.is_none();
            if finding.mend != Mend::Repair || is_queue_file {
                continue;
            }
            match finding.kind {
                // All of them: those behind one that is gone would not be completed.
                "key index" => self.put_aside(&self.config.root.join("index"))?,
                "timers" if finding.file.starts_with(self.config.root.join("timerlog")) => {
                    self.put_aside(&self.config.root.join("timerlog"))?;
                }
                "checkpoint" | "timers" => self.put_aside(&finding.file)?,
                _ => {}
            }
        }
        self.tables(&view)
    }

    fn note(&mut self, file: &Path, what: impl Into<String>) {
        self.actions.push(Action {
            file: file.to_path_buf(),
            what: what.into(),
        });
    }

    /// Where the copy of a file goes.
    fn copy_of(&self, file: &Path) -> PathBuf {
        let below = file.strip_prefix(&self.config.root).unwrap_or(file);
        let below = below.strip_prefix("/").unwrap_or(below);
        self.copies.join(below)
    }

    /// Keeps bytes that are about to be replaced. What a round before has kept is the original, and stays.
    fn keep(&self, file: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let name = |suffix: String| {
            let mut name = self.copy_of(file).into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        let mut copy = name(format!(".{at}"));
        let mut nth = 1;
        while let Some(found) = self.disk.entry(&copy)? {
            if found.len >= bytes.len() as u64 {
                return Ok(());
            }
            nth += 1;
            copy = name(format!(".{at}-{nth}"));
        }
        let dir = copy.parent().ok_or(io::ErrorKind::InvalidInput)?;
        self.disk.make_dirs_durable(dir)?;
        let kept = self.disk.create(&copy, 0)?;
        kept.write_at(bytes, 0)?;
        kept.sync()?;
        self.disk.sync_dir(dir)
    }

    /// Moves a file or a directory to the copies.
    fn put_aside(&mut self, path: &Path) -> io::Result<()> {
        if self.disk.entry(path)?.is_none() || !self.fresh.insert(path.to_path_buf()) {
            return Ok(());
        }
        self.note(path, "is put aside; the next start makes it anew");
        if self.is_dry {
            return Ok(());
        }
        let to = self.copy_of(path);
        let dir = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
        self.disk.make_dirs_durable(dir)?;
        move_to(self.disk, path, &to)?;
        path.parent().map_or(Ok(()), |dir| self.disk.sync_dir(dir))
    }

    /// Gives files that were cut their length again. What was in it reads as zero and is filled.
    fn lengthen(&mut self) -> io::Result<()> {
        for dir in self.config.commit_log_dirs.clone() {
            for entry in self.disk.list(&dir)? {
                let is_name = crate::log::parse_file_name(&entry.name).is_some();
                if is_name && !entry.is_dir && entry.len > 0 && entry.len < self.config.segment_bytes {
                    self.set_len(&dir.join(&entry.name), self.config.segment_bytes)?;
                }
            }
        }
        for (kind, len) in [
            (QueueKind::Plain, self.config.queue_file_bytes),
            (QueueKind::Batch, self.config.batch_queue_file_bytes),
        ] {
            for (_, _, dir) in super::view::dirs_of(self.config, self.disk, kind)? {
                for entry in self.disk.list(&dir)? {
                    if entry.len > 0 && entry.len != len {
                        self.set_len(&dir.join(&entry.name), len)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn set_len(&mut self, path: &Path, len: u64) -> io::Result<()> {
        if !self.fresh.insert(path.to_path_buf()) {
            return Ok(());
        }
        self.note(path, format!("gets its length of {len} bytes"));
        if self.is_dry {
            return Ok(());
        }
        let file = self.disk.open(path)?;
        let before = file.len()?;
        if before > len {
            let mut rest = vec![0; usize::try_from(before - len).map_err(io::Error::other)?];
            file.read_exact_at(&mut rest, len)?;
            self.keep(path, len, &rest)?;
        }
        file.set_len(len)?;
        file.sync()
    }

    /// Fills a stretch of the log with records that say nothing.
    fn fill(&mut self, range: &Damage) -> io::Result<()> {
        let size = self.config.segment_bytes as i64;
        let mut from = range.from;
        while from < range.to {
            let base = from.div_euclid(size) * size;
            let to = range.to.min(base + size);
            self.fill_in_file((from, to), base, range.stored_at)?;
            from = to;
        }
        Ok(())
    }

    fn fill_in_file(&mut self, (from, to): (i64, i64), base: i64, stored_at: i64) -> io::Result<()> {
        let path = self.log_path(base)?;
        let is_to_end = to == base + self.config.segment_bytes as i64;
        let bytes = if is_to_end && to - from >= 8 {
            let mut blank = Vec::new();
            encode_blank(&mut blank, u32::try_from(to - from).map_err(io::Error::other)?);
            Some(blank)
        } else {
            self.fillers((from, to), stored_at)
        };
        let Some(bytes) = bytes else {
            return Ok(());
        };
        self.note(
            &path,
            format!(
                "bytes {} to {}: filled with records that are in no queue",
                from - base,
                to - base
            ),
        );
        if self.is_dry {
            return Ok(());
        }
        let file = match self.disk.entry(&path)? {
            Some(found) if found.len > 0 => self.disk.open(&path)?,
            _ => {
                let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
                self.disk.make_dirs_durable(dir)?;
                let file = self.disk.create(&path, self.config.segment_bytes)?;
                file.sync()?;
                self.disk.sync_dir(dir)?;
                file
            }
        };
        let at = (from - base).unsigned_abs();
        let mut old = vec![0; bytes.len()];
        let read = read_around(&*file, &mut old, at, |_| {})?;
        self.keep(&path, at, old.get(..read).unwrap_or_default())?;
        file.write_at(&bytes, at)?;
        file.sync()
    }

    /// The path of a file of the log, there or not.
    fn log_path(&self, base: i64) -> io::Result<PathBuf> {
        let name = file_name(base);
        for dir in &self.config.commit_log_dirs {
            let path = dir.join(&name);
            if self.disk.entry(&path)?.is_some() {
                return Ok(path);
            }
        }
        let dirs = &self.config.commit_log_dirs;
        let turn = (base / self.config.segment_bytes as i64).unsigned_abs() as usize % dirs.len().max(1);
        let dir = dirs.get(turn).ok_or(io::ErrorKind::NotFound)?;
        Ok(dir.join(name))
    }

    /// Records for so many bytes; `None` when there is no room for one.
    fn fillers(&self, (from, to): (i64, i64), stored_at: i64) -> Option<Vec<u8>> {
        let seal = if self.config.demand_seals {
            Seal::Present
        } else {
            Seal::Absent
        };
        let least = (RECORD_BYTES_MIN + FILLER_TOPIC.len() + SEAL_BYTES) as i64;
        let mut out = Vec::new();
        let mut pos = from;
        while pos < to {
            let left = to - pos;
            // What is left for the next has to hold one.
            let len = if left > FILLER_BYTES_MAX {
                FILLER_BYTES_MAX.min(left - least)
            } else {
                left
            };
            let empty = record_len(&filler(stored_at, &[]), seal);
            let body = vec![0; usize::try_from(len).ok()?.checked_sub(empty)?];
            let stamp = Stamp {
                queue_offset: 0,
                physical_offset: pos,
                stored_at,
            };
            encode_record(&mut out, &filler(stored_at, &body), &stamp, seal);
            pos += len;
        }
        Some(out)
    }

    /// Writes entries as the log says. Runs are made anew as a whole.
    fn entries(&mut self, view: &View, wrong: &[Wrong]) -> io::Result<()> {
        if wrong.is_empty() {
            return Ok(());
        }
        if let Some(runs) = view.files.runs() {
            let dir = runs.dir().to_path_buf();
            self.put_aside(&dir)?;
            return self.put_aside(&self.config.root.join("checkpoint"));
        }
        for group in wrong
            .chunk_by(|one, other| Arc::ptr_eq(&one.queue, &other.queue) && is_same_file(view, one, other))
        {
            let Some(first) = group.first() else { continue };
            let (path, _) = view.entry_place(&first.queue, first.index);
            self.note(
                &path,
                format!("{} entries are written as the log says", group.len()),
            );
            if !self.is_dry {
                self.write_entries(view, &path, group)?;
            }
        }
        Ok(())
    }

    fn write_entries(&self, view: &View, path: &Path, group: &[Wrong]) -> io::Result<()> {
        let Some(Wrong { queue, index, .. }) = group.first() else {
            return Ok(());
        };
        let bytes = match queue.kind() {
            QueueKind::Plain => self.config.queue_file_bytes,
            QueueKind::Batch => self.config.batch_queue_file_bytes,
        };
        let file = match self.disk.entry(path)? {
            Some(found) if found.len > 0 => {
                let old = self.disk.load(path)?.unwrap_or_default();
                self.keep(path, 0, &old)?;
                self.disk.open(path)?
            }
            _ => {
                let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
                self.disk.make_dirs_durable(dir)?;
                self.disk.create(path, bytes)?
            }
        };
        let base = view.files.base_of(queue, *index);
        for wrong in group {
            let mut unit = Vec::new();
            match queue.kind() {
                QueueKind::Plain => wrong.unit.encode(&mut unit),
                // A queue of batches ends with the last entry that says something.
                QueueKind::Batch if wrong.unit.is_blank() => unit.resize(BATCH_UNIT_BYTES as usize, 0),
                QueueKind::Batch => queue_batch::encode(&wrong.unit, &wrong.span, &mut unit),
            }
            file.write_at(&unit, (wrong.index * queue.unit_bytes() - base).unsigned_abs())?;
        }
        file.sync()?;
        path.parent().map_or(Ok(()), |dir| self.disk.sync_dir(dir))
    }

    fn tables(&mut self, view: &View) -> io::Result<()> {
        for (path, own, backup) in tables(view)? {
            let backup_path = backup_of(&path);
            match (own, backup) {
                (State::Sound, State::Damaged) => self.put_aside(&backup_path)?,
                (State::Sound, _) => {}
                (_, State::Sound) => {
                    if self.disk.entry(&path)?.is_some() {
                        self.put_aside(&path)?;
                    }
                    self.note(&path, "is replaced by its backup");
                    if !self.is_dry {
                        let bytes = self.disk.load(&backup_path)?.unwrap_or_default();
                        self.disk.replace(&path, &bytes)?;
                    }
                }
                _ => {
                    self.put_aside(&path)?;
                    self.put_aside(&backup_path)?;
                }
            }
        }
        Ok(())
    }
}

/// Moves a file, or all that is below a directory. The copies are durable first.
fn move_to(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    if disk.entry(from)?.is_some_and(|found| !found.is_dir) {
        return disk.rename(from, to);
    }
    disk.make_dirs_durable(to)?;
    for entry in disk.list(from)? {
        move_to(disk, &from.join(&entry.name), &to.join(&entry.name))?;
    }
    disk.sync_dir(to)?;
    disk.remove_tree(from)
}

fn is_same_file(view: &View, one: &Wrong, other: &Wrong) -> bool {
    view.files.base_of(&one.queue, one.index) == view.files.base_of(&other.queue, other.index)
}

/// A record that is in no queue and in no index.
fn filler(stored_at: i64, body: &[u8]) -> Parts<'_> {
    let nobody = ([0, 0, 0, 0], 0).into();
    Parts {
        queue_id: 0,
        flag: 0,
        sys_flag: sysflag::ROLLBACK,
        born_at: stored_at,
        born_host: nobody,
        store_host: nobody,
        reconsume_times: 0,
        prepared_pos: 0,
        body,
        body_crc: crc31(body),
        topic: FILLER_TOPIC,
        properties: &[],
    }
}
