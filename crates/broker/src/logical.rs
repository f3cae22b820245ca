// SPDX-License-Identifier: Apache-2.0
//! Static topics: topics of logical queues, which are rows of stretches of queues on several brokers. Which of them this broker
//! has a part in is kept in `config/topicQueueMapping.json`, the reference's file, and told to name servers; requests that
//! name a logical queue are turned into such about a queue, here or elsewhere, and the answers back (`logical/translate.rs`).
//!
//! Tools decide what is where (request 513) and tell every broker. A broker takes what does not contradict what it has.

mod away;
mod item;
mod pull;
pub(crate) mod requests;
mod translate;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use store::Env;
use thiserror::Error;
use tracing::warn;
use wire::Str;
use wire::body::topic::DataVersion;
use wire::body::topic_route::{LogicQueueItem, TopicQueueMapping, TopicQueueMappingTable};

use crate::config::Config;
use crate::logical::away::Away;
use crate::saved::{self, LoadError, SaveError};
pub(crate) use translate::serve;

/// Most logical queues of a topic, and stretches of one.
const QUEUES_MAX: usize = 65_536;
const ITEMS_MAX: usize = 1024;
/// Most static topics.
const TOPICS_MAX: usize = 10_000;

type Table = BTreeMap<Str, Arc<TopicQueueMapping>>;

/// Why a mapping is not taken.
#[derive(Debug, Error)]
pub(crate) enum MappingError {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("there are {0} logical queues, allowed are {QUEUES_MAX} of at most {ITEMS_MAX} stretches")]
    TooLarge(usize),
    #[error("there are {TOPICS_MAX} static topics, which is the limit")]
    Full,
    #[error("Can't accept data with small epoch {0} < {1}")]
    OldEpoch(i64, i64),
    #[error("Can't accept data with unmatched scope {0} != {1}")]
    OtherScope(Str, Str),
    #[error(transparent)]
    Save(#[from] SaveError),
}

/// The static topics of a broker.
pub(crate) struct Mappings {
    now: ArcSwap<TopicQueueMappingTable>,
    /// Held while they change.
    changing: Mutex<()>,
    /// Held while a topic and its mapping change together.
    pub(crate) pairing: Mutex<()>,
    away: Away,
    path: PathBuf,
    env: Env,
}

impl Mappings {
    pub(crate) fn open(config: &Config, env: Env) -> Result<Mappings, LoadError> {
        let path = config.config_dir().join("topicQueueMapping.json");
        let mut file = saved::load::<TopicQueueMappingTable>(&env, &path)?.unwrap_or_default();
        if file.data_version == DataVersion::default() {
            file.data_version.timestamp = env.clock.now_ms();
        }
        Ok(Mappings {
            now: ArcSwap::from_pointee(file),
            changing: Mutex::new(()),
            pairing: Mutex::new(()),
            away: Away::default(),
            path,
            env,
        })
    }

    /// Forgets the mappings of topics that are not there: a crash came between the deletion of a topic and that of its mapping.
    pub(crate) fn keep(&self, is_topic: impl Fn(&str) -> bool) -> Result<(), SaveError> {
        let gone = self.details(|topic| !is_topic(topic));
        for topic in gone.keys() {
            warn!(%topic, "the mapping of a static topic that was deleted is dropped");
            self.remove(topic)?;
        }
        Ok(())
    }

    /// Whether there is none, as nearly everywhere.
    pub(crate) fn is_empty(&self) -> bool {
        self.now.load().topic_queue_mapping_info_map.is_empty()
    }

    pub(crate) fn get(&self, topic: &str) -> Option<Arc<TopicQueueMapping>> {
        self.now.load().topic_queue_mapping_info_map.get(topic).cloned()
    }

    pub(crate) fn version(&self) -> DataVersion {
        self.now.load().data_version
    }

    /// The mappings of these topics in the long form, for slaves and tools.
    pub(crate) fn details(&self, wanted: impl Fn(&str) -> bool) -> Table {
        let now = self.now.load();
        let all = now.topic_queue_mapping_info_map.iter();
        all.filter(|(topic, _)| wanted(topic))
            .map(|(topic, mapping)| (topic.clone(), Arc::clone(mapping)))
            .collect()
    }

    /// The same in the short form, for name servers: which logical queues are written to here.
    pub(crate) fn infos(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<Str, TopicQueueMapping> {
        let short = |mapping: Arc<TopicQueueMapping>| TopicQueueMapping {
            bname: mapping.bname.clone(),
            curr_id_map: Some(written_here(&mapping)),
            dirty: mapping.dirty,
            epoch: mapping.epoch,
            hosted_queues: None,
            scope: mapping.scope.clone(),
            topic: mapping.topic.clone(),
            total_queues: mapping.total_queues,
        };
        let details = self.details(wanted).into_iter();
        details.map(|(topic, mapping)| (topic, short(mapping))).collect()
    }

    /// Takes a mapping that a tool has made. With `force` it replaces what is known; queues that it does not name stay.
    pub(crate) fn put(&self, mut mapping: TopicQueueMapping, force: bool) -> Result<(), MappingError> {
        check(&mapping)?;
        let _one = self.changing.lock();
        let mut now = TopicQueueMappingTable::clone(&self.now.load());
        let table = &mut now.topic_queue_mapping_info_map;
        match table.get(&mapping.topic) {
            Some(known) => merge(known, &mut mapping, force)?,
            None if table.len() >= TOPICS_MAX => return Err(MappingError::Full),
            None => {}
        }
        table.insert(mapping.topic.clone(), Arc::new(mapping));
        self.publish(now)?;
        Ok(())
    }

    /// Forgets a topic that was deleted.
    pub(crate) fn remove(&self, topic: &str) -> Result<(), SaveError> {
        let _one = self.changing.lock();
        let mut now = TopicQueueMappingTable::clone(&self.now.load());
        match now.topic_queue_mapping_info_map.remove(topic) {
            Some(_) => self.publish(now),
            None => Ok(()),
        }
    }

    /// Takes over the table of a master, if it is another one.
    pub(crate) fn follow(
        &self,
        version: DataVersion,
        table: &BTreeMap<Str, TopicQueueMapping>,
    ) -> Result<bool, SaveError> {
        let _one = self.changing.lock();
        let now = self.now.load();
        let known = now.topic_queue_mapping_info_map.iter();
        let is_same = known.map(|(topic, mapping)| (topic, &**mapping)).eq(table.iter());
        if is_same {
            return Ok(false);
        }
        let table = table.iter();
        self.write(TopicQueueMappingTable {
            data_version: version,
            topic_queue_mapping_info_map: table
                .map(|(topic, mapping)| (topic.clone(), Arc::new(mapping.clone())))
                .collect(),
        })?;
        Ok(true)
    }

    fn publish(&self, mut file: TopicQueueMappingTable) -> Result<(), SaveError> {
        file.data_version.counter += 1;
        file.data_version.timestamp = self.env.clock.now_ms();
        self.write(file)
    }

    fn write(&self, file: TopicQueueMappingTable) -> Result<(), SaveError> {
        saved::save(&self.env, &self.path, &file)?;
        self.now.store(Arc::new(file));
        Ok(())
    }
}

/// The stretches of a logical queue, oldest first; none where this broker has no part in it.
pub(crate) fn items(mapping: &TopicQueueMapping, queue: i32) -> &[LogicQueueItem] {
    let hosted = mapping.hosted_queues.as_ref();
    hosted
        .and_then(|hosted| hosted.get(&queue))
        .map_or(&[], Vec::as_slice)
}

/// The logical queues that are written to here, each with its queue.
fn written_here(mapping: &TopicQueueMapping) -> BTreeMap<i32, i32> {
    let hosted = mapping.hosted_queues.iter().flatten();
    let last = hosted.filter_map(|(queue, items)| Some((*queue, items.last()?)));
    last.filter(|(_, item)| item.bname == mapping.bname)
        .map(|(queue, item)| (queue, item.queue_id))
        .collect()
}

fn check(mapping: &TopicQueueMapping) -> Result<(), MappingError> {
    let hosted = mapping.hosted_queues.iter().flatten();
    let count = mapping.hosted_queues.as_ref().map_or(0, BTreeMap::len);
    for (_, items) in hosted {
        if count > QUEUES_MAX || items.len() > ITEMS_MAX {
            return Err(MappingError::TooLarge(count));
        }
        if let Some(fault) = item::fault_of(items) {
            return Err(MappingError::Invalid(fault));
        }
    }
    Ok(())
}

/// Adds to a new mapping what only the known one has, if the two do not contradict each other.
fn merge(known: &TopicQueueMapping, new: &mut TopicQueueMapping, force: bool) -> Result<(), MappingError> {
    if !force {
        if new.epoch < known.epoch {
            return Err(MappingError::OldEpoch(new.epoch, known.epoch));
        }
        if new.scope != known.scope {
            return Err(MappingError::OtherScope(new.scope.clone(), known.scope.clone()));
        }
    }
    let is_same_epoch = new.epoch == known.epoch;
    let hosted = new.hosted_queues.get_or_insert_default();
    for (queue, items) in known.hosted_queues.iter().flatten() {
        match hosted.get(queue) {
            None if is_same_epoch && !force => {
                return Err(MappingError::Invalid("Cannot accept equal epoch with null data"));
            }
            None => drop(hosted.insert(*queue, items.clone())),
            Some(_) if force => {}
            Some(new) => continues(items, new, is_same_epoch)?,
        }
    }
    Ok(())
}

/// Whether a row of stretches goes on from a known one: those that both have are the same.
fn continues(
    known: &[LogicQueueItem],
    new: &[LogicQueueItem],
    is_same_epoch: bool,
) -> Result<(), MappingError> {
    let Some(last) = known.last() else {
        return Ok(());
    };
    let Some(new_last) = new.last() else {
        return Err(MappingError::Invalid("The new item list is null or empty"));
    };
    let is_same = |a: &LogicQueueItem, b: &LogicQueueItem| {
        a.bname == b.bname && a.queue_id == b.queue_id && a.start_offset == b.start_offset
    };
    for item in known {
        let same = new.iter().find(|new| new.generation == item.generation);
        let moved = |new: &LogicQueueItem| item::is_placed(item) && new.logic_offset != item.logic_offset;
        if same.is_some_and(|new| !is_same(item, new) || moved(new)) {
            return Err(MappingError::Invalid(
                "A stretch that is known cannot change its queue or where it begins",
            ));
        }
    }
    if is_same_epoch && (last.generation != new_last.generation || !is_same(last, new_last)) {
        return Err(MappingError::Invalid(
            "The new leader is different but epoch equal",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::item::tests::item;
    use super::*;

    fn mapping(epoch: i64, items: &[LogicQueueItem]) -> TopicQueueMapping {
        TopicQueueMapping {
            bname: "a".into(),
            epoch,
            hosted_queues: Some(BTreeMap::from([(0, items.to_vec())])),
            scope: "__global__".into(),
            topic: "S".into(),
            total_queues: 1,
            ..TopicQueueMapping::default()
        }
    }

    #[test]
    fn a_mapping_goes_on_from_the_known_one_or_is_refused() {
        let first = item(0, "a", (0, -1, 0));
        let ended = item(0, "a", (0, 50, 0));
        let next = item(1, "b", (0, -1, 1000));
        let known = mapping(1, std::slice::from_ref(&first));
        let try_with = |epoch, items: &[LogicQueueItem], force| {
            let mut new = mapping(epoch, items);
            merge(&known, &mut new, force).map(|()| new)
        };
        assert!(
            try_with(1, std::slice::from_ref(&first), false).is_ok(),
            "the same again"
        );
        assert!(try_with(2, &[ended.clone(), next.clone()], false).is_ok());
        let old = try_with(0, std::slice::from_ref(&first), false)
            .unwrap_err()
            .to_string();
        assert_eq!(old, "Can't accept data with small epoch 0 < 1");
        assert!(
            try_with(1, &[ended.clone(), next.clone()], false).is_err(),
            "without a new epoch"
        );
        assert!(
            try_with(2, &[item(0, "c", (0, 50, 0)), next.clone()], false).is_err(),
            "another past"
        );
        assert!(try_with(2, &[], false).is_err());
        assert!(try_with(0, &[item(0, "c", (0, -1, 0))], true).is_ok(), "by force");
        let mut other = mapping(2, std::slice::from_ref(&first));
        other.scope = "other".into();
        assert!(merge(&known, &mut other, false).is_err());
        // A queue that is not named stays, but not within one epoch.
        let mut without = mapping(2, &[]);
        without.hosted_queues = None;
        merge(&known, &mut without, false).unwrap();
        assert_eq!(items(&without, 0), [first]);
        let mut without = TopicQueueMapping {
            hosted_queues: None,
            ..mapping(1, &[])
        };
        assert!(merge(&known, &mut without, false).is_err());
    }

    #[test]
    fn only_the_last_stretch_is_written_to() {
        let here = mapping(1, &[item(0, "b", (0, 9, 0)), item(3, "a", (0, -1, 10))]);
        assert_eq!(written_here(&here), BTreeMap::from([(0, 3)]));
        let elsewhere = mapping(1, &[item(0, "a", (0, 9, 0)), item(1, "b", (0, -1, 10))]);
        assert_eq!(written_here(&elsewhere), BTreeMap::new());
    }
}
