// SPDX-License-Identifier: Apache-2.0
//! `consumerProgress` and `brokerConsumeStats`: how far groups are behind.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use wire::Str;
use wire::api::query::GetBrokerConsumeStats;
use wire::body::queue::MessageQueue;
use wire::body::stats::{BrokerConsumeStats, ConsumeOffset, ConsumeStats};
use wire::body::subscription::{ConsumeType, ConsumerConnection, MessageModel};
use wire::frame::Frame;

use super::connection::name;
use super::topic::list;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups;
use crate::options::{Args, value};
use crate::text::{fixed, front, time_of_second};
use crate::version;

pub(crate) const CONSUMER_PROGRESS: Command = Command {
    name: "consumerProgress",
    about: "Query consumer's progress, speed.",
    options: &[
        value("g", "groupName", "consumer group name").group(),
        value("t", "topicName", "topic name").topic(),
        value("s", "showClientIP", "Show Client IP per Queue"),
        value(
            "c",
            "cluster",
            "Cluster name or lmq parent topic, lmq is used to find the route.",
        ),
    ],
    run: |ctx, args| Box::pin(progress(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const BROKER_CONSUME_STATS: Command = Command {
    name: "brokerConsumeStats",
    about: "Fetch broker consume stats data.",
    options: &[
        value("b", "brokerAddr", "Broker address").required(),
        value("t", "timeoutMillis", "request timeout Millis"),
        value("l", "level", "threshold of print diff"),
        value("o", "order", "order topic"),
    ],
    run: |ctx, args| Box::pin(of_broker(ctx, args)),
    ..Command::DEFAULT
};

/// How far a group is on one queue.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Str>,
    topic: Str,
    broker: Str,
    queue: i32,
    broker_offset: i64,
    consumer_offset: i64,
    diff: i64,
    inflight: i64,
    /// Store time of the last message consumed, ms; 0 where none is.
    last_timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
}

impl Row {
    fn new(queue: &MessageQueue, offset: &ConsumeOffset) -> Row {
        Row {
            group: None,
            topic: queue.topic.clone(),
            broker: queue.broker_name.clone(),
            queue: queue.queue_id,
            broker_offset: offset.broker_offset,
            consumer_offset: offset.consumer_offset,
            diff: offset.broker_offset.wrapping_sub(offset.consumer_offset),
            inflight: offset.pull_offset.wrapping_sub(offset.consumer_offset),
            last_timestamp: offset.last_timestamp,
            client: None,
        }
    }
}

/// By topic, broker and number.
fn rows(stats: &ConsumeStats) -> Vec<Row> {
    let mut rows: Vec<Row> = stats
        .offset_table
        .iter()
        .map(|(queue, offset)| Row::new(&queue.0, offset))
        .collect();
    rows.sort_by(|a, b| (&a.topic, &a.broker, a.queue).cmp(&(&b.topic, &b.broker, b.queue)));
    rows
}

/// How far a group is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    consume_tps: f64,
    diff_total: i64,
    inflight_total: i64,
    queues: Vec<Row>,
}

async fn progress(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let Some(group) = args.get("g") else {
        return overview(ctx).await;
    };
    let topic = args.get("t");
    let cluster = args.get("c").filter(|_| topic.is_some());
    let stats = groups::progress(ctx, cluster, group, topic).await?;
    let mut queues = rows(&stats);
    let shows_clients = args
        .raw("s")
        .is_some_and(|text| text.eq_ignore_ascii_case("true"));
    if shows_clients {
        let owners = owners(ctx, group).await;
        for row in &mut queues {
            let queue = (row.topic.clone(), row.broker.clone(), row.queue);
            row.client = Some(owners.get(&queue).cloned().unwrap_or_else(|| "N/A".to_owned()));
        }
    }
    let sum = |of: fn(&Row) -> i64| queues.iter().map(of).fold(0, i64::wrapping_add);
    let progress = Progress {
        consume_tps: stats.consume_tps,
        diff_total: sum(|row| row.diff),
        inflight_total: sum(|row| row.inflight),
        queues,
    };
    ctx.show(&progress, || text(&progress, shows_clients));
    Ok(())
}

/// Which member reads which queue, as far as members say.
async fn owners(ctx: &Ctx, group: &str) -> BTreeMap<(Str, Str, i32), String> {
    let mut owners = BTreeMap::new();
    let Ok(members) = groups::members(ctx, group).await else {
        return owners;
    };
    for member in members.connection_set {
        // As in the reference, one that does not answer ends the search.
        let Ok(info) = groups::running(ctx, group, &member.client_id, false).await else {
            break;
        };
        let host = member.client_id.split('@').next().unwrap_or_default();
        for queue in info.mq_table.into_keys().map(|key| key.0) {
            owners.insert((queue.topic, queue.broker_name, queue.queue_id), host.to_owned());
        }
    }
    owners
}

fn text(progress: &Progress, shows_clients: bool) -> String {
    let mut out = format!(
        "{:<64}  {:<32}  {:<4}  {:<20}  {:<20}  ",
        "#Topic", "#Broker Name", "#QID", "#Broker Offset", "#Consumer Offset"
    );
    if shows_clients {
        out.push_str(&format!("{:<20} ", "#Client IP"));
    }
    out.push_str(&format!("{:<20} {:<20}{}\n", "#Diff", "#Inflight", "#LastTime"));
    for row in &progress.queues {
        out.push_str(&format!(
            "{:<64}  {:<32}  {:<4}  {:<20}  {:<20}  ",
            front(&row.topic, 64),
            front(&row.broker, 32),
            row.queue,
            row.broker_offset,
            row.consumer_offset
        ));
        if let Some(client) = &row.client {
            out.push_str(&format!("{client:<20} "));
        }
        let last = match row.last_timestamp {
            0 => "N/A".to_owned(),
            ms => time_of_second(ms),
        };
        out.push_str(&format!("{:<20} {:<20} {last}\n", row.diff, row.inflight));
    }
    out.push_str(&format!(
        "\nConsume TPS: {}\nConsume Diff Total: {}\nConsume Inflight Total: {}\n",
        fixed(progress.consume_tps, 2),
        progress.diff_total,
        progress.inflight_total
    ));
    out
}

/// A group at a glance.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Overview {
    group: String,
    count: usize,
    version: Option<String>,
    consume_type: Option<ConsumeType>,
    message_model: Option<MessageModel>,
    tps: i32,
    diff_total: i64,
}

async fn overview(ctx: &Ctx) -> Result<(), Failure> {
    let topics = list::all(ctx).await?;
    ctx.say(overview_line([
        "#Group",
        "#Count",
        "#Version",
        "#Type",
        "#Model",
        "#TPS",
        "#Diff Total",
    ]));
    for group in topics.iter().filter_map(|topic| group_of(topic)) {
        let stats = groups::progress(ctx, None, group, None).await.ok();
        let members = groups::members(ctx, group).await.ok();
        let shown = glance(group, stats.as_ref(), members.as_ref());
        ctx.row(&shown, || overview_text(&shown));
    }
    Ok(())
}

/// The group that has this retry topic.
pub(super) fn group_of(topic: &str) -> Option<&str> {
    let name = topic.strip_prefix("%RETRY%")?;
    Some(match name.split_once('+') {
        // The retry topic of a group that pops names the other topic too.
        Some((group, topic)) if !topic.contains('+') && !topic.is_empty() => group,
        _ => name,
    })
}

fn glance(group: &str, stats: Option<&ConsumeStats>, members: Option<&ConsumerConnection>) -> Overview {
    let diffs = stats.into_iter().flat_map(|stats| stats.offset_table.values());
    let versions = members.map(|members| members.connection_set.iter().map(|member| member.version));
    Overview {
        group: group.to_owned(),
        count: members.map_or(0, |members| members.connection_set.len()),
        version: versions.and_then(Iterator::min).map(version::name),
        consume_type: members.map(|members| members.consume_type),
        message_model: members.map(|members| members.message_model),
        tps: stats.map_or(0, |stats| stats.consume_tps as i32),
        diff_total: diffs
            .map(|offset| offset.broker_offset.wrapping_sub(offset.consumer_offset))
            .fold(0, i64::wrapping_add),
    }
}

fn overview_text(shown: &Overview) -> String {
    let kind = shown.consume_type.map(|kind| match kind {
        ConsumeType::ConsumeActively => "PULL",
        _ => "PUSH",
    });
    let is_push = shown.consume_type == Some(ConsumeType::ConsumePassively);
    let model = shown.message_model.filter(|_| is_push).map(|model| name(&model));
    overview_line([
        front(&shown.group, 64),
        &shown.count.to_string(),
        shown.version.as_deref().unwrap_or("OFFLINE"),
        kind.unwrap_or_default(),
        &model.unwrap_or_default(),
        &shown.tps.to_string(),
        &shown.diff_total.to_string(),
    ])
}

fn overview_line([group, count, version, kind, model, tps, diff]: [&str; 7]) -> String {
    format!("{group:<64}  {count:<6}  {version:<24} {kind:<5}  {model:<14}  {tps:<7}  {diff}\n")
}

/// How far the groups of a broker are.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfBroker {
    diff_total: i64,
    queues: Vec<Row>,
}

async fn of_broker(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let addr = args.need("b")?;
    let within = Duration::from_millis(args.number("t")?.unwrap_or(50_000));
    let least: i64 = args.number("l")?.unwrap_or(0);
    let header = GetBrokerConsumeStats {
        is_order: Some(args.truth("o").unwrap_or(false)),
    };
    let frame = Frame::request(0, &header);
    let answer = ctx
        .client
        .ask_frame::<GetBrokerConsumeStats>(addr, frame, within)
        .await?;
    let stats: BrokerConsumeStats = answer.body()?;
    let of_groups = stats.consume_stats_list.iter().flatten();
    let queues = of_groups.flat_map(|(group, topics)| {
        topics.iter().flat_map(rows).map(|row| Row {
            group: Some(group.clone()),
            ..row
        })
    });
    // What was never consumed is not listed.
    let queues = queues.filter(|row| row.diff >= least && row.last_timestamp > 0);
    let shown = OfBroker {
        diff_total: stats.total_diff,
        queues: queues.collect(),
    };
    ctx.show(&shown, || of_broker_text(&shown));
    Ok(())
}

fn of_broker_text(shown: &OfBroker) -> String {
    let line = |[topic, group, broker, queue, end, offset, diff, last]: [&str; 8]| {
        format!(
            "{topic:<64}  {group:<64}  {broker:<32}  {queue:<4}  {end:<20}  {offset:<20}  {diff:<20}  {last}\n"
        )
    };
    let mut out = line([
        "#Topic",
        "#Group",
        "#Broker Name",
        "#QID",
        "#Broker Offset",
        "#Consumer Offset",
        "#Diff",
        "#LastTime",
    ]);
    for row in &shown.queues {
        out.push_str(&line([
            front(&row.topic, 64),
            row.group.as_deref().unwrap_or_default(),
            front(&row.broker, 32),
            &row.queue.to_string(),
            &row.broker_offset.to_string(),
            &row.consumer_offset.to_string(),
            &row.diff.to_string(),
            &time_of_second(row.last_timestamp),
        ]));
    }
    out.push_str(&format!("\nDiff Total: {}\n", shown.diff_total));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_topic_names_its_group() {
        assert_eq!(group_of("%RETRY%CG"), Some("CG"));
        assert_eq!(group_of("%RETRY%CG+T"), Some("CG"));
        assert_eq!(group_of("%RETRY%CG_T"), Some("CG_T"));
        assert_eq!(group_of("T"), None);
    }

    #[test]
    fn queues_are_shown_by_topic_and_number() {
        let queue = |topic: &str, queue_id| MessageQueue {
            topic: topic.into(),
            broker_name: "b".into(),
            queue_id,
        };
        let offset = ConsumeOffset {
            broker_offset: 7,
            consumer_offset: 4,
            last_timestamp: 0,
            pull_offset: 5,
        };
        let mut stats = ConsumeStats::default();
        for key in [queue("B", 10), queue("B", 9), queue("A", 1)] {
            stats
                .offset_table
                .insert(wire::body::queue::QueueKey(key), offset);
        }
        let rows = rows(&stats);
        let order: Vec<_> = rows.iter().map(|row| (row.topic.as_str(), row.queue)).collect();
        assert_eq!(order, [("A", 1), ("B", 9), ("B", 10)]);
        let progress = Progress {
            consume_tps: 0.0,
            diff_total: 9,
            inflight_total: 3,
            queues: rows,
        };
        let text = text(&progress, false);
        assert!(text.contains("  7                     4                     3                    1                    N/A\n"), "{text}");
        assert!(
            text.ends_with("\nConsume TPS: 0.00\nConsume Diff Total: 9\nConsume Inflight Total: 3\n"),
            "{text}"
        );
    }
}
