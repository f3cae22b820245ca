// SPDX-License-Identifier: Apache-2.0
//! Brokers and the cluster: figures, settings, exports, and what one can make a broker do.

use crate::mqadmin::step::{Step, bare, step};

/// Figures of the machine and the moment in the runtime table; every key is compared.
const FIGURES: &[&str] = &[
    "bootTimestamp",
    "runtime",
    "commitLogDirCapacity",
    "commitLogDiskRatio",
    "commitLogDiskRatio_<server>/store/commitlog",
    "consumeQueueDiskRatio",
    "commitLogMaxOffset",
    "earliestMessageTimeStamp",
    "putTps",
    "getFoundTps",
    "getMissTps",
    "getTotalTps",
    "getTransferredTps",
    "putLatency99",
    "putLatency999",
    "putMessageAverageSize",
    "putMessageDistributeTime",
    "putMessageEntireTimeMax",
    "putMessageSizeTotal",
    "getMessageEntireTimeMax",
    "msgGetTotalTodayNow",
    "msgPutTotalTodayNow",
    "msgGetTotalTodayMorning",
    "msgPutTotalTodayMorning",
    "putMessageTimesTotal",
    "startAcceptSendRequestTimeStamp",
    "totalMemKBytes",
    "freeMemKBytes",
    "remainHowManyDataToFlush",
    "timerReadBehind",
    // bounds, which are each server's own
    "EndTransactionThreadPoolQueueCapacity",
    "ackThreadPoolQueueCapacity",
    "litePullThreadPoolQueueCapacity",
    "pullThreadPoolQueueCapacity",
    "queryThreadPoolQueueCapacity",
    "sendThreadPoolQueueCapacity",
];

/// Numbers are shown by default here, and there is no limit on how many: docs/metrics.md.
const NUMBERS: &[&str] = &[
    "metricsExporterType",
    "metricsOtelCardinalityLimit",
    "metricsPromExporterPort",
];
const OF_SETTINGS: &str = "properties are a hash map";
/// Ports, and what the run gives to one of the two only.
const PORTS: &[&str] = &[
    "listenPort",
    "haListenPort",
    "rocketmqHome",
    "osPageCacheBusyTimeOutMills",
    "brokerFastFailureEnable",
    // 0, which stands for what the role needs; the reference's default confirms alone
    "inSyncReplicas",
];

pub(super) fn reading() -> Vec<Step> {
    [clusters(), figures(), settings(), exports(), replicas()]
        .into_iter()
        .flatten()
        .collect()
}

const NO_CLUSTER: &str = "an unknown cluster is a mistake";

/// TPS with the load, how far the timer has read, page cache, hours, space.
fn clusters() -> Vec<Step> {
    let machine: &[usize] = &[5, 6, 7, 10, 11, 12];
    vec![
        step("clusterList").columns(14, machine),
        step("clusterList -c DefaultCluster").columns(14, machine),
        step("clusterList -c NoCluster")
            .columns(14, machine)
            .our_tool(NO_CLUSTER, "there is no cluster 'NoCluster'"),
        step("clusterList -i 1").columns(14, machine).stopped_after(4),
        step("clusterList -i x"),
        step("clusterList -m").columns(6, &[4, 5]),
        step("clusterList -m -c NoCluster").our_tool(NO_CLUSTER, "there is no cluster 'NoCluster'"),
        step("clusterList -m -i 1").columns(6, &[4, 5]).stopped_after(4),
    ]
}

fn figures() -> Vec<Step> {
    vec![
        step("brokerStatus -b $broker")
            .values_of(FIGURES)
            .keys_of_reference(),
        step("brokerStatus -c DefaultCluster")
            .values_of(FIGURES)
            .keys_of_reference(),
        step("brokerStatus -c NoCluster"),
        step("brokerStatus -b 127.0.0.1:1"),
        step("brokerStatus -b $namesrv"),
        step("brokerStatus -b nosuch"),
        // Sums are told from the next sample on, which is taken every ten seconds.
        step("statsAll -t T_normal").until(" 12 ").columns(7, &[3, 4]),
        step("statsAll -t T_live")
            .columns(7, &[3, 4, 5, 6])
            .sorted("groups of a topic are a set"),
        step("statsAll -t T_quiet").columns(5, &[2, 3]),
        step("statsAll -t T_unknown"),
        step("statsAll")
            .columns(7, &[3, 4, 5, 6])
            .columns(5, &[2, 3])
            .sorted("the name server's table is a hash map"),
        step("statsAll -a -t T_quiet"),
    ]
}

fn settings() -> Vec<Step> {
    vec![
        step("getBrokerConfig -b $broker")
            .sorted(OF_SETTINGS)
            .keys_of_both()
            .values_of(PORTS)
            .values_of(NUMBERS),
        step("getBrokerConfig -c DefaultCluster")
            .sorted(OF_SETTINGS)
            .keys_of_both()
            .values_of(PORTS)
            .values_of(NUMBERS),
        step("getBrokerConfig -c NoCluster"),
        step("getBrokerConfig -b 127.0.0.1:1"),
        step("getNamesrvConfig")
            .sorted(OF_SETTINGS)
            .keys_of_both()
            .values_of(PORTS),
        bare("getNamesrvConfig -n 127.0.0.1:1"),
    ]
}

/// In what is listed.
const NO_TRACES: &str = "there are fewer topics: our tool is no consumer, and leaves no retry topics behind";

fn exports() -> Vec<Step> {
    vec![
        step("exportConfigs -c DefaultCluster -f $dir/exports").file("exports/configs.json"),
        step("exportConfigs -c NoCluster -f $dir/exports-none").file("exports-none/configs.json"),
        step("exportMetadata -c DefaultCluster -f $dir/exports").file("exports/metadata.json"),
        step("exportMetadata -c DefaultCluster -f $dir/exports-t -t").file("exports-t/topic.json"),
        step("exportMetadata -c DefaultCluster -f $dir/exports-s -t -s")
            .file("exports-s/topic.json")
            .our_tool(NO_TRACES, "exports-s/topic.json success"),
        step("exportMetadata -c DefaultCluster -f $dir/exports-g -g")
            .file("exports-g/subscriptionGroup.json"),
        step("exportMetadata -b $broker -f $dir/exports-bt -t")
            .file("exports-bt/topic.json")
            .our_tool(NO_TRACES, "exports-bt/topic.json success"),
        step("exportMetadata -b $broker -f $dir/exports-bg -g").file("exports-bg/subscriptionGroup.json"),
        step("exportMetadata -b $broker -f $dir/exports-b"),
        step("exportMetadata"),
        step("exportMetadata -c NoCluster -f $dir/exports-no").file("exports-no/metadata.json"),
        step("exportMetadata -b 127.0.0.1:1 -t -f $dir/exports-nobody"),
        metrics(),
        step("exportMetrics -c NoCluster -f $dir/exports-none"),
        step("exportPopRecord -b $broker"),
        step("exportPopRecord -c DefaultCluster -d true"),
        step("exportPopRecord -c DefaultCluster -d false"),
        step("exportPopRecord -c NoCluster"),
        step("exportPopRecord -b 127.0.0.1:1"),
        bare("dumpCompactionLog"),
        bare("dumpCompactionLog -f $dir/nosuch"),
        bare("dumpCompactionLog -f $dir"),
        bare("dumpCompactionLog -f $dir/topics-none.json")
            .our_tool("a file that is too short for a message has none", ""),
    ]
}

fn metrics() -> Step {
    step("exportMetrics -c DefaultCluster -f $dir/exports")
        .file("exports/metrics.json")
        .number_after("Tps\":")
        .number_after("OneDayInNum\":")
        .number_after("OneDayOutNum\":")
        .number_after("DiskRatio\":\"")
        .number_after("messageAverageSize\":\"")
}

fn replicas() -> Vec<Step> {
    let position = "#MasterCommitLogMaxOffset\t";
    vec![
        step("haStatus -b $broker").number_after(position),
        step("haStatus -c DefaultCluster").number_after(position),
        step("haStatus -c DefaultCluster -i 1")
            .number_after(position)
            .stopped_after(10),
        step("haStatus"),
        step("haStatus -c NoCluster"),
        step("haStatus -b 127.0.0.1:1"),
        step("haStatus -b $broker -i x"),
        step("resetMasterFlushOffset -b $broker -o 0"),
        step("resetMasterFlushOffset -b $broker -o x"),
        step("resetMasterFlushOffset -b $broker"),
        step("resetMasterFlushOffset -o 0"),
        step("resetMasterFlushOffset -b 127.0.0.1:1 -o 0"),
    ]
}

pub(super) fn changing() -> Vec<Step> {
    [updates(), cleaning(), engines()].into_iter().flatten().collect()
}

/// Why settings are refused otherwise.
const KEY: &str = "it names the key";
const VALUE: &str = "a value that makes no sense is refused";

fn updates() -> Vec<Step> {
    vec![
        step("updateBrokerConfig -b $broker -k maxMessageSize -v 4194305"),
        step("updateBrokerConfig -c DefaultCluster -k fileReservedTime -v 48"),
        step("updateBrokerConfig -c DefaultCluster -a true -k traceTopicEnable -v false"),
        step("exportConfigs -c DefaultCluster -f $dir/exports-new")
            .file("exports-new/configs.json")
            .ours(
                "a setting that takes effect at the next start is printed as it is in force",
                "exports-new/configs.json success",
            ),
        step("updateBrokerConfig -b $broker -k nosuchKey -v 1"),
        step("updateBrokerConfig -b $broker -k brokerConfigPath -v /tmp/x").remark(KEY),
        step("updateBrokerConfig -b $broker -k configBlackList -v x").remark(KEY),
        step("updateBrokerConfig -b $broker -k rocketmqHome -v /tmp/x").remark(KEY),
        step("updateBrokerConfig -b $broker -k maxMessageSize -v x")
            .ours(VALUE, "expected an integer from 0 to "),
        step("updateBrokerConfig -c NoCluster -k maxMessageSize -v 1"),
        step("updateBrokerConfig -k maxMessageSize -v 1"),
        step("updateBrokerConfig -b 127.0.0.1:1 -k maxMessageSize -v 1"),
        step("updateBrokerConfig -b $broker -k '' -v ''"),
    ]
}

fn cleaning() -> Vec<Step> {
    vec![
        step("cleanExpiredCQ"),
        step("cleanExpiredCQ -b $broker"),
        step("cleanExpiredCQ -c DefaultCluster"),
        step("cleanExpiredCQ -c NoCluster"),
        step("cleanExpiredCQ -b 127.0.0.1:1"),
        step("deleteExpiredCommitLog"),
        step("deleteExpiredCommitLog -b $broker"),
        step("deleteExpiredCommitLog -c DefaultCluster"),
        step("deleteExpiredCommitLog -c NoCluster"),
        step("deleteExpiredCommitLog -b 127.0.0.1:1"),
        step("cleanUnusedTopic"),
        step("cleanUnusedTopic -b $broker"),
        step("cleanUnusedTopic -c DefaultCluster"),
        step("cleanUnusedTopic -c NoCluster"),
        step("cleanUnusedTopic -b 127.0.0.1:1"),
    ]
}

fn engines() -> Vec<Step> {
    vec![
        step("switchTimerEngine -b $broker -e F"),
        step("switchTimerEngine -c DefaultCluster -e F"),
        step("switchTimerEngine -b $broker -e R").remark("it says that there is no such engine"),
        step("switchTimerEngine -b $broker -e X"),
        step("switchTimerEngine -c NoCluster -e F"),
        step("switchTimerEngine -e F"),
        step("switchTimerEngine -b 127.0.0.1:1 -e F"),
    ]
}
