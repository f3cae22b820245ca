// SPDX-License-Identifier: Apache-2.0
//! Who is connected, and how far groups are.

use crate::rig::{CLIENT, Rig};

#[tokio::test]
async fn the_members_of_a_group_are_shown_with_what_they_want() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    let _member = rig.consumer("G", "T", "TagA").await;
    let shown = rig.done("consumerConnection -g G").await;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(
        lines[0]
            .starts_with("#ClientId                            #ClientAddr            #Language  #Version")
    );
    assert!(
        lines[1].starts_with(&format!("{CLIENT:<36} 127.0.0.1:")),
        "{shown}"
    );
    assert!(
        shown.contains("\n\nBelow is subscription:\n#Topic               #SubExpression\n"),
        "{shown}"
    );
    assert!(shown.contains(&format!("{:<20} TagA\n", "T")), "{shown}");
    assert!(
        shown.ends_with(
            "\nConsumeType: CONSUME_PASSIVELY\nMessageModel: CLUSTERING\nConsumeFromWhere: CONSUME_FROM_FIRST_OFFSET\n"
        ),
        "{shown}"
    );
    let broker = rig.cluster.broker;
    let none = rig
        .run(&format!("consumerConnection -g nobody -b {broker}"))
        .await;
    assert_eq!((none.code, none.out.as_str()), (1, ""));
    assert!(none.err.contains("CONSUMER_NOT_ONLINE (206)"), "{}", none.err);
    let producers = rig.done(&format!("producer -b {broker}")).await;
    assert_eq!(producers, "");
    let none = rig.run("producerConnection -g nobody -t T").await;
    assert_eq!(none.code, 1);
    rig.stop().await;
}

#[tokio::test]
async fn how_far_a_group_is_behind_is_shown_by_queue_and_in_all() {
    let rig = Rig::start().await;
    rig.topic("T", 2).await;
    let _member = rig.consumer("G", "T", "*").await;
    for queue in [0, 1, 1] {
        rig.send("T", queue, "-p x").await;
    }
    rig.done("skipAccumulatedMessage -g G -t T").await;
    rig.send("T", 1, "-p x").await;
    let progress = rig.data("consumerProgress -g G -t T -s true").await;
    assert_eq!(progress["diffTotal"], 1);
    let queues = progress["queues"].as_array().unwrap();
    let seen: Vec<_> = queues
        .iter()
        .map(|queue| (&queue["queue"], &queue["brokerOffset"], &queue["diff"]))
        .collect();
    assert_eq!(
        seen,
        [
            (&0.into(), &1.into(), &0.into()),
            (&1.into(), &3.into(), &1.into())
        ]
    );
    assert_eq!(
        (&queues[0]["client"], &queues[1]["client"]),
        (&"127.0.0.1".into(), &"N/A".into())
    );
    let text = rig.done("consumerProgress -g G").await;
    assert!(text.contains("\nConsume Diff Total: 1\n"), "{text}");
    let overview = rig.done("consumerProgress").await;
    let group = overview.lines().find(|line| line.starts_with("G ")).unwrap();
    let words: Vec<&str> = group.split_whitespace().collect();
    assert_eq!(
        (words[1], words[3], words[4], words[6]),
        ("1", "PUSH", "CLUSTERING", "1"),
        "{overview}"
    );
    let broker = rig.cluster.broker;
    let all = rig.data(&format!("brokerConsumeStats -b {broker} -l 1")).await;
    assert_eq!(all["diffTotal"], 1);
    assert_eq!(all["queues"][0]["group"], "G");
    let gone = rig.run("consumerProgress -g nobody").await;
    assert_eq!((gone.code, gone.out.as_str()), (1, ""));
    rig.stop().await;
}

#[tokio::test]
async fn what_a_member_says_of_itself_is_shown_and_what_is_odd_about_it() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    let _member = rig.consumer("G", "T", "*").await;
    let text = rig.done(&format!("consumerStatus -g G -i {CLIENT}")).await;
    assert!(text.starts_with("#Consumer Properties#\n"), "{text}");
    assert!(
        text.contains("consumerGroup                           : G\n"),
        "{text}"
    );
    assert!(text.contains("ProcessQueueInfo [commitOffset=1, "), "{text}");
    let all = rig.data("consumerStatus -g G").await;
    assert_eq!(all[0]["clientId"], CLIENT);
    let finding = all[0]["findings"][0].as_str().unwrap();
    assert!(
        finding.contains("can't consume for a while, maybe blocked"),
        "{finding}"
    );
    let ran = rig.run("consumerStatus -g G -i nobody").await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    rig.stop().await;
}

#[tokio::test]
async fn the_entries_of_a_queue_are_shown_with_the_subscription_of_a_group() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    rig.send("T", 0, "-p hello -c TagA").await;
    let _member = rig.consumer("G", "T", "TagB").await;
    let shown = rig.done("queryCq -t T -q 0 -i 0 -g G").await;
    assert!(
        shown.starts_with("Subscription data: \n{\n\t\"classFilterMode\":false,\n"),
        "{shown}"
    );
    assert!(
        shown.contains("======================================\nQueue data: \nmax: 1, min: 0\n"),
        "{shown}"
    );
    assert!(
        shown.contains("idx: 0\nConsumeQueueData{physicOffset=0, "),
        "{shown}"
    );
    rig.stop().await;
}
