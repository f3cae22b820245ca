// SPDX-License-Identifier: Apache-2.0
//! Appending: everything that can be done before the lock, then [`Tail`].

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use wire::properties::Properties;
use wire::properties::name::INNER_BASE;
use wire::record::{PROPERTIES_BYTES_MAX, Seal, crc31, properties_len, record_len, sysflag};

use crate::config::FlushMode;
use crate::draft::{AppendError, Draft, Gate, LogPos, Receipt};
use crate::queue::UNIT_BYTES;
use crate::queue_batch::inner_count;
use crate::queues::is_directory_name;
use crate::store::Store;
use crate::tail::{Deriving, Placed, Prepared, Tail, VALUE_END};

/// Units of all queues that may wait for the tidy thread: 24 bytes each.
pub(crate) const UNWRITTEN_UNITS_MAX: i64 = 16 << 20;
/// Bytes that are encoded before others get their turn at the tail.
const LOCKED_BYTES: usize = 64 * 1024;
/// Stands in for the offset of the first message inside until it is known: none has more digits.
const LONGEST_OFFSET: i64 = i64::MAX;

/// Which of the messages that somebody sends together it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Later,
}

impl Turn {
    /// How much of a bound may be used up. The last eighth is for the first message of everybody: who sends one at a time is not
    /// refused because others send thousands.
    fn share_of(self, most: usize) -> usize {
        match self {
            Turn::First => most,
            Turn::Later => most - most / 8,
        }
    }
}

impl Store {
    /// Appends a message. It is in the log when the gate of the receipt has passed, for which somebody has to
    /// [`Store::drive`].
    pub fn append(&self, draft: &Draft<'_>) -> Result<Receipt, AppendError> {
        let prepared = self.prepare(*draft)?;
        let now_ms = self.admit()?;
        self.put(&mut self.tail.lock(), (prepared, Turn::First), now_ms)
    }

    /// Appends messages that have nothing to do with each other, each as [`Store::append`] does, and so with less waiting
    /// for other threads.
    pub fn append_each<'a>(
        &self,
        drafts: impl ExactSizeIterator<Item = Draft<'a>>,
    ) -> Vec<Result<Receipt, AppendError>> {
        let mut receipts = Vec::with_capacity(drafts.len());
        let prepared: Vec<_> = drafts.map(|draft| self.prepare(draft)).collect();
        let now_ms = self.admit();
        let mut prepared = prepared.into_iter().peekable();
        let mut turn = Turn::First;
        while prepared.peek().is_some() {
            let mut tail = self.tail.lock();
            let start = tail.waiting_bytes();
            while tail.waiting_bytes() - start < LOCKED_BYTES
                && let Some(prepared) = prepared.next()
            {
                let receipt = prepared.and_then(|prepared| {
                    let now_ms = *now_ms.as_ref().map_err(Clone::clone)?;
                    self.put(&mut tail, (prepared, turn), now_ms)
                });
                turn = Turn::Later;
                receipts.push(receipt);
            }
        }
        receipts
    }

    fn put(
        &self,
        tail: &mut Tail,
        (mut prepared, turn): (Prepared<'_>, Turn),
        now_ms: i64,
    ) -> Result<Receipt, AppendError> {
        self.check_tail(tail, &prepared.draft, turn)?;
        if prepared.base_at.is_some() {
            prepared.note_base(prepared.draft.queue.next.load(Ordering::Relaxed));
        }
        tail.make_room(prepared.len)?;
        let placed = tail.put(&prepared, now_ms);
        let gate = Gate {
            end: LogPos(tail.pos),
            generation: tail.generation,
        };
        Ok(receipt(placed, prepared.len, gate))
    }

    /// Appends messages back to back in one file: all or none. Their receipts share one gate. None of them may be an
    /// inner batch.
    pub fn append_batch(&self, drafts: &[Draft<'_>]) -> Result<Vec<Receipt>, AppendError> {
        if drafts.is_empty() {
            return Err(AppendError::Empty);
        }
        if drafts.iter().any(is_inner_batch) {
            return Err(AppendError::InnerBatch);
        }
        let prepared = drafts
            .iter()
            .map(|draft| self.prepare(*draft))
            .collect::<Result<Vec<_>, _>>()?;
        let len = prepared.iter().map(|prepared| prepared.len).sum();
        let now_ms = self.admit()?;
        let mut tail = self.tail.lock();
        for draft in drafts {
            self.check_tail(&tail, draft, Turn::First)?;
        }
        tail.make_room(len)?;
        let placed: Vec<_> = prepared
            .iter()
            .map(|prepared| tail.put(prepared, now_ms))
            .collect();
        let gate = Gate {
            end: LogPos(tail.pos),
            generation: tail.generation,
        };
        drop(tail);
        Ok(placed
            .into_iter()
            .zip(&prepared)
            .map(|(placed, prepared)| receipt(placed, prepared.len, gate))
            .collect())
    }

    fn prepare<'a>(&self, draft: Draft<'a>) -> Result<Prepared<'a>, AppendError> {
        if !is_directory_name(draft.queue.topic()) {
            return Err(AppendError::Topic);
        }
        let deriving = Deriving {
            delay_levels_ms: &self.config.delay_levels_ms,
            index_enabled: self.config.index_enabled,
        };
        let derived = deriving.derive(draft.queue, draft.properties, draft.sys_flag);
        let seal = if self.config.seal_records {
            Seal::Present
        } else {
            Seal::Absent
        };
        let mut properties = Cow::Borrowed(draft.properties);
        if seal == Seal::Present && derived.is_sealed {
            // A seal that came with the message would be taken for ours.
            let mut cleaned = Properties::from_bytes(draft.properties);
            cleaned.remove(wire::properties::name::CRC32);
            properties = Cow::Owned(cleaned.into_bytes());
        }
        if properties.last() == Some(&0) {
            // Recovery takes a zero at the end for a record that was not written to its end.
            properties.to_mut().push(VALUE_END);
        }
        let (mut count, mut base_at) = (1, None);
        if is_inner_batch(&draft) {
            if !draft.queue.is_batch() || !sysflag::is_queued(draft.sys_flag) {
                return Err(AppendError::InnerBatch);
            }
            count = inner_count(&properties);
            let mut noted = Properties::from_bytes(&properties);
            noted.set(INNER_BASE, &LONGEST_OFFSET.to_string());
            let noted = noted.into_bytes();
            base_at = Some(noted.len() - LONGEST_OFFSET.to_string().len() - 1);
            properties = Cow::Owned(noted);
        }
        let bytes = properties_len(&properties, seal);
        if bytes > PROPERTIES_BYTES_MAX {
            return Err(AppendError::PropertiesTooLarge {
                bytes,
                max: PROPERTIES_BYTES_MAX,
            });
        }
        let body_crc = crc31(draft.body);
        let is_queued = sysflag::is_queued(draft.sys_flag);
        let mut prepared = Prepared {
            draft,
            properties,
            body_crc,
            seal,
            len: 0,
            derived,
            count,
            base_at,
            is_queued,
        };
        prepared.len = record_len(&prepared.parts(), seal);
        Ok(prepared)
    }

    /// Whether the store as a whole takes messages now.
    pub fn takes_messages(&self) -> Result<(), AppendError> {
        self.admit().map(drop)
    }

    /// Why messages are not written whose gate says so.
    pub fn why_not_written(&self) -> AppendError {
        match self.missing_bytes.load(Ordering::Relaxed) {
            0 => AppendError::Failed,
            _ if self.is_failed() => AppendError::Failed,
            _ => self.disk_full(),
        }
    }

    fn disk_full(&self) -> AppendError {
        AppendError::DiskFull {
            missing_bytes: self.missing_bytes.load(Ordering::Relaxed).max(1),
        }
    }

    /// Refuses what the store as a whole cannot take now; returns the time.
    fn admit(&self) -> Result<i64, AppendError> {
        if self.is_failed() {
            return Err(AppendError::Failed);
        }
        if self.queues.unwritten() > UNWRITTEN_UNITS_MAX {
            // The tidy thread is stuck: memory for derived data has a bound, too.
            let pending_bytes = (self.queues.unwritten() * UNIT_BYTES) as usize;
            return Err(AppendError::Busy { pending_bytes });
        }
        if self.is_disk_full.load(Ordering::Relaxed) {
            return Err(self.disk_full());
        }
        let now_ms = self.env.clock.now_ms();
        let since = self.writing_since_ms.load(Ordering::Relaxed);
        if since != 0 && now_ms.saturating_sub(since) > self.busy_after_ms {
            return Err(AppendError::Busy {
                pending_bytes: self.tail.lock().waiting_bytes(),
            });
        }
        Ok(now_ms)
    }

    fn check_tail(&self, tail: &Tail, draft: &Draft<'_>, turn: Turn) -> Result<(), AppendError> {
        if tail.is_closed {
            return Err(AppendError::Closed);
        }
        if self.config.follows {
            return Err(AppendError::Follows);
        }
        if draft.queue.deleted.load(Ordering::Relaxed) {
            return Err(AppendError::Deleted);
        }
        let pending_bytes = tail.waiting_bytes();
        if pending_bytes > turn.share_of(self.waiting_max.load(Ordering::Relaxed)) {
            return Err(AppendError::Busy { pending_bytes });
        }
        if self.config.flush == FlushMode::Sync {
            let unsynced = tail.pos - self.log.durable.load(Ordering::Relaxed);
            let pending_bytes = unsynced.unsigned_abs() as usize;
            let most = self.unsynced_max.load(Ordering::Relaxed).unsigned_abs() as usize;
            if pending_bytes > turn.share_of(most) {
                return Err(AppendError::Busy { pending_bytes });
            }
        }
        Ok(())
    }
}

fn is_inner_batch(draft: &Draft<'_>) -> bool {
    draft.sys_flag & sysflag::INNER_BATCH != 0
}

fn receipt(placed: Placed, size: usize, gate: Gate) -> Receipt {
    Receipt {
        pos: LogPos(placed.pos),
        size,
        queue_offset: placed.queue_offset,
        stored_at: placed.stored_at,
        gate,
    }
}
