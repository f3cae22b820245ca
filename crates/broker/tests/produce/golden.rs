// SPDX-License-Identifier: Apache-2.0
//! Exchanges captured from the reference broker: we are asked the same and must answer the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::BytesMut;
use wire::body::group::SubscriptionGroupTable;
use wire::body::stats::{KvTable, TopicStats};
use wire::body::topic::{TopicConfigTable, TopicList};
use wire::fastjson;
use wire::frame::{Decoder, Frame};
use wire::message_id::decode_offset_id;

use crate::rig::{Client, Rig, SOON};

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

/// The first exchange of a file.
fn first(file: &str) -> (Frame, Frame) {
    let (request, reply) = captured(file).swap_remove(0);
    (request, reply.unwrap())
}

/// A broker with the names of the captured one.
async fn like_the_reference() -> (Rig, Client) {
    let rig = Rig::start_with(&[("brokerName", "fixture-broker")]).await;
    let client = rig.client().await;
    (rig, client)
}

async fn ask(client: &Client, request: &Frame) -> Frame {
    client.channel.call(request.clone(), SOON).await.unwrap()
}

fn fields(frame: &Frame) -> BTreeMap<String, String> {
    frame
        .ext
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

/// The positions in the message ids of an answer to a send.
fn positions(frame: &Frame) -> Vec<i64> {
    frame
        .ext
        .get("msgId")
        .unwrap()
        .split(',')
        .map(|id| decode_offset_id(id).unwrap().1)
        .collect()
}

/// The same fields but for the ids, which name the port.
fn receipt(frame: &Frame) -> BTreeMap<String, String> {
    let mut fields = fields(frame);
    fields.remove("msgId");
    fields
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_are_answered_and_stored_as_the_reference_did() {
    let (_rig, client) = like_the_reference().await;
    let (request, reply) = first("17-UPDATE_AND_CREATE_TOPIC.frames");
    let ours = ask(&client, &request).await;
    assert_eq!(
        (ours.code, ours.ext.is_absent()),
        (reply.code, reply.ext.is_absent())
    );
    let sends = captured("310-SEND_MESSAGE_V2.frames");
    let numbered = |(request, _): &&(Frame, Option<Frame>)| request.body.starts_with(b"frame body");
    let mut compared = 0;
    for (request, reply) in sends.iter().filter(numbered).take(4) {
        let (ours, theirs) = (ask(&client, request).await, reply.as_ref().unwrap());
        assert_eq!(
            (ours.code, &ours.remark, receipt(&ours)),
            (0, &theirs.remark, receipt(theirs))
        );
        assert_eq!(positions(&ours), positions(theirs), "records have the same sizes");
        compared += 1;
    }
    assert_eq!(compared, 4);
    let (request, theirs) = first("320-SEND_BATCH_MESSAGE.frames");
    let ours = ask(&client, &request).await;
    let size = |reply: &Frame| positions(reply)[1] - positions(reply)[0];
    assert_eq!(size(&ours), size(&theirs));
    assert_eq!(ours.ext.get("transactionId"), theirs.ext.get("transactionId"));
    assert_eq!(ours.ext.get("queueId"), theirs.ext.get("queueId"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_without_a_body_fails_with_the_code_of_the_reference() {
    let (_rig, client) = like_the_reference().await;
    let (request, theirs) = first("10-SEND_MESSAGE.frames");
    assert_eq!(ask(&client, &request).await.code, theirs.code);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topics_of_the_system_are_those_of_the_reference() {
    let (_rig, client) = like_the_reference().await;
    let (request, theirs) = first("305-GET_SYSTEM_TOPIC_LIST_FROM_BROKER.frames");
    let names = |reply: &Frame| -> BTreeSet<String> {
        let list: TopicList = fastjson::from_slice(&reply.body).unwrap();
        list.topic_list.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(&ask(&client, &request).await), names(&theirs));

    let (request, theirs) = first("21-GET_ALL_TOPIC_CONFIG.frames");
    let ours: TopicConfigTable = fastjson::from_slice(&ask(&client, &request).await.body).unwrap();
    let theirs: TopicConfigTable = fastjson::from_slice(&theirs.body).unwrap();
    for (name, topic) in &ours.topic_config_table {
        assert_eq!(Some(topic), theirs.topic_config_table.get(name), "{name}");
    }
    assert_eq!(
        ours.topic_queue_mapping_info_map,
        theirs.topic_queue_mapping_info_map
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_groups_of_the_system_are_those_of_the_reference() {
    let (_rig, client) = like_the_reference().await;
    let (request, theirs) = first("201-GET_ALL_SUBSCRIPTIONGROUP_CONFIG.frames");
    let ours: SubscriptionGroupTable = fastjson::from_slice(&ask(&client, &request).await.body).unwrap();
    let theirs: SubscriptionGroupTable = fastjson::from_slice(&theirs.body).unwrap();
    for (name, group) in &ours.subscription_group_table {
        assert_eq!(Some(group), theirs.subscription_group_table.get(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_of_a_topic_are_written_as_the_reference_writes_them() {
    let (_rig, client) = like_the_reference().await;
    ask(&client, &first("17-UPDATE_AND_CREATE_TOPIC.frames").0).await;
    let (request, theirs) = first("351-GET_TOPIC_CONFIG.frames");
    let ours = ask(&client, &request).await;
    assert_eq!(
        (ours.body, ours.ext.is_absent()),
        (theirs.body, theirs.ext.is_absent())
    );
    let (request, theirs) = first("202-GET_TOPIC_STATS_INFO.frames");
    let queues = |reply: &Frame| {
        fastjson::from_slice::<TopicStats>(&reply.body)
            .unwrap()
            .offset_table
            .into_keys()
    };
    let ours = ask(&client, &request).await;
    assert!(queues(&ours).eq(queues(&theirs)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runtime_table_has_every_key_of_the_reference() {
    let (_rig, client) = like_the_reference().await;
    let (request, theirs) = first("28-GET_BROKER_RUNTIME_INFO.frames");
    let keys = |reply: &Frame| fastjson::from_slice::<KvTable>(&reply.body).unwrap().table;
    let (ours, theirs) = (keys(&ask(&client, &request).await), keys(&theirs));
    // Delayed messages are not there yet, and the path is another one.
    let is_ours =
        |key: &str| !key.starts_with("scheduleMessageOffset_") && !key.starts_with("commitLogDiskRatio_");
    let missing: Vec<_> = theirs
        .keys()
        .filter(|key| is_ours(key) && !ours.contains_key(*key))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
