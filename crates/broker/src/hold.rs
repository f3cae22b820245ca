// SPDX-License-Identifier: Apache-2.0
//! Pulls that found nothing and wait for a message.
//!
//! A held pull is a future of its connection: it sleeps until its queue grows past its offset or its time is up, costs
//! nothing in between, and is dropped with the connection. Waking up only means to look again, with all checks; a pull
//! whose filter wants none of the new messages goes back to sleep behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use net::{Fault, Reply};
use store::{ReadError, Store};
use wire::api::pull::PullReply;
use wire::code::ResponseCode;

use crate::broker::Broker;
use crate::fault::not_read;
use crate::pull::{self, Ask, Found, Plan};

/// How many pulls are held.
#[derive(Debug, Default)]
pub(crate) struct Held {
    count: AtomicUsize,
    /// Moves when all of them are to be answered.
    releases: AtomicU32,
}

impl Held {
    /// Answers all pulls that are held, with nothing if there is nothing.
    pub(crate) fn release(&self, store: &Store) {
        self.releases.fetch_add(1, Ordering::AcqRel);
        for topic in store.topics() {
            for queue in store.queues_of(&topic) {
                queue.nudge();
            }
        }
    }

    fn releases(&self) -> u32 {
        self.releases.load(Ordering::Acquire)
    }
}

/// One held pull; counts as long as it lives.
#[derive(Debug)]
pub(crate) struct Place {
    b: Arc<Broker>,
}

impl Place {
    /// A place for one more. When there is none the client is told that the broker is busy, not that there is nothing:
    /// it would ask again at once, whereas it waits for some seconds before it bothers a busy broker.
    pub(crate) fn take(b: &Arc<Broker>) -> Result<Place, Fault> {
        let limit = b.config().held_pulls_max;
        let place = Place { b: Arc::clone(b) };
        if b.held.count.fetch_add(1, Ordering::Relaxed) < limit as usize {
            return Ok(place);
        }
        let remark =
            format!("[OVERLOAD]system busy: {limit} pulls are held, which is the limit (heldPullsMax)");
        Err(Fault::new(ResponseCode::SYSTEM_BUSY, remark))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.b.held.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a pull is held.
fn patience(b: &Broker, ask: &Ask) -> Duration {
    let config = b.config();
    if config.long_polling_enable {
        Duration::from_millis(u64::try_from(ask.header.suspend_timeout_millis).unwrap_or(0))
    } else {
        Duration::from_millis(config.short_polling_time_mills)
    }
}

/// Waits until there is something to say, or the time is up. A block and not an `async fn`, which would keep its arguments
/// twice.
#[expect(clippy::manual_async_fn, reason = "size, see above")]
pub(crate) fn hold(
    place: Place,
    ask: Ask,
    mut plan: Plan,
) -> impl Future<Output = Result<Reply<PullReply>, Fault>> + Send {
    async move {
        let b = &place.b;
        let time_is_up = tokio::time::sleep(patience(b, &ask));
        tokio::pin!(time_is_up);
        let mut from = ask.header.queue_offset;
        let releases = b.held.releases();
        loop {
            let nudges = plan.queue.nudges();
            if let Some(reset) = pull::reset(b, &ask) {
                return Ok(pull::reply(b, &ask, &plan, reset));
            }
            let woken = tokio::select! {
                () = plan.queue.wait_past_or_nudge(from, nudges) => b.held.releases() == releases,
                () = &mut time_is_up => false,
            };
            plan = pull::admit(b, &ask)?;
            if let Some(reset) = pull::reset(b, &ask) {
                return Ok(pull::reply(b, &ask, &plan, reset));
            }
            // What has just arrived is in memory. Reading the disk would make every held pull larger: it gets its memory
            // when it is needed.
            let found = match pull::look(b, &ask, &plan, from) {
                Err(ReadError::NotCached) => Box::pin(pull::read(b, &ask, &plan, from)).await?,
                found => found.map_err(|error| not_read(&error, plan.about(&ask, from)))?,
            };
            match found {
                // What was passed over need not be looked at again.
                Found::NoMatch { next, .. } if woken => {
                    from = next;
                    tokio::task::yield_now().await;
                }
                // Nudged for another reader of the queue.
                found if woken && found.is_nothing_yet(from) => {}
                Found::AtEnd if from > ask.header.queue_offset => {
                    let (next, behind_bytes) = (from, 0);
                    return Ok(pull::end(b, &ask, &plan, Found::NoMatch { next, behind_bytes }));
                }
                found => return Ok(pull::end(b, &ask, &plan, found)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100,000 of these are held at once. The futures that the connection wraps around it are smaller than this.
    #[test]
    fn a_held_pull_is_small() {
        fn size_of_output<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let (all, ask) = (size_of_output(hold), size_of::<Ask>());
        assert!(all <= 704, "{all} bytes, {ask} of them the request");
    }
}
