// SPDX-License-Identifier: Apache-2.0
//! Moving a group that nobody is in: its offsets are set queue by queue.

use serde::Serialize;
use wire::Str;
use wire::api::offset::UpdateConsumerOffset;
use wire::api::topic::GetTopicStatsInfo;
use wire::body::queue::MessageQueue;
use wire::body::stats::TopicStats;
use wire::body::topic_route::{BrokerAddrs, TopicRoute};

use crate::cmd::lookup;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups;
use crate::hash_order::by_hash;
use crate::queues::{self, display};
use crate::text::front;

/// Where a group shall be.
pub(super) struct Goal<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    /// Time, ms; -1 for the end.
    pub timestamp: i64,
    /// Also forward.
    pub force: bool,
}

/// A queue of a group that was moved.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Moved {
    broker: Str,
    queue: i32,
    broker_offset: i64,
    consumer_offset: i64,
    timestamp_offset: i64,
    reset_offset: i64,
}

/// Moves the group on all brokers of the route.
pub(super) async fn reset(ctx: &Ctx, route: &TopicRoute, goal: &Goal<'_>) -> Result<Vec<Moved>, Failure> {
    let mut moved = Vec::new();
    for broker in &route.broker_datas {
        let Some(addr) = lookup::any_addr(broker) else {
            continue;
        };
        let places = places(ctx, addr, (route, broker), goal).await?;
        for (queue, broker_offset, consumer_offset) in places {
            let found = match goal.timestamp {
                -1 => queues::max_offset(ctx, addr, &queue).await?,
                ms => queues::offset_at(ctx, addr, &queue, ms).await?,
            };
            let moves = goal.force || found <= consumer_offset;
            if moves {
                let header = UpdateConsumerOffset {
                    consumer_group: goal.group.into(),
                    topic: queue.topic.clone(),
                    queue_id: queue.queue_id,
                    commit_offset: found,
                };
                ctx.client.ask(addr, &header).await?;
            }
            moved.push(Moved {
                broker: queue.broker_name,
                queue: queue.queue_id,
                broker_offset,
                consumer_offset,
                timestamp_offset: found,
                reset_offset: if moves { found } else { consumer_offset },
            });
        }
    }
    Ok(moved)
}

/// The queues on one broker, with their ends and how far the group is: those it has read, or else all of the topic.
async fn places(
    ctx: &Ctx,
    addr: &str,
    (route, broker): (&TopicRoute, &BrokerAddrs),
    goal: &Goal<'_>,
) -> Result<Vec<(MessageQueue, i64, i64)>, Failure> {
    let stats = groups::progress_at(ctx, addr, goal.group, None).await?;
    let known = stats
        .offset_table
        .into_iter()
        .map(|(key, offset)| (key.0, offset));
    let known = by_hash(known, |(queue, _)| queues::hash_code(queue)).into_iter();
    let read: Vec<_> = known
        .filter(|(queue, _)| queue.topic == goal.topic)
        .map(|(queue, offset)| (queue, offset.broker_offset, offset.consumer_offset))
        .collect();
    if !read.is_empty() {
        return Ok(read);
    }
    let header = GetTopicStatsInfo {
        topic: goal.topic.into(),
    };
    let ends: TopicStats = ctx.client.ask(addr, &header).await?.body()?;
    let part = route
        .queue_datas
        .iter()
        .rfind(|part| part.broker_name == broker.broker_name);
    let count = part.map_or(0, |part| part.read_queue_nums);
    let queue = |queue_id| {
        let queue = MessageQueue {
            broker_name: broker.broker_name.clone(),
            queue_id,
            topic: goal.topic.into(),
        };
        let key = wire::body::queue::QueueKey(queue);
        let end = ends.offset_table.get(&key).copied().ok_or_else(|| {
            let queue = display(&key.0);
            Failure::Other(format!("{addr} does not say where {queue} ends"))
        })?;
        Ok((key.0, end.max_offset, end.min_offset))
    };
    (0..count).map(queue).collect()
}

/// As the reference shows it; the last column has two names there.
pub(super) fn text(moved: &[Moved], last: &str) -> String {
    let line = |cells: [&str; 6]| {
        let [broker, queue, end, offset, found, reset] = cells;
        format!("{broker:<20}  {queue:<20}  {end:<20}  {offset:<20}  {found:<20}  {reset:<20}\n")
    };
    let mut out = line([
        "#brokerName",
        "#queueId",
        "#brokerOffset",
        "#consumerOffset",
        "#timestampOffset",
        last,
    ]);
    for queue in moved {
        out.push_str(&line([
            front(&queue.broker, 32),
            &queue.queue.to_string(),
            &queue.broker_offset.to_string(),
            &queue.consumer_offset.to_string(),
            &queue.timestamp_offset.to_string(),
            &queue.reset_offset.to_string(),
        ]));
    }
    out
}
