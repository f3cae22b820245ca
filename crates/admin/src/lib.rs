// SPDX-License-Identifier: Apache-2.0
//! The commands of operators: `barque admin <command>`, and, called as `mqadmin`, the tool of the reference.
//!
//! A command line goes through [`run`]: the command is found in the table of [`cmd`], its options are read as the
//! reference reads them, it runs on one thread with a [`ctx::Ctx`], and what it reports is printed as the reference prints it,
//! or as a table, JSON or YAML. This crate knows no broker and no name server from the inside: it asks over the wire, so it
//! works with servers of the reference too.
#![warn(missing_docs)]

pub mod client;
pub mod cmd;
pub mod command;
mod completion;
pub mod ctx;
pub mod failure;
mod files;
mod hash_order;
mod names;
mod nearest;
pub mod options;
mod output;
mod producer;
mod settings;
mod text;

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use store::Env;
use tokio::runtime::{Builder, Runtime};

use client::Client;
use command::{Command, Effect};
use ctx::Ctx;
use failure::Failure;
use options::Args;

/// How the program was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// By the name of the reference's tool: nothing is printed that it would not print.
    Mqadmin,
    /// As `barque admin`.
    Barque,
}

/// Exit code where the call was wrong.
const WRONG_CALL: u8 = 2;

/// Runs one command line, without the name of the program.
pub fn run(called: Called, words: &[String]) -> ExitCode {
    let code = match words {
        [] => print(&list(called)),
        [help] if ["help", "-h", "--help"].contains(&help.as_str()) => print(&list(called)),
        [help, name] if help == "help" => {
            find(name).map_or_else(|code| code, |command| print(&usage(called, command)))
        }
        [word, rest @ ..] if word == "completion" && called == Called::Barque => complete(rest),
        [name, rest @ ..] => find(name).map_or_else(|code| code, |command| start(called, command, rest)),
    };
    ExitCode::from(code)
}

/// All commands, one a line.
fn list(called: Called) -> String {
    let mut text = String::from("The most commonly used mqadmin commands are:\n");
    for command in cmd::ALL {
        // Writing to a string cannot fail.
        let _ok = writeln!(text, "   {:<35} {}", command.name, command.about);
    }
    text.push_str("\nSee 'mqadmin help <command>' for more information on a specific command.\n");
    if called == Called::Barque {
        text.push_str(&format!("\n{ON_TOP}"));
        text = text.replace("mqadmin", "barque admin");
    }
    text
}

/// What every command has that the reference has not.
const ON_TOP: &str = "\
On top of the reference:
   -o, --output table|json|yaml   print data in this form (-o only where the command has no -o of its own)
   --watch <seconds>              repeat a command that only reads
   --yes                          do not ask before something is deleted
   barque admin completion bash|zsh|fish
Exit codes: 0 done, 1 a server refused or did not answer, 2 the call was wrong.
";

fn usage(called: Called, command: &Command) -> String {
    let text = options::render(
        &format!("mqadmin {}", command.name),
        &options::table(command.options),
    );
    match called {
        Called::Mqadmin => text,
        Called::Barque => format!("{text}\n{ON_TOP}").replace("usage: mqadmin", "usage: barque admin"),
    }
}

fn find(name: &str) -> Result<&'static Command, u8> {
    let Some(command) = cmd::ALL.iter().find(|command| command.is(name)) else {
        let names = cmd::ALL.iter().map(|command| command.name);
        let meant = nearest::nearest(name, names).map(|name| format!(" Did you mean '{name}'?"));
        return Err(wrong(&format!(
            "The sub command {name} not exist.{}",
            meant.unwrap_or_default()
        )));
    };
    match command.effect {
        Effect::Absent(area) => Err(wrong(&format!(
            "{}: not part of barque yet: {area}",
            command.name
        ))),
        _ => Ok(command),
    }
}

fn start(called: Called, command: &'static Command, words: &[String]) -> u8 {
    let table = options::table(command.options);
    let args = match options::parse(&table, words) {
        Ok(args) => args,
        Err(error) => {
            let hint = error.hint(&table).map(|meant| format!("; did you mean {meant}?"));
            let code = wrong(&format!("{error}{}", hint.unwrap_or_default()));
            if error.is_of_the_reference() {
                print(&usage(called, command));
            }
            return code;
        }
    };
    if args.has("h") {
        return print(&usage(called, command));
    }
    match allowed(command, &args, words).and_then(|()| execute(command, &args)) {
        Ok(()) => 0,
        Err(failure) => {
            let _closed_pipe = writeln!(io::stderr(), "error: {} failed: {failure}", command.name);
            if matches!(failure, Failure::Incomplete(_)) {
                print(&usage(called, command));
            }
            failure.exit_code()
        }
    }
}

/// Whether the command may do what it does: what cannot be taken back is asked about, but never where nobody could answer.
fn allowed(command: &Command, args: &Args, words: &[String]) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure::Usage(why.to_owned()));
    if args.extras.watch.is_some() && command.effect != Effect::Reads {
        return refuse("only commands that read can be repeated with --watch");
    }
    if command.effect != Effect::Destroys || args.extras.yes || !io::stdin().is_terminal() {
        return Ok(());
    }
    let _closed_pipe = write!(
        io::stderr(),
        "{} {}\nThis cannot be taken back. Go on? [y/N] ",
        command.name,
        words.join(" ")
    );
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match answer.trim() {
        "y" | "Y" | "yes" if read.is_ok() => Ok(()),
        _ => refuse("nothing was done"),
    }
}

fn execute(command: &'static Command, args: &Args) -> Result<(), Failure> {
    let name_servers = match args.get("n") {
        Some(given) => given.to_owned(),
        None => std::env::var("NAMESRV_ADDR").unwrap_or_default(),
    };
    let runtime = runtime()?;
    let ctx = Ctx::new(
        command,
        Client::new(&name_servers),
        Env::real(),
        args.extras.format,
    );
    runtime.block_on(rounds(command, &ctx, args))
}

/// One round, or as many as somebody watches.
async fn rounds(command: &'static Command, ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    loop {
        let ended = (command.run)(ctx, args).await;
        // What was done before it failed is told all the same.
        ctx.end_round();
        let Some(pause) = args.extras.watch.filter(|_| !ctx.is_closed()) else {
            return ended;
        };
        match ended {
            Err(failure) if failure.exit_code() == WRONG_CALL => return Err(failure),
            Err(failure) => ctx.warn(failure),
            Ok(()) => {}
        }
        tokio::time::sleep(pause).await;
    }
}

/// One thread: a command waits most of the time, and starting more would take longer than it does.
fn runtime() -> Result<Runtime, Failure> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::Other(format!("cannot start: {error}")))
}

fn complete(words: &[String]) -> u8 {
    let script = match words {
        [shell] => completion::script(shell),
        _ => None,
    };
    script.map_or_else(
        || wrong("usage: barque admin completion bash|zsh|fish"),
        |text| print(&text),
    )
}

/// Writes to stdout. That nobody reads it any more is no error.
fn print(text: &str) -> u8 {
    let mut out = io::stdout().lock();
    let _closed_pipe = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    0
}

fn wrong(text: &str) -> u8 {
    let _closed_pipe = writeln!(io::stderr(), "{text}");
    WRONG_CALL
}
