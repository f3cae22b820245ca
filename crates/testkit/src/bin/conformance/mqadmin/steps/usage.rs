// SPDX-License-Identifier: Apache-2.0
//! What every command says about itself, and what it says to who calls it wrongly.

use super::COMMANDS;
use crate::mqadmin::step::{Step, bare, step};

/// The options without which a command does not run; of two of which one is needed, the one that is named here.
const REQUIRED: &[(&str, &[&str])] = &[
    ("updateTopic", &["-b B", "-t T"]),
    ("updateTopicList", &["-b B", "-f F"]),
    ("deleteTopic", &["-t T", "-c C"]),
    ("updateSubGroup", &["-g G"]),
    ("updateSubGroupList", &["-b B", "-f F"]),
    ("setConsumeMode", &["-t T", "-g G", "-m PULL"]),
    ("deleteSubGroup", &["-g G"]),
    ("updateBrokerConfig", &["-k K", "-v V"]),
    ("updateTopicPerm", &["-t T", "-p 6"]),
    ("topicRoute", &["-t T"]),
    ("topicStatus", &["-t T"]),
    ("topicClusterList", &["-t T"]),
    ("addBroker", &["-c C", "-b B"]),
    ("removeBroker", &["-c C", "-b B"]),
    ("brokerStatus", &["-b B"]),
    ("queryMsgById", &["-t T", "-i I"]),
    ("queryMsgByKey", &["-t T", "-k K"]),
    ("queryMsgByUniqueKey", &["-t T", "-i I"]),
    ("queryMsgByOffset", &["-t T", "-b B", "-i 0", "-o 0"]),
    ("queryMsgTraceById", &["-i I"]),
    ("printMsg", &["-t T"]),
    ("printMsgByQueue", &["-t T", "-a A", "-i 0"]),
    ("sendMsgStatus", &["-b B"]),
    ("brokerConsumeStats", &["-b B"]),
    ("producerConnection", &["-g G", "-t T"]),
    ("consumerConnection", &["-g G"]),
    ("consumerStatus", &["-g G"]),
    ("cloneGroupOffset", &["-s S", "-d D", "-t T"]),
    ("producer", &["-b B"]),
    ("updateKvConfig", &["-s S", "-k K", "-v V"]),
    ("deleteKvConfig", &["-s S", "-k K"]),
    ("wipeWritePerm", &["-b B"]),
    ("addWritePerm", &["-b B"]),
    ("resetOffsetByTime", &["-g G", "-t T", "-s now"]),
    ("skipAccumulatedMessage", &["-g G", "-t T"]),
    ("updateOrderConf", &["-t T", "-m get"]),
    ("allocateMQ", &["-t T", "-i I"]),
    ("checkMsgSendRT", &["-t T"]),
    ("updateNamesrvConfig", &["-k K", "-v V"]),
    ("getBrokerConfig", &["-b B"]),
    ("getConsumerConfig", &["-g G"]),
    ("queryCq", &["-t T", "-q 0", "-i 0"]),
    ("sendMessage", &["-t T", "-p P"]),
    ("consumeMessage", &["-t T"]),
    ("updateStaticTopic", &["-c C", "-t T", "-qn 4"]),
    ("remappingStaticTopic", &["-c C", "-t T"]),
    ("exportConfigs", &["-c C"]),
    ("exportMetrics", &["-c C"]),
    ("exportMetadataInRocksDB", &["-p P", "-t topics"]),
    ("getSyncStateSet", &["-a A"]),
    ("getBrokerEpoch", &["-b B"]),
    ("getControllerMetaData", &["-a A"]),
    ("getControllerConfig", &["-a A"]),
    ("updateControllerConfig", &["-a A", "-k K", "-v V"]),
    ("electMaster", &["-a A", "-b 1", "-bn N", "-c C"]),
    ("cleanBrokerMetadata", &["-a A", "-bn N"]),
    ("updateColdDataFlowCtrGroupConfig", &["-g G", "-v 1"]),
    ("removeColdDataFlowCtrGroupConfig", &["-g G"]),
    ("setCommitLogReadAheadMode", &["-m 0"]),
    ("createUser", &["-b B", "-u U", "-p P"]),
    ("updateUser", &["-b B", "-u U"]),
    ("deleteUser", &["-b B", "-u U"]),
    ("getUser", &["-b B"]),
    ("listUser", &["-b B"]),
    ("copyUser", &["-f F", "-t T"]),
    ("createAcl", &["-b B", "-s S", "-r R", "-a A", "-d D"]),
    ("updateAcl", &["-b B", "-s S", "-r R", "-a A", "-d D"]),
    ("deleteAcl", &["-b B", "-s S"]),
    ("getAcl", &["-b B"]),
    ("listAcl", &["-b B"]),
    ("copyAcl", &["-f F", "-t T"]),
    ("checkRocksdbCqWriteProgress", &["-c C"]),
    ("switchTimerEngine", &["-e F"]),
];

const ASKED: &str = "who asks for help gets it";

pub(super) fn steps() -> Vec<Step> {
    let mut steps = vec![
        bare(""),
        bare("help").our_tool(ASKED, "The most commonly used mqadmin commands are:"),
        bare("help nosuch"),
        bare("nosuch"),
        bare("nosuch -t T"),
        bare("help topicList more"),
        bare("TOPICLIST -h"),
        bare("QueryMsgTraceById -h"),
        bare("-h").our_tool(ASKED, "The most commonly used mqadmin commands are:"),
    ];
    for (command, _) in COMMANDS {
        steps.push(bare(&format!("help {command}")));
        steps.push(bare(&format!("{command} -h")));
        steps.push(bare(&format!("{command} --nosuch")));
    }
    for (command, options) in REQUIRED {
        for missing in 0..options.len() {
            let others = options.iter().enumerate().filter(|(at, _)| *at != missing);
            let others: Vec<&str> = others.map(|(_, option)| *option).collect();
            steps.push(step(format!("{command} {}", others.join(" ")).trim_end()));
        }
    }
    steps.extend(forms());
    steps
}

/// The ways in which an option can be written.
fn forms() -> Vec<Step> {
    vec![
        step("topicRoute --topic T_normal -l"),
        step("topicRoute --topic=T_normal -l"),
        step("topicRoute -topic T_normal -list"),
        step("topicRoute -tT_normal -l"),
        step("topicRoute -t=T_normal -l"),
        step("topicRoute --top T_normal --li"),
        step("topicRoute -t T_normal -l extra words"),
        step("topicRoute -l -t T_normal --"),
        step("topicRoute -l -t T_normal -t T_many"),
        step("topicRoute -l -t"),
        step("topicRoute -lt T_normal"),
        step("topicRoute -t -l"),
        step("topicRoute -t ' T_normal ' -l"),
        step("topicroute -t T_normal -l"),
        step("topicRoute -t T_normal -x"),
        step("topicRoute -t T_normal --lists"),
        step("help topicRoute"),
        step("updateTopic -b B -c C -t T"),
        step("updateSubGroup --attribute x"),
        step("electMaster -a A -b x -bn N -c C"),
    ]
}
