// SPDX-License-Identifier: Apache-2.0
//! Brokers of one kind with name servers of the other, and one broker with two name servers: a client must find each
//! broker through each name server that was told of it.

use crate::clients::java_program;
use crate::{Outcome, Sides};
use std::time::Duration;
use testkit::process::Process;
use testkit::programs;
use testkit::server::Plan;

const WITHIN: Duration = Duration::from_secs(120);

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let Some((reference, barque)) = sides.both() else {
        return Ok(Outcome {
            line: "reach: SKIPPED, needs both servers".to_owned(),
            findings: Vec::new(),
        });
    };
    let classes = programs::java_client()?;
    let dir = sides.dir.join("reach");
    let java_names = Plan::new(reference, &dir.join("reference-names")).start_nameserver()?;
    let our_names = Plan::new(barque, &dir.join("barque-names")).start_nameserver()?;
    let java_broker = Plan::new(reference, &dir.join("reference-broker"))
        .named("java-broker")
        .known_to(our_names.nameserver())
        .start_broker()?;
    let our_broker = Plan::new(barque, &dir.join("barque-broker"))
        .named("our-broker")
        .known_to(java_names.nameserver())
        .known_to(our_names.nameserver())
        .start_broker()?;

    let checks = [
        (
            "reference broker at barque's name server",
            our_names.nameserver(),
            "java-broker",
        ),
        (
            "barque's broker at the reference's name server",
            java_names.nameserver(),
            "our-broker",
        ),
        (
            "barque's broker at the second of two name servers",
            our_names.nameserver(),
            "our-broker",
        ),
    ];
    let mut findings = Vec::new();
    for (i, (what, names, broker)) in checks.into_iter().enumerate() {
        let mut java = java_program(&classes, &dir.join("client"));
        java.arg("conformance.Main")
            .arg(names.to_string())
            .args(["reach", broker]);
        let mut process = Process::start(&format!("reach-{i}"), &dir, java)?;
        if !process.finish(WITHIN)?.success() {
            findings.push(format!("reach: {what}: {}", process.last_words()));
        }
    }
    for server in [java_broker, our_broker, java_names, our_names] {
        server.stop()?;
    }
    let line = format!(
        "reach: {} passed, {} failed",
        checks.len() - findings.len(),
        findings.len()
    );
    Ok(Outcome { line, findings })
}
