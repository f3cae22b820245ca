// SPDX-License-Identifier: Apache-2.0
//! Looking at a store that nobody runs: whether it is whole ([`check`]), what mends it ([`repair()`]), what is in it ([`dump()`]).
//! Works on stores of the reference too, and on both layouts of consume queues.
//!
//! A check goes over all of the log once, compares each record with its entry in its queue, then looks at what else there is
//! entry by entry. It changes nothing: its disk is a frozen one. What is wrong is a [`Finding`], which names the file, the place
//! in it, what is lost and what mends it.

mod derived;
mod dump;
mod queues;
mod repair;
mod tables;
mod view;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use dump::{DumpFilter, DumpedQueue, DumpedRecord, dump, dump_queues};
pub use repair::{Action, Repaired, repair};
pub use view::measured;

use crate::config::StoreConfig;
use crate::disk::Disk;
use crate::disk::frozen::FrozenDisk;
use crate::env::Env;
use crate::{reached, runs};
use view::View;

/// What mends something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// The next start of a broker, by itself.
    Start,
    /// [`repair()`].
    Repair,
    /// Only the file from a copy, or somebody who knows.
    Copy,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of file.
    pub kind: &'static str,
    /// The file, or a directory.
    pub file: PathBuf,
    /// Where in the file.
    pub at: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What is lost by it.
    pub lost: String,
    /// What mends it.
    pub mend: Mend,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sound records in the log.
    pub records: u64,
    /// Bytes of the log up to its end.
    pub log_bytes: u64,
    /// Queues.
    pub queues: u64,
    /// Their entries.
    pub entries: u64,
    /// Entries of the key index.
    pub index_entries: u64,
    /// Entries of the timer log.
    pub timers: u64,
    /// Tables and journals.
    pub tables: u64,
}

/// What a check has found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What is wrong, in the order of the files.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub totals: Totals,
    /// Where the log begins and ends.
    pub log: (i64, i64),
    /// Whether the last broker was killed: what is missing behind the last checkpoint is no finding then.
    pub is_abnormal: bool,
}

impl Report {
    /// Whether there is something that [`repair()`] mends.
    pub fn is_mendable(&self) -> bool {
        self.findings.iter().any(|finding| finding.mend == Mend::Repair)
    }
}

/// Why a store cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A broker has it.
    #[error("a broker runs on {0}: stop it first")]
    Running(PathBuf),
    /// The sizes of its files are not known.
    #[error(
        "{file} is the only file of the log and has {len} bytes, but the log reached {reached}: it was cut, or others are missing, \
         and only mappedFileSizeCommitLog tells which; name the configuration of the broker with -c"
    )]
    Size {
        /// The file.
        file: PathBuf,
        /// Its length.
        len: u64,
        /// The position that the log is known to have reached.
        reached: i64,
    },
    /// There is no store.
    #[error(
        "{0} is not the directory of a store: there is neither commitlog nor checkpoint nor queues in it"
    )]
    NoStore(PathBuf),
    /// The disk failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

fn tried<T>(what: &'static str, done: io::Result<T>) -> Result<T, InspectError> {
    done.map_err(|source| InspectError::Io { what, source })
}

/// Looks at everything. Writes nothing.
pub fn check(config: &StoreConfig, env: &Env) -> Result<Report, InspectError> {
    let disk = frozen(config, env)?;
    Ok(examine(config, &disk)?.report)
}

/// The disk for whoever only looks, if nobody runs there.
fn frozen(config: &StoreConfig, env: &Env) -> Result<Arc<dyn Disk>, InspectError> {
    let disk: Arc<dyn Disk> = Arc::new(FrozenDisk(Arc::clone(&env.disk)));
    let there = |path: &Path| disk.entry(path).map(|found| found.is_some());
    let mut places = config.commit_log_dirs.clone();
    places
        .extend(["checkpoint", "consumequeue", runs::DIR, reached::NAME].map(|name| config.root.join(name)));
    let mut is_there = false;
    for place in places {
        is_there |= tried("look for the store", there(&place))?;
    }
    if !is_there {
        return Err(InspectError::NoStore(config.root.clone()));
    }
    let lock = config.root.join("lock");
    if tried("look at the lock", disk.is_locked(&lock))? {
        return Err(InspectError::Running(config.root.clone()));
    }
    Ok(disk)
}

/// A report, and what a repair needs besides.
struct Examined {
    report: Report,
    damage: Vec<walk::Damage>,
    wrong: Vec<queues::Wrong>,
}

fn examine(config: &StoreConfig, disk: &Arc<dyn Disk>) -> Result<Examined, InspectError> {
    let mut view = tried("look at the files", View::open(config, disk))?;
    let compared = tried("read the log and the queues", queues::compare(&mut view))?;
    tried("look at the key index", derived::check_index(&mut view))?;
    tried("look at the checkpoint", derived::check_checkpoint(&mut view))?;
    tried("look at the timers", derived::check_timers(&mut view))?;
    tried("look at the tables", tables::check(&mut view))?;
    let View {
        findings,
        mut totals,
        is_abnormal,
        ..
    } = view;
    let (begin, end) = compared.log;
    totals.log_bytes = (end - begin).unsigned_abs();
    Ok(Examined {
        report: Report {
            findings,
            totals,
            log: compared.log,
            is_abnormal,
        },
        damage: compared.damage,
        wrong: compared.wrong,
    })
}
