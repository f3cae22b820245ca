// SPDX-License-Identifier: Apache-2.0
//! The log as bytes, for those who follow it, and how far it has to be with them before readers see it.

use std::io;
use std::sync::atomic::{Ordering, fence};

use bytes::Bytes;

use crate::config::FlushMode;
use crate::draft::LogPos;
use crate::log::ReadMode;
use crate::queue::Queue;
use crate::store::Store;

/// Why the log cannot be read from a position on.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// It is removed already.
    #[error("position {from} is gone: the log begins at {min}")]
    Gone {
        /// Asked for.
        from: i64,
        /// Where the log begins.
        min: i64,
    },
    /// The log does not reach that far.
    #[error("position {from} is ahead: the log ends at {end}")]
    Ahead {
        /// Asked for.
        from: i64,
        /// Where the log ends.
        end: i64,
    },
    /// The bytes are not in memory, and the caller did not want to wait for the disk.
    #[error("not in memory")]
    NotCached,
    /// The disk failed.
    #[error("log: {0}")]
    Io(#[source] io::Error),
}

impl Store {
    /// Behind every position.
    pub const UNHINDERED: LogPos = LogPos(i64::MAX);

    /// Bytes of the log from a position on: what is written of one file, at most `max`; empty at the end of the log. With
    /// `may_wait` it waits for the disk.
    pub fn log_bytes(&self, from: LogPos, max: usize, may_wait: bool) -> Result<Bytes, TransferError> {
        let (from, min, end) = (from.0, self.log.min(), self.log.written.load(Ordering::Acquire));
        if from > end {
            return Err(TransferError::Ahead { from, end });
        }
        if from == end {
            return Ok(Bytes::new());
        }
        if from < min {
            return Err(TransferError::Gone { from, min });
        }
        let border = self.log.base_of(from).saturating_add(self.log.segment_bytes());
        let len = usize::try_from(end.min(border) - from)
            .unwrap_or(usize::MAX)
            .min(max);
        let mut bytes = vec![0; len];
        let mode = if may_wait {
            ReadMode::Blocking
        } else {
            ReadMode::Cached
        };
        match self.log.read(from, &mut bytes, mode) {
            Ok(_) => Ok(Bytes::from(bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(TransferError::NotCached),
            Err(_) if from < self.log.min() => Err(TransferError::Gone {
                from,
                min: self.log.min(),
            }),
            Err(error) => Err(TransferError::Io(error)),
        }
    }

    /// Start of the file in which the log ends: where the reference begins for a slave that has nothing.
    pub fn last_file(&self) -> LogPos {
        LogPos(self.log.base_of(self.log.written.load(Ordering::Acquire)))
    }

    /// Whether the newest message of a queue may lie at or behind a position. Waits for the disk.
    pub fn may_end_behind(&self, queue: &Queue, pos: LogPos) -> bool {
        let last = queue.max() - 1;
        if last < queue.min() {
            return false;
        }
        if queue.is_batch() {
            return true;
        }
        let unit = self.units(queue, last, 1, ReadMode::Blocking);
        unit.map_or(true, |units| {
            units
                .first()
                .is_none_or(|unit| !unit.is_written() || unit.is_blank() || unit.pos >= pos.0)
        })
    }

    /// Up to where readers see the log; see [`Store::show`].
    pub fn visible(&self) -> LogPos {
        LogPos(self.visible.load(Ordering::Acquire))
    }

    /// Lets readers see what is below a position; the rest stays hidden until that moves. A store begins with
    /// [`Store::UNHINDERED`]. Whoever waits for progress looks again.
    pub fn show(&self, below: LogPos) {
        let before = self.visible.swap(below.0, Ordering::AcqRel);
        if below.0 > before {
            fence(Ordering::SeqCst);
            let local = match self.config.flush {
                FlushMode::Async => &self.log.written,
                FlushMode::Sync => &self.log.durable,
            };
            self.publish(local.load(Ordering::Acquire));
        }
        self.notify_all();
    }
}
