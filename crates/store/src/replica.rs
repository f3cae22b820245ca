// SPDX-License-Identifier: Apache-2.0
//! A log that follows another one: bytes come as they are in the log of the master, and become records, queue entries and
//! index entries here. Only whole records are written, so that the log ends where a record ends at any moment: what
//! recovers it need not know that it follows.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wire::record::{RECORD_BYTES_MIN, RecordError, RecordHead};

use crate::append::UNWRITTEN_UNITS_MAX;
use crate::config::FlushMode;
use crate::draft::LogPos;
use crate::log::ReadMode;
use crate::queue::Unit;
use crate::recover::count_for;
use crate::scan::is_torn;
use crate::store::Store;
use crate::tail::{Deriving, Hashes, Staged};

/// Bytes that may wait for the disk before more are taken.
const PENDING_MAX: usize = 4 << 20;
/// Bytes that may be written and not durable before more are taken, under SYNC_FLUSH.
const UNSYNCED_MAX: i64 = 64 << 20;

/// Topics that are remembered as unknown.
const UNKNOWN_MAX: usize = 10_000;

/// What came of a record that is not all here. The one who has it follows; see [`Store::follow`].
#[derive(Debug)]
pub struct Replica {
    /// Where `partial` begins.
    at: i64,
    partial: Vec<u8>,
    /// Bytes up to here are not looked at: the unused end of a file.
    skip_to: i64,
    /// The newest record here, as far as the master has not sent it again.
    known: Vec<u8>,
    /// Where a record lies of whose topic the caller has asked the master.
    asked: i64,
    /// Topics that the master does not have any more; messages of them may be in its log.
    unknown: HashSet<Arc<str>>,
    /// Whether nothing came yet, and the log holds nothing: it may begin anywhere.
    is_new: bool,
}

impl Replica {
    /// The caller has asked the master about the topic of the record that is next ([`ReplicateError::Topic`]); what is not
    /// known now is kept as most topics are.
    pub fn asked(&mut self) {
        self.asked = self.at;
    }

    /// Where the next bytes have to begin, and up to where everything came.
    pub fn next(&self) -> LogPos {
        LogPos(self.at + self.partial.len() as i64)
    }
}

/// Why bytes of a master are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplicateError {
    /// They do not follow on what is here.
    #[error("the master sends from {got}, but this log goes on at {expected}")]
    Position {
        /// Where they begin.
        got: i64,
        /// Where they had to.
        expected: i64,
    },
    /// A log can begin only where a file begins.
    #[error(
        "an empty log cannot begin at {at}: no file of {segment_bytes} bytes begins there; both sides need the same mappedFileSizeCommitLog"
    )]
    Start {
        /// Where they begin.
        at: i64,
        /// Size of a file here.
        segment_bytes: i64,
    },
    /// What they hold is no record.
    #[error("what the master sends at {at} is no record: {error}")]
    Record {
        /// Where.
        at: i64,
        /// What is wrong.
        error: String,
    },
    /// What was the newest record here is another one there.
    #[error(
        "this log and the master's are not the same at {at}: each has messages that the other has not. Make this broker the master, or move its store away so that it begins anew"
    )]
    Diverged {
        /// In the newest record here.
        at: i64,
    },
    /// The next record is of a topic that is not known, or that was made again: how it is kept has to be asked first. What came
    /// with it waits.
    #[error("the topic {topic} is not known")]
    Topic {
        /// Its name.
        topic: String,
    },
    /// The log cannot grow: the disk is full, or the store has failed or is closed.
    #[error("the log cannot grow: {0}")]
    Stopped(&'static str),
}

const WRITE_FAILED: ReplicateError = ReplicateError::Stopped("a write has failed");

/// What the front of some bytes is.
enum Front {
    Record(usize),
    /// Closes the file.
    Blank,
    /// More has to come.
    Short,
}

impl Store {
    /// Begins to follow another log. Nothing may be appended meanwhile by anybody else. The newest record is asked for once
    /// more: a master that has another one there has lost what is here, or never had it. May wait for the disk.
    pub fn follow(&self) -> Replica {
        self.drain();
        let end = self.tail.lock().pos;
        let known = self.newest_record().filter(|(_, known)| !known.is_empty());
        let (at, known) = known.unwrap_or((end, Vec::new()));
        Replica {
            at,
            partial: Vec::new(),
            skip_to: end,
            known,
            asked: -1,
            unknown: HashSet::new(),
            is_new: end == 0,
        }
    }

    /// Where it lies, and its bytes; of the very first one without the first byte, since a slave that asks for position 0 has
    /// nothing.
    fn newest_record(&self) -> Option<(i64, Vec<u8>)> {
        let (pos, end) = {
            let publisher = self.publisher.lock();
            publisher.newest()?
        };
        let pos = pos.max(1);
        let mut bytes = vec![0; usize::try_from(end - pos).ok()?];
        match self.log.read(pos, &mut bytes, ReadMode::Blocking) {
            Ok(_) => Some((pos, bytes)),
            Err(error) => {
                tracing::warn!(pos, %error, "the newest record cannot be read and is not compared with the master's");
                None
            }
        }
    }

    /// Takes bytes of the master's log. They are in the log here when [`Store::written`] has reached them; what does not
    /// end where a record ends waits in `replica`. After an error what came before the record in question is taken, and
    /// that record is the next.
    pub fn replicate(&self, replica: &mut Replica, at: LogPos, bytes: &[u8]) -> Result<(), ReplicateError> {
        self.may_grow(replica)?;
        if replica.is_new {
            if bytes.is_empty() {
                return Ok(());
            }
            self.begin_at(replica, at.0)?;
            replica.is_new = false;
        }
        let expected = replica.next().0;
        if at.0 != expected {
            return Err(ReplicateError::Position { got: at.0, expected });
        }
        let begun = replica.at;
        let taken = |replica: &Replica| (replica.at - begun).unsigned_abs() as usize;
        let is_over =
            |done: &Result<(), ReplicateError>| !matches!(done, Ok(()) | Err(ReplicateError::Topic { .. }));
        let done = if replica.partial.is_empty() {
            let done = self.take_records(replica, bytes);
            if !is_over(&done) {
                let rest = bytes.get(taken(replica)..).unwrap_or_default();
                replica.partial.extend_from_slice(rest);
            }
            done
        } else {
            let mut all = std::mem::take(&mut replica.partial);
            all.extend_from_slice(bytes);
            let done = self.take_records(replica, &all);
            if !is_over(&done) {
                all.drain(..taken(replica));
                replica.partial = all;
            }
            done
        };
        self.drive();
        if self.tail.lock().waiting_bytes() > PENDING_MAX {
            self.drain();
        }
        if self.config.flush == FlushMode::Sync && self.written().0 - self.durable().0 > UNSYNCED_MAX {
            self.turn_flush();
        }
        done
    }

    fn may_grow(&self, replica: &Replica) -> Result<(), ReplicateError> {
        if self.is_failed() {
            return Err(ReplicateError::Stopped("the store has failed"));
        }
        if self.is_disk_full.load(Ordering::Relaxed) {
            return Err(ReplicateError::Stopped("the disk is full"));
        }
        if self.queues.unwritten() > UNWRITTEN_UNITS_MAX {
            return Err(ReplicateError::Stopped("the consume queues cannot be written"));
        }
        let tail = self.tail.lock();
        if tail.is_closed {
            return Err(ReplicateError::Stopped("the store is closed"));
        }
        if tail.pos != replica.at.max(replica.skip_to) {
            // What it stood behind was taken back.
            return Err(WRITE_FAILED);
        }
        Ok(())
    }

    /// Lets an empty log begin where the master's bytes do.
    fn begin_at(&self, replica: &mut Replica, at: i64) -> Result<(), ReplicateError> {
        let segment_bytes = self.log.segment_bytes();
        if at < 0 || at % segment_bytes != 0 {
            return Err(ReplicateError::Start { at, segment_bytes });
        }
        if at > 0 && !self.log.segments().is_empty() {
            // A file was made, and what it was made for is lost or was never written.
            let removed = self.log.remove_behind(0);
            removed.map_err(|error| {
                let first = self.log.segments().first().map(|segment| segment.path.display().to_string());
                tracing::warn!(file = first.as_deref(), %error, "an empty log file cannot be removed; trying again");
                ReplicateError::Stopped("its first file, which is empty, cannot be removed")
            })?;
        }
        // Nobody reads a log that holds nothing, and nobody else writes it.
        self.tail.lock().pos = at;
        self.log.hot.start_at(at);
        self.log.written.store(at, Ordering::Release);
        self.log.durable.store(at, Ordering::Release);
        self.publisher.lock().upto = at;
        (replica.at, replica.skip_to) = (at, at);
        Ok(())
    }

    /// Takes whole records from the front; `replica.at` moves with them.
    fn take_records(&self, replica: &mut Replica, bytes: &[u8]) -> Result<(), ReplicateError> {
        let mut taken = compare(replica, bytes)?;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            let skip = (replica.skip_to - replica.at).max(0).unsigned_abs();
            if skip > 0 {
                let skipped = rest.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
                taken += skipped;
                replica.at += skipped as i64;
                if skipped as u64 != skip {
                    return Ok(());
                }
                continue;
            }
            let pos = replica.at;
            let size = match front(rest, self.left_in_file(pos)) {
                Ok(Front::Record(size)) => {
                    self.take_record(replica, rest.get(..size).unwrap_or_default())?;
                    size
                }
                Ok(Front::Blank) => {
                    let mut tail = self.tail.lock();
                    if tail.pos != pos {
                        return Err(WRITE_FAILED);
                    }
                    tail.close_file();
                    drop(tail);
                    replica.skip_to = pos + self.left_in_file(pos) as i64;
                    continue;
                }
                Ok(Front::Short) => return Ok(()),
                Err(error) => {
                    let error = error.to_string();
                    return Err(ReplicateError::Record { at: pos, error });
                }
            };
            taken += size;
            replica.at += size as i64;
        }
    }

    fn left_in_file(&self, pos: i64) -> usize {
        (self.log.base_of(pos) + self.log.segment_bytes() - pos).unsigned_abs() as usize
    }

    /// Puts one record behind the end. One that is damaged is asked for a second time; if it comes as it was, it keeps its
    /// place in the log, as on the master, and is in no queue.
    fn take_record(&self, replica: &mut Replica, bytes: &[u8]) -> Result<(), ReplicateError> {
        let pos = replica.at;
        let head = RecordHead::scan(bytes).ok();
        let head = head.filter(|head| {
            let is_whole = head.check_body().is_ok() && head.stamp.physical_offset == pos && !is_torn(head);
            if !is_whole {
                tracing::error!(
                    pos,
                    topic = head.parts.topic,
                    "the master has sent a damaged record: it is not delivered here"
                );
            }
            is_whole
        });
        let Some(head) = head else {
            if self.damaged_at.swap(pos, Ordering::Relaxed) != pos {
                let error = "it is damaged, and asked for once more".to_owned();
                return Err(ReplicateError::Record { at: pos, error });
            }
            return self.put_at(pos, bytes, None);
        };
        let stamp = &head.stamp;
        self.must_be_known(replica, head.parts.topic)?;
        let mut queue = self.queues.get(head.parts.topic, head.parts.queue_id);
        let count = count_for(&queue, &head);
        if count.is_some() && stamp.queue_offset == 0 && queue.next.load(Ordering::Relaxed) > 0 {
            if replica.asked != pos {
                let topic = head.parts.topic.to_owned();
                return Err(ReplicateError::Topic { topic });
            }
            // The topic was deleted on the master and made again. Of its other queues nothing is known yet: they may hold new
            // messages already.
            self.detach_queue(&queue);
            queue = self.queues.get(head.parts.topic, head.parts.queue_id);
        }
        let deriving = Deriving {
            delay_levels_ms: &self.config.delay_levels_ms,
            index_enabled: self.config.index_enabled,
        };
        let derived = deriving.derive(&queue, head.parts.properties, head.parts.sys_flag);
        let staged = Staged {
            queue_offset: stamp.queue_offset,
            unit: Unit {
                pos,
                size: head.total_size as i32,
                tags_code: derived.tags.at(stamp.stored_at),
            },
            stored_at: stamp.stored_at,
            count: count.unwrap_or(1),
            hashes: derived.hashes.count(),
            is_queued: count.is_some(),
            queue,
        };
        self.put_at(pos, bytes, Some((staged, &derived.hashes)))
    }

    /// The kind of a queue is decided when it is made.
    fn must_be_known(&self, replica: &mut Replica, topic: &str) -> Result<(), ReplicateError> {
        if self.config.kinds.knows(topic) || replica.unknown.contains(topic) {
            return Ok(());
        }
        if replica.asked != replica.at {
            let topic = topic.to_owned();
            return Err(ReplicateError::Topic { topic });
        }
        if replica.unknown.len() >= UNKNOWN_MAX {
            replica.unknown.clear();
        }
        replica.unknown.insert(Arc::from(topic));
        Ok(())
    }

    /// A write that fails meanwhile takes back the end: what would come now belongs behind what is gone.
    fn put_at(
        &self,
        pos: i64,
        bytes: &[u8],
        staged: Option<(Staged, &Hashes)>,
    ) -> Result<(), ReplicateError> {
        let mut tail = self.tail.lock();
        if tail.pos != pos {
            return Err(WRITE_FAILED);
        }
        tail.put_raw(bytes, staged);
        Ok(())
    }
}

/// Looks whether the master has the newest record, too. Returns how many bytes that were.
fn compare(replica: &mut Replica, bytes: &[u8]) -> Result<usize, ReplicateError> {
    let same = replica
        .known
        .iter()
        .zip(bytes)
        .take_while(|(ours, theirs)| ours == theirs);
    let same = same.count();
    if same < replica.known.len().min(bytes.len()) {
        return Err(ReplicateError::Diverged {
            at: replica.at + same as i64,
        });
    }
    replica.known.drain(..same);
    replica.at += same as i64;
    Ok(same)
}

/// What the front of some bytes is, with so many bytes left in the file.
fn front(bytes: &[u8], left: usize) -> Result<Front, RecordError> {
    let Some(head) = bytes.first_chunk::<8>() else {
        return Ok(Front::Short);
    };
    let [s0, s1, s2, s3, ..] = *head;
    let size = usize::try_from(i32::from_be_bytes([s0, s1, s2, s3])).unwrap_or(0);
    match RecordHead::scan(bytes) {
        Ok(head) => Ok(Front::Record(head.total_size)),
        Err(RecordError::Blank(_)) if size == left => Ok(Front::Blank),
        // A blank has to fit behind it.
        Err(RecordError::Short { .. }) if (RECORD_BYTES_MIN..=left.saturating_sub(8)).contains(&size) => {
            Ok(Front::Short)
        }
        Err(error) => Err(error),
    }
}
