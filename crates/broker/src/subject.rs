// SPDX-License-Identifier: Apache-2.0
//! What an error is about: the names that its line in the log has as fields, and its answer in a pair of parentheses.

use std::fmt;
use std::net::SocketAddr;

use crate::names::quoted;

/// As much as is known where the error happens; what is `None` is left out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Subject<'a> {
    pub(crate) topic: Option<&'a str>,
    pub(crate) queue: Option<i64>,
    pub(crate) offset: Option<i64>,
    pub(crate) group: Option<&'a str>,
    /// Position in the log.
    pub(crate) pos: Option<i64>,
    /// Who asked. It knows itself, so that its answer does not say it.
    pub(crate) peer: Option<SocketAddr>,
}

impl<'a> Subject<'a> {
    pub(crate) fn topic(topic: &'a str) -> Subject<'a> {
        Subject {
            topic: Some(topic),
            ..Subject::default()
        }
    }

    pub(crate) fn queue(topic: &'a str, queue: impl Into<i64>, offset: i64) -> Subject<'a> {
        Subject {
            queue: Some(queue.into()),
            offset: Some(offset),
            ..Subject::topic(topic)
        }
    }

    pub(crate) fn pos(pos: i64) -> Subject<'a> {
        Subject {
            pos: Some(pos),
            ..Subject::default()
        }
    }

    pub(crate) fn group(group: &'a str) -> Subject<'a> {
        Subject::default().of(group)
    }

    /// The same, of this group.
    pub(crate) fn of(self, group: &'a str) -> Subject<'a> {
        Subject {
            group: Some(group),
            ..self
        }
    }

    /// The same, asked by this peer.
    pub(crate) fn asked_by(self, peer: SocketAddr) -> Subject<'a> {
        Subject {
            peer: Some(peer),
            ..self
        }
    }
}

/// With a blank in front; nothing when nothing is known.
impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [("topic", self.topic), ("group", self.group)];
        let numbers = [
            ("queue", self.queue),
            ("offset", self.offset),
            ("position in the log", self.pos),
        ];
        let names = names
            .into_iter()
            .filter_map(|(what, name)| Some((what, quoted(name?))));
        let numbers = numbers
            .into_iter()
            .filter_map(|(what, number)| Some((what, number?.to_string())));
        let known: Vec<String> = names
            .chain(numbers)
            .map(|(what, value)| format!("{what} {value}"))
            .collect();
        match known.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", known.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_what_is_known_and_not_who_asked() {
        let peer = "127.0.0.1:9".parse().unwrap();
        let about = Subject::queue("T", 3, 7).of("G").asked_by(peer);
        assert_eq!(about.to_string(), " (topic T, group G, queue 3, offset 7)");
        assert_eq!(Subject::pos(9).to_string(), " (position in the log 9)");
        assert_eq!(Subject::default().to_string(), "");
    }

    #[test]
    fn a_name_as_long_as_a_frame_is_cut() {
        let long = "x".repeat(1 << 20);
        assert!(Subject::topic(&long).to_string().len() < 1024);
    }
}
