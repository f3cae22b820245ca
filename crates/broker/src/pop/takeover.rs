// SPDX-License-Identifier: Apache-2.0
//! Messages that a reference broker had handed out when its store was given to this one.
//!
//! It keeps them as check points: timer messages that come to the queues of its revive topic a second before the messages
//! are due, and acknowledgements, which come when they are due. The timers here deliver both. A check point is settled
//! once everything that was due until two seconds later has come: what was not acknowledged is written to the
//! retry topic, and the offset of the group that reads the revive topic moves on, exactly as there. So all that is
//! in progress can be read again after an end at any time.
//!
//! A consumer that still has such messages shows handles this broker has no lease for. Its acknowledgements are written as
//! the reference would write them; a message whose time it changes is taken over into a lease.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::Fault;
use store::{All, ReadError, ReadLimit, tick_of};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use wire::Str;
use wire::body::pop::{AckNote, CheckPoint};
use wire::fastjson;
use wire::properties::name::{REAL_QID, REAL_TOPIC, TAGS, UNIQ_KEY};
use wire::properties::{Properties, get};
use wire::receipt::Receipt;
use wire::record::RecordHead;

use super::check::About;
use super::elsewhere::{self, NotFetched};
use super::log::{Name, Single};
use super::revive::{Back, Due, Tails, bring_back};
use super::table::Written;
use super::take::position;
use crate::blocking::run_own;
use crate::broker::Broker;
use crate::config::Config;
use crate::fault::not_appended;
use crate::names::TIMER_TOPIC;
use crate::put::Put;
use crate::send::properties::name::{TIMER_DELIVER_MS, TIMER_OUT_MS};
use crate::subject::Subject;

/// The group whose offsets say how far the revive topic is dealt with.
const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";
const CHECK_POINT: &str = "ck";
/// So much before the messages are due their check point comes.
const CHECK_POINT_EARLIER_MS: i64 = 1_000;
const ACK: &str = "ack";
const BATCH_ACK: &str = "bAck";
/// How much later than a check point everything must have come that belongs to it.
const SETTLED_AFTER_MS: i64 = 2_000;
/// From when on silence means that nothing more will come.
const SILENCE_MS: i64 = 3_000;
/// How long after its end a handle of the reference is still written down.
const LATE_MAX_MS: i64 = 60_000;
/// Check points that are read before the first of them are settled.
const OPEN_MAX: usize = 100_000;
/// Messages of one read.
const BATCH: usize = 32;

pub(super) fn revive_topic(config: &Config) -> Str {
    ["rmq_sys_REVIVE_LOG_", &config.broker_cluster_name]
        .into_iter()
        .collect()
}

/// A check point that is not settled.
#[derive(Debug)]
struct Open {
    check_point: CheckPoint,
    unsettled: BTreeSet<i64>,
}

/// Whose acknowledgements belong to a check point: topic, group, queue, first offset, pop time.
type Key = (Str, Str, i32, i64, i64);

/// One queue of the revive topic, as far as it is read. Pure but for what is passed in.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// By offset in the revive topic.
    open: BTreeMap<i64, Open>,
    by_key: HashMap<Key, i64>,
    /// Everything that was due until then has come.
    end_ms: i64,
}

impl Scan {
    /// Takes the next message.
    pub(super) fn read(&mut self, head: &RecordHead<'_>) {
        let (properties, body) = (head.parts.properties, head.parts.body);
        match get(properties, TAGS) {
            Some(CHECK_POINT) => {
                if let Ok(check_point) = fastjson::from_slice::<CheckPoint>(body)
                    && !check_point.t.is_empty()
                    && !check_point.c.is_empty()
                {
                    let offset = head.stamp.queue_offset;
                    let CheckPoint { t, c, q, so, pt, .. } = &check_point;
                    self.by_key.insert((t.clone(), c.clone(), *q, *so, *pt), offset);
                    let unsettled = check_point.open().collect();
                    self.open.insert(
                        offset,
                        Open {
                            check_point,
                            unsettled,
                        },
                    );
                } else {
                    warn!(
                        topic = head.parts.topic,
                        queue = head.parts.queue_id,
                        offset = head.stamp.queue_offset,
                        "a check point that makes no sense is passed over"
                    );
                }
            }
            Some(ACK | BATCH_ACK) => {
                if let Ok(ack) = fastjson::from_slice::<AckNote>(body) {
                    self.settle(&ack);
                }
            }
            _ => {}
        }
        let due = get(properties, TIMER_DELIVER_MS).and_then(|text| text.parse().ok());
        self.end_ms = self.end_ms.max(due.unwrap_or(0));
    }

    fn settle(&mut self, ack: &AckNote) {
        let key = (ack.t.clone(), ack.c.clone(), ack.q, ack.so, ack.pt);
        if let Some(open) = self.by_key.get(&key).and_then(|offset| self.open.get_mut(offset)) {
            if ack.aol.is_empty() {
                open.unsettled.remove(&ack.ao);
            }
            for offset in &ack.aol {
                open.unsettled.remove(offset);
            }
        }
    }

    /// There is nothing more to read, and the timers have delivered all that is due.
    pub(super) fn is_silent(&mut self, now_ms: i64) {
        if self.end_ms != 0 && now_ms - self.end_ms > SILENCE_MS {
            self.end_ms = now_ms;
        }
    }

    /// The first check point, if all that belongs to it has come: its offset, itself, and what is not settled.
    fn first_complete(&self) -> Option<(i64, &CheckPoint, &BTreeSet<i64>)> {
        let (offset, open) = self.open.first_key_value()?;
        let is_complete = self.end_ms - open.check_point.revive_ms() > SETTLED_AFTER_MS;
        is_complete.then_some((*offset, &open.check_point, &open.unsettled))
    }

    fn forget_first(&mut self) {
        if let Some((offset, open)) = self.open.pop_first() {
            let CheckPoint { t, c, q, so, pt, .. } = open.check_point;
            let key = (t, c, q, so, pt);
            if self.by_key.get(&key) == Some(&offset) {
                self.by_key.remove(&key);
            }
        }
    }
}

/// Reads the revive topic until `stop`.
pub(super) async fn keep_taking_over(b: Arc<Broker>, stop: CancellationToken) {
    let topic = revive_topic(&b.config());
    let count = b.config().revive_queue_num;
    let mut scans: Vec<(i32, i64, Scan)> = (0..count.cast_signed())
        .map(|queue_id| {
            let done = b.offsets.query(REVIVE_GROUP, &topic, queue_id);
            (queue_id, done.map_or(0, |done| done + 1), Scan::default())
        })
        .collect();
    loop {
        let period = Duration::from_millis(b.config().revive_interval.clamp(10, 60_000));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
        for (queue_id, from, scan) in &mut scans {
            if stop.is_cancelled() {
                return;
            }
            turn(&b, (&topic, *queue_id), from, scan).await;
        }
    }
}

async fn turn(b: &Arc<Broker>, (topic, queue_id): (&Str, i32), from: &mut i64, scan: &mut Scan) {
    let Some(queue) = crate::offset::find_queue(b, topic, queue_id) else {
        return;
    };
    let is_current = b.timing.is_current(b);
    while queue.max() > *from && (scan.open.len() < OPEN_MAX || scan.first_complete().is_none()) {
        let (broker, queue, at) = (Arc::clone(b), Arc::clone(&queue), *from);
        let limit = ReadLimit {
            count: BATCH,
            bytes: 1 << 20,
            scan: BATCH,
            far: None,
        };
        let read = run_own(move || broker.store.read(&queue, at, &limit, &All)).await;
        match read {
            Ok(Ok(batch)) => {
                read_all(scan, &batch.bytes);
                *from = batch.next_offset;
            }
            Ok(Err(ReadError::TooSmall { min, .. })) => *from = min,
            Ok(Err(ReadError::Io(error))) => {
                warn!(%topic, queue = queue_id, offset = *from, %error, "check points of the reference cannot be read now; trying again");
                return;
            }
            _ => return,
        }
    }
    if is_current && queue.max() <= *from {
        scan.is_silent(b.env.clock.now_ms());
    }
    let (mut tails, mut silent) = (Tails::default(), HashSet::new());
    let mut done = None;
    while let Some((offset, check_point, unsettled)) = scan.first_complete() {
        let Ok(due) = dues_of(b, queue_id, (check_point, unsettled), &mut silent).await else {
            break;
        };
        if !due.is_empty() {
            info!(group = %check_point.c, topic = %check_point.t, messages = due.len(), "messages the reference had handed out come again");
            let (back, known) = bring_back(b, due, tails).await;
            tails = known;
            if back.contains(&Back::Failed) {
                break;
            }
        }
        scan.forget_first();
        done = Some(offset);
    }
    // The copies first: that their check points are settled must not outlast them.
    let broker = Arc::clone(b);
    if let Some(offset) = done
        && let Ok(true) = run_own(move || broker.is_log_durable()).await
    {
        let step = b.config().consumer_offset_update_version_step;
        b.offsets.commit(REVIVE_GROUP, topic, (queue_id, offset), step);
    }
}

/// What has to come again of a check point. What lies on another broker and cannot be fetched gets a check point of its own.
async fn dues_of(
    b: &Arc<Broker>,
    queue_id: i32,
    (check_point, unsettled): (&CheckPoint, &BTreeSet<i64>),
    silent: &mut HashSet<Str>,
) -> Result<Vec<Due>, Fault> {
    let due = |offset, record| Due {
        name: Name {
            group: check_point.c.clone(),
            topic: check_point.t.clone(),
            queue_id: check_point.q,
        },
        offset,
        popped_at: check_point.pt,
        doubtful_since: Some(check_point.revive_ms()),
        record,
    };
    let mut dues = Vec::new();
    if !elsewhere::is_elsewhere(b, check_point) {
        let ours = unsettled.iter().copied();
        let ours = ours.filter(|offset| is_ours_to_bring_back(b, check_point, *offset));
        dues.extend(ours.map(|offset| due(offset, None)));
        return Ok(dues);
    }
    let mut unfetched = Vec::new();
    let mut address = match silent.contains(&check_point.bn) {
        true => Err(NotFetched::Unknown),
        false => elsewhere::address_of(b, check_point).await,
    };
    for offset in unsettled.iter().copied() {
        let found = match &address {
            Ok(address) => elsewhere::fetch(b, address, check_point, offset).await,
            Err(_) => Err(NotFetched::Unknown),
        };
        match found {
            Ok(Some(record)) => dues.push(due(offset, Some(record))),
            Ok(None) => {
                info!(topic = %check_point.t, offset, broker = %check_point.bn, "a message that was not settled is gone");
            }
            Err(error) => {
                debug!(topic = %check_point.t, offset, broker = %check_point.bn, %error, "a message cannot be fetched now");
                if !matches!(error, NotFetched::Refused { .. }) {
                    // Nor can the others, now: nobody waits for each of them.
                    silent.insert(check_point.bn.clone());
                    address = Err(error);
                }
                unfetched.push(elsewhere::again(check_point, offset, b.env.clock.now_ms()));
            }
        }
    }
    if let Some(first) = unfetched.first() {
        warn!(broker = %first.bn, topic = %first.t, group = %first.c, count = unfetched.len(), due_ms = first.revive_ms(), "messages of another broker cannot be fetched; trying again");
        let broker = Arc::clone(b);
        let written = run_own(move || {
            let done = unfetched
                .iter()
                .try_for_each(|again| write_again(&broker, queue_id, again));
            broker.store.drive();
            done
        });
        written.await??;
        b.settled(b.store.tail_gate()).await?;
    }
    Ok(dues)
}

/// Writes a check point as the reference does.
fn write_again(b: &Broker, queue_id: i32, again: &CheckPoint) -> Result<(), Fault> {
    let CheckPoint {
        t, q, so, c, pt, bn, ..
    } = again;
    let note = Note {
        tag: CHECK_POINT,
        unique: format!("{t}@{q}@{so}@{c}@{pt}@{bn}@{CHECK_POINT}"),
        // It has to come before what it speaks of is due.
        deliver_ms: again.revive_ms() - CHECK_POINT_EARLIER_MS,
        body: fastjson::to_vec(again),
    };
    note.write(b, queue_id)
}

fn read_all(scan: &mut Scan, records: &Bytes) {
    let mut rest = &records[..];
    while let Ok(head) = RecordHead::scan(rest) {
        scan.read(&head);
        rest = rest.get(head.total_size..).unwrap_or_default();
    }
}

/// What this broker will hand out itself, or has handed out, need not be written to the retry topic as well.
fn is_ours_to_bring_back(b: &Broker, check_point: &CheckPoint, offset: i64) -> bool {
    let CheckPoint { t, c, q, .. } = check_point;
    let is_open = b
        .pop
        .line(c, t, *q)
        .is_some_and(|line| line.state.lock().flight.is_open(offset));
    !is_open && offset < position(b, c, t, *q)
}

/// Whether a handle may be one the reference gave.
fn is_foreign(b: &Broker, receipt: &Receipt) -> bool {
    let ends_at = receipt.pop_time.saturating_add(receipt.invisible_time);
    let is_fresh = b.env.clock.now_ms() < ends_at.saturating_add(LATE_MAX_MS);
    let is_older = receipt.pop_time < b.pop.ours_since;
    let is_queue = (0..b.config().revive_queue_num.cast_signed()).contains(&receipt.revive_qid);
    // Without a timer message there is no check point of the reference.
    let has_timers = || {
        b.store
            .find_queue(TIMER_TOPIC, 0)
            .is_some_and(|queue| queue.max() > 0)
    };
    is_fresh && is_older && is_queue && has_timers()
}

/// Messages are settled that are in no lease: when the reference may have handed them out, that is noted as it would.
pub(super) fn ack(b: &Broker, about: About<'_>, receipt: &Receipt, offsets: &[i64]) -> Result<(), Fault> {
    if !is_foreign(b, receipt) {
        return Ok(());
    }
    for offset in offsets {
        note(b, about, receipt, *offset)?;
    }
    b.store.drive();
    Ok(())
}

/// The time of a message changes that is in no lease: when the reference may have handed it out, it gets one.
pub(super) fn change(b: &Broker, about: About<'_>, receipt: &Receipt, one: Single) -> Result<Written, Fault> {
    let About {
        topic,
        group,
        queue_id,
    } = about;
    let committed = b.offsets.query(group, topic, queue_id);
    if !is_foreign(b, receipt) || committed.is_none() {
        return Ok(Written::default());
    }
    let name = Name {
        group: group.into(),
        topic: topic.into(),
        queue_id,
    };
    let line = b.pop.ensure_line(name, committed, || 0)?;
    let mut state = line.state.lock();
    b.pop.follow(&b.offsets, &line, &mut state)?;
    if one.offset >= state.flight.next() || state.flight.is_open(one.offset) {
        return Ok(Written::default());
    }
    let written = b.pop.adopt(&line, &mut state, one)?;
    b.pop.publish(&b.offsets, &line, &mut state);
    drop(state);
    note(b, about, receipt, one.offset)?;
    b.store.drive();
    Ok(written)
}

/// Writes an acknowledgement as the reference does.
fn note(b: &Broker, about: About<'_>, receipt: &Receipt, offset: i64) -> Result<(), Fault> {
    let About {
        topic,
        group,
        queue_id,
    } = about;
    let Receipt {
        start_offset,
        pop_time,
        invisible_time,
        revive_qid,
        broker_name,
    } = receipt;
    let body = fastjson::to_vec(&AckNote {
        ao: offset,
        aol: Vec::new(),
        bn: broker_name.clone(),
        c: group.into(),
        pt: *pop_time,
        q: queue_id,
        so: *start_offset,
        t: topic.into(),
    });
    let note = Note {
        tag: ACK,
        unique: format!("{topic}@{queue_id}@{offset}@{group}@{pop_time}@{broker_name}@{ACK}"),
        deliver_ms: pop_time.saturating_add(*invisible_time),
        body,
    };
    note.write(b, *revive_qid)
}

/// A message of the revive topic.
struct Note {
    tag: &'static str,
    unique: String,
    deliver_ms: i64,
    body: Vec<u8>,
}

impl Note {
    /// Appends it, by way of the timers while it is not due.
    fn write(&self, b: &Broker, revive_qid: i32) -> Result<(), Fault> {
        let (real, precision) = {
            let config = b.config();
            (revive_topic(&config), i64::from(config.timer_precision_ms))
        };
        let now_ms = b.env.clock.now_ms();
        let mut properties = Properties::from_bytes(&[]);
        properties.set(TIMER_DELIVER_MS, &self.deliver_ms.to_string());
        properties.set(UNIQ_KEY, &self.unique);
        properties.set(TAGS, self.tag);
        let (topic, queue_id) = if self.deliver_ms > now_ms {
            properties.set(TIMER_OUT_MS, &tick_of(self.deliver_ms, precision).to_string());
            properties.set(REAL_TOPIC, &real);
            properties.set(REAL_QID, &revive_qid.to_string());
            (TIMER_TOPIC, 0)
        } else {
            (real.as_str(), revive_qid)
        };
        let put = Put {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_at: now_ms,
            born_host: b.host,
            reconsume_times: 0,
            prepared_pos: 0,
            body: &self.body,
            properties: properties.as_bytes(),
        };
        b.put(&put)
            .map(drop)
            .map_err(|error| not_appended(&error, Subject::topic(topic)))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use wire::Str;
    use wire::properties::Properties;
    use wire::record::{Parts, Seal, Stamp, crc31, encode_record};

    use super::*;

    /// A message of a revive topic, as the reference had it.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Captured {
        topic: Str,
        queue_id: u32,
        queue_offset: i64,
        properties: BTreeMap<Str, Str>,
        body: Str,
        store_timestamp: i64,
    }

    fn captured() -> Vec<(u32, Vec<u8>)> {
        let text = include_str!("../../tests/consume/revive-records.json");
        let records: Vec<Captured> = fastjson::from_str(text).unwrap();
        let host = ([192, 0, 2, 1], 10_911).into();
        let encode = |record: Captured| {
            let mut properties = Properties::from_bytes(&[]);
            for (name, value) in &record.properties {
                properties.set(name, value);
            }
            let parts = Parts {
                queue_id: record.queue_id,
                flag: 0,
                sys_flag: 0,
                born_at: record.store_timestamp,
                born_host: host,
                store_host: host,
                reconsume_times: 0,
                prepared_pos: 0,
                body: record.body.as_bytes(),
                body_crc: crc31(record.body.as_bytes()),
                topic: &record.topic,
                properties: properties.as_bytes(),
            };
            let stamp = Stamp {
                queue_offset: record.queue_offset,
                physical_offset: 0,
                stored_at: record.store_timestamp,
            };
            let mut bytes = Vec::new();
            encode_record(&mut bytes, &parts, &stamp, Seal::Absent);
            (record.queue_id, bytes)
        };
        records.into_iter().map(encode).collect()
    }

    #[test]
    fn of_the_reference_s_check_points_only_what_was_not_acknowledged_is_left() {
        let mut scan = Scan::default();
        for (_, record) in captured().iter().filter(|(queue, _)| *queue == 0) {
            scan.read(&RecordHead::scan(record).unwrap());
        }
        let (offset, first, unsettled) = scan.first_complete().unwrap();
        assert_eq!(
            (offset, first.t.as_str(), first.c.as_str()),
            (0, "FrPopJ", "GF_pJ")
        );
        assert_eq!((first.q, first.pt), (1, 1_795_209_968_003));
        assert_eq!(unsettled.iter().copied().collect::<Vec<_>>(), [1]);
        scan.forget_first();
        // The others were due when their acknowledgements came: more may be on the way.
        assert!(scan.first_complete().is_none());
        scan.is_silent(1_795_209_982_452 + SILENCE_MS);
        assert!(scan.first_complete().is_none());
        scan.is_silent(1_795_209_982_452 + SILENCE_MS + 1);
        for offset in [1, 2] {
            let (found, _, unsettled) = scan.first_complete().unwrap();
            assert_eq!((found, unsettled.len()), (offset, 0));
            scan.forget_first();
        }
        assert!(scan.open.is_empty() && scan.by_key.is_empty());
    }

    #[test]
    fn notes_that_make_no_sense_are_passed_over() {
        let mut scan = Scan::default();
        for (_, record) in captured() {
            for cut in 0..record.len() {
                if let Ok(head) = RecordHead::scan(&record[..cut]) {
                    scan.read(&head);
                }
            }
            let mut head = RecordHead::scan(&record).unwrap();
            head.parts.body = b"{\"t\":null}";
            scan.read(&head);
        }
        assert!(scan.open.is_empty());
    }
}
