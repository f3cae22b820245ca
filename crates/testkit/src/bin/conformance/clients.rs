// SPDX-License-Identifier: Apache-2.0
//! The official clients: the same scenes against each server, and their lines side by side.

use crate::{Outcome, Sides};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testkit::process::Process;
use testkit::programs;
use testkit::server::{Plan, Program};

/// All scenes of one pass; a scene gives up after a minute of waiting.
const PASS_WITHIN: Duration = Duration::from_secs(600);

/// One pass of a client: what it printed, by scene.
#[derive(Default)]
struct Pass {
    name: String,
    scenes: Vec<(String, Vec<String>)>,
    passed: usize,
    failed: usize,
}

/// How a client's driver is started: with the address of a name server, and a directory for what it keeps.
type Driver<'a> = &'a (dyn Fn(SocketAddr, &Path) -> Command + Sync);

/// A pass, and the broker it wants.
struct Wanted<'a> {
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    driver: Driver<'a>,
}

/// Nothing but what a scene needs: what is off by default, questions about transactions that come soon (the
/// reference writes down what has ended before it asks), and compaction that comes soon and has small files to work on.
const DEFAULT: &[(&str, &str)] = &[
    ("recallMessageEnable", "true"),
    ("enablePropertyFilter", "true"),
    ("transactionCheckInterval", "2000"),
    ("transactionTimeOut", "3000"),
    ("transactionOpBatchInterval", "100"),
    ("compactionScheduleInternal", "1000"),
    ("compactionMappedFileSize", "20000"),
    ("compactionCqMappedFileSize", "460"),
];
const NO_AUTOCREATE: &[(&str, &str)] = &[("autoCreateTopicEnable", "false")];

pub(crate) fn java(sides: &Sides) -> anyhow::Result<Outcome> {
    let classes = programs::java_client()?;
    let jvm = |encoding: &str, nameserver: SocketAddr, home: &Path| {
        let mut java = java_program(&classes, home);
        java.arg(format!("-Drocketmq.serialize.type={encoding}"))
            .arg("conformance.Main");
        java.arg(nameserver.to_string());
        java
    };
    let json = |nameserver: SocketAddr, home: &Path| jvm("JSON", nameserver, home);
    let binary = |nameserver: SocketAddr, home: &Path| {
        let mut java = jvm("ROCKETMQ", nameserver, home);
        java.args(["--suffix", "_binary"]);
        java
    };
    let refused = |nameserver: SocketAddr, home: &Path| {
        let mut java = jvm("JSON", nameserver, home);
        java.arg("refused");
        java
    };
    let wanted = [
        Wanted {
            name: "json",
            settings: DEFAULT,
            driver: &json,
        },
        Wanted {
            name: "binary",
            settings: DEFAULT,
            driver: &binary,
        },
        Wanted {
            name: "no-autocreate",
            settings: NO_AUTOCREATE,
            driver: &refused,
        },
    ];
    compare("java", sides, &wanted)
}

pub(crate) fn go(sides: &Sides) -> anyhow::Result<Outcome> {
    let client = programs::go_client()?;
    let driver = |nameserver: SocketAddr, home: &Path| {
        let mut go = Command::new(&client);
        go.env("rocketmq.client.localOffsetStoreDir", home.join("offsets"))
            .arg(nameserver.to_string());
        go
    };
    compare(
        "go",
        sides,
        &[Wanted {
            name: "go",
            settings: DEFAULT,
            driver: &driver,
        }],
    )
}

/// A JVM with the Java driver on its class path, its logs and offsets below `home`.
pub(crate) fn java_program(classes: &str, home: &Path) -> Command {
    let mut java = Command::new("java");
    java.args([
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        classes,
    ]);
    java.arg(format!("-Duser.home={}", home.display()));
    java.arg(format!(
        "-Drocketmq.client.localOffsetStoreDir={}",
        home.join("offsets").display()
    ));
    java
}

/// The servers run at the same time, the passes of one server one after the other.
fn compare(language: &str, sides: &Sides, wanted: &[Wanted<'_>]) -> anyhow::Result<Outcome> {
    let all = sides.all();
    let passes: Vec<anyhow::Result<Vec<Pass>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = all
            .iter()
            .map(|(side, program)| {
                let dir = sides.dir.join(language).join(side);
                scope.spawn(move || passes(program, &dir, wanted).with_context(|| (*side).to_owned()))
            })
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|_| Err(anyhow::anyhow!("panicked"))))
            .collect()
    });
    let passes = passes.into_iter().collect::<anyhow::Result<Vec<Vec<Pass>>>>()?;

    let mut findings = Vec::new();
    let mut words = Vec::new();
    for ((side, _), passes) in all.iter().zip(&passes) {
        for pass in passes {
            findings.extend(
                pass.failures()
                    .map(|line| format!("{language}: {side}, {}: {line}", pass.name)),
            );
        }
        let passed: usize = passes.iter().map(|pass| pass.passed).sum();
        let failed: usize = passes.iter().map(|pass| pass.failed).sum();
        words.push(format!("{side} {passed} passed, {failed} failed"));
    }
    if let [reference, ours] = passes.as_slice() {
        let (lines, differing) = (reference.iter().map(Pass::lines).sum::<usize>(), findings.len());
        for (reference, ours) in reference.iter().zip(ours) {
            findings.extend(
                reference
                    .differences(ours)
                    .into_iter()
                    .map(|d| format!("{language}: {d}")),
            );
        }
        words.push(format!("{} of {lines} lines differ", findings.len() - differing));
    }
    Ok(Outcome {
        line: format!("{language}: {}", words.join("; ")),
        findings,
    })
}

fn passes(program: &Program, dir: &Path, wanted: &[Wanted<'_>]) -> anyhow::Result<Vec<Pass>> {
    let mut passes = Vec::new();
    for group in wanted.chunk_by(|a, b| a.settings == b.settings) {
        let Some(first) = group.first() else { continue };
        let mut plan = Plan::new(program, &dir.join(first.name));
        for (key, value) in first.settings {
            plan = plan.set(key, value);
        }
        let server = plan.start()?;
        for one in group {
            let driver = (one.driver)(server.nameserver(), &dir.join("client"));
            let mut process = Process::start(one.name, dir, driver)?;
            process.finish(PASS_WITHIN)?;
            let pass = Pass::read(one.name, &process.output()?);
            passes.push(pass.with_context(|| process.last_words())?);
        }
        server.stop()?;
    }
    Ok(passes)
}

impl Pass {
    /// Reads `scene: line` lines and the closing `language: N passed, N failed`.
    fn read(name: &str, output: &str) -> anyhow::Result<Pass> {
        let mut lines: Vec<&str> = output.lines().collect();
        let closing = lines.pop().context("the client printed nothing")?;
        let numbers: Vec<usize> = closing.split(' ').filter_map(|word| word.parse().ok()).collect();
        let &[passed, failed] = numbers.as_slice() else {
            anyhow::bail!("the client did not come to its end, its last line is: {closing}");
        };
        let mut scenes: Vec<(String, Vec<String>)> = Vec::new();
        for line in lines {
            let (scene, text) = line.split_once(": ").unwrap_or(("", line));
            match scenes.last_mut() {
                Some((last, lines)) if last == scene => lines.push(text.to_owned()),
                _ => scenes.push((scene.to_owned(), vec![text.to_owned()])),
            }
        }
        Ok(Pass {
            name: name.to_owned(),
            scenes,
            passed,
            failed,
        })
    }

    fn lines(&self) -> usize {
        self.scenes.iter().map(|(_, lines)| lines.len()).sum()
    }

    fn failures(&self) -> impl Iterator<Item = String> {
        let all = self
            .scenes
            .iter()
            .flat_map(|(scene, lines)| lines.iter().map(move |line| (scene, line)));
        all.filter(|(_, line)| line.starts_with("FAILED"))
            .map(|(scene, line)| format!("{scene}: {line}"))
    }

    fn differences(&self, ours: &Pass) -> Vec<String> {
        let theirs: BTreeMap<&String, &Vec<String>> =
            ours.scenes.iter().map(|(name, lines)| (name, lines)).collect();
        let none = Vec::new();
        let mut found = Vec::new();
        for (scene, reference) in &self.scenes {
            let ours = theirs.get(scene).copied().unwrap_or(&none);
            for i in 0..reference.len().max(ours.len()) {
                let (a, b) = (reference.get(i), ours.get(i));
                if a != b {
                    let [a, b] = [a, b].map(|line| line.map_or("(no line)", String::as_str));
                    found.push(format!(
                        "{}, {scene}:\n  reference {a}\n  barque    {b}",
                        self.name
                    ));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_only_one_side_has_is_a_difference() {
        let long = Pass::read("p", "a: one\na: two\nb: x\njava: 2 passed, 0 failed").unwrap();
        let short = Pass::read("p", "a: one\nb: x\njava: 2 passed, 0 failed").unwrap();
        assert_eq!(
            long.differences(&short),
            ["p, a:\n  reference two\n  barque    (no line)"]
        );
        assert_eq!(
            short.differences(&long),
            ["p, a:\n  reference (no line)\n  barque    two"]
        );
        assert!(long.differences(&long).is_empty());
    }

    #[test]
    fn a_client_that_did_not_reach_its_end_is_an_error() {
        assert!(Pass::read("p", "a: one\na: two").is_err());
        assert!(Pass::read("p", "").is_err());
    }
}
