// SPDX-License-Identifier: Apache-2.0
//! Walking over the log from record to record, believing nothing: sizes, magic, the sum of the field lengths, position
//! and CRC are checked before a record counts.

use std::io;

use bytes::Bytes;
use wire::record::{RecordError, RecordHead};

use crate::log::{Log, ReadMode};

/// Read at once.
const CHUNK_BYTES: i64 = 1 << 20;

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
    /// Set at the end.
    pub(crate) behind: Behind,
    chunk: Bytes,
    chunk_at: i64,
}

enum Look {
    Record(usize),
    Blank,
    End(Behind),
    /// The record needs so many bytes.
    More(usize),
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(log: &'a Log, verify: Verify, from: i64) -> Scanner<'a> {
        Scanner {
            log,
            verify,
            pos: from,
            behind: Behind::Nothing,
            chunk: Bytes::new(),
            chunk_at: from,
        }
    }

    /// The bytes of the next record, with its position. After `None`, [`Scanner::pos`] is the end of the log.
    pub(crate) fn next(&mut self) -> io::Result<Option<(i64, Bytes)>> {
        loop {
            let left = (self.log.base_of(self.pos) + self.log.segment_bytes() - self.pos) as usize;
            let skip = (self.pos - self.chunk_at) as usize;
            match self.look(self.chunk.get(skip..).unwrap_or_default(), left) {
                Look::Record(size) => {
                    let pos = self.pos;
                    self.pos += size as i64;
                    return Ok(Some((pos, self.chunk.slice(skip..skip + size))));
                }
                Look::Blank => {
                    let next = self.pos + left as i64;
                    if self.log.segment_at(next).is_none() {
                        // The blank is the last thing: the next record starts a file that is not there yet.
                        self.pos = next;
                        return Ok(None);
                    }
                    self.pos = next;
                    self.drop_chunk();
                }
                Look::End(behind) => {
                    self.behind = behind;
                    return Ok(None);
                }
                Look::More(size) => {
                    if !self.fill(size.max(CHUNK_BYTES as usize).min(left))? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn drop_chunk(&mut self) {
        self.chunk = Bytes::new();
        self.chunk_at = self.pos;
    }

    /// Reads from `pos` on. `false` when there is no file.
    fn fill(&mut self, len: usize) -> io::Result<bool> {
        if self.log.segment_at(self.pos).is_none() {
            return Ok(false);
        }
        let mut chunk = vec![0; len];
        self.log.read(self.pos, &mut chunk, ReadMode::Blocking)?;
        self.chunk = Bytes::from(chunk);
        self.chunk_at = self.pos;
        Ok(true)
    }

    fn look(&self, buf: &[u8], left: usize) -> Look {
        if left < 8 {
            // Not even a blank fits: no record ends here.
            return Look::End(Behind::Garbage);
        }
        let Some(front) = buf.first_chunk::<8>() else {
            return Look::More(8);
        };
        if *front == [0; 8] {
            return Look::End(Behind::Nothing);
        }
        let head = match RecordHead::scan(buf) {
            Ok(head) => head,
            Err(RecordError::Blank(size)) if usize::try_from(size) == Ok(left) => return Look::Blank,
            Err(RecordError::Short { need, .. }) if need <= left && buf.len() < left => {
                return Look::More(need.max(buf.len() + 1));
            }
            Err(_) => return Look::End(Behind::Garbage),
        };
        let verified = match self.verify {
            Verify::Nothing => Ok(()),
            Verify::Body => head.check_body(),
            Verify::Seal => head.check_seal(buf),
        };
        if verified.is_err() || head.stamp.physical_offset != self.pos || is_torn(&head) {
            return Look::End(Behind::Garbage);
        }
        Look::Record(head.total_size)
    }
}

/// Whether the end of a record was never written, which the CRC of the body cannot tell. Topics have no zero byte, and
/// properties do not end with one.
pub(crate) fn is_torn(head: &RecordHead<'_>) -> bool {
    head.parts.topic.contains('\0') || head.parts.properties.last() == Some(&0)
}
