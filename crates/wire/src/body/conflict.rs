// SPDX-License-Identifier: Apache-2.0
//! Members of one consumer group that subscribe to different things, as operators see them. The reference has no such list.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::body::subscription::{ConsumeFromWhere, ConsumeType, MessageModel};

/// Some of the groups whose members do not subscribe to the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionConflicts {
    /// By group.
    pub conflicts: Vec<SubscriptionConflict>,
    /// Where the next request goes on; absent at the end. A page may end before the groups that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Str>,
    /// How many there are of all groups.
    pub total: usize,
}

/// A group whose members do not subscribe to the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionConflict {
    /// One client of each kind, two at least; not more than eight.
    pub clients: Vec<ConflictingClient>,
    /// In what the first two differ: `topics`, `expressions`, `consumeType`, `messageModel`, `consumeFromWhere`.
    pub differs: Vec<Str>,
    /// Consumer group.
    pub group: Str,
    /// How many kinds of clients there are.
    pub kinds: usize,
    /// Since when, ms since 1970.
    pub since: i64,
}

/// One client of a group in which others subscribe to something else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConflictingClient {
    /// Its address.
    pub client_addr: Str,
    /// Client id.
    pub client_id: Str,
    /// Where a new group begins.
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets messages.
    pub consume_type: ConsumeType,
    /// Whether members share messages.
    pub message_model: MessageModel,
    /// How many topics it subscribes to, the retry topic of the group not counted.
    pub topics: usize,
    /// How many members say the same, itself counted.
    pub same: usize,
    /// Since when it says so, ms since 1970.
    pub since: i64,
    /// By topic; the first hundred.
    pub subscriptions: Vec<ConflictingSubscription>,
}

/// What such a client wants of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConflictingSubscription {
    /// `TAG` or `SQL92`.
    pub expression_type: Str,
    /// The expression; tags in alphabetical order. Of a long one the first 1024 bytes, and how long it is.
    pub sub_string: Str,
    /// Topic name.
    pub topic: Str,
}
