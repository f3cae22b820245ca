// SPDX-License-Identifier: Apache-2.0
//! Any bytes are a body of the protocol or refused; one that was read is written and read again.

use serde::{Serialize, de::DeserializeOwned};
use wire::body::{
    config, explain, filter, group, ha, pop, queue, running, stats, subscription, timer, topic, topic_route,
    transaction,
};
use wire::fastjson;

fn both_ways<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    let Ok(body) = fastjson::from_slice::<T>(bytes) else {
        return;
    };
    let written = fastjson::to_vec(&body);
    let again = fastjson::from_slice::<T>(&written);
    let Ok(again) = again else {
        panic!(
            "what was written is not read: {}",
            String::from_utf8_lossy(&written)
        )
    };
    assert_eq!(fastjson::to_vec(&again), written);
}

pub(crate) fn run(bytes: &[u8]) {
    let Some((which, bytes)) = fuzz::input::<(u8, &[u8])>(bytes) else {
        return;
    };
    let readers: &[fn(&[u8])] = &[
        both_ways::<config::ConfigHistory>,
        both_ways::<explain::Explanation>,
        both_ways::<filter::FilterTable>,
        both_ways::<group::SubscriptionGroupTable>,
        both_ways::<group::SubscriptionGroupList>,
        both_ways::<ha::HaRuntimeInfo>,
        both_ways::<ha::EpochEntryCache>,
        both_ways::<pop::BatchAcks>,
        both_ways::<pop::OrderTable>,
        both_ways::<pop::CheckPoint>,
        both_ways::<pop::AckNote>,
        both_ways::<queue::LockBatch>,
        both_ways::<queue::QueryAssignmentBody>,
        both_ways::<queue::SetMessageRequestModeBody>,
        both_ways::<queue::MessageRequestModeTable>,
        both_ways::<running::ConsumeDirectly>,
        both_ways::<stats::OffsetTable>,
        both_ways::<stats::DelayOffsetTable>,
        both_ways::<stats::QueueOffsets>,
        both_ways::<stats::ConsumerStatus>,
        both_ways::<stats::ConsumeStats>,
        both_ways::<stats::KvTable>,
        both_ways::<subscription::HeartbeatBody>,
        both_ways::<subscription::CheckClientBody>,
        both_ways::<subscription::ConsumerConnection>,
        both_ways::<timer::TimerMetrics>,
        both_ways::<topic::TopicConfigTable>,
        both_ways::<topic::TopicConfigList>,
        both_ways::<topic_route::TopicRoute>,
        both_ways::<topic_route::ClusterInfo>,
        both_ways::<topic_route::TopicQueueMappingTable>,
        both_ways::<transaction::PendingTransactions>,
    ];
    readers[usize::from(which) % readers.len()](bytes);
    let _only_read = fastjson::from_slice::<running::ConsumerRunningInfo>(bytes);
}
