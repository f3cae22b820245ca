// SPDX-License-Identifier: Apache-2.0
//! A model of `Store::state`: positions of a failed write are used again under the next generation, and a gate of the old one never
//! passes for the bytes of the new one. (A model, because the real one needs a log and a disk; the orders and the sequence of loads
//! and stores are those of `drive.rs` and `tail.rs`.)

use loom::sync::Arc;
use loom::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use loom::thread;

use crate::sync::Mutex;

/// Under the lock of the tail: the generation, and the last position that was written under the one before.
#[derive(Default)]
struct Tail {
    generation: u32,
    ends: Vec<(u32, i64)>,
}

#[derive(Default)]
struct Store {
    written: AtomicI64,
    generation: AtomicU32,
    tail: Mutex<Tail>,
}

impl Store {
    /// What was appended up to 100 under generation 0 is not written; the same positions are used again, and written.
    fn fail_and_write_again(&self) {
        {
            let mut tail = self.tail.lock();
            let written = self.written.load(Ordering::Acquire);
            let generation = tail.generation;
            tail.ends.push((generation, written));
            tail.generation += 1;
            self.generation.store(tail.generation, Ordering::Release);
        }
        self.written.swap(100, Ordering::AcqRel);
    }

    /// Whether a gate of generation 0 passes.
    fn has_passed(&self, end: i64) -> bool {
        let mark = self.written.load(Ordering::Acquire);
        let is_alive = self.generation.load(Ordering::Acquire) == 0
            || self
                .tail
                .lock()
                .ends
                .iter()
                .any(|(of, written)| *of == 0 && end <= *written);
        is_alive && end <= mark
    }
}

#[test]
fn a_gate_of_a_failed_write_never_passes() {
    loom::model(|| {
        let store = Arc::new(Store::default());
        let writing = Arc::clone(&store);
        let writer = thread::spawn(move || writing.fail_and_write_again());
        for _ in 0..2 {
            assert!(!store.has_passed(100));
        }
        writer.join().unwrap();
        assert!(!store.has_passed(100));
    });
}
