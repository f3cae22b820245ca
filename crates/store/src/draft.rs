// SPDX-License-Identifier: Apache-2.0
//! What goes into an append and what comes out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::queue::Queue;

/// A position in the log, in bytes from its very first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPos(pub i64);

impl fmt::Display for LogPos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message to append. Topic and queue number are those of `queue`.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// Where it goes.
    pub queue: &'a Arc<Queue>,
    /// The user's flag.
    pub flag: i32,
    /// System flag, see [`wire::record::sysflag`].
    pub sys_flag: i32,
    /// Client's time, ms.
    pub born_at: i64,
    /// Client's address.
    pub born_host: SocketAddr,
    /// Broker's address, as clients reach it.
    pub store_host: SocketAddr,
    /// How often it was sent back.
    pub reconsume_times: i32,
    /// Position of the half message, 0 when there is none.
    pub prepared_pos: i64,
    /// Body, stored as it is.
    pub body: &'a [u8],
    /// Properties string, stored as it is.
    pub properties: &'a [u8],
    /// Whether somebody waits for the disk (property WAIT). Nobody does: a sync flush may linger a little.
    pub wait: bool,
}

/// Where an append stands; passes when the log has got that far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// End of what was appended.
    pub end: LogPos,
    /// Which life of the log's tail the position belongs to: a failed write starts a new one.
    pub generation: u32,
}

/// How far the log has to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Written to the file: survives the process.
    Written,
    /// Synced: survives the machine.
    Durable,
}

/// What a gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateState {
    /// Done.
    Passed,
    /// Not yet.
    Waiting,
    /// Never: the write failed, the message is not in the log.
    Failed,
}

/// An append that was accepted; it is done when its gate has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Position of the record.
    pub pos: LogPos,
    /// Size of the record.
    pub size: usize,
    /// Offset in the queue; 0 for records that enter none (half messages, rollbacks).
    pub queue_offset: i64,
    /// Store time, ms.
    pub stored_at: i64,
    /// When it is done. Equal for all of a batch.
    pub gate: Gate,
}

/// Why an append is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The record, or the batch, is too large for a log file.
    #[error("{bytes} bytes of records are more than {max}")]
    RecordTooLarge {
        /// Size of the record or batch.
        bytes: usize,
        /// Largest allowed.
        max: usize,
    },
    /// The properties are too long.
    #[error("properties of {bytes} bytes are longer than {max}")]
    PropertiesTooLarge {
        /// Length of the properties.
        bytes: usize,
        /// Longest allowed.
        max: usize,
    },
    /// The topic cannot be a directory name, or is longer than 255 bytes.
    #[error("illegal topic")]
    Topic,
    /// It says that it holds several messages, and does not go to a batch queue or is not alone.
    #[error("an inner batch goes to a batch queue, and alone")]
    InnerBatch,
    /// There is nothing in the batch.
    #[error("empty batch")]
    Empty,
    /// The disk does not keep up.
    #[error("busy: {pending_bytes} bytes wait for the disk")]
    Busy {
        /// Bytes appended and not written.
        pending_bytes: usize,
    },
    /// The disk is fuller than the warning level, or took no more.
    #[error("the disk is full: {missing_bytes} bytes more have to be free; make room")]
    DiskFull {
        /// How much room is missing.
        missing_bytes: u64,
    },
    /// The topic was deleted; ask for the queue again.
    #[error("topic was deleted")]
    Deleted,
    /// The log is the copy of another one.
    #[error("the log follows another one")]
    Follows,
    /// The store is closed, or closes.
    #[error("store is closed")]
    Closed,
    /// The write or the sync failed; the message is not in the log.
    #[error("write failed")]
    Failed,
}
