// SPDX-License-Identifier: Apache-2.0
//! Topics: their settings, kept in `config/topics.json`, and the handles to their queues that sends and pulls go
//! through.
//!
//! Readers take a snapshot without a lock. A change is on disk before it is seen by anyone ([`crate::saved::ledger`]); what
//! cannot be saved does not happen. Name servers are told by the caller: a table knows no sockets.

pub(crate) mod requests;
mod system;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use store::{Env, Kind, Queue, QueueKind, Store};
use tokio_util::sync::CancellationToken;
use wire::Str;
use wire::body::topic::{DataVersion, TopicConfig, TopicConfigTable};
use wire::fastjson;

use crate::attributes::{BATCH_CQ, CLEANUP_POLICY, COMPACTION, DEDUP_WINDOW, QUEUE_TYPE, duration_ms};
use crate::broker::Broker;
use crate::config::Config;
use crate::names::{AUTO_CREATE_TOPIC, takes_no_sends, topic_error};
use crate::rebuild;
use crate::saved::ledger::Ledger;
use crate::saved::{LoadError, SaveError};
use crate::shards::Shards;
use crate::traffic::Traffic;

/// Most queues of one topic.
pub(crate) const QUEUES_MAX: i32 = 65_536;

/// Permission bits of a topic.
pub(crate) mod perm {
    pub(crate) const INHERIT: i32 = 1;
    pub(crate) const WRITE: i32 = 2;
    pub(crate) const READ: i32 = 4;
    pub(crate) const READ_WRITE: i32 = READ | WRITE;
}

/// System flags of a topic.
pub(crate) mod sys_flag {
    pub(crate) const UNIT: i32 = 1;
    pub(crate) const UNIT_SUB: i32 = 2;
}

/// One topic as handlers see it.
pub(crate) struct Topic {
    /// Its settings.
    pub(crate) config: TopicConfig,
    /// What went into it and out of it.
    pub(crate) traffic: Arc<Traffic>,
    /// Whether it is one of the system's own.
    pub(crate) is_system: bool,
    /// For how long it remembers its messages so that none is stored twice; 0: not at all.
    pub(crate) dedup_window_ms: i64,
    /// Whether its queues are batch queues, in which a record may hold several messages.
    pub(crate) is_batch: bool,
    /// Whether only the newest message of each key is kept, so that every message needs a key.
    pub(crate) is_compacted: bool,
    /// Whether anybody may send to a topic of this name.
    pub(crate) takes_sends: bool,
    queue_count: u32,
    /// Handles by page, made at first use: a topic may have many queues and use few.
    pages: Box<[OnceLock<Page>]>,
}

/// Queues of one page of handles.
const PAGE_QUEUES: u32 = 64;
type Page = Box<[ArcSwapOption<Queue>]>;

impl Topic {
    fn new(config: TopicConfig, traffic: Arc<Traffic>, is_system: bool) -> Topic {
        let queues = config
            .write_queue_nums
            .max(config.read_queue_nums)
            .clamp(0, QUEUES_MAX);
        let queue_count = queues.unsigned_abs();
        let pages = queue_count.div_ceil(PAGE_QUEUES);
        let window = config.attributes.get(DEDUP_WINDOW);
        Topic {
            is_batch: config
                .attributes
                .get(QUEUE_TYPE)
                .is_some_and(|kind| kind == BATCH_CQ),
            is_compacted: config
                .attributes
                .get(CLEANUP_POLICY)
                .is_some_and(|policy| policy == COMPACTION),
            dedup_window_ms: window.and_then(|text| duration_ms(text)).unwrap_or(0),
            takes_sends: topic_error(&config.topic_name).is_none() && !takes_no_sends(&config.topic_name),
            config,
            traffic,
            is_system,
            queue_count,
            pages: (0..pages).map(|_| OnceLock::new()).collect(),
        }
    }

    /// How many queues it has.
    pub(crate) fn queue_count(&self) -> u32 {
        self.queue_count
    }

    /// The handle of a queue; `None` when the topic has no queue of this number. Made at first use and kept, until the
    /// queue is deleted: a topic that is made again while the old one is still being deleted may have got its handle.
    pub(crate) fn queue(&self, store: &Store, id: i32) -> Option<Arc<Queue>> {
        let id = u32::try_from(id).ok().filter(|id| *id < self.queue_count)?;
        let page = self.pages.get((id / PAGE_QUEUES) as usize)?;
        let page = page.get_or_init(|| (0..PAGE_QUEUES).map(|_| ArcSwapOption::empty()).collect());
        let slot = page.get((id % PAGE_QUEUES) as usize)?;
        if let Some(queue) = slot.load_full().filter(|queue| !queue.is_deleted()) {
            return Some(queue);
        }
        let queue = store.queue(&self.config.topic_name, id);
        slot.store(Some(Arc::clone(&queue)));
        Some(queue)
    }
}

/// All topics as they are at one moment.
#[derive(Clone, Default)]
pub(crate) struct TopicMap {
    /// Counts the changes that led here, as others are told.
    pub(crate) version: DataVersion,
    /// Counts the changes since the start.
    pub(crate) step: u64,
    /// By name.
    pub(crate) topics: Shards<Arc<Topic>>,
}

impl TopicMap {
    fn to_file(&self) -> Vec<u8> {
        fastjson::to_vec_pretty(&TopicsFile {
            data_version: self.version,
            topic_config_table: self
                .topics
                .iter()
                .map(|(name, topic)| (name.as_str(), &topic.config))
                .collect(),
        })
    }
}

/// The topics of a broker.
pub(crate) struct Topics {
    table: ArcSwap<TopicMap>,
    /// Held while the table changes, which takes a write to disk. Readers do not need it.
    changing: Mutex<()>,
    /// The names that belong to the system.
    system: Vec<Str>,
    /// What the last changes were, oldest first, for name servers that know all before them.
    news: Mutex<VecDeque<News>>,
    ledger: Ledger,
    /// Whether the table lacks topics, as far as anybody knows.
    pub(crate) is_lost: bool,
    /// Those of them that were found on the disk.
    found: Vec<Str>,
    env: Env,
}

/// Changes that are remembered for name servers.
pub(crate) const NEWS_MAX: usize = 4_096;

struct News {
    step: u64,
    /// The topics that were made or changed; `None` when name servers must be told everything.
    names: Option<Vec<Str>>,
}

/// A change, as the journal keeps it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TopicChange {
    data_version: DataVersion,
    put: Vec<TopicConfig>,
    removed: Vec<Str>,
}

/// `topics.json`, written without copying the settings.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicsFile<'a> {
    data_version: DataVersion,
    topic_config_table: BTreeMap<&'a str, &'a TopicConfig>,
}

impl Topics {
    /// The topics of the system, and over them those that were saved.
    pub(crate) fn open(config: &Config, env: Env) -> Result<Topics, LoadError> {
        let path = config.config_dir().join("topics.json");
        let found = Ledger::open::<TopicConfigTable, TopicChange>(&env, &path)?;
        let saved = found.table.unwrap_or_default();
        let mut version = saved.data_version;
        let mut saved = saved.topic_config_table;
        let mut on_disk = Vec::new();
        if found.is_lost {
            for (name, topic) in rebuild::topics_on_disk(config, &env)? {
                if let Entry::Vacant(place) = saved.entry(name) {
                    on_disk.push(place.key().clone());
                    place.insert(topic);
                }
            }
        }
        for change in found.changes {
            version = change.data_version;
            for name in &change.removed {
                saved.remove(name);
            }
            saved.extend(
                change
                    .put
                    .into_iter()
                    .map(|topic| (topic.topic_name.clone(), topic)),
            );
        }
        if version == DataVersion::default() {
            version.timestamp = env.clock.now_ms();
        }
        let system = system::topics(config);
        let names = system::names(config);
        // Whatever a file of another origin says inside, a topic is called what it is listed as.
        let listed = |(topic_name, topic)| TopicConfig { topic_name, ..topic };
        let saved = saved.into_iter().map(listed);
        let mut topics = Shards::default();
        for mut topic in system.into_iter().chain(saved) {
            if topic.topic_name == AUTO_CREATE_TOPIC && !config.auto_create_topic_enable {
                topic.perm &= !perm::INHERIT;
            }
            let is_system = is_system(&names, &topic.topic_name);
            let name = topic.topic_name.clone();
            topics.insert(name, Arc::new(Topic::new(topic, Arc::default(), is_system)));
        }
        Ok(Topics {
            table: ArcSwap::from_pointee(TopicMap {
                version,
                step: 0,
                topics,
            }),
            changing: Mutex::new(()),
            system: names,
            news: Mutex::default(),
            ledger: found.ledger,
            is_lost: found.is_lost,
            found: on_disk,
            env,
        })
    }

    /// Saves topics that the table lacks: those that were found on the disk, and these. How many there are.
    pub(crate) fn restore(&self, others: Vec<TopicConfig>) -> Result<usize, SaveError> {
        let mut change = self.change();
        let known = self.found.iter().filter_map(|name| change.now.topics.get(name));
        let known = known.filter(|topic| !topic.is_system);
        let known: Vec<_> = known.map(|topic| topic.config.clone()).collect();
        let count = known.len() + others.len();
        for config in known.into_iter().chain(others) {
            change.insert(config);
        }
        if count > 0 {
            change.publish()?;
        }
        Ok(count)
    }

    /// Writes the file if it lacks a change. Waits for the disk.
    pub(crate) fn save(&self) -> Result<(), SaveError> {
        let one = self.changing.lock();
        let Some(saving) = self.ledger.begin()? else {
            return Ok(());
        };
        let now = self.table.load_full();
        drop(one);
        saving.finish(&now.to_file())
    }

    /// The topics that were made or changed since a step, as they are in `now`; `None` when that cannot be told.
    pub(crate) fn since(&self, now: &TopicMap, step: u64) -> Option<Vec<TopicConfig>> {
        let news = self.news.lock();
        let new = news
            .iter()
            .filter(|news| news.step > step && news.step <= now.step);
        let mut names = BTreeSet::new();
        let mut expected = step;
        for news in new {
            expected += 1;
            if news.step != expected {
                return None;
            }
            names.extend(news.names.as_ref()?);
        }
        (expected == now.step).then(|| {
            let topics = names.into_iter().filter_map(|name| now.topics.get(name));
            topics.map(|topic| topic.config.clone()).collect()
        })
    }

    /// A topic by name.
    pub(crate) fn get(&self, topic: &str) -> Option<Arc<Topic>> {
        self.table.load().topics.get(topic).cloned()
    }

    /// How a topic is kept that exists.
    pub(crate) fn kind_of(&self, topic: &str) -> Option<Kind> {
        let table = self.table.load();
        table.topics.get(topic).map(|topic| Kind {
            queue: if topic.is_batch {
                QueueKind::Batch
            } else {
                QueueKind::Plain
            },
            is_compacted: topic.is_compacted,
        })
    }

    /// All topics as they are now, and the version that belongs to them.
    pub(crate) fn all(&self) -> Guard<Arc<TopicMap>> {
        self.table.load()
    }

    /// Whether the topic belongs to the system.
    pub(crate) fn is_system(&self, topic: &str) -> bool {
        is_system(&self.system, topic)
    }

    /// The names that belong to the system.
    pub(crate) fn system_names(&self) -> &[Str] {
        &self.system
    }

    /// Makes topics with these settings, or gives them these settings; one write to disk for all. The names of those
    /// that did not have them already.
    pub(crate) fn put(&self, configs: Vec<TopicConfig>) -> Result<Vec<Str>, SaveError> {
        let mut change = self.change();
        let is_new = |change: &Change<'_>, config: &TopicConfig| {
            let known = change.now.topics.get(&config.topic_name);
            known.is_none_or(|topic| topic.config != *config)
        };
        let mut names = Vec::new();
        for config in configs {
            if is_new(&change, &config) {
                names.push(config.topic_name.clone());
                change.insert(config);
            }
        }
        if !names.is_empty() {
            change.publish()?;
        }
        Ok(names)
    }

    /// Makes those topics that do not exist yet, and marks them and the others as ordered or not where that is said; one
    /// write to disk for all. The names of those that were made, or `None` when nothing had to change.
    pub(crate) fn ensure_all(
        &self,
        configs: Vec<(TopicConfig, Option<bool>)>,
    ) -> Result<Option<Vec<Str>>, SaveError> {
        let mut change = self.change();
        let mut made = Vec::new();
        let mut is_changed = false;
        for (config, order) in configs {
            let known = change.now.topics.get(&config.topic_name);
            let now = known.map(|topic| &topic.config);
            let config = match (now, order) {
                (Some(now), Some(order)) if now.order != order => TopicConfig { order, ..now.clone() },
                (Some(_), _) => continue,
                (None, order) => {
                    made.push(config.topic_name.clone());
                    TopicConfig {
                        order: order.unwrap_or(config.order),
                        ..config
                    }
                }
            };
            change.insert(config);
            is_changed = true;
        }
        if !is_changed {
            return Ok(None);
        }
        change.publish()?;
        Ok(Some(made))
    }

    /// The topic, made with these settings if there is none; and whether it was made.
    pub(crate) fn ensure(&self, config: TopicConfig) -> Result<(Arc<Topic>, bool), SaveError> {
        if let Some(topic) = self.get(&config.topic_name) {
            return Ok((topic, false));
        }
        let mut change = self.change();
        if let Some(topic) = change.now.topics.get(&config.topic_name) {
            return Ok((Arc::clone(topic), false));
        }
        let topic = change.insert(config);
        change.publish()?;
        Ok((topic, true))
    }

    /// The settings a send would create a topic with, if `model` is a topic that others may be made from.
    pub(crate) fn derive(
        &self,
        config: &Config,
        topic: &str,
        model: &str,
        queues: i32,
    ) -> Option<TopicConfig> {
        let model = self.get(model)?;
        let inherits = model.config.perm & perm::INHERIT != 0;
        let is_default = model.config.topic_name == AUTO_CREATE_TOPIC;
        let is_full = self.table.load().topics.len() >= config.topics_max as usize;
        if !inherits || is_full || (is_default && !config.auto_create_topic_enable) {
            return None;
        }
        let queues = queues.min(model.config.write_queue_nums).max(0);
        Some(TopicConfig {
            topic_name: topic.into(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: model.config.perm & !perm::INHERIT,
            topic_filter_type: model.config.topic_filter_type,
            ..TopicConfig::default()
        })
    }

    /// Marks topics as ordered, those of them that are there and are not.
    pub(crate) fn mark_ordered<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), SaveError> {
        let mut change = self.change();
        let mut marked = false;
        for name in names {
            let known = change.now.topics.get(name);
            let Some(topic) = known.filter(|topic| !topic.config.order) else {
                continue;
            };
            let config = TopicConfig {
                order: true,
                ..topic.config.clone()
            };
            change.insert(config);
            marked = true;
        }
        if marked { change.publish() } else { Ok(()) }
    }

    /// Forgets topics.
    pub(crate) fn remove(&self, names: &[Str]) -> Result<(), SaveError> {
        let mut change = self.change();
        for name in names {
            change.remove(name);
        }
        if change.removed.is_empty() {
            Ok(())
        } else {
            change.publish()
        }
    }

    /// Takes over from the table of a master what is new in it or other than here, also its version. The names of those topics.
    pub(crate) fn follow(&self, master: &TopicConfigTable) -> Result<Vec<Str>, SaveError> {
        let mut change = self.change();
        let mut changed = Vec::new();
        for (name, config) in &master.topic_config_table {
            let known = change.now.topics.get(name);
            // Whatever it says inside, a topic is called what it is listed as.
            let config = TopicConfig {
                topic_name: name.clone(),
                ..config.clone()
            };
            if known.is_none_or(|topic| topic.config != config) {
                changed.push(name.clone());
                change.insert(config);
            }
        }
        if !changed.is_empty() {
            change.publish_as(master.data_version)?;
        }
        Ok(changed)
    }

    /// Forgets all topics that the table of a master does not have. Their names.
    pub(crate) fn remove_others(&self, master: &TopicConfigTable) -> Result<Vec<Str>, SaveError> {
        let mut change = self.change();
        let names = change.now.topics.keys();
        let gone: Vec<Str> = names
            .filter(|name| !master.topic_config_table.contains_key(*name) && !self.is_system(name))
            .cloned()
            .collect();
        if !gone.is_empty() {
            for name in &gone {
                change.remove(name);
            }
            change.publish_as(master.data_version)?;
        }
        Ok(gone)
    }

    /// Does something about a name that no topic has, while none can get it. `None`: there is one.
    pub(crate) fn while_absent<T>(&self, topic: &str, work: impl FnOnce() -> T) -> Option<T> {
        let _one = self.changing.lock();
        self.get(topic).is_none().then(work)
    }

    /// Counts a change without one, so that name servers take the topics anew.
    pub(crate) fn touch(&self) -> Result<(), SaveError> {
        self.change().publish()
    }

    /// The same for what `make` changes elsewhere: it is called when it is durable that this counts, and before anybody sees
    /// it, so that no name server is told the new version with what was before.
    pub(crate) fn touch_for<T>(&self, make: impl FnOnce() -> T) -> Result<T, SaveError> {
        let change = self.change();
        let version = change.next_version();
        change.publish_with(version, make)
    }

    fn change(&self) -> Change<'_> {
        let one = self.changing.lock();
        Change {
            now: self.table.load_full(),
            put: Vec::new(),
            removed: Vec::new(),
            topics: self,
            _one: one,
        }
    }
}

/// Has the file written soon after each change, until `stop`.
pub(crate) async fn keep_saving(b: Arc<Broker>, stop: CancellationToken) {
    let topics = Arc::clone(&b.topics);
    let save = move || topics.save();
    b.topics.ledger.keep_saving(save, stop).await;
}

fn is_system(names: &[Str], topic: &str) -> bool {
    crate::names::has_system_prefix(topic) || names.iter().any(|name| name == topic)
}

/// A change of the table under way; others wait.
struct Change<'a> {
    now: Arc<TopicMap>,
    put: Vec<Str>,
    removed: Vec<Str>,
    topics: &'a Topics,
    _one: MutexGuard<'a, ()>,
}

impl Change<'_> {
    fn insert(&mut self, config: TopicConfig) -> Arc<Topic> {
        let table = &mut Arc::make_mut(&mut self.now).topics;
        let traffic = table
            .get(&config.topic_name)
            .map(|topic| Arc::clone(&topic.traffic))
            .unwrap_or_default();
        let name = config.topic_name.clone();
        let is_system = self.topics.is_system(&name);
        let topic = Arc::new(Topic::new(config, traffic, is_system));
        table.insert(name.clone(), Arc::clone(&topic));
        self.put.push(name);
        topic
    }

    fn remove(&mut self, name: &Str) {
        if Arc::make_mut(&mut self.now).topics.remove(name).is_some() {
            self.removed.push(name.clone());
        }
    }

    /// Makes the change durable, then shows it to everyone.
    fn publish(self) -> Result<(), SaveError> {
        let version = self.next_version();
        self.publish_as(version)
    }

    fn next_version(&self) -> DataVersion {
        DataVersion {
            counter: self.now.version.counter + 1,
            timestamp: self.topics.env.clock.now_ms(),
            ..self.now.version
        }
    }

    fn publish_as(self, version: DataVersion) -> Result<(), SaveError> {
        self.publish_with(version, || ())
    }

    /// `make` is called in between.
    fn publish_with<T>(mut self, version: DataVersion, make: impl FnOnce() -> T) -> Result<T, SaveError> {
        let now = Arc::make_mut(&mut self.now);
        now.version = version;
        now.step += 1;
        let configs = self.put.iter().filter_map(|name| now.topics.get(name));
        let change = TopicChange {
            data_version: version,
            put: configs.map(|topic| topic.config.clone()).collect(),
            removed: self.removed,
        };
        self.topics.ledger.record(&change, || now.to_file())?;
        let made = make();
        // A change without topics is one of all of them; and nobody is told what is gone.
        let is_all = change.put.is_empty() || !change.removed.is_empty();
        let mut news = self.topics.news.lock();
        if news.len() >= NEWS_MAX {
            news.pop_front();
        }
        news.push_back(News {
            step: now.step,
            names: (!is_all).then_some(self.put),
        });
        drop(news);
        self.topics.table.store(self.now);
        Ok(made)
    }
}
