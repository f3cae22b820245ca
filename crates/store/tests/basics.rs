// SPDX-License-Identifier: Apache-2.0
//! What a store does while nothing goes wrong.

#[path = "support/rig.rs"]
mod rig;

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rig::*;
use store::disk::{Disk, Space};
use store::{
    All, AppendError, Boundary, FarLimit, Filter, FlushMode, GateState, IndexKind, Level, LogPos, OpenError,
    QueueLayout, ReadError, ReadLimit, ReadStatus, Store,
};
use wire::record::{Record, sysflag};

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn messages_come_back_in_order_across_files_and_after_a_restart() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    let names: Vec<String> = (0..100).map(|number| format!("message-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let receipt = send(&store, "T", 0, name);
        assert_eq!(receipt.queue_offset, number as i64);
        if number % 30 == 0 {
            rig.tidy_after(&store, 2);
        }
    }
    assert_eq!(bodies(&store, "T", 0), names);
    store.close().unwrap();
    drop(store);
    let store = rig.open();
    assert_eq!(bodies(&store, "T", 0), names);
    assert_eq!(send(&store, "T", 0, "more").queue_offset, 100);
    assert_eq!(find(&store, "T", "k-message-77", IndexKind::Key), ["message-77"]);
    assert_eq!(find(&store, "T", "message-3", IndexKind::Unique), ["message-3"]);
    assert_eq!(find(&store, "T", "Tag", IndexKind::Tag).len(), 64);
    assert_eq!(find(&store, "T", "more", IndexKind::Unique), ["more"]);
}

#[test]
fn a_sync_is_left_to_the_caller_once_the_disk_is_known_to_be_quick() {
    let rig = Rig::new(1, FlushMode::Sync);
    let store = rig.open();
    append(&store, "T", 0, "one").unwrap();
    assert!(!store.drive_to_sync(), "nobody has synced yet");
    store.turn_flush();
    let receipt = append(&store, "T", 0, "two").unwrap();
    assert!(store.drive_to_sync());
    assert_eq!(store.state(&receipt.gate, Level::Durable), GateState::Waiting);
    assert!(!store.drive_to_sync(), "there is nothing more to write");
    store.sync_soon();
    assert_eq!(store.state(&receipt.gate, Level::Durable), GateState::Passed);
    assert_eq!(bodies(&store, "T", 0), ["one", "two"]);
    let store = Rig::new(1, FlushMode::Async).open();
    append(&store, "T", 0, "one").unwrap();
    store.turn_flush();
    append(&store, "T", 0, "two").unwrap();
    assert!(!store.drive_to_sync(), "nobody waits for the disk");
}

#[test]
fn whoever_writes_leaves_what_is_appended_meanwhile_to_whoever_drives_next() {
    let patience = std::time::Duration::from_secs(60);
    // The other one drives after the write, or during it.
    for during in [false, true] {
        let rig = Rig::new(1, FlushMode::Async);
        let store = rig.open();
        send(&store, "T", 0, "one");
        append(&store, "T", 0, "two").unwrap();
        let held = rig.disk.hold_writes();
        let late = std::thread::scope(|scope| {
            let writer = scope.spawn(|| store.drive());
            assert!(held.wait_for_one(patience));
            let late = append(&store, "T", 0, "three").unwrap();
            if during {
                store.drive();
            }
            drop(held);
            writer.join().unwrap();
            late
        });
        if !during {
            assert_eq!(store.state(&late.gate, Level::Written), GateState::Waiting);
            assert_eq!(bodies(&store, "T", 0), ["one", "two"]);
            store.drive();
        }
        assert_eq!(store.state(&late.gate, Level::Written), GateState::Passed);
        assert_eq!(bodies(&store, "T", 0), ["one", "two", "three"]);
    }
}

#[test]
fn a_write_wakes_nobody_who_waits_for_the_disk() {
    let rig = Rig::new(1, FlushMode::Sync);
    let store = rig.open();
    append(&store, "T", 0, "one").unwrap();
    let mut written = Box::pin(store.progress());
    let mut durable = Box::pin(store.progress_to(Level::Durable));
    store.drive();
    assert!(poll(written.as_mut()).is_ready());
    assert!(poll(durable.as_mut()).is_pending());
    store.turn_flush();
    assert!(poll(durable.as_mut()).is_ready());
    // A write that fails fails them too.
    let mut durable = Box::pin(store.progress_to(Level::Durable));
    append(&store, "T", 0, "two").unwrap();
    rig.disk.set_full(true);
    store.drive();
    assert!(poll(durable.as_mut()).is_ready());
}

#[test]
fn a_message_is_visible_when_written_under_async_and_when_durable_under_sync() {
    for (flush, seen_when_written) in [(FlushMode::Async, 1), (FlushMode::Sync, 0)] {
        let rig = Rig::new(1, flush);
        let store = rig.open();
        let receipt = append(&store, "T", 0, "one").unwrap();
        let queue = store.queue("T", 0);
        assert_eq!(
            (queue.max(), store.state(&receipt.gate, Level::Written)),
            (0, GateState::Waiting)
        );
        let mut news = Box::pin(queue.wait_past(0));
        assert!(poll(news.as_mut()).is_pending());
        store.drive();
        assert_eq!(store.state(&receipt.gate, Level::Written), GateState::Passed);
        assert_eq!(store.state(&receipt.gate, Level::Durable), GateState::Waiting);
        assert_eq!(queue.max(), seen_when_written);
        assert_eq!(poll(news.as_mut()).is_ready(), seen_when_written == 1);
        store.turn_flush();
        assert_eq!(store.state(&receipt.gate, Level::Durable), GateState::Passed);
        assert_eq!(queue.max(), 1);
        if seen_when_written == 0 {
            assert!(poll(news.as_mut()).is_ready());
        }
    }
}

#[test]
fn progress_taken_before_a_look_is_not_missed() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    let receipt = append(&store, "T", 0, "one").unwrap();
    let mut reach = Box::pin(store.reach(receipt.gate, Level::Durable));
    assert!(poll(reach.as_mut()).is_pending());
    store.drive();
    assert!(poll(reach.as_mut()).is_pending());
    store.turn_flush();
    assert_eq!(poll(reach.as_mut()), Poll::Ready(Ok(())));
}

#[test]
fn a_batch_lies_in_one_file_and_is_taken_whole_or_not_at_all() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    let queue = store.queue("T", 0);
    let filler = [7; 1500];
    store.append(&draft(&queue, &filler, b"")).unwrap();
    store.append(&draft(&queue, &filler, b"")).unwrap();
    let body = [8; 800];
    let drafts = [draft(&queue, &body, b""), draft(&queue, &body, b"")];
    let receipts = store.append_batch(&drafts).unwrap();
    assert_eq!(receipts[0].pos, LogPos(4096));
    assert_eq!(receipts[1].pos.0, 4096 + receipts[0].size as i64);
    assert_eq!(receipts[0].gate, receipts[1].gate);
    let before = store.max_pos();
    let too_many = [drafts[0]; 5];
    assert!(matches!(
        store.append_batch(&too_many),
        Err(AppendError::RecordTooLarge { max: 4088, .. })
    ));
    let too_large = vec![0; 4096];
    let mixed = [drafts[0], draft(&queue, &too_large, b"")];
    assert!(matches!(
        store.append_batch(&mixed),
        Err(AppendError::RecordTooLarge { max: 4088, .. })
    ));
    assert_eq!(store.append_batch(&[]), Err(AppendError::Empty));
    assert_eq!(store.max_pos(), before);
    store.drive();
    assert_eq!(read_all(&store, "T", 0).len(), 4);
    assert_eq!(walk(&store).len(), 4);
}

#[test]
fn half_messages_and_rollbacks_enter_no_queue_and_rollbacks_no_index() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    let queue = store.queue("T", 0);
    for (name, flag) in [
        ("half", sysflag::PREPARED),
        ("rollback", sysflag::ROLLBACK),
        ("commit", sysflag::COMMIT),
    ] {
        let properties = properties(name);
        let mut message = draft(&queue, name.as_bytes(), &properties);
        message.sys_flag = flag;
        assert_eq!(store.append(&message).unwrap().queue_offset, 0);
    }
    store.drive();
    assert_eq!(bodies(&store, "T", 0), ["commit"]);
    assert_eq!(find(&store, "T", "half", IndexKind::Unique), ["half"]);
    assert!(find(&store, "T", "rollback", IndexKind::Unique).is_empty());
}

#[test]
fn the_delay_topic_holds_delivery_times() {
    struct At(i64);
    impl Filter for At {
        fn by_code(&self, code: i64) -> bool {
            code == self.0
        }
    }
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    let queue = store.queue("SCHEDULE_TOPIC_XXXX", 2);
    let append = |properties: &[u8]| store.append(&draft(&queue, b"x", properties)).unwrap();
    append(b"DELAY\x013\x02TAGS\x01A\x02");
    append(b"DELAY\x0199\x02");
    append(b"TAGS\x01A\x02");
    store.drive();
    for (code, offset) in [(START_MS + 10_000, 0), (START_MS + 7_200_000, 1), (65, 2)] {
        let batch = store.read(&queue, 0, &MANY, &At(code)).unwrap();
        let record = Record::decode(&batch.bytes).unwrap();
        assert_eq!((batch.count, record.queue_offset), (1, offset));
    }
}

#[test]
fn limits_are_kept() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for number in 0..20 {
        send(&store, "T", 0, &format!("{number:02}"));
    }
    let queue = store.queue("T", 0);
    let size = store.record_at(LogPos(0)).unwrap().len();
    let read = |limit: ReadLimit| store.read(&queue, 0, &limit, &All).unwrap();
    assert_eq!(read(ReadLimit { count: 5, ..MANY }).count, 5);
    assert_eq!(
        read(ReadLimit {
            bytes: 3 * size,
            ..MANY
        })
        .count,
        3
    );
    assert_eq!(read(ReadLimit { bytes: 1, ..MANY }).count, 1);
    assert_eq!(read(ReadLimit { scan: 4, ..MANY }).next_offset, 4);
    let far = |behind_bytes| ReadLimit {
        far: Some(FarLimit {
            behind_bytes,
            count: 2,
            bytes: 1 << 20,
        }),
        ..MANY
    };
    assert_eq!(read(far(1)).count, 2);
    assert_eq!(read(far(1 << 20)).count, 20);
    assert_eq!(read(far(1 << 20)).behind_bytes, size as i64);
}

#[test]
fn what_there_is_nothing_to_read_is_told_apart() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    let queue = store.queue("T", 0);
    let read = |from| store.read(&queue, from, &MANY, &All);
    assert!(matches!(read(0), Err(ReadError::Empty)));
    assert!(matches!(read(5), Err(ReadError::Empty)));
    send(&store, "T", 0, "one");
    assert!(matches!(read(-1), Err(ReadError::TooSmall { min: 0, max: 1 })));
    assert!(matches!(read(1), Err(ReadError::AtEnd { min: 0 })));
    assert!(matches!(read(2), Err(ReadError::BeyondEnd { max: 1, .. })));
    struct None;
    impl Filter for None {
        fn by_code(&self, _: i64) -> bool {
            false
        }
    }
    let batch = store.read(&queue, 0, &MANY, &None).unwrap();
    assert_eq!(
        (batch.status, batch.next_offset, batch.count),
        (ReadStatus::NoMatch, 1, 0)
    );
}

#[test]
fn a_filter_that_reads_properties_goes_on_until_the_limit_is_met() {
    struct Even;
    impl Filter for Even {
        fn by_code(&self, _: i64) -> bool {
            true
        }
        fn by_properties(&self, properties: &[u8]) -> bool {
            !wire::properties::get(properties, "UNIQ_KEY")
                .unwrap()
                .ends_with(['1', '3', '5', '7', '9'])
        }
    }
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for number in 0..30 {
        send(&store, "T", 0, &number.to_string());
    }
    let queue = store.queue("T", 0);
    let batch = store
        .read(&queue, 0, &ReadLimit { count: 10, ..MANY }, &Even)
        .unwrap();
    let offsets: Vec<i64> = Record::decode_all(&batch.bytes)
        .map(|record| record.unwrap().queue_offset)
        .collect();
    assert_eq!(offsets, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
    assert!((19..=20).contains(&batch.next_offset), "{}", batch.next_offset);
}

#[test]
fn a_read_that_must_not_wait_returns_what_is_in_memory() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for number in 0..40 {
        send(&store, "T", 0, &number.to_string());
    }
    rig.disk.set_cold(true);
    let queue = store.queue("T", 0);
    assert!(matches!(
        store.read_cached(&queue, 0, &MANY, &All),
        Err(ReadError::NotCached)
    ));
    // The newest KiB is kept in memory.
    assert_eq!(store.read_cached(&queue, 38, &MANY, &All).unwrap().count, 2);
    assert_eq!(store.read(&queue, 0, &MANY, &All).unwrap().count, 40);
    rig.disk.set_cold(false);
    assert_eq!(store.read_cached(&queue, 0, &MANY, &All).unwrap().count, 40);
}

#[test]
fn offsets_are_found_by_store_time() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    let queue = store.queue("T", 0);
    assert_eq!(store.offset_by_time(&queue, START_MS, Boundary::Lower), 0);
    // Two messages at each of 0 s, 10 s, 20 s.
    for _ in 0..3 {
        send(&store, "T", 0, "a");
        send(&store, "T", 0, "b");
        rig.tidy_after(&store, 10);
    }
    let at = |seconds: i64, boundary| store.offset_by_time(&queue, START_MS + seconds * 1000, boundary);
    let lower = [-5, 0, 5, 10, 20, 25].map(|seconds| at(seconds, Boundary::Lower));
    assert_eq!(lower, [0, 0, 2, 2, 4, 6]);
    let upper = [-5, 0, 5, 10, 20, 25].map(|seconds| at(seconds, Boundary::Upper));
    assert_eq!(upper, [0, 1, 1, 3, 5, 5]);
    assert_eq!(store.stored_at(&queue, 3), Some(START_MS + 10_000));
    assert_eq!(store.stored_at(&queue, 6), None);
}

#[test]
fn store_time_does_not_go_back_with_the_clock() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    send(&store, "T", 0, "a");
    rig.clock.set(START_MS - 1000);
    assert_eq!(send(&store, "T", 0, "b").stored_at, START_MS);
    store.close().unwrap();
    drop(store);
    assert_eq!(send(&rig.open(), "T", 0, "c").stored_at, START_MS);
}

#[test]
fn appends_are_refused_when_too_much_waits_for_the_disk() {
    let mut rig = Rig::new(1, FlushMode::Async);
    rig.config.pending_bytes_max = 1000;
    let store = rig.open();
    let accepted = (0..100)
        .take_while(|number| append(&store, "T", 0, &number.to_string()).is_ok())
        .count();
    assert!((5..20).contains(&accepted), "{accepted}");
    assert!(matches!(
        append(&store, "T", 0, "x"),
        Err(AppendError::Busy { .. })
    ));
    store.drive();
    assert!(append(&store, "T", 0, "x").is_ok());
}

#[test]
fn topics_that_are_no_directory_names_are_refused() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for topic in ["", ".", "..", "../x", "a/b", "a\0b", &"x".repeat(256)] {
        assert_eq!(
            append(&store, topic, 0, "x"),
            Err(AppendError::Topic),
            "{topic:?}"
        );
    }
    assert!(append(&store, &"x".repeat(255), 0, "x").is_ok());
}

#[test]
fn a_closed_store_refuses_and_an_open_one_is_locked() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    assert!(matches!(rig.try_open(), Err(OpenError::Locked(_))));
    store.close().unwrap();
    assert_eq!(append(&store, "T", 0, "x"), Err(AppendError::Closed));
    assert!(!store.is_writable());
    rig.open().close().unwrap();
}

#[test]
fn a_directory_made_with_other_sizes_is_refused_and_not_touched() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for number in 0..60 {
        send(&store, "T", 0, &number.to_string());
    }
    store.close().unwrap();
    drop(store);
    let ops = rig.disk.ops();
    for (key, change) in [
        (
            "mappedFileSizeCommitLog",
            (|config| config.segment_bytes = 8192) as fn(&mut store::StoreConfig),
        ),
        ("mappedFileSizeConsumeQueue", |config| {
            config.queue_file_bytes = 200
        }),
        ("maxHashSlotNum/maxIndexNum", |config| config.index_slots = 17),
    ] {
        if key == "mappedFileSizeConsumeQueue" && layout() == QueueLayout::Compact {
            // There are none.
            continue;
        }
        let mut config = rig.config.clone();
        change(&mut config);
        match Store::open_manual(config, rig.env()) {
            Err(OpenError::FileSize { key: named, .. }) => assert_eq!(named, key),
            other => panic!("{key}: {other:?}"),
        }
    }
    rig.disk
        .create("/store/commitlog/readme.txt".as_ref(), 1)
        .unwrap();
    assert!(matches!(rig.try_open(), Err(OpenError::Layout { .. })));
    rig.disk.remove("/store/commitlog/readme.txt".as_ref()).unwrap();
    // The file above, made, written and removed; and each time the name of the directory made durable.
    let opened = if layout() == QueueLayout::Files { 4 } else { 3 };
    assert_eq!(rig.disk.ops(), ops + 3 + opened);
    assert_eq!(read_all(&rig.open(), "T", 0).len(), 60);
}

#[test]
fn a_deleted_topic_is_gone_and_can_be_made_again() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for number in 0..30 {
        send(&store, "T", 0, &number.to_string());
        send(&store, "Other", 0, &number.to_string());
    }
    rig.tidy_after(&store, 2);
    let old = store.queue("T", 0);
    store.delete_topic("T").unwrap();
    assert!(old.is_deleted());
    assert!(store.find_queue("T", 0).is_none());
    assert!(matches!(
        store.read(&old, 0, &MANY, &All),
        Err(ReadError::NoQueue)
    ));
    assert_eq!(store.append(&draft(&old, b"x", b"")), Err(AppendError::Deleted));
    assert_eq!(send(&store, "T", 0, "again").queue_offset, 0);
    rig.disk.crash(store::disk::sim::Loss::Nothing);
    drop(store);
    let store = rig.open();
    assert_eq!(bodies(&store, "T", 0), ["again"]);
    assert_eq!(read_all(&store, "Other", 0).len(), 30);
}

#[test]
fn a_deletion_outlives_a_power_cut_also_when_nothing_was_stored_since_the_last_checkpoint() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for number in 0..30 {
        send(&store, "T", 0, &number.to_string());
    }
    rig.tidy_after(&store, 61);
    store.delete_topic("T").unwrap();
    rig.disk.crash(store::disk::sim::Loss::Everything);
    drop(store);
    let store = rig.open();
    assert!(read_all(&store, "T", 0).is_empty());
    assert_eq!(send(&store, "T", 0, "again").queue_offset, 0);
}

#[test]
fn expired_files_go_and_queues_and_index_follow() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for number in 0..100 {
        send(&store, "T", 0, &number.to_string());
        if number == 0 {
            send(&store, "Rare", 0, "only");
        }
    }
    rig.tidy_after(&store, 2);
    let files = rig.disk.list("/store/commitlog".as_ref()).unwrap().len();
    // A day later nothing is expired; four days later all but the last file are.
    let one_day = 86_400;
    store.clean_soon();
    rig.tidy_after(&store, one_day);
    assert_eq!(rig.disk.list("/store/commitlog".as_ref()).unwrap().len(), files);
    store.clean_soon();
    rig.tidy_after(&store, 3 * one_day);
    assert_eq!(rig.disk.list("/store/commitlog".as_ref()).unwrap().len(), 1);
    let queue = store.queue("T", 0);
    let kept = bodies(&store, "T", 0);
    assert!(
        queue.min() > 50 && queue.max() == 100,
        "{}..{}",
        queue.min(),
        queue.max()
    );
    assert_eq!(kept.first(), Some(&queue.min().to_string()));
    assert!(matches!(
        store.read(&queue, 0, &MANY, &All),
        Err(ReadError::TooSmall { .. })
    ));
    let rare = store.queue("Rare", 0);
    assert_eq!((rare.min(), rare.max()), (1, 1));
    assert!(rig.disk.list("/store/consumequeue/T/0".as_ref()).unwrap().len() < 13);
    assert!(find(&store, "T", "3", IndexKind::Unique).is_empty());
    store.close().unwrap();
    drop(store);
    let store = rig.open();
    assert_eq!(bodies(&store, "T", 0), kept);
    assert_eq!(
        (store.queue("Rare", 0).min(), store.queue("Rare", 0).max()),
        (1, 1)
    );
    assert_eq!(send(&store, "Rare", 0, "second").queue_offset, 1);
    assert_eq!(bodies(&store, "Rare", 0), ["second"]);
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_room() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    rig.tidy_after(&store, 1);
    let space = |used: u64| Space {
        total: 100,
        free: 100 - used,
        available: 100 - used,
    };
    rig.disk.set_space(space(91));
    rig.tidy_after(&store, 11);
    assert_eq!(
        append(&store, "T", 0, "x"),
        Err(AppendError::DiskFull { missing_bytes: 1 })
    );
    assert!(!store.is_writable());
    rig.disk.set_space(space(50));
    rig.tidy_after(&store, 1);
    assert!(
        append(&store, "T", 0, "x").is_ok(),
        "looked at once a second while it is full"
    );
}

#[test]
fn a_write_that_finds_no_room_says_how_much_is_missing_and_the_next_are_refused_before_they_are_tried() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    send(&store, "T", 0, "before");
    let space = |used: u64| Space {
        total: 1000,
        free: 1000 - used,
        available: 1000 - used,
    };
    rig.disk.set_full(true);
    rig.disk.set_space(space(1000));
    let lost = append(&store, "T", 0, "refused").unwrap();
    store.drive();
    assert_eq!(store.state(&lost.gate, Level::Written), GateState::Failed);
    let size = lost.size as u64;
    let full = AppendError::DiskFull {
        missing_bytes: size.max(100),
    };
    assert_eq!(store.why_not_written(), full);
    let tried = rig.disk.bytes_written();
    assert_eq!(append(&store, "T", 0, "refused"), Err(full));
    store.drive();
    assert_eq!(rig.disk.bytes_written(), tried);
    assert_eq!(bodies(&store, "T", 0), ["before"], "reads go on");

    rig.disk.set_full(false);
    rig.disk.set_space(space(10));
    rig.tidy_after(&store, 1);
    assert_eq!(send(&store, "T", 0, "after").queue_offset, 1);
    assert_eq!(bodies(&store, "T", 0), ["before", "after"]);
    assert_eq!(store.why_not_written(), AppendError::Failed);
}

#[test]
fn a_quota_refuses_what_it_does_not_let_in_and_nothing_else() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    send(&store, "T", 0, "before");
    rig.disk.set_full(true);
    let lost = append(&store, "T", 0, "refused").unwrap();
    store.drive();
    let missing_bytes = lost.size as u64;
    assert_eq!(store.why_not_written(), AppendError::DiskFull { missing_bytes });
    rig.disk.set_full(false);
    send(&store, "T", 0, "after");
    assert_eq!(bodies(&store, "T", 0), ["before", "after"]);
    assert_eq!(store.why_not_written(), AppendError::Failed);
}

#[test]
fn sealed_records_carry_a_crc_over_everything_and_a_foreign_seal_is_dropped() {
    let mut rig = Rig::new(1, FlushMode::Async);
    rig.config.seal_records = true;
    rig.config.demand_seals = true;
    let store = rig.open();
    let queue = store.queue("T", 0);
    store
        .append(&draft(
            &queue,
            b"a",
            b"A\x011\x02__CRC32#\x010000000000\x02B\x012",
        ))
        .unwrap();
    store.drive();
    let bytes = store.record_at(LogPos(0)).unwrap();
    let head = wire::record::RecordHead::scan(&bytes).unwrap();
    assert!(head.check_seal(&bytes).is_ok());
    assert!(
        head.parts
            .properties
            .starts_with(b"A\x011\x02B\x012\x02__CRC32#\x01")
    );
    rig.disk.crash(store::disk::sim::Loss::Nothing);
    drop(store);
    assert_eq!(bodies(&rig.open(), "T", 0), ["a"]);
}

#[test]
fn a_damaged_unit_or_record_is_skipped() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for number in 0..30 {
        send(&store, "T", 0, &number.to_string());
        send(&store, "Other", 0, &number.to_string());
    }
    rig.tidy_after(&store, 2);
    store.close().unwrap();
    let all = read_all(&store, "T", 0);
    let (flipped, third) = (all[1].physical_offset, all[2].physical_offset);
    let body_at = |record: &wire::record::Record| {
        record.total_size - record.properties.len() - 2 - 2 - record.body.len()
    };
    let flipped_at = flipped.unsigned_abs() + body_at(&all[1]) as u64;
    drop(store);
    let log = rig
        .disk
        .open("/store/commitlog/00000000000000000000".as_ref())
        .unwrap();
    log.write_at(&[0xFF; 4], third.unsigned_abs()).unwrap();
    // One bit of the body of message 1.
    log.write_at(&[b'1' ^ 4], flipped_at).unwrap();
    let [(ours, at), (others, others_at)] = match layout() {
        QueueLayout::Files => [
            ("/store/consumequeue/T/0/00000000000000000000", 0),
            ("/store/consumequeue/Other/0/00000000000000000000", 0),
        ],
        QueueLayout::Compact => [(FIRST_RUN, 0), (FIRST_RUN, 30 * 20)],
    };
    let queue = rig.disk.open(ours.as_ref()).unwrap();
    // Unit 4 points to another queue's message, unit 6 to nowhere, unit 7 claims a huge size.
    let mut other = [0; 12];
    let others = rig.disk.open(others.as_ref()).unwrap();
    others.read_exact_at(&mut other, others_at).unwrap();
    queue.write_at(&other, at + 4 * 20).unwrap();
    queue.write_at(&i64::MAX.to_be_bytes(), at + 6 * 20).unwrap();
    queue
        .write_at(&(i32::MAX - 1).to_be_bytes(), at + 7 * 20 + 8)
        .unwrap();
    let store = rig.open();
    let found: Vec<i64> = read_all(&store, "T", 0)
        .iter()
        .map(|record| record.queue_offset)
        .collect();
    let sound: Vec<i64> = (0..30).filter(|offset| ![1, 2].contains(offset)).collect();
    assert_eq!(found, sound);
    assert!(matches!(
        store.record_at(LogPos(flipped)),
        Err(ReadError::NoRecord(_))
    ));
    // A search by time is not led astray by what it cannot read.
    let queue = store.find_queue("T", 0).unwrap();
    assert_eq!(
        store.offset_by_time(&queue, START_MS - 1, Boundary::Lower),
        0,
        "all are newer"
    );
    assert_eq!(store.stored_at(&queue, 1), Some(START_MS));
    assert_eq!(find(&store, "Other", "k-1", IndexKind::Key), ["1"]);
    assert_eq!(find(&store, "T", "k-1", IndexKind::Key), [""; 0]);
}

#[test]
fn threads_flush_and_close_a_real_store() {
    let dir = tempfile::tempdir().unwrap();
    let config = store::StoreConfig {
        segment_bytes: 1 << 20,
        index_slots: 100,
        index_entries: 1000,
        flush: FlushMode::Sync,
        ..store::StoreConfig::at(dir.path())
    };
    let store = Store::open(config.clone(), store::env::Env::real()).unwrap();
    assert!(matches!(
        Store::open(config.clone(), store::env::Env::real()),
        Err(OpenError::Locked(_))
    ));
    let senders: Vec<_> = (0..4)
        .map(|id| {
            let store = Arc::clone(&store);
            std::thread::Builder::new()
                .spawn(move || {
                    for number in 0..200 {
                        let receipt = append(&store, "T", id, &number.to_string()).unwrap();
                        store.drive();
                        if number % 50 == 0 {
                            let reached = store.reach(receipt.gate, Level::Durable);
                            tokio::runtime::Builder::new_current_thread()
                                .build()
                                .unwrap()
                                .block_on(reached)
                                .unwrap();
                        }
                    }
                })
                .unwrap()
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    store.close().unwrap();
    drop(store);
    let store = Store::open(config, store::env::Env::real()).unwrap();
    for id in 0..4 {
        let expected: Vec<String> = (0..200).map(|number: i32| number.to_string()).collect();
        assert_eq!(bodies(&store, "T", id), expected);
    }
    store.close().unwrap();
}

#[test]
fn cleaning_leaves_the_file_being_written_although_the_next_one_is_there() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    while store.written().0 % 4096 < 3000 {
        send(&store, "T", 0, "one");
    }
    rig.tidy_after(&store, 2);
    assert_eq!(rig.disk.list("/store/commitlog".as_ref()).unwrap().len(), 2);
    let sent = bodies(&store, "T", 0).len();
    store.clean_soon();
    rig.tidy_after(&store, 4 * 86_400);
    assert_eq!(bodies(&store, "T", 0).len(), sent);
    send(&store, "T", 0, "more");
    assert_eq!(bodies(&store, "T", 0).len(), sent + 1);
}

#[test]
fn damage_below_the_safe_position_costs_nothing_behind_it() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for number in 0..60 {
        send(&store, "T", 0, &number.to_string());
    }
    store.close().unwrap();
    let end = store.written();
    drop(store);
    // Without its queues and index all of the log is read again.
    rig.lose_queues();
    for file in rig.disk.list("/store/index".as_ref()).unwrap() {
        let path = std::path::Path::new("/store/index").join(&file.name);
        rig.disk.remove(&path).unwrap();
    }
    let first = rig
        .disk
        .open("/store/commitlog/00000000000000000000".as_ref())
        .unwrap();
    first.write_at(b"damage", 1000).unwrap();
    let store = rig.open();
    assert_eq!(store.written(), end);
    assert_eq!(send(&store, "T", 0, "more").pos, end);
    assert!(bodies(&store, "T", 0).contains(&"0".to_owned()));
    assert_eq!(store.queue("T", 0).max(), 61);
}

#[test]
fn an_index_that_was_switched_off_for_a_while_is_kept_and_completed() {
    let mut rig = Rig::new(1, FlushMode::Async);
    for (enabled, name) in [(true, "a"), (false, "b"), (true, "c")] {
        rig.config.index_enabled = enabled;
        let store = rig.open();
        send(&store, "T", 0, name);
        store.close().unwrap();
    }
    let store = rig.open();
    for name in ["a", "b", "c"] {
        assert_eq!(find(&store, "T", name, IndexKind::Unique), [name]);
    }
}

#[test]
fn the_flusher_writes_what_is_still_pending() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    let receipt = append(&store, "T", 0, "one").unwrap();
    store.turn_flush();
    assert_eq!(store.state(&receipt.gate, Level::Durable), GateState::Passed);
    assert_eq!(bodies(&store, "T", 0), ["one"]);
}

#[test]
fn units_of_very_many_queues_wait_for_a_checkpoint() {
    let mut rig = Rig::new(1, FlushMode::Async);
    rig.config.short_checkpoint_bytes = u64::MAX;
    let store = rig.open();
    let (dir, expected) = match layout() {
        QueueLayout::Files => ("/store/consumequeue/T", 1_001),
        QueueLayout::Compact => ("/store/barque-queues", 1),
    };
    let written = || rig.disk.list(dir.as_ref()).unwrap().len();
    for id in 0..1_001 {
        send(&store, "T", id, "one");
    }
    rig.tidy_after(&store, 2);
    assert_eq!(written(), 0, "a write for a unit each is not worth it");
    rig.tidy_after(&store, 60);
    assert_eq!(written(), expected);
    rig.disk.crash(store::disk::sim::Loss::Everything);
    let store = rig.open();
    for id in [0, 500, 1_000] {
        assert_eq!(bodies(&store, "T", id), ["one"]);
    }
}
