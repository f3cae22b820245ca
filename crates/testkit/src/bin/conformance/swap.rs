// SPDX-License-Identifier: Apache-2.0
//! One directory, two brokers: each opens what the other left behind, after a stop and after a kill under load, and must
//! serve every message that was acknowledged before, at its offset, with its key and body, and deliver the delayed ones
//! that the other had not delivered yet.

mod batches;
mod compacted;
mod offsets;
mod pops;
mod timers;
mod ways;

use crate::clients::java_program;
use crate::{Outcome, Sides};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use testkit::process::{Process, eventually};
use testkit::programs;
use testkit::server::{Plan, Program, Server};

/// Acknowledged messages before a server is killed or stopped: enough to fill several files of a small store.
const MESSAGES: usize = 3000;
/// More than can be sent before the kill.
const ENDLESS: usize = 10_000_000;
const LOAD_WITHIN: Duration = Duration::from_secs(240);

/// Small files, so that a few thousand messages cross several of each kind.
const SMALL_FILES: [(&str, &str); 4] = [
    ("mappedFileSizeCommitLog", "1048576"),
    ("mappedFileSizeConsumeQueue", "20000"),
    ("maxHashSlotNum", "2000"),
    ("maxIndexNum", "8000"),
];

#[derive(Clone, Copy)]
enum End {
    Stopped,
    Killed,
}

impl End {
    fn way(self) -> &'static str {
        match self {
            End::Stopped => "stop",
            End::Killed => "kill",
        }
    }
}

/// The directory and what was acknowledged into it so far.
struct Relay<'a> {
    dir: PathBuf,
    classes: &'a str,
    notes: Vec<PathBuf>,
    last_end: Option<End>,
    told: Vec<String>,
    failures: Vec<String>,
}

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let classes = programs::java_client()?;
    let mut relay = Relay {
        dir: sides.dir.join("swap"),
        classes: &classes,
        notes: Vec::new(),
        last_end: None,
        told: Vec::new(),
        failures: Vec::new(),
    };
    let all = sides.all();
    let (_, ours_or_any) = all.last().context("nothing to run")?;
    let nameserver = Plan::new(ours_or_any, &relay.dir.join("names")).start_nameserver()?;
    // Each way of ending is followed by each kind of successor.
    let ends = [End::Stopped, End::Killed, End::Killed, End::Stopped, End::Stopped];
    for (leg, end) in ends.into_iter().enumerate() {
        let program = match sides.both() {
            Some((reference, barque)) => [barque, reference][leg % 2],
            None => ours_or_any,
        };
        relay.leg(leg, program, end, &nameserver)?;
    }
    nameserver.stop()?;
    if let Some((reference, barque)) = sides.both() {
        let programs = [reference, barque];
        batches::run(&sides.dir.join("swap-batches"), programs, &mut relay);
        compacted::run(&sides.dir.join("swap-compacted"), programs, &mut relay);
        offsets::run(&sides.dir.join("swap-offsets"), programs, &mut relay);
        pops::run(&sides.dir.join("swap-pops"), programs, &mut relay);
        timers::run(&sides.dir.join("swap-timers"), programs, &mut relay);
    }
    let (told, failures) = crate::halves::run(sides)?;
    relay.told.extend(told);
    relay.failures.extend(failures);
    let passed = relay.told.len() - relay.failures.len();
    let line = format!(
        "swap: {passed} passed, {} failed; {}",
        relay.failures.len(),
        relay.told.join(", ")
    );
    Ok(Outcome {
        line,
        findings: relay.failures,
    })
}

impl Relay<'_> {
    /// Notes how something went.
    fn tell(&mut self, what: String, went: anyhow::Result<()>) {
        match went {
            Ok(()) => self.told.push(what),
            Err(error) => {
                self.failures.push(format!("swap: {what}: {error:#}"));
                self.told.push(format!("{what} FAILED"));
            }
        }
    }

    /// One server on the directory: checks what is there, adds to it, ends as told.
    fn leg(&mut self, leg: usize, program: &Program, end: End, nameserver: &Server) -> anyhow::Result<()> {
        let mut plan = Plan::new(program, &self.dir).known_to(nameserver.nameserver());
        for (key, value) in SMALL_FILES {
            plan = plan.set(key, value);
        }
        let broker = plan.start_broker()?;
        if let Some(before) = self.last_end {
            let asked: &[&str] = match before {
                End::Stopped => &["--offsets", "--later"],
                End::Killed => &["--later"],
            };
            let seen = self.verify(leg, nameserver, asked)?;
            let kind = match program {
                Program::Reference(_) => "reference",
                Program::Barque(_) => "barque",
            };
            let told = format!("{kind} after a {}", before.way());
            self.tell(told, seen.map_err(anyhow::Error::msg));
        }
        self.load(leg, nameserver, broker, end)?;
        self.last_end = Some(end);
        Ok(())
    }

    fn load(&mut self, leg: usize, nameserver: &Server, broker: Server, end: End) -> anyhow::Result<()> {
        let notes = self.dir.join(format!("acknowledged-{leg}"));
        let count = match end {
            End::Stopped => MESSAGES,
            End::Killed => ENDLESS,
        };
        let mut command = self.driver(nameserver);
        command
            .arg("load")
            .arg(&notes)
            .args([(leg * ENDLESS).to_string(), count.to_string()]);
        let mut load = Process::start(&format!("load-{leg}"), &self.dir, command)?;
        match end {
            End::Stopped => {
                let status = load.finish(LOAD_WITHIN)?;
                if !status.success() || lines(&notes)? < MESSAGES {
                    bail!("not all was acknowledged; {}", load.last_words());
                }
                self.notes.push(notes);
                // Commits offsets, for the next server to find.
                self.verify(leg + 100, nameserver, &[])?
                    .map_err(anyhow::Error::msg)?;
                broker.stop()?;
            }
            End::Killed => {
                eventually("enough acknowledged messages", LOAD_WITHIN, || {
                    Ok(lines(&notes)? >= MESSAGES)
                })?;
                broker.kill()?;
                load.finish(LOAD_WITHIN)?;
                self.notes.push(notes);
            }
        }
        Ok(())
    }

    /// Whether everything acknowledged so far is there, and what else is asked for; the inner error says what is not.
    fn verify(&self, leg: usize, nameserver: &Server, asked: &[&str]) -> anyhow::Result<Result<(), String>> {
        let mut command = self.driver(nameserver);
        command.arg("verify").args(asked).args(&self.notes);
        let mut verify = Process::start(&format!("verify-{leg}"), &self.dir, command)?;
        let status = verify.finish(LOAD_WITHIN)?;
        eprint!("{}", verify.output()?);
        Ok(if status.success() {
            Ok(())
        } else {
            Err(verify.last_words())
        })
    }

    fn driver(&self, nameserver: &Server) -> Command {
        let mut java = java_program(self.classes, &self.dir.join("client"));
        java.arg("conformance.Main")
            .arg(nameserver.nameserver().to_string());
        java
    }
}

/// Whole lines of a file that may not be there yet.
fn lines(file: &Path) -> anyhow::Result<usize> {
    if !file.exists() {
        return Ok(0);
    }
    Ok(std::fs::read_to_string(file)?.matches('\n').count())
}
