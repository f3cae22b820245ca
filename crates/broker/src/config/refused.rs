// SPDX-License-Identifier: Apache-2.0
//! Settings of the reference that would promise what this broker does not do yet. Starting with them anyway would lose
//! messages, open doors or stall clients, so it does not start. A line goes when the behaviour comes.

use std::fmt;

/// A setting and the values that are refused.
pub(super) struct Refused {
    pub(super) key: &'static str,
    pub(super) asks: Asks,
    pub(super) why: &'static str,
}

/// Which values ask for the missing behaviour.
pub(super) enum Asks {
    True,
    One(&'static [&'static str]),
    AnythingBut(&'static str),
}

impl fmt::Display for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asks::True => f.write_str("`true`"),
            Asks::One(values) => write!(f, "`{}`", values.join("`, `")),
            Asks::AnythingBut("") => f.write_str("set"),
            Asks::AnythingBut(value) => write!(f, "other than `{value}`"),
        }
    }
}

impl Asks {
    fn asks(&self, value: &str) -> bool {
        match self {
            Asks::True => value.eq_ignore_ascii_case("true"),
            Asks::One(values) => values.iter().any(|v| v.eq_ignore_ascii_case(value)),
            Asks::AnythingBut(allowed) => value != *allowed,
        }
    }
}

/// Why the broker does not start with this value, if it does not.
pub(super) fn why(key: &str, value: &str) -> Option<&'static str> {
    REFUSED
        .iter()
        .find(|r| r.key == key && r.asks.asks(value))
        .map(|r| r.why)
}

/// Whether some value of this setting is refused; then every other value is what this broker does anyway.
pub(super) fn is_refusable(key: &str) -> bool {
    REFUSED.iter().any(|r| r.key == key)
}

macro_rules! refused {
    ($($key:literal, $asks:expr, $why:expr;)+) => {
        &[$(Refused { key: $key, asks: $asks, why: $why },)+]
    };
}

const REPLICATION: &str = "that kind of replication is not there";
const CONTROLLER: &str = "automatic failover is not there yet";
const ACCESS_CONTROL: &str = "access control is not there yet, every request would be let through";
const TLS: &str = "encrypted connections are not there yet";
const ROCKSDB: &str = "there is no RocksDB store; data is kept in files";

pub(super) const REFUSED: &[Refused] = refused! {
    "duplicationEnable", Asks::True, REPLICATION;
    "enableControllerMode", Asks::True, CONTROLLER;
    "enableDLegerCommitLog", Asks::True, CONTROLLER;
    "isBrokerContainer", Asks::True, "one process runs one broker";
    "isInBrokerContainer", Asks::True, "one process runs one broker";
    "aclEnable", Asks::True, ACCESS_CONTROL;
    "authenticationEnabled", Asks::True, ACCESS_CONTROL;
    "authorizationEnabled", Asks::True, ACCESS_CONTROL;
    "migrateAuthFromV1Enabled", Asks::True, ACCESS_CONTROL;
    "tls.server.mode", Asks::One(&["enforcing"]), TLS;
    "tls.enable", Asks::True, TLS;
    "useTLS", Asks::True, TLS;
    "socksProxyConfig", Asks::AnythingBut("{}"), "connections through a proxy are not there yet";
    "storeType", Asks::AnythingBut("default"),
        "there is no RocksDB store; for very many queues there is consumeQueueLayout=compact";
    "configManagerVersion", Asks::AnythingBut("v1"), ROCKSDB;
    "useSingleRocksDBForAllConfigs", Asks::True, ROCKSDB;
    "rocksdbCQDoubleWriteEnable", Asks::True, ROCKSDB;
    "indexRocksDBEnable", Asks::True, ROCKSDB;
    "transRocksDBEnable", Asks::True, ROCKSDB;
    "timerRocksDBEnable", Asks::True, ROCKSDB;
    "popConsumerKVServiceEnable", Asks::True, "leases are kept in a journal, not in RocksDB";
    "useStaticSubscription", Asks::True, "subscriptions come from heartbeats only";
    "enableLmq", Asks::True, "light message queues are not there yet";
    "enableMultiDispatch", Asks::True, "light message queues are not there yet";
    "enableConsumeQueueExt", Asks::True, "extended consume queues are not there yet";
    "autoMessageVersionOnTopicLen", Asks::One(&["false"]), "retry topics may be longer than 127 bytes";
    "readOnlyCommitLogStorePaths", Asks::AnythingBut(""), "the commit log lies in one directory";
    "messageStorePlugIn", Asks::AnythingBut(""), "there are no store plug-ins";
    "coldDataFlowControlEnable", Asks::True, "flow control by cold data is not there yet";
    "disableConsumeIfConsumerReadSlowly", Asks::True, "slow groups are not stopped";
    "enableNetWorkFlowControl", Asks::True, "flow control by rate is not there yet";
    "fetchNamesrvAddrByAddressServer", Asks::True, "name servers are listed in namesrvAddr only";
    "fetchNameSrvAddrByDnsLookup", Asks::True, "name servers are listed in namesrvAddr only";
};
