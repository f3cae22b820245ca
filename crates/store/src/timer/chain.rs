// SPDX-License-Identifier: Apache-2.0
//! The entries of one tick, oldest first, although the log chains them newest first.
//!
//! One walk back notes where every thousandth entry lies, and which take others back; then the pieces between two notes
//! are read again from the oldest on. A tick of a million messages so takes some kilobytes.

use std::collections::VecDeque;
use std::io;

use super::log::{TimerEntry, TimerLog};

/// Entries between two notes.
const PIECE: usize = 1024;

/// A tick that is firing.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) tick_ms: i64,
    /// Where the pieces that are still to be read begin on the way back; the oldest one is the last.
    starts: Vec<i64>,
    /// The piece being worked on.
    piece: VecDeque<TimerEntry>,
    /// Entries that take others back.
    pub(crate) deletes: Vec<TimerEntry>,
}

impl Chain {
    /// Walks back from the newest entry.
    pub(crate) fn open(log: &mut TimerLog, tick_ms: i64, last: i64) -> io::Result<Chain> {
        let mut chain = Chain {
            tick_ms,
            starts: Vec::new(),
            piece: VecDeque::new(),
            deletes: Vec::new(),
        };
        let (mut at, mut seen) = (last, 0);
        while let Some(entry) = log.entry_at(at)? {
            if seen % PIECE == 0 {
                chain.starts.push(at);
            }
            if entry.is_delete() {
                chain.deletes.push(entry);
            }
            seen += 1;
            at = entry.prev;
        }
        if at >= 0 {
            tracing::error!(tick_ms, at, seen, "the timer log lacks an entry");
        }
        Ok(chain)
    }

    /// The next entries, at most `max`; none when all are done. They stay until [`Chain::done`].
    pub(crate) fn next(&mut self, log: &mut TimerLog, max: usize) -> io::Result<Vec<TimerEntry>> {
        while self.piece.is_empty() {
            let Some(start) = self.starts.last().copied() else {
                return Ok(Vec::new());
            };
            let mut at = start;
            for _ in 0..PIECE {
                let Some(entry) = log.entry_at(at)? else { break };
                self.piece.push_front(entry);
                at = entry.prev;
            }
            self.starts.pop();
        }
        Ok(self.piece.iter().take(max).copied().collect())
    }

    /// Lets go of entries that have been dealt with.
    pub(crate) fn done(&mut self, count: usize) {
        self.piece.drain(..count.min(self.piece.len()));
    }

    pub(crate) fn is_over(&self) -> bool {
        self.piece.is_empty() && self.starts.is_empty()
    }
}
