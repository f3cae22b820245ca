// SPDX-License-Identifier: Apache-2.0
//! Codes 200050 to 200055 and 200151: leases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use store::env::Env;
use store::env::sim::SimClock;
use wire::api::offset::{QueryConsumerOffset, UpdateConsumerOffset};
use wire::api::pop::{
    AckMessage, BatchAckMessage, ChangeMessageInvisibletime, ChangedReply, Notification, PeekMessage,
    PollingInfo, PopMessage, PopReply,
};
use wire::body::pop::{BatchAck, BatchAcks};
use wire::fastjson;
use wire::frame::Frame;
use wire::properties::get;
use wire::receipt::Receipt;
use wire::record::{Record, RecordHead};

use crate::rig::{Client, Rig, SOON};

const START_MS: i64 = 1_800_000_000_000;
/// Longer than any test lasts.
pub(crate) const MINUTE: i64 = 60_000;

/// A broker whose time stands still until the test lets it pass.
pub(crate) struct Timed {
    pub(crate) rig: Rig,
    pub(crate) clock: Arc<SimClock>,
}

impl Timed {
    async fn start(settings: &[(&str, &str)]) -> Timed {
        let clock = Arc::new(SimClock::at(START_MS));
        let rig = Rig::start_on(env(&clock), tempfile::tempdir().unwrap(), settings).await;
        Timed { rig, clock }
    }

    async fn restart(self, settings: &[(&str, &str)]) -> Timed {
        let dir = self.rig.stop().await;
        let rig = Rig::start_on(env(&self.clock), dir, settings).await;
        Timed {
            rig,
            clock: self.clock,
        }
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }
}

pub(crate) fn env(clock: &Arc<SimClock>) -> Env {
    Env {
        clock: Arc::clone(clock) as Arc<dyn store::env::Clock>,
        ..Env::real()
    }
}

pub(crate) fn pop(topic: &str, queue_id: i32) -> PopMessage {
    PopMessage {
        consumer_group: "G".into(),
        topic: topic.into(),
        queue_id,
        max_msg_nums: 32,
        invisible_time: MINUTE,
        exp_type: Some("TAG".into()),
        exp: Some("*".into()),
        order: Some(false),
        ..PopMessage::default()
    }
}

pub(crate) fn held(topic: &str, queue_id: i32) -> PopMessage {
    PopMessage {
        poll_time: MINUTE,
        ..pop(topic, queue_id)
    }
}

/// One message as a client sees it.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) body: String,
    pub(crate) reconsumed: i32,
    pub(crate) properties: Vec<u8>,
    /// Where it is acknowledged.
    pub(crate) topic: String,
    pub(crate) queue_id: i32,
    pub(crate) offset: i64,
    pub(crate) handle: String,
}

#[derive(Debug)]
pub(crate) struct Popped {
    pub(crate) code: i32,
    pub(crate) remark: String,
    pub(crate) header: PopReply,
    pub(crate) messages: Vec<Got>,
}

impl Popped {
    /// Makes the handles as clients do.
    pub(crate) fn of(frame: &Frame) -> Popped {
        let header: PopReply = frame.ext.read().unwrap();
        let mut starts = BTreeMap::new();
        for entry in header
            .start_offset_info
            .as_deref()
            .unwrap_or("")
            .split(';')
            .filter(|e| !e.is_empty())
        {
            let words: Vec<&str> = entry.split(' ').collect();
            starts.insert(
                (words[0].to_owned(), words[1].to_owned()),
                words[2].parse::<i64>().unwrap(),
            );
        }
        let mut messages = Vec::new();
        let mut rest = &frame.body[..];
        while let Ok(head) = RecordHead::scan(rest) {
            let parts = head.parts;
            let ck = get(parts.properties, "POP_CK").map(str::to_owned);
            let handle = ck.unwrap_or_else(|| {
                let origin = if parts.topic.starts_with("%RETRY%") {
                    "1"
                } else {
                    "0"
                };
                let key = (origin.to_owned(), parts.queue_id.to_string());
                let receipt = Receipt {
                    start_offset: starts[&key],
                    pop_time: header.pop_time,
                    invisible_time: header.invisible_time,
                    revive_qid: header.revive_qid,
                    broker_name: "broker-a".into(),
                };
                receipt.handle(parts.topic, parts.queue_id as i32, head.stamp.queue_offset)
            });
            let topic = match handle.split(' ').nth(4).unwrap() {
                _ if parts.topic.starts_with("%RETRY%") => parts.topic.to_owned(),
                "1" => format!("%RETRY%G_{}", parts.topic),
                "2" => format!("%RETRY%G+{}", parts.topic),
                _ => parts.topic.to_owned(),
            };
            messages.push(Got {
                body: String::from_utf8(parts.body.to_vec()).unwrap(),
                reconsumed: parts.reconsume_times,
                properties: parts.properties.to_vec(),
                topic,
                queue_id: parts.queue_id as i32,
                offset: head.stamp.queue_offset,
                handle,
            });
            rest = &rest[head.total_size..];
        }
        Popped {
            code: frame.code,
            remark: frame.remark.clone().unwrap_or_default().into(),
            header,
            messages,
        }
    }

    pub(crate) fn bodies(&self) -> Vec<&str> {
        let mut bodies: Vec<&str> = self.messages.iter().map(|got| got.body.as_str()).collect();
        bodies.sort_unstable();
        bodies
    }
}

impl Client {
    pub(crate) async fn pop(&self, header: &PopMessage) -> Popped {
        Popped::of(&self.ask(header).await)
    }

    pub(crate) async fn pop_in_background(&self, header: PopMessage) -> tokio::task::JoinHandle<Popped> {
        let channel = Arc::clone(&self.channel);
        let (group, topic, queue_id) = (
            header.consumer_group.clone(),
            header.topic.clone(),
            header.queue_id,
        );
        let before = self.polling(&group, &topic, queue_id).await;
        let popped = tokio::spawn(async move {
            Popped::of(&channel.call(Frame::request(0, &header), SOON).await.unwrap())
        });
        let deadline = std::time::Instant::now() + SOON;
        while self.polling(&group, &topic, queue_id).await == before {
            assert!(std::time::Instant::now() < deadline, "it is not held");
            tokio::task::yield_now().await;
        }
        popped
    }

    async fn polling(&self, group: &str, topic: &str, queue_id: i32) -> i32 {
        let ask = PollingInfo {
            consumer_group: group.into(),
            topic: topic.into(),
            queue_id,
        };
        self.get(&ask).await.polling_num
    }

    pub(crate) async fn ack(&self, got: &Got) -> Frame {
        self.ask(&ack(got)).await
    }

    pub(crate) async fn change(&self, got: &Got, invisible_time: i64) -> (Frame, Got) {
        let reply = self
            .ask(&ChangeMessageInvisibletime {
                consumer_group: "G".into(),
                topic: got.topic.as_str().into(),
                queue_id: got.queue_id,
                extra_info: got.handle.as_str().into(),
                offset: got.offset,
                invisible_time,
            })
            .await;
        let changed: ChangedReply = reply.ext.read().unwrap();
        let receipt = Receipt::parse(&got.handle).unwrap();
        let receipt = Receipt {
            pop_time: changed.pop_time,
            invisible_time: changed.invisible_time,
            ..receipt
        };
        let handle = receipt.handle(&got.topic, got.queue_id, got.offset);
        (
            reply,
            Got {
                handle,
                ..got.clone()
            },
        )
    }

    pub(crate) async fn committed(&self, topic: &str, queue_id: i32) -> i64 {
        let ask = QueryConsumerOffset {
            consumer_group: "G".into(),
            topic: topic.into(),
            queue_id,
            set_zero_if_not_found: None,
        };
        self.get(&ask).await.offset
    }
}

impl Client {
    /// Waits until so much is committed.
    pub(crate) async fn commits(&self, topic: &str, queue_id: i32, offset: i64) {
        let wait = async {
            while self.committed(topic, queue_id).await != offset {
                tokio::task::yield_now().await;
            }
        };
        let reached = tokio::time::timeout(SOON, wait).await;
        assert!(reached.is_ok(), "{topic} {queue_id} is not at {offset}");
    }
}

fn ack(got: &Got) -> AckMessage {
    AckMessage {
        consumer_group: "G".into(),
        topic: got.topic.as_str().into(),
        queue_id: got.queue_id,
        extra_info: got.handle.as_str().into(),
        offset: got.offset,
    }
}

pub(crate) async fn timed(settings: &[(&str, &str)]) -> (Timed, Client) {
    let timed = Timed::start(settings).await;
    let client = timed.rig.client_of("T", 2).await;
    (timed, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_hands_messages_out_once_and_says_so_in_the_reference_s_words() {
    let (_timed, client) = timed(&[]).await;
    for body in ["a", "b", "c"] {
        client.send("T", 1, body).await;
    }
    client.send("T", 0, "d").await;
    let popped = client.pop(&pop("T", 1)).await;
    assert_eq!((popped.code, popped.remark.as_str()), (0, "FOUND"));
    assert_eq!(popped.bodies(), ["a", "b", "c"]);
    let header = &popped.header;
    assert_eq!(header.start_offset_info.as_deref(), Some("0 1 0"));
    assert_eq!(header.msg_offset_info.as_deref(), Some("0 1 0,1,2"));
    assert_eq!(
        (header.pop_time, header.invisible_time, header.rest_num),
        (START_MS, MINUTE, 0)
    );
    assert_eq!(header.order_count_info, None);
    let popped = client.pop(&pop("T", -1)).await;
    assert_eq!(popped.bodies(), ["d"]);
    assert_eq!(popped.header.msg_offset_info.as_deref(), Some("0 0 0"));
    let popped = client.pop(&pop("T", -1)).await;
    assert_eq!(
        (popped.code, popped.remark.as_str()),
        (210, "NO_MESSAGE_IN_QUEUE")
    );
    assert_eq!(popped.header.start_offset_info.as_deref(), Some(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_the_first_message_that_is_not_settled() {
    let (timed, client) = timed(&[]).await;
    for body in ["a", "b", "c"] {
        client.send("T", 0, body).await;
    }
    let popped = client.pop(&pop("T", 0)).await;
    assert_eq!(client.committed("T", 0).await, 0);
    assert_eq!(client.ack(&popped.messages[1]).await.code, 0);
    assert_eq!(client.committed("T", 0).await, 0);
    assert_eq!(client.ack(&popped.messages[0]).await.code, 0);
    assert_eq!(client.committed("T", 0).await, 2);
    let timed = timed.restart(&[]).await;
    let client = timed.rig.client().await;
    assert_eq!(
        client.pop(&pop("T", 0)).await.code,
        210,
        "the third one is still with its consumer"
    );
    assert_eq!(client.ack(&popped.messages[2]).await.code, 0);
    assert_eq!(client.committed("T", 0).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_settled_in_time_comes_again_by_way_of_the_retry_topic() {
    let (timed, client) = timed(&[]).await;
    client
        .send_with("T", 0, "a", "TAGS\u{1}x\u{2}KEYS\u{1}k\u{2}")
        .await;
    client.send("T", 0, "b").await;
    let first = client.pop(&pop("T", -1)).await;
    client.ack(&first.messages[1]).await;
    timed.pass(MINUTE as u64 - 1);
    let waiting = client.pop_in_background(held("T", -1)).await;
    timed.pass(1);
    let again = waiting.await.unwrap();
    assert_eq!(again.bodies(), ["a"]);
    let got = &again.messages[0];
    assert_eq!((got.topic.as_str(), got.reconsumed), ("%RETRY%G_T", 1));
    assert_eq!(again.header.msg_offset_info.as_deref(), Some("1 0 0"));
    let property = |name| get(&got.properties, name).map(str::to_owned);
    assert_eq!(property("1ST_POP_TIME"), Some(START_MS.to_string()));
    assert_eq!(property("ORIGIN_GROUP").as_deref(), Some("G"));
    assert_eq!(
        (property("TAGS").as_deref(), property("KEYS").as_deref()),
        (Some("x"), Some("k"))
    );
    // Settled as soon as the copy is on disk.
    client.commits("T", 0, 2).await;
    // A handle from before is answered, and changes nothing.
    assert_eq!(client.ack(&first.messages[0]).await.code, 0);
    assert_eq!(client.committed("%RETRY%G_T", 0).await, 0);
    assert_eq!(client.ack(got).await.code, 0);
    assert_eq!(client.committed("%RETRY%G_T", 0).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_comes_again_and_again_with_one_more_delivery_each_time() {
    let (timed, client) = timed(&[("enableRetryTopicV2", "true")]).await;
    client.send("T", 0, "a").await;
    assert_eq!(client.pop(&pop("T", -1)).await.bodies(), ["a"]);
    for reconsumed in 1..4 {
        let waiting = client.pop_in_background(held("T", -1)).await;
        timed.pass(MINUTE as u64);
        let mut again = waiting.await.unwrap();
        if again.messages.is_empty() {
            // Its own patience ended in the same moment.
            again = client.pop(&held("T", -1)).await;
        }
        let got = &again.messages[0];
        assert_eq!((got.topic.as_str(), got.reconsumed), ("%RETRY%G+T", reconsumed));
        let first = get(&got.properties, "1ST_POP_TIME").map(str::to_owned);
        assert_eq!(first, Some(START_MS.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_message_can_be_changed_and_only_the_new_handle_is_good() {
    let (timed, client) = timed(&[]).await;
    client.send("T", 0, "a").await;
    let popped = client.pop(&pop("T", 0)).await;
    timed.pass(10);
    let (reply, changed) = client.change(&popped.messages[0], 3 * MINUTE).await;
    assert_eq!(reply.code, 0);
    let header: ChangedReply = reply.ext.read().unwrap();
    assert_eq!(
        (header.pop_time, header.invisible_time),
        (START_MS + 10, 3 * MINUTE)
    );
    client.ack(&popped.messages[0]).await;
    assert_eq!(client.committed("T", 0).await, 0);
    timed.pass(MINUTE as u64 * 2);
    assert_eq!(client.pop(&pop("T", -1)).await.code, 210);
    client.ack(&changed).await;
    assert_eq!(client.committed("T", 0).await, 1);
    // What is settled has no time any more.
    let (reply, _) = client.change(&changed, 1).await;
    assert_eq!(reply.code, 0);
    timed.pass(MINUTE as u64 * 2);
    assert_eq!(client.pop(&pop("T", -1)).await.code, 210);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_come_in_batches() {
    let (_timed, client) = timed(&[]).await;
    for body in ["a", "b", "c", "d"] {
        client.send("T", 0, body).await;
    }
    let popped = client.pop(&pop("T", 0)).await;
    let one = BatchAck {
        bits: "Cw==".into(),
        consumer_group: "G".into(),
        topic: "T".into(),
        retry: "0".into(),
        pop_time: popped.header.pop_time,
        invisible_time: MINUTE,
        revive_qid: popped.header.revive_qid,
        ..BatchAck::default()
    };
    let body = BatchAcks {
        acks: vec![one],
        broker_name: "broker-a".into(),
    };
    let reply = client.ask_with(&BatchAckMessage, fastjson::to_vec(&body)).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    assert_eq!(client.committed("T", 0).await, 2, "bits 0, 1 and 3");
    client.ack(&popped.messages[2]).await;
    assert_eq!(client.committed("T", 0).await, 4);
    let reply = client.ask_with(&BatchAckMessage, "").await;
    assert_eq!(reply.code, 208);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_wanted_tags_are_handed_out_and_the_others_are_settled() {
    let (_timed, client) = timed(&[]).await;
    for tag in ["x", "y", "x", "z"] {
        client.send_tagged("T", 0, tag).await;
    }
    let ask = PopMessage {
        exp: Some("x || z".into()),
        ..pop("T", 0)
    };
    let popped = client.pop(&ask).await;
    assert_eq!(popped.header.msg_offset_info.as_deref(), Some("0 0 0,2,3"));
    client.ack(&popped.messages[0]).await;
    assert_eq!(client.committed("T", 0).await, 2);
    client.send_tagged("T", 1, "y").await;
    let ask = PopMessage { queue_id: 1, ..ask };
    assert_eq!(client.pop(&ask).await.code, 210);
    assert_eq!(client.committed("T", 1).await, 1, "nobody wants it");
    client.send_with("T", 1, "few", "a\u{1}1\u{2}").await;
    client.send_with("T", 1, "many", "a\u{1}5\u{2}").await;
    let sql = |expression: &str| PopMessage {
        exp_type: Some("SQL92".into()),
        exp: Some(expression.into()),
        ..pop("T", 1)
    };
    assert_eq!(client.pop(&sql("a > 1")).await.bodies(), ["many"]);
    assert_eq!(client.pop(&sql("a >")).await.code, 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pop_is_answered_when_a_message_comes() {
    let (timed, client) = timed(&[]).await;
    let waiting = client.pop_in_background(held("T", -1)).await;
    client.send("T", 1, "a").await;
    let popped = waiting.await.unwrap();
    assert_eq!(popped.bodies(), ["a"]);
    client.ack(&popped.messages[0]).await;
    assert_eq!(client.polling("G", "T", -1).await, 0);
    let waiting = client.pop_in_background(held("T", 0)).await;
    timed.pass(MINUTE as u64);
    let popped = waiting.await.unwrap();
    assert_eq!(
        (popped.code, popped.remark.as_str()),
        (210, "NO_MESSAGE_IN_QUEUE")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_held_pops_each_message_wakes_one_for_good() {
    let (_timed, client) = timed(&[]).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let held = client.pop_in_background(held("T", -1)).await;
        waiting.spawn(async move { held.await.unwrap() });
    }
    for number in 0..8 {
        client.send("T", number % 2, &number.to_string()).await;
        let popped = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(popped.bodies(), [number.to_string()]);
        assert_eq!(client.polling("G", "T", -1).await, 7 - number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_pops_than_configured_are_not_held() {
    let (_timed, client) = timed(&[("popPollingSize", "1"), ("maxPopPollingSize", "3")]).await;
    let first = client.pop_in_background(held("T", 0)).await;
    let second = client.pop_in_background(held("T", 0)).await;
    let refused = client.pop(&held("T", 0)).await;
    assert_eq!(
        (refused.code, refused.remark.as_str()),
        (209, "NO_MESSAGE_IN_QUEUE")
    );
    let other = client.pop_in_background(held("T", 1)).await;
    assert_eq!(client.pop(&held("T", -1)).await.code, 209, "too many in all");
    for waiting in [first, second, other] {
        waiting.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_is_refused_with_the_reference_s_codes() {
    let (timed, client) = timed(&[]).await;
    let code = async |ask: PopMessage| client.ask(&ask).await.code;
    assert_eq!(code(pop("NONE", 0)).await, 17);
    assert_eq!(code(pop("T", 2)).await, 29);
    assert_eq!(
        code(PopMessage {
            max_msg_nums: 33,
            ..pop("T", 0)
        })
        .await,
        29
    );
    assert_eq!(
        code(PopMessage {
            exp: Some("||".into()),
            ..pop("T", 0)
        })
        .await,
        23
    );
    let late = PopMessage {
        born_time: START_MS - 10_501,
        poll_time: 10_000,
        ..pop("T", 0)
    };
    let reply = client.ask(&late).await;
    assert_eq!(reply.code, 210);
    assert!(reply.remark.unwrap().contains("timeout too much"));
    assert_eq!(
        code(PopMessage {
            consumer_group: "b@d".into(),
            ..pop("T", 0)
        })
        .await,
        26
    );
    drop(timed);
    let off = Timed::start(&[("timerWheelEnable", "false")]).await;
    let client = off.rig.client_of("T", 1).await;
    assert_eq!(client.ask(&pop("T", 0)).await.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_is_refused_with_the_reference_s_codes() {
    let (_timed, client) = timed(&[]).await;
    client.send("T", 0, "a").await;
    let got = client.pop(&pop("T", 0)).await.messages.remove(0);
    let good = ack(&got);
    let code = async |ask: AckMessage| client.ask(&ask).await.code;
    assert_eq!(
        code(AckMessage {
            topic: "NONE".into(),
            ..good.clone()
        })
        .await,
        17
    );
    assert_eq!(
        code(AckMessage {
            queue_id: 2,
            ..good.clone()
        })
        .await,
        13
    );
    assert_eq!(
        code(AckMessage {
            queue_id: -1,
            ..good.clone()
        })
        .await,
        13
    );
    assert_eq!(
        code(AckMessage {
            offset: 2,
            ..good.clone()
        })
        .await,
        208
    );
    assert_eq!(
        code(AckMessage {
            offset: -1,
            ..good.clone()
        })
        .await,
        208
    );
    assert_eq!(
        code(AckMessage {
            offset: 1,
            ..good.clone()
        })
        .await,
        0,
        "the next offset is believed"
    );
    let forged = client
        .ask(&AckMessage {
            extra_info: "a b c".into(),
            ..good.clone()
        })
        .await;
    assert_eq!(forged.code, 1);
    assert!(forged.remark.unwrap().contains("no receipt handle"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_changed_only_where_there_is_a_message() {
    let (_timed, client) = timed(&[]).await;
    client.send("T", 0, "a").await;
    let got = client.pop(&pop("T", 0)).await.messages.remove(0);
    let beyond = Got { offset: 1, ..got };
    let (reply, _) = client.change(&beyond, 5).await;
    assert_eq!(reply.code, 208);
    assert_eq!(client.committed("T", 0).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_queue_hands_out_one_batch_at_a_time() {
    let (timed, client) = timed(&[]).await;
    for body in ["a", "b", "c"] {
        client.send("T", 0, body).await;
    }
    let ask = PopMessage {
        order: Some(true),
        max_msg_nums: 2,
        attempt_id: Some("one".into()),
        ..pop("T", 0)
    };
    let first = client.pop(&ask).await;
    assert_eq!(first.bodies(), ["a", "b"]);
    assert_eq!(
        (first.header.revive_qid, first.header.order_count_info.as_deref()),
        (999, Some("0 0 0"))
    );
    let other = PopMessage {
        attempt_id: Some("two".into()),
        ..ask.clone()
    };
    assert_eq!(client.pop(&other).await.code, 210, "blocked");
    assert_eq!(
        client.pop(&ask).await.bodies(),
        ["a", "b"],
        "the same attempt is repeated"
    );
    timed.pass(MINUTE as u64);
    let again = client.pop(&other).await;
    assert_eq!(
        again.bodies(),
        ["a", "b"],
        "not settled in time: from the queue itself"
    );
    assert_eq!(
        again.header.order_count_info.as_deref(),
        Some("0 qo0%0 1;0 qo0%1 1;0 0 1")
    );
    client.ack(&first.messages[0]).await;
    assert_eq!(client.committed("T", 0).await, 0, "a stale handle");
    client.ack(&again.messages[0]).await;
    assert_eq!(client.committed("T", 0).await, 1);
    let waiting = client
        .pop_in_background(PopMessage {
            attempt_id: Some("three".into()),
            poll_time: MINUTE,
            ..ask.clone()
        })
        .await;
    client.ack(&again.messages[1]).await;
    assert_eq!(waiting.await.unwrap().bodies(), ["c"], "free at once");
    let stranger = Got {
        offset: 3,
        handle: first.messages[0].handle.clone(),
        ..first.messages[0].clone()
    };
    assert_eq!(client.ack(&stranger).await.code, 0, "an older pop time");
    let file = timed.rig.dir.path().join("store/config/consumerOrderInfo.json");
    drop(client);
    let dir = timed.rig.stop().await;
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("\"T@G\"") && text.contains("\"popTime\""), "{text}");
    drop(dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_queue_is_handed_out_again_when_its_time_is_over() {
    let (timed, client) = timed(&[]).await;
    client.send("T", 0, "a").await;
    let ask = PopMessage {
        order: Some(true),
        ..pop("T", 0)
    };
    let first = client.pop(&ask).await;
    let (reply, _) = client.change(&first.messages[0], 2 * MINUTE).await;
    let header: ChangedReply = reply.ext.read().unwrap();
    assert_eq!(
        (header.pop_time, header.invisible_time, header.revive_qid),
        (START_MS, 2 * MINUTE, 999)
    );
    timed.pass(MINUTE as u64 + 1);
    assert_eq!(client.pop(&ask).await.code, 210);
    let waiting = client
        .pop_in_background(PopMessage {
            poll_time: 10 * MINUTE,
            ..ask.clone()
        })
        .await;
    timed.pass(MINUTE as u64);
    assert_eq!(waiting.await.unwrap().bodies(), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn peeking_changes_nothing_and_a_notification_only_says_whether() {
    let (_timed, client) = timed(&[]).await;
    let peek = PeekMessage {
        topic: "T".into(),
        queue_id: -1,
        max_msg_nums: 5,
        consumer_group: "G".into(),
    };
    let ask = Notification {
        consumer_group: "G".into(),
        topic: "T".into(),
        queue_id: -1,
        ..Notification::default()
    };
    assert_eq!(client.ask(&peek).await.code, 19);
    let none = client.get(&ask).await;
    assert!(!none.has_msg && !none.polling_full);
    let channel = Arc::clone(&client.channel);
    let waiting = tokio::spawn(async move {
        let ask = Notification {
            poll_time: MINUTE,
            ..ask
        };
        channel.call(Frame::request(0, &ask), SOON).await.unwrap()
    });
    client.send("T", 1, "a").await;
    assert_eq!(waiting.await.unwrap().ext.get("hasMsg").as_deref(), Some("true"));
    for _ in 0..2 {
        let reply = client.ask(&peek).await;
        let bodies: Vec<_> = Record::decode_all(&reply.body)
            .map(|record| record.unwrap().body)
            .collect();
        assert_eq!((reply.code, bodies.len()), (0, 1));
        let header: PopReply = reply.ext.read().unwrap();
        assert_eq!(header.rest_num, 1);
    }
    assert_eq!(client.pop(&pop("T", -1)).await.bodies(), ["a"]);
    assert_eq!(client.ask(&peek).await.code, 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_somebody_else_commits_is_where_pops_go_on() {
    let (timed, client) = timed(&[]).await;
    for body in ["a", "b", "c", "d"] {
        client.send("T", 0, body).await;
    }
    let two = PopMessage {
        max_msg_nums: 2,
        ..pop("T", 0)
    };
    let commit = |offset| UpdateConsumerOffset {
        consumer_group: "G".into(),
        topic: "T".into(),
        queue_id: 0,
        commit_offset: offset,
    };
    assert_eq!(client.pop(&two).await.bodies(), ["a", "b"]);
    client.get(&commit(3)).await;
    assert_eq!(client.pop(&two).await.bodies(), ["d"]);
    client.get(&commit(1)).await;
    assert_eq!(client.pop(&two).await.bodies(), ["b", "c"], "back again");
    // What was handed out before that is still out.
    timed.pass(MINUTE as u64);
    let mut bodies = Vec::new();
    while bodies.len() < 4 {
        let popped = client.pop(&held("T", -1)).await;
        bodies.extend(popped.messages.iter().map(|got| got.body.clone()));
    }
    bodies.sort();
    assert_eq!(bodies, ["a", "b", "c", "d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_sync_flush_an_answer_waits_for_the_journal() {
    let (_timed, client) = timed(&[("flushDiskType", "SYNC_FLUSH")]).await;
    client.send("T", 0, "a").await;
    let popped = client.pop(&pop("T", 0)).await;
    assert_eq!(popped.bodies(), ["a"]);
    let (reply, changed) = client.change(&popped.messages[0], MINUTE).await;
    assert_eq!(reply.code, 0);
    assert_eq!(client.ack(&changed).await.code, 0);
    assert_eq!(client.committed("T", 0).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_again_begins_anew() {
    let (_timed, client) = timed(&[]).await;
    client.send("T", 0, "a").await;
    assert_eq!(client.pop(&pop("T", 0)).await.bodies(), ["a"]);
    let delete = wire::api::topic::DeleteTopicInBroker { topic: "T".into() };
    assert_eq!(client.ask(&delete).await.code, 0);
    client.make_topic("T", 2).await;
    client.send("T", 0, "b").await;
    assert_eq!(client.pop(&pop("T", 0)).await.bodies(), ["b"]);
}

/// A note of a reference broker, as its timers would bring it: with a time that is over.
async fn note(client: &Client, tag: &str, body: &str) {
    let properties = format!(
        "TAGS\u{1}{tag}\u{2}TIMER_DELIVER_MS\u{1}{}\u{2}",
        START_MS - 1_000
    );
    client
        .send_with("rmq_sys_REVIVE_LOG_DefaultCluster", 3, body, &properties)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reference_broker_had_handed_out_comes_again_unless_it_was_acknowledged() {
    let (timed, client) = timed(&[("reviveInterval", "10")]).await;
    for body in ["a", "b", "c", "d"] {
        client.send("T", 0, body).await;
    }
    // It had handed out three of them.
    let commit = UpdateConsumerOffset {
        consumer_group: "G".into(),
        topic: "T".into(),
        queue_id: 0,
        commit_offset: 3,
    };
    client.get(&commit).await;
    let popped_at = START_MS - 30_000;
    let point = format!(
        r#"{{"bm":0,"bn":"broker-a","c":"G","d":[0,1,2],"it":29000,"n":3,"pt":{popped_at},"q":0,"ro":0,"so":0,"t":"T"}}"#
    );
    note(&client, "ck", &point).await;
    note(
        &client,
        "ack",
        &format!(r#"{{"ao":1,"bn":"broker-a","c":"G","pt":{popped_at},"q":0,"so":0,"t":"T"}}"#),
    )
    .await;
    // A consumer still has the last one, and says so here.
    let foreign = Got {
        body: "c".into(),
        reconsumed: 0,
        properties: Vec::new(),
        topic: "T".into(),
        queue_id: 0,
        offset: 2,
        handle: format!("0 {popped_at} 29000 3 0 broker-a 0 2"),
    };
    // Only where there are timer messages can a reference broker have been.
    client
        .send_with("T", 1, "late", "TIMER_DELAY_SEC\u{1}3600\u{2}")
        .await;
    assert_eq!(client.ack(&foreign).await.code, 0);
    let popped = client.pop(&pop("T", 0)).await;
    assert_eq!(popped.bodies(), ["d"], "where the reference would have gone on");
    let waiting = client.pop_in_background(held("T", -1)).await;
    timed.pass(10_000);
    let again = waiting.await.unwrap();
    assert_eq!(again.bodies(), ["a"]);
    let first = get(&again.messages[0].properties, "1ST_POP_TIME").map(str::to_owned);
    assert_eq!(first, Some(popped_at.to_string()));
    assert_eq!(client.pop(&pop("T", -1)).await.code, 210);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_of_ours_from_before_a_restart_is_not_taken_for_one_of_the_reference() {
    let settings = [("reviveInterval", "10")];
    let (mut timed, client) = timed(&settings).await;
    client.send("T", 0, "a").await;
    // Only where there are timer messages can a reference broker have been.
    client
        .send_with("T", 1, "late", "TIMER_DELAY_SEC\u{1}3600\u{2}")
        .await;
    let popped = client.pop(&pop("T", 0)).await;
    assert_eq!(client.ack(&popped.messages[0]).await.code, 0);
    timed.pass(1_000);
    for _ in 0..2 {
        timed = timed.restart(&settings).await;
        let client = timed.rig.client().await;
        // It comes late, of a message that is settled.
        let (reply, _) = client.change(&popped.messages[0], 1).await;
        assert_eq!(reply.code, 0);
        assert_eq!(client.committed("T", 0).await, 1);
        timed.pass(MINUTE as u64 * 2);
        assert_eq!(client.pop(&pop("T", -1)).await.code, 210);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_message_the_reference_handed_out_can_be_changed() {
    let (timed, client) = timed(&[("reviveInterval", "10")]).await;
    for body in ["a", "b"] {
        client.send("T", 0, body).await;
    }
    let commit = UpdateConsumerOffset {
        consumer_group: "G".into(),
        topic: "T".into(),
        queue_id: 0,
        commit_offset: 2,
    };
    client.get(&commit).await;
    client
        .send_with("T", 1, "late", "TIMER_DELAY_SEC\u{1}3600\u{2}")
        .await;
    let popped_at = START_MS - 30_000;
    let foreign = Got {
        body: "a".into(),
        reconsumed: 0,
        properties: Vec::new(),
        topic: "T".into(),
        queue_id: 0,
        offset: 0,
        handle: format!("0 {popped_at} 29000 3 0 broker-a 0 0"),
    };
    let (reply, changed) = client.change(&foreign, MINUTE).await;
    assert_eq!(reply.code, 0);
    assert_eq!(
        client.committed("T", 0).await,
        0,
        "it is ours now, and not settled"
    );
    client.ack(&changed).await;
    assert_eq!(client.committed("T", 0).await, 2);
    drop(timed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_no_room_for_more_properties_comes_again_without_the_marks() {
    let (timed, client) = timed(&[]).await;
    let properties = format!("UNIQ_KEY\u{1}u\u{2}x\u{1}{}\u{2}", "y".repeat(32_660));
    client.send_with("T", 0, "large", &properties).await;
    assert_eq!(client.pop(&pop("T", 0)).await.bodies(), ["large"]);
    let patient = PopMessage {
        poll_time: 3 * MINUTE,
        ..pop("T", -1)
    };
    let waiting = client.pop_in_background(patient).await;
    timed.pass(MINUTE as u64);
    let again = waiting.await.unwrap();
    assert_eq!(again.bodies(), ["large"]);
    assert_eq!(again.messages[0].reconsumed, 1);
    client.ack(&again.messages[0]).await;
    assert_eq!(client.committed("%RETRY%G_T", 0).await, 1);
}
