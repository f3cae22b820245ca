// SPDX-License-Identifier: Apache-2.0
//! A cluster, the tool, and a consumer that answers what operators ask it.

use crate::printed::{self, Ran, Sink};
use admin::Called;
use admin::console::Console;
use net::{Channel, Outcome, Peer, Service};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use testkit::cluster::Cluster;
use wire::api::heartbeat::HeartBeat;
use wire::api::offset::UpdateConsumerOffset;
use wire::api::register::RegisterBroker;
use wire::api::send::{ConsumerSendMsgBack, SendMessageV2};
use wire::code::{Code, ResponseCode};
use wire::frame::{Encoding, Frame};

const SOON: Duration = Duration::from_secs(10);

/// A name server and a broker to run commands against.
pub(crate) struct Rig {
    pub cluster: Cluster,
}

impl Rig {
    pub(crate) async fn start() -> Rig {
        Rig::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Rig {
        let cluster = Cluster::start(settings).await.unwrap();
        Rig { cluster }
    }

    /// Runs a command; words of it are separated by blanks.
    pub(crate) async fn run(&self, line: &str) -> Ran {
        let names = self.cluster.nameserver;
        self.run_alone(&format!("{line} -n {names}")).await
    }

    /// The same without a name server.
    pub(crate) async fn run_alone(&self, line: &str) -> Ran {
        run_alone(line).await
    }

    /// Runs one that repeats itself until it has printed something so often. What it says beside is seen at once.
    pub(crate) async fn watch(&self, line: &str, enough: (&'static str, usize), err: &Sink) -> Ran {
        let out = Sink {
            enough: Some(enough),
            ..Sink::default()
        };
        let line = format!("{line} -n {}", self.cluster.nameserver);
        let console = Console::new(out.clone(), err.clone());
        let code = printed::run_on(Called::Barque, &line, console).await;
        let (out, err) = (out.text(), err.text());
        Ran { code, out, err }
    }

    /// Runs one that succeeds, and returns what it printed.
    pub(crate) async fn done(&self, line: &str) -> String {
        let ran = self.run(line).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
        ran.out
    }

    /// Runs one that succeeds, and returns its data.
    pub(crate) async fn data(&self, line: &str) -> Value {
        let json = self.done(&format!("{line} --output json")).await;
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("{line}: {error}: {json}"))
    }

    /// Makes a topic with this many queues.
    pub(crate) async fn topic(&self, name: &str, queues: u32) {
        let broker = self.cluster.broker;
        self.done(&format!(
            "updateTopic -b {broker} -t {name} -r {queues} -w {queues}"
        ))
        .await;
    }

    /// Sends a message to a queue, and returns its id.
    pub(crate) async fn send(&self, topic: &str, queue: u32, more: &str) -> String {
        let sent = self
            .data(&format!("sendMessage -t {topic} -b broker-a -i {queue} {more}"))
            .await;
        sent["id"].as_str().unwrap().to_owned()
    }

    /// A member of a group that pushes, with this subscription to a topic.
    pub(crate) async fn consumer(&self, group: &str, topic: &str, tags: &str) -> Channel {
        let service = Arc::new(Member {
            group: group.to_owned(),
            topic: topic.to_owned(),
        });
        let broker = self.cluster.broker;
        let channel = Channel::connect_with(broker, SOON, service, Encoding::Json).await;
        let channel = channel.unwrap();
        let tag_set = if tags == "*" {
            String::new()
        } else {
            format!("\"{tags}\"")
        };
        let subscription = |topic: &str, tags: &str, set: &str| {
            format!("{{\"topic\":\"{topic}\",\"subString\":\"{tags}\",\"tagsSet\":[{set}],\"subVersion\":1}}")
        };
        let own = subscription(topic, tags, &tag_set);
        let retry = subscription(&format!("%RETRY%{group}"), "*", "");
        let beat = format!(
            "{{\"clientID\":\"{CLIENT}\",\"consumerDataSet\":[{{\"groupName\":\"{group}\",\
             \"consumeType\":\"CONSUME_PASSIVELY\",\"messageModel\":\"CLUSTERING\",\
             \"consumeFromWhere\":\"CONSUME_FROM_FIRST_OFFSET\",\"subscriptionDataSet\":[{own},{retry}]}}]}}"
        );
        let frame = Frame::request(0, &HeartBeat {}).with_body(beat);
        let joined = channel.call(frame, SOON).await.unwrap();
        assert_eq!(joined.code, 0, "{:?}", joined.remark);
        self.cluster_knows(&format!("%RETRY%{group}")).await;
        channel
    }

    /// Commits offsets of the first queues of a topic.
    pub(crate) async fn commit<const N: usize>(&self, group: &str, topic: &str, offsets: [i64; N]) {
        let channel = Channel::connect(self.cluster.broker, SOON).await.unwrap();
        for (queue_id, commit_offset) in (0..).zip(offsets) {
            let header = UpdateConsumerOffset {
                consumer_group: group.into(),
                topic: topic.into(),
                queue_id,
                commit_offset,
            };
            let done = channel.call(Frame::request(0, &header), SOON).await.unwrap();
            assert_eq!(done.code, 0, "{:?}", done.remark);
        }
    }

    /// Sends to the first queue with these properties, as they travel.
    pub(crate) async fn raw_send(&self, topic: &str, properties: &str, sys_flag: i32) {
        let header = SendMessageV2 {
            producer_group: "P".into(),
            topic: topic.into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 1,
            sys_flag,
            properties: Some(properties.into()),
            ..SendMessageV2::default()
        };
        let frame = Frame::request(0, &header).with_body("raw");
        let channel = Channel::connect(self.cluster.broker, SOON).await.unwrap();
        let sent = channel.call(frame, SOON).await.unwrap();
        // A SYNC_MASTER without a slave stores it, too.
        assert!([0, 11].contains(&sent.code), "{:?}", sent.remark);
    }

    /// Has a group give up the message at an offset of the first queue.
    pub(crate) async fn give_up(&self, group: &str, topic: &str, offset: i64) {
        let found = self
            .data(&format!(
                "queryMsgByOffset -t {topic} -b broker-a -i 0 -o {offset}"
            ))
            .await;
        let header = ConsumerSendMsgBack {
            offset: found[0]["commitLogOffset"].as_i64().unwrap(),
            group: group.into(),
            delay_level: -1,
            ..ConsumerSendMsgBack::default()
        };
        let channel = Channel::connect(self.cluster.broker, SOON).await.unwrap();
        let back = channel.call(Frame::request(0, &header), SOON).await.unwrap();
        assert_eq!(back.code, 0, "{:?}", back.remark);
    }

    /// Tells the name server of a broker that has a topic with one queue. It is there as long as the connection.
    pub(crate) async fn register(&self, name: &str, addr: SocketAddr, topic: &str) -> Channel {
        let header = RegisterBroker {
            broker_name: name.into(),
            broker_addr: addr.to_string().into(),
            cluster_name: "DefaultCluster".into(),
            ..RegisterBroker::default()
        };
        // A broker with a single topic is not believed.
        let topics = [topic, name].map(|topic| {
            format!(
                "\"{topic}\":{{\"topicName\":\"{topic}\",\"perm\":6,\"readQueueNums\":1,\"writeQueueNums\":1}}"
            )
        });
        let topics = topics.join(",");
        let body = format!("{{\"topicConfigSerializeWrapper\":{{\"topicConfigTable\":{{{topics}}}}}}}");
        let channel = Channel::connect(self.cluster.nameserver, SOON).await.unwrap();
        let frame = Frame::request(0, &header).with_body(body);
        let told = channel.call(frame, SOON).await.unwrap();
        assert_eq!(told.code, 0, "{:?}", told.remark);
        channel
    }

    /// Returns when the name server has heard of a topic.
    pub(crate) async fn cluster_knows(&self, topic: &str) {
        while self.run(&format!("topicRoute -t {topic}")).await.code != 0 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn stop(self) {
        self.cluster.stop().await.unwrap();
    }
}

/// Runs a command that knows its servers itself.
pub(crate) async fn run_alone(line: &str) -> Ran {
    printed::run(Called::Barque, line, None).await
}

/// What the member calls itself.
pub(crate) const CLIENT: &str = "127.0.0.1@member";

struct Member {
    group: String,
    topic: String,
}

impl Service for Member {
    fn serve(self: &Arc<Self>, _: &Arc<Peer>, frame: Frame) -> Outcome {
        let Member { group, topic } = self.as_ref();
        let body = match Code(frame.code) {
            Code::GET_CONSUMER_RUNNING_INFO => format!(
                "{{\"properties\":{{\"consumerGroup\":\"{group}\",\"PROP_CONSUME_TYPE\":\"CONSUME_PASSIVELY\",\
                 \"PROP_CONSUMER_START_TIMESTAMP\":\"1\"}},\
                 \"mqTable\":{{{{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"{topic}\"}}:\
                 {{\"commitOffset\":1,\"cachedMsgCount\":2,\"lastConsumeTimestamp\":1}}}},\
                 \"statusTable\":{{\"{topic}\":{{\"consumeOKTPS\":1.5}}}},\
                 \"subscriptionSet\":[{{\"topic\":\"{topic}\",\"subString\":\"*\"}}]}}"
            ),
            Code::CONSUME_MESSAGE_DIRECTLY => {
                "{\"order\":false,\"autoCommit\":true,\"consumeResult\":\"CR_SUCCESS\",\"spentTimeMills\":3}"
                    .to_owned()
            }
            _ => return Outcome::Silent,
        };
        Outcome::Reply(Frame::reply(frame.opaque, ResponseCode::SUCCESS).with_body(body))
    }
}
