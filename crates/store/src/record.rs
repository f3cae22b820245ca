// SPDX-License-Identifier: Apache-2.0
//! A single record by its position in the log. Positions come from peers and from derived files, so nothing at one is
//! believed before its size, its own position and its checksum agree.

use std::io;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use wire::record::{MAGIC_V1, MAGIC_V2, RECORD_BYTES_MIN, RecordHead, sysflag};

use crate::draft::LogPos;
use crate::log::{Log, Origin, ReadMode};
use crate::read::{ReadError, SIZE_TO_CHECK};
use crate::scan::is_as_stored;
use crate::store::Store;

/// What a record may have besides the largest body.
const RECORD_SLACK: usize = 64 << 10;
/// Where a record says its own position.
const POSITION_AT: usize = 28;
/// And its flags.
const SYS_FLAG_AT: i64 = 36;
/// And, with addresses of four bytes, the length of its body.
const BODY_LEN_AT: i64 = 84;

impl Store {
    /// The record that starts at a position, waiting for the disk if need be.
    pub fn record_at(&self, pos: LogPos) -> Result<Bytes, ReadError> {
        self.whole_record(pos, ReadMode::Blocking)
    }

    /// As [`Store::record_at`] but never waits: [`ReadError::NotCached`] says that [`Store::record_at`] has to be called
    /// where it may.
    pub fn record_at_cached(&self, pos: LogPos) -> Result<Bytes, ReadError> {
        self.whole_record(pos, ReadMode::Cached)
    }

    /// The newest record that readers may see; `None` when the log is empty.
    pub fn last_record(&self) -> Option<LogPos> {
        let last = self.publisher.lock().last;
        (last >= 0).then_some(LogPos(last))
    }

    fn whole_record(&self, pos: LogPos, mode: ReadMode) -> Result<Bytes, ReadError> {
        let (record, origin) = self.any_record_at(pos, mode)?;
        match RecordHead::scan(&record) {
            Ok(head) if is_intact(&head, &record, origin) => Ok(record),
            _ => Err(ReadError::NoRecord(pos)),
        }
    }

    /// The record that starts at a position, whatever has become of its body.
    pub(crate) fn any_record_at(&self, pos: LogPos, mode: ReadMode) -> Result<(Bytes, Origin), ReadError> {
        let missing = ReadError::NoRecord(pos);
        let written = self.log.written.load(Ordering::Acquire);
        if pos.0 < self.log.min() || pos.0.saturating_add(RECORD_BYTES_MIN as i64) > written {
            return Err(missing);
        }
        // Peers choose positions: what lies there may claim any size.
        let size_max = (self.config.message_bytes_max + RECORD_SLACK).max(SIZE_TO_CHECK);
        let Some(size) = self.size_at(pos.0, mode)? else {
            return Err(missing);
        };
        // The largest may have become less since it was stored.
        if size > size_max && !lengths_add_up(&self.log, pos.0, size, mode)? {
            return Err(missing);
        }
        let mut record = vec![0; size];
        let origin = self.log.read(pos.0, &mut record, mode)?;
        match RecordHead::scan(&record) {
            Ok(head) if head.stamp.physical_offset == pos.0 => Ok((Bytes::from(record), origin)),
            _ => Err(missing),
        }
    }

    /// The size a record says at its front, if that is plausible and says this position.
    pub(crate) fn size_at(&self, pos: i64, mode: ReadMode) -> io::Result<Option<usize>> {
        let mut front = [0; POSITION_AT + 8];
        if self.log.base_of(pos) + self.log.segment_bytes() - pos < front.len() as i64 {
            return Ok(None);
        }
        self.log.read(pos, &mut front, mode)?;
        let [s0, s1, s2, s3, m0, m1, m2, m3, ..] = front;
        let size = i64::from(u32::from_be_bytes([s0, s1, s2, s3]));
        let is_record = matches!(i32::from_be_bytes([m0, m1, m2, m3]), MAGIC_V1 | MAGIC_V2)
            && front[POSITION_AT..] == pos.to_be_bytes();
        let end =
            (self.log.base_of(pos) + self.log.segment_bytes()).min(self.log.written.load(Ordering::Acquire));
        Ok((is_record && pos + size <= end).then_some(size as usize))
    }
}

/// Whether the body is what was sent. A disk may give back other bytes than it took, and they must not reach anyone.
pub(crate) fn is_intact(head: &RecordHead<'_>, record: &[u8], origin: Origin) -> bool {
    origin == Origin::Memory || crate::seeded!("corrupt-body") || is_as_stored(head, record)
}

/// Whether the lengths inside what says to be a record of that size make up the size: asked before room is made for a large one.
/// It lies in the log, and in one file.
pub(crate) fn lengths_add_up(log: &Log, pos: i64, size: usize, mode: ReadMode) -> io::Result<bool> {
    let end = pos + size as i64;
    let be = |at: i64, len: usize| -> io::Result<Option<i64>> {
        let mut bytes = [0; 4];
        if at + len as i64 > end {
            return Ok(None);
        }
        log.read(at, &mut bytes[4 - len..], mode)?;
        Ok(Some(i64::from(i32::from_be_bytes(bytes))))
    };
    let mut at = pos + 4;
    let topic_len_bytes = if be(at, 4)? == Some(i64::from(MAGIC_V2)) {
        2
    } else {
        1
    };
    at = pos + SYS_FLAG_AT;
    let sys_flag = be(at, 4)?.unwrap_or_default() as i32;
    at = pos + BODY_LEN_AT;
    for v6 in [sysflag::BORN_HOST_V6, sysflag::STORE_HOST_V6] {
        at += if sys_flag & v6 == 0 { 0 } else { 12 };
    }
    for len_bytes in [4, topic_len_bytes, 2] {
        match be(at, len_bytes)? {
            Some(len) if len >= 0 => at += len_bytes as i64 + len,
            _ => return Ok(false),
        }
    }
    Ok(at == end)
}
