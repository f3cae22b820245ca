// SPDX-License-Identifier: Apache-2.0
//! Counts the messages of a part of a queue that a filter lets through, by looking at the first of them.

use store::{Entry, EntryCode, Filter as _, LogPos, Queue, Store};
use wire::record::RecordHead;

use crate::filter::{Tags, Wanted};

/// Entries that are read together.
const CHUNK: usize = 1_024;
/// Entries that are looked at where only their sizes matter.
const SIZES_MAX: usize = 1_024;
/// Records that are read of one queue for a filter that wants properties.
const RECORDS_MAX: usize = 256;
/// And their bytes.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Entries that are looked at when there were too many already.
const SHORT: usize = 64;

/// Where a group is in a queue: `from` ≤ `pulled` ≤ `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// Consumed up to here.
    pub(super) from: i64,
    /// Fetched up to here.
    pub(super) pulled: i64,
    pub(super) end: i64,
    /// Messages below that are out.
    pub(super) leased: usize,
    /// The oldest of them.
    pub(super) floor: i64,
}

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) inflight: Part,
    pub(super) ready: Part,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Part {
    pub(super) messages: f64,
    pub(super) bytes: f64,
    /// The oldest.
    pub(super) first: Option<LogPos>,
}

/// The older one of two places; the log is written in order.
pub(super) fn older(one: Option<LogPos>, other: Option<LogPos>) -> Option<LogPos> {
    one.into_iter().chain(other).min_by_key(|pos| pos.0)
}

impl Part {
    fn add(&mut self, other: Part) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.first = older(self.first, other.first);
    }
}

impl Seen {
    pub(super) fn add(&mut self, other: Seen) {
        self.inflight.add(other.inflight);
        self.ready.add(other.ready);
    }
}

/// A way of looking.
pub(super) struct Scan<'a> {
    pub(super) store: &'a Store,
    pub(super) wanted: &'a Wanted,
    pub(super) scan_max: usize,
    pub(super) match_max: usize,
    /// Bytes of a message, where no entry says it.
    pub(super) average: f64,
    /// Entries that may be looked at, of all queues.
    pub(super) left: &'a mut usize,
}

impl Scan<'_> {
    fn is_all(&self) -> bool {
        matches!(self.wanted, Wanted::Tags(Tags::All))
    }

    fn needs_records(&self) -> bool {
        !matches!(self.wanted, Wanted::Tags(_))
    }

    fn entries_max(&self) -> usize {
        let max = if self.is_all() {
            self.scan_max.min(SIZES_MAX)
        } else if self.needs_records() {
            self.scan_max.min(RECORDS_MAX)
        } else {
            self.scan_max
        };
        if *self.left == 0 { max.min(SHORT) } else { max }
    }

    /// Looks at one queue.
    pub(super) fn queue(&mut self, queue: &Queue, reach: Reach) -> Seen {
        let mut seen = Seen::default();
        let (mut at, mut looked, mut matched, mut record_bytes) = (reach.from, 0, 0, 0);
        let max = self.entries_max();
        'looking: while at < reach.end && looked < max && matched <= self.match_max {
            let entries = self.store.entries(queue, at, CHUNK.min(max - looked));
            let entries = entries.unwrap_or_default();
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                if entry.offset >= reach.end || record_bytes > RECORD_BYTES_MAX {
                    break 'looking;
                }
                at = entry.offset + 1;
                looked += 1;
                if entry.code == EntryCode::Nothing || !self.is_wanted(&entry, &mut record_bytes) {
                    continue;
                }
                matched += 1;
                let part = if entry.offset < reach.pulled {
                    &mut seen.inflight
                } else {
                    &mut seen.ready
                };
                part.messages += 1.0;
                part.bytes += f64::from(entry.size);
                part.first.get_or_insert(entry.pos);
            }
        }
        *self.left = self.left.saturating_sub(looked);
        self.guess(&mut seen, reach, (at, looked, matched));
        if reach.leased > 0 {
            let oldest = self.store.entries(queue, reach.floor, 1);
            let oldest = oldest
                .ok()
                .and_then(|entries| entries.first().map(|entry| entry.pos));
            seen.inflight.add(Part {
                messages: reach.leased as f64,
                bytes: reach.leased as f64 * self.average,
                first: oldest,
            });
        }
        seen
    }

    /// What was looked at stands for the rest.
    fn guess(&self, seen: &mut Seen, reach: Reach, (at, looked, matched): (i64, usize, usize)) {
        let bytes = seen.inflight.bytes + seen.ready.bytes;
        let average = if matched == 0 {
            self.average
        } else {
            bytes / matched as f64
        };
        let share = if self.is_all() || looked == 0 {
            1.0
        } else {
            matched as f64 / looked as f64
        };
        let inflight = (reach.pulled - at).max(0) as f64 * share;
        let ready = (reach.end - at.max(reach.pulled)).max(0) as f64 * share;
        seen.inflight.messages += inflight;
        seen.inflight.bytes += inflight * average;
        seen.ready.messages += ready;
        seen.ready.bytes += ready * average;
    }

    fn is_wanted(&self, entry: &Entry, record_bytes: &mut usize) -> bool {
        if let EntryCode::Code(code) = entry.code
            && !self.wanted.by_code(code)
        {
            return false;
        }
        if !self.needs_records() {
            return true;
        }
        let Ok(record) = self.store.record_at(entry.pos) else {
            return false;
        };
        *record_bytes += record.len();
        RecordHead::scan(&record).is_ok_and(|head| self.wanted.by_properties(head.parts.properties))
    }
}
