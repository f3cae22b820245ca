// SPDX-License-Identifier: Apache-2.0
//! Offsets where something happens meanwhile: to the queue, to its owner, to the process or to the machine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use store::disk::Disk;
use store::disk::sim::{Loss, SimDisk};
use store::env::Env;
use wire::api::group::DeleteSubscriptiongroup;
use wire::api::offset::{
    CloneGroupOffset, GetMaxOffset, InvokeBrokerToResetOffset, QueryConsumerOffset, UpdateConsumerOffset,
};
use wire::api::pull::PullMessage;
use wire::api::topic::{DeleteTopicInBroker, GetTopicConfig};
use wire::frame::Frame;

use crate::life::Life;
use crate::rig::{Client, Rig, SOON, held_pull, pull};

/// Nothing is saved and nothing flushed by itself as long as a test runs.
const NEVER: &[(&str, &str)] = &[
    ("flushConsumerOffsetInterval", "3600000"),
    ("flushIntervalCommitLog", "3600000"),
    ("flushCommitLogThoroughInterval", "3600000"),
    ("flushIntervalConsumeQueue", "3600000"),
    ("mappedFileSizeConsumeQueue", "2000"),
];

impl Client {
    async fn commit(&self, group: &str, commit_offset: i64) {
        let header = UpdateConsumerOffset {
            consumer_group: group.into(),
            topic: "T".into(),
            queue_id: 0,
            commit_offset,
        };
        self.get(&header).await;
    }

    /// One-way, as clients commit.
    fn commit_oneway(&self, commit_offset: i64) {
        let header = UpdateConsumerOffset {
            consumer_group: "G".into(),
            topic: "T".into(),
            queue_id: 0,
            commit_offset,
        };
        self.channel.push(Frame::request(0, &header).oneway()).unwrap();
    }

    /// What a group has committed of queue 0.
    async fn offset_of(&self, group: &str) -> Option<i64> {
        let header = QueryConsumerOffset {
            consumer_group: group.into(),
            topic: "T".into(),
            queue_id: 0,
            set_zero_if_not_found: Some(false),
        };
        let reply = self.ask(&header).await;
        (reply.code == 0).then(|| reply.ext.get("offset").unwrap().parse().unwrap())
    }

    async fn reset_to(&self, group: &str, offset: i64) {
        let header = InvokeBrokerToResetOffset {
            topic: "T".into(),
            group: group.into(),
            queue_id: Some(0),
            offset: Some(offset),
            timestamp: Some(-1),
            is_force: true,
        };
        let reply = self.ask(&header).await;
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
    }

    async fn max(&self) -> i64 {
        let header = GetMaxOffset {
            topic: "T".into(),
            queue_id: 0,
            committed: None,
        };
        self.get(&header).await.offset
    }
}

/// Brings an offset along.
fn committing(commit_offset: i64) -> PullMessage {
    PullMessage {
        sys_flag: 1 | 4,
        commit_offset,
        ..pull("G", "T", 0, 0)
    }
}

/// A broker whose messages are all on disk, and a client that has stored some.
async fn cold() -> (Arc<SimDisk>, Rig, Client) {
    let disk = Arc::new(SimDisk::seeded(1));
    let env = Env {
        disk: Arc::clone(&disk) as Arc<dyn Disk>,
        ..Env::real()
    };
    let rig = Rig::start_on(env, tempfile::tempdir().unwrap(), &[("hotBytes", "0")]).await;
    let client = rig.client_of("T", 1).await;
    for body in 0..9 {
        client.send("T", 0, &body.to_string()).await;
    }
    (disk, rig, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_waits_for_the_disk_takes_back_nothing_that_was_committed_meanwhile() {
    let (disk, _rig, client) = cold().await;
    let stuck = disk.hold_reads();
    let waiting = client.pull_in_background(committing(3)).await;
    assert_eq!(client.offset_of("G").await, Some(3), "it commits before it reads");
    client.commit("G", 7).await;
    drop(stuck);
    assert_eq!(waiting.await.unwrap().unwrap().code, 0);
    assert_eq!(client.offset_of("G").await, Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_waits_for_the_disk_brings_no_offset_of_a_deleted_topic_back() {
    let (disk, _rig, client) = cold().await;
    let stuck = disk.hold_reads();
    let waiting = client.pull_in_background(committing(9)).await;
    assert_eq!(client.offset_of("G").await, Some(9));
    client.get(&DeleteTopicInBroker { topic: "T".into() }).await;
    client.make_topic("T", 1).await;
    drop(stuck);
    waiting.await.unwrap().unwrap();
    assert_eq!(client.offset_of("G").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_of_the_old_owner_that_ends_does_not_make_it_the_owner_again() {
    let rig = Rig::start().await;
    let old = rig.client_of("T", 1).await;
    let new = rig.client().await;
    for client in [&old, &new] {
        client.consume("G", "T", "*").await;
    }
    for body in 0..10 {
        old.send("T", 0, &body.to_string()).await;
    }
    let held = old
        .pull_in_background(held_pull("G", "T", 10, Duration::from_secs(2)))
        .await;
    assert_eq!(old.offset_of("G").await, None);
    new.pull(&pull("G", "T", 0, 0)).await;
    new.commit_oneway(10);
    assert_eq!(new.offset_of("G").await, Some(10));
    assert!(!held.is_finished(), "else it ends before the other one pulls");
    let ended = held.await.unwrap().unwrap();
    assert_eq!(ended.code, 19);
    new.commit_oneway(5);
    assert_eq!(new.offset_of("G").await, Some(5), "the owner may go back");
    old.commit_oneway(4);
    assert_eq!(old.offset_of("G").await, Some(5), "the old one may not");
}

async fn start(disk: &Arc<SimDisk>) -> Option<Life> {
    Life::start(Arc::clone(disk) as Arc<dyn Disk>, NEVER).await
}

/// A broker with a topic and two groups that have committed, at once on disk.
async fn begun(disk: &Arc<SimDisk>) -> Life {
    let life = start(disk).await.unwrap();
    let client = &life.client;
    client.make_topic("T", 1).await;
    for body in 0..9 {
        client.send("T", 0, &body.to_string()).await;
    }
    for group in ["G", "H"] {
        client.pull(&pull(group, "T", 0, 0)).await;
        client.reset_to(group, 7).await;
    }
    life
}

/// The process is killed now.
async fn killed(disk: &Arc<SimDisk>, life: Life) -> Life {
    disk.halt_at(disk.ops());
    life.end().await;
    disk.crash(Loss::Nothing);
    start(disk).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_was_told_of_offsets_outlives_a_kill_at_once() {
    let disk = Arc::new(SimDisk::seeded(1));
    let life = killed(&disk, begun(&disk).await).await;
    let client = &life.client;
    assert_eq!(client.offset_of("G").await, Some(7), "reset (222)");
    client.get(&pull_group("K")).await;
    let life = killed(&disk, life).await;
    let client = &life.client;
    assert_eq!(client.offset_of("K").await, Some(7), "copied (314)");
    let delete = DeleteSubscriptiongroup {
        group_name: "H".into(),
        clean_offset: Some(true),
    };
    client.get(&delete).await;
    let life = killed(&disk, life).await;
    let client = &life.client;
    assert_eq!(client.offset_of("H").await, None, "deleted with its group (207)");
    client.get(&DeleteTopicInBroker { topic: "T".into() }).await;
    let life = killed(&disk, life).await;
    let client = &life.client;
    client.make_topic("T", 1).await;
    assert_eq!(client.offset_of("G").await, None, "deleted with its topic (215)");
    life.end().await;
}

fn pull_group(dest: &str) -> CloneGroupOffset {
    CloneGroupOffset {
        src_group: "G".into(),
        dest_group: dest.into(),
        topic: Some("T".into()),
        offline: Some(true),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_a_topic_is_deleted_never_leaves_its_offsets_alone() {
    // Offsets first, then the topic. Each kill is one of another life, in which other threads write as well: on a busy machine one
    // round may pass over the moment between the two.
    let all = BTreeSet::from([(true, true), (true, false), (false, false)]);
    let mut outcomes = BTreeSet::new();
    for _round in 0..10 {
        killed_while_deleted(&mut outcomes).await;
        if outcomes == all {
            return;
        }
    }
    panic!("{outcomes:?}");
}

/// Kills at each operation of the disk, until the topic is gone: whether the topic, and the offset, were there afterwards.
async fn killed_while_deleted(outcomes: &mut BTreeSet<(bool, bool)>) {
    for halt in 0..40 {
        let disk = Arc::new(SimDisk::seeded(1));
        let life = begun(&disk).await;
        disk.halt_at(disk.ops() + halt);
        let delete = Frame::request(0, &DeleteTopicInBroker { topic: "T".into() });
        let _refused_or_done = life.client.channel.call(delete, SOON).await;
        life.end().await;
        disk.crash(Loss::Nothing);
        let life = start(&disk).await.unwrap();
        let config = GetTopicConfig {
            topic: "T".into(),
            lo: None,
        };
        let is_there = life.client.ask(&config).await.code == 0;
        let offset = life.client.offset_of("G").await;
        assert!(is_there || offset.is_none(), "{offset:?} after {halt} operations");
        outcomes.insert((is_there, offset.is_some()));
        life.end().await;
        if !is_there {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_cut_no_group_is_beyond_the_end_of_its_queue() {
    let mut lost = 0;
    for seed in [0, 2, 10] {
        let disk = Arc::new(SimDisk::seeded(seed));
        let life = begun(&disk).await;
        life.client.reset_to("G", 9).await;
        disk.halt_at(disk.ops());
        life.end().await;
        disk.crash(Loss::Random);
        let life = start(&disk).await.unwrap();
        let max = life.client.max().await;
        let offsets = [life.client.offset_of("G").await, life.client.offset_of("H").await];
        for offset in offsets.into_iter().flatten() {
            assert!(offset <= max, "seed {seed}: {offset} of {max}");
            lost += i32::from(max < 7 && offset == max);
        }
        // They stay there when there are new messages, and the machine ends once more.
        life.client.make_topic("T", 1).await;
        life.client.send("T", 0, "new").await;
        disk.halt_at(disk.ops());
        life.end().await;
        disk.crash(Loss::Nothing);
        let life = start(&disk).await.unwrap();
        let again = [life.client.offset_of("G").await, life.client.offset_of("H").await];
        assert_eq!(again, offsets, "seed {seed}");
        life.end().await;
    }
    assert!(
        lost > 0,
        "no seed loses the end of the log and keeps what was committed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_fails_leaves_the_offsets_of_the_topic() {
    let disk = Arc::new(SimDisk::seeded(1));
    let life = Life::start(Arc::clone(&disk) as _, NEVER).await.unwrap();
    let client = &life.client;
    client.make_topic("T", 1).await;
    for body in ["a", "b", "c"] {
        client.send("T", 0, body).await;
    }
    client.consume("G", "T", "*").await;
    client.commit("G", 2).await;
    disk.set_full(true);
    let reply = client.ask(&DeleteTopicInBroker { topic: "T".into() }).await;
    assert_ne!(reply.code, 0);
    disk.set_full(false);
    let kept = GetTopicConfig {
        topic: "T".into(),
        ..GetTopicConfig::default()
    };
    assert_eq!(client.ask(&kept).await.code, 0);
    assert_eq!(client.offset_of("G").await, Some(2));
    client.get(&DeleteTopicInBroker { topic: "T".into() }).await;
    assert_eq!(client.offset_of("G").await, None);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_answered_under_sync_flush_outlives_a_power_cut_at_once() {
    let disk = Arc::new(SimDisk::seeded(1));
    let settings: Vec<_> = NEVER
        .iter()
        .copied()
        .chain([("flushDiskType", "SYNC_FLUSH")])
        .collect();
    let life = Life::start(Arc::clone(&disk) as _, &settings).await.unwrap();
    life.client.make_topic("T", 1).await;
    for body in ["a", "b", "c"] {
        life.client.send("T", 0, body).await;
    }
    life.client.consume("G", "T", "*").await;
    for offset in 1..=3 {
        life.client.commit("G", offset).await;
    }
    disk.halt_at(disk.ops());
    life.end().await;
    disk.crash(Loss::Everything);
    let life = Life::start(Arc::clone(&disk) as _, &settings).await.unwrap();
    assert_eq!(life.client.offset_of("G").await, Some(3));
    life.end().await;
}
