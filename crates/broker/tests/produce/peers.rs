// SPDX-License-Identifier: Apache-2.0
//! What name servers hear: codes 103, 104 and 322.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use net::{Limits, Outcome, Peer, Server, Service};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::api::config::UpdateBrokerConfig;
use wire::api::register::{QueryDataVersionReply, RegisterBroker, UnregisterBroker};
use wire::api::topic::DeleteTopicInBroker;
use wire::body::register::RegisterBrokerBody;
use wire::code::{Code, ResponseCode};
use wire::ext::Ext;
use wire::fastjson;
use wire::frame::Frame;
use wire::record::crc31;

use crate::rig::{Rig, SOON, topic};
use crate::sends::send;
use crate::topics::config_of;

/// A name server that writes down what it is told and answers what the test wants.
struct Ears {
    heard: mpsc::UnboundedSender<Frame>,
    reply_body: Bytes,
    /// It refuses the next registration.
    refuses_next: AtomicBool,
    peers: Mutex<Vec<Arc<Peer>>>,
}

impl Service for Ears {
    fn serve(self: &Arc<Self>, peer: &Arc<Peer>, frame: Frame) -> Outcome {
        let mut reply = Frame::reply(frame.opaque, ResponseCode::SUCCESS);
        match Code(frame.code) {
            Code::REGISTER_BROKER => {
                reply.body = self.reply_body.clone();
                if self.refuses_next.swap(false, Relaxed) {
                    reply.code = ResponseCode::SYSTEM_ERROR.0;
                }
            }
            Code::QUERY_DATA_VERSION => reply.ext = Ext::of(&QueryDataVersionReply { changed: false }),
            _ => {}
        }
        self.peers.lock().push(Arc::clone(peer));
        let _test_is_over = self.heard.send(frame);
        Outcome::Reply(reply)
    }
}

struct NameServer {
    addr: SocketAddr,
    ears: Arc<Ears>,
    heard: mpsc::UnboundedReceiver<Frame>,
    stop: CancellationToken,
}

impl NameServer {
    async fn start(addr: SocketAddr, reply_body: &'static str) -> NameServer {
        let listening = Server::bind(addr).await.unwrap();
        let addr = listening.local_addr();
        let (sender, heard) = mpsc::unbounded_channel();
        let ears = Arc::new(Ears {
            heard: sender,
            reply_body: Bytes::from(reply_body),
            refuses_next: AtomicBool::new(false),
            peers: Mutex::default(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(listening.serve(Arc::clone(&ears), Limits::default(), stop.clone()));
        NameServer {
            addr,
            ears,
            heard,
            stop,
        }
    }

    async fn anywhere() -> NameServer {
        NameServer::start(([127, 0, 0, 1], 0).into(), "").await
    }

    async fn next(&mut self) -> Frame {
        tokio::time::timeout(SOON, self.heard.recv())
            .await
            .expect("the broker says something")
            .unwrap()
    }

    /// The next registration: header, and the topics with their version.
    async fn registration(&mut self) -> (RegisterBroker, RegisterBrokerBody) {
        let frame = self.next().await;
        assert_eq!(frame.code, Code::REGISTER_BROKER.0);
        let header: RegisterBroker = frame.ext.read().unwrap();
        assert_eq!(header.body_crc32, Some(crc31(&frame.body) as i32));
        (header, fastjson::from_slice(&frame.body).unwrap())
    }
}

fn topics(body: &RegisterBrokerBody) -> BTreeSet<&str> {
    body.topic_config_serialize_wrapper
        .topic_config_table
        .keys()
        .map(|name| name.as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_registers_all_topics_with_every_name_server_and_leaves_when_it_stops() {
    let mut servers = [NameServer::anywhere().await, NameServer::anywhere().await];
    let list = format!("{};{}", servers[0].addr, servers[1].addr);
    let rig = Rig::start_with(&[("namesrvAddr", &list), ("haListenPort", "10999")]).await;
    let mut seen = Vec::new();
    for server in &mut servers {
        let (header, body) = server.registration().await;
        assert_eq!(
            (header.broker_name.as_str(), header.cluster_name.as_str()),
            ("broker-a", "DefaultCluster")
        );
        assert_eq!(
            (header.broker_id, header.broker_addr.as_str()),
            (0, rig.addr.to_string().as_str())
        );
        assert_eq!(header.ha_server_addr, "127.0.0.1:10999");
        assert_eq!(
            (header.enable_acting_master, header.compressed),
            (Some(false), Some(false))
        );
        assert_eq!(topics(&body).len(), 15);
        assert_eq!(body.topic_config_serialize_wrapper.data_version.counter, 0);
        seen.push(server.ears.peers.lock()[0].id);
    }
    rig.stop().await;
    for (server, peer) in servers.iter_mut().zip(seen) {
        let frame = server.next().await;
        assert_eq!(frame.code, Code::UNREGISTER_BROKER.0);
        let header: UnregisterBroker = frame.ext.read().unwrap();
        assert_eq!((header.broker_name.as_str(), header.broker_id), ("broker-a", 0));
        assert_eq!(server.ears.peers.lock()[1].id, peer, "one connection for all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_topic_is_registered_before_its_maker_is_answered() {
    let mut server = NameServer::anywhere().await;
    let rig = Rig::start_with(&[("namesrvAddr", &server.addr.to_string())]).await;
    server.registration().await;
    let client = rig.client().await;
    client.make_topic("Made", 2).await;
    let (_, body) = tokio::time::timeout(SOON, server.registration()).await.unwrap();
    // The change alone: the name server has had everything before it.
    assert_eq!(topics(&body).into_iter().collect::<Vec<_>>(), ["Made"]);
    assert_eq!(body.topic_config_serialize_wrapper.data_version.counter, 1);

    client.send("Auto", 0, "a").await;
    let frame = server
        .heard
        .try_recv()
        .expect("registered when the send is answered");
    let body: RegisterBrokerBody = fastjson::from_slice(&frame.body).unwrap();
    assert_eq!(topics(&body).into_iter().collect::<Vec<_>>(), ["Auto"]);
    assert_eq!(body.topic_config_serialize_wrapper.data_version.counter, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn name_servers_are_told_everything_where_the_setting_or_a_deletion_wants_it() {
    let mut server = NameServer::anywhere().await;
    let settings = [
        ("namesrvAddr", &*server.addr.to_string()),
        ("registerChangesOnly", "false"),
    ];
    let rig = Rig::start_with(&settings).await;
    let all = topics(&server.registration().await.1).len();
    let client = rig.client().await;
    client.make_topic("Made", 2).await;
    let (_, body) = tokio::time::timeout(SOON, server.registration()).await.unwrap();
    assert_eq!(topics(&body).len(), all + 1);

    let changed = client
        .ask_with(&UpdateBrokerConfig, "registerChangesOnly=true")
        .await;
    assert_eq!(changed.code, 0);
    // Between two registrations something is gone: what is left is told as a whole.
    let gone = DeleteTopicInBroker { topic: "Made".into() };
    assert_eq!(client.ask(&gone).await.code, 0);
    client.make_topic("Other", 2).await;
    let (_, body) = tokio::time::timeout(SOON, server.registration()).await.unwrap();
    assert_eq!(topics(&body).len(), all + 1);
    assert!(topics(&body).contains("Other") && !topics(&body).contains("Made"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_takes_no_single_topic_because_it_has_forgotten_the_broker_is_told_everything() {
    let mut server = NameServer::anywhere().await;
    let rig = Rig::start_with(&[("namesrvAddr", &server.addr.to_string())]).await;
    server.registration().await;
    let client = rig.client().await;
    server.ears.refuses_next.store(true, Relaxed);
    client.make_topic("Made", 1).await;
    let (_, body) = server.registration().await;
    assert_eq!(topics(&body), BTreeSet::from(["Made"]));
    let (_, body) = server.registration().await;
    assert_eq!(topics(&body).len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_comes_late_or_again_gets_everything() {
    let server = NameServer::anywhere().await;
    let addr = server.addr;
    server.stop.cancel();
    drop(server);
    let rig = Rig::start_with(&[("namesrvAddr", &addr.to_string())]).await;
    let client = rig.client().await;
    client.make_topic("T", 1).await;
    let mut server = NameServer::start(addr, "").await;
    let (_, body) = server.registration().await;
    assert!(topics(&body).contains("T"));
    let first = Arc::clone(&server.ears.peers.lock()[0]);
    first.close();
    let (_, body) = server.registration().await;
    assert!(topics(&body).contains("T"));
    assert_ne!(server.ears.peers.lock()[1].id, first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_the_name_server_calls_ordered_become_so() {
    let start = |reply: &'static str| NameServer::start(([127, 0, 0, 1], 0).into(), reply);
    let mut server = start("{\"table\":{\"Made\":\"broker-a:4\",\"Unknown\":\"broker-a:4\"}}").await;
    let rig = Rig::start_with(&[("namesrvAddr", &server.addr.to_string())]).await;
    server.registration().await;
    let client = rig.client().await;
    client.make_topic("Made", 4).await;
    server.registration().await;
    // The next topic is registered after the answer to the last registration was taken.
    client.make_topic("Other", 4).await;
    assert!(config_of(&client, "Made").await.order);
    assert!(!config_of(&client, "Other").await.order);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_may_do_here_is_in_the_registration() {
    let mut server = NameServer::anywhere().await;
    let rig = Rig::start_with(&[
        ("namesrvAddr", &server.addr.to_string()),
        ("brokerPermission", "4"),
    ])
    .await;
    let (_, body) = server.registration().await;
    let table = &body.topic_config_serialize_wrapper.topic_config_table;
    assert_eq!((table["TBW102"].perm, table["BenchmarkTest"].perm), (4, 4));
    let client = rig.client().await;
    let header = wire::api::config::UpdateBrokerConfig;
    assert_eq!(client.ask_with(&header, "brokerPermission=6\n").await.code, 0);
    let (_, body) = server.registration().await;
    assert_eq!(
        body.topic_config_serialize_wrapper.topic_config_table["TBW102"].perm,
        7
    );
    assert_eq!(client.ask_with(&send("BenchmarkTest", 0, ""), "a").await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_topic_takes_nothing_when_the_broker_may_not_be_written_to() {
    let rig = Rig::start_with(&[("brokerPermission", "4")]).await;
    let client = rig.client().await;
    client.make_topic("Plain", 1).await;
    let ordered = wire::api::topic::UpdateAndCreateTopic {
        order: true,
        ..topic("Ordered", 1)
    };
    client.get(&ordered).await;
    assert_eq!(client.ask_with(&send("Ordered", 0, ""), "a").await.code, 16);
    assert_eq!(client.ask_with(&send("Plain", 0, ""), "a").await.code, 0);
}
