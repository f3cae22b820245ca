// SPDX-License-Identifier: Apache-2.0
//! More sends than the broker takes: what came too late is refused, and who sends little is served beside who sends much.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wire::api::config::UpdateBrokerConfig;
use wire::code::ResponseCode;
use wire::frame::{Encoding, Frame};

use crate::rig::{Client, Rig, SOON, held_pull};
use crate::sends::{send, stored};
use crate::together::Writer;

/// Sends in one write, more than are read in one go, and fewer than the system takes of a connection that is not read.
const SENDS: i32 = 250;

/// Writes sends behind a pull that is held, which keeps the connection from being read until there is a message for it. What
/// the sends are answered.
async fn late_sends(rig: &Rig, client: &Client) -> Vec<Frame> {
    const UNREAD: Duration = Duration::from_millis(80);
    let newest = stored(client, "HELD", 0).await.len();
    let held = held_pull("READER", "HELD", newest as i64, SOON);
    let mut frames = vec![Frame::request(-1, &held)];
    frames.extend((0..SENDS).map(|n| Frame::request(n, &send("T", 0, "")).with_body(format!("{n}"))));
    let mut late = Writer::to(rig.addr).await;
    late.write(&frames).await;
    tokio::time::sleep(UNREAD).await;
    client.send("HELD", 0, "go on").await;
    let mut answers = Vec::new();
    while answers.len() < frames.len() {
        answers.push(late.next().await);
    }
    answers.retain(|answer| answer.opaque >= 0);
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_that_lay_unread_for_too_long_are_refused_unless_the_settings_say_otherwise() {
    let settings = [
        ("heldPerConnectionMax", "1"),
        ("waitTimeMillsInSendQueue", "50"),
        ("mappedFileSizeCommitLog", "67108864"),
    ];
    let rig = Rig::start_with(&settings).await;
    let client = rig.client_of("T", 1).await;
    client.make_topic("HELD", 1).await;
    let answers = late_sends(&rig, &client).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.code == 0);
    assert!(!refused.is_empty(), "all were taken");
    for answer in &refused {
        let remark = answer.remark.as_deref().unwrap();
        assert_eq!(answer.code, ResponseCode::SYSTEM_BUSY.0, "{remark}");
        let begin = "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: ";
        let rest = remark.strip_prefix(begin).expect(remark);
        let (waited, others) = rest.split_once("ms, size of queue: ").expect(remark);
        assert!(waited.parse::<u32>().unwrap() >= 50, "{remark}");
        assert!(others.parse::<u32>().unwrap() < 64, "{remark}");
    }
    // What was read before is taken, and nothing of the rest is stored.
    assert!(
        taken.iter().all(|answer| answer.opaque < refused[0].opaque),
        "{}",
        taken.len()
    );
    let offset = client.send("T", 0, "last").await.queue_offset;
    assert_eq!(offset, taken.len() as i64);

    let off = client.ask_with(&UpdateBrokerConfig, "brokerFastFailureEnable=false");
    assert_eq!(off.await.code, 0);
    let answers = late_sends(&rig, &client).await;
    assert!(answers.iter().all(|answer| answer.code == 0));
    rig.stop().await;
}

/// A client that sends on many connections as much as it can, and reads what it is told.
struct Noisy {
    until: CancellationToken,
    running: Vec<JoinHandle<u64>>,
}

impl Noisy {
    async fn start(addr: SocketAddr, connections: usize) -> Noisy {
        let until = CancellationToken::new();
        let mut running = Vec::new();
        for _ in 0..connections {
            let stream = Writer::to(addr).await.stream;
            let (mut reader, mut writer) = stream.into_split();
            let mut many = BytesMut::new();
            for n in 0..256 {
                let frame = Frame::request(n, &send("NOISY", 0, "")).with_body(vec![b'x'; 1024]);
                frame.encode(&mut many, Encoding::Json);
            }
            let until = until.clone();
            running.push(tokio::spawn(async move {
                let writes = async { while writer.write_all(&many).await.is_ok() {} };
                let (mut answers, mut inbox) = (0, vec![0; 64 * 1024]);
                let reads = async {
                    while let Ok(bytes @ 1..) = reader.read(&mut inbox).await {
                        answers += bytes as u64;
                    }
                };
                tokio::select! {
                    () = writes => {}
                    () = reads => {}
                    () = until.cancelled() => {}
                }
                answers
            }));
        }
        Noisy { until, running }
    }

    /// Ends it. How many bytes of answers each of its connections got.
    async fn end(self) -> Vec<u64> {
        self.until.cancel();
        let mut answers = Vec::new();
        for one in self.running {
            answers.push(one.await.unwrap());
        }
        answers
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_one_message_at_a_time_is_served_beside_who_sends_without_end() {
    const QUIET: usize = 8;
    const ASKED: usize = 50;
    let rig = Rig::start_with(&[("mappedFileSizeCommitLog", "67108864")]).await;
    let client = rig.client_of("NOISY", 1).await;
    client.make_topic("QUIET", 1).await;
    let noisy = Noisy::start(rig.addr, 8).await;
    let begin = Instant::now();
    let mut quiet = Vec::new();
    for _ in 0..QUIET {
        let client = rig.client().await;
        quiet.push(tokio::spawn(async move {
            let mut times = Vec::new();
            for _ in 0..ASKED {
                let asked = Instant::now();
                client.send("QUIET", 0, "one").await;
                times.push(asked.elapsed());
            }
            (begin.elapsed(), times)
        }));
    }
    let (mut took, mut times) = (Vec::new(), Vec::new());
    for one in quiet {
        let (all, each) = one.await.unwrap();
        took.push(all);
        times.extend(each);
    }
    let answers = noisy.end().await;
    assert!(
        answers.iter().all(|bytes| *bytes > 0),
        "one got nothing: {answers:?}"
    );
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    assert!(p99 < Duration::from_secs(5), "they wait {p99:?}");
    // All ask for as much: the slowest gets its part of it.
    let (first, last) = (took.iter().min().unwrap(), took.iter().max().unwrap());
    assert!(*last < *first * 10, "{took:?}");
    rig.stop().await;
}
