// SPDX-License-Identifier: Apache-2.0
//! Codes 310 and 10.

use wire::api::group::UpdateAndCreateSubscriptiongroup;
use wire::api::lock::LockBatchMq;
use wire::api::send::{SendMessage, SendMessageV2, SendReceipt};
use wire::api::topic::UpdateAndCreateTopic;
use wire::body::group::SubscriptionGroupConfig;
use wire::body::queue::{LockBatch, MessageQueue};
use wire::fastjson;
use wire::frame::Frame;
use wire::message_id::decode_offset_id;
use wire::properties;
use wire::record::Record;

use crate::rig::{Client, Rig, SOON, pull};

/// A send of the kind every client makes.
pub(crate) fn send(topic: &str, queue_id: i32, properties: &str) -> SendMessageV2 {
    SendMessageV2 {
        producer_group: "PG".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id,
        born_timestamp: 1,
        properties: Some(properties.into()),
        ..SendMessageV2::default()
    }
}

/// Everything stored in a queue.
pub(crate) async fn stored(client: &Client, topic: &str, queue_id: i32) -> Vec<Record> {
    let pulled = client.pull(&pull("READER", topic, queue_id, 0)).await;
    Record::decode_all(&pulled.frame.body)
        .map(Result::unwrap)
        .collect()
}

pub(crate) fn property(record: &Record, name: &str) -> Option<String> {
    properties::get(&record.properties, name).map(str::to_owned)
}

fn refusal(frame: &Frame) -> (i32, &str) {
    (frame.code, frame.remark.as_deref().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_stored_as_it_was_sent_with_the_marks_of_the_broker() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    let mut header = send(
        "T",
        1,
        "KEYS\u{1}k\u{2}UNIQ_KEY\u{1}U1\u{2}POP_CK\u{1}forged\u{2}TAGS\u{1}A\u{2}",
    );
    (header.flag, header.sys_flag, header.born_timestamp) = (7, 1, 123_456);
    let reply = client.ask_with(&header, "hello").await;
    assert_eq!(refusal(&reply), (0, ""));
    let receipt: SendReceipt = reply.ext.read().unwrap();
    assert_eq!((receipt.queue_id, receipt.queue_offset), (1, 0));
    assert_eq!(receipt.transaction_id.as_deref(), Some("U1"));
    assert_eq!(decode_offset_id(&receipt.msg_id), Some((rig.addr, 0)));
    assert_eq!(receipt.region.as_deref(), Some("DefaultRegion"));
    assert_eq!(receipt.trace_on.as_deref(), Some("true"));

    let [record] = stored(&client, "T", 1).await.try_into().unwrap();
    assert_eq!(&record.body[..], b"hello");
    assert_eq!((record.flag, record.sys_flag, record.born_at), (7, 1, 123_456));
    assert_eq!(record.born_host, client.channel.local);
    assert_eq!(record.store_host, rig.addr);
    for (name, value) in [
        ("KEYS", Some("k")),
        ("TAGS", Some("A")),
        ("UNIQ_KEY", Some("U1")),
        ("MSG_REGION", Some("DefaultRegion")),
        ("TRACE_ON", Some("true")),
        ("CLUSTER", Some("DefaultCluster")),
        ("POP_CK", None),
    ] {
        assert_eq!(property(&record, name).as_deref(), value, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_long_form_of_a_send_does_the_same() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let receipt: SendReceipt = client
        .ask_with(&SendMessage::from(send("T", 0, "")), "hello")
        .await
        .ext
        .read()
        .unwrap();
    assert_eq!(receipt.queue_offset, 0);
    assert_eq!(&stored(&client, "T", 0).await[0].body[..], b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_id_gets_one_and_its_sender_is_told() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let first = client.send("T", 0, "a").await.transaction_id.unwrap();
    let second = client.send("T", 0, "b").await.transaction_id.unwrap();
    assert_ne!(first, second);
    assert_eq!(first.len(), 32);
    let records = stored(&client, "T", 0).await;
    assert_eq!(property(&records[0], "UNIQ_KEY").unwrap(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_sends_are_answered_and_stored_in_their_order() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let mut calls = Vec::new();
    for n in 0..500 {
        let frame = Frame::request(0, &send("T", 0, "")).with_body(n.to_string());
        calls.push(Box::pin(client.channel.call(frame, SOON)));
    }
    let mut offsets = Vec::new();
    for reply in futures_util::future::join_all(calls).await {
        let receipt: SendReceipt = reply.unwrap().ext.read().unwrap();
        offsets.push(receipt.queue_offset);
    }
    assert!(offsets.is_sorted());
    assert_eq!(offsets, (0..500).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_way_send_is_stored_and_never_answered() {
    let rig = Rig::start().await;
    let mut client = rig.client_of("T", 1).await;
    for header in [send("T", 0, ""), send("bad topic", 0, "")] {
        client
            .channel
            .push(Frame::request(77, &header).with_body("quiet").oneway())
            .unwrap();
    }
    client.send("T", 0, "loud").await;
    let bodies: Vec<_> = stored(&client, "T", 0)
        .await
        .into_iter()
        .map(|record| record.body)
        .collect();
    assert_eq!(bodies, ["quiet", "loud"]);
    assert_eq!(client.arrived(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_to_an_unknown_topic_creates_it_from_the_default_topic() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    assert_eq!(client.send("New", 3, "a").await.queue_id, 3);
    let config = crate::topics::config_of(&client, "New").await;
    assert_eq!(
        (config.read_queue_nums, config.write_queue_nums, config.perm),
        (4, 4, 6)
    );
    assert_eq!(stored(&client, "New", 3).await.len(), 1);

    let many = SendMessageV2 {
        default_topic_queue_nums: 100,
        ..send("Wide", 0, "")
    };
    assert_eq!(client.ask_with(&many, "a").await.code, 0);
    assert_eq!(
        crate::topics::config_of(&client, "Wide").await.write_queue_nums,
        8,
        "no more than TBW102 has"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_of_topics_neither_sends_nor_operators_make_more() {
    let rig = Rig::start_with(&[("topicsMax", "16")]).await;
    let client = rig.client().await;
    client.send("A", 0, "a").await;
    let refused = client.ask_with(&send("B", 0, ""), "a").await;
    assert_eq!(refused.code, 17, "{:?}", refused.remark);
    let make = |topic: &str| UpdateAndCreateTopic {
        topic: topic.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 1,
        write_queue_nums: 1,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        ..UpdateAndCreateTopic::default()
    };
    let refused = client.ask_with(&make("B"), "").await;
    assert_eq!(refused.code, 1, "{:?}", refused.remark);
    assert!(refused.remark.is_some_and(|remark| remark.contains("topicsMax")));
    assert_eq!(
        client.ask_with(&make("A"), "").await.code,
        0,
        "a topic that is there changes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn any_topic_with_the_inherit_bit_is_a_model_for_new_ones() {
    let rig = Rig::start_with(&[("autoCreateTopicEnable", "false")]).await;
    let client = rig.client().await;
    let from = |model: &str, topic: &str| SendMessageV2 {
        default_topic: model.into(),
        ..send(topic, 0, "")
    };
    let refused = client.ask_with(&from("TBW102", "A"), "a").await;
    assert_eq!(refused.code, 17, "{:?}", refused.remark);
    assert_eq!(client.ask_with(&from("SELF_TEST_TOPIC", "A"), "a").await.code, 17);
    assert_eq!(client.ask_with(&from("DefaultCluster", "A"), "a").await.code, 0);
    assert_eq!(crate::topics::config_of(&client, "A").await.write_queue_nums, 4);
    assert_eq!(client.ask_with(&from("broker-a", "B"), "a").await.code, 0);
    assert_eq!(crate::topics::config_of(&client, "B").await.write_queue_nums, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_breaks_a_rule_is_refused_with_the_code_of_the_reference() {
    let rig = Rig::start_with(&[("maxMessageSize", "1000")]).await;
    let client = rig.client_of("T", 2).await;
    let long = format!("a\u{1}{}\u{2}", "x".repeat(32_767));
    for (header, body, code, says) in [
        (send("bad topic", 0, ""), "a", 29, "illegal characters"),
        (send(&"t".repeat(128), 0, ""), "a", 29, "127"),
        (send("", 0, ""), "a", 29, "blank"),
        (send("SCHEDULE_TOPIC_XXXX", 0, ""), "a", 16, "is forbidden"),
        (send("RMQ_SYS_TRANS_HALF_TOPIC", 0, ""), "a", 16, "is forbidden"),
        (send("T", 2, ""), "a", 29, "queueId[2] is illegal"),
        (send("T", 0, ""), "", 1, "no body"),
        (send("T", 0, ""), &"x".repeat(1001), 13, "maxMessageSize"),
        (send("T", 0, &long), "a", 13, "properties"),
    ] {
        let reply = client.ask_with(&header, body.to_owned()).await;
        assert_eq!(reply.code, code, "{:?}", reply.remark);
        assert!(
            reply.remark.as_ref().unwrap().contains(says),
            "{:?}",
            reply.remark
        );
        assert_eq!(reply.ext.get("MSG_REGION").as_deref(), Some("DefaultRegion"));
        assert_eq!(reply.ext.get("TRACE_ON").as_deref(), Some("true"));
    }
    assert_eq!(stored(&client, "T", 0).await.len(), 0);
    let marks = format!("a\u{1}{}\u{2}", "x".repeat(32_700));
    assert_eq!(
        client.ask_with(&send("T", 0, &marks), "a").await.code,
        13,
        "too long with those of the broker"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_negative_queue_lets_the_broker_choose() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 3).await;
    let mut seen = [0; 3];
    for _ in 0..100 {
        seen[usize::try_from(client.send("T", -1, "a").await.queue_id).unwrap()] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_have_to_wait_is_refused_and_not_delivered_at_once() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    for (name, value) in [("INNER_NUM", "2")] {
        let reply = client
            .ask_with(&send("T", 0, &format!("{name}\u{1}{value}\u{2}")), "a")
            .await;
        assert_eq!(reply.code, 13);
        assert!(
            reply.remark.as_ref().unwrap().contains(name),
            "{:?}",
            reply.remark
        );
    }
    let half = SendMessageV2 {
        sys_flag: 4,
        ..send("T", 0, "")
    };
    assert_eq!(client.ask_with(&half, "a").await.code, 13);
    assert_eq!(stored(&client, "T", 0).await.len(), 0);
    client.send_with("T", 0, "a", "DELAY\u{1}0\u{2}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_forbidden_when_the_settings_say_so() {
    let rig = Rig::start_with(&[("rejectTransactionMessage", "true")]).await;
    let client = rig.client_of("T", 1).await;
    assert_eq!(
        client
            .ask_with(&send("T", 0, "TRAN_MSG\u{1}true\u{2}"), "a")
            .await
            .code,
        16
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn before_its_opening_time_the_broker_takes_no_sends() {
    let rig = Rig::start_with(&[("startAcceptSendRequestTimeStamp", "99999999999999")]).await;
    let client = rig.client_of("T", 1).await;
    assert_eq!(client.ask_with(&send("T", 0, ""), "a").await.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_priority_chooses_the_queue() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 4).await;
    let queue = |properties: &'static str| async { client.send_with("T", 0, "a", properties).await.queue_id };
    assert_eq!(queue("_SYS_MSG_PRIORITY_\u{1}2\u{2}").await, 2);
    assert_eq!(queue("_SYS_MSG_PRIORITY_\u{1}9\u{2}").await, 3);
    assert_eq!(
        queue("_SYS_MSG_PRIORITY_\u{1}2\u{2}__SHARDINGKEY\u{1}k\u{2}").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_message_is_answered_when_it_is_on_disk() {
    let rig = Rig::start_with(&[("flushDiskType", "SYNC_FLUSH")]).await;
    let client = rig.client_of("T", 1).await;
    for n in 0..20 {
        assert_eq!(client.send("T", 0, "a").await.queue_offset, n);
    }
    client.send_with("T", 0, "b", "WAIT\u{1}false\u{2}").await;
    client.send("T", 0, "c").await;
    assert_eq!(stored(&client, "T", 0).await.len(), 22);
}

fn retry(group: &str, times: i32) -> SendMessageV2 {
    SendMessageV2 {
        reconsume_times: Some(times),
        max_reconsume_times: Some(16),
        ..send(&format!("%RETRY%{group}"), 0, "RETRY_TOPIC\u{1}T\u{2}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_to_a_retry_topic_needs_its_group() {
    let rig = Rig::start_with(&[("autoCreateSubscriptionGroup", "false")]).await;
    let client = rig.client().await;
    let refused = client.ask_with(&retry("G", 0), "a").await;
    assert_eq!(refused.code, 26, "{:?}", refused.remark);
    let group = SubscriptionGroupConfig {
        group_name: "G".into(),
        ..SubscriptionGroupConfig::default()
    };
    client
        .ask_with(&UpdateAndCreateSubscriptiongroup, fastjson::to_vec(&group))
        .await;
    assert_eq!(client.ask_with(&retry("G", 0), "a").await.code, 0);
    let config = crate::topics::config_of(&client, "%RETRY%G").await;
    assert_eq!((config.write_queue_nums, config.perm), (1, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_failed_too_often_goes_to_the_dead_letters_of_its_group() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    assert_eq!(client.ask_with(&retry("G", 16), "16 times").await.code, 0);
    assert_eq!(client.ask_with(&retry("G", 17), "17 times").await.code, 0);
    assert_eq!(stored(&client, "%RETRY%G", 0).await.len(), 1);
    let [dead] = stored(&client, "%DLQ%G", 0).await.try_into().unwrap();
    assert_eq!(&dead.body[..], b"17 times");
    assert_eq!(dead.reconsume_times, 17);
    assert_eq!(property(&dead, "DELAY").as_deref(), Some("-1"));
    assert_eq!(property(&dead, "RETRY_TOPIC").as_deref(), Some("T"));
    let config = crate::topics::config_of(&client, "%DLQ%G").await;
    assert_eq!((config.write_queue_nums, config.perm), (1, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_consumes_in_order_gives_up_at_once() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let lock = LockBatch {
        client_id: "c".into(),
        consumer_group: "G".into(),
        mq_set: vec![MessageQueue {
            broker_name: "broker-a".into(),
            queue_id: 0,
            topic: "T".into(),
        }],
        only_this_broker: false,
    };
    client.ask_with(&LockBatchMq {}, fastjson::to_vec(&lock)).await;
    let delayed = SendMessageV2 {
        properties: Some("DELAY\u{1}3\u{2}".into()),
        ..retry("G", 0)
    };
    assert_eq!(client.ask_with(&delayed, "a").await.code, 0);
    assert_eq!(stored(&client, "%DLQ%G", 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_port_takes_sends_and_no_pulls() {
    let rig = Rig::start().await;
    rig.client_of("T", 1).await;
    let client = Rig::client_at(rig.fast_addr).await;
    client.send("T", 0, "a").await;
    let reply = client.ask(&pull("G", "T", 0, 0)).await;
    assert_eq!(refusal(&reply), (3, " request type 11 not supported"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_serves_is_told_so() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut frame = Frame::request(0, &send("T", 0, ""));
    frame.code = 9999;
    let reply = client.channel.call(frame, SOON).await.unwrap();
    assert_eq!(refusal(&reply), (3, " request type 9999 not supported"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_field_is_named() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut frame = Frame::request(0, &SendMessageV2::default()).with_body("a");
    frame.ext = wire::ext::Ext::default().with("a", "PG").with("b", "T");
    let reply = client.channel.call(frame, SOON).await.unwrap();
    assert_eq!(reply.code, 1);
    assert!(
        reply.remark.as_ref().unwrap().contains("field c is missing"),
        "{:?}",
        reply.remark
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_outlive_a_restart() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    for n in 0..10 {
        client.send("T", 0, &n.to_string()).await;
    }
    let dir = rig.stop().await;
    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    assert_eq!(stored(&client, "T", 0).await.len(), 10);
    assert_eq!(client.send("T", 0, "10").await.queue_offset, 10);
}
