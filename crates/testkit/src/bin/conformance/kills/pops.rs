// SPDX-License-Identifier: Apache-2.0
//! Messages that are handed out for a time. What was acknowledged is never handed out again (under ASYNC_FLUSH: what was
//! acknowledged a second before the kill), what was not comes again until it is.
#![expect(clippy::disallowed_methods, reason = "a real process lives in real time")]

use super::actor::{
    Actor, After, At, Letter, Verdict, body_of, in_the_end, make_group, make_topic, numbers, send,
};
use crate::dice::Dice;
use crate::leases::Leases;
use anyhow::ensure;
use std::time::{Duration, Instant};
use testkit::line::Line;

const LEASES: Leases = Leases {
    topic: "Popped",
    group: "CG_pops",
};
const QUEUES: u32 = 2;
const SENDER: usize = 99;
const LEASE_MS: i64 = 3_000;
/// An acknowledgement that comes later than this is not sent: the lease may be over before it is there.
const IN_TIME: Duration = Duration::from_millis(1_000);
/// Everything has been handed out again by then, when nobody kills the server.
const ALL_WITHIN: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    is_stored: bool,
    /// An acknowledgement was on its way. Without an answer nobody knows whether it arrived.
    may_be_settled: bool,
    /// When it was acknowledged, and in which life.
    settled: Option<(Instant, usize)>,
    /// The kill came too soon behind the acknowledgement for it to be promised.
    may_come_again: bool,
}

impl Sent {
    /// It has to come, or to come again.
    fn is_open(&self) -> bool {
        self.is_stored && !self.may_be_settled
    }
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Pops {
    dice: Dice,
    sent: Vec<Sent>,
    /// What came although it was settled: number, and in which life.
    again: Vec<(usize, usize)>,
    strange: Vec<String>,
}

impl Pops {
    pub(super) fn new(dice: &mut Dice) -> Pops {
        Pops {
            dice: dice.branch(),
            sent: Vec::new(),
            again: Vec::new(),
            strange: Vec::new(),
        }
    }

    fn one(&mut self, line: &mut Line) -> anyhow::Result<()> {
        let number = self.sent.len();
        self.sent.push(Sent::default());
        let properties = format!("UNIQ_KEY\u{1}{number:032X}\u{2}");
        let letter = Letter {
            topic: LEASES.topic,
            queue: self.dice.below(QUEUES as usize) as u32,
            properties: &properties,
            sys_flag: 0,
            is_batch: false,
            body: &body_of(SENDER, number),
        };
        self.sent[number].is_stored = send(line, &letter)?.is_some();
        Ok(())
    }

    /// Pops some, and acknowledges those that chance wants.
    fn pop(&mut self, line: &mut Line, at: At, keeps_some: bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        for got in LEASES.pop(line, 16, LEASE_MS)? {
            let number = match *numbers(&got.body).as_slice() {
                [SENDER, number, ..] if body_of(SENDER, number) == got.body && number < self.sent.len() => {
                    number
                }
                _ => {
                    self.strange.push(format!("{got:?}"));
                    continue;
                }
            };
            if self.sent[number].settled.is_some() {
                self.again.push((number, at.life));
            }
            if (keeps_some && self.dice.once_in(4)) || begun.elapsed() > IN_TIME {
                continue;
            }
            self.sent[number].may_be_settled = true;
            if LEASES.acknowledge(line, &got)?.code == 0 {
                self.sent[number].settled = Some((Instant::now(), at.life));
            }
        }
        Ok(())
    }

    fn open(&self) -> usize {
        self.sent.iter().filter(|sent| sent.is_open()).count()
    }

    fn tell(&mut self, after: &After, verdict: &mut Verdict) {
        for (number, life) in std::mem::take(&mut self.again) {
            let sent = &mut self.sent[number];
            if std::mem::take(&mut sent.may_come_again) {
                verdict.count("leases whose acknowledgement was not recorded yet", 1);
            } else if !after.rules.may_lose() {
                verdict.against("acknowledged, and handed out again", || {
                    format!("{number} in life {life}: {sent:?}")
                });
            }
        }
        for strange in std::mem::take(&mut self.strange) {
            verdict.against("message of nobody", || strange);
        }
    }
}

impl Actor for Pops {
    fn prepare(&mut self, at: At) -> anyhow::Result<()> {
        let mut line = Line::open(at.broker)?;
        let made = make_topic(&mut line, LEASES.topic, QUEUES)?;
        ensure!(made.code == 0, "{:?}", made.remark);
        let made = make_group(&mut line, LEASES.group, 1_000)?;
        ensure!(made.code == 0, "{:?}", made.remark);
        Ok(())
    }

    fn load(&mut self, at: At) -> anyhow::Error {
        let mut go = || -> anyhow::Result<()> {
            let mut line = Line::open(at.broker)?;
            loop {
                for _ in 0..self.dice.below(12) {
                    self.one(&mut line)?;
                }
                self.pop(&mut line, at, true)?;
            }
        };
        go().err().unwrap_or_else(|| anyhow::anyhow!("never"))
    }

    fn look(&mut self, after: &After, verdict: &mut Verdict) -> anyhow::Result<()> {
        self.tell(after, verdict);
        let delay = after.rules.journal_delay();
        let settled = self
            .sent
            .iter_mut()
            .filter_map(|sent| Some((sent.settled?, &mut sent.may_come_again)));
        let mut count = 0;
        for ((when, life), may_come_again) in settled {
            if life + 1 == after.at.life {
                count += 1;
                *may_come_again = after.killed.saturating_duration_since(when) < delay;
            }
        }
        verdict.count("leases acknowledged", count);
        Ok(())
    }

    fn end(&mut self, after: &After, verdict: &mut Verdict) -> anyhow::Result<()> {
        let mut line = Line::open(after.at.broker)?;
        let all = in_the_end(ALL_WITHIN, || {
            self.pop(&mut line, after.at, false)?;
            Ok(self.open() == 0)
        })?;
        self.tell(after, verdict);
        let open = self.open();
        if !all {
            let first = self
                .sent
                .iter()
                .position(|sent| sent.is_stored && sent.settled.is_none());
            verdict.against("lost message", || {
                format!(
                    "{open} of {} were never handed out, or not again; the first: {first:?}",
                    self.sent.len()
                )
            });
        }
        Ok(())
    }
}
