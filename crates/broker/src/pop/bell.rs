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
    /// Held pops, by the queue they ask for; [`ANY`] if they name none.
    held: Mutex<BTreeMap<i32, usize>>,
}

/// What stands for all queues. Requests may say so with any number below zero.
const ANY: i32 = -1;

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
        self.held.lock().get(&queue_id.max(ANY)).copied().unwrap_or(0)
    }

    /// A place for one more: among those of the queue, and among all of the broker.
    pub(super) fn take_place(
        self: &Arc<Bell>,
        queue_id: i32,
        total: &Arc<AtomicUsize>,
        (queue_max, total_max): (usize, usize),
    ) -> Result<Place, NoPlace> {
        let queue_id = queue_id.max(ANY);
        let mut held = self.held.lock();
        let before = held.get(&queue_id).copied().unwrap_or(0);
        // As in the reference: one more than configured fits.
        if before > queue_max || total.load(Ordering::Relaxed) >= total_max {
            return Err(NoPlace::Full);
        }
        held.insert(queue_id, before + 1);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_request_leaves_nothing_behind() {
        let (bell, total) = (Arc::new(Bell::default()), Arc::new(AtomicUsize::new(0)));
        for queue_id in -5..5 {
            let place = bell.take_place(queue_id, &total, (9, 0));
            assert_eq!(place.err(), Some(NoPlace::Full));
        }
        assert!(bell.held.lock().is_empty());
    }

    #[test]
    fn all_numbers_that_name_no_queue_share_the_places_of_one() {
        let (bell, total) = (Arc::new(Bell::default()), Arc::new(AtomicUsize::new(0)));
        let take = |queue_id| bell.take_place(queue_id, &total, (1, 9));
        let places = [-1, -2].map(|queue_id| take(queue_id).unwrap());
        assert_eq!(take(-3).err(), Some(NoPlace::Full));
        assert_eq!((bell.held(-7), bell.held(0)), (2, 0));
        assert!(take(0).is_ok());
        drop(places);
        assert!(bell.held.lock().is_empty() && total.load(Ordering::Relaxed) == 0);
    }
}
