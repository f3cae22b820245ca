// SPDX-License-Identifier: Apache-2.0
//! Setting groups to other offsets: 222 (and 220 to clients), 314; and 308, which asks for the slowest group.

use std::collections::BTreeMap;
use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use store::Boundary;
use tracing::{info, warn};
use wire::Str;
use wire::api::offset::{
    CloneGroupOffset, InvokeBrokerToResetOffset, QueryCorrectionOffset, ResetConsumerClientOffset,
};
use wire::body::queue::{MessageQueue, QueueKey};
use wire::body::stats::{CorrectionOffsets, QueueOffset, QueueOffsetList, QueueOffsets};
use wire::code::{NoHeader, ResponseCode};
use wire::fastjson;
use wire::frame::{Frame, Language};

use super::find_queue;
use crate::blocking::later;
use crate::broker::Broker;
use crate::clients::Lookup;
use crate::fault::{no_group, not_kept};
use crate::subject::Subject;

/// Means "the newest" where a time is expected, and "none" where an offset is.
const NEWEST: i64 = -1;

/// Code 222. Sets a group to an offset or a time, in one queue or in all of a topic.
pub(crate) fn reset_offset(
    b: &Arc<Broker>,
    call: Call<InvokeBrokerToResetOffset>,
) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    let language = call.language;
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        let offsets = if b.config().use_server_side_reset_offset {
            on_server(&b, &call.header)?
        } else {
            on_clients(&b, &call.header, language)?
        };
        info!(
            group = %call.header.group, topic = %call.header.topic, ?offsets, by = %call.peer.addr, "a group is set to other offsets"
        );
        let body = table(&b, &call.header.topic, &offsets);
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&body)))
    }))
}

fn table(b: &Broker, topic: &Str, offsets: &BTreeMap<i32, i64>) -> QueueOffsets {
    let key = |queue_id: i32| {
        QueueKey(MessageQueue {
            broker_name: b.config().broker_name.clone(),
            queue_id,
            topic: topic.clone(),
        })
    };
    QueueOffsets {
        offset_table: offsets.iter().map(|(id, offset)| (key(*id), *offset)).collect(),
    }
}

/// Consumers are told at their next pull, which is woken if it is held.
fn on_server(b: &Broker, header: &InvokeBrokerToResetOffset) -> Result<BTreeMap<i32, i64>, Fault> {
    let InvokeBrokerToResetOffset { group, topic, .. } = header;
    let Some(known) = b.topics.get(topic) else {
        let remark = format!("Topic {topic} does not exist");
        return Err(Fault::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    if b.groups.find(group).is_none() {
        let remark = format!("Group {group} does not exist");
        return Err(Fault::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let time_ms = header.timestamp.unwrap_or_default();
    let mut offsets = BTreeMap::new();
    match header.queue_id.filter(|id| *id >= 0) {
        Some(id) if id >= known.config.read_queue_nums => {
            let queues = known.config.read_queue_nums;
            let remark = format!("topic {topic} has {queues} queues to read from, there is no queue {id}");
            return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
        }
        Some(id) => {
            let offset = match header.offset.filter(|offset| *offset != NEWEST) {
                Some(offset) => within(b, topic, id, offset)?,
                None => at_time(b, topic, id, time_ms),
            };
            offsets.insert(id, offset);
        }
        None => {
            let ids = 0..known.config.read_queue_nums;
            offsets.extend(ids.map(|id| (id, at_time(b, topic, id, time_ms))));
        }
    }
    if offsets.is_empty() {
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, "No queues to reset."));
    }
    let mut not_moved = None;
    for (id, offset) in &offsets {
        b.offsets.reset(group, topic, *id, *offset);
        let moved = b.pop.reset(&b.offsets, (group, topic, *id));
        not_moved = not_moved.or(moved.err());
        if let Some(queue) = find_queue(b, topic, *id) {
            queue.nudge();
        }
    }
    if store::seeded!("reset-not-kept") {
        return Ok(offsets);
    }
    not_moved.map_or(Ok(()), Err)?;
    b.keep_offsets()
        .map_err(|e| not_kept(&e, Subject::topic(topic).of(group)))?;
    Ok(offsets)
}

/// An offset that the queue has, or will have next.
fn within(b: &Broker, topic: &str, id: i32, offset: i64) -> Result<i64, Fault> {
    let (min, max) = find_queue(b, topic, id).map_or((0, 0), |queue| (queue.min(), queue.max()));
    if offset < min || offset > max + 1 {
        let remark = format!("Target offset {offset} not in consume queue range [{min}-{max}]");
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    Ok(offset)
}

/// The first message stored at that time or later; before all times: the end. Reads the queue.
fn at_time(b: &Broker, topic: &str, id: i32, time_ms: i64) -> i64 {
    find_queue(b, topic, id).map_or(0, |queue| {
        if time_ms < 0 {
            queue.max()
        } else {
            b.store.offset_by_time(&queue, time_ms, Boundary::Lower)
        }
    })
}

/// As brokers did before: connected consumers are told where to go on (220), and commit that themselves.
fn on_clients(
    b: &Broker,
    header: &InvokeBrokerToResetOffset,
    language: Language,
) -> Result<BTreeMap<i32, i64>, Fault> {
    let InvokeBrokerToResetOffset {
        group,
        topic,
        timestamp,
        is_force,
        ..
    } = header;
    let timestamp = timestamp.unwrap_or_default();
    let Some(known) = b.topics.get(topic) else {
        let remark = format!("[reset-offset] reset offset failed, no topic in this broker. topic={topic}");
        return Err(Fault::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    let mut offsets = BTreeMap::new();
    for id in 0..known.config.write_queue_nums {
        let Some(now) = b.offsets.query(group, topic, id) else {
            let remark = format!("THe consumer group <{group}> not exist");
            return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
        };
        let wanted = at_time(b, topic, id, timestamp);
        offsets.insert(id, if *is_force || wanted < now { wanted } else { now });
    }
    let members = b
        .clients
        .consumer_group(group)
        .map(|group| group.members)
        .unwrap_or_default();
    if members.is_empty() {
        let remark = format!(
            "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {timestamp}"
        );
        return Err(Fault::new(ResponseCode::CONSUMER_NOT_ONLINE, remark));
    }
    let body = if language == Language::Cpp {
        let queue = |(id, offset): (&i32, &i64)| QueueOffset {
            broker_name: b.config().broker_name.clone(),
            offset: *offset,
            queue_id: *id,
            topic: topic.clone(),
        };
        fastjson::to_vec(&QueueOffsetList {
            offset_table: offsets.iter().map(queue).collect(),
        })
    } else {
        fastjson::to_vec(&table(b, topic, &offsets))
    };
    let told = ResetConsumerClientOffset {
        group: group.clone(),
        topic: topic.clone(),
        queue_id: Some(-1),
        offset: None,
        timestamp,
        is_force: false,
    };
    for member in members {
        let frame = Frame::request(0, &told).with_body(body.clone()).oneway();
        if let Err(error) = member.peer.push(frame) {
            warn!(
                %topic, %group, client = %member.id, peer = %member.peer.addr, %error,
                "a consumer is not told of its new offsets; reset them again"
            );
        }
    }
    Ok(offsets)
}

/// Code 314. Sets a group to where another one is: in one topic, or, unlike the reference, which then copies nothing, in all
/// that the other group has read.
pub(crate) fn clone_offset(b: &Arc<Broker>, call: Call<CloneGroupOffset>) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        copy(&b, &call.header)?;
        Ok(Reply::ok(NoHeader))
    }))
}

fn copy(b: &Broker, header: &CloneGroupOffset) -> Result<(), Fault> {
    let CloneGroupOffset {
        src_group,
        dest_group,
        topic,
        offline,
    } = header;
    let one = topic.as_ref().filter(|topic| !topic.trim().is_empty());
    let topics = match one {
        Some(topic) => [topic.clone()].into(),
        None => b.offsets.topics_of(src_group),
    };
    let mut not_moved = None;
    for topic in topics {
        // A group that is online and has left a topic is not the one to copy.
        let has_left = *offline != Some(true)
            && matches!(b.clients.lookup(src_group, &topic), Lookup::NotSubscribed(_))
            && b.clients.subscription_count(src_group) > 0;
        if b.topics.get(&topic).is_none() || has_left {
            warn!(%topic, group = %src_group, "offsets are not copied: there is no such topic, or the group does not read it");
            continue;
        }
        // Not for a group that there cannot be: its offsets would stay for ever.
        if !b.offsets.committed(src_group, &topic).is_empty() {
            b.group(dest_group).ok_or_else(|| no_group(dest_group))?;
        }
        b.offsets.copy(&topic, src_group, dest_group);
        // Also where nothing is new: a copy that failed before may have been told to the offsets only.
        for queue_id in b.offsets.committed(dest_group, &topic).into_keys() {
            let of = (&**dest_group, &*topic, queue_id);
            if b.pop.standing(&b.offsets, of).is_none() {
                not_moved = not_moved.or(b.pop.reset(&b.offsets, of).err());
            }
        }
    }
    not_moved.map_or(Ok(()), Err)?;
    b.keep_offsets()
        .map_err(|e| not_kept(&e, Subject::group(dest_group)))
}

/// Code 308. How far the slowest of all groups has read each queue; where the group compared with is behind that, the
/// largest number there is. Unlike the reference, which deletes the offsets of groups that do not count, this only asks.
pub(crate) fn correction_offset(
    b: &Arc<Broker>,
    call: Call<QueryCorrectionOffset>,
) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        let body = CorrectionOffsets {
            correction_offsets: slowest(&b, &call.header),
        };
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&body)))
    }))
}

fn slowest(b: &Broker, header: &QueryCorrectionOffset) -> BTreeMap<i32, i64> {
    let QueryCorrectionOffset {
        filter_groups,
        compare_group,
        topic,
    } = header;
    let left_out: Vec<&str> = filter_groups.as_deref().unwrap_or_default().split(',').collect();
    let mut slowest: BTreeMap<i32, i64> = BTreeMap::new();
    for group in b.offsets.groups_of(topic) {
        if left_out.contains(&group.as_str()) {
            continue;
        }
        for (id, offset) in b.offsets.committed(&group, topic) {
            // What lies before the first message is from an earlier life of the queue.
            if offset >= find_queue(b, topic, id).map_or(0, |queue| queue.min()) {
                let least = slowest.entry(id).or_insert(offset);
                *least = offset.min(*least);
            }
        }
    }
    for (id, compared) in b.offsets.committed(compare_group, topic) {
        if let Some(offset) = slowest.get_mut(&id).filter(|offset| **offset > compared) {
            *offset = i64::MAX;
        }
    }
    slowest
}
