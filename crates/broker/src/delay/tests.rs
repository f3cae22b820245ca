// SPDX-License-Identifier: Apache-2.0
//! Delivery on a disk that stops at every write, fails and fills up, with a clock that moves when told.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::disk::sim::{Fault, Loss};
use store::{All, Draft, GateState, Level, ReadError, ReadLimit, Store};
use wire::Str;
use wire::record::Record;

use super::deliver::{Line, Wait};
use super::{lines, park};
use crate::broker::Broker;
use crate::names::SCHEDULE_TOPIC;
use crate::world::{START_MS, World};

/// Messages of one round.
const MESSAGES: usize = 24;

fn world(seed: u64) -> World {
    World::new(
        seed,
        &[
            ("mappedFileSizeCommitLog", "16384"),
            ("messageDelayLevel", "1s 5s"),
            ("timerWheelEnable", "false"),
        ],
    )
}

/// Parks a message; returns whether it is durable.
fn send(b: &Broker, level: i32, (topic, id): (&str, i32), name: &str) -> bool {
    let parked = park(b, level, (&Str::from(topic), id));
    let properties = parked.rewrite(format!("DELAY\u{1}{level}\u{2}UNIQ_KEY\u{1}{name}\u{2}").as_bytes());
    let queue = b
        .store
        .queue(&parked.topic, u32::try_from(parked.queue_id).unwrap());
    let receipt = b.store.append(&draft(&queue, name.as_bytes(), &properties));
    b.store.drive();
    b.store.turn_flush();
    receipt.is_ok_and(|receipt| b.store.state(&receipt.gate, Level::Durable) == GateState::Passed)
}

fn draft<'a>(queue: &'a Arc<store::Queue>, body: &'a [u8], properties: &'a [u8]) -> Draft<'a> {
    Draft {
        queue,
        flag: 7,
        sys_flag: 1,
        born_at: 5,
        born_host: ([127, 0, 0, 1], 1234).into(),
        store_host: ([127, 0, 0, 1], 10911).into(),
        reconsume_times: 3,
        prepared_pos: 0,
        body,
        properties,
        wait: true,
    }
}

/// Turns until nothing is due any more, or something fails again and again. Saves in between.
async fn deliver(b: &Broker, lines: &mut [Line]) -> Vec<Wait> {
    let mut ends = Vec::new();
    for line in lines {
        let mut failures = 0;
        ends.push(loop {
            match line.turn().await {
                Wait::Turn => drop(b.delays.save(b.store.durable())),
                Wait::Retry if failures < 3 => failures += 1,
                wait => break wait,
            }
        });
    }
    b.store.turn_flush();
    drop(b.delays.save(b.store.durable()));
    ends
}

fn stored(store: &Store, topic: &str, id: u32) -> Vec<Record> {
    let Some(queue) = store.find_queue(topic, id) else {
        return Vec::new();
    };
    let limit = ReadLimit {
        count: 1000,
        bytes: 1 << 20,
        scan: 1000,
        far: None,
    };
    match store.read(&queue, queue.min(), &limit, &All) {
        Ok(batch) => Record::decode_all(&batch.bytes).map(Result::unwrap).collect(),
        Err(ReadError::AtEnd { .. } | ReadError::Empty) => Vec::new(),
        Err(error) => panic!("{topic}/{id}: {error}"),
    }
}

fn bodies(store: &Store, topic: &str, id: u32) -> Vec<String> {
    let records = stored(store, topic, id);
    records
        .iter()
        .map(|record| String::from_utf8_lossy(&record.body).into_owned())
        .collect()
}

const QUEUES: [(&str, i32); 3] = [("A", 0), ("A", 1), ("%RETRY%G", 0)];

/// One life of the broker: messages are sent, their time comes, they are delivered. Returns those that are durable, by
/// level and queue.
async fn live(world: &World, b: &Arc<Broker>) -> BTreeMap<(i32, usize), Vec<String>> {
    let mut lines = lines(b);
    let mut sent: BTreeMap<(i32, usize), Vec<String>> = BTreeMap::new();
    for round in 0..2 {
        for n in 0..MESSAGES / 2 {
            let (level, queue) = (1 + (n % 2) as i32, n % 3);
            let name = format!("{level}-{queue}-{round}-{n}");
            if send(b, level, QUEUES[queue], &name) {
                sent.entry((level, queue)).or_default().push(name);
            }
        }
        b.store.turn_tidy();
        world.pass(5000);
        deliver(b, &mut lines).await;
    }
    sent
}

/// What a life has promised must be delivered, in order, and nothing more often than there were lives.
fn check(b: &Broker, sent: &BTreeMap<(i32, usize), Vec<String>>, lives: usize, why: &str) {
    for ((level, queue), names) in sent {
        let (topic, id) = QUEUES[*queue];
        let all = bodies(&b.store, topic, id.cast_unsigned());
        let of_level: Vec<&String> = all
            .iter()
            .filter(|name| name.starts_with(&format!("{level}-")))
            .collect();
        let mut first_seen: Vec<&String> = Vec::new();
        for name in &of_level {
            let times = of_level.iter().filter(|other| *other == name).count();
            assert!(times <= lives, "{why}: {name} is there {times} times");
            if !first_seen.contains(name) {
                first_seen.push(name);
            }
        }
        let promised: Vec<&String> = first_seen
            .iter()
            .copied()
            .filter(|name| names.contains(name))
            .collect();
        assert_eq!(
            promised,
            names.iter().collect::<Vec<_>>(),
            "{why}: level {level}, {topic}/{id}"
        );
    }
}

#[tokio::test]
async fn every_message_is_delivered_once_in_order_as_it_was_sent() {
    let world = world(1);
    let b = world.open(&[]);
    let sent = live(&world, &b).await;
    assert_eq!(sent.values().map(Vec::len).sum::<usize>(), MESSAGES);
    check(&b, &sent, 1, "one life");
    let [first, ..] = &stored(&b.store, "%RETRY%G", 0)[..] else {
        panic!()
    };
    assert_eq!(
        (first.flag, first.sys_flag, first.born_at, first.reconsume_times),
        (7, 1, 5, 3)
    );
    let parked = &stored(&b.store, SCHEDULE_TOPIC, 0)[1];
    assert_eq!(
        first.properties, parked.properties,
        "it keeps the marks of its parking"
    );
    b.close().unwrap();
    let b = world.open(&[]);
    deliver(&b, &mut lines(&b)).await;
    check(&b, &sent, 1, "after a stop");
    b.close().unwrap();
}

#[tokio::test]
async fn nothing_is_early() {
    let world = world(1);
    let b = world.open(&[]);
    let mut lines = lines(&b);
    assert!(send(&b, 1, ("A", 0), "one"));
    assert!(send(&b, 2, ("A", 0), "two"));
    world.pass(999);
    let waits = deliver(&b, &mut lines).await;
    assert_eq!(
        waits,
        [Wait::Until(START_MS + 1000), Wait::Until(START_MS + 5000)]
    );
    world.pass(1);
    assert_eq!(deliver(&b, &mut lines).await[0], Wait::Growth);
    assert_eq!(bodies(&b.store, "A", 0), ["one"]);
    // The clock goes back by an hour: the other waits its delay again, and no longer.
    world.clock.set(START_MS - 3_600_000);
    assert_eq!(
        deliver(&b, &mut lines).await[1],
        Wait::Until(START_MS - 3_600_000 + 5000)
    );
    world.pass(5000);
    deliver(&b, &mut lines).await;
    assert_eq!(bodies(&b.store, "A", 0), ["one", "two"]);
    b.close().unwrap();
}

/// Crashes after every operation on the disk, with each kind of loss.
#[tokio::test]
async fn a_crash_anywhere_loses_nothing_and_repeats_only_what_was_not_saved() {
    let ops = {
        let world = world(0);
        let b = world.open(&[]);
        live(&world, &b).await;
        world.disk.ops()
    };
    for halt in (1..ops).step_by(3) {
        let loss = [Loss::Nothing, Loss::Everything, Loss::Random][(halt / 3 % 3) as usize];
        let why = format!("crash at {halt}, {loss:?}");
        let world = world(halt);
        world.disk.halt_at(halt);
        let sent = match world.try_open(&[]) {
            Ok(b) => live(&world, &b).await,
            Err(_) => BTreeMap::new(),
        };
        world.disk.crash(loss);
        world.pass(10_000);
        let b = world.open(&[]);
        deliver(&b, &mut lines(&b)).await;
        check(&b, &sent, 2, &why);
        b.close().unwrap();
        let b = world.open(&[]);
        let before: Vec<_> = QUEUES
            .iter()
            .map(|(topic, id)| bodies(&b.store, topic, id.cast_unsigned()))
            .collect();
        deliver(&b, &mut lines(&b)).await;
        let after: Vec<_> = QUEUES
            .iter()
            .map(|(topic, id)| bodies(&b.store, topic, id.cast_unsigned()))
            .collect();
        assert_eq!(before, after, "{why}: nothing is repeated after a stop");
        b.close().unwrap();
    }
}

#[tokio::test]
async fn a_write_that_fails_is_done_again_as_a_whole() {
    for op in 0..12 {
        let world = world(op);
        let b = world.open(&[]);
        for n in 0..10 {
            assert!(send(&b, 1, QUEUES[n % 2], &format!("1-{}-{n}", n % 2)));
        }
        world.pass(1000);
        world.disk.fail_at(world.disk.ops() + op, Fault::Full);
        deliver(&b, &mut lines(&b)).await;
        for (queue, (topic, id)) in QUEUES[..2].iter().enumerate() {
            let expected: Vec<String> = (0..10)
                .filter(|n| n % 2 == queue)
                .map(|n| format!("1-{queue}-{n}"))
                .collect();
            assert_eq!(
                bodies(&b.store, topic, id.cast_unsigned()),
                expected,
                "operation {op}"
            );
        }
    }
}

#[tokio::test]
async fn while_the_disk_is_full_messages_wait() {
    let world = world(3);
    let b = world.open(&[]);
    assert!(send(&b, 1, ("A", 0), "one"));
    world.pass(1000);
    world.disk.set_full(true);
    let mut lines = lines(&b);
    assert_eq!(deliver(&b, &mut lines).await[0], Wait::Retry);
    assert_eq!(bodies(&b.store, "A", 0), Vec::<String>::new());
    world.disk.set_full(false);
    assert_eq!(deliver(&b, &mut lines).await[0], Wait::Growth);
    assert_eq!(bodies(&b.store, "A", 0), ["one"]);
}

#[tokio::test]
async fn a_message_that_can_never_be_delivered_holds_no_other_up() {
    let world = world(4);
    let b = world.open(&[]);
    let park_raw = |name: &str, properties: &str| {
        let queue = b.store.queue(SCHEDULE_TOPIC, 0);
        let text = format!("DELAY\u{1}1\u{2}{properties}");
        b.store
            .append(&draft(&queue, name.as_bytes(), text.as_bytes()))
            .unwrap();
        b.store.drive();
    };
    assert!(send(&b, 1, ("A", 0), "one"));
    park_raw("belongs nowhere", "a\u{1}b\u{2}");
    park_raw("no queue", "REAL_TOPIC\u{1}A\u{2}REAL_QID\u{1}x\u{2}");
    park_raw(
        "half",
        "REAL_TOPIC\u{1}RMQ_SYS_TRANS_HALF_TOPIC\u{2}REAL_QID\u{1}0\u{2}",
    );
    park_raw(
        "no such topic can be",
        "REAL_TOPIC\u{1}../x\u{2}REAL_QID\u{1}0\u{2}",
    );
    assert!(send(&b, 1, ("A", 0), "two"));
    world.pass(1000);
    assert_eq!(deliver(&b, &mut lines(&b)).await[0], Wait::Growth);
    assert_eq!(bodies(&b.store, "A", 0), ["one", "two"]);
    assert!(bodies(&b.store, "RMQ_SYS_TRANS_HALF_TOPIC", 0).is_empty());
    b.close().unwrap();
}

#[tokio::test]
async fn levels_that_are_gone_from_the_settings_are_delivered_too() {
    let world = world(5);
    let b = world.open(&[]);
    assert!(send(&b, 2, ("A", 0), "two"));
    assert!(send(&b, 99, ("A", 0), "the highest level is meant"));
    b.close().unwrap();
    let b = world.try_open(&[("messageDelayLevel", "1s")]).unwrap();
    let mut lines = lines(&b);
    world.pass(4999);
    deliver(&b, &mut lines).await;
    assert!(bodies(&b.store, "A", 0).is_empty());
    world.pass(1);
    deliver(&b, &mut lines).await;
    assert_eq!(bodies(&b.store, "A", 0), ["two", "the highest level is meant"]);
    b.close().unwrap();
}

#[tokio::test]
async fn messages_that_are_only_on_disk_are_fetched_where_waiting_is_allowed() {
    let world = world(6);
    let b = world.open(&[]);
    for n in 0..40 {
        assert!(send(&b, 1, ("A", 0), &n.to_string()));
    }
    b.close().unwrap();
    world.pass(1000);
    world.disk.set_cold(true);
    let b = world.open(&[]);
    deliver(&b, &mut lines(&b)).await;
    assert_eq!(bodies(&b.store, "A", 0).len(), 40);
    b.close().unwrap();
}

#[tokio::test]
async fn invented_queues_and_topics_are_not_made_without_end() {
    let world = world(7);
    let b = world.try_open(&[("topicsMax", "40")]).unwrap();
    for n in 0..100 {
        assert!(send(&b, 1, (&format!("invented-{n}"), 0), "one"));
        assert!(send(&b, 1, ("A", 1000 + n), "many"));
    }
    world.pass(1000);
    assert_eq!(deliver(&b, &mut lines(&b)).await[0], Wait::Growth);
    assert_eq!(b.store.topics().len(), 40);
    assert_eq!(b.store.queues_of("A").len(), 1);
    assert_eq!(bodies(&b.store, "A", 0).len(), 100);
    b.close().unwrap();
}

#[tokio::test]
async fn what_waits_since_the_log_was_lost_is_delivered_also_after_another_crash() {
    let world = world(1);
    let b = world.open(&[]);
    for n in 0..3 {
        assert!(send(&b, 2, QUEUES[0], &format!("old {n}")));
    }
    world.pass(6000);
    deliver(&b, &mut lines(&b)).await;
    b.close().unwrap();
    drop(b);
    world.lose_log();
    let b = world.open(&[]);
    for n in 0..2 {
        assert!(send(&b, 2, QUEUES[0], &format!("new {n}")));
    }
    // Before anything of any level is delivered.
    drop(b);
    world.disk.crash(Loss::Nothing);
    let b = world.open(&[]);
    world.pass(6000);
    deliver(&b, &mut lines(&b)).await;
    assert_eq!(bodies(&b.store, "A", 0), ["new 0", "new 1"]);
}
