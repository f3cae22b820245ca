// SPDX-License-Identifier: Apache-2.0
//! What became of the offsets since `consumerOffset.json` was last written: a journal in the directory
//! `config/consumerOffset.journal`, so that a kill costs less than that file is old.
//!
//! ```text
//! payload of a journal record: entries
//! snapshot  1 | length 8 | check 4                               CRC-32 (31 bits) of the whole file; all 0: there is none
//! moved     2 | group | topic | count 4 | count × (queue 4 | offset 8)     -1: none is committed any more
//! no group  3 | group                                            it was deleted
//! no topic  4 | topic
//! a name: length 4 | UTF-8
//! ```
//!
//! What stands behind the `snapshot` of a file (in any number of records and journal files) came after the moment that the
//! file shows, or was on its way into it. Entries are absolute, so that it does no harm to apply one that the file knows
//! already. A journal in which the file that is there is not named belongs to another one (a Java broker has written it
//! since, or somebody has put it there) and counts for nothing. Where the file is missing or damaged, all of it counts: it is
//! newer than the backup.
//!
//! The journal is not needed for the file to be right: whatever goes wrong here is told, and over with the next file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use store::{Env, Journal};
use tracing::{info, warn};
use wire::Str;
use wire::record::crc31;

use crate::saved::{LoadError, SaveError};

/// A record is ended when it has grown that long.
const RECORD_BYTES: usize = 256 << 10;
/// A journal of that length is replaced by a file before its time, unless the file is nearly as long itself.
const SHORT_BYTES: u64 = 8 << 20;
/// How many times longer than the file a journal may become before its time is over.
const TIMES_THE_FILE: u64 = 4;
/// No journal grows beyond this, even if the file cannot be written.
const BYTES_MAX: u64 = 256 << 20;
/// Stands for an offset that is not there.
const NONE: i64 = -1;

mod kind {
    pub(super) const SNAPSHOT: u8 = 1;
    pub(super) const MOVED: u8 = 2;
    pub(super) const NO_GROUP: u8 = 3;
    pub(super) const NO_TOPIC: u8 = 4;
}

/// One change, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// Where a group stands now in some queues of a topic.
    Moved {
        group: Str,
        topic: Str,
        offsets: Vec<(i32, Option<i64>)>,
    },
    NoGroup(Str),
    NoTopic(Str),
}

/// Which file it is: length and check of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Snapshot(u64, u32);

impl Snapshot {
    const NONE: Snapshot = Snapshot(0, 0);

    fn of(bytes: &[u8]) -> Snapshot {
        Snapshot(bytes.len() as u64, crc31(bytes))
    }
}

/// The journal of the offsets, open for writing.
#[derive(Debug)]
pub(super) struct OffsetJournal {
    env: Env,
    dir: PathBuf,
    journal: Journal,
    /// Whether what is written is to survive the end of the machine, too.
    is_synced: bool,
    state: Mutex<State>,
    /// Bytes of the file it belongs to.
    file_bytes: AtomicU64,
    /// Whether it is time for a new file, for those that must not wait for `state`.
    is_long: AtomicBool,
    /// Whether a journal was found that follows on the file, or on there being none.
    pub(super) is_known: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Something is missing in it: nothing more is written until the next file is there.
    is_broken: bool,
    /// The newest journal file has been started for a file that is not there yet.
    is_begun: bool,
    /// Written since the last file was.
    bytes: u64,
}

impl OffsetJournal {
    /// Reads what came after the file, given by its bytes, and hands it to `apply`, oldest first.
    pub(super) fn open(
        env: &Env,
        dir: PathBuf,
        (file, is_lost): (Option<&[u8]>, bool),
        is_synced: bool,
        mut apply: impl FnMut(Entry),
    ) -> Result<OffsetJournal, LoadError> {
        let current = file.map_or(Snapshot::NONE, Snapshot::of);
        let mut reading = Reading::Elsewhere;
        let mut found = 0;
        let failed = |source| LoadError::Io {
            path: dir.clone(),
            source,
        };
        let opened = Journal::open_past_damage(env.clone(), &dir, |payload| {
            reading.record(payload, current, &mut |entry| {
                found += 1;
                apply(entry);
            });
        });
        let journal = opened.map_err(failed)?;
        if reading == Reading::Damaged {
            warn!(file = %dir.display(), "the journal of the consumer offsets holds what this version does not know; that and what follows it is left out");
        }
        let mut is_all_that_is_left = false;
        if is_lost && reading == Reading::Elsewhere {
            let mut all = Reading::Belongs;
            Journal::read(env, &dir, |payload| {
                all.record(payload, current, &mut |entry| {
                    found += 1;
                    apply(entry);
                });
            })
            .map_err(failed)?;
            is_all_that_is_left = found > 0;
        }
        match reading {
            Reading::Belongs | Reading::Damaged => {
                info!(found, "changes of consumer offsets are in the journal")
            }
            Reading::Elsewhere if is_all_that_is_left => {
                warn!(file = %dir.display(), count = found, "the table of consumer offsets is damaged or missing; all that its journal has is applied to its backup, what is older may be lost");
            }
            Reading::Elsewhere => {
                mark(&journal, current).map_err(failed)?;
                journal.finish().map_err(failed)?;
            }
        }
        Ok(OffsetJournal {
            env: env.clone(),
            journal,
            is_synced,
            // A reader would not come past what this one has stopped at.
            state: Mutex::new(State {
                is_broken: reading == Reading::Damaged || is_all_that_is_left,
                ..State::default()
            }),
            file_bytes: AtomicU64::new(current.0),
            is_long: AtomicBool::new(false),
            is_known: reading != Reading::Elsewhere,
            dir,
        })
    }

    /// Whether what is written is to survive the end of the machine, too.
    pub(super) fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Whether something was written that could be lost with the machine, and must not.
    pub(super) fn needs_sync(&self) -> bool {
        self.is_synced && !self.journal.is_synced()
    }

    /// Whether nothing is written until there is a new file.
    pub(super) fn is_broken(&self) -> bool {
        self.state.lock().is_broken
    }

    /// Whether it is time for a new file. Not when something is missing in it: the next file comes anyway, and one that does
    /// not end that would be followed by others at once.
    pub(super) fn is_long(&self) -> bool {
        self.is_long.load(Ordering::Relaxed)
    }

    fn note_length(&self, state: &State) {
        let is_long = !state.is_broken && state.bytes > long_bytes(self.file_bytes.load(Ordering::Relaxed));
        self.is_long.store(is_long, Ordering::Relaxed);
    }

    /// Writes what `take` finds. An error is told once; then nothing is taken until there is a new file: `false`. What is
    /// asked later need not be true of this write: the new file may be there by then, and be from before the change.
    pub(super) fn write(&self, take: impl FnOnce() -> Vec<Entry>) -> Result<bool, SaveError> {
        let mut state = self.state.lock();
        if state.is_broken || store::seeded!("journal-skipped") {
            return Ok(!state.is_broken);
        }
        let written = self.append(&mut state, &take());
        self.note_length(&state);
        drop(state);
        written?;
        if self.needs_sync() {
            self.journal.sync().map_err(|error| self.broken(error))?;
        }
        Ok(true)
    }

    /// Makes the bytes of a new file, such that what is written from now on comes after it.
    pub(super) fn cut(&self, take: impl FnOnce() -> Vec<Entry>, file: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        let (is_begun, was_broken) = {
            let state = self.state.lock();
            (state.is_begun, state.is_broken)
        };
        if !is_begun {
            let begun = self.env.disk.make_dirs_durable(&self.dir);
            match begun.and_then(|()| self.journal.begin()) {
                Ok(()) => self.state.lock().is_begun = true,
                Err(error) => {
                    let error = self.broken(error);
                    // Whoever tries again and again tells it once.
                    if !was_broken {
                        told(&error);
                    }
                }
            }
        }
        let mut state = self.state.lock();
        let last = take();
        if !state.is_broken
            && let Err(error) = self.append(&mut state, &last)
        {
            told(&error);
        }
        let bytes = file();
        if state.is_begun {
            // Without its mark the new file has no journal.
            if let Err(error) = mark(&self.journal, Snapshot::of(&bytes)) {
                state.is_broken = true;
                state.is_begun = false;
                told(&self.error(error));
            }
        }
        bytes
    }

    /// Before the file has its name: else a power cut may leave it without its mark, as if somebody else had written it.
    pub(super) fn keep_mark(&self) {
        if self.needs_sync()
            && let Err(error) = self.journal.sync()
        {
            told(&self.broken(error));
        }
    }

    /// The file is there: whatever was missing is in it, and what is older than it goes.
    pub(super) fn keep_from(&self, file: &[u8]) {
        self.file_bytes.store(file.len() as u64, Ordering::Relaxed);
        if !std::mem::take(&mut self.state.lock().is_begun) {
            return;
        }
        match self.journal.finish() {
            Ok(()) => {
                let mut state = self.state.lock();
                state.bytes = self.journal.file_bytes();
                state.is_broken = false;
                self.note_length(&state);
            }
            Err(error) => told(&self.broken(error)),
        }
    }

    fn append(&self, state: &mut State, entries: &[Entry]) -> Result<(), SaveError> {
        let mut record = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            put(&mut record, entry);
            if record.len() < RECORD_BYTES && at + 1 < entries.len() {
                continue;
            }
            state.bytes += record.len() as u64;
            let appended = if state.bytes > BYTES_MAX {
                Err(std::io::ErrorKind::QuotaExceeded.into())
            } else {
                self.journal.append(&record)
            };
            if let Err(error) = appended {
                state.is_broken = true;
                return Err(self.error(error));
            }
            record.clear();
        }
        Ok(())
    }

    fn broken(&self, source: std::io::Error) -> SaveError {
        let mut state = self.state.lock();
        state.is_broken = true;
        // What comes next goes to a journal file of its own.
        state.is_begun = false;
        self.note_length(&state);
        self.error(source)
    }

    fn error(&self, source: std::io::Error) -> SaveError {
        SaveError {
            path: self.dir.clone(),
            source,
        }
    }
}

/// From which length on a journal is too long for a file of so many bytes. Early enough for the file to come before the
/// journal may not grow any more.
fn long_bytes(file: u64) -> u64 {
    SHORT_BYTES
        .max(file.saturating_mul(TIMES_THE_FILE))
        .min(BYTES_MAX / 2)
}

fn told(error: &SaveError) {
    warn!(file = %error.path.display(), error = %error.source, "the journal of the consumer offsets begins anew with the next file");
}

fn mark(journal: &Journal, Snapshot(len, check): Snapshot) -> std::io::Result<()> {
    let mut record = vec![kind::SNAPSHOT];
    record.extend_from_slice(&len.to_be_bytes());
    record.extend_from_slice(&check.to_be_bytes());
    journal.append(&record).map(drop)
}

/// Where a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Among changes that are in the file, or in another one.
    Elsewhere,
    /// Behind the mark of the file.
    Belongs,
    /// Behind something that nobody understands.
    Damaged,
}

impl Reading {
    fn record(&mut self, payload: &[u8], current: Snapshot, apply: &mut impl FnMut(Entry)) {
        let mut rest = payload;
        while !rest.is_empty() {
            match read(&mut rest) {
                Some(Read::Snapshot(found)) => {
                    // One that is not there is one that was never finished, or an older one.
                    if found == current && *self == Reading::Elsewhere {
                        *self = Reading::Belongs;
                    }
                }
                Some(Read::Entry(entry)) if *self == Reading::Belongs => apply(entry),
                Some(Read::Entry(_)) => {}
                None => {
                    if *self == Reading::Belongs {
                        *self = Reading::Damaged;
                    }
                    return;
                }
            }
        }
    }
}

enum Read {
    Snapshot(Snapshot),
    Entry(Entry),
}

fn put(out: &mut Vec<u8>, entry: &Entry) {
    let name = |out: &mut Vec<u8>, name: &str| {
        out.extend_from_slice(&(name.len() as u32).to_be_bytes());
        out.extend_from_slice(name.as_bytes());
    };
    match entry {
        Entry::Moved {
            group,
            topic,
            offsets,
        } => {
            out.push(kind::MOVED);
            name(out, group);
            name(out, topic);
            out.extend_from_slice(&(offsets.len() as u32).to_be_bytes());
            for (queue, offset) in offsets {
                out.extend_from_slice(&queue.to_be_bytes());
                out.extend_from_slice(&offset.unwrap_or(NONE).to_be_bytes());
            }
        }
        Entry::NoGroup(group) => {
            out.push(kind::NO_GROUP);
            name(out, group);
        }
        Entry::NoTopic(topic) => {
            out.push(kind::NO_TOPIC);
            name(out, topic);
        }
    }
}

fn read(rest: &mut &[u8]) -> Option<Read> {
    Some(match u8::from_be_bytes(number(rest)?) {
        kind::SNAPSHOT => {
            let len = u64::from_be_bytes(number(rest)?);
            Read::Snapshot(Snapshot(len, u32::from_be_bytes(number(rest)?)))
        }
        kind::MOVED => {
            let (group, topic) = (text(rest)?, text(rest)?);
            let count = u32::from_be_bytes(number(rest)?);
            let mut offsets = Vec::new();
            for _ in 0..count {
                let queue = i32::from_be_bytes(number(rest)?);
                let offset = i64::from_be_bytes(number(rest)?);
                offsets.push((queue, Some(offset).filter(|offset| *offset >= 0)));
            }
            Read::Entry(Entry::Moved {
                group,
                topic,
                offsets,
            })
        }
        kind::NO_GROUP => Read::Entry(Entry::NoGroup(text(rest)?)),
        kind::NO_TOPIC => Read::Entry(Entry::NoTopic(text(rest)?)),
        _ => return None,
    })
}

fn number<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (number, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*number)
}

fn text(rest: &mut &[u8]) -> Option<Str> {
    let len = usize::try_from(u32::from_be_bytes(number(rest)?)).ok()?;
    let (text, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    std::str::from_utf8(text).ok().map(Str::from)
}

/// Where the journal of a file is.
pub(super) fn dir_of(file: &Path) -> PathBuf {
    file.with_extension("journal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_before_the_journal_may_not_grow_any_more() {
        let mut before = 0;
        for file in [0, 1 << 20, 10 << 20, 100 << 20, u64::MAX] {
            let long = long_bytes(file);
            assert!((before..BYTES_MAX).contains(&long), "{long} for {file}");
            before = long;
        }
    }
}
