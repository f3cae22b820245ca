// SPDX-License-Identifier: Apache-2.0
//! The name server's table and configuration: PUT_KV_CONFIG (100), GET_KV_CONFIG (101), DELETE_KV_CONFIG (102),
//! GET_KVLIST_BY_NAMESPACE (219), UPDATE_NAMESRV_CONFIG (318), GET_NAMESRV_CONFIG (319).

use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("a table of values", table()),
        Case::new("the configuration", configuration()),
    ]
}

fn of(what: &str, code: Code, namespace: &str, key: &str) -> Step {
    Step::nameserver(what, code)
        .field("namespace", namespace)
        .field("key", key)
}

fn table() -> Vec<Step> {
    let put = |what: &str, namespace: &str, key: &str, value: &str| {
        of(what, Code::PUT_KV_CONFIG, namespace, key).field("value", value)
    };
    let get = |what: &str, namespace: &str, key: &str| of(what, Code::GET_KV_CONFIG, namespace, key);
    let all = |what: &str, namespace: &str| {
        Step::nameserver(what, Code::GET_KVLIST_BY_NAMESPACE).field("namespace", namespace)
    };
    vec![
        get("nothing yet", "N", "k").answers(22),
        all("no such namespace", "N").answers(22),
        put("one", "N", "k", "значение"),
        put("two", "N", "other", "2"),
        put("another namespace", "M", "k", "m"),
        get("one", "N", "k"),
        get("compact header", "N", "k").binary(),
        all("both", "N"),
        put("replaced", "N", "k", "new"),
        get("the new one", "N", "k"),
        of("deleted", Code::DELETE_KV_CONFIG, "N", "k"),
        get("gone", "N", "k").answers(22),
        of("deleted twice", Code::DELETE_KV_CONFIG, "N", "k"),
        of(
            "of a namespace that is not there",
            Code::DELETE_KV_CONFIG,
            "X",
            "k",
        ),
        all("one left", "N"),
        of("deleted too", Code::DELETE_KV_CONFIG, "N", "other"),
        all("an empty namespace", "N"),
        put("no namespace", "N", "k", "v").without("namespace").answers(1),
        put("no value", "N", "k", "v").without("value").ours(1),
    ]
}

fn configuration() -> Vec<Step> {
    let update = |what: &str, text: &str| Step::nameserver(what, Code::UPDATE_NAMESRV_CONFIG).body(text);
    vec![
        update("a place for files", "kvConfigPath=elsewhere.json").answers(16),
        update("the place of this file", "configStorePath=elsewhere.properties").answers(16),
        update("the home", "rocketmqHome=elsewhere").answers(16),
        update("nothing", ""),
        // Ours says what becomes of each key.
        update("an unknown key", "noSuchKey=1").ignoring("remark"),
        update("a known key", "returnOrderTopicConfigToBroker=true").ignoring("remark"),
    ]
}
