// SPDX-License-Identifier: Apache-2.0
//! What is remembered, from the log: the messages of each topic's window, in the order in which they were stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use store::{All, Boundary, Gate, LogPos, Queue, ReadError, ReadLimit, Store};
use tracing::{info, warn};
use wire::Str;
use wire::properties::{self, name};
use wire::record::{RecordHead, sysflag};

use super::{Dedup, First, PRODUCER_GROUP, Print};
use crate::config::Config;
use crate::topic::Topics;

/// What is read at once.
const LIMIT: ReadLimit = ReadLimit {
    count: 256,
    bytes: 4 << 20,
    scan: 256,
    far: None,
};

impl Dedup {
    /// Reads the windows of all topics that have one.
    pub(crate) fn open(config: &Config, topics: &Topics, store: &Store) -> Dedup {
        let dedup = Dedup::default();
        let max = config.dedup_messages_max as usize;
        let now_ms = store.env().clock.now_ms();
        let all = topics.all();
        let with_window = || all.topics.iter().filter(|(_, topic)| topic.dedup_window_ms > 0);
        // All of them first: how many there are decides how much each may remember.
        for (name, _) in with_window() {
            dedup.window(name);
        }
        for (name, topic) in with_window() {
            let since_ms = now_ms.saturating_sub(topic.dedup_window_ms);
            let found = read_topic(store, name, since_ms, max);
            if !found.is_empty() {
                info!(topic = %name, messages = found.len(), "remembers the messages of its window");
            }
            let window = dedup.window(name);
            let mut window = window.lock();
            for message in found {
                dedup.remember(&mut window, message, max);
            }
        }
        dedup.trim(max);
        dedup.forgotten_early.store(0, Ordering::Relaxed);
        dedup
    }
}

/// The newest messages of a topic, oldest first.
fn read_topic(store: &Store, topic: &Str, since_ms: i64, max: usize) -> Vec<(Print, First)> {
    let mut found: Vec<(Print, First)> = Vec::new();
    let queues = store.queues_of(topic);
    let begins = queues.into_iter().map(|queue| {
        let from = store.offset_by_time(&queue, since_ms, Boundary::Lower);
        let from = from.max(queue.min());
        (queue, from)
    });
    let mut begins: Vec<(Arc<Queue>, i64)> = begins.collect();
    leave_out(store, &mut begins, max);
    for (queue, from) in &begins {
        if let Err(error) = read_queue(store, queue, *from, |message| {
            found.push(message);
            if found.len() > 2 * max {
                keep_newest(&mut found, max);
            }
        }) {
            warn!(%topic, queue = queue.id(), offset = *from, %error, "messages that were stored lately cannot be read and may be stored again");
        }
    }
    keep_newest(&mut found, max);
    found
}

/// Moves the begins forward to the position in the log behind which `max` messages lie: those before it would be read to
/// be forgotten.
fn leave_out(store: &Store, begins: &mut [(Arc<Queue>, i64)], max: usize) {
    let count = |pos: i64| -> u64 {
        let lengths = begins.iter().map(|(queue, from)| {
            let offset = offset_at(store, queue, (*from, pos));
            u64::try_from(queue.max() - offset).unwrap_or(0)
        });
        lengths.sum()
    };
    let (mut enough, mut end) = (0, store.tail_gate().end.0);
    if count(enough) <= max as u64 {
        return;
    }
    while end - enough > 1 {
        let middle = enough + (end - enough) / 2;
        if count(middle) >= max as u64 {
            enough = middle;
        } else {
            end = middle;
        }
    }
    for (queue, from) in begins {
        *from = offset_at(store, queue, (*from, enough));
    }
}

/// The first offset of a queue, from one on, whose message lies at a position of the log or behind it.
fn offset_at(store: &Store, queue: &Arc<Queue>, (from, pos): (i64, i64)) -> i64 {
    let (mut low, mut high) = (from, queue.max());
    while low < high {
        let middle = low + (high - low) / 2;
        let entries = store.entries(queue, middle, 1).unwrap_or_default();
        // What cannot be read is left out by whoever reads it.
        if entries.first().is_some_and(|entry| entry.pos.0 < pos) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn keep_newest(found: &mut Vec<(Print, First)>, max: usize) {
    found.sort_unstable_by_key(|(_, first)| first.pos);
    found.drain(..found.len().saturating_sub(max));
}

fn read_queue(
    store: &Store,
    queue: &Arc<Queue>,
    from: i64,
    mut see: impl FnMut((Print, First)),
) -> Result<(), ReadError> {
    let mut next = from.max(queue.min());
    while next < queue.max() {
        let batch = match store.read_log(queue, next, &LIMIT, &All) {
            Ok(batch) => batch,
            Err(ReadError::Io(error)) => return Err(ReadError::Io(error)),
            Err(_) => return Ok(()),
        };
        let mut rest = batch.bytes.as_ref();
        while let Ok(head) = RecordHead::scan(rest) {
            rest = rest.get(head.total_size..).unwrap_or_default();
            if let Some(message) = remembered(&head) {
                see(message);
            }
        }
        next = batch.next_offset.max(next + 1);
    }
    Ok(())
}

/// A message that a producer sent with an id, while its topic had a window.
fn remembered(head: &RecordHead<'_>) -> Option<(Print, First)> {
    let parts = &head.parts;
    if parts.sys_flag & sysflag::TRANSACTION != 0 {
        return None;
    }
    let group = properties::get(parts.properties, PRODUCER_GROUP)?;
    let unique = properties::get(parts.properties, name::UNIQ_KEY)?;
    let pos = head.stamp.physical_offset;
    let first = First {
        pos,
        queue_id: parts.queue_id.cast_signed(),
        queue_offset: head.stamp.queue_offset,
        stored_at: head.stamp.stored_at,
        gate: Gate {
            end: LogPos(pos + head.total_size as i64),
            generation: 0,
        },
        size: head.total_size,
    };
    Some((Print::of(group, unique, parts.body), first))
}
