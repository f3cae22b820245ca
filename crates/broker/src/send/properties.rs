// SPDX-License-Identifier: Apache-2.0
//! The properties of a message, rewritten on their way into the store in one pass, and what the broker must know of them.

use wire::properties::pairs;

use crate::config::Config;

/// Names with a meaning for a send.
pub(super) mod name {
    pub(super) use wire::properties::name::{DELAY, KEYS, UNIQ_KEY, WAIT};

    pub(super) const MSG_REGION: &str = "MSG_REGION";
    pub(super) const TRACE_ON: &str = "TRACE_ON";
    pub(super) const CLUSTER: &str = "CLUSTER";
    pub(super) const POP_CK: &str = "POP_CK";
    pub(super) const PRIORITY: &str = "_SYS_MSG_PRIORITY_";
    pub(super) const SHARDING_KEY: &str = "__SHARDINGKEY";
    pub(in crate::send) const TRAN_MSG: &str = "TRAN_MSG";
    /// How many messages are inside this one.
    pub(in crate::send) const INNER_NUM: &str = "INNER_NUM";
    pub(super) const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    pub(super) const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    pub(super) const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    pub(super) const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
}

const NAME_END: u8 = 1;
const VALUE_END: u8 = 2;
/// Room for what the broker adds.
const ADDED_BYTES: usize = 160;

/// Properties after the pass.
pub(super) struct Sifted<'a> {
    /// Those that stay, in their order.
    text: Vec<u8>,
    /// The client's id.
    pub(super) unique: Option<&'a str>,
    /// The sender waits for the disk.
    pub(super) wait: bool,
    /// The first property that asks for keeping the message back.
    pub(super) deferred: Option<&'static str>,
    /// There are keys.
    pub(super) has_keys: bool,
    /// Its queue, when that is chosen by priority.
    pub(super) priority: Option<i32>,
    /// It goes to a dead-letter topic, so it is not delayed any more.
    dead: bool,
}

/// Reads the properties of a single message and drops those that the broker sets, or that nobody may send.
pub(super) fn sift(properties: &str, dead: bool) -> Sifted<'_> {
    let mut text = Vec::with_capacity(properties.len() + ADDED_BYTES);
    let mut sifted = Sifted {
        text: Vec::new(),
        unique: None,
        wait: true,
        deferred: None,
        has_keys: false,
        priority: None,
        dead,
    };
    let (mut priority, mut has_other_type) = (None, false);
    for (key, value) in pairs(properties.as_bytes()) {
        match key {
            name::POP_CK | name::MSG_REGION | name::TRACE_ON | name::CLUSTER => continue,
            name::DELAY if dead => continue,
            name::UNIQ_KEY => {
                sifted.unique = Some(value);
                continue;
            }
            name::PRIORITY => {
                priority = value.parse().ok().filter(|priority| *priority >= 0);
                continue;
            }
            name::WAIT => sifted.wait = value.eq_ignore_ascii_case("true"),
            name::KEYS => sifted.has_keys = true,
            name::SHARDING_KEY => has_other_type = true,
            _ => {
                sifted.deferred = sifted.deferred.or_else(|| deferral(key, value));
                has_other_type |= key == name::DELAY;
            }
        }
        put(&mut text, key, value);
    }
    sifted.priority = priority.filter(|_| !has_other_type);
    sifted.text = text;
    sifted
}

impl Sifted<'_> {
    /// The properties as they are stored.
    pub(super) fn finish(self, config: &Config, unique: &str) -> Vec<u8> {
        let mut text = self.text;
        if let Some(priority) = self.priority {
            put(&mut text, name::PRIORITY, &priority.to_string());
        }
        put(&mut text, name::UNIQ_KEY, unique);
        put(&mut text, name::MSG_REGION, &config.region_id);
        put(
            &mut text,
            name::TRACE_ON,
            if config.trace_on { "true" } else { "false" },
        );
        put(&mut text, name::CLUSTER, &config.broker_cluster_name);
        if self.dead {
            put(&mut text, name::DELAY, "-1");
        }
        text
    }
}

/// The first property of a message of a batch that asks for keeping it back.
pub(super) fn deferred_in(properties: &[u8]) -> Option<&'static str> {
    pairs(properties).find_map(|(key, value)| deferral(key, value))
}

/// Whether a property asks for more than delivering the message as it is.
fn deferral(key: &str, value: &str) -> Option<&'static str> {
    match key {
        // What is no number is no reason to deliver at once either.
        name::DELAY => value
            .parse::<i64>()
            .map_or(true, |level| level > 0)
            .then_some(name::DELAY),
        name::TRAN_MSG => value.eq_ignore_ascii_case("true").then_some(name::TRAN_MSG),
        // Consumers are to take it apart, which the store knows nothing of.
        name::INNER_NUM => Some(name::INNER_NUM),
        name::TIMER_DELIVER_MS => Some(name::TIMER_DELIVER_MS),
        name::TIMER_DELAY_SEC => Some(name::TIMER_DELAY_SEC),
        name::TIMER_DELAY_MS => Some(name::TIMER_DELAY_MS),
        name::TIMER_DEL_UNIQKEY => Some(name::TIMER_DEL_UNIQKEY),
        _ => None,
    }
}

fn put(text: &mut Vec<u8>, key: &str, value: &str) {
    text.extend_from_slice(key.as_bytes());
    text.push(NAME_END);
    text.extend_from_slice(value.as_bytes());
    text.push(VALUE_END);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(properties: &str, dead: bool) -> String {
        let text = sift(properties, dead).finish(&Config::default(), "ID");
        String::from_utf8(text)
            .unwrap()
            .replace('\u{1}', "=")
            .replace('\u{2}', ";")
    }

    const ADDED: &str = "UNIQ_KEY=ID;MSG_REGION=DefaultRegion;TRACE_ON=true;CLUSTER=DefaultCluster;";

    #[test]
    fn the_properties_of_the_user_stay_and_those_of_the_broker_are_set_once() {
        let sent =
            "a\u{1}1\u{2}POP_CK\u{1}x\u{2}CLUSTER\u{1}other\u{2}empty\u{1}\u{2}TAGS\u{1}T\u{2}UNIQ_KEY\u{1}U";
        assert_eq!(rewritten(sent, false), format!("a=1;TAGS=T;{ADDED}"));
        assert_eq!(rewritten("", false), ADDED);
        assert_eq!(sift(sent, false).unique, Some("U"));
    }

    #[test]
    fn a_dead_letter_has_no_delay_left() {
        let delayed = "DELAY\u{1}5\u{2}a\u{1}1\u{2}";
        assert_eq!(rewritten(delayed, true), format!("a=1;{ADDED}DELAY=-1;"));
        assert_eq!(sift(delayed, true).deferred, None);
    }

    #[test]
    fn what_must_be_kept_back_is_found() {
        let deferred = |text: &str| sift(text, false).deferred;
        assert_eq!(deferred("DELAY\u{1}3"), Some("DELAY"));
        assert_eq!(deferred("DELAY\u{1}0"), None);
        assert_eq!(deferred("DELAY\u{1}soon"), Some("DELAY"));
        assert_eq!(deferred("TRAN_MSG\u{1}TRUE"), Some("TRAN_MSG"));
        assert_eq!(deferred("TRAN_MSG\u{1}false"), None);
        assert_eq!(deferred("TIMER_DELIVER_MS\u{1}1"), Some("TIMER_DELIVER_MS"));
        assert_eq!(deferred("INNER_NUM\u{1}2"), Some("INNER_NUM"));
        assert_eq!(
            deferred_in(b"a\x011\x02TIMER_DELAY_SEC\x015\x02"),
            Some("TIMER_DELAY_SEC")
        );
    }

    #[test]
    fn priority_holds_only_for_messages_of_no_other_type() {
        assert_eq!(sift("_SYS_MSG_PRIORITY_\u{1}3", false).priority, Some(3));
        assert_eq!(
            rewritten("_SYS_MSG_PRIORITY_\u{1}3", false),
            format!("_SYS_MSG_PRIORITY_=3;{ADDED}")
        );
        assert_eq!(
            rewritten("_SYS_MSG_PRIORITY_\u{1}3\u{2}__SHARDINGKEY\u{1}k", false),
            format!("__SHARDINGKEY=k;{ADDED}")
        );
        assert_eq!(rewritten("_SYS_MSG_PRIORITY_\u{1}-1", false), ADDED);
    }

    #[test]
    fn waiting_for_the_disk_is_the_default() {
        assert!(sift("", false).wait);
        assert!(!sift("WAIT\u{1}false", false).wait);
    }
}
