// SPDX-License-Identifier: Apache-2.0
//! Topics: what there is, and changes.

use crate::mqadmin::step::{Step, step};

pub(super) const FILES: &[(&str, &str)] = &[
    (
        "topics.json",
        r#"[{"topicName":"T_list_1","readQueueNums":2,"writeQueueNums":2,"perm":6},
            {"topicName":"T_list_2","readQueueNums":3,"writeQueueNums":1,"perm":4,"attributes":{"+message.type":"DELAY"}}]"#,
    ),
    ("topics-none.json", "[]"),
    ("topics-broken.json", "[{"),
    (
        "topics-bad.json",
        r#"[{"topicName":"T_list_3"},{"topicName":"bad topic"}]"#,
    ),
    (
        "static.json",
        r#"{"brokerConfigMap":{"broker-a":{"attributes":{},"mappingDetail":{"bname":"broker-a","currIdMap":{},"dirty":false,
            "epoch":1700000000000,"hostedQueues":{
            0:[{"bname":"broker-a","endOffset":-1,"gen":0,"logicOffset":0,"queueId":0,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}],
            1:[{"bname":"broker-a","endOffset":-1,"gen":0,"logicOffset":0,"queueId":1,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}]},
            "scope":"__global__","topic":"T_static_map","totalQueues":2},"order":false,"perm":6,"readQueueNums":2,
            "topicFilterType":"SINGLE_TAG","topicName":"T_static_map","topicSysFlag":0,"writeQueueNums":2}},
            "brokerToMapIn":[],"brokerToMapOut":[],"epoch":1700000000000,"topic":"T_static_map","type":"CREATE_OR_UPDATE"}"#,
    ),
];

pub(super) fn reading() -> Vec<Step> {
    let of_names = "the name server's table is a hash map";
    vec![
        step("topicList").sorted(of_names),
        step("topicList -c").sorted(of_names),
        step("topicRoute -t T_normal"),
        step("topicRoute -t T_normal -l"),
        step("topicRoute -t T_many"),
        step("topicRoute -t T_order"),
        step("topicRoute -t T_fifo -l"),
        step("topicRoute -t %RETRY%CG_live -l"),
        step("topicRoute -t %DLQ%CG_dead -l"),
        step("topicRoute -t TBW102 -l"),
        step("topicRoute -t T_unknown"),
        step("topicRoute -t ''"),
        step("topicRoute -t '../T_normal'"),
        step("topicStatus -t T_normal").number_after("Topic Put TPS: "),
        step("topicStatus -t T_many").number_after("Topic Put TPS: "),
        step("topicStatus -t T_quiet"),
        step("topicStatus -t T_delay").number_after("Topic Put TPS: "),
        step("topicStatus -t SCHEDULE_TOPIC_XXXX").number_after("Topic Put TPS: "),
        step("topicStatus -t %DLQ%CG_dead").number_after("Topic Put TPS: "),
        step("topicStatus -t T_normal -c T_many").number_after("Topic Put TPS: "),
        step("topicStatus -t T_normal -c DefaultCluster"),
        step("topicStatus -t T_unknown -c T_many"),
        step("topicStatus -t T_unknown"),
        step("topicClusterList -t T_normal"),
        step("topicClusterList -t T_unknown"),
        step("allocateMQ -t T_normal -i 10.0.0.1,10.0.0.2"),
        step("allocateMQ -t T_many -i 10.0.0.1,10.0.0.2,10.0.0.3"),
        step("allocateMQ -t T_quiet -i 10.0.0.1"),
        step("allocateMQ -t T_quiet -i ,").our_tool(
            "a consumer without a name is a mistake",
            "one of the consumers has no name",
        ),
        step("allocateMQ -t T_unknown -i 10.0.0.1"),
    ]
}

pub(super) fn changing() -> Vec<Step> {
    [
        creating(),
        refused(),
        permissions(),
        lists(),
        orders(),
        deleting(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn creating() -> Vec<Step> {
    vec![
        step("updateTopic -b $broker -t T_new"),
        step("topicRoute -t T_new -l"),
        step("updateTopic -c DefaultCluster -t T_new -r 3 -w 5 -p 4"),
        step("topicRoute -t T_new").until("\"perm\":4"),
        step("topicStatus -t T_new"),
        step("updateTopic -b $broker -t T_new_read -r 4 -w 2"),
        step("topicStatus -t T_new_read"),
        step("updateTopic -c DefaultCluster -t T_new_order -o true -w 3"),
        step("updateTopic -b $broker -t T_new_order_too -o true").our_tool(
            "no stack trace where all is well",
            "create topic to <broker> success.",
        ),
        step("updateTopic -b $broker -t T_new_unit -u true"),
        step("updateTopic -b $broker -t T_new_sync -u true -s true"),
        step("topicRoute -t T_new_sync").until("\"topicSysFlag\":3"),
        step("updateTopic -b $broker -t T_new_type -a +message.type=TRANSACTION"),
        step("updateTopic -b $broker -t T_new_type -a -message.type"),
        step("updateTopic -b $broker -t T_new_fifo -a +message.type=FIFO"),
        step("updateTopic -b $broker -t T_new_batch -a +queue.type=BatchCQ"),
        step("updateTopic -b $broker -t T_new_compact -a +cleanup.policy=COMPACTION,+message.type=NORMAL"),
        step("updateTopic -b $broker -t T_new -p 2"),
        step("updateTopic -b $broker -t T_new -r 1 -w 1"),
        step("topicRoute -t T_new").until("\"readQueueNums\":1,"),
        step("topicStatus -t T_new"),
        step("updateOrderConf -t T_new_order -m get"),
        step("updateOrderConf -t T_new_order_too -m get"),
    ]
}

fn refused() -> Vec<Step> {
    vec![
        step("updateTopic -b $broker -t T_bad -a +message.type=WRONG").remark("it names the attribute"),
        step("updateTopic -b $broker -t T_bad -a +nosuch=1"),
        step("updateTopic -b $broker -t T_bad -a nosign=1"),
        step("updateTopic -b $broker -t T_bad -a -message.type"),
        step("updateTopic -b $broker -t T_new_fifo -a +queue.type=BatchCQ"),
        step("updateTopic -b $broker -t T_bad -r x"),
        step("updateTopic -b $broker -t T_bad -w 1.5"),
        step("updateTopic -b $broker -t T_bad -p rw"),
        step("updateTopic -b $broker -t '../T_bad'"),
        step("updateTopic -b $broker -t 'T bad'"),
        step("updateTopic -b $broker -t ''"),
        step("updateTopic -b $broker -t $long"),
        step("updateTopic -b $broker -t TBW102"),
        step("updateTopic -b $broker -t SCHEDULE_TOPIC_XXXX -w 1"),
        step("updateTopic -b 127.0.0.1:1 -t T_bad"),
        step("updateTopic -b broker-a -t T_bad"),
        step("updateTopic -b $namesrv -t T_bad"),
        step("updateTopic -c NoCluster -t T_bad"),
        step("updateTopic -c NoCluster -t T_bad -o true"),
        step("topicRoute -t T_bad"),
    ]
}

fn permissions() -> Vec<Step> {
    vec![
        step("updateTopic -c DefaultCluster -t T_perm -r 2 -w 2"),
        step("updateTopicPerm -c DefaultCluster -t T_perm -p 4"),
        step("topicRoute -t T_perm").until("\"perm\":4"),
        step("updateTopicPerm -b $broker -t T_perm -p 4"),
        step("updateTopicPerm -b $broker -t T_perm -p 2"),
        step("topicRoute -t T_perm").until("\"perm\":2"),
        step("updateTopicPerm -b $broker -t T_perm -p 9"),
        step("updateTopicPerm -c DefaultCluster -t T_perm -p 0"),
        step("updateTopicPerm -b $broker -t T_perm -p x"),
        step("updateTopicPerm -t T_perm -p 6"),
        step("updateTopicPerm -b 127.0.0.1:1 -t T_perm -p 6"),
        step("updateTopicPerm -c NoCluster -t T_perm -p 6"),
        step("updateTopicPerm -b $broker -t T_unknown -p 6"),
    ]
}

fn lists() -> Vec<Step> {
    vec![
        step("updateTopicList -b $broker -f $dir/topics.json"),
        step("topicRoute -t T_list_1").until("\"readQueueNums\":2,"),
        step("topicRoute -t T_list_2").until("\"readQueueNums\":3"),
        step("updateTopicList -c DefaultCluster -f $dir/topics.json"),
        step("updateTopicList -c NoCluster -f $dir/topics.json"),
        step("updateTopicList -b $broker -f $dir/topics-none.json"),
        step("updateTopicList -b $broker -f $dir/topics-broken.json"),
        step("updateTopicList -b $broker -f $dir/topics-bad.json"),
        step("topicRoute -t T_list_3"),
        step("updateTopicList -b $broker -f $dir/nosuch.json"),
        step("updateTopicList -b 127.0.0.1:1 -f $dir/topics.json"),
    ]
}

fn orders() -> Vec<Step> {
    vec![
        step("updateOrderConf -t T_order -m get"),
        step("updateOrderConf -t T_unknown -m get"),
        step("updateOrderConf -t T_order -m put -v broker-a:4"),
        step("updateOrderConf -t T_order -m get"),
        step("topicRoute -t T_order"),
        step("updateOrderConf -t T_order -m put"),
        step("updateOrderConf -t T_order -m put -v ''"),
        step("updateOrderConf -t T_order -m put -v nonsense"),
        step("updateOrderConf -t T_order -m delete"),
        step("updateOrderConf -t T_order -m get"),
        step("updateOrderConf -t T_order -m delete"),
        step("updateOrderConf -t T_order -m nosuch"),
    ]
}

const FROM_FILE: &str = "the map file is carried out; the official tool passes over it and calculates anew";

/// They come late: what lists all topics is asked without them.
pub(super) fn statics() -> Vec<Step> {
    vec![
        step("updateStaticTopic -c DefaultCluster -t T_static -qn 4"),
        step("topicRoute -t T_static").until("3:3"),
        step("topicRoute -t T_static -l"),
        step("topicStatus -t T_static"),
        step("topicStatus -t T_static -c T_static"),
        step("updateStaticTopic -b ' broker-a ' -t T_static -qn 6 -fr true"),
        step("topicRoute -t T_static").until("5:5"),
        step("updateStaticTopic -b broker-a -t T_static -qn 6"),
        step("updateStaticTopic -b broker-a -t T_static -qn 2"),
        step("updateStaticTopic -b broker-a -t T_static -qn 6 -mf $dir/nosuch.json"),
        step("updateStaticTopic -b nosuch -t T_static -qn 8"),
        step("updateStaticTopic -c NoCluster -t T_static -qn 2"),
        step("updateStaticTopic -b broker-a -t T_static -qn x"),
        step("updateStaticTopic -b broker-a -c DefaultCluster -t T_static -qn 8"),
        step("updateStaticTopic -b broker-a -t T_normal -qn 4"),
        step("updateStaticTopic -b broker-a -t 'T bad' -qn 4"),
        step("updateStaticTopic -b broker-a -t T_static_map -qn 2 -mf $dir/static.json")
            .our_tool(FROM_FILE, ""),
        step("topicRoute -t T_static_map").until("1:1"),
        step("remappingStaticTopic -b broker-a -t T_static"),
        step("remappingStaticTopic -c DefaultCluster -t T_static"),
        step("remappingStaticTopic -b broker-a -t T_static_map -mf $dir/static.json").our_tool(FROM_FILE, ""),
        step("remappingStaticTopic -b nosuch -t T_static"),
        step("remappingStaticTopic -c NoCluster -t T_static"),
        step("remappingStaticTopic -b broker-a -t T_normal"),
        step("remappingStaticTopic -b broker-a -t T_unknown"),
        step("topicRoute -t T_static").until("5:5"),
        step("topicStatus -t T_static"),
        step("topicStatus -t T_static_map"),
        step("deleteTopic -t T_static_map -c DefaultCluster"),
        step("remappingStaticTopic -b broker-a -t T_static_map"),
    ]
}

fn deleting() -> Vec<Step> {
    vec![
        step("deleteTopic -t T_new -c DefaultCluster"),
        step("topicRoute -t T_new"),
        step("deleteTopic -t T_new -c DefaultCluster"),
        step("deleteTopic -t T_unknown -c DefaultCluster"),
        step("deleteTopic -t T_new_fifo -c NoCluster"),
        step("topicRoute -t T_new_fifo -l"),
        step("deleteTopic -t TBW102 -c DefaultCluster"),
        step("deleteTopic -t '' -c DefaultCluster"),
    ]
}
