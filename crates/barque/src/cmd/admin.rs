// SPDX-License-Identifier: Apache-2.0
//! `barque admin` and `mqadmin`: hands the command line to the `admin` crate.

use crate::cli;
use admin::Called;
use std::process::ExitCode;

pub(crate) fn run(options: &cli::Admin) -> ExitCode {
    let called = if cli::called_as_mqadmin(std::env::args_os().next()) {
        Called::Mqadmin
    } else {
        Called::Barque
    };
    // What is no text can be neither a name nor an address; it is refused by whatever it is meant for.
    let words: Vec<String> = options
        .words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    admin::run(called, &words)
}
