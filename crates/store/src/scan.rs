// SPDX-License-Identifier: Apache-2.0
//! Walking over the log from record to record, believing nothing: sizes, magic, the sum of the field lengths, position
//! and CRC are checked before a record counts.

use std::io;

use wire::record::{MAGIC_BLANK, MAGIC_V1, MAGIC_V2, RECORD_BYTES_MIN, RecordHead};

use crate::log::{Log, ReadMode};

/// Read at once: few enough that what was read is still in the cache of the processor when it is looked at.
const CHUNK_BYTES: usize = 512 << 10;

/// Which CRC a record must carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verify {
    /// None.
    Nothing,
    /// That of the body.
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
        }
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
                Ok(Some((pos, head)))
            }
            _ => {
                self.behind = Behind::Garbage;
                Ok(None)
            }
        }
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
        Verify::Nothing => Ok(()),
        Verify::Body => head.check_body(),
        Verify::Seal => head.check_seal(record),
    };
    verified.is_ok() && head.stamp.physical_offset == pos && !is_torn(head)
}

/// Whether the end of a record was never written, which the CRC of the body cannot tell. Topics have no zero byte, and
/// properties do not end with one.
pub(crate) fn is_torn(head: &RecordHead<'_>) -> bool {
    head.parts.topic.contains('\0') || head.parts.properties.last() == Some(&0)
}
