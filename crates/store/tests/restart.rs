// SPDX-License-Identifier: Apache-2.0
//! What an opening after a kill may put off, and what not.

#[path = "support/rig.rs"]
mod rig;

use std::path::Path;

use rig::*;
use store::disk::Disk;
use store::disk::sim::Loss;
use store::{FlushMode, IndexKind, LogPos, Store};

/// Sends until the log is so many bytes longer.
fn fill(store: &Store, names: &mut u32, bytes: i64) {
    let end = store.max_pos().0 + bytes;
    while store.max_pos().0 < end {
        append(store, "T", *names % 4, &names.to_string()).expect("append is accepted");
        *names += 1;
        if names.is_multiple_of(16) {
            store.drive();
        }
    }
    store.drive();
    store.turn_flush();
}

fn checkpoint(rig: &Rig) -> Vec<u8> {
    let found = rig.disk.load("/store/checkpoint".as_ref());
    found.expect("the file is readable").expect("there is one")
}

fn large() -> Rig {
    let mut rig = Rig::new(7, FlushMode::Async);
    rig.config.segment_bytes = 16 << 10;
    rig.config.queue_file_bytes = 20 * 10_000;
    rig.config.index_slots = 500;
    rig.config.index_entries = 1_000_000;
    rig
}

#[test]
fn under_async_flush_an_opening_after_a_kill_leaves_the_log_to_the_flusher() {
    for flush in [FlushMode::Async, FlushMode::Sync] {
        let mut rig = large();
        rig.config.flush = flush;
        let store = rig.open();
        let mut names = 0;
        fill(&store, &mut names, 5_000);
        rig.tidy_after(&store, 61);
        let safe = store.written();
        fill(&store, &mut names, 5_000);
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
    let rig = large();
    let store = rig.open();
    let mut names = 0;
    fill(&store, &mut names, 5_000);
    rig.tidy_after(&store, 61);
    fill(&store, &mut names, 5_000);
    rig.disk.crash(Loss::Nothing);
    drop(store);
    for loss in [Loss::Everything, Loss::Random, Loss::Nothing, Loss::Everything] {
        let store = rig.open();
        fill(&store, &mut names, 3_000);
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
fn damage_in_the_middle_of_many_records_ends_the_log_there() {
    let rig = large();
    let store = rig.open();
    let mut names = 0;
    // More than are handed over at once.
    fill(&store, &mut names, 2_000_000);
    assert!(names > 5_000);
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
    assert_eq!(store.max_pos(), LogPos(pos));
    let found: i64 = (0..4).map(|id| store.queue("T", id).max()).sum();
    assert_eq!(found, victim);
    assert!(find(&store, "T", &victim.to_string(), IndexKind::Unique).is_empty());
    assert_eq!(
        find(&store, "T", &(victim - 1).to_string(), IndexKind::Unique),
        [(victim - 1).to_string()]
    );
}
