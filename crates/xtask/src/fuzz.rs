// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask fuzz`: builds the targets in `fuzz/` with libFuzzer and runs them one after the other.
//!
//! The pinned compiler does it: the coverage that libFuzzer is guided by comes from a pass of LLVM that every toolchain has
//! (`-Cpasses=sancov-module`); only the sanitizers would need a nightly one. What a target found goes below the target directory,
//! and each run goes on from there. What is worth keeping of it is in `fuzz/corpus`, which `--merge` writes ([`corpus`]).

mod corpus;

use crate::tool::{cargo, root, step, target};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Flags of the build: where the program goes is counted, comparisons are told, and `assert!` for debugging counts.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
/// Of all executions that are wanted, a target of these gets one where another one gets so many.
const SLOW: [&str; 6] = ["broker", "nameserver", "store", "tables", "timers", "journal"];
const QUICK_SHARE: u64 = 50;
/// Executions of each slow target in a short run; the others get so many times more.
const SHORT_RUNS: u64 = 400;

#[derive(Args)]
pub(crate) struct Options {
    /// Executions of all targets together; of those that run whole servers and stores there are fewer
    #[arg(long, conflicts_with = "seconds")]
    executions: Option<u64>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What every change has to pass: all inputs that are kept and a fixed number of others, from a quick build
    #[arg(long, conflicts_with_all = ["executions", "seconds", "merge"])]
    short: bool,
    /// Runs nothing new, but keeps what was found in fuzz/corpus, as far as it reaches something that nothing smaller does
    #[arg(long, conflicts_with_all = ["executions", "seconds"])]
    merge: bool,
    /// A build that is less optimized: done sooner, but the targets take three times as long
    #[arg(long)]
    debug: bool,
    /// Only these targets
    targets: Vec<String>,
}

/// A target, and the program that runs it.
struct Named {
    name: String,
    program: String,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let all = targets()?;
    for name in &options.targets {
        let names: Vec<&str> = all.iter().map(|target| &*target.name).collect();
        ensure!(
            names.contains(&name.as_str()),
            "there is no target {name}; there are {}",
            names.join(", ")
        );
    }
    let wanted: Vec<&Named> = all
        .iter()
        .filter(|target| options.targets.is_empty() || options.targets.contains(&target.name))
        .collect();
    let programs = build(options.debug || options.short)?;
    let weights: u64 = wanted.iter().map(|target| weight(&target.name)).sum();
    let (mut report, mut total) = (String::new(), 0);
    for Named { name, program } in wanted {
        let program = programs.join(program);
        if options.merge {
            corpus::merge(&program, name)?;
            continue;
        }
        let bound = match options.executions {
            Some(executions) => format!("-runs={}", executions * weight(name) / weights.max(1)),
            // The kept inputs are the first of its runs.
            None if options.short => format!("-runs={}", corpus::kept(name)? + SHORT_RUNS * weight(name)),
            None => format!("-max_total_time={}", options.seconds),
        };
        let executed = execute(&program, name, &bound).with_context(|| format!("target {name}\n{report}"))?;
        report.push_str(&format!("{executed:>12}  {name}\n"));
        total += executed;
    }
    if !options.merge {
        eprintln!("\nfuzz: no crash\n{report}{total:>12}  executions");
    }
    Ok(())
}

fn weight(name: &str) -> u64 {
    if SLOW.contains(&name) { 1 } else { QUICK_SHARE }
}

/// All of them: each is a file beside the `main.rs` of its program.
fn targets() -> anyhow::Result<Vec<Named>> {
    let mut all = Vec::new();
    for program in names_in(&root().join("fuzz/src/bin"))? {
        let files = names_in(&root().join("fuzz/src/bin").join(&program))?;
        let names = files
            .iter()
            .filter_map(|file| file.strip_suffix(".rs"))
            .filter(|name| *name != "main");
        all.extend(names.map(|name| Named {
            name: name.to_owned(),
            program: program.clone(),
        }));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn names_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// Builds the programs; where they are.
fn build(is_debug: bool) -> anyhow::Result<PathBuf> {
    let host = host()?;
    let folder = target().join("fuzzing");
    let mut args = vec![
        "build",
        "--locked",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--bins",
    ];
    // Named, so that the flags are for the targets and not for what is run to build them.
    args.extend(["--target", &host]);
    if !is_debug {
        args.push("--release");
    }
    step(
        "fuzz targets",
        cargo(&args)
            .env("CARGO_TARGET_DIR", &folder)
            .env("RUSTFLAGS", FLAGS),
    )?;
    Ok(folder
        .join(&host)
        .join(if is_debug { "debug" } else { "release" }))
}

/// The target triple of this machine.
fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .current_dir(root())
        .output()
        .context("rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it runs on")?.to_owned())
}

/// Runs one; the number of its executions.
fn execute(program: &Path, name: &str, bound: &str) -> anyhow::Result<u64> {
    eprintln!("\n==> fuzz {name} ({bound})");
    let inputs = corpus::unpack(name)?;
    let crashes = target().join("fuzzing/crashes");
    std::fs::create_dir_all(&crashes)?;
    let output = Command::new(program)
        .env("FUZZ_TARGET", name)
        .arg(&inputs)
        .arg(bound)
        .args([
            "-print_final_stats=1",
            "-timeout=60",
            "-rss_limit_mb=4096",
            "-verbosity=0",
            "-close_fd_mask=1",
        ])
        .arg(format!("-artifact_prefix={}/{name}-", crashes.display()))
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!(
            "{}\nit failed ({}); its input is in {}",
            end_of(&told),
            output.status,
            crashes.display()
        );
    }
    let executed = told
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .and_then(|number| number.trim().parse().ok());
    executed.with_context(|| format!("{name} does not say how often it ran"))
}

/// The last lines of what a program said.
fn end_of(told: &str) -> String {
    let lines: Vec<&str> = told.lines().collect();
    lines
        .get(lines.len().saturating_sub(60)..)
        .unwrap_or_default()
        .join("\n")
}
