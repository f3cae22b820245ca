// SPDX-License-Identifier: Apache-2.0
//! Where a message is, and its copies. What has a unique id is found by the key index, on its topic, where it waits, and
//! where it comes again; the rest only where it was asked for. Each look is bounded. All of it may wait for the disk.

use std::ops::ControlFlow;

use bytes::Bytes;
use net::Fault;
use store::{All, EntryCode, IndexKind, LogPos, Lookup, Order, ReadError, ReadLimit};
use wire::Str;
use wire::body::explain::{MessageVerdict, StoredMessage};
use wire::code::ResponseCode;
use wire::message_id::offset_id;
use wire::properties;
use wire::properties::name::{KEYS, REAL_TOPIC, RETRY_TOPIC, TAGS, UNIQ_KEY};
use wire::record::RecordHead;

use crate::broker::Broker;
use crate::fault::not_read;
use crate::names::{CHECK_MAX_TIME_TOPIC, HALF_TOPIC, SCHEDULE_TOPIC, TIMER_TOPIC, dlq_topic, retry_topic};
use crate::offset::find_queue;
use crate::send::properties::name::{TIMER_DEL_UNIQKEY, TIMER_OUT_MS};
use crate::subject::Subject;
use crate::transaction;

/// Records of one look into the index, and the bytes that are read for it.
const HITS_MAX: (usize, usize) = (64, 16 * 1024 * 1024);
/// The same where the tries of all groups wait.
const WAITING_HITS_MAX: (usize, usize) = (256, 64 * 1024 * 1024);

/// How a message is named.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named<'a> {
    /// By a position of the log.
    Pos(i64),
    /// By its unique id.
    Key(&'a str),
    /// By queue and offset.
    Place(i32, i64),
}

/// A record that was found: all of it but the body, which may be large.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) shown: StoredMessage,
    properties: Bytes,
}

impl Found {
    fn of(record: &[u8]) -> Option<Found> {
        let head = RecordHead::scan(record).ok()?;
        let (parts, stamp) = (&head.parts, &head.stamp);
        let property = |name| properties::get(parts.properties, name).map(Str::from);
        let shown = StoredMessage {
            born_host: parts.born_host.to_string().into(),
            born_timestamp: parts.born_at,
            keys: property(KEYS),
            offset_msg_id: offset_id(parts.store_host, stamp.physical_offset),
            physical_offset: stamp.physical_offset,
            queue_id: parts.queue_id.cast_signed(),
            queue_offset: stamp.queue_offset,
            reconsume_times: parts.reconsume_times,
            size: head.total_size,
            store_timestamp: stamp.stored_at,
            tags: property(TAGS),
            topic: parts.topic.into(),
            uniq_key: property(UNIQ_KEY),
        };
        Some(Found {
            shown,
            properties: Bytes::copy_from_slice(parts.properties),
        })
    }

    /// As it is stored.
    pub(super) fn properties(&self) -> &[u8] {
        &self.properties
    }

    fn property(&self, name: &str) -> Option<&str> {
        properties::get(self.properties(), name)
    }

    fn is_for(&self, topic: &str) -> bool {
        self.property(REAL_TOPIC) == Some(topic)
    }
}

/// What is known of the message itself.
pub(super) struct Message {
    pub(super) verdict: MessageVerdict,
    pub(super) sentence: String,
    /// Its record, or the newest that waits in its place.
    pub(super) found: Option<Found>,
    /// Others with the same unique id.
    pub(super) same_key: Vec<Found>,
    pub(super) due_ms: Option<i64>,
    /// Its queue and its offset there, as far as it has one.
    pub(super) place: Option<(i32, i64)>,
    pub(super) unique: Option<Str>,
}

impl Message {
    fn missing(verdict: MessageVerdict, sentence: String) -> Message {
        Message {
            verdict,
            sentence,
            found: None,
            same_key: Vec::new(),
            due_ms: None,
            place: None,
            unique: None,
        }
    }

    fn with(verdict: MessageVerdict, sentence: String, found: Found) -> Message {
        Message {
            unique: found.shown.uniq_key.clone(),
            found: Some(found),
            ..Message::missing(verdict, sentence)
        }
    }

    fn stored(found: Found) -> Message {
        let StoredMessage {
            topic,
            queue_id,
            queue_offset,
            store_timestamp,
            ..
        } = &found.shown;
        let sentence =
            format!("it lies in queue {queue_id} of {topic} at {queue_offset}, since {store_timestamp}");
        Message {
            place: Some((*queue_id, *queue_offset)),
            ..Message::with(MessageVerdict::Stored, sentence, found)
        }
    }

    /// Finds the message of a topic.
    pub(super) fn find(b: &Broker, topic: &str, named: Named<'_>) -> Result<Message, Fault> {
        match named {
            Named::Key(key) => by_key(b, topic, key),
            Named::Pos(pos) => by_pos(b, topic, pos),
            Named::Place(queue_id, offset) => by_place(b, topic, queue_id, offset),
        }
    }
}

fn by_pos(b: &Broker, topic: &str, pos: i64) -> Result<Message, Fault> {
    let min = b.store.min_pos().0;
    if (0..min).contains(&pos) {
        let sentence = format!("its place in the log is removed: the log begins at {min} now");
        return Ok(Message::missing(MessageVerdict::Expired, sentence));
    }
    let none = || {
        let sentence = format!("no message begins at {pos} of the log");
        Message::missing(MessageVerdict::NotFound, sentence)
    };
    let found = match b.store.record_at(LogPos(pos)) {
        Ok(record) => Found::of(&record),
        Err(error @ ReadError::Io(_)) => return Err(not_read(&error, Subject::pos(pos))),
        Err(_) => None,
    };
    let Some(found) = found else { return Ok(none()) };
    if found.shown.topic == topic {
        return Ok(Message::stored(found));
    }
    if !found.is_for(topic) && found.property(RETRY_TOPIC) != Some(topic) {
        let remark = format!(
            "the message at {pos} of the log is one of topic {}",
            found.shown.topic
        );
        return Err(Fault::new(ResponseCode::QUERY_NOT_FOUND, remark));
    }
    // A copy, or the message before its time.
    match found.shown.uniq_key.clone() {
        Some(key) => by_key(b, topic, &key),
        None => waiting(b, topic, found),
    }
}

fn by_place(b: &Broker, topic: &str, queue_id: i32, offset: i64) -> Result<Message, Fault> {
    let missing = |verdict, sentence| {
        Ok(Message {
            place: Some((queue_id, offset)),
            ..Message::missing(verdict, sentence)
        })
    };
    let queue = find_queue(b, topic, queue_id);
    let (min, max) = queue.as_ref().map_or((0, 0), |queue| (queue.min(), queue.max()));
    let Some(queue) = queue.filter(|_| offset < max) else {
        let sentence = format!("the next message of queue {queue_id} gets {max}");
        return missing(MessageVerdict::NotStoredYet, sentence);
    };
    if offset < min {
        let sentence = format!("its place in queue {queue_id} is removed: the queue begins at {min} now");
        return missing(MessageVerdict::Expired, sentence);
    }
    let one = ReadLimit {
        count: 1,
        bytes: 1,
        scan: 1,
        far: None,
    };
    let found = match b.store.read(&queue, offset, &one, &All) {
        Ok(batch) if batch.count > 0 => Found::of(&batch.bytes),
        Err(error @ ReadError::Io(_)) => {
            return Err(not_read(&error, Subject::queue(topic, queue_id, offset)));
        }
        Ok(_) | Err(_) => None,
    };
    // A batch stands for several offsets; of a compacted topic there is only what comes next.
    let is_there = |found: &Found| found.shown.queue_offset <= offset;
    match found.filter(is_there) {
        Some(found) => Ok(Message {
            place: Some((queue_id, offset)),
            ..Message::stored(found)
        }),
        None => missing(
            MessageVerdict::Expired,
            format!("there is no message at {offset} of queue {queue_id} any more"),
        ),
    }
}

fn by_key(b: &Broker, topic: &str, key: &str) -> Result<Message, Fault> {
    let mut found = hits(b, (topic, key), HITS_MAX, Order::OldestFirst)?;
    if !found.is_empty() {
        let same_key = found.split_off(1);
        if let Some(first) = found.pop() {
            return Ok(Message {
                same_key,
                ..Message::stored(first)
            });
        }
    }
    let mut newest: Option<Found> = None;
    for place in [SCHEDULE_TOPIC, TIMER_TOPIC, HALF_TOPIC, CHECK_MAX_TIME_TOPIC] {
        let is_it = |found: &Found| found.is_for(topic) && found.property(TIMER_DEL_UNIQKEY).is_none();
        let found = waiting_hits(b, place, key)?.into_iter().rfind(is_it);
        newest = newest
            .into_iter()
            .chain(found)
            .max_by_key(|found| found.shown.physical_offset);
    }
    match newest {
        Some(found) => waiting(b, topic, found),
        None => Ok(Message {
            unique: Some(key.into()),
            ..Message::missing(
                MessageVerdict::NotFound,
                format!(
                    "no message of {topic} with the unique id {key} is in the index of keys: it was never stored, or is expired"
                ),
            )
        }),
    }
}

/// A message that is not in its topic.
fn waiting(b: &Broker, topic: &str, found: Found) -> Result<Message, Fault> {
    if found.shown.topic == SCHEDULE_TOPIC {
        let due_ms = due_ms(b, &found.shown);
        if is_delivered(b, &found.shown) {
            let sentence = format!("its delay is over since {due_ms}, and it is not in {topic} any more");
            return Ok(Message::with(MessageVerdict::NotFound, sentence, found));
        }
        let sentence = format!("it waits for its delay level, and is due at {due_ms}");
        return Ok(Message {
            due_ms: Some(due_ms),
            ..Message::with(MessageVerdict::Delayed, sentence, found)
        });
    }
    if found.shown.topic == TIMER_TOPIC {
        let due_ms = found.property(TIMER_OUT_MS).and_then(|text| text.parse().ok());
        if is_recalled(b, topic, &found)? {
            let sentence = "it was taken back before its time".to_owned();
            return Ok(Message::with(MessageVerdict::Recalled, sentence, found));
        }
        let sentence = format!("it waits for its time, and is due at {}", due_ms.unwrap_or(0));
        return Ok(Message {
            due_ms,
            ..Message::with(MessageVerdict::Timed, sentence, found)
        });
    }
    let (verdict, sentence) = if found.shown.topic == HALF_TOPIC {
        let pos = found.shown.physical_offset;
        let half = match b.store.record_at(LogPos(pos)) {
            Err(error @ ReadError::Io(_)) => return Err(not_read(&error, Subject::pos(pos))),
            half => half.unwrap_or_default(),
        };
        if transaction::admin::is_open(b, &half)? {
            (MessageVerdict::Uncommitted, "its transaction has not ended")
        } else {
            (MessageVerdict::RolledBack, "its transaction has ended without it")
        }
    } else if found.shown.topic == CHECK_MAX_TIME_TOPIC {
        let sentence = "its transaction was given up, since no producer could say how it ended";
        (MessageVerdict::GivenUp, sentence)
    } else {
        (MessageVerdict::NotFound, "only a copy of it was found")
    };
    Ok(Message::with(verdict, sentence.to_owned(), found))
}

/// When a message of a delay level is due: its queue entry says it.
pub(super) fn due_ms(b: &Broker, parked: &StoredMessage) -> i64 {
    let entry = find_queue(b, SCHEDULE_TOPIC, parked.queue_id)
        .and_then(|queue| b.store.entries(&queue, parked.queue_offset, 1).ok())
        .and_then(|entries| entries.first().copied());
    if let Some(EntryCode::Code(due_ms)) = entry.map(|entry| entry.code) {
        return due_ms;
    }
    let levels = &b.store.config().delay_levels_ms;
    let level = usize::try_from(parked.queue_id)
        .ok()
        .and_then(|level| levels.get(level));
    parked.store_timestamp.saturating_add(level.copied().unwrap_or(0))
}

/// Whether its delay level has got past it.
pub(super) fn is_delivered(b: &Broker, parked: &StoredMessage) -> bool {
    let level = parked.queue_id.saturating_add(1);
    b.delays
        .offsets()
        .get(&level)
        .is_some_and(|next| *next > parked.queue_offset)
}

/// Whether there is a request to take it back. It carries the unique id of the message.
fn is_recalled(b: &Broker, topic: &str, found: &Found) -> Result<bool, Fault> {
    let Some(key) = found.shown.uniq_key.as_deref() else {
        return Ok(false);
    };
    let with_topic = format!("{topic}+{key}");
    let markers = waiting_hits(b, TIMER_TOPIC, key)?;
    Ok(markers.iter().any(|marker| {
        let taken_back = marker.property(TIMER_DEL_UNIQKEY);
        taken_back == Some(key) || taken_back == Some(&with_topic)
    }))
}

/// What waits for any group's next try of a message.
pub(super) fn waiting_tries(b: &Broker, key: &str) -> Result<Vec<Found>, Fault> {
    waiting_hits(b, SCHEDULE_TOPIC, key)
}

/// The copies of a message for a group's next try, and its dead letters; in the order in which they were stored.
pub(super) fn copies(
    b: &Broker,
    (topic, group): (&str, &str),
    key: &str,
    tries: &[Found],
) -> Result<Vec<Found>, Fault> {
    let own = retry_topic(group);
    // Pops of one topic come again in topics of their own.
    let popped = ['_', '+'].map(|mark| Str::from(format!("{own}{mark}{topic}")));
    let mut copies = Vec::new();
    for place in popped.into_iter().chain([own, dlq_topic(group)]) {
        copies.extend(tries.iter().filter(|copy| copy.is_for(&place)).cloned());
        if b.topics.get(&place).is_some() {
            copies.extend(hits(b, (&place, key), HITS_MAX, Order::NewestFirst)?);
        }
    }
    copies.retain(|copy| copy.property(RETRY_TOPIC).is_none_or(|origin| origin == topic));
    copies.sort_unstable_by_key(|copy| copy.shown.physical_offset);
    Ok(copies)
}

/// The newest of what waits under a unique id: they decide. Oldest first.
fn waiting_hits(b: &Broker, topic: &str, key: &str) -> Result<Vec<Found>, Fault> {
    hits(b, (topic, key), WAITING_HITS_MAX, Order::NewestFirst)
}

/// The records of a topic with a unique id, as far as the limits go from where `order` begins; oldest first.
fn hits(
    b: &Broker,
    (topic, key): (&str, &str),
    (max, max_bytes): (usize, usize),
    order: Order,
) -> Result<Vec<Found>, Fault> {
    let lookup = Lookup {
        topic,
        key,
        kind: IndexKind::Unique,
        max,
        max_bytes,
        begin_ms: 0,
        end_ms: i64::MAX,
    };
    // Others may share the hash.
    let is_it = |found: &Found| found.shown.topic == topic && found.shown.uniq_key.as_deref() == Some(key);
    let mut found = Vec::new();
    let looked = b.store.visit(&lookup, order, |record| {
        found.extend(Found::of(record).filter(is_it));
        ControlFlow::Continue(())
    });
    looked.map_err(|error| not_read(&error, Subject::topic(topic)))?;
    if order == Order::NewestFirst {
        found.reverse();
    }
    Ok(found)
}
