// SPDX-License-Identifier: Apache-2.0
//! Bytes that the disk does not give, messages that are far from where their damaged entries can be, and sizes that nothing has.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/rig.rs"]
mod rig;

use std::path::Path;
use std::sync::Arc;

use rig::*;
use store::disk::Disk;
use store::disk::sim::Loss;
use store::inspect::{self, DumpFilter};
use store::{All, FlushMode, ReadError, ReadLimit, Receipt, Store};
use wire::record::Record;

const LOG: &str = "/store/commitlog/00000000000000000000";
const QUEUE: &str = "/store/consumequeue/T/0/00000000000000000000";

/// One large file of the log, in which messages of the queue lie far from each other; it is opened again, so that all is on the disk.
fn sparse(between: u32, search_bytes_max: u64) -> (Rig, Arc<Store>, Vec<Receipt>) {
    let mut rig = Rig::new(5, FlushMode::Async);
    rig.config.segment_bytes = 1 << 20;
    rig.config.queue_file_bytes = 20 * 10_000;
    rig.config.search_bytes_max = search_bytes_max;
    let store = rig.open();
    let sent = (0..20)
        .map(|number| {
            for other in 0..between {
                append(&store, "Other", 0, &other.to_string()).unwrap();
            }
            send(&store, "T", 0, &number.to_string())
        })
        .collect();
    store.close().unwrap();
    drop(store);
    let store = rig.open();
    (rig, store, sent)
}

fn overwrite(rig: &Rig, path: &str, at: u64, bytes: &[u8]) {
    let file = rig.disk.open(Path::new(path)).unwrap();
    file.write_at(bytes, at).unwrap();
    file.sync().unwrap();
}

/// Reads a queue as a consumer does, which asks again after an error. Returns what it got, how many errors, and the most bytes of a read.
fn consume(rig: &Rig, store: &Store, limit: &ReadLimit) -> (Vec<String>, usize, u64) {
    let queue = store.find_queue("T", 0).unwrap();
    let (mut names, mut errors, mut most, mut next) = (Vec::new(), 0, 0, queue.min());
    while next < queue.max() {
        let before = rig.disk.bytes_read();
        match store.read(&queue, next, limit, &All) {
            Ok(batch) => {
                assert!(batch.next_offset > next);
                next = batch.next_offset;
                names.extend(Record::decode_all(&batch.bytes).map(|record| text(&record.unwrap().body)));
            }
            Err(ReadError::Io(_)) => errors += 1,
            Err(error) => panic!("at {next}: {error}"),
        }
        most = most.max(rig.disk.bytes_read() - before);
        assert!(errors < 1000, "it comes to an end");
    }
    (names, errors, most)
}

fn all_but(lost: &[usize]) -> Vec<String> {
    let all = (0..20).filter(|number| !lost.contains(number));
    all.map(|number| number.to_string()).collect()
}

#[test]
fn a_message_far_from_its_neighbours_is_found_over_several_reads() {
    for entries in [7..12, 0..3, 0..20] {
        for lost in [vec![], vec![7]] {
            let why = format!("entries {entries:?}, lost {lost:?}");
            let (rig, store, sent) = sparse(100, 30_000);
            let count = entries.end - entries.start;
            overwrite(&rig, QUEUE, entries.start as u64 * 20, &vec![0; count * 20]);
            for lost in &lost {
                overwrite(&rig, LOG, sent[*lost].pos.0 as u64 + 88, &[255; 4]);
            }
            let limit = ReadLimit { count: 4, ..MANY };
            let (names, errors, most) = consume(&rig, &store, &limit);
            assert_eq!(names, all_but(&lost), "{why}");
            let stretch = sent[entries.end.min(19)].pos.0 - sent[entries.start.max(1) - 1].pos.0;
            assert!(
                errors as i64 <= 2 + stretch / 30_000,
                "{why}: {errors} of {stretch}"
            );
            // Bytes are read in steps of half a mebibyte, whatever is looked for.
            assert!(most < 3 << 20, "{why}: {most}");
        }
    }
}

#[test]
fn more_damaged_entries_than_neighbours_are_tried_cost_nothing() {
    let mut rig = Rig::new(5, FlushMode::Async);
    rig.config.segment_bytes = 4 << 20;
    rig.config.queue_file_bytes = 20 * 10_000;
    let store = rig.open();
    for number in 0..4000 {
        append(&store, "T", 0, &number.to_string()).unwrap();
        if number % 100 == 0 {
            store.drive();
        }
    }
    store.drive();
    store.turn_flush();
    store.close().unwrap();
    drop(store);
    let store = rig.open();
    overwrite(&rig, QUEUE, 500 * 20, &vec![0; 3000 * 20]);
    let expected: Vec<String> = (0..4000).map(|number: u32| number.to_string()).collect();
    let (names, ..) = consume(&rig, &store, &MANY);
    assert_eq!(names, expected);
}

#[test]
fn what_lies_beside_bytes_that_the_disk_does_not_give_is_given_out() {
    let (rig, store, sent) = sparse(0, 1 << 20);
    let bad = sent[7].pos.0 as usize + 90..sent[7].pos.0 as usize + 91;
    rig.disk.fail_bytes(Path::new(LOG), bad);
    let queue = store.find_queue("T", 0).unwrap();
    let found = store.read(&queue, 0, &MANY, &All).unwrap();
    assert_eq!((found.count, found.next_offset), (7, 7));
    // Nobody knows whether the disk gives it the next time: it is not passed over.
    for _ in 0..3 {
        let error = store.read(&queue, 7, &MANY, &All).unwrap_err().to_string();
        assert!(error.contains(LOG) && error.contains("bytes "), "{error}");
    }
    let found = store.read(&queue, 8, &MANY, &All).unwrap();
    assert_eq!((found.count, found.next_offset), (12, 20));
}

#[test]
fn a_sector_that_the_disk_does_not_give_is_damage_that_a_repair_mends() {
    let (rig, store, sent) = sparse(100, 1 << 20);
    store.close().unwrap();
    drop(store);
    let at = sent[7].pos.0 as usize + 90;
    rig.disk.fail_bytes(Path::new(LOG), at..at + 1);
    let report = inspect::check(&rig.config, &rig.env()).unwrap();
    let told = report.findings.iter().find(|found| found.file == Path::new(LOG));
    let told = told.unwrap();
    assert!(
        told.what.contains("the disk does not give") && told.lost.contains("Other/0 offset "),
        "{told:?}"
    );
    let mut dumped = 0;
    let see = |_| {
        dumped += 1;
        std::ops::ControlFlow::Continue(())
    };
    inspect::dump(&rig.config, &rig.env(), &DumpFilter::default(), see).unwrap();
    assert!(dumped > 1900, "{dumped}");
    inspect::repair(&rig.config, &rig.env(), false).unwrap();
    assert_eq!(inspect::check(&rig.config, &rig.env()).unwrap().findings, []);
    let store = rig.open();
    assert_eq!(consume(&rig, &store, &MANY).0, all_but(&[7]));
}

#[test]
fn a_start_that_cannot_read_the_log_says_where() {
    let (rig, store, sent) = sparse(0, 1 << 20);
    send(&store, "T", 0, "20");
    rig.disk.crash(Loss::Nothing);
    drop(store);
    let bad = sent[19].pos.0 as usize + 200;
    rig.disk.fail_bytes(Path::new(LOG), bad..bad + 1);
    let error = rig.try_open().map(drop).unwrap_err();
    let mut told = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        told.push_str(&error.to_string());
        source = error.source();
    }
    assert!(told.contains(LOG) && told.contains("bytes "), "{told}");
}

#[test]
fn sizes_that_nothing_has_cost_no_memory() {
    let mut rig = Rig::new(5, FlushMode::Async);
    rig.config.segment_bytes = 64 << 20;
    let store = rig.open();
    let sent: Vec<_> = (0..6)
        .map(|number| send(&store, "T", 0, &number.to_string()))
        .collect();
    store.close().unwrap();
    drop(store);
    // The size in the record itself: a start and a search go over it.
    let size = (48_i32 << 20).to_be_bytes();
    overwrite(&rig, LOG, sent[2].pos.0 as u64, &size);
    let before = rig.disk.bytes_read();
    let report = inspect::check(&rig.config, &rig.env()).unwrap();
    assert!(report.is_mendable());
    // All of the file once, for what may lie behind the end.
    let read = rig.disk.bytes_read() - before;
    assert!(read < (64 + 4) << 20, "{read}");
    let before = rig.disk.bytes_read();
    rig.lose_queues();
    let store = rig.open();
    assert_eq!(bodies(&store, "T", 0), ["0", "1", "3", "4", "5"]);
    let read = rig.disk.bytes_read() - before;
    assert!(read < 4 << 20, "{read}");
}
