// SPDX-License-Identifier: Apache-2.0
//! Looking at what is made of the log: key index, checkpoint, timers.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use wire::record::{RecordHead, sysflag};

use super::repair::FILLER_TOPIC;
use super::view::View;
use super::{Finding, Mend};
use crate::checkpoint;
use crate::disk::Entry;
use crate::index::file::{EntryWalk, Shape, Walked, faults_of};
use crate::index::parse_name;
use crate::tail::Hashes;
use crate::timer::faults_of_log;

/// Faults of one file that are told one by one.
const TOLD_MAX: usize = 20;

/// Compares the entries of the key index with the records of the log, which come in the same order.
pub(super) struct KeyCheck {
    walks: VecDeque<(PathBuf, EntryWalk)>,
    /// The entry that comes next.
    next: Option<Walked>,
    faults: Vec<Finding>,
    dir: PathBuf,
    /// Whether an entry came already.
    is_begun: bool,
    /// Messages since the last entry that have none.
    missing: u64,
    /// From where to where the last message lies.
    last: (i64, i64),
}

impl KeyCheck {
    pub(super) fn new(view: &View) -> io::Result<KeyCheck> {
        let (names, shape) = index_files(view)?;
        let mut check = KeyCheck {
            walks: VecDeque::new(),
            next: None,
            faults: Vec::new(),
            dir: view.config.root.join("index"),
            is_begun: false,
            missing: 0,
            last: (0, 0),
        };
        for entry in names.into_iter().filter(|entry| entry.len == shape.file_bytes()) {
            let path = view.config.root.join("index").join(&entry.name);
            let walk = EntryWalk::new(view.disk.open(&path)?, shape)?;
            check.walks.push_back((path, walk));
        }
        check.advance()?;
        Ok(check)
    }

    fn advance(&mut self) -> io::Result<()> {
        while let Some((_, walk)) = self.walks.front_mut() {
            self.next = walk.next()?;
            if self.next.is_some() {
                return Ok(());
            }
            self.walks.pop_front();
        }
        self.next = None;
        Ok(())
    }

    /// The next record of the log, with the hashes of its keys.
    pub(super) fn record(&mut self, pos: i64, head: &RecordHead<'_>, hashes: &Hashes) -> io::Result<()> {
        let mut has_one = false;
        let stored_at = head.stamp.stored_at;
        while let Some(entry) = self.next.filter(|entry| entry.pos <= pos) {
            let seconds = self
                .walks
                .front()
                .map_or(0, |(_, walk)| walk.seconds_of(stored_at));
            if entry.pos == pos {
                has_one = true;
                if !hashes.iter().any(|one| one == entry.hash) {
                    self.tell(entry.at, "an entry is of no key of its message");
                } else if entry.seconds != seconds {
                    self.tell(entry.at, "an entry has another time than its message");
                }
            } else if self.last.0 < entry.pos && entry.pos < self.last.1 {
                // Between messages something may have been that is damaged.
                self.tell(entry.at, "an entry points into a message");
            }
            self.advance()?;
        }
        let is_filled = head.parts.topic == FILLER_TOPIC && head.parts.sys_flag == sysflag::ROLLBACK;
        self.last = if is_filled {
            (pos, pos)
        } else {
            (pos, pos + head.total_size as i64)
        };
        if has_one {
            // Only what lies between entries is missing: an index may begin late and end early.
            if self.is_begun && self.missing > 0 && self.faults.len() < TOLD_MAX {
                let what = format!(
                    "lacks the keys of {} messages in front of position {pos}",
                    self.missing
                );
                self.faults.push(of_index(self.dir.clone(), None, what));
            }
            (self.is_begun, self.missing) = (true, 0);
        } else if hashes.count() > 0 {
            self.missing += 1;
        }
        Ok(())
    }

    fn tell(&mut self, at: u64, what: &str) {
        if self.faults.len() < TOLD_MAX {
            let path = self
                .walks
                .front()
                .map(|(path, _)| path.clone())
                .unwrap_or_default();
            self.faults.push(of_index(path, Some(at), what.to_owned()));
        }
    }

    pub(super) fn faults(self) -> Vec<Finding> {
        self.faults
    }
}

/// The files of the key index, oldest first, and how large each should be.
fn index_files(view: &View) -> io::Result<(Vec<Entry>, Shape)> {
    let shape = Shape {
        slots: view.config.index_slots,
        entries: view.config.index_entries,
    };
    let mut names = match view.config.index_enabled {
        true => view.disk.list(&view.config.root.join("index"))?,
        false => Vec::new(),
    };
    names.retain(|entry| parse_name(&entry.name).is_some() && !entry.is_dir && entry.len > 0);
    names.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok((names, shape))
}

pub(super) fn check_index(view: &mut View) -> io::Result<()> {
    let dir = view.config.root.join("index");
    let (names, shape) = index_files(view)?;
    let newest = names.last().map(|entry| entry.name.clone());
    for entry in names {
        let file = dir.join(&entry.name);
        if entry.len != shape.file_bytes() {
            let what = format!(
                "has {} bytes, by its settings it has {}",
                entry.len,
                shape.file_bytes()
            );
            view.findings.push(of_index(file, None, what));
            continue;
        }
        // After a kill its header and its slots are older than its entries, and the next start makes them anew.
        if view.is_abnormal && newest.as_ref() == Some(&entry.name) {
            continue;
        }
        let (entries, faults) = faults_of(&*view.disk.open(&file)?, shape)?;
        view.totals.index_entries += u64::from(entries);
        let found = faults.len();
        for (at, what) in faults.into_iter().take(TOLD_MAX) {
            view.findings.push(of_index(file.clone(), Some(at), what));
        }
        if found > TOLD_MAX {
            let what = format!("{} more faults", found - TOLD_MAX);
            view.findings.push(of_index(file, None, what));
        }
    }
    Ok(())
}

fn of_index(file: PathBuf, at: Option<u64>, what: String) -> Finding {
    Finding {
        kind: "key index",
        file,
        at,
        what,
        lost: "nothing: it is derived; until then some messages are not found by their keys".to_owned(),
        mend: Mend::Repair,
    }
}

pub(super) fn check_checkpoint(view: &mut View) -> io::Result<()> {
    let path = view.config.root.join("checkpoint");
    let bytes = view.disk.load(&path)?;
    let what = match &bytes {
        None if view.log.is_empty() => return Ok(()),
        None => "is missing",
        Some(bytes) if checkpoint::is_damaged(bytes) => "is damaged",
        Some(_) => return Ok(()),
    };
    view.findings.push(Finding {
        kind: "checkpoint",
        file: path,
        at: None,
        what: what.to_owned(),
        lost: "nothing: the next start reads all of the log".to_owned(),
        mend: if bytes.is_some() {
            Mend::Repair
        } else {
            Mend::Start
        },
    });
    Ok(())
}

pub(super) fn check_timers(view: &mut View) -> io::Result<()> {
    let root = view.config.root.clone();
    let mut tell = |file: PathBuf, at, what: String, lost: &str, mend| {
        view.findings.push(Finding {
            kind: "timers",
            file,
            at,
            what,
            lost: lost.to_owned(),
            mend,
        });
    };
    let wheel = root.join("timerwheel");
    if let Some(found) = view.disk.entry(&wheel)?
        && !found.len.is_multiple_of(64)
    {
        let what = format!("has {} bytes, which is no number of slots", found.len);
        tell(
            wheel,
            None,
            what,
            "nothing: it is made anew of the timer log",
            Mend::Repair,
        );
    }
    let mark = root.join("config/timercheck");
    let (entries, faults) = faults_of_log(&*view.disk, &root.join("timerlog"), &mark)?;
    view.totals.timers = entries;
    for (file, at, what) in faults {
        let (lost, mend) = match at {
            Some(_) => (
                "nothing: its message is looked for in the timer topic",
                Mend::Start,
            ),
            None => (
                "nothing: the timer log is made anew of the timer topic",
                Mend::Repair,
            ),
        };
        tell(file, at, what, lost, mend);
    }
    Ok(())
}
