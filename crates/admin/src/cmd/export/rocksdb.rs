// SPDX-License-Identifier: Apache-2.0
//! Commands about RocksDB. This tool cannot read its files, and brokers of ours have none; brokers of the reference can be asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::Str;
use wire::api::elsewhere::{CheckRocksdbCqWriteProgress, ExportRocksdbConfigToJson};
use wire::body::topic_route::ClusterInfo;
use wire::frame::Frame;

use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;
use crate::options::{Args, value};

pub(crate) const EXPORT_METADATA_IN_ROCKS_DB: Command = Command {
    name: "exportMetadataInRocksDB",
    about: "export RocksDB kv config (topics/subscriptionGroups). Recommend to use [mqadmin rocksDBConfigToJson]",
    options: &[
        value("p", "path", "Absolute path for the metadata directory").required(),
        value(
            "t",
            "configType",
            "Name of kv config, e.g. topics/subscriptionGroups",
        )
        .required(),
        value("j", "jsonEnable", "Json format enable, Default: false"),
    ],
    run: |ctx, args| Box::pin(async { metadata(ctx, args) }),
    ..Command::DEFAULT
};

pub(crate) const ROCKS_DB_CONFIG_TO_JSON: Command = Command {
    name: "rocksDBConfigToJson",
    about: ABOUT,
    options: &[
        value(
            "t",
            "configType",
            "Name of kv config, e.g. topics/subscriptionGroups/consumerOffsets. Required in local mode and default \
             all in rpc mode.",
        ),
        value(
            "p",
            "configPath",
            "[local mode] Absolute path to the metadata config directory",
        ),
        value(
            "e",
            "exportFile",
            "[local mode] Absolute file path for exporting, auto backup existing file, not directory. If exportFile \
             is provided, will export Json file and ignore [-j].",
        ),
        value(
            "j",
            "jsonEnable",
            "[local mode] Json format enable, Default: true. If exportFile is provided, will export Json file and \
             ignore [-j].",
        ),
        value(
            "n",
            "nameserverAddr",
            "[rpc mode] nameserverAddr. If nameserverAddr and clusterName are provided, will ignore [-p, -e, -j, -b] \
             args",
        ),
        value(
            "c",
            "cluster",
            "[rpc mode] Cluster name. If nameserverAddr and clusterName are provided, will ignore [-p, -e, -j, -b] \
             args",
        ),
        value(
            "b",
            "brokerAddr",
            "[rpc mode] Broker address. If brokerAddr is provided, will ignore [-p, -e, -j] args",
        ),
    ],
    run: |ctx, args| Box::pin(to_json(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const CHECK_ROCKSDB_CQ_WRITE_PROGRESS: Command = Command {
    name: "checkRocksdbCqWriteProgress",
    about: "check if rocksdb cq is same as file cq",
    options: &[
        value("c", "cluster", "cluster name").required(),
        value("n", "nameserverAddr", "nameserverAddr").required(),
        value("t", "topic", "topic name").topic(),
        value("cf", "checkFrom", "check from time"),
    ],
    run: |ctx, args| Box::pin(check(ctx, args)),
    ..Command::DEFAULT
};

const ABOUT: &str = "Convert RocksDB kv config (topics/subscriptionGroups/consumerOffsets) to json. [rpc mode] Use \
    [-n, -c, -b, -t] to send Request to broker ( version >= 5.3.2 ) or [local mode] use [-p, -t, -j, -e] to load \
    RocksDB. If -e is provided, tools will export json file instead of std print";

/// Brokers write files meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

fn no_rocksdb(instead: &str) -> Failure {
    Failure::Usage(format!(
        "files of RocksDB cannot be read: there is no RocksDB in barque. Brokers of barque keep these tables as JSON \
         in their config directory; {instead}"
    ))
}

fn metadata(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let path = args.need("p")?;
    let there = ctx.env.disk.entry(std::path::Path::new(path));
    if path.is_empty() || !there.is_ok_and(|entry| entry.is_some()) {
        let why = "RocksDB path is invalid.";
        ctx.say(format_args!("{why}\n"));
        return Err(Failure::Usage(format!("{why} There is no '{path}'")));
    }
    Err(no_rocksdb(
        "for those of a broker of the reference, use its own tool, or rocksDBConfigToJson with -b",
    ))
}

/// What a broker can write down.
const TABLES: [&str; 3] = ["topics", "subscriptionGroups", "consumerOffsets"];

async fn to_json(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let wanted = tables(args.get("t")).map_err(|wrong| {
        let given = args.get("t").unwrap_or_default();
        let why =
            format!("Invalid configType: {given} please input topics/subscriptionGroups/consumerOffsets ");
        ctx.say(format_args!("{why}\n"));
        Failure::Usage(format!("option t: '{wrong}' is none of {}", TABLES.join(", ")))
    })?;
    if args.has("n") {
        ctx.say("Use [rpc mode] call all brokers in cluster to export to json file \n");
        let Some(cluster) = args.get("c") else {
            ctx.say("rpc mode Invalid args, please input cluster\n");
            return Err(Failure::Usage(
                "with -n, say which cluster: -c <cluster>".to_owned(),
            ));
        };
        let clusters = lookup::clusters(ctx).await?;
        known(ctx, &clusters, cluster)?;
        // As in the reference: the brokers of all clusters.
        let brokers = hash_map(clusters.broker_addr_table, |(name, _)| name);
        let masters = brokers
            .iter()
            .filter_map(|(name, replicas)| Some((name.clone(), lookup::master_addr(replicas)?.clone())));
        return ask_all(ctx, &masters.collect::<Vec<_>>(), &wanted).await;
    }
    if let Some(addr) = args.get("b") {
        ctx.say("Use [rpc mode] call broker to export to json file \n");
        return ask_all(ctx, &[(addr.into(), addr.into())], &wanted).await;
    }
    if args.has("p") {
        ctx.say("Use [local mode] load rocksdb to print or export file \n");
        return Err(no_rocksdb(
            "a broker of the reference writes its own as JSON with -b <broker>",
        ));
    }
    ctx.say(format_args!("{ABOUT}\n"));
    Err(Failure::Usage("say -b <broker>, or -n and -c".to_owned()))
}

/// The tables that are named, as they travel; of an unknown one its name.
fn tables(given: Option<&str>) -> Result<String, String> {
    let Some(given) = given else {
        return Ok(TABLES.map(|name| format!("{name};")).concat());
    };
    let parts = given.split(';').filter(|part| !part.is_empty());
    let one = |part: &str| {
        let known = TABLES.iter().find(|name| name.eq_ignore_ascii_case(part.trim()));
        known
            .map(|name| format!("{name};"))
            .ok_or_else(|| part.to_owned())
    };
    parts.map(one).collect()
}

/// A broker that was asked to write its tables.
#[derive(Serialize)]
struct Asked<'a> {
    broker: &'a str,
    addr: &'a str,
    done: bool,
}

async fn ask_all(ctx: &Ctx, brokers: &[(Str, Str)], wanted: &str) -> Result<(), Failure> {
    let mut failed = None;
    for (name, addr) in brokers {
        let header = ExportRocksdbConfigToJson {
            config_type: wanted.into(),
        };
        let frame = Frame::request(0, &header);
        let answer = ctx
            .client
            .ask_frame::<ExportRocksdbConfigToJson>(addr, frame, ANSWER_WITHIN)
            .await;
        let done = answer.is_ok();
        let asked = Asked {
            broker: name,
            addr,
            done,
        };
        // The reference says only the name of a broker that it knows by name.
        let end = if name == addr { " export error" } else { "" };
        ctx.row(&asked, || {
            if done {
                String::new()
            } else {
                format!("{name}{end}")
            }
        });
        failed = answer.err().or(failed);
    }
    ctx.say("broker export done.");
    failed.map_or(Ok(()), Err)
}

fn known(ctx: &Ctx, clusters: &ClusterInfo, cluster: &str) -> Result<(), Failure> {
    if !clusters.cluster_addr_table.contains_key(cluster) {
        ctx.say("clusterAddrTable is empty");
    }
    lookup::broker_names(clusters, cluster).map(|_| ())
}

/// What a broker says of its queues in RocksDB.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Progress {
    #[serde(skip_deserializing)]
    broker: Str,
    check_result: Option<Str>,
    check_status: i32,
}

async fn check(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    const DAYS_BACK_MS: i64 = 30 * 24 * 60 * 60 * 1000;
    const CHECK_FAILED: i32 = 3;
    let cluster = args.need("c")?;
    let from = args.number("cf")?;
    let header = CheckRocksdbCqWriteProgress {
        topic: args.get("t").unwrap_or_default().into(),
        check_store_time: Some(from.unwrap_or_else(|| ctx.env.clock.now_ms() - DAYS_BACK_MS)),
    };
    let clusters = lookup::clusters(ctx).await?;
    known(ctx, &clusters, cluster)?;
    // As in the reference: the brokers of all clusters.
    for (name, replicas) in hash_map(clusters.broker_addr_table, |(name, _)| name) {
        let addr = lookup::master_addr(&replicas);
        let addr = addr
            .ok_or_else(|| Failure::Other(format!("the broker {name} has no master that could be asked")))?;
        let answer = ctx.client.ask(addr, &header).await?;
        let progress = Progress {
            broker: name.clone(),
            ..answer.body()?
        };
        ctx.row(&progress, || match progress.check_status {
            CHECK_FAILED => {
                let why = crate::message::or_null(progress.check_result.as_deref());
                format!("{name} check error, please check log... errInfo: {why}")
            }
            _ => format!("{name} check doing, please wait and get the result from log... \n"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_in_any_capitals_and_all_of_them_where_none_is() {
        assert_eq!(
            tables(Some("TOPICS;consumeroffsets")).unwrap(),
            "topics;consumerOffsets;"
        );
        assert_eq!(
            tables(None).unwrap(),
            "topics;subscriptionGroups;consumerOffsets;"
        );
        assert_eq!(tables(Some("topics;x")).unwrap_err(), "x");
    }
}
