// SPDX-License-Identifier: Apache-2.0
//! Pulls: 11 and 361, with everything that may stand in one.

use super::generate::{Place, Row};
use testkit::diff::Step;
use wire::code::Code;

const COMMITS: usize = 1;
const MAY_BE_HELD: usize = 2;
const HAS_SUBSCRIPTION: usize = 4;

/// A pull that relies on this must name a line of its own.
const LINES: [&str; 6] = ["held 1", "held 2", "held 3", "held 4", "held 5", "held 6"];

const TAG_EXPRESSIONS: [&str; 12] = [
    "*",
    "*",
    "*",
    "A",
    "B",
    "A || B",
    "Aa||",
    " BB ",
    "",
    "||",
    "nothing",
    "long tag ä",
];
const SQL_EXPRESSIONS: [&str; 8] = [
    "a = 5",
    "a is null",
    "b is not null and a <> 5",
    "TAGS = 'A'",
    "a between 5 and 6",
    "a = 'abc' or b in ('5', 'abc')",
    "not (a > 0)",
    "a = 5 trailing",
];
/// They do not compile, and the reference then delivers everything: a documented difference.
const BROKEN: [&str; 6] = ["a >", "5", "a = = 5", "'", "a between 6 and 5", "a > 'x'"];

impl Row {
    pub(super) fn pull(&mut self) {
        let place = self.place();
        let mut flags = self.dice.below(2) * COMMITS + self.dice.below(2) * 8;
        if !self.dice.once_in(3) {
            flags |= HAS_SUBSCRIPTION;
        }
        if self.dice.once_in(12) && self.held < LINES.len() {
            flags |= MAY_BE_HELD;
        }
        let code = self.dice.one(&[11, 11, 361]);
        let group = self.some_group();
        let commit = self.offset(place.length);
        // Neither counts with us, as documented: a negative offset, and what comes from before a reset.
        if commit.starts_with('-') || self.reset.contains(&group) {
            flags &= !COMMITS;
        }
        let offset = self.offset(place.length);
        let nums = self
            .dice
            // With more than 800 the reference looks at more than that for a match, and we do not, as documented.
            .one(&["32", "32", "32", "1", "3", "0", "-1", "500", "2147483647"]);
        let step = Step::broker("", Code(code))
            .field("consumerGroup", group)
            .field("topic", &place.topic)
            .field("queueId", &place.queue)
            .field("queueOffset", offset)
            .field("maxMsgNums", nums)
            .field("commitOffset", commit)
            .field(
                "suspendTimeoutMillis",
                self.dice.one(&["0", "0", "100", "-1", "1000"]),
            )
            .field(
                "subVersion",
                self.dice.one(&["0", "1", "20", "40", "9999999999999"]),
            )
            .records();
        let (step, flags) = self.expression(step, flags);
        let mut step = step.field("sysFlag", flags);
        if self.dice.once_in(10) {
            step = step.field("maxMsgBytes", self.dice.one(&["0", "-1", "100", "1000000"]));
        }
        if flags & MAY_BE_HELD == 0 && self.dice.once_in(30) {
            step = self.spoiled(step);
        }
        self.send_pull(step, flags, &place);
    }

    /// Without a field that must be there, or with a number that is none: where the reference stumbles over it depends
    /// on what it looks at first, and its remark is an exception. (Without `commitOffset` it never answers.)
    fn spoiled(&mut self, step: Step) -> Step {
        let name = self
            .dice
            .one(&["subVersion", "queueOffset", "maxMsgNums", "queueId"]);
        let step = step.field("consumerGroup", self.group("wild")).may_answer(1);
        match self.dice.one(&["", "x", "1.5", "9223372036854775808"]) {
            "" => step.without(name),
            number => step.field(name, number),
        }
    }

    fn send_pull(&mut self, step: Step, flags: usize, place: &Place) {
        let held = LINES.get(self.held).filter(|_| flags & MAY_BE_HELD != 0);
        let Some(line) = held else {
            return self.push("pull", step);
        };
        self.held += 1;
        let pardoned = flags & HAS_SUBSCRIPTION != 0 && step.to_string().contains("_wild");
        // Whatever it waits for may come before its time is up, which is then long.
        let wakes = place.topic.starts_with("SeqOwn") && self.dice.once_in(2);
        let step = if wakes {
            step.field("suspendTimeoutMillis", 3000)
        } else {
            step
        };
        let told = step.to_string();
        self.push("pull that may be held", step.on(line).held());
        if wakes {
            self.send_own();
        }
        let arrives = Step::arrives("", line).records();
        let arrives = if pardoned { arrives.may_answer(23) } else { arrives };
        self.push(&format!("the answer to{told}"), arrives);
    }

    /// What the pull wants. One that our broker refuses and the reference carries on with is of a group that is used for
    /// nothing else, because what a pull notes about its group would differ from then on.
    fn expression(&mut self, step: Step, flags: usize) -> (Step, usize) {
        let brought = flags & HAS_SUBSCRIPTION != 0;
        let wild = |row: &Row, step: Step| {
            let group = row.group("wild");
            (
                step.field("consumerGroup", group).may_answer(23),
                flags & !COMMITS,
            )
        };
        match self.dice.below(12) {
            0..=6 => {
                let tags = self.dice.one(&TAG_EXPRESSIONS);
                // Not the empty type: that is TAG for one half of the reference, and for the other half it is not.
                let step = step.field("subscription", tags).field("expressionType", "TAG");
                (step, flags)
            }
            7 => {
                let tags = self.dice.one(&TAG_EXPRESSIONS);
                (step.field("subscription", tags), flags)
            }
            8 => (step, flags),
            9 | 10 => {
                let sql = self.dice.one(&SQL_EXPRESSIONS);
                (
                    step.field("subscription", sql).field("expressionType", "SQL92"),
                    flags,
                )
            }
            _ => {
                let kind = self.dice.one(&["SQL92", "SQL92", "sql92", "tag", "XYZ"]);
                let sql = if kind == "SQL92" {
                    self.dice.one(&BROKEN)
                } else {
                    "a = 5"
                };
                let step = step.field("subscription", sql).field("expressionType", kind);
                if brought { wild(self, step) } else { (step, flags) }
            }
        }
    }

    /// An expression for a heartbeat: its type and its text.
    pub(super) fn registered(&mut self) -> (&'static str, &'static str) {
        match self.dice.below(8) {
            0..=4 => ("TAG", self.dice.one(&TAG_EXPRESSIONS)),
            5 | 6 => ("SQL92", self.dice.one(&SQL_EXPRESSIONS)),
            _ => ("SQL92", self.dice.one(&BROKEN)),
        }
    }
}
