// SPDX-License-Identifier: Apache-2.0
//! Timer messages that one broker took and the other one delivers, in both directions, after a stop and after a kill.
//! All must come, those of an orderly end once; what was taken back must not.

use super::ways::{HandOver, Kind, ask, both_ways, pull, send};
use super::{End, Relay};
use anyhow::{Context as _, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use testkit::line::Line;
use testkit::process::eventually;
use testkit::server::Program;
use wire::code::Code;
use wire::record::Record;

const TOPIC: &str = "SwapTimers";
const MESSAGES: usize = 60;
/// The first is due in so many seconds; the other broker is there by then, or delivers late.
const FIRST_SECS: usize = 12;
const DELIVERED_WITHIN: Duration = Duration::from_secs(90);

pub(super) fn run(dir: &Path, programs: [&Program; 2], relay: &mut Relay<'_>) {
    let kind = Kind {
        name: "timers",
        settings: &[("recallMessageEnable", "true")],
        ends: &[End::Stopped, End::Killed],
    };
    both_ways(&kind, dir, programs, relay, hand_over);
}

fn hand_over(at: &HandOver<'_>) -> anyhow::Result<()> {
    let broker = at.start(at.from)?;
    let mut line = Line::open(broker.broker())?;
    let mut handle = None;
    for n in 0..MESSAGES {
        let answer = send(&mut line, TOPIC, &properties(n), b"timed", false)?;
        handle = answer.ext.get("recallHandle").map(|handle| handle.to_string());
    }
    let fields = [
        ("producerGroup", "PG"),
        ("topic", TOPIC),
        ("recallHandle", &*handle.context("there is no handle")?),
    ];
    ask(&mut line, Code::RECALL_MESSAGE, &fields, b"")?;
    drop(line);
    at.leave(broker)?;
    let broker = at.start(at.to)?;
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
    if matches!(at.end, End::Stopped) {
        let twice = keys.values().filter(|count| **count > 1).count();
        ensure!(twice == 0, "{twice} messages came more than once");
    }
    broker.stop()
}

fn properties(n: usize) -> String {
    // The last but one marks the end: it comes after the one that is taken back.
    let seconds = match MESSAGES - n {
        1 => FIRST_SECS + 9,
        2 => FIRST_SECS + 11,
        _ => FIRST_SECS + n % 8,
    };
    format!("UNIQ_KEY\u{1}key-{n}\u{2}TIMER_DELAY_SEC\u{1}{seconds}\u{2}")
}

/// How often each message has come.
fn delivered(line: &mut Line) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut keys = BTreeMap::new();
    let mut offset = 0;
    loop {
        let answer = pull(line, TOPIC, offset)?;
        if answer.code != 0 {
            return Ok(keys);
        }
        for record in Record::decode_all(&answer.body) {
            let record = record?;
            offset = record.queue_offset + 1;
            let key = wire::properties::get(&record.properties, "UNIQ_KEY").unwrap_or_default();
            *keys.entry(key.to_owned()).or_insert(0) += 1;
        }
    }
}
