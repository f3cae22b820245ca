// SPDX-License-Identifier: Apache-2.0
//! Which settings were changed by requests: the file that broker and name server keep, and the answer to
//! `LIST_CONFIG_CHANGES`. What is kept is bounded in number and length.

use serde::{Deserialize, Serialize};

use crate::Str;

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
    pub fn page(&self, key: Option<&str>, max: Option<i32>, next: Option<i64>) -> ConfigChanges {
        let max = usize::try_from(max.unwrap_or(LISTED).max(1)).unwrap_or(1);
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
        let first = history.page(None, Some(2), None);
        assert_eq!((seqs(&first), first.next), (vec![5, 4], Some(4)));
        let last = history.page(None, Some(3), first.next);
        assert_eq!((seqs(&last), last.next), (vec![3, 2, 1], None));
        let one = history.page(Some("b"), None, None);
        assert_eq!((seqs(&one), one.next), (vec![4, 2], None));
        assert_eq!(history.page(Some("c"), Some(-1), None), ConfigChanges::default());
    }
}
