// SPDX-License-Identifier: Apache-2.0
//! Resets and copies of offsets (222, 314, 308), messages given back (36), what a group may read (353), and questions that a
//! client would answer (307, 309, 223).

use super::{offset, pull, send, settled};
use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("a group is reset", reset()),
        Case::new("resets that are refused", refused()),
        Case::new("offsets are copied", copied()),
        Case::new("messages are given back", given_back()),
        Case::new("a group may not read", forbidden()),
        Case::new("clients that are not there", relayed()),
    ]
}

fn to(what: &str, topic: &str, queue: i32, at: i64) -> Step {
    Step::broker(what, Code::INVOKE_BROKER_TO_RESET_OFFSET)
        .field("topic", topic)
        .field("group", format!("CG_{topic}"))
        .field("queueId", queue)
        .field("offset", at)
        .field("timestamp", 0)
        .field("isForce", true)
}

fn commit(topic: &str, queue: i32, at: i64) -> Step {
    offset(format!("commit {at}"), Code::UPDATE_CONSUMER_OFFSET, topic, queue)
        .field("consumerGroup", format!("CG_{topic}"))
        .field("commitOffset", at)
}

fn committed(what: &str, topic: &str, group: &str, queue: i32) -> Step {
    offset(what, Code::QUERY_CONSUMER_OFFSET, topic, queue).field("consumerGroup", group)
}

/// A topic with three messages in queue 0, and a group that has read it.
fn filled(topic: &str) -> Vec<Step> {
    vec![
        send("one", topic, 0),
        send("two", topic, 0),
        send("three", topic, 0),
        settled(topic, 0, 3),
        pull("the group reads", topic, 0, 0),
    ]
}

fn reset() -> Vec<Step> {
    let mut steps = filled("R1");
    steps.extend([
        commit("R1", 0, 3),
        to("to 1", "R1", 0, 1),
        committed("at 1", "R1", "CG_R1", 0),
        commit("R1", 0, 3),
        committed("still at 1", "R1", "CG_R1", 0),
        pull("told", "R1", 0, 3).answers(21),
        pull("and reads from there", "R1", 0, 1),
        commit("R1", 0, 2),
        committed("at 2", "R1", "CG_R1", 0),
        to("one behind the end", "R1", 0, 4),
        pull("told that", "R1", 0, 3).answers(21),
        to("to the beginning of time", "R1", 0, -1),
        committed("at 0", "R1", "CG_R1", 0),
        to("to the end", "R1", 0, -1).field("timestamp", -1),
        committed("at 3", "R1", "CG_R1", 0),
        to("an empty queue", "R1", 1, 0),
        committed("at 0 there", "R1", "CG_R1", 1),
    ]);
    steps
}

fn refused() -> Vec<Step> {
    let mut steps = filled("R2");
    steps.extend([
        to("too far", "R2", 0, 5).answers(1),
        to("no such topic", "R2none", 0, 0)
            .field("group", "CG_R2")
            .answers(17),
        to("no such group", "R2", 0, 0)
            .field("group", "CG_R2none")
            .answers(26),
        to("without a group", "R2", 0, 0)
            .without("group")
            .answers(26)
            .ours(1),
        to("without a topic", "R2", 0, 0).without("topic").answers(1),
        to("without a time", "R2", 0, 0).without("timestamp"),
        committed("at the beginning", "R2", "CG_R2", 0),
    ]);
    steps
}

fn copied() -> Vec<Step> {
    let copy = |what: &str, from: &str, to: &str| {
        Step::broker(what, Code::CLONE_GROUP_OFFSET)
            .field("srcGroup", from)
            .field("destGroup", to)
            .field("topic", "R3")
            .field("offline", true)
    };
    let slowest = |what: &str, group: &str| {
        Step::broker(what, Code::QUERY_CORRECTION_OFFSET)
            .field("compareGroup", group)
            .field("topic", "R3")
    };
    let mut steps = filled("R3");
    steps.extend([
        commit("R3", 0, 2),
        pull("the other group", "R3", 0, 0).field("consumerGroup", "CG_R3b"),
        copy("to another group", "CG_R3", "CG_R3b"),
        committed("where the first is", "R3", "CG_R3b", 0),
        copy("of nobody", "CG_R3none", "CG_R3b"),
        commit("R3", 1, 7).field("consumerGroup", "CG_R3b"),
        committed("an offset the first has not", "R3", "CG_R3b", 1),
        copy("once more", "CG_R3", "CG_R3b"),
        committed("is gone", "R3", "CG_R3b", 1).answers(22),
        copy("to a new group", "CG_R3", "CG_R3c"),
        copy("no such topic", "CG_R3", "CG_R3b").field("topic", "R3none"),
        slowest("the slowest", "CG_R3"),
        slowest("nobody's", "CG_R3none"),
    ]);
    steps
}

fn given_back() -> Vec<Step> {
    let back = |what: &str, at: &str| {
        Step::broker(what, Code::CONSUMER_SEND_MSG_BACK)
            .field("group", "CG_R4")
            .field("offset", at)
            .field("delayLevel", -1)
            .field("originTopic", "R4")
            .field("maxReconsumeTimes", 16)
            .field("unitMode", false)
    };
    let mut steps = filled("R4");
    steps.extend([
        back("a position without a message", "999999999999")
            .answers(1)
            .ignoring("remark"),
        back("a negative one", "-1").answers(1).ignoring("remark"),
        back("no such group", "0")
            .field("group", "no group")
            .answers(26)
            .ignoring("remark"),
        back("without a position", "0").without("offset").answers(1),
        back("without a group", "0").without("group").answers(1),
    ]);
    steps
}

fn forbidden() -> Vec<Step> {
    let ask = |what: &str| {
        Step::broker(what, Code::UPDATE_AND_GET_GROUP_FORBIDDEN)
            .field("group", "CG_R5")
            .field("topic", "R5")
    };
    let mut steps = filled("R5");
    steps.extend([
        ask("it may"),
        ask("not any more").field("readable", false),
        ask("it may not"),
        ask("it may again").field("readable", true),
        ask("without a group").without("group").answers(1),
    ]);
    steps
}

fn relayed() -> Vec<Step> {
    let mut steps = filled("R6");
    let relay = |what: &str, code: Code| {
        Step::broker(what, code)
            .field("consumerGroup", "CG_R6")
            .field("clientId", "nobody")
    };
    steps.extend([
        relay("how it is doing", Code::GET_CONSUMER_RUNNING_INFO).answers(1),
        Step::broker("how far it is", Code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS)
            .field("group", "CG_R6")
            .field("topic", "R6")
            .answers(1)
            .ignoring("remark"),
    ]);
    steps
}
