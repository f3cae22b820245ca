// SPDX-License-Identifier: Apache-2.0
//! `dlq`: the dead letters of a group, and sending some of them again.

mod letter;
mod resend;

use std::time::Duration;

use bytes::Bytes;
use wire::body::topic_route::TopicRoute;
use wire::code::ResponseCode;

use super::super::group::config::group_on;
use super::{lookup, parse_span};
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, long_flag, long_value, value};
use crate::queues::{self, Ask, Filter, Reader};
use crate::text::parse_time;
use letter::Letter;

pub(crate) const DLQ: Command = Command {
    name: "dlq",
    about: "List the dead letters of a group, or send some of them again.",
    options: &[
        value("g", "group", "the consumer group").required().group(),
        long_value(
            "from",
            "only those that died at or after this time, or within this span [ms|date#time|10m|2h|7d]",
        ),
        long_value("max", "most dead letters looked at, default 100; the newest"),
        long_value(
            "resend",
            "send these again: ids, separated by commas, or all that are listed; with --yes",
        ),
        long_value(
            "to",
            "where to: retry (default; only this group gets it) or origin (all groups of its topic do)",
        ),
        long_flag("dry-run", "say what would be sent again, and send nothing"),
        long_flag("force", "also what was sent again already"),
    ],
    ours: true,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// Looked at, unless somebody asks for more.
const LOOKED_AT: usize = 100;
const LOOKED_AT_MAX: usize = 10_000;
/// Messages of one read.
const AT_ONCE: i32 = 32;
/// Bodies that are kept to be sent again.
const BODY_BYTES_MAX: usize = 256 << 20;

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let group = args.need("g")?;
    if args.has("resend") && args.extras.watch.is_some() {
        return Err(Failure::Usage(
            "only lists can be repeated with --watch".to_owned(),
        ));
    }
    let letters = letters(ctx, args, group).await?;
    match args.get("resend") {
        Some(which) => resend::resend(ctx, args, (group, which), &letters).await,
        None => {
            ctx.show(&letters, String::new);
            Ok(())
        }
    }
}

/// The newest dead letters, oldest first.
async fn letters(ctx: &Ctx, args: &Args, group: &str) -> Result<Vec<Letter>, Failure> {
    let most = args.number("max")?.unwrap_or(LOOKED_AT);
    if most == 0 || most > LOOKED_AT_MAX {
        return Err(Failure::Usage(format!("option max: from 1 to {LOOKED_AT_MAX}")));
    }
    let since = args.get("from").map(|text| {
        let ago = parse_span(text).map(|ms| ctx.env.clock.now_ms() - ms);
        let at = ago.or_else(|| parse_time(text));
        at.ok_or_else(|| {
            Failure::Usage(format!(
                "option from: '{text}' is neither a time nor a span such as 2h"
            ))
        })
    });
    let since = since.transpose()?;
    let topic = format!("%DLQ%{group}");
    let route = match lookup::route(ctx, &topic).await {
        Err(failure) if failure.response_code() == Some(ResponseCode::TOPIC_NOT_EXIST) => {
            // The topic comes into being with the first dead letter. But the name may be a mistake.
            retries_of(ctx, group).await?;
            return Ok(Vec::new());
        }
        route => route?,
    };
    let tries = retries_of(ctx, group).await.ok();
    let plan = Plan {
        since,
        most,
        tries,
        resend: args.get("resend"),
    };
    read(ctx, &topic, route, &plan).await
}

/// What is read of the dead letters, and what is kept of them.
struct Plan<'a> {
    since: Option<i64>,
    most: usize,
    /// How often the group tries a message.
    tries: Option<i32>,
    /// Which are to be sent again: of the others no body is kept.
    resend: Option<&'a str>,
}

impl Plan<'_> {
    fn needs_body(&self, letter: &Letter) -> bool {
        self.resend
            .is_some_and(|which| which == resend::ALL || resend::ids(which).any(|id| letter.is(id)))
    }
}

/// How often the group tries a message; a failure where no broker knows the group. Asking for the group alone would make it.
async fn retries_of(ctx: &Ctx, group: &str) -> Result<i32, Failure> {
    let clusters = lookup::clusters(ctx).await?;
    for addr in clusters.broker_addr_table.values().filter_map(lookup::any_addr) {
        if let Some(config) = group_on(ctx, addr, group).await? {
            return Ok(config.retry_max_times);
        }
    }
    Err(Failure::Other(format!("no broker knows the group {group}")))
}

async fn read(ctx: &Ctx, topic: &str, route: TopicRoute, plan: &Plan<'_>) -> Result<Vec<Letter>, Failure> {
    let queues = queues::readable(topic, &route);
    if queues.is_empty() {
        return Err(Failure::Other(format!(
            "the topic {topic} may not be read; `mqadmin updateTopicPerm -t {topic} -p 6` with -b or -c allows it"
        )));
    }
    let reader = Reader::new(ctx, route);
    let mut found: Vec<Letter> = Vec::new();
    let mut body_bytes = 0_usize;
    for queue in queues {
        let end = reader.max(&queue).await?;
        let newest = end.saturating_sub(i64::try_from(plan.most).unwrap_or(i64::MAX));
        let mut offset = reader.min(&queue).await?.max(newest);
        if let Some(since) = plan.since {
            offset = offset.max(reader.at_time(&queue, since).await?);
        }
        while offset < end {
            let ask = Ask {
                offset,
                most: AT_ONCE,
                filter: &Filter::all(),
                hold: Duration::ZERO,
            };
            let pulled = reader.pull(&queue, &ask).await?;
            for message in pulled.messages {
                let mut letter = Letter::new(message, plan.tries);
                let body = letter.message.body.take().filter(|_| plan.needs_body(&letter));
                // A copy: all that came with it would be kept otherwise.
                letter.message.body = body.as_deref().map(Bytes::copy_from_slice);
                body_bytes += body.map_or(0, |body| body.len());
                found.push(letter);
            }
            if body_bytes > BODY_BYTES_MAX {
                return Err(Failure::Other(format!(
                    "the dead letters to send again have more than {} MiB: say fewer at once, with --max or by their ids",
                    BODY_BYTES_MAX >> 20
                )));
            }
            // Whatever it is called: as long as the broker says where to go on, there may be more.
            if pulled.next <= offset {
                break;
            }
            offset = pulled.next;
        }
    }
    found.sort_by_key(|letter| letter.message.stored_at);
    let older = found.len().saturating_sub(plan.most);
    found.drain(..older);
    Ok(found)
}
