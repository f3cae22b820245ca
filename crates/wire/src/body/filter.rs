// SPDX-License-Identifier: Apache-2.0
//! What consumer groups registered in SQL: the layout of `consumerFilter.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Str;

/// The filters of all topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilterTable {
    /// By topic.
    pub filter_data_by_topic: BTreeMap<Str, TopicFilters>,
}

/// The filters of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicFilters {
    /// By consumer group.
    pub group_filter_data: BTreeMap<Str, FilterData>,
    /// The topic.
    pub topic: Str,
}

/// What a group wants of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilterData {
    /// Its bits in the reference's bloom filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bloom_filter_data: Option<BloomBits>,
    /// When the expression was registered, ms.
    pub born_time: i64,
    /// Version of the subscription, ms.
    pub client_version: i64,
    /// The group.
    pub consumer_group: Str,
    /// Whether the group is offline or has given the topic up: `dead_time` is not before `born_time`.
    pub dead: bool,
    /// Since when it is dead, ms; 0 while it lives.
    pub dead_time: i64,
    /// The expression.
    pub expression: Str,
    /// `SQL92`.
    pub expression_type: Str,
    /// The topic.
    pub topic: Str,
}

/// Some bits of a bloom filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BloomBits {
    /// Bits of the filter.
    pub bit_num: i32,
    /// Which of them.
    pub bit_pos: Vec<i32>,
}
