// SPDX-License-Identifier: Apache-2.0
//! What a command is given: servers to ask, a clock, and a place for what it has to say.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use store::Env;

use crate::client::Client;
use crate::command::Command;
use crate::console::Console;
use crate::failure::Failure;
use crate::options::{self, Args, Format};
use crate::output::{self, Report};

/// Most pieces of data that are kept to be printed as one document.
const ROWS_MAX: usize = 100_000;

/// The surroundings of one run of a command.
pub struct Ctx {
    /// Servers.
    pub client: Client,
    /// Time and randomness.
    pub env: Env,
    /// What runs.
    command: &'static Command,
    format: Format,
    /// Data not printed yet; only for the formats that are on top of the reference.
    data: RefCell<Option<Report>>,
    /// Documents printed so far.
    printed: Cell<usize>,
    /// There is no room for more data.
    is_full: Cell<bool>,
    console: Rc<Console>,
}

impl Ctx {
    /// For a command that prints in this format.
    pub fn new(command: &'static Command, client: Client, console: Rc<Console>, format: Format) -> Ctx {
        let format = match format {
            Format::Reference if command.ours => Format::Table,
            given => given,
        };
        Ctx {
            client,
            env: Env::real(),
            command,
            format,
            data: RefCell::default(),
            printed: Cell::default(),
            is_full: Cell::default(),
            console,
        }
    }

    /// Says something as the reference says it: only where its format is asked for.
    pub fn say(&self, text: impl fmt::Display) {
        if self.format == Format::Reference {
            self.console.print(&text.to_string());
        }
    }

    /// Whether the text of the reference is asked for.
    pub fn is_reference(&self) -> bool {
        self.format == Format::Reference
    }

    /// Whether a person reads it: data may be shortened to what fits into a line.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// One of data without an end: it is printed at once, as a line of text or of JSON, or as a document of YAML.
    pub fn stream<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        let text = match self.format {
            Format::Table | Format::Reference => text(),
            Format::Json => format!("{}\n", serde_json::to_string(value).unwrap_or_default()),
            Format::Yaml => format!("---\n{}", output::document(&Report::of(value), Format::Yaml)),
        };
        self.console.print(&text);
    }

    /// Whether something may be done that cannot be taken back: somebody says so now, or has said it with `--yes`.
    pub fn confirm(&self, args: &Args, what: &str) -> Result<(), Failure> {
        if args.extras.yes {
            return Ok(());
        }
        let answered = self.console.has_somebody();
        if answered
            && self
                .console
                .agrees(&format!("{what}\nThis cannot be taken back. Go on? [y/N] "))
        {
            return Ok(());
        }
        let how = if answered { "" } else { "; say --yes to do it" };
        Err(Failure::Usage(format!("nothing was done{how}")))
    }

    /// Data, and the text of the reference for it.
    pub fn show<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        if self.format == Format::Reference {
            self.console.print(&text());
        } else {
            *self.data.borrow_mut() = Some(Report::of(value));
        }
    }

    /// One of several pieces of data, and the text of the reference for it, which is printed at once.
    pub fn row<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        if self.format == Format::Reference {
            self.console.print(&text());
            return;
        }
        let value = Report::of(value);
        let mut data = self.data.borrow_mut();
        match data.as_mut() {
            Some(Report::List(rows)) if rows.len() >= ROWS_MAX => {
                if !self.is_full.replace(true) {
                    self.warn(format_args!(
                        "only the first {ROWS_MAX} are reported; ask for less at once"
                    ));
                }
            }
            Some(Report::List(rows)) => rows.push(value),
            _ => *data = Some(Report::List(vec![value])),
        }
    }

    /// The usage of the command, which the reference also prints after some things that went well.
    pub fn usage(&self) -> String {
        let program = format!("mqadmin {}", self.command.name);
        options::render(&program, &options::table(self.command.options))
    }

    /// Does something once, or again and again with a pause in between, until nobody reads what is printed.
    pub async fn repeat(
        &self,
        pause: Option<Duration>,
        mut round: impl AsyncFnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            round().await?;
            let Some(pause) = pause.filter(|_| !self.is_closed()) else {
                return Ok(());
            };
            self.end_round();
            tokio::time::sleep(pause).await;
        }
    }

    /// Something a person should know that is no result. Goes to stderr.
    pub fn warn(&self, text: impl fmt::Display) {
        self.console.tell(format_args!("warning: {text}\n"));
    }

    /// What a server says beside its success, if it says something. Goes to stderr.
    pub fn remark(&self, addr: &str, remark: Option<&str>) {
        if let Some(remark) = remark.filter(|remark| !remark.is_empty()) {
            self.console.tell(format_args!("{addr}: {remark}\n"));
        }
    }

    /// A line that is no result and no warning. Goes to stderr.
    pub fn note(&self, text: impl fmt::Display) {
        self.console.tell(format_args!("{text}\n"));
    }

    /// Whether printing more is of no use: nobody reads it, or it would be more than is kept for one document.
    pub fn is_closed(&self) -> bool {
        self.is_full.get() || self.console.is_closed()
    }

    /// The end of one round: data that was collected is printed.
    pub fn end_round(&self) {
        let Some(data) = self.data.take() else {
            return;
        };
        let printed = self.printed.replace(self.printed.get().saturating_add(1));
        let between = match self.format {
            _ if printed == 0 => "",
            Format::Yaml => "---\n",
            Format::Table => "\n",
            Format::Json | Format::Reference => "",
        };
        let document = output::document(&data, self.format);
        self.console.print(&format!("{between}{document}"));
    }
}
