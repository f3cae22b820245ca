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
use crate::failure::{Failure, WRONG_CALL};
use crate::options::{self, Args, Format};
use crate::output::{self, Report};

/// Most pieces of data that are kept for a table, whose columns are as wide as the widest of all, and their size as JSON.
const ROWS_MAX: usize = 100_000;
const ROWS_BYTES_MAX: usize = 32 << 20;
/// The least pause between two rounds.
const PAUSE_MIN: Duration = Duration::from_millis(100);

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
    /// Its size.
    data_bytes: Cell<usize>,
    /// Pieces of a list that were printed already.
    listed: Cell<usize>,
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
            data_bytes: Cell::default(),
            listed: Cell::default(),
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
        if self.is_table() {
            self.keep(value);
            return;
        }
        let index = self.listed.replace(self.listed.get().saturating_add(1));
        if index == 0 {
            self.begin_document();
        }
        let item = output::item(&Report::of(value), index, self.format);
        self.console.print(&item);
    }

    /// Keeps what a table is made of, as long as there is room.
    fn keep<T: Serialize>(&self, value: &T) {
        let (value, size) = Report::sized(value);
        let size = self.data_bytes.get().saturating_add(size);
        let mut data = self.data.borrow_mut();
        match data.as_mut() {
            Some(Report::List(rows)) if rows.len() >= ROWS_MAX || size > ROWS_BYTES_MAX => {
                self.is_full.set(true);
                return;
            }
            Some(Report::List(rows)) => rows.push(value),
            _ => *data = Some(Report::List(vec![value])),
        }
        self.data_bytes.set(size);
    }

    /// The usage of the command, which the reference also prints after some things that went well.
    pub fn usage(&self) -> String {
        let program = format!("mqadmin {}", self.command.name);
        options::render(&program, &options::table(self.command.options))
    }

    /// Does something once, or again and again with a pause in between, until nobody reads what is printed. Once it went
    /// well, a failure is only a warning.
    pub async fn repeat(
        &self,
        pause: Option<Duration>,
        mut round: impl AsyncFnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut is_first = true;
        loop {
            let ended = round().await;
            let Some(pause) = pause.filter(|_| !self.is_closed()) else {
                return ended;
            };
            match ended {
                // What cannot be asked even once is no server that is away for a while.
                Err(failure) if is_first || failure.exit_code() == WRONG_CALL => return Err(failure),
                Err(failure) => self.warn(failure),
                Ok(()) => {}
            }
            is_first = false;
            self.end_round()?;
            tokio::time::sleep(pause.max(PAUSE_MIN)).await;
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

    /// The end of one round: data that was collected is printed. A failure where there was more of it than is kept.
    pub fn end_round(&self) -> Result<(), Failure> {
        let listed = self.listed.take();
        if listed > 0 {
            self.console.print(output::list_end(self.format));
        }
        self.data_bytes.take();
        if let Some(data) = self.data.take() {
            self.begin_document();
            self.console.print(&output::document(&data, self.format));
        }
        if self.is_full.get() {
            return Err(Failure::Other(format!(
                "the table is cut behind {ROWS_MAX} rows or {} MiB; ask for less at once, or for --output json or yaml",
                ROWS_BYTES_MAX >> 20
            )));
        }
        Ok(())
    }

    /// What stands between two documents.
    fn begin_document(&self) {
        let printed = self.printed.replace(self.printed.get().saturating_add(1));
        self.console.print(match self.format {
            _ if printed == 0 => "",
            Format::Yaml => "---\n",
            Format::Table => "\n",
            Format::Json | Format::Reference => "",
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};

    /// What was printed; a reader that has seen enough goes away.
    #[derive(Clone)]
    struct Sink {
        text: Rc<RefCell<String>>,
        enough: Option<&'static str>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut text = self.text.borrow_mut();
            text.push_str(&String::from_utf8_lossy(bytes));
            match self.enough.is_some_and(|enough| text.ends_with(enough)) {
                true => Err(io::ErrorKind::BrokenPipe.into()),
                false => Ok(bytes.len()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Surroundings, and what is printed there.
    fn ctx(format: Format, enough: Option<&'static str>) -> (Ctx, [Rc<RefCell<String>>; 2]) {
        let sink = |enough| Sink {
            text: Rc::default(),
            enough,
        };
        let (out, err) = (sink(enough), sink(None));
        let console = Rc::new(Console::new(out.clone(), err.clone()));
        let ctx = Ctx::new(&Command::DEFAULT, Client::new(""), console, format);
        (ctx, [out.text, err.text])
    }

    #[tokio::test]
    async fn rounds_go_on_past_one_that_fails() {
        let (ctx, [out, err]) = ctx(Format::Yaml, Some("round: 3\n"));
        let round = Cell::new(0);
        let rounds = async || {
            round.set(round.get() + 1);
            if round.get() == 2 {
                return Err(Failure::Other("away".to_owned()));
            }
            ctx.show(
                &std::collections::BTreeMap::from([("round", round.get())]),
                String::new,
            );
            Ok(())
        };
        // No pause at all is one that others can live with.
        let begun = ctx.env.clock.instant();
        let ended = ctx.repeat(Some(Duration::ZERO), rounds).await;
        assert!(ended.is_ok());
        assert!(ctx.env.clock.instant().duration_since(begun) >= PAUSE_MIN * 2);
        assert_eq!(*out.borrow(), "round: 1\n---\nround: 3\n");
        assert_eq!(*err.borrow(), "warning: away\n");
    }

    #[tokio::test]
    async fn what_fails_the_first_time_is_not_repeated() {
        let (ctx, _) = ctx(Format::Json, None);
        let ended = ctx.repeat(Some(Duration::ZERO), async || {
            Err(Failure::Other("away".to_owned()))
        });
        assert_eq!(ended.await.unwrap_err().to_string(), "away");
    }

    #[test]
    fn a_table_is_cut_where_it_gets_too_large_and_that_is_a_failure() {
        let body = "x".repeat(1 << 20);
        for (format, is_cut) in [
            (Format::Table, true),
            (Format::Json, false),
            (Format::Yaml, false),
        ] {
            let (ctx, [out, _]) = ctx(format, None);
            let mut rows = 0;
            while rows < 33 && !ctx.is_closed() {
                ctx.row(&body, String::new);
                rows += 1;
            }
            assert_eq!(ctx.end_round().is_err(), is_cut, "{format:?}");
            assert_eq!(out.borrow().matches(&body).count(), if is_cut { 31 } else { 33 });
        }
    }
}
