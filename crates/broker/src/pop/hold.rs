// SPDX-License-Identifier: Apache-2.0
//! Pops and notifications that found nothing and wait.
//!
//! A held request is a future of its connection. It sleeps until one of its queues grows, its bell rings, an ordered queue
//! that is blocked hands out again, or its time is up, and then looks again. What it waits for is set up before it looks,
//! so that nothing that comes in between is missed.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Growth;
use net::{Fault, Reply};
use store::Queue;
use wire::api::pop::PopReply;
use wire::code::ResponseCode;

use super::bell::{Bell, NoPlace, Place};
use super::take::{Ask, reply, round};
use crate::broker::Broker;

/// How long before its end a request is answered, as in the reference: so that the answer is in time.
const EARLY_MS: i64 = 50;
/// Longest sleep: the clock may jump, and of some queues nobody tells that they hand out again.
const NAP: Duration = Duration::from_millis(500);

mod futures {
    //! Waiting for any of several queues, without a task or an allocation per wake-up.

    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use store::Queue;

    /// Ends when one of the queues has a message at its offset.
    pub(super) struct Growth(Vec<Pin<Box<dyn Future<Output = ()> + Send>>>);

    impl Growth {
        pub(super) fn of(queues: &[(Arc<Queue>, i64)]) -> Growth {
            let wait = |(queue, from): &(Arc<Queue>, i64)| {
                let (queue, from) = (Arc::clone(queue), *from);
                let grown = async move { queue.wait_past(from).await };
                Box::pin(grown) as Pin<Box<dyn Future<Output = ()> + Send>>
            };
            Growth(queues.iter().map(wait).collect())
        }
    }

    impl Future for Growth {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let is_any = self.0.iter_mut().any(|queue| queue.as_mut().poll(cx).is_ready());
            if is_any { Poll::Ready(()) } else { Poll::Pending }
        }
    }
}

/// When a held request is answered, and what it wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) born_time: i64,
    pub(super) poll_time: i64,
}

impl Patience {
    fn ends_at(self) -> i64 {
        self.born_time
            .saturating_add(self.poll_time)
            .saturating_sub(EARLY_MS)
    }

    /// Whether it may wait at all.
    pub(super) fn check(self, now_ms: i64) -> Result<(), NoPlace> {
        if self.poll_time <= 0 || now_ms > self.ends_at() {
            Err(NoPlace::TimeIsUp)
        } else {
            Ok(())
        }
    }

    /// Sleeps until something may have changed.
    pub(super) async fn sleep(
        self,
        b: &Broker,
        rung: impl Future<Output = ()>,
        queues: &[(Arc<Queue>, i64)],
        blocked_until: Option<i64>,
    ) {
        let now_ms = b.env.clock.now_ms();
        let until = blocked_until.map_or(self.ends_at() + 1, |until| until.min(self.ends_at() + 1));
        let time = Duration::from_millis(until.saturating_sub(now_ms).max(1).unsigned_abs()).min(NAP);
        tokio::select! {
            () = rung => {}
            () = Growth::of(queues) => {}
            () = tokio::time::sleep(time) => {}
        }
    }
}

/// Answers a pop, at once or later.
pub(super) async fn serve(b: &Arc<Broker>, ask: Ask) -> Result<Reply<PopReply>, Fault> {
    let bell = b.pop.bell(&ask.header.consumer_group, &ask.header.topic);
    let patience = Patience {
        born_time: ask.header.born_time,
        poll_time: ask.header.poll_time,
    };
    let mut place: Option<Place> = None;
    loop {
        let mut rung = pin!(bell.rung.notified());
        rung.as_mut().enable();
        let round = round(b, &ask).await?;
        let waited = place.is_some();
        let reply = |round, code| Reply {
            waited,
            ..reply(&ask, round, code)
        };
        if !round.is_empty() {
            return Ok(reply(round, ResponseCode::SUCCESS));
        }
        let held = patience.check(b.env.clock.now_ms());
        let held = held.and_then(|()| match place.take() {
            Some(place) => Ok(place),
            None => take_place(b, &bell, ask.header.queue_id),
        });
        match held {
            Ok(taken) => place = Some(taken),
            Err(NoPlace::Full) => return Ok(reply(round, ResponseCode::POLLING_FULL)),
            Err(NoPlace::TimeIsUp) => return Ok(reply(round, ResponseCode::POLLING_TIMEOUT)),
        }
        patience.sleep(b, rung, &round.ended, round.blocked_until).await;
        // Others that were woken as well get their look before this one looks again.
        tokio::task::yield_now().await;
    }
}

fn take_place(b: &Broker, bell: &Arc<Bell>, queue_id: i32) -> Result<Place, NoPlace> {
    let config = b.config();
    let limits = (
        config.pop_polling_size as usize,
        config.max_pop_polling_size as usize,
    );
    bell.take_place(queue_id, &b.pop.held_pops, limits)
}
