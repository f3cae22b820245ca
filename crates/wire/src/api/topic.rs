// SPDX-License-Identifier: Apache-2.0
//! Topics of a broker.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Creates or changes a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateAndCreateTopic {
    /// Topic asked about or written to.
    pub topic: Str,
    /// Topic whose settings a new topic copies.
    pub default_topic: Str,
    /// Queues open for reading.
    pub read_queue_nums: i32,
    /// Queues open for writing.
    pub write_queue_nums: i32,
    /// Permission bits: 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// `SINGLE_TAG` or `MULTI_TAG`.
    pub topic_filter_type: Str,
    /// Unit flags of the topic.
    pub topic_sys_flag: Option<i32>,
    /// Ordered topic.
    pub order: bool,
    /// Attribute changes, `+k=v,-k`.
    pub attributes: Option<Str>,
    /// Skip the checks of static topics.
    pub force: Option<bool>,
}

impl Request for UpdateAndCreateTopic {
    const CODE: Code = Code::UPDATE_AND_CREATE_TOPIC;
    type Reply = NoHeader;
}

/// Creates or changes a static topic; the part of its logical queues that the broker has is in the body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UpdateAndCreateStaticTopic(pub UpdateAndCreateTopic);

impl Request for UpdateAndCreateStaticTopic {
    const CODE: Code = Code::UPDATE_AND_CREATE_STATIC_TOPIC;
    type Reply = NoHeader;
}

/// Creates or changes several topics; they are in the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateAndCreateTopicList {}

impl Request for UpdateAndCreateTopicList {
    const CODE: Code = Code::UPDATE_AND_CREATE_TOPIC_LIST;
    type Reply = NoHeader;
}

/// Asks for all topic settings, or a page of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetAllTopicConfig {
    /// First topic of the page.
    pub topic_seq: Option<i32>,
    /// Version the caller has, JSON.
    pub data_version: Option<Str>,
    /// Page size.
    pub max_topic_num: Option<i32>,
}

impl Request for GetAllTopicConfig {
    const CODE: Code = Code::GET_ALL_TOPIC_CONFIG;
    type Reply = GetAllTopicConfigReply;
}

/// How many topics there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetAllTopicConfigReply {
    /// Topics in all.
    pub total_topic_num: Option<i32>,
}

/// Asks for the settings of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetTopicConfig {
    /// Topic asked about or written to.
    pub topic: Str,
    /// The topic is meant as a logical one.
    pub lo: Option<bool>,
}

impl Request for GetTopicConfig {
    const CODE: Code = Code::GET_TOPIC_CONFIG;
    type Reply = NoHeader;
}

/// Deletes a topic and what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteTopicInBroker {
    /// Topic asked about or written to.
    pub topic: Str,
}

impl Request for DeleteTopicInBroker {
    const CODE: Code = Code::DELETE_TOPIC_IN_BROKER;
    type Reply = NoHeader;
}

/// Asks for the offsets of all queues of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetTopicStatsInfo {
    /// Topic asked about or written to.
    pub topic: Str,
}

impl Request for GetTopicStatsInfo {
    const CODE: Code = Code::GET_TOPIC_STATS_INFO;
    type Reply = NoHeader;
}

/// Asks which groups read a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryTopicConsumeByWho {
    /// Topic asked about or written to.
    pub topic: Str,
}

impl Request for QueryTopicConsumeByWho {
    const CODE: Code = Code::QUERY_TOPIC_CONSUME_BY_WHO;
    type Reply = NoHeader;
}

/// Asks which topics a group reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryTopicsByConsumer {
    /// Consumer group.
    pub group: Str,
}

impl Request for QueryTopicsByConsumer {
    const CODE: Code = Code::QUERY_TOPICS_BY_CONSUMER;
    type Reply = NoHeader;
}

/// Asks for the topics the broker made for itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetSystemTopicListFromBroker;

impl Request for GetSystemTopicListFromBroker {
    const CODE: Code = Code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER;
    type Reply = NoHeader;
}
