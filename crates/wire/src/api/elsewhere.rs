// SPDX-License-Identifier: Apache-2.0
//! Requests to brokers of another kind: with RocksDB, with a controller, with flow control by cold data.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Asks how far the queues in RocksDB are behind those in files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckRocksdbCqWriteProgress {
    /// Topic asked about.
    pub topic: Str,
    /// From which store time on, ms.
    pub check_store_time: Option<i64>,
}

impl Request for CheckRocksdbCqWriteProgress {
    const CODE: Code = Code::CHECK_ROCKSDB_CQ_WRITE_PROGRESS;
    type Reply = NoHeader;
}

/// Writes tables that are kept in RocksDB to JSON files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportRocksdbConfigToJson {
    /// `topics`, `subscriptionGroups`, `consumerOffsets`, joined by `;`.
    pub config_type: Str,
}

impl Request for ExportRocksdbConfigToJson {
    const CODE: Code = Code::EXPORT_ROCKSDB_CONFIG_TO_JSON;
    type Reply = NoHeader;
}

/// Asks for the epochs of the log that a controller gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetBrokerEpochCache;

impl Request for GetBrokerEpochCache {
    const CODE: Code = Code::GET_BROKER_EPOCH_CACHE;
    type Reply = NoHeader;
}

/// A controller says who is the master; the replicas in step are in the body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifyBrokerRoleChanged {
    /// Where the master takes requests.
    pub master_address: Option<Str>,
    /// Its epoch.
    pub master_epoch: Option<i32>,
    /// Epoch of the set of replicas in step.
    pub sync_state_set_epoch: Option<i32>,
    /// Broker id of the master.
    pub master_broker_id: Option<i64>,
}

impl Request for NotifyBrokerRoleChanged {
    const CODE: Code = Code::NOTIFY_BROKER_ROLE_CHANGED;
    type Reply = NoHeader;
}

/// Hands timers to the other engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchTimerEngine {
    /// `F`: a wheel in files; `R`: RocksDB.
    #[serde(rename = "E_T")]
    pub engine: Option<Str>,
}

impl Request for SwitchTimerEngine {
    const CODE: Code = Code::SWITCH_TIMER_ENGINE;
    type Reply = NoHeader;
}

/// Takes leases out of RocksDB and back into the revive topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PopRollback;

impl Request for PopRollback {
    const CODE: Code = Code::POP_ROLLBACK;
    type Reply = NoHeader;
}

/// Sets how many cold bytes groups may read, properties text in the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateColdDataFlowCtrConfig;

impl Request for UpdateColdDataFlowCtrConfig {
    const CODE: Code = Code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG;
    type Reply = NoHeader;
}

/// Takes the bound of a group back, whose name is the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveColdDataFlowCtrConfig;

impl Request for RemoveColdDataFlowCtrConfig {
    const CODE: Code = Code::REMOVE_COLD_DATA_FLOW_CTR_CONFIG;
    type Reply = NoHeader;
}

/// Asks for these bounds, and what was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetColdDataFlowCtrInfo;

impl Request for GetColdDataFlowCtrInfo {
    const CODE: Code = Code::GET_COLD_DATA_FLOW_CTR_INFO;
    type Reply = NoHeader;
}

/// Sets how the system reads files of the log that are mapped into memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetCommitlogReadMode {
    /// 0: ahead; 1: not.
    #[serde(rename = "READ_AHEAD_MODE")]
    pub mode: Option<Str>,
}

impl Request for SetCommitlogReadMode {
    const CODE: Code = Code::SET_COMMITLOG_READ_MODE;
    type Reply = NoHeader;
}
