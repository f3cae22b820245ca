// SPDX-License-Identifier: Apache-2.0
//! `queryCq`: the entries of a queue as they are stored.

use serde::{Deserialize, Serialize};
use wire::Str;
use wire::api::query::QueryConsumeQueue;
use wire::body::subscription::SubscriptionData;
use wire::fastjson;

use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::{by_hash, hash_map};
use crate::message::or_null;
use crate::options::{Args, value};

pub(crate) const QUERY_CQ: Command = Command {
    name: "queryCq",
    about: "Query cq command.",
    options: &[
        value("t", "topic", "topic name").required().topic(),
        value("q", "queue", "queue num, ie. 1").required(),
        value("i", "index", "start queue index.").required(),
        value("c", "count", "how many."),
        value("b", "broker", "broker addr."),
        value("g", "consumer", "consumer group.").group(),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// A part of a queue, with what only brokers of the reference tell.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Contents {
    min_queue_index: i64,
    max_queue_index: i64,
    subscription_data: Option<SubscriptionData>,
    filter_data: Option<Str>,
    queue_data: Option<Vec<Entry>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    physic_offset: i64,
    physic_size: i32,
    tags_code: i64,
    extend_data_json: Option<Str>,
    bit_map: Option<Str>,
    eval: bool,
    msg: Option<Str>,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let missing = |name| Failure::Usage(format!("Missing required option: {name}"));
    let topic = args.need("t")?;
    let index: i64 = args.number("i")?.ok_or_else(|| missing("i"))?;
    let header = QueryConsumeQueue {
        topic: topic.into(),
        queue_id: args.number("q")?.ok_or_else(|| missing("q"))?,
        index,
        count: args.number("c")?.unwrap_or(10),
        consumer_group: args.get("g").map(Str::from),
    };
    let addr = match args.get("b").filter(|addr| !addr.is_empty()) {
        Some(addr) => Str::from(addr),
        None => {
            let route = lookup::route(ctx, topic).await?;
            let master = route.broker_datas.first().and_then(lookup::master_addr).cloned();
            master.ok_or_else(|| Failure::Other(format!("no broker with a master has the topic {topic}")))?
        }
    };
    let contents: Contents = ctx.client.ask(&addr, &header).await?.body()?;
    ctx.show(&contents, || text(&contents, index));
    Ok(())
}

const RULE: &str = "======================================\n";

fn text(contents: &Contents, index: i64) -> String {
    let mut out = String::new();
    if let Some(subscription) = &contents.subscription_data {
        let mut ordered = subscription.clone();
        ordered.tags_set = hash_map(ordered.tags_set, |tag| tag);
        ordered.code_set = by_hash(ordered.code_set, |code| *code);
        let json = fastjson::to_vec_pretty(&ordered);
        // Unlike lists, sets that are empty have a line inside.
        let json = String::from_utf8_lossy(&json).replace("Set\":[]", "Set\":[\n\t\t\n\t]");
        out.push_str(&format!("Subscription data: \n{json}\n{RULE}"));
    }
    if let Some(filter) = &contents.filter_data {
        out.push_str(&format!("Filter data: \n{filter}\n{RULE}"));
    }
    out.push_str(&format!(
        "Queue data: \nmax: {}, min: {}\n{RULE}",
        contents.max_queue_index, contents.min_queue_index
    ));
    for (at, entry) in (index..).zip(contents.queue_data.iter().flatten()) {
        out.push_str(&format!("idx: {at}\n{}\n{RULE}", display(entry)));
    }
    out
}

fn display(entry: &Entry) -> String {
    format!(
        "ConsumeQueueData{{physicOffset={}, physicSize={}, tagsCode={}, extendDataJson='{}', bitMap='{}', eval={}, \
         msg='{}'}}",
        entry.physic_offset,
        entry.physic_size,
        entry.tags_code,
        or_null(entry.extend_data_json.as_deref()),
        or_null(entry.bit_map.as_deref()),
        entry.eval,
        or_null(entry.msg.as_deref())
    )
}
