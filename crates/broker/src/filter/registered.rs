// SPDX-License-Identifier: Apache-2.0
//! What consumer groups registered in SQL with their heartbeats, by topic and group: in memory, and in
//! `config/consumerFilter.json` in the reference's layout.
//!
//! An expression gives way to one of a newer version only. It outlives its group: it is then dead, works again when the
//! group comes back with the same version, and is forgotten after `filterDataCleanTimeSpan`. What does not compile is not
//! kept. How much is kept is bounded; the longest dead go first.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use store::Env;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use wire::Str;
use wire::body::filter::{FilterData, FilterTable, TopicFilters};
use wire::body::subscription::SubscriptionData;

use super::bloom;
use super::sql::{CompileError, Sql};
use super::{SQL92, is_tag};
use crate::broker::Broker;
use crate::config::Config;
use crate::saved::{self, LoadError, SaveError};

/// Most filters that are kept.
const FILTERS_MAX: usize = 10_000;
/// Most bytes of all their expressions.
const FILTERS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Compiled expressions that are remembered for pulls that bring their own, and the bytes of these.
const REMEMBERED_MAX: usize = 128;
const REMEMBERED_BYTES_MAX: usize = 256 * 1024;
/// How often the file is written when something has changed.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// A filter that lived when the file was written died so long before the start, as far as anyone knows.
const DEAD_BEFORE_START_MS: i64 = 30_000;

/// Why a filter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum BadFilter {
    /// Neither TAG nor SQL92.
    #[error("there is no expression type {0:?}")]
    Type(Str),
    #[error(transparent)]
    Sql(#[from] CompileError),
}

/// What a group wants of a topic.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    /// Version of the subscription.
    pub(crate) version: i64,
    pub(crate) sql: Arc<Sql>,
    expression: Str,
    born_ms: i64,
    dead_ms: i64,
}

impl Registered {
    /// As the client wrote it.
    pub(crate) fn expression(&self) -> &str {
        &self.expression
    }

    /// As it stands in the file.
    fn data(&self, topic: &str, group: &str) -> FilterData {
        FilterData {
            bloom_filter_data: Some(bloom::bits(group, topic)),
            born_time: self.born_ms,
            client_version: self.version,
            consumer_group: group.into(),
            dead: self.is_dead(),
            dead_time: self.dead_ms,
            expression: self.expression.clone(),
            expression_type: Str::const_new(SQL92),
            topic: topic.into(),
        }
    }

    fn is_dead(&self) -> bool {
        self.dead_ms >= self.born_ms
    }
}

type Groups = BTreeMap<Str, Registered>;

#[derive(Debug, Default)]
struct Table {
    topics: BTreeMap<Str, Groups>,
    is_changed: bool,
}

#[derive(Debug, Default)]
struct Remembered {
    compiled: HashMap<Box<str>, Result<Arc<Sql>, CompileError>>,
    bytes: usize,
}

/// The filters of all groups.
pub(crate) struct Filters {
    env: Env,
    path: PathBuf,
    table: Mutex<Table>,
    remembered: Mutex<Remembered>,
    saving: Mutex<()>,
}

impl std::fmt::Debug for Filters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filters").finish_non_exhaustive()
    }
}

impl Filters {
    /// Reads the file, or its backup. All groups count as offline.
    pub(crate) fn open(config: &Config, env: Env) -> Result<Filters, LoadError> {
        let path = config.config_dir().join("consumerFilter.json");
        let file = saved::load::<FilterTable>(&env, &path)?.unwrap_or_default();
        let filters = Filters {
            env,
            path,
            table: Mutex::default(),
            remembered: Mutex::default(),
            saving: Mutex::default(),
        };
        for (topic, filters_of_topic) in file.filter_data_by_topic {
            for (group, data) in filters_of_topic.group_filter_data {
                filters.restore(&topic, group, data);
            }
        }
        filters.table.lock().is_changed = false;
        Ok(filters)
    }

    /// What a group registered, as it stands in the file.
    pub(crate) fn data_of(&self, topic: &str, group: &str) -> Option<FilterData> {
        let table = self.table.lock();
        let filter = table.topics.get(topic)?.get(group)?;
        Some(filter.data(topic, group))
    }

    fn restore(&self, topic: &Str, group: Str, data: FilterData) {
        let sql = match self.compile(&data.expression_type, &data.expression) {
            Ok(sql) => sql,
            Err(error) => {
                warn!(%topic, %group, %error, "a filter that was saved cannot be used, until its consumers register it again");
                return;
            }
        };
        let died_ms = self.env.clock.now_ms() - DEAD_BEFORE_START_MS;
        let filter = Registered {
            version: data.client_version,
            sql,
            expression: data.expression,
            born_ms: data.born_time,
            dead_ms: match data.dead_time {
                0 => died_ms.max(data.born_time),
                dead_ms => dead_ms,
            },
        };
        self.table.lock().put(topic, &group, filter);
    }

    /// Takes note of all subscriptions of a group. Topics that are not among them are given up.
    pub(crate) fn register(&self, group: &Str, subscriptions: &[SubscriptionData]) {
        for data in subscriptions {
            if !is_tag(Some(&data.expression_type)) && !data.sub_string.is_empty() {
                self.register_one(group, data);
            }
        }
        let is_subscribed = |topic: &Str| subscriptions.iter().any(|data| data.topic == *topic);
        self.bury(group, |topic| !is_subscribed(topic));
    }

    /// Whether [`Filters::register`] has anything to do.
    pub(crate) fn concerns(&self, group: &str, subscriptions: &[SubscriptionData]) -> bool {
        let is_sql = |data: &SubscriptionData| !is_tag(Some(&data.expression_type));
        subscriptions.iter().any(is_sql)
            || self
                .table
                .lock()
                .topics
                .values()
                .any(|all| all.contains_key(group))
    }

    fn register_one(&self, group: &Str, data: &SubscriptionData) {
        if self.table.lock().is_news(group, data) {
            let compiled = self.compile(&data.expression_type, &data.sub_string);
            self.keep(group, data, compiled);
        }
    }

    /// Keeps what was compiled, or forgets what stood in its place if that cannot be used.
    fn keep(&self, group: &Str, data: &SubscriptionData, compiled: Result<Arc<Sql>, BadFilter>) {
        let now_ms = self.env.clock.now_ms();
        let (topic, version) = (&data.topic, data.sub_version);
        let mut table = self.table.lock();
        // A newer one may have come meanwhile.
        if !table.is_news(group, data) {
            return;
        }
        match compiled {
            Ok(sql) => {
                let filter = Registered {
                    version,
                    sql,
                    expression: data.sub_string.clone(),
                    born_ms: now_ms,
                    dead_ms: 0,
                };
                if !table.put(topic, group, filter) {
                    drop(table);
                    warn!(%group, %topic, version, "there are too many filters, this one is not kept");
                }
            }
            Err(error) => {
                table.remove(topic, group);
                drop(table);
                info!(%group, %topic, %error, "a filter cannot be used");
            }
        }
    }

    /// The last member of a group has gone.
    pub(crate) fn offline(&self, group: &str) {
        self.bury(group, |_| true);
    }

    fn bury(&self, group: &str, is_given_up: impl Fn(&Str) -> bool) {
        let mut table = self.table.lock();
        let Table { topics, is_changed } = &mut *table;
        for (topic, groups) in topics {
            if let Some(filter) = groups.get_mut(group)
                && !filter.is_dead()
                && is_given_up(topic)
            {
                filter.dead_ms = self.env.clock.now_ms().max(filter.born_ms);
                *is_changed = true;
            }
        }
    }

    /// What a group registered for a topic, dead or alive.
    pub(crate) fn find(&self, topic: &str, group: &str) -> Option<Registered> {
        self.table.lock().topics.get(topic)?.get(group).cloned()
    }

    /// Compiles an expression, unless it was compiled lately.
    pub(crate) fn compile(&self, expression_type: &str, expression: &str) -> Result<Arc<Sql>, BadFilter> {
        if expression_type != SQL92 {
            return Err(BadFilter::Type(expression_type.into()));
        }
        if let Some(known) = self.remembered.lock().compiled.get(expression) {
            return Ok(known.clone()?);
        }
        let compiled = Sql::compile(expression).map(Arc::new);
        if expression.len() <= REMEMBERED_BYTES_MAX {
            let mut remembered = self.remembered.lock();
            let bytes = remembered.bytes + expression.len();
            if remembered.compiled.len() == REMEMBERED_MAX || bytes > REMEMBERED_BYTES_MAX {
                *remembered = Remembered::default();
            }
            let before = remembered.compiled.insert(expression.into(), compiled.clone());
            if before.is_none() {
                remembered.bytes += expression.len();
            }
        }
        Ok(compiled?)
    }

    /// Forgets what has been dead for so long, and writes the file if something has changed.
    pub(crate) fn save(&self, dead_max_ms: u64) -> Result<(), SaveError> {
        let _one_at_a_time = self.saving.lock();
        let file = {
            let mut table = self.table.lock();
            let dead_max_ms = i64::try_from(dead_max_ms).unwrap_or(i64::MAX);
            table.clean(self.env.clock.now_ms(), dead_max_ms);
            if !std::mem::take(&mut table.is_changed) {
                return Ok(());
            }
            table.file()
        };
        let saved = saved::save(&self.env, &self.path, &file);
        if saved.is_err() {
            self.table.lock().is_changed = true;
        }
        saved
    }
}

impl Table {
    fn get_mut(&mut self, topic: &str, group: &str) -> Option<&mut Registered> {
        self.topics.get_mut(topic)?.get_mut(group)
    }

    /// Whether a subscription says something new. If it says again what is known, that is alive.
    fn is_news(&mut self, group: &str, data: &SubscriptionData) -> bool {
        let (topic, version) = (&data.topic, data.sub_version);
        let Some(known) = self.get_mut(topic, group) else {
            return true;
        };
        let is_same = known.expression == data.sub_string && data.expression_type == SQL92;
        if version < known.version || (version == known.version && !known.is_dead()) {
            if !is_same {
                info!(%group, %topic, version, known = known.version, "a filter of an older version is ignored");
            }
            return false;
        }
        // Who comes back with the version that is known is taken to mean what is known.
        if is_same || version == known.version {
            let was_dead = std::mem::take(&mut known.dead_ms) >= known.born_ms;
            let is_new = std::mem::replace(&mut known.version, version) != version;
            self.is_changed |= was_dead || is_new;
            return false;
        }
        true
    }

    /// Keeps a filter in place of the one before it, if there is room or what is dead can make room; else that one stays.
    fn put(&mut self, topic: &Str, group: &Str, filter: Registered) -> bool {
        while !self.has_room(filter.expression.len(), (topic, group)) {
            let all = self.topics.iter().flat_map(|(of, groups)| {
                let is_other = move |by: &Str| of != topic || by != group;
                let dead = groups.iter().filter(|(_, filter)| filter.is_dead());
                let dead = dead.filter(move |(by, _)| is_other(by));
                dead.map(move |(by, filter)| (filter.dead_ms, of.clone(), by.clone()))
            });
            match all.min() {
                Some((_, topic, group)) => self.remove(&topic, &group),
                None => return false,
            }
        }
        self.is_changed = true;
        self.topics
            .entry(topic.clone())
            .or_default()
            .insert(group.clone(), filter);
        true
    }

    /// Whether there is room for so many bytes in place of a filter.
    fn has_room(&self, bytes: usize, (topic, group): (&str, &str)) -> bool {
        let all = || self.topics.values().flat_map(BTreeMap::values);
        let before = self.topics.get(topic).and_then(|groups| groups.get(group));
        let freed = before.map_or(0, |filter| filter.expression.len());
        let used: usize = all().map(|filter| filter.expression.len()).sum();
        let count = all().count() - usize::from(before.is_some());
        count < FILTERS_MAX && used - freed + bytes <= FILTERS_BYTES_MAX
    }

    fn remove(&mut self, topic: &str, group: &str) {
        let Some(groups) = self.topics.get_mut(topic) else {
            return;
        };
        self.is_changed |= groups.remove(group).is_some();
        if groups.is_empty() {
            self.topics.remove(topic);
        }
    }

    fn clean(&mut self, now_ms: i64, dead_max_ms: i64) {
        let Table { topics, is_changed } = self;
        topics.retain(|_, groups| {
            let before = groups.len();
            groups
                .retain(|_, filter| !filter.is_dead() || now_ms.saturating_sub(filter.dead_ms) < dead_max_ms);
            *is_changed |= groups.len() != before;
            !groups.is_empty()
        });
    }

    fn file(&self) -> FilterTable {
        let topics = self.topics.iter().map(|(topic, groups)| {
            let filters = TopicFilters {
                group_filter_data: groups
                    .iter()
                    .map(|(group, filter)| (group.clone(), filter.data(topic, group)))
                    .collect(),
                topic: topic.clone(),
            };
            (topic.clone(), filters)
        });
        FilterTable {
            filter_data_by_topic: topics.collect(),
        }
    }
}

/// Saves the filters from time to time until `stop`.
pub(crate) async fn keep_saving(b: Arc<Broker>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SAVE_EVERY) => {}
        }
        let saving = Arc::clone(&b);
        let save = move || saving.filters.save(saving.config().filter_data_clean_time_span);
        match store::env::aside(save).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                error!(file = %error.path.display(), error = %error.source, "filters are not saved; trying again")
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests;
