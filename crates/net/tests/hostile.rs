// SPDX-License-Identifier: Apache-2.0
//! Peers that mean no good, in numbers: what they can make a server hold is bounded, and the client next door notices nothing.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use net::{Budget, Channel, Limits, Outcome, Peer, Server, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::code::ResponseCode;
use wire::frame::{Encoding, Frame};

const ECHO: i32 = 1;
const HELD: i32 = 2;
const BIG: i32 = 3;
const BIG_BYTES: usize = 256 << 10;
const MIB: usize = 1 << 20;
const WAIT: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Plain {
    served: AtomicUsize,
    /// Of those that are held, how many share their bytes with others.
    sharing: AtomicUsize,
}

impl Service for Plain {
    fn serve(self: &Arc<Self>, _: &Arc<Peer>, frame: Frame) -> Outcome {
        self.served.fetch_add(1, Ordering::SeqCst);
        let reply = Frame::reply(frame.opaque, ResponseCode::SUCCESS);
        match frame.code {
            HELD => {
                let sharing = usize::from(!frame.body.is_unique());
                self.sharing.fetch_add(sharing, Ordering::SeqCst);
                Outcome::Later(Box::pin(async move {
                    let _kept = frame;
                    std::future::pending().await
                }))
            }
            BIG => Outcome::Reply(reply.with_body(vec![7; BIG_BYTES])),
            _ => Outcome::Reply(reply),
        }
    }
}

fn request(code: i32, body: usize) -> Frame {
    Frame {
        flag: 0,
        ..Frame::reply(1, ResponseCode(code)).with_body(vec![1; body])
    }
}

fn encoded(frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    frame.encode(&mut out, Encoding::Json);
    out
}

/// The beginning of a frame of 16 MiB.
fn unfinished(bytes: usize) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32((16 * MIB - 4) as u32);
    out.put_u32(100);
    out.put_bytes(b' ', bytes - 8);
    out
}

struct Served {
    service: Arc<Plain>,
    addr: SocketAddr,
    budget: Arc<Budget>,
    _stop: tokio_util::sync::DropGuard,
}

async fn serve(limits: Limits) -> Served {
    let service = Arc::new(Plain::default());
    let listening = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let (addr, stop) = (listening.local_addr(), CancellationToken::new());
    let budget = Arc::clone(&limits.budget);
    tokio::spawn(listening.serve(Arc::clone(&service), limits, stop.clone()));
    Served {
        service,
        addr,
        budget,
        _stop: stop.drop_guard(),
    }
}

/// A client that asks all the while. Ends with the number of answers, none of which was missing.
async fn next_door(addr: SocketAddr, until: CancellationToken) -> JoinHandle<usize> {
    let channel = Channel::connect(addr, WAIT).await.unwrap();
    tokio::spawn(async move {
        let mut answers = 0;
        while !until.is_cancelled() || answers < 10 {
            channel.call(request(ECHO, 100), WAIT).await.unwrap();
            answers += 1;
        }
        answers
    })
}

/// Looks until it holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(WAIT, looking).await.expect(what);
}

/// Whether the other side closes the connection, whatever it says before.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut sink = vec![0; 1 << 16];
    let closed = async { while !matches!(stream.read(&mut sink).await, Ok(0) | Err(_)) {} };
    tokio::time::timeout(WAIT, closed).await.is_ok()
}

#[tokio::test]
async fn half_frames_of_many_peers_stay_within_the_budget() {
    const PEERS: usize = 60;
    let max = 32 * MIB;
    let served = serve(Limits {
        budget: Budget::of(max),
        ..Limits::default()
    })
    .await;
    let done = CancellationToken::new();
    let next_door = next_door(served.addr, done.clone()).await;
    let half = unfinished(2 * MIB).freeze();
    let mut peers = Vec::new();
    let mut most = 0;
    for _ in 0..PEERS {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        // It may be cut off while it writes.
        let _cut = stream.write_all(&half).await.is_err();
        most = most.max(served.budget.held());
        peers.push(stream);
    }
    assert!(most > max / 2 && most <= max, "{most}");
    let mut closed = 0;
    for stream in &mut peers {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut byte)).await;
        closed += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert!(
        (PEERS / 2..PEERS).contains(&closed),
        "{closed} of them were closed"
    );
    drop(peers);
    done.cancel();
    next_door.await.unwrap();
    until("all is given back", || served.budget.held() == 0).await;
}

#[tokio::test]
async fn peers_that_never_read_are_not_served_further_and_nobody_is_closed_for_it() {
    const PEERS: usize = 40;
    let max = 48 * MIB;
    let served = serve(Limits {
        budget: Budget::of(max),
        ..Limits::default()
    })
    .await;
    let done = CancellationToken::new();
    let next_door = next_door(served.addr, done.clone()).await;
    let mut asked = BytesMut::new();
    for _ in 0..200 {
        asked.extend_from_slice(&encoded(&request(BIG, 0)));
    }
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        stream.write_all(&asked).await.unwrap();
        peers.push(stream);
    }
    until("they wait", || {
        served.service.served.load(Ordering::SeqCst) > PEERS * 2
    })
    .await;
    for _ in 0..50 {
        assert!(served.budget.held() <= max, "{}", served.budget.held());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    done.cancel();
    next_door.await.unwrap();
    // Once they read, each has all of its answers.
    let mut read = vec![0; 200 * BIG_BYTES];
    for stream in &mut peers {
        tokio::time::timeout(WAIT, stream.read_exact(&mut read))
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn clients_that_all_come_at_once_need_not_try_again() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .map_or(128, |most| most.trim().parse().unwrap());
    let listening = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let mut waiting = Vec::new();
    for n in 0..most.min(600) {
        // Nobody takes them yet; one too many would be tried again after a second.
        let connecting = TcpStream::connect(listening.local_addr());
        let connected = tokio::time::timeout(Duration::from_millis(900), connecting).await;
        waiting.push(
            connected
                .unwrap_or_else(|_| panic!("connection {n} found no room"))
                .unwrap(),
        );
    }
}

#[tokio::test]
async fn long_requests_that_are_held_are_bounded_in_bytes() {
    let served = serve(Limits {
        held_bytes_max: 4 * MIB,
        ..Limits::default()
    })
    .await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let frame = encoded(&request(HELD, MIB));
    let sending = async {
        for _ in 0..40 {
            stream.write_all(&frame).await.unwrap();
        }
    };
    let all_taken = tokio::time::timeout(Duration::from_millis(500), sending).await;
    assert!(all_taken.is_err(), "its socket is not read any more");
    // One more may always come.
    let taken = served.service.served.load(Ordering::SeqCst);
    assert!((4..=5).contains(&taken), "{taken}");
    let held = served.budget.held();
    assert!((4 * MIB..8 * MIB).contains(&held), "{held}");
}

#[tokio::test]
async fn many_short_requests_that_are_held_keep_no_buffers_of_long_ones() {
    let served = serve(Limits::default()).await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let mut both = encoded(&request(ECHO, 2 * MIB));
    both.extend_from_slice(&encoded(&request(HELD, 10)));
    for _ in 0..50 {
        stream.write_all(&both).await.unwrap();
    }
    until("all have come", || {
        served.service.served.load(Ordering::SeqCst) == 100
    })
    .await;
    until("little is kept", || served.budget.held() < 2 * MIB).await;
    assert_eq!(served.service.sharing.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_frame_that_comes_byte_by_byte_is_given_up() {
    let served = serve(Limits {
        idle: Duration::from_millis(200),
        ..Limits::default()
    })
    .await;
    let mut slow = TcpStream::connect(served.addr).await.unwrap();
    slow.write_all(&unfinished(8)).await.unwrap();
    let mut steady = TcpStream::connect(served.addr).await.unwrap();
    let frame = encoded(&request(ECHO, 10));
    let begun = tokio::time::Instant::now();
    // As many bytes as it likes, each long before it would count as idle; the other one sends whole frames, in two parts.
    let mut cut = false;
    for part in (0..400).map(|n| n % 2) {
        let half = frame.len() / 2;
        let bytes = if part == 0 { &frame[..half] } else { &frame[half..] };
        steady.write_all(bytes).await.unwrap();
        cut |= slow.write_all(b" ").await.is_err();
        if cut {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lasted = begun.elapsed();
    assert!(cut && lasted >= Duration::from_millis(150), "{lasted:?}");
    steady.write_all(&frame).await.unwrap();
    let mut byte = [0];
    steady.read_exact(&mut byte).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_is_gone_or_takes_nothing_is_closed_though_it_seems_to_live() {
    let served = serve(Limits {
        idle: Duration::from_millis(200),
        ..Limits::default()
    })
    .await;
    // Half open: nothing comes any more, and no end either.
    let mut gone = TcpStream::connect(served.addr).await.unwrap();
    gone.write_all(&encoded(&request(ECHO, 0))).await.unwrap();
    // Sends and sends, and does not read.
    let mut deaf = TcpStream::connect(served.addr).await.unwrap();
    let mut cut = false;
    for _ in 0..400 {
        for _ in 0..4 {
            cut |= deaf.write_all(&encoded(&request(BIG, 0))).await.is_err();
        }
        if cut {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(cut, "answers wait for it, of which it takes nothing");
    assert!(is_closed(&mut gone).await);
    until("all is given back", || served.budget.held() == 0).await;
}
