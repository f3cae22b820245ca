// SPDX-License-Identifier: Apache-2.0
//! Runs a command as the tool does, and keeps what it printed.

use admin::console::Console;
use admin::{Called, call};
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

/// What a command printed, and how it ended.
pub(crate) struct Ran {
    pub code: u8,
    pub out: String,
    pub err: String,
}

/// What is printed. Who reads it goes away when enough was seen.
#[derive(Clone, Default)]
pub(crate) struct Sink {
    pub bytes: Rc<RefCell<Vec<u8>>>,
    pub enough: Option<(&'static str, usize)>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.borrow_mut().extend_from_slice(bytes);
        match self.enough {
            Some((what, often)) if self.text().matches(what).count() >= often => {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            _ => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.borrow()).into_owned()
    }
}

/// Runs a command, whose words are separated by blanks; with `answers` somebody is there who gives them.
pub(crate) async fn run(called: Called, line: &str, answers: Option<&'static str>) -> Ran {
    let (out, err) = (Sink::default(), Sink::default());
    let console = Console::new(out.clone(), err.clone());
    let console = match answers {
        Some(answers) => console.with_answers(answers.as_bytes()),
        None => console,
    };
    let code = run_on(called, line, console).await;
    let (out, err) = (out.text(), err.text());
    Ran { code, out, err }
}

/// The same on a console of the caller's.
pub(crate) async fn run_on(called: Called, line: &str, console: Console) -> u8 {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    call(called, &words, &Rc::new(console)).await
}
