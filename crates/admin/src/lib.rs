// SPDX-License-Identifier: Apache-2.0
//! The commands of operators: `barque admin <command>`, and, called as `mqadmin`, the tool of the reference.
//!
//! A command line goes through [`run`]: the command is found in the table of [`cmd`], its options are read as the
//! reference reads them, it runs on one thread with a [`ctx::Ctx`], and what it reports is printed as the reference prints it,
//! or as a table, JSON or YAML. This crate knows no broker and no name server from the inside: it asks over the wire, so it
//! works with servers of the reference too.
#![warn(missing_docs)]

mod charset;
pub mod client;
pub mod cmd;
pub mod command;
mod completion;
mod compressed;
pub mod console;
pub mod ctx;
pub mod failure;
mod files;
mod groups;
mod hash_order;
mod message;
mod names;
mod nearest;
pub mod options;
mod output;
mod queues;
mod sending;
mod settings;
mod text;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::rc::Rc;

use tokio::runtime::Builder;
use wire::version;

use client::Client;
use command::{Command, Effect};
use console::Console;
use ctx::Ctx;
use failure::{Failure, WRONG_CALL};
use options::Args;

/// How the program was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// By the name of the reference's tool: nothing is printed that it would not print.
    Mqadmin,
    /// As `barque admin`.
    Barque,
}

/// Runs one command line, without the name of the program, on the console of the process.
///
/// One thread: a command waits most of the time, and starting more would take longer than it does.
pub fn run(called: Called, words: &[String]) -> ExitCode {
    let console = Rc::new(Console::of_the_process());
    let runtime = Builder::new_current_thread().enable_all().build();
    let code = match runtime {
        Ok(runtime) => runtime.block_on(call(called, words, &console)),
        Err(error) => {
            console.tell(format_args!("error: cannot start: {error}\n"));
            1
        }
    };
    ExitCode::from(code)
}

/// The same on any console; returns the exit code.
pub async fn call(called: Called, words: &[String], console: &Rc<Console>) -> u8 {
    let print = |text: &str| {
        console.print(text);
        0
    };
    match words {
        [] => print(&list(called)),
        [help] if ["help", "-h", "--help"].contains(&help.as_str()) => print(&list(called)),
        [word, rest @ ..] if word == "completion" && called == Called::Barque => {
            let script = rest.first().and_then(|shell| completion::script(shell));
            let usage = "usage: barque admin completion bash|zsh|fish";
            script.map_or_else(|| wrong(console, usage), |script| print(&script))
        }
        [help, name] if help == "help" => match find(name) {
            Ok(command) => print(&usage(called, command)),
            Err(why) => wrong(console, &why),
        },
        [name, rest @ ..] => match find(name) {
            Ok(command) => start(called, command, rest, console).await,
            Err(why) => wrong(console, &why),
        },
    }
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
        text.push_str("\nThe reference has none of these:\n");
        let ours = cmd::OURS.iter().map(|command| (command.name, command.about));
        for (name, about) in ours.chain([cmd::BENCH]) {
            let _ok = writeln!(text, "   {name:<35} {about}");
        }
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

/// The command of a name, or why there is none.
fn find(name: &str) -> Result<&'static Command, String> {
    let Some(command) = cmd::every().find(|command| command.is(name)) else {
        let names = cmd::every().map(|command| command.name).chain([cmd::BENCH.0]);
        let meant = nearest::nearest(name, names).map(|name| format!(" Did you mean '{name}'?"));
        let meant = meant.unwrap_or_default();
        return Err(format!("The sub command {name} not exist.{meant}"));
    };
    match command.effect {
        Effect::Absent(area) => Err(format!("{}: not part of barque yet: {area}", command.name)),
        _ => Ok(command),
    }
}

async fn start(called: Called, command: &'static Command, words: &[String], console: &Rc<Console>) -> u8 {
    let table = options::table(command.options);
    let args = match options::parse(&table, words) {
        Ok(args) => args,
        Err(error) => {
            let hint = error.hint(&table).map(|meant| format!("; did you mean {meant}?"));
            let code = wrong(console, &format!("{error}{}", hint.unwrap_or_default()));
            if error.is_of_the_reference() {
                console.print(&usage(called, command));
            }
            return code;
        }
    };
    if args.has("h") {
        console.print(&usage(called, command));
        return 0;
    }
    let done = match allowed(command, &args, words, console) {
        Ok(()) => rounds(command, &args, console).await,
        refused => refused,
    };
    let Err(failure) = done else {
        return 0;
    };
    console.tell(format_args!("error: {} failed: {failure}\n", command.name));
    if matches!(failure, Failure::Incomplete(_)) {
        console.print(&usage(called, command));
    }
    failure.exit_code()
}

/// Whether the command may do what it does: what cannot be taken back is asked about, but never where nobody could answer.
fn allowed(command: &Command, args: &Args, words: &[String], console: &Console) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure::Usage(why.to_owned()));
    if args.extras.watch.is_some() && command.effect != Effect::Reads {
        return refuse("only commands that read can be repeated with --watch");
    }
    if command.effect != Effect::Destroys || args.extras.yes {
        return Ok(());
    }
    let call = format!("{} {}", command.name, words.join(" "));
    if console.agrees(&format!("{call}\nThis cannot be taken back. Go on? [y/N] ")) {
        Ok(())
    } else {
        refuse("nothing was done")
    }
}

/// One round, or as many as somebody watches.
async fn rounds(command: &'static Command, args: &Args, console: &Rc<Console>) -> Result<(), Failure> {
    let name_servers = match args.get("n") {
        Some(given) => given.to_owned(),
        None => std::env::var("NAMESRV_ADDR").unwrap_or_default(),
    };
    let client = Client::new(&name_servers);
    let ctx = Ctx::new(command, client, Rc::clone(console), args.extras.format);
    loop {
        let ended = (command.run)(&ctx, args).await;
        // What was done before it failed is told all the same.
        let told = ctx.end_round();
        let ended = ended.and(told);
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

fn wrong(console: &Console, text: &str) -> u8 {
    console.tell(format_args!("{text}\n"));
    WRONG_CALL
}
