// SPDX-License-Identifier: Apache-2.0
//! `configHistory`: which settings requests have changed, when, and who.

use serde::Serialize;
use wire::Str;
use wire::api::config::ListConfigChanges;
use wire::body::config::{ConfigChange, ConfigChanges};

use super::{is_of_reference, masters};
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, long_value, value};
use crate::text::time;

pub(crate) const CONFIG_HISTORY: Command = Command {
    name: "configHistory",
    about: "List which settings were changed by requests, when, and by whom.",
    options: &[
        value("b", "addr", "only this server, a broker or a name server"),
        value("c", "clusterName", "only masters of this cluster"),
        value("k", "key", "only changes of this setting"),
        long_value("max", "most changes listed, the newest; default 100"),
    ],
    ours: true,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// Listed, unless somebody asks for more.
const LISTED: usize = 100;
const LISTED_MAX: usize = 100_000;
/// Changes of one answer.
const PAGE: i32 = 500;

/// One change, and whose setting it was.
#[derive(Serialize)]
struct Change {
    server: Str,
    at: String,
    #[serde(flatten)]
    change: ConfigChange,
}

/// The same for people.
#[derive(Serialize)]
struct Line<'a> {
    server: &'a str,
    at: &'a str,
    key: &'a str,
    from: Option<&'a str>,
    to: &'a str,
    effect: String,
    by: String,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let most = args.number("max")?.unwrap_or(LISTED);
    if most == 0 || most > LISTED_MAX {
        return Err(Failure::Usage(format!("option max: from 1 to {LISTED_MAX}")));
    }
    let mut servers = masters(ctx, args).await?;
    if !args.has("b") && !args.has("c") {
        let names = ctx.client.name_servers()?.iter();
        servers.extend(names.map(|addr| (Str::from("name server"), addr.as_str().into())));
    }
    let mut changes = Vec::new();
    let mut failed = None;
    let mut is_cut = false;
    for (_, addr) in &servers {
        match list(ctx, addr, (args.get("k"), most), &mut changes).await {
            Ok(has_more) => is_cut |= has_more,
            Err(failure) if is_of_reference(&failure) => {
                ctx.warn(format_args!("{addr} is no server of barque and keeps no history"));
            }
            // The others are asked all the same.
            Err(failure) => failed = Some(failure),
        }
    }
    changes.sort_by_key(|known| std::cmp::Reverse((known.change.at_ms, known.change.seq)));
    is_cut |= changes.len() > most;
    changes.truncate(most);
    if ctx.is_table() {
        let lines: Vec<Line<'_>> = changes.iter().map(Line::of).collect();
        ctx.show(&lines, String::new);
    } else {
        ctx.show(&changes, String::new);
    }
    if is_cut {
        ctx.warn(format_args!(
            "only the newest {most} are listed; --max shows more"
        ));
    }
    failed.map_or(Ok(()), Err)
}

/// Adds those of one server, newest first; whether there are more.
async fn list(
    ctx: &Ctx,
    addr: &Str,
    (key, most): (Option<&str>, usize),
    changes: &mut Vec<Change>,
) -> Result<bool, Failure> {
    let mut next = None;
    let mut count = 0;
    loop {
        let left = i32::try_from(most - count).unwrap_or(PAGE).clamp(1, PAGE);
        let header = ListConfigChanges {
            key: key.map(Str::from),
            max: Some(left),
            next,
        };
        let page: ConfigChanges = ctx.client.ask(addr, &header).await?.body()?;
        let is_empty = page.changes.is_empty();
        count += page.changes.len();
        changes.extend(page.changes.into_iter().map(|change| Change {
            server: addr.clone(),
            at: time(change.at_ms),
            change,
        }));
        // A page without a change leads nowhere, whatever it says.
        next = page.next;
        if next.is_none() || is_empty || count >= most {
            return Ok(next.is_some());
        }
    }
}

impl Line<'_> {
    fn of(known: &Change) -> Line<'_> {
        let change = &known.change;
        // Nobody checks the name that a request gives: the address is what is sure.
        let named = change.user.as_ref().or(change.client_id.as_ref());
        let named = named.map(|name| format!(" ({name})"));
        Line {
            server: &known.server,
            at: &known.at,
            key: &change.key,
            from: change.from.as_deref(),
            to: &change.to,
            effect: super::super::connection::name(&change.effect),
            by: format!("{}{}", change.peer, named.unwrap_or_default()),
        }
    }
}
