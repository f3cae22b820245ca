// SPDX-License-Identifier: Apache-2.0
//! A compacted topic that one broker compacted and the other one reads and goes on with, in both directions: of each key
//! the newest message is there, at its offset. Only after a stop: the reference does not promise more.

use super::ways::{HandOver, Kind, both_ways, make_topic, pull, send};
use super::{End, Relay};
use anyhow::{Context as _, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use testkit::line::Line;
use testkit::process::eventually;
use testkit::server::Program;
use wire::properties;
use wire::record::Record;

const TOPIC: &str = "SwapCompacted";
const MESSAGES: i64 = 200;
const KEYS: i64 = 5;
const SEEN_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn run(dir: &Path, programs: [&Program; 2], relay: &mut Relay<'_>) {
    let kind = Kind {
        name: "compacted topics",
        settings: &[
            ("compactionScheduleInternal", "1000"),
            ("compactionMappedFileSize", "20000"),
            ("compactionCqMappedFileSize", "460"),
        ],
        ends: &[End::Stopped],
    };
    both_ways(&kind, dir, programs, relay, hand_over);
}

fn hand_over(at: &HandOver<'_>) -> anyhow::Result<()> {
    let broker = at.start(at.from)?;
    let mut line = Line::open(broker.broker())?;
    make_topic(&mut line, TOPIC, "+cleanup.policy=COMPACTION")?;
    send_all(&mut line, 0)?;
    compacted(&mut line, MESSAGES)?;
    drop(line);
    at.leave(broker)?;

    let broker = at.start(at.to)?;
    let mut line = Line::open(broker.broker())?;
    let kept = read(&mut line)?;
    check(&kept, MESSAGES)?;
    ensure!(kept.len() < MESSAGES as usize / 4, "{} came over", kept.len());
    send_all(&mut line, MESSAGES)?;
    compacted(&mut line, 2 * MESSAGES)?;
    broker.stop()
}

fn send_all(line: &mut Line, from: i64) -> anyhow::Result<()> {
    for n in from..from + MESSAGES {
        let properties = format!("KEYS\u{1}k{}\u{2}", n % KEYS);
        let answer = send(line, TOPIC, &properties, format!("value {n}").as_bytes(), false)?;
        let offset = answer.ext.get("queueOffset");
        let offset: i64 = offset.context("an answer without an offset")?.parse()?;
        ensure!(offset == n, "message {n} got offset {offset}");
    }
    Ok(())
}

/// Waits until most of what is old is gone, and what is newest is there.
fn compacted(line: &mut Line, end: i64) -> anyhow::Result<()> {
    let mut kept = BTreeMap::new();
    let done = eventually("compaction", SEEN_WITHIN, || {
        kept = read(line)?;
        Ok(kept.len() < MESSAGES as usize / 4 && check(&kept, end).is_ok())
    });
    done.with_context(|| format!("{} messages are there", kept.len()))
}

fn check(kept: &BTreeMap<i64, String>, end: i64) -> anyhow::Result<()> {
    for offset in end - KEYS..end {
        ensure!(
            kept.contains_key(&offset),
            "the newest message of a key, at {offset}, is missing"
        );
    }
    Ok(())
}

/// Offset and key of what a consumer from the first offset on gets.
fn read(line: &mut Line) -> anyhow::Result<BTreeMap<i64, String>> {
    let (mut kept, mut offset) = (BTreeMap::new(), 0_i64);
    loop {
        let answer = pull(line, TOPIC, offset)?;
        if answer.code == 0 {
            for record in Record::decode_all(&answer.body) {
                let record = record?;
                let (at, key) = (record.queue_offset, format!("k{}", record.queue_offset % KEYS));
                ensure!(
                    record.body == format!("value {at}")
                        && properties::get(&record.properties, "KEYS") == Some(&key),
                    "something else is at {at}"
                );
                kept.insert(at, key);
            }
        }
        let next = answer
            .ext
            .get("nextBeginOffset")
            .and_then(|next| next.parse().ok());
        match next {
            Some(next) if next > offset => offset = next,
            _ => return Ok(kept),
        }
    }
}
