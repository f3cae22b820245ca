// SPDX-License-Identifier: Apache-2.0
//! Tables that were lost, made anew of what the rest of the store tells: topics of the queues, groups of their retry topics
//! and of the offsets. What else was set is not known to anybody, which is told.
//!
//! A table is lost when its file is missing or damaged and no journal knows better: what its backup lacks is added. When the
//! backup is damaged too the start ends instead ([`crate::saved::LoadError::Damaged`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use store::{Env, QueueKind, Store};
use tracing::warn;
use wire::Str;
use wire::body::topic::TopicConfig;

use crate::attributes::{BATCH_CQ, CLEANUP_POLICY, COMPACTION, QUEUE_TYPE};
use crate::config::Config;
use crate::group::Groups;
use crate::names::{DLQ_PREFIX, RETRY_PREFIX, topic_error};
use crate::offset::Offsets;
use crate::saved::{LoadError, SaveError};
use crate::topic::{QUEUES_MAX, Topics, perm};

/// Topics by name.
type Found = BTreeMap<Str, TopicConfig>;

/// What is in the directories of a store that is not open yet. How a topic is kept has to be known before.
pub(crate) fn topics_on_disk(config: &Config, env: &Env) -> Result<Found, LoadError> {
    let root = Path::new(config.store_path_root_dir.as_str());
    let mut found = Found::new();
    let kinds = [
        ("consumequeue", None),
        ("batchconsumequeue", Some((QUEUE_TYPE, BATCH_CQ))),
        ("compaction/compactionLog", Some((CLEANUP_POLICY, COMPACTION))),
    ];
    for (dir, attribute) in kinds {
        let dir = root.join(dir);
        let list = |path: &Path| {
            env.disk.list(path).map_err(|source| LoadError::Io {
                path: path.to_path_buf(),
                source,
            })
        };
        for topic in list(&dir)?.into_iter().filter(|entry| entry.is_dir) {
            let queues = list(&dir.join(&topic.name))?;
            let ids = queues.iter().filter_map(|queue| queue.name.parse().ok());
            note(&mut found, &topic.name, ids.max());
            if let Some((name, value)) = attribute
                && let Some(config) = found.get_mut(topic.name.as_str())
            {
                config.attributes.insert(name.into(), value.into());
            }
        }
    }
    Ok(found)
}

/// Notes that a topic has a queue of this number.
fn note(found: &mut Found, topic: &str, last: Option<i32>) {
    let Some(last) = last.filter(|last| (0..QUEUES_MAX).contains(last)) else {
        return;
    };
    let is_special = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX);
    if topic_error(topic).is_some() && !is_special {
        return;
    }
    let config = found.entry(topic.into()).or_insert_with(|| TopicConfig {
        topic_name: topic.into(),
        perm: perm::READ_WRITE,
        read_queue_nums: 0,
        write_queue_nums: 0,
        ..TopicConfig::default()
    });
    config.read_queue_nums = config.read_queue_nums.max(last + 1);
    config.write_queue_nums = config.read_queue_nums;
}

/// Completes tables that were lost by what the open store has, and says so. Before anybody is served.
pub(crate) fn complete(
    config: &Config,
    (topics, groups): (&Topics, &Groups),
    offsets: &Offsets,
    store: &Store,
) -> Result<(), SaveError> {
    let dir = config.config_dir();
    let mut known = store.topics();
    known.retain(|topic| !topics.is_system(topic));
    if topics.is_lost {
        let mut found = Found::new();
        for topic in known.iter().filter(|topic| topics.get(topic).is_none()) {
            let queues = store.queues_of(topic);
            let last = queues
                .iter()
                .filter_map(|queue| i32::try_from(queue.id()).ok())
                .max();
            note(&mut found, topic, last);
            if queues.iter().any(|queue| queue.kind() == QueueKind::Batch)
                && let Some(config) = found.get_mut(&**topic)
            {
                config.attributes.insert(QUEUE_TYPE.into(), BATCH_CQ.into());
            }
        }
        let count = topics.restore(found.into_values().collect())?;
        if count > 0 {
            warn!(file = %dir.join("topics.json").display(), count, "the table of topics was lost; those that are not in its backup are made anew of their queues, with default settings");
        }
    }
    if groups.is_lost {
        let mut names: BTreeSet<Str> = offsets.groups();
        let strip = |topic: &str| {
            let group = topic
                .strip_prefix(RETRY_PREFIX)
                .or(topic.strip_prefix(DLQ_PREFIX));
            group.map(Str::from)
        };
        names.extend(known.iter().filter_map(|topic| strip(topic)));
        let count = groups.restore(names)?;
        if count > 0 {
            warn!(file = %dir.join("subscriptionGroup.json").display(), count, "the table of groups was lost; those that have read something and are not in its backup are made anew with default settings");
        }
    }
    if offsets.is_lost && !known.is_empty() {
        warn!(file = %dir.join("consumerOffset.json").display(), "there is no table of consumer offsets although there are messages: groups begin where their clients say; put the file back, or set offsets with `barque admin resetOffsetByTime`");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
