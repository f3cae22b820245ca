// SPDX-License-Identifier: Apache-2.0
//! Very many topics and groups: what the built program needs for them. Times are measured by hand (docs/benchmarks.md): a
//! test machine may be slow; memory is not.

#[path = "support/running.rs"]
mod running;

use net::Channel;
use running::Broker;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wire::api::config::GetBrokerConfig;
use wire::api::group::UpdateAndCreateSubscriptiongroupList;
use wire::api::offset::GetMaxOffset;
use wire::api::send::SendMessageV2;
use wire::api::topic::UpdateAndCreateTopicList;
use wire::frame::Frame;

const SECONDS: Duration = Duration::from_secs(60);
const TOPICS: usize = 10_000;
const AT_ONCE: usize = 500;

/// So many queues with files of the usual size are no trouble for a real disk; a test folder may be in memory.
const SMALL: [(&str, &str); 1] = [("mappedFileSizeConsumeQueue", "2000")];

fn assert_small(broker: &Broker) {
    let bytes = broker.memory("VmRSS");
    assert!(bytes < 300_000 * 1024, "{bytes} bytes");
}

fn topic(i: usize) -> String {
    format!("orders-of-shop-{i:05}")
}

async fn ask(channel: &Channel, frame: Frame) -> Frame {
    let reply = channel.call(frame, SECONDS).await.expect("an answer");
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    reply
}

async fn make(channel: &Channel) {
    for first in (0..TOPICS).step_by(AT_ONCE) {
        let topics: Vec<String> = (first..first + AT_ONCE)
            .map(|i| {
                format!(
                    r#"{{"topicName":"{}","readQueueNums":8,"writeQueueNums":8,"perm":6,"topicFilterType":"SINGLE_TAG"}}"#,
                    topic(i)
                )
            })
            .collect();
        let body = format!(r#"{{"topicConfigList":[{}]}}"#, topics.join(","));
        ask(
            channel,
            Frame::request(1, &UpdateAndCreateTopicList {}).with_body(body),
        )
        .await;
        let groups: Vec<String> = (first..first + AT_ONCE)
            .map(|i| format!(r#"{{"groupName":"readers-{i:05}"}}"#))
            .collect();
        let body = format!(r#"{{"groupConfigList":[{}]}}"#, groups.join(","));
        ask(
            channel,
            Frame::request(1, &UpdateAndCreateSubscriptiongroupList).with_body(body),
        )
        .await;
    }
    let sends = (0..TOPICS).map(|i| {
        let header = SendMessageV2 {
            producer_group: "p".into(),
            topic: topic(i).into(),
            queue_id: (i % 8) as i32,
            ..SendMessageV2::default()
        };
        async move { ask(channel, Frame::request(1, &header).with_body("hello")).await }
    });
    let mut sends = sends.collect::<Vec<_>>().into_iter();
    while sends.len() > 0 {
        futures_util::future::join_all(sends.by_ref().take(AT_ONCE)).await;
    }
}

/// Asks for its numbers as Prometheus does; how long the page is.
async fn scrape(channel: &Channel) -> usize {
    let config = ask(channel, Frame::request(1, &GetBrokerConfig)).await.body;
    let config = String::from_utf8(config.to_vec()).expect("text");
    let port = config
        .lines()
        .find_map(|line| line.strip_prefix("metricsPromExporterPort="))
        .and_then(|port| port.parse::<u16>().ok())
        .expect("a port");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("it reads");
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await.expect("it answers")
}

#[tokio::test]
async fn ten_thousand_topics_and_groups_survive_a_kill_and_fit_in_300_megabytes() {
    let home = TempDir::new().unwrap();
    let broker = Broker::start(home.path(), &SMALL);
    let channel = Channel::connect(broker.addr, SECONDS).await.unwrap();
    make(&channel).await;
    for _ in 0..3 {
        let bytes = scrape(&channel).await;
        assert!(bytes > TOPICS * 1000, "the numbers of every topic: {bytes} bytes");
    }
    assert_small(&broker);
    drop(broker);

    let broker = Broker::start(home.path(), &SMALL);
    let channel = Channel::connect(broker.addr, SECONDS).await.unwrap();
    for i in [0, TOPICS / 2, TOPICS - 1] {
        let header = GetMaxOffset {
            topic: topic(i).into(),
            queue_id: (i % 8) as i32,
            ..GetMaxOffset::default()
        };
        let reply = ask(&channel, Frame::request(1, &header)).await;
        assert_eq!(reply.ext.get("offset").as_deref(), Some("1"), "{}", topic(i));
    }
    assert_small(&broker);
}
