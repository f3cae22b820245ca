// SPDX-License-Identifier: Apache-2.0
//! Free settings of topics and groups, and how requests change them: `+key=value` sets, `-key` removes.

use std::collections::BTreeMap;

use thiserror::Error;
use wire::Str;

/// Settings by key.
pub(crate) type Attributes = BTreeMap<Str, Str>;

/// One attribute that may be set.
pub(crate) struct Attribute {
    name: &'static str,
    values: Values,
    /// Whether it may change after the topic or group was made.
    changeable: bool,
}

enum Values {
    OneOf(&'static [&'static str]),
    Between(i64, i64),
    /// `500ms`, `30s`, `10m`, `2h`, `1d`; at most so many ms.
    Duration(i64),
}

/// What a topic may be told.
pub(crate) const OF_TOPICS: &[Attribute] = &[
    Attribute {
        name: QUEUE_TYPE,
        values: Values::OneOf(&[BATCH_CQ, "SimpleCQ"]),
        changeable: false,
    },
    Attribute {
        name: CLEANUP_POLICY,
        values: Values::OneOf(&["DELETE", COMPACTION]),
        changeable: false,
    },
    Attribute {
        name: MESSAGE_TYPE,
        values: Values::OneOf(&[
            "UNSPECIFIED",
            "NORMAL",
            "FIFO",
            "DELAY",
            "TRANSACTION",
            "PRIORITY",
            MIXED,
        ]),
        changeable: true,
    },
    Attribute {
        name: "reserve.time",
        values: Values::Between(-1, i64::MAX),
        changeable: true,
    },
    // Not in the reference, which keeps attributes that it does not know.
    Attribute {
        name: DEDUP_WINDOW,
        values: Values::Duration(DEDUP_WINDOW_MAX_MS),
        changeable: true,
    },
];

/// What a group may be told.
pub(crate) const OF_GROUPS: &[Attribute] = &[Attribute {
    name: "priority.factor",
    values: Values::Between(0, 100),
    changeable: true,
}];

pub(crate) const DEDUP_WINDOW: &str = "dedup.window";
const DEDUP_WINDOW_MAX_MS: i64 = 7 * 86_400_000;
pub(crate) const MESSAGE_TYPE: &str = "message.type";
pub(crate) const QUEUE_TYPE: &str = "queue.type";
pub(crate) const BATCH_CQ: &str = "BatchCQ";
pub(crate) const MIXED: &str = "MIXED";
pub(crate) const CLEANUP_POLICY: &str = "cleanup.policy";
pub(crate) const COMPACTION: &str = "COMPACTION";

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum AttributeError {
    #[error("add/alter attribute format is wrong: {0}")]
    WrongAdd(Str),
    #[error("delete attribute format is wrong: {0}")]
    WrongDelete(Str),
    #[error("wrong format key: {0}")]
    NoSign(Str),
    #[error("key duplication: {0}")]
    Twice(Str),
    #[error("unsupported key: {0}")]
    Unsupported(Str),
    #[error("only add attribute is supported while creating topic. key: {0}")]
    DeleteOnCreate(Str),
    #[error("attempt to delete a nonexistent key: {0}")]
    DeleteMissing(Str),
    #[error("attempt to update an unchangeable attribute. key: {0}")]
    Unchangeable(Str),
    #[error("{0}: value is not in set: [{1}]")]
    NotInSet(Str, String),
    #[error("{0}: value is not in range({1}, {2})")]
    NotInRange(Str, i64, i64),
    #[error("{0}: value is not a duration from 1ms to {1}ms, written as 500ms, 30s, 10m, 2h or 1d")]
    NotADuration(Str, i64),
}

/// The changes of a request, by signed key.
pub(crate) fn parse(text: &str) -> Result<Attributes, AttributeError> {
    let mut changes = Attributes::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, value) = match part.split_once('=') {
            Some((key, _)) if !key.starts_with('+') => return Err(AttributeError::WrongAdd(key.into())),
            Some((key, value)) => (key, value),
            None if !part.starts_with('-') => return Err(AttributeError::WrongDelete(part.into())),
            None => (part, ""),
        };
        if changes.insert(key.into(), value.into()).is_some() {
            return Err(AttributeError::Twice(key.into()));
        }
    }
    Ok(changes)
}

/// The attributes after the changes; `current` is `None` when the topic or group is being made.
pub(crate) fn alter(
    allowed: &[Attribute],
    current: Option<&Attributes>,
    changes: &Attributes,
) -> Result<Attributes, AttributeError> {
    let mut altered = current.cloned().unwrap_or_default();
    let mut seen = Vec::new();
    for (signed, value) in changes {
        let (add, key) = match (signed.strip_prefix('+'), signed.strip_prefix('-')) {
            (Some(key), _) => (true, key),
            (_, Some(key)) => (false, key),
            _ if current.is_none() => return Err(AttributeError::DeleteOnCreate(signed.clone())),
            _ => return Err(AttributeError::NoSign(signed.clone())),
        };
        if seen.contains(&key) {
            return Err(AttributeError::Twice(key.into()));
        }
        seen.push(key);
        if current.is_none() && !add {
            return Err(AttributeError::DeleteOnCreate(key.into()));
        }
        if !add && !altered.contains_key(key) {
            return Err(AttributeError::DeleteMissing(key.into()));
        }
        let attribute = allowed
            .iter()
            .find(|a| a.name == key)
            .ok_or_else(|| AttributeError::Unsupported(key.into()))?;
        if current.is_some() && !attribute.changeable {
            return Err(AttributeError::Unchangeable(key.into()));
        }
        if add {
            attribute.verify(value)?;
            altered.insert(key.into(), value.clone());
        } else {
            altered.remove(key);
        }
    }
    Ok(altered)
}

impl Attribute {
    fn verify(&self, value: &str) -> Result<(), AttributeError> {
        match self.values {
            Values::OneOf(set) if set.contains(&value) => Ok(()),
            Values::OneOf(set) => Err(AttributeError::NotInSet(self.name.into(), set.join(", "))),
            Values::Between(min, max) => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(()),
                _ => Err(AttributeError::NotInRange(self.name.into(), min, max)),
            },
            Values::Duration(max) => match duration_ms(value) {
                Some(ms) if (1..=max).contains(&ms) => Ok(()),
                _ => Err(AttributeError::NotADuration(self.name.into(), max)),
            },
        }
    }
}

/// A duration with its unit.
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alter_topic(current: Option<&str>, changes: &str) -> Result<String, AttributeError> {
        let current = current.map(|text| alter(OF_TOPICS, None, &parse(text).unwrap()).unwrap());
        let altered = alter(OF_TOPICS, current.as_ref(), &parse(changes)?)?;
        Ok(altered
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>()
            .join(","))
    }

    #[test]
    fn attributes_are_set_changed_and_removed_by_sign() {
        assert_eq!(
            alter_topic(None, "+message.type=FIFO,+reserve.time=5").unwrap(),
            "message.type=FIFO,reserve.time=5"
        );
        assert_eq!(
            alter_topic(Some("+message.type=FIFO"), "+message.type=NORMAL").unwrap(),
            "message.type=NORMAL"
        );
        assert_eq!(
            alter_topic(Some("+message.type=FIFO"), "-message.type").unwrap(),
            ""
        );
        assert_eq!(
            alter_topic(Some("+cleanup.policy=DELETE"), "").unwrap(),
            "cleanup.policy=DELETE"
        );
    }

    #[test]
    fn a_wrong_change_says_what_is_wrong() {
        let error = |current, changes| alter_topic(current, changes).unwrap_err().to_string();
        assert_eq!(error(None, "+foo=1"), "unsupported key: foo");
        assert_eq!(
            error(None, "-message.type"),
            "only add attribute is supported while creating topic. key: message.type"
        );
        assert!(error(Some("+cleanup.policy=DELETE"), "+cleanup.policy=DELETE").contains("unchangeable"));
        assert!(error(Some(""), "-message.type").contains("nonexistent"));
        assert!(error(None, "+message.type=ODD").contains("not in set"));
        assert!(error(None, "+reserve.time=-2").contains("not in range"));
        assert!(error(None, "+dedup.window=10").contains("not a duration"));
        assert!(error(None, "+dedup.window=0s").contains("not a duration"));
        assert!(error(None, "+dedup.window=8d").contains("not a duration"));
        assert_eq!(
            alter_topic(Some(""), "+dedup.window=10m").unwrap(),
            "dedup.window=10m"
        );
        assert!(error(None, "message.type=FIFO").contains("format is wrong"));
        assert!(error(None, "message.type").contains("format is wrong"));
        assert!(error(None, "+reserve.time=1,+reserve.time=2").contains("duplication"));
    }
}
