// SPDX-License-Identifier: Apache-2.0
//! `updateTopicList`: creates or changes the topics that stand in a file.

use serde::Serialize;
use wire::Str;
use wire::api::topic::UpdateAndCreateTopicList;
use wire::body::topic::{TopicConfig, TopicConfigList};
use wire::fastjson;

use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};
use crate::{files, names};

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
    broker: &'a Str,
    topics: Vec<&'a Str>,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let list = read(args.need("f")?)?;
    if list.topic_config_list.is_empty() {
        return Ok(());
    }
    for addr in lookup::targets(ctx, args).await? {
        let body = fastjson::to_vec(&list);
        ctx.client
            .ask_with(&addr, &UpdateAndCreateTopicList {}, body)
            .await?;
        let submitted = Submitted {
            broker: &addr,
            topics: list
                .topic_config_list
                .iter()
                .map(|topic| &topic.topic_name)
                .collect(),
        };
        ctx.row(&submitted, || {
            format!("submit batch of topic config to {addr} success, please check the result later.\n")
        });
    }
    if args.has("c") {
        // As the reference does, although all went well.
        ctx.say(ctx.usage());
    }
    Ok(())
}

fn read(path: &str) -> Result<TopicConfigList, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("{path}: {why}"));
    let text = files::read(path)?;
    let topic_config_list: Vec<TopicConfig> =
        fastjson::from_slice(&text).map_err(|error| wrong(&error.to_string()))?;
    for topic in &topic_config_list {
        names::topic(&topic.topic_name).map_err(|why| wrong(&why))?;
    }
    Ok(TopicConfigList { topic_config_list })
}
