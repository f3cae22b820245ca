// SPDX-License-Identifier: Apache-2.0
//! Batch queues that one broker wrote and the other one reads and goes on with, in both directions, after a stop and after
//! a kill: every record at its offset, and no offset twice.

use super::{End, Relay};
use anyhow::{Context as _, ensure};
use std::path::Path;
use std::time::Duration;
use testkit::line::{Line, request};
use testkit::process::eventually;
use testkit::server::{Plan, Program};
use wire::batch::{SubMessage, encode_sub_message};
use wire::code::Code;
use wire::frame::{Encoding, Frame};
use wire::properties;
use wire::record::Record;

const TOPIC: &str = "SwapBatches";
/// Enough for several files of 100 entries.
const BATCHES: usize = 450;
const SEEN_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn run(dir: &Path, programs: [&Program; 2], relay: &mut Relay<'_>) {
    let [reference, barque] = programs;
    for (from, to, names) in [
        (reference, barque, "from reference to barque"),
        (barque, reference, "from barque to reference"),
    ] {
        for (end, way) in [(End::Stopped, "stop"), (End::Killed, "kill")] {
            let place = dir.join(names.replace(' ', "-")).join(way);
            let told = format!("batch queues {names} after a {way}");
            match hand_over(&place, [from, to], end) {
                Ok(()) => relay.told.push(told),
                Err(error) => {
                    relay.failures.push(format!("swap: {told}: {error:#}"));
                    relay.told.push(format!("{told} FAILED"));
                }
            }
        }
    }
}

fn hand_over(dir: &Path, [from, to]: [&Program; 2], end: End) -> anyhow::Result<()> {
    let nameserver = Plan::new(to, &dir.join("names")).start_nameserver()?;
    let start = |program| {
        Plan::new(program, dir)
            .known_to(nameserver.nameserver())
            .set("mapperFileSizeBatchConsumeQueue", "4600")
            .start_broker()
    };
    let broker = start(from)?;
    let mut line = Line::open(broker.broker())?;
    let fields = [
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
        ("attributes", "+queue.type=BatchCQ"),
    ];
    let answer = line.ask(
        request(Code::UPDATE_AND_CREATE_TOPIC, &fields, b""),
        Encoding::Json,
    )?;
    ensure!(answer.code == 0, "make the topic: {:?}", answer.remark);
    let mut next = send(&mut line, 0)?;
    seen(&mut line, next)?;
    drop(line);
    match end {
        End::Stopped => broker.stop()?,
        End::Killed => broker.kill()?,
    }
    let broker = start(to)?;
    let mut line = Line::open(broker.broker())?;
    seen(&mut line, next)?;
    next = send(&mut line, next)?;
    seen(&mut line, next)?;
    broker.stop()?;
    nameserver.stop()?;
    Ok(())
}

/// Sends batches of one to five messages; returns the offset behind the last.
fn send(line: &mut Line, mut next: i64) -> anyhow::Result<i64> {
    for n in 0..BATCHES {
        let answer = line.ask(batch(next, 1 + n % 5), Encoding::Json)?;
        ensure!(answer.code == 0, "send {n}: {} {:?}", answer.code, answer.remark);
        let offset = answer.ext.get("queueOffset");
        let offset: i64 = offset.context("an answer without an offset")?.parse()?;
        ensure!(offset == next, "the batch behind {next} got offset {offset}");
        next += 1 + n as i64 % 5;
    }
    Ok(next)
}

fn batch(from: i64, count: usize) -> Frame {
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
    let properties = format!("UNIQ_KEY\u{1}batch-{from}\u{2}");
    let fields = [
        ("a", "PG"),
        ("b", TOPIC),
        ("c", "TBW102"),
        ("d", "1"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", &properties),
        ("j", "0"),
        ("m", "true"),
    ];
    request(Code::SEND_BATCH_MESSAGE, &fields, &body)
}

/// Waits until all up to `end` is there, each record behind the one before.
fn seen(line: &mut Line, end: i64) -> anyhow::Result<()> {
    let mut offset = 0;
    let all = eventually("all batches", SEEN_WITHIN, || {
        offset = pull(line, offset)?;
        Ok(offset >= end)
    });
    all.with_context(|| format!("offsets up to {offset} of {end} are there"))?;
    ensure!(offset == end, "there is more than was sent: {offset} of {end}");
    let fields = [("topic", TOPIC), ("queueId", "0")];
    let answer = line.ask(request(Code::GET_MAX_OFFSET, &fields, b""), Encoding::Json)?;
    let max = answer.ext.get("offset").context("no offset")?;
    ensure!(*max == *end.to_string(), "the end is {max}, not {end}");
    Ok(())
}

/// Reads once from an offset on; returns where that ended.
fn pull(line: &mut Line, mut offset: i64) -> anyhow::Result<i64> {
    let fields = [
        ("consumerGroup", "CG_swap_batches"),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("queueOffset", &offset.to_string()),
        ("maxMsgNums", "32"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "1"),
        ("expressionType", "TAG"),
    ];
    let answer = line.ask(request(Code::PULL_MESSAGE, &fields, b""), Encoding::Json)?;
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
