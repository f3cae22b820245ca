// SPDX-License-Identifier: Apache-2.0
//! `tail`: follows a topic, until Ctrl-C. It is no consumer: no group has offsets for it, and nobody loses a message to it.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use wire::body::queue::MessageQueue;

use super::{lookup, parse_span, shortened};
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::message::Message;
use crate::options::{Args, long_flag, long_value, value};
use crate::queues::{self, Ask, Filter, Pulled, Reader, Status, display};
use crate::text::{harmless, parse_time, time};

pub(crate) const TAIL: Command = Command {
    name: "tail",
    about: "Follow a topic live, from its end, a time or an offset.",
    options: &[
        value("t", "topic", "topic to follow").required().topic(),
        value("s", "tags", "only messages with one of these tags: a || b"),
        long_value(
            "sql",
            "only messages whose properties fulfil this condition (SQL92)",
        ),
        value("b", "broker", "only queues of the broker with this name"),
        value("i", "queue", "only queues with this number"),
        long_value(
            "from",
            "where to begin: end (default), start, a time [ms|yyyy-MM-dd#HH:mm:ss:SSS], or how long ago [90s|10m|2h|7d]",
        ),
        long_value("offset", "begin at this offset of each queue"),
        long_value("max", "end after this many messages"),
        long_flag("once", "end where the topic ends, instead of waiting for more"),
        long_flag("full", "print whole bodies"),
    ],
    ours: true,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// How long a broker may wait for the next message.
const HOLD: Duration = Duration::from_secs(15);
/// Messages of one read.
const AT_ONCE: i32 = 32;
/// Queues followed at once: each is a request that waits at its broker.
const QUEUES_MAX: usize = 256;
/// How long to wait where a broker cannot be asked.
const PAUSE: Duration = Duration::from_secs(1);
/// How long to wait behind an answer that brought nothing.
const SHORT_PAUSE: Duration = Duration::from_millis(50);
/// Letters of a body in one line.
const LETTERS: usize = 200;

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    tokio::select! {
        ended = follow(ctx, args) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Where reading begins.
enum From {
    End,
    Start,
    Time(i64),
    Offset(i64),
}

fn from(ctx: &Ctx, args: &Args) -> Result<From, Failure> {
    if let Some(offset) = args.number("offset")? {
        return Ok(From::Offset(offset));
    }
    match args.get("from").unwrap_or("end") {
        "end" => Ok(From::End),
        "start" => Ok(From::Start),
        text => {
            let ago = parse_span(text).map(|ms| ctx.env.clock.now_ms() - ms);
            let at = ago.or_else(|| parse_time(text));
            at.map(From::Time).ok_or_else(|| {
                Failure::Usage(format!(
                    "option from: '{text}' is none of end, start, a time or a span such as 10m"
                ))
            })
        }
    }
}

type Reading<'a> = Pin<Box<dyn Future<Output = (MessageQueue, i64, Result<Pulled, Failure>)> + 'a>>;

async fn follow(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let begin = from(ctx, args)?;
    let filter = filter(args)?;
    let mut left: u64 = args.number("max")?.unwrap_or(u64::MAX);
    if left == 0 {
        return Err(Failure::Usage("option max: at least 1".to_owned()));
    }
    let once = args.has("once");
    let hold = if once { Duration::ZERO } else { HOLD };
    let reader = Reader::new(ctx, lookup::route(ctx, args.need("t")?).await?);
    let mut reads: FuturesUnordered<Reading<'_>> = FuturesUnordered::new();
    for queue in queues(&reader, args)? {
        let offset = match begin {
            From::End => reader.max(&queue).await?,
            From::Start => reader.min(&queue).await?,
            From::Time(ms) => reader.at_time(&queue, ms).await?,
            From::Offset(offset) => offset,
        };
        reads.push(read(&reader, queue, (offset, &filter, hold), Duration::ZERO));
    }
    while let Some((queue, offset, pulled)) = reads.next().await {
        let pulled = match pulled {
            Ok(pulled) => pulled,
            Err(failure) if failure.is_of_the_way() && !once => {
                ctx.warn(format_args!("{}: {failure}; trying again", display(&queue)));
                reads.push(read(&reader, queue, (offset, &filter, hold), PAUSE));
                continue;
            }
            Err(failure) => return Err(failure),
        };
        for message in &pulled.messages {
            print(ctx, args, message);
            left = left.saturating_sub(1);
            if left == 0 || ctx.is_closed() {
                return Ok(());
            }
        }
        let next = pulled.next;
        let ended = matches!(pulled.status, Status::NoNewMsg | Status::OffsetIllegal);
        if once && ended && next <= offset {
            continue;
        }
        if pulled.status == Status::OffsetIllegal && next != offset {
            ctx.warn(format_args!("{} goes on at offset {next}", display(&queue)));
        }
        // A slave, or a broker that does not wait, answers at once.
        let stands = next <= offset && pulled.messages.is_empty();
        let pause = if stands { SHORT_PAUSE } else { Duration::ZERO };
        reads.push(read(&reader, queue, (next, &filter, hold), pause));
    }
    Ok(())
}

fn filter(args: &Args) -> Result<Filter, Failure> {
    match (args.get("s"), args.get("sql")) {
        (Some(_), Some(_)) => Err(Failure::Usage("say one of --tags and --sql".to_owned())),
        (_, Some(condition)) => Ok(Filter::Sql(condition.to_owned())),
        (tags, None) => Ok(Filter::Tags(tags.unwrap_or("*").to_owned())),
    }
}

fn queues(reader: &Reader<'_>, args: &Args) -> Result<Vec<MessageQueue>, Failure> {
    let topic = args.need("t")?;
    let (broker, number) = (args.get("b"), args.number::<i32>("i")?);
    let all = queues::readable(topic, &reader.route);
    let wanted = all.into_iter().filter(|queue| {
        broker.is_none_or(|name| queue.broker_name == name) && number.is_none_or(|id| queue.queue_id == id)
    });
    let wanted: Vec<MessageQueue> = wanted.collect();
    if wanted.is_empty() {
        return Err(Failure::Other(format!(
            "the topic {topic} has no such queue to read; `topicRoute -t {topic} -l` shows what it has"
        )));
    }
    if wanted.len() > QUEUES_MAX {
        return Err(Failure::Usage(format!(
            "the topic has {} queues, {QUEUES_MAX} can be followed at once: say -b or -i",
            wanted.len()
        )));
    }
    Ok(wanted)
}

fn read<'a>(
    reader: &'a Reader<'_>,
    queue: MessageQueue,
    (offset, filter, hold): (i64, &'a Filter, Duration),
    pause: Duration,
) -> Reading<'a> {
    Box::pin(async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let ask = Ask {
            offset,
            most: AT_ONCE,
            filter,
            hold,
        };
        let pulled = reader.pull(&queue, &ask).await;
        (queue, offset, pulled)
    })
}

fn print(ctx: &Ctx, args: &Args, message: &Message) {
    ctx.stream(message, || {
        let body = message.body.as_deref().unwrap_or_default();
        let body = String::from_utf8_lossy(body);
        let letters = if args.has("full") { usize::MAX } else { LETTERS };
        let named = |what: &str, value: Option<&str>| {
            value.map(|value| format!("{what}={value} ")).unwrap_or_default()
        };
        let line = format!(
            "{} {}/{}@{} {} {}{}{}",
            time(message.stored_at),
            message.broker.as_deref().unwrap_or_default(),
            message.queue,
            message.offset,
            message.id().unwrap_or_default(),
            named("tags", message.tags()),
            named("keys", message.keys()),
            shortened(&body, letters)
        );
        // Ids, tags and keys are what their sender wrote.
        format!("{}\n", harmless(&line))
    });
}
