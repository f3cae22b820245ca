// SPDX-License-Identifier: Apache-2.0
//! Commands of other areas, at servers where these are off, and the one that never ends.

use crate::mqadmin::step::{Step, bare, step};

pub(super) fn steps() -> Vec<Step> {
    [
        controllers(),
        containers(),
        cold(),
        users(),
        rules(),
        rocks(),
        last(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn controllers() -> Vec<Step> {
    vec![
        step("getSyncStateSet -a $namesrv -b broker-a"),
        step("getSyncStateSet -a $namesrv -c DefaultCluster"),
        step("getSyncStateSet -a $namesrv"),
        step("getSyncStateSet -a 127.0.0.1:1 -b broker-a"),
        step("getBrokerEpoch -b broker-a"),
        step("getBrokerEpoch -c DefaultCluster"),
        step("getBrokerEpoch -b nosuch"),
        step("getBrokerEpoch -c NoCluster"),
        step("getControllerMetaData -a $namesrv"),
        step("getControllerMetaData -a 127.0.0.1:1"),
        step("getControllerConfig -a $namesrv"),
        step("updateControllerConfig -a $namesrv -k key -v value"),
        step("electMaster -a $namesrv -b 1 -bn broker-a -c DefaultCluster"),
        step("cleanBrokerMetadata -a $namesrv -bn broker-a -c DefaultCluster -b 1"),
        step("cleanBrokerMetadata -a $namesrv -bn broker-a -l"),
        step("cleanBrokerMetadata -a $namesrv -bn broker-a"),
    ]
}

fn containers() -> Vec<Step> {
    vec![
        step("addBroker -c $broker -b /tmp/broker.conf"),
        step("removeBroker -c $broker -b DefaultCluster:broker-a:1"),
        step("removeBroker -c $broker -b DefaultCluster:broker-a:-1"),
        step("removeBroker -c $broker -b nonsense"),
    ]
}

const UNMAPPED: &str = "the log is not mapped into memory, and the answer says so";

fn cold() -> Vec<Step> {
    vec![
        step("getColdDataFlowCtrInfo -b $broker"),
        step("getColdDataFlowCtrInfo -c DefaultCluster"),
        step("getColdDataFlowCtrInfo -c NoCluster"),
        step("updateColdDataFlowCtrGroupConfig -b $broker -g CG_live -v 100"),
        step("updateColdDataFlowCtrGroupConfig -c DefaultCluster -g CG_live -v 100"),
        step("removeColdDataFlowCtrGroupConfig -b $broker -g CG_live"),
        step("removeColdDataFlowCtrGroupConfig -c DefaultCluster -g CG_live"),
        step("setCommitLogReadAheadMode -b $broker -m 1").ours(UNMAPPED, "has no meaning here"),
        step("setCommitLogReadAheadMode -c DefaultCluster -m 0").ours(UNMAPPED, "has no meaning here"),
        step("setCommitLogReadAheadMode -b $broker -m 2"),
        step("setCommitLogReadAheadMode -c NoCluster -m 0"),
    ]
}

const NO_USERS: &str = "it says that there is no access control";

fn users() -> Vec<Step> {
    let asked = |line: &str| step(line).remark(NO_USERS);
    vec![
        asked("createUser -b $broker -u user -p secret"),
        asked("createUser -c DefaultCluster -u user -p secret -t Super"),
        asked("updateUser -b $broker -u user -p other"),
        step("updateUser -b $broker -u user"),
        asked("deleteUser -b $broker -u user"),
        asked("getUser -b $broker -u user"),
        step("getUser -b $broker"),
        asked("listUser -b $broker"),
        asked("listUser -c DefaultCluster -f user"),
        asked("copyUser -f $broker -t $broker"),
        asked("copyUser -f $broker -t $broker -u user"),
    ]
}

fn rules() -> Vec<Step> {
    let asked = |line: &str| step(line).remark(NO_USERS);
    vec![
        asked("createAcl -b $broker -s User:user -r Topic:* -a Pub -d Allow"),
        asked("createAcl -c DefaultCluster -s User:user -r Topic:* -a Pub,Sub -d Deny -i 10.0.0.1"),
        asked("updateAcl -b $broker -s User:user -r Topic:* -a Pub -d Allow"),
        asked("deleteAcl -b $broker -s User:user"),
        asked("getAcl -b $broker -s User:user"),
        step("getAcl -b $broker"),
        asked("listAcl -b $broker"),
        asked("listAcl -c DefaultCluster -s user -r Topic"),
        asked("copyAcl -f $broker -t $broker"),
        asked("copyAcl -f $broker -t $broker -s User:user"),
    ]
}

fn rocks() -> Vec<Step> {
    vec![
        step("exportMetadataInRocksDB -p $dir/nosuch -t topics"),
        bare("rocksDBConfigToJson"),
        bare("rocksDBConfigToJson -t nosuch")
            .our_tool("an unknown kind is a mistake", "'nosuch' is none of topics"),
        bare("rocksDBConfigToJson -p $dir"),
        bare("rocksDBConfigToJson -p $dir/nosuch -t topics"),
        bare("rocksDBConfigToJson -b $broker -t topics"),
        step("rocksDBConfigToJson"),
        step("rocksDBConfigToJson -c DefaultCluster"),
        step("rocksDBConfigToJson -c NoCluster"),
        step("checkRocksdbCqWriteProgress -c DefaultCluster"),
        step("checkRocksdbCqWriteProgress -c DefaultCluster -t T_normal -cf 0"),
        step("checkRocksdbCqWriteProgress -c NoCluster"),
        step("checkRocksdbCqWriteProgress -c DefaultCluster -cf x"),
    ]
}

/// It leaves threads behind, so nothing comes after it.
fn last() -> Vec<Step> {
    vec![step("startMonitoring").stopped_after(1).seconds(3)]
}
