// SPDX-License-Identifier: Apache-2.0
//! Walking over the log from record to record, believing nothing: sizes, magic, the sum of the field lengths, position
//! and CRC are checked before a record counts.
//!
//! Damage ends the walk. Where it is known that the log went on behind it, [`Scanner::pass_over`] looks for the next record that is
//! sound and says its own position. One that was stored earlier than what is in front is not it: another program has cut the
//! log there once and left it.

use std::io;

use wire::record::sysflag::BORN_HOST_V6;
use wire::record::{MAGIC_BLANK, MAGIC_V1, MAGIC_V2, PHYSICAL_OFFSET_AT, RECORD_BYTES_MIN, RecordHead};

use crate::log::{Log, ReadMode};
use crate::read::SIZE_TO_CHECK;
use crate::record::lengths_add_up;

/// Read at once: few enough that what was read is still in the cache of the processor when it is looked at.
const CHUNK_BYTES: usize = 512 << 10;
/// How far behind damage records are looked for where nobody knows that there are any: more than the largest of them.
const LOOKED_AHEAD: i64 = 64 << 20;
/// A record has said its position after so many bytes.
const POSITION_END: usize = PHYSICAL_OFFSET_AT + 8;
/// Where the time of storing ends behind flags, time of birth and the longest host.
const STORED_AT_END: usize = POSITION_END + 4 + 8 + 20 + 8;

/// Which CRC a record must carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verify {
    /// None.
    Nothing,
    /// That of the body, and the seal where there is one.
    Body,
    /// The seal over the whole record.
    Seal,
}

/// What lies behind the last good record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Zeros, or no file.
    Nothing,
    /// Something that is no record.
    Garbage,
}

pub(crate) struct Scanner<'a> {
    log: &'a Log,
    verify: Verify,
    /// Position of the next record.
    pub(crate) pos: i64,
    /// End of the file it lies in.
    file_end: i64,
    /// Set at the end.
    pub(crate) behind: Behind,
    /// What was read, and kept for its room.
    chunk: Vec<u8>,
    chunk_at: i64,
    /// As much of `chunk` was read.
    chunk_len: usize,
    /// The log is known to have reached this position.
    reached: i64,
    /// Whatever was written behind it is there, too.
    is_all_there: bool,
    /// Nobody wants to know what lies behind this.
    end: i64,
    /// Store time of the last record.
    stored_at: i64,
}

/// What the first bytes of what may be a record say.
enum Front {
    /// All bytes of what says it is a record are there.
    Record(usize),
    Blank,
    End(Behind),
    /// So many bytes are needed.
    More(usize),
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(log: &'a Log, verify: Verify, from: i64) -> Scanner<'a> {
        Scanner {
            log,
            verify,
            pos: from,
            file_end: from,
            behind: Behind::Nothing,
            chunk: Vec::new(),
            chunk_at: from,
            chunk_len: 0,
            reached: from,
            is_all_there: false,
            end: i64::MAX,
            stored_at: 0,
        }
    }

    /// The same of a log that is known to have reached a position: damage in front of it can be passed over.
    pub(crate) fn reaching(self, reached: i64) -> Scanner<'a> {
        Scanner { reached, ..self }
    }

    /// The same behind a record that was stored at that time: what is older and lies behind damage is not of this log any more.
    pub(crate) fn behind(self, stored_at: i64) -> Scanner<'a> {
        Scanner { stored_at, ..self }
    }

    /// The same of a log that no power cut has been at: damage behind that position can be passed over, too.
    pub(crate) fn all_there(self) -> Scanner<'a> {
        Scanner {
            is_all_there: true,
            ..self
        }
    }

    /// The same, which looks for no record from a position on.
    pub(crate) fn ending(self, end: i64) -> Scanner<'a> {
        Scanner { end, ..self }
    }

    /// The next record, with its position. After `None`, [`Scanner::pos`] is the end of the log.
    pub(crate) fn next(&mut self) -> io::Result<Option<(i64, RecordHead<'_>)>> {
        let Some((skip, size)) = self.next_whole()? else {
            return Ok(None);
        };
        let record = self.chunk.get(skip..skip + size).unwrap_or_default();
        match RecordHead::scan(record) {
            Ok(head) if is_sound(&head, record, self.pos, self.verify) => {
                let pos = self.pos;
                self.pos += size as i64;
                self.stored_at = head.stamp.stored_at;
                Ok(Some((pos, head)))
            }
            _ => {
                self.behind = Behind::Garbage;
                Ok(None)
            }
        }
    }

    /// After `None`: goes on at the next sound record, where the log is known to have gone on. What was passed over; `None` at
    /// the end of the log.
    pub(crate) fn pass_over(&mut self) -> io::Result<Option<(i64, i64)>> {
        let from = self.pos;
        let until = match from < self.reached {
            true => self.end,
            false if self.is_all_there => self.end.min(from.saturating_add(LOOKED_AHEAD)),
            false => return Ok(None),
        };
        let Some(to) = self.find_sound(from + 1, until)? else {
            return Ok(None);
        };
        self.behind = Behind::Nothing;
        (self.pos, self.file_end) = (to, to);
        (self.chunk_at, self.chunk_len) = (to, 0);
        Ok(Some((from, to)))
    }

    /// What lies where a damaged record begins, up to where it says that it ends, if that is in front of `end`.
    pub(crate) fn bytes_of_lost(&self, pos: i64, end: i64) -> Option<Vec<u8>> {
        let size = usize::try_from(says_record(self.log, pos)?).ok()?;
        if pos.saturating_add(size as i64) > end
            || size > SIZE_TO_CHECK && !lengths_add_up(self.log, pos, size, ReadMode::Blocking).ok()?
        {
            return None;
        }
        let mut record = vec![0; size];
        self.log.read(pos, &mut record, ReadMode::Blocking).ok()?;
        Some(record)
    }

    /// The first position from one on at which a sound record lies; not looked for from `until` on.
    fn find_sound(&self, from: i64, until: i64) -> io::Result<Option<i64>> {
        let mut at = from;
        let mut room = vec![0; CHUNK_BYTES];
        while let Some(segment) = self.log.segment_at(at).filter(|_| at < until) {
            let end = segment.base + self.log.segment_bytes();
            let written = segment.file.next_written((at - segment.base).unsigned_abs())?;
            let Some(next) = written.filter(|next| (*next as i64) < end - segment.base) else {
                at = end;
                continue;
            };
            at = at.max(segment.base + next as i64);
            let len = room.len().min((end - at) as usize);
            let some = room.get_mut(..len).unwrap_or_default();
            let read = segment.read_at(some, (at - segment.base).unsigned_abs(), ReadMode::Blocking)?;
            let some = some.get(..read).unwrap_or_default();
            for (skip, _) in some
                .windows(POSITION_END)
                .enumerate()
                .filter(|(skip, window)| may_begin(window, at + *skip as i64))
            {
                if self.is_sound_at(at + skip as i64, end)? {
                    return Ok(Some(at + skip as i64));
                }
            }
            at = if read < len || at + read as i64 >= end {
                end
            } else {
                at + (read - (POSITION_END - 1)) as i64
            };
        }
        Ok(None)
    }

    /// Whether a sound record lies at a position, in a file that ends at `end`.
    fn is_sound_at(&self, pos: i64, end: i64) -> io::Result<bool> {
        let mut first = [0; 8];
        self.log.read(pos, &mut first, ReadMode::Blocking)?;
        let Front::More(size) = front(&first, (end - pos) as usize) else {
            return Ok(false);
        };
        if size > SIZE_TO_CHECK && !lengths_add_up(self.log, pos, size, ReadMode::Blocking)? {
            return Ok(false);
        }
        let mut record = vec![0; size];
        self.log.read(pos, &mut record, ReadMode::Blocking)?;
        let verify = match self.verify {
            Verify::Nothing => Verify::Body,
            other => other,
        };
        Ok(RecordHead::scan(&record).is_ok_and(|head| {
            is_sound(&head, &record, pos, verify) && head.stamp.stored_at >= self.stored_at
        }))
    }

    /// Where the next record lies in the chunk, by its size alone. `None` at the end.
    fn next_whole(&mut self) -> io::Result<Option<(usize, usize)>> {
        loop {
            if self.pos >= self.file_end {
                self.file_end = self.log.base_of(self.pos) + self.log.segment_bytes();
            }
            let left = (self.file_end - self.pos) as usize;
            let skip = (self.pos - self.chunk_at) as usize;
            match front(self.chunk.get(skip..self.chunk_len).unwrap_or_default(), left) {
                Front::Record(size) => return Ok(Some((skip, size))),
                Front::Blank => {
                    self.pos += left as i64;
                    self.chunk_at = self.pos;
                    self.chunk_len = 0;
                    if self.log.segment_at(self.pos).is_none() {
                        // The blank is the last thing: the next record starts a file that is not there yet.
                        return Ok(None);
                    }
                }
                Front::End(behind) => {
                    self.behind = behind;
                    return Ok(None);
                }
                Front::More(size)
                    if size > SIZE_TO_CHECK
                        && !lengths_add_up(self.log, self.pos, size, ReadMode::Blocking)? =>
                {
                    self.behind = Behind::Garbage;
                    return Ok(None);
                }
                Front::More(size) => {
                    if !self.fill(size.max(CHUNK_BYTES).min(left))? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Reads from `pos` on. `false` when there is no file.
    fn fill(&mut self, len: usize) -> io::Result<bool> {
        if self.log.segment_at(self.pos).is_none() {
            return Ok(false);
        }
        if self.chunk.len() < len {
            self.chunk.resize(len, 0);
        }
        self.chunk_len = 0;
        self.chunk_at = self.pos;
        if let Some(room) = self.chunk.get_mut(..len) {
            self.log.read(self.pos, room, ReadMode::Blocking)?;
            self.chunk_len = len;
        }
        Ok(true)
    }
}

/// The size that a record says at its front, if one says that it lies at this position.
pub(crate) fn says_record(log: &Log, pos: i64) -> Option<i32> {
    let mut bytes = [0; POSITION_END];
    log.segment_at(pos)?;
    log.read(pos, &mut bytes, ReadMode::Blocking).ok()?;
    let size = bytes.first_chunk().map(|size| i32::from_be_bytes(*size));
    size.filter(|_| may_begin(&bytes, pos))
}

/// When the record that says that it lies at this position was stored.
pub(crate) fn stored_at(log: &Log, pos: i64) -> Option<i64> {
    let mut bytes = [0; STORED_AT_END];
    log.segment_at(pos)?;
    log.read(pos, &mut bytes, ReadMode::Blocking).ok()?;
    let sys_flag = i32::from_be_bytes(*bytes.get(POSITION_END..)?.first_chunk()?);
    // The host in front of it may have an address of 16 bytes instead of 4.
    let end = STORED_AT_END - if sys_flag & BORN_HOST_V6 == 0 { 12 } else { 0 };
    let stored_at = i64::from_be_bytes(*bytes.get(..end)?.last_chunk()?);
    may_begin(&bytes, pos).then_some(stored_at)
}

/// Whether a record may begin with these bytes at a position.
fn may_begin(bytes: &[u8], pos: i64) -> bool {
    let magic = bytes.get(4..8).and_then(|magic| magic.first_chunk());
    let said = bytes.get(PHYSICAL_OFFSET_AT..POSITION_END);
    magic.is_some_and(|magic| matches!(i32::from_be_bytes(*magic), MAGIC_V1 | MAGIC_V2))
        && said == Some(pos.to_be_bytes().as_slice())
}

/// What `buf` begins with, when `left` bytes are left in the file.
fn front(buf: &[u8], left: usize) -> Front {
    if left < 8 {
        // Not even a blank fits: no record ends here.
        return Front::End(Behind::Garbage);
    }
    let Some(front) = buf.first_chunk::<8>() else {
        return Front::More(8);
    };
    if *front == [0; 8] {
        return Front::End(Behind::Nothing);
    }
    let [s0, s1, s2, s3, m0, m1, m2, m3] = *front;
    let size = usize::try_from(i32::from_be_bytes([s0, s1, s2, s3])).unwrap_or_default();
    match i32::from_be_bytes([m0, m1, m2, m3]) {
        MAGIC_BLANK if size == left => Front::Blank,
        MAGIC_V1 | MAGIC_V2 if (RECORD_BYTES_MIN..=left).contains(&size) => {
            if size <= buf.len() {
                Front::Record(size)
            } else {
                Front::More(size)
            }
        }
        _ => Front::End(Behind::Garbage),
    }
}

fn is_sound(head: &RecordHead<'_>, record: &[u8], pos: i64, verify: Verify) -> bool {
    let verified = match verify {
        Verify::Nothing => true,
        Verify::Body => is_as_stored(head, record),
        Verify::Seal => head.check_seal(record).is_ok(),
    };
    verified && head.stamp.physical_offset == pos && !is_torn(head)
}

/// Whether the CRCs that a record has are right: that of its body, and the seal over all of it if there is one.
pub(crate) fn is_as_stored(head: &RecordHead<'_>, record: &[u8]) -> bool {
    head.check_body().is_ok() && (!head.is_sealed() || head.check_seal(record).is_ok())
}

/// Whether the end of a record was never written, which the CRC of the body cannot tell. Topics have no zero byte, and
/// properties do not end with one.
pub(crate) fn is_torn(head: &RecordHead<'_>) -> bool {
    head.parts.topic.contains('\0') || head.parts.properties.last() == Some(&0)
}
