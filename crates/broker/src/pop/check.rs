// SPDX-License-Identifier: Apache-2.0
//! What requests about leases must pass, in the reference's order and with its words, and the topics that belong together.

use std::sync::Arc;

use net::{Fault, Peer};
use wire::Str;
use wire::body::group::SubscriptionGroupConfig;
use wire::code::ResponseCode;
use wire::receipt::Origin;

use crate::blocking;
use crate::broker::Broker;
use crate::config::Config;
use crate::filter::{Tags, Wanted, is_tag};
use crate::pull::SEE_FAQ;
use crate::topic::{Topic, perm};

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) topic: &'a str,
    pub(super) group: &'a str,
    pub(super) queue_id: i32,
}

/// The broker may be read from.
pub(super) fn broker_is_readable(b: &Broker, config: &Config, what: &str) -> Result<(), Fault> {
    if config.broker_permission & perm::READ.unsigned_abs() == 0 {
        let remark = format!("the broker[{}] {what} message is forbidden", b.host.ip());
        return Err(Fault::new(ResponseCode::NO_PERMISSION, remark));
    }
    Ok(())
}

/// The topic is there and may be read from, and has the queue.
pub(super) fn topic_is_readable(b: &Broker, about: About<'_>, peer: &Peer) -> Result<Arc<Topic>, Fault> {
    let About { topic, queue_id, .. } = about;
    let Some(known) = b.topics.get(topic) else {
        return Err(no_topic(topic));
    };
    if known.config.perm & perm::READ == 0 {
        let remark = format!("the topic[{topic}] peeking message is forbidden");
        return Err(Fault::new(ResponseCode::NO_PERMISSION, remark));
    }
    if queue_id >= known.config.read_queue_nums {
        return Err(Fault::new(
            ResponseCode::INVALID_PARAMETER,
            no_queue(about, &known, peer),
        ));
    }
    Ok(known)
}

/// The group is there, or comes into being, and may consume.
pub(super) async fn group_may_consume(
    b: &Arc<Broker>,
    group: &Str,
    peer: &Arc<Peer>,
) -> Result<Arc<SubscriptionGroupConfig>, Fault> {
    let found = match b.groups.find(group) {
        Some(found) => Some(found),
        None => {
            let name = group.clone();
            blocking::create(b, peer, move |b| b.group(&name)).await?
        }
    };
    let Some(found) = found else {
        let remark = format!("subscription group [{group}] does not exist, {SEE_FAQ}");
        return Err(Fault::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    };
    if !found.consume_enable {
        let remark = format!("subscription group no permission, {group}");
        return Err(Fault::new(ResponseCode::NO_PERMISSION, remark));
    }
    Ok(found)
}

/// What a pop wants.
pub(super) fn filter_of(b: &Broker, kind: Option<&str>, expression: Option<&str>) -> Result<Wanted, Fault> {
    let unparsable = |error: &dyn std::fmt::Display| {
        let remark = format!("parse the consumer's subscription failed: {error}");
        Fault::new(ResponseCode::SUBSCRIPTION_PARSE_FAILED, remark)
    };
    let Some(expression) = expression.filter(|expression| !expression.is_empty()) else {
        return Ok(Wanted::Tags(Tags::All));
    };
    if is_tag(kind) {
        let tags = Tags::parse(expression).map_err(|error| unparsable(&error))?;
        return Ok(Wanted::Tags(tags));
    }
    let sql = b.filters.compile(kind.unwrap_or_default(), expression);
    sql.map(Wanted::Sql).map_err(|error| unparsable(&error))
}

/// An acknowledged message must be in a queue there is.
pub(super) fn queue_is_there(b: &Broker, about: About<'_>, peer: &Peer) -> Result<(), Fault> {
    let Some(known) = b.topics.get(about.topic) else {
        return Err(no_topic(about.topic));
    };
    if about.queue_id >= known.config.read_queue_nums || about.queue_id < 0 {
        return Err(Fault::new(
            ResponseCode::MESSAGE_ILLEGAL,
            no_queue(about, &known, peer),
        ));
    }
    Ok(())
}

/// The topic new retries of a group go to.
pub(super) fn retry_topic(config: &Config, topic: &str, group: &str) -> Str {
    let origin = if config.enable_retry_topic_v2 {
        Origin::RetryV2
    } else {
        Origin::RetryV1
    };
    origin.topic(topic, group)
}

/// All retry topics a group may still have messages in.
pub(crate) fn retry_topics(config: &Config, topic: &str, group: &str) -> Vec<Str> {
    let mut topics = vec![retry_topic(config, topic, group)];
    if config.enable_retry_topic_v2 && config.retrieve_message_from_pop_retry_topic_v1 {
        topics.push(Origin::RetryV1.topic(topic, group));
    }
    topics
}

fn no_topic(topic: &str) -> Fault {
    let remark = format!("topic[{topic}] not exist, apply first please! {SEE_FAQ}");
    Fault::new(ResponseCode::TOPIC_NOT_EXIST, remark)
}

fn no_queue(about: About<'_>, topic: &Topic, peer: &Peer) -> String {
    format!(
        "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer:[/{}]",
        about.queue_id, about.topic, topic.config.read_queue_nums, peer.addr
    )
}
