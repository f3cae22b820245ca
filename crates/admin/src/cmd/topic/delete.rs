// SPDX-License-Identifier: Apache-2.0
//! `deleteTopic`: takes a topic from the brokers of a cluster and from the name servers.

use serde::Serialize;
use wire::api::route::DeleteTopicInNamesrv;
use wire::api::topic::DeleteTopicInBroker;
use wire::code::Request;

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

/// A server that does not have the topic any more.
#[derive(Serialize)]
struct Deleted<'a> {
    topic: &'a str,
    from: &'a str,
    server: &'a str,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let (topic, cluster) = (args.need("t")?, args.need("c")?);
    let clusters = lookup::clusters(ctx).await?;
    let masters = lookup::masters(&clusters, cluster)?;
    let header = DeleteTopicInBroker { topic: topic.into() };
    on_all(ctx, (topic, cluster), &masters, &header).await?;
    ctx.say(format_args!(
        "delete topic [{topic}] from cluster [{cluster}] success.\n"
    ));
    let header = DeleteTopicInNamesrv {
        topic: topic.into(),
        cluster_name: Some(cluster.into()),
    };
    on_all(ctx, (topic, "NameServer"), ctx.client.name_servers()?, &header).await?;
    ctx.say(format_args!("delete topic [{topic}] from NameServer success.\n"));
    Ok(())
}

/// Tells all servers, also behind one that fails; the last failure.
async fn on_all<R: Request>(
    ctx: &Ctx,
    (topic, from): (&str, &str),
    servers: &[impl AsRef<str>],
    header: &R,
) -> Result<(), Failure> {
    let mut failed = None;
    for server in servers {
        let server = server.as_ref();
        match ctx.client.ask(server, header).await {
            Ok(_) => ctx.row(&Deleted { topic, from, server }, String::new),
            Err(failure) => failed = Some(failure),
        }
    }
    failed.map_or(Ok(()), Err)
}
