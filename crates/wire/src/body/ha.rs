// SPDX-License-Identifier: Apache-2.0
//! How replication goes.

use serde::{Deserialize, Serialize};

use crate::Str;

/// The view of one broker (`HARuntimeInfo`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaRuntimeInfo {
    /// What a slave knows of its link.
    pub ha_client_runtime_info: HaClientRuntimeInfo,
    /// The slaves of a master.
    pub ha_connection_info: Vec<HaConnectionRuntimeInfo>,
    /// How many of them are in step.
    pub in_sync_slave_nums: i32,
    /// It is a master.
    pub master: bool,
    /// Where the log of a master ends.
    pub master_commit_log_max_offset: i64,
}

/// The link of a slave to its master.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaClientRuntimeInfo {
    /// When something was heard last, ms.
    pub last_read_timestamp: i64,
    /// When something was said last, ms.
    pub last_write_timestamp: i64,
    /// Replication port of the master.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_addr: Option<Str>,
    /// Where the log of the master ended when it started, if it says so.
    pub master_flush_offset: i64,
    /// Where the log of the slave ends.
    pub max_offset: i64,
    /// Bytes of the log in a second.
    pub transferred_byte_in_second: i64,
}

/// A slave, as its master sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaConnectionRuntimeInfo {
    /// Its address.
    pub addr: Str,
    /// Bytes that it lacks.
    pub diff: i64,
    /// It is near enough to be waited for.
    pub in_sync: bool,
    /// Up to where it has the log.
    pub slave_ack_offset: i64,
    /// Up to where the log was sent to it.
    pub transfer_from_where: i64,
    /// Bytes of the log in a second.
    pub transferred_byte_in_second: i64,
}

/// The terms of masters that the log of a broker under a controller was written in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EpochEntryCache {
    /// Number among the replicas.
    pub broker_id: i64,
    /// Broker name.
    pub broker_name: Str,
    /// Cluster name.
    pub cluster_name: Str,
    /// The terms, oldest first.
    pub epoch_list: Vec<EpochEntry>,
    /// Where the log ends.
    pub max_offset: i64,
}

/// One term.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EpochEntry {
    /// Where it ends; the largest number while it lasts.
    pub end_offset: i64,
    /// Its number.
    pub epoch: i32,
    /// Where it begins.
    pub start_offset: i64,
}
