// SPDX-License-Identifier: Apache-2.0
//! A model of `Store::sync_soon` and `Store::is_left_to_store`: a caller that syncs says so and looks at the lock of the writer; one
//! that writes has that lock and looks whether somebody syncs. So never two of them wait for the disk, and what one of them leaves the
//! thread of the store is told of. (A model: the real ones need a log and a disk. The lock is what parking_lot makes of it: one
//! flag, taken with acquire, given back with release, and looked at without any order.)

use std::sync::atomic::AtomicBool as Plain;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering, fence};
use loom::thread;

#[derive(Default)]
struct Store {
    is_writer_locked: AtomicBool,
    is_caller_syncing: AtomicBool,
    /// What is seen here orders nothing.
    is_at_disk: Plain,
    is_rung: Plain,
    /// Which of the two fences are left out, to see that the model would notice.
    without: Without,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Without {
    #[default]
    Nothing,
    FenceOfWriter,
    FenceOfSync,
}

impl Store {
    fn wait_for_disk(&self) {
        let others = self.is_at_disk.swap(true, Ordering::SeqCst);
        assert!(!others, "two callers wait for the disk");
        // Here it hangs, and everybody else goes on.
        thread::yield_now();
        self.is_at_disk.store(false, Ordering::SeqCst);
    }

    fn ring(&self) {
        self.is_rung.store(true, Ordering::SeqCst);
    }

    /// Returns whether it was written here.
    fn write(&self) -> bool {
        let taken = self
            .is_writer_locked
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_err() {
            return false;
        }
        if self.without != Without::FenceOfWriter {
            fence(Ordering::SeqCst);
        }
        let is_left = self.is_caller_syncing.load(Ordering::Relaxed);
        if !is_left {
            self.wait_for_disk();
        }
        self.is_writer_locked.store(false, Ordering::Release);
        if is_left {
            self.ring();
        }
        !is_left
    }

    /// Returns whether it was synced here. There is one at a time: it has the lock of the syncs.
    fn sync_soon(&self) -> bool {
        self.is_caller_syncing.store(true, Ordering::Relaxed);
        if self.without != Without::FenceOfSync {
            fence(Ordering::SeqCst);
        }
        let is_writing = self.is_writer_locked.load(Ordering::Relaxed);
        if !is_writing {
            self.wait_for_disk();
        }
        self.is_caller_syncing.store(false, Ordering::Relaxed);
        if is_writing {
            self.ring();
        }
        !is_writing
    }
}

fn one_writes_and_one_syncs(without: Without) {
    loom::model(move || {
        let store = Arc::new(Store {
            without,
            ..Store::default()
        });
        let writing = Arc::clone(&store);
        let writer = thread::spawn(move || writing.write());
        let is_synced = store.sync_soon();
        let is_written = writer.join().unwrap();
        let is_rung = store.is_rung.load(Ordering::SeqCst);
        assert!(is_synced && is_written || is_rung, "something is left to nobody");
    });
}

#[test]
fn of_one_that_writes_and_one_that_syncs_one_leaves_it_to_the_store() {
    one_writes_and_one_syncs(Without::Nothing);
}

#[test]
#[should_panic(expected = "two callers wait for the disk")]
fn without_the_fence_of_the_writer_both_wait_for_the_disk() {
    one_writes_and_one_syncs(Without::FenceOfWriter);
}

#[test]
#[should_panic(expected = "two callers wait for the disk")]
fn without_the_fence_of_the_sync_both_wait_for_the_disk() {
    one_writes_and_one_syncs(Without::FenceOfSync);
}

#[test]
fn two_that_write_and_one_that_syncs_never_wait_for_the_disk_at_once() {
    loom::model(|| {
        let store = Arc::new(Store::default());
        let writers = [(); 2].map(|()| {
            let store = Arc::clone(&store);
            thread::spawn(move || store.write())
        });
        let is_synced = store.sync_soon();
        let written = writers.map(|writer| writer.join().unwrap());
        let is_rung = store.is_rung.load(Ordering::SeqCst);
        assert!(
            written != [false; 2] || is_rung,
            "what both have left nobody is told of"
        );
        assert!(is_synced || is_rung);
    });
}
