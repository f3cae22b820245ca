// SPDX-License-Identifier: Apache-2.0
//! Codes 34, 35, 38, 40, 46, 203, 204, 328, 345.

use wire::api::group::{
    GetAllProducerInfo, GetAllSubscriptiongroupConfig, GetConsumerConnectionList, GetProducerConnectionList,
    QuerySubscriptionByConsumer, UpdateAndCreateSubscriptiongroup,
};
use wire::api::heartbeat::{CheckClientConfig, GetConsumerListByGroup, HeartBeatReply, UnregisterClient};
use wire::api::topic::{GetAllTopicConfig, GetTopicConfig, UpdateAndCreateTopic};
use wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupTable};
use wire::body::subscription::{
    CheckClientBody, ConsumeFromWhere, ConsumerConnection, ConsumerList, GroupSubscription, HeartbeatBody,
    MessageModel, ProducerConnection, ProducerTable, SubscriptionData,
};
use wire::body::topic::{TopicConfig, TopicConfigTable};
use wire::fastjson;
use wire::frame::{Frame, Language};

use crate::rig::{Client, Rig, consumer, producer, pull, subscription, topic};

async fn members(client: &Client, group: &str) -> Option<Vec<String>> {
    let reply = client
        .ask(&GetConsumerListByGroup {
            consumer_group: group.into(),
        })
        .await;
    if reply.code == 0 {
        let list: ConsumerList = fastjson::from_slice(&reply.body).unwrap();
        return Some(list.consumer_id_list.iter().map(ToString::to_string).collect());
    }
    assert_eq!(
        (reply.code, reply.remark.unwrap()),
        (1, format!("no consumer for this group, {group}").into())
    );
    None
}

fn named(client_id: &str, body: HeartbeatBody) -> HeartbeatBody {
    HeartbeatBody {
        client_id: client_id.into(),
        ..body
    }
}

fn verdict(reply: &Frame) -> bool {
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    let header: HeartBeatReply = reply.ext.read().unwrap();
    assert!(header.is_support_heart_beat_v2);
    header.is_sub_change
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_brings_the_group_and_its_retry_topic_into_being() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    assert!(verdict(
        &client.beat(&consumer("G", &[subscription("T", "*", 1)])).await
    ));
    let topic = client
        .ask(&GetTopicConfig {
            topic: "%RETRY%G".into(),
            ..GetTopicConfig::default()
        })
        .await;
    let topic: TopicConfig = fastjson::from_slice(&topic.body).unwrap();
    assert_eq!(
        (topic.read_queue_nums, topic.write_queue_nums, topic.perm),
        (1, 1, 6)
    );
    assert_eq!(members(&client, "G").await.unwrap(), ["127.0.0.1@test"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_new_groups_of_one_heartbeat_are_written_to_disk_at_once() {
    let rig = Rig::start_with(&[("groupsMax", "100")]).await;
    let client = rig.client().await;
    let mut body = HeartbeatBody::default();
    for i in 0..200 {
        let group = consumer(&format!("G{i}"), &[subscription("T", "*", 1)]);
        body.consumer_data_set.extend(group.consumer_data_set);
    }
    assert_eq!(client.beat(&named("127.0.0.1@test", body)).await.code, 0);
    let topics = client.ask(&GetAllTopicConfig::default()).await;
    let topics: TopicConfigTable = fastjson::from_slice(&topics.body).unwrap();
    let retry_topics = topics.topic_config_table.keys();
    let made = retry_topics.filter(|name| name.starts_with("%RETRY%G")).count();
    assert_eq!(topics.data_version.counter, 1, "one change brings all topics");
    let groups = client.ask(&GetAllSubscriptiongroupConfig::default()).await;
    let groups: SubscriptionGroupTable = fastjson::from_slice(&groups.body).unwrap();
    assert_eq!(groups.data_version.counter, 1, "one change brings all groups");
    assert_eq!(
        groups.subscription_group_table.len(),
        100,
        "as many as there is room for"
    );
    assert_eq!(made, 92, "eight of the groups are the system's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_may_not_come_into_being_is_passed_over() {
    let rig = Rig::start_with(&[("autoCreateSubscriptionGroup", "false")]).await;
    let client = rig.client().await;
    let reply = client.beat(&consumer("G", &[subscription("T", "*", 1)])).await;
    assert_eq!(reply.code, 0);
    assert_eq!(members(&client, "G").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_members_are_told_of_a_change() {
    let rig = Rig::start().await;
    let (mut first, mut second) = (rig.client().await, rig.client().await);
    first
        .beat(&named("a", consumer("G", &[subscription("T", "*", 1)])))
        .await;
    assert_eq!(first.notifications().await, ["G"], "the new member too");
    first
        .beat(&named("a", consumer("G", &[subscription("T", "*", 2)])))
        .await;
    assert!(
        first.notifications().await.is_empty(),
        "a newer version is no change"
    );
    second
        .beat(&named("b", consumer("G", &[subscription("T", "*", 2)])))
        .await;
    assert_eq!(second.notifications().await, ["G"]);
    assert_eq!(first.notifications().await, ["G"]);
    assert_eq!(members(&first, "G").await.unwrap(), ["a", "b"]);
    second
        .beat(&named("b", consumer("G", &[subscription("U", "*", 2)])))
        .await;
    assert_eq!(second.notifications().await, ["G"], "other topics are a change");
    assert_eq!(first.notifications().await, ["G"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_are_told_when_a_member_leaves_or_its_connection_ends() {
    let rig = Rig::start().await;
    let (mut stays, leaves, ends) = (rig.client().await, rig.client().await, rig.client().await);
    for (client, id) in [(&stays, "a"), (&leaves, "b"), (&ends, "c")] {
        client
            .beat(&named(id, consumer("G", &[subscription("T", "*", 1)])))
            .await;
    }
    assert_eq!(stays.notifications().await, ["G", "G", "G"]);
    let leave = UnregisterClient {
        client_id: "b".into(),
        producer_group: None,
        consumer_group: Some("G".into()),
    };
    leaves.get(&leave).await;
    assert_eq!(stays.next_notification().await, "G");
    assert_eq!(members(&stays, "G").await.unwrap(), ["a", "c"]);
    ends.channel.close();
    assert_eq!(stays.next_notification().await, "G");
    assert_eq!(members(&stays, "G").await.unwrap(), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_in_a_broadcasting_group_or_when_it_is_switched_off() {
    let rig = Rig::start_with(&[("notifyConsumerIdsChangedEnable", "false")]).await;
    let mut client = rig.client().await;
    client.consume("G", "T", "*").await;
    members(&client, "G").await;
    assert_eq!(client.arrived(), 0);
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    let mut body = consumer("G", &[subscription("T", "*", 1)]);
    body.consumer_data_set[0].message_model = MessageModel::Broadcasting;
    client.beat(&body).await;
    assert!(client.notifications().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_heartbeat_decides_what_all_members_subscribe_to() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let other = rig.client().await;
    let subscribed = |topic: &str| {
        let (client, header) = (
            &client,
            QuerySubscriptionByConsumer {
                group: "G".into(),
                topic: Some(topic.into()),
            },
        );
        async move {
            let reply = client.ask(&header).await;
            let body: GroupSubscription = fastjson::from_slice(&reply.body).unwrap();
            body.subscription_data.map(|data| data.sub_string.to_string())
        }
    };
    client
        .beat(&consumer(
            "G",
            &[subscription("T", "a", 5), subscription("U", "*", 5)],
        ))
        .await;
    other.beat(&consumer("G", &[subscription("T", "b", 4)])).await;
    assert_eq!(
        subscribed("T").await.as_deref(),
        Some("a"),
        "an older version changes nothing"
    );
    assert_eq!(subscribed("U").await, None, "a topic that is left out is gone");
    other.beat(&consumer("G", &[subscription("T", "b", 6)])).await;
    assert_eq!(subscribed("T").await.as_deref(), Some("b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fingerprint_saves_sending_the_subscriptions_again() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let with = |fingerprint, body| HeartbeatBody {
        heartbeat_fingerprint: fingerprint,
        ..body
    };
    let full = consumer("G", &[subscription("T", "*", 1)]);
    let short = |fingerprint| {
        let mut body = with(fingerprint, consumer("G", &[]));
        body.without_sub = true;
        body
    };
    assert!(
        verdict(&client.beat(&short(7)).await),
        "nobody knows what it subscribes to"
    );
    assert!(!verdict(&client.beat(&with(7, full.clone())).await));
    assert!(!verdict(&client.beat(&short(7)).await));
    assert_eq!(
        client
            .pull(&wire::api::pull::PullMessage {
                sys_flag: 0,
                ..pull("G", "T", 0, 0)
            })
            .await
            .code,
        19
    );
    assert!(verdict(&client.beat(&short(8)).await), "something changed");
    assert!(
        verdict(&client.beat(&full).await),
        "without a fingerprint, as always"
    );
    assert!(
        verdict(&client.beat(&with(7, full)).await),
        "the last one had none"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_tools_see_who_is_connected() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut body = named("c1", consumer("G", &[subscription("T", "a || b", 3)]));
    body.consumer_data_set[0].consume_from_where = ConsumeFromWhere::ConsumeFromFirstOffset;
    client.beat(&body).await;
    client.beat(&producer("c1", "PG")).await;
    let address = client.channel.local.to_string();

    let reply = client
        .ask(&GetConsumerConnectionList {
            consumer_group: "G".into(),
        })
        .await;
    let connections: ConsumerConnection = fastjson::from_slice(&reply.body).unwrap();
    let member = &connections.connection_set[0];
    assert_eq!(
        (member.client_id.as_str(), member.client_addr.as_str()),
        ("c1", address.as_str())
    );
    assert_eq!((member.language, member.version), (Language::Java, 493));
    assert_eq!(
        connections.consume_from_where,
        ConsumeFromWhere::ConsumeFromFirstOffset
    );
    assert_eq!(
        connections.subscription_table["T"],
        subscription("T", "a || b", 3)
    );

    let reply = client
        .ask(&GetProducerConnectionList {
            producer_group: "PG".into(),
        })
        .await;
    let connections: ProducerConnection = fastjson::from_slice(&reply.body).unwrap();
    assert_eq!(connections.connection_set[0].client_id, "c1");
    let reply = client.ask(&GetAllProducerInfo {}).await;
    let table: ProducerTable = fastjson::from_slice(&reply.body).unwrap();
    assert_eq!(table.data["PG"][0].remote_ip, format!("/{address}"));
    assert!(table.data["PG"][0].last_update_timestamp > 1_700_000_000_000);

    let offline = client
        .ask(&GetConsumerConnectionList {
            consumer_group: "X".into(),
        })
        .await;
    assert_eq!(
        (offline.code, offline.remark.as_deref()),
        (206, Some("the consumer group[X] not online"))
    );
    let offline = client
        .ask(&GetProducerConnectionList {
            producer_group: "X".into(),
        })
        .await;
    assert_eq!(
        (offline.code, offline.remark.as_deref()),
        (1, Some("the producer group[X] not exist"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_leaves_is_gone() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    client.beat(&producer("c1", "PG")).await;
    let leave = UnregisterClient {
        client_id: "c1".into(),
        producer_group: Some("PG".into()),
        consumer_group: None,
    };
    client.get(&leave).await;
    assert_eq!(
        client
            .ask(&GetProducerConnectionList {
                producer_group: "PG".into()
            })
            .await
            .code,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_a_client_says_what_is_wrong_with_its_expression() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let check = |expression_type: &str, expression: &str| {
        let subscription_data = SubscriptionData {
            expression_type: expression_type.into(),
            ..subscription("T", expression, 1)
        };
        fastjson::to_vec(&CheckClientBody {
            subscription_data,
            ..CheckClientBody::default()
        })
    };
    let table = [
        ("TAG", "a > ", 0, None),
        ("SQL92", "a > 1", 0, None),
        (
            "SQL92",
            "a > ",
            23,
            Some("found the end, expected a value (at character 5)"),
        ),
        (
            "SQL92",
            "",
            23,
            Some("found the end, expected a value (at character 1)"),
        ),
        (
            "SQL93",
            "a > 1",
            23,
            Some("there is no expression type \"SQL93\""),
        ),
    ];
    for (kind, expression, code, remark) in table {
        let checked = client.ask_with(&CheckClientConfig, check(kind, expression)).await;
        assert_eq!(
            (checked.code, checked.remark.as_deref()),
            (code, remark),
            "{kind} {expression}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_property_filters_only_tag_expressions_pass_the_check() {
    let rig = Rig::start_with(&[("enablePropertyFilter", "false")]).await;
    let client = rig.client().await;
    let subscription_data = SubscriptionData {
        expression_type: "SQL92".into(),
        ..subscription("T", "a > ", 1)
    };
    let check = CheckClientBody {
        subscription_data,
        ..CheckClientBody::default()
    };
    let refused = client
        .ask_with(&CheckClientConfig, fastjson::to_vec(&check))
        .await;
    assert_eq!(refused.code, 1);
    assert_eq!(
        refused.remark.as_deref(),
        Some("The broker does not support consumer to filter message by SQL92")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_which_members_do_not_want_to_hear_of_each_other_is_left_alone() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    let quiet = SubscriptionGroupConfig {
        group_name: "G".into(),
        notify_consumer_ids_changed_enable: false,
        ..SubscriptionGroupConfig::default()
    };
    let made = client
        .ask_with(&UpdateAndCreateSubscriptiongroup, fastjson::to_vec(&quiet))
        .await;
    assert_eq!(made.code, 0, "{:?}", made.remark);
    let other = rig.client().await;
    client.consume("G", "T", "*").await;
    other.consume("G", "T", "*").await;
    let leave = UnregisterClient {
        client_id: "127.0.0.1@test".into(),
        producer_group: None,
        consumer_group: Some("G".into()),
    };
    other.get(&leave).await;
    assert!(client.notifications().await.is_empty());
    other.consume("G", "T", "*").await;
    drop(other);
    // As in the reference, the end of a connection is told all the same.
    assert_eq!(client.next_notification().await, "G");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_retry_topic_of_a_group_that_reads_an_ordered_topic_is_ordered() {
    let rig = Rig::start().await;
    let client = rig.client_of("PLAIN", 1).await;
    let ordered = UpdateAndCreateTopic {
        order: true,
        ..topic("ORDERED", 1)
    };
    client.get(&ordered).await;
    let order = async || {
        let header = GetTopicConfig {
            topic: "%RETRY%R".into(),
            ..GetTopicConfig::default()
        };
        let topic = client.ask(&header).await;
        let topic: TopicConfig = fastjson::from_slice(&topic.body).unwrap();
        topic.order
    };
    let beat = |topic: &str, fingerprint| HeartbeatBody {
        heartbeat_fingerprint: fingerprint,
        without_sub: topic.is_empty(),
        ..consumer("R", &[subscription(topic, "*", 1)])
    };
    client.beat(&beat("PLAIN", 1)).await;
    assert!(!order().await);
    client.beat(&beat("ORDERED", 2)).await;
    assert!(order().await);
    client.beat(&beat("", 2)).await;
    assert!(order().await, "nothing was said of topics");
    client.beat(&beat("PLAIN", 3)).await;
    assert!(!order().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_groups_that_read_an_ordered_topic_cost_one_change_of_the_topics() {
    let rig = Rig::start().await;
    let client = rig.client_of("PLAIN", 1).await;
    let ordered = UpdateAndCreateTopic {
        order: true,
        ..topic("ORDERED", 1)
    };
    client.get(&ordered).await;
    let topics = async || {
        let all = client.ask(&GetAllTopicConfig::default()).await;
        fastjson::from_slice::<TopicConfigTable>(&all.body).unwrap()
    };
    let beat = |topic: &str| {
        let one = |number| {
            let all = consumer(&format!("R{number}"), &[subscription(topic, "*", 1)]);
            all.consumer_data_set.into_iter().next().unwrap()
        };
        HeartbeatBody {
            consumer_data_set: (0..5).map(one).collect(),
            ..consumer("R", &[])
        }
    };
    let before = topics().await.data_version.counter;
    for (number, topic) in (1..).zip(["ORDERED", "PLAIN", "PLAIN"]) {
        assert_eq!(client.beat(&beat(topic)).await.code, 0);
        let now = topics().await;
        assert_eq!(now.data_version.counter - before, number.min(2), "{topic}");
        for group in 0..5 {
            let name = format!("%RETRY%R{group}");
            assert_eq!(now.topic_config_table[name.as_str()].order, topic == "ORDERED");
        }
    }
}
