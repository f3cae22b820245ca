// SPDX-License-Identifier: Apache-2.0
//! Messages with a delay level, in a world whose clock moves when told.

use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use store::Env;
use store::env::sim::SimClock;
use tempfile::TempDir;
use wire::api::config::GetBrokerRuntimeInfo;
use wire::api::offset::{GetAllDelayOffset, GetMaxOffset};
use wire::api::topic::DeleteTopicInBroker;
use wire::body::stats::DelayOffsetTable;
use wire::fastjson;
use wire::properties;
use wire::record::Record;

use crate::rig::{Client, Rig, SOON, held_pull, pull};
use crate::sends::{send, stored};

const START_MS: i64 = 1_800_000_000_000;
const PARKED: &str = "SCHEDULE_TOPIC_XXXX";

/// A broker whose clock stands still.
async fn start(settings: &[(&str, &str)]) -> (Rig, Arc<SimClock>) {
    start_in(tempfile::tempdir().unwrap(), START_MS, settings).await
}

async fn start_in(dir: TempDir, now_ms: i64, settings: &[(&str, &str)]) -> (Rig, Arc<SimClock>) {
    let clock = Arc::new(SimClock::at(now_ms));
    let env = Env {
        clock: Arc::clone(&clock) as _,
        ..Env::real()
    };
    (Rig::start_on(env, dir, settings).await, clock)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn max(client: &Client, topic: &str, queue_id: i32) -> i64 {
    let header = GetMaxOffset {
        topic: topic.into(),
        queue_id,
        ..GetMaxOffset::default()
    };
    client.get(&header).await.offset
}

/// The messages of queue 0 from an offset on, once there are any.
async fn awaited(client: &Client, topic: &str, offset: i64) -> Vec<String> {
    let pulled = client.pull(&held_pull("READER", topic, offset, SOON)).await;
    assert_eq!(pulled.code, 0, "{}", pulled.remark);
    pulled.bodies()
}

fn property(record: &Record, name: &str) -> Option<String> {
    properties::get(&record.properties, name).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_message_is_parked_and_delivered_when_its_time_has_come() {
    let (rig, clock) = start(&[]).await;
    let client = rig.client_of("T", 2).await;
    client.send("T", 0, "before").await;
    let sent = "DELAY\u{1}2\u{2}TAGS\u{1}A\u{2}TIMER_DELAY_SEC\u{1}9\u{2}TIMER_DELIVER_MS\u{1}9\u{2}TIMER_DELAY_MS\u{1}9\u{2}";
    let receipt = client.send_with("T", 0, "later", sent).await;
    assert_eq!(
        (receipt.queue_id, receipt.queue_offset),
        (0, 0),
        "the user's queue, the place where it waits"
    );
    let [parked] = stored(&client, PARKED, 1).await.try_into().unwrap();
    assert_eq!(
        (
            property(&parked, "REAL_TOPIC").as_deref(),
            property(&parked, "REAL_QID").as_deref()
        ),
        (Some("T"), Some("0"))
    );
    assert_eq!(
        property(&parked, "TIMER_DELAY_SEC"),
        None,
        "a level wins over a time"
    );
    clock.advance(seconds(5));
    assert_eq!(awaited(&client, "T", 1).await, ["later"]);
    let delivered = &stored(&client, "T", 0).await[1];
    assert_eq!(delivered.properties, parked.properties);
    let tagged = client
        .pull(&wire::api::pull::PullMessage {
            subscription: Some("A".into()),
            ..pull("READER", "T", 0, 0)
        })
        .await;
    assert_eq!(tagged.bodies(), ["later"], "its tag counts again");
    assert_eq!(max(&client, PARKED, 1).await, 1, "the parked record stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_are_those_of_the_settings_and_the_highest_stands_for_all_above() {
    let (rig, clock) = start(&[("messageDelayLevel", "3s 1d")]).await;
    let client = rig.client_of("T", 1).await;
    client.send_with("T", 0, "one", "DELAY\u{1}1\u{2}").await;
    client.send_with("T", 0, "ninety-nine", "DELAY\u{1}99\u{2}").await;
    for none in ["0", "-1"] {
        client
            .send_with("T", 0, none, &format!("DELAY\u{1}{none}\u{2}"))
            .await;
    }
    assert_eq!(
        property(&stored(&client, PARKED, 1).await[0], "DELAY").as_deref(),
        Some("2")
    );
    clock.advance(seconds(3));
    assert_eq!(awaited(&client, "T", 2).await, ["one"]);
    clock.advance(seconds(86_400 - 3));
    assert_eq!(awaited(&client, "T", 3).await, ["ninety-nine"]);
    assert_eq!(stored(&client, "T", 0).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_is_no_number_is_refused_and_nothing_is_stored() {
    let (rig, _) = start(&[]).await;
    let client = rig.client_of("T", 1).await;
    for level in ["soon", "1.5", "99999999999", " 1"] {
        let reply = client
            .ask_with(&send("T", 0, &format!("DELAY\u{1}{level}\u{2}")), "a")
            .await;
        assert_eq!(reply.code, 1, "{level}");
        assert!(reply.remark.unwrap().contains(&format!("\"{level}\"")));
    }
    assert_eq!(
        (max(&client, "T", 0).await, max(&client, PARKED, 0).await),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_waits_before_it_comes_back() {
    let (rig, clock) = start(&[]).await;
    let client = rig.client_of("T", 1).await;
    let mut retry = send("%RETRY%G", 0, "DELAY\u{1}3\u{2}RETRY_TOPIC\u{1}T\u{2}");
    retry.reconsume_times = Some(1);
    assert_eq!(client.ask_with(&retry, "again").await.code, 0);
    assert_eq!(max(&client, "%RETRY%G", 0).await, 0);
    clock.advance(seconds(10));
    assert_eq!(awaited(&client, "%RETRY%G", 0).await, ["again"]);
    assert_eq!(stored(&client, "%RETRY%G", 0).await[0].reconsume_times, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_delivered_after_a_restart_once() {
    let (rig, clock) = start(&[]).await;
    let client = rig.client_of("T", 1).await;
    client.send_with("T", 0, "delivered", "DELAY\u{1}1\u{2}").await;
    clock.advance(seconds(1));
    assert_eq!(awaited(&client, "T", 0).await, ["delivered"]);
    client.send_with("T", 0, "pending", "DELAY\u{1}1\u{2}").await;
    drop(client);
    let (rig, _) = start_in(rig.stop().await, START_MS + 2000, &[]).await;
    let client = rig.client().await;
    assert_eq!(awaited(&client, "T", 1).await, ["pending"]);
    let table = client.ask(&GetAllDelayOffset).await;
    let table: DelayOffsetTable = fastjson::from_slice(&table.body).unwrap();
    assert_eq!(table.offset_table.get(&1), Some(&2));
    let info = client.ask(&GetBrokerRuntimeInfo).await;
    let info = String::from_utf8(info.body.to_vec()).unwrap();
    assert!(info.contains("\"scheduleMessageOffset_1\":\"2,2\""), "{info}");
    drop(client);
    let dir = rig.stop().await;
    let file = std::fs::read_to_string(dir.path().join("store/config/delayOffset.json")).unwrap();
    assert!(file.contains("\t\"offsetTable\":{\n\t\t1:2\n\t}"), "{file}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_deleted_gets_its_messages_when_it_is_made_again() {
    let (rig, clock) = start(&[]).await;
    let client = rig.client_of("T", 1).await;
    client.send_with("T", 0, "later", "DELAY\u{1}1\u{2}").await;
    client.send_with("U", 0, "other", "DELAY\u{1}1\u{2}").await;
    client.get(&DeleteTopicInBroker { topic: "T".into() }).await;
    clock.advance(seconds(1));
    assert_eq!(awaited(&client, "U", 0).await, ["other"]);
    client.make_topic("T", 1).await;
    assert_eq!(awaited(&client, "T", 0).await, ["later"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_are_due_at_once_come_in_order_and_leave_room_for_others() {
    const MANY: usize = 3000;
    let (rig, clock) = start(&[("maxMessageSize", "65536")]).await;
    let client = rig.client_of("T", 1).await;
    client.make_topic("OTHER", 1).await;
    for n in 0..MANY {
        client.send_with("T", 0, &n.to_string(), "DELAY\u{1}1\u{2}").await;
    }
    clock.advance(seconds(1));
    let mut got: Vec<String> = Vec::new();
    while got.len() < MANY {
        client.send("OTHER", 0, "in between").await;
        got.extend(awaited(&client, "T", got.len() as i64).await);
    }
    assert!(got.iter().enumerate().all(|(n, body)| *body == n.to_string()));
}

/// A store that the reference left behind, as the directory of a broker.
pub(crate) fn fixture(name: &str) -> TempDir {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/fixtures/java-stores.tar.zst");
    let file = std::fs::File::open(path).unwrap();
    let mut bytes = Vec::new();
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(BufReader::new(file)).unwrap();
    decoder.read_to_end(&mut bytes).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().starts_with(name) {
            entry.unpack_in(dir.path()).unwrap();
        }
    }
    std::fs::rename(dir.path().join(name), dir.path().join("store")).unwrap();
    dir
}

/// All keys of a queue once there are so many messages.
async fn keys(client: &Client, topic: &str, queue_id: i32, count: usize) -> Vec<String> {
    let mut records: Vec<Record> = Vec::new();
    while records.len() < count {
        let mut header = held_pull("READER", topic, records.len() as i64, SOON);
        header.queue_id = queue_id;
        let pulled = client.pull(&header).await;
        assert_eq!(
            pulled.code,
            0,
            "{topic}: {} of {count}, {}",
            records.len(),
            pulled.remark
        );
        records.extend(Record::decode_all(&pulled.frame.body).map(Result::unwrap));
    }
    records
        .iter()
        .map(|record| property(record, "UNIQ_KEY").unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_a_store_of_the_reference_is_delivered() {
    for (name, settings) in [
        ("clean", &[][..]),
        ("crashed", &[]),
        // Its delivery times stand in extended consume queues.
        (
            "crc",
            &[("enabledAppendPropCRC", "true"), ("forceVerifyPropCRC", "true")],
        ),
    ] {
        let small = [
            ("mappedFileSizeConsumeQueue", "20000"),
            ("maxHashSlotNum", "2000"),
            ("maxIndexNum", "8000"),
            ("fileReservedTime", "876000"),
        ];
        let settings: Vec<(&str, &str)> = small.iter().chain(settings).copied().collect();
        // Three hours after the store was made: the longest delay is over.
        let (rig, _) = start_in(fixture(name), 1_795_210_175_646 + 3 * 3_600_000, &settings).await;
        let client = rig.client().await;
        let mut all = keys(&client, "FixDelay", 0, 9).await;
        all.extend(keys(&client, "FixDelay", 1, 9).await);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 18, "{name}: one of each level, once");
        let mut retries = keys(&client, "%RETRY%GID_FixRetry", 0, 20).await;
        retries.sort();
        retries.dedup();
        assert_eq!(
            retries.len(),
            10,
            "{name}: ten messages, each for the second time"
        );
        drop(client);
        rig.stop().await;
    }
}
