// SPDX-License-Identifier: Apache-2.0
//! `wipeWritePerm` and `addWritePerm`: whether producers are told of a broker.

use serde::Serialize;
use wire::api::route::{AddWritePermOfBroker, AddWritePermReply, WipeWritePermOfBroker, WipeWritePermReply};

use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, Opt, value};

const OPTIONS: &[Opt] = &[value("b", "brokerName", "broker name").required()];

pub(crate) const WIPE_WRITE_PERM: Command = Command {
    name: "wipeWritePerm",
    about: "Wipe write perm of broker in all name server you defined in the -n param.",
    options: OPTIONS,
    effect: Effect::Destroys,
    run: |ctx, args| Box::pin(run(ctx, args, false)),
    ..Command::DEFAULT
};

pub(crate) const ADD_WRITE_PERM: Command = Command {
    name: "addWritePerm",
    about: "Add write perm of broker in all name server you defined in the -n param.",
    options: OPTIONS,
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args, true)),
    ..Command::DEFAULT
};

/// A name server that has changed the topics of a broker.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed<'a> {
    name_server: &'a str,
    broker: &'a str,
    topics: i32,
}

async fn run(ctx: &Ctx, args: &Args, add: bool) -> Result<(), Failure> {
    let broker = args.need("b")?;
    let verb = if add { "add" } else { "wipe" };
    let mut failed = None;
    for name_server in ctx.client.name_servers()? {
        match change(ctx, name_server, broker, add).await {
            Ok(topics) => {
                let changed = Changed {
                    name_server,
                    broker,
                    topics,
                };
                ctx.row(&changed, || {
                    format!(
                        "{verb} write perm of broker[{broker}] in name server[{name_server}] OK, {topics}\n"
                    )
                });
            }
            // The others are told all the same.
            Err(failure) => {
                ctx.say(format_args!(
                    "{verb} write perm of broker[{broker}] in name server[{name_server}] Failed\n"
                ));
                failed = Some(failure);
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// How many topics were changed.
async fn change(ctx: &Ctx, addr: &str, broker: &str, add: bool) -> Result<i32, Failure> {
    let broker_name = broker.into();
    if add {
        let answer = ctx
            .client
            .ask(addr, &AddWritePermOfBroker { broker_name })
            .await?;
        return Ok(answer.header::<AddWritePermReply>()?.add_topic_count);
    }
    let answer = ctx
        .client
        .ask(addr, &WipeWritePermOfBroker { broker_name })
        .await?;
    Ok(answer.header::<WipeWritePermReply>()?.wipe_topic_count)
}
