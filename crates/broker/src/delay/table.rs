// SPDX-License-Identifier: Apache-2.0
//! How far each delay level is delivered: in memory, and in `config/delayOffset.json`.
//!
//! The file never says more than the disk holds: an offset is saved when the copies of all messages below it are durable.
//! So a crash repeats what was delivered since the last save (the reference may repeat ten seconds), and loses nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use parking_lot::Mutex;
use store::{Env, LogPos, Store};
use tokio::sync::{Notify, Semaphore};
use tracing::{error, warn};
use wire::body::stats::DelayOffsetTable;
use wire::body::topic::DataVersion;
use wire::fastjson;

use crate::config::Config;
use crate::names::SCHEDULE_TOPIC;
use crate::saved::{self, LoadError, SaveError};

/// Batches that are delivered at the same time.
const BATCHES_MAX: usize = 4;

/// A level is delivered up to an offset, by copies that end at a position of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    offset: i64,
    end: LogPos,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    /// What the file says, or may say.
    safe: i64,
    /// What will be safe next.
    next: Option<Mark>,
    now: Mark,
}

impl Progress {
    fn at(offset: i64) -> Progress {
        let now = Mark {
            offset,
            end: LogPos(0),
        };
        Progress {
            safe: offset,
            next: None,
            now,
        }
    }

    /// Takes note of what has become durable. A mark is kept until then, so that a level that never rests gets there too.
    fn settle(&mut self, durable: LogPos) {
        if let Some(next) = self.next.take_if(|next| next.end <= durable) {
            self.safe = next.offset;
        }
        if self.next.is_none() && self.now.offset != self.safe {
            if self.now.end <= durable {
                self.safe = self.now.offset;
            } else {
                self.next = Some(self.now);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    version: DataVersion,
    levels: BTreeMap<i32, Progress>,
    changes: u64,
    /// What stands in the file.
    saved: BTreeMap<i32, i64>,
}

/// The offsets of all delay levels.
pub(crate) struct Delays {
    env: Env,
    path: PathBuf,
    version_step: u64,
    table: Mutex<Table>,
    /// Taken while a batch is delivered: there may be many levels, and each batch is in memory.
    pub(super) turns: Semaphore,
    /// Rung when there is something to save.
    pub(super) changed: Notify,
    saving: Mutex<()>,
}

impl Delays {
    /// Reads the file, or its backup.
    pub(crate) fn open(config: &Config, env: Env) -> Result<Delays, LoadError> {
        let path = config.config_dir().join("delayOffset.json");
        let file = saved::load::<DelayOffsetTable>(&env, &path)?.unwrap_or_default();
        let mut version = file.data_version;
        if version == DataVersion::default() {
            version.timestamp = env.clock.now_ms();
        }
        let levels = file.offset_table.iter();
        let table = Table {
            version,
            levels: levels
                .map(|(level, offset)| (*level, Progress::at(*offset)))
                .collect(),
            changes: 0,
            saved: file.offset_table,
        };
        Ok(Delays {
            env,
            path,
            version_step: config.delay_offset_update_version_step.max(1),
            table: Mutex::new(table),
            turns: Semaphore::new(BATCHES_MAX),
            changed: Notify::new(),
            saving: Mutex::new(()),
        })
    }

    /// Levels that are outside of their queues go on inside. That is noted before there are new messages: after another crash
    /// nobody could tell these from those that were delivered. Blocks.
    pub(crate) fn reconcile(&self, store: &Store) {
        let levels: Vec<i32> = self.table.lock().levels.keys().copied().collect();
        for level in levels {
            self.start(store, level);
        }
        if let Err(error) = self.save(store.durable()) {
            error!(file = %error.path.display(), error = %error.source, "delay offsets are not saved; trying again");
        }
    }

    /// Where a level goes on: where the file says, as far as its queue is there.
    pub(super) fn start(&self, store: &Store, level: i32) -> i64 {
        let mut table = self.table.lock();
        let Some(progress) = table.levels.get_mut(&level) else {
            return 0;
        };
        let id = u32::try_from(level - 1).unwrap_or_default();
        let queue = store.find_queue(SCHEDULE_TOPIC, id);
        // If it is not there the next message will be its first.
        let (min, max) = queue.map_or((0, 0), |queue| (queue.min(), queue.max()));
        let saved = progress.now.offset;
        let offset = saved.clamp(min, max.max(min));
        if offset != saved {
            warn!(
                level,
                saved, min, max, "offset of a delay level lies outside of its queue, going on inside"
            );
            *progress = Progress::at(offset);
            self.changed.notify_one();
        }
        offset
    }

    /// Notes that a level has got to an offset, by copies that end at a position of the log.
    pub(super) fn advance(&self, level: i32, offset: i64, end: LogPos) {
        let mut table = self.table.lock();
        let now = Mark { offset, end };
        match table.levels.get_mut(&level) {
            Some(progress) if progress.now.offset == offset => return,
            Some(progress) => progress.now = now,
            None => {
                let fresh = Progress {
                    now,
                    ..Progress::at(0)
                };
                table.levels.insert(level, fresh);
            }
        }
        table.changes += 1;
        if table.changes.is_multiple_of(self.version_step) {
            table.version.timestamp = self.env.clock.now_ms();
            table.version.counter += 1;
        }
        drop(table);
        self.changed.notify_one();
    }

    /// Takes over how far the levels of a master are, by copies that end before a position of the log here.
    pub(crate) fn follow(&self, master: &DelayOffsetTable, end: LogPos) {
        for (level, offset) in &master.offset_table {
            self.advance(*level, *offset, end);
        }
        self.table.lock().version = master.data_version;
    }

    /// How new this is.
    pub(crate) fn version(&self) -> DataVersion {
        self.table.lock().version
    }

    /// How far the levels are, those of which something was ever delivered.
    pub(crate) fn offsets(&self) -> BTreeMap<i32, i64> {
        let table = self.table.lock();
        let levels = table.levels.iter();
        levels
            .map(|(level, progress)| (*level, progress.now.offset))
            .collect()
    }

    /// All offsets, as secondaries fetch them.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let data_version = self.table.lock().version;
        fastjson::to_vec(&DelayOffsetTable {
            data_version,
            offset_table: self.offsets(),
        })
    }

    /// Writes the file if there is something new that is durable. Returns whether something was left that is not.
    pub(crate) fn save(&self, durable: LogPos) -> Result<bool, SaveError> {
        let _one_at_a_time = self.saving.lock();
        let (file, is_new, is_left) = {
            let mut table = self.table.lock();
            for progress in table.levels.values_mut() {
                progress.settle(durable);
            }
            let levels = table.levels.iter();
            let file = DelayOffsetTable {
                data_version: table.version,
                offset_table: levels.map(|(level, progress)| (*level, progress.safe)).collect(),
            };
            let is_new = file.offset_table != table.saved;
            let is_left = table
                .levels
                .values()
                .any(|progress| progress.safe != progress.now.offset);
            (file, is_new, is_left)
        };
        if is_new && !store::seeded!("delays-not-saved") {
            saved::save(&self.env, &self.path, &file)?;
            self.table.lock().saved = file.offset_table;
        }
        Ok(is_left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir) -> Delays {
        let config = Config {
            store_path_root_dir: dir.path().to_str().unwrap().into(),
            ..Config::default()
        };
        Delays::open(&config, Env::real()).unwrap()
    }

    fn saved(dir: &tempfile::TempDir) -> BTreeMap<i32, i64> {
        open(dir).offsets()
    }

    #[test]
    fn an_offset_is_saved_when_what_it_speaks_of_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let delays = open(&dir);
        delays.advance(3, 5, LogPos(500));
        assert!(delays.save(LogPos(499)).unwrap());
        assert_eq!(saved(&dir), BTreeMap::from([(3, 0)]));
        // It never rests, and gets on all the same.
        delays.advance(3, 9, LogPos(900));
        assert!(delays.save(LogPos(500)).unwrap());
        assert_eq!(saved(&dir), BTreeMap::from([(3, 5)]));
        assert!(!delays.save(LogPos(900)).unwrap());
        assert_eq!(saved(&dir), BTreeMap::from([(3, 9)]));
    }

    #[test]
    fn the_file_is_that_of_the_reference() {
        let dir = tempfile::tempdir().unwrap();
        let delays = open(&dir);
        delays.advance(18, 7, LogPos(0));
        delays.advance(3, 1, LogPos(0));
        delays.save(LogPos(0)).unwrap();
        let text = std::fs::read_to_string(dir.path().join("config/delayOffset.json")).unwrap();
        let timestamp = delays.table.lock().version.timestamp;
        let expected = format!(
            "{{\n\t\"dataVersion\":{{\n\t\t\"counter\":0,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":{timestamp}\n\t}},\n\
             \t\"offsetTable\":{{\n\t\t3:1,\n\t\t18:7\n\t}}\n}}"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn the_version_moves_on_with_the_changes() {
        let dir = tempfile::tempdir().unwrap();
        let delays = open(&dir);
        for offset in 1..=400 {
            delays.advance(1, offset, LogPos(0));
            delays.advance(1, offset, LogPos(0));
        }
        assert_eq!(delays.table.lock().version.counter, 2);
    }
}
