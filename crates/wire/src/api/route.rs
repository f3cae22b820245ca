// SPDX-License-Identifier: Apache-2.0
//! Routes and clusters, as the name server knows them; queue assignment.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Asks where a topic is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetRouteinfoByTopic {
    /// Topic asked about or written to.
    pub topic: Option<Str>,
    /// The caller reads standard JSON only.
    pub accept_standard_json_only: Option<bool>,
    /// Only brokers of the zone are wanted.
    #[serde(rename = "__ZONE_MODE")]
    pub zone_mode: Option<bool>,
    /// Availability zone.
    #[serde(rename = "__ZONE_NAME")]
    pub zone_name: Option<Str>,
}

impl Request for GetRouteinfoByTopic {
    const CODE: Code = Code::GET_ROUTEINFO_BY_TOPIC;
    type Reply = NoHeader;
}

/// Asks for all clusters and brokers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetBrokerClusterInfo;

impl Request for GetBrokerClusterInfo {
    const CODE: Code = Code::GET_BROKER_CLUSTER_INFO;
    type Reply = NoHeader;
}

/// Takes the write bit from all topics of a broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WipeWritePermOfBroker {
    /// Broker name.
    pub broker_name: Str,
}

impl Request for WipeWritePermOfBroker {
    const CODE: Code = Code::WIPE_WRITE_PERM_OF_BROKER;
    type Reply = WipeWritePermReply;
}

/// How many topics were touched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WipeWritePermReply {
    /// Topics that lost the write bit.
    pub wipe_topic_count: i32,
}

/// Gives all topics of a broker the write bit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddWritePermOfBroker {
    /// Broker name.
    pub broker_name: Str,
}

impl Request for AddWritePermOfBroker {
    const CODE: Code = Code::ADD_WRITE_PERM_OF_BROKER;
    type Reply = AddWritePermReply;
}

/// How many topics were touched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddWritePermReply {
    /// Topics that got the write bit.
    pub add_topic_count: i32,
}

/// Asks for all topic names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAllTopicListFromNameserver;

impl Request for GetAllTopicListFromNameserver {
    const CODE: Code = Code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER;
    type Reply = NoHeader;
}

/// Forgets a topic, or its brokers in one cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteTopicInNamesrv {
    /// Topic asked about or written to.
    pub topic: Str,
    /// Cluster name.
    pub cluster_name: Option<Str>,
}

impl Request for DeleteTopicInNamesrv {
    const CODE: Code = Code::DELETE_TOPIC_IN_NAMESRV;
    type Reply = NoHeader;
}

/// Registers one topic; its route is in the body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterTopicInNamesrv {
    /// Topic asked about or written to.
    pub topic: Str,
}

impl Request for RegisterTopicInNamesrv {
    const CODE: Code = Code::REGISTER_TOPIC_IN_NAMESRV;
    type Reply = NoHeader;
}

/// Asks for the topics of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetTopicsByCluster {
    /// Cluster name.
    pub cluster: Str,
}

impl Request for GetTopicsByCluster {
    const CODE: Code = Code::GET_TOPICS_BY_CLUSTER;
    type Reply = NoHeader;
}

/// Asks for cluster and broker names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetSystemTopicListFromNs;

impl Request for GetSystemTopicListFromNs {
    const CODE: Code = Code::GET_SYSTEM_TOPIC_LIST_FROM_NS;
    type Reply = NoHeader;
}

/// Asks for topics in unit mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetUnitTopicList;

impl Request for GetUnitTopicList {
    const CODE: Code = Code::GET_UNIT_TOPIC_LIST;
    type Reply = NoHeader;
}

/// Asks for topics with a unit subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetHasUnitSubTopicList;

impl Request for GetHasUnitSubTopicList {
    const CODE: Code = Code::GET_HAS_UNIT_SUB_TOPIC_LIST;
    type Reply = NoHeader;
}

/// Asks for topics with a unit subscription that are not in unit mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetHasUnitSubUnunitTopicList;

impl Request for GetHasUnitSubUnunitTopicList {
    const CODE: Code = Code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST;
    type Reply = NoHeader;
}

/// Asks the broker which queues a client should read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryAssignment;

impl Request for QueryAssignment {
    const CODE: Code = Code::QUERY_ASSIGNMENT;
    type Reply = NoHeader;
}

/// Chooses pull or pop for a group on a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetMessageRequestMode;

impl Request for SetMessageRequestMode {
    const CODE: Code = Code::SET_MESSAGE_REQUEST_MODE;
    type Reply = NoHeader;
}
