// SPDX-License-Identifier: Apache-2.0
//! The requests of the `diff` section, one file per capability. A case uses topics and groups of its own, so that cases
//! can be added, removed and moved.

pub(crate) mod admin;
mod delay;
mod filter;
mod group;
mod kv;
mod offset;
mod pop;
mod pull;
mod query;
mod reply;
mod reset;
mod route;
mod send;
mod statics;
mod stats;
mod timer;
mod transaction;

use testkit::diff::{Case, Step};
use wire::code::Code;

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    [
        send::cases(),
        delay::cases(),
        reply::cases(),
        timer::cases(),
        pop::cases(),
        pull::cases(),
        filter::cases(),
        offset::cases(),
        reset::cases(),
        group::cases(),
        query::cases(),
        route::cases(),
        kv::cases(),
        stats::cases(),
        transaction::cases(),
        admin::cases(),
        statics::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A unique id as a client makes it: given, so that both sides store the same.
const UNIQUE: &str = "7F0000010539000000000000000000AB";

/// A send to a queue of a topic, which comes into being with four queues.
fn send(what: impl Into<String>, topic: &str, queue: i32) -> Step {
    Step::broker(what, Code::SEND_MESSAGE_V2)
        .field("a", "PG")
        .field("b", topic)
        .field("c", "TBW102")
        .field("d", 4)
        .field("e", queue)
        .field("f", 0)
        .field("g", 1_700_000_000_000_i64)
        .field("h", 0)
        .field("i", format!("UNIQ_KEY\u{1}{UNIQUE}\u{2}WAIT\u{1}true\u{2}"))
        .field("j", 0)
        .field("k", false)
        .field("m", false)
        .body("hello")
}

/// A send with a tag and a key.
fn send_tagged(topic: &str, queue: i32, tag: &str, key: &str) -> Step {
    send(format!("{tag} {key}"), topic, queue)
        .field(
            "i",
            format!("UNIQ_KEY\u{1}{UNIQUE}\u{2}KEYS\u{1}{key}\u{2}TAGS\u{1}{tag}\u{2}"),
        )
        .body(format!("body of {key}"))
}

/// A pull that brings its own subscription and is not held.
pub(crate) fn pull(what: impl Into<String>, topic: &str, queue: i32, offset: i64) -> Step {
    Step::broker(what, Code::PULL_MESSAGE)
        .field("consumerGroup", format!("CG_{topic}"))
        .field("topic", topic)
        .field("queueId", queue)
        .field("queueOffset", offset)
        .field("maxMsgNums", 32)
        .field("sysFlag", 4)
        .field("commitOffset", 0)
        .field("suspendTimeoutMillis", 0)
        .field("subscription", "*")
        .field("subVersion", 1)
        .field("expressionType", "TAG")
        .records()
}

/// A batch body of these messages.
fn batch_body(messages: &[(&str, &str)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (body, properties) in messages {
        let total = 4 + 4 + 4 + 4 + 4 + body.len() + 2 + properties.len();
        for number in [total, 0, 0, 0, body.len()] {
            all.extend(u32::try_from(number).unwrap_or_default().to_be_bytes());
        }
        all.extend(body.as_bytes());
        all.extend(u16::try_from(properties.len()).unwrap_or_default().to_be_bytes());
        all.extend(properties.as_bytes());
    }
    all
}

/// A send of a batch.
fn batch(what: &str, topic: &str, body: Vec<u8>) -> Step {
    send(what, topic, 0)
        .retyped(Code::SEND_BATCH_MESSAGE)
        .field("m", true)
        .body(body)
}

/// Waits until the queue has so many messages: the reference indexes after it answers.
pub(crate) fn settled(topic: &str, queue: i32, max: i64) -> Step {
    offset("the queue has grown", Code::GET_MAX_OFFSET, topic, queue).until("ext.offset", max)
}

/// A question about one queue.
fn offset(what: impl Into<String>, code: Code, topic: &str, queue: i32) -> Step {
    Step::broker(what, code)
        .field("topic", topic)
        .field("queueId", queue)
}

/// The route of a topic, once the name server knows it.
fn route(what: impl Into<String>, topic: &str) -> Step {
    Step::nameserver(what, Code::GET_ROUTEINFO_BY_TOPIC).field("topic", topic)
}
