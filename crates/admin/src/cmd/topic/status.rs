// SPDX-License-Identifier: Apache-2.0
//! `topicStatus`: the ends of the queues of a topic.

use std::collections::BTreeMap;

use serde::Serialize;
use wire::Str;
use wire::api::topic::GetTopicStatsInfo;
use wire::body::queue::MessageQueue;
use wire::body::stats::{TopicOffset, TopicStats};

use crate::cmd::{lookup, statics};
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};
use crate::text::{front, time};

pub(crate) const TOPIC_STATUS: Command = Command {
    name: "topicStatus",
    about: "Examine topic Status info.",
    options: &[
        value("t", "topic", "topic name").required().topic(),
        value(
            "c",
            "cluster",
            "cluster name or lmq parent topic, lmq is used to find the route.",
        ),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// A topic.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    queues: Vec<Queue>,
    put_tps: f64,
}

/// One of its queues.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
struct Queue {
    #[serde(skip)]
    topic: Str,
    broker: Str,
    queue: i32,
    min_offset: i64,
    max_offset: i64,
    last_updated: Option<String>,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topic = args.need("t")?;
    let found_by = args.get("c").unwrap_or(topic);
    let route = lookup::route(ctx, found_by).await?;
    let mut status = Status {
        queues: Vec::new(),
        put_tps: 0.0,
    };
    let mut ends = BTreeMap::new();
    for addr in route.broker_datas.iter().filter_map(lookup::any_addr) {
        let header = GetTopicStatsInfo { topic: topic.into() };
        let stats: TopicStats = ctx.client.ask(addr, &header).await?.body()?;
        status.put_tps += stats.topic_put_tps;
        ends.extend(stats.offset_table);
    }
    // With a cluster the reference leaves logical queues out.
    let logical = match args.has("c") {
        true => Vec::new(),
        false => statics::ends::ends(ctx, topic, &route, &ends).await?,
    };
    let queues = ends.into_iter().map(|(key, ends)| (key.0, ends));
    status.queues.extend(queues.chain(logical).map(row));
    if status.queues.is_empty() && !args.has("c") {
        return Err(Failure::Other(format!(
            "no broker has queues of the topic {topic}"
        )));
    }
    status.queues.sort();
    ctx.show(&status, || text(&status));
    Ok(())
}

fn row((queue, ends): (MessageQueue, TopicOffset)) -> Queue {
    Queue {
        topic: queue.topic,
        broker: queue.broker_name,
        queue: queue.queue_id,
        min_offset: ends.min_offset,
        max_offset: ends.max_offset,
        last_updated: (ends.last_update_timestamp > 0).then(|| time(ends.last_update_timestamp)),
    }
}

fn text(status: &Status) -> String {
    let mut out = line([
        "#Broker Name",
        "#QID",
        "#Min Offset",
        "#Max Offset",
        "#Last Updated",
    ]);
    for queue in &status.queues {
        out.push_str(&line([
            front(&queue.broker, 32),
            &queue.queue.to_string(),
            &queue.min_offset.to_string(),
            &queue.max_offset.to_string(),
            queue.last_updated.as_deref().unwrap_or_default(),
        ]));
    }
    // The reference forgets the rates of the brokers when it puts their answers together.
    out.push_str("\nTopic Put TPS: 0.0\n");
    out
}

fn line([broker, queue, min, max, updated]: [&str; 5]) -> String {
    format!("{broker:<32}  {queue:<4}  {min:<20}  {max:<20}    {updated}\n")
}
