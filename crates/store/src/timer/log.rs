// SPDX-License-Identifier: Apache-2.0
//! The timer log: an entry for each message that waits, chained backwards by tick.
//!
//! ```text
//! <root>/timerlog/<20 digits>: entries of 52 bytes; a file ends with a blank when less than 68 bytes are left
//! entry: 52 4 | previous entry of the tick 8, -1 none | kind 4: 1, 2 roll, 4 delete | written at 8 | tick - written at 4
//!        | position of the message 8 | its size 4 | hash of its topic 4 | 8 at which the reference looks at nothing: it
//!          writes 0 there, we CHECKED 4 and the CRC-32 of what is in front 4; LOST in the place of an entry that was damaged
//! blank: bytes left 4 | 0 8 | 0xCBD43194 4
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wire::record::{MAGIC_BLANK, RECORD_BYTES_MIN};

use crate::disk::{Disk, File, synced};
use crate::log::parse_file_name;

pub(crate) const ENTRY_BYTES: i64 = 52;
const BLANK_BYTES: i64 = 16;
/// In the last 8 bytes of an entry whose message is still to be looked for.
const LOST: i64 = 0x6c6f_7374_6c6f_7374;
/// In the 4 bytes before the CRC of an entry.
const CHECKED: u32 = 0x6272_7131;
/// Bytes that the CRC covers.
const CHECKED_BYTES: usize = 44;
/// Read at once on the way back through a chain whose entries lie close together, and else.
const CHUNK_BYTES: i64 = 64 << 10;
const SMALL_CHUNK_BYTES: i64 = 2 << 10;

/// Bits of [`TimerEntry::kind`].
pub(crate) mod kind {
    pub(crate) const DEFAULT: i32 = 1;
    pub(crate) const ROLL: i32 = 2;
    pub(crate) const DELETE: i32 = 4;
}

/// A message that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerEntry {
    /// The entry before this one of the same tick; -1 for none.
    pub(crate) prev: i64,
    pub(crate) kind: i32,
    /// When it was put here, cut to the tick.
    pub written_ms: i64,
    /// Its tick less that.
    pub(crate) delay_ms: i32,
    /// Where the message lies in the commit log.
    pub pos: i64,
    /// Its size.
    pub size: i32,
    /// Java hash of the topic it is meant for.
    pub topic_hash: i32,
    /// It stands for one that was damaged, whose message has not been found again.
    pub(crate) is_lost: bool,
}

impl TimerEntry {
    /// What is put in the place of a damaged entry: it takes back nothing, because the message it points to does not say
    /// what, and keeps the chain of its tick together. The reference passes over it as well.
    pub(crate) fn lost(tick_ms: i64, prev: i64, pos: i64) -> TimerEntry {
        TimerEntry {
            prev,
            kind: kind::DEFAULT | kind::DELETE,
            written_ms: tick_ms,
            delay_ms: 0,
            pos,
            size: RECORD_BYTES_MIN as i32,
            topic_hash: 0,
            is_lost: true,
        }
    }

    /// The tick it waits in.
    pub fn tick_ms(&self) -> i64 {
        self.written_ms.saturating_add(i64::from(self.delay_ms))
    }

    /// Whether it is to be written to the timer topic anew.
    pub fn is_roll(&self) -> bool {
        self.kind & kind::ROLL != 0
    }

    /// Whether it takes back another message of its tick. One that rolls does so only in the last tick.
    pub fn is_delete(&self) -> bool {
        self.kind & kind::DELETE != 0 && !self.is_roll()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(ENTRY_BYTES as i32).to_be_bytes());
        out.extend_from_slice(&self.prev.to_be_bytes());
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&self.written_ms.to_be_bytes());
        out.extend_from_slice(&self.delay_ms.to_be_bytes());
        out.extend_from_slice(&self.pos.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&self.topic_hash.to_be_bytes());
        if self.is_lost {
            out.extend_from_slice(&LOST.to_be_bytes());
            return;
        }
        let crc = crc32fast::hash(out.get(out.len() - CHECKED_BYTES..).unwrap_or_default());
        out.extend_from_slice(&CHECKED.to_be_bytes());
        out.extend_from_slice(&crc.to_be_bytes());
    }

    /// Reads what lies at `at`, believing nothing.
    fn decode(bytes: &[u8], at: i64) -> Found {
        let int = |from: usize| {
            let bytes = bytes.get(from..).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| i32::from_be_bytes(*bytes))
        };
        let long = |from: usize| {
            let bytes = bytes.get(from..).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| i64::from_be_bytes(*bytes))
        };
        let entry = TimerEntry {
            prev: long(4),
            kind: int(12),
            written_ms: long(16),
            delay_ms: int(24),
            pos: long(28),
            size: int(36),
            topic_hash: int(40),
            is_lost: long(44) == LOST,
        };
        if entry.kind == MAGIC_BLANK {
            return Found::Blank;
        }
        // The size comes late in an entry: one that was not written to its end has none.
        let is_sound = int(0) == ENTRY_BYTES as i32
            && (-1..at).contains(&entry.prev)
            && entry.kind & !0xF == 0
            && entry.pos >= 0
            && entry.size >= RECORD_BYTES_MIN as i32
            && is_as_written(bytes);
        if is_sound {
            Found::Entry(entry)
        } else {
            Found::Nothing
        }
    }
}

/// Whether an entry has the CRC that we write, or what others write in its place.
fn is_as_written(bytes: &[u8]) -> bool {
    let said = bytes.get(CHECKED_BYTES..).and_then(|said| said.first_chunk());
    let said = said.map_or(0, |said| i64::from_be_bytes(*said));
    let crc = crc32fast::hash(bytes.get(..CHECKED_BYTES).unwrap_or_default());
    said == 0 || said == LOST || said == i64::from(CHECKED) << 32 | i64::from(crc)
}

enum Found {
    Entry(TimerEntry),
    Blank,
    Nothing,
}

/// What is wrong with a timer log that nobody has open, in front of where its mark says that it ends; and how many entries it has
/// there.
pub(crate) fn faults_of_log(disk: &dyn Disk, dir: &Path, mark: &Path) -> io::Result<(u64, Vec<Fault>)> {
    let mark = disk.load(mark)?.unwrap_or_default();
    let end = mark.get(8..16).and_then(|end| end.first_chunk());
    let end = end.map_or(0, |end| i64::from_be_bytes(*end));
    let mut files = disk.list(dir)?;
    files.retain(|entry| !entry.is_dir && entry.len > 0);
    files.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let size = files.first().map_or(0, |first| first.len);
    let (mut count, mut faults, mut next) = (0, Vec::new(), None);
    for entry in files {
        let path = dir.join(&entry.name);
        let Some(base) = parse_file_name(&entry.name).filter(|base| next.is_none_or(|next| next == *base))
        else {
            faults.push((
                path,
                None,
                "does not follow on the file in front of it".to_owned(),
            ));
            continue;
        };
        if entry.len != size {
            faults.push((
                path.clone(),
                None,
                format!("has {} bytes instead of {size}", entry.len),
            ));
        }
        next = Some(base.saturating_add_unsigned(size));
        let bytes = disk.load(&path)?.unwrap_or_default();
        let room = bytes.len().saturating_sub(BLANK_BYTES as usize);
        let entries = bytes
            .get(..room)
            .unwrap_or_default()
            .as_chunks::<{ ENTRY_BYTES as usize }>()
            .0;
        for (nth, bytes) in entries.iter().enumerate() {
            let at = nth as u64 * ENTRY_BYTES as u64;
            let pos = base.saturating_add_unsigned(at);
            if pos >= end {
                break;
            }
            match TimerEntry::decode(bytes, pos) {
                Found::Entry(_) => count += 1,
                Found::Blank | Found::Nothing => {
                    faults.push((path.clone(), Some(at), "an entry is damaged".to_owned()));
                }
            }
        }
    }
    Ok((count, faults))
}

/// A file, the place in it, and what is wrong.
pub(crate) type Fault = (PathBuf, Option<u64>, String);

/// A sync on its way.
#[derive(Debug)]
pub(crate) struct LogSync {
    files: Vec<Arc<dyn File>>,
    pub(crate) end: i64,
}

impl LogSync {
    pub(crate) fn run(&self) -> io::Result<()> {
        self.files.iter().try_for_each(|file| synced(file.sync()))
    }
}

#[derive(Debug)]
pub(crate) struct TimerLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_bytes: i64,
    files: BTreeMap<i64, Arc<dyn File>>,
    /// Where the next entry goes, or a blank.
    end: i64,
    synced: i64,
    /// Entries read last.
    chunk: (i64, Vec<u8>),
}

impl TimerLog {
    /// Opens what is there. The end is not known before [`TimerLog::walk`] and [`TimerLog::end_at`].
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: PathBuf, file_bytes: u64) -> io::Result<TimerLog> {
        disk.make_dirs_durable(&dir)?;
        let mut found: Vec<(i64, u64)> = Vec::new();
        for entry in disk.list(&dir)? {
            match entry.name.parse() {
                Ok(base) if !entry.is_dir && entry.name.len() == 20 => found.push((base, entry.len)),
                _ => {
                    let path = dir.join(&entry.name);
                    tracing::warn!(file = %path.display(), "not a file of the timer log, left alone");
                }
            }
        }
        found.sort_unstable();
        // The files that are there say how large files are; the last one may not have got its length.
        let file_bytes = found
            .first()
            .map_or(file_bytes, |(_, len)| if *len == 0 { file_bytes } else { *len });
        let size = i64::try_from(file_bytes).unwrap_or(i64::MAX);
        if size < ENTRY_BYTES + BLANK_BYTES {
            let what = "mappedFileSizeTimerLog is too small";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let mut log = TimerLog {
            disk,
            dir,
            file_bytes: size,
            files: BTreeMap::new(),
            end: 0,
            synced: 0,
            chunk: (0, Vec::new()),
        };
        let mut expected = found.first().map_or(0, |(base, _)| *base);
        for (base, len) in found {
            if base != expected || base % size != 0 {
                let what = format!(
                    "{} lacks the file of position {expected}; `barque store repair --write` puts it aside, and the next start makes it anew of the timer topic",
                    log.dir.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            let file = log.disk.open(&log.path(base))?;
            if len != file_bytes {
                file.set_len(file_bytes)?;
            }
            log.files.insert(base, file);
            expected += size;
        }
        Ok(log)
    }

    fn path(&self, base: i64) -> PathBuf {
        self.dir.join(format!("{base:020}"))
    }

    /// The file that a place belongs to, for what is logged of it.
    pub(crate) fn file_of(&self, at: i64) -> PathBuf {
        self.path(self.base_of(at))
    }

    pub(crate) fn file_bytes(&self) -> i64 {
        self.file_bytes
    }

    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Where its first file begins.
    pub(crate) fn begin(&self) -> i64 {
        self.files.first_key_value().map_or(0, |(base, _)| *base)
    }

    fn base_of(&self, pos: i64) -> i64 {
        pos - pos.rem_euclid(self.file_bytes)
    }

    /// Shows every place of an entry from the file of `from` on, in order, with the entry if it is sound. In front of
    /// `durable` an unsound one is damaged; behind it is where the log ends. Returns the end of the last sound entry.
    pub(crate) fn walk(
        &self,
        from: i64,
        durable: i64,
        mut see: impl FnMut(i64, Option<&TimerEntry>) -> io::Result<()>,
    ) -> io::Result<i64> {
        let start = self
            .files
            .range(..=from.max(0))
            .next_back()
            .or(self.files.first_key_value());
        let Some((start, _)) = start else { return Ok(0) };
        let mut end = *start;
        let mut chunk = vec![0; (CHUNK_BYTES * 16 / ENTRY_BYTES * ENTRY_BYTES) as usize];
        for (base, file) in self.files.range(*start..) {
            let mut at = 0;
            'file: while self.file_bytes - at >= ENTRY_BYTES + BLANK_BYTES {
                let read = file.read_at(&mut chunk, at.unsigned_abs())?;
                let (entries, _) = chunk
                    .get(..read)
                    .unwrap_or_default()
                    .as_chunks::<{ ENTRY_BYTES as usize }>();
                if entries.is_empty() {
                    return Ok(end);
                }
                for bytes in entries {
                    if self.file_bytes - at < ENTRY_BYTES + BLANK_BYTES {
                        break 'file;
                    }
                    match TimerEntry::decode(bytes, base + at) {
                        Found::Entry(entry) => {
                            see(base + at, Some(&entry))?;
                            end = base + at + ENTRY_BYTES;
                        }
                        Found::Blank | Found::Nothing if base + at < durable => see(base + at, None)?,
                        Found::Blank | Found::Nothing => return Ok(end),
                    }
                    at += ENTRY_BYTES;
                }
            }
        }
        Ok(end)
    }

    /// Ends the log: what lies behind is removed, so that it cannot come back when the log has grown up to it.
    pub(crate) fn end_at(&mut self, end: i64) -> io::Result<()> {
        let base = self.base_of(end);
        while let Some((last, _)) = self.files.last_key_value().filter(|(last, _)| **last > base) {
            let last = *last;
            self.files.remove(&last);
            self.disk.remove(&self.path(last))?;
            synced(self.disk.sync_dir(&self.dir))?;
        }
        if let Some(file) = self.files.get(&base) {
            let at = (end - base).unsigned_abs();
            file.zero(at, self.file_bytes.unsigned_abs() - at)?;
            synced(file.sync())?;
        }
        self.end = end;
        self.synced = end;
        Ok(())
    }

    /// Where an entry goes when the log ends at `end`.
    pub(crate) fn seat(&self, end: i64) -> i64 {
        let base = self.base_of(end);
        if base + self.file_bytes - end < ENTRY_BYTES + BLANK_BYTES {
            base + self.file_bytes
        } else {
            end
        }
    }

    /// Writes entries at the seats they were given, the first one at that of the end. After an error the log ends where it
    /// did before.
    pub(crate) fn append(&mut self, entries: &[(i64, TimerEntry)]) -> io::Result<()> {
        let mut end = self.end;
        let mut rest = entries;
        while let Some((seat, _)) = rest.first() {
            if *seat != end {
                self.close_file(end)?;
            }
            let base = self.base_of(*seat);
            let len = rest
                .iter()
                .take_while(|(seat, _)| self.base_of(*seat) == base)
                .count();
            let (group, others) = rest.split_at(len);
            let mut bytes = Vec::with_capacity(group.len() * ENTRY_BYTES as usize);
            group.iter().for_each(|(_, entry)| entry.encode(&mut bytes));
            self.file(base)?.write_at(&bytes, (seat - base).unsigned_abs())?;
            end = seat + bytes.len() as i64;
            rest = others;
        }
        self.end = end;
        Ok(())
    }

    fn close_file(&mut self, end: i64) -> io::Result<()> {
        let base = self.base_of(end);
        let left = base + self.file_bytes - end;
        // The very first file has nobody in front of it.
        if left < BLANK_BYTES || end == base {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(BLANK_BYTES as usize);
        bytes.extend_from_slice(&(left as i32).to_be_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&MAGIC_BLANK.to_be_bytes());
        self.file(base)?.write_at(&bytes, (end - base).unsigned_abs())
    }

    fn file(&mut self, base: i64) -> io::Result<&Arc<dyn File>> {
        if !self.files.contains_key(&base) {
            let file = self
                .disk
                .create(&self.path(base), self.file_bytes.unsigned_abs())?;
            synced(self.disk.sync_dir(&self.dir))?;
            self.files.insert(base, file);
        }
        self.files
            .get(&base)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The entry at a position, if a sound one is there.
    pub(crate) fn entry_at(&mut self, pos: i64) -> io::Result<Option<TimerEntry>> {
        if pos < 0 || pos > self.end - ENTRY_BYTES {
            return Ok(None);
        }
        let (start, bytes) = &self.chunk;
        if pos < *start || pos + ENTRY_BYTES > start + bytes.len() as i64 {
            let base = self.base_of(pos);
            let Some(file) = self.files.get(&base) else {
                return Ok(None);
            };
            let is_near = (0..CHUNK_BYTES).contains(&(*start - pos));
            let len = if is_near { CHUNK_BYTES } else { SMALL_CHUNK_BYTES };
            let start = base.max(pos + ENTRY_BYTES - len);
            let mut bytes = vec![0; (pos + ENTRY_BYTES - start) as usize];
            file.read_exact_at(&mut bytes, (start - base).unsigned_abs())?;
            self.chunk = (start, bytes);
        }
        let (start, bytes) = &self.chunk;
        let at = (pos - start) as usize;
        match TimerEntry::decode(bytes.get(at..).unwrap_or_default(), pos) {
            Found::Entry(entry) => Ok(Some(entry)),
            Found::Blank | Found::Nothing => Ok(None),
        }
    }

    /// Whether an entry has its place there, in a file that exists.
    pub(crate) fn has(&self, pos: i64) -> bool {
        let base = self.base_of(pos);
        (0..self.end).contains(&pos) && (pos - base) % ENTRY_BYTES == 0 && self.files.contains_key(&base)
    }

    /// Whether an entry can lie there, whatever has become of it.
    pub(crate) fn is_seat(&self, pos: i64) -> bool {
        (pos - self.base_of(pos)) % ENTRY_BYTES == 0 && self.seat(pos) == pos
    }

    /// The place of the entry in front of a place.
    pub(crate) fn seat_before(&self, pos: i64) -> i64 {
        let base = self.base_of(pos);
        if pos == base {
            let fit = (self.file_bytes - BLANK_BYTES) / ENTRY_BYTES;
            base - self.file_bytes + (fit - 1) * ENTRY_BYTES
        } else {
            pos - ENTRY_BYTES
        }
    }

    /// Writes entries over others, durably.
    pub(crate) fn replace(&mut self, entries: &[(i64, TimerEntry)]) -> io::Result<()> {
        let encoded = |entry: &TimerEntry| {
            let mut bytes = Vec::with_capacity(ENTRY_BYTES as usize);
            entry.encode(&mut bytes);
            bytes
        };
        // Half of one that stands for a lost message would pass for a sound one, and nobody would look for the message. So
        // it has no length until the rest is durable; of a length only the last byte is not 0.
        let lost = || entries.iter().filter(|(_, entry)| entry.is_lost);
        if lost().next().is_some() {
            self.overwrite(lost().map(|(pos, _)| (*pos, vec![0; 4])))?;
            self.overwrite(lost().map(|(pos, entry)| (*pos + 4, encoded(entry).split_off(4))))?;
        }
        self.overwrite(entries.iter().map(|(pos, entry)| (*pos, encoded(entry))))
    }

    /// Writes over what is there, durably.
    fn overwrite(&mut self, parts: impl Iterator<Item = (i64, Vec<u8>)>) -> io::Result<()> {
        self.chunk = (0, Vec::new());
        let mut bases = std::collections::BTreeSet::new();
        for (pos, bytes) in parts {
            let base = self.base_of(pos);
            let file = self.files.get(&base).ok_or(io::ErrorKind::NotFound)?;
            file.write_at(&bytes, (pos - base).unsigned_abs())?;
            bases.insert(base);
        }
        let files = bases.iter().filter_map(|base| self.files.get(base));
        files.into_iter().try_for_each(|file| synced(file.sync()))
    }

    /// What has to be synced so that everything up to the end is durable; [`TimerLog::end_sync`] is told when it was.
    pub(crate) fn begin_sync(&self) -> LogSync {
        let from = if self.synced == self.end {
            i64::MAX
        } else {
            self.base_of(self.synced)
        };
        LogSync {
            files: self
                .files
                .range(from..)
                .map(|(_, file)| Arc::clone(file))
                .collect(),
            end: self.end,
        }
    }

    pub(crate) fn end_sync(&mut self, sync: &LogSync) {
        self.synced = self.synced.max(sync.end);
    }

    /// Removes files whose last message lies in front of `min_pos`: they are no longer in the commit log.
    pub(crate) fn remove_before(&mut self, min_pos: i64) -> io::Result<usize> {
        let mut removed = 0;
        while self.files.len() > 1 {
            let Some((base, _)) = self.files.first_key_value() else {
                break;
            };
            let base = *base;
            let mut at = self.seat_before(base + self.file_bytes);
            let mut last = self.entry_at(at)?;
            // A damaged one says nothing.
            while last.is_none() && at > base {
                at = self.seat_before(at);
                last = self.entry_at(at)?;
            }
            if last.is_some_and(|entry| entry.pos >= min_pos) {
                break;
            }
            self.disk.remove(&self.path(base))?;
            synced(self.disk.sync_dir(&self.dir))?;
            self.files.remove(&base);
            removed += 1;
        }
        Ok(removed)
    }
}
