// SPDX-License-Identifier: Apache-2.0
//! Looking at stores whose topics were deleted, and made again: their old messages stay in the log, and are nothing to mend.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/rig.rs"]
mod rig;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rig::*;
use store::disk::Disk;
use store::inspect::{self, Mend, Report};
use store::{FlushMode, QueueLayout, Store};

const LAYOUTS: [QueueLayout; 2] = [QueueLayout::Files, QueueLayout::Compact];

fn rig_in(layout: QueueLayout) -> Rig {
    let mut rig = Rig::new(3, FlushMode::Async);
    rig.config.queue_layout = layout;
    rig
}

fn fill(store: &Store, name: &str, count: u32) {
    for number in 0..count {
        let name = format!("{name} {number}");
        send(store, "T", 0, &name);
        append_inner(store, BATCHED, 0, (&name, 3)).unwrap();
        store.drive();
        store.turn_flush();
    }
}

fn delete(store: &Store) {
    for topic in ["T", BATCHED] {
        store.delete_topic(topic).unwrap();
    }
}

fn check(rig: &Rig) -> Report {
    inspect::check(&rig.config, &rig.env()).unwrap()
}

fn names(name: &str, count: u32) -> Vec<String> {
    (0..count).map(|number| format!("{name} {number}")).collect()
}

/// Nothing is found, nothing is written, and a start gives out what is there.
fn is_sound(rig: &Rig, expected: &[String], why: &str) {
    assert_eq!(check(rig).findings, [], "{why}");
    let before = rig.disk.bytes_written();
    let repaired = inspect::repair(&rig.config, &rig.env(), false).unwrap();
    assert_eq!(repaired.actions, [], "{why}");
    assert_eq!(rig.disk.bytes_written(), before, "{why}");
    let store = rig.open();
    for topic in ["T", BATCHED] {
        assert_eq!(bodies(&store, topic, 0), expected, "{why}: {topic}");
    }
    store.close().unwrap();
}

#[test]
fn a_deleted_topic_is_no_damage() {
    for layout in LAYOUTS {
        for others in [false, true] {
            let rig = rig_in(layout);
            let store = rig.open();
            if others {
                send(&store, "Other", 0, "stays");
            }
            fill(&store, "old", 20);
            delete(&store);
            store.close().unwrap();
            drop(store);
            is_sound(&rig, &[], &format!("{layout:?}, others {others}"));
        }
    }
}

#[test]
fn a_topic_that_was_deleted_and_made_again_is_no_damage() {
    for layout in LAYOUTS {
        for count in [1, 2, 7, 20, 30] {
            let rig = rig_in(layout);
            let store = rig.open();
            for _ in 0..2 {
                fill(&store, "old", 20);
                delete(&store);
            }
            fill(&store, "new", count);
            store.close().unwrap();
            drop(store);
            is_sound(&rig, &names("new", count), &format!("{layout:?}, {count}"));
        }
    }
}

/// Damages an entry, or all of them.
fn harm(rig: &Rig, dir: &str, unit: u64, entries: &[u64]) -> Vec<u8> {
    let path = PathBuf::from(dir).join("00000000000000000000");
    let file = rig.disk.open(&path).unwrap();
    for entry in entries {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, entry * unit).unwrap();
        bytes[6] ^= 0x21;
        file.write_at(&bytes, entry * unit).unwrap();
    }
    file.sync().unwrap();
    rig.disk.load(&path).unwrap().unwrap()
}

#[test]
fn entries_of_a_topic_that_was_made_again_are_mended_as_the_new_one_says() {
    for entries in [vec![0], vec![3], vec![0, 1], vec![0, 1, 2, 3]] {
        let rig = rig_in(QueueLayout::Files);
        let store = rig.open();
        fill(&store, "old", 20);
        delete(&store);
        fill(&store, "new", 4);
        store.close().unwrap();
        drop(store);
        let plain = harm(&rig, "/store/consumequeue/T/0", 20, &entries);
        harm(&rig, "/store/batchconsumequeue/BATCHED/0", 46, &entries);
        let repaired = inspect::repair(&rig.config, &rig.env(), false).unwrap();
        assert_eq!(repaired.left.findings, [], "{entries:?}");
        assert_eq!(repaired.actions.len(), 2, "{entries:?}: {:?}", repaired.actions);
        let copy = repaired.copies.unwrap();
        let copy = copy.join("consumequeue/T/0/00000000000000000000.0");
        assert_eq!(rig.disk.load(&copy).unwrap(), Some(plain), "{entries:?}");
        is_sound(&rig, &names("new", 4), &format!("{entries:?}"));
    }
}

#[test]
fn queues_that_nobody_deleted_are_made_by_the_next_start() {
    for lost in [vec!["T"], vec![BATCHED], vec!["T", BATCHED]] {
        let rig = rig_in(QueueLayout::Files);
        let store = rig.open();
        fill(&store, "a", 20);
        store.close().unwrap();
        drop(store);
        for topic in &lost {
            let root = if *topic == "T" {
                "consumequeue"
            } else {
                "batchconsumequeue"
            };
            let dir = format!("/store/{root}/{topic}");
            rig.disk.remove_tree(Path::new(&dir)).unwrap();
        }
        let report = check(&rig);
        assert!(
            matches!(report.findings.as_slice(), [found] if found.mend == Mend::Start && found.kind == "consume queues"),
            "{lost:?}: {:?}",
            report.findings
        );
        let store: Arc<Store> = rig.open();
        store.close().unwrap();
        drop(store);
        is_sound(&rig, &names("a", 20), &format!("{lost:?}"));
    }
}

#[test]
fn a_record_that_says_a_wrong_offset_moves_no_entry() {
    for (victim, offset) in [(7, 2), (7, 0), (7, 9), (7, 5000), (19, 0), (19, 3)] {
        let rig = rig_in(QueueLayout::Files);
        let store = rig.open();
        let sent: Vec<_> = (0..20)
            .map(|number| send(&store, "T", 0, &number.to_string()))
            .collect();
        store.close().unwrap();
        drop(store);
        let pos = sent[victim].pos.0;
        let segment = rig.config.segment_bytes as i64;
        let path = format!("/store/commitlog/{:020}", pos / segment * segment);
        let file = rig.disk.open(Path::new(&path)).unwrap();
        file.write_at(&i64::to_be_bytes(offset), (pos % segment) as u64 + 20)
            .unwrap();
        file.sync().unwrap();
        let why = format!("record {victim} says {offset}");
        let report = check(&rig);
        assert!(
            matches!(report.findings.as_slice(), [found] if found.mend == Mend::Copy && found.lost == "the message"),
            "{why}: {:?}",
            report.findings
        );
        let repaired = inspect::repair(&rig.config, &rig.env(), false).unwrap();
        assert_eq!(repaired.actions, [], "{why}");
        let found = bodies(&rig.open(), "T", 0);
        assert_eq!(found.len(), 19, "{why}");
    }
}

#[test]
fn a_batch_queue_whose_first_messages_have_expired_is_sound_and_mended_where_it_is_not() {
    for harmed in [None, Some(0), Some(5)] {
        let mut rig = rig_in(QueueLayout::Files);
        rig.config.batch_queue_file_bytes = 46 * 1000;
        let store = rig.open();
        for number in 0..40 {
            append_inner(&store, BATCHED, 0, (&format!("{number} {}", "x".repeat(600)), 3)).unwrap();
            store.drive();
            rig.tidy_after(&store, 2);
        }
        store.clean_soon();
        rig.tidy_after(&store, 100 * 3600);
        let kept = bodies(&store, BATCHED, 0);
        assert!(kept.len() < 40, "old files are gone");
        store.close().unwrap();
        drop(store);
        if let Some(harmed) = harmed {
            let entry = (40 - kept.len()) as u64 + harmed;
            harm(&rig, "/store/batchconsumequeue/BATCHED/0", 46, &[entry]);
            let report = check(&rig);
            assert!(
                matches!(report.findings.as_slice(), [found] if found.at == Some(entry * 46)),
                "{harmed:?}: {:?}",
                report.findings
            );
            inspect::repair(&rig.config, &rig.env(), false).unwrap();
        }
        assert_eq!(check(&rig).findings, [], "{harmed:?}");
        assert_eq!(bodies(&rig.open(), BATCHED, 0), kept, "{harmed:?}");
    }
}
