// SPDX-License-Identifier: Apache-2.0
//! The table from the store: as a whole when the broker starts, then what was added since.
//!
//! A start reads both queues from the progress on, and then makes good for an end that cut in between a message and its
//! op record. A queue may have lost its end since the progress was saved; then it begins where the queue ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use store::{All, GateState, Level, LogPos, Queue, ReadError, ReadLimit, Store};
use tracing::{error, warn};
use wire::record::{RecordHead, sysflag};

use super::half::Stored;
use super::metrics::Metrics;
use super::table::{Half, Standing, Table};
use super::{PROGRESS_GROUP, Transactions, op_body, op_record};
use crate::broker::Broker;
use crate::config::Config;
use crate::names::{HALF_OP_TOPIC, HALF_TOPIC};
use crate::offset::Offsets;
use crate::saved::LoadError;

/// Records read at once.
const RECORDS_MAX: usize = 256;
/// And bytes.
const BYTES_MAX: usize = 4 << 20;

/// Why the state of the transactions cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store cannot be read.
    #[error("transactions cannot be read: {0}")]
    Store(#[from] ReadError),
    /// `transactionMetrics` cannot be read.
    #[error(transparent)]
    Metrics(#[from] LoadError),
}

impl Transactions {
    /// Finds out which halves have not ended.
    pub(crate) fn open(
        config: &Config,
        store: &Store,
        offsets: &Offsets,
        host: SocketAddr,
    ) -> Result<Transactions, RecoverError> {
        let pending_max = config.transactions_pending_max as usize;
        let mut table = read_table(store, offsets, pending_max)?;
        make_good(store, &mut table, host);
        Ok(Transactions {
            table: Mutex::new(table),
            scanning: Mutex::default(),
            advancing: tokio::sync::Mutex::default(),
            metrics: Metrics::open(config, store.env())?,
            crowded: ArcSwap::default(),
            turn: AtomicUsize::new(0),
        })
    }

    /// Finds out anew which halves have not ended: on a slave, where others are in the log since, and records that end them.
    /// Nothing is written meanwhile. Blocks.
    pub(crate) fn read_again(&self, b: &Broker) -> Result<(), RecoverError> {
        let _one_at_a_time = self.scanning.lock();
        let pending_max = b.config().transactions_pending_max as usize;
        let mut read = read_table(&b.store, &b.offsets, pending_max)?;
        for offset in ended_by_last(&b.store, &read).into_iter().flatten() {
            read.ended(offset);
        }
        *self.table.lock() = read;
        Ok(())
    }

    /// Halves below the progress have ended: another broker has dealt with them, and told how far it came.
    pub(crate) fn pass(&self, b: &Broker) {
        let progress = b.offsets.query(PROGRESS_GROUP, HALF_TOPIC, 0).unwrap_or(0);
        let mut below = Vec::new();
        self.each(b, 0, |offset, _| {
            if offset >= progress {
                return ControlFlow::Break(());
            }
            below.push(offset);
            ControlFlow::Continue(())
        });
        let mut table = self.table(b);
        for offset in below {
            table.ended(offset);
        }
    }

    /// Looks at the halves that were added since the last time.
    pub(super) fn catch_up(&self, store: &Store, pending_max: usize) -> Result<(), ReadError> {
        let _one_at_a_time = self.scanning.lock();
        let queue = store.queue(HALF_TOPIC, 0);
        loop {
            // Before the table: what is below this end was written. A copy whose write failed gives its offset back, and
            // must be forgotten before the offset is looked at.
            let end = queue.max();
            let unknown = {
                let mut table = self.table.lock();
                table.settle(|gate| store.state(gate, store::Level::Written));
                if table.len() >= pending_max {
                    return Ok(());
                }
                table.unknown(end, RECORDS_MAX as i64)
            };
            let Some(range) = unknown else { return Ok(()) };
            let mut found = Vec::new();
            let next = read(store, &queue, range.clone(), |half| {
                found.push((half.offset(), half.entry()))
            })?;
            let mut table = self.table.lock();
            table.settle(|gate| store.state(gate, store::Level::Written));
            table.learn(range.start..next, found);
        }
    }
}

fn read_table(store: &Store, offsets: &Offsets, pending_max: usize) -> Result<Table, RecoverError> {
    let progress = |topic: &str| {
        let queue = store.queue(topic, 0);
        let saved = offsets.query(PROGRESS_GROUP, topic, 0).unwrap_or(0);
        let (min, max) = (queue.min(), queue.max());
        if saved > max {
            warn!(
                topic,
                saved, max, "the progress is behind the end of the queue, going on at the end"
            );
        }
        (saved.clamp(min, max), queue)
    };
    let (halves_from, halves) = progress(HALF_TOPIC);
    let (ops_from, ops) = progress(HALF_OP_TOPIC);
    let mut table = Table::starting_at(halves_from, ops_from);
    read_ops(store, (&ops, ops_from), (&halves, &mut table))?;
    read_halves(store, &halves, &mut table, pending_max)?;
    Ok(table)
}

/// Marks what the op records say to have ended.
fn read_ops(
    store: &Store,
    (ops, from): (&Arc<Queue>, i64),
    (halves, table): (&Queue, &mut Table),
) -> Result<(), ReadError> {
    let mut at = from;
    while at < ops.max() {
        at = read_records(store, ops, at..ops.max(), |head| {
            let offsets = std::str::from_utf8(head.parts.body)
                .unwrap_or_default()
                .split(',');
            let offsets = offsets.filter_map(|offset| offset.parse::<i64>().ok());
            let mut last = -1;
            for offset in offsets.filter(|offset| *offset < halves.max()) {
                last = last.max(offset);
                table.ended(offset);
            }
            table.note_op(head.stamp.queue_offset, last);
        })?;
    }
    Ok(())
}

/// What is known of a half and its copies.
struct Group {
    newest: i64,
    has_ended: bool,
}

/// Finds the halves that have not ended. All copies of a half count as one: the newest stands for all, and when one has
/// ended, all have. When the table is full the rest is read as well, for copies of what is in it.
fn read_halves(
    store: &Store,
    halves: &Arc<Queue>,
    table: &mut Table,
    pending_max: usize,
) -> Result<(), ReadError> {
    let mut groups: HashMap<u64, Group> = HashMap::new();
    let (mut at, mut is_full) = (table.scanned(), false);
    while at < halves.max() {
        let range = at..halves.max();
        is_full |= table.len() >= pending_max;
        let mut found: Vec<(i64, Half)> = Vec::new();
        let next = read(store, halves, range.clone(), |half| {
            let (offset, entry) = (half.offset(), half.entry());
            let mut has_ended = table.has_ended(offset);
            let group = groups.remove(&entry.print);
            let is_again = half.is_copy() || half.is_resumed();
            if let Some(group) = group.filter(|_| is_again) {
                has_ended |= group.has_ended && !half.is_resumed();
                table.ended(group.newest);
                found.retain(|(offset, _)| *offset != group.newest);
            }
            let group = Group {
                newest: offset,
                has_ended,
            };
            groups.insert(entry.print, group);
            if has_ended {
                table.ended(offset);
            } else if !is_full {
                found.push((offset, entry));
            } else if is_again {
                table.learn_ahead(offset, entry);
            }
        })?;
        if next <= range.start {
            return Ok(());
        }
        // What was left out is looked at when some have ended.
        if !is_full {
            table.learn(range.start..next, found);
        }
        at = next;
    }
    Ok(())
}

/// An end between a message and its op record leaves the message as the last record of the log: writes the op record.
fn make_good(store: &Store, table: &mut Table, host: SocketAddr) {
    let Some(offsets) = ended_by_last(store, table) else {
        return;
    };
    for offset in &offsets {
        table.ended(*offset);
    }
    if store.config().follows {
        // Its master has written it, or will.
        return;
    }
    let body = op_body(&offsets);
    let op = op_record((host, store.env().clock.now_ms()), &body);
    let queue = op.queue(store);
    let appended = store.append(&op.draft(&queue, host));
    store.drive();
    match appended {
        Ok(receipt) if store.state(&receipt.gate, Level::Written) != GateState::Failed => {
            table.note_op(receipt.queue_offset, offsets.into_iter().max().unwrap_or(-1));
        }
        // It is the last message still, for the next start, or behind it comes another that the table knows of.
        _ => {
            let (topic, offset) = (HALF_TOPIC, offsets.first());
            error!(
                topic,
                offset,
                "the op record of a transaction that ended with the last run cannot be written; it is known here that it has ended"
            );
        }
    }
}

/// The halves that the last record of the log has ended, if it has and they are not known to have.
fn ended_by_last(store: &Store, table: &Table) -> Option<Vec<i64>> {
    let record = store.record_at(store.last_record()?).ok()?;
    let head = RecordHead::scan(&record).ok()?;
    let mut offsets = Vec::new();
    if head.parts.sys_flag & sysflag::TRANSACTION == sysflag::COMMIT {
        let half = store.record_at(LogPos(head.parts.prepared_pos)).ok()?;
        let half = Stored::read(&half).ok().filter(|half| half.became(&head))?;
        if let Standing::Open(current) = table.standing(half.offset(), half.print()) {
            offsets.push(current);
            if current != half.offset() {
                offsets.push(half.offset());
            }
        }
    } else {
        let given_up = Stored::read_any(&record).ok().filter(|half| !half.is_half())?;
        let print = given_up.print();
        let mut pending = table.pending_from(0);
        offsets.extend(
            pending
                .find(|(_, half)| half.print == print)
                .map(|(offset, _)| offset),
        );
    }
    (!offsets.is_empty()).then_some(offsets)
}

/// Reads some halves of a range. Returns where to go on; what lies before that and was not seen is none.
fn read(
    store: &Store,
    queue: &Arc<Queue>,
    range: Range<i64>,
    mut see: impl FnMut(&Stored<'_>),
) -> Result<i64, ReadError> {
    let mut seen = 0;
    let from = range.start;
    let mut damage = None;
    let next = read_records(store, queue, range, |head| {
        seen += 1;
        match Stored::of(head) {
            Ok(half) => see(&half),
            Err(error) => damage = Some(error.to_string()),
        }
    })?;
    let missing = (next - from) - seen;
    if missing > 0 || damage.is_some() {
        let damage = damage.unwrap_or_default();
        warn!(
            topic = queue.topic(),
            from,
            to = next,
            count = missing,
            error = damage,
            "damaged half messages are passed over"
        );
    }
    Ok(next)
}

/// Reads some records of a range. Returns where to go on, at most the end of the range.
fn read_records(
    store: &Store,
    queue: &Arc<Queue>,
    range: Range<i64>,
    mut see: impl FnMut(RecordHead<'_>),
) -> Result<i64, ReadError> {
    let wanted = usize::try_from(range.end - range.start).unwrap_or(0);
    let limit = ReadLimit {
        count: wanted.min(RECORDS_MAX),
        bytes: BYTES_MAX,
        scan: wanted.min(RECORDS_MAX),
        far: None,
    };
    let batch = match store.read(queue, range.start, &limit, &All) {
        Ok(batch) => batch,
        Err(ReadError::TooSmall { min, .. }) => return Ok(min.min(range.end)),
        Err(
            ReadError::AtEnd { .. } | ReadError::BeyondEnd { .. } | ReadError::Empty | ReadError::NoQueue,
        ) => {
            return Ok(range.end);
        }
        Err(error) => return Err(error),
    };
    let mut rest = batch.bytes.as_ref();
    while let Ok(head) = RecordHead::scan(rest) {
        rest = rest.get(head.total_size..).unwrap_or_default();
        see(head);
    }
    Ok(batch.next_offset.clamp(range.start + 1, range.end))
}
