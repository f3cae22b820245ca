// SPDX-License-Identifier: Apache-2.0
//! Timer messages that one broker took and the other one delivers, in both directions, after a stop and after a kill.
//! All must come, those of an orderly end once; what was taken back must not.

use super::{End, Relay};
use anyhow::{Context as _, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use testkit::line::{Line, request};
use testkit::process::eventually;
use testkit::server::{Plan, Program};
use wire::code::Code;
use wire::frame::{Encoding, Frame};
use wire::properties;
use wire::record::Record;

const TOPIC: &str = "SwapTimers";
const MESSAGES: usize = 60;
/// The first is due in so many seconds; the other broker is there by then, or delivers late.
const FIRST_SECS: usize = 12;
const DELIVERED_WITHIN: Duration = Duration::from_secs(90);

pub(super) fn run(dir: &Path, programs: [&Program; 2], relay: &mut Relay<'_>) -> anyhow::Result<()> {
    let [reference, barque] = programs;
    for (from, to, names) in [
        (reference, barque, "from reference to barque"),
        (barque, reference, "from barque to reference"),
    ] {
        for (end, way) in [(End::Stopped, "stop"), (End::Killed, "kill")] {
            let place = dir.join(names.replace(' ', "-")).join(way);
            let told = format!("timers {names} after a {way}");
            match hand_over(&place, [from, to], end) {
                Ok(()) => relay.told.push(told),
                Err(error) => {
                    relay.failures.push(format!("swap: {told}: {error:#}"));
                    relay.told.push(format!("{told} FAILED"));
                }
            }
        }
    }
    Ok(())
}

fn hand_over(dir: &Path, [from, to]: [&Program; 2], end: End) -> anyhow::Result<()> {
    let nameserver = Plan::new(to, &dir.join("names")).start_nameserver()?;
    let start = |program| {
        Plan::new(program, dir)
            .known_to(nameserver.nameserver())
            .set("recallMessageEnable", "true")
            .start_broker()
    };
    let broker = start(from)?;
    let mut line = Line::open(broker.broker())?;
    let mut handle = None;
    for n in 0..MESSAGES {
        let answer = line.ask(send(n), Encoding::Json)?;
        ensure!(answer.code == 0, "send {n}: {} {:?}", answer.code, answer.remark);
        handle = answer.ext.get("recallHandle");
    }
    let fields = [
        ("producerGroup", "PG"),
        ("topic", TOPIC),
        ("recallHandle", &*handle.context("there is no handle")?),
    ];
    let answer = line.ask(request(Code::RECALL_MESSAGE, &fields, b""), Encoding::Json)?;
    ensure!(answer.code == 0, "recall: {} {:?}", answer.code, answer.remark);
    drop(line);
    match end {
        End::Stopped => broker.stop()?,
        End::Killed => broker.kill()?,
    }
    let broker = start(to)?;
    let mut line = Line::open(broker.broker())?;
    let mut keys = BTreeMap::new();
    let all = eventually("all timer messages", DELIVERED_WITHIN, || {
        keys = delivered(&mut line)?;
        Ok(keys.len() >= MESSAGES - 1)
    });
    all.with_context(|| format!("{} of {} came", keys.len(), MESSAGES - 1))?;
    // What was taken back would come a second after the last one.
    let last = format!("key-{}", MESSAGES - 1);
    ensure!(!keys.contains_key(&last), "what was taken back came");
    if matches!(end, End::Stopped) {
        let twice = keys.values().filter(|count| **count > 1).count();
        ensure!(twice == 0, "{twice} messages came more than once");
    }
    broker.stop()?;
    nameserver.stop()?;
    Ok(())
}

fn send(n: usize) -> Frame {
    // The last but one marks the end: it comes after the one that is taken back.
    let seconds = match MESSAGES - n {
        1 => FIRST_SECS + 9,
        2 => FIRST_SECS + 11,
        _ => FIRST_SECS + n % 8,
    };
    let properties = format!("UNIQ_KEY\u{1}key-{n}\u{2}TIMER_DELAY_SEC\u{1}{seconds}\u{2}");
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
    request(Code::SEND_MESSAGE_V2, &fields, b"timed")
}

/// How often each message has come.
fn delivered(line: &mut Line) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut keys = BTreeMap::new();
    let mut offset = 0;
    loop {
        let fields = [
            ("consumerGroup", "CG_swap_timers"),
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
            return Ok(keys);
        }
        for record in Record::decode_all(&answer.body) {
            let record = record?;
            offset = record.queue_offset + 1;
            let key = properties::get(&record.properties, "UNIQ_KEY").unwrap_or_default();
            *keys.entry(key.to_owned()).or_insert(0) += 1;
        }
    }
}
