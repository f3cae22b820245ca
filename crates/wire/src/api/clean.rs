// SPDX-License-Identifier: Apache-2.0
//! Asking a broker to remove at once what it would remove some time.

use serde::{Deserialize, Serialize};

use crate::code::{Code, NoHeader, Request};

/// Removes what queues have in front of the start of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanExpiredConsumequeue;

impl Request for CleanExpiredConsumequeue {
    const CODE: Code = Code::CLEAN_EXPIRED_CONSUMEQUEUE;
    type Reply = NoHeader;
}

/// Removes the queues of topics that are not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanUnusedTopic;

impl Request for CleanUnusedTopic {
    const CODE: Code = Code::CLEAN_UNUSED_TOPIC;
    type Reply = NoHeader;
}

/// Removes expired files of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteExpiredCommitlog;

impl Request for DeleteExpiredCommitlog {
    const CODE: Code = Code::DELETE_EXPIRED_COMMITLOG;
    type Reply = NoHeader;
}
