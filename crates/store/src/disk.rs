// SPDX-License-Identifier: Apache-2.0
//! Files, as the store and the config tables use them. [`real`] is the system's, [`sim`] lives in memory and breaks on
//! request, [`frozen`] is either, for whoever must not change anything.
//!
//! Durability is asked for explicitly: the content of a file by [`File::sync`], its name (and its disappearance) by
//! [`Disk::sync_dir`] of the directory.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod frozen;
pub mod real;
pub mod sim;

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name without the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes.
    pub len: u64,
    /// Time of the last change, ms since 1970.
    pub modified_ms: i64,
}

/// Room of the file system a path lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All bytes.
    pub total: u64,
    /// Free bytes, those reserved for the superuser included.
    pub free: u64,
    /// Free bytes we may use.
    pub available: u64,
}

impl Space {
    /// Used share in percent, rounded up, as the reference (and `df`) reckons it.
    #[must_use]
    pub fn used_percent(&self) -> u64 {
        let used = self.total.saturating_sub(self.free);
        let all = used.saturating_add(self.available);
        if all == 0 {
            0
        } else {
            (u128::from(used) * 100).div_ceil(u128::from(all)) as u64
        }
    }

    /// Bytes that have to become free until no more than so many percent are used.
    #[must_use]
    pub fn missing_for(&self, percent: u64) -> u64 {
        let used = self.total.saturating_sub(self.free);
        let all = used.saturating_add(self.available);
        let allowed = u128::from(all) * u128::from(percent) / 100;
        used.saturating_sub(u64::try_from(allowed).unwrap_or(u64::MAX))
    }
}

/// An open file. All calls are positional and may come from several threads.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// As [`File::read_at`], but fails with [`io::ErrorKind::WouldBlock`] when that had to wait for the disk.
    fn read_at_nowait(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all bytes. After an error any part of them may have been written.
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()>;
    /// Makes a range read as zero, giving its blocks back where the file system can.
    fn zero(&self, at: u64, len: u64) -> io::Result<()>;
    /// Where the first bytes are, from `at` on, that were ever written; `None` when the rest reads as zero because nobody has
    /// written there. A file system that cannot say calls everything written.
    fn next_written(&self, at: u64) -> io::Result<Option<u64>> {
        Ok((at < self.len()?).then_some(at))
    }
    /// Returns when the content is durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file or extends it by zeros without taking room.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether there is not one byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` or fails with [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        if self.read_at(buf, at)? == buf.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// Held as long as it lives.
pub trait Lock: Send + Sync + fmt::Debug {}

/// Something that was written and is not durable yet.
#[derive(Debug, Clone)]
pub enum Unsynced {
    /// What is in a file.
    File(Arc<dyn File>),
    /// The names in a directory.
    Dir(PathBuf),
}

impl Unsynced {
    /// Returns when it is durable.
    pub fn sync(&self, disk: &(impl Disk + ?Sized)) -> io::Result<()> {
        match self {
            Unsynced::File(file) => file.sync(),
            Unsynced::Dir(dir) => disk.sync_dir(dir),
        }
    }
}

/// A file system.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// The same for reading only, where the system knows the difference.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path)
    }
    /// Makes or empties a file and gives it `len` bytes of zeros without taking room. The directory must exist.
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>>;
    /// The names in a directory, in no order; none when there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// What is known about one name.
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>>;
    /// Makes a directory and those above it.
    fn make_dirs(&self, dir: &Path) -> io::Result<()>;
    /// Moves a file over another one, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory that is empty.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Removes a directory with everything in it; none is fine too.
    fn remove_tree(&self, dir: &Path) -> io::Result<()>;
    /// Returns when the names in this directory are durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes many things durable, in any order: what became of each.
    fn sync_many(&self, things: &[Unsynced]) -> Vec<io::Result<()>> {
        things.iter().map(|thing| thing.sync(self)).collect()
    }
    /// Takes the exclusive lock on byte 0 of a file, which is made if it is missing. `None` when another process (or
    /// another store in this one) holds it. A Java broker's lock counts.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
    /// Whether somebody else holds that lock. Nothing is made or written for it.
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        match self.entry(path)? {
            Some(_) => Ok(self.lock(path)?.is_none()),
            None => Ok(false),
        }
    }
    /// Room of the file system.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Since when the machine runs, as a number that is another one after each boot: whatever was written in the same one is there,
    /// synced or not. `None`: nobody knows.
    fn boot(&self) -> Option<u64> {
        None
    }

    /// Makes a directory and those above it, durably: each is durable before there is anything in it. That is seen to also for
    /// the one that is there already, because whoever made it may have failed or ended before that.
    fn make_dirs_durable(&self, dir: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        for dir in dir.ancestors() {
            if self.entry(dir)?.is_some() {
                dir.parent()
                    .map_or(Ok(()), |above| synced(self.sync_dir(above)))?;
                break;
            }
            missing.push(dir);
        }
        for dir in missing.into_iter().rev() {
            self.make_dirs(dir)?;
            let Some(above) = dir.parent() else { continue };
            synced(self.sync_dir(above)).inspect_err(|_| {
                // Nothing would make its name durable any more; the next try makes it anew.
                let _it_is_in_use = self.remove_dir(dir);
            })?;
        }
        Ok(())
    }

    /// Reads a whole file; `None` when there is none.
    fn load(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Some(bytes))
    }

    /// Replaces a config file: the old content stays as [`backup_of`] it, and at no moment are both missing. A reader
    /// takes the file itself, and the backup when it is missing or does not parse.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        self.make_dirs_durable(dir)?;
        let fresh = with_suffix(path, ".tmp");
        let file = self.create(&fresh, 0)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        if self.entry(path)?.is_some() {
            self.rename(path, &backup_of(path))?;
        }
        self.rename(&fresh, path)?;
        self.sync_dir(dir)
    }
}

/// Where [`Disk::replace`] keeps the previous content: `<path>.bak`.
#[must_use]
pub fn backup_of(path: &Path) -> PathBuf {
    with_suffix(path, ".bak")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A sync that failed. What it was to make durable may be lost although a second sync would succeed, so nobody retries.
#[derive(Debug, thiserror::Error)]
#[error("sync failed: {0}")]
pub(crate) struct SyncFailed(#[source] pub(crate) io::Error);

impl From<SyncFailed> for io::Error {
    fn from(failed: SyncFailed) -> io::Error {
        io::Error::other(failed)
    }
}

/// Marks an error of a sync as such.
pub(crate) fn synced(done: io::Result<()>) -> io::Result<()> {
    done.map_err(|error| SyncFailed(error).into())
}

/// Whether an error is one [`synced`] marked.
pub(crate) fn is_sync_failure(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<SyncFailed>())
}
