// SPDX-License-Identifier: Apache-2.0
//! Settings and state of a server, as text.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Changes settings of a broker; properties text in the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateBrokerConfig;

impl Request for UpdateBrokerConfig {
    const CODE: Code = Code::UPDATE_BROKER_CONFIG;
    type Reply = NoHeader;
}

/// Asks for the settings of a broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetBrokerConfig;

impl Request for GetBrokerConfig {
    const CODE: Code = Code::GET_BROKER_CONFIG;
    type Reply = GetBrokerConfigReply;
}

/// The version of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetBrokerConfigReply {
    /// Data version, JSON.
    pub version: Option<Str>,
}

/// Asks a broker how it is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetBrokerRuntimeInfo;

impl Request for GetBrokerRuntimeInfo {
    const CODE: Code = Code::GET_BROKER_RUNTIME_INFO;
    type Reply = NoHeader;
}

/// Changes settings of a name server; properties text in the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateNamesrvConfig;

impl Request for UpdateNamesrvConfig {
    const CODE: Code = Code::UPDATE_NAMESRV_CONFIG;
    type Reply = NoHeader;
}

/// Asks for the settings of a name server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetNamesrvConfig;

impl Request for GetNamesrvConfig {
    const CODE: Code = Code::GET_NAMESRV_CONFIG;
    type Reply = NoHeader;
}

/// Lists changes of settings, newest first. The reference has no such request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListConfigChanges {
    /// Of this setting only.
    pub key: Option<Str>,
    /// Most of them; 100 where nothing is said.
    pub max: Option<i32>,
    /// Those in front of this one: `next` of the answer before.
    pub next: Option<i64>,
}

impl Request for ListConfigChanges {
    const CODE: Code = Code::LIST_CONFIG_CHANGES;
    type Reply = NoHeader;
}
