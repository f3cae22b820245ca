// SPDX-License-Identifier: Apache-2.0
//! Requests about topics: 17, 18, 21, 202, 215, 300, 305 and 351.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use net::{Answer, Call, Fault, Peer, Reply};
use serde::Serialize;
use wire::api::topic::{
    DeleteTopicInBroker, GetAllTopicConfig, GetAllTopicConfigReply, GetSystemTopicListFromBroker,
    GetTopicConfig, GetTopicStatsInfo, QueryTopicConsumeByWho, UpdateAndCreateTopic,
    UpdateAndCreateTopicList,
};
use wire::body::queue::{MessageQueue, QueueKey};
use wire::body::stats::{TopicOffset, TopicStats};
use wire::body::topic::{DataVersion, GroupList, TopicConfig, TopicConfigList, TopicFilterType, TopicList};
use wire::body::topic_route::TopicQueueMapping;
use wire::code::{Empty, NoHeader, ResponseCode};
use wire::{Str, fastjson};

use super::Topic;
use crate::attributes::{self, Attributes, MESSAGE_TYPE, MIXED};
use crate::blocking;
use crate::broker::Broker;
use crate::config::Config;
use crate::fault::{bad_body, files_remain, not_kept, refused_attributes, unsaved};
use crate::names::{retry_topic, topic_error};
use crate::saved::SaveError;
use crate::subject::Subject;

/// Code 17.
pub(crate) fn update_topic(
    b: &Arc<Broker>,
    call: Call<UpdateAndCreateTopic>,
) -> Result<Answer<NoHeader>, Fault> {
    update(b, &call.peer, vec![asked_topic(call.header)?])
}

/// The settings that a request asks for, with the changes of the attributes.
pub(crate) fn asked_topic(asked: UpdateAndCreateTopic) -> Result<TopicConfig, Fault> {
    let changes = attributes::parse(asked.attributes.as_deref().unwrap_or_default());
    Ok(TopicConfig {
        attributes: changes.map_err(|e| refused_attributes(&e))?,
        order: asked.order,
        perm: asked.perm,
        read_queue_nums: asked.read_queue_nums,
        topic_filter_type: match asked.topic_filter_type.as_str() {
            "MULTI_TAG" => TopicFilterType::MultiTag,
            _ => TopicFilterType::SingleTag,
        },
        topic_name: asked.topic,
        topic_sys_flag: asked.topic_sys_flag.unwrap_or_default(),
        write_queue_nums: asked.write_queue_nums,
    })
}

/// The same as they are to be, if there may be such a topic.
pub(crate) fn checked_topic(b: &Broker, asked: TopicConfig) -> Result<TopicConfig, Fault> {
    let topic = settled(b, asked)?;
    within_limits(b, std::slice::from_ref(&topic))?;
    Ok(topic)
}

/// Code 18.
pub(crate) fn update_topics(
    b: &Arc<Broker>,
    call: Call<UpdateAndCreateTopicList>,
) -> Result<Answer<NoHeader>, Fault> {
    let list: TopicConfigList = fastjson::from_slice(&call.body).map_err(|e| bad_body(&e))?;
    update(b, &call.peer, list.topic_config_list)
}

/// All of them or, when one is not valid, none. The answer waits until the name servers know, so that whoever asked for
/// the topic finds it there.
fn update(b: &Arc<Broker>, peer: &Arc<Peer>, asked: Vec<TopicConfig>) -> Result<Answer<NoHeader>, Fault> {
    let first = asked.first().map(|topic| topic.topic_name.as_str());
    let is_system = first.is_some_and(|name| b.topics.is_system(name));
    let timer = Timer {
        began: b.env.clock.instant(),
        is_system,
    };
    let answer = settle(b, peer, (asked, timer));
    if answer.is_err() {
        timer.done(b, false);
    }
    answer
}

/// When a change began, and of what.
#[derive(Clone, Copy)]
struct Timer {
    began: Instant,
    is_system: bool,
}

impl Timer {
    fn done(self, b: &Broker, is_ok: bool) {
        let took = b.env.clock.instant().saturating_duration_since(self.began);
        b.measured.topic_made(is_ok, self.is_system, took);
    }
}

fn settle(
    b: &Arc<Broker>,
    peer: &Arc<Peer>,
    (asked, timer): (Vec<TopicConfig>, Timer),
) -> Result<Answer<NoHeader>, Fault> {
    let asked: Vec<_> = asked
        .into_iter()
        .map(|topic| settled(b, topic))
        .collect::<Result<_, _>>()?;
    within_limits(b, &asked)?;
    let (b, peer) = (Arc::clone(b), Arc::clone(peer));
    Ok(Answer::Later(Box::pin(async move {
        let saving = Arc::clone(&b);
        let first = asked.first().map(|topic| topic.topic_name.clone());
        let changed = blocking::run(&b, &peer, move || {
            let changed = saving.topics.put(asked)?;
            for topic in &changed {
                saving.note_topic(topic);
            }
            Ok::<_, SaveError>(changed)
        });
        let changed = changed.await?;
        if changed.as_ref().is_ok_and(|changed| !changed.is_empty()) {
            b.announce().await;
        }
        timer.done(&b, changed.is_ok());
        changed.map_err(|e| unsaved(&e, Subject::topic(&first.unwrap_or_default())))?;
        Ok(Reply::ok(NoHeader))
    })))
}

/// Refuses what the broker has no room for.
fn within_limits(b: &Broker, asked: &[TopicConfig]) -> Result<(), Fault> {
    let refuse = |remark: String| Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    let config = b.config();
    let most = i64::from(config.queues_per_topic_max);
    let mut all_queues = 0;
    for topic in asked {
        let queues = i64::from(topic.read_queue_nums.max(topic.write_queue_nums));
        if queues > most {
            let key = if i64::from(topic.read_queue_nums) == queues {
                "readQueueNums"
            } else {
                "writeQueueNums"
            };
            let name = &topic.topic_name;
            let remark = format!("{key} {queues} of topic {name} is more than {most} (queuesPerTopicMax)");
            return Err(Fault::new(ResponseCode::INVALID_PARAMETER, remark));
        }
        all_queues += queues;
    }
    let most = i64::from(config.queues_per_request_max);
    if asked.len() > 1 && all_queues > most {
        return refuse(format!(
            "the request asks for {all_queues} queues, allowed are {most} (queuesPerRequestMax)"
        ));
    }
    let table = b.topics.all();
    let known = &table.topics;
    let names = asked.iter().map(|topic| &topic.topic_name);
    let new: BTreeSet<_> = names.filter(|name| !known.contains_key(name)).collect();
    if !new.is_empty() && known.len() + new.len() > config.topics_max as usize {
        return refuse(format!(
            "{} topics are known, allowed are {} (topicsMax)",
            known.len(),
            config.topics_max
        ));
    }
    Ok(())
}

/// The settings a topic gets: checked, with the changes of the attributes applied.
fn settled(b: &Broker, mut topic: TopicConfig) -> Result<TopicConfig, Fault> {
    let refuse = |remark: String| Err(Fault::new(ResponseCode::INVALID_PARAMETER, remark));
    let config = b.config();
    if let Some(error) = topic_error(&topic.topic_name) {
        return refuse(error);
    }
    if config.validate_system_topic_when_update_topic && b.topics.is_system(&topic.topic_name) {
        return refuse(format!(
            "The topic[{}] is conflict with system topic.",
            topic.topic_name
        ));
    }
    for (what, queues) in [
        ("readQueueNums", topic.read_queue_nums),
        ("writeQueueNums", topic.write_queue_nums),
    ] {
        if queues < 0 {
            return refuse(format!("{what} is {queues}, allowed are 0 and more"));
        }
    }
    if !config.enable_mixed_message_type && has(&topic.attributes, MESSAGE_TYPE, MIXED) {
        return refuse("MIXED message type is not supported.".to_owned());
    }
    let current = b.topics.get(&topic.topic_name);
    let current = current.as_ref().map(|topic| &topic.config.attributes);
    let altered = attributes::alter(attributes::OF_TOPICS, current, &topic.attributes);
    topic.attributes = altered.map_err(|e| refused_attributes(&e))?;
    Ok(topic)
}

/// Whether the changes set an attribute to a value.
fn has(changes: &Attributes, key: &str, value: &str) -> bool {
    changes
        .iter()
        .any(|(signed, to)| signed.strip_prefix('+') == Some(key) && to == value)
}

/// What one answer to 21 or 201 holds of a table.
pub(crate) struct Page<'a> {
    start: usize,
    size: usize,
    /// The version the first page was cut from; a table that changed since is started over.
    version: Option<&'a str>,
}

impl<'a> Page<'a> {
    /// What was asked for; everything, when pages are off or nothing was.
    pub(crate) fn asked(
        config: &Config,
        start: Option<i32>,
        size: Option<i32>,
        version: Option<&'a str>,
    ) -> Page<'a> {
        if !config.enable_split_metadata || (start.is_none() && size.is_none() && version.is_none()) {
            return Page {
                start: 0,
                size: usize::MAX,
                version: None,
            };
        }
        let most = config.split_metadata_size as usize;
        let size = size
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(most)
            .min(most);
        let start = start
            .and_then(|start| usize::try_from(start).ok())
            .unwrap_or_default();
        Page {
            start,
            size,
            version: version.filter(|text| !text.is_empty()),
        }
    }

    /// The entries of the page, by name.
    pub(crate) fn cut<T>(
        &self,
        all: impl Iterator<Item = (&'a str, T)>,
        now: DataVersion,
    ) -> BTreeMap<&'a str, T> {
        let is_same = |text| fastjson::from_str::<DataVersion>(text).is_ok_and(|version| version == now);
        let start = if self.version.is_none_or(is_same) {
            self.start
        } else {
            0
        };
        let sorted: BTreeMap<_, _> = all.collect();
        sorted.into_iter().skip(start).take(self.size).collect()
    }
}

/// The body of the answer to 21.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicTable<'a> {
    data_version: DataVersion,
    mapping_data_version: DataVersion,
    topic_config_table: BTreeMap<&'a str, &'a TopicConfig>,
    topic_queue_mapping_detail_map: BTreeMap<Str, Arc<TopicQueueMapping>>,
    topic_queue_mapping_info_map: Empty,
}

/// Code 21.
pub(crate) fn all_topics(
    b: &Arc<Broker>,
    call: Call<GetAllTopicConfig>,
) -> Result<Answer<GetAllTopicConfigReply>, Fault> {
    let all = b.topics.all();
    let header = &call.header;
    let page = Page::asked(
        &b.config(),
        header.topic_seq,
        header.max_topic_num,
        header.data_version.as_deref(),
    );
    let topics = page.cut(
        all.topics
            .iter()
            .map(|(name, topic)| (name.as_str(), &topic.config)),
        all.version,
    );
    let table = TopicTable {
        data_version: all.version,
        mapping_data_version: b.logical.version(),
        topic_queue_mapping_detail_map: b.logical.details(|topic| topics.contains_key(topic)),
        topic_config_table: topics,
        topic_queue_mapping_info_map: Empty {},
    };
    let reply = Reply::ok(GetAllTopicConfigReply {
        total_topic_num: i32::try_from(all.topics.len()).ok(),
    });
    Ok(reply.with_body(fastjson::to_vec(&table)).into())
}

/// Code 351.
pub(crate) fn one_topic(b: &Arc<Broker>, call: Call<GetTopicConfig>) -> Result<Answer<NoHeader>, Fault> {
    let name = &call.header.topic;
    let missing = || {
        Fault::new(
            ResponseCode::TOPIC_NOT_EXIST,
            format!("No topic in this broker. topic: {name}"),
        )
    };
    let topic = b.topics.get(name).ok_or_else(missing)?;
    let asks_for_queues = call
        .ext
        .get("lo")
        .is_some_and(|lo| lo.eq_ignore_ascii_case("true"));
    let mapping = b.logical.get(name).filter(|_| asks_for_queues);
    let body = match mapping {
        None => fastjson::to_vec(&topic.config),
        Some(mapping_detail) => fastjson::to_vec(&StaticTopic::of(&topic.config, mapping_detail)),
    };
    Ok(Reply::ok(NoHeader).with_body(body).into())
}

/// The body of the answer to 351 about a static topic.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StaticTopic<'a> {
    attributes: &'a Attributes,
    mapping_detail: Arc<TopicQueueMapping>,
    order: bool,
    perm: i32,
    read_queue_nums: i32,
    topic_filter_type: TopicFilterType,
    topic_name: &'a str,
    topic_sys_flag: i32,
    write_queue_nums: i32,
}

impl StaticTopic<'_> {
    fn of(topic: &TopicConfig, mapping_detail: Arc<TopicQueueMapping>) -> StaticTopic<'_> {
        StaticTopic {
            attributes: &topic.attributes,
            mapping_detail,
            order: topic.order,
            perm: topic.perm,
            read_queue_nums: topic.read_queue_nums,
            topic_filter_type: topic.topic_filter_type,
            topic_name: &topic.topic_name,
            topic_sys_flag: topic.topic_sys_flag,
            write_queue_nums: topic.write_queue_nums,
        }
    }
}

/// Code 215. The topic goes with its offsets, its queues and the retry topics of its pop consumers.
pub(crate) fn delete_topic(
    b: &Arc<Broker>,
    call: Call<DeleteTopicInBroker>,
) -> Result<Answer<NoHeader>, Fault> {
    let refuse = |remark: String| Err(Fault::new(ResponseCode::INVALID_PARAMETER, remark));
    let name = call.header.topic;
    if name.trim().is_empty() {
        return refuse("The specified topic is blank.".to_owned());
    }
    if b.config().validate_system_topic_when_update_topic && b.topics.is_system(&name) {
        return refuse(format!("The topic[{name}] is conflict with system topic."));
    }
    // One that has such a name all the same can be deleted.
    if let Some(error) = topic_error(&name).filter(|_| b.topics.get(&name).is_none()) {
        return refuse(error);
    }
    let mut names = vec![name];
    if b.config().clear_retry_topic_when_delete_topic {
        let topic = names[0].clone();
        let of_group = |group: Str| ["_", "+"].map(|mark| pop_retry_topic(&group, mark, &topic));
        let retries = b.offsets.groups_of(&topic).into_iter().flat_map(of_group);
        names.extend(retries.filter(|name| b.topics.get(name).is_some()));
    }
    let b = Arc::clone(b);
    Ok(blocking::later(&b.clone(), &call.peer.clone(), move || {
        // First, and so that it outlives a kill: a group that came back to the topic made anew with an offset of the old
        // one would get nothing until the new one is as long.
        let before: Vec<_> = names.iter().map(|name| b.offsets.of_topic(name)).collect();
        let forgotten = forget_offsets(&b, &names);
        let pairing = b.logical.pairing.lock();
        let remove = || {
            b.topics
                .remove(&names)
                .map_err(|e| unsaved(&e, Subject::topic(&names[0])))
        };
        if let Err(fault) = forgotten.and_then(|()| remove()) {
            // The topic stays, and so do those who read it.
            for (name, offsets) in names.iter().zip(before) {
                for (group, queue, offset) in offsets {
                    b.offsets.advance(&group, name, queue, (None, offset));
                }
            }
            return Err(fault);
        }
        for name in &names {
            b.logical
                .remove(name)
                .map_err(|e| unsaved(&e, Subject::topic(name)))?;
        }
        drop(pairing);
        for name in &names {
            b.timing.forget(name);
            b.dedup.forget_topic(name);
            b.pop.remove_topic(name);
        }
        // And what was committed as long as the topic was there.
        forget_offsets(&b, &names)?;
        for name in &names {
            b.store.delete_topic(name).map_err(|e| files_remain(name, &e))?;
        }
        Ok(Reply::ok(NoHeader))
    }))
}

fn forget_offsets(b: &Broker, names: &[Str]) -> Result<(), Fault> {
    for name in names {
        b.offsets.remove_topic(name);
    }
    let about = names.first().map(|name| Subject::topic(name));
    b.keep_offsets()
        .map_err(|e| not_kept(&e, about.unwrap_or_default()))
}

/// The topic that holds what pop consumers of a group did not acknowledge, in either of its two spellings.
fn pop_retry_topic(group: &str, mark: &str, topic: &str) -> Str {
    let mut name = retry_topic(group);
    name.push_str(mark);
    name.push_str(topic);
    name
}

/// Code 202.
pub(crate) fn topic_stats(b: &Arc<Broker>, call: Call<GetTopicStatsInfo>) -> Result<Answer<NoHeader>, Fault> {
    let name = call.header.topic;
    let missing = || Fault::new(ResponseCode::TOPIC_NOT_EXIST, format!("topic[{name}] not exist"));
    let topic = b.topics.get(&name).ok_or_else(missing)?;
    let b = Arc::clone(b);
    Ok(blocking::later(&b.clone(), &call.peer.clone(), move || {
        let broker_name = b.config().broker_name.clone();
        // Queues that are only read count too: what was written before there were fewer is in them.
        let queues = topic.config.write_queue_nums.max(topic.config.read_queue_nums);
        let offset_table = (0..queues)
            .map(|queue_id| {
                let queue = MessageQueue {
                    broker_name: broker_name.clone(),
                    queue_id,
                    topic: name.clone(),
                };
                (QueueKey(queue), ends_of(&b, &topic, queue_id))
            })
            .collect();
        let stats = TopicStats {
            offset_table,
            topic_put_tps: put_rate(&topic),
        };
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&stats)))
    }))
}

/// Messages per second, over the last minute.
fn put_rate(topic: &Topic) -> f64 {
    let lately = topic.traffic.lately();
    lately.map_or(0.0, |[minute, ..]| minute.per_second(minute.grown.number))
}

fn ends_of(b: &Broker, topic: &Topic, queue_id: i32) -> TopicOffset {
    // A queue that nobody wrote to is not made just to look at it.
    let queue = u32::try_from(queue_id)
        .ok()
        .and_then(|id| b.store.find_queue(&topic.config.topic_name, id));
    let Some(queue) = queue else {
        return TopicOffset::default();
    };
    let (min_offset, max_offset) = (queue.min(), queue.max());
    let last = (max_offset > min_offset)
        .then(|| b.store.stored_at(&queue, max_offset - 1))
        .flatten();
    TopicOffset {
        last_update_timestamp: last.unwrap_or_default(),
        max_offset,
        min_offset,
    }
}

/// Code 305.
pub(crate) fn system_topics(
    b: &Arc<Broker>,
    _call: Call<GetSystemTopicListFromBroker>,
) -> Result<Answer<NoHeader>, Fault> {
    let list = TopicList {
        broker_addr: None,
        topic_list: b.topics.system_names().to_vec(),
    };
    Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&list)).into())
}

/// Code 300: who reads the topic now, or has read it.
pub(crate) fn consumed_by(
    b: &Arc<Broker>,
    call: Call<QueryTopicConsumeByWho>,
) -> Result<Answer<NoHeader>, Fault> {
    let topic = &call.header.topic;
    let mut groups = b.clients.groups_consuming(topic);
    groups.extend(b.offsets.groups_of(topic));
    let list = GroupList {
        group_list: groups.into_iter().collect(),
    };
    Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&list)).into())
}
