// SPDX-License-Identifier: Apache-2.0
//! Writing: whoever gets the writer lock writes for everybody, one write per run of adjacent records. Then publishing:
//! messages become visible in their queues, in log order, when they are written (async) or durable (sync).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use tokio::sync::futures::OwnedNotified;

use crate::config::FlushMode;
use crate::disk::is_sync_failure;
use crate::draft::{AppendError, Gate, GateState, Level, LogPos};
use crate::index::file::Put;
use crate::queue::{Queue, Unit};
use crate::queue_batch::Span;
use crate::recover::{GAP_MAX, Recovered};
use crate::store::Store;
use crate::tail::{Pending, Staged, take_staged_here};

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// A thread that has something else to do, such as serving connections.
    Caller,
    /// A thread of the store.
    Store,
}

/// Batches one caller writes for the others.
const BATCHES_AT_ONCE: usize = 8;

/// Who waits to be written shall not wait for longer than about this.
const PATIENCE: Duration = Duration::from_millis(50);
/// Bytes that may wait to be written however slow that is.
const WAITING_MIN: usize = 2 << 20;

/// A write of fewer bytes is not timed: where nothing has piled up nobody waits.
const TELLING_BYTES: usize = WAITING_MIN / 8;

/// A disk that was slow counts as slow for so long, unless a timed write says something else.
const SLOW_FOR: Duration = Duration::from_secs(5);

/// What the last writes say of the disk.
#[derive(Debug, Default)]
struct Pace {
    /// Until when the disk counts as slow: less than all that may wait was written in time, when a write was timed last.
    slow_until: Option<Instant>,
}

impl Pace {
    /// How many bytes may wait to be written, after so many were before and a write of some took so long, if it was timed: what is
    /// written in [`PATIENCE`], and `most` where the system only takes them into its memory. When that is full writes are as slow
    /// as the disk, and stand still now and then; what is not timed does not say so soon that this is over.
    fn waiting_max(
        &mut self,
        before: usize,
        wrote: Option<(usize, Duration)>,
        most: usize,
        now: Instant,
    ) -> usize {
        if let Some((bytes, took)) = wrote {
            let turns = PATIENCE.as_secs_f64() / took.max(Duration::from_micros(1)).as_secs_f64();
            let fits = (bytes as f64 * turns) as usize;
            self.slow_until = (fits < most).then(|| now + SLOW_FOR);
            if took > PATIENCE {
                // Who came meanwhile has waited for too long already.
                return fits.min(before).clamp(WAITING_MIN.min(most), most);
            }
            if self.slow_until.is_some() {
                return (before / 4 * 3 + fits / 4).clamp(WAITING_MIN.min(most), most);
            }
        }
        let is_slow = self.slow_until.is_some_and(|until| now < until);
        let next = if is_slow { before } else { before + before / 16 };
        next.clamp(WAITING_MIN.min(most), most)
    }
}

/// What the holder of the writer lock knows.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Bytes of a failed write may lie in the log up to here.
    dirty_end: i64,
    /// Buffers to give back.
    done: Pending,
    pace: Pace,
}

/// What is written and not visible yet, and how far visibility got.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    waiting: VecDeque<Staged>,
    hashes: VecDeque<u32>,
    puts: Vec<Put>,
    /// Everything below is in its queue and in the index's hands. The end of a record, unless there is none.
    pub(crate) upto: i64,
    /// Position of the last record below; -1 for none.
    pub(crate) last: i64,
    pub(crate) last_stored_at: i64,
    /// Queues that hold a message or did, and the sum of their ends: lets recovery notice that one was lost.
    pub(crate) queues: i64,
    pub(crate) units: i64,
}

impl Publisher {
    pub(crate) fn new(found: &Recovered) -> Publisher {
        Publisher {
            upto: found.last_end,
            last: found.last,
            last_stored_at: found.last_stored_at,
            queues: found.queues,
            units: found.units,
            ..Publisher::default()
        }
    }

    /// Where the newest record begins that is written, and where it ends.
    pub(crate) fn newest(&self) -> Option<(i64, i64)> {
        let staged = self.waiting.back().map(|staged| (staged.unit.pos, staged.end()));
        staged.or_else(|| (self.last >= 0).then_some((self.last, self.upto)))
    }
}

impl Store {
    /// Writes everything that is pending, unless somebody else is at it, who then writes it too. Cheap when there is
    /// nothing to do; to be called once after a group of appends.
    pub fn drive(&self) {
        if self.write_all(Writes::Caller) && !crate::seeded!("lost-wake-up") {
            self.flush_bell.ring();
        }
    }

    /// Whether this thread has appended anything since it was last asked, which somebody has to drive then. Whoever has not
    /// had better leave the records of others to them: a disk that hangs would keep it, too.
    #[must_use]
    pub fn has_staged_here(&self) -> bool {
        take_staged_here()
    }

    /// The same on a thread of the store, which may wait for the disk.
    pub(crate) fn drive_as_store(&self) {
        if self.write_all(Writes::Store) && !crate::seeded!("lost-wake-up") {
            self.flush_bell.ring();
        }
    }

    /// As [`Store::drive`], for callers that can see to a sync themselves. Returns whether one has to call
    /// [`Store::sync_soon`]; where that would be no gain, the thread of the store has been woken instead.
    #[must_use]
    pub fn drive_to_sync(&self) -> bool {
        if !self.write_all(Writes::Caller) {
            return false;
        }
        let is_for_caller = self.is_sync_for_caller() && !crate::seeded!("lost-wake-up");
        if !is_for_caller && !crate::seeded!("lost-wake-up") {
            self.flush_bell.ring();
        }
        is_for_caller
    }

    /// Writes everything that is pending, unless somebody else is at it, who writes it then. Returns whether it wrote what
    /// somebody wants to have on the disk.
    ///
    /// What others append meanwhile is left to them until they come here too: a write for each of their records would cost
    /// more than one for all of them.
    fn write_all(&self, who: Writes) -> bool {
        if self.tail.lock().pending.is_empty() {
            return false;
        }
        let mut is_urgent = false;
        let write = |writer: &mut MutexGuard<'_, Writer>| is_urgent |= self.write_pending(writer);
        let passes = || who == Writes::Caller && self.is_left_to_store();
        // Whoever called has its own work; the flusher goes on, unless it is waiting for the disk.
        let leaves = || self.flushing.try_lock().is_some();
        if self.writing.work(BATCHES_AT_ONCE, write, passes, leaves) {
            // Rung after the lock was given back, so that the flusher finds it free or held by somebody who looks again.
            self.flush_bell.ring();
        }
        is_urgent
    }

    /// Whether a caller waits for a sync. A disk that hangs then would take a second one with a write, which may be the last
    /// thread there is for connections, so the thread of the store writes. Called with the lock of the writer, on which
    /// [`Store::sync_soon`] looks after it has said that it syncs: one of the two sees the other.
    fn is_left_to_store(&self) -> bool {
        if self.config.flush == FlushMode::Async {
            return false;
        }
        fence(Ordering::SeqCst);
        self.is_caller_syncing.load(Ordering::Relaxed)
    }

    /// As [`Store::drive`], but waits for a writer that is at work.
    pub(crate) fn drain(&self) {
        while !self.tail.lock().pending.is_empty() {
            let mut writer = self.writing.worker.lock();
            if self.write_pending(&mut writer) {
                self.flush_bell.ring();
            }
        }
        drop(self.writing.worker.lock());
    }

    /// Writes what is pending. Returns whether somebody wants to have it on the disk.
    fn write_pending(&self, writer: &mut MutexGuard<'_, Writer>) -> bool {
        let done = std::mem::take(&mut writer.done);
        let mut batch = self.tail.lock().take(done);
        if batch.is_empty() {
            writer.done = batch;
            return false;
        }
        self.writing_since_ms
            .store(self.env.clock.now_ms().max(1), Ordering::Relaxed);
        let began = (batch.bytes >= TELLING_BYTES).then(|| self.env.clock.instant());
        let written = self.write_batch(writer, &batch);
        self.note_pace(writer, batch.bytes, began);
        self.writing_since_ms.store(0, Ordering::Relaxed);
        let mut is_urgent = false;
        match written {
            Ok(()) => {
                if self.missing_bytes.load(Ordering::Relaxed) != 0
                    && !self.is_disk_full.load(Ordering::Relaxed)
                {
                    self.missing_bytes.store(0, Ordering::Relaxed);
                }
                is_urgent = self.config.flush == FlushMode::Sync && batch.is_urgent;
                self.after_write(&mut batch);
            }
            Err(error) => {
                let pos = self.log.written.load(Ordering::Acquire);
                tracing::error!(pos, bytes = batch.bytes, %error, "log write failed, its messages are refused; look at the disk");
                self.note_no_room(&error, batch.bytes);
                self.after_failure(writer, &mut batch);
                self.syncs.notify_waiters();
            }
        }
        writer.done = batch;
        self.progress.notify_waiters();
        // Nobody may come again soon, and all of it is written.
        self.tail.lock().in_flight = 0;
        is_urgent
    }

    fn note_pace(&self, writer: &mut Writer, bytes: usize, began: Option<Instant>) {
        let (before, most) = (
            self.waiting_max.load(Ordering::Relaxed),
            self.config.pending_bytes_max,
        );
        if began.is_some() || before != most {
            let now = self.env.clock.instant();
            let wrote = began.map(|began| (bytes, now.duration_since(began)));
            let next = writer.pace.waiting_max(before, wrote, most, now);
            self.waiting_max.store(next, Ordering::Relaxed);
        }
    }

    fn write_batch(&self, writer: &mut Writer, batch: &Pending) -> io::Result<()> {
        if self.is_failed() {
            return Err(io::Error::other("the store has failed"));
        }
        self.heal(writer)?;
        for run in &batch.runs {
            let segment = self.log.segment_for(run.at).inspect_err(|error| {
                if error.kind() == io::ErrorKind::InvalidData || is_sync_failure(error) {
                    // The log lacks a file in the middle, and no later write can succeed; or it is not known what is
                    // on the disk.
                    self.fail("log file", error);
                }
            })?;
            writer.dirty_end = writer.dirty_end.max(run.end());
            segment
                .file
                .write_at(&run.bytes, (run.at - segment.base).unsigned_abs())?;
        }
        for run in &batch.runs {
            self.log.hot.put(run.at, &run.bytes);
        }
        Ok(())
    }

    /// Zeroes what a failed write may have left behind the end. Without it, records nobody was promised could come
    /// back to life after a crash, when the log has grown up to the start of one of them.
    fn heal(&self, writer: &mut Writer) -> io::Result<()> {
        let written = self.log.written.load(Ordering::Acquire);
        if writer.dirty_end <= written {
            return Ok(());
        }
        self.log.zero(written, writer.dirty_end)?;
        if let Err(error) = self.log.sync(written, writer.dirty_end) {
            self.fail("sync of the log", &error);
            return Err(error);
        }
        writer.dirty_end = written;
        Ok(())
    }

    fn after_write(&self, batch: &mut Pending) {
        let end = batch.end;
        {
            // Before `written` moves: a flusher that sees the new end finds the messages here.
            let mut publisher = self.publisher.lock();
            publisher.waiting.extend(batch.staged.drain(..));
            publisher.hashes.extend(batch.hashes.drain(..));
        }
        let before = self.log.written.swap(end, Ordering::AcqRel);
        match self.config.flush {
            FlushMode::Async => self.publish(end),
            // Whoever wrote sees to it.
            FlushMode::Sync if batch.is_urgent => {}
            FlushMode::Sync => self.flush_bell.ring_soon(),
        }
        // Wake the tidy thread where a segment is half full, so that the next one is ready in time.
        let half = self.log.segment_bytes() / 2;
        if before / half != end / half {
            self.tidy_bell.ring();
        }
    }

    fn after_failure(&self, writer: &mut Writer, batch: &mut Pending) {
        let written = self.log.written.load(Ordering::Acquire);
        {
            let mut tail = self.tail.lock();
            tail.take_back(batch, written);
            self.generation.store(tail.generation, Ordering::Release);
        }
        batch.staged.clear();
        batch.hashes.clear();
        if let Err(error) = self.heal(writer) {
            tracing::warn!(from = written, to = writer.dirty_end, %error, "rest of a failed write stays in the log until the next one");
        }
    }

    /// Makes everything below `limit` visible, in log order, as far as enough replicas have it.
    pub(crate) fn publish(&self, limit: i64) {
        // Whoever moves one of the two ends looks at the other one afterwards; see `Store::show`.
        fence(Ordering::SeqCst);
        let limit = limit.min(self.visible.load(Ordering::Acquire));
        let mut awaited: Vec<Arc<Queue>> = Vec::new();
        let mut publisher = self.publisher.lock();
        let publisher = &mut *publisher;
        let mut fresh = 0;
        while let Some(staged) = publisher.waiting.pop_front_if(|staged| staged.end() <= limit) {
            let pos = staged.unit.pos;
            publisher.upto = staged.end();
            publisher.last = pos;
            publisher.last_stored_at = staged.stored_at;
            let puts = publisher.hashes.drain(..staged.hashes);
            publisher.puts.extend(puts.map(|hash| Put {
                hash,
                pos,
                stored_at: staged.stored_at,
            }));
            if staged.is_queued && !staged.queue.deleted.load(Ordering::Relaxed) {
                if staged.queue_offset != staged.queue.max() && !self.align(&staged, publisher) {
                    continue;
                }
                publisher.queues += i64::from(staged.queue_offset == 0);
                fresh += 1;
                publisher.units = publisher.units.wrapping_add(staged.count.into());
                if staged.queue.push(staged.unit, staged.span()) {
                    self.queues.list(&staged.queue);
                }
                let is_last = awaited
                    .last()
                    .is_some_and(|last| Arc::ptr_eq(last, &staged.queue));
                if !is_last && staged.queue.is_awaited() {
                    awaited.push(staged.queue);
                }
            }
        }
        self.queues.add_unwritten(fresh);
        self.index.push(&mut publisher.puts);
        for queue in awaited {
            queue.wake();
        }
    }

    /// Lets a queue go on at the offset of a record that another broker gave out: a log that follows may begin in the middle,
    /// and lacks what was damaged. Returns whether the record has a place there.
    fn align(&self, staged: &Staged, publisher: &mut Publisher) -> bool {
        let (queue, offset) = (&staged.queue, staged.queue_offset);
        let max = queue.max();
        if offset < max || offset - max > GAP_MAX && max > 0 {
            tracing::warn!(
                topic = queue.topic(),
                queue = queue.id(),
                offset,
                max,
                pos = staged.unit.pos,
                "a message at an impossible offset is in no queue"
            );
            return false;
        }
        publisher.units = publisher.units.wrapping_add(offset - max);
        if max == 0 {
            publisher.queues += 1;
            queue.begin_at(offset);
            return true;
        }
        let nowhere = Span {
            stored_at: staged.stored_at,
            base: 0,
            count: 0,
        };
        if !queue.is_batch() {
            for _ in max..offset {
                if queue.push(Unit::BLANK, nowhere) {
                    self.queues.list(queue);
                }
            }
            self.queues.add_unwritten(offset - max);
        }
        true
    }

    /// Whether a record that starts here is written and not in its queue yet. When not, and it is a record, its queue has it.
    pub fn is_unpublished(&self, pos: LogPos) -> bool {
        let publisher = self.publisher.lock();
        let found = publisher
            .waiting
            .binary_search_by_key(&pos.0, |staged| staged.unit.pos);
        found.is_ok_and(|at| publisher.waiting.get(at).is_some_and(|staged| staged.is_queued))
    }

    /// A gate behind everything that was appended so far.
    pub fn tail_gate(&self) -> Gate {
        let tail = self.tail.lock();
        Gate {
            end: LogPos(tail.pos),
            generation: tail.generation,
        }
    }

    /// Where an append stands.
    pub fn state(&self, gate: &Gate, level: Level) -> GateState {
        if crate::seeded!("ack-before-write") {
            return GateState::Passed;
        }
        let mark = match level {
            _ if crate::seeded!("ack-before-sync") => self.log.written.load(Ordering::Acquire),
            Level::Written => self.log.written.load(Ordering::Acquire),
            Level::Durable => self.log.durable.load(Ordering::Acquire),
        };
        // Read after the mark: if that already counted bytes of a newer generation, this shows it.
        let is_alive = crate::seeded!("stale-gate")
            || self.generation.load(Ordering::Acquire) == gate.generation
            || self.tail.lock().was_written(gate.generation, gate.end.0);
        if !is_alive {
            return GateState::Failed;
        }
        if self.is_failed() && gate.end.0 > self.log.durable.load(Ordering::Acquire) {
            return GateState::Failed;
        }
        if gate.end.0 <= mark {
            GateState::Passed
        } else {
            GateState::Waiting
        }
    }

    /// Resolves at the next progress of the log, or failure. Take it before looking at a gate's state.
    pub fn progress(&self) -> OwnedNotified {
        self.progress_to(Level::Written)
    }

    /// As [`Store::progress`], for those who wait for this level only: a write wakes nobody who waits for the disk.
    pub fn progress_to(&self, level: Level) -> OwnedNotified {
        let progress = match level {
            Level::Written => &self.progress,
            Level::Durable => &self.syncs,
        };
        Arc::clone(progress).notified_owned()
    }

    /// Tells all who wait to look again.
    pub(crate) fn notify_all(&self) {
        self.progress.notify_waiters();
        self.syncs.notify_waiters();
    }

    /// Waits for a gate.
    pub async fn reach(&self, gate: Gate, level: Level) -> Result<(), AppendError> {
        loop {
            let progress = self.progress_to(level);
            match self.state(&gate, level) {
                GateState::Passed => return Ok(()),
                GateState::Failed => return Err(self.why_not_written()),
                GateState::Waiting => progress.await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;

    #[test]
    fn what_may_wait_is_what_is_written_in_the_time_that_senders_have() {
        const MOST: usize = 64 << 20;
        let after = |before: usize, wrote: Option<(usize, u64)>| {
            let wrote = wrote.map(|(bytes, us)| (bytes, Duration::from_micros(us)));
            let (mut pace, now) = (Pace::default(), Env::real().clock.instant());
            (0..100).fold(before, |before, _| pace.waiting_max(before, wrote, MOST, now))
        };
        assert_eq!(after(MOST, Some((1 << 20, 500))), MOST, "two gigabytes a second");
        let slow = after(MOST, Some((4 << 20, 20_000)));
        assert!((9 << 20..=10 << 20).contains(&slow), "200 MiB a second: {slow}");
        assert_eq!(
            after(MOST, Some((1 << 20, 200_000))),
            WAITING_MIN,
            "it stands still"
        );
        assert_eq!(after(WAITING_MIN, None), MOST, "nothing piles up any more");
        let small =
            Pace::default().waiting_max(1000, Some((1000, PATIENCE)), 1000, Env::real().clock.instant());
        assert_eq!(small, 1000, "a small bound holds");
    }

    #[test]
    fn small_writes_do_not_say_that_a_slow_disk_is_quick_again() {
        const MOST: usize = 64 << 20;
        let (mut pace, mut now) = (Pace::default(), Env::real().clock.instant());
        let slow = Some((1 << 20, Duration::from_millis(200)));
        let max = pace.waiting_max(MOST, slow, MOST, now);
        assert_eq!(max, WAITING_MIN, "at once");
        let idle = (0..1000).fold(max, |max, _| pace.waiting_max(max, None, MOST, now));
        assert_eq!(idle, WAITING_MIN);
        let saturated = Some((256 << 10, Duration::from_millis(30)));
        let max = pace.waiting_max(idle, saturated, MOST, now);
        let idle = (0..1000).fold(max, |max, _| pace.waiting_max(max, None, MOST, now));
        assert_eq!(idle, WAITING_MIN, "no slower than senders may wait, but slow");
        let quick = Some((1 << 20, Duration::from_micros(500)));
        let max = pace.waiting_max(idle, quick, MOST, now);
        let idle = (0..100).fold(max, |max, _| pace.waiting_max(max, None, MOST, now));
        assert_eq!(idle, MOST, "quick again");
        let max = pace.waiting_max(idle, slow, MOST, now);
        now += SLOW_FOR;
        let idle = (0..100).fold(max, |max, _| pace.waiting_max(max, None, MOST, now));
        assert_eq!(idle, MOST, "long ago");
    }
}
