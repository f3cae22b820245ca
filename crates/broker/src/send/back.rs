// SPDX-License-Identifier: Apache-2.0
//! Code 36: a consumer gives a message back that it could not consume. A copy goes to the retry topic of the group, by way
//! of a delay level that grows with every failure, or to the dead letters when it failed too often.

use std::sync::Arc;

use bytes::Bytes;
use net::{Answer, Call, Fault, Reply};
use store::{Gate, LogPos, ReadError};
use tracing::info;
use wire::Str;
use wire::api::send::ConsumerSendMsgBack;
use wire::body::group::SubscriptionGroupConfig;
use wire::body::topic::TopicConfig;
use wire::code::{NoHeader, ResponseCode};
use wire::message_id::offset_id;
use wire::properties::Properties;
use wire::properties::name::{DELAY, RETRY_TOPIC, WAIT};
use wire::record::RecordHead;

use super::VERSION_WITH_MAX_RECONSUME;
use crate::blocking;
use crate::broker::Broker;
use crate::delay;
use crate::fault::{no_group, not_appended, not_read, unsaved};
use crate::names::{dlq_topic, retry_topic};
use crate::put::Put;
use crate::send::properties::MessageType;
use crate::subject::Subject;
use crate::topic::{perm, sys_flag};

/// The id of the first copy.
const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
/// A message that failed for the n-th time waits for level n + 3 - 1, unless its consumer asks for another.
const FIRST_LEVEL: i32 = 3;

/// A request, without its connection.
struct Back {
    header: ConsumerSendMsgBack,
    /// Deliveries after which the message is dead, when the client says so.
    max_asked: Option<i32>,
}

/// How far a message got.
enum Step {
    /// It is appended.
    Stored(Gate),
    /// Nothing is to be done.
    Dropped,
    /// Its group or its topic has to be made first.
    Missing(Make),
}

/// What has to be made.
enum Make {
    Group,
    Topic(TopicConfig),
}

/// Code 36. Answered when the copy is as safe as a send, whatever the message says: the consumer forgets the original then.
pub(crate) fn consumer_send_msg_back(
    b: &Arc<Broker>,
    call: Call<ConsumerSendMsgBack>,
) -> Result<Answer<NoHeader>, Fault> {
    let max_asked = call
        .header
        .max_reconsume_times
        .filter(|_| call.version >= VERSION_WITH_MAX_RECONSUME);
    let back = Arc::new(Back {
        header: call.header,
        max_asked,
    });
    let (b, peer) = (Arc::clone(b), call.peer);
    Ok(Answer::Later(Box::pin(async move {
        let broker = Arc::clone(&b);
        blocking::apart(async move {
            loop {
                let (working, request) = (Arc::clone(&broker), Arc::clone(&back));
                let step = blocking::run(&broker, &peer, move || {
                    let step = request.step(&working);
                    working.store.drive();
                    step
                });
                match step.await?? {
                    Step::Stored(gate) => broker.settled(gate).await?,
                    Step::Dropped => {}
                    Step::Missing(make) => {
                        let group = back.header.group.clone();
                        let make = move |b: &Broker| match make {
                            Make::Group => b.group(&group).map(|_| None).ok_or_else(|| no_group(&group)),
                            Make::Topic(topic) => {
                                let group = Subject::group(&group);
                                let made = b.ensure_topic(topic).map_err(|e| unsaved(&e, group))?;
                                Ok(Some(made.1))
                            }
                        };
                        if let Some(announced) = blocking::create(&broker, &peer, make).await?? {
                            announced.await;
                        }
                        continue;
                    }
                }
                return Ok(Reply::ok(NoHeader));
            }
        })
        .await
    })))
}

impl Back {
    /// Checks, and appends the copy. Reads the log.
    fn step(&self, b: &Broker) -> Result<Step, Fault> {
        let (header, config) = (&self.header, b.config());
        let Some(group) = b.groups.find(&header.group) else {
            return if b.groups.may_come_into_being(&config, &header.group) {
                Ok(Step::Missing(Make::Group))
            } else {
                Err(no_group(&header.group))
            };
        };
        if config.broker_permission.cast_signed() & perm::WRITE == 0 {
            let remark = format!("the broker[{}] sending message is forbidden", config.broker_ip1);
            return Err(Fault::new(ResponseCode::NO_PERMISSION, remark));
        }
        if group.retry_queue_nums <= 0 {
            return Ok(Step::Dropped);
        }
        let retry = self.retry_config(&group);
        let Some(topic) = b.topics.get(&retry.topic_name) else {
            return Ok(Step::Missing(Make::Topic(retry)));
        };
        if topic.config.perm & perm::WRITE == 0 {
            let remark = format!("the topic[{}] sending message is forbidden", retry.topic_name);
            return Err(Fault::new(ResponseCode::NO_PERMISSION, remark));
        }
        let record = self.original(b)?;
        let head = RecordHead::scan(&record).map_err(|error| no_message(header.offset, &error))?;
        if self.is_dead(&head, &group) {
            return self.bury(b, &head, &group);
        }
        // The topic may have fewer queues than the group asks for: nobody would read the others.
        let queues = group.retry_queue_nums.min(topic.config.read_queue_nums).max(1);
        let queues = u64::try_from(queues).unwrap_or(1);
        let queue_id = i32::try_from(b.env.rng.below(queues)).unwrap_or_default();
        let level = match header.delay_level {
            0 => head.parts.reconsume_times.saturating_add(FIRST_LEVEL),
            asked => asked,
        };
        let target = (&retry.topic_name, queue_id);
        self.append(b, &head, target, level).map(Step::Stored)
    }

    fn retry_config(&self, group: &SubscriptionGroupConfig) -> TopicConfig {
        TopicConfig {
            topic_name: retry_topic(&group.group_name),
            read_queue_nums: group.retry_queue_nums,
            write_queue_nums: group.retry_queue_nums,
            topic_sys_flag: if self.header.unit_mode == Some(true) {
                sys_flag::UNIT_SUB
            } else {
                0
            },
            ..TopicConfig::default()
        }
    }

    /// The message as it was stored. Reads the log.
    fn original(&self, b: &Broker) -> Result<Bytes, Fault> {
        let header = &self.header;
        let origin = header.origin_topic.as_ref().and_then(|topic| b.topics.get(topic));
        if origin.is_some_and(|topic| topic.is_compacted) {
            // Copies say where they lie in files of their own, and in the log there is something else. A client that is told
            // no sends a copy of its own to the retry topic.
            let why = "messages of compacted topics are not found by their position";
            return Err(no_message(header.offset, &why));
        }
        let record = b.store.record_at(LogPos(header.offset));
        record.map_err(|error| match error {
            ReadError::Io(_) => not_read(&error, Subject::pos(header.offset).of(&header.group)),
            error => no_message(header.offset, &error),
        })
    }

    /// To the dead letters.
    fn bury(
        &self,
        b: &Broker,
        head: &RecordHead<'_>,
        group: &SubscriptionGroupConfig,
    ) -> Result<Step, Fault> {
        let dead = TopicConfig {
            topic_name: dlq_topic(&group.group_name),
            read_queue_nums: 1,
            write_queue_nums: 1,
            ..TopicConfig::default()
        };
        if b.topics.get(&dead.topic_name).is_none() {
            return Ok(Step::Missing(Make::Topic(dead)));
        }
        if store::seeded!("dead-letter-dropped") {
            return Ok(Step::Dropped);
        }
        self.append(b, head, (&dead.topic_name, 0), 0).map(Step::Stored)
    }

    fn is_dead(&self, head: &RecordHead<'_>, group: &SubscriptionGroupConfig) -> bool {
        let max = self.max_asked.unwrap_or(group.retry_max_times);
        head.parts.reconsume_times >= max || self.header.delay_level < 0
    }

    fn append(
        &self,
        b: &Broker,
        head: &RecordHead<'_>,
        (topic, queue_id): (&wire::Str, i32),
        level: i32,
    ) -> Result<Gate, Fault> {
        let parts = &head.parts;
        let mut properties = Properties::from_bytes(parts.properties);
        if properties.get(RETRY_TOPIC).is_none() {
            properties.set(RETRY_TOPIC, parts.topic);
        }
        if properties
            .get(ORIGIN_MESSAGE_ID)
            .is_none_or(|id| id.trim().is_empty())
        {
            let id = offset_id(parts.store_host, head.stamp.physical_offset);
            properties.set(ORIGIN_MESSAGE_ID, &id);
        }
        let origin = properties.get(RETRY_TOPIC).map(Str::from).unwrap_or_default();
        properties.set(WAIT, "false");
        properties.set(DELAY, &level.to_string());
        let mut text = properties.into_bytes();
        let parked = (level > 0).then(|| delay::park(b, level, (topic, queue_id)));
        let place = match &parked {
            None => (topic.as_str(), queue_id),
            Some(parked) => {
                text = parked.rewrite(&text);
                (parked.topic.as_str(), parked.queue_id)
            }
        };
        let put = Put {
            reconsume_times: parts.reconsume_times.saturating_add(1),
            ..Put::again(parts, place, &text)
        };
        let receipt = b
            .put(&put)
            .map_err(|error| not_appended(&error, Subject::topic(place.0).of(&self.header.group)))?;
        let kind = if parked.is_some() {
            MessageType::Delay
        } else {
            MessageType::Normal
        };
        b.count_put(put.topic, (kind, 1, receipt.size as u64));
        self.count(b, &origin, level);
        if level == 0 {
            info!(
                group = %self.header.group, topic = parts.topic, deliveries = parts.reconsume_times, id = self.header.origin_msg_id.as_deref(),
                "a message is given up, and goes to {topic}"
            );
        }
        Ok(receipt.gate)
    }
}

impl Back {
    /// Takes note of a message that was given back, or up, at the topic it was sent to; what the request says of that is not asked.
    fn count(&self, b: &Broker, origin: &str, level: i32) {
        if let Some(origin) = b.topics.get(origin) {
            let reader = origin.traffic.reader(&self.header.group);
            reader.backs.add(1);
            reader.dead.add(u64::from(level == 0));
        }
    }
}

fn no_message(offset: i64, why: &dyn std::fmt::Display) -> Fault {
    let remark = format!("look message by offset failed, {offset}: {why}");
    Fault::new(ResponseCode::SYSTEM_ERROR, remark)
}
