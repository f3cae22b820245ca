// SPDX-License-Identifier: Apache-2.0
//! Tables on a disk that fails and ends where it is told to.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use store::disk::Disk as _;
use store::disk::sim::{Fault, Loss};
use store::env::Rng as _;
use store::env::sim::SimRng;
use tokio_util::sync::CancellationToken;

use super::Ledger;
use crate::broker::Broker;
use crate::saved::SaveError;
use crate::warnings::Warnings;
use crate::world::World;
use wire::body::group::SubscriptionGroupConfig;
use wire::body::topic::{TopicConfig, TopicConfigTable};
use wire::{Str, fastjson};

const TOPICS: &str = "/store/config/topics.json";
/// A directory of this name keeps the file from being written.
const IN_THE_WAY: &str = "/store/config/topics.json.tmp";
const JOURNAL: &str = "/store/config/topics.journal";

fn topic(name: &str, queues: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.into(),
        write_queue_nums: queues,
        read_queue_nums: queues,
        ..TopicConfig::default()
    }
}

fn group(name: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig {
        group_name: name.into(),
        ..SubscriptionGroupConfig::default()
    }
}

/// What operators have made: topics with their queues, groups, and whether the first group may not read the first topic.
type Made = (Vec<(Str, i32)>, Vec<Str>, bool);

fn made(b: &Broker) -> Made {
    let (topics, groups) = (b.topics.all(), b.groups.all());
    let of = |name: &&Str| name.starts_with("made-");
    let mut named: Vec<_> = topics.topics.keys().filter(of).cloned().collect();
    named.sort();
    let named = named.into_iter().filter_map(|name| {
        let queues = b.topics.get(&name)?.config.write_queue_nums;
        Some((name, queues))
    });
    let mut members: Vec<_> = groups.groups.keys().filter(of).cloned().collect();
    members.sort();
    (
        named.collect(),
        members,
        b.groups.may_not_read("made-0", "made-0"),
    )
}

/// One step of an operator; `false` when it was refused.
fn step(b: &Broker, number: i32) -> bool {
    let name = format!("made-{}", number % 5);
    match number % 7 {
        0 | 1 => b.topics.put(vec![topic(&name, number + 1)]).is_ok(),
        2 => b.topics.remove(&[Str::from(&name)]).is_ok(),
        3 | 4 => b.groups.put(vec![group(&name)]).is_ok(),
        5 => b.groups.forbid("made-0", "made-0", number % 2 == 0).is_ok(),
        // What the tasks of a running broker do.
        _ => b.topics.save().and(b.groups.save()).is_ok(),
    }
}

#[test]
fn whatever_is_answered_outlives_the_end_of_the_machine_at_any_moment() {
    for halt in (0..120).step_by(2) {
        let world = World::new(halt, &[]);
        let b = world.open(&[]);
        let first = world.disk.ops();
        world.disk.halt_at(first + halt);
        let mut states = vec![made(&b)];
        let mut answered = 0;
        for number in 0..30 {
            if !step(&b, number) || world.disk.is_halted() {
                break;
            }
            states.push(made(&b));
            answered = states.len() - 1;
        }
        let pending = made(&b);
        drop(b);
        world.disk.crash(if halt % 4 == 0 {
            Loss::Everything
        } else {
            Loss::Random
        });
        let b = world.open(&[]);
        let found = made(&b);
        // The step that was cut off may have been made, and nothing behind it.
        assert!(
            found == states[answered] || found == pending || is_next(&found, &states[answered]),
            "halt {halt}: {found:?} is neither {:?} nor one step further",
            states[answered]
        );
    }
}

/// Whether two states differ in one entry at most.
fn is_next(found: &Made, before: &Made) -> bool {
    let topics = found.0.iter().filter(|topic| !before.0.contains(topic)).count();
    let gone = before
        .0
        .iter()
        .filter(|topic| !found.0.iter().any(|f| f.0 == topic.0))
        .count();
    let groups = found.1.len().abs_diff(before.1.len());
    topics + gone + groups + usize::from(found.2 != before.2) <= 1
}

#[test]
fn a_kill_costs_no_topic_and_an_end_in_order_leaves_all_of_them_in_the_file_of_the_reference() {
    let world = World::new(7, &[]);
    let b = world.open(&[]);
    for number in 0..20 {
        b.topics.put(vec![topic(&format!("made-{number}"), 3)]).unwrap();
    }
    b.topics.remove(&["made-3".into()]).unwrap();
    let version = b.topics.all().version;
    drop(b);
    world.disk.crash(Loss::Nothing);

    let b = world.open(&[]);
    assert_eq!((made(&b).0.len(), b.topics.all().version), (19, version));
    assert!(b.topics.get("made-3").is_none());
    b.close().unwrap();
    let file = b.env.disk.load(Path::new(TOPICS)).unwrap().unwrap();
    let table: TopicConfigTable = fastjson::from_slice(&file).unwrap();
    assert_eq!(table.data_version, version);
    assert_eq!(table.topic_config_table["made-19"].write_queue_nums, 3);
    assert!(!table.topic_config_table.contains_key("made-3"));
}

#[test]
fn a_file_that_somebody_else_has_written_counts_and_the_journal_does_not() {
    let world = World::new(7, &[]);
    let b = world.open(&[]);
    b.topics.put(vec![topic("made-1", 3)]).unwrap();
    b.topics.save().unwrap();
    b.topics.put(vec![topic("made-2", 3)]).unwrap();
    // A Java broker opens the directory after a kill and writes its table.
    let file = b"{\"dataVersion\":{\"counter\":9},\"topicConfigTable\":{\"made-9\":{\"topicName\":\"made-9\",\"writeQueueNums\":5}}}";
    b.env.disk.replace(Path::new(TOPICS), file).unwrap();
    drop(b);
    let b = world.open(&[]);
    assert_eq!(made(&b).0, [("made-9".into(), 5)]);
    b.topics.put(vec![topic("made-1", 2)]).unwrap();
    drop(b);
    assert_eq!(
        made(&world.open(&[])).0,
        [("made-1".into(), 2), ("made-9".into(), 5)]
    );
}

#[test]
fn a_change_that_the_disk_refuses_is_not_made_and_those_after_it_are() {
    for fault in [Fault::Broken, Fault::Full] {
        let world = World::new(7, &[]);
        let b = world.open(&[]);
        b.topics.put(vec![topic("made-1", 3)]).unwrap();
        for at in 0..2 {
            world.disk.fail_at(world.disk.ops() + at, fault);
            let name = format!("made-{at}-refused");
            let refused = b.topics.put(vec![topic(&name, 3)]).is_err();
            assert_eq!(b.topics.get(&name).is_none(), refused, "{fault:?} {at}");
            b.topics.put(vec![topic(&format!("made-{at}-later"), 3)]).unwrap();
        }
        let before = made(&b);
        drop(b);
        world.disk.crash(Loss::Everything);
        assert_eq!(made(&world.open(&[])), before, "{fault:?}");
    }
}

fn journal_files(b: &Broker) -> usize {
    b.env.disk.list(Path::new(JOURNAL)).unwrap().len()
}

#[test]
fn while_the_file_cannot_be_written_its_journal_is_one_file_more_however_often_it_is_tried() {
    let world = World::new(7, &[]);
    let b = world.open(&[]);
    b.topics.put(vec![topic("made-1", 3)]).unwrap();
    b.topics.save().unwrap();
    b.env.disk.make_dirs(Path::new(IN_THE_WAY)).unwrap();
    for i in 0..20 {
        b.topics.put(vec![topic("made-2", i + 1)]).unwrap();
        b.topics.save().unwrap_err();
    }
    assert_eq!(journal_files(&b), 2);
    // It is a broken journal, too, that costs a file once.
    world.disk.fail_at(world.disk.ops() + 1, Fault::Broken);
    for _ in 0..20 {
        b.topics.put(vec![topic("made-3", 3)]).unwrap_err();
    }
    assert_eq!(journal_files(&b), 3);
    let before = made(&b);
    drop(b);
    world.disk.crash(Loss::Everything);
    let b = world.open(&[]);
    assert_eq!(made(&b), before);

    b.env.disk.remove_tree(Path::new(IN_THE_WAY)).unwrap();
    b.topics.put(vec![topic("made-3", 3)]).unwrap();
    b.topics.save().unwrap();
    assert_eq!(journal_files(&b), 1, "the file has everything");
    let before = made(&b);
    drop(b);
    world.disk.crash(Loss::Everything);
    assert_eq!(made(&world.open(&[])), before);
}

/// What one table holds, entry by entry.
fn entries(made: &Made) -> [Vec<String>; 2] {
    let topics = made.0.iter().map(|topic| format!("{topic:?}")).collect();
    let mut groups: Vec<_> = made.1.iter().map(|group| format!("{group:?}")).collect();
    groups.push(format!("{}", made.2));
    [topics, groups]
}

/// Whether two states of a table are one change apart at most: an entry that came, went or became another.
fn is_near(one: &[String], other: &[String]) -> bool {
    let lacks = |one: &[String], other: &[String]| one.iter().filter(|entry| !other.contains(entry)).count();
    lacks(one, other) <= 1 && lacks(other, one) <= 1
}

#[test]
fn a_disk_that_refuses_this_and_that_loses_nothing_that_was_answered() {
    let mut answered = 0;
    for seed in 0..48 {
        let world = World::new(seed, &[]);
        let rng = SimRng::seeded(seed);
        for life in 0..3 {
            let b = world.open(&[]);
            let first = world.disk.ops();
            for op in (first..first + 2_000).filter(|_| rng.below(40) == 0) {
                let fault = [Fault::Broken, Fault::Full][rng.below(2) as usize];
                world.disk.fail_at(op, fault);
            }
            // Whether something was refused since a table last took a change or was written.
            let mut is_open = [false; 2];
            for number in 0..40 {
                let _it_may_fail = match number % 13 {
                    4 => b.env.disk.make_dirs(Path::new(IN_THE_WAY)),
                    11 => b.env.disk.remove_tree(Path::new(IN_THE_WAY)),
                    _ => Ok(()),
                };
                let before = entries(&made(&b));
                let is_done = step(&b, number + life);
                let after = entries(&made(&b));
                let is_save = (number + life) % 7 == 6;
                for (at, is_open) in is_open.iter_mut().enumerate() {
                    let is_taken = is_done && (is_save || before[at] != after[at]);
                    answered += u32::from(is_taken && !is_save);
                    *is_open = !is_taken && (*is_open || !is_done);
                }
            }
            let before = entries(&made(&b));
            drop(b);
            world
                .disk
                .crash([Loss::Everything, Loss::Random][rng.below(2) as usize]);
            let found = entries(&made(&world.open(&[])));
            for ((found, before), is_open) in found.iter().zip(&before).zip(is_open) {
                assert!(
                    found == before || (is_open && is_near(found, before)),
                    "seed {seed}, life {life}: {found:?}, not {before:?}; refused at the end: {is_open}"
                );
            }
        }
    }
    assert!(answered > 300, "{answered}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_written_is_tried_less_and_less_often() {
    let world = World::new(7, &[]);
    let env = world.open(&[]).env.clone();
    let found = Ledger::open::<TopicConfigTable, TopicConfig>(&env, Path::new("/t.json")).unwrap();
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let save = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(SaveError {
            path: TOPICS.into(),
            source: std::io::ErrorKind::StorageFull.into(),
        })
    };
    let stop = CancellationToken::new();
    let saving = found.ledger.keep_saving(save, stop.clone());
    let end = async {
        tokio::time::sleep(Duration::from_secs(600)).await;
        stop.cancel();
    };
    tokio::join!(saving, end);
    let tries = tries.load(Ordering::Relaxed);
    assert!((15..30).contains(&tries), "{tries}");
}

/// The names of topics that a start finds, and what it warns of, after something was done to the file.
fn after_damage(damage: impl FnOnce(&World)) -> (Vec<String>, Vec<String>) {
    let world = World::new(7, &[]);
    let b = world.open(&[]);
    for name in ["made-1", "made-2", "made-3"] {
        b.topics.put(vec![topic(name, 3)]).unwrap();
        b.topics.save().unwrap();
    }
    for name in ["made-4", "made-5"] {
        b.topics.put(vec![topic(name, 3)]).unwrap();
    }
    drop(b);
    damage(&world);
    Warnings::of(|| {
        let mut found = Vec::new();
        // The second time nothing of the journal may be missing that the first has taken from it.
        for _ in 0..2 {
            let b = world.open(&[]);
            found = entries(&made(&b))[0].clone();
            b.topics.save().unwrap();
        }
        found
    })
}

fn write_topics(world: &World, bytes: &[u8]) {
    let file = world.disk.open(Path::new(TOPICS)).unwrap();
    file.set_len(0).unwrap();
    file.write_at(bytes, 0).unwrap();
}

#[test]
fn changes_in_a_journal_that_counts_for_nothing_are_told_with_their_number_and_why() {
    let other = b"{\"dataVersion\":{},\"topicConfigTable\":{}}";
    let (found, lines) = after_damage(|world| write_topics(world, other));
    assert!(!found.iter().any(|name| name.contains("made-")), "{found:?}");
    let told = lines.iter().find(|line| line.contains("count for nothing"));
    let told = told.unwrap_or_else(|| panic!("{lines:?}"));
    assert!(
        told.contains("count=2 ") && told.contains("somebody else") && told.contains("topics.json"),
        "{told}"
    );
}

#[test]
fn changes_in_the_journal_outlive_the_file_that_they_follow_on() {
    let backup = store::disk::backup_of(Path::new(TOPICS));
    let gone = |world: &World, path: &Path| world.disk.remove(path).unwrap();
    type Damage<'a> = (&'a str, &'a dyn Fn(&World), &'a [u32]);
    let cases: [Damage<'_>; 4] = [
        (
            "damaged",
            &|world| write_topics(world, b"{ damaged"),
            &[1, 2, 4, 5],
        ),
        ("empty", &|world| write_topics(world, b""), &[1, 2, 4, 5]),
        ("missing", &|world| gone(world, Path::new(TOPICS)), &[1, 2, 4, 5]),
        (
            "missing with its backup",
            &|world| {
                gone(world, Path::new(TOPICS));
                gone(world, &backup);
            },
            &[4, 5],
        ),
    ];
    for (case, damage, expected) in cases {
        let (found, lines) = after_damage(damage);
        for number in 1..=5 {
            let name = format!("made-{number}");
            let is_there = found.iter().any(|found| found.contains(&name));
            assert_eq!(
                is_there,
                expected.contains(&number),
                "{case}: {name} of {found:?}"
            );
        }
        let told = lines.iter().find(|line| line.contains("applied to its backup"));
        let told = told.unwrap_or_else(|| panic!("{case}: {lines:?}"));
        assert!(
            told.contains("count=2 ") && told.contains("topics.json"),
            "{told}"
        );
    }
}

#[test]
fn a_new_topic_costs_the_disk_the_same_however_many_there_are() {
    let world = World::new(7, &[]);
    let b = world.open(&[]);
    let written = |b: &Arc<Broker>, name: &str| {
        let before = world.disk.bytes_written();
        b.topics.put(vec![topic(name, 8)]).unwrap();
        world.disk.bytes_written() - before
    };
    let first = written(&b, "made-000000");
    b.topics
        .put((1..20_000).map(|i| topic(&format!("made-{i:06}"), 8)).collect())
        .unwrap();
    b.topics.save().unwrap();
    let last = written(&b, "made-100000");
    assert!(first > 100 && last <= first + 16, "{first} bytes, then {last}");
}

#[test]
fn name_servers_can_be_told_the_changes_alone_as_long_as_all_are_known_and_nothing_is_gone() {
    let world = World::new(7, &[]);
    let b = world.open(&[]);
    let names = |step: u64| {
        let now = b.topics.all().clone();
        let topics = b.topics.since(&now, step)?;
        Some(
            topics
                .into_iter()
                .map(|topic| topic.topic_name)
                .collect::<Vec<_>>(),
        )
    };
    b.topics.put(vec![topic("made-1", 1)]).unwrap();
    b.topics
        .put(vec![topic("made-2", 1), topic("made-3", 1)])
        .unwrap();
    b.topics.put(vec![topic("made-1", 2)]).unwrap();
    assert_eq!(names(0).unwrap(), ["made-1", "made-2", "made-3"]);
    assert_eq!(names(2).unwrap(), ["made-1"]);
    assert_eq!(names(3).unwrap(), [] as [Str; 0]);
    b.topics.remove(&["made-2".into()]).unwrap();
    assert_eq!(names(2), None);
    b.topics.touch().unwrap();
    assert_eq!(names(4), None);
    for i in 0..crate::topic::NEWS_MAX as i32 + 1 {
        b.topics.put(vec![topic("made-1", i + 10)]).unwrap();
    }
    assert_eq!(names(5), None);
    assert_eq!(names(6).unwrap(), ["made-1"]);
}
