// SPDX-License-Identifier: Apache-2.0
//! `transactions`: those that have not ended, and ending one by hand.

use serde::Serialize;
use wire::Str;
use wire::api::transaction::{ForceTransaction, ListTransactions};
use wire::body::transaction::PendingTransactions;
use wire::code::ResponseCode;

use super::{is_of_reference, masters, span};
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, long_value, value};

pub(crate) const TRANSACTIONS: Command = Command {
    name: "transactions",
    about: "List transactions that have not ended, or end one.",
    options: &[
        value("b", "brokerAddr", "only this broker"),
        value("c", "clusterName", "only brokers of this cluster"),
        value("g", "producerGroup", "only those of this producer group").group(),
        long_value("max", "most transactions listed of a broker, default 100"),
        long_value("commit", "commit the one at this offset; with -b, and --yes"),
        long_value("rollback", "roll back the one at this offset; with -b, and --yes"),
    ],
    ours: true,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

const LISTED: usize = 100;
const LISTED_MAX: usize = 100_000;
const PAGE: i32 = 1000;

/// What ends a transaction, as it travels.
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;

/// A transaction that has not ended.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pending {
    broker: Str,
    offset: i64,
    group: Str,
    topic: Str,
    age: String,
    checks: u32,
    born_host: Str,
    last_asked: Option<Str>,
    offset_msg_id: Str,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    match (args.number("commit")?, args.number("rollback")?) {
        (None, None) => {}
        (Some(offset), None) => return end(ctx, args, (offset, COMMIT)).await,
        (None, Some(offset)) => return end(ctx, args, (offset, ROLLBACK)).await,
        (Some(_), Some(_)) => {
            return Err(Failure::Usage("say one of --commit and --rollback".to_owned()));
        }
    }
    let most = args.number("max")?.unwrap_or(LISTED);
    if most > LISTED_MAX {
        return Err(Failure::Usage(format!(
            "option max: at most {LISTED_MAX} are listed at once"
        )));
    }
    let mut pending = Vec::new();
    for (broker, addr) in masters(ctx, args).await? {
        let left_out = list(ctx, (&broker, &addr), (args.get("g"), most), &mut pending).await?;
        if left_out {
            ctx.warn(format_args!(
                "only the oldest {most} of {broker} are listed; --max shows more"
            ));
        }
    }
    ctx.show(&pending, String::new);
    Ok(())
}

/// Adds those of one broker, oldest first; whether there are more.
async fn list(
    ctx: &Ctx,
    (broker, addr): (&Str, &str),
    (group, most): (Option<&str>, usize),
    pending: &mut Vec<Pending>,
) -> Result<bool, Failure> {
    let mut from_offset = 0;
    let mut count = 0;
    loop {
        let header = ListTransactions {
            producer_group: group.map(Str::from),
            from_offset,
            max_num: i32::try_from(most - count).unwrap_or(PAGE).clamp(1, PAGE),
        };
        let answer = match ctx.client.ask(addr, &header).await {
            Err(failure) if is_of_reference(&failure) => {
                ctx.warn(format_args!(
                    "{broker} is no broker of barque and does not list transactions"
                ));
                return Ok(false);
            }
            answer => answer?,
        };
        let page: PendingTransactions = answer.body()?;
        count += page.pending.len();
        pending.extend(page.pending.into_iter().map(|known| Pending {
            broker: broker.clone(),
            offset: known.tran_state_table_offset,
            group: known.producer_group,
            topic: known.topic,
            age: span(known.age_ms),
            checks: known.checks,
            born_host: known.born_host,
            last_asked: known.last_producer,
            offset_msg_id: known.offset_msg_id,
        }));
        match page.next_offset {
            Some(next) if next > from_offset && count < most => from_offset = next,
            next => return Ok(next.is_some()),
        }
    }
}

/// A transaction that was ended.
#[derive(Serialize)]
struct Ended<'a> {
    broker: &'a str,
    offset: i64,
    ended: &'static str,
}

async fn end(ctx: &Ctx, args: &Args, (offset, how): (i64, i32)) -> Result<(), Failure> {
    let addr = args
        .get("b")
        .ok_or_else(|| Failure::Usage("offsets count for one broker: say -b <broker>".to_owned()))?;
    if args.extras.watch.is_some() {
        return Err(Failure::Usage(
            "only lists can be repeated with --watch".to_owned(),
        ));
    }
    let (ended, will) = match how {
        COMMIT => ("committed", "be delivered, whatever its producer decides"),
        _ => ("rolledBack", "never be delivered, whatever its producer decides"),
    };
    ctx.confirm(
        args,
        &format!("The message of the transaction at offset {offset} of {addr} will {will}."),
    )?;
    let header = ForceTransaction {
        tran_state_table_offset: offset,
        commit_or_rollback: how,
    };
    ctx.client.ask(addr, &header).await.map_err(|failure| match failure.response_code() {
        Some(ResponseCode::QUERY_NOT_FOUND) => Failure::Other(format!(
            "{failure}; list them again: a transaction gets another offset each time its producer was asked"
        )),
        _ => failure,
    })?;
    let ended = Ended {
        broker: addr,
        offset,
        ended,
    };
    ctx.show(&ended, String::new);
    Ok(())
}
