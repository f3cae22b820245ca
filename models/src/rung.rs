// SPDX-License-Identifier: Apache-2.0
//! The bell of the store's threads: a ring is never lost, whoever rings when.

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;

use crate::bell::Bell;

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn every_ring_is_heard() {
    loom::model(|| {
        let bell = Arc::new(Bell::default());
        let ringing = Arc::clone(&bell);
        let other = thread::spawn(move || ringing.ring());
        // Without a ring this never ends.
        assert!(bell.wait(LONG));
        other.join().unwrap();
    });
}

#[test]
fn a_ring_that_is_not_urgent_is_heard_too_and_an_urgent_one_beside_it() {
    loom::model(|| {
        let bell = Arc::new(Bell::default());
        let others = [false, true].map(|is_urgent| {
            let bell = Arc::clone(&bell);
            thread::spawn(move || if is_urgent { bell.ring() } else { bell.ring_soon() })
        });
        assert!(bell.wait(LONG));
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn a_stop_ends_the_thread_whatever_it_does() {
    loom::model(|| {
        let bell = Arc::new(Bell::default());
        let thread = Arc::clone(&bell);
        let waiting = thread::spawn(move || while thread.wait(LONG) {});
        bell.ring();
        bell.stop();
        waiting.join().unwrap();
    });
}
