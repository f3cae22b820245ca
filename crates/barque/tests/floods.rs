// SPDX-License-Identifier: Apache-2.0
//! The built program under floods: how much memory they make it take, and that a client next door, which sends and pulls all the
//! while, sees no failure. What connections may hold together is set low, so that the bounds are near.

#[path = "support/running.rs"]
mod running;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use net::Channel;
use running::Broker;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use wire::api::pull::PullMessage;
use wire::api::send::SendMessageV2;
use wire::code::Code;
use wire::ext::Ext;
use wire::frame::{Encoding, Frame};

const SECONDS: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;
/// What all connections may hold.
const BUDGET: usize = 64 * MIB;
/// Beside it: what the process takes by itself under load, and what its allocator keeps.
const BESIDE: usize = 160 * MIB;
const CONNECTIONS_MAX: usize = 800;

/// With bounds that are near.
fn start(home: &TempDir) -> Broker {
    let (budget, connections) = (BUDGET.to_string(), CONNECTIONS_MAX.to_string());
    let settings = [("connectionBytesMax", &*budget), ("connectionsMax", &connections)];
    Broker::start(home.path(), &settings)
}

fn assert_bounded(broker: &Broker) {
    let most = broker.memory("VmHWM");
    assert!(most < BUDGET + BESIDE, "{} MiB", most / MIB);
}

fn send(body: Vec<u8>) -> Frame {
    let header = SendMessageV2 {
        producer_group: "P".into(),
        topic: "T".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 1,
        ..SendMessageV2::default()
    };
    Frame::request(0, &header).with_body(body)
}

fn pull(offset: i64) -> Frame {
    let header = PullMessage {
        consumer_group: "G".into(),
        topic: "T".into(),
        queue_offset: offset,
        max_msg_nums: 32,
        // It says itself what it subscribes to.
        sys_flag: 4,
        subscription: Some("*".into()),
        ..PullMessage::default()
    };
    Frame::request(0, &header)
}

/// A client that sends and pulls all the while, and that no answer may be missing for. Ends with how often it did.
struct NextDoor {
    until: CancellationToken,
    running: JoinHandle<usize>,
}

impl NextDoor {
    async fn start(addr: SocketAddr) -> NextDoor {
        let channel = Channel::connect(addr, SECONDS).await.expect("a connection");
        let first = channel
            .call(send(b"first".to_vec()), SECONDS)
            .await
            .expect("an answer");
        assert_eq!(first.code, 0, "{:?}", first.remark);
        let until = CancellationToken::new();
        let ended = until.clone();
        let running = tokio::spawn(async move {
            let mut rounds = 0;
            while !ended.is_cancelled() || rounds < 20 {
                for frame in [send(b"small".to_vec()), pull(0)] {
                    let reply = channel.call(frame, SECONDS).await.expect("an answer");
                    assert_eq!(reply.code, 0, "{:?}", reply.remark);
                }
                rounds += 1;
            }
            rounds
        });
        NextDoor { until, running }
    }

    async fn end(self) {
        self.until.cancel();
        self.running.await.expect("it sees no failure");
    }
}

fn encoded(frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    frame.encode(&mut out, Encoding::Json);
    out
}

/// All but the last byte of a frame of 16 MiB.
fn unfinished() -> bytes::Bytes {
    let mut frame = BytesMut::new();
    frame.put_u32((16 * MIB - 4) as u32);
    frame.put_u32(100);
    frame.put_bytes(b' ', 16 * MIB - 9);
    frame.freeze()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_never_finished_take_what_connections_may_hold_and_no_more() {
    let home = tempfile::tempdir().expect("a folder");
    let broker = start(&home);
    let next_door = NextDoor::start(broker.addr).await;
    let (frame, mut peers) = (unfinished(), JoinSet::new());
    let mut cut = 0;
    let mut open = Vec::new();
    for _ in 0..250 {
        let (frame, addr) = (frame.clone(), broker.addr);
        peers.spawn(async move {
            let mut stream = TcpStream::connect(addr).await.expect("a connection");
            let sent = stream.write_all(&frame).await;
            (stream, sent.is_ok())
        });
        // Some at a time, so that the test itself does not take gigabytes in sockets.
        if peers.len() >= 16
            && let Some(peer) = peers.join_next().await
        {
            let (stream, sent) = peer.expect("it ends");
            cut += usize::from(!sent);
            open.push(stream);
        }
    }
    while let Some(peer) = peers.join_next().await {
        let (stream, sent) = peer.expect("it ends");
        cut += usize::from(!sent);
        open.push(stream);
    }
    next_door.end().await;
    assert_bounded(&broker);
    assert!(cut > 0, "somebody was cut off while he sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_pull_and_never_read_take_what_connections_may_hold_and_no_more() {
    let home = tempfile::tempdir().expect("a folder");
    let broker = start(&home);
    let next_door = NextDoor::start(broker.addr).await;
    let channel = Channel::connect(broker.addr, SECONDS)
        .await
        .expect("a connection");
    for _ in 0..8 {
        let reply = channel
            .call(send(vec![b'x'; 100_000]), SECONDS)
            .await
            .expect("an answer");
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
    }
    let mut asked = BytesMut::new();
    for n in 0..2_000 {
        asked.extend_from_slice(&encoded(&pull(n % 9)));
    }
    let (asked, mut peers) = (asked.freeze(), Vec::new());
    for _ in 0..60 {
        let mut stream = TcpStream::connect(broker.addr).await.expect("a connection");
        // Its requests are not all read either.
        let _some = tokio::time::timeout(Duration::from_millis(50), stream.write_all(&asked))
            .await
            .is_ok();
        peers.push(stream);
    }
    next_door.end().await;
    assert_bounded(&broker);
    // Nobody was closed for it: whoever reads has answers.
    for stream in &mut peers {
        let mut bytes = [0; 1000];
        let read = tokio::time::timeout(SECONDS, stream.read_exact(&mut bytes)).await;
        read.expect("in time").expect("an answer");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_bounded_in_number_and_small() {
    let home = tempfile::tempdir().expect("a folder");
    let broker = start(&home);
    let next_door = NextDoor::start(broker.addr).await;
    let mut open = Vec::new();
    let mut closed = 0;
    for n in 0..CONNECTIONS_MAX + 200 {
        let mut stream = TcpStream::connect(broker.addr).await.expect("a connection");
        if n >= CONNECTIONS_MAX {
            let read = tokio::time::timeout(SECONDS, stream.read(&mut [0]))
                .await
                .expect("in time");
            closed += usize::from(matches!(read, Ok(0) | Err(_)));
        }
        open.push(stream);
    }
    assert_eq!(closed, 200, "those that are too many");
    next_door.end().await;
    let most = broker.memory("VmHWM");
    assert!(most < BESIDE, "{} MiB", most / MIB);
}

/// Slow ones: a request that comes byte by byte is answered like any other, and holds nobody up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_byte_by_byte_take_little_and_are_answered() {
    let home = tempfile::tempdir().expect("a folder");
    let broker = start(&home);
    let next_door = NextDoor::start(broker.addr).await;
    let mut peers = Vec::new();
    for _ in 0..CONNECTIONS_MAX / 2 {
        let stream = TcpStream::connect(broker.addr).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        peers.push(stream);
    }
    for byte in encoded(&send(vec![b'x'; 40])).freeze() {
        for stream in &mut peers {
            stream.write_all(&[byte]).await.expect("it is read");
        }
    }
    for stream in &mut peers {
        let answer = tokio::time::timeout(SECONDS, async {
            let mut answer = vec![0; stream.read_u32().await? as usize];
            stream.read_exact(&mut answer).await.map(|_| answer)
        });
        let answer = answer.await.expect("in time").expect("an answer");
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("\"code\":0,"), "{text}");
    }
    next_door.end().await;
    let most = broker.memory("VmHWM");
    assert!(most < BESIDE, "{} MiB", most / MIB);
}

/// Half of them closes what it writes to in the middle of a frame, half behind one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_are_half_gone_are_let_go() {
    let home = tempfile::tempdir().expect("a folder");
    let broker = start(&home);
    let next_door = NextDoor::start(broker.addr).await;
    let whole = encoded(&send(vec![b'x'; 40])).freeze();
    let half = unfinished().slice(..64 << 10);
    // So many have no room beside each other.
    for round in 0..3 {
        let mut peers = Vec::new();
        for n in 0..CONNECTIONS_MAX - 10 {
            let mut stream = TcpStream::connect(broker.addr).await.expect("a connection");
            let bytes = if n % 2 == 0 { &whole } else { &half };
            stream.write_all(bytes).await.expect("it is read");
            stream.shutdown().await.expect("a socket");
            peers.push(stream);
        }
        for (n, stream) in peers.iter_mut().enumerate() {
            let mut answers = Vec::new();
            let read = tokio::time::timeout(SECONDS, stream.read_to_end(&mut answers)).await;
            read.expect("it is closed in time").expect("and in order");
            // As in the reference, whoever stops writing before he is answered may miss the answer.
            assert!(answers.is_empty() || n % 2 == 0, "{n} of round {round}");
        }
    }
    next_door.end().await;
    assert_bounded(&broker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storms_of_requests_that_want_no_answer_leave_nothing_behind() {
    let home = tempfile::tempdir().expect("a folder");
    let broker = start(&home);
    let next_door = NextDoor::start(broker.addr).await;
    let mut storm = JoinSet::new();
    for (code, _) in broker::ROUTES {
        // What makes topics has a limit of its own, and a settings change is an administrator's.
        if matches!(*code, Code::UPDATE_BROKER_CONFIG) {
            continue;
        }
        let (addr, code) = (broker.addr, *code);
        storm.spawn(async move {
            let fields = [
                "topic",
                "consumerGroup",
                "group",
                "queueId",
                "queueOffset",
                "a",
                "b",
                "e",
            ];
            let ext = fields
                .iter()
                .fold(Ext::default(), |ext, name| ext.with(name, "7"));
            let one = Frame {
                code: code.0,
                ext,
                ..pull(0).with_body(vec![b'['; 20_000])
            };
            let mut many = BytesMut::new();
            for _ in 0..100 {
                one.clone().oneway().encode(&mut many, Encoding::Json);
            }
            let mut stream = TcpStream::connect(addr).await.expect("a connection");
            stream.write_all(&many).await.expect("it is read");
            // And what is asked behind them is answered.
            let mut last = pull(0);
            last.opaque = 9;
            stream.write_all(&encoded(&last)).await.expect("it is read");
            let mut head = [0; 8];
            tokio::time::timeout(SECONDS, stream.read_exact(&mut head))
                .await
                .expect("in time")
                .expect("an answer");
        });
        if storm.len() >= 16
            && let Some(done) = storm.join_next().await
        {
            done.expect("a storm passes");
        }
    }
    while let Some(done) = storm.join_next().await {
        done.expect("a storm passes");
    }
    next_door.end().await;
    assert_bounded(&broker);
}
