// SPDX-License-Identifier: Apache-2.0
//! How far groups have read: one commits as it reads, another one is set by an operator. What was acknowledged is there
//! after a kill: at once under SYNC_FLUSH and for what an operator sets, else when it is a second old. No group is ever
//! further than it said.
#![expect(clippy::disallowed_methods, reason = "a real process lives in real time")]

use super::actor::{Actor, After, At, Verdict, ask, make_group, number, pull};
use super::sends::{QUEUES, TOPIC};
use crate::dice::Dice;
use anyhow::ensure;
use std::time::Instant;
use testkit::line::Line;
use wire::code::Code;

const READER: &str = "CG_reads";
const RESET: &str = "CG_reset";

/// What was said of one queue in this life.
#[derive(Debug, Default)]
struct Said {
    /// What the server said when it had started.
    before: Option<i64>,
    tried: Option<i64>,
    acknowledged: Vec<(Instant, i64)>,
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Offsets {
    dice: Dice,
    reads: Vec<Said>,
    resets: Vec<Said>,
}

impl Offsets {
    pub(super) fn new(dice: &mut Dice) -> Offsets {
        Offsets {
            dice: dice.branch(),
            reads: (0..QUEUES).map(|_| Said::default()).collect(),
            resets: (0..QUEUES).map(|_| Said::default()).collect(),
        }
    }

    fn go(&mut self, at: At) -> anyhow::Result<()> {
        let mut line = Line::open(at.broker)?;
        loop {
            for queue in 0..QUEUES {
                let said = &mut self.reads[queue as usize];
                let from = said.tried.or(said.before).unwrap_or(0);
                let Some((_, next)) = pull(&mut line, (TOPIC, queue), from)? else {
                    continue;
                };
                // As far as the first of them, then to the end: many commits.
                for offset in [from + 1, next] {
                    said.tried = Some(offset);
                    if commit(&mut line, queue, offset)? {
                        said.acknowledged.push((Instant::now(), offset));
                    }
                }
            }
            let queue = self.dice.below(QUEUES as usize);
            let most = self.reads[queue].tried.or(self.reads[queue].before).unwrap_or(0);
            let offset = self.dice.below(most as usize + 1) as i64;
            let said = &mut self.resets[queue];
            said.tried = Some(offset);
            if reset(&mut line, queue, offset)? {
                said.acknowledged.push((Instant::now(), offset));
                said.tried = None;
            }
        }
    }
}

fn commit(line: &mut Line, queue: u32, offset: i64) -> anyhow::Result<bool> {
    let fields = [
        ("consumerGroup", READER),
        ("topic", TOPIC),
        ("queueId", &*queue.to_string()),
        ("commitOffset", &*offset.to_string()),
    ];
    Ok(ask(line, Code::UPDATE_CONSUMER_OFFSET, &fields, b"")?.code == 0)
}

fn reset(line: &mut Line, queue: usize, offset: i64) -> anyhow::Result<bool> {
    let fields = [
        ("topic", TOPIC),
        ("group", RESET),
        ("queueId", &*queue.to_string()),
        ("offset", &*offset.to_string()),
        ("timestamp", "-1"),
        ("isForce", "true"),
    ];
    Ok(ask(line, Code::INVOKE_BROKER_TO_RESET_OFFSET, &fields, b"")?.code == 0)
}

fn committed(line: &mut Line, group: &str, queue: usize) -> anyhow::Result<Option<i64>> {
    let fields = [
        ("consumerGroup", group),
        ("topic", TOPIC),
        ("queueId", &*queue.to_string()),
        ("setZeroIfNotFound", "false"),
    ];
    let answer = ask(line, Code::QUERY_CONSUMER_OFFSET, &fields, b"")?;
    (answer.code == 0).then(|| number(&answer, "offset")).transpose()
}

impl Actor for Offsets {
    fn prepare(&mut self, at: At) -> anyhow::Result<()> {
        let mut line = Line::open(at.broker)?;
        for group in [READER, RESET] {
            let made = make_group(&mut line, group, 16)?;
            ensure!(made.code == 0, "{:?}", made.remark);
        }
        Ok(())
    }

    fn load(&mut self, at: At) -> anyhow::Error {
        self.go(at).err().unwrap_or_else(|| anyhow::anyhow!("never"))
    }

    fn look(&mut self, after: &After, verdict: &mut Verdict) -> anyhow::Result<()> {
        let mut line = Line::open(after.at.broker)?;
        for (queue, said) in self.reads.iter_mut().enumerate() {
            let found = committed(&mut line, READER, queue)?;
            let delay = after.rules.journal_delay();
            let kept = |(at, _): &&(Instant, i64)| after.killed.saturating_duration_since(*at) >= delay;
            let promised = said
                .acknowledged
                .iter()
                .rev()
                .find(kept)
                .map(|(_, offset)| *offset);
            let words = || {
                format!(
                    "queue {queue}: {found:?}, promised {promised:?}, tried {:?}, before {:?}",
                    said.tried, said.before
                )
            };
            if found < promised.max(said.before) && !after.rules.may_lose() {
                verdict.against("offset rewound", words);
            }
            if found > said.tried.max(said.before) {
                verdict.against("offset ahead", words);
            }
            if let Some((_, last)) = said.acknowledged.last() {
                let behind = last - found.unwrap_or(0);
                let lost = said.acknowledged.iter().find(|(_, offset)| Some(*offset) > found);
                if let Some((at, _)) = lost {
                    let age = after.killed.saturating_duration_since(*at).as_millis();
                    verdict.note_most("ms before the kill: the oldest commit that was lost", age as u64);
                }
                verdict.count("offsets looked at", 1);
                verdict.count(
                    "offsets behind the last commit, within what is promised",
                    usize::from(behind > 0),
                );
            }
            *said = Said {
                before: found,
                ..Said::default()
            };
        }
        for (queue, said) in self.resets.iter_mut().enumerate() {
            let found = committed(&mut line, RESET, queue)?;
            let last = said
                .acknowledged
                .last()
                .map(|(_, offset)| *offset)
                .or(said.before);
            let is_told = found == last || (said.tried.is_some() && found == said.tried);
            if !is_told && after.rules.may_lose() {
                // The journal is not synced under ASYNC_FLUSH.
                verdict.count("resets lost with the power", 1);
            } else if !is_told {
                verdict.against("reset undone", || {
                    format!("queue {queue}: {found:?} instead of {last:?} or {:?}", said.tried)
                });
            }
            verdict.count("resets looked at", usize::from(!said.acknowledged.is_empty()));
            *said = Said {
                before: found,
                ..Said::default()
            };
        }
        Ok(())
    }
}
