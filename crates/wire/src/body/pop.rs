// SPDX-License-Identifier: Apache-2.0
//! Bodies about leases: acknowledgements in batches, what the reference keeps in its revive topic, and the state of ordered
//! queues.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::Str;

/// Acknowledgements of one client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchAcks {
    /// One per pop and queue.
    #[serde(deserialize_with = "null_as_default")]
    pub acks: Vec<BatchAck>,
    /// Name of the broker.
    pub broker_name: Str,
}

/// Acknowledgements of messages of one queue that were handed out together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAck {
    /// Bit i, from the low bit of the first byte on, stands for offset `start_offset + i`; in base 64.
    #[serde(rename = "b", alias = "bitSet", deserialize_with = "null_as_default")]
    pub bits: Str,
    /// Consumer group.
    #[serde(rename = "c", alias = "consumerGroup")]
    pub consumer_group: Str,
    /// How long they are invisible, ms.
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_time: i64,
    /// When they were handed out, ms.
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    /// Queue.
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    /// Which topic: 0 the topic itself, 1 and 2 its retry topics.
    #[serde(rename = "r", alias = "retry")]
    pub retry: Str,
    /// As in the handles.
    #[serde(rename = "rq", alias = "reviveQueueId")]
    pub revive_qid: i32,
    /// First offset looked at.
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    /// Topic.
    #[serde(rename = "t", alias = "topic")]
    pub topic: Str,
}

/// The reference's note that messages were handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckPoint {
    /// Which of them are settled.
    pub bm: i32,
    /// Name of the broker.
    #[serde(deserialize_with = "null_as_default")]
    pub bn: Str,
    /// Consumer group.
    #[serde(deserialize_with = "null_as_default")]
    pub c: Str,
    /// Their offsets, as differences to `so`. Old brokers leave it out: they follow on `so`.
    #[serde(deserialize_with = "null_as_default")]
    pub d: Vec<i64>,
    /// How long they are invisible, ms.
    pub it: i64,
    /// How many.
    pub n: i32,
    /// When they were handed out, ms.
    pub pt: i64,
    /// Queue.
    pub q: i32,
    /// How often it was written again, a number as text: its messages could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rp: Option<Str>,
    /// First offset looked at.
    pub so: i64,
    /// Topic.
    #[serde(deserialize_with = "null_as_default")]
    pub t: Str,
}

impl CheckPoint {
    /// When they are due to come again, ms.
    #[must_use]
    pub fn revive_ms(&self) -> i64 {
        self.pt.saturating_add(self.it)
    }

    /// The offsets that it says are not settled.
    pub fn open(&self) -> impl Iterator<Item = i64> {
        let count = usize::try_from(self.n).unwrap_or(0).min(32);
        (0..count).filter(|i| self.bm >> i & 1 == 0).filter_map(|i| {
            let diff = if self.d.is_empty() {
                Some(i as i64)
            } else {
                self.d.get(i).copied()
            };
            diff.map(|diff| self.so.saturating_add(diff))
        })
    }
}

/// The reference's note that messages are settled: one (`ao`) or several (`aol`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AckNote {
    /// Offset.
    #[serde(alias = "ackOffset")]
    pub ao: i64,
    /// Offsets.
    #[serde(
        alias = "ackOffsetList",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub aol: Vec<i64>,
    /// Name of the broker.
    #[serde(alias = "brokerName", deserialize_with = "null_as_default")]
    pub bn: Str,
    /// Consumer group.
    #[serde(alias = "consumerGroup", deserialize_with = "null_as_default")]
    pub c: Str,
    /// When it was handed out, ms.
    #[serde(alias = "popTime")]
    pub pt: i64,
    /// Queue.
    #[serde(alias = "queueId")]
    pub q: i32,
    /// First offset looked at then.
    #[serde(alias = "startOffset")]
    pub so: i64,
    /// Topic.
    #[serde(alias = "topic", deserialize_with = "null_as_default")]
    pub t: Str,
}

/// `consumerOrderInfo.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OrderTable {
    /// Always `QUEUE`.
    pub ordered_consumption_level: Str,
    /// By `topic@group` and queue.
    pub table: BTreeMap<Str, BTreeMap<i32, OrderState>>,
}

impl Default for OrderTable {
    fn default() -> OrderTable {
        OrderTable {
            ordered_consumption_level: Str::const_new("QUEUE"),
            table: BTreeMap::new(),
        }
    }
}

/// The batch of an ordered queue that is with a consumer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrderState {
    /// Names the request it was handed out to.
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    pub attempt_id: Option<Str>,
    /// Bit i: message i of the batch is settled.
    #[serde(rename = "cm")]
    pub settled: i64,
    /// How long the batch is invisible, ms.
    #[serde(rename = "i")]
    pub invisible_time: Option<i64>,
    /// When it was handed out last, ms.
    #[serde(rename = "l")]
    pub consumed_at: i64,
    /// Offsets: the first, and the others' distances to it.
    #[serde(rename = "o", deserialize_with = "null_as_default")]
    pub offsets: Vec<i64>,
    /// How often messages were handed out before, by offset.
    #[serde(rename = "oc", skip_serializing_if = "Option::is_none")]
    pub counts: Option<BTreeMap<i64, i32>>,
    /// When messages are visible again that were given another time, by offset.
    #[serde(rename = "ot", skip_serializing_if = "Option::is_none")]
    pub visible_at: Option<BTreeMap<i64, i64>>,
    /// When it was handed out, ms.
    #[serde(rename = "popTime")]
    pub pop_time: i64,
}

fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
