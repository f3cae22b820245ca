// SPDX-License-Identifier: Apache-2.0
//! What a broker counts.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Asks how often something happened in the last minute, hour and day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewBrokerStatsData {
    /// What is counted: `TOPIC_PUT_NUMS` and the like.
    pub stats_name: Str,
    /// Of what: `topic`, `topic@group` and the like.
    pub stats_key: Str,
}

impl Request for ViewBrokerStatsData {
    const CODE: Code = Code::VIEW_BROKER_STATS_DATA;
    type Reply = NoHeader;
}
