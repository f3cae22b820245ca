// SPDX-License-Identifier: Apache-2.0
//! The topics a broker makes for itself when it starts.

use wire::Str;
use wire::body::topic::TopicConfig;

use super::perm;
use crate::config::Config;
use crate::names::{
    AUTO_CREATE_TOPIC, BENCHMARK_TOPIC, HALF_OP_TOPIC, HALF_TOPIC, OFFSET_MOVED_TOPIC, ROCKSDB_HALF_OP_TOPIC,
    ROCKSDB_HALF_TOPIC, SCHEDULE_TOPIC, SELF_TEST_TOPIC, SYSTEM_TOPICS, TIMER_TOPIC,
};

/// Queues of the schedule topic: one per delay level of the default table.
const DELAY_LEVELS: u32 = 18;

/// The settings of the system's topics.
pub(super) fn topics(config: &Config) -> Vec<TopicConfig> {
    const ALL: i32 = perm::READ_WRITE | perm::INHERIT;
    const NOBODY: i32 = perm::INHERIT;
    let named = Named::of(config);
    let if_open = |open: bool| if open { ALL } else { NOBODY };
    let mut topics = vec![
        topic(SELF_TEST_TOPIC, 1, perm::READ_WRITE),
        topic(OFFSET_MOVED_TOPIC, 1, perm::READ_WRITE),
        topic(BENCHMARK_TOPIC, 1024, perm::READ_WRITE),
        topic(
            &config.broker_cluster_name,
            16,
            if_open(config.cluster_topic_enable),
        ),
        topic(&config.broker_name, 1, if_open(config.broker_topic_enable)),
        topic(SCHEDULE_TOPIC, DELAY_LEVELS, perm::READ_WRITE),
        topic(HALF_TOPIC, 1, perm::READ_WRITE),
        topic(HALF_OP_TOPIC, 1, perm::READ_WRITE),
        topic(ROCKSDB_HALF_TOPIC, 1, perm::READ_WRITE),
        topic(ROCKSDB_HALF_OP_TOPIC, 1, perm::READ_WRITE),
        topic(&named.reply, 1, perm::READ_WRITE),
        topic(&named.revive, config.revive_queue_num, perm::READ_WRITE),
        topic(&named.members, 1, NOBODY),
    ];
    if config.auto_create_topic_enable {
        topics.push(topic(AUTO_CREATE_TOPIC, config.default_topic_queue_nums, ALL));
    }
    if config.timer_wheel_enable {
        topics.push(topic(TIMER_TOPIC, 1, perm::READ_WRITE));
    }
    if config.trace_topic_enable {
        topics.push(topic(&config.msg_trace_topic_name, 1, perm::READ_WRITE));
    }
    topics
}

/// Every name that belongs to the system.
pub(super) fn names(config: &Config) -> Vec<Str> {
    let named = Named::of(config);
    let mut names: Vec<Str> = SYSTEM_TOPICS.iter().map(|name| Str::const_new(name)).collect();
    names.extend([config.broker_cluster_name.clone(), config.broker_name.clone()]);
    names.extend([named.reply, named.revive, named.members]);
    if config.timer_wheel_enable {
        names.push(Str::const_new(TIMER_TOPIC));
    }
    if config.trace_topic_enable && !names.contains(&config.msg_trace_topic_name) {
        names.push(config.msg_trace_topic_name.clone());
    }
    names
}

/// The topics called after the cluster or the broker.
struct Named {
    reply: Str,
    revive: Str,
    members: Str,
}

impl Named {
    fn of(config: &Config) -> Named {
        let (cluster, broker) = (config.broker_cluster_name.as_str(), config.broker_name.as_str());
        Named {
            reply: [cluster, "_REPLY_TOPIC"].into_iter().collect(),
            revive: ["rmq_sys_REVIVE_LOG_", cluster].into_iter().collect(),
            members: ["rmq_sys_SYNC_BROKER_MEMBER_", broker].into_iter().collect(),
        }
    }
}

fn topic(name: &str, queues: u32, perm: i32) -> TopicConfig {
    let queues = i32::try_from(queues)
        .unwrap_or(super::QUEUES_MAX)
        .min(super::QUEUES_MAX);
    TopicConfig {
        topic_name: name.into(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm,
        ..TopicConfig::default()
    }
}
