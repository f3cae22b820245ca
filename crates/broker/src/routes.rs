// SPDX-License-Identifier: Apache-2.0
//! The table of contents: every request the broker serves, and the function that does it.

use wire::api::auth::{
    AuthCreateAcl, AuthCreateUser, AuthDeleteAcl, AuthDeleteUser, AuthGetAcl, AuthGetUser, AuthListAcl,
    AuthListUser, AuthUpdateAcl, AuthUpdateUser,
};
use wire::api::clean::{CleanExpiredConsumequeue, CleanUnusedTopic, DeleteExpiredCommitlog};
use wire::api::config::{GetBrokerConfig, GetBrokerRuntimeInfo, ListConfigChanges, UpdateBrokerConfig};
use wire::api::elsewhere::{
    CheckRocksdbCqWriteProgress, ExportRocksdbConfigToJson, GetBrokerEpochCache, GetColdDataFlowCtrInfo,
    NotifyBrokerRoleChanged, PopRollback, RemoveColdDataFlowCtrConfig, SetCommitlogReadMode,
    SwitchTimerEngine, UpdateColdDataFlowCtrConfig,
};
use wire::api::explain::ExplainMessage;
use wire::api::group::{
    DeleteSubscriptiongroup, GetAllProducerInfo, GetAllSubscriptiongroupConfig, GetConsumeStats,
    GetConsumerConnectionList, GetProducerConnectionList, GetSubscriptiongroupConfig,
    ListSubscriptionConflicts, QuerySubscriptionByConsumer, UpdateAndCreateSubscriptiongroup,
    UpdateAndCreateSubscriptiongroupList, UpdateAndGetGroupForbidden,
};
use wire::api::ha::{ExchangeBrokerHaInfo, GetBrokerHaStatus, ReplicaHello, ResetMasterFlushOffset};
use wire::api::heartbeat::{
    CheckClientConfig, ConsumeMessageDirectly, GetConsumerListByGroup, GetConsumerRunningInfo, HeartBeat,
    UnregisterClient,
};
use wire::api::lock::{LockBatchMq, UnlockBatchMq};
use wire::api::offset::{
    CloneGroupOffset, GetAllConsumerOffset, GetAllDelayOffset, GetEarliestMsgStoretime, GetMaxOffset,
    GetMinOffset, InvokeBrokerToGetConsumerStatus, InvokeBrokerToResetOffset, QueryConsumerOffset,
    QueryCorrectionOffset, SearchOffsetByTimestamp, UpdateConsumerOffset,
};
use wire::api::pop::{
    AckMessage, BatchAckMessage, ChangeMessageInvisibletime, GetAllMessageRequestMode, Notification,
    PeekMessage, PollingInfo, PopMessage,
};
use wire::api::pull::{LitePullMessage, PullMessage};
use wire::api::query::{
    GetBrokerConsumeStats, QueryConsumeQueue, QueryConsumeTimeSpan, QueryMessage, ViewMessageById,
};
use wire::api::register::NotifyMinBrokerIdChange;
use wire::api::route::{QueryAssignment, SetMessageRequestMode};
use wire::api::send::{
    ConsumerSendMsgBack, SendBatchMessage, SendMessage, SendMessageV2, SendReplyMessage, SendReplyMessageV2,
};
use wire::api::stats::ViewBrokerStatsData;
use wire::api::timer::{CancelTimer, GetTimerCheckPoint, GetTimerMetrics, ListTimers, RecallMessage};
use wire::api::topic::{
    DeleteTopicInBroker, GetAllTopicConfig, GetSystemTopicListFromBroker, GetTopicConfig, GetTopicStatsInfo,
    QueryTopicConsumeByWho, QueryTopicsByConsumer, UpdateAndCreateStaticTopic, UpdateAndCreateTopic,
    UpdateAndCreateTopicList,
};
use wire::api::transaction::{EndTransaction, ForceTransaction, ListTransactions, ResumeCheckHalfMessage};

use crate::admin::{clean, elsewhere, settings};
use crate::broker::Broker;
use crate::{
    admin, assign, delay, explain, group, heartbeat, lock, logical, offset, peers, pop, pull, query, relay,
    replication, send, stats, timer, topic, transaction,
};

net::routes! { Broker;
    SendMessageV2 => send::send_message_v2;
    SendMessage => send::send_message;
    SendBatchMessage => send::send_batch_message;
    ConsumerSendMsgBack => send::back::consumer_send_msg_back;
    SendReplyMessageV2 => send::send_reply_message_v2;
    SendReplyMessage => send::send_reply_message;

    EndTransaction => transaction::end_transaction;
    ResumeCheckHalfMessage => transaction::admin::resume, logged;
    ListTransactions => transaction::admin::list;
    ForceTransaction => transaction::admin::force, logged;

    PullMessage => pull::pull_message;
    LitePullMessage => pull::lite_pull_message;

    PopMessage => pop::pop_message;
    AckMessage => pop::ack_message;
    BatchAckMessage => pop::batch_ack_message;
    ChangeMessageInvisibletime => pop::change_invisible_time;
    PeekMessage => pop::peek_message;
    Notification => pop::notification;
    PollingInfo => pop::polling_info;

    QueryAssignment => assign::query_assignment;
    SetMessageRequestMode => assign::set_mode, logged;
    GetAllMessageRequestMode => assign::all_modes;

    UpdateConsumerOffset => offset::update_consumer_offset;
    QueryConsumerOffset => offset::query_consumer_offset;
    GetMaxOffset => offset::max_offset;
    GetMinOffset => offset::min_offset;
    SearchOffsetByTimestamp => offset::offset_by_time;
    GetEarliestMsgStoretime => offset::earliest_store_time;
    GetAllConsumerOffset => offset::all_consumer_offsets;
    GetAllDelayOffset => delay::all_offsets;
    InvokeBrokerToResetOffset => offset::reset::reset_offset, logged;
    CloneGroupOffset => offset::reset::clone_offset, logged;
    QueryCorrectionOffset => offset::reset::correction_offset;

    RecallMessage => timer::recall_message;
    GetTimerCheckPoint => timer::check_point;
    GetTimerMetrics => timer::metrics;
    ListTimers => timer::list_timers;
    CancelTimer => timer::cancel_timer, logged;

    HeartBeat => heartbeat::heart_beat;
    UnregisterClient => heartbeat::unregister_client;
    CheckClientConfig => heartbeat::check_client;
    GetConsumerListByGroup => heartbeat::consumer_ids;
    GetConsumerConnectionList => heartbeat::consumer_connections;
    GetProducerConnectionList => heartbeat::producer_connections;
    GetAllProducerInfo => heartbeat::all_producers;
    ListSubscriptionConflicts => group::conflicts::list;

    GetConsumerRunningInfo => relay::running_info;
    ConsumeMessageDirectly => relay::consume_directly, logged;
    InvokeBrokerToGetConsumerStatus => relay::consumer_status;

    LockBatchMq => lock::lock_queues;
    UnlockBatchMq => lock::unlock_queues;

    QueryMessage => query::query_message;
    ViewMessageById => query::view_message;
    ExplainMessage => explain::explain_message;
    GetConsumeStats => query::consume_stats;
    QueryTopicsByConsumer => query::topics_by_group;
    QuerySubscriptionByConsumer => query::subscription_by_group;
    QueryConsumeTimeSpan => query::progress::time_spans;
    GetBrokerConsumeStats => query::progress::broker_stats;
    QueryConsumeQueue => query::progress::queue_contents;

    UpdateAndCreateTopic => topic::requests::update_topic, logged;
    UpdateAndCreateTopicList => topic::requests::update_topics, logged;
    UpdateAndCreateStaticTopic => logical::requests::update_static_topic, logged;
    GetAllTopicConfig => topic::requests::all_topics;
    GetTopicConfig => topic::requests::one_topic;
    DeleteTopicInBroker => topic::requests::delete_topic, logged;
    GetTopicStatsInfo => topic::requests::topic_stats;
    GetSystemTopicListFromBroker => topic::requests::system_topics;
    QueryTopicConsumeByWho => topic::requests::consumed_by;

    UpdateAndCreateSubscriptiongroup => group::requests::update_group, logged;
    UpdateAndCreateSubscriptiongroupList => group::requests::update_groups, logged;
    GetAllSubscriptiongroupConfig => group::requests::all_groups;
    GetSubscriptiongroupConfig => group::requests::one_group;
    UpdateAndGetGroupForbidden => group::requests::forbid, logged;
    DeleteSubscriptiongroup => group::requests::delete_group, logged;

    UpdateBrokerConfig => settings::update_config, logged_without_body;
    GetBrokerConfig => settings::read_config;
    GetBrokerRuntimeInfo => admin::runtime_info;
    ListConfigChanges => settings::changes;
    SwitchTimerEngine => settings::switch_timers, logged;

    CleanExpiredConsumequeue => clean::expired_queues, logged;
    CleanUnusedTopic => clean::unused_topics, logged;
    DeleteExpiredCommitlog => clean::expired_files, logged;

    CheckRocksdbCqWriteProgress => elsewhere::queue_progress;
    ExportRocksdbConfigToJson => elsewhere::export_tables;
    PopRollback => elsewhere::pop_rollback;
    GetBrokerEpochCache => elsewhere::epochs;
    NotifyBrokerRoleChanged => elsewhere::role_changed;
    UpdateColdDataFlowCtrConfig => elsewhere::set_cold_bounds;
    RemoveColdDataFlowCtrConfig => elsewhere::remove_cold_bound;
    GetColdDataFlowCtrInfo => elsewhere::cold_bounds;
    SetCommitlogReadMode => elsewhere::read_mode;
    AuthCreateUser => elsewhere::create_user;
    AuthUpdateUser => elsewhere::update_user;
    AuthDeleteUser => elsewhere::delete_user;
    AuthGetUser => elsewhere::user;
    AuthListUser => elsewhere::users;
    AuthCreateAcl => elsewhere::create_acl;
    AuthUpdateAcl => elsewhere::update_acl;
    AuthDeleteAcl => elsewhere::delete_acl;
    AuthGetAcl => elsewhere::acl;
    AuthListAcl => elsewhere::acls;

    ViewBrokerStatsData => stats::view;
    GetBrokerHaStatus => replication::ha_status;
    ResetMasterFlushOffset => replication::set_master_flush_offset;
    NotifyMinBrokerIdChange => peers::min_id_changed;
    ExchangeBrokerHaInfo => replication::exchange;
    ReplicaHello => replication::hello;
}
