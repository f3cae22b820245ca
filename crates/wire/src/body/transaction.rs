// SPDX-License-Identifier: Apache-2.0
//! Transactions that have not ended, as operators see them. The reference has no such list.

use serde::{Deserialize, Serialize};

use crate::Str;

/// Some of the transactions that have not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PendingTransactions {
    /// Where the next request goes on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<i64>,
    /// Oldest first.
    pub pending: Vec<PendingTransaction>,
    /// How many there are of all groups.
    pub total: usize,
}

/// One transaction that has not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PendingTransaction {
    /// Since the message was born, ms.
    pub age_ms: i64,
    /// Address it was sent from.
    pub born_host: Str,
    /// How often producers were asked.
    pub checks: u32,
    /// Log position of its newest copy.
    pub commit_log_offset: i64,
    /// The client that was asked last, with its address; absent until one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_producer: Option<Str>,
    /// Offset id of its newest copy.
    pub offset_msg_id: Str,
    /// Group that ends it.
    pub producer_group: Str,
    /// Topic it is meant for.
    pub topic: Str,
    /// Half-queue offset of its newest copy.
    pub tran_state_table_offset: i64,
}
