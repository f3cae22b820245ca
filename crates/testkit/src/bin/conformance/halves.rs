// SPDX-License-Identifier: Apache-2.0
//! Transactions that one broker left open and the other ends: each opens what the other left behind, asks the producers,
//! and delivers each message: barque once, the reference perhaps again, because it delivers every copy it asked about.

use crate::Sides;
use crate::clients::java_program;
use anyhow::Context as _;
use std::path::Path;
use std::time::Duration;
use testkit::process::Process;
use testkit::programs;
use testkit::server::{Plan, Program};

const COUNT: &str = "5";
const WITHIN: Duration = Duration::from_secs(120);
const PATIENT: [(&str, &str); 1] = [("transactionCheckInterval", "3600000")];
/// The reference counts questions that nobody was there to hear, too.
const EAGER: [(&str, &str); 3] = [
    ("transactionCheckInterval", "1000"),
    ("transactionTimeOut", "1000"),
    ("transactionCheckMax", "1000"),
];

/// What was seen, and what was wrong.
pub(crate) fn run(sides: &Sides) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let all = sides.all();
    let (_, any) = all.first().context("nothing to run")?;
    let orders = match sides.both() {
        Some((reference, barque)) => vec![(barque, reference), (reference, barque)],
        None => vec![(*any, *any)],
    };
    let (mut told, mut failures) = (Vec::new(), Vec::new());
    for (at, (first, second)) in orders.into_iter().enumerate() {
        let dir = sides.dir.join(format!("halves-{at}"));
        let kind = match second {
            Program::Reference(_) => "reference",
            Program::Barque(_) => "barque",
        };
        let left = leg(first, &PATIENT, "halves", &dir)?;
        let ended = match left {
            Ok(()) => leg(second, &EAGER, "answers", &dir)?,
            Err(what) => Err(what),
        };
        match ended {
            Ok(()) => told.push(format!("{kind} ends open transactions")),
            Err(what) => {
                told.push(format!("{kind} ends open transactions FAILED"));
                failures.push(format!("swap: {kind} does not end open transactions: {what}"));
            }
        }
    }
    Ok((told, failures))
}

fn leg(
    program: &Program,
    settings: &[(&str, &str)],
    verb: &str,
    dir: &Path,
) -> anyhow::Result<Result<(), String>> {
    let mut plan = Plan::new(program, dir);
    for (key, value) in settings {
        plan = plan.set(key, value);
    }
    let server = plan.start()?;
    let mut java = java_program(&programs::java_client()?, &dir.join("client"));
    java.arg("conformance.Main")
        .arg(server.nameserver().to_string())
        .args([verb, COUNT]);
    let mut process = Process::start(verb, dir, java)?;
    let status = process.finish(WITHIN)?;
    let output = process.output()?;
    eprint!("{output}");
    server.stop()?;
    let may_repeat = verb == "halves" || matches!(program, Program::Reference(_));
    Ok(
        if status.success() && (may_repeat || output.contains("each once")) {
            Ok(())
        } else {
            Err(format!("{output}{}", process.last_words()))
        },
    )
}
