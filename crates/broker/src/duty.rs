// SPDX-License-Identifier: Apache-2.0
//! Whether a broker deals with messages of its own accord: delivers what is due, asks about transactions, brings back what
//! was popped. A master does, and so does the slave that acts for it while it is away.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::broker::Broker;
use crate::config::{BrokerRole, Config};
use crate::{delay, pop, timer, transaction};

/// On or off; may change while the broker runs.
#[derive(Debug)]
pub(crate) struct Duty(watch::Sender<bool>);

impl Duty {
    pub(crate) fn of(config: &Config) -> Duty {
        Duty(watch::Sender::new(config.broker_role != BrokerRole::Slave))
    }

    /// Begins or ends it, unless it is so already.
    pub(crate) fn set(&self, is_on: bool) {
        self.0
            .send_if_modified(|was_on| std::mem::replace(was_on, is_on) != is_on);
    }

    pub(crate) fn is_on(&self) -> bool {
        *self.0.borrow()
    }
}

/// Does it while it is on, until `stop`.
pub(crate) async fn keep(b: Arc<Broker>, stop: CancellationToken) {
    let mut changes = b.duty.0.subscribe();
    let follows = b.is_slave();
    loop {
        let is_on = *changes.borrow_and_update();
        let (tasks, turn) = (TaskTracker::new(), stop.child_token());
        if is_on {
            start(&b, &tasks, &turn);
        }
        if follows {
            let what = if is_on {
                "acts for its master"
            } else {
                "only follows"
            };
            info!("this slave {what}");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            _ = changes.changed() => {}
        }
        turn.cancel();
        tasks.close();
        tasks.wait().await;
        if stop.is_cancelled() {
            return;
        }
    }
}

fn start(b: &Arc<Broker>, tasks: &TaskTracker, stop: &CancellationToken) {
    delay::start(b, tasks, stop);
    timer::start(b, tasks, stop);
    pop::start(b, tasks, stop);
    tasks.spawn(transaction::check::keep_checking(Arc::clone(b), stop.clone()));
    tasks.spawn(transaction::check::keep_counting(Arc::clone(b), stop.clone()));
}
