// SPDX-License-Identifier: Apache-2.0
//! SEND_REPLY_MESSAGE (324) and SEND_REPLY_MESSAGE_V2 (325), and what the client that asked is sent (326).

use super::{UNIQUE, send, settled};
use serde_json::json;
use testkit::diff::{Case, Step};
use wire::code::Code;

const REPLIES: &str = "DefaultCluster_REPLY_TOPIC";

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("replies that nobody takes", untaken()),
        Case::new("a reply for a client that asked", handed_over()),
    ]
}

fn reply(what: &str, asker: &str) -> Step {
    let properties = format!(
        "UNIQ_KEY\u{1}{UNIQUE}\u{2}REPLY_TO_CLIENT\u{1}{asker}\u{2}MSG_TYPE\u{1}reply\u{2}CORRELATION_ID\u{1}c\u{2}"
    );
    send(what, REPLIES, 0)
        .retyped(Code::SEND_REPLY_MESSAGE_V2)
        .field("i", properties)
}

fn untaken() -> Vec<Step> {
    vec![
        reply("nobody", "nobody@1").answers(1).ignoring("ext.queueOffset"),
        reply("nobody named", "").answers(1).ignoring("ext.queueOffset"),
        reply("no properties", "")
            .without("i")
            .answers(1)
            .ignoring("ext.queueOffset"),
        reply("another topic", "nobody@1").field("b", "RP1").answers(1),
        reply("any queue of it", "nobody@1")
            .field("b", "RP1")
            .field("e", -1)
            .answers(1)
            .ignoring("ext.queueId")
            .ignoring("ext.queueOffset"),
        reply("a bad queue", "nobody@1").field("e", 7).answers(29),
        reply("a bad topic", "nobody@1")
            .field("b", "bad topic")
            .answers(29),
        reply("a topic of the system", "nobody@1")
            .field("b", "SCHEDULE_TOPIC_XXXX")
            .answers(16),
        reply("no such topic", "nobody@1")
            .field("b", "RP2")
            .field("c", "NoSuchTopic")
            .answers(17),
    ]
}

fn handed_over() -> Vec<Step> {
    let beat = json!({
        "clientID": "asker@1",
        "heartbeatFingerprint": 0,
        "withoutSub": false,
        "producerDataSet": [{ "groupName": "PG_RP" }],
        "consumerDataSet": [],
    });
    vec![
        send("make the topic", "RP3", 0),
        Step::broker("the asker is there", Code::HEART_BEAT)
            .body(beat.to_string())
            .on("asker"),
        reply("reply", "asker@1").field("b", "RP3").on("replier").held(),
        Step::pushed("the reply", Code::PUSH_REPLY_MESSAGE_TO_CLIENT)
            .on("asker")
            .ignoring("ext.storeTimestamp")
            .ignoring("ext.properties"),
        Step::hang_up("asker"),
        // It did not answer.
        Step::arrives("the answer", "replier").answers(1),
        settled("RP3", 0, 2),
    ]
}
