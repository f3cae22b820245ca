// SPDX-License-Identifier: Apache-2.0
//! What only queues in the layout of the reference have: files of their own, and short checkpoints.

#[path = "support/rig.rs"]
mod rig;

use std::path::Path;

use rig::*;
use store::disk::Disk;
use store::{All, FlushMode, ReadLimit};

fn raw(rig: &Rig, path: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let file = rig.disk.open(Path::new(path)).expect("file opens");
    file.read_at(&mut bytes, 0).expect("file is readable");
    bytes
}

#[test]
fn the_files_hold_the_units_of_the_reference() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = filled_batches(&rig);
    let records = read_all(&store, BATCHED, 0);
    store.close().unwrap();
    let mut expected = Vec::new();
    for (record, count) in records.iter().zip([3_i16, 1, 1, 2]) {
        expected.extend_from_slice(&record.physical_offset.to_be_bytes());
        expected.extend_from_slice(&(record.total_size as i32).to_be_bytes());
        expected.extend_from_slice(&i64::from(wire::properties::java_hash("Tag")).to_be_bytes());
        expected.extend_from_slice(&record.stored_at.to_be_bytes());
        expected.extend_from_slice(&record.queue_offset.to_be_bytes());
        expected.extend_from_slice(&count.to_be_bytes());
        expected.extend_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]);
    }
    assert_eq!(raw(&rig, BATCH_FILE, 46 * 4), expected);
    let second = raw(
        &rig,
        "/store/batchconsumequeue/BATCHED/0/00000000000000000184",
        46 * 4,
    );
    assert_eq!(
        second[28..38],
        [&7_i64.to_be_bytes()[..], &4_i16.to_be_bytes()].concat()
    );
    assert_eq!(second[46..], [0; 46 * 3]);
    assert!(
        rig.disk
            .list(Path::new("/store/consumequeue"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn behind_a_lost_file_a_read_goes_on_with_the_next() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for n in 0..20 {
        append_inner(&store, BATCHED, 0, (&format!("m{n}"), 3)).unwrap();
        store.drive();
    }
    rig.tidy_after(&store, 61);
    rig.tidy_after(&store, 61);
    let queue = store.find_queue(BATCHED, 0).unwrap();
    // Four units in each.
    rig.disk
        .remove(Path::new(&format!(
            "/store/batchconsumequeue/BATCHED/0/{:020}",
            46 * 8
        )))
        .unwrap();
    let few = ReadLimit { count: 12, ..MANY };
    let (mut next, mut seen) = (0, 0);
    while next < queue.max() {
        let batch = store.read(&queue, next, &few, &All).unwrap();
        assert!(batch.next_offset > next);
        (next, seen) = (batch.next_offset, seen + batch.count);
    }
    assert_eq!(seen, 16 * 3);
}

#[test]
fn a_short_checkpoint_leaves_the_part_of_the_reference_and_the_slots_of_the_index_alone() {
    let rig = large(20_000);
    let store = rig.open();
    let mut names = 0;
    grow(&store, &mut names, 5_000);
    rig.tidy_after(&store, 61);
    let (before, all) = (times(&rig), checkpoint(&rig));
    let index = rig.disk.list("/store/index".as_ref()).unwrap();
    let index = Path::new("/store/index").join(&index[0].name);
    let slots = || rig.disk.load(&index).unwrap().unwrap()[..40 + 500 * 4].to_vec();
    let slots_before = slots();
    grow(&store, &mut names, 30_000);
    rig.tidy_after(&store, 1);
    assert!(checkpoint(&rig) != all, "there was a short one");
    assert!(times(&rig) == before);
    assert!(slots() == slots_before);
    rig.tidy_after(&store, 61);
    assert!(times(&rig) != before, "a whole one tells all");
    assert!(slots() != slots_before);
}

#[test]
fn a_short_checkpoint_leaves_the_part_of_the_reference_alone_though_it_begins_a_file_of_the_index() {
    let mut rig = large(20_000);
    // Four for each message.
    rig.config.index_entries = 200;
    let store = rig.open();
    let mut names = 0;
    grow(&store, &mut names, 5_000);
    rig.tidy_after(&store, 61);
    let (before, all) = (times(&rig), checkpoint(&rig));
    grow(&store, &mut names, 30_000);
    rig.tidy_after(&store, 1);
    let files = rig.disk.list("/store/index".as_ref()).unwrap();
    assert!(files.len() > 1, "{files:?}");
    assert!(checkpoint(&rig) != all, "there was a short one");
    assert!(times(&rig) == before);
}
