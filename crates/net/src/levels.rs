// SPDX-License-Identifier: Apache-2.0
//! What is logged, as a setting: a level, or levels by module, or both (`info,store=debug`).

use std::fmt;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Longer ones are a mistake.
const BYTES_MAX: usize = 1024;

/// Levels that are well-formed. Empty ones leave the choice to whoever starts the program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels(String);

impl Levels {
    /// What a valid text looks like; ends the sentence "expected …".
    pub const WANTED: &str = "error, warn, info, debug, trace or off, or such by module (info,store=debug)";

    /// Reads them; `None` when the text is something else.
    pub fn read(text: &str) -> Option<Levels> {
        let is_level = |text: &str| LEVELS.iter().any(|level| text.eq_ignore_ascii_case(level));
        let is_module = |text: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        };
        let is_part = |part: &str| match part.split_once('=') {
            None => is_level(part),
            Some((module, level)) => is_module(module) && is_level(level),
        };
        let valid = text.is_empty() || (text.len() <= BYTES_MAX && text.split(',').all(is_part));
        valid.then(|| Levels(text.to_owned()))
    }

    /// The text; `None` where nothing is set.
    pub fn get(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|text| !text.is_empty())
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_alone_and_by_module() {
        for text in [
            "",
            "info",
            "WARN",
            "info,store=debug",
            "broker::pop=trace,access=off",
        ] {
            assert_eq!(Levels::read(text).unwrap().to_string(), text);
        }
        assert_eq!(Levels::default().get(), None);
    }

    #[test]
    fn anything_else_is_no_level() {
        let long = "info,".repeat(1000) + "info";
        for text in [
            "loud",
            "info,",
            "=info",
            "store=",
            "store=loud",
            "a/b=info",
            "info store",
            &long,
        ] {
            assert_eq!(Levels::read(text), None, "{text}");
        }
    }
}
