// SPDX-License-Identifier: Apache-2.0
//! `brokerStatus`: everything a broker counts and measures.

use std::collections::BTreeMap;

use serde::Serialize;
use wire::Str;
use wire::api::config::GetBrokerRuntimeInfo;
use wire::body::stats::KvTable;

use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};

pub(crate) const BROKER_STATUS: Command = Command {
    name: "brokerStatus",
    about: "Fetch broker runtime status data.",
    options: &[
        value("b", "brokerAddr", "Broker address").one_of(1),
        value("c", "clusterName", "which cluster").one_of(1),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// A broker and its table.
#[derive(Serialize)]
struct Status {
    broker: Str,
    values: BTreeMap<Str, Str>,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    if let Some(addr) = args.get("b") {
        let table = table(ctx, addr).await?;
        ctx.show(&table, || {
            let lines = table.iter().map(|(key, value)| format!("{key:<32}: {value}\n"));
            lines.collect()
        });
        return Ok(());
    }
    let clusters = lookup::clusters(ctx).await?;
    let mut failed = None;
    for addr in lookup::replicas(&clusters, args.need("c")?)? {
        match table(ctx, &addr).await {
            Ok(values) => {
                let status = Status { broker: addr, values };
                ctx.row(&status, || text(&status));
            }
            // The others are asked all the same.
            Err(failure) => failed = Some(failure),
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn table(ctx: &Ctx, addr: &str) -> Result<BTreeMap<Str, Str>, Failure> {
    let table: KvTable = ctx.client.ask(addr, &GetBrokerRuntimeInfo).await?.body()?;
    Ok(table.table)
}

fn text(status: &Status) -> String {
    let broker = &status.broker;
    let lines = status.values.iter();
    lines
        .map(|(key, value)| format!("{broker:<24} {key:<32}: {value}\n"))
        .collect()
}
