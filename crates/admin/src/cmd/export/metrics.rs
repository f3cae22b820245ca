// SPDX-License-Identifier: Apache-2.0
//! `exportMetrics`: how much each broker of a cluster does and has, in a file.

use std::collections::BTreeMap;

use wire::Str;
use wire::api::config::GetBrokerRuntimeInfo;
use wire::api::stats::ViewBrokerStatsData;
use wire::body::stats::{BrokerStatsData, KvTable};

use super::configs::settings;
use super::json::Json;
use super::{DIRECTORY, tables, write};
use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups;
use crate::hash_order::hash_map;
use crate::options::{Args, value};
use crate::version;

pub(crate) const EXPORT_METRICS: Command = Command {
    name: "exportMetrics",
    about: "Export metrics.",
    options: &[
        value("c", "clusterName", "choose a cluster to export").required(),
        value(
            "f",
            "filePath",
            "export metrics.json path | default /tmp/rocketmq/export",
        ),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// Of a broker, or of all of them.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    in_tps: f64,
    out_tps: f64,
    half_tps: f64,
    delayed_tps: f64,
    in_day: i64,
    out_day: i64,
    half_day: i64,
    delayed_day: i64,
}

impl Flow {
    fn add(&mut self, other: &Flow) {
        self.in_tps += other.in_tps;
        self.out_tps += other.out_tps;
        self.half_tps += other.half_tps;
        self.delayed_tps += other.delayed_tps;
        self.in_day = self.in_day.saturating_add(other.in_day);
        self.out_day = self.out_day.saturating_add(other.out_day);
        self.half_day = self.half_day.saturating_add(other.half_day);
        self.delayed_day = self.delayed_day.saturating_add(other.delayed_day);
    }

    fn rates(&self, [normal_in, normal_out, half, delayed]: [&str; 4]) -> Json {
        Json::record([
            (normal_in, Some(Json::Double(self.in_tps))),
            (normal_out, Some(Json::Double(self.out_tps))),
            (half, Some(Json::Double(self.half_tps))),
            (delayed, Some(Json::Double(self.delayed_tps))),
        ])
    }

    fn days(&self) -> Json {
        Json::record([
            ("normalOneDayInNum", Some(Json::Whole(self.in_day))),
            ("normalOneDayOutNum", Some(Json::Whole(self.out_day))),
            ("transOneDayInNum", Some(Json::Whole(self.half_day))),
            ("scheduleOneDayInNum", Some(Json::Whole(self.delayed_day))),
        ])
    }
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let clusters = lookup::clusters(ctx).await?;
    let mut total = Flow::default();
    let mut reports = Vec::new();
    for name in lookup::broker_names(&clusters, args.need("c")?)? {
        let Some(replicas) = clusters.broker_addr_table.get(name) else {
            continue;
        };
        let addr = lookup::master_addr(replicas)
            .ok_or_else(|| Failure::Other(format!("the broker {name} has no master that could be asked")))?;
        let (report, flow) = broker(ctx, addr).await?;
        total.add(&flow);
        reports.push((name.to_string(), report));
    }
    let rates = [
        "totalNormalInTps",
        "totalNormalOutTps",
        "totalTransInTps",
        "totalScheduleInTps",
    ];
    let totals = Json::record([
        ("totalTps", Some(total.rates(rates))),
        ("totalOneDayNum", Some(total.days())),
    ]);
    let document = Json::record([
        ("evaluateReport", Some(Json::table(reports))),
        ("totalData", Some(totals)),
    ]);
    let dir = args.get("f").unwrap_or(DIRECTORY);
    write(ctx, &format!("{dir}/metrics.json"), &document, "")
}

async fn broker(ctx: &Ctx, addr: &str) -> Result<(Json, Flow), Failure> {
    let table: KvTable = ctx.client.ask(addr, &GetBrokerRuntimeInfo).await?.body()?;
    let table = table.table;
    let settings = settings(ctx, addr).await?;
    let groups = tables::groups(ctx, addr).await?.entries;
    let topics = tables::topics(ctx, addr, false).await?.entries;
    let flow = flow(ctx, addr, &table).await?;
    let known = |key: &str| table.get(key).map(|text| Json::Text(text.to_string()));
    let size = |number: usize| Some(Json::Whole(i64::try_from(number).unwrap_or(i64::MAX)));
    let disk = Json::record([
        ("commitLogDiskRatio", known("commitLogDiskRatio")),
        ("consumeQueueDiskRatio", known("consumeQueueDiskRatio")),
    ]);
    let rates = flow.rates(["normalInTps", "normalOutTps", "transInTps", "scheduleInTps"]);
    let quota = Json::record([
        ("diskRatio", Some(disk)),
        ("tps", Some(rates)),
        ("oneDayNum", Some(flow.days())),
        ("messageAverageSize", known("putMessageAverageSize")),
        ("topicSize", size(topics.len())),
        ("groupSize", size(groups.len())),
    ]);
    let threads = settings.get("clientCallbackExecutorThreads");
    let environment = Json::record([
        ("cpuNum", threads.map(|text| Json::Text(text.to_owned()))),
        ("totalMemKBytes", known("totalMemKBytes")),
    ]);
    let names: Vec<Str> = groups.into_iter().map(|(_, config)| config.group_name).collect();
    let versions = Json::record([
        (
            "rocketmqVersion",
            Some(Json::Text(version::name(wire::frame::VERSION))),
        ),
        ("clientInfo", Some(Json::List(clients(ctx, &names).await))),
    ]);
    let report = Json::record([
        ("runtimeEnv", Some(environment)),
        ("runtimeQuota", Some(quota)),
        ("runtimeVersion", Some(versions)),
    ]);
    Ok((report, flow))
}

async fn flow(ctx: &Ctx, addr: &str, table: &BTreeMap<Str, Str>) -> Result<Flow, Failure> {
    let wrong = |key: &str| Failure::Other(format!("{addr} does not say '{key}' among what it counts"));
    let rate = |key: &str| -> Result<f64, Failure> {
        let first = table.get(key).and_then(|text| text.split(' ').next());
        match first.ok_or_else(|| wrong(key))? {
            // The broker has only just begun to count.
            "" => Ok(0.0),
            text => text.parse().map_err(|_| wrong(key)),
        }
    };
    let day = |name: &str| -> Result<i64, Failure> {
        let count = |key: &str| -> Result<i64, Failure> {
            let text = table.get(key).ok_or_else(|| wrong(key))?;
            text.parse().map_err(|_| wrong(key))
        };
        let today = count(&format!("msg{name}TotalTodayMorning"))?;
        let before = count(&format!("msg{name}TotalYesterdayMorning"))?;
        Ok(today.saturating_sub(before))
    };
    let (half_tps, half_day) = counted(ctx, addr, "RMQ_SYS_TRANS_HALF_TOPIC").await?;
    let (delayed_tps, delayed_day) = counted(ctx, addr, "SCHEDULE_TOPIC_XXXX").await?;
    Ok(Flow {
        in_tps: rate("putTps")?,
        out_tps: rate("getTransferredTps")?,
        half_tps,
        delayed_tps,
        in_day: day("Put")?,
        out_day: day("Get")?,
        half_day,
        delayed_day,
    })
}

/// The rate of the last minute and the count of the last day, of what goes into a topic; nothing where nobody counts.
async fn counted(ctx: &Ctx, addr: &str, topic: &str) -> Result<(f64, i64), Failure> {
    let header = ViewBrokerStatsData {
        stats_name: "TOPIC_PUT_NUMS".into(),
        stats_key: topic.into(),
    };
    let stats: BrokerStatsData = match ctx.client.ask(addr, &header).await {
        Ok(answer) => answer.body()?,
        Err(failure) if failure.response_code().is_some() => return Ok((0.0, 0)),
        Err(failure) => return Err(failure),
    };
    let sums = [stats.stats_day.sum, stats.stats_hour.sum, stats.stats_minute.sum];
    let day = sums.into_iter().find(|sum| *sum != 0).unwrap_or(0);
    Ok((stats.stats_minute.tps, day))
}

/// Languages and versions of the consumers that are online.
async fn clients(ctx: &Ctx, names: &[Str]) -> Vec<Json> {
    let mut found: Vec<String> = Vec::new();
    for group in names {
        let Ok(members) = groups::members(ctx, group).await else {
            continue;
        };
        for member in members.connection_set {
            let client = format!("{}%{}", member.language.name(), version::name(member.version));
            if !found.contains(&client) {
                found.push(client);
            }
        }
    }
    hash_map(found, |client| client)
        .into_iter()
        .map(Json::Text)
        .collect()
}
