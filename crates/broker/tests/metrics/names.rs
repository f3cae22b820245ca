// SPDX-License-Identifier: Apache-2.0
//! The names, types and labels are those that a running broker of the reference shows.

use std::collections::BTreeSet;

use broker::{LEFT_OUT, METRICS};
use wire::api::send::SendMessageV2;

use crate::rig::Rig;
use crate::scrape::{Scrape, page};
use crate::traffic;

/// What a broker of 5.4.0 showed after official clients had done a little of everything; values are left out, and of values
/// that differ in nothing but names one is kept.
const REFERENCE: &str = include_str!("reference-5.4.0.txt");

fn is_left_out(name: &str) -> bool {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern || name.strip_suffix("_milliseconds") == Some(pattern),
    };
    LEFT_OUT.iter().any(|(pattern, _)| matches(pattern))
}

#[tokio::test]
async fn names_types_and_labels_are_those_of_the_reference() {
    let reference = Scrape::read(REFERENCE);
    let (rig, _client, ours) = traffic::busy().await;
    for (name, kind) in reference.types.iter().filter(|(name, _)| !is_left_out(name)) {
        assert_eq!(ours.types.get(name), Some(kind), "{name}");
        let suffixes: &[&str] = match kind.as_str() {
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        for suffix in suffixes {
            let line = format!("{name}{suffix}");
            assert_eq!(ours.label_sets(&line), reference.label_sets(&line), "{line}");
        }
        let bounds = |of: &Scrape| -> BTreeSet<String> {
            let buckets = of
                .values
                .iter()
                .filter(|value| value.name == format!("{name}_bucket"));
            buckets.map(|value| value.labels["le"].clone()).collect()
        };
        assert_eq!(bounds(&ours), bounds(&reference), "{name}");
    }
    // What is not the reference's says so.
    let theirs: BTreeSet<_> = reference.types.keys().collect();
    for name in ours.types.keys().filter(|name| !name.starts_with("barque_")) {
        assert!(theirs.contains(name), "{name}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn values_of_labels_are_those_of_the_reference() {
    let reference = Scrape::read(REFERENCE);
    let (rig, _client, ours) = traffic::busy().await;
    let values = |of: &Scrape, name: &str, label: &str| -> BTreeSet<String> {
        let values = of.values.iter().filter(|value| value.name.starts_with(name));
        values
            .filter_map(|value| value.labels.get(label).cloned())
            .collect()
    };
    for (name, label) in [
        ("rocketmq_processor_watermark", "processor"),
        ("rocketmq_timer_message_snapshot", "timer_bound_s"),
        ("rocketmq_pop_revive_in_message_total", "revive_message_type"),
        ("rocketmq_pop_revive_in_message_total", "put_status"),
        ("rocketmq_messages_in_total", "message_type"),
        ("rocketmq_storage_size_bytes", "storage_type"),
        ("rocketmq_storage_size_bytes", "storage_medium"),
        ("rocketmq_broker_permission", "node_type"),
        ("rocketmq_broker_permission", "otel_scope_name"),
        ("rocketmq_rpc_latency_milliseconds", "protocol_type"),
        ("rocketmq_consumer_connections", "consume_mode"),
        ("rocketmq_consumer_connections", "language"),
        ("rocketmq_consumer_connections", "version"),
    ] {
        assert_eq!(
            values(&ours, name, label),
            values(&reference, name, label),
            "{name} {label}"
        );
    }
    // Codes have the reference's names, also where it was asked for others.
    let codes = values(&ours, "rocketmq_rpc_latency", "request_code");
    for code in [
        "send_message_v2",
        "pull_message",
        "pop_message",
        "end_transaction",
        "heart_beat",
    ] {
        assert!(codes.contains(code), "{code} in {codes:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn every_number_that_is_described_is_told() {
    let (rig, _client, ours) = traffic::busy().await;
    // These have no value on a broker that is alone, or within its limits.
    let absent = [
        "barque_slave_lag_bytes",
        "barque_slave_lag_time_milliseconds",
        "barque_metrics_series_dropped",
    ];
    for metric in METRICS {
        let name = metric.text_name();
        let is_told = ours.types.contains_key(&name);
        assert_eq!(is_told, !absent.contains(&name.as_str()), "{name}");
        assert!(
            !metric.help.is_empty() && metric.help.ends_with('.') && !metric.help.contains('\n'),
            "{name}"
        );
    }
    let (_, text) = page(rig.metrics.unwrap(), "/metrics").await;
    assert!(text.contains("# HELP rocketmq_consumer_lag_messages Messages that a group has not consumed"));
    rig.stop().await;
}

#[tokio::test]
async fn senders_make_no_series_by_the_names_they_give_themselves() {
    let rig = Rig::start_with(traffic::SOON).await;
    let client = rig.client().await;
    traffic::make_group(&client, "G").await;
    for number in 0..3 {
        let given_up = SendMessageV2 {
            producer_group: format!("sender-{number}").into(),
            topic: "%RETRY%G".into(),
            queue_id: 0,
            reconsume_times: Some(17),
            ..SendMessageV2::default()
        };
        assert_eq!(client.ask_with(&given_up, "given up").await.code, 0);
    }
    let ours = Scrape::of(&rig).await;
    let dead = ours.with("rocketmq_send_to_dlq_messages_total", &[]);
    assert_eq!(dead.iter().sum::<f64>(), 3.0);
    let groups = ours.with("rocketmq_send_to_dlq_messages_total", &[("consumer_group", "G")]);
    assert_eq!(
        groups, dead,
        "all of them are of the group that did not consume them"
    );
}

#[tokio::test]
async fn what_went_through_a_topic_is_counted() {
    let (rig, client, ours) = traffic::busy().await;
    let plain = [
        ("topic", "plain"),
        ("message_type", "normal"),
        ("is_system", "false"),
    ];
    assert_eq!(ours.one("rocketmq_messages_in_total", &plain), 4.0);
    let bytes = ours.one("rocketmq_throughput_in_total", &plain);
    assert_eq!(ours.one("rocketmq_message_size_sum", &plain), bytes);
    assert_eq!(ours.one("rocketmq_message_size_count", &plain), 4.0);
    // A delayed message counts where it waits, and again where it is delivered.
    let waits = [("topic", "SCHEDULE_TOPIC_XXXX"), ("is_system", "true")];
    assert!(ours.one("rocketmq_messages_in_total", &waits) >= 1.0);
    let went = [("topic", "plain"), ("consumer_group", "G"), ("is_retry", "")];
    // The one-way message may have come after the pull.
    assert!((3.0..=4.0).contains(&ours.one("rocketmq_messages_out_total", &went)));
    assert!(ours.one("rocketmq_throughput_out_total", &went) > 0.0);
    let dead = [("consumer_group", "failing"), ("topic", "failing")];
    assert_eq!(ours.one("rocketmq_send_to_dlq_messages_total", &dead), 1.0);
    assert_eq!(
        ours.one("rocketmq_commit_messages_total", &[("topic", "tx")]),
        1.0
    );
    assert_eq!(
        ours.one("rocketmq_rollback_messages_total", &[("topic", "tx")]),
        1.0
    );
    assert_eq!(ours.one("rocketmq_half_messages", &[("topic", "tx")]), 1.0);
    let failed = [("invocation_status", "failure")];
    assert_eq!(
        ours.one("rocketmq_topic_create_execution_time_milliseconds_count", &failed),
        1.0
    );
    let acked = [("consumer_group", "popping"), ("revive_message_type", "ACK")];
    assert_eq!(ours.one("rocketmq_pop_revive_in_message_total", &acked), 2.0);
    let sends = [("request_code", "send_message_v2"), ("result", "oneway")];
    assert_eq!(ours.one("rocketmq_rpc_latency_milliseconds_count", &sends), 1.0);
    // A batch is one send of three messages.
    let before = ours.one("rocketmq_message_size_count", &plain);
    send_batch(&client, &["a", "bb", "ccc"]).await;
    let after = Scrape::of(&rig).await;
    assert_eq!(after.one("rocketmq_messages_in_total", &plain), 7.0);
    assert_eq!(after.one("rocketmq_message_size_count", &plain), before + 1.0);
    rig.stop().await;
}

async fn send_batch(client: &crate::rig::Client, bodies: &[&str]) {
    let mut body = Vec::new();
    for text in bodies {
        let size = 4 + 4 + 4 + 4 + 4 + text.len() + 2;
        for number in [size as i32, 0, 0, 0, text.len() as i32] {
            body.extend_from_slice(&number.to_be_bytes());
        }
        body.extend_from_slice(text.as_bytes());
        body.extend_from_slice(&0_i16.to_be_bytes());
    }
    let header = wire::api::send::SendMessageV2 {
        producer_group: "PG".into(),
        topic: "plain".into(),
        default_topic: "TBW102".into(),
        batch: Some(true),
        ..wire::api::send::SendMessageV2::default()
    };
    let sent = client.ask_with(&header, body).await;
    assert_eq!(sent.code, 0, "{:?}", sent.remark);
}
