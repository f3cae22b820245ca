// SPDX-License-Identifier: Apache-2.0
//! The gate and the test command. Steps go from the cheapest to the dearest and stop at the first that fails.

use crate::tool::{cargo, in_ci, root, step, target, works};
use crate::{conformance, sim, tidy};
use anyhow::bail;
use std::path::PathBuf;

/// Rust tests, tidy, simulation, conformance.
pub(crate) fn test() -> anyhow::Result<()> {
    rust_tests()?;
    tidy::run()?;
    sim::run(&[])?;
    eprintln!("\n==> conformance: official clients against this broker");
    conformance::run(&[])
}

/// fmt, tidy, dependency policy, clippy, doc, Rust tests. Conformance is a step of its own.
pub(crate) fn check() -> anyhow::Result<()> {
    step(
        "cargo fmt --check",
        &mut cargo(&["fmt", "--all", "--", "--check"]),
    )?;
    tidy::run()?;
    dependency_policy()?;
    step(
        "cargo clippy",
        &mut cargo(&[
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    step(
        "cargo doc",
        cargo(&[
            "doc",
            "--locked",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ])
        // Private items are in these pages, so links to them are right.
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"),
    )?;
    rust_tests()?;
    step(
        "load generator builds",
        cargo(&["check", "--locked", "--manifest-path", "bench/loadgen/Cargo.toml"])
            .env("CARGO_TARGET_DIR", target().join("loadgen")),
    )?;
    lint_beside("fuzz", "fuzz targets")?;
    lint_beside("models", "models")?;
    models()?;
    sim::lint()?;
    eprintln!("\ncheck: every step passed");
    Ok(())
}

/// fmt and clippy of a workspace of its own.
fn lint_beside(folder: &str, what: &str) -> anyhow::Result<()> {
    let manifest = format!("{folder}/Cargo.toml");
    step(
        &format!("cargo fmt --check, {what}"),
        &mut cargo(&["fmt", "--manifest-path", &manifest, "--", "--check"]),
    )?;
    let mut args = vec![
        "clippy",
        "--locked",
        "--all-targets",
        "--manifest-path",
        &manifest,
    ];
    args.extend(["--", "-D", "warnings"]);
    step(
        &format!("cargo clippy, {what}"),
        cargo(&args).env("CARGO_TARGET_DIR", target().join(folder)),
    )
}

/// What threads share, through all interleavings.
pub(crate) fn models() -> anyhow::Result<()> {
    step(
        "models of what threads share",
        cargo(&[
            "test",
            "--locked",
            "--release",
            "--manifest-path",
            "models/Cargo.toml",
        ])
        .env("CARGO_TARGET_DIR", target().join("models")),
    )
}

/// Rewrites the generated pages; the same test compares them in `test` and `check`.
pub(crate) fn write_docs() -> anyhow::Result<()> {
    step(
        "generated pages in docs/",
        cargo(&[
            "test",
            "-p",
            "barque",
            "--test",
            "reference",
            "--test",
            "request_codes",
        ])
        .env("BARQUE_BLESS", "1"),
    )
}

fn rust_tests() -> anyhow::Result<()> {
    step(
        "cargo test",
        &mut cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]),
    )
}

/// Licences, sources and banned crates, as written in deny.toml. Advisories need the network and are left out.
fn dependency_policy() -> anyhow::Result<()> {
    let Some(deny) = cargo_deny() else {
        if in_ci() {
            bail!("cargo-deny is missing; .ci/run installs it");
        }
        eprintln!("\n==> cargo deny: SKIPPED, not installed (`cargo install cargo-deny --locked`)");
        return Ok(());
    };
    let mut command = std::process::Command::new(deny);
    command
        .args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"])
        .current_dir(root());
    step("cargo deny", &mut command)
}

fn cargo_deny() -> Option<PathBuf> {
    let own = root().join("target/tools/bin/cargo-deny");
    [own, PathBuf::from("cargo-deny")]
        .into_iter()
        .find(|path| works(path, &["--version"]))
}
