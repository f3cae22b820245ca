// SPDX-License-Identifier: Apache-2.0
//! Codes 306, 316, 329.

use wire::api::clean::{CleanExpiredConsumequeue, CleanUnusedTopic, DeleteExpiredCommitlog};
use wire::api::offset::GetMaxOffset;
use wire::api::query::QueryConsumeQueue;

use crate::rig::{Client, Rig};

async fn end(client: &Client, topic: &str) -> i64 {
    let question = GetMaxOffset {
        topic: topic.into(),
        queue_id: 0,
        ..GetMaxOffset::default()
    };
    client.get(&question).await.offset
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_of_topics_that_are_not_there_are_removed_and_others_stay() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    for topic in ["Kept", "Lost"] {
        client.make_topic(topic, 1).await;
        client.send(topic, 0, "a").await;
    }
    drop(client);
    let dir = rig.stop().await;
    // Somebody has edited the table.
    let config = dir.path().join("store/config");
    for file in ["topics.json", "topics.json.bak"] {
        // The second is there only when the table was saved twice.
        let Ok(text) = std::fs::read_to_string(config.join(file)) else {
            continue;
        };
        std::fs::write(config.join(file), text.replace("\"Lost\"", "\"Another\"")).unwrap();
    }
    let queues = dir.path().join("store/consumequeue");
    assert!(queues.join("Lost").is_dir());
    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    client.get(&CleanUnusedTopic).await;
    let queues = rig.dir.path().join("store/consumequeue");
    assert!(!queues.join("Lost").exists() && queues.join("Kept").is_dir());
    assert_eq!(end(&client, "Kept").await, 1);
    let gone = QueryConsumeQueue {
        topic: "Lost".into(),
        count: 1,
        ..QueryConsumeQueue::default()
    };
    assert_eq!(client.ask(&gone).await.code, 1);
    // A topic of that name begins anew.
    client.make_topic("Lost", 1).await;
    client.send("Lost", 0, "b").await;
    assert_eq!(end(&client, "Lost").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cleaning_what_is_not_expired_changes_nothing() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    client.make_topic("T", 1).await;
    client.send("T", 0, "a").await;
    client.get(&CleanExpiredConsumequeue).await;
    client.get(&DeleteExpiredCommitlog).await;
    client.get(&CleanUnusedTopic).await;
    assert_eq!(end(&client, "T").await, 1);
}
