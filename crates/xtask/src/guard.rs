// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask guard`: builds the program that counts what a message costs, as a release is built but with its symbols, and
//! hands over to it (`crates/testkit/src/bin/guard`, docs/path-cost.md).

use crate::tool::{cargo, in_ci, step, target, works};
use anyhow::bail;
use std::process::Command;

/// Builds it and passes the options on.
pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    if !works("valgrind", &["--version"]) {
        if in_ci() {
            bail!("valgrind is missing; .ci/run installs it");
        }
        eprintln!("\n==> guard: SKIPPED, valgrind is not installed");
        return Ok(());
    }
    step(
        "guard, release build with symbols",
        &mut cargo(&[
            "build",
            "--locked",
            "--profile",
            "profiling",
            "-p",
            "testkit",
            "--bin",
            "guard",
        ]),
    )?;
    let mut guard = Command::new(target().join("profiling/guard"));
    step("guard", guard.arg(target().join("guard")).args(args))
}
