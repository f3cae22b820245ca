// SPDX-License-Identifier: Apache-2.0
//! Asking producers what became of their transactions (39), again and again until there is an answer or no more patience.
//!
//! A round looks at every half that has not ended and is old enough, oldest first. Before a producer is asked the half is
//! written again with the number of the check, as in the reference: so the count outlives the broker, and the progress on
//! the queue can move past it. A half that nobody answers for is given up to `TRANS_CHECK_MAX_TIME_TOPIC`. One that cannot
//! be read is passed over; it never keeps the others from being asked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use net::{Fault, Room};
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
use super::{PROGRESS_GROUP, Transactions, away, end_with};
use crate::blocking;
use crate::broker::Broker;
use crate::clients::Client;
use crate::config::Config;
use crate::fault::not_appended;
use crate::names::{CHECK_MAX_TIME_TOPIC, HALF_OP_TOPIC, HALF_TOPIC};
use crate::subject::Subject;

/// Halves that are written again together.
const TOGETHER: usize = 64;
/// And bytes; also no more than a quarter of what may wait to be written, so that the sends of others find room.
const BYTES_TOGETHER: usize = 4 << 20;
/// As many clients are tried before the half waits for the next round.
const TRIES: usize = 3;
/// Of a question, beside the record.
const QUESTION_BYTES: usize = 512;
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
        // No sender can ask for so much that its half is given up before anybody was asked.
        let longest_ms = self.reserved_ms / 2;
        let own_ms = half.immunity_ms.filter(|ms| *ms >= 0);
        let immunity_ms = own_ms.map_or(self.timeout_ms, |ms| ms.min(longest_ms));
        // From the future: its clock is wrong, so its age says nothing. A little so when its sender asks for time.
        let youngest_ms = half.immunity_ms.map_or(0, |_| -immunity_ms);
        let is_immune = (youngest_ms..=immunity_ms).contains(&age_ms);
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
        if b.is_slave() {
            // It ends by itself when this broker does not act any more, and then what went is in the progress.
            if let Err(fault) = away::send_away(&b).await {
                warn!(topic = HALF_TOPIC, remark = %fault.remark, "halves find no way out now; trying again");
            }
            continue;
        }
        let round = async {
            round(&b).await?;
            advance(&b).await
        };
        tokio::select! {
            () = stop.cancelled() => return,
            done = round => {
                if let Err(fault) = done {
                    error!(topic = HALF_TOPIC, remark = %fault.remark, "a round of transaction checks is cut short; trying again with the next");
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
        let counted = store::env::aside(move || counting.transactions.count(&counting)).await;
        if counted.is_err() {
            return;
        }
        // However seldom producers are asked: a start reads everything behind the progress.
        let advanced = tokio::select! {
            () = stop.cancelled() => return,
            advanced = advance(&b) => advanced,
        };
        if let Err(fault) = advanced {
            warn!(topic = HALF_TOPIC, remark = %fault.remark, "the progress on transactions does not move; trying again");
        }
    }
}

impl Transactions {
    /// Saves how many halves are pending, and notes the groups that have more than half of all there is room for: they must
    /// not keep those of others from being looked at.
    pub(crate) fn count(&self, b: &Broker) {
        let pending_max = b.config().transactions_pending_max as usize;
        if let Err(error) = self.catch_up(&b.store, pending_max) {
            warn!(topic = HALF_TOPIC, %error, "new half messages cannot be read; trying again");
        }
        let mut topics: BTreeMap<Str, i64> = BTreeMap::new();
        let mut groups: HashMap<Str, usize> = HashMap::new();
        self.each(b, 0, |_, half| {
            *topics.entry(half.topic.clone()).or_default() += 1;
            *groups.entry(half.group.clone()).or_default() += 1;
            ControlFlow::Continue(())
        });
        groups.retain(|_, count| *count > pending_max / 2);
        let crowded: HashSet<Str> = groups.into_keys().collect();
        for group in crowded.difference(&self.crowded.load()) {
            warn!(%group, limit = pending_max / 2, "too many of its transactions are pending, it may send no more half messages until some end");
        }
        self.crowded.store(Arc::new(crowded));
        if let Err(error) = self.metrics.save(&topics) {
            warn!(file = %error.path.display(), error = %error.source, "the numbers of pending transactions are not saved; trying again");
        }
    }
}

/// A question on its way: the half by its new place, when that is safe to tell, whom it goes to, and the frame.
struct Question {
    offset: i64,
    gate: Gate,
    to: Option<(Str, Room)>,
    frame: Frame,
}

/// What came of writing halves again.
#[derive(Default)]
struct Written {
    questions: Vec<Question>,
    gate: Option<Gate>,
    /// Why the others are not written.
    failed: Option<Fault>,
}

impl Written {
    /// Asks what can be asked. Each question waits for its own copy: where one could not be written, a later one may have
    /// taken its place, and the answer would end that.
    async fn ask(self, b: &Broker) -> Result<(), Fault> {
        let (safe, failed) = safe(b, self.questions).await;
        for question in safe {
            question.push(b);
        }
        if let Some(gate) = self.gate {
            b.settled(gate).await?;
        }
        failed.or(self.failed).map_or(Ok(()), Err)
    }
}

/// The questions whose copies are as safe as a send that is acknowledged, and why others are not.
async fn safe(b: &Broker, questions: Vec<Question>) -> (Vec<Question>, Option<Fault>) {
    let (mut safe, mut failed) = (Vec::new(), None);
    for question in questions {
        match b.settled(question.gate).await {
            Ok(()) => safe.push(question),
            Err(fault) => failed = Some(fault),
        }
    }
    (safe, failed)
}

impl Question {
    fn push(self, b: &Broker) {
        if let Some((name, room)) = self.to {
            room.push(self.frame);
            b.transactions.table(b).asked(self.offset, name);
        }
    }
}

/// What is left of a round.
struct Round {
    due: std::vec::IntoIter<(i64, Due)>,
    /// Groups whose producers take no more questions now.
    deaf: HashSet<Str>,
}

pub(super) async fn round(b: &Arc<Broker>) -> Result<(), Fault> {
    let reading = Arc::clone(b);
    let due = blocking::run_own(move || due_now(&reading)).await?;
    if due.is_empty() {
        return Ok(());
    }
    debug!(halves = due.len(), "transactions are checked");
    let until = b.env.clock.instant() + ROUND_MAX;
    let mut round = Round {
        due: due.into_iter(),
        deaf: HashSet::new(),
    };
    while round.due.len() > 0 {
        if b.env.clock.instant() > until {
            info!("the round of transaction checks takes too long, the rest waits for the next");
            return Ok(());
        }
        let writing = Arc::clone(b);
        let (rest, written) = blocking::run_own(move || {
            let written = round.write(&writing);
            (round, written)
        })
        .await?;
        round = rest;
        written.ask(b).await?;
    }
    Ok(())
}

fn due_now(b: &Broker) -> Vec<(i64, Due)> {
    let config = b.config();
    if let Err(error) = b
        .transactions
        .catch_up(&b.store, config.transactions_pending_max as usize)
    {
        warn!(topic = HALF_TOPIC, %error, "new half messages cannot be read; trying again");
    }
    let (patience, now_ms) = (Patience::of(&config), b.env.clock.now_ms());
    let end = b.transactions.table(b).scanned();
    let mut all = Vec::new();
    b.transactions.each(b, 0, |offset, half| {
        let due = patience.due(half, (now_ms, end - offset));
        if due != Due::Not {
            all.push((offset, due));
        }
        ControlFlow::Continue(())
    });
    all
}

impl Round {
    /// Writes some halves again, or gives them up.
    fn write(&mut self, b: &Broker) -> Written {
        let bytes_max = usize::try_from(b.config().append_pending_bytes_max / 4).unwrap_or(usize::MAX);
        let bytes_max = bytes_max.min(BYTES_TOGETHER);
        let (mut written, mut bytes) = (Written::default(), 0);
        for (offset, due) in self.due.by_ref().take(TOGETHER) {
            let Some(half) = b.transactions.table(b).get(offset).cloned() else {
                continue;
            };
            if due == Due::Ask && self.deaf.contains(&half.group) {
                continue;
            }
            let Some(record) = record_of(b, (offset, half.pos)) else {
                continue;
            };
            let done = match Stored::read(&record) {
                Ok(stored) if stored.offset() != offset => continue,
                Ok(stored) => one(b, (&stored, due), &mut self.deaf, &mut written),
                Err(error) => {
                    pass_over(b, offset, &error);
                    continue;
                }
            };
            match done {
                Ok(gate) => written.gate = gate.or(written.gate),
                Err(error) if is_final(&error) => {
                    let (topic, group) = (&half.topic, &half.group);
                    error!(%topic, %group, offset, %error, "a half message can neither be written again nor given up, nobody is asked about it");
                    continue;
                }
                Err(error) => {
                    let about = Subject::topic(&half.topic).of(&half.group);
                    written.failed = Some(not_appended(&error, about));
                    break;
                }
            }
            bytes += record.len();
            if bytes >= bytes_max {
                break;
            }
        }
        b.store.drive();
        written
    }
}

/// Whether it is the message that cannot be appended, now or later.
fn is_final(error: &AppendError) -> bool {
    match error {
        AppendError::RecordTooLarge { .. }
        | AppendError::PropertiesTooLarge { .. }
        | AppendError::Topic
        | AppendError::InnerBatch
        | AppendError::Empty => true,
        AppendError::Busy { .. }
        | AppendError::DiskFull { .. }
        | AppendError::Deleted
        | AppendError::Follows
        | AppendError::Closed
        | AppendError::Failed => false,
    }
}

/// The record of a half, if it can be read.
pub(super) fn record_of(b: &Broker, (offset, pos): (i64, i64)) -> Option<Bytes> {
    match b.store.record_at(LogPos(pos)) {
        Ok(record) => return Some(record),
        Err(error @ ReadError::Io(_)) => {
            warn!(topic = HALF_TOPIC, offset, pos, %error, "a half message cannot be read now; trying again");
        }
        Err(error) => pass_over(b, offset, &error),
    }
    None
}

/// Writes one half again, or gives it up.
fn one(
    b: &Broker,
    (stored, due): (&Stored<'_>, Due),
    deaf: &mut HashSet<Str>,
    written: &mut Written,
) -> Result<Option<Gate>, AppendError> {
    let done = match due {
        Due::Ask => match listener(b, stored, deaf) {
            // It is not asked about, so it does not count.
            Listener::Deaf => return Ok(None),
            Listener::Nobody => again(b, stored, None, written),
            Listener::Ready(name, room) => again(b, stored, Some((name, room)), written),
        },
        Due::Renew => renew(b, stored),
        Due::GiveUp | Due::Not => give_up(b, stored),
    };
    match done {
        // It has become too large to be written again.
        Err(error) if is_final(&error) => give_up(b, stored),
        done => done,
    }
}

/// A half that is damaged can neither be delivered nor asked about.
pub(super) fn pass_over(b: &Broker, offset: i64, why: &dyn std::fmt::Display) {
    error!(topic = HALF_TOPIC, offset, error = %why, "a half message is damaged and passed over, its transaction is lost");
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
    to: Option<(Str, Room)>,
    written: &mut Written,
) -> Result<Option<Gate>, AppendError> {
    let checks = stored.checks() + 1;
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
        gate,
        to,
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
        warn!(topic = CHECK_MAX_TIME_TOPIC, file = %error.path.display(), error = %error.source, "a topic cannot be made, its messages can only be read later");
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
        offset = stored.offset(),
        id = stored.unique,
        checks = stored.checks(),
        "a transaction is given up to {CHECK_MAX_TIME_TOPIC}"
    );
    Ok(Some(gate))
}

/// Who hears a question.
enum Listener {
    /// No producer of the group is connected. As in the reference that is a check like any other: a half whose producers
    /// never come back is given up.
    Nobody,
    /// There are producers, and they do not read what they are sent. That is no fault of theirs: they were not asked.
    Deaf,
    Ready(Str, Room),
}

/// Keeps room for a question at the next producer of the group that has some.
fn listener(b: &Broker, half: &Stored<'_>, deaf: &mut HashSet<Str>) -> Listener {
    let members = b.clients.producer_group(half.group).unwrap_or_default();
    if members.is_empty() {
        debug!(
            group = half.group,
            offset = half.offset(),
            "no producer is there to be asked"
        );
        return Listener::Nobody;
    }
    let turn = b.transactions.turn.fetch_add(1, Ordering::Relaxed) % members.len();
    let in_turn = members.iter().cycle().skip(turn);
    for client in in_turn.take(TRIES.min(members.len())) {
        match client.peer.room(half.head.total_size + QUESTION_BYTES) {
            Ok(room) => return Listener::Ready(describe(client), room),
            Err(error) => debug!(%error, "a producer is not asked"),
        }
    }
    deaf.insert(half.group.into());
    Listener::Deaf
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
    reached.map_err(|error| not_appended(&error, Subject::topic(HALF_TOPIC)))?;
    b.transactions.save(b, halves, ops);
    let saving = Arc::clone(b);
    if let Err(error) = blocking::run_own(move || saving.save_offsets()).await? {
        warn!(file = %error.path.display(), error = %error.source, "the progress on transactions is not saved; trying again");
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

#[cfg(test)]
mod tests {
    use store::disk::sim::Fault as DiskFault;
    use wire::record::Record;

    use super::super::tests::{send, world};
    use super::*;

    /// Of the pending half that was sent with this id.
    fn ask(b: &Broker, id: &str, written: &mut Written) -> (i64, i64) {
        let mut pending = Vec::new();
        b.transactions.each(b, 0, |offset, half| {
            pending.push((offset, half.pos));
            ControlFlow::Continue(())
        });
        for (offset, pos) in pending {
            let record = b.store.record_at(LogPos(pos)).unwrap();
            let stored = Stored::read(&record).unwrap();
            if stored.offset() == offset && stored.unique == id {
                let gate = one(b, (&stored, Due::Ask), &mut HashSet::new(), written).unwrap();
                written.gate = gate.or(written.gate);
            }
        }
        let frame = &written.questions.last().unwrap().frame;
        let header: CheckTransactionState = frame.ext.read().unwrap();
        (header.tran_state_table_offset, header.commit_log_offset)
    }

    #[tokio::test]
    async fn nobody_is_asked_about_a_copy_that_could_not_be_written_and_whose_place_another_took() {
        let world = world();
        let b = world.open(&[]);
        send(&b, "A", "");
        send(&b, "B", "");
        b.transactions.catch_up(&b.store, 100).unwrap();
        let mut written = Written::default();
        let lost = ask(&b, "A", &mut written);
        world.disk.fail_at(world.disk.ops(), DiskFault::Full);
        b.store.drive();
        assert_eq!(ask(&b, "B", &mut written), lost, "the same place");
        b.store.drive();
        let (safe, failed) = safe(&b, written.questions).await;
        let asked = safe.iter().map(|question| {
            let record = Record::decode(&question.frame.body).unwrap();
            record.property("UNIQ_KEY").unwrap().to_owned()
        });
        assert_eq!(asked.collect::<Vec<_>>(), ["B"]);
        assert!(failed.is_some(), "the round says so");
    }

    fn due(immunity_ms: Option<i64>, age_ms: i64) -> Due {
        let patience = Patience {
            timeout_ms: 6000,
            checks_max: 15,
            reserved_ms: 72_000_000,
        };
        let half = Half {
            pos: 0,
            born_at: 1_000_000_000 - age_ms,
            born_host: ([127, 0, 0, 1], 1).into(),
            checks: 0,
            immunity_ms,
            group: Str::const_new("PG"),
            topic: Str::const_new("T"),
            print: 1,
            is_copy: false,
            asked: None,
        };
        patience.due(&half, (1_000_000_000, 0))
    }

    #[test]
    fn nobody_is_asked_about_a_half_in_its_time_of_immunity() {
        for (immunity_ms, until_ms) in [
            (None, 6000),
            (Some(-1), 6000),
            (Some(0), 0),
            (Some(60_000), 60_000),
        ] {
            assert_eq!(due(immunity_ms, until_ms), Due::Not, "{immunity_ms:?}");
            assert_eq!(due(immunity_ms, until_ms + 1), Due::Ask, "{immunity_ms:?}");
        }
    }

    #[test]
    fn a_time_of_immunity_ends_before_the_half_is_given_up_for_its_age() {
        for immunity_ms in [72_000_000, i64::MAX] {
            assert_eq!(due(Some(immunity_ms), 36_000_000), Due::Not);
            assert_eq!(due(Some(immunity_ms), 36_000_001), Due::Ask);
        }
        assert_eq!(due(Some(i64::MAX), 72_000_001), Due::GiveUp);
    }

    #[test]
    fn a_half_from_the_future_is_asked_about_unless_a_clock_may_be_a_little_wrong() {
        assert_eq!(due(None, -1), Due::Ask);
        assert_eq!(due(Some(60_000), -500), Due::Not);
        assert_eq!(due(Some(60_000), -60_001), Due::Ask);
        assert_eq!(due(Some(i64::MAX), -36_000_001), Due::Ask);
    }
}
