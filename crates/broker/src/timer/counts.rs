// SPDX-License-Identifier: Apache-2.0
//! How many messages of each topic wait: `config/timermetrics`, and the answer to request 61.

use std::path::PathBuf;

use parking_lot::Mutex;
use store::Env;
use wire::Str;
use wire::body::timer::TimerMetrics;
use wire::fastjson;

use crate::config::Config;
use crate::saved::{self, LoadError, SaveError};

pub(super) struct Counts {
    env: Env,
    path: PathBuf,
    table: Mutex<TimerMetrics>,
    saved: Mutex<i64>,
}

impl Counts {
    pub(super) fn open(config: &Config, env: Env) -> Result<Counts, LoadError> {
        let path = config.config_dir().join("timermetrics");
        // It is only for operators: damaged, it begins anew.
        let table: TimerMetrics = match saved::load(&env, &path) {
            Ok(found) => found.unwrap_or_default(),
            Err(LoadError::Damaged { .. }) => TimerMetrics::default(),
            Err(error) => return Err(error),
        };
        Ok(Counts {
            saved: Mutex::new(table.data_version.counter),
            env,
            path,
            table: Mutex::new(table),
        })
    }

    pub(super) fn add(&self, topic: &str, count: i64) {
        let now_ms = self.env.clock.now_ms();
        let mut table = self.table.lock();
        table.data_version.counter += 1;
        table.data_version.timestamp = now_ms;
        let known = match table.timing_count.get_mut(topic) {
            Some(known) => known,
            None => table.timing_count.entry(topic.into()).or_default(),
        };
        known.count += count;
        known.time_stamp = now_ms;
    }

    pub(super) fn forget(&self, topic: &str) {
        let mut table = self.table.lock();
        if table.timing_count.remove(topic).is_some() {
            table.data_version.counter += 1;
        }
    }

    /// Takes over what a master says.
    pub(super) fn replace(&self, said: TimerMetrics) {
        *self.table.lock() = said;
    }

    /// Messages that wait, by topic.
    pub(super) fn by_topic(&self) -> Vec<(Str, i64)> {
        let table = self.table.lock();
        let counts = table.timing_count.iter();
        counts
            .map(|(topic, timing)| (topic.clone(), timing.count.max(0)))
            .collect()
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        fastjson::to_vec(&*self.table.lock())
    }

    /// Writes the file when something has changed.
    pub(super) fn save(&self) -> Result<(), SaveError> {
        let mut saved = self.saved.lock();
        let table = self.table.lock().clone();
        if *saved == table.data_version.counter {
            return Ok(());
        }
        saved::save(&self.env, &self.path, &table)?;
        *saved = table.data_version.counter;
        Ok(())
    }
}
