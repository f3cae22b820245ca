// SPDX-License-Identifier: Apache-2.0
//! Servers that behave badly: the result says so.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bench::{Kind, Measure, Options, Rate, Report, Sizes};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use wire::api::offset::OffsetReply;
use wire::api::pull::PullReply;
use wire::api::send::SendReceipt;
use wire::api::transaction::CheckTransactionState;
use wire::body::topic::TopicConfig;
use wire::code::{Code, ResponseCode};
use wire::ext::Ext;
use wire::fastjson;
use wire::frame::{Decoder, Encoding, Frame};
use wire::message_id::offset_id;
use wire::record::{Parts, Seal, Stamp, crc31, encode_record};

/// What a server does with the send of a number.
enum Deed {
    Answer,
    StandStill(Duration),
    /// Reads nothing more until then.
    ReadOnAt(Arc<Notify>),
    Refuse,
    Forget,
    /// Asks about the transaction, and does not answer.
    Ask,
    /// Answers, and asks.
    AnswerAndAsk,
    /// The same, and asks about all that were refused or forgotten before.
    AskAboutAll,
    HangUp,
}

const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

type Plan = Arc<dyn Fn(u64) -> Deed + Send + Sync>;

/// Answers sends as planned, and everything else that a run asks at its start.
async fn server(plan: impl Fn(u64) -> Deed + Send + Sync + 'static) -> SocketAddr {
    server_that_counts(plan).await.0
}

/// The same; tells of each connection that has ended how many sends came on it.
async fn server_that_counts(
    plan: impl Fn(u64) -> Deed + Send + Sync + 'static,
) -> (SocketAddr, mpsc::UnboundedReceiver<u64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let plan: Plan = Arc::new(plan);
    let sends = Arc::new(AtomicU64::new(0));
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (plan, sends, tell) = (Arc::clone(&plan), Arc::clone(&sends), tell.clone());
            tokio::spawn(async move {
                let mut came = 0;
                serve(stream, plan, (&sends, &mut came)).await;
                // Not every test listens.
                let _nobody = tell.send(came);
            });
        }
    });
    (addr, told)
}

async fn serve(mut stream: TcpStream, plan: Plan, (sends, came): (&AtomicU64, &mut u64)) -> Option<()> {
    let mut inbox = BytesMut::new();
    let mut failed = Vec::new();
    loop {
        while let Some(frame) = Decoder::default().next(&mut inbox).expect("a frame") {
            let mut deed = Deed::Answer;
            if frame.code == Code::SEND_MESSAGE_V2.0 {
                *came += 1;
                deed = plan(sends.fetch_add(1, Ordering::Relaxed));
            }
            let mut answer = Frame::reply(frame.opaque, ResponseCode::SUCCESS);
            let mut asked = Vec::new();
            match deed {
                Deed::Answer => {}
                Deed::AnswerAndAsk => asked.push(question(&frame)),
                Deed::AskAboutAll => {
                    asked.push(question(&frame));
                    asked.append(&mut failed);
                }
                Deed::Ask => {
                    send(&mut stream, &question(&frame)).await?;
                    continue;
                }
                Deed::StandStill(time) => tokio::time::sleep(time).await,
                Deed::ReadOnAt(time) => {
                    time.notified().await;
                    continue;
                }
                Deed::Refuse => {
                    answer.code = ResponseCode::SYSTEM_BUSY.0;
                    answer.remark = Some("too much".into());
                    failed.push(question(&frame));
                }
                Deed::Forget => {
                    failed.push(question(&frame));
                    continue;
                }
                Deed::HangUp => return None,
            }
            if frame.is_oneway() {
                continue;
            }
            fill(&frame, &mut answer);
            send(&mut stream, &answer).await?;
            for question in asked {
                send(&mut stream, &question).await?;
            }
        }
        if stream.read_buf(&mut inbox).await.ok()? == 0 {
            return None;
        }
    }
}

async fn send(stream: &mut TcpStream, frame: &Frame) -> Option<()> {
    let mut out = BytesMut::new();
    frame.encode(&mut out, Encoding::Json);
    stream.write_all(&out).await.ok()
}

/// What a broker asks about a half message that it has stored.
fn question(half: &Frame) -> Frame {
    let parts = Parts {
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_at: 0,
        born_host: ANYWHERE,
        store_host: ANYWHERE,
        reconsume_times: 0,
        prepared_pos: 0,
        body: &half.body,
        body_crc: crc31(&half.body),
        topic: "half",
        properties: b"",
    };
    let stamp = Stamp {
        queue_offset: 0,
        physical_offset: 0,
        stored_at: 0,
    };
    let mut record = Vec::new();
    encode_record(&mut record, &parts, &stamp, Seal::Absent);
    Frame::request(0, &CheckTransactionState::default())
        .with_body(record)
        .oneway()
}

fn fill(frame: &Frame, answer: &mut Frame) {
    match Code(frame.code) {
        Code::GET_TOPIC_CONFIG => answer.body = fastjson::to_vec(&TopicConfig::default()).into(),
        Code::GET_MAX_OFFSET | Code::GET_MIN_OFFSET => answer.ext = Ext::of(&OffsetReply { offset: 0 }),
        Code::PULL_MESSAGE => {
            answer.code = ResponseCode::PULL_NOT_FOUND.0;
            answer.ext = Ext::of(&PullReply::default());
        }
        Code::SEND_MESSAGE_V2 => {
            answer.ext = Ext::of(&SendReceipt {
                msg_id: offset_id(ANYWHERE, 0),
                ..SendReceipt::default()
            });
        }
        _ => {}
    }
}

fn options(broker: SocketAddr) -> Options {
    Options {
        broker: Some(broker.to_string()),
        rate: Rate::PerSecond(1000),
        duration: Duration::from_secs(3),
        sizes: Sizes::of(100),
        ..Options::new(Kind::Produce)
    }
}

async fn run(options: Options) -> Report {
    Box::pin(bench::run(options, CancellationToken::new(), |_| {}))
        .await
        .expect("a result")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_for_a_second_is_seen_in_the_p99() {
    let still_at = |at| {
        move |number| match number == at {
            true => Deed::StandStill(Duration::from_secs(1)),
            false => Deed::Answer,
        }
    };
    let open = run(options(server(still_at(1000)).await)).await;
    assert_eq!(open.errors, 0, "{}", open.table());
    assert_eq!(open.counts.ok, 3000);
    let send = &open.latencies[&Measure::Send];
    // A third of all messages were due in that second, and waited half of it on average.
    assert!(send.percentiles.get("99").unwrap() > 900_000, "{}", open.table());
    assert!(send.percentiles.get("90").unwrap() > 500_000, "{}", open.table());
    assert!(send.mean_us > 100_000.0, "{}", open.table());

    // With one request under way in a closed loop, one message in thousands sees it.
    let closed = run(Options {
        rate: Rate::Max,
        in_flight: 1,
        // A slow machine does not come to a thousand in the time there is.
        ..options(server(still_at(100)).await)
    })
    .await;
    let send = &closed.latencies[&Measure::Send];
    assert!(send.max_us > 990_000, "{}", closed.table());
    assert!(
        send.percentiles.get("99").unwrap() < 500_000,
        "{}",
        closed.table()
    );
    assert!(
        closed
            .notes
            .iter()
            .any(|note| note.contains("coordinated omission"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_lost_answers_and_broken_connections_are_counted_by_reason() {
    let plan = |number| match number {
        10 | 20 => Deed::Refuse,
        30 => Deed::Forget,
        500 => Deed::HangUp,
        _ => Deed::Answer,
    };
    let report = run(Options {
        duration: Duration::from_secs(1),
        timeout: Duration::from_millis(400),
        ..options(server(plan).await)
    })
    .await;
    let (counts, table) = (&report.counts, report.table());
    assert_eq!(counts.answers["SYSTEM_BUSY (2)"], 2, "{table}");
    assert_eq!(report.remarks["SYSTEM_BUSY (2)"], "too much");
    assert!(counts.failures["no answer in time"] >= 1, "{table}");
    assert!(
        counts.failures["connection broke before the answer"] >= 1,
        "{table}"
    );
    assert_eq!(counts.reconnects, 1, "{table}");
    assert_eq!(report.breaks.len(), 1, "{table}");
    assert_eq!((counts.due, counts.ok + report.errors), (1000, 1000), "{table}");
    assert_eq!(report.complaint(1000), None);
    assert!(report.complaint(3).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_when_a_run_is_ended_early_is_counted() {
    let silent = |number| match number {
        0..100 => Deed::Answer,
        _ => Deed::Forget,
    };
    let endless = Options {
        duration: Duration::from_secs(3600),
        timeout: Duration::from_secs(600),
        ..options(server(silent).await)
    };
    let stop = CancellationToken::new();
    let token = stop.clone();
    let running = bench::run(endless, stop, move |_| token.cancel());
    let report = Box::pin(running).await.expect("a result");
    let (counts, table) = (&report.counts, report.table());
    assert!(report.interrupted && counts.ok == 100, "{table}");
    assert!(
        counts.failures["under way when the run was ended"] > 500,
        "{table}"
    );
    assert_eq!(counts.due, counts.ok + report.errors, "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way_messages_count_when_they_are_written_and_not_before() {
    let end = Arc::new(Notify::new());
    let reads_on = Arc::clone(&end);
    let plan = move |number| match number {
        10 => Deed::ReadOnAt(Arc::clone(&reads_on)),
        _ => Deed::Answer,
    };
    let (addr, mut told) = server_that_counts(plan).await;
    // Much more than sockets hold.
    let report = run(Options {
        oneway: true,
        duration: Duration::from_millis(500),
        rate: Rate::PerSecond(2000),
        sizes: Sizes::of(50_000),
        timeout: Duration::from_millis(100),
        drain: Duration::ZERO,
        ..options(addr)
    })
    .await;
    end.notify_one();
    let mut came = 0;
    while came == 0 {
        came = told.recv().await.expect("the server goes on");
    }
    let (counts, table) = (&report.counts, report.table());
    assert_eq!(counts.ok, came, "{table}");
    assert!(
        counts.failures["not written when the run was ended"] > 0,
        "{table}"
    );
    assert_eq!(report.latencies[&Measure::Wait].count, came, "{table}");
    assert_eq!((counts.due, counts.ok + report.errors), (1000, 1000), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_counts_once_whether_its_half_fails_before_or_after_the_broker_asks() {
    let plan = |number| match number {
        10 => Deed::Forget,
        20 => Deed::Ask,
        30 => Deed::Refuse,
        // Long after the time for the answer to 10.
        80 => Deed::AskAboutAll,
        // Nobody ever asks about this one.
        90 => Deed::Answer,
        _ => Deed::AnswerAndAsk,
    };
    let report = run(Options {
        kind: Kind::Transaction,
        unknown: 100,
        rate: Rate::PerSecond(50),
        duration: Duration::from_secs(2),
        timeout: Duration::from_millis(800),
        drain: Duration::ZERO,
        ..options(server(plan).await)
    })
    .await;
    let (counts, table) = (&report.counts, report.table());
    assert_eq!((counts.due, counts.ok, report.errors), (100, 97, 3), "{table}");
    assert_eq!(counts.failures["half message: no answer in time"], 1, "{table}");
    assert_eq!(counts.answers["SYSTEM_BUSY (2)"], 1, "{table}");
    assert_eq!(
        counts.failures["transactions that the broker never asked about"], 1,
        "{table}"
    );
    assert_eq!(counts.checks, 99, "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_due_and_could_not_be_sent_is_an_error_and_its_waiting_counts() {
    // One request at a time, ten milliseconds each: a tenth of what is due.
    let slow = |_| Deed::StandStill(Duration::from_millis(10));
    let report = run(Options {
        duration: Duration::from_secs(1),
        in_flight: 1,
        ..options(server(slow).await)
    })
    .await;
    let table = report.table();
    assert!(
        report.counts.failures["due, but not sent before the end"] > 500,
        "{table}"
    );
    assert_eq!(
        (report.counts.due, report.counts.ok + report.errors),
        (1000, 1000),
        "{table}"
    );
    let send = &report.latencies[&Measure::Send];
    assert_eq!(send.count, 1000, "{table}");
    assert!(send.percentiles.get("99").unwrap() > 1_000_000, "{table}");
    assert!(report.complaint(0).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_never_come_are_lost() {
    let report = run(Options {
        kind: Kind::E2e,
        duration: Duration::from_secs(1),
        messages: Some(100),
        drain: Duration::ZERO,
        timeout: Duration::from_millis(100),
        ..options(server(|_| Deed::Answer).await)
    })
    .await;
    let delivery = report.delivery.unwrap();
    assert_eq!(
        (delivery.expected, delivery.received, delivery.lost),
        (100, 0, 100)
    );
    let complaint = report.complaint(0).unwrap();
    assert!(complaint.contains("100 messages lost"), "{complaint}");
}
