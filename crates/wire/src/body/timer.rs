// SPDX-License-Identifier: Apache-2.0
//! Messages that wait for their time: how many, and which.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::body::topic::DataVersion;

/// How many messages wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimerMetrics {
    /// Version of the table.
    pub data_version: DataVersion,
    /// By topic.
    pub timing_count: BTreeMap<Str, Timing>,
}

/// How many messages of a topic wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timing {
    /// So many.
    pub count: i64,
    /// When that changed, ms.
    pub time_stamp: i64,
}

/// Some of the messages that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PendingTimers {
    /// Where to go on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Str>,
    /// In the order of their ticks.
    pub pending: Vec<PendingTimer>,
}

/// A message that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PendingTimer {
    /// The tick after which it is delivered, ms (property TIMER_OUT_MS).
    pub out_ms: i64,
    /// Queue it is meant for.
    pub queue_id: i32,
    /// How often it was written anew because its time is far away.
    pub roll_times: i64,
    /// Bytes of its record.
    pub size: i32,
    /// When it was stored, ms.
    pub store_timestamp: i64,
    /// Topic it is meant for.
    pub topic: Str,
    /// Its unique id.
    pub uniq_key: Str,
}
