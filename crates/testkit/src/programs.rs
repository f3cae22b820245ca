// SPDX-License-Identifier: Apache-2.0
//! The programs that are not Rust: the Java reference servers and the official clients' drivers. Each is resolved or built
//! once per content of its sources, into `target/conformance`, and found there the next time.
#![expect(clippy::disallowed_methods, reason = "build products are real files")]

use anyhow::{Context as _, bail};
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A marker that a directory is complete.
const DONE: &str = ".done";

/// Why a program cannot be had here, in a few words: a tool that is not installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub &'static str);

/// The root of the tree.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The directory that cargo builds into.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The first of these tools that does not start.
pub fn missing(tools: &[&'static str]) -> Option<Missing> {
    tools.iter().find(|tool| !starts(tool)).map(|tool| Missing(tool))
}

/// The directory with the jars of the Java name server and broker.
pub fn java_server() -> anyhow::Result<PathBuf> {
    cached("java-server", |source, out| {
        let mut maven = maven(source);
        maven.arg("dependency:copy-dependencies");
        maven.arg(format!("-DoutputDirectory={}", out.display()));
        run(maven)
    })
}

/// The class path of the program that drives the official Java client.
pub fn java_client() -> anyhow::Result<String> {
    java_program("java")
}

/// The class path of the program that runs the official `mqadmin`.
pub fn java_mqadmin() -> anyhow::Result<String> {
    java_program("java-mqadmin")
}

fn java_program(name: &str) -> anyhow::Result<String> {
    let out = cached(name, |source, out| {
        let mut maven = maven(source);
        maven.args(["compile", "dependency:copy-dependencies"]);
        maven.arg(format!("-Dout={}", out.display()));
        maven.arg(format!("-DoutputDirectory={}", out.join("lib").display()));
        run(maven)
    })?;
    Ok(format!(
        "{}:{}",
        out.join("classes").display(),
        out.join("lib/*").display()
    ))
}

/// The program that drives the official Go client.
pub fn go_client() -> anyhow::Result<PathBuf> {
    go_program("go", "client")
}

/// The program that renders the Helm chart.
pub fn chart() -> anyhow::Result<PathBuf> {
    go_program("chart", "chart")
}

fn go_program(directory: &str, program: &str) -> anyhow::Result<PathBuf> {
    let out = cached(directory, |source, out| {
        let mut go = Command::new("go");
        go.args(["build", "-trimpath", "-o"])
            .arg(out.join(program))
            .arg(".");
        go.current_dir(source);
        run(go)
    })?;
    Ok(out.join(program))
}

/// Runs `build` unless this content of `conformance/<name>` was built before.
fn cached(name: &str, build: impl FnOnce(&Path, &Path) -> anyhow::Result<()>) -> anyhow::Result<PathBuf> {
    let source = root().join("conformance").join(name);
    let mut hash = DefaultHasher::new();
    content(&source, &mut hash)?;
    let builds = target().join("conformance/build").join(name);
    let out = builds.join(format!("{:016x}", hash.finish()));
    if !out.join(DONE).exists() {
        eprintln!("building conformance/{name}");
        if builds.exists() {
            std::fs::remove_dir_all(&builds)?; // what older sources gave
        }
        std::fs::create_dir_all(&out)?;
        build(&source, &out).with_context(|| format!("conformance/{name}"))?;
        File::create(out.join(DONE))?;
    }
    Ok(out)
}

/// Hashes names and bytes of all files below a directory, in one order on every machine.
fn content(dir: &Path, hash: &mut DefaultHasher) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut paths = entries
        .map(|e| Ok(e?.path()))
        .collect::<anyhow::Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            content(&path, hash)?;
        } else {
            path.file_name().hash(hash);
            std::fs::read(&path)?.hash(hash);
        }
    }
    Ok(())
}

fn maven(source: &Path) -> Command {
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B"]).current_dir(source);
    maven
}

fn run(mut command: Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !output.status.success() {
        let told = [output.stdout, output.stderr].concat();
        bail!(
            "{:?} {}: {}",
            command.get_program(),
            output.status,
            String::from_utf8_lossy(&told)
        );
    }
    Ok(())
}

fn starts(tool: &str) -> bool {
    let version = if tool == "go" { "version" } else { "--version" };
    let mut command = Command::new(tool);
    command
        .arg(version)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
