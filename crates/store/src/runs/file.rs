// SPDX-License-Identifier: Apache-2.0
//! One run: a file with the units that many queues got in a stretch of the log. It is written once and never changed.
//!
//! ```text
//! file <root>/barque-queues/<20 digits>-<20 digits>: the first and the last of the flushes whose units it holds
//! units:   those of one queue back to back, queues ascending by number; the bytes are those of the Java layout
//! entries: 24 bytes for each queue, ascending by number:
//!          number 4 | units 4 | index of the first 8 | place of the first in the file 8
//! born:    queues that come for the first time: number 4 | id 4 | kind 1 (0 plain, 1 batch) | length 1 | topic
//! gone:    numbers of queues that were deleted or have begun anew: 4 each; they count before those that are born
//! foot:    68 bytes: magic 8 | place of the entries 8 | of the born 8 | of the gone 8 | of the foot 8
//!          | begin of the stretch 8 | its end 8 | next free number 4 | CRC-32 from the entries to the foot 4 | of the foot 4
//! ```
//!
//! All numbers are big-endian. An entry without units says where a queue goes on of which nothing older is left. Of every 128th
//! entry the number is kept in memory, so that a look for a queue is one read of 3 KiB, and its units are another. So is the CRC of
//! these 3 KiB: a run is checked when it is opened, and what is read of it later may be other bytes.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crc32fast::Hasher;

use crate::disk::{Disk, File};
use crate::log::ReadMode;
use crate::queue::UNIT_BYTES;
use crate::queue_batch::QueueKind;
use crate::queues::is_directory_name;
use crate::recover::OFFSET_MAX;

const MAGIC: [u8; 8] = *b"BRQRUNS\x01";
/// Where in the magic the version is.
const VERSION_AT: usize = 7;
pub(super) const ENTRY_BYTES: usize = 24;
pub(crate) const FOOT_BYTES: usize = 68;
/// Entries of which one is kept in memory.
const FENCE: usize = 128;
/// Numbers of queues end here, far from where a sum would.
pub(super) const NUMBERS_MAX: u32 = u32::MAX / 2;
/// Written at once.
const WRITE_BYTES: usize = 1 << 20;

/// What a run has of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunEntry {
    pub(super) number: u32,
    /// How many units.
    pub(super) count: u32,
    /// Index of the first.
    pub(super) first: i64,
    /// Where it is in the file.
    pub(super) at: u64,
}

impl RunEntry {
    /// Index behind the last unit.
    pub(super) fn end(&self) -> i64 {
        self.first.saturating_add(i64::from(self.count))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.first.to_be_bytes());
        out.extend_from_slice(&self.at.to_be_bytes());
    }

    pub(super) fn decode(bytes: &[u8; ENTRY_BYTES]) -> RunEntry {
        let [head, first, at] = words(bytes);
        RunEntry {
            number: (head >> 32) as u32,
            count: head as u32,
            first: first as i64,
            at,
        }
    }
}

/// The big-endian words of 8 bytes something begins with.
fn words<const COUNT: usize>(bytes: &[u8]) -> [u64; COUNT] {
    let mut out = [0; COUNT];
    for (word, chunk) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_be_bytes(*chunk);
    }
    out
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    let numbers = bytes.as_chunks().0.iter();
    numbers.map(|number| u32::from_be_bytes(*number)).collect()
}

/// A queue that comes for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Born<'a> {
    pub(super) number: u32,
    pub(super) id: u32,
    pub(super) kind: QueueKind,
    pub(super) topic: &'a str,
}

impl Born<'_> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.id.to_be_bytes());
        out.push(u8::from(self.kind == QueueKind::Batch));
        // A topic is the name of a directory: at most 255 bytes.
        let topic = &self.topic.as_bytes()[..self.topic.len().min(usize::from(u8::MAX))];
        out.push(topic.len() as u8);
        out.extend_from_slice(topic);
    }
}

/// Takes the first off these bytes; `None` at their end, and where they are damaged.
pub(super) fn next_born<'a>(bytes: &mut &'a [u8]) -> Option<Born<'a>> {
    let ([n0, n1, n2, n3, i0, i1, i2, i3, kind, len], rest) = bytes.split_first_chunk::<10>()?;
    let (topic, rest) = rest.split_at_checked(usize::from(*len))?;
    *bytes = rest;
    Some(Born {
        number: u32::from_be_bytes([*n0, *n1, *n2, *n3]),
        id: u32::from_be_bytes([*i0, *i1, *i2, *i3]),
        kind: if *kind == 0 {
            QueueKind::Plain
        } else {
            QueueKind::Batch
        },
        topic: std::str::from_utf8(topic).ok()?,
    })
}

/// Which flushes a run holds, and which stretch of the log they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first and the last flush.
    pub(super) flushes: (u64, u64),
    /// Units point to records from here on, as far as they are not blank.
    pub(super) begin: i64,
    /// They point to records before.
    pub(super) end: i64,
}

impl Extent {
    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{:020}-{:020}", self.flushes.0, self.flushes.1))
    }
}

/// The flushes that a file of this name holds.
pub(super) fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.split_once('-')?;
    let number = |text: &str| {
        let is_one = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_one.then(|| text.parse().ok()).flatten()
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && i64::try_from(last).is_ok()).then_some((first, last))
}

/// What a run says besides units and entries.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// As [`Born::encode`] writes them.
    pub(super) born: Vec<u8>,
    pub(super) gone: Vec<u32>,
    /// First number that no queue has had.
    pub(super) next_number: u32,
}

/// What was read of a run as a whole.
#[derive(Debug)]
pub(super) struct Contents {
    entries: Vec<u8>,
    pub(super) changes: Changes,
}

impl Contents {
    pub(super) fn entries(&self) -> impl Iterator<Item = RunEntry> + '_ {
        self.entries.as_chunks().0.iter().map(RunEntry::decode)
    }

    /// Whether all of it can be, with units in so many bytes in front.
    fn is_sound(&self, room: u64) -> bool {
        let next_number = self.changes.next_number;
        let mut from = 0;
        let are_entries_sound = self.entries().all(|entry| {
            let unit_bytes = u64::from(entry.count) * UNIT_BYTES.unsigned_abs();
            let is_sound = (from..next_number).contains(&entry.number)
                && (0..OFFSET_MAX).contains(&entry.first)
                && entry.at.checked_add(unit_bytes).is_some_and(|end| end <= room);
            from = entry.number.saturating_add(1);
            is_sound
        });
        let mut rest = &self.changes.born[..];
        let mut are_born_sound = true;
        while let Some(born) = next_born(&mut rest) {
            are_born_sound &= born.number < next_number && is_directory_name(born.topic);
        }
        next_number <= NUMBERS_MAX && are_entries_sound && are_born_sound && rest.is_empty()
    }
}

/// A run, open for reading.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
    pub(super) extent: Extent,
    entries_at: u64,
    born_at: u64,
    gone_at: u64,
    foot_at: u64,
    next_number: u32,
    crc: u32,
    fences: Vec<Fence>,
    /// Whether somebody was told that entries are damaged.
    is_told: AtomicBool,
}

/// [`FENCE`] entries, or those that are left.
#[derive(Debug, Clone, Copy)]
struct Fence {
    /// Number of the first.
    number: u32,
    crc: u32,
}

impl Fence {
    fn all(entries: &[u8]) -> Vec<Fence> {
        let fence = |page: &[u8]| Fence {
            number: page
                .first_chunk()
                .map_or(0, |entry| RunEntry::decode(entry).number),
            crc: crc32fast::hash(page),
        };
        entries.chunks(FENCE * ENTRY_BYTES).map(fence).collect()
    }
}

/// What a run says of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Nothing,
    This(RunEntry),
    /// It is damaged where it would be.
    Damaged,
}

impl Run {
    /// Opens a file of which the foot is sound; `None` if it is not, and an error if a newer version wrote it. Its contents are not
    /// looked at.
    pub(super) fn open(disk: &dyn Disk, path: &Path, flushes: (u64, u64)) -> io::Result<Option<Run>> {
        let file = disk.open(path)?;
        let Some(foot_at) = file.len()?.checked_sub(FOOT_BYTES as u64) else {
            return Ok(None);
        };
        let mut foot = [0; FOOT_BYTES];
        file.read_exact_at(&mut foot, foot_at)?;
        let Some((body, crc)) = foot.split_last_chunk::<4>() else {
            return Ok(None);
        };
        let [_, entries_at, born_at, gone_at, said, begin, end, tail] = words(&foot);
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Ok(None);
        }
        if foot[..VERSION_AT] == MAGIC[..VERSION_AT] && foot[VERSION_AT] > MAGIC[VERSION_AT] {
            let why = format!(
                "{} was written by a newer version of barque; use that version",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let is_sound = foot.starts_with(&MAGIC)
            && said == foot_at
            && entries_at <= born_at
            && born_at <= gone_at
            && gone_at <= foot_at
            && (born_at - entries_at).is_multiple_of(ENTRY_BYTES as u64)
            && (foot_at - gone_at).is_multiple_of(4)
            && i64::try_from(begin).is_ok()
            && i64::try_from(end).is_ok();
        Ok(is_sound.then(|| Run {
            file,
            path: path.to_path_buf(),
            extent: Extent {
                flushes,
                begin: begin as i64,
                end: end as i64,
            },
            entries_at,
            born_at,
            gone_at,
            foot_at,
            next_number: (tail >> 32) as u32,
            crc: tail as u32,
            fences: Vec::new(),
            is_told: AtomicBool::new(false),
        }))
    }

    /// Reads all but the units, and keeps what a look for a queue needs; `None` if it is damaged.
    pub(super) fn load(&mut self) -> io::Result<Option<Contents>> {
        let mut entries = vec![0; (self.foot_at - self.entries_at) as usize];
        self.file.read_exact_at(&mut entries, self.entries_at)?;
        if crc32fast::hash(&entries) != self.crc {
            return Ok(None);
        }
        let gone = entries.split_off((self.gone_at - self.entries_at) as usize);
        let born = entries.split_off((self.born_at - self.entries_at) as usize);
        let changes = Changes {
            gone: numbers(&gone),
            born,
            next_number: self.next_number,
        };
        let contents = Contents { entries, changes };
        if !contents.is_sound(self.entries_at) {
            return Ok(None);
        }
        self.fences = Fence::all(&contents.entries);
        Ok(Some(contents))
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.foot_at
    }

    /// What it has of a queue.
    pub(super) fn entry(&self, number: u32, mode: ReadMode) -> io::Result<Says> {
        let behind = self.fences.partition_point(|fence| fence.number <= number);
        let Some(page_at) = behind.checked_sub(1) else {
            return Ok(Says::Nothing);
        };
        let at = self.entries_at + (page_at * FENCE * ENTRY_BYTES) as u64;
        let len = (FENCE * ENTRY_BYTES).min((self.born_at - at) as usize);
        let mut page = [0; FENCE * ENTRY_BYTES];
        let page = &mut page[..len];
        self.read(page, at, mode)?;
        if crc32fast::hash(page) != self.fences[page_at].crc {
            if !self.is_told.swap(true, Ordering::Relaxed) {
                let file = self.path.display();
                tracing::error!(%file, from = at, "entries of consume queues are damaged; messages are looked for in the log, those of batch queues are not given out; start again to have them made anew");
            }
            return Ok(Says::Damaged);
        }
        let entries = page.as_chunks().0;
        let found = entries.binary_search_by_key(&number, |entry| RunEntry::decode(entry).number);
        Ok(found.map_or(Says::Nothing, |place| {
            Says::This(RunEntry::decode(&entries[place]))
        }))
    }

    /// Where its entries are.
    pub(super) fn entries(&self) -> Range<u64> {
        self.entries_at..self.born_at
    }

    /// Which queues were born and which are gone; `None` if any of its tables is damaged.
    pub(super) fn changes(&self) -> io::Result<Option<Changes>> {
        let mut hasher = Hasher::new();
        let mut at = self.entries_at;
        let mut part = vec![0; WRITE_BYTES];
        while at < self.born_at {
            let len = (self.born_at - at).min(WRITE_BYTES as u64) as usize;
            self.file.read_exact_at(&mut part[..len], at)?;
            hasher.update(&part[..len]);
            at += len as u64;
        }
        let mut born = vec![0; (self.foot_at - self.born_at) as usize];
        self.file.read_exact_at(&mut born, self.born_at)?;
        hasher.update(&born);
        let gone = born.split_off((self.gone_at - self.born_at) as usize);
        let is_sound = hasher.finalize() == self.crc;
        Ok(is_sound.then(|| Changes {
            born,
            gone: numbers(&gone),
            next_number: self.next_number,
        }))
    }

    /// Reads units; fewer when the entry says what cannot be.
    pub(super) fn read_units(&self, at: u64, bytes: &mut Vec<u8>, mode: ReadMode) -> io::Result<()> {
        let room = self.entries_at.saturating_sub(at);
        bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        self.read(bytes, at, mode)
    }

    fn read(&self, bytes: &mut [u8], at: u64, mode: ReadMode) -> io::Result<()> {
        let read = match mode {
            ReadMode::Cached => self.file.read_at_nowait(bytes, at)?,
            ReadMode::Blocking => self.file.read_at(bytes, at)?,
        };
        if read < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// Writes a run: what its queues have, in the order of their numbers.
#[derive(Debug)]
pub(super) struct RunWriter {
    file: Arc<dyn File>,
    path: PathBuf,
    at: u64,
    units: Vec<u8>,
    entries: Vec<u8>,
}

impl RunWriter {
    pub(super) fn new(disk: &dyn Disk, path: PathBuf) -> io::Result<RunWriter> {
        Ok(RunWriter {
            file: disk.create(&path, 0)?,
            path,
            at: 0,
            units: Vec::new(),
            entries: Vec::new(),
        })
    }

    /// Where the next unit goes.
    pub(super) fn place(&self) -> u64 {
        self.at + self.units.len() as u64
    }

    /// Adds units; the entry that tells of them comes behind all of them. [`RunWriter::spill`] is to follow, where one may wait for
    /// the disk.
    pub(super) fn add_units(&mut self, with: impl FnOnce(&mut Vec<u8>)) {
        with(&mut self.units);
    }

    /// Writes what was added, if it is much.
    pub(super) fn spill(&mut self) -> io::Result<()> {
        if self.units.len() >= WRITE_BYTES {
            self.write_out()?;
        }
        Ok(())
    }

    pub(super) fn add_entry(&mut self, entry: &RunEntry) {
        entry.encode(&mut self.entries);
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.file.write_at(&self.units, self.at)?;
        self.at += self.units.len() as u64;
        self.units.clear();
        Ok(())
    }

    /// Writes the rest. The run is not durable.
    pub(super) fn finish(mut self, changes: &Changes, extent: Extent) -> io::Result<Run> {
        self.write_out()?;
        let entries_at = self.at;
        let mut tail = std::mem::take(&mut self.entries);
        let fences = Fence::all(&tail);
        let born_at = entries_at + tail.len() as u64;
        tail.extend_from_slice(&changes.born);
        let gone_at = entries_at + tail.len() as u64;
        for number in &changes.gone {
            tail.extend_from_slice(&number.to_be_bytes());
        }
        let foot_at = entries_at + tail.len() as u64;
        let crc = crc32fast::hash(&tail);
        let mut foot = MAGIC.to_vec();
        let places = [entries_at, born_at, gone_at, foot_at];
        let stretch = [extent.begin, extent.end].map(i64::cast_unsigned);
        places
            .iter()
            .chain(&stretch)
            .for_each(|word| foot.extend_from_slice(&word.to_be_bytes()));
        foot.extend_from_slice(&changes.next_number.to_be_bytes());
        foot.extend_from_slice(&crc.to_be_bytes());
        foot.extend_from_slice(&crc32fast::hash(&foot).to_be_bytes());
        tail.extend_from_slice(&foot);
        self.file.write_at(&tail, entries_at)?;
        Ok(Run {
            file: self.file,
            path: self.path,
            extent,
            entries_at,
            born_at,
            gone_at,
            foot_at,
            next_number: changes.next_number,
            crc,
            fences,
            is_told: AtomicBool::new(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    const PATH: &str = "/run";

    /// A run with two units of queue 3, and none of queue 300.
    fn written() -> SimDisk {
        let disk = SimDisk::seeded(1);
        let mut writer = RunWriter::new(&disk, PATH.into()).unwrap();
        writer.add_units(|out| out.extend_from_slice(&[7; 40]));
        for (number, count, first) in [(3, 2, 5), (300, 0, 9)] {
            writer.add_entry(&RunEntry {
                number,
                count,
                first,
                at: 0,
            });
        }
        let mut changes = Changes {
            gone: vec![2],
            next_number: 301,
            ..Changes::default()
        };
        let born = Born {
            number: 300,
            id: 4,
            kind: QueueKind::Batch,
            topic: "T",
        };
        born.encode(&mut changes.born);
        let extent = Extent {
            flushes: (0, 0),
            begin: 1_000,
            end: 2_000,
        };
        writer.finish(&changes, extent).unwrap();
        disk
    }

    #[test]
    fn a_file_has_the_bytes_that_are_written_down() {
        let bytes = written().load(Path::new(PATH)).unwrap().unwrap();
        let mut expected = vec![7; 40];
        for (number, count, first) in [(3_u32, 2_u32, 5_i64), (300, 0, 9)] {
            expected.extend_from_slice(&number.to_be_bytes());
            expected.extend_from_slice(&count.to_be_bytes());
            expected.extend_from_slice(&first.to_be_bytes());
            expected.extend_from_slice(&[0; 8]);
        }
        expected.extend_from_slice(&[0, 0, 1, 44, 0, 0, 0, 4, 1, 1, b'T']);
        expected.extend_from_slice(&[0, 0, 0, 2]);
        let tables = crc32fast::hash(&expected[40..]);
        let foot = expected.len();
        expected.extend_from_slice(b"BRQRUNS\x01");
        for word in [40, 88, 99, 103, 1_000, 2_000_u64] {
            expected.extend_from_slice(&word.to_be_bytes());
        }
        expected.extend_from_slice(&301_u32.to_be_bytes());
        expected.extend_from_slice(&tables.to_be_bytes());
        let check = crc32fast::hash(&expected[foot..]);
        expected.extend_from_slice(&check.to_be_bytes());
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_was_written_is_found_again() {
        let disk = written();
        let mut run = Run::open(&disk, Path::new(PATH), (0, 0)).unwrap().unwrap();
        let contents = run.load().unwrap().unwrap();
        assert_eq!(contents.entries().count(), 2);
        assert_eq!(contents.changes.gone, [2]);
        let mut born = &contents.changes.born[..];
        assert_eq!(
            next_born(&mut born).map(|born| (born.number, born.topic)),
            Some((300, "T"))
        );
        assert_eq!(next_born(&mut born), None);
        let entry = |number| run.entry(number, ReadMode::Blocking).unwrap();
        let is = |entry: Says, first, end| matches!(entry, Says::This(entry) if (entry.first, entry.end()) == (first, end));
        assert!(is(entry(3), 5, 7) && is(entry(300), 9, 9));
        for none in [0, 4, 301] {
            assert_eq!(entry(none), Says::Nothing);
        }
    }

    /// Whether a run is taken that says this.
    fn is_taken(entry: RunEntry, changes: &Changes, (begin, end): (i64, i64)) -> bool {
        let disk = SimDisk::seeded(1);
        let mut writer = RunWriter::new(&disk, PATH.into()).unwrap();
        writer.add_units(|out| out.extend_from_slice(&[7; 40]));
        writer.add_entry(&entry);
        let extent = Extent {
            flushes: (0, 0),
            begin,
            end,
        };
        writer.finish(changes, extent).unwrap();
        let run = Run::open(&disk, Path::new(PATH), (0, 0)).unwrap();
        run.is_some_and(|mut run| run.load().unwrap().is_some())
    }

    #[test]
    fn what_cannot_be_is_not_taken_though_its_sums_are_right() {
        let fine = RunEntry {
            number: 3,
            count: 2,
            first: 5,
            at: 0,
        };
        let changes = |number, topic, next_number| {
            let mut changes = Changes {
                next_number,
                ..Changes::default()
            };
            let born = Born {
                number,
                id: 0,
                kind: QueueKind::Plain,
                topic,
            };
            born.encode(&mut changes.born);
            changes
        };
        let sound = || changes(3, "T", 4);
        assert!(is_taken(fine, &sound(), (0, 10)));
        let entries = [
            RunEntry { number: 4, ..fine },
            RunEntry {
                number: u32::MAX,
                ..fine
            },
            RunEntry { count: 3, ..fine },
            RunEntry { first: -1, ..fine },
            RunEntry {
                first: i64::MAX,
                ..fine
            },
            RunEntry { at: 1, ..fine },
            RunEntry { at: u64::MAX, ..fine },
        ];
        for entry in entries {
            assert!(!is_taken(entry, &sound(), (0, 10)), "{entry:?}");
        }
        for (number, topic, next) in [
            (4, "T", 4),
            (u32::MAX, "T", u32::MAX),
            (3, "T", u32::MAX),
            (3, "..", 4),
            (3, "../T", 4),
            (3, "", 4),
        ] {
            let changes = changes(number, topic, next);
            assert!(!is_taken(fine, &changes, (0, 10)), "{number} {topic} {next}");
        }
        let mut cut = sound();
        cut.born.pop();
        assert!(!is_taken(fine, &cut, (0, 10)));
        for stretch in [(-1, 10), (0, -1), (i64::MIN, i64::MAX)] {
            assert!(!is_taken(fine, &sound(), stretch), "{stretch:?}");
        }
        let name = |last: u64| format!("{:020}-{last:020}", 0);
        assert_eq!(parse_name(&name(7)), Some((0, 7)));
        assert_eq!(parse_name(&name(u64::MAX)), None);
    }

    #[test]
    fn damage_outside_the_units_is_noticed() {
        let len = written().load(Path::new(PATH)).unwrap().unwrap().len() as u64;
        for at in 40..len {
            let disk = written();
            let file = disk.open(Path::new(PATH)).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_at(&[byte[0] ^ 1], at).unwrap();
            let loaded = Run::open(&disk, Path::new(PATH), (0, 0)).unwrap();
            let is_sound = loaded.is_some_and(|mut run| run.load().unwrap().is_some());
            assert!(!is_sound, "a bit at {at}");
        }
    }
}
