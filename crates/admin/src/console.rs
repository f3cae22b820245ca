// SPDX-License-Identifier: Apache-2.0
//! Where a command prints, and whom it can ask.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, BufRead, IsTerminal as _, Write};

/// Two outputs and an input.
pub struct Console {
    out: RefCell<Box<dyn Write>>,
    err: RefCell<Box<dyn Write>>,
    /// Where answers come from, if a person sits there.
    answers: Option<RefCell<Box<dyn BufRead>>>,
    /// Nobody reads what we print any more.
    closed: Cell<bool>,
}

impl Console {
    /// Those of the process. Without a terminal nobody is asked.
    pub fn of_the_process() -> Console {
        let person = io::stdin().is_terminal();
        let mut console = Console::new(io::stdout(), io::stderr());
        if person {
            console.answers = Some(RefCell::new(Box::new(io::stdin().lock())));
        }
        console
    }

    /// Prints there, and has nobody to ask.
    pub fn new(out: impl Write + 'static, err: impl Write + 'static) -> Console {
        Console {
            out: RefCell::new(Box::new(out)),
            err: RefCell::new(Box::new(err)),
            answers: None,
            closed: Cell::new(false),
        }
    }

    /// The same with somebody who answers.
    #[must_use]
    pub fn with_answers(self, answers: impl BufRead + 'static) -> Console {
        Console {
            answers: Some(RefCell::new(Box::new(answers))),
            ..self
        }
    }

    /// Prints a result. That nobody reads it any more is no error, but worth to know.
    pub fn print(&self, text: &str) {
        let mut out = self.out.borrow_mut();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if written.is_err() {
            self.closed.set(true);
        }
    }

    /// Prints what is no result.
    pub fn tell(&self, text: impl fmt::Display) {
        let mut err = self.err.borrow_mut();
        let _closed_pipe = write!(err, "{text}").and_then(|()| err.flush());
    }

    /// Whether nobody reads results any more.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether there is somebody to ask.
    pub fn has_somebody(&self) -> bool {
        self.answers.is_some()
    }

    /// Asks for a yes; where there is nobody to ask, it is one.
    pub fn agrees(&self, question: &str) -> bool {
        let Some(answers) = &self.answers else {
            return true;
        };
        self.tell(question);
        let mut answer = String::new();
        let read = answers.borrow_mut().read_line(&mut answer);
        read.is_ok() && ["y", "Y", "yes"].contains(&answer.trim())
    }
}
