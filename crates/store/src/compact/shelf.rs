// SPDX-License-Identifier: Apache-2.0
//! One compacted queue: its files, what readers see of them, and how old files give way to new ones.
//!
//! The new files are written to directories of their own (`compacting`) and made durable; then a note says which files
//! go, which come and how far the queue is compacted (`compaction/replacing/<topic>/<id>`); then it is done, and the
//! note goes. Whatever ends in between, an opening finds either no note and the old files, or the note, and does what it
//! says from its start: each step may be done twice.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::{Mutex, RwLock};
use wire::properties;
use wire::record::RecordHead;

use super::newest::Newest;
use super::volumes::{COMPACTING, Item, Shape, UNITS_AT_ONCE, Volume, Volumes};
use crate::disk::{Disk, synced};
use crate::filter::Filter;
use crate::log::file_name;
use crate::read::ReadLimit;

/// Where files of compacted queues are, by topic and number.
/// In the order in which they may go: a note tells of files.
pub(super) const DIRS: [&str; 3] = [NOTES, LOG, UNITS];
const LOG: &str = "compactionLog";
const UNITS: &str = "compactionCq";
const NOTES: &str = "replacing";
/// How often a part of the work looks whether it shall end.
const CALL_OFF_EVERY: i64 = 64;

/// Where everything of a compacted queue is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) log_dir: PathBuf,
    pub(super) unit_dir: PathBuf,
    pub(super) note: PathBuf,
}

impl Place {
    pub(super) fn of(root: &Path, topic: &str, id: u32) -> Place {
        let below = |dir: &str| root.join(dir).join(topic).join(id.to_string());
        Place {
            log_dir: below(LOG),
            unit_dir: below(UNITS),
            note: below(NOTES),
        }
    }
}

/// What a read found.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) records: Vec<u8>,
    pub(super) count: usize,
    pub(super) next: i64,
    pub(super) damaged: usize,
}

/// A compacted queue.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(super) topic: String,
    pub(super) id: u32,
    disk: Arc<dyn Disk>,
    place: Place,
    shape: Shape,
    writing: Mutex<Volumes>,
    /// What readers see: of each file what was written.
    visible: RwLock<Vec<Volume>>,
    /// Up to here the messages of the queue are in the files, or had no place there.
    end: AtomicI64,
    /// Up to here they are durable there.
    durable: AtomicI64,
    /// Up to here they were compared; -1 at first.
    position: AtomicI64,
    /// Held by whoever compacts: files that could not be replaced to the end.
    compacting: Mutex<Option<(Note, Vec<Volume>)>>,
    is_retired: AtomicBool,
}

/// What is to be replaced by what.
#[derive(Debug, PartialEq, Eq)]
struct Note {
    position: i64,
    old: BTreeSet<i64>,
    new: BTreeSet<i64>,
}

impl Note {
    fn encode(&self) -> Vec<u8> {
        let list = |bases: &BTreeSet<i64>| bases.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
        let text = format!("{}\n{}\n{}\n", self.position, list(&self.old), list(&self.new));
        format!("{:08x}\n{text}", crc32fast::hash(text.as_bytes())).into_bytes()
    }

    /// `None`: it was not written to its end, so nothing of it was done.
    fn decode(bytes: &[u8]) -> Option<Note> {
        let (crc, text) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
        if u32::from_str_radix(crc, 16) != Ok(crc32fast::hash(text.as_bytes())) {
            return None;
        }
        let mut lines = text.lines();
        let position = lines.next()?.parse().ok()?;
        let mut list = || -> Option<BTreeSet<i64>> {
            lines
                .next()?
                .split_whitespace()
                .map(|base| base.parse().ok())
                .collect()
        };
        Some(Note {
            position,
            old: list()?,
            new: list()?,
        })
    }
}

impl Shelf {
    /// Ends what was begun; [`Shelf::load`] takes up what is there.
    pub(super) fn open(
        (topic, id): (&str, u32),
        disk: Arc<dyn Disk>,
        place: Place,
        shape: Shape,
    ) -> io::Result<Shelf> {
        let volumes = Volumes::new(
            Arc::clone(&disk),
            place.log_dir.clone(),
            place.unit_dir.clone(),
            shape,
        );
        let shelf = Shelf {
            topic: topic.to_owned(),
            id,
            disk,
            place,
            shape,
            writing: Mutex::new(volumes),
            visible: RwLock::default(),
            end: AtomicI64::new(0),
            durable: AtomicI64::new(0),
            position: AtomicI64::new(-1),
            compacting: Mutex::default(),
            is_retired: AtomicBool::new(false),
        };
        let noted = shelf.disk.load(&shelf.place.note)?;
        if let Some(note) = noted.as_deref().and_then(Note::decode) {
            tracing::info!(
                topic,
                queue = id,
                "goes on replacing the files of a compacted queue"
            );
            shelf.replace(&note)?;
        }
        shelf.forget_note()?;
        shelf.clear_compacting()?;
        Ok(shelf)
    }

    /// Takes up what is there.
    pub(super) fn load(&self, is_abnormal: bool) -> io::Result<()> {
        let mut volumes = self.writing.lock();
        volumes.load(is_abnormal)?;
        self.end.store(volumes.end(), Ordering::Release);
        self.durable.store(volumes.end(), Ordering::Release);
        *self.visible.write() = volumes.list.clone();
        Ok(())
    }

    /// Its files are about to be removed: nothing more is done with them.
    pub(super) fn retire(&self) {
        // Whoever compacts sees it and gives up.
        self.is_retired.store(true, Ordering::Release);
        let _nobody_compacts = self.compacting.lock();
        let _nobody_appends = self.writing.lock();
    }

    /// Removes its files, durably.
    pub(super) fn empty(&self) -> io::Result<()> {
        let mut unfinished = self.compacting.lock();
        let mut volumes = self.writing.lock();
        self.forget_note()?;
        for dir in [&self.place.log_dir, &self.place.unit_dir] {
            if self.disk.entry(dir)?.is_some() {
                self.disk.remove_tree(dir)?;
                let above = dir.parent().ok_or(io::ErrorKind::InvalidInput)?;
                synced(self.disk.sync_dir(above))?;
            }
        }
        *unfinished = None;
        volumes.list.clear();
        self.visible.write().clear();
        self.end.store(0, Ordering::Release);
        self.durable.store(0, Ordering::Release);
        self.set_position(-1);
        Ok(())
    }

    fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) -> i64 {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn durable(&self) -> i64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(super) fn position(&self) -> i64 {
        self.position.load(Ordering::Acquire)
    }

    pub(super) fn set_position(&self, position: i64) {
        self.position.store(position, Ordering::Release);
    }

    /// Appends records, which are those of the queue up to `end`, as far as they have a key.
    pub(super) fn append(&self, records: &[u8], end: i64) -> io::Result<()> {
        let mut volumes = self.writing.lock();
        if self.is_retired() {
            return Ok(());
        }
        let mut rest = records;
        while let Ok(head) = RecordHead::scan(rest) {
            let (record, behind) = rest.split_at(head.total_size);
            rest = behind;
            let (key, offset) = (key_of(&head), head.stamp.queue_offset);
            if key.is_empty() || offset < volumes.end() {
                continue;
            }
            if !volumes.fits(record.len()) {
                tracing::error!(
                    topic = self.topic,
                    queue = self.id,
                    offset,
                    bytes = record.len(),
                    "a message larger than compactionMappedFileSize is not kept; send smaller ones"
                );
                continue;
            }
            let tags = properties::get(head.parts.properties, properties::name::TAGS);
            volumes.append(&Item {
                record,
                offset,
                tags_code: tags.map_or(0, properties::tags_code),
                stored_at: head.stamp.stored_at,
            })?;
        }
        volumes.write()?;
        *self.visible.write() = volumes.list.clone();
        self.end.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    /// Makes durable what was appended.
    pub(super) fn sync(&self) -> io::Result<()> {
        let mut volumes = self.writing.lock();
        volumes.sync()?;
        self.durable.store(self.end(), Ordering::Release);
        Ok(())
    }

    /// Reads messages from an offset on.
    pub(super) fn read(&self, from: i64, limit: &ReadLimit, filter: &dyn Filter) -> io::Result<Taken> {
        let end = self.end();
        let volumes: Vec<Volume> = {
            let visible = self.visible.read();
            let first = visible.partition_point(|volume| volume.last < from);
            visible.iter().skip(first).cloned().collect()
        };
        let mut taken = Taken {
            next: from,
            ..Taken::default()
        };
        let mut scanned = 0;
        for volume in &volumes {
            let mut index = volume.index_of(from)?;
            while index < volume.count {
                for (unit, span) in volume.units(index, UNITS_AT_ONCE.min(limit.count.max(1) as i64))? {
                    let size = usize::try_from(unit.size).unwrap_or(0);
                    if scanned >= limit.scan || limit.is_full(taken.count, taken.records.len(), (1, size), 0)
                    {
                        return Ok(taken);
                    }
                    index += 1;
                    if !span.is_sound() || span.base < taken.next || span.base > volume.last {
                        taken.damaged += 1;
                        continue;
                    }
                    scanned += 1;
                    taken.next = span.end();
                    if !filter.by_code(unit.tags_code) {
                        continue;
                    }
                    match volume.record(&unit, &span)? {
                        Some(record) if is_wanted(&record, filter) => {
                            taken.records.extend_from_slice(&record);
                            taken.count += 1;
                        }
                        Some(_) => {}
                        None => taken.damaged += 1,
                    }
                }
            }
        }
        taken.next = taken.next.max(end);
        Ok(taken)
    }

    /// Compares the messages of all files but the last, keeps the newest of each key, and replaces the files. Returns
    /// the new position if there was anything to do. `save` makes positions durable.
    pub(super) fn compact(
        &self,
        memory_bytes: usize,
        is_called_off: &dyn Fn() -> bool,
        save: &dyn Fn() -> io::Result<()>,
    ) -> io::Result<Option<i64>> {
        let mut unfinished = self.compacting.lock();
        if self.is_retired() {
            return Ok(None);
        }
        let is_called_off: &dyn Fn() -> bool = &|| self.is_retired() || is_called_off();
        if unfinished.is_some() {
            return self.finish(&mut unfinished, save).map(Some);
        }
        let old: Vec<Volume> = {
            let visible = self.visible.read();
            visible[..visible.len().saturating_sub(1)].to_vec()
        };
        let position = self.position();
        if old.iter().all(|volume| volume.last <= position) {
            return Ok(None);
        }
        let Some(newest) = look(&old, position, memory_bytes, is_called_off)? else {
            return Ok(None);
        };
        self.clear_compacting()?;
        let Some(fresh) = self.write_retained(&old, &newest, is_called_off)? else {
            self.clear_compacting()?;
            return Ok(None);
        };
        let note = Note {
            position: newest.upto(),
            old: old.iter().map(|volume| volume.base).collect(),
            new: fresh.list.iter().map(|volume| volume.base).collect(),
        };
        self.write_note(&note)?;
        *unfinished = Some((note, fresh.list));
        self.finish(&mut unfinished, save).map(Some)
    }

    /// Replaces files as their note says. What fails is tried again the next time: from the note on there is no way back.
    fn finish(
        &self,
        unfinished: &mut Option<(Note, Vec<Volume>)>,
        save: &dyn Fn() -> io::Result<()>,
    ) -> io::Result<i64> {
        let Some((note, fresh)) = unfinished.as_ref() else {
            return Ok(self.position());
        };
        let position = note.position;
        {
            // No next file is made meanwhile.
            let mut volumes = self.writing.lock();
            // Readers see only what is written, and a failed append may have left something.
            volumes.write()?;
            self.replace(note)?;
            volumes
                .list
                .retain(|volume| !note.old.contains(&volume.base) && !note.new.contains(&volume.base));
            volumes.list.splice(0..0, fresh.iter().cloned());
            *self.visible.write() = volumes.list.clone();
        }
        save()?;
        self.forget_note()?;
        self.clear_compacting()?;
        *unfinished = None;
        Ok(position)
    }

    /// Writes what stays of these files into new ones.
    fn write_retained(
        &self,
        old: &[Volume],
        newest: &Newest,
        is_called_off: &dyn Fn() -> bool,
    ) -> io::Result<Option<Volumes>> {
        let mut fresh = Volumes::new(
            Arc::clone(&self.disk),
            self.place.log_dir.join(COMPACTING),
            self.place.unit_dir.join(COMPACTING),
            self.shape,
        );
        let (mut seen, mut is_off) = (0_i64, false);
        for volume in old {
            volume.each(|unit, span, record| {
                is_off = seen % CALL_OFF_EVERY == 0 && is_called_off();
                seen += 1;
                if is_off {
                    return Ok(false);
                }
                let Ok(head) = RecordHead::scan(record) else {
                    return Ok(true);
                };
                if newest.retains(key_of(&head), span.base, head.parts.body.is_empty()) {
                    fresh.append(&Item {
                        record,
                        offset: span.base,
                        tags_code: unit.tags_code,
                        stored_at: span.stored_at,
                    })?;
                }
                Ok(true)
            })?;
            if is_off {
                return Ok(None);
            }
        }
        fresh.close()?;
        fresh.sync()?;
        Ok(Some(fresh))
    }

    fn write_note(&self, note: &Note) -> io::Result<()> {
        let dir = self.place.note.parent().ok_or(io::ErrorKind::InvalidInput)?;
        self.disk.make_dirs_durable(dir)?;
        let file = self.disk.create(&self.place.note, 0)?;
        file.write_at(&note.encode(), 0)?;
        synced(file.sync())?;
        synced(self.disk.sync_dir(dir))
    }

    fn forget_note(&self) -> io::Result<()> {
        if self.disk.entry(&self.place.note)?.is_none() {
            return Ok(());
        }
        self.disk.remove(&self.place.note)?;
        let dir = self.place.note.parent().ok_or(io::ErrorKind::InvalidInput)?;
        synced(self.disk.sync_dir(dir))
    }

    /// Does what a note says, as far as it is not done yet.
    fn replace(&self, note: &Note) -> io::Result<()> {
        for dir in [&self.place.log_dir, &self.place.unit_dir] {
            for base in note.old.difference(&note.new) {
                let path = dir.join(file_name(*base));
                if self.disk.entry(&path)?.is_some() {
                    self.disk.remove(&path)?;
                }
            }
            for base in &note.new {
                let fresh = dir.join(COMPACTING).join(file_name(*base));
                if self.disk.entry(&fresh)?.is_some() {
                    self.disk.rename(&fresh, &dir.join(file_name(*base)))?;
                }
            }
            synced(self.disk.sync_dir(dir))?;
            let compacting = dir.join(COMPACTING);
            if self.disk.entry(&compacting)?.is_some() {
                synced(self.disk.sync_dir(&compacting))?;
            }
        }
        self.set_position(note.position);
        Ok(())
    }

    fn clear_compacting(&self) -> io::Result<()> {
        for dir in [&self.place.log_dir, &self.place.unit_dir] {
            let compacting = dir.join(COMPACTING);
            if self.disk.entry(&compacting)?.is_some() {
                self.disk.remove_tree(&compacting)?;
                synced(self.disk.sync_dir(dir))?;
            }
        }
        Ok(())
    }
}

/// The newest offset of each key among what was not looked at yet; `None` when it is called off.
fn look(
    old: &[Volume],
    position: i64,
    memory_bytes: usize,
    is_called_off: &dyn Fn() -> bool,
) -> io::Result<Option<Newest>> {
    let mut newest = Newest::within(memory_bytes);
    let (mut has_room, mut seen, mut is_off) = (true, 0_i64, false);
    for volume in old.iter().filter(|volume| volume.last > position) {
        if !has_room {
            break;
        }
        volume.each(|_, span, record| {
            seen += 1;
            is_off = seen % CALL_OFF_EVERY == 0 && is_called_off();
            if span.base > position
                && let Ok(head) = RecordHead::scan(record)
            {
                has_room = newest.put(key_of(&head), span.base);
            }
            Ok(has_room && !is_off)
        })?;
        if is_off {
            return Ok(None);
        }
    }
    Ok(Some(newest))
}

fn is_wanted(record: &[u8], filter: &dyn Filter) -> bool {
    RecordHead::scan(record).is_ok_and(|head| filter.by_properties(head.parts.properties))
}

/// The key of a message: all that KEYS says, as in the reference; empty when that is blank.
fn key_of<'a>(head: &RecordHead<'a>) -> &'a [u8] {
    let keys = properties::get(head.parts.properties, properties::name::KEYS).unwrap_or_default();
    if keys.trim().is_empty() {
        b""
    } else {
        keys.as_bytes()
    }
}

/// Topics and numbers of the queues there are.
pub(super) fn found(disk: &dyn Disk, root: &Path) -> io::Result<BTreeSet<(String, u32)>> {
    let mut found = BTreeSet::new();
    for kind in [LOG, NOTES] {
        let root = root.join(kind);
        for topic in disk.list(&root)?.into_iter().filter(|entry| entry.is_dir) {
            for queue in disk.list(&root.join(&topic.name))? {
                if let Ok(id) = queue.name.parse() {
                    found.insert((topic.name.clone(), id));
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_note_is_none() {
        let note = Note {
            position: 7,
            old: [0, 100, 200].into(),
            new: [0].into(),
        };
        let bytes = note.encode();
        assert_eq!(Note::decode(&bytes), Some(note));
        for len in 0..bytes.len() {
            assert_eq!(Note::decode(&bytes[..len]), None, "{len} bytes");
        }
        let empty = Note {
            position: -1,
            old: [5].into(),
            new: [].into(),
        };
        assert_eq!(Note::decode(&empty.encode()), Some(empty));
    }
}
