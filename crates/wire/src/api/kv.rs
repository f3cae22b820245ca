// SPDX-License-Identifier: Apache-2.0
//! The key-value table of the name server.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Sets a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PutKvConfig {
    /// Namespace of the key.
    pub namespace: Str,
    /// Key.
    pub key: Str,
    /// Value.
    pub value: Str,
}

impl Request for PutKvConfig {
    const CODE: Code = Code::PUT_KV_CONFIG;
    type Reply = NoHeader;
}

/// Asks for a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetKvConfig {
    /// Namespace of the key.
    pub namespace: Str,
    /// Key.
    pub key: Str,
}

impl Request for GetKvConfig {
    const CODE: Code = Code::GET_KV_CONFIG;
    type Reply = GetKvConfigReply;
}

/// The value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetKvConfigReply {
    /// Value.
    pub value: Option<Str>,
}

/// Removes a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteKvConfig {
    /// Namespace of the key.
    pub namespace: Str,
    /// Key.
    pub key: Str,
}

impl Request for DeleteKvConfig {
    const CODE: Code = Code::DELETE_KV_CONFIG;
    type Reply = NoHeader;
}

/// Asks for all values of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetKvlistByNamespace {
    /// Namespace of the key.
    pub namespace: Str,
}

impl Request for GetKvlistByNamespace {
    const CODE: Code = Code::GET_KVLIST_BY_NAMESPACE;
    type Reply = NoHeader;
}
