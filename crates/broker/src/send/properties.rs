// SPDX-License-Identifier: Apache-2.0
//! The properties of a message, rewritten on their way into the store in one pass, and what the broker must know of them.

use wire::properties::{pairs, raw_entries, text_entries};

use crate::config::Config;

/// Names with a meaning for a send.
pub(crate) mod name {
    pub(in crate::send) use wire::properties::name::INNER_NUM;
    pub(super) use wire::properties::name::{DELAY, KEYS, UNIQ_KEY, WAIT};

    pub(in crate::send) const MSG_REGION: &str = "MSG_REGION";
    pub(in crate::send) const TRACE_ON: &str = "TRACE_ON";
    pub(in crate::send) const CLUSTER: &str = "CLUSTER";
    pub(super) const POP_CK: &str = "POP_CK";
    pub(super) const PRIORITY: &str = "_SYS_MSG_PRIORITY_";
    pub(super) const SHARDING_KEY: &str = "__SHARDINGKEY";
    pub(in crate::send) const TRAN_MSG: &str = "TRAN_MSG";
    pub(crate) const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    pub(crate) const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    pub(crate) const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    pub(crate) const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
    pub(crate) const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
}

const NAME_END: u8 = 1;
const VALUE_END: u8 = 2;
/// Room for what the broker adds.
const ADDED_BYTES: usize = 160;

/// What the properties of a message ask for besides being delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asks<'a> {
    /// Delay level.
    pub(crate) delay: Option<&'a str>,
    /// Delivery at a time.
    pub(crate) deliver_ms: Option<&'a str>,
    /// Delivery after so many seconds.
    pub(crate) delay_sec: Option<&'a str>,
    /// Delivery after so many milliseconds.
    pub(crate) delay_ms: Option<&'a str>,
    /// It takes another message back.
    pub(crate) recalls: Option<&'a str>,
    /// A timer has seen it already.
    pub(crate) timer_out_ms: Option<&'a str>,
    /// It is a half message.
    pub(crate) is_half: bool,
    /// How many messages are inside it.
    pub(crate) inner: Option<&'a str>,
}

impl<'a> Asks<'a> {
    /// Takes note of a property; `false` when it asks for nothing.
    fn note(&mut self, key: &str, value: &'a str) -> bool {
        match key {
            name::DELAY => self.delay = Some(value),
            name::TRAN_MSG => self.is_half = value.eq_ignore_ascii_case("true"),
            name::INNER_NUM => self.inner = Some(value),
            name::TIMER_DELIVER_MS => self.deliver_ms = Some(value),
            name::TIMER_DELAY_SEC => self.delay_sec = Some(value),
            name::TIMER_DELAY_MS => self.delay_ms = Some(value),
            name::TIMER_DEL_UNIQKEY => self.recalls = Some(value),
            name::TIMER_OUT_MS => self.timer_out_ms = Some(value),
            _ => return false,
        }
        true
    }

    /// What properties ask for.
    pub(super) fn of(text: &'a [u8]) -> Asks<'a> {
        let mut asks = Asks::default();
        for (key, value) in pairs(text) {
            asks.note(key, value);
        }
        asks
    }

    /// Whether it asks for anything.
    pub(crate) fn is_any(&self) -> bool {
        *self != Asks::default()
    }

    /// The property that asks for delivery at a time of its own.
    pub(crate) fn timer(&self) -> Option<&'static str> {
        [
            (self.delay_sec, name::TIMER_DELAY_SEC),
            (self.delay_ms, name::TIMER_DELAY_MS),
            (self.deliver_ms, name::TIMER_DELIVER_MS),
            (self.recalls, name::TIMER_DEL_UNIQKEY),
        ]
        .into_iter()
        .find_map(|(value, name)| value.map(|_| name))
    }

    /// The property because of which a message cannot be part of a batch. A level that is no number is no reason to
    /// deliver at once either.
    pub(super) fn deferral(&self) -> Option<&'static str> {
        let is_delayed = |level: &str| level.parse::<i32>().map_or(true, |level| level > 0);
        if self.is_half {
            Some(name::TRAN_MSG)
        } else if self.inner.is_some() {
            Some(name::INNER_NUM)
        } else if self.delay.is_some_and(is_delayed) {
            Some(name::DELAY)
        } else {
            self.timer()
        }
    }
}

/// What kind of message something is, by its properties, or what kind a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageType {
    Normal,
    Fifo,
    Delay,
    Transaction,
    Priority,
}

impl MessageType {
    /// All kinds, in their order.
    pub(crate) const ALL: [MessageType; 5] = [
        MessageType::Normal,
        MessageType::Fifo,
        MessageType::Delay,
        MessageType::Transaction,
        MessageType::Priority,
    ];

    /// Its name among the labels of metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            MessageType::Normal => "normal",
            MessageType::Fifo => "fifo",
            MessageType::Delay => "delay",
            MessageType::Transaction => "transaction",
            MessageType::Priority => "priority",
        }
    }

    /// Its name, as in the attribute `message.type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            MessageType::Normal => "NORMAL",
            MessageType::Fifo => "FIFO",
            MessageType::Delay => "DELAY",
            MessageType::Transaction => "TRANSACTION",
            MessageType::Priority => "PRIORITY",
        }
    }

    fn of(asks: &Asks<'_>, has_sharding_key: bool, has_priority: bool) -> MessageType {
        let timed = [asks.delay, asks.deliver_ms, asks.delay_sec, asks.delay_ms];
        if asks.is_half {
            MessageType::Transaction
        } else if timed.iter().any(Option::is_some) {
            MessageType::Delay
        } else if has_sharding_key {
            MessageType::Fifo
        } else if has_priority {
            MessageType::Priority
        } else {
            MessageType::Normal
        }
    }
}

/// Properties after the pass.
pub(super) struct Sifted<'a> {
    /// The client's id.
    pub(super) unique: Option<&'a str>,
    /// The sender waits for the disk.
    pub(super) wait: bool,
    /// What asks for more than being delivered as it is.
    pub(super) asks: Asks<'a>,
    /// What kind of message it is.
    pub(super) kind: MessageType,
    /// There are keys.
    pub(super) has_keys: bool,
    /// Its queue, when that is chosen by priority.
    pub(super) priority: Option<i32>,
    /// It goes to a dead-letter topic, so it is not delayed any more.
    dead: bool,
}

/// Reads the properties of a single message, and writes those that stay behind `text`, in their order: not those that the
/// broker sets, or that nobody may send.
pub(super) fn sift<'a>(properties: &'a str, dead: bool, text: &mut Vec<u8>) -> Sifted<'a> {
    text.reserve(properties.len() + ADDED_BYTES);
    let mut sifted = Sifted {
        unique: None,
        wait: true,
        asks: Asks::default(),
        kind: MessageType::Normal,
        has_keys: false,
        priority: None,
        dead,
    };
    let (mut priority, mut has_sharding_key) = (None, false);
    for entry in text_entries(properties) {
        let (key, value) = (entry.name, entry.value);
        match key {
            name::POP_CK | name::MSG_REGION | name::TRACE_ON | name::CLUSTER => continue,
            name::DELAY if dead => continue,
            name::UNIQ_KEY => {
                sifted.unique = Some(value);
                continue;
            }
            name::PRIORITY => {
                priority = Some(value);
                // Put back below, unless it is none.
                if level_of(value).is_some() {
                    continue;
                }
            }
            name::WAIT => sifted.wait = value.eq_ignore_ascii_case("true"),
            name::KEYS => sifted.has_keys = !value.trim().is_empty(),
            name::SHARDING_KEY => has_sharding_key = true,
            _ => _ = sifted.asks.note(key, value),
        }
        text.extend_from_slice(entry.whole.as_bytes());
        text.push(VALUE_END);
    }
    sifted.kind = if dead {
        // A dead letter says that it is not delayed, and that counts.
        MessageType::Delay
    } else {
        MessageType::of(&sifted.asks, has_sharding_key, priority.is_some())
    };
    let priority = priority.filter(|_| sifted.kind == MessageType::Priority);
    sifted.priority = priority.and_then(level_of);
    sifted
}

/// A priority that chooses a queue.
fn level_of(priority: &str) -> Option<i32> {
    priority.parse().ok().filter(|level| *level >= 0)
}

impl Sifted<'_> {
    /// Writes those that the broker sets.
    pub(super) fn finish(&self, config: &Config, unique: &str, text: &mut Vec<u8>) {
        if let Some(priority) = self.priority {
            put(text, name::PRIORITY, &priority.to_string());
        }
        put(text, name::UNIQ_KEY, unique);
        put(text, name::MSG_REGION, &config.region_id);
        put(
            text,
            name::TRACE_ON,
            if config.trace_on { "true" } else { "false" },
        );
        put(text, name::CLUSTER, &config.broker_cluster_name);
        if self.dead {
            put(text, name::DELAY, "-1");
        }
    }
}

/// The first property of a message of a batch that asks for keeping it back.
pub(super) fn deferred_in(properties: &[u8]) -> Option<&'static str> {
    if !may_ask(properties) {
        return None;
    }
    let mut asks = Asks::default();
    for (key, value) in pairs(properties) {
        asks.note(key, value);
    }
    asks.deferral()
}

/// Whether a name begins as those of [`Asks::note`] do, which most messages have none of.
fn may_ask(properties: &[u8]) -> bool {
    raw_entries(properties).any(|entry| match entry.first() {
        Some(b'D') => entry.starts_with(b"DELAY"),
        Some(b'T') => entry.starts_with(b"TIMER_") || entry.starts_with(b"TRAN_MSG"),
        Some(b'I') => entry.starts_with(b"INNER_NUM"),
        _ => false,
    })
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

    fn sifted(properties: &str, dead: bool) -> Sifted<'_> {
        sift(properties, dead, &mut Vec::new())
    }

    fn rewritten(properties: &str, dead: bool) -> String {
        let mut text = Vec::new();
        sift(properties, dead, &mut text).finish(&Config::default(), "ID", &mut text);
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
        assert_eq!(sifted(sent, false).unique, Some("U"));
    }

    #[test]
    fn a_dead_letter_has_no_delay_left() {
        let delayed = "DELAY\u{1}5\u{2}a\u{1}1\u{2}";
        assert_eq!(rewritten(delayed, true), format!("a=1;{ADDED}DELAY=-1;"));
        assert!(!sifted(delayed, true).asks.is_any());
    }

    #[test]
    fn what_must_be_kept_back_is_found() {
        let deferred = |text: &str| sifted(text, false).asks.deferral();
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
        let names = [
            name::DELAY,
            name::TRAN_MSG,
            name::INNER_NUM,
            name::TIMER_DELIVER_MS,
            name::TIMER_DELAY_SEC,
            name::TIMER_DELAY_MS,
            name::TIMER_DEL_UNIQKEY,
            name::TIMER_OUT_MS,
        ];
        for name in names {
            let noted = Asks::default().note(name, "1");
            assert!(
                noted && may_ask(format!("a\u{1}1\u{2}{name}\u{1}1").as_bytes()),
                "{name}"
            );
        }
        assert!(!may_ask(b"KEYS\x01DELAY\x02TAGS\x01TIMER_\x02"));
    }

    #[test]
    fn priority_holds_only_for_messages_of_no_other_type() {
        assert_eq!(sifted("_SYS_MSG_PRIORITY_\u{1}3", false).priority, Some(3));
        assert_eq!(
            rewritten("_SYS_MSG_PRIORITY_\u{1}3", false),
            format!("_SYS_MSG_PRIORITY_=3;{ADDED}")
        );
        assert_eq!(
            rewritten("_SYS_MSG_PRIORITY_\u{1}3\u{2}__SHARDINGKEY\u{1}k", false),
            format!("__SHARDINGKEY=k;{ADDED}")
        );
        for none in ["_SYS_MSG_PRIORITY_\u{1}-1", "_SYS_MSG_PRIORITY_\u{1}high"] {
            assert_eq!(sifted(none, false).priority, None);
            let stays = none.replace('\u{1}', "=");
            assert_eq!(rewritten(none, false), format!("{stays};{ADDED}"));
        }
    }

    #[test]
    fn waiting_for_the_disk_is_the_default() {
        assert!(sifted("", false).wait);
        assert!(!sifted("WAIT\u{1}false", false).wait);
    }
}
