// SPDX-License-Identifier: Apache-2.0
//! Delay levels: messages with a property DELAY wait in the schedule topic, one queue per level, until their time has come.
//!
//! All messages of a queue wait equally long, so that they are due in the order in which they lie: one task per level
//! sleeps until the first is due (`deliver`), decides how many are (`plan`), and appends copies of these to the queues they
//! were sent to. How far each level is stands in `config/delayOffset.json` (`table`). The parked record stays where it is.

mod deliver;
mod plan;
mod table;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use net::{Answer, Call, Fault, Reply};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;
use wire::Str;
use wire::api::offset::GetAllDelayOffset;
use wire::code::{NoHeader, ResponseCode};
use wire::properties::name::{DELAY, REAL_QID, REAL_TOPIC};

use self::deliver::Line;
pub(crate) use self::table::Delays;
use crate::broker::Broker;
use crate::names::SCHEDULE_TOPIC;
use crate::send::park::Parked;
use crate::send::properties::name::{TIMER_DELAY_MS, TIMER_DELAY_SEC, TIMER_DELIVER_MS};

/// After a delivery the offsets are saved within this.
const SAVE_SOON: Duration = Duration::from_millis(200);

/// The level a message asks for; 0 and below: none.
pub(crate) fn level_of(text: &str) -> Result<i32, Fault> {
    text.parse().map_err(|_| {
        let remark = format!("the delay level (property {DELAY}) must be a number, and is \"{text}\"");
        Fault::new(ResponseCode::SYSTEM_ERROR, remark)
    })
}

/// Where a message of a level above 0 waits. A level above the highest is the highest. A level wins over a time.
pub(crate) fn park(b: &Broker, level: i32, (topic, queue_id): (&Str, i32)) -> Parked {
    let highest = i32::try_from(b.store.config().delay_levels_ms.len()).unwrap_or(i32::MAX);
    let clamped = level.min(highest);
    let mut with = vec![
        (REAL_TOPIC, topic.clone()),
        (REAL_QID, queue_id.to_string().into()),
    ];
    if clamped != level {
        with.push((DELAY, clamped.to_string().into()));
    }
    Parked {
        topic: Str::const_new(SCHEDULE_TOPIC),
        queue_id: clamped - 1,
        without: &[TIMER_DELIVER_MS, TIMER_DELAY_SEC, TIMER_DELAY_MS],
        with,
    }
}

/// Code 45. How far all levels are.
pub(crate) fn all_offsets(b: &Arc<Broker>, _: Call<GetAllDelayOffset>) -> Result<Answer<NoHeader>, Fault> {
    Ok(Reply::ok(NoHeader).with_body(b.delays.to_json()).into())
}

/// Starts the delivery of all levels. What waits in a queue beyond the levels of the settings, because there were more of
/// them once, is delivered too.
pub(crate) fn start(b: &Arc<Broker>, tasks: &TaskTracker, stop: &CancellationToken) {
    for line in lines(b) {
        tasks.spawn(line.keep_delivering(stop.clone()));
    }
}

fn lines(b: &Arc<Broker>) -> Vec<Line> {
    let delays_ms = &b.store.config().delay_levels_ms;
    let configured = 0..u32::try_from(delays_ms.len()).unwrap_or(u32::MAX);
    let found = b
        .store
        .queues_of(SCHEDULE_TOPIC)
        .into_iter()
        .map(|queue| queue.id());
    let ids: BTreeSet<u32> = configured.chain(found).collect();
    let line = |id: u32| Line::new(b, id, delays_ms.get(id as usize).copied());
    ids.into_iter().map(line).collect()
}

/// Starts what saves how far the levels are.
pub(crate) fn start_saving(b: &Arc<Broker>, tasks: &TaskTracker, stop: &CancellationToken) {
    tasks.spawn(keep_saving(Arc::clone(b), stop.clone()));
}

/// Saves the offsets soon after they have changed, until `stop`.
async fn keep_saving(b: Arc<Broker>, stop: CancellationToken) {
    let interval = Duration::from_millis(u64::from(b.config().flush_delay_offset_interval));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = b.delays.changed.notified() => {}
        }
        let mut is_left = true;
        while is_left {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval.min(SAVE_SOON)) => {}
            }
            let saving = Arc::clone(&b);
            match store::env::aside(move || saving.delays.save(saving.store.durable())).await {
                Ok(Ok(left)) => is_left = left,
                Ok(Err(error)) => {
                    error!(file = %error.path.display(), error = %error.source, "delay offsets are not saved; trying again")
                }
                Err(_) => return,
            }
        }
    }
}
