// SPDX-License-Identifier: Apache-2.0
//! Making the log durable, in groups: one sync for everything written since the last one. Runs on the thread
//! `store-flush`, or wherever somebody pumps [`Store::turn_flush`].

use std::io;
use std::sync::atomic::Ordering;

use crate::config::FlushMode;
use crate::store::Store;

impl Store {
    /// What the thread does when it is woken: writes what busy writers left to it, and syncs when that is due. Without
    /// somebody who waits for a sync that is now and then: each costs what thousands of writes do.
    pub(crate) fn turn_flusher(&self) {
        self.drive();
        let flushed = *self.flushing.lock();
        let since = self.env.clock.instant().duration_since(flushed);
        if self.config.flush == FlushMode::Sync || since >= self.config.flush_interval / 2 {
            self.turn_flush();
        }
    }

    /// One turn of the flusher: syncs what is written. Returns whether there was something.
    pub fn turn_flush(&self) -> bool {
        // Writers leave the rest to this thread when it gets much.
        self.drive();
        // An error is recorded already, as the end of the store.
        self.flush_log().unwrap_or(false)
    }

    /// Makes everything written durable. A sync that fails ends the store: the system may have dropped the data, and a
    /// second sync would claim that all is well.
    pub(crate) fn flush_log(&self) -> io::Result<bool> {
        let mut flushed = self.flushing.lock();
        *flushed = self.env.clock.instant();
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
        self.log.durable.store(target, Ordering::Release);
        if self.config.flush == FlushMode::Sync {
            self.publish(target);
        }
        self.progress.notify_waiters();
        Ok(true)
    }
}
