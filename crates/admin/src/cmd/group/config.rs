// SPDX-License-Identifier: Apache-2.0
//! `getConsumerConfig`: how a group is kept on each broker.

use serde::Serialize;
use wire::Str;
use wire::api::group::{GetAllSubscriptiongroupConfig, GetAllSubscriptiongroupConfigReply};
use wire::body::group::{
    CustomizedRetryPolicy, ExponentialRetryPolicy, GroupRetryPolicy, RetryPolicyType, SimpleSubscription,
    SubscriptionGroupConfig, SubscriptionGroupTable,
};
use wire::fastjson;

use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;
use crate::options::{Args, value};

pub(crate) const GET_CONSUMER_CONFIG: Command = Command {
    name: "getConsumerConfig",
    about: "Get consumer config by subscription group name.",
    options: &[value("g", "groupName", "subscription group name")
        .required()
        .group()],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// A group on one broker.
#[derive(Serialize)]
struct Found {
    cluster: Option<Str>,
    broker: Str,
    config: SubscriptionGroupConfig,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let group = args.need("g")?;
    let clusters = lookup::clusters(ctx).await?;
    let mut found = Vec::new();
    for (broker, data) in hash_map(&clusters.broker_addr_table, |(name, _)| name) {
        let Some(addr) = lookup::any_addr(data) else {
            continue;
        };
        if let Some(config) = group_on(ctx, addr, group).await? {
            let mut table = clusters.cluster_addr_table.iter();
            let cluster = table.find(|(_, brokers)| brokers.contains(broker));
            found.push(Found {
                cluster: cluster.map(|(name, _)| name.clone()),
                broker: broker.clone(),
                config,
            });
        }
    }
    if found.is_empty() {
        return Err(Failure::Other(format!("no broker knows the group {group}")));
    }
    ctx.show(&found, || found.iter().map(text).collect());
    Ok(())
}

/// Most groups asked for at once, as in the reference.
const PAGE: i32 = 2000;
/// Pages of one broker; a million groups are in no table.
const PAGES_MAX: usize = 500;

/// Looks a group up in the table of a broker, page by page. To ask for the group alone could make it.
pub(in crate::cmd) async fn group_on(
    ctx: &Ctx,
    addr: &str,
    group: &str,
) -> Result<Option<SubscriptionGroupConfig>, Failure> {
    let mut seen = 0;
    let mut version = Str::default();
    for _ in 0..PAGES_MAX {
        let header = GetAllSubscriptiongroupConfig {
            group_seq: Some(seen),
            data_version: Some(version),
            max_group_num: Some(PAGE),
        };
        let answer = ctx.client.ask(addr, &header).await?;
        let mut table: SubscriptionGroupTable = answer.body()?;
        if let Some(config) = table.subscription_group_table.remove(group) {
            return Ok(Some(config));
        }
        let count = i32::try_from(table.subscription_group_table.len()).unwrap_or(i32::MAX);
        seen = seen.saturating_add(count);
        version = fastjson::to_string(&table.data_version).into();
        let total = answer
            .header::<GetAllSubscriptiongroupConfigReply>()?
            .total_group_num;
        if count == 0 || total.is_none_or(|total| seen >= total) {
            break;
        }
    }
    Ok(None)
}

fn text(found: &Found) -> String {
    let cluster = found.cluster.as_deref().unwrap_or("null");
    let bar = "=".repeat(29);
    let fields = fields(&found.config);
    let lines = fields.iter().map(|(name, value)| {
        let value = value.as_deref().unwrap_or_default();
        format!("{name:<40}=  {value}\n")
    });
    format!(
        "{bar}{cluster}:{}{bar}\n{}",
        found.broker,
        lines.collect::<String>()
    )
}

/// The settings of a group in the order and the form of the reference; nothing where it has a null.
fn fields(config: &SubscriptionGroupConfig) -> [(&'static str, Option<String>); 15] {
    let attributes = hash_map(&config.attributes, |(key, _)| key);
    let attributes: Vec<String> = attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let subscriptions = config.subscription_data_set.as_ref().map(|set| {
        let shown: Vec<String> = set.iter().map(subscription).collect();
        format!("[{}]", shown.join(", "))
    });
    [
        ("groupName", Some(config.group_name.to_string())),
        ("consumeEnable", Some(config.consume_enable.to_string())),
        (
            "consumeFromMinEnable",
            Some(config.consume_from_min_enable.to_string()),
        ),
        (
            "consumeBroadcastEnable",
            Some(config.consume_broadcast_enable.to_string()),
        ),
        (
            "consumeMessageOrderly",
            Some(config.consume_message_orderly.to_string()),
        ),
        ("retryQueueNums", Some(config.retry_queue_nums.to_string())),
        ("retryMaxTimes", Some(config.retry_max_times.to_string())),
        ("groupRetryPolicy", Some(policy(&config.group_retry_policy))),
        ("brokerId", Some(config.broker_id.to_string())),
        (
            "whichBrokerWhenConsumeSlowly",
            Some(config.which_broker_when_consume_slowly.to_string()),
        ),
        (
            "notifyConsumerIdsChangedEnable",
            Some(config.notify_consumer_ids_changed_enable.to_string()),
        ),
        ("groupSysFlag", Some(config.group_sys_flag.to_string())),
        (
            "consumeTimeoutMinute",
            Some(config.consume_timeout_minute.to_string()),
        ),
        ("subscriptionDataSet", subscriptions),
        ("attributes", Some(format!("{{{}}}", attributes.join(", ")))),
    ]
}

/// A group on one line, as the reference shows it.
pub(super) fn display(config: &SubscriptionGroupConfig) -> String {
    let fields = fields(config);
    let shown: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("null")))
        .collect();
    format!("SubscriptionGroupConfig{{{}}}", shown.join(", "))
}

fn policy(policy: &GroupRetryPolicy) -> String {
    let kind = match policy.kind {
        RetryPolicyType::Exponential => "EXPONENTIAL",
        RetryPolicyType::Customized => "CUSTOMIZED",
    };
    let exponential = policy.exponential_retry_policy.as_ref().map(exponential);
    let customized = policy.customized_retry_policy.as_ref().map(customized);
    format!(
        "GroupRetryPolicy{{type={kind}, exponentialRetryPolicy={}, customizedRetryPolicy={}}}",
        exponential.as_deref().unwrap_or("null"),
        customized.as_deref().unwrap_or("null")
    )
}

fn exponential(policy: &ExponentialRetryPolicy) -> String {
    format!(
        "ExponentialRetryPolicy{{initial={}, max={}, multiplier={}}}",
        policy.initial, policy.max, policy.multiplier
    )
}

fn customized(policy: &CustomizedRetryPolicy) -> String {
    let next: Vec<String> = policy.next.iter().map(i64::to_string).collect();
    format!("CustomizedRetryPolicy{{next=[{}]}}", next.join(", "))
}

fn subscription(of: &SimpleSubscription) -> String {
    format!(
        "SimpleSubscriptionData{{topic={}, expressionType={}, expression={}, version={}}}",
        of.topic, of.expression_type, of.expression, of.version
    )
}
