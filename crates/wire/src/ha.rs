// SPDX-License-Identifier: Apache-2.0
//! What master and slave say on the replication port, in the classic protocol of the reference
//! (`DefaultHAConnection`, `DefaultHAClient`). All numbers are big-endian.
//!
//! ```text
//! slave to master   maxOffset 8                                  on connecting, after new bytes, and every 5 s
//! master to slave   offset 8 | size 4 | size bytes of the log    size 0 every 5 s when there is nothing else
//! ```
//!
//! The bytes are the log as it is: cut anywhere, not at records, but never across the border of two files.

/// Bytes of a slave's report.
pub const REPORT_BYTES: usize = 8;
/// Bytes in front of the log bytes of a transfer.
pub const TRANSFER_HEAD_BYTES: usize = 12;
/// A slave of the reference reads into a buffer of 4 MiB, which must hold a whole transfer.
pub const TRANSFER_BODY_MAX: usize = (4 << 20) - TRANSFER_HEAD_BYTES;

/// What stands in front of log bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferHead {
    /// Position of the first byte; in an empty transfer, of the next one to come.
    pub at: i64,
    /// How many bytes follow.
    pub len: usize,
}

/// What stands there is no head: the other side speaks something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// No log has such a position.
    #[error("transfer from position {0}")]
    Position(i64),
    /// More than may come at once.
    #[error("transfer of {0} bytes: at most {TRANSFER_BODY_MAX} may come at once")]
    Length(i32),
}

impl TransferHead {
    /// The bytes of it. Whoever sends keeps `len` below [`TRANSFER_BODY_MAX`].
    pub fn encode(&self) -> [u8; TRANSFER_HEAD_BYTES] {
        let mut bytes = [0; TRANSFER_HEAD_BYTES];
        let (at, len) = bytes.split_at_mut(8);
        at.copy_from_slice(&self.at.to_be_bytes());
        len.copy_from_slice(&u32::try_from(self.len).unwrap_or(u32::MAX).to_be_bytes());
        bytes
    }

    /// Reads it.
    pub fn decode(bytes: [u8; TRANSFER_HEAD_BYTES]) -> Result<TransferHead, TransferError> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        let at = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let said = i32::from_be_bytes([i, j, k, l]);
        if at < 0 {
            return Err(TransferError::Position(at));
        }
        match usize::try_from(said) {
            Ok(len) if len <= TRANSFER_BODY_MAX => Ok(TransferHead { at, len }),
            _ => Err(TransferError::Length(said)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_an_offset_and_a_size() {
        let head = TransferHead {
            at: 0x0102_0304_0506_0708,
            len: 0x7FF1,
        };
        let bytes = head.encode();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x7F, 0xF1]);
        assert_eq!(TransferHead::decode(bytes), Ok(head));
    }

    #[test]
    fn what_no_master_says_is_refused() {
        let of = |at: i64, len: i32| {
            let bytes = [&at.to_be_bytes()[..], &len.to_be_bytes()].concat();
            TransferHead::decode(bytes.try_into().unwrap())
        };
        assert_eq!(of(-1, 0), Err(TransferError::Position(-1)));
        assert_eq!(of(0, -1), Err(TransferError::Length(-1)));
        assert_eq!(of(0, 4 << 20), Err(TransferError::Length(4 << 20)));
    }
}
