// SPDX-License-Identifier: Apache-2.0
//! Code 900080 and the figures of 28: members of one group that subscribe to different things.

use std::collections::BTreeMap;

use wire::api::config::GetBrokerRuntimeInfo;
use wire::api::group::ListSubscriptionConflicts;
use wire::api::heartbeat::UnregisterClient;
use wire::body::conflict::{SubscriptionConflict, SubscriptionConflicts};
use wire::body::stats::KvTable;
use wire::body::subscription::{ConsumeFromWhere, HeartbeatBody, MessageModel};
use wire::fastjson;

use crate::rig::{Client, Rig, consumer, subscription};

async fn list(client: &Client, header: &ListSubscriptionConflicts) -> SubscriptionConflicts {
    let reply = client.ask(header).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    fastjson::from_slice(&reply.body).unwrap()
}

async fn all(client: &Client) -> Vec<SubscriptionConflict> {
    list(client, &ListSubscriptionConflicts::default())
        .await
        .conflicts
}

/// Conflicts now, and since the start.
async fn figures(client: &Client) -> (String, String) {
    let reply = client.ask(&GetBrokerRuntimeInfo).await;
    let table: KvTable = fastjson::from_slice(&reply.body).unwrap();
    let table: BTreeMap<_, _> = table.table.into_iter().collect();
    let figure = |key: &str| table[key].to_string();
    (
        figure("subscriptionConflictGroups"),
        figure("subscriptionConflictsTotal"),
    )
}

/// A heartbeat for group `G`.
fn beat(id: &str, topics: &[(&str, &str)]) -> HeartbeatBody {
    let subscriptions: Vec<_> = topics
        .iter()
        .map(|(topic, expression)| subscription(topic, expression, 1))
        .collect();
    HeartbeatBody {
        client_id: id.into(),
        ..consumer("G", &subscriptions)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_subscribe_to_different_things_are_named_until_one_of_them_leaves() {
    let rig = Rig::start().await;
    let (one, two) = (rig.client().await, rig.client().await);
    one.beat(&beat("one", &[("T", "a||b"), ("%RETRY%G", "*")])).await;
    two.beat(&beat("two", &[("T", "b || a")])).await;
    assert_eq!(all(&one).await, [], "the same in other words");
    two.beat(&beat("two", &[("T", "a"), ("U", "*")])).await;
    for _ in 0..3 {
        one.beat(&beat("one", &[("T", "a||b"), ("%RETRY%G", "*")])).await;
        two.beat(&beat("two", &[("T", "a"), ("U", "*")])).await;
    }
    let found = all(&one).await;
    assert_eq!(found.len(), 1);
    let found = &found[0];
    assert_eq!((&*found.group, found.kinds), ("G", 2));
    assert_eq!(found.differs, ["topics"]);
    let said = found.clients.iter().map(|client| {
        let subscriptions = client.subscriptions.iter();
        let subscriptions: Vec<_> = subscriptions
            .map(|one| format!("{} {} {}", one.topic, one.expression_type, one.sub_string))
            .collect();
        assert!(client.since > 1_600_000_000_000 && client.since <= found.since + 1);
        (
            &*client.client_id,
            client.client_addr.to_string(),
            subscriptions.join(", "),
            client.same,
        )
    });
    let said: Vec<_> = said.collect();
    let addr = |client: &Client| client.channel.local.to_string();
    assert_eq!(
        said,
        [
            ("one", addr(&one), "T TAG a||b".to_owned(), 1),
            ("two", addr(&two), "T TAG a, U TAG *".to_owned(), 1),
        ]
    );
    assert_eq!(figures(&one).await, ("1".to_owned(), "1".to_owned()));
    two.get(&UnregisterClient {
        client_id: "two".into(),
        producer_group: None,
        consumer_group: Some("G".into()),
    })
    .await;
    assert_eq!(all(&one).await, []);
    assert_eq!(figures(&one).await, ("0".to_owned(), "1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_consume_in_other_ways_conflict_until_they_change() {
    let rig = Rig::start().await;
    let (one, two) = (rig.client().await, rig.client().await);
    let plain = beat("one", &[("T", "*")]);
    one.beat(&plain).await;
    let mut other = beat("two", &[("T", "*")]);
    other.consumer_data_set[0].message_model = MessageModel::Broadcasting;
    other.consumer_data_set[0].consume_from_where = ConsumeFromWhere::ConsumeFromFirstOffset;
    two.beat(&other).await;
    assert_eq!(all(&one).await[0].differs, ["messageModel", "consumeFromWhere"]);
    two.beat(&plain).await;
    assert_eq!(all(&one).await, []);
    two.beat(&other).await;
    assert_eq!(all(&one).await.len(), 1);
    drop(two);
    // Whoever is in the group hears that another one has left it.
    while !all(&one).await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(figures(&one).await, ("0".to_owned(), "2".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_which_only_the_fingerprint_is_known_says_what_others_with_it_say() {
    let rig = Rig::start().await;
    let (one, two, three) = (rig.client().await, rig.client().await, rig.client().await);
    let with = |id: &str, fingerprint: i32, topics: &[(&str, &str)]| HeartbeatBody {
        heartbeat_fingerprint: fingerprint,
        without_sub: topics.is_empty(),
        ..beat(id, topics)
    };
    one.beat(&with("one", 5, &[("T", "*")])).await;
    two.beat(&with("two", 5, &[])).await;
    assert_eq!(all(&one).await, []);
    three.beat(&with("three", 6, &[("U", "*")])).await;
    one.beat(&with("one", 5, &[])).await;
    let found = all(&one).await;
    let same: Vec<_> = found[0]
        .clients
        .iter()
        .map(|client| (&*client.client_id, client.same))
        .collect();
    assert_eq!(same, [("one", 2), ("three", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_conflicts_are_listed_page_by_page_and_the_system_has_none() {
    let rig = Rig::start().await;
    let (one, two) = (rig.client().await, rig.client().await);
    let groups = ["A", "B", "C", "TOOLS_CONSUMER", "CID_RMQ_SYS_X"];
    for (client, topic) in [(&one, "T"), (&two, "U")] {
        for group in groups {
            client.consume(group, topic, "*").await;
        }
    }
    let header = ListSubscriptionConflicts {
        max: Some(2),
        ..ListSubscriptionConflicts::default()
    };
    let first = list(&one, &header).await;
    let names = |page: &SubscriptionConflicts| -> Vec<String> {
        page.conflicts.iter().map(|one| one.group.to_string()).collect()
    };
    assert_eq!(
        (names(&first), first.total),
        (vec!["A".to_owned(), "B".to_owned()], 3)
    );
    let rest = list(
        &one,
        &ListSubscriptionConflicts {
            next: first.next,
            ..header
        },
    )
    .await;
    assert_eq!((names(&rest), rest.next), (vec!["C".to_owned()], None));
    let only = ListSubscriptionConflicts {
        group: Some("B".into()),
        ..ListSubscriptionConflicts::default()
    };
    assert_eq!(names(&list(&one, &only).await), ["B"]);
    for max in [0, -1, 101] {
        let refused = one
            .ask(&ListSubscriptionConflicts {
                max: Some(max),
                ..ListSubscriptionConflicts::default()
            })
            .await;
        assert_eq!(refused.code, 29);
        assert!(refused.remark.unwrap().contains("1 to 100"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_expressions_are_shortened_and_long_pages_end_early() {
    let rig = Rig::start().await;
    let (one, two) = (rig.client().await, rig.client().await);
    let long = "x".repeat(900_000);
    let without_tags = |mut body: HeartbeatBody| {
        let wanted = body.consumer_data_set[0].subscription_data_set.iter_mut();
        wanted.for_each(|data| data.tags_set.clear());
        body
    };
    one.beat(&without_tags(beat("one", &[("T", &long)]))).await;
    two.beat(&beat("two", &[("T", "a")])).await;
    let shown = all(&one).await;
    let shown = &shown[0].clients[0].subscriptions[0].sub_string;
    assert_eq!(**shown, format!("{}... (900000 bytes)", &long[..1024]));

    // About 200 KB of each group.
    let topics: Vec<String> = (0..95).map(|n| format!("{n:0>250}")).collect();
    let groups = 24;
    for n in 0..groups {
        for (client, id) in [(&one, "one"), (&two, "two")] {
            let expression = id.repeat(340);
            let wanted: Vec<_> = topics
                .iter()
                .map(|topic| (topic.as_str(), &*expression))
                .collect();
            let mut body = without_tags(beat(id, &wanted));
            body.consumer_data_set[0].group_name = format!("H{n:0>2}").into();
            assert_eq!(client.beat(&body).await.code, 0);
        }
    }
    let (mut seen, mut pages, mut next) = (Vec::new(), 0, None);
    loop {
        let header = ListSubscriptionConflicts {
            next,
            ..ListSubscriptionConflicts::default()
        };
        let reply = one.ask(&header).await;
        assert!(reply.body.len() < 8 << 20, "{} bytes", reply.body.len());
        let page: SubscriptionConflicts = fastjson::from_slice(&reply.body).unwrap();
        seen.extend(page.conflicts.into_iter().map(|one| one.group));
        pages += 1;
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert!(
        pages > 1 && seen.len() == groups + 1 && seen.is_sorted(),
        "{pages} pages, {seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_group_is_told_only_where_the_page_begins_before_it() {
    let rig = Rig::start().await;
    let (one, two) = (rig.client().await, rig.client().await);
    one.beat(&beat("one", &[("T", "*")])).await;
    two.beat(&beat("two", &[("U", "*")])).await;
    for (next, found) in [(None, 1), (Some("F"), 1), (Some("G"), 0), (Some("H"), 0)] {
        let header = ListSubscriptionConflicts {
            group: Some("G".into()),
            next: next.map(Into::into),
            ..ListSubscriptionConflicts::default()
        };
        let page = list(&one, &header).await;
        assert_eq!((page.conflicts.len(), page.total), (found, 1), "{next:?}");
    }
}
