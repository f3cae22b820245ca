// SPDX-License-Identifier: Apache-2.0
//! Timer messages: taking them back, and how far the timers are. The last two requests are no part of the reference.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, Empty, NoHeader, Request};

/// Takes a timer message back before it is delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecallMessage {
    /// Producer group.
    pub producer_group: Option<Str>,
    /// Topic the message was sent to.
    pub topic: Str,
    /// The handle from the receipt of the send.
    pub recall_handle: Str,
}

impl Request for RecallMessage {
    const CODE: Code = Code::RECALL_MESSAGE;
    type Reply = RecallReply;
}

/// What was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecallReply {
    /// Unique id of the message.
    pub msg_id: Option<Str>,
    /// Region of the broker.
    #[serde(rename = "MSG_REGION")]
    pub region: Option<Str>,
}

/// Asks how far the timers are; the answer is seven numbers of eight bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetTimerCheckPoint;

impl Request for GetTimerCheckPoint {
    const CODE: Code = Code::GET_TIMER_CHECK_POINT;
    type Reply = NoHeader;
}

/// Asks how many messages of each topic wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetTimerMetrics;

impl Request for GetTimerMetrics {
    const CODE: Code = Code::GET_TIMER_METRICS;
    type Reply = NoHeader;
}

/// Asks for messages that wait, by time of delivery. The body of the answer is a `PendingTimers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTimers {
    /// Only those for this topic.
    pub topic: Option<Str>,
    /// Only those that come at or after this time, ms.
    pub from_ms: Option<i64>,
    /// At most so many.
    pub max: Option<i32>,
    /// Where the answer before this one ended.
    pub next: Option<Str>,
}

impl Request for ListTimers {
    const CODE: Code = Code::LIST_TIMERS;
    type Reply = NoHeader;
}

/// Takes a message that waits back, as an operator: it is not delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelTimer {
    /// Topic the message was sent to.
    pub topic: Str,
    /// Its unique id.
    pub uniq_key: Str,
}

impl Request for CancelTimer {
    const CODE: Code = Code::CANCEL_TIMER;
    type Reply = Empty;
}
