// SPDX-License-Identifier: Apache-2.0
//! How far each consumer group has read each queue: in memory, and in `config/consumerOffset.json`.
//!
//! Committed offsets are the reference's state, in its file format. Beside them stands, in memory only, the offset
//! after the last pull, which shows how far a client has read ahead. Whoever commits writes memory; a journal
//! (`journal.rs`) follows within [`JOURNAL_EVERY`] and the file within `flushConsumerOffsetInterval`, so that a crash
//! repeats what was consumed in between, and never skips any.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use store::env::Env;
use tokio::sync::Notify;
use tracing::warn;
use wire::Str;
use wire::body::stats::OffsetTable;
use wire::body::topic::DataVersion;
use wire::fastjson;

use super::journal::{Entry, OffsetJournal, dir_of};
use crate::config::{Config, FlushDiskType};
use crate::saved::{self, LoadError, SaveError};

/// How often what was committed is written to the journal: well below the second after which a commit is promised to
/// outlive a kill.
pub(super) const JOURNAL_EVERY: Duration = Duration::from_millis(200);

/// How far one group has read one queue.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    committed: Option<i64>,
    pulled: Option<i64>,
    puller: Option<Puller>,
    /// Set by an operator, and not told to the group yet.
    reset: Option<i64>,
}

/// One topic, as one group has read it.
#[derive(Debug)]
struct Queues {
    group: Str,
    topic: Str,
    state: Mutex<QueuesState>,
}

#[derive(Debug, Default)]
struct QueuesState {
    progress: BTreeMap<i32, Progress>,
    /// Where the journal does not know what is committed.
    unwritten: BTreeSet<i32>,
}

/// What the journal does not know.
#[derive(Debug)]
enum Change {
    Moved(Arc<Queues>),
    NoGroup(Str),
    NoTopic(Str),
}

/// Who pulled last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Puller {
    /// Number of the connection.
    pub(crate) peer: u64,
    pub(crate) at_ms: i64,
}

/// What is noted of a pull that has arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) by: Puller,
    /// Where its client goes on, as far as that is known.
    pub(crate) next: i64,
    /// What it says its client has consumed.
    pub(crate) commit: Option<i64>,
}

/// The offsets of all consumer groups.
pub(crate) struct Offsets {
    env: Env,
    path: PathBuf,
    /// Group, then topic: both are found by a borrowed name, so that a commit allocates nothing.
    groups: RwLock<Groups>,
    version: Mutex<DataVersion>,
    commits: AtomicU64,
    changed: AtomicBool,
    /// Resets so far: without any, nobody looks for one.
    resets: AtomicU64,
    saving: Mutex<()>,
    journal: OffsetJournal,
    /// When the journal has become long, or could not be written.
    wanted: Notify,
    /// In the order in which it happened; filled by whoever holds `groups`.
    unwritten: Mutex<Vec<Change>>,
    /// Whether there was neither a table nor a journal.
    pub(crate) is_lost: bool,
}

type Groups = HashMap<Str, HashMap<Str, Arc<Queues>>>;

impl Offsets {
    /// Whether the file, or its backup, can be read. Changes nothing.
    pub(crate) fn check(config: &Config, env: &Env) -> Result<(), LoadError> {
        saved::load::<OffsetTable>(env, &file_of(config)).map(drop)
    }

    /// Reads the file, or its backup when it is missing or broken, and what its journal knows beyond it; begins anew when
    /// there was never any. Only for whoever holds the directory: the journal is begun anew.
    pub(crate) fn open(config: &Config, env: Env) -> Result<Offsets, LoadError> {
        let path = file_of(config);
        let loaded = saved::load_with_bytes::<OffsetTable>(&env, &path)?;
        let is_damaged = loaded.as_ref().is_none_or(|loaded| loaded.is_backup);
        let is_missing = loaded.is_none();
        let (mut table, bytes) =
            loaded.map_or_else(Default::default, |loaded| (loaded.table, Some(loaded.bytes)));
        let mut groups = groups_of(table.offset_table);
        let is_synced = config.flush_disk_type == FlushDiskType::Sync;
        let mut is_changed = false;
        let file = (bytes.as_deref(), is_damaged);
        let journal = OffsetJournal::open(&env, dir_of(&path), file, is_synced, |entry| {
            is_changed = true;
            apply(&mut groups, entry);
        })?;
        let is_lost = is_missing && !is_changed && !journal.is_known;
        if table.data_version == DataVersion::default() || is_changed {
            table.data_version.timestamp = env.clock.now_ms();
            table.data_version.counter += i64::from(is_changed);
        }
        Ok(Offsets {
            env,
            path,
            groups: RwLock::new(groups),
            version: Mutex::new(table.data_version),
            commits: AtomicU64::new(0),
            changed: AtomicBool::new(is_changed || journal.is_broken()),
            resets: AtomicU64::new(0),
            saving: Mutex::new(()),
            journal,
            wanted: Notify::new(),
            unwritten: Mutex::default(),
            is_lost,
        })
    }

    /// Whether what was found at the start was written by nobody else since this broker, or one like it, ran last.
    pub(crate) fn is_only_ours(&self) -> bool {
        self.journal.is_known
    }

    /// The groups that have committed something.
    pub(crate) fn groups(&self) -> BTreeSet<Str> {
        self.groups.read().keys().cloned().collect()
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

    /// Stores a committed offset, which may also go back; a negative one means none. Every `version_step` commits the
    /// version moves on.
    pub(crate) fn commit(&self, group: &str, topic: &str, (queue, offset): (i32, i64), version_step: u64) {
        self.commit_unless_overtaken((group, topic, queue), offset, version_step, |_| true);
    }

    /// The same, unless it goes back, and may not as far as who pulled last is concerned. `false`: nothing is stored.
    pub(crate) fn commit_unless_overtaken(
        &self,
        (group, topic, queue): (&str, &str, i32),
        offset: i64,
        version_step: u64,
        may_go_back: impl FnOnce(Option<Puller>) -> bool,
    ) -> bool {
        let is_done = self.write(group, topic, queue, |progress| {
            progress.commit_unless_overtaken(offset, may_go_back)
        });
        self.count_commit(version_step);
        is_done
    }

    /// Takes over what a master says, also where that goes back; what it does not speak of is forgotten.
    pub(crate) fn follow(&self, master: OffsetTable) {
        let own: Vec<Arc<Queues>> = {
            let groups = self.groups.read();
            groups.values().flat_map(HashMap::values).cloned().collect()
        };
        for queues in own {
            let key = Str::from(format!("{}@{}", queues.topic, queues.group));
            let said = master.offset_table.get(&key);
            for queue in queues.committed().into_keys() {
                if said.is_none_or(|said| !said.contains_key(&queue)) {
                    self.write(&queues.group, &queues.topic, queue, |progress| {
                        progress.committed = None
                    });
                }
            }
        }
        for (key, offsets) in master.offset_table {
            let Some((topic, group)) = key.split_once('@') else {
                continue;
            };
            for (queue, offset) in offsets {
                self.write(group, topic, queue, |progress| {
                    progress.committed = Some(offset).filter(|offset| *offset >= 0);
                });
            }
        }
        *self.version.lock() = master.data_version;
    }

    /// Takes back what a slave knows better that acted for this master: the larger one of two offsets is where the group is,
    /// since either was committed. Not what lies behind the end of its queue, of which a slave knows nothing that is not
    /// here, and not where `end_of` knows no such group or topic. How many there were.
    pub(crate) fn take_back(
        &self,
        slave: OffsetTable,
        end_of: impl Fn(&str, &str, i32) -> Option<i64>,
    ) -> usize {
        let mut taken = 0;
        for (key, offsets) in slave.offset_table {
            let Some((topic, group)) = key.split_once('@') else {
                continue;
            };
            for (queue, offset) in offsets {
                if end_of(group, topic, queue).is_none_or(|end| offset > end) {
                    continue;
                }
                taken += usize::from(self.write(group, topic, queue, |progress| {
                    let is_better = offset >= 0 && progress.committed.is_none_or(|own| own < offset);
                    if is_better {
                        progress.committed = Some(offset);
                    }
                    is_better
                }));
            }
        }
        let mut version = self.version.lock();
        *version = version.newest(slave.data_version);
        drop(version);
        if taken > 0 {
            self.next_version();
        }
        taken
    }

    /// Makes whoever pulls the last one to have pulled, after what it commits is judged by who that was before. `false`: its
    /// commit is not stored.
    pub(crate) fn note_arrival(
        &self,
        (group, topic, queue): (&str, &str, i32),
        Arrival { by, next, commit }: Arrival,
        version_step: u64,
        may_go_back: impl FnOnce(Option<Puller>) -> bool,
    ) -> bool {
        let is_done = self.write(group, topic, queue, |progress| {
            let is_done = commit.is_none_or(|offset| progress.commit_unless_overtaken(offset, may_go_back));
            progress.pulled = Some(next);
            progress.puller = Some(by);
            is_done
        });
        if commit.is_some() {
            self.count_commit(version_step);
        }
        is_done
    }

    fn count_commit(&self, version_step: u64) {
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
                reset: Some(offset),
                ..Progress::default()
            };
        });
        self.resets.fetch_add(1, Ordering::Release);
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

    /// Sets a group to where another one is, in all queues of a topic: where that has no offset, it has none either.
    /// Nothing happens when the other one has none at all.
    pub(crate) fn copy(&self, topic: &str, from: &str, to: &str) {
        let offsets = self.committed(from, topic);
        if offsets.is_empty() {
            return;
        }
        for queue in self.committed(to, topic).into_keys() {
            if !offsets.contains_key(&queue) {
                self.commit(to, topic, (queue, -1), 0);
            }
        }
        for (queue, offset) in offsets {
            self.commit(to, topic, (queue, offset), 0);
        }
    }

    /// What a group has committed of a topic, by queue.
    pub(crate) fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let groups = self.groups.read();
        let queues = groups.get(group).and_then(|topics| topics.get(topic));
        queues.map(|queues| queues.committed()).unwrap_or_default()
    }

    /// Stores a committed offset if it is still the one the caller knows. `false`: somebody else has committed.
    pub(crate) fn advance(
        &self,
        group: &str,
        topic: &str,
        queue: i32,
        (before, offset): (Option<i64>, i64),
    ) -> bool {
        self.write(group, topic, queue, |progress| {
            let is_same = progress.committed == before && progress.reset.is_none();
            if is_same {
                progress.committed = Some(offset);
            }
            is_same
        })
    }

    /// Notes the offset after a pull.
    pub(crate) fn note_pull(&self, group: &str, topic: &str, queue: i32, offset: i64) {
        self.write(group, topic, queue, |progress| progress.pulled = Some(offset));
    }

    /// Notes where the client of a pull goes on that took its time, unless another one has pulled since, or the topic was
    /// deleted.
    pub(crate) fn note_next(&self, (group, topic, queue): (&str, &str, i32), next: i64, by: Puller) {
        let groups = self.groups.read();
        let Some(queues) = groups.get(group).and_then(|topics| topics.get(topic)) else {
            return;
        };
        if let Some(progress) = queues.state.lock().progress.get_mut(&queue)
            && progress.puller.is_some_and(|last| last.peer == by.peer)
        {
            progress.pulled = Some(next);
            progress.puller = Some(by);
        }
    }

    /// The offset after the last pull, and whose that was; as long as the broker runs.
    pub(crate) fn last_pull(&self, group: &str, topic: &str, queue: i32) -> Option<(i64, Puller)> {
        let progress = self.read(group, topic, queue);
        progress.pulled.zip(progress.puller)
    }

    /// The topics of which the group has committed offsets, sorted.
    pub(crate) fn topics_of(&self, group: &str) -> BTreeSet<Str> {
        let groups = self.groups.read();
        let topics = groups.get(group).into_iter().flatten();
        topics
            .filter(|(_, queues)| queues.has_commits())
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    /// The groups that have committed offsets of the topic, sorted.
    pub(crate) fn groups_of(&self, topic: &str) -> BTreeSet<Str> {
        let groups = self.groups.read();
        let readers = groups
            .iter()
            .filter(|(_, topics)| topics.get(topic).is_some_and(|queues| queues.has_commits()));
        readers.map(|(group, _)| group.clone()).collect()
    }

    /// What all groups have committed of a topic.
    pub(crate) fn of_topic(&self, topic: &str) -> Vec<(Str, i32, i64)> {
        let groups = self.groups_of(topic).into_iter();
        groups
            .flat_map(|group| {
                let offsets = self.committed(&group, topic).into_iter();
                offsets
                    .map(move |(queue, offset)| (group.clone(), queue, offset))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Forgets a topic that was deleted.
    pub(crate) fn remove_topic(&self, topic: &str) {
        let mut groups = self.groups.write();
        groups.retain(|_, topics| {
            topics.remove(topic);
            !topics.is_empty()
        });
        self.note(Change::NoTopic(topic.into()));
    }

    /// Forgets a group that was deleted.
    pub(crate) fn remove_group(&self, group: &str) {
        let mut groups = self.groups.write();
        groups.remove(group);
        self.note(Change::NoGroup(group.into()));
    }

    /// All committed offsets, as secondaries fetch them.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        fastjson::to_vec(&self.table())
    }

    /// Writes the file if anything was committed since it was last written, after the log behind what was committed is
    /// durable: offsets must not survive messages that were written elsewhere before they were counted as consumed.
    /// `false`: it cannot be made durable, and nothing is written.
    pub(crate) fn save_over(&self, make_durable: impl Fn() -> bool) -> Result<bool, SaveError> {
        let _one_at_a_time = self.saving.lock();
        if !self.changed.swap(false, Ordering::AcqRel) {
            return Ok(true);
        }
        if !make_durable() {
            // The cut makes the journal durable that is there.
            self.changed.store(true, Ordering::Release);
            return Ok(false);
        }
        let file = || fastjson::to_vec_pretty(&self.table());
        let bytes = self.journal.cut(|| self.take_unwritten(), file);
        let is_durable = make_durable();
        let saved = if is_durable {
            self.journal.keep_mark();
            saved::save_bytes(&self.env, &self.path, &bytes)
        } else {
            Ok(())
        };
        if is_durable && saved.is_ok() {
            self.journal.keep_from(&bytes);
        } else {
            self.changed.store(true, Ordering::Release);
        }
        if self.journal.is_broken() {
            self.changed.store(true, Ordering::Release);
            // Not everybody who saves tries again.
            self.wanted.notify_one();
        }
        saved.map(|()| is_durable)
    }

    /// Whether a commit that is answered is to be as safe as a message: on the disk before its answer (SYNC_FLUSH).
    pub(crate) fn answers_when_durable(&self) -> bool {
        self.journal.is_synced()
    }

    /// Whether [`Offsets::write_journal`] has something to do.
    pub(crate) fn is_ahead_of_journal(&self) -> bool {
        !self.unwritten.lock().is_empty() || self.journal.needs_sync()
    }

    /// Writes to the journal what was committed since the last time. After an error the next [`Offsets::save_over`] makes good
    /// for it. `false`: nothing is written until then.
    pub(crate) fn write_journal(&self) -> Result<bool, SaveError> {
        let written = self.journal.write(|| self.take_unwritten());
        if written.is_err() {
            self.changed.store(true, Ordering::Release);
        }
        if self.journal.is_long() || written.is_err() {
            self.wanted.notify_one();
        }
        written
    }

    /// Ends when a file should come before its time: the journal is long, or could not be written. That is not for whoever
    /// writes the journal: a file takes longer than commits may wait.
    pub(crate) async fn wants_file(&self) {
        loop {
            self.wanted.notified().await;
            if self.journal.is_long() || self.needs_file() {
                return;
            }
        }
    }

    /// Returns when all changes so far outlive a kill: in the journal, or in a file when that cannot be written. For
    /// whoever tells an operator that something is done. Blocks.
    pub(crate) fn keep(&self, make_durable: impl Fn() -> bool) -> Result<(), SaveError> {
        if matches!(self.write_journal(), Ok(true)) {
            return Ok(());
        }
        if self.save_over(make_durable)? {
            return Ok(());
        }
        Err(SaveError {
            path: self.path.clone(),
            source: std::io::Error::other("the log before it cannot be made durable"),
        })
    }

    /// Takes offsets beyond the end of their queue back to it; how many there were.
    pub(crate) fn clamp(&self, end_of: impl Fn(&str, i32) -> i64) -> usize {
        let groups = self.groups.read();
        let mut clamped = 0;
        for queues in groups.values().flat_map(HashMap::values) {
            for (queue, offset) in queues.committed() {
                let end = end_of(&queues.topic, queue);
                if offset > end {
                    self.alter(queues, queue, |progress| progress.committed = Some(end));
                    clamped += 1;
                }
            }
        }
        clamped
    }

    /// Whether nothing is written to the journal until there is a new file.
    pub(crate) fn needs_file(&self) -> bool {
        self.journal.is_broken()
    }

    /// Notes a change that the journal has to know. Whoever calls holds `groups`, so that changes stand in order.
    fn note(&self, change: Change) {
        self.unwritten.lock().push(change);
        self.changed.store(true, Ordering::Release);
    }

    fn take_unwritten(&self) -> Vec<Entry> {
        let changes = std::mem::take(&mut *self.unwritten.lock());
        let entries = changes.into_iter().filter_map(|change| match change {
            Change::Moved(queues) => queues.take_unwritten(),
            Change::NoGroup(group) => Some(Entry::NoGroup(group)),
            Change::NoTopic(topic) => Some(Entry::NoTopic(topic)),
        });
        entries.collect()
    }

    fn read(&self, group: &str, topic: &str, queue: i32) -> Progress {
        let groups = self.groups.read();
        let queues = groups.get(group).and_then(|topics| topics.get(topic));
        queues
            .and_then(|queues| queues.state.lock().progress.get(&queue).copied())
            .unwrap_or_default()
    }

    fn write<T>(&self, group: &str, topic: &str, queue: i32, change: impl FnOnce(&mut Progress) -> T) -> T {
        let groups = self.groups.read();
        if let Some(queues) = groups.get(group).and_then(|topics| topics.get(topic)) {
            return self.alter(queues, queue, change);
        }
        drop(groups);
        let mut groups = self.groups.write();
        let topics = groups.entry(group.into()).or_default();
        let queues = topics
            .entry(topic.into())
            .or_insert_with(|| Queues::of(group.into(), topic.into()));
        self.alter(queues, queue, change)
    }

    /// Whoever calls holds `groups`.
    fn alter<T>(&self, queues: &Arc<Queues>, queue: i32, change: impl FnOnce(&mut Progress) -> T) -> T {
        let mut state = queues.state.lock();
        let QueuesState { progress, unwritten } = &mut *state;
        let progress = progress.entry(queue).or_default();
        let before = progress.committed;
        let result = change(progress);
        let is_news = progress.committed != before;
        let is_first = is_news && unwritten.is_empty();
        if is_news {
            unwritten.insert(queue);
        }
        drop(state);
        if is_first {
            self.note(Change::Moved(Arc::clone(queues)));
        }
        result
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
                let offsets = queues.committed();
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

impl Progress {
    fn commit_unless_overtaken(
        &mut self,
        offset: i64,
        may_go_back: impl FnOnce(Option<Puller>) -> bool,
    ) -> bool {
        let goes_back = self.committed.is_some_and(|before| offset < before);
        if goes_back && !may_go_back(self.puller) {
            return false;
        }
        // What comes after a reset that was not told yet is from before it.
        if self.reset.is_none() {
            self.committed = Some(offset).filter(|offset| *offset >= 0);
        }
        true
    }
}

impl Queues {
    fn of(group: Str, topic: Str) -> Arc<Queues> {
        Arc::new(Queues {
            group,
            topic,
            state: Mutex::default(),
        })
    }

    fn committed(&self) -> BTreeMap<i32, i64> {
        let state = self.state.lock();
        let progress = state.progress.iter();
        progress
            .filter_map(|(queue, progress)| Some((*queue, progress.committed?)))
            .collect()
    }

    fn has_commits(&self) -> bool {
        let state = self.state.lock();
        state
            .progress
            .values()
            .any(|progress| progress.committed.is_some())
    }

    fn take_unwritten(&self) -> Option<Entry> {
        let mut state = self.state.lock();
        let queues = std::mem::take(&mut state.unwritten);
        let committed = |queue| state.progress.get(&queue).and_then(|progress| progress.committed);
        let offsets: Vec<_> = queues
            .into_iter()
            .map(|queue| (queue, committed(queue)))
            .collect();
        (!offsets.is_empty()).then(|| Entry::Moved {
            group: self.group.clone(),
            topic: self.topic.clone(),
            offsets,
        })
    }
}

fn file_of(config: &Config) -> PathBuf {
    config.config_dir().join("consumerOffset.json")
}

/// What the file says.
fn groups_of(table: BTreeMap<Str, BTreeMap<i32, i64>>) -> Groups {
    let mut groups = Groups::new();
    for (key, offsets) in table {
        let Some((topic, group)) = key.split_once('@') else {
            warn!(topic = %key, "consumer offsets of no group are dropped");
            continue;
        };
        let offsets = offsets
            .into_iter()
            .map(|(queue, offset)| (queue, Some(offset).filter(|offset| *offset >= 0)));
        set(&mut groups, (group.into(), topic.into()), offsets);
    }
    groups
}

/// What the journal says.
fn apply(groups: &mut Groups, entry: Entry) {
    match entry {
        Entry::Moved {
            group,
            topic,
            offsets,
        } => set(groups, (group, topic), offsets),
        Entry::NoGroup(group) => drop(groups.remove(&group)),
        Entry::NoTopic(topic) => groups.retain(|_, topics| {
            topics.remove(&topic);
            !topics.is_empty()
        }),
    }
}

fn set(
    groups: &mut Groups,
    (group, topic): (Str, Str),
    offsets: impl IntoIterator<Item = (i32, Option<i64>)>,
) {
    let topics = groups.entry(group.clone()).or_default();
    let queues = topics
        .entry(topic.clone())
        .or_insert_with(|| Queues::of(group, topic));
    let mut state = queues.state.lock();
    for (queue, offset) in offsets {
        state.progress.entry(queue).or_default().committed = offset;
    }
}

#[cfg(test)]
mod tests;
