// SPDX-License-Identifier: Apache-2.0
//! Locks on queues, for orderly consumption.

use serde::{Deserialize, Serialize};

use crate::code::{Code, NoHeader, Request};

/// Locks queues for one client; they are in the body (`LockBatch`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockBatchMq {}

impl Request for LockBatchMq {
    const CODE: Code = Code::LOCK_BATCH_MQ;
    type Reply = NoHeader;
}

/// Gives locks back; the queues are in the body (`UnlockBatch`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlockBatchMq {}

impl Request for UnlockBatchMq {
    const CODE: Code = Code::UNLOCK_BATCH_MQ;
    type Reply = NoHeader;
}
