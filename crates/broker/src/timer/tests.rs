// SPDX-License-Identifier: Apache-2.0
//! Delivery on a disk that stops at some write, with a clock that moves when told.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::disk::Disk as _;
use store::disk::sim::{Fault, Loss};
use store::env::Clock;
use store::{All, GateState, Level, ReadError, ReadLimit};
use wire::Str;
use wire::record::Record;

use super::run::Turn;
use super::{Asks, park};
use crate::broker::Broker;
use crate::put::Put;
use crate::world::{START_MS, World};

fn world(seed: u64) -> World {
    World::new(
        seed,
        &[
            ("mappedFileSizeTimerLog", "4096"),
            ("timerMaxDelaySec", "31536000"),
        ],
    )
}

/// Parks a message; returns whether it is durable.
fn send(b: &Broker, deliver_ms: i64, name: &str) -> bool {
    let deliver = deliver_ms.to_string();
    let asks = Asks {
        deliver_ms: Some(&deliver),
        ..Asks::default()
    };
    let parked = park(b, &b.config(), &asks, (&Str::from("T"), 0))
        .unwrap()
        .unwrap();
    let text = format!("TIMER_DELIVER_MS\u{1}{deliver}\u{2}UNIQ_KEY\u{1}{name}\u{2}");
    let receipt = b.put(&Put {
        topic: &parked.topic,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_at: 1,
        born_host: ([127, 0, 0, 1], 1234).into(),
        reconsume_times: 0,
        prepared_pos: 0,
        body: name.as_bytes(),
        properties: &parked.rewrite(text.as_bytes()),
    });
    b.store.drive();
    b.store.turn_flush();
    receipt.is_ok_and(|receipt| b.store.state(&receipt.gate, Level::Durable) == GateState::Passed)
}

/// So many that are due soon.
fn send_some(b: &Broker, count: usize) {
    for n in 0..count {
        assert!(send(b, START_MS + 1_500, &n.to_string()));
    }
}

/// Turns until there is nothing to do, or the disk is gone.
fn turns(b: &Broker) -> Turn {
    let mut failures = 0;
    loop {
        let turn = b.timing.running.as_ref().unwrap().lock().turn(b);
        match turn {
            Turn::Again => {}
            Turn::Pause | Turn::Written if failures < 3 => failures += 1,
            turn => return turn,
        }
    }
}

fn flush(b: &Broker) {
    // A disk that stops is what is tested.
    drop(super::run::flush(b));
}

fn delivered(b: &Broker) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    let limit = ReadLimit {
        count: 10_000,
        bytes: 1 << 24,
        scan: 10_000,
        far: None,
    };
    let Some(queue) = b.store.find_queue("T", 0) else {
        return all;
    };
    match b.store.read(&queue, queue.min(), &limit, &All) {
        Ok(batch) => {
            for record in Record::decode_all(&batch.bytes) {
                let record = record.unwrap();
                let deliver: i64 = record.property("TIMER_DELIVER_MS").unwrap().parse().unwrap();
                assert!(record.stored_at >= deliver, "nothing comes early");
                *all.entry(String::from_utf8(record.body.to_vec()).unwrap())
                    .or_default() += 1;
            }
        }
        Err(ReadError::Empty) => {}
        Err(error) => panic!("{error}"),
    }
    all
}

fn crashes(loss: Loss) {
    // Each opening makes a wheel of its full size in memory: every third write is enough.
    for stop_after in (0..24).step_by(3) {
        let world = world(stop_after);
        let b = world.open(&[]);
        let mut sent = Vec::new();
        for n in 0..12 {
            let name = format!("m{n}");
            assert!(send(&b, START_MS + 1_000 + 700 * n, &name));
            sent.push(name);
        }
        turns(&b);
        flush(&b);
        world.pass(3_500);
        world.disk.halt_at(world.disk.ops() + stop_after);
        turns(&b);
        flush(&b);
        world.pass(2_000);
        turns(&b);
        flush(&b);
        drop(b);
        world.disk.crash(loss);
        let b = world.open(&[]);
        world.pass(20_000);
        turns(&b);
        let out = delivered(&b);
        for name in &sent {
            let count = out.get(name).copied().unwrap_or(0);
            assert!(
                (1..=2).contains(&count),
                "stop {stop_after}: {name} came {count} times"
            );
        }
    }
}

#[test]
fn a_process_that_ends_at_any_write_loses_nothing() {
    crashes(Loss::Nothing);
}

#[test]
fn a_machine_that_stops_at_any_write_loses_nothing() {
    crashes(Loss::Random);
}

#[test]
fn what_was_delivered_before_a_flush_is_not_delivered_again() {
    let world = world(1);
    let b = world.open(&[]);
    for n in 0..6 {
        assert!(send(&b, START_MS + 1_000 + n, &n.to_string()));
    }
    turns(&b);
    world.pass(3_000);
    turns(&b);
    flush(&b);
    drop(b);
    world.disk.crash(Loss::Everything);
    let b = world.open(&[]);
    world.pass(3_000);
    turns(&b);
    assert_eq!(delivered(&b).into_values().collect::<Vec<_>>(), [1; 6]);
}

#[test]
fn a_disk_that_fills_up_delays_and_loses_nothing() {
    let world = world(1);
    let b = world.open(&[]);
    send_some(&b, 6);
    turns(&b);
    world.pass(3_000);
    world.disk.set_full(true);
    assert_ne!(turns(&b), Turn::Again);
    assert_eq!(delivered(&b).len(), 0);
    world.disk.set_full(false);
    turns(&b);
    assert_eq!(delivered(&b).into_values().collect::<Vec<_>>(), [1; 6]);
}

#[test]
fn a_message_a_year_ahead_comes_in_its_second() {
    let world = world(1);
    let b = world.open(&[("fileReservedTime", "100000")]);
    let due = START_MS + 365 * 86_400_000;
    assert!(send(&b, due, "next year"));
    let mut rolls = 0;
    while delivered(&b).is_empty() {
        turns(&b);
        let next = b
            .timing
            .running
            .as_ref()
            .unwrap()
            .lock()
            .timers
            .next_due_ms()
            .unwrap();
        let Some(next) = next else { break };
        world.pass((next - world.clock.now_ms()).max(1).unsigned_abs());
        rolls += 1;
    }
    assert_eq!(delivered(&b).len(), 1);
    assert!(world.clock.now_ms() - due < 1_000);
    assert!((180..200).contains(&rolls), "{rolls} rolls");
}

/// Parks what takes a message back.
fn recall(b: &Broker, deliver_ms: i64, name: &str) {
    let deliver = deliver_ms.to_string();
    let asks = Asks {
        deliver_ms: Some(&deliver),
        recalls: Some(name),
        ..Asks::default()
    };
    let parked = park(b, &b.config(), &asks, (&Str::from("T"), 0))
        .unwrap()
        .unwrap();
    let text = format!("TIMER_DEL_UNIQKEY\u{1}{name}\u{2}UNIQ_KEY\u{1}{name}\u{2}");
    let put = Put {
        topic: &parked.topic,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_at: 1,
        born_host: ([127, 0, 0, 1], 1234).into(),
        reconsume_times: 0,
        prepared_pos: 0,
        body: b"0",
        properties: &parked.rewrite(text.as_bytes()),
    };
    b.put(&put).unwrap();
    b.store.drive();
}

/// An orderly end and a new start: no message is in memory then.
fn reopen(world: &World, b: Arc<Broker>) -> Arc<Broker> {
    b.close().unwrap();
    drop(b);
    world.open(&[])
}

fn segment(world: &World, name: &str) -> Arc<dyn store::disk::File> {
    world.disk.open(std::path::Path::new(name)).unwrap()
}

/// Where the message of this name lies in the first file of the commit log.
fn place_of(world: &World, name: &str) -> u64 {
    let mut bytes = vec![0; 65_536];
    let read = segment(world, FIRST).read_at(&mut bytes, 0).unwrap();
    let found = bytes[..read]
        .windows(name.len())
        .position(|window| window == name.as_bytes());
    found.unwrap() as u64
}

const FIRST: &str = "/store/commitlog/00000000000000000000";

#[test]
fn a_message_that_is_damaged_while_it_waits_holds_no_other_up() {
    let world = world(1);
    let b = world.open(&[]);
    for n in 0..6 {
        assert!(send(&b, START_MS + 1_500, &format!("message-{n}")));
    }
    turns(&b);
    let b = reopen(&world, b);
    let at = place_of(&world, "message-2");
    segment(&world, FIRST).write_at(&[0xFF; 8], at - 88).unwrap();
    world.pass(3_000);
    assert!(matches!(turns(&b), Turn::Idle(..)));
    let out = delivered(&b);
    assert_eq!(out.len(), 5);
    assert!(!out.contains_key("message-2"));
    assert_eq!(b.timing.passed_over(), 1);
}

#[test]
fn a_message_that_is_damaged_before_it_is_read_holds_no_other_up() {
    let world = world(1);
    let b = world.open(&[]);
    for n in 0..6 {
        assert!(send(&b, START_MS + 1_500, &format!("message-{n}")));
    }
    let b = reopen(&world, b);
    let at = place_of(&world, "message-2");
    segment(&world, FIRST).write_at(&[0xFF; 8], at - 88).unwrap();
    turns(&b);
    world.pass(3_000);
    turns(&b);
    assert_eq!(delivered(&b).len(), 5);
}

#[test]
fn a_disk_that_cannot_read_for_a_moment_delays_and_loses_nothing() {
    let world = world(1);
    let b = world.open(&[]);
    send_some(&b, 6);
    turns(&b);
    let b = reopen(&world, b);
    turns(&b);
    world.pass(3_000);
    world.disk.fail_reads(std::path::Path::new(FIRST), 3);
    for _ in 0..6 {
        turns(&b);
        world.pass(1_000);
    }
    assert_eq!(delivered(&b).into_values().collect::<Vec<_>>(), [1; 6]);
    assert_eq!(b.timing.passed_over(), 0);
}

/// The disk gives nothing for a long time, and the broker does not ask all the time.
fn long_trouble(world: &World, b: &Broker) {
    let path = std::path::Path::new(FIRST);
    for _ in 0..100 {
        // A read tries more than once.
        world.disk.fail_reads(path, 1000);
        turns(b);
        world.pass(6_000);
    }
    world.disk.fail_reads(path, 1000);
    turns(b);
    let before = world.disk.bytes_read();
    let turn = turns(b);
    assert!(matches!(turn, Turn::Idle(wait, _) if !wait.is_zero()), "{turn:?}");
    assert_eq!(world.disk.bytes_read(), before);
    assert_eq!(b.timing.passed_over(), 0);
    assert_eq!(delivered_names(b), Vec::<String>::new());
    world.disk.fail_reads(path, 0);
    world.pass(6_000);
    turns(b);
}

fn delivered_names(b: &Broker) -> Vec<String> {
    delivered(b).into_keys().collect()
}

#[test]
fn what_is_due_and_the_disk_does_not_give_waits_until_it_does() {
    let world = world(1);
    let b = world.open(&[]);
    send_some(&b, 3);
    turns(&b);
    let b = reopen(&world, b);
    turns(&b);
    world.pass(3_000);
    long_trouble(&world, &b);
    assert_eq!(delivered_names(&b), ["0", "1", "2"]);
}

#[test]
fn messages_of_the_timer_topic_that_the_disk_does_not_give_wait_until_it_does() {
    let world = world(1);
    let b = world.open(&[]);
    send_some(&b, 3);
    let b = reopen(&world, b);
    world.pass(3_000);
    long_trouble(&world, &b);
    assert_eq!(delivered_names(&b), ["0", "1", "2"]);
}

#[test]
fn a_message_that_lost_its_entry_is_found_however_long_the_disk_gives_nothing() {
    let world = world(1);
    let b = world.open(&[]);
    send_some(&b, 3);
    turns(&b);
    b.close().unwrap();
    drop(b);
    let log = segment(&world, "/store/timerlog/00000000000000000000");
    log.write_at(&[0x5A; 40], 52).unwrap();
    let b = world.open(&[]);
    world.pass(3_000);
    long_trouble(&world, &b);
    assert_eq!(delivered_names(&b), ["0", "1", "2"]);
}

#[test]
fn a_damaged_entry_of_the_timer_log_costs_no_message() {
    for bad in [0, 5, 11] {
        let world = world(bad);
        let b = world.open(&[]);
        for n in 0..12 {
            assert!(send(&b, START_MS + 20_500 + n % 3 * 1_000, &format!("m{n}")));
        }
        turns(&b);
        b.close().unwrap();
        drop(b);
        let log = segment(&world, "/store/timerlog/00000000000000000000");
        log.write_at(&[0x5A; 40], bad * 52).unwrap();
        let b = world.open(&[]);
        turns(&b);
        flush(&b);
        drop(b);
        world.disk.crash(Loss::Everything);
        let b = world.open(&[]);
        world.pass(30_000);
        turns(&b);
        let out = delivered(&b);
        assert_eq!(out.len(), 12, "entry {bad}");
        assert!(out.values().all(|count| *count == 1), "entry {bad}: {out:?}");
    }
}

#[test]
fn a_crash_at_any_write_while_a_damaged_entry_is_mended_loses_nothing() {
    for stop_after in (0..9).step_by(3).chain(12..24) {
        let world = world(stop_after);
        let b = world.open(&[]);
        for n in 0..12 {
            assert!(send(&b, START_MS + 20_500 + n % 3 * 1_000, &format!("m{n}")));
        }
        turns(&b);
        b.close().unwrap();
        drop(b);
        let log = segment(&world, "/store/timerlog/00000000000000000000");
        log.write_at(&[0x5A; 40], 7 * 52).unwrap();
        log.sync().unwrap();
        world.disk.halt_at(world.disk.ops() + stop_after);
        if let Ok(b) = world.try_open(&[]) {
            turns(&b);
            flush(&b);
            drop(b);
        }
        world.disk.crash(Loss::Random);
        let b = world.open(&[]);
        turns(&b);
        world.pass(30_000);
        turns(&b);
        let out = delivered(&b);
        assert_eq!(out.len(), 12, "stop {stop_after}: {out:?}");
        assert!(
            out.values().all(|count| *count <= 2),
            "stop {stop_after}: {out:?}"
        );
    }
}

#[test]
fn a_restart_within_a_tick_of_many_messages_delivers_each_once() {
    let world = world(1);
    let b = world.open(&[]);
    for n in 0..1300 {
        assert!(send(&b, START_MS + 1_500, &format!("m{n:04}")));
    }
    turns(&b);
    world.pass(3_000);
    // Some turns, and the end.
    for _ in 0..4 {
        b.timing.running.as_ref().unwrap().lock().turn(&b);
    }
    let before = delivered(&b).len();
    assert!((1..1300).contains(&before), "{before}");
    let b = reopen(&world, b);
    turns(&b);
    let out = delivered(&b);
    assert_eq!(out.len(), 1300);
    assert!(out.values().all(|count| *count == 1));
}

#[test]
fn more_recalls_than_one_turn_reads_take_back_what_they_name() {
    let world = world(1);
    let b = world.open(&[("appendTopicForTimerDeleteKey", "false")]);
    for n in 0..1600 {
        assert!(send(&b, START_MS + 5_500, &format!("m{n:04}")));
    }
    for n in 0..1500 {
        recall(&b, START_MS + 5_500, &format!("m{n:04}"));
    }
    recall(&b, START_MS + 5_500, "nobody");
    turns(&b);
    world.pass(7_000);
    turns(&b);
    let out = delivered(&b);
    assert_eq!(out.len(), 100);
    assert_eq!(out.first_key_value().unwrap().0, "m1500");
    let counts: wire::body::timer::TimerMetrics =
        wire::fastjson::from_slice(&b.timing.counts.to_json()).unwrap();
    assert_eq!(counts.timing_count.get("T").map(|timing| timing.count), Some(0));
}

#[test]
fn a_recall_that_is_read_late_takes_back_what_has_not_been_delivered() {
    let world = world(1);
    let b = world.open(&[]);
    for name in ["early", "kept", "waits"] {
        assert!(send(&b, START_MS + 5_500, name));
    }
    turns(&b);
    recall(&b, START_MS + 5_500, "waits");
    assert!(send(&b, START_MS + 5_700, "both late"));
    recall(&b, START_MS + 5_700, "both late");
    // The broker is down while the tick passes.
    let b = reopen(&world, b);
    world.pass(60_000);
    turns(&b);
    let out: Vec<String> = delivered(&b).into_keys().collect();
    assert_eq!(out, ["early", "kept"]);
}

#[test]
fn a_time_that_is_no_tick_hides_no_other_message() {
    let world = world(1);
    let b = world.open(&[]);
    for (out, name) in [
        ("1800000005000", "a"),
        ("1800000005500", "b"),
        ("1800000005000", "c"),
    ] {
        let text = format!(
            "TIMER_OUT_MS\u{1}{out}\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}0\u{2}TIMER_DELIVER_MS\u{1}1800000005001\u{2}"
        );
        let put = Put {
            topic: "rmq_sys_wheel_timer",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_at: 1,
            born_host: ([127, 0, 0, 1], 1234).into(),
            reconsume_times: 0,
            prepared_pos: 0,
            body: name.as_bytes(),
            properties: text.as_bytes(),
        };
        b.put(&put).unwrap();
    }
    b.store.drive();
    turns(&b);
    world.pass(8_000);
    turns(&b);
    assert_eq!(delivered(&b).into_keys().collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn a_send_learns_that_a_tick_is_crowded_while_the_timers_are_at_work() {
    let world = world(1);
    let b = world.open(&[("timerCongestNumEachSlot", "2")]);
    for n in 0..4 {
        assert!(send(&b, START_MS + 5_500, &n.to_string()));
    }
    turns(&b);
    let deliver = (START_MS + 5_500).to_string();
    let asks = Asks {
        deliver_ms: Some(&deliver),
        ..Asks::default()
    };
    let _at_work = b.timing.running.as_ref().unwrap().lock();
    let refused = park(&b, &b.config(), &asks, (&Str::from("T"), 0));
    assert!(refused.unwrap_err().remark.contains("flow control"));
}

#[test]
fn a_sync_that_fails_while_a_tick_is_mended_ends_the_store() {
    let mut failures = 0;
    for op in 0..12 {
        let world = world(1);
        let b = world.open(&[]);
        for n in 0..3 {
            assert!(send(&b, START_MS + 1_500, &n.to_string()));
        }
        turns(&b);
        let log = segment(&world, "/store/timerlog/00000000000000000000");
        log.write_at(&[0x5A; 40], 52).unwrap();
        world.pass(3_000);
        // The first change on the disk is that of the entry, then comes its sync.
        world.disk.fail_at(world.disk.ops() + op, Fault::Broken);
        b.timing.running.as_ref().unwrap().lock().turn(&b);
        if op == 1 {
            assert!(!b.store.is_writable(), "a sync failed");
            turns(&b);
            world.pass(3_000);
            turns(&b);
            assert_eq!(delivered(&b).len(), 0);
        }
        failures += usize::from(!b.store.is_writable());
    }
    assert!(failures > 0);
}

#[test]
fn many_recalls_that_find_nothing_are_not_read_a_second_time() {
    let world = world(1);
    let b = world.open(&[]);
    for n in 0..2000 {
        recall(&b, START_MS + 5_500, &format!("m{n:04}"));
    }
    let record = b.store.max_pos().0.unsigned_abs() / 2000;
    assert!(send(&b, START_MS + 5_500, "kept"));
    turns(&b);
    let b = reopen(&world, b);
    turns(&b);
    world.pass(7_000);
    let (mut most, mut is_over) = (0, false);
    while !is_over {
        let before = world.disk.bytes_read();
        is_over = matches!(b.timing.running.as_ref().unwrap().lock().turn(&b), Turn::Idle(..));
        most = most.max(world.disk.bytes_read() - before);
    }
    // A thousand, and their entries.
    assert!(
        most < 2000 * record,
        "{most} bytes in one turn, {record} a record"
    );
    assert_eq!(delivered(&b).into_keys().collect::<Vec<_>>(), ["kept"]);
    let counts: wire::body::timer::TimerMetrics =
        wire::fastjson::from_slice(&b.timing.counts.to_json()).unwrap();
    assert_eq!(counts.timing_count.get("T").map(|timing| timing.count), Some(0));
}

#[test]
fn invented_queues_and_topics_are_not_made_without_end() {
    let world = world(1);
    let b = world.open(&[("topicsMax", "40")]);
    let config = wire::body::topic::TopicConfig {
        topic_name: "known".into(),
        read_queue_nums: 12,
        write_queue_nums: 12,
        ..Default::default()
    };
    b.topics.put(vec![config]).unwrap();
    let forge = |topic: &str, id: u32| {
        let text =
            format!("TIMER_OUT_MS\u{1}1800000005000\u{2}REAL_TOPIC\u{1}{topic}\u{2}REAL_QID\u{1}{id}\u{2}");
        let put = Put {
            topic: "rmq_sys_wheel_timer",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_at: 1,
            born_host: ([127, 0, 0, 1], 1234).into(),
            reconsume_times: 0,
            prepared_pos: 0,
            body: b"forged",
            properties: text.as_bytes(),
        };
        b.put(&put).unwrap();
    };
    for id in [0, 11, 12, 60_000] {
        forge("known", id);
        forge("deleted", id.min(7));
    }
    forge("deleted", 8);
    for n in 0..100 {
        forge(&format!("invented-{n}"), n);
    }
    forge("known", 5);
    b.store.drive();
    turns(&b);
    world.pass(8_000);
    turns(&b);
    let sizes = |topic: &str| -> Vec<(u32, i64)> {
        let queues = b.store.queues_of(topic);
        queues.iter().map(|queue| (queue.id(), queue.max())).collect()
    };
    assert_eq!(sizes("known"), [(0, 3), (5, 1), (11, 1)]);
    assert_eq!(sizes("deleted"), [(0, 2), (7, 3)]);
    assert_eq!(b.store.topics().len(), 40);
}

/// What a slave says that acted until all that was due by then was fired.
fn said_by_slave(b: &Broker, read_ms: i64) -> store::TimerMark {
    let running = b.timing.running.as_ref().unwrap().lock();
    store::TimerMark {
        read_ms,
        ..running.timers.mark()
    }
}

#[test]
fn what_a_slave_has_fired_does_not_fire_again_and_what_it_lacked_does() {
    for lacks in [false, true] {
        let world = world(7);
        let b = world.open(&[]);
        assert!(send(&b, START_MS + 1_000, "early"));
        assert!(send(&b, START_MS + 9_000, "late"));
        turns(&b);
        let slave = said_by_slave(&b, START_MS + 5_000);
        if lacks {
            // It came to the master alone.
            assert!(send(&b, START_MS + 2_000, "unknown to it"));
            turns(&b);
        }
        world.pass(6_000);
        b.timing.take_back(&b, slave).unwrap();
        turns(&b);
        let expected: &[&str] = if lacks { &["early", "unknown to it"] } else { &[] };
        assert_eq!(delivered(&b).into_keys().collect::<Vec<_>>(), expected);
        world.pass(6_000);
        turns(&b);
        assert_eq!(delivered(&b).get("late"), Some(&1), "and the others go on");
    }
}

#[test]
fn what_a_slave_has_read_and_fired_is_not_fired_when_its_master_reads_it() {
    let world = world(8);
    let b = world.open(&[]);
    assert!(send(&b, START_MS + 1_000, "fired"));
    assert!(send(&b, START_MS + 9_000, "waits"));
    let read = b.store.find_queue(super::TIMER_TOPIC, 0).unwrap().max();
    let slave = store::TimerMark {
        queue_offset: read,
        ..said_by_slave(&b, START_MS + 5_000)
    };
    world.pass(6_000);
    b.timing.take_back(&b, slave).unwrap();
    turns(&b);
    assert!(delivered(&b).is_empty());
    world.pass(6_000);
    turns(&b);
    assert_eq!(delivered(&b).into_keys().collect::<Vec<_>>(), ["waits"]);
}

#[test]
fn a_tick_that_was_cut_short_is_over_when_the_master_has_fired_it() {
    let world = world(9);
    let b = world.open(&[]);
    send_some(&b, 3);
    assert!(send(&b, START_MS + 9_000, "late"));
    turns(&b);
    world.pass(3_000);
    {
        let mut running = b.timing.running.as_ref().unwrap().lock();
        running.timers.advance().unwrap();
        assert!(running.timers.due().unwrap().is_some(), "it has begun to fire");
    }
    let master = said_by_slave(&b, START_MS + 5_000);
    b.timing.follow(&b, master, None).unwrap();
    assert_eq!(said_by_slave(&b, 0).queue_offset, 4);
    let read_ms = b.timing.running.as_ref().unwrap().lock().timers.mark().read_ms;
    assert_eq!(read_ms, START_MS + 5_000, "as far as the master is");
    world.pass(9_000);
    b.timing.lead();
    turns(&b);
    assert_eq!(delivered(&b).into_keys().collect::<Vec<_>>(), ["late"]);
}

#[test]
fn what_waits_since_the_log_was_lost_comes_also_after_a_power_cut() {
    let world = world(1);
    let b = world.open(&[]);
    send_some(&b, 3);
    world.pass(3_000);
    turns(&b);
    b.close().unwrap();
    drop(b);
    world.lose_log();
    let b = world.open(&[]);
    for name in ["new 0", "new 1"] {
        assert!(send(&b, START_MS + 5_000, name));
    }
    // Before anything of the timers is noted.
    drop(b);
    world.disk.crash(Loss::Everything);
    let b = world.open(&[]);
    world.pass(4_000);
    turns(&b);
    let expected = [("new 0".to_owned(), 1), ("new 1".to_owned(), 1)];
    assert_eq!(delivered(&b), BTreeMap::from(expected));
}

#[test]
fn what_waited_in_a_log_that_was_lost_delivers_nothing_else_in_its_place() {
    let world = world(1);
    let b = world.open(&[]);
    for name in ["old 0", "old 1"] {
        assert!(send(&b, START_MS + 60_000, name));
    }
    turns(&b);
    b.close().unwrap();
    drop(b);
    world.lose_log();
    let b = world.open(&[]);
    for name in ["new 0", "new 1"] {
        assert!(send(&b, START_MS + 120_000, name));
    }
    turns(&b);
    world.pass(62_000);
    turns(&b);
    assert_eq!(delivered(&b), BTreeMap::new());
    world.pass(60_000);
    turns(&b);
    let expected = [("new 0".to_owned(), 1), ("new 1".to_owned(), 1)];
    assert_eq!(delivered(&b), BTreeMap::from(expected));
}
