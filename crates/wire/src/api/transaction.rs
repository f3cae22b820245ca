// SPDX-License-Identifier: Apache-2.0
//! Transactions: their end, and the question about their state.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Commits or rolls back a half message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndTransaction {
    /// Topic asked about or written to.
    pub topic: Option<Str>,
    /// Group of the sender.
    pub producer_group: Str,
    /// Queue offset of the half message.
    pub tran_state_table_offset: i64,
    /// Log position of the half message.
    pub commit_log_offset: i64,
    /// 0 unknown, 8 commit, 12 rollback.
    pub commit_or_rollback: i32,
    /// The answer follows a check.
    pub from_transaction_check: Option<bool>,
    /// Message id.
    pub msg_id: Str,
    /// Unique id the sender gave the message.
    pub transaction_id: Option<Str>,
}

impl Request for EndTransaction {
    const CODE: Code = Code::END_TRANSACTION;
    type Reply = NoHeader;
}

/// The broker asks a producer what became of a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckTransactionState {
    /// The broker that asks; the answer names it again.
    pub bname: Option<Str>,
    /// Topic asked about or written to.
    pub topic: Option<Str>,
    /// Queue offset of the half message.
    pub tran_state_table_offset: i64,
    /// Log position of the half message.
    pub commit_log_offset: i64,
    /// Message id.
    pub msg_id: Option<Str>,
    /// Unique id the sender gave the message.
    pub transaction_id: Option<Str>,
    /// Offset id of the half message.
    pub offset_msg_id: Option<Str>,
}

impl Request for CheckTransactionState {
    const CODE: Code = Code::CHECK_TRANSACTION_STATE;
    type Reply = NoHeader;
}

/// Asks about a half again that was given up, or that is pending: its checks are counted anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResumeCheckHalfMessage {
    /// Topic of the message; not looked at.
    pub topic: Option<Str>,
    /// Offset id of the message.
    pub msg_id: Option<Str>,
}

impl Request for ResumeCheckHalfMessage {
    const CODE: Code = Code::RESUME_CHECK_HALF_MESSAGE;
    type Reply = NoHeader;
}

/// The transactions that have not ended, oldest first. The body is a
/// [`PendingTransactions`](crate::body::transaction::PendingTransactions).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTransactions {
    /// Only those of this producer group.
    pub producer_group: Option<Str>,
    /// From this half-queue offset on.
    #[serde(default)]
    pub from_offset: i64,
    /// So many at most; 0 for as many as the broker gives at once.
    #[serde(default)]
    pub max_num: i32,
}

impl Request for ListTransactions {
    const CODE: Code = Code::LIST_TRANSACTIONS;
    type Reply = NoHeader;
}

/// Commits or rolls back a pending transaction by the half-queue offset that a list gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForceTransaction {
    /// Half-queue offset.
    pub tran_state_table_offset: i64,
    /// 8 commit, 12 rollback.
    pub commit_or_rollback: i32,
}

impl Request for ForceTransaction {
    const CODE: Code = Code::FORCE_TRANSACTION;
    type Reply = NoHeader;
}
