// SPDX-License-Identifier: Apache-2.0
//! The end of the log before it is written: where the next record goes, and the records that wait for a writer.
//!
//! Everything here happens under one short lock: assign offsets and time, encode into the pending run. Positions are
//! given out before the write, so a failed write takes back all that was given out since ([`Tail::take_back`]) and
//! starts a new generation; gates of the old one can tell.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wire::properties::{self, java_hash_onto};
use wire::record::{self, Parts, Seal, Stamp, encode_blank, encode_record};

use crate::draft::{AppendError, Draft};
use crate::index::key_code;
use crate::queue::{Queue, Unit};
use crate::queue_batch::Span;

/// A run that has grown this large is closed, so that its buffer can be used again.
const RUN_BYTES: usize = 1 << 20;
/// Failed generations remembered for gates that are still looked at.
const FAILURES_KEPT: usize = 4096;
/// Hashes of a message that need no allocation.
const FEW_HASHES: usize = 6;
/// Closes an entry of the properties.
pub(crate) const VALUE_END: u8 = 2;

thread_local! {
    static HAS_STAGED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread has staged a record since it was last asked.
pub(crate) fn take_staged_here() -> bool {
    HAS_STAGED.take()
}

/// Hashes of the index entries of one message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hashes {
    few: [u32; FEW_HASHES],
    len: usize,
    more: Vec<u32>,
}

impl Hashes {
    fn push(&mut self, hash: i32) {
        let hash = key_code(hash);
        match self.few.get_mut(self.len) {
            Some(slot) => {
                *slot = hash;
                self.len += 1;
            }
            None => self.more.push(hash),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.few[..self.len].iter().chain(&self.more).copied()
    }

    pub(crate) fn count(&self) -> usize {
        self.len + self.more.len()
    }
}

/// What a queue holds for a message besides its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagsCode {
    /// Hash of the tag.
    Hash(i64),
    /// Delivery time: so many ms after the store time.
    DeliverAfter(i64),
}

impl TagsCode {
    pub(crate) fn at(self, stored_at: i64) -> i64 {
        match self {
            TagsCode::Hash(code) => code,
            TagsCode::DeliverAfter(ms) => stored_at + ms,
        }
    }
}

/// What the indexes get from the properties of a message.
#[derive(Debug, Clone)]
pub(crate) struct Derived {
    pub(crate) tags: TagsCode,
    pub(crate) hashes: Hashes,
    /// Whether the properties hold a seal.
    pub(crate) is_sealed: bool,
}

/// What to derive, and from what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deriving<'a> {
    pub(crate) delay_levels_ms: &'a [i64],
    pub(crate) index_enabled: bool,
}

impl Deriving<'_> {
    pub(crate) fn derive(&self, queue: &Queue, properties: &[u8], sys_flag: i32) -> Derived {
        let found = properties::indexed(properties);
        let mut hashes = Hashes::default();
        if self.index_enabled && sys_flag & record::sysflag::TRANSACTION != record::sysflag::ROLLBACK {
            if let Some(unique) = found.unique {
                hashes.push(java_hash_onto(queue.key_hash, unique));
            }
            for key in properties::split_keys(found.keys.unwrap_or_default()) {
                hashes.push(java_hash_onto(queue.key_hash, key));
            }
            if let Some(tags) = found.tags {
                hashes.push(java_hash_onto(java_hash_onto(queue.key_hash, b"T#"), tags));
            }
        }
        let level = found.delay.filter(|_| queue.is_delay());
        let level = level.and_then(|level| std::str::from_utf8(level).ok()?.parse::<i32>().ok());
        let tags = match level
            .and_then(|level| usize::try_from(level).ok())
            .and_then(|level| level.checked_sub(1))
        {
            Some(level) => {
                let last = self.delay_levels_ms.len().saturating_sub(1);
                TagsCode::DeliverAfter(self.delay_levels_ms.get(level.min(last)).copied().unwrap_or(1000))
            }
            None => TagsCode::Hash(found.tags.map_or(0, |tags| i64::from(java_hash_onto(0, tags)))),
        };
        Derived {
            tags,
            hashes,
            is_sealed: found.sealed,
        }
    }
}

/// A draft with everything that can be known before the lock is taken.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub(crate) draft: Draft<'a>,
    pub(crate) properties: Cow<'a, [u8]>,
    pub(crate) body_crc: u32,
    pub(crate) seal: Seal,
    pub(crate) len: usize,
    pub(crate) derived: Derived,
    /// Messages inside.
    pub(crate) count: i16,
    /// Where the properties end and what stands in for the offset of the first message inside begins, in an inner batch.
    pub(crate) base_at: Option<usize>,
    pub(crate) is_queued: bool,
}

impl Prepared<'_> {
    /// Writes the offset of its first message into an inner batch.
    pub(crate) fn note_base(&mut self, base: i64) {
        let Some(at) = self.base_at else { return };
        let properties = self.properties.to_mut();
        let before = properties.len();
        properties.truncate(at);
        properties.extend_from_slice(base.to_string().as_bytes());
        properties.push(VALUE_END);
        self.len -= before - properties.len();
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts {
            queue_id: self.draft.queue.id(),
            flag: self.draft.flag,
            sys_flag: self.draft.sys_flag,
            born_at: self.draft.born_at,
            born_host: self.draft.born_host,
            store_host: self.draft.store_host,
            reconsume_times: self.draft.reconsume_times,
            prepared_pos: self.draft.prepared_pos,
            body: self.draft.body,
            body_crc: self.body_crc,
            topic: self.draft.queue.topic(),
            properties: &self.properties,
        }
    }
}

/// Bytes to write at one place.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) at: i64,
    pub(crate) bytes: Vec<u8>,
}

impl Run {
    pub(crate) fn end(&self) -> i64 {
        self.at + self.bytes.len() as i64
    }
}

/// A record that is encoded and not visible yet.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) queue: Arc<Queue>,
    pub(crate) queue_offset: i64,
    pub(crate) unit: Unit,
    pub(crate) stored_at: i64,
    /// Messages inside.
    pub(crate) count: i16,
    /// How many of the hashes beside are its.
    pub(crate) hashes: usize,
    pub(crate) is_queued: bool,
}

impl Staged {
    pub(crate) fn end(&self) -> i64 {
        self.unit.pos + i64::from(self.unit.size)
    }

    pub(crate) fn span(&self) -> Span {
        Span {
            stored_at: self.stored_at,
            base: self.queue_offset,
            count: self.count,
        }
    }
}

/// What waits for a writer.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) runs: Vec<Run>,
    pub(crate) staged: Vec<Staged>,
    pub(crate) hashes: Vec<u32>,
    pub(crate) bytes: usize,
    /// Where the log goes on behind all of it. Not where the last run ends if that closes a file.
    pub(crate) end: i64,
    /// Whether somebody waits for the disk.
    pub(crate) is_urgent: bool,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

/// Where one record went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) pos: i64,
    pub(crate) queue_offset: i64,
    pub(crate) stored_at: i64,
}

#[derive(Debug)]
pub(crate) struct Tail {
    segment_bytes: i64,
    pub(crate) pos: i64,
    pub(crate) last_stored_at: i64,
    pub(crate) generation: u32,
    pub(crate) is_closed: bool,
    pub(crate) pending: Pending,
    /// Bytes taken out and still being written.
    pub(crate) in_flight: usize,
    /// Empty buffers.
    spare: Vec<Vec<u8>>,
    /// Generations that ended, with what was written then.
    failures: VecDeque<(u32, i64)>,
}

impl Tail {
    pub(crate) fn new(segment_bytes: i64, pos: i64, last_stored_at: i64) -> Tail {
        Tail {
            segment_bytes,
            pos,
            last_stored_at,
            generation: 0,
            is_closed: false,
            pending: Pending::default(),
            in_flight: 0,
            spare: Vec::new(),
            failures: VecDeque::new(),
        }
    }

    /// Bytes that wait or are being written.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.pending.bytes + self.in_flight
    }

    /// Starts the next file when `len` bytes do not fit into this one.
    pub(crate) fn make_room(&mut self, len: usize) -> Result<(), AppendError> {
        let max = (self.segment_bytes - 8) as usize;
        if len > max {
            return Err(AppendError::RecordTooLarge { bytes: len, max });
        }
        let remaining = self.segment_bytes - self.pos % self.segment_bytes;
        if len as i64 + 8 > remaining {
            self.close_file();
        }
        Ok(())
    }

    /// Closes the file with a blank record; the next record starts the next one.
    pub(crate) fn close_file(&mut self) {
        let remaining = self.segment_bytes - self.pos % self.segment_bytes;
        let run = self.run();
        encode_blank(&mut run.bytes, remaining as u32);
        self.pending.bytes += 8;
        self.pos += remaining;
    }

    /// Takes a record of another log as it is. The caller has made sure that it belongs here; without `staged` it is in no
    /// queue.
    pub(crate) fn put_raw(&mut self, bytes: &[u8], staged: Option<(Staged, &Hashes)>) {
        self.run().bytes.extend_from_slice(bytes);
        self.pos += bytes.len() as i64;
        self.pending.bytes += bytes.len();
        // Its master may wait for it.
        self.pending.is_urgent = true;
        if let Some((staged, hashes)) = staged {
            self.last_stored_at = self.last_stored_at.max(staged.stored_at);
            if staged.is_queued {
                let next = staged.queue_offset + i64::from(staged.count);
                staged.queue.next.fetch_max(next, Ordering::Relaxed);
            }
            self.pending.hashes.extend(hashes.iter());
            self.pending.staged.push(staged);
        }
    }

    /// The run that ends at the tail.
    fn run(&mut self) -> &mut Run {
        // A blank of eight bytes ends where the next file starts: adjacent, but not in one file.
        let is_new_file = self.pos % self.segment_bytes == 0;
        let last = self.pending.runs.last().filter(|_| !is_new_file);
        let fits = last.is_some_and(|run| run.end() == self.pos && run.bytes.len() < RUN_BYTES);
        if !fits {
            let bytes = self.spare.pop().unwrap_or_default();
            self.pending.runs.push(Run { at: self.pos, bytes });
        }
        let last = self.pending.runs.len() - 1;
        &mut self.pending.runs[last]
    }

    /// Encodes a record. The room was made before, so nothing can fail.
    pub(crate) fn put(&mut self, prepared: &Prepared<'_>, now_ms: i64) -> Placed {
        let queue = prepared.draft.queue;
        let pos = self.pos;
        let stored_at = self.last_stored_at.max(now_ms);
        self.last_stored_at = stored_at;
        let queue_offset = if prepared.is_queued {
            queue.next.fetch_add(i64::from(prepared.count), Ordering::Relaxed)
        } else {
            0
        };
        let stamp = Stamp {
            queue_offset,
            physical_offset: pos,
            stored_at,
        };
        let run = self.run();
        let before = run.bytes.len();
        encode_record(&mut run.bytes, &prepared.parts(), &stamp, prepared.seal);
        assert!(
            run.bytes.len() - before == prepared.len,
            "record length was announced wrongly"
        );
        self.pos += prepared.len as i64;
        HAS_STAGED.set(true);
        let pending = &mut self.pending;
        pending.bytes += prepared.len;
        pending.is_urgent |= prepared.draft.wait;
        pending.hashes.extend(prepared.derived.hashes.iter());
        let unit = Unit {
            pos,
            size: prepared.len as i32,
            tags_code: prepared.derived.tags.at(stored_at),
        };
        pending.staged.push(Staged {
            queue: Arc::clone(queue),
            queue_offset,
            unit,
            stored_at,
            count: prepared.count,
            hashes: prepared.derived.hashes.count(),
            is_queued: prepared.is_queued,
        });
        Placed {
            pos,
            queue_offset,
            stored_at,
        }
    }

    /// Takes out what waits; `done` gives back what the caller used before.
    pub(crate) fn take(&mut self, done: Pending) -> Pending {
        self.in_flight = 0;
        for mut run in done.runs {
            if self.spare.len() < 4 && run.bytes.capacity() <= 4 * RUN_BYTES {
                run.bytes.clear();
                self.spare.push(run.bytes);
            }
        }
        let fresh = Pending {
            staged: done.staged,
            hashes: done.hashes,
            ..Pending::default()
        };
        let mut taken = std::mem::replace(&mut self.pending, fresh);
        taken.end = self.pos;
        self.in_flight = taken.bytes;
        taken
    }

    /// After a failed write: nothing behind `written` was ever given out.
    pub(crate) fn take_back(&mut self, failed: &Pending, written: i64) {
        let newer = std::mem::take(&mut self.pending);
        for staged in newer.staged.iter().rev().chain(failed.staged.iter().rev()) {
            if staged.is_queued {
                staged.queue.next.store(staged.queue_offset, Ordering::Relaxed);
            }
        }
        self.pos = written;
        self.in_flight = 0;
        if self.failures.len() == FAILURES_KEPT {
            self.failures.pop_front();
        }
        self.failures.push_back((self.generation, written));
        self.generation += 1;
    }

    /// Whether a position of an ended generation was written.
    pub(crate) fn was_written(&self, generation: u32, end: i64) -> bool {
        self.failures
            .iter()
            .any(|(ended, written)| *ended == generation && end <= *written)
    }
}
