// SPDX-License-Identifier: Apache-2.0
//! Brokers and the name server: registration, liveness, members.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// A broker registers its address and its topics (`RegisterBrokerBody`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterBroker {
    /// Broker name.
    pub broker_name: Str,
    /// Broker address.
    pub broker_addr: Str,
    /// Cluster name.
    pub cluster_name: Str,
    /// Address for replication.
    pub ha_server_addr: Str,
    /// Broker id; 0 is the master.
    pub broker_id: i64,
    /// Silence after which the broker counts as gone.
    pub heartbeat_timeout_millis: Option<i64>,
    /// A slave may stand in for the master.
    pub enable_acting_master: Option<bool>,
    /// The body is deflated.
    pub compressed: Option<bool>,
    /// CRC-32 of the body without the top bit; 0 means unchecked.
    pub body_crc32: Option<i32>,
    /// Availability zone.
    #[serde(rename = "__ZONE_NAME")]
    pub zone_name: Option<Str>,
}

impl Request for RegisterBroker {
    const CODE: Code = Code::REGISTER_BROKER;
    type Reply = RegisterBrokerReply;
}

/// The master of the registered broker, when it is not the master itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterBrokerReply {
    /// Address for replication.
    pub ha_server_addr: Option<Str>,
    /// Address of the master.
    pub master_addr: Option<Str>,
}

/// A broker leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnregisterBroker {
    /// Broker name.
    pub broker_name: Str,
    /// Broker address.
    pub broker_addr: Str,
    /// Cluster name.
    pub cluster_name: Str,
    /// Broker id; 0 is the master.
    pub broker_id: i64,
}

impl Request for UnregisterBroker {
    const CODE: Code = Code::UNREGISTER_BROKER;
    type Reply = NoHeader;
}

/// A broker asks whether the name server has its current topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryDataVersion {
    /// Broker name.
    pub broker_name: Str,
    /// Broker address.
    pub broker_addr: Str,
    /// Cluster name.
    pub cluster_name: Str,
    /// Broker id; 0 is the master.
    pub broker_id: i64,
}

impl Request for QueryDataVersion {
    const CODE: Code = Code::QUERY_DATA_VERSION;
    type Reply = QueryDataVersionReply;
}

/// Whether a new registration is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryDataVersionReply {
    /// The name server has another version.
    pub changed: bool,
}

/// Asks for the live replicas of a broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetBrokerMemberGroup {
    /// Cluster name.
    pub cluster_name: Str,
    /// Broker name.
    pub broker_name: Str,
}

impl Request for GetBrokerMemberGroup {
    const CODE: Code = Code::GET_BROKER_MEMBER_GROUP;
    type Reply = NoHeader;
}

/// A broker is alive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerHeartbeat {
    /// Cluster name.
    pub cluster_name: Str,
    /// Broker address.
    pub broker_addr: Str,
    /// Broker name.
    pub broker_name: Str,
    /// Broker id; 0 is the master.
    pub broker_id: Option<i64>,
    /// Epoch of the master.
    pub epoch: Option<i32>,
    /// Offset after the last one of the queue.
    pub max_offset: Option<i64>,
    /// Offset confirmed by the replicas.
    pub confirm_offset: Option<i64>,
    /// Silence after which the broker counts as gone.
    pub heartbeat_timeout_mills: Option<i64>,
    /// Priority in elections.
    pub election_priority: Option<i32>,
}

impl Request for BrokerHeartbeat {
    const CODE: Code = Code::BROKER_HEARTBEAT;
    type Reply = NoHeader;
}

/// The name server tells the replicas that the smallest live id changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifyMinBrokerIdChange {
    /// Smallest live broker id.
    pub min_broker_id: Option<i64>,
    /// Broker name.
    pub broker_name: Option<Str>,
    /// Its address.
    pub min_broker_addr: Option<Str>,
    /// Address of the broker that left.
    pub offline_broker_addr: Option<Str>,
    /// Replication address of the smallest id.
    pub ha_broker_addr: Option<Str>,
}

impl Request for NotifyMinBrokerIdChange {
    const CODE: Code = Code::NOTIFY_MIN_BROKER_ID_CHANGE;
    type Reply = NoHeader;
}
