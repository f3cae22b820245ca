// SPDX-License-Identifier: Apache-2.0
//! The simulation, which is a workspace of its own: `sim/`.

use crate::tool::{cargo, root, step, target};

/// Builds the simulation and runs it; without arguments the tests of its own and its gate.
pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    let gate = [String::from("gate")];
    let args = if args.is_empty() {
        let mut tests = cargo(&["test", "--quiet", "--locked", "--release"]);
        tests
            .current_dir(root().join("sim"))
            .env_remove("RUSTFLAGS")
            .env("CARGO_TARGET_DIR", target().join("sim"));
        step("tests of the simulation", &mut tests)?;
        &gate[..]
    } else {
        args
    };
    let mut command = cargo(&["run", "--quiet", "--locked", "--release", "--"]);
    // Its folder has settings of cargo of its own.
    command
        .args(args)
        .current_dir(root().join("sim"))
        .env_remove("RUSTFLAGS")
        .env("CARGO_TARGET_DIR", target().join("sim"));
    step("simulation", &mut command)
}

/// Format and lints, as for the rest.
pub(crate) fn lint() -> anyhow::Result<()> {
    let mut fmt = cargo(&["fmt", "--", "--check"]);
    step(
        "simulation: cargo fmt --check",
        fmt.current_dir(root().join("sim")),
    )?;
    let mut clippy = cargo(&[
        "clippy",
        "--locked",
        "--release",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    clippy
        .current_dir(root().join("sim"))
        .env("CARGO_TARGET_DIR", target().join("sim"));
    step("simulation: cargo clippy", &mut clippy)
}
