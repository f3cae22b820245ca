// SPDX-License-Identifier: Apache-2.0
//! Developer commands: one gate, run the same way by hand and in CI. It knows the tree, not the product: no crate
//! of the workspace is a dependency, so it still runs when one of them does not compile.

mod bench;
mod check;
mod conformance;
mod fuzz;
mod guard;
mod sim;
mod tidy;
mod tool;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of barque")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every test: Rust tests, tidy, then the official clients against the built broker
    Test,
    /// The gate: fmt, clippy, doc, dependency policy, tidy, tests
    Check,
    /// The rules of the tree that no compiler checks: file sizes, names, golden frames, links
    Tidy,
    /// Rewrite docs/configuration.md from the configuration structs
    Docs,
    /// Load barque and a yardstick by turns, print the comparison
    Bench(bench::Options),
    /// Run what threads share through all interleavings (models/), with loom
    Models,
    /// Run the fuzz targets (`fuzz --help`)
    Fuzz(fuzz::Options),
    /// Count what a message costs under valgrind, and hold it against docs/path-cost.md (`guard --help` lists its options)
    #[command(disable_help_flag = true)]
    Guard {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Play whole clusters in virtual time, each from one number (`sim --help` lists what it does; without arguments: its gate)
    #[command(disable_help_flag = true)]
    Sim {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run the official clients against the built broker (`conformance --help` lists its options)
    #[command(disable_help_flag = true)]
    Conformance {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Test => check::test(),
        Command::Check => check::check(),
        Command::Tidy => tidy::run(),
        Command::Docs => check::write_docs(),
        Command::Bench(options) => bench::run(&options),
        Command::Models => check::models(),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Guard { args } => guard::run(&args),
        Command::Sim { args } => sim::run(&args),
        Command::Conformance { args } => conformance::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
