// SPDX-License-Identifier: Apache-2.0
//! `topicRoute`: which brokers have a topic, and how many queues there.

use std::collections::BTreeMap;

use serde::Serialize;
use wire::Str;
use wire::body::topic_route::{BrokerAddrs, TopicRoute};
use wire::fastjson;

use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, flag, value};

pub(crate) const TOPIC_ROUTE: Command = Command {
    name: "topicRoute",
    about: "Examine topic route info.",
    options: &[
        value("t", "topic", "topic name").required().topic(),
        flag("l", "list", "Use list format to print data"),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let route = lookup::route(ctx, args.need("t")?).await?;
    if !args.has("l") {
        ctx.show(&route, || {
            let json = fastjson::to_vec_pretty(&route);
            format!("{}\n", String::from_utf8_lossy(&json))
        });
        return Ok(());
    }
    let rows = rows(route);
    ctx.show(&rows, || text(&rows));
    Ok(())
}

/// The part of a topic on one broker.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    cluster: Str,
    broker: Str,
    addresses: BTreeMap<i64, Str>,
    read_queues: i32,
    write_queues: i32,
    perm: i32,
}

fn rows(mut route: TopicRoute) -> Vec<Row> {
    route
        .broker_datas
        .sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    let queues = |broker: &str| {
        route
            .queue_datas
            .iter()
            .rfind(|queues| queues.broker_name == broker)
    };
    let row = |broker: &BrokerAddrs| {
        let queues = queues(&broker.broker_name)?;
        Some(Row {
            cluster: broker.cluster.clone(),
            broker: broker.broker_name.clone(),
            addresses: broker.broker_addrs.clone(),
            read_queues: queues.read_queue_nums,
            write_queues: queues.write_queue_nums,
            perm: queues.perm,
        })
    };
    route.broker_datas.iter().filter_map(row).collect()
}

fn text(rows: &[Row]) -> String {
    let mut lines = vec![line([
        "#ClusterName",
        "#BrokerName",
        "#BrokerAddrs",
        "#ReadQueue",
        "#WriteQueue",
        "#Perm",
    ])];
    lines.extend(rows.iter().map(|row| {
        let addrs: Vec<String> = row
            .addresses
            .iter()
            .map(|(id, addr)| format!("{id}={addr}"))
            .collect();
        line([
            &row.cluster,
            &row.broker,
            &format!("{{{}}}", addrs.join(", ")),
            &row.read_queues.to_string(),
            &row.write_queues.to_string(),
            &row.perm.to_string(),
        ])
    }));
    lines.push("-".repeat(158) + "\n");
    let sum = |of: fn(&Row) -> i32| rows.iter().map(of).sum::<i32>().to_string();
    lines.push(line([
        "Total:",
        &rows.len().to_string(),
        "",
        &sum(|row| row.read_queues),
        &sum(|row| row.write_queues),
        "",
    ]));
    lines.concat()
}

fn line([cluster, broker, addrs, read, write, perm]: [&str; 6]) -> String {
    format!("{cluster:<45} {broker:<32} {addrs:<50} {read:<10} {write:<11} {perm:<5}\n")
}
