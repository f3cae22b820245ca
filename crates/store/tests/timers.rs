// SPDX-License-Identifier: Apache-2.0
//! Timers against a simple model with virtual time, and crashes between any two writes.
//!
//! What must hold: nothing is delivered early; nothing is lost; without a crash each message is delivered once, in the
//! order in which the messages of a tick were parked; a crash repeats only what was delivered after the last flush.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/rig.rs"]
mod rig;
use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rig::*;
use store::disk::sim::Loss;
use store::env::Rng;
use store::env::sim::SimRng;
use store::{All, FlushMode, LogPos, ReadError, Store, Timed, TimerConfig, Timers, tick_of};
use wire::record::Record;

const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";

fn config(precision_ms: i64) -> TimerConfig {
    TimerConfig {
        precision_ms,
        ticks: 256,
        roll_ticks: 64,
        log_file_bytes: 52 * 10 + 30,
        ..TimerConfig::at("/store")
    }
}

/// A store with timers, and the part of a broker that runs them.
struct World {
    store: std::sync::Arc<Store>,
    timers: Timers,
}

/// Stops where the disk does.
type Done = Result<(), String>;

impl World {
    fn open(rig: &Rig, config: &TimerConfig) -> Result<World, String> {
        let store = rig.try_open().map_err(|e| e.to_string())?;
        let mut timers =
            Timers::open(config.clone(), rig.env(), store.max_pos()).map_err(|e| e.to_string())?;
        let end = store.find_queue(TIMER_TOPIC, 0).map_or(0, |queue| queue.max());
        if timers.queue_offset() > end {
            timers.set_queue_offset(end);
        }
        Ok(World { store, timers })
    }

    /// Sends a message that is to be delivered at a time.
    fn send(&self, name: &str, deliver_ms: i64) -> Result<(), String> {
        let properties = format!("OUT\u{1}{deliver_ms}\u{2}UNIQ_KEY\u{1}{name}\u{2}");
        let queue = self.store.queue(TIMER_TOPIC, 0);
        let receipt = self
            .store
            .append(&draft(&queue, name.as_bytes(), properties.as_bytes()))
            .map_err(|e| e.to_string())?;
        self.store.drive();
        self.store.turn_flush();
        match self.store.state(&receipt.gate, store::Level::Durable) {
            store::GateState::Passed => Ok(()),
            _ => Err("not durable".to_owned()),
        }
    }

    fn put(&self, topic: &str, record: &Record) -> Done {
        let queue = self.store.queue(topic, 0);
        let put = self
            .store
            .append(&draft(&queue, &record.body, &record.properties));
        let receipt = put.map_err(|e| e.to_string())?;
        self.store.drive();
        match self.store.state(&receipt.gate, store::Level::Written) {
            store::GateState::Passed => Ok(()),
            _ => Err("not written".to_owned()),
        }
    }

    /// Looks in the timer topic for what has lost its entry.
    fn search(&mut self) -> Done {
        let Some(queue) = self.store.find_queue(TIMER_TOPIC, 0) else {
            return Ok(());
        };
        while let Some(lost) = self.timers.lost().cloned() {
            let mut from = queue.min();
            let mut parked = Vec::new();
            while from < self.timers.queue_offset() {
                let batch = self
                    .store
                    .read(&queue, from, &MANY, &All)
                    .map_err(|e| e.to_string())?;
                for record in Record::decode_all(&batch.bytes) {
                    let record = record.map_err(|e| e.to_string())?;
                    let pos = LogPos(record.physical_offset);
                    let out_ms = self.tick(&record);
                    let is_between = Some(pos) > lost.after && lost.before.is_none_or(|before| pos < before);
                    if is_between
                        && record.queue_offset < self.timers.queue_offset()
                        && self.timers.is_missing(&lost, out_ms)
                    {
                        if self.timers.is_due(out_ms) {
                            self.put("Out", &record)?;
                            continue;
                        }
                        parked.push(Timed {
                            out_ms,
                            pos,
                            size: record.total_size,
                            topic_hash: 0,
                            is_delete: false,
                        });
                    }
                }
                from = batch.next_offset;
            }
            self.timers.park(&parked).map_err(|e| e.to_string())?;
            self.timers.found();
        }
        Ok(())
    }

    fn tick(&self, record: &Record) -> i64 {
        let deliver: i64 = record.property("OUT").unwrap().parse().unwrap();
        tick_of(deliver, self.timers.precision_ms())
    }

    /// Reads what is new in the timer topic.
    fn read(&mut self) -> Done {
        let Some(queue) = self.store.find_queue(TIMER_TOPIC, 0) else {
            return Ok(());
        };
        loop {
            let from = self.timers.queue_offset();
            let batch = match self.store.read(&queue, from, &MANY, &All) {
                Ok(batch) => batch,
                Err(ReadError::AtEnd { .. } | ReadError::Empty) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            let mut parked = Vec::new();
            for record in Record::decode_all(&batch.bytes) {
                let record = record.map_err(|e| e.to_string())?;
                let pos = LogPos(record.physical_offset);
                let out_ms = self.tick(&record);
                if self.timers.knows(pos) {
                    continue;
                }
                if self.timers.is_due(out_ms) {
                    self.put("Out", &record)?;
                    continue;
                }
                parked.push(Timed {
                    out_ms,
                    pos,
                    size: record.total_size,
                    topic_hash: 0,
                    is_delete: false,
                });
            }
            self.timers.park(&parked).map_err(|e| e.to_string())?;
            self.timers.set_queue_offset(batch.next_offset);
        }
    }

    /// Delivers what is due.
    fn fire(&mut self) -> Done {
        while let Some((tick, _)) = self.timers.due().map_err(|e| e.to_string())? {
            self.search()?;
            let entries = self.timers.batch(3).map_err(|e| e.to_string())?;
            for entry in &entries {
                if entry.is_delete() {
                    continue;
                }
                assert_eq!(entry.tick_ms(), tick, "an entry lies in its tick");
                let bytes = match self.store.record_at(LogPos(entry.pos)) {
                    // Only the entry outlived a crash. Of a roll: its message fires again, and is rolled again. Of a message: it was
                    // not durable, and whether all that were are delivered is asked of the store in the end.
                    Err(ReadError::NoRecord(_)) => continue,
                    read => read.map_err(|e| e.to_string())?,
                };
                let record = Record::decode(&bytes).map_err(|e| e.to_string())?;
                self.put(if entry.is_roll() { TIMER_TOPIC } else { "Out" }, &record)?;
            }
            self.timers.done(entries.len());
        }
        Ok(())
    }

    fn turn(&mut self) -> Done {
        self.timers.advance().map_err(|e| e.to_string())?;
        self.search()?;
        if !self.timers.is_far_behind() {
            self.read()?;
        }
        self.fire()?;
        self.read()
    }

    fn flush(&mut self) -> Done {
        self.timers.flush(&self.store).map_err(|e| e.to_string())
    }

    /// What was delivered, with how often, and whether anything came early.
    fn delivered(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for record in read_all(&self.store, "Out", 0) {
            let deliver: i64 = record.property("OUT").unwrap().parse().unwrap();
            assert!(
                record.stored_at >= deliver,
                "{} came {} ms early",
                text(&record.body),
                deliver - record.stored_at
            );
            *all.entry(text(&record.body)).or_default() += 1;
        }
        all
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_wheel_delivers_what_a_sorted_list_would(
        precision in prop::sample::select(vec![1_i64, 100, 1000]),
        steps in prop::collection::vec((0_i64..200_000, 0_u64..4_000, 0_u8..8), 1..60),
    ) {
        let rig = Rig::new(1, FlushMode::Async);
        let config = config(precision);
        let mut world = World::open(&rig, &config).unwrap();
        let mut model: Vec<(i64, String)> = Vec::new();
        for (number, (delay, pause, what)) in steps.into_iter().enumerate() {
            let name = format!("m{number:03}");
            let deliver = world.store.env().clock.now_ms() + delay * precision / 1000;
            world.send(&name, deliver).unwrap();
            model.push((deliver, name));
            rig.clock.advance(Duration::from_millis(pause * precision.unsigned_abs() / 100));
            world.turn().unwrap();
            match what {
                0 => world.flush().unwrap(),
                // An orderly end.
                1 => {
                    world.timers.close(&world.store).unwrap();
                    world.store.close().unwrap();
                    drop(world);
                    world = World::open(&rig, &config).unwrap();
                }
                _ => {}
            }
            let now = world.store.env().clock.now_ms();
            let out = world.delivered();
            for (deliver, name) in &model {
                let count = out.get(name).copied().unwrap_or(0);
                prop_assert!(count <= 1, "{} came {} times", name, count);
                if what != 1 && *deliver + precision <= now {
                    prop_assert_eq!(count, 1, "{} is {} ms late", name, now - deliver);
                }
            }
        }
        rig.clock.advance(Duration::from_millis(300 * precision.unsigned_abs()));
        for _ in 0..8 {
            world.turn().unwrap();
            rig.clock.advance(Duration::from_millis(64 * precision.unsigned_abs()));
        }
        prop_assert_eq!(world.delivered().len(), model.len());
    }
}

#[test]
fn messages_of_one_tick_come_in_the_order_they_were_sent_in() {
    let rig = Rig::new(1, FlushMode::Async);
    let mut world = World::open(&rig, &config(1000)).unwrap();
    let names: Vec<String> = (0..3000).map(|n| format!("m{n:04}")).collect();
    for name in &names {
        world.send(name, START_MS + 5_500).unwrap();
        if name.ends_with("99") {
            world.turn().unwrap();
        }
    }
    rig.clock.advance(Duration::from_secs(7));
    world.turn().unwrap();
    assert_eq!(bodies(&world.store, "Out", 0), names);
}

#[test]
fn a_message_a_year_ahead_is_rolled_and_comes_in_its_second() {
    let rig = Rig::new(1, FlushMode::Async);
    let config = TimerConfig {
        log_file_bytes: 1 << 16,
        ticks: 7 * 86_400,
        roll_ticks: 172_800,
        ..config(1000)
    };
    let mut world = World::open(&rig, &config).unwrap();
    let year_ms = 365 * 86_400_000_i64;
    world.send("next year", START_MS + year_ms).unwrap();
    world.send("in a day", START_MS + 86_400_000).unwrap();
    let mut rolls = 0;
    loop {
        world.turn().unwrap();
        let now = world.store.env().clock.now_ms();
        let Some(due) = world.timers.next_due_ms().unwrap() else {
            break;
        };
        rig.clock
            .advance(Duration::from_millis((due - now).max(1).unsigned_abs()));
        rolls += 1;
    }
    assert_eq!(world.delivered().len(), 2);
    let records = read_all(&world.store, "Out", 0);
    let late = records[1].stored_at - START_MS - year_ms;
    assert!((0..1000).contains(&late), "{late} ms late");
    assert!((180..200).contains(&rolls), "{rolls} turns");
}

#[test]
fn what_fell_due_while_the_broker_was_down_for_weeks_is_delivered_at_once() {
    let rig = Rig::new(1, FlushMode::Async);
    let mut world = World::open(&rig, &config(1000)).unwrap();
    for n in 0..20 {
        world
            .send(&format!("m{n}"), START_MS + 2_000 + n * 2_000)
            .unwrap();
    }
    world.turn().unwrap();
    world.timers.close(&world.store).unwrap();
    world.store.close().unwrap();
    drop(world);
    // Several turns of the wheel.
    rig.clock.advance(Duration::from_secs(3 * 512 + 7));
    let mut world = World::open(&rig, &config(1000)).unwrap();
    world.send("fresh", rig.clock_ms() + 3_000).unwrap();
    world.turn().unwrap();
    assert_eq!(world.delivered().len(), 20);
    rig.clock.advance(Duration::from_secs(5));
    world.turn().unwrap();
    assert_eq!(world.delivered().len(), 21);
}

#[test]
fn a_clock_that_is_set_back_repeats_nothing_and_delivers_nothing_early() {
    let rig = Rig::new(1, FlushMode::Async);
    let mut world = World::open(&rig, &config(1000)).unwrap();
    world.send("a", START_MS + 2_000).unwrap();
    rig.clock.advance(Duration::from_secs(60));
    world.turn().unwrap();
    rig.clock.set(START_MS + 10_000);
    world.send("b", START_MS + 12_500).unwrap();
    for _ in 0..60 {
        world.turn().unwrap();
        rig.clock.advance(Duration::from_secs(1));
    }
    let out = world.delivered();
    assert_eq!(out.get("a"), Some(&1));
    assert_eq!(out.get("b"), Some(&1));
}

#[test]
fn a_lost_wheel_is_made_again_from_the_log() {
    let rig = Rig::new(1, FlushMode::Async);
    let mut world = World::open(&rig, &config(1000)).unwrap();
    for n in 0..40 {
        world.send(&format!("m{n}"), START_MS + 3_000 + n * 500).unwrap();
    }
    world.turn().unwrap();
    world.timers.close(&world.store).unwrap();
    world.store.close().unwrap();
    drop(world);
    store::disk::Disk::remove(&*rig.disk, std::path::Path::new("/store/timerwheel")).unwrap();
    let mut world = World::open(&rig, &config(1000)).unwrap();
    rig.clock.advance(Duration::from_secs(30));
    world.turn().unwrap();
    assert_eq!(world.delivered().len(), 40);
    assert!(world.delivered().values().all(|count| *count == 1));
}

/// Timers in many files of their log, waiting, and nobody who runs them.
fn parked(rig: &Rig) -> TimerConfig {
    // No power of two slots, as in the product.
    let config = TimerConfig {
        ticks: 250,
        log_file_bytes: 52 * 4 + 30,
        ..config(1000)
    };
    let mut world = World::open(rig, &config).unwrap();
    for n in 0..40 {
        world.send(&format!("m{n}"), START_MS + 3_000 + n * 500).unwrap();
    }
    world.turn().unwrap();
    world.timers.close(&world.store).unwrap();
    world.store.close().unwrap();
    config
}

/// Each comes once.
fn all_come(rig: &Rig, config: &TimerConfig, why: &str) {
    let mut world = World::open(rig, config).unwrap();
    rig.clock.advance(Duration::from_secs(30));
    for _ in 0..3 {
        world.turn().unwrap();
    }
    assert_eq!(world.delivered().len(), 40, "{why}");
    assert!(world.delivered().values().all(|count| *count == 1), "{why}");
}

#[test]
fn a_first_file_of_the_timer_log_that_is_gone_costs_no_timer() {
    let rig = Rig::new(1, FlushMode::Async);
    let config = parked(&rig);
    let path = std::path::Path::new("/store/timerlog/00000000000000000000");
    store::disk::Disk::remove(&*rig.disk, path).unwrap();
    all_come(&rig, &config, "gone");
}

#[test]
fn a_wheel_of_another_size_costs_no_timer() {
    let rig = Rig::new(1, FlushMode::Async);
    let config = parked(&rig);
    let wheel = store::disk::Disk::open(&*rig.disk, std::path::Path::new("/store/timerwheel")).unwrap();
    wheel.set_len(wheel.len().unwrap() / 2).unwrap();
    drop(wheel);
    all_come(&rig, &config, "cut");
}

#[test]
fn a_wheel_of_zeros_costs_no_timer() {
    let rig = Rig::new(1, FlushMode::Async);
    let config = parked(&rig);
    let wheel = store::disk::Disk::open(&*rig.disk, std::path::Path::new("/store/timerwheel")).unwrap();
    let zeros = vec![0; wheel.len().unwrap() as usize];
    wheel.write_at(&zeros, 0).unwrap();
    drop(wheel);
    all_come(&rig, &config, "zeros");
}

#[test]
fn a_mark_that_is_far_ahead_costs_no_timer() {
    let rig = Rig::new(1, FlushMode::Async);
    let config = parked(&rig);
    let path = std::path::Path::new("/store/config/timercheck");
    let mark = store::disk::Disk::open(&*rig.disk, path).unwrap();
    // The read time, some centuries later.
    mark.write_at(&[0x10], 2).unwrap();
    drop(mark);
    all_come(&rig, &config, "ahead");
}

#[test]
fn a_damaged_slot_of_the_wheel_costs_no_timer() {
    // Time, first entry, last entry: their highest, a middle and their lowest byte.
    for at in [0, 3, 6, 7, 8, 12, 15, 16, 20, 22, 23] {
        for bits in [0x01, 0x10, 0x80] {
            a_damaged_slot(at, bits);
        }
    }
}

fn a_damaged_slot(at: u64, bits: u8) {
    let why = format!("byte {at}, bits {bits:#x}");
    let rig = Rig::new(1, FlushMode::Async);
    let config = parked(&rig);
    let path = std::path::Path::new("/store/timerwheel");
    let file = store::disk::Disk::open(&*rig.disk, path).unwrap();
    let mut wheel = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut wheel, 0).unwrap();
    let slots = wheel
        .chunks(32)
        .position(|slot| slot.iter().any(|byte| *byte != 0));
    let first = slots.unwrap() as u64 * 32;
    let byte = wheel[(first + at) as usize] ^ bits;
    file.write_at(&[byte], first + at).unwrap();
    drop(file);
    all_come(&rig, &config, &why);
}

/// Sends, lets time pass, flushes; until the machine stops or all is done.
fn work(rig: &Rig, world: &mut World, rng: &SimRng, sent: &mut Vec<String>, life: usize) -> Done {
    for step in 0..12 {
        let name = format!("m{life}-{step}");
        let delay = 500 + rng.below(90_000) as i64;
        // Counted before it is known whether it succeeded: such a message may come or not.
        world.send(&name, rig.clock_ms() + delay)?;
        sent.push(name);
        rig.clock.advance(Duration::from_millis(rng.below(9_000)));
        world.turn()?;
        if rng.below(3) == 0 {
            world.flush()?;
        }
    }
    Ok(())
}

/// More are played with `PROPTEST_CASES`.
fn seeds() -> std::ops::Range<u64> {
    let asked = std::env::var("PROPTEST_CASES").ok();
    0..asked.and_then(|count| count.parse().ok()).unwrap_or(60)
}

fn crashes(loss: Loss) {
    for seed in seeds() {
        let rig = Rig::new(seed, FlushMode::Async);
        let rng = SimRng::seeded(seed);
        let config = config(1000);
        let mut sent = Vec::new();
        let mut crashes = 0;
        for life in 0..3 {
            let Ok(mut world) = World::open(&rig, &config) else {
                panic!("seed {seed}: does not open");
            };
            rig.disk.halt_at(rig.disk.ops() + rng.below(160));
            if work(&rig, &mut world, &rng, &mut sent, life).is_err() {
                assert!(rig.disk.is_halted(), "seed {seed}: an error without a reason");
            }
            drop(world);
            rig.disk.crash(loss);
            crashes += 1;
        }
        let mut world = World::open(&rig, &config).unwrap();
        for _ in 0..4 {
            rig.clock.advance(Duration::from_secs(120));
            world.turn().unwrap();
        }
        let out = world.delivered();
        for name in &sent {
            let count = out.get(name).copied().unwrap_or(0);
            assert!(count > 0, "seed {seed}: {name} is lost");
            // A crash may repeat a roll, and the next one the delivery of both copies.
            assert!(
                count <= 1 << crashes,
                "seed {seed}: {name} came {count} times in {crashes} crashes"
            );
        }
    }
}

#[test]
fn a_crash_of_the_process_between_any_two_writes_loses_nothing() {
    crashes(Loss::Nothing);
}

#[test]
fn a_crash_of_the_machine_with_torn_writes_loses_nothing() {
    crashes(Loss::Random);
}

#[test]
fn a_crash_of_the_machine_that_loses_all_that_was_not_synced_loses_no_message() {
    crashes(Loss::Everything);
}

#[test]
fn an_entry_that_outlived_its_message_does_not_fire_another_one_in_its_place() {
    let mut outlived = 0;
    for seed in 0..200 {
        let rig = Rig::new(seed, FlushMode::Async);
        let mut world = World::open(&rig, &config(1000)).unwrap();
        world.send("durable", START_MS + 2_000).unwrap();
        world.turn().unwrap();
        world.flush().unwrap();
        // Written, and not synced; its entry neither.
        let queue = world.store.queue(TIMER_TOPIC, 0);
        let soon = format!("OUT\u{1}{}\u{2}", START_MS + 5_000);
        let before = world
            .store
            .append(&draft(&queue, b"soon", soon.as_bytes()))
            .unwrap();
        world.store.drive();
        world.turn().unwrap();
        drop((world, queue));
        rig.disk.crash(Loss::Random);
        let mut world = World::open(&rig, &config(1000)).unwrap();
        if world.store.max_pos() > before.pos {
            continue;
        }
        outlived += 1;
        let queue = world.store.queue(TIMER_TOPIC, 0);
        let late = format!("OUT\u{1}{}\u{2}", START_MS + 60_000);
        let after = world
            .store
            .append(&draft(&queue, b"late", late.as_bytes()))
            .unwrap();
        world.store.drive();
        assert_eq!(after.pos, before.pos, "the same place");
        for _ in 0..70 {
            rig.clock.advance(Duration::from_secs(1));
            world.turn().unwrap();
        }
        // Which looks at the times, too.
        let out = world.delivered();
        assert_eq!(out.get("late"), Some(&1), "seed {seed}: {out:?}");
        assert_eq!(out.get("soon"), None);
    }
    assert!(outlived > 20, "{outlived}");
}

#[test]
fn what_was_parked_before_a_crash_is_not_parked_again() {
    let rig = Rig::new(3, FlushMode::Async);
    let mut world = World::open(&rig, &config(1000)).unwrap();
    world.send("before the flush", START_MS + 20_000).unwrap();
    world.turn().unwrap();
    world.flush().unwrap();
    for n in 0..25 {
        world.send(&format!("m{n}"), START_MS + 20_000).unwrap();
    }
    world.turn().unwrap();
    drop(world);
    rig.disk.crash(Loss::Nothing);
    let mut world = World::open(&rig, &config(1000)).unwrap();
    world.turn().unwrap();
    assert_eq!(
        world.timers.count_at(tick_of(START_MS + 20_000, 1000)).unwrap(),
        26
    );
    rig.clock.advance(Duration::from_secs(22));
    world.turn().unwrap();
    let out = world.delivered();
    assert_eq!(out.len(), 26);
    assert!(out.values().all(|count| *count == 1), "{out:?}");
}

/// Writes over an entry of the timer log.
fn damage(rig: &Rig, config: &TimerConfig, entry: u64) {
    let in_file = (config.log_file_bytes - 16) / 52;
    let base = entry / in_file * config.log_file_bytes;
    let path = format!("/store/timerlog/{base:020}");
    let file = store::disk::Disk::open(&*rig.disk, std::path::Path::new(&path)).unwrap();
    file.write_at(&[0x5A; 30], entry % in_file * 52 + 4).unwrap();
}

fn reopen(rig: &Rig, mut world: World, config: &TimerConfig) -> World {
    world.timers.close(&world.store).unwrap();
    world.store.close().unwrap();
    drop(world);
    World::open(rig, config).unwrap()
}

#[test]
fn a_damaged_entry_loses_neither_itself_nor_what_lies_behind_it() {
    let config = config(1000);
    for bad in 0..24 {
        let rig = Rig::new(bad, FlushMode::Async);
        let mut world = World::open(&rig, &config).unwrap();
        for n in 0..24 {
            // Several of each tick, so that entries hang on the damaged one; some roll.
            let delay = if n % 5 == 4 {
                100_000
            } else {
                5_500 + n % 3 * 1_000
            };
            world.send(&format!("m{n}"), START_MS + delay).unwrap();
        }
        world.turn().unwrap();
        world.timers.close(&world.store).unwrap();
        world.store.close().unwrap();
        drop(world);
        damage(&rig, &config, bad);
        let mut world = World::open(&rig, &config).unwrap();
        // The files in front of the last two are not looked at before the ticks of their entries fire.
        assert_eq!(world.timers.lost().is_some(), bad >= 10, "entry {bad}");
        world.turn().unwrap();
        // What was mended stays so, and is looked for once.
        world = reopen(&rig, world, &config);
        assert_eq!(world.timers.lost(), None);
        for _ in 0..4 {
            rig.clock.advance(Duration::from_secs(50));
            world.turn().unwrap();
        }
        let out = world.delivered();
        assert_eq!(out.len(), 24, "entry {bad}: {out:?}");
        assert!(out.values().all(|count| *count == 1), "entry {bad}: {out:?}");
    }
}

#[test]
fn any_byte_of_an_entry_may_be_wrong() {
    let config = config(1000);
    for at in 0..52 {
        for bad in [3, 14, 23] {
            let why = format!("byte {at} of entry {bad}");
            let rig = Rig::new(1, FlushMode::Async);
            let mut world = World::open(&rig, &config).unwrap();
            for n in 0..24 {
                world
                    .send(&format!("m{n}"), START_MS + 5_500 + n % 3 * 1_000)
                    .unwrap();
            }
            world.turn().unwrap();
            world.timers.close(&world.store).unwrap();
            world.store.close().unwrap();
            drop(world);
            let in_file = (config.log_file_bytes - 16) / 52;
            let path = format!("/store/timerlog/{:020}", bad / in_file * config.log_file_bytes);
            let file = store::disk::Disk::open(&*rig.disk, std::path::Path::new(&path)).unwrap();
            let (mut byte, place) = ([0], bad % in_file * 52 + at);
            file.read_exact_at(&mut byte, place).unwrap();
            file.write_at(&[byte[0] ^ 0x10], place).unwrap();
            let report = store::inspect::check(&rig.config, &rig.env()).unwrap();
            let told = report
                .findings
                .iter()
                .any(|finding| finding.file == std::path::Path::new(&path));
            assert!(told, "{why}: {:?}", report.findings);
            let mut world = World::open(&rig, &config).unwrap();
            for _ in 0..4 {
                rig.clock.advance(Duration::from_secs(20));
                world.turn().unwrap();
            }
            let out = world.delivered();
            assert_eq!(out.len(), 24, "{why}: {out:?}");
            assert!(out.values().all(|count| *count == 1), "{why}: {out:?}");
        }
    }
}

#[test]
fn entries_that_are_damaged_while_they_wait_are_found_when_their_tick_fires() {
    let rig = Rig::new(1, FlushMode::Async);
    let config = config(1000);
    let mut world = World::open(&rig, &config).unwrap();
    for n in 0..40 {
        world
            .send(&format!("m{n}"), START_MS + 20_500 + n % 2 * 1_000)
            .unwrap();
    }
    world.turn().unwrap();
    world.flush().unwrap();
    for bad in [0, 7, 8, 9, 15, 20, 22, 24, 38, 39] {
        damage(&rig, &config, bad);
    }
    rig.clock.advance(Duration::from_secs(30));
    world.turn().unwrap();
    world.turn().unwrap();
    let out = world.delivered();
    assert_eq!(out.len(), 40, "{out:?}");
    assert!(out.values().all(|count| *count == 1), "{out:?}");
}

#[test]
fn a_timer_log_that_is_gone_is_made_again_from_the_topic() {
    let rig = Rig::new(1, FlushMode::Async);
    let config = config(1000);
    let mut world = World::open(&rig, &config).unwrap();
    for n in 0..30 {
        world.send(&format!("m{n}"), START_MS + 2_500 + n * 500).unwrap();
    }
    rig.clock.advance(Duration::from_secs(8));
    world.turn().unwrap();
    world.timers.close(&world.store).unwrap();
    world.store.close().unwrap();
    let before = world.delivered().len();
    drop(world);
    assert!((1..30).contains(&before));
    let dir = std::path::Path::new("/store/timerlog");
    for entry in store::disk::Disk::list(&*rig.disk, dir).unwrap() {
        store::disk::Disk::remove(&*rig.disk, &dir.join(entry.name)).unwrap();
    }
    let mut world = World::open(&rig, &config).unwrap();
    rig.clock.advance(Duration::from_secs(30));
    world.turn().unwrap();
    let out = world.delivered();
    assert_eq!(out.len(), 30, "{out:?}");
    assert!(out.values().all(|count| *count == 1), "{out:?}");
}

#[test]
fn a_restart_within_a_tick_goes_on_behind_what_was_delivered() {
    let rig = Rig::new(1, FlushMode::Async);
    let config = config(1000);
    let mut world = World::open(&rig, &config).unwrap();
    for n in 0..2500 {
        world.send(&format!("m{n:04}"), START_MS + 5_500).unwrap();
    }
    world.turn().unwrap();
    rig.clock.advance(Duration::from_secs(7));
    world.timers.advance().unwrap();
    let mut left = 0;
    for stop in [1, 1023, 1, 300, 1100] {
        assert!(world.timers.due().unwrap().is_some());
        let mut count = stop;
        while count > 0 {
            let entries = world.timers.batch(count).unwrap();
            for entry in &entries {
                let bytes = world.store.record_at(LogPos(entry.pos)).unwrap();
                world.put("Out", &Record::decode(&bytes).unwrap()).unwrap();
            }
            world.timers.done(entries.len());
            count -= entries.len();
        }
        left += stop;
        world.flush().unwrap();
        drop(world);
        rig.disk.crash(Loss::Everything);
        world = World::open(&rig, &config).unwrap();
        world.timers.advance().unwrap();
        assert_eq!(world.delivered().len(), left);
    }
    world.turn().unwrap();
    let names: Vec<String> = (0..2500).map(|n| format!("m{n:04}")).collect();
    assert_eq!(bodies(&world.store, "Out", 0), names, "each once, in order");
}

#[test]
fn what_is_sent_after_the_clock_was_set_back_comes_in_time() {
    let rig = Rig::new(1, FlushMode::Async);
    let config = config(1000);
    let mut world = World::open(&rig, &config).unwrap();
    for n in 0..5 {
        world
            .send(&format!("ahead {n}"), START_MS + 2_500 + n * 20_000)
            .unwrap();
    }
    world.turn().unwrap();
    // Too far ahead, twice, with restarts.
    rig.clock.set(START_MS + 70_000);
    world.turn().unwrap();
    let early = world.delivered().len();
    assert_eq!(early, 4);
    rig.clock.set(START_MS + 10_000);
    world.turn().unwrap();
    world = reopen(&rig, world, &config);
    world.send("back", START_MS + 12_500).unwrap();
    world.send("same tick", START_MS + 22_500).unwrap();
    world.turn().unwrap();
    world.flush().unwrap();
    rig.clock.set(START_MS + 5_000);
    world = reopen(&rig, world, &config);
    world.send("again", START_MS + 6_500).unwrap();
    for second in 5..120 {
        rig.clock.set(START_MS + second * 1000);
        world.turn().unwrap();
        if second % 10 == 0 {
            world = reopen(&rig, world, &config);
        }
        let out = world.delivered();
        for (name, due) in [("back", 12_500), ("again", 6_500), ("same tick", 22_500)] {
            let is_out = out.contains_key(name);
            assert_eq!(is_out, second * 1000 >= due, "{name} at {second}");
        }
    }
    let out = world.delivered();
    assert_eq!(out.len(), 8, "{out:?}");
    assert!(out.values().all(|count| *count == 1), "{out:?}");
}

#[test]
fn a_wheel_that_cannot_be_read_for_a_moment_gets_no_message_twice() {
    for reads in [0, 100, 299, 300, 310, 400, 500, 599] {
        let rig = Rig::new(1, FlushMode::Async);
        let mut timers = Timers::open(TimerConfig::at("/store"), rig.env(), LogPos(0)).unwrap();
        timers.advance().unwrap();
        let first = tick_of(START_MS + 5_000, 1000);
        // Each in a page of its own, and more of them than stay in memory.
        let messages: Vec<Timed> = (0..300)
            .map(|n| Timed {
                out_ms: first + n * 128_000,
                pos: LogPos(n * 200),
                size: 200,
                topic_hash: 1,
                is_delete: false,
            })
            .collect();
        let wheel = std::path::Path::new("/store/timerwheel");
        rig.disk.fail_read_after(wheel, reads);
        if timers.park(&messages).is_err() {
            timers.park(&messages).unwrap();
        }
        rig.disk.fail_reads(wheel, 0);
        for message in &messages {
            let (entries, next) = timers.entries(message.out_ms, None, 10).unwrap();
            assert_eq!((entries.len(), next), (1, None), "after {reads} reads");
            assert_eq!(timers.count_at(message.out_ms).unwrap(), 1);
        }
    }
}
