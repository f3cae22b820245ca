// SPDX-License-Identifier: Apache-2.0
//! Where groups and queues are, and how groups are set elsewhere: 14, 15, 29, 30, 31, 32, 222, 308 and 314.

use super::generate::{Place, Row};
use testkit::diff::Step;
use wire::code::Code;

fn at(code: Code, place: &Place) -> Step {
    Step::broker("", code)
        .field("topic", &place.topic)
        .field("queueId", &place.queue)
}

impl Row {
    pub(super) fn commit(&mut self) {
        let place = self.place();
        let group = self.some_group();
        let to = self.offset(place.length);
        // The reference notes a negative one, and tells nobody but in lists of topics.
        let to = if to.starts_with('-') { "0".to_owned() } else { to };
        let step = at(Code::UPDATE_CONSUMER_OFFSET, &place)
            .field("consumerGroup", group)
            .field("commitOffset", to);
        self.push("commit", step);
    }

    pub(super) fn committed(&mut self) {
        let place = self.place();
        let group = self.some_group();
        let step = at(Code::QUERY_CONSUMER_OFFSET, &place).field("consumerGroup", group);
        let step = match self.dice.below(4) {
            0 => step.field("setZeroIfNotFound", "false"),
            1 => step.field("setZeroIfNotFound", "true"),
            _ => step,
        };
        self.push("how far a group is", step);
    }

    pub(super) fn end(&mut self) {
        let place = self.place();
        let code = self.dice.one(&[30, 30, 31, 32]);
        let step = at(Code(code), &place);
        let step = match (code, self.dice.below(4)) {
            (30, 0) => step.field("committed", "false"),
            (30, 1) => step.field("committed", "true"),
            _ => step,
        };
        self.push("an end of a queue", step);
    }

    pub(super) fn by_time(&mut self) {
        let mut place = self.place();
        if !self.dice.once_in(4) {
            place.topic = super::topics::PACED.to_owned();
            place.queue = "0".to_owned();
        }
        let step = at(Code::SEARCH_OFFSET_BY_TIMESTAMP, &place).field("timestamp", self.moment());
        let step = match self.dice.below(3) {
            0 => step.field("boundaryType", self.dice.one(&["LOWER", "lower", "x"])),
            1 => step.field("boundaryType", self.dice.one(&["UPPER", "upper"])),
            _ => step,
        };
        self.push("an offset by time", step);
    }

    pub(super) fn reset(&mut self) {
        let place = self.place();
        let group = self.some_group();
        self.reset.insert(group.clone());
        let step = Step::broker("", Code::INVOKE_BROKER_TO_RESET_OFFSET)
            .field("topic", &place.topic)
            .field("group", group)
            .field("timestamp", self.moment())
            .field("isForce", self.dice.one(&["true", "false"]));
        // Not to a queue that there is not: we refuse that, as documented.
        let known = match place.topic.as_str() {
            "SeqTwo" => ["0", "1"].contains(&place.queue.as_str()),
            "SeqPlain" => ["0", "1", "2", "3"].contains(&place.queue.as_str()),
            _ => place.queue == "0",
        };
        let step = if known && !self.dice.once_in(3) {
            step.field("queueId", &place.queue)
        } else {
            step
        };
        let step = if self.dice.once_in(3) {
            step
        } else {
            let to = self.offset(place.length);
            step.field("offset", to)
        };
        self.push("reset", step);
    }

    pub(super) fn clone_offsets(&mut self) {
        let place = self.place();
        let from = self.some_group();
        // To a group that there is not: the reference keeps offsets of nobody, a documented difference.
        let to = self.dice.one(&["a", "b"]);
        let to = self.group(to);
        if self.reset.contains(&to) {
            return self.commit(); // the copy would not count with us, as documented
        }
        let step = Step::broker("", Code::CLONE_GROUP_OFFSET)
            .field("srcGroup", from)
            .field("destGroup", to)
            .field("topic", &place.topic)
            .field("offline", self.dice.one(&["true", "false"]));
        self.push("offsets of one group to another", step);
    }

    /// Without `filterGroups`: the reference forgets the offsets of those that are named there. Of the row's own topic,
    /// which no other row's groups read.
    /// Of all groups, and of those that pop it is another offset, as documented.
    pub(super) fn slowest(&mut self) {
        if self.has_popped {
            return self.pull();
        }
        let group = self.some_group();
        let topic = self.own_topic();
        let step = Step::broker("", Code::QUERY_CORRECTION_OFFSET)
            .field("compareGroup", group)
            .field("topic", topic);
        self.push("the smallest offsets", step);
    }
}
