// SPDX-License-Identifier: Apache-2.0
//! What wakes a thread of the store.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long a ring that is not urgent may be answered late.
const SOON: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    now: bool,
    soon: bool,
    stop: bool,
}

impl Bell {
    /// Wakes the thread.
    pub(crate) fn ring(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.now, true) {
            self.rung.notify_one();
        }
    }

    /// Lets the thread wake a little later, so that others can join.
    pub(crate) fn ring_soon(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.soon, true) {
            self.rung.notify_one();
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.rung.notify_all();
    }

    /// Waits for a ring or the timeout. `false` when the thread shall end.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.now && !state.soon && !state.stop {
            self.rung.wait_for(&mut state, timeout);
        }
        if state.soon && !state.now && !state.stop {
            self.rung.wait_for(&mut state, SOON);
        }
        state.now = false;
        state.soon = false;
        !state.stop
    }
}
