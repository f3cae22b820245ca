// SPDX-License-Identifier: Apache-2.0
//! How far groups are, in time (303) and all of them at once (317), and what a queue holds (321). For operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use store::{Queue, StoredEntry, calendar};
use wire::api::query::{GetBrokerConsumeStats, QueryConsumeQueue, QueryConsumeTimeSpan};
use wire::body::queue::{MessageQueue, QueueKey};
use wire::body::stats::{
    BrokerConsumeStats, ConsumeOffset, ConsumeStats, ConsumeTimeSpans, QueueContents, QueueEntry,
    QueueTimeSpan,
};
use wire::code::{NoHeader, ResponseCode};
use wire::{Str, fastjson};

use super::{BODY_BYTES_MAX, consume_offset};
use crate::blocking::later;
use crate::broker::Broker;
use crate::fault::not_read;
use crate::offset::find_queue;
use crate::subject::Subject;

/// Bytes of one queue in the answer to 317 beside its names.
const STATS_BYTES: usize = 160;
/// Most entries of a queue in one answer, some 100 bytes each.
const ENTRIES_MAX: i32 = 100_000;

/// Code 303.
pub(crate) fn time_spans(
    b: &Arc<Broker>,
    call: Call<QueryConsumeTimeSpan>,
) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        let QueryConsumeTimeSpan { topic, group } = &call.header;
        let missing = || Fault::new(ResponseCode::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist"));
        let known = b.topics.get(topic).ok_or_else(missing)?;
        let spans = ConsumeTimeSpans {
            consume_time_span_set: (0..known.config.write_queue_nums)
                .map(|queue_id| time_span(&b, group, queue_named(&b, topic, queue_id)))
                .collect(),
        };
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&spans)))
    }))
}

fn queue_named(b: &Broker, topic: &Str, queue_id: i32) -> MessageQueue {
    MessageQueue {
        broker_name: b.config().broker_name.clone(),
        queue_id,
        topic: topic.clone(),
    }
}

fn time_span(b: &Broker, group: &str, message_queue: MessageQueue) -> QueueTimeSpan {
    let MessageQueue { topic, queue_id, .. } = &message_queue;
    let queue = find_queue(b, topic, *queue_id);
    let stored_at = |offset: i64| {
        let found = queue.as_ref().and_then(|queue| b.store.stored_at(queue, offset));
        found.unwrap_or(-1)
    };
    let end = queue.as_ref().map_or(0, |queue| queue.max());
    // What is not consumed at all is -1 for the reference, which then finds nothing at that offset, and takes the time
    // since 1970 for the delay.
    let consumed = b.offsets.query(group, topic, *queue_id).unwrap_or(-1);
    let min = queue.as_ref().map_or(-1, |queue| stored_at(queue.min()));
    let consumed_at = if consumed > 0 {
        stored_at(consumed - 1)
    } else {
        min
    };
    let delay_time = match stored_at(consumed) {
        _ if consumed >= end => 0,
        next_at => b.env.clock.now_ms() - next_at,
    };
    let max = stored_at(end - 1);
    let text = |ms: i64| as_text(ms, b.env.clock.utc_offset_secs());
    QueueTimeSpan {
        consume_time_stamp: consumed_at,
        consume_time_stamp_str: text(consumed_at),
        delay_time,
        max_time_stamp: max,
        max_time_stamp_str: text(max),
        min_time_stamp: min,
        min_time_stamp_str: text(min),
        message_queue,
    }
}

/// `yyyy-MM-dd#HH:mm:ss:SSS`
fn as_text(ms: i64, utc_offset_secs: i64) -> Str {
    let all = calendar(ms.saturating_add(utc_offset_secs * 1000));
    let (date, time) = (all / 1_000_000_000, all % 1_000_000_000);
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    let (hour, minute, second, ms) = (
        time / 10_000_000,
        time / 100_000 % 100,
        time / 1000 % 100,
        time % 1000,
    );
    format!("{year:04}-{month:02}-{day:02}#{hour:02}:{minute:02}:{second:02}:{ms:03}").into()
}

/// Code 317. Every group with the topics it has read. Topics that an online group no longer subscribes to are left out.
pub(crate) fn broker_stats(
    b: &Arc<Broker>,
    call: Call<GetBrokerConsumeStats>,
) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        let groups: Vec<Str> = b.groups.all().groups.keys().cloned().collect();
        let mut stats = BrokerConsumeStats {
            broker_addr: b.address.clone(),
            ..BrokerConsumeStats::default()
        };
        let mut bytes = 0;
        for group in groups {
            let mut of_group = Vec::new();
            for topic in super::topics_of_interest(&b, &group, None, None) {
                let Some(of_topic) =
                    topic_progress(&b, &group, &topic, call.header.is_order.unwrap_or_default())
                else {
                    continue;
                };
                let queues = of_topic.offset_table.len();
                bytes += queues * (STATS_BYTES + topic.len() + b.config().broker_name.len());
                if bytes > BODY_BYTES_MAX {
                    let remark = "the answer would not fit into a frame: ask group by group (request 208)";
                    return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
                }
                for offsets in of_topic.offset_table.values() {
                    stats.total_diff += offsets.broker_offset - offsets.consumer_offset;
                    stats.total_inflight_diff += offsets.pull_offset - offsets.consumer_offset;
                }
                of_group.push(of_topic);
            }
            stats.consume_stats_list.push(BTreeMap::from([(group, of_group)]));
        }
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&stats)))
    }))
}

fn topic_progress(b: &Broker, group: &str, topic: &Str, is_order: bool) -> Option<ConsumeStats> {
    let known = b.topics.get(topic)?;
    if is_order && !known.config.order {
        return None;
    }
    let mut stats = ConsumeStats::default();
    for queue_id in 0..known.config.write_queue_nums {
        let offsets = consume_offset(b, group, topic, queue_id);
        let offsets = ConsumeOffset {
            consumer_offset: offsets.consumer_offset.max(0),
            // The reference leaves it out here, and what is in flight is then less than nothing.
            pull_offset: 0,
            ..offsets
        };
        let queue = queue_named(b, topic, queue_id);
        stats.offset_table.insert(QueueKey(queue), offsets);
    }
    Some(stats)
}

/// Code 321. Entries of a queue as they are stored.
pub(crate) fn queue_contents(
    b: &Arc<Broker>,
    call: Call<QueryConsumeQueue>,
) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        let asked = &call.header;
        let (topic, queue_id) = (&asked.topic, asked.queue_id);
        let missing = || {
            let remark = format!("{queue_id}@{topic} is not exist!");
            Fault::new(ResponseCode::SYSTEM_ERROR, remark)
        };
        let queue = find_queue(&b, topic, queue_id).ok_or_else(missing)?;
        let count = i64::from(asked.count.min(ENTRIES_MAX));
        let entries = b.store.stored_entries(&queue, asked.index, count);
        let Some(entries) = entries.map_err(|error| {
            not_read(
                &error,
                Subject::queue(topic, queue_id, asked.index).asked_by(call.peer.addr),
            )
        })?
        else {
            let remark = format!("Index {} of {queue_id}@{topic} is not exist!", asked.index);
            return Ok(Reply::ok(NoHeader).with_remark(remark));
        };
        let contents = contents(&b, asked, &queue, &entries);
        // The reference never takes its preset remark away here.
        Ok(Reply::ok(NoHeader)
            .with_body(fastjson::to_vec(&contents))
            .with_remark("not set any response code"))
    }))
}

fn contents(b: &Broker, asked: &QueryConsumeQueue, queue: &Queue, entries: &[StoredEntry]) -> QueueContents {
    let topic = &asked.topic;
    let group = asked.consumer_group.as_deref();
    let subscription = group.and_then(|group| b.clients.subscription(group, topic));
    let filter = group.map(|group| match &subscription {
        None => format!("{group}@{topic} is not online!"),
        Some(_) => {
            let registered = b.filters.data_of(topic, group);
            registered.map_or("null".to_owned(), |data| {
                String::from_utf8_lossy(&fastjson::to_vec_pretty(&data)).into_owned()
            })
        }
    });
    let entry = |entry: &StoredEntry| QueueEntry {
        eval: false,
        msg: entry
            .is_address
            .then(|| format!("Cq extend not exist!addr: {}", entry.code).into()),
        physic_offset: entry.pos,
        physic_size: entry.size,
        tags_code: entry.code,
    };
    QueueContents {
        filter_data: filter.map(Str::from),
        max_queue_index: queue.max(),
        min_queue_index: queue.min(),
        queue_data: entries.iter().map(entry).collect(),
        subscription_data: subscription.map(|subscription| subscription.data.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_reference_writes_them() {
        assert_eq!(as_text(1_795_209_960_583, 0), "2026-11-20#21:26:00:583");
        assert_eq!(as_text(-1, 0), "1969-12-31#23:59:59:999");
        assert_eq!(as_text(-1, 3600), "1970-01-01#00:59:59:999");
    }
}
