// SPDX-License-Identifier: Apache-2.0
//! Whether a broker deals with messages of its own accord: delivers what is due, asks about transactions, brings back what
//! was popped. A master does, and so does the slave that acts for it while it is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::broker::Broker;
use crate::config::{BrokerRole, Config};
use crate::names::HALF_TOPIC;
use crate::{blocking, delay, pop, timer, transaction};

/// On or off; may change while the broker runs.
#[derive(Debug)]
pub(crate) struct Duty {
    state: watch::Sender<State>,
    /// It goes on where another broker has come to.
    is_ready: AtomicBool,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    is_on: bool,
    /// Something is still done, or will be.
    is_busy: bool,
}

impl Duty {
    pub(crate) fn of(config: &Config) -> Duty {
        let is_on = config.broker_role != BrokerRole::Slave && !config.starts_apart();
        Duty {
            state: watch::Sender::new(State {
                is_on,
                is_busy: is_on,
            }),
            is_ready: AtomicBool::new(false),
        }
    }

    /// Begins or ends it, unless it is so already.
    pub(crate) fn set(&self, is_on: bool) {
        self.state
            .send_if_modified(|state| std::mem::replace(&mut state.is_on, is_on) != is_on);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.state.borrow().is_on
    }

    /// Returns when it is off and nothing of it is left to be done.
    pub(crate) async fn ended(&self) {
        let mut states = self.state.subscribe();
        // An error: it ends with the broker.
        drop(states.wait_for(|state| !state.is_on && !state.is_busy).await);
    }
}

impl Broker {
    /// Whether messages are popped here: a slave that acts for its master has to have somewhere to send what is not settled.
    pub(crate) fn may_pop(&self) -> bool {
        !self.is_slave() || (self.duty.is_on() && self.duty.is_ready.load(Ordering::Acquire))
    }
}

/// Does it while it is on, until `stop`.
pub(crate) async fn keep(b: Arc<Broker>, stop: CancellationToken) {
    let mut states = b.duty.state.subscribe();
    let follows = b.is_slave();
    loop {
        let mut is_on = false;
        b.duty.state.send_modify(|state| {
            is_on = state.is_on;
            state.is_busy = is_on;
        });
        let (tasks, turn) = (TaskTracker::new(), stop.child_token());
        if follows {
            let what = if is_on {
                "acts for its master"
            } else {
                "only follows"
            };
            info!("this slave {what}");
        }
        if is_on {
            start(&b, &tasks, &turn).await;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            _ = states.wait_for(|state| state.is_on != is_on) => {}
        }
        turn.cancel();
        tasks.close();
        tasks.wait().await;
        if stop.is_cancelled() {
            return;
        }
        if is_on {
            b.duty.is_ready.store(false, Ordering::Release);
            let broker = Arc::clone(&b);
            if let Ok(Err(error)) = blocking::run_own(move || broker.timing.rest(&broker)).await {
                let root = b.config().store_path_root_dir.clone();
                error!(file = %root, %error, "what timers have fired at last is not noted: it may fire again");
            }
        }
    }
}

async fn start(b: &Arc<Broker>, tasks: &TaskTracker, stop: &CancellationToken) {
    let (acting, escape) = {
        let config = b.config();
        (config.enable_slave_acting_master, config.enable_remote_escape)
    };
    if b.is_slave() && !escape {
        info!("enableRemoteEscape is off: what is due waits for the master");
        return;
    }
    let mut may_check = true;
    if acting {
        let broker = Arc::clone(b);
        may_check = blocking::run_own(move || go_on(&broker)).await.unwrap_or(false);
    }
    b.duty.is_ready.store(true, Ordering::Release);
    delay::start(b, tasks, stop);
    timer::start(b, tasks, stop);
    pop::start(b, tasks, stop);
    tasks.spawn(transaction::check::keep_counting(Arc::clone(b), stop.clone()));
    if may_check {
        tasks.spawn(transaction::check::keep_checking(Arc::clone(b), stop.clone()));
    }
}

/// Goes on where another broker of the group has come to. `false`: it is not known which transactions have ended. Blocks.
fn go_on(b: &Broker) -> bool {
    b.timing.lead();
    if !b.is_slave() {
        b.transactions.pass(b);
        b.pop.pass(&b.offsets);
        return true;
    }
    b.pop.begin_anew();
    let read = b.transactions.read_again(b);
    if let Err(error) = &read {
        error!(topic = HALF_TOPIC, %error, "transactions have to wait for the master: it cannot be found out which have not ended");
    }
    read.is_ok()
}
