// SPDX-License-Identifier: Apache-2.0
//! What a consumer says of itself, as text, and what can be read out of what all members say.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use wire::Str;
use wire::body::queue::MessageQueue;
use wire::body::running::{ConsumeStatus, ConsumerRunningInfo, PopProcessQueue, ProcessQueue};

use crate::hash_order::properties;
use crate::queues::display;
use crate::text::{dense_time, fixed};

/// Members of a group, by client id.
pub(super) type Members = BTreeMap<Str, ConsumerRunningInfo>;

/// Everything a consumer says, as the reference shows it.
pub(super) fn text(info: &ConsumerRunningInfo) -> String {
    let mut out = String::from("#Consumer Properties#\n");
    let settings = info.properties.0.iter();
    let settings = settings.map(|(key, value)| (key.to_string(), value));
    for (key, value) in properties(settings) {
        out.push_str(&format!("{key:<40}: {value}\n"));
    }
    out.push_str("\n\n#Consumer Subscription#\n");
    let mut subscriptions: Vec<_> = info.subscription_set.iter().collect();
    subscriptions.sort_by_key(|known| format!("{}@{}", known.topic, known.sub_string));
    for (number, known) in (1..).zip(subscriptions) {
        out.push_str(&format!(
            "{number:03} Topic: {:<40} ClassFilter: {:<8} SubExpression: {}\n",
            known.topic, known.class_filter_mode, known.sub_string
        ));
    }
    queues(&mut out, info);
    rates(&mut out, &info.status_table);
    if let Some(info) = &info.user_consumer_info {
        out.push_str("\n\n#User Consume Info#\n");
        for (key, value) in info {
            out.push_str(&format!("{key:<40}: {value}\n"));
        }
    }
    if let Some(dump) = &info.jstack {
        out.push_str(&format!("\n\n#Consumer jstack#\n{dump}"));
    }
    out
}

/// The columns of a queue: its topic is this wide.
fn queue_line(width: usize, queue: &MessageQueue, last: &str) -> String {
    format!(
        "{:<width$}  {:<32}  {:<4}  {last}\n",
        queue.topic, queue.broker_name, queue.queue_id
    )
}

fn queue_head(width: usize, last: &str) -> String {
    format!(
        "{:<width$}  {:<32}  {:<4}  {last:<20}\n",
        "#Topic", "#Broker Name", "#QID"
    )
}

fn queues(out: &mut String, info: &ConsumerRunningInfo) {
    let pulled = by_topic(info.mq_table.iter().map(|(key, queue)| (&key.0, queue)));
    let popped = by_topic(info.mq_pop_table.iter().map(|(key, queue)| (&key.0, queue)));
    out.push_str("\n\n#Consumer Offset#\n");
    out.push_str(&queue_head(64, "#Consumer Offset"));
    for (queue, state) in &pulled {
        out.push_str(&queue_line(32, queue, &format!("{:<20}", state.commit_offset)));
    }
    out.push_str("\n\n#Consumer MQ Detail#\n");
    out.push_str(&queue_head(64, "#ProcessQueueInfo"));
    for (queue, state) in &pulled {
        out.push_str(&queue_line(64, queue, &pulled_text(state)));
    }
    out.push_str("\n\n#Consumer Pop Detail#\n");
    out.push_str(&queue_head(32, "#ProcessQueueInfo"));
    for (queue, state) in &popped {
        out.push_str(&queue_line(32, queue, &popped_text(state)));
    }
}

/// In the order in which the reference sorts queues.
pub(super) fn by_topic<'a, T>(
    queues: impl Iterator<Item = (&'a MessageQueue, &'a T)>,
) -> Vec<(&'a MessageQueue, &'a T)> {
    let mut queues: Vec<_> = queues.collect();
    queues.sort_by_key(|(queue, _)| (&queue.topic, &queue.broker_name, queue.queue_id));
    queues
}

fn pulled_text(queue: &ProcessQueue) -> String {
    format!(
        "ProcessQueueInfo [commitOffset={}, cachedMsgMinOffset={}, cachedMsgMaxOffset={}, cachedMsgCount={}, \
         cachedMsgSizeInMiB={}, transactionMsgMinOffset={}, transactionMsgMaxOffset={}, transactionMsgCount={}, \
         locked={}, tryUnlockTimes={}, lastLockTimestamp={}, droped={}, lastPullTimestamp={}, \
         lastConsumeTimestamp={}]",
        queue.commit_offset,
        queue.cached_msg_min_offset,
        queue.cached_msg_max_offset,
        queue.cached_msg_count,
        queue.cached_msg_size_in_mi_b,
        queue.transaction_msg_min_offset,
        queue.transaction_msg_max_offset,
        queue.transaction_msg_count,
        queue.locked,
        queue.try_unlock_times,
        dense_time(queue.last_lock_timestamp),
        queue.droped,
        dense_time(queue.last_pull_timestamp),
        dense_time(queue.last_consume_timestamp)
    )
}

fn popped_text(queue: &PopProcessQueue) -> String {
    format!(
        "PopProcessQueueInfo [waitAckCount:{}, droped:{}, lastPopTimestamp:{}]",
        queue.wait_ack_count, queue.droped, queue.last_pop_timestamp
    )
}

fn rates(out: &mut String, table: &BTreeMap<Str, ConsumeStatus>) {
    out.push_str("\n\n#Consumer RT&TPS#\n");
    out.push_str(&format!(
        "{:<64}  {:>14} {:>14} {:>14} {:>14} {:>18} {:>25}\n",
        "#Topic",
        "#Pull RT",
        "#Pull TPS",
        "#Consume RT",
        "#ConsumeOK TPS",
        "#ConsumeFailed TPS",
        "#ConsumeFailedMsgsInHour"
    ));
    for (topic, status) in table {
        let rate = |value| fixed(value, 2);
        out.push_str(&format!(
            "{topic:<32}  {:>14} {:>14} {:>14} {:>14} {:>18} {:>25}\n",
            rate(status.pull_rt),
            rate(status.pull_tps),
            rate(status.consume_rt),
            rate(status.ok_tps),
            rate(status.failed_tps),
            status.failed_in_hour
        ));
    }
}

/// How long a member must have run before its subscriptions are compared: at first they come in by and by.
const SETTLED_MS: i64 = 2 * 60 * 1000;
/// How long a queue with messages may stand still.
const STANDS_STILL_MS: i64 = 60 * 1000;

fn is_push(info: &ConsumerRunningInfo) -> bool {
    info.properties.get("PROP_CONSUME_TYPE") == Some("CONSUME_PASSIVELY")
}

/// Whether all members subscribe to the same, as far as that can be said already.
pub(super) fn same_subscriptions(members: &Members, now: i64) -> bool {
    let Some(first) = members.values().next() else {
        return true;
    };
    let started = first.properties.get("PROP_CONSUMER_START_TIMESTAMP");
    let started: Option<i64> = started.and_then(|text| text.parse().ok());
    let settled = started.is_some_and(|started| now - started > SETTLED_MS);
    if !is_push(first) || !settled {
        return true;
    }
    let wanted = |info: &ConsumerRunningInfo| -> BTreeSet<(Str, Str)> {
        let known = info.subscription_set.iter();
        known
            .map(|known| (known.topic.clone(), known.sub_string.clone()))
            .collect()
    };
    let of_first = wanted(first);
    members.values().all(|info| wanted(info) == of_first)
}

/// What is odd about the queues of a member, one thing a line.
pub(super) fn odd_queues(client: &str, info: &ConsumerRunningInfo, now: i64) -> String {
    if !is_push(info) {
        return String::new();
    }
    let in_order = info.properties.get("PROP_CONSUMEORDERLY");
    let in_order = in_order.is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let pulled = by_topic(info.mq_table.iter().map(|(key, queue)| (&key.0, queue)));
    let odd = |(queue, state): &(&MessageQueue, &ProcessQueue)| {
        let queue = display(queue);
        if in_order && !state.locked {
            let ms = now.wrapping_sub(state.last_lock_timestamp);
            return Some(format!("{client} {queue} can't lock for a while, {ms}ms\n"));
        }
        if in_order && state.droped && state.try_unlock_times > 0 {
            let times = state.try_unlock_times;
            return Some(format!("{client} {queue} unlock {times} times, still failed\n"));
        }
        let ms = now.wrapping_sub(state.last_consume_timestamp);
        let stands = !in_order && ms > STANDS_STILL_MS && state.cached_msg_count > 0;
        stands.then(|| format!("{client} {queue} can't consume for a while, maybe blocked, {ms}ms\n"))
    };
    pulled.iter().filter_map(odd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::fastjson;

    fn member(subscription: &str, queue: &str) -> ConsumerRunningInfo {
        let text = format!(
            r#"{{"properties":{{"PROP_CONSUME_TYPE":"CONSUME_PASSIVELY","PROP_CONSUMER_START_TIMESTAMP":"1000"}},
               "subscriptionSet":[{{"topic":"T","subString":"{subscription}"}}],
               "mqTable":{{{{"brokerName":"b","queueId":1,"topic":"T"}}:{queue}}}}}"#
        );
        fastjson::from_slice(text.as_bytes()).unwrap()
    }

    #[test]
    fn members_that_want_different_things_are_found_once_they_have_settled() {
        let members = Members::from([
            ("a".into(), member("*", "{}")),
            ("b".into(), member("TagA", "{}")),
        ]);
        assert!(same_subscriptions(&members, 2000));
        assert!(!same_subscriptions(&members, 200_000));
    }

    #[test]
    fn a_queue_that_stands_still_with_messages_is_odd() {
        let standing = member("*", r#"{"cachedMsgCount":3,"lastConsumeTimestamp":1000}"#);
        assert_eq!(
            odd_queues("c", &standing, 101_000),
            "c MessageQueue [topic=T, brokerName=b, queueId=1] can't consume for a while, maybe blocked, 100000ms\n"
        );
        let empty = member("*", r#"{"cachedMsgCount":0,"lastConsumeTimestamp":1000}"#);
        assert_eq!(odd_queues("c", &empty, 101_000), "");
    }

    #[test]
    fn everything_is_shown_under_its_head() {
        let text = text(&member("*", r#"{"commitOffset":7}"#));
        let heads: Vec<&str> = text
            .lines()
            .filter(|line| line.ends_with('#') && line.starts_with('#'))
            .collect();
        assert_eq!(
            heads,
            [
                "#Consumer Properties#",
                "#Consumer Subscription#",
                "#Consumer Offset#",
                "#Consumer MQ Detail#",
                "#Consumer Pop Detail#",
                "#Consumer RT&TPS#"
            ]
        );
        assert!(text.contains("001 Topic: T "), "{text}");
    }
}
