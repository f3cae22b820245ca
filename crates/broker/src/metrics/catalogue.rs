// SPDX-License-Identifier: Apache-2.0
//! Every number that a broker tells about itself, described once: the text for Prometheus, the push and docs/metrics.md are
//! made from this list. Names, types, units and labels are the reference's; what it does not have is called `barque_…`.

use std::fmt::Write as _;

use metrics::{Kind, Metric, RPC_BOUNDS, RPC_LABELS, Unit};

use crate::traffic::{DELAY_BOUNDS, FINISH_BOUNDS, SIZE_BOUNDS};

/// Bounds of how long it takes to make a topic or a group, ms.
pub(crate) const CREATE_BOUNDS: &[u64] = &[10, 100, 1_000, 3_000, 5_000];

/// Labels of the store.
const STORAGE: &[&str] = &["storage_type", "storage_medium"];
const STORED_TOPIC: &[&str] = &["storage_type", "storage_medium", "topic"];
const LAG: &[&str] = &["consumer_group", "topic", "is_retry", "is_system"];
const CAME: &[&str] = &["topic", "message_type", "is_system"];
const WENT: &[&str] = &["topic", "consumer_group", "is_system", "is_retry"];

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $id:ident: $kind:expr, $unit:ident, $name:literal, $labels:expr;)+) => {
        $($(#[doc = $doc])+ pub(crate) const $id: &Metric = &Metric {
            name: $name,
            kind: $kind,
            unit: Unit::$unit,
            labels: $labels,
            help: concat!($($doc),+).trim_ascii(),
        };)+

        /// Every number that a broker tells about itself.
        pub const METRICS: &[&Metric] = &[$($id),+];
    };
}

const COUNTER: Kind = Kind::Counter;
const GAUGE: Kind = Kind::Gauge;

metrics! {
    /// Requests that are worked on or held, by what they ask for.
    WATERMARK: GAUGE, None, "rocketmq_processor_watermark", &["processor"];
    /// What clients may do here: 2 write, 4 read, 6 both.
    PERMISSION: GAUGE, None, "rocketmq_broker_permission", &[];
    /// Topics.
    TOPICS: GAUGE, None, "rocketmq_topic_number", &[];
    /// Consumer groups.
    GROUPS: GAUGE, None, "rocketmq_consumer_group_number", &[];

    /// Messages that came in.
    MESSAGES_IN: COUNTER, None, "rocketmq_messages_in_total", CAME;
    /// Messages that went out.
    MESSAGES_OUT: COUNTER, None, "rocketmq_messages_out_total", WENT;
    /// Bytes of messages that came in, as they are stored.
    THROUGHPUT_IN: COUNTER, None, "rocketmq_throughput_in_total", CAME;
    /// Bytes of messages that went out, as they are stored.
    THROUGHPUT_OUT: COUNTER, None, "rocketmq_throughput_out_total", WENT;
    /// Bytes of the messages of each send, on average.
    MESSAGE_SIZE: Kind::Histogram(SIZE_BOUNDS), None, "rocketmq_message_size", CAME;
    /// Time it took to make or change a topic.
    TOPIC_CREATE: Kind::Histogram(CREATE_BOUNDS), Milliseconds, "rocketmq_topic_create_execution_time",
        &["invocation_status", "is_system"];
    /// Time it took to make or change a consumer group.
    GROUP_CREATE: Kind::Histogram(CREATE_BOUNDS), Milliseconds, "rocketmq_consumer_group_create_execution_time",
        &["invocation_status"];

    /// Producers that are connected; one that is in several groups counts in each.
    PRODUCERS: GAUGE, None, "rocketmq_producer_connections", &["language", "version", "protocol_type"];
    /// Members of consumer groups that are connected.
    CONSUMERS: GAUGE, None, "rocketmq_consumer_connections",
        &["consumer_group", "language", "version", "consume_mode", "protocol_type", "is_system"];

    /// Messages that a group has not consumed, and that its filter lets through.
    LAG_MESSAGES: GAUGE, None, "rocketmq_consumer_lag_messages", LAG;
    /// Age of the oldest message that a group has not consumed; 0 when there is none.
    LAG_LATENCY: GAUGE, Milliseconds, "rocketmq_consumer_lag_latency", LAG;
    /// Messages that are with a group and not consumed.
    INFLIGHT: GAUGE, None, "rocketmq_consumer_inflight_messages", LAG;
    /// Age of the oldest message that a group has not fetched; 0 when there is none.
    QUEUEING: GAUGE, Milliseconds, "rocketmq_consumer_queueing_latency", LAG;
    /// Messages that a group can fetch.
    READY: GAUGE, None, "rocketmq_consumer_ready_messages", LAG;
    /// Bytes of messages that a group has not consumed, as they are stored.
    LAG_BYTES: GAUGE, Bytes, "barque_consumer_lag_bytes", LAG;
    /// Messages of a group that were given up.
    DEAD: COUNTER, None, "rocketmq_send_to_dlq_messages_total", &["consumer_group", "topic", "is_system"];

    /// Transactions that were committed.
    COMMITS: COUNTER, None, "rocketmq_commit_messages_total", &["topic"];
    /// Transactions that were rolled back.
    ROLLBACKS: COUNTER, None, "rocketmq_rollback_messages_total", &["topic"];
    /// Seconds from the birth of a message to its commit: seconds, although the name the reference gave it says otherwise.
    FINISH: Kind::Histogram(FINISH_BOUNDS), Milliseconds, "rocketmq_finish_message_latency", &["topic"];
    /// Transactions that have not ended.
    HALVES: GAUGE, None, "rocketmq_half_messages", &["topic"];

    /// Time from the arrival of a request to its answer.
    RPC: Kind::Histogram(RPC_BOUNDS), Milliseconds, "rocketmq_rpc_latency", RPC_LABELS;

    /// Bytes that are used of the file system of the store, by whomever.
    STORAGE_SIZE: GAUGE, Bytes, "rocketmq_storage_size", STORAGE;
    /// Bytes that are in the log and not known to be on disk.
    FLUSH_BEHIND: GAUGE, Bytes, "rocketmq_storage_flush_behind_bytes", STORAGE;
    /// Bytes that are in the log and not in a queue yet.
    DISPATCH_BEHIND: GAUGE, Bytes, "rocketmq_storage_dispatch_behind_bytes", STORAGE;
    /// Age of the oldest message.
    RESERVE_TIME: GAUGE, Milliseconds, "rocketmq_storage_message_reserve_time", STORAGE;

    /// Messages with a time of their own that the timers have not read.
    TIMER_ENQUEUE_LAG: GAUGE, None, "rocketmq_timer_enqueue_lag", STORAGE;
    /// Age of the oldest of them.
    TIMER_ENQUEUE_LATENCY: GAUGE, Milliseconds, "rocketmq_timer_enqueue_latency", STORAGE;
    /// Messages that wait for a time of their own.
    TIMER_DEQUEUE_LAG: GAUGE, None, "rocketmq_timer_dequeue_lag", STORAGE;
    /// How far behind the clock they are delivered.
    TIMER_DEQUEUE_LATENCY: GAUGE, Milliseconds, "rocketmq_timer_dequeue_latency", STORAGE;
    /// Messages that wait for a time of their own, by topic.
    TIMING: GAUGE, None, "rocketmq_timing_messages", STORED_TOPIC;
    /// Messages that timers took in.
    TIMER_ENQUEUE: COUNTER, None, "rocketmq_timer_enqueue_total", STORED_TOPIC;
    /// Messages that timers delivered.
    TIMER_DEQUEUE: COUNTER, None, "rocketmq_timer_dequeue_total", STORED_TOPIC;
    /// Messages that are due within so many seconds, without those of the value before.
    TIMER_SNAPSHOT: GAUGE, None, "rocketmq_timer_message_snapshot",
        &["storage_type", "storage_medium", "timer_bound_s"];
    /// Time that messages with a time of their own are to wait.
    DELAY: Kind::Histogram(DELAY_BOUNDS), Seconds, "rocketmq_delay_message_latency", STORED_TOPIC;

    /// Changes of what is with pop consumers: CK for messages handed out of a queue, ACK for a message that is settled.
    POP_IN: COUNTER, None, "rocketmq_pop_revive_in_message_total",
        &["consumer_group", "topic", "revive_message_type", "put_status"];
    /// Messages that were not settled in time, and come again.
    POP_RETRY: COUNTER, None, "rocketmq_pop_revive_retry_messages_total",
        &["consumer_group", "topic", "put_status"];
    /// Queues from which messages should come again by now, and do not yet.
    POP_REVIVE_LAG: GAUGE, Milliseconds, "rocketmq_pop_revive_lag", &["queue_id"];
    /// How late they are.
    POP_REVIVE_LATENCY: GAUGE, Milliseconds, "rocketmq_pop_revive_latency", &["queue_id"];
    /// Queues of which pop consumers hold messages, or have held.
    POP_OFFSETS: GAUGE, None, "rocketmq_pop_offset_buffer_size", &[];
    /// Messages that are with pop consumers.
    POP_CHECKPOINTS: GAUGE, None, "rocketmq_pop_checkpoint_buffer_size", &[];

    /// 1, with the version of the program.
    UP: GAUGE, None, "barque_up", &["version"];
    /// When the broker was started, in seconds since 1970.
    STARTED: GAUGE, Seconds, "barque_start_time", &[];
    /// Whether the broker is in service, as /readyz says.
    READINESS: GAUGE, None, "barque_ready", &[];
    /// Sends that the store refused.
    REFUSED: COUNTER, None, "barque_refused_messages_total", &[];
    /// Bytes on the file systems of the store: used, and in all.
    DISK: GAUGE, Bytes, "barque_disk", &["path", "state"];
    /// Whether this broker is a master: 1, or 0.
    MASTER: GAUGE, None, "barque_master", &[];
    /// Slaves that are connected.
    SLAVES: GAUGE, None, "barque_slaves", &[];
    /// Bytes that a slave lacks.
    SLAVE_LAG: GAUGE, Bytes, "barque_slave_lag", &["slave"];
    /// Age of what a slave lacks.
    SLAVE_LAG_TIME: GAUGE, Milliseconds, "barque_slave_lag_time", &["slave"];
    /// Name servers at which the broker is registered, and those at which it is not.
    REGISTRATIONS: GAUGE, None, "barque_name_servers", &["state"];
    /// Groups whose members do not subscribe to the same.
    CONFLICTS: GAUGE, None, "barque_subscription_conflicts", &[];
    /// Values that a metric has beyond metricsOtelCardinalityLimit, and that are left out.
    DROPPED: GAUGE, None, "barque_metrics_series_dropped", &["metric"];
}

/// Numbers of the reference that are not told, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    (
        "rocketmq_pop_buffer_scan_time_consume",
        "there is no buffer that is scanned: what is with pop consumers stands in a journal",
    ),
    (
        "rocketmq_pop_revive_out_message_total",
        "there is no topic of leases that is read again",
    ),
    (
        "rocketmq_rocksdb_bytes_written",
        "data is kept in files, not in RocksDB",
    ),
    ("rocketmq_rocksdb_bytes_read", "the same"),
    ("rocketmq_rocksdb_times_written_self", "the same"),
    ("rocketmq_rocksdb_times_written_other", "the same"),
    ("rocketmq_rocksdb_times_read", "the same"),
    ("rocketmq_rocksdb_rate_cache_hit", "the same"),
    ("rocketmq_rocksdb_times_compressed", "the same"),
    ("rocketmq_rocksdb_read_amplification_bytes", "the same"),
    ("rocketmq_tiered_store_*", "there is no tiered store"),
    ("rocketmq_proxy_up", "there is no proxy"),
    ("target_info", "it says nothing, and has no labels"),
];

/// The tables of docs/metrics.md.
pub fn metrics_reference() -> String {
    let mut page = String::from("| name | type | labels | meaning |\n|---|---|---|---|\n");
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (metric.text_name(), metric.kind.name(), labels.join(", "));
        let _infallible = writeln!(page, "| `{name}` | {kind} | {labels} | {} |", metric.help);
    }
    page.push_str("\n### Not told\n\n| name in the reference | why |\n|---|---|\n");
    for (name, why) in LEFT_OUT {
        let _infallible = writeln!(page, "| `{name}` | {why} |");
    }
    page
}
