// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask conformance`: builds the broker and hands over to the program that runs the official clients against it
//! (`crates/testkit/src/bin/conformance`), which compiles only when it is asked for.

use crate::tool::{cargo, step};

/// Builds barque unless `BARQUE` names a binary, then runs the sections asked for.
pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    let without_barque = args
        .windows(2)
        .any(|pair| pair[0] == "--only" && pair[1] == "reference");
    if std::env::var_os("BARQUE").is_none() && !without_barque {
        step(
            "cargo build -p barque",
            &mut cargo(&["build", "--locked", "-p", "barque"]),
        )?;
    }
    let mut conformance = cargo(&[
        "run",
        "--locked",
        "--quiet",
        "-p",
        "testkit",
        "--bin",
        "conformance",
        "--",
    ]);
    step("conformance", conformance.args(args))
}
