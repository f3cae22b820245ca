// SPDX-License-Identifier: Apache-2.0
//! Timer messages: what a send may ask for, what is parked and what is delivered, RECALL_MESSAGE (370),
//! GET_TIMER_CHECK_POINT (60), GET_TIMER_METRICS (61).

use super::{UNIQUE, pull, send, settled};
use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("a timer message is delivered after its time", delivered()),
        Case::new("what a timer message may ask for", asked()),
        Case::new("what is due is delivered at once", due()),
        Case::new("a timer message is taken back", recalled()),
        Case::new("handles that take nothing back", bad_handles()),
        Case::new("timers in numbers", numbers()),
    ]
}

fn timed(what: &str, topic: &str, properties: &str) -> Step {
    let unique = format!("UNIQ_KEY\u{1}{UNIQUE}\u{2}");
    send(what, topic, 0).field("i", format!("{unique}{properties}"))
}

/// A send that is parked: its handle holds a time, its place in the topic of the timers depends on what was there before.
fn parked(what: &str, topic: &str, properties: &str) -> Step {
    timed(what, topic, properties)
        .ignoring("ext.recallHandle")
        .ignoring("ext.queueOffset")
}

/// A pull of delivered copies, whose times differ.
fn copies(what: &str, topic: &str) -> Step {
    pull(what, topic, 0, 0)
        .ignoring("*.property.TIMER_OUT_MS")
        .ignoring("*.property.TIMER_ENQUEUE_MS")
        .ignoring("*.property.TIMER_DEQUEUE_MS")
        .ignoring("*.property.TIMER_DELIVER_MS")
}

fn delivered() -> Vec<Step> {
    vec![
        send("an ordinary message before", "TM1", 0),
        parked("after milliseconds", "TM1", "TIMER_DELAY_MS\u{1}1500\u{2}"),
        settled("TM1", 0, 2),
        parked(
            "after seconds",
            "TM1",
            "TIMER_DELAY_SEC\u{1}2\u{2}KEYS\u{1}k\u{2}TAGS\u{1}A\u{2}",
        ),
        settled("TM1", 0, 3),
        parked("to another queue", "TM1", "TIMER_DELAY_SEC\u{1}1\u{2}").field("e", 3),
        settled("TM1", 3, 1),
        copies("the copies", "TM1"),
        pull("of another queue", "TM1", 3, 0)
            .ignoring("*.property.TIMER_OUT_MS")
            .ignoring("*.property.TIMER_ENQUEUE_MS")
            .ignoring("*.property.TIMER_DEQUEUE_MS"),
    ]
}

fn asked() -> Vec<Step> {
    vec![
        timed("years away", "TM2", "TIMER_DELIVER_MS\u{1}9999999999999\u{2}").answers(13),
        timed("more than three days", "TM2", "TIMER_DELAY_SEC\u{1}259201\u{2}").answers(13),
        parked("less than three days", "TM2", "TIMER_DELAY_SEC\u{1}259200\u{2}"),
        timed("no number", "TM2", "TIMER_DELAY_SEC\u{1}soon\u{2}").answers(13),
        timed("a broken number", "TM2", "TIMER_DELAY_MS\u{1}1.5\u{2}").answers(13),
        timed(
            "no number among others",
            "TM2",
            "TIMER_DELAY_SEC\u{1}x\u{2}TIMER_DELAY_MS\u{1}5\u{2}",
        )
        .answers(13),
        timed(
            "takes back what is over",
            "TM2",
            "TIMER_DELIVER_MS\u{1}5\u{2}TIMER_DEL_UNIQKEY\u{1}x\u{2}",
        )
        .answers(13),
        parked("the compact header", "TM2", "TIMER_DELAY_SEC\u{1}3600\u{2}").binary(),
        timed(
            "a level wins",
            "TM2",
            "TIMER_DELAY_SEC\u{1}x\u{2}DELAY\u{1}18\u{2}",
        )
        .ignoring("ext.queueOffset"),
        timed(
            "a level of none does not",
            "TM2",
            "TIMER_DELAY_SEC\u{1}x\u{2}DELAY\u{1}0\u{2}",
        )
        .answers(13),
    ]
}

fn due() -> Vec<Step> {
    vec![
        timed("long ago", "TM3", "TIMER_DELIVER_MS\u{1}1\u{2}"),
        timed("now", "TM3", "TIMER_DELAY_MS\u{1}0\u{2}"),
        timed("before now", "TM3", "TIMER_DELAY_SEC\u{1}-5\u{2}"),
        timed(
            "with a tick already",
            "TM3",
            "TIMER_DELAY_SEC\u{1}60\u{2}TIMER_OUT_MS\u{1}5\u{2}",
        ),
        settled("TM3", 0, 4),
        pull("stored as they are", "TM3", 0, 0),
    ]
}

fn allow(allowed: bool) -> Step {
    Step::broker("allow recalls, or not", Code::UPDATE_BROKER_CONFIG)
        // Ours says what becomes of it.
        .ignoring("remark")
        .body(format!("recallMessageEnable={allowed}"))
}

fn recall(what: &str, topic: &str, handle: &str) -> Step {
    Step::broker(what, Code::RECALL_MESSAGE)
        .field("producerGroup", "PG")
        .field("topic", topic)
        .field("recallHandle", handle)
}

fn recalled() -> Vec<Step> {
    vec![
        allow(false),
        parked("to be taken back", "TM4", "TIMER_DELAY_SEC\u{1}4\u{2}").saving("handle", "recallHandle"),
        send("another one", "TM4", 0)
            .field(
                "i",
                "UNIQ_KEY\u{1}7F0000010539000000000000000000AC\u{2}TIMER_DELAY_SEC\u{1}5\u{2}",
            )
            .ignoring("ext.recallHandle")
            .ignoring("ext.queueOffset"),
        recall("forbidden", "TM4", "$handle").answers(16),
        allow(true),
        recall("taken back", "TM4", "$handle"),
        settled("TM4", 0, 1),
        copies("only the other one", "TM4"),
        recall("too late", "TM4", "$handle").answers(604),
        allow(false),
    ]
}

fn bad_handles() -> Vec<Step> {
    vec![
        allow(true),
        send("make the topic", "TM5", 0),
        recall("empty", "TM5", "").answers(604),
        recall("no base 64", "TM5", "%%%").answers(604),
        recall("another version", "TM5", "djIgYSBiIDEgYw==").answers(604),
        // v1 TM6 broker-a 9999999999999 U
        recall(
            "of another topic",
            "TM5",
            "djEgVE02IGJyb2tlci1hIDk5OTk5OTk5OTk5OTkgVQ==",
        )
        .answers(604),
        // v1 TM5 nobody 9999999999999 U
        recall(
            "of another broker",
            "TM5",
            "djEgVE01IG5vYm9keSA5OTk5OTk5OTk5OTk5IFU=",
        )
        .answers(604),
        // v1 TM5 broker-a 9999999999999 U
        recall(
            "years away",
            "TM5",
            "djEgVE01IGJyb2tlci1hIDk5OTk5OTk5OTk5OTkgVQ==",
        )
        .answers(604),
        recall(
            "no such topic",
            "TM-none",
            "djEgVE01IGJyb2tlci1hIDk5OTk5OTk5OTk5OTkgVQ==",
        )
        .answers(17),
        allow(false),
    ]
}

fn numbers() -> Vec<Step> {
    vec![
        parked("one that waits", "TM7", "TIMER_DELAY_SEC\u{1}3600\u{2}"),
        parked("another", "TM7", "TIMER_DELAY_SEC\u{1}3600\u{2}"),
        Step::broker("how many wait", Code::GET_TIMER_METRICS)
            .until("body.timingCount.TM7.count", 2)
            .ignoring("body.dataVersion.*")
            .ignoring("body.timingCount.*.*"),
    ]
}
