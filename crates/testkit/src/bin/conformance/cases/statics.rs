// SPDX-License-Identifier: Apache-2.0
//! Static topics: UPDATE_AND_CREATE_STATIC_TOPIC (513), and what is asked about their logical queues (10, 11, 14, 15, 29 to 31, 21, 351).

use super::{route, send};
use serde_json::json;
use testkit::diff::{Case, Step};
use testkit::server::BROKER;
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("a static topic", topic()),
        Case::new("a logical queue of two stretches", stretches()),
        Case::new("mappings that are refused", refused()),
    ]
}

fn item(generation: i32, queue: i32, (start, end, logical): (i64, i64, i64)) -> serde_json::Value {
    json!({
        "bname": BROKER, "endOffset": end, "gen": generation, "logicOffset": logical, "queueId": queue,
        "startOffset": start, "timeOfEnd": -1, "timeOfStart": -1,
    })
}

fn make(what: &str, topic: &str, epoch: i64, queues: &[serde_json::Value]) -> Step {
    let hosted: Vec<String> = queues
        .iter()
        .enumerate()
        .map(|(queue, items)| format!("{queue}:{items}"))
        .collect();
    let body = format!(
        r#"{{"bname":"{BROKER}","currIdMap":{{}},"dirty":false,"epoch":{epoch},"hostedQueues":{{{}}},"scope":"__global__","topic":"{topic}","totalQueues":{}}}"#,
        hosted.join(","),
        queues.len()
    );
    Step::broker(what, Code::UPDATE_AND_CREATE_STATIC_TOPIC)
        .field("topic", topic)
        .field("defaultTopic", "TBW102")
        .field("readQueueNums", 3)
        .field("writeQueueNums", 3)
        .field("perm", 6)
        .field("topicFilterType", "SINGLE_TAG")
        .field("topicSysFlag", 0)
        .field("order", false)
        .body(body)
}

/// A question about a logical queue.
fn about(what: &str, code: Code, topic: &str, queue: i32) -> Step {
    Step::broker(what, code)
        .field("topic", topic)
        .field("queueId", queue)
        .field("lo", true)
}

fn topic() -> Vec<Step> {
    let whole = |queue| json!([item(0, queue, (0, -1, 0))]);
    vec![
        make("two logical queues", "ST1", 1, &[whole(0), whole(2)]),
        make("the same again", "ST1", 1, &[whole(0), whole(2)]),
        send("to the second", "ST1", 1),
        send("to it once more", "ST1", 1),
        send("to one that there is not", "ST1", 2).answers(501),
        about("how many there are", Code::GET_MAX_OFFSET, "ST1", 1).until("ext.offset", 2),
        about("in the queue itself", Code::GET_MAX_OFFSET, "ST1", 2).field("lo", false),
        about("from where on", Code::GET_MIN_OFFSET, "ST1", 1),
        about("of none", Code::GET_MAX_OFFSET, "ST1", 7).answers(501),
        super::pull("its messages", "ST1", 1, 0),
        super::pull("of none", "ST1", 7, 0).answers(501),
        about("a commit", Code::UPDATE_CONSUMER_OFFSET, "ST1", 1)
            .field("consumerGroup", "CG_ST1")
            .field("commitOffset", 1),
        about("it is noted", Code::QUERY_CONSUMER_OFFSET, "ST1", 1).field("consumerGroup", "CG_ST1"),
        about("in the queue itself", Code::QUERY_CONSUMER_OFFSET, "ST1", 2)
            .field("consumerGroup", "CG_ST1")
            .field("lo", false),
        Step::broker("with its queues", Code::GET_TOPIC_CONFIG)
            .field("topic", "ST1")
            .field("lo", true),
        Step::broker("without", Code::GET_TOPIC_CONFIG).field("topic", "ST1"),
        route("who writes to them", "ST1").until("code", 0),
    ]
}

fn stretches() -> Vec<Step> {
    let first = json!([item(0, 0, (0, -1, 0))]);
    let both = json!([item(0, 0, (0, 2, 0)), item(1, 1, (0, -1, 100))]);
    vec![
        make("one stretch", "ST2", 1, &[first]),
        send("first", "ST2", 0),
        send("second", "ST2", 0),
        about("two", Code::GET_MAX_OFFSET, "ST2", 0).until("ext.offset", 2),
        make("and another", "ST2", 2, &[both]),
        send("third", "ST2", 0),
        about("behind the gap", Code::GET_MAX_OFFSET, "ST2", 0).until("ext.offset", 101),
        about("from the first on", Code::GET_MIN_OFFSET, "ST2", 0),
        super::pull("the first stretch", "ST2", 0, 0),
        super::pull("its end", "ST2", 0, 2).answers(20),
        super::pull("in the gap", "ST2", 0, 50).answers(20),
        super::pull("the second stretch", "ST2", 0, 100),
        super::pull("its end", "ST2", 0, 101).answers(19),
        about("nothing is noted", Code::QUERY_CONSUMER_OFFSET, "ST2", 0)
            .field("consumerGroup", "CG_ST2")
            .answers(22),
        about("in the first", Code::UPDATE_CONSUMER_OFFSET, "ST2", 0)
            .field("consumerGroup", "CG_ST2")
            .field("commitOffset", 1),
        about("it is noted", Code::QUERY_CONSUMER_OFFSET, "ST2", 0).field("consumerGroup", "CG_ST2"),
        about("in the second", Code::UPDATE_CONSUMER_OFFSET, "ST2", 0)
            .field("consumerGroup", "CG_ST2")
            .field("commitOffset", 101),
        about("it is noted", Code::QUERY_CONSUMER_OFFSET, "ST2", 0).field("consumerGroup", "CG_ST2"),
    ]
}

fn refused() -> Vec<Step> {
    let whole = json!([item(0, 0, (0, -1, 0))]);
    vec![
        make("a mapping", "ST3", 2, std::slice::from_ref(&whole)),
        make("an older one", "ST3", 1, std::slice::from_ref(&whole)).answers(1),
        make("another leader", "ST3", 2, &[json!([item(1, 0, (0, -1, 0))])]).answers(1),
        make("none", "ST3", 2, &[]).answers(1),
        make("negative", "ST3", 3, &[json!([item(0, 0, (-1, -1, 0))])]).answers(1),
        make(
            "backwards",
            "ST3",
            3,
            &[json!([item(1, 0, (0, 2, 0)), item(0, 1, (0, -1, 9))])],
        )
        .answers(1),
        make("a name that is none", "a b", 1, std::slice::from_ref(&whole)).answers(29),
        make("a system topic", "TBW102", 1, std::slice::from_ref(&whole)).answers(29),
        make("by force", "ST3", 1, &[whole]).field("force", true),
    ]
}
