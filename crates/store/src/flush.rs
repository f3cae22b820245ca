// SPDX-License-Identifier: Apache-2.0
//! Making the log durable, in groups: one sync for everything written since the last one. Runs on the thread
//! `store-flush`, wherever somebody pumps [`Store::turn_flush`], or where a lone sender would have to wait for that thread to be
//! woken ([`Store::sync_soon`]).

use std::io;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use crate::config::FlushMode;
use crate::store::Store;

/// Syncs that take so long on average are left to the thread of the store.
const QUICK: Duration = Duration::from_micros(250);
/// Syncs that the average is taken over.
const AVERAGED: u32 = 8;

/// Who waits for the disk shall not wait for longer than about this.
const PATIENCE: Duration = Duration::from_millis(150);
/// Bytes that may wait for the disk however slow it is, and however fast.
const UNSYNCED_MIN: i64 = 4 << 20;
const UNSYNCED_MOST: i64 = 1 << 30;
/// A sync of fewer bytes says how long the disk takes to answer, not how much it writes.
const TELLING_BYTES: i64 = 1 << 20;
/// What may wait before anything is known of it.
pub(crate) const UNSYNCED_FIRST: i64 = 64 << 20;

/// How many bytes may wait for the disk, after so many were before and a sync of `bytes` took so long: what it does in
/// [`PATIENCE`]. Messages beyond are refused: each sync covers all that was written during the one before, so without a bound
/// a disk that is slower than its writers makes each one longer than the last.
fn unsynced_max(before: i64, bytes: i64, took: Duration) -> i64 {
    if bytes < TELLING_BYTES && took < PATIENCE {
        return before;
    }
    let turns = PATIENCE.as_secs_f64() / took.max(Duration::from_micros(1)).as_secs_f64();
    let fits = (bytes as f64 * turns) as i64;
    (before / 4 * 3 + fits.min(UNSYNCED_MOST) / 4).clamp(UNSYNCED_MIN, UNSYNCED_MOST)
}

/// When the log was synced, and how long that takes.
#[derive(Debug)]
pub(crate) struct Syncs {
    /// When the last one began.
    pub(crate) began: Instant,
    /// The average of the last ones; `None` before the first.
    took: Option<Duration>,
    /// Whether somebody wrote during the last one.
    is_busy: bool,
}

impl Syncs {
    pub(crate) fn new(now: Instant) -> Syncs {
        Syncs {
            began: now,
            took: None,
            is_busy: false,
        }
    }

    fn note(&mut self, took: Duration) {
        self.took = Some(match self.took {
            Some(average) => (average * (AVERAGED - 1) + took) / AVERAGED,
            None => took,
        });
    }

    /// Whether the next one is best done by whoever needs it. Where others write meanwhile it is not: they would have to wait
    /// for the thread of the store to be woken, and whoever syncs serves nobody.
    fn are_for_callers(&self) -> bool {
        !self.is_busy && self.took.is_some_and(|took| took < QUICK)
    }
}

impl Store {
    /// What the thread does when it is woken: writes what busy writers left to it, and syncs when that is due. Without
    /// somebody who waits for a sync that is now and then: each costs what thousands of writes do.
    pub(crate) fn turn_flusher(&self) {
        self.drive_as_store();
        let flushed = self.flushing.lock().began;
        let since = self.env.clock.instant().duration_since(flushed);
        if self.config.flush == FlushMode::Sync || since >= self.config.flush_interval / 2 {
            self.turn_flush();
        }
    }

    /// One turn of the flusher: syncs what is written. Returns whether there was something.
    pub fn turn_flush(&self) -> bool {
        // Writers leave the rest to this thread when it gets much.
        self.drive_as_store();
        // An error is recorded already, as the end of the store.
        self.flush_log().unwrap_or(false)
    }

    /// Makes everything written durable. A sync that fails ends the store: the system may have dropped the data, and a
    /// second sync would claim that all is well.
    pub(crate) fn flush_log(&self) -> io::Result<bool> {
        self.flush_holding(&mut self.flushing.lock())
    }

    /// Whether nobody syncs or is about to, and the disk is quick: then it costs less to sync than to have it done and to be
    /// told.
    pub(crate) fn is_sync_for_caller(&self) -> bool {
        self.flushing
            .try_lock()
            .is_some_and(|syncs| syncs.are_for_callers())
    }

    /// Whether somebody writes or syncs just now, and may be waiting for the disk.
    pub fn is_at_disk(&self) -> bool {
        self.writing.worker.is_locked() || self.flushing.is_locked()
    }

    /// Makes everything written durable on this thread, or wakes the one of the store if somebody is at it, or writes. Waits
    /// for the disk, which may hang although it was quick: no more than one thread that is not the store's own does.
    pub fn sync_soon(&self) {
        let Some(mut syncs) = self.flushing.try_lock() else {
            return self.flush_bell.ring();
        };
        // From here on nobody else of them begins to write; see `Store::is_left_to_store`.
        self.is_caller_syncing.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let is_writing = self.writing.worker.is_locked();
        if !is_writing {
            // An error is recorded already, as the end of the store.
            drop(self.flush_holding(&mut syncs));
        }
        self.is_caller_syncing.store(false, Ordering::Relaxed);
        drop(syncs);
        if is_writing {
            self.flush_bell.ring();
        }
    }

    fn flush_holding(&self, syncs: &mut MutexGuard<'_, Syncs>) -> io::Result<bool> {
        syncs.began = self.env.clock.instant();
        if self.is_failed() {
            return Err(io::Error::other("the store has failed"));
        }
        let target = self.log.written.load(Ordering::Acquire);
        let from = self.log.durable.load(Ordering::Acquire);
        if target == from {
            return Ok(false);
        }
        if let Err(error) = self.log.sync(from, target) {
            self.fail("sync of the log", &error);
            return Err(error);
        }
        let took = self.env.clock.instant().duration_since(syncs.began);
        syncs.note(took);
        let may_wait = unsynced_max(self.unsynced_max.load(Ordering::Relaxed), target - from, took);
        self.unsynced_max.store(may_wait, Ordering::Relaxed);
        syncs.is_busy = self.log.written.load(Ordering::Relaxed) != target;
        self.log.durable.store(target, Ordering::Release);
        if self.config.flush == FlushMode::Sync {
            self.publish(target);
        }
        self.notify_all();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_wait_is_what_the_disk_does_in_the_time_that_senders_have() {
        let after = |bytes: i64, ms: u64| {
            let mut max = UNSYNCED_FIRST;
            for _ in 0..50 {
                max = unsynced_max(max, bytes, Duration::from_millis(ms));
            }
            max
        };
        let hundred_mb_a_second = after(10_000_000, 100);
        assert!(
            (14_000_000..16_000_000).contains(&hundred_mb_a_second),
            "{hundred_mb_a_second}"
        );
        assert_eq!(after(1000, 100), UNSYNCED_FIRST, "few bytes say little of a disk");
        assert_eq!(after(1000, 200), UNSYNCED_MIN, "but that it hangs");
        let very_fast = after(i64::MAX / 2, 0);
        assert!(
            (UNSYNCED_MOST / 100 * 99..=UNSYNCED_MOST).contains(&very_fast),
            "{very_fast}"
        );
    }

    #[test]
    fn only_syncs_of_a_quick_disk_that_nobody_else_needs_are_for_callers() {
        let mut syncs = Syncs::new(crate::env::Env::real().clock.instant());
        assert!(!syncs.are_for_callers(), "nothing is known yet");
        syncs.note(QUICK / 2);
        assert!(syncs.are_for_callers());
        syncs.note(QUICK * 10);
        assert!(!syncs.are_for_callers(), "one slow sync counts for a while");
        (0..30).for_each(|_| syncs.note(QUICK / 2));
        assert!(syncs.are_for_callers());
        syncs.is_busy = true;
        assert!(!syncs.are_for_callers());
    }
}
