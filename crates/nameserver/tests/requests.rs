// SPDX-License-Identifier: Apache-2.0
//! A name server behind a real socket: what the reference was seen to answer, and what connections, silence, restarts
//! and settings do.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc as blocking};
use std::time::Duration;

use bytes::BytesMut;
use nameserver::config::Config;
use nameserver::nameserver::NameServer;
use nameserver::routes::WORDS;
use net::{Channel, Logged, Outcome, Peer, Server, Service};
use store::disk::real::RealDisk;
use store::disk::{Disk, Entry, File, Lock, Space};
use store::env::sim::SimClock;
use store::env::{Clock, Env};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::code::ResponseCode;
use wire::ext::Ext;
use wire::frame::{Decoder, Encoding, Frame};

const WAIT: Duration = Duration::from_secs(10);
const TWO_TOPICS: &str = r#"{"topicConfigSerializeWrapper":{"topicConfigTable":{
    "T":{"topicName":"T","perm":6,"readQueueNums":4,"writeQueueNums":8},
    "Tü":{"topicName":"Tü","perm":6,"readQueueNums":4,"writeQueueNums":8}}}}"#;

struct Running {
    dir: TempDir,
    addr: SocketAddr,
    server: Arc<NameServer>,
    clock: Arc<SimClock>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(settings: &str) -> Running {
        Running::start_in(TempDir::new().unwrap(), settings).await
    }

    async fn start_in(dir: TempDir, settings: &str) -> Running {
        Running::start_on(Arc::new(RealDisk), dir, settings).await
    }

    async fn start_on(disk: Arc<dyn Disk>, dir: TempDir, settings: &str) -> Running {
        let (home, file) = (dir.path(), dir.path().join("namesrv.conf").display().to_string());
        let (config, _) = Config::parse(home, &file, settings).unwrap();
        let clock = Arc::new(SimClock::at(1_000_000));
        let env = Env {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            disk,
            ..Env::real()
        };
        let server = NameServer::open(config, env).unwrap();
        let listening = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let (addr, stop) = (listening.local_addr(), CancellationToken::new());
        let task = tokio::spawn(Arc::clone(&server).run(listening, stop.clone()));
        Running {
            dir,
            addr,
            server,
            clock,
            stop,
            task,
        }
    }

    async fn connect(&self) -> Client {
        Client(Channel::connect(self.addr, WAIT).await.unwrap())
    }

    async fn stop(self) -> TempDir {
        self.stop.cancel();
        self.task.await.unwrap();
        self.dir
    }
}

fn request(code: i32, fields: &[(&str, &str)], body: &str) -> Frame {
    let ext = fields
        .iter()
        .fold(Ext::default(), |ext, (key, value)| ext.with(key, value));
    Frame {
        code,
        flag: 0,
        ext,
        ..Frame::reply(0, ResponseCode::SUCCESS)
    }
    .with_body(body.to_owned())
}

fn text(frame: &Frame) -> String {
    String::from_utf8(frame.body.to_vec()).unwrap()
}

fn remark(frame: &Frame) -> (i32, &str) {
    (frame.code, frame.remark.as_deref().unwrap_or_default())
}

struct Client(Channel);

impl Client {
    async fn send(&self, frame: Frame) -> Frame {
        self.0.call(frame, WAIT).await.unwrap()
    }

    async fn ask(&self, code: i32, fields: &[(&str, &str)]) -> Frame {
        self.send(request(code, fields, "")).await
    }

    async fn route(&self, topic: &str) -> Frame {
        self.ask(105, &[("topic", topic)]).await
    }

    async fn register(&self, name: &str, id: &str, addr: &str) -> Frame {
        let acting = [("enableActingMaster", "true"), ("haServerAddr", "ha")];
        let fields = [
            ("brokerName", name),
            ("brokerId", id),
            ("brokerAddr", addr),
            ("clusterName", "C"),
        ];
        self.send(request(103, &[fields.as_slice(), &acting].concat(), TWO_TOPICS))
            .await
    }

    /// Asks again and again until the answer is the one that is waited for.
    async fn until(&self, code: i32, fields: &[(&str, &str)], is_it: impl Fn(&Frame) -> bool) {
        let asking = async { while !is_it(&self.ask(code, fields).await) {} };
        tokio::time::timeout(WAIT, asking).await.unwrap();
    }

    async fn assert_answered_as_captured(&self, exchange: &[Frame]) {
        let [asked, expected] = exchange else {
            panic!("not an exchange")
        };
        let reply = Frame {
            opaque: expected.opaque,
            ..self.send(asked.clone()).await
        };
        let bytes = |frame: &Frame| {
            let mut out = BytesMut::new();
            frame.encode(&mut out, Encoding::Json);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(bytes(&reply), bytes(expected), "answer to {asked:?}");
    }
}

/// The captured frames of a request code: requests, each followed by its answer.
macro_rules! golden {
    ($name:literal) => {
        decoded(include_bytes!(concat!(
            "../../wire/tests/golden/",
            $name,
            ".frames"
        )))
    };
}

fn decoded(frames: &[u8]) -> Vec<Frame> {
    let (mut buffer, decoder) = (
        BytesMut::from(frames),
        Decoder {
            frame_bytes_max: 1 << 24,
        },
    );
    std::iter::from_fn(|| decoder.next(&mut buffer).unwrap()).collect()
}

#[tokio::test]
async fn a_captured_session_is_answered_byte_for_byte() {
    let running = Running::start("").await;
    let client = running.connect().await;
    // A full registration, then one with the topic that was just created.
    let mut session = golden!("103-REGISTER_BROKER");
    let routes = golden!("105-GET_ROUTEINFO_BY_TOPIC");
    let comparable = |e: &&[Frame]| e[1].code != 0 || e[0].ext.get("topic").unwrap() == "FrTJ";
    let (before, comparable) = (session.len(), routes.chunks(2).filter(comparable));
    session.extend(comparable.flatten().cloned());
    assert!(
        session.len() > before + 2,
        "one known topic and several unknown ones"
    );
    session.extend(golden!("106-GET_BROKER_CLUSTER_INFO"));
    session.extend(golden!("901-GET_BROKER_MEMBER_GROUP"));
    let (put, get) = (golden!("100-PUT_KV_CONFIG"), golden!("101-GET_KV_CONFIG"));
    let (list, delete) = (
        golden!("219-GET_KVLIST_BY_NAMESPACE"),
        golden!("102-DELETE_KV_CONFIG"),
    );
    for at in (0..put.len()).step_by(2) {
        session.extend(
            [&put, &get, &list, &delete]
                .iter()
                .flat_map(|frames| frames[at..at + 2].iter().cloned()),
        );
    }
    session.extend(golden!("216-DELETE_TOPIC_IN_NAMESRV"));
    session.extend(golden!("104-UNREGISTER_BROKER"));
    for exchange in session.chunks(2) {
        client.assert_answered_as_captured(exchange).await;
    }
    assert_eq!(client.route("FrTJ").await.code, 17);
}

#[test]
fn settings_are_listed_as_captured() {
    let expected = text(&golden!("319-GET_NAMESRV_CONFIG").remove(1));
    let file = expected
        .lines()
        .find_map(|line| line.strip_prefix("configStorePath="))
        .unwrap();
    let (config, _) = Config::parse(Path::new("/"), file, &expected).unwrap();
    assert_eq!(config.to_properties(), expected);
}

#[tokio::test]
async fn perms_are_counted_and_lists_are_sorted() {
    let running = Running::start("").await;
    let client = running.connect().await;
    client.register("a", "0", "h:1").await;
    let wiped = client.ask(205, &[("brokerName", "a")]).await;
    assert_eq!(wiped.ext.get("wipeTopicCount").unwrap(), "2");
    let added = client.ask(327, &[("brokerName", "nobody")]).await;
    assert_eq!(added.ext.get("addTopicCount").unwrap(), "0");
    assert_eq!(text(&client.ask(206, &[]).await), r#"{"topicList":["T","Tü"]}"#);
    assert_eq!(
        text(&client.ask(304, &[]).await),
        r#"{"brokerAddr":"h:1","topicList":["C","a"]}"#
    );
    for (code, fields) in [
        (224, [("cluster", "D")].as_slice()),
        (311, &[]),
        (312, &[]),
        (313, &[]),
    ] {
        assert_eq!(text(&client.ask(code, fields).await), r#"{"topicList":[]}"#);
    }
    let single = r#"{"queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":1,"writeQueueNums":1}]}"#;
    assert_eq!(client.send(request(217, &[("topic", "S")], single)).await.code, 0);
    assert_eq!(client.route("S").await.code, 0);
    assert_eq!(
        remark(&client.ask(310, &[]).await),
        (3, " request type 310 not supported")
    );
}

#[tokio::test]
async fn a_route_is_gone_as_soon_as_the_connection_of_its_broker_ends() {
    let running = Running::start("").await;
    let (first, second, client) = (
        running.connect().await,
        running.connect().await,
        running.connect().await,
    );
    first.register("a", "0", "h:1").await;
    second.register("b", "0", "h:2").await;
    let both = text(&client.route("T").await);
    assert!(both.contains("h:1") && both.contains("h:2"), "{both}");
    drop(second);
    client
        .until(105, &[("topic", "T")], |route| !text(route).contains("h:2"))
        .await;
    assert!(text(&client.route("T").await).contains("h:1"));
    drop(first);
    client
        .until(105, &[("topic", "T")], |route| route.code == 17)
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_silent_broker_loses_its_route_and_its_connection() {
    let running = Running::start("").await;
    let (broker, client) = (running.connect().await, running.connect().await);
    broker.register("a", "0", "h:1").await;
    running.clock.advance(Duration::from_secs(100));
    let who = [("clusterName", "C"), ("brokerAddr", "h:1"), ("brokerName", "a")];
    assert_eq!(broker.ask(904, &who).await.code, 0);
    running.clock.advance(Duration::from_secs(100));
    running.server.drop_silent();
    assert_eq!(client.route("T").await.code, 0);
    running.clock.advance(Duration::from_secs(21));
    running.server.drop_silent();
    assert_eq!(client.route("T").await.code, 17);
    let closed = async {
        while broker.0.is_open() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, closed).await.unwrap();
}

#[tokio::test]
async fn a_broker_learns_whether_its_version_is_known() {
    let running = Running::start("").await;
    let broker = running.connect().await;
    let who = [
        ("clusterName", "C"),
        ("brokerAddr", "h:1"),
        ("brokerName", "a"),
        ("brokerId", "0"),
    ];
    let asked = |counter: i64| request(322, &who, &format!(r#"{{"counter":{counter},"timestamp":0}}"#));
    let unknown = broker.send(asked(0)).await;
    assert_eq!(
        (unknown.ext.get("changed").unwrap().as_str(), unknown.body.len()),
        ("true", 0)
    );
    broker.register("a", "0", "h:1").await;
    let known = broker.send(asked(0)).await;
    assert_eq!(known.ext.get("changed").unwrap(), "false");
    assert_eq!(text(&known), r#"{"counter":0,"stateVersion":0,"timestamp":0}"#);
    assert_eq!(broker.send(asked(7)).await.ext.get("changed").unwrap(), "true");
}

#[tokio::test]
async fn a_registration_is_checked_and_may_be_compressed() {
    let running = Running::start("").await;
    let client = running.connect().await;
    let count = |n: usize| u32::try_from(n).unwrap().to_be_bytes().to_vec();
    let part = |text: &str| [count(text.len()), text.as_bytes().to_vec()].concat();
    let version = part(r#"{"counter":1,"stateVersion":0,"timestamp":2}"#);
    let (one, other) = (part("T 4 8 6 SINGLE_TAG {}"), part("U 4 8 6 SINGLE_TAG"));
    let plain = [version, count(2), one, other, part("[]"), count(0)].concat();
    let mut stream = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    stream.write_all(&plain).unwrap();
    let body = stream.finish().unwrap();
    let crc = crc32fast::hash(&body) & 0x7fff_ffff;
    let sent = |crc: u32, body: &[u8]| {
        let fields = [
            ("brokerName", "a"),
            ("brokerId", "0"),
            ("brokerAddr", "h:1"),
            ("clusterName", "C"),
        ];
        let checked = [
            ("haServerAddr", "ha"),
            ("compressed", "true"),
            ("bodyCrc32", &crc.to_string()),
        ];
        request(103, &[fields.as_slice(), &checked].concat(), "").with_body(body.to_vec())
    };
    assert_eq!(
        remark(&client.send(sent(crc ^ 1, &body)).await),
        (1, "crc32 not match")
    );
    assert_eq!(client.send(sent(0, &body[..body.len() / 2])).await.code, 1);
    assert_eq!(client.send(sent(crc, &body)).await.code, 0);
    let route = text(&client.route("U").await);
    assert!(
        route.contains(r#""readQueueNums":4,"topicSysFlag":0,"writeQueueNums":8"#),
        "{route}"
    );
}

#[tokio::test]
async fn old_clients_get_bare_keys_and_new_ones_ascii() {
    let running = Running::start("").await;
    let client = running.connect().await;
    client.register("ü", "0", "h:1").await;
    let old = |fields: &[(&str, &str)]| Frame {
        version: 317,
        ..request(105, fields, "")
    };
    let reply = text(&client.send(old(&[("topic", "Tü")])).await);
    assert!(
        reply.contains(r#""brokerAddrs":{0:"h:1"},"brokerName":"ü""#),
        "{reply}"
    );
    let reply = text(
        &client
            .send(old(&[("topic", "Tü"), ("acceptStandardJsonOnly", "true")]))
            .await,
    );
    assert!(
        reply.contains(r#""brokerAddrs":{"0":"h:1"},"brokerName":"\u00fc""#),
        "{reply}"
    );
    let zoned = client
        .ask(
            105,
            &[("topic", "T"), ("__ZONE_MODE", "true"), ("__ZONE_NAME", "z")],
        )
        .await;
    assert_eq!(
        text(&zoned),
        r#"{"brokerDatas":[],"filterServerTable":{},"queueDatas":[]}"#
    );
}

#[tokio::test]
async fn the_key_value_table_survives_a_restart_and_reaches_brokers() {
    let running = Running::start("").await;
    let client = running.connect().await;
    let order = ("namespace", "ORDER_TOPIC_CONFIG");
    for (key, value) in [("T", "a:4;b:4"), ("U", "a:1")] {
        assert_eq!(
            client
                .ask(100, &[order, ("key", key), ("value", value)])
                .await
                .code,
            0
        );
    }
    assert_eq!(client.ask(102, &[order, ("key", "U")]).await.code, 0);
    drop(client);
    let dir = running.stop().await;

    let running = Running::start_in(dir, "orderMessageEnable=true").await;
    let client = running.connect().await;
    assert_eq!(
        text(&client.ask(219, &[order]).await),
        r#"{"table":{"T":"a:4;b:4"}}"#
    );
    let missing = client.ask(101, &[("namespace", "N"), ("key", "k")]).await;
    assert_eq!(remark(&missing), (22, "No config item, Namespace: N Key: k"));
    assert_eq!(
        text(&client.register("a", "0", "h:1").await),
        r#"{"table":{"T":"a:4;b:4"}}"#
    );
    let route = text(&client.route("T").await);
    assert!(route.contains(r#""orderTopicConf":"a:4;b:4""#), "{route}");
    running.stop().await;
}

#[tokio::test]
async fn settings_change_while_it_runs_and_are_kept() {
    let running = Running::start("").await;
    let client = running.connect().await;
    let change = |text: &str| client.send(request(318, &[], text));
    assert_eq!(change("enableAllTopicList=false\nkvConfigPath=/x").await.code, 16);
    let refused = change("enableAllTopicList=no").await;
    assert_eq!(
        remark(&refused),
        (29, "enableAllTopicList is \"no\", expected true or false")
    );
    assert_eq!(change("").await.code, 0);
    assert_eq!(client.ask(206, &[]).await.code, 0);
    assert_eq!(change("enableAllTopicList=false").await.code, 0);
    assert_eq!(remark(&client.ask(206, &[]).await), (1, "disable"));
    let listed = text(&client.ask(319, &[]).await);
    assert!(listed.contains("enableAllTopicList=false\n"), "{listed}");
    let dir = running.stop().await;
    assert_eq!(
        std::fs::read_to_string(dir.path().join("namesrv.conf")).unwrap(),
        listed
    );
}

#[tokio::test]
async fn of_every_changed_setting_is_said_what_becomes_of_it_and_who_changed_it_outlives_a_restart() {
    let running = Running::start("configBlackList=orderMessageEnable").await;
    let client = running.connect().await;
    let change = |text: String| client.send(request(318, &[], &text));
    let long = format!("returnOrderTopicConfigToBroker={}", "x".repeat(5000));
    let long_name = format!("{}=1", "x".repeat(1 << 20));
    let many: String = (0..1001).map(|n| format!("unknown{n}=1\n")).collect();
    for (text, code) in [
        ("waitSecondsForService=-1", 29),
        ("scanNotActiveBrokerInterval=0", 29),
        ("clusterTest=true", 29),
        ("listenPort=\\u12", 29),
        ("configStorePath=/x", 16),
        ("configBlackList=", 16),
        ("rocketmqHome=/x", 16),
        ("bindAddress=0.0.0.0", 16),
        ("adminAllowedFrom=0.0.0.0/0;::/0", 16),
        ("orderMessageEnable=true", 16),
        (long.as_str(), 29),
        (long_name.as_str(), 29),
        (many.as_str(), 29),
    ] {
        let refused = change(format!("enableTopicList=false\n{text}")).await;
        let remark = refused.remark.unwrap_or_default();
        assert_eq!(refused.code, code, "{text:.99}: {remark:.999}");
        assert!(remark.len() < 200, "{remark:.999}");
    }
    assert_eq!(text(&client.ask(900_025, &[]).await), r#"{"changes":[]}"#);
    let changed =
        change("enableTopicList=false\nlistenPort=4711\nserverWorkerThreads=9\nnonsense=1\n".to_owned())
            .await;
    assert_eq!(
        remark(&changed),
        (
            0,
            "in effect now: enableTopicList; takes effect at the next start: listenPort; \
             ignored, without a meaning here: serverWorkerThreads; ignored, unknown: nonsense"
        )
    );
    let listed = text(&client.ask(319, &[]).await);
    assert!(
        listed.contains("enableTopicList=false\n") && !listed.contains("listenPort=4711"),
        "{listed}"
    );
    let dir = running.stop().await;
    let saved = std::fs::read_to_string(dir.path().join("namesrv.conf")).unwrap();
    assert!(
        saved.contains("listenPort=4711\n") && !saved.contains("nonsense"),
        "{saved}"
    );

    let running = Running::start_in(dir, "").await;
    let client = running.connect().await;
    let question = [("key", "listenPort"), ("max", "1")];
    let listed = text(&client.ask(900_025, &question).await);
    for part in [
        r#""key":"listenPort""#,
        r#""from":"9876""#,
        r#""to":"4711""#,
        r#""effect":"AFTER_RESTART""#,
        r#""peer":"127.0.0.1:"#,
        r#""seq":2"#,
    ] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    running.stop().await;
}

/// A connection that does not come from the host of the server, as far as it can see: from another address of this host, to its
/// loopback.
struct Stranger(TcpStream);

impl Stranger {
    /// `None`: this host has no other address.
    async fn connect(addr: SocketAddr) -> Option<Stranger> {
        // Nothing is sent to find the address.
        let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        found.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        let own = found.local_addr().ok()?.ip();
        if own.is_loopback() || own.is_unspecified() {
            return None;
        }
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((own, 0).into()).ok()?;
        let stream = tokio::time::timeout(WAIT, socket.connect(addr)).await;
        Some(Stranger(stream.ok()?.ok()?))
    }

    async fn ask(&mut self, frame: Frame) -> Frame {
        let (mut bytes, mut inbox) = (BytesMut::new(), BytesMut::new());
        frame.encode(&mut bytes, Encoding::Json);
        self.0.write_all(&bytes).await.unwrap();
        loop {
            if let Some(frame) = Decoder::default().next(&mut inbox).unwrap() {
                return frame;
            }
            let read = tokio::time::timeout(WAIT, self.0.read_buf(&mut inbox)).await;
            assert!(read.unwrap().unwrap() > 0, "cut off");
        }
    }
}

async fn ask_as_a_stranger(addr: SocketAddr, frame: Frame) -> Option<Frame> {
    Some(Stranger::connect(addr).await?.ask(frame).await)
}

#[tokio::test]
async fn strangers_register_and_ask_for_routes_and_administer_nothing() {
    let running = Running::start("").await;
    let client = running.connect().await;
    client.register("a", "0", "127.0.0.1:1").await;
    let administration = WORDS.iter().filter(|(_, logged)| *logged != Logged::No);
    for (code, _) in administration {
        let text = "enableTopicList=false\n";
        let Some(refused) = ask_as_a_stranger(running.addr, request(code.0, &[], text)).await else {
            println!("skipped: this host has no address besides its loopback");
            return;
        };
        let (code, remark) = remark(&refused);
        assert!(
            code == 16 && remark.contains("set adminAllowedFrom="),
            "{code} {remark}"
        );
    }
    let listed = text(&client.ask(319, &[]).await);
    assert!(listed.contains("enableTopicList=true\n"), "{listed}");
    let route = request(105, &[("topic", "T")], "");
    assert_eq!(ask_as_a_stranger(running.addr, route).await.unwrap().code, 0);
    let one = request(217, &[("topic", "U")], r#"{"queueDatas":[]}"#);
    let registered = ask_as_a_stranger(running.addr, one).await.unwrap();
    assert_eq!(
        registered.code, 0,
        "brokers register single topics: {registered:?}"
    );
    running.stop().await;

    let running = Running::start("adminAllowedFrom=127.0.0.1;0.0.0.0/0").await;
    let change = request(318, &[], "enableTopicList=false\n");
    assert_eq!(ask_as_a_stranger(running.addr, change).await.unwrap().code, 0);
    running.stop().await;
}

#[tokio::test]
async fn only_a_broker_itself_and_administrators_take_it_or_its_topics_away() {
    let running = Running::start("").await;
    let client = running.connect().await;
    client.register("a", "0", "h:1").await;
    let Some(mut stranger) = Stranger::connect(running.addr).await else {
        println!("skipped: this host has no address besides its loopback");
        return;
    };
    let is_open = async || text(&client.route("T").await).contains(r#""perm":6"#);
    let single = |broker: &str| {
        let queue = format!(r#"{{"brokerName":"{broker}","perm":0,"readQueueNums":1,"writeQueueNums":1}}"#);
        request(217, &[("topic", "T")], &format!(r#"{{"queueDatas":[{queue}]}}"#))
    };
    let leave = |broker: &str, addr: &str, cluster: &str| {
        let fields = [
            ("brokerName", broker),
            ("brokerAddr", addr),
            ("clusterName", cluster),
            ("brokerId", "0"),
        ];
        request(104, &fields, "")
    };
    let register = |broker: &str, addr: &str| {
        let fields = [
            ("brokerName", broker),
            ("brokerId", "0"),
            ("brokerAddr", addr),
            ("clusterName", "C"),
            ("haServerAddr", "ha"),
        ];
        request(103, &fields, TWO_TOPICS)
    };
    // Also one that has a broker of its own.
    for has_own in [false, true] {
        if has_own {
            assert_eq!(stranger.ask(register("b", "h:2")).await.code, 0);
        }
        for frame in [single("a"), leave("a", "h:1", "C"), leave("a", "h:1", "D")] {
            let refused = stranger.ask(frame).await;
            let (code, remark) = remark(&refused);
            assert!(
                code == 16 && remark.contains("set adminAllowedFrom="),
                "{code} {remark}"
            );
        }
        assert_eq!(stranger.ask(single("unknown")).await.code, 0);
        assert_eq!(
            stranger.ask(leave("a", "h:9", "C")).await.code,
            0,
            "there is none"
        );
        assert!(is_open().await);
    }
    assert_eq!(stranger.ask(single("b")).await.code, 0, "its own");
    // It may have come back over another connection.
    let mut again = Stranger::connect(running.addr).await.unwrap();
    assert_eq!(again.ask(leave("b", "h:2", "C")).await.code, 0);
    assert!(!text(&client.route("T").await).contains("h:2"));

    // The connection of the last registration counts.
    assert_eq!(stranger.ask(register("b", "h:2")).await.code, 0);
    client.register("b", "0", "h:2").await;
    assert_eq!(again.ask(leave("b", "h:2", "C")).await.code, 16);
    assert_eq!(stranger.ask(register("b", "h:2")).await.code, 0);
    assert_eq!(client.send(single("b")).await.code, 0, "an administrator");
    assert_eq!(client.send(leave("b", "h:2", "C")).await.code, 0);
    assert!(!text(&client.route("T").await).contains("h:2"));
    running.stop().await;
}

#[tokio::test]
async fn routes_are_refused_while_brokers_are_awaited() {
    let running = Running::start("needWaitForService=true").await;
    let client = running.connect().await;
    client.register("a", "0", "h:1").await;
    assert_eq!(remark(&client.route("T").await), (1, "name server not ready"));
    running.clock.advance(Duration::from_secs(45));
    assert_eq!(client.route("T").await.code, 0);
}

/// A broker's own port: keeps what it is sent.
struct Inbox(mpsc::UnboundedSender<Frame>);

impl Service for Inbox {
    fn serve(self: &Arc<Self>, _: &Arc<Peer>, frame: Frame) -> Outcome {
        self.0.send(frame).unwrap();
        Outcome::Silent
    }
}

#[tokio::test]
async fn a_slave_that_becomes_the_smallest_is_told_on_its_own_port() {
    let running = Running::start("notifyMinBrokerIdChanged=true\nsupportActingMaster=true").await;
    let (sent, mut inbox) = mpsc::unbounded_channel();
    let port = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let slave_addr = port.local_addr().to_string();
    tokio::spawn(port.serve(
        Arc::new(Inbox(sent)),
        net::Limits::default(),
        running.stop.clone(),
    ));
    let (master, slave) = (running.connect().await, running.connect().await);
    master.register("a", "0", "h:1").await;
    let told = slave.register("a", "1", &slave_addr).await;
    assert_eq!(told.ext.get("masterAddr").unwrap(), "h:1");
    let leave = [
        ("brokerName", "a"),
        ("brokerAddr", "h:1"),
        ("clusterName", "C"),
        ("brokerId", "0"),
    ];
    assert_eq!(master.ask(104, &leave).await.code, 0);
    let notice = tokio::time::timeout(WAIT, inbox.recv()).await.unwrap().unwrap();
    assert!(notice.code == 905 && notice.is_oneway());
    let expected = [
        ("minBrokerId", "1"),
        ("brokerName", "a"),
        ("minBrokerAddr", &slave_addr),
        ("offlineBrokerAddr", "h:1"),
    ];
    assert_eq!(
        notice.ext.iter().collect::<Vec<_>>(),
        expected.map(|(k, v)| (k.into(), v.into()))
    );
    let route = text(&slave.route("T").await);
    assert!(
        route.contains(&format!(r#""brokerAddrs":{{"0":"{slave_addr}"}}"#)),
        "{route}"
    );
    assert!(route.contains(r#""perm":4"#), "{route}");
    running.stop().await;
}

#[tokio::test]
async fn the_numbers_of_a_name_server_count_brokers_topics_and_requests() {
    let running = Running::start("").await;
    let client = running.connect().await;
    let register = [
        ("brokerName", "b"),
        ("brokerAddr", "127.0.0.1:1"),
        ("clusterName", "c"),
        ("haServerAddr", "127.0.0.1:2"),
        ("brokerId", "0"),
    ];
    let reply = client
        .0
        .call(request(103, &register, TWO_TOPICS), WAIT)
        .await
        .unwrap();
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    // Told when the answer was handed over: what comes next knows of it.
    client.0.call(request(106, &[], ""), WAIT).await.unwrap();
    let text = running.server.metrics();
    let base = "node_type=\"nameserver\"";
    for line in [
        format!("barque_nameserver_brokers{{{base}}} 1"),
        format!("barque_nameserver_broker_names{{{base}}} 1"),
        format!("barque_nameserver_topics{{{base}}} 2"),
        format!(
            "barque_nameserver_rpc_latency_milliseconds_count{{{base},protocol_type=\"remoting\",request_code=\"register_broker\",response_code=\"success\",is_long_polling=\"false\",result=\"success\"}} 1"
        ),
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_name_server_shows_its_numbers_on_a_port_of_their_own() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let running = Running::start("").await;
    let listening = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let addr = listening.local_addr();
    let shown = CancellationToken::new();
    let showing = tokio::spawn(Arc::clone(&running.server).show(listening, shown.clone()));
    for (path, status) in [
        ("/metrics", 200),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/x", 404),
    ] {
        let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{path}: {answer}"
        );
    }
    shown.cancel();
    showing.await.unwrap();
    running.stop().await;
}

/// A disk on which one sync of a directory says that it is under way, and waits until it may go on.
#[derive(Debug)]
struct Gate(Mutex<Option<(mpsc::UnboundedSender<()>, blocking::Receiver<()>)>>);

impl Disk for Gate {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        RealDisk.open(path)
    }
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        RealDisk.create(path, len)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        RealDisk.entry(path)
    }
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        RealDisk.make_dirs(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.remove_dir(dir)
    }

    fn remove_tree(&self, dir: &Path) -> io::Result<()> {
        RealDisk.remove_tree(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let gate = self.0.lock().unwrap().take();
        if let Some((reached, opened)) = gate {
            reached.send(()).unwrap();
            let _opened_or_given_up = opened.recv();
        }
        RealDisk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        RealDisk.lock(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        RealDisk.space(path)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_changes_is_read_while_a_change_waits_for_the_disk() {
    let (reached, mut is_reached) = mpsc::unbounded_channel();
    let (open, opened) = blocking::channel();
    let gate = Arc::new(Gate(Mutex::new(Some((reached, opened)))));
    let running = Running::start_on(gate, TempDir::new().unwrap(), "").await;
    let (client, other) = (running.connect().await, running.connect().await);
    let changing = tokio::spawn(async move { client.send(request(318, &[], "enableTopicList=false")).await });
    is_reached.recv().await.unwrap();
    assert_eq!(text(&other.ask(900_025, &[]).await), r#"{"changes":[]}"#);
    open.send(()).unwrap();
    assert_eq!(changing.await.unwrap().code, 0);
    let listed = text(&other.ask(900_025, &[]).await);
    assert!(listed.contains("enableTopicList"), "{listed}");
    running.stop().await;
}
