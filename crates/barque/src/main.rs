// SPDX-License-Identifier: Apache-2.0
//! The one program: reads the command line and the configuration, takes the ports, runs a name server, a broker or
//! both until a signal, and tells the user in one line when it cannot. It decides nothing about messages.

mod cli;
mod cmd;
mod configuration;
mod listen;
mod report;
mod stop;

use clap::Parser as _;
use cli::{Cli, Command};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse_from(cli::with_command(std::env::args_os()));
    log_to_stderr(if matches!(cli.command, Command::Dev(_)) {
        "warn"
    } else {
        "info"
    });
    let outcome = match &cli.command {
        Command::Dev(options) => cmd::dev::run(options),
        Command::Nameserver(options) => cmd::nameserver::run(options),
        Command::Broker(options) => cmd::broker::run(options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", report::one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
