// SPDX-License-Identifier: Apache-2.0
//! Transactions on a disk that is flushed when told, with a clock that moves when told.

use std::time::Duration;

use store::{GateState, Level, LogPos};

use super::half::Stored;
use super::*;
use crate::world::World;

pub(super) fn world() -> World {
    World::new(
        1,
        &[
            ("mappedFileSizeCommitLog", "1048576"),
            ("mappedFileSizeConsumeQueue", "20000"),
            ("timerWheelEnable", "false"),
        ],
    )
}

/// A half of group `PG`, by its position.
pub(super) fn send(b: &Broker, id: &str, more: &str) -> i64 {
    put_half(b, id, &format!("PGROUP\u{1}PG\u{2}{more}"))
}

fn put_half(b: &Broker, id: &str, properties: &str) -> i64 {
    put_body(b, id, properties, id.as_bytes())
}

fn put_body(b: &Broker, id: &str, properties: &str, body: &[u8]) -> i64 {
    put_for("T", b, id, (properties, body))
}

fn put_for(topic: &str, b: &Broker, id: &str, (properties, body): (&str, &[u8])) -> i64 {
    let parked = park(&b.config(), None, id, (&Str::from(topic), 0)).unwrap();
    let properties = parked.rewrite(format!("UNIQ_KEY\u{1}{id}\u{2}{properties}").as_bytes());
    let put = Put {
        topic: HALF_TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_at: b.env.clock.now_ms(),
        born_host: b.host,
        reconsume_times: 0,
        prepared_pos: 0,
        body,
        properties: &properties,
    };
    let receipt = b.put(&put).unwrap();
    b.store.drive();
    receipt.pos.0
}

fn end(b: &Broker, pos: i64, decision: Decision) -> Ended {
    let record = b.store.record_at(LogPos(pos)).unwrap();
    let half = Stored::read(&record).unwrap();
    let ended = b.transactions.end(b, &half, decision).unwrap();
    b.store.drive();
    ended
}

#[test]
fn a_second_commit_is_not_answered_before_the_first_is_on_disk() {
    let b = world().open(&[("flushDiskType", "SYNC_FLUSH")]);
    let half = send(&b, "ID1", "");
    assert!(matches!(end(&b, half, Decision::Commit), Ended::Now(_)));
    let Ended::Before(Some(gate)) = end(&b, half, Decision::Commit) else {
        panic!("it has ended, and nobody says when that is safe");
    };
    assert_eq!(b.store.state(&gate, Level::Durable), GateState::Waiting);
    b.store.turn_flush();
    assert_eq!(b.store.state(&gate, Level::Durable), GateState::Passed);
}

#[tokio::test]
async fn a_round_of_checks_writes_no_more_at_once_than_may_wait_to_be_written() {
    let world = world();
    let b = world.open(&[("appendPendingBytesMax", "100000")]);
    for number in 0..40 {
        put_body(&b, &format!("ID{number}"), "PGROUP\u{1}PG\u{2}", &[7; 20_000]);
    }
    world.clock.advance(Duration::from_secs(7));
    check::round(&b).await.unwrap();
    let table = b.transactions.table(&b);
    let checks: Vec<u32> = table.pending_from(0).map(|(_, half)| half.checks).collect();
    assert_eq!(checks, [1; 40]);
}

#[test]
fn a_start_takes_a_copy_of_a_committed_message_for_no_end_of_the_half_at_position_0() {
    let world = world();
    let b = world.open(&[]);
    assert_eq!(send(&b, "PENDING", ""), 0);
    let committed = send(&b, "ID1", "");
    end(&b, committed, Decision::Commit);
    let record = b.store.record_at(LogPos(committed)).unwrap();
    let half = Stored::read(&record).unwrap();
    let properties = half.committed_properties();
    // As of a message that is sent back, or delivered after a delay.
    let copy = Put {
        prepared_pos: 0,
        ..half.committed(&properties)
    };
    b.put(&copy).unwrap();
    b.store.drive();
    b.close().unwrap();
    drop(b);

    let b = world.open(&[]);
    end(&b, 0, Decision::Commit);
    assert_eq!(count(&b, "T"), 3, "the other is still pending");
}

#[test]
fn an_answer_that_names_another_message_ends_nothing() {
    let b = world().open(&[]);
    let pos = send(&b, "ID1", "");
    let ending = |transaction: Option<&str>, message: &str| {
        let header = EndTransaction {
            producer_group: "PG".into(),
            commit_log_offset: pos,
            from_transaction_check: Some(true),
            transaction_id: transaction.map(Str::from),
            msg_id: message.into(),
            ..EndTransaction::default()
        };
        let record = b.store.record_at(LogPos(pos)).unwrap();
        may_end(&b, &header, &Stored::read(&record).unwrap())
    };
    let place = wire::message_id::offset_id(b.host, pos);
    for (transaction, message) in [
        (Some("ID1"), "ID1"),
        (Some("ID1"), ""),
        (Some("ID1"), "of no meaning"),
        (None, "ID1"),
        (Some(""), "ID1"),
        (None, ""),
        (None, &place),
    ] {
        ending(transaction, message).unwrap();
    }
    let elsewhere = wire::message_id::offset_id(b.host, pos + 1);
    for (transaction, message) in [
        (Some("ID2"), "ID2"),
        (Some("ID2"), ""),
        (None, "ID2"),
        (None, &elsewhere),
    ] {
        let fault = ending(transaction, message).unwrap_err();
        assert_eq!(fault.code, ResponseCode::SYSTEM_ERROR, "{}", fault.remark);
    }
}

#[tokio::test]
async fn a_half_that_is_larger_than_clients_may_send_now_is_asked_about_and_committed() {
    let world = world();
    let files = ("mappedFileSizeCommitLog", "33554432");
    let b = world.open(&[files]);
    let large = put_body(&b, "LARGE", "PGROUP\u{1}PG\u{2}", &vec![7; 9 << 20]);
    send(&b, "BEHIND", "");
    b.close().unwrap();
    drop(b);

    let b = world.open(&[files, ("maxMessageSize", "1000")]);
    world.clock.advance(Duration::from_secs(7));
    check::round(&b).await.unwrap();
    let checks: Vec<u32> = {
        let table = b.transactions.table(&b);
        table.pending_from(0).map(|(_, half)| half.checks).collect()
    };
    assert_eq!(checks, [1, 1]);
    end(&b, large, Decision::Commit);
    assert_eq!(count(&b, "T"), 1);
}

#[tokio::test]
async fn a_half_that_fits_into_no_file_any_more_does_not_keep_others_from_being_asked_about() {
    let world = world();
    let b = world.open(&[]);
    let small = put_body(&b, "LARGE", "PGROUP\u{1}PG\u{2}", &[]);
    end(&b, small, Decision::Rollback);
    // It fills a file: with the number of a check, or an op record behind it, it does not fit.
    let bytes = 1_048_576 - 8 - b.store.record_at(LogPos(small)).unwrap().len();
    put_body(&b, "LARGE", "PGROUP\u{1}PG\u{2}", &vec![7; bytes]);
    send(&b, "BEHIND", "");
    world.clock.advance(Duration::from_secs(7));
    check::round(&b).await.unwrap();
    let table = b.transactions.table(&b);
    let checks: Vec<u32> = table.pending_from(0).map(|(_, half)| half.checks).collect();
    assert_eq!(checks, [0, 1]);
}

/// How many messages a topic has got.
fn count(b: &Broker, topic: &str) -> i64 {
    b.store.queue(topic, 0).max()
}

#[tokio::test]
async fn a_start_without_room_for_all_takes_no_half_and_its_copy_for_two() {
    let world = world();
    let b = world.open(&[]);
    let halves: Vec<i64> = (0..4)
        .map(|number| send(&b, &format!("ID{number}"), ""))
        .collect();
    // The copies lie further away than is read at once.
    for number in 0..600 {
        let other = send(&b, &format!("other {number}"), "");
        end(&b, other, Decision::Rollback);
    }
    world.clock.advance(Duration::from_secs(7));
    check::round(&b).await.unwrap();
    let copies: Vec<i64> = {
        let table = b.transactions.table(&b);
        table.pending_from(0).map(|(_, half)| half.pos).collect()
    };
    assert!(copies.iter().zip(&halves).all(|(copy, half)| copy > half));
    end(&b, copies[3], Decision::Rollback);
    b.close().unwrap();
    drop(b);

    let b = world.open(&[("transactionsPendingMax", "1")]);
    end(&b, copies[0], Decision::Commit);
    end(&b, halves[0], Decision::Commit);
    assert_eq!(count(&b, "T"), 1, "the one that is in the table");
    end(&b, halves[1], Decision::Commit);
    end(&b, copies[1], Decision::Commit);
    assert_eq!(count(&b, "T"), 2, "one that there was no room for");
    end(&b, halves[3], Decision::Commit);
    assert_eq!(count(&b, "T"), 2, "one that had ended");
    check::round(&b).await.unwrap();
    end(&b, halves[2], Decision::Commit);
    assert_eq!(count(&b, "T"), 3);
    b.transactions.catch_up(&b.store, 100).unwrap();
    assert_eq!(b.transactions.table(&b).len(), 0);
}

#[tokio::test]
async fn the_progress_on_op_records_never_goes_back() {
    let world = world();
    let b = world.open(&[]);
    let half = send(&b, "ID1", "");
    end(&b, half, Decision::Commit);
    b.transactions.catch_up(&b.store, 100).unwrap();
    b.store.turn_flush();
    check::advance(&b).await.unwrap();
    let saved =
        |b: &Broker| [HALF_TOPIC, HALF_OP_TOPIC].map(|topic| b.offsets.query(PROGRESS_GROUP, topic, 0));
    assert_eq!(saved(&b), [Some(1), Some(1)]);
    b.close().unwrap();
    drop(b);

    let b = world.open(&[]);
    send(&b, "ID2", "");
    b.transactions.catch_up(&b.store, 100).unwrap();
    b.store.turn_flush();
    check::advance(&b).await.unwrap();
    assert_eq!(saved(&b), [Some(1), Some(1)]);
}

#[test]
fn a_look_at_many_halves_sees_each_of_them_once() {
    let b = world().open(&[]);
    let many = 2 * LOOKED_AT_TOGETHER as i64 + 3;
    for number in 0..many {
        send(&b, &number.to_string(), "");
    }
    b.transactions.catch_up(&b.store, 1 << 20).unwrap();
    let mut seen = Vec::new();
    b.transactions.each(&b, 5, |offset, _| {
        seen.push(offset);
        ControlFlow::Continue(())
    });
    assert_eq!(seen, (5..many).collect::<Vec<_>>());
    seen.clear();
    b.transactions.each(&b, 0, |offset, _| {
        seen.push(offset);
        if offset < 1500 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    assert_eq!(seen.len(), 1501);
}

#[tokio::test]
async fn a_half_that_is_meant_for_a_topic_of_the_system_is_never_delivered_there() {
    let world = world();
    let b = world.open(&[]);
    for topic in [HALF_TOPIC, HALF_OP_TOPIC, "SCHEDULE_TOPIC_XXXX", "../T", ""] {
        let (halves, ops) = (count(&b, HALF_TOPIC), count(&b, HALF_OP_TOPIC));
        let pos = put_for(topic, &b, "ID", ("PGROUP\u{1}PG\u{2}", b"x"));
        let header = EndTransaction {
            producer_group: "PG".into(),
            tran_state_table_offset: halves,
            commit_log_offset: pos,
            ..EndTransaction::default()
        };
        let fault = answer(&b, &header, Decision::Commit, Look::Anywhere).unwrap_err();
        assert_eq!(fault.code, ResponseCode::SYSTEM_ERROR);
        assert!(fault.remark.contains("REAL_TOPIC"), "{}", fault.remark);
        world.clock.advance(Duration::from_secs(7));
        check::round(&b).await.unwrap();
        assert_eq!(
            (count(&b, HALF_TOPIC), count(&b, HALF_OP_TOPIC)),
            (halves + 1, ops),
            "{topic}"
        );
    }
    assert_eq!(b.transactions.table(&b).len(), 0);
}
