// SPDX-License-Identifier: Apache-2.0
//! Half messages, END_TRANSACTION (37), RESUME_CHECK_HALF_MESSAGE (323).

use super::{UNIQUE, pull, send, settled};
use testkit::diff::{Case, Step};
use wire::code::Code;

const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("a half message is committed", committed()),
        Case::new("a half message is rolled back", rolled_back()),
        Case::new("ends that fit no half message", refused()),
        Case::new("an end that comes too late", too_late()),
        Case::new("half messages that cannot be", impossible()),
        Case::new("a half message is asked about again", resumed()),
    ]
}

fn half(what: &str, topic: &str, more: &str) -> Step {
    send(what, topic, 0)
        .field(
            "i",
            format!("UNIQ_KEY\u{1}{UNIQUE}\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}PG\u{2}{more}"),
        )
        .field("f", 4)
        .field("g", "$now")
        .saving("half", "queueOffset")
        .saving("id", "msgId")
        .ignoring("ext.queueOffset")
}

fn end(what: &str, decision: i32) -> Step {
    Step::broker(what, Code::END_TRANSACTION)
        .field("producerGroup", "PG")
        .field("tranStateTableOffset", "$half")
        .field("commitLogOffset", "$idPos")
        .field("commitOrRollback", decision)
        .field("fromTransactionCheck", false)
        .field("msgId", UNIQUE)
        .field("transactionId", UNIQUE)
}

/// The half message that was sent last, as it is kept.
fn kept() -> Step {
    pull("as it is kept", HALF_TOPIC, 0, 0)
        .field("queueOffset", "$half")
        .until("code", 0)
        .ignoring("*.offset")
        .ignoring("*.bornAt")
        .ignoring("ext.*")
}

fn delivered(topic: &str) -> Step {
    pull("as it is delivered", topic, 0, 0)
        .ignoring("*.prepared")
        .ignoring("*.bornAt")
}

fn committed() -> Vec<Step> {
    vec![
        half("the half", "X1", "TAGS\u{1}T\u{2}KEYS\u{1}k\u{2}"),
        kept(),
        pull("it is not delivered", "X1", 0, 0).answers(19),
        end("commit", 8),
        settled("X1", 0, 1),
        delivered("X1"),
        half("another one", "X1", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}600\u{2}").field("d", 7),
        kept(),
        end("with the compact header", 8).binary(),
        settled("X1", 0, 2),
        delivered("X1"),
        half("a third", "X1", "").field("e", 3),
        end("one-way", 8).oneway(),
        settled("X1", 3, 1),
        half("unknown", "X1", ""),
        end("there is no answer to that", 0).oneway(),
        end("after all", 8).field("fromTransactionCheck", true),
        settled("X1", 0, 3),
    ]
}

fn rolled_back() -> Vec<Step> {
    vec![
        half("the half", "X2", ""),
        end("rollback", 12),
        half("the half", "X2", ""),
        end("without saying where it comes from", 12).without("fromTransactionCheck"),
        send("a plain one", "X2", 0),
        settled("X2", 0, 1),
        delivered("X2"),
    ]
}

fn refused() -> Vec<Step> {
    vec![
        half("the half", "X3", ""),
        end("another group", 8).field("producerGroup", "other").answers(1),
        end("another offset", 8)
            .field("tranStateTableOffset", 99_999)
            .answers(1),
        end("nothing there", 8)
            .field("commitLogOffset", 9_999_999_999_i64)
            .answers(1),
        end("rollback of nothing", 12)
            .field("commitLogOffset", 9_999_999_999_i64)
            .answers(1),
        end("a negative place", 8).field("commitLogOffset", -1).answers(1),
        end("neither commit nor rollback", 4).answers(1),
        end("without a group", 8).without("producerGroup").answers(1),
        end("without a place", 8).without("commitLogOffset").answers(1),
        end("without a decision", 8)
            .without("commitOrRollback")
            .answers(1),
        send("a plain one", "X3", 0).saving("plain", "msgId"),
        end("what is no half", 8)
            .field("commitLogOffset", "$plainPos")
            .answers(1),
        end("commit", 8),
        settled("X3", 0, 2),
    ]
}

fn too_late() -> Vec<Step> {
    vec![
        half(
            "a half from long ago",
            "X4",
            "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}1\u{2}",
        )
        .field("g", 1_700_000_000_000_i64),
        // The reference says nothing about why.
        end("too late", 8).answers(604).ignoring("remark"),
        end("too late for a rollback", 12).answers(604).ignoring("remark"),
        end("as an answer to a check", 8).field("fromTransactionCheck", true),
        settled("X4", 0, 1),
    ]
}

fn impossible() -> Vec<Step> {
    vec![
        send("a half that is delayed, too", "X5", 0)
            .field(
                "i",
                format!("UNIQ_KEY\u{1}{UNIQUE}\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}PG\u{2}DELAY\u{1}3\u{2}"),
            )
            .field("f", 4)
            .ours(13),
        send("the flag alone", "X5", 0).field("f", 4).ours(13),
        send("the flag of a rollback", "X5", 0).field("f", 12).ours(13),
    ]
}

fn resumed() -> Vec<Step> {
    let resume = |what: &str| Step::broker(what, Code::RESUME_CHECK_HALF_MESSAGE).field("topic", HALF_TOPIC);
    vec![
        half("the half", "X6", ""),
        resume("again").field("msgId", "$id"),
        resume("no id").field("msgId", "nonsense").answers(1),
        resume("nothing there")
            .field("msgId", "7F00000100002A9F00000FFFFFFFFFFF")
            .answers(1),
        end("commit", 8),
        settled("X6", 0, 1),
    ]
}
