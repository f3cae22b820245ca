// SPDX-License-Identifier: Apache-2.0
//! The name server: its key-value table, its settings, and whether a broker may be written to.

use crate::mqadmin::step::{Step, bare, step};

pub(super) fn changing() -> Vec<Step> {
    [values(), settings(), writing()].into_iter().flatten().collect()
}

fn values() -> Vec<Step> {
    vec![
        step("updateKvConfig -s NS -k key -v value"),
        step("updateKvConfig -s NS -k key -v 'another value'"),
        step("updateKvConfig -s ORDER_TOPIC_CONFIG -k T_kv -v broker-a:8"),
        step("updateOrderConf -t T_kv -m get"),
        step("updateKvConfig -s '' -k '' -v ''"),
        step("deleteKvConfig -s NS -k key"),
        step("deleteKvConfig -s NS -k key"),
        step("deleteKvConfig -s NS_state -k key"),
        step("deleteKvConfig -s NS_unknown -k key"),
        step("deleteKvConfig -s ORDER_TOPIC_CONFIG -k T_kv"),
        step("updateOrderConf -t T_kv -m get"),
        bare("updateKvConfig -s NS -k key -v value -n 127.0.0.1:1"),
    ]
}

/// Why settings are refused otherwise.
const KEY: &str = "it names the key";
const VALUE: &str = "a value that makes no sense is refused";

fn settings() -> Vec<Step> {
    vec![
        step("updateNamesrvConfig -k productEnvName -v test"),
        step("updateNamesrvConfig -k deleteTopicWithBrokerRegistration -v true"),
        step("getNamesrvConfig")
            .sorted("properties are a hash map")
            .keys_of_both()
            .values_of(&["listenPort"]),
        step("updateNamesrvConfig -k nosuchKey -v 1"),
        step("updateNamesrvConfig -k kvConfigPath -v /tmp/x").remark(KEY),
        step("updateNamesrvConfig -k configStorePath -v /tmp/x").remark(KEY),
        step("updateNamesrvConfig -k configBlackList -v x").remark(KEY),
        step("updateNamesrvConfig -k rocketmqHome -v /tmp/x").remark(KEY),
        step("updateNamesrvConfig -k clusterTest -v nonsense").ours(VALUE, "expected false"),
        step("updateNamesrvConfig -k clientRequestThreadPoolNums -v x")
            .ours(VALUE, "expected a whole number"),
        bare("updateNamesrvConfig -k productEnvName -v test -n 127.0.0.1:1"),
    ]
}

const NO_TRACES: &str = "there are fewer topics: our tool is no consumer, and leaves no retry topics behind";

fn writing() -> Vec<Step> {
    vec![
        step("wipeWritePerm -b broker-a").our_tool(NO_TRACES, "wipe write perm of broker[broker-a]"),
        step("topicRoute -t T_normal"),
        step("topicRoute -t T_perm"),
        step("wipeWritePerm -b broker-a").our_tool(NO_TRACES, "wipe write perm of broker[broker-a]"),
        step("addWritePerm -b broker-a").our_tool(NO_TRACES, "add write perm of broker[broker-a]"),
        step("topicRoute -t T_normal"),
        step("topicRoute -t T_perm"),
        step("wipeWritePerm -b nosuch"),
        step("addWritePerm -b nosuch"),
        bare("wipeWritePerm -b broker-a -n 127.0.0.1:1"),
        bare("addWritePerm -b broker-a -n 127.0.0.1:1"),
    ]
}
