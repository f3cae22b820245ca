// SPDX-License-Identifier: Apache-2.0
//! A broker in this process, and clients of it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use broker::{Broker, Config, Ports};
use bytes::Bytes;
use net::{Channel, Outcome, Peer, Service};
use store::Env;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::api::heartbeat::{HeartBeat, UnregisterClient};
use wire::api::pull::{PullMessage, PullReply};
use wire::api::send::{SendMessageV2, SendReceipt};
use wire::api::topic::UpdateAndCreateTopic;
use wire::body::subscription::{ConsumerData, HeartbeatBody, ProducerData, SubscriptionData};
use wire::code::{Code, Request};
use wire::frame::{Encoding, Frame};
use wire::properties::java_hash;
use wire::record::Record;
use wire::{Str, fastjson};

/// No answer takes that long unless it is held.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A broker that runs.
pub(crate) struct Rig {
    pub(crate) addr: SocketAddr,
    /// The port that takes no pulls.
    #[allow(dead_code, reason = "read by produce.rs only")]
    pub(crate) fast_addr: SocketAddr,
    /// Where numbers are read.
    #[allow(dead_code, reason = "read by metrics.rs only")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Where slaves connect.
    #[allow(dead_code, reason = "read by metrics.rs only")]
    pub(crate) replication: SocketAddr,
    pub(crate) dir: TempDir,
    broker: Arc<Broker>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Rig {
    pub(crate) async fn start() -> Rig {
        Rig::start_with(&[]).await
    }

    /// With these settings.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Rig {
        Rig::start_in(tempfile::tempdir().unwrap(), settings).await
    }

    /// On what another broker left behind.
    pub(crate) async fn start_in(dir: TempDir, settings: &[(&str, &str)]) -> Rig {
        Rig::start_on(Env::real(), dir, settings).await
    }

    /// In another world than the real one.
    pub(crate) async fn start_on(env: Env, dir: TempDir, settings: &[(&str, &str)]) -> Rig {
        let mut config = Config::default();
        let root = dir.path().join("store");
        for (key, value) in [
            ("storePathRootDir", root.to_str().unwrap()),
            ("brokerName", "broker-a"),
            ("brokerIP1", "127.0.0.1"),
            ("brokerIP2", "127.0.0.1"),
            ("bindAddress", "127.0.0.1"),
            ("listenPort", "0"),
            ("mappedFileSizeCommitLog", "1048576"),
            ("maxHashSlotNum", "100"),
            ("maxIndexNum", "1000"),
        ]
        .iter()
        .chain(settings)
        {
            config.set(key, value).unwrap();
        }
        let ports = Ports::bind(&mut config).await.unwrap();
        let broker = tokio::task::spawn_blocking(move || Broker::open(config, env).unwrap())
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let addr = SocketAddr::from(([127, 0, 0, 1], ports.port()));
        let fast_addr = SocketAddr::from(([127, 0, 0, 1], ports.fast_port()));
        let metrics = ports.metrics_addr();
        let replication = SocketAddr::from(([127, 0, 0, 1], ports.replication_port()));
        let running = tokio::spawn({
            let (broker, stop) = (Arc::clone(&broker), stop.clone());
            async move { broker.run(ports, stop).await.unwrap() }
        });
        Rig {
            addr,
            fast_addr,
            metrics,
            replication,
            dir,
            broker,
            stop,
            running,
        }
    }

    /// Ends the broker in good order; its files remain.
    pub(crate) async fn stop(self) -> TempDir {
        self.stop.cancel();
        self.running.await.unwrap();
        let broker = self.broker;
        tokio::task::spawn_blocking(move || broker.close().unwrap())
            .await
            .unwrap();
        self.dir
    }

    /// A setting as it is in effect.
    #[allow(dead_code, reason = "used by admin.rs only")]
    pub(crate) fn setting(&self, key: &str) -> String {
        self.broker.config().get(key).unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        Rig::client_at(self.addr).await
    }

    pub(crate) async fn client_at(addr: SocketAddr) -> Client {
        let (requests, received) = mpsc::unbounded_channel();
        let service = Arc::new(Inbox(requests));
        let channel = Channel::connect_with(addr, SOON, service, Encoding::Json)
            .await
            .unwrap();
        Client {
            channel: Arc::new(channel),
            received,
        }
    }

    /// A client that has made a topic, and group `G` if groups may come into being.
    pub(crate) async fn client_of(&self, topic: &str, queues: i32) -> Client {
        let client = self.client().await;
        client.make_topic(topic, queues).await;
        client.pull(&pull("G", topic, 0, 0)).await;
        client
    }
}

/// A client on one connection.
pub(crate) struct Client {
    pub(crate) channel: Arc<Channel>,
    /// What the broker asks or tells the client.
    received: mpsc::UnboundedReceiver<Frame>,
}

impl Client {
    /// Asks and waits for the answer, whatever its code.
    pub(crate) async fn ask<R: Request>(&self, header: &R) -> Frame {
        self.ask_with(header, Bytes::new()).await
    }

    pub(crate) async fn ask_with<R: Request>(&self, header: &R, body: impl Into<Bytes>) -> Frame {
        self.channel
            .call(Frame::request(0, header).with_body(body), SOON)
            .await
            .unwrap()
    }

    /// Asks for something that must succeed.
    pub(crate) async fn get<R: Request>(&self, header: &R) -> R::Reply {
        let frame = self.ask(header).await;
        assert_eq!(
            (frame.code, frame.remark.as_deref().unwrap_or("")),
            (0, ""),
            "{:?}",
            R::CODE
        );
        frame.ext.read().unwrap()
    }

    pub(crate) async fn make_topic(&self, topic: &str, queues: i32) {
        let reply = self.ask(&self::topic(topic, queues)).await;
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
    }

    pub(crate) async fn send(&self, topic: &str, queue_id: i32, body: &str) -> SendReceipt {
        self.send_with(topic, queue_id, body, "").await
    }

    pub(crate) async fn send_tagged(&self, topic: &str, queue_id: i32, tag: &str) -> SendReceipt {
        self.send_with(topic, queue_id, tag, &format!("TAGS\u{1}{tag}\u{2}"))
            .await
    }

    pub(crate) async fn send_with(
        &self,
        topic: &str,
        queue_id: i32,
        body: &str,
        properties: &str,
    ) -> SendReceipt {
        let header = SendMessageV2 {
            producer_group: "PG".into(),
            topic: topic.into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id,
            born_timestamp: 1,
            properties: Some(properties.into()),
            ..SendMessageV2::default()
        };
        let reply = self.ask_with(&header, body.to_owned()).await;
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
        reply.ext.read().unwrap()
    }

    pub(crate) async fn pull(&self, header: &PullMessage) -> Pulled {
        Pulled::of(self.ask(header).await)
    }

    /// A pull that the broker may hold. It is on its way, ahead of whatever this client asks next, when this returns.
    pub(crate) async fn pull_in_background(&self, header: PullMessage) -> JoinHandle<Option<Pulled>> {
        let channel = Arc::clone(&self.channel);
        let mut call = Box::pin(async move {
            let answer = channel.call(Frame::request(0, &header), SOON).await;
            answer.ok().map(Pulled::of)
        });
        let started =
            std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await;
        assert!(started, "nothing is answered that fast");
        tokio::spawn(call)
    }

    pub(crate) async fn beat(&self, body: &HeartbeatBody) -> Frame {
        self.ask_with(&HeartBeat {}, fastjson::to_vec(body)).await
    }

    /// Joins a group as a push consumer of one topic.
    pub(crate) async fn consume(&self, group: &str, topic: &str, expression: &str) {
        let reply = self
            .beat(&consumer(group, &[subscription(topic, expression, 1)]))
            .await;
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
    }

    /// The next request of the broker.
    pub(crate) async fn next_request(&mut self) -> Frame {
        tokio::time::timeout(SOON, self.received.recv())
            .await
            .expect("a request of the broker")
            .unwrap()
    }

    /// The group named by the next request, which must say that the members of a group changed.
    pub(crate) async fn next_notification(&mut self) -> Str {
        let frame = self.next_request().await;
        assert!(frame.code == Code::NOTIFY_CONSUMER_IDS_CHANGED.0 && frame.is_oneway());
        frame.ext.get("consumerGroup").unwrap()
    }

    /// Returns when the connection has ended.
    pub(crate) async fn ended(mut self) {
        let ended = async { while self.received.recv().await.is_some() {} };
        tokio::time::timeout(SOON, ended)
            .await
            .expect("the connection ends");
    }

    /// The groups the broker has said to have changed so far. Finds the end of them by joining one more group.
    pub(crate) async fn notifications(&mut self) -> Vec<Str> {
        self.consume("LAST", "LAST", "*").await;
        let leave = UnregisterClient {
            client_id: "x".into(),
            producer_group: None,
            consumer_group: Some("LAST".into()),
        };
        let mut groups = Vec::new();
        loop {
            let group = self.next_notification().await;
            if group == "LAST" {
                self.get(&leave).await;
                return groups;
            }
            groups.push(group);
        }
    }

    /// How many requests of the broker have arrived.
    pub(crate) fn arrived(&mut self) -> usize {
        std::iter::from_fn(|| self.received.try_recv().ok()).count()
    }
}

/// The answer to a pull.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) code: i32,
    pub(crate) remark: Str,
    pub(crate) frame: Frame,
}

impl Pulled {
    fn of(frame: Frame) -> Pulled {
        Pulled {
            code: frame.code,
            remark: frame.remark.clone().unwrap_or_default(),
            frame,
        }
    }

    pub(crate) fn header(&self) -> PullReply {
        self.frame.ext.read().unwrap()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        let records = Record::decode_all(&self.frame.body);
        records
            .map(|record| String::from_utf8(record.unwrap().body.to_vec()).unwrap())
            .collect()
    }

    /// Code, status, next offset.
    pub(crate) fn outcome(&self) -> (i32, &str, i64) {
        (self.code, &self.remark, self.header().next_begin_offset)
    }
}

/// A pull of everything that is not held.
pub(crate) fn pull(group: &str, topic: &str, queue_id: i32, queue_offset: i64) -> PullMessage {
    PullMessage {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id,
        queue_offset,
        max_msg_nums: 32,
        sys_flag: 4,
        suspend_timeout_millis: 0,
        subscription: Some("*".into()),
        ..PullMessage::default()
    }
}

/// The same, held for so long.
pub(crate) fn held_pull(group: &str, topic: &str, queue_offset: i64, timeout: Duration) -> PullMessage {
    let suspend_timeout_millis = timeout.as_millis() as i64;
    PullMessage {
        sys_flag: 4 | 2,
        suspend_timeout_millis,
        ..pull(group, topic, 0, queue_offset)
    }
}

pub(crate) fn subscription(topic: &str, expression: &str, version: i64) -> SubscriptionData {
    let tags: Vec<Str> = expression
        .split("||")
        .map(|tag| tag.trim().into())
        .filter(|tag| tag != "*")
        .collect();
    SubscriptionData {
        topic: topic.into(),
        sub_string: expression.into(),
        sub_version: version,
        code_set: tags.iter().map(|tag| java_hash(tag)).collect(),
        tags_set: tags,
        ..SubscriptionData::default()
    }
}

pub(crate) fn consumer(group: &str, subscriptions: &[SubscriptionData]) -> HeartbeatBody {
    let consumer = ConsumerData {
        group_name: group.into(),
        subscription_data_set: subscriptions.to_vec(),
        ..ConsumerData::default()
    };
    HeartbeatBody {
        client_id: "127.0.0.1@test".into(),
        consumer_data_set: vec![consumer],
        ..HeartbeatBody::default()
    }
}

pub(crate) fn producer(client_id: &str, group: &str) -> HeartbeatBody {
    HeartbeatBody {
        client_id: client_id.into(),
        producer_data_set: vec![ProducerData {
            group_name: group.into(),
        }],
        ..HeartbeatBody::default()
    }
}

/// Keeps what the broker sends by itself.
struct Inbox(mpsc::UnboundedSender<Frame>);

impl Service for Inbox {
    fn serve(self: &Arc<Self>, _: &Arc<Peer>, frame: Frame) -> Outcome {
        let _test_is_over = self.0.send(frame);
        Outcome::Silent
    }
}

/// The request that makes a topic of so many queues.
pub(crate) fn topic(name: &str, queues: i32) -> UpdateAndCreateTopic {
    UpdateAndCreateTopic {
        topic: name.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        ..UpdateAndCreateTopic::default()
    }
}
