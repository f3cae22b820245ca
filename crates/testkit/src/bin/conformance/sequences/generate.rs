// SPDX-License-Identifier: Apache-2.0
//! One row: what it may be about, and which request comes next. The requests themselves are in the files beside this one;
//! a new kind is one more file and one more line in [`Row::next`].

use super::pops::Popped;
use super::topics::{PACED, PACED_LENGTH, TOPICS, make};
use crate::cases::settled;
use crate::dice::Dice;
use std::collections::BTreeSet;
use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) const TAGS: [&str; 6] = ["A", "B", "Aa", "BB", "", "long tag ä"];
const VALUES: [&str; 7] = ["5", "6", "-1", "5.0", "abc", "", "9223372036854775808"];
/// A birth that both sides store.
const BORN_MS: i64 = 1_700_000_000_000;

/// What a row is made with.
pub(super) struct Row {
    pub(super) dice: Dice,
    pub(super) seed: u64,
    pub(super) steps: Vec<Step>,
    /// Messages in the queues of its own topic, if it has one.
    pub(super) own: Option<[usize; 2]>,
    /// Connections that pulls were held on.
    pub(super) held: usize,
    /// Groups that were set to other offsets, and perhaps have not been told yet.
    pub(super) reset: BTreeSet<String>,
    /// Clients may have left groups.
    pub(super) has_left: bool,
    /// Pops whose handles may be used.
    pub(super) popped: Vec<Popped>,
    /// Connections that pops were held on.
    pub(super) held_pops: usize,
    pub(super) has_popped: bool,
    /// The own topic may be readable no more, or not all of it.
    pub(super) own_changed: bool,
}

/// A queue that is asked about, and how many messages it has.
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) queue: String,
    pub(super) length: i64,
}

/// The row of a seed.
pub(super) fn row(seed: u64) -> Case {
    let mut dice = Dice::new(seed);
    let own = dice.once_in(3).then_some([0, 0]);
    let mut row = Row {
        dice,
        seed,
        steps: Vec::new(),
        own,
        held: 0,
        reset: BTreeSet::new(),
        has_left: false,
        popped: Vec::new(),
        held_pops: 0,
        has_popped: false,
        own_changed: false,
    };
    if row.own.is_some() {
        let own = make(&row.own_topic(), (2, 2), 6);
        row.push("own topic", own);
    }
    // The first two groups are always there; what is asked of the others says whether they are.
    for name in ["a", "b"] {
        row.group_settings(name);
    }
    let count = 10 + row.dice.below(21);
    for _ in 0..count {
        row.next();
    }
    Case::new(format!("--seed {seed}"), row.steps)
}

/// A message with a tag and properties by chance.
pub(super) fn send(dice: &mut Dice, topic: &str, queue: usize, tag: &str) -> Step {
    let mut properties = format!(
        "UNIQ_KEY\u{1}7F0000010539000000000000{:08X}\u{2}",
        dice.below(1 << 30)
    );
    for (name, value) in [("TAGS", tag), ("a", dice.one(&VALUES)), ("b", dice.one(&VALUES))] {
        if !value.is_empty() {
            properties.push_str(&format!("{name}\u{1}{value}\u{2}"));
        }
    }
    Step::broker("send", Code::SEND_MESSAGE_V2)
        .field("a", "PG")
        .field("b", topic)
        .field("c", "TBW102")
        .field("d", 4)
        .field("e", queue)
        .field("f", 0)
        .field("g", BORN_MS)
        .field("h", dice.below(3))
        .field("i", properties)
        .field("j", 0)
        .field("k", false)
        .field("m", false)
}

impl Row {
    fn next(&mut self) {
        match self.dice.below(100) {
            0..=24 => self.pull(),
            25..=37 => self.lease(),
            38..=44 => self.commit(),
            45..=52 => self.committed(),
            53..=56 => self.end(),
            57..=60 => self.by_time(),
            61..=66 => self.reset(),
            67..=68 => self.clone_offsets(),
            69..=70 => self.slowest(),
            71..=74 => self.lock(),
            75..=83 => self.heartbeat(),
            84..=86 => self.unregister(),
            87..=90 => self.about_group(),
            91..=92 => self.forbid(),
            93 => {
                let name = self.dice.one(&["a", "b", "c"]);
                self.group_settings(name);
            }
            94 => self.delete_group(),
            95 => self.hang_up(),
            96 => self.own_permission(),
            _ => self.send_own(),
        }
    }

    /// Takes a step as it is said here: whatever the reference answers is right.
    pub(super) fn push(&mut self, what: &str, step: Step) {
        // Many are asked with compact headers, too.
        let step = if self.dice.once_in(5) { step.binary() } else { step };
        self.push_json(what, step);
    }

    /// The same for a code that has no room in a compact header.
    pub(super) fn push_json(&mut self, what: &str, step: Step) {
        let said = format!("request {}, {what}", self.steps.len() + 1);
        let step = step.answers_anything().word_by_word();
        self.steps.push(step.called(said));
    }

    pub(super) fn own_topic(&self) -> String {
        format!("SeqOwn{}", self.seed)
    }

    pub(super) fn group(&self, name: &str) -> String {
        format!("G{}_{name}", self.seed)
    }

    /// A group, rarely one that nobody has heard of, or one that there cannot be.
    pub(super) fn some_group(&mut self) -> String {
        match self.dice.below(20) {
            0..=9 => self.group("a"),
            10..=15 => self.group("b"),
            16..=17 => self.group("c"),
            18 => self.group("d"),
            _ => match self.dice.below(3) {
                0 => "no group".to_owned(),
                1 => format!("G%{}", self.seed),
                _ => format!("CID_RMQ_SYS_{}", self.seed),
            },
        }
    }

    /// A queue, mostly of a few so that requests meet there; rarely one that there is not.
    pub(super) fn place(&mut self) -> Place {
        let mut place = match (self.dice.below(10), self.own) {
            (0..=4, Some(lengths)) => {
                let queue = self.dice.below(2);
                at(
                    &self.own_topic(),
                    queue,
                    lengths.get(queue).copied().unwrap_or_default(),
                )
            }
            (5, _) => at(PACED, 0, PACED_LENGTH),
            (6, _) => {
                let topic = self.dice.below(TOPICS.len());
                self.queue_of(topic)
            }
            _ => self.queue_of(usize::try_from(self.seed % 2).unwrap_or_default()),
        };
        if self.dice.once_in(25) {
            place.queue = self.dice.one(&["2", "4", "-1", "99", "2147483647"]).to_owned();
        }
        if self.dice.once_in(30) {
            place.topic = self
                .dice
                .one(&["SeqNone", "no topic", "%RETRY%SeqNone", "TBW102"])
                .to_owned();
        }
        place
    }

    /// A queue of one of the topics that all rows read.
    fn queue_of(&mut self, topic: usize) -> Place {
        let Some(topic) = TOPICS.get(topic) else {
            return at(PACED, 0, 0);
        };
        let queue = self.dice.below(topic.lengths.len());
        let length = topic.lengths.get(queue).copied().unwrap_or_default();
        at(topic.name, queue, length)
    }

    /// An offset, in and around a queue.
    pub(super) fn offset(&mut self, length: i64) -> String {
        match self.dice.below(16) {
            0..=2 => "0".to_owned(),
            3..=7 => {
                let limit = usize::try_from(length).unwrap_or_default().max(1);
                self.dice.below(limit).to_string()
            }
            8 | 9 => length.to_string(),
            10 => (length - 1).to_string(),
            11 => (length + 1).to_string(),
            12 => (length + 1000).to_string(),
            13 => "-1".to_owned(),
            _ => self
                .dice
                .one(&[
                    "-5",
                    "9223372036854775807",
                    "-9223372036854775808",
                    "4294967296",
                    "007",
                ])
                .to_owned(),
        }
    }

    /// A moment: of the messages of the paced topic, or one far from any.
    pub(super) fn moment(&mut self) -> String {
        match self.dice.below(10) {
            0..=3 => format!("$mark{}", self.dice.below(PACED_LENGTH + 1)),
            4..=7 => format!("$stored{}", self.dice.below(PACED_LENGTH)),
            _ => self
                .dice
                .one(&["0", "-1", "-5", "9999999999999", "9223372036854775807"])
                .to_owned(),
        }
    }

    /// A message into a queue of the row's own topic.
    pub(super) fn send_own(&mut self) {
        let queue = self.dice.below(2);
        self.send_own_to(queue);
    }

    /// A message into this queue of it.
    pub(super) fn send_own_to(&mut self, queue: usize) {
        let Some(mut lengths) = self.own else {
            return self.pull();
        };
        let topic = self.own_topic();
        let tag = self.dice.one(&TAGS);
        let body = format!("row {} request {}", self.seed, self.steps.len());
        let sent = send(&mut self.dice, &topic, queue, tag).body(body);
        self.push("send", sent);
        if let Some(length) = lengths.get_mut(queue) {
            *length += 1;
            let (queue, length) = (i32::try_from(queue), i64::try_from(*length));
            let grown = settled(&topic, queue.unwrap_or_default(), length.unwrap_or_default());
            self.push("the queue has grown", grown);
        }
        self.own = Some(lengths);
    }

    fn own_permission(&mut self) {
        if self.own.is_none() {
            return self.pull();
        }
        self.own_changed = true;
        let perm = self.dice.one(&[6, 6, 2, 4]);
        let read = 1 + self.dice.below(2);
        // Sends must go on.
        let step = make(&self.own_topic(), (read, 2), perm | 2);
        self.push("permission", step);
    }
}

fn at(topic: &str, queue: usize, length: usize) -> Place {
    Place {
        topic: topic.to_owned(),
        queue: queue.to_string(),
        length: i64::try_from(length).unwrap_or_default(),
    }
}
