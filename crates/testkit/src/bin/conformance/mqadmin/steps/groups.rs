// SPDX-License-Identifier: Apache-2.0
//! Groups: members, progress and settings.

use crate::mqadmin::step::{Step, step};

pub(super) const FILES: &[(&str, &str)] = &[
    (
        "groups.json",
        r#"[{"groupName":"G_list_1","retryMaxTimes":3},{"groupName":"G_list_2","consumeEnable":false,"brokerId":1}]"#,
    ),
    ("groups-none.json", "[]"),
    ("groups-broken.json", "[{"),
    (
        "groups-bad.json",
        r#"[{"groupName":"G_list_3"},{"groupName":"bad group"}]"#,
    ),
];

const OF_GROUPS: &str = "the groups of a broker are a hash map";

pub(super) fn reading() -> Vec<Step> {
    [connections(), progress(), members(), settings()]
        .into_iter()
        .flatten()
        .collect()
}

fn connections() -> Vec<Step> {
    vec![
        step("producerConnection -g PG_live -t T_normal"),
        step("producerConnection -g PG_unknown -t T_normal"),
        step("producerConnection -g PG_live -t T_unknown"),
        step("producer -b $broker").sorted(OF_GROUPS),
        step("producer -b 127.0.0.1:1"),
        step("consumerConnection -g CG_live"),
        step("consumerConnection -g CG_live -b $broker"),
        step("consumerConnection -g CG_orderly"),
        step("consumerConnection -g CG_broadcast"),
        step("consumerConnection -g CG_lag"),
        step("consumerConnection -g CG_unknown"),
        step("consumerConnection -g CG_unknown -b $broker"),
        step("consumerConnection -g CG_live -b 127.0.0.1:1"),
    ]
}

fn progress() -> Vec<Step> {
    let tps = "Consume TPS: ";
    vec![
        step("consumerProgress").sorted(OF_GROUPS),
        step("consumerProgress -g CG_live").number_after(tps),
        step("consumerProgress -g CG_live -s true").number_after(tps),
        step("consumerProgress -g CG_live -s false").number_after(tps),
        step("consumerProgress -g CG_live -t T_live").number_after(tps),
        step("consumerProgress -g CG_live -t T_normal").number_after(tps),
        step("consumerProgress -g CG_live -t T_unknown").number_after(tps),
        step("consumerProgress -g CG_live -t T_live -c DefaultCluster").number_after(tps),
        step("consumerProgress -g CG_live -t T_live -c NoCluster").number_after(tps),
        step("consumerProgress -g CG_orderly").number_after(tps),
        step("consumerProgress -g CG_broadcast").number_after(tps),
        step("consumerProgress -g CG_lag").number_after(tps),
        step("consumerProgress -g CG_lag -t T_normal").number_after(tps),
        step("consumerProgress -g CG_lag -s true").number_after(tps),
        step("consumerProgress -g CG_dead").number_after(tps),
        step("consumerProgress -g CG_unused"),
        step("consumerProgress -g CG_unknown"),
        step("brokerConsumeStats -b $broker").sorted(OF_GROUPS),
        step("brokerConsumeStats -b $broker -l 1").sorted(OF_GROUPS),
        step("brokerConsumeStats -b $broker -o true").sorted(OF_GROUPS),
        step("brokerConsumeStats -b $broker -t 3000 -l 100"),
        step("brokerConsumeStats -b $broker -l x"),
        step("brokerConsumeStats -b $broker -t x"),
        step("brokerConsumeStats -b 127.0.0.1:1"),
    ]
}

/// What a member tells of itself: objects of its JVM, rates of the minute, and what its threads do.
fn members() -> Vec<Step> {
    let member = |line: &str| {
        step(line)
            .values_of(&[
                "allocateMessageQueueStrategy",
                "messageListener",
                "offsetStore",
                "defaultMQPushConsumerImpl",
            ])
            .columns(7, &[1, 2, 3, 4, 5])
            .cut_after("#Consumer jstack#")
    };
    vec![
        step("consumerStatus -g CG_live"),
        member("consumerStatus -g CG_live -i $client.live"),
        member("consumerStatus -g CG_live -i $client.live -s"),
        step("consumerStatus -g CG_live -s"),
        step("consumerStatus -g CG_live -b $broker"),
        member("consumerStatus -g CG_orderly -i $client.orderly"),
        member("consumerStatus -g CG_broadcast -i $client.broadcast"),
        step("consumerStatus -g CG_live -i nobody"),
        step("consumerStatus -g CG_lag"),
        step("consumerStatus -g CG_unknown -i $client.live"),
        step("consumerStatus -g CG_live -b 127.0.0.1:1"),
    ]
}

fn settings() -> Vec<Step> {
    vec![
        step("getConsumerConfig -g CG_live"),
        step("getConsumerConfig -g CG_lag"),
        step("getConsumerConfig -g TOOLS_CONSUMER"),
        step("getConsumerConfig -g CG_unknown_too"),
        step("getConsumerConfig -g 'bad group'"),
    ]
}

pub(super) fn changing() -> Vec<Step> {
    [creating(), refused(), lists(), modes(), deleting()]
        .into_iter()
        .flatten()
        .collect()
}

fn creating() -> Vec<Step> {
    vec![
        step("updateSubGroup -b $broker -g G_new"),
        step("getConsumerConfig -g G_new"),
        step("updateSubGroup -c DefaultCluster -g G_new -s false -m true -d true -o true"),
        step("getConsumerConfig -g G_new"),
        step("updateSubGroup -b $broker -g G_new_numbers -q 2 -r 3 -i 1 -w 2 -a false"),
        step("getConsumerConfig -g G_new_numbers"),
        step(
            "updateSubGroup -b $broker -g G_new_policy -p '{\"type\":\"EXPONENTIAL\",\"exponentialRetryPolicy\":\
             {\"initial\":5000,\"max\":7200000,\"multiplier\":2}}'",
        ),
        step("getConsumerConfig -g G_new_policy"),
        step(
            "updateSubGroup -b $broker -g G_new_policy -p '{\"type\":\"CUSTOMIZED\",\"customizedRetryPolicy\":\
             {\"next\":[1000,5000,10000]}}'",
        ),
        step("getConsumerConfig -g G_new_policy"),
        step("updateSubGroup -b $broker -g G_new_attributes --attributes +priority.factor=50"),
        step("getConsumerConfig -g G_new_attributes"),
    ]
}

fn refused() -> Vec<Step> {
    vec![
        step("updateSubGroup -b $broker -g G_bad -p nonsense"),
        step("updateSubGroup -b $broker -g G_bad -q x"),
        step("updateSubGroup -b $broker -g G_bad -i x"),
        step("updateSubGroup -b $broker -g G_bad --attributes nosign=1"),
        step("updateSubGroup -b $broker -g G_bad --attributes +nosuch=1").remark("no Java exception"),
        step("updateSubGroup -b $broker -g 'G bad'"),
        step("updateSubGroup -b $broker -g '../G_bad'"),
        step("updateSubGroup -b $broker -g ''"),
        step("updateSubGroup -g G_bad"),
        step("updateSubGroup -b 127.0.0.1:1 -g G_bad"),
        step("updateSubGroup -c NoCluster -g G_bad"),
    ]
}

fn lists() -> Vec<Step> {
    vec![
        step("updateSubGroupList -b $broker -f $dir/groups.json"),
        step("getConsumerConfig -g G_list_1"),
        step("getConsumerConfig -g G_list_2"),
        step("updateSubGroupList -c DefaultCluster -f $dir/groups.json"),
        step("updateSubGroupList -c NoCluster -f $dir/groups.json"),
        step("updateSubGroupList -b $broker -f $dir/groups-none.json"),
        step("updateSubGroupList -b $broker -f $dir/groups-broken.json"),
        step("updateSubGroupList -b $broker -f $dir/groups-bad.json"),
        step("updateSubGroupList -b $broker -f $dir/nosuch.json"),
        step("updateSubGroupList -b 127.0.0.1:1 -f $dir/groups.json"),
    ]
}

fn modes() -> Vec<Step> {
    vec![
        step("setConsumeMode -b $broker -t T_quiet -g G_mode -m POP"),
        step("setConsumeMode -b $broker -t T_quiet -g G_mode -m POP -q 2"),
        step("setConsumeMode -c DefaultCluster -t T_quiet -g G_mode -m PULL -q 0"),
        step("setConsumeMode -b $broker -t T_unknown -g G_mode -m POP"),
        step("setConsumeMode -b $broker -t %RETRY%G_mode -g G_mode -m POP"),
        step("setConsumeMode -b $broker -t T_quiet -g G_mode -m PUSH"),
        step("setConsumeMode -b $broker -t T_quiet -g G_mode -m POP -q x"),
        step("setConsumeMode -b $broker -t T_quiet -g G_mode -m POP -q -1"),
        step("setConsumeMode -t T_quiet -g G_mode -m POP"),
        step("setConsumeMode -b 127.0.0.1:1 -t T_quiet -g G_mode -m POP"),
        step("setConsumeMode -c NoCluster -t T_quiet -g G_mode -m POP"),
    ]
}

fn deleting() -> Vec<Step> {
    vec![
        step("deleteSubGroup -b $broker -g G_new"),
        step("getConsumerConfig -g G_new"),
        step("deleteSubGroup -c DefaultCluster -g G_new_numbers"),
        step("deleteSubGroup -b $broker -g CG_ahead -r true"),
        step("consumerProgress -g CG_ahead"),
        step("deleteSubGroup -b $broker -g G_unknown"),
        step("deleteSubGroup -c NoCluster -g G_list_1"),
        step("deleteSubGroup -g G_list_1"),
        step("deleteSubGroup -b 127.0.0.1:1 -g G_list_1"),
    ]
}
