// SPDX-License-Identifier: Apache-2.0
//! A half message as it lies in the log, and what is made of it: the message it becomes, its next copy, what producers
//! are asked.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use thiserror::Error;
use wire::Str;
use wire::properties::{Properties, get, name, pairs};
use wire::record::{Parts, RecordHead, Seal, Stamp, encode_record, sysflag};

use super::table;
use crate::names::{CHECK_MAX_TIME_TOPIC, HALF_TOPIC, real_queue_id, takes_no_sends, topic_error};
use crate::put::Put;

/// The group of its producers.
pub(super) const PRODUCER_GROUP: &str = "PGROUP";
/// The id of the transaction: that which the client gave the message.
pub(super) const TRANSACTION_ID: &str = "__transactionId__";
/// How often its producers were asked.
const CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// For so long after its birth nobody is asked.
const IMMUNITY: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
/// The offset of the first copy, on copies that were made without asking.
const FIRST_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";

/// The bytes are not those of a half.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NotHalf {
    #[error("it is no message")]
    Damaged,
    #[error("it is a message of topic {0}")]
    Topic(Str),
    #[error("its {0} is missing or makes no sense")]
    Property(&'static str),
}

/// Whether a topic takes messages of clients.
fn may_hold(topic: &str) -> bool {
    !takes_no_sends(topic) && topic_error(topic).is_none()
}

/// A half, or one that was given up.
#[derive(Debug, Clone)]
pub(super) struct Stored<'a> {
    pub(super) head: RecordHead<'a>,
    pub(super) topic: &'a str,
    pub(super) queue_id: i32,
    /// Empty when it has none: then nobody can end it.
    pub(super) group: &'a str,
    pub(super) unique: &'a str,
    checks: Option<&'a str>,
    immunity: Option<&'a str>,
    first_offset: Option<&'a str>,
}

impl<'a> Stored<'a> {
    /// Reads a half; other messages are refused.
    pub(super) fn read(record: &'a [u8]) -> Result<Stored<'a>, NotHalf> {
        let stored = Stored::read_any(record)?;
        if stored.is_half() {
            Ok(stored)
        } else {
            Err(NotHalf::Topic(stored.head.parts.topic.into()))
        }
    }

    /// Reads a half, or one that was given up.
    pub(super) fn read_any(record: &'a [u8]) -> Result<Stored<'a>, NotHalf> {
        Stored::of(RecordHead::scan(record).map_err(|_| NotHalf::Damaged)?)
    }

    /// The same of a record that was looked at.
    pub(super) fn of(head: RecordHead<'a>) -> Result<Stored<'a>, NotHalf> {
        let parts = head.parts;
        if parts.topic != HALF_TOPIC && parts.topic != CHECK_MAX_TIME_TOPIC {
            return Err(NotHalf::Topic(parts.topic.into()));
        }
        let (mut topic, mut queue_id, mut stored) = (None, None, Stored::blank(head));
        for (key, value) in pairs(parts.properties) {
            match key {
                // What a sender may not write to, a commit does not write to either.
                name::REAL_TOPIC => topic = Some(value).filter(|topic| may_hold(topic)),
                name::REAL_QID => queue_id = real_queue_id(value).and_then(|id| i32::try_from(id).ok()),
                name::UNIQ_KEY => stored.unique = value,
                PRODUCER_GROUP => stored.group = value,
                CHECK_TIMES => stored.checks = Some(value),
                IMMUNITY => stored.immunity = Some(value),
                FIRST_OFFSET => stored.first_offset = Some(value),
                _ => {}
            }
        }
        stored.topic = topic.ok_or(NotHalf::Property(name::REAL_TOPIC))?;
        stored.queue_id = queue_id.ok_or(NotHalf::Property(name::REAL_QID))?;
        Ok(stored)
    }

    fn blank(head: RecordHead<'a>) -> Stored<'a> {
        Stored {
            head,
            topic: "",
            queue_id: 0,
            group: "",
            unique: "",
            checks: None,
            immunity: None,
            first_offset: None,
        }
    }

    /// Whether it is a half and was not given up.
    pub(super) fn is_half(&self) -> bool {
        self.head.parts.topic == HALF_TOPIC
    }

    pub(super) fn offset(&self) -> i64 {
        self.head.stamp.queue_offset
    }

    pub(super) fn pos(&self) -> i64 {
        self.head.stamp.physical_offset
    }

    /// What all copies of a half have in common, and different halves do not.
    pub(super) fn print(&self) -> u64 {
        let parts = &self.head.parts;
        let mut hasher = DefaultHasher::new();
        (self.unique, self.group, self.topic, self.queue_id).hash(&mut hasher);
        (parts.born_at, parts.born_host, parts.body_crc).hash(&mut hasher);
        hasher.finish()
    }

    /// How often its producers were asked. The reference reads what is no number as -1, which counts up to 0.
    pub(super) fn checks(&self) -> u32 {
        self.checks.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Whether it was written again. One that an operator brought back (request 323) begins anew.
    pub(super) fn is_copy(&self) -> bool {
        self.checks() > 0 || (self.first_offset.is_some() && !self.is_resumed())
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.checks == Some("0")
    }

    /// For how long after its birth nobody is asked, when its sender set that; -1: as long as for any other.
    pub(super) fn immunity_ms(&self) -> Option<i64> {
        let seconds = self.immunity?.parse::<i64>().ok();
        Some(
            seconds
                .filter(|s| *s != -1)
                .map_or(-1, |s| s.saturating_mul(1000)),
        )
    }

    /// What the table keeps of it.
    pub(super) fn entry(&self) -> table::Half {
        table::Half {
            pos: self.pos(),
            born_at: self.head.parts.born_at,
            born_host: self.head.parts.born_host,
            checks: self.checks(),
            immunity_ms: self.immunity_ms(),
            group: self.group.into(),
            topic: self.topic.into(),
            print: self.print(),
            is_copy: self.is_copy(),
            asked: None,
        }
    }

    /// The properties of the message it becomes.
    pub(super) fn committed_properties(&self) -> Vec<u8> {
        let mut properties = Properties::from_bytes(self.head.parts.properties);
        properties.remove(name::REAL_TOPIC);
        properties.remove(name::REAL_QID);
        properties.into_bytes()
    }

    /// The message it becomes.
    pub(super) fn committed<'p>(&'p self, properties: &'p [u8]) -> Put<'p> {
        let parts = &self.head.parts;
        Put {
            topic: self.topic,
            queue_id: self.queue_id,
            sys_flag: parts.sys_flag & !sysflag::TRANSACTION | sysflag::COMMIT,
            reconsume_times: parts.reconsume_times,
            prepared_pos: self.pos(),
            ..self.again(HALF_TOPIC, properties)
        }
    }

    /// Whether a committed message is the one that this half became. Copies of committed messages are marked as committed, too.
    pub(super) fn became(&self, message: &RecordHead<'_>) -> bool {
        let (own, its) = (&self.head.parts, &message.parts);
        its.prepared_pos == self.pos()
            && (its.topic, its.queue_id.cast_signed()) == (self.topic, self.queue_id)
            && get(its.properties, name::UNIQ_KEY).unwrap_or_default() == self.unique
            && get(its.properties, PRODUCER_GROUP).unwrap_or_default() == self.group
            && (its.born_at, its.born_host, its.body_crc) == (own.born_at, own.born_host, own.body_crc)
    }

    /// The properties of a copy after so many checks.
    pub(super) fn checked_properties(&self, checks: u32) -> Vec<u8> {
        let mut properties = Properties::from_bytes(self.head.parts.properties);
        properties.set(CHECK_TIMES, &checks.to_string());
        properties.into_bytes()
    }

    /// The properties of a copy for which nobody was asked: it only makes room for the progress behind it.
    pub(super) fn renewed_properties(&self) -> Vec<u8> {
        let mut properties = Properties::from_bytes(self.head.parts.properties);
        let own = self.offset().to_string();
        properties.set(FIRST_OFFSET, self.first_offset.unwrap_or(&own));
        properties.into_bytes()
    }

    /// The same message in queue 0 of another topic, or once more in its own. Unlike the reference, which forgets both
    /// when it writes a half again, the user's flag and the number of deliveries stay.
    pub(super) fn again<'p>(&'p self, topic: &'p str, properties: &'p [u8]) -> Put<'p> {
        Put::again(&self.head.parts, (topic, 0), properties)
    }

    /// The record in a question about this half: with its own topic and queue, and the place of its newest copy.
    pub(super) fn question(&self, properties: &[u8], stamp: (i64, i64)) -> Bytes {
        let mut properties = Properties::from_bytes(properties);
        properties.set(name::WAIT, "false");
        let properties = properties.into_bytes();
        let parts = Parts {
            topic: self.topic,
            queue_id: self.queue_id.cast_unsigned(),
            properties: &properties,
            ..self.head.parts
        };
        let stamp = Stamp {
            queue_offset: stamp.0,
            physical_offset: stamp.1,
            stored_at: self.head.stamp.stored_at,
        };
        let mut out = Vec::new();
        encode_record(&mut out, &parts, &stamp, Seal::Absent);
        out.into()
    }
}
