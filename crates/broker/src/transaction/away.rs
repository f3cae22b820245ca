// SPDX-License-Identifier: Apache-2.0
//! Halves on a slave that acts for its master. It can write neither what ends a half nor what is committed, so each half
//! becomes a half of another master, which asks its producers and ends it there, as in the reference.
//!
//! They go in their order, so that the progress, which the master takes over when it is back, is behind exactly those that
//! went.

use std::ops::ControlFlow;
use std::sync::Arc;

use net::Fault;
use tracing::info;
use wire::code::ResponseCode;

use super::check::{advance, pass_over, record_of};
use super::half::Stored;
use crate::blocking;
use crate::broker::Broker;
use crate::escape::{self, Leaver};
use crate::names::HALF_TOPIC;
use crate::subject::Subject;

/// Halves that go before the progress is saved.
const TOGETHER: usize = 256;

/// Sends all halves that have not ended, until one finds no way.
pub(super) async fn send_away(b: &Arc<Broker>) -> Result<(), Fault> {
    loop {
        let sending = Arc::clone(b);
        let (sent, failed) = blocking::run_own(move || send_some(&sending)).await?;
        if sent > 0 {
            info!(
                halves = sent,
                "halves were sent to other masters, which go on with their transactions"
            );
            advance(b).await?;
        }
        if let Some(fault) = failed {
            return Err(fault);
        }
        if sent < TOGETHER {
            return Ok(());
        }
    }
}

/// Sends the first halves that are pending; says how many went, and why the next did not.
fn send_some(b: &Broker) -> (usize, Option<Fault>) {
    let pending_max = b.config().transactions_pending_max as usize;
    if let Err(error) = b.transactions.catch_up(&b.store, pending_max) {
        return (
            0,
            Some(crate::fault::not_read(&error, Subject::topic(HALF_TOPIC))),
        );
    }
    let mut halves = Vec::new();
    b.transactions.each(b, 0, |offset, half| {
        halves.push((offset, half.pos));
        match halves.len() < TOGETHER {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    for (sent, half) in halves.iter().enumerate() {
        if let Err(fault) = send_one(b, *half) {
            return (sent, Some(fault));
        }
    }
    (halves.len(), None)
}

fn send_one(b: &Broker, (offset, pos): (i64, i64)) -> Result<(), Fault> {
    let unavailable = |why: String| Fault::new(ResponseCode::SERVICE_NOT_AVAILABLE, why);
    let Some(record) = record_of(b, (offset, pos)) else {
        // What is damaged was passed over; anything else may be readable later, and nothing may overtake it.
        return match b.transactions.table(b).get(offset) {
            None => Ok(()),
            Some(_) => Err(unavailable(format!("the half at {offset} cannot be read now"))),
        };
    };
    match Stored::read(&record) {
        Ok(half) => {
            let leaver = Leaver {
                is_half: true,
                ..Leaver::of(half.head.parts, half.topic)
            };
            escape::send_blocking(b, leaver).map_err(|error| unavailable(error.to_string()))?;
        }
        Err(error) => pass_over(b, offset, &error),
    }
    b.transactions.table(b).ended(offset);
    Ok(())
}
