// SPDX-License-Identifier: Apache-2.0
//! Names of topics and groups: which are legal, which belong to the system, which mean something.

use wire::Str;

/// Longest topic name in bytes.
pub(crate) const TOPIC_BYTES_MAX: usize = 127;
/// Longest name of a retry or dead-letter topic.
pub(crate) const RETRY_TOPIC_BYTES_MAX: usize = 255;
/// Longest group name in bytes.
pub(crate) const GROUP_BYTES_MAX: usize = 120;

/// Prefix of a group's topic for another try.
pub(crate) const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a group's topic for messages that are given up.
pub(crate) const DLQ_PREFIX: &str = "%DLQ%";
/// Prefix of the topics that the system makes for itself.
const SYSTEM_PREFIX: &str = "rmq_sys_";
/// Prefix of the groups that the system makes for itself.
pub(crate) const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

pub(crate) const AUTO_CREATE_TOPIC: &str = "TBW102";
pub(crate) const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Who takes delayed messages out of it, by the account of the reference.
pub(crate) const SCHEDULE_GROUP: &str = "SCHEDULE_CONSUMER";
pub(crate) const BENCHMARK_TOPIC: &str = "BenchmarkTest";
pub(crate) const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
pub(crate) const HALF_OP_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
pub(crate) const ROCKSDB_HALF_TOPIC: &str = "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC";
pub(crate) const ROCKSDB_HALF_OP_TOPIC: &str = "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC";
pub(crate) const CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
pub(crate) const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
pub(crate) const OFFSET_MOVED_TOPIC: &str = "OFFSET_MOVED_EVENT";
pub(crate) const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
const CHECKPOINT_TOPIC: &str = "CHECKPOINT_TOPIC";
const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";

/// Topics that are the system's whatever the broker is called; those named after it are in `topic::system`.
pub(crate) const SYSTEM_TOPICS: &[&str] = &[
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    HALF_TOPIC,
    TRACE_TOPIC,
    HALF_OP_TOPIC,
    ROCKSDB_HALF_TOPIC,
    ROCKSDB_HALF_OP_TOPIC,
    CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_TOPIC,
    CHECKPOINT_TOPIC,
];

/// Topics that only the broker itself writes to.
const NO_SEND_TOPICS: &[&str] = &[
    SCHEDULE_TOPIC,
    HALF_TOPIC,
    HALF_OP_TOPIC,
    ROCKSDB_HALF_TOPIC,
    ROCKSDB_HALF_OP_TOPIC,
    CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_TOPIC,
];

/// Groups that exist from the start.
pub(crate) const SYSTEM_GROUPS: &[&str] = &[
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Whether the group is one of the system's own, in which many kinds of tools meet.
pub(crate) fn is_system_group(group: &str) -> bool {
    SYSTEM_GROUPS.contains(&group) || group.starts_with(SYSTEM_GROUP_PREFIX)
}

/// Whether the group is one that the system makes for itself, however that is written.
pub(crate) fn has_system_group_prefix(group: &str) -> bool {
    let start = group.as_bytes().get(..SYSTEM_GROUP_PREFIX.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(SYSTEM_GROUP_PREFIX.as_bytes()))
}

/// The retry topic of a group.
pub(crate) fn retry_topic(group: &str) -> Str {
    [RETRY_PREFIX, group].into_iter().collect()
}

/// The topic whose messages a group was handed out and did not settle: `topic` itself unless it is such a retry topic.
pub(crate) fn popped_topic<'a>(topic: &'a str, group: &str) -> &'a str {
    let marked = topic
        .strip_prefix(RETRY_PREFIX)
        .and_then(|rest| rest.strip_prefix(group));
    let original = marked.and_then(|rest| rest.strip_prefix(['_', '+']));
    original.unwrap_or(topic)
}

/// The dead-letter topic of a group.
pub(crate) fn dlq_topic(group: &str) -> Str {
    [DLQ_PREFIX, group].into_iter().collect()
}

/// The group whose retry topic this is: `%RETRY%group`, or `%RETRY%group+topic` where pops of one topic come again.
/// (`%RETRY%group_topic`, the older name of those, does not say where the group ends, to the reference neither.)
pub(crate) fn group_of_retry_topic(topic: &str) -> Option<&str> {
    let rest = topic.strip_prefix(RETRY_PREFIX)?;
    match rest.split_once('+') {
        Some((group, popped)) if !popped.is_empty() && !popped.contains('+') => Some(group),
        _ => Some(rest),
    }
}

/// Whether the topic is one that a group has for what it failed to consume.
pub(crate) fn is_derived(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX)
}

/// Whether nobody but the broker may send to the topic.
pub(crate) fn takes_no_sends(topic: &str) -> bool {
    NO_SEND_TOPICS.contains(&topic)
}

/// Queues of a topic that a message which waits somewhere may be meant for.
const REAL_QUEUES_MAX: u32 = 1 << 16;

/// Whether a message that waits somewhere may claim to be meant for this topic: anybody may write such a claim. The topic
/// need not exist any more.
pub(crate) fn may_be_real(topic: &str) -> bool {
    !takes_no_sends(topic) && topic_error(topic).is_none()
}

/// The queue such a message is meant for; `None`: no topic has it.
pub(crate) fn real_queue_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id < REAL_QUEUES_MAX)
}

/// Whether the name begins like those of the system's own topics.
pub(crate) fn has_system_prefix(topic: &str) -> bool {
    topic.starts_with(SYSTEM_PREFIX)
}

/// Whether a character is none of `%|a-zA-Z0-9_-`.
pub(crate) fn has_illegal_character(name: &str) -> bool {
    !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'%' | b'|' | b'_' | b'-'))
}

/// What is wrong with a topic name, if something is, in the words of the reference: tools print them.
pub(crate) fn topic_error(topic: &str) -> Option<String> {
    if is_derived(topic) && !topic.trim().is_empty() && !has_illegal_character(topic) {
        let is_long = topic.len() > RETRY_TOPIC_BYTES_MAX;
        return is_long.then(|| {
            format!(
                "The specified topic is DLQ or Retry topic: {}, and it's longer than topic max length: \
                 {RETRY_TOPIC_BYTES_MAX}",
                quoted(topic)
            )
        });
    }
    name_error("topic", topic, TOPIC_BYTES_MAX)
}

/// What is wrong with a group name, if something is.
pub(crate) fn group_error(group: &str) -> Option<String> {
    name_error("group", group, GROUP_BYTES_MAX)
}

fn name_error(what: &str, name: &str, bytes_max: usize) -> Option<String> {
    if name.trim().is_empty() {
        Some(format!("The specified {what} is blank."))
    } else if has_illegal_character(name) {
        Some(format!(
            "The specified {what}: {}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
            quoted(name)
        ))
    } else if name.len() > bytes_max {
        Some(format!(
            "The specified {what}: {}, is longer than {what} max length: {bytes_max}",
            quoted(name)
        ))
    } else {
        None
    }
}

/// As much of a name as an answer says: it may be as long as a frame.
pub(crate) fn quoted(name: &str) -> String {
    const TOLD_CHARS: usize = 512;
    match name.char_indices().nth(TOLD_CHARS) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_name_has_legal_characters_and_a_bounded_length() {
        assert_eq!(topic_error("T_1-a|b%"), None);
        assert_eq!(topic_error(&"a".repeat(127)), None);
        assert!(topic_error(&"a".repeat(128)).unwrap().contains("127"));
        assert!(topic_error("bad topic").unwrap().contains("illegal characters"));
        assert!(topic_error(" ").unwrap().contains("blank"));
        assert!(topic_error("ü").unwrap().contains("illegal characters"));
    }

    #[test]
    fn what_is_wrong_with_a_name_is_said_as_the_reference_says_it_but_not_at_any_length() {
        let allowed = "contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$";
        assert_eq!(
            topic_error("a b").unwrap(),
            format!("The specified topic: a b, {allowed}")
        );
        assert_eq!(
            group_error("a b").unwrap(),
            format!("The specified group: a b, {allowed}")
        );
        assert_eq!(group_error("").unwrap(), "The specified group is blank.");
        let long = "T".repeat(128);
        let told = format!("The specified topic: {long}, is longer than topic max length: 127");
        assert_eq!(topic_error(&long).unwrap(), told);
        assert!(topic_error(&" ".repeat(9_000)).unwrap().len() < 1_000);
        assert!(topic_error(&"ü".repeat(9_000)).unwrap().len() < 2_000);
        let derived = topic_error(&retry_topic(&"g".repeat(300))).unwrap();
        assert!(
            derived.ends_with("longer than topic max length: 255"),
            "{derived}"
        );
    }

    #[test]
    fn a_retry_topic_names_its_group() {
        let groups = ["%RETRY%G", "%RETRY%G+T", "%RETRY%G_T", "%RETRY%G+", "G"].map(group_of_retry_topic);
        assert_eq!(groups, [Some("G"), Some("G"), Some("G_T"), Some("G+"), None]);
    }

    #[test]
    fn retry_and_dead_letter_topics_may_be_longer() {
        let group = "g".repeat(120);
        assert_eq!(topic_error(&retry_topic(&group)), None);
        assert_eq!(topic_error(&dlq_topic(&group)), None);
        assert!(
            topic_error(&retry_topic(&"g".repeat(249)))
                .unwrap()
                .contains("255")
        );
        assert!(group_error(&"g".repeat(121)).is_some());
    }

    #[test]
    fn the_timer_topic_takes_sends_but_the_schedule_topic_does_not() {
        assert!(!takes_no_sends(TIMER_TOPIC));
        assert!(takes_no_sends(SCHEDULE_TOPIC));
    }
}
