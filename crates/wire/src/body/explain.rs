// SPDX-License-Identifier: Apache-2.0
//! What became of a message, and why a group has not consumed it. The reference has no such answer.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::body::conflict::SubscriptionConflict;
use crate::body::subscription::MessageModel;

/// What became of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Explanation {
    /// When it is due, ms, if it waits for a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<i64>,
    /// What each group made of it: the one that was asked about, or those that subscribe to the topic or have offsets in it.
    pub groups: Vec<GroupExplanation>,
    /// Groups beyond the limit of one answer, in number or bytes.
    pub groups_left_out: usize,
    /// The message; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<StoredMessage>,
    /// Others on the topic with the same unique id: a sender sent twice.
    pub same_key: Vec<StoredMessage>,
    /// The verdict in words.
    pub sentence: Str,
    /// Topic it was sent to.
    pub topic: Str,
    /// Where the message itself is.
    pub verdict: MessageVerdict,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageVerdict {
    /// In a queue of its topic.
    Stored,
    /// Waits for its delay level.
    Delayed,
    /// Waits for its time.
    Timed,
    /// Was taken back before its time.
    Recalled,
    /// Its transaction has not ended.
    Uncommitted,
    /// Its transaction was rolled back.
    RolledBack,
    /// Its transaction was given up: nobody could say how it ended.
    GivenUp,
    /// Its place in the log, or in the queue, has been removed.
    Expired,
    /// The queue has not got that far.
    NotStoredYet,
    /// There is no trace of it.
    #[default]
    #[serde(other)]
    NotFound,
}

/// A record of the message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StoredMessage {
    /// Address it was sent from.
    pub born_host: Str,
    /// Sender's time, ms.
    pub born_timestamp: i64,
    /// Property KEYS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<Str>,
    /// Offset id.
    pub offset_msg_id: Str,
    /// Position in the log.
    pub physical_offset: i64,
    /// Queue number.
    pub queue_id: i32,
    /// Offset in the queue.
    pub queue_offset: i64,
    /// How often it was given back.
    pub reconsume_times: i32,
    /// Bytes of the record.
    pub size: usize,
    /// Store time, ms.
    pub store_timestamp: i64,
    /// Property TAGS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Str>,
    /// Topic of the queue; not the one it was sent to while it waits or is a copy.
    pub topic: Str,
    /// Unique id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uniq_key: Option<Str>,
}

/// What a group made of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupExplanation {
    /// Committed offset of the group in the queue of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed_offset: Option<i64>,
    /// Members that do not subscribe to the same: messages are lost to those whose subscription is not the last said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<SubscriptionConflict>,
    /// Copies for the group's next try and its dead letters, oldest first; the newest that fit into the answer.
    pub copies: Vec<StoredMessage>,
    /// When the next try is due, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<i64>,
    /// Group name.
    pub group: Str,
    /// The last pull of the queue since the broker started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_pull: Option<LastPull>,
    /// Client that holds the lock of the queue; of groups that consume in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_by: Option<Str>,
    /// The offset behind the last message of the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_offset: Option<i64>,
    /// How many members the group has.
    pub member_count: usize,
    /// The first of them.
    pub members: Vec<MemberSeen>,
    /// Whether members share messages; absent when the group is offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_model: Option<MessageModel>,
    /// When the last member has gone, ms; absent when the group is online, or that was before the broker started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline_since_ms: Option<i64>,
    /// The verdict in words.
    pub sentence: Str,
    /// What the group subscribes to, as the last heartbeat of a member said.
    pub subscriptions: Vec<SubscriptionSeen>,
    /// What became of the message.
    pub verdict: GroupVerdict,
}

/// What a group made of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GroupVerdict {
    /// There is nothing in a queue that it could consume: see the verdict of the message.
    NoMessage,
    /// The broker has never heard of the group.
    GroupUnknown,
    /// The group has no members now.
    GroupOffline,
    /// The group broadcasts: each client keeps its own offset.
    Broadcasting,
    /// The group or the topic may not be read.
    Forbidden,
    /// The group does not subscribe to the topic.
    NotSubscribed,
    /// It subscribes with an expression that cannot be used.
    FilterUnusable,
    /// It subscribes to other messages of the topic.
    Filtered,
    /// The committed offset lies behind the message: consumed, or skipped by a reset.
    PastOffset,
    /// Handed out, and not committed.
    HandedOut,
    /// The group has not got that far.
    NotReached,
    /// It was given back, and waits for the next try.
    WaitingRetry,
    /// The next try lies in the retry topic, and is not consumed yet.
    RetryReady,
    /// Consumed at a later try.
    ConsumedOnRetry,
    /// Given up.
    DeadLettered,
    /// A newer broker says something else.
    #[default]
    #[serde(other)]
    Other,
}

/// A member of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberSeen {
    /// Its address.
    pub addr: Str,
    /// Client id.
    pub client_id: Str,
}

/// What a group wants of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionSeen {
    /// The expression. Of a long one the first 1024 bytes, and how long it is.
    pub expression: Str,
    /// `TAG` or `SQL92`.
    pub expression_type: Str,
    /// Topic name.
    pub topic: Str,
    /// Version, ms.
    pub version: i64,
}

/// A pull.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastPull {
    /// When, ms.
    pub at_ms: i64,
    /// Client id; absent when it is no member any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Str>,
    /// Where the client goes on: what lies before was handed out.
    pub next_offset: i64,
}
