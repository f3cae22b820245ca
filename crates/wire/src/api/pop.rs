// SPDX-License-Identifier: Apache-2.0
//! Reading by lease: a message that was handed out stays invisible for a time, in which it is acknowledged, or it comes
//! again. Queue numbers may be missing or empty in these headers, which means every queue.

use serde::{Deserialize, Deserializer, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Stands for every queue of the topic on this broker.
pub const ANY_QUEUE: i32 = -1;

/// Asks for messages nobody of the group has; may be held until there are some.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PopMessage {
    /// Consumer group.
    pub consumer_group: Str,
    /// Topic.
    pub topic: Str,
    /// Queue of the topic, or [`ANY_QUEUE`].
    #[serde(deserialize_with = "queue_id")]
    pub queue_id: i32,
    /// Most messages wanted.
    pub max_msg_nums: i32,
    /// How long nobody else gets them, ms.
    pub invisible_time: i64,
    /// How long the request may be held, ms.
    pub poll_time: i64,
    /// When it was made, ms; 0: when it arrives.
    pub born_time: i64,
    /// Where a group without an offset begins: 0 at the oldest message, else at the newest.
    pub init_mode: i32,
    /// `TAG` or `SQL92`.
    pub exp_type: Option<Str>,
    /// Subscription expression.
    pub exp: Option<Str>,
    /// Messages of a queue one batch after the other.
    pub order: Option<bool>,
    /// Names the attempt, so that an ordered request may be repeated.
    pub attempt_id: Option<Str>,
}

impl Request for PopMessage {
    const CODE: Code = Code::POP_MESSAGE;
    type Reply = PopReply;
}

/// The leases on the messages of the body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PopReply {
    /// When they were handed out, ms.
    pub pop_time: i64,
    /// For how long, ms.
    pub invisible_time: i64,
    /// Goes into the handles: 999 for ordered messages.
    pub revive_qid: i32,
    /// Messages that are left.
    pub rest_num: i64,
    /// First offset looked at, per queue.
    pub start_offset_info: Option<Str>,
    /// Offsets, per queue.
    pub msg_offset_info: Option<Str>,
    /// How often ordered messages were handed out before.
    pub order_count_info: Option<Str>,
}

/// Like a pop, without leases and without being held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeekMessage {
    /// Topic.
    pub topic: Str,
    /// Queue of the topic, or [`ANY_QUEUE`].
    #[serde(deserialize_with = "queue_id")]
    pub queue_id: i32,
    /// Most messages wanted.
    pub max_msg_nums: i32,
    /// Consumer group.
    pub consumer_group: Str,
}

impl Request for PeekMessage {
    const CODE: Code = Code::PEEK_MESSAGE;
    type Reply = PopReply;
}

/// Says that a message is consumed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AckMessage {
    /// Consumer group.
    pub consumer_group: Str,
    /// Topic it was read from: for a message that came again, the retry topic.
    pub topic: Str,
    /// Queue of that topic.
    pub queue_id: i32,
    /// The handle.
    pub extra_info: Str,
    /// Offset in the queue.
    pub offset: i64,
}

impl Request for AckMessage {
    const CODE: Code = Code::ACK_MESSAGE;
    type Reply = NoHeader;
}

/// Says the same of many; they are in the body (`BatchAcks`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAckMessage;

impl Request for BatchAckMessage {
    const CODE: Code = Code::BATCH_ACK_MESSAGE;
    type Reply = NoHeader;
}

/// Lets a lease end at another time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeMessageInvisibletime {
    /// Consumer group.
    pub consumer_group: Str,
    /// Topic it was read from.
    pub topic: Str,
    /// Queue of that topic.
    pub queue_id: i32,
    /// The handle.
    pub extra_info: Str,
    /// Offset in the queue.
    pub offset: i64,
    /// How long from now on, ms.
    pub invisible_time: i64,
}

impl Request for ChangeMessageInvisibletime {
    const CODE: Code = Code::CHANGE_MESSAGE_INVISIBLETIME;
    type Reply = ChangedReply;
}

/// What the new handle is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedReply {
    /// When the lease begins, ms.
    pub pop_time: i64,
    /// How long it is, ms.
    pub invisible_time: i64,
    /// As in the old handle.
    pub revive_qid: i32,
}

/// Asks whether a pop would find something; may be held until it would.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Consumer group.
    pub consumer_group: Str,
    /// Topic.
    pub topic: Str,
    /// Queue of the topic, or [`ANY_QUEUE`].
    #[serde(deserialize_with = "queue_id")]
    pub queue_id: i32,
    /// How long the request may be held, ms.
    pub poll_time: i64,
    /// When it was made, ms; 0: when it arrives.
    pub born_time: i64,
    /// As in a pop.
    pub order: Option<bool>,
    /// As in a pop.
    pub attempt_id: Option<Str>,
}

impl Request for Notification {
    const CODE: Code = Code::NOTIFICATION;
    type Reply = NotificationReply;
}

/// Whether there is something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationReply {
    /// A pop would find something.
    pub has_msg: bool,
    /// It was not held because too many are.
    pub polling_full: bool,
}

/// Asks how many pops are held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PollingInfo {
    /// Consumer group.
    pub consumer_group: Str,
    /// Topic.
    pub topic: Str,
    /// Queue they asked for, or [`ANY_QUEUE`].
    #[serde(deserialize_with = "queue_id")]
    pub queue_id: i32,
}

impl Request for PollingInfo {
    const CODE: Code = Code::POLLING_INFO;
    type Reply = PollingInfoReply;
}

/// How many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PollingInfoReply {
    /// Held pops.
    pub polling_num: i32,
}

/// Asks for everything that was chosen so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAllMessageRequestMode;

impl Request for GetAllMessageRequestMode {
    const CODE: Code = Code::GET_ALL_MESSAGE_REQUEST_MODE;
    type Reply = NoHeader;
}

/// Any negative number means every queue.
fn queue_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    i32::deserialize(deserializer).map(|id| id.max(ANY_QUEUE))
}
