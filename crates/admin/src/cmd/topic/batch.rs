// SPDX-License-Identifier: Apache-2.0
//! `updateTopicList`: creates or changes the topics that stand in a file.

use serde::Serialize;
use wire::Str;
use wire::api::topic::UpdateAndCreateTopicList;
use wire::body::topic::{TopicConfig, TopicConfigList};
use wire::fastjson;

use crate::cmd::batch;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::names;
use crate::options::{Args, value};

pub(crate) const UPDATE_TOPIC_LIST: Command = Command {
    name: "updateTopicList",
    about: "create or update topic in batch",
    options: &[
        value("b", "brokerAddr", "create topic to which broker").one_of(1),
        value("c", "clusterName", "create topic to which cluster").one_of(1),
        value(
            "f",
            "filename",
            "Path to a file with list of org.apache.rocketmq.common.TopicConfig in json format",
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
    topics: &'a [&'a Str],
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topic_config_list = batch::read(args.need("f")?, |topic: &TopicConfig| {
        names::topic(&topic.topic_name)
    })?;
    if topic_config_list.is_empty() {
        return Ok(());
    }
    let list = TopicConfigList { topic_config_list };
    let topics: Vec<&Str> = list
        .topic_config_list
        .iter()
        .map(|topic| &topic.topic_name)
        .collect();
    let request = (&UpdateAndCreateTopicList {}, fastjson::to_vec(&list));
    let row = |broker: &Str| Submitted {
        broker: broker.clone(),
        topics: &topics,
    };
    batch::submit(ctx, args, request, "topic", row).await
}
