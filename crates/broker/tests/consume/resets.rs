// SPDX-License-Identifier: Apache-2.0
//! Groups that are set to other offsets: 222, 220, 314, 308.

use wire::api::offset::{
    CloneGroupOffset, InvokeBrokerToResetOffset, QueryConsumerOffset, QueryCorrectionOffset,
    UpdateConsumerOffset,
};
use wire::body::stats::{CorrectionOffsets, QueueOffsets};
use wire::code::Code;
use wire::fastjson;

use crate::rig::{Client, Rig, pull};

fn reset(group: &str, queue: Option<i32>, offset: Option<i64>, timestamp: i64) -> InvokeBrokerToResetOffset {
    InvokeBrokerToResetOffset {
        group: group.into(),
        topic: "T".into(),
        queue_id: queue,
        offset,
        timestamp: Some(timestamp),
        is_force: true,
    }
}

async fn set(client: &Client, header: &InvokeBrokerToResetOffset) -> Vec<(i32, i64)> {
    let reply = client.ask(header).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    let told: QueueOffsets = fastjson::from_slice(&reply.body).unwrap();
    let queues = told.offset_table.into_iter();
    queues.map(|(queue, offset)| (queue.0.queue_id, offset)).collect()
}

async fn commit(client: &Client, group: &str, queue_id: i32, offset: i64) {
    let header = UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: "T".into(),
        queue_id,
        commit_offset: offset,
    };
    assert_eq!(client.ask(&header).await.code, 0);
}

async fn committed(client: &Client, group: &str, queue_id: i32) -> i64 {
    let header = QueryConsumerOffset {
        consumer_group: group.into(),
        topic: "T".into(),
        queue_id,
        set_zero_if_not_found: Some(false),
    };
    let reply = client.ask(&header).await;
    if reply.code == 0 {
        reply.ext.get("offset").unwrap().parse().unwrap()
    } else {
        -1
    }
}

async fn filled() -> (Rig, Client) {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    for i in 0..6 {
        client.send("T", i % 2, &format!("m{i}")).await;
    }
    (rig, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_told_at_the_next_pull_and_commits_before_it_do_not_count() {
    let (_rig, client) = filled().await;
    commit(&client, "G", 0, 3).await;
    assert_eq!(set(&client, &reset("G", Some(0), Some(1), 0)).await, [(0, 1)]);
    assert_eq!(committed(&client, "G", 0).await, 1);
    commit(&client, "G", 0, 3).await;
    assert_eq!(committed(&client, "G", 0).await, 1, "from before the reset");
    let mut next = pull("G", "T", 0, 3);
    next.sys_flag |= 1;
    next.commit_offset = 3;
    assert_eq!(client.pull(&next).await.outcome(), (21, "OFFSET_RESET", 1));
    assert_eq!(committed(&client, "G", 0).await, 1);
    assert_eq!(client.pull(&pull("G", "T", 0, 1)).await.bodies(), ["m2", "m4"]);
    commit(&client, "G", 0, 3).await;
    assert_eq!(committed(&client, "G", 0).await, 3);
    assert_eq!(set(&client, &reset("G", None, None, -1)).await, [(0, 3), (1, 3)]);
    assert_eq!(
        set(&client, &reset("G", Some(-1), None, 0)).await,
        [(0, 0), (1, 0)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_is_woken_by_a_reset_of_its_group_only() {
    let (rig, client) = filled().await;
    let waiting = |group: &'static str| {
        let mut wait = pull(group, "T", 0, 3);
        wait.sys_flag |= 2;
        wait.suspend_timeout_millis = 9_000;
        wait
    };
    let (mine, others) = (rig.client().await, rig.client().await);
    let other = others.pull_in_background(waiting("H")).await;
    let held = mine.pull_in_background(waiting("G")).await;
    // Both were read by the broker when it has answered what came behind them.
    for client in [&mine, &others] {
        committed(client, "G", 0).await;
    }
    set(&client, &reset("G", Some(0), Some(2), 0)).await;
    assert_eq!(held.await.unwrap().unwrap().outcome(), (21, "OFFSET_RESET", 2));
    client.send("T", 0, "new").await;
    assert_eq!(other.await.unwrap().unwrap().bodies(), ["new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reset_is_refused() {
    let (_rig, client) = filled().await;
    let cases = [
        (reset("nobody", None, None, 0), 26, "Group nobody does not exist"),
        (
            InvokeBrokerToResetOffset {
                topic: "none".into(),
                ..reset("G", None, None, 0)
            },
            17,
            "Topic none does not exist",
        ),
        (
            reset("G", Some(0), Some(5), 0),
            1,
            "Target offset 5 not in consume queue range [0-3]",
        ),
        (
            reset("G", Some(2), Some(0), 0),
            1,
            "topic T has 2 queues to read from, there is no queue 2",
        ),
    ];
    for (header, code, remark) in cases {
        let reply = client.ask(&header).await;
        assert_eq!((reply.code, reply.remark.as_deref()), (code, Some(remark)));
    }
    assert_eq!(committed(&client, "G", 0).await, -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_resets_on_the_server_connected_consumers_are_told() {
    let rig = Rig::start_with(&[("useServerSideResetOffset", "false")]).await;
    let mut client = rig.client_of("T", 1).await;
    client.send("T", 0, "a").await;
    let reply = client.ask(&reset("G", None, None, 0)).await;
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (1, Some("THe consumer group <G> not exist"))
    );
    commit(&client, "G", 0, 1).await;
    assert_eq!(client.ask(&reset("G", None, None, 0)).await.code, 206);
    client.consume("G", "T", "*").await;
    assert_eq!(set(&client, &reset("G", None, None, 0)).await, [(0, 0)]);
    loop {
        let frame = client.next_request().await;
        if frame.code == Code::RESET_CONSUMER_CLIENT_OFFSET.0 {
            let told: QueueOffsets = fastjson::from_slice(&frame.body).unwrap();
            assert_eq!(told.offset_table.into_values().collect::<Vec<_>>(), [0]);
            assert_eq!(frame.ext.get("group").as_deref(), Some("G"));
            break;
        }
    }
    assert_eq!(
        committed(&client, "G", 0).await,
        1,
        "its consumers commit by themselves"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_copied_from_group_to_group() {
    let (_rig, client) = filled().await;
    commit(&client, "G", 0, 3).await;
    commit(&client, "G", 1, 2).await;
    client.pull(&pull("H", "T", 0, 0)).await;
    let copy = CloneGroupOffset {
        src_group: "G".into(),
        dest_group: "H".into(),
        topic: None,
        offline: Some(true),
    };
    assert_eq!(client.ask(&copy).await.code, 0);
    assert_eq!(
        (committed(&client, "H", 0).await, committed(&client, "H", 1).await),
        (3, 2)
    );
    let to_nobody = CloneGroupOffset {
        dest_group: "nobody".into(),
        ..copy.clone()
    };
    assert_eq!(client.ask(&to_nobody).await.code, 0);
    assert_eq!(committed(&client, "nobody", 0).await, 3, "made by that");
    let never = CloneGroupOffset {
        dest_group: "no group".into(),
        ..copy.clone()
    };
    assert_eq!(client.ask(&never).await.code, 26);
    // What an online group does not read any more is not copied, unless that is asked for.
    client.consume("G", "other", "*").await;
    commit(&client, "G", 0, 1).await;
    let online = CloneGroupOffset {
        offline: Some(false),
        ..copy
    };
    assert_eq!(client.ask(&online).await.code, 0);
    assert_eq!(committed(&client, "H", 0).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_group_is_found_and_nothing_changes() {
    let (_rig, client) = filled().await;
    for (group, offset) in [("G", 3), ("H", 1), ("I", 2)] {
        client.pull(&pull(group, "T", 0, 0)).await;
        commit(&client, group, 0, offset).await;
    }
    let ask = |filter: Option<&str>, compare: &str| QueryCorrectionOffset {
        filter_groups: filter.map(Into::into),
        compare_group: compare.into(),
        topic: "T".into(),
    };
    for (filter, compare, slowest) in [(None, "G", 1), (Some("H"), "G", 2), (Some("H"), "H", i64::MAX)] {
        let reply = client.ask(&ask(filter, compare)).await;
        let told: CorrectionOffsets = fastjson::from_slice(&reply.body).unwrap();
        assert_eq!(told.correction_offsets, [(0, slowest)].into());
    }
    assert_eq!(committed(&client, "H", 0).await, 1);
}
