// SPDX-License-Identifier: Apache-2.0
//! Queues in the compact layout: the suites of the store once more, what is its own, and the way from one layout to the other.
#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::duplicate_mod, reason = "each suite has its own rig, as it has alone")]

#[path = "basics.rs"]
mod basics;
#[path = "batch_queues.rs"]
mod batch_queues;
#[path = "compaction.rs"]
mod compaction;
#[path = "crash.rs"]
mod crash;
#[path = "random.rs"]
mod random;
#[path = "replica.rs"]
mod replica;
#[path = "restart.rs"]
mod restart;
#[path = "support/rig.rs"]
mod rig;

use std::path::Path;

use rig::*;
use store::disk::Disk;
use store::disk::sim::{Fault, Loss};
use store::{FlushMode, QueueLayout, Store};

const RUNS: &str = "/store/barque-queues";

/// What the queues that [`fill`] fills are called.
const QUEUES: [(&str, u32); 4] = [("T", 0), ("T", 1), ("U", 7), (BATCHED, 0)];

/// Sends so many messages, in rounds: to each queue one.
fn fill(store: &Store, numbers: std::ops::Range<u32>) {
    for number in numbers {
        for (topic, id) in QUEUES {
            if topic == BATCHED {
                append_inner(store, topic, id, (&number.to_string(), 3)).unwrap();
                store.drive();
                store.turn_flush();
            } else {
                send(store, topic, id, &number.to_string());
            }
        }
    }
}

/// The queues end after so many rounds, and hold the newest messages up to there; at least so many of each.
fn check(store: &Store, rounds: u32, least: usize, why: &str) {
    let all: Vec<String> = (0..rounds).map(|number| number.to_string()).collect();
    for (topic, id) in QUEUES {
        let found = bodies(store, topic, id);
        assert!(found.len() >= least, "{why}: {topic}/{id} has {}", found.len());
        assert!(all.ends_with(&found), "{why}: {topic}/{id} has {found:?}");
        let queue = store.find_queue(topic, id).unwrap();
        let each = if topic == BATCHED { 3 } else { 1 };
        assert_eq!(queue.max(), i64::from(rounds * each), "{why}: {topic}/{id}");
        let oldest = rounds - found.len() as u32;
        assert_eq!(queue.min(), i64::from(oldest * each), "{why}: {topic}/{id}");
    }
}

fn runs(rig: &Rig) -> Vec<String> {
    let mut names: Vec<String> = rig
        .disk
        .list(Path::new(RUNS))
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    names.sort();
    names
}

#[test]
fn many_checkpoints_leave_few_files_and_every_message() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for round in 0..40 {
        fill(&store, round..round + 1);
        rig.tidy_after(&store, 61);
    }
    assert!(runs(&rig).len() < 20, "{:?}", runs(&rig));
    check(&store, 40, 40, "open");
    for loss in [Loss::Nothing, Loss::Everything] {
        rig.disk.crash(loss);
        let store = rig.open();
        check(&store, 40, 40, "after a crash");
    }
}

#[test]
fn old_units_go_with_their_messages_and_ends_stay_known() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    send(&store, "OLD", 0, "a message that goes");
    fill(&store, 0..60);
    rig.tidy_after(&store, 61);
    let bytes = || -> u64 {
        rig.disk
            .list(Path::new(RUNS))
            .unwrap()
            .iter()
            .map(|entry| entry.len)
            .sum()
    };
    let before = bytes();
    store.clean_soon();
    rig.tidy_after(&store, 100 * 3600);
    assert!(store.min_pos().0 > 20_000, "old files of the log are gone");
    assert!(bytes() < before, "{} and {before}", bytes());
    check(&store, 60, 1, "open");
    let store = {
        store.close().unwrap();
        rig.open()
    };
    check(&store, 60, 1, "opened again");
    assert_eq!(store.find_queue("OLD", 0).unwrap().max(), 1);
    assert_eq!(send(&store, "OLD", 0, "another").queue_offset, 1);
}

#[test]
fn a_deleted_topic_leaves_nothing_to_one_of_its_name() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    fill(&store, 0..10);
    rig.tidy_after(&store, 61);
    store.delete_topic("T").unwrap();
    send(&store, "T", 0, "new");
    for round in 0..10 {
        fill(&store, 10 + round..11 + round);
        rig.tidy_after(&store, 61);
    }
    let expected: Vec<String> = std::iter::once("new".to_owned())
        .chain((10..20).map(|number: u32| number.to_string()))
        .collect();
    assert_eq!(bodies(&store, "T", 0), expected);
    rig.disk.crash(Loss::Everything);
    let store = rig.open();
    assert_eq!(bodies(&store, "T", 0), expected);
    assert_eq!(bodies(&store, "T", 1), expected[1..]);
    assert_eq!(bodies(&store, "U", 7).len(), 20);
}

#[test]
fn what_a_damaged_file_held_is_read_from_the_log() {
    // In the foot, in both tables; and not all of it there.
    for at in [None, Some(-10), Some(-100), Some(-190)] {
        let rig = Rig::new(1, FlushMode::Async);
        let store = rig.open();
        for round in 0..3 {
            fill(&store, round..round + 1);
            rig.tidy_after(&store, 61);
        }
        store.close().unwrap();
        drop(store);
        let name = runs(&rig)[1].clone();
        let file = rig.disk.open(&Path::new(RUNS).join(name)).unwrap();
        let len = file.len().unwrap();
        match at {
            Some(back) => file.write_at(b"damage", len.saturating_add_signed(back)).unwrap(),
            None => file.set_len(len / 2).unwrap(),
        }
        let store = rig.open();
        check(&store, 3, 3, &format!("damage at {at:?}"));
        fill(&store, 3..4);
        store.close().unwrap();
        check(&rig.open(), 4, 4, &format!("damage at {at:?}, later"));
    }
}

/// A closed store with twelve messages in each of two queues.
fn in_three_runs() -> Rig {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for number in 0..12 {
        for id in 0..2 {
            send(&store, "T", id, &number.to_string());
        }
        if number % 4 == 3 {
            rig.tidy_after(&store, 61);
        }
    }
    store.close().unwrap();
    rig
}

#[test]
fn any_byte_of_a_file_of_queues_may_be_wrong() {
    let all: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    for name in runs(&in_three_runs()) {
        let path = Path::new(RUNS).join(name);
        let len = in_three_runs().disk.open(&path).unwrap().len().unwrap();
        for at in 0..len {
            let rig = in_three_runs();
            let file = rig.disk.open(&path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_at(&[byte[0] ^ 0x21], at).unwrap();
            file.sync().unwrap();
            let why = format!("byte {at} of {len} of {}", path.display());
            let report = store::inspect::check(&rig.config, &rig.env()).unwrap();
            assert!(!report.findings.is_empty(), "{why}");
            let store = rig.open();
            for id in 0..2 {
                assert_eq!(bodies(&store, "T", id), all, "{why}");
                assert_eq!(send(&store, "T", id, "more").queue_offset, 12, "{why}");
            }
        }
    }
}

/// A file is checked when it is opened; its bytes may change later.
#[test]
fn any_byte_of_a_file_of_queues_may_change_while_the_store_is_open() {
    let all: Vec<String> = (0..13).map(|number| number.to_string()).collect();
    for name in runs(&in_three_runs()) {
        let path = Path::new(RUNS).join(name);
        let len = in_three_runs().disk.open(&path).unwrap().len().unwrap();
        for at in 0..len {
            let rig = in_three_runs();
            let store = rig.open();
            let file = rig.disk.open(&path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_at(&[byte[0] ^ 0x21], at).unwrap();
            file.sync().unwrap();
            let why = format!("byte {at} of {len} of {}", path.display());
            for id in 0..2 {
                assert_eq!(bodies(&store, "T", id), all[..12], "{why}");
                assert_eq!(send(&store, "T", id, "12").queue_offset, 12, "{why}");
            }
            // Checkpoints, and a merge.
            for _ in 0..3 {
                rig.tidy_after(&store, 61);
            }
            for id in 0..2 {
                assert_eq!(bodies(&store, "T", id), all, "{why}, later");
            }
            store.close().unwrap();
            drop(store);
            let store = rig.open();
            for id in 0..2 {
                assert_eq!(bodies(&store, "T", id), all, "{why}, started again");
            }
        }
    }
}

#[test]
fn a_file_that_an_opening_makes_below_the_safe_position_counts_only_when_it_is_whole() {
    for seed in 0..20 {
        let is_past_the_end = |op: u64| {
            let rig = Rig::new(seed, FlushMode::Async);
            let store = rig.open();
            fill(&store, 0..3);
            store.close().unwrap();
            drop(store);
            // What the checkpoint vouches for is read from the log again, and written to a file that ends there.
            let path = Path::new(RUNS).join(&runs(&rig)[0]);
            rig.disk.open(&path).unwrap().set_len(10).unwrap();
            rig.disk.halt_at(rig.disk.ops() + op);
            let is_done = rig.try_open().is_ok() && !rig.disk.is_halted();
            rig.disk.crash(Loss::Random);
            check(&rig.open(), 3, 3, &format!("seed {seed}, stopped at {op}"));
            is_done
        };
        assert!((0..200).any(is_past_the_end));
    }
}

#[test]
fn a_cold_read_says_that_it_would_wait() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    fill(&store, 0..10);
    rig.tidy_after(&store, 61);
    rig.tidy_after(&store, 61);
    store.close().unwrap();
    let store = rig.open();
    rig.disk.set_cold(true);
    let queue = store.find_queue("T", 0).unwrap();
    let cached = store.read_cached(&queue, 0, &MANY, &store::All);
    assert!(matches!(cached, Err(store::ReadError::NotCached)));
    assert_eq!(store.read(&queue, 0, &MANY, &store::All).unwrap().count, 10);
}

/// A store whose oldest messages are gone, with queues in one layout.
fn filled(layout: QueueLayout) -> Rig {
    let mut rig = Rig::new(1, FlushMode::Async);
    rig.config.queue_layout = layout;
    let store = rig.open();
    send(&store, "OLD", 0, "a message that goes");
    fill(&store, 0..40);
    rig.tidy_after(&store, 61);
    store.clean_soon();
    rig.tidy_after(&store, 100 * 3600);
    fill(&store, 40..50);
    store.close().unwrap();
    rig
}

/// The versions that the two places of the checkpoint have.
fn versions(rig: &Rig) -> [u8; 2] {
    let file = rig.disk.load(Path::new("/store/checkpoint")).unwrap().unwrap();
    [64, 2048].map(|at| file[at + 7])
}

/// Converts, and stops the machine at an operation. Returns whether that was too late.
fn convert_until(op: u64, (from, to): (QueueLayout, QueueLayout), loss: Loss) -> bool {
    let mut rig = filled(from);
    rig.config.queue_layout = to;
    rig.disk.halt_at(rig.disk.ops() + op);
    let is_done = rig.try_open().is_ok_and(|store| {
        drop(store);
        !rig.disk.is_halted()
    });
    rig.disk.crash(loss);
    let why = format!("{from:?} to {to:?}, stopped at {op}, {loss:?}");
    if runs(&rig)
        .iter()
        .any(|name| name.starts_with("00000000000000000000-"))
    {
        assert!(versions(&rig).contains(&2), "{why}: an older version refuses");
    }
    for (layout, rounds) in [(to, 50), (from, 51), (to, 52)] {
        rig.config.queue_layout = layout;
        let store = rig.open();
        check(&store, rounds, 10, &why);
        assert_eq!(store.find_queue("OLD", 0).unwrap().max(), 1, "{why}");
        let dirs = [RUNS, "/store/consumequeue", "/store/batchconsumequeue"].map(Path::new);
        let there = dirs.map(|dir| rig.disk.entry(dir).unwrap().is_some());
        let is_compact = layout == QueueLayout::Compact;
        assert_eq!(there, [is_compact, !is_compact, !is_compact], "{why}");
        fill(&store, rounds..rounds + 1);
        store.close().unwrap();
        match versions(&rig) {
            [2, 2] => assert!(is_compact, "{why}"),
            [1, 1] => assert!(!is_compact, "{why}"),
            // What is left of a conversion back goes with the next checkpoint.
            found => assert!(rounds == 50 && !is_compact, "{why}: {found:?}"),
        }
    }
    is_done
}

#[test]
fn a_conversion_may_be_cut_short_anywhere() {
    let both = [
        (QueueLayout::Files, QueueLayout::Compact),
        (QueueLayout::Compact, QueueLayout::Files),
    ];
    for way in both {
        for loss in [Loss::Nothing, Loss::Everything, Loss::Random] {
            let last = (0..2_000).find(|op| convert_until(*op, way, loss));
            assert!(last.is_some_and(|last| last > 30), "{way:?}: {last:?}");
        }
    }
}

#[test]
fn a_store_stays_in_its_layout_when_there_is_no_room_for_a_conversion() {
    for (from, to) in [
        (QueueLayout::Files, QueueLayout::Compact),
        (QueueLayout::Compact, QueueLayout::Files),
    ] {
        let (mut stayed, mut op) = (0, 0);
        loop {
            let mut rig = filled(from);
            rig.config.queue_layout = to;
            rig.disk.fail_at(rig.disk.ops() + op, Fault::Full);
            let why = format!("{from:?} to {to:?}, full at {op}");
            let last = rig.disk.ops() + op;
            // Without its own files no store opens.
            if let Ok(store) = rig.try_open() {
                if rig.disk.ops() <= last {
                    break;
                }
                check(&store, 50, 10, &why);
                if store.config().queue_layout == from {
                    stayed += 1;
                }
                let is_compact = store.config().queue_layout == QueueLayout::Compact;
                let runs = rig.disk.entry(Path::new(RUNS)).unwrap().is_some();
                assert_eq!(runs, is_compact, "{why}");
                fill(&store, 50..51);
                store.close().unwrap();
                drop(store);
                let store = rig.open();
                assert_eq!(store.config().queue_layout, to, "{why}");
                check(&store, 51, 10, &why);
            }
            op += 1;
        }
        assert!(stayed > 5, "{from:?} to {to:?}: {stayed}");
    }
}

#[test]
fn a_batch_queue_that_begins_inside_a_file_keeps_its_end_when_it_goes_back_to_files() {
    let mut rig = Rig::new(1, FlushMode::Async);
    rig.config.batch_queue_file_bytes = 46 * 1000;
    let store = rig.open();
    let mut ends = [0, 0];
    let mut send_some = |store: &Store, id: u32, count: i64| {
        for _ in 0..count {
            let end = &mut ends[id as usize];
            let receipt = append_inner(store, BATCHED, id, (&end.to_string(), 3)).unwrap();
            assert_eq!(receipt.queue_offset, *end);
            store.drive();
            *end += 3;
        }
        ends
    };
    // Of one queue the log keeps no message, of the other one the last.
    send_some(&store, 0, 300);
    send_some(&store, 1, 500);
    rig.tidy_after(&store, 61);
    for _ in 0..10 {
        store.clean_soon();
        rig.tidy_after(&store, 100 * 3600);
    }
    let ends = send_some(&store, 1, 10);
    let expected = read_all(&store, BATCHED, 1);
    let min = store.find_queue(BATCHED, 1).unwrap().min();
    assert!(min > 3 * 200, "{min}: old messages are gone");
    store.close().unwrap();
    // What is written by the first opening the second one finds.
    for layout in [
        QueueLayout::Files,
        QueueLayout::Files,
        QueueLayout::Compact,
        QueueLayout::Files,
    ] {
        rig.config.queue_layout = layout;
        let store = rig.open();
        let gone = store.find_queue(BATCHED, 0).unwrap();
        assert_eq!((gone.min(), gone.max()), (ends[0], ends[0]), "{layout:?}");
        let queue = store.find_queue(BATCHED, 1).unwrap();
        assert_eq!((queue.min(), queue.max()), (min, ends[1]), "{layout:?}");
        assert_eq!(read_all(&store, BATCHED, 1), expected, "{layout:?}");
        let by_time = |stored_ms| store.offset_by_time(&queue, stored_ms, store::Boundary::Lower);
        assert_eq!(by_time(expected[0].stored_at), min, "{layout:?}");
        assert_eq!(by_time(0), min, "{layout:?}");
        store.close().unwrap();
    }
    let store = rig.open();
    send_some(&store, 0, 1);
    assert_eq!(bodies(&store, BATCHED, 0), [ends[0].to_string()]);
}

#[test]
fn files_of_the_reference_count_where_it_has_worked_since() {
    let mut rig = filled(QueueLayout::Compact);
    let kept = rig
        .disk
        .load(Path::new(&format!("{RUNS}/{}", runs(&rig)[0])))
        .unwrap()
        .unwrap();
    let name = runs(&rig)[0].clone();
    rig.config.queue_layout = QueueLayout::Files;
    rig.open().close().unwrap();
    // It knows nothing of runs: it makes files and writes its part of the checkpoint.
    rig.disk.make_dirs(Path::new(RUNS)).unwrap();
    let stale = rig.disk.create(&Path::new(RUNS).join(name), 0).unwrap();
    stale.write_at(&kept, 0).unwrap();
    rig.disk
        .open(Path::new("/store/checkpoint"))
        .unwrap()
        .write_at(&[1; 8], 0)
        .unwrap();
    rig.config.queue_layout = QueueLayout::Compact;
    let store = rig.open();
    check(&store, 50, 10, "the reference was here");
}
