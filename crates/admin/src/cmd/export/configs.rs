// SPDX-License-Identifier: Apache-2.0
//! `exportConfigs`: the main settings of the brokers of a cluster, in a file.

use wire::api::config::GetBrokerConfig;

use super::json::Json;
use super::{DIRECTORY, write};
use crate::cmd::lookup::{self, MASTER};
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};
use crate::settings::Settings;

pub(crate) const EXPORT_CONFIGS: Command = Command {
    name: "exportConfigs",
    about: "Export configs.",
    options: &[
        value("c", "clusterName", "choose a cluster to export").required(),
        value(
            "f",
            "filePath",
            "export configs.json path | default /tmp/rocketmq/export",
        ),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// What is written of each broker.
const EXPORTED: [&str; 16] = [
    "brokerClusterName",
    "brokerId",
    "brokerName",
    "brokerRole",
    "fileReservedTime",
    "filterServerNums",
    "flushDiskType",
    "maxMessageSize",
    "messageDelayLevel",
    "msgTraceTopicName",
    "slaveReadEnable",
    "traceOn",
    "traceTopicEnable",
    "useTLS",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
];

/// The settings of a broker.
pub(super) async fn settings(ctx: &Ctx, addr: &str) -> Result<Settings, Failure> {
    let answer = ctx.client.ask(addr, &GetBrokerConfig).await?;
    Settings::parse(answer.text()?)
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let clusters = lookup::clusters(ctx).await?;
    let mut brokers = Vec::new();
    let mut slaves = 0_usize;
    for name in lookup::broker_names(&clusters, args.need("c")?)? {
        let Some(replicas) = clusters.broker_addr_table.get(name) else {
            continue;
        };
        let master = lookup::master_addr(replicas).ok_or_else(|| {
            Failure::Other(format!(
                "the broker {name} has no master whose settings could be asked for"
            ))
        })?;
        slaves += replicas.broker_addrs.keys().filter(|id| **id != MASTER).count();
        let settings = settings(ctx, master).await?;
        let exported = EXPORTED.iter().filter_map(|key| {
            let value = settings.get(key)?;
            Some(((*key).to_owned(), value.to_owned()))
        });
        let called = settings.get("brokerName").unwrap_or(name).to_owned();
        brokers.push((called, Json::settings(exported)));
    }
    let count = |number: usize| Some(Json::Whole(i64::try_from(number).unwrap_or(i64::MAX)));
    let scale = Json::record([
        ("namesrvSize", count(ctx.client.name_servers()?.len())),
        ("masterBrokerSize", count(brokers.len())),
        ("slaveBrokerSize", count(slaves)),
    ]);
    let document = Json::record([
        ("brokerConfigs", Some(Json::table(brokers))),
        ("clusterScale", Some(scale)),
    ]);
    let dir = args.get("f").unwrap_or(DIRECTORY);
    write(ctx, &format!("{dir}/configs.json"), &document, "")
}
