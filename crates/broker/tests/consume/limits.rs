// SPDX-License-Identifier: Apache-2.0
//! What happens when clients ask for more than they may.

use std::time::Duration;

use wire::api::heartbeat::GetConsumerListByGroup;
use wire::body::subscription::{ConsumerData, HeartbeatBody, ProducerData};

use crate::rig::{Rig, SOON, consumer, held_pull, producer, subscription};

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_with_too_many_groups_is_refused_as_a_whole() {
    let rig = Rig::start_with(&[("groupsPerHeartbeatMax", "3")]).await;
    let client = rig.client().await;
    let mut body = consumer("G0", &[subscription("T", "*", 1)]);
    for n in 1..10_000 {
        body.consumer_data_set.push(ConsumerData {
            group_name: format!("G{n}").into(),
            ..ConsumerData::default()
        });
    }
    let reply = client.beat(&body).await;
    assert_eq!(reply.code, 29);
    assert_eq!(
        client
            .ask(&GetConsumerListByGroup {
                consumer_group: "G0".into()
            })
            .await
            .code,
        1
    );
    body.consumer_data_set.truncate(3);
    assert_eq!(client.beat(&body).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_that_is_too_long_or_no_heartbeat_is_refused() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let long = producer(&"x".repeat(256), "PG");
    assert_eq!(client.beat(&long).await.code, 29);
    assert_eq!(client.beat(&producer("", "PG")).await.code, 29);
    let huge = producer(&"x".repeat(1024 * 1024), "PG");
    assert_eq!(client.beat(&huge).await.code, 29);
    assert_eq!(
        client
            .ask_with(&wire::api::heartbeat::HeartBeat {}, "[1")
            .await
            .code,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_of_members_nobody_joins_but_members_stay() {
    let rig = Rig::start_with(&[("groupMembersMax", "2")]).await;
    let (first, second) = (rig.client().await, rig.client().await);
    let mut body: HeartbeatBody = producer("a", "P0");
    body.producer_data_set.push(ProducerData {
        group_name: "P1".into(),
    });
    assert_eq!(first.beat(&body).await.code, 0);
    let refused = second.beat(&producer("b", "P0")).await;
    assert_eq!(refused.code, 2, "{:?}", refused.remark);
    assert_eq!(first.beat(&body).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_cannot_be_held_is_told_that_the_broker_is_busy() {
    let rig = Rig::start_with(&[("heldPullsMax", "2")]).await;
    let client = rig.client_of("T", 1).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(client.pull_in_background(held_pull("G", "T", 0, SOON)).await);
    }
    let refused = client.pull(&held_pull("G", "T", 0, Duration::from_secs(1))).await;
    assert_eq!(refused.code, 2);
    assert!(
        refused.remark.starts_with("[OVERLOAD]system busy"),
        "{}",
        refused.remark
    );
    client.send("T", 0, "a").await;
    for held in waiting {
        assert_eq!(held.await.unwrap().unwrap().code, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_no_heartbeat_is_disconnected() {
    let rig = Rig::start_with(&[("channelExpiredTimeout", "2000")]).await;
    let (silent, alive) = (rig.client().await, rig.client().await);
    silent.consume("G", "T", "*").await;
    silent.ended().await;
    let members = alive
        .ask(&GetConsumerListByGroup {
            consumer_group: "G".into(),
        })
        .await;
    assert_eq!(members.code, 1, "{:?}", members.remark);
}
