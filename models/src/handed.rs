// SPDX-License-Identifier: Apache-2.0
//! `Store::write_all`: what is pending when somebody calls is written when all calls have returned, or somebody was told to write
//! it. The code is that of the store; the log is a list of numbers.

use loom::sync::Arc;
use loom::thread;

use crate::handover::HandOver;
use crate::sync::Mutex;

#[derive(Default)]
struct Written(Vec<u8>);

struct Store {
    pending: Mutex<Vec<u8>>,
    writing: HandOver<Written>,
    /// Whether the flusher was told that something is left to it.
    rung: Mutex<bool>,
}

impl Store {
    fn append_and_drive(&self, number: u8, turns: usize, passes: bool) {
        self.pending.lock().push(number);
        if self.pending.lock().is_empty() {
            // Somebody has written it already.
            return;
        }
        let work = |writer: &mut crate::sync::MutexGuard<'_, Written>| {
            let batch = std::mem::take(&mut *self.pending.lock());
            writer.0.extend(batch);
        };
        let is_left = self.writing.work(turns, work, || passes, || true);
        if is_left {
            *self.rung.lock() = true;
        }
    }
}

/// The last of the threads does not write itself if `one_passes`.
fn all_is_written(threads: u8, turns: usize, one_passes: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let store = Arc::new(Store {
            pending: Mutex::default(),
            writing: HandOver::new(Written::default()),
            rung: Mutex::default(),
        });
        let others: Vec<_> = (1..threads)
            .map(|number| {
                let store = Arc::clone(&store);
                let passes = one_passes && number + 1 == threads;
                thread::spawn(move || store.append_and_drive(number, turns, passes))
            })
            .collect();
        store.append_and_drive(0, turns, false);
        others.into_iter().for_each(|other| other.join().unwrap());
        let mut written = std::mem::take(&mut store.writing.worker.lock().0);
        let left = store.pending.lock().clone();
        assert!(
            left.is_empty() || *store.rung.lock(),
            "{left:?} is written by nobody"
        );
        written.extend(left);
        written.sort_unstable();
        assert_eq!(written, (0..threads).collect::<Vec<_>>());
    });
}

#[test]
fn of_two_that_write_at_once_nothing_is_left() {
    all_is_written(2, 8, false);
}

#[test]
fn of_three_that_write_at_once_nothing_is_left() {
    all_is_written(3, 8, false);
}

#[test]
fn what_a_busy_writer_leaves_somebody_is_told_of() {
    all_is_written(3, 1, false);
}

#[test]
fn what_one_must_not_write_somebody_is_told_of() {
    all_is_written(2, 8, true);
    all_is_written(3, 8, true);
}
