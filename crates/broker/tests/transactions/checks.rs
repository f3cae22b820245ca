// SPDX-License-Identifier: Apache-2.0
//! Asking producers about transactions that have not ended.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use wire::api::heartbeat::HeartBeat;
use wire::api::transaction::{CheckTransactionState, ResumeCheckHalfMessage};
use wire::code::{Code, ResponseCode};
use wire::frame::{Decoder, Encoding};
use wire::message_id::offset_id;
use wire::record::{Parts, Seal, Stamp, crc31, encode_record};

use super::*;
use crate::rig::{Rig, producer};

/// A question, as a producer reads it.
struct Asked {
    header: CheckTransactionState,
    message: Record,
}

impl Asked {
    fn half(&self) -> Half {
        Half {
            offset: self.header.tran_state_table_offset,
            pos: self.header.commit_log_offset,
            id: self.header.msg_id.as_deref().unwrap().to_owned(),
        }
    }

    fn checks(&self) -> Option<&str> {
        self.message.property("TRANSACTION_CHECK_TIMES")
    }
}

async fn asked(client: &mut Client) -> Asked {
    let frame = client.next_request().await;
    assert!(frame.code == Code::CHECK_TRANSACTION_STATE.0 && frame.is_oneway());
    Asked {
        header: frame.ext.read().unwrap(),
        message: Record::decode(&frame.body).unwrap(),
    }
}

async fn answer(client: &Client, half: &Half, decision: i32) -> i32 {
    let answer = EndTransaction {
        from_transaction_check: Some(true),
        ..end_of(half, decision)
    };
    client.ask(&answer).await.code
}

async fn producing(rig: &Rig) -> Client {
    let client = rig.client_of("T", 1).await;
    assert_eq!(client.beat(&producer("P", "PG")).await.code, 0);
    client
}

#[tokio::test]
async fn a_producer_is_asked_until_it_answers_and_its_answer_delivers_the_message_once() {
    let rig = Rig::start_with(&IMPATIENT).await;
    let mut client = producing(&rig).await;
    let first = send_half(&client, "T", "ID1", "").await;
    let one = asked(&mut client).await;
    assert_eq!(one.header.topic.as_deref(), Some("RMQ_SYS_TRANS_HALF_TOPIC"));
    assert_eq!(one.header.bname.as_deref(), Some("broker-a"));
    assert_eq!(one.header.transaction_id.as_deref(), Some("ID1"));
    assert!(one.half().offset > first.offset, "the question is about a copy");
    let id = offset_id(rig.addr, one.header.commit_log_offset);
    assert_eq!(one.header.offset_msg_id.as_deref(), Some(id.as_str()));
    assert_eq!((one.message.topic.as_str(), one.message.queue_id), ("T", 0));
    assert_eq!(
        (one.message.queue_offset, one.message.physical_offset),
        (one.half().offset, one.half().pos)
    );
    assert_eq!(&one.message.body[..], b"body of ID1");
    assert_eq!(one.checks(), Some("1"));

    let two = asked(&mut client).await;
    assert_eq!(two.checks(), Some("2"));
    let list = pending(&client).await;
    assert_eq!(list.total, 1);
    let last = list.pending[0].last_producer.as_deref().unwrap_or_default();
    assert!(last.starts_with("P@127.0.0.1:"), "{last}");

    // An answer to an old question counts as well, and only one answer counts.
    assert_eq!(answer(&client, &one.half(), COMMIT).await, 0);
    assert_eq!(answer(&client, &two.half(), COMMIT).await, 0);
    ended(&client, &first, COMMIT).await;
    assert_eq!(bodies(&client, "T").await, ["body of ID1"]);
    assert_eq!(pending(&client).await.total, 0);
    let dir = rig.stop().await;

    let rig = Rig::start_in(dir, &IMPATIENT).await;
    let client = producing(&rig).await;
    for half in [&first, &one.half(), &two.half()] {
        ended(&client, half, COMMIT).await;
    }
    assert_eq!(bodies(&client, "T").await, ["body of ID1"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_half_that_nobody_answers_for_is_given_up_and_can_be_brought_back() {
    let rig = Rig::start_with(&[IMPATIENT.as_slice(), &[("transactionCheckMax", "2")]].concat()).await;
    let mut client = producing(&rig).await;
    send_half(&client, "T", "ID1", "").await;
    assert_eq!(asked(&mut client).await.checks(), Some("1"));
    assert_eq!(asked(&mut client).await.checks(), Some("2"));
    let given_up = loop {
        let records = delivered(&client, "TRANS_CHECK_MAX_TIME_TOPIC").await;
        if !records.is_empty() {
            break records;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(given_up.len(), 1);
    assert_eq!(explained(&client, "ID1").await, MessageVerdict::GivenUp);
    assert_eq!(given_up[0].property("TRANSACTION_CHECK_TIMES"), Some("2"));
    assert_eq!(given_up[0].property("REAL_TOPIC"), Some("T"));
    assert_eq!(pending(&client).await.total, 0);

    let resume = |id: &str| ResumeCheckHalfMessage {
        topic: Some("TRANS_CHECK_MAX_TIME_TOPIC".into()),
        msg_id: Some(id.into()),
    };
    let id = offset_id(rig.addr, given_up[0].physical_offset);
    assert_eq!(client.ask(&resume(&id)).await.code, 0);
    let again = asked(&mut client).await;
    assert_eq!(again.checks(), Some("1"));
    assert_eq!(answer(&client, &again.half(), COMMIT).await, 0);
    assert_eq!(bodies(&client, "T").await, ["body of ID1"]);
    let id = offset_id(rig.addr, again.half().pos);
    assert_eq!(client.ask(&resume(&id)).await.code, 1, "it has ended");
    for nonsense in ["", "xyz", &offset_id(rig.addr, 1 << 40)] {
        assert_eq!(client.ask(&resume(nonsense)).await.code, 1);
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_there_is_no_room_to_look_at_is_not_resumed() {
    let own = [
        ("transactionsPendingMax", "1"),
        ("transactionCheckInterval", "3600000"),
    ];
    let rig = Rig::start_with(&own).await;
    let client = rig.client_of("T", 1).await;
    let first = send_half(&client, "T", "ID1", "").await;
    assert_eq!(pending(&client).await.total, 1, "the table is full");
    let second = send_half(&client, "T", "ID2", "").await;
    let resume = ResumeCheckHalfMessage {
        msg_id: Some(offset_id(rig.addr, second.pos)),
        ..ResumeCheckHalfMessage::default()
    };
    let reply = client.ask(&resume).await;
    assert_eq!(reply.code, ResponseCode::SYSTEM_BUSY.0, "{:?}", reply.remark);
    ended(&client, &first, ROLLBACK).await;
    while client.ask(&resume).await.code != 0 {
        tokio::task::yield_now().await;
    }
    ended(&client, &second, COMMIT).await;
    assert_eq!(pending(&client).await.total, 0);
    assert_eq!(bodies(&client, "T").await, ["body of ID2"]);
    rig.stop().await;
}

#[tokio::test]
async fn bytes_that_look_like_a_half_are_not_resumed() {
    let rig = Rig::start_with(&[("transactionCheckInterval", "3600000")]).await;
    let client = rig.client_of("T", 1).await;
    let forged = |pos: i64, topic: &str| {
        let host = ([127, 0, 0, 1], 1).into();
        let parts = Parts {
            topic,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_at: 1,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_pos: 0,
            body: b"forged",
            body_crc: crc31(b"forged"),
            properties: b"REAL_TOPIC\x01T\x02REAL_QID\x010\x02PGROUP\x01PG\x02",
        };
        let stamp = Stamp {
            queue_offset: 0,
            physical_offset: pos,
            stored_at: 1,
        };
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &parts, &stamp, Seal::Absent);
        bytes
    };
    for topic in ["RMQ_SYS_TRANS_HALF_TOPIC", "TRANS_CHECK_MAX_TIME_TOPIC"] {
        let send = async |body: Vec<u8>| {
            let header = SendMessageV2 {
                topic: "T".into(),
                born_timestamp: now_ms(),
                ..half_of("PG", "ID")
            };
            let header = SendMessageV2 {
                sys_flag: 0,
                properties: None,
                ..header
            };
            let reply = client.ask_with(&header, body).await;
            assert_eq!(reply.code, 0, "{:?}", reply.remark);
            decode_offset_id(&reply.ext.read::<SendReceipt>().unwrap().msg_id)
                .unwrap()
                .1
        };
        let (one, two) = (send(forged(0, topic)).await, send(forged(0, topic)).await);
        let inside = two + (two - one) + 88;
        assert_eq!(send(forged(inside, topic)).await + 88, inside);
        let resume = ResumeCheckHalfMessage {
            msg_id: Some(offset_id(rig.addr, inside)),
            ..ResumeCheckHalfMessage::default()
        };
        let reply = client.ask(&resume).await;
        assert_eq!(reply.code, 1, "{topic}: {:?}", reply.remark);
        assert_eq!(pending(&client).await.total, 0);
    }
    rig.stop().await;
}

#[tokio::test]
async fn without_a_producer_halves_wait_and_producers_take_turns_when_they_come() {
    let settings = [IMPATIENT.as_slice(), &[("transactionCheckMax", "1000000")]].concat();
    let rig = Rig::start_with(&settings).await;
    let sender = rig.client_of("T", 1).await;
    send_half(&sender, "T", "ID1", "").await;
    while pending(&sender).await.pending[0].checks < 2 {
        tokio::task::yield_now().await;
    }
    let (mut one, mut two) = (rig.client().await, rig.client().await);
    one.beat(&producer("ONE", "PG")).await;
    two.beat(&producer("TWO", "PG")).await;
    asked(&mut one).await;
    asked(&mut two).await;
    let question = asked(&mut one).await;
    assert_eq!(
        answer(&two, &question.half(), ROLLBACK).await,
        0,
        "any producer of the group"
    );
    assert_eq!(pending(&sender).await.total, 0);
    rig.stop().await;
}

#[tokio::test]
async fn pending_halves_and_their_checks_outlive_the_broker_and_what_ended_stays_ended() {
    let rig = Rig::start_with(&IMPATIENT).await;
    let mut client = producing(&rig).await;
    send_half(&client, "T", "ID1", "").await;
    let gone = send_half(&client, "T", "ID2", "").await;
    ended(&client, &gone, ROLLBACK).await;
    while asked(&mut client).await.checks() != Some("3") {}
    let dir = rig.stop().await;

    let rig = Rig::start_in(dir, &IMPATIENT).await;
    let mut client = producing(&rig).await;
    let question = asked(&mut client).await;
    assert_eq!(question.half().id, "ID1");
    let checks: u32 = question.checks().unwrap().parse().unwrap();
    assert!(checks >= 4, "the count goes on: {checks}");
    assert_eq!(answer(&client, &question.half(), COMMIT).await, 0);
    assert_eq!(bodies(&client, "T").await, ["body of ID1"]);
    assert_eq!(pending(&client).await.total, 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_damaged_half_does_not_keep_others_from_being_asked_about() {
    let slow = [("transactionCheckInterval", "3600000")];
    let rig = Rig::start_with(&slow).await;
    let client = producing(&rig).await;
    let damaged = send_half(&client, "T", "ID1", "").await;
    send_half(&client, "T", "ID2", "").await;
    let dir = rig.stop().await;
    let log = dir.path().join("store/commitlog/00000000000000000000");
    damage(&log, damaged.pos);

    let rig = Rig::start_in(dir, &IMPATIENT).await;
    let mut client = producing(&rig).await;
    let question = asked(&mut client).await;
    assert_eq!(question.half().id, "ID2");
    assert_eq!(answer(&client, &question.half(), COMMIT).await, 0);
    assert_eq!(bodies(&client, "T").await, ["body of ID2"]);
    assert_eq!(pending(&client).await.total, 0);
    rig.stop().await;
}

/// Spoils the body of a record.
fn damage(log: &Path, pos: i64) {
    let file = std::fs::OpenOptions::new().write(true).open(log).unwrap();
    file.write_all_at(b"XXXX", pos.unsigned_abs() + 88 + 4).unwrap();
}

#[tokio::test]
async fn a_half_whose_time_of_immunity_lasts_is_not_asked_about_and_does_not_hold_up_the_progress() {
    let settings = [IMPATIENT.as_slice(), &[("transactionCheckMax", "2")]].concat();
    let rig = Rig::start_with(&settings).await;
    let client = producing(&rig).await;
    let patient = send_half(
        &client,
        "T",
        "SLOW",
        "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}3600\u{2}",
    )
    .await;
    for number in 0..1100 {
        let half = send_half(&client, "T", &format!("ID{number}"), "").await;
        client
            .channel
            .peer()
            .push(Frame::request(0, &end_of(&half, ROLLBACK)).oneway())
            .unwrap();
    }
    let copy = loop {
        let list = pending(&client).await;
        let slow = list.pending.into_iter().find(|one| one.checks == 0).unwrap();
        if slow.tran_state_table_offset > patient.offset {
            break slow;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(copy.checks, 0);
    let kept = delivered(&client, "RMQ_SYS_TRANS_HALF_TOPIC").await;
    let kept = kept
        .iter()
        .find(|record| record.queue_offset == copy.tran_state_table_offset)
        .unwrap();
    assert_eq!(kept.property("TRAN_PREPARED_QUEUE_OFFSET"), Some("0"));
    // Its producer knows the first copy only.
    ended(&client, &patient, COMMIT).await;
    ended(&client, &patient, COMMIT).await;
    assert_eq!(bodies(&client, "T").await, ["body of SLOW"]);
    rig.stop().await;
}

#[tokio::test]
async fn pending_halves_are_counted_by_topic_in_the_references_file() {
    let rig = Rig::start_with(&[("transactionMetricFlushInterval", "10")]).await;
    let client = rig.client_of("T", 1).await;
    let half = send_half(&client, "T", "ID1", "").await;
    send_half(&client, "T", "ID2", "").await;
    let file = rig.dir.path().join("store/config/transactionMetrics");
    let count = |wanted: &'static str| {
        let file = file.clone();
        async move {
            while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains(wanted)) {
                tokio::task::yield_now().await;
            }
        }
    };
    count("{\"T\":{\"count\":2,").await;
    ended(&client, &half, COMMIT).await;
    count("{\"T\":{\"count\":1,").await;
    rig.stop().await;
}

#[tokio::test]
async fn a_check_counts_only_when_a_producer_that_is_there_was_really_asked() {
    const HALVES: usize = 12;
    let own = [
        ("transactionCheckMax", "1000000"),
        ("flushIntervalCommitLog", "5"),
        ("pushBytesPerConnectionMax", "70000"),
        ("replyBytesPerConnectionMax", "70000"),
    ];
    let rig = Rig::start_with(&[IMPATIENT.as_slice(), &own].concat()).await;
    let sender = rig.client_of("T", 1).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(rig.addr).await.unwrap();
    let beat = Frame::request(1, &HeartBeat {}).with_body(fastjson::to_vec(&producer("DEAF", "PG")));
    let mut bytes = BytesMut::new();
    beat.encode(&mut bytes, Encoding::Json);
    deaf.write_all(&bytes).await.unwrap();
    for number in 0..HALVES {
        let half = half_of("PG", &format!("ID{number}"));
        assert_eq!(sender.ask_with(&half, vec![7; 65_536]).await.code, 0);
    }
    // Nobody is there for this one: each round counts, and shows that there was one.
    assert_eq!(sender.ask_with(&half_of("NOBODY", "ROUNDS"), "x").await.code, 0);
    loop {
        let list = pending(&sender).await.pending;
        let rounds = list.iter().find(|one| one.producer_group == "NOBODY");
        if rounds.unwrap().checks > 30 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let (decoder, mut inbox) = (Decoder::default(), BytesMut::new());
    while seen.len() < HALVES || seen.values().any(|checks| *checks < 3) {
        let Some(frame) = decoder.next(&mut inbox).unwrap() else {
            inbox.reserve(65_536);
            assert!(deaf.read_buf(&mut inbox).await.unwrap() > 0);
            continue;
        };
        if frame.code == Code::CHECK_TRANSACTION_STATE.0 {
            let question = Record::decode(&frame.body).unwrap();
            let checks = question
                .property("TRANSACTION_CHECK_TIMES")
                .unwrap()
                .parse()
                .unwrap();
            let before = seen.insert(question.property("UNIQ_KEY").unwrap().to_owned(), checks);
            assert_eq!(checks, before.unwrap_or(0) + 1, "none is left out");
        }
    }
    rig.stop().await;
}
