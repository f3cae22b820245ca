// SPDX-License-Identifier: Apache-2.0
//! Moving groups.

use crate::rig::Rig;

async fn with_messages(settings: &[(&str, &str)]) -> Rig {
    let rig = Rig::start_with(settings).await;
    rig.topic("T", 2).await;
    for queue in [0, 1, 1] {
        rig.send("T", queue, "-p x").await;
    }
    rig.done("updateSubGroup -c DefaultCluster -g G").await;
    rig
}

#[tokio::test]
async fn a_group_that_is_offline_goes_to_a_time_and_to_the_end() {
    let rig = with_messages(&[]).await;
    let moved = rig.done("resetOffsetByTime -g G -t T -s 1000").await;
    assert!(
        moved.starts_with("start reset consumer offset by specified, group[G], topic[T], force[true], "),
        "{moved}"
    );
    let skipped = rig.data("skipAccumulatedMessage -g G -t T").await;
    let mut ends: Vec<_> = skipped
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| queue["offset"].as_i64())
        .collect();
    ends.sort();
    assert_eq!(ends, [Some(1), Some(2)]);
    let wrong = rig.run("resetOffsetByTime -g G -t T -s yesterday").await;
    assert_eq!((wrong.code, wrong.out.as_str()), (2, ""));
    rig.stop().await;
}

#[tokio::test]
async fn where_the_broker_does_not_move_a_group_its_offsets_are_set() {
    let rig = with_messages(&[("useServerSideResetOffset", "false")]).await;
    rig.commit("G", "T", [1, 2]).await;
    let moved = rig.done("resetOffsetByTime -g G -t T -s 1000").await;
    assert!(
        moved.starts_with("reset consumer offset by specified consumerGroup[G], topic[T], force[true], "),
        "{moved}"
    );
    assert!(moved.contains("#timestampOffset      #resetOffset"), "{moved}");
    let progress = rig.run("consumerProgress -g G -t T").await;
    assert!(progress.out.contains("Consume Diff Total: 3"), "{}", progress.out);
    let skipped = rig.data("skipAccumulatedMessage -g G -t T").await;
    assert_eq!(skipped[0]["consumerOffset"], 0);
    rig.stop().await;
}

#[tokio::test]
async fn one_queue_goes_to_an_offset_and_another_group_gets_the_same() {
    let rig = with_messages(&[]).await;
    let broker = rig.cluster.broker;
    let one = rig
        .done(&format!(
            "resetOffsetByTime -g G -t T -s now -b {broker} -q 1 -o 1"
        ))
        .await;
    assert!(one.ends_with("reset consumer offset to 1\n"), "{one}");
    let stays = rig
        .run(&format!("resetOffsetByTime -g G -t T -s 1000 -b {broker} -q 1"))
        .await;
    assert_eq!(stays.code, 0);
    assert!(stays.err.contains("nothing was changed"), "{}", stays.err);
    let _member = rig.consumer("G", "T", "*").await;
    rig.done("updateSubGroup -c DefaultCluster -g H").await;
    let copied = rig.done("cloneGroupOffset -s G -d H -t T").await;
    assert_eq!(
        copied,
        "clone group offset success. srcGroup[G], destGroup=[H], topic[T]"
    );
    let progress = rig.data("consumerProgress -g H -t T").await;
    assert_eq!(progress["queues"][1]["consumerOffset"], 1);
    rig.stop().await;
}
