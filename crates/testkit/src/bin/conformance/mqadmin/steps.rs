// SPDX-License-Identifier: Apache-2.0
//! The command lines, one file per kind of question. What only reads comes first; each file leaves to the others what they
//! ask about.
#![expect(clippy::disallowed_methods, reason = "commands read real files")]

mod brokers;
mod groups;
mod messages;
mod names;
mod offsets;
mod others;
mod topics;
mod usage;

use super::step::{Step, filled};
use std::path::Path;

/// Whose a command is, as far as this project is cut into areas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    Here,
    Controller,
    Container,
    Auth,
    ColdData,
    RocksDb,
}

/// Whose a command is; the other name of one counts, and its case does not.
pub(crate) fn area(command: &str) -> Area {
    let mut commands = COMMANDS.iter();
    let found = commands.find(|(name, _)| name.eq_ignore_ascii_case(command));
    found.map_or(Area::Here, |(_, area)| *area)
}

/// Every command of the reference, in its order.
pub(crate) const COMMANDS: &[(&str, Area)] = &[
    ("updateTopic", Area::Here),
    ("updateTopicList", Area::Here),
    ("deleteTopic", Area::Here),
    ("updateSubGroup", Area::Here),
    ("updateSubGroupList", Area::Here),
    ("setConsumeMode", Area::Here),
    ("deleteSubGroup", Area::Here),
    ("updateBrokerConfig", Area::Here),
    ("updateTopicPerm", Area::Here),
    ("topicRoute", Area::Here),
    ("topicStatus", Area::Here),
    ("topicClusterList", Area::Here),
    ("addBroker", Area::Container),
    ("removeBroker", Area::Container),
    ("resetMasterFlushOffset", Area::Here),
    ("brokerStatus", Area::Here),
    ("queryMsgById", Area::Here),
    ("queryMsgByKey", Area::Here),
    ("queryMsgByUniqueKey", Area::Here),
    ("queryMsgByOffset", Area::Here),
    ("queryMsgTraceById", Area::Here),
    ("printMsg", Area::Here),
    ("printMsgByQueue", Area::Here),
    ("sendMsgStatus", Area::Here),
    ("brokerConsumeStats", Area::Here),
    ("producerConnection", Area::Here),
    ("consumerConnection", Area::Here),
    ("consumerProgress", Area::Here),
    ("consumerStatus", Area::Here),
    ("cloneGroupOffset", Area::Here),
    ("producer", Area::Here),
    ("clusterList", Area::Here),
    ("topicList", Area::Here),
    ("updateKvConfig", Area::Here),
    ("deleteKvConfig", Area::Here),
    ("wipeWritePerm", Area::Here),
    ("addWritePerm", Area::Here),
    ("resetOffsetByTime", Area::Here),
    ("skipAccumulatedMessage", Area::Here),
    ("updateOrderConf", Area::Here),
    ("cleanExpiredCQ", Area::Here),
    ("deleteExpiredCommitLog", Area::Here),
    ("cleanUnusedTopic", Area::Here),
    ("startMonitoring", Area::Here),
    ("statsAll", Area::Here),
    ("allocateMQ", Area::Here),
    ("checkMsgSendRT", Area::Here),
    ("clusterRT", Area::Here),
    ("getNamesrvConfig", Area::Here),
    ("updateNamesrvConfig", Area::Here),
    ("getBrokerConfig", Area::Here),
    ("getConsumerConfig", Area::Here),
    ("queryCq", Area::Here),
    ("sendMessage", Area::Here),
    ("consumeMessage", Area::Here),
    ("updateStaticTopic", Area::Here),
    ("remappingStaticTopic", Area::Here),
    ("exportMetadata", Area::Here),
    ("exportConfigs", Area::Here),
    ("exportMetrics", Area::Here),
    ("exportMetadataInRocksDB", Area::RocksDb),
    ("exportPopRecord", Area::Here),
    ("haStatus", Area::Here),
    ("getSyncStateSet", Area::Controller),
    ("getBrokerEpoch", Area::Controller),
    ("getControllerMetaData", Area::Controller),
    ("getControllerConfig", Area::Controller),
    ("updateControllerConfig", Area::Controller),
    ("electMaster", Area::Controller),
    ("cleanBrokerMetadata", Area::Controller),
    ("dumpCompactionLog", Area::Here),
    ("getColdDataFlowCtrInfo", Area::ColdData),
    ("updateColdDataFlowCtrGroupConfig", Area::ColdData),
    ("removeColdDataFlowCtrGroupConfig", Area::ColdData),
    ("setCommitLogReadAheadMode", Area::ColdData),
    ("createUser", Area::Auth),
    ("updateUser", Area::Auth),
    ("deleteUser", Area::Auth),
    ("getUser", Area::Auth),
    ("listUser", Area::Auth),
    ("copyUser", Area::Auth),
    ("createAcl", Area::Auth),
    ("updateAcl", Area::Auth),
    ("deleteAcl", Area::Auth),
    ("getAcl", Area::Auth),
    ("listAcl", Area::Auth),
    ("copyAcl", Area::Auth),
    ("rocksDBConfigToJson", Area::RocksDb),
    ("checkRocksdbCqWriteProgress", Area::RocksDb),
    ("switchTimerEngine", Area::Here),
];

/// All of them.
pub(crate) fn all() -> Vec<Step> {
    let reading = [
        topics::reading(),
        groups::reading(),
        messages::reading(),
        brokers::reading(),
    ];
    let changing = [
        topics::changing(),
        messages::changing(),
        offsets::changing(),
        groups::changing(),
        names::changing(),
        brokers::changing(),
        topics::statics(),
    ];
    let all = [usage::steps()].into_iter().chain(reading).chain(changing);
    all.chain([others::steps()]).flatten().collect()
}

/// The files that commands are given, in the directory they run in.
pub(crate) fn files(dir: &Path, known: &[(String, String)]) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    for (name, text) in topics::FILES.iter().chain(groups::FILES) {
        std::fs::write(dir.join(name), filled(text, known))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_run_and_none_that_nobody_knows() {
        let steps = all();
        for (command, _) in COMMANDS {
            let count = steps.iter().filter(|step| step.command() == *command).count();
            assert!(count >= 4, "{command} has {count} steps");
        }
        let named = |step: &&Step| COMMANDS.iter().any(|(command, _)| step.command() == *command);
        let others: Vec<&str> = steps
            .iter()
            .filter(|step| !named(step))
            .map(Step::command)
            .collect();
        let asked = [
            "",
            "help",
            "nosuch",
            "nosuch",
            "nosuch",
            "TOPICLIST",
            "QueryMsgTraceById",
            "-h",
        ];
        let aliases = ["topicroute", "QueryMsgTraceById"];
        assert_eq!(others, [&asked[..], &aliases[..]].concat());
    }
}
