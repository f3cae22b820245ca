// SPDX-License-Identifier: Apache-2.0
//! A log that follows another one, byte by byte: it is the same log, with the same queues, however the bytes come.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "support/rig.rs"]
mod rig;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rig::*;
use store::disk::Disk as _;
use store::disk::sim::Loss;
use store::env::Rng as _;
use store::env::sim::SimRng;
use store::{FlushMode, IndexKind, Kind, Kinds, LogPos, Replica, ReplicateError, Store, TransferError};
use wire::record::{Parts, Record, Seal, Stamp, crc31, encode_record};

const SEGMENT: i64 = 4096;

/// A store that follows.
fn slave(seed: u64, flush: FlushMode) -> Rig {
    let mut rig = Rig::new(seed, flush);
    rig.config.follows = true;
    rig
}

/// Bytes of a log up to the end of a file.
fn some(store: &Store, from: LogPos, max: usize) -> Vec<u8> {
    store.log_bytes(from, max, true).unwrap().to_vec()
}

/// Gives a slave all it lacks, in pieces of this size.
fn feed(master: &Store, slave: &Store, replica: &mut Replica, mut piece: impl FnMut() -> usize) {
    while replica.next() < master.written() {
        let at = replica.next();
        let mut done = slave.replicate(replica, at, &some(master, at, piece()));
        while let Err(ReplicateError::Topic { .. }) = done {
            replica.asked();
            done = slave.replicate(replica, replica.next(), &[]);
        }
        done.unwrap();
    }
    slave.turn_flush();
}

fn feed_all(master: &Store, slave: &Store) {
    feed(master, slave, &mut slave.follow(), || 1 << 20);
}

/// Messages of several topics and sizes over several files.
fn filled(count: usize) -> (Rig, Arc<Store>) {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for number in 0..count {
        let name = format!("{number} {}", "x".repeat(number * 37 % 500));
        send(&store, ["A", "B"][number % 2], (number % 3) as u32, &name);
        if number % 5 == 0 {
            append_inner(&store, BATCHED, 0, (&name, 3)).unwrap();
            store.drive();
        }
    }
    store.turn_flush();
    (rig, store)
}

fn assert_same(master: &Store, slave: &Store) {
    let mut at = master.min_pos().max(slave.min_pos());
    assert_eq!(master.written(), slave.written());
    while at < master.written() {
        let (ours, theirs) = (some(master, at, 1 << 20), some(slave, at, 1 << 20));
        assert_eq!(ours, theirs, "from {at}");
        at.0 += ours.len() as i64;
    }
}

fn assert_same_queues(master: &Store, slave: &Store) {
    for topic in ["A", "B", BATCHED] {
        for id in 0..3 {
            assert_eq!(
                read_all(master, topic, id),
                read_all(slave, topic, id),
                "{topic}/{id}"
            );
        }
    }
}

#[test]
fn bytes_cut_anywhere_become_the_same_log() {
    let (_rig, master) = filled(60);
    for (seed, flush) in [(1, FlushMode::Async), (2, FlushMode::Sync), (3, FlushMode::Async)] {
        let rng = SimRng::seeded(seed);
        let most = [1, 100, 5_000][rng.below(3) as usize];
        let rig = slave(seed, flush);
        let copy = rig.open();
        feed(&master, &copy, &mut copy.follow(), || {
            1 + rng.below(most) as usize
        });
        assert_same(&master, &copy);
        assert_same_queues(&master, &copy);
        assert_eq!(find(&copy, "A", "k-0", IndexKind::Key).len(), 1);
        // And so they are after a crash.
        rig.disk.crash(Loss::Everything);
        let copy = rig.open();
        assert_same(&master, &copy);
        assert_same_queues(&master, &copy);
    }
}

#[test]
fn after_a_link_that_ended_within_a_record_it_comes_again() {
    let (_rig, master) = filled(20);
    let rig = slave(2, FlushMode::Async);
    let copy = rig.open();
    let mut last = LogPos(0);
    while copy.written() < master.written() {
        let mut replica = copy.follow();
        let from = replica.next();
        assert!(
            from <= copy.written() && from >= last,
            "{from} of {}",
            copy.written()
        );
        last = from;
        // The newest record once more, and some more than a whole one.
        let before = copy.written();
        while copy.written() == before {
            let at = replica.next();
            copy.replicate(&mut replica, at, &some(&master, at, 333)).unwrap();
        }
    }
    assert_same(&master, &copy);
    assert_same_queues(&master, &copy);
}

#[test]
fn what_is_damaged_at_the_end_of_a_log_that_follows_comes_from_its_master_again() {
    let (_rig, master) = filled(60);
    let rig = slave(1, FlushMode::Async);
    let copy = rig.open();
    feed_all(&master, &copy);
    let records = read_all(&master, "A", 0);
    let damaged = &records[records.len() - 3];
    let at = damaged.physical_offset / SEGMENT * SEGMENT;
    rig.disk.crash(Loss::Nothing);
    drop(copy);
    let path = format!("/store/commitlog/{at:020}");
    let file = rig.disk.open(std::path::Path::new(&path)).unwrap();
    let place = (damaged.physical_offset - at).unsigned_abs() + 88;
    file.write_at(b"?", place).unwrap();
    let copy = rig.open();
    assert!(copy.written().0 <= damaged.physical_offset, "it ends there");
    feed_all(&master, &copy);
    assert_same(&master, &copy);
    assert_same_queues(&master, &copy);
}

#[test]
fn an_empty_log_begins_where_a_file_of_the_master_does() {
    let (_rig, master) = filled(60);
    let rig = slave(2, FlushMode::Async);
    let copy = rig.open();
    let mut replica = copy.follow();
    assert_eq!(replica.next(), LogPos(0));
    assert_eq!(
        copy.replicate(&mut replica, LogPos(100), b""),
        Ok(()),
        "a heartbeat"
    );
    let refused = copy.replicate(&mut replica, LogPos(100), &some(&master, LogPos(100), 50));
    let start = ReplicateError::Start {
        at: 100,
        segment_bytes: SEGMENT,
    };
    assert_eq!(refused, Err(start));
    assert_eq!(replica.next(), LogPos(0), "nothing has happened");
    let from = master.last_file();
    assert!(from.0 > SEGMENT);
    let bytes = some(&master, from, 1 << 20);
    copy.replicate(&mut replica, from, &bytes).unwrap();
    copy.turn_flush();
    assert_same(&master, &copy);
    let newest = |store: &Store| {
        let all = read_all(store, "B", 2).into_iter();
        all.filter(|record| record.physical_offset >= from.0)
            .collect::<Vec<_>>()
    };
    assert!(!newest(&master).is_empty());
    assert_eq!(
        newest(&master),
        read_all(&copy, "B", 2),
        "with the offsets of the master"
    );
    copy.close().unwrap();
    drop(copy);
    let copy = rig.open();
    assert_eq!(newest(&master), read_all(&copy, "B", 2));
    assert_eq!(copy.queue("B", 2).max(), master.queue("B", 2).max());
}

/// The file was made and is durable, and what was written to it is not.
#[test]
fn an_empty_file_does_not_make_a_log_begin_there() {
    let (_rig, master) = filled(60);
    let rig = slave(2, FlushMode::Async);
    let copy = rig.open();
    let mut replica = copy.follow();
    copy.replicate(&mut replica, LogPos(0), &some(&master, LogPos(0), 1_000))
        .unwrap();
    drop(copy);
    rig.disk.crash(Loss::Everything);
    let copy = rig.open();
    let mut replica = copy.follow();
    assert_eq!(replica.next(), LogPos(0));
    let from = master.last_file();
    copy.replicate(&mut replica, from, &some(&master, from, 1 << 20))
        .unwrap();
    assert_eq!((copy.min_pos(), copy.written()), (from, master.written()));
    copy.close().unwrap();
    drop(copy);
    assert_same(&master, &rig.open());
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let (_rig, master) = filled(10);
    let rig = slave(2, FlushMode::Async);
    let copy = rig.open();
    let mut replica = copy.follow();
    copy.replicate(&mut replica, LogPos(0), &some(&master, LogPos(0), 500))
        .unwrap();
    for at in [499, 501, 0] {
        let refused = copy.replicate(&mut replica, LogPos(at), b"more");
        assert_eq!(
            refused,
            Err(ReplicateError::Position {
                got: at,
                expected: 500
            })
        );
    }
    feed(&master, &copy, &mut replica, || 100);
    assert_same(&master, &copy);
}

#[test]
fn what_is_no_record_is_refused_and_what_came_before_it_is_taken() {
    // In one piece, and cut within a record.
    for cut in [0, 300] {
        let (_rig, master) = filled(3);
        let end = master.written();
        let rig = slave(2, FlushMode::Async);
        let copy = rig.open();
        let mut bytes = some(&master, LogPos(0), 1 << 20);
        bytes.extend_from_slice(b"neither a record nor a blank");
        let mut replica = copy.follow();
        copy.replicate(&mut replica, LogPos(0), &bytes[..cut]).unwrap();
        let refused = copy.replicate(&mut replica, LogPos(cut as i64), &bytes[cut..]);
        assert!(
            matches!(refused, Err(ReplicateError::Record { at, .. }) if at == end.0),
            "{refused:?}"
        );
        assert_eq!((replica.next(), copy.written()), (end, end));
        send(&master, "A", 0, "more");
        feed(&master, &copy, &mut replica, || 50);
        assert_eq!(bodies(&copy, "A", 0).last().unwrap(), "more");
    }
}

#[test]
fn a_damaged_record_is_asked_for_twice_and_keeps_its_place_and_is_in_no_queue() {
    let rig = Rig::new(1, FlushMode::Async);
    let master = rig.open();
    let receipts = ["one", "two", "three"].map(|name| send(&master, "A", 0, name));
    let mut bytes = some(&master, LogPos(0), 1 << 20);
    let at = receipts[1].pos.0 as usize;
    let body = bytes[at..].windows(3).position(|three| three == b"two").unwrap();
    bytes[at + body] ^= 1;
    let rig = slave(2, FlushMode::Async);
    let copy = rig.open();
    let mut replica = copy.follow();
    let damaged = copy.replicate(&mut replica, LogPos(0), &bytes).unwrap_err();
    assert!(
        matches!(damaged, ReplicateError::Record { at, .. } if at == receipts[1].pos.0),
        "{damaged}"
    );
    assert_eq!(copy.written(), receipts[1].pos);
    let mut replica = copy.follow();
    let rest = bytes.split_off(replica.next().0 as usize);
    let from = replica.next();
    copy.replicate(&mut replica, from, &rest).unwrap();
    assert_eq!(copy.written(), master.written());
    let found: Vec<i64> = read_all(&copy, "A", 0)
        .iter()
        .map(|record| record.queue_offset)
        .collect();
    assert_eq!(found, [0, 2]);
    assert_eq!(copy.queue("A", 0).max(), 3);
}

/// Gives a slave bytes of which some are damaged: each of those records is asked for a second time.
fn feed_damaged(bytes: &[u8], slave: &Store) {
    loop {
        let mut replica = slave.follow();
        let from = replica.next();
        let mut done = slave.replicate(&mut replica, from, &bytes[from.0 as usize..]);
        while let Err(ReplicateError::Topic { .. }) = done {
            replica.asked();
            let at = replica.next();
            done = slave.replicate(&mut replica, at, &[]);
        }
        match done {
            Ok(()) => return,
            Err(ReplicateError::Record { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_damaged_newest_message_keeps_its_place_on_a_slave_that_becomes_the_master() {
    for damaged in [1, 2] {
        let rig = Rig::new(1, FlushMode::Async);
        let master = rig.open();
        let receipts = ["0", "1", "2"].map(|name| send(&master, "A", 0, name));
        let mut bytes = some(&master, LogPos(0), 1 << 20);
        for receipt in &receipts[3 - damaged..] {
            bytes[receipt.pos.0 as usize + 88] ^= 1;
        }
        let mut rig = slave(2, FlushMode::Async);
        let copy = rig.open();
        feed_damaged(&bytes, &copy);
        assert_eq!(copy.written(), master.written());
        copy.turn_flush();
        // Notes how far the log is.
        rig.tidy_after(&copy, 2);
        copy.close().unwrap();
        drop(copy);
        rig.config.follows = false;
        let copy = rig.open();
        assert_eq!(send(&copy, "A", 0, "next").queue_offset, 3, "{damaged} damaged");
        let mut expected: Vec<String> = (0..3 - damaged).map(|name| name.to_string()).collect();
        expected.push("next".to_owned());
        assert_eq!(bodies(&copy, "A", 0), expected, "{damaged} damaged");
    }
}

/// Which queue hears of it first is chance: one that had no messages before may have new ones by then.
#[test]
fn a_topic_that_was_made_again_begins_anew_queue_by_queue() {
    let rig = Rig::new(1, FlushMode::Async);
    let master = rig.open();
    send(&master, "A", 0, "old");
    send(&master, "A", 2, "old");
    master.delete_topic("A").unwrap();
    send(&master, "A", 1, "new");
    send(&master, "A", 0, "new");
    let rig = slave(2, FlushMode::Async);
    let copy = rig.open();
    feed_all(&master, &copy);
    assert_eq!(bodies(&copy, "A", 1), ["new"]);
    assert_eq!(bodies(&copy, "A", 0), ["new"]);
    // Nothing says that it is gone but the table of topics.
    assert_eq!(bodies(&copy, "A", 2), ["old"]);
    rig.tidy_after(&copy, 2);
    send(&master, "A", 2, "new");
    feed_all(&master, &copy);
    let assert_new = |store: &Store| {
        for id in 0..3 {
            assert_eq!(bodies(store, "A", id), ["new"], "{id}");
        }
    };
    assert_new(&copy);
    rig.tidy_after(&copy, 61);
    assert_new(&copy);
    drop(copy);
    rig.disk.crash(Loss::Everything);
    assert_new(&rig.open());
}

#[test]
fn a_master_with_another_newest_record_is_not_followed() {
    let rig = Rig::new(1, FlushMode::Async);
    let (master, other_rig) = (rig.open(), Rig::new(9, FlushMode::Async));
    let other = other_rig.open();
    let rig = slave(2, FlushMode::Async);
    let copy = rig.open();
    for store in [&master, &other] {
        send(store, "A", 0, "both");
    }
    let ours = send(&master, "A", 0, "ours");
    send(&other, "A", 0, "thei");
    send(&other, "A", 0, "rest");
    feed_all(&master, &copy);
    let mut replica = copy.follow();
    assert_eq!(replica.next(), ours.pos);
    let refused = copy.replicate(&mut replica, ours.pos, &some(&other, ours.pos, 1 << 20));
    assert!(
        matches!(refused, Err(ReplicateError::Diverged { at }) if at > ours.pos.0 && at < copy.written().0),
        "{refused:?}"
    );
    assert_eq!(copy.written(), master.written());
    send(&master, "A", 0, "its own master it knows");
    feed(&master, &copy, &mut copy.follow(), || 7);
    assert_same(&master, &copy);
}

#[test]
fn a_topic_that_can_be_no_directory_is_in_the_log_and_in_no_queue() {
    let rig = slave(2, FlushMode::Async);
    let copy = rig.open();
    let mut bytes = Vec::new();
    for topic in ["../../etc", "A"] {
        let parts = Parts {
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_at: 1,
            born_host: ([127, 0, 0, 1], 1).into(),
            store_host: ([127, 0, 0, 1], 1).into(),
            reconsume_times: 0,
            prepared_pos: 0,
            body: b"x",
            body_crc: crc31(b"x"),
            topic,
            properties: b"",
        };
        let stamp = Stamp {
            queue_offset: 0,
            physical_offset: bytes.len() as i64,
            stored_at: START_MS,
        };
        encode_record(&mut bytes, &parts, &stamp, Seal::Absent);
    }
    copy.replicate(&mut copy.follow(), LogPos(0), &bytes).unwrap();
    rig.tidy_after(&copy, 61);
    assert_eq!(bodies(&copy, "A", 0), ["x"]);
    assert_eq!(walk(&copy).len(), 2);
    assert!(rig.disk.ops() > 0 && read_all(&copy, "../../etc", 0).is_empty());
}

/// Whoever writes may find the disk full while more is put behind what is lost by that.
#[test]
fn a_disk_that_fills_up_again_and_again_costs_nothing_but_time() {
    let (_rig, master) = filled(200);
    let rig = slave(2, FlushMode::Async);
    let copy = rig.open();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut is_full = false;
            while !is_over.load(Ordering::Relaxed) {
                is_full = !is_full;
                rig.disk.set_full(is_full);
                copy.turn_flush();
            }
            rig.disk.set_full(false);
        });
        while copy.written() < master.written() {
            let mut replica = copy.follow();
            loop {
                let at = replica.next();
                let bytes = some(&master, at, 700);
                match copy.replicate(&mut replica, at, &bytes) {
                    Ok(()) if !bytes.is_empty() => {}
                    Ok(()) | Err(ReplicateError::Stopped("a write has failed")) => break,
                    Err(error) => {
                        is_over.store(true, Ordering::Relaxed);
                        panic!("at {at}: {error}");
                    }
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_same(&master, &copy);
    assert_same_queues(&master, &copy);
}

#[test]
fn the_log_is_sent_as_it_is_and_no_more_than_there_is() {
    let (rig, master) = filled(60);
    let end = master.written();
    assert_eq!(some(&master, end, 100), Vec::<u8>::new());
    assert!(matches!(
        master.log_bytes(LogPos(end.0 + 1), 100, true),
        Err(TransferError::Ahead { .. })
    ));
    assert_eq!(
        some(&master, LogPos(SEGMENT - 10), 100).len(),
        10,
        "never over a border"
    );
    assert_eq!(some(&master, LogPos(SEGMENT), 100).len(), 100);
    rig.disk.set_cold(true);
    let cold = master.log_bytes(LogPos(0), 100, false);
    assert!(matches!(cold, Err(TransferError::NotCached)), "{cold:?}");
    assert_eq!(some(&master, LogPos(0), 100).len(), 100);
    rig.disk.set_cold(false);
    master.clean_soon();
    rig.tidy_after(&master, 73 * 3600);
    let min = master.min_pos();
    assert!(min.0 >= SEGMENT, "old files are removed");
    let gone = master.log_bytes(LogPos(min.0 - 1), 100, true);
    assert!(matches!(gone, Err(TransferError::Gone { .. })), "{gone:?}");
    assert_eq!(some(&master, min, 100).len(), 100);
}

#[test]
fn what_is_not_to_be_seen_is_seen_when_it_is_shown() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    let first = send(&store, "A", 0, "one");
    store.show(first.gate.end);
    let second = send(&store, "A", 0, "two");
    send(&store, "A", 0, "three");
    assert_eq!(bodies(&store, "A", 0), ["one"]);
    store.show(LogPos(second.gate.end.0 + 1));
    assert_eq!(bodies(&store, "A", 0), ["one", "two"]);
    store.show(first.gate.end);
    assert_eq!(bodies(&store, "A", 0), ["one", "two"], "what was seen stays");
    store.show(Store::UNHINDERED);
    assert_eq!(bodies(&store, "A", 0), ["one", "two", "three"]);
    assert_eq!(
        walk(&store)
            .iter()
            .map(|record: &Record| record.queue_offset)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
}

#[test]
fn before_a_topic_that_is_not_known_is_kept_somebody_is_asked_how() {
    let rig = Rig::new(1, FlushMode::Async);
    let master = rig.open();
    send(&master, "Known", 0, "a");
    send(&master, "New", 0, "b");
    send(&master, "New", 0, "c");
    send(&master, "Gone", 0, "d");
    send(&master, "Gone", 0, "e");
    let mut rig = slave(2, FlushMode::Async);
    let known = Arc::new(Mutex::new(vec!["Known".to_owned()]));
    let asked = Arc::clone(&known);
    rig.config.kinds = Kinds::knowing(move |topic| {
        let is_known = asked.lock().unwrap().iter().any(|known| known == topic);
        is_known.then(Kind::default)
    });
    let copy = rig.open();
    let mut replica = copy.follow();
    let all = some(&master, LogPos(0), 1 << 20);
    let mut names = Vec::new();
    let mut done = copy.replicate(&mut replica, LogPos(0), &all);
    while let Err(ReplicateError::Topic { topic }) = done {
        // All that came waits, and nothing is taken twice.
        assert_eq!(replica.next(), master.written());
        assert!(copy.find_queue(&topic, 0).is_none());
        if topic == "New" {
            known.lock().unwrap().push(topic.clone());
        }
        names.push(topic);
        replica.asked();
        let next = replica.next();
        done = copy.replicate(&mut replica, next, &[]);
    }
    done.unwrap();
    assert_eq!(names, ["New", "Gone"], "each once");
    copy.turn_flush();
    assert_eq!(bodies(&copy, "New", 0), ["b", "c"]);
    assert_eq!(bodies(&copy, "Gone", 0), ["d", "e"]);
    assert_eq!(copy.written(), master.written());
}
