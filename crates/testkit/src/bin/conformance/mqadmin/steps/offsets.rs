// SPDX-License-Identifier: Apache-2.0
//! Offsets of groups that are moved.

use crate::mqadmin::step::{Step, step};

pub(super) fn changing() -> Vec<Step> {
    [cloning(), resetting(), one_queue(), skipping(), online()]
        .into_iter()
        .flatten()
        .collect()
}

const TPS: &str = "Consume TPS: ";
const OF_QUEUES: &str = "queues are in a hash map";

fn cloning() -> Vec<Step> {
    vec![
        step("cloneGroupOffset -s CG_lag -d G_clone -t T_normal"),
        step("consumerProgress -g G_clone").number_after(TPS),
        step("updateSubGroup -b $broker -g G_clone"),
        step("cloneGroupOffset -s CG_lag -d G_clone -t T_normal -o true"),
        step("consumerProgress -g G_clone -t T_normal").number_after(TPS),
        step("cloneGroupOffset -s CG_unknown -d G_clone -t T_normal"),
        step("cloneGroupOffset -s CG_lag -d G_clone -t T_unknown"),
        step("cloneGroupOffset -s CG_unused -d G_clone -t T_normal"),
    ]
}

fn resetting() -> Vec<Step> {
    let progress = || step("consumerProgress -g CG_lag -t T_normal").number_after(TPS);
    vec![
        step("resetOffsetByTime -g CG_lag -t T_normal -s now").sorted(OF_QUEUES),
        progress(),
        step("resetOffsetByTime -g CG_lag -t T_normal -s 0").sorted(OF_QUEUES),
        progress(),
        step("resetOffsetByTime -g CG_lag -t T_normal -s $between").sorted(OF_QUEUES),
        progress(),
        step("resetOffsetByTime -g CG_lag -t T_normal -s -1").sorted(OF_QUEUES),
        progress(),
        step("resetOffsetByTime -g CG_lag -t T_normal -s 2001-02-03#04:05:06:789 -f false").sorted(OF_QUEUES),
        progress(),
        step("resetOffsetByTime -g CG_lag -t T_normal -s 2001-02-03#04:05:06:789 -f true").sorted(OF_QUEUES),
        step("resetOffsetByTime -g CG_lag -t T_normal -s 0 -c DefaultCluster").sorted(OF_QUEUES),
        step("resetOffsetByTime -g CG_lag -t T_quiet -s now").sorted(OF_QUEUES),
        step("resetOffsetByTime -g CG_unknown -t T_normal -s now").sorted(OF_QUEUES),
        step("resetOffsetByTime -g CG_unused -t T_normal -s now").sorted(OF_QUEUES),
        step("resetOffsetByTime -g CG_lag -t T_unknown -s now"),
        step("resetOffsetByTime -g CG_lag -t T_normal -s nonsense"),
        step("resetOffsetByTime -g CG_lag -t T_normal -s now -q x"),
        step("resetOffsetByTime -g CG_lag -t T_normal -s now -o x"),
    ]
}

fn one_queue() -> Vec<Step> {
    vec![
        step("resetOffsetByTime -g CG_lag -t T_normal -s now -b $broker -q 0 -o 1"),
        step("resetOffsetByTime -g CG_lag -t T_normal -s now -b $broker -q 1"),
        step("resetOffsetByTime -g CG_lag -t T_normal -s 0 -b $broker -q 2"),
        step("resetOffsetByTime -g CG_lag -t T_normal -s now -b $broker -q 0 -o 99"),
        step("resetOffsetByTime -g CG_lag -t T_normal -s now -b $broker -q 99 -o 1")
            .ours("there is no such queue", "there is no queue 99"),
        step("resetOffsetByTime -g CG_lag -t T_normal -s now -b $broker -q -1"),
        step("resetOffsetByTime -g CG_lag -t T_normal -s now -b 127.0.0.1:1 -q 0"),
        step("resetOffsetByTime -g CG_lag -t T_unknown -s now -b $broker -q 0 -o 1"),
        step("resetOffsetByTime -g CG_unknown -t T_normal -s now -b $broker -q 0 -o 1"),
        step("consumerProgress -g CG_lag -t T_normal").number_after(TPS),
    ]
}

fn skipping() -> Vec<Step> {
    vec![
        step("skipAccumulatedMessage -g CG_lag -t T_normal").sorted(OF_QUEUES),
        step("consumerProgress -g CG_lag -t T_normal").number_after(TPS),
        step("skipAccumulatedMessage -g CG_lag -t T_many -f false").sorted(OF_QUEUES),
        step("skipAccumulatedMessage -g CG_lag -t T_normal -c DefaultCluster").sorted(OF_QUEUES),
        step("skipAccumulatedMessage -g CG_unknown -t T_normal").sorted(OF_QUEUES),
        step("skipAccumulatedMessage -g CG_lag -t T_unknown"),
    ]
}

/// A group with a member; what that does then is another section's.
fn online() -> Vec<Step> {
    vec![
        step("resetOffsetByTime -g CG_live -t T_live -s 0").sorted(OF_QUEUES),
        step("resetOffsetByTime -g CG_live -t T_live -s now").sorted(OF_QUEUES),
        step("skipAccumulatedMessage -g CG_live -t T_live").sorted(OF_QUEUES),
        step("resetOffsetByTime -g CG_broadcast -t T_live -s now").sorted(OF_QUEUES),
        step("resetOffsetByTime -g CG_live -t T_live -s now -b $broker -q 0 -o 1"),
    ]
}
