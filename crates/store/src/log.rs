// SPDX-License-Identifier: Apache-2.0
//! The commit log: all messages of all topics, one sequence cut into files of one size.
//!
//! ```text
//! file <dir>/<20 digits>: named by its first position; records back to back, closed by a blank record
//! ```
//!
//! A file is created at full size without taking room, as the reference demands, and is durable with its name before
//! the first byte goes into it. The log knows bytes and how far they got, not what they mean.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::disk::{Disk, File, synced};
use crate::hot::Hot;

/// Bytes that are written once more at a time.
const AGAIN_STEP: usize = 1 << 20;
/// Read at once, and how often, to find out whether a file goes on: 64 MiB.
const BLANK_STEP: usize = 64 << 10;
const BLANK_STEPS_MAX: usize = 1024;

/// Whether a read may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadMode {
    /// Only what is in memory; for threads that must not block.
    Cached,
    /// Waits.
    Blocking,
}

/// Where bytes were read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// They never left this process.
    Memory,
    /// They were on a disk, which may have changed them.
    File,
}

/// One file of the log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: i64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
}

impl Segment {
    /// Fills `buf` from a place in the file, as far as there is something.
    pub(crate) fn read_at(&self, buf: &mut [u8], at: u64, mode: ReadMode) -> io::Result<usize> {
        let read = match mode {
            ReadMode::Cached => self.file.read_at_nowait(buf, at),
            ReadMode::Blocking => self.file.read_at(buf, at),
        };
        read.map_err(|error| unread(&self.path, (at, buf.len()), error))
    }
}

/// Says of an error which file cannot be read, and where.
pub(crate) fn unread(path: &Path, (at, len): (u64, usize), error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        return error;
    }
    let (path, end) = (path.display(), at + len as u64);
    io::Error::new(error.kind(), format!("{path}, bytes {at} to {end}: {error}"))
}

#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    dirs: Vec<PathBuf>,
    segment_bytes: i64,
    /// Ascending, without gaps.
    segments: RwLock<Vec<Arc<Segment>>>,
    /// Held while a file is made, which takes a sync: readers go on.
    creating: Mutex<()>,
    /// Everything below is in the files.
    pub(crate) written: AtomicI64,
    /// Everything below is synced.
    pub(crate) durable: AtomicI64,
    pub(crate) hot: Hot,
}

/// The name of a file that starts at `base`.
pub(crate) fn file_name(base: i64) -> String {
    format!("{base:020}")
}

/// The start a file name says; only names made of 20 digits are ours.
pub(crate) fn parse_file_name(name: &str) -> Option<i64> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.parse().ok())
        .flatten()
}

impl Log {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dirs: Vec<PathBuf>,
        segment_bytes: i64,
        segments: Vec<Arc<Segment>>,
        hot: Hot,
    ) -> Log {
        Log {
            disk,
            dirs,
            segment_bytes,
            segments: RwLock::new(segments),
            creating: Mutex::new(()),
            written: AtomicI64::new(0),
            durable: AtomicI64::new(0),
            hot,
        }
    }

    pub(crate) fn segment_bytes(&self) -> i64 {
        self.segment_bytes
    }

    /// Start of the file a position lies in.
    pub(crate) fn base_of(&self, pos: i64) -> i64 {
        pos / self.segment_bytes * self.segment_bytes
    }

    /// The oldest position there is.
    pub(crate) fn min(&self) -> i64 {
        self.segments
            .read()
            .first()
            .map_or_else(|| self.written.load(Ordering::Acquire), |first| first.base)
    }

    /// End of the last file.
    pub(crate) fn capacity_end(&self) -> i64 {
        self.segments
            .read()
            .last()
            .map_or(0, |last| last.base + self.segment_bytes)
    }

    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().clone()
    }

    pub(crate) fn segment_at(&self, pos: i64) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let first = segments.first()?.base;
        let behind = pos.checked_sub(first).filter(|behind| *behind >= 0)?;
        segments
            .get(usize::try_from(behind / self.segment_bytes).ok()?)
            .cloned()
    }

    /// The path of the file that a position lies in, whether it is there or not.
    pub(crate) fn path_of(&self, pos: i64) -> PathBuf {
        match self.segment_at(pos) {
            Some(segment) => segment.path.clone(),
            None => self.home_of(self.base_of(pos)).join(file_name(self.base_of(pos))),
        }
    }

    /// The directory for a file that begins there.
    fn home_of(&self, base: i64) -> PathBuf {
        let turn = (base / self.segment_bytes).unsigned_abs() as usize % self.dirs.len().max(1);
        self.dirs.get(turn).cloned().unwrap_or_default()
    }

    /// The file for a position about to be written, made when it is missing.
    pub(crate) fn segment_for(&self, pos: i64) -> io::Result<Arc<Segment>> {
        if let Some(segment) = self.segment_at(pos) {
            return Ok(segment);
        }
        let _one = self.creating.lock();
        if let Some(segment) = self.segment_at(pos) {
            return Ok(segment);
        }
        let base = self.base_of(pos);
        // The first file of a new log may start anywhere; later ones follow each other.
        let end = self
            .segments
            .read()
            .last()
            .map(|last| last.base + self.segment_bytes);
        if end.is_some_and(|end| end != base) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "gap in the log"));
        }
        let segment = Arc::new(self.create(base)?);
        self.segments.write().push(Arc::clone(&segment));
        Ok(segment)
    }

    fn create(&self, base: i64) -> io::Result<Segment> {
        let dir = &self.home_of(base);
        self.disk.make_dirs_durable(dir)?;
        let path = dir.join(file_name(base));
        let file = self.disk.create(&path, self.segment_bytes.unsigned_abs())?;
        // A sync that fails is never tried again: the second would claim what the first has lost.
        synced(file.sync())?;
        synced(self.disk.sync_dir(dir))?;
        tracing::info!(base, "log file created");
        Ok(Segment { base, path, file })
    }

    /// Makes the next file when the last one is half used. Returns whether it did.
    pub(crate) fn prepare_next(&self) -> io::Result<bool> {
        let written = self.written.load(Ordering::Acquire);
        let next = self.base_of(written) + self.segment_bytes;
        let is_half_used = (written - self.base_of(written)) * 2 >= self.segment_bytes;
        let is_last = self
            .segments
            .read()
            .last()
            .is_some_and(|last| last.base + self.segment_bytes == next);
        if is_half_used && is_last {
            self.segment_for(next)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Syncs the files that hold `[from, to)`.
    pub(crate) fn sync(&self, from: i64, to: i64) -> io::Result<()> {
        for segment in self.segments() {
            if segment.base < to && segment.base + self.segment_bytes > from {
                segment.file.sync()?;
            }
        }
        Ok(())
    }

    /// Writes what can be read of `[from, to)` once more and makes it durable.
    pub(crate) fn write_again(&self, from: i64, to: i64) -> io::Result<()> {
        let mut bytes = vec![0; AGAIN_STEP];
        for segment in self.segments() {
            let mut at = from.max(segment.base);
            let end = to.min(segment.base + self.segment_bytes);
            while at < end {
                let step = (end - at).min(AGAIN_STEP as i64) as usize;
                let place = (at - segment.base).unsigned_abs();
                let read = segment.read_at(&mut bytes[..step], place, ReadMode::Blocking)?;
                segment.file.write_at(&bytes[..read], place)?;
                at += step as i64;
            }
        }
        self.sync(from, to)
    }

    /// Makes `[from, to)` read as zero, wherever there are files.
    pub(crate) fn zero(&self, from: i64, to: i64) -> io::Result<()> {
        for segment in self.segments() {
            let start = from.max(segment.base);
            let end = to.min(segment.base + self.segment_bytes);
            if start < end {
                segment.file.zero(
                    (start - segment.base).unsigned_abs(),
                    (end - start).unsigned_abs(),
                )?;
            }
        }
        Ok(())
    }

    /// Whether everything from a position to the end of its file reads as zero. Not found out for a file in which too much was
    /// written there.
    pub(crate) fn is_blank_behind(&self, pos: i64) -> io::Result<bool> {
        let Some(segment) = self.segment_at(pos) else {
            return Ok(true);
        };
        let mut at = (pos - segment.base).unsigned_abs();
        let mut room = vec![0; BLANK_STEP];
        for _ in 0..BLANK_STEPS_MAX {
            let Some(next) = segment.file.next_written(at)? else {
                return Ok(true);
            };
            let read = segment.read_at(&mut room, next, ReadMode::Blocking)?;
            if room.iter().take(read).any(|byte| *byte != 0) {
                return Ok(false);
            }
            at = next + read as u64;
        }
        Ok(false)
    }

    /// Fills `buf` from the log at `pos`, within one file.
    pub(crate) fn read(&self, pos: i64, buf: &mut [u8], mode: ReadMode) -> io::Result<Origin> {
        if self.hot.read(pos, buf) {
            return Ok(Origin::Memory);
        }
        let segment = self.segment_at(pos).ok_or(io::ErrorKind::NotFound)?;
        let at = (pos - segment.base).unsigned_abs();
        let read = segment.read_at(buf, at, mode)?;
        if read == buf.len() {
            Ok(Origin::File)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Removes the first file, if it lies wholly before the one being written.
    pub(crate) fn remove_first(&self) -> io::Result<bool> {
        let active = self.base_of(self.written.load(Ordering::Acquire));
        let first = match self.segments.read().as_slice() {
            [first, _, ..] if first.base + self.segment_bytes <= active => Arc::clone(first),
            _ => return Ok(false),
        };
        match self.disk.remove(&first.path) {
            // An earlier try got so far and failed afterwards.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
        self.sync_dir_of(&first.path)?;
        // Only now: what is still on the disk has to be found by the next try.
        self.segments.write().retain(|segment| segment.base != first.base);
        Ok(true)
    }

    /// Removes the files that start at or behind `end`; durable when it returns.
    pub(crate) fn remove_behind(&self, end: i64) -> io::Result<()> {
        loop {
            let last = {
                let mut segments = self.segments.write();
                match segments.last() {
                    Some(last) if last.base >= end => segments.pop(),
                    _ => None,
                }
            };
            let Some(last) = last else { return Ok(()) };
            self.disk.remove(&last.path)?;
            self.sync_dir_of(&last.path)?;
        }
    }

    fn sync_dir_of(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), |dir| self.disk.sync_dir(dir))
    }
}
