// SPDX-License-Identifier: Apache-2.0
//! How far groups are behind: as they would see it.

use wire::api::offset::UpdateConsumerOffset;
use wire::body::subscription::SubscriptionData;

use crate::rig::{Client, Rig, consumer, pull, subscription};
use crate::scrape::{Scrape, until};
use crate::traffic::{SOON, make_group, pop};

const LAG: &str = "rocketmq_consumer_lag_messages";
const INFLIGHT: &str = "rocketmq_consumer_inflight_messages";
const READY: &str = "rocketmq_consumer_ready_messages";
const BYTES: &str = "barque_consumer_lag_bytes";

async fn commit(client: &Client, group: &str, offset: i64) {
    let commit = UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: "T".into(),
        queue_id: 0,
        commit_offset: offset,
    };
    client.get(&commit).await;
}

async fn joined(client: &Client, group: &str, subscription: SubscriptionData) {
    make_group(client, group).await;
    let reply = client.beat(&consumer(group, &[subscription])).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
}

fn of(scrape: &Scrape, name: &str, group: &str) -> f64 {
    scrape.one(
        name,
        &[("consumer_group", group), ("topic", "T"), ("is_retry", "false")],
    )
}

/// Ten messages: five of tag `a` and small, five of tag `z` and large.
async fn sent(rig: &Rig) -> Client {
    let client = rig.client_of("T", 1).await;
    for n in 0..5 {
        let properties = |tag: &str| format!("TAGS\u{1}{tag}\u{2}n\u{1}{n}\u{2}");
        client.send_with("T", 0, "small", &properties("a")).await;
        client
            .send_with("T", 0, &"x".repeat(1000), &properties("z"))
            .await;
    }
    client
}

#[tokio::test]
async fn only_what_a_filter_lets_through_is_behind() {
    let settings = [SOON, &[("enablePropertyFilter", "true")]].concat();
    let rig = Rig::start_with(&settings).await;
    let client = sent(&rig).await;
    joined(&client, "all", subscription("T", "*", 1)).await;
    joined(&client, "tagged", subscription("T", "a", 1)).await;
    let sql = SubscriptionData {
        expression_type: "SQL92".into(),
        sub_string: "n >= 3".into(),
        ..subscription("T", "*", 1)
    };
    joined(&client, "sql", sql).await;
    for group in ["all", "tagged", "sql"] {
        commit(&client, group, 0).await;
    }
    let scrape = Scrape::of(&rig).await;
    assert_eq!(of(&scrape, LAG, "all"), 10.0);
    assert_eq!(of(&scrape, LAG, "tagged"), 5.0);
    assert_eq!(of(&scrape, LAG, "sql"), 4.0);
    let (all, tagged) = (of(&scrape, BYTES, "all"), of(&scrape, BYTES, "tagged"));
    assert!(
        all > 5_000.0 && tagged > 0.0 && tagged < all / 3.0,
        "{all} {tagged}"
    );
    commit(&client, "tagged", 9).await;
    let scrape = until(&rig, "the tagged group is done", |scrape| {
        of(scrape, LAG, "tagged") == 0.0
    })
    .await;
    assert_eq!(
        of(&scrape, "rocketmq_consumer_lag_latency_milliseconds", "tagged"),
        0.0
    );
    rig.stop().await;
}

#[tokio::test]
async fn what_was_fetched_and_not_committed_is_in_flight_and_the_rest_ready() {
    let rig = Rig::start_with(SOON).await;
    let client = sent(&rig).await;
    joined(&client, "G", subscription("T", "*", 1)).await;
    commit(&client, "G", 2).await;
    let fetch = wire::api::pull::PullMessage {
        max_msg_nums: 3,
        ..pull("G", "T", 0, 2)
    };
    assert_eq!(client.pull(&fetch).await.outcome().2, 5);
    let scrape = Scrape::of(&rig).await;
    let found = [LAG, INFLIGHT, READY].map(|name| of(&scrape, name, "G"));
    assert_eq!(found, [8.0, 3.0, 5.0]);
    let oldest = of(&scrape, "rocketmq_consumer_lag_latency_milliseconds", "G");
    let queueing = of(&scrape, "rocketmq_consumer_queueing_latency_milliseconds", "G");
    assert!(oldest >= queueing && oldest < 60_000.0, "{oldest} {queueing}");
    rig.stop().await;
}

#[tokio::test]
async fn a_group_that_never_committed_is_not_behind_and_one_that_is_offline_still_is() {
    let rig = Rig::start_with(SOON).await;
    let client = sent(&rig).await;
    joined(&client, "new", subscription("T", "*", 1)).await;
    make_group(&client, "gone").await;
    commit(&client, "gone", 4).await;
    let scrape = Scrape::of(&rig).await;
    assert_eq!(of(&scrape, LAG, "new"), 0.0);
    assert_eq!(of(&scrape, LAG, "gone"), 6.0);
    rig.stop().await;
}

#[tokio::test]
async fn messages_with_pop_consumers_are_in_flight() {
    let rig = Rig::start_with(SOON).await;
    let client = rig.client_of("popped", 1).await;
    for _ in 0..3 {
        client.send("popped", 0, "p").await;
    }
    joined(&client, "popping", subscription("popped", "*", 1)).await;
    assert_eq!(pop(&client, "popping").await.len(), 3);
    client.send("popped", 0, "p").await;
    let scrape = Scrape::of(&rig).await;
    let labels = [
        ("consumer_group", "popping"),
        ("topic", "popped"),
        ("is_retry", "false"),
    ];
    let found = [LAG, INFLIGHT, READY].map(|name| scrape.one(name, &labels));
    assert_eq!(found, [4.0, 3.0, 1.0]);
    rig.stop().await;
}

#[tokio::test]
async fn of_a_long_queue_the_first_entries_stand_for_the_rest() {
    let settings = [SOON, &[("maxConsumeQueueScan", "4")]].concat();
    let rig = Rig::start_with(&settings).await;
    let client = sent(&rig).await;
    joined(&client, "tagged", subscription("T", "a", 1)).await;
    joined(&client, "all", subscription("T", "*", 1)).await;
    commit(&client, "tagged", 0).await;
    commit(&client, "all", 0).await;
    let scrape = Scrape::of(&rig).await;
    // Two of the first four, and of the other six as many.
    assert_eq!(of(&scrape, LAG, "tagged"), 5.0);
    assert_eq!(of(&scrape, LAG, "all"), 10.0);
    rig.stop().await;
}

#[tokio::test]
async fn what_was_found_out_is_told_again_for_a_while() {
    let rig = Rig::start_with(&[("consumerLagKeptMills", "3600000")]).await;
    let client = sent(&rig).await;
    joined(&client, "G", subscription("T", "*", 1)).await;
    commit(&client, "G", 0).await;
    assert_eq!(of(&Scrape::of(&rig).await, LAG, "G"), 10.0);
    commit(&client, "G", 10).await;
    assert_eq!(of(&Scrape::of(&rig).await, LAG, "G"), 10.0);
    rig.stop().await;
}
