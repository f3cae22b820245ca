// SPDX-License-Identifier: Apache-2.0
//! Consumer groups: their settings, kept in `config/subscriptionGroup.json`, and what they may not read.
//!
//! As with topics, readers take a snapshot without a lock and a change is saved before anyone sees it. Who is connected
//! is not known here (see `clients.rs`), nor how far a group has read (see `offset.rs`).

pub(crate) mod conflicts;
pub(crate) mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use store::Env;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use wire::Str;
use wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupTable};
use wire::body::topic::DataVersion;
use wire::fastjson;

use crate::broker::Broker;
use crate::config::Config;
use crate::names::{SYSTEM_GROUP_PREFIX, SYSTEM_GROUPS, group_error};
use crate::saved::ledger::Ledger;
use crate::saved::{LoadError, SaveError};
use crate::shards::Shards;

/// The bit of a group's forbidden table that forbids reading.
const FORBIDDEN_READ: i32 = 1 << 2;

/// Topics a group may not use, as bits.
type Forbidden = BTreeMap<Str, BTreeMap<Str, i32>>;

/// All groups as they are at one moment.
#[derive(Clone, Default)]
pub(crate) struct GroupMap {
    /// Counts the changes that led here.
    pub(crate) version: DataVersion,
    pub(crate) groups: Shards<Arc<SubscriptionGroupConfig>>,
    pub(crate) forbidden: Forbidden,
}

impl GroupMap {
    fn to_file(&self) -> Vec<u8> {
        fastjson::to_vec_pretty(&GroupsFile {
            data_version: self.version,
            forbidden_table: &self.forbidden,
            subscription_group_table: self.groups.iter().map(|(k, v)| (k.as_str(), &**v)).collect(),
        })
    }
}

/// A change, as the journal keeps it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupChange {
    data_version: DataVersion,
    put: Vec<SubscriptionGroupConfig>,
    removed: Vec<Str>,
    /// What these groups may not read now.
    forbidden: Forbidden,
}

/// The consumer groups of a broker.
pub(crate) struct Groups {
    table: ArcSwap<GroupMap>,
    /// Held while the table changes, which takes a write to disk. Readers do not need it.
    changing: Mutex<()>,
    ledger: Ledger,
    /// Whether the table lacks groups, as far as anybody knows.
    pub(crate) is_lost: bool,
    env: Env,
}

/// `subscriptionGroup.json`, written without copying the settings.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupsFile<'a> {
    data_version: DataVersion,
    forbidden_table: &'a Forbidden,
    subscription_group_table: BTreeMap<&'a str, &'a SubscriptionGroupConfig>,
}

impl Groups {
    /// The groups of the system, and over them those that were saved.
    pub(crate) fn open(config: &Config, env: Env) -> Result<Groups, LoadError> {
        let path = config.config_dir().join("subscriptionGroup.json");
        let found = Ledger::open::<SubscriptionGroupTable, GroupChange>(&env, &path)?;
        let mut saved = found.table.unwrap_or_default();
        for change in found.changes {
            saved.data_version = change.data_version;
            for name in &change.removed {
                saved.subscription_group_table.remove(name);
                saved.forbidden_table.remove(name);
            }
            let put = change
                .put
                .into_iter()
                .map(|group| (group.group_name.clone(), group));
            saved.subscription_group_table.extend(put);
            for (group, topics) in change.forbidden {
                if topics.is_empty() {
                    saved.forbidden_table.remove(&group);
                } else {
                    saved.forbidden_table.insert(group, topics);
                }
            }
        }
        let mut version = saved.data_version;
        if version == DataVersion::default() {
            version.timestamp = env.clock.now_ms();
        }
        let system = SYSTEM_GROUPS
            .iter()
            .map(|name| (Str::const_new(name), Arc::new(settings_of(name))));
        let mut groups: Shards<_> = system.collect();
        groups.extend(
            saved
                .subscription_group_table
                .into_iter()
                .map(|(name, group)| (name, Arc::new(group))),
        );
        let table = GroupMap {
            version,
            groups,
            forbidden: saved.forbidden_table,
        };
        Ok(Groups {
            table: ArcSwap::from_pointee(table),
            changing: Mutex::new(()),
            ledger: found.ledger,
            is_lost: found.is_lost,
            env,
        })
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

    /// A group that exists.
    pub(crate) fn find(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        self.table.load().groups.get(group).cloned()
    }

    /// A group, which is made when it does not exist and `config` lets groups come into being by themselves. Writes a
    /// file then.
    pub(crate) fn get(&self, config: &Config, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        if let Some(found) = self.find(group) {
            return Some(found);
        }
        if !self.may_come_into_being(config, group) {
            return None;
        }
        let mut change = self.change();
        if let Some(found) = change.now.groups.get(group) {
            return Some(Arc::clone(found));
        }
        let made = change.insert(settings_of(group));
        match change.publish() {
            Ok(()) => Some(made),
            Err(error) => {
                warn!(group, file = %error.path.display(), error = %error.source, "group cannot be created; clients try again");
                None
            }
        }
    }

    /// Makes those groups that do not exist and may come into being by themselves, with one write to disk.
    pub(crate) fn ensure_all<'a>(&self, config: &Config, groups: impl Iterator<Item = &'a Str>) {
        let mut change = self.change();
        let known = change.now.groups.len();
        let room = (config.groups_max as usize).saturating_sub(known);
        let mut first = None;
        for group in groups {
            let is_known = change.now.groups.contains_key(group);
            if is_known || change.now.groups.len() >= known + room || !self.may_come_into_being(config, group)
            {
                continue;
            }
            change.insert(settings_of(group));
            first = first.or(Some(group.as_str()));
        }
        let count = change.now.groups.len() - known;
        if change.now.groups.len() == known {
            return;
        }
        if let Err(error) = change.publish() {
            warn!(group = first, count, file = %error.path.display(), error = %error.source, "groups cannot be created; trying again with their next heartbeat");
        }
    }

    /// Whether a group that does not exist would be made at its first use.
    pub(crate) fn may_come_into_being(&self, config: &Config, group: &str) -> bool {
        let is_system = group.starts_with(SYSTEM_GROUP_PREFIX) && config.enable_create_sys_group;
        let is_full = self.table.load().groups.len() >= config.groups_max as usize;
        (config.auto_create_subscription_group || is_system) && !is_full && group_error(group).is_none()
    }

    /// Whether request 353 has forbidden the group to read the topic.
    pub(crate) fn may_not_read(&self, group: &str, topic: &str) -> bool {
        let table = self.table.load();
        let bits = table.forbidden.get(group).and_then(|topics| topics.get(topic));
        bits.is_some_and(|bits| bits & FORBIDDEN_READ != 0)
    }

    /// All groups as they are now, and the version that belongs to them.
    pub(crate) fn all(&self) -> Guard<Arc<GroupMap>> {
        self.table.load()
    }

    /// Makes those of these groups that there are not, of which the table was lost. How many.
    pub(crate) fn restore(&self, names: BTreeSet<Str>) -> Result<usize, SaveError> {
        let mut change = self.change();
        let before = change.now.groups.len();
        for name in names {
            if !change.now.groups.contains_key(&name) && group_error(&name).is_none() {
                change.insert(settings_of(&name));
            }
        }
        let count = change.now.groups.len() - before;
        if count > 0 {
            change.publish()?;
        }
        Ok(count)
    }

    /// Makes groups with these settings, or gives them these settings. Nothing is written when nothing changes.
    pub(crate) fn put(&self, configs: Vec<SubscriptionGroupConfig>) -> Result<(), SaveError> {
        let mut change = self.change();
        let mut changed = false;
        for config in configs {
            if change
                .now
                .groups
                .get(&config.group_name)
                .is_some_and(|group| **group == config)
            {
                continue;
            }
            change.insert(config);
            changed = true;
        }
        if changed { change.publish() } else { Ok(()) }
    }

    /// Forgets a group and what it may not read.
    pub(crate) fn remove(&self, group: &str) -> Result<(), SaveError> {
        let mut change = self.change();
        if change.remove(group) {
            change.publish()
        } else {
            Ok(())
        }
    }

    /// Forbids a group to read a topic, or allows it again.
    pub(crate) fn forbid(&self, group: &str, topic: &str, is_forbidden: bool) -> Result<(), SaveError> {
        if self.may_not_read(group, topic) == is_forbidden {
            return Ok(());
        }
        let mut change = self.change();
        let forbidden = &mut Arc::make_mut(&mut change.now).forbidden;
        let topics = forbidden.entry(group.into()).or_default();
        let bits = topics.entry(topic.into()).or_default();
        *bits = if is_forbidden {
            *bits | FORBIDDEN_READ
        } else {
            *bits & !FORBIDDEN_READ
        };
        if *bits == 0 {
            topics.remove(topic);
        }
        if topics.is_empty() {
            forbidden.remove(group);
        }
        change.forbidden.push(group.into());
        change.publish()
    }

    /// Takes over the table of a master as it is, also its version. The names of groups that are gone; nothing is written
    /// when nothing changes.
    pub(crate) fn follow(&self, master: SubscriptionGroupTable) -> Result<Vec<Str>, SaveError> {
        let mut change = self.change();
        let is_system = |name: &Str| SYSTEM_GROUPS.contains(&name.as_str());
        let now = &change.now;
        let names = now.groups.keys();
        let gone: Vec<Str> = names
            .filter(|name| !master.subscription_group_table.contains_key(*name) && !is_system(name))
            .cloned()
            .collect();
        let (now, asked) = (Arc::clone(&change.now), master.subscription_group_table);
        for group in &gone {
            change.remove(group);
        }
        for (name, group) in asked {
            if now.groups.get(&name).is_none_or(|known| **known != group) {
                change.insert_as(name, group);
            }
        }
        let forbidden = |table: &Forbidden| table.keys().cloned().collect::<BTreeSet<_>>();
        let both = forbidden(&now.forbidden)
            .union(&forbidden(&master.forbidden_table))
            .cloned()
            .collect::<Vec<_>>();
        change.forbidden.extend(
            both.into_iter()
                .filter(|group| now.forbidden.get(group) != master.forbidden_table.get(group)),
        );
        if change.is_empty() {
            return Ok(gone);
        }
        Arc::make_mut(&mut change.now).forbidden = master.forbidden_table;
        change.publish_as(master.data_version)?;
        Ok(gone)
    }

    fn change(&self) -> Change<'_> {
        let one = self.changing.lock();
        Change {
            now: self.table.load_full(),
            put: Vec::new(),
            removed: Vec::new(),
            forbidden: Vec::new(),
            groups: self,
            _one: one,
        }
    }
}

/// The settings of a group that nobody has set.
fn settings_of(group: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig {
        group_name: group.into(),
        ..SubscriptionGroupConfig::default()
    }
}

/// Has the file written soon after each change, until `stop`.
pub(crate) async fn keep_saving(b: Arc<Broker>, stop: CancellationToken) {
    let saving = Arc::clone(&b);
    b.groups
        .ledger
        .keep_saving(move || saving.groups.save(), stop)
        .await;
}

/// A change of the table under way; others wait.
struct Change<'a> {
    now: Arc<GroupMap>,
    put: Vec<Str>,
    removed: Vec<Str>,
    /// Groups for which it is changed what they may not read.
    forbidden: Vec<Str>,
    groups: &'a Groups,
    _one: MutexGuard<'a, ()>,
}

impl Change<'_> {
    fn insert(&mut self, config: SubscriptionGroupConfig) -> Arc<SubscriptionGroupConfig> {
        self.insert_as(config.group_name.clone(), config)
    }

    /// Whatever it says inside, a group is called what it is listed as.
    fn insert_as(
        &mut self,
        group_name: Str,
        config: SubscriptionGroupConfig,
    ) -> Arc<SubscriptionGroupConfig> {
        let made = Arc::new(SubscriptionGroupConfig {
            group_name: group_name.clone(),
            ..config
        });
        let groups = &mut Arc::make_mut(&mut self.now).groups;
        groups.insert(group_name.clone(), Arc::clone(&made));
        self.put.push(group_name);
        made
    }

    /// Whether there was anything to remove.
    fn remove(&mut self, group: &str) -> bool {
        let now = Arc::make_mut(&mut self.now);
        let was_there = now.groups.remove(group).is_some();
        let was_forbidden = now.forbidden.remove(group).is_some();
        if was_there || was_forbidden {
            self.removed.push(group.into());
        }
        was_there || was_forbidden
    }

    fn is_empty(&self) -> bool {
        self.put.is_empty() && self.removed.is_empty() && self.forbidden.is_empty()
    }

    /// Makes the change durable, then shows it to everyone.
    fn publish(self) -> Result<(), SaveError> {
        let version = DataVersion {
            counter: self.now.version.counter + 1,
            timestamp: self.groups.env.clock.now_ms(),
            ..self.now.version
        };
        self.publish_as(version)
    }

    fn publish_as(mut self, version: DataVersion) -> Result<(), SaveError> {
        let now = Arc::make_mut(&mut self.now);
        now.version = version;
        let put = self.put.iter().filter_map(|name| now.groups.get(name));
        let forbidden = self.forbidden.into_iter().map(|group| {
            let topics = now.forbidden.get(&group).cloned().unwrap_or_default();
            (group, topics)
        });
        let change = GroupChange {
            data_version: version,
            put: put.map(|group| SubscriptionGroupConfig::clone(group)).collect(),
            removed: self.removed,
            forbidden: forbidden.collect(),
        };
        self.groups.ledger.record(&change, || now.to_file())?;
        self.groups.table.store(self.now);
        Ok(())
    }
}
