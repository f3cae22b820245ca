// SPDX-License-Identifier: Apache-2.0
//! What operators ask: QUERY_CONSUME_TIME_SPAN (303), GET_BROKER_CONSUME_STATS (317), QUERY_CONSUME_QUEUE (321), cleaning (306,
//! 316, 329), and what brokers of another kind serve (354, 355, 908, 1007, 1008, 2001 to 2004, the 3000s, 5001, 200056).

use super::{send_tagged, settled};
use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("how far in time a group is", time_spans()),
        Case::new("the entries of a queue", entries()),
        Case::new("cleaning", cleaning()),
        Case::new("what other brokers have", elsewhere()),
        Case::new("access control that is not there", no_access_control()),
        Case::new("codes that nobody serves", unserved()),
    ]
}

fn commit(topic: &str, queue: i32, offset: i64) -> Step {
    Step::broker(format!("{offset} is committed"), Code::UPDATE_CONSUMER_OFFSET)
        .field("consumerGroup", format!("CG_{topic}"))
        .field("topic", topic)
        .field("queueId", queue)
        .field("commitOffset", offset)
}

fn time_spans() -> Vec<Step> {
    let spans = |what: &str, topic: &str| {
        Step::broker(what, Code::QUERY_CONSUME_TIME_SPAN)
            .field("topic", topic)
            .field("group", "CG_AD1")
    };
    vec![
        send_tagged("AD1", 0, "A", "one"),
        send_tagged("AD1", 0, "A", "two"),
        settled("AD1", 0, 2),
        super::pull("the group comes into being", "AD1", 0, 0),
        spans("nothing is consumed", "AD1"),
        commit("AD1", 0, 1),
        spans("one is consumed", "AD1"),
        commit("AD1", 0, 2),
        spans("both are", "AD1"),
        spans("compact header", "AD1").binary(),
        spans("no such topic", "AD1none").answers(17),
        spans("no topic at all", "AD1").without("topic").answers(1),
    ]
}

/// Comes before what makes groups that only one side keeps: the destination of copied offsets.
pub(crate) fn all_groups() -> Case {
    let stats = |what: &str| Step::broker(what, Code::GET_BROKER_CONSUME_STATS);
    let steps = vec![
        send_tagged("AD0", 0, "A", "one"),
        send_tagged("AD0", 0, "A", "two"),
        settled("AD0", 0, 2),
        // The reference makes a group when it pulls.
        super::pull("the group pulls", "AD0", 0, 0),
        commit("AD0", 0, 1),
        stats("all topics").field("isOrder", false),
        stats("ordered topics only").field("isOrder", true),
        stats("nobody says which"),
        stats("compact header").field("isOrder", false).binary(),
    ];
    Case::new("how far all groups are", steps)
}

fn entries() -> Vec<Step> {
    let entry = |what: &str, index: i64, count: i32| {
        Step::broker(what, Code::QUERY_CONSUME_QUEUE)
            .field("topic", "AD2")
            .field("queueId", 1)
            .field("index", index)
            .field("count", count)
            .ignoring("body.queueData[0].physicOffset")
    };
    let mut steps: Vec<Step> = ["one", "two", "three"]
        .iter()
        .map(|key| send_tagged("AD2", 1, key, key))
        .collect();
    steps.extend([
        settled("AD2", 1, 3),
        entry("the first", 0, 1),
        entry("the last", 2, 5),
        entry("none wanted", 0, 0),
        entry("less than none", 0, -1),
        entry("behind the last", 3, 1),
        entry("in front of the first", -1, 1),
        entry("of a group that is away", 1, 1).field("consumerGroup", "CG_AD2"),
        entry("no such queue", 0, 1).field("queueId", 3).answers(1),
        entry("no such topic", 0, 1).field("topic", "AD2none").answers(1),
    ]);
    steps
}

fn cleaning() -> Vec<Step> {
    vec![
        send_tagged("AD3", 0, "A", "one"),
        settled("AD3", 0, 1),
        Step::broker("queues", Code::CLEAN_EXPIRED_CONSUMEQUEUE),
        Step::broker("unused topics", Code::CLEAN_UNUSED_TOPIC),
        Step::broker("files", Code::DELETE_EXPIRED_COMMITLOG),
        Step::broker("compact header", Code::CLEAN_UNUSED_TOPIC).binary(),
        settled("AD3", 0, 1).called("nothing is lost"),
    ]
}

fn elsewhere() -> Vec<Step> {
    let cold = |what: &str, code: Code, body: &str| Step::broker(what, code).body(body);
    let mode = |what: &str, mode: &str| {
        Step::broker(what, Code::SET_COMMITLOG_READ_MODE)
            .field("READ_AHEAD_MODE", mode)
            // Ours says that it has no meaning.
            .ignoring("remark")
    };
    let engine =
        |what: &str, engine: &str| Step::broker(what, Code::SWITCH_TIMER_ENGINE).field("E_T", engine);
    let export = |what: &str, types: &str| {
        Step::broker(what, Code::EXPORT_ROCKSDB_CONFIG_TO_JSON).field("configType", types)
    };
    vec![
        Step::broker("queues in RocksDB", Code::CHECK_ROCKSDB_CQ_WRITE_PROGRESS).field("topic", "AD4"),
        export("tables", "topics;subscriptionGroups;"),
        export("in other letters", "TOPICS"),
        export("no table", ""),
        export("another table", "nothing").answers(1),
        Step::broker("where the master began", Code::RESET_MASTER_FLUSH_OFFSET).field("masterFlushOffset", 0),
        Step::broker("nowhere", Code::RESET_MASTER_FLUSH_OFFSET),
        Step::broker("epochs", Code::GET_BROKER_EPOCH_CACHE).answers(1),
        Step::broker("leases in RocksDB", Code::POP_ROLLBACK),
        cold("a bound", Code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG, "CG_AD4=1024\n").ignoring("remark"),
        cold("bounds", Code::GET_COLD_DATA_FLOW_CTR_INFO, ""),
        cold("no bound", Code::REMOVE_COLD_DATA_FLOW_CTR_CONFIG, "CG_AD4"),
        cold("no bounds", Code::GET_COLD_DATA_FLOW_CTR_INFO, ""),
        mode("ahead", "0"),
        mode("not ahead", "1"),
        mode("no such mode", "2").answers(29),
        mode("no number", "x").answers(1),
        Step::broker("no mode", Code::SET_COMMITLOG_READ_MODE).answers(1),
        engine("the wheel", "F"),
        engine("RocksDB", "R").answers(29),
        engine("no such engine", "X").answers(29),
        Step::broker("no engine", Code::SWITCH_TIMER_ENGINE).answers(29),
    ]
}

fn no_access_control() -> Vec<Step> {
    let user = |code: Code, name: &str| Step::broker(name, code).field("username", name);
    let acl = |code: Code, subject: &str| Step::broker(subject, code).field("subject", subject);
    let mut steps = Vec::new();
    for code in [
        Code::AUTH_CREATE_USER,
        Code::AUTH_UPDATE_USER,
        Code::AUTH_DELETE_USER,
        Code::AUTH_GET_USER,
    ] {
        let (body, code_without_name) = match code {
            Code::AUTH_DELETE_USER => ("", 16),
            Code::AUTH_GET_USER => ("", 29),
            _ => (
                r#"{"password":"p","userType":"Normal","userStatus":"enable"}"#,
                29,
            ),
        };
        steps.push(user(code, "somebody").body(body).answers(1));
        steps.push(user(code, "").body(body).answers(code_without_name));
    }
    steps.push(Step::broker("all", Code::AUTH_LIST_USER).answers(1));
    steps.push(Step::broker("all", Code::AUTH_LIST_ACL).answers(1));
    steps.push(acl(Code::AUTH_DELETE_ACL, "User:somebody").answers(1));
    steps.push(acl(Code::AUTH_GET_ACL, "User:somebody").answers(1));
    for code in [Code::AUTH_DELETE_ACL, Code::AUTH_GET_ACL] {
        steps.push(Step::broker("nobody", code).answers(16));
    }
    steps
}

/// Codes without a handler in any server of the reference, and some that only others have.
fn unserved() -> Vec<Step> {
    let codes = [
        13, 22, 23, 27, 47, 209, 210, 211, 212, 213, 214, 301, 302, 902, 903,
    ]
    .into_iter()
    .chain([
        1001, 1002, 1005, 1009, 1010, 1014, 1017, 1018, 39, 40, 220, 326, 105, 4711,
    ]);
    codes
        .map(|code| {
            Step::broker(format!("code {code}"), Code(code))
                .answers(3)
                .word_by_word()
        })
        .chain([13, 25, 34, 310, 902, 1001, 3001].map(|code| {
            Step::nameserver(format!("code {code}"), Code(code))
                .answers(3)
                .word_by_word()
        }))
        .collect()
}
