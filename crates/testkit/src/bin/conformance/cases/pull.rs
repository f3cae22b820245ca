// SPDX-License-Identifier: Apache-2.0
//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).

use super::group::heartbeat;
use super::{offset, pull, send, send_tagged, settled};
use testkit::diff::{Case, Step};
use wire::code::Code;

const COMMITS: i32 = 1;
const MAY_BE_HELD: i32 = 2;
const HAS_SUBSCRIPTION: i32 = 4;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("where a pull may start", starts()),
        Case::new("how much a pull returns", amounts()),
        Case::new("filters by tag", tags()),
        Case::new("pulls that are refused", refused()),
        Case::new("a full pull goes on right behind its last message", full()),
        Case::new("a group far behind is sent to another replica", suggestions()),
        Case::new(
            "a pull without a subscription relies on the heartbeat",
            by_heartbeat(),
        ),
        Case::new("a held pull is woken by a message", held()),
        Case::new(
            "a held pull is woken only by a message that it asked for",
            vec![
                send_tagged("P7", 0, "A", "first"),
                settled("P7", 0, 1),
                pull("make the group", "P7", 0, 0),
                holding("tag B", "P7", 1).field("subscription", "B").on("waiting"),
                send_tagged("P7", 0, "A", "not this one"),
                send_tagged("P7", 0, "B", "this one"),
                Step::arrives("B arrives", "waiting").records(),
            ],
        ),
        Case::new(
            "a pull that may not be held long comes back empty",
            vec![
                send("make the topic", "P8", 0),
                settled("P8", 0, 1),
                pull("make the group", "P8", 0, 0),
                holding("500 ms", "P8", 1)
                    .field("suspendTimeoutMillis", 500)
                    .on("waiting"),
                Step::arrives("nothing", "waiting").records().answers(19),
            ],
        ),
        Case::new(
            "an offset committed with a pull",
            vec![
                send("make the topic", "P9", 0),
                settled("P9", 0, 1),
                pull("commits 1", "P9", 0, 0)
                    .field("sysFlag", HAS_SUBSCRIPTION | COMMITS)
                    .field("commitOffset", 1),
                offset("read back", Code::QUERY_CONSUMER_OFFSET, "P9", 0).field("consumerGroup", "CG_P9"),
                pull("commits nothing", "P9", 0, 0).field("commitOffset", 9),
                offset("as before", Code::QUERY_CONSUMER_OFFSET, "P9", 0).field("consumerGroup", "CG_P9"),
            ],
        ),
    ]
}

fn fill(topic: &str, count: i64) -> Vec<Step> {
    let mut steps: Vec<Step> = (0..count)
        .map(|i| {
            send_tagged(
                topic,
                0,
                if i % 2 == 0 { "Even" } else { "Odd" },
                &format!("key-{i}"),
            )
        })
        .collect();
    steps.push(settled(topic, 0, count));
    steps
}

fn starts() -> Vec<Step> {
    let mut steps = fill("P1", 5);
    steps.extend([
        pull("at the start", "P1", 0, 0),
        pull("in the middle", "P1", 0, 3),
        pull("at the end", "P1", 0, 5).answers(19),
        pull("past the end", "P1", 0, 6).answers(21),
        pull("far past the end", "P1", 0, i64::MAX).answers(21),
        pull("before the start", "P1", 0, -1).answers(21),
        pull("an empty queue", "P1", 1, 0).answers(19),
        pull("an empty queue, from 7", "P1", 1, 7).answers(21),
        pull("an empty queue, from -1", "P1", 1, -1).answers(21),
    ]);
    let lite = |what, at, answers| {
        let step = pull(what, "P1", 0, at).retyped(Code::LITE_PULL_MESSAGE);
        step.field("sysFlag", HAS_SUBSCRIPTION | 16).answers(answers)
    };
    steps.extend([
        lite("lite", 0, 0),
        lite("lite, at the end", 5, 19),
        lite("lite, past the end", 9, 21),
    ]);
    steps
}

fn amounts() -> Vec<Step> {
    let mut steps = fill("P2", 40);
    for count in [1, 5, 32, 33, 1000] {
        steps.push(pull(format!("{count} at most"), "P2", 0, 0).field("maxMsgNums", count));
    }
    steps.push(pull("the reader sets a limit of bytes", "P2", 0, 0).field("maxMsgBytes", 500));
    for i in 0..4 {
        steps.push(send(format!("100 kB, {i}"), "P2", 1).body("x".repeat(100_000)));
    }
    steps.push(settled("P2", 1, 4));
    steps.push(pull("256 KiB at most", "P2", 1, 0));
    steps
}

fn suggestions() -> Vec<Step> {
    let set = |line: &str| {
        Step::broker(line, Code::UPDATE_BROKER_CONFIG)
            .body(format!("{line}\n"))
            .ignoring("remark")
    };
    let mut steps = fill("P10", 12);
    steps.extend([
        pull("without the setting", "P10", 0, 0),
        set("slaveReadEnable=true"),
        pull("near the end of the log", "P10", 0, 0),
        set("accessMessageInMemoryMaxRatio=0"),
        pull("everything is far", "P10", 0, 0),
        pull("the last", "P10", 0, 11),
        pull("at the end", "P10", 0, 12).answers(19),
        pull("past the end", "P10", 0, 20).answers(21),
        set("accessMessageInMemoryMaxRatio=40"),
        set("slaveReadEnable=false"),
    ]);
    steps
}

fn tags() -> Vec<Step> {
    let mut steps = fill("P3", 10);
    steps.push(send("without a tag", "P3", 0));
    steps.push(settled("P3", 0, 11));
    for expression in [
        "Even",
        "Even || Odd",
        " Odd||Nothing ",
        "*",
        "",
        "Nothing",
        "Even||",
        "||",
        "Ev*",
    ] {
        let code = match expression {
            "Nothing" | "Ev*" => 20,
            "||" => 23,
            _ => 0,
        };
        let asked = pull(format!("`{expression}`"), "P3", 0, 0).field("subscription", expression);
        steps.push(asked.answers(code));
    }
    steps.push(
        pull("none at all", "P3", 0, 0)
            .without("subscription")
            .ignoring("remark"),
    );
    steps
}

/// Whatever comes behind, wanted or not. (`sequences`, `--seed 7` and `30`.)
fn full() -> Vec<Step> {
    let mut steps: Vec<Step> = (0..12)
        .map(|at| send_tagged("P12", 0, if at % 4 == 0 { "A" } else { "B" }, "k"))
        .collect();
    steps.push(settled("P12", 0, 12));
    for (what, nums) in [("one", 1), ("two", 2), ("none is one", 0), ("all", 32)] {
        let asked = pull(what, "P12", 0, 0).field("maxMsgNums", nums);
        steps.push(asked.field("subscription", "A"));
    }
    steps
}

fn refused() -> Vec<Step> {
    let mut steps = vec![
        send("make the topic", "P4", 0),
        pull("no such topic", "P4none", 0, 0).answers(17),
        pull("no such queue", "P4", 4, 0).answers(29).word_by_word(),
        pull("a negative queue", "P4", -1, 0).answers(29),
        pull("a bad group name", "P4", 0, 0)
            .field("consumerGroup", "no group")
            .answers(26),
        pull("nobody's subscription", "P4", 0, 0)
            .field("sysFlag", 0)
            .field("consumerGroup", "CG_offline")
            .answers(24),
    ];
    let mandatory = [
        "consumerGroup",
        "topic",
        "queueId",
        "queueOffset",
        "maxMsgNums",
        "sysFlag",
    ];
    for name in mandatory {
        steps.push(
            pull(format!("without {name}"), "P4", 0, 0)
                .without(name)
                .answers(1),
        );
    }
    steps
}

fn by_heartbeat() -> Vec<Step> {
    let known = |what: &str, topic: &str| {
        pull(what, topic, 0, 0)
            .field("sysFlag", 0)
            .field("consumerGroup", "CG_P5")
    };
    vec![
        send_tagged("P5", 0, "A", "a"),
        send_tagged("P5", 0, "B", "b"),
        send("another topic", "P5other", 0),
        settled("P5", 0, 2),
        heartbeat("subscribes to A", ("client-1", "CG_P5"), ("P5", "A", 100)),
        known("the same version", "P5")
            .field("subVersion", 100)
            .until("code", 0),
        known("an older one", "P5").field("subVersion", 99),
        known("a newer one", "P5").field("subVersion", 101).answers(25),
        known("a topic it has not subscribed to", "P5other").answers(24),
        heartbeat("subscribes to B", ("client-1", "CG_P5"), ("P5", "B", 200)),
        known("the new subscription", "P5").field("subVersion", 200),
    ]
}

fn holding(what: &str, topic: &str, at: i64) -> Step {
    pull(what, topic, 0, at)
        .field("sysFlag", HAS_SUBSCRIPTION | MAY_BE_HELD)
        .field("suspendTimeoutMillis", 15_000)
        .held()
}

fn held() -> Vec<Step> {
    vec![
        send("make the topic", "P6", 0),
        settled("P6", 0, 1),
        pull("make the group", "P6", 0, 0),
        holding("at the end", "P6", 1).on("waiting"),
        send("another queue", "P6", 1),
        send("this queue", "P6", 0),
        Step::arrives("the message", "waiting").records(),
        Step::broker("it counts as pulled", Code::GET_CONSUME_STATS)
            .field("consumerGroup", "CG_P6")
            .field("topic", "P6"),
        holding("there is one already", "P6", 0).on("waiting"),
        Step::arrives("comes at once", "waiting").records(),
        holding("past the end", "P6", 9).on("waiting"),
        Step::arrives("is not held", "waiting").records().answers(21),
    ]
}
