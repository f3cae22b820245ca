// SPDX-License-Identifier: Apache-2.0
//! Settings of consumer groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::body::topic::DataVersion;

/// The settings of one consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    /// Free settings.
    pub attributes: BTreeMap<Str, Str>,
    /// Replica to read from.
    pub broker_id: i64,
    /// Broadcasting consumers may read.
    pub consume_broadcast_enable: bool,
    /// The group may read at all.
    pub consume_enable: bool,
    /// A new group may begin at the first message.
    pub consume_from_min_enable: bool,
    /// The group reads in order.
    pub consume_message_orderly: bool,
    /// Time a consumer has for a message.
    pub consume_timeout_minute: i32,
    /// Name of the group.
    pub group_name: Str,
    /// When failed messages come again.
    pub group_retry_policy: GroupRetryPolicy,
    /// Free flags, echoed to clients.
    pub group_sys_flag: i32,
    /// Members are told when members change.
    pub notify_consumer_ids_changed_enable: bool,
    /// Failed deliveries after which a message is dead.
    pub retry_max_times: i32,
    /// Queues of the retry topic; 0 drops failed messages.
    pub retry_queue_nums: i32,
    /// Subscriptions fixed by the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<Vec<SimpleSubscription>>,
    /// Replica to read old messages from.
    pub which_broker_when_consume_slowly: i64,
}

/// Whether a group may read a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupForbidden {
    /// Consumer group.
    pub group: Str,
    /// It may.
    pub readable: bool,
    /// Topic name.
    pub topic: Str,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> SubscriptionGroupConfig {
        SubscriptionGroupConfig {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: Str::default(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// When failed messages come again, as the proxy of the reference computes it. Brokers keep it and hand it out: what a consumer
/// gives back, or a pop does not settle, comes again by other rules (delay levels; invisible times).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupRetryPolicy {
    /// The waits, one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customized_retry_policy: Option<CustomizedRetryPolicy>,
    /// Growing waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_retry_policy: Option<ExponentialRetryPolicy>,
    /// Which of the two holds.
    #[serde(rename = "type")]
    pub kind: RetryPolicyType,
}

/// Which retry policy holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RetryPolicyType {
    /// Growing waits.
    Exponential,
    /// Waits one by one.
    #[default]
    #[serde(other)]
    Customized,
}

/// Waits one by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomizedRetryPolicy {
    /// Wait before each delivery, ms.
    pub next: Vec<i64>,
}

/// The waits of the delay levels.
impl Default for CustomizedRetryPolicy {
    fn default() -> CustomizedRetryPolicy {
        const MINUTE: i64 = 60;
        let seconds = [1, 5, 10, 30].into_iter();
        let seconds = seconds.chain((1..=10).chain([20, 30, 60, 120]).map(|minutes| minutes * MINUTE));
        CustomizedRetryPolicy {
            next: seconds.map(|seconds| seconds * 1000).collect(),
        }
    }
}

/// Growing waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExponentialRetryPolicy {
    /// First wait, ms.
    pub initial: i64,
    /// Longest wait, ms.
    pub max: i64,
    /// Growth from wait to wait.
    pub multiplier: i64,
}

impl Default for ExponentialRetryPolicy {
    fn default() -> ExponentialRetryPolicy {
        ExponentialRetryPolicy {
            initial: 5_000,
            max: 7_200_000,
            multiplier: 2,
        }
    }
}

/// A subscription fixed by the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SimpleSubscription {
    /// The expression.
    pub expression: Str,
    /// `TAG` or `SQL92`.
    pub expression_type: Str,
    /// Topic name.
    pub topic: Str,
    /// Version, ms.
    pub version: i64,
}

/// All groups of a broker, or a page of them. Also the layout of `subscriptionGroup.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupTable {
    /// Version of the table.
    pub data_version: DataVersion,
    /// What a group may not do on a topic, as bits.
    pub forbidden_table: BTreeMap<Str, BTreeMap<Str, i32>>,
    /// Settings by group name.
    pub subscription_group_table: BTreeMap<Str, SubscriptionGroupConfig>,
}

/// Groups to create or change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupList {
    /// The settings wanted.
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastjson;

    #[test]
    fn a_customized_policy_that_says_no_waits_has_those_of_the_delay_levels() {
        let policy: GroupRetryPolicy = fastjson::from_slice(br#"{"customizedRetryPolicy":{}}"#).unwrap();
        let waits = policy.customized_retry_policy.unwrap().next;
        assert_eq!(
            (waits.len(), waits[0], waits[3], waits[13], waits[17]),
            (18, 1_000, 30_000, 600_000, 7_200_000)
        );
    }
}
