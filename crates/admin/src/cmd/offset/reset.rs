// SPDX-License-Identifier: Apache-2.0
//! `resetOffsetByTime` and `skipAccumulatedMessage`: moves a group to a time, or to the end. Members that are online are told by
//! their broker; where nobody is, offsets are set.

use std::time::Duration;

use serde::Serialize;
use wire::Str;
use wire::api::offset::{InvokeBrokerToResetOffset, UpdateConsumerOffset};
use wire::body::queue::MessageQueue;
use wire::body::stats::QueueOffsets;
use wire::body::topic_route::TopicRoute;
use wire::code::ResponseCode;
use wire::frame::{Frame, Language};

use super::offline::{self, Goal};
use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups;
use crate::hash_order::in_buckets;
use crate::options::{Args, flag, value};
use crate::queues;
use crate::text::{front, parse_time};

pub(crate) const RESET_OFFSET_BY_TIME: Command = Command {
    name: "resetOffsetByTime",
    about: "Reset consumer offset by timestamp(without client restart).",
    options: &[
        value("g", "group", "set the consumer group").required().group(),
        value("t", "topic", "set the topic").required().topic(),
        value(
            "s",
            "timestamp",
            "set the timestamp[now|currentTimeMillis|yyyy-MM-dd#HH:mm:ss:SSS]",
        )
        .required(),
        value(
            "f",
            "force",
            "set the force rollback by timestamp switch[true|false]. Deprecated.",
        ),
        flag("c", "cplus", "reset c++ client offset. Deprecated."),
        value("b", "broker", "broker addr"),
        value("q", "queue", "queue id"),
        value(
            "o",
            "offset",
            "Expect queue offset, not support old version broker",
        ),
        CLUSTER,
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(by_time(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const SKIP_ACCUMULATED_MESSAGE: Command = Command {
    name: "skipAccumulatedMessage",
    about: "Skip all messages that are accumulated (not consumed) currently.",
    options: &[
        value("g", "group", "set the consumer group").required().group(),
        value("t", "topic", "set the topic").required().topic(),
        value(
            "f",
            "force",
            "set the force rollback by timestamp switch[true|false]",
        ),
        CLUSTER,
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(skip(ctx, args)),
    ..Command::DEFAULT
};

const CLUSTER: crate::options::Opt = value(
    "c",
    "cluster",
    "Cluster name or lmq parent topic, lmq is used to find the route.",
);

/// The end of every queue.
const END: i64 = -1;

async fn by_time(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let (group, topic, given) = (args.need("g")?, args.need("t")?, args.need("s")?);
    let timestamp = match given {
        "now" => Some(ctx.env.clock.now_ms()),
        text => parse_time(text),
    };
    let timestamp = timestamp.ok_or_else(|| {
        Failure::Usage(format!(
            "option s: '{given}' is no time; expected now, milliseconds since 1970 or yyyy-MM-dd#HH:mm:ss:SSS"
        ))
    })?;
    let goal = Goal {
        group,
        topic,
        timestamp,
        force: args.truth("f").unwrap_or(true),
    };
    let queue: Option<i32> = args.number("q")?;
    let offset: Option<i64> = args.number("o")?;
    if let (Some(addr), Some(queue_id)) = (args.get("b"), queue.filter(|queue| *queue >= 0)) {
        ctx.say(format_args!(
            "start reset consumer offset by specified, group[{group}], topic[{topic}], queueId[{queue_id}], \
             broker[{addr}], timestamp(string)[{given}], timestamp(long)[{timestamp}]\n"
        ));
        return one_queue(ctx, addr, &goal, (queue_id, offset)).await;
    }
    let cluster = args.get("c");
    let route = lookup::route(ctx, groups::found_by(topic, cluster)).await?;
    let heading = format!(
        "topic[{topic}], force[{}], timestamp(string)[{given}], timestamp(long)[{timestamp}]\n",
        goal.force
    );
    // As in the reference: whoever names a cluster is taken for a client in C++.
    let language = if cluster.is_some() {
        Language::Cpp
    } else {
        Language::Java
    };
    let Some(offsets) = online(ctx, &route, &goal, language).await? else {
        let moved = offline::reset(ctx, &route, &goal).await?;
        ctx.show(&moved, || {
            let text = offline::text(&moved, "#resetOffset");
            format!("reset consumer offset by specified consumerGroup[{group}], {heading}{text}")
        });
        return Ok(());
    };
    ctx.show(&offsets, || {
        let text = text(&offsets);
        format!("start reset consumer offset by specified, group[{group}], {heading}{text}")
    });
    Ok(())
}

async fn skip(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let goal = Goal {
        group: args.need("g")?,
        topic: args.need("t")?,
        timestamp: END,
        force: args.truth("f").unwrap_or(true),
    };
    let route = lookup::route(ctx, groups::found_by(goal.topic, args.get("c"))).await?;
    match online(ctx, &route, &goal, Language::Java).await? {
        Some(offsets) => ctx.show(&offsets, || text(&offsets)),
        None => {
            let moved = offline::reset(ctx, &route, &goal).await?;
            ctx.show(&moved, || offline::text(&moved, "#rollbackOffset"));
        }
    }
    Ok(())
}

/// A queue, and where the group is now.
#[derive(Serialize)]
struct Offset {
    broker: Str,
    queue: i32,
    offset: i64,
}

/// Brokers wait for each member.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Has the brokers move the members; nothing where a broker knows of none.
async fn online(
    ctx: &Ctx,
    route: &TopicRoute,
    goal: &Goal<'_>,
    language: Language,
) -> Result<Option<Vec<Offset>>, Failure> {
    let mut all: Vec<(MessageQueue, i64)> = Vec::new();
    for addr in route.broker_datas.iter().filter_map(lookup::any_addr) {
        let header = InvokeBrokerToResetOffset {
            group: goal.group.into(),
            topic: goal.topic.into(),
            queue_id: None,
            offset: Some(-1),
            timestamp: Some(goal.timestamp),
            is_force: goal.force,
        };
        let frame = Frame {
            language,
            ..Frame::request(0, &header)
        };
        let answer = ctx
            .client
            .ask_frame::<InvokeBrokerToResetOffset>(addr, frame, ANSWER_WITHIN)
            .await;
        let answer = match answer {
            Err(failure) if failure.response_code() == Some(ResponseCode::CONSUMER_NOT_ONLINE) => {
                return Ok(None);
            }
            answer => answer?,
        };
        let moved: QueueOffsets = answer.body_or_default()?;
        let moved = moved
            .offset_table
            .into_iter()
            .map(|(key, offset)| (key.0, offset));
        all.extend(by_hash(moved.collect(), 16));
    }
    // The reference puts the tables of the brokers into one that is made for them.
    let buckets = (all.len() as f64 / 0.75 + 1.0) as usize;
    let ordered = by_hash(all, buckets.next_power_of_two());
    let offset = |(queue, offset): (MessageQueue, i64)| Offset {
        broker: queue.broker_name,
        queue: queue.queue_id,
        offset,
    };
    Ok(Some(ordered.into_iter().map(offset).collect()))
}

fn by_hash(queues: Vec<(MessageQueue, i64)>, buckets: usize) -> Vec<(MessageQueue, i64)> {
    in_buckets(buckets, queues, |(queue, _)| queues::hash_code(queue))
}

fn text(offsets: &[Offset]) -> String {
    let line = |[broker, queue, offset]: [&str; 3]| format!("{broker:<40}  {queue:<40}  {offset:<40}\n");
    let mut out = line(["#brokerName", "#queueId", "#offset"]);
    out.extend(offsets.iter().map(|known| {
        line([
            front(&known.broker, 32),
            &known.queue.to_string(),
            &known.offset.to_string(),
        ])
    }));
    out
}

/// One queue on one broker, to a time or to an offset.
async fn one_queue(
    ctx: &Ctx,
    addr: &str,
    goal: &Goal<'_>,
    (queue_id, offset): (i32, Option<i64>),
) -> Result<(), Failure> {
    let queue = MessageQueue {
        topic: goal.topic.into(),
        queue_id,
        ..MessageQueue::default()
    };
    let offset = match offset {
        Some(offset) => offset,
        None => queues::offset_at(ctx, addr, &queue, goal.timestamp).await?,
    };
    ctx.say(format_args!("reset consumer offset to {offset}\n"));
    if offset <= 0 {
        // As in the reference: a queue cannot be moved to its very beginning in this way.
        ctx.warn("nothing was changed: a single queue is only moved to offsets above 0");
        return Ok(());
    }
    let commit = UpdateConsumerOffset {
        consumer_group: goal.group.into(),
        topic: goal.topic.into(),
        queue_id,
        commit_offset: offset,
    };
    ctx.client.ask(addr, &commit).await?;
    let header = InvokeBrokerToResetOffset {
        group: goal.group.into(),
        topic: goal.topic.into(),
        queue_id: Some(queue_id),
        offset: Some(offset),
        timestamp: Some(0),
        is_force: false,
    };
    ctx.client.ask(addr, &header).await?;
    let moved = Offset {
        broker: addr.into(),
        queue: queue_id,
        offset,
    };
    ctx.row(&moved, String::new);
    Ok(())
}
