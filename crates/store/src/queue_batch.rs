// SPDX-License-Identifier: Apache-2.0
//! Batch queues: the queues of topics with the attribute `queue.type=BatchCQ`, whose records may hold several messages.
//!
//! ```text
//! file <root>/batchconsumequeue/<topic>/<id>/<20 digits>: units of 46 bytes back to back, one per record
//! unit: physicalOffset 8 | size 4 | tagsCode 8 | storeTime 8 | baseOffset 8 | count 2 | compactedOffset 4 (-1) | 0 4
//! ```
//!
//! A unit starts as one of a plain queue does, but says itself which offsets it stands for: its place in the files is
//! not its offset. Places are called indexes here, and in a plain queue the index of a message is its offset. Offsets
//! may have gaps: the reference gives them to plain messages of such a topic without a unit.

use std::io;

use wire::properties;
use wire::record::RECORD_BYTES_MIN;

use crate::log::ReadMode;
use crate::lookup::Boundary;
use crate::queue::{Queue, Unit};
use crate::store::Store;

/// Bytes of a unit.
pub(crate) const BATCH_UNIT_BYTES: i64 = 46;
/// What stands in a unit whose record is not in a compacted log.
const NOT_COMPACTED: i32 = -1;

/// How the queues of a topic are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueKind {
    /// A unit for each message (`SimpleCQ`).
    #[default]
    Plain,
    /// A unit for each record, which may hold several messages (`BatchCQ`).
    Batch,
}

/// The messages a unit of a batch queue stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) stored_at: i64,
    /// Offset of the first.
    pub(crate) base: i64,
    pub(crate) count: i16,
}

impl Span {
    /// Offset behind the last. There is at least one, whatever damage says: a search must not stray.
    pub(crate) fn end(&self) -> i64 {
        self.base.saturating_add(i64::from(self.count.max(1)))
    }

    /// Whether the next record of the queue bears out one that does not follow: it goes on behind it, and right behind one that says
    /// it is the first.
    pub(crate) fn is_borne_out_by(&self, next: &Span) -> bool {
        match self.base {
            0 => next.base == self.end(),
            _ => next.base >= self.end(),
        }
    }

    /// Whether it can be that of a record, as far as it tells by itself.
    pub(crate) fn is_sound(&self) -> bool {
        self.base >= 0 && self.count > 0
    }
}

/// Appends the bytes of a unit.
pub(crate) fn encode(unit: &Unit, span: &Span, out: &mut Vec<u8>) {
    unit.encode(out);
    out.extend_from_slice(&span.stored_at.to_be_bytes());
    out.extend_from_slice(&span.base.to_be_bytes());
    out.extend_from_slice(&span.count.to_be_bytes());
    out.extend_from_slice(&NOT_COMPACTED.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
}

/// Reads a unit.
pub(crate) fn decode(bytes: &[u8; BATCH_UNIT_BYTES as usize]) -> (Unit, Span) {
    let long = |at: usize| {
        bytes[at..at + 8]
            .iter()
            .fold(0, |value: i64, byte| value << 8 | i64::from(*byte))
    };
    let size = i32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    let unit = Unit {
        pos: long(0),
        size,
        tags_code: long(12),
    };
    let span = Span {
        stored_at: long(20),
        base: long(28),
        count: i16::from_be_bytes([bytes[36], bytes[37]]),
    };
    (unit, span)
}

/// Whether one record of a queue can come behind another: what lies between their offsets has been between them in the log.
pub(crate) fn can_follow((before, first): &(Unit, Span), (unit, span): &(Unit, Span)) -> bool {
    let room = unit
        .pos
        .saturating_sub(before.pos.saturating_add(i64::from(before.size)));
    let is_sound = first.is_sound() && span.is_sound() && room >= 0;
    is_sound && (0..=offsets_in(QueueKind::Batch, room)).contains(&span.base.saturating_sub(first.end()))
}

/// Whether a record can be the first that is known of its queue.
pub(crate) fn can_be_first((unit, span): &(Unit, Span)) -> bool {
    span.is_sound() && span.base <= offsets_in(QueueKind::Batch, unit.pos)
}

/// How many offsets of a queue the records of so many bytes can have at most.
pub(crate) fn offsets_in(kind: QueueKind, bytes: i64) -> i64 {
    let each = match kind {
        QueueKind::Plain => 1,
        QueueKind::Batch => i64::from(i16::MAX),
    };
    (bytes / RECORD_BYTES_MIN as i64).saturating_mul(each)
}

/// How many messages an inner batch says it holds; one when it does not say, as in the reference.
pub(crate) fn inner_count(properties: &[u8]) -> i16 {
    let said = properties::get(properties, properties::name::INNER_NUM);
    said.and_then(|count| count.parse().ok()).unwrap_or(1).max(1)
}

impl Store {
    /// Units of a batch queue from an index on, at most `count`; none when their file is missing, and at the end.
    pub(crate) fn batch_units(
        &self,
        queue: &Queue,
        from: i64,
        count: usize,
        mode: ReadMode,
    ) -> io::Result<Vec<(Unit, Span)>> {
        match queue.in_memory_batch(from, count) {
            Ok(units) => Ok(units),
            Err(start) => {
                let count = count.min(usize::try_from(start - from).unwrap_or(count));
                self.queue_files.read_batch(queue, from, count, mode)
            }
        }
    }

    /// Index of the first unit of a batch queue of which `is_behind` is false; it must be true of a first part of the
    /// units. The index behind the last when it is true of all. What stood in a file that is gone is passed over.
    pub(crate) fn batch_index(
        &self,
        queue: &Queue,
        mode: ReadMode,
        is_behind: impl Fn(&Span) -> bool,
    ) -> io::Result<i64> {
        let (first, end) = queue.indexes();
        if let Some(index) = queue.held_index(&is_behind) {
            return Ok(index);
        }
        let mut index = self.batch_index_between(queue, mode, (first, end), &is_behind)?;
        // A damaged unit may have said that all in front of it is behind, too.
        while let Some(earlier) = self.batch_astray(queue, mode, (first, index), &is_behind)? {
            index = self.batch_index_between(queue, mode, (first, earlier), &is_behind)?;
        }
        Ok(index)
    }

    /// One of the units right in front of an index that is not behind, if there is.
    fn batch_astray(
        &self,
        queue: &Queue,
        mode: ReadMode,
        (first, index): (i64, i64),
        is_behind: impl Fn(&Span) -> bool,
    ) -> io::Result<Option<i64>> {
        for earlier in [index - 2, index - 1] {
            if earlier >= first
                && let Some((_, span)) = self.batch_units(queue, earlier, 1, mode)?.first()
                && span.is_sound()
                && !is_behind(span)
            {
                return Ok(Some(earlier));
            }
        }
        Ok(None)
    }

    fn batch_index_between(
        &self,
        queue: &Queue,
        mode: ReadMode,
        (first, end): (i64, i64),
        is_behind: impl Fn(&Span) -> bool,
    ) -> io::Result<i64> {
        let (mut low, mut high) = (first, end);
        let mut is_gone = false;
        while low < high {
            let middle = low + (high - low) / 2;
            let there = self.batch_there(queue, middle, high, mode)?;
            is_gone |= there != middle;
            let unit = self.batch_units(queue, there, 1, mode)?;
            if there < high && unit.first().is_none_or(|(_, span)| is_behind(span)) {
                low = there + 1;
            } else {
                high = middle;
            }
        }
        if is_gone {
            low = self.batch_there(queue, low, end, mode)?;
        }
        Ok(low)
    }

    /// The first index from one on whose file is there; `end` when there is none in front of that.
    fn batch_there(&self, queue: &Queue, from: i64, end: i64, mode: ReadMode) -> io::Result<i64> {
        let mut index = from;
        while index < end && self.batch_units(queue, index, 1, mode)?.is_empty() {
            index = self.queue_files.behind_gap(queue, index, mode)?;
        }
        Ok(index.min(end))
    }
}

impl Store {
    /// Store time of the record that holds an offset, or of the next one where there is a gap.
    pub(crate) fn batch_stored_at(&self, queue: &Queue, offset: i64) -> Option<i64> {
        let mode = ReadMode::Blocking;
        let index = self.batch_index(queue, mode, |span| span.end() <= offset).ok()?;
        let units = self.batch_units(queue, index, 1, mode).ok()?;
        units.first().map(|(_, span)| span.stored_at)
    }

    /// The offset for a time, that of the first message of a record: of the first one stored at or after it. The
    /// boundary counts, other than in plain queues, only among records of the same time. After the newest record it
    /// is that one, not the end. All this as in the reference.
    pub(crate) fn batch_offset_by_time(&self, queue: &Queue, stored_ms: i64, boundary: Boundary) -> i64 {
        let (min, max) = (queue.min(), queue.max());
        if min == max {
            return min;
        }
        let mode = ReadMode::Blocking;
        let (first, end) = queue.indexes();
        let lower = self.batch_index(queue, mode, |span| span.stored_at < stored_ms);
        let upper = self.batch_index(queue, mode, |span| span.stored_at <= stored_ms);
        let (Ok(lower), Ok(upper)) = (lower, upper) else {
            return min;
        };
        let index = match boundary {
            Boundary::Upper if upper > lower => upper - 1,
            _ => lower.min(end - 1),
        };
        let units = self.batch_units(queue, index.max(first), 1, mode);
        let base = units
            .ok()
            .and_then(|units| units.first().map(|(_, span)| span.base));
        base.unwrap_or(min).clamp(min, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_the_bytes_of_the_reference() {
        let unit = Unit {
            pos: 0x0102_0304_0506_0708,
            size: 0x1112_1314,
            tags_code: -2,
        };
        let span = Span {
            stored_at: 0x2122_2324_2526_2728,
            base: 0x3132_3334_3536_3738,
            count: 0x4142,
        };
        let mut bytes = Vec::new();
        encode(&unit, &span, &mut bytes);
        let golden = [
            1, 2, 3, 4, 5, 6, 7, 8, // physicalOffset
            0x11, 0x12, 0x13, 0x14, // size
            0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, // tagsCode
            0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, // storeTime
            0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, // msgBaseOffset
            0x41, 0x42, // batchSize
            0xFF, 0xFF, 0xFF, 0xFF, // compactedOffset
            0, 0, 0, 0,
        ];
        assert_eq!(bytes, golden);
        assert_eq!(decode(&golden), (unit, span));
    }
}
