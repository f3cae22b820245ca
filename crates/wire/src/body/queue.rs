// SPDX-License-Identifier: Apache-2.0
//! Queues by name, locks on them, and their assignment to clients.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::body::subscription::MessageModel;
use crate::fastjson;

/// One queue of one topic on one broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// Broker name.
    pub broker_name: Str,
    /// Queue of the topic.
    pub queue_id: i32,
    /// Topic name.
    pub topic: Str,
}

/// A queue as the key of a map: on the wire the key is the bare object, which legal JSON does not allow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueKey(pub MessageQueue);

impl Serialize for QueueKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fastjson::object_key(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for QueueKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<QueueKey, D::Error> {
        let text = Str::deserialize(deserializer)?;
        fastjson::from_str(&text)
            .map(QueueKey)
            .map_err(serde::de::Error::custom)
    }
}

/// Queues a client wants locked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatch {
    /// Client id.
    pub client_id: Str,
    /// Consumer group.
    pub consumer_group: Str,
    /// The queues.
    pub mq_set: Vec<MessageQueue>,
    /// Do not ask the other replicas.
    pub only_this_broker: bool,
}

/// Queues a client gives back; the same fields as in `LockBatch`.
pub type UnlockBatch = LockBatch;

/// Queues the client has locked now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockedQueues {
    /// The queues.
    #[serde(rename = "lockOKMQSet")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

/// A client asking which queues to read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryAssignmentBody {
    /// Client id.
    pub client_id: Str,
    /// Consumer group.
    pub consumer_group: Str,
    /// Whether members share messages.
    pub message_model: MessageModel,
    /// `AVG` or `AVG_BY_CIRCLE`.
    pub strategy_name: Str,
    /// Topic name.
    pub topic: Str,
}

/// The queues a client should read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Assignments {
    /// The queues.
    pub message_queue_assignments: Vec<Assignment>,
}

/// A queue and how to read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Assignment {
    /// Free notes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachments: Option<BTreeMap<Str, Str>>,
    /// The queue; id -1 for all of the broker.
    pub message_queue: MessageQueue,
    /// Pull or pop.
    pub mode: MessageRequestMode,
}

/// How a group reads a topic. Unknown names read as pull.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageRequestMode {
    /// The client gets a lease on each message.
    Pop,
    /// The client keeps an offset.
    #[default]
    #[serde(other)]
    Pull,
}

/// How a group shall read a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetMessageRequestModeBody {
    /// Consumer group.
    pub consumer_group: Str,
    /// Pull or pop.
    pub mode: MessageRequestMode,
    /// Queues shared among members; 0 for all.
    pub pop_share_queue_num: i32,
    /// Topic name.
    pub topic: Str,
}

/// How groups read topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageRequestModeTable {
    /// Settings by topic and group.
    pub message_request_mode_map: BTreeMap<Str, BTreeMap<Str, SetMessageRequestModeBody>>,
}
