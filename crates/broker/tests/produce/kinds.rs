// SPDX-License-Identifier: Apache-2.0
//! Kinds of messages and topics: `+message.type=`, priorities, traces.

use wire::api::config::UpdateBrokerConfig;
use wire::api::topic::UpdateAndCreateTopic;

use crate::rig::{Client, Rig};
use crate::sends::{send, stored};

async fn make(client: &Client, topic: &str, kind: &str) {
    let header = UpdateAndCreateTopic {
        topic: topic.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 3,
        write_queue_nums: 3,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        attributes: Some(format!("+message.type={kind}").into()),
        ..UpdateAndCreateTopic::default()
    };
    let reply = client.ask(&header).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
}

const KINDS: [(&str, &str); 4] = [
    ("NORMAL", "TAGS\u{1}a\u{2}"),
    ("FIFO", "__SHARDINGKEY\u{1}k\u{2}"),
    ("DELAY", "DELAY\u{1}1\u{2}"),
    ("PRIORITY", "_SYS_MSG_PRIORITY_\u{1}1\u{2}"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_another_kind_than_its_topic_is_refused_when_that_is_checked() {
    let rig = Rig::start_with(&[("enableMixedMessageType", "true")]).await;
    let client = rig.client_of("PLAIN", 1).await;
    for (kind, _) in KINDS {
        make(&client, kind, kind).await;
    }
    make(&client, "ANY", "MIXED").await;
    // As the reference's broker, that leaves it to the proxy.
    client.send_with("FIFO", 0, "a", "DELAY\u{1}18\u{2}").await;
    let checked = client
        .ask_with(&UpdateBrokerConfig, "enableTopicMessageTypeCheck=true")
        .await;
    assert_eq!(checked.code, 0);
    for (topic, expected) in KINDS
        .map(|(kind, _)| (kind, kind))
        .into_iter()
        .chain([("PLAIN", "NORMAL")])
    {
        for (kind, properties) in KINDS {
            let reply = client.ask_with(&send(topic, 0, properties), "a").await;
            let code = if expected == kind { 0 } else { 13 };
            assert_eq!(reply.code, code, "{kind} to {topic}: {:?}", reply.remark);
            if code != 0 {
                let told = format!(
                    "TopicMessageType validate failed, the expected type is {expected}, but actual type is {kind}"
                );
                assert_eq!(reply.remark.as_deref(), Some(told.as_str()));
            }
        }
    }
    for (_, properties) in KINDS {
        client.send_with("ANY", 0, "a", properties).await;
    }
    client.pull(&crate::rig::pull("G", "PLAIN", 0, 0)).await;
    client.send_with("%RETRY%G", 0, "a", "DELAY\u{1}1\u{2}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_priority_chooses_the_queue() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 3).await;
    for (priority, queue) in [("0", 0), ("1", 1), ("2", 2), ("9", 2)] {
        let receipt = client
            .send_with("T", 0, "a", &format!("_SYS_MSG_PRIORITY_\u{1}{priority}\u{2}"))
            .await;
        assert_eq!(receipt.queue_id, queue, "priority {priority}");
    }
    let none = client
        .send_with("T", 1, "a", "_SYS_MSG_PRIORITY_\u{1}-1\u{2}")
        .await;
    assert_eq!(none.queue_id, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_topic_is_there_when_the_settings_say_so_and_takes_traces() {
    let rig = Rig::start_with(&[("traceTopicEnable", "true"), ("autoCreateTopicEnable", "false")]).await;
    let client = rig.client().await;
    let trace = "Pub\u{1}1\u{1}DefaultRegion\u{1}PG\u{1}T\u{1}ID\u{1}\u{1}\u{2}";
    client
        .send_with("RMQ_SYS_TRACE_TOPIC", 0, trace, "KEYS\u{1}ID\u{2}")
        .await;
    let [record] = stored(&client, "RMQ_SYS_TRACE_TOPIC", 0)
        .await
        .try_into()
        .unwrap();
    assert_eq!(&record.body[..], trace.as_bytes());
    let without = Rig::start_with(&[("autoCreateTopicEnable", "false")]).await;
    let client = without.client().await;
    assert_eq!(
        client
            .ask_with(&send("RMQ_SYS_TRACE_TOPIC", 0, ""), trace)
            .await
            .code,
        17
    );
}
