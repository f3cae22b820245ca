// SPDX-License-Identifier: Apache-2.0
//! Offsets: QUERY_CONSUMER_OFFSET (14), UPDATE_CONSUMER_OFFSET (15), SEARCH_OFFSET_BY_TIMESTAMP (29), GET_MAX_OFFSET (30),
//! GET_MIN_OFFSET (31), GET_EARLIEST_MSG_STORETIME (32).

use super::{offset, pull, send, settled};
use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("the offset of a group", committed()),
        Case::new("a group that has none", uncommitted()),
        Case::new("commits that are refused", refused()),
        Case::new("the ends of a queue", ends()),
        Case::new("an offset by time", by_time()),
    ]
}

fn read(what: &str, topic: &str, queue: i32) -> Step {
    offset(what, Code::QUERY_CONSUMER_OFFSET, topic, queue).field("consumerGroup", "CG_O")
}

fn commit(what: &str, topic: &str, to: i64) -> Step {
    offset(what, Code::UPDATE_CONSUMER_OFFSET, topic, 0)
        .field("consumerGroup", "CG_O")
        .field("commitOffset", to)
}

fn committed() -> Vec<Step> {
    vec![
        send("make the topic", "O1", 0),
        settled("O1", 0, 1),
        commit("a group that nobody has heard of", "O1", 5).answers(26),
        pull("a pull makes the group", "O1", 0, 0).field("consumerGroup", "CG_O"),
        commit("to 5", "O1", 5),
        read("5", "O1", 0),
        commit("back to 2", "O1", 2),
        read("2", "O1", 0),
        commit("one-way, to 3", "O1", 3).oneway(),
        read("3", "O1", 0).until("ext.offset", 3),
        commit("a negative one", "O1", -1),
        read("as told", "O1", 0),
        commit("with the compact header", "O1", 7).binary(),
        read("with the compact header", "O1", 0).binary(),
        read("another group's", "O1", 0).field("consumerGroup", "CG_O_other"),
    ]
}

fn uncommitted() -> Vec<Step> {
    vec![
        send("make the topic", "O2", 0),
        settled("O2", 0, 1),
        read("a young queue", "O2", 0),
        read("a young queue, told not to guess", "O2", 0)
            .field("setZeroIfNotFound", false)
            .answers(22),
        read("a young queue, told to guess", "O2", 0).field("setZeroIfNotFound", true),
        read("an empty queue", "O2", 1).answers(22),
        read("a queue that is not there", "O2", 99).answers(22),
        read("no such topic", "O2none", 0).answers(22),
        read("without a group", "O2", 0).without("consumerGroup").ours(1),
        read("without a topic", "O2", 0).without("topic").answers(1),
        read("without a queue", "O2", 0).without("queueId").answers(1),
    ]
}

fn refused() -> Vec<Step> {
    vec![
        send("make the topic", "O3", 0),
        pull("make the group", "O3", 0, 0)
            .field("consumerGroup", "CG_O")
            .until("code", 0),
        commit("no such topic", "O3none", 1).answers(17),
        commit("a bad group name", "O3", 1)
            .field("consumerGroup", "no group")
            .answers(26),
        commit("without a queue", "O3", 1)
            .without("queueId")
            .answers(29)
            .ours(1),
        commit("without an offset", "O3", 1)
            .without("commitOffset")
            .answers(29)
            .ours(1),
        commit("without a topic", "O3", 1).without("topic").answers(1),
        commit("without a group", "O3", 1)
            .without("consumerGroup")
            .answers(26)
            .ours(1),
        commit("a queue that is not there", "O3", 1).field("queueId", 99),
    ]
}

fn ends() -> Vec<Step> {
    let mut steps = vec![
        send("one", "O4", 0),
        send("two", "O4", 0),
        send("three", "O4", 0),
        settled("O4", 0, 3),
    ];
    for (name, code) in [
        ("max", Code::GET_MAX_OFFSET),
        ("min", Code::GET_MIN_OFFSET),
        ("earliest", Code::GET_EARLIEST_MSG_STORETIME),
    ] {
        steps.push(offset(name, code, "O4", 0));
        steps.push(offset(format!("{name}, compact header"), code, "O4", 0).binary());
        steps.push(offset(format!("{name} of an empty queue"), code, "O4", 1));
        steps.push(offset(
            format!("{name} of a queue that is not there"),
            code,
            "O4",
            99,
        ));
        steps.push(offset(format!("{name} of a negative queue"), code, "O4", -1));
        steps.push(offset(format!("{name} of no such topic"), code, "O4none", 0));
    }
    steps.push(offset("max, committed", Code::GET_MAX_OFFSET, "O4", 0).field("committed", true));
    steps.push(offset("max, not committed", Code::GET_MAX_OFFSET, "O4", 0).field("committed", false));
    steps.push(pull("a pull tells the same ends", "O4", 0, 1));
    steps
}

fn by_time() -> Vec<Step> {
    let search = |what: &str, topic: &str, queue, at: &str| {
        offset(what, Code::SEARCH_OFFSET_BY_TIMESTAMP, topic, queue).field("timestamp", at)
    };
    let mut steps = vec![send("one", "O5", 0), send("two", "O5", 0), settled("O5", 0, 2)];
    for boundary in ["LOWER", "UPPER", "lower", "neither"] {
        for (what, at) in [
            ("the beginning", "0"),
            ("the far future", "9999999999999"),
            ("before time", "-5"),
        ] {
            let name = format!("{what}, {boundary}");
            steps.push(search(&name, "O5", 0, at).field("boundaryType", boundary));
        }
    }
    steps.extend([
        search("no boundary", "O5", 0, "0"),
        search("an empty queue", "O5", 1, "0"),
        search("an empty queue, later", "O5", 1, "9999999999999"),
        search("a queue that is not there", "O5", 99, "0"),
        search("no such topic", "O5none", 0, "0"),
        search("without a time", "O5", 0, "0")
            .without("timestamp")
            .answers(1),
    ]);
    steps
}
