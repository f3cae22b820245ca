// SPDX-License-Identifier: Apache-2.0
//! Commands that repeat themselves: several rounds, failures in between, and how they end.

use std::time::Duration;

use crate::printed::Sink;
use crate::rig::Rig;

/// Nobody listens there.
const NOBODY: &str = "127.0.0.1:1";

#[tokio::test]
async fn what_is_watched_goes_on_past_a_failure_until_nobody_reads_it() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    let said = Sink::default();
    let watching = rig.watch(
        "topicRoute -t T -l --watch 0.5 --output yaml",
        ("broker: broker-a", 3),
        &said,
    );
    let meanwhile = async {
        rig.done("deleteTopic -c DefaultCluster -t T --yes").await;
        let told = async {
            while !said.text().contains("TOPIC_NOT_EXIST") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), told)
            .await
            .expect("it says that the topic is gone");
        rig.topic("T", 1).await;
    };
    let (ran, ()) = tokio::join!(watching, meanwhile);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.starts_with("warning: "), "{}", ran.err);
    // The document that nobody read to its end is the third.
    let documents: Vec<&str> = ran.out.split("---\n").collect();
    assert_eq!(documents.len(), 3, "{}", ran.out);
    assert!(documents.iter().all(|text| text.starts_with("- ")), "{}", ran.out);
    rig.stop().await;
}

#[tokio::test]
async fn a_wrong_call_is_not_watched() {
    let rig = Rig::start().await;
    let ran = rig.run("tail -t T --max 0 --watch 0.1").await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    rig.stop().await;
}

#[tokio::test]
async fn a_broker_that_is_away_does_not_end_the_rounds() {
    let rig = Rig::start().await;
    let _registered = rig.register("broker-z", NOBODY.parse().unwrap(), "T").await;
    for line in ["clusterList -i 0", "clusterList -m -i 0"] {
        let said = Sink::default();
        let ran = rig.watch(line, ("broker-z", 3), &said).await;
        assert_eq!(ran.code, 0, "{line}: {}", ran.err);
        assert_eq!(ran.out.matches("#Cluster Name").count(), 3, "{line}: {}", ran.out);
        assert_eq!(ran.err.matches("warning: ").count(), 3, "{line}: {}", ran.err);
    }
    // As data the figures are numbers, or nothing.
    let ran = rig.run("clusterList --output json").await;
    let rows: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(rows[0]["send"]["waiting"], 0, "{rows}");
    assert!(rows[0]["pageCacheLockMs"].is_number(), "{rows}");
    assert!(
        rows[0]["hours"].is_null(),
        "an empty store has no oldest message: {rows}"
    );
    assert!(rows[1]["send"]["waiting"].is_null(), "{rows}");
    // Once is enough to be told by the exit code.
    let ran = rig.run("clusterList").await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.contains("broker-a") && ran.out.contains("broker-z"),
        "{}",
        ran.out
    );
    rig.stop().await;
}

#[tokio::test]
async fn what_was_deleted_is_told_server_by_server_also_when_one_is_away() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    let _registered = rig.register("broker-z", NOBODY.parse().unwrap(), "T").await;
    let ran = rig.run("deleteTopic -c DefaultCluster -t T --output json").await;
    assert_eq!(ran.code, 1);
    let rows: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!(rows[0]["server"], rig.cluster.broker.to_string());
    // The text is that of the reference: nothing before all is done.
    let ran = rig.run("deleteTopic -c DefaultCluster -t T").await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    let names = rig.cluster.nameserver;
    let ran = rig
        .run_alone(&format!("getNamesrvConfig -n {names};{NOBODY} --output json"))
        .await;
    assert_eq!(ran.code, 1);
    let rows: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(rows[0]["nameServer"], names.to_string());
    rig.stop().await;
}
