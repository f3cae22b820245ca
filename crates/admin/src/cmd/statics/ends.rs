// SPDX-License-Identifier: Apache-2.0
//! Where the logical queues of a static topic begin and end, told from the ends of the queues they are made of.

use std::collections::BTreeMap;

use wire::Str;
use wire::body::queue::{MessageQueue, QueueKey};
use wire::body::stats::TopicOffset;
use wire::body::topic_route::{LogicQueueItem, TopicRoute};

use super::layout::Part;
use super::servers::part_text;
use crate::cmd::lookup;
use crate::ctx::Ctx;
use crate::failure::Failure;

/// Of a topic that is at these brokers; nothing where it is not a static one.
pub(crate) async fn ends(
    ctx: &Ctx,
    topic: &str,
    route: &TopicRoute,
    queues: &BTreeMap<QueueKey, TopicOffset>,
) -> Result<Vec<(MessageQueue, TopicOffset)>, Failure> {
    if route
        .topic_queue_mapping_by_broker
        .as_ref()
        .is_none_or(BTreeMap::is_empty)
    {
        return Ok(Vec::new());
    }
    let mut parts = Vec::new();
    for addr in route.broker_datas.iter().filter_map(lookup::any_addr) {
        parts.extend(part_text(ctx, addr, topic).await?.and_then(Part::read));
    }
    Ok(told(topic, parts, queues))
}

fn told(
    topic: &str,
    mut parts: Vec<Part>,
    queues: &BTreeMap<QueueKey, TopicOffset>,
) -> Vec<(MessageQueue, TopicOffset)> {
    // Whoever heard last of a queue is right about it.
    parts.sort_by_key(|part| std::cmp::Reverse(part.mapping.epoch));
    let mut told: BTreeMap<i32, (MessageQueue, TopicOffset)> = BTreeMap::new();
    for part in &parts {
        let name = made_up_broker(&part.mapping.scope);
        for queue in part.written() {
            let Some(ends) = ends_of(topic, part.items(queue), queues) else {
                continue;
            };
            told.entry(queue).or_insert_with(|| {
                let logical = MessageQueue {
                    broker_name: name.clone(),
                    queue_id: queue,
                    topic: topic.into(),
                };
                (logical, ends)
            });
        }
    }
    told.into_values().collect()
}

/// The broker that clients believe logical queues to be on.
fn made_up_broker(scope: &str) -> Str {
    let scope = match scope {
        "__global__" => "global__",
        other => other,
    };
    format!("__syslo__{scope}").into()
}

fn ends_of(
    topic: &str,
    items: &[LogicQueueItem],
    queues: &BTreeMap<QueueKey, TopicOffset>,
) -> Option<TopicOffset> {
    let placed = || items.iter().filter(|item| item.logic_offset >= 0);
    let first = placed()
        .rfind(|item| item.logic_offset == 0)
        .or_else(|| placed().next())?;
    let last = placed().next_back()?;
    let ends = |item: &LogicQueueItem| {
        queues.get(&QueueKey(MessageQueue {
            broker_name: item.bname.clone(),
            queue_id: item.queue_id,
            topic: topic.into(),
        }))
    };
    let (first_ends, last_ends) = (ends(first)?, ends(last)?);
    let min = match first.end_offset >= first.start_offset {
        true => first_ends.min_offset.min(first.end_offset),
        false => first_ends.min_offset,
    };
    Some(TopicOffset {
        last_update_timestamp: last_ends.last_update_timestamp,
        max_offset: logical(last, last_ends.max_offset),
        min_offset: logical(first, min),
    })
}

fn logical(item: &LogicQueueItem, offset: i64) -> i64 {
    let within = offset.saturating_sub(item.start_offset).max(0);
    item.logic_offset.saturating_add(within)
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::item;
    use super::*;

    #[test]
    fn a_logical_queue_begins_in_its_first_stretch_and_ends_in_its_last() {
        let ends = |broker: &str, min_offset, max_offset| {
            let queue = MessageQueue {
                broker_name: broker.into(),
                queue_id: 0,
                topic: "T".into(),
            };
            let ends = TopicOffset {
                last_update_timestamp: max_offset,
                max_offset,
                min_offset,
            };
            (QueueKey(queue), ends)
        };
        let queues = BTreeMap::from([ends("a", 2, 5), ends("b", 0, 3)]);
        let part = |broker: &str, epoch, items: &[LogicQueueItem]| {
            let mut part = Part::empty("T", broker);
            part.mapping.epoch = epoch;
            part.put(0, items.to_vec());
            part
        };
        let row = [item(0, "a", 0, 0), item(1, "b", 0, 10_000)];
        let parts = vec![part("a", 1, &row[..1]), part("b", 2, &row)];
        let told = told("T", parts, &queues);
        let [(queue, ends)] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!(queue.broker_name, "__syslo__global__");
        assert_eq!((ends.min_offset, ends.max_offset), (2, 10_003));
        let open = [item(0, "a", 0, 0), item(1, "b", 0, -1)];
        let ends = ends_of("T", &open, &queues).unwrap();
        assert_eq!(
            (ends.min_offset, ends.max_offset),
            (2, 5),
            "the next one has not begun"
        );
        assert!(ends_of("T", &[item(0, "c", 0, 0)], &queues).is_none());
    }
}
