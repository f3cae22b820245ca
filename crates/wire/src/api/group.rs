// SPDX-License-Identifier: Apache-2.0
//! Consumer and producer groups of a broker.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Creates or changes a group; it is in the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateAndCreateSubscriptiongroup;

impl Request for UpdateAndCreateSubscriptiongroup {
    const CODE: Code = Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    type Reply = NoHeader;
}

/// Creates or changes several groups; they are in the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateAndCreateSubscriptiongroupList;

impl Request for UpdateAndCreateSubscriptiongroupList {
    const CODE: Code = Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
    type Reply = NoHeader;
}

/// Asks for all group settings, or a page of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetAllSubscriptiongroupConfig {
    /// First group of the page.
    pub group_seq: Option<i32>,
    /// Version the caller has, JSON.
    pub data_version: Option<Str>,
    /// Page size.
    pub max_group_num: Option<i32>,
}

impl Request for GetAllSubscriptiongroupConfig {
    const CODE: Code = Code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG;
    type Reply = GetAllSubscriptiongroupConfigReply;
}

/// How many groups there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetAllSubscriptiongroupConfigReply {
    /// Groups in all.
    pub total_group_num: Option<i32>,
}

/// Asks for the settings of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetSubscriptiongroupConfig {
    /// Consumer group.
    pub group: Str,
}

impl Request for GetSubscriptiongroupConfig {
    const CODE: Code = Code::GET_SUBSCRIPTIONGROUP_CONFIG;
    type Reply = NoHeader;
}

/// Deletes a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteSubscriptiongroup {
    /// Consumer group.
    pub group_name: Str,
    /// Drop the offsets of the group too.
    pub clean_offset: Option<bool>,
}

/// Forbids a group to read a topic, allows it again, or asks which it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateAndGetGroupForbidden {
    /// Consumer group.
    pub group: Str,
    /// Topic asked about or written to.
    pub topic: Str,
    /// What it shall be; nothing only asks.
    pub readable: Option<bool>,
}

impl Request for UpdateAndGetGroupForbidden {
    const CODE: Code = Code::UPDATE_AND_GET_GROUP_FORBIDDEN;
    type Reply = NoHeader;
}

impl Request for DeleteSubscriptiongroup {
    const CODE: Code = Code::DELETE_SUBSCRIPTIONGROUP;
    type Reply = NoHeader;
}

/// Asks who consumes in a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetConsumerConnectionList {
    /// Consumer group.
    pub consumer_group: Str,
}

impl Request for GetConsumerConnectionList {
    const CODE: Code = Code::GET_CONSUMER_CONNECTION_LIST;
    type Reply = NoHeader;
}

/// Asks who produces in a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetProducerConnectionList {
    /// Group of the sender.
    pub producer_group: Str,
}

impl Request for GetProducerConnectionList {
    const CODE: Code = Code::GET_PRODUCER_CONNECTION_LIST;
    type Reply = NoHeader;
}

/// Asks for all producers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAllProducerInfo {}

impl Request for GetAllProducerInfo {
    const CODE: Code = Code::GET_ALL_PRODUCER_INFO;
    type Reply = NoHeader;
}

/// Asks how far a group lags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetConsumeStats {
    /// Consumer group.
    pub consumer_group: Str,
    /// Topic asked about or written to.
    pub topic: Option<Str>,
    /// Topics joined by `;`.
    pub topic_list: Option<Str>,
}

impl Request for GetConsumeStats {
    const CODE: Code = Code::GET_CONSUME_STATS;
    type Reply = NoHeader;
}

/// Asks for a subscription of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuerySubscriptionByConsumer {
    /// Consumer group.
    pub group: Str,
    /// Topic asked about or written to.
    pub topic: Option<Str>,
}

impl Request for QuerySubscriptionByConsumer {
    const CODE: Code = Code::QUERY_SUBSCRIPTION_BY_CONSUMER;
    type Reply = NoHeader;
}

/// Asks for the groups whose members do not subscribe to the same, by name. The body of the answer is a
/// [`SubscriptionConflicts`](crate::body::conflict::SubscriptionConflicts).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListSubscriptionConflicts {
    /// Only this group.
    pub group: Option<Str>,
    /// At most so many, 1 to 100.
    pub max: Option<i32>,
    /// Where the answer before this one ended.
    pub next: Option<Str>,
}

impl Request for ListSubscriptionConflicts {
    const CODE: Code = Code::LIST_SUBSCRIPTION_CONFLICTS;
    type Reply = NoHeader;
}
