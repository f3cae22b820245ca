// SPDX-License-Identifier: Apache-2.0
//! `cleanExpiredCQ`, `deleteExpiredCommitLog`, `cleanUnusedTopic`: brokers remove at once what they would remove some time.

use serde::Serialize;
use wire::Str;
use wire::api::clean::{CleanExpiredConsumequeue, CleanUnusedTopic, DeleteExpiredCommitlog};
use wire::body::topic_route::ClusterInfo;
use wire::code::Request;

use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;
use crate::options::{Args, Opt, value};

const OPTIONS: &[Opt] = &[
    value("b", "brokerAddr", "Broker address"),
    value("c", "cluster", "clustername"),
];

pub(crate) const CLEAN_EXPIRED_CQ: Command = Command {
    name: "cleanExpiredCQ",
    about: "Clean expired ConsumeQueue on broker.",
    options: OPTIONS,
    effect: Effect::Destroys,
    run: |ctx, args| Box::pin(run(ctx, args, &CleanExpiredConsumequeue)),
    ..Command::DEFAULT
};

pub(crate) const DELETE_EXPIRED_COMMIT_LOG: Command = Command {
    name: "deleteExpiredCommitLog",
    about: "Delete expired CommitLog files.",
    options: &[
        value("n", "namesrvAddr", "Name server address"),
        value("b", "brokerAddr", "Broker address"),
        value("c", "cluster", "clustername"),
    ],
    effect: Effect::Destroys,
    run: |ctx, args| Box::pin(run(ctx, args, &DeleteExpiredCommitlog)),
    ..Command::DEFAULT
};

pub(crate) const CLEAN_UNUSED_TOPIC: Command = Command {
    name: "cleanUnusedTopic",
    about: "Clean unused topic on broker.",
    options: &[
        value("b", "brokerAddr", "Broker address"),
        value("c", "cluster", "cluster name"),
    ],
    effect: Effect::Destroys,
    run: |ctx, args| Box::pin(run(ctx, args, &CleanUnusedTopic)),
    ..Command::DEFAULT
};

/// A broker that has cleaned up.
#[derive(Serialize)]
struct Cleaned<'a> {
    broker: &'a str,
}

async fn run<R: Request>(ctx: &Ctx, args: &Args, header: &R) -> Result<(), Failure> {
    let brokers = match args.get("b") {
        Some(addr) => vec![addr.into()],
        None => everywhere(&lookup::clusters(ctx).await?, args.get("c"))?,
    };
    for broker in &brokers {
        ctx.client.ask(broker, header).await?;
        ctx.row(&Cleaned { broker }, String::new);
    }
    ctx.say(if brokers.is_empty() { "false" } else { "success" });
    Ok(())
}

/// The brokers of a cluster, or of all.
fn everywhere(clusters: &ClusterInfo, cluster: Option<&str>) -> Result<Vec<Str>, Failure> {
    if let Some(cluster) = cluster.filter(|name| !name.is_empty()) {
        return lookup::replicas(clusters, cluster);
    }
    let mut brokers = Vec::new();
    for cluster in hash_map(clusters.cluster_addr_table.keys(), |name| name) {
        brokers.extend(lookup::replicas(clusters, cluster)?);
    }
    Ok(brokers)
}
