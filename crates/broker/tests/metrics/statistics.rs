// SPDX-License-Identifier: Apache-2.0
//! Requests 28 and 315.

use std::sync::Arc;
use std::time::Duration;

use store::Env;
use store::env::sim::SimClock;
use wire::api::config::GetBrokerRuntimeInfo;
use wire::api::stats::ViewBrokerStatsData;
use wire::body::stats::{BrokerStatsData, KvTable};
use wire::fastjson;

use crate::rig::{Client, Rig, pull};
use crate::traffic;

async fn view(client: &Client, name: &str, key: &str) -> Result<BrokerStatsData, String> {
    let ask = ViewBrokerStatsData {
        stats_name: name.into(),
        stats_key: key.into(),
    };
    let reply = client.ask(&ask).await;
    match reply.code {
        0 => Ok(fastjson::from_slice(&reply.body).unwrap()),
        _ => Err(reply.remark.unwrap().to_string()),
    }
}

#[tokio::test]
async fn statistics_exist_once_something_happened_and_only_under_their_keys() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let none = "The stats <TOPIC_PUT_NUMS> <T> not exist";
    assert_eq!(view(&client, "TOPIC_PUT_NUMS", "T").await, Err(none.to_owned()));
    client.send("T", 0, "x").await;
    client.pull(&pull("G", "T", 0, 0)).await;
    for (name, key) in [
        ("TOPIC_PUT_NUMS", "T"),
        ("TOPIC_PUT_SIZE", "T"),
        ("GROUP_GET_NUMS", "T@G"),
        ("GROUP_GET_SIZE", "T@G"),
        ("GROUP_GET_LATENCY", "T@G"),
        ("GROUP_GET_LATENCY", "0@T@G"),
        ("BROKER_PUT_NUMS", "DefaultCluster"),
        ("BROKER_GET_NUMS", "DefaultCluster"),
        ("BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", "DefaultCluster"),
        ("BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC", "DefaultCluster"),
    ] {
        assert!(view(&client, name, key).await.is_ok(), "{name} {key}");
    }
    for (name, key) in [
        ("TOPIC_PUT_NUMS", "T@G"),
        ("GROUP_GET_NUMS", "T"),
        ("GROUP_GET_NUMS", "T@other"),
        ("BROKER_PUT_NUMS", "OtherCluster"),
        ("NO_SUCH_NUMS", "T"),
    ] {
        let why = view(&client, name, key).await.unwrap_err();
        assert_eq!(why, format!("The stats <{name}> <{key}> not exist"));
    }
    rig.stop().await;
}

#[tokio::test]
async fn sums_of_the_last_minute_are_sampled_every_ten_seconds() {
    let clock = Arc::new(SimClock::at(1_800_000_000_000));
    let env = Env {
        clock: Arc::clone(&clock) as Arc<dyn store::env::Clock>,
        ..Env::real()
    };
    let rig = Rig::start_on(env, tempfile::tempdir().unwrap(), &[]).await;
    let client = rig.client_of("T", 1).await;
    client.send("T", 0, "x").await;
    client.send("T", 0, "y").await;
    // The broker samples by the clock of the machine, and notes the time of its own.
    clock.advance(Duration::from_secs(5));
    let sampled = async {
        loop {
            let found = view(&client, "TOPIC_PUT_NUMS", "T").await.unwrap();
            if found.stats_minute.sum > 0 {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), sampled)
        .await
        .unwrap();
    assert_eq!(found.stats_minute.sum, 2);
    assert_eq!(
        found.stats_minute.tps, 0.2,
        "two in the ten seconds before the first sample"
    );
    assert_eq!(found.stats_minute.avgpt, 1.0);
    rig.stop().await;
}

/// The tables that brokers of the reference answered 28 with.
fn captured() -> Vec<KvTable> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/tests/golden");
    let bytes = std::fs::read(folder.join("28-GET_BROKER_RUNTIME_INFO.frames")).unwrap();
    let mut bytes = bytes::BytesMut::from(&bytes[..]);
    let decoder = wire::frame::Decoder {
        frame_bytes_max: 1 << 20,
    };
    let mut tables = Vec::new();
    while let Some(frame) = decoder.next(&mut bytes).unwrap() {
        if frame.is_reply() {
            tables.push(fastjson::from_slice(&frame.body).unwrap());
        }
    }
    tables
}

/// What a value looks like: numbers and names of units are taken out.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if shape.ends_with('9') => {}
            '0'..='9' => shape.push('9'),
            c => shape.push(c),
        }
    }
    ["EiB", "PiB", "TiB", "GiB", "MiB", "KiB"]
        .into_iter()
        .fold(shape, |shape, unit| {
            shape.replace(unit, "B").replace("9.9 B", "9 B")
        })
}

#[tokio::test]
async fn the_runtime_table_has_every_key_of_the_reference_in_its_form() {
    let (rig, client, _) = traffic::busy().await;
    let reply = client.ask(&GetBrokerRuntimeInfo).await;
    let ours: KvTable = fastjson::from_slice(&reply.body).unwrap();
    let tables = captured();
    assert!(!tables.is_empty());
    for (key, theirs) in tables.iter().flat_map(|table| &table.table) {
        // Levels and directories are those of a machine.
        if key.starts_with("scheduleMessageOffset_") || key.starts_with("commitLogDiskRatio_") {
            continue;
        }
        let ours = ours.table.get(key).unwrap_or_else(|| panic!("{key} is missing"));
        let may_be_missing = ["putMessageDistributeTime"].contains(&key.as_str()) || key.ends_with("Tps");
        let exponent =
            theirs.contains('E') || ours.contains('E') || theirs.contains('-') || ours.contains('-');
        if !may_be_missing && !exponent {
            assert_eq!(
                shape(ours),
                shape(theirs),
                "{key}: {ours}, the reference {theirs}"
            );
        }
    }
    for key in ["scheduleMessageOffset_1", "putTps", "getTotalTps"] {
        assert!(ours.table.contains_key(key), "{key}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_runtime_table_counts_what_users_sent_and_how_far_timers_are() {
    let (rig, client, _) = traffic::busy().await;
    let reply = client.ask(&GetBrokerRuntimeInfo).await;
    let table: KvTable = fastjson::from_slice(&reply.body).unwrap();
    let number = |key: &str| -> f64 {
        let text = table.table.get(key).unwrap_or_else(|| panic!("{key} is missing"));
        text.parse().unwrap_or_else(|_| panic!("{key}: {text}"))
    };
    let (all, users) = (number("putMessageTimesTotal"), number("msgPutTotalTodayNow"));
    assert!(users >= 10.0 && all > users, "{all} {users}");
    assert_eq!(number("timerCongestNum"), 1.0);
    assert_eq!(number("timerOffsetBehind"), 0.0);
    assert!(number("timerReadBehind") <= 5.0);
    assert!(number("putMessageEntireTimeMax") >= 0.0 && number("putLatency99") >= 0.0);
    assert_eq!(
        table.table["putMessageDistributeTime"], "null",
        "the first minute is not over"
    );
    rig.stop().await;
}
