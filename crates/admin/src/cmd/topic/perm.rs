// SPDX-License-Identifier: Apache-2.0
//! `updateTopicPerm`: who may read and write a topic.

use serde::Serialize;
use wire::body::topic::TopicConfig;
use wire::body::topic_route::TopicRoute;

use super::update::{create, display};
use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};

pub(crate) const UPDATE_TOPIC_PERM: Command = Command {
    name: "updateTopicPerm",
    about: "Update topic perm.",
    options: &[
        value("b", "brokerAddr", "create topic to which broker"),
        value("c", "clusterName", "create topic to which cluster"),
        value("t", "topic", "topic name").required().topic(),
        value(
            "p",
            "perm",
            "set topic's permission(2|4|6), intro[2:W; 4:R; 6:RW]",
        )
        .required(),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// A broker on which a topic has another permission now.
#[derive(Serialize)]
struct Changed<'a> {
    broker: &'a str,
    topic: &'a str,
    from: i32,
    to: i32,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topic = args.need("t")?;
    let perm: i32 = args.number("p")?.unwrap_or_default();
    let route = lookup::route(ctx, topic).await?;
    let first = route.queue_datas.first();
    let first = first.ok_or_else(|| Failure::Other(format!("the topic {topic} has no queues")))?;
    let config = TopicConfig {
        topic_name: topic.into(),
        write_queue_nums: first.write_queue_nums,
        read_queue_nums: first.read_queue_nums,
        topic_sys_flag: first.topic_sys_flag,
        perm,
        ..TopicConfig::default()
    };
    let (addrs, from) = match args.get("b") {
        Some(addr) => {
            let from = perm_at(&route, addr)?;
            if from == perm {
                ctx.say("new perm equals to the old one!\n");
                return Ok(());
            }
            (vec![addr.into()], from)
        }
        None => (lookup::targets(ctx, args).await?, first.perm),
    };
    for broker in &addrs {
        create(ctx, broker, &config).await?;
        let changed = Changed {
            broker,
            topic,
            from,
            to: perm,
        };
        ctx.row(&changed, || {
            format!("update topic perm from {from} to {perm} in {broker} success.\n")
        });
    }
    if args.has("b") {
        ctx.say(format_args!("{}.\n", display(&config)));
    }
    Ok(())
}

/// What the topic may be used for on the master at an address.
fn perm_at(route: &TopicRoute, addr: &str) -> Result<i32, Failure> {
    let mut brokers = route.broker_datas.iter();
    let broker = brokers.find(|broker| lookup::master_addr(broker).is_some_and(|master| master == addr));
    let broker = broker.ok_or_else(|| {
        Failure::Other(format!(
            "there is no master at {addr} that has the topic, by the name server's word"
        ))
    })?;
    let mut queues = route.queue_datas.iter();
    let queues = queues.find(|queues| queues.broker_name == broker.broker_name);
    Ok(queues.map_or(0, |queues| queues.perm))
}
