// SPDX-License-Identifier: Apache-2.0
//! `startMonitoring`: each minute, how far every group is behind and what is odd about its consumers, until Ctrl-C.
//!
//! The reference prints nothing and writes to a log file; here its lines go to stderr, and with `--output` the findings are data.

use std::time::Duration;

use serde::Serialize;
use wire::body::queue::MessageQueue;
use wire::body::stats::{ConsumeOffset, ConsumeStats};

use super::info::{self, Members};
use crate::cmd::lookup;
use crate::cmd::progress::group_of;
use crate::cmd::topic::list;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups;
use crate::options::Args;
use crate::queues::{Ask, Filter, Reader};

pub(crate) const START_MONITORING: Command = Command {
    name: "startMonitoring",
    about: "Start Monitoring.",
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

const ROUND: Duration = Duration::from_secs(60);
/// Clients that are older cannot be asked.
const OLDEST_ASKED: i32 = 62;

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    // Watching is its own.
    let pause = args.extras.watch.is_none().then_some(ROUND);
    ctx.repeat(pause, async || round(ctx).await).await
}

/// What is found out about one topic of a group.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Undone {
    group: String,
    topic: String,
    total: i64,
    /// Of the worst queue.
    single_max: i64,
    delay_ms: i64,
    findings: Vec<String>,
}

async fn round(ctx: &Ctx) -> Result<(), Failure> {
    let topics = list::all(ctx).await?;
    tell(ctx, "=========================================beginRound");
    for group in topics.iter().filter_map(|topic| group_of(topic)) {
        if ctx.is_closed() {
            break;
        }
        let findings = findings(ctx, group).await;
        // A group that nobody is in is not behind.
        let (Ok(stats), Ok(_)) = (
            groups::progress(ctx, None, group, None).await,
            groups::members(ctx, group).await,
        ) else {
            continue;
        };
        for topic in topics_of(&stats) {
            let undone = undone(ctx, group, topic, &stats).await;
            tell(
                ctx,
                &format!(
                    "reportUndoneMsgs: UndoneMsgs [consumerGroup={}, topic={}, undoneMsgsTotal={}, \
                     undoneMsgsSingleMQ={}, undoneMsgsDelayTimeMills={}]",
                    undone.group, undone.topic, undone.total, undone.single_max, undone.delay_ms
                ),
            );
            let undone = Undone {
                findings: findings.clone(),
                ..undone
            };
            ctx.row(&undone, String::new);
        }
        for finding in findings {
            tell(
                ctx,
                &format!(" [NOTIFY] reportConsumerRunningInfo: ConsumerGroup: {group}, {finding}"),
            );
        }
    }
    tell(ctx, "=========================================endRound");
    Ok(())
}

fn tell(ctx: &Ctx, line: &str) {
    if ctx.is_reference() {
        ctx.note(format_args!("[MONITOR] {line}"));
    }
}

fn topics_of(stats: &ConsumeStats) -> Vec<&str> {
    let mut topics: Vec<&str> = stats
        .offset_table
        .keys()
        .map(|key| key.0.topic.as_str())
        .collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// What is odd about the members of a group.
async fn findings(ctx: &Ctx, group: &str) -> Vec<String> {
    let Ok(found) = groups::members(ctx, group).await else {
        return Vec::new();
    };
    let mut members = Members::new();
    for connection in found.connection_set {
        if connection.version < OLDEST_ASKED {
            continue;
        }
        if let Ok(info) = groups::running(ctx, group, &connection.client_id, false).await {
            members.insert(connection.client_id, info);
        }
    }
    let now = ctx.env.clock.now_ms();
    let mut findings = Vec::new();
    if !info::same_subscriptions(&members, now) {
        findings.push("Subscription different".to_owned());
    }
    for (client, info) in &members {
        let odd = info::odd_queues(client, info, now);
        findings.extend(odd.lines().map(|line| format!("ClientId: {client}, {line}")));
    }
    findings
}

async fn undone(ctx: &Ctx, group: &str, topic: &str, stats: &ConsumeStats) -> Undone {
    let mut undone = Undone {
        group: group.to_owned(),
        topic: topic.to_owned(),
        total: 0,
        single_max: 0,
        delay_ms: 0,
        findings: Vec::new(),
    };
    let reader = lookup::route(ctx, topic)
        .await
        .map(|route| Reader::new(ctx, route));
    let queues = stats.offset_table.iter().map(|(key, offset)| (&key.0, offset));
    for (queue, offset) in queues.filter(|(queue, _)| queue.topic == topic) {
        let diff = offset.broker_offset.wrapping_sub(offset.consumer_offset);
        undone.single_max = undone.single_max.max(diff);
        undone.total += diff.max(0);
        if let Ok(reader) = &reader {
            let delay = delay(reader, queue, offset).await;
            undone.delay_ms = undone.delay_ms.max(delay.unwrap_or(0));
        }
    }
    undone
}

/// How much older the last message consumed is than the newest one.
async fn delay(reader: &Reader<'_>, queue: &MessageQueue, offset: &ConsumeOffset) -> Option<i64> {
    if offset.last_timestamp <= 0 {
        return None;
    }
    let end = reader.max(queue).await.ok().filter(|end| *end > 0)?;
    let ask = Ask {
        offset: end - 1,
        most: 1,
        filter: &Filter::all(),
        hold: Duration::ZERO,
    };
    let newest = reader.pull(queue, &ask).await.ok()?;
    newest
        .messages
        .first()
        .map(|message| message.stored_at - offset.last_timestamp)
}
