// SPDX-License-Identifier: Apache-2.0
//! An end of the process between any two writes. What must hold: each message is handed out again until it was
//! acknowledged, and what was acknowledged before never again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use store::disk::sim::{Loss, SimDisk};
use store::env::Env;
use wire::api::pop::{AckMessage, PopMessage};
use wire::api::send::SendMessageV2;

use crate::life::Life;
use crate::pops::{Got, Popped, pop};
use crate::rig::{SOON, topic};

const MESSAGES: usize = 12;
const INVISIBLE_MS: i64 = 30;

/// Offsets and messages are on disk soon.
const PROMPT: [(&str, &str); 2] = [
    ("flushConsumerOffsetInterval", "20"),
    ("flushIntervalCommitLog", "15"),
];

/// `None` when the machine ended during the start.
pub(crate) async fn start(disk: &Arc<SimDisk>) -> Option<Life> {
    Life::start(Arc::clone(disk) as _, &PROMPT).await
}

async fn produce(life: &Life, sent: &mut BTreeSet<String>) -> Option<()> {
    life.try_ask(&topic("T", 1), "").await?;
    for number in 0..MESSAGES {
        let header = SendMessageV2 {
            producer_group: "PG".into(),
            topic: "T".into(),
            default_topic: "TBW102".into(),
            born_timestamp: 1,
            properties: Some(format!("UNIQ_KEY\u{1}{number}\u{2}").into()),
            ..SendMessageV2::default()
        };
        life.try_ask(&header, &number.to_string()).await?;
        sent.insert(number.to_string());
    }
    Some(())
}

fn ask() -> PopMessage {
    PopMessage {
        max_msg_nums: 4,
        invisible_time: INVISIBLE_MS,
        ..pop("T", -1)
    }
}

/// Pops and acknowledges every other message until nothing is left or the machine ends.
async fn consume(life: &Life, known: &mut Known, every: usize) -> Option<()> {
    for round in 0..40 {
        let popped = Popped::of(&life.try_ask(&ask(), "").await?);
        for (number, got) in popped.messages.iter().enumerate() {
            known.see(got);
            if (number + round) % every == 0 {
                let header = AckMessage {
                    consumer_group: "G".into(),
                    topic: got.topic.as_str().into(),
                    queue_id: got.queue_id,
                    extra_info: got.handle.as_str().into(),
                    offset: got.offset,
                };
                known.tried.insert(got.body.clone());
                let asked_at = std::time::Instant::now();
                life.try_ask(&header, "").await?;
                // One that was late may come again.
                if known.fresh(got) && asked_at.elapsed() < Duration::from_millis(10) {
                    known.acked.insert(got.body.clone());
                }
            }
        }
        if known.acked.len() == MESSAGES {
            return Some(());
        }
        if popped.messages.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Some(())
}

#[derive(Debug, Default)]
struct Known {
    /// Acknowledged in time.
    acked: BTreeSet<String>,
    /// At least tried.
    tried: BTreeSet<String>,
    seen: BTreeMap<String, usize>,
}

impl Known {
    fn see(&mut self, got: &Got) {
        assert!(
            !self.acked.contains(&got.body),
            "message {} comes again after it was acknowledged",
            got.body
        );
        *self.seen.entry(got.body.clone()).or_default() += 1;
    }

    /// Whether a handle was good a moment ago.
    fn fresh(&self, got: &Got) -> bool {
        let popped_at: i64 = got.handle.split(' ').nth(1).unwrap().parse().unwrap();
        let now_ms = Env::real().clock.now_ms();
        now_ms - popped_at < INVISIBLE_MS - 10
    }
}

async fn live(seed: u64, halt: u64) {
    let disk = Arc::new(SimDisk::seeded(seed));
    let mut known = Known::default();
    let mut sent = BTreeSet::new();
    if let Some(life) = start(&disk).await {
        if produce(&life, &mut sent).await.is_some() {
            disk.halt_at(disk.ops() + halt);
            let _ended = consume(&life, &mut known, 2).await;
        }
        life.end().await;
    }
    disk.crash(Loss::Nothing);
    let life = start(&disk).await.expect("the machine works");
    let deadline = std::time::Instant::now() + SOON;
    while known.acked.union(&known.tried).count() < MESSAGES {
        consume(&life, &mut known, 1).await.expect("the machine works");
        assert!(
            std::time::Instant::now() < deadline,
            "lost: {sent:?} without {known:?}"
        );
    }
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_at_any_write_loses_no_message_and_repeats_none_that_was_acknowledged() {
    for (seed, halt) in (1..).zip((0..64).step_by(8)) {
        live(seed, halt).await;
    }
}
