// SPDX-License-Identifier: Apache-2.0
//! A client that minds its own business: it sends and pulls all the while, and notes how long answers take and which are missing.

use net::Channel;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use wire::api::pull::PullMessage;
use wire::api::send::SendMessageV2;
use wire::frame::Frame;

/// So long official clients wait for the answer to a send.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// It asks twice each time.
const EVERY: Duration = Duration::from_millis(10);

/// A message for the first queue of a topic.
pub(super) fn send(topic: &str, body: Vec<u8>) -> Frame {
    let header = SendMessageV2 {
        producer_group: "PG".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 1,
        properties: Some("".into()),
        ..SendMessageV2::default()
    };
    Frame::request(0, &header).with_body(body)
}

/// One look at the first queue of a topic, which says itself what it subscribes to and is not held.
pub(super) fn pull(topic: &str, offset: i64) -> Frame {
    let header = PullMessage {
        consumer_group: "CG_look".into(),
        topic: topic.into(),
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: 4,
        subscription: Some("*".into()),
        sub_version: 1,
        expression_type: Some("TAG".into()),
        ..PullMessage::default()
    };
    Frame::request(0, &header)
}

/// A client with one connection, which it opens again when it has failed.
pub(super) struct Caller {
    broker: SocketAddr,
    open: Option<Channel>,
}

impl Caller {
    pub(super) fn new(broker: SocketAddr) -> Caller {
        Caller { broker, open: None }
    }

    /// The answer, or why there is none in time.
    pub(super) async fn ask(&mut self, frame: Frame) -> Result<Frame, String> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Channel::connect(self.broker, PATIENCE)
                .await
                .map_err(|error| error.to_string())?,
        };
        let answer = open.call(frame, PATIENCE).await;
        let answer = answer.map_err(|error| error.to_string())?;
        self.open = Some(open);
        Ok(answer)
    }
}

/// The client; it goes on until it is stopped.
pub(super) struct NextDoor {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Served>,
}

/// How it was served.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// Milliseconds of what was answered with success.
    times: Vec<f64>,
    /// Refused, not answered in time, or cut off.
    pub(super) failures: usize,
    /// The first of them in words.
    pub(super) words: Option<String>,
}

impl NextDoor {
    pub(super) fn start(broker: SocketAddr, topic: &'static str) -> NextDoor {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(live(broker, topic, Arc::clone(&stop)));
        NextDoor { stop, task }
    }

    pub(super) async fn stop(self) -> anyhow::Result<Served> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.task.await?)
    }
}

async fn live(broker: SocketAddr, topic: &'static str, stop: Arc<AtomicBool>) -> Served {
    let mut served = Served::default();
    let mut caller = Caller::new(broker);
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        for frame in [send(topic, b"small".to_vec()), pull(topic, 0)] {
            let begun = Instant::now();
            match caller.ask(frame).await {
                Ok(answer) if answer.code == 0 => {
                    served.times.push(begun.elapsed().as_secs_f64() * 1000.0);
                }
                Ok(answer) => served.failed(words_of(&answer)),
                Err(error) => served.failed(error),
            }
        }
    }
    served
}

impl Served {
    fn failed(&mut self, words: String) {
        self.failures += 1;
        self.words.get_or_insert(words);
    }

    /// Its figures: the p99 is of what was answered.
    pub(super) fn told(&mut self) -> String {
        self.times.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = (self.times.len() as f64 * part) as usize;
            self.times.get(place).copied().unwrap_or_default()
        };
        let words = self.words.as_deref().map(first_words);
        let words = words.map(|words| format!(" ({words})")).unwrap_or_default();
        format!(
            "next door {} of {} failed{words}, p50 {:.1} ms, p99 {:.1} ms",
            self.failures,
            self.failures + self.times.len(),
            at(0.5),
            at(0.99)
        )
    }
}

/// Code and remark of an answer.
pub(super) fn words_of(answer: &Frame) -> String {
    let remark = answer.remark.as_deref().unwrap_or_default();
    first_words(&format!("{} {remark}", answer.code))
}

/// As much of a remark as fits into a table.
pub(super) fn first_words(remark: &str) -> String {
    let line = remark.lines().next().unwrap_or_default().replace('|', "/");
    line.chars().take(120).collect()
}
