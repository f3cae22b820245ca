// SPDX-License-Identifier: Apache-2.0
//! What a cluster has, written to files.

use crate::rig::Rig;
use serde_json::Value;
use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "files that a command wrote are read")]
fn read(dir: &Path, name: &str) -> Value {
    let text = std::fs::read(dir.join(name)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[tokio::test]
async fn topics_groups_settings_and_counts_are_written_down() {
    let rig = Rig::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("below");
    let place = path.display();
    rig.topic("T", 3).await;
    rig.done("updateSubGroup -c DefaultCluster -g G").await;
    let said = rig
        .done(&format!("exportMetadata -c DefaultCluster -f {place}"))
        .await;
    assert_eq!(said, format!("export {place}/metadata.json success\n"));
    let metadata = read(&path, "metadata.json");
    assert_eq!(metadata["topicConfigTable"]["T"]["readQueueNums"], 3);
    assert_eq!(metadata["topicConfigTable"].as_object().unwrap().len(), 1);
    assert_eq!(metadata["subscriptionGroupTable"]["G"]["retryMaxTimes"], 16);
    let broker = rig.cluster.broker;
    let said = rig
        .done(&format!("exportMetadata -b {broker} -t -f {place}"))
        .await;
    assert_eq!(said, format!("export {place}/topic.json success"));
    assert!(read(&path, "topic.json")["dataVersion"]["counter"].is_number());
    rig.done(&format!("exportConfigs -c DefaultCluster -f {place}"))
        .await;
    let configs = read(&path, "configs.json");
    assert_eq!(configs["clusterScale"]["masterBrokerSize"], 1);
    assert_eq!(configs["brokerConfigs"]["broker-a"]["brokerRole"], "ASYNC_MASTER");
    rig.done(&format!("exportMetrics -c DefaultCluster -f {place}"))
        .await;
    let metrics = read(&path, "metrics.json");
    let quota = &metrics["evaluateReport"]["broker-a"]["runtimeQuota"];
    assert_eq!((&quota["topicSize"], &quota["groupSize"]), (&1.into(), &1.into()));
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_written_is_an_error() {
    let rig = Rig::start().await;
    let ran = rig.run("exportConfigs -c DefaultCluster -f /dev/null/x").await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("say another place with -f"), "{}", ran.err);
    let ran = rig.run("exportMetadata").await;
    assert_eq!(ran.code, 2);
    assert!(
        ran.out.starts_with("usage: mqadmin exportMetadata "),
        "{}",
        ran.out
    );
    rig.stop().await;
}

#[tokio::test]
async fn leases_are_handed_over_and_files_of_rocksdb_are_refused() {
    let rig = Rig::start().await;
    let broker = rig.cluster.broker;
    let said = rig.done(&format!("exportPopRecord -b {broker} -d false")).await;
    assert_eq!(
        said,
        format!("Export broker records, brokerName=broker-a, brokerAddr={broker}, dryRun=true\n")
    );
    for line in [
        "exportMetadataInRocksDB -p / -t topics",
        "rocksDBConfigToJson -p / -t topics",
    ] {
        // Not with the name server that every other command is given.
        let ran = rig.run_alone(line).await;
        assert_eq!(ran.code, 2, "{line}");
        assert!(
            ran.err.contains("there is no RocksDB in barque"),
            "{line}: {}",
            ran.err
        );
    }
    rig.stop().await;
}
