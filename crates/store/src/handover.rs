// SPDX-License-Identifier: Apache-2.0
//! Whoever comes first does the work of all: who has nothing to do goes on at once, and nothing is left undone.
//!
//! What everybody wants to have done must be there before this is called, and whoever does the work takes all that is there. So it
//! is done either by the caller, or by whoever holds the lock and looks again after giving it back. `models/` runs this very file
//! through all interleavings.

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, fence};

#[derive(Debug)]
pub(crate) struct HandOver<W> {
    is_wanted: AtomicBool,
    pub(crate) worker: Mutex<W>,
}

impl<W> HandOver<W> {
    pub(crate) fn new(worker: W) -> HandOver<W> {
        HandOver {
            is_wanted: AtomicBool::new(false),
            worker: Mutex::new(worker),
        }
    }

    /// Works until nobody wants anything more, unless somebody else is at it, who does it then. `passes` is asked with the
    /// lock whether this caller must not work; after so many turns `leaves` is asked without it whether the rest can be left
    /// to somebody else, and after each turn beyond. Returns whether something is left that somebody has to be told of.
    #[must_use]
    pub(crate) fn work(
        &self,
        turns: usize,
        mut work: impl FnMut(&mut MutexGuard<'_, W>),
        passes: impl Fn() -> bool,
        leaves: impl Fn() -> bool,
    ) -> bool {
        let mut left = turns;
        // Either the lock is free here, or whoever holds it sees this after giving it back.
        self.is_wanted.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        while self.is_wanted.load(Ordering::SeqCst) {
            if left == 0 && leaves() {
                return true;
            }
            left = left.max(1);
            let Some(mut worker) = self.worker.try_lock() else {
                return false;
            };
            if passes() {
                return true;
            }
            while left > 0 && self.is_wanted.swap(false, Ordering::SeqCst) {
                left -= 1;
                work(&mut worker);
            }
            drop(worker);
            fence(Ordering::SeqCst);
        }
        false
    }
}
