// SPDX-License-Identifier: Apache-2.0
//! What operators do about transactions: list those that have not ended, end one by force, and have one asked about again
//! that was given up (323). The first two are requests of our own.

use std::ops::ControlFlow;
use std::sync::Arc;

use net::{Answer, Call, Fault, Peer, Reply, Ticket};
use store::{LogPos, ReadError};
use wire::api::transaction::{ForceTransaction, ListTransactions, ResumeCheckHalfMessage};
use wire::body::transaction::{PendingTransaction, PendingTransactions};
use wire::code::{NoHeader, ResponseCode};
use wire::fastjson;
use wire::message_id::{decode_offset_id, offset_id};
use wire::record::sysflag;

use super::half::Stored;
use super::table::{Half, Standing};
use super::{Decision, Ended, Look, is_where_it_says, wrong};
use crate::blocking::{later, run};
use crate::broker::Broker;
use crate::fault::{not_appended, not_read};
use crate::names::HALF_TOPIC;
use crate::subject::Subject;

/// Transactions of one answer.
const LISTED_MAX: usize = 1000;

/// Code 900036.
pub(crate) fn list(b: &Arc<Broker>, call: Call<ListTransactions>) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        let ListTransactions {
            producer_group,
            from_offset,
            max_num,
        } = call.header;
        let max = usize::try_from(max_num).ok().filter(|max| *max > 0);
        let max = max.map_or(LISTED_MAX, |max| max.min(LISTED_MAX));
        let pending_max = b.config().transactions_pending_max as usize;
        let scanned = b.transactions.catch_up(&b.store, pending_max);
        scanned.map_err(|error| not_read(&error, Subject::topic(HALF_TOPIC)))?;
        let now_ms = b.env.clock.now_ms();
        let (mut pending, mut next_offset) = (Vec::new(), None);
        b.transactions.each(&b, from_offset, |offset, half| {
            if producer_group.as_ref().is_some_and(|group| *group != half.group) {
                return ControlFlow::Continue(());
            }
            if pending.len() == max {
                next_offset = Some(offset);
                return ControlFlow::Break(());
            }
            pending.push(shown(&b, offset, half, now_ms));
            ControlFlow::Continue(())
        });
        let body = PendingTransactions {
            next_offset,
            pending,
            total: b.transactions.table(&b).len(),
        };
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&body)))
    }))
}

fn shown(b: &Broker, offset: i64, half: &Half, now_ms: i64) -> PendingTransaction {
    PendingTransaction {
        age_ms: now_ms.saturating_sub(half.born_at),
        born_host: half.born_host.to_string().into(),
        checks: half.checks,
        commit_log_offset: half.pos,
        last_producer: half.asked.clone(),
        offset_msg_id: offset_id(b.host, half.pos),
        producer_group: half.group.clone(),
        topic: half.topic.clone(),
        tran_state_table_offset: offset,
    }
}

/// Code 900037. Ends a transaction as if its producer had.
pub(crate) fn force(b: &Arc<Broker>, call: Call<ForceTransaction>) -> Result<Answer<NoHeader>, Fault> {
    let decision = match call.header.commit_or_rollback {
        sysflag::COMMIT => Decision::Commit,
        sysflag::ROLLBACK => Decision::Rollback,
        other => {
            let remark = format!("commitOrRollback is {other}, allowed are 8 (commit) and 12 (rollback)");
            return Err(Fault::new(ResponseCode::INVALID_PARAMETER, remark));
        }
    };
    let offset = call.header.tran_state_table_offset;
    tracing::info!(offset, ?decision, peer = %call.peer.addr, "a transaction is ended by force");
    Ok(gated((b, &call.peer), move |b| {
        let pending_max = b.config().transactions_pending_max as usize;
        let scanned = b.transactions.catch_up(&b.store, pending_max);
        scanned.map_err(|error| not_read(&error, Subject::topic(HALF_TOPIC)))?;
        let pos = b.transactions.table(b).get(offset).map(|half| half.pos);
        let pos = pos.ok_or_else(|| {
            let remark = format!("no transaction is pending at {offset} of {HALF_TOPIC}");
            Fault::new(ResponseCode::QUERY_NOT_FOUND, remark)
        })?;
        let record = b.store.record_at(LogPos(pos));
        let record = record.map_err(|error| not_read(&error, Subject::pos(pos)))?;
        let half = Stored::read(&record).map_err(|error| wrong(error.to_string()))?;
        let gate = match b.transactions.end(b, &half, decision)? {
            Ended::Now(gate) => Some(gate),
            Ended::Before(gate) => gate,
        };
        Ok(gate.map(|gate| b.ticket(&b.config(), gate, true)))
    }))
}

/// Whether the transaction of a half, given by any of its copies, has not ended.
pub(crate) fn is_open(b: &Broker, record: &[u8]) -> Result<bool, Fault> {
    let Ok(half) = Stored::read(record) else {
        return Ok(false);
    };
    let pending_max = b.config().transactions_pending_max as usize;
    let scanned = b.transactions.catch_up(&b.store, pending_max);
    scanned.map_err(|error| not_read(&error, Subject::topic(HALF_TOPIC)))?;
    let standing = b.transactions.table(b).standing(half.offset(), half.print());
    Ok(matches!(standing, Standing::Open(_)))
}

/// Code 323.
pub(crate) fn resume(b: &Arc<Broker>, call: Call<ResumeCheckHalfMessage>) -> Result<Answer<NoHeader>, Fault> {
    let id = call.header.msg_id.unwrap_or_default();
    let failed = |why: &dyn std::fmt::Display| {
        wrong(format!(
            "Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed: {why}"
        ))
    };
    let Some((_, pos)) = decode_offset_id(&id) else {
        return Err(failed(&format!("\"{id}\" is no message id")));
    };
    Ok(gated((b, &call.peer), move |b| {
        let record = b.store.record_at(LogPos(pos)).map_err(|error| match error {
            ReadError::Io(_) => not_read(&error, Subject::pos(pos)),
            error => failed(&error),
        })?;
        let half = Stored::read_any(&record).map_err(|error| failed(&error))?;
        is_where_it_says(b, &half, Look::Anywhere).map_err(|error| match error {
            ReadError::Io(_) => not_read(&error, Subject::pos(pos)),
            error => failed(&error),
        })?;
        let properties = half.checked_properties(0);
        let pending_max = b.config().transactions_pending_max as usize;
        let scanned = b.transactions.catch_up(&b.store, pending_max);
        scanned.map_err(|error| not_read(&error, Subject::topic(HALF_TOPIC)))?;
        let mut table = b.transactions.table(b);
        // The new copy takes the place of one that is pending; it must not count beside it.
        let before = match table.standing(half.offset(), half.print()) {
            _ if !half.is_half() => table.newest(half.print()),
            Standing::Open(current) if table.get(current).is_some() => Some(current),
            Standing::Open(_) => {
                // Nobody has looked at it yet, and whoever does would take it and its copy for two.
                let remark = "[OVERLOAD]too many transactions are pending, try again later";
                return Err(Fault::new(ResponseCode::SYSTEM_BUSY, remark));
            }
            Standing::Ending(_) | Standing::Ended(_) => return Err(failed(&"the transaction has ended")),
        };
        let put = half.again(HALF_TOPIC, &properties);
        let receipt = b
            .put(&put)
            .map_err(|error| not_appended(&error, Subject::topic(HALF_TOPIC).of(half.group)))?;
        let copy = Half {
            pos: receipt.pos.0,
            checks: 0,
            is_copy: true,
            ..half.entry()
        };
        table.replace(before, (receipt.queue_offset, copy), receipt.gate);
        Ok(Some(b.ticket(&b.config(), receipt.gate, true)))
    }))
}

/// Work off the threads that serve sockets, whose answer waits for the store.
fn gated(
    (b, peer): (&Arc<Broker>, &Arc<Peer>),
    work: impl FnOnce(&Broker) -> Result<Option<Ticket>, Fault> + Send + 'static,
) -> Answer<NoHeader> {
    let (b, peer) = (Arc::clone(b), Arc::clone(peer));
    Answer::Later(Box::pin(async move {
        let working = Arc::clone(&b);
        let ticket = run(&b, &peer, move || {
            let done = work(&working);
            working.store.drive();
            done
        })
        .await??;
        match ticket {
            Some(ticket) => b.pass(Reply::ok(NoHeader), ticket).await,
            None => Ok(Reply::ok(NoHeader)),
        }
    }))
}
