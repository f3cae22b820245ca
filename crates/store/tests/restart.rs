// SPDX-License-Identifier: Apache-2.0
//! What an opening after a kill costs and what it may put off: how much it reads, what it takes over, what it syncs.

#[path = "support/rig.rs"]
mod rig;

use std::path::Path;

use rig::*;
use store::disk::Disk;
use store::disk::sim::Loss;
use store::{FlushMode, IndexKind, LogPos};

#[test]
fn what_an_opening_reads_after_a_kill_is_bounded_by_the_distance_of_short_checkpoints() {
    let short = 40_000;
    let read_to_open = |rounds: u32, short_bytes: u64| {
        let rig = large(short_bytes);
        let store = rig.open();
        rig.tidy_after(&store, 1);
        let mut names = 0;
        for _ in 0..rounds {
            grow(&store, &mut names, 10_000);
            store.turn_tidy();
        }
        rig.disk.crash(Loss::Nothing);
        drop(store);
        let before = rig.disk.bytes_read();
        let store = rig.open();
        let read = rig.disk.bytes_read() - before;
        let found: i64 = (0..4).map(|id| store.queue("T", id).max()).sum();
        assert_eq!(found, i64::from(names));
        // Of the index the entries are read that are in no slot: four for each message.
        let log = read.saturating_sub(u64::from(names) * 4 * 20);
        (read, log, store.max_pos().0.unsigned_abs())
    };
    let (all, _, len) = read_to_open(100, u64::MAX);
    assert!(all > len, "{all} of {len} bytes");
    // The record at the safe position is read for itself, and a read goes on to the end of the file.
    let files = 4 * 16 * 1024;
    for rounds in [50, 100, 200] {
        let (_, read, len) = read_to_open(rounds, short);
        assert!(read < short + files, "{read} of {len} bytes");
    }
}

#[test]
fn the_index_is_whole_after_a_kill_whatever_checkpoint_was_the_last() {
    for (loss, tear) in [
        (Loss::Nothing, false),
        (Loss::Everything, false),
        (Loss::Nothing, true),
    ] {
        let rig = large(20_000);
        let store = rig.open();
        let mut names = 0;
        grow(&store, &mut names, 5_000);
        rig.tidy_after(&store, 61);
        // Two short ones, and some that no checkpoint knows.
        for _ in 0..2 {
            grow(&store, &mut names, 25_000);
            rig.tidy_after(&store, 1);
        }
        grow(&store, &mut names, 3_000);
        rig.disk.crash(loss);
        drop(store);
        if tear {
            // As if slots were being written then.
            let index = rig.disk.list("/store/index".as_ref()).unwrap();
            let path = Path::new("/store/index").join(&index[0].name);
            let file = rig.disk.open(&path).unwrap();
            file.write_at(&[0; 64], 40 + 100 * 4).unwrap();
        }
        let store = rig.open();
        for name in 0..names {
            let found = find(&store, "T", &name.to_string(), IndexKind::Unique);
            assert_eq!(found, [name.to_string()], "{loss:?} {tear}");
        }
        let all = find(&store, "T", "shared", IndexKind::Key);
        assert_eq!(all.len(), 64.min(names as usize), "{loss:?} {tear}");
    }
}

#[test]
fn under_async_flush_an_opening_after_a_kill_leaves_the_log_to_the_flusher() {
    for flush in [FlushMode::Async, FlushMode::Sync] {
        let mut rig = large(u64::MAX);
        rig.config.flush = flush;
        let store = rig.open();
        let mut names = 0;
        grow(&store, &mut names, 5_000);
        rig.tidy_after(&store, 61);
        let safe = store.written();
        grow(&store, &mut names, 5_000);
        rig.disk.crash(Loss::Nothing);
        drop(store);
        let store = rig.open();
        let end = store.written();
        assert!(end > safe);
        match flush {
            FlushMode::Async => {
                assert_eq!(store.durable(), safe);
                assert!(store.turn_flush());
            }
            // Everybody may see what is there, so it is on the disk.
            FlushMode::Sync => assert!(!store.turn_flush()),
        }
        assert_eq!(store.durable(), end);
        // The checkpoint follows with the first turn.
        let before = checkpoint(&rig);
        store.turn_tidy();
        assert!(checkpoint(&rig) != before);
    }
}

#[test]
fn a_second_kill_before_the_first_checkpoint_loses_nothing() {
    let rig = large(u64::MAX);
    let store = rig.open();
    let mut names = 0;
    grow(&store, &mut names, 5_000);
    rig.tidy_after(&store, 61);
    grow(&store, &mut names, 5_000);
    rig.disk.crash(Loss::Nothing);
    drop(store);
    for loss in [Loss::Everything, Loss::Random, Loss::Nothing, Loss::Everything] {
        let store = rig.open();
        grow(&store, &mut names, 3_000);
        rig.disk.crash(loss);
        drop(store);
    }
    let store = rig.open();
    let found: Vec<String> = (0..4).flat_map(|id| bodies(&store, "T", id)).collect();
    assert_eq!(found.len(), names as usize);
    for name in 0..names {
        let found = find(&store, "T", &name.to_string(), IndexKind::Unique);
        assert_eq!(found, [name.to_string()]);
    }
}

#[test]
fn what_lies_far_behind_the_end_is_zero_on_the_disk_before_the_log_goes_on() {
    let mut rig = Rig::new(7, FlushMode::Async);
    rig.config.segment_bytes = 512 << 10;
    let store = rig.open();
    for name in ["a", "b"] {
        send(&store, "T", 0, name);
    }
    let end = store.written().0.unsigned_abs();
    rig.disk.crash(Loss::Nothing);
    drop(store);
    let path = Path::new("/store/commitlog/00000000000000000000");
    let file = rig.disk.open(path).unwrap();
    // A write that was lost leaves a hole in front of one that was not.
    file.write_at(b"from another life", end + 300_000).unwrap();
    file.sync().unwrap();
    let store = rig.open();
    assert_eq!(store.max_pos(), LogPos(end as i64));
    rig.disk.crash(Loss::Everything);
    let log = rig.disk.load(path).unwrap().unwrap();
    assert!(log[end as usize..].iter().all(|byte| *byte == 0));
    drop(store);
    assert_eq!(bodies(&rig.open(), "T", 0), ["a", "b"]);
}

#[test]
fn damage_in_the_middle_of_many_records_costs_the_damaged_one() {
    let rig = large(u64::MAX);
    let store = rig.open();
    let mut names = 0;
    // More than are handed over at once.
    grow(&store, &mut names, 2_000_000);
    assert!(names > 5_000);
    // It is noted that all of this is on the disk.
    store.turn_tidy();
    let end = store.max_pos();
    let victim = 5_000;
    let place = store
        .query(&store::Lookup {
            topic: "T",
            key: &victim.to_string(),
            kind: IndexKind::Unique,
            max: 1,
            max_bytes: 1 << 20,
            begin_ms: 0,
            end_ms: i64::MAX,
        })
        .unwrap();
    let pos = wire::record::Record::decode(&place.records[0])
        .unwrap()
        .physical_offset;
    rig.disk.crash(Loss::Nothing);
    drop(store);
    let base = pos / (16 << 10) * (16 << 10);
    let path = format!("/store/commitlog/{base:020}");
    let file = rig.disk.open(path.as_ref()).unwrap();
    // Inside its body.
    let mut body = [0];
    let at = (pos - base).unsigned_abs() + 88;
    file.read_at(&mut body, at).unwrap();
    file.write_at(&[body[0] ^ 1], at).unwrap();
    let store = rig.open();
    assert_eq!(store.max_pos(), end);
    let found: Vec<String> = (0..4).flat_map(|id| bodies(&store, "T", id)).collect();
    assert_eq!(found.len(), names as usize - 1);
    assert!(!found.contains(&victim.to_string()));
    assert!(find(&store, "T", &victim.to_string(), IndexKind::Unique).is_empty());
    for other in [victim - 1, victim + 1] {
        let found = find(&store, "T", &other.to_string(), IndexKind::Unique);
        assert_eq!(found, [other.to_string()]);
    }
}
