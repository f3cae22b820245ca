// SPDX-License-Identifier: Apache-2.0
//! Which settings a request may change (25), what is said of them, and who changed what (900025).

use std::path::Path;
use std::sync::Arc;

use store::Env;
use store::disk::Disk;
use store::disk::sim::SimDisk;
use tempfile::TempDir;
use wire::api::config::{GetBrokerConfig, ListConfigChanges, UpdateBrokerConfig};
use wire::body::config::{ConfigChanges, Effect};
use wire::fastjson;
use wire::frame::Frame;

use crate::rig::{Client, Rig, SOON, producer};

const SECRET: &str = "a secret of many characters";

/// A broker with a configuration file of these lines.
async fn with_file(dir: TempDir, lines: &str) -> Rig {
    let file = dir.path().join("broker.conf");
    if !file.exists() {
        std::fs::write(&file, lines).unwrap();
    }
    let path = file.to_str().unwrap().to_owned();
    Rig::start_in(dir, &[("brokerConfigPath", &path)]).await
}

fn file(rig: &Rig) -> String {
    std::fs::read_to_string(rig.dir.path().join("broker.conf")).unwrap()
}

async fn update(client: &Client, text: &str) -> Frame {
    client.ask_with(&UpdateBrokerConfig, text.to_owned()).await
}

async fn changes(client: &Client, question: &ListConfigChanges) -> ConfigChanges {
    let reply = client.ask(question).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    fastjson::from_slice(&reply.body).unwrap()
}

/// As after a kill between the two steps in which a file is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_after_a_start_from_the_backup_keeps_what_is_in_it() {
    let rig = with_file(tempfile::tempdir().unwrap(), "# mine\nfileReservedTime=24\n").await;
    let path = rig.dir.path().join("broker.conf");
    std::fs::rename(&path, rig.dir.path().join("broker.conf.bak")).unwrap();
    let reply = update(&rig.client().await, "traceOn=false").await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    assert_eq!(file(&rig), "# mine\nfileReservedTime=24\ntraceOn=false\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_every_key_is_said_what_becomes_of_it_and_unknown_ones_are_not_saved() {
    let rig = with_file(tempfile::tempdir().unwrap(), "# mine\n").await;
    let client = rig.client().await;
    let text = "traceOn=false\nfileReservedTime=24\nsendMessageThreadPoolNums=9\nnonsense=1\n";
    let reply = update(&client, text).await;
    assert_eq!(reply.code, 0);
    assert_eq!(
        reply.remark.as_deref(),
        Some(
            "in effect now: traceOn; takes effect at the next start: fileReservedTime; \
             ignored, without a meaning here: sendMessageThreadPoolNums; ignored, unknown: nonsense"
        )
    );
    assert_eq!(
        file(&rig),
        "# mine\ntraceOn=false\nfileReservedTime=24\nsendMessageThreadPoolNums=9\n"
    );
    assert_eq!(rig.setting("fileReservedTime"), "72");
    let noted = changes(&client, &ListConfigChanges::default()).await.changes;
    let keys: Vec<_> = noted
        .iter()
        .map(|change| (change.key.as_str(), change.effect))
        .collect();
    assert_eq!(
        keys,
        [
            ("sendMessageThreadPoolNums", Effect::Never),
            ("fileReservedTime", Effect::AfterRestart),
            ("traceOn", Effect::Now)
        ]
    );
}

/// What no broker could start with, and a word of the answer.
const SENSELESS: [(&str, i32, &str); 7] = [
    ("maxMessageSize=many", 29, "an integer from 0"),
    ("maxMessageSize=0", 29, "above 0"),
    ("brokerPermission=7", 29, "6 (both)"),
    ("accessMessageInMemoryMaxRatio=101", 29, "percentage"),
    ("duplicationEnable=true", 29, "not supported"),
    ("brokerRole=SLAVE", 29, "would not start again"),
    ("listenPort=1", 29, "would not start again"),
];

/// What names a file, a program, a peer, or a secret.
const PLACES: [&str; 17] = [
    "storePathRootDir=/elsewhere",
    "storePathCommitLog=/elsewhere",
    "rocketmqHome=/elsewhere",
    "brokerConfigPath=/elsewhere",
    "tls.server.keyPath=/elsewhere",
    "messageStorePlugIn=a.b.C",
    "configBlackList=",
    "adminAllowedFrom=0.0.0.0/0",
    "namesrvAddr=192.0.2.9:9876",
    "haMasterAddress=192.0.2.9:10912",
    "brokerIP1=192.0.2.9",
    "bindAddress=0.0.0.0",
    "metricsGrpcExporterTarget=http://192.0.2.9:1",
    "haSecret=a secret of many characters",
    "haAllowUnproven=true",
    "innerClientAuthenticationCredentials={}",
    "controllerAddr=192.0.2.9:1",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_names_a_place_what_is_listed_and_what_makes_no_sense_is_refused_and_changes_nothing() {
    let rig = with_file(
        tempfile::tempdir().unwrap(),
        "configBlackList=regionId; traceOn\n",
    )
    .await;
    let black = rig.client().await;
    let listed = rig.setting("configBlackList");
    for (text, code, word) in SENSELESS
        .into_iter()
        .chain(PLACES.map(|text| (text, 16, "edit the configuration file")))
    {
        let reply = update(&black, &format!("longPollingEnable=false\n{text}\n")).await;
        let remark = reply.remark.unwrap_or_default();
        assert!(
            reply.code == code && remark.contains(word) && !remark.contains(SECRET),
            "{text}: {} {remark}",
            reply.code
        );
    }
    let long_value = format!("regionId={}\n", "x".repeat(5000));
    let long_name = format!("{}=1\n", "x".repeat(1 << 20));
    for long in [long_value, long_name] {
        let reply = update(&black, &format!("longPollingEnable=false\n{long}")).await;
        let remark = reply.remark.unwrap();
        assert!(reply.code == 29 && remark.len() < 200, "{} bytes", remark.len());
    }
    let many: String = (0..1001).map(|n| format!("unknown{n}=1\n")).collect();
    assert_eq!(update(&black, &many).await.code, 29);
    assert_eq!(rig.setting("longPollingEnable"), "true");
    assert_eq!(rig.setting("configBlackList"), listed);
    assert_eq!(file(&rig), "configBlackList=regionId; traceOn\n");
    assert_eq!(
        changes(&black, &ListConfigChanges::default()).await,
        ConfigChanges::default()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_black_list_are_refused_and_a_good_pair_of_settings_is_taken_together() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start_in(dir, &[("configBlackList", "regionId; traceOn")]).await;
    let client = rig.client().await;
    for key in ["regionId", "traceOn"] {
        let reply = update(&client, &format!("{key}=false\n")).await;
        assert_eq!(reply.code, 16, "{key}");
    }
    drop(rig.stop().await);

    let rig = with_file(tempfile::tempdir().unwrap(), "").await;
    let client = rig.client().await;
    let reply = update(&client, "brokerRole=SLAVE\nbrokerId=1\n").await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    assert_eq!(file(&rig), "brokerRole=SLAVE\nbrokerId=1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changed_what_from_which_value_to_which_outlives_a_restart() {
    let rig = with_file(tempfile::tempdir().unwrap(), "").await;
    let client = rig.client().await;
    client
        .beat(&producer("192.0.2.7@tools", "CLIENT_INNER_PRODUCER"))
        .await;
    assert_eq!(update(&client, "regionId=here\n").await.code, 0);
    assert_eq!(
        update(&client, "traceOn=false\nfileReservedTime=24\n").await.code,
        0
    );
    assert_eq!(update(&client, "fileReservedTime=12\n").await.code, 0);
    drop(client);
    let rig = with_file(rig.stop().await, "").await;
    let client = rig.client().await;
    assert_eq!(update(&client, "traceOn=true\n").await.code, 0);
    let noted = changes(&client, &ListConfigChanges::default()).await.changes;
    let said: Vec<_> = noted
        .iter()
        .map(|change| {
            (
                change.seq,
                change.key.as_str(),
                change.from.as_deref(),
                change.to.as_str(),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            (5, "traceOn", Some("true"), "true"),
            (4, "fileReservedTime", Some("24"), "12"),
            (3, "fileReservedTime", Some("72"), "24"),
            (2, "traceOn", Some("true"), "false"),
            (1, "regionId", Some("DefaultRegion"), "here"),
        ]
    );
    assert!(
        noted
            .iter()
            .all(|change| change.peer.starts_with("127.0.0.1:") && change.at_ms > 0)
    );
    assert_eq!(noted[1].client_id.as_deref(), Some("192.0.2.7@tools"));
    assert_eq!(noted[0].client_id, None);

    let one = ListConfigChanges {
        key: Some("fileReservedTime".into()),
        max: Some(1),
        next: None,
    };
    let page = changes(&client, &one).await;
    assert_eq!((page.changes.len(), page.next), (1, Some(4)));
    let next = ListConfigChanges {
        next: page.next,
        ..one
    };
    let page = changes(&client, &next).await;
    assert_eq!((page.changes[0].seq, page.next), (3, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_changes_that_is_damaged_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("store/config");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("barqueConfigChanges.json"), "{").unwrap();
    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    let reply = update(&client, "traceOn=false\n").await;
    assert_eq!(
        reply.remark.as_deref(),
        Some("in effect now: traceOn; not saved: the broker runs without a configuration file")
    );
    assert_eq!(
        changes(&client, &ListConfigChanges::default())
            .await
            .changes
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_their_changes_are_read_while_a_change_waits_for_the_disk() {
    let (disk, file) = (Arc::new(SimDisk::seeded(1)), "/etc/broker.conf");
    disk.replace(Path::new(file), b"brokerName=broker-a\n").unwrap();
    let env = Env {
        disk: Arc::clone(&disk) as Arc<dyn Disk>,
        ..Env::real()
    };
    let rig = Rig::start_on(env, tempfile::tempdir().unwrap(), &[("brokerConfigPath", file)]).await;
    let (client, other) = (rig.client().await, rig.client().await);
    let stuck = disk.hold_reads();
    let changing = tokio::spawn(async move { update(&client, "traceOn=false\n").await });
    let waited = tokio::task::spawn_blocking(move || stuck.wait_for_one(SOON).then_some(stuck));
    let stuck = waited.await.unwrap().unwrap();
    assert_eq!(other.ask(&GetBrokerConfig).await.code, 0);
    let question = ListConfigChanges::default();
    assert_eq!(changes(&other, &question).await.changes, []);
    drop(stuck);
    assert_eq!(changing.await.unwrap().code, 0);
    assert_eq!(changes(&other, &question).await.changes.len(), 1);
}
