// SPDX-License-Identifier: Apache-2.0
//! Messages of several senders at once: one by one to any queue, in batches, and in order to one queue each. Every message
//! that was acknowledged is at its offset, once, whole, and behind those of its sender that were acknowledged before it; one that
//! was not acknowledged is there once or not at all; nothing else is there.

use super::actor::{Actor, After, At, Letter, Verdict, body_of, make_topic, must, numbers, read, send};
use crate::dice::Dice;
use anyhow::ensure;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use testkit::line::Line;
use wire::record::Record;

pub(super) const TOPIC: &str = "Sent";
pub(super) const QUEUES: u32 = 4;

/// How a sender sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    AnyQueue,
    Batches,
    OneQueue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No answer came, or an error.
    Tried,
    /// Acknowledged, or seen, at this offset.
    There(i64),
    /// Acknowledged, and lost.
    Gone,
}

#[derive(Debug)]
struct Sender {
    id: usize,
    way: Way,
    dice: Dice,
    /// By number: queue and state.
    sent: Vec<(u32, State)>,
}

/// How far a queue was read.
#[derive(Debug, Default, Clone)]
struct Reading {
    next: i64,
    /// By sender, the number of its last message.
    last: BTreeMap<usize, usize>,
}

/// All senders.
#[derive(Debug)]
pub(super) struct Sends {
    senders: Vec<Sender>,
    readings: Vec<Reading>,
}

impl Sends {
    pub(super) fn new(dice: &mut Dice) -> Sends {
        let ways = [
            Way::AnyQueue,
            Way::AnyQueue,
            Way::Batches,
            Way::OneQueue,
            Way::OneQueue,
        ];
        let senders = ways.into_iter().enumerate().map(|(id, way)| Sender {
            id,
            way,
            dice: dice.branch(),
            sent: Vec::new(),
        });
        Sends {
            senders: senders.collect(),
            readings: vec![Reading::default(); QUEUES as usize],
        }
    }
}

impl Sender {
    fn load(&mut self, at: At) -> anyhow::Error {
        let mut go = || -> anyhow::Result<()> {
            let mut line = Line::open(at.broker)?;
            loop {
                self.one(&mut line)?;
            }
        };
        go().err().unwrap_or_else(|| anyhow::anyhow!("never"))
    }

    fn one(&mut self, line: &mut Line) -> anyhow::Result<()> {
        let queue = match self.way {
            Way::OneQueue => self.id as u32 % QUEUES,
            Way::AnyQueue | Way::Batches => self.dice.below(QUEUES as usize) as u32,
        };
        let count = match self.way {
            Way::Batches => 1 + self.dice.below(20),
            Way::AnyQueue | Way::OneQueue => 1,
        };
        let first = self.sent.len();
        let body = if self.way == Way::Batches {
            batch(self.id, first..first + count)
        } else {
            body_of(self.id, first)
        };
        let properties = unique(self.id, first);
        // Before it is on its way: nobody knows how far it gets.
        self.sent.resize(first + count, (queue, State::Tried));
        let letter = Letter {
            topic: TOPIC,
            queue,
            properties: &properties,
            sys_flag: 0,
            is_batch: self.way == Way::Batches,
            body: &body,
        };
        if let Some((offset, _)) = send(line, &letter)? {
            for (sent, offset) in self.sent[first..].iter_mut().zip(offset..) {
                sent.1 = State::There(offset);
            }
        }
        Ok(())
    }
}

fn unique(sender: usize, number: usize) -> String {
    format!("UNIQ_KEY\u{1}{sender:08X}{number:024X}\u{2}KEYS\u{1}s{sender}n{number}\u{2}WAIT\u{1}true\u{2}")
}

fn batch(sender: usize, numbers: Range<usize>) -> Vec<u8> {
    let mut all = Vec::new();
    for number in numbers {
        let (body, properties) = (body_of(sender, number), unique(sender, number));
        let total = 22 + body.len() + properties.len();
        for number in [total, 0, 0, 0, body.len()] {
            all.extend((number as u32).to_be_bytes());
        }
        all.extend(&body);
        all.extend((properties.len() as u16).to_be_bytes());
        all.extend(properties.as_bytes());
    }
    all
}

impl Actor for Sends {
    fn prepare(&mut self, at: At) -> anyhow::Result<()> {
        let made = make_topic(&mut Line::open(at.broker)?, TOPIC, QUEUES)?;
        ensure!(made.code == 0, "{:?}", made.remark);
        Ok(())
    }

    fn load(&mut self, at: At) -> anyhow::Error {
        let mut ended = Vec::new();
        std::thread::scope(|scope| {
            let threads = self
                .senders
                .iter_mut()
                .map(|sender| scope.spawn(move || sender.load(at)));
            let threads: Vec<_> = threads.collect();
            ended.extend(threads.into_iter().filter_map(|thread| thread.join().ok()));
        });
        ended
            .pop()
            .unwrap_or_else(|| anyhow::anyhow!("the senders have panicked"))
    }

    fn look(&mut self, after: &After, verdict: &mut Verdict) -> anyhow::Result<()> {
        if after.is_whole {
            self.readings = vec![Reading::default(); QUEUES as usize];
        }
        let begin: Vec<i64> = self.readings.iter().map(|reading| reading.next).collect();
        let mut line = Line::open(after.at.broker)?;
        let mut seen = HashSet::new();
        for queue in 0..QUEUES {
            for record in read(&mut line, (TOPIC, queue), begin[queue as usize])? {
                self.take(&record, (queue, &mut seen), verdict);
            }
        }
        self.count_missing(&begin, &seen, after, verdict);
        self.ask_about_keys(&mut line, verdict)
    }
}

impl Sends {
    /// A message that was read.
    fn take(
        &mut self,
        record: &Record,
        (queue, seen): (u32, &mut HashSet<(usize, usize)>),
        verdict: &mut Verdict,
    ) {
        let reading = &mut self.readings[queue as usize];
        let offset = record.queue_offset;
        if offset != reading.next {
            verdict.against("hole in a queue", || {
                format!("{offset} follows on {}", reading.next - 1)
            });
        }
        reading.next = offset + 1;
        let (sender, number) = match *numbers(&record.body).as_slice() {
            [sender, number, ..] => (sender, number),
            _ => return verdict.against("message of nobody", || format!("{record:?}")),
        };
        let place = format!("message {number} of sender {sender} at {offset} of queue {queue}");
        if body_of(sender, number) != record.body {
            return verdict.against("damaged body", || place);
        }
        let attempt = self
            .senders
            .get_mut(sender)
            .and_then(|sender| sender.sent.get_mut(number));
        let Some(sent) = attempt else {
            return verdict.against("message of nobody", || place);
        };
        let before = reading.last.insert(sender, number);
        if before.is_some_and(|before| before >= number) {
            verdict.against("wrong order", || format!("{place} behind {before:?}"));
        }
        let is_second = !seen.insert((sender, number));
        match *sent {
            (_, State::Gone) => verdict.against("came back after it was lost", || place),
            (to, State::There(at)) if (to, at) != (queue, offset) => {
                verdict.against("twice, or elsewhere", || {
                    format!("{place}, acknowledged {at} of {to}")
                });
            }
            _ if is_second => verdict.against("twice, or elsewhere", || place),
            (to, _) if to != queue => verdict.against("twice, or elsewhere", || place),
            _ => *sent = (queue, State::There(offset)),
        }
    }

    fn count_missing(
        &mut self,
        begin: &[i64],
        seen: &HashSet<(usize, usize)>,
        after: &After,
        verdict: &mut Verdict,
    ) {
        for sender in &mut self.senders {
            for (number, sent) in sender.sent.iter_mut().enumerate() {
                let (queue, State::There(offset)) = *sent else {
                    continue;
                };
                if offset < begin[queue as usize] || seen.contains(&(sender.id, number)) {
                    continue;
                }
                sent.1 = State::Gone;
                let end = self.readings[queue as usize].next;
                let words = || {
                    format!(
                        "message {number} of sender {} at {offset} of queue {queue}, which ends at {end}",
                        sender.id
                    )
                };
                if after.rules.may_lose() && offset >= end {
                    verdict.count("messages lost with the power", 1);
                } else {
                    verdict.against("lost message", words);
                }
            }
        }
        verdict.count("messages read and compared", seen.len());
    }

    /// Some of the newest ones are in the index, too.
    fn ask_about_keys(&self, line: &mut Line, verdict: &mut Verdict) -> anyhow::Result<()> {
        for sender in &self.senders {
            let newest = sender.sent.iter().enumerate().rev();
            let Some((number, (_, State::There(offset)))) =
                newest.clone().find(|(_, sent)| matches!(sent.1, State::There(_)))
            else {
                continue;
            };
            let key = format!("s{}n{number}", sender.id);
            let fields = [
                ("topic", TOPIC),
                ("key", &*key),
                ("maxNum", "32"),
                ("beginTimestamp", "0"),
                ("endTimestamp", "9999999999999"),
            ];
            let answer = must(line, wire::code::Code::QUERY_MESSAGE, &fields, b"");
            let found = answer.map(|answer| Record::decode_all(&answer.body).flatten().count());
            match found {
                Ok(1) => verdict.count("keys found", 1),
                other => verdict.against("key not found", || format!("{key} at {offset}: {other:?}")),
            }
        }
        Ok(())
    }
}
