// SPDX-License-Identifier: Apache-2.0
//! Topic settings, and lists of topics and groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::body::topic_route::TopicQueueMapping;

/// How new a table is: any difference means another version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Changes so far.
    pub counter: i64,
    /// Term of the state, for brokers under a controller.
    pub state_version: i64,
    /// When the last change was made, ms.
    pub timestamp: i64,
}

impl DataVersion {
    /// The one with more changes, as the reference compares two.
    #[must_use]
    pub fn newest(self, other: DataVersion) -> DataVersion {
        let rank = |version: &DataVersion| (version.state_version, version.counter, version.timestamp);
        std::cmp::max_by_key(self, other, rank)
    }
}

/// The settings of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// Free settings, such as `message.type`.
    pub attributes: BTreeMap<Str, Str>,
    /// Ordered topic.
    pub order: bool,
    /// Permission bits: 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// Queues open for reading.
    pub read_queue_nums: i32,
    /// How many tags a message may have.
    pub topic_filter_type: TopicFilterType,
    /// Name of the topic.
    pub topic_name: Str,
    /// Unit flags.
    pub topic_sys_flag: i32,
    /// Queues open for writing.
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig {
            attributes: BTreeMap::new(),
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: Str::default(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

/// How many tags a message may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TopicFilterType {
    /// Several.
    MultiTag,
    /// One.
    #[default]
    #[serde(other)]
    SingleTag,
}

/// All topics of a broker, or a page of them, and their version. Also the layout of `topics.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Version of the static topic mappings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping_data_version: Option<DataVersion>,
    /// Settings by topic name.
    pub topic_config_table: BTreeMap<Str, TopicConfig>,
    /// Static topics by name, with the queues hosted here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_detail_map: Option<BTreeMap<Str, TopicQueueMapping>>,
    /// Static topics by name, in short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_info_map: Option<BTreeMap<Str, TopicQueueMapping>>,
}

/// Topics to create or change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigList {
    /// The settings wanted.
    pub topic_config_list: Vec<TopicConfig>,
}

/// Topic names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    /// A broker to ask on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<Str>,
    /// The names.
    pub topic_list: Vec<Str>,
}

/// Group names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupList {
    /// The names.
    pub group_list: Vec<Str>,
}
