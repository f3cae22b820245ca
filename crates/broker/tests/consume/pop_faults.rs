// SPDX-License-Identifier: Apache-2.0
//! Pops where something happens to the queue, the group or the disk meanwhile.

use std::sync::Arc;
use std::time::Duration;

use store::disk::sim::{Loss, SimDisk};
use wire::api::offset::{CloneGroupOffset, GetMaxOffset, InvokeBrokerToResetOffset, UpdateConsumerOffset};
use wire::api::pop::{BatchAckMessage, PopMessage};
use wire::api::send::{SendBatchMessage, SendMessageV2};
use wire::api::topic::{DeleteTopicInBroker, UpdateAndCreateTopic};
use wire::batch::{SubMessage, encode_sub_message};
use wire::body::pop::{BatchAck, BatchAcks};
use wire::fastjson;
use wire::frame::Frame;

use crate::life::Life;
use crate::pop_crash::start;
use crate::pops::{Got, MINUTE, Popped, env, held, pop, timed};
use crate::rig::{Client, Rig, SOON};

fn reset_to(offset: i64) -> InvokeBrokerToResetOffset {
    InvokeBrokerToResetOffset {
        topic: "T".into(),
        group: "G".into(),
        queue_id: Some(0),
        offset: Some(offset),
        timestamp: Some(-1),
        is_force: true,
    }
}

async fn reset(client: &Client, topic: &str, offset: i64) {
    let reply = client
        .ask(&InvokeBrokerToResetOffset {
            topic: topic.into(),
            ..reset_to(offset)
        })
        .await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
}

#[tokio::test(flavor = "multi_thread")]
async fn pops_go_on_where_an_operator_sets_the_group() {
    let (timed, client) = timed(&[]).await;
    for body in ["a", "b", "c", "d"] {
        client.send("T", 0, body).await;
    }
    let two = PopMessage {
        max_msg_nums: 2,
        ..pop("T", 0)
    };
    let first = client.pop(&two).await;
    assert_eq!(first.bodies(), ["a", "b"]);
    let all = client.pop(&pop("T", 0)).await;
    assert_eq!(all.bodies(), ["c", "d"]);
    // A held pop is woken by it.
    let waiting = client.pop_in_background(held("T", 0)).await;
    reset(&client, "T", 1).await;
    let again = waiting.await.unwrap();
    assert_eq!(again.bodies(), ["b", "c", "d"]);
    client.ack(&all.messages[1]).await;
    client.ack(&first.messages[0]).await;
    assert_eq!(
        client.committed("T", 0).await,
        1,
        "a handle from before the reset settles nothing"
    );
    for got in &again.messages {
        client.ack(got).await;
    }
    assert_eq!(client.committed("T", 0).await, 4);
    // Forward: what is passed over does not come, what is out does.
    for body in ["e", "f", "g"] {
        client.send("T", 0, body).await;
    }
    let one = PopMessage {
        max_msg_nums: 1,
        ..pop("T", 0)
    };
    assert_eq!(client.pop(&one).await.bodies(), ["e"]);
    reset(&client, "T", 6).await;
    assert_eq!(client.pop(&pop("T", 0)).await.bodies(), ["g"]);
    timed.pass(MINUTE as u64);
    let mut bodies = Vec::new();
    while bodies.len() < 2 {
        let popped = client.pop(&held("T", -1)).await;
        bodies.extend(popped.messages.iter().map(|got| got.body.clone()));
    }
    bodies.sort();
    assert_eq!(bodies, ["e", "g"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_out_of_a_deleted_topic_does_not_come_again_from_the_next_one_of_that_name() {
    let (timed, client) = timed(&[]).await;
    client.send("T", 0, "old").await;
    assert_eq!(client.pop(&pop("T", 0)).await.bodies(), ["old"]);
    client.get(&DeleteTopicInBroker { topic: "T".into() }).await;
    client.make_topic("T", 2).await;
    client.send("T", 0, "new").await;
    let longer = PopMessage {
        invisible_time: 3 * MINUTE,
        ..pop("T", 0)
    };
    let popped = client.pop(&longer).await;
    assert_eq!(popped.bodies(), ["new"]);
    // A lease of another queue ends with the old one, to see that its time is over.
    client.send("T", 1, "mark").await;
    assert_eq!(client.pop(&pop("T", 1)).await.bodies(), ["mark"]);
    let patient = PopMessage {
        poll_time: 3 * MINUTE,
        ..pop("T", -1)
    };
    let waiting = client.pop_in_background(patient).await;
    timed.pass(MINUTE as u64);
    assert_eq!(waiting.await.unwrap().bodies(), ["mark"]);
    assert_eq!(client.pop(&pop("T", -1)).await.bodies(), [""; 0]);
    client.ack(&popped.messages[0]).await;
    assert_eq!(client.committed("T", 0).await, 1);
}

async fn make_batch_topic(client: &Client) {
    let topic = UpdateAndCreateTopic {
        topic: "B".into(),
        read_queue_nums: 1,
        write_queue_nums: 1,
        perm: 6,
        attributes: Some("+queue.type=BatchCQ".into()),
        ..UpdateAndCreateTopic::default()
    };
    assert_eq!(client.ask(&topic).await.code, 0);
}

async fn send_batch(client: &Client, bodies: &[&str]) {
    let mut all = Vec::new();
    for body in bodies {
        let message = SubMessage {
            flag: 0,
            body: body.as_bytes(),
            properties: b"",
        };
        encode_sub_message(&mut all, &message);
    }
    let header = SendBatchMessage(SendMessageV2 {
        producer_group: "PG".into(),
        topic: "B".into(),
        default_topic: "TBW102".into(),
        born_timestamp: 1,
        properties: Some("UNIQ_KEY\u{1}B\u{2}".into()),
        batch: Some(true),
        ..SendMessageV2::default()
    });
    assert_eq!(client.ask_with(&header, all).await.code, 0);
}

fn offsets(popped: &Popped) -> Vec<i64> {
    popped.messages.iter().map(|got| got.offset).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_several_messages_comes_again_as_one() {
    let (timed, client) = timed(&[]).await;
    make_batch_topic(&client).await;
    send_batch(&client, &["a", "b", "c"]).await;
    client.send("B", 0, "d").await;
    let popped = client.pop(&pop("B", 0)).await;
    assert_eq!(offsets(&popped), [0, 3]);
    client.ack(&popped.messages[1]).await;
    assert_eq!(client.committed("B", 0).await, 0);
    let waiting = client.pop_in_background(held("B", -1)).await;
    timed.pass(MINUTE as u64);
    let again = waiting.await.unwrap();
    assert_eq!(again.messages.len(), 1);
    let got = &again.messages[0];
    assert_eq!((got.topic.as_str(), got.reconsumed), ("%RETRY%G_B", 1));
    assert_eq!(got.body, popped.messages[0].body, "all three");
    client.ack(got).await;
    client.commits("B", 0, 4).await;
    client.commits("%RETRY%G_B", 0, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_set_into_the_middle_of_a_record_gets_all_of_it() {
    let (_timed, client) = timed(&[]).await;
    make_batch_topic(&client).await;
    send_batch(&client, &["a", "b", "c"]).await;
    send_batch(&client, &["d", "e", "f"]).await;
    for order in [false, true] {
        reset(&client, "B", 4).await;
        let ask = PopMessage {
            order: Some(order),
            ..pop("B", 0)
        };
        let popped = client.pop(&ask).await;
        assert_eq!(offsets(&popped), [3]);
        assert_eq!(client.committed("B", 0).await, 3);
        assert_eq!(client.ack(&popped.messages[0]).await.code, 0);
        // The ordered one goes on behind the offset that is acknowledged, as in the reference.
        let behind = if order { 4 } else { 6 };
        assert_eq!(client.committed("B", 0).await, behind);
    }
}

/// A lease this short ends while the test looks on.
const SHORT_MS: i64 = 50;

fn short() -> PopMessage {
    PopMessage {
        max_msg_nums: 32,
        invisible_time: SHORT_MS,
        ..pop("T", -1)
    }
}

/// A pop that keeps the order of its queue.
fn ordered(count: i32) -> PopMessage {
    PopMessage {
        order: Some(true),
        max_msg_nums: count,
        ..pop("T", 0)
    }
}

async fn make_topic(life: &Life) {
    life.client.make_topic("T", 1).await;
}

/// Three messages, which are popped and acknowledged.
async fn send_and_settle(life: &Life) {
    make_topic(life).await;
    for body in ["a", "b", "c"] {
        life.client.send("T", 0, body).await;
    }
    for got in &life.client.pop(&pop("T", 0)).await.messages {
        life.client.ack(got).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_outlasts_an_end_at_any_moment() {
    let disk = Arc::new(SimDisk::seeded(1));
    let life = start(&disk).await.unwrap();
    send_and_settle(&life).await;
    reset(&life.client, "T", 1).await;
    // Saved, and nobody has popped since.
    let config = std::path::Path::new("/store/config/consumerOffset.json");
    let saved = async {
        while !is_saved(&disk, config) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, saved).await.expect("saved");
    disk.halt_at(disk.ops());
    life.end().await;
    disk.crash(Loss::Nothing);
    let life = start(&disk).await.unwrap();
    assert_eq!(life.client.pop(&pop("T", 0)).await.bodies(), ["b", "c"]);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_where_it_was_set_to_once_a_full_disk_has_room() {
    let disk = Arc::new(SimDisk::seeded(1));
    let life = start(&disk).await.unwrap();
    send_and_settle(&life).await;
    disk.set_full(true);
    let reply = life.client.ask(&reset_to(1)).await;
    assert_ne!(reply.code, 0, "it would not outlast a kill");
    let popped = life.client.ask(&pop("T", 0)).await;
    assert_ne!(popped.code, 0, "nothing can be lent");
    disk.set_full(false);
    assert_eq!(life.client.pop(&pop("T", 0)).await.bodies(), ["b", "c"]);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_offsets_that_is_asked_for_again_after_a_full_disk_outlasts_a_kill() {
    let disk = Arc::new(SimDisk::seeded(1));
    let life = start(&disk).await.unwrap();
    send_and_settle(&life).await;
    // A group that has settled one message only.
    let behind = PopMessage {
        consumer_group: "H".into(),
        max_msg_nums: 1,
        ..pop("T", 0)
    };
    let one = life.client.pop(&behind).await;
    let settled = BatchAck {
        consumer_group: "H".into(),
        ..entry(&one, "AQ==")
    };
    assert_eq!(batch_ack(&life.client, vec![settled]).await.code, 0);
    let copy = CloneGroupOffset {
        src_group: "H".into(),
        dest_group: "G".into(),
        topic: Some("T".into()),
        offline: Some(true),
    };
    disk.set_full(true);
    assert_ne!(
        life.client.ask(&copy).await.code,
        0,
        "it would not outlast a kill"
    );
    disk.set_full(false);
    assert_eq!(life.client.ask(&copy).await.code, 0);
    disk.halt_at(disk.ops());
    life.end().await;
    disk.crash(Loss::Nothing);
    let life = start(&disk).await.unwrap();
    assert_eq!(life.client.pop(&pop("T", 0)).await.bodies(), ["b", "c"]);
    life.end().await;
}

/// Under SYNC_FLUSH, where the file of offsets is not written meanwhile: all messages were popped and acknowledged, then a client
/// of the operator sets the group back, and the power goes.
async fn set_back_before_a_power_cut(set_back: impl AsyncFn(&Client)) {
    let settings = [
        ("flushDiskType", "SYNC_FLUSH"),
        ("flushConsumerOffsetInterval", "1000000"),
    ];
    let disk = Arc::new(SimDisk::seeded(1));
    let life = Life::start(Arc::clone(&disk) as _, &settings).await.unwrap();
    send_and_settle(&life).await;
    set_back(&life.client).await;
    disk.halt_at(disk.ops());
    life.end().await;
    disk.crash(Loss::Everything);
    let life = Life::start(Arc::clone(&disk) as _, &settings).await.unwrap();
    assert_eq!(life.client.pop(&pop("T", 0)).await.bodies(), ["b", "c"]);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_a_group_that_pops_outlives_a_power_cut_under_sync_flush() {
    set_back_before_a_power_cut(async |client| reset(client, "T", 1).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_for_a_group_that_pops_outlives_a_power_cut_under_sync_flush() {
    set_back_before_a_power_cut(async |client| {
        let header = UpdateConsumerOffset {
            consumer_group: "G".into(),
            topic: "T".into(),
            queue_id: 0,
            commit_offset: 1,
        };
        client.get(&header).await;
    })
    .await;
}

fn is_saved(disk: &Arc<SimDisk>, path: &std::path::Path) -> bool {
    use store::disk::Disk;
    let bytes = disk.load(path).ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace([' ', '\n', '\t'], "");
    text.contains("\"T@G\":{0:1") || text.contains("\"T@G\":{\"0\":1")
}

/// One of the reads fails while what was not settled is written to the retry topic.
async fn failing_read(number: u32) {
    let disk = Arc::new(SimDisk::seeded(2));
    let life = start(&disk).await.unwrap();
    make_topic(&life).await;
    for body in ["a", "b", "c", "d"] {
        life.client.send("T", 0, body).await;
    }
    // What was written in this life is still in memory.
    life.end().await;
    let life = start(&disk).await.unwrap();
    assert_eq!(life.client.pop(&short()).await.messages.len(), 4);
    let log = std::path::Path::new("/store/commitlog/00000000000000000000");
    disk.fail_read_after(log, number);
    life.client.commits("T", 0, 4).await;
    let mut popped = life
        .client
        .pop(&pop("T", -1))
        .await
        .bodies()
        .join("")
        .into_bytes();
    popped.sort_unstable();
    assert_eq!(popped, b"abcd", "each comes once, when read {number} fails");
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_does_not_make_others_come_twice() {
    for number in 0..6 {
        failing_read(number).await;
    }
}

/// What was on disk before is handed out again until it is acknowledged, whatever the machine forgets.
async fn power_cut(seed: u64, loss: Loss) {
    let disk = Arc::new(SimDisk::seeded(seed));
    let life = start(&disk).await.unwrap();
    make_topic(&life).await;
    let all: Vec<String> = (0..6).map(|n| n.to_string()).collect();
    for body in &all {
        life.client.send("T", 0, body).await;
    }
    // All of it is on disk.
    life.end().await;
    let life = start(&disk).await.unwrap();
    assert_eq!(life.client.pop(&short()).await.messages.len(), 6);
    // They come again, some of them twice, and the machine ends somewhere on the way.
    let wait = Duration::from_millis(SHORT_MS as u64 + seed % 40 * 3);
    tokio::time::sleep(wait).await;
    drop(life.client.pop(&short()).await);
    disk.halt_at(disk.ops() + seed % 23);
    tokio::time::sleep(Duration::from_millis(SHORT_MS as u64 / 2)).await;
    disk.halt_at(disk.ops());
    life.end().await;
    disk.crash(loss);
    let life = start(&disk).await.expect("the machine works");
    let mut missing: std::collections::BTreeSet<String> = all.into_iter().collect();
    let rest = async {
        while !missing.is_empty() {
            let ask = PopMessage {
                poll_time: 1_000,
                ..pop("T", -1)
            };
            for got in &life.client.pop(&ask).await.messages {
                missing.remove(&got.body);
            }
        }
    };
    let found = tokio::time::timeout(SOON, rest).await;
    assert!(found.is_ok(), "seed {seed}, {loss:?}: lost {missing:?}");
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_ends_loses_no_message_that_was_on_disk() {
    for seed in 0..12 {
        power_cut(seed, [Loss::Everything, Loss::Random][(seed % 2) as usize]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_queue_goes_on_behind_what_was_settled_after_an_end_at_any_moment() {
    let disk = Arc::new(SimDisk::seeded(3));
    let life = start(&disk).await.unwrap();
    make_topic(&life).await;
    for body in ["a", "b", "c", "d"] {
        life.client.send("T", 0, body).await;
    }
    let ordered = PopMessage {
        invisible_time: SHORT_MS,
        ..ordered(3)
    };
    let popped = life.client.pop(&ordered).await;
    assert_eq!(popped.bodies(), ["a", "b", "c"]);
    life.client.ack(&popped.messages[0]).await;
    disk.halt_at(disk.ops());
    life.end().await;
    disk.crash(Loss::Nothing);
    let life = start(&disk).await.unwrap();
    // It may be blocked until the time of the batch is over.
    let patient = PopMessage {
        poll_time: 20_000,
        max_msg_nums: 32,
        ..ordered
    };
    let again = life.client.pop(&patient).await;
    assert_eq!(again.bodies(), ["b", "c", "d"]);
    // A handle from before the end settles nothing of the new batch.
    life.client.ack(&popped.messages[1]).await;
    assert_eq!(life.client.committed("T", 0).await, 1);
    for got in &again.messages {
        life.client.ack(got).await;
    }
    assert_eq!(life.client.committed("T", 0).await, 4);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_handles_and_times_beyond_all_measure_are_answered_and_harm_nothing() {
    let (timed, client) = timed(&[]).await;
    client.send("T", 0, "a").await;
    client.send("T", 1, "b").await;
    let popped = client.pop(&pop("T", 0)).await;
    let got = &popped.messages[0];
    let time = popped.header.pop_time;
    for handle in [
        format!("{} {time} {} 0 0 broker-a 0 0", i64::MAX, i64::MAX),
        format!("{} {} {} 0 0 broker-a 0 0", i64::MIN, i64::MIN, i64::MIN),
        format!("0 {} 60000 -7 0 broker-a -1 -1", time - 1),
        format!("0 {time} 60000 999 0 broker-a 0 0"),
        format!("0 {} 60000 999 7 x", i64::MIN),
    ] {
        let forged = Got {
            handle,
            ..got.clone()
        };
        // The first one names the right time, which is what a handle is good for.
        let is_good = forged.handle.contains(&format!(" {time} {}", i64::MAX));
        if !is_good {
            assert_eq!(client.ack(&forged).await.code, 0, "{}", forged.handle);
            assert_eq!(client.committed("T", 0).await, 0, "{}", forged.handle);
        }
        let elsewhere = Got {
            queue_id: 1,
            ..forged
        };
        assert_eq!(client.ack(&elsewhere).await.code, 0);
        assert_eq!(client.committed("T", 1).await, 0);
    }
    assert_eq!(client.ack(got).await.code, 0);
    assert_eq!(client.committed("T", 0).await, 1);
    for invisible_time in [i64::MAX, 0, i64::MIN] {
        let ask = PopMessage {
            invisible_time,
            poll_time: MINUTE,
            ..pop("T", -1)
        };
        let popped = client.pop(&ask).await;
        assert_eq!(popped.bodies(), ["b"], "{invisible_time}");
        // Back to a time that ends, when it is still ours.
        let (_, changed) = client.change(&popped.messages[0], 1).await;
        timed.pass(2);
        drop(changed);
    }
    for max_msg_nums in [0, -1, i32::MIN] {
        let ask = PopMessage {
            max_msg_nums,
            ..pop("T", 0)
        };
        assert_eq!(client.pop(&ask).await.code, 210);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_offsets_somebody_took_away_begins_anew() {
    let (timed, client) = timed(&[]).await;
    for body in ["a", "b", "c"] {
        client.send("T", 0, body).await;
    }
    let popped = client.pop(&pop("T", 0)).await;
    client.ack(&popped.messages[0]).await;
    let dir = timed.rig.stop().await;
    for name in ["consumerOffset.json", "consumerOffset.json.bak"] {
        let path = dir.path().join("store/config").join(name);
        drop(std::fs::remove_file(path));
    }
    // With the journal: without it they would be taken from there.
    std::fs::remove_dir_all(dir.path().join("store/config/consumerOffset.journal")).unwrap();
    let rig = Rig::start_on(env(&timed.clock), dir, &[]).await;
    let client = rig.client().await;
    assert_eq!(client.pop(&pop("T", 0)).await.bodies(), ["a", "b", "c"]);
}

/// One entry about queue 0 of topic `T`; bit 0 of the first byte is offset 0.
fn entry(popped: &Popped, bits: &str) -> BatchAck {
    BatchAck {
        bits: bits.into(),
        consumer_group: "G".into(),
        topic: "T".into(),
        retry: "0".into(),
        pop_time: popped.header.pop_time,
        invisible_time: MINUTE,
        revive_qid: popped.header.revive_qid,
        ..BatchAck::default()
    }
}

async fn batch_ack(client: &Client, acks: Vec<BatchAck>) -> Frame {
    let body = BatchAcks {
        acks,
        broker_name: "broker-a".into(),
    };
    client.ask_with(&BatchAckMessage, fastjson::to_vec(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_acknowledgements_names_only_so_many_messages() {
    let (_timed, client) = timed(&[]).await;
    for body in ["a", "b", "c"] {
        client.send("T", 0, body).await;
    }
    let popped = client.pop(&pop("T", 0)).await;
    // 65,472 offsets each.
    let all = "/".repeat(10_912);
    let reply = batch_ack(&client, vec![entry(&popped, &all); 100]).await;
    assert_eq!(reply.code, 13, "{:?}", reply.remark);
    assert!(reply.remark.unwrap().contains("may name 16384"));
    let reply = batch_ack(&client, vec![entry(&popped, ""); 16_385]).await;
    assert_eq!(reply.code, 13, "entries without a message count, too");
    assert_eq!(client.committed("T", 0).await, 0, "nothing of it is done");
    let most = "/".repeat(2_728);
    let reply = batch_ack(&client, vec![entry(&popped, &most), entry(&popped, "Aw==")]).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    assert_eq!(client.committed("T", 0).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_acknowledgements_passes_over_queues_there_are_not() {
    let (_timed, client) = timed(&[]).await;
    client.send("T", 0, "a").await;
    let popped = client.pop(&pop("T", 0)).await;
    // From before this start: as if a reference broker had handed it out.
    let foreign = BatchAck {
        pop_time: popped.header.pop_time - 1,
        ..entry(&popped, "AQ==")
    };
    let of_no_topic = BatchAck {
        topic: "NONE".into(),
        ..foreign.clone()
    };
    let of_no_queue = BatchAck {
        queue_id: 7,
        ..foreign.clone()
    };
    // Only where there are timer messages can a reference broker have been; notes of acknowledgements are some, too.
    client
        .send_with("T", 1, "late", "TIMER_DELAY_SEC\u{1}3600\u{2}")
        .await;
    let timers = async || {
        let ask = GetMaxOffset {
            topic: "rmq_sys_wheel_timer".into(),
            ..GetMaxOffset::default()
        };
        client.get(&ask).await.offset
    };
    assert_eq!(timers().await, 1);
    let reply = batch_ack(&client, vec![of_no_topic, of_no_queue]).await;
    assert_eq!((reply.code, timers().await), (0, 1));
    let reply = batch_ack(&client, vec![foreign]).await;
    assert_eq!((reply.code, timers().await), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_ordered_batch_the_others_are_settled_where_one_is_refused() {
    let (_timed, client) = timed(&[]).await;
    for tag in ["A", "B", "A"] {
        client.send_tagged("T", 0, tag).await;
    }
    let ordered = PopMessage {
        order: Some(true),
        exp: Some("A".into()),
        ..pop("T", 0)
    };
    let popped = client.pop(&ordered).await;
    assert_eq!(offsets(&popped), [0, 2]);
    let batch = vec![entry(&popped, "Bg=="), entry(&popped, "AQ==")];
    let reply = batch_ack(&client, batch).await;
    assert_eq!(reply.code, 13, "offset 1 is not in the batch");
    assert_eq!(client.committed("T", 0).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_offsets_is_not_undone_by_the_acknowledgement_of_an_ordered_batch() {
    let (_timed, client) = timed(&[]).await;
    for body in ["a", "b", "c", "d"] {
        client.send("T", 0, body).await;
    }
    let ordered = ordered(2);
    let first = client.pop(&ordered).await;
    for got in &first.messages {
        client.ack(got).await;
    }
    let open = client.pop(&ordered).await;
    assert_eq!(open.bodies(), ["c", "d"]);
    // A group that has settled one message only.
    let behind = PopMessage {
        consumer_group: "H".into(),
        max_msg_nums: 1,
        ..ordered.clone()
    };
    let one = client.pop(&behind).await;
    let settled = BatchAck {
        consumer_group: "H".into(),
        ..entry(&one, "AQ==")
    };
    assert_eq!(batch_ack(&client, vec![settled]).await.code, 0);
    let copy = CloneGroupOffset {
        src_group: "H".into(),
        dest_group: "G".into(),
        topic: Some("T".into()),
        offline: Some(true),
    };
    assert_eq!(client.ask(&copy).await.code, 0);
    client.ack(&open.messages[0]).await;
    let again = client.pop(&ordered).await;
    assert_eq!(again.bodies(), ["b", "c"], "{}", again.remark);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_batch_that_is_settled_while_it_is_read_again_is_not_handed_out() {
    let disk = Arc::new(SimDisk::seeded(5));
    let life = start(&disk).await.unwrap();
    make_topic(&life).await;
    for body in ["a", "b", "c"] {
        life.client.send("T", 0, body).await;
    }
    // What was written in this life is still in memory.
    life.end().await;
    let life = start(&disk).await.unwrap();
    let ordered = PopMessage {
        // Long enough for the second pop to be held before it is over.
        invisible_time: 3_000,
        ..ordered(2)
    };
    let late = life.client.pop(&ordered).await;
    assert_eq!(late.bodies(), ["a", "b"]);
    let patient = PopMessage {
        poll_time: 20_000,
        ..ordered
    };
    let again = life.client.pop_in_background(patient).await;
    let reading = disk.hold_reads();
    let reading = tokio::task::spawn_blocking(move || {
        assert!(reading.wait_for_one(SOON));
        reading
    });
    let reading = reading.await.unwrap();
    for got in &late.messages {
        life.client.ack(got).await;
    }
    drop(reading);
    let again = again.await.unwrap();
    assert_eq!(again.bodies(), ["c"]);
    life.client.ack(&again.messages[0]).await;
    assert_eq!(life.client.committed("T", 0).await, 3);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_batch_from_before_a_reset_neither_moves_nor_holds_up_the_group_after_a_kill() {
    // To elsewhere, and to where the batch begins: there it looks like a batch of now.
    for (offset, expected) in [(0, ["a", "b"]), (2, ["c", "d"])] {
        let disk = Arc::new(SimDisk::seeded(6));
        let never = [("flushConsumerOffsetInterval", "3600000")];
        let begin = async || Life::start(Arc::clone(&disk) as _, &never).await.unwrap();
        let life = begin().await;
        make_topic(&life).await;
        for body in ["a", "b", "c", "d"] {
            life.client.send("T", 0, body).await;
        }
        for got in &life.client.pop(&ordered(2)).await.messages {
            life.client.ack(got).await;
        }
        let open = life.client.pop(&ordered(2)).await;
        assert_eq!(open.bodies(), ["c", "d"]);
        // The batch is in its file from now on.
        life.end().await;
        let life = begin().await;
        reset(&life.client, "T", offset).await;
        disk.halt_at(disk.ops());
        life.end().await;
        disk.crash(Loss::Nothing);
        let life = begin().await;
        if offset == 0 {
            life.client.ack(&open.messages[0]).await;
        }
        let again = life.client.pop(&ordered(2)).await;
        assert_eq!(again.bodies(), expected, "{offset}: {}", again.remark);
        life.end().await;
    }
}

/// Messages of an ordered batch that are with a consumer, and gone from the log since: a broker started again, and the batch.
async fn cut_behind(bodies: &[&str]) -> (Life, Popped) {
    let disk = Arc::new(SimDisk::seeded(7));
    let never = [
        ("flushConsumerOffsetInterval", "3600000"),
        ("flushIntervalCommitLog", "3600000"),
    ];
    let begin = async || Life::start(Arc::clone(&disk) as _, &never).await.unwrap();
    let life = begin().await;
    make_topic(&life).await;
    life.client.make_topic("Other", 1).await;
    life.client.send("Other", 0, "x").await;
    for body in bodies {
        life.client.send("T", 0, body).await;
    }
    let popped = life.client.pop(&ordered(bodies.len() as i32)).await;
    assert_eq!(popped.bodies(), bodies);
    // Whoever is answered this finds the batches in their file, too.
    reset(&life.client, "Other", 0).await;
    disk.halt_at(disk.ops());
    life.end().await;
    disk.crash(Loss::Everything);
    (begin().await, popped)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_acknowledgement_does_not_settle_what_came_in_the_place_of_a_lost_message() {
    let (life, lost) = cut_behind(&["lost"]).await;
    assert!(life.client.pop(&ordered(1)).await.bodies().is_empty());
    assert_eq!(life.client.send("T", 0, "instead").await.queue_offset, 0);
    life.client.ack(&lost.messages[0]).await;
    assert_eq!(life.client.pop(&ordered(1)).await.bodies(), ["instead"]);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_batch_of_messages_that_a_power_cut_took_does_not_hold_up_those_that_come_instead() {
    let (life, _) = cut_behind(&["a", "b"]).await;
    for body in ["c", "d"] {
        life.client.send("T", 0, body).await;
    }
    let instead = life.client.pop(&ordered(2)).await;
    assert_eq!(instead.bodies(), ["c", "d"], "{}", instead.remark);
    life.end().await;
}
