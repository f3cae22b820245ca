// SPDX-License-Identifier: Apache-2.0
//! Receipt handles: what a consumer shows to settle a message it was handed out.
//!
//! ```text
//! handle           <start offset> <pop time> <invisible time> <revive queue> <R> <broker> <queue> <offset>
//! startOffsetInfo  <R> <queue> <start offset>        joined by ;
//! msgOffsetInfo    <R> <queue> <offset>,<offset>,..  joined by ;
//! orderCountInfo   <R> qo<queue>%<offset> <count>    joined by ;   and for old clients <R> <queue> <least count>
//! R                0 the topic itself, 1 and 2 its retry topics
//! ```
//!
//! Clients make handles themselves from these fields of the answer.

use std::fmt::Write as _;

use crate::Str;

/// The revive queue that marks handles of ordered messages.
pub const ORDERED: i32 = 999;
const RETRY_PREFIX: &str = "%RETRY%";

/// Which topic a message was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The topic itself.
    Topic,
    /// `%RETRY%<group>_<topic>`.
    RetryV1,
    /// `%RETRY%<group>+<topic>`.
    RetryV2,
}

impl Origin {
    /// As the name says.
    #[must_use]
    pub fn of(topic: &str) -> Origin {
        match (topic.starts_with(RETRY_PREFIX), topic.contains('+')) {
            (true, true) => Origin::RetryV2,
            (true, false) => Origin::RetryV1,
            (false, _) => Origin::Topic,
        }
    }

    /// Reads the digit.
    #[must_use]
    pub fn parse(digit: &str) -> Option<Origin> {
        match digit {
            "0" => Some(Origin::Topic),
            "1" => Some(Origin::RetryV1),
            "2" => Some(Origin::RetryV2),
            _ => None,
        }
    }

    /// The digit.
    #[must_use]
    pub fn digit(self) -> char {
        match self {
            Origin::Topic => '0',
            Origin::RetryV1 => '1',
            Origin::RetryV2 => '2',
        }
    }

    /// The topic of a group this stands for.
    #[must_use]
    pub fn topic(self, topic: &str, group: &str) -> Str {
        match self {
            Origin::Topic => topic.into(),
            Origin::RetryV1 => [RETRY_PREFIX, group, "_", topic].into_iter().collect(),
            Origin::RetryV2 => [RETRY_PREFIX, group, "+", topic].into_iter().collect(),
        }
    }
}

/// A handle as far as a broker looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// First offset looked at.
    pub start_offset: i64,
    /// When the message was handed out, ms.
    pub pop_time: i64,
    /// For how long, ms.
    pub invisible_time: i64,
    /// [`ORDERED`] or a queue of the reference's revive topic.
    pub revive_qid: i32,
    /// Name of the broker.
    pub broker_name: Str,
}

/// Why a text is no handle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{handle}\" is no receipt handle: {what}")]
pub struct ReceiptError {
    handle: Str,
    what: &'static str,
}

impl Receipt {
    /// Reads a handle. Words behind the broker's name are not looked at.
    pub fn parse(handle: &str) -> Result<Receipt, ReceiptError> {
        let error = |what| ReceiptError {
            handle: handle.chars().take(200).collect(),
            what,
        };
        let mut words = handle.split(' ');
        let mut number = |what| {
            let word = words.next().ok_or_else(|| error(what))?;
            word.parse::<i64>().map_err(|_| error(what))
        };
        let start_offset = number("the first word must be an offset")?;
        let pop_time = number("the second word must be a time")?;
        let invisible_time = number("the third word must be a number of milliseconds")?;
        let revive_qid = number("the fourth word must be a queue")?;
        let revive_qid = i32::try_from(revive_qid).map_err(|_| error("the fourth word must be a queue"))?;
        let _origin = words.next();
        let broker_name = words
            .next()
            .ok_or_else(|| error("it ends before the broker's name"))?;
        Ok(Receipt {
            start_offset,
            pop_time,
            invisible_time,
            revive_qid,
            broker_name: broker_name.into(),
        })
    }

    /// The handle of one message.
    #[must_use]
    pub fn handle(&self, topic: &str, queue_id: i32, offset: i64) -> String {
        let Receipt {
            start_offset,
            pop_time,
            invisible_time,
            revive_qid,
            broker_name,
        } = self;
        let origin = Origin::of(topic).digit();
        format!(
            "{start_offset} {pop_time} {invisible_time} {revive_qid} {origin} {broker_name} {queue_id} {offset}"
        )
    }
}

/// The three texts of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetInfo {
    /// `startOffsetInfo`.
    pub starts: String,
    /// `msgOffsetInfo`.
    pub offsets: String,
    /// `orderCountInfo`.
    pub counts: String,
}

impl OffsetInfo {
    /// Notes what was taken from a queue.
    pub fn add(&mut self, (topic, queue_id): (&str, i32), start: i64, offsets: &[i64]) {
        let origin = Origin::of(topic).digit();
        write_entry(&mut self.starts, format_args!("{origin} {queue_id} {start}"));
        write_entry(&mut self.offsets, format_args!("{origin} {queue_id} "));
        for (number, offset) in offsets.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write_to(&mut self.offsets, format_args!("{comma}{offset}"));
        }
    }

    /// Notes how often an ordered message was handed out before.
    pub fn add_count(&mut self, (topic, queue_id): (&str, i32), offset: i64, count: i32) {
        let origin = Origin::of(topic).digit();
        write_entry(
            &mut self.counts,
            format_args!("{origin} qo{queue_id}%{offset} {count}"),
        );
    }

    /// Notes the least of these counts of a queue.
    pub fn add_least_count(&mut self, (topic, queue_id): (&str, i32), count: i32) {
        let origin = Origin::of(topic).digit();
        write_entry(&mut self.counts, format_args!("{origin} {queue_id} {count}"));
    }
}

fn write_entry(out: &mut String, entry: std::fmt::Arguments<'_>) {
    if !out.is_empty() {
        out.push(';');
    }
    write_to(out, entry);
}

fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_of_the_reference_reads_and_writes_back() {
        let text = "0 1795209980731 15000 2 1 fixture-broker 0 7";
        let receipt = Receipt::parse(text).unwrap();
        assert_eq!(
            (
                receipt.start_offset,
                receipt.pop_time,
                receipt.invisible_time,
                receipt.revive_qid
            ),
            (0, 1_795_209_980_731, 15_000, 2)
        );
        assert_eq!(receipt.handle("%RETRY%G_T", 0, 7), text);
    }

    #[test]
    fn a_forged_handle_is_named_with_what_is_wrong() {
        for (text, what) in [
            ("", "first"),
            ("1 x", "second"),
            ("1 2", "third"),
            ("1 2 3 99999999999 0 b", "fourth"),
            ("1 2 3 4 0", "broker"),
        ] {
            let error = Receipt::parse(text).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn offsets_of_several_queues_are_joined_as_the_reference_joins_them() {
        let mut info = OffsetInfo::default();
        info.add(("T", 1), 0, &[0, 1]);
        info.add(("%RETRY%G+T", 0), 4, &[4]);
        info.add_count(("T", 0), 0, 1);
        info.add_count(("T", 0), 1, 1);
        info.add_least_count(("T", 0), 1);
        assert_eq!(info.starts, "0 1 0;2 0 4");
        assert_eq!(info.offsets, "0 1 0,1;2 0 4");
        assert_eq!(info.counts, "0 qo0%0 1;0 qo0%1 1;0 0 1");
    }
}
