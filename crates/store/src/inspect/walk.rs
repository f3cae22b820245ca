// SPDX-License-Identifier: Apache-2.0
//! Going over the log of an open store from record to record, damage and missing files included.

use std::io;

use wire::record::RecordHead;

use super::view::View;
use crate::log::{Log, ReadMode};
use crate::read::SIZE_TO_CHECK;
use crate::record::lengths_add_up;
use crate::scan::{Behind, Scanner, Verify};

/// A stretch of the log that cannot be read although the log went on behind it.
#[derive(Debug, Clone, Default)]
pub(super) struct Damage {
    pub(super) from: i64,
    pub(super) to: i64,
    /// What is wrong there.
    pub(super) what: String,
    /// Messages that were in it, as far as their queues or they themselves tell.
    pub(super) lost: Vec<String>,
    /// Store time of the record in front.
    pub(super) stored_at: i64,
}

/// How the log ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogEnd {
    pub(super) end: i64,
    /// Something that is no record lies behind.
    pub(super) is_dirty: bool,
}

/// Shows every sound record; what is damaged comes back. The log ends behind the last record, or where it is known to have reached.
pub(super) fn walk(
    view: &View,
    mut see: impl FnMut(i64, &RecordHead<'_>) -> io::Result<()>,
) -> io::Result<(LogEnd, Vec<Damage>)> {
    let mut damage = Vec::new();
    let mut end = LogEnd {
        end: 0,
        is_dirty: false,
    };
    let mut stored_at = 0;
    for (nth, log) in view.log.iter().enumerate() {
        if nth > 0 {
            let what = "the files are missing".to_owned();
            damage.push(stretch((end.end, log.min()), what, stored_at));
        }
        let verify = if view.config.demand_seals {
            Verify::Seal
        } else {
            Verify::Body
        };
        let mut scanner = Scanner::new(log, verify, log.min()).reaching(i64::MAX);
        loop {
            if let Some((pos, head)) = scanner.next()? {
                stored_at = head.stamp.stored_at;
                see(pos, &head)?;
                continue;
            }
            let is_dirty = scanner.behind == Behind::Garbage;
            let Some((from, to)) = scanner.pass_over()? else {
                end = LogEnd {
                    end: scanner.pos,
                    is_dirty,
                };
                break;
            };
            damage.push(stretch((from, to), why(log, from), stored_at));
        }
        if nth + 1 < view.log.len() && end.end < log.capacity_end() {
            let (from, to) = (end.end, log.capacity_end());
            damage.push(stretch((from, to), why(log, from), stored_at));
            end.end = to;
        }
    }
    if let Some(reached) = view.reached.filter(|reached| *reached > end.end) {
        let what = match view.part_at(end.end) {
            Some(log) => why(log, end.end),
            None => "the files are missing".to_owned(),
        };
        damage.push(stretch((end.end, reached), what, stored_at));
        end.end = reached;
    }
    Ok((end, damage))
}

fn stretch((from, to): (i64, i64), what: String, stored_at: i64) -> Damage {
    Damage {
        from,
        to,
        what,
        stored_at,
        lost: Vec::new(),
    }
}

/// Why no sound record lies at a position.
fn why(log: &Log, pos: i64) -> String {
    let left = (log.base_of(pos) + log.segment_bytes() - pos) as usize;
    let mut front = [0; 4];
    if left < front.len() || log.read(pos, &mut front, ReadMode::Blocking).is_err() {
        return "no record".to_owned();
    }
    let size = usize::try_from(i32::from_be_bytes(front)).unwrap_or_default();
    let is_there = size <= left && lengths_add_up(log, pos, size, ReadMode::Blocking).unwrap_or(false);
    if size > SIZE_TO_CHECK && !is_there {
        return format!("no record: its parts do not have the {size} bytes that it says");
    }
    let mut record = vec![0; size.min(left)];
    if log.read(pos, &mut record, ReadMode::Blocking).is_err() {
        return "no record".to_owned();
    }
    match RecordHead::scan(&record) {
        Err(error) => format!("no record: {error}"),
        Ok(head) => {
            let parts = &head.parts;
            let place = format!(
                "{}/{} offset {}",
                parts.topic, parts.queue_id, head.stamp.queue_offset
            );
            match head.check_body() {
                Err(error) => format!("{place}: {error}"),
                Ok(()) if head.stamp.physical_offset != pos => {
                    format!("{place}: says that it lies at {}", head.stamp.physical_offset)
                }
                Ok(()) => format!("{place}: the record is not as it was written"),
            }
        }
    }
}
