// SPDX-License-Identifier: Apache-2.0
//! Messages that wait: by delay level, and by timer. Each that was acknowledged comes once, and none before its time; what had
//! been delivered, and was recorded so, before a kill does not come again after it.

use super::actor::{
    Actor, After, At, Letter, Verdict, body_of, in_the_end, make_topic, now_ms, numbers, read, send,
};
use crate::dice::Dice;
use anyhow::ensure;
use std::time::Duration;
use testkit::line::Line;
use wire::record::Record;

const TOPIC: &str = "Later";
const QUEUES: u32 = 2;
/// No sender has this number.
const SENDER: usize = 77;
/// How long after its time one may come when nobody kills the server.
const LATE: Duration = Duration::from_secs(25);
/// What was delivered so long before a kill counts as recorded. The interval of both tables is set to a second; the rest is for
/// the log, which has to be durable before it, and for a machine that does much else.
const RECORDED_MS: i64 = 2_500;

#[derive(Debug, Clone, Copy)]
struct Waiting {
    is_timer: bool,
    is_acknowledged: bool,
    /// No sooner than this.
    due_ms: i64,
    /// When it was delivered, as the broker says, and in which life that was seen.
    delivered: Option<i64>,
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Later {
    dice: Dice,
    sent: Vec<Waiting>,
    read: [i64; QUEUES as usize],
    /// When a server was killed.
    kills_ms: Vec<i64>,
}

impl Later {
    pub(super) fn new(dice: &mut Dice) -> Later {
        Later {
            dice: dice.branch(),
            sent: Vec::new(),
            read: [0; QUEUES as usize],
            kills_ms: Vec::new(),
        }
    }

    fn one(&mut self, line: &mut Line) -> anyhow::Result<()> {
        let number = self.sent.len();
        let now = now_ms();
        let (wait_ms, property) = match self.dice.below(4) {
            0 => (1_000, "DELAY\u{1}1\u{2}".to_owned()),
            1 => (5_000, "DELAY\u{1}2\u{2}".to_owned()),
            2 => {
                let wait = 500 + self.dice.below(6_000) as i64;
                (wait, format!("TIMER_DELAY_MS\u{1}{wait}\u{2}"))
            }
            _ => {
                let wait = 500 + self.dice.below(6_000) as i64;
                (wait, format!("TIMER_DELIVER_MS\u{1}{}\u{2}", now + wait))
            }
        };
        self.sent.push(Waiting {
            is_timer: property.starts_with('T'),
            is_acknowledged: false,
            due_ms: now + wait_ms,
            delivered: None,
        });
        let properties = format!("UNIQ_KEY\u{1}{number:032X}\u{2}{property}");
        let letter = Letter {
            topic: TOPIC,
            queue: self.dice.below(QUEUES as usize) as u32,
            properties: &properties,
            sys_flag: 0,
            is_batch: false,
            body: &body_of(SENDER, number),
        };
        self.sent[number].is_acknowledged = send(line, &letter)?.is_some();
        Ok(())
    }

    /// Reads what is new; how many are missing that should be there by now.
    fn take_new(&mut self, after: &After, verdict: &mut Verdict) -> anyhow::Result<()> {
        let mut line = Line::open(after.at.broker)?;
        for queue in 0..QUEUES {
            let from = &mut self.read[queue as usize];
            let records = read(&mut line, (TOPIC, queue), *from)?;
            *from += records.len() as i64;
            for record in records {
                self.take(&record, verdict);
            }
        }
        Ok(())
    }

    fn take(&mut self, record: &Record, verdict: &mut Verdict) {
        let number = match *numbers(&record.body).as_slice() {
            [SENDER, number, ..] if body_of(SENDER, number) == record.body => number,
            _ => return verdict.against("message of nobody", || format!("{record:?}")),
        };
        let Some(sent) = self.sent.get_mut(number) else {
            return verdict.against("message of nobody", || format!("{record:?}"));
        };
        let stored = record.stored_at;
        let what = if sent.is_timer { "timer" } else { "level" };
        if stored < sent.due_ms {
            verdict.against("came early", || {
                format!("{what} {number}: {} ms", sent.due_ms - stored)
            });
        }
        match sent.delivered {
            None => {
                sent.delivered = Some(stored);
                verdict.count("delayed messages delivered", 1);
            }
            Some(first) => {
                let killed = self
                    .kills_ms
                    .iter()
                    .find(|killed| (first..=stored).contains(killed));
                let words = || {
                    format!("{what} {number}: delivered at {first}, again at {stored}, killed at {killed:?}")
                };
                if let Some(killed) = killed {
                    let age = "ms before the kill: the oldest delivery that was repeated";
                    verdict.note_most(age, killed.abs_diff(first));
                }
                match killed {
                    Some(killed) if killed - first <= RECORDED_MS => {
                        // This one counts now.
                        sent.delivered = Some(stored);
                        verdict.count("delivered again by the next life, not recorded yet", 1);
                    }
                    Some(_) => verdict.against("delivered again although recorded", words),
                    None => verdict.against("delivered twice in one life", words),
                }
            }
        }
    }

    /// How many were acknowledged, should have come, and did not.
    fn overdue(&self, before_ms: i64) -> usize {
        let is_missing =
            |sent: &&Waiting| sent.is_acknowledged && sent.delivered.is_none() && sent.due_ms < before_ms;
        self.sent.iter().filter(is_missing).count()
    }
}

impl Actor for Later {
    fn prepare(&mut self, at: At) -> anyhow::Result<()> {
        let made = make_topic(&mut Line::open(at.broker)?, TOPIC, QUEUES)?;
        ensure!(made.code == 0, "{:?}", made.remark);
        Ok(())
    }

    fn load(&mut self, at: At) -> anyhow::Error {
        let mut go = || -> anyhow::Result<()> {
            let mut line = Line::open(at.broker)?;
            loop {
                self.one(&mut line)?;
            }
        };
        go().err().unwrap_or_else(|| anyhow::anyhow!("never"))
    }

    fn look(&mut self, after: &After, verdict: &mut Verdict) -> anyhow::Result<()> {
        self.kills_ms.push(after.killed_ms);
        self.kills_ms.extend(after.killed_again_ms);
        if after.rules.may_lose() {
            // What was read may be gone, and its offset be used again.
            self.read = [0; QUEUES as usize];
            self.sent.iter_mut().for_each(|sent| sent.delivered = None);
        }
        self.take_new(after, verdict)
    }

    fn end(&mut self, after: &After, verdict: &mut Verdict) -> anyhow::Result<()> {
        let last = self.sent.iter().map(|sent| sent.due_ms).max().unwrap_or(0);
        let wait = Duration::from_millis((last - now_ms()).max(0).unsigned_abs()) + LATE;
        let all = in_the_end(wait, || {
            self.take_new(after, verdict)?;
            Ok(self.overdue(i64::MAX) == 0)
        })?;
        let missing = self.overdue(i64::MAX);
        if !all {
            verdict.count("delayed messages that did not come", missing);
            let first = self
                .sent
                .iter()
                .position(|sent| sent.is_acknowledged && sent.delivered.is_none());
            verdict.against("lost message", || {
                let waiting = first.map(|number| self.sent[number]);
                format!(
                    "{missing} delayed ones of {}, the first is {first:?}: {waiting:?}",
                    self.sent.len()
                )
            });
        }
        Ok(())
    }
}
