// SPDX-License-Identifier: Apache-2.0
//! All commands, in the order in which the reference lists them. What one does stands below the folder of its subject.

mod batch;
mod broker;
mod cluster;
mod connection;
mod export;
mod group;
pub(crate) mod lookup;
mod message;
mod nameserver;
mod offset;
mod ours;
mod progress;
mod queue;
mod running;
mod statics;
mod stats;
mod topic;

use crate::command::Command;

/// All commands, those of the reference first.
pub fn every() -> impl Iterator<Item = &'static Command> {
    ALL.iter().chain(OURS).copied()
}

/// What the reference does not have.
pub static OURS: &[&Command] = &[
    &ours::explain::EXPLAIN,
    &ours::tail::TAIL,
    &ours::dlq::DLQ,
    &ours::timers::TIMERS,
    &ours::transactions::TRANSACTIONS,
    &ours::doctor::DOCTOR,
    &ours::changes::CONFIG_HISTORY,
];

/// What is called like a command of this table, and is run by another crate: name and what it does.
pub const BENCH: (&str, &str) = (
    "bench",
    "Load a server and tell how it did; same as barque bench.",
);

/// What is listed by `help` of the reference.
pub static ALL: &[&Command] = &[
    &topic::update::UPDATE_TOPIC,
    &topic::batch::UPDATE_TOPIC_LIST,
    &topic::delete::DELETE_TOPIC,
    &group::update::UPDATE_SUB_GROUP,
    &group::batch::UPDATE_SUB_GROUP_LIST,
    &group::mode::SET_CONSUME_MODE,
    &group::delete::DELETE_SUB_GROUP,
    &broker::config::UPDATE_BROKER_CONFIG,
    &topic::perm::UPDATE_TOPIC_PERM,
    &topic::route::TOPIC_ROUTE,
    &topic::status::TOPIC_STATUS,
    &topic::list::TOPIC_CLUSTER_LIST,
    &Command::absent(
        "addBroker",
        "broker containers",
        "Add a broker to specified container.",
    ),
    &Command::absent(
        "removeBroker",
        "broker containers",
        "Remove a broker from specified container.",
    ),
    &broker::replication::RESET_MASTER_FLUSH_OFFSET,
    &broker::status::BROKER_STATUS,
    &message::by_id::QUERY_MSG_BY_ID,
    &message::by_key::QUERY_MSG_BY_KEY,
    &message::by_id::QUERY_MSG_BY_UNIQUE_KEY,
    &message::by_id::QUERY_MSG_BY_OFFSET,
    &message::trace::QUERY_MSG_TRACE_BY_ID,
    &message::print::PRINT_MSG,
    &message::print::PRINT_MSG_BY_QUEUE,
    &message::send::SEND_MSG_STATUS,
    &progress::BROKER_CONSUME_STATS,
    &connection::PRODUCER_CONNECTION,
    &connection::CONSUMER_CONNECTION,
    &progress::CONSUMER_PROGRESS,
    &running::status::CONSUMER_STATUS,
    &offset::copy::CLONE_GROUP_OFFSET,
    &connection::PRODUCER,
    &cluster::list::CLUSTER_LIST,
    &topic::list::TOPIC_LIST,
    &nameserver::kv::UPDATE_KV_CONFIG,
    &nameserver::kv::DELETE_KV_CONFIG,
    &nameserver::perm::WIPE_WRITE_PERM,
    &nameserver::perm::ADD_WRITE_PERM,
    &offset::reset::RESET_OFFSET_BY_TIME,
    &offset::reset::SKIP_ACCUMULATED_MESSAGE,
    &topic::order::UPDATE_ORDER_CONF,
    &broker::clean::CLEAN_EXPIRED_CQ,
    &broker::clean::DELETE_EXPIRED_COMMIT_LOG,
    &broker::clean::CLEAN_UNUSED_TOPIC,
    &running::monitor::START_MONITORING,
    &stats::STATS_ALL,
    &topic::allocate::ALLOCATE_MQ,
    &message::send::CHECK_MSG_SEND_RT,
    &cluster::rt::CLUSTER_RT,
    &nameserver::config::GET_NAMESRV_CONFIG,
    &nameserver::config::UPDATE_NAMESRV_CONFIG,
    &broker::config::GET_BROKER_CONFIG,
    &group::config::GET_CONSUMER_CONFIG,
    &queue::QUERY_CQ,
    &message::send::SEND_MESSAGE,
    &message::consume::CONSUME_MESSAGE,
    &statics::update::UPDATE_STATIC_TOPIC,
    &statics::remap::REMAPPING_STATIC_TOPIC,
    &export::metadata::EXPORT_METADATA,
    &export::configs::EXPORT_CONFIGS,
    &export::metrics::EXPORT_METRICS,
    &export::rocksdb::EXPORT_METADATA_IN_ROCKS_DB,
    &export::pop::EXPORT_POP_RECORD,
    &broker::replication::HA_STATUS,
    &Command::absent(
        "getSyncStateSet",
        "controllers",
        "Fetch syncStateSet for target brokers.",
    ),
    &broker::replication::GET_BROKER_EPOCH,
    &Command::absent(
        "getControllerMetaData",
        "controllers",
        "Get controller cluster's metadata.",
    ),
    &Command::absent("getControllerConfig", "controllers", "Get controller config."),
    &Command::absent(
        "updateControllerConfig",
        "controllers",
        "Update controller config.",
    ),
    &Command::absent(
        "electMaster",
        "controllers",
        "Re-elect the specified broker as master.",
    ),
    &Command::absent(
        "cleanBrokerMetadata",
        "controllers",
        "Clean metadata of broker on controller.",
    ),
    &message::compaction::DUMP_COMPACTION_LOG,
    &Command::absent(
        "getColdDataFlowCtrInfo",
        "cold data",
        "Get cold data flow ctr info.",
    ),
    &Command::absent(
        "updateColdDataFlowCtrGroupConfig",
        "cold data",
        "Add or update cold data flow ctr group config.",
    ),
    &Command::absent(
        "removeColdDataFlowCtrGroupConfig",
        "cold data",
        "Remove consumer from cold ctr config.",
    ),
    &Command::absent(
        "setCommitLogReadAheadMode",
        "cold data",
        "Set read ahead mode for all commitlog files.",
    ),
    &Command::absent("createUser", "users and access rules", "Create user to cluster."),
    &Command::absent("updateUser", "users and access rules", "Update user to cluster."),
    &Command::absent(
        "deleteUser",
        "users and access rules",
        "Delete user from cluster.",
    ),
    &Command::absent("getUser", "users and access rules", "Get user from cluster."),
    &Command::absent("listUser", "users and access rules", "List user from cluster."),
    &Command::absent("copyUser", "users and access rules", "Copy user to cluster."),
    &Command::absent("createAcl", "users and access rules", "Create acl to cluster."),
    &Command::absent("updateAcl", "users and access rules", "Update acl to cluster."),
    &Command::absent("deleteAcl", "users and access rules", "Delete acl from cluster."),
    &Command::absent("getAcl", "users and access rules", "Get acl from cluster."),
    &Command::absent("listAcl", "users and access rules", "List acl from cluster."),
    &Command::absent("copyAcl", "users and access rules", "Copy acl to cluster."),
    &export::rocksdb::ROCKS_DB_CONFIG_TO_JSON,
    &export::rocksdb::CHECK_ROCKSDB_CQ_WRITE_PROGRESS,
    &broker::timer::SWITCH_TIMER_ENGINE,
];
