// SPDX-License-Identifier: Apache-2.0
//! Codes 17, 18, 21, 202, 215, 300, 305 and 351.

use wire::api::group::{DeleteSubscriptiongroup, UpdateAndCreateSubscriptiongroup};
use wire::api::offset::UpdateConsumerOffset;
use wire::api::topic::{
    DeleteTopicInBroker, GetAllTopicConfig, GetAllTopicConfigReply, GetSystemTopicListFromBroker,
    GetTopicConfig, GetTopicStatsInfo, QueryTopicConsumeByWho, UpdateAndCreateTopic,
    UpdateAndCreateTopicList,
};
use wire::body::group::SubscriptionGroupConfig;
use wire::body::stats::TopicStats;
use wire::body::topic::{GroupList, TopicConfig, TopicConfigList, TopicConfigTable, TopicList};
use wire::fastjson;
use wire::frame::Frame;

use crate::rig::{Client, Rig};

/// The settings of a topic that is there.
pub(crate) async fn config_of(client: &Client, topic: &str) -> TopicConfig {
    let reply = client
        .ask(&GetTopicConfig {
            topic: topic.into(),
            ..GetTopicConfig::default()
        })
        .await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    fastjson::from_slice(&reply.body).unwrap()
}

fn wanted(topic: &str, attributes: &str) -> UpdateAndCreateTopic {
    UpdateAndCreateTopic {
        topic: topic.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 2,
        write_queue_nums: 3,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        attributes: Some(attributes.into()),
        ..UpdateAndCreateTopic::default()
    }
}

async fn all(client: &Client) -> TopicConfigTable {
    let reply = client.ask(&GetAllTopicConfig::default()).await;
    let table: TopicConfigTable = fastjson::from_slice(&reply.body).unwrap();
    let header: GetAllTopicConfigReply = reply.ext.read().unwrap();
    assert_eq!(
        header.total_topic_num,
        Some(table.topic_config_table.len() as i32)
    );
    table
}

fn said(frame: &Frame) -> (i32, &str) {
    (frame.code, frame.remark.as_deref().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topics_of_the_system_are_there_from_the_start() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let table = all(&client).await;
    let shape = |topic: &str| {
        let config = &table.topic_config_table[topic];
        (config.read_queue_nums, config.write_queue_nums, config.perm)
    };
    for (topic, queues, perm) in [
        ("TBW102", 8, 7),
        ("SELF_TEST_TOPIC", 1, 6),
        ("OFFSET_MOVED_EVENT", 1, 6),
        ("BenchmarkTest", 1024, 6),
        ("DefaultCluster", 16, 7),
        ("broker-a", 1, 7),
        ("SCHEDULE_TOPIC_XXXX", 18, 6),
        ("RMQ_SYS_TRANS_HALF_TOPIC", 1, 6),
        ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1, 6),
        ("RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC", 1, 6),
        ("RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC", 1, 6),
        ("DefaultCluster_REPLY_TOPIC", 1, 6),
        ("rmq_sys_REVIVE_LOG_DefaultCluster", 8, 6),
        ("rmq_sys_SYNC_BROKER_MEMBER_broker-a", 1, 1),
        ("rmq_sys_wheel_timer", 1, 6),
    ] {
        assert_eq!(shape(topic), (queues, queues, perm), "{topic}");
    }
    assert_eq!(table.topic_config_table.len(), 15);
    assert_eq!(table.data_version.counter, 0);
    let reply = client.ask(&GetSystemTopicListFromBroker).await;
    let list: TopicList = fastjson::from_slice(&reply.body).unwrap();
    assert_eq!(list.topic_list.len(), 18);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_decide_which_topics_of_the_system_there_are() {
    let rig = Rig::start_with(&[
        ("autoCreateTopicEnable", "false"),
        ("clusterTopicEnable", "false"),
        ("traceTopicEnable", "true"),
        ("timerWheelEnable", "false"),
    ])
    .await;
    let table = all(&rig.client().await).await.topic_config_table;
    assert!(!table.contains_key("TBW102") && !table.contains_key("rmq_sys_wheel_timer"));
    assert_eq!(table["DefaultCluster"].perm, 1);
    assert_eq!(table["RMQ_SYS_TRACE_TOPIC"].write_queue_nums, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_made_changed_and_kept_over_a_restart() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    client.get(&wanted("T", "+message.type=FIFO")).await;
    client.get(&wanted("T", "+message.type=FIFO")).await;
    assert_eq!(
        all(&client).await.data_version.counter,
        1,
        "no change, no new version"
    );
    client
        .get(&UpdateAndCreateTopic {
            perm: 4,
            order: true,
            ..wanted("T", "+message.type=NORMAL")
        })
        .await;
    let config = config_of(&client, "T").await;
    assert_eq!(
        (
            config.perm,
            config.order,
            config.read_queue_nums,
            config.write_queue_nums
        ),
        (4, true, 2, 3)
    );
    assert_eq!(config.attributes["message.type"], "NORMAL");
    let version = all(&client).await.data_version;
    assert_eq!(version.counter, 2);

    let dir = rig.stop().await;
    let text = std::fs::read_to_string(dir.path().join("store/config/topics.json")).unwrap();
    assert!(
        text.starts_with("{\n\t\"dataVersion\":{\n\t\t\"counter\":2,\n\t\t\"stateVersion\":0,"),
        "{text}"
    );
    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    assert_eq!(config_of(&client, "T").await, config);
    assert_eq!(all(&client).await.data_version, version);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_written_by_the_reference_is_read_and_its_backup_when_it_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("store/config");
    std::fs::create_dir_all(&config).unwrap();
    let table = "{\n\t\"dataVersion\":{\n\t\t\"counter\":15,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":9\n\t},
\t\"topicConfigTable\":{\n\t\t\"FixTimer\":{\n\t\t\t\"attributes\":{\n\t\t\t\t\"message.type\":\"DELAY\"\n\t\t\t},
\t\t\t\"order\":false,\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":2,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",
\t\t\t\"topicName\":\"FixTimer\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":2\n\t\t}\n\t}\n}";
    std::fs::write(config.join("topics.json.bak"), table).unwrap();
    std::fs::write(config.join("topics.json"), &table[..100]).unwrap();
    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    assert_eq!(
        config_of(&client, "FixTimer").await.attributes["message.type"],
        "DELAY"
    );
    assert_eq!(all(&client).await.data_version.counter, 15);
    assert_eq!(config_of(&client, "TBW102").await.perm, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_a_path_is_refused_by_whatever_makes_or_deletes() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let outside = rig.dir.path().join("outside/0");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("00000000000000000000"), "mine").unwrap();
    // From where the queues of topics are.
    let name = "../../outside";
    let group = SubscriptionGroupConfig {
        group_name: name.into(),
        ..SubscriptionGroupConfig::default()
    };
    let delete_group = DeleteSubscriptiongroup {
        group_name: name.into(),
        clean_offset: Some(true),
    };
    let answers = [
        client.ask(&wanted(name, "")).await,
        client.ask(&DeleteTopicInBroker { topic: name.into() }).await,
        client
            .ask_with(&UpdateAndCreateSubscriptiongroup, fastjson::to_vec(&group))
            .await,
        client.ask(&delete_group).await,
        client.ask_with(&crate::sends::send(name, 0, ""), "x").await,
    ];
    for answer in answers {
        let remark = answer.remark.unwrap_or_default();
        assert!(remark.contains("illegal characters"), "{} {remark}", answer.code);
    }
    let kept = std::fs::read_dir(&outside).unwrap().count();
    let made = std::fs::read_dir(rig.dir.path()).unwrap().count();
    assert_eq!((kept, made), (1, 2), "nothing beside the store");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_breaks_a_rule_is_refused() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    client.get(&wanted("Kept", "+cleanup.policy=DELETE")).await;
    for (header, code, says) in [
        (wanted("bad topic", ""), 29, "illegal characters"),
        (wanted("TBW102", ""), 29, "conflict with system topic"),
        (wanted("rmq_sys_mine", ""), 29, "conflict with system topic"),
        (
            wanted("T", "+message.type=MIXED"),
            29,
            "MIXED message type is not supported.",
        ),
        (wanted("T", "+foo=1"), 1, "unsupported key: foo"),
        (wanted("Kept", "+cleanup.policy=COMPACTION"), 1, "unchangeable"),
        (wanted("Kept", "-message.type"), 1, "nonexistent"),
        (
            UpdateAndCreateTopic {
                write_queue_nums: -1,
                ..wanted("T", "")
            },
            29,
            "writeQueueNums",
        ),
        (
            UpdateAndCreateTopic {
                read_queue_nums: i32::MAX,
                ..wanted("T", "")
            },
            29,
            "readQueueNums",
        ),
    ] {
        let reply = client.ask(&header).await;
        assert_eq!(reply.code, code, "{:?}", reply.remark);
        assert!(said(&reply).1.contains(says), "{:?}", reply.remark);
    }
    assert_eq!(
        client
            .ask(&GetTopicConfig {
                topic: "T".into(),
                ..GetTopicConfig::default()
            })
            .await
            .code,
        17
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_topics_is_made_as_a_whole() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let topic = |name: &str| TopicConfig {
        topic_name: name.into(),
        ..TopicConfig::default()
    };
    let list = |names: &[&str]| {
        let topic_config_list = names.iter().map(|name| topic(name)).collect();
        fastjson::to_vec(&TopicConfigList { topic_config_list })
    };
    assert_eq!(
        client
            .ask_with(&UpdateAndCreateTopicList {}, list(&["A", "bad topic"]))
            .await
            .code,
        29
    );
    assert_eq!(
        client
            .ask(&GetTopicConfig {
                topic: "A".into(),
                ..GetTopicConfig::default()
            })
            .await
            .code,
        17
    );
    assert_eq!(
        client
            .ask_with(&UpdateAndCreateTopicList {}, list(&["A", "B"]))
            .await
            .code,
        0
    );
    assert_eq!(config_of(&client, "B").await.write_queue_nums, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_topics_can_be_read_in_pages() {
    let rig = Rig::start_with(&[("splitMetadataSize", "10")]).await;
    let client = rig.client().await;
    let page = |start: i32, size: i32, version: String| {
        let header = GetAllTopicConfig {
            topic_seq: Some(start),
            max_topic_num: Some(size),
            data_version: Some(version.into()),
        };
        let client = &client;
        async move {
            let reply = client.ask(&header).await;
            assert_eq!(reply.ext.get("totalTopicNum").as_deref(), Some("15"));
            fastjson::from_slice::<TopicConfigTable>(&reply.body).unwrap()
        }
    };
    let first = page(0, 2000, String::new()).await;
    assert_eq!(first.topic_config_table.len(), 10);
    let version = fastjson::to_string(&first.data_version);
    let rest = page(10, 2000, version).await;
    assert_eq!(rest.topic_config_table.len(), 5);
    let (last, next) = (
        first.topic_config_table.last_key_value(),
        rest.topic_config_table.first_key_value(),
    );
    assert!(last.unwrap().0 < next.unwrap().0);
    let outdated = page(10, 3, "{\"counter\":99}".to_owned()).await;
    assert_eq!(outdated.topic_config_table.len(), 3);
    assert!(outdated.topic_config_table.first_key_value() == first.topic_config_table.first_key_value());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_gone_with_its_messages_and_offsets() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    client.make_topic("%RETRY%G_T", 1).await;
    client.send("T", 0, "a").await;
    let commit = UpdateConsumerOffset {
        consumer_group: "G".into(),
        topic: "T".into(),
        queue_id: 0,
        commit_offset: 1,
    };
    client.get(&commit).await;
    client.get(&DeleteTopicInBroker { topic: "T".into() }).await;
    for topic in ["T", "%RETRY%G_T"] {
        let reply = client
            .ask(&GetTopicConfig {
                topic: topic.into(),
                ..GetTopicConfig::default()
            })
            .await;
        assert_eq!(reply.code, 17, "{topic}");
    }
    assert_eq!(consumers(&client, "T").await, Vec::<String>::new());
    client.make_topic("T", 1).await;
    assert_eq!(client.send("T", 0, "b").await.queue_offset, 0);

    let system = client
        .ask(&DeleteTopicInBroker {
            topic: "TBW102".into(),
        })
        .await;
    assert_eq!(
        said(&system),
        (29, "The topic[TBW102] is conflict with system topic.")
    );
    assert_eq!(
        client.ask(&DeleteTopicInBroker { topic: " ".into() }).await.code,
        29
    );
    client
        .get(&DeleteTopicInBroker {
            topic: "NoSuchTopic".into(),
        })
        .await;
}

async fn consumers(client: &Client, topic: &str) -> Vec<String> {
    let reply = client.ask(&QueryTopicConsumeByWho { topic: topic.into() }).await;
    let list: GroupList = fastjson::from_slice(&reply.body).unwrap();
    list.group_list.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_a_topic_is_known_from_members_and_from_offsets() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    client.consume("Online", "T", "*").await;
    let commit = UpdateConsumerOffset {
        consumer_group: "G".into(),
        topic: "T".into(),
        queue_id: 0,
        commit_offset: 0,
    };
    client.get(&commit).await;
    assert_eq!(consumers(&client, "T").await, ["G", "Online"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_of_a_topic_list_all_its_queues() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    client.send("T", 1, "a").await;
    client.send("T", 1, "b").await;
    let reply = client.ask(&GetTopicStatsInfo { topic: "T".into() }).await;
    let stats: TopicStats = fastjson::from_slice(&reply.body).unwrap();
    let mut ends = stats
        .offset_table
        .iter()
        .map(|(key, end)| (key.0.queue_id, end.min_offset, end.max_offset));
    assert_eq!(ends.next(), Some((0, 0, 0)));
    assert_eq!(ends.next(), Some((1, 0, 2)));
    assert!(
        stats
            .offset_table
            .values()
            .next_back()
            .unwrap()
            .last_update_timestamp
            > 1_700_000_000_000
    );
    assert!(
        reply
            .body
            .starts_with(b"{\"offsetTable\":{{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"T\"}:")
    );
    assert_eq!(
        client
            .ask(&GetTopicStatsInfo {
                topic: "NoSuchTopic".into()
            })
            .await
            .code,
        17
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_of_a_topic_list_queues_that_are_only_read_too() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let topic = UpdateAndCreateTopic {
        read_queue_nums: 3,
        write_queue_nums: 1,
        ..wanted("T", "")
    };
    assert_eq!(client.ask(&topic).await.code, 0);
    let reply = client.ask(&GetTopicStatsInfo { topic: "T".into() }).await;
    let stats: TopicStats = fastjson::from_slice(&reply.body).unwrap();
    let queues: Vec<i32> = stats.offset_table.keys().map(|key| key.0.queue_id).collect();
    assert_eq!(queues, [0, 1, 2]);
}
