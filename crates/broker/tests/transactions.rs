// SPDX-License-Identifier: Apache-2.0
//! Transactions as producers, consumers and operators see them, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and looks at files and clocks as others do"
)]

#[path = "transactions/checks.rs"]
mod checks;
#[path = "transactions/crash.rs"]
mod crash;
#[path = "transactions/ends.rs"]
mod ends;
#[path = "transactions/fixtures.rs"]
mod fixtures;
#[path = "consume/life.rs"]
#[allow(dead_code, reason = "shared with consume.rs; each uses a part of it")]
mod life;
#[path = "consume/rig.rs"]
#[expect(dead_code, reason = "shared with consume.rs; each uses a part of it")]
mod rig;

use std::time::{SystemTime, UNIX_EPOCH};

use rig::{Client, pull};
use wire::api::explain::ExplainMessage;
use wire::api::send::{SendMessageV2, SendReceipt};
use wire::api::transaction::{EndTransaction, ForceTransaction, ListTransactions};
use wire::body::explain::{Explanation, MessageVerdict};
use wire::body::transaction::PendingTransactions;
use wire::fastjson;
use wire::frame::Frame;
use wire::message_id::decode_offset_id;
use wire::record::Record;

/// Asked at once and again and again.
const IMPATIENT: [(&str, &str); 3] = [
    ("transactionCheckInterval", "20"),
    ("transactionTimeOut", "0"),
    ("transactionMetricFlushInterval", "50"),
];
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A half that was sent: what its producer knows of it.
#[derive(Debug, Clone)]
struct Half {
    offset: i64,
    pos: i64,
    id: String,
}

async fn send_half(client: &Client, topic: &str, id: &str, more: &str) -> Half {
    let header = SendMessageV2 {
        producer_group: "PG".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 1,
        queue_id: 0,
        sys_flag: 4,
        flag: 7,
        born_timestamp: now_ms(),
        properties: Some(
            format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}PG\u{2}UNIQ_KEY\u{1}{id}\u{2}KEYS\u{1}k\u{2}{more}")
                .into(),
        ),
        ..SendMessageV2::default()
    };
    let reply = client.ask_with(&header, format!("body of {id}")).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    let receipt: SendReceipt = reply.ext.read().unwrap();
    let (_, pos) = decode_offset_id(&receipt.msg_id).unwrap();
    Half {
        offset: receipt.queue_offset,
        pos,
        id: id.to_owned(),
    }
}

/// A half of any group.
fn half_of(group: &str, id: &str) -> SendMessageV2 {
    SendMessageV2 {
        producer_group: group.into(),
        topic: "T".into(),
        default_topic: "TBW102".into(),
        sys_flag: 4,
        born_timestamp: now_ms(),
        properties: Some(
            format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{group}\u{2}UNIQ_KEY\u{1}{id}\u{2}").into(),
        ),
        ..SendMessageV2::default()
    }
}

fn end_of(half: &Half, decision: i32) -> EndTransaction {
    EndTransaction {
        producer_group: "PG".into(),
        tran_state_table_offset: half.offset,
        commit_log_offset: half.pos,
        commit_or_rollback: decision,
        from_transaction_check: Some(false),
        msg_id: half.id.as_str().into(),
        ..EndTransaction::default()
    }
}

async fn end(client: &Client, half: &Half, decision: i32) -> Frame {
    client.ask(&end_of(half, decision)).await
}

async fn ended(client: &Client, half: &Half, decision: i32) {
    let reply = end(client, half, decision).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
}

/// Everything in queue 0 of a topic.
async fn delivered(client: &Client, topic: &str) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let pulled = client.pull(&pull("G", topic, 0, all.len() as i64)).await;
        if pulled.code != 0 {
            return all;
        }
        all.extend(Record::decode_all(&pulled.frame.body).map(Result::unwrap));
    }
}

async fn bodies(client: &Client, topic: &str) -> Vec<String> {
    let records = delivered(client, topic).await;
    records
        .iter()
        .map(|record| String::from_utf8(record.body.to_vec()).unwrap())
        .collect()
}

async fn pending(client: &Client) -> PendingTransactions {
    let reply = client.ask(&ListTransactions::default()).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    fastjson::from_slice(&reply.body).unwrap()
}

/// What the broker says of the message of a transaction.
async fn explained(client: &Client, id: &str) -> MessageVerdict {
    let header = ExplainMessage {
        topic: "T".into(),
        uniq_key: Some(id.into()),
        ..ExplainMessage::default()
    };
    let reply = client.ask(&header).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    fastjson::from_slice::<Explanation>(&reply.body).unwrap().verdict
}

async fn force(client: &Client, offset: i64, decision: i32) -> Frame {
    client
        .ask(&ForceTransaction {
            tran_state_table_offset: offset,
            commit_or_rollback: decision,
        })
        .await
}
