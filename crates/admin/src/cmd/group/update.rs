// SPDX-License-Identifier: Apache-2.0
//! `updateSubGroup`: creates a group, or changes how it may consume.

use serde::Serialize;
use wire::Str;
use wire::api::group::UpdateAndCreateSubscriptiongroup;
use wire::body::group::{GroupRetryPolicy, SubscriptionGroupConfig};
use wire::fastjson;

use super::config::display;
use crate::cmd::lookup;
use crate::cmd::topic::update::attributes;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, long_value, value};

pub(crate) const UPDATE_SUB_GROUP: Command = Command {
    name: "updateSubGroup",
    about: "Update or create subscription group.",
    options: &[
        value("b", "brokerAddr", "create subscription group to which broker"),
        value("c", "clusterName", "create subscription group to which cluster"),
        value("g", "groupName", "consumer group name").required().group(),
        value("s", "consumeEnable", "consume enable"),
        value("m", "consumeFromMinEnable", "from min offset"),
        value("d", "consumeBroadcastEnable", "broadcast"),
        value("o", "consumeMessageOrderly", "consume message orderly"),
        value("q", "retryQueueNums", "retry queue nums"),
        value("r", "retryMaxTimes", "retry max times"),
        value(
            "p",
            "groupRetryPolicy",
            "the json string of retry policy ( exp: \
             {\"type\":\"EXPONENTIAL\",\"exponentialRetryPolicy\":{\"initial\":5000,\"max\":7200000,\"multiplier\":2}} \
             {\"type\":\"CUSTOMIZED\",\"customizedRetryPolicy\":{\"next\":[1000,5000,10000]}} )",
        ),
        value("i", "brokerId", "consumer from which broker id"),
        value(
            "w",
            "whichBrokerWhenConsumeSlowly",
            "which broker id when consume slowly",
        ),
        value("a", "notifyConsumerIdsChanged", "notify consumerId changed"),
        long_value("attributes", "attribute(+a=b,+c=d,-e)"),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// A broker that has a group now.
#[derive(Serialize)]
struct Created<'a> {
    broker: &'a Str,
    group: &'a SubscriptionGroupConfig,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let group = config(args)?;
    let mut failed = None;
    for broker in &lookup::targets(ctx, args).await? {
        let body = fastjson::to_vec(&group);
        let asked = ctx
            .client
            .ask_with(broker, &UpdateAndCreateSubscriptiongroup, body)
            .await;
        match asked {
            Ok(_) => ctx.row(
                &Created {
                    broker,
                    group: &group,
                },
                || format!("create subscription group to {broker} success.\n"),
            ),
            // The others are told all the same.
            Err(failure) => failed = Some(failure),
        }
    }
    if args.has("b") && failed.is_some() {
        return failed.map_or(Ok(()), Err);
    }
    ctx.say(display(&group));
    failed.map_or(Ok(()), Err)
}

/// What the tool of the reference says of a group that is not said otherwise: not all of it is what a broker would say.
fn config(args: &Args) -> Result<SubscriptionGroupConfig, Failure> {
    let known = SubscriptionGroupConfig::default();
    let policy = |text: &str| {
        let read = fastjson::from_str::<GroupRetryPolicy>(text);
        read.map_err(|error| Failure::Usage(format!("-p is no retry policy: {error}")))
    };
    Ok(SubscriptionGroupConfig {
        group_name: args.need("g")?.into(),
        consume_enable: args.truth("s").unwrap_or(true),
        consume_from_min_enable: args.truth("m").unwrap_or(false),
        consume_broadcast_enable: args.truth("d").unwrap_or(false),
        consume_message_orderly: args.truth("o").unwrap_or(false),
        retry_queue_nums: args.number("q")?.unwrap_or(known.retry_queue_nums),
        retry_max_times: args.number("r")?.unwrap_or(known.retry_max_times),
        group_retry_policy: args.get("p").map(policy).transpose()?.unwrap_or_default(),
        broker_id: args.number("i")?.unwrap_or(known.broker_id),
        which_broker_when_consume_slowly: args
            .number("w")?
            .unwrap_or(known.which_broker_when_consume_slowly),
        notify_consumer_ids_changed_enable: args.truth("a").unwrap_or(true),
        attributes: args
            .get("attributes")
            .map(attributes)
            .transpose()?
            .unwrap_or_default(),
        ..known
    })
}
