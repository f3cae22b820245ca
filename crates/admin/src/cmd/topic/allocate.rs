// SPDX-License-Identifier: Apache-2.0
//! `allocateMQ`: which queues each of some consumers would get, shared evenly.

use serde::Serialize;
use wire::Str;
use wire::body::queue::MessageQueue;
use wire::body::topic_route::TopicRoute;
use wire::fastjson;

use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::{by_hash, hash_map};
use crate::options::{Args, value};
use crate::queues;

pub(crate) const ALLOCATE_MQ: Command = Command {
    name: "allocateMQ",
    about: "Allocate MQ.",
    options: &[
        value("t", "topic", "topic name").required().topic(),
        value("i", "ipList", "ipList").required(),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// What a consumer gets.
#[derive(Serialize)]
struct Share {
    consumer: Str,
    queues: Vec<MessageQueue>,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topic = args.need("t")?;
    let consumers: Vec<&str> = args.need("i")?.trim_end_matches(',').split(',').collect();
    if consumers.contains(&"") {
        return Err(Failure::Usage("-i: one of the consumers has no name".to_owned()));
    }
    let route = lookup::route(ctx, topic).await?;
    let queues = readable(&route, topic);
    if queues.is_empty() {
        return Err(Failure::Other(format!(
            "no queue of the topic {topic} can be read"
        )));
    }
    let mut shares: Vec<Share> = Vec::new();
    for consumer in &consumers {
        if shares.iter().all(|share| share.consumer != consumer) {
            shares.push(Share {
                consumer: (*consumer).into(),
                queues: share(&queues, &consumers, consumer),
            });
        }
    }
    let shares = hash_map(shares, |share| &share.consumer);
    ctx.show(&shares, || text(&shares));
    Ok(())
}

fn text(shares: &[Share]) -> String {
    let entries: Vec<String> = shares
        .iter()
        .map(|share| {
            let name = fastjson::to_string(&share.consumer);
            format!("{name}:{}", fastjson::to_string(&share.queues))
        })
        .collect();
    format!("{{\"result\":{{{}}}}}\n", entries.join(","))
}

/// The queues that can be read, in the order of the reference's set of them.
fn readable(route: &TopicRoute, topic: &str) -> Vec<MessageQueue> {
    by_hash(queues::readable(topic, route), queues::hash_code)
}

/// A stretch of the queues: the first consumers get one more where they do not come out even.
fn share(queues: &[MessageQueue], consumers: &[&str], consumer: &str) -> Vec<MessageQueue> {
    let index = consumers.iter().position(|known| *known == consumer).unwrap_or(0);
    let (each, more) = (queues.len() / consumers.len(), queues.len() % consumers.len());
    let (start, count) = if queues.len() <= consumers.len() {
        (index, 1)
    } else if index < more {
        (index * (each + 1), each + 1)
    } else {
        (index * each + more, each)
    };
    queues.iter().skip(start).take(count).cloned().collect()
}
