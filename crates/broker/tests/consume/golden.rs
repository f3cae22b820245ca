// SPDX-License-Identifier: Apache-2.0
//! Exchanges captured from the reference broker: we are asked the same, in the same state, and must answer the same.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::BytesMut;
use wire::api::heartbeat::UnregisterClient;
use wire::body::stats::{ConsumeStats, OffsetTable};
use wire::body::subscription::{ConsumerConnection, ConsumerData, HeartbeatBody, ProducerConnection};
use wire::fastjson;
use wire::frame::{Decoder, Frame};

use crate::rig::{Client, Rig, SOON, consumer, producer, subscription};

/// The captures were made once with JSON headers and once with binary ones; names end accordingly.
const RUNS: [&str; 2] = ["J", "R"];

/// All exchanges of a file: request, and reply if there was one.
fn captured(file: &str) -> Vec<(Frame, Option<Frame>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/tests/golden");
    let mut bytes = BytesMut::from(&std::fs::read(folder.join(file)).unwrap()[..]);
    let decoder = Decoder {
        frame_bytes_max: 16_777_216,
    };
    let mut exchanges: Vec<(Frame, Option<Frame>)> = Vec::new();
    while let Some(frame) = decoder.next(&mut bytes).unwrap() {
        match exchanges.last_mut() {
            Some((_, reply)) if frame.is_reply() => *reply = Some(frame),
            _ => exchanges.push((frame, None)),
        }
    }
    exchanges
}

fn fields(frame: &Frame) -> BTreeMap<String, String> {
    frame
        .ext
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

async fn ask(client: &Client, request: &Frame) -> Frame {
    client.channel.call(request.clone(), SOON).await.unwrap()
}

/// Code, remark and header fields must be the same. Returns both bodies.
async fn compare(client: &Client, request: &Frame, theirs: &Frame) -> (Frame, Frame) {
    let ours = ask(client, request).await;
    let seen = |frame: &Frame| {
        (
            frame.code,
            frame.remark.clone(),
            frame.ext.is_absent(),
            fields(frame),
        )
    };
    assert_eq!(
        seen(&ours),
        seen(theirs),
        "{} {:?}",
        request.code,
        fields(request)
    );
    (ours, theirs.clone())
}

/// A broker in the state of the captured one, as far as its consumers see it.
async fn like_the_reference() -> (Rig, Client) {
    let settings = [
        ("brokerName", "fixture-broker"),
        ("longPollingEnable", "false"),
        ("shortPollingTimeMills", "1"),
    ];
    let rig = Rig::start_with(&settings).await;
    let client = rig.client().await;
    for run in RUNS {
        for (topic, messages) in [("FrT", [5, 6]), ("FrOrder", [4, 0]), ("FrReq", [1, 0])] {
            let topic = format!("{topic}{run}");
            client.make_topic(&topic, 2).await;
            for (queue_id, count) in (0..).zip(messages) {
                for _ in 0..count {
                    client.send(&topic, queue_id, "a").await;
                }
            }
        }
        for (group, topic) in [
            ("GF_a", "FrT"),
            ("GF_o", "FrOrder"),
            ("GF_r", "FrReq"),
            ("GF_p", "FrT"),
        ] {
            client
                .beat(&member(&format!("{group}{run}"), &format!("{topic}{run}")))
                .await;
        }
        client.beat(&producer("192.0.2.2@fp", &format!("PF{run}"))).await;
        client.beat(&member(&format!("GF_pull{run}"), "T")).await;
    }
    (rig, client)
}

fn member(group: &str, topic: &str) -> HeartbeatBody {
    let version = i64::MAX;
    let subscriptions = [
        subscription(topic, "*", version),
        subscription(&format!("%RETRY%{group}"), "*", version),
    ];
    HeartbeatBody {
        client_id: format!("192.0.2.2@{group}").into(),
        ..consumer(group, &subscriptions)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_are_answered_as_the_reference_did() {
    let (_rig, client) = like_the_reference().await;
    let mut compared = 0;
    for file in [
        "11-PULL_MESSAGE.frames",
        "14-QUERY_CONSUMER_OFFSET.frames",
        "15-UPDATE_CONSUMER_OFFSET.frames",
        "29-SEARCH_OFFSET_BY_TIMESTAMP.frames",
        "30-GET_MAX_OFFSET.frames",
        "31-GET_MIN_OFFSET.frames",
        "34-HEART_BEAT.frames",
        "38-GET_CONSUMER_LIST_BY_GROUP.frames",
        "41-LOCK_BATCH_MQ.frames",
        "42-UNLOCK_BATCH_MQ.frames",
        "35-UNREGISTER_CLIENT.frames",
    ] {
        for (request, theirs) in captured(file) {
            let Some(theirs) = theirs else { continue };
            // A message that was sent back, and a group that was offline then.
            if fields(&request)
                .get("topic")
                .is_some_and(|topic| topic.starts_with("%RETRY%GF_a"))
            {
                continue;
            }
            let (ours, theirs) = compare(&client, &request, &theirs).await;
            if request.code != 11 {
                assert_eq!(ours.body, theirs.body, "{} {:?}", request.code, fields(&request));
            }
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_of_an_offline_group_is_refused_as_the_reference_did() {
    let (_rig, client) = like_the_reference().await;
    let leave = UnregisterClient {
        client_id: "192.0.2.2@GF_aR".into(),
        producer_group: None,
        consumer_group: Some("GF_aR".into()),
    };
    client.get(&leave).await;
    let offline = |(_, reply): &(Frame, Option<Frame>)| reply.as_ref().is_some_and(|reply| reply.code == 24);
    let (request, theirs) = captured("11-PULL_MESSAGE.frames")
        .into_iter()
        .find(offline)
        .unwrap();
    compare(&client, &request, &theirs.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_listed_as_the_reference_did() {
    let (_rig, client) = like_the_reference().await;
    for (request, theirs) in captured("203-GET_CONSUMER_CONNECTION_LIST.frames") {
        let theirs = theirs.unwrap();
        let connection: ConsumerConnection = fastjson::from_slice(&theirs.body).unwrap();
        let data = ConsumerData {
            consume_from_where: connection.consume_from_where,
            group_name: request.ext.get("consumerGroup").unwrap(),
            subscription_data_set: connection.subscription_table.values().cloned().collect(),
            ..ConsumerData::default()
        };
        let client_id = connection.connection_set[0].client_id.clone();
        let leave = UnregisterClient {
            client_id: client_id.clone(),
            producer_group: None,
            consumer_group: Some(data.group_name.clone()),
        };
        client.get(&leave).await;
        client
            .beat(&HeartbeatBody {
                client_id,
                consumer_data_set: vec![data],
                ..HeartbeatBody::default()
            })
            .await;
        let (ours, theirs) = compare(&client, &request, &theirs).await;
        let address = client.channel.local.to_string();
        let theirs = String::from_utf8(theirs.body.to_vec()).unwrap();
        let theirs = theirs.replace(connection.connection_set[0].client_addr.as_str(), &address);
        assert_eq!(String::from_utf8(ours.body.to_vec()).unwrap(), theirs);
    }
    for (request, theirs) in captured("204-GET_PRODUCER_CONNECTION_LIST.frames") {
        let (ours, theirs) = compare(&client, &request, &theirs.unwrap()).await;
        let list = |frame: &Frame| {
            fastjson::from_slice::<ProducerConnection>(&frame.body)
                .unwrap()
                .connection_set
        };
        let (ours, theirs) = (list(&ours), list(&theirs));
        assert_eq!(
            (ours.len(), ours[0].language, ours[0].version),
            (1, theirs[0].language, theirs[0].version)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_as_the_reference_did() {
    let (_rig, client) = like_the_reference().await;
    for (request, _) in captured("15-UPDATE_CONSUMER_OFFSET.frames") {
        client.channel.push(request).unwrap();
    }
    for (request, theirs) in captured("208-GET_CONSUME_STATS.frames") {
        let (ours, theirs) = compare(&client, &request, &theirs.unwrap()).await;
        let queues = |frame: &Frame| {
            fastjson::from_slice::<ConsumeStats>(&frame.body)
                .unwrap()
                .offset_table
        };
        assert!(queues(&ours).into_keys().eq(queues(&theirs).into_keys()));
    }
    let (request, theirs) = captured("43-GET_ALL_CONSUMER_OFFSET.frames").swap_remove(0);
    let (ours, theirs) = compare(&client, &request, &theirs.unwrap()).await;
    let ours: OffsetTable = fastjson::from_slice(&ours.body).unwrap();
    let theirs: OffsetTable = fastjson::from_slice(&theirs.body).unwrap();
    assert_eq!(ours.data_version.counter, theirs.data_version.counter);
    for key in ["FrTJ@GF_aJ", "FrTJ@GF_pullJ"] {
        assert_eq!(ours.offset_table[key], theirs.offset_table[key]);
    }
    let topics = |table: OffsetTable| table.group_topic_map.unwrap()["GF_aJ"].clone();
    assert_eq!(topics(ours), topics(theirs));
}
