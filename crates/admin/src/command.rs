// SPDX-License-Identifier: Apache-2.0
//! A command as an entry of a table: what it is called, what can be said to it, what it does.

use std::future::Future;
use std::pin::Pin;

use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, Opt};

/// What a command returns while it runs.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// One command.
pub struct Command {
    /// What it is called, in any mixture of capitals.
    pub name: &'static str,
    /// What it is also called.
    pub alias: Option<&'static str>,
    /// One line, as the reference says it.
    pub about: &'static str,
    /// Its own options; those that every command has come before them.
    pub options: &'static [Opt],
    /// What it does to the servers.
    pub effect: Effect,
    /// The reference has no such command: it prints tables.
    pub ours: bool,
    /// Does it.
    pub run: for<'a> fn(&'a Ctx, &'a Args) -> Running<'a>,
}

/// What a command does to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it may be repeated by `--watch`.
    Reads,
    /// Changes that another call takes back.
    Changes,
    /// What it takes away is gone: on a terminal it asks first.
    Destroys,
    /// Nothing at all, because its area is not part of barque yet.
    Absent(&'static str),
}

impl Command {
    /// What an entry has that says nothing else.
    pub const DEFAULT: Command = Command {
        name: "",
        alias: None,
        about: "",
        options: &[],
        effect: Effect::Reads,
        ours: false,
        run: |_, _| Box::pin(async { Ok(()) }),
    };

    /// A command of the reference that is known and not there.
    pub const fn absent(name: &'static str, area: &'static str, about: &'static str) -> Command {
        Command {
            name,
            about,
            effect: Effect::Absent(area),
            ..Command::DEFAULT
        }
    }

    /// Whether it is called so.
    pub fn is(&self, name: &str) -> bool {
        let alias = self.alias.is_some_and(|alias| alias.eq_ignore_ascii_case(name));
        alias || self.name.eq_ignore_ascii_case(name)
    }
}
