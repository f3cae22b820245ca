// SPDX-License-Identifier: Apache-2.0
//! The connection loop over real sockets: pipelining, gates, limits, and what bad peers get.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use net::{
    Answered, BoxFuture, Channel, Copies, Due, Fault, Late, Level, Limits, Manner, Outcome, Peer, Server,
    Service, Ticket,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wire::code::ResponseCode;
use wire::ext::Ext;
use wire::frame::{Decoder, Encoding, Frame};

const ECHO: i32 = 1;
const GATED: i32 = 2;
const HELD: i32 = 3;
const CALL_BACK: i32 = 4;
const BIG: i32 = 5;
const PUSH_FIRST: i32 = 6;
const READY: i32 = 7;
const WAITED: i32 = 8;
/// Answered with the milliseconds that it has waited to be read.
const HOW_LONG: i32 = 13;
const ONEWAY: i32 = 9;
const HURRIED: i32 = 10;
const GROUPED: i32 = 11;
const GROUPED_GATED: i32 = 12;
const WAIT: Duration = Duration::from_secs(10);

/// Answers by code; its gates pass when `passed` reaches the number in the request's opaque.
#[derive(Default)]
struct Scripted {
    passed: AtomicI64,
    failed: AtomicI64,
    moved: Arc<Notify>,
    written: Arc<Notify>,
    served: AtomicUsize,
    settled: AtomicUsize,
    /// How many were taken together, each time.
    groups: Mutex<Vec<usize>>,
    held_dropped: Arc<Notify>,
    closed: Notify,
    ended: Mutex<Vec<(Answered, u32)>>,
}

impl Scripted {
    /// How many requests of a code ended in this way.
    fn ended(&self, request: i32, response: i32, manner: Manner) -> u32 {
        let how = Answered {
            request,
            response,
            manner,
        };
        let ended = self.ended.lock().unwrap();
        let told = ended.iter().filter(|(ended, _)| *ended == how);
        told.map(|(_, count)| *count).sum()
    }
}

struct DropTells(Arc<Notify>);

impl Drop for DropTells {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Service for Scripted {
    fn serve(self: &Arc<Self>, peer: &Arc<Peer>, frame: Frame) -> Outcome {
        self.served.fetch_add(1, Ordering::SeqCst);
        let mut reply = Frame::reply(frame.opaque, ResponseCode::SUCCESS);
        reply.body = frame.body;
        match frame.code {
            GATED | HURRIED | GROUPED_GATED => {
                let ticket = Ticket {
                    pos: i64::from(frame.opaque),
                    generation: 0,
                    level: if frame.code == HURRIED {
                        Level::Written
                    } else {
                        Level::Durable
                    },
                    deadline: (frame.flag & 4 != 0)
                        .then(|| tokio::time::Instant::now() + Duration::from_millis(20)),
                    copies: Copies::None,
                };
                Outcome::Gated(reply, ticket)
            }
            HELD => {
                let tells = DropTells(Arc::clone(&self.held_dropped));
                Outcome::Later(Box::pin(async move {
                    let _tells = tells;
                    std::future::pending().await
                }))
            }
            CALL_BACK => {
                let peer = Arc::clone(peer);
                Outcome::Later(Box::pin(async move {
                    let asked = peer.call(request(ECHO, 0, b"and you?"), WAIT).await.unwrap();
                    reply.body = asked.body;
                    Some(reply.into())
                }))
            }
            PUSH_FIRST => {
                peer.push(request(ECHO, 1000, b"news")).unwrap();
                Outcome::Reply(reply)
            }
            HOW_LONG => {
                reply.body = peer.waited().as_millis().to_string().into();
                Outcome::Reply(reply)
            }
            READY => Outcome::Later(Box::pin(async move { Some(reply.into()) })),
            WAITED => Outcome::Later(Box::pin(async move {
                Some(Late {
                    frame: reply,
                    waited: true,
                })
            })),
            GROUPED if frame.flag & 2 != 0 => Outcome::Oneway(ResponseCode::SYSTEM_ERROR),
            ONEWAY => Outcome::Oneway(ResponseCode::SYSTEM_ERROR),
            BIG => {
                reply.body = vec![7; 256 * 1024].into();
                Outcome::Reply(reply)
            }
            _ => Outcome::Reply(reply),
        }
    }

    fn is_grouped(&self, code: i32) -> bool {
        matches!(code, GROUPED | GROUPED_GATED)
    }

    fn serve_group(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        frames: &mut Vec<Frame>,
        answer: &mut dyn FnMut(Outcome),
    ) {
        self.groups.lock().unwrap().push(frames.len());
        for frame in frames.drain(..) {
            answer(self.serve(peer, frame));
        }
    }

    fn settle(&self, _is_crowded: bool) {
        self.settled.fetch_add(1, Ordering::SeqCst);
    }

    fn due(&self, ticket: &Ticket) -> Due {
        if self.failed.load(Ordering::SeqCst) >= ticket.pos {
            Due::Failed(Fault::new(ResponseCode::SERVICE_NOT_AVAILABLE, "disk full"))
        } else if self.passed.load(Ordering::SeqCst) >= ticket.pos {
            Due::Passed
        } else if ticket
            .deadline
            .is_some_and(|at| at <= tokio::time::Instant::now())
        {
            Due::Late(ResponseCode::FLUSH_DISK_TIMEOUT)
        } else {
            Due::Waiting
        }
    }

    fn progress(&self, level: Level) -> BoxFuture<()> {
        let progress = match level {
            Level::Written => &self.written,
            Level::Durable => &self.moved,
        };
        Box::pin(Arc::clone(progress).notified_owned())
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn answered(&self, how: Answered, count: u32, _took: Duration) {
        self.ended.lock().unwrap().push((how, count));
    }

    fn closed(&self, _peer: &Arc<Peer>) {
        self.closed.notify_one();
    }
}

fn request(code: i32, opaque: i32, body: &'static [u8]) -> Frame {
    let mut frame = Frame::reply(opaque, ResponseCode(code));
    frame.flag = 0;
    frame.ext = Ext::default();
    frame.body = Bytes::from_static(body);
    frame
}

async fn start(limits: Limits) -> (Arc<Scripted>, SocketAddr, CancellationToken) {
    let service = Arc::new(Scripted::default());
    let listening = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let (addr, stop) = (listening.local_addr(), CancellationToken::new());
    tokio::spawn(listening.serve(Arc::clone(&service), limits, stop.clone()));
    (service, addr, stop)
}

/// A client that sees every byte.
struct Raw {
    stream: TcpStream,
    inbox: BytesMut,
}

impl Raw {
    async fn connect(addr: SocketAddr) -> Raw {
        Raw {
            stream: TcpStream::connect(addr).await.unwrap(),
            inbox: BytesMut::new(),
        }
    }

    async fn send(&mut self, frames: &[Frame]) {
        let mut out = BytesMut::new();
        frames
            .iter()
            .for_each(|frame| frame.encode(&mut out, Encoding::Json));
        self.stream.write_all(&out).await.unwrap();
    }

    async fn next(&mut self) -> Option<Frame> {
        let decoder = Decoder {
            frame_bytes_max: 16 << 20,
        };
        loop {
            if let Some(frame) = decoder.next(&mut self.inbox).unwrap() {
                return Some(frame);
            }
            match tokio::time::timeout(WAIT, self.stream.read_buf(&mut self.inbox))
                .await
                .expect("no answer")
            {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

#[tokio::test]
async fn frames_that_arrive_together_are_served_together_and_answered_in_order() {
    let (service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    let frames: Vec<Frame> = (0..20).map(|n| request(ECHO, n, b"hello")).collect();
    raw.send(&frames).await;
    for n in 0..20 {
        let reply = raw.next().await.unwrap();
        assert_eq!((reply.opaque, &reply.body[..]), (n, &b"hello"[..]));
    }
    assert!(
        service.settled.load(Ordering::SeqCst) < 20,
        "one settle per batch, not per request"
    );
}

#[tokio::test]
async fn requests_that_end_alike_are_reported_together_with_how_they_ended() {
    let (service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    let mut frames: Vec<Frame> = (0..20).map(|n| request(ECHO, n, b"hello")).collect();
    frames.extend([request(WAITED, 20, b""), request(ONEWAY, 21, b"").oneway()]);
    frames.push(request(GATED, 22, b""));
    service.failed.store(22, Ordering::SeqCst);
    raw.send(&frames).await;
    for _ in 0..22 {
        raw.next().await.unwrap();
    }
    // What comes after it is only answered when all of that is told.
    raw.send(&[request(ECHO, 23, b"")]).await;
    raw.next().await.unwrap();
    assert!(service.ended(ECHO, 0, Manner::Sent) >= 20);
    assert_eq!(service.ended(WAITED, 0, Manner::SentAfterWait), 1);
    assert_eq!(service.ended(ONEWAY, 1, Manner::Oneway), 1);
    assert_eq!(service.ended(GATED, 14, Manner::Sent), 1);
    let ended = service.ended.lock().unwrap();
    assert!(
        ended.len() < 15,
        "one report per batch, not per request: {ended:?}"
    );
}

#[tokio::test]
async fn requests_that_are_taken_together_are_counted_each_by_how_it_ended() {
    let (service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    service.failed.store(1, Ordering::SeqCst);
    service.passed.store(3, Ordering::SeqCst);
    let mut frames: Vec<Frame> = (1..=3).map(|n| request(GROUPED_GATED, n, b"")).collect();
    frames.extend((10..30).map(|n| request(GROUPED, n, b"")));
    frames.insert(7, request(GROUPED, 30, b"").oneway());
    raw.send(&frames).await;
    for _ in 0..23 {
        raw.next().await.unwrap();
    }
    raw.send(&[request(ECHO, 31, b"")]).await;
    assert_eq!(raw.next().await.unwrap().opaque, 31, "nothing else is answered");
    assert_eq!(service.ended(GROUPED, 0, Manner::Sent), 20);
    assert_eq!(service.ended(GROUPED, 1, Manner::Oneway), 1);
    assert_eq!(service.ended(GROUPED_GATED, 0, Manner::Sent), 2);
    assert_eq!(service.ended(GROUPED_GATED, 14, Manner::Sent), 1);
}

#[tokio::test]
async fn groups_are_bounded_and_answered_in_order_with_what_comes_between_and_before_a_malformed_frame() {
    let (service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    let mut out = BytesMut::new();
    for n in 0..150 {
        let code = if n == 140 { ECHO } else { GROUPED };
        request(code, n, b"").encode(&mut out, Encoding::Json);
    }
    out.extend_from_slice(&[0, 0, 0, 8, 9, 0, 0, 4, 1, 2, 3, 4]);
    request(GROUPED, 150, b"").encode(&mut out, Encoding::Json);
    raw.stream.write_all(&out).await.unwrap();
    for n in 0..150 {
        assert_eq!(raw.next().await.unwrap().opaque, n);
    }
    assert!(raw.next().await.is_none());
    let groups = service.groups.lock().unwrap();
    assert_eq!(groups.iter().sum::<usize>(), 149);
    assert!(groups.iter().all(|size| *size <= 64), "{groups:?}");
    assert!(groups.len() < 100, "taken together: {groups:?}");
}

#[tokio::test]
async fn a_gated_answer_waits_for_its_gate_and_does_not_hold_up_the_others() {
    let (service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    raw.send(&[request(GATED, 5, b"gated"), request(ECHO, 6, b"free")])
        .await;
    assert_eq!(raw.next().await.unwrap().opaque, 6);
    service.passed.store(5, Ordering::SeqCst);
    service.moved.notify_waiters();
    assert_eq!(raw.next().await.unwrap().opaque, 5);
}

#[tokio::test]
async fn a_failed_gate_turns_the_answer_into_the_fault() {
    let (service, addr, _stop) = start(Limits::default()).await;
    service.failed.store(9, Ordering::SeqCst);
    let mut raw = Raw::connect(addr).await;
    raw.send(&[request(GATED, 9, b"lost")]).await;
    let reply = raw.next().await.unwrap();
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (ResponseCode::SERVICE_NOT_AVAILABLE.0, Some("disk full"))
    );
    assert!(reply.body.is_empty());
}

#[tokio::test]
async fn an_answer_that_waits_for_less_is_not_held_up_by_one_that_waits_for_the_disk() {
    let (service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    raw.send(&[request(GATED, 5, b""), request(ECHO, 6, b"")]).await;
    assert_eq!(raw.next().await.unwrap().opaque, 6);
    raw.send(&[request(HURRIED, 3, b""), request(ECHO, 7, b"")]).await;
    assert_eq!(raw.next().await.unwrap().opaque, 7);
    service.passed.store(3, Ordering::SeqCst);
    service.written.notify_waiters();
    assert_eq!(raw.next().await.unwrap().opaque, 3);
    // What is left waits for the disk alone again, and whoever waits for that is told of it.
    raw.send(&[request(ECHO, 8, b"")]).await;
    assert_eq!(raw.next().await.unwrap().opaque, 8);
    service.passed.store(5, Ordering::SeqCst);
    service.moved.notify_waiters();
    assert_eq!(raw.next().await.unwrap().opaque, 5);
}

#[tokio::test]
async fn an_answer_is_late_in_time_also_behind_one_that_was_not() {
    let (service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    let with_deadline = |opaque| {
        let mut frame = request(GATED, opaque, b"");
        frame.flag |= 4;
        frame
    };
    for opaque in [1, 3, 5] {
        raw.send(&[with_deadline(opaque)]).await;
        // Where it waits, its deadline has been noted.
        raw.send(&[request(ECHO, 100, b"")]).await;
        let reply = raw.next().await.unwrap();
        if reply.opaque == 100 {
            service.passed.store(i64::from(opaque), Ordering::SeqCst);
            service.moved.notify_waiters();
            assert_eq!(raw.next().await.unwrap().opaque, opaque);
        } else {
            assert_eq!(raw.next().await.unwrap().opaque, 100);
        }
        raw.send(&[with_deadline(opaque + 1)]).await;
        let late = raw.next().await.unwrap();
        assert_eq!(
            (late.opaque, late.code),
            (opaque + 1, ResponseCode::FLUSH_DISK_TIMEOUT.0)
        );
    }
}

/// How many answers wait in the next test, and how many leave from among them, one after the other.
const MANY: i32 = 12_000;
const FEW: i32 = 40;

#[tokio::test]
async fn answers_that_leave_from_among_thousands_that_wait_leave_soon_and_the_others_stay_in_order() {
    let (service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    let mut frames = Vec::new();
    for n in 0..MANY {
        frames.push(request(GATED, 1000 + n, b"there are many of these"));
        if n % (MANY / FEW) == 0 {
            frames.push(request(HURRIED, 1 + n / (MANY / FEW), b""));
        }
    }
    let mut slow = request(GATED, 999, b"slow");
    slow.flag = 4;
    frames.insert(frames.len() / 2, slow);
    frames.push(request(ECHO, 100, b""));
    raw.send(&frames).await;
    let mut first = [raw.next().await.unwrap(), raw.next().await.unwrap()];
    first.sort_by_key(|reply| reply.opaque);
    let told = first.map(|reply| (reply.opaque, reply.code, reply.body));
    let late = ResponseCode::FLUSH_DISK_TIMEOUT.0;
    assert_eq!(told, [(100, 0, "".into()), (999, late, "slow".into())]);

    let few_leave = async {
        for n in 1..=FEW {
            service.passed.store(i64::from(n), Ordering::SeqCst);
            service.written.notify_waiters();
            assert_eq!(raw.next().await.unwrap().opaque, n);
        }
    };
    let in_time = tokio::time::timeout(WAIT, few_leave).await;
    in_time.expect("what stays costs next to nothing");

    service.passed.store(i64::from(i32::MAX), Ordering::SeqCst);
    service.moved.notify_waiters();
    for n in 0..MANY {
        let reply = raw.next().await.unwrap();
        assert_eq!(
            (reply.opaque, &reply.body[..]),
            (1000 + n, &b"there are many of these"[..])
        );
    }
}

#[tokio::test]
async fn a_gate_past_its_deadline_is_answered_late_with_the_late_code() {
    let (_service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    let mut slow = request(GATED, 3, b"slow");
    slow.flag = 4;
    raw.send(&[slow]).await;
    assert_eq!(raw.next().await.unwrap().code, ResponseCode::FLUSH_DISK_TIMEOUT.0);
}

#[tokio::test]
async fn held_requests_go_when_their_connection_goes() {
    let (service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    raw.send(&[request(HELD, 1, b""), request(ECHO, 2, b"")]).await;
    assert_eq!(raw.next().await.unwrap().opaque, 2);
    drop(raw);
    tokio::time::timeout(WAIT, service.held_dropped.notified())
        .await
        .unwrap();
    tokio::time::timeout(WAIT, service.closed.notified())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_handler_pushes_to_its_own_peer_comes_before_the_answer() {
    let (_service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    raw.send(&[request(PUSH_FIRST, 1, b"")]).await;
    assert_eq!(raw.next().await.unwrap().opaque, 1000);
    assert_eq!(raw.next().await.unwrap().opaque, 1);
}

#[tokio::test]
async fn held_answers_that_are_ready_leave_with_the_others_while_requests_keep_coming() {
    let (service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    raw.send(&[
        request(READY, 1, b""),
        request(READY, 2, b""),
        request(ECHO, 3, b""),
    ])
    .await;
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(raw.next().await.unwrap().opaque);
    }
    order.sort_unstable();
    assert_eq!(order, [1, 2, 3]);
    assert!(service.settled.load(Ordering::SeqCst) <= 3);
}

#[tokio::test]
async fn a_server_can_ask_its_client_before_it_answers() {
    let (_service, addr, _stop) = start(Limits::default()).await;
    let home = Arc::new(Scripted::default());
    let channel = Channel::connect_with(addr, WAIT, home, Encoding::Binary)
        .await
        .unwrap();
    let reply = channel.call(request(CALL_BACK, 0, b""), WAIT).await.unwrap();
    assert_eq!(&reply.body[..], b"and you?");
}

#[tokio::test]
async fn a_call_ends_when_the_connection_ends() {
    let (_service, addr, stop) = start(Limits::default()).await;
    let channel = Channel::connect(addr, WAIT).await.unwrap();
    channel.call(request(ECHO, 0, b""), WAIT).await.unwrap();
    let held = channel.call(request(HELD, 0, b""), WAIT);
    let (answer, ()) = tokio::join!(held, async { stop.cancel() });
    assert!(answer.is_err());
    assert!(!channel.is_open());
}

#[tokio::test]
async fn a_malformed_or_oversize_frame_closes_its_connection_and_no_other() {
    let limits = Limits {
        frame_bytes_max: 4096,
        ..Limits::default()
    };
    let (_service, addr, _stop) = start(limits).await;
    let mut good = Raw::connect(addr).await;
    let bad: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x00, 0x00, 0x20, 0x00, 0, 0, 0, 2, b'{', b'}'],
        &[0, 0, 0, 8, 0, 0, 0, 200, 1, 2, 3, 4],
        &[0, 0, 0, 8, 9, 0, 0, 4, 1, 2, 3, 4],
    ];
    for bytes in bad {
        let mut raw = Raw::connect(addr).await;
        raw.stream.write_all(bytes).await.unwrap();
        assert!(
            raw.next().await.is_none(),
            "the connection is closed without an answer"
        );
    }
    good.send(&[request(ECHO, 1, b"still here")]).await;
    assert_eq!(&good.next().await.unwrap().body[..], b"still here");
}

#[tokio::test]
async fn requests_in_front_of_a_malformed_frame_are_served_and_answered() {
    let (_service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    let mut out = BytesMut::new();
    request(ECHO, 1, b"good").encode(&mut out, Encoding::Json);
    out.extend_from_slice(&[0, 0, 0, 8, 9, 0, 0, 4, 1, 2, 3, 4]);
    raw.stream.write_all(&out).await.unwrap();
    assert_eq!(&raw.next().await.unwrap().body[..], b"good");
    assert!(raw.next().await.is_none());
}

#[tokio::test]
async fn a_server_stops_although_a_peer_sends_without_pause() {
    let service = Arc::new(Scripted::default());
    let listening = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let (addr, stop) = (listening.local_addr(), CancellationToken::new());
    let server = tokio::spawn(listening.serve(service, Limits::default(), stop.clone()));
    let mut flood = TcpStream::connect(addr).await.unwrap();
    let flooding = tokio::spawn(async move {
        // An answer wants none, so nothing ever comes back.
        let mut frames = BytesMut::new();
        (0..500).for_each(|n| Frame::reply(n, ResponseCode::SUCCESS).encode(&mut frames, Encoding::Json));
        while flood.write_all(&frames).await.is_ok() {}
    });
    let mut other = Raw::connect(addr).await;
    other.send(&[request(ECHO, 1, b"")]).await;
    other.next().await.unwrap();
    stop.cancel();
    tokio::time::timeout(WAIT, server)
        .await
        .expect("the server stops")
        .unwrap();
    flooding.await.unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_not_read_either() {
    let limits = Limits {
        reply_bytes_max: 1024 * 1024,
        ..Limits::default()
    };
    let (service, addr, _stop) = start(limits).await;
    let mut deaf = Raw::connect(addr).await;
    let asks: Vec<Frame> = (0..1000).map(|n| request(BIG, n, b"")).collect();
    deaf.send(&asks).await;
    let mut other = Raw::connect(addr).await;
    other.send(&[request(ECHO, 1, b"me too")]).await;
    assert_eq!(&other.next().await.unwrap().body[..], b"me too");
    let served = service.served.load(Ordering::SeqCst);
    assert!(
        served < 200,
        "{served} answers of 256 KiB were made for a peer that reads none"
    );
    for n in 0..1000 {
        assert_eq!(
            deaf.next().await.unwrap().opaque,
            n,
            "all answers come once it reads"
        );
    }
}

#[tokio::test]
async fn a_connection_with_too_many_requests_in_flight_is_not_read_until_some_are_answered() {
    for code in [GATED, HELD, GROUPED_GATED] {
        let limits = Limits {
            gated_max: 2,
            held_max: 2,
            ..Limits::default()
        };
        let (service, addr, _stop) = start(limits).await;
        let mut raw = Raw::connect(addr).await;
        raw.send(&(1..=5).map(|n| request(code, n, b"")).collect::<Vec<_>>())
            .await;
        let mut other = Raw::connect(addr).await;
        other.send(&[request(ECHO, 9, b"")]).await;
        assert_eq!(other.next().await.unwrap().opaque, 9, "others are served");
        while service.served.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            service.served.load(Ordering::SeqCst),
            3,
            "two of it, one of the other"
        );
        if code != HELD {
            service.passed.store(5, Ordering::SeqCst);
            service.moved.notify_waiters();
            for n in 1..=5 {
                assert_eq!(raw.next().await.unwrap().opaque, n);
            }
        }
    }
}

#[tokio::test]
async fn a_client_with_thousands_of_held_requests_is_read_although_little_is_left_for_all() {
    let limits = Limits {
        budget: net::Budget::of(4 << 20),
        ..Limits::default()
    };
    let (_service, addr, _stop) = start(limits).await;
    let mut raw = Raw::connect(addr).await;
    for part in 0..20 {
        let pulls: Vec<_> = (0..100).map(|n| request(HELD, 100 * part + n, b"")).collect();
        raw.send(&pulls).await;
    }
    raw.send(&[request(ECHO, 5000, b"still there")]).await;
    let answer = tokio::time::timeout(WAIT, raw.next()).await.unwrap().unwrap();
    assert_eq!((answer.opaque, &answer.body[..]), (5000, &b"still there"[..]));
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed() {
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let (_service, addr, _stop) = start(limits).await;
    let mut first = Raw::connect(addr).await;
    first.send(&[request(ECHO, 1, b"")]).await;
    first.next().await.unwrap();
    let mut second = Raw::connect(addr).await;
    assert!(second.next().await.is_none());
    first.send(&[request(ECHO, 2, b"")]).await;
    assert_eq!(first.next().await.unwrap().opaque, 2);
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_the_idle_time() {
    let limits = Limits {
        idle: Duration::from_millis(80),
        ..Limits::default()
    };
    let (_service, addr, _stop) = start(limits).await;
    let mut raw = Raw::connect(addr).await;
    assert!(raw.next().await.is_none());
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_dropped() {
    let (_service, addr, _stop) = start(Limits::default()).await;
    let mut raw = Raw::connect(addr).await;
    raw.send(&[Frame::reply(77, ResponseCode::SUCCESS), request(ECHO, 1, b"")])
        .await;
    assert_eq!(raw.next().await.unwrap().opaque, 1);
}

/// Sends these behind a request that keeps the connection from being read for a while; what they are told, and how long it
/// took in all.
async fn wait_unread(frames: &[Frame]) -> (Vec<u128>, Duration) {
    const UNREAD: Duration = Duration::from_millis(60);
    let limits = Limits {
        gated_max: 1,
        ..Limits::default()
    };
    let (service, addr, _stop) = start(limits).await;
    let mut client = Raw::connect(addr).await;
    let begin = tokio::time::Instant::now();
    client.send(&[request(GATED, 1, b"")]).await;
    client.send(frames).await;
    while service.served.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(UNREAD).await;
    service.passed.store(1, Ordering::SeqCst);
    service.moved.notify_waiters();
    let mut told = Vec::new();
    while told.len() < frames.len() {
        let reply = client.next().await.unwrap();
        if reply.opaque > 1 {
            told.push(std::str::from_utf8(&reply.body).unwrap().parse().unwrap());
        }
    }
    (told, begin.elapsed())
}

#[tokio::test]
async fn how_long_requests_have_waited_unread_is_known_at_least() {
    // More than one read takes, and less than the system takes of a peer that is not read.
    let frames: Vec<_> = (2..300).map(|n| request(HOW_LONG, n, &[7; 64])).collect();
    let (told, took) = wait_unread(&frames).await;
    assert_eq!(told[0], 0, "it was read at once");
    let last = told[told.len() - 1];
    assert!((60..=took.as_millis()).contains(&last), "{last} of {took:?}");
}

#[tokio::test]
async fn nothing_is_held_against_a_peer_whose_requests_are_read_in_one_go() {
    let (told, _) = wait_unread(&[request(HOW_LONG, 2, b"")]).await;
    assert_eq!(told, [0]);
}

#[tokio::test]
async fn what_is_not_read_is_held_up_at_its_sender_once_the_system_keeps_enough_of_it() {
    for (unread_bytes, is_taken) in [(Limits::default().unread_bytes, true), (4096, false)] {
        let limits = Limits {
            gated_max: 1,
            unread_bytes,
            ..Limits::default()
        };
        let (service, addr, _stop) = start(limits).await;
        let mut first = Raw::connect(addr).await;
        first.send(&[request(ECHO, 1, b"")]).await;
        first.next().await.unwrap();
        let before = service.served.load(Ordering::SeqCst);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        let mut client = Raw {
            stream: socket.connect(addr).await.unwrap(),
            inbox: BytesMut::new(),
        };
        client.send(&[request(GATED, 1, b"")]).await;
        while service.served.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
        // From here on nothing is read.
        let frames = client.stream.write_all(&[0; 48 * 1024]);
        if is_taken {
            frames.await.unwrap();
        } else {
            assert!(
                tokio::time::timeout(Duration::from_millis(200), frames)
                    .await
                    .is_err()
            );
        }
    }
}
