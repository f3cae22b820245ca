// SPDX-License-Identifier: Apache-2.0
//! What a remembered message costs: memory while the broker runs, and time at the next start.
//!
//! A million messages go to a topic without a window, then as many to one with `dedup.window`; the difference of the
//! resident memory is what they take. Then the broker starts again, once with room for one and once with room for all.
//! `cargo run --release -p broker --example dedup_memory`
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a measurement prints its result and looks at clock and process by itself"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Broker, Config, Ports};
use net::{Channel, Outcome, Peer, Service};
use store::Env;
use tokio_util::sync::CancellationToken;
use wire::api::send::{SendBatchMessage, SendMessageV2};
use wire::api::topic::UpdateAndCreateTopic;
use wire::frame::{Encoding, Frame};

const MESSAGES: usize = 1_000_000;
const BATCH: usize = 50;
const WAIT: Duration = Duration::from_secs(30);

struct Deaf;

impl Service for Deaf {
    fn serve(self: &Arc<Self>, _: &Arc<Peer>, _: Frame) -> Outcome {
        Outcome::Silent
    }
}

fn config(root: &Path, remembered: usize) -> Config {
    let mut config = Config::default();
    let root = root.to_string_lossy();
    for (key, value) in [
        ("storePathRootDir", root.as_ref()),
        ("brokerName", "broker-a"),
        ("brokerIP1", "127.0.0.1"),
        ("bindAddress", "127.0.0.1"),
        ("listenPort", "0"),
        ("dedupMessagesMax", &remembered.to_string()),
    ] {
        config.set(key, value).expect("a setting");
    }
    config
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number") * 4096
}

fn batch(from: usize) -> Vec<u8> {
    let mut batch = Vec::new();
    for number in from..from + BATCH {
        let properties = format!("UNIQ_KEY\u{1}7F0000010000ABCD0000{number:012}\u{2}");
        let body = [b'x'; 128];
        let total = 4 * 5 + body.len() + 2 + properties.len();
        batch.extend_from_slice(&(total as u32).to_be_bytes());
        batch.extend_from_slice(&[0; 12]);
        batch.extend_from_slice(&(body.len() as u32).to_be_bytes());
        batch.extend_from_slice(&body);
        batch.extend_from_slice(&(properties.len() as u16).to_be_bytes());
        batch.extend_from_slice(properties.as_bytes());
    }
    batch
}

async fn ask(channel: &Channel, frame: Frame) {
    let reply = channel.call(frame, WAIT).await.expect("an answer");
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
}

async fn fill(channel: &Channel, topic: &str, attributes: &str) {
    let header = UpdateAndCreateTopic {
        topic: topic.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 4,
        write_queue_nums: 4,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        attributes: Some(attributes.into()),
        ..UpdateAndCreateTopic::default()
    };
    ask(channel, Frame::request(0, &header)).await;
    let before = (resident_bytes(), Instant::now());
    for from in (0..MESSAGES).step_by(BATCH) {
        let header = SendBatchMessage(SendMessageV2 {
            producer_group: "PG".into(),
            topic: topic.into(),
            default_topic: "TBW102".into(),
            queue_id: (from / BATCH % 4) as i32,
            batch: Some(true),
            ..SendMessageV2::default()
        });
        ask(channel, Frame::request(0, &header).with_body(batch(from))).await;
    }
    let bytes = resident_bytes().saturating_sub(before.0);
    let micros = before.1.elapsed().as_micros() as usize;
    println!(
        "{topic} {attributes:20} {:6.1} bytes of memory a message, {:5.2} us a message",
        bytes as f64 / MESSAGES as f64,
        micros as f64 / MESSAGES as f64
    );
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = config(dir.path(), MESSAGES);
    let ports = Ports::bind(&mut config).await.expect("ports");
    let addr = ([127, 0, 0, 1], ports.port()).into();
    let broker = Broker::open(config, Env::real()).expect("the broker opens");
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&broker).run(ports, stop.clone()));
    let channel = Channel::connect_with(addr, WAIT, Arc::new(Deaf), Encoding::Json);
    let channel = channel.await.expect("a connection");
    fill(&channel, "warm", "").await;
    fill(&channel, "plain", "").await;
    fill(&channel, "once", "+dedup.window=1h").await;
    drop(channel);
    stop.cancel();
    running.await.expect("a task").expect("a good end");
    broker.close().expect("a good end");
    drop(broker);
    for remembered in [1, MESSAGES, 1, MESSAGES] {
        let start = Instant::now();
        let broker = Broker::open(self::config(dir.path(), remembered), Env::real()).expect("opens");
        println!(
            "start with room for {remembered:7} messages: {:4} ms",
            start.elapsed().as_millis()
        );
        broker.close().expect("a good end");
    }
}
