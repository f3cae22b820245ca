// SPDX-License-Identifier: Apache-2.0
//! Everything that can wait a second: writing queue units and index entries to their files, checkpoints, the next log
//! file, removing old files. Runs on the thread `store-tidy`, or wherever somebody pumps [`Store::turn_tidy`].

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::checkpoint::{Checkpoint, Safe, Times};
use crate::disk::is_sync_failure;
use crate::queue_files::Unsynced;
use crate::retain::{Usage, decide, local_hour};
use crate::store::Store;

/// The first cleaning comes a little after the start.
const FIRST_CLEAN: Duration = Duration::from_secs(60);
/// How many cleanings an explicit request is good for.
const MANUAL_RUNS: u32 = 20;

#[derive(Debug)]
pub(crate) struct Tidy {
    pub(crate) unsynced: Unsynced,
    checkpoint: Checkpoint,
    pub(crate) times: Times,
    /// Position of the last checkpoint.
    checkpoint_pos: i64,
    wrote: Instant,
    checkpointed: Instant,
    cleaned: Instant,
    opened: Instant,
    is_first: bool,
}

impl Tidy {
    pub(crate) fn new(checkpoint: Checkpoint, times: Times, unsynced: Unsynced, now: Instant) -> Tidy {
        Tidy {
            unsynced,
            checkpoint,
            times,
            checkpoint_pos: i64::MIN,
            wrote: now,
            checkpointed: now,
            cleaned: now,
            opened: now,
            is_first: true,
        }
    }
}

impl Store {
    /// One turn of the tidy thread: does what is due.
    pub fn turn_tidy(&self) {
        if self.is_failed() {
            return;
        }
        let now = self.env.clock.instant();
        let mut tidy = self.tidy.lock();
        if let Err(error) = self.log.prepare_next() {
            tracing::warn!(%error, "next log file cannot be made yet");
        }
        let is_first = std::mem::replace(&mut tidy.is_first, false);
        if now.duration_since(tidy.wrote) >= self.config.queue_flush_interval {
            tidy.wrote = now;
            let done = self.write_queues(&mut tidy).and_then(|()| self.index.write_out());
            self.note_failure("queues", done);
        }
        let grown = self.log.written.load(Ordering::Acquire) - tidy.checkpoint_pos.max(0);
        if tidy.checkpoint_pos == i64::MIN
            || now.duration_since(tidy.checkpointed) >= self.config.checkpoint_interval
            || grown.unsigned_abs() >= self.config.checkpoint_bytes
        {
            tidy.checkpointed = now;
            let done = self.checkpoint(&mut tidy);
            self.note_failure("checkpoint", done);
        }
        if is_first || now.duration_since(tidy.cleaned) >= self.config.clean_interval {
            tidy.cleaned = now;
            let may_remove = now.duration_since(tidy.opened) >= FIRST_CLEAN;
            let done = self.clean(&mut tidy, may_remove);
            self.note_failure("cleaning", done);
        }
    }

    fn note_failure(&self, what: &str, done: io::Result<()>) {
        match done {
            Ok(()) => {}
            Err(error) if is_sync_failure(&error) => self.fail(what, &error),
            Err(error) => tracing::warn!(%error, what, "tidying failed, tried again later"),
        }
    }

    /// Writes the units of all queues that have new ones.
    pub(crate) fn write_queues(&self, tidy: &mut Tidy) -> io::Result<()> {
        let mut listed = self.queues.take_listed().into_iter();
        while let Some(queue) = listed.next() {
            if queue.deleted.load(Ordering::Acquire) {
                continue;
            }
            if let Err(error) = self.queue_files.write_out(&queue, &mut tidy.unsynced) {
                self.queues.list(&queue);
                listed.for_each(|queue| self.queues.list(&queue));
                return Err(error);
            }
            if queue.let_go() {
                self.queues.list(&queue);
            }
        }
        Ok(())
    }

    /// Makes everything published so far durable, derived files included, and notes that.
    pub(crate) fn checkpoint(&self, tidy: &mut Tidy) -> io::Result<()> {
        let (pos, last, stored_at, queues, units) = {
            let publisher = self.publisher.lock();
            (
                publisher.upto,
                publisher.last,
                publisher.last_stored_at,
                publisher.queues,
                publisher.units,
            )
        };
        if pos == tidy.checkpoint_pos {
            return Ok(());
        }
        self.write_queues(tidy)?;
        let index = self.index.flush()?;
        // Last of all, so that no unit and no entry points to something less durable than itself.
        self.flush_log()?;
        tidy.unsynced.sync(&*self.env.disk)?;
        let safe = Safe {
            pos,
            last,
            index,
            queues,
            units,
        };
        tidy.times.log_ms = stored_at;
        tidy.times.queues_ms = stored_at;
        if self.index.is_enabled() {
            tidy.times.index_ms = self.index.end_at();
        }
        let times = tidy.times;
        tidy.checkpoint.write(&times, &safe)?;
        tidy.checkpoint_pos = pos;
        Ok(())
    }

    /// Removes what is too old, or more when the disk fills up, and decides whether the disk is full.
    fn clean(&self, tidy: &mut Tidy, may_remove: bool) -> io::Result<()> {
        let mut used_percent = 0;
        for dir in &self.config.commit_log_dirs {
            used_percent = used_percent.max(self.env.disk.space(dir)?.used_percent());
        }
        let now_ms = self.env.clock.now_ms();
        let mut modified_ms = Vec::new();
        for segment in self.log.segments() {
            let found = self.env.disk.entry(&segment.path)?;
            modified_ms.push(found.map_or(now_ms, |found| found.modified_ms));
        }
        let manual = self.manual_cleanings.load(Ordering::Relaxed);
        let verdict = decide(
            &self.config,
            &Usage {
                modified_ms: &modified_ms,
                now_ms,
                hour: local_hour(now_ms, self.env.clock.utc_offset_secs()),
                used_percent,
                is_manual: manual > 0,
            },
        );
        if verdict.is_full != self.is_disk_full.swap(verdict.is_full, Ordering::Relaxed) {
            tracing::warn!(
                used_percent,
                full = verdict.is_full,
                "disk usage crossed the warning level"
            );
        }
        if !may_remove {
            return Ok(());
        }
        self.manual_cleanings
            .store(manual.saturating_sub(1), Ordering::Relaxed);
        let mut removed = 0;
        while removed < verdict.remove && self.log.remove_first()? {
            removed += 1;
        }
        if removed > 0 {
            tracing::info!(files = removed, min = self.log.min(), "old log files removed");
            self.after_removal(tidy)?;
        }
        Ok(())
    }

    /// Lets queues and index follow the start of the log.
    fn after_removal(&self, tidy: &mut Tidy) -> io::Result<()> {
        let min = self.log.min();
        for queue in self.queues.all() {
            self.queue_files.correct_min(&queue, min)?;
            self.queue_files.remove_expired(&queue, min, &mut tidy.unsynced)?;
        }
        self.index.remove_expired(min)?;
        Ok(())
    }

    /// Removes expired log files at the next cleanings, whatever the hour.
    pub fn clean_soon(&self) {
        self.manual_cleanings.store(MANUAL_RUNS, Ordering::Relaxed);
    }

    /// Removes the queues of a topic; its messages stay in the log until that is cleaned. Waits for the disk.
    pub fn delete_topic(&self, topic: &str) -> io::Result<()> {
        let mut tidy = self.tidy.lock();
        let removed = {
            // Under the lock of the tail: no append finds the queue alive and is published later.
            let _tail = self.tail.lock();
            let removed = self.queues.remove_topic(topic);
            removed
                .iter()
                .for_each(|queue| queue.deleted.store(true, Ordering::Release));
            removed
        };
        if removed.is_empty() {
            return Ok(());
        }
        {
            let mut publisher = self.publisher.lock();
            for queue in &removed {
                publisher.queues -= i64::from(queue.max() > 0);
                publisher.units -= queue.max();
            }
        }
        for queue in &removed {
            self.queue_files.close(queue);
            tidy.unsynced.forget(queue);
            queue.wake();
        }
        let dir = self.queue_files.root().join(topic);
        tidy.unsynced.forget_dirs(&dir);
        self.env.disk.remove_tree(&dir)?;
        tidy.unsynced.add_dir(self.queue_files.root().to_path_buf());
        // From here on recovery does not see the old messages, so it cannot bring the topic back.
        tidy.checkpoint_pos = i64::MIN;
        let done = self.drain_published().and_then(|()| self.checkpoint(&mut tidy));
        if let Err(error) = &done
            && is_sync_failure(error)
        {
            self.fail("checkpoint", error);
        }
        done
    }

    /// Publishes everything appended so far.
    fn drain_published(&self) -> io::Result<()> {
        self.drain();
        self.flush_log()?;
        self.publish(self.log.written.load(Ordering::Acquire));
        Ok(())
    }
}
