// SPDX-License-Identifier: Apache-2.0
//! Finding stored messages by key or by id, and looking into queues and at how far they are consumed.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Looks messages up by key, unique id or tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryMessage {
    /// Topic asked about or written to.
    pub topic: Str,
    /// Key.
    pub key: Str,
    /// Most hits wanted.
    pub max_num: i32,
    /// Earliest store time, ms.
    pub begin_timestamp: i64,
    /// Latest store time, ms.
    pub end_timestamp: i64,
    /// `K` key, `U` unique id, `T` tag.
    pub index_type: Option<Str>,
    /// Where the previous page ended.
    pub last_key: Option<Str>,
    /// The key is a unique message id.
    #[serde(rename = "_UNIQUE_KEY_QUERY")]
    pub unique_key_query: Option<bool>,
}

impl Request for QueryMessage {
    const CODE: Code = Code::QUERY_MESSAGE;
    type Reply = QueryMessageReply;
}

/// How far the index reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryMessageReply {
    /// Store time of the newest indexed message.
    pub index_last_update_timestamp: i64,
    /// Log position of the newest indexed message.
    pub index_last_update_phyoffset: i64,
}

/// Asks for the record at a log position.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewMessageById {
    /// Topic asked about or written to.
    pub topic: Option<Str>,
    /// Offset.
    pub offset: i64,
}

impl Request for ViewMessageById {
    const CODE: Code = Code::VIEW_MESSAGE_BY_ID;
    type Reply = NoHeader;
}

/// Asks for the entries of a queue as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryConsumeQueue {
    /// Topic asked about.
    pub topic: Str,
    /// Queue of the topic.
    pub queue_id: i32,
    /// First offset wanted.
    pub index: i64,
    /// Most entries wanted.
    pub count: i32,
    /// Show what this group subscribes to, too.
    pub consumer_group: Option<Str>,
}

impl Request for QueryConsumeQueue {
    const CODE: Code = Code::QUERY_CONSUME_QUEUE;
    type Reply = NoHeader;
}

/// Asks from when to when a topic has messages, and how far in time a group is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryConsumeTimeSpan {
    /// Topic asked about.
    pub topic: Str,
    /// Consumer group.
    pub group: Str,
}

impl Request for QueryConsumeTimeSpan {
    const CODE: Code = Code::QUERY_CONSUME_TIME_SPAN;
    type Reply = NoHeader;
}

/// Asks how far every group of a broker lags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetBrokerConsumeStats {
    /// Ordered topics only; not, where nothing is said.
    pub is_order: Option<bool>,
}

impl Request for GetBrokerConsumeStats {
    const CODE: Code = Code::GET_BROKER_CONSUME_STATS;
    type Reply = NoHeader;
}
