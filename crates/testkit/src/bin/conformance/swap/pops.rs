// SPDX-License-Identifier: Apache-2.0
//! Messages that are with pop consumers of one broker while its store is given to the other one, in both directions, after
//! a stop and after a kill. What was not acknowledged must come again. What was must not, from the reference to barque;
//! the other way the reference reads on at the first message that is not settled, and repeats what is behind it.

use super::{End, Relay};
use anyhow::{Context as _, ensure};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::line::{Line, request};
use testkit::process::eventually;
use testkit::server::{Plan, Program};
use wire::code::Code;
use wire::frame::{Encoding, Frame};
use wire::receipt::Receipt;
use wire::record::Record;

const TOPIC: &str = "SwapPops";
const GROUP: &str = "CG_swap_pops";
const BROKER: &str = "broker-a";
const MESSAGES: usize = 40;
/// Leases that the other broker finds, over soon after it is there.
const SHORT_MS: i64 = 30_000;
/// Leases that do not end.
const LONG_MS: i64 = 600_000;
const AGAIN_WITHIN: Duration = Duration::from_secs(90);
const SAVED_WITHIN: Duration = Duration::from_secs(20);

pub(super) fn run(dir: &Path, programs: [&Program; 2], relay: &mut Relay<'_>) {
    let [reference, barque] = programs;
    for (from, to, names) in [
        (reference, barque, "from reference to barque"),
        (barque, reference, "from barque to reference"),
    ] {
        for (end, way) in [(End::Stopped, "stop"), (End::Killed, "kill")] {
            let place = dir.join(names.replace(' ', "-")).join(way);
            let told = format!("pops {names} after a {way}");
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

#[expect(
    clippy::disallowed_methods,
    reason = "the leases of a real broker end by the real clock"
)]
fn hand_over(dir: &Path, [from, to]: [&Program; 2], end: End) -> anyhow::Result<()> {
    let nameserver = Plan::new(to, &dir.join("names")).start_nameserver()?;
    let start = |program| {
        Plan::new(program, dir)
            .known_to(nameserver.nameserver())
            .set("flushConsumerOffsetInterval", "200")
            .start_broker()
    };
    let broker = start(from)?;
    let mut line = Line::open(broker.broker())?;
    for n in 0..MESSAGES {
        let answer = line.ask(send(n), Encoding::Json)?;
        ensure!(answer.code == 0, "send {n}: {} {:?}", answer.code, answer.remark);
    }
    let first = popped(&mut line, 20, SHORT_MS)?;
    let popped_at = Instant::now();
    let second = popped(&mut line, 10, SHORT_MS)?;
    ensure!(
        (first.len(), second.len()) == (20, 10),
        "{} and {} messages",
        first.len(),
        second.len()
    );
    let mut missing: BTreeSet<usize> = (0..MESSAGES).collect();
    for got in first.iter().step_by(2) {
        acknowledge(&mut line, got)?;
        missing.remove(&got.number);
    }
    drop(line);
    saved(dir, from)?;
    match end {
        End::Stopped => broker.stop()?,
        End::Killed => broker.kill()?,
    }
    let broker = start(to)?;
    let mut line = Line::open(broker.broker())?;
    let is_exact = matches!(to, Program::Barque(_));
    if is_exact {
        // Their consumers go on with the handles they have.
        for got in second.iter().take(3) {
            acknowledge(&mut line, got)?;
            missing.remove(&got.number);
        }
        let late = popped_at.elapsed().as_millis() >= SHORT_MS.unsigned_abs().into();
        ensure!(!late, "the other broker was there too late to say anything");
    }
    let mut seen = BTreeSet::new();
    let mut again = Vec::new();
    let all = eventually("what was not acknowledged", AGAIN_WITHIN, || {
        for got in popped(&mut line, 32, LONG_MS)? {
            acknowledge(&mut line, &got)?;
            if !seen.insert(got.number) || !missing.contains(&got.number) {
                again.push(got.number);
            }
        }
        Ok(seen.is_superset(&missing))
    });
    all.with_context(|| format!("{:?} did not come", missing.difference(&seen)))?;
    if is_exact {
        ensure!(again.is_empty(), "{again:?} came although acknowledged, or twice");
    }
    drop(line);
    saved(dir, to)?;
    broker.stop()?;
    // Back again: all of it is settled.
    let broker = start(from)?;
    let rest = popped(&mut Line::open(broker.broker())?, 32, LONG_MS)?;
    ensure!(rest.is_empty(), "{rest:?} came although all was acknowledged");
    broker.stop()?;
    nameserver.stop()?;
    Ok(())
}

fn send(n: usize) -> Frame {
    let fields = [
        ("a", "PG"),
        ("b", TOPIC),
        ("c", "TBW102"),
        ("d", "1"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", &*format!("UNIQ_KEY\u{1}key-{n}\u{2}")),
        ("j", "0"),
    ];
    request(Code::SEND_MESSAGE_V2, &fields, n.to_string().as_bytes())
}

/// A message with its handle.
#[derive(Debug)]
struct Got {
    number: usize,
    queue_id: i32,
    offset: i64,
    /// Where it is acknowledged.
    topic: String,
    handle: String,
}

fn popped(line: &mut Line, max: usize, invisible_ms: i64) -> anyhow::Result<Vec<Got>> {
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "-1"),
        ("maxMsgNums", &*max.to_string()),
        ("invisibleTime", &*invisible_ms.to_string()),
        ("pollTime", "0"),
        ("bornTime", "0"),
        ("initMode", "0"),
        ("expType", "TAG"),
        ("exp", "*"),
        ("order", "false"),
    ];
    let answer = line.ask(request(Code::POP_MESSAGE, &fields, b""), Encoding::Json)?;
    if answer.code != 0 {
        return Ok(Vec::new());
    }
    let number = |name| -> anyhow::Result<i64> {
        let text = answer.ext.get(name).with_context(|| format!("no {name}"))?;
        Ok(text.parse()?)
    };
    let receipt = Receipt {
        start_offset: 0,
        pop_time: number("popTime")?,
        invisible_time: number("invisibleTime")?,
        revive_qid: i32::try_from(number("reviveQid")?)?,
        broker_name: BROKER.into(),
    };
    let starts = answer.ext.get("startOffsetInfo").unwrap_or_default();
    Record::decode_all(&answer.body)
        .map(|record| {
            let record = record?;
            let queue_id = i32::try_from(record.queue_id)?;
            let ck = wire::properties::get(&record.properties, "POP_CK");
            let (topic, handle) = match ck {
                // It bears the name of the topic, and was in the retry topic.
                Some(handle) => (format!("%RETRY%{GROUP}_{TOPIC}"), handle.to_owned()),
                None => {
                    let begin = format!("0 {queue_id} ");
                    let start = starts.split(';').find_map(|entry| entry.strip_prefix(&begin));
                    let receipt = Receipt {
                        start_offset: start.context("no start offset")?.parse()?,
                        ..receipt.clone()
                    };
                    let handle = receipt.handle(TOPIC, queue_id, record.queue_offset);
                    (TOPIC.to_owned(), handle)
                }
            };
            Ok(Got {
                number: std::str::from_utf8(&record.body)?.parse()?,
                queue_id,
                offset: record.queue_offset,
                topic,
                handle,
            })
        })
        .collect()
}

fn acknowledge(line: &mut Line, got: &Got) -> anyhow::Result<()> {
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", &*got.topic),
        ("queueId", &*got.queue_id.to_string()),
        ("extraInfo", &*got.handle),
        ("offset", &*got.offset.to_string()),
    ];
    let answer = line.ask(request(Code::ACK_MESSAGE, &fields, b""), Encoding::Json)?;
    ensure!(
        answer.code == 0,
        "ack of {got:?}: {} {:?}",
        answer.code,
        answer.remark
    );
    Ok(())
}

/// Waits until the table of offsets says what the program commits for these pops: what a kill may forget is another matter.
fn saved(dir: &Path, program: &Program) -> anyhow::Result<()> {
    let file = dir.join("store/config/consumerOffset.json");
    let before = std::fs::metadata(&file).and_then(|file| file.modified()).ok();
    eventually("the offsets to be saved", SAVED_WITHIN, || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let is_named = text.contains(&format!("\"{TOPIC}@{GROUP}\""));
        let modified = std::fs::metadata(&file).and_then(|file| file.modified()).ok();
        // The reference writes it every time; barque when something has changed.
        Ok(is_named && (modified > before || matches!(program, Program::Barque(_))))
    })
}
