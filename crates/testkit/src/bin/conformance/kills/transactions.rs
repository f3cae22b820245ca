// SPDX-License-Identifier: Apache-2.0
//! Transactions: committed, rolled back, left open, or ended when the broker asks. What was committed is there once, what was
//! rolled back never is, and nobody asks in a later life about one whose end was acknowledged.

use super::actor::{
    Actor, After, At, Letter, Verdict, ask, body_of, in_the_end, make_topic, must, numbers, read, send,
};
use crate::dice::Dice;
use anyhow::{Context as _, ensure};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testkit::line::Line;
use wire::code::Code;
use wire::frame::Frame;
use wire::message_id::decode_offset_id;
use wire::record::sysflag;

const TOPIC: &str = "Paid";
const QUEUES: u32 = 2;
const GROUP: &str = "PG";
const SENDER: usize = 88;
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Answers to questions come within this, when nobody kills the server.
const ASKED_WITHIN: Duration = Duration::from_secs(30);

/// What the producer wants of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Commit,
    Rollback,
    /// Says nothing, and commits when it is asked.
    CommitLater,
    /// Says nothing, also when it is asked.
    Nothing,
}

#[derive(Debug, Clone, Copy)]
struct Half {
    wish: Wish,
    is_stored: bool,
    /// In which life the end was acknowledged.
    ended: Option<usize>,
    was_asked: bool,
    seen: Option<(u32, i64)>,
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Transactions {
    dice: Dice,
    halves: Vec<Half>,
    /// Which one was asked about, in which life.
    questions: Mutex<Vec<(usize, usize)>>,
    read: [i64; QUEUES as usize],
}

impl Transactions {
    pub(super) fn new(dice: &mut Dice) -> Transactions {
        Transactions {
            dice: dice.branch(),
            halves: Vec::new(),
            questions: Mutex::default(),
            read: [0; QUEUES as usize],
        }
    }

    fn one(&mut self, line: &mut Line, at: At) -> anyhow::Result<()> {
        let number = self.halves.len();
        let wish = match self.dice.below(20) {
            0..=8 => Wish::Commit,
            9..=15 => Wish::Rollback,
            _ => wish_of(number),
        };
        // Who is asked knows the wish by the number.
        let wish = if number.is_multiple_of(5) {
            wish_of(number)
        } else {
            wish
        };
        self.halves.push(Half {
            wish,
            is_stored: false,
            ended: None,
            was_asked: false,
            seen: None,
        });
        let properties =
            format!("UNIQ_KEY\u{1}{number:032X}\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{GROUP}\u{2}");
        let letter = Letter {
            topic: TOPIC,
            queue: self.dice.below(QUEUES as usize) as u32,
            properties: &properties,
            sys_flag: sysflag::PREPARED,
            is_batch: false,
            body: &body_of(SENDER, number),
        };
        let Some((offset, id)) = send(line, &letter)? else {
            return Ok(());
        };
        let half = &mut self.halves[number];
        half.is_stored = true;
        let decision = match wish {
            Wish::Commit => sysflag::COMMIT,
            Wish::Rollback => sysflag::ROLLBACK,
            Wish::CommitLater | Wish::Nothing => return Ok(()),
        };
        let (_, pos) = decode_offset_id(&id).context("no offset id")?;
        if end(line, (number, offset, pos), decision)? {
            half.ended = Some(at.life);
        }
        Ok(())
    }
}

/// Of those whose number is divisible by 5.
fn wish_of(number: usize) -> Wish {
    if number.is_multiple_of(10) {
        Wish::CommitLater
    } else {
        Wish::Nothing
    }
}

fn end(line: &mut Line, (number, offset, pos): (usize, i64, i64), decision: i32) -> anyhow::Result<bool> {
    let unique = format!("{number:032X}");
    let fields = [
        ("producerGroup", GROUP),
        ("tranStateTableOffset", &*offset.to_string()),
        ("commitLogOffset", &*pos.to_string()),
        ("commitOrRollback", &*decision.to_string()),
        ("fromTransactionCheck", "false"),
        ("msgId", &*unique),
        ("transactionId", &*unique),
    ];
    Ok(ask(line, Code::END_TRANSACTION, &fields, b"")?.code == 0)
}

/// Is asked about transactions until it is told to stop or the server is gone.
fn listen(at: At, questions: &Mutex<Vec<(usize, usize)>>, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut line = Line::open(at.broker)?;
    let alive = format!(
        "{{\"clientID\":\"kills-{}\",\"consumerDataSet\":[],\"producerDataSet\":[{{\"groupName\":\"{GROUP}\"}}]}}",
        at.life
    );
    must(&mut line, Code::HEART_BEAT, &[], alive.as_bytes())?;
    while !stop.load(Ordering::Relaxed) {
        let Some(question) = line.pushed(LOOK_AGAIN)? else {
            continue;
        };
        if question.code != Code::CHECK_TRANSACTION_STATE.0 {
            continue;
        }
        let number = asked_about(&question)?;
        questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((number, at.life));
        if number.is_multiple_of(10) {
            commit_asked(&mut line, &question)?;
        }
    }
    Ok(())
}

fn asked_about(question: &Frame) -> anyhow::Result<usize> {
    let unique = question.ext.get("transactionId").context("no transaction id")?;
    Ok(usize::from_str_radix(&unique, 16)?)
}

fn commit_asked(line: &mut Line, question: &Frame) -> anyhow::Result<()> {
    let field = |name| question.ext.get(name).with_context(|| format!("no {name}"));
    let fields = [
        ("producerGroup", GROUP),
        ("tranStateTableOffset", &*field("tranStateTableOffset")?),
        ("commitLogOffset", &*field("commitLogOffset")?),
        ("commitOrRollback", "8"),
        ("fromTransactionCheck", "true"),
        ("msgId", &*field("msgId")?),
        ("transactionId", &*field("transactionId")?),
    ];
    ask(line, Code::END_TRANSACTION, &fields, b"")?;
    Ok(())
}

impl Actor for Transactions {
    fn prepare(&mut self, at: At) -> anyhow::Result<()> {
        let made = make_topic(&mut Line::open(at.broker)?, TOPIC, QUEUES)?;
        ensure!(made.code == 0, "{:?}", made.remark);
        Ok(())
    }

    fn load(&mut self, at: At) -> anyhow::Error {
        let questions = std::mem::take(&mut self.questions);
        let stop = AtomicBool::new(false);
        let mut ended = None;
        std::thread::scope(|scope| {
            // It ends with the server, like this one.
            let listening = scope.spawn(|| listen(at, &questions, &stop));
            let mut go = || -> anyhow::Result<()> {
                let mut line = Line::open(at.broker)?;
                loop {
                    self.one(&mut line, at)?;
                }
            };
            ended = go().err();
            stop.store(true, Ordering::Relaxed);
            let _gone_too = listening.join();
        });
        self.questions = questions;
        ended.unwrap_or_else(|| anyhow::anyhow!("never"))
    }

    fn look(&mut self, after: &After, verdict: &mut Verdict) -> anyhow::Result<()> {
        if after.is_whole || after.rules.may_lose() {
            self.read = [0; QUEUES as usize];
            self.halves.iter_mut().for_each(|half| half.seen = None);
        }
        self.take_questions(after, verdict);
        self.take_new(after, verdict)?;
        let is_missing =
            |half: &Half| half.wish == Wish::Commit && half.ended.is_some() && half.seen.is_none();
        for (number, half) in self
            .halves
            .iter_mut()
            .enumerate()
            .filter(|(_, half)| is_missing(half))
        {
            half.ended = None;
            if after.rules.may_lose() {
                verdict.count("commits lost with the power", 1);
            } else {
                verdict.against("lost message", || {
                    format!("transaction {number} was committed: {half:?}")
                });
            }
        }
        Ok(())
    }

    /// What waits for the producer is asked about, and committed then.
    fn end(&mut self, after: &After, verdict: &mut Verdict) -> anyhow::Result<()> {
        let stop = AtomicBool::new(false);
        let questions = std::mem::take(&mut self.questions);
        let mut all = Ok(false);
        std::thread::scope(|scope| {
            let listening = scope.spawn(|| listen(after.at, &questions, &stop));
            all = in_the_end(ASKED_WITHIN, || {
                self.take_new(after, verdict)?;
                Ok(self.open() == 0)
            });
            stop.store(true, Ordering::Relaxed);
            let _told = listening.join();
        });
        self.questions = questions;
        self.take_questions(after, verdict);
        let open = self.open();
        if !all? {
            verdict.against("lost message", || {
                format!("{open} transactions were never asked about")
            });
        }
        Ok(())
    }
}

impl Transactions {
    /// How many are to be committed as soon as somebody asks.
    fn open(&self) -> usize {
        let is_open = |half: &&Half| half.is_stored && half.wish == Wish::CommitLater && half.seen.is_none();
        self.halves.iter().filter(is_open).count()
    }

    fn take_questions(&mut self, after: &After, verdict: &mut Verdict) {
        let questions = std::mem::take(&mut *self.questions.lock().unwrap_or_else(PoisonError::into_inner));
        verdict.count("questions about transactions", questions.len());
        for (number, life) in questions {
            let Some(half) = self.halves.get_mut(number) else {
                verdict.against("message of nobody", || {
                    format!("a question about transaction {number}")
                });
                continue;
            };
            half.was_asked = true;
            // One of the same life may have been on its way when the end came.
            if half.ended.is_some_and(|ended| ended < life) && !after.rules.may_lose() {
                verdict.against("asked again about what was ended", || {
                    format!("transaction {number}: {half:?} in life {life}")
                });
            }
        }
    }

    fn take_new(&mut self, after: &After, verdict: &mut Verdict) -> anyhow::Result<()> {
        let mut line = Line::open(after.at.broker)?;
        for queue in 0..QUEUES {
            for record in read(&mut line, (TOPIC, queue), self.read[queue as usize])? {
                self.read[queue as usize] = record.queue_offset + 1;
                let place = Some((queue, record.queue_offset));
                let number = match *numbers(&record.body).as_slice() {
                    [SENDER, number, ..] if body_of(SENDER, number) == record.body => number,
                    _ => usize::MAX,
                };
                let Some(half) = self.halves.get_mut(number) else {
                    verdict.against("message of nobody", || format!("{record:?}"));
                    continue;
                };
                let words = || format!("transaction {number} at {place:?}: {half:?}");
                match half.wish {
                    Wish::Rollback => verdict.against("rolled back, and delivered", words),
                    Wish::Nothing => verdict.against("open, and delivered", words),
                    _ if half.seen.is_some_and(|seen| Some(seen) != place) => {
                        verdict.against("committed twice", words);
                    }
                    _ => {
                        half.seen = place;
                        verdict.count("transactions committed", 1);
                    }
                }
            }
        }
        Ok(())
    }
}
