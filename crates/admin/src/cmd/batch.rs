// SPDX-License-Identifier: Apache-2.0
//! What `updateTopicList` and `updateSubGroupList` share: a file with a list, sent to each broker that is meant.

use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::Str;
use wire::code::Request;
use wire::fastjson;

use crate::cmd::lookup;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::files;
use crate::options::Args;

/// Reads the list of a file, of which `check` says what is wrong with an entry.
pub(super) fn read<T: DeserializeOwned>(
    path: &str,
    check: impl Fn(&T) -> Result<(), String>,
) -> Result<Vec<T>, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("{path}: {why}"));
    let text = files::read(path)?;
    let list: Vec<T> = fastjson::from_slice(&text).map_err(|error| wrong(&error.to_string()))?;
    for entry in &list {
        check(entry).map_err(|why| wrong(&why))?;
    }
    Ok(list)
}

/// Sends a list to the brokers; `what` is what the reference calls it, `row` the data that is told of a broker.
pub(super) async fn submit<R: Request, T: Serialize>(
    ctx: &Ctx,
    args: &Args,
    (request, body): (&R, Vec<u8>),
    what: &str,
    row: impl Fn(&Str) -> T,
) -> Result<(), Failure> {
    for addr in lookup::targets(ctx, args).await? {
        ctx.client.ask_with(&addr, request, body.clone()).await?;
        ctx.row(&row(&addr), || {
            format!("submit batch of {what} config to {addr} success, please check the result later.\n")
        });
    }
    if args.has("c") {
        // As the reference does, although all went well.
        ctx.say(ctx.usage());
    }
    Ok(())
}
