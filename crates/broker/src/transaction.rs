// SPDX-License-Identifier: Apache-2.0
//! Transactions: half messages, what ends them (37), and what is known of those that have not ended.
//!
//! A half is kept in `RMQ_SYS_TRANS_HALF_TOPIC` until a producer of its group says what becomes of it. A commit writes the
//! message to its own topic; an *op record* in `RMQ_SYS_TRANS_OP_HALF_TOPIC` says of which halves nothing more is
//! expected. What nobody ends, producers are asked about ([`check`]). Topics, properties, op records and progress (offsets
//! of group `CID_RMQ_SYS_TRANS`) are the reference's, so that either broker goes on with the store of the other.
//!
//! # Why a second commit does nothing, whatever ends in between
//!
//! *While the broker runs*: the [`table`] is locked from the look at the half until its end is appended.
//!
//! *Across an end of the process or the machine*: message and op record are appended together, back to back, **the message
//! first**. A log is found again as a first part of what was written, so after a crash there are both, none (the half is
//! still there, and is asked about), or the message alone as the very last record. The last is looked for at the start
//! ([`recover`]): its position says which half it came from. In the other order a crash could keep the op record alone, and
//! the message would be lost. The reference collects op records for up to three seconds, and in that window asks again;
//! therefore `transactionOpBatchInterval` has no meaning here.
//!
//! *Progress* only moves over what is on disk: were it ahead of the log, a half would be forgotten.

pub(crate) mod admin;
mod away;
pub(crate) mod check;
mod half;
mod metrics;
mod recover;
pub(crate) mod table;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwap;
use net::{Answer, Call, Fault, Reply, Ticket};
use parking_lot::{Mutex, MutexGuard};
use store::{AppendError, Gate, LogPos, ReadError, Receipt};
use wire::Str;
use wire::api::transaction::EndTransaction;
use wire::code::{NoHeader, ResponseCode};
use wire::message_id::decode_offset_id;
use wire::properties::name;
use wire::record::sysflag;

use self::half::Stored;
use self::metrics::Metrics;
use self::table::{AHEAD_MAX, Half, Standing, Table};
use crate::blocking;
use crate::broker::Broker;
use crate::config::Config;
use crate::fault::{not_appended, not_read};
use crate::names::{HALF_OP_TOPIC, HALF_TOPIC};
use crate::put::Put;
use crate::send::park::Parked;
use crate::send::properties::MessageType;
use crate::subject::Subject;
use crate::traffic::FINISH_BOUNDS;

pub use self::recover::RecoverError;

/// The tag of an op record.
const ENDED_TAG: &str = "WAIT\u{1}true\u{2}TAGS\u{1}d\u{2}";
/// Halves that are looked at while the table is locked.
const LOOKED_AT_TOGETHER: usize = 1024;
/// The group whose offsets are the progress on both queues.
const PROGRESS_GROUP: &str = "CID_RMQ_SYS_TRANS";

/// Where a half goes instead of its own topic.
pub(crate) fn park(
    config: &Config,
    delay: Option<&str>,
    unique: &str,
    (topic, queue_id): (&Str, i32),
) -> Result<Parked, Fault> {
    if config.reject_transaction_message {
        let remark = format!(
            "the broker[{}] sending transaction message is forbidden",
            config.broker_ip1
        );
        return Err(Fault::new(ResponseCode::NO_PERMISSION, remark));
    }
    if let Some(property) = delay {
        // In the reference the two get into each other's way: what it was meant for is lost, and a commit goes nowhere.
        let remark = format!("a transactional message cannot be delayed (property {property})");
        return Err(Fault::new(ResponseCode::MESSAGE_ILLEGAL, remark));
    }
    Ok(Parked {
        topic: Str::const_new(HALF_TOPIC),
        queue_id: 0,
        without: &[],
        with: vec![
            (half::TRANSACTION_ID, unique.into()),
            (name::REAL_TOPIC, topic.clone()),
            (name::REAL_QID, queue_id.to_string().into()),
        ],
    })
}

/// The transactions of a broker.
pub(crate) struct Transactions {
    table: Mutex<Table>,
    /// Held while new halves are looked at.
    scanning: Mutex<()>,
    /// Held while the progress is saved.
    advancing: tokio::sync::Mutex<()>,
    metrics: Metrics,
    /// Groups that have more than their share of the table.
    crowded: ArcSwap<HashSet<Str>>,
    /// Whose turn it is to be asked.
    turn: AtomicUsize,
}

/// What becomes of a half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Commit,
    Rollback,
}

/// How an end went.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ended {
    /// It has ended when this gate passes.
    Now(Gate),
    /// It had ended before, which is as safe as a sender was promised when this gate passes.
    Before(Option<Gate>),
}

/// Code 37.
pub(crate) fn end_transaction(
    b: &Arc<Broker>,
    call: Call<EndTransaction>,
) -> Result<Answer<NoHeader>, Fault> {
    let header = call.header;
    let decision = match header.commit_or_rollback {
        // The producer does not know yet. It is asked later, so there is nothing to say now.
        0 => return Ok(Answer::Silent),
        sysflag::ROLLBACK if store::seeded!("rollback-commits") => Decision::Commit,
        sysflag::COMMIT => Decision::Commit,
        sysflag::ROLLBACK => Decision::Rollback,
        other => return Err(wrong(format!("commitOrRollback field wrong: {other}"))),
    };
    if let Some((reply, ticket)) = answer(b, &header, decision, Look::Cached)? {
        return Ok(match ticket {
            Some(ticket) => Answer::Gated(reply, ticket),
            None => Answer::Now(reply),
        });
    }
    let (b, peer) = (Arc::clone(b), call.peer);
    Ok(Answer::Later(Box::pin(async move {
        let reading = Arc::clone(&b);
        let about = Subject::pos(header.commit_log_offset).asked_by(peer.addr);
        let done = blocking::run(&b, &peer, move || {
            let ended = answer(&reading, &header, decision, Look::Anywhere);
            reading.store.drive();
            ended
        });
        let (reply, ticket) = done
            .await??
            .ok_or_else(|| not_read(&ReadError::NotCached, about))?;
        match ticket {
            Some(ticket) => b.pass(reply, ticket).await,
            None => Ok(reply),
        }
    })))
}

/// Where a half is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// In memory, on the threads that serve sockets.
    Cached,
    Anywhere,
}

type Told = (Reply<NoHeader>, Option<Ticket>);

/// `None`: the answer is not in memory.
fn answer(
    b: &Broker,
    header: &EndTransaction,
    decision: Decision,
    look: Look,
) -> Result<Option<Told>, Fault> {
    let missing =
        |why: &dyn std::fmt::Display| wrong(format!("Find prepared transaction message failed: {why}"));
    let pos = LogPos(header.commit_log_offset);
    let record = match look {
        Look::Cached => b.store.record_at_cached(pos),
        Look::Anywhere => b.store.record_at(pos),
    };
    let about = Subject::pos(header.commit_log_offset).of(&header.producer_group);
    let record = match record {
        Err(ReadError::NotCached) => return Ok(None),
        Err(error @ ReadError::Io(_)) => return Err(not_read(&error, about)),
        record => record.map_err(|error| missing(&error))?,
    };
    let half = Stored::read(&record).map_err(|error| missing(&error))?;
    may_end(b, header, &half)?;
    match is_where_it_says(b, &half, look) {
        Err(ReadError::NotCached) => return Ok(None),
        Err(error @ ReadError::Io(_)) => return Err(not_read(&error, about)),
        found => found.map_err(|error| missing(&error))?,
    }
    Ok(Some(match b.transactions.end(b, &half, decision)? {
        Ended::Now(gate) => (Reply::ok(NoHeader), Some(b.ticket(&b.config(), gate, true))),
        Ended::Before(gate) => {
            let remark = "the transaction had ended before, nothing is changed";
            let ticket = gate.map(|gate| b.ticket(&b.config(), gate, true));
            (Reply::ok(NoHeader).with_remark(remark), ticket)
        }
    }))
}

/// The position comes from a client, and bytes that look like a half may lie in the body of a message: the queue has to
/// point there too, or be about to, since a sender may be told before its message is in the queue.
fn is_where_it_says(b: &Broker, half: &Stored<'_>, look: Look) -> Result<(), ReadError> {
    let pos = LogPos(half.pos());
    if b.store.is_unpublished(pos) {
        return Ok(());
    }
    let queue = b.store.queue(half.head.parts.topic, 0);
    let entries = match look {
        Look::Cached => b.store.entries_cached(&queue, half.offset(), 1)?,
        Look::Anywhere => b.store.entries(&queue, half.offset(), 1)?,
    };
    if entries.first().is_some_and(|entry| entry.pos == pos) {
        Ok(())
    } else {
        Err(ReadError::NoRecord(pos))
    }
}

/// The checks of the reference, in its order and words.
fn may_end(b: &Broker, header: &EndTransaction, half: &Stored<'_>) -> Result<(), Fault> {
    if header.from_transaction_check != Some(true)
        && let Some(immunity_ms) = half.immunity_ms()
    {
        let age_ms = b.env.clock.now_ms().saturating_sub(half.head.parts.born_at);
        let allowed_ms = immunity_ms.max(b.config().transaction_time_out.cast_signed());
        if age_ms > allowed_ms {
            let remark = format!(
                "the transaction is {age_ms} ms old, after {allowed_ms} ms only an answer to a check ends it"
            );
            return Err(Fault::new(ResponseCode::ILLEGAL_OPERATION, remark));
        }
    }
    if half.group.is_empty() || half.group != header.producer_group {
        return Err(wrong("The producer group wrong"));
    }
    if half.offset() != header.tran_state_table_offset {
        return Err(wrong("The transaction state table offset wrong"));
    }
    if !is_meant(header, half) {
        return Err(wrong("The transaction id wrong"));
    }
    Ok(())
}

/// Clients say the id they gave the message, as `transactionId` and as `msgId`; some its offset id, some nothing. A place alone
/// may mean another half: where one could not be written, the next takes its place.
fn is_meant(header: &EndTransaction, half: &Stored<'_>) -> bool {
    let ids = [
        header.transaction_id.as_deref().unwrap_or_default(),
        &header.msg_id,
    ];
    let is_its =
        |id: &str| id == half.unique || decode_offset_id(id).is_some_and(|(_, pos)| pos == half.pos());
    half.unique.is_empty() || ids.iter().all(|id| id.is_empty()) || ids.into_iter().any(is_its)
}

fn wrong(remark: impl Into<Str>) -> Fault {
    Fault::new(ResponseCode::SYSTEM_ERROR, remark)
}

impl Transactions {
    /// The table as it is now.
    fn table(&self, b: &Broker) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock();
        table.settle(|gate| b.store.state(gate, store::Level::Written));
        table
    }

    /// Looks at those that are pending, from an offset on, until `see` has seen enough. The table is locked for some at a
    /// time: who sends or ends meanwhile does not wait for a look at a million.
    fn each(&self, b: &Broker, from: i64, mut see: impl FnMut(i64, &Half) -> ControlFlow<()>) {
        let (mut next, mut seen) = (from, LOOKED_AT_TOGETHER);
        while seen == LOOKED_AT_TOGETHER {
            let table = self.table(b);
            seen = 0;
            for (offset, half) in table.pending_from(next).take(LOOKED_AT_TOGETHER) {
                (next, seen) = (offset + 1, seen + 1);
                if see(offset, half).is_break() {
                    return;
                }
            }
            MutexGuard::unlock_fair(table);
        }
    }

    /// How many halves of each topic had not ended when they were counted last.
    pub(crate) fn pending_by_topic(&self) -> Vec<(Str, i64)> {
        self.metrics.counts()
    }

    /// Whether so many halves of a group are pending that it may send no more.
    pub(crate) fn is_crowded(&self, group: &str) -> bool {
        self.crowded.load().contains(group)
    }

    /// Ends a half, unless it has ended. Whoever calls drives the store.
    fn end(&self, b: &Broker, half: &Stored<'_>, decision: Decision) -> Result<Ended, Fault> {
        let mut table = self.table(b);
        let current = match table.standing(half.offset(), half.print()) {
            Standing::Open(current) => current,
            Standing::Ending(gate) => return Ok(Ended::Now(gate)),
            Standing::Ended(gate) => return Ok(Ended::Before(gate)),
        };
        if current - table.scanned() >= AHEAD_MAX {
            let remark = "[OVERLOAD]too many transactions are pending, try again later";
            return Err(Fault::new(ResponseCode::SYSTEM_BUSY, remark));
        }
        let mut offsets = vec![current];
        if current != half.offset() {
            offsets.push(half.offset());
        }
        let ended = match decision {
            Decision::Commit => {
                let properties = half.committed_properties();
                end_with(b, &mut table, &offsets, Some(&half.committed(&properties)))
            }
            Decision::Rollback => end_with(b, &mut table, &offsets, None),
        };
        drop(table);
        match ended {
            Ok(gate) => {
                count(b, half, decision);
                Ok(Ended::Now(gate))
            }
            Err(error) => {
                let about = half.entry();
                Err(not_appended(
                    &error,
                    Subject::topic(&about.topic).of(&about.group),
                ))
            }
        }
    }
}

/// Takes note of a half that has ended.
fn count(b: &Broker, half: &Stored<'_>, decision: Decision) {
    let Some(topic) = b.topics.get(half.topic) else {
        return;
    };
    let ended = topic.traffic.transactions();
    match decision {
        Decision::Rollback => ended.rollbacks.add(1),
        Decision::Commit => {
            let bytes = half.head.total_size as u64;
            b.counts.put(&topic, (MessageType::Transaction, 1, bytes));
            let age_ms = b.env.clock.now_ms().saturating_sub(half.head.parts.born_at);
            ended.commits.add(1);
            // Whole seconds, as in the reference.
            let seconds = age_ms.max(0).unsigned_abs() / 1000;
            ended.took.add(FINISH_BOUNDS, seconds, 1);
        }
    }
}

/// Appends what ends a half: a message, perhaps, and directly behind it the op record. The offsets are those of its copies
/// that are known, the newest first.
fn end_with(
    b: &Broker,
    table: &mut Table,
    offsets: &[i64],
    message: Option<&Put<'_>>,
) -> Result<Gate, AppendError> {
    let body = op_body(offsets);
    let op = op_record((b.host, b.env.clock.now_ms()), &body);
    let receipts: Vec<Receipt> = match message {
        Some(message) if store::seeded!("commit-not-recorded") => b.put_all(&[*message])?,
        Some(message) => b.put_all(&[*message, op])?,
        None => b.put_all(&[op])?,
    };
    let receipt = receipts.last().ok_or(AppendError::Empty)?;
    if let Some(newest) = offsets.first() {
        table.end(*newest, receipt.gate);
    }
    table.note_op(receipt.queue_offset, offsets.iter().copied().max().unwrap_or(-1));
    Ok(receipt.gate)
}

fn op_body(offsets: &[i64]) -> Vec<u8> {
    let mut body = String::new();
    for offset in offsets {
        body.push_str(&offset.to_string());
        body.push(',');
    }
    body.into_bytes()
}

fn op_record((host, now_ms): (SocketAddr, i64), body: &[u8]) -> Put<'_> {
    Put {
        topic: HALF_OP_TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_at: now_ms,
        born_host: host,
        reconsume_times: 0,
        prepared_pos: 0,
        body,
        properties: ENDED_TAG.as_bytes(),
    }
}

#[cfg(test)]
mod tests;
