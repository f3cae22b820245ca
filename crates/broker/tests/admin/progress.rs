// SPDX-License-Identifier: Apache-2.0
//! Codes 303, 317 and 321.

use wire::api::offset::UpdateConsumerOffset;
use wire::api::query::{GetBrokerConsumeStats, QueryConsumeQueue, QueryConsumeTimeSpan};
use wire::body::stats::{BrokerConsumeStats, ConsumeTimeSpans, QueueContents};
use wire::fastjson;
use wire::properties::java_hash;

use crate::rig::{Client, Rig, topic};

async fn commit(client: &Client, topic: &str, offset: i64) {
    let commit = UpdateConsumerOffset {
        consumer_group: "G".into(),
        topic: topic.into(),
        queue_id: 0,
        commit_offset: offset,
    };
    client.get(&commit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_in_time_a_group_is_follows_from_the_store_times_of_its_messages() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    for body in ["a", "b", "c"] {
        client.send("T", 0, body).await;
    }
    let question = QueryConsumeTimeSpan {
        topic: "T".into(),
        group: "G".into(),
    };
    let ask = async || {
        let reply = client.ask(&question).await;
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
        let spans: ConsumeTimeSpans = fastjson::from_slice(&reply.body).unwrap();
        spans.consume_time_span_set
    };
    commit(&client, "T", 1).await;
    let [first, second] = ask().await.try_into().unwrap();
    assert_eq!(first.message_queue.queue_id, 0);
    assert_eq!(first.consume_time_stamp, first.min_time_stamp, "one is consumed");
    assert!(first.max_time_stamp >= first.min_time_stamp && first.delay_time >= 0);
    assert_eq!(first.min_time_stamp_str.len(), "2026-11-20#21:26:00:583".len());
    assert_eq!(
        (second.min_time_stamp, second.max_time_stamp),
        (-1, -1),
        "it is empty"
    );
    commit(&client, "T", 3).await;
    let [first, _] = ask().await.try_into().unwrap();
    assert_eq!(
        (first.consume_time_stamp, first.delay_time),
        (first.max_time_stamp, 0)
    );
    let absent = QueryConsumeTimeSpan {
        topic: "Absent".into(),
        group: "G".into(),
    };
    assert_eq!(client.ask(&absent).await.code, 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_all_groups_is_told_at_once_and_that_on_ordered_topics_alone_too() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let mut ordered = topic("O", 1);
    ordered.order = true;
    client.get(&ordered).await;
    for name in ["T", "O"] {
        client.send(name, 0, "a").await;
        client.send(name, 0, "b").await;
        commit(&client, name, 1).await;
    }
    let ask = async |is_order| {
        let reply = client
            .ask(&GetBrokerConsumeStats {
                is_order: Some(is_order),
            })
            .await;
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
        fastjson::from_slice::<BrokerConsumeStats>(&reply.body).unwrap()
    };
    let all = ask(false).await;
    assert_eq!(
        (all.total_diff, all.total_inflight_diff),
        (2, -2),
        "as the reference counts"
    );
    let of_group = |stats: &BrokerConsumeStats| {
        let mut found = stats
            .consume_stats_list
            .iter()
            .filter_map(|groups| groups.get("G"));
        found.next().cloned().unwrap()
    };
    assert_eq!(of_group(&all).len(), 2);
    assert!(
        all.consume_stats_list.len() > 1,
        "groups without topics are listed too"
    );
    let ordered = ask(true).await;
    let [only] = of_group(&ordered).try_into().unwrap();
    let (queue, offsets) = only.offset_table.first_key_value().unwrap();
    assert_eq!(queue.0.topic, "O");
    assert_eq!((offsets.broker_offset, offsets.consumer_offset), (2, 1));
    assert!(offsets.last_timestamp > 0 && offsets.pull_offset == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_shown_as_it_is_stored() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    client.make_topic("T", 1).await;
    for tag in ["A", "B", "C"] {
        client.send_tagged("T", 0, tag).await;
    }
    client.consume("G", "T", "A").await;
    let asked = |index: i64, count: i32, group: Option<&str>| QueryConsumeQueue {
        topic: "T".into(),
        queue_id: 0,
        index,
        count,
        consumer_group: group.map(Into::into),
    };
    let ask = async |header: QueryConsumeQueue| {
        let reply = client.ask(&header).await;
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
        fastjson::from_slice::<QueueContents>(&reply.body).unwrap()
    };
    let shown = ask(asked(1, 5, None)).await;
    assert_eq!((shown.min_queue_index, shown.max_queue_index), (0, 3));
    let codes: Vec<_> = shown.queue_data.iter().map(|entry| entry.tags_code).collect();
    assert_eq!(codes, ["B", "C"].map(|tag| i64::from(java_hash(tag))));
    assert!(shown.queue_data[0].physic_offset > 0 && shown.queue_data[0].physic_size > 91);
    assert_eq!((shown.filter_data, shown.subscription_data), (None, None));
    let shown = ask(asked(0, 1, Some("G"))).await;
    assert_eq!(shown.queue_data.len(), 1);
    assert_eq!(shown.filter_data.as_deref(), Some("null"));
    assert_eq!(shown.subscription_data.unwrap().sub_string, "A");
    let shown = ask(asked(0, 0, Some("H"))).await;
    assert_eq!(shown.filter_data.as_deref(), Some("H@T is not online!"));
    assert_eq!((shown.queue_data.len(), shown.subscription_data), (0, None));

    let beyond = client.ask(&asked(3, 1, None)).await;
    assert_eq!((beyond.code, beyond.body.len()), (0, 0));
    assert_eq!(beyond.remark.as_deref(), Some("Index 3 of 0@T is not exist!"));
    let absent = QueryConsumeQueue {
        topic: "Absent".into(),
        ..asked(0, 1, None)
    };
    assert_eq!(client.ask(&absent).await.code, 1);
}
