// SPDX-License-Identifier: Apache-2.0
//! Codes 11 and 361.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::disk::sim::SimDisk;
use store::env::Env;
use wire::api::offset::{GetMaxOffset, QueryConsumerOffset};
use wire::api::pull::{LitePullMessage, PullMessage};
use wire::body::group::SubscriptionGroupConfig;
use wire::body::subscription::{ConsumerData, HeartbeatBody, MessageModel};

use crate::rig::{Rig, SOON, consumer, held_pull, pull, subscription};

const LONG: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_returns_the_messages_of_its_queue_in_order() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    for body in ["a", "b", "c"] {
        client.send("T", 1, body).await;
    }
    client.send("T", 0, "elsewhere").await;
    let pulled = client.pull(&pull("G", "T", 1, 1)).await;
    assert_eq!(pulled.outcome(), (0, "FOUND", 3));
    assert_eq!(pulled.bodies(), ["b", "c"]);
    let header = pulled.header();
    assert_eq!(
        (
            header.min_offset,
            header.max_offset,
            header.suggest_which_broker_id
        ),
        (0, 3, 0)
    );
    assert_eq!((header.topic_sys_flag, header.group_sys_flag), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_far_behind_is_sent_to_the_slave_whether_or_not_it_wants_what_it_passes() {
    let settings = [
        ("slaveReadEnable", "true"),
        ("accessMessageInMemoryMaxRatio", "0"),
    ];
    let rig = Rig::start_with(&settings).await;
    let client = rig.client_of("T", 1).await;
    client.send_tagged("T", 0, "a").await;
    for (tag, status) in [("a", "FOUND"), ("b", "NO_MATCHED_MESSAGE")] {
        let ask = PullMessage {
            subscription: Some(tag.into()),
            ..pull("G", "T", 0, 0)
        };
        let pulled = client.pull(&ask).await;
        assert_eq!(
            (&*pulled.remark, pulled.header().suggest_which_broker_id),
            (status, 1)
        );
    }
    // A group may have another slave for that.
    let elsewhere = SubscriptionGroupConfig {
        which_broker_when_consume_slowly: 3,
        ..group_config()
    };
    let header = wire::api::group::UpdateAndCreateSubscriptiongroup;
    let set = client.ask_with(&header, wire::fastjson::to_vec(&elsewhere)).await;
    assert_eq!(set.code, 0);
    let pulled = client.pull(&pull("G2", "T", 0, 0)).await;
    assert_eq!(pulled.outcome(), (0, "FOUND", 1));
    assert_eq!(pulled.header().suggest_which_broker_id, 3);
    for group in ["G", "G2"] {
        let pulled = client.pull(&pull(group, "T", 0, 1)).await;
        assert_eq!(pulled.outcome(), (19, "OFFSET_OVERFLOW_ONE", 1));
        assert_eq!(pulled.header().suggest_which_broker_id, 0, "it is not behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_outside_of_the_queue_is_named_and_corrected() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    client.send("T", 0, "a").await;
    client.send("T", 0, "b").await;
    let outcomes = [
        (0, 2, (19, "OFFSET_OVERFLOW_ONE", 2)),
        (0, 3, (21, "OFFSET_OVERFLOW_BADLY", 2)),
        (0, 900, (21, "OFFSET_OVERFLOW_BADLY", 2)),
        (0, -1, (21, "OFFSET_TOO_SMALL", 0)),
        (1, 0, (19, "NO_MESSAGE_IN_QUEUE", 0)),
        (1, 7, (21, "NO_MESSAGE_IN_QUEUE", 0)),
    ];
    for (queue, offset, expected) in outcomes {
        let pulled = client.pull(&pull("G", "T", queue, offset)).await;
        assert_eq!(pulled.outcome(), expected, "queue {queue} offset {offset}");
        assert!(pulled.frame.body.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_takes_no_more_than_it_asks_for_nor_than_is_configured() {
    let rig = Rig::start_with(&[
        ("maxTransferCountOnMessageInMemory", "3"),
        ("maxTransferCountOnMessageInDisk", "3"),
        ("maxTransferBytesOnMessageInMemory", "4096"),
        ("maxTransferBytesOnMessageInDisk", "4096"),
    ])
    .await;
    let client = rig.client_of("T", 1).await;
    for _ in 0..5 {
        client.send("T", 0, &"x".repeat(1000)).await;
    }
    let ask = pull("G", "T", 0, 0);
    assert_eq!(
        client.pull(&ask).await.bodies().len(),
        3,
        "no more messages than configured"
    );
    let few = PullMessage {
        max_msg_nums: 2,
        ..ask.clone()
    };
    assert_eq!(
        client.pull(&few).await.bodies().len(),
        2,
        "no more messages than asked for"
    );
    let tiny = PullMessage {
        max_msg_nums: 0,
        ..ask.clone()
    };
    assert_eq!(
        client.pull(&tiny).await.bodies().len(),
        1,
        "one message in any case"
    );
    let all = client.pull(&ask).await.bodies().len();
    let small = PullMessage {
        max_msg_bytes: Some(1),
        ..ask.clone()
    };
    assert_eq!(
        client.pull(&small).await.bodies().len(),
        all,
        "maxMsgBytes changes nothing, as with the reference"
    );
    client.send("T", 0, &"x".repeat(100_000)).await;
    let large = client.pull(&pull("G", "T", 0, 5)).await;
    assert_eq!(
        large.bodies().len(),
        1,
        "one message even if it is larger than configured"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_messages_with_a_wanted_tag_are_returned() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    for tag in ["a", "b", "c", "a"] {
        client.send_tagged("T", 0, tag).await;
    }
    let wanting = |expression: &str| PullMessage {
        subscription: Some(expression.into()),
        ..pull("G", "T", 0, 0)
    };
    assert_eq!(client.pull(&wanting("a || c")).await.bodies(), ["a", "c", "a"]);
    assert_eq!(client.pull(&wanting("")).await.bodies().len(), 4);
    let none = client.pull(&wanting("d")).await;
    assert_eq!(none.outcome(), (20, "NO_MATCHED_MESSAGE", 4));
    assert_eq!(client.pull(&wanting("||")).await.code, 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_matches_nothing_goes_on_after_what_it_scanned() {
    let rig = Rig::start_with(&[("maxFilterMessageSize", "60")]).await;
    let client = rig.client_of("T", 1).await;
    for _ in 0..5 {
        client.send_tagged("T", 0, "a").await;
    }
    let ask = PullMessage {
        subscription: Some("b".into()),
        max_msg_nums: 1,
        ..pull("G", "T", 0, 0)
    };
    assert_eq!(client.pull(&ask).await.outcome(), (20, "NO_MATCHED_MESSAGE", 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_is_answered_when_a_message_arrives() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    // The queue is still empty, then it ends where the pull begins.
    for offset in 0..3 {
        let held = client.pull_in_background(held_pull("G", "T", offset, LONG)).await;
        let body = offset.to_string();
        client.send("T", 0, &body).await;
        let pulled = held.await.unwrap().unwrap();
        assert_eq!(pulled.outcome(), (0, "FOUND", offset + 1));
        assert_eq!(pulled.bodies(), [body]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_answers_all_pulls_that_wait_for_it() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(client.pull_in_background(held_pull("G", "T", 0, LONG)).await);
    }
    client.send("T", 0, "for all").await;
    for held in waiting {
        assert_eq!(held.await.unwrap().unwrap().bodies(), ["for all"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_is_answered_when_its_time_is_up() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    client.send("T", 0, "a").await;
    let asked = Instant::now();
    let pulled = client
        .pull(&held_pull("G", "T", 1, Duration::from_millis(150)))
        .await;
    assert_eq!(pulled.outcome(), (19, "OFFSET_OVERFLOW_ONE", 1));
    let waited = asked.elapsed();
    assert!(
        waited >= Duration::from_millis(150) && waited < SOON / 2,
        "{waited:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_long_polling_a_pull_is_held_for_the_short_time() {
    let rig = Rig::start_with(&[("longPollingEnable", "false"), ("shortPollingTimeMills", "100")]).await;
    let client = rig.client_of("T", 1).await;
    let pulled = client.pull(&held_pull("G", "T", 0, SOON * 10)).await;
    assert_eq!(pulled.outcome(), (19, "NO_MESSAGE_IN_QUEUE", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_passes_over_messages_that_it_does_not_want() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let ask = PullMessage {
        subscription: Some("b".into()),
        ..held_pull("G", "T", 0, LONG)
    };
    let held = client.pull_in_background(ask).await;
    client.send_tagged("T", 0, "a").await;
    client.send_tagged("T", 0, "a").await;
    assert!(!held.is_finished());
    client.send_tagged("T", 0, "b").await;
    let pulled = held.await.unwrap().unwrap();
    assert_eq!(pulled.outcome(), (0, "FOUND", 3));
    assert_eq!(pulled.bodies(), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_whose_time_is_up_tells_how_far_it_has_looked() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let ask = PullMessage {
        subscription: Some("b".into()),
        ..held_pull("G", "T", 0, Duration::from_secs(3))
    };
    let held = client.pull_in_background(ask).await;
    client.send_tagged("T", 0, "a").await;
    client.send_tagged("T", 0, "a").await;
    assert_eq!(
        held.await.unwrap().unwrap().outcome(),
        (20, "NO_MATCHED_MESSAGE", 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_ends_with_its_connection() {
    let rig = Rig::start_with(&[("heldPullsMax", "1")]).await;
    let gone = rig.client_of("T", 1).await;
    let stays = rig.client().await;
    let held = gone.pull_in_background(held_pull("G", "T", 0, SOON * 10)).await;
    // Answered, so the pull before it is held.
    gone.get(&GetMaxOffset {
        topic: "T".into(),
        queue_id: 0,
        committed: None,
    })
    .await;
    let one_more = held_pull("G", "T", 0, Duration::from_millis(1));
    assert_eq!(stays.pull(&one_more).await.code, 2);
    gone.channel.close();
    assert!(held.await.unwrap().is_none(), "the call ends with the connection");
    let deadline = Instant::now() + SOON;
    while stays.pull(&one_more).await.code != 19 {
        assert!(Instant::now() < deadline, "there is a place again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_notices_that_its_topic_was_deleted() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let held = client.pull_in_background(held_pull("G", "T", 0, LONG)).await;
    let reply = client
        .ask(&wire::api::topic::DeleteTopicInBroker { topic: "T".into() })
        .await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    assert_eq!(held.await.unwrap().unwrap().code, 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_without_a_subscription_uses_that_of_the_heartbeat() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    for tag in ["a", "b"] {
        client.send_tagged("T", 0, tag).await;
    }
    let ask = PullMessage {
        sys_flag: 0,
        subscription: None,
        sub_version: 5,
        ..pull("G", "T", 0, 0)
    };
    let before = client.pull(&ask).await;
    assert_eq!(before.code, 24);
    assert!(
        before
            .remark
            .starts_with("the consumer's group info not exist\nSee https://"),
        "{}",
        before.remark
    );
    assert_eq!(before.frame.ext.iter().count(), 0);
    client.beat(&consumer("G", &[subscription("T", "b", 4)])).await;
    assert_eq!(client.pull(&ask).await.code, 25, "the client has a newer one");
    client.beat(&consumer("G", &[subscription("T", "b", 5)])).await;
    assert_eq!(client.pull(&ask).await.bodies(), ["b"]);
    let other = client
        .pull(&PullMessage {
            topic: "BenchmarkTest".into(),
            ..ask.clone()
        })
        .await;
    assert_eq!(other.code, 24);
    assert!(
        other.remark.starts_with("the consumer's subscription not exist"),
        "{}",
        other.remark
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_is_refused_with_the_reason() {
    let rig = Rig::start_with(&[("autoCreateSubscriptionGroup", "false")]).await;
    let client = rig.client_of("T", 2).await;
    let refusals = [
        ("SELF_TEST_C_GROUP", "T", 1, 19, "NO_MESSAGE_IN_QUEUE"),
        ("nobody", "T", 0, 26, "subscription group [nobody] does not exist"),
        (
            "SELF_TEST_C_GROUP",
            "X",
            0,
            17,
            "topic[X] not exist, apply first please!",
        ),
        (
            "SELF_TEST_C_GROUP",
            "T",
            2,
            29,
            "queueId[2] is illegal, topic:[T]",
        ),
        (
            "SELF_TEST_C_GROUP",
            "T",
            -1,
            29,
            "queueId[-1] is illegal, topic:[T]",
        ),
    ];
    for (group, topic, queue_id, code, remark) in refusals {
        let pulled = client.pull(&pull(group, topic, queue_id, 0)).await;
        assert_eq!(pulled.code, code, "{}", pulled.remark);
        assert!(pulled.remark.starts_with(remark), "{}", pulled.remark);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_forbids_a_pull_is_told_by_number() {
    let rig = Rig::start_with(&[("litePullMessageEnable", "false")]).await;
    let client = rig.client_of("T", 1).await;
    let lite = client.ask(&LitePullMessage(pull("G", "T", 0, 0))).await;
    assert_eq!(
        (lite.code, lite.ext.get("forbiddenType").as_deref()),
        (16, Some("1"))
    );
    let no_consumers = SubscriptionGroupConfig {
        consume_enable: false,
        ..group_config()
    };
    let no_broadcast = SubscriptionGroupConfig {
        consume_broadcast_enable: false,
        ..group_config()
    };
    for (group, forbidden_type) in [(no_consumers, "2"), (no_broadcast, "4")] {
        let header = wire::api::group::UpdateAndCreateSubscriptiongroup;
        assert_eq!(
            client
                .ask_with(&header, wire::fastjson::to_vec(&group))
                .await
                .code,
            0
        );
        client.beat(&broadcasting("G2", "T")).await;
        let refused = client
            .pull(&PullMessage {
                sys_flag: 0,
                ..pull("G2", "T", 0, 0)
            })
            .await;
        assert_eq!(refused.code, 16);
        assert_eq!(
            refused.frame.ext.get("forbiddenType").as_deref(),
            Some(forbidden_type)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_not_in_memory_are_read_all_the_same() {
    let disk = Arc::new(SimDisk::seeded(1));
    let env = Env {
        disk: disk.clone(),
        ..Env::real()
    };
    let rig = Rig::start_on(env, tempfile::tempdir().unwrap(), &[("hotBytes", "0")]).await;
    let client = rig.client_of("T", 1).await;
    client.send_tagged("T", 0, "a").await;
    disk.set_cold(true);
    assert_eq!(client.pull(&pull("G", "T", 0, 0)).await.bodies(), ["a"]);
    let ask = PullMessage {
        subscription: Some("b".into()),
        ..held_pull("G", "T", 1, LONG)
    };
    let held = client.pull_in_background(ask).await;
    client.send_tagged("T", 0, "a").await;
    client.send_tagged("T", 0, "b").await;
    let pulled = held.await.unwrap().unwrap();
    assert_eq!(
        (pulled.outcome(), pulled.bodies()),
        ((0, "FOUND", 3), vec!["b".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_far_ahead_of_what_it_has_consumed_gets_more_a_little_later() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    for _ in 0..801 {
        client.send("T", 0, "a").await;
    }
    let far = PullMessage {
        sys_flag: 1 | 4,
        ..pull("G", "T", 0, 800)
    };
    let begun = Instant::now();
    let pulled = client.pull(&far).await;
    assert!(begun.elapsed() >= Duration::from_millis(2));
    assert_eq!(
        (pulled.outcome(), pulled.bodies()),
        ((0, "FOUND", 801), vec!["a".to_owned()])
    );
}

fn group_config() -> SubscriptionGroupConfig {
    SubscriptionGroupConfig {
        group_name: "G2".into(),
        ..SubscriptionGroupConfig::default()
    }
}

fn broadcasting(group: &str, topic: &str) -> HeartbeatBody {
    let mut body = consumer(group, &[subscription(topic, "*", 1)]);
    for ConsumerData { message_model, .. } in &mut body.consumer_data_set {
        *message_model = MessageModel::Broadcasting;
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_can_bring_the_offset_that_was_consumed() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    client.send("T", 0, "a").await;
    let ask = PullMessage {
        sys_flag: 4 | 1,
        commit_offset: 1,
        ..pull("G", "T", 0, 1)
    };
    assert_eq!(client.pull(&ask).await.code, 19);
    let query = QueryConsumerOffset {
        consumer_group: "G".into(),
        topic: "T".into(),
        queue_id: 0,
        set_zero_if_not_found: None,
    };
    assert_eq!(client.get(&query).await.offset, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lite_pulls_are_pulls() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    client.send("T", 0, "a").await;
    let reply = client.ask(&LitePullMessage(pull("G", "T", 0, 0))).await;
    assert_eq!((reply.code, reply.remark.as_deref()), (0, Some("FOUND")));
}
