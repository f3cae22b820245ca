// SPDX-License-Identifier: Apache-2.0
//! A model of `Store::publish` and `Store::show`: messages are visible below the lower of two ends, and whoever moves one of them
//! looks at the other one afterwards, so that one of the two publishes. (A model: the real ones need queues and an index.)

use loom::sync::Arc;
use loom::sync::atomic::{AtomicI64, Ordering, fence};
use loom::thread;

use crate::sync::Mutex;

#[derive(Default)]
struct Store {
    written: AtomicI64,
    visible: AtomicI64,
    published: Mutex<i64>,
}

impl Store {
    fn publish(&self, limit: i64) {
        fence(Ordering::SeqCst);
        let limit = limit.min(self.visible.load(Ordering::Acquire));
        let mut published = self.published.lock();
        *published = limit.max(*published);
    }

    fn write(&self, end: i64) {
        self.written.swap(end, Ordering::AcqRel);
        self.publish(end);
    }

    fn show(&self, below: i64) {
        self.visible.swap(below, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        self.publish(self.written.load(Ordering::Acquire));
    }
}

#[test]
fn whichever_of_two_ends_moves_last_what_is_below_both_is_published() {
    loom::model(|| {
        let store = Arc::new(Store::default());
        let showing = Arc::clone(&store);
        let other = thread::spawn(move || showing.show(100));
        store.write(100);
        other.join().unwrap();
        assert_eq!(*store.published.lock(), 100);
    });
}
