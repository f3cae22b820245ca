// SPDX-License-Identifier: Apache-2.0
//! Codes 12, 33, 208, 343.

use wire::api::group::GetConsumeStats;
use wire::api::offset::UpdateConsumerOffset;
use wire::api::query::{QueryMessage, QueryMessageReply, ViewMessageById};
use wire::api::topic::QueryTopicsByConsumer;
use wire::body::queue::{MessageQueue, QueueKey};
use wire::body::stats::ConsumeStats;
use wire::body::topic::TopicList;
use wire::fastjson;
use wire::message_id;
use wire::record::Record;

use crate::rig::{Rig, pull};

fn by_key(key: &str) -> QueryMessage {
    QueryMessage {
        topic: "T".into(),
        key: key.into(),
        max_num: 8,
        end_timestamp: i64::MAX,
        ..QueryMessage::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_found_by_key_and_by_unique_key() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    client
        .send_with("T", 0, "a", "KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}FD01\u{2}")
        .await;
    client
        .send_with("T", 1, "b", "KEYS\u{1}k2\u{2}UNIQ_KEY\u{1}FD02\u{2}")
        .await;
    let found = client.ask(&by_key("k2")).await;
    assert_eq!(found.code, 0, "{:?}", found.remark);
    let bodies: Vec<_> = Record::decode_all(&found.body)
        .map(|record| record.unwrap().body)
        .collect();
    assert_eq!(bodies, ["a", "b"]);
    let header: QueryMessageReply = found.ext.read().unwrap();
    assert!(header.index_last_update_timestamp > 0 && header.index_last_update_phyoffset > 0);
    let unique = QueryMessage {
        unique_key_query: Some(true),
        max_num: 0,
        ..by_key("FD02")
    };
    let found = client.ask(&unique).await;
    assert_eq!(found.code, 0, "{:?}", found.remark);
    assert_eq!(Record::decode(&found.body).unwrap().body, "b");
    let missing = client.ask(&by_key("k3")).await;
    assert_eq!(missing.code, 22);
    assert_eq!(
        missing.remark.as_deref(),
        Some("can not find message, maybe time range not correct")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_are_answered_where_there_are_more_than_one_answer_holds() {
    let settings = [("maxMsgsNumBatch", "5"), ("defaultQueryMaxNum", "3")];
    let rig = Rig::start_with(&settings).await;
    let client = rig.client_of("T", 1).await;
    for body in ["0", "1", "2", "3", "4", "5", "6"] {
        let properties = "KEYS\u{1}k\u{2}TAGS\u{1}A\u{2}UNIQ_KEY\u{1}FD01\u{2}";
        client.send_with("T", 0, body, properties).await;
    }
    let bodies = async |query: QueryMessage| {
        let found = client.ask(&query).await;
        assert_eq!(found.code, 0, "{:?}", found.remark);
        let records = Record::decode_all(&found.body);
        let bodies = records.map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap());
        bodies.collect::<String>()
    };
    let of = |key: &str, kind: &str, max_num: i32| QueryMessage {
        index_type: Some(kind.into()),
        max_num,
        ..by_key(key)
    };
    assert_eq!(bodies(of("k", "K", 2)).await, "56");
    for (key, kind) in [("k", "K"), ("A", "T"), ("FD01", "U")] {
        assert_eq!(bodies(of(key, kind, i32::MAX)).await, "23456", "{kind}");
    }
    let unique = QueryMessage {
        unique_key_query: Some(true),
        ..of("FD01", "", -1)
    };
    assert_eq!(bodies(unique).await, "456");
    let refused = client.ask(&of("k", "K", -1)).await;
    assert_eq!(refused.code, 1, "{:?}", refused.remark);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_viewed_by_the_position_in_its_id() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    client.send("T", 0, "a").await;
    let receipt = client.send("T", 0, "b").await;
    let (_, offset) = message_id::decode_offset_id(&receipt.msg_id).unwrap();
    let view = ViewMessageById {
        topic: Some("T".into()),
        offset,
    };
    let found = client.ask(&view).await;
    assert_eq!(Record::decode(&found.body).unwrap().body, "b");
    assert!(found.ext.is_absent());
    for offset in [offset + 1, -1, i64::MAX] {
        let missing = client
            .ask(&ViewMessageById {
                offset,
                ..view.clone()
            })
            .await;
        assert_eq!(missing.code, 1);
        assert_eq!(
            missing.remark.unwrap(),
            format!("can not find message by the offset, {offset}")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_a_group_is_shown_queue_by_queue() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    for _ in 0..3 {
        client.send("T", 1, "a").await;
    }
    client.pull(&pull("G", "T", 1, 0)).await;
    let (consumer_group, topic) = ("G".into(), "T".into());
    client
        .get(&UpdateConsumerOffset {
            consumer_group,
            topic,
            queue_id: 1,
            commit_offset: 2,
        })
        .await;
    let ask = GetConsumeStats {
        consumer_group: "G".into(),
        topic: None,
        topic_list: None,
    };
    let reply = client.ask(&ask).await;
    let stats: ConsumeStats = fastjson::from_slice(&reply.body).unwrap();
    let of = |queue_id| {
        stats.offset_table[&QueueKey(MessageQueue {
            broker_name: "broker-a".into(),
            queue_id,
            topic: "T".into(),
        })]
    };
    assert_eq!(stats.offset_table.len(), 2);
    assert_eq!(
        (of(0).broker_offset, of(0).consumer_offset, of(0).pull_offset),
        (0, 0, 0)
    );
    assert_eq!(
        (of(1).broker_offset, of(1).consumer_offset, of(1).pull_offset),
        (3, 2, 3)
    );
    assert!(of(1).last_timestamp > 0 && of(0).last_timestamp == 0);

    let reply = client.ask(&QueryTopicsByConsumer { group: "G".into() }).await;
    let topics: TopicList = fastjson::from_slice(&reply.body).unwrap();
    assert_eq!(topics.topic_list, ["T"]);
    assert_eq!(topics.broker_addr.unwrap(), rig.addr.to_string());

    client.consume("G", "U", "*").await;
    let reply = client.ask(&ask).await;
    let stats: ConsumeStats = fastjson::from_slice(&reply.body).unwrap();
    assert!(
        stats.offset_table.is_empty(),
        "an online group no longer subscribes to it"
    );
}
