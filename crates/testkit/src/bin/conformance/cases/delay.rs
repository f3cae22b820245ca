// SPDX-License-Identifier: Apache-2.0
//! Delay levels, and GET_ALL_DELAY_OFFSET (45). Levels 14 to 18 are only looked at where they wait.

use super::{UNIQUE, batch, batch_body, pull, send, settled};
use testkit::diff::{Case, Step};
use wire::code::Code;

const PARKED: &str = "SCHEDULE_TOPIC_XXXX";

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("a delayed message waits in the queue of its level", parked()),
        Case::new("a delayed message is delivered", delivered()),
        Case::new("levels that are none", no_levels()),
        Case::new("a message for another try is delayed", retry()),
        Case::new("batches are not delayed", batches()),
        Case::new("priorities", priorities()),
    ]
}

fn delayed(what: &str, topic: &str, level: &str, more: &str) -> Step {
    send(what, topic, 0).field(
        "i",
        format!("UNIQ_KEY\u{1}{UNIQUE}\u{2}DELAY\u{1}{level}\u{2}{more}"),
    )
}

/// The queue of a level, from the message on that was sent last.
fn waiting(what: &str, level: i32) -> Step {
    pull(what, PARKED, level - 1, 0)
        .field("queueOffset", "$at")
        .until("code", 0)
}

fn parked() -> Vec<Step> {
    let timers = "TIMER_DELIVER_MS\u{1}1\u{2}TIMER_DELAY_SEC\u{1}1\u{2}TIMER_DELAY_MS\u{1}1\u{2}TAGS\u{1}T\u{2}KEYS\u{1}k\u{2}";
    let forged = "REAL_TOPIC\u{1}OTHER\u{2}REAL_QID\u{1}7\u{2}WAIT\u{1}false\u{2}";
    vec![
        delayed("a level and times", "D1", "14", timers).saving("at", "queueOffset"),
        waiting("without the times", 14),
        delayed("marks of parking that came along", "D1", "15", forged).saving("at", "queueOffset"),
        waiting("they are replaced", 15),
        delayed("the highest level", "D1", "18", "").saving("at", "queueOffset"),
        delayed("above it", "D1", "19", ""),
        delayed("far above it", "D1", "2147483647", ""),
        waiting("all in one queue", 18).until("records", 3),
        delayed("urgent", "D1", "16", "_SYS_MSG_PRIORITY_\u{1}3\u{2}").saving("at", "queueOffset"),
        waiting("it has no priority", 16),
        delayed("any queue", "D1", "17", "")
            .field("e", -1)
            .ignoring("ext.queueId"),
        delayed("a topic that is not there yet", "D2", "17", ""),
        delayed("a bad queue", "D2", "17", "").field("e", 9).answers(29),
    ]
}

fn delivered() -> Vec<Step> {
    vec![
        send("before", "D3", 0),
        delayed("a second", "D3", "1", "TAGS\u{1}T\u{2}KEYS\u{1}k\u{2}")
            .field("h", 5)
            .field("f", 1)
            .field("j", 2),
        delayed("with a plus", "D3", "+1", ""),
        settled("D3", 0, 3),
        pull("both kinds", "D3", 0, 0),
        pull("by its tag", "D3", 0, 0).field("subscription", "T"),
        Step::broker("how far the levels are", Code::GET_ALL_DELAY_OFFSET)
            .until("body.offsetTable.1", "2")
            .ignoring("body.offsetTable.*"),
    ]
}

fn no_levels() -> Vec<Step> {
    vec![
        delayed("nought", "D4", "0", ""),
        delayed("minus one", "D4", "-1", ""),
        delayed("a word", "D4", "soon", "").answers(1).ours(1),
        delayed("a fraction", "D4", "1.5", "").answers(1).ours(1),
        delayed("too large", "D4", "2147483648", "").answers(1).ours(1),
        delayed("a blank", "D4", " 1", "").answers(1).ours(1),
        delayed("nothing", "D4", "", ""),
        settled("D4", 0, 3),
        pull("what is delivered at once", "D4", 0, 0),
    ]
}

fn retry() -> Vec<Step> {
    vec![
        delayed("make the group", "%RETRY%CG_D5", "-1", ""),
        delayed(
            "try again in a second",
            "%RETRY%CG_D5",
            "1",
            "RETRY_TOPIC\u{1}T\u{2}",
        )
        .field("j", 1)
        .field("l", 16),
        delayed("given up", "%RETRY%CG_D5", "1", "")
            .field("j", 17)
            .field("l", 16),
        settled("%DLQ%CG_D5", 0, 1),
        settled("%RETRY%CG_D5", 0, 2),
        pull("delivered", "%RETRY%CG_D5", 0, 0),
        pull("a dead letter is not delayed", "%DLQ%CG_D5", 0, 0),
    ]
}

fn batches() -> Vec<Step> {
    let good = batch_body(&[("one", ""), ("two", "")]);
    let mixed = batch_body(&[("one", ""), ("two", "DELAY\u{1}1\u{2}")]);
    let header = |level: &str| format!("UNIQ_KEY\u{1}{UNIQUE}\u{2}DELAY\u{1}{level}\u{2}");
    vec![
        batch("make the topic", "D6", good.clone()),
        batch("all delayed", "D6", good.clone())
            .field("i", header("1"))
            .answers(13),
        batch("no number", "D6", good.clone())
            .field("i", header("x"))
            .answers(1)
            .ours(1),
        batch("not delayed", "D6", good).field("i", header("0")),
        // The reference stores the delay and forgets it.
        batch("one of them delayed", "D6", mixed).ours(13),
    ]
}

fn priorities() -> Vec<Step> {
    let urgent = |priority: &str, more: &str| {
        send(format!("priority {priority} {more:?}"), "D7", 1).field(
            "i",
            format!("UNIQ_KEY\u{1}{UNIQUE}\u{2}_SYS_MSG_PRIORITY_\u{1}{priority}\u{2}{more}"),
        )
    };
    vec![
        urgent("0", ""),
        urgent("2", ""),
        urgent("9", ""),
        urgent("-1", ""),
        urgent("high", ""),
        urgent("2", "__SHARDINGKEY\u{1}k\u{2}"),
        settled("D7", 1, 3),
        pull("what is kept of a priority", "D7", 0, 0),
        pull("what is kept of none", "D7", 1, 0),
    ]
}
