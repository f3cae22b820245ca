// SPDX-License-Identifier: Apache-2.0
//! The topics that all rows read, made once and equally on both servers, and never written to again.

use super::generate::{TAGS, send};
use crate::cases::{pull, settled};
use crate::dice::Dice;
use anyhow::{Context as _, bail};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use testkit::diff::{Case, Side, Step, play};
use wire::code::Code;

/// A topic: its name, its permission, how many of its queues may be read, and how many messages each queue has.
pub(super) struct Topic {
    pub(super) name: &'static str,
    perm: i32,
    pub(super) readable: usize,
    pub(super) lengths: &'static [usize],
    body_bytes: usize,
}

pub(super) const TOPICS: [Topic; 6] = [
    Topic {
        name: "SeqPlain",
        perm: 6,
        readable: 4,
        lengths: &[0, 1, 40, 130],
        body_bytes: 20,
    },
    Topic {
        name: "SeqTwo",
        perm: 6,
        readable: 2,
        lengths: &[60, 33],
        body_bytes: 100,
    },
    // More than one pull looks at: 800 entries of 20 bytes, or 256 KiB.
    Topic {
        name: "SeqLong",
        perm: 6,
        readable: 1,
        lengths: &[1700],
        body_bytes: 4,
    },
    Topic {
        name: "SeqBig",
        perm: 6,
        readable: 1,
        lengths: &[60],
        body_bytes: 12_000,
    },
    Topic {
        name: "SeqFewRead",
        perm: 6,
        readable: 1,
        lengths: &[3, 3],
        body_bytes: 10,
    },
    Topic {
        name: "SeqNoRead",
        perm: 2,
        readable: 1,
        lengths: &[5],
        body_bytes: 10,
    },
];

/// Its messages were stored at different times: before each moment `$markN` N messages, and `$storedN` is when
/// message N was.
pub(super) const PACED: &str = "SeqPaced";
pub(super) const PACED_LENGTH: usize = 20;

/// What `$markN` and `$storedN` are on one side.
pub(super) type Moments = Vec<(String, i64)>;

/// Makes everything; a topic counts as made when its last message can be read.
pub(super) fn prepare(sides: &mut [(&'static str, Side)]) -> anyhow::Result<Vec<Moments>> {
    let mut steps = Vec::new();
    for topic in &TOPICS {
        steps.push(make(
            topic.name,
            (topic.readable, topic.lengths.len()),
            topic.perm | 2,
        ));
        let mut dice = Dice::new(topic.name.len() as u64);
        for (queue, length) in topic.lengths.iter().enumerate() {
            let rare = *length > 1000;
            for at in 0..*length {
                // One tag in a long queue is so rare that whole pulls find nothing.
                let tag = if rare && at % 900 != 850 {
                    "A"
                } else {
                    dice.one(&TAGS)
                };
                let body = format!("{queue}/{at} {}", "x".repeat(topic.body_bytes));
                steps.push(send(&mut dice, topic.name, queue, tag).body(body));
            }
            if *length > 0 {
                steps.push(settled(
                    topic.name,
                    i32::try_from(queue)?,
                    i64::try_from(*length)?,
                ));
            }
        }
        steps.push(make(
            topic.name,
            (topic.readable, topic.lengths.len()),
            topic.perm,
        ));
    }
    steps.push(make(PACED, (1, 1), 6));
    let found = play(&Case::new("the topics of the rows", steps), sides);
    if let Some(first) = found.first() {
        bail!("{first}");
    }
    paced(sides)
}

/// Makes or changes a topic with so many queues to read and to write.
pub(super) fn make(topic: &str, (read, write): (usize, usize), perm: i32) -> Step {
    Step::broker(format!("{topic} perm {perm}"), Code::UPDATE_AND_CREATE_TOPIC)
        .field("topic", topic)
        .field("defaultTopic", "TBW102")
        .field("readQueueNums", read)
        .field("writeQueueNums", write)
        .field("perm", perm)
        .field("topicFilterType", "SINGLE_TAG")
        .field("topicSysFlag", 0)
        .field("order", false)
}

/// Message by message, on both sides before the next: the same moments lie between the same messages.
fn paced(sides: &mut [(&'static str, Side)]) -> anyhow::Result<Vec<Moments>> {
    let mut dice = Dice::new(1);
    let mut marks = vec![now_ms()?];
    for at in 0..PACED_LENGTH {
        let sent = send(&mut dice, PACED, 0, "A").body(format!("{at}"));
        while now_ms()? < marks.last().copied().unwrap_or_default() + 1 {
            std::thread::yield_now();
        }
        for (_, side) in &mut *sides {
            side.play(&sent)?;
        }
        marks.push(now_ms()? + 1);
    }
    let mut all = Vec::new();
    for (_, side) in &mut *sides {
        side.play(&settled(PACED, 0, i64::try_from(PACED_LENGTH)?))?;
        let mut moments: Moments = Vec::new();
        for (n, mark) in marks.iter().enumerate() {
            moments.push((format!("mark{n}"), *mark));
        }
        let told = side.play(&pull("all", PACED, 0, 0))?;
        for n in 0..PACED_LENGTH {
            let stored = told.stored_at(n);
            let stored = stored.with_context(|| format!("message {n} of {told:?}"))?;
            moments.push((format!("stored{n}"), stored));
        }
        all.push(moments);
        side.reset();
    }
    Ok(all)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the servers that are compared live in real time"
)]
fn now_ms() -> anyhow::Result<i64> {
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_millis())?)
}
