// SPDX-License-Identifier: Apache-2.0
//! Finding messages: QUERY_MESSAGE (12) and VIEW_MESSAGE_BY_ID (33).

use super::{UNIQUE, send, send_tagged, settled};
use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("messages by key", by_key()),
        Case::new("messages by unique id", by_unique_id()),
        Case::new("more messages than one answer holds", too_many()),
        Case::new("a message by its position", by_position()),
    ]
}

fn query(what: impl Into<String>, topic: &str, key: &str) -> Step {
    Step::broker(what, Code::QUERY_MESSAGE)
        .field("topic", topic)
        .field("key", key)
        .field("maxNum", 32)
        .field("beginTimestamp", 0)
        .field("endTimestamp", i64::MAX)
        .records()
}

fn by_key() -> Vec<Step> {
    let mut steps: Vec<Step> = (0..6)
        .map(|i| send_tagged("Q1", i % 4, "A", &format!("own-{i} shared half-{}", i % 2)))
        .collect();
    steps.extend([
        query("one message", "Q1", "own-5").until("code", 0),
        query("all of them", "Q1", "shared"),
        query("half of them", "Q1", "half-1"),
        query("not more than two", "Q1", "shared").field("maxNum", 2),
        query("none wanted", "Q1", "shared")
            .field("maxNum", 0)
            .answers(22),
        query("less than none", "Q1", "shared")
            .field("maxNum", -1)
            .answers(1),
        query("no such key", "Q1", "nothing").answers(22),
        query("the keys are apart", "Q1", "own-5 shared").answers(22),
        query("no such topic", "Q1none", "shared").answers(22),
        query("before the first", "Q1", "shared")
            .field("endTimestamp", 1000)
            .answers(22),
        query("after the last", "Q1", "shared")
            .field("beginTimestamp", 9_999_999_999_999_i64)
            .answers(22),
        query("by the kind of index", "Q1", "own-5").field("indexType", "K"),
        query("by tag", "Q1", "A").field("indexType", "T"),
        query("compact header", "Q1", "own-5").binary(),
        query("without a key", "Q1", "x")
            .without("key")
            .answers(22)
            .ours(1),
    ]);
    steps
}

fn by_unique_id() -> Vec<Step> {
    vec![
        send("a message", "Q2", 0),
        query("as clients ask", "Q2", UNIQUE)
            .field("_UNIQUE_KEY_QUERY", true)
            .until("code", 0),
        query("by the kind of index", "Q2", UNIQUE).field("indexType", "U"),
        query("another id", "Q2", "7F0000010539000000000000000000FF")
            .field("_UNIQUE_KEY_QUERY", true)
            .answers(22),
    ]
}

/// The newest are answered, of keys `maxMsgsNumBatch` and of unique ids `defaultQueryMaxNum`.
fn too_many() -> Vec<Step> {
    let keys = (0..70).map(|i| send_tagged("Q4", i % 4, "A", &format!("many n-{i}")));
    let mut steps: Vec<Step> = keys.collect();
    steps.extend((0..36).map(|i| send(format!("twin {i}"), "Q4", i % 4)));
    steps.extend([
        send_tagged("Q4", 0, "A", "last"),
        query("the last is indexed", "Q4", "last").until("code", 0),
        query("by key", "Q4", "many").field("maxNum", 1000),
        query("by tag", "Q4", "A")
            .field("maxNum", 1000)
            .field("indexType", "T"),
        query("by unique id", "Q4", UNIQUE).field("_UNIQUE_KEY_QUERY", true),
        query("by unique id, as many as there are", "Q4", UNIQUE)
            .field("maxNum", 1000)
            .field("indexType", "U"),
    ]);
    steps
}

fn by_position() -> Vec<Step> {
    let view = |what: &str, at: &str| {
        Step::broker(what, Code::VIEW_MESSAGE_BY_ID)
            .field("offset", at)
            .records()
    };
    vec![
        send_tagged("Q3", 0, "A", "k").saving("id", "msgId"),
        settled("Q3", 0, 1),
        view("where it is", "$idPos"),
        view("compact header", "$idPos").binary(),
        view("past the end", "99999999999").answers(1),
        view("before the start", "-1").answers(1),
        view("nowhere", "0").without("offset").answers(1),
    ]
}
