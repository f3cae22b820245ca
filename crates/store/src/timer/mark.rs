// SPDX-License-Identifier: Apache-2.0
//! How far the timers have come: `config/timercheck`.
//!
//! ```text
//! 4096 bytes. The reference's part, 56 bytes: read time 8 | end of the timer log 8 | timer queue offset 8
//!   | the master's 8 | state version 8 | timestamp 8 | counter 8
//! Ours, at 1024 and at 2048, written in turn: magic 8 | turn 8 | copy of the reference's part 56 | precision 8
//!   | what has fired beyond the read time 56 | crc32 4
//! ```
//!
//! Ours is written first. After a crash the reference's part may be half old and half new; then, and only then, each of
//! its bytes is that of one of our two copies, and the newer copy counts. Anything else was written by the reference.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::fired::{FIRED_BYTES, Fired};
use crate::disk::{Disk, File, synced};

const FILE_BYTES: u64 = 4096;
const MAGIC: i64 = 0x6261_7271_7565_0003;
const SLOTS: [usize; 2] = [1024, 2048];
const MARK_BYTES: usize = 56;
const FIRED_AT: usize = 16 + MARK_BYTES + 8;
const COPY_BYTES: usize = FIRED_AT + FIRED_BYTES + 4;

/// How far the timers have come, in the words of the reference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimerMark {
    /// All ticks before this have fired.
    pub read_ms: i64,
    /// The timer log is durable up to here.
    pub log_end: i64,
    /// The next message of the timer topic to read.
    pub queue_offset: i64,
    /// The same on the master.
    pub master_queue_offset: i64,
    /// Version of the data: term.
    pub state_version: i64,
    /// Version of the data: when it changed.
    pub timestamp: i64,
    /// Version of the data: changes so far.
    pub counter: i64,
}

impl TimerMark {
    /// As the file and the answer to request 60 hold it.
    #[must_use]
    pub fn encode(&self) -> [u8; MARK_BYTES] {
        let words = [
            self.read_ms,
            self.log_end,
            self.queue_offset,
            self.master_queue_offset,
            self.state_version,
            self.timestamp,
            self.counter,
        ];
        let mut bytes = [0; MARK_BYTES];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = word.to_be_bytes();
        }
        bytes
    }

    /// Reads the answer to request 60. Old brokers leave the version out.
    pub fn of(bytes: &[u8]) -> Option<TimerMark> {
        let mut whole = [0; MARK_BYTES];
        let is_known = bytes.len() == MARK_BYTES || bytes.len() == MARK_BYTES - 24;
        whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
        is_known.then(|| TimerMark::decode(&whole))
    }

    fn decode(bytes: &[u8; MARK_BYTES]) -> TimerMark {
        let mut words = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| i64::from_be_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        TimerMark {
            read_ms: next(),
            log_end: next(),
            queue_offset: next(),
            master_queue_offset: next(),
            state_version: next(),
            timestamp: next(),
            counter: next(),
        }
    }
}

/// One of our copies.
#[derive(Debug, Clone, Copy)]
struct Copied {
    turn: i64,
    mark: [u8; MARK_BYTES],
    precision_ms: i64,
    fired: Fired,
}

impl Copied {
    fn decode(bytes: &[u8]) -> Option<Copied> {
        let (body, crc) = bytes.get(..COPY_BYTES)?.split_at(COPY_BYTES - 4);
        if crc32fast::hash(body).to_be_bytes() != crc {
            return None;
        }
        let word = |at: usize| Some(i64::from_be_bytes(*body.get(at..)?.first_chunk()?));
        if word(0)? != MAGIC {
            return None;
        }
        Some(Copied {
            turn: word(8)?,
            mark: *body.get(16..)?.first_chunk()?,
            precision_ms: word(16 + MARK_BYTES)?,
            fired: Fired::decode(body.get(FIRED_AT..)?.first_chunk()?),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(COPY_BYTES);
        bytes.extend_from_slice(&MAGIC.to_be_bytes());
        bytes.extend_from_slice(&self.turn.to_be_bytes());
        bytes.extend_from_slice(&self.mark);
        bytes.extend_from_slice(&self.precision_ms.to_be_bytes());
        bytes.extend_from_slice(&self.fired.encode());
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }
}

/// What the file said.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) mark: TimerMark,
    /// Of the ticks in the files, if it is known.
    pub(crate) precision_ms: Option<i64>,
    /// It is guarded by what only we write.
    pub(crate) is_ours: bool,
    /// Nothing when the reference wrote last: it does not say.
    pub(crate) fired: Fired,
}

/// The file.
#[derive(Debug)]
pub(crate) struct MarkFile {
    file: Arc<dyn File>,
    turn: i64,
    precision_ms: i64,
}

impl MarkFile {
    /// Opens or makes the file; `None` when there was none.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        precision_ms: i64,
    ) -> io::Result<(MarkFile, Option<Found>)> {
        let mut bytes = disk.load(path)?.unwrap_or_default();
        let is_there = bytes.len() >= MARK_BYTES;
        bytes.resize(FILE_BYTES as usize, 0);
        let mut copies: Vec<Copied> = SLOTS
            .iter()
            .filter_map(|at| Copied::decode(bytes.get(*at..)?))
            .collect();
        copies.sort_by_key(|copy| std::cmp::Reverse(copy.turn));
        let theirs: [u8; MARK_BYTES] = bytes.first_chunk().copied().unwrap_or([0; MARK_BYTES]);
        let zeros = [0; MARK_BYTES];
        let older = copies.get(1).map_or(zeros, |copy| copy.mark);
        let is_ours = |newest: &&Copied| {
            let mut all = theirs.iter().zip(&newest.mark).zip(&older);
            all.all(|((byte, new), old)| byte == new || byte == old)
        };
        let ours = copies.first().filter(is_ours);
        let mark = TimerMark::decode(ours.map_or(&theirs, |newest| &newest.mark));
        let known_precision = copies.first().map(|copy| copy.precision_ms);
        let is_empty = !is_there || mark == TimerMark::default();
        let file = if is_there && disk.entry(path)?.is_some_and(|found| found.len >= FILE_BYTES) {
            disk.open(path)?
        } else {
            if let Some(dir) = path.parent() {
                disk.make_dirs_durable(dir)?;
            }
            let file = match disk.entry(path)? {
                Some(_) => disk.open(path)?,
                None => disk.create(path, FILE_BYTES)?,
            };
            file.set_len(FILE_BYTES)?;
            synced(file.sync())?;
            synced(path.parent().map_or(Ok(()), |dir| disk.sync_dir(dir)))?;
            file
        };
        let turn = copies.first().map_or(0, |copy| copy.turn);
        let found = (!is_empty).then_some(Found {
            mark,
            precision_ms: known_precision,
            is_ours: ours.is_some(),
            fired: ours.map(|newest| newest.fired).unwrap_or_default(),
        });
        Ok((
            MarkFile {
                file,
                turn,
                precision_ms,
            },
            found,
        ))
    }

    /// Durable when it returns; after an error or a crash the previous one counts.
    pub(crate) fn write(&mut self, mark: &TimerMark, fired: &Fired) -> io::Result<()> {
        let copy = Copied {
            turn: self.turn + 1,
            mark: mark.encode(),
            precision_ms: self.precision_ms,
            fired: *fired,
        };
        let at = SLOTS[(copy.turn & 1) as usize] as u64;
        self.file.write_at(&copy.encode(), at)?;
        synced(self.file.sync())?;
        // Only now: a copy that failed is written again in the same place, the other one stays.
        self.turn = copy.turn;
        self.file.write_at(&copy.mark, 0)?;
        synced(self.file.sync())
    }
}
