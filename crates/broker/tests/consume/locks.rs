// SPDX-License-Identifier: Apache-2.0
//! Codes 41 and 42.

use wire::api::lock::{LockBatchMq, UnlockBatchMq};
use wire::body::queue::{LockBatch, LockedQueues, MessageQueue};
use wire::fastjson;

use crate::rig::{Client, Rig};

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
