// SPDX-License-Identifier: Apache-2.0
//! Code 36: messages that consumers give back.

use wire::api::group::UpdateAndCreateSubscriptiongroup;
use wire::api::send::{ConsumerSendMsgBack, SendReceipt};
use wire::body::group::SubscriptionGroupConfig;
use wire::fastjson;
use wire::frame::Frame;
use wire::message_id::decode_offset_id;
use wire::record::Record;

use crate::rig::{Client, Rig, pull};

fn back(receipt: &SendReceipt, level: i32) -> ConsumerSendMsgBack {
    let (_, pos) = decode_offset_id(&receipt.msg_id).unwrap();
    ConsumerSendMsgBack {
        offset: pos,
        group: "G".into(),
        delay_level: level,
        origin_msg_id: receipt.transaction_id.clone(),
        origin_topic: Some("T".into()),
        max_reconsume_times: Some(2),
        ..ConsumerSendMsgBack::default()
    }
}

fn told(frame: &Frame) -> (i32, &str) {
    (frame.code, frame.remark.as_deref().unwrap_or(""))
}

async fn all(client: &Client, topic: &str, queue: i32) -> Vec<Record> {
    let pulled = client.pull(&pull("G", topic, queue, 0)).await;
    Record::decode_all(&pulled.frame.body)
        .map(Result::unwrap)
        .collect()
}

fn property(record: &Record, name: &str) -> String {
    wire::properties::get(&record.properties, name)
        .unwrap_or("-")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_comes_again_later_and_later_and_then_is_a_dead_letter() {
    let rig = Rig::start_with(&[("messageDelayLevel", "1s 1s 1s 1s")]).await;
    let client = rig.client_of("T", 1).await;
    let first = client
        .send_with("T", 0, "body", "TAGS\u{1}A\u{2}KEYS\u{1}k\u{2}")
        .await;
    assert_eq!(told(&client.ask(&back(&first, 0)).await), (0, ""));
    let [parked] = all(&client, "SCHEDULE_TOPIC_XXXX", 2).await.try_into().unwrap();
    assert_eq!(parked.reconsume_times, 1);
    let names = [
        "DELAY",
        "REAL_TOPIC",
        "RETRY_TOPIC",
        "ORIGIN_MESSAGE_ID",
        "WAIT",
        "TAGS",
        "KEYS",
    ];
    assert_eq!(
        names.map(|name| property(&parked, name)),
        ["3", "%RETRY%G", "T", &first.msg_id, "false", "A", "k"]
    );

    let mut wait = pull("G", "%RETRY%G", 0, 0);
    wait.sys_flag |= 2;
    wait.suspend_timeout_millis = 8_000;
    let pulled = client.pull(&wait).await;
    let [second]: [Record; 1] = Record::decode_all(&pulled.frame.body)
        .map(Result::unwrap)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    assert_eq!(
        (second.reconsume_times, &second.body[..]),
        (1, b"body".as_slice())
    );
    assert_eq!(property(&second, "ORIGIN_MESSAGE_ID"), first.msg_id.as_str());

    let again = ConsumerSendMsgBack {
        offset: second.physical_offset,
        ..back(&first, 0)
    };
    assert_eq!(told(&client.ask(&again).await), (0, ""));
    let [parked] = all(&client, "SCHEDULE_TOPIC_XXXX", 3).await.try_into().unwrap();
    assert_eq!(
        (parked.reconsume_times, property(&parked, "DELAY")),
        (2, "4".to_owned())
    );
    let third = ConsumerSendMsgBack {
        offset: parked.physical_offset,
        ..back(&first, 0)
    };
    assert_eq!(told(&client.ask(&third).await), (0, ""));
    let [dead] = all(&client, "%DLQ%G", 0).await.try_into().unwrap();
    assert_eq!((dead.reconsume_times, &dead.body[..]), (3, b"body".as_slice()));
    assert_eq!(
        ["RETRY_TOPIC", "DELAY", "ORIGIN_MESSAGE_ID"].map(|name| property(&dead, name)),
        ["T", "0", &first.msg_id]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_negative_level_is_a_dead_letter_at_once() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let first = client.send("T", 0, "body").await;
    assert_eq!(told(&client.ask(&back(&first, -1)).await), (0, ""));
    assert_eq!(all(&client, "%DLQ%G", 0).await.len(), 1);
    assert_eq!(queues(&client, "%DLQ%G").await, (1, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_noted_on_a_message_stays_there_until_it_is_a_dead_letter() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let noted = [
        ("RECONSUME_TIME", "7"),
        ("ORIGIN_MESSAGE_ID", "FIRST"),
        ("RETRY_TOPIC", "OTHER"),
        ("DLQ_ORIGIN_TOPIC", "OTHER"),
        ("DLQ_ORIGIN_MESSAGE_ID", "FIRST"),
    ];
    let text: String = noted
        .iter()
        .map(|(name, value)| format!("{name}\u{1}{value}\u{2}"))
        .collect();
    let first = client.send_with("T", 0, "body", &text).await;
    assert_eq!(told(&client.ask(&back(&first, 1)).await), (0, ""));
    let [parked] = all(&client, "SCHEDULE_TOPIC_XXXX", 0).await.try_into().unwrap();
    assert_eq!(told(&client.ask(&back(&first, -1)).await), (0, ""));
    let [dead] = all(&client, "%DLQ%G", 0).await.try_into().unwrap();
    for record in [parked, dead] {
        // What counts is the count of the record; the property is the client's own.
        assert_eq!(record.reconsume_times, 1);
        for (name, value) in noted {
            assert_eq!(property(&record, name), value, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_retry_queues_drops_what_fails() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let group = SubscriptionGroupConfig {
        group_name: "G".into(),
        retry_queue_nums: 0,
        ..SubscriptionGroupConfig::default()
    };
    let body = fastjson::to_vec(&group);
    assert_eq!(
        client
            .ask_with(&UpdateAndCreateSubscriptiongroup, body)
            .await
            .code,
        0
    );
    let first = client.send("T", 0, "body").await;
    assert_eq!(told(&client.ask(&back(&first, 0)).await), (0, ""));
    assert_eq!(client.pull(&pull("G", "%RETRY%G", 0, 0)).await.code, 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_given_back_is_refused_and_nothing_is_stored() {
    let rig = Rig::start_with(&[("autoCreateSubscriptionGroup", "false")]).await;
    let client = rig.client().await;
    client.make_topic("T", 1).await;
    let first = client.send("T", 0, "body").await;
    assert_eq!(client.ask(&back(&first, 0)).await.code, 26);
    let group = SubscriptionGroupConfig {
        group_name: "G".into(),
        ..SubscriptionGroupConfig::default()
    };
    let body = fastjson::to_vec(&group);
    assert_eq!(
        client
            .ask_with(&UpdateAndCreateSubscriptiongroup, body)
            .await
            .code,
        0
    );
    for offset in [-1, 1, 1 << 40] {
        let reply = client
            .ask(&ConsumerSendMsgBack {
                offset,
                ..back(&first, 0)
            })
            .await;
        let remark = format!("look message by offset failed, {offset}");
        assert!(
            reply.code == 1 && told(&reply).1.starts_with(&remark),
            "{:?}",
            reply.remark
        );
    }
    assert_eq!(all(&client, "SCHEDULE_TOPIC_XXXX", 2).await.len(), 0);
}

async fn queues(client: &Client, topic: &str) -> (i32, i32) {
    let reply = client
        .ask(&wire::api::topic::GetTopicConfig {
            topic: topic.into(),
            ..Default::default()
        })
        .await;
    let config: wire::body::topic::TopicConfig = fastjson::from_slice(&reply.body).unwrap();
    (config.write_queue_nums, config.perm)
}
