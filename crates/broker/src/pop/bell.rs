// SPDX-License-Identifier: Apache-2.0
//! What the held requests of one group on one topic share: the bell that wakes them, and how many there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Of one group and one topic, its retry topics included.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    /// Rung when something may be handed out that no queue tells of: a lock was given back, a message came again.
    pub(super) rung: Notify,
    /// Held pops, by the queue they ask for.
    held: Mutex<BTreeMap<i32, usize>>,
}

/// Why a request is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// Too many are.
    Full,
    /// It does not want to be, or its time is over.
    TimeIsUp,
}

/// The place of a held request; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    total: Arc<AtomicUsize>,
    of: Arc<Bell>,
    queue_id: i32,
}

impl Bell {
    /// Wakes all held requests.
    pub(crate) fn ring(&self) {
        self.rung.notify_waiters();
    }

    /// How many pops are held for a queue.
    pub(super) fn held(&self, queue_id: i32) -> usize {
        self.held.lock().get(&queue_id).copied().unwrap_or(0)
    }

    /// A place for one more: among those of the queue, and among all of the broker.
    pub(super) fn take_place(
        self: &Arc<Bell>,
        queue_id: i32,
        total: &Arc<AtomicUsize>,
        (queue_max, total_max): (usize, usize),
    ) -> Result<Place, NoPlace> {
        let mut held = self.held.lock();
        let count = held.entry(queue_id).or_default();
        // As in the reference: one more than configured fits.
        if *count > queue_max || total.load(Ordering::Relaxed) >= total_max {
            return Err(NoPlace::Full);
        }
        *count += 1;
        total.fetch_add(1, Ordering::Relaxed);
        Ok(Place {
            total: Arc::clone(total),
            of: Arc::clone(self),
            queue_id,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.total.fetch_sub(1, Ordering::Relaxed);
        let mut held = self.of.held.lock();
        if let Some(count) = held.get_mut(&self.queue_id) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.queue_id);
            }
        }
    }
}
