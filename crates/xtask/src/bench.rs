// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask bench`: builds barque and the load generator, then lets `bench/compare.py` load both servers by turns.
//! What is measured and how to read it: `bench/README.md`.

use crate::tool::{cargo, root, step, target};
use anyhow::bail;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The stripped program is small: it is fetched by every node of a cluster.
const PROGRAM_BYTES_MAX: u64 = 25_000_000;

#[derive(Args)]
pub(crate) struct Options {
    /// Yardsticks by commas: `java` (the official broker), `floor` (the least a send costs on this machine)
    #[arg(long, value_delimiter = ',', default_value = "java,floor", value_parser = ["java", "floor", "all"])]
    against: Vec<String>,
    /// Cells: quick, full, sync (SYNC_FLUSH), consume, delay or timer (messages that are due in one second),
    /// transaction, inflight, replicas, or goals: all that barque has promised, with a verdict
    #[arg(long, default_value = "quick", value_parser = SETS)]
    set: String,
    /// Only cells with these in their names, by commas; * as in a shell
    #[arg(long)]
    cells: Option<String>,
    /// Rounds by turns; medians are printed
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Seconds of each cell
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Millions of messages to store before a kill -9; the restart is timed. 0 leaves it out [default: 10 with goals, else 0]
    #[arg(long, value_name = "MILLIONS")]
    recovery: Option<f64>,
    /// Runs each load once more under strace, and counts system calls per message
    #[arg(long)]
    syscalls: bool,
}

const SETS: [&str; 10] = [
    "quick",
    "full",
    "sync",
    "consume",
    "delay",
    "timer",
    "transaction",
    "inflight",
    "replicas",
    "goals",
];

/// The servers that barque is compared with, in the order of the columns.
const YARDSTICKS: [&str; 2] = ["java", "floor"];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    step(
        "barque, release build",
        &mut cargo(&["build", "--locked", "--release", "-p", "barque"]),
    )?;
    let bytes = std::fs::metadata(target().join("release/barque"))?.len();
    if bytes > PROGRAM_BYTES_MAX {
        bail!(
            "the program has {bytes} bytes, allowed are {PROGRAM_BYTES_MAX}: a new package may be too large"
        );
    }
    let loadgen = build_loadgen()?;
    let wants = |name| options.against.iter().any(|a| a == name || a == "all");
    let jars = if wants("java") { java_jars() } else { None };
    if wants("java") && jars.is_none() {
        if !wants("floor") {
            bail!("Maven could not fetch the official servers");
        }
        eprintln!("\n==> java: SKIPPED, Maven could not fetch the official servers");
    }
    let yardsticks: Vec<&str> = YARDSTICKS
        .into_iter()
        .filter(|name| wants(name) && (*name != "java" || jars.is_some()))
        .collect();
    compare(options, &loadgen, &yardsticks, jars.as_deref())
}

fn build_loadgen() -> anyhow::Result<PathBuf> {
    let dir = target().join("loadgen");
    step(
        "load generator, release build",
        cargo(&[
            "build",
            "--locked",
            "--release",
            "--manifest-path",
            "bench/loadgen/Cargo.toml",
        ])
        .env("CARGO_TARGET_DIR", &dir),
    )?;
    Ok(dir.join("release/loadgen"))
}

/// One run of all servers by turns, barque last.
fn compare(
    options: &Options,
    loadgen: &Path,
    yardsticks: &[&str],
    jars: Option<&Path>,
) -> anyhow::Result<()> {
    let bench = root().join("bench");
    let mut command = Command::new("python3");
    command.arg(bench.join("compare.py"));
    for (flag, name) in ["--a", "--b", "--c"]
        .iter()
        .zip(yardsticks.iter().chain(&["barque"]))
    {
        let script = bench.join(format!("servers/{name}.sh"));
        command.arg(flag).arg(format!("{name}={}", script.display()));
    }
    command
        .arg("--work")
        .arg(target().join("bench").join(&options.set))
        .args(["--set", &options.set, "--rounds", &options.rounds.to_string()])
        .args(["--seconds", &options.seconds.to_string()])
        .env("LOADGEN", loadgen)
        .env("BARQUE", target().join("release/barque"))
        .current_dir(root());
    if let Some(cells) = &options.cells {
        command.args(["--cells", cells]);
    }
    if let Some(millions) = options.recovery {
        command.args(["--recovery", &millions.to_string()]);
    }
    if options.syscalls {
        command.arg("--syscalls");
    }
    if let Some(jars) = jars {
        command.env("JAVA_LIB", jars);
    }
    step("the servers by turns", &mut command)
}

/// The folder of the official jars, fetched by name through Maven; `None` when that is not possible.
fn java_jars() -> Option<PathBuf> {
    let jars = target().join("bench/java-jars");
    let mut maven = Command::new("mvn");
    maven
        .args(["-q", "dependency:copy-dependencies"])
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .current_dir(root().join("bench/java-jars"));
    step("official Java servers", &mut maven).ok().map(|()| jars)
}
