// SPDX-License-Identifier: Apache-2.0
//! Routes: REGISTER_BROKER (103), UNREGISTER_BROKER (104), GET_ROUTEINFO_BY_TOPIC (105), GET_BROKER_CLUSTER_INFO (106),
//! QUERY_DATA_VERSION (322), WIPE_WRITE_PERM_OF_BROKER (205), ADD_WRITE_PERM_OF_BROKER (327), the topic lists (206, 224,
//! 304), DELETE_TOPIC_IN_NAMESRV (216) and GET_BROKER_MEMBER_GROUP (901).

use super::route;
use serde_json::json;
use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("the route of a topic, in the dialects of clients", dialects()),
        Case::new("a topic without a route", without_a_route()),
        Case::new(
            "the cluster",
            vec![
                Step::nameserver("as it is", Code::GET_BROKER_CLUSTER_INFO),
                Step::nameserver("an old client", Code::GET_BROKER_CLUSTER_INFO).version(317),
                members("the broker's group", "DefaultCluster", "broker-a"),
                members("no such broker", "DefaultCluster", "nobody"),
                members("no such cluster", "Nowhere", "broker-a"),
            ],
        ),
        Case::new("topic lists", lists()),
        Case::new("a broker registers and leaves", registers()),
        Case::new("registrations that are refused", refused()),
        Case::new("a broker that hangs up is gone", hangs_up()),
        Case::new("a slave is told of its master", slave()),
        Case::new("whether a broker's data is new", versions()),
        Case::new("the right to write", permissions()),
        Case::new("a topic is deleted", deleted()),
    ]
}

fn members(what: &str, cluster: &str, broker: &str) -> Step {
    Step::nameserver(what, Code::GET_BROKER_MEMBER_GROUP)
        .field("clusterName", cluster)
        .field("brokerName", broker)
}

fn dialects() -> Vec<Step> {
    vec![
        route("a new client", "TBW102"),
        route("an old client", "TBW102").version(317),
        route("the last old client", "TBW102").version(400),
        route("the first new client", "TBW102").version(401),
        route("an old client that asks for the standard", "TBW102")
            .version(317)
            .field("acceptStandardJsonOnly", true),
        route("compact header", "TBW102").binary(),
        route("the topic of the cluster", "DefaultCluster"),
        route("a system topic", "SELF_TEST_TOPIC"),
    ]
}

fn without_a_route() -> Vec<Step> {
    vec![
        route("unknown", "RNone").answers(17),
        route("no name", "").answers(17),
        route("no topic at all", "x").without("topic").answers(17),
        route("a name that is none", "a b/c").answers(17),
    ]
}

fn lists() -> Vec<Step> {
    // The reference's own list depends on which features are compiled in: what is asked is its form.
    vec![
        Step::nameserver("of a cluster that is not there", Code::GET_TOPICS_BY_CLUSTER)
            .field("cluster", "Nowhere"),
        Step::nameserver("of no cluster", Code::GET_TOPICS_BY_CLUSTER).ours(1),
        Step::nameserver("the system's", Code::GET_SYSTEM_TOPIC_LIST_FROM_NS),
    ]
}

/// A registration as a broker sends it, of a broker that does not exist.
fn register(what: &str, broker: &str, id: i64, topics: &[&str], counter: i64) -> Step {
    let table: serde_json::Map<String, serde_json::Value> = topics
        .iter()
        .map(|topic| {
            let config = json!({
                "attributes": {}, "order": false, "perm": 6, "readQueueNums": 3, "topicFilterType": "SINGLE_TAG",
                "topicName": topic, "topicSysFlag": 0, "writeQueueNums": 2,
            });
            ((*topic).to_owned(), config)
        })
        .collect();
    let version = json!({"counter": counter, "stateVersion": 0, "timestamp": 1_700_000_000_000_i64});
    let body = json!({
        "filterServerList": [],
        "topicConfigSerializeWrapper": {
            "dataVersion": version, "mappingDataVersion": version, "topicConfigTable": table,
            "topicQueueMappingDetailMap": {}, "topicQueueMappingInfoMap": {},
        },
    });
    about(Code::REGISTER_BROKER, what, broker, id)
        .field("haServerAddr", "192.0.2.7:10912")
        .field("enableActingMaster", false)
        .field("compressed", false)
        .field("bodyCrc32", 0)
        .body(body.to_string())
        .on("broker")
}

/// A request that names a broker of another cluster.
fn about(code: Code, what: &str, name: &str, id: i64) -> Step {
    Step::nameserver(what, code)
        .field("brokerName", name)
        .field("brokerAddr", format!("192.0.2.7:{}", 20_000 + id))
        .field("clusterName", "Elsewhere")
        .field("brokerId", id)
}

fn leave(what: &str, name: &str, id: i64) -> Step {
    about(Code::UNREGISTER_BROKER, what, name, id).on("broker")
}

fn topics_of(what: &str) -> Step {
    Step::nameserver(what, Code::GET_TOPICS_BY_CLUSTER).field("cluster", "Elsewhere")
}

fn registers() -> Vec<Step> {
    vec![
        register("two topics", "r1", 0, &["R1a", "R1b"], 1),
        route("the first", "R1a"),
        route("an old client", "R1b").version(317),
        topics_of("its topics"),
        Step::nameserver("the system's", Code::GET_SYSTEM_TOPIC_LIST_FROM_NS).ignoring("body.brokerAddr"),
        members("its group", "Elsewhere", "r1"),
        Step::nameserver("the cluster", Code::GET_BROKER_CLUSTER_INFO),
        register("one more topic, later", "r1", 0, &["R1c"], 2),
        route("the new one", "R1c"),
        route("the first is kept", "R1a"),
        leave("leaves", "r1", 0),
        route("the first is gone", "R1a").answers(17).until("code", 17),
        leave("leaves twice", "r1", 0),
        topics_of("nothing is left").until("body.topicList", "[]"),
    ]
}

fn refused() -> Vec<Step> {
    vec![
        register("with one topic", "r2", 0, &["R2"], 1).answers(1),
        register("with a wrong checksum", "r2", 0, &["R2a", "R2b"], 1)
            .field("bodyCrc32", 12_345)
            .answers(1),
        register("without a name", "r2", 0, &["R2a", "R2b"], 1)
            .without("brokerName")
            .ours(1),
        register("with a body that is none", "r2", 0, &[], 1)
            .body("{oops")
            .answers(1),
        register("without topics", "r2", 0, &[], 1),
        leave("leaves", "r2", 0),
    ]
}

fn hangs_up() -> Vec<Step> {
    vec![
        register("two topics", "r3", 0, &["R3a", "R3b"], 1),
        route("there", "R3a"),
        Step::hang_up_nameserver("broker"),
        route("gone", "R3a").answers(17).until("code", 17),
    ]
}

fn slave() -> Vec<Step> {
    vec![
        register("the master", "r4", 0, &["R4a", "R4b"], 1),
        register("the slave", "r4", 1, &["R4a", "R4b"], 1).on("slave"),
        route("both", "R4a"),
        leave("the master leaves", "r4", 0),
        route("the slave remains", "R4a").until("body.brokerDatas[0].brokerAddrs.1", "\"192.0.2.7:20001\""),
        leave("the slave leaves", "r4", 1).on("slave"),
        route("nothing", "R4a").answers(17).until("code", 17),
    ]
}

fn versions() -> Vec<Step> {
    let asked = |what: &str, name: &str, counter: i64| {
        let version = json!({"counter": counter, "stateVersion": 0, "timestamp": 1_700_000_000_000_i64});
        about(Code::QUERY_DATA_VERSION, what, name, 0).body(version.to_string())
    };
    vec![
        asked("of nobody", "r5none", 1),
        register("version 1", "r5", 0, &["R5a", "R5b"], 1),
        asked("the same", "r5", 1),
        asked("a newer one", "r5", 2),
        asked("without a body", "r5", 2).body("").ours(1),
        leave("leaves", "r5", 0),
        route("gone", "R5a").answers(17).until("code", 17),
    ]
}

fn permissions() -> Vec<Step> {
    let wipe = |what: &str, name: &str| {
        Step::nameserver(what, Code::WIPE_WRITE_PERM_OF_BROKER).field("brokerName", name)
    };
    let add = |what: &str, name: &str| {
        Step::nameserver(what, Code::ADD_WRITE_PERM_OF_BROKER).field("brokerName", name)
    };
    vec![
        register("two topics", "r6", 0, &["R6a", "R6b"], 1),
        wipe("taken away", "r6"),
        route("read only", "R6a"),
        register("the same version changes nothing", "r6", 0, &["R6a", "R6b"], 1),
        route("read only still", "R6a"),
        add("given back", "r6"),
        route("read and write", "R6a"),
        wipe("taken away again", "r6"),
        register("a new version overwrites", "r6", 0, &["R6a", "R6b"], 2),
        route("read and write again", "R6a"),
        wipe("of nobody", "r6none"),
        add("to nobody", "r6none"),
        leave("leaves", "r6", 0),
        route("gone", "R6a").answers(17).until("code", 17),
    ]
}

fn deleted() -> Vec<Step> {
    let delete =
        |what: &str, topic: &str| Step::nameserver(what, Code::DELETE_TOPIC_IN_NAMESRV).field("topic", topic);
    vec![
        register("two topics", "r7", 0, &["R7a", "R7b"], 1),
        delete("in another cluster", "R7a").field("clusterName", "DefaultCluster"),
        route("still there", "R7a"),
        delete("in its cluster", "R7a").field("clusterName", "Elsewhere"),
        route("gone", "R7a").answers(17),
        delete("everywhere", "R7b"),
        route("gone too", "R7b").answers(17),
        delete("what is not there", "R7none"),
        leave("leaves", "r7", 0),
    ]
}
