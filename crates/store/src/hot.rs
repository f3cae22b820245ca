// SPDX-License-Identifier: Apache-2.0
//! The newest bytes of the log in memory, so that a reader at the tail needs no system call. A plain ring: the byte at
//! log position `p` lies at `p % size`.

use parking_lot::RwLock;

#[derive(Debug)]
pub(crate) struct Hot {
    ring: RwLock<Ring>,
}

#[derive(Debug)]
struct Ring {
    bytes: Vec<u8>,
    start: i64,
    end: i64,
}

impl Hot {
    pub(crate) fn new(size: usize) -> Hot {
        Hot {
            ring: RwLock::new(Ring {
                bytes: vec![0; size],
                start: 0,
                end: 0,
            }),
        }
    }

    /// Says where the log ends, before the first bytes come.
    pub(crate) fn start_at(&self, pos: i64) {
        let mut ring = self.ring.write();
        ring.start = pos;
        ring.end = pos;
    }

    /// Adds bytes behind the end. A gap (the unwritten rest of a file) reads as zeros, as in the file.
    pub(crate) fn put(&self, at: i64, bytes: &[u8]) {
        let mut ring = self.ring.write();
        let size = ring.bytes.len();
        if size == 0 {
            return;
        }
        if at > ring.end {
            ring.blank(at);
        }
        let skipped = bytes.len().saturating_sub(size);
        let (at, bytes) = (at + skipped as i64, &bytes[skipped..]);
        let from = (at.unsigned_abs() % size as u64) as usize;
        let (first, second) = bytes.split_at(bytes.len().min(size - from));
        ring.bytes[from..from + first.len()].copy_from_slice(first);
        ring.bytes[..second.len()].copy_from_slice(second);
        ring.end = at + bytes.len() as i64;
        ring.start = ring.start.max(ring.end - size as i64);
    }

    /// Fills `buf` from position `at`; `false` when the range is not all here.
    pub(crate) fn read(&self, at: i64, buf: &mut [u8]) -> bool {
        let ring = self.ring.read();
        if ring.bytes.is_empty() || at < ring.start || at + buf.len() as i64 > ring.end {
            return false;
        }
        let size = ring.bytes.len();
        let from = (at.unsigned_abs() % size as u64) as usize;
        let first = buf.len().min(size - from);
        let (head, rest) = buf.split_at_mut(first);
        head.copy_from_slice(&ring.bytes[from..from + first]);
        rest.copy_from_slice(&ring.bytes[..rest.len()]);
        true
    }
}

impl Ring {
    /// Zeros from the end to a position behind it.
    fn blank(&mut self, to: i64) {
        let size = self.bytes.len();
        let count = size.min(usize::try_from(to - self.end).unwrap_or(usize::MAX));
        let from = ((to - count as i64).unsigned_abs() % size as u64) as usize;
        let first = count.min(size - from);
        self.bytes[from..from + first].fill(0);
        self.bytes[..count - first].fill(0);
        self.end = to;
        self.start = self.start.max(to - size as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_bytes_are_there_and_older_ones_are_not() {
        let hot = Hot::new(10);
        hot.start_at(100);
        let mut buf = [0; 4];
        assert!(!hot.read(100, &mut buf));
        hot.put(100, b"abcdefgh");
        hot.put(108, b"ijkl");
        assert!(!hot.read(101, &mut buf));
        assert!(hot.read(102, &mut buf));
        assert_eq!(&buf, b"cdef");
        assert!(hot.read(108, &mut buf));
        assert_eq!(&buf, b"ijkl");
        assert!(!hot.read(109, &mut buf));
        hot.put(200, b"0123456789ABCDEF");
        assert!(!hot.read(200, &mut buf));
        assert!(hot.read(212, &mut buf));
        assert_eq!(&buf, b"CDEF");
    }
}
