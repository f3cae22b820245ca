// SPDX-License-Identifier: Apache-2.0
//! How many halves of each topic have not ended, in `config/transactionMetrics`. The reference counts up and down and
//! drifts with every end of the process; here the numbers are those of the table. Topics that were listed stay listed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::Env;
use wire::Str;
use wire::body::topic::DataVersion;
use wire::fastjson;

use crate::config::Config;
use crate::saved::{self, LoadError, SaveError};

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Counted {
    data_version: DataVersion,
    transaction_count: BTreeMap<Str, Count>,
}

/// The halves of one topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Count {
    count: i64,
    time_stamp: i64,
}

/// The counts as they were saved last.
#[derive(Debug)]
pub(super) struct Metrics {
    env: Env,
    path: PathBuf,
    saved: Mutex<Counted>,
}

impl Metrics {
    /// Reads the file.
    pub(super) fn open(config: &Config, env: &Env) -> Result<Metrics, LoadError> {
        let path = config.config_dir().join("transactionMetrics");
        let saved = saved::load(env, &path)?.unwrap_or_default();
        Ok(Metrics {
            env: env.clone(),
            path,
            saved: Mutex::new(saved),
        })
    }

    /// The counts of the last time.
    pub(super) fn counts(&self) -> Vec<(Str, i64)> {
        let saved = self.saved.lock();
        let counts = saved.transaction_count.iter();
        counts
            .map(|(topic, known)| (topic.clone(), known.count))
            .collect()
    }

    /// Writes the file if these are other counts than before.
    pub(super) fn save(&self, counts: &BTreeMap<Str, i64>) -> Result<(), SaveError> {
        let mut saved = self.saved.lock();
        let now_ms = self.env.clock.now_ms();
        let mut next = saved.clone();
        for topic in counts.keys() {
            next.transaction_count.entry(topic.clone()).or_default();
        }
        for (topic, known) in &mut next.transaction_count {
            let count = counts.get(topic).copied().unwrap_or(0);
            if known.count != count || known.time_stamp == 0 {
                next.data_version.counter += 1;
                next.data_version.timestamp = now_ms;
                *known = Count {
                    count,
                    time_stamp: now_ms,
                };
            }
        }
        if next == *saved {
            return Ok(());
        }
        let bytes = fastjson::to_vec(&next);
        self.env
            .disk
            .replace(&self.path, &bytes)
            .map_err(|source| SaveError {
                path: self.path.clone(),
                source,
            })?;
        *saved = next;
        Ok(())
    }
}
