// SPDX-License-Identifier: Apache-2.0
//! `doctor`: looks at a whole cluster, and says what is wrong with it and what to do.
//!
//! What servers say is gathered first (`sample`), twice where only a change tells something; rules over it are pure (`names`,
//! `brokers`, `copies`, `groups`).

mod brokers;
mod copies;
mod groups;
mod names;
mod sample;

use std::time::Duration;

use serde::Serialize;

use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, long_value, value};
use sample::Sample;

pub(crate) const DOCTOR: Command = Command {
    name: "doctor",
    about: "Look at a whole cluster, and say what is wrong and what to do.",
    options: &[
        value("c", "clusterName", "only this cluster"),
        long_value(
            "interval",
            "seconds between two looks, for what only a change tells; default 3",
        ),
        long_value("lag", "messages that a group may be behind; default 1000"),
    ],
    ours: true,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// Something does not work, or messages can be lost.
    Error,
    /// It will not work for long, or works otherwise than somebody may think.
    Warning,
    /// Worth to know.
    Info,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Finding {
    severity: Severity,
    subject: String,
    finding: String,
    advice: String,
}

/// What the rules need to know beside what servers say.
struct Limits {
    /// Messages that a group may be behind.
    lag: i64,
}

/// What was looked at, and what was found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    name_servers: usize,
    brokers: usize,
    groups: usize,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

/// Collects findings.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    /// What is told, without whom it is about and what to do.
    #[cfg(test)]
    fn told(self) -> Vec<(Severity, String)> {
        let known = self.0.into_iter();
        known.map(|known| (known.severity, known.finding)).collect()
    }

    /// Whom something is told about.
    #[cfg(test)]
    fn subjects(&self) -> Vec<(Severity, &str)> {
        let known = self.0.iter();
        known
            .map(|known| (known.severity, known.subject.as_str()))
            .collect()
    }

    fn error(&mut self, subject: impl Into<String>, finding: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Error, subject.into(), [finding.into(), advice.into()]);
    }

    fn warning(&mut self, subject: impl Into<String>, finding: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Warning, subject.into(), [finding.into(), advice.into()]);
    }

    fn info(&mut self, subject: impl Into<String>, finding: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Info, subject.into(), [finding.into(), advice.into()]);
    }

    fn add(&mut self, severity: Severity, subject: String, [finding, advice]: [String; 2]) {
        self.0.push(Finding {
            severity,
            subject,
            finding,
            advice,
        });
    }
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    const SECONDS_MAX: u64 = 600;
    let seconds: u64 = args.number("interval")?.unwrap_or(3);
    if seconds == 0 || seconds > SECONDS_MAX {
        return Err(Failure::Usage(format!(
            "option interval: from 1 to {SECONDS_MAX} seconds"
        )));
    }
    let interval = Duration::from_secs(seconds);
    let limits = Limits {
        lag: args.number("lag")?.unwrap_or(1000),
    };
    let sample = Sample::take(ctx, args.get("c"), interval).await?;
    let report = report(&sample, &limits);
    ctx.show(&report, String::new);
    match report.errors + report.warnings {
        0 => Ok(()),
        1 => Err(Failure::Other("one thing is wrong, see above".to_owned())),
        count => Err(Failure::Other(format!("{count} things are wrong, see above"))),
    }
}

fn report(sample: &Sample, limits: &Limits) -> Report {
    let mut findings = Findings::default();
    names::examine(sample, &mut findings);
    brokers::examine(sample, &mut findings);
    copies::examine(sample, &mut findings);
    let groups = groups::examine(sample, limits, &mut findings);
    let mut findings = findings.0;
    findings.sort();
    findings.dedup();
    let count = |severity| findings.iter().filter(|known| known.severity == severity).count();
    Report {
        name_servers: sample.names.len(),
        brokers: sample.brokers.len(),
        groups,
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        findings,
    }
}
