// SPDX-License-Identifier: Apache-2.0
//! What several commands ask about a consumer group: how far it is, who is in it, what a member says of itself.

use std::time::Duration;

use wire::Str;
use wire::api::group::{GetConsumeStats, GetConsumerConnectionList};
use wire::api::heartbeat::GetConsumerRunningInfo;
use wire::body::running::ConsumerRunningInfo;
use wire::body::stats::ConsumeStats;
use wire::body::subscription::{ConsumerConnection, MessageModel};
use wire::body::topic_route::TopicRoute;
use wire::code::ResponseCode;
use wire::frame::Frame;

use crate::cmd::lookup;
use crate::ctx::Ctx;
use crate::failure::Failure;

/// The topic of the messages that a group has to try again.
pub(crate) fn retry_topic(group: &str) -> String {
    format!("%RETRY%{group}")
}

/// The retry topic of a group that pops.
fn pop_retry_topic(topic: &str, group: &str) -> String {
    format!("%RETRY%{group}_{topic}")
}

/// Whether a topic is found by the name that is given for its cluster: a light queue, or the one of the timers.
pub(crate) fn is_found_by_other(topic: &str) -> bool {
    topic.starts_with("%LMQ%") || topic == "rmq_sys_wheel_timer"
}

/// The topic by which the brokers of a topic are found.
pub(crate) fn found_by<'a>(topic: &'a str, cluster: Option<&'a str>) -> &'a str {
    match cluster.filter(|name| !name.is_empty()) {
        Some(name) if is_found_by_other(topic) => name,
        _ => topic,
    }
}

/// The brokers a group is known at: those of its retry topics, or of the topic.
async fn route(
    ctx: &Ctx,
    cluster: Option<&str>,
    group: &str,
    topic: Option<&str>,
) -> Result<TopicRoute, Failure> {
    let mut names = vec![retry_topic(group)];
    if let Some(topic) = topic {
        names.push(topic.to_owned());
        names.push(pop_retry_topic(topic, group));
        if found_by(topic, cluster) != topic {
            names.extend(cluster.map(str::to_owned));
        }
    }
    let mut last = None;
    for name in names {
        match lookup::route(ctx, &name).await {
            Ok(route) => return Ok(route),
            Err(failure) => last = Some(failure),
        }
    }
    Err(last.unwrap_or_else(|| Failure::Other("nobody was asked".to_owned())))
}

/// How far a group is, on one topic or on all of them.
pub(crate) async fn progress(
    ctx: &Ctx,
    cluster: Option<&str>,
    group: &str,
    topic: Option<&str>,
) -> Result<ConsumeStats, Failure> {
    let route = route(ctx, cluster, group, topic).await?;
    let mut all = ConsumeStats::default();
    for addr in route.broker_datas.iter().filter_map(lookup::any_addr) {
        let stats = progress_at(ctx, addr, group, topic).await?;
        all.consume_tps += stats.consume_tps;
        all.offset_table.extend(stats.offset_table);
    }
    if cluster.is_none_or(str::is_empty) {
        // The reference looks for each topic, and fails where one is gone.
        let mut topics: Vec<&Str> = all.offset_table.keys().map(|key| &key.0.topic).collect();
        topics.sort();
        topics.dedup();
        for topic in topics {
            lookup::route(ctx, topic).await?;
        }
    }
    if all.offset_table.is_empty() {
        let Ok(members) = members(ctx, group).await else {
            return Err(Failure::Found(
                ResponseCode::CONSUMER_NOT_ONLINE,
                format!(
                    "nothing is known of the group {group}: it has no offsets, and no consumer is online"
                ),
            ));
        };
        if members.message_model == MessageModel::Broadcasting {
            return Err(Failure::Found(
                ResponseCode::BROADCAST_CONSUMPTION,
                format!(
                    "the consumers of {group} are broadcasting, so the broker does not know how far they are"
                ),
            ));
        }
    }
    Ok(all)
}

/// The same from one broker.
pub(crate) async fn progress_at(
    ctx: &Ctx,
    addr: &str,
    group: &str,
    topic: Option<&str>,
) -> Result<ConsumeStats, Failure> {
    let header = GetConsumeStats {
        consumer_group: group.into(),
        topic: topic.map(Str::from),
        topic_list: None,
    };
    ctx.client.ask(addr, &header).await?.body()
}

/// Who is in a group.
pub(crate) async fn members(ctx: &Ctx, group: &str) -> Result<ConsumerConnection, Failure> {
    let route = lookup::route(ctx, &retry_topic(group)).await?;
    let addr = route.broker_datas.first().and_then(lookup::any_addr);
    let addr = addr.ok_or_else(|| Failure::Other(format!("no broker has the retry topic of {group}")))?;
    members_at(ctx, addr, group).await
}

/// The same by one broker.
pub(crate) async fn members_at(ctx: &Ctx, addr: &str, group: &str) -> Result<ConsumerConnection, Failure> {
    let header = GetConsumerConnectionList {
        consumer_group: group.into(),
    };
    let members: ConsumerConnection = ctx.client.ask(addr, &header).await?.body()?;
    if members.connection_set.is_empty() {
        let why = format!("no consumer of the group {group} is connected to {addr}");
        return Err(Failure::Found(ResponseCode::CONSUMER_NOT_ONLINE, why));
    }
    Ok(members)
}

/// How long a member has to say how it does; a thread dump takes its time.
const MEMBER_ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// What a member of a group says of itself.
pub(crate) async fn running(
    ctx: &Ctx,
    group: &str,
    client: &str,
    jstack: bool,
) -> Result<ConsumerRunningInfo, Failure> {
    let route = lookup::route(ctx, &retry_topic(group)).await?;
    let addr = route.broker_datas.iter().find_map(lookup::any_addr);
    let addr = addr.ok_or_else(|| Failure::Other(format!("no broker has the retry topic of {group}")))?;
    let header = GetConsumerRunningInfo {
        consumer_group: group.into(),
        client_id: client.into(),
        jstack_enable: Some(jstack),
    };
    let frame = Frame::request(0, &header);
    let answer = ctx
        .client
        .ask_frame::<GetConsumerRunningInfo>(addr, frame, MEMBER_ANSWERS_WITHIN)
        .await?;
    answer.body()
}
