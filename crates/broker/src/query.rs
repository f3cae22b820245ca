// SPDX-License-Identifier: Apache-2.0
//! Finding messages (12 by key, 33 by position), and what admin tools ask about consumption (208, 343, 345; more in `query/`).
//!
//! All of it may read what nobody read for days, so it runs off the threads that serve sockets.

pub(crate) mod progress;

use std::collections::BTreeSet;
use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use store::{IndexKind, LogPos, Lookup, ReadError};
use wire::api::group::{GetConsumeStats, QuerySubscriptionByConsumer};
use wire::api::query::{QueryMessage, QueryMessageReply, ViewMessageById};
use wire::api::topic::QueryTopicsByConsumer;
use wire::body::queue::{MessageQueue, QueueKey};
use wire::body::stats::{ConsumeOffset, ConsumeStats};
use wire::body::subscription::GroupSubscription;
use wire::body::topic::TopicList;
use wire::code::{NoHeader, ResponseCode};
use wire::ext::Ext;
use wire::{Str, fastjson};

use crate::blocking::later;
use crate::broker::Broker;
use crate::fault::not_read;
use crate::offset::find_queue;
use crate::subject::Subject;

/// Most bytes of one answer; the frame around it must stay below 16 MiB.
const BODY_BYTES_MAX: usize = 15 * 1024 * 1024;

/// Code 12. Stored messages by key. Hashes are compared, not keys: the client looks closer.
pub(crate) fn query_message(
    b: &Arc<Broker>,
    call: Call<QueryMessage>,
) -> Result<Answer<QueryMessageReply>, Fault> {
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        let QueryMessage {
            topic,
            key,
            max_num,
            begin_timestamp,
            end_timestamp,
            ..
        } = &call.header;
        let config = b.config();
        let (kind, wanted) = match call.header.index_type.as_deref() {
            _ if call.header.unique_key_query == Some(true) => (IndexKind::Unique, None),
            Some("U") => (IndexKind::Unique, Some(*max_num)),
            Some("T") => (IndexKind::Tag, Some(*max_num)),
            _ => (IndexKind::Key, Some(*max_num)),
        };
        let max = wanted.map_or(Ok(config.default_query_max_num), u32::try_from);
        let max = max.map_err(|_| {
            let remark = format!("maxNum is {max_num}, which is less than no message");
            Fault::new(ResponseCode::SYSTEM_ERROR, remark)
        })?;
        let max = max.min(config.max_msgs_num_batch) as usize;
        let hits = b.store.query(&Lookup {
            topic,
            key,
            kind,
            max,
            max_bytes: BODY_BYTES_MAX,
            begin_ms: *begin_timestamp,
            end_ms: *end_timestamp,
        });
        let hits = hits.map_err(|error| not_read(&error, Subject::topic(topic).asked_by(call.peer.addr)))?;
        let header = QueryMessageReply {
            index_last_update_timestamp: hits.last_update_ms,
            index_last_update_phyoffset: hits.last_update_pos.0,
        };
        if hits.records.is_empty() {
            if let Some(error) = hits.unread {
                let about = Subject::topic(topic).asked_by(call.peer.addr);
                return Err(not_read(&ReadError::Io(error), about));
            }
            let fault = Fault::new(
                ResponseCode::QUERY_NOT_FOUND,
                "can not find message, maybe time range not correct",
            );
            return Err(fault.with_ext(Ext::of(&header)));
        }
        Ok(Reply::ok(header).with_body(hits.records.concat()))
    }))
}

/// Code 33. The record at a position of the log; message ids hold such positions.
pub(crate) fn view_message(b: &Arc<Broker>, call: Call<ViewMessageById>) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        let offset = call.header.offset;
        let record = b.store.record_at(LogPos(offset)).map_err(|_| {
            Fault::new(
                ResponseCode::SYSTEM_ERROR,
                format!("can not find message by the offset, {offset}"),
            )
        })?;
        Ok(Reply::ok(NoHeader).with_body(record))
    }))
}

/// Code 208. How far a group lags, queue by queue: of one topic, of several, or of all it has read.
pub(crate) fn consume_stats(b: &Arc<Broker>, call: Call<GetConsumeStats>) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        let GetConsumeStats {
            consumer_group: group,
            topic,
            topic_list,
        } = &call.header;
        let mut stats = ConsumeStats::default();
        for topic in topics_of_interest(&b, group, topic.as_deref(), topic_list.as_deref()) {
            let Some(known) = b.topics.get(&topic) else {
                continue;
            };
            for queue_id in 0..known.config.read_queue_nums {
                let queue = MessageQueue {
                    broker_name: b.config().broker_name.clone(),
                    queue_id,
                    topic: topic.clone(),
                };
                stats
                    .offset_table
                    .insert(QueueKey(queue), consume_offset(&b, group, &topic, queue_id));
            }
        }
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&stats)))
    }))
}

/// The topics a question about a group is about. Those that an online group no longer subscribes to are left out.
fn topics_of_interest(b: &Broker, group: &str, one: Option<&str>, several: Option<&str>) -> BTreeSet<Str> {
    let several: BTreeSet<Str> = several
        .unwrap_or_default()
        .split(';')
        .filter(|topic| !topic.is_empty())
        .map(Str::from)
        .collect();
    let mut topics = match one {
        _ if !several.is_empty() => several,
        Some(topic) if !topic.trim().is_empty() => BTreeSet::from([Str::from(topic)]),
        _ => b.offsets.topics_of(group),
    };
    if b.clients.subscription_count(group) > 0 {
        topics.retain(|topic| b.clients.subscription(group, topic).is_some());
    }
    topics
}

fn consume_offset(b: &Broker, group: &str, topic: &str, queue_id: i32) -> ConsumeOffset {
    let queue = find_queue(b, topic, queue_id);
    // Of a static topic tools look on other brokers when nothing is committed here.
    let nothing = if b.logical.get(topic).is_some() { -1 } else { 0 };
    let consumed = b.offsets.query(group, topic, queue_id).unwrap_or(nothing);
    let pulled = b.offsets.query_pulled(group, topic, queue_id).unwrap_or(nothing);
    let last = queue
        .as_ref()
        .filter(|_| consumed > 0)
        .and_then(|queue| b.store.stored_at(queue, consumed - 1));
    ConsumeOffset {
        broker_offset: queue.map_or(0, |queue| queue.max()),
        consumer_offset: consumed,
        last_timestamp: last.unwrap_or(0),
        pull_offset: consumed.max(pulled),
    }
}

/// Code 343. The topics of which a group has committed offsets.
pub(crate) fn topics_by_group(
    b: &Arc<Broker>,
    call: Call<QueryTopicsByConsumer>,
) -> Result<Answer<NoHeader>, Fault> {
    let topics = b.offsets.topics_of(&call.header.group);
    let body = TopicList {
        broker_addr: Some(b.host.to_string().into()),
        topic_list: topics.into_iter().collect(),
    };
    Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&body)).into())
}

/// Code 345. The subscription of a group to a topic, when the group is online.
pub(crate) fn subscription_by_group(
    b: &Arc<Broker>,
    call: Call<QuerySubscriptionByConsumer>,
) -> Result<Answer<NoHeader>, Fault> {
    let QuerySubscriptionByConsumer { group, topic } = call.header;
    let topic = topic.unwrap_or_default();
    let subscription_data = b
        .clients
        .subscription(&group, &topic)
        .map(|subscription| subscription.data.clone());
    let body = GroupSubscription {
        group,
        subscription_data,
        topic,
    };
    Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&body)).into())
}
