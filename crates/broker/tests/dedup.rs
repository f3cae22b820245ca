// SPDX-License-Identifier: Apache-2.0
//! Topics that store a message once however often it is sent, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "consume/life.rs"]
#[allow(dead_code, reason = "shared with consume.rs; each uses a part of it")]
mod life;
#[path = "consume/rig.rs"]
#[expect(dead_code, reason = "shared with consume.rs; each uses a part of it")]
mod rig;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use life::Life;
use rig::{Client, Rig, pull};
use store::Env;
use store::disk::Disk;
use store::disk::sim::{Loss, SimDisk};
use store::env::sim::SimClock;
use wire::api::config::GetBrokerRuntimeInfo;
use wire::api::send::{SendBatchMessage, SendMessageV2, SendReceipt};
use wire::api::topic::UpdateAndCreateTopic;
use wire::body::stats::KvTable;
use wire::fastjson;
use wire::frame::Frame;
use wire::message_id::decode_offset_id;
use wire::record::Record;

fn topic(name: &str, window: &str) -> UpdateAndCreateTopic {
    UpdateAndCreateTopic {
        topic: name.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 2,
        write_queue_nums: 2,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        attributes: Some(window.into()),
        ..UpdateAndCreateTopic::default()
    }
}

async fn make(client: &Client, name: &str, window: &str) {
    let reply = client.ask(&topic(name, window)).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
}

fn message(group: &str, topic: &str, queue_id: i32, properties: &str) -> SendMessageV2 {
    SendMessageV2 {
        producer_group: group.into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 2,
        queue_id,
        born_timestamp: 1,
        properties: Some(properties.into()),
        ..SendMessageV2::default()
    }
}

/// Where the messages are; after a restart the ids hold another port.
fn place(receipt: &SendReceipt) -> (Vec<i64>, i32, i64) {
    let ids = receipt.msg_id.split(',');
    let positions = ids.map(|id| decode_offset_id(id).unwrap().1).collect();
    (positions, receipt.queue_id, receipt.queue_offset)
}

fn named(id: &str) -> String {
    format!("UNIQ_KEY\u{1}{id}\u{2}")
}

async fn send(client: &Client, message: &SendMessageV2, body: &str) -> SendReceipt {
    let reply = client.ask_with(message, body.to_owned()).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    reply.ext.read().unwrap()
}

async fn stored(client: &Client, topic: &str, queue: i32) -> Vec<Record> {
    let pulled = client.pull(&pull("G", topic, queue, 0)).await;
    Record::decode_all(&pulled.frame.body)
        .map(Result::unwrap)
        .collect()
}

fn bodies(records: &[Record]) -> Vec<&str> {
    let text = records.iter().map(|record| std::str::from_utf8(&record.body));
    text.map(Result::unwrap).collect()
}

async fn figure(client: &Client, key: &str) -> u64 {
    let reply = client.ask(&GetBrokerRuntimeInfo).await;
    let table: KvTable = fastjson::from_slice(&reply.body).unwrap();
    table.table.get(key).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_message_that_is_sent_again_is_stored_once_and_has_the_ids_of_the_first() {
    let rig = Rig::start().await;
    let client = rig.client_of("other", 1).await;
    make(&client, "T", "+dedup.window=1h").await;
    let first = send(&client, &message("PG", "T", 0, &named("A")), "x").await;
    // A client may choose another queue for its next try.
    for queue in [0, 1] {
        let again = send(&client, &message("PG", "T", queue, &named("A")), "x").await;
        assert_eq!(again, first);
    }
    let others = [
        (message("PG2", "T", 0, &named("A")), "x"),
        (message("PG", "T", 0, &named("B")), "x"),
        (message("PG", "T", 0, &named("A")), "y"),
        (message("PG", "T", 0, ""), "x"),
        (message("PG", "T", 0, ""), "x"),
    ];
    for (other, body) in &others {
        assert_ne!(send(&client, other, body).await.msg_id, first.msg_id);
    }
    let records = stored(&client, "T", 0).await;
    assert_eq!(bodies(&records), ["x", "x", "x", "y", "x", "x"]);
    assert!(stored(&client, "T", 1).await.is_empty());
    assert_eq!(records[0].property("PGROUP"), Some("PG"));
    assert_eq!(figure(&client, "dedupDuplicates").await, 2);
    assert_eq!(figure(&client, "dedupRemembered").await, 4);
    rig.stop().await;
}

#[tokio::test]
async fn a_topic_without_a_window_stores_what_it_is_sent() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    for _ in 0..2 {
        send(&client, &message("PG", "T", 0, &named("A")), "x").await;
    }
    let records = stored(&client, "T", 0).await;
    assert_eq!(bodies(&records), ["x", "x"]);
    assert_eq!(records[0].property("PGROUP"), None);
    make(&client, "T", "+dedup.window=10m").await;
    send(&client, &message("PG", "T", 0, &named("A")), "x").await;
    send(&client, &message("PG", "T", 0, &named("A")), "x").await;
    assert_eq!(stored(&client, "T", 0).await.len(), 3, "from now on");
    make(&client, "T", "-dedup.window").await;
    send(&client, &message("PG", "T", 0, &named("A")), "x").await;
    assert_eq!(stored(&client, "T", 0).await.len(), 4);
    let reply = client.ask(&topic("T", "+dedup.window=soon")).await;
    assert!(reply.code == 1 && reply.remark.unwrap().contains("not a duration"));
    rig.stop().await;
}

#[tokio::test]
async fn the_window_ends_and_is_the_same_after_a_restart() {
    let clock = Arc::new(SimClock::at(1_800_000_000_000));
    let env = || Env {
        clock: Arc::clone(&clock) as Arc<_>,
        ..Env::real()
    };
    let rig = Rig::start_on(env(), tempfile::tempdir().unwrap(), &[]).await;
    let client = rig.client_of("other", 1).await;
    make(&client, "T", "+dedup.window=10s").await;
    let sent = message("PG", "T", 0, &named("A"));
    let first = send(&client, &sent, "x").await;
    clock.advance(Duration::from_secs(6));
    let second = send(&client, &message("PG", "T", 1, &named("B")), "x").await;
    let dir = rig.stop().await;

    let rig = Rig::start_on(env(), dir, &[]).await;
    let client = rig.client().await;
    assert_eq!(figure(&client, "dedupRemembered").await, 2);
    assert_eq!(place(&send(&client, &sent, "x").await), place(&first));
    clock.advance(Duration::from_secs(4));
    assert_eq!(place(&send(&client, &sent, "x").await), place(&first));
    clock.advance(Duration::from_millis(1));
    assert_eq!(
        send(&client, &sent, "x").await.queue_offset,
        first.queue_offset + 1
    );
    assert_eq!(
        place(&send(&client, &message("PG", "T", 1, &named("B")), "x").await),
        place(&second),
        "the younger one is remembered still"
    );
    let dir = rig.stop().await;

    clock.advance(Duration::from_secs(7));
    let rig = Rig::start_on(env(), dir, &[]).await;
    let client = rig.client().await;
    assert_eq!(
        figure(&client, "dedupRemembered").await,
        1,
        "only the window is read again"
    );
    rig.stop().await;
}

#[tokio::test]
async fn retries_and_messages_that_are_kept_back_are_exempt() {
    let rig = Rig::start().await;
    let client = rig.client_of("other", 1).await;
    make(&client, "T", "+dedup.window=1h").await;
    make(&client, "%RETRY%G", "+dedup.window=1h").await;
    for _ in 0..2 {
        send(&client, &message("PG", "%RETRY%G", 0, &named("A")), "x").await;
        send(
            &client,
            &message("PG", "T", 0, &(named("A") + "DELAY\u{1}18\u{2}")),
            "x",
        )
        .await;
    }
    assert_eq!(stored(&client, "%RETRY%G", 0).await.len(), 2);
    assert_eq!(stored(&client, "SCHEDULE_TOPIC_XXXX", 17).await.len(), 2);
    assert_eq!(figure(&client, "dedupRemembered").await, 0);
    rig.stop().await;
}

#[tokio::test]
async fn when_there_is_no_room_the_oldest_are_forgotten_and_counted() {
    let rig = Rig::start_with(&[("dedupMessagesMax", "2")]).await;
    let client = rig.client_of("other", 1).await;
    make(&client, "T", "+dedup.window=1h").await;
    for id in ["A", "B", "C"] {
        send(&client, &message("PG", "T", 0, &named(id)), id).await;
    }
    assert_eq!(figure(&client, "dedupForgottenEarly").await, 1);
    for id in ["C", "B", "A"] {
        send(&client, &message("PG", "T", 0, &named(id)), id).await;
    }
    assert_eq!(bodies(&stored(&client, "T", 0).await), ["A", "B", "C", "A"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_topic_with_many_messages_leaves_the_others_their_share() {
    let settings = [("dedupMessagesMax", "4")];
    let rig = Rig::start_with(&settings).await;
    let client = rig.client_of("other", 1).await;
    make(&client, "T", "+dedup.window=1h").await;
    make(&client, "U", "+dedup.window=1h").await;
    for number in 0..9 {
        send(
            &client,
            &message("PG", "T", 0, &named(&format!("T{number}"))),
            "x",
        )
        .await;
    }
    assert_eq!(figure(&client, "dedupRemembered").await, 4);
    for _ in 0..3 {
        send(&client, &message("PG", "U", 0, &named("A")), "x").await;
        send(&client, &message("PG", "U", 0, &named("B")), "x").await;
        send(&client, &message("PG", "T", 0, &named("T8")), "x").await;
    }
    assert_eq!(stored(&client, "U", 0).await.len(), 2);
    assert_eq!(stored(&client, "T", 0).await.len(), 9);
    // Whoever has more than its share gives it back with its next messages.
    for number in 10..15 {
        send(
            &client,
            &message("PG", "T", 0, &named(&format!("T{number}"))),
            "x",
        )
        .await;
    }
    assert_eq!(figure(&client, "dedupRemembered").await, 4);
    send(&client, &message("PG", "U", 0, &named("A")), "x").await;
    send(&client, &message("PG", "T", 0, &named("T14")), "x").await;
    assert_eq!(stored(&client, "U", 0).await.len(), 2);
    assert_eq!(stored(&client, "T", 0).await.len(), 14);
    let dir = rig.stop().await;

    let rig = Rig::start_in(dir, &settings).await;
    let client = rig.client().await;
    assert_eq!(figure(&client, "dedupRemembered").await, 4);
    for topic in ["U", "T"] {
        let id = if topic == "U" { "B" } else { "T14" };
        send(&client, &message("PG", topic, 0, &named(id)), "x").await;
    }
    assert_eq!(stored(&client, "U", 0).await.len(), 2);
    assert_eq!(stored(&client, "T", 0).await.len(), 14);
    rig.stop().await;
}

#[tokio::test]
async fn a_start_reads_no_more_of_a_long_window_than_there_is_room_for() {
    let clock = Arc::new(SimClock::at(1_800_000_000_000));
    let disk = Arc::new(SimDisk::seeded(1));
    let env = || Env {
        clock: Arc::clone(&clock) as Arc<_>,
        disk: Arc::clone(&disk) as Arc<dyn Disk>,
        ..Env::real()
    };
    let settings = [("dedupMessagesMax", "10")];
    let rig = Rig::start_on(env(), tempfile::tempdir().unwrap(), &settings).await;
    let client = rig.client_of("other", 1).await;
    make(&client, "T", "+dedup.window=1h").await;
    let body = "x".repeat(20_000);
    for number in 0..200 {
        clock.advance(Duration::from_secs(1));
        send(
            &client,
            &message("PG", "T", number % 2, &named(&number.to_string())),
            &body,
        )
        .await;
    }
    let dir = rig.stop().await;
    let before = disk.bytes_read();
    let rig = Rig::start_on(env(), dir, &[]).await;
    let all = disk.bytes_read() - before;
    let dir = rig.stop().await;
    let before = disk.bytes_read();
    let rig = Rig::start_on(env(), dir, &settings).await;
    let some = disk.bytes_read() - before;
    assert!(
        some + 3_000_000 < all,
        "for 10 messages of 20 kB {some} bytes are read, for 200 {all}"
    );
    let client = rig.client().await;
    assert_eq!(figure(&client, "dedupRemembered").await, 10);
    for number in 190..200 {
        send(
            &client,
            &message("PG", "T", 0, &named(&number.to_string())),
            &body,
        )
        .await;
    }
    assert_eq!(figure(&client, "dedupDuplicates").await, 10);
    rig.stop().await;
}

/// A batch of messages with these ids, each its own body.
fn batch(ids: &[&str]) -> Bytes {
    let mut body = Vec::new();
    for id in ids {
        let properties = named(id);
        let text = format!("body of {id}");
        let total = 4 + 4 + 4 + 4 + 4 + text.len() + 2 + properties.len();
        body.extend_from_slice(&(total as u32).to_be_bytes());
        body.extend_from_slice(&[0; 12]);
        body.extend_from_slice(&(text.len() as u32).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
        body.extend_from_slice(&(properties.len() as u16).to_be_bytes());
        body.extend_from_slice(properties.as_bytes());
    }
    body.into()
}

async fn send_batch(client: &Client, ids: &[&str]) -> SendReceipt {
    let header = SendBatchMessage(SendMessageV2 {
        batch: Some(true),
        ..message("PG", "T", 0, &named("BATCH"))
    });
    let reply = client.ask_with(&header, batch(ids)).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    reply.ext.read().unwrap()
}

#[tokio::test]
async fn the_messages_of_a_batch_are_stored_once_also_when_it_comes_in_another_cut() {
    let rig = Rig::start().await;
    let client = rig.client_of("other", 1).await;
    make(&client, "T", "+dedup.window=1h").await;
    let first = send_batch(&client, &["A", "B", "C"]).await;
    assert_eq!(send_batch(&client, &["A", "B", "C"]).await, first);
    let dir = rig.stop().await;

    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    assert_eq!(place(&send_batch(&client, &["A", "B", "C"]).await), place(&first));
    let (mixed, _, offset) = place(&send_batch(&client, &["B", "D", "D"]).await);
    assert_eq!((mixed[0], offset), (place(&first).0[1], 1));
    assert_eq!(mixed[1], mixed[2], "twice in one batch");
    assert_eq!(
        bodies(&stored(&client, "T", 0).await),
        ["body of A", "body of B", "body of C", "body of D"]
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_topic_that_is_deleted_is_forgotten() {
    let rig = Rig::start().await;
    let client = rig.client_of("other", 1).await;
    make(&client, "T", "+dedup.window=1h").await;
    send(&client, &message("PG", "T", 0, &named("A")), "x").await;
    let delete = wire::api::topic::DeleteTopicInBroker { topic: "T".into() };
    assert_eq!(client.ask(&delete).await.code, 0);
    make(&client, "T", "+dedup.window=1h").await;
    let anew = send(&client, &message("PG", "T", 0, &named("A")), "x").await;
    assert_eq!(anew.queue_offset, 0);
    assert_eq!(stored(&client, "T", 0).await.len(), 1);
    rig.stop().await;
}

/// A broker on a disk in memory; `None` when the machine ended during the start.
async fn start(disk: &Arc<SimDisk>) -> Option<Life> {
    Life::start(Arc::clone(disk) as _, &[("flushDiskType", "SYNC_FLUSH")]).await
}

async fn try_send(client: &Client, id: &str) -> Option<SendReceipt> {
    let frame = Frame::request(0, &message("PG", "T", 0, &named(id))).with_body(id.to_owned());
    let reply = client.channel.call(frame, Duration::from_secs(3)).await.ok()?;
    (reply.code == 0).then(|| reply.ext.read().unwrap())
}

/// Ends the machine at one of its operations; its clients send everything again. Returns whether it ended at all.
async fn end_at(op: u64, loss: Loss) -> bool {
    const IDS: [&str; 5] = ["A", "B", "C", "D", "E"];
    let why = format!("operation {op}, {loss:?}");
    let disk = Arc::new(SimDisk::seeded(op));
    let life = start(&disk).await.unwrap();
    make(&life.client, "T", "+dedup.window=1h").await;
    disk.halt_at(disk.ops() + op);
    let mut acknowledged = Vec::new();
    for id in IDS {
        acknowledged.push(try_send(&life.client, id).await);
    }
    life.end().await;
    let has_ended = disk.is_halted();
    disk.crash(loss);
    let life = start(&disk).await.unwrap();
    let client = &life.client;
    let mut again = Vec::new();
    for (id, first) in IDS.iter().zip(&acknowledged) {
        let receipt = try_send(client, id).await.unwrap();
        if let Some(first) = first {
            assert_eq!(&receipt, first, "{why}");
        }
        again.push(receipt);
    }
    for (id, receipt) in IDS.iter().zip(&again) {
        assert_eq!(try_send(client, id).await.as_ref(), Some(receipt), "{why}");
    }
    let mut all = bodies(&stored(client, "T", 0).await)
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    all.sort_unstable();
    assert_eq!(all, IDS, "{why}");
    life.end().await;
    has_ended
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_remembered_after_a_crash_and_nothing_is_stored_twice() {
    for (loss, step) in [(Loss::Everything, 3), (Loss::Random, 2), (Loss::Nothing, 3)] {
        for op in (0..).step_by(step) {
            if !end_at(op, loss).await {
                assert!(op > 5, "the machine does something: {op} operations");
                break;
            }
        }
    }
}
