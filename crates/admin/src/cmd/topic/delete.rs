// SPDX-License-Identifier: Apache-2.0
//! `deleteTopic`: takes a topic from the brokers of a cluster and from the name servers.

use serde::Serialize;
use wire::api::route::DeleteTopicInNamesrv;
use wire::api::topic::DeleteTopicInBroker;

use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};

pub(crate) const DELETE_TOPIC: Command = Command {
    name: "deleteTopic",
    about: "Delete topic from broker and NameServer.",
    options: &[
        value("t", "topic", "topic name").required().topic(),
        value("c", "clusterName", "delete topic from which cluster").required(),
    ],
    effect: Effect::Destroys,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

#[derive(Serialize)]
struct Deleted<'a> {
    topic: &'a str,
    from: &'a str,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let (topic, cluster) = (args.need("t")?, args.need("c")?);
    let clusters = lookup::clusters(ctx).await?;
    for addr in lookup::masters(&clusters, cluster)? {
        let header = DeleteTopicInBroker { topic: topic.into() };
        ctx.client.ask(&addr, &header).await?;
    }
    let deleted = Deleted { topic, from: cluster };
    ctx.row(&deleted, || {
        format!("delete topic [{topic}] from cluster [{cluster}] success.\n")
    });
    let header = DeleteTopicInNamesrv {
        topic: topic.into(),
        cluster_name: Some(cluster.into()),
    };
    for addr in ctx.client.name_servers()? {
        ctx.client.ask(addr, &header).await?;
    }
    let deleted = Deleted {
        topic,
        from: "NameServer",
    };
    ctx.row(&deleted, || {
        format!("delete topic [{topic}] from NameServer success.\n")
    });
    Ok(())
}
