// SPDX-License-Identifier: Apache-2.0
//! Messages that were not settled in time are written to the retry topic of their group, and only then settled: a crash in
//! between writes them twice rather than never. After a crash the end of the retry topic is searched for what was
//! written just before, so that even that is rare.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{All, AppendError, Gate, GateState, Level, ReadError, ReadLimit, ReadStatus};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use wire::Str;
use wire::body::topic::TopicConfig;
use wire::code::ResponseCode;
use wire::properties::name::{CRC32, UNIQ_KEY};
use wire::properties::{Properties, get};
use wire::record::RecordHead;

use super::check;
use super::flight::Lease;
use super::line::{Line, State};
use super::log::Name;
use crate::attributes::QUEUE_TYPE;
use crate::blocking::run_own;
use crate::broker::Broker;
use crate::escape::{self, Leaver};
use crate::fault::{not_appended, not_read, unsaved};
use crate::names::{RETRY_PREFIX, popped_topic};
use crate::offset::find_queue;
use crate::put::Put;
use crate::send::properties::MessageType;
use crate::subject::Subject;

/// Leases of one turn.
const LEASES_MAX: usize = 256;
/// Longest sleep: the clock may jump.
const NAP: Duration = Duration::from_millis(100);
/// After a failure.
const PAUSE_MS: i64 = 1_000;
const PAUSE: Duration = Duration::from_millis(PAUSE_MS.unsigned_abs());
/// How long a turn may take at most before its messages count as due again.
const TURN_MS: i64 = 60_000;
/// Messages at the end of a retry topic that are searched after a crash.
const TAIL: i64 = 4_096;
/// Copies that are written at once.
const WRITTEN_TOGETHER: usize = 64;
/// Retry topics whose ends are remembered.
const TAILS_MAX: usize = 64;
const FIRST_POP_TIME: &str = "1ST_POP_TIME";
const ORIGIN_GROUP: &str = "ORIGIN_GROUP";

/// A message that comes again.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) name: Name,
    pub(super) offset: i64,
    pub(super) popped_at: i64,
    /// When its lease ended, if it may have been written already.
    pub(super) doubtful_since: Option<i64>,
    /// Itself, when it lies on another broker.
    pub(super) record: Option<Bytes>,
}

/// What stood at the ends of retry topics before anything was written there: unique id and number of deliveries, and when
/// that was written. Nothing: the disk does not give them now.
pub(super) type Tails = HashMap<Str, Option<Tail>>;
type Tail = HashMap<(Str, i32), i64>;

/// What became of a message that comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    /// It is in the retry topic, perhaps since before, as safe as a send that is acknowledged.
    Written(Gate),
    /// It is gone, or nobody can want it any more.
    Settled,
    /// It has to be tried again.
    Failed,
}

/// Messages that are done with, of which the journal could not take note.
type Owed = Vec<(Arc<Line>, Vec<i64>)>;

/// Brings messages back until `stop`.
pub(super) async fn keep_reviving(b: Arc<Broker>, stop: CancellationToken) {
    let (mut tails, mut owed) = (Tails::default(), Owed::new());
    loop {
        let now_ms = b.env.clock.now_ms() + if store::seeded!("early-lease") { 300 } else { 0 };
        loop {
            // As long as the journal cannot be written, copies would be written again and again.
            settle_owed(&b, &mut owed);
            let turns = if owed.is_empty() {
                take_turns(&b, now_ms)
            } else {
                Vec::new()
            };
            if turns.is_empty() {
                break;
            }
            let lines: Vec<_> = turns.iter().map(|(line, _)| Arc::clone(line)).collect();
            tails = revive(&b, turns, tails, &mut owed).await;
            for line in lines {
                b.pop.hint(&line, &mut line.state.lock());
            }
            if stop.is_cancelled() {
                return settle_owed(&b, &mut owed);
            }
        }
        tails.clear();
        let is_stuck = !owed.is_empty();
        let due = b.pop.next_due();
        let nap = async {
            match due {
                // What is due stays due meanwhile, and whatever comes due has to wait as well.
                _ if is_stuck => tokio::time::sleep(PAUSE).await,
                Some(due) => {
                    let time = due.saturating_sub(now_ms).max(1).unsigned_abs();
                    tokio::time::sleep(Duration::from_millis(time).min(NAP)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return settle_owed(&b, &mut owed),
            () = b.pop.earlier.notified(), if !is_stuck => {}
            () = nap => {}
        }
    }
}

/// Lines that are due, with leases that have ended.
fn take_turns(b: &Broker, now_ms: i64) -> Vec<(Arc<Line>, Vec<Lease>)> {
    let mut turns = Vec::new();
    let mut room = LEASES_MAX;
    while room > 0
        && let Some(line) = b.pop.take_due(now_ms)
    {
        let ended = b.pop.ended(&line, now_ms, room, now_ms.saturating_add(TURN_MS));
        room = room.saturating_sub(ended.len().max(1));
        turns.push((line, ended));
    }
    turns
}

/// One turn. What is written is settled only once it is on disk: the journal must not survive the copies it tells of.
async fn revive(
    b: &Arc<Broker>,
    turns: Vec<(Arc<Line>, Vec<Lease>)>,
    tails: Tails,
    owed: &mut Owed,
) -> Tails {
    let due: Vec<Due> = turns
        .iter()
        .flat_map(|(line, ended)| ended.iter().flat_map(|lease| dues_of(b, line, lease)))
        .collect();
    if due.is_empty() {
        return tails;
    }
    let (back, tails) = bring_back(b, due, tails).await;
    if back.iter().any(|back| matches!(back, Back::Written(_))) && !store::seeded!("copy-unsynced") {
        let broker = Arc::clone(b);
        let _flushed_or_stopping = run_own(move || broker.store.turn_flush()).await;
    }
    let again_at = b.env.clock.now_ms().saturating_add(PAUSE_MS);
    let mut back = back.into_iter();
    for (line, ended) in turns {
        let mut state = line.state.lock();
        let mut settled = Vec::new();
        let mut left = Vec::new();
        for lease in &ended {
            // Where an operator has taken the group back meanwhile somebody else may have it.
            let ours = lease.offsets().zip(&mut back);
            for (offset, back) in ours.filter(|(offset, _)| is_ours(&state, *offset)) {
                if is_safe(b, back) {
                    settled.push(offset);
                } else {
                    left.push((offset, lease.popped_at));
                }
            }
        }
        let is_settled = b.pop.settle(&line, &mut state, &settled).is_ok();
        b.pop.publish(&b.offsets, &line, &mut state);
        for (offset, popped_at) in left {
            let popped_at = -popped_at.saturating_abs();
            state.flight.change(offset, popped_at, again_at);
        }
        drop(state);
        if !is_settled {
            owed.push((line, settled));
        }
    }
    tails
}

/// Settles what could not be settled, as far as the group was not set elsewhere and has it anew. The first that fails again
/// stands for those behind it: each try is a line in the log.
fn settle_owed(b: &Broker, owed: &mut Owed) {
    let mut has_failed = false;
    owed.retain(|(line, offsets)| {
        if has_failed {
            return true;
        }
        let mut state = line.state.lock();
        let offsets = offsets.iter().filter(|offset| is_ours(&state, **offset));
        let offsets: Vec<i64> = offsets.copied().collect();
        let is_settled = b.pop.settle(line, &mut state, &offsets).is_ok();
        b.pop.publish(&b.offsets, line, &mut state);
        has_failed = !is_settled;
        has_failed
    });
}

/// Whether a message is still being brought back, and not handed out anew.
fn is_ours(state: &State, offset: i64) -> bool {
    let lease = state.flight.lease_of(offset);
    lease.is_some_and(|lease| lease.popped_at < 0)
}

fn is_safe(b: &Broker, back: Back) -> bool {
    match back {
        Back::Written(_) if store::seeded!("copy-unsynced") => true,
        Back::Written(gate) => b.store.state(&gate, Level::Durable) == GateState::Passed,
        Back::Settled => true,
        Back::Failed => false,
    }
}

fn dues_of(b: &Broker, line: &Line, lease: &Lease) -> Vec<Due> {
    let doubtful_since = if lease.popped_at < 0 {
        // Somebody was at it before, in this life or the last one, and may have written a copy. One from before it was handed out is
        // of another time, which an operator has taken the group back to.
        Some(lease.popped_at.saturating_abs())
    } else {
        Some(lease.visible_at).filter(|ended| *ended <= b.pop.doubtful_until)
    };
    let due = |offset| Due {
        name: line.name.clone(),
        offset,
        popped_at: lease.popped_at.saturating_abs(),
        doubtful_since,
        record: None,
    };
    lease.offsets().map(due).collect()
}

/// Writes messages to the retry topics of their groups; says of each what became of it.
pub(super) async fn bring_back(b: &Arc<Broker>, due: Vec<Due>, mut tails: Tails) -> (Vec<Back>, Tails) {
    let (broker, count) = (Arc::clone(b), due.len());
    let staged = run_own(move || {
        let mut back = Vec::with_capacity(due.len());
        for some in due.chunks(WRITTEN_TOGETHER) {
            back.extend(some.iter().map(|due| stage(&broker, due, &mut tails)));
            // Or all of a turn would stand in memory.
            broker.store.drive();
        }
        (due, back, tails)
    });
    let Ok((due, mut back, tails)) = staged.await else {
        return (vec![Back::Failed; count], Tails::default());
    };
    for back in &mut back {
        if let Back::Written(gate) = *back
            && let Err(fault) = b.settled(gate).await
        {
            debug!(remark = %fault.remark, "a message was not written to its retry topic");
            *back = Back::Failed;
        }
    }
    let mut failed = due.iter().zip(&back).filter(|(_, back)| **back == Back::Failed);
    if let Some((Due { name, offset, .. }, _)) = failed.next() {
        error!(
            group = %name.group, topic = %name.topic, queue = name.queue_id, offset, count = 1 + failed.count(),
            "messages were not written to their retry topics; trying again"
        );
    }
    let bells: HashSet<_> = due
        .iter()
        .zip(&back)
        .filter(|(_, back)| matches!(back, Back::Written(_)))
        .map(|(due, _)| (&due.name.group, popped_topic(&due.name.topic, &due.name.group)))
        .collect();
    for (group, topic) in bells {
        b.pop.bell(group, topic).ring();
    }
    (back, tails)
}

/// Appends the copy of a message. Blocks. What fails for one message is no reason to write those before it again.
fn stage(b: &Broker, due: &Due, tails: &mut Tails) -> Back {
    match try_stage(b, due, tails) {
        Ok(gate) => gate.map_or(Back::Settled, Back::Written),
        Err(fault) => {
            debug!(topic = %due.name.topic, offset = due.offset, remark = %fault.remark, "a message that was not settled has to wait");
            Back::Failed
        }
    }
}

fn try_stage(b: &Broker, due: &Due, tails: &mut Tails) -> Result<Option<Gate>, net::Fault> {
    let record = match &due.record {
        Some(record) => Some(record.clone()),
        None => message(b, due)?,
    };
    let Some(record) = record else {
        info!(group = %due.name.group, topic = %due.name.topic, queue = due.name.queue_id, offset = due.offset, "a message that was not settled is gone");
        return Ok(None);
    };
    let Ok(head) = RecordHead::scan(&record) else {
        return Ok(None);
    };
    if b.is_slave() {
        return send_away(b, due, &head).map(|()| None);
    }
    let Some(retry) = retry_topic(b, &due.name)? else {
        return Ok(None);
    };
    if let Some(since) = due.doubtful_since
        && is_written(b, tails, &retry, &head, since)
            .map_err(|error| not_read(&error, Subject::topic(&retry).of(&due.name.group)))?
    {
        // It may be in the memory of the system only.
        return Ok(Some(b.store.tail_gate()));
    }
    match put(b, due, &retry, &head) {
        Ok(gate) => Ok(Some(gate)),
        Err(
            error @ (AppendError::RecordTooLarge { .. }
            | AppendError::PropertiesTooLarge { .. }
            | AppendError::Topic
            | AppendError::InnerBatch
            | AppendError::Empty),
        ) => {
            let Due { name, offset, .. } = due;
            error!(group = %name.group, topic = %name.topic, queue = name.queue_id, offset, %error, "a message cannot come again, and is given up");
            Ok(None)
        }
        Err(error) => Err(not_appended(&error, Subject::topic(&retry).of(&due.name.group))),
    }
}

/// The message itself; `None` when it is gone.
fn message(b: &Broker, due: &Due) -> Result<Option<Bytes>, net::Fault> {
    let Some(queue) = find_queue(b, &due.name.topic, due.name.queue_id) else {
        return Ok(None);
    };
    let limit = ReadLimit {
        count: 1,
        bytes: 1,
        scan: 1,
        far: None,
    };
    match b.store.read(&queue, due.offset, &limit, &All) {
        Ok(batch) => Ok((batch.status == ReadStatus::Found).then_some(batch.bytes)),
        Err(error @ (ReadError::Io(_) | ReadError::NotCached)) => Err(not_read(
            &error,
            Subject::queue(&due.name.topic, due.name.queue_id, due.offset).of(&due.name.group),
        )),
        Err(_) => Ok(None),
    }
}

/// Where messages of a queue come again, made when there is no such topic. `None`: nobody can want them any more.
fn retry_topic(b: &Broker, name: &Name) -> Result<Option<Str>, net::Fault> {
    let topic = popped_topic(&name.topic, &name.group);
    let known = b
        .topics
        .get(topic)
        .filter(|_| b.groups.find(&name.group).is_some());
    let Some(known) = known else {
        warn!(group = %name.group, %topic, queue = name.queue_id, "messages of a deleted topic or group do not come again");
        return Ok(None);
    };
    let retry = retry_name(b, name);
    if b.topics.get(&retry).is_none() {
        let config = TopicConfig {
            topic_name: retry.clone(),
            read_queue_nums: 1,
            write_queue_nums: 1,
            // A message that holds several goes to a queue of its kind only.
            attributes: known
                .config
                .attributes
                .iter()
                .filter(|(key, _)| *key == QUEUE_TYPE)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            ..TopicConfig::default()
        };
        let made = b.ensure_topic(config);
        drop(made.map_err(|error| unsaved(&error, Subject::topic(&retry).of(&name.group)))?);
        if b.offsets.query(&name.group, &retry, 0).is_none() {
            let step = b.config().consumer_offset_update_version_step;
            b.offsets.commit(&name.group, &retry, (0, 0), step);
        }
    }
    Ok(Some(retry))
}

fn retry_name(b: &Broker, name: &Name) -> Str {
    if name.topic.starts_with(RETRY_PREFIX) {
        return name.topic.clone();
    }
    check::retry_topic(&b.config(), popped_topic(&name.topic, &name.group), &name.group)
}

/// On a slave that acts for its master the copy goes to another one, where the group pops too.
fn send_away(b: &Broker, due: &Due, head: &RecordHead<'_>) -> Result<(), net::Fault> {
    let retry = retry_name(b, &due.name);
    let mut properties = Properties::from_bytes(head.parts.properties);
    mark(&mut properties, due, head.parts.reconsume_times);
    let leaver = Leaver {
        beside: Some(popped_topic(&due.name.topic, &due.name.group)),
        properties,
        reconsume_times: head.parts.reconsume_times.saturating_add(1),
        ..Leaver::of(head.parts, &retry)
    };
    let sent = escape::send_blocking(b, leaver);
    sent.map_err(|error| net::Fault::new(ResponseCode::SERVICE_NOT_AVAILABLE, error.to_string()))
}

/// What a copy says beyond its original.
fn mark(properties: &mut Properties, due: &Due, reconsume_times: i32) {
    if reconsume_times == 0 || properties.get(FIRST_POP_TIME).is_none() {
        properties.set(FIRST_POP_TIME, &due.popped_at.to_string());
    }
    properties.set(ORIGIN_GROUP, &due.name.group);
}

fn put(b: &Broker, due: &Due, retry: &str, head: &RecordHead<'_>) -> Result<Gate, AppendError> {
    let parts = &head.parts;
    let mut properties = Properties::from_bytes(parts.properties);
    properties.remove(CRC32);
    let bare = properties.clone();
    mark(&mut properties, due, parts.reconsume_times);
    let put = |properties: &Properties| {
        b.put(&Put {
            reconsume_times: parts.reconsume_times.saturating_add(1),
            born_host: b.host,
            ..Put::again(parts, (retry, 0), properties.as_bytes())
        })
    };
    let receipt = match put(&properties) {
        // Rather without the marks than not at all.
        Err(AppendError::PropertiesTooLarge { .. } | AppendError::RecordTooLarge { .. }) => put(&bare)?,
        done => done?,
    };
    b.count_put(retry, (MessageType::Normal, 1, receipt.size as u64));
    if let Some(topic) = b.topics.get(popped_topic(&due.name.topic, &due.name.group)) {
        topic.traffic.reader(&due.name.group).revived.add(1);
    }
    Ok(receipt.gate)
}

/// Whether the copy of a message was written before the broker ended.
fn is_written(
    b: &Broker,
    tails: &mut Tails,
    retry: &Str,
    head: &RecordHead<'_>,
    since: i64,
) -> Result<bool, ReadError> {
    let Some(unique) = get(head.parts.properties, UNIQ_KEY) else {
        return Ok(false);
    };
    if tails.len() >= TAILS_MAX && !tails.contains_key(retry) {
        tails.clear();
    }
    if !tails.contains_key(retry) {
        // Others of this turn are not to ask again.
        let tail = tail_of(b, retry);
        let (tail, failed) = tail.map_or_else(|error| (None, Some(error)), |tail| (Some(tail), None));
        tails.insert(retry.clone(), tail);
        failed.map_or(Ok(()), Err)?;
    }
    let Some(Some(tail)) = tails.get(retry) else {
        return Err(ReadError::NotCached);
    };
    let copy = (Str::from(unique), head.parts.reconsume_times.saturating_add(1));
    Ok(tail.get(&copy).is_some_and(|written| *written >= since))
}

/// The last copies, with when they were stored. One that the disk does not give now may be among them: then nobody knows.
fn tail_of(b: &Broker, retry: &str) -> Result<Tail, ReadError> {
    let mut tail = HashMap::new();
    let Some(queue) = b.store.find_queue(retry, 0) else {
        return Ok(tail);
    };
    let mut from = queue.min().max(queue.max() - TAIL);
    let limit = ReadLimit {
        count: 256,
        bytes: 1 << 20,
        scan: 256,
        far: None,
    };
    loop {
        let batch = match b.store.read(&queue, from, &limit, &All) {
            Ok(batch) => batch,
            Err(error @ (ReadError::Io(_) | ReadError::NotCached)) => return Err(error),
            Err(_) => return Ok(tail),
        };
        let mut rest = &batch.bytes[..];
        while let Ok(head) = RecordHead::scan(rest) {
            if let Some(unique) = get(head.parts.properties, UNIQ_KEY) {
                tail.insert((unique.into(), head.parts.reconsume_times), head.stamp.stored_at);
            }
            rest = rest.get(head.total_size..).unwrap_or_default();
        }
        from = batch.next_offset;
    }
}

#[cfg(test)]
mod tests {
    use store::disk::sim::{Fault, Loss};

    use super::*;
    use crate::pop::flight::Handout;
    use crate::world::World;

    fn put_one(b: &Broker) {
        let put = Put {
            topic: "T",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_at: b.env.clock.now_ms(),
            born_host: b.host,
            reconsume_times: 0,
            prepared_pos: 0,
            body: b"body",
            properties: b"UNIQ_KEY\x011\x02",
        };
        b.put(&put).unwrap();
        b.store.drive();
    }

    /// One message is handed out, and its lease ends soon: with its line and the retry topic.
    fn hand_out_one(b: &Arc<Broker>) -> (Arc<Line>, Str) {
        let config = TopicConfig {
            topic_name: "T".into(),
            read_queue_nums: 1,
            write_queue_nums: 1,
            ..TopicConfig::default()
        };
        drop(b.ensure_topic(config).unwrap());
        b.group("G").unwrap();
        put_one(b);
        let name = Name {
            group: "G".into(),
            topic: "T".into(),
            queue_id: 0,
        };
        let retry = retry_topic(b, &name).unwrap().unwrap();
        let line = b.pop.ensure_line(name, Some(0), || 0).unwrap();
        let now_ms = b.env.clock.now_ms();
        let handout = Handout::new((0, 1), &[0], (now_ms, now_ms + 10));
        b.pop.hand_out(&line, &mut line.state.lock(), &handout).unwrap();
        b.pop.hint(&line, &mut line.state.lock());
        (line, retry)
    }

    /// A lease has ended, and one operation of the disk fails: how many copies there are, and messages in flight.
    async fn copies(number: u64) -> (i64, usize) {
        let world = World::new(1, &[]);
        let b = world.open(&[]);
        let (line, retry) = hand_out_one(&b);
        world.disk.fail_at(world.disk.ops() + number, Fault::Broken);
        let (mut tails, mut owed) = (Tails::default(), Owed::new());
        for _ in 0..3 {
            world.pass(TURN_MS.unsigned_abs() + 1);
            settle_owed(&b, &mut owed);
            let turns = take_turns(&b, b.env.clock.now_ms());
            tails = revive(&b, turns, tails, &mut owed).await;
            b.pop.hint(&line, &mut line.state.lock());
        }
        let written = b.store.find_queue(&retry, 0).map_or(0, |queue| queue.max());
        let in_flight = line.state.lock().flight.count();
        (written, in_flight)
    }

    #[tokio::test]
    async fn whichever_write_fails_a_message_comes_again_once() {
        for number in 0..8 {
            let (written, in_flight) = copies(number).await;
            assert!(written <= 1, "operation {number} failed: {written} copies");
            assert!(
                written == 1 || in_flight == 1,
                "operation {number} failed: it is lost"
            );
        }
        assert_eq!(copies(u64::MAX / 2).await, (1, 0), "when nothing fails");
    }

    /// One operation fails as in [`copies`], and then the broker is stopped in order and started. `None`: it was a sync, which ends
    /// the store.
    async fn copies_after_a_stop(number: u64) -> Option<i64> {
        let world = World::new(1, &[]);
        let b = world.open(&[]);
        let (line, retry) = hand_out_one(&b);
        b.offsets.commit("G", "T", (0, 0), 0);
        world.disk.fail_at(world.disk.ops() + number, Fault::Broken);
        world.pass(TURN_MS.unsigned_abs() + 1);
        revive_once(&b).await;
        world.disk.fail_no_more();
        drop(line);
        if b.store.failure().is_some() {
            return None;
        }
        b.close().unwrap();
        drop(b);
        let b = world.open(&[]);
        world.pass(2 * TURN_MS.unsigned_abs());
        revive_once(&b).await;
        Some(b.store.find_queue(&retry, 0).map_or(0, |queue| queue.max()))
    }

    #[tokio::test]
    async fn a_message_whose_copy_could_not_be_noted_comes_once_although_the_broker_stops_in_order() {
        let mut played = 0;
        for number in 0..8 {
            let Some(written) = copies_after_a_stop(number).await else {
                continue;
            };
            assert_eq!(written, 1, "operation {number} failed");
            played += 1;
        }
        assert!(played > 3, "{played}");
    }

    /// Leases that have ended are looked at.
    async fn revive_once(b: &Arc<Broker>) {
        let turns = take_turns(b, b.env.clock.now_ms());
        revive(b, turns, Tails::default(), &mut Owed::new()).await;
    }

    #[tokio::test]
    async fn a_copy_that_is_found_is_on_the_disk_before_its_message_is_settled() {
        let world = World::new(1, &[]);
        let b = world.open(&[]);
        let (_, retry) = hand_out_one(&b);
        world.pass(TURN_MS.unsigned_abs());
        // With a checkpoint the next start does not sync the log.
        b.store.turn_flush();
        b.store.turn_tidy();
        b.pop.flush().unwrap();
        // The copy is written, and nobody notes it before the broker is killed.
        let turns = take_turns(&b, b.env.clock.now_ms());
        let due = turns
            .iter()
            .flat_map(|(line, ended)| dues_of(&b, line, ended.first().unwrap()));
        let (back, _) = bring_back(&b, due.collect(), Tails::default()).await;
        assert!(matches!(back[..], [Back::Written(_)]));
        drop((b, turns));
        world.disk.crash(Loss::Nothing);
        let b = world.open(&[]);
        world.pass(TURN_MS.unsigned_abs());
        revive_once(&b).await;
        b.pop.flush().unwrap();
        assert_eq!(b.store.find_queue(&retry, 0).unwrap().max(), 1, "it was found");
        drop(b);
        world.disk.crash(Loss::Everything);
        let b = world.open(&[]);
        world.pass(2 * TURN_MS.unsigned_abs());
        revive_once(&b).await;
        let copies = b.store.find_queue(&retry, 0).map_or(0, |queue| queue.max());
        assert_eq!(copies, 1, "neither it nor its copy comes");
    }

    #[tokio::test]
    async fn a_copy_that_cannot_be_read_just_now_is_not_written_again() {
        for fails in 0..6 {
            let world = World::new(1, &[("hotBytes", "0")]);
            let b = world.open(&[]);
            let (_, retry) = hand_out_one(&b);
            world.pass(TURN_MS.unsigned_abs());
            let turns = take_turns(&b, b.env.clock.now_ms());
            let due = turns
                .iter()
                .flat_map(|(line, ended)| dues_of(&b, line, ended.first().unwrap()));
            drop(bring_back(&b, due.collect(), Tails::default()).await);
            drop((b, turns));
            world.disk.crash(Loss::Nothing);
            let b = world.open(&[]);
            let log = std::path::Path::new("/store/commitlog/00000000000000000000");
            world.disk.fail_read_after(log, fails);
            for turn in 2..6 {
                world.pass(turn * TURN_MS.unsigned_abs());
                revive_once(&b).await;
            }
            let copies = b.store.find_queue(&retry, 0).map_or(0, |queue| queue.max());
            assert_eq!(copies, 1, "read {fails} fails");
        }
    }

    #[tokio::test]
    async fn a_message_that_is_handed_out_anew_while_its_copy_is_written_stays_with_its_consumer() {
        let world = World::new(1, &[]);
        let b = world.open(&[]);
        let (line, _) = hand_out_one(&b);
        world.pass(TURN_MS.unsigned_abs());
        let turns = take_turns(&b, b.env.clock.now_ms());
        // Meanwhile an operator takes the group back, and it pops.
        b.offsets.reset("G", "T", 0, 0);
        b.pop.reset(&b.offsets, ("G", "T", 0)).unwrap();
        let now_ms = b.env.clock.now_ms();
        let handout = Handout::new((0, 1), &[0], (now_ms, now_ms + 60_000));
        b.pop.hand_out(&line, &mut line.state.lock(), &handout).unwrap();
        revive(&b, turns, Tails::default(), &mut Owed::new()).await;
        assert!(
            line.state.lock().flight.holds(0, now_ms),
            "nobody acknowledged it"
        );
    }

    /// How often the disk is asked in ten seconds when nothing works any more from one operation on, while another line is due;
    /// and how many copies and messages in flight there are when it works again. `None`: a sync was among it, which ends the store.
    async fn asked_while_it_fails(number: u64) -> (u64, Option<(i64, usize)>) {
        let world = World::new(1, &[]);
        let b = world.open(&[]);
        let (line, retry) = hand_out_one(&b);
        let (tasks, stop) = (tokio_util::task::TaskTracker::new(), CancellationToken::new());
        let before = world.disk.ops();
        for fails in number..number + 100_000 {
            world.disk.fail_at(before + fails, Fault::Broken);
        }
        world.pass(20);
        tasks.spawn(keep_reviving(Arc::clone(&b), stop.clone()));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let other = Name {
            group: "G".into(),
            topic: "T".into(),
            queue_id: 1,
        };
        world.disk.fail_no_more();
        let other = b.pop.ensure_line(other, Some(0), || 0).unwrap();
        let now_ms = b.env.clock.now_ms();
        let handout = Handout::new((0, 1), &[0], (now_ms - 20, now_ms - 10));
        b.pop.hand_out(&other, &mut other.state.lock(), &handout).unwrap();
        let from = world.disk.ops();
        for fails in 0..100_000 {
            world.disk.fail_at(from + fails, Fault::Broken);
        }
        b.pop.hint(&other, &mut other.state.lock());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let asked = world.disk.ops() - from;
        world.disk.fail_no_more();
        for _ in 0..4 {
            world.pass(TURN_MS.unsigned_abs() + 1);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        let written = b.store.find_queue(&retry, 0).map_or(0, |queue| queue.max());
        let left = (written, line.state.lock().flight.count());
        (asked, Some(left).filter(|_| b.store.failure().is_none()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_journal_that_cannot_be_written_is_tried_now_and_then_and_settled_once_it_can() {
        for number in 0..6 {
            let (asked, left) = asked_while_it_fails(number).await;
            assert!(asked < 50, "from operation {number} on: {asked} in 10 s");
            assert!(
                left.is_none_or(|left| left == (1, 0)),
                "from operation {number} on: {left:?}"
            );
        }
    }
}
