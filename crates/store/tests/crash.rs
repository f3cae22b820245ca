// SPDX-License-Identifier: Apache-2.0
//! Crashes at every point where something is written or synced, lost and torn writes, disks that break or fill up.
//!
//! What must hold: nothing acknowledged is lost; the log is a first part of what was appended; queues and index say
//! what the log says; nothing that was refused comes back; and work goes on.

#[path = "support/rig.rs"]
mod rig;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use rig::*;
use store::disk::Disk;
use store::disk::sim::{Fault, Loss, SimDisk};
use store::env::Rng;
use store::env::sim::SimRng;
use store::{FlushMode, Gate, GateState, IndexKind, Level, LogPos, QueueLayout, Store};

/// What a workload does before it is looked at.
const STEPS: usize = 40;
const SECOND_RUN: &str = "/store/barque-queues/00000000000000000001-00000000000000000001";
const TOPICS: [&str; 4] = ["A", "B", "%RETRY%C", BATCHED];

/// A message the store accepted.
#[derive(Debug, Clone)]
struct Sent {
    topic: &'static str,
    id: u32,
    name: String,
    pos: LogPos,
    queue_offset: i64,
    /// Messages inside.
    count: u32,
    gate: Gate,
    is_acknowledged: bool,
    /// Found by an opening: the gate is out of date.
    is_settled: bool,
}

/// Does things to a store and remembers what it was told.
struct Workload {
    rng: SimRng,
    sent: Vec<Sent>,
    refused: Vec<Sent>,
    names: u32,
}

impl Workload {
    fn new(seed: u64) -> Workload {
        Workload {
            rng: SimRng::seeded(seed),
            sent: Vec::new(),
            refused: Vec::new(),
            names: 0,
        }
    }

    fn run(&mut self, rig: &Rig, store: &Store, steps: usize) {
        for _ in 0..steps {
            match self.rng.below(16) {
                0..=8 => self.append(store, 1),
                9 => self.append(store, 3),
                10 | 11 => {
                    store.turn_flush();
                }
                12 => rig.tidy_after(store, 2),
                13 => rig.tidy_after(store, 61),
                _ => store.drive(),
            }
            self.look(rig, store);
        }
        store.drive();
        store.turn_flush();
        self.look(rig, store);
    }

    fn append(&mut self, store: &Store, count: usize) {
        let topic = TOPICS[self.rng.below(4) as usize];
        let id = self.rng.below(2) as u32;
        let queue = store.queue(topic, id);
        let messages: Vec<(String, Vec<u8>, Vec<u8>)> = (0..count)
            .map(|_| {
                self.names += 1;
                let name = format!("m{}", self.names);
                let body = format!("{name} {}", "x".repeat(self.rng.below(300) as usize)).into_bytes();
                (name.clone(), body, properties(&name))
            })
            .collect();
        let drafts: Vec<_> = messages
            .iter()
            .map(|(_, body, properties)| draft(&queue, body, properties))
            .collect();
        // In a batch queue there are records of several messages and others.
        let held = if topic == BATCHED && count == 1 {
            self.rng.below(4) as u32
        } else {
            0
        };
        let receipts = if held > 0 {
            let (properties, sys_flag) = inner(&messages[0].0, held);
            let draft = store::Draft {
                sys_flag,
                properties: &properties,
                ..drafts[0]
            };
            store.append(&draft).map(|receipt| vec![receipt])
        } else {
            store.append_batch(&drafts)
        };
        let Ok(receipts) = receipts else {
            return;
        };
        for ((name, _, _), receipt) in messages.into_iter().zip(receipts) {
            let (pos, queue_offset, gate) = (receipt.pos, receipt.queue_offset, receipt.gate);
            self.sent.push(Sent {
                topic,
                id,
                name,
                pos,
                queue_offset,
                count: held.max(1),
                gate,
                is_acknowledged: false,
                is_settled: false,
            });
        }
        if self.rng.below(2) == 0 {
            store.drive();
        }
    }

    /// Notes what is acknowledged and what is refused. When the machine has stopped nobody hears of a refusal; after a
    /// failed sync nobody knows what the disk holds, and the process ends.
    fn look(&mut self, rig: &Rig, store: &Store) {
        for sent in self.sent.iter_mut().filter(|sent| !sent.is_settled) {
            sent.is_acknowledged |= store.state(&sent.gate, Level::Durable) == GateState::Passed;
        }
        if !rig.disk.is_halted() && store.is_writable() {
            let is_refused = |sent: &mut Sent| {
                !sent.is_settled && store.state(&sent.gate, Level::Written) == GateState::Failed
            };
            self.refused.extend(self.sent.extract_if(.., is_refused));
        }
    }

    /// Everything that must hold after an opening. What was appended and did not make it is forgotten.
    fn check(&mut self, store: &Store, why: &str) {
        let log = walk(store);
        for (record, sent) in log.iter().zip(&self.sent) {
            let body = text(&record.body);
            let name = body.split(' ').next().unwrap_or_default();
            assert_eq!(
                name, sent.name,
                "{why}: the log is a first part of what was appended"
            );
            assert_eq!(
                record.physical_offset, sent.pos.0,
                "{why}: {name} lies where it was promised"
            );
            assert_eq!(
                record.queue_offset, sent.queue_offset,
                "{why}: {name} has the offset it was promised"
            );
        }
        assert!(log.len() <= self.sent.len(), "{why}: the log holds nothing else");
        let lost: Vec<Sent> = self.sent.split_off(log.len());
        if let Some(lost) = lost.iter().find(|lost| lost.is_acknowledged) {
            panic!("{why}: acknowledged message is lost: {lost:?}");
        }
        for sent in &mut self.sent {
            (sent.is_acknowledged, sent.is_settled) = (true, true);
        }
        let mut queues: BTreeMap<(&str, u32), Vec<&Sent>> = BTreeMap::new();
        for sent in &self.sent {
            queues.entry((sent.topic, sent.id)).or_default().push(sent);
        }
        for topic in TOPICS {
            for id in 0..2 {
                let expected = queues.remove(&(topic, id)).unwrap_or_default();
                let found = read_all(store, topic, id);
                let found: Vec<(i64, i64)> = found
                    .iter()
                    .map(|record| (record.queue_offset, record.physical_offset))
                    .collect();
                let ends = expected
                    .iter()
                    .map(|sent| sent.queue_offset + i64::from(sent.count));
                let end = ends.max().unwrap_or(0);
                let expected: Vec<(i64, i64)> = expected
                    .iter()
                    .map(|sent| (sent.queue_offset, sent.pos.0))
                    .collect();
                assert_eq!(found, expected, "{why}: queue {topic}/{id}");
                let max = store.find_queue(topic, id).map_or(0, |queue| queue.max());
                assert_eq!(max, end, "{why}: end of {topic}/{id}");
            }
        }
        for sent in &self.sent {
            let found = find(store, sent.topic, &sent.name, IndexKind::Unique);
            assert!(!found.is_empty(), "{why}: {} is indexed", sent.name);
        }
        for sent in lost.iter().chain(&self.refused) {
            let found = find(store, sent.topic, &sent.name, IndexKind::Unique);
            let is_there = found
                .iter()
                .any(|body| body.split(' ').next() == Some(&sent.name));
            assert!(!is_there, "{why}: {} is not indexed", sent.name);
        }
    }
}

/// Runs a workload up to an operation, crashes, and looks at what comes back; then goes on and looks again.
fn crash_at(seed: u64, op: u64, loss: Loss, flush: FlushMode) -> bool {
    let why = format!("seed {seed}, operation {op}, {loss:?}, {flush:?}");
    let rig = Rig::new(seed, flush);
    rig.disk.halt_at(op);
    let mut workload = Workload::new(seed);
    if let Ok(store) = rig.try_open() {
        workload.run(&rig, &store, STEPS);
        if !rig.disk.is_halted() {
            let closed = store.close();
            assert!(closed.is_ok() || rig.disk.is_halted(), "{why}: {closed:?}");
            workload.look(&rig, &store);
        }
    }
    let is_past_the_end = !rig.disk.is_halted();
    rig.disk.crash(loss);
    let store = rig.open();
    workload.check(&store, &why);
    workload.run(&rig, &store, 20);
    workload.check(&store, &format!("{why}, going on"));
    rig.disk.crash(Loss::Random);
    drop(store);
    let store = rig.open();
    workload.check(&store, &format!("{why}, second crash"));
    workload.run(&rig, &store, 10);
    store.close().expect("store closes");
    drop(store);
    let store = rig.open();
    workload.check(&store, &format!("{why}, orderly end"));
    is_past_the_end
}

/// More operations than this any workload takes. Units of all queues go to one file in the compact layout.
fn ops_min() -> u64 {
    match layout() {
        QueueLayout::Files => 100,
        QueueLayout::Compact => 80,
    }
}

fn crash_everywhere(seed: u64, loss: Loss, flush: FlushMode) {
    for op in 0.. {
        if crash_at(seed, op, loss, flush) {
            assert!(op > ops_min(), "the workload does something: {op} operations");
            return;
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_everything_unsynced_is() {
    crash_everywhere(11, Loss::Everything, FlushMode::Sync);
}

#[test]
fn nothing_acknowledged_is_lost_when_unsynced_writes_are_torn_and_reordered() {
    crash_everywhere(12, Loss::Random, FlushMode::Sync);
    crash_everywhere(16, Loss::Random, FlushMode::Async);
    // Entries of the index whose write was lost, in front of others that were kept.
    crash_everywhere(154, Loss::Random, FlushMode::Async);
}

#[test]
fn nothing_is_lost_when_only_the_process_ends() {
    crash_everywhere(14, Loss::Nothing, FlushMode::Async);
}

#[test]
fn what_was_cut_off_the_index_after_a_crash_does_not_come_back_after_another() {
    for durable in [0, 1] {
        let mut rig = Rig::new(3, FlushMode::Async);
        rig.config.short_checkpoint_bytes = u64::MAX;
        let store = rig.open();
        for number in 0..20 {
            if number == durable && durable > 0 {
                store.turn_flush();
            }
            append(&store, "T", 0, &format!("a{number}")).unwrap();
            store.drive();
        }
        rig.tidy_after(&store, 2);
        // Of the index everything is on the disk, of the log not more than the first message.
        let dir = Path::new("/store/index");
        for entry in rig.disk.list(dir).unwrap() {
            rig.disk.open(&dir.join(&entry.name)).unwrap().sync().unwrap();
        }
        for dir in ["/store/index", "/store"] {
            rig.disk.sync_dir(dir.as_ref()).unwrap();
        }
        rig.disk.crash(Loss::Everything);
        drop(store);
        let store = rig.open();
        assert_eq!(bodies(&store, "T", 0).len(), durable);
        // They lie where the lost ones did.
        let names: Vec<String> = (durable..20).map(|number| format!("b{number}")).collect();
        for name in &names {
            send(&store, "T", 0, name);
        }
        rig.disk.crash(Loss::Everything);
        drop(store);
        let store = rig.open();
        for name in &names {
            let found = find(&store, "T", name, IndexKind::Unique);
            assert_eq!(
                &found,
                std::slice::from_ref(name),
                "{durable} of the first were kept"
            );
        }
    }
    // The same, found by chance.
    crash_at(34, 88, Loss::Random, FlushMode::Async);
    crash_at(8517287965889104865, 50, Loss::Random, FlushMode::Async);
}

/// One operation fails in every possible place; the store goes on or says that it cannot.
fn fail_everywhere(seed: u64, fault: Fault, flush: FlushMode, loss: Loss) {
    for op in 0.. {
        let why = format!("seed {seed}, operation {op}, {fault:?}, {flush:?}");
        let rig = Rig::new(seed, flush);
        let mut workload = Workload::new(seed);
        rig.disk.fail_at(op, fault);
        if let Ok(store) = rig.try_open() {
            workload.run(&rig, &store, STEPS);
            if store.is_writable() {
                // What is pending may still be taken back; a copy forgets it for this look.
                let (sent, refused) = (workload.sent.clone(), workload.refused.clone());
                Workload {
                    sent,
                    refused,
                    ..Workload::new(0)
                }
                .check(&store, &why);
            }
        }
        if rig.disk.ops() <= op {
            assert!(op > ops_min(), "the workload does something: {op} operations");
            return;
        }
        rig.disk.crash(loss);
        let store = rig.open();
        workload.check(&store, &format!("{why}, after a crash"));
        workload.run(&rig, &store, 20);
        store.close().expect("store closes");
        drop(store);
        workload.check(&rig.open(), &format!("{why}, orderly end"));
    }
}

#[test]
fn a_disk_that_breaks_once_costs_only_what_was_refused() {
    fail_everywhere(21, Fault::Broken, FlushMode::Sync, Loss::Random);
    fail_everywhere(21, Fault::Broken, FlushMode::Sync, Loss::Everything);
    fail_everywhere(22, Fault::Broken, FlushMode::Async, Loss::Random);
}

#[test]
fn a_disk_that_is_full_once_costs_only_what_was_refused() {
    fail_everywhere(23, Fault::Full, FlushMode::Async, Loss::Random);
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room_again() {
    let rig = Rig::new(3, FlushMode::Async);
    let store = rig.open();
    for number in 0..20 {
        send(&store, "T", 0, &format!("before {number}"));
    }
    rig.disk.set_full(true);
    for number in 0..20 {
        let receipt = append(&store, "T", 0, &format!("refused {number}")).unwrap();
        store.drive();
        assert_eq!(store.state(&receipt.gate, Level::Written), GateState::Failed);
        rig.tidy_after(&store, 2);
    }
    rig.disk.set_full(false);
    for number in 0..20 {
        let receipt = send(&store, "T", 0, &format!("after {number}"));
        assert_eq!(receipt.queue_offset, 20 + number);
        assert_eq!(store.state(&receipt.gate, Level::Durable), GateState::Passed);
    }
    let expected: Vec<String> = (0..20)
        .map(|number| format!("before {number}"))
        .chain((0..20).map(|number| format!("after {number}")))
        .collect();
    assert_eq!(bodies(&store, "T", 0), expected);
    rig.disk.crash(Loss::Random);
    drop(store);
    assert_eq!(bodies(&rig.open(), "T", 0), expected);
}

#[test]
fn many_senders_and_a_disk_that_fills_up_again_and_again_agree_on_what_is_there() {
    const SENDERS: u32 = 4;
    let rig = Rig::new(3, FlushMode::Async);
    let store = rig.open();
    let sending = AtomicU32::new(SENDERS);
    let acknowledged: Vec<Vec<String>> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|id| {
                let (store, sending) = (&store, &sending);
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    for number in 0..400 {
                        let name = number.to_string();
                        let Ok(receipt) = append(store, "T", id, &name) else {
                            continue;
                        };
                        store.drive();
                        while store.state(&receipt.gate, Level::Written) == GateState::Waiting {
                            std::thread::yield_now();
                        }
                        if store.state(&receipt.gate, Level::Written) == GateState::Passed {
                            acknowledged.push(name);
                        }
                    }
                    sending.fetch_sub(1, Ordering::SeqCst);
                    acknowledged
                })
            })
            .collect();
        let mut is_full = false;
        while sending.load(Ordering::SeqCst) > 0 {
            is_full = !is_full;
            rig.disk.set_full(is_full);
            store.turn_flush();
            std::thread::yield_now();
        }
        rig.disk.set_full(false);
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    store.drive();
    for (id, acknowledged) in acknowledged.iter().enumerate() {
        assert_eq!(&bodies(&store, "T", id as u32), acknowledged, "queue {id}");
    }
    assert_eq!(
        walk(&store).len(),
        acknowledged.iter().map(Vec::len).sum::<usize>()
    );
    store.turn_flush();
    rig.disk.crash(Loss::Random);
    drop(store);
    let store = rig.open();
    for (id, acknowledged) in acknowledged.iter().enumerate() {
        assert_eq!(
            &bodies(&store, "T", id as u32),
            acknowledged,
            "queue {id} after a crash"
        );
    }
}

#[test]
fn messages_appended_behind_a_failed_write_fail_with_it() {
    let rig = Rig::new(3, FlushMode::Async);
    let store = rig.open();
    send(&store, "T", 0, "kept");
    let first = append(&store, "T", 0, "a").unwrap();
    let second = append(&store, "T", 1, "b").unwrap();
    rig.disk.fail_at(rig.disk.ops(), Fault::Broken);
    store.drive();
    for receipt in [first, second] {
        assert_eq!(store.state(&receipt.gate, Level::Written), GateState::Failed);
    }
    let again = send(&store, "T", 0, "c");
    assert_eq!((again.pos, again.queue_offset), (first.pos, first.queue_offset));
    // The position is taken by another message now; the old gate does not mistake it for its own.
    assert_eq!(store.state(&first.gate, Level::Durable), GateState::Failed);
    assert_eq!(store.state(&again.gate, Level::Durable), GateState::Passed);
    assert_eq!(bodies(&store, "T", 0), ["kept", "c"]);
    assert!(bodies(&store, "T", 1).is_empty());
}

#[test]
fn a_failed_sync_is_the_end_and_is_never_retried() {
    let rig = Rig::new(3, FlushMode::Sync);
    let store = rig.open();
    let kept = send(&store, "T", 0, "kept");
    let receipt = append(&store, "T", 0, "lost").unwrap();
    store.drive();
    rig.disk.fail_at(rig.disk.ops(), Fault::Broken);
    store.turn_flush();
    let ops = rig.disk.ops();
    assert_eq!(store.state(&receipt.gate, Level::Durable), GateState::Failed);
    assert_eq!(store.state(&receipt.gate, Level::Written), GateState::Failed);
    assert_eq!(store.state(&kept.gate, Level::Durable), GateState::Passed);
    assert!(append(&store, "T", 0, "more").is_err());
    assert!(!store.turn_flush());
    rig.tidy_after(&store, 100);
    assert!(store.close().is_err());
    assert_eq!(rig.disk.ops(), ops, "the disk is left alone");
    rig.disk.crash(Loss::Everything);
    drop(store);
    assert_eq!(bodies(&rig.open(), "T", 0), ["kept"]);
}

#[test]
fn a_failed_sync_of_a_caller_is_the_end_too() {
    let rig = Rig::new(3, FlushMode::Sync);
    let store = rig.open();
    let kept = send(&store, "T", 0, "kept");
    let receipt = append(&store, "T", 0, "lost").unwrap();
    assert!(store.drive_to_sync());
    rig.disk.fail_at(rig.disk.ops(), Fault::Broken);
    store.sync_soon();
    let ops = rig.disk.ops();
    assert_eq!(store.state(&receipt.gate, Level::Durable), GateState::Failed);
    assert_eq!(store.state(&kept.gate, Level::Durable), GateState::Passed);
    assert!(append(&store, "T", 0, "more").is_err());
    store.sync_soon();
    assert!(store.close().is_err());
    assert_eq!(rig.disk.ops(), ops, "the disk is left alone");
    rig.disk.crash(Loss::Everything);
    drop(store);
    assert_eq!(bodies(&rig.open(), "T", 0), ["kept"]);
}

#[test]
fn what_is_acknowledged_after_a_failed_sync_and_a_new_start_outlives_a_power_cut() {
    for layout in [QueueLayout::Files, QueueLayout::Compact] {
        let mut rig = Rig::new(3, FlushMode::Sync);
        rig.config.queue_layout = layout;
        let store = rig.open();
        send(&store, "T", 0, "kept");
        rig.tidy_after(&store, 61);
        append(&store, "T", 0, "refused").unwrap();
        store.drive();
        rig.disk.fail_at(rig.disk.ops(), Fault::Broken);
        assert!(!store.turn_flush());
        drop(store);
        // Only the process ends: what was not synced can be read, and seems to be.
        rig.disk.crash(Loss::Nothing);
        let store = rig.open();
        let found = bodies(&store, "T", 0);
        send(&store, "T", 0, "new");
        drop(store);
        rig.disk.crash(Loss::Everything);
        let store = rig.open();
        let expected: Vec<_> = found.iter().map(String::as_str).chain(["new"]).collect();
        assert_eq!(bodies(&store, "T", 0), expected, "{layout:?}");
    }
}

#[test]
fn one_sync_serves_everybody_who_waits() {
    let mut rig = Rig::new(3, FlushMode::Sync);
    rig.config.segment_bytes = 1 << 20;
    let store = rig.open();
    send(&store, "T", 0, "first");
    let receipts: Vec<_> = (0..200)
        .map(|number| append(&store, "T", number % 8, "a message").unwrap())
        .collect();
    let ops = rig.disk.ops();
    store.drive();
    store.turn_flush();
    assert_eq!(rig.disk.ops() - ops, 2, "one write and one sync");
    for receipt in receipts {
        assert_eq!(store.state(&receipt.gate, Level::Durable), GateState::Passed);
    }
}

#[test]
fn recovery_reads_what_came_after_the_checkpoint_and_not_the_whole_log() {
    let read_to_open = |messages: usize| {
        let mut rig = Rig::new(4, FlushMode::Async);
        rig.config.segment_bytes = 64 << 10;
        rig.config.index_slots = 100;
        rig.config.index_entries = 100_000;
        rig.config.queue_file_bytes = 20 * 100_000;
        let store = rig.open();
        for number in 0..messages {
            append(&store, "T", 0, &number.to_string()).unwrap();
            if number % 50 == 0 {
                store.drive();
            }
        }
        store.drive();
        rig.tidy_after(&store, 61);
        for number in 0..10 {
            send(&store, "T", 0, &format!("late {number}"));
        }
        rig.disk.crash(Loss::Everything);
        drop(store);
        let before = rig.disk.bytes_read();
        let store = rig.open();
        assert_eq!(store.queue("T", 0).max(), messages as i64 + 10);
        rig.disk.bytes_read() - before
    };
    let (few, many) = (read_to_open(500), read_to_open(20_000));
    // Five megabytes of log more; what grows is the index file whose slots are made anew.
    assert!(
        many < few + 20_000 * 4 * 20 + (256 << 10),
        "{few} and {many} bytes"
    );
}

#[test]
fn a_checkpoint_is_due_after_so_many_bytes() {
    let mut rig = Rig::new(4, FlushMode::Async);
    rig.config.checkpoint_bytes = 20_000;
    rig.config.short_checkpoint_bytes = u64::MAX;
    let store = rig.open();
    rig.tidy_after(&store, 1);
    let safe = |disk: &SimDisk| disk.load("/store/checkpoint".as_ref()).unwrap();
    let before = safe(&rig.disk);
    for number in 0..30 {
        send(&store, "T", 0, &number.to_string());
    }
    rig.tidy_after(&store, 1);
    assert!(safe(&rig.disk) == before);
    for number in 0..200 {
        send(&store, "T", 0, &number.to_string());
    }
    rig.tidy_after(&store, 1);
    assert!(safe(&rig.disk) != before);
}

/// A file or a directory, and what becomes of it.
type Lost = (&'static str, fn(&SimDisk, &Path));

#[test]
fn missing_queues_and_index_are_made_anew() {
    let gone = |disk: &SimDisk, path: &Path| disk.remove_tree(path).unwrap();
    let cut = |disk: &SimDisk, path: &Path| disk.open(path).unwrap().set_len(10).unwrap();
    let cases: &[Lost] = match layout() {
        QueueLayout::Files => &[
            ("/store/consumequeue", gone),
            ("/store/consumequeue/T/0", gone),
            ("/store/consumequeue/T/0/00000000000000000320", gone),
            ("/store/index", gone),
        ],
        QueueLayout::Compact => &[
            // Without the first the others do not count, and queues are in files until they are converted.
            ("/store/barque-queues", gone),
            (FIRST_RUN, gone),
            (FIRST_RUN, cut),
            (SECOND_RUN, gone),
            (SECOND_RUN, cut),
            ("/store/index", gone),
        ],
    };
    for (lost, lose) in cases {
        for is_crash in [false, true] {
            let rig = Rig::new(4, FlushMode::Async);
            let store = rig.open();
            for number in 0..50 {
                send(&store, "T", 0, &number.to_string());
                send(&store, "T", 1, &number.to_string());
                if number == 24 {
                    rig.tidy_after(&store, 61);
                }
            }
            rig.tidy_after(&store, 61);
            if is_crash {
                send(&store, "T", 0, "50");
                rig.disk.crash(Loss::Nothing);
            } else {
                store.close().unwrap();
            }
            drop(store);
            let why = format!("{lost}, crash {is_crash}");
            assert!(rig.disk.entry(lost.as_ref()).unwrap().is_some(), "{why}");
            lose(&rig.disk, lost.as_ref());
            let store = rig.open();
            let expected: Vec<String> = (0..50 + i32::from(is_crash))
                .map(|number| number.to_string())
                .collect();
            assert_eq!(bodies(&store, "T", 0), expected, "{why}");
            assert_eq!(bodies(&store, "T", 1), expected[..50], "{why}");
            assert_eq!(find(&store, "T", "3", IndexKind::Unique), ["3", "3"], "{why}");
            assert_eq!(send(&store, "T", 1, "x").queue_offset, 50, "{why}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_crash_of_any_workload_is_survived(seed: u64, op in 0u64..500, is_sync: bool) {
        let flush = if is_sync { FlushMode::Sync } else { FlushMode::Async };
        crash_at(seed, op, Loss::Random, flush);
    }
}
