// SPDX-License-Identifier: Apache-2.0
//! Directories the reference left behind open, read and go on.

#[path = "support/fixtures.rs"]
mod made;
#[path = "support/rig.rs"]
mod rig;

use std::collections::BTreeMap;
use std::sync::Arc;

use made::{Expected, Fixture, unpack};
use rig::*;
use sha2::{Digest, Sha256};
use store::env::Env;
use store::{IndexKind, LogPos, Store};
use wire::message_id::offset_id;
use wire::record::{Record, RecordHead, Seal, encode_record, sysflag};

fn open(made: &Fixture) -> Arc<Store> {
    Store::open_manual(made.config(), Env::real()).expect("store of the reference opens")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(record: &Record, expected: &Expected) {
    let at = expected.physical_offset;
    assert_eq!(record.physical_offset, at);
    assert_eq!(
        (record.topic.as_str(), record.queue_id),
        (expected.topic.as_str(), expected.queue_id),
        "{at}"
    );
    assert_eq!(
        (record.queue_offset, record.total_size),
        (expected.queue_offset, expected.size),
        "{at}"
    );
    assert_eq!(
        (record.flag, record.sys_flag),
        (expected.flag, expected.sys_flag),
        "{at}"
    );
    assert_eq!(
        (record.born_at, record.stored_at),
        (expected.born_timestamp, expected.store_timestamp),
        "{at}"
    );
    assert_eq!(record.born_host.to_string(), expected.born_host, "{at}");
    assert_eq!(record.store_host.to_string(), expected.store_host, "{at}");
    assert_eq!(record.reconsume_times, expected.reconsume_times, "{at}");
    assert_eq!(record.prepared_pos, expected.prepared_transaction_offset, "{at}");
    assert_eq!(
        offset_id(record.store_host, record.physical_offset),
        expected.msg_id,
        "{at}"
    );
    assert_eq!(
        hex(&Sha256::digest(&record.body)),
        expected.stored_body_sha256,
        "{at}"
    );
    assert_eq!(record.property("UNIQ_KEY"), expected.uniq_id.as_deref(), "{at}");
    assert_eq!(record.property("KEYS"), expected.keys.as_deref(), "{at}");
    assert_eq!(record.property("TAGS"), expected.tags.as_deref(), "{at}");
    let properties: BTreeMap<String, String> = wire::properties::pairs(&record.properties)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // An entry without a value counts as none, as for the reference's clients.
    let expected = expected
        .properties
        .clone()
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    assert_eq!(properties, expected, "{at}");
}

/// Every record is in the log, in its queue at its offset, and under its keys.
fn check_all(store: &Store, made: &Fixture) {
    let log = walk(store);
    assert!(log.len() >= made.records.len());
    let mut queues: BTreeMap<(String, u32), Vec<Record>> = BTreeMap::new();
    for (record, expected) in log.iter().zip(&made.records) {
        check(record, expected);
        let key = (expected.topic.clone(), expected.queue_id);
        let queue = queues
            .entry(key)
            .or_insert_with_key(|(topic, id)| read_all(store, topic, *id));
        if sysflag::is_queued(expected.sys_flag) {
            check(&queue[expected.queue_offset as usize], expected);
        }
    }
    for expected in made.records.iter().step_by(7) {
        if let Some(unique) = &expected.uniq_id {
            let found = hits(store, &expected.topic, unique, IndexKind::Unique);
            assert!(
                found.contains(&expected.physical_offset),
                "{} {unique}",
                expected.physical_offset
            );
        }
    }
}

fn hits(store: &Store, topic: &str, key: &str, kind: IndexKind) -> Vec<i64> {
    let lookup = store::Lookup {
        topic,
        key,
        kind,
        max: 64,
        max_bytes: 1 << 20,
        begin_ms: 0,
        end_ms: i64::MAX,
    };
    let hits = store.query(&lookup).expect("index is readable");
    hits.records
        .iter()
        .map(|record| RecordHead::scan(record).expect("record").stamp.physical_offset)
        .collect()
}

/// Sending goes on behind the last record, and all is still there after an orderly end and after none.
fn go_on(store: Arc<Store>, made: &Fixture) {
    let next = store.queue("FixTopicA", 1).max();
    let receipt = send(&store, "FixTopicA", 1, "one more");
    assert_eq!(
        (receipt.queue_offset, receipt.pos.0),
        (next, made.summary.commit_log_end)
    );
    store.close().expect("store closes");
    drop(store);
    let store = open(made);
    check_all(&store, made);
    assert_eq!(
        bodies(&store, "FixTopicA", 1).last().map(String::as_str),
        Some("one more")
    );
    send(&store, "FixTopicA", 1, "and another");
    // Ends without closing.
    drop(store);
    let store = open(made);
    check_all(&store, made);
    assert_eq!(
        bodies(&store, "FixTopicA", 1).last().map(String::as_str),
        Some("and another")
    );
    assert_eq!(store.queue("FixTopicA", 1).max(), next + 2);
}

#[test]
fn a_store_closed_by_the_reference_opens_reads_and_goes_on() {
    let made = unpack("clean");
    let store = open(&made);
    assert_eq!(store.max_pos(), LogPos(made.summary.commit_log_end));
    check_all(&store, &made);
    for (topic, queues) in &made.summary.queues {
        for (id, (first, count)) in queues {
            let queue = store
                .find_queue(topic, id.parse().unwrap())
                .expect("queue is known");
            assert_eq!(
                (queue.min(), queue.max()),
                (*first, first + count),
                "{topic}/{id}"
            );
        }
    }
    let wheel = std::fs::metadata(made.root.join("timerwheel")).unwrap();
    go_on(store, &made);
    let untouched = std::fs::metadata(made.root.join("timerwheel")).unwrap();
    assert_eq!(wheel.modified().unwrap(), untouched.modified().unwrap());
}

#[test]
fn a_store_killed_under_the_reference_loses_nothing_but_the_torn_record() {
    let made = unpack("crashed");
    let torn = made.root.join("commitlog/00000000000009437184");
    let is_zero_behind_end = |path: &std::path::Path| {
        use std::os::unix::fs::FileExt;
        let mut rest = vec![1; 4096];
        let file = std::fs::OpenOptions::new().read(true).open(path).unwrap();
        file.read_exact_at(&mut rest, 621_878).unwrap();
        rest.iter().all(|byte| *byte == 0)
    };
    assert!(!is_zero_behind_end(&torn));
    let store = open(&made);
    assert!(is_zero_behind_end(&torn));
    assert_eq!(store.max_pos(), LogPos(made.summary.commit_log_end));
    assert_eq!(walk(&store).len(), 2696);
    check_all(&store, &made);
    // The two that the reference had not dispatched.
    for (topic, id, offset, pos) in [
        ("SCHEDULE_TOPIC_XXXX", 17, 43, 10_057_351),
        ("FixLoadA", 2, 254, 10_058_480),
    ] {
        let record = &read_all(&store, topic, id)[offset];
        assert_eq!(
            (record.queue_offset, record.physical_offset),
            (offset as i64, pos)
        );
    }
    go_on(store, &made);
}

#[test]
fn sealed_records_and_extended_queues_of_the_reference_are_read() {
    struct Tag(i64);
    impl store::Filter for Tag {
        fn by_code(&self, code: i64) -> bool {
            code == self.0
        }
    }
    let made = unpack("crc");
    let store = open(&made);
    check_all(&store, &made);
    // The units of this store hold addresses instead of tag codes.
    let expected = made.records.iter().filter(|record| {
        (record.topic.as_str(), record.queue_id, record.tags.as_deref()) == ("FixTopicA", 0, Some("TagA"))
    });
    let queue = store.queue("FixTopicA", 0);
    let batch = store
        .read(&queue, 0, &MANY, &Tag(wire::properties::tags_code("TagA")))
        .unwrap();
    assert!(batch.count > 5);
    assert_eq!(batch.count, expected.count());
    go_on(store, &made);
}

#[test]
fn records_of_the_reference_are_encoded_to_the_same_bytes() {
    let made = unpack("crc");
    let store = open(&made);
    for expected in &made.records {
        let bytes = store.record_at(LogPos(expected.physical_offset)).unwrap();
        let record = Record::decode(&bytes).unwrap();
        let mut again = Vec::new();
        encode_record(&mut again, &record.parts(), &record.stamp(), Seal::Absent);
        assert_eq!(again, bytes);
        // The seal, too, comes out the same when it is made anew.
        let mut parts = record.parts();
        parts.properties = &parts.properties[..parts.properties.len() - wire::record::SEAL_BYTES];
        let mut sealed = Vec::new();
        encode_record(&mut sealed, &parts, &record.stamp(), Seal::Present);
        assert_eq!(sealed, bytes);
    }
}

/// Queues and index made anew from the log are those the reference made, byte for byte.
#[test]
fn rebuilt_queues_and_index_equal_those_of_the_reference() {
    let made = unpack("clean");
    let read = |path: std::path::PathBuf| {
        let mut bytes = Vec::new();
        let mut file = std::fs::OpenOptions::new().read(true).open(&path).unwrap();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        bytes
    };
    let index_dir = made.root.join("index");
    let index = read(index_dir.join(&made.summary.index[0].file));
    let queue_files: Vec<_> = made
        .summary
        .queues
        .iter()
        .flat_map(|(topic, queues)| {
            queues
                .keys()
                .map(move |id| format!("consumequeue/{topic}/{id}/{:020}", 0))
        })
        .collect();
    let queues: Vec<_> = queue_files
        .iter()
        .map(|file| read(made.root.join(file)))
        .collect();
    std::fs::remove_dir_all(&index_dir).unwrap();
    std::fs::remove_dir_all(made.root.join("consumequeue")).unwrap();
    let store = open(&made);
    check_all(&store, &made);
    store.close().unwrap();
    for (file, expected) in queue_files.iter().zip(queues) {
        assert!(read(made.root.join(file)) == expected, "{file}");
    }
    let rebuilt = std::fs::read_dir(&index_dir).unwrap().next().unwrap().unwrap();
    assert!(read(rebuilt.path()) == index, "index differs");
}
