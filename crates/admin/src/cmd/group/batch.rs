// SPDX-License-Identifier: Apache-2.0
//! `updateSubGroupList`: creates or changes the groups that stand in a file.

use serde::Serialize;
use wire::Str;
use wire::api::group::UpdateAndCreateSubscriptiongroupList;
use wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupList};
use wire::fastjson;

use crate::cmd::batch;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::names;
use crate::options::{Args, value};

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
    broker: Str,
    groups: &'a [&'a Str],
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let check = |group: &SubscriptionGroupConfig| names::group(&group.group_name);
    let group_config_list = batch::read(args.need("f")?, check)?;
    if group_config_list.is_empty() {
        return Ok(());
    }
    // The reference calls them differently, depending on how it was told where to send them.
    let what = if args.has("b") {
        "group"
    } else {
        "subscription group"
    };
    let list = SubscriptionGroupList { group_config_list };
    let groups: Vec<&Str> = list
        .group_config_list
        .iter()
        .map(|group| &group.group_name)
        .collect();
    let request = (&UpdateAndCreateSubscriptiongroupList, fastjson::to_vec(&list));
    let row = |broker: &Str| Submitted {
        broker: broker.clone(),
        groups: &groups,
    };
    batch::submit(ctx, args, request, what, row).await
}
