// SPDX-License-Identifier: Apache-2.0
//! Codes 14, 15, 29, 30, 31, 32, 43 and the file behind them.

use wire::api::offset::{
    BoundaryType, GetAllConsumerOffset, GetEarliestMsgStoretime, GetMaxOffset, GetMinOffset, OffsetReply,
    QueryConsumerOffset, SearchOffsetByTimestamp, UpdateConsumerOffset,
};
use wire::api::pull::PullMessage;
use wire::body::stats::OffsetTable;
use wire::fastjson;
use wire::frame::Frame;

use crate::rig::{Client, Rig, pull};

fn commit(group: &str, queue_id: i32, commit_offset: i64) -> UpdateConsumerOffset {
    UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: "T".into(),
        queue_id,
        commit_offset,
    }
}

fn query(group: &str, queue_id: i32) -> QueryConsumerOffset {
    QueryConsumerOffset {
        consumer_group: group.into(),
        topic: "T".into(),
        queue_id,
        set_zero_if_not_found: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_offset_is_found_again_also_when_it_goes_back() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    client.consume("G", "T", "*").await;
    for offset in [7, 3] {
        client.get(&commit("G", 1, offset)).await;
        assert_eq!(client.get(&query("G", 1)).await.offset, offset);
    }
    client
        .channel
        .push(Frame::request(0, &commit("G", 1, 9)).oneway())
        .unwrap();
    assert_eq!(client.get(&query("G", 1)).await.offset, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_commit_of_a_client_that_has_lost_a_queue_takes_nothing_back() {
    let rig = Rig::start().await;
    let old = rig.client_of("T", 2).await;
    let new = rig.client().await;
    for client in [&old, &new] {
        client.consume("G", "T", "*").await;
    }
    for body in 0..9 {
        old.send("T", 1, &body.to_string()).await;
    }
    // One-way, as clients commit; the question behind it is answered after it.
    let after = async |client: &Client, offset: i64| {
        let frame = Frame::request(0, &commit("G", 1, offset)).oneway();
        client.channel.push(frame).unwrap();
        client.ask(&query("G", 1)).await
    };
    let committing = |commit_offset| PullMessage {
        sys_flag: 1 | 4,
        commit_offset,
        ..pull("G", "T", 1, 5)
    };
    let offset_of = |reply: Frame| reply.ext.read::<OffsetReply>().unwrap().offset;
    old.pull(&pull("G", "T", 1, 0)).await;
    assert_eq!(offset_of(after(&old, 5).await), 5);
    new.pull(&pull("G", "T", 1, 5)).await;
    assert_eq!(offset_of(after(&new, 8).await), 8);
    assert_eq!(
        offset_of(after(&old, 7).await),
        8,
        "the queue is not its any more"
    );
    assert_eq!(offset_of(after(&old, -1).await), 8);
    assert_eq!(offset_of(after(&old, 9).await), 9, "forward takes nothing back");
    assert_eq!(offset_of(after(&new, 3).await), 3, "the owner may go back");
    // What comes with a pull is under the same rule, and the pull makes its client the owner.
    old.pull(&committing(2)).await;
    assert_eq!(offset_of(new.ask(&query("G", 1)).await), 3);
    old.pull(&committing(2)).await;
    assert_eq!(offset_of(new.ask(&query("G", 1)).await), 2);
    old.get(&commit("G", 1, 2)).await;
    assert_eq!(offset_of(new.ask(&query("G", 1)).await), 2, "so may an operator");
    let stranger = rig.client().await;
    assert_eq!(
        offset_of(after(&stranger, 1).await),
        1,
        "and whoever sends its heartbeats elsewhere"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_begins_at_0_only_where_the_first_message_is_still_in_memory() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    client.send("T", 0, "a").await;
    assert_eq!(client.get(&query("G", 0)).await.offset, 0);
    let empty = client.ask(&query("G", 1)).await;
    assert_eq!(empty.code, 22);
    assert_eq!(
        empty.remark.as_deref(),
        Some("Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")
    );
    assert!(!empty.ext.is_absent());
    let strict = QueryConsumerOffset {
        set_zero_if_not_found: Some(false),
        ..query("G", 0)
    };
    let refused = client.ask(&strict).await;
    assert_eq!(refused.code, 22);
    assert_eq!(
        refused.remark.as_deref(),
        Some("Not found, do not set to zero, maybe this group boot first")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_nobody_or_to_nowhere_is_refused() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    client.consume("G", "T", "*").await;
    assert_eq!(client.ask(&commit("nobody", 0, 1)).await.code, 26);
    assert_eq!(
        client
            .ask(&UpdateConsumerOffset {
                topic: "U".into(),
                ..commit("G", 0, 1)
            })
            .await
            .code,
        17
    );
    client.get(&commit("G", 0, 7)).await;
    for nowhere in [commit("G", 2, 1), commit("G", -1, 1)] {
        assert_eq!(client.ask(&nowhere).await.code, 0, "{nowhere:?}");
        let asked = QueryConsumerOffset {
            set_zero_if_not_found: Some(false),
            ..query("G", nowhere.queue_id)
        };
        assert_eq!(
            client.ask(&asked).await.code,
            22,
            "what makes no sense is not kept"
        );
    }
    assert_eq!(client.get(&query("G", 0)).await.offset, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_negative_commit_forgets_what_was_committed() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    client.consume("G", "T", "*").await;
    client.get(&commit("G", 0, 7)).await;
    assert_eq!(client.ask(&commit("G", 0, -1)).await.code, 0);
    assert_eq!(client.ask(&query("G", 0)).await.code, 22);
    client.get(&commit("G", 0, 3)).await;
    assert_eq!(client.get(&query("G", 0)).await.offset, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_outlive_the_broker_in_a_file_that_the_reference_reads() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 2).await;
    client.consume("G", "T", "*").await;
    client.get(&commit("G", 0, 4)).await;
    client.get(&commit("G", 1, 5)).await;
    // A pull leaves no trace in the file.
    client.pull(&pull("SELF_TEST_C_GROUP", "T", 0, 0)).await;
    let dir = rig.stop().await;
    let file = std::fs::read_to_string(dir.path().join("store/config/consumerOffset.json")).unwrap();
    let expected = "\t\"groupTopicMap\":{\n\t\t\"G\":[\n\t\t\t\"T\"\n\t\t]\n\t},\n\
                    \t\"offsetTable\":{\n\t\t\"T@G\":{\n\t\t\t0:4,\n\t\t\t1:5\n\t\t}\n\t}\n}";
    assert!(file.ends_with(expected), "{file}");
    let rig = Rig::start_in(dir, &[]).await;
    assert_eq!(rig.client().await.get(&query("G", 1)).await.offset, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_of_offsets_gives_way_to_its_backup() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("store/config");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("consumerOffset.json"), "{\"offsetTable\":{\"T@G\"").unwrap();
    // As 4.x wrote it: keys in any order, no groupTopicMap.
    let backup = "{\n\t\"offsetTable\":{\"T@G\":{0:2,1:3},\n\"%RETRY%G@G\":{0:10}\n\t}\n}";
    std::fs::write(config.join("consumerOffset.json.bak"), backup).unwrap();
    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    assert_eq!(client.get(&query("G", 1)).await.offset, 3);
    let table = client.ask(&GetAllConsumerOffset).await;
    let table: OffsetTable = fastjson::from_slice(&table.body).unwrap();
    assert_eq!(table.offset_table["%RETRY%G@G"][&0], 10);
    assert_eq!(table.group_topic_map.unwrap()["G"], ["%RETRY%G", "T"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_of_the_offsets_moves_on_after_so_many_commits() {
    let rig = Rig::start_with(&[("consumerOffsetUpdateVersionStep", "3")]).await;
    let client = rig.client_of("T", 2).await;
    client.consume("G", "T", "*").await;
    for (offset, counter) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2)] {
        client.get(&commit("G", 0, offset)).await;
        let table = client.ask(&GetAllConsumerOffset).await;
        let table: OffsetTable = fastjson::from_slice(&table.body).unwrap();
        assert_eq!(table.data_version.counter, counter, "after {offset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_tells_where_it_begins_and_ends_and_when() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let (topic, queue_id) = ("T".into(), 0);
    let max = GetMaxOffset {
        topic,
        queue_id,
        committed: None,
    };
    let min = GetMinOffset {
        topic: "T".into(),
        queue_id,
    };
    let earliest = GetEarliestMsgStoretime {
        topic: "T".into(),
        queue_id,
    };
    assert_eq!(client.get(&earliest).await.timestamp, -1);
    for _ in 0..3 {
        client.send("T", 0, "a").await;
    }
    assert_eq!(client.get(&max).await.offset, 3);
    assert_eq!(client.get(&min).await.offset, 0);
    let first = client.get(&earliest).await.timestamp;
    assert!(first > 1_700_000_000_000);
    let at = |timestamp, boundary_type| SearchOffsetByTimestamp {
        topic: "T".into(),
        queue_id,
        timestamp,
        boundary_type: Some(boundary_type),
    };
    assert_eq!(client.get(&at(first, BoundaryType::Lower)).await.offset, 0);
    assert_eq!(client.get(&at(0, BoundaryType::Upper)).await.offset, 0);
    assert_eq!(client.get(&at(i64::MAX, BoundaryType::Lower)).await.offset, 3);
    assert_eq!(client.get(&at(i64::MAX, BoundaryType::Upper)).await.offset, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_there_ends_at_0() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    for queue_id in [0, -1] {
        let topic: wire::Str = "nothing".into();
        let max = GetMaxOffset {
            topic: topic.clone(),
            queue_id,
            committed: Some(true),
        };
        assert_eq!(client.get(&max).await.offset, 0);
        assert_eq!(
            client
                .get(&GetMinOffset {
                    topic: topic.clone(),
                    queue_id
                })
                .await
                .offset,
            0
        );
        let search = SearchOffsetByTimestamp {
            topic: topic.clone(),
            queue_id,
            timestamp: 1,
            boundary_type: None,
        };
        assert_eq!(client.get(&search).await.offset, 0);
        assert_eq!(
            client
                .get(&GetEarliestMsgStoretime { topic, queue_id })
                .await
                .timestamp,
            -1
        );
    }
}
