// SPDX-License-Identifier: Apache-2.0
//! Where topics are, and which brokers there are.
//!
//! `fastjson::to_vec` writes broker ids as bare keys, the form of old clients and of the cluster and member answers;
//! `fastjson::to_vec_standard` quotes them, the form of route answers to peers of version 401 and later.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::body::topic::DataVersion;

/// Where a topic is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRoute {
    /// The brokers that hold it.
    pub broker_datas: Vec<BrokerAddrs>,
    /// Filter servers by broker address; always empty today.
    pub filter_server_table: BTreeMap<Str, Vec<Str>>,
    /// Queues of an ordered topic, `broker:count;…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<Str>,
    /// Its queues on each broker.
    pub queue_datas: Vec<QueueRoute>,
    /// Static topic mappings by broker name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_by_broker: Option<BTreeMap<Str, TopicQueueMapping>>,
}

/// The queues of a topic on one broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueRoute {
    /// Broker name.
    pub broker_name: Str,
    /// Permission bits: 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// Queues open for reading.
    pub read_queue_nums: i32,
    /// Unit flags.
    pub topic_sys_flag: i32,
    /// Queues open for writing.
    pub write_queue_nums: i32,
}

/// The replicas of one broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerAddrs {
    /// Address by broker id; 0 is the master.
    pub broker_addrs: BTreeMap<i64, Str>,
    /// Broker name.
    pub broker_name: Str,
    /// Cluster name.
    pub cluster: Str,
    /// A slave may stand in for the master.
    pub enable_acting_master: bool,
    /// Availability zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<Str>,
}

/// All brokers, and all clusters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// Brokers by name.
    pub broker_addr_table: BTreeMap<Str, BrokerAddrs>,
    /// Broker names by cluster.
    pub cluster_addr_table: BTreeMap<Str, Vec<Str>>,
}

/// The live replicas of one broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroup {
    /// Address by broker id.
    pub broker_addrs: BTreeMap<i64, Str>,
    /// Broker name.
    pub broker_name: Str,
    /// Cluster name.
    pub cluster: Str,
}

/// The answer that carries a member group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroupBody {
    /// The group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_member_group: Option<BrokerMemberGroup>,
}

/// Which logical queues of a static topic a broker holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicQueueMapping {
    /// Broker name.
    pub bname: Str,
    /// Physical queue by logical queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curr_id_map: Option<BTreeMap<i32, i32>>,
    /// Not yet in force.
    pub dirty: bool,
    /// Version of the mapping.
    pub epoch: i64,
    /// History of each logical queue hosted here; in the long form only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosted_queues: Option<BTreeMap<i32, Vec<LogicQueueItem>>>,
    /// Scope of the topic.
    pub scope: Str,
    /// Topic name.
    pub topic: Str,
    /// Logical queues in all.
    pub total_queues: i32,
}

/// The static topics of a broker. Also the layout of `topicQueueMapping.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicQueueMappingTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// By topic, in the long form.
    pub topic_queue_mapping_info_map: BTreeMap<Str, Arc<TopicQueueMapping>>,
}

/// A stretch of a logical queue that lives in one physical queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogicQueueItem {
    /// Broker name.
    pub bname: Str,
    /// Physical offset it ends at; -1 while open.
    pub end_offset: i64,
    /// Generation.
    #[serde(rename = "gen")]
    pub generation: i32,
    /// Logical offset it begins at.
    pub logic_offset: i64,
    /// Physical queue.
    pub queue_id: i32,
    /// Physical offset it begins at.
    pub start_offset: i64,
    /// When it ended, ms.
    pub time_of_end: i64,
    /// When it began, ms.
    pub time_of_start: i64,
}

impl Default for LogicQueueItem {
    /// What is not said is not decided.
    fn default() -> LogicQueueItem {
        LogicQueueItem {
            bname: Str::default(),
            end_offset: -1,
            generation: 0,
            logic_offset: 0,
            queue_id: 0,
            start_offset: 0,
            time_of_end: -1,
            time_of_start: -1,
        }
    }
}
