// SPDX-License-Identifier: Apache-2.0
//! What a consumer says of itself (307), and what became of a message that it was handed by itself (309). Brokers pass both
//! on unread.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::Str;
use crate::body::queue::QueueKey;
use crate::body::subscription::SubscriptionData;

/// How a consumer is doing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerRunningInfo {
    /// A thread dump, where one was asked for.
    pub jstack: Option<Str>,
    /// Queues it pops from.
    pub mq_pop_table: BTreeMap<QueueKey, PopProcessQueue>,
    /// Queues it pulls from.
    pub mq_table: BTreeMap<QueueKey, ProcessQueue>,
    /// Its settings, in the order in which they came.
    pub properties: Settings,
    /// How fast it is, by topic.
    pub status_table: BTreeMap<Str, ConsumeStatus>,
    /// What it subscribes to.
    pub subscription_set: Vec<SubscriptionData>,
    /// What its program has to say.
    pub user_consumer_info: Option<BTreeMap<Str, Str>>,
}

/// A queue a consumer pulls from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessQueue {
    /// Messages in its memory.
    pub cached_msg_count: i32,
    /// The last of them.
    pub cached_msg_max_offset: i64,
    /// The first of them.
    pub cached_msg_min_offset: i64,
    /// MiB they take.
    pub cached_msg_size_in_mi_b: i32,
    /// Offset consumed so far.
    pub commit_offset: i64,
    /// It has lost the queue.
    pub droped: bool,
    /// When it last consumed, ms.
    pub last_consume_timestamp: i64,
    /// When it last locked the queue, ms.
    pub last_lock_timestamp: i64,
    /// When it last pulled, ms.
    pub last_pull_timestamp: i64,
    /// It has locked the queue.
    pub locked: bool,
    /// Messages it consumes in order just now.
    pub transaction_msg_count: i32,
    /// The last of them.
    pub transaction_msg_max_offset: i64,
    /// The first of them.
    pub transaction_msg_min_offset: i64,
    /// How often it could not unlock it.
    pub try_unlock_times: i64,
}

/// A queue a consumer pops from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PopProcessQueue {
    /// It has lost the queue.
    pub droped: bool,
    /// When it last popped, ms.
    pub last_pop_timestamp: i64,
    /// Messages it has not settled.
    pub wait_ack_count: i32,
}

/// How fast a consumer is on a topic. Times are ms, rates are a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumeStatus {
    /// Messages that failed within an hour.
    #[serde(rename = "consumeFailedMsgs")]
    pub failed_in_hour: i64,
    /// Messages that fail.
    #[serde(rename = "consumeFailedTPS")]
    pub failed_tps: f64,
    /// Messages it consumes.
    #[serde(rename = "consumeOKTPS")]
    pub ok_tps: f64,
    /// Time for one.
    #[serde(rename = "consumeRT")]
    pub consume_rt: f64,
    /// Time for a pull.
    #[serde(rename = "pullRT")]
    pub pull_rt: f64,
    /// Messages it pulls.
    #[serde(rename = "pullTPS")]
    pub pull_tps: f64,
}

/// What became of a message that a consumer was handed by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeDirectly {
    /// It need not commit.
    pub auto_commit: bool,
    /// How it ended, by name.
    pub consume_result: Option<Str>,
    /// It consumes in order.
    pub order: bool,
    /// Why it failed.
    pub remark: Option<Str>,
    /// How long it took, ms.
    pub spent_time_mills: i64,
}

/// Texts by name, in the order in which they came. Numbers and truth values are taken as texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(pub Vec<(Str, Str)>);

impl Settings {
    /// The value of a setting.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rfind(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Settings, D::Error> {
        deserializer.deserialize_map(Pairs)
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Settings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Settings, A::Error> {
        let mut pairs = Vec::new();
        while let Some((key, value)) = fields.next_entry::<Str, serde_json::Value>()? {
            let value = match value {
                serde_json::Value::String(text) => text.into(),
                other => Str::from(other.to_string()),
            };
            pairs.push((key, value));
        }
        Ok(Settings(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastjson;

    #[test]
    fn what_a_consumer_says_is_read_with_its_settings_in_order() {
        let text = br#"{"mqTable":{{"brokerName":"b","queueId":1,"topic":"T"}:{"cachedMsgSizeInMiB":2,"commitOffset":7}},
            "properties":{"b":"1","a":true,"PROP_CONSUME_TYPE":"CONSUME_PASSIVELY"},
            "statusTable":{"T":{"consumeFailedMsgs":3,"consumeOKTPS":1.5,"pullRT":0.25}},
            "subscriptionSet":[{"topic":"T","subString":"*"}],"userConsumerInfo":{}}"#;
        let info: ConsumerRunningInfo = fastjson::from_slice(text).unwrap();
        let queue = info.mq_table.values().next().unwrap();
        assert_eq!((queue.commit_offset, queue.cached_msg_size_in_mi_b), (7, 2));
        let names: Vec<&str> = info.properties.0.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(names, ["b", "a", "PROP_CONSUME_TYPE"]);
        assert_eq!(info.properties.get("a"), Some("true"));
        let status = &info.status_table["T"];
        assert_eq!(
            (status.failed_in_hour, status.ok_tps, status.pull_rt),
            (3, 1.5, 0.25)
        );
    }
}
