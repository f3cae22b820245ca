// SPDX-License-Identifier: Apache-2.0
//! Whatever happens to the wheel, the log and the mark of timers: they open or refuse, and time passes.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fuzz::damage::{Damage, Files, THEN_MS};
use store::disk::Disk;
use store::disk::sim::SimDisk;
use store::env::Env;
use store::env::sim::{SimClock, SimRng};
use store::{LogPos, Store, StoreConfig, Timed, TimerConfig, Timers};
/// Beyond every message that the timers are of.
const END: LogPos = LogPos(1 << 40);

fn config() -> TimerConfig {
    TimerConfig {
        ticks: 200,
        roll_ticks: 100,
        log_file_bytes: 52 * 20,
        ..TimerConfig::at("/store")
    }
}

fn env(disk: &Arc<SimDisk>, clock: &Arc<SimClock>) -> Env {
    Env {
        clock: Arc::clone(clock) as _,
        disk: Arc::clone(disk) as Arc<dyn Disk>,
        rng: Arc::new(SimRng::seeded(1)),
    }
}

fn written() -> &'static Files {
    static WRITTEN: OnceLock<Files> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let (disk, clock) = (Arc::new(SimDisk::seeded(1)), Arc::new(SimClock::at(THEN_MS)));
        let mut timers = Timers::open(config(), env(&disk, &clock), END).expect("timers open");
        for n in 0..60_i64 {
            let message = Timed {
                out_ms: THEN_MS + 1000 * (n % 7 + 2),
                pos: LogPos(n * 100),
                size: 100,
                topic_hash: 7,
                is_delete: n % 11 == 0,
            };
            timers.park(&[message]).expect("it takes messages");
        }
        timers.set_queue_offset(60);
        let store = Store::open_manual(StoreConfig::at("/log"), env(&disk, &clock)).expect("a store opens");
        timers.flush(&store).expect("it flushes");
        Files::of(&disk, Path::new("/store"))
    })
}

pub(crate) fn run(bytes: &[u8]) {
    let Some(damages) = fuzz::input::<Vec<Damage<'_>>>(bytes) else {
        return;
    };
    let disk = written().damaged(&damages);
    let clock = Arc::new(SimClock::at(THEN_MS));
    let Ok(mut timers) = Timers::open(config(), env(&disk, &clock), END) else {
        return;
    };
    for _ in 0..20 {
        clock.advance(Duration::from_secs(1));
        if timers.advance().is_err() {
            return;
        }
        for _ in 0..100 {
            let (Ok(_), Ok(batch)) = (timers.due().map(|due| due.is_some()), timers.batch(16)) else {
                return;
            };
            if batch.is_empty() {
                break;
            }
            timers.done(batch.len());
        }
    }
    let _next = timers.next_due_ms();
}
