// SPDX-License-Identifier: Apache-2.0
//! The state machine against a model that keeps a list, with crashes and replays of the journal between any two steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use store::disk::sim::Fault;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::flight::{Flight, Handout};
use super::log::{self, Name, Record, Replayed, Single};
use crate::world::World;

const ID: u32 = 7;

/// What could be simpler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    next: i64,
    /// Offset: when it was handed out, when it is visible.
    open: BTreeMap<i64, (i64, i64)>,
}

impl Model {
    fn of(flight: &Flight) -> Model {
        let offsets = flight.leases().flat_map(|lease| {
            lease
                .offsets()
                .map(move |offset| (offset, (lease.popped_at, lease.visible_at)))
                .collect::<Vec<_>>()
        });
        Model {
            next: flight.next(),
            open: offsets.collect(),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// How far the look goes, which of its messages are wanted, for how long they are invisible.
    Pop(i64, u128, i64),
    /// The handle of an earlier pop, by number.
    Ack(usize),
    Change(usize, i64),
    Adopt(i64, i64),
    Pass(i64),
    Revive,
    Move(i64),
    Crash,
    Rewrite,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..100_i64, any::<u128>(), 0..50_i64).prop_map(|(len, wanted, time)| Step::Pop(len, wanted, time)),
        8 => any::<usize>().prop_map(Step::Ack),
        3 => (any::<usize>(), 0..50_i64).prop_map(|(handle, time)| Step::Change(handle, time)),
        1 => (0..300_i64, 0..50_i64).prop_map(|(offset, time)| Step::Adopt(offset, time)),
        3 => (0..40_i64).prop_map(Step::Pass),
        3 => Just(Step::Revive),
        1 => (0..400_i64).prop_map(Step::Move),
        2 => Just(Step::Crash),
        1 => Just(Step::Rewrite),
    ];
    prop::collection::vec(step, 1..60)
}

struct Rig {
    now: i64,
    flight: Flight,
    model: Model,
    journal: Vec<Vec<u8>>,
    handles: Vec<(i64, i64)>,
}

impl Rig {
    fn new() -> Rig {
        let mut rig = Rig {
            now: 1,
            flight: Flight::new(0),
            model: Model::default(),
            journal: Vec::new(),
            handles: Vec::new(),
        };
        rig.rewrite();
        rig
    }

    fn name() -> Name {
        Name {
            group: "G".into(),
            topic: "T".into(),
            queue_id: 3,
        }
    }

    fn rewrite(&mut self) {
        self.journal.clear();
        let journal = &mut self.journal;
        log::snapshot(ID, &Rig::name(), &self.flight, |record| {
            journal.push(record);
            Ok(())
        })
        .unwrap();
    }

    fn log(&mut self, record: Record<'_>) {
        self.journal.push(log::encode(ID, record));
    }

    /// What the journal comes to.
    fn replayed(&self) -> Flight {
        let mut replayed = Replayed::default();
        self.journal.iter().for_each(|record| replayed.read(record));
        let (queues, next_id) = replayed.into_queues();
        assert_eq!(next_id, ID + 1);
        let (id, name, flight) = queues.into_iter().next().unwrap();
        assert_eq!((id, name), (ID, Rig::name()));
        flight
    }

    fn step(&mut self, step: &Step) {
        let handle = |number: &usize| self.handles.get(number % self.handles.len().max(1)).copied();
        match step {
            Step::Pop(len, wanted, time) => {
                let (from, next) = (self.flight.next(), self.flight.next() + len);
                let offsets: Vec<i64> = (0..*len)
                    .filter(|i| wanted >> i & 1 == 1)
                    .map(|i| from + i)
                    .collect();
                let visible_at = self.now + time;
                let handout = Handout::new((from, next), &offsets, (self.now, visible_at));
                self.log(Record::Popped(&handout));
                assert!(self.flight.hand_out(&handout));
                for offset in offsets {
                    self.handles.push((offset, self.now));
                    self.model.open.insert(offset, (self.now, visible_at));
                }
                self.model.next = next;
            }
            Step::Ack(number) => {
                let Some((offset, popped_at)) = handle(number) else {
                    return;
                };
                let is_good = self
                    .model
                    .open
                    .get(&offset)
                    .is_some_and(|open| open.0 == popped_at);
                assert_eq!(self.flight.holds(offset, popped_at), is_good);
                if is_good {
                    self.log(Record::Settled(&[offset]));
                    assert!(self.flight.settle(offset));
                    self.model.open.remove(&offset);
                }
            }
            Step::Change(number, time) => {
                let Some((offset, popped_at)) = handle(number) else {
                    return;
                };
                if self.flight.holds(offset, popped_at) {
                    let one = self.single(offset, *time);
                    self.log(Record::Changed(one));
                    assert!(self.flight.change(offset, one.popped_at, one.visible_at));
                    self.model.open.insert(offset, (one.popped_at, one.visible_at));
                    self.handles.push((offset, self.now));
                }
            }
            Step::Adopt(offset, time) => {
                let one = self.single(*offset, *time);
                self.log(Record::Adopted(one));
                let is_new = *offset < self.model.next && !self.model.open.contains_key(offset);
                assert_eq!(self.flight.adopt(*offset, one.popped_at, one.visible_at), is_new);
                if is_new {
                    self.model.open.insert(*offset, (one.popped_at, one.visible_at));
                }
            }
            Step::Pass(time) => self.now += time,
            Step::Revive => self.revive(),
            Step::Move(next) => {
                let from = self.flight.next();
                self.log(Record::Moved { from, next: *next });
                self.flight.move_to(*next);
                self.model.open.retain(|offset, _| offset < next);
                self.model.next = *next;
            }
            Step::Crash => self.flight = self.replayed(),
            Step::Rewrite => self.rewrite(),
        }
    }

    fn single(&self, offset: i64, time: i64) -> Single {
        Single {
            offset,
            popped_at: self.now,
            visible_at: self.now + time,
        }
    }

    fn revive(&mut self) {
        let before = self.flight.ends_at();
        let taken = self.flight.take_ended(self.now, 3, self.now + 1_000);
        assert_eq!(taken.is_empty(), before.is_none_or(|at| at > self.now));
        for lease in taken {
            assert!(lease.visible_at <= self.now);
            for offset in lease.offsets() {
                assert!(
                    !self.flight.holds(offset, lease.popped_at),
                    "no handle is good while it is written"
                );
                assert!(self.model.open.remove(&offset).is_some());
                self.log(Record::Settled(&[offset]));
                self.flight.settle(offset);
            }
        }
    }

    fn check(&self) {
        assert_eq!(Model::of(&self.flight), self.model);
        assert_eq!(self.flight.count(), self.model.open.len());
        let floor = self.model.open.keys().next().copied().unwrap_or(self.model.next);
        assert_eq!(self.flight.floor(), floor.min(self.model.next));
        let first_end = self.model.open.values().map(|open| open.1).min();
        assert_eq!(self.flight.ends_at(), first_end);
        assert_eq!(self.replayed(), self.flight, "the journal has all of it");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_state_machine_does_what_a_list_does_through_crashes_and_rewrites(steps in steps()) {
        let mut rig = Rig::new();
        for step in &steps {
            rig.step(step);
            rig.check();
        }
    }

    #[test]
    fn a_journal_that_lost_records_repeats_messages_and_loses_none(
        steps in steps(), lost in prop::collection::btree_set(0..200_usize, 0..3), cut in 0..200_usize,
    ) {
        let mut rig = Rig::new();
        for step in steps.iter().filter(|step| !matches!(step, Step::Crash | Step::Rewrite)) {
            rig.step(step);
        }
        // The first two records are name and state.
        let lost: BTreeSet<usize> = lost.into_iter().map(|number| number + 2).collect();
        let mut replayed = Replayed::default();
        for (number, record) in rig.journal.iter().enumerate().take(cut + 2) {
            if !lost.contains(&number) {
                replayed.read(record);
            }
        }
        let (queues, _) = replayed.into_queues();
        let found = Model::of(&queues.first().unwrap().2);
        let moved = steps.iter().any(|step| matches!(step, Step::Move(_) | Step::Adopt(..)));
        if !moved {
            for offset in rig.model.open.keys() {
                prop_assert!(found.open.contains_key(offset) || found.next <= *offset, "offset {} is lost", offset);
            }
            prop_assert!(found.next <= rig.model.next);
        }
    }

    #[test]
    fn no_bytes_of_a_record_make_it_panic(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..20)) {
        let mut replayed = Replayed::default();
        replayed.read(&log::encode(0, Record::Name(&Rig::name())));
        replayed.read(&log::encode(0, Record::State { next: 100, parts: 0 }));
        for mut record in records {
            if let Some(kind) = record.first_mut() {
                *kind = *kind % 9 + 1;
            }
            if let Some(id) = record.get_mut(1..5) {
                id.fill(0);
            }
            replayed.read(&record);
        }
    }
}

#[test]
fn a_state_that_is_written_anew_counts_only_when_all_of_it_is_there() {
    let mut rig = Rig::new();
    // Enough leases for several records.
    for _ in 0..3_000 {
        rig.step(&Step::Pop(100, 1 | 1 << 70, 10));
    }
    let before = rig.journal.clone();
    rig.rewrite();
    let after = std::mem::take(&mut rig.journal);
    assert!(after.len() > 4, "{}", after.len());
    for end in 0..=after.len() {
        rig.journal.clone_from(&before);
        rig.journal.extend_from_slice(after.get(..end).unwrap());
        assert_eq!(rig.replayed(), rig.flight, "ended after {end} records");
    }
}

#[test]
fn everything_before_an_offset_can_be_settled() {
    let mut flight = Flight::new(0);
    flight.hand_out(&Handout::new((0, 200), &[0, 5, 63, 64, 70, 190], (1, 2)));
    flight.settle_below(64);
    let open: Vec<i64> = Model::of(&flight).open.into_keys().collect();
    assert_eq!(
        (open, flight.next(), flight.floor()),
        (vec![64, 70, 190], 200, 64)
    );
    flight.settle_below(300);
    assert_eq!((flight.count(), flight.next()), (0, 300));
}

#[test]
fn a_journal_is_not_written_anew_because_of_how_many_queues_there_are() {
    let b = World::new(1, &[]).open(&[]);
    // More than the limit, with nothing in flight.
    for number in 0..1_000 {
        let name = Name {
            group: format!("{number}{}", "g".repeat(20_000)).into(),
            topic: "T".into(),
            queue_id: 0,
        };
        b.pop.ensure_line(name, Some(0), || 0).unwrap();
    }
    assert!(!b.pop.is_flushed());
    b.pop.flush().unwrap();
    assert!(b.pop.is_flushed());
}

#[test]
fn a_sync_of_the_journal_that_fails_ends_the_store() {
    let world = World::new(2, &[]);
    let b = world.open(&[]);
    b.pop.ensure_line(Rig::name(), Some(0), || 0).unwrap();
    world.disk.fail_at(world.disk.ops(), Fault::Broken);
    let error = b.pop.flush().unwrap_err();
    b.store.fail_if_unsynced("test", &error);
    assert!(!b.store.is_writable());
    assert!(b.pop.flush().is_err(), "nobody tries again");
}

#[tokio::test(start_paused = true)]
async fn a_sync_of_the_journal_that_fails_for_a_commit_ends_the_store() {
    let world = World::new(2, &[("flushDiskType", "SYNC_FLUSH")]);
    let b = world.open(&[]);
    b.pop.ensure_line(Rig::name(), Some(0), || 0).unwrap();
    world.disk.fail_at(world.disk.ops(), Fault::Broken);
    b.pop.keep().unwrap_err();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    super::start_flushing(&b, &tasks, &stop);
    let failed = tokio::time::timeout(Duration::from_secs(10), b.store.failed());
    assert!(failed.await.is_ok(), "only a commit was told");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}
