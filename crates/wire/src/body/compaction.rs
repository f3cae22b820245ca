// SPDX-License-Identifier: Apache-2.0
//! `compaction/position-checkpoint`: how far the queues of compacted topics are compacted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompactionPositions {
    /// By `<topic>_<queueId>` the offset of the newest message that was looked at.
    #[serde(default)]
    pub queue_offset_map: BTreeMap<String, i64>,
}
