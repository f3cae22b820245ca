// SPDX-License-Identifier: Apache-2.0
//! What wakes a thread of the store.

use std::task::{Poll, Waker};
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

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
    /// Of a task that waits instead of a thread.
    waker: Option<Waker>,
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Bell {
    /// Wakes the thread.
    pub(crate) fn ring(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.now, true) {
            self.rung.notify_one();
            state.wake();
        }
    }

    /// Lets the thread wake a little later, so that others can join.
    pub(crate) fn ring_soon(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.soon, true) {
            self.rung.notify_one();
            state.wake();
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stop = true;
        state.wake();
        self.rung.notify_all();
    }

    /// As [`Bell::wait`], for a task.
    pub(crate) async fn rung(&self, timeout: Duration) -> bool {
        let _late = tokio::time::timeout(timeout, self.until(|state| state.now || state.soon)).await;
        if self.state.lock().soon {
            let _late = tokio::time::timeout(SOON, self.until(|state| state.now)).await;
        }
        let mut state = self.state.lock();
        (state.now, state.soon) = (false, false);
        !state.stop
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        std::future::poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.stop || holds(&state) {
                return Poll::Ready(());
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
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
