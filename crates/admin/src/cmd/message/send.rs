// SPDX-License-Identifier: Apache-2.0
//! `sendMessage`, `sendMsgStatus` and `checkMsgSendRT`: sends messages, and says what became of each and how long it took.

use serde::Serialize;
use wire::Str;
use wire::body::queue::MessageQueue;
use wire::message_id::decode_offset_id;
use wire::properties::name;

use super::trace::TRACE_TOPIC;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};
use crate::queues;
use crate::sending::{Draft, Sender, Sent};
use crate::text::fixed;

pub(crate) const SEND_MESSAGE: Command = Command {
    name: "sendMessage",
    about: "Send a message.",
    options: &[
        value("t", "topic", "Topic name").required().topic(),
        value("p", "body", "UTF-8 string format of the message body").required(),
        value("k", "key", "Message keys"),
        value("c", "tags", "Message tags"),
        value("b", "broker", "Send message to target broker"),
        value("i", "qid", "Send message to target queue"),
        value("m", "msgTraceEnable", "Message Trace Enable, Default: false"),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(send(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const SEND_MSG_STATUS: Command = Command {
    name: "sendMsgStatus",
    about: "Send msg to broker.",
    options: &[
        value(
            "b",
            "brokerName",
            "Broker Name e.g. clusterName_brokerName as DefaultCluster_broker-a",
        )
        .required()
        .topic(),
        value("s", "messageSize", "Message Size, Default: 128"),
        value("c", "count", "send message count, Default: 50"),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(status(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const CHECK_MSG_SEND_RT: Command = Command {
    name: "checkMsgSendRT",
    about: "Check message send response time.",
    options: &[
        value("t", "topic", "topic name").required().topic(),
        value("a", "amount", "message amount | default 100"),
        value("s", "size", "message size | default 128 Byte"),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(response_time(ctx, args)),
    ..Command::DEFAULT
};

/// Largest message a test may send. Brokers take 4 MiB unless they are told otherwise.
const BYTES_MAX: usize = 64 << 20;

async fn send(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let body = args.need("p")?;
    if args.has("i") && !args.has("b") {
        let why = "Broker name must be set if the queue is chosen!";
        ctx.say(why);
        return Err(Failure::Usage(why.to_owned()));
    }
    if body.is_empty() {
        return Err(Failure::Usage(
            "option p: the body of a message cannot be empty".to_owned(),
        ));
    }
    let mut draft = Draft::new(args.need("t")?, body.to_owned());
    for (option, property) in [("c", name::TAGS), ("k", name::KEYS)] {
        if let Some(value) = args.get(option).filter(|value| !value.is_empty()) {
            draft.properties.set(property, value);
        }
    }
    let began = ctx.env.clock.now_ms();
    let sender = Sender::new(ctx, &began.to_string());
    let queue: Option<i32> = args.number("i")?;
    let sent = match (args.get("b"), queue.filter(|queue| *queue >= 0)) {
        (Some(broker), Some(queue_id)) => {
            let route = sender.route(&draft.topic).await?;
            let queue = MessageQueue {
                topic: draft.topic.clone(),
                broker_name: broker.into(),
                queue_id,
            };
            sender.send_to(&route, &queue, &draft).await?
        }
        _ => sender.send(&draft).await?,
    };
    if args.truth("m") == Some(true) {
        let took = ctx.env.clock.now_ms() - began;
        let traced = sender
            .send(&trace(&sender.group, &draft, &sent, [began, took]))
            .await;
        if let Err(failure) = traced {
            ctx.warn(format_args!("the message was sent, its trace was not: {failure}"));
        }
    }
    ctx.show(&sent, || {
        let head = sent_line(["#Broker Name", "#QID", "#Send Result", "#MsgId"]);
        let queue = sent.queue.queue_id.to_string();
        head + &sent_line([&sent.queue.broker_name, &queue, sent.status, &sent.id])
    });
    Ok(())
}

fn sent_line([broker, queue, result, last]: [&str; 4]) -> String {
    format!("{broker:<32}  {queue:<4}  {result:<20}    {last}\n")
}

/// What a client notes of a send in the trace topic.
fn trace(group: &str, draft: &Draft, sent: &Sent, [began, took]: [i64; 2]) -> Draft {
    let property = |name| draft.properties.get(name).unwrap_or_default();
    let (tags, keys) = (property(name::TAGS), property(name::KEYS));
    let stored_at = decode_offset_id(&sent.offset_id).map(|(host, _)| host.to_string());
    let fields = [
        "Pub",
        &began.to_string(),
        "DefaultRegion",
        group,
        &draft.topic,
        &sent.id,
        tags,
        keys,
        &stored_at.unwrap_or_default(),
        &draft.body.len().to_string(),
        &took.to_string(),
        "0",
        &sent.offset_id,
        "true",
        "",
    ];
    let mut trace = Draft::new(TRACE_TOPIC, fields.join("\u{1}") + "\u{2}");
    trace
        .properties
        .set(name::KEYS, format!("{} {keys}", sent.id).trim_end());
    trace
}

/// A send that was timed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timed {
    broker: Str,
    queue: i32,
    success: bool,
    ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<Sent>,
}

async fn status(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topic = args.need("b")?;
    let size = size(args, "s")?;
    let count: i32 = args.number("c")?.unwrap_or(50);
    let sender = Sender::new(ctx, "PID_SMSC");
    let draft = |size: usize| {
        let words = size.div_ceil(HELLO.len());
        Draft::new(topic, HELLO.repeat(words))
    };
    // The first one makes the connection, and the topic.
    sender.send(&draft(16)).await?;
    for _ in 0..count {
        if ctx.is_closed() {
            break;
        }
        let began = ctx.env.clock.now_ms();
        let sent = sender.send(&draft(size)).await?;
        let ms = ctx.env.clock.now_ms() - began;
        let text = format!("rt={ms}ms, SendResult={sent}\n");
        let timed = Timed {
            broker: sent.queue.broker_name.clone(),
            queue: sent.queue.queue_id,
            success: true,
            ms,
            sent: Some(sent),
        };
        ctx.row(&timed, || text);
    }
    Ok(())
}

/// What the reference fills messages with.
const HELLO: &str = "hello jodie";

fn size(args: &Args, name: &str) -> Result<usize, Failure> {
    let size = args.number(name)?.unwrap_or(128_usize);
    if size > BYTES_MAX {
        let mib = BYTES_MAX >> 20;
        return Err(Failure::Usage(format!(
            "option {name}: a message can have at most {mib} MiB"
        )));
    }
    Ok(size)
}

async fn response_time(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topic = args.need("t")?;
    let amount: i64 = args.number("a")?.unwrap_or(100);
    let draft = Draft::new(topic, vec![b'a'; size(args, "s")?]);
    let sender = Sender::new(ctx, &ctx.env.clock.now_ms().to_string());
    let route = sender.route(topic).await?;
    let queues = queues::writable(topic, &route);
    ctx.say(sent_line(["#Broker Name", "#QID", "#Send Result", "#RT"]));
    let mut total = 0;
    let mut failed = None;
    for (number, queue) in (0..amount).zip(queues.iter().cycle()) {
        if ctx.is_closed() {
            break;
        }
        let began = ctx.env.clock.now_ms();
        let sent = sender.send_to(&route, queue, &draft).await;
        let ms = ctx.env.clock.now_ms() - began;
        let timed = Timed {
            broker: queue.broker_name.clone(),
            queue: queue.queue_id,
            success: sent.is_ok(),
            ms,
            sent: None,
        };
        failed = sent.err().or(failed);
        // The first one makes the connection.
        total += if number == 0 { 0 } else { ms };
        ctx.row(&timed, || {
            sent_line([
                &timed.broker,
                &timed.queue.to_string(),
                &timed.success.to_string(),
                &ms.to_string(),
            ])
        });
    }
    let average = total as f64 / (amount - 1) as f64;
    ctx.say(format_args!("Avg RT: {}\n", fixed(average, 2)));
    if queues.is_empty() {
        return Err(Failure::Other(format!(
            "no broker takes messages of the topic {topic}"
        )));
    }
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_names_what_was_sent() {
        let mut draft = Draft::new("T", "hello");
        draft.properties.set(name::KEYS, "k");
        let sent = Sent {
            status: "SEND_OK",
            id: "ID".into(),
            offset_id: "OFF".into(),
            queue: MessageQueue::default(),
            offset: 0,
            recall_handle: None,
        };
        let trace = trace("G", &draft, &sent, [1000, 3]);
        let body = String::from_utf8(trace.body.to_vec()).unwrap();
        let fields: Vec<&str> = body.split('\u{1}').collect();
        assert_eq!(
            fields[..8],
            ["Pub", "1000", "DefaultRegion", "G", "T", "ID", "", "k"]
        );
        assert_eq!(fields[9..14], ["5", "3", "0", "OFF", "true"]);
        assert_eq!(trace.properties.get(name::KEYS), Some("ID k"));
    }
}
