// SPDX-License-Identifier: Apache-2.0
//! `consumeMessage`: reads messages of a topic in the name of a group, without moving its offsets.

use std::time::Duration;

use wire::body::queue::MessageQueue;

use super::print::{Bodies, print_all, stuck, time_option};
use crate::charset::Charset;
use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::by_hash;
use crate::options::{Args, value};
use crate::queues::{self, Ask, Filter, Reader, Status, display};

pub(crate) const CONSUME_MESSAGE: Command = Command {
    name: "consumeMessage",
    about: "Consume message.",
    options: &[
        value("t", "topic", "Topic name").required().topic(),
        value("b", "brokerName", "Broker name"),
        value("i", "queueId", "Queue Id"),
        value("o", "offset", "Queue offset"),
        value("g", "consumerGroup", "Consumer group name").group(),
        value(
            "s",
            "beginTimestamp ",
            "Begin timestamp[currentTimeMillis|yyyy-MM-dd#HH:mm:ss:SSS]",
        ),
        value(
            "e",
            "endTimestamp ",
            "End timestamp[currentTimeMillis|yyyy-MM-dd#HH:mm:ss:SSS]",
        ),
        value("c", "MessageNumber", "Number of message to be consumed"),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// What is wanted.
struct Wish {
    count: i64,
    /// Times, ms; 0 for any.
    from: i64,
    to: i64,
    bodies: Bodies,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let wish = wish(ctx, args).map_err(|why| {
        // The reference says it here, and does nothing.
        ctx.say(&why);
        Failure::Usage(why)
    })?;
    let topic = args.need("t")?;
    let route = lookup::route(ctx, topic).await?;
    let mut reader = Reader::new(ctx, route);
    if let Some(group) = args.get("g") {
        reader.group = group.into();
    }
    let Some(queue_id) = args.number("i")? else {
        return all_queues(ctx, &reader, topic, &wish).await;
    };
    let queue = MessageQueue {
        topic: topic.into(),
        broker_name: args.need("b")?.into(),
        queue_id,
    };
    one_queue(ctx, &reader, &queue, (args.number("o")?.unwrap_or(0), &wish)).await
}

/// Messages, where none is said.
const COUNT: i64 = 128;

fn wish(ctx: &Ctx, args: &Args) -> Result<Wish, String> {
    let text = |failure: Failure| failure.to_string();
    let count = args.number("c").map_err(text)?.unwrap_or(COUNT);
    if count <= 0 {
        return Err("Please input a positive messageNumber!".to_owned());
    }
    if args.has("i") && !args.has("b") {
        return Err("Please set the brokerName before queueId!".to_owned());
    }
    if args.has("o") && !args.has("i") {
        return Err("Please set queueId before offset!".to_owned());
    }
    let now = ctx.env.clock.now_ms();
    let from = time_option(args, "s").map_err(text)?.unwrap_or(0);
    if from > now {
        return Err("Please set the beginTimestamp before now!".to_owned());
    }
    let to = time_option(args, "e").map_err(text)?;
    if to.is_some_and(|to| to > now) {
        return Err("Please set the endTimestamp before now!".to_owned());
    }
    if to.is_some_and(|to| from > to) {
        return Err(
            "Please make sure that the beginTimestamp is less than or equal to the endTimestamp".to_owned(),
        );
    }
    let bodies = Bodies(Some(Charset::named("UTF-8").map_err(text)?));
    Ok(Wish {
        count,
        from,
        to: to.unwrap_or(0),
        bodies,
    })
}

/// The offsets of a queue between the times that are wanted.
async fn range(reader: &Reader<'_>, queue: &MessageQueue, wish: &Wish) -> Result<(i64, i64), Failure> {
    let mut min = reader.min(queue).await?;
    let mut max = reader.max(queue).await?;
    if wish.from > 0 {
        min = reader.at_time(queue, wish.from).await?;
    }
    if wish.to > 0 {
        max = reader.at_time(queue, wish.to).await?;
    }
    Ok((min, max))
}

async fn all_queues(ctx: &Ctx, reader: &Reader<'_>, topic: &str, wish: &Wish) -> Result<(), Failure> {
    let queues = by_hash(queues::readable(topic, &reader.route), queues::hash_code);
    if queues.is_empty() {
        return Err(Failure::Other(format!("the topic {topic} has no queues to read")));
    }
    let mut left = wish.count;
    for queue in queues {
        if left == 0 {
            break;
        }
        let (min, mut max) = range(reader, &queue, wish).await?;
        if max - min > left {
            ctx.say(format_args!(
                "The older {left} message of the {} queue will be provided\n",
                queue.queue_id
            ));
            max = min + left - 1;
            left = 0;
        } else {
            // One too many, as in the reference; at worst it never is 0.
            left = left - (max - min) - 1;
        }
        read(ctx, reader, &queue, (min, max, &wish.bodies)).await?;
    }
    Ok(())
}

async fn one_queue(
    ctx: &Ctx,
    reader: &Reader<'_>,
    queue: &MessageQueue,
    (offset, wish): (i64, &Wish),
) -> Result<(), Failure> {
    let (min, mut max) = range(reader, queue, wish).await?;
    if offset > max {
        ctx.say(format_args!(
            "{} no matched msg, offset={offset}\n",
            display(queue)
        ));
        return Ok(());
    }
    let min = min.max(offset);
    if max - min > wish.count {
        ctx.say(format_args!(
            "The oldler {} message will be provided\n",
            wish.count
        ));
        max = min + wish.count - 1;
    }
    read(ctx, reader, queue, (min, max, &wish.bodies)).await
}

/// Reads between two offsets, the last one included.
async fn read(
    ctx: &Ctx,
    reader: &Reader<'_>,
    queue: &MessageQueue,
    (min, max, bodies): (i64, i64, &Bodies),
) -> Result<(), Failure> {
    let mut offset = min;
    while offset <= max && !ctx.is_closed() {
        let ask = Ask {
            offset,
            most: i32::try_from(max - offset + 1).unwrap_or(i32::MAX),
            filter: &Filter::all(),
            hold: Duration::ZERO,
        };
        let pulled = reader.pull(queue, &ask).await?;
        let stands = pulled.next <= offset;
        offset = pulled.next;
        match pulled.status {
            Status::Found => {
                ctx.say("Consume ok\n");
                print_all(ctx, &pulled.messages, bodies);
            }
            Status::NoMatchedMsg => ctx.say(format_args!(
                "{} no matched msg. status={}, offset={offset}\n",
                display(queue),
                pulled.status
            )),
            Status::NoNewMsg | Status::OffsetIllegal => {
                ctx.say(format_args!(
                    "{} print msg finished. status={}, offset={offset}\n",
                    display(queue),
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
