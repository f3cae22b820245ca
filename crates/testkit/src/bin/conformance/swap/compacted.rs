// SPDX-License-Identifier: Apache-2.0
//! A compacted topic that one broker compacted and the other one reads and goes on with, in both directions: of each key
//! the newest message is there, at its offset. Only after a stop: the reference does not promise more.

use super::Relay;
use anyhow::{Context as _, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use testkit::line::{Line, request};
use testkit::process::eventually;
use testkit::server::{Plan, Program};
use wire::code::Code;
use wire::frame::Encoding;
use wire::properties;
use wire::record::Record;

const TOPIC: &str = "SwapCompacted";
const MESSAGES: i64 = 200;
const KEYS: i64 = 5;
const SEEN_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn run(dir: &Path, programs: [&Program; 2], relay: &mut Relay<'_>) {
    let [reference, barque] = programs;
    for (from, to, names) in [
        (reference, barque, "from reference to barque"),
        (barque, reference, "from barque to reference"),
    ] {
        let told = format!("compacted topics {names}");
        match hand_over(&dir.join(names.replace(' ', "-")), [from, to]) {
            Ok(()) => relay.told.push(told),
            Err(error) => {
                relay.failures.push(format!("swap: {told}: {error:#}"));
                relay.told.push(format!("{told} FAILED"));
            }
        }
    }
}

fn hand_over(dir: &Path, [from, to]: [&Program; 2]) -> anyhow::Result<()> {
    let nameserver = Plan::new(to, &dir.join("names")).start_nameserver()?;
    let start = |program| {
        Plan::new(program, dir)
            .known_to(nameserver.nameserver())
            .set("compactionScheduleInternal", "1000")
            .set("compactionMappedFileSize", "20000")
            .set("compactionCqMappedFileSize", "460")
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
        ("attributes", "+cleanup.policy=COMPACTION"),
    ];
    let answer = line.ask(
        request(Code::UPDATE_AND_CREATE_TOPIC, &fields, b""),
        Encoding::Json,
    )?;
    ensure!(answer.code == 0, "make the topic: {:?}", answer.remark);
    send(&mut line, 0)?;
    compacted(&mut line, MESSAGES)?;
    drop(line);
    broker.stop()?;

    let broker = start(to)?;
    let mut line = Line::open(broker.broker())?;
    let kept = read(&mut line)?;
    check(&kept, MESSAGES)?;
    ensure!(kept.len() < MESSAGES as usize / 4, "{} came over", kept.len());
    send(&mut line, MESSAGES)?;
    compacted(&mut line, 2 * MESSAGES)?;
    broker.stop()?;
    nameserver.stop()?;
    Ok(())
}

fn send(line: &mut Line, from: i64) -> anyhow::Result<()> {
    for n in from..from + MESSAGES {
        let properties = format!("KEYS\u{1}k{}\u{2}", n % KEYS);
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
        ];
        let body = format!("value {n}");
        let frame = request(Code::SEND_MESSAGE_V2, &fields, body.as_bytes());
        let answer = line.ask(frame, Encoding::Json)?;
        ensure!(answer.code == 0, "send {n}: {} {:?}", answer.code, answer.remark);
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
        let fields = [
            ("consumerGroup", "CG_swap_compacted"),
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
