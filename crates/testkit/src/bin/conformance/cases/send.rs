// SPDX-License-Identifier: Apache-2.0
//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320).

use super::{batch, batch_body, pull, route, send, settled};
use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("a first send makes the topic", first()),
        Case::new("other ways to write a send", other_forms()),
        Case::new("a queue that is not there, or none named", queues()),
        Case::new("names that are no topics", bad_names()),
        Case::new("topics nobody may send to", reserved_names()),
        Case::new("a field is missing or no number", bad_fields()),
        Case::new("sizes", sizes()),
        Case::new("which topic a new topic is made after", templates()),
        Case::new("what a message carries", carried()),
        Case::new("a unique id is made where the client sent none", unique_ids()),
        Case::new("one-way sends get no answer, not even a refusal", oneway()),
        Case::new("batches", batches()),
        Case::new("batches that are refused", bad_batches()),
        Case::new("sends to a retry topic", retries()),
        Case::new("an unknown request code", unknown_codes()),
    ]
}

fn first() -> Vec<Step> {
    vec![
        route("no route before", "S1").answers(17),
        send("first", "S1", 0),
        send("second", "S1", 0),
        send("another queue", "S1", 3),
        route("a route after", "S1").until("code", 0),
        settled("S1", 0, 2),
        pull("what is stored", "S1", 0, 0),
    ]
}

fn other_forms() -> Vec<Step> {
    vec![
        long_names("S2"),
        send("compact header", "S2", 1).binary(),
        settled("S2", 1, 2),
        pull("stored", "S2", 1, 0),
        pull("compact header", "S2", 1, 0).binary(),
    ]
}

fn queues() -> Vec<Step> {
    vec![
        send("make the topic", "S5", 0),
        send("queue 4", "S5", 4).answers(29),
        send("queue 99", "S5", 99).answers(29),
        send("queue -1 is any", "S5", -1)
            .ignoring("ext.queueId")
            .ignoring("ext.queueOffset"),
        send("queue -7 is any", "S5", -7)
            .ignoring("ext.queueId")
            .ignoring("ext.queueOffset"),
        send("an urgent message goes to the last queue", "S5", 0)
            .field(
                "i",
                format!("UNIQ_KEY\u{1}{}\u{2}_SYS_MSG_PRIORITY_\u{1}7\u{2}", super::UNIQUE),
            )
            .ignoring("ext.queueOffset"),
    ]
}

fn unique_ids() -> Vec<Step> {
    vec![
        send("none", "S8", 0)
            .field("i", "KEYS\u{1}k\u{2}")
            .ignoring("ext.transactionId"),
        send("no properties", "S8", 0)
            .without("i")
            .ignoring("ext.transactionId"),
        settled("S8", 0, 2),
        pull("stored", "S8", 0, 0)
            .ignoring("record[0].property.UNIQ_KEY")
            .ignoring("record[0].size")
            .ignoring("record[1].property.UNIQ_KEY")
            .ignoring("record[1].size"),
    ]
}

fn oneway() -> Vec<Step> {
    vec![
        send("good", "S9", 0).oneway(),
        send("bad topic", "S 9", 0).oneway(),
        send("a field that is no number", "S9", 0)
            .field("e", "x")
            .oneway(),
        settled("S9", 0, 1),
        send("the connection still answers", "S9", 0),
    ]
}

fn unknown_codes() -> Vec<Step> {
    vec![
        Step::broker("broker", Code(9999)).answers(3),
        Step::nameserver("name server", Code(9999)).answers(3),
        Step::broker("a code nobody handles", Code::SUSPEND_CONSUMER).answers(3),
        Step::broker("one-way", Code(9998)).oneway(),
        send("the connection still answers", "S10", 0),
    ]
}

fn long_names(topic: &str) -> Step {
    Step::broker("send", Code::SEND_MESSAGE)
        .field("producerGroup", "PG")
        .field("topic", topic)
        .field("defaultTopic", "TBW102")
        .field("defaultTopicQueueNums", 2)
        .field("queueId", 1)
        .field("sysFlag", 0)
        .field("bornTimestamp", 1_700_000_000_000_i64)
        .field("flag", 0)
        .field(
            "properties",
            format!("UNIQ_KEY\u{1}{}\u{2}TAGS\u{1}long\u{2}", super::UNIQUE),
        )
        .field("reconsumeTimes", 0)
        .field("unitMode", false)
        .field("maxReconsumeTimes", 0)
        .field("batch", false)
        .body("long names")
}

fn bad_names() -> Vec<Step> {
    let long = "t".repeat(128);
    let names = ["bad topic", "a/b", "a.b", "тема", "", " ", "a\tb", long.as_str()];
    names
        .iter()
        .map(|name| send(format!("`{name}`"), name, 0).answers(29))
        .collect()
}

fn reserved_names() -> Vec<Step> {
    let names = [
        "SCHEDULE_TOPIC_XXXX",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "RMQ_SYS_TRANS_OP_HALF_TOPIC",
        "TRANS_CHECK_MAX_TIME_TOPIC",
        "SELF_TEST_TOPIC",
        "OFFSET_MOVED_EVENT",
    ];
    let mut steps: Vec<Step> = names
        .iter()
        .map(|name| send(*name, name, 0).answers(16))
        .collect();
    steps.push(send("the topic of the cluster is open", "DefaultCluster", 0));
    steps.push(send("so is the topic of the broker", "broker-a", 0));
    steps
}

fn bad_fields() -> Vec<Step> {
    let mandatory = ["b", "c", "d", "e", "f", "g", "h"];
    let mut steps: Vec<Step> = mandatory
        .iter()
        .map(|name| send(format!("without {name}"), "S11", 0).without(name).answers(1))
        .collect();
    steps.extend([
        send("without a group", "S11", 0).without("a").ours(1),
        send("the queue is a word", "S11", 0)
            .field("e", "zero")
            .answers(1),
        send("the time is nothing", "S11", 0).field("g", "").answers(1),
        send("no body", "S11", 0).body("").answers(1).ours(1),
    ]);
    steps
}

fn sizes() -> Vec<Step> {
    let property = |bytes: usize| format!("k\u{1}{}\u{2}", "x".repeat(bytes - 3));
    let body = |bytes: usize| "b".repeat(bytes);
    vec![
        send("a body of 4 MiB", "S12", 0).body(body(4 << 20)),
        send("a body of 4 MiB and a byte", "S12", 0)
            .body(body((4 << 20) + 1))
            .answers(13),
        send("properties far too long", "S12", 0)
            .field("i", property(40_000))
            .answers(13),
        // The broker adds properties of its own before it measures.
        send("properties of 32767 bytes", "S12", 0)
            .field("i", property(32_767))
            .answers(13),
        send("properties of 32000 bytes", "S12", 0)
            .field("i", property(32_000))
            .ignoring("ext.transactionId"),
    ]
}

fn templates() -> Vec<Step> {
    vec![
        send("no such topic", "S13", 0)
            .field("c", "NoSuchTopic")
            .answers(17),
        send("a topic that nothing is made after", "S13", 0)
            .field("c", "BenchmarkTest")
            .answers(17),
        send("none named", "S13", 0).field("c", "").answers(17),
        send("the topic of the cluster", "S14", 0)
            .field("c", "DefaultCluster")
            .field("d", 20),
        route("as many queues as it has", "S14").until("code", 0),
        send("the usual one, one queue", "S15", 0).field("d", 1),
        route("one queue", "S15").until("code", 0),
        send("the usual one, a hundred", "S16", 0).field("d", 100),
        route("not more than it has", "S16").until("code", 0),
        send("the usual one, none", "S17", 0).field("d", 0).answers(29),
        send("the usual one, minus one", "S18", 0)
            .field("d", -1)
            .answers(29),
    ]
}

fn carried() -> Vec<Step> {
    let pairs = [
        ("UNIQ_KEY", super::UNIQUE),
        ("KEYS", "a b ключ"),
        ("TAGS", "метка"),
        ("WAIT", "false"),
        ("colour", "blå; \"quoted\" {json}"),
        ("POP_CK", "is dropped"),
        ("MSG_REGION", "is replaced"),
        ("CLUSTER", "is replaced"),
        ("TRACE_ON", "false"),
        ("BUYER_ID", "b"),
    ];
    let properties: String = pairs
        .iter()
        .map(|(name, value)| format!("{name}\u{1}{value}\u{2}"))
        .collect();
    let odd = format!(
        "UNIQ_KEY\u{1}{}\u{2}empty\u{1}\u{2}no-separator\u{2}TAGS\u{1}last",
        super::UNIQUE
    );
    vec![
        send("everything", "S19", 0)
            .field("i", properties)
            .field("h", 42)
            .field("f", 2)
            .body("тело \u{1f6a4}"),
        send("odd properties", "S19", 0).field("i", odd),
        send("bytes that are no text", "S19", 0).body([0, 0xff, 0xfe, 1]),
        send("said to be compressed", "S19", 0)
            .field("f", 0x301)
            .body("not really"),
        send("reconsumed", "S19", 0).field("j", 3).field("k", true),
        settled("S19", 0, 5),
        pull("stored", "S19", 0, 0),
    ]
}

fn batches() -> Vec<Step> {
    let three = batch_body(&[
        (
            "one",
            "UNIQ_KEY\u{1}7F000001053900000000000000000001\u{2}KEYS\u{1}k1\u{2}",
        ),
        (
            "two",
            "UNIQ_KEY\u{1}7F000001053900000000000000000002\u{2}TAGS\u{1}T\u{2}",
        ),
        ("three", "UNIQ_KEY\u{1}7F000001053900000000000000000003\u{2}"),
    ]);
    let one = batch_body(&[("alone", "UNIQ_KEY\u{1}7F000001053900000000000000000004\u{2}")]);
    vec![
        batch("three", "S20", three.clone()),
        batch("one", "S20", one),
        send("marked as a batch under the other code", "S20", 0)
            .field("m", true)
            .body(three),
        send("a single message after", "S20", 0),
        settled("S20", 0, 8),
        pull("stored", "S20", 0, 0),
    ]
}

fn bad_batches() -> Vec<Step> {
    let good = batch_body(&[("one", "UNIQ_KEY\u{1}7F000001053900000000000000000001\u{2}")]);
    let mut torn = batch_body(&[("one", ""), ("two", "")]);
    torn.truncate(torn.len() - 4);
    let mut negative = good.clone();
    negative[16..20].copy_from_slice(&(-1_i32).to_be_bytes());
    vec![
        batch("make the topic", "S21", good.clone()),
        batch("a retry topic", "%RETRY%CG_S21", good).answers(13),
        batch("cut short", "S21", torn).answers(1).ours(13),
        batch("a negative length", "S21", negative).answers(1).ours(13),
        batch("one byte", "S21", vec![7]).answers(1).ours(13),
        send("a single message after", "S21", 0),
    ]
}

fn retries() -> Vec<Step> {
    vec![
        send("a group is made on the way", "%RETRY%CG_S22", 0),
        send("as often as allowed", "%RETRY%CG_S22", 0)
            .field("j", 16)
            .field("l", 16),
        send("once too often goes to the dead letters", "%RETRY%CG_S22", 0)
            .field("j", 17)
            .field("l", 16),
        settled("%RETRY%CG_S22", 0, 2),
        settled("%DLQ%CG_S22", 0, 1),
        pull("the dead letter", "%DLQ%CG_S22", 0, 0),
        send("no group in the name", "%RETRY%", 0).answers(26),
    ]
}
