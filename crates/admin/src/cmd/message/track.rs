// SPDX-License-Identifier: Apache-2.0
//! What became of a message in each group that reads its topic, as far as offsets tell. (`explain` knows more.)

use std::fmt;

use serde::Serialize;
use wire::Str;
use wire::api::topic::QueryTopicConsumeByWho;
use wire::body::subscription::{ConsumeType, ConsumerConnection};
use wire::body::topic::GroupList;
use wire::code::{Code, ResponseCode};

use crate::cmd::lookup::{self, MASTER};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups;
use crate::hash_order::hash_map;
use crate::message::{Message, or_null};

/// A group, and what became of the message there.
#[derive(Debug, Serialize)]
pub(super) struct Track {
    group: Str,
    state: State,
    error: Option<String>,
}

/// By the names of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum State {
    Consumed,
    ConsumedButFiltered,
    Pull,
    NotConsumeYet,
    NotOnline,
    ConsumeBroadcasting,
    Unknown,
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Consumed => "CONSUMED",
            State::ConsumedButFiltered => "CONSUMED_BUT_FILTERED",
            State::Pull => "PULL",
            State::NotConsumeYet => "NOT_CONSUME_YET",
            State::NotOnline => "NOT_ONLINE",
            State::ConsumeBroadcasting => "CONSUME_BROADCASTING",
            State::Unknown => "UNKNOWN",
        };
        write!(
            f,
            "MessageTrack [consumerGroup={}, trackType={state}, exceptionDesc={}]",
            self.group,
            or_null(self.error.as_deref())
        )
    }
}

/// One entry a group.
pub(super) async fn tracks(ctx: &Ctx, message: &Message) -> Result<Vec<Track>, Failure> {
    let route = lookup::route(ctx, &message.topic).await?;
    let addr = route.broker_datas.iter().find_map(lookup::any_addr);
    let addr = addr.ok_or_else(|| Failure::Other(format!("no broker has the topic {}", message.topic)))?;
    let header = QueryTopicConsumeByWho {
        topic: message.topic.clone(),
    };
    let readers: GroupList = ctx.client.ask(addr, &header).await?.body()?;
    let mut tracks = Vec::with_capacity(readers.group_list.len());
    for group in hash_map(readers.group_list, |group| group) {
        let (state, error) = match groups::members(ctx, &group).await {
            Ok(members) => state(ctx, message, &group, &members).await,
            Err(failure) => without_members(&failure, &group),
        };
        tracks.push(Track { group, state, error });
    }
    Ok(tracks)
}

/// What the reference says of a group whose members it cannot learn.
fn without_members(failure: &Failure, group: &str) -> (State, Option<String>) {
    match failure {
        Failure::Refused {
            request: Code::GET_ROUTEINFO_BY_TOPIC,
            code: ResponseCode::TOPIC_NOT_EXIST,
            ..
        } => {
            // It prints its exception, with the place in its source.
            let text = format!(
                "org.apache.rocketmq.client.exception.MQClientException: CODE: 17  DESC: No topic route info in name \
                 server for the topic: {}\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further \
                 details., org.apache.rocketmq.client.impl.MQClientAPIImpl.getTopicRouteInfoFromNameServer\
                 (MQClientAPIImpl.java:2008)",
                groups::retry_topic(group)
            );
            (State::Unknown, Some(text))
        }
        Failure::Refused { code, remark, .. } => {
            let state = match *code {
                ResponseCode::CONSUMER_NOT_ONLINE => State::NotOnline,
                _ => State::Unknown,
            };
            (state, Some(format!("CODE:{} DESC:{remark}", code.0)))
        }
        other => (State::Unknown, Some(other.to_string())),
    }
}

async fn state(
    ctx: &Ctx,
    message: &Message,
    group: &str,
    members: &ConsumerConnection,
) -> (State, Option<String>) {
    match members.consume_type {
        ConsumeType::ConsumeActively => return (State::Pull, None),
        ConsumeType::ConsumePop => return (State::Unknown, None),
        ConsumeType::ConsumePassively => {}
    }
    match is_behind(ctx, message, group).await {
        Ok(true) if lets_pass(members, message) => (State::Consumed, None),
        Ok(true) => (State::ConsumedButFiltered, None),
        Ok(false) => (State::NotConsumeYet, None),
        Err(failure) => match failure.response_code() {
            Some(ResponseCode::CONSUMER_NOT_ONLINE) => {
                let why = match &failure {
                    Failure::Refused { remark, .. } => remark.as_str(),
                    _ => {
                        "Not found the consumer group consume stats, because return offset table is empty, maybe the \
                         consumer not online"
                    }
                };
                (State::NotOnline, Some(format!("CODE:206 DESC:{why}")))
            }
            Some(ResponseCode::BROADCAST_CONSUMPTION) => (State::ConsumeBroadcasting, None),
            Some(_) => (State::Unknown, None),
            None => (State::Unknown, Some(failure.to_string())),
        },
    }
}

/// Whether the group is behind the message on its queue.
async fn is_behind(ctx: &Ctx, message: &Message, group: &str) -> Result<bool, Failure> {
    let progress = groups::progress(ctx, None, group, None).await?;
    let clusters = lookup::clusters(ctx).await?;
    let stored_at = message.store_host.map(|host| host.to_string());
    let here = |broker: &Str| {
        let replicas = clusters.broker_addr_table.get(broker);
        let master = replicas.and_then(|replicas| replicas.broker_addrs.get(&MASTER));
        master.map(Str::as_str) == stored_at.as_deref()
    };
    Ok(progress.offset_table.iter().any(|(queue, offset)| {
        let queue = &queue.0;
        queue.topic == message.topic
            && queue.queue_id == message.queue
            && here(&queue.broker_name)
            && offset.consumer_offset > message.offset
    }))
}

fn lets_pass(members: &ConsumerConnection, message: &Message) -> bool {
    let subscription = members.subscription_table.get(&message.topic);
    subscription.is_none_or(|subscription| {
        let tags = &subscription.tags_set;
        tags.is_empty()
            || tags
                .iter()
                .any(|tag| tag == "*" || Some(tag.as_str()) == message.tags())
    })
}
