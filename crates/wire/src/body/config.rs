// SPDX-License-Identifier: Apache-2.0
//! Settings changed by requests: what one may carry, what broker and name server say becomes of each setting, the file that
//! they keep of it, and the answer to `LIST_CONFIG_CHANGES`. What is taken, said and kept is bounded in number and length.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::api::config::ListConfigChanges;
use crate::java_properties::Entry;

/// Settings of one request, and the bytes of each name and value.
const ENTRIES_MAX: usize = 1000;
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 4096;
/// Characters of an unknown name that an answer shows.
const UNKNOWN_CHARS_MAX: usize = 64;
/// Changes that are kept.
pub const CHANGES_MAX: usize = 1000;
/// Characters of a value that are kept.
const VALUE_CHARS_MAX: usize = 256;
/// Changes of an answer where nothing is said.
const LISTED: i32 = 100;

/// When a change takes effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Effect {
    /// It has.
    Now,
    /// When the server is started again.
    AfterRestart,
    /// Never: the setting has no meaning here.
    #[default]
    Never,
}

/// What is wrong with the settings of a request before anybody looks at what they say, if something is.
#[must_use]
pub fn limits_error(entries: &[Entry]) -> Option<String> {
    if entries.len() > ENTRIES_MAX {
        let number = entries.len();
        return Some(format!(
            "{number} settings in one request, allowed are {ENTRIES_MAX}"
        ));
    }
    entries.iter().find_map(|Entry { key, value, .. }| {
        let (key_bytes, value_bytes) = (key.len(), value.len());
        if key_bytes > KEY_BYTES_MAX {
            let key = cut(key);
            return Some(format!(
                "{key}: the name has {key_bytes} bytes, allowed are {KEY_BYTES_MAX}"
            ));
        }
        (value_bytes > VALUE_BYTES_MAX)
            .then(|| format!("{key}: {value_bytes} bytes, allowed are {VALUE_BYTES_MAX}"))
    })
}

/// Whether there is a file that settings are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// There is.
    InFile,
    /// A broker may run without one: what takes effect at the next start never does.
    Nowhere,
}

/// What becomes of the settings of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Those that are known.
    pub changes: Vec<ConfigChange>,
    /// Names that are not.
    pub unknown: Vec<Str>,
}

impl Done {
    /// Each name, and what becomes of it. Empty where nothing was asked.
    #[must_use]
    pub fn remark(&self, kept: Kept) -> String {
        let of = |effect: Effect| {
            let changes = self.changes.iter().filter(move |change| change.effect == effect);
            changes.map(|change| change.key.to_string()).collect::<Vec<_>>()
        };
        let after_restart = match kept {
            Kept::InFile => "takes effect at the next start",
            Kept::Nowhere => "would take effect at the next start, but is not saved",
        };
        let parts = [
            ("in effect now", of(Effect::Now)),
            (after_restart, of(Effect::AfterRestart)),
            ("ignored, without a meaning here", of(Effect::Never)),
            (
                "ignored, unknown",
                self.unknown.iter().map(|key| cut(key)).collect(),
            ),
        ];
        let mut said: Vec<String> = parts
            .into_iter()
            .filter(|(_, keys)| !keys.is_empty())
            .map(|(what, keys)| format!("{what}: {}", keys.join(", ")))
            .collect();
        if kept == Kept::Nowhere && !self.changes.is_empty() {
            said.push("not saved: the broker runs without a configuration file".to_owned());
        }
        said.join("; ")
    }
}

/// A name as far as it is shown.
fn cut(key: &str) -> String {
    match key.char_indices().nth(UNKNOWN_CHARS_MAX) {
        None => key.to_owned(),
        Some((end, _)) => format!("{}…", key.get(..end).unwrap_or_default()),
    }
}

/// One change of one setting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigChange {
    /// When, ms since 1970.
    pub at_ms: i64,
    /// Client id that the connection gave in a heartbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Str>,
    /// When it takes effect.
    pub effect: Effect,
    /// The value before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Str>,
    /// The setting.
    pub key: Str,
    /// Where the request came from, `host:port`.
    pub peer: Str,
    /// Counts the changes of this server, from 1.
    pub seq: i64,
    /// The value since.
    pub to: Str,
    /// Access key that the request named. Nobody has checked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Str>,
}

/// Who changes settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedBy {
    /// Address, `host:port`.
    pub peer: Str,
    /// Client id, if it is known.
    pub client_id: Option<Str>,
    /// Access key, if it is named.
    pub user: Option<Str>,
}

/// Changes, oldest first. Also the layout of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigHistory {
    /// The changes.
    pub changes: Vec<ConfigChange>,
}

/// Some changes, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigChanges {
    /// The changes.
    pub changes: Vec<ConfigChange>,
    /// Where the next question goes on, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

impl ConfigHistory {
    /// Adds changes that were made together. `key`, `from`, `to` and `effect` of them count.
    pub fn note(&mut self, by: &ChangedBy, at_ms: i64, changes: Vec<ConfigChange>) {
        for change in changes {
            let seq = self.changes.last().map_or(1, |last| last.seq.saturating_add(1));
            self.changes.push(ConfigChange {
                at_ms,
                client_id: by.client_id.as_deref().map(shortened),
                from: change.from.as_deref().map(shortened),
                key: shortened(&change.key),
                peer: by.peer.clone(),
                seq,
                to: shortened(&change.to),
                user: by.user.as_deref().map(shortened),
                ..change
            });
        }
        let surplus = self.changes.len().saturating_sub(CHANGES_MAX);
        self.changes.drain(..surplus);
    }

    /// The newest changes, of one setting or of all, in front of `next`.
    pub fn page(&self, question: &ListConfigChanges) -> ConfigChanges {
        let (key, next) = (question.key.as_deref(), question.next);
        let max = usize::try_from(question.max.unwrap_or(LISTED).max(1)).unwrap_or(1);
        let mut wanted = self.changes.iter().rev().filter(|change| {
            key.is_none_or(|key| change.key == key) && next.is_none_or(|next| change.seq < next)
        });
        let changes: Vec<ConfigChange> = wanted.by_ref().take(max).cloned().collect();
        let has_more = wanted.next().is_some();
        ConfigChanges {
            next: changes.last().map(|last| last.seq).filter(|_| has_more),
            changes,
        }
    }
}

fn shortened(text: &str) -> Str {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        None => text.into(),
        Some((end, _)) => format!("{}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, to: &str) -> ConfigChange {
        ConfigChange {
            key: key.into(),
            to: to.into(),
            ..ConfigChange::default()
        }
    }

    #[test]
    fn the_newest_changes_are_kept_and_counted_on() {
        let mut history = ConfigHistory::default();
        for n in 0..1500 {
            history.note(
                &ChangedBy::default(),
                n,
                vec![change("a", "x"), change("b", &"y".repeat(1000))],
            );
        }
        assert_eq!(history.changes.len(), CHANGES_MAX);
        assert_eq!(history.changes.last().map(|last| last.seq), Some(3000));
        let longest = history.changes.iter().map(|change| change.to.len()).max();
        assert!(longest < Some(300), "{longest:?}");
    }

    #[test]
    fn pages_go_back_in_time_and_end() {
        let mut history = ConfigHistory::default();
        for key in ["a", "b", "a", "b", "a"] {
            history.note(&ChangedBy::default(), 0, vec![change(key, "x")]);
        }
        let seqs = |page: &ConfigChanges| page.changes.iter().map(|change| change.seq).collect::<Vec<_>>();
        let ask = |key: Option<&str>, max, next| {
            history.page(&ListConfigChanges {
                key: key.map(Str::from),
                max,
                next,
            })
        };
        let first = ask(None, Some(2), None);
        assert_eq!((seqs(&first), first.next), (vec![5, 4], Some(4)));
        let last = ask(None, Some(3), first.next);
        assert_eq!((seqs(&last), last.next), (vec![3, 2, 1], None));
        let one = ask(Some("b"), None, None);
        assert_eq!((seqs(&one), one.next), (vec![4, 2], None));
        assert_eq!(ask(Some("c"), Some(-1), None), ConfigChanges::default());
    }

    fn entry(key: &str, value: &str) -> Entry {
        let text = format!("{key}={value}");
        crate::java_properties::parse(&text).unwrap().remove(0)
    }

    #[test]
    fn a_request_with_too_many_or_too_long_settings_is_refused_in_few_words() {
        let good = entry(&"k".repeat(256), &"v".repeat(4096));
        assert_eq!(limits_error(&vec![good; 1000]), None);
        for (entries, word) in [
            (vec![entry("k", "v"); 1001], "1001 settings"),
            (
                vec![entry(&"k".repeat(1 << 20), "v")],
                "the name has 1048576 bytes",
            ),
            (vec![entry("k", &"v".repeat(4097))], "k: 4097 bytes"),
        ] {
            let error = limits_error(&entries).unwrap();
            assert!(error.contains(word) && error.len() < 200, "{error:.300}");
        }
    }

    #[test]
    fn an_unknown_name_is_said_as_far_as_it_is_worth_it() {
        let done = Done {
            changes: vec![change("known", "x")],
            unknown: vec!["ü".repeat(100).into(), "short".into()],
        };
        let cut = "ü".repeat(64);
        assert_eq!(
            done.remark(Kept::InFile),
            format!("ignored, without a meaning here: known; ignored, unknown: {cut}…, short")
        );
    }
}
