// SPDX-License-Identifier: Apache-2.0
//! The checkpoint file: where recovery starts.
//!
//! ```text
//! 4096 bytes. The reference's part: physicMsgTimestamp 8 | logicsMsgTimestamp 8 | indexMsgTimestamp 8
//!   | masterFlushedOffset 8 | confirmPhyOffset 8
//! Ours, at 64 and at 2048, written in turn: magic 8 | turn 8 | safe 8 | last 8 | index name 8 | index next 8
//!   | index end 8 | queues 8 | units 8 | copy of the reference's part 40 | crc32 4 | 0 12
//!   | turn 8 | slots next 8 | slots crc32 4 | crc32 4
//! ```
//!
//! Everything below `safe` is durable and dispatched; the record at `last` ends there. The reference leaves our part
//! alone but changes its own when it works, and then the copies differ: what we say is out of date and not used.
//!
//! A short checkpoint ([`crate::tidy::Scope`]) moves `safe` and leaves the reference's part as it was, which still speaks of the
//! last whole one. The index has entries then that are in no slot: `slots` says up to which entry the slots in the file know
//! them, and what their sum is. That is of use to whoever finds them so, and no more: an older version does not know it.
//!
//! It may not work on a store in the compact layout: what it adds to the log would be in queues of its own, and the runs would
//! count again for whoever comes later. So the magic is another one as long as there may be runs, which it refuses.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::config::QueueLayout;
use crate::disk::{Disk, File, synced};
use crate::index::{IndexMark, SlotsMark};

const FILE_BYTES: u64 = 4096;
/// The name of this program, and the version of our part: queues are in files, as every version knows them.
const MAGIC: i64 = 0x6261_7271_7565_0001;
/// The same, and queues are in runs, or may be.
const MAGIC_RUNS: i64 = MAGIC + 1;
const VERSION_BITS: u32 = 16;
const SLOTS: [usize; 2] = [64, 2048];
const WORDS: usize = 14;
const SLOT_BYTES: usize = WORDS * 8 + 4;
/// Where in a slot it is said what is known of the index's.
const SLOTS_AT: usize = 128;
const SLOTS_BYTES: usize = 24;

/// The reference's part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// Store time of the newest durable message.
    pub(crate) log_ms: i64,
    /// Store time of the newest message that is durable in its queue.
    pub(crate) queues_ms: i64,
    /// Store time of the newest message that is durable in the index.
    pub(crate) index_ms: i64,
    pub(crate) master_flushed: i64,
    pub(crate) confirmed: i64,
}

impl Times {
    fn words(&self) -> [i64; 5] {
        [
            self.log_ms,
            self.queues_ms,
            self.index_ms,
            self.master_flushed,
            self.confirmed,
        ]
    }

    /// Before this everything was dispatched, by the reference's rule.
    pub(crate) fn dispatched_before(&self) -> i64 {
        (self.log_ms.min(self.queues_ms) - 3000).max(0)
    }
}

/// Our part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Safe {
    /// Everything below is durable and dispatched.
    pub(crate) pos: i64,
    /// The record that ends there; -1 when the log is empty.
    pub(crate) last: i64,
    pub(crate) index: IndexMark,
    /// What the slots of the index are, if that is known.
    pub(crate) slots: Option<SlotsMark>,
    /// Queues that hold or held messages, and the sum of their ends. It is only compared, and wraps where damaged files say
    /// what cannot be.
    pub(crate) queues: i64,
    pub(crate) units: i64,
}

/// What the file said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) times: Times,
    pub(crate) safe: Option<Safe>,
    turn: i64,
}

/// Reads the file; a missing or damaged one says nothing.
pub(crate) fn load(disk: &dyn Disk, path: &Path) -> io::Result<Loaded> {
    let bytes = disk.load(path)?.unwrap_or_default();
    let Some((head, _)) = bytes.split_first_chunk::<40>() else {
        return Ok(Loaded::default());
    };
    let words = head.as_chunks::<8>().0;
    let word = |index: usize| words.get(index).map_or(0, |word| i64::from_be_bytes(*word));
    let times = Times {
        log_ms: word(0),
        queues_ms: word(1),
        index_ms: word(2),
        master_flushed: word(3),
        confirmed: word(4),
    };
    if SLOTS.iter().any(|at| is_newer(&bytes, *at)) {
        let why = format!(
            "{} was written by a newer version of barque; use that version",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let slots = SLOTS.map(|at| {
        let mut slot = bytes.get(at..at + SLOT_BYTES).and_then(parse_slot)?;
        let said = bytes.get(at + SLOTS_AT..at + SLOTS_AT + SLOTS_BYTES);
        slot.safe.slots = said.and_then(|said| parse_slots(said, slot.turn));
        Some(slot)
    });
    let turn = slots.iter().flatten().map(|slot| slot.turn).max().unwrap_or(0);
    let newest = slots.iter().flatten().max_by_key(|slot| slot.turn);
    let other = slots.iter().flatten().min_by_key(|slot| slot.turn);
    let safe = match (newest, other) {
        (Some(newest), _) if newest.copy == *head => Some(newest.safe),
        // The end came between our part and the other one, or within it.
        (Some(newest), Some(other)) if is_torn(head, &newest.copy, &other.copy) => Some(other.safe),
        _ => None,
    };
    Ok(Loaded { times, safe, turn })
}

/// Whether the file cannot be what any program has written.
pub(crate) fn is_damaged(bytes: &[u8]) -> bool {
    let is_sound = |at: usize| {
        let slot = bytes.get(at..at + SLOT_BYTES);
        slot.is_some_and(|slot| parse_slot(slot).is_some() || slot.iter().all(|byte| *byte == 0))
    };
    // One of the two may be torn by a crash.
    (bytes.len() as u64) < FILE_BYTES || !SLOTS.iter().any(|at| is_sound(*at))
}

/// Whether a slot is ours, but of a version that is not known here. Whatever versions to come say there, their CRC is in the same
/// place: otherwise it is damage.
fn is_newer(bytes: &[u8], at: usize) -> bool {
    let slot = bytes
        .get(at..at + SLOT_BYTES)
        .and_then(|slot| slot.split_last_chunk::<4>());
    slot.is_some_and(|(body, crc)| {
        let word = body.first_chunk().map_or(0, |word| i64::from_be_bytes(*word));
        word >> VERSION_BITS == MAGIC >> VERSION_BITS
            && word > MAGIC_RUNS
            && crc32fast::hash(body) == u32::from_be_bytes(*crc)
    })
}

/// Whether `found` starts as `new` and ends as `old`.
fn is_torn(found: &[u8; 40], new: &[u8; 40], old: &[u8; 40]) -> bool {
    (0..=found.len()).any(|cut| found[..cut] == new[..cut] && found[cut..] == old[cut..])
}

#[derive(Debug)]
struct Slot {
    turn: i64,
    safe: Safe,
    copy: [u8; 40],
}

fn parse_slot(bytes: &[u8]) -> Option<Slot> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    let (words, _) = body.as_chunks::<8>();
    let word = |index: usize| words.get(index).map(|word| i64::from_be_bytes(*word));
    if ![MAGIC, MAGIC_RUNS].contains(&word(0)?) {
        return None;
    }
    let index = IndexMark {
        name: word(4)?,
        next: u32::try_from(word(5)?).ok()?,
        end_pos: word(6)?,
    };
    let safe = Safe {
        pos: word(2)?,
        last: word(3)?,
        index,
        slots: None,
        queues: word(7)?,
        units: word(8)?,
    };
    Some(Slot {
        turn: word(1)?,
        safe,
        copy: *body.last_chunk()?,
    })
}

/// What is said of the slots of the index, if it was said with the rest.
fn parse_slots(bytes: &[u8], turn: i64) -> Option<SlotsMark> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let (said, rest) = body.split_first_chunk()?;
    let (next, rest) = rest.split_first_chunk()?;
    let is_sound = crc32fast::hash(body) == u32::from_be_bytes(*crc) && i64::from_be_bytes(*said) == turn;
    let mark = SlotsMark {
        next: u32::try_from(i64::from_be_bytes(*next)).ok()?,
        crc: u32::from_be_bytes(*rest.first_chunk()?),
    };
    is_sound.then_some(mark)
}

fn encode_slots(turn: i64, mark: SlotsMark) -> Vec<u8> {
    let mut out = turn.to_be_bytes().to_vec();
    out.extend_from_slice(&i64::from(mark.next).to_be_bytes());
    out.extend_from_slice(&mark.crc.to_be_bytes());
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

fn encode_slot((magic, turn): (i64, i64), safe: &Safe, copy: &[u8; 40]) -> Vec<u8> {
    let index = &safe.index;
    let words = [
        magic,
        turn,
        safe.pos,
        safe.last,
        index.name,
        i64::from(index.next),
        index.end_pos,
        safe.queues,
        safe.units,
    ];
    let mut out: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    out.extend_from_slice(copy);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out.resize(SLOTS_AT, 0);
    match safe.slots {
        Some(mark) => out.extend_from_slice(&encode_slots(turn, mark)),
        None => out.resize(SLOTS_AT + SLOTS_BYTES, 0),
    }
    out
}

/// Writes checkpoints.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    file: Arc<dyn File>,
    magic: i64,
    turn: i64,
    /// The reference's part, as this process wrote it.
    copy: Option<[u8; 40]>,
}

impl Checkpoint {
    /// Opens or makes the file.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, loaded: &Loaded) -> io::Result<Checkpoint> {
        let file = match disk.entry(path)? {
            Some(found) if found.len >= FILE_BYTES => disk.open(path)?,
            _ => {
                let file = disk.create(path, FILE_BYTES)?;
                synced(file.sync())?;
                synced(path.parent().map_or(Ok(()), |dir| disk.sync_dir(dir)))?;
                file
            }
        };
        Ok(Checkpoint {
            file,
            magic: MAGIC,
            turn: loaded.turn,
            copy: None,
        })
    }

    /// In which layout queues are from now on, so that older versions can tell.
    pub(crate) fn note_layout(&mut self, layout: QueueLayout) {
        self.magic = match layout {
            QueueLayout::Files => MAGIC,
            QueueLayout::Compact => MAGIC_RUNS,
        };
    }

    /// Durable when it returns; after an error or a crash the previous one counts.
    pub(crate) fn write(&mut self, times: &Times, safe: &Safe) -> io::Result<()> {
        let mut copy = [0; 40];
        for (to, word) in copy.as_chunks_mut::<8>().0.iter_mut().zip(times.words()) {
            *to = word.to_be_bytes();
        }
        self.turn += 1;
        let at = SLOTS[(self.turn & 1) as usize] as u64;
        self.file
            .write_at(&encode_slot((self.magic, self.turn), safe, &copy), at)?;
        synced(self.file.sync())?;
        if self.copy == Some(copy) {
            return Ok(());
        }
        self.copy = None;
        self.file.write_at(&copy, 0)?;
        synced(self.file.sync())?;
        self.copy = Some(copy);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    const PATH: &str = "/checkpoint";

    fn safe(pos: i64) -> Safe {
        Safe {
            pos,
            slots: Some(SlotsMark { next: 7, crc: 8 }),
            ..Safe::default()
        }
    }

    #[test]
    fn what_is_said_of_the_slots_counts_only_with_the_checkpoint_it_was_said_with() {
        let disk = SimDisk::seeded(1);
        let path = Path::new(PATH);
        let mut checkpoint = Checkpoint::open(&disk, path, &Loaded::default()).unwrap();
        let times = Times::default();
        checkpoint.write(&times, &safe(1)).unwrap();
        assert_eq!(load(&disk, path).unwrap().safe, Some(safe(1)));
        // As a version writes it that does not know of slots: the first part alone, over the place of the one before.
        checkpoint.write(&times, &safe(2)).unwrap();
        let turn = load(&disk, path).unwrap().turn + 1;
        let at = SLOTS[(turn & 1) as usize] as u64;
        let slot = encode_slot((MAGIC, turn), &safe(3), &[0; 40]);
        checkpoint.file.write_at(&slot[..SLOT_BYTES], at).unwrap();
        let unknown = Safe {
            slots: None,
            ..safe(3)
        };
        assert_eq!(load(&disk, path).unwrap().safe, Some(unknown));
    }
}
