// SPDX-License-Identifier: Apache-2.0
//! Sending halves and ending them.

use wire::api::send::SendMessageV2;

use super::*;
use crate::rig::Rig;

#[tokio::test]
async fn a_half_is_seen_by_nobody_until_it_is_committed() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let half = send_half(&client, "T", "ID1", "TAGS\u{1}a\u{2}").await;
    assert_eq!(half.offset, 0, "the offset is that of the half queue");
    assert!(delivered(&client, "T").await.is_empty());

    ended(&client, &half, COMMIT).await;
    let records = delivered(&client, "T").await;
    assert_eq!(records.len(), 1);
    let message = &records[0];
    assert_eq!(&message.body[..], b"body of ID1");
    assert_eq!((message.sys_flag, message.flag), (8, 7));
    assert_eq!((message.queue_offset, message.prepared_pos), (0, half.pos));
    let property = |name| message.property(name);
    assert_eq!(property("TRAN_MSG"), Some("true"));
    assert_eq!(property("__transactionId__"), Some("ID1"));
    assert_eq!((property("TAGS"), property("KEYS")), (Some("a"), Some("k")));
    assert_eq!((property("REAL_TOPIC"), property("REAL_QID")), (None, None));

    let kept = delivered(&client, "RMQ_SYS_TRANS_HALF_TOPIC").await;
    assert_eq!((kept[0].sys_flag, kept[0].prepared_pos), (0, 0));
    assert_eq!(
        (kept[0].property("REAL_TOPIC"), kept[0].property("REAL_QID")),
        (Some("T"), Some("0"))
    );
    let ops = delivered(&client, "RMQ_SYS_TRANS_OP_HALF_TOPIC").await;
    assert_eq!(
        (&ops[0].body[..], ops[0].property("TAGS")),
        (&b"0,"[..], Some("d"))
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_half_that_is_rolled_back_is_never_delivered_whatever_comes_after() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let half = send_half(&client, "T", "ID1", "").await;
    ended(&client, &half, ROLLBACK).await;
    ended(&client, &half, COMMIT).await;
    assert!(delivered(&client, "T").await.is_empty());
    let dir = rig.stop().await;

    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    ended(&client, &half, COMMIT).await;
    assert!(delivered(&client, "T").await.is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_second_commit_delivers_nothing_also_after_a_restart() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let halves = [
        send_half(&client, "T", "ID1", "").await,
        send_half(&client, "T", "ID2", "").await,
    ];
    ended(&client, &halves[1], COMMIT).await;
    let again = end(&client, &halves[1], COMMIT).await;
    assert_eq!(again.code, 0);
    assert_eq!(bodies(&client, "T").await, ["body of ID2"]);
    let dir = rig.stop().await;

    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    ended(&client, &halves[1], COMMIT).await;
    assert_eq!(bodies(&client, "T").await, ["body of ID2"]);
    ended(&client, &halves[0], COMMIT).await;
    ended(&client, &halves[0], COMMIT).await;
    assert_eq!(bodies(&client, "T").await, ["body of ID2", "body of ID1"]);
    rig.stop().await;
}

#[tokio::test]
async fn many_clients_that_commit_the_same_half_deliver_it_once() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let half = send_half(&client, "T", "ID1", "").await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(rig.client().await);
    }
    let ends = clients.iter().map(|client| end(client, &half, COMMIT));
    for reply in futures_util::future::join_all(ends).await {
        assert_eq!(reply.code, 0);
    }
    assert_eq!(bodies(&client, "T").await, ["body of ID1"]);
    rig.stop().await;
}

#[tokio::test]
async fn an_end_that_fits_no_half_changes_nothing_and_says_why() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let half = send_half(&client, "T", "ID1", "").await;
    let plain = client.send("T", 0, "plain").await;
    let (_, plain_pos) = decode_offset_id(&plain.msg_id).unwrap();
    let good = end_of(&half, COMMIT);
    let cases = [
        (
            EndTransaction {
                producer_group: "other".into(),
                ..good.clone()
            },
            "The producer group wrong",
        ),
        (
            EndTransaction {
                tran_state_table_offset: 1,
                ..good.clone()
            },
            "The transaction state table offset wrong",
        ),
        (
            EndTransaction {
                commit_log_offset: half.pos + 1,
                ..good.clone()
            },
            "Find prepared transaction message failed",
        ),
        (
            EndTransaction {
                commit_log_offset: plain_pos,
                ..good.clone()
            },
            "Find prepared transaction message failed",
        ),
        (
            EndTransaction {
                commit_log_offset: -1,
                ..good.clone()
            },
            "Find prepared transaction message failed",
        ),
        (
            EndTransaction {
                commit_or_rollback: 4,
                ..good.clone()
            },
            "commitOrRollback",
        ),
    ];
    for (header, words) in cases {
        let reply = client.ask(&header).await;
        let remark = reply.remark.unwrap();
        assert!(
            reply.code == 1 && remark.contains(words),
            "{} {remark}",
            reply.code
        );
    }
    assert_eq!(bodies(&client, "T").await, ["plain"]);
    ended(&client, &half, COMMIT).await;
    assert_eq!(bodies(&client, "T").await, ["plain", "body of ID1"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_half_with_a_time_of_immunity_is_not_ended_later_than_that_but_by_an_answer_to_a_check() {
    let rig = Rig::start_with(&[("transactionTimeOut", "0")]).await;
    let client = rig.client_of("T", 1).await;
    let half = send_half(&client, "T", "ID1", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}0\u{2}").await;
    let late = loop {
        // It takes a millisecond until it is too late.
        let reply = end(&client, &half, ROLLBACK).await;
        if reply.code == 604 {
            break reply;
        }
        assert_eq!(reply.code, 0);
        drop(send_half(&client, "T", "ID2", "").await);
        let other = send_half(&client, "T", "ID1", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}0\u{2}").await;
        assert_ne!(other.offset, half.offset);
    };
    assert!(late.remark.unwrap().contains("check"));
    let answer = EndTransaction {
        from_transaction_check: Some(true),
        ..end_of(&half, COMMIT)
    };
    assert_eq!(client.ask(&answer).await.code, 0);
    rig.stop().await;
}

#[tokio::test]
async fn an_unknown_state_is_not_answered_and_leaves_the_half_pending() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let half = send_half(&client, "T", "ID1", "").await;
    let unknown = Frame::request(0, &end_of(&half, 0));
    let silence = client
        .channel
        .call(unknown, std::time::Duration::from_millis(50))
        .await;
    assert!(silence.is_err());
    let list = pending(&client).await;
    assert_eq!((list.total, list.pending.len()), (1, 1));
    let one = &list.pending[0];
    assert_eq!((one.topic.as_str(), one.producer_group.as_str()), ("T", "PG"));
    assert_eq!(
        (one.checks, one.tran_state_table_offset, one.commit_log_offset),
        (0, 0, half.pos)
    );
    rig.stop().await;
}

#[tokio::test]
async fn operators_list_pending_transactions_and_end_them_by_force() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let mut halves = Vec::new();
    for number in 0..5 {
        halves.push(send_half(&client, "T", &format!("ID{number}"), "").await);
    }
    ended(&client, &halves[2], COMMIT).await;
    let offsets = |list: &PendingTransactions| -> Vec<i64> {
        list.pending
            .iter()
            .map(|one| one.tran_state_table_offset)
            .collect()
    };
    assert_eq!(offsets(&pending(&client).await), [0, 1, 3, 4]);
    let some = ListTransactions {
        from_offset: 1,
        max_num: 2,
        producer_group: Some("PG".into()),
    };
    let reply = client.ask(&some).await;
    let list: PendingTransactions = fastjson::from_slice(&reply.body).unwrap();
    assert_eq!((offsets(&list), list.next_offset), (vec![1, 3], Some(4)));
    let nobody = ListTransactions {
        producer_group: Some("nobody".into()),
        ..ListTransactions::default()
    };
    let list: PendingTransactions = fastjson::from_slice(&client.ask(&nobody).await.body).unwrap();
    assert_eq!((list.pending.len(), list.total), (0, 4));

    assert_eq!(force(&client, 3, COMMIT).await.code, 0);
    assert_eq!(force(&client, 1, ROLLBACK).await.code, 0);
    assert_eq!(
        force(&client, 1, COMMIT).await.code,
        22,
        "it is not pending any more"
    );
    assert_eq!(force(&client, 0, 5).await.code, 29);
    assert_eq!(offsets(&pending(&client).await), [0, 4]);
    assert_eq!(bodies(&client, "T").await, ["body of ID2", "body of ID3"]);
    rig.stop().await;
}

#[tokio::test]
async fn halves_that_cannot_be_are_refused_and_nothing_is_stored() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let half = |properties: &str, sys_flag| SendMessageV2 {
        producer_group: "PG".into(),
        topic: "T".into(),
        default_topic: "TBW102".into(),
        sys_flag,
        born_timestamp: now_ms(),
        properties: Some(properties.into()),
        ..SendMessageV2::default()
    };
    for (properties, sys_flag) in [
        ("TRAN_MSG\u{1}true\u{2}DELAY\u{1}3\u{2}", 4),
        ("TIMER_DELAY_SEC\u{1}3\u{2}TRAN_MSG\u{1}true\u{2}", 4),
        ("", 4),
        ("", 12),
    ] {
        let reply = client.ask_with(&half(properties, sys_flag), "x").await;
        assert_eq!(reply.code, 13, "{properties:?} {:?}", reply.remark);
    }
    assert_eq!(pending(&client).await.total, 0);
    assert!(delivered(&client, "T").await.is_empty());
    let dir = rig.stop().await;

    let rig = Rig::start_in(dir, &[("rejectTransactionMessage", "true")]).await;
    let client = rig.client().await;
    let reply = client.ask_with(&half("TRAN_MSG\u{1}true\u{2}", 4), "x").await;
    assert_eq!(reply.code, 16);
    rig.stop().await;
}

#[tokio::test]
async fn a_group_with_too_many_pending_transactions_does_not_lock_out_others() {
    let rig = Rig::start_with(&[
        ("transactionsPendingMax", "4"),
        ("transactionMetricFlushInterval", "5"),
    ])
    .await;
    let client = rig.client_of("T", 1).await;
    let one = half_of("PG", "ID");
    let mut halves = Vec::new();
    let refused = loop {
        let reply = client.ask_with(&one, "x").await;
        if reply.code != 0 {
            break reply;
        }
        let receipt: SendReceipt = reply.ext.read().unwrap();
        halves.push(receipt);
        tokio::task::yield_now().await;
    };
    assert_eq!(refused.code, 2);
    assert!(refused.remark.unwrap().contains("group PG"));
    assert_eq!(client.ask_with(&half_of("OTHER", "ID"), "x").await.code, 0);
    client.send("T", 0, "no half").await;
    for receipt in &halves {
        let half = Half {
            offset: receipt.queue_offset,
            pos: decode_offset_id(&receipt.msg_id).unwrap().1,
            id: "ID".to_owned(),
        };
        ended(&client, &half, ROLLBACK).await;
    }
    while client.ask_with(&one, "x").await.code != 0 {
        tokio::task::yield_now().await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_becomes_of_a_half_can_be_asked_for() {
    let rig = Rig::start_with(&[("transactionCheckInterval", "3600000")]).await;
    let client = rig.client_of("T", 1).await;
    let halves = [
        send_half(&client, "T", "ID1", "").await,
        send_half(&client, "T", "ID2", "").await,
    ];
    assert_eq!(explained(&client, "ID1").await, MessageVerdict::Uncommitted);
    ended(&client, &halves[0], COMMIT).await;
    ended(&client, &halves[1], ROLLBACK).await;
    assert_eq!(explained(&client, "ID1").await, MessageVerdict::Stored);
    assert_eq!(explained(&client, "ID2").await, MessageVerdict::RolledBack);
}
