// SPDX-License-Identifier: Apache-2.0
//! Messages that are with pop consumers of one broker while its store is given to the other one, in both directions, after
//! a stop and after a kill. What was not acknowledged must come again. What was must not, from the reference to barque;
//! the other way the reference reads on at the first message that is not settled, and repeats what is behind it.

use super::ways::{HandOver, Kind, ask, both_ways, send};
use super::{End, Relay};
use anyhow::{Context as _, ensure};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::line::{Line, request};
use testkit::process::eventually;
use testkit::server::Program;
use wire::code::Code;
use wire::frame::Encoding;
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
    let kind = Kind {
        name: "pops",
        settings: &[("flushConsumerOffsetInterval", "200")],
        ends: &[End::Stopped, End::Killed],
    };
    both_ways(&kind, dir, programs, relay, hand_over);
}

#[expect(
    clippy::disallowed_methods,
    reason = "the leases of a real broker end by the real clock"
)]
fn hand_over(at: &HandOver<'_>) -> anyhow::Result<()> {
    let broker = at.start(at.from)?;
    let mut line = Line::open(broker.broker())?;
    for n in 0..MESSAGES {
        let properties = format!("UNIQ_KEY\u{1}key-{n}\u{2}");
        send(&mut line, TOPIC, &properties, n.to_string().as_bytes(), false)?;
    }
    let first = popped(&mut line, 20, SHORT_MS)?;
    let popped_at = Instant::now();
    let second = popped(&mut line, 10, SHORT_MS)?;
    let counts = (first.len(), second.len());
    ensure!(counts == (20, 10), "{counts:?} messages");
    let mut missing: BTreeSet<usize> = (0..MESSAGES).collect();
    for got in first.iter().step_by(2) {
        acknowledge(&mut line, got)?;
        missing.remove(&got.number);
    }
    drop(line);
    saved(&at.dir, at.from)?;
    at.leave(broker)?;
    let broker = at.start(at.to)?;
    let mut line = Line::open(broker.broker())?;
    if matches!(at.to, Program::Barque(_)) {
        // Their consumers go on with the handles they have.
        for got in second.iter().take(3) {
            acknowledge(&mut line, got)?;
            missing.remove(&got.number);
        }
        let late = popped_at.elapsed().as_millis() >= SHORT_MS.unsigned_abs().into();
        ensure!(!late, "the other broker was there too late to say anything");
    }
    come_again(&mut line, &missing, at.to)?;
    drop(line);
    saved(&at.dir, at.to)?;
    broker.stop()?;
    // Back again: all of it is settled.
    let broker = at.start(at.from)?;
    let rest = popped(&mut Line::open(broker.broker())?, 32, LONG_MS)?;
    ensure!(rest.is_empty(), "{rest:?} came although all was acknowledged");
    broker.stop()
}

/// Waits for what was not acknowledged, and acknowledges it. Of barque, nothing else may come.
fn come_again(line: &mut Line, missing: &BTreeSet<usize>, of: &Program) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    let mut again = Vec::new();
    let all = eventually("what was not acknowledged", AGAIN_WITHIN, || {
        for got in popped(line, 32, LONG_MS)? {
            acknowledge(line, &got)?;
            if !seen.insert(got.number) || !missing.contains(&got.number) {
                again.push(got.number);
            }
        }
        Ok(seen.is_superset(missing))
    });
    all.with_context(|| format!("{:?} did not come", missing.difference(&seen)))?;
    let is_exact = matches!(of, Program::Barque(_));
    ensure!(
        again.is_empty() || !is_exact,
        "{again:?} came although acknowledged, or twice"
    );
    Ok(())
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
    ask(line, Code::ACK_MESSAGE, &fields, b"")?;
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
