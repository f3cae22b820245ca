// SPDX-License-Identifier: Apache-2.0
//! SQL expressions in pulls (11, 361), heartbeats (34) and the check of a client (46). The servers are started with
//! `enablePropertyFilter=true`, which the reference does not have by default.

use super::{pull, send, settled};
use serde_json::json;
use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("a pull brings an SQL expression", brought()),
        Case::new("a heartbeat brings an SQL expression", registered()),
        Case::new("an SQL filter survives its group", offline()),
        Case::new("a held pull is woken by what its expression wants", held()),
        Case::new("a client has its SQL expression checked", checked()),
        Case::new("SQL expressions when they are switched off", switched_off()),
    ]
}

fn send_with(topic: &str, body: &str, properties: &str) -> Step {
    let properties = properties.replace('=', "\u{1}").replace(' ', "\u{2}");
    send(body, topic, 0)
        .field("i", format!("UNIQ_KEY\u{1}{}\u{2}{properties}", super::UNIQUE))
        .body(body)
}

fn sql(what: &str, topic: &str, expression: &str) -> Step {
    pull(what, topic, 0, 0)
        .field("expressionType", "SQL92")
        .field("subscription", expression)
}

/// A pull that relies on the heartbeats of its group.
fn plain(what: &str, topic: &str, version: i64) -> Step {
    pull(what, topic, 0, 0)
        .field("sysFlag", 0)
        .field("subVersion", version)
        .without("subscription")
        .without("expressionType")
}

fn beat(what: &str, topic: &str, (kind, expression, version): (&str, &str, i64)) -> Step {
    let body = json!({
        "clientID": format!("client-{topic}"),
        "heartbeatFingerprint": 0,
        "withoutSub": false,
        "producerDataSet": [],
        "consumerDataSet": [{
            "groupName": format!("CG_{topic}"),
            "consumeType": "CONSUME_PASSIVELY",
            "messageModel": "CLUSTERING",
            "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET",
            "unitMode": false,
            "subscriptionDataSet": [{
                "topic": topic, "subString": expression, "tagsSet": [], "codeSet": [],
                "subVersion": version, "expressionType": kind, "classFilterMode": false,
            }],
        }],
    });
    Step::broker(what, Code::HEART_BEAT).body(body.to_string())
}

fn leave(topic: &str) -> Step {
    Step::broker("the group leaves", Code::UNREGISTER_CLIENT)
        .field("clientID", format!("client-{topic}"))
        .field("consumerGroup", format!("CG_{topic}"))
}

fn check(what: &str, kind: &str, expression: &str) -> Step {
    let body = json!({
        "clientId": "client-check", "group": "CG_check",
        "subscriptionData": {
            "topic": "F5", "subString": expression, "tagsSet": [], "codeSet": [],
            "subVersion": 1, "expressionType": kind, "classFilterMode": false,
        },
    });
    Step::broker(what, Code::CHECK_CLIENT_CONFIG).body(body.to_string())
}

/// Five messages, one without properties.
fn filled(topic: &str) -> Vec<Step> {
    vec![
        send_with(topic, "five", "a=5 b=x "),
        send_with(topic, "six", "a=6 "),
        send_with(topic, "text", "a=abc "),
        send(topic, topic, 0),
        send_with(topic, "last", "a=5.0 TAGS=t "),
        settled(topic, 0, 5),
        pull("make the group", topic, 0, 0),
    ]
}

fn brought() -> Vec<Step> {
    let mut steps = filled("F1");
    for expression in [
        "a = 5",
        "a > 5 or b = 'x'",
        "a is null",
        "not a",
        "TAGS = 't'",
        "a = 5.0 rest",
    ] {
        steps.push(sql(expression, "F1", expression));
    }
    for nothing in ["a = 7 and b = 'y'", "a", "5 = x"] {
        steps.push(sql(nothing, "F1", nothing).answers(20));
    }
    steps.push(sql("from the middle", "F1", "a is not null").field("queueOffset", 2));
    steps.push(sql("lite pull", "F1", "a = 5").retyped(Code::LITE_PULL_MESSAGE));
    steps.push(sql("one at most", "F1", "a is not null").field("maxMsgNums", 1));
    steps.push(
        sql("an empty expression", "F1", "")
            .answers(23)
            .ignoring("remark"),
    );
    steps.push(
        sql("no expression", "F1", "")
            .without("subscription")
            .answers(23)
            .ignoring("remark"),
    );
    // The reference finds no filter then, and lets everything pass.
    steps.push(sql("a wrong expression", "F1", "a >").answers(0).ours(23));
    let unknown = sql("a type that there is not", "F1", "a > 1").field("expressionType", "SQL93");
    steps.push(unknown.answers(0).ours(23));
    steps
}

fn registered() -> Vec<Step> {
    let mut steps = filled("F2");
    steps.extend([
        beat("a wrong expression", "F2", ("SQL92", "a >", 10)),
        plain("has no filter", "F2", 10).answers(27),
        beat("a type that there is not", "F2", ("SQL93", "a > 1", 11)),
        plain("has no filter either", "F2", 11).answers(27),
        beat("a good expression", "F2", ("SQL92", "a = 5", 20)),
        plain("the same version", "F2", 20),
        plain("an older version", "F2", 19),
        plain("a newer version", "F2", 21).answers(25),
        beat("another expression of that version", "F2", ("SQL92", "a = 6", 20)),
        plain("the one from before", "F2", 20),
        beat("an empty expression", "F2", ("SQL92", "", 30)),
        plain("a filter that is too old", "F2", 30).answers(28),
        plain("which is no matter for who does not ask", "F2", 20),
        beat("the same expression, newer", "F2", ("SQL92", "a = 5", 40)),
        plain("now it is new enough", "F2", 40),
        beat("a new expression", "F2", ("SQL92", "a is null", 50)),
        plain("the new one", "F2", 50),
        beat("tags again", "F2", ("TAG", "*", 60)),
        plain("everything", "F2", 60),
        beat("a wrong expression, newer", "F2", ("SQL92", "a = = 5", 70)),
        plain("took the old one away", "F2", 70).answers(27),
    ]);
    steps
}

fn offline() -> Vec<Step> {
    let mut steps = filled("F3");
    steps.extend([
        beat("an expression", "F3", ("SQL92", "a = 5", 20)),
        plain("works", "F3", 20),
        leave("F3"),
        plain("offline", "F3", 20).answers(24),
        beat(
            "another expression of the same version",
            "F3",
            ("SQL92", "a = 6", 20),
        ),
        plain("brings the old one back", "F3", 20),
        leave("F3"),
        beat("an older version", "F3", ("SQL92", "a = 6", 10)),
        plain("has the newer filter", "F3", 10),
    ]);
    steps
}

fn held() -> Vec<Step> {
    vec![
        send("make the topic", "F4", 0),
        settled("F4", 0, 1),
        pull("make the group", "F4", 0, 0),
        sql("waits", "F4", "a = 7")
            .field("queueOffset", 1)
            .field("sysFlag", 6)
            .field("suspendTimeoutMillis", 15_000)
            .held()
            .on("waiting"),
        send_with("F4", "not this one", "a=6 "),
        send_with("F4", "nor this one", "a=x "),
        send_with("F4", "this one", "a=7 "),
        Step::arrives("it arrives", "waiting").records(),
    ]
}

fn checked() -> Vec<Step> {
    let wrong = [
        "a >",
        "",
        "5",
        "a = NULL",
        "a > 'x'",
        "a between 5 and 1",
        "a in (5)",
        "'",
        "a > 0.0",
    ];
    let mut steps = vec![
        check("tags", "TAG", "a >"),
        check("no type", "", "a >"),
        check("an expression", "SQL92", "a > 5 and b in ('x')"),
        check("with something behind it", "SQL92", "a > 5) b"),
        check("a type that there is not", "SQL93", "a > 5")
            .answers(23)
            .ignoring("remark"),
    ];
    let refused = |text: &str| check(text, "SQL92", text).answers(23).ignoring("remark");
    steps.extend(wrong.map(refused));
    steps
}

fn switched_off() -> Vec<Step> {
    let switch = |value: &str| {
        Step::broker(
            format!("enablePropertyFilter={value}"),
            Code::UPDATE_BROKER_CONFIG,
        )
        .body(format!("enablePropertyFilter={value}\n"))
        .ignoring("remark")
    };
    let mut steps = filled("F6");
    steps.extend([
        switch("false"),
        sql("a good expression", "F6", "a = 5").answers(1),
        sql("a wrong one", "F6", "a >").answers(1),
        sql("none", "F6", "").answers(23).ignoring("remark"),
        beat(
            "a heartbeat registers it nevertheless",
            "F6",
            ("SQL92", "a = 5", 20),
        ),
        plain("and it is refused", "F6", 20).answers(1),
        beat("a wrong one", "F6", ("SQL92", "a >", 30)),
        plain("is not there", "F6", 30).answers(27),
        check("checked: good", "SQL92", "a = 5").answers(1),
        check("checked: wrong", "SQL92", "a >").answers(1),
        check("checked: tags", "TAG", "*"),
        switch("true"),
        sql("works again", "F6", "a = 5"),
    ]);
    steps
}
