// SPDX-License-Identifier: Apache-2.0
//! Looking at stores of the reference and of both layouts: nothing is found in sound ones, damage is found and mended, and what is
//! shown is what is there.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/fixtures.rs"]
mod made;
#[path = "support/rig.rs"]
mod rig;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use made::{Fixture, unpack};
use rig::*;
use store::env::Env;
use store::inspect::{self, DumpFilter, DumpedRecord, Mend};
use store::{FlushMode, QueueLayout, Store, StoreConfig};
use wire::record::sysflag;

/// When each file was changed last.
fn changes(root: &Path) -> BTreeMap<String, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let known = std::fs::metadata(&path).unwrap();
            if known.is_dir() {
                dirs.push(path);
            } else {
                let name = path.display().to_string();
                found.insert(name, (known.len(), known.modified().unwrap()));
            }
        }
    }
    found
}

fn dumped(config: &StoreConfig, filter: &DumpFilter) -> Vec<DumpedRecord> {
    let mut all = Vec::new();
    let see = |record| {
        all.push(record);
        ControlFlow::Continue(())
    };
    inspect::dump(config, &Env::real(), filter, see).unwrap();
    all
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x11], at).unwrap();
}

#[test]
fn stores_of_the_reference_are_sound_and_are_not_touched() {
    for name in ["clean", "crashed", "crc"] {
        let made = unpack(name);
        let before = changes(&made.root);
        let report = inspect::check(&made.config(), &Env::real()).unwrap();
        let torn = if name == "crashed" { 1 } else { 0 };
        assert_eq!(report.findings.len(), torn, "{name}: {:?}", report.findings);
        assert!(report.findings.iter().all(|finding| finding.mend == Mend::Start));
        assert!(report.totals.records >= made.records.len() as u64, "{name}");
        assert!(report.totals.index_entries > 100 || report.is_abnormal, "{name}");
        assert_eq!(report.log.1, made.summary.commit_log_end, "{name}");
        let all = dumped(&made.config(), &DumpFilter::default());
        for (record, expected) in all.iter().zip(&made.records) {
            let place = (record.topic.as_str(), record.queue, record.offset, record.pos);
            let wanted = (
                expected.topic.as_str(),
                expected.queue_id,
                expected.queue_offset,
                expected.physical_offset,
            );
            assert_eq!(place, wanted, "{name}");
            assert_eq!(record.tags, expected.tags.clone().unwrap_or_default(), "{name}");
        }
        for queue in inspect::dump_queues(&made.config(), &Env::real()).unwrap() {
            let known = made
                .summary
                .queues
                .get(&queue.topic)
                .and_then(|ids| ids.get(&queue.id.to_string()));
            if let Some((first, count)) = known
                && name == "clean"
            {
                assert_eq!(
                    (queue.first, queue.entries),
                    (*first, *count),
                    "{}/{}",
                    queue.topic,
                    queue.id
                );
            }
        }
        assert_eq!(changes(&made.root), before, "{name}");
    }
}

#[test]
fn without_a_configuration_sizes_are_those_of_the_files() {
    let made = unpack("clean");
    let measured = inspect::measured(StoreConfig::at(&made.root), &*Env::real().disk).unwrap();
    let known = made.config();
    assert_eq!(measured.segment_bytes, known.segment_bytes);
    assert_eq!(
        measured.queue_file_bytes,
        known.queue_file_bytes.next_multiple_of(20)
    );
}

fn all_but(made: &Fixture, store: &Store, lost: i64) {
    for expected in &made.records {
        if !sysflag::is_queued(expected.sys_flag) || expected.physical_offset == lost {
            continue;
        }
        let found = read_all(store, &expected.topic, expected.queue_id);
        assert!(
            found
                .iter()
                .any(|record| record.physical_offset == expected.physical_offset),
            "{}/{} offset {}",
            expected.topic,
            expected.queue_id,
            expected.queue_offset
        );
    }
}

#[test]
fn a_damaged_store_of_the_reference_is_mended() {
    let made = unpack("clean");
    let queued: Vec<_> = made
        .records
        .iter()
        .filter(|record| sysflag::is_queued(record.sys_flag) && record.size > 300)
        .collect();
    let victim = queued[queued.len() / 2];
    let segment = made.config().segment_bytes as i64;
    let base = victim.physical_offset / segment * segment;
    let log = made.root.join(format!("commitlog/{base:020}"));
    flip(&log, (victim.physical_offset - base) as u64 + 100);
    let queue = made.root.join("consumequeue/FixTopicA/0/00000000000000000000");
    flip(&queue, 3 * 20 + 6);
    let index = made.root.join("index").join(&made.summary.index[0].file);
    flip(&index, 36);
    let report = inspect::check(&made.config(), &Env::real()).unwrap();
    for file in [&log, &queue, &index] {
        let of_file = report.findings.iter().find(|finding| finding.file == *file);
        assert!(of_file.is_some(), "{}: {:?}", file.display(), report.findings);
    }
    let message = format!(
        "{}/{} offset {}",
        victim.topic, victim.queue_id, victim.queue_offset
    );
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.lost.contains(&message)),
        "{:?}",
        report.findings
    );
    let state = dumped(&made.config(), &DumpFilter::default());
    assert!(
        state
            .iter()
            .any(|record| record.pos == victim.physical_offset && record.state.contains("damaged"))
    );
    let repaired = inspect::repair(&made.config(), &Env::real(), false).unwrap();
    assert!(repaired.copies.unwrap().join("commitlog").is_dir());
    let report = inspect::check(&made.config(), &Env::real()).unwrap();
    assert!(!report.is_mendable(), "{:?}", report.findings);
    let store = Store::open_manual(made.config(), Env::real()).unwrap();
    all_but(&made, &store, victim.physical_offset);
    assert_eq!(store.max_pos().0, made.summary.commit_log_end);
}

/// A store on a real disk, with a plain topic and one of batches.
fn real(dir: &Path, layout: QueueLayout) -> StoreConfig {
    let rig = Rig::new(1, FlushMode::Async);
    let config = StoreConfig {
        root: dir.to_path_buf(),
        commit_log_dirs: vec![dir.join("commitlog")],
        queue_layout: layout,
        ..rig.config
    };
    let store = Store::open_manual(config.clone(), Env::real()).unwrap();
    for number in 0..40 {
        send(&store, "T", number % 2, &number.to_string());
        append_inner(&store, BATCHED, 0, (&format!("b{number}"), 3)).unwrap();
        store.drive();
    }
    store.close().unwrap();
    config
}

#[test]
fn both_layouts_are_looked_at_and_mended() {
    for layout in [QueueLayout::Files, QueueLayout::Compact] {
        let dir = tempfile::tempdir().unwrap();
        let config = real(dir.path(), layout);
        let report = inspect::check(&config, &Env::real()).unwrap();
        assert_eq!(report.findings, [], "{layout:?}");
        assert_eq!(
            (report.totals.records, report.totals.entries),
            (80, 80),
            "{layout:?}"
        );
        let queues = inspect::dump_queues(&config, &Env::real()).unwrap();
        let told: Vec<_> = queues
            .iter()
            .map(|queue| (queue.topic.as_str(), queue.id, queue.entries))
            .collect();
        assert_eq!(told, [(BATCHED, 0, 40), ("T", 0, 20), ("T", 1, 20)], "{layout:?}");
        // The first entry of each file of queues.
        let dirs = match layout {
            QueueLayout::Files => vec!["consumequeue/T/1", "batchconsumequeue/BATCHED/0"],
            QueueLayout::Compact => vec!["barque-queues"],
        };
        for below in dirs {
            let mut names: Vec<_> = std::fs::read_dir(dir.path().join(below))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            names.sort();
            flip(&names[0], 6);
        }
        let report = inspect::check(&config, &Env::real()).unwrap();
        assert!(report.is_mendable(), "{layout:?}");
        inspect::repair(&config, &Env::real(), false).unwrap();
        let report = inspect::check(&config, &Env::real()).unwrap();
        assert!(!report.is_mendable(), "{layout:?}: {:?}", report.findings);
        let store = Store::open_manual(config.clone(), Env::real()).unwrap();
        assert_eq!(bodies(&store, "T", 1).len(), 20, "{layout:?}");
        assert_eq!(bodies(&store, BATCHED, 0).len(), 40, "{layout:?}");
        store.close().unwrap();
        drop(store);
        let report = inspect::check(&config, &Env::real()).unwrap();
        assert_eq!(report.findings, [], "{layout:?}");
    }
}

#[test]
fn a_dump_shows_what_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = real(dir.path(), QueueLayout::Files);
    let of = |filter: DumpFilter| dumped(&config, &filter);
    let topic = Some("T".to_owned());
    let all = of(DumpFilter {
        topic: topic.clone(),
        ..DumpFilter::default()
    });
    assert_eq!(all.len(), 40);
    let some = of(DumpFilter {
        topic,
        queue: Some(1),
        from: Some(3),
        to: Some(5),
        key: None,
    });
    let told: Vec<_> = some
        .iter()
        .map(|record| (record.offset, record.body.clone()))
        .collect();
    assert_eq!(told, [(3, b"7".to_vec()), (4, b"9".to_vec())]);
    let one = of(DumpFilter {
        key: Some("k-7".to_owned()),
        ..DumpFilter::default()
    });
    assert_eq!(one.len(), 1);
    assert_eq!(
        (one[0].keys.as_str(), one[0].tags.as_str(), one[0].state.as_str()),
        ("k-7 shared 7", "Tag", "message")
    );
}
