// SPDX-License-Identifier: Apache-2.0
//! JSON as the reference writes it: legal or not.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where an answer is not what it must be"
)]

use std::collections::BTreeMap;
use std::io::Write;

use wire::body::group::{RetryPolicyType, SubscriptionGroupConfig, SubscriptionGroupTable};
use wire::body::queue::{MessageQueue, QueueKey};
use wire::body::register::{RegisterBrokerBody, RegisterError};
use wire::body::stats::{OffsetTable, QueueOffsets, TopicStats};
use wire::body::subscription::{ConsumeFromWhere, ConsumeType, HeartbeatBody};
use wire::body::topic::{TopicConfig, TopicConfigTable, TopicFilterType};
use wire::body::topic_route::{BrokerAddrs, ClusterInfo, TopicRoute};
use wire::fastjson;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn broker_ids_are_read_with_and_without_quotes() {
    for ids in ["0:\"a\",1:\"b\"", "\"0\":\"a\",\"1\":\"b\"", "'0':'a','1':'b',"] {
        let addrs: BrokerAddrs = fastjson::from_str(&format!("{{\"brokerAddrs\":{{{ids}}}}}")).unwrap();
        assert_eq!(
            addrs.broker_addrs,
            BTreeMap::from([(0, "a".into()), (1, "b".into())]),
            "{ids}"
        );
    }
}

#[test]
fn a_route_is_written_in_both_forms() {
    let route = TopicRoute {
        broker_datas: vec![BrokerAddrs {
            broker_addrs: BTreeMap::from([(0, "127.0.0.1:10911".into())]),
            broker_name: "b-ä😀".into(),
            cluster: "c".into(),
            ..BrokerAddrs::default()
        }],
        ..TopicRoute::default()
    };
    let bare = text(fastjson::to_vec(&route));
    let quoted = text(fastjson::to_vec_standard(&route));
    let expected = r#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:10911"},"brokerName":"b-ä😀","cluster":"c","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[]}"#;
    assert_eq!(bare, expected);
    assert_eq!(
        quoted,
        expected
            .replace("{0:", "{\"0\":")
            .replace("ä😀", "\\u00e4\\ud83d\\ude00")
    );
    assert_eq!(fastjson::from_str::<TopicRoute>(&bare).unwrap(), route);
    assert_eq!(serde_json::from_str::<TopicRoute>(&quoted).unwrap(), route);
}

#[test]
fn a_queue_as_a_map_key_is_a_bare_object() {
    let queue = MessageQueue {
        broker_name: "b\"\\".into(),
        queue_id: 3,
        topic: "T".into(),
    };
    let offsets = QueueOffsets {
        offset_table: BTreeMap::from([(QueueKey(queue), 5)]),
    };
    let written = text(fastjson::to_vec(&offsets));
    assert_eq!(
        written,
        r#"{"offsetTable":{{"brokerName":"b\"\\","queueId":3,"topic":"T"}:5}}"#
    );
    assert_eq!(fastjson::from_str::<QueueOffsets>(&written).unwrap(), offsets);
    let standard = fastjson::to_vec_standard(&offsets);
    assert_eq!(
        serde_json::from_slice::<QueueOffsets>(&standard).unwrap(),
        offsets
    );
}

#[test]
fn an_object_as_a_map_key_reads_as_its_text() {
    let read: BTreeMap<String, i32> = fastjson::from_str(r#"{{"a":{"b":1}}:5,[1,2]:6}"#).unwrap();
    assert_eq!(
        read,
        BTreeMap::from([(r#"{"a":{"b":1}}"#.to_owned(), 5), ("[1,2]".to_owned(), 6)])
    );
}

#[test]
fn keys_that_look_odd_are_written_as_plain_text() {
    for key in ["", "\0", "\0x", "{", "a\"b", "1"] {
        let map = BTreeMap::from([(key, 1)]);
        let read: BTreeMap<String, i32> = serde_json::from_slice(&fastjson::to_vec(&map)).unwrap();
        assert_eq!(read.keys().next().map(String::as_str), Some(key), "{key:?}");
    }
}

#[test]
fn numbers_and_booleans_in_quotes_and_nulls_are_accepted() {
    // The C++ client sends subVersion as a string.
    let body: HeartbeatBody = fastjson::from_str(
        r#"{"clientID":"c","heartbeatFingerprint":null,"withoutSub":"false","unknown":{"a":[1,{}]},
            "consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_POP","consumeFromWhere":"SOMEWHERE","subscriptionDataSet":
                [{"topic":"T","subString":"*","subVersion":"17","codeSet":["97",98],"tagsSet":null},]}]}"#,
    )
    .unwrap();
    let consumer = &body.consumer_data_set[0];
    assert_eq!(consumer.consume_type, ConsumeType::ConsumePop);
    assert_eq!(
        consumer.consume_from_where,
        ConsumeFromWhere::ConsumeFromLastOffset
    );
    let subscription = &consumer.subscription_data_set[0];
    assert_eq!(
        (subscription.sub_version, &subscription.code_set[..]),
        (17, &[97, 98][..])
    );
    assert_eq!(subscription.expression_type, "TAG");
}

#[test]
fn what_is_missing_takes_the_default_of_the_reference() {
    let group: SubscriptionGroupConfig = fastjson::from_str(r#"{"groupName":"g"}"#).unwrap();
    assert_eq!(
        group,
        SubscriptionGroupConfig {
            group_name: "g".into(),
            ..SubscriptionGroupConfig::default()
        }
    );
    assert_eq!(
        (
            group.retry_max_times,
            group.retry_queue_nums,
            group.consume_timeout_minute
        ),
        (16, 1, 15)
    );
    assert!(group.consume_enable && group.consume_broadcast_enable && group.consume_from_min_enable);
    assert_eq!(group.group_retry_policy.kind, RetryPolicyType::Customized);
    let topic: TopicConfig =
        fastjson::from_str(r#"{"topicName":"t","topicFilterType":"MULTI_TAG"}"#).unwrap();
    assert_eq!(
        (topic.perm, topic.read_queue_nums, topic.topic_filter_type),
        (6, 16, TopicFilterType::MultiTag)
    );
}

#[test]
fn broken_json_is_an_error_with_a_place() {
    for broken in [
        "",
        "{",
        "{\"a\"}",
        "{\"a\":1",
        "[1 2]",
        "{\"counter\":\"x\"}",
        "{\"table\":{\"a\":\"b\"}}}",
        "nul",
    ] {
        assert!(
            fastjson::from_str::<BTreeMap<String, i32>>(broken).is_err(),
            "{broken}"
        );
    }
    let error = fastjson::from_str::<SubscriptionGroupConfig>(r#"{"groupName":"g","retryMaxTimes":"many"}"#)
        .unwrap_err();
    assert_eq!(error.to_string(), "an integer is expected near byte 33");
    let deep = "[".repeat(100_000);
    assert!(fastjson::from_str::<serde_json::Value>(&deep).is_err());
    assert!(fastjson::from_slice::<ClusterInfo>(b"\xff").is_err());
}

#[test]
fn configuration_files_are_indented_with_tabs() {
    let table = TopicConfigTable {
        topic_config_table: BTreeMap::from([(
            "T".into(),
            TopicConfig {
                topic_name: "T".into(),
                ..TopicConfig::default()
            },
        )]),
        ..TopicConfigTable::default()
    };
    let expected = "{\n\t\"dataVersion\":{\n\t\t\"counter\":0,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":0\n\t},\n\t\"topicConfigTable\":{\n\t\t\"T\":{\n\t\t\t\"attributes\":{\n\t\t\t\t\n\t\t\t},\n\t\t\t\"order\":false,\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":16,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\t\t\t\"topicName\":\"T\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":16\n\t\t}\n\t}\n}";
    assert_eq!(text(fastjson::to_vec_pretty(&table)), expected);
    let offsets = OffsetTable {
        group_topic_map: Some(BTreeMap::from([
            ("g".into(), vec!["T".into()]),
            ("h".into(), vec![]),
        ])),
        offset_table: BTreeMap::from([("T@g".into(), BTreeMap::from([(0, 66), (1, 7)]))]),
        ..OffsetTable::default()
    };
    let written = text(fastjson::to_vec_pretty(&offsets));
    assert!(
        written.contains("\"T@g\":{\n\t\t\t0:66,\n\t\t\t1:7\n\t\t}"),
        "{written}"
    );
    assert!(
        written.contains("\"g\":[\n\t\t\t\"T\"\n\t\t],\n\t\t\"h\":[]"),
        "{written}"
    );
    assert_eq!(fastjson::from_str::<OffsetTable>(&written).unwrap(), offsets);
}

#[test]
fn floating_point_and_empty_tables_are_read() {
    let stats: TopicStats = fastjson::from_str(r#"{"offsetTable":{},"topicPutTps":1}"#).unwrap();
    assert!(stats.offset_table.is_empty() && stats.topic_put_tps == 1.0);
    let table: SubscriptionGroupTable = fastjson::from_str("{}").unwrap();
    assert!(table.subscription_group_table.is_empty());
}

fn deflated(parts: &[&[u8]]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&parts.concat()).unwrap();
    encoder.finish().unwrap()
}

fn sized(text: &str) -> Vec<u8> {
    [
        &u32::try_from(text.len()).unwrap().to_be_bytes()[..],
        text.as_bytes(),
    ]
    .concat()
}

#[test]
fn a_deflated_registration_is_read() {
    let one = 1u32.to_be_bytes();
    let two = 2u32.to_be_bytes();
    let version = sized(r#"{"counter":3,"stateVersion":0,"timestamp":9}"#);
    let first = sized(r#"T1 8 4 6 MULTI_TAG {"k k":"v v"}"#);
    let second = sized("T2 1 1 4 SINGLE_TAG");
    let servers = sized(r#"["f"]"#);
    let mapping = sized(r#"{"topic":"S","bname":"b","totalQueues":2,"currIdMap":{0:1}}"#);
    let old = deflated(&[&version, &two, &first, &second, &servers]);
    let new = deflated(&[&version, &two, &first, &second, &servers, &one, &mapping]);
    let old = RegisterBrokerBody::decode_compressed(&old, 401).unwrap();
    let new = RegisterBrokerBody::decode_compressed(&new, 413).unwrap();
    let topics = &old.topic_config_serialize_wrapper.topic_config_table;
    let t1 = &topics["T1"];
    assert_eq!((t1.read_queue_nums, t1.write_queue_nums, t1.perm), (8, 4, 6));
    assert_eq!(
        (t1.topic_filter_type, t1.attributes["k k"].as_str()),
        (TopicFilterType::MultiTag, "v v")
    );
    assert_eq!((topics["T2"].perm, topics["T2"].attributes.len()), (4, 0));
    assert_eq!(old.topic_config_serialize_wrapper.data_version.counter, 3);
    assert_eq!(old.filter_server_list, ["f"]);
    assert_eq!(new.topic_config_serialize_wrapper.topic_config_table, *topics);
    let mappings = new
        .topic_config_serialize_wrapper
        .topic_queue_mapping_info_map
        .unwrap();
    assert_eq!(mappings["S"].curr_id_map, Some(BTreeMap::from([(0, 1)])));
}

#[test]
fn a_damaged_registration_is_refused() {
    let decode = |body: &[u8]| RegisterBrokerBody::decode_compressed(body, 493).unwrap_err();
    assert!(matches!(decode(b"no zlib"), RegisterError::Inflate(_)));
    assert!(matches!(
        decode(&deflated(&[&[0, 0, 0, 9], b"{}"])),
        RegisterError::Cut
    ));
    assert!(matches!(
        decode(&deflated(&[&sized("{}"), &[255; 4]])),
        RegisterError::Cut
    ));
    assert!(matches!(
        decode(&deflated(&[&sized("{}"), &[127, 255, 255, 255]])),
        RegisterError::Cut
    ));
    assert!(matches!(
        decode(&deflated(&[&sized("{}"), &[0, 0, 0, 1], &sized("T 1")])),
        RegisterError::Topic(_)
    ));
    let bomb = deflated(&[&vec![0; 65 << 20]]);
    assert!(matches!(decode(&bomb), RegisterError::TooLarge(_)));
    assert_eq!(
        RegisterBrokerBody::decode(b"").unwrap(),
        RegisterBrokerBody::default()
    );
}
