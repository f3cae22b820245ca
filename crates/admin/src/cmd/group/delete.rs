// SPDX-License-Identifier: Apache-2.0
//! `deleteSubGroup`: takes a group from brokers; from a whole cluster, with the topics of its failed messages.

use serde::Serialize;
use wire::Str;
use wire::api::group::DeleteSubscriptiongroup;
use wire::api::kv::DeleteKvConfig;
use wire::api::route::DeleteTopicInNamesrv;
use wire::api::topic::DeleteTopicInBroker;
use wire::body::topic_route::ClusterInfo;

use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};

pub(crate) const DELETE_SUB_GROUP: Command = Command {
    name: "deleteSubGroup",
    about: "Delete subscription group from broker.",
    options: &[
        value("b", "brokerAddr", "delete subscription group from which broker"),
        value("c", "clusterName", "delete subscription group from which cluster"),
        value("g", "groupName", "subscription group name")
            .required()
            .group(),
        value("r", "removeOffset", "remove offset"),
    ],
    effect: Effect::Destroys,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

#[derive(Serialize)]
struct Deleted<'a> {
    group: &'a str,
    broker: &'a str,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let group = args.need("g")?;
    let header = DeleteSubscriptiongroup {
        group_name: group.into(),
        clean_offset: Some(args.truth("r").unwrap_or(false)),
    };
    if let Some(broker) = args.get("b") {
        ctx.client.ask(broker, &header).await?;
        ctx.row(&Deleted { group, broker }, || {
            format!("delete subscription group [{group}] from broker [{broker}] success.\n")
        });
        return Ok(());
    }
    let cluster = args.get("c");
    let cluster = cluster.ok_or(Failure::Incomplete("say -b <broker> or -c <cluster>"))?;
    let clusters = lookup::clusters(ctx).await?;
    for broker in &lookup::masters(&clusters, cluster)? {
        ctx.client.ask(broker, &header).await?;
        ctx.row(&Deleted { group, broker }, || {
            format!(
                "delete subscription group [{group}] from broker [{broker}] in cluster [{cluster}] success.\n"
            )
        });
    }
    for prefix in ["%RETRY%", "%DLQ%"] {
        delete_topic(ctx, &clusters, cluster, &format!("{prefix}{group}").into()).await?;
    }
    Ok(())
}

/// From all brokers of the cluster and all name servers.
async fn delete_topic(ctx: &Ctx, clusters: &ClusterInfo, cluster: &str, topic: &Str) -> Result<(), Failure> {
    for addr in lookup::replicas(clusters, cluster)? {
        let header = DeleteTopicInBroker { topic: topic.clone() };
        ctx.client.ask(&addr, &header).await?;
    }
    let header = DeleteTopicInNamesrv {
        topic: topic.clone(),
        cluster_name: None,
    };
    for addr in ctx.client.name_servers()? {
        ctx.client.ask(addr, &header).await?;
    }
    let header = DeleteKvConfig {
        namespace: "ORDER_TOPIC_CONFIG".into(),
        key: topic.clone(),
    };
    lookup::tell_names(ctx, &header).await
}
