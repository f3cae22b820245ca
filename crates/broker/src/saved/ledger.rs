// SPDX-License-Identifier: Apache-2.0
//! A table of the reference and the journal beside it. A change costs one short record, however long the table is, and
//! is on disk when it is answered; the file follows at once, but not more often than it costs a tenth of one core.
//!
//! ```text
//! directory <file>.journal beside the file      a store::Journal with these records
//! mark    1 | length 8 | check 4 | number 8      the file of that length and CRC-32 (31 bits) has all changes up to that number
//! change  2 | number 8 | JSON
//! ```
//!
//! Changes are absolute and numbered. A start applies those behind the number that the mark of its file has. A file without a
//! mark is from somewhere else (a Java broker has written it since, or somebody has put it there), and the journal counts for
//! nothing, which is told. After an end in order the file has everything. Where the file is missing or damaged, all that the
//! journal has is applied to its backup, or to nothing: it is newer than either.
//!
//! A new file of the journal is begun once for each file of the table that gets there, not for each try: what is begun holds
//! every change behind the number at which it was, so also those behind any later one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{Env, Journal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wire::fastjson;
use wire::record::crc31;

use super::{LoadError, Loaded, SaveError, load_with_bytes, save_bytes};

const MARK: u8 = 1;
const CHANGE: u8 = 2;
/// A change that is longer is not written as a record: the file is.
const RECORD_BYTES_MAX: usize = 8 << 20;
/// A file is not written again before so many times as long as it took.
const REST: u32 = 10;
const REST_MAX: Duration = Duration::from_secs(5);
/// After a failure, and twice as long after each further one, up to the second.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A table file and its journal, open for changes.
pub(crate) struct Ledger {
    env: Env,
    path: PathBuf,
    dir: PathBuf,
    /// Opened with the first change, so that a start that is refused later leaves everything as it was.
    journal: OnceLock<Journal>,
    state: Mutex<State>,
    /// Held while the file is written.
    saving: Mutex<()>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Of the last change.
    number: u64,
    /// Of the last change that is in the file.
    saved: u64,
    /// Something is missing in the journal: the next change is made by writing the file.
    is_broken: bool,
    /// The mark that the file has to get before the first change, and its number.
    unmarked: Option<((u64, u32), u64)>,
    /// The newest file of the journal was begun for a file of the table that is not there yet.
    is_begun: bool,
}

/// What a start finds.
pub(crate) struct Found<T, C> {
    /// The file.
    pub(crate) table: Option<T>,
    /// What changed since it was written, oldest first.
    pub(crate) changes: Vec<C>,
    /// The file is missing or damaged, and nothing says that it was never there, or that its backup is as new.
    pub(crate) is_lost: bool,
    pub(crate) ledger: Ledger,
}

impl Ledger {
    /// Reads the file and what came after it.
    pub(crate) fn open<T: DeserializeOwned, C: DeserializeOwned>(
        env: &Env,
        path: &Path,
    ) -> Result<Found<T, C>, LoadError> {
        let loaded = load_with_bytes::<T>(env, path)?;
        let mark = loaded.as_ref().map_or((0, 0), |loaded| file_mark(&loaded.bytes));
        let dir = path.with_extension("journal");
        let failed = |source| LoadError::Io {
            path: dir.clone(),
            source,
        };
        let mut reading = Reading::default();
        Journal::read(env, &dir, |payload| reading.record(payload, mark)).map_err(failed)?;
        if let Some((count, error)) = reading.dropped(loaded.as_ref()) {
            warn!(file = %path.display(), count, error, "changes in the journal count for nothing: those that the table lacks are lost");
        }
        let is_file_sound = loaded.as_ref().is_some_and(|loaded| !loaded.is_backup);
        let is_lost = !is_file_sound && reading.base.is_none();
        let is_all_that_is_left = is_lost && !reading.changes.is_empty();
        if is_all_that_is_left {
            let count = reading.changes.len();
            warn!(file = %path.display(), count, "a table is damaged or missing; changes in its journal are applied to its backup, those before them may be lost");
            reading.base = Some(0);
        }
        let mut state = State {
            number: reading.last,
            saved: reading.last,
            unmarked: reading.base.is_none().then_some((mark, reading.last)),
            // Nothing is added to the journal before there is a file that it follows on.
            is_broken: is_all_that_is_left,
            ..State::default()
        };
        let mut changes = Vec::new();
        if let Some(base) = reading.base {
            state.saved = base;
            for (number, json) in reading.changes.iter().filter(|(number, _)| *number > base) {
                match fastjson::from_slice(json) {
                    Ok(change) => changes.push(change),
                    Err(error) => {
                        warn!(file = %dir.display(), number, %error, "a change in the journal makes no sense; it and those behind it are lost");
                        state.is_broken = true;
                        break;
                    }
                }
            }
            if !changes.is_empty() {
                info!(path = %path.display(), changes = changes.len(), "changes are taken from the journal");
            }
        }
        let ledger = Ledger {
            env: env.clone(),
            path: path.to_path_buf(),
            dir,
            journal: OnceLock::new(),
            state: Mutex::new(state),
            saving: Mutex::new(()),
            wake: Notify::new(),
        };
        ledger.wake.notify_one();
        Ok(Found {
            table: loaded.map(|loaded| loaded.table),
            changes,
            is_lost,
            ledger,
        })
    }

    /// Makes a change durable; only then may anyone see it. Changes are made one at a time. `file` gives the table with the change
    /// in it, for when the journal does not take it. Waits for the disk.
    pub(crate) fn record(
        &self,
        change: &impl Serialize,
        file: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), SaveError> {
        let json = fastjson::to_vec(change);
        let (number, is_broken) = {
            let mut state = self.state.lock();
            state.number += 1;
            (state.number, state.is_broken)
        };
        if is_broken || json.len() > RECORD_BYTES_MAX {
            return match self.begin()? {
                Some(saving) => saving.finish(&file()),
                None => Ok(()),
            };
        }
        let mut record = Vec::with_capacity(json.len() + 9);
        record.push(CHANGE);
        record.extend_from_slice(&number.to_be_bytes());
        record.extend_from_slice(&json);
        let written = self.journal().and_then(|journal| {
            journal.append(&record)?;
            journal.sync()
        });
        if written.is_err() {
            // The change is not made, though its record may be on disk: the next file has none of it.
            self.state.lock().is_broken = true;
        }
        self.wake.notify_one();
        written.map_err(|source| self.error(source))
    }

    /// Begins to write the file, if it lacks something. Called while no change is under way, and the table that the caller takes
    /// then is what [`Saving::finish`] gets: what is recorded from here on is behind its mark. Waits for the disk.
    pub(crate) fn begin(&self) -> Result<Option<Saving<'_>>, SaveError> {
        let one = self.saving.lock();
        let number = {
            let state = self.state.lock();
            if state.saved == state.number && !state.is_broken {
                return Ok(None);
            }
            state.number
        };
        let journal = self.journal().and_then(|journal| {
            if !self.state.lock().is_begun || journal.has_failed() {
                journal.begin()?;
                self.state.lock().is_begun = true;
            }
            Ok(journal)
        });
        Ok(Some(Saving {
            ledger: self,
            journal: journal.map_err(|source| self.error(source))?,
            number,
            _one: one,
        }))
    }

    /// Whoever calls it is the only one to do so.
    fn journal(&self) -> io::Result<&Journal> {
        let journal = match self.journal.get() {
            Some(journal) => journal,
            None => {
                let journal = Journal::open(self.env.clone(), &self.dir, |_| {})?;
                self.journal.get_or_init(|| journal)
            }
        };
        let unmarked = self.state.lock().unmarked;
        if let Some((mark, number)) = unmarked {
            if journal.has_failed() {
                journal.begin()?;
            }
            append_mark(journal, mark, number)?;
            journal.finish()?;
            self.state.lock().unmarked = None;
        }
        Ok(journal)
    }

    fn error(&self, source: io::Error) -> SaveError {
        SaveError {
            path: self.path.clone(),
            source,
        }
    }

    /// Has the file written soon after each change, until `stop`.
    pub(crate) async fn keep_saving(
        &self,
        save: impl Fn() -> Result<(), SaveError> + Clone + Send + 'static,
        stop: CancellationToken,
    ) {
        let mut pause = PAUSE;
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = stop.cancelled() => return,
            }
            let (begun, work) = (self.env.clock.instant(), save.clone());
            let saved = crate::blocking::run_own(work).await;
            let took = self.env.clock.instant().saturating_duration_since(begun);
            let rest = match saved {
                Ok(Ok(())) => {
                    pause = PAUSE;
                    (took * REST).min(REST_MAX)
                }
                // The process ends.
                Err(_) => return,
                Ok(Err(error)) => {
                    warn!(file = %error.path.display(), error = %error.source, "a table is only in its journal; trying again");
                    self.wake.notify_one();
                    let longer = (pause * 2).min(PAUSE_MAX);
                    std::mem::replace(&mut pause, longer)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// A file on its way.
pub(crate) struct Saving<'a> {
    ledger: &'a Ledger,
    journal: &'a Journal,
    number: u64,
    _one: MutexGuard<'a, ()>,
}

impl Saving<'_> {
    /// Writes it. Waits for the disk.
    pub(crate) fn finish(self, bytes: &[u8]) -> Result<(), SaveError> {
        let Ledger { env, path, .. } = self.ledger;
        let journal = self.journal;
        let marked = append_mark(journal, file_mark(bytes), self.number).and_then(|()| journal.sync());
        marked.map_err(|source| self.ledger.error(source))?;
        save_bytes(env, path, bytes)?;
        journal.finish().map_err(|source| self.ledger.error(source))?;
        let mut state = self.ledger.state.lock();
        state.saved = self.number;
        state.is_broken = false;
        state.is_begun = false;
        Ok(())
    }
}

/// What the records of a journal say about a file.
#[derive(Debug, Default)]
struct Reading {
    /// The number that the mark of the file has.
    base: Option<u64>,
    changes: Vec<(u64, Arc<[u8]>)>,
    last: u64,
}

impl Reading {
    /// How many changes count for nothing, and why.
    fn dropped<T>(&self, file: Option<&Loaded<T>>) -> Option<(usize, &'static str)> {
        if self.base.is_some() || self.changes.is_empty() || file.is_none_or(|file| file.is_backup) {
            return None;
        }
        let why = "somebody else has written the file since, or put it there";
        Some((self.changes.len(), why))
    }

    fn record(&mut self, payload: &[u8], file: (u64, u32)) {
        match payload.split_first() {
            Some((&MARK, rest)) => {
                let Some((length, check, number)) = mark_of(rest) else {
                    return;
                };
                if (length, check) == file {
                    self.base = Some(number);
                }
                self.last = self.last.max(number);
            }
            Some((&CHANGE, rest)) => {
                let Some((number, json)) = rest.split_first_chunk() else {
                    return;
                };
                let number = u64::from_be_bytes(*number);
                self.changes.push((number, json.into()));
                self.last = self.last.max(number);
            }
            _ => {}
        }
    }
}

fn mark_of(rest: &[u8]) -> Option<(u64, u32, u64)> {
    let (length, rest) = rest.split_first_chunk()?;
    let (check, rest) = rest.split_first_chunk()?;
    let (number, _) = rest.split_first_chunk()?;
    Some((
        u64::from_be_bytes(*length),
        u32::from_be_bytes(*check),
        u64::from_be_bytes(*number),
    ))
}

fn file_mark(bytes: &[u8]) -> (u64, u32) {
    (bytes.len() as u64, crc31(bytes))
}

fn append_mark(journal: &Journal, (length, check): (u64, u32), number: u64) -> io::Result<()> {
    let mut record = vec![MARK];
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(&check.to_be_bytes());
    record.extend_from_slice(&number.to_be_bytes());
    journal.append(&record).map(drop)
}

#[cfg(test)]
mod tests;
