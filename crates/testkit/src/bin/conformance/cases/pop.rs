// SPDX-License-Identifier: Apache-2.0
//! Leases: POP_MESSAGE (200050), ACK_MESSAGE (200051), BATCH_ACK_MESSAGE (200151), CHANGE_MESSAGE_INVISIBLETIME (200053),
//! PEEK_MESSAGE (200052), NOTIFICATION (200054), POLLING_INFO (200055), and how groups read topics (400 to 402).
//!
//! Handles are made from saved fields of an answer, as clients make them. Which queue of the reference's revive topic a
//! handle names counts up over all pops of a server, so it is never compared.

use super::{send, settled};
use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("messages are handed out once and acknowledged", handed_out()),
        Case::new("a message comes again after its time", again()),
        Case::new("only wanted tags are handed out", tags()),
        Case::new("what a pop is refused for", refused()),
        Case::new("what an acknowledgement is refused for", bad_acks()),
        Case::new("what a change of time is refused for", bad_changes()),
        Case::new("an ordered queue hands out one batch at a time", ordered()),
        Case::new("a held pop is answered", held()),
        Case::new("peeking and notifications", peeking()),
        Case::new("modes and assignments", modes()),
    ]
}

fn pop(what: &str, topic: &str, queue: i32) -> Step {
    Step::broker(what, Code::POP_MESSAGE)
        .field("consumerGroup", format!("CG_{topic}"))
        .field("topic", topic)
        .field("queueId", queue)
        .field("maxMsgNums", 32)
        .field("invisibleTime", 60_000)
        .field("pollTime", 0)
        .field("bornTime", 0)
        .field("initMode", 0)
        .field("expType", "TAG")
        .field("exp", "*")
        .field("order", false)
        .records()
        .ignoring("ext.popTime")
        .ignoring("ext.reviveQid")
        .ignoring("*.property.POP_CK")
        .ignoring("*.property.1ST_POP_TIME")
}

/// Nothing was left to hand out.
fn none(what: &str, topic: &str, queue: i32) -> Step {
    pop(what, topic, queue).answers(210)
}

fn keep(step: Step) -> Step {
    step.saving("pop", "popTime").saving("rev", "reviveQid")
}

fn ack(what: &str, topic: &str, offset: i64) -> Step {
    Step::broker(what, Code::ACK_MESSAGE)
        .field("consumerGroup", format!("CG_{topic}"))
        .field("topic", topic)
        .field("queueId", 0)
        .field("extraInfo", "0 $pop 60000 $rev 0 broker-a 0 0")
        .field("offset", offset)
}

fn change(what: &str, topic: &str, offset: i64) -> Step {
    ack(what, topic, offset)
        .retyped(Code::CHANGE_MESSAGE_INVISIBLETIME)
        .field("invisibleTime", 2_000)
        .ignoring("ext.popTime")
        .ignoring("ext.reviveQid")
}

fn handed_out() -> Vec<Step> {
    vec![
        send("a", "PO1", 0),
        send("b", "PO1", 0),
        send("c", "PO1", 1),
        settled("PO1", 0, 2),
        settled("PO1", 1, 1),
        pop("one of two", "PO1", 0).field("maxMsgNums", 1),
        keep(pop("the other one", "PO1", 0)),
        none("nothing more", "PO1", 0),
        pop("of any queue", "PO1", -1),
        ack("done", "PO1", 1),
        ack("done again", "PO1", 1),
        Step::broker("in a batch", Code::BATCH_ACK_MESSAGE).body(
            r#"{"acks":[{"b":"Aw==","c":"CG_PO1","it":60000,"pt":5,"q":0,"r":"0","rq":0,"so":0,"t":"PO1"}],"brokerName":"broker-a"}"#,
        ),
        Step::broker("in an empty batch", Code::BATCH_ACK_MESSAGE)
            .body(r#"{"acks":[],"brokerName":"broker-a"}"#)
            .ignoring("remark")
            .answers(208),
        Step::broker("in no batch", Code::BATCH_ACK_MESSAGE)
            .ignoring("remark")
            .answers(208),
    ]
}

fn again() -> Vec<Step> {
    let short = |what, queue| pop(what, "PO2", queue).field("invisibleTime", 3_000);
    vec![
        send("a", "PO2", 0),
        send("b", "PO2", 0),
        send("c", "PO2", 0),
        settled("PO2", 0, 3),
        keep(short("all", 0)),
        ack("one is done", "PO2", 1).field("extraInfo", "0 $pop 3000 $rev 0 broker-a 0 1"),
        change("one takes longer", "PO2", 2)
            .field("extraInfo", "0 $pop 3000 $rev 0 broker-a 0 2")
            .field("invisibleTime", 60_000),
        short("the third", -1)
            .until("ext.msgOffsetInfo", "1 0 0")
            .field("maxMsgNums", 32),
    ]
}

fn tags() -> Vec<Step> {
    let tagged = |tag: &str| super::send_tagged("PO3", 0, tag, "k");
    vec![
        tagged("A"),
        tagged("B"),
        tagged("A"),
        tagged("C"),
        settled("PO3", 0, 4),
        pop("two of three tags", "PO3", 0).field("exp", "A || C"),
        none("the other one is gone", "PO3", 0),
        pop("of another group", "PO3", 0)
            .field("consumerGroup", "CG_PO3b")
            .without("exp")
            .without("expType"),
        pop("only separators", "PO3", 0).field("exp", "||").answers(23),
    ]
}

fn refused() -> Vec<Step> {
    vec![
        send("make the topic", "PO4", 0),
        pop("no such topic", "PO4-none", 0).answers(17),
        pop("no such queue", "PO4", 9).answers(29),
        pop("too many", "PO4", 0).field("maxMsgNums", 33).answers(29),
        pop("too late", "PO4", 0).field("bornTime", 5).answers(210),
        pop("an illegal group", "PO4", 0)
            .field("consumerGroup", "a b")
            .answers(26),
        pop("no group", "PO4", 0).without("consumerGroup").answers(1),
    ]
}

fn bad_acks() -> Vec<Step> {
    vec![
        send("a", "PO5", 0),
        settled("PO5", 0, 1),
        keep(pop("one", "PO5", 0)),
        ack("no such topic", "PO5-none", 0).answers(17),
        ack("no such queue", "PO5", 0).field("queueId", 9).answers(13),
        ack("a negative queue", "PO5", 0).field("queueId", -1).answers(13),
        ack("an offset beyond", "PO5", 2).answers(208),
        ack("an offset before", "PO5", -1).answers(208),
        ack("the offset behind the last one", "PO5", 1),
        ack("no handle", "PO5", 0).field("extraInfo", "x").answers(1),
        ack("half a handle", "PO5", 0)
            .field("extraInfo", "0 1 2 3 0")
            .answers(1),
        ack("another time", "PO5", 0).field("extraInfo", "0 5 60000 0 0 broker-a 0 0"),
        ack("without an offset", "PO5", 0).without("offset").answers(1),
    ]
}

fn bad_changes() -> Vec<Step> {
    vec![
        send("a", "PO6", 0),
        settled("PO6", 0, 1),
        keep(pop("one", "PO6", 0)),
        change("no such topic", "PO6-none", 0).answers(17),
        change("no such queue", "PO6", 0).field("queueId", 9).answers(13),
        change("an offset beyond", "PO6", 1)
            .ignoring("remark")
            .answers(208),
        change("an offset before", "PO6", -1)
            .ignoring("remark")
            .answers(208),
        change("no handle", "PO6", 0).field("extraInfo", "x").answers(1),
        change("a good one", "PO6", 0),
    ]
}

fn ordered() -> Vec<Step> {
    let pop = |what, attempt| {
        pop(what, "PO7", 0)
            .field("order", true)
            .field("attemptId", attempt)
            .field("maxMsgNums", 2)
    };
    let ack = |what, offset| ack(what, "PO7", offset).field("extraInfo", "0 $pop 60000 999 0 broker-a 0 0");
    vec![
        send("a", "PO7", 0),
        send("b", "PO7", 0),
        send("c", "PO7", 0),
        settled("PO7", 0, 3),
        pop("two", "one"),
        keep(pop("the same attempt", "one")),
        pop("another attempt", "two").answers(210),
        ack("not in the batch", 2).answers(13),
        ack("of an older batch", 0).field("extraInfo", "0 5 60000 999 0 broker-a 0 0"),
        ack("one", 0),
        pop("still blocked", "two").answers(210),
        ack("the other", 1),
        keep(pop("the next", "two")),
        change("longer", "PO7", 2)
            .field("extraInfo", "2 $pop 60000 999 0 broker-a 0 2")
            .ignoring("ext.invisibleTime"),
        change("what is done", "PO7", 0).field("extraInfo", "0 $pop 60000 999 0 broker-a 0 0"),
    ]
}

fn held() -> Vec<Step> {
    vec![
        send("make the topic", "PO8", 1),
        settled("PO8", 1, 1),
        pop("what there is", "PO8", -1),
        pop("wait", "PO8", -1)
            .field("pollTime", 20_000)
            .field("bornTime", "$now")
            .on("waiting")
            .held(),
        Step::broker("one is held", Code::POLLING_INFO)
            .field("consumerGroup", "CG_PO8")
            .field("topic", "PO8")
            .field("queueId", -1)
            .until("ext.pollingNum", 1),
        send("one more", "PO8", 0),
        Step::arrives("it arrives", "waiting")
            .records()
            .ignoring("ext.popTime")
            .ignoring("ext.reviveQid"),
        pop("wait a moment", "PO8", -1)
            .field("pollTime", 1_000)
            .field("bornTime", "$now")
            .answers(210),
    ]
}

fn peeking() -> Vec<Step> {
    let peek = |what: &str| {
        Step::broker(what, Code::PEEK_MESSAGE)
            .field("consumerGroup", "CG_PO9")
            .field("topic", "PO9")
            .field("queueId", 0)
            .field("maxMsgNums", 1)
            .records()
    };
    let notify = |what: &str| {
        Step::broker(what, Code::NOTIFICATION)
            .field("consumerGroup", "CG_PO9")
            .field("topic", "PO9")
            .field("queueId", -1)
            .field("pollTime", 0)
            .field("bornTime", 0)
    };
    vec![
        send("a", "PO9", 0),
        send("b", "PO9", 0),
        settled("PO9", 0, 2),
        notify("there is something"),
        peek("the first"),
        peek("the first again"),
        peek("of a queue without").field("queueId", 1).answers(19),
        peek("no such queue").field("queueId", 9).answers(29),
        peek("no such topic").field("topic", "PO9-none").answers(17),
        pop("all", "PO9", -1),
        peek("nothing").answers(19),
        notify("there is nothing"),
        notify("no such topic").field("topic", "PO9-none").answers(17),
        notify("no such queue").field("queueId", 9).answers(29),
    ]
}

fn modes() -> Vec<Step> {
    let set = |what: &str, topic: &str, mode: &str| {
        Step::broker(what, Code::SET_MESSAGE_REQUEST_MODE).body(format!(
            r#"{{"consumerGroup":"CG_PO10","mode":"{mode}","popShareQueueNum":8,"topic":"{topic}"}}"#
        ))
    };
    vec![
        send("make the topic", "PO10", 0),
        set("pop", "PO10", "POP"),
        set("of a retry topic", "%RETRY%CG_PO10", "POP").answers(16),
        set("no such topic", "PO10-none", "POP").answers(17),
        Step::broker("all of them", Code::GET_ALL_MESSAGE_REQUEST_MODE),
        set("pull", "PO10", "PULL"),
        Step::broker("all again", Code::GET_ALL_MESSAGE_REQUEST_MODE),
        Step::broker("a share of a stranger", Code::QUERY_ASSIGNMENT).body(
            r#"{"clientId":"x","consumerGroup":"CG_PO10","messageModel":"CLUSTERING","strategyName":"AVG","topic":"PO10"}"#,
        ),
    ]
}
