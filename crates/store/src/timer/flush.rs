// SPDX-License-Identifier: Apache-2.0
//! Making the timers durable: what has to be written is taken at one moment, written without them, so that what is due
//! meanwhile is not late, and noted at the end.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Timers;
use super::fired::Fired;
use super::log::LogSync;
use super::mark::{MarkFile, TimerMark};
use super::wheel::PageFlush;
use crate::store::Store;

/// The timers as they were at one moment.
#[derive(Debug)]
pub struct Flush {
    log: LogSync,
    pages: PageFlush,
    mark_file: Arc<Mutex<MarkFile>>,
    mark: TimerMark,
    fired: Fired,
    /// How many of the places in the log of what was lost have been looked after by then.
    found: usize,
}

impl Flush {
    /// Writes it. Blocks.
    pub fn run(&self, store: &Store) -> io::Result<()> {
        // What was delivered must not be lost when the mark says that it was.
        store.flush_log()?;
        self.log.run()?;
        self.pages.run()?;
        self.mark_file.lock().write(&self.mark, &self.fired)
    }
}

impl Timers {
    /// Takes what has to be written; [`Flush::run`] and [`Timers::end_flush`] have to follow. `None`: nothing happened
    /// since the last time, or somebody is at it.
    pub fn begin_flush(&mut self) -> Option<Flush> {
        // What is lost is judged by the mark, and an end of the log that is gone would be forgotten by the next one.
        if !self.is_changed || self.is_flushing || !self.lost.is_empty() {
            return None;
        }
        self.is_changed = false;
        self.is_flushing = true;
        let log = self.log.begin_sync();
        let mark = TimerMark {
            log_end: log.end,
            timestamp: self.env.clock.now_ms(),
            counter: self.mark.counter + 1,
            ..self.mark()
        };
        Some(Flush {
            log,
            pages: self.wheel.begin_flush(),
            mark_file: Arc::clone(&self.mark_file),
            mark,
            fired: self.fired,
            found: self.found.len(),
        })
    }

    /// Notes how it went. A failed sync ends the store.
    pub fn end_flush(&mut self, flush: &Flush, done: io::Result<()>, store: &Store) -> io::Result<()> {
        self.is_flushing = false;
        self.wheel.end_flush(&flush.pages, done.is_ok());
        let done = done.and_then(|()| {
            self.log.end_sync(&flush.log);
            self.mark = flush.mark;
            self.forget_lost(flush.found)
        });
        if let Err(error) = &done {
            self.is_changed = true;
            store.fail_if_unsynced("timers", error);
        }
        done
    }

    /// Makes what was done so far durable and notes it, in one go.
    pub fn flush(&mut self, store: &Store) -> io::Result<()> {
        match self.begin_flush() {
            Some(flush) => {
                let done = flush.run(store);
                self.end_flush(&flush, done, store)
            }
            None => Ok(()),
        }
    }

    /// As [`Timers::flush`] even when only time has passed: the last thing that is done to them.
    pub fn close(&mut self, store: &Store) -> io::Result<()> {
        self.is_changed = true;
        self.flush(store)
    }

    /// What was lost has entries again, which are durable: nobody has to look for it any more.
    fn forget_lost(&mut self, count: usize) -> io::Result<()> {
        let mut entries = Vec::new();
        for at in self.found.iter().take(count) {
            if let Some(mut entry) = self.log.entry_at(*at)? {
                entry.is_lost = false;
                entries.push((*at, entry));
            }
        }
        self.log.replace(&entries)?;
        self.found.drain(..count);
        Ok(())
    }
}
