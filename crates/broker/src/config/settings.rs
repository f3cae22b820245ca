// SPDX-License-Identifier: Apache-2.0
//! Every setting that has an effect: its name in the file, its type, its default, and what it does. The list is the
//! whole truth: the struct, the parser, the answer to request 26 and the reference page are made from it.
//!
//! `start` settings are read when the broker starts; `live` ones also take effect when request 25 changes them; `fixed` ones
//! that request never changes, because they name places of this host, other hosts, secrets, or what may be changed and by whom.

use store::QueueLayout;
use wire::Str;

use super::value::{BrokerRole, FlushDiskType, MetricsExporterType, RequestMode, Secret, SparePort, Value};

/// What is known about a setting besides its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) kind: &'static str,
    pub(super) when: When,
    pub(super) doc: &'static str,
}

/// When a changed setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once.
    Live,
    /// At the next start.
    Start,
    /// At the next start, and no request may change it.
    Fixed,
}

/// What became of an assignment.
pub(super) enum Put {
    Done(When),
    WrongType(&'static str),
    NoSuchKey,
}

/// Whether the value of a setting is shown to nobody.
pub(super) fn is_secret(key: &str) -> bool {
    let kind = <Secret as Value>::KIND;
    SETTINGS
        .iter()
        .any(|setting| setting.key == key && setting.kind == kind)
}

macro_rules! settings {
    (@when live) => { When::Live };
    (@when start) => { When::Start };
    (@when fixed) => { When::Fixed };
    ($(section $section:literal $(
        $(#[doc = $doc:literal])+
        $when:ident $field:ident: $type:ty = $default:expr, $key:literal;
    )+)+) => {
        /// The settings of a broker. Fields carry the reference's names in snake case.
        #[derive(Debug, Clone)]
        pub struct Config {
            $($($(#[doc = $doc])+ pub $field: $type,)+)+
        }

        impl Default for Config {
            fn default() -> Config {
                Config { $($($field: $default,)+)+ }
            }
        }

        pub(super) const SETTINGS: &[Setting] = &[$($(Setting {
            section: $section,
            key: $key,
            kind: <$type as Value>::KIND,
            when: settings!(@when $when),
            doc: concat!($($doc),+),
        },)+)+];

        impl Config {
            pub(super) fn put(&mut self, key: &str, text: &str) -> Put {
                match key {
                    $($($key => match <$type as Value>::read(text) {
                        Some(value) => {
                            self.$field = value;
                            Put::Done(settings!(@when $when))
                        }
                        None => Put::WrongType(<$type as Value>::WANTED),
                    },)+)+
                    _ => Put::NoSuchKey,
                }
            }

            /// The value of a setting as it would stand in a file.
            pub fn get(&self, key: &str) -> Option<String> {
                match key {
                    $($($key => Some(self.$field.show()),)+)+
                    _ => None,
                }
            }
        }
    };
}

settings! {
    section "Who the broker is"
    /// Name of the cluster the broker belongs to.
    start broker_cluster_name: Str = Str::const_new("DefaultCluster"), "brokerClusterName";
    /// Name of the broker, unique among all clusters of a name server. Empty: the host name.
    start broker_name: Str = Str::const_new(""), "brokerName";
    /// 0: the master. Above: a slave, with brokerRole=SLAVE.
    start broker_id: i64 = 0, "brokerId";
    /// Part the broker plays among its replicas.
    start broker_role: BrokerRole = BrokerRole::AsyncMaster, "brokerRole";
    /// Address (a name works too) that clients are told to connect to; it is also written into every message. Empty: an
    /// address of this host.
    fixed broker_ip1: Str = Str::const_new(""), "brokerIP1";
    /// Address told to replicas. Empty: like brokerIP1.
    fixed broker_ip2: Str = Str::const_new(""), "brokerIP2";
    /// Name of the region, written into messages and answers as MSG_REGION.
    live region_id: Str = Str::const_new("DefaultRegion"), "regionId";
    /// Home directory of the installation; environment ROCKETMQ_HOME.
    fixed rocketmq_home: Str = Str::const_new(""), "rocketmqHome";
    /// The file these settings came from; request 25 writes changes back to it.
    fixed broker_config_path: Str = Str::const_new(""), "brokerConfigPath";
    /// Settings that request 25 may not change, joined by `;`.
    fixed config_black_list: Str = Str::const_new("configBlackList;brokerConfigPath"), "configBlackList";

    section "Ports"
    /// Port of the broker. The port two below it serves everything but the pulls; 0 takes free ports.
    start listen_port: u16 = 10911, "listenPort";
    /// Address to listen on.
    fixed bind_address: Str = Str::const_new("0.0.0.0"), "bindAddress";
    /// Port on which slaves are served. 0: the one above listenPort.
    start ha_listen_port: u16 = 0, "haListenPort";
    /// A connection on which nothing was read or written for so many seconds is closed.
    start server_channel_max_idle_time_seconds: u32 = 120, "serverChannelMaxIdleTimeSeconds";
    /// Bytes that the system keeps of each connection until they are read; it adds as much for what it needs itself. 0: 262144.
    start server_socket_rcv_buf_size: u32 = 0, "serverSocketRcvBufSize";
    /// Upon a stop clients are told to go elsewhere (GO_AWAY) for shutdownWaitTimeSeconds, before connections end.
    live enable_shutdown_gracefully: bool = false, "enableShutdownGracefully";
    /// Seconds of enableShutdownGracefully.
    live shutdown_wait_time_seconds: u32 = 30, "shutdownWaitTimeSeconds";

    section "Name servers"
    /// Name servers, `host:port` joined by `;`; environment NAMESRV_ADDR. Empty: the broker registers nowhere.
    fixed namesrv_addr: Str = Str::const_new(""), "namesrvAddr";
    /// Milliseconds between two registrations, held between 10 000 and 60 000.
    start register_name_server_period: u32 = 30_000, "registerNameServerPeriod";
    /// Milliseconds a name server has to answer a registration.
    live register_broker_timeout_mills: u32 = 24_000, "registerBrokerTimeoutMills";
    /// Register in every period; false asks first (request 322) whether the name server is up to date.
    live force_register: bool = true, "forceRegister";
    /// Tell name servers of a change only the topics that changed; false tells them all topics each time, which name servers with
    /// deleteTopicWithBrokerRegistration need. Not in the reference, which has only the first way.
    live register_changes_only: bool = true, "registerChangesOnly";
    /// Milliseconds to connect to a name server.
    start connect_timeout_millis: u32 = 3_000, "connectTimeoutMillis";
    /// What clients may do here, as it is registered: 4 read, 2 write, 6 both.
    live broker_permission: u32 = 6, "brokerPermission";

    section "Topics"
    /// A send to an unknown topic creates it from TBW102.
    live auto_create_topic_enable: bool = true, "autoCreateTopicEnable";
    /// Queues of TBW102, and so the most queues of a topic created by a send.
    start default_topic_queue_nums: u32 = 8, "defaultTopicQueueNums";
    /// New topics may be created from the topic named like the cluster.
    start cluster_topic_enable: bool = true, "clusterTopicEnable";
    /// New topics may be created from the topic named like the broker.
    start broker_topic_enable: bool = true, "brokerTopicEnable";
    /// Create the topic for message traces at start.
    start trace_topic_enable: bool = false, "traceTopicEnable";
    /// Name of the topic for message traces.
    start msg_trace_topic_name: Str = Str::const_new("RMQ_SYS_TRACE_TOPIC"), "msgTraceTopicName";
    /// Deliver messages at a time of their own; false refuses them.
    start timer_wheel_enable: bool = true, "timerWheelEnable";
    /// Queues of the topic for pop checkpoints.
    start revive_queue_num: u32 = 8, "reviveQueueNum";
    /// Milliseconds between two looks for pop checkpoints that a reference broker left behind.
    live revive_interval: u64 = 1_000, "reviveInterval";
    /// Refuse to change system topics (request 17).
    live validate_system_topic_when_update_topic: bool = true, "validateSystemTopicWhenUpdateTopic";
    /// Refuse messages of another kind than the attribute message.type of their topic names (NORMAL when it names none). Of
    /// the reference's processes only the proxy has this setting.
    live enable_topic_message_type_check: bool = false, "enableTopicMessageTypeCheck";
    /// Topics may have the message type MIXED.
    live enable_mixed_message_type: bool = false, "enableMixedMessageType";
    /// Deleting a topic deletes its pop retry topics too.
    live clear_retry_topic_when_delete_topic: bool = true, "clearRetryTopicWhenDeleteTopic";
    /// Milliseconds another broker has to answer about its part of a logical queue of a static topic.
    live forward_timeout: u64 = 3_000, "forwardTimeout";
    /// Answer requests 21 and 201 in pages when they ask for a page.
    live enable_split_metadata: bool = true, "enableSplitMetadata";
    /// Most entries of such a page.
    live split_metadata_size: u32 = 2_000, "splitMetadataSize";

    section "Groups and clients"
    /// A consumer group that nobody created comes into being when it is first used.
    live auto_create_subscription_group: bool = true, "autoCreateSubscriptionGroup";
    /// The same for groups whose name begins with CID_RMQ_SYS_.
    live enable_create_sys_group: bool = true, "enableCreateSysGroup";
    /// Tell the members of a group when it changes.
    live notify_consumer_ids_changed_enable: bool = true, "notifyConsumerIdsChangedEnable";
    /// Tell them at once; false: every 15 s.
    live real_time_notify_consumer_change: bool = true, "realTimeNotifyConsumerChange";
    /// Milliseconds without a heartbeat after which a client counts as gone.
    live channel_expired_timeout: u64 = 120_000, "channelExpiredTimeout";
    /// Serve pulls of registered consumers only.
    live reject_pull_consumer_enable: bool = false, "rejectPullConsumerEnable";

    section "Sending"
    /// Sends are refused before this moment (milliseconds since 1970).
    live start_accept_send_request_time_stamp: i64 = 0, "startAcceptSendRequestTimeStamp";
    /// Clients may trace messages; written into messages and answers as TRACE_ON.
    live trace_on: bool = true, "traceOn";
    /// Store replies to requests, beside handing them to the client that asked.
    live store_reply_message_enable: bool = true, "storeReplyMessageEnable";
    /// Largest body of a message, bytes; for a batch that of all its messages together.
    live max_message_size: u32 = 4_194_304, "maxMessageSize";
    /// Refuse transactional messages.
    live reject_transaction_message: bool = false, "rejectTransactionMessage";
    /// Answer sends that have waited too long with SYSTEM_BUSY, instead of storing them.
    live broker_fast_failure_enable: bool = true, "brokerFastFailureEnable";
    /// How long that is, in milliseconds: from when a send was seen to lie unread until it is read.
    live wait_time_mills_in_send_queue: u64 = 200, "waitTimeMillsInSendQueue";

    section "Timers"
    /// Milliseconds of a tick: a message comes at most so much later than asked for, and never earlier. It cannot change
    /// while messages wait.
    start timer_precision_ms: u32 = 1_000, "timerPrecisionMs";
    /// Seconds that a message may wait at most.
    live timer_max_delay_sec: u32 = 259_200, "timerMaxDelaySec";
    /// Ticks after which a message that waits longer is written anew.
    start timer_roll_window_slot: u32 = 172_800, "timerRollWindowSlot";
    /// Bytes of a file of the timer log.
    start mapped_file_size_timer_log: u32 = 104_857_600, "mappedFileSizeTimerLog";
    /// Messages of one tick from which on more of them are refused at random; from twice as many on all are.
    live timer_congest_num_each_slot: u32 = 2_147_483_647, "timerCongestNumEachSlot";
    /// Milliseconds between two moments at which the timers are on disk and recovery would begin there.
    start timer_flush_interval_ms: u32 = 1_000, "timerFlushIntervalMs";
    /// Take no more timer messages into the wheel.
    live timer_stop_enqueue: bool = false, "timerStopEnqueue";
    /// Deliver no timer messages from the wheel.
    live timer_stop_dequeue: bool = false, "timerStopDequeue";
    /// Producers may take timer messages back (request 370).
    live recall_message_enable: bool = false, "recallMessageEnable";
    /// They may even when brokerPermission does not let them send.
    live allow_recall_when_broker_not_writeable: bool = true, "allowRecallWhenBrokerNotWriteable";
    /// What takes a message back names its topic too, not only its unique id.
    live append_topic_for_timer_delete_key: bool = false, "appendTopicForTimerDeleteKey";

    section "Transactions"
    /// Milliseconds between two rounds in which producers are asked about transactions that have not ended.
    live transaction_check_interval: u64 = 30_000, "transactionCheckInterval";
    /// Milliseconds after its birth in which nobody is asked about a half message that says nothing else.
    live transaction_time_out: u64 = 6_000, "transactionTimeOut";
    /// So often producers are asked; then the message goes to TRANS_CHECK_MAX_TIME_TOPIC.
    live transaction_check_max: u32 = 15, "transactionCheckMax";
    /// Milliseconds between two counts of transactions that have not ended.
    live transaction_metric_flush_interval: u64 = 10_000, "transactionMetricFlushInterval";

    section "Replication"
    /// Replicas that must have a message before a SYNC_MASTER acknowledges it, itself among them. 0: 2 for a SYNC_MASTER,
    /// else 1. With 1 a SYNC_MASTER waits for nobody, which is what the reference does when nothing is set.
    live in_sync_replicas: u32 = 0, "inSyncReplicas";
    /// With enableAutoInSyncReplicas: so many replicas must be in step, the master among them, or a message is refused.
    live min_in_sync_replicas: u32 = 1, "minInSyncReplicas";
    /// Wait for fewer than inSyncReplicas while fewer are in step, but not for fewer than minInSyncReplicas.
    live enable_auto_in_sync_replicas: bool = false, "enableAutoInSyncReplicas";
    /// Wait for every slave that is in step.
    live all_ack_in_sync_state_set: bool = false, "allAckInSyncStateSet";
    /// Milliseconds a SYNC_MASTER waits for slaves before it answers FLUSH_SLAVE_TIMEOUT.
    live slave_timeout: u32 = 3_000, "slaveTimeout";
    /// Bytes that a slave may lack and count as in step. Fewer slaves in step than needed: SLAVE_NOT_AVAILABLE at once.
    live ha_max_gap_not_in_sync: u64 = 268_435_456, "haMaxGapNotInSync";
    /// Let the slave with the smallest id act for a master that is away: it serves readers, and deals with what is due. All
    /// brokers of one name need it, name servers need supportActingMaster, and totalReplicas says how many they are.
    start enable_slave_acting_master: bool = false, "enableSlaveActingMaster";
    /// Let a slave that acts for its master write what is due (delayed and timed messages, halves, messages popped and not
    /// acknowledged) to masters of other names, since it cannot write to its own log.
    start enable_remote_escape: bool = false, "enableRemoteEscape";
    /// Brokers of this name, the master among them. Above 1 with enableSlaveActingMaster: a broker is not in service before it
    /// has found the others, or waited for them (brokerHeartbeatInterval), and a master not before it has taken back what its
    /// slaves know better.
    start total_replicas: u32 = 1, "totalReplicas";
    /// Be in service at once, whatever the others know.
    start skip_pre_online: bool = false, "skipPreOnline";
    /// With enableSlaveActingMaster: milliseconds between two signs of life to each name server. With totalReplicas above 1 a
    /// master that comes waits up to six of them for brokers that no name server knows yet, and a slave two for its master.
    start broker_heartbeat_interval: u32 = 1_000, "brokerHeartbeatInterval";
    /// Milliseconds that a name server has to answer one, or to say who is alive.
    start send_heartbeat_timeout_millis: u32 = 1_000, "sendHeartbeatTimeoutMillis";
    /// With enableSlaveActingMaster: silence in milliseconds after which name servers take this broker for gone, and after
    /// which it takes its master, or a name server, for gone.
    start broker_not_active_timeout_millis: u32 = 10_000, "brokerNotActiveTimeoutMillis";
    /// With enableSlaveActingMaster: milliseconds between two questions to each name server which brokers of this name are
    /// alive.
    start sync_broker_member_group_period: u32 = 1_000, "syncBrokerMemberGroupPeriod";
    /// A queue is locked for a consumer only when the brokers of more than half of totalReplicas lock it.
    live lock_in_strict_mode: bool = false, "lockInStrictMode";
    /// `host:port` of the replication port that a slave follows. Empty: what name servers say.
    fixed ha_master_address: Str = Str::const_new(""), "haMasterAddress";
    /// Milliseconds between two signs of life on a replication link where nothing else is said.
    start ha_send_heartbeat_interval: u32 = 5_000, "haSendHeartbeatInterval";
    /// A replication link on which nothing was heard for so many milliseconds is cut.
    start ha_housekeeping_interval: u32 = 20_000, "haHousekeepingInterval";
    /// Most bytes of the log in one transfer.
    start ha_transfer_batch_size: u32 = 32_768, "haTransferBatchSize";
    /// Send each slave at most maxHaTransferByteInSecond.
    start ha_flow_control_enable: bool = false, "haFlowControlEnable";
    /// Bytes of the log per second and slave with haFlowControlEnable.
    start max_ha_transfer_byte_in_second: u64 = 104_857_600, "maxHaTransferByteInSecond";
    /// What master and slaves prove to each other that they have; at least 16 characters. Empty: nothing is proved.
    fixed ha_secret: Secret = Secret::default(), "haSecret";
    /// With haSecret: replicate also with brokers of the reference, which cannot prove anything.
    fixed ha_allow_unproven: bool = false, "haAllowUnproven";
    /// Most slaves that are served at a time; further ones are turned away.
    start ha_slaves_max: u32 = 16, "haSlavesMax";

    section "Pulling"
    /// Hold a pull that finds nothing for as long as it asks; false: for shortPollingTimeMills.
    live long_polling_enable: bool = true, "longPollingEnable";
    /// Milliseconds such a pull is held when longPollingEnable is false.
    live short_polling_time_mills: u64 = 1_000, "shortPollingTimeMills";
    /// Serve lite pulls (request 361).
    live lite_pull_message_enable: bool = true, "litePullMessageEnable";
    /// Most bytes one pull gets from memory.
    live max_transfer_bytes_on_message_in_memory: u32 = 262_144, "maxTransferBytesOnMessageInMemory";
    /// Most messages one pull gets from memory.
    live max_transfer_count_on_message_in_memory: u32 = 32, "maxTransferCountOnMessageInMemory";
    /// Most bytes one pull gets from disk.
    live max_transfer_bytes_on_message_in_disk: u32 = 65_536, "maxTransferBytesOnMessageInDisk";
    /// Most messages one pull gets from disk.
    live max_transfer_count_on_message_in_disk: u32 = 8, "maxTransferCountOnMessageInDisk";
    /// Messages that far behind the end of the log, in percent of the memory of the host, count as being on disk.
    live access_message_in_memory_max_ratio: u32 = 40, "accessMessageInMemoryMaxRatio";
    /// Whether a group that reads messages that far behind is told to ask another replica, and which one: the group's
    /// `whichBrokerWhenConsumeSlowly`, or else its `brokerId`.
    live slave_read_enable: bool = false, "slaveReadEnable";
    /// Bytes of a consume queue that one pull may scan for messages that match.
    live max_filter_message_size: u32 = 16_000, "maxFilterMessageSize";
    /// Whether consumers may choose messages by their properties, with SQL expressions. `false` in the reference.
    live enable_property_filter: bool = true, "enablePropertyFilter";
    /// Whether messages of a retry topic that is subscribed to with SQL pass the filter of the topic they came from.
    live filter_support_retry: bool = false, "filterSupportRetry";
    /// Milliseconds for which the SQL filter of a group that is offline is kept.
    live filter_data_clean_time_span: u64 = 86_400_000, "filterDataCleanTimeSpan";
    /// Most messages a query by key returns.
    live max_msgs_num_batch: u32 = 64, "maxMsgsNumBatch";
    /// Most messages a query by unique key returns.
    live default_query_max_num: u32 = 32, "defaultQueryMaxNum";

    section "Consumer offsets"
    /// Milliseconds between two writes of the file of the consumer offsets. A journal beside it is written every 200 ms,
    /// and made durable then under SYNC_FLUSH, so that what was committed a second ago outlives a kill.
    start flush_consumer_offset_interval: u32 = 5_000, "flushConsumerOffsetInterval";
    /// Commits after which the version of the offsets moves on.
    live consumer_offset_update_version_step: u64 = 500, "consumerOffsetUpdateVersionStep";
    /// A reset of a group (request 222) is told to its consumers at their next pull, also to those that are offline now.
    /// false: connected consumers are told at once, and others cannot be reset.
    live use_server_side_reset_offset: bool = true, "useServerSideResetOffset";

    section "Store"
    /// Directory of all data. Empty: `store` in the home directory of the user.
    fixed store_path_root_dir: Str = Str::const_new(""), "storePathRootDir";
    /// Directory of the commit log, or several joined by `,` between which its files take turns. Empty: `commitlog` in
    /// storePathRootDir.
    fixed store_path_commit_log: Str = Str::const_new(""), "storePathCommitLog";
    /// Bytes of a commit log file.
    start mapped_file_size_commit_log: u32 = 1_073_741_824, "mappedFileSizeCommitLog";
    /// Bytes of a consume queue file, rounded up to whole entries of 20 bytes.
    start mapped_file_size_consume_queue: u32 = 6_000_000, "mappedFileSizeConsumeQueue";
    /// Bytes of a file of a batch queue (queue.type=BatchCQ), rounded up to whole entries of 46 bytes.
    start mapper_file_size_batch_consume_queue: u32 = 13_800_000, "mapperFileSizeBatchConsumeQueue";
    /// Keep of compacted topics (cleanup.policy=COMPACTION) the newest message of each key, however old it is. false: their
    /// messages expire like others.
    start enable_compaction: bool = true, "enableCompaction";
    /// Milliseconds between two moments at which compacted topics are compacted.
    start compaction_schedule_internal: u32 = 900_000, "compactionScheduleInternal";
    /// Bytes of memory for the keys of a queue that is compacted. What does not fit is for the next time.
    start max_offset_map_size: u32 = 104_857_600, "maxOffsetMapSize";
    /// Bytes of a file of a compacted queue, rounded to files of its entries, at least five. The newest file is not compacted,
    /// and a message has to fit into one.
    start compaction_mapped_file_size: u32 = 104_857_600, "compactionMappedFileSize";
    /// Bytes of a file of the entries of a compacted queue, rounded down to whole entries of 46 bytes.
    start compaction_cq_mapped_file_size: u32 = 10_485_760, "compactionCqMappedFileSize";
    /// Keep an index of message keys.
    start message_index_enable: bool = true, "messageIndexEnable";
    /// Hash slots of an index file.
    start max_hash_slot_num: u32 = 5_000_000, "maxHashSlotNum";
    /// Entries of an index file.
    start max_index_num: u32 = 20_000_000, "maxIndexNum";
    /// ASYNC_FLUSH acknowledges a message when it is written, SYNC_FLUSH when it is on disk.
    start flush_disk_type: FlushDiskType = FlushDiskType::Async, "flushDiskType";
    /// Milliseconds between two flushes of the commit log (ASYNC_FLUSH).
    start flush_interval_commit_log: u32 = 500, "flushIntervalCommitLog";
    /// Milliseconds between two writes of the consume queues and the key index.
    start flush_interval_consume_queue: u32 = 1_000, "flushIntervalConsumeQueue";
    /// Milliseconds between two moments at which everything is on disk and recovery would begin there.
    start flush_consume_queue_thorough_interval: u32 = 60_000, "flushConsumeQueueThoroughInterval";
    /// Milliseconds a write may take before sends are answered with SYSTEM_BUSY.
    start os_page_cache_busy_time_out_mills: u64 = 1_000, "osPageCacheBusyTimeOutMills";
    /// Milliseconds a send waits for the flush (SYNC_FLUSH) before it is answered with FLUSH_DISK_TIMEOUT.
    live sync_flush_timeout: u32 = 5_000, "syncFlushTimeout";
    /// Add a checksum over its properties to every message.
    start enabled_append_prop_crc: bool = false, "enabledAppendPropCRC";
    /// Demand that checksum of every message when the store recovers.
    start force_verify_prop_crc: bool = false, "forceVerifyPropCRC";
    /// Check the sums of the messages when the store recovers.
    start check_crc_on_recover: bool = true, "checkCRCOnRecover";
    /// Delays by level, in the units s, m, h and d.
    start message_delay_level: Str =
        Str::const_new("1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"), "messageDelayLevel";
    /// Milliseconds between two saves of how far the delay levels are delivered. After deliveries it is saved within 200
    /// ms, so that few are repeated after a crash.
    start flush_delay_offset_interval: u32 = 10_000, "flushDelayOffsetInterval";
    /// Changes of these offsets after which their version moves on.
    start delay_offset_update_version_step: u64 = 200, "delayOffsetUpdateVersionStep";
    /// Hours that a commit log file is kept after its last write.
    start file_reserved_time: u32 = 72, "fileReservedTime";
    /// Hours of the day, joined by `;`, in which old files are deleted.
    start delete_when: Str = Str::const_new("04"), "deleteWhen";
    /// Percent of the disk from which on old files are deleted at any hour.
    start disk_max_used_space_ratio: u32 = 75, "diskMaxUsedSpaceRatio";
    /// Percent of the disk from which on files are deleted before their time; at most 85 counts.
    start disk_space_clean_forcibly_ratio: u32 = 85, "diskSpaceCleanForciblyRatio";
    /// Percent of the disk from which on nothing is written any more; at most 90 counts.
    start disk_space_warning_level_ratio: u32 = 90, "diskSpaceWarningLevelRatio";
    /// Delete files before their time when the disk fills up.
    start clean_file_forcibly_enable: bool = true, "cleanFileForciblyEnable";
    /// Milliseconds between two looks for files to delete.
    start clean_resource_interval: u32 = 10_000, "cleanResourceInterval";
    /// Most files deleted at one go.
    start delete_file_batch_max: u32 = 10, "deleteFileBatchMax";

    section "Pop"
    /// How groups read a topic that nobody has chosen a mode for: PULL or POP.
    live default_message_request_mode: RequestMode = RequestMode::Pull, "defaultMessageRequestMode";
    /// Members of a group that share each queue in that mode; 0 or less: all.
    live default_pop_share_queue_num: i32 = -1, "defaultPopShareQueueNum";
    /// Assign queues to clients that ask (request 400); false gives each of them all.
    live server_load_balancer_enable: bool = true, "serverLoadBalancerEnable";
    /// Percent of the pops that read the retry topic first; the others read it last.
    live pop_from_retry_probability: u32 = 20, "popFromRetryProbability";
    /// Messages that were not settled come again in %RETRY%group+topic instead of %RETRY%group_topic.
    live enable_retry_topic_v2: bool = false, "enableRetryTopicV2";
    /// With enableRetryTopicV2, read what is left in the other one too.
    live retrieve_message_from_pop_retry_topic_v1: bool = true, "retrieveMessageFromPopRetryTopicV1";
    /// Messages that come again bear the name of the retry topic.
    live pop_response_return_actual_retry_topic: bool = false, "popResponseReturnActualRetryTopic";
    /// A new group that wants the newest message begins at offset 0 when that is in memory.
    live init_pop_offset_by_check_msg_in_mem: bool = true, "initPopOffsetByCheckMsgInMem";
    /// Hand out no more of a queue with more unsettled messages than popInflightMessageThreshold.
    live enable_pop_message_threshold: bool = false, "enablePopMessageThreshold";
    /// Messages of enablePopMessageThreshold.
    live pop_inflight_message_threshold: u64 = 10_000, "popInflightMessageThreshold";
    /// Pops held for one group, topic and queue.
    live pop_polling_size: u32 = 1_024, "popPollingSize";
    /// Pops held in all.
    live max_pop_polling_size: u32 = 100_000, "maxPopPollingSize";

    section "Metrics"
    /// What becomes of the numbers of docs/metrics.md. PROM: they are read from a port, with /healthz and /readyz beside
    /// them. OTLP_GRPC and LOG: the same, and they are pushed to a collector, or written to the log. DISABLE: none of it.
    start metrics_exporter_type: MetricsExporterType = MetricsExporterType::Prom, "metricsExporterType";
    /// That port; 0 takes a free one. When another process has it, the broker starts without one, unless it is set here.
    start metrics_prom_exporter_port: SparePort = SparePort::by_default(5557), "metricsPromExporterPort";
    /// Address of that port. Empty: bindAddress.
    fixed metrics_prom_exporter_host: Str = Str::const_new(""), "metricsPromExporterHost";
    /// The collector of OTLP_GRPC, `http://host:port`.
    fixed metrics_grpc_exporter_target: Str = Str::const_new(""), "metricsGrpcExporterTarget";
    /// Headers of each push to it, `name:value` joined by `,`.
    fixed metrics_grpc_exporter_header: Secret = Secret::default(), "metricsGrpcExporterHeader";
    /// Milliseconds a push may take.
    start metric_grpc_exporter_time_out_in_mills: u64 = 3_000, "metricGrpcExporterTimeOutInMills";
    /// Milliseconds between two pushes.
    start metric_grpc_exporter_interval_in_mills: u64 = 60_000, "metricGrpcExporterIntervalInMills";
    /// Milliseconds between two times the numbers are written to the log.
    start metric_logging_exporter_interval_in_mills: u64 = 10_000, "metricLoggingExporterIntervalInMills";
    /// Push of counters and histograms what came since the last push; all values get the label aggregation=delta.
    start metrics_in_delta: bool = false, "metricsInDelta";
    /// Labels that all values get, `name:value` joined by `,`.
    start metrics_label: Str = Str::const_new(""), "metricsLabel";
    /// Values a metric may have; what is beyond is left out, and counted in barque_metrics_series_dropped. 0: all.
    live metrics_otel_cardinality_limit: u32 = 0, "metricsOtelCardinalityLimit";
    /// Metrics of the broker as a whole.
    live enable_stats_metrics: bool = true, "enableStatsMetrics";
    /// Metrics of messages that come in and go out.
    live enable_request_metrics: bool = true, "enableRequestMetrics";
    /// Metrics of connected clients.
    live enable_connection_metrics: bool = true, "enableConnectionMetrics";
    /// Metrics of how far groups are behind, and of dead letters.
    live enable_lag_and_dlq_metrics: bool = true, "enableLagAndDlqMetrics";
    /// Metrics of transactions.
    live enable_transaction_metrics: bool = true, "enableTransactionMetrics";
    /// Metrics of how long requests take; without them nobody looks at the clock.
    live enable_remoting_metrics: bool = true, "enableRemotingMetrics";
    /// Metrics of the store and the timers.
    live enable_message_store_metrics: bool = true, "enableMessageStoreMetrics";
    /// Metrics of pops.
    live enable_pop_metrics: bool = true, "enablePopMetrics";
    /// Count as lag of a group only what its filter lets through.
    live estimate_accumulation: bool = true, "estimateAccumulation";
    /// Entries of a queue that are looked at for that; the share of what passed stands for the rest.
    live max_consume_queue_scan: u32 = 20_000, "maxConsumeQueueScan";
    /// The same once so many have passed.
    live sample_count_threshold: u32 = 5_000, "sampleCountThreshold";
    /// Milliseconds for which the lag of all groups, once found out, is told again (not in the reference).
    live consumer_lag_kept_mills: u64 = 5_000, "consumerLagKeptMills";

    section "Administration (not in the reference)"
    /// Where requests of administrators may come from (those of the access log: topics, groups, offsets, settings); from elsewhere
    /// they are refused with NO_PERMISSION. Empty: this host, by its loopback or its own address. What is set counts alone;
    /// `0.0.0.0/0;::/0` is everywhere, as in the reference.
    fixed admin_allowed_from: net::Places = net::Places::default(), "adminAllowedFrom";

    section "Log (not in the reference)"
    /// What is logged: error, warn, info, debug, trace or off, or such by module (`info,store=debug`); the log of administration
    /// is the module `access`. Empty: environment RUST_LOG, else info. Where the log goes is said on the command line.
    live log_level: net::Levels = net::Levels::default(), "logLevel";

    section "Limits (not in the reference)"
    /// Connections of each port; one more is closed at once.
    start connections_max: u32 = 20_000, "connectionsMax";
    /// Bytes that all connections together may hold: frames that have half arrived, requests that are held, answers and messages
    /// that nobody reads. The fewer are left, the fewer may wait for each that does not read; beyond, the largest of the host
    /// that holds most is closed. 0: a quarter of the memory of the host, at least 256 MiB and at most 1 GiB.
    start connection_bytes_max: u64 = 0, "connectionBytesMax";
    /// Requests of one connection that wait for the store; then its socket is not read.
    start in_flight_per_connection_max: u32 = 16_384, "inFlightPerConnectionMax";
    /// Requests of one connection that are held; then its socket is not read.
    start held_per_connection_max: u32 = 65_536, "heldPerConnectionMax";
    /// Topics from which on no more are made.
    live topics_max: u32 = 200_000, "topicsMax";
    /// Most queues of a topic; at most 65 536.
    live queues_per_topic_max: u32 = 65_536, "queuesPerTopicMax";
    /// Most queues of all topics of one request 18 together.
    live queues_per_request_max: u32 = 1_000_000, "queuesPerRequestMax";
    /// Consumer groups from which on no more are made.
    live groups_max: u32 = 200_000, "groupsMax";
    /// Groups one heartbeat may name.
    live groups_per_heartbeat_max: u32 = 1_000, "groupsPerHeartbeatMax";
    /// Memberships of connected clients in groups.
    live group_members_max: u32 = 200_000, "groupMembersMax";
    /// Queues locked by orderly consumers.
    live queue_locks_max: u32 = 1_000_000, "queueLocksMax";
    /// Those of them that were locked through one connection.
    live queue_locks_per_connection_max: u32 = 100_000, "queueLocksPerConnectionMax";
    /// Messages that topics with the attribute dedup.window remember, up to 220 bytes each; beyond, the oldest are
    /// forgotten, those of topics with more than an equal share.
    live dedup_messages_max: u32 = 1_000_000, "dedupMessagesMax";
    /// Transactions that are known not to have ended, about 200 bytes each; others are looked at when some of these have
    /// ended. A group with more than half of them may send no more until then.
    live transactions_pending_max: u32 = 1_000_000, "transactionsPendingMax";
    /// Pulls held by the broker; one more is answered with SYSTEM_BUSY.
    live held_pulls_max: u32 = 200_000, "heldPullsMax";
    /// Answer bytes queued to a connection that does not read; then no more requests are taken from it.
    start reply_bytes_per_connection_max: u32 = 16_777_216, "replyBytesPerConnectionMax";
    /// Messages and calls queued to one client.
    start push_frames_per_connection_max: u32 = 1_024, "pushFramesPerConnectionMax";
    /// And bytes; a single message may be larger.
    start push_bytes_per_connection_max: u32 = 16_777_216, "pushBytesPerConnectionMax";
    /// Newest bytes of the log kept in memory for consumers that keep up.
    start hot_bytes: u64 = 8_388_608, "hotBytes";
    /// What consume queues are kept in. `files`: those of the reference, a directory and a file for each queue. `compact`: files that
    /// hold units of all queues, for very many of them; a start after a change converts what is there, either way, and
    /// the reference can use the directory only after it was converted to `files`.
    start consume_queue_layout: QueueLayout = QueueLayout::Files, "consumeQueueLayout";
    /// Consume queue files kept open.
    start queue_files_open_max: u32 = 1_024, "queueFilesOpenMax";
    /// Bytes that wait to be written to the log; then sends are answered with SYSTEM_BUSY.
    start append_pending_bytes_max: u64 = 67_108_864, "appendPendingBytesMax";
    /// Milliseconds a stopping broker works on answers that are still due.
    start shutdown_drain_ms: u32 = 3_000, "shutdownDrainMs";
}
