// SPDX-License-Identifier: Apache-2.0
//! Codes 41 and 42.

use std::sync::Arc;
use std::time::Duration;

use store::Env;
use store::env::sim::SimClock;
use wire::api::heartbeat::UnregisterClient;
use wire::api::lock::{LockBatchMq, UnlockBatchMq};
use wire::body::queue::{LockBatch, LockedQueues, MessageQueue};
use wire::fastjson;

use crate::rig::{Client, Rig, consumer, subscription};

fn batch(client_id: &str, queues: &[i32]) -> LockBatch {
    let queue = |queue_id| MessageQueue {
        broker_name: "broker-a".into(),
        queue_id,
        topic: "T".into(),
    };
    LockBatch {
        client_id: client_id.into(),
        consumer_group: "G".into(),
        mq_set: queues.iter().copied().map(queue).collect(),
        only_this_broker: false,
    }
}

async fn lock(client: &Client, client_id: &str, queues: &[i32]) -> Vec<i32> {
    let reply = client
        .ask_with(&LockBatchMq {}, fastjson::to_vec(&batch(client_id, queues)))
        .await;
    assert_eq!(reply.code, 0);
    let locked: LockedQueues = fastjson::from_slice(&reply.body).unwrap();
    locked.lock_ok_mq_set.iter().map(|queue| queue.queue_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_locked_for_one_client_until_it_gives_it_back() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    assert_eq!(lock(&client, "a", &[0, 1]).await, [0, 1]);
    assert_eq!(lock(&client, "b", &[1, 2]).await, [2]);
    assert_eq!(lock(&client, "a", &[0, 1]).await, [0, 1], "its own again");
    let reply = client
        .ask_with(&UnlockBatchMq {}, fastjson::to_vec(&batch("a", &[1])))
        .await;
    assert_eq!(reply.code, 0);
    assert_eq!(lock(&client, "b", &[0, 1]).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_without_a_name_is_refused() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let reply = client
        .ask_with(&LockBatchMq {}, fastjson::to_vec(&batch("", &[0])))
        .await;
    assert_eq!(reply.code, 29);
    assert_eq!(client.ask_with(&LockBatchMq {}, "no JSON").await.code, 1);
}

/// Joins the group under a name.
async fn join(client: &Client, client_id: &str) {
    let mut body = consumer("G", &[subscription("T", "*", 1)]);
    body.client_id = client_id.into();
    assert_eq!(client.beat(&body).await.code, 0);
}

async fn leave(client: &Client) {
    let header = UnregisterClient {
        client_id: "not looked at".into(),
        producer_group: None,
        consumer_group: Some("G".into()),
    };
    assert_eq!(client.ask(&header).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_locks_of_a_member_that_leaves_are_free_when_the_others_ask() {
    let rig = Rig::start().await;
    let (one, mut two) = (rig.client().await, rig.client().await);
    join(&one, "a").await;
    join(&two, "b").await;
    while two.arrived() < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(lock(&one, "a", &[0, 1]).await, [0, 1]);
    assert_eq!(lock(&two, "b", &[0, 1]).await, [0; 0]);
    leave(&one).await;
    two.next_notification().await;
    assert_eq!(lock(&two, "b", &[0, 1]).await, [0, 1]);
    // Was on its way while the client stopped.
    assert_eq!(lock(&one, "a", &[2]).await, [0; 0]);
    join(&one, "a").await;
    assert_eq!(lock(&one, "a", &[1, 2]).await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_a_member_through_another_connection_keeps_its_locks() {
    let rig = Rig::start().await;
    let (one, again, other) = (rig.client().await, rig.client().await, rig.client().await);
    for client in [&one, &again] {
        join(client, "a").await;
    }
    assert_eq!(lock(&one, "a", &[0]).await, [0]);
    leave(&one).await;
    assert_eq!(lock(&other, "b", &[0]).await, [0; 0]);
    assert_eq!(lock(&again, "a", &[0, 1]).await, [0, 1]);
    // A connection that is no member leaves nothing.
    leave(&other).await;
    assert_eq!(lock(&again, "a", &[0, 1]).await, [0, 1]);
    leave(&again).await;
    assert_eq!(lock(&other, "b", &[0, 1]).await, [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_leaves_the_locks_for_a_minute() {
    let clock = Arc::new(SimClock::at(1_800_000_000_000));
    let env = Env {
        clock: Arc::clone(&clock) as _,
        ..Env::real()
    };
    let rig = Rig::start_on(env, tempfile::tempdir().unwrap(), &[]).await;
    let (one, mut two) = (rig.client().await, rig.client().await);
    join(&two, "b").await;
    join(&one, "a").await;
    assert_eq!(lock(&one, "a", &[0]).await, [0]);
    while two.arrived() < 1 {
        tokio::task::yield_now().await;
    }
    drop(one);
    two.next_notification().await;
    clock.advance(Duration::from_secs(60));
    assert_eq!(lock(&two, "b", &[0]).await, [0; 0], "it may be working on");
    clock.advance(Duration::from_millis(1));
    assert_eq!(lock(&two, "b", &[0]).await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_does_not_use_up_the_locks_of_all() {
    let settings = [("queueLocksMax", "100"), ("queueLocksPerConnectionMax", "10")];
    let rig = Rig::start_with(&settings).await;
    let (greedy, other) = (rig.client().await, rig.client().await);
    let all: Vec<i32> = (0..1_000).collect();
    for client_id in ["a", "b", "c"] {
        lock(&greedy, client_id, &all).await;
    }
    assert_eq!(lock(&other, "d", &[9, 10]).await, [10]);
}
