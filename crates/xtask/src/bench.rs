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
    /// `java` (the official broker), `floor` (the least a send costs on this machine) or `all`
    #[arg(long, default_value = "all", value_parser = ["java", "floor", "all"])]
    against: String,
    /// Load cells: quick, full, sync (SYNC_FLUSH), delay or timer (messages that are due in one second) or transaction
    #[arg(long, default_value = "quick", value_parser = ["quick", "full", "sync", "delay", "timer", "transaction"])]
    set: String,
    /// Rounds by turns; medians are printed
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Seconds of each cell
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Millions of messages to store before a kill -9; the restart is timed. 0 leaves it out
    #[arg(long, default_value_t = 0.0, value_name = "MILLIONS")]
    recovery: f64,
}

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
    // The floor server delays nothing and ends no transactions.
    let plain = !matches!(options.set.as_str(), "delay" | "timer" | "transaction");
    if options.against != "java" && plain {
        compare(options, &loadgen, "floor", None)?;
    }
    if options.against != "floor" {
        match java_jars() {
            Some(jars) => compare(options, &loadgen, "java", Some(&jars))?,
            None if options.against == "java" => bail!("Maven could not fetch the official servers"),
            None => eprintln!("\n==> java: SKIPPED, Maven could not fetch the official servers"),
        }
    }
    Ok(())
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

fn compare(options: &Options, loadgen: &Path, yardstick: &str, jars: Option<&Path>) -> anyhow::Result<()> {
    let bench = root().join("bench");
    let mut command = Command::new("python3");
    command
        .arg(bench.join("compare.py"))
        .arg("--a")
        .arg(format!(
            "{yardstick}={}",
            bench.join(format!("servers/{yardstick}.sh")).display()
        ))
        .arg("--b")
        .arg(format!("barque={}", bench.join("servers/barque.sh").display()))
        .arg("--work")
        .arg(target().join("bench").join(yardstick))
        .args(["--set", &options.set, "--rounds", &options.rounds.to_string()])
        .args(["--seconds", &options.seconds.to_string()])
        .args(["--recovery", &options.recovery.to_string()])
        .env("LOADGEN", loadgen)
        .env("BARQUE", target().join("release/barque"))
        .current_dir(root());
    if let Some(jars) = jars {
        command.env("JAVA_LIB", jars);
    } else {
        command.args(["--warm", "10"]);
    }
    step(&format!("barque against {yardstick}"), &mut command)
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
