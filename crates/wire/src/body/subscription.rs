// SPDX-License-Identifier: Apache-2.0
//! What clients say about themselves, and what is told about them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::frame::Language;

/// A client and its groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatBody {
    /// Client id.
    #[serde(rename = "clientID")]
    pub client_id: Str,
    /// The groups it consumes in.
    pub consumer_data_set: Vec<ConsumerData>,
    /// Hash of the rest, 0 for clients that do not use it.
    pub heartbeat_fingerprint: i32,
    /// The groups it produces in.
    pub producer_data_set: Vec<ProducerData>,
    /// Subscriptions are left out; the broker has them.
    pub without_sub: bool,
}

/// A group a client produces in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    /// Name of the group.
    pub group_name: Str,
}

/// A group a client consumes in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    /// Where a new group begins.
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets messages.
    pub consume_type: ConsumeType,
    /// Name of the group.
    pub group_name: Str,
    /// Whether members share messages or each get all.
    pub message_model: MessageModel,
    /// Its subscriptions.
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Unit (cell) mode.
    pub unit_mode: bool,
}

/// What a group wants of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// Filtered by a class; no longer supported.
    pub class_filter_mode: bool,
    /// Hashes of the tags.
    pub code_set: Vec<i32>,
    /// `TAG` or `SQL92`.
    pub expression_type: Str,
    /// The expression.
    pub sub_string: Str,
    /// Version, ms.
    pub sub_version: i64,
    /// The tags.
    pub tags_set: Vec<Str>,
    /// Topic name.
    pub topic: Str,
}

impl Default for SubscriptionData {
    fn default() -> SubscriptionData {
        SubscriptionData {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: Str::const_new("TAG"),
            sub_string: Str::default(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: Str::default(),
        }
    }
}

/// How a consumer gets messages. Unknown names read as the push consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeType {
    /// The pull consumer.
    ConsumeActively,
    /// The pop consumer.
    ConsumePop,
    /// The push consumer.
    #[default]
    #[serde(other)]
    ConsumePassively,
}

/// Whether members of a group share messages. Unknown names read as sharing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageModel {
    /// Each member gets all messages.
    Broadcasting,
    /// Each message goes to one member.
    #[default]
    #[serde(other)]
    Clustering,
}

/// Where a new group begins. Unknown names read as the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeFromWhere {
    /// Old name for the end.
    ConsumeFromLastOffsetAndFromMinWhenBootFirst,
    /// Old name for the beginning.
    ConsumeFromMinOffset,
    /// Old name for the end.
    ConsumeFromMaxOffset,
    /// At the first message.
    ConsumeFromFirstOffset,
    /// At a time the client chooses.
    ConsumeFromTimestamp,
    /// At the end.
    #[default]
    #[serde(other)]
    ConsumeFromLastOffset,
}

/// A subscription a client wants checked before it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientBody {
    /// Client id.
    pub client_id: Str,
    /// Consumer group.
    pub group: Str,
    /// Namespace of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Str>,
    /// The subscription.
    pub subscription_data: SubscriptionData,
}

/// The members of a consumer group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerList {
    /// Their client ids.
    pub consumer_id_list: Vec<Str>,
}

/// A connected client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// Its address.
    pub client_addr: Str,
    /// Client id.
    pub client_id: Str,
    /// What it is written in.
    pub language: Language,
    /// Its version.
    pub version: i32,
}

/// Who consumes in a group, and what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnection {
    /// The members.
    pub connection_set: Vec<Connection>,
    /// Where a new group begins.
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets messages.
    pub consume_type: ConsumeType,
    /// Whether members share messages.
    pub message_model: MessageModel,
    /// Subscriptions by topic.
    pub subscription_table: BTreeMap<Str, SubscriptionData>,
}

/// Who produces in a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnection {
    /// The members.
    pub connection_set: Vec<Connection>,
}

/// All producers by group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerTable {
    /// Producers by group.
    pub data: BTreeMap<Str, Vec<ConnectedProducer>>,
}

/// A connected producer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectedProducer {
    /// Client id.
    pub client_id: Str,
    /// What it is written in.
    pub language: Language,
    /// Last heartbeat, ms.
    pub last_update_timestamp: i64,
    /// Its address, with a leading slash.
    #[serde(rename = "remoteIP")]
    pub remote_ip: Str,
    /// Its version.
    pub version: i32,
}

/// A subscription of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupSubscription {
    /// Consumer group.
    pub group: Str,
    /// The subscription, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
    /// Topic name.
    pub topic: Str,
}
