// SPDX-License-Identifier: Apache-2.0
//! The tools: the official one, which runs all steps in one JVM, and ours, which starts for each.
#![expect(
    clippy::disallowed_methods,
    reason = "real tools live in real time and write real files"
)]

use super::step::{Step, filled};
use super::steps::{Area, COMMANDS};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::process::Process;
use testkit::programs;

const ALL_WITHIN: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Who runs the commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tool {
    Java,
    /// Our binary, by the name of the reference's script.
    Ours(PathBuf),
}

/// What a command did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Printed {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) status: i64,
    pub(crate) took: Duration,
    /// It should have ended by itself, and had to be stopped.
    pub(crate) is_late: bool,
}

impl Tool {
    /// Ours; `dir` is for a link to it, because it prints its own name.
    pub(crate) fn ours(binary: &Path, dir: &Path) -> anyhow::Result<Tool> {
        std::fs::create_dir_all(dir)?;
        let link = dir.join("mqadmin");
        std::os::unix::fs::symlink(binary, &link)?;
        Ok(Tool::Ours(link))
    }

    /// Runs all steps, in the directory.
    pub(crate) fn run(
        &self,
        steps: &[Step],
        known: &[(String, String)],
        dir: &Path,
    ) -> anyhow::Result<Vec<Printed>> {
        match self {
            Tool::Java => java(steps, known, dir),
            Tool::Ours(binary) => steps.iter().map(|step| ours(binary, step, known, dir)).collect(),
        }
    }
}

/// What our tool says of a command that it only knows by name.
pub(crate) const LACKING: &str = "not part of barque yet";

/// The commands of no other area that `barque admin` does not have.
pub(crate) fn lacking(binary: &Path) -> anyhow::Result<Vec<&'static str>> {
    let mut lacking = Vec::new();
    for (command, _) in COMMANDS.iter().filter(|(_, area)| *area == Area::Here) {
        let mut help = Command::new(binary);
        let output = help
            .args(["admin", "help", command])
            .stdin(Stdio::null())
            .output()?;
        if !String::from_utf8_lossy(&output.stdout).contains("usage: ") {
            lacking.push(*command);
        }
    }
    Ok(lacking)
}

fn arguments(step: &Step, known: &[(String, String)]) -> Vec<String> {
    step.args.iter().map(|word| filled(word, known)).collect()
}

/// A JVM of the program in `conformance/java-mqadmin`.
pub(crate) fn jvm(dir: &Path) -> anyhow::Result<Command> {
    let classes = programs::java_mqadmin()?;
    let mut java = Command::new("java");
    java.args([
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Djava.security.manager=allow",
    ]);
    java.arg(format!("-Duser.home={}", dir.display()));
    java.arg(format!("-Djava.io.tmpdir={}", dir.display()));
    java.arg("-cp").arg(classes).arg("mqadmin.Main").current_dir(dir);
    Ok(java)
}

fn java(steps: &[Step], known: &[(String, String)], dir: &Path) -> anyhow::Result<Vec<Printed>> {
    let (file, results) = (dir.join("steps"), dir.join("results"));
    let mut lines = String::new();
    for step in steps {
        let mut line = json!({"args": arguments(step, known), "seconds": step.seconds});
        if let Some(until) = step.until {
            line["until"] = json!(until);
        }
        if let Some(count) = step.lines {
            line["lines"] = json!(count);
        }
        lines.push_str(&format!("{line}\n"));
    }
    std::fs::write(&file, lines)?;
    let mut java = jvm(dir)?;
    java.arg("steps").arg(&file).arg(&results);
    let mut process = Process::start("steps", dir, java)?;
    let status = process.finish(ALL_WITHIN)?;
    ensure!(status.success(), "{}", process.last_words());
    let results = std::fs::read_to_string(&results)?;
    let printed: Vec<Printed> = results.lines().map(read).collect::<anyhow::Result<_>>()?;
    ensure!(
        printed.len() == steps.len(),
        "{} of {} steps were run",
        printed.len(),
        steps.len()
    );
    Ok(printed)
}

fn read(line: &str) -> anyhow::Result<Printed> {
    let value: Value = serde_json::from_str(line).context("a result of the java tool")?;
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Ok(Printed {
        out: text("out"),
        err: text("err"),
        status: value["status"].as_i64().unwrap_or_default(),
        took: Duration::from_millis(value["ms"].as_u64().unwrap_or_default()),
        is_late: false,
    })
}

fn ours(binary: &Path, step: &Step, known: &[(String, String)], dir: &Path) -> anyhow::Result<Printed> {
    let deadline = Instant::now() + Duration::from_secs(step.seconds);
    loop {
        let printed = once(binary, step, known, dir)?;
        let is_there = step.until.is_none_or(|text| printed.out.contains(text));
        if is_there || Instant::now() > deadline {
            return Ok(printed);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn once(binary: &Path, step: &Step, known: &[(String, String)], dir: &Path) -> anyhow::Result<Printed> {
    let mut command = Command::new(binary);
    command.args(arguments(step, known));
    command.current_dir(dir).env("HOME", dir).env("TMPDIR", dir);
    let began = Instant::now();
    let mut process = Process::start("step", dir, command)?;
    let lines = step.lines.unwrap_or(usize::MAX);
    while process.is_running()? && began.elapsed() < Duration::from_secs(step.seconds) {
        if lines < usize::MAX && process.output()?.lines().count() >= lines {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let is_stopped = process.is_running()?;
    if is_stopped {
        process.kill()?;
    }
    let status = process.finish(Duration::from_secs(1))?;
    Ok(Printed {
        out: process.output()?,
        err: process.complaints()?,
        status: if is_stopped {
            0
        } else {
            status.code().unwrap_or(-1).into()
        },
        took: began.elapsed(),
        is_late: is_stopped && step.lines.is_none(),
    })
}
