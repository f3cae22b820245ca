// SPDX-License-Identifier: Apache-2.0
//! `statsAll`: how much goes into each topic, and out of it to each group.

use serde::Serialize;
use wire::Str;
use wire::api::group::GetConsumeStats;
use wire::api::stats::ViewBrokerStatsData;
use wire::body::stats::{BrokerStatsData, ConsumeStats};
use wire::body::topic_route::TopicRoute;

use super::lookup;
use super::topic::list;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, flag, value};
use crate::text::{fixed, front};

pub(crate) const STATS_ALL: Command = Command {
    name: "statsAll",
    about: "Topic and Consumer tps stats.",
    options: &[
        flag("a", "activeTopic", "print active topic only"),
        value("t", "topic", "print select topic only").topic(),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// A topic, and a group that reads it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Flow {
    topic: Str,
    group: Option<Str>,
    lag: i64,
    in_tps: f64,
    out_tps: Option<f64>,
    in_day: i64,
    out_day: Option<i64>,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topics = list::all(ctx).await?;
    ctx.say(line([
        "#Topic",
        "#Consumer Group",
        "#Accumulation",
        "#InTPS",
        "#OutTPS",
        "#InMsg24Hour",
        "#OutMsg24Hour",
    ]));
    let only = args.raw("t").filter(|topic| !topic.is_empty());
    let mut flows = Vec::new();
    for topic in topics {
        if list::belongs_to_group(&topic) || only.is_some_and(|only| only != topic) {
            continue;
        }
        // One that has gone in the meantime is passed over.
        let Ok(found) = flows_of(ctx, &topic).await else {
            continue;
        };
        for flow in found {
            if !args.has("a") || flow.in_day > 0 || flow.out_day.is_some_and(|count| count > 0) {
                ctx.say(text(&flow));
                flows.push(flow);
            }
        }
    }
    ctx.show(&flows, String::new);
    Ok(())
}

async fn flows_of(ctx: &Ctx, topic: &Str) -> Result<Vec<Flow>, Failure> {
    let route = lookup::route(ctx, topic).await?;
    let groups = list::groups_of(ctx, &route, topic).await?;
    let (in_tps, in_day) = counted(ctx, &route, "TOPIC_PUT_NUMS", topic).await;
    let mut flows = Vec::new();
    for group in groups {
        let key = format!("{topic}@{group}");
        let (out_tps, out_day) = counted(ctx, &route, "GROUP_GET_NUMS", &key).await;
        flows.push(Flow {
            topic: topic.clone(),
            lag: lag(ctx, &group, topic).await.unwrap_or(0).max(0),
            group: Some(group),
            in_tps,
            out_tps: Some(out_tps),
            in_day,
            out_day: Some(out_day),
        });
    }
    if flows.is_empty() {
        flows.push(Flow {
            topic: topic.clone(),
            group: None,
            lag: 0,
            in_tps,
            out_tps: None,
            in_day,
            out_day: None,
        });
    }
    Ok(flows)
}

/// The rate of the last minute and the count of the last day, over all masters; one that does not answer counts nothing.
async fn counted(ctx: &Ctx, route: &TopicRoute, name: &str, key: &str) -> (f64, i64) {
    let (mut rate, mut count) = (0.0, 0_i64);
    for addr in route.broker_datas.iter().filter_map(lookup::master_addr) {
        let header = ViewBrokerStatsData {
            stats_name: name.into(),
            stats_key: key.into(),
        };
        let asked = async { ctx.client.ask(addr, &header).await?.body::<BrokerStatsData>() };
        if let Ok(stats) = asked.await {
            rate += stats.stats_minute.tps;
            // A broker that has not run for a day or an hour has nothing for it yet.
            let sums = [stats.stats_day, stats.stats_hour, stats.stats_minute].map(|item| item.sum);
            count = count.saturating_add(sums.into_iter().find(|sum| *sum != 0).unwrap_or(0));
        }
    }
    (rate, count)
}

/// How many messages of a topic a group has not consumed.
async fn lag(ctx: &Ctx, group: &str, topic: &str) -> Result<i64, Failure> {
    let route = match lookup::route(ctx, &format!("%RETRY%{group}")).await {
        Err(_) => lookup::route(ctx, topic).await?,
        route => route?,
    };
    let mut lag = 0_i64;
    for addr in route.broker_datas.iter().filter_map(lookup::any_addr) {
        let header = GetConsumeStats {
            consumer_group: group.into(),
            topic: Some(topic.into()),
            topic_list: None,
        };
        let stats: ConsumeStats = ctx.client.ask(addr, &header).await?.body()?;
        for queue in stats.offset_table.values() {
            lag = lag.saturating_add(queue.broker_offset.saturating_sub(queue.consumer_offset));
        }
    }
    Ok(lag)
}

fn text(flow: &Flow) -> String {
    let out_tps = flow.out_tps.map(|tps| fixed(tps, 2)).unwrap_or_default();
    let out_day = flow.out_day.map(|count| count.to_string());
    line([
        front(&flow.topic, 64),
        front(flow.group.as_deref().unwrap_or_default(), 64),
        &flow.lag.to_string(),
        &fixed(flow.in_tps, 2),
        &out_tps,
        &flow.in_day.to_string(),
        out_day.as_deref().unwrap_or("NO_CONSUMER"),
    ])
}

fn line([topic, group, lag, in_tps, out_tps, in_day, out_day]: [&str; 7]) -> String {
    format!("{topic:<64}  {group:<64} {lag:>12} {in_tps:>11} {out_tps:>11} {in_day:>14} {out_day:>14}\n")
}
