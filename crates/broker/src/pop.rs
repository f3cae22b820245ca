// SPDX-License-Identifier: Apache-2.0
//! Reading by lease (pop): a message that was handed out stays invisible for a time, in which it is settled, or it comes
//! again by way of the retry topic.
//!
//! Per group, topic and queue there is one [`flight::Flight`], which knows what is with consumers. Each change of it is in
//! the journal ([`log`]) before its answer leaves, and what the group has committed is the first unsettled offset; so an
//! end at any moment repeats at most what was not settled. Ordered queues have a state of their own (`order`), and
//! commit what follows on the last settled message.
//!
//! `take` hands out, `settle` takes acknowledgements, `hold` keeps requests that found nothing, `revive` writes what was
//! not settled in time to the retry topic, `takeover` does the same for what a reference broker had handed out.

mod bell;
mod check;
mod elsewhere;
pub(crate) mod flight;
mod hold;
mod line;
pub(crate) mod log;
mod notify;
mod order;
mod peek;
mod revive;
mod settle;
mod table;
mod take;
mod takeover;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

pub(crate) use self::check::retry_topics;
pub(crate) use self::flight::Lease;
pub(crate) use self::notify::{notification, polling_info};
pub(crate) use self::peek::peek_message;
pub(crate) use self::settle::{ack_message, batch_ack_message, change_invisible_time};
pub use self::table::PopError;
pub(crate) use self::table::{Pop, Whereabouts};
pub(crate) use self::take::pop_message;
use crate::broker::Broker;

/// Starts what the broker does on its own: bringing back what was not settled.
pub(crate) fn start(b: &Arc<Broker>, tasks: &TaskTracker, stop: &CancellationToken) {
    tasks.spawn(revive::keep_reviving(Arc::clone(b), stop.clone()));
    tasks.spawn(takeover::keep_taking_over(Arc::clone(b), stop.clone()));
}

/// Starts what keeps the journal safe.
pub(crate) fn start_flushing(b: &Arc<Broker>, tasks: &TaskTracker, stop: &CancellationToken) {
    tasks.spawn(keep_flushing(Arc::clone(b), stop.clone()));
}

/// Makes the journal durable: at once when somebody waits for it (SYNC_FLUSH), else with the interval of the log.
async fn keep_flushing(b: Arc<Broker>, stop: CancellationToken) {
    let period = Duration::from_millis(b.pop.flush_interval_ms(&b.config()));
    loop {
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(period) => false,
            () = b.pop.sync_asked() => false,
        };
        if is_last {
            // Requests that are still answered flush for themselves; this serves those that came before they knew.
            b.pop.stop_flushing();
        }
        if !b.pop.is_flushed() {
            let broker = Arc::clone(&b);
            match store::env::aside(move || broker.pop.flush()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    error!(file = %b.pop.dir().display(), %error, "the pop journal is not on disk; trying again");
                    b.store.fail_if_unsynced("sync of the pop journal", &error);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(_) => return,
            }
        }
        if is_last {
            return;
        }
    }
}
