// SPDX-License-Identifier: Apache-2.0
//! Compacted topics: of each key the newest message is there, whatever happens to the log, the files or the machine.

#[path = "support/rig.rs"]
mod rig;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use rig::*;
use store::disk::Disk;
use store::disk::sim::{Fault, Loss};
use store::env::Rng;
use store::env::sim::SimRng;
use store::{FlushMode, OpenError, ReadError, ReadLimit, Store};
use wire::record::Record;

const LOG_DIR: &str = "/store/compaction/compactionLog/COMPACTED/0";
const UNIT_DIR: &str = "/store/compaction/compactionCq/COMPACTED/0";

/// The newest value of each key.
type Values = BTreeMap<String, String>;

fn put(store: &Store, key: &str, value: &str) -> Option<i64> {
    let queue = store.queue(COMPACTED, 0);
    let properties = format!("KEYS\u{1}{key}\u{2}");
    let receipt = store.append(&draft(&queue, value.as_bytes(), properties.as_bytes()));
    store.drive();
    receipt.ok().map(|receipt| receipt.queue_offset)
}

fn apply(values: &mut Values, key: &str, value: &str) {
    if value.is_empty() {
        values.remove(key);
    } else {
        values.insert(key.into(), value.into());
    }
}

/// All that a consumer from the first offset on gets.
fn consume(store: &Store, limit: &ReadLimit) -> Vec<Record> {
    let queue = store.queue(COMPACTED, 0);
    let (mut all, mut next): (Vec<Record>, i64) = (Vec::new(), 0);
    loop {
        match store.read(&queue, next, limit, &store::All) {
            Ok(batch) => {
                for record in Record::decode_all(&batch.bytes) {
                    let record = record.expect("record is sound");
                    let last = all.last().map_or(-1, |record| record.queue_offset);
                    assert!(record.queue_offset > last && record.queue_offset >= next);
                    all.push(record);
                }
                assert!(batch.next_offset > next, "a read goes on");
                next = batch.next_offset;
            }
            Err(ReadError::AtEnd { .. } | ReadError::Empty) => return all,
            Err(error) => panic!("at {next}: {error}"),
        }
    }
}

fn key(record: &Record) -> String {
    wire::properties::get(&record.properties, "KEYS")
        .expect("there")
        .to_owned()
}

fn values(store: &Store) -> Values {
    let mut values = Values::new();
    for record in consume(store, &MANY) {
        apply(&mut values, &key(&record), &text(&record.body));
    }
    values
}

/// Copies and compacts.
fn compact(rig: &Rig, store: &Store) {
    rig.tidy_after(store, 61);
    store.turn_compact();
}

fn names(rig: &Rig, dir: &str) -> Vec<String> {
    let mut names: Vec<String> = rig
        .disk
        .list(Path::new(dir))
        .expect("there")
        .into_iter()
        .map(|e| e.name)
        .collect();
    names.sort();
    names
}

/// 100 messages of 5 keys.
fn filled(rig: &Rig) -> (Arc<Store>, Values) {
    let store = rig.open();
    let mut model = Values::new();
    for n in 0..100 {
        let (key, value) = (format!("k{}", n % 5), format!("value {n}"));
        assert_eq!(put(&store, &key, &value), Some(n));
        apply(&mut model, &key, &value);
    }
    (store, model)
}

#[test]
fn of_each_key_the_newest_message_is_kept_at_its_offset() {
    let rig = Rig::new(1, FlushMode::Async);
    let (store, model) = filled(&rig);
    assert_eq!(consume(&store, &MANY).len(), 100);
    rig.tidy_after(&store, 61);
    assert_eq!(consume(&store, &MANY).len(), 100, "copied");
    let before = names(&rig, LOG_DIR);
    assert!(before.len() > 3);
    assert_eq!(before, names(&rig, UNIT_DIR));
    store.turn_compact();
    let kept = consume(&store, &MANY);
    assert!(kept.len() < 30, "{} are kept", kept.len());
    assert_eq!(values(&store), model);
    for record in &kept {
        assert_eq!(text(&record.body), format!("value {}", record.queue_offset));
    }
    assert_eq!(names(&rig, LOG_DIR).len(), 2, "{:?}", names(&rig, LOG_DIR));
    assert_eq!(names(&rig, LOG_DIR), names(&rig, UNIT_DIR));
    let positions = rig.disk.load(Path::new("/store/compaction/position-checkpoint"));
    let positions = String::from_utf8(positions.unwrap().unwrap()).unwrap();
    assert!(positions.contains("\"COMPACTED_0\":"), "{positions}");

    // Any offset, and any number at once.
    let one = ReadLimit { count: 1, ..MANY };
    assert_eq!(consume(&store, &one), kept);
    let queue = store.queue(COMPACTED, 0);
    let from_50 = store.read(&queue, 50, &one, &store::All).unwrap();
    assert!(from_50.next_offset > 51, "a gap is skipped");
    assert!(
        store.read_cached(&queue, 0, &MANY, &store::All).is_err(),
        "not on a socket thread"
    );
    // Nothing new, nothing done.
    store.turn_compact();
    assert_eq!(consume(&store, &MANY), kept);
}

#[test]
fn an_empty_body_deletes_its_key() {
    let rig = Rig::new(1, FlushMode::Async);
    let (store, mut model) = filled(&rig);
    put(&store, "k3", "");
    apply(&mut model, "k3", "");
    for n in 0..60 {
        put(&store, "other", &format!("value {n}"));
        apply(&mut model, "other", &format!("value {n}"));
    }
    compact(&rig, &store);
    assert_eq!(values(&store), model);
    assert!(consume(&store, &MANY).iter().all(|record| key(record) != "k3"));
}

#[test]
fn values_stay_when_the_log_has_forgotten_them_and_over_a_restart() {
    let rig = Rig::new(1, FlushMode::Async);
    let (store, model) = filled(&rig);
    compact(&rig, &store);
    for n in 0..60 {
        send(&store, "T", 0, &format!("{n} {}", "x".repeat(500)));
    }
    store.clean_soon();
    rig.tidy_after(&store, 100 * 3600);
    assert!(store.min_pos().0 > 20_000, "old files are gone");
    assert_eq!(store.queue(COMPACTED, 0).min(), 100);
    assert_eq!(values(&store), model);
    store.close().unwrap();
    drop(store);
    let store = rig.open();
    assert_eq!(values(&store), model);
    assert_eq!(put(&store, "k1", "new"), Some(100));
    rig.disk.crash(Loss::Nothing);
    drop(store);
    let store = rig.open();
    let mut model = model;
    apply(&mut model, "k1", "new");
    assert_eq!(values(&store), model);
}

#[test]
fn no_file_of_the_log_goes_before_its_values_are_copied() {
    let rig = Rig::new(1, FlushMode::Async);
    let (store, model) = filled(&rig);
    for n in 0..60 {
        send(&store, "T", 0, &format!("{n} {}", "x".repeat(500)));
    }
    store.clean_soon();
    rig.tidy_after(&store, 100 * 3600);
    assert!(store.min_pos().0 > 20_000, "old files are gone");
    assert_eq!(values(&store), model);
}

#[test]
fn little_memory_takes_several_turns() {
    let mut rig = Rig::new(1, FlushMode::Async);
    rig.config.compaction_memory_bytes = 150;
    let (store, model) = filled(&rig);
    rig.tidy_after(&store, 61);
    for _ in 0..60 {
        store.turn_compact();
        assert_eq!(values(&store), model);
    }
    assert!(consume(&store, &MANY).len() < 60);
}

#[test]
fn a_deleted_topic_leaves_no_value_behind() {
    let rig = Rig::new(1, FlushMode::Async);
    let (store, _) = filled(&rig);
    compact(&rig, &store);
    store.delete_topic(COMPACTED).unwrap();
    assert!(names(&rig, "/store/compaction/compactionLog").is_empty());
    assert!(names(&rig, "/store/compaction/compactionCq").is_empty());
    assert_eq!(put(&store, "k", "new"), Some(0));
    compact(&rig, &store);
    assert_eq!(values(&store), Values::from([("k".into(), "new".into())]));
}

/// Sends, copies and compacts at random. Returns what was sent, in order.
fn work(rig: &Rig, store: &Store, rng: &SimRng, sent: &mut Vec<(String, String)>, steps: usize) {
    for _ in 0..steps {
        match rng.below(12) {
            0 => rig.tidy_after(store, 61),
            1 => store.turn_compact(),
            2 => rig.tidy_after(store, 2),
            3 => _ = store.turn_flush(),
            _ => {
                for _ in 0..rng.below(12) {
                    let key = format!("k{}", rng.below(6));
                    let value = match rng.below(6) {
                        0 => String::new(),
                        _ => format!("{} {}", sent.len(), "x".repeat(rng.below(60) as usize)),
                    };
                    let Some(offset) = put(store, &key, &value) else {
                        return;
                    };
                    sent.truncate(usize::try_from(offset).expect("an offset"));
                    sent.push((key, value));
                }
            }
        }
    }
}

/// The values must be those of the messages the queue has kept.
fn check(store: &Store, sent: &mut Vec<(String, String)>, why: &str) {
    let max = store.find_queue(COMPACTED, 0).map_or(0, |queue| queue.max());
    sent.truncate(usize::try_from(max).expect("an offset"));
    let mut model = Values::new();
    for (key, value) in sent.iter() {
        apply(&mut model, key, value);
    }
    assert_eq!(values(store), model, "{why}");
}

fn crash_at(seed: u64, op: u64, loss: Loss) -> bool {
    let why = format!("seed {seed}, operation {op}, {loss:?}");
    let rig = Rig::new(seed, FlushMode::Async);
    let (rng, mut sent) = (SimRng::seeded(seed), Vec::new());
    rig.disk.halt_at(op);
    if let Ok(store) = rig.try_open() {
        work(&rig, &store, &rng, &mut sent, 24);
        if !rig.disk.is_halted() {
            _ = store.close();
        }
    }
    let is_past_the_end = !rig.disk.is_halted();
    rig.disk.crash(loss);
    let store = rig.open();
    check(&store, &mut sent, &why);
    work(&rig, &store, &rng, &mut sent, 8);
    check(&store, &mut sent, &format!("{why}, going on"));
    compact(&rig, &store);
    check(&store, &mut sent, &format!("{why}, compacted"));
    rig.disk.crash(Loss::Random);
    drop(store);
    let store = rig.open();
    check(&store, &mut sent, &format!("{why}, second crash"));
    is_past_the_end
}

#[test]
fn no_crash_costs_the_newest_value_of_a_key() {
    for (seed, loss) in [(31, Loss::Nothing), (32, Loss::Everything), (34, Loss::Random)] {
        for op in 0.. {
            if crash_at(seed, op, loss) {
                assert!(op > 100, "the workload does something: {op} operations");
                break;
            }
        }
    }
}

#[test]
fn a_disk_that_fails_once_costs_no_value() {
    for fault in [Fault::Broken, Fault::Full] {
        for op in 0.. {
            let why = format!("operation {op}, {fault:?}");
            let rig = Rig::new(41, FlushMode::Async);
            let (rng, mut sent) = (SimRng::seeded(41), Vec::new());
            rig.disk.fail_at(op, fault);
            if let Ok(store) = rig.try_open() {
                work(&rig, &store, &rng, &mut sent, 20);
                if store.is_writable() {
                    compact(&rig, &store);
                    compact(&rig, &store);
                    check(&store, &mut sent.clone(), &why);
                }
            }
            let is_over = rig.disk.ops() <= op;
            rig.disk.crash(Loss::Nothing);
            let store = rig.open();
            check(&store, &mut sent, &format!("{why}, opened again"));
            compact(&rig, &store);
            check(&store, &mut sent, &format!("{why}, compacted"));
            if is_over {
                break;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn values_are_those_of_a_map(seed in any::<u64>(), memory in 0_usize..2000) {
        let mut rig = Rig::new(seed, FlushMode::Async);
        rig.config.compaction_memory_bytes = memory;
        let (rng, mut sent) = (SimRng::seeded(seed), Vec::new());
        let mut store = rig.open();
        for _ in 0..4 {
            work(&rig, &store, &rng, &mut sent, 40);
            check(&store, &mut sent, "at work");
            store.close().expect("store closes");
            drop(store);
            store = rig.open();
            check(&store, &mut sent, "opened again");
        }
    }
}

/// Sends other messages until the log forgets the first ones.
fn outgrow(rig: &Rig, store: &Store) {
    for n in 0..60 {
        send(store, "T", 0, &format!("{n} {}", "x".repeat(500)));
    }
    store.clean_soon();
    rig.tidy_after(store, 100 * 3600);
}

#[test]
fn lost_queues_do_not_cost_what_only_the_copies_have() {
    let rig = Rig::new(1, FlushMode::Async);
    let (store, mut model) = filled(&rig);
    compact(&rig, &store);
    outgrow(&rig, &store);
    assert!(store.min_pos().0 > 20_000, "old files are gone");
    store.close().unwrap();
    drop(store);
    rig.lose_queues();
    for round in 0..2 {
        let store = rig.open();
        assert_eq!(values(&store), model);
        let key = format!("new {round}");
        assert_eq!(put(&store, &key, "v"), Some(100 + round), "behind the copies");
        apply(&mut model, &key, "v");
        assert_eq!(values(&store), model);
        store.close().unwrap();
    }
    // Nor does a lost log, when somebody has said that it may be lost.
    let model: Values = {
        let store = rig.open();
        compact(&rig, &store);
        store.close().unwrap();
        model
    };
    rig.disk.remove_tree(Path::new("/store/commitlog")).unwrap();
    assert!(matches!(rig.try_open(), Err(OpenError::Lost { .. })));
    for name in ["checkpoint", "barque-reached"] {
        let path = Path::new("/store").join(name);
        if rig.disk.entry(&path).unwrap().is_some() {
            rig.disk.remove(&path).unwrap();
        }
    }
    for dir in ["consumequeue", "barque-queues"] {
        rig.disk.remove_tree(&Path::new("/store").join(dir)).unwrap();
    }
    let store = rig.open();
    assert_eq!(values(&store), model);
    assert_eq!(put(&store, "k1", "new"), Some(102));
}

#[test]
fn a_topic_made_again_inherits_nothing_though_its_deletion_failed() {
    let fresh = Values::from([("k".into(), "new".into())]);
    for (is_crash, loss) in [
        (false, Loss::Nothing),
        (true, Loss::Nothing),
        (true, Loss::Random),
    ] {
        let mut failed = 0;
        for op in 0..60 {
            let why = format!("operation {op}, crash {is_crash}, {loss:?}");
            let rig = Rig::new(1, FlushMode::Async);
            let (store, _) = filled(&rig);
            rig.tidy_after(&store, 61);
            rig.disk.fail_at(rig.disk.ops() + op, Fault::Broken);
            if store.delete_topic(COMPACTED).is_ok() || !store.is_writable() {
                continue;
            }
            failed += 1;
            assert_eq!(put(&store, "k", "new"), Some(0), "{why}");
            assert_eq!(values(&store), fresh, "{why}");
            if is_crash {
                store.turn_flush();
                rig.disk.crash(loss);
                drop(store);
                let store = rig.open();
                assert_eq!(values(&store), fresh, "{why}");
                continue;
            }
            compact(&rig, &store);
            assert_eq!(values(&store), fresh, "{why}");
            store.close().expect("store closes");
            drop(store);
            let store = rig.open();
            assert_eq!(values(&store), fresh, "{why}, opened again");
        }
        assert!(failed > 3, "{failed} deletions failed");
    }
}

#[test]
fn a_topic_deleted_without_compaction_leaves_no_copies() {
    let mut rig = Rig::new(1, FlushMode::Async);
    let (store, _) = filled(&rig);
    compact(&rig, &store);
    store.close().unwrap();
    drop(store);
    let kinds = std::mem::take(&mut rig.config.kinds);
    let store = rig.open();
    store.delete_topic(COMPACTED).unwrap();
    store.close().unwrap();
    drop(store);
    rig.config.kinds = kinds;
    let store = rig.open();
    assert_eq!(put(&store, "k", "new"), Some(0));
    compact(&rig, &store);
    assert_eq!(values(&store), Values::from([("k".into(), "new".into())]));
}

#[test]
fn a_position_of_files_that_are_gone_brings_no_deleted_key_back() {
    let rig = Rig::new(1, FlushMode::Async);
    let (store, _) = filled(&rig);
    compact(&rig, &store);
    let path = Path::new("/store/compaction/position-checkpoint");
    let saved = rig.disk.load(path).unwrap().unwrap();
    store.delete_topic(COMPACTED).unwrap();
    store.close().unwrap();
    drop(store);
    rig.disk.replace(path, &saved).unwrap();
    let store = rig.open();
    put(&store, "gone", "old value");
    put(&store, "gone", "");
    for n in 0..200 {
        put(&store, "other", &format!("value {n}"));
    }
    compact(&rig, &store);
    assert!(!values(&store).contains_key("gone"), "a deleted key is back");
}

#[test]
fn lost_units_are_made_anew() {
    let rig = Rig::new(1, FlushMode::Async);
    let (store, model) = filled(&rig);
    compact(&rig, &store);
    outgrow(&rig, &store);
    let units = names(&rig, UNIT_DIR);
    assert!(units.len() > 1);
    store.close().unwrap();
    drop(store);
    for name in &units {
        rig.disk.remove(&Path::new(UNIT_DIR).join(name)).unwrap();
        let store = rig.open();
        let left: Vec<String> = names(&rig, UNIT_DIR)
            .into_iter()
            .filter(|name| name != "compacting")
            .collect();
        assert_eq!(left, units);
        assert_eq!(values(&store), model);
        store.close().unwrap();
    }
}

#[test]
fn a_damaged_last_unit_is_made_anew() {
    let rig = Rig::new(1, FlushMode::Async);
    let (store, model) = filled(&rig);
    compact(&rig, &store);
    outgrow(&rig, &store);
    store.close().unwrap();
    drop(store);
    let last = names(&rig, UNIT_DIR).pop().unwrap();
    let file = rig.disk.open(&Path::new(UNIT_DIR).join(last)).unwrap();
    let is_written = |at: u64| {
        let mut size = [0; 4];
        file.read_at(&mut size, at * 46 + 8).unwrap();
        size != [0; 4]
    };
    let at = (0..20).take_while(|at| is_written(*at)).last().unwrap();
    file.write_at(&(1_i64 << 40).to_be_bytes(), at * 46 + 28).unwrap();
    let store = rig.open();
    assert_eq!(store.queue(COMPACTED, 0).max(), 100);
    assert_eq!(values(&store), model);
}

#[test]
fn a_queue_that_cannot_be_copied_holds_back_its_own_part_of_the_log() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    outgrow(&rig, &store);
    let before = store.min_pos();
    put(&store, "k", "v");
    // What lies where its files shall be is no file of it.
    let odd = Path::new(LOG_DIR).join("odd");
    rig.disk.make_dirs(Path::new(LOG_DIR)).unwrap();
    rig.disk.create(&odd, 1).unwrap();
    outgrow(&rig, &store);
    outgrow(&rig, &store);
    let queue = store.queue(COMPACTED, 0);
    assert!(store.min_pos() > before, "what is in front of it goes");
    assert_eq!((queue.min(), queue.max()), (0, 1), "it stays");
    rig.disk.remove(&odd).unwrap();
    outgrow(&rig, &store);
    assert_eq!((queue.min(), queue.max()), (1, 1), "copied and gone");
    assert_eq!(values(&store), Values::from([("k".into(), "v".into())]));
}

#[test]
fn two_threads_at_once_cost_no_value() {
    for seed in 0..40 {
        let rig = Rig::new(seed, FlushMode::Async);
        let store = rig.open();
        let mut model = Values::new();
        for n in 0..30 {
            put(&store, &format!("k{n}"), "v");
            apply(&mut model, &format!("k{n}"), "v");
        }
        rig.clock.advance(std::time::Duration::from_secs(61));
        let gate = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                gate.wait();
                store.turn_tidy();
            });
            scope.spawn(|| {
                gate.wait();
                store.turn_compact();
            });
        });
        outgrow(&rig, &store);
        store.close().unwrap();
        drop(store);
        assert_eq!(values(&rig.open()), model, "seed {seed}");
    }
}
