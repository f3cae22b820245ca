// SPDX-License-Identifier: Apache-2.0
//! Members of groups: HEART_BEAT (34), UNREGISTER_CLIENT (35), GET_CONSUMER_LIST_BY_GROUP (38), LOCK_BATCH_MQ (41),
//! UNLOCK_BATCH_MQ (42), and what is pushed to members (40).

use serde_json::json;
use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("members come and go", members()),
        Case::new(
            "a member that hangs up is gone",
            vec![
                beat("first", "c1", "CG_G2").on("one"),
                beat("second", "c2", "CG_G2").on("two"),
                list("both", "CG_G2"),
                Step::hang_up("two"),
                list("one", "CG_G2")
                    .until("body.consumerIdList[\"c1\"]", "listed")
                    .until_absent("body.consumerIdList[\"c2\"]"),
            ],
        ),
        Case::new(
            "a group without members",
            vec![
                list("unknown", "CG_G3").answers(1),
                list_nothing(),
                Step::broker("its settings", Code::GET_SUBSCRIPTIONGROUP_CONFIG)
                    .field("group", "no group")
                    .answers(26)
                    .word_by_word(),
            ],
        ),
        Case::new("producers", producers()),
        Case::new("heartbeats that repeat themselves", fingerprints()),
        Case::new("heartbeats that are no heartbeats", garbage()),
        Case::new("the retry topic of a group that reads in order", ordered()),
        Case::new("locks", locks()),
        Case::new("locks of other groups and queues", more_locks()),
    ]
}

/// A consumer's heartbeat: the `client` of `group`, subscribed to `tag` of `topic` as of `version`.
pub(super) fn heartbeat(
    what: &str,
    (client, group): (&str, &str),
    (topic, tag, version): (&str, &str, i64),
) -> Step {
    let hash = tag
        .chars()
        .fold(0_i32, |hash, c| hash.wrapping_mul(31).wrapping_add(c as i32));
    let body = json!({
        "clientID": client,
        "heartbeatFingerprint": 0,
        "withoutSub": false,
        "producerDataSet": [],
        "consumerDataSet": [{
            "groupName": group,
            "consumeType": "CONSUME_PASSIVELY",
            "messageModel": "CLUSTERING",
            "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET",
            "unitMode": false,
            "subscriptionDataSet": [{
                "topic": topic, "subString": tag, "tagsSet": [tag], "codeSet": [hash],
                "subVersion": version, "expressionType": "TAG", "classFilterMode": false,
            }],
        }],
    });
    Step::broker(what, Code::HEART_BEAT).body(body.to_string())
}

fn beat(what: &str, client: &str, group: &str) -> Step {
    heartbeat(what, (client, group), ("GTopic", "A", 1))
}

fn list(what: &str, group: &str) -> Step {
    Step::broker(what, Code::GET_CONSUMER_LIST_BY_GROUP).field("consumerGroup", group)
}

fn list_nothing() -> Step {
    Step::broker("no group named", Code::GET_CONSUMER_LIST_BY_GROUP).answers(1)
}

fn leave(what: &str, client: &str, group: &str) -> Step {
    Step::broker(what, Code::UNREGISTER_CLIENT)
        .field("clientID", client)
        .field("consumerGroup", group)
}

fn told(line: &'static str) -> Step {
    Step::pushed(format!("{line} is told"), Code::NOTIFY_CONSUMER_IDS_CHANGED).on(line)
}

fn members() -> Vec<Step> {
    vec![
        beat("the first", "c1", "CG_G1").on("one"),
        told("one"),
        list("one member", "CG_G1"),
        beat("the second", "c2", "CG_G1").on("two"),
        told("one"),
        told("two"),
        list("two members", "CG_G1"),
        beat("again, nothing changes", "c2", "CG_G1").on("two"),
        leave("a stranger", "c9", "CG_G1").on("three"),
        leave("the second", "c2", "CG_G1").on("two"),
        told("one"),
        list("one member left", "CG_G1"),
        leave("the last", "c1", "CG_G1").on("one"),
        list("nobody", "CG_G1").answers(1),
        leave("nobody is left", "c1", "CG_G1").on("one"),
        leave("without an id", "c1", "CG_G1").without("clientID").ours(1),
    ]
}

fn producers() -> Vec<Step> {
    let body = json!({
        "clientID": "p1", "heartbeatFingerprint": 0, "withoutSub": false,
        "producerDataSet": [{"groupName": "PG_G"}, {"groupName": "PG_G_other"}], "consumerDataSet": [],
    });
    vec![
        Step::broker("a producer", Code::HEART_BEAT).body(body.to_string()),
        list("is no consumer", "PG_G").answers(1),
        Step::broker("leaves", Code::UNREGISTER_CLIENT)
            .field("clientID", "p1")
            .field("producerGroup", "PG_G"),
        Step::broker("leaves twice", Code::UNREGISTER_CLIENT)
            .field("clientID", "p1")
            .field("producerGroup", "PG_G"),
    ]
}

/// The short form: a client that sent everything once sends only a number after that.
fn fingerprints() -> Vec<Step> {
    let body = |fingerprint: i32, without: bool| {
        let subscriptions = json!([{"topic": "GTopic", "subString": "*", "tagsSet": [], "codeSet": [],
            "subVersion": 1, "expressionType": "TAG", "classFilterMode": false}]);
        json!({
            "clientID": "f1", "heartbeatFingerprint": fingerprint, "withoutSub": without, "producerDataSet": [],
            "consumerDataSet": [{"groupName": "CG_G4", "consumeType": "CONSUME_PASSIVELY",
                "messageModel": "CLUSTERING", "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET", "unitMode": false,
                "subscriptionDataSet": if without { json!([]) } else { subscriptions }}],
        })
        .to_string()
    };
    let send = |what: &str, body: String| Step::broker(what, Code::HEART_BEAT).body(body);
    vec![
        send("without a number", body(0, false)),
        send("the first with a number", body(77, false)),
        send("the same", body(77, false)),
        send("the same, short", body(77, true)),
        send("another, short", body(78, true)),
        send("another", body(78, false)),
        list("still a member", "CG_G4"),
    ]
}

/// Whether the retry topic is ordered goes by the topics that the last full heartbeat named.
fn ordered() -> Vec<Step> {
    let topic = |name: &str, order: &str| {
        Step::broker(format!("makes {name}"), Code::UPDATE_AND_CREATE_TOPIC)
            .field("topic", name)
            .field("defaultTopic", "TBW102")
            .field("readQueueNums", "1")
            .field("writeQueueNums", "1")
            .field("perm", "6")
            .field("topicFilterType", "SINGLE_TAG")
            .field("topicSysFlag", "0")
            .field("order", order)
    };
    let retry = |what: &str| Step::broker(what, Code::GET_TOPIC_CONFIG).field("topic", "%RETRY%CG_G6");
    let reads = |what: &str, topic: &str| heartbeat(what, ("o1", "CG_G6"), (topic, "A", 1));
    vec![
        topic("GOrdered", "true"),
        topic("GPlain", "false"),
        reads("a plain topic", "GPlain"),
        retry("is plain"),
        reads("an ordered topic", "GOrdered"),
        retry("is ordered"),
        reads("a plain topic again", "GPlain"),
        retry("is plain again"),
    ]
}

fn garbage() -> Vec<Step> {
    vec![
        Step::broker("no body", Code::HEART_BEAT).answers(1),
        Step::broker("not JSON", Code::HEART_BEAT)
            .body("{oops")
            .answers(1),
        Step::broker("nobody in it", Code::HEART_BEAT).body(r#"{"clientID":"x"}"#),
        beat("still served", "c1", "CG_G5"),
    ]
}

fn lock_body(client: &str, group: &str, queues: &[i32]) -> String {
    let queues: Vec<_> = queues
        .iter()
        .map(|id| json!({"topic": "GTopic", "brokerName": "broker-a", "queueId": id}))
        .collect();
    json!({"clientId": client, "consumerGroup": group, "onlyThisBroker": false, "mqSet": queues}).to_string()
}

fn lock(what: &str, client: &str, group: &str, queues: &[i32]) -> Step {
    Step::broker(what, Code::LOCK_BATCH_MQ).body(lock_body(client, group, queues))
}

fn unlock(what: &str, client: &str, group: &str, queues: &[i32]) -> Step {
    Step::broker(what, Code::UNLOCK_BATCH_MQ).body(lock_body(client, group, queues))
}

fn locks() -> Vec<Step> {
    vec![
        lock("a takes two", "a", "CG_G6", &[0, 1]),
        lock("a has them still", "a", "CG_G6", &[0, 1]),
        lock("b gets what is left", "b", "CG_G6", &[0, 1, 2]),
        unlock("b cannot give away what is a's", "b", "CG_G6", &[0, 1]),
        lock("b gets nothing", "b", "CG_G6", &[0, 1]),
        unlock("a gives one back", "a", "CG_G6", &[1]),
        lock("b gets it", "b", "CG_G6", &[0, 1]),
        unlock("nothing to give back", "a", "CG_G6", &[3]),
    ]
}

fn more_locks() -> Vec<Step> {
    vec![
        lock("one group", "a", "CG_G7", &[0]),
        lock("another group has its own", "b", "CG_G8", &[0]),
        lock("a queue that is not there", "a", "CG_G7", &[99]),
        lock("no queue", "a", "CG_G7", &[]),
        unlock("no queue", "a", "CG_G7", &[]),
        unlock("one-way", "a", "CG_G7", &[0]).oneway(),
        Step::broker("no body", Code::LOCK_BATCH_MQ).answers(1),
        Step::broker("not JSON", Code::LOCK_BATCH_MQ).body("[").answers(1),
        Step::broker("no body to unlock", Code::UNLOCK_BATCH_MQ).answers(1),
    ]
}
