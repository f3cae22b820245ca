// SPDX-License-Identifier: Apache-2.0
//! Clients that do a little of everything, so that every number moves.

use std::time::{SystemTime, UNIX_EPOCH};

use wire::api::group::UpdateAndCreateSubscriptiongroup;
use wire::api::offset::UpdateConsumerOffset;
use wire::api::pop::{AckMessage, PopMessage};
use wire::api::send::{ConsumerSendMsgBack, SendMessageV2, SendReceipt};
use wire::api::transaction::EndTransaction;
use wire::message_id::decode_offset_id;
use wire::properties::get;
use wire::record::RecordHead;

use crate::rig::{Client, Rig, consumer, producer, pull, subscription};
use crate::scrape::{Scrape, until};

/// What makes everything happen soon.
pub(crate) const SOON: &[(&str, &str)] = &[
    ("messageDelayLevel", "1s 2s"),
    ("timerPrecisionMs", "50"),
    ("consumerLagKeptMills", "0"),
    ("transactionMetricFlushInterval", "50"),
    ("autoCreateSubscriptionGroup", "true"),
];

const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A broker on which everything has happened once.
pub(crate) async fn busy() -> (Rig, Client, Scrape) {
    let rig = Rig::start_with(SOON).await;
    let client = rig.client().await;
    for topic in ["plain", "fifo", "delayed", "timed", "tx", "popped", "failing"] {
        client.make_topic(topic, 1).await;
    }
    let bad = crate::rig::topic("no/topic", 1);
    assert_ne!(client.ask(&bad).await.code, 0);
    make_group(&client, "G").await;
    client.beat(&producer("p1", "producers")).await;
    for (group, topic, tags) in [
        ("G", "plain", "*"),
        ("tagged", "plain", "a"),
        ("failing", "failing", "*"),
    ] {
        let reply = client
            .beat(&consumer(group, &[subscription(topic, tags, 1)]))
            .await;
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
    }
    plain(&client).await;
    client.send_with("fifo", 0, "f", "__SHARDINGKEY\u{1}s\u{2}").await;
    client.send_with("delayed", 0, "d", "DELAY\u{1}1\u{2}").await;
    client
        .send_with("timed", 0, "t", "TIMER_DELAY_MS\u{1}100\u{2}")
        .await;
    client
        .send_with("timed", 0, "t", "TIMER_DELAY_SEC\u{1}600\u{2}")
        .await;
    for decision in [COMMIT, ROLLBACK, 0] {
        transaction(&client, "tx", decision).await;
    }
    pops(&client).await;
    give_up(&client).await;
    let scrape = until(&rig, "everything has happened", |scrape| {
        let has =
            |name: &str, labels: &[(&str, &str)]| scrape.with(name, labels).iter().any(|value| *value > 0.0);
        has("rocketmq_messages_in_total", &[("topic", "delayed")])
            && has("rocketmq_timer_dequeue_total", &[("topic", "timed")])
            && has("rocketmq_half_messages", &[("topic", "tx")])
            && has(
                "rocketmq_messages_out_total",
                &[("topic", "popped"), ("is_retry", "true")],
            )
            && has("rocketmq_storage_message_reserve_time_milliseconds", &[])
    });
    let popping = async {
        loop {
            // What was not settled comes again.
            pop(&client, "again").await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let scrape = tokio::select! {
        scrape = scrape => scrape,
        () = popping => unreachable!(),
    };
    (rig, client, scrape)
}

pub(crate) async fn make_group(client: &Client, group: &str) {
    let body = format!(
        "{{\"groupName\":\"{group}\",\"consumeEnable\":true,\"retryQueueNums\":1,\"retryMaxTimes\":16}}"
    );
    let made = client.ask_with(&UpdateAndCreateSubscriptiongroup {}, body).await;
    assert_eq!(made.code, 0, "{:?}", made.remark);
}

async fn plain(client: &Client) {
    let oneway = SendMessageV2 {
        producer_group: "PG".into(),
        topic: "plain".into(),
        default_topic: "TBW102".into(),
        properties: Some("x\u{1}y\u{2}".into()),
        ..SendMessageV2::default()
    };
    client
        .channel
        .push(wire::frame::Frame::request(0, &oneway).with_body("x").oneway())
        .unwrap();
    for tag in ["a", "a", "z"] {
        client.send_tagged("plain", 0, tag).await;
    }
    assert_eq!(client.pull(&pull("G", "plain", 0, 0)).await.code, 0);
    let commit = UpdateConsumerOffset {
        consumer_group: "G".into(),
        topic: "plain".into(),
        queue_id: 0,
        commit_offset: 1,
    };
    client.get(&commit).await;
}

pub(crate) async fn transaction(client: &Client, topic: &str, decision: i32) {
    let id = format!("ID{decision}");
    let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}PG\u{2}UNIQ_KEY\u{1}{id}\u{2}");
    let half = SendMessageV2 {
        producer_group: "PG".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        sys_flag: 4,
        born_timestamp: now_ms(),
        properties: Some(properties.into()),
        ..SendMessageV2::default()
    };
    let receipt: SendReceipt = client.ask_with(&half, "half").await.ext.read().unwrap();
    if decision == 0 {
        return;
    }
    let end = EndTransaction {
        topic: Some(topic.into()),
        producer_group: "PG".into(),
        tran_state_table_offset: receipt.queue_offset,
        commit_log_offset: decode_offset_id(&receipt.msg_id).unwrap().1,
        commit_or_rollback: decision,
        msg_id: id.as_str().into(),
        transaction_id: Some(id.as_str().into()),
        ..EndTransaction::default()
    };
    assert_eq!(client.ask(&end).await.code, 0);
}

/// Messages that are handed out: the handles, with the topic and the offset each belongs to.
pub(crate) async fn pop(client: &Client, group: &str) -> Vec<(String, i64, String)> {
    let ask = PopMessage {
        consumer_group: group.into(),
        topic: "popped".into(),
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: 200,
        born_time: now_ms(),
        exp_type: Some("TAG".into()),
        exp: Some("*".into()),
        ..PopMessage::default()
    };
    let answer = client.ask(&ask).await;
    let mut handed = Vec::new();
    let mut rest: &[u8] = &answer.body;
    while let Ok(head) = RecordHead::scan(rest) {
        rest = &rest[head.total_size..];
        let reply: wire::api::pop::PopReply = answer.ext.read().unwrap();
        let receipt = wire::receipt::Receipt {
            start_offset: head.stamp.queue_offset,
            pop_time: reply.pop_time,
            invisible_time: reply.invisible_time,
            revive_qid: reply.revive_qid,
            broker_name: "broker-a".into(),
        };
        let (topic, offset) = (head.parts.topic, head.stamp.queue_offset);
        let handle = match get(head.parts.properties, "POP_CK") {
            Some(handle) => handle.to_owned(),
            None => receipt
                .handle(topic, head.parts.queue_id as i32, offset)
                .to_string(),
        };
        handed.push((topic.to_owned(), offset, handle));
    }
    handed
}

async fn pops(client: &Client) {
    for _ in 0..2 {
        client.send("popped", 0, "p").await;
    }
    for group in ["popping", "again"] {
        make_group(client, group).await;
        client.consume(group, "popped", "*").await;
    }
    for (topic, offset, handle) in pop(client, "popping").await {
        let ack = AckMessage {
            consumer_group: "popping".into(),
            topic: topic.as_str().into(),
            queue_id: 0,
            extra_info: handle.as_str().into(),
            offset,
        };
        assert_eq!(client.ask(&ack).await.code, 0);
    }
    assert_eq!(pop(client, "again").await.len(), 2);
}

async fn give_up(client: &Client) {
    let receipt = client.send("failing", 0, "x").await;
    let (_, pos) = decode_offset_id(&receipt.msg_id).unwrap();
    for delay_level in [1, -1] {
        let back = ConsumerSendMsgBack {
            offset: pos,
            group: "failing".into(),
            delay_level,
            origin_topic: Some("failing".into()),
            ..ConsumerSendMsgBack::default()
        };
        let given = client.ask(&back).await;
        assert_eq!(given.code, 0, "{:?}", given.remark);
    }
}
