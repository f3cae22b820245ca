// SPDX-License-Identifier: Apache-2.0
//! `printMsg` and `printMsgByQueue`: the messages of a topic, or of one of its queues, one a line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::Serialize;
use wire::body::queue::MessageQueue;

use crate::charset::Charset;
use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::{by_hash, hash_map};
use crate::message::{Message, or_null};
use crate::options::{Args, value};
use crate::queues::{self, Ask, Filter, Pulled, Reader, Status, display};
use crate::text::parse_time;

pub(crate) const PRINT_MSG: Command = Command {
    name: "printMsg",
    about: "Print Message Detail.",
    options: &[
        value("t", "topic", "topic name").required().topic(),
        value("c", "charsetName ", "CharsetName(eg: UTF-8,GBK)"),
        value("s", "subExpression ", "Subscribe Expression(eg: TagA || TagB)"),
        value(
            "b",
            "beginTimestamp ",
            "Begin timestamp[currentTimeMillis|yyyy-MM-dd#HH:mm:ss:SSS]",
        ),
        value(
            "e",
            "endTimestamp ",
            "End timestamp[currentTimeMillis|yyyy-MM-dd#HH:mm:ss:SSS]",
        ),
        value("d", "printBody ", "print body"),
        value(
            "l",
            "lmqParentTopic",
            "Lmq parent topic, lmq is used to find the route.",
        ),
    ],
    run: |ctx, args| Box::pin(print(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const PRINT_MSG_BY_QUEUE: Command = Command {
    name: "printMsgByQueue",
    about: "Print Message Detail by queueId.",
    options: &[
        value("t", "topic", "topic name").required().topic(),
        value("a", "brokerName ", "broker name").required(),
        value("i", "queueId ", "queue id").required(),
        value("c", "charsetName ", "CharsetName(eg: UTF-8,GBK)"),
        value("s", "subExpression ", "Subscribe Expression(eg: TagA || TagB)"),
        value(
            "b",
            "beginTimestamp ",
            "Begin timestamp[currentTimeMillis|yyyy-MM-dd#HH:mm:ss:SSS]",
        ),
        value(
            "e",
            "endTimestamp ",
            "End timestamp[currentTimeMillis|yyyy-MM-dd#HH:mm:ss:SSS]",
        ),
        value("p", "print msg", "print msg. eg: true | false(default)"),
        value("d", "printBody ", "print body. eg: true | false(default)"),
        value("f", "calculate", "calculate by tag. eg: true | false(default)"),
    ],
    run: |ctx, args| Box::pin(print_queue(ctx, args)),
    ..Command::DEFAULT
};

/// Messages of one read.
const AT_ONCE: i32 = 32;

/// How bodies are printed.
pub(super) struct Bodies(pub Option<Charset>);

/// A line for each message.
pub(super) fn print_all(ctx: &Ctx, messages: &[Message], bodies: &Bodies) {
    for message in messages {
        ctx.row(message, || line(message, bodies));
    }
}

fn line(message: &Message, Bodies(charset): &Bodies) -> String {
    let content = message.body.as_deref().unwrap_or_default();
    let body = charset.map_or("NOT PRINT BODY".into(), |charset| charset.read(content));
    format!(
        "MSGID: {} {} BODY: {body}\n",
        or_null(message.id()),
        message.display()
    )
}

/// A time of the command line.
pub(super) fn time_option(args: &Args, name: &str) -> Result<Option<i64>, Failure> {
    let parse = |text: &str| {
        parse_time(text).ok_or_else(|| {
            Failure::Usage(format!(
                "option {name}: '{text}' is no time; expected milliseconds since 1970 or yyyy-MM-dd#HH:mm:ss:SSS"
            ))
        })
    };
    args.get(name).map(parse).transpose()
}

fn charset(args: &Args) -> Result<Charset, Failure> {
    Charset::named(args.get("c").unwrap_or("UTF-8"))
}

/// The offsets of a queue between the times of the command line.
async fn range(
    reader: &Reader<'_>,
    queue: &MessageQueue,
    [from, to]: [Option<i64>; 2],
) -> Result<(i64, i64), Failure> {
    let mut min = reader.min(queue).await?;
    let mut max = reader.max(queue).await?;
    if let Some(from) = from {
        min = reader.at_time(queue, from).await?;
    }
    if let Some(to) = to {
        max = reader.at_time(queue, to).await?;
    }
    Ok((min, max))
}

async fn print(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topic = args.need("t")?;
    let filter = Filter::Tags(args.get("s").unwrap_or("*").to_owned());
    let charset = charset(args)?;
    let bodies = Bodies(args.truth("d").unwrap_or(true).then_some(charset));
    let times = [time_option(args, "b")?, time_option(args, "e")?];
    let route = lookup::route(ctx, args.get("l").unwrap_or(topic)).await?;
    let queues = by_hash(queues::readable(topic, &route), queues::hash_code);
    if queues.is_empty() {
        return Err(Failure::Other(format!("the topic {topic} has no queues to read")));
    }
    let reader = Reader::new(ctx, route);
    let mut failed = None;
    for queue in queues {
        let (min, max) = range(&reader, &queue, times).await?;
        ctx.say(format_args!(
            "minOffset={min}, maxOffset={max}, {}\n",
            display(&queue)
        ));
        let printed = print_between(ctx, &reader, &queue, (&filter, &bodies, min..max)).await;
        // The other queues are printed all the same.
        if let Err(failure) = printed {
            ctx.warn(&failure);
            failed = Some(failure);
        }
        ctx.say("--------------------------------------------------------\n");
    }
    failed.map_or(Ok(()), Err)
}

async fn print_between(
    ctx: &Ctx,
    reader: &Reader<'_>,
    queue: &MessageQueue,
    (filter, bodies, offsets): (&Filter, &Bodies, Range<i64>),
) -> Result<(), Failure> {
    let shown = display(queue);
    let mut offset = offsets.start;
    while offset < offsets.end && !ctx.is_closed() {
        let pulled = pull(reader, queue, filter, offset).await?;
        let stands = pulled.next <= offset;
        offset = pulled.next;
        match pulled.status {
            Status::Found => print_all(ctx, &pulled.messages, bodies),
            Status::NoMatchedMsg => ctx.say(format_args!(
                "{shown} no matched msg. status={}, offset={offset}\n",
                pulled.status
            )),
            Status::NoNewMsg | Status::OffsetIllegal => {
                ctx.say(format_args!(
                    "{shown} print msg finished. status={}, offset={offset}\n",
                    pulled.status
                ));
                break;
            }
        }
        if stands {
            return Err(stuck(queue, offset));
        }
    }
    Ok(())
}

/// A broker that does not say where to go on would be asked for ever.
pub(super) fn stuck(queue: &MessageQueue, offset: i64) -> Failure {
    Failure::Other(format!(
        "the broker does not say how to go on behind offset {offset} of {}",
        display(queue)
    ))
}

async fn pull(
    reader: &Reader<'_>,
    queue: &MessageQueue,
    filter: &Filter,
    offset: i64,
) -> Result<Pulled, Failure> {
    let ask = Ask {
        offset,
        most: AT_ONCE,
        filter,
        hold: Duration::ZERO,
    };
    reader.pull(queue, &ask).await
}

/// How many messages have a tag.
#[derive(Serialize)]
struct Tagged {
    tag: String,
    count: i64,
}

async fn print_queue(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let is_on = |name| args.truth(name) == Some(true);
    let (prints, counts) = (is_on("p"), is_on("f"));
    let charset = charset(args)?;
    let bodies = Bodies(is_on("d").then_some(charset));
    let filter = Filter::Tags(args.get("s").unwrap_or("*").to_owned());
    let times = [time_option(args, "b")?, time_option(args, "e")?];
    let number = args.number("i")?;
    let queue = MessageQueue {
        topic: args.need("t")?.into(),
        broker_name: args.need("a")?.into(),
        queue_id: number.ok_or_else(|| Failure::Usage("Missing required option: i".to_owned()))?,
    };
    let reader = Reader::new(ctx, lookup::route(ctx, &queue.topic).await?);
    let (min, max) = range(&reader, &queue, times).await?;
    let mut tags = BTreeMap::new();
    let mut offset = min;
    while offset < max && !ctx.is_closed() {
        let pulled = pull(&reader, &queue, &filter, offset).await?;
        if pulled.status != Status::Found {
            break;
        }
        if pulled.next <= offset {
            return Err(stuck(&queue, offset));
        }
        offset = pulled.next;
        if counts {
            count(&mut tags, &pulled.messages);
        }
        if prints {
            print_all(ctx, &pulled.messages, &bodies);
        }
    }
    let tags = tags.into_iter().map(|(tag, count)| Tagged { tag, count });
    let mut tags = hash_map(tags, |tagged| &tagged.tag);
    tags.sort_by_key(|tagged| std::cmp::Reverse(tagged.count));
    for tagged in &tags {
        ctx.row(tagged, || {
            format!("Tag: {:<30} Count: {}\n", tagged.tag, tagged.count)
        });
    }
    Ok(())
}

/// Tags that are counted; a topic with more has no tags worth counting.
const TAGS_MAX: usize = 100_000;

fn count(tags: &mut BTreeMap<String, i64>, messages: &[Message]) {
    for tag in messages.iter().filter_map(Message::tags) {
        if tag.trim().is_empty() || (tags.len() >= TAGS_MAX && !tags.contains_key(tag)) {
            continue;
        }
        *tags.entry(tag.to_owned()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_printed_on_one_line() {
        let message = Message {
            topic: "T".into(),
            body: Some("grün\u{80}".as_bytes().to_vec().into()),
            offset_id: Some("7F".into()),
            ..Message::default()
        };
        let utf8 = Charset::named("UTF-8").unwrap();
        let text = line(&message, &Bodies(Some(utf8)));
        assert_eq!(
            text,
            "MSGID: 7F MessageExt [brokerName=null, queueId=0, storeSize=0, queueOffset=0, sysFlag=0, bornTimestamp=0, \
             bornHost=null, storeTimestamp=0, storeHost=null, msgId=7F, commitLogOffset=0, bodyCRC=0, \
             reconsumeTimes=0, preparedTransactionOffset=0, toString()=Message{topic='T', flag=0, properties=null, \
             body=[103, 114, -61, -68, 110, -62, -128], transactionId='null'}] BODY: grün\u{80}\n"
        );
        assert!(line(&message, &Bodies(None)).ends_with(" BODY: NOT PRINT BODY\n"));
    }
}
