// SPDX-License-Identifier: Apache-2.0
//! Offsets and statistics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::body::queue::{MessageQueue, QueueKey};
use crate::body::subscription::SubscriptionData;
use crate::body::topic::DataVersion;

/// How far groups have read. Also the layout of `consumerOffset.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Topics by group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_topic_map: Option<BTreeMap<Str, Vec<Str>>>,
    /// Offset by queue, by `topic@group`.
    pub offset_table: BTreeMap<Str, BTreeMap<i32, i64>>,
}

/// How far the delay levels are. Also the layout of `delayOffset.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DelayOffsetTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Offset by level.
    pub offset_table: BTreeMap<i32, i64>,
}

/// Offsets by queue, as a reset sends them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueOffsets {
    /// Offset by queue.
    pub offset_table: BTreeMap<QueueKey, i64>,
}

/// Offsets by queue, as a reset sends them to clients in C++.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueOffsetList {
    /// The queues.
    pub offset_table: Vec<QueueOffset>,
}

/// A queue with an offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueOffset {
    /// Broker name.
    pub broker_name: Str,
    /// Offset.
    pub offset: i64,
    /// Queue of the topic.
    pub queue_id: i32,
    /// Topic name.
    pub topic: Str,
}

/// How far the consumers of a group are by their own account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStatus {
    /// By client id and queue, from the broker.
    pub consumer_table: BTreeMap<Str, BTreeMap<QueueKey, i64>>,
    /// By queue, from a client.
    pub message_queue_table: BTreeMap<QueueKey, i64>,
}

/// How far the slowest group has read, by queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CorrectionOffsets {
    /// Offset by queue.
    pub correction_offsets: BTreeMap<i32, i64>,
}

/// The offsets of all queues of a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStats {
    /// By queue.
    pub offset_table: BTreeMap<QueueKey, TopicOffset>,
    /// Messages a second written to it.
    pub topic_put_tps: f64,
}

/// The ends of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicOffset {
    /// Store time of the last message, ms.
    pub last_update_timestamp: i64,
    /// Offset after the last message.
    pub max_offset: i64,
    /// First offset.
    pub min_offset: i64,
}

/// How far a group lags.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    /// Messages a second it reads.
    pub consume_tps: f64,
    /// By queue.
    pub offset_table: BTreeMap<QueueKey, ConsumeOffset>,
}

/// How far a group lags on one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeOffset {
    /// Offset after the last message.
    pub broker_offset: i64,
    /// Offset consumed so far.
    pub consumer_offset: i64,
    /// Store time of the last message consumed, ms.
    pub last_timestamp: i64,
    /// Offset pulled so far.
    pub pull_offset: i64,
}

/// How far all groups of a broker lag.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerConsumeStats {
    /// Address of the broker.
    pub broker_addr: Str,
    /// One entry a group, each with its topics.
    pub consume_stats_list: Vec<BTreeMap<Str, Vec<ConsumeStats>>>,
    /// Messages not consumed.
    pub total_diff: i64,
    /// Messages pulled, not consumed.
    pub total_inflight_diff: i64,
}

/// Texts by key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KvTable {
    /// The table.
    pub table: BTreeMap<Str, Str>,
}

/// From when to when the queues of a topic have messages, and how far in time a group is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeTimeSpans {
    /// One entry a queue.
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// The same of one queue. Times are ms, and as text `yyyy-MM-dd#HH:mm:ss:SSS`; -1 where there is no message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueTimeSpan {
    /// Store time of the last message consumed; of the first one where none is.
    pub consume_time_stamp: i64,
    /// As text.
    pub consume_time_stamp_str: Str,
    /// How long ago the next message was stored, ms; 0 where all is consumed.
    pub delay_time: i64,
    /// Store time of the newest message.
    pub max_time_stamp: i64,
    /// As text.
    pub max_time_stamp_str: Str,
    /// The queue.
    pub message_queue: MessageQueue,
    /// Store time of the oldest message.
    pub min_time_stamp: i64,
    /// As text.
    pub min_time_stamp_str: Str,
}

/// A part of a queue as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueContents {
    /// The SQL filter of the group asked about, JSON; `null` where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<Str>,
    /// Offset after the last entry of the queue.
    pub max_queue_index: i64,
    /// First offset of the queue.
    pub min_queue_index: i64,
    /// The entries asked for.
    pub queue_data: Vec<QueueEntry>,
    /// What the group subscribes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}

/// An entry of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueEntry {
    /// The filter of the group matches what stands beside the queue.
    pub eval: bool,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<Str>,
    /// Position of the record in the log.
    pub physic_offset: i64,
    /// Bytes of the record.
    pub physic_size: i32,
    /// Hash of the tag, or time of delivery.
    pub tags_code: i64,
}

/// How often something happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStatsData {
    /// In the last day.
    pub stats_day: BrokerStatsItem,
    /// In the last hour.
    pub stats_hour: BrokerStatsItem,
    /// In the last minute.
    pub stats_minute: BrokerStatsItem,
}

/// How often something happened in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStatsItem {
    /// What is counted, by each time that it happened.
    pub avgpt: f64,
    /// All together.
    pub sum: i64,
    /// In a second.
    pub tps: f64,
}
