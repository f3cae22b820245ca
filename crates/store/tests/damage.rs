// SPDX-License-Identifier: Apache-2.0
//! Every kind of bytes of every kind of file, damaged, after an orderly end and after a kill.
//!
//! What must hold: all messages but the damaged one are there, once and in order, and a reader gets past it; a body that is not
//! what was sent is never given out; what is lost is told, with file and place; what is derived is made anew. Or the store does
//! not open, and says which file is to blame and what mends it; then that mends it. `inspect::check` finds the damage, and
//! nothing that can be mended after `inspect::repair`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/rig.rs"]
mod rig;
#[path = "support/warnings.rs"]
mod warnings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rig::*;
use store::disk::Disk;
use store::disk::sim::Loss;
use store::inspect;
use store::{All, FlushMode, IndexKind, OpenError, QueueLayout, ReadError, Receipt, Store};
use warnings::Warnings;
use wire::record::Record;

const QUEUES: [(&str, u32); 3] = [("T", 0), ("T", 1), ("Other", 0)];
const ROUNDS: usize = 40;
/// Rounds in front of the last whole checkpoint.
const SAFE_ROUNDS: usize = 25;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Orderly,
    Killed,
}

const ENDS: [End; 2] = [End::Orderly, End::Killed];

#[derive(Debug, Clone, Copy)]
enum Harm {
    /// These bits of the first byte.
    Flip(u8),
    /// So many bytes.
    Zero(usize),
    /// So many bytes of something else.
    Noise(usize),
}

/// A message that was sent and acknowledged.
#[derive(Debug, Clone)]
struct Sent {
    queue: (&'static str, u32),
    name: String,
    pos: i64,
    size: usize,
    body: usize,
    properties: usize,
}

struct World {
    rig: Rig,
    sent: Vec<Sent>,
    end: i64,
}

impl World {
    fn new(end: End, is_sealed: bool) -> World {
        let mut rig = Rig::new(5, FlushMode::Async);
        rig.config.seal_records = is_sealed;
        rig.config.short_checkpoint_bytes = u64::MAX;
        let store = rig.open();
        for round in 0..ROUNDS {
            for (topic, id) in QUEUES {
                send(&store, topic, id, &format!("{topic}-{id}-{round}"));
            }
            if round + 1 == SAFE_ROUNDS {
                rig.tidy_after(&store, 61);
            }
        }
        rig.tidy_after(&store, 2);
        let mut sent = Vec::new();
        for record in walk(&store) {
            let queue = QUEUES
                .into_iter()
                .find(|(topic, id)| (*topic, *id) == (&*record.topic, record.queue_id));
            sent.push(Sent {
                queue: queue.expect("one of ours"),
                name: text(&record.body),
                pos: record.physical_offset,
                size: record.total_size,
                body: record.body.len(),
                properties: record.properties.len(),
            });
        }
        assert_eq!(sent.len(), ROUNDS * QUEUES.len());
        let log_end = store.written().0;
        match end {
            End::Orderly => store.close().expect("store closes"),
            End::Killed => rig.disk.crash(Loss::Nothing),
        }
        drop(store);
        World {
            rig,
            sent,
            end: log_end,
        }
    }

    fn harm(&self, path: &Path, at: u64, harm: Harm) {
        let file = self.rig.disk.open(path).expect("file is there");
        let len = match harm {
            Harm::Flip(_) => 1,
            Harm::Zero(len) | Harm::Noise(len) => len,
        };
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, at).expect("bytes are there");
        let before = bytes.clone();
        match harm {
            Harm::Flip(bits) => bytes[0] ^= bits,
            Harm::Zero(_) => bytes.fill(0),
            Harm::Noise(_) => bytes
                .iter_mut()
                .for_each(|byte| *byte = byte.wrapping_mul(7).wrapping_add(91)),
        }
        assert!(
            bytes != before,
            "{} at {at}: {harm:?} changes something",
            path.display()
        );
        file.write_at(&bytes, at).expect("file is written");
        file.sync().expect("file is synced");
    }

    fn log_file(&self, pos: i64) -> (PathBuf, u64) {
        let size = self.rig.config.segment_bytes as i64;
        let base = pos / size * size;
        (
            format!("/store/commitlog/{base:020}").into(),
            (pos - base).unsigned_abs(),
        )
    }

    /// Opens and reads everything; `victims` are those that may be lost.
    fn expect_all_but(&self, victims: &[usize], why: &str) -> Vec<Found> {
        let store = self.rig.open();
        let found = self.read(&store, victims, why);
        // And it goes on, also after another kill.
        let mut fresh: Vec<(usize, Sent)> = Vec::new();
        for (nth, queue) in QUEUES.into_iter().enumerate() {
            let name = format!("fresh {nth}");
            let receipt = send(&store, queue.0, queue.1, &name);
            assert!(receipt.pos.0 >= self.end, "{why}: no position is given out twice");
            let known = self.sent.iter().filter(|sent| sent.queue == queue).count() as i64;
            assert!(
                receipt.queue_offset >= known - victims.len() as i64,
                "{why}: {name} at {}",
                receipt.queue_offset
            );
            let at = read_all(&store, queue.0, queue.1);
            assert_eq!(at.last().map(|record| text(&record.body)), Some(name), "{why}");
            fresh.push((nth, self.sent[0].clone()));
        }
        store.turn_tidy();
        self.rig.disk.crash(Loss::Nothing);
        drop(store);
        let store = self.rig.open();
        self.read(&store, victims, &format!("{why}, after a kill"));
        store.close().expect("store closes");
        found
    }

    fn read(&self, store: &Arc<Store>, victims: &[usize], why: &str) -> Vec<Found> {
        let mut found = Vec::new();
        for (topic, id) in QUEUES {
            let records = read_all(store, topic, id);
            let names: Vec<String> = records.iter().map(|record| text(&record.body)).collect();
            let names: Vec<&String> = names.iter().filter(|name| !name.starts_with("fresh")).collect();
            let expected = self
                .sent
                .iter()
                .enumerate()
                .filter(|(_, sent)| sent.queue == (topic, id));
            let lost: Vec<&str> = victims
                .iter()
                .map(|victim| self.sent[*victim].name.as_str())
                .collect();
            let is_lost = |name: &str| lost.contains(&name);
            let rest: Vec<&String> = expected
                .map(|(_, sent)| &sent.name)
                .filter(|name| !is_lost(name))
                .collect();
            let got: Vec<&String> = names.iter().copied().filter(|name| !is_lost(name)).collect();
            assert_eq!(got, rest, "{why}: queue {topic}/{id}");
            for (record, name) in records.iter().zip(names) {
                if is_lost(name) {
                    found.push(Found(record.clone()));
                }
            }
        }
        found
    }

    fn check(&self) -> inspect::Report {
        inspect::check(&self.rig.config, &self.rig.env()).expect("store can be looked at")
    }

    /// Mends, and finds nothing afterwards that could be mended.
    fn repair(&self, why: &str) {
        let before = self.rig.disk.bytes_written();
        let dry = inspect::repair(&self.rig.config, &self.rig.env(), true).expect("it can be looked at");
        assert!(!dry.actions.is_empty(), "{why}");
        assert_eq!(self.rig.disk.bytes_written(), before, "{why}: nothing is written");
        let done = inspect::repair(&self.rig.config, &self.rig.env(), false).expect("it can be mended");
        assert!(done.copies.is_some(), "{why}");
        let left = self.check();
        assert!(!left.is_mendable(), "{why}: {:?}", left.findings);
    }
}

/// A victim that was given out nevertheless.
struct Found(Record);

/// What of a record is damaged.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: &'static str,
    at: fn(&Sent) -> usize,
    harm: Harm,
    /// The CRCs that every record has cover it: it is never given out.
    is_covered: bool,
}

const fn field(name: &'static str, at: fn(&Sent) -> usize, harm: Harm, is_covered: bool) -> Field {
    Field {
        name,
        at,
        harm,
        is_covered,
    }
}

fn topic_at(sent: &Sent) -> usize {
    89 + sent.body
}

fn properties_at(sent: &Sent) -> usize {
    sent.size - sent.properties
}

const FIELDS: [Field; 30] = [
    field("size", |_| 3, Harm::Flip(1), true),
    field("size, sign", |_| 0, Harm::Flip(0x80), true),
    field("size, large", |_| 2, Harm::Flip(0x80), true),
    field("size, zero", |_| 0, Harm::Zero(4), true),
    field("magic", |_| 7, Harm::Flip(1), true),
    field("magic of the other version", |_| 7, Harm::Flip(0x0C), true),
    field("magic, zero", |_| 4, Harm::Zero(4), true),
    field("size and magic, zero", |_| 0, Harm::Zero(8), true),
    field("CRC", |_| 8, Harm::Flip(1), true),
    field("CRC, zero", |_| 8, Harm::Zero(4), true),
    field("queue id", |_| 15, Harm::Flip(0x40), false),
    field("flag", |_| 18, Harm::Flip(2), false),
    field("queue offset, high", |_| 21, Harm::Flip(1), false),
    field("queue offset, far", |_| 25, Harm::Flip(2), false),
    field("queue offset, near", |_| 27, Harm::Flip(8), false),
    field("position", |_| 35, Harm::Flip(4), true),
    field("position, zero", |_| 28, Harm::Noise(8), true),
    field("sys flag, address", |_| 39, Harm::Flip(0x10), true),
    field("sys flag, transaction", |_| 39, Harm::Flip(0x04), false),
    field("born", |_| 44, Harm::Flip(1), false),
    field("stored", |_| 60, Harm::Flip(1), false),
    field("store host", |_| 64, Harm::Flip(1), false),
    field("body length", |_| 87, Harm::Flip(1), true),
    field("body", |_| 88, Harm::Flip(1), true),
    field("body, zero", |_| 88, Harm::Zero(4), true),
    field("topic length", |sent| 88 + sent.body, Harm::Flip(1), true),
    field("topic", topic_at, Harm::Flip(0x20), false),
    field("topic, no text", topic_at, Harm::Flip(0x80), true),
    field(
        "properties length",
        |sent| properties_at(sent) - 1,
        Harm::Flip(1),
        true,
    ),
    field("properties", |sent| properties_at(sent) + 6, Harm::Flip(2), false),
];

/// The first record of the log, one in an older file, one right behind the checkpoint, one in the newest file, the last one.
fn victims(world: &World) -> [usize; 5] {
    let all = world.sent.len();
    [0, 20, SAFE_ROUNDS * QUEUES.len() + 1, all - 7, all - 1]
}

#[test]
fn a_damaged_record_costs_no_other_and_is_told() {
    for end in ENDS {
        for is_sealed in [false, true] {
            for field in FIELDS {
                for victim in victims(&World::new(end, is_sealed)) {
                    let why = format!("{} of record {victim}, {end:?}, sealed {is_sealed}", field.name);
                    a_damaged_record(&why, end, (is_sealed, field, victim));
                }
            }
        }
    }
}

fn a_damaged_record(why: &str, end: End, (is_sealed, field, victim): (bool, Field, usize)) {
    let is_covered = field.is_covered || is_sealed;
    let world = World::new(end, is_sealed);
    let sent = &world.sent[victim];
    let (path, at) = world.log_file(sent.pos);
    world.harm(&path, at + (field.at)(sent) as u64, field.harm);
    let report = world.check();
    if is_covered {
        let of_file = report.findings.iter().find(|finding| finding.file == path);
        assert!(of_file.is_some(), "{why}: {:?}", report.findings);
    }
    let (found, lines) = Warnings::of(|| world.expect_all_but(&[victim], why));
    for Found(record) in &found {
        assert!(!is_covered, "{why}: the damaged record is given out");
        assert_eq!(text(&record.body), sent.name, "{why}");
    }
    if is_covered {
        let (name, place) = (path.display().to_string(), format!("={}", sent.pos));
        let is_told = |line: &String| {
            line.contains(&name) && line.split_whitespace().any(|word| word.ends_with(&place))
        };
        assert!(lines.iter().any(is_told), "{why}, at {place}: {lines:?}");
        let world = World::new(end, is_sealed);
        world.harm(&path, at + (field.at)(sent) as u64, field.harm);
        world.repair(why);
        let found = world.expect_all_but(&[victim], &format!("{why}, mended"));
        assert!(found.is_empty(), "{why}");
    }
}

#[test]
fn a_damaged_stretch_of_the_log_costs_what_was_in_it() {
    for end in ENDS {
        for (from, to) in [(0, 3), (24, 90), (60, 61), (100, 120)] {
            for harm in [Harm::Zero(0), Harm::Noise(0)] {
                let world = World::new(end, false);
                let lost: Vec<usize> = (from..to).collect();
                let why = format!("records {from} to {to}, {harm:?}, {end:?}");
                for victim in &lost {
                    let sent = &world.sent[*victim];
                    let (path, at) = world.log_file(sent.pos);
                    let harm = match harm {
                        Harm::Zero(_) => Harm::Zero(sent.size),
                        _ => Harm::Noise(sent.size),
                    };
                    world.harm(&path, at, harm);
                }
                let report = world.check();
                assert!(report.is_mendable(), "{why}");
                let (found, lines) = Warnings::of(|| world.expect_all_but(&lost, &why));
                assert!(found.is_empty(), "{why}");
                assert!(
                    lines.iter().any(|line| line.contains("/store/commitlog/")),
                    "{why}: {lines:?}"
                );
            }
        }
    }
}

#[test]
fn a_torn_end_of_the_log_is_cut_in_silence() {
    for cut in [1, 50, 120] {
        let world = World::new(End::Killed, false);
        let (path, at) = world.log_file(world.end);
        // What came after the last note of how far the log is on the disk, and never wholly got there.
        let (_, sent_at) = world.log_file(world.sent[5].pos);
        let file = world.rig.disk.open(&path).unwrap();
        let mut record = vec![0; world.sent[5].size];
        let first = world.rig.disk.open(&world.log_file(0).0).unwrap();
        first.read_exact_at(&mut record, sent_at).unwrap();
        record[28..36].copy_from_slice(&world.end.to_be_bytes());
        file.write_at(&record[..cut.min(record.len() - 1)], at).unwrap();
        let (_, lines) = Warnings::of(|| world.expect_all_but(&[], "torn"));
        assert!(lines.is_empty(), "{lines:?}");
    }
}

#[test]
fn what_lies_behind_damage_counts_however_late_it_came_unless_the_power_was_cut() {
    let behind_damage = |loss: Loss| {
        let world = World::new(End::Killed, false);
        let store = world.rig.open();
        let (topic, id) = QUEUES[0];
        // Nobody notes any more how far the log is.
        let fresh: Vec<_> = (0..4)
            .map(|nth| send(&store, topic, id, &format!("fresh {nth}")))
            .collect();
        let (path, at) = world.log_file(fresh[1].pos.0);
        world.harm(&path, at + 90, Harm::Flip(1));
        world.rig.disk.crash(loss);
        drop(store);
        let store = world.rig.open();
        let found = world.read(&store, &[], "behind damage");
        assert!(found.is_empty());
        let all = read_all(&store, topic, id);
        let all = all.iter().map(|record| text(&record.body));
        (
            all.filter(|name| name.starts_with("fresh")).collect::<Vec<_>>(),
            store.written().0 > fresh[2].pos.0,
        )
    };
    let (names, goes_on) = behind_damage(Loss::Nothing);
    assert!(names == ["fresh 0", "fresh 2", "fresh 3"] && goes_on, "{names:?}");
    // There is no telling damage from what the power cut left of the last writes.
    let (names, goes_on) = behind_damage(Loss::Everything);
    assert!(names == ["fresh 0"] && !goes_on, "{names:?}");
}

#[test]
fn what_comes_behind_damage_that_was_passed_over_outlives_a_power_cut() {
    for flush in [FlushMode::Sync, FlushMode::Async] {
        let rig = Rig::new(1, flush);
        let store = rig.open();
        let sent: Vec<_> = (0..4).map(|nth| send(&store, "A", 0, &nth.to_string())).collect();
        store.turn_flush();
        let path = "/store/commitlog/00000000000000000000";
        flip(&rig, path, sent[1].pos.0.unsigned_abs() + 88, 1);
        rig.disk.crash(Loss::Nothing);
        drop(store);
        let store = rig.open();
        send(&store, "A", 0, "late");
        store.turn_flush();
        rig.disk.crash(Loss::Everything);
        drop(store);
        let store = rig.open();
        let all = read_all(&store, "A", 0);
        let all: Vec<_> = all.iter().map(|record| text(&record.body)).collect();
        assert_eq!(all, ["0", "2", "3", "late"], "{flush:?}");
    }
}

#[test]
fn a_damaged_message_keeps_its_place_in_its_queue() {
    for is_sealed in [false, true] {
        for behind in 0..4 {
            let world = World::new(End::Killed, is_sealed);
            let store = world.rig.open();
            let (topic, id) = QUEUES[0];
            let fresh: Vec<_> = (0..=behind)
                .map(|nth| send(&store, topic, id, &format!("fresh {nth}")))
                .collect();
            // Or it would be the rest of a write that was never finished.
            send(&store, QUEUES[1].0, QUEUES[1].1, "fresh behind all");
            let (path, at) = world.log_file(fresh[0].pos.0);
            // Of the body, so that it says of itself what it was.
            world.harm(&path, at + 90, Harm::Flip(1));
            world.rig.disk.crash(Loss::Nothing);
            drop(store);
            let (store, lines) = Warnings::of(|| world.rig.open());
            assert!(lines.iter().all(|line| !line.contains("rebuilt")), "{lines:?}");
            let next = send(&store, topic, id, "next");
            assert_eq!(
                next.queue_offset,
                fresh[0].queue_offset + 1 + behind,
                "{behind} behind it"
            );
            let all = read_all(&store, topic, id);
            let all: Vec<i64> = all.iter().map(|record| record.queue_offset).collect();
            assert!(!all.contains(&fresh[0].queue_offset) && all.contains(&next.queue_offset));
            assert_eq!(all.len() as i64, next.queue_offset, "one is missing");
            // And so it stays.
            store.turn_tidy();
            world.rig.disk.crash(Loss::Nothing);
            drop(store);
            let store = world.rig.open();
            let again = read_all(&store, topic, id);
            assert_eq!(
                again.last().map(|record| record.queue_offset),
                Some(next.queue_offset)
            );
            assert_eq!(again.len() as i64, next.queue_offset);
            store.close().expect("store closes");
            let report = world.check();
            let others = report.findings.iter().filter(|finding| finding.file != path);
            assert_eq!(others.count(), 0, "{:?}", report.findings);
        }
    }
}

/// Nothing sound follows, but the note says that the log went on: so it is damage, and not the rest of a write.
#[test]
fn a_damaged_message_at_the_end_of_the_log_keeps_its_place_if_the_log_is_known_to_go_on() {
    for layout in [QueueLayout::Files, QueueLayout::Compact] {
        for loss in [Loss::Nothing, Loss::Everything] {
            for damaged in 1..4 {
                let mut rig = Rig::new(5, FlushMode::Async);
                rig.config.queue_layout = layout;
                let store = rig.open();
                send(&store, "T", 0, "0");
                rig.tidy_after(&store, 61);
                let fresh = ["1", "2", "3"].map(|name| send(&store, "T", 0, name));
                // Notes how far the log is.
                rig.tidy_after(&store, 2);
                for receipt in &fresh[3 - damaged..] {
                    let path = "/store/commitlog/00000000000000000000";
                    flip(&rig, path, receipt.pos.0.unsigned_abs() + 88, 1);
                }
                let note = rig.disk.open("/store/barque-reached".as_ref()).unwrap();
                note.sync().unwrap();
                rig.disk.crash(loss);
                drop(store);
                let why = format!("{damaged} damaged, {layout:?}, {loss:?}");
                let store = rig.open();
                assert_eq!(store.queue("T", 0).max(), 4, "{why}");
                assert_eq!(send(&store, "T", 0, "next").queue_offset, 4, "{why}");
                let mut expected: Vec<i64> = (0..4 - damaged as i64).collect();
                expected.push(4);
                assert_eq!(offsets(&store, 0), expected, "{why}");
                // And so it stays.
                rig.disk.crash(Loss::Nothing);
                drop(store);
                let store = rig.open();
                assert_eq!(offsets(&store, 0), expected, "{why}, again");
                assert_eq!(send(&store, "T", 0, "another").queue_offset, 5, "{why}, again");
            }
        }
    }
}

/// Messages by their place in the order of sending, and what of them is flipped.
type Flips<'a> = &'a [(usize, (u64, u8))];

/// One flipped bit makes queue 1 of queue 3, which is as long: what the damaged record says fits there, and is not true.
#[test]
fn a_damaged_record_that_names_another_queue_takes_no_place_there() {
    let id = (15, 2);
    let body = (90, 1);
    // Queues in the order of sending.
    let cases: [(&[u32], Flips<'_>); 8] = [
        (&[1, 3], &[(0, id)]),
        (&[1, 3, 1, 3], &[(0, id)]),
        (&[1, 1, 3, 3], &[(0, id), (1, id)]),
        (&[1, 1, 3, 3, 3, 1], &[(0, id), (1, id)]),
        (&[1, 1, 3, 1, 3], &[(0, id), (1, id)]),
        // The same place is said twice, and once that is true.
        (&[1, 3, 3, 3], &[(0, id), (1, body)]),
        (&[1, 1, 3, 3, 3], &[(0, id), (1, id), (2, body)]),
        (&[1, 3, 3, 1, 3], &[(1, body), (2, body), (0, id)]),
    ];
    for layout in [QueueLayout::Files, QueueLayout::Compact] {
        for (order, damaged) in cases {
            let why = format!("{order:?}, {damaged:?}, {layout:?}");
            let mut rig = Rig::new(5, FlushMode::Async);
            rig.config.seal_records = true;
            rig.config.queue_layout = layout;
            let mut sent = sent_and_damaged(&rig, order, damaged);
            let store = rig.open();
            for queue in [1, 3] {
                let receipt = send(&store, "T", queue, "next");
                let known = sent.iter().filter(|(of, _)| *of == queue).count() as i64 + 4;
                assert!(receipt.queue_offset + 2 >= known, "{why}: {receipt:?}");
                sent.push((queue, receipt));
            }
            let expected = |queue: u32| -> Vec<i64> {
                let is_lost = |nth: &usize| damaged.iter().any(|(lost, _)| lost == nth);
                let of_queue = sent.iter().enumerate().filter(|(_, (of, _))| *of == queue);
                let sound = of_queue.filter(|(nth, _)| !is_lost(nth));
                (0..4)
                    .chain(sound.map(|(_, (_, receipt))| receipt.queue_offset))
                    .collect()
            };
            assert_eq!(
                [1, 3].map(|id| offsets(&store, id)),
                [1, 3].map(expected),
                "{why}"
            );
            // And so it stays.
            store.turn_tidy();
            rig.disk.crash(Loss::Nothing);
            drop(store);
            let store = rig.open();
            let again = [1, 3].map(|id| offsets(&store, id));
            assert_eq!(again, [1, 3].map(expected), "{why}, again");
        }
    }
}

/// A store with four messages each in two queues and then some more, which is killed.
fn sent_and_damaged(rig: &Rig, order: &[u32], damaged: Flips<'_>) -> Vec<(u32, Receipt)> {
    let store = rig.open();
    for _ in 0..4 {
        send(&store, "T", 1, "first");
        send(&store, "T", 3, "first");
    }
    rig.tidy_after(&store, 61);
    let sent: Vec<_> = order
        .iter()
        .map(|queue| (*queue, send(&store, "T", *queue, "later")))
        .collect();
    // Or it would be the rest of a write that was never finished.
    send(&store, "Other", 0, "behind all");
    for (nth, (at, bits)) in damaged {
        let path = "/store/commitlog/00000000000000000000";
        flip(rig, path, sent[*nth].1.pos.0.unsigned_abs() + at, *bits);
    }
    rig.disk.crash(Loss::Nothing);
    sent
}

fn offsets(store: &Store, id: u32) -> Vec<i64> {
    let all = read_all(store, "T", id);
    all.iter().map(|record| record.queue_offset).collect()
}

fn flip(rig: &Rig, path: &str, at: u64, bits: u8) {
    let file = rig.disk.open(Path::new(path)).expect("file is there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is there");
    file.write_at(&[byte[0] ^ bits], at).expect("file is written");
    file.sync().expect("file is synced");
}

/// Where the entry of a message is.
fn entry_of(world: &World, (topic, id): (&str, u32), offset: u64) -> (PathBuf, u64) {
    let bytes = world.rig.config.queue_file_bytes;
    let at = offset * 20;
    let base = at / bytes * bytes;
    (
        format!("/store/consumequeue/{topic}/{id}/{base:020}").into(),
        at - base,
    )
}

#[test]
fn a_damaged_entry_of_a_queue_costs_nothing() {
    let fields: [(&str, u64, Harm); 9] = [
        ("position", 7, Harm::Flip(1)),
        ("position, high", 1, Harm::Flip(1)),
        ("position, sign", 0, Harm::Flip(0x80)),
        ("size", 11, Harm::Flip(1)),
        ("size, sign", 8, Harm::Flip(0x80)),
        ("size, large", 9, Harm::Flip(0x10)),
        ("tag", 19, Harm::Flip(1)),
        ("zero", 0, Harm::Zero(20)),
        ("noise", 0, Harm::Noise(20)),
    ];
    for end in ENDS {
        for (name, at, harm) in fields {
            for offset in [0, 1, 7, 8, 12, 24, 39] {
                let why = format!("{name} of entry {offset}, {end:?}");
                let world = World::new(end, false);
                let (path, base) = entry_of(&world, ("T", 0), offset);
                world.harm(&path, base + at, harm);
                let report = world.check();
                let told = report.findings.iter().any(|finding| finding.file == path);
                // What lies behind the checkpoint is written again after a kill.
                assert!(
                    told || end == End::Killed && offset as usize >= SAFE_ROUNDS,
                    "{why}: {:?}",
                    report.findings
                );
                world.expect_all_but(&[], &why);
                if told {
                    let world = World::new(end, false);
                    world.harm(&path, base + at, harm);
                    world.repair(&why);
                    let (_, lines) = Warnings::of(|| world.expect_all_but(&[], &why));
                    assert!(lines.is_empty(), "{why}: {lines:?}");
                }
            }
        }
    }
}

#[test]
fn consumers_that_filter_get_the_messages_of_damaged_entries() {
    struct Tag(i64);
    impl store::Filter for Tag {
        fn by_code(&self, code: i64) -> bool {
            code == self.0
        }
    }
    for (at, harm) in [(0, Harm::Zero(20)), (7, Harm::Flip(1)), (8, Harm::Zero(4))] {
        let world = World::new(End::Orderly, false);
        let (path, base) = entry_of(&world, ("T", 0), 12);
        world.harm(&path, base + at, harm);
        let store = world.rig.open();
        let queue = store.find_queue("T", 0).unwrap();
        let read = |tag| {
            store
                .read(&queue, 0, &MANY, &Tag(wire::properties::tags_code(tag)))
                .unwrap()
        };
        assert_eq!(read("Tag").count, ROUNDS, "{harm:?}");
        assert_eq!(read("Another").count, 0, "{harm:?}");
    }
}

#[test]
fn a_whole_page_of_damaged_entries_costs_nothing() {
    for end in ENDS {
        for (first, count) in [(0, 8), (2, 4), (8, 8), (32, 8)] {
            let world = World::new(end, false);
            let (path, at) = entry_of(&world, ("T", 1), first);
            world.harm(&path, at, Harm::Zero(count * 20));
            world.expect_all_but(&[], &format!("{count} entries from {first}, {end:?}"));
        }
    }
}

#[test]
fn a_search_by_time_leaves_out_no_message_of_a_damaged_entry() {
    for (first, count) in [(0, 1), (0, 2), (1, 2), (3, 1), (4, 4), (7, 1), (0, 8)] {
        // A flipped bit of the position names another place.
        for harm in [Harm::Zero(20), Harm::Noise(20), Harm::Flip(1)] {
            let rig = Rig::new(1, FlushMode::Async);
            let store = rig.open();
            for nth in 0..8 {
                send(&store, "T", 0, &nth.to_string());
                rig.tidy_after(&store, 1);
            }
            store.close().unwrap();
            let world = World {
                rig,
                sent: Vec::new(),
                end: 0,
            };
            for offset in first..first + count {
                let (path, at) = entry_of(&world, ("T", 0), offset);
                world.harm(&path, at, harm);
            }
            let store = world.rig.open();
            let queue = store.find_queue("T", 0).unwrap();
            for nth in 0..8 {
                let why = format!("{count} entries from {first}, {harm:?}, message {nth}");
                let time = START_MS + nth * 1000;
                let found = store.offset_by_time(&queue, time, store::Boundary::Lower);
                assert_eq!(found, nth, "{why}");
                let read = store.read(&queue, found, &MANY, &All).unwrap();
                let first = Record::decode_all(&read.bytes).next().expect("a message");
                assert_eq!(first.expect("record is sound").queue_offset, found, "{why}");
            }
        }
    }
}

#[test]
fn a_search_by_time_behind_a_damaged_stretch_does_not_begin_in_front_of_it() {
    const ALL: i64 = 1000;
    for (first, count) in [(600, 300), (0, 940), (100, 700), (850, 64)] {
        let mut rig = Rig::new(1, FlushMode::Async);
        rig.config.queue_file_bytes = 50 * 20;
        let store = rig.open();
        for nth in 0..ALL {
            send(&store, "T", 0, &nth.to_string());
            rig.clock.advance(std::time::Duration::from_secs(1));
        }
        rig.tidy_after(&store, 1);
        store.close().unwrap();
        drop(store);
        let world = World {
            rig,
            sent: Vec::new(),
            end: 0,
        };
        // While it runs: a start would find so much and derive the queue anew.
        let store = world.rig.open();
        for offset in first..first + count {
            let (path, at) = entry_of(&world, ("T", 0), offset);
            world.harm(&path, at, Harm::Noise(20));
        }
        let queue = store.find_queue("T", 0).unwrap();
        assert_eq!(store.stored_at(&queue, first as i64), None);
        let damaged = first as i64..(first + count) as i64;
        let edges = [damaged.start, damaged.end, damaged.end + 1, ALL];
        for nth in (0..ALL).step_by(31).chain(edges) {
            let found = store.offset_by_time(&queue, START_MS + nth * 1000, store::Boundary::Lower);
            // In front of the first that can be read behind it, and in it, all of it may be meant.
            let is_unsure = damaged.contains(&nth) || nth == damaged.end;
            let least = if is_unsure { damaged.start } else { nth };
            assert!((least..=nth).contains(&found), "{damaged:?}, {nth}: {found}");
        }
    }
}

#[test]
fn the_oldest_offset_is_not_led_astray_by_damaged_entries() {
    let world = World::new(End::Orderly, false);
    let (path, at) = entry_of(&world, ("T", 0), 16);
    world.harm(&path, at, Harm::Zero(8 * 20));
    // The oldest file of the log goes, as when it is too old.
    world
        .rig
        .disk
        .remove("/store/commitlog/00000000000000000000".as_ref())
        .unwrap();
    let store = world.rig.open();
    let records = read_all(&store, "T", 0);
    let first = world
        .sent
        .iter()
        .find(|sent| sent.pos >= 4096 && sent.queue == ("T", 0))
        .unwrap();
    let all = world
        .sent
        .iter()
        .filter(|sent| sent.pos >= first.pos && sent.queue == ("T", 0));
    let names: Vec<String> = records.iter().map(|record| text(&record.body)).collect();
    assert_eq!(names, all.map(|sent| sent.name.clone()).collect::<Vec<_>>());
}

fn gone(world: &World, path: &str) {
    world.rig.disk.remove_tree(path.as_ref()).unwrap();
    if world.rig.disk.entry(path.as_ref()).unwrap().is_some() {
        world.rig.disk.remove(path.as_ref()).unwrap();
    }
}

fn cut(world: &World, path: impl AsRef<Path>, len: u64) {
    let file = world.rig.disk.open(path.as_ref()).unwrap();
    file.set_len(len).unwrap();
    file.sync().unwrap();
}

fn newest_index(world: &World) -> PathBuf {
    let names = world.rig.disk.list("/store/index".as_ref()).unwrap();
    let newest = names.into_iter().map(|entry| entry.name).max().unwrap();
    Path::new("/store/index").join(newest)
}

const CHECKPOINT: &str = "/store/checkpoint";
const NOTE: &str = "/store/barque-reached";
const FIRST_OF_QUEUE: &str = "/store/consumequeue/T/0/00000000000000000000";
const MIDDLE_OF_QUEUE: &str = "/store/consumequeue/T/0/00000000000000000320";
const LAST_OF_QUEUE: &str = "/store/consumequeue/T/0/00000000000000000640";

/// Derived files and what becomes of them.
type Lost = (&'static str, fn(&World));

const DERIVED: [Lost; 16] = [
    ("queue gone", |world| gone(world, "/store/consumequeue/T/0")),
    ("queues gone", |world| gone(world, "/store/consumequeue")),
    ("first file of a queue gone", |world| gone(world, FIRST_OF_QUEUE)),
    ("middle file of a queue gone", |world| {
        gone(world, MIDDLE_OF_QUEUE)
    }),
    ("last file of a queue gone", |world| gone(world, LAST_OF_QUEUE)),
    ("file of a queue empty", |world| cut(world, LAST_OF_QUEUE, 0)),
    ("index gone", |world| gone(world, "/store/index")),
    ("index file empty", |world| cut(world, newest_index(world), 0)),
    ("checkpoint gone", |world| gone(world, CHECKPOINT)),
    ("checkpoint empty", |world| cut(world, CHECKPOINT, 0)),
    ("checkpoint cut", |world| cut(world, CHECKPOINT, 100)),
    ("checkpoint of zeros", |world| {
        world.harm(CHECKPOINT.as_ref(), 0, Harm::Zero(4096))
    }),
    ("checkpoint of noise", |world| {
        world.harm(CHECKPOINT.as_ref(), 0, Harm::Noise(4096))
    }),
    ("note gone", |world| gone(world, NOTE)),
    ("note damaged", |world| {
        world.harm(NOTE.as_ref(), 12, Harm::Flip(1))
    }),
    ("checkpoint and queues gone", |world| {
        gone(world, CHECKPOINT);
        gone(world, "/store/consumequeue");
    }),
];

#[test]
fn what_is_derived_is_made_anew_whatever_becomes_of_its_files() {
    for end in ENDS {
        for (name, lose) in DERIVED {
            let why = format!("{name}, {end:?}");
            let world = World::new(end, false);
            lose(&world);
            world.check();
            world.expect_all_but(&[], &why);
            let store = world.rig.open();
            for sent in &world.sent {
                let found = find(&store, sent.queue.0, &sent.name, IndexKind::Unique);
                assert_eq!(found, std::slice::from_ref(&sent.name), "{why}");
            }
        }
    }
}

#[test]
fn a_file_of_the_index_that_is_missing_among_others_is_found_and_made_anew() {
    let world = World::new(End::Orderly, false);
    let mut names = world.rig.disk.list("/store/index".as_ref()).unwrap();
    names.sort_by(|one, other| one.name.cmp(&other.name));
    let path = Path::new("/store/index").join(&names[1].name);
    world.rig.disk.remove(&path).unwrap();
    assert!(world.check().is_mendable());
    world.repair("missing");
    let store = world.rig.open();
    for sent in &world.sent {
        let found = find(&store, sent.queue.0, &sent.name, IndexKind::Unique);
        assert_eq!(found, std::slice::from_ref(&sent.name));
    }
}

#[test]
fn any_byte_of_the_checkpoint_may_be_wrong() {
    for end in ENDS {
        for at in (0..200).chain(2048..2220).step_by(3) {
            let world = World::new(end, false);
            for bits in [0x01, 0x80] {
                world.harm("/store/checkpoint".as_ref(), at, Harm::Flip(bits));
            }
            match world.rig.try_open() {
                Ok(store) => {
                    world.read(&store, &[], &format!("byte {at}, {end:?}"));
                    assert!(store.written().0 >= world.end, "byte {at}, {end:?}");
                }
                Err(error) => panic!("byte {at}, {end:?}: {error}"),
            }
        }
    }
}

#[test]
fn any_byte_of_the_index_may_be_wrong() {
    for end in ENDS {
        let names = World::new(end, false)
            .rig
            .disk
            .list("/store/index".as_ref())
            .unwrap();
        for nth in [0, names.len() - 1] {
            // Header, slots, some entries.
            for at in (0..40).chain((40..104).step_by(5)).chain((124..400).step_by(7)) {
                let world = World::new(end, false);
                let mut names = world.rig.disk.list("/store/index".as_ref()).unwrap();
                names.sort_by(|one, other| one.name.cmp(&other.name));
                let path = Path::new("/store/index").join(&names[nth].name);
                world.harm(&path, at, Harm::Flip(0x41));
                let mut next = [0; 4];
                world
                    .rig
                    .disk
                    .open(&path)
                    .unwrap()
                    .read_exact_at(&mut next, 36)
                    .unwrap();
                let is_used = at < 104 + 20 * u64::from(u32::from_be_bytes(next));
                let why = format!("byte {at} of file {nth}, {end:?}");
                let is_last = nth > 0 && end == End::Killed;
                let report = world.check();
                let told = report.findings.iter().any(|finding| finding.file == path);
                // Of the times and the number of slots nobody can tell.
                assert!(
                    told || is_last || !is_used || at < 40,
                    "{why}: {:?}",
                    report.findings
                );
                let store = world.rig.open();
                world.read(&store, &[], &why);
                for sent in &world.sent {
                    let found = find(&store, sent.queue.0, &sent.name, IndexKind::Unique);
                    assert!(
                        found.iter().all(|name| name.starts_with(sent.queue.0)),
                        "{why}: {found:?}"
                    );
                }
                store.close().unwrap();
                drop(store);
                if told {
                    let world = World::new(end, false);
                    world.harm(&path, at, Harm::Flip(0x41));
                    world.repair(&why);
                    let store = world.rig.open();
                    for sent in &world.sent {
                        let found = find(&store, sent.queue.0, &sent.name, IndexKind::Unique);
                        assert_eq!(found, std::slice::from_ref(&sent.name), "{why}");
                    }
                }
            }
        }
    }
}

#[test]
fn wrong_times_of_a_file_of_the_index_hide_no_key() {
    for end in ENDS {
        for nth in 0..3 {
            // The highest bytes of the times of the first and of the last message.
            for (at, bits) in [(0, 0x80), (0, 0x01), (3, 0x10), (8, 0x80), (11, 0x10)] {
                let world = World::new(end, false);
                let mut names = world.rig.disk.list("/store/index".as_ref()).unwrap();
                names.sort_by(|one, other| one.name.cmp(&other.name));
                let path = Path::new("/store/index").join(&names[nth].name);
                world.harm(&path, at, Harm::Flip(bits));
                let store = world.rig.open();
                for sent in &world.sent {
                    let found = find(&store, sent.queue.0, &sent.name, IndexKind::Unique);
                    assert_eq!(
                        found,
                        std::slice::from_ref(&sent.name),
                        "byte {at} of file {nth}, {end:?}"
                    );
                }
            }
        }
    }
}

/// What becomes of files of the log, and the positions that are lost by it.
type Missing<'a> = (&'a str, &'a dyn Fn(&World), (i64, i64));

#[test]
fn a_log_that_lacks_files_is_not_opened_until_somebody_gives_them_up() {
    fn path(nth: i64) -> PathBuf {
        format!("/store/commitlog/{:020}", nth * 4096).into()
    }
    for end in ENDS {
        let world = World::new(end, false);
        let last = world.end / 4096;
        assert!(last >= 3, "several files");
        let cases: [Missing<'_>; 6] = [
            (
                "middle gone",
                &|world| world.rig.disk.remove(&path(1)).unwrap(),
                (4096, 8192),
            ),
            ("middle cut", &|world| cut(world, path(1), 1000), (5096, 8192)),
            ("middle empty", &|world| cut(world, path(1), 0), (4096, 8192)),
            (
                "last gone",
                &|world| world.rig.disk.remove(&path(last)).unwrap(),
                (last * 4096, i64::MAX),
            ),
            (
                "last cut",
                &|world| cut(world, path(last), 300),
                (last * 4096 + 300, i64::MAX),
            ),
            (
                "last two gone",
                &|world| {
                    for nth in [last - 1, last] {
                        world.rig.disk.remove(&path(nth)).unwrap();
                    }
                },
                ((last - 1) * 4096, i64::MAX),
            ),
        ];
        for (name, lose, (from, to)) in cases {
            let why = format!("{name}, {end:?}");
            let world = World::new(end, false);
            // The next file may be there already.
            if world.rig.disk.entry(&path(last + 1)).unwrap().is_some() {
                world.rig.disk.remove(&path(last + 1)).unwrap();
            }
            lose(&world);
            let told = match world.rig.try_open() {
                Ok(_) => panic!("{why}: it opens"),
                Err(error) => error.to_string(),
            };
            assert!(
                told.contains("/store/commitlog/") && told.contains("barque store"),
                "{why}: {told}"
            );
            assert!(world.check().is_mendable(), "{why}");
            world.repair(&why);
            let lost = world
                .sent
                .iter()
                .enumerate()
                .filter(|(_, sent)| sent.pos < to && sent.pos + sent.size as i64 > from);
            let lost: Vec<usize> = lost.map(|(nth, _)| nth).collect();
            world.expect_all_but(&lost, &why);
        }
        let world = World::new(end, false);
        world.rig.disk.remove_tree("/store/commitlog".as_ref()).unwrap();
        let refused = world.rig.try_open();
        assert!(matches!(refused, Err(OpenError::Lost { .. })), "{end:?}");
    }
}

#[test]
fn first_files_of_the_log_that_somebody_else_removed_are_told() {
    for end in ENDS {
        let world = World::new(end, false);
        let first = "/store/commitlog/00000000000000000000";
        world.rig.disk.remove(first.as_ref()).unwrap();
        let report = world.check();
        let told = report
            .findings
            .iter()
            .any(|finding| finding.file == Path::new(first));
        assert!(told, "{end:?}: {:?}", report.findings);
        let (store, lines) = Warnings::of(|| world.rig.open());
        assert!(
            lines.iter().any(|line| line.contains("00000000000000000000")),
            "{end:?}: {lines:?}"
        );
        store.turn_tidy();
        store.close().unwrap();
        drop(store);
        // Once: from then on that is where the log begins.
        let (_store, lines) = Warnings::of(|| world.rig.open());
        assert_eq!(lines, [""; 0], "{end:?}");
    }
}

#[test]
fn a_queue_file_that_was_cut_is_named_and_mended() {
    let world = World::new(End::Orderly, false);
    let path = Path::new("/store/consumequeue/T/0/00000000000000000320");
    let file = world.rig.disk.open(path).unwrap();
    file.set_len(30).unwrap();
    file.sync().unwrap();
    let told = world.rig.try_open().map(drop).unwrap_err().to_string();
    assert!(
        told.contains("00000000000000000320") && told.contains("barque store"),
        "{told}"
    );
    world.repair("cut");
    world.expect_all_but(&[], "cut");
}

#[test]
fn a_sound_store_has_no_findings_and_is_left_as_it_is() {
    for end in ENDS {
        let world = World::new(end, false);
        let before = world.rig.disk.bytes_written();
        let report = world.check();
        assert_eq!(report.findings, [], "{end:?}");
        assert_eq!(report.totals.records, world.sent.len() as u64);
        assert_eq!(report.log, (0, world.end));
        let repaired = inspect::repair(&world.rig.config, &world.rig.env(), true).unwrap();
        assert!(repaired.actions.is_empty() && repaired.copies.is_none());
        assert_eq!(world.rig.disk.bytes_written(), before);
    }
}

#[test]
fn a_store_that_runs_is_not_looked_at() {
    let world = World::new(End::Orderly, false);
    let store = world.rig.open();
    for is_dry in [true, false] {
        let refused = inspect::repair(&world.rig.config, &world.rig.env(), is_dry);
        assert!(matches!(refused, Err(inspect::InspectError::Running(_))));
    }
    let refused = inspect::check(&world.rig.config, &world.rig.env());
    assert!(matches!(refused, Err(inspect::InspectError::Running(_))));
    drop(store);
    let nowhere = store::StoreConfig::at("/nowhere");
    let refused = inspect::check(&nowhere, &world.rig.env());
    assert!(matches!(refused, Err(inspect::InspectError::NoStore(_))));
}

#[test]
fn a_read_that_must_not_wait_stops_at_a_damaged_record_and_says_where() {
    let rig = Rig::new(5, FlushMode::Async);
    let store = rig.open();
    // The newest KiB is in memory, and not looked at on the disk.
    let sent: Vec<_> = (0..40)
        .map(|number| send(&store, "T", 0, &number.to_string()))
        .collect();
    store.turn_flush();
    let file = rig
        .disk
        .open(Path::new("/store/commitlog/00000000000000000000"))
        .unwrap();
    file.write_at(&[0], sent[5].pos.0.unsigned_abs() + 88).unwrap();
    let queue = store.queue("T", 0);
    let first = store.read_cached(&queue, 0, &MANY, &All).unwrap();
    assert_eq!((first.count, first.next_offset), (5, 5));
    assert!(matches!(
        store.read_cached(&queue, 5, &MANY, &All),
        Err(ReadError::NotCached)
    ));
    let rest = store.read(&queue, 5, &MANY, &All).unwrap();
    assert_eq!((rest.count, rest.next_offset), (34, 40));
}

#[test]
fn a_stretch_that_is_lost_is_searched_once_and_not_for_each_of_its_messages() {
    let rig = Rig::new(5, FlushMode::Async);
    let store = rig.open();
    let sent: Vec<_> = (0..200)
        .map(|number| send(&store, "T", 0, &number.to_string()))
        .collect();
    store.turn_flush();
    store.turn_tidy();
    let at = |number: usize| sent[number].pos.0.unsigned_abs();
    let segment = rig.config.segment_bytes;
    let file = |number: usize| format!("/store/commitlog/{:020}", at(number) / segment * segment);
    for (number, next) in (20..140).zip(21..) {
        let len = if file(number) == file(next) {
            at(next) - at(number)
        } else {
            100
        };
        let file = rig.disk.open(Path::new(&file(number))).unwrap();
        file.write_at(&vec![0; len as usize], at(number) % segment)
            .unwrap();
    }
    let queue = store.queue("T", 0);
    let before = rig.disk.bytes_read();
    let found = store.read(&queue, 0, &MANY, &All).unwrap();
    assert_eq!((found.count, found.next_offset), (80, 200));
    let read = rig.disk.bytes_read() - before;
    let log = at(199);
    assert!(read < 12 * log, "{read} bytes read of a log of {log}");
}

#[test]
fn messages_of_a_deleted_topic_do_not_stand_in_for_lost_ones_of_a_new_one() {
    for lost in [vec![0], vec![0, 1], vec![1]] {
        let rig = Rig::new(5, FlushMode::Async);
        let store = rig.open();
        for number in 0..6 {
            send(&store, "T", 0, &format!("old {number}"));
        }
        store.delete_topic("T").expect("it is deleted");
        let sent: Vec<_> = (0..4)
            .map(|number| send(&store, "T", 0, &format!("new {number}")))
            .collect();
        store.close().expect("store closes");
        drop(store);
        let write = |path: &str, at: u64| {
            let file = rig.disk.open(Path::new(path)).expect("file is there");
            file.write_at(&[255; 4], at).expect("file is written");
        };
        for offset in &lost {
            write(
                "/store/commitlog/00000000000000000000",
                sent[*offset].pos.0.unsigned_abs() + 88,
            );
            write(
                "/store/consumequeue/T/0/00000000000000000000",
                *offset as u64 * 20,
            );
        }
        let kept: Vec<String> = (0..4)
            .filter(|number| !lost.contains(number))
            .map(|number| format!("new {number}"))
            .collect();
        let (found, lines) = Warnings::of(|| bodies(&rig.open(), "T", 0));
        assert_eq!(found, kept, "{lost:?} are lost {lines:?}");
    }
}

#[test]
fn two_damaged_entries_side_by_side_hide_no_message_from_a_rebuild() {
    for bit in 0..16 {
        let rig = Rig::new(5, FlushMode::Async);
        let store = rig.open();
        let all: Vec<String> = (0..16).map(|number| number.to_string()).collect();
        for body in &all {
            send(&store, "T", 0, body);
        }
        rig.tidy_after(&store, 61);
        let file = rig
            .disk
            .open(Path::new("/store/consumequeue/T/0/00000000000000000000"))
            .unwrap();
        // The queue seems to end in front of the second, and the last entry in front of that points too far.
        for (offset, flip) in [(6, 1 << bit), (7, 1 << 40)] {
            let mut entry = [0; 8];
            file.read_exact_at(&mut entry, offset * 20).unwrap();
            let wrong = u64::from_be_bytes(entry) ^ flip;
            file.write_at(&wrong.to_be_bytes(), offset * 20).unwrap();
        }
        file.sync().unwrap();
        rig.disk.crash(Loss::Everything);
        drop(store);
        let store = rig.open();
        assert_eq!(bodies(&store, "T", 0), all, "bit {bit}");
    }
}

/// What a power cut leaves, or somebody who removes the newest file of the log: units of messages that are not there any more.
#[test]
fn units_that_point_behind_the_end_of_the_log_are_taken_off() {
    for (flush, damaged) in [(FlushMode::Async, 0), (FlushMode::Sync, 0), (FlushMode::Async, 1)] {
        let rig = Rig::new(5, flush);
        let store = rig.open();
        let sent: Vec<_> = (0..6).map(|nth| send(&store, "T", 0, &nth.to_string())).collect();
        rig.tidy_after(&store, 61);
        let log = "/store/commitlog/00000000000000000000";
        let file = rig.disk.open(Path::new(log)).unwrap();
        let end = sent[4].pos.0.unsigned_abs();
        file.write_at(&[0; 400], end).unwrap();
        file.sync().unwrap();
        if damaged > 0 {
            // It points too far, to where the log was once; but its message is there.
            let queue = "/store/consumequeue/T/0/00000000000000000000";
            let file = rig.disk.open(Path::new(queue)).unwrap();
            file.write_at(&sent[5].pos.0.to_be_bytes(), 3 * 20).unwrap();
            file.sync().unwrap();
        }
        for name in ["checkpoint", "barque-reached"] {
            rig.disk.remove(&Path::new("/store").join(name)).unwrap();
        }
        rig.disk.sync_dir(Path::new("/store")).unwrap();
        rig.disk.crash(Loss::Nothing);
        drop(store);
        let (store, lines) = Warnings::of(|| rig.open());
        let is_told = |line: &String| line.contains("behind the end of the log") && line.contains("units=2");
        assert!(lines.iter().any(is_told), "{lines:?}");
        assert_eq!(bodies(&store, "T", 0), ["0", "1", "2", "3"]);
        assert_eq!(send(&store, "T", 0, "next").queue_offset, 4);
        assert_eq!(bodies(&store, "T", 0), ["0", "1", "2", "3", "next"]);
    }
}

/// Somebody has removed the end of a log that was closed in order. Whoever has read further begins where the queue ends now.
#[test]
fn a_log_that_lacks_its_end_after_an_end_in_order_counts_as_cut() {
    let rig = Rig::new(5, FlushMode::Async);
    let store = rig.open();
    let sent: Vec<_> = (0..6).map(|nth| send(&store, "T", 0, &nth.to_string())).collect();
    store.close().unwrap();
    drop(store);
    let file = rig
        .disk
        .open(Path::new("/store/commitlog/00000000000000000000"))
        .unwrap();
    file.write_at(&[0; 400], sent[4].pos.0.unsigned_abs()).unwrap();
    for name in ["checkpoint", "barque-reached"] {
        rig.disk.remove(&Path::new("/store").join(name)).unwrap();
    }
    let store = rig.open();
    assert_eq!(store.queue("T", 0).max(), 4);
    assert!(store.follows_a_crash());
}

/// Without a checkpoint only the last file of the log is read: what a queue had before that is not known to be gone.
#[test]
fn a_damaged_last_entry_of_a_message_in_an_older_file_stays() {
    let mut rig = Rig::new(5, FlushMode::Async);
    rig.config.segment_bytes = 4096;
    let store = rig.open();
    for nth in 0..3 {
        send(&store, "Quiet", 0, &nth.to_string());
    }
    let busy: Vec<_> = (0..80)
        .map(|nth| send(&store, "T", 0, &nth.to_string()))
        .collect();
    store.close().unwrap();
    drop(store);
    let end = busy[79].pos.0 + 10_000;
    let entries = Path::new("/store/consumequeue/Quiet/0/00000000000000000000");
    let file = rig.disk.open(entries).unwrap();
    file.write_at(&end.to_be_bytes(), 2 * 20).unwrap();
    for name in ["checkpoint", "barque-reached"] {
        rig.disk.remove(&Path::new("/store").join(name)).unwrap();
    }
    let store = rig.open();
    assert_eq!(bodies(&store, "Quiet", 0), ["0", "1", "2"]);
    assert_eq!(send(&store, "Quiet", 0, "next").queue_offset, 3);
}

/// An open store with a message a second, eight of them, of which some entries are zeroed.
fn one_a_second(zeroed: std::ops::Range<u64>) -> (Rig, std::sync::Arc<Store>) {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    for nth in 0..8 {
        send(&store, "T", 0, &nth.to_string());
        rig.clock.advance(std::time::Duration::from_secs(1));
    }
    store.close().unwrap();
    drop(store);
    let store = rig.open();
    let path = Path::new("/store/consumequeue/T/0/00000000000000000000");
    let file = rig.disk.open(path).unwrap();
    for nth in zeroed {
        file.write_at(&[0; 20], nth * 20).unwrap();
    }
    (rig, store)
}

/// Delayed messages wait for what their entry says; a zeroed one says nothing.
#[test]
fn the_time_of_a_message_with_a_damaged_entry_is_found_in_the_log() {
    let (_rig, store) = one_a_second(3..5);
    let queue = store.find_queue("T", 0).unwrap();
    let entries = store.entries(&queue, 0, 8).unwrap();
    for (nth, entry) in (0_i64..).zip(&entries) {
        let is_damaged = (3..5).contains(&nth);
        assert_eq!(entry.code == store::EntryCode::Elsewhere, is_damaged, "{nth}");
        let found = store.stored_at_sought(&queue, nth).unwrap();
        assert_eq!(found, Some(START_MS + nth * 1000));
    }
    assert_eq!(entries.len(), 8);
}

#[test]
fn a_search_by_time_passes_over_no_message_that_the_disk_does_not_give_just_now() {
    let log = Path::new("/store/commitlog/00000000000000000000");
    for zeroed in [0..0, 5..6] {
        for fails in 0..24 {
            let (rig, store) = one_a_second(zeroed.clone());
            let queue = store.find_queue("T", 0).unwrap();
            rig.disk.fail_read_after(log, fails);
            let found = store.offset_by_time(&queue, START_MS + 5000, store::Boundary::Lower);
            assert!(found <= 5, "read {fails} fails, {zeroed:?} are zeroed: {found}");
        }
    }
}

#[test]
fn the_last_message_before_a_time_is_none_that_nobody_can_read() {
    let rig = Rig::new(1, FlushMode::Async);
    let store = rig.open();
    let sent = ["0", "1", "2", "3"].map(|body| {
        rig.clock.advance(std::time::Duration::from_secs(1));
        send(&store, "T", 0, body)
    });
    store.close().unwrap();
    drop(store);
    let log = "/store/commitlog/00000000000000000000";
    flip(&rig, log, sent[1].pos.0.unsigned_abs() + 88, 1);
    let store = rig.open();
    let queue = store.find_queue("T", 0).unwrap();
    let before = |ms| store.offset_by_time(&queue, START_MS + ms, store::Boundary::Upper);
    assert_eq!((before(2000), before(3000), before(9000)), (0, 2, 3));
    let behind = |ms| store.offset_by_time(&queue, START_MS + ms, store::Boundary::Lower);
    assert_eq!((behind(1000), behind(2000), behind(3000)), (0, 2, 2));
}

#[test]
fn an_offset_that_the_log_has_no_room_for_moves_no_queue() {
    for (byte, bit) in [(21, 1), (23, 1), (25, 0x80), (26, 0x10)] {
        for stored in [1, 6] {
            let rig = Rig::new(5, FlushMode::Sync);
            let store = rig.open();
            let receipts: Vec<_> = (0..stored)
                .map(|number| send(&store, "T", 0, &number.to_string()))
                .collect();
            rig.disk.crash(Loss::Everything);
            drop(store);
            let log = Path::new("/store/commitlog/00000000000000000000");
            let file = rig.disk.open(log).unwrap();
            let at = receipts.last().unwrap().pos.0.unsigned_abs() + byte;
            let mut found = [0];
            file.read_exact_at(&mut found, at).unwrap();
            file.write_at(&[found[0] ^ bit], at).unwrap();
            file.sync().unwrap();
            let (store, lines) = Warnings::of(|| rig.open());
            let why = format!("byte {byte} of message {stored}: {lines:?}");
            assert!(
                lines.iter().any(|line| line.contains("an impossible offset")),
                "{why}"
            );
            let bodies = bodies(&store, "T", 0);
            assert_eq!(bodies.len() as i64, stored - 1, "{why}");
            assert_eq!(send(&store, "T", 0, "next").queue_offset, stored - 1, "{why}");
        }
    }
}

#[test]
fn a_repair_makes_no_room_for_an_offset_that_the_log_has_none_for() {
    let world = World::new(End::Orderly, false);
    let last = world.sent.last().expect("one of many");
    let (path, at) = world.log_file(last.pos);
    world.harm(&path, at + 25, Harm::Flip(0x80));
    let report = world.check();
    let of_file = report.findings.iter().find(|finding| finding.file == path);
    assert_eq!(
        of_file.map(|finding| finding.mend),
        Some(inspect::Mend::Copy),
        "{report:?}"
    );
    let repaired = inspect::repair(&world.rig.config, &world.rig.env(), false).expect("it is looked at");
    assert!(repaired.actions.is_empty(), "{:?}", repaired.actions);
    let (topic, id) = last.queue;
    let store = world.rig.open();
    let queue = store.find_queue(topic, id).unwrap();
    assert_eq!(queue.max(), ROUNDS as i64);
}
