// SPDX-License-Identifier: Apache-2.0
//! A million messages that wait, and the memory of this process. Alone in its binary, because it looks at all of it.

use std::sync::Arc;
use std::time::Duration;

use store::disk::real::RealDisk;
use store::env::Env;
use store::env::sim::{SimClock, SimRng};
use store::{LogPos, Store, StoreConfig, Timed, TimerConfig, Timers, tick_of};

const START_MS: i64 = 1_800_000_000_000;
const MESSAGES: i64 = 1_000_000;
/// Where the messages of 200 bytes each end.
const END: LogPos = LogPos(MESSAGES * 200);
const BATCH: i64 = 500;
const MOST_KIB: u64 = 24 << 10;

/// Memory of the process that is really there, KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .expect("VmRSS");
    line.split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number")
}

#[test]
fn a_million_messages_that_wait_take_bounded_memory() {
    let dir = tempfile::tempdir().expect("directory");
    let clock = Arc::new(SimClock::at(START_MS));
    let env = Env {
        clock: Arc::clone(&clock) as _,
        disk: Arc::new(RealDisk),
        rng: Arc::new(SimRng::seeded(1)),
    };
    let config = StoreConfig {
        segment_bytes: 1 << 20,
        index_slots: 16,
        index_entries: 16,
        ..StoreConfig::at(dir.path())
    };
    let store = Store::open_manual(config, env.clone()).expect("store opens");
    let mut timers = Timers::open(TimerConfig::at(dir.path()), env.clone(), END).expect("timers open");
    let before = resident_kib();
    let mut most = 0;
    for first in (0..MESSAGES).step_by(BATCH as usize) {
        // Half of them in one second, the others over two days.
        let delay = |n: i64| {
            if n % 2 == 0 {
                3_600_000
            } else {
                env.rng.below(172_000_000) as i64
            }
        };
        let messages: Vec<Timed> = (first..first + BATCH)
            .map(|n| Timed {
                out_ms: tick_of(START_MS + 60_000 + delay(n), 1000),
                pos: LogPos(n * 200),
                size: 200,
                topic_hash: 1,
                is_delete: false,
            })
            .collect();
        timers.park(&messages).expect("parks");
        if first % 50_000 == 0 {
            timers.flush(&store).expect("flushes");
            most = most.max(resident_kib());
        }
    }
    timers.close(&store).expect("closes");
    drop(timers);
    let mut timers = Timers::open(TimerConfig::at(dir.path()), env, END).expect("timers open again");
    let mut fired = 0;
    while fired < MESSAGES {
        clock.advance(Duration::from_secs(600));
        timers.advance().expect("advances");
        while timers.due().expect("due").is_some() {
            let batch = timers.batch(512).expect("batch");
            assert!(
                batch.is_sorted_by_key(|entry| entry.pos),
                "in the order they were sent"
            );
            fired += batch.len() as i64;
            timers.done(batch.len());
        }
        most = most.max(resident_kib());
    }
    assert_eq!(fired, MESSAGES);
    let grown = most.saturating_sub(before);
    println!("{MESSAGES} messages: {grown} KiB at most");
    assert!(grown < MOST_KIB, "{grown} KiB");
    store.close().expect("closes");
}
