// SPDX-License-Identifier: Apache-2.0
//! One consume queue: where the messages of a topic's queue lie in the log.
//!
//! ```text
//! file <root>/consumequeue/<topic>/<id>/<20 digits>: units of 20 bytes, offset k at byte k * 20 of all files
//! unit: physicalOffset 8 | size 4 | tagsCode 8          (0 | 0x7FFFFFFF | 0: nothing, skip)
//! ```
//!
//! This is the reference's layout. The other one ([`crate::runs`]) is for very many queues.
//!
//! The newest units live in memory: [`Queue::push`] makes no system call. The tidy thread writes them to their file and
//! lets them go; they can always be derived from the log again. An idle queue holds neither units nor open files.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Notify;
use wire::properties::{java_hash, java_hash_onto};

use crate::compact::Shelf;
use crate::queue_batch::{BATCH_UNIT_BYTES, QueueKind, Span};

/// Bytes of a unit.
pub(crate) const UNIT_BYTES: i64 = 20;
/// Size that marks a unit without a message.
const NOTHING: i32 = i32::MAX;
/// Written units a busy queue keeps for readers at its end, at most.
const KEPT_UNITS: usize = 1024;
/// At least, unless none.
const KEPT_UNITS_MIN: usize = 16;
/// And all busy queues together: 24 MiB.
const KEPT_UNITS_OF_ALL: usize = 1 << 20;
/// The topic whose units hold delivery times.
const DELAY_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

/// One entry of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) pos: i64,
    pub(crate) size: i32,
    pub(crate) tags_code: i64,
}

impl Unit {
    pub(crate) const BLANK: Unit = Unit {
        pos: 0,
        size: NOTHING,
        tags_code: 0,
    };

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.pos.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&self.tags_code.to_be_bytes());
    }

    pub(crate) fn decode(bytes: &[u8; UNIT_BYTES as usize]) -> Unit {
        let [
            p0,
            p1,
            p2,
            p3,
            p4,
            p5,
            p6,
            p7,
            s0,
            s1,
            s2,
            s3,
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            t6,
            t7,
        ] = *bytes;
        Unit {
            pos: i64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7]),
            size: i32::from_be_bytes([s0, s1, s2, s3]),
            tags_code: i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
        }
    }

    /// Whether the unit says there is no message at its offset.
    pub(crate) fn is_blank(&self) -> bool {
        self.size == NOTHING
    }

    /// Whether anything was ever written here.
    pub(crate) fn is_written(&self) -> bool {
        self.pos >= 0 && self.size > 0
    }
}

/// What the queue holds in memory.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Where its files start, in bytes, ascending; none in runs.
    pub(crate) bases: Vec<i64>,
    /// Index of the first unit there is, where that is not told by `bases`.
    pub(crate) first: i64,
    /// What runs call it; 0 while none has it.
    pub(crate) number: u32,
    /// The newest units; the first has index `start`. Where units stand for one message each, that is its offset.
    pub(crate) units: Vec<Unit>,
    /// In a batch queue what the units stand for; else empty.
    pub(crate) spans: Vec<Span>,
    pub(crate) start: i64,
    /// Indexes below are in the files, or in runs.
    pub(crate) written: i64,
    /// Whether the tidy thread has it on its list.
    pub(crate) listed: bool,
    /// `written` when the tidy thread came last.
    pub(crate) seen: i64,
}

impl Held {
    /// Index behind the newest unit.
    pub(crate) fn end(&self) -> i64 {
        self.start + self.units.len() as i64
    }
}

/// Where a queue ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Index behind the last unit.
    pub(crate) index: i64,
    /// Offset behind the last message.
    pub(crate) offset: i64,
}

impl End {
    /// That of a plain queue.
    pub(crate) fn plain(offset: i64) -> End {
        End {
            index: offset,
            offset,
        }
    }
}

/// One queue of a topic.
#[derive(Debug)]
pub struct Queue {
    topic: Arc<str>,
    id: u32,
    kind: QueueKind,
    /// Names it in the table of open files.
    pub(crate) key: u64,
    /// Next offset to assign; changed only by the holder of the log's tail.
    pub(crate) next: AtomicI64,
    pub(crate) min: AtomicI64,
    max: AtomicI64,
    pub(crate) deleted: AtomicBool,
    pub(crate) held: Mutex<Held>,
    /// What was copied of it, if its topic is compacted.
    pub(crate) shelf: OnceLock<Arc<Shelf>>,
    news: Notify,
    waiting: AtomicU32,
    nudges: AtomicU32,
    /// Hash of `topic#`, from which the hash of an index key goes on.
    pub(crate) key_hash: i32,
}

impl Queue {
    pub(crate) fn new(topic: Arc<str>, id: u32, kind: QueueKind, key: u64) -> Queue {
        let key_hash = java_hash_onto(java_hash(&topic), b"#");
        Queue {
            topic,
            id,
            kind,
            key,
            next: AtomicI64::new(0),
            min: AtomicI64::new(0),
            max: AtomicI64::new(0),
            deleted: AtomicBool::new(false),
            held: Mutex::default(),
            shelf: OnceLock::new(),
            news: Notify::new(),
            waiting: AtomicU32::new(0),
            nudges: AtomicU32::new(0),
            key_hash,
        }
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How it is kept.
    pub fn kind(&self) -> QueueKind {
        self.kind
    }

    /// The copies of messages from an offset on, if its topic is compacted and there are any.
    pub(crate) fn copied(&self, from: i64) -> Option<&Arc<Shelf>> {
        self.shelf.get().filter(|shelf| from < shelf.end())
    }

    pub(crate) fn is_batch(&self) -> bool {
        self.kind == QueueKind::Batch
    }

    /// Bytes of one of its units.
    pub fn unit_bytes(&self) -> i64 {
        match self.kind {
            QueueKind::Plain => UNIT_BYTES,
            QueueKind::Batch => BATCH_UNIT_BYTES,
        }
    }

    /// Offset of the oldest message; equal to [`Queue::max`] when there is none.
    pub fn min(&self) -> i64 {
        self.min.load(Ordering::Acquire)
    }

    /// Offset behind the newest message readers may see.
    pub fn max(&self) -> i64 {
        self.max.load(Ordering::SeqCst)
    }

    /// Whether its topic was deleted: it takes no more messages, ask the store for the queue again.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Wakes those that wait for messages, without one.
    pub fn nudge(&self) {
        self.nudges.fetch_add(1, Ordering::AcqRel);
        self.wake();
    }

    /// How often [`Queue::nudge`] was called.
    pub fn nudges(&self) -> u32 {
        self.nudges.load(Ordering::Acquire)
    }

    /// Resolves when there is a message at `offset`, or the queue was deleted.
    pub async fn wait_past(&self, offset: i64) {
        self.wait(|| self.max() > offset).await;
    }

    /// The same, or when somebody nudged after these were counted.
    pub async fn wait_past_or_nudge(&self, offset: i64, nudges: u32) {
        self.wait(|| self.max() > offset || self.nudges() != nudges).await;
    }

    async fn wait(&self, is_over: impl Fn() -> bool) {
        let _waiter = Waiter::count(&self.waiting);
        loop {
            let news = self.news.notified();
            let mut news = std::pin::pin!(news);
            news.as_mut().enable();
            if is_over() || self.deleted.load(Ordering::Acquire) {
                return;
            }
            news.await;
        }
    }

    /// Whether its units hold delivery times instead of tag codes.
    pub(crate) fn is_delay(&self) -> bool {
        &*self.topic == DELAY_TOPIC
    }

    /// Whether a publisher has to call [`Queue::wake`].
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn wake(&self) {
        self.news.notify_waiters();
    }

    /// Makes the next record visible. Returns whether the queue has to go on the tidy thread's list.
    pub(crate) fn push(&self, unit: Unit, span: Span) -> bool {
        let mut held = self.held.lock();
        held.units.push(unit);
        let max = match self.kind {
            QueueKind::Plain => held.end(),
            QueueKind::Batch => {
                held.spans.push(span);
                span.end()
            }
        };
        self.max.store(max, Ordering::SeqCst);
        !std::mem::replace(&mut held.listed, true)
    }

    /// Units that are not in a file yet.
    pub(crate) fn unwritten(&self) -> i64 {
        let held = self.held.lock();
        held.end() - held.written
    }

    /// Sets everything to a queue that ends there with all its units in files. Only while nobody else uses it.
    pub(crate) fn reset(&self, end: End) {
        let mut held = self.held.lock();
        held.units = Vec::new();
        held.spans = Vec::new();
        held.start = end.index;
        held.first = end.index;
        held.written = end.index;
        held.seen = end.index;
        self.max.store(end.offset, Ordering::SeqCst);
        self.next.store(end.offset, Ordering::SeqCst);
    }

    /// Lets a queue that never held anything begin at an offset. Of batch queues, the spans say that themselves.
    pub(crate) fn begin_at(&self, offset: i64) {
        if self.is_batch() {
            return;
        }
        let mut held = self.held.lock();
        (held.first, held.start, held.written, held.seen) = (offset, offset, offset, offset);
        self.min.store(offset, Ordering::Release);
        self.max.store(offset, Ordering::SeqCst);
    }

    /// Indexes of the first unit and behind the last.
    pub(crate) fn indexes(&self) -> (i64, i64) {
        let held = self.held.lock();
        let first = held
            .bases
            .first()
            .map_or(held.first, |base| base / self.unit_bytes());
        (first, held.end())
    }

    /// The units in memory from an index on, at most `count`; `Err` with the first index in memory when `from` lies
    /// before it.
    pub(crate) fn in_memory(&self, from: i64, count: usize) -> Result<Vec<Unit>, i64> {
        let held = self.held.lock();
        let skip = usize::try_from(from - held.start).map_err(|_| held.start)?;
        Ok(held.units.iter().skip(skip).take(count).copied().collect())
    }

    /// As [`Queue::in_memory`], of a batch queue.
    pub(crate) fn in_memory_batch(&self, from: i64, count: usize) -> Result<Vec<(Unit, Span)>, i64> {
        let held = self.held.lock();
        let skip = usize::try_from(from - held.start).map_err(|_| held.start)?;
        let units = held.units.iter().zip(&held.spans).skip(skip).take(count);
        Ok(units.map(|(unit, span)| (*unit, *span)).collect())
    }

    /// Index of the first unit of a batch queue of which `is_behind` is false, if that is known without its files.
    pub(crate) fn held_index(&self, is_behind: impl Fn(&Span) -> bool) -> Option<i64> {
        let held = self.held.lock();
        let skip = held.spans.partition_point(is_behind);
        (skip > 0).then_some(held.start + skip as i64)
    }

    /// Lets go of units that are in the files, as one of so many queues. Returns whether the queue stays on the list of the
    /// tidy thread.
    pub(crate) fn let_go(&self, queues: usize) -> bool {
        let share = (KEPT_UNITS_OF_ALL / queues.max(1)).min(KEPT_UNITS);
        // A few are not worth their room.
        let kept = if share < KEPT_UNITS_MIN { 0 } else { share };
        let mut held = self.held.lock();
        let in_files = (held.written - held.start) as usize;
        let is_idle = held.written == held.seen;
        held.seen = held.written;
        let drop = if is_idle {
            in_files
        } else {
            in_files.saturating_sub(kept)
        };
        held.units.drain(..drop);
        if self.is_batch() {
            held.spans.drain(..drop);
        }
        held.start += drop as i64;
        if held.units.is_empty() || held.units.capacity() > 4 * held.units.len().max(kept) {
            held.units.shrink_to_fit();
            held.spans.shrink_to_fit();
        }
        held.listed = !held.units.is_empty();
        held.listed
    }
}

struct Waiter<'a>(&'a AtomicU32);

impl<'a> Waiter<'a> {
    fn count(waiting: &'a AtomicU32) -> Waiter<'a> {
        waiting.fetch_add(1, Ordering::SeqCst);
        Waiter(waiting)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
