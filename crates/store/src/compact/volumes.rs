// SPDX-License-Identifier: Apache-2.0
//! The files of one compacted queue: records back to back, and for each of these files one of units with the same name.
//!
//! ```text
//! <root>/compaction/compactionLog/<topic>/<id>/<20 digits>   records as in the commit log, but for their position,
//!                                                            which is that in these files; a blank closes a file
//! <root>/compaction/compactionCq/<topic>/<id>/<20 digits>    units as of a batch queue, one per record; a unit with
//!                                                            position -1 and size 0 closes a file that is not full
//! ```
//!
//! The name is the position of the first byte, and all files of a kind have one size. Between files may be gaps.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wire::properties;
use wire::record::{PHYSICAL_OFFSET_AT, RECORD_BYTES_MIN, RecordHead, encode_blank};

use crate::disk::{Disk, File, synced};
use crate::log::{file_name, parse_file_name};
use crate::queue::Unit;
use crate::queue_batch::{self, BATCH_UNIT_BYTES, Span};
use crate::scan::is_torn;

/// Bytes that must stay free behind the last record of a file.
const BLANK_BYTES: i64 = 8;
/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;
/// Where new files grow, below the directory they are for.
pub(super) const COMPACTING: &str = "compacting";
/// Units read at once.
pub(super) const UNITS_AT_ONCE: i64 = 256;

/// Sizes of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(super) log_bytes: i64,
    pub(super) unit_bytes: i64,
}

impl Shape {
    /// From `compactionMappedFileSize` and `compactionCqMappedFileSize`, by the reference's rule: whole units, and
    /// whole files of units, but at least five.
    pub(crate) fn of(log_bytes: u64, unit_bytes: u64) -> Shape {
        let whole = i64::try_from(unit_bytes).unwrap_or(i64::MAX) / BATCH_UNIT_BYTES * BATCH_UNIT_BYTES;
        let unit_bytes = whole.max(2 * BATCH_UNIT_BYTES);
        let log_bytes = i64::try_from(log_bytes).unwrap_or(i64::MAX);
        let (files, rest) = (log_bytes / unit_bytes, log_bytes % unit_bytes);
        let files = match files {
            ..5 => 5,
            files if rest > 0 && rest < unit_bytes / 2 => files,
            files => files + 1,
        };
        Shape {
            log_bytes: files.saturating_mul(unit_bytes),
            unit_bytes,
        }
    }
}

/// One file of records with its file of units.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) base: i64,
    log: Arc<dyn File>,
    units: Arc<dyn File>,
    /// Records.
    pub(super) count: i64,
    /// Their bytes.
    bytes: i64,
    /// Offset in the queue of the last one; -1 when there is none.
    pub(super) last: i64,
}

/// A record to append.
pub(super) struct Item<'a> {
    pub(super) record: &'a [u8],
    pub(super) offset: i64,
    pub(super) tags_code: i64,
    pub(super) stored_at: i64,
}

/// The files, in the order of their names, and so of their offsets.
#[derive(Debug)]
pub(super) struct Volumes {
    disk: Arc<dyn Disk>,
    pub(super) log_dir: PathBuf,
    pub(super) unit_dir: PathBuf,
    shape: Shape,
    pub(super) list: Vec<Volume>,
    /// Not written yet; both belong to the last file.
    records: Vec<u8>,
    units: Vec<u8>,
    is_dirty: bool,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Volume {
    /// Units from an index on.
    pub(super) fn units(&self, from: i64, count: i64) -> io::Result<Vec<(Unit, Span)>> {
        let count = count.min(self.count - from).max(0);
        let mut bytes = vec![0; (count * BATCH_UNIT_BYTES) as usize];
        self.units
            .read_exact_at(&mut bytes, (from * BATCH_UNIT_BYTES).unsigned_abs())?;
        let (units, _) = bytes.as_chunks::<{ BATCH_UNIT_BYTES as usize }>();
        Ok(units.iter().map(queue_batch::decode).collect())
    }

    /// Index of the first unit at an offset or behind it.
    pub(super) fn index_of(&self, offset: i64) -> io::Result<i64> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let is_before = self
                .units(middle, 1)?
                .first()
                .is_some_and(|(_, span)| span.base < offset);
            if is_before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The record of a unit; `None` when there is none that fits it.
    pub(super) fn record(&self, unit: &Unit, span: &Span) -> io::Result<Option<Vec<u8>>> {
        let at = unit.pos - self.base;
        if at < 0 || unit.size <= 0 || at + i64::from(unit.size) > self.bytes {
            return Ok(None);
        }
        let mut record = vec![0; unit.size as usize];
        self.log.read_exact_at(&mut record, at.unsigned_abs())?;
        let is_it = RecordHead::scan(&record).is_ok_and(|head| {
            head.total_size == record.len()
                && head.stamp.physical_offset == unit.pos
                && head.stamp.queue_offset == span.base
                && head.check_body().is_ok()
                && !is_torn(&head)
        });
        Ok(is_it.then_some(record))
    }

    fn last_record(&self) -> io::Result<Option<Vec<u8>>> {
        match self.units(self.count - 1, 1)?.first() {
            Some((unit, span)) => self.record(unit, span),
            None => Ok(None),
        }
    }

    /// Everything in it, in order.
    pub(super) fn each(
        &self,
        mut see: impl FnMut(&Unit, &Span, &[u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        let mut index = 0;
        while index < self.count {
            for (unit, span) in self.units(index, UNITS_AT_ONCE)? {
                let record = self.record(&unit, &span)?;
                let record = record.ok_or_else(|| damaged("a compacted record is damaged"))?;
                if !see(&unit, &span, &record)? {
                    return Ok(());
                }
                index += 1;
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        synced(self.log.sync())?;
        synced(self.units.sync())
    }
}

impl Volumes {
    pub(super) fn new(disk: Arc<dyn Disk>, log_dir: PathBuf, unit_dir: PathBuf, shape: Shape) -> Volumes {
        Volumes {
            disk,
            log_dir,
            unit_dir,
            shape,
            list: Vec::new(),
            records: Vec::new(),
            units: Vec::new(),
            is_dirty: false,
        }
    }

    /// Offset behind the last record.
    pub(super) fn end(&self) -> i64 {
        self.list.last().map_or(0, |volume| volume.last + 1)
    }

    /// Takes up what is there. After an end that was not orderly the last file is read, and cut where it stops making
    /// sense: those in front were durable before the next was made.
    pub(super) fn load(&mut self, is_abnormal: bool) -> io::Result<()> {
        let logs = self.names(&self.log_dir, self.shape.log_bytes, "compactionMappedFileSize")?;
        let units = self.names(
            &self.unit_dir,
            self.shape.unit_bytes,
            "compactionCqMappedFileSize",
        )?;
        for base in units.iter().filter(|base| !logs.contains(base)) {
            self.disk.remove(&self.unit_dir.join(file_name(*base)))?;
        }
        for (at, base) in logs.iter().enumerate() {
            let log_path = self.log_dir.join(file_name(*base));
            if !units.contains(base) {
                self.make_units(*base)?;
            }
            let is_suspect = is_abnormal && at + 1 == logs.len();
            let before = self.list.last().map_or(-1, |volume| volume.last);
            let mut volume = self.measured(self.opened(*base)?, before, is_suspect)?;
            if volume.count > 0 && volume.last_record()?.is_none() {
                // It says where the queue goes on.
                self.make_units(*base)?;
                volume = self.measured(self.opened(*base)?, before, true)?;
            }
            if volume.count > 0 {
                self.list.push(volume);
            } else {
                self.disk.remove(&log_path)?;
                self.disk.remove(&self.unit_dir.join(file_name(*base)))?;
            }
        }
        Ok(())
    }

    /// A file, as if it were full.
    fn opened(&self, base: i64) -> io::Result<Volume> {
        Ok(Volume {
            base,
            log: self.disk.open(&self.log_dir.join(file_name(base)))?,
            units: self.disk.open(&self.unit_dir.join(file_name(base)))?,
            count: self.shape.unit_bytes / BATCH_UNIT_BYTES,
            bytes: self.shape.log_bytes,
            last: -1,
        })
    }

    /// Makes a file of units anew from its records. None are there when an end came between the making of the two.
    fn make_units(&self, base: i64) -> io::Result<()> {
        let path = self.log_dir.join(file_name(base));
        tracing::warn!(file = %path.display(), "a compacted log file lacks its queue file, which is made anew");
        let log = self.disk.open(&path)?;
        let (mut units, mut at) = (Vec::new(), 0);
        while let Some(record) = self.record_in(&*log, base, at)?
            && let Ok(head) = RecordHead::scan(&record)
        {
            let tags = properties::get(head.parts.properties, properties::name::TAGS);
            let unit = Unit {
                pos: base + at,
                size: record.len() as i32,
                tags_code: tags.map_or(0, properties::tags_code),
            };
            let span = Span {
                stored_at: head.stamp.stored_at,
                base: head.stamp.queue_offset,
                count: 1,
            };
            queue_batch::encode(&unit, &span, &mut units);
            at += record.len() as i64;
        }
        // Half of it must not be taken for all.
        let aside = self.unit_dir.join(COMPACTING);
        self.disk.make_dirs_durable(&aside)?;
        let fresh = aside.join(file_name(base));
        let file = self.disk.create(&fresh, self.shape.unit_bytes.unsigned_abs())?;
        file.write_at(&units, 0)?;
        synced(file.sync())?;
        self.disk.rename(&fresh, &self.unit_dir.join(file_name(base)))?;
        synced(self.disk.sync_dir(&self.unit_dir))
    }

    /// The record at a place of a file, if there is a sound one.
    fn record_in(&self, log: &dyn File, base: i64, at: i64) -> io::Result<Option<Vec<u8>>> {
        let mut size = [0; 4];
        if at + BLANK_BYTES > self.shape.log_bytes {
            return Ok(None);
        }
        log.read_exact_at(&mut size, at.unsigned_abs())?;
        let size = i64::from(u32::from_be_bytes(size));
        if size < RECORD_BYTES_MIN as i64 || at + size > self.shape.log_bytes {
            return Ok(None);
        }
        let mut record = vec![0; size as usize];
        log.read_exact_at(&mut record, at.unsigned_abs())?;
        let is_sound = RecordHead::scan(&record).is_ok_and(|head| {
            head.total_size == record.len()
                && head.stamp.physical_offset == base + at
                && head.check_body().is_ok()
                && !is_torn(&head)
        });
        Ok(is_sound.then_some(record))
    }

    fn names(&self, dir: &Path, expected: i64, key: &str) -> io::Result<Vec<i64>> {
        let mut bases = Vec::new();
        for entry in self.disk.list(dir)?.into_iter().filter(|entry| !entry.is_dir) {
            let path = dir.join(&entry.name);
            let Some(base) = parse_file_name(&entry.name) else {
                return Err(damaged(&format!(
                    "{}: not the name of a file of a compacted queue",
                    path.display()
                )));
            };
            if entry.len == 0 {
                self.disk.remove(&path)?;
            } else if i64::try_from(entry.len) == Ok(expected) {
                bases.push(base);
            } else {
                return Err(damaged(&format!(
                    "{} has {} bytes, {key} asks for {expected}",
                    path.display(),
                    entry.len
                )));
            }
        }
        bases.sort_unstable();
        Ok(bases)
    }

    /// Finds out how much is in a file.
    fn measured(&self, volume: Volume, before: i64, is_suspect: bool) -> io::Result<Volume> {
        let is_written = |(unit, span): &(Unit, Span)| unit.is_written() && span.is_sound();
        let mut count = 0;
        if is_suspect {
            let (mut at, mut last) = (volume.base, before);
            while let Some((unit, span)) = volume.units(count, 1)?.first().filter(|found| is_written(found)) {
                let fits = unit.pos == at && span.base > last && volume.record(unit, span)?.is_some();
                if !fits {
                    break;
                }
                (at, last, count) = (at + i64::from(unit.size), span.base, count + 1);
            }
        } else {
            let mut high = volume.count;
            while count < high {
                let middle = count + (high - count) / 2;
                if volume.units(middle, 1)?.first().is_some_and(is_written) {
                    count = middle + 1;
                } else {
                    high = middle;
                }
            }
        }
        let last = match count {
            0 => None,
            _ => volume.units(count - 1, 1)?.first().copied(),
        };
        let (bytes, last) = last.map_or((0, -1), |(unit, span)| {
            (unit.pos + i64::from(unit.size) - volume.base, span.base)
        });
        if is_suspect {
            let zero_behind = |file: &dyn File, from: i64, to: i64| {
                if from < to {
                    file.zero(from.unsigned_abs(), (to - from).unsigned_abs())?;
                }
                synced(file.sync())
            };
            zero_behind(&*volume.log, bytes, self.shape.log_bytes)?;
            zero_behind(&*volume.units, count * BATCH_UNIT_BYTES, self.shape.unit_bytes)?;
        }
        Ok(Volume {
            count,
            bytes,
            last,
            ..volume
        })
    }

    /// Whether a record of so many bytes can be kept at all.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        bytes as i64 + BLANK_BYTES <= self.shape.log_bytes
    }

    /// Appends a record behind the others. Nobody sees it before [`Volumes::write`].
    pub(super) fn append(&mut self, item: &Item<'_>) -> io::Result<()> {
        let len = item.record.len() as i64;
        if !self.fits(item.record.len()) {
            return Err(damaged("a record is larger than compactionMappedFileSize"));
        }
        let has_room = self.list.last().is_some_and(|last| {
            (last.count + 1) * BATCH_UNIT_BYTES < self.shape.unit_bytes
                && last.bytes + len + BLANK_BYTES <= self.shape.log_bytes
        });
        if !has_room {
            self.roll()?;
        }
        if self.records.len() >= WRITE_BYTES {
            self.write()?;
        }
        let Some(volume) = self.list.last_mut() else {
            return Err(damaged("no file to append to"));
        };
        let pos = volume.base + volume.bytes;
        let start = self.records.len();
        self.records.extend_from_slice(item.record);
        self.records[start + PHYSICAL_OFFSET_AT..][..8].copy_from_slice(&pos.to_be_bytes());
        let unit = Unit {
            pos,
            size: item.record.len() as i32,
            tags_code: item.tags_code,
        };
        let span = Span {
            stored_at: item.stored_at,
            base: item.offset,
            count: 1,
        };
        queue_batch::encode(&unit, &span, &mut self.units);
        volume.bytes += len;
        volume.count += 1;
        volume.last = item.offset;
        Ok(())
    }

    /// Writes what was appended.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let Some(last) = self.list.last() else {
            return Ok(());
        };
        if self.records.is_empty() {
            return Ok(());
        }
        self.is_dirty = true;
        let at = last.bytes - self.records.len() as i64;
        last.log.write_at(&self.records, at.unsigned_abs())?;
        let at = last.count * BATCH_UNIT_BYTES - self.units.len() as i64;
        last.units.write_at(&self.units, at.unsigned_abs())?;
        self.records.clear();
        self.units.clear();
        Ok(())
    }

    /// Makes durable what was appended.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.write()?;
        if let Some(last) = self.list.last().filter(|_| self.is_dirty) {
            last.sync()?;
            self.is_dirty = false;
        }
        Ok(())
    }

    /// Ends the last file, if there is one, and makes the next.
    fn roll(&mut self) -> io::Result<()> {
        let mut base = 0;
        if let Some(last) = self.list.last() {
            base = last.base + self.shape.log_bytes;
            let at = last.count * BATCH_UNIT_BYTES;
            self.write()?;
            self.close()?;
            if let Some(last) = self.list.last().filter(|_| at < self.shape.unit_bytes) {
                let end = (
                    Unit {
                        pos: -1,
                        size: 0,
                        tags_code: 0,
                    },
                    Span {
                        stored_at: 0,
                        base: 0,
                        count: 0,
                    },
                );
                let mut bytes = Vec::new();
                queue_batch::encode(&end.0, &end.1, &mut bytes);
                last.units.write_at(&bytes, at.unsigned_abs())?;
            }
            self.is_dirty = true;
            self.sync()?;
        } else {
            self.disk.make_dirs_durable(&self.log_dir)?;
            self.disk.make_dirs_durable(&self.unit_dir)?;
        }
        let make = |dir: &Path, bytes: i64| {
            let file = self
                .disk
                .create(&dir.join(file_name(base)), bytes.unsigned_abs())?;
            synced(self.disk.sync_dir(dir)).map(|()| file)
        };
        let volume = Volume {
            base,
            log: make(&self.log_dir, self.shape.log_bytes)?,
            units: make(&self.unit_dir, self.shape.unit_bytes)?,
            count: 0,
            bytes: 0,
            last: -1,
        };
        self.list.push(volume);
        Ok(())
    }

    /// Writes the blank behind the last record of the last file.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.write()?;
        let Some(last) = self.list.last() else {
            return Ok(());
        };
        let left = self.shape.log_bytes - last.bytes;
        if left >= BLANK_BYTES {
            let mut blank = Vec::new();
            encode_blank(&mut blank, left as u32);
            last.log.write_at(&blank, last.bytes.unsigned_abs())?;
            self.is_dirty = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_sizes_of_the_reference() {
        let shape = |log, units| {
            let shape = Shape::of(log, units);
            (shape.log_bytes, shape.unit_bytes)
        };
        assert_eq!(shape(100 << 20, 10 << 20), (104_857_460, 10_485_746));
        assert_eq!(shape(20_000, 460), (19_780, 460));
        assert_eq!(shape(20_020, 470), (20_240, 460));
        assert_eq!(shape(1000, 470), (2300, 460));
    }
}
