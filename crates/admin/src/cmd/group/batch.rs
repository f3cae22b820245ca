// SPDX-License-Identifier: Apache-2.0
//! `updateSubGroupList`: creates or changes the groups that stand in a file.

use serde::Serialize;
use wire::Str;
use wire::api::group::UpdateAndCreateSubscriptiongroupList;
use wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupList};
use wire::fastjson;

use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};
use crate::{files, names};

pub(crate) const UPDATE_SUB_GROUP_LIST: Command = Command {
    name: "updateSubGroupList",
    about: "Update or create subscription group in batch",
    options: &[
        value("b", "brokerAddr", "create groups to which broker").one_of(1),
        value("c", "clusterName", "create groups to which cluster").one_of(1),
        value(
            "f",
            "filename",
            "Path to a file with a list of \
             org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig in json format",
        )
        .required(),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// A broker that has got the list.
#[derive(Serialize)]
struct Submitted<'a> {
    broker: &'a Str,
    groups: Vec<&'a Str>,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let list = read(args.need("f")?)?;
    if list.group_config_list.is_empty() {
        return Ok(());
    }
    // The reference calls them differently, depending on how it was told where to send them.
    let what = if args.has("b") {
        "group"
    } else {
        "subscription group"
    };
    for addr in lookup::targets(ctx, args).await? {
        let body = fastjson::to_vec(&list);
        ctx.client
            .ask_with(&addr, &UpdateAndCreateSubscriptiongroupList, body)
            .await?;
        let submitted = Submitted {
            broker: &addr,
            groups: list
                .group_config_list
                .iter()
                .map(|group| &group.group_name)
                .collect(),
        };
        ctx.row(&submitted, || {
            format!("submit batch of {what} config to {addr} success, please check the result later.\n")
        });
    }
    if args.has("c") {
        // As the reference does, although all went well.
        ctx.say(ctx.usage());
    }
    Ok(())
}

fn read(path: &str) -> Result<SubscriptionGroupList, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("{path}: {why}"));
    let text = files::read(path)?;
    let group_config_list: Vec<SubscriptionGroupConfig> =
        fastjson::from_slice(&text).map_err(|error| wrong(&error.to_string()))?;
    for group in &group_config_list {
        names::group(&group.group_name).map_err(|why| wrong(&why))?;
    }
    Ok(SubscriptionGroupList { group_config_list })
}
