// SPDX-License-Identifier: Apache-2.0
//! `setConsumeMode`: whether a group pulls a topic or pops it.

use wire::api::route::SetMessageRequestMode;
use wire::body::queue::{MessageRequestMode, SetMessageRequestModeBody};
use wire::fastjson;

use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};

pub(crate) const SET_CONSUME_MODE: Command = Command {
    name: "setConsumeMode",
    about: "Set consume message mode. pull/pop etc.",
    options: &[
        value("b", "brokerAddr", "create subscription group to which broker"),
        value("c", "clusterName", "create subscription group to which cluster"),
        value("t", "topicName", "topic name").required().topic(),
        value("g", "groupName", "consumer group name").required().group(),
        value("m", "mode", "consume mode. PULL/POP").required(),
        value("q", "popShareQueueNum", "num of queue which share in pop mode"),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let name = args.need("m")?;
    let mode = match name {
        "PULL" => MessageRequestMode::Pull,
        "POP" => MessageRequestMode::Pop,
        other => return Err(Failure::Usage(format!("-m {other}: the mode is PULL or POP"))),
    };
    let body = SetMessageRequestModeBody {
        consumer_group: args.need("g")?.into(),
        mode,
        pop_share_queue_num: args.number("q")?.unwrap_or(0),
        topic: args.need("t")?.into(),
    };
    let mut failed = None;
    for broker in lookup::targets(ctx, args).await? {
        let sent = ctx
            .client
            .ask_with(&broker, &SetMessageRequestMode, fastjson::to_vec(&body));
        match sent.await {
            Ok(_) => ctx.row(&(&broker, &body), || {
                format!("set consume mode to {broker} success.\n")
            }),
            Err(failure) if args.has("b") => return Err(failure),
            // The others are told all the same.
            Err(failure) => failed = Some(failure),
        }
    }
    ctx.say(format_args!(
        "topic[{}] group[{}] consume mode[{name}] popShareQueueNum[{}]",
        body.topic, body.consumer_group, body.pop_share_queue_num
    ));
    failed.map_or(Ok(()), Err)
}
