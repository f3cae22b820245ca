// SPDX-License-Identifier: Apache-2.0
//! Reading a queue.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, Request};

/// Asks for messages of one queue from an offset on; may be held until one arrives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullMessage {
    /// Consumer group.
    pub consumer_group: Str,
    /// Topic asked about or written to.
    pub topic: Str,
    /// Queue of the topic; -1 where the broker may choose.
    pub queue_id: i32,
    /// Offset inside the queue.
    pub queue_offset: i64,
    /// Most messages wanted.
    pub max_msg_nums: i32,
    /// Bit set, meaning depends on the request.
    pub sys_flag: i32,
    /// Offset consumed so far.
    pub commit_offset: i64,
    /// How long the broker may hold the request.
    pub suspend_timeout_millis: i64,
    /// Subscription expression, when the request carries one.
    pub subscription: Option<Str>,
    /// Version (ms) of the subscription.
    pub sub_version: i64,
    /// `TAG` or `SQL92`.
    pub expression_type: Option<Str>,
    /// Most bytes wanted.
    pub max_msg_bytes: Option<i32>,
    /// Where the request comes from: client or proxy.
    pub request_source: Option<i32>,
    /// Client behind a proxy.
    pub proxy_froward_client_id: Option<Str>,
}

impl Request for PullMessage {
    const CODE: Code = Code::PULL_MESSAGE;
    type Reply = PullReply;
}

/// The same for the pull consumer, which the broker may switch off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LitePullMessage(pub PullMessage);

impl Request for LitePullMessage {
    const CODE: Code = Code::LITE_PULL_MESSAGE;
    type Reply = PullReply;
}

/// Where the queue stands; sent with every answer, found or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullReply {
    /// Replica to ask next time.
    pub suggest_which_broker_id: i64,
    /// Offset to ask from next time.
    pub next_begin_offset: i64,
    /// First offset of the queue.
    pub min_offset: i64,
    /// Offset after the last one of the queue.
    pub max_offset: i64,
    /// Shift of a static topic queue.
    pub offset_delta: Option<i64>,
    /// Unit flags of the topic.
    pub topic_sys_flag: Option<i32>,
    /// Free flags of the group.
    pub group_sys_flag: Option<i32>,
    /// Why reading is forbidden.
    pub forbidden_type: Option<i32>,
}

impl From<LitePullMessage> for PullMessage {
    fn from(lite: LitePullMessage) -> PullMessage {
        lite.0
    }
}
