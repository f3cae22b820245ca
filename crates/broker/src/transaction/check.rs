// SPDX-License-Identifier: Apache-2.0
//! Asking producers what became of their transactions (39), again and again until there is an answer or no more patience.
//!
//! A round looks at every half that has not ended and is old enough, oldest first. Before a producer is asked the half is
//! written again with the number of the check, as in the reference: so the count outlives the broker, and the progress on
//! the queue can move past it. A half that nobody answers for is given up to `TRANS_CHECK_MAX_TIME_TOPIC`. One that cannot
//! be read is passed over; it never keeps the others from being asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use net::Fault;
use store::{AppendError, Gate, Level, LogPos, ReadError};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use wire::Str;
use wire::api::transaction::CheckTransactionState;
use wire::body::topic::TopicConfig;
use wire::frame::Frame;
use wire::message_id::offset_id;

use super::half::Stored;
use super::table::Half;
use super::{PROGRESS_GROUP, Transactions, end_with};
use crate::blocking;
use crate::broker::Broker;
use crate::clients::Client;
use crate::config::Config;
use crate::fault::not_appended;
use crate::names::{CHECK_MAX_TIME_TOPIC, HALF_OP_TOPIC, HALF_TOPIC};

/// Halves that are written again together.
const TOGETHER: usize = 64;
/// Bytes of questions to one client in one round; it gets the others in the next.
const BYTES_PER_CLIENT: usize = 16 << 20;
/// As many clients are tried before the round goes on without asking.
const TRIES: usize = 3;
/// A round takes no longer than this, as in the reference; the next goes on.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// A half whose time has not come is written again when so many others lie behind it.
const IN_THE_WAY: i64 = 1024;

/// What is to be done with a half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Not,
    Ask,
    GiveUp,
    /// It is not asked about yet, and keeps the progress from moving.
    Renew,
}

/// The settings that decide.
#[derive(Debug, Clone, Copy)]
struct Patience {
    timeout_ms: i64,
    checks_max: u32,
    reserved_ms: i64,
}

impl Patience {
    fn of(config: &Config) -> Patience {
        Patience {
            timeout_ms: config.transaction_time_out.cast_signed(),
            checks_max: config.transaction_check_max,
            reserved_ms: i64::from(config.file_reserved_time) * 3_600_000,
        }
    }

    fn due(&self, half: &Half, (now_ms, behind): (i64, i64)) -> Due {
        let age_ms = now_ms.saturating_sub(half.born_at);
        // What was never asked about is asked at least once, whatever the limit, as in the reference.
        if (half.checks > 0 && half.checks >= self.checks_max) || age_ms > self.reserved_ms {
            return Due::GiveUp;
        }
        let immunity_ms = half.immunity_ms.filter(|ms| *ms >= 0).unwrap_or(self.timeout_ms);
        // From the future: its clock is wrong, so its age says nothing.
        let is_immune = age_ms <= immunity_ms && (half.immunity_ms.is_some() || age_ms >= 0);
        match is_immune {
            false => Due::Ask,
            true if behind >= IN_THE_WAY => Due::Renew,
            true => Due::Not,
        }
    }
}

/// Asks producers from time to time, until `stop`.
pub(crate) async fn keep_checking(b: Arc<Broker>, stop: CancellationToken) {
    loop {
        let pause = Duration::from_millis(b.config().transaction_check_interval);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let round = async {
            round(&b).await?;
            advance(&b).await
        };
        tokio::select! {
            () = stop.cancelled() => return,
            done = round => {
                if let Err(fault) = done {
                    error!(reason = %fault.remark, "a round of transaction checks is cut short");
                }
            }
        }
    }
}

/// Counts pending halves from time to time, until `stop`.
pub(crate) async fn keep_counting(b: Arc<Broker>, stop: CancellationToken) {
    loop {
        let pause = Duration::from_millis(b.config().transaction_metric_flush_interval);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let counting = Arc::clone(&b);
        let counted = tokio::task::spawn_blocking(move || counting.transactions.count(&counting)).await;
        if counted.is_err() {
            return;
        }
        // However seldom producers are asked: a start reads everything behind the progress.
        let advanced = tokio::select! {
            () = stop.cancelled() => return,
            advanced = advance(&b) => advanced,
        };
        if let Err(fault) = advanced {
            warn!(reason = %fault.remark, "the progress on transactions does not move");
        }
    }
}

impl Transactions {
    /// Saves how many halves are pending.
    pub(crate) fn count(&self, b: &Broker) {
        if let Err(error) = self.catch_up(&b.store, b.config().transactions_pending_max as usize) {
            warn!(%error, "new half messages cannot be read");
        }
        let mut counts: BTreeMap<Str, i64> = BTreeMap::new();
        for (_, half) in self.table(b).pending_from(0) {
            *counts.entry(half.topic.clone()).or_default() += 1;
        }
        if let Err(error) = self.metrics.save(&counts) {
            warn!(%error, "the numbers of pending transactions are not saved");
        }
    }
}

/// A question on its way: the half, its new place, and the frame.
struct Question {
    offset: i64,
    group: Str,
    frame: Frame,
}

/// What came of writing halves again.
#[derive(Default)]
struct Written {
    questions: Vec<Question>,
    gate: Option<Gate>,
}

async fn round(b: &Arc<Broker>) -> Result<(), Fault> {
    let reading = Arc::clone(b);
    let due = blocking::run_own(move || due_now(&reading)).await?;
    if due.is_empty() {
        return Ok(());
    }
    debug!(halves = due.len(), "transactions are checked");
    let until = b.env.clock.instant() + ROUND_MAX;
    let mut sent: HashMap<u64, usize> = HashMap::new();
    for some in due.chunks(TOGETHER) {
        if b.env.clock.instant() > until {
            info!("the round of transaction checks takes too long, the rest waits for the next");
            return Ok(());
        }
        let (writing, some) = (Arc::clone(b), some.to_vec());
        let written = blocking::run_own(move || write(&writing, &some)).await??;
        if let Some(gate) = written.gate {
            b.settled(gate).await?;
        }
        for question in written.questions {
            ask(b, question, &mut sent);
        }
    }
    Ok(())
}

fn due_now(b: &Broker) -> Vec<(i64, Due)> {
    let config = b.config();
    if let Err(error) = b
        .transactions
        .catch_up(&b.store, config.transactions_pending_max as usize)
    {
        warn!(%error, "new half messages cannot be read");
    }
    let (patience, now_ms) = (Patience::of(&config), b.env.clock.now_ms());
    let table = b.transactions.table(b);
    let end = table.scanned();
    let all = table
        .pending_from(0)
        .map(|(offset, half)| (offset, patience.due(half, (now_ms, end - offset))));
    all.filter(|(_, due)| *due != Due::Not).collect()
}

/// Writes halves again, or gives them up.
fn write(b: &Broker, due: &[(i64, Due)]) -> Result<Written, Fault> {
    let mut written = Written::default();
    for (offset, due) in due {
        let Some(half) = b.transactions.table(b).get(*offset).cloned() else {
            continue;
        };
        let record = match b.store.record_at(LogPos(half.pos)) {
            Ok(record) => record,
            Err(error @ ReadError::Io(_)) => {
                warn!(offset, %error, "a half message cannot be read now");
                continue;
            }
            Err(error) => {
                pass_over(b, *offset, &error);
                continue;
            }
        };
        let stored = match Stored::read(&record) {
            Ok(stored) if stored.offset() == *offset => stored,
            Ok(_) => continue,
            Err(error) => {
                pass_over(b, *offset, &error);
                continue;
            }
        };
        let done = match due {
            Due::Ask => again(b, &stored, half.checks + 1, &mut written),
            Due::Renew => renew(b, &stored),
            Due::GiveUp | Due::Not => give_up(b, &stored),
        };
        match done {
            Ok(gate) => written.gate = gate.or(written.gate),
            // It has become too large to be written again.
            Err(AppendError::PropertiesTooLarge { .. } | AppendError::RecordTooLarge { .. }) => {
                let gate = give_up(b, &stored).map_err(|error| not_appended(&error))?;
                written.gate = gate.or(written.gate);
            }
            Err(error) => {
                b.store.drive();
                return Err(not_appended(&error));
            }
        }
    }
    b.store.drive();
    Ok(written)
}

/// A half that is damaged can neither be delivered nor asked about.
fn pass_over(b: &Broker, offset: i64, why: &dyn std::fmt::Display) {
    error!(offset, %why, "a half message is damaged and passed over, its transaction is lost");
    let mut table = b.transactions.table(b);
    if table.get(offset).is_some() && end_with(b, &mut table, &[offset], None).is_err() {
        table.ended(offset);
    }
}

/// Appends a copy and lets it take the place of the half; not if that has ended meanwhile.
fn copy(
    b: &Broker,
    stored: &Stored<'_>,
    properties: &[u8],
    checks: u32,
) -> Result<Option<(i64, i64, Gate)>, AppendError> {
    let mut table = b.transactions.table(b);
    let Some(half) = table.get(stored.offset()) else {
        return Ok(None);
    };
    let before = half.clone();
    let receipt = b.put(&stored.again(HALF_TOPIC, properties))?;
    let half = Half {
        pos: receipt.pos.0,
        checks,
        is_copy: true,
        ..before
    };
    table.replace(Some(stored.offset()), (receipt.queue_offset, half), receipt.gate);
    Ok(Some((receipt.queue_offset, receipt.pos.0, receipt.gate)))
}

fn again(
    b: &Broker,
    stored: &Stored<'_>,
    checks: u32,
    written: &mut Written,
) -> Result<Option<Gate>, AppendError> {
    let properties = stored.checked_properties(checks);
    let Some((offset, pos, gate)) = copy(b, stored, &properties, checks)? else {
        return Ok(None);
    };
    let header = CheckTransactionState {
        bname: Some(b.config().broker_name.clone()),
        topic: Some(Str::const_new(HALF_TOPIC)),
        tran_state_table_offset: offset,
        commit_log_offset: pos,
        msg_id: Some(stored.unique.into()),
        transaction_id: Some(stored.unique.into()),
        offset_msg_id: Some(offset_id(b.host, pos)),
    };
    let body = stored.question(&properties, (offset, pos));
    written.questions.push(Question {
        offset,
        group: stored.group.into(),
        frame: Frame::request(0, &header).with_body(body).oneway(),
    });
    Ok(Some(gate))
}

fn renew(b: &Broker, stored: &Stored<'_>) -> Result<Option<Gate>, AppendError> {
    let copied = copy(b, stored, &stored.renewed_properties(), stored.checks())?;
    Ok(copied.map(|(_, _, gate)| gate))
}

/// Nobody answers for it: the message goes where operators find it.
fn give_up(b: &Broker, stored: &Stored<'_>) -> Result<Option<Gate>, AppendError> {
    let topic = TopicConfig {
        topic_name: Str::const_new(CHECK_MAX_TIME_TOPIC),
        read_queue_nums: 1,
        write_queue_nums: 1,
        ..TopicConfig::default()
    };
    if let Err(error) = b.ensure_topic(topic) {
        warn!(%error, "{CHECK_MAX_TIME_TOPIC} cannot be made, its messages can only be read later");
    }
    let put = stored.again(CHECK_MAX_TIME_TOPIC, stored.head.parts.properties);
    let mut table = b.transactions.table(b);
    if table.get(stored.offset()).is_none() {
        return Ok(None);
    }
    let gate = end_with(b, &mut table, &[stored.offset()], Some(&put))?;
    warn!(
        topic = stored.topic,
        group = stored.group,
        id = stored.unique,
        checks = stored.checks(),
        "a transaction is given up to {CHECK_MAX_TIME_TOPIC}"
    );
    Ok(Some(gate))
}

/// Sends a question to the next producer of the group that takes it.
fn ask(b: &Broker, question: Question, sent: &mut HashMap<u64, usize>) {
    let members = b.clients.producer_group(&question.group).unwrap_or_default();
    let bytes = question.frame.body.len();
    let mut next = b.transactions.turn.fetch_add(1, Ordering::Relaxed);
    for _ in 0..TRIES.min(members.len()) {
        let Some(client) = members.get(next % members.len()) else {
            break;
        };
        next = next.wrapping_add(1);
        let to_client = sent.entry(client.peer.id).or_default();
        if *to_client + bytes > BYTES_PER_CLIENT && *to_client > 0 {
            continue;
        }
        match client.peer.push(question.frame.clone()) {
            Ok(()) => {
                *to_client += bytes;
                let name = describe(client);
                b.transactions.table(b).asked(question.offset, name);
                return;
            }
            Err(error) => debug!(%error, "a producer is not asked"),
        }
    }
    debug!(
        group = %question.group,
        offset = question.offset,
        "no producer of the group can be asked"
    );
}

fn describe(client: &Client) -> Str {
    format!("{}@{}", client.id, client.peer.addr).into()
}

/// Saves how far the queues are done with: only over what is on disk, or a crash could forget a half whose copy or
/// message is lost with the end of the log.
pub(crate) async fn advance(b: &Arc<Broker>) -> Result<(), Fault> {
    let _one_at_a_time = b.transactions.advancing.lock().await;
    let Some((halves, ops)) = b.transactions.progress(b) else {
        return Ok(());
    };
    let behind_all = b.store.tail_gate();
    let reached = b.store.reach(behind_all, Level::Durable).await;
    reached.map_err(|error| not_appended(&error))?;
    b.transactions.save(b, halves, ops);
    let saving = Arc::clone(b);
    if let Err(error) = blocking::run_own(move || saving.offsets.save()).await? {
        warn!(%error, "the progress on transactions is not saved, and will be tried again");
    }
    Ok(())
}

impl Transactions {
    /// How far both queues are done with, if that is not what is saved.
    fn progress(&self, b: &Broker) -> Option<(i64, i64)> {
        let mut table = self.table(b);
        let halves = table.progress();
        let ops = table
            .ops_progress(halves)
            .min(b.store.queue(HALF_OP_TOPIC, 0).max());
        drop(table);
        let saved = |topic| b.offsets.query(PROGRESS_GROUP, topic, 0).unwrap_or(0);
        let is_news = halves != saved(HALF_TOPIC) || ops != saved(HALF_OP_TOPIC);
        is_news.then_some((halves, ops))
    }

    /// Halves first: op records of halves that are still looked at must never be passed over.
    fn save(&self, b: &Broker, halves: i64, ops: i64) {
        let step = b.config().consumer_offset_update_version_step;
        b.offsets.commit(PROGRESS_GROUP, HALF_TOPIC, (0, halves), step);
        b.offsets.commit(PROGRESS_GROUP, HALF_OP_TOPIC, (0, ops), step);
    }
}
