// SPDX-License-Identifier: Apache-2.0
//! The entries of one tick, oldest first, although the log chains them newest first.
//!
//! One walk back notes where every thousandth entry lies, and which take others back; then the pieces between two notes
//! are read again from the oldest on. A tick of a million messages so takes some kilobytes, and 8 bytes for each message
//! that takes another back.

use std::collections::VecDeque;
use std::io;

use super::log::{ENTRY_BYTES, TimerEntry, TimerLog};
use crate::draft::LogPos;

/// Entries between two notes.
const PIECE: usize = 1024;

/// A tick that is firing.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) tick_ms: i64,
    /// Where the pieces that are still to be read begin on the way back; the oldest one is the last.
    starts: Vec<i64>,
    /// The piece being worked on, with where its entries lie.
    piece: VecDeque<(i64, TimerEntry)>,
    /// Messages that take others back.
    pub(crate) deletes: Vec<LogPos>,
    /// Entries that lie before this have been dealt with.
    pub(crate) done_pos: i64,
}

/// What a walk back finds.
pub(crate) enum Opened {
    Chain(Chain),
    /// No sound entry lies at this place, which the entry behind it or the wheel points to.
    Broken(i64),
}

impl Chain {
    /// Walks back from the newest entry.
    pub(crate) fn open(log: &mut TimerLog, tick_ms: i64, last: i64, done_pos: i64) -> io::Result<Opened> {
        let mut chain = Chain {
            tick_ms,
            starts: Vec::new(),
            piece: VecDeque::new(),
            deletes: Vec::new(),
            done_pos,
        };
        let (mut at, mut seen) = (last, 0);
        while at >= 0 {
            let Some(entry) = log.entry_at(at)? else {
                if log.has(at) {
                    return Ok(Opened::Broken(at));
                }
                let path = log.file_of(at);
                tracing::error!(
                    tick_ms,
                    file = %path.display(),
                    count = seen,
                    "a file of the timer log is missing: of this tick only the newest messages fire"
                );
                break;
            };
            if seen % PIECE == 0 && at >= done_pos {
                chain.starts.push(at);
            }
            if entry.is_delete() {
                chain.deletes.push(LogPos(entry.pos));
            }
            seen += 1;
            at = entry.prev;
        }
        Ok(Opened::Chain(chain))
    }

    /// The next entries, at most `max`; none when all are done. They stay until [`Chain::done`].
    pub(crate) fn next(&mut self, log: &mut TimerLog, max: usize) -> io::Result<Vec<TimerEntry>> {
        while self.piece.is_empty() {
            let Some(start) = self.starts.last().copied() else {
                return Ok(Vec::new());
            };
            // A piece counts when all of it was read: what fails is read again from its beginning.
            let mut piece = VecDeque::with_capacity(PIECE);
            let mut at = start;
            while piece.len() < PIECE && at >= self.done_pos {
                let Some(entry) = log.entry_at(at)? else { break };
                piece.push_front((at, entry));
                at = entry.prev;
            }
            self.piece = piece;
            self.starts.pop();
        }
        Ok(self.piece.iter().take(max).map(|(_, entry)| *entry).collect())
    }

    /// Lets go of entries that have been dealt with.
    pub(crate) fn done(&mut self, count: usize) {
        if let Some((at, _)) = self.piece.drain(..count.min(self.piece.len())).next_back() {
            self.done_pos = at + ENTRY_BYTES;
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.piece.is_empty() && self.starts.is_empty()
    }
}
