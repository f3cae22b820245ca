// SPDX-License-Identifier: Apache-2.0
//! Delivery on a disk that stops at some write, with a clock that moves when told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use store::disk::sim::{Loss, SimDisk};
use store::env::Clock;
use store::env::sim::{SimClock, SimRng};
use store::{All, Env, GateState, Level, ReadError, ReadLimit};
use wire::Str;
use wire::record::Record;

use super::run::Turn;
use super::{Asks, park};
use crate::broker::Broker;
use crate::config::Config;
use crate::put::Put;

const START_MS: i64 = 1_800_000_000_000;

struct World {
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
}

impl World {
    fn new(seed: u64) -> World {
        let disk = SimDisk::seeded(seed);
        disk.set_now_ms(START_MS);
        World {
            disk: Arc::new(disk),
            clock: Arc::new(SimClock::at(START_MS)),
        }
    }

    fn open(&self, settings: &[(&str, &str)]) -> Arc<Broker> {
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
            ("mappedFileSizeTimerLog", "4096"),
            ("maxHashSlotNum", "16"),
            ("maxIndexNum", "48"),
            ("timerMaxDelaySec", "31536000"),
        ];
        for (key, value) in own.iter().chain(settings) {
            config.set(key, value).unwrap();
        }
        Broker::open(config, env).unwrap()
    }

    fn pass(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }
}

/// Parks a message; returns whether it is durable.
fn send(b: &Broker, deliver_ms: i64, name: &str) -> bool {
    let deliver = deliver_ms.to_string();
    let asks = Asks {
        deliver_ms: Some(&deliver),
        ..Asks::default()
    };
    let parked = park(b, &b.config(), &asks, (&Str::from("T"), 0))
        .unwrap()
        .unwrap();
    let text = format!("TIMER_DELIVER_MS\u{1}{deliver}\u{2}UNIQ_KEY\u{1}{name}\u{2}");
    let receipt = b.put(&Put {
        topic: &parked.topic,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_at: 1,
        born_host: ([127, 0, 0, 1], 1234).into(),
        reconsume_times: 0,
        prepared_pos: 0,
        body: name.as_bytes(),
        properties: &parked.rewrite(text.as_bytes()),
    });
    b.store.drive();
    b.store.turn_flush();
    receipt.is_ok_and(|receipt| b.store.state(&receipt.gate, Level::Durable) == GateState::Passed)
}

/// Turns until there is nothing to do, or the disk is gone.
fn turns(b: &Broker) -> Turn {
    let mut failures = 0;
    loop {
        let turn = b.timing.running.as_ref().unwrap().lock().turn(b);
        match turn {
            Turn::Again => {}
            Turn::Pause | Turn::Written if failures < 3 => failures += 1,
            turn => return turn,
        }
    }
}

fn flush(b: &Broker) {
    // A disk that stops is what is tested.
    drop(b.timing.running.as_ref().unwrap().lock().flush(b));
}

fn delivered(b: &Broker) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    let limit = ReadLimit {
        count: 10_000,
        bytes: 1 << 24,
        scan: 10_000,
        far: None,
    };
    let Some(queue) = b.store.find_queue("T", 0) else {
        return all;
    };
    match b.store.read(&queue, queue.min(), &limit, &All) {
        Ok(batch) => {
            for record in Record::decode_all(&batch.bytes) {
                let record = record.unwrap();
                let deliver: i64 = record.property("TIMER_DELIVER_MS").unwrap().parse().unwrap();
                assert!(record.stored_at >= deliver, "nothing comes early");
                *all.entry(String::from_utf8(record.body.to_vec()).unwrap())
                    .or_default() += 1;
            }
        }
        Err(ReadError::Empty) => {}
        Err(error) => panic!("{error}"),
    }
    all
}

fn crashes(loss: Loss) {
    // Each opening makes a wheel of its full size in memory: every third write is enough.
    for stop_after in (0..24).step_by(3) {
        let world = World::new(stop_after);
        let b = world.open(&[]);
        let mut sent = Vec::new();
        for n in 0..12 {
            let name = format!("m{n}");
            assert!(send(&b, START_MS + 1_000 + 700 * n, &name));
            sent.push(name);
        }
        turns(&b);
        flush(&b);
        world.pass(3_500);
        world.disk.halt_at(world.disk.ops() + stop_after);
        turns(&b);
        flush(&b);
        world.pass(2_000);
        turns(&b);
        flush(&b);
        drop(b);
        world.disk.crash(loss);
        let b = world.open(&[]);
        world.pass(20_000);
        turns(&b);
        let out = delivered(&b);
        for name in &sent {
            let count = out.get(name).copied().unwrap_or(0);
            assert!(
                (1..=2).contains(&count),
                "stop {stop_after}: {name} came {count} times"
            );
        }
    }
}

#[test]
fn a_process_that_ends_at_any_write_loses_nothing() {
    crashes(Loss::Nothing);
}

#[test]
fn a_machine_that_stops_at_any_write_loses_nothing() {
    crashes(Loss::Random);
}

#[test]
fn what_was_delivered_before_a_flush_is_not_delivered_again() {
    let world = World::new(1);
    let b = world.open(&[]);
    for n in 0..6 {
        assert!(send(&b, START_MS + 1_000 + n, &n.to_string()));
    }
    turns(&b);
    world.pass(3_000);
    turns(&b);
    flush(&b);
    drop(b);
    world.disk.crash(Loss::Everything);
    let b = world.open(&[]);
    world.pass(3_000);
    turns(&b);
    assert_eq!(delivered(&b).into_values().collect::<Vec<_>>(), [1; 6]);
}

#[test]
fn a_disk_that_fills_up_delays_and_loses_nothing() {
    let world = World::new(1);
    let b = world.open(&[]);
    for n in 0..6 {
        assert!(send(&b, START_MS + 1_500, &n.to_string()));
    }
    turns(&b);
    world.pass(3_000);
    world.disk.set_full(true);
    assert_ne!(turns(&b), Turn::Again);
    assert_eq!(delivered(&b).len(), 0);
    world.disk.set_full(false);
    turns(&b);
    assert_eq!(delivered(&b).into_values().collect::<Vec<_>>(), [1; 6]);
}

#[test]
fn a_message_a_year_ahead_comes_in_its_second() {
    let world = World::new(1);
    let b = world.open(&[("fileReservedTime", "100000")]);
    let due = START_MS + 365 * 86_400_000;
    assert!(send(&b, due, "next year"));
    let mut rolls = 0;
    while delivered(&b).is_empty() {
        turns(&b);
        let next = b
            .timing
            .running
            .as_ref()
            .unwrap()
            .lock()
            .timers
            .next_due_ms()
            .unwrap();
        let Some(next) = next else { break };
        world.pass((next - world.clock.now_ms()).max(1).unsigned_abs());
        rolls += 1;
    }
    assert_eq!(delivered(&b).len(), 1);
    assert!(world.clock.now_ms() - due < 1_000);
    assert!((180..200).contains(&rolls), "{rolls} rolls");
}
