// SPDX-License-Identifier: Apache-2.0
//! The one program: reads the command line and the configuration, takes the ports, runs a name server, a broker or
//! both until a signal, the load generator, or what looks at a store, and tells the user in one line when it cannot. It decides nothing about messages.

mod cli;
mod cmd;
mod configuration;
mod listen;
mod log;
mod report;
mod stop;

use clap::Parser as _;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse_from(cli::with_command(std::env::args_os()));
    let outcome = match &cli.command {
        Command::Dev(options) => cmd::dev::run(options),
        Command::Nameserver(options) => cmd::nameserver::run(options),
        Command::Broker(options) => cmd::broker::run(options),
        Command::Shutdown(options) => cmd::shutdown::run(options),
        Command::Bench(options) => return cmd::bench::run(options),
        Command::Store(options) => return cmd::store::run(options),
        Command::Admin(options) => return cmd::admin::run(options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", report::one_line(&error));
            ExitCode::FAILURE
        }
    }
}
