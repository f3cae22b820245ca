// SPDX-License-Identifier: Apache-2.0
//! What a consumer group wants of a topic, and the part of it a broker can decide from a queue entry: the tag.
//!
//! A queue entry holds a 32-bit hash of the message's tag. The broker compares hashes only, so a hit may be a
//! collision; clients compare the strings themselves. This module does not know SQL: an expression of another type
//! than TAG is kept as it came, and a pull that needs it is refused.

use std::sync::Arc;

use thiserror::Error;
use wire::Str;
use wire::body::subscription::SubscriptionData;
use wire::properties::java_hash;

/// The expression that wants everything.
pub(crate) const EVERYTHING: &str = "*";
/// The expression type that a broker can decide by itself.
pub(crate) const TAG: &str = "TAG";

/// A subscription of nothing but separators, such as `||`.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("subscription {0:?} names no tag")]
pub(crate) struct NamesNoTag(Str);

/// The tags that are wanted, as their hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags {
    /// No condition.
    All,
    /// One of these. Few: a scan beats a set.
    AnyOf(Arc<[i32]>),
}

impl Tags {
    /// Reads `a || b`. Nothing at all, and `*`, mean everything.
    pub(crate) fn parse(expression: &str) -> Result<Tags, NamesNoTag> {
        if expression.is_empty() || expression == EVERYTHING {
            return Ok(Tags::All);
        }
        // As in the reference, a string of nothing but separators is an error, while `" || "` wants nothing at all.
        if expression.split("||").all(str::is_empty) {
            return Err(NamesNoTag(expression.into()));
        }
        let tags = expression
            .split("||")
            .map(str::trim)
            .filter(|tag| !tag.is_empty());
        Ok(Tags::AnyOf(tags.map(java_hash).collect()))
    }

    fn of(data: &SubscriptionData) -> Tags {
        if data.class_filter_mode || data.sub_string.is_empty() || data.sub_string == EVERYTHING {
            Tags::All
        } else if data.code_set.is_empty() {
            // Some clients leave the hashes to the broker.
            Tags::parse(&data.sub_string).unwrap_or(Tags::AnyOf(Arc::from([])))
        } else {
            Tags::AnyOf(data.code_set.iter().copied().collect())
        }
    }
}

impl store::Filter for Tags {
    fn by_code(&self, tags_code: i64) -> bool {
        match self {
            Tags::All => true,
            // The entry holds the hash sign-extended; the low half is all of it.
            Tags::AnyOf(hashes) => hashes.contains(&(tags_code as i32)),
        }
    }
}

/// One topic of a consumer group.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// As the client sent it; admin tools are shown this.
    pub(crate) data: SubscriptionData,
    /// `None` when the expression is not of type TAG.
    pub(crate) tags: Option<Tags>,
}

impl Subscription {
    /// As a heartbeat brings it.
    pub(crate) fn new(data: SubscriptionData) -> Subscription {
        let tags = is_tag(Some(&data.expression_type)).then(|| Tags::of(&data));
        Subscription { data, tags }
    }
}

/// Whether an expression type is TAG; clients may leave it out.
pub(crate) fn is_tag(expression_type: Option<&str>) -> bool {
    expression_type.is_none_or(|kind| kind.is_empty() || kind == TAG)
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
        assert_eq!(Tags::parse("||"), Err(NamesNoTag("||".into())));
        assert!(!wants(" || ", "a"));
    }

    #[test]
    fn a_negative_hash_matches_its_sign_extended_entry() {
        let tag = "a tag whose hash is negative";
        assert!(java_hash(tag) < 0);
        assert!(wants(tag, tag));
    }
}
