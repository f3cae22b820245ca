// SPDX-License-Identifier: Apache-2.0
//! Disks that give back other bytes than they took.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use store::disk::Disk;
use wire::record::RecordHead;

use super::{Play, attempt_of};
use crate::history::{Moment, Rot};
use crate::world::{START_MS, now_ms};

impl Play {
    /// Some bits on a disk are other ones than were written: of messages in the log, or of what is derived from it.
    pub(super) fn rot(&mut self, broker: usize) {
        let disk = Arc::clone(&self.world.nodes[broker].disk);
        let is_log = self.below(2) == 0;
        let paths = if is_log {
            files_of(&*disk, &["commitlog"])
        } else {
            files_of(&*disk, &["consumequeue", "barque-queues", "index"])
        };
        let Some(path) = paths.get(self.below(1 + paths.len() as u64) as usize) else {
            return;
        };
        let Ok(file) = disk.open(path) else {
            return;
        };
        let mut bytes = vec![0; file.len().unwrap_or(0) as usize];
        if file.read_exact_at(&mut bytes, 0).is_err() {
            return;
        }
        let places = if is_log {
            checked_parts(&bytes, self.plan.is_sealed)
        } else {
            let end = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            // An entry of the delay topic ends with when its message is due, and nothing else vouches for that.
            let has_due = path.starts_with("/store/consumequeue/SCHEDULE_TOPIC_XXXX")
                || path.starts_with("/store/barque-queues");
            let len = if has_due { 12 } else { 20 };
            (0..end / 20).map(|unit| unit * 20..unit * 20 + len).collect()
        };
        let mut rot = Rot::default();
        let mut moment = Moment {
            at_ms: now_ms(),
            from_ms: u64::MAX,
        };
        for _ in 0..8 {
            let Some(place) = places.get(self.below(1 + places.len() as u64) as usize) else {
                continue;
            };
            let at = place.start as u64 + self.below(place.len().max(1) as u64);
            let Some(byte) = bytes.get(at as usize) else {
                continue;
            };
            if is_log {
                let stored_ms = note(&bytes, at as usize, &mut rot);
                moment.from_ms = moment.from_ms.min(stored_ms.unwrap_or(u64::MAX));
            }
            // A halted or full disk takes no damage either.
            let _undamaged = file.write_at(&[byte ^ (1 << self.below(8))], at);
        }
        let _lost_with_the_power = file.sync();
        let owner = self.world.nodes[broker].name.clone();
        self.say(format!(
            "{owner}: bits change in {}: {:?}",
            path.display(),
            rot.places
        ));
        // What is derived costs no message.
        if rot.places.is_empty() {
            return;
        }
        let mut history = self.shared.history.lock();
        let all = history.rotted.entry(owner).or_default();
        all.attempts.append(&mut rot.attempts);
        all.places.append(&mut rot.places);
        all.end_ms = rot.end_ms.or(all.end_ms);
        all.moments.push(moment);
    }
}

/// All files below some directories of a store, in order.
pub(super) fn files_of(disk: &dyn Disk, dirs: &[&str]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for dir in dirs {
        files_below(disk, &Path::new("/store").join(dir), &mut paths);
    }
    paths
}

fn files_below(disk: &dyn Disk, dir: &Path, paths: &mut Vec<PathBuf>) {
    let mut found: Vec<(bool, PathBuf)> = disk
        .list(dir)
        .unwrap_or_default()
        .into_iter()
        .map(|entry| (entry.is_dir, dir.join(entry.name)))
        .collect();
    found.sort();
    for (is_dir, path) in found {
        if is_dir {
            files_below(disk, &path, paths);
        } else {
            paths.push(path);
        }
    }
}

/// Which message of a file of the log it is that has a byte at this place, and when it was stored.
fn note(log: &[u8], place: usize, rot: &mut Rot) -> Option<u64> {
    let mut at = 0;
    while let Some(Ok(head)) = log.get(at..).map(RecordHead::scan) {
        if place < at + head.total_size {
            rot.attempts.extend(attempt_of(head.parts.body));
            let queue = head.parts.queue_id.cast_signed();
            let stored_ms = head.stamp.stored_at.cast_unsigned().saturating_sub(START_MS);
            rot.places
                .insert((head.parts.topic.to_owned(), queue, head.stamp.queue_offset));
            if head.parts.topic == "RMQ_SYS_TRANS_OP_HALF_TOPIC" {
                rot.end_ms = Some(now_ms());
            }
            return Some(stored_ms);
        }
        at += head.total_size;
    }
    None
}

/// The parts of each message in a file of the log that a reader checks: all of it if it is sealed, else what is in front of the
/// topic without queue, flags and times.
fn checked_parts(log: &[u8], is_sealed: bool) -> Vec<Range<usize>> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while let Some(Ok(head)) = log.get(at..).map(RecordHead::scan) {
        if is_sealed {
            parts.push(at..at + head.total_size);
        } else {
            let body = at + 84..at + 88 + head.parts.body.len();
            parts.extend([at..at + 12, at + 20..at + 36, body.clone(), body]);
        }
        at += head.total_size;
    }
    parts
}
