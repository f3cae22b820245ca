// SPDX-License-Identifier: Apache-2.0
//! What is taken back in the tick that fires. A tick may hold a million of such messages, so they are read some at a
//! time, and only a hash of each key is kept, with the place of the message to compare.

use std::hash::{BuildHasher as _, RandomState};

use store::LogPos;
use wire::Str;
use wire::properties::get;
use wire::properties::name::{REAL_TOPIC, UNIQ_KEY};
use wire::record::{Parts, RecordHead};

use super::deliver::{Unread, record_of};
use crate::broker::Broker;
use crate::send::properties::name::TIMER_DEL_UNIQKEY;

/// Messages that are read at once.
const STEP: usize = 1024;

/// What is taken back in one tick.
pub(super) struct Recalls {
    pub(super) tick_ms: i64,
    hasher: RandomState,
    /// How many of the messages that take others back have been read.
    read: usize,
    keys: Vec<Key>,
}

struct Key {
    hash: u64,
    pos: LogPos,
    is_found: bool,
}

impl Recalls {
    pub(super) fn new(tick_ms: i64) -> Recalls {
        Recalls {
            tick_ms,
            hasher: RandomState::new(),
            read: 0,
            keys: Vec::new(),
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
                self.keys.push(Key {
                    hash: self.hasher.hash_one(key),
                    pos: *pos,
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

    /// The topics of those that have found nothing.
    pub(super) fn idle<'a>(&'a self, b: &'a Broker) -> impl Iterator<Item = Str> + 'a {
        self.keys.iter().filter(|key| !key.is_found).filter_map(|key| {
            let record = record_of(b, key.pos).ok()?;
            let head = RecordHead::scan(&record).ok()?;
            get(head.parts.properties, REAL_TOPIC).map(Str::from)
        })
    }
}
