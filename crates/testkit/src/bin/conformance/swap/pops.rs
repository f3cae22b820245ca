// SPDX-License-Identifier: Apache-2.0
//! Messages that are with pop consumers of one broker while its store is given to the other one, in both directions, after
//! a stop and after a kill. What was not acknowledged must come again. What was must not, from the reference to barque;
//! the other way the reference reads on at the first message that is not settled, and repeats what is behind it.

use super::ways::{HandOver, Kind, both_ways, send};
use super::{End, Relay};
use crate::leases::{Got, Leases};
use anyhow::{Context as _, ensure};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::line::Line;
use testkit::process::eventually;
use testkit::server::Program;

const TOPIC: &str = "SwapPops";
const GROUP: &str = "CG_swap_pops";
const LEASES: Leases = Leases {
    topic: TOPIC,
    group: GROUP,
};
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

/// A message by its number.
#[derive(Debug)]
struct Numbered {
    number: usize,
    got: Got,
}

fn popped(line: &mut Line, max: usize, invisible_ms: i64) -> anyhow::Result<Vec<Numbered>> {
    let popped = LEASES.pop(line, max, invisible_ms)?;
    popped
        .into_iter()
        .map(|got| {
            let number = std::str::from_utf8(&got.body)?.parse()?;
            Ok(Numbered { number, got })
        })
        .collect()
}

fn acknowledge(line: &mut Line, of: &Numbered) -> anyhow::Result<()> {
    let answer = LEASES.acknowledge(line, &of.got)?;
    ensure!(
        answer.code == 0,
        "{}: {} {:?}",
        of.number,
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
