// SPDX-License-Identifier: Apache-2.0
//! What is taken back in the tick that fires. A tick may hold a million of such messages, so they are read some at a
//! time, and only a hash of each key is kept, with the place of the message to compare, and the number of its topic.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use store::LogPos;
use wire::Str;
use wire::properties::get;
use wire::properties::name::{REAL_TOPIC, UNIQ_KEY};
use wire::record::{Parts, RecordHead};

use super::deliver::{Unread, record_of};
use crate::broker::Broker;
use crate::send::properties::name::{TIMER_DEL_UNIQKEY, TIMER_OUT_MS};

/// Messages that are read at once.
const STEP: usize = 1024;

/// What is taken back in one tick.
pub(super) struct Recalls {
    pub(super) tick_ms: i64,
    hasher: RandomState,
    /// How many of the messages that take others back have been read.
    read: usize,
    keys: Vec<Key>,
    /// The topics they are meant for, by number.
    topics: HashMap<Str, u32>,
}

struct Key {
    hash: u64,
    pos: LogPos,
    /// Number of its topic.
    topic: Option<u32>,
    is_found: bool,
}

impl Recalls {
    pub(super) fn new(tick_ms: i64) -> Recalls {
        Recalls {
            tick_ms,
            hasher: RandomState::new(),
            read: 0,
            keys: Vec::new(),
            topics: HashMap::new(),
        }
    }

    /// Reads some more of the messages that take others back; whether that was all of them.
    pub(super) fn read_some(
        &mut self,
        deletes: &[LogPos],
        mut record_at: impl FnMut(LogPos) -> std::io::Result<Option<bytes::Bytes>>,
    ) -> std::io::Result<bool> {
        if self.read >= deletes.len() {
            return Ok(true);
        }
        for pos in deletes.iter().skip(self.read).take(STEP) {
            let record = record_at(*pos)?;
            self.read += 1;
            if let Some(record) = record
                && let Ok(head) = RecordHead::scan(&record)
                && let Some(key) = get(head.parts.properties, TIMER_DEL_UNIQKEY)
            {
                let topic = get(head.parts.properties, REAL_TOPIC).map(|topic| self.number_of(topic));
                self.keys.push(Key {
                    hash: self.hasher.hash_one(key),
                    pos: *pos,
                    topic,
                    is_found: false,
                });
            }
        }
        if self.read >= deletes.len() {
            self.keys.sort_unstable_by_key(|key| key.hash);
        }
        Ok(false)
    }

    /// Whether a message is taken back; it is noted.
    pub(super) fn takes(&mut self, b: &Broker, parts: &Parts<'_>) -> Result<bool, Unread> {
        let Some(unique) = get(parts.properties, UNIQ_KEY).filter(|_| !self.keys.is_empty()) else {
            return Ok(false);
        };
        let topic = get(parts.properties, REAL_TOPIC).unwrap_or_default();
        // With and without its topic: what is written depends on a setting (appendTopicForTimerDeleteKey).
        Ok(self.has(b, unique)? || self.has(b, &format!("{topic}+{unique}"))?)
    }

    fn has(&mut self, b: &Broker, wanted: &str) -> Result<bool, Unread> {
        let hash = self.hasher.hash_one(wanted);
        let first = self.keys.partition_point(|key| key.hash < hash);
        let same = self.keys.iter_mut().skip(first);
        for key in same.take_while(|key| key.hash == hash) {
            let is_it = match record_of(b, key.pos) {
                Ok(record) => RecordHead::scan(&record)
                    .is_ok_and(|head| get(head.parts.properties, TIMER_DEL_UNIQKEY) == Some(wanted)),
                Err(Unread::Gone(_)) => true,
                Err(error) => return Err(error),
            };
            if is_it {
                key.is_found = true;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn number_of(&mut self, topic: &str) -> u32 {
        if let Some(number) = self.topics.get(topic) {
            return *number;
        }
        let number = u32::try_from(self.topics.len()).unwrap_or(u32::MAX);
        self.topics.insert(topic.into(), number);
        number
    }

    /// How many have found nothing, by topic. Nothing is read for that.
    pub(super) fn idle(self) -> impl Iterator<Item = (Str, i64)> {
        let mut counts = vec![0; self.topics.len()];
        for key in self.keys.iter().filter(|key| !key.is_found) {
            let count = key.topic.and_then(|topic| counts.get_mut(topic as usize));
            if let Some(count) = count {
                *count += 1;
            }
        }
        let of_topic = move |(topic, number): (Str, u32)| Some((topic, *counts.get(number as usize)?));
        self.topics
            .into_iter()
            .filter_map(of_topic)
            .filter(|(_, count)| *count > 0)
    }
}

/// What the messages of a batch take back: the key, and the tick.
pub(super) fn recalls_in(mut batch: &[u8]) -> Vec<(&str, &str)> {
    let mut recalls = Vec::new();
    while let Ok(head) = RecordHead::scan(batch) {
        let key = get(head.parts.properties, TIMER_DEL_UNIQKEY);
        recalls.extend(key.zip(get(head.parts.properties, TIMER_OUT_MS)));
        batch = batch.get(head.total_size..).unwrap_or_default();
    }
    recalls
}

/// Whether a message is among what is taken back, by its unique id with or without its topic.
pub(super) fn is_recalled(parts: &Parts<'_>, recalls: &[(&str, &str)]) -> bool {
    let property = |name| get(parts.properties, name);
    let (Some(unique), Some(out_ms)) = (property(UNIQ_KEY), property(TIMER_OUT_MS)) else {
        return false;
    };
    recalls.iter().any(|(key, tick)| {
        let with_topic = key.strip_suffix(unique).and_then(|front| front.strip_suffix('+'));
        *tick == out_ms && (*key == unique || with_topic.is_some() && with_topic == property(REAL_TOPIC))
    })
}
