// SPDX-License-Identifier: Apache-2.0
//! `queryMsgByKey`: the messages with a key or a tag, and where each lies.

use serde::Serialize;
use wire::Str;

use super::find::{self, Kind, Search};
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};

pub(crate) const QUERY_MSG_BY_KEY: Command = Command {
    name: "queryMsgByKey",
    about: "Query Message by Key.",
    options: &[
        value("t", "topic", "Topic name").required().topic(),
        value("k", "msgKey", "Message Key").required(),
        value(
            "b",
            "beginTimestamp",
            "Begin timestamp(ms). default:0, eg:1676730526212",
        ),
        value(
            "e",
            "endTimestamp",
            "End timestamp(ms). default:Long.MAX_VALUE, eg:1676730526212",
        ),
        value(
            "m",
            "maxNum",
            "The maximum number of messages returned by the query, default:64",
        ),
        value(
            "c",
            "cluster",
            "Cluster name or lmq parent topic, lmq is used to find the route.",
        ),
        value(
            "p",
            "keyType",
            "Index key type, default index key type is K, you can use K for keys OR T for tags",
        ),
        value("l", "lastKey", "Last Key"),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// Most hits, where none is said.
pub(super) const HITS: i32 = 64;

/// A message that was found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hit {
    msg_id: Str,
    queue: i32,
    offset: i64,
    index_key: String,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let (letter, kind) = match args.get("p").unwrap_or("K") {
        "K" => ("K", Kind::Key),
        "T" => ("T", Kind::Tag),
        other => {
            ctx.say("index type error, just support K for keys or T for tags");
            return Err(Failure::Usage(format!("option p: '{other}' is neither K nor T")));
        }
    };
    let (topic, key) = (args.need("t")?, args.need("k")?);
    let search = Search {
        cluster: args.get("c"),
        topic,
        name: key,
        kind,
        most: args.number("m")?.unwrap_or(HITS),
        from: args.number("b")?.unwrap_or(0),
        to: args.number("e")?.unwrap_or(i64::MAX),
        last_key: args.get("l"),
    };
    let found = find::search(ctx, &search).await?;
    let hits: Vec<Hit> = found
        .iter()
        .map(|message| {
            const HOUR_MS: i64 = 60 * 60 * 1000;
            let id = message.id().unwrap_or_default();
            let hour = message.stored_at - message.stored_at % HOUR_MS;
            Hit {
                msg_id: id.into(),
                queue: message.queue,
                offset: message.offset,
                index_key: format!("{hour}@{topic}@{letter}@{key}@{id}@{}", message.log_offset),
            }
        })
        .collect();
    ctx.show(&hits, || text(&hits));
    Ok(())
}

fn text(hits: &[Hit]) -> String {
    let line = |[id, queue, offset, key]: [&str; 4]| format!("{id:<50} {queue:>4} {offset:>40} {key:<200}\n");
    let mut out = line(["#Message ID", "#QID", "#Offset", "#IndexKey"]);
    out.extend(hits.iter().map(|hit| {
        line([
            &hit.msg_id,
            &hit.queue.to_string(),
            &hit.offset.to_string(),
            &hit.index_key,
        ])
    }));
    out
}
