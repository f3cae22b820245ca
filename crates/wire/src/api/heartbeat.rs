// SPDX-License-Identifier: Apache-2.0
//! Clients making themselves known to a broker, and being told about each other.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, Empty, NoHeader, Request};

/// A client is alive; its groups and subscriptions are in the body (`HeartbeatBody`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartBeat {}

impl Request for HeartBeat {
    const CODE: Code = Code::HEART_BEAT;
    type Reply = HeartBeatReply;
}

/// What the broker makes of a heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartBeatReply {
    /// The broker understands fingerprints.
    #[serde(rename = "IS_SUPPORT_HEART_BEAT_V2")]
    pub is_support_heart_beat_v2: bool,
    /// The broker wants the full subscription set.
    #[serde(rename = "IS_SUB_CHANGE")]
    pub is_sub_change: bool,
}

/// A client leaves a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnregisterClient {
    /// Client id.
    #[serde(rename = "clientID")]
    pub client_id: Str,
    /// Group of the sender.
    pub producer_group: Option<Str>,
    /// Consumer group.
    pub consumer_group: Option<Str>,
}

impl Request for UnregisterClient {
    const CODE: Code = Code::UNREGISTER_CLIENT;
    type Reply = Empty;
}

/// Asks for the members of a consumer group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetConsumerListByGroup {
    /// Consumer group.
    pub consumer_group: Str,
}

impl Request for GetConsumerListByGroup {
    const CODE: Code = Code::GET_CONSUMER_LIST_BY_GROUP;
    type Reply = Empty;
}

/// The broker tells a client that the members of its group changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifyConsumerIdsChanged {
    /// Consumer group.
    pub consumer_group: Str,
}

impl Request for NotifyConsumerIdsChanged {
    const CODE: Code = Code::NOTIFY_CONSUMER_IDS_CHANGED;
    type Reply = NoHeader;
}

/// Asks whether the broker can filter by the expression in the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckClientConfig;

impl Request for CheckClientConfig {
    const CODE: Code = Code::CHECK_CLIENT_CONFIG;
    type Reply = NoHeader;
}

/// Asks a consumer, through the broker, how it is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetConsumerRunningInfo {
    /// Consumer group.
    pub consumer_group: Str,
    /// Client id.
    pub client_id: Str,
    /// Include a thread dump.
    pub jstack_enable: Option<bool>,
}

impl Request for GetConsumerRunningInfo {
    const CODE: Code = Code::GET_CONSUMER_RUNNING_INFO;
    type Reply = NoHeader;
}

/// Has one client consume one message now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumeMessageDirectly {
    /// Consumer group.
    pub consumer_group: Str,
    /// Client id.
    pub client_id: Option<Str>,
    /// Message id.
    pub msg_id: Option<Str>,
    /// Broker name.
    pub broker_name: Option<Str>,
    /// Topic asked about or written to.
    pub topic: Option<Str>,
    /// Unit flags of the topic.
    pub topic_sys_flag: Option<i32>,
    /// Free flags of the group.
    pub group_sys_flag: Option<i32>,
}

impl Request for ConsumeMessageDirectly {
    const CODE: Code = Code::CONSUME_MESSAGE_DIRECTLY;
    type Reply = NoHeader;
}
