// SPDX-License-Identifier: Apache-2.0
//! Codes 25, 26 and 28.

use wire::api::config::{GetBrokerConfig, GetBrokerConfigReply, GetBrokerRuntimeInfo, UpdateBrokerConfig};
use wire::api::elsewhere::{RemoveColdDataFlowCtrConfig, UpdateColdDataFlowCtrConfig};
use wire::api::ha::ResetMasterFlushOffset;
use wire::api::topic::DeleteTopicInBroker;
use wire::body::stats::KvTable;
use wire::body::topic::DataVersion;
use wire::code::ResponseCode;
use wire::frame::Frame;
use wire::{fastjson, java_properties};

use crate::rig::{Client, Rig};
use crate::sends::send;

async fn update(client: &Client, text: &str) -> Frame {
    client.ask_with(&UpdateBrokerConfig, text.to_owned()).await
}

async fn setting(client: &Client, key: &str) -> String {
    let reply = client.ask(&GetBrokerConfig).await;
    let entries = java_properties::parse(std::str::from_utf8(&reply.body).unwrap()).unwrap();
    entries
        .into_iter()
        .find(|entry| entry.key == key)
        .unwrap()
        .value
        .to_string()
}

async fn version(client: &Client) -> i64 {
    let reply: GetBrokerConfigReply = client.get(&GetBrokerConfig).await;
    fastjson::from_str::<DataVersion>(&reply.version.unwrap())
        .unwrap()
        .counter
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_read_sorted_with_the_values_in_effect() {
    let rig = Rig::start_with(&[("fileReservedTime", "48")]).await;
    let client = rig.client().await;
    let text = client.ask(&GetBrokerConfig).await.body;
    let lines: Vec<&str> = std::str::from_utf8(&text).unwrap().lines().collect();
    assert!(lines.is_sorted());
    assert!(lines.contains(&"fileReservedTime=48"));
    assert!(lines.contains(&"brokerRole=ASYNC_MASTER"));
    assert_eq!(setting(&client, "brokerName").await, "broker-a");
    assert_eq!(version(&client).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_may_change_does_so_at_once() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    assert_eq!(client.ask_with(&send("T", 0, ""), "12345").await.code, 0);
    let reply = update(&client, "# limit\nmaxMessageSize=4\nregionId=Elsewhere\n").await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    let refused = client.ask_with(&send("T", 0, ""), "12345").await;
    assert_eq!(refused.code, 13);
    assert_eq!(refused.ext.get("MSG_REGION").as_deref(), Some("Elsewhere"));
    assert_eq!(setting(&client, "maxMessageSize").await, "4");
    assert_eq!(version(&client).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_may_not_change_now_is_kept_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broker.conf");
    std::fs::write(&file, "# mine\nfileReservedTime=72\n").unwrap();
    let path = file.to_str().unwrap().to_owned();
    let rig = Rig::start_in(dir, &[("brokerConfigPath", &path)]).await;
    let client = rig.client().await;
    let reply = update(
        &client,
        "fileReservedTime=24\ntraceOn=false\nsendMessageThreadPoolNums=9\n",
    )
    .await;
    assert_eq!(reply.code, 0);
    assert_eq!(
        reply.remark.as_deref(),
        Some(
            "in effect now: traceOn; takes effect at the next start: fileReservedTime; ignored, without a meaning here: sendMessageThreadPoolNums"
        )
    );
    assert_eq!(setting(&client, "fileReservedTime").await, "72");
    assert_eq!(setting(&client, "traceOn").await, "false");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        text,
        "# mine\nfileReservedTime=24\ntraceOn=false\nsendMessageThreadPoolNums=9\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_that_are_not_all_valid_none_is_made() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    for (text, code) in [
        ("traceOn=false\nmaxMessageSize=many\n", 29),
        ("traceOn=false\naclEnable=true\n", 29),
        ("traceOn=false\nbrokerConfigPath=/tmp/x\n", 16),
        ("traceOn=false\nconfigBlackList=\n", 16),
        ("traceOn=false\nrocketmqHome=/tmp\n", 16),
        ("traceOn=\\u12\n", 29),
    ] {
        let reply = update(&client, text).await;
        assert_eq!(reply.code, code, "{text}: {:?}", reply.remark);
    }
    assert_eq!(setting(&client, "traceOn").await, "true");
    assert_eq!(version(&client).await, 0);
    assert_eq!(update(&client, "").await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runtime_table_has_the_keys_admin_tools_look_for() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    client.send("T", 0, "a").await;
    let reply = client.ask(&GetBrokerRuntimeInfo).await;
    let table = fastjson::from_slice::<KvTable>(&reply.body).unwrap().table;
    assert_eq!(table["brokerVersionDesc"], "V5_4_0");
    assert_eq!(table["brokerActive"], "true");
    assert_eq!(table["putMessageTimesTotal"], "1");
    assert_eq!(table["putMessageSizeTotal"], table["commitLogMaxOffset"]);
    assert_eq!(table["msgPutTotalTodayNow"], "1");
    assert_eq!(table["commitLogMinOffset"], "0");
    assert!(table["commitLogMaxOffset"].parse::<i64>().unwrap() > 91);
    assert!(table["earliestMessageTimeStamp"].parse::<i64>().unwrap() > 1_700_000_000_000);
    assert!(table["runtime"].starts_with("[ 0 days, 0 hours, 0 minutes, "));
    assert!(table["commitLogDirCapacity"].starts_with("Total : "));
    assert!(table["commitLogDiskRatio"].parse::<f64>().unwrap() <= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn administration_from_elsewhere_is_refused_and_changes_nothing() {
    let rig = Rig::start_with(&[("adminAllowedFrom", "10.0.0.0/8;192.0.2.1")]).await;
    let client = rig.client().await;
    client.send("Made", 0, "messages come from everywhere").await;
    let gone = DeleteTopicInBroker { topic: "Made".into() };
    let refused = client.ask(&gone).await;
    assert_eq!(refused.code, ResponseCode::NO_PERMISSION.0);
    let remark = refused.remark.unwrap();
    assert!(
        remark.contains("127.0.0.1") && remark.contains("adminAllowedFrom"),
        "{remark}"
    );
    let changed = client.ask_with(&UpdateBrokerConfig, "traceOn=false").await;
    assert_eq!(changed.code, ResponseCode::NO_PERMISSION.0);
    client.send("Made", 0, "the topic is still there").await;
    let bounds = client.ask_with(&UpdateColdDataFlowCtrConfig, "G=1\n").await;
    let bound = client.ask_with(&RemoveColdDataFlowCtrConfig, "G").await;
    let begun = client.ask(&ResetMasterFlushOffset::default()).await;
    for refused in [bounds, bound, begun] {
        assert_eq!(
            refused.code,
            ResponseCode::NO_PERMISSION.0,
            "{:?}",
            refused.remark
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_tools_look_for_are_told_although_they_have_no_meaning() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let text = client.ask(&GetBrokerConfig).await.body;
    let text = std::str::from_utf8(&text).unwrap();
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(&format!("{key}=")))
    };
    assert_eq!(value("useTLS"), Some("false"));
    let processors: usize = value("clientCallbackExecutorThreads").unwrap().parse().unwrap();
    assert!(processors > 0);
    let keys: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    assert!(keys.is_sorted());
}
