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
        for (name, topic) in all.topics.iter().filter(|(_, topic)| topic.dedup_window_ms > 0) {
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
        dedup.forgotten_early.store(0, Ordering::Relaxed);
        dedup
    }
}

/// The newest messages of a topic, oldest first.
fn read_topic(store: &Store, topic: &Str, since_ms: i64, max: usize) -> Vec<(Print, First)> {
    let mut found: Vec<(Print, First)> = Vec::new();
    for queue in store.queues_of(topic) {
        let from = store.offset_by_time(&queue, since_ms, Boundary::Lower);
        if let Err(error) = read_queue(store, &queue, from, |message| {
            found.push(message);
            if found.len() > 2 * max {
                keep_newest(&mut found, max);
            }
        }) {
            warn!(%topic, queue = queue.id(), %error, "messages that were stored lately cannot be read and may be stored again");
        }
    }
    keep_newest(&mut found, max);
    found
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
        let batch = match store.read(queue, next, &LIMIT, &All) {
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
