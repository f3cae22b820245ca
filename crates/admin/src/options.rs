// SPDX-License-Identifier: Apache-2.0
//! What can be said to a command: its options as a table. How a command line is read by it is in `parse`, how it is shown
//! in `usage`; both do as the reference's parser does, so that scripts go on working.

mod parse;
mod usage;

use crate::names;

pub use parse::{Args, Extras, Format, ParseError, parse};
pub use usage::{Line, render};

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt {
    /// Said with one dash; may have several letters.
    pub short: Option<&'static str>,
    /// Said with one dash or two; may be shortened.
    pub long: Option<&'static str>,
    /// A value follows.
    pub takes_value: bool,
    /// The command does nothing without it.
    pub required: bool,
    /// Of the options with the same number, exactly one must be given.
    pub one_of: Option<u8>,
    /// For the usage, as the reference says it.
    pub about: &'static str,
    /// What its value must be.
    pub check: Check,
}

/// What a value must be, before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Anything.
    Any,
    /// The name of a topic.
    Topic,
    /// The name of a group.
    Group,
}

/// An option with a value.
pub const fn value(short: &'static str, long: &'static str, about: &'static str) -> Opt {
    Opt {
        short: Some(short),
        long: Some(long),
        takes_value: true,
        required: false,
        one_of: None,
        about,
        check: Check::Any,
    }
}

/// An option with a value that has no short name.
pub const fn long_value(long: &'static str, about: &'static str) -> Opt {
    Opt {
        short: None,
        ..value("", long, about)
    }
}

/// An option without a value.
pub const fn flag(short: &'static str, long: &'static str, about: &'static str) -> Opt {
    Opt {
        takes_value: false,
        ..value(short, long, about)
    }
}

/// An option without a value that has no short name.
pub const fn long_flag(long: &'static str, about: &'static str) -> Opt {
    Opt {
        takes_value: false,
        ..long_value(long, about)
    }
}

impl Opt {
    /// The command does nothing without it.
    #[must_use]
    pub const fn required(self) -> Opt {
        Opt {
            required: true,
            ..self
        }
    }

    /// Of the options of a command with this number, exactly one must be given.
    #[must_use]
    pub const fn one_of(self, number: u8) -> Opt {
        Opt {
            one_of: Some(number),
            ..self
        }
    }

    /// Its value is the name of a topic.
    #[must_use]
    pub const fn topic(self) -> Opt {
        Opt {
            check: Check::Topic,
            ..self
        }
    }

    /// Its value is the name of a group.
    #[must_use]
    pub const fn group(self) -> Opt {
        Opt {
            check: Check::Group,
            ..self
        }
    }

    /// The name the reference knows it by: the short one, or else the long one.
    pub fn key(&self) -> &'static str {
        self.short.or(self.long).unwrap_or_default()
    }

    /// Whether it may be called so.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.short == Some(name) || self.long == Some(name)
    }

    fn verify(&self, value: &str) -> Result<(), ParseError> {
        let checked = match self.check {
            Check::Any => Ok(()),
            Check::Topic => names::topic(value.trim()),
            Check::Group => names::group(value.trim()),
        };
        checked.map_err(|why| ParseError::BadValue(self.key(), why))
    }
}

/// The options that every command has, before its own.
pub const COMMON: [Opt; 2] = [
    flag("h", "help", "Print help"),
    value(
        "n",
        "namesrvAddr",
        "Name server address list, eg: '192.168.0.1:9876;192.168.0.2:9876'",
    ),
];

/// The options of one command, the common ones included. Where a command has one of the same name again, the later one holds.
pub fn table(own: &'static [Opt]) -> Vec<&'static Opt> {
    let mut options: Vec<&'static Opt> = COMMON.iter().collect();
    for opt in own {
        match options.iter_mut().find(|known| known.key() == opt.key()) {
            Some(known) => *known = opt,
            None => options.push(opt),
        }
    }
    options
}
