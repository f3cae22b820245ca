// SPDX-License-Identifier: Apache-2.0
//! Every table of a broker, damaged or gone, with its backup or without: what is known is there again and is told, or the start
//! says which file is to blame and what mends it. Messages are never affected.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use store::disk::{Disk, backup_of};
use store::inspect;
use store::{All, Draft, Env, QueueKind, ReadLimit};
use wire::body::group::SubscriptionGroupConfig;
use wire::body::topic::TopicConfig;

use crate::attributes::{BATCH_CQ, QUEUE_TYPE};
use crate::broker::Broker;
use crate::warnings::Warnings;
use crate::world::World;

const CONFIG: &str = "/store/config";

fn topic(name: &str, queues: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.into(),
        write_queue_nums: queues,
        read_queue_nums: queues,
        perm: 6,
        ..TopicConfig::default()
    }
}

fn send(b: &Broker, topic: &str, id: u32, count: usize) {
    let queue = b.store.queue(topic, id);
    for number in 0..count {
        let properties = format!("UNIQ_KEY\u{1}{topic}-{id}-{number}\u{2}");
        let draft = Draft {
            queue: &queue,
            flag: 0,
            sys_flag: 0,
            born_at: 1,
            born_host: ([127, 0, 0, 1], 1234).into(),
            store_host: ([127, 0, 0, 1], 10911).into(),
            reconsume_times: 0,
            prepared_pos: 0,
            body: b"a message",
            properties: properties.as_bytes(),
            wait: true,
        };
        b.store.append(&draft).unwrap();
        b.store.drive();
    }
}

/// A broker that was used and has ended in order, with a backup of each table.
fn used(settings: &'static [(&'static str, &'static str)]) -> World {
    let world = World::new(7, settings);
    let b = world.open(&[]);
    let mut batched = topic("made-batched", 1);
    batched.attributes.insert(QUEUE_TYPE.into(), BATCH_CQ.into());
    b.topics
        .put(vec![topic("made-a", 3), batched, topic("%RETRY%made-h", 1)])
        .unwrap();
    b.groups
        .put(vec![SubscriptionGroupConfig {
            group_name: "made-g".into(),
            ..SubscriptionGroupConfig::default()
        }])
        .unwrap();
    for id in 0..3 {
        send(&b, "made-a", id, 5);
    }
    send(&b, "made-batched", 0, 3);
    send(&b, "%RETRY%made-h", 0, 2);
    b.offsets.commit("made-g", "made-a", (0, 2), 0);
    b.topics.save().unwrap();
    b.groups.save().unwrap();
    b.save_offsets().unwrap();
    b.topics.put(vec![topic("made-b", 1)]).unwrap();
    send(&b, "made-b", 0, 1);
    b.groups
        .put(vec![SubscriptionGroupConfig {
            group_name: "made-h".into(),
            ..SubscriptionGroupConfig::default()
        }])
        .unwrap();
    b.offsets.commit("made-g", "made-a", (1, 4), 0);
    b.close().unwrap();
    drop(b);
    world
}

fn tables(world: &World) -> Vec<PathBuf> {
    let names = world.disk.list(Path::new(CONFIG)).unwrap();
    let names = names
        .iter()
        .filter(|entry| !entry.is_dir && entry.name.ends_with(".json"));
    let mut paths: Vec<PathBuf> = names.map(|entry| Path::new(CONFIG).join(&entry.name)).collect();
    paths.sort();
    assert!(paths.len() >= 3, "{paths:?}");
    paths
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Flipped,
    Cut,
    Zeros,
    Empty,
    Gone,
}

const HARMS: [Harm; 5] = [Harm::Flipped, Harm::Cut, Harm::Zeros, Harm::Empty, Harm::Gone];

fn harm(world: &World, path: &Path, harm: Harm) {
    if world.disk.entry(path).unwrap().is_none() {
        return;
    }
    let file = world.disk.open(path).unwrap();
    let len = file.len().unwrap();
    match harm {
        Harm::Flipped => {
            let bytes = world.disk.load(path).unwrap().unwrap();
            let at = bytes.iter().position(|byte| *byte == b':').unwrap_or(0);
            file.write_at(&[bytes[at] ^ 1], at as u64).unwrap();
        }
        Harm::Cut => file.set_len(len / 2).unwrap(),
        Harm::Zeros => file.write_at(&vec![0; len as usize], 0).unwrap(),
        Harm::Empty => file.set_len(0).unwrap(),
        Harm::Gone => return world.disk.remove(path).unwrap(),
    }
    file.sync().unwrap();
}

/// Opens, and checks all that does not depend on which table was lost.
fn open(world: &World, why: &str) -> (Arc<Broker>, Vec<String>) {
    let (b, lines) = Warnings::of(|| world.open(&[]));
    for (name, queues) in [
        ("made-a", 3),
        ("made-b", 1),
        ("made-batched", 1),
        ("%RETRY%made-h", 1),
    ] {
        let topic = b
            .topics
            .get(name)
            .unwrap_or_else(|| panic!("{why}: {name} is there"));
        assert_eq!(topic.config.write_queue_nums, queues, "{why}: {name}");
        assert_eq!(topic.is_batch, name == "made-batched", "{why}: {name}");
    }
    for group in ["made-g", "made-h"] {
        assert!(b.groups.find(group).is_some(), "{why}: {group} is there");
    }
    let limit = ReadLimit {
        count: 100,
        bytes: 1 << 20,
        scan: 100,
        far: None,
    };
    for (name, id, count) in [
        ("made-a", 0, 5),
        ("made-a", 2, 5),
        ("made-b", 0, 1),
        ("made-batched", 0, 3),
    ] {
        let queue = b.store.find_queue(name, id).unwrap();
        let batch = b.store.read(&queue, 0, &limit, &All).unwrap();
        assert_eq!(batch.count, count, "{why}: {name}/{id}");
    }
    let kind = b.store.find_queue("made-batched", 0).unwrap().kind();
    assert_eq!(kind, QueueKind::Batch, "{why}");
    (b, lines)
}

fn tells_of(lines: &[String], path: &Path) -> bool {
    // Or its journal.
    let name = path.file_stem().unwrap().to_str().unwrap();
    lines.iter().any(|line| line.contains(name))
}

const LAYOUTS: [&[(&str, &str)]; 2] = [&[], &[("consumeQueueLayout", "compact")]];

#[test]
fn a_damaged_table_gives_way_to_its_backup_and_that_is_told() {
    for settings in LAYOUTS {
        for path in tables(&used(settings)) {
            for how in HARMS {
                // The layout of queues makes no difference to the others.
                if !settings.is_empty() && how != Harm::Gone {
                    continue;
                }
                let world = used(settings);
                if world.disk.entry(&backup_of(&path)).unwrap().is_none() {
                    continue;
                }
                let why = format!("{} {how:?} {settings:?}", path.display());
                harm(&world, &path, how);
                let (b, lines) = open(&world, &why);
                assert!(tells_of(&lines, &path), "{why}: {lines:?}");
                assert_eq!(b.offsets.query("made-g", "made-a", 0), Some(2), "{why}");
                b.close().unwrap();
                drop(b);
                // What was made good for is whole.
                let (_, lines) = open(&world, &why);
                assert!(!tells_of(&lines, &path), "{why}: {lines:?}");
            }
        }
    }
}

#[test]
fn a_table_that_is_gone_is_made_anew_of_the_rest_of_the_store_and_that_is_told() {
    for settings in LAYOUTS {
        for path in tables(&used(settings)) {
            let world = used(settings);
            let why = format!("{} gone {settings:?}", path.display());
            harm(&world, &path, Harm::Gone);
            harm(&world, &backup_of(&path), Harm::Gone);
            let (b, lines) = open(&world, &why);
            let is_needed = ["topics.json", "subscriptionGroup.json", "consumerOffset.json"]
                .iter()
                .any(|name| path.ends_with(name));
            assert_eq!(tells_of(&lines, &path), is_needed, "{why}: {lines:?}");
            if !path.ends_with("consumerOffset.json") {
                assert_eq!(b.offsets.query("made-g", "made-a", 1), Some(4), "{why}");
            }
            // A kill right after that does not lose it again.
            drop(b);
            world.disk.crash(store::disk::sim::Loss::Everything);
            open(&world, &format!("{why}, after a kill"));
        }
    }
}

#[test]
fn without_topics_and_groups_at_once_all_that_the_store_tells_is_there() {
    for settings in LAYOUTS {
        let world = used(settings);
        for path in tables(&world) {
            if !path.ends_with("consumerOffset.json") {
                harm(&world, &path, Harm::Gone);
                harm(&world, &backup_of(&path), Harm::Gone);
            }
        }
        for journal in ["topics.journal", "subscriptionGroup.journal"] {
            world.disk.remove_tree(&Path::new(CONFIG).join(journal)).unwrap();
        }
        open(&world, "all gone");
    }
}

#[test]
fn a_table_that_is_damaged_with_its_backup_ends_the_start_and_is_named_with_what_mends_it() {
    for path in tables(&used(&[])) {
        for how in [Harm::Flipped, Harm::Cut, Harm::Zeros] {
            let world = used(&[]);
            let why = format!("{} {how:?}", path.display());
            harm(&world, &path, how);
            harm(&world, &backup_of(&path), how);
            let told = match world.try_open(&[]) {
                // Statistics are not worth a refusal.
                Ok(_) if path.ends_with("timermetrics") || path.ends_with("brokerConfigHistory.json") => {
                    continue;
                }
                Ok(_) => panic!("{why}: it starts"),
                Err(error) => error.to_string(),
            };
            assert!(told.contains(&path.display().to_string()), "{why}: {told}");
            assert!(told.contains("barque store repair"), "{why}: {told}");
            let env = Env {
                disk: Arc::clone(&world.disk) as _,
                ..Env::real()
            };
            let config = inspect::measured(store::StoreConfig::at("/store"), &*world.disk).unwrap();
            // The refused start has left its store open for nobody.
            let repaired = inspect::repair(&config, &env, false).unwrap();
            assert!(
                repaired.actions.iter().any(|action| action.file == path),
                "{why}: {repaired:?}"
            );
            let aside = repaired
                .copies
                .unwrap()
                .join("config")
                .join(path.file_name().unwrap());
            assert!(world.disk.entry(&aside).unwrap().is_some(), "{why}: it is kept");
            open(&world, &why);
        }
    }
}
