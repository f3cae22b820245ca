// SPDX-License-Identifier: Apache-2.0
//! `clusterList`: the brokers of all clusters, and how each is doing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};
use wire::Str;
use wire::api::config::GetBrokerRuntimeInfo;
use wire::body::stats::KvTable;
use wire::body::topic_route::ClusterInfo;

use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;
use crate::options::{Args, flag, value};
use crate::text::fixed;

pub(crate) const CLUSTER_LIST: Command = Command {
    name: "clusterList",
    about: "List cluster infos.",
    options: &[
        flag("m", "moreStats", "Print more stats"),
        value("i", "interval", "specify intervals numbers, it is in seconds"),
        value("c", "clusterName", "which cluster"),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let pause = args.number::<u64>("i")?.map(Duration::from_secs);
    ctx.repeat(pause, async || match round(ctx, args).await? {
        // As in the reference, what one broker does not say does not end the rounds.
        Some(failure) if pause.is_some() => {
            ctx.warn(failure);
            Ok(())
        }
        failed => failed.map_or(Ok(()), Err),
    })
    .await
}

/// Why the last broker that did not say how it is doing did not.
async fn round(ctx: &Ctx, args: &Args) -> Result<Option<Failure>, Failure> {
    let clusters = lookup::clusters(ctx).await?;
    let members = members(&clusters, args.get("c").filter(|name| !name.is_empty()))?;
    let mut failed = None;
    let mut tables = Vec::with_capacity(members.len());
    for member in &members {
        let asked = async { ctx.client.ask(&member.addr, &GetBrokerRuntimeInfo).await?.body() };
        let table = asked.await.unwrap_or_else(|failure: Failure| {
            failed = Some(failure);
            KvTable::default()
        });
        tables.push(table.table);
    }
    let pairs = members.into_iter().zip(tables);
    if args.has("m") {
        let rows: Vec<Totals> = pairs.map(|(member, table)| totals(member, &table)).collect();
        ctx.show(&rows, || totals_text(&rows));
    } else {
        let now = ctx.env.clock.now_ms();
        let rows: Vec<Broker> = pairs.map(|(member, table)| broker(member, &table, now)).collect();
        ctx.show(&rows, || brokers_text(&rows));
    }
    Ok(failed)
}

/// One process of a cluster.
#[derive(Serialize)]
struct Member {
    cluster: Str,
    broker: Str,
    id: i64,
    addr: Str,
}

/// In the order of the reference: its tables of clusters and of brokers, names of brokers sorted.
fn members(clusters: &ClusterInfo, only: Option<&str>) -> Result<Vec<Member>, Failure> {
    let names: Vec<&str> = match only {
        Some(name) => lookup::broker_names(clusters, name).map(|_| vec![name])?,
        None => hash_map(clusters.cluster_addr_table.keys().map(Str::as_str), |name| name),
    };
    let mut members = Vec::new();
    for cluster in names {
        let mut brokers = lookup::broker_names(clusters, cluster)?;
        brokers.sort();
        for broker in brokers
            .iter()
            .filter_map(|name| clusters.broker_addr_table.get(*name))
        {
            members.extend(broker.broker_addrs.iter().map(|(id, addr)| Member {
                cluster: cluster.into(),
                broker: broker.broker_name.clone(),
                id: *id,
                addr: addr.clone(),
            }));
        }
    }
    Ok(members)
}

/// How a broker is doing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Broker {
    #[serde(flatten)]
    member: Member,
    version: Option<Str>,
    in_tps: f64,
    out_tps: f64,
    send: Pool,
    pull: Pool,
    ack: Pool,
    timer: Timer,
    #[serde(serialize_with = "as_number")]
    page_cache_lock_ms: Option<Str>,
    /// How long ago the oldest message was stored. An empty store says nothing, for which the reference prints the age of 1970.
    #[serde(rename = "hours")]
    known_hours: Option<f64>,
    #[serde(skip)]
    hours: f64,
    disk_ratio: f64,
    active: bool,
}

/// Requests of one kind that wait.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pool {
    #[serde(serialize_with = "as_number")]
    waiting: Option<Str>,
    #[serde(serialize_with = "as_number")]
    head_wait_ms: Option<Str>,
}

/// As data a number, or nothing; the reference prints the text as it came.
fn as_number<S: Serializer>(text: &Option<Str>, serializer: S) -> Result<S::Ok, S::Error> {
    let number: Option<i64> = text.as_deref().and_then(|text| text.parse().ok());
    number.serialize(serializer)
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Timer {
    read_behind: i64,
    offset_behind: i64,
    congested: i64,
    enqueue_tps: f32,
    dequeue_tps: f32,
}

type Table = BTreeMap<Str, Str>;

fn broker(member: Member, table: &Table, now_ms: i64) -> Broker {
    let text = |key: &str| table.get(key).cloned();
    // "now 10s-ago 60s-ago …"
    let rate = |key: &str| -> f64 {
        let first = table.get(key).and_then(|text| text.split(' ').next());
        first.and_then(|text| text.parse().ok()).unwrap_or(0.0)
    };
    let pool = |name: &str| Pool {
        waiting: text(&format!("{name}ThreadPoolQueueSize")),
        head_wait_ms: text(&format!("{name}ThreadPoolQueueHeadWaitTimeMills")),
    };
    let answered = !table.is_empty();
    let earliest = number::<i64>(table, "earliestMessageTimeStamp");
    let hours = |at: i64| now_ms.saturating_sub(at) as f64 / 1000.0 / 60.0 / 60.0;
    let mut ack = pool("ack");
    // Brokers before 5.0 have none.
    for part in [&mut ack.waiting, &mut ack.head_wait_ms] {
        *part = part.take().or_else(|| answered.then(|| "N".into()));
    }
    Broker {
        member,
        version: text("brokerVersionDesc"),
        in_tps: rate("putTps"),
        out_tps: rate("getTransferredTps"),
        send: pool("send"),
        pull: pool("pull"),
        ack,
        timer: timer(table).unwrap_or_default(),
        page_cache_lock_ms: text("pageCacheLockTimeMills"),
        known_hours: earliest.filter(|at| *at > 0).map(hours),
        hours: earliest.map_or(0.0, hours),
        disk_ratio: number(table, "commitLogDiskRatio").unwrap_or(0.0),
        active: table
            .get("brokerActive")
            .is_some_and(|text| text.eq_ignore_ascii_case("true")),
    }
}

fn number<T: std::str::FromStr>(table: &Table, key: &str) -> Option<T> {
    table.get(key).and_then(|text| text.parse().ok())
}

fn timer(table: &Table) -> Option<Timer> {
    Some(Timer {
        read_behind: number(table, "timerReadBehind")?,
        offset_behind: number(table, "timerOffsetBehind")?,
        congested: number(table, "timerCongestNum")?,
        enqueue_tps: number(table, "timerEnqueueTps")?,
        dequeue_tps: number(table, "timerDequeueTps")?,
    })
}

fn brokers_text(rows: &[Broker]) -> String {
    let mut out = format!(
        "{:<22}  {:<22}  {:<4}  {:<22} {:<16}  {:>16}  {:>30}  {:<22}  {:<11}  {:<12}  {:<8}  {:<10}\n",
        "#Cluster Name",
        "#Broker Name",
        "#BID",
        "#Addr",
        "#Version",
        "#InTPS(LOAD)",
        "#OutTPS(LOAD)",
        "#Timer(Progress)",
        "#PCWait(ms)",
        "#Hour",
        "#SPACE",
        "#ACTIVATED"
    );
    for row in rows {
        out.push_str(&format!(
            "{:<22}  {:<22}  {:<4}  {:<22} {:<16}  {:>16}  {:>30}  {:<22}  {:>11}  {:<12}  {:<8}  {:>10}\n",
            row.member.cluster,
            row.member.broker,
            row.member.id,
            row.member.addr,
            row.version.as_deref().unwrap_or_default(),
            format!("{:>9}({})", fixed(row.in_tps, 2), load(&row.send)),
            format!(
                "{:>9}({}|{})",
                fixed(row.out_tps, 2),
                load(&row.pull),
                load(&row.ack)
            ),
            progress(&row.timer),
            row.page_cache_lock_ms.as_deref().unwrap_or_default(),
            fixed(row.hours, 2),
            fixed(row.disk_ratio, 4),
            row.active
        ));
    }
    out
}

fn load(pool: &Pool) -> String {
    let part = |text: &Option<Str>| text.as_deref().unwrap_or_default().to_owned();
    format!("{},{}ms", part(&pool.waiting), part(&pool.head_wait_ms))
}

fn progress(timer: &Timer) -> String {
    format!(
        "{}-{}({}w, {}, {})",
        timer.read_behind,
        timer.offset_behind,
        fixed(f64::from(timer.congested as f32 / 10_000.0), 1),
        fixed(f64::from(timer.enqueue_tps), 1),
        fixed(f64::from(timer.dequeue_tps), 1)
    )
}

/// How many messages went in and out, by days.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    #[serde(flatten)]
    member: Member,
    in_yesterday: i64,
    out_yesterday: i64,
    in_today: i64,
    out_today: i64,
}

fn totals(member: Member, table: &Table) -> Totals {
    let counts = |name: &str| -> Option<[i64; 3]> {
        Some([
            number(table, &format!("msg{name}TotalYesterdayMorning"))?,
            number(table, &format!("msg{name}TotalTodayMorning"))?,
            number(table, &format!("msg{name}TotalTodayNow"))?,
        ])
    };
    // One that is missing makes all of them count for nothing.
    let both = counts("Put").zip(counts("Get")).unwrap_or_default();
    let ([in_before, in_morning, in_now], [out_before, out_morning, out_now]) = both;
    Totals {
        member,
        in_yesterday: in_morning.saturating_sub(in_before),
        out_yesterday: out_morning.saturating_sub(out_before),
        in_today: in_now.saturating_sub(in_morning),
        out_today: out_now.saturating_sub(out_morning),
    }
}

fn totals_text(rows: &[Totals]) -> String {
    let line = |cells: [&str; 6]| {
        let [cluster, broker, in_yesterday, out_yesterday, in_today, out_today] = cells;
        format!(
            "{cluster:<16}  {broker:<32} {in_yesterday:>14} {out_yesterday:>14} {in_today:>14} {out_today:>14}\n"
        )
    };
    let mut out = line([
        "#Cluster Name",
        "#Broker Name",
        "#InTotalYest",
        "#OutTotalYest",
        "#InTotalToday",
        "#OutTotalToday",
    ]);
    for row in rows {
        out.push_str(&line([
            &row.member.cluster,
            &row.member.broker,
            &row.in_yesterday.to_string(),
            &row.out_yesterday.to_string(),
            &row.in_today.to_string(),
            &row.out_today.to_string(),
        ]));
    }
    out
}
