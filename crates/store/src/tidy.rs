// SPDX-License-Identifier: Apache-2.0
//! Everything that can wait a second: writing queue units and index entries to their files, checkpoints, the next log
//! file, removing old files. Runs on the thread `store-tidy`, or wherever somebody pumps [`Store::turn_tidy`].
//!
//! A whole checkpoint makes everything durable and tells the reference too. Most of what it costs is the slots of the index,
//! which change all over a file of 20 MB; so between two of them come short ones, which leave those to a recovery.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::checkpoint::{Checkpoint, Safe, Times};
use crate::config::{FlushMode, QueueLayout};
use crate::disk::is_sync_failure;
use crate::queue::Queue;
use crate::queue_files::Unsynced;
use crate::queues::Doomed;
use crate::reached::Reached;
use crate::retain::{Usage, decide, full_above, local_hour};
use crate::runs::Runs;
use crate::store::Store;

/// The first cleaning comes a little after the start.
const FIRST_CLEAN: Duration = Duration::from_secs(60);
/// A short checkpoint comes later when there are more files to sync, so that a byte of log never pays for more of them.
const SHORT_FILES: i64 = 2048;
/// The tidy thread takes a rest between two turns, however fast the log grows.
const REST_MIN: Duration = Duration::from_millis(20);
/// While the disk is full, somebody looks at least so often whether there is room again.
const FULL_LOOK: Duration = Duration::from_secs(1);
/// How many cleanings an explicit request is good for.
const MANUAL_RUNS: u32 = 20;

/// How much a checkpoint makes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything.
    Whole,
    /// What recovery would have to read the log for. The reference's part of the checkpoint stays: it knows nothing of entries
    /// of the index that are in no slot, and would not enter them.
    Short,
}

#[derive(Debug)]
pub(crate) struct Tidy {
    pub(crate) unsynced: Unsynced,
    checkpoint: Checkpoint,
    reached: Reached,
    pub(crate) times: Times,
    /// Position of the last checkpoint.
    checkpoint_pos: i64,
    /// That of the last whole one.
    whole_pos: i64,
    /// Files of queues that the last one had to sync.
    synced_files: usize,
    wrote: Instant,
    /// When the last whole one was due.
    checkpointed: Instant,
    /// Whether the last one that was due has to wait for something.
    is_put_off: bool,
    /// When the last turn ended, and where the log ended then.
    turned: (Instant, i64),
    cleaned: Instant,
    opened: Instant,
    is_first: bool,
}

impl Tidy {
    pub(crate) fn new(
        (checkpoint, reached): (Checkpoint, Reached),
        times: Times,
        unsynced: Unsynced,
        now: Instant,
    ) -> Tidy {
        Tidy {
            unsynced,
            checkpoint,
            reached,
            times,
            checkpoint_pos: i64::MIN,
            whole_pos: i64::MIN,
            synced_files: 0,
            wrote: now,
            checkpointed: now,
            is_put_off: false,
            turned: (now, 0),
            cleaned: now,
            opened: now,
            is_first: true,
        }
    }

    /// In which layout queues are from now on. The next checkpoint says so.
    pub(crate) fn note_layout(&mut self, layout: QueueLayout) {
        self.checkpoint.note_layout(layout);
        (self.checkpoint_pos, self.whole_pos) = (i64::MIN, i64::MIN);
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
            self.note_failure("next log file", &error);
        }
        let done = self.note_bounds(&mut tidy);
        done.unwrap_or_else(|error| self.note_failure("how far the log has reached", &error));
        let done = self.finish_deletions(&mut tidy);
        done.unwrap_or_else(|error| self.note_failure("files of a deleted topic", &error));
        let is_first = std::mem::replace(&mut tidy.is_first, false);
        if now.duration_since(tidy.wrote) >= self.config.queue_flush_interval {
            tidy.wrote = now;
            let done = if self.queues.is_worth_writing(self.queue_files.runs().is_some()) {
                let upto = self.publisher.lock().upto;
                self.write_queues(&mut tidy, upto)
            } else {
                Ok(())
            };
            let done = done.and_then(|()| self.index.write_out());
            done.unwrap_or_else(|error| self.note_failure("queues", &error));
        }
        if let Some(scope) = self.checkpoint_due(&tidy, now) {
            if scope == Scope::Whole {
                tidy.checkpointed = now;
            }
            let before = tidy.checkpoint_pos;
            let done = self.checkpoint_to(&mut tidy, scope);
            let written = self.log.written.load(Ordering::Acquire);
            tidy.is_put_off = tidy.checkpoint_pos == before && before != written;
            done.unwrap_or_else(|error| self.note_failure("checkpoint", &error));
            let done = self.queue_files.runs().map_or(Ok(()), Runs::merge);
            done.unwrap_or_else(|error| self.note_failure("merging of consume queues", &error));
        }
        let is_due = self.is_cleaning_due.swap(false, Ordering::Relaxed);
        if is_first || is_due || now.duration_since(tidy.cleaned) >= self.config.clean_interval {
            tidy.cleaned = now;
            let may_remove = now.duration_since(tidy.opened) >= FIRST_CLEAN;
            let done = self.clean(&mut tidy, may_remove);
            done.unwrap_or_else(|error| self.note_failure("cleaning", &error));
        } else if self.is_disk_full.load(Ordering::Relaxed) {
            // Whoever makes room shall not have to wait for the next cleaning.
            let done = self.look_for_room().map(drop);
            done.unwrap_or_else(|error| self.note_failure("look for room", &error));
        }
    }

    fn checkpoint_due(&self, tidy: &Tidy, now: Instant) -> Option<Scope> {
        let written = self.log.written.load(Ordering::Acquire);
        let since_whole = (written - tidy.whole_pos.max(0)).unsigned_abs();
        if tidy.checkpoint_pos == i64::MIN
            || now.duration_since(tidy.checkpointed) >= self.config.checkpoint_interval
            || since_whole >= self.config.checkpoint_bytes
        {
            return Some(Scope::Whole);
        }
        (written - tidy.checkpoint_pos >= self.short_distance(tidy)).then_some(Scope::Short)
    }

    /// Bytes of log after which a short checkpoint is worth what it costs.
    fn short_distance(&self, tidy: &Tidy) -> i64 {
        if self.queue_files.runs().is_some() {
            // Each would write a run of its own, which has to be merged with others.
            return i64::MAX;
        }
        let least = i64::try_from(self.config.short_checkpoint_bytes).unwrap_or(i64::MAX);
        let files = tidy.unsynced.len().max(tidy.synced_files);
        let files = files.max(self.queues.listed()) as i64;
        least.max(least.saturating_mul(files) / SHORT_FILES)
    }

    /// Until when the tidy thread can rest: where the log grows fast, until the next checkpoint is about to be due.
    pub(crate) fn tidy_rest(&self) -> Duration {
        let mut most = self.config.queue_flush_interval;
        if self.is_disk_full.load(Ordering::Relaxed) {
            most = most.min(FULL_LOOK);
        }
        let mut tidy = self.tidy.lock();
        let (now, written) = (self.env.clock.instant(), self.log.written.load(Ordering::Acquire));
        let (before, from) = std::mem::replace(&mut tidy.turned, (now, written));
        let left = self.short_distance(&tidy) - (written - tidy.checkpoint_pos.max(0));
        let whole = i64::try_from(self.config.checkpoint_bytes).unwrap_or(i64::MAX);
        let left = left.min(whole - (written - tidy.whole_pos.max(0)));
        let (grown, took) = (written - from, now.duration_since(before));
        if grown <= 0 || from == 0 || tidy.is_put_off {
            return most;
        }
        let rest = took.mul_f64(left.max(0) as f64 / grown as f64);
        rest.max(REST_MIN).min(most)
    }

    /// What could not be done is tried again later, but not a sync: that is the end.
    pub(crate) fn note_failure(&self, what: &str, error: &io::Error) {
        if is_sync_failure(error) {
            self.fail(what, error);
        } else {
            let root = self.config.root.display();
            tracing::warn!(what, file = %root, %error, "tidying failed; trying again");
        }
    }

    /// Writes the units of all queues that have new ones, at least those from records in front of a position.
    pub(crate) fn write_queues(&self, tidy: &mut Tidy, upto: i64) -> io::Result<()> {
        let done = match self.queue_files.runs() {
            Some(runs) => self.write_run(runs, upto, tidy),
            None => self.write_listed(tidy),
        };
        self.queues.recount();
        done
    }

    fn write_run(&self, runs: &Runs, upto: i64, tidy: &mut Tidy) -> io::Result<()> {
        let mut listed = self.queues.take_listed();
        listed.retain(|queue| !queue.is_deleted());
        let done = runs.flush(&listed, upto);
        self.queues.let_go(listed);
        if done?.is_some() {
            tidy.unsynced.add_dir(runs.dir().to_path_buf());
        }
        Ok(())
    }

    fn write_listed(&self, tidy: &mut Tidy) -> io::Result<()> {
        let mut listed = self.queues.take_listed().into_iter();
        let count = listed.len();
        while let Some(queue) = listed.next() {
            if queue.is_deleted() {
                continue;
            }
            if self.queues.is_doomed(queue.topic()) {
                // A new queue whose directory still holds the files of a deleted one.
                self.queues.list(&queue);
                continue;
            }
            match self.queue_files.write_out(&queue, &mut tidy.unsynced) {
                Ok(units) => self.queues.add_unwritten(-units),
                Err(error) => {
                    self.queues.list(&queue);
                    listed.for_each(|queue| self.queues.list(&queue));
                    return Err(error);
                }
            }
            if queue.let_go(count) {
                self.queues.list(&queue);
            }
        }
        Ok(())
    }

    /// Makes everything published so far durable, derived files included, and notes that.
    pub(crate) fn checkpoint(&self, tidy: &mut Tidy) -> io::Result<()> {
        self.checkpoint_to(tidy, Scope::Whole)
    }

    fn checkpoint_to(&self, tidy: &mut Tidy, scope: Scope) -> io::Result<()> {
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
        // While files of a deleted topic are there not all queues can be written, and a recovery has to find the new
        // messages of a topic of that name. The deletion ends with a checkpoint of its own.
        let done = match scope {
            Scope::Whole => tidy.whole_pos,
            Scope::Short => tidy.checkpoint_pos,
        };
        // Where nothing was stored since the last one, a deletion may be all there is to make durable.
        let has_deletions =
            !tidy.unsynced.is_empty() || self.queue_files.runs().is_some_and(Runs::has_deletions);
        let is_done = pos == done && !has_deletions;
        if is_done || self.queues.is_any_doomed() {
            return Ok(());
        }
        if let Err(error) = self.write_queues(tidy, pos) {
            // What was written shall not pile up until everything can be.
            tidy.unsynced.sync(&*self.env.disk)?;
            return Err(error);
        }
        let index = match scope {
            Scope::Whole => {
                // What cannot be copied keeps its files of the log.
                let _copied = self.copy_compacted()?;
                self.index.flush()?
            }
            Scope::Short => self.index.flush_entries()?,
        };
        // Last of all, so that no unit and no entry points to something less durable than itself.
        self.flush_log()?;
        tidy.synced_files = tidy.unsynced.len();
        tidy.unsynced.sync(&*self.env.disk)?;
        let safe = Safe {
            pos,
            last,
            index: index.mark,
            slots: index.slots,
            queues,
            units,
        };
        if scope == Scope::Whole {
            tidy.times.log_ms = stored_at;
            tidy.times.queues_ms = stored_at;
        }
        if scope == Scope::Whole && index.is_whole && self.index.is_enabled() {
            tidy.times.index_ms = self.index.end_at();
        }
        let times = tidy.times;
        tidy.checkpoint.write(&times, &safe)?;
        tidy.checkpoint_pos = pos;
        if let Some(runs) = self.queue_files.runs() {
            runs.note_durable(pos);
        }
        if scope == Scope::Whole {
            tidy.whole_pos = pos;
        }
        Ok(())
    }

    /// How full the fullest of the disks is, in percent, and how many bytes have to become free for it not to count as full.
    fn fullest(&self) -> io::Result<(u64, u64)> {
        let (mut used_percent, mut missing) = (0, 0);
        for dir in self.config.commit_log_dirs.iter().chain([&self.config.root]) {
            match self.env.disk.space(dir) {
                Ok(space) => {
                    used_percent = used_percent.max(space.used_percent());
                    missing = missing.max(space.missing_for(full_above(&self.config)));
                }
                // It comes with the first message.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok((used_percent, missing))
    }

    /// Decides whether the disk is full: messages are refused from then on, until it is not. Returns how full it is, in percent.
    fn look_for_room(&self) -> io::Result<u64> {
        let (used_percent, missing) = self.fullest()?;
        let is_full = used_percent > full_above(&self.config);
        let missing = if is_full { missing.max(1) } else { 0 };
        self.missing_bytes.store(missing, Ordering::Relaxed);
        if is_full != self.is_disk_full.swap(is_full, Ordering::Relaxed) {
            let dirs = &self.config.commit_log_dirs;
            if is_full {
                tracing::warn!(file = ?dirs, used_percent, bytes = missing, "the disk is too full: messages are refused until so many bytes are free; make room");
            } else {
                tracing::warn!(file = ?dirs, used_percent, "the disk has room again: messages are taken");
            }
        }
        Ok(used_percent)
    }

    /// Notes that a write of so many bytes found no room, if that is why it failed.
    pub(crate) fn note_no_room(&self, error: &io::Error, bytes: usize) {
        let kinds = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ];
        if !kinds.contains(&error.kind()) {
            return;
        }
        // A quota leaves the disk with room: then only these messages are refused, and the next ones are tried.
        if let Err(error) = self.look_for_room() {
            self.note_failure("look for room", &error);
        }
        self.missing_bytes.fetch_max(bytes as u64, Ordering::Relaxed);
        if self.is_disk_full.load(Ordering::Relaxed) {
            self.is_cleaning_due.store(true, Ordering::Relaxed);
            self.tidy_bell.ring();
        }
    }

    /// Removes what is too old, or more when the disk fills up, and decides whether the disk is full.
    fn clean(&self, tidy: &mut Tidy, may_remove: bool) -> io::Result<()> {
        let used_percent = self.look_for_room()?;
        let now_ms = self.env.clock.now_ms();
        let mut modified_ms = Vec::new();
        // The next file may be there already: the last one that counts is the one being written.
        let active = self.log.base_of(self.log.written.load(Ordering::Acquire));
        let segments = self.log.segments().into_iter();
        for segment in segments.filter(|segment| segment.base <= active) {
            let found = self.env.disk.entry(&segment.path)?;
            modified_ms.push(found.map_or(now_ms, |found| found.modified_ms));
        }
        let manual = self.manual_cleanings.load(Ordering::Relaxed);
        let remove = decide(
            &self.config,
            &Usage {
                modified_ms: &modified_ms,
                now_ms,
                hour: local_hour(now_ms, self.env.clock.utc_offset_secs()),
                used_percent,
                is_manual: manual > 0,
            },
        );
        if !may_remove {
            return Ok(());
        }
        self.manual_cleanings
            .store(manual.saturating_sub(1), Ordering::Relaxed);
        let copied = if remove > 0 {
            self.copy_compacted()?
        } else {
            i64::MAX
        };
        let (removed, done) = self.remove_files(remove, copied);
        if removed > 0 {
            tracing::info!(files = removed, min = self.log.min(), "old log files removed");
            // What is gone is gone, whether that can be noted or not.
            let noted = self.note_bounds(tidy);
            noted.unwrap_or_else(|error| self.note_failure("how far the log has reached", &error));
            self.after_removal(tidy)?;
        }
        done
    }

    fn note_bounds(&self, tidy: &mut Tidy) -> io::Result<()> {
        let durable = self.log.durable.load(Ordering::Acquire);
        tidy.reached.note(&*self.env.disk, (self.log.min(), durable))
    }

    /// Removes the oldest files of the log, as far as they lie in front of a position. Returns how many went, whatever
    /// happened to the next one.
    fn remove_files(&self, count: usize, before: i64) -> (usize, io::Result<()>) {
        for removed in 0..count {
            let end = self.log.min().saturating_add(self.log.segment_bytes());
            if self.log.base_of(end) > before {
                tracing::warn!(
                    pos = before,
                    "old files of the log stay until their messages of compacted topics are copied"
                );
                return (removed, Ok(()));
            }
            match self.log.remove_first() {
                Ok(true) => {}
                Ok(false) => return (removed, Ok(())),
                Err(error) => return (removed, Err(error)),
            }
        }
        (count, Ok(()))
    }

    /// Lets queues and index follow the start of the log.
    fn after_removal(&self, tidy: &mut Tidy) -> io::Result<()> {
        let min = self.log.min();
        if let Some(runs) = self.queue_files.runs() {
            self.checkpoint(tidy)?;
            runs.trim(min, &self.queues)?;
        }
        for queue in self.queues.all() {
            self.queue_files.correct_min(&queue, min)?;
            self.queue_files.remove_expired(&queue, min, &mut tidy.unsynced)?;
        }
        self.index.remove_expired(min)?;
        Ok(())
    }

    /// Removes at once what queues and index hold of messages in front of the log. Waits for the disk.
    pub fn clean_queues(&self) -> io::Result<()> {
        let done = self.after_removal(&mut self.tidy.lock());
        done.inspect_err(|error| self.note_failure("cleaning of queues", error))
    }

    /// Removes expired log files at the next cleanings, whatever the hour.
    pub fn clean_soon(&self) {
        self.manual_cleanings.store(MANUAL_RUNS, Ordering::Relaxed);
    }

    /// Removes the queues of a topic; its messages stay in the log until that is cleaned. Waits for the disk. After an
    /// error the topic is gone all the same, and its files are tried again by the tidy thread.
    pub fn delete_topic(&self, topic: &str) -> io::Result<()> {
        let _one = self.queues.deleting.lock();
        if self.queues.of_topic(topic).is_empty() && !self.compaction.has(topic)? {
            return Ok(());
        }
        // Before the wait for the tidy thread, which may be long: producers learn of it at once.
        self.detach(topic);
        let mut tidy = self.tidy.lock();
        self.finish_deletions(&mut tidy)?;
        // From here on recovery does not see the old messages, so it cannot bring the topic back.
        let done = self.drain_published().and_then(|()| self.checkpoint(&mut tidy));
        done.inspect_err(|error| self.note_failure("checkpoint", error))
    }

    /// Takes note that a topic was made or changed. There may be queues of it from before, when nobody could say how they
    /// are to be kept: of messages that fell due after the topic was deleted. Waits for the disk.
    pub fn note_topic(&self, topic: &str) -> io::Result<()> {
        if self.queues.is_misfit(topic) {
            tracing::warn!(
                topic,
                "plain queues from before a topic of batch queues was made are removed"
            );
            return self.delete_topic(topic);
        }
        self.queues.note_compacted(topic);
        Ok(())
    }

    /// Takes the queues of a topic out of the table and forgets them. A new one of the same name is not written to its
    /// files until the old files are gone.
    pub(crate) fn detach(&self, topic: &str) {
        let removed = {
            // Under the lock of the tail: no append finds the queue alive and is published later.
            let _tail = self.tail.lock();
            let removed = self.queues.doom(topic);
            for queue in &removed {
                queue.deleted.store(true, Ordering::Release);
            }
            removed
        };
        self.forget_units(&removed);
    }

    /// As [`Store::detach`], of one queue.
    pub(crate) fn detach_queue(&self, queue: &Arc<Queue>) {
        {
            let _tail = self.tail.lock();
            self.queues.doom_queue(queue);
            queue.deleted.store(true, Ordering::Release);
        }
        self.forget_units(std::slice::from_ref(queue));
    }

    fn forget_units(&self, removed: &[Arc<Queue>]) {
        let mut publisher = self.publisher.lock();
        for queue in removed {
            publisher.queues -= i64::from(queue.max() > 0);
            publisher.units = publisher.units.wrapping_sub(queue.max());
            self.queues.add_unwritten(-queue.unwritten());
        }
    }

    /// Removes the files of deleted topics.
    pub(crate) fn finish_deletions(&self, tidy: &mut Tidy) -> io::Result<()> {
        while let Some(doomed) = self.queues.first_doomed() {
            self.remove_queues(&doomed, tidy)?;
            self.queues.spare_first();
            tidy.checkpoint_pos = i64::MIN;
            tidy.whole_pos = i64::MIN;
        }
        Ok(())
    }

    /// Removes the files of detached queues. First the copies, while the queue still tells a recovery that the topic
    /// has begun anew.
    fn remove_queues(&self, doomed: &Doomed, tidy: &mut Tidy) -> io::Result<()> {
        let Doomed { topic, only, removed } = doomed;
        for queue in removed {
            self.queue_files.close(queue);
            if let Some(runs) = self.queue_files.runs() {
                runs.forget(queue);
            }
            tidy.unsynced.forget(queue);
            queue.wake();
        }
        self.compaction.remove(doomed)?;
        // They are all of one kind, but a topic of that name may have been of the other.
        for root in self.queue_files.roots() {
            let (above, dir) = match only {
                None => (root.to_path_buf(), root.join(&**topic)),
                Some(id) => (root.join(&**topic), root.join(&**topic).join(id.to_string())),
            };
            tidy.unsynced.forget_dirs(&dir);
            if self.env.disk.entry(&dir)?.is_some() {
                self.env.disk.remove_tree(&dir)?;
                tidy.unsynced.add_dir(above);
            }
        }
        Ok(())
    }

    /// Publishes everything appended so far.
    fn drain_published(&self) -> io::Result<()> {
        self.drain();
        self.flush_log()?;
        // Under sync flushing nothing may be seen before it is durable; more may have been written meanwhile.
        let end = match self.config.flush {
            FlushMode::Async => &self.log.written,
            FlushMode::Sync => &self.log.durable,
        };
        self.publish(end.load(Ordering::Acquire));
        Ok(())
    }
}
