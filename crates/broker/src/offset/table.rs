// SPDX-License-Identifier: Apache-2.0
//! How far each consumer group has read each queue: in memory, and in `config/consumerOffset.json`.
//!
//! Committed offsets are the reference's state, in its file format. Beside them stands, in memory only, the offset
//! after the last pull, which shows how far a client has read ahead. Whoever commits writes memory; the file follows
//! within `flushConsumerOffsetInterval`, so that a crash repeats what was consumed in between, and never skips any.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use store::env::Env;
use tracing::{debug, warn};
use wire::Str;
use wire::body::stats::OffsetTable;
use wire::body::topic::DataVersion;
use wire::fastjson;

use crate::config::Config;
use crate::saved::{self, LoadError, SaveError};

/// How far one group has read one queue.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    committed: Option<i64>,
    pulled: Option<i64>,
    /// Set by an operator, and not told to the group yet.
    reset: Option<i64>,
}

/// The queues of one topic, as one group has read them.
type Queues = Mutex<BTreeMap<i32, Progress>>;

/// The offsets of all consumer groups.
pub(crate) struct Offsets {
    env: Env,
    path: PathBuf,
    /// Group, then topic: both are found by a borrowed name, so that a commit allocates nothing.
    groups: RwLock<HashMap<Str, HashMap<Str, Queues>>>,
    version: Mutex<DataVersion>,
    commits: AtomicU64,
    changed: AtomicBool,
    /// Resets so far: without any, nobody looks for one.
    resets: AtomicU64,
    saving: Mutex<()>,
}

impl Offsets {
    /// Reads the file, or its backup when it is missing or broken; begins anew when there was never any.
    pub(crate) fn open(config: &Config, env: Env) -> Result<Offsets, LoadError> {
        let path = config.config_dir().join("consumerOffset.json");
        let mut table = saved::load::<OffsetTable>(&env, &path)?.unwrap_or_default();
        if table.data_version == DataVersion::default() {
            table.data_version.timestamp = env.clock.now_ms();
        }
        let mut groups: HashMap<Str, HashMap<Str, Queues>> = HashMap::new();
        for (key, offsets) in table.offset_table {
            let Some((topic, group)) = key.split_once('@') else {
                warn!(%key, "consumer offsets of no group are dropped");
                continue;
            };
            let queues = offsets.into_iter().map(|(queue, offset)| {
                (
                    queue,
                    Progress {
                        committed: Some(offset).filter(|offset| *offset >= 0),
                        ..Progress::default()
                    },
                )
            });
            groups
                .entry(group.into())
                .or_default()
                .insert(topic.into(), Mutex::new(queues.collect()));
        }
        Ok(Offsets {
            env,
            path,
            groups: RwLock::new(groups),
            version: Mutex::new(table.data_version),
            commits: AtomicU64::new(0),
            changed: AtomicBool::new(false),
            resets: AtomicU64::new(0),
            saving: Mutex::new(()),
        })
    }

    /// The committed offset.
    pub(crate) fn query(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        self.read(group, topic, queue).committed
    }

    /// The offset after the last pull, or else the committed one.
    pub(crate) fn query_pulled(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        let progress = self.read(group, topic, queue);
        progress.pulled.or(progress.committed)
    }

    /// Stores a committed offset, which may also go back. Every `version_step` commits the version moves on.
    pub(crate) fn commit(&self, group: &str, topic: &str, (queue, offset): (i32, i64), version_step: u64) {
        let before = self.write(group, topic, queue, |progress| match progress.reset {
            // From before the reset.
            Some(reset) => Some(reset),
            None => progress.committed.replace(offset),
        });
        if before.is_some_and(|before| offset < before) {
            debug!(group, topic, queue, offset, before, "committed offset goes back");
        }
        if before != Some(offset) {
            self.changed.store(true, Ordering::Release);
        }
        let commits = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if version_step > 0 && commits.is_multiple_of(version_step) {
            self.next_version();
        }
    }

    /// Sets a group to an offset. It is told at its next pull; what it commits until then does not count.
    pub(crate) fn reset(&self, group: &str, topic: &str, queue: i32, offset: i64) {
        self.write(group, topic, queue, |progress| {
            *progress = Progress {
                committed: Some(offset),
                pulled: None,
                reset: Some(offset),
            };
        });
        self.resets.fetch_add(1, Ordering::Release);
        self.changed.store(true, Ordering::Release);
    }

    /// Whether a reset was not told yet.
    pub(crate) fn has_reset(&self, group: &str, topic: &str, queue: i32) -> bool {
        self.resets.load(Ordering::Acquire) > 0 && self.read(group, topic, queue).reset.is_some()
    }

    /// A reset that is told now.
    pub(crate) fn take_reset(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        if !self.has_reset(group, topic, queue) {
            return None;
        }
        self.write(group, topic, queue, |progress| progress.reset.take())
    }

    /// Sets a group to where another one is, in all queues of a topic.
    pub(crate) fn copy(&self, topic: &str, from: &str, to: &str) {
        for (queue, offset) in self.committed(from, topic) {
            self.commit(to, topic, (queue, offset), 0);
        }
    }

    /// What a group has committed of a topic, by queue.
    pub(crate) fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let groups = self.groups.read();
        let queues = groups.get(group).and_then(|topics| topics.get(topic));
        queues.map(committed).unwrap_or_default()
    }

    /// Takes a commit back.
    pub(crate) fn forget(&self, group: &str, topic: &str, queue: i32) {
        if self.query(group, topic, queue).is_some() {
            self.write(group, topic, queue, |progress| {
                if progress.reset.is_none() {
                    progress.committed = None;
                }
            });
            self.changed.store(true, Ordering::Release);
        }
    }

    /// Notes the offset after a pull.
    pub(crate) fn note_pull(&self, group: &str, topic: &str, queue: i32, offset: i64) {
        self.write(group, topic, queue, |progress| progress.pulled = Some(offset));
    }

    /// The topics of which the group has committed offsets, sorted.
    pub(crate) fn topics_of(&self, group: &str) -> BTreeSet<Str> {
        let groups = self.groups.read();
        let topics = groups.get(group).into_iter().flatten();
        topics
            .filter(|(_, queues)| has_commits(queues))
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    /// The groups that have committed offsets of the topic, sorted.
    pub(crate) fn groups_of(&self, topic: &str) -> BTreeSet<Str> {
        let groups = self.groups.read();
        let readers = groups
            .iter()
            .filter(|(_, topics)| topics.get(topic).is_some_and(has_commits));
        readers.map(|(group, _)| group.clone()).collect()
    }

    /// Forgets a topic that was deleted.
    pub(crate) fn remove_topic(&self, topic: &str) {
        self.groups.write().retain(|_, topics| {
            topics.remove(topic);
            !topics.is_empty()
        });
        self.changed.store(true, Ordering::Release);
    }

    /// Forgets a group that was deleted.
    pub(crate) fn remove_group(&self, group: &str) {
        self.groups.write().remove(group);
        self.changed.store(true, Ordering::Release);
    }

    /// All committed offsets, as secondaries fetch them.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        fastjson::to_vec(&self.table())
    }

    /// Writes the file if anything was committed since it was last written.
    pub(crate) fn save(&self) -> Result<(), SaveError> {
        let _one_at_a_time = self.saving.lock();
        if !self.changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let saved = saved::save(&self.env, &self.path, &self.table());
        if saved.is_err() {
            self.changed.store(true, Ordering::Release);
        }
        saved
    }

    fn read(&self, group: &str, topic: &str, queue: i32) -> Progress {
        let groups = self.groups.read();
        let queues = groups.get(group).and_then(|topics| topics.get(topic));
        queues
            .and_then(|queues| queues.lock().get(&queue).copied())
            .unwrap_or_default()
    }

    fn write<T>(&self, group: &str, topic: &str, queue: i32, change: impl FnOnce(&mut Progress) -> T) -> T {
        let groups = self.groups.read();
        if let Some(queues) = groups.get(group).and_then(|topics| topics.get(topic)) {
            return change(queues.lock().entry(queue).or_default());
        }
        drop(groups);
        let mut groups = self.groups.write();
        let queues = groups
            .entry(group.into())
            .or_default()
            .entry(topic.into())
            .or_default();
        change(queues.get_mut().entry(queue).or_default())
    }

    fn next_version(&self) {
        let mut version = self.version.lock();
        version.timestamp = self.env.clock.now_ms();
        version.counter += 1;
    }

    fn table(&self) -> OffsetTable {
        let mut table = OffsetTable {
            data_version: *self.version.lock(),
            ..OffsetTable::default()
        };
        let mut topics_by_group: BTreeMap<Str, Vec<Str>> = BTreeMap::new();
        for (group, topics) in self.groups.read().iter() {
            for (topic, queues) in topics {
                let offsets = committed(queues);
                if !offsets.is_empty() {
                    topics_by_group
                        .entry(group.clone())
                        .or_default()
                        .push(topic.clone());
                    table
                        .offset_table
                        .insert(format!("{topic}@{group}").into(), offsets);
                }
            }
        }
        for topics in topics_by_group.values_mut() {
            topics.sort_unstable();
        }
        table.group_topic_map = Some(topics_by_group);
        table
    }
}

fn committed(queues: &Queues) -> BTreeMap<i32, i64> {
    let queues = queues.lock();
    let committed = queues
        .iter()
        .filter_map(|(queue, progress)| Some((*queue, progress.committed?)));
    committed.collect()
}

fn has_commits(queues: &Queues) -> bool {
    queues
        .lock()
        .values()
        .any(|progress| progress.committed.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir) -> Result<Offsets, LoadError> {
        let config = Config {
            store_path_root_dir: dir.path().to_str().unwrap().into(),
            ..Config::default()
        };
        Offsets::open(&config, Env::real())
    }

    #[test]
    fn nothing_is_written_until_something_changes() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = open(&dir).unwrap();
        let file = dir.path().join("config/consumerOffset.json");
        offsets.note_pull("G", "T", 0, 5);
        offsets.save().unwrap();
        assert!(!file.exists());
        offsets.commit("G", "T", (0, 5), 500);
        offsets.save().unwrap();
        assert!(file.exists());
        std::fs::remove_file(&file).unwrap();
        offsets.commit("G", "T", (0, 5), 500);
        offsets.save().unwrap();
        assert!(!file.exists(), "the same offset again is no change");
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart_and_what_was_pulled_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = open(&dir).unwrap();
        offsets.commit("G", "T", (1, 5), 500);
        offsets.commit("G", "%RETRY%G", (0, 2), 500);
        offsets.note_pull("G", "T", 1, 9);
        offsets.note_pull("H", "T", 1, 9);
        assert_eq!(
            (offsets.query("G", "T", 1), offsets.query_pulled("G", "T", 1)),
            (Some(5), Some(9))
        );
        offsets.save().unwrap();
        let offsets = open(&dir).unwrap();
        assert_eq!(
            (offsets.query("G", "T", 1), offsets.query_pulled("G", "T", 1)),
            (Some(5), Some(5))
        );
        assert_eq!(
            offsets.topics_of("G"),
            BTreeSet::from(["%RETRY%G".into(), "T".into()])
        );
        assert_eq!(offsets.groups_of("T"), BTreeSet::from(["G".into()]));
        offsets.remove_topic("T");
        assert_eq!(offsets.query("G", "T", 1), None);
        offsets.remove_group("G");
        assert!(offsets.topics_of("G").is_empty());
    }

    #[test]
    fn the_broker_does_not_start_without_offsets_that_were_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config/consumerOffset.json");
        std::fs::create_dir(dir.path().join("config")).unwrap();
        for name in [file.clone(), file.with_extension("json.bak")] {
            #[expect(clippy::disallowed_methods, reason = "the disk is what is tested")]
            std::fs::write(name, "{\"offsetTable\":").unwrap();
        }
        assert!(open(&dir).is_err());
    }
}
