// SPDX-License-Identifier: Apache-2.0
//! `timers`: messages that wait for their time, and taking one back.

use serde::Serialize;
use wire::Str;
use wire::api::timer::{CancelTimer, ListTimers};
use wire::body::timer::PendingTimers;
use wire::code::ResponseCode;

use super::{is_of_reference, lookup, masters, span};
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, long_value, value};
use crate::text::{parse_time, time};

pub(crate) const TIMERS: Command = Command {
    name: "timers",
    about: "List messages that wait for their time, or take one back.",
    options: &[
        value("b", "brokerAddr", "only this broker"),
        value("c", "clusterName", "only brokers of this cluster"),
        value("t", "topic", "only messages for this topic").topic(),
        long_value(
            "from",
            "only those that come at or after this time [ms|yyyy-MM-dd#HH:mm:ss:SSS]",
        ),
        long_value("max", "most messages listed, default 100"),
        long_value(
            "cancel",
            "take back the message with this unique id; with -t, and --yes",
        ),
    ],
    ours: true,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// Listed, unless somebody asks for more.
const LISTED: usize = 100;
const LISTED_MAX: usize = 100_000;
/// Messages of one answer.
const PAGE: i32 = 1000;

/// A message that waits.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timer {
    broker: Str,
    topic: Str,
    queue: i32,
    due: String,
    #[serde(rename = "in")]
    until: String,
    stored: String,
    size: i32,
    uniq_key: Str,
    #[serde(skip)]
    out_ms: i64,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    if let Some(key) = args.get("cancel") {
        return cancel(ctx, args, key).await;
    }
    let most = args.number("max")?.unwrap_or(LISTED);
    if most > LISTED_MAX {
        return Err(Failure::Usage(format!(
            "option max: at most {LISTED_MAX} are listed at once"
        )));
    }
    let from = args.get("from").map(|text| {
        parse_time(text).ok_or_else(|| Failure::Usage(format!("option from: '{text}' is no time")))
    });
    let from = from.transpose()?;
    let mut timers = Vec::new();
    let mut is_cut = false;
    for (broker, addr) in masters(ctx, args).await? {
        is_cut |= list(ctx, (&broker, &addr), (args.get("t"), from, most), &mut timers).await?;
    }
    timers.sort_by_key(|timer| timer.out_ms);
    is_cut |= timers.len() > most;
    timers.truncate(most);
    ctx.show(&timers, String::new);
    if is_cut {
        ctx.warn(format_args!(
            "only the first {most} are listed; --max shows more, --from later ones"
        ));
    }
    Ok(())
}

/// Adds those of one broker; whether there are more.
async fn list(
    ctx: &Ctx,
    (broker, addr): (&Str, &str),
    (topic, from_ms, most): (Option<&str>, Option<i64>, usize),
    timers: &mut Vec<Timer>,
) -> Result<bool, Failure> {
    let now = ctx.env.clock.now_ms();
    let mut next = None;
    let mut count = 0;
    loop {
        let left = i32::try_from(most - count).unwrap_or(PAGE).clamp(1, PAGE);
        let header = ListTimers {
            topic: topic.map(Str::from),
            from_ms,
            max: Some(left),
            next: next.take(),
        };
        let answer = match ctx.client.ask(addr, &header).await {
            Err(failure) if is_of_reference(&failure) => {
                ctx.warn(format_args!(
                    "{broker} is no broker of barque and does not list timers"
                ));
                return Ok(false);
            }
            answer => answer?,
        };
        let page: PendingTimers = answer.body()?;
        let is_empty = page.pending.is_empty();
        count += page.pending.len();
        timers.extend(page.pending.into_iter().map(|timer| Timer {
            broker: broker.clone(),
            topic: timer.topic,
            queue: timer.queue_id,
            due: time(timer.out_ms),
            until: span(timer.out_ms - now),
            stored: time(timer.store_timestamp),
            size: timer.size,
            uniq_key: timer.uniq_key,
            out_ms: timer.out_ms,
        }));
        next = page.next;
        // A page without a message leads nowhere, whatever it says.
        if next.is_none() || is_empty || count >= most {
            return Ok(next.is_some());
        }
    }
}

/// A message that was taken back.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cancelled<'a> {
    broker: &'a str,
    topic: &'a str,
    uniq_key: &'a str,
}

async fn cancel(ctx: &Ctx, args: &Args, key: &str) -> Result<(), Failure> {
    let topic = args
        .get("t")
        .ok_or_else(|| Failure::Usage("say of which topic the message is: -t <topic>".to_owned()))?;
    if args.extras.watch.is_some() {
        return Err(Failure::Usage(
            "only lists can be repeated with --watch".to_owned(),
        ));
    }
    ctx.confirm(
        args,
        &format!("The message {key} of {topic} will not be delivered."),
    )?;
    let targets = match args.get("b") {
        Some(addr) => vec![(Str::from(addr), Str::from(addr))],
        None => {
            let route = lookup::route(ctx, topic).await?;
            let brokers = route.broker_datas.iter();
            let masters = brokers.filter_map(|broker| {
                Some((broker.broker_name.clone(), lookup::master_addr(broker)?.clone()))
            });
            masters.collect()
        }
    };
    let mut refused = None;
    for (broker, addr) in &targets {
        let header = CancelTimer {
            topic: topic.into(),
            uniq_key: key.into(),
        };
        match ctx.client.ask(addr, &header).await {
            Ok(_) => {
                let cancelled = Cancelled {
                    broker,
                    topic,
                    uniq_key: key,
                };
                ctx.show(&cancelled, String::new);
                return Ok(());
            }
            Err(failure) if failure.response_code() == Some(ResponseCode::QUERY_NOT_FOUND) => {
                refused.get_or_insert(failure);
            }
            // It was found, and is too late; or nobody knows.
            Err(failure) => refused = Some(failure),
        }
    }
    Err(refused.unwrap_or_else(|| Failure::Other(format!("no broker has the topic {topic}"))))
}
