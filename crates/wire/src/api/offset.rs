// SPDX-License-Identifier: Apache-2.0
//! Offsets: of consumer groups, and of a queue by time.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, Empty, NoHeader, Request};

/// Asks how far a group has read a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryConsumerOffset {
    /// Consumer group.
    pub consumer_group: Str,
    /// Topic asked about or written to.
    pub topic: Str,
    /// Queue of the topic; -1 where the broker may choose.
    pub queue_id: i32,
    /// `false` asks for an error instead of zero.
    pub set_zero_if_not_found: Option<bool>,
}

impl Request for QueryConsumerOffset {
    const CODE: Code = Code::QUERY_CONSUMER_OFFSET;
    type Reply = OffsetReply;
}

/// Records how far a group has read a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateConsumerOffset {
    /// Consumer group.
    pub consumer_group: Str,
    /// Topic asked about or written to.
    pub topic: Str,
    /// Queue of the topic; -1 where the broker may choose.
    pub queue_id: i32,
    /// Offset consumed so far.
    pub commit_offset: i64,
}

impl Request for UpdateConsumerOffset {
    const CODE: Code = Code::UPDATE_CONSUMER_OFFSET;
    type Reply = Empty;
}

/// Asks for the offset at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchOffsetByTimestamp {
    /// Topic asked about or written to.
    pub topic: Str,
    /// Queue of the topic; -1 where the broker may choose.
    pub queue_id: i32,
    /// Time, ms.
    pub timestamp: i64,
    /// Which end of equal times is wanted.
    pub boundary_type: Option<BoundaryType>,
}

impl Request for SearchOffsetByTimestamp {
    const CODE: Code = Code::SEARCH_OFFSET_BY_TIMESTAMP;
    type Reply = OffsetReply;
}

/// Asks for the offset after the last message of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetMaxOffset {
    /// Topic asked about or written to.
    pub topic: Str,
    /// Queue of the topic; -1 where the broker may choose.
    pub queue_id: i32,
    /// Only what is committed counts.
    pub committed: Option<bool>,
}

impl Request for GetMaxOffset {
    const CODE: Code = Code::GET_MAX_OFFSET;
    type Reply = OffsetReply;
}

/// Asks for the first offset of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetMinOffset {
    /// Topic asked about or written to.
    pub topic: Str,
    /// Queue of the topic; -1 where the broker may choose.
    pub queue_id: i32,
}

impl Request for GetMinOffset {
    const CODE: Code = Code::GET_MIN_OFFSET;
    type Reply = OffsetReply;
}

/// Asks when the first message of a queue was stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetEarliestMsgStoretime {
    /// Topic asked about or written to.
    pub topic: Str,
    /// Queue of the topic; -1 where the broker may choose.
    pub queue_id: i32,
}

impl Request for GetEarliestMsgStoretime {
    const CODE: Code = Code::GET_EARLIEST_MSG_STORETIME;
    type Reply = StoretimeReply;
}

/// Asks for the offsets of all groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAllConsumerOffset;

impl Request for GetAllConsumerOffset {
    const CODE: Code = Code::GET_ALL_CONSUMER_OFFSET;
    type Reply = NoHeader;
}

/// Asks for the progress of the delay levels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAllDelayOffset;

impl Request for GetAllDelayOffset {
    const CODE: Code = Code::GET_ALL_DELAY_OFFSET;
    type Reply = NoHeader;
}

/// One offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OffsetReply {
    /// Offset.
    pub offset: i64,
}

/// One store time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoretimeReply {
    /// Time, ms.
    pub timestamp: i64,
}

/// Asks the broker to move a group to another offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvokeBrokerToResetOffset {
    /// Consumer group.
    pub group: Str,
    /// Topic asked about or written to.
    pub topic: Str,
    /// Queue of the topic; -1 where the broker may choose.
    pub queue_id: Option<i32>,
    /// Offset.
    pub offset: Option<i64>,
    /// Time, ms.
    pub timestamp: Option<i64>,
    /// Also move backwards.
    pub is_force: bool,
}

impl Request for InvokeBrokerToResetOffset {
    const CODE: Code = Code::INVOKE_BROKER_TO_RESET_OFFSET;
    type Reply = NoHeader;
}

/// The broker tells a client to move to another offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResetConsumerClientOffset {
    /// Consumer group.
    pub group: Str,
    /// Topic asked about or written to.
    pub topic: Str,
    /// Queue of the topic; -1 where the broker may choose.
    pub queue_id: Option<i32>,
    /// Offset.
    pub offset: Option<i64>,
    /// Time, ms.
    pub timestamp: i64,
    /// Also move backwards.
    pub is_force: bool,
}

impl Request for ResetConsumerClientOffset {
    const CODE: Code = Code::RESET_CONSUMER_CLIENT_OFFSET;
    type Reply = NoHeader;
}

/// Copies the offsets of one group to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloneGroupOffset {
    /// Group copied from.
    pub src_group: Str,
    /// Group copied to.
    pub dest_group: Str,
    /// Topic asked about or written to.
    pub topic: Option<Str>,
    /// Ignore whether the group is online.
    pub offline: Option<bool>,
}

impl Request for CloneGroupOffset {
    const CODE: Code = Code::CLONE_GROUP_OFFSET;
    type Reply = NoHeader;
}

/// Asks how far the slowest group has read a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryCorrectionOffset {
    /// Groups that do not count, joined by `,`.
    pub filter_groups: Option<Str>,
    /// Group compared with.
    pub compare_group: Str,
    /// Topic asked about or written to.
    pub topic: Str,
}

impl Request for QueryCorrectionOffset {
    const CODE: Code = Code::QUERY_CORRECTION_OFFSET;
    type Reply = NoHeader;
}

/// Asks, through the broker, how far the consumers of a group are by their own account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvokeBrokerToGetConsumerStatus {
    /// Topic asked about or written to.
    pub topic: Str,
    /// Consumer group.
    pub group: Str,
    /// Id of the client to ask; all when there is none.
    pub client_addr: Option<Str>,
}

impl Request for InvokeBrokerToGetConsumerStatus {
    const CODE: Code = Code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS;
    type Reply = NoHeader;
}

/// The broker asks a consumer how far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetConsumerStatusFromClient {
    /// Topic asked about or written to.
    pub topic: Str,
    /// Consumer group.
    pub group: Str,
    /// Unused.
    pub client_addr: Option<Str>,
}

impl Request for GetConsumerStatusFromClient {
    const CODE: Code = Code::GET_CONSUMER_STATUS_FROM_CLIENT;
    type Reply = NoHeader;
}

/// Which of several messages with the same store time an offset search means. Unknown names mean the lower one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BoundaryType {
    /// The first one.
    #[default]
    Lower,
    /// The last one.
    Upper,
}

impl Serialize for BoundaryType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            BoundaryType::Lower => "LOWER",
            BoundaryType::Upper => "UPPER",
        })
    }
}

impl<'de> Deserialize<'de> for BoundaryType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<BoundaryType, D::Error> {
        let name = Str::deserialize(deserializer)?;
        Ok(if name.eq_ignore_ascii_case("upper") {
            BoundaryType::Upper
        } else {
            BoundaryType::Lower
        })
    }
}
