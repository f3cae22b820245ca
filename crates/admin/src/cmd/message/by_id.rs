// SPDX-License-Identifier: Apache-2.0
//! `queryMsgById`, `queryMsgByUniqueKey` and `queryMsgByOffset`: one message in full, or handed to one consumer, or sent again.

use std::time::Duration;

use wire::body::queue::MessageQueue;

use super::find::{self, Kind, SAME_ID_MAX, Search};
use super::show::{Style, show};
use crate::charset::Charset;
use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups;
use crate::options::{Args, Opt, flag, value};
use crate::queues::{Ask, Filter, Reader, Status};
use crate::sending::{Draft, Sender};

const CLUSTER: Opt = value(
    "c",
    "cluster",
    "Cluster name or lmq parent topic, lmq is used to find the route.",
);

pub(crate) const QUERY_MSG_BY_ID: Command = Command {
    name: "queryMsgById",
    about: "Query Message by Id.",
    options: &[
        value("t", "topic", "topic name").required().topic(),
        value("i", "msgId", "Message Id").required(),
        value("g", "consumerGroup", "consumer group name").group(),
        value("d", "clientId", "The consumer's client id"),
        value("s", "sendMessage", "resend message"),
        value("u", "unitName", "unit name"),
        value("f", "bodyFormat", "print message body by the specified format"),
        CLUSTER,
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(by_id(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const QUERY_MSG_BY_UNIQUE_KEY: Command = Command {
    name: "queryMsgByUniqueKey",
    about: "Query Message by Unique key.",
    options: &[
        value("i", "msgId", "Message Id").required(),
        value("g", "consumerGroup", "consumer group name").group(),
        value("d", "clientId", "The consumer's client id"),
        value("t", "topic", "The topic of msg").required().topic(),
        flag("a", "showAll", "Print all message, the limit is 32"),
        CLUSTER,
        value("s", "startTime", "startTime"),
        value("e", "endTime", "endTime"),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(by_unique_key(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const QUERY_MSG_BY_OFFSET: Command = Command {
    name: "queryMsgByOffset",
    about: "Query Message by offset.",
    options: &[
        value("t", "topic", "topic name").required().topic(),
        value("b", "brokerName", "Broker Name").required(),
        value("i", "queueId", "Queue Id").required(),
        value("o", "offset", "Queue Offset").required(),
        value("f", "bodyFormat", "print message body by the specified format"),
    ],
    run: |ctx, args| Box::pin(by_offset(ctx, args)),
    ..Command::DEFAULT
};

async fn by_id(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topic = args.need("t")?;
    let cluster = args.get("c");
    let charset = args.get("f").map(Charset::named).transpose()?;
    let ids = args.need("i")?.split(',').map(str::trim);
    for id in ids.filter(|id| !id.is_empty()) {
        if let (Some(group), Some(client)) = (args.get("g"), args.get("d")) {
            push(ctx, [group, client], [cluster.unwrap_or_default(), topic, id]).await?;
        } else if args.has("s") {
            if args.truth("s") == Some(true) {
                resend(ctx, cluster, topic, id).await?;
            }
        } else {
            let message = find::by_id(ctx, cluster, topic, id).await?;
            show(ctx, &message, Style::WithPlace(charset)).await?;
        }
    }
    Ok(())
}

/// Hands a message to one consumer.
async fn push(ctx: &Ctx, to: [&str; 2], [cluster, topic, id]: [&str; 3]) -> Result<(), Failure> {
    let [group, client] = to;
    let info = groups::running(ctx, group, client, false).await?;
    if !find::is_push(&info) {
        ctx.say(format_args!(
            "this {client} client is not push consumer ,not support direct push \n"
        ));
        return Err(not_pushed(client));
    }
    let message = find::by_id(ctx, Some(cluster), topic, id).await?;
    consume(ctx, &message, to).await
}

async fn consume(
    ctx: &Ctx,
    message: &crate::message::Message,
    [group, client]: [&str; 2],
) -> Result<(), Failure> {
    let result = find::consume_directly(ctx, message, group, client).await?;
    ctx.row(&result, || find::display(&result));
    Ok(())
}

fn not_pushed(client: &str) -> Failure {
    Failure::Other(format!(
        "{client} fetches its messages itself, so it cannot be handed one"
    ))
}

async fn resend(ctx: &Ctx, cluster: Option<&str>, topic: &str, id: &str) -> Result<(), Failure> {
    let message = find::by_id(ctx, cluster, topic, id).await?;
    ctx.say(format_args!("prepare resend msg. originalMsgId={id}"));
    let sent = Sender::new(ctx, "ReSendMsgById")
        .send(&Draft::again(&message))
        .await?;
    ctx.row(&sent, || sent.to_string());
    Ok(())
}

async fn by_unique_key(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    const AROUND_MS: i64 = 36 * 60 * 60 * 1000;
    let (topic, id) = (args.need("t")?, args.need("i")?);
    if let (Some(group), Some(client)) = (args.get("g"), args.get("d")) {
        return push_unique(ctx, [group, client], topic, id).await;
    }
    let now = ctx.env.clock.now_ms();
    let given = args.number("s")?.zip(args.number("e")?);
    let (from, to) = given.unwrap_or((now - AROUND_MS, now + AROUND_MS));
    let search = Search {
        cluster: args.get("c"),
        topic,
        name: id,
        kind: Kind::UniqueId,
        most: SAME_ID_MAX,
        from,
        to,
        last_key: None,
    };
    let mut found = find::search(ctx, &search).await?;
    found.sort_by_key(|message| message.stored_at);
    let shown = if args.has("a") { found.len() } else { 1 };
    for (number, message) in found.iter().enumerate().take(shown) {
        show(ctx, message, Style::Numbered(number)).await?;
    }
    Ok(())
}

async fn push_unique(ctx: &Ctx, to: [&str; 2], topic: &str, id: &str) -> Result<(), Failure> {
    let [group, client] = to;
    let info = groups::running(ctx, group, client, false).await;
    if info.is_err() {
        ctx.say(format_args!(
            "get consumer runtime info for {client} client failed \n"
        ));
    }
    let pushes = info.as_ref().is_ok_and(find::is_push);
    if !pushes {
        ctx.say(format_args!(
            "get consumer info failed or this {client} client is not push consumer, not support direct push \n"
        ));
        return Err(info.err().unwrap_or_else(|| not_pushed(client)));
    }
    let message = find::by_id(ctx, None, topic, id).await?;
    consume(ctx, &message, to).await
}

async fn by_offset(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let missing = |name| Failure::Usage(format!("Missing required option: {name}"));
    let charset = args.get("f").map(Charset::named).transpose()?;
    let queue = MessageQueue {
        topic: args.need("t")?.into(),
        broker_name: args.need("b")?.into(),
        queue_id: args.number("i")?.ok_or_else(|| missing("i"))?,
    };
    let ask = Ask {
        offset: args.number("o")?.ok_or_else(|| missing("o"))?,
        most: 1,
        filter: &Filter::all(),
        hold: Duration::ZERO,
    };
    let route = lookup::route(ctx, &queue.topic).await?;
    let pulled = Reader::new(ctx, route).pull(&queue, &ask).await?;
    match pulled.messages.first() {
        Some(message) if pulled.status == Status::Found => {
            show(ctx, message, Style::WithPlace(charset)).await
        }
        _ => Err(Failure::Other(format!(
            "the queue has no message at offset {} ({}); the next one it knows is at {}",
            ask.offset, pulled.status, pulled.next
        ))),
    }
}
