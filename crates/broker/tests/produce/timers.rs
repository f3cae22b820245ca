// SPDX-License-Identifier: Apache-2.0
//! Messages with a delivery time of their own.

use std::sync::Arc;
use std::time::Duration;

use store::Env;
use store::env::Clock;
use store::env::sim::SimClock;
use tempfile::TempDir;
use wire::api::offset::GetMaxOffset;
use wire::api::send::{SendBatchMessage, SendReceipt};
use wire::api::timer::{
    CancelTimer, GetTimerCheckPoint, GetTimerMetrics, ListTimers, RecallMessage, RecallReply,
};
use wire::body::timer::{PendingTimers, TimerMetrics};
use wire::fastjson;
use wire::properties;
use wire::record::Record;

use crate::delays::fixture;
use crate::rig::{Client, Rig, SOON, held_pull};
use crate::sends::{send, stored};

const START_MS: i64 = 1_800_000_000_000;
const PARKED: &str = "rmq_sys_wheel_timer";

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

fn pass(clock: &SimClock, ms: u64) {
    clock.advance(Duration::from_millis(ms));
}

fn at(name: &str, time: i64, unique: &str) -> String {
    format!("{name}\u{1}{time}\u{2}UNIQ_KEY\u{1}{unique}\u{2}")
}

async fn awaited(client: &Client, topic: &str, offset: i64) -> Vec<Record> {
    let pulled = client.pull(&held_pull("READER", topic, offset, SOON)).await;
    assert_eq!(pulled.code, 0, "{}", pulled.remark);
    Record::decode_all(&pulled.frame.body)
        .map(Result::unwrap)
        .collect()
}

fn property(record: &Record, name: &str) -> Option<String> {
    properties::get(&record.properties, name).map(str::to_owned)
}

async fn max(client: &Client, topic: &str) -> i64 {
    let header = GetMaxOffset {
        topic: topic.into(),
        ..GetMaxOffset::default()
    };
    client.get(&header).await.offset
}

async fn list(client: &Client, header: &ListTimers) -> PendingTimers {
    let reply = client.ask(header).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    fastjson::from_slice(&reply.body).unwrap()
}

/// The unique ids of all messages that wait, once there are so many.
async fn waiting(client: &Client, count: usize) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    let looking = async {
        loop {
            let listed = list(client, &ListTimers::default()).await.pending;
            keys = listed.iter().map(|timer| timer.uniq_key.to_string()).collect();
            if keys.len() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(SOON, looking).await;
    assert!(found.is_ok(), "{count} should wait, and these do: {keys:?}");
    keys
}

async fn counted(client: &Client, topic: &str) -> Option<i64> {
    let reply = client.ask(&GetTimerMetrics).await;
    let metrics: TimerMetrics = fastjson::from_slice(&reply.body).unwrap();
    metrics.timing_count.get(topic).map(|timing| timing.count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_comes_after_its_time_with_all_that_it_was_sent_with() {
    let (rig, clock) = start(&[]).await;
    let client = rig.client_of("T", 2).await;
    for (name, time, unique) in [
        ("TIMER_DELIVER_MS", START_MS + 5_500, "a"),
        ("TIMER_DELAY_SEC", 6, "b"),
        ("TIMER_DELAY_MS", 7_001, "c"),
    ] {
        let mut header = send("T", 1, &at(name, time, unique));
        (header.flag, header.sys_flag, header.born_timestamp) = (7, 1, 123_456);
        let receipt: SendReceipt = client
            .ask_with(&header, unique.to_owned())
            .await
            .ext
            .read()
            .unwrap();
        assert_eq!(receipt.queue_id, 1, "the queue it was sent to");
        assert!(receipt.recall_handle.is_some());
    }
    // By tick; the newest of a tick first.
    assert_eq!(waiting(&client, 3).await, ["b", "a", "c"]);
    assert_eq!(counted(&client, "T").await, Some(3));
    let parked = stored(&client, PARKED, 0).await;
    for (record, out_ms) in parked.iter().zip([5_000, 5_000, 7_000]) {
        assert_eq!(
            property(record, "TIMER_OUT_MS"),
            Some((START_MS + out_ms).to_string())
        );
        assert_eq!(property(record, "REAL_TOPIC").as_deref(), Some("T"));
        assert_eq!(property(record, "REAL_QID").as_deref(), Some("1"));
    }
    pass(&clock, 5_999);
    assert_eq!(stored(&client, "T", 1).await.len(), 0);
    pass(&clock, 1);
    let mut header = held_pull("READER", "T", 0, SOON);
    header.queue_id = 1;
    let pulled = client.pull(&header).await;
    let records: Vec<Record> = Record::decode_all(&pulled.frame.body)
        .map(Result::unwrap)
        .collect();
    let record = &records[0];
    assert_eq!(&record.body[..], b"a");
    assert_eq!((record.flag, record.sys_flag, record.born_at), (7, 1, 123_456));
    assert_eq!(record.stored_at, START_MS + 6_000);
    assert_eq!(property(record, "TIMER_ENQUEUE_MS"), Some(START_MS.to_string()));
    assert_eq!(
        property(record, "TIMER_DEQUEUE_MS"),
        Some((START_MS + 6_000).to_string())
    );
    assert_eq!(
        property(record, "TIMER_DELIVER_MS"),
        Some((START_MS + 5_500).to_string())
    );
    assert_eq!(property(record, "TIMER_ROLL_TIMES"), None);
    assert_eq!(waiting(&client, 1).await, ["c"]);
    pass(&clock, 2_000);
    assert!(waiting(&client, 0).await.is_empty());
    assert_eq!(counted(&client, "T").await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_time_may_be() {
    let (rig, clock) = start(&[]).await;
    let client = rig.client_of("T", 1).await;
    let ask = async |properties: &str| {
        let reply = client.ask_with(&send("T", 0, properties), "x").await;
        (reply.code, reply.remark.unwrap_or_default().to_string())
    };
    let days = 3 * 86_400_000;
    for (properties, code) in [
        (at("TIMER_DELIVER_MS", START_MS + days, "far"), 0),
        (at("TIMER_DELIVER_MS", START_MS + days + 1, "too far"), 13),
        (at("TIMER_DELIVER_MS", i64::MAX, "x"), 13),
        (at("TIMER_DELAY_SEC", i64::MAX, "x"), 13),
        (at("TIMER_DELAY_MS", i64::MAX, "x"), 13),
        (at("TIMER_DELAY_SEC", 259_201, "x"), 13),
        ("TIMER_DELAY_SEC\u{1}soon\u{2}".to_owned(), 13),
        ("TIMER_DELIVER_MS\u{1}1.5\u{2}".to_owned(), 13),
        // It would take back what has been delivered.
        (
            "TIMER_DELIVER_MS\u{1}5\u{2}TIMER_DEL_UNIQKEY\u{1}x\u{2}".to_owned(),
            13,
        ),
    ] {
        let (answered, remark) = ask(&properties).await;
        assert_eq!(answered, code, "{properties}: {remark}");
        assert_eq!(
            remark.starts_with("timer message illegal"),
            code == 13,
            "{remark}"
        );
    }
    assert_eq!(waiting(&client, 1).await, ["far"]);
    // These are delivered at once: the time is over, or has been waited for before.
    for properties in [
        at("TIMER_DELIVER_MS", START_MS, "x"),
        at("TIMER_DELIVER_MS", -5, "x"),
        at("TIMER_DELAY_SEC", 0, "x"),
        format!("{}TIMER_OUT_MS\u{1}5\u{2}", at("TIMER_DELAY_SEC", 5, "x")),
    ] {
        let before = max(&client, "T").await;
        assert_eq!(ask(&properties).await.0, 0);
        assert_eq!(max(&client, "T").await, before + 1, "{properties}");
    }
    // Seconds count before milliseconds, and a level before both.
    ask("TIMER_DELIVER_MS\u{1}1\u{2}TIMER_DELAY_MS\u{1}1\u{2}TIMER_DELAY_SEC\u{1}9\u{2}").await;
    ask("TIMER_DELAY_SEC\u{1}9\u{2}DELAY\u{1}1\u{2}").await;
    let last = stored(&client, PARKED, 0).await.pop().unwrap();
    assert_eq!(
        property(&last, "TIMER_OUT_MS"),
        Some((START_MS + 8_000).to_string())
    );
    let level = stored(&client, "SCHEDULE_TOPIC_XXXX", 0).await.pop().unwrap();
    assert_eq!(property(&level, "TIMER_DELAY_SEC"), None);
    assert!(clock.now_ms() == START_MS);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_wheel_timer_messages_are_refused() {
    let rig = Rig::start_with(&[("timerWheelEnable", "false")]).await;
    let client = rig.client_of("T", 1).await;
    let reply = client
        .ask_with(&send("T", 0, "TIMER_DELAY_SEC\u{1}9\u{2}"), "x")
        .await;
    assert_eq!(reply.code, 1);
    assert!(reply.remark.unwrap().contains("timerWheelEnable is false"));
    for code in [
        client.ask(&GetTimerCheckPoint).await.code,
        client.ask(&GetTimerMetrics).await.code,
    ] {
        assert_eq!(code, 1);
    }
    assert_eq!(client.ask(&ListTimers::default()).await.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_that_is_full_takes_no_more() {
    let (rig, _) = start(&[("timerCongestNumEachSlot", "2")]).await;
    let client = rig.client_of("T", 1).await;
    for count in 1..=4 {
        client
            .send_with("T", 0, "x", &at("TIMER_DELAY_SEC", 9, &count.to_string()))
            .await;
        // Chance decides about the fourth.
        if count == 3 {
            break;
        }
        waiting(&client, count as usize).await;
    }
    waiting(&client, 3).await;
    let mut reply = client
        .ask_with(&send("T", 0, &at("TIMER_DELAY_SEC", 9, "more")), "x")
        .await;
    while reply.code == 0 {
        reply = client
            .ask_with(&send("T", 0, &at("TIMER_DELAY_SEC", 9, "more")), "x")
            .await;
        tokio::task::yield_now().await;
    }
    assert_eq!(reply.code, 1);
    assert!(reply.remark.unwrap().contains("under flow control"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_delay_is_rolled_and_still_comes_in_its_tick() {
    let (rig, clock) = start(&[("timerRollWindowSlot", "60"), ("timerMaxDelaySec", "31536000")]).await;
    let client = rig.client_of("T", 1).await;
    client
        .send_with("T", 0, "x", &at("TIMER_DELAY_SEC", 150, "far"))
        .await;
    waiting(&client, 1).await;
    let coming = async {
        while max(&client, "T").await == 0 {
            pass(&clock, 5_000);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, coming).await.unwrap();
    let rolls = max(&client, PARKED).await - 1;
    let [record] = awaited(&client, "T", 0).await.try_into().unwrap();
    assert_eq!(property(&record, "TIMER_ROLL_TIMES"), Some(rolls.to_string()));
    assert!(rolls >= 1);
    assert_eq!(counted(&client, "T").await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_claims_to_belong_to_a_topic_of_the_broker_goes_nowhere() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let forged = [
        "rmq_sys_wheel_timer",
        "SCHEDULE_TOPIC_XXXX",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "no/topic",
    ];
    for real in forged {
        let properties = format!("TIMER_OUT_MS\u{1}1\u{2}REAL_TOPIC\u{1}{real}\u{2}REAL_QID\u{1}0\u{2}");
        client.send_with(PARKED, 0, "round and round", &properties).await;
    }
    // No topic has this queue; it goes to the first one.
    let properties = "TIMER_OUT_MS\u{1}1\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}2000000000\u{2}";
    client.send_with(PARKED, 0, "last", properties).await;
    let [record] = awaited(&client, "T", 0).await.try_into().unwrap();
    assert_eq!(&record.body[..], b"last");
    assert_eq!(max(&client, PARKED).await, 5);
    for real in &forged[1..] {
        assert_eq!(max(&client, real).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_can_be_a_millisecond() {
    let rig = Rig::start_with(&[("timerPrecisionMs", "1")]).await;
    let client = rig.client_of("T", 1).await;
    client
        .send_with("T", 0, "x", &at("TIMER_DELAY_MS", 30, "a"))
        .await;
    let [record] = awaited(&client, "T", 0).await.try_into().unwrap();
    let out_ms: i64 = property(&record, "TIMER_OUT_MS").unwrap().parse().unwrap();
    assert!(record.stored_at > out_ms, "not early");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_survives_a_restart() {
    let (rig, _) = start(&[]).await;
    let client = rig.client_of("T", 1).await;
    for n in 0..10 {
        client
            .send_with("T", 0, &n.to_string(), &at("TIMER_DELAY_SEC", 20, &n.to_string()))
            .await;
    }
    drop(client);
    let dir = rig.stop().await;
    let (rig, clock) = start_in(dir, START_MS + 1_000, &[]).await;
    let client = rig.client().await;
    waiting(&client, 10).await;
    pass(&clock, 30_000);
    waiting(&client, 0).await;
    let bodies: Vec<_> = stored(&client, "T", 0)
        .await
        .iter()
        .map(|r| r.body.to_vec())
        .collect();
    let expected: Vec<_> = (0..10).map(|n: i32| n.to_string().into_bytes()).collect();
    assert_eq!(bodies, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_precision_cannot_change_while_files_hold_another() {
    let dir = Rig::start().await.stop().await;
    let mut config = broker::Config::default();
    for (key, value) in [
        ("storePathRootDir", dir.path().join("store").to_str().unwrap()),
        ("brokerName", "broker-a"),
        ("brokerIP1", "127.0.0.1"),
        ("mappedFileSizeCommitLog", "1048576"),
        ("maxHashSlotNum", "100"),
        ("maxIndexNum", "1000"),
        ("timerPrecisionMs", "10"),
    ] {
        config.set(key, value).unwrap();
    }
    let error = broker::Broker::open(config, Env::real()).unwrap_err();
    assert!(error.to_string().contains("timerPrecisionMs=1000"), "{error}");
}

fn recall(topic: &str, handle: &str) -> RecallMessage {
    RecallMessage {
        producer_group: Some("PG".into()),
        topic: topic.into(),
        recall_handle: handle.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_can_be_taken_back_when_the_settings_allow_it() {
    let (rig, clock) = start(&[("recallMessageEnable", "true")]).await;
    let client = rig.client_of("T", 1).await;
    let gone = client
        .send_with("T", 0, "gone", &at("TIMER_DELAY_SEC", 9, "gone"))
        .await;
    client
        .send_with("T", 0, "here", &at("TIMER_DELAY_SEC", 9, "here"))
        .await;
    waiting(&client, 2).await;
    let handle = gone.recall_handle.unwrap();
    let reply = client.ask(&recall("T", &handle)).await;
    assert_eq!(reply.code, 0);
    let told: RecallReply = reply.ext.read().unwrap();
    assert_eq!(told.msg_id.as_deref(), Some("gone"));
    assert_eq!(told.region.as_deref(), Some("DefaultRegion"));
    assert_eq!(waiting(&client, 1).await, ["here"]);
    assert_eq!(counted(&client, "T").await, Some(1));
    client.make_topic("U", 1).await;
    for (topic, handle, code) in [
        ("T", "", 604),
        ("T", "nonsense", 604),
        ("U", &handle[..], 604),
        ("nowhere", &handle[..], 17),
    ] {
        let reply = client.ask(&recall(topic, handle)).await;
        assert_eq!(reply.code, code, "{topic} {handle}: {:?}", reply.remark);
        assert_eq!(reply.ext.get("MSG_REGION").as_deref(), Some("DefaultRegion"));
    }
    pass(&clock, 10_000);
    let [record] = awaited(&client, "T", 0).await.try_into().unwrap();
    assert_eq!(&record.body[..], b"here");
    assert_eq!(
        client.ask(&recall("T", &handle)).await.code,
        604,
        "it is too late"
    );
    waiting(&client, 0).await;
    assert_eq!(counted(&client, "T").await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_back_unless_the_settings_say_so() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let reply = client.ask(&recall("T", "x")).await;
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (16, Some("recall failed, operation is forbidden"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lists_what_waits_and_cancels_some_of_it() {
    let (rig, clock) = start(&[("timerMaxDelaySec", "31536000")]).await;
    let client = rig.client_of("T", 1).await;
    client.make_topic("U", 1).await;
    for n in 0..25 {
        let topic = if n % 5 == 0 { "U" } else { "T" };
        let delay = if n == 24 {
            30_000_000
        } else {
            100 + i64::from(n) / 4
        };
        client
            .send_with(topic, 0, "x", &at("TIMER_DELAY_SEC", delay, &format!("m{n:02}")))
            .await;
    }
    waiting(&client, 25).await;
    let of_u = ListTimers {
        topic: Some("U".into()),
        ..ListTimers::default()
    };
    let listed = list(&client, &of_u).await;
    assert!(listed.pending.iter().all(|timer| timer.topic == "U"));
    assert_eq!((listed.pending.len(), listed.next), (5, None));
    // In pages.
    let mut all = Vec::new();
    let mut page = ListTimers {
        max: Some(3),
        ..ListTimers::default()
    };
    loop {
        let listed = list(&client, &page).await;
        all.extend(listed.pending);
        page.next = listed.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(all.len(), 25);
    assert!(all.is_sorted_by_key(|timer| timer.out_ms));
    let cancel = |topic: &str, key: &str| CancelTimer {
        topic: topic.into(),
        uniq_key: key.into(),
    };
    assert_eq!(client.ask(&cancel("T", "m01")).await.code, 0);
    assert_eq!(
        client.ask(&cancel("T", "m05")).await.code,
        22,
        "it is for another topic"
    );
    assert_eq!(client.ask(&cancel("T", "m99")).await.code, 22);
    assert!(!waiting(&client, 24).await.contains(&"m01".to_owned()));
    pass(&clock, 120_000);
    waiting(&client, 1).await;
    assert_eq!(max(&client, "T").await + max(&client, "U").await, 23);
    assert_eq!(
        client.ask(&cancel("T", "m02")).await.code,
        604,
        "it has been delivered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_may_be_asked_for_anything() {
    let (rig, _) = start(&[]).await;
    let client = rig.client_of("T", 1).await;
    client
        .send_with("T", 0, "x", &at("TIMER_DELAY_SEC", 100, "a"))
        .await;
    waiting(&client, 1).await;
    for (max, next) in [
        (Some(0), None),
        (Some(1001), None),
        (None, Some("x")),
        (None, Some("1:x")),
        (None, Some("-9223372036854775808:")),
    ] {
        let header = ListTimers {
            max,
            next: next.map(Into::into),
            ..ListTimers::default()
        };
        assert_eq!(client.ask(&header).await.code, 29, "{header:?}");
    }
    for next in ["9223372036854775807:", "1800000100000:9223372036854775807"] {
        let header = ListTimers {
            next: Some(next.into()),
            ..ListTimers::default()
        };
        list(&client, &header).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_the_timers_are_is_told_in_seven_numbers() {
    let (rig, _) = start(&[]).await;
    let client = rig.client_of("T", 1).await;
    client
        .send_with("T", 0, "x", &at("TIMER_DELAY_SEC", 9, "a"))
        .await;
    waiting(&client, 1).await;
    let reply = client.ask(&GetTimerCheckPoint).await;
    let words: Vec<i64> = reply
        .body
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| i64::from_be_bytes(*word))
        .collect();
    assert_eq!(words.len(), 7);
    assert_eq!(words[0], START_MS);
    assert_eq!((words[2], words[3]), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_messages_in_the_timer_topic_stop_nothing() {
    let (rig, clock) = start(&[]).await;
    let client = rig.client_of("T", 1).await;
    for properties in [
        "",
        "TIMER_OUT_MS\u{1}soon\u{2}REAL_TOPIC\u{1}T\u{2}",
        "TIMER_OUT_MS\u{1}5\u{2}",
    ] {
        client.send_with(PARKED, 0, "odd", properties).await;
    }
    client
        .send_with("T", 0, "x", &at("TIMER_DELAY_SEC", 2, "a"))
        .await;
    waiting(&client, 1).await;
    pass(&clock, 3_000);
    assert_eq!(awaited(&client, "T", 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn timer_messages_in_a_batch_are_refused() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let header = SendBatchMessage(send("T", 0, "TIMER_DELAY_SEC\u{1}9\u{2}"));
    assert_eq!(client.ask_with(&header, "x").await.code, 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_in_a_store_of_the_reference_fire() {
    for name in ["clean", "crashed"] {
        let small = [
            ("mappedFileSizeConsumeQueue", "20000"),
            ("maxHashSlotNum", "2000"),
            ("maxIndexNum", "8000"),
            ("fileReservedTime", "876000"),
        ];
        let (rig, _) = start_in(fixture(name), 1_795_210_175_646 + 3 * 365 * 86_400_000, &small).await;
        let client = rig.client().await;
        waiting(&client, 0).await;
        let mut all = stored(&client, "FixTimer", 0).await;
        all.extend(stored(&client, "FixTimer", 1).await);
        let keys: std::collections::BTreeSet<_> = all.iter().map(|r| property(r, "UNIQ_KEY")).collect();
        // Two came while the reference ran; six waited, and one that was taken back.
        assert_eq!((all.len(), keys.len()), (8, 8), "{name}");
        assert_eq!(counted(&client, "FixTimer").await, Some(0));
        drop(client);
        rig.stop().await;
    }
}
