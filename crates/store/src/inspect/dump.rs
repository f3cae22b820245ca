// SPDX-License-Identifier: Apache-2.0
//! Showing what is in a store that nobody runs: records one by one, and queues.

use std::io;
use std::ops::ControlFlow;

use wire::properties::{self, name};
use wire::record::{RecordHead, sysflag};

use super::view::View;
use super::walk::walk;
use super::{InspectError, frozen, tried};
use crate::config::StoreConfig;
use crate::env::Env;
use crate::queue_batch::QueueKind;

/// Which records are shown; all of what is said has to fit.
#[derive(Debug, Clone, Default)]
pub struct DumpFilter {
    /// Of this topic.
    pub topic: Option<String>,
    /// Of this queue.
    pub queue: Option<u32>,
    /// Queue offset from here on.
    pub from: Option<i64>,
    /// Queue offset up to here, exclusive.
    pub to: Option<i64>,
    /// With this key or unique id.
    pub key: Option<String>,
}

impl DumpFilter {
    fn fits(&self, head: &RecordHead<'_>) -> bool {
        let (parts, offset) = (&head.parts, head.stamp.queue_offset);
        self.topic.as_deref().is_none_or(|topic| topic == parts.topic)
            && self.queue.is_none_or(|queue| queue == parts.queue_id)
            && self.from.is_none_or(|from| offset >= from)
            && self.to.is_none_or(|to| offset < to)
            && self
                .key
                .as_deref()
                .is_none_or(|key| has_key(parts.properties, key))
    }
}

fn has_key(properties: &[u8], key: &str) -> bool {
    let keys = properties::get(properties, name::KEYS).unwrap_or_default();
    keys.split(' ').any(|one| one == key) || properties::get(properties, name::UNIQ_KEY) == Some(key)
}

/// A record, or a stretch of the log that holds none that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpedRecord {
    /// Position in the log.
    pub pos: i64,
    /// Bytes of the record.
    pub size: i64,
    /// Its topic; empty for what cannot be read.
    pub topic: String,
    /// Its queue.
    pub queue: u32,
    /// Its offset in the queue.
    pub offset: i64,
    /// When it was stored, ms since 1970.
    pub stored_ms: i64,
    /// Its keys and its unique id.
    pub keys: String,
    /// Its tag.
    pub tags: String,
    /// What it is: `message`, `half`, `rollback`, `batch`, or why it cannot be read.
    pub state: String,
    /// The body as it was sent, maybe compressed.
    pub body: Vec<u8>,
}

impl DumpedRecord {
    fn of(pos: i64, head: &RecordHead<'_>) -> DumpedRecord {
        let parts = &head.parts;
        let text = |name: &str| {
            properties::get(parts.properties, name)
                .unwrap_or_default()
                .to_owned()
        };
        let mut keys = text(name::KEYS);
        let unique = text(name::UNIQ_KEY);
        if !unique.is_empty() {
            keys = format!("{keys} {unique}").trim().to_owned();
        }
        let state = match parts.sys_flag & sysflag::TRANSACTION {
            sysflag::PREPARED => "half",
            sysflag::ROLLBACK => "rollback",
            _ if parts.sys_flag & sysflag::INNER_BATCH != 0 => "batch",
            _ => "message",
        };
        DumpedRecord {
            pos,
            size: head.total_size as i64,
            topic: parts.topic.to_owned(),
            queue: parts.queue_id,
            offset: head.stamp.queue_offset,
            stored_ms: head.stamp.stored_at,
            keys,
            tags: text(name::TAGS),
            state: state.to_owned(),
            body: parts.body.to_vec(),
        }
    }
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpedQueue {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub id: u32,
    /// How it is kept.
    pub kind: QueueKind,
    /// Index of the first entry in its files.
    pub first: i64,
    /// Entries in its files.
    pub entries: i64,
    /// Position of the first record that an entry names.
    pub first_pos: Option<i64>,
    /// Of the last.
    pub last_pos: Option<i64>,
}

/// Shows records in the order of the log, and what cannot be read between them, until `see` has enough.
pub fn dump(
    config: &StoreConfig,
    env: &Env,
    filter: &DumpFilter,
    mut see: impl FnMut(DumpedRecord) -> ControlFlow<()>,
) -> Result<(), InspectError> {
    let disk = frozen(config, env)?;
    let view = tried("look at the files", View::open(config, &disk))?;
    let mut is_over = false;
    let walked = walk(&view, |pos, head| {
        if filter.fits(head) && see(DumpedRecord::of(pos, head)).is_break() {
            is_over = true;
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    });
    let (_, damage) = match walked {
        Err(_) if is_over => return Ok(()),
        walked => tried("read the log", walked)?,
    };
    for range in damage {
        let record = DumpedRecord {
            pos: range.from,
            size: range.to - range.from,
            topic: String::new(),
            queue: 0,
            offset: 0,
            stored_ms: range.stored_at,
            keys: String::new(),
            tags: String::new(),
            state: format!("damaged: {}", range.what),
            body: Vec::new(),
        };
        if see(record).is_break() {
            break;
        }
    }
    Ok(())
}

/// The queues, by topic and number.
pub fn dump_queues(config: &StoreConfig, env: &Env) -> Result<Vec<DumpedQueue>, InspectError> {
    let disk = frozen(config, env)?;
    let view = tried("look at the files", View::open(config, &disk))?;
    let mut queues = Vec::new();
    for queue in view.queues.all() {
        queues.push(tried("read a consume queue", of_queue(&view, &queue))?);
    }
    queues.sort_by(|one, other| (&one.topic, one.id).cmp(&(&other.topic, other.id)));
    Ok(queues)
}

fn of_queue(view: &View, queue: &crate::queue::Queue) -> io::Result<DumpedQueue> {
    let (first, last) = view.extent(queue);
    let mut dumped = DumpedQueue {
        topic: queue.topic().to_owned(),
        id: queue.id(),
        kind: queue.kind(),
        first,
        entries: 0,
        first_pos: None,
        last_pos: None,
    };
    let mut index = first;
    while index < last {
        let units = view.units(queue, index)?;
        if units.is_empty() {
            index = view
                .files
                .behind_gap(queue, index, crate::log::ReadMode::Blocking)?;
            continue;
        }
        for (unit, _) in units {
            index += 1;
            if unit.is_written() {
                dumped.entries = index - first;
                if !unit.is_blank() {
                    dumped.first_pos = dumped.first_pos.or(Some(unit.pos));
                    dumped.last_pos = Some(unit.pos);
                }
            }
        }
    }
    Ok(dumped)
}
