// SPDX-License-Identifier: Apache-2.0
//! Messages chosen by SQL expressions: 11 and 361 with and without an expression of their own, 34.

use wire::api::heartbeat::UnregisterClient;
use wire::api::pull::{LitePullMessage, PullMessage};
use wire::body::subscription::SubscriptionData;

use crate::rig::{Client, Rig, SOON, consumer, held_pull, pull, subscription};

/// A pull that brings its expression.
fn sql_pull(topic: &str, offset: i64, expression: &str) -> PullMessage {
    PullMessage {
        expression_type: Some("SQL92".into()),
        subscription: Some(expression.into()),
        ..pull("G", topic, 0, offset)
    }
}

/// A pull that relies on what its group said, and since when.
fn plain_pull(topic: &str, version: i64) -> PullMessage {
    PullMessage {
        sys_flag: 0,
        sub_version: version,
        subscription: None,
        expression_type: None,
        ..pull("G", topic, 0, 0)
    }
}

fn sql_subscription(topic: &str, expression: &str, version: i64) -> SubscriptionData {
    SubscriptionData {
        expression_type: "SQL92".into(),
        ..subscription(topic, expression, version)
    }
}

async fn say(client: &Client, subscriptions: &[SubscriptionData]) {
    assert_eq!(client.beat(&consumer("G", subscriptions)).await.code, 0);
}

/// Messages that are called like their property `a`.
async fn send_numbers(client: &Client, topic: &str, numbers: std::ops::Range<i32>) {
    for number in numbers {
        let properties = format!("a\u{1}{number}\u{2}");
        client.send_with(topic, 0, &number.to_string(), &properties).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_with_an_expression_gets_the_messages_for_which_it_is_true() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    send_numbers(&client, "T", 0..6).await;
    client.send("T", 0, "without").await;
    let pulled = client.pull(&sql_pull("T", 0, "a > 1 and a <> 4")).await;
    assert_eq!(pulled.outcome(), (0, "FOUND", 7));
    assert_eq!(pulled.bodies(), ["2", "3", "5"]);
    let none = client.pull(&sql_pull("T", 1, "a = 0")).await;
    assert_eq!(none.outcome(), (20, "NO_MATCHED_MESSAGE", 7));
    let lite = LitePullMessage(sql_pull("T", 0, "a is null"));
    let found = client.ask(&lite).await;
    assert_eq!((found.code, found.remark.as_deref()), (0, Some("FOUND")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_with_a_wrong_expression_gets_nothing_but_the_reason() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    send_numbers(&client, "T", 0..1).await;
    let refusals = [
        (
            sql_pull("T", 0, "a > "),
            ": found the end, expected a value (at character 5)",
        ),
        (sql_pull("T", 0, ""), ": the expression is empty"),
        (
            PullMessage {
                expression_type: Some("SQL93".into()),
                ..sql_pull("T", 0, "a > 1")
            },
            ": there is no expression type \"SQL93\"",
        ),
    ];
    for (ask, reason) in refusals {
        let refused = client.pull(&ask).await;
        assert_eq!(refused.code, 23);
        assert_eq!(
            refused.remark,
            format!("parse the consumer's subscription failed{reason}")
        );
        assert!(refused.frame.body.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_without_an_expression_goes_by_what_the_heartbeat_registered() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    send_numbers(&client, "T", 0..4).await;
    say(&client, &[sql_subscription("T", "a >", 5)]).await;
    let unknown = client.pull(&plain_pull("T", 5)).await;
    assert_eq!(unknown.code, 27);
    assert_eq!(
        unknown.remark,
        "The broker's consumer filter data is not exist!Your expression may be wrong!"
    );
    say(&client, &[sql_subscription("T", "a > 2", 6)]).await;
    assert_eq!(client.pull(&plain_pull("T", 6)).await.bodies(), ["3"]);
    let newer = client.pull(&plain_pull("T", 7)).await;
    assert_eq!(
        (newer.code, &*newer.remark),
        (25, "the consumer's subscription not latest")
    );
    // The subscription is taken, its empty expression is not.
    say(&client, &[sql_subscription("T", "", 8)]).await;
    let older = client.pull(&plain_pull("T", 8)).await;
    assert_eq!(
        (older.code, &*older.remark),
        (28, "the consumer's consumer filter data not latest")
    );
    say(&client, &[sql_subscription("T", "a < 2", 9)]).await;
    assert_eq!(client.pull(&plain_pull("T", 9)).await.bodies(), ["0", "1"]);
    say(&client, &[subscription("T", "*", 10)]).await;
    assert_eq!(client.pull(&plain_pull("T", 10)).await.bodies().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_property_filters_switched_off_expressions_are_refused() {
    let rig = Rig::start_with(&[("enablePropertyFilter", "false")]).await;
    let client = rig.client_of("T", 1).await;
    say(&client, &[sql_subscription("T", "a > 1", 1)]).await;
    for ask in [
        sql_pull("T", 0, "a > 1"),
        sql_pull("T", 0, "a >"),
        plain_pull("T", 1),
    ] {
        let refused = client.pull(&ask).await;
        assert_eq!(refused.code, 1);
        assert_eq!(
            refused.remark,
            "The broker does not support consumer to filter message by SQL92"
        );
    }
    assert_eq!(client.pull(&sql_pull("T", 0, "")).await.code, 23);
    say(&client, &[sql_subscription("T", "a >", 2)]).await;
    assert_eq!(client.pull(&plain_pull("T", 2)).await.code, 27);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_is_woken_by_a_message_it_wants_and_sleeps_through_others() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let ask = PullMessage {
        expression_type: Some("SQL92".into()),
        subscription: Some("a = 7".into()),
        ..held_pull("G", "T", 0, SOON)
    };
    let held = client.pull_in_background(ask).await;
    send_numbers(&client, "T", 0..3).await;
    client.send("T", 0, "without").await;
    assert!(!held.is_finished());
    send_numbers(&client, "T", 7..8).await;
    let pulled = held.await.unwrap().unwrap();
    assert_eq!(pulled.outcome(), (0, "FOUND", 5));
    assert_eq!(pulled.bodies(), ["7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_expressions_outlive_the_group_and_the_broker() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    send_numbers(&client, "T", 0..4).await;
    say(&client, &[sql_subscription("T", "a > 2", 6)]).await;
    let leave = UnregisterClient {
        client_id: "client".into(),
        producer_group: None,
        consumer_group: Some("G".into()),
    };
    assert_eq!(client.ask(&leave).await.code, 0);
    assert_eq!(client.pull(&plain_pull("T", 6)).await.code, 24);
    let dir = rig.stop().await;
    let text = std::fs::read_to_string(dir.path().join("store/config/consumerFilter.json")).unwrap();
    assert!(
        text.contains("\"expression\":\"a > 2\"") && text.contains("\"dead\":true"),
        "{text}"
    );
    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    // The same version brings back what it stood for.
    say(&client, &[sql_subscription("T", "a > 0", 6)]).await;
    assert_eq!(client.pull(&plain_pull("T", 6)).await.bodies(), ["3"]);
    say(&client, &[sql_subscription("T", "a > 0", 7)]).await;
    assert_eq!(client.pull(&plain_pull("T", 7)).await.bodies(), ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn retried_messages_pass_the_filter_of_their_topic_when_that_is_switched_on() {
    for (setting, expected) in [("false", &["1", "3", "other"][..]), ("true", &["3", "other"])] {
        let rig = Rig::start_with(&[("filterSupportRetry", setting)]).await;
        let client = rig.client_of("T", 1).await;
        let retry = sql_subscription("%RETRY%G", "a > 0", 1);
        say(&client, &[sql_subscription("T", "a > 2", 1), retry]).await;
        for (body, a, topic) in [("1", 1, "T"), ("3", 3, "T"), ("other", 1, "U")] {
            let properties = format!("a\u{1}{a}\u{2}RETRY_TOPIC\u{1}{topic}\u{2}");
            client.send_with("%RETRY%G", 0, body, &properties).await;
        }
        assert_eq!(client.pull(&plain_pull("%RETRY%G", 1)).await.bodies(), expected);
        let brought = sql_pull("%RETRY%G", 0, "a > 0");
        assert_eq!(client.pull(&brought).await.bodies(), expected);
    }
}
