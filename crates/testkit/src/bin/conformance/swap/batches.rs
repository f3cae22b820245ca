// SPDX-License-Identifier: Apache-2.0
//! Batch queues that one broker wrote and the other one reads and goes on with, in both directions, after a stop and after
//! a kill: every record at its offset, and no offset twice.

use super::ways::{HandOver, Kind, ask, both_ways, make_topic, pull, send};
use super::{End, Relay};
use anyhow::{Context as _, ensure};
use std::path::Path;
use std::time::Duration;
use testkit::line::Line;
use testkit::process::eventually;
use testkit::server::Program;
use wire::batch::{SubMessage, encode_sub_message};
use wire::code::Code;
use wire::properties;
use wire::record::Record;

const TOPIC: &str = "SwapBatches";
/// Enough for several files of 100 entries.
const BATCHES: usize = 450;
const SEEN_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn run(dir: &Path, programs: [&Program; 2], relay: &mut Relay<'_>) {
    let kind = Kind {
        name: "batch queues",
        settings: &[("mapperFileSizeBatchConsumeQueue", "4600")],
        ends: &[End::Stopped, End::Killed],
    };
    both_ways(&kind, dir, programs, relay, hand_over);
}

fn hand_over(at: &HandOver<'_>) -> anyhow::Result<()> {
    let broker = at.start(at.from)?;
    let mut line = Line::open(broker.broker())?;
    make_topic(&mut line, TOPIC, "+queue.type=BatchCQ")?;
    let mut next = send_batches(&mut line, 0)?;
    seen(&mut line, next)?;
    drop(line);
    at.leave(broker)?;
    let broker = at.start(at.to)?;
    let mut line = Line::open(broker.broker())?;
    seen(&mut line, next)?;
    next = send_batches(&mut line, next)?;
    seen(&mut line, next)?;
    broker.stop()
}

/// Sends batches of one to five messages; returns the offset behind the last.
fn send_batches(line: &mut Line, mut next: i64) -> anyhow::Result<i64> {
    for n in 0..BATCHES {
        let properties = format!("UNIQ_KEY\u{1}batch-{next}\u{2}");
        let answer = send(line, TOPIC, &properties, &batch(next, 1 + n % 5), true)?;
        let offset = answer.ext.get("queueOffset");
        let offset: i64 = offset.context("an answer without an offset")?.parse()?;
        ensure!(offset == next, "the batch behind {next} got offset {offset}");
        next += 1 + n as i64 % 5;
    }
    Ok(next)
}

fn batch(from: i64, count: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for n in 0..count as i64 {
        let text = format!("message {}", from + n);
        let message = SubMessage {
            flag: 0,
            body: text.as_bytes(),
            properties: b"",
        };
        encode_sub_message(&mut body, &message);
    }
    body
}

/// Waits until all up to `end` is there, each record behind the one before.
fn seen(line: &mut Line, end: i64) -> anyhow::Result<()> {
    let mut offset = 0;
    let all = eventually("all batches", SEEN_WITHIN, || {
        offset = read(line, offset)?;
        Ok(offset >= end)
    });
    all.with_context(|| format!("offsets up to {offset} of {end} are there"))?;
    ensure!(offset == end, "there is more than was sent: {offset} of {end}");
    let fields = [("topic", TOPIC), ("queueId", "0")];
    let answer = ask(line, Code::GET_MAX_OFFSET, &fields, b"")?;
    let max = answer.ext.get("offset").context("no offset")?;
    ensure!(*max == *end.to_string(), "the end is {max}, not {end}");
    Ok(())
}

/// Reads once from an offset on; returns where that ended.
fn read(line: &mut Line, mut offset: i64) -> anyhow::Result<i64> {
    let answer = pull(line, TOPIC, offset)?;
    if answer.code != 0 {
        return Ok(offset);
    }
    for record in Record::decode_all(&answer.body) {
        let record = record?;
        let at = record.queue_offset;
        ensure!(at == offset, "behind offset {offset} comes {at}");
        let key = properties::get(&record.properties, "UNIQ_KEY").unwrap_or_default();
        ensure!(key == format!("batch-{at}"), "at offset {at} is {key}");
        let count: i64 = properties::get(&record.properties, "INNER_NUM")
            .context("a record without its count")?
            .parse()?;
        offset += count;
    }
    Ok(offset)
}
