// SPDX-License-Identifier: Apache-2.0
//! Batch queues: records that hold several messages, found by the offset of any of them.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "support/rig.rs"]
mod rig;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rig::*;
use store::disk::Disk;
use store::disk::sim::Loss;
use store::{
    All, Boundary, FlushMode, IndexKind, Kind, Kinds, Queue, QueueLayout, ReadError, ReadLimit, Store,
};
use wire::properties;
use wire::record::Record;

/// The file that begins with the first unit of the only queue.
fn file() -> &'static Path {
    Path::new(match layout() {
        QueueLayout::Files => BATCH_FILE,
        QueueLayout::Compact => FIRST_RUN,
    })
}

/// Offset and body of each record that a read gives, and where it goes on.
fn read(store: &Store, queue: &Queue, from: i64, limit: &ReadLimit) -> (Vec<(i64, String)>, usize, i64) {
    let batch = store.read(queue, from, limit, &All).unwrap();
    let records = Record::decode_all(&batch.bytes).map(|record| record.expect("record is sound"));
    let records = records.map(|record| (record.queue_offset, text(&record.body)));
    (records.collect(), batch.count, batch.next_offset)
}

#[test]
fn a_record_takes_as_many_offsets_as_it_holds_messages() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = filled_batches(&rig);
    let queue = store.find_queue(BATCHED, 0).unwrap();
    assert_eq!((queue.min(), queue.max()), (0, 11));
    let expected = [(0, "a"), (3, "b"), (4, "single"), (5, "c"), (7, "d")];
    let expected: Vec<(i64, String)> = expected.map(|(offset, name)| (offset, name.into())).into();
    assert_eq!(read(&store, &queue, 0, &MANY), (expected, 11, 11));
    let a = &read_all(&store, BATCHED, 0)[3];
    assert_eq!(properties::get(&a.properties, "INNER_BASE"), Some("5"));
    assert_eq!(properties::get(&a.properties, "INNER_NUM"), Some("2"));
    assert!(matches!(
        store.read(&queue, 11, &MANY, &All),
        Err(ReadError::AtEnd { .. })
    ));
    assert_eq!(find(&store, BATCHED, "c", IndexKind::Unique), ["c"]);
}

#[test]
fn a_read_from_any_offset_finds_the_record_that_holds_it() {
    let rig = Rig::new(1, FlushMode::Async);
    let mut store = filled_batches(&rig);
    let one = ReadLimit { count: 1, ..MANY };
    for round in ["in memory", "in files"] {
        let queue = store.find_queue(BATCHED, 0).unwrap();
        for (offset, (base, next)) in [(0, (0, 3)), (2, (0, 3)), (3, (3, 4)), (6, (5, 7)), (10, (7, 11))] {
            let (found, count, after) = read(&store, &queue, offset, &one);
            assert_eq!((found[0].0, after), (base, next), "{round}: offset {offset}");
            // The first record comes whatever it holds.
            assert_eq!(count as i64, next - base);
        }
        // Not more messages than asked for, but for the first record.
        let six = ReadLimit { count: 6, ..MANY };
        assert_eq!(read(&store, &queue, 1, &six).2, 5, "{round}");
        assert_eq!(
            read(&store, &queue, 3, &ReadLimit { scan: 3, ..MANY }).2,
            7,
            "{round}"
        );
        store.close().unwrap();
        store = rig.open();
    }
}

#[test]
fn what_is_lost_of_a_queue_is_made_again_from_the_log() {
    for lose_files in [false, true] {
        let rig = Rig::new(1, FlushMode::Async);
        let store = filled_batches(&rig);
        let expected = read_all(&store, BATCHED, 0);
        if lose_files {
            rig.tidy_after(&store, 61);
        }
        rig.disk.crash(Loss::Nothing);
        drop(store);
        if lose_files {
            rig.lose_queues();
        }
        let store = rig.open();
        assert_eq!(read_all(&store, BATCHED, 0), expected);
        let receipt = append_inner(&store, BATCHED, 0, ("e", 5)).unwrap();
        assert_eq!(receipt.queue_offset, 11);
        store.drive();
        assert_eq!(store.find_queue(BATCHED, 0).unwrap().max(), 16);
        store.close().unwrap();
        drop(store);
        let store = rig.open();
        assert_eq!(store.find_queue(BATCHED, 0).unwrap().max(), 16);
    }
}

#[test]
fn files_tell_how_a_queue_is_kept_when_nobody_else_does() {
    let mut rig = Rig::new(1, FlushMode::Async);
    let store = filled_batches(&rig);
    let expected = read_all(&store, BATCHED, 0);
    store.close().unwrap();
    drop(store);
    rig.config.kinds = Kinds::default();
    let store = rig.open();
    assert_eq!(read_all(&store, BATCHED, 0), expected);
    // Another queue of the topic is of the same kind.
    append_inner(&store, BATCHED, 1, ("x", 2)).unwrap();
    store.drive();
    assert_eq!(store.find_queue(BATCHED, 1).unwrap().max(), 2);
}

#[test]
fn the_oldest_offset_follows_the_start_of_the_log() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for number in 0..40 {
        append_inner(&store, BATCHED, 0, (&format!("{number} {}", "x".repeat(600)), 3)).unwrap();
        store.drive();
        rig.tidy_after(&store, 2);
    }
    store.clean_soon();
    rig.tidy_after(&store, 100 * 3600);
    let queue = store.find_queue(BATCHED, 0).unwrap();
    let kept = walk(&store);
    assert!(kept.len() < 40, "old files are gone");
    assert_eq!((queue.min(), queue.max()), (kept[0].queue_offset, 120));
    assert_eq!(read_all(&store, BATCHED, 0), kept);
    assert!(matches!(
        store.read(&queue, 0, &MANY, &All),
        Err(ReadError::TooSmall { .. })
    ));
    let files = rig
        .disk
        .list(Path::new("/store/batchconsumequeue/BATCHED/0"))
        .unwrap();
    assert!(files.len() < 10, "queue files follow: {}", files.len());
    store.close().unwrap();
    drop(store);
    let store = rig.open();
    let queue = store.find_queue(BATCHED, 0).unwrap();
    assert_eq!((queue.min(), queue.max()), (kept[0].queue_offset, 120));
}

#[test]
fn a_time_is_the_first_offset_of_the_record_stored_then() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = filled_batches(&rig);
    let queue = store.find_queue(BATCHED, 0).unwrap();
    let at = |number: i64| START_MS + 10_000 * number;
    let search = |ms, boundary| store.offset_by_time(&queue, ms, boundary);
    for (ms, lower, upper) in [
        (0, 0, 0),
        (at(1), 0, 0),
        (at(1) + 1, 3, 3),
        (at(4), 5, 5),
        (at(5), 7, 7),
        // Behind the newest: that one, not the end.
        (at(9), 7, 7),
    ] {
        assert_eq!(search(ms, Boundary::Lower), lower, "from {ms}");
        assert_eq!(search(ms, Boundary::Upper), upper, "up to {ms}");
    }
    assert_eq!(store.stored_at(&queue, 6), Some(at(4)));
    assert_eq!(store.stored_at(&queue, 11), None);
}

#[test]
fn an_inner_batch_has_no_place_in_a_plain_queue() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    assert!(append_inner(&store, "T", 0, ("a", 2)).is_err());
    assert_eq!(store.written(), store.min_pos());
}

#[test]
fn a_deleted_topic_leaves_no_batch_queue_behind() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = filled_batches(&rig);
    rig.tidy_after(&store, 2);
    store.delete_topic(BATCHED).unwrap();
    assert!(
        rig.disk
            .entry(Path::new("/store/batchconsumequeue/BATCHED"))
            .unwrap()
            .is_none()
    );
    let receipt = append_inner(&store, BATCHED, 0, ("new", 2)).unwrap();
    assert_eq!(receipt.queue_offset, 0);
    store.drive();
    rig.disk.crash(Loss::Nothing);
    drop(store);
    let store = rig.open();
    assert_eq!(bodies(&store, BATCHED, 0), ["new"]);
}

#[test]
fn a_topic_known_to_have_batch_queues_gets_them_whatever_was_there_before() {
    let mut rig = Rig::new(1, FlushMode::Async);
    let kinds = std::mem::take(&mut rig.config.kinds);
    let store = rig.open();
    append(&store, BATCHED, 0, "late").unwrap();
    store.drive();
    store.close().unwrap();
    drop(store);
    // What a crash leaves: files of a plain queue, and a log with inner batches.
    rig.config.kinds = kinds;
    let store = rig.open();
    append_inner(&store, BATCHED, 0, ("a", 3)).unwrap();
    store.drive();
    store.turn_flush();
    rig.disk.crash(Loss::Nothing);
    drop(store);
    for _ in 0..2 {
        let store = rig.open();
        assert_eq!(bodies(&store, BATCHED, 0), ["late", "a"]);
        assert_eq!(store.find_queue(BATCHED, 0).unwrap().max(), 4);
        store.close().unwrap();
    }
    let store = rig.open();
    store.delete_topic(BATCHED).unwrap();
    for dir in ["consumequeue", "batchconsumequeue"] {
        let dir = Path::new("/store").join(dir).join(BATCHED);
        assert!(rig.disk.entry(&dir).unwrap().is_none(), "{}", dir.display());
    }
}

#[test]
fn a_topic_made_after_its_queue_is_kept_as_it_says() {
    let mut rig = Rig::new(1, FlushMode::Async);
    let is_known = Arc::new(AtomicBool::new(false));
    let known = Arc::clone(&is_known);
    rig.config.kinds = Kinds::by(move |topic| match known.load(Ordering::Relaxed) {
        true => kind_of(topic),
        false => Kind::default(),
    });
    let store = rig.open();
    for topic in [BATCHED, COMPACTED] {
        append(&store, topic, 0, "late").unwrap();
    }
    store.drive();
    is_known.store(true, Ordering::Relaxed);
    store.note_topic(BATCHED).unwrap();
    store.note_topic(COMPACTED).unwrap();
    append_inner(&store, BATCHED, 0, ("a", 3)).unwrap();
    store.drive();
    assert_eq!(store.find_queue(BATCHED, 0).unwrap().max(), 3);
    rig.tidy_after(&store, 61);
    let copies = Path::new("/store/compaction/compactionLog").join(COMPACTED);
    assert!(rig.disk.entry(&copies).unwrap().is_some(), "copied");
    assert_eq!(bodies(&store, COMPACTED, 0), ["late"]);
}

#[test]
fn a_unit_that_cannot_be_costs_no_other() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = filled_batches(&rig);
    store.close().unwrap();
    let store = rig.open();
    let queue = store.find_queue(BATCHED, 0).unwrap();
    let file = rig.disk.open(file()).unwrap();
    for count in [0_i16, -5, i16::MAX] {
        // Of the second record.
        file.write_at(&count.to_be_bytes(), 46 + 36).unwrap();
        let (mut next, mut seen) = (0, Vec::new());
        while next < queue.max() {
            let (found, _, after) = read(&store, &queue, next, &MANY);
            assert!(
                after > next && after <= queue.max(),
                "count {count}: {next}, then {after}"
            );
            seen.extend(found.into_iter().map(|(_, name)| name));
            next = after;
        }
        assert_eq!(seen, ["a", "single", "c", "d"], "count {count}");
    }
}

#[test]
fn an_impossible_offset_of_one_unit_hides_no_other_message() {
    if layout() == QueueLayout::Compact {
        // Units lie elsewhere there, with a sum of their own.
        return;
    }
    let names = ["a", "b", "single", "c", "d"];
    for unit in 0..names.len() {
        for (byte, bit) in [(28, 0x80), (29, 1), (32, 0x80), (33, 0x80)] {
            let rig = Rig::new(1, FlushMode::Async);
            let store = filled_batches(&rig);
            store.close().unwrap();
            drop(store);
            let first = Path::new(BATCH_FILE);
            let len = rig.disk.open(first).unwrap().len().unwrap();
            let (base, at) = (unit as u64 * 46 / len * len, unit as u64 * 46 % len + byte);
            let file = rig
                .disk
                .open(&first.with_file_name(format!("{base:020}")))
                .unwrap();
            let mut found = [0];
            file.read_exact_at(&mut found, at).unwrap();
            file.write_at(&[found[0] ^ bit], at).unwrap();
            let store = rig.open();
            let queue = store.find_queue(BATCHED, 0).unwrap();
            let why = format!("byte {byte} of unit {unit}");
            assert_eq!((queue.min(), queue.max()), (0, 11), "{why}");
            let (mut all, mut next) = (Vec::new(), 0);
            for _ in 0..names.len() + 1 {
                if next < queue.max() {
                    let (found, _, after) = read(&store, &queue, next, &MANY);
                    all.extend(found.into_iter().map(|(_, name)| name));
                    next = after;
                }
            }
            assert_eq!(next, queue.max(), "{why}");
            let lacking: Vec<_> = names
                .iter()
                .filter(|name| !all.contains(&(**name).to_owned()))
                .collect();
            assert!(lacking.is_empty() || lacking == [&names[unit]], "{why}: {all:?}");
        }
    }
}
