// SPDX-License-Identifier: Apache-2.0
//! How far the log is known to have reached, and where it began: `barque-reached`.
//!
//! ```text
//! 20 bytes for each: magic 8 | position or boot 8 | crc32 4
//! ```
//!
//! Everything below that position was durable when it was noted. So what cannot be read there is damage, and the log goes on
//! behind it; what cannot be read behind it may be what a power cut left of the last writes, and there the log ends. A note
//! is written now and then and not synced: it is gone after a power cut, or older, and then the checkpoint tells, which is
//! synced but comes less often. In the boot of the machine in which the last note was written no power cut has been: everything
//! that was written is there, and what cannot be read is damage wherever it lies. That the log begins later than was noted means that somebody else has removed its first files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::log::Log;

const MAGIC: &[u8; 8] = b"BRQREACH";
const BEGIN_MAGIC: &[u8; 8] = b"BRQBEGIN";
const BOOT_MAGIC: &[u8; 8] = b"BRQ_BOOT";
const BYTES: usize = 20;
/// In the directory of the store.
pub(crate) const NAME: &str = "barque-reached";

/// There since a sync has failed. What it was to write stays readable, but no later sync writes it: the system takes it for written.
/// Empty and not synced, because with the power goes what could still be read.
const UNSYNCED_NAME: &str = "barque-unsynced";

/// Notes that a sync has failed, as far as that is possible.
pub(crate) fn note_unsynced(disk: &dyn Disk, root: &Path) {
    if let Err(error) = disk.create(&root.join(UNSYNCED_NAME), 0) {
        tracing::warn!(file = UNSYNCED_NAME, %error, "that a sync has failed cannot be noted");
    }
}

/// After a failed sync: writes what can be read behind the checkpoint once more. New messages behind it would be lost with it.
pub(crate) fn write_again(disk: &dyn Disk, root: &Path, log: &Log, (from, to): (i64, i64)) -> io::Result<()> {
    let path = root.join(UNSYNCED_NAME);
    if disk.entry(&path)?.is_none() {
        return Ok(());
    }
    tracing::warn!(
        from,
        to,
        "a sync has failed before the last end; the end of the log is written once more"
    );
    log.write_again(from, to)?;
    disk.remove(&path)
}

/// How far the log reached; nothing when the file is missing or damaged.
pub(crate) fn load(disk: &dyn Disk, root: &Path) -> io::Result<Option<i64>> {
    let bytes = disk.load(&root.join(NAME))?.unwrap_or_default();
    Ok(read(bytes.get(..BYTES).unwrap_or_default(), MAGIC))
}

/// Where the log began, if that was noted.
pub(crate) fn load_begin(disk: &dyn Disk, root: &Path) -> io::Result<Option<i64>> {
    let bytes = disk.load(&root.join(NAME))?.unwrap_or_default();
    Ok(read(bytes.get(BYTES..2 * BYTES).unwrap_or_default(), BEGIN_MAGIC))
}

/// Whether the last note was written since the machine was started.
pub(crate) fn is_of_this_boot(disk: &dyn Disk, root: &Path) -> io::Result<bool> {
    let bytes = disk.load(&root.join(NAME))?.unwrap_or_default();
    let noted = read(bytes.get(2 * BYTES..3 * BYTES).unwrap_or_default(), BOOT_MAGIC);
    Ok(noted.is_some() && noted == disk.boot().map(u64::cast_signed))
}

fn read(bytes: &[u8], expected: &[u8; 8]) -> Option<i64> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let (magic, pos) = body.split_first_chunk::<8>()?;
    let is_sound = magic == expected && crc32fast::hash(body) == u32::from_be_bytes(*crc);
    is_sound.then_some(i64::from_be_bytes(*pos.first_chunk()?))
}

fn write(out: &mut Vec<u8>, magic: &[u8; 8], pos: i64) {
    let begin = out.len();
    out.extend_from_slice(magic);
    out.extend_from_slice(&pos.to_be_bytes());
    let crc = crc32fast::hash(out.get(begin..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
}

/// Writes notes.
#[derive(Debug)]
pub(crate) struct Reached {
    path: PathBuf,
    file: Option<Arc<dyn File>>,
    /// Where the log begins, and how far it has reached.
    noted: (i64, i64),
}

impl Reached {
    pub(crate) fn new(root: &Path) -> Reached {
        Reached {
            path: root.join(NAME),
            file: None,
            noted: (-1, -1),
        }
    }

    /// As [`Reached::note`], and it is there after a power cut: what no checkpoint tells.
    pub(crate) fn note_durably(&mut self, disk: &dyn Disk, bounds: (i64, i64)) -> io::Result<()> {
        self.note(disk, bounds)?;
        if let Some(file) = &self.file {
            file.sync()?;
        }
        self.path.parent().map_or(Ok(()), |dir| disk.sync_dir(dir))
    }

    /// Notes where the log begins, and that everything below a position is durable. What is noted never goes back.
    pub(crate) fn note(&mut self, disk: &dyn Disk, (begin, pos): (i64, i64)) -> io::Result<()> {
        let pos = pos.max(self.noted.1);
        if (begin, pos) == self.noted {
            return Ok(());
        }
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => match disk.entry(&self.path)? {
                Some(_) => disk.open(&self.path)?,
                None => disk.create(&self.path, 0)?,
            },
        };
        let mut bytes = Vec::with_capacity(3 * BYTES);
        write(&mut bytes, MAGIC, pos);
        write(&mut bytes, BEGIN_MAGIC, begin);
        match disk.boot() {
            Some(boot) => write(&mut bytes, BOOT_MAGIC, boot.cast_signed()),
            // One from before does not stay.
            None => bytes.resize(3 * BYTES, 0),
        }
        file.write_at(&bytes, 0)?;
        self.file = Some(file);
        self.noted = (begin, pos);
        Ok(())
    }
}
