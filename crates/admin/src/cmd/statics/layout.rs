// SPDX-License-Identifier: Apache-2.0
//! A static topic as a whole: its part on each broker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::Str;
use wire::body::topic::{TopicConfig, TopicFilterType};
use wire::body::topic_route::{LogicQueueItem, TopicQueueMapping};

use crate::hash_order::hash_map;

/// The only scope there is.
const SCOPE: &str = "__global__";

/// The parts of a topic, by the name of the broker.
pub(super) type Layout = BTreeMap<Str, Part>;

/// A topic on one broker.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub topic: TopicConfig,
    pub mapping: TopicQueueMapping,
}

/// The same as brokers and map files write it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PartText {
    attributes: BTreeMap<Str, Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mapping_detail: Option<TopicQueueMapping>,
    order: bool,
    perm: i32,
    read_queue_nums: i32,
    topic_filter_type: TopicFilterType,
    topic_name: Str,
    topic_sys_flag: i32,
    write_queue_nums: i32,
}

impl Part {
    /// A topic without queues.
    pub(super) fn empty(topic: &str, broker: &str) -> Part {
        Part {
            topic: TopicConfig {
                topic_name: topic.into(),
                read_queue_nums: 0,
                write_queue_nums: 0,
                ..TopicConfig::default()
            },
            mapping: TopicQueueMapping {
                bname: broker.into(),
                curr_id_map: Some(BTreeMap::new()),
                hosted_queues: Some(BTreeMap::new()),
                scope: SCOPE.into(),
                topic: topic.into(),
                ..TopicQueueMapping::default()
            },
        }
    }

    /// Of what is written; `None` where the topic is not a static one.
    pub(super) fn read(text: PartText) -> Option<Part> {
        Some(Part {
            mapping: text.mapping_detail?,
            topic: TopicConfig {
                attributes: text.attributes,
                order: text.order,
                perm: text.perm,
                read_queue_nums: text.read_queue_nums,
                topic_filter_type: text.topic_filter_type,
                topic_name: text.topic_name,
                topic_sys_flag: text.topic_sys_flag,
                write_queue_nums: text.write_queue_nums,
            },
        })
    }

    pub(super) fn text(&self) -> PartText {
        let topic = self.topic.clone();
        PartText {
            attributes: topic.attributes,
            mapping_detail: Some(self.mapping.clone()),
            order: topic.order,
            perm: topic.perm,
            read_queue_nums: topic.read_queue_nums,
            topic_filter_type: topic.topic_filter_type,
            topic_name: topic.topic_name,
            topic_sys_flag: topic.topic_sys_flag,
            write_queue_nums: topic.write_queue_nums,
        }
    }

    /// The logical queues that the broker has a part in, each with its stretches, oldest first.
    pub(super) fn hosted(&self) -> impl Iterator<Item = (i32, &[LogicQueueItem])> {
        let hosted = self.mapping.hosted_queues.iter().flatten();
        hosted.map(|(queue, items)| (*queue, items.as_slice()))
    }

    pub(super) fn items(&self, queue: i32) -> &[LogicQueueItem] {
        let hosted = self.mapping.hosted_queues.as_ref();
        hosted
            .and_then(|hosted| hosted.get(&queue))
            .map_or(&[], Vec::as_slice)
    }

    pub(super) fn put(&mut self, queue: i32, items: Vec<LogicQueueItem>) {
        let hosted = self.mapping.hosted_queues.get_or_insert_default();
        hosted.insert(queue, items);
    }

    /// The logical queues that are written to on this broker.
    pub(super) fn written(&self) -> Vec<i32> {
        let here =
            |items: &[LogicQueueItem]| items.last().is_some_and(|item| item.bname == self.mapping.bname);
        let written = self.hosted().filter(|(_, items)| here(items));
        written.map(|(queue, _)| queue).collect()
    }

    /// Gives the topic one more queue, and returns it.
    pub(super) fn add_queue(&mut self) -> i32 {
        let queue = self.topic.write_queue_nums;
        self.topic.write_queue_nums = queue.saturating_add(1);
        self.topic.read_queue_nums = self.topic.read_queue_nums.saturating_add(1);
        queue
    }
}

/// The parts in the order in which the reference goes through them.
pub(super) fn in_order(parts: &Layout) -> Vec<(&Str, &Part)> {
    hash_map(parts, |(broker, _)| broker)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A stretch in a queue of a broker that begins at a logical offset.
    pub(in super::super) fn item(generation: i32, broker: &str, queue: i32, logical: i64) -> LogicQueueItem {
        LogicQueueItem {
            bname: broker.into(),
            generation,
            logic_offset: logical,
            queue_id: queue,
            ..LogicQueueItem::default()
        }
    }

    /// The topic T whose logical queues are on these brokers.
    pub(in super::super) fn layout(brokers: &[&str]) -> Layout {
        let mut parts = Layout::new();
        for (queue, broker) in (0..).zip(brokers) {
            let part = parts
                .entry((*broker).into())
                .or_insert_with(|| Part::empty("T", broker));
            let physical = part.add_queue();
            part.put(queue, vec![item(0, broker, physical, 0)]);
        }
        for part in parts.values_mut() {
            part.mapping.epoch = 1_000;
            part.mapping.total_queues = i32::try_from(brokers.len()).unwrap();
        }
        parts
    }
}
