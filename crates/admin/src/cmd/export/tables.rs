// SPDX-License-Identifier: Apache-2.0
//! The topics and groups of a broker that belong to its users, in the order in which the reference has them.

use wire::Str;
use wire::api::group::{GetAllSubscriptiongroupConfig, GetAllSubscriptiongroupConfigReply};
use wire::api::topic::{GetAllTopicConfig, GetAllTopicConfigReply, GetSystemTopicListFromBroker};
use wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupTable};
use wire::body::topic::{DataVersion, TopicConfig, TopicConfigTable, TopicList};
use wire::properties::java_hash;

use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::{concurrent, in_buckets};

/// Entries of one page, as the reference asks for them.
const PAGE: i32 = 2000;
/// Pages at most: a broker that always has one more is not followed for ever.
const PAGES_MAX: usize = 1000;

/// A table and its version.
pub(super) struct Table<T> {
    pub version: DataVersion,
    pub entries: Vec<(Str, T)>,
}

/// Groups that come with the server or its tools.
const SYSTEM_GROUPS: [&str; 13] = [
    "DEFAULT_CONSUMER",
    "DEFAULT_PRODUCER",
    "TOOLS_CONSUMER",
    "SCHEDULE_CONSUMER",
    "FILTERSRV_CONSUMER",
    "__MONITOR_CONSUMER",
    "CLIENT_INNER_PRODUCER",
    "SELF_TEST_P_GROUP",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PULL",
];

/// Topics that come with the server.
const SYSTEM_TOPICS: [&str; 12] = [
    "TBW102",
    "SCHEDULE_TOPIC_XXXX",
    "BenchmarkTest",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRACE_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
    "CHECKPOINT_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
];

/// The topics of users; those for messages to be tried again and for dead ones only where they are wanted.
pub(super) async fn topics(ctx: &Ctx, addr: &str, with_retries: bool) -> Result<Table<TopicConfig>, Failure> {
    let mut all = Vec::new();
    let mut version = DataVersion::default();
    for _ in 0..PAGES_MAX {
        let header = GetAllTopicConfig {
            topic_seq: i32::try_from(all.len()).ok(),
            data_version: Some(version_text(&version, all.is_empty())),
            max_topic_num: Some(PAGE),
        };
        let answer = ctx.client.ask(addr, &header).await?;
        let page: TopicConfigTable = answer.body()?;
        let reply: GetAllTopicConfigReply = answer.header()?;
        let changed = !all.is_empty() && page.data_version != version;
        version = page.data_version;
        if changed {
            all.clear();
            continue;
        }
        let came = page.topic_config_table.len();
        all.extend(page.topic_config_table);
        if came == 0 || is_all(all.len(), reply.total_topic_num) {
            break;
        }
    }
    let system: TopicList = ctx
        .client
        .ask(addr, &GetSystemTopicListFromBroker)
        .await?
        .body()?;
    let is_of_user = |(name, config): &(Str, TopicConfig)| {
        let of_system = SYSTEM_TOPICS.contains(&name.as_str())
            || name.starts_with("rmq_sys_")
            || system.topic_list.contains(name);
        let of_group = name.starts_with("%RETRY%") || name.starts_with("%DLQ%");
        !of_system && (with_retries || !of_group) && (0..8).contains(&config.perm)
    };
    let entries = ordered(all).into_iter().filter(is_of_user).collect();
    Ok(Table { version, entries })
}

/// The groups of users.
pub(super) async fn groups(ctx: &Ctx, addr: &str) -> Result<Table<SubscriptionGroupConfig>, Failure> {
    let mut all = Vec::new();
    let mut version = DataVersion::default();
    for _ in 0..PAGES_MAX {
        let header = GetAllSubscriptiongroupConfig {
            group_seq: i32::try_from(all.len()).ok(),
            data_version: Some(version_text(&version, all.is_empty())),
            max_group_num: Some(PAGE),
        };
        let answer = ctx.client.ask(addr, &header).await?;
        let page: SubscriptionGroupTable = answer.body()?;
        let reply: GetAllSubscriptiongroupConfigReply = answer.header()?;
        let changed = !all.is_empty() && page.data_version != version;
        version = page.data_version;
        if changed {
            all.clear();
            continue;
        }
        let came = page.subscription_group_table.len();
        all.extend(page.subscription_group_table);
        if came == 0 || is_all(all.len(), reply.total_group_num) {
            break;
        }
    }
    let is_of_user = |(name, _): &(Str, SubscriptionGroupConfig)| {
        !name.starts_with("CID_RMQ_SYS_") && !SYSTEM_GROUPS.contains(&name.as_str())
    };
    let entries = ordered(all).into_iter().filter(is_of_user).collect();
    Ok(Table { version, entries })
}

/// The version of the page before, so that a broker can tell that the table has changed.
fn version_text(version: &DataVersion, is_first: bool) -> Str {
    if is_first {
        return Str::default();
    }
    wire::fastjson::to_string(version).into()
}

/// Brokers of before 5.3 send everything at once, and do not say how much there is.
fn is_all(have: usize, total: Option<i32>) -> bool {
    total
        .and_then(|total| usize::try_from(total).ok())
        .is_none_or(|total| have >= total)
}

/// The reference reads a page into one table and adds that to another, which first makes twice the room that it needs.
fn ordered<T>(entries: Vec<(Str, T)>) -> Vec<(Str, T)> {
    let count = entries.len();
    let read = concurrent(entries, |name| java_hash(name));
    let room = 2 * (count + count / 2 + 1).next_power_of_two();
    in_buckets(room, read, |(name, _)| java_hash(name))
}
