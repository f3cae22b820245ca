// SPDX-License-Identifier: Apache-2.0
//! Messages chosen by their tag.
//!
//! A queue entry holds a 32-bit hash of the message's tag. The broker compares hashes only, so a hit may be a
//! collision; clients compare the strings themselves.

use std::sync::Arc;

use thiserror::Error;
use wire::Str;
use wire::body::subscription::SubscriptionData;
use wire::properties::java_hash;

/// The expression that wants everything.
const EVERYTHING: &str = "*";
/// Most tags of one subscription: each pull holds its own list of them.
const TAGS_MAX: usize = 1_000;

/// Why a subscription cannot be served.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum BadTags {
    /// It has nothing but separators, such as `||`.
    #[error("subscription {0:?} names no tag")]
    NamesNone(Str),
    #[error("a subscription of {0} tags, allowed are {TAGS_MAX}")]
    TooMany(usize),
}

/// The tags that are wanted, as their hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags {
    /// No condition.
    All,
    /// One of these. Ascending, none twice.
    AnyOf(Arc<[i32]>),
}

impl Tags {
    /// Reads `a || b`. Nothing at all, and `*`, mean everything.
    pub(crate) fn parse(expression: &str) -> Result<Tags, BadTags> {
        let tags = Tags::read(expression)?;
        tags.within_limit().map(|()| tags)
    }

    /// A heartbeat may have brought more tags than a pull is served for.
    pub(crate) fn within_limit(&self) -> Result<(), BadTags> {
        match self {
            Tags::AnyOf(hashes) if hashes.len() > TAGS_MAX => Err(BadTags::TooMany(hashes.len())),
            _ => Ok(()),
        }
    }

    fn read(expression: &str) -> Result<Tags, BadTags> {
        if expression.is_empty() || expression == EVERYTHING {
            return Ok(Tags::All);
        }
        // As in the reference, a string of nothing but separators is an error, while `" || "` wants nothing at all.
        if expression.split("||").all(str::is_empty) {
            return Err(BadTags::NamesNone(expression.into()));
        }
        let tags = expression
            .split("||")
            .map(str::trim)
            .filter(|tag| !tag.is_empty());
        Ok(Tags::any_of(tags.map(java_hash)))
    }

    pub(super) fn of(data: &SubscriptionData) -> Tags {
        if data.class_filter_mode || data.sub_string.is_empty() || data.sub_string == EVERYTHING {
            Tags::All
        } else if data.code_set.is_empty() {
            // Some clients leave the hashes to the broker.
            Tags::read(&data.sub_string).unwrap_or(Tags::AnyOf(Arc::from([])))
        } else {
            Tags::any_of(data.code_set.iter().copied())
        }
    }

    fn any_of(hashes: impl Iterator<Item = i32>) -> Tags {
        let mut hashes: Vec<i32> = hashes.collect();
        hashes.sort_unstable();
        hashes.dedup();
        Tags::AnyOf(hashes.into())
    }
}

impl store::Filter for Tags {
    fn by_code(&self, tags_code: i64) -> bool {
        match self {
            Tags::All => true,
            // The entry holds the hash sign-extended; the low half is all of it.
            Tags::AnyOf(hashes) => hashes.binary_search(&(tags_code as i32)).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use store::Filter;

    use super::*;

    fn wants(expression: &str, tag: &str) -> bool {
        Tags::parse(expression)
            .unwrap()
            .by_code(i64::from(java_hash(tag)))
    }

    #[test]
    fn a_star_or_nothing_wants_every_tag() {
        assert!(wants("*", "a") && wants("", "a") && wants("*", ""));
    }

    #[test]
    fn alternatives_are_trimmed_and_empty_ones_dropped() {
        assert!(wants("a || b", "a") && wants("a||b", "b") && wants(" || b ||", "b"));
        assert!(!wants("a || b", "c"));
    }

    #[test]
    fn only_separators_are_an_error_but_blanks_between_them_want_nothing() {
        assert_eq!(Tags::parse("||"), Err(BadTags::NamesNone("||".into())));
        assert!(!wants(" || ", "a"));
    }

    #[test]
    fn a_thousand_tags_are_served_and_one_more_is_refused() {
        let list = |tags: usize| (0..tags).map(|i| format!("t{i}")).collect::<Vec<_>>().join("||");
        assert!(wants(&list(1_000), "t999") && !wants(&list(1_000), "t1000"));
        assert_eq!(Tags::parse(&list(1_001)), Err(BadTags::TooMany(1_001)));
    }

    #[test]
    fn a_negative_hash_matches_its_sign_extended_entry() {
        let tag = "a tag whose hash is negative";
        assert!(java_hash(tag) < 0);
        assert!(wants(tag, tag));
    }
}
