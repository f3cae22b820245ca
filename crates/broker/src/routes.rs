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
    SendMessageV2 => send::send_message_v2, open;
    SendMessage => send::send_message, open;
    SendBatchMessage => send::send_batch_message, open;
    ConsumerSendMsgBack => send::back::consumer_send_msg_back, open;
    SendReplyMessageV2 => send::send_reply_message_v2, open;
    SendReplyMessage => send::send_reply_message, open;

    EndTransaction => transaction::end_transaction, open;
    ResumeCheckHalfMessage => transaction::admin::resume, logged;
    ListTransactions => transaction::admin::list, open;
    ForceTransaction => transaction::admin::force, logged;

    PullMessage => pull::pull_message, open;
    LitePullMessage => pull::lite_pull_message, open;

    PopMessage => pop::pop_message, open;
    AckMessage => pop::ack_message, open;
    BatchAckMessage => pop::batch_ack_message, open;
    ChangeMessageInvisibletime => pop::change_invisible_time, open;
    PeekMessage => pop::peek_message, open;
    Notification => pop::notification, open;
    PollingInfo => pop::polling_info, open;

    QueryAssignment => assign::query_assignment, open;
    SetMessageRequestMode => assign::set_mode, logged;
    GetAllMessageRequestMode => assign::all_modes, open;

    UpdateConsumerOffset => offset::update_consumer_offset, open;
    QueryConsumerOffset => offset::query_consumer_offset, open;
    GetMaxOffset => offset::max_offset, open;
    GetMinOffset => offset::min_offset, open;
    SearchOffsetByTimestamp => offset::offset_by_time, open;
    GetEarliestMsgStoretime => offset::earliest_store_time, open;
    GetAllConsumerOffset => offset::all_consumer_offsets, open;
    GetAllDelayOffset => delay::all_offsets, open;
    InvokeBrokerToResetOffset => offset::reset::reset_offset, logged;
    CloneGroupOffset => offset::reset::clone_offset, logged;
    QueryCorrectionOffset => offset::reset::correction_offset, open;

    RecallMessage => timer::recall_message, open;
    GetTimerCheckPoint => timer::check_point, open;
    GetTimerMetrics => timer::metrics, open;
    ListTimers => timer::list_timers, open;
    CancelTimer => timer::cancel_timer, logged;

    HeartBeat => heartbeat::heart_beat, open;
    UnregisterClient => heartbeat::unregister_client, open;
    CheckClientConfig => heartbeat::check_client, open;
    GetConsumerListByGroup => heartbeat::consumer_ids, open;
    GetConsumerConnectionList => heartbeat::consumer_connections, open;
    GetProducerConnectionList => heartbeat::producer_connections, open;
    GetAllProducerInfo => heartbeat::all_producers, open;
    ListSubscriptionConflicts => group::conflicts::list, open;

    GetConsumerRunningInfo => relay::running_info, open;
    ConsumeMessageDirectly => relay::consume_directly, logged;
    InvokeBrokerToGetConsumerStatus => relay::consumer_status, open;

    LockBatchMq => lock::lock_queues, open;
    UnlockBatchMq => lock::unlock_queues, open;

    QueryMessage => query::query_message, open;
    ViewMessageById => query::view_message, open;
    ExplainMessage => explain::explain_message, open;
    GetConsumeStats => query::consume_stats, open;
    QueryTopicsByConsumer => query::topics_by_group, open;
    QuerySubscriptionByConsumer => query::subscription_by_group, open;
    QueryConsumeTimeSpan => query::progress::time_spans, open;
    GetBrokerConsumeStats => query::progress::broker_stats, open;
    QueryConsumeQueue => query::progress::queue_contents, open;

    UpdateAndCreateTopic => topic::requests::update_topic, logged;
    UpdateAndCreateTopicList => topic::requests::update_topics, logged;
    UpdateAndCreateStaticTopic => logical::requests::update_static_topic, logged;
    GetAllTopicConfig => topic::requests::all_topics, open;
    GetTopicConfig => topic::requests::one_topic, open;
    DeleteTopicInBroker => topic::requests::delete_topic, logged;
    GetTopicStatsInfo => topic::requests::topic_stats, open;
    GetSystemTopicListFromBroker => topic::requests::system_topics, open;
    QueryTopicConsumeByWho => topic::requests::consumed_by, open;

    UpdateAndCreateSubscriptiongroup => group::requests::update_group, logged;
    UpdateAndCreateSubscriptiongroupList => group::requests::update_groups, logged;
    GetAllSubscriptiongroupConfig => group::requests::all_groups, open;
    GetSubscriptiongroupConfig => group::requests::one_group, open;
    UpdateAndGetGroupForbidden => group::requests::forbid, logged;
    DeleteSubscriptiongroup => group::requests::delete_group, logged;

    UpdateBrokerConfig => settings::update_config, logged_without_body;
    GetBrokerConfig => settings::read_config, open;
    GetBrokerRuntimeInfo => admin::runtime_info, open;
    ListConfigChanges => settings::changes, open;
    SwitchTimerEngine => settings::switch_timers, logged;

    CleanExpiredConsumequeue => clean::expired_queues, logged;
    CleanUnusedTopic => clean::unused_topics, logged;
    DeleteExpiredCommitlog => clean::expired_files, logged;

    CheckRocksdbCqWriteProgress => elsewhere::queue_progress, open;
    ExportRocksdbConfigToJson => elsewhere::export_tables, open;
    PopRollback => elsewhere::pop_rollback, open;
    GetBrokerEpochCache => elsewhere::epochs, open;
    NotifyBrokerRoleChanged => elsewhere::role_changed, open;
    UpdateColdDataFlowCtrConfig => elsewhere::set_cold_bounds, logged;
    RemoveColdDataFlowCtrConfig => elsewhere::remove_cold_bound, logged;
    GetColdDataFlowCtrInfo => elsewhere::cold_bounds, open;
    SetCommitlogReadMode => elsewhere::read_mode, open;
    AuthCreateUser => elsewhere::create_user, open;
    AuthUpdateUser => elsewhere::update_user, open;
    AuthDeleteUser => elsewhere::delete_user, open;
    AuthGetUser => elsewhere::user, open;
    AuthListUser => elsewhere::users, open;
    AuthCreateAcl => elsewhere::create_acl, open;
    AuthUpdateAcl => elsewhere::update_acl, open;
    AuthDeleteAcl => elsewhere::delete_acl, open;
    AuthGetAcl => elsewhere::acl, open;
    AuthListAcl => elsewhere::acls, open;

    ViewBrokerStatsData => stats::view, open;
    GetBrokerHaStatus => replication::ha_status, open;
    ResetMasterFlushOffset => replication::set_master_flush_offset, logged;
    NotifyMinBrokerIdChange => peers::min_id_changed, open;
    ExchangeBrokerHaInfo => replication::exchange, open;
    ReplicaHello => replication::hello, open;
}
