// SPDX-License-Identifier: Apache-2.0
//! Replication: who a slave is, and how operators ask about it.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Asks how replication goes (`HARuntimeInfo` in the body of the answer).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetBrokerHaStatus;

impl Request for GetBrokerHaStatus {
    const CODE: Code = Code::GET_BROKER_HA_STATUS;
    type Reply = NoHeader;
}

/// A slave says who it is before it follows. The reference has no such request.
///
/// Where both sides have a secret it is asked twice. The first answer brings a challenge and the proof of the master for the
/// challenge of the slave; the second request carries the proof of the slave for that of the master. A proof is
/// HMAC-SHA-256 in hexadecimal digits. The token of the answer opens one link: the slave sends it, negated, as its first
/// report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaHello {
    /// Cluster of the slave.
    pub cluster_name: Str,
    /// Name of the slave, and so of its master.
    pub broker_name: Str,
    /// Number of the slave among those of its name.
    pub broker_id: i64,
    /// What the master is to prove itself for.
    pub challenge: Str,
    /// The challenge of the master that `proof` is for.
    pub answers: Option<Str>,
    /// That the slave has the secret.
    pub proof: Option<Str>,
}

impl Request for ReplicaHello {
    const CODE: Code = Code::REPLICA_HELLO;
    type Reply = ReplicaHelloReply;
}

/// What a master says to that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaHelloReply {
    /// What the slave is to prove itself for.
    pub challenge: Option<Str>,
    /// That the master has the secret.
    pub proof: Option<Str>,
    /// Above 0; opens one link within ten seconds.
    pub token: Option<i64>,
}

/// Where a master is: without an address a question to it, with one what a master that comes back says to its slaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExchangeBrokerHaInfo {
    /// Replication port of the master, `host:port`.
    pub master_ha_address: Option<Str>,
    /// Where the log of the master ended when it started, bytes.
    pub master_flush_offset: Option<i64>,
    /// Where the master takes requests, `host:port`.
    pub master_address: Option<Str>,
}

impl Request for ExchangeBrokerHaInfo {
    const CODE: Code = Code::EXCHANGE_BROKER_HA_INFO;
    /// Without fields from a slave, and where nothing was asked.
    type Reply = ExchangeBrokerHaInfo;
}

/// Tells a slave where the log of its master ended when that started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResetMasterFlushOffset {
    /// Bytes. A slave must be told; the reference's master does not look.
    pub master_flush_offset: Option<i64>,
}

impl Request for ResetMasterFlushOffset {
    const CODE: Code = Code::RESET_MASTER_FLUSH_OFFSET;
    type Reply = NoHeader;
}
