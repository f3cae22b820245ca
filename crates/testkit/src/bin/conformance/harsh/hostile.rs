// SPDX-License-Identifier: Apache-2.0
//! Peers that flood a broker: frames that are never finished, pulls whose answers nobody reads, connections that do nothing, storms
//! of requests that want no answer. How much memory they make it take, and how a client next door fares meanwhile. Each flood
//! has a broker of its own, since what one has taken the next would find.
//!
//! The floods hold next to nothing themselves: their bytes are one piece written over and over, and their sockets are small.
#![expect(clippy::disallowed_methods, reason = "real processes live in real time")]

use super::next_door::{NextDoor, Served, pull, send};
use super::{MIB, Played, Side, clients, start_with};
use anyhow::ensure;
use bytes::{BufMut as _, Bytes, BytesMut};
use net::Channel;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use testkit::line::request;
use testkit::server::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wire::code::Code;
use wire::frame::{Encoding, Frame};

const TOPIC: &str = "Hostile";
/// Large enough for a reader who does not read to be a burden.
const LARGE: usize = 100_000;
const LARGES: usize = 8;
/// The client next door is alone for so long before.
const ALONE: Duration = Duration::from_secs(2);
/// A flood that is complete stays for so long.
const STAYS: Duration = Duration::from_secs(3);
/// Nobody is written to for longer.
const WRITES_FOR: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What the system keeps for a socket of a flood.
const SOCKET_BYTES: u32 = 64 * 1024;
const PIECE: usize = 64 * 1024;

/// What barque may hold for connections here, and what it takes beside that: docs/reliability.md, "Floods".
const BUDGET: u64 = 64 * MIB;
const BESIDE: u64 = 160 * MIB;

const UNFINISHED: usize = 250;
/// What is announced, and what is sent of it.
const FRAME: usize = 16 << 20;
const SENT: usize = 15 << 20;
const DEAF: usize = 8;
const PULLS: usize = 2000;
const IDLE: usize = 2000;
const STORMS: usize = 16;
const ROUNDS: usize = 1000;
const STORM_BODY: usize = 4096;

/// A flood, and how much memory barque may have in it.
#[derive(Debug, Clone, Copy)]
struct Flood {
    name: &'static str,
    kind: Kind,
    memory_max: u64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Unfinished,
    Deaf,
    Idle,
    Storm,
}

const FLOODS: [Flood; 4] = [
    Flood {
        name: "250 unfinished frames of 16 MiB",
        kind: Kind::Unfinished,
        memory_max: BUDGET + BESIDE,
    },
    Flood {
        name: "8 peers with 2,000 pulls each that never read",
        kind: Kind::Deaf,
        memory_max: BUDGET + BESIDE,
    },
    Flood {
        name: "2,000 idle connections",
        kind: Kind::Idle,
        memory_max: BESIDE,
    },
    Flood {
        name: "one-way storm of 16 peers",
        kind: Kind::Storm,
        memory_max: BUDGET + BESIDE,
    },
];

pub(super) fn play(side: &Side<'_>) -> anyhow::Result<Vec<Played>> {
    let mut all = Vec::new();
    for flood in FLOODS {
        let mut plan = side
            .plan(&format!("{:?}", flood.kind).to_lowercase())
            // Room enough for what the reference wants to take.
            .jvm("-Xmx4g")
            .jvm("-XX:MaxDirectMemorySize=6g");
        if side.is_ours() {
            plan = plan.set("connectionBytesMax", &BUDGET.to_string());
        }
        let mut server = start_with(&plan, TOPIC)?;
        let mut seen = clients()?.block_on(watch(&server, flood.kind))?;
        seen.is_running = server.is_running()?;
        server.kill()?;
        all.push(Played {
            case: flood.name,
            told: seen.told(),
            broken: seen.broken(flood.memory_max),
        });
    }
    Ok(all)
}

/// What was seen of one flood.
struct Seen {
    /// Bytes, before and at most.
    memory: (u64, u64),
    alone: Served,
    beside: Served,
    /// What became of the flood.
    words: String,
    took: Duration,
    is_running: bool,
}

async fn watch(server: &Server, kind: Kind) -> anyhow::Result<Seen> {
    let broker = server.broker();
    let filler = Channel::connect(broker, WRITES_FOR).await?;
    for _ in 0..LARGES {
        let answer = filler.call(send(TOPIC, vec![b'x'; LARGE]), WRITES_FOR).await?;
        ensure!(answer.code == 0, "{:?}", answer.remark);
    }
    drop(filler);
    let alone = NextDoor::start(broker, TOPIC);
    tokio::time::sleep(ALONE).await;
    let alone = alone.stop().await?;

    let before = server.memory_bytes()?;
    let beside = NextDoor::start(broker, TOPIC);
    let begun = Instant::now();
    let flood = tokio::spawn(kind.play(broker));
    let mut most = before;
    while !flood.is_finished() {
        most = most.max(server.memory_bytes().unwrap_or_default());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let (open, words) = flood.await??;
    let took = begun.elapsed();
    while begun.elapsed() < took + STAYS {
        most = most.max(server.memory_bytes().unwrap_or_default());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let beside = beside.stop().await?;
    drop(open);
    Ok(Seen {
        memory: (before, most),
        alone,
        beside,
        words,
        took,
        is_running: true,
    })
}

impl Seen {
    fn told(&mut self) -> String {
        let (before, most) = self.memory;
        let end = if self.is_running { "" } else { "; **it ended**" };
        format!(
            "{} in {:.1} s; memory {} to {} MiB (**+{}**); {}; alone: {}{end}",
            self.words,
            self.took.as_secs_f64(),
            before / MIB,
            most / MIB,
            most.saturating_sub(before) / MIB,
            self.beside.told(),
            self.alone.told(),
        )
    }

    fn broken(&self, memory_max: u64) -> Vec<String> {
        let promises = [
            (
                self.memory.1 < memory_max,
                format!("{} MiB of {}", self.memory.1 / MIB, memory_max / MIB),
            ),
            (
                self.beside.failures == 0,
                format!(
                    "{} failures next door: {:?}",
                    self.beside.failures, self.beside.words
                ),
            ),
            (self.is_running, "it ended".to_owned()),
        ];
        let broken = promises.into_iter().filter(|(is_kept, _)| !is_kept);
        broken.map(|(_, what)| what).collect()
    }
}

/// Connections of a flood that are still open, and what became of it.
type Flooded = anyhow::Result<(Vec<TcpStream>, String)>;

impl Kind {
    async fn play(self, broker: SocketAddr) -> Flooded {
        match self {
            Kind::Unfinished => unfinished(broker).await,
            Kind::Deaf => deaf(broker).await,
            Kind::Idle => idle(broker).await,
            Kind::Storm => storm(broker).await,
        }
    }
}

/// A connection for which our side keeps little.
async fn connect(broker: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(SOCKET_BYTES)?;
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    Ok(timeout(WRITES_FOR, socket.connect(broker)).await??)
}

/// How far a peer came with what it wanted to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrote {
    All,
    /// The broker has closed the connection.
    Cut,
    /// The broker does not read any more.
    NotRead,
}

/// Writes head, and then the piece over and over until that is so many bytes.
async fn write(stream: &mut TcpStream, head: &[u8], piece: &[u8], bytes: usize) -> Wrote {
    let writing = async {
        stream.write_all(head).await?;
        let mut left = bytes;
        while left > 0 {
            let now = piece.get(..left.min(piece.len())).unwrap_or(piece);
            stream.write_all(now).await?;
            left -= now.len();
        }
        std::io::Result::Ok(())
    };
    match timeout(WRITES_FOR, writing).await {
        Ok(Ok(())) => Wrote::All,
        Ok(Err(_)) => Wrote::Cut,
        Err(_) => Wrote::NotRead,
    }
}

/// How many peers came how far, in words.
fn counted(wrote: &[Wrote]) -> String {
    let count = |what| wrote.iter().filter(|one| **one == what).count();
    format!(
        "{} written, {} cut off, {} not read",
        count(Wrote::All),
        count(Wrote::Cut),
        count(Wrote::NotRead)
    )
}

async fn unfinished(broker: SocketAddr) -> Flooded {
    let mut head = BytesMut::new();
    head.put_u32((FRAME - 4) as u32);
    head.put_u32(100);
    let (head, piece) = (head.freeze(), Bytes::from(vec![b' '; PIECE]));
    let mut peers = JoinSet::new();
    for _ in 0..UNFINISHED {
        let (head, piece) = (head.clone(), piece.clone());
        let mut stream = connect(broker).await?;
        peers.spawn(async move {
            let wrote = write(&mut stream, &head, &piece, SENT).await;
            (stream, wrote)
        });
    }
    let (open, wrote): (Vec<_>, Vec<_>) = peers.join_all().await.into_iter().unzip();
    Ok((open, counted(&wrote)))
}

async fn deaf(broker: SocketAddr) -> Flooded {
    let mut asked = BytesMut::new();
    for number in 0..PULLS {
        let mut frame = pull(TOPIC, (number % LARGES) as i64);
        frame.opaque = number as i32;
        frame.encode(&mut asked, Encoding::Json);
    }
    let asked = asked.freeze();
    let mut peers = JoinSet::new();
    for _ in 0..DEAF {
        let asked = asked.clone();
        let mut stream = connect(broker).await?;
        peers.spawn(async move {
            let wrote = write(&mut stream, &asked, &[], 0).await;
            (stream, wrote)
        });
    }
    let (open, wrote): (Vec<_>, Vec<_>) = peers.join_all().await.into_iter().unzip();
    Ok((open, counted(&wrote)))
}

async fn idle(broker: SocketAddr) -> Flooded {
    let mut open = Vec::new();
    let mut words = String::new();
    for _ in 0..IDLE {
        match connect(broker).await {
            Ok(stream) => open.push(stream),
            Err(error) => {
                words = format!(" ({error})");
                break;
            }
        }
    }
    // Those that are closed at once are not there.
    tokio::time::sleep(STAYS).await;
    let is_open = |stream: &TcpStream| {
        let seen = stream.try_read(&mut [0]);
        seen.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let opened = open.len();
    let alive = open.iter().filter(|stream| is_open(stream)).count();
    Ok((open, format!("{alive} of {opened} open{words}")))
}

/// What clients ask, and what nobody knows.
fn storm_requests() -> Vec<Frame> {
    let fields = [
        ("topic", TOPIC),
        ("consumerGroup", "7"),
        ("group", "7"),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("commitOffset", "7"),
        ("clientID", "7"),
        ("key", "7"),
        ("maxNum", "7"),
    ];
    let codes = [
        Code::HEART_BEAT,
        Code::UNREGISTER_CLIENT,
        Code::QUERY_CONSUMER_OFFSET,
        Code::GET_MAX_OFFSET,
        Code::QUERY_MESSAGE,
        Code::GET_CONSUMER_LIST_BY_GROUP,
        Code(4711),
    ];
    let body = vec![b'['; STORM_BODY];
    let odd = codes.map(|code| request(code, &fields, &body));
    let usual = [send(TOPIC, body), pull(TOPIC, 0)];
    odd.into_iter().chain(usual).collect()
}

async fn storm(broker: SocketAddr) -> Flooded {
    let mut round = BytesMut::new();
    for frame in storm_requests() {
        frame.oneway().encode(&mut round, Encoding::Json);
    }
    let mut last = BytesMut::new();
    pull(TOPIC, 0).encode(&mut last, Encoding::Json);
    let (round, last) = (round.freeze(), last.freeze());
    let count = ROUNDS * storm_requests().len() * STORMS;
    let mut peers = JoinSet::new();
    for _ in 0..STORMS {
        let (round, last) = (round.clone(), last.clone());
        let mut stream = connect(broker).await?;
        peers.spawn(async move {
            let wrote = write(&mut stream, &[], &round, round.len() * ROUNDS).await;
            // What is asked behind it is answered when it has passed.
            let asked = write(&mut stream, &last, &[], 0).await;
            let answer = timeout(WRITES_FOR, stream.read_exact(&mut [0; 8])).await;
            let is_answered = asked == Wrote::All && matches!(answer, Ok(Ok(_)));
            (stream, (wrote, is_answered))
        });
    }
    let (open, ends): (Vec<_>, Vec<_>) = peers.join_all().await.into_iter().unzip();
    let (wrote, answered): (Vec<_>, Vec<bool>) = ends.into_iter().unzip();
    let answered = answered.iter().filter(|is_answered| **is_answered).count();
    let words = format!(
        "{count} requests, peers: {}, {answered} answered behind them",
        counted(&wrote)
    );
    Ok((open, words))
}
