// SPDX-License-Identifier: Apache-2.0
//! For tests: a broker on a disk that does what it is told, with a clock that moves when told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use store::Env;
use store::disk::Disk as _;
use store::disk::sim::SimDisk;
use store::env::sim::{SimClock, SimRng};

use crate::broker::{Broker, OpenError};
use crate::config::Config;

/// When every world begins, in ms since 1970.
pub(crate) const START_MS: i64 = 1_800_000_000_000;

pub(crate) struct World {
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) clock: Arc<SimClock>,
    settings: &'static [(&'static str, &'static str)],
}

impl World {
    /// Settings that every broker of this world has; files are small unless they say otherwise.
    pub(crate) fn new(seed: u64, settings: &'static [(&'static str, &'static str)]) -> World {
        let disk = SimDisk::seeded(seed);
        disk.set_now_ms(START_MS);
        World {
            disk: Arc::new(disk),
            clock: Arc::new(SimClock::at(START_MS)),
            settings,
        }
    }

    pub(crate) fn open(&self, settings: &[(&str, &str)]) -> Arc<Broker> {
        self.try_open(settings).unwrap()
    }

    pub(crate) fn try_open(&self, settings: &[(&str, &str)]) -> Result<Arc<Broker>, OpenError> {
        let env = Env {
            clock: Arc::clone(&self.clock) as _,
            disk: Arc::clone(&self.disk) as _,
            rng: Arc::new(SimRng::seeded(1)),
        };
        let mut config = Config::default();
        let own = [
            ("storePathRootDir", "/store"),
            ("brokerName", "broker-a"),
            ("brokerIP1", "127.0.0.1"),
            ("mappedFileSizeCommitLog", "65536"),
            ("mappedFileSizeConsumeQueue", "400"),
            ("maxHashSlotNum", "16"),
            ("maxIndexNum", "48"),
        ];
        for (key, value) in own.iter().chain(self.settings).chain(settings) {
            config.set(key, value).unwrap();
        }
        Broker::open(config, env)
    }

    /// Takes the log away, and what is derived of it. Nothing may run.
    pub(crate) fn lose_log(&self) {
        let root = Path::new("/store");
        for dir in ["commitlog", "consumequeue", "index"] {
            self.disk.remove_tree(&root.join(dir)).unwrap();
        }
        for name in ["checkpoint", "barque-reached"] {
            self.disk.remove(&root.join(name)).unwrap();
        }
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }
}
