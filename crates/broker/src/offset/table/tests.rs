// SPDX-License-Identifier: Apache-2.0
//! The table, its file and its journal: against a model, with ends of the process and of the machine between any two
//! operations of the disk.

use std::path::Path;
use std::sync::mpsc;
use std::task::{Context, Waker};

use proptest::prelude::*;
use store::disk::Disk;
use store::disk::sim::{Fault, Loss, SimDisk};

use super::*;

fn open(dir: &tempfile::TempDir) -> Result<Offsets, LoadError> {
    let config = Config {
        store_path_root_dir: dir.path().to_str().unwrap().into(),
        ..Config::default()
    };
    Offsets::open(&config, Env::real())
}

#[test]
fn nothing_is_written_until_something_changes() {
    let dir = tempfile::tempdir().unwrap();
    let offsets = open(&dir).unwrap();
    let file = dir.path().join("config/consumerOffset.json");
    offsets.note_pull("G", "T", 0, 5);
    offsets.save_over(|| true).unwrap();
    assert!(!file.exists());
    offsets.commit("G", "T", (0, 5), 500);
    offsets.save_over(|| true).unwrap();
    assert!(file.exists());
    std::fs::remove_file(&file).unwrap();
    offsets.commit("G", "T", (0, 5), 500);
    offsets.save_over(|| true).unwrap();
    assert!(!file.exists(), "the same offset again is no change");
}

#[test]
fn what_a_slave_knows_better_is_taken_back_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (offsets, slave) = (open(&dir).unwrap(), open(&tempfile::tempdir().unwrap()).unwrap());
    for (queue, offset) in [(0, 5), (1, 5)] {
        offsets.commit("G", "T", (queue, offset), 0);
    }
    for (queue, offset) in [(0, 7), (1, 3), (2, 1)] {
        slave.commit("G", "T", (queue, offset), 1);
    }
    let said: OffsetTable = fastjson::from_slice(&slave.to_json()).unwrap();
    let version = said.data_version;
    assert_eq!(offsets.take_back(said.clone(), |_, _, _| Some(7)), 2);
    assert_eq!(
        offsets.committed("G", "T"),
        BTreeMap::from([(0, 7), (1, 5), (2, 1)])
    );
    let now: OffsetTable = fastjson::from_slice(&offsets.to_json()).unwrap();
    assert!(
        now.data_version.counter > version.counter,
        "slaves see that it is newer"
    );
    assert_eq!(offsets.take_back(said, |_, _, _| Some(7)), 0, "once is enough");
    offsets.keep(|| true).unwrap();
    drop(offsets);
    assert_eq!(open(&dir).unwrap().query("G", "T", 0), Some(7));
}

#[test]
fn a_slave_is_not_believed_beyond_the_end_of_a_queue_nor_about_what_there_is_not() {
    let (offsets, slave) = (
        open(&tempfile::tempdir().unwrap()).unwrap(),
        open(&tempfile::tempdir().unwrap()).unwrap(),
    );
    for (group, topic, queue, offset) in [
        ("G", "T", 0, 5),
        ("G", "T", 1, 6),
        ("G", "U", 0, 1),
        ("H", "T", 0, 1),
    ] {
        slave.commit(group, topic, (queue, offset), 1);
    }
    let said: OffsetTable = fastjson::from_slice(&slave.to_json()).unwrap();
    let end_of = |group: &str, topic: &str, _| ((group, topic) == ("G", "T")).then_some(5);
    assert_eq!(offsets.take_back(said, end_of), 1);
    assert_eq!(offsets.committed("G", "T"), BTreeMap::from([(0, 5)]));
    assert!(offsets.committed("G", "U").is_empty());
    assert!(offsets.committed("H", "T").is_empty());
}

#[test]
fn what_was_committed_is_there_after_a_restart_and_what_was_pulled_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let offsets = open(&dir).unwrap();
    offsets.commit("G", "T", (1, 5), 500);
    offsets.commit("G", "%RETRY%G", (0, 2), 500);
    offsets.note_pull("G", "T", 1, 9);
    offsets.note_pull("H", "T", 1, 9);
    assert_eq!(
        (offsets.query("G", "T", 1), offsets.query_pulled("G", "T", 1)),
        (Some(5), Some(9))
    );
    offsets.save_over(|| true).unwrap();
    let offsets = open(&dir).unwrap();
    assert_eq!(
        (offsets.query("G", "T", 1), offsets.query_pulled("G", "T", 1)),
        (Some(5), Some(5))
    );
    assert_eq!(
        offsets.topics_of("G"),
        BTreeSet::from(["%RETRY%G".into(), "T".into()])
    );
    assert_eq!(offsets.groups_of("T"), BTreeSet::from(["G".into()]));
    offsets.remove_topic("T");
    assert_eq!(offsets.query("G", "T", 1), None);
    offsets.remove_group("G");
    assert!(offsets.topics_of("G").is_empty());
}

#[test]
fn the_broker_does_not_start_without_offsets_that_were_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config/consumerOffset.json");
    std::fs::create_dir(dir.path().join("config")).unwrap();
    for name in [file.clone(), file.with_extension("json.bak")] {
        #[expect(clippy::disallowed_methods, reason = "the disk is what is tested")]
        std::fs::write(name, "{\"offsetTable\":").unwrap();
    }
    assert!(open(&dir).is_err());
}

const GROUPS: [&str; 3] = ["G", "H", "CID_RMQ_SYS_TRANS"];
const TOPICS: [&str; 3] = ["T", "U", "%RETRY%G"];
const FILE: &str = "/store/config/consumerOffset.json";

/// One queue of a topic, as one group has read it: numbers of the group and of the topic, and the queue.
type Place = (usize, usize, i32);

#[derive(Debug, Clone)]
enum Step {
    Commit(Place, i64),
    Reset(Place, i64),
    Forget(Place),
    NoGroup(usize),
    NoTopic(usize),
    Journal,
    Save,
    /// There is no room at the operation of the disk that comes after so many more.
    Fail(u64),
    /// The process ends, or (with what is not synced) the machine, at the operation after so many more.
    End(u64),
    /// A Java broker has run meanwhile.
    Foreign(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..GROUPS.len(), 0..TOPICS.len(), 0_i32..2);
    prop_oneof![
        12 => (place(), 0_i64..100).prop_map(|(place, offset)| Step::Commit(place, offset)),
        2 => (place(), 0_i64..100).prop_map(|(place, offset)| Step::Reset(place, offset)),
        2 => place().prop_map(Step::Forget),
        1 => (0..GROUPS.len()).prop_map(Step::NoGroup),
        1 => (0..TOPICS.len()).prop_map(Step::NoTopic),
        6 => Just(Step::Journal),
        3 => Just(Step::Save),
        1 => (0_u64..12).prop_map(Step::Fail),
        3 => (0_u64..16).prop_map(Step::End),
        1 => (0_i64..100).prop_map(Step::Foreign),
    ]
}

/// What may come back.
#[derive(Debug, Default)]
struct Model {
    now: BTreeMap<Place, i64>,
    /// By place, what it has been since the last moment from which on nothing may be lost.
    possible: BTreeMap<Place, BTreeSet<Option<i64>>>,
    /// A sync may fail, after which the disk promises nothing (nor does the journal) until the next start.
    is_doubtful: bool,
}

impl Model {
    fn set(&mut self, place: Place, offset: Option<i64>) {
        let before = match offset {
            Some(offset) => self.now.insert(place, offset),
            None => self.now.remove(&place),
        };
        self.possible.entry(place).or_default().extend([before, offset]);
    }

    fn remove(&mut self, is_gone: impl Fn(&Place) -> bool) {
        let gone: Vec<Place> = self.now.keys().filter(|place| is_gone(place)).copied().collect();
        gone.into_iter().for_each(|place| self.set(place, None));
    }

    /// Everything so far is safe.
    fn settle(&mut self) {
        self.possible.clear();
    }

    /// The same after a restart, with what was found there.
    fn settle_as(&mut self, found: BTreeMap<Place, i64>) {
        for place in places() {
            let offset = found.get(&place).copied();
            let possible = self.possible.get(&place);
            let is_allowed = possible.is_some_and(|all| all.contains(&offset));
            assert!(
                is_allowed || self.now.get(&place).copied() == offset,
                "{place:?} is {offset:?}, may be {possible:?}; {:?}",
                self.now
            );
        }
        *self = Model {
            now: found,
            ..Model::default()
        };
    }
}

fn places() -> impl Iterator<Item = Place> {
    let queues = |(group, topic)| (0..2).map(move |queue| (group, topic, queue));
    (0..GROUPS.len())
        .flat_map(|group| (0..TOPICS.len()).map(move |topic| (group, topic)))
        .flat_map(queues)
}

fn found_in(offsets: &Offsets) -> BTreeMap<Place, i64> {
    let committed = |place: Place| offsets.query(GROUPS[place.0], TOPICS[place.1], place.2);
    places()
        .filter_map(|place| Some((place, committed(place)?)))
        .collect()
}

fn on(disk: &Arc<SimDisk>, flush: FlushDiskType) -> Offsets {
    let config = Config {
        store_path_root_dir: "/store".into(),
        flush_disk_type: flush,
        ..Config::default()
    };
    let env = Env {
        disk: Arc::clone(disk) as Arc<dyn Disk>,
        ..Env::real()
    };
    Offsets::open(&config, env).unwrap()
}

struct Run {
    disk: Arc<SimDisk>,
    flush: FlushDiskType,
    loss: Loss,
    offsets: Offsets,
    model: Model,
}

impl Run {
    fn of(seed: u64, flush: FlushDiskType, loss: Loss) -> Run {
        let disk = Arc::new(SimDisk::seeded(seed));
        let offsets = on(&disk, flush);
        Run {
            disk,
            flush,
            loss,
            offsets,
            model: Model::default(),
        }
    }

    fn step(&mut self, step: &Step) {
        let (offsets, model) = (&self.offsets, &mut self.model);
        let name = |place: &Place| (GROUPS[place.0], TOPICS[place.1], place.2);
        match step {
            Step::Commit(place, offset) => {
                let (group, topic, queue) = name(place);
                if !offsets.has_reset(group, topic, queue) {
                    offsets.commit(group, topic, (queue, *offset), 3);
                    model.set(*place, Some(*offset));
                }
            }
            Step::Reset(place, offset) => {
                let (group, topic, queue) = name(place);
                offsets.reset(group, topic, queue, *offset);
                offsets.take_reset(group, topic, queue);
                model.set(*place, Some(*offset));
            }
            Step::Forget(place) => {
                let (group, topic, queue) = name(place);
                offsets.commit(group, topic, (queue, -1), 500);
                model.set(*place, None);
            }
            Step::NoGroup(number) => {
                offsets.remove_group(GROUPS[*number]);
                model.remove(|place| place.0 == *number);
            }
            Step::NoTopic(number) => {
                offsets.remove_topic(TOPICS[*number]);
                model.remove(|place| place.1 == *number);
            }
            Step::Journal => {
                let written = offsets.write_journal();
                // Found damaged at the start, it takes nothing until there is a file.
                if matches!(written, Ok(true)) && !model.is_doubtful {
                    model.settle();
                }
            }
            Step::Save => self.save(),
            // One at a time.
            Step::Fail(ops) if !model.is_doubtful => {
                let op = self.disk.ops() + ops;
                self.disk.fail_at(op, Fault::Full);
                model.is_doubtful = true;
            }
            Step::Fail(..) => {}
            Step::End(ops) => self.end(*ops),
            Step::Foreign(offset) => self.foreign(*offset),
        }
    }

    fn save(&mut self) {
        let saved = self.offsets.save_over(|| true);
        if !self.model.is_doubtful {
            saved.unwrap();
            self.model.settle();
        }
    }

    /// Goes on for that many operations of the disk.
    fn end(&mut self, ops: u64) {
        let op = self.disk.ops() + ops;
        self.disk.halt_at(op);
        while !self.disk.is_halted() {
            let _one_of_them_fails = self.offsets.write_journal();
            self.offsets
                .commit("G", "T", (0, 100 + self.disk.ops() as i64), 3);
            self.model.set((0, 0, 0), self.offsets.query("G", "T", 0));
            let _one_of_them_fails = self.offsets.save_over(|| true);
            self.offsets
                .commit("G", "T", (0, 200 + self.disk.ops() as i64), 3);
            self.model.set((0, 0, 0), self.offsets.query("G", "T", 0));
        }
        self.disk.crash(self.loss);
        self.offsets = on(&self.disk, self.flush);
        self.model.settle_as(found_in(&self.offsets));
    }

    /// The process is killed, and another one writes the file, which knows nothing of the journal.
    fn foreign(&mut self, offset: i64) {
        self.disk.crash(Loss::Nothing);
        let version = self.disk.ops();
        let text = format!(
            "{{\"dataVersion\":{{\"counter\":{version}}},\"offsetTable\":{{\"T@G\":{{0:{offset}}}}}}}"
        );
        self.disk.replace(Path::new(FILE), text.as_bytes()).unwrap();
        self.offsets = on(&self.disk, self.flush);
        assert_eq!(found_in(&self.offsets), BTreeMap::from([((0, 0, 0), offset)]));
        self.model = Model {
            now: found_in(&self.offsets),
            ..Model::default()
        };
    }
}

proptest! {
    #[test]
    fn what_the_journal_holds_outlives_a_kill(
        seed in any::<u64>(), steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut run = Run::of(seed, FlushDiskType::Async, Loss::Nothing);
        steps.iter().for_each(|step| run.step(step));
    }

    #[test]
    fn under_sync_flush_it_outlives_the_machine(
        seed in any::<u64>(), steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut run = Run::of(seed, FlushDiskType::Sync, Loss::Random);
        steps.iter().for_each(|step| run.step(step));
    }
}

#[test]
fn commits_come_back_from_the_journal_alone_and_then_from_the_file() {
    let disk = Arc::new(SimDisk::seeded(1));
    let offsets = on(&disk, FlushDiskType::Async);
    offsets.commit("G", "T", (0, 5), 500);
    offsets.commit("G", "T", (1, 6), 500);
    assert!(offsets.is_ahead_of_journal());
    offsets.write_journal().unwrap();
    assert!(!offsets.is_ahead_of_journal());
    for life in 0..3 {
        disk.crash(Loss::Nothing);
        let offsets = on(&disk, FlushDiskType::Async);
        assert_eq!(offsets.query("G", "T", 0), Some(5 + life));
        assert_eq!(offsets.query("G", "T", 1), Some(6));
        offsets.commit("G", "T", (0, 6 + life), 500);
        offsets.write_journal().unwrap();
    }
    assert_eq!(disk.entry(Path::new(FILE)).unwrap(), None);
    on(&disk, FlushDiskType::Async).save_over(|| true).unwrap();
    assert!(disk.entry(Path::new(FILE)).unwrap().is_some());
    assert_eq!(on(&disk, FlushDiskType::Async).query("G", "T", 0), Some(8));
}

#[test]
fn what_was_deleted_does_not_come_back_from_the_file() {
    let disk = Arc::new(SimDisk::seeded(1));
    let offsets = on(&disk, FlushDiskType::Async);
    for group in GROUPS {
        for topic in TOPICS {
            offsets.commit(group, topic, (0, 5), 500);
        }
    }
    offsets.save_over(|| true).unwrap();
    offsets.remove_group("G");
    offsets.remove_topic("U");
    offsets.commit("H", "U", (1, 1), 500);
    offsets.write_journal().unwrap();
    disk.crash(Loss::Nothing);
    let offsets = on(&disk, FlushDiskType::Async);
    assert!(offsets.topics_of("G").is_empty());
    assert_eq!(offsets.committed("H", "U"), BTreeMap::from([(1, 1)]));
    assert_eq!(offsets.committed("H", "T"), BTreeMap::from([(0, 5)]));
}

/// Whether whoever saves the file is told to do it now.
fn wants_file(offsets: &Offsets) -> bool {
    let waiting = std::pin::pin!(offsets.wants_file());
    waiting.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn a_journal_that_grows_faster_than_time_passes_gives_way_to_a_file() {
    let disk = Arc::new(SimDisk::seeded(1));
    let offsets = on(&disk, FlushDiskType::Async);
    let dir = dir_of(Path::new(FILE));
    let bytes = || -> u64 { disk.list(&dir).unwrap().iter().map(|entry| entry.len).sum() };
    let mut most = 0;
    for round in 0..60 {
        for queue in 0..20_000 {
            offsets.commit("G", "T", (queue, round), 500);
        }
        offsets.write_journal().unwrap();
        assert_eq!(wants_file(&offsets), bytes() > 8 << 20);
        if bytes() > 8 << 20 {
            offsets.save_over(|| true).unwrap();
        }
        assert!(!wants_file(&offsets));
        most = most.max(bytes());
    }
    assert!(disk.entry(Path::new(FILE)).unwrap().is_some());
    assert!(most < 10 << 20, "{most}");
    assert_eq!(on(&disk, FlushDiskType::Async).query("G", "T", 19_999), Some(59));
}

#[test]
fn damage_of_the_journal_costs_what_came_after_it_and_never_the_start() {
    let disk = Arc::new(SimDisk::seeded(1));
    let dir = dir_of(Path::new(FILE));
    let offsets = on(&disk, FlushDiskType::Async);
    offsets.commit("G", "T", (0, 1), 500);
    offsets.save_over(|| true).unwrap();
    offsets.commit("G", "T", (0, 2), 500);
    offsets.write_journal().unwrap();
    offsets.commit("G", "T", (0, 3), 500);
    offsets.write_journal().unwrap();
    drop(offsets);
    let newest = disk.list(&dir).unwrap().into_iter().map(|entry| entry.name).max();
    let file = disk.open(&dir.join(newest.unwrap())).unwrap();
    let len = file.len().unwrap();
    for (cut, expected) in [(len - 1, 2), (len / 2, 1), (3, 1), (0, 1)] {
        file.set_len(cut).unwrap();
        assert_eq!(
            on(&disk, FlushDiskType::Async).query("G", "T", 0),
            Some(expected),
            "{cut}"
        );
    }
}

#[test]
fn after_a_failed_write_the_next_file_makes_good_for_the_journal() {
    let disk = Arc::new(SimDisk::seeded(1));
    let offsets = on(&disk, FlushDiskType::Async);
    offsets.commit("G", "T", (0, 1), 500);
    disk.fail_at(disk.ops(), Fault::Full);
    offsets.write_journal().unwrap_err();
    offsets.commit("G", "T", (1, 2), 500);
    assert!(!offsets.write_journal().unwrap());
    assert!(
        offsets.is_ahead_of_journal(),
        "nothing is written behind what is missing"
    );
    offsets.save_over(|| true).unwrap();
    offsets.commit("G", "T", (0, 3), 500);
    assert!(offsets.write_journal().unwrap());
    disk.crash(Loss::Nothing);
    let offsets = on(&disk, FlushDiskType::Async);
    assert_eq!(offsets.committed("G", "T"), BTreeMap::from([(0, 3), (1, 2)]));
}

#[test]
fn what_failed_is_made_good_for_by_a_file_that_is_there_and_by_none_that_failed() {
    for op in 0..20 {
        let disk = Arc::new(SimDisk::seeded(op));
        let offsets = on(&disk, FlushDiskType::Async);
        offsets.commit("G", "T", (0, 1), 500);
        disk.fail_at(disk.ops(), Fault::Full);
        offsets.write_journal().unwrap_err();
        disk.fail_at(disk.ops() + op, Fault::Full);
        let _may_fail = offsets.save_over(|| true);
        offsets.commit("G", "T", (1, 2), 500);
        if offsets.write_journal().is_err() || offsets.is_ahead_of_journal() {
            offsets.save_over(|| true).unwrap();
        }
        disk.crash(Loss::Nothing);
        let offsets = on(&disk, FlushDiskType::Async);
        let expected = BTreeMap::from([(0, 1), (1, 2)]);
        assert_eq!(
            offsets.committed("G", "T"),
            expected,
            "fails after {op} operations"
        );
    }
}

#[test]
fn what_must_be_kept_goes_to_a_file_when_the_journal_cannot_be_written() {
    let disk = Arc::new(SimDisk::seeded(1));
    let offsets = on(&disk, FlushDiskType::Async);
    for offset in 1..4 {
        offsets.commit("G", "T", (0, offset), 500);
        if offset < 3 {
            disk.fail_at(disk.ops(), Fault::Full);
        }
        offsets.keep(|| true).unwrap();
        disk.crash(Loss::Nothing);
        let offsets = on(&disk, FlushDiskType::Async);
        assert_eq!(offsets.query("G", "T", 0), Some(offset));
    }
}

/// Whoever ran last is known by it.
#[test]
fn a_file_has_its_mark_in_the_journal_wherever_a_power_cut_comes() {
    for loss in [Loss::Everything, Loss::Random] {
        for op in 0..40 {
            let disk = Arc::new(SimDisk::seeded(op));
            let offsets = on(&disk, FlushDiskType::Sync);
            offsets.commit("G", "T", (0, 5), 500);
            offsets.save_over(|| true).unwrap();
            offsets.commit("G", "T", (0, 6), 500);
            offsets.write_journal().unwrap();
            disk.halt_at(disk.ops() + op);
            let _fails = offsets.save_over(|| true);
            disk.crash(loss);
            let offsets = on(&disk, FlushDiskType::Sync);
            assert!(offsets.is_only_ours(), "operation {op}, {loss:?}");
            assert_eq!(offsets.query("G", "T", 0), Some(6), "operation {op}, {loss:?}");
        }
    }
}

#[test]
fn the_journal_is_not_made_durable_before_the_log_is() {
    let disk = Arc::new(SimDisk::seeded(1));
    let offsets = on(&disk, FlushDiskType::Async);
    offsets.commit("G", "T", (0, 5), 500);
    offsets.write_journal().unwrap();
    assert!(!offsets.save_over(|| false).unwrap());
    disk.crash(Loss::Everything);
    let offsets = on(&disk, FlushDiskType::Async);
    assert_eq!(offsets.query("G", "T", 0), None, "its messages may be lost, too");
}

#[test]
fn the_journal_is_written_while_a_file_takes_its_time() {
    let disk = Arc::new(SimDisk::seeded(1));
    let offsets = on(&disk, FlushDiskType::Async);
    for round in 0..40 {
        for queue in 0..20_000 {
            offsets.commit("G", "T", (queue, round), 500);
        }
        offsets.write_journal().unwrap();
    }
    let (begun, is_begun) = mpsc::channel();
    let (release, is_released) = mpsc::channel::<()>();
    let is_released = Mutex::new(is_released);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let slow = || begun.send(()).is_ok() && is_released.lock().recv().is_ok();
            offsets.save_over(slow).unwrap();
        });
        is_begun.recv().unwrap();
        offsets.commit("G", "T", (0, 100), 500);
        offsets.write_journal().unwrap();
        assert!(!offsets.is_ahead_of_journal());
        drop(release);
    });
}

#[test]
fn behind_what_nobody_understands_nothing_is_written() {
    let disk = Arc::new(SimDisk::seeded(1));
    let offsets = on(&disk, FlushDiskType::Async);
    offsets.commit("G", "T", (0, 1), 500);
    offsets.save_over(|| true).unwrap();
    drop(offsets);
    let env = Env {
        disk: Arc::clone(&disk) as Arc<dyn Disk>,
        ..Env::real()
    };
    let newer = store::Journal::open(env, &dir_of(Path::new(FILE)), |_| ()).unwrap();
    newer.append(&[99]).unwrap();
    let offsets = on(&disk, FlushDiskType::Async);
    assert!(offsets.needs_file());
    offsets.commit("G", "T", (0, 2), 500);
    offsets.write_journal().unwrap();
    assert!(offsets.is_ahead_of_journal());
    offsets.save_over(|| true).unwrap();
    offsets.commit("G", "T", (1, 3), 500);
    offsets.write_journal().unwrap();
    disk.crash(Loss::Nothing);
    let offsets = on(&disk, FlushDiskType::Async);
    assert_eq!(offsets.committed("G", "T"), BTreeMap::from([(0, 2), (1, 3)]));
}

#[test]
fn an_offset_beyond_the_end_of_its_queue_is_taken_back_and_no_other() {
    let disk = Arc::new(SimDisk::seeded(1));
    let offsets = on(&disk, FlushDiskType::Async);
    for (queue, offset) in [(0, 4), (1, 5), (2, 6)] {
        offsets.commit("G", "T", (queue, offset), 500);
    }
    offsets.write_journal().unwrap();
    assert_eq!(offsets.clamp(|_, _| 5), 1);
    let expected = BTreeMap::from([(0, 4), (1, 5), (2, 5)]);
    assert_eq!(offsets.committed("G", "T"), expected);
    offsets.write_journal().unwrap();
    disk.crash(Loss::Nothing);
    assert_eq!(on(&disk, FlushDiskType::Async).committed("G", "T"), expected);
}

#[tokio::test]
async fn a_file_is_wanted_at_once_when_whoever_saves_breaks_the_journal() {
    let disk = Arc::new(SimDisk::seeded(1));
    let offsets = on(&disk, FlushDiskType::Async);
    offsets.commit("G", "T", (0, 1), 3);
    offsets.write_journal().unwrap();
    disk.set_full(true);
    assert!(offsets.save_over(|| true).is_err());
    disk.set_full(false);
    tokio::time::timeout(Duration::from_secs(5), offsets.wants_file())
        .await
        .unwrap();
    assert!(offsets.save_over(|| true).unwrap());
    assert!(!offsets.needs_file());
}
