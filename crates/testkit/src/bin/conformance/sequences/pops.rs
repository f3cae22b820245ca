// SPDX-License-Identifier: Apache-2.0
//! Leases: 200050, 200051, 200151, 200053, 200054 and 200055.
//!
//! Groups that pop do nothing else: what the reference has committed for them follows some seconds later, and with us
//! another offset is committed anyway, as documented. One of them pops in order. No lease ends before the row does, so
//! nothing comes again; and where several queues are asked at once, only one of them has something, because which is
//! first is up to chance.

use super::generate::{Place, Row};
use super::topics::PACED;
use testkit::diff::Step;
use wire::code::Code;

/// What is kept of the answers: when messages were handed out, and by which queue of the revive topic.
const KEPT: [(&str, &str); 12] = [
    ("popA", "revA"),
    ("popB", "revB"),
    ("popC", "revC"),
    ("popD", "revD"),
    ("popE", "revE"),
    ("popF", "revF"),
    ("popG", "revG"),
    ("popH", "revH"),
    ("popI", "revI"),
    ("popJ", "revJ"),
    ("popK", "revK"),
    ("popL", "revL"),
];
const LINES: [&str; 4] = ["pop 1", "pop 2", "pop 3", "pop 4"];
/// In the handles of ordered pops.
const ORDERED: &str = "999";

/// A pop whose answer gave handles, perhaps.
#[derive(Clone)]
pub(super) struct Popped {
    kept: (&'static str, &'static str),
    group: String,
    topic: String,
    queue: String,
    length: i64,
    invisible: &'static str,
    is_ordered: bool,
}

impl Row {
    /// Something about leases.
    pub(super) fn lease(&mut self) {
        match self.dice.below(20) {
            0..=5 => self.pop(),
            6 | 7 => self.pop_in_order(),
            8 => self.pop_of_all(),
            9 => self.held_pop(),
            10..=12 => self.ack(),
            13 | 14 => self.batch_ack(),
            15..=17 => self.change_time(),
            18 => self.notification(),
            _ => self.polling(),
        }
    }

    fn pop_group(&mut self) -> String {
        let name = self.dice.one(&["p", "p", "q"]);
        self.group(name)
    }

    fn asked(&mut self, group: &str, place: &Place) -> Step {
        self.has_popped = true;
        let step = Step::broker("", Code::POP_MESSAGE)
            .field("consumerGroup", group)
            .field("topic", &place.topic)
            .field("queueId", &place.queue)
            .field("maxMsgNums", self.dice.one(&["32", "32", "1", "2", "5"]))
            .field("invisibleTime", "600000")
            .field("pollTime", 0)
            .field("bornTime", 0)
            .field("initMode", self.dice.one(&["0", "0", "0", "1"]));
        answered(step)
    }

    /// Notes that a pop of this place is coming; its fields are kept as these.
    fn note(&mut self, group: &str, place: &Place, step: Step) -> (Step, Option<usize>) {
        let Some(kept) = KEPT.get(self.popped.len()) else {
            return (step, None);
        };
        let invisible = self.dice.one(&["600000", "600000", "3600000", "86400000"]);
        self.popped.push(Popped {
            kept: *kept,
            group: group.to_owned(),
            topic: place.topic.clone(),
            queue: place.queue.clone(),
            length: place.length,
            invisible,
            is_ordered: false,
        });
        let step = step
            .field("invisibleTime", invisible)
            .saving(kept.0, "popTime")
            .saving(kept.1, "reviveQid");
        (step, Some(self.popped.len() - 1))
    }

    fn pop(&mut self) {
        let mut place = self.place();
        if place.queue == "-1" {
            place.queue = "99".to_owned();
        }
        let group = self.pop_group();
        let step = self.asked(&group, &place);
        let step = match self.dice.below(4) {
            0 => step,
            1 => step.field("order", "false"),
            _ => step
                .field("order", "false")
                .field("expType", "TAG")
                .field("exp", "*"),
        };
        let (kind, text) = self.registered();
        let step = match self.dice.below(4) {
            0 => step.field("expType", kind).field("exp", text),
            1 => step.field("exp", text),
            _ => step,
        };
        match self.dice.below(30) {
            0 => {
                let many = self.dice.one(&["0", "33", "2147483647"]);
                return self.push_json("pop of so many", step.field("maxMsgNums", many));
            }
            1 => return self.push_json("pop that is late", step.field("bornTime", 5)),
            2 => {
                return self.push_json(
                    "pop that waits",
                    step.field("bornTime", "$now").field("pollTime", "-1"),
                );
            }
            3 => {
                let name = self
                    .dice
                    .one(&["maxMsgNums", "queueId", "invisibleTime", "initMode", "topic"]);
                // The reference carries on with a null or 0.
                let step = step.field("consumerGroup", self.group("e")).may_answer(1);
                return self.push_json("pop without a field", step.without(name));
            }
            4 => {
                let group = self.dice.one(&["no group", "G%", "CID_RMQ_SYS_x"]);
                return self.push_json(
                    "pop of a group there cannot be",
                    step.field("consumerGroup", group),
                );
            }
            _ => {}
        }
        let (step, _) = self.note(&group, &place, step);
        self.push_json("pop", step);
    }

    /// Of a queue that has messages, so that there is a batch: without one, an acknowledgement in order moves a group of
    /// the reference, and not ours, as documented.
    fn pop_in_order(&mut self) {
        let place = self.full_place();
        let group = self.group("o");
        let step = self
            .asked(&group, &place)
            .field("order", "true")
            .field("initMode", 0);
        let step = match self.dice.below(4) {
            0 => step,
            1 => step.field("expType", "TAG").field("exp", "*"),
            _ => step.field("attemptId", self.dice.one(&["one", "two", ""])),
        };
        let (step, at) = self.note(&group, &place, step);
        if let Some(popped) = at.and_then(|at| self.popped.get_mut(at)) {
            popped.is_ordered = true;
        }
        self.push_json("pop in order", step);
    }

    fn full_place(&mut self) -> Place {
        let of = |topic: &str, queue: &str, length| Place {
            topic: topic.to_owned(),
            queue: queue.to_owned(),
            length,
        };
        match (self.own, self.dice.below(3)) {
            (Some([length, _]), 0 | 1) if length > 0 && !self.own_changed => {
                let length = i64::try_from(length).unwrap_or_default();
                of(&self.own_topic(), "0", length)
            }
            (_, 0) => of("SeqPlain", "2", 40),
            (_, 1) => of("SeqTwo", "1", 33),
            _ => of(PACED, "0", 20),
        }
    }

    /// Of all queues, of which all but one are empty by then.
    fn pop_of_all(&mut self) {
        let Some([first @ 0..32, 0..32]) = self.own else {
            return self.pop();
        };
        let group = self.pop_group();
        let queue = |queue: &str, length: usize| Place {
            topic: self.own_topic(),
            queue: queue.to_owned(),
            length: i64::try_from(length).unwrap_or_default(),
        };
        let (one, all) = (queue("0", first), queue("-1", 0));
        let everything = |row: &mut Row, place: &Place| {
            let step = row.asked(&group, place);
            step.field("maxMsgNums", 32)
        };
        let step = everything(self, &one);
        self.push_json("pop all of a queue", step);
        let step = everything(self, &all);
        self.push_json("pop of any queue", step);
    }

    /// One that waits gets the next message.
    fn held_pop(&mut self) {
        let (Some(_), Some(line)) = (self.own, LINES.get(self.held_pops)) else {
            return self.pop();
        };
        self.held_pops += 1;
        let group = self.pop_group();
        let queue = self.dice.below(2);
        let place = Place {
            topic: self.own_topic(),
            queue: queue.to_string(),
            length: 0,
        };
        // Then it is up to nobody's haste what it gets.
        let rest = self
            .asked(&group, &place)
            .field("maxMsgNums", 32)
            .field("initMode", 0);
        self.push_json("pop all of a queue", rest);
        let step = self
            .asked(&group, &place)
            .field("pollTime", 3000)
            .field("bornTime", "$now");
        self.push_json("pop that may be held", step.on(line).held());
        self.send_own_to(queue);
        self.push_json("its answer", answered(Step::arrives("", line)));
    }

    /// A pop to speak about.
    fn earlier(&mut self) -> Option<Popped> {
        let at = self.dice.below(self.popped.len().max(1));
        self.popped.get(at).cloned()
    }

    /// A handle, good or not.
    fn handle(&mut self, of: &Popped, offset: &str) -> String {
        let Popped {
            kept: (pop, rev),
            invisible,
            queue,
            ..
        } = of;
        let start = self.dice.one(&["0", "0", "1", "7"]);
        if of.is_ordered {
            let time = if self.dice.once_in(6) {
                "5".to_owned()
            } else {
                format!("${pop}")
            };
            return format!("{start} {time} {invisible} {ORDERED} 0 broker-a {queue} {offset}");
        }
        match self.dice.below(12) {
            0 => format!("{start} 5 {invisible} ${rev} 0 broker-a {queue} {offset}"),
            1 => format!("{start} ${pop} 1 ${rev} 0 broker-b {queue} {offset}"),
            2 => format!("{start} ${pop} {invisible} 7 1 broker-a {queue} {offset}"),
            3 => self
                .dice
                .one(&["x", "", "0 1 2 3 0", "0 a 600000 0 0 broker-a 0 0", " ", "0 1"])
                .to_owned(),
            4 => format!("{start} ${pop} {invisible} ${rev} 0 broker-a"),
            _ => format!("{start} ${pop} {invisible} ${rev} 0 broker-a {queue} {offset}"),
        }
    }

    /// What an acknowledgement and a change of the time have in common.
    fn about(&mut self, code: Code, of: &Popped) -> Step {
        let offset = match self.dice.below(4) {
            0 => self.offset(of.length),
            _ => self.dice.one(&["0", "0", "1", "2", "3"]).to_owned(),
        };
        let handle = self.handle(of, &offset);
        let step = Step::broker("", code)
            .field("consumerGroup", &of.group)
            .field("topic", &of.topic)
            .field("queueId", &of.queue)
            .field("extraInfo", handle)
            .field("offset", offset);
        match self.dice.below(40) {
            0 => step.field("topic", "SeqNone"),
            1 => step.field("queueId", self.dice.one(&["-1", "99"])),
            // Numbers that are none are 0 there, when they are looked at first.
            2 => step
                .without(self.dice.one(&["extraInfo", "offset", "queueId"]))
                .may_answer(1),
            3 => step.field("offset", self.dice.one(&["x", ""])).may_answer(1),
            _ => step,
        }
    }

    fn ack(&mut self) {
        let Some(of) = self.earlier() else {
            return self.pop();
        };
        let step = self.about(Code::ACK_MESSAGE, &of);
        self.push_json("ack", step);
    }

    fn batch_ack(&mut self) {
        if self.dice.once_in(12) {
            let step = Step::broker("", Code::BATCH_ACK_MESSAGE);
            let body = self.dice.one(&["", r#"{"acks":[],"brokerName":"broker-a"}"#]);
            return self.push_json("an empty batch", step.body(body).ignoring("remark"));
        }
        let mut acks = Vec::new();
        for _ in 0..1 + self.dice.below(3) {
            let Some(of) = self.earlier() else {
                return self.pop();
            };
            // Bits 0 to 3, 0 and 2, 1, 0 to 15. Without any, the reference stumbles, and nothing of the batch counts.
            let bits = self.dice.one(&["Dw==", "BQ==", "Ag==", "//8="]);
            let time = if self.dice.once_in(6) { "5" } else { of.kept.0 };
            let time = if time == "5" {
                time.to_owned()
            } else {
                format!("${time}")
            };
            let revive = if of.is_ordered {
                ORDERED.to_owned()
            } else {
                format!("${}", of.kept.1)
            };
            let start = self.dice.one(&["0", "0", "1", "-3", "9223372036854775807"]);
            let topic = if self.dice.once_in(12) {
                "SeqNone"
            } else {
                &of.topic
            };
            acks.push(format!(
                r#"{{"b":"{bits}","c":"{}","it":{},"pt":{time},"q":{},"r":"0","rq":{revive},"so":{start},"t":"{topic}"}}"#,
                of.group, of.invisible, of.queue
            ));
        }
        let body = format!(r#"{{"acks":[{}],"brokerName":"broker-a"}}"#, acks.join(","));
        let step = Step::broker("", Code::BATCH_ACK_MESSAGE);
        self.push_json("a batch of acks", step.body(body));
    }

    fn change_time(&mut self) {
        let Some(of) = self.earlier() else {
            return self.pop();
        };
        let time = self.dice.one(&["600000", "3600000", "86400000"]);
        let step = self
            .about(Code::CHANGE_MESSAGE_INVISIBLETIME, &of)
            .field("invisibleTime", time)
            .ignoring("ext.popTime")
            .ignoring("ext.reviveQid")
            // Ours says which offsets there are.
            .ignoring("remark");
        // In order, it is told from the time of the pop on.
        let step = if of.is_ordered {
            step.ignoring("ext.invisibleTime")
        } else {
            step
        };
        self.push_json("another time", step);
    }

    fn notification(&mut self) {
        let place = self.place();
        let name = self.dice.one(&["p", "q", "o"]);
        let step = Step::broker("", Code::NOTIFICATION)
            .field("consumerGroup", self.group(name))
            .field("topic", &place.topic)
            .field("queueId", &place.queue)
            .field("pollTime", 0)
            .field("bornTime", self.dice.one(&["0", "$now"]));
        let step = match (name, self.dice.below(3)) {
            ("o", 0) => step.field("order", "true"),
            ("o", 1) => step.field("order", "true").field("attemptId", "one"),
            (_, 0) => step.field("order", "false"),
            _ => step,
        };
        self.push_json("is there a message", step);
    }

    fn polling(&mut self) {
        let place = self.place();
        let name = self.dice.one(&["p", "q", "o", "e"]);
        let step = Step::broker("", Code::POLLING_INFO)
            .field("consumerGroup", self.group(name))
            .field("topic", &place.topic)
            .field("queueId", &place.queue);
        self.push_json("how many wait", step);
    }
}

fn answered(step: Step) -> Step {
    step.records().ignoring("ext.popTime").ignoring("ext.reviveQid")
}
