// SPDX-License-Identifier: Apache-2.0
//! The Helm chart: rendered by Helm's own engine with its own values and with those of the chart that most people have; every
//! server of what would be installed is then asked whether it takes its arguments. Values that cannot work are refused.
#![expect(
    clippy::disallowed_methods,
    reason = "values are real files, for Helm to read"
)]

use crate::{Outcome, Sides};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use testkit::programs;
use testkit::server::Program;

/// Values, and the settings that a broker of theirs must end up with.
const GOOD: [(&str, &[&str], usize); 3] = [
    (
        "",
        &[
            "brokerName=broker-0",
            "brokerId=0",
            "brokerRole=ASYNC_MASTER",
            "storePathRootDir=/data/store",
        ],
        2,
    ),
    (
        "community.yaml",
        &[
            "brokerName=broker-1",
            "brokerId=1",
            "brokerRole=SLAVE",
            "brokerClusterName=cluster-production",
            "fileReservedTime=48",
        ],
        7,
    ),
    (
        "text.yaml",
        &[
            "flushDiskType=SYNC_FLUSH",
            "messageDelayLevel=1s 5s 10s",
            "metricsExporterType=LOG",
        ],
        2,
    ),
];

/// Values that are refused, and a word of why.
const BAD: [(&str, &str); 11] = [
    ("proxy: {enabled: true}", "gRPC"),
    ("controllerModeEnabled: true", "controller"),
    ("broker: {master: {brokerRole: SYNC_MASTER}}", "replica"),
    ("broker: {size: {master: 0}}", "broker.size.master"),
    ("broker: {persistence: {size: much}}", "persistence.size"),
    ("broker: {config: [brokerName]}", "broker.config"),
    ("clusterName: \"../etc\"", "clusterName"),
    ("broker: {config: {metricsExporterType: DISABLE}}", "probes"),
    ("broker: {config: \"metricsExporterType = 0\"}", "probes"),
    (
        "broker: {config: {metricsExporterType: PROM}, replica: {config: {metricsExporterType: DISABLE}}}",
        "broker.replica",
    ),
    (
        "broker: {extraArgs: [--set, metricsExporterType=DISABLE]}",
        "probes",
    ),
];

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let Some(Program::Barque(binary)) = &sides.barque else {
        return Ok(Outcome {
            line: "chart: SKIPPED, needs barque".to_owned(),
            findings: Vec::new(),
        });
    };
    let renderer = programs::chart()?;
    let mut findings = Vec::new();
    let source = programs::root().join("conformance/chart");
    let mut servers = 0;
    for (name, settings, expected) in GOOD {
        let values = (!name.is_empty()).then(|| source.join(name));
        let objects = render(&renderer, values.as_deref())?;
        match check(binary, &objects, settings) {
            Ok(found) if found == expected => servers += found,
            Ok(found) => findings.push(format!("chart: {name}: {found} servers, not {expected}")),
            Err(error) => findings.push(format!("chart: {name}: {error:#}")),
        }
    }
    let dir = sides.dir.join("chart");
    std::fs::create_dir_all(&dir)?;
    for (text, reason) in BAD {
        let file = dir.join("values.yaml");
        std::fs::write(&file, text)?;
        match render(&renderer, Some(&file)) {
            Ok(_) => findings.push(format!("chart: `{text}` is not refused")),
            Err(error) if format!("{error:#}").contains(reason) => {}
            Err(error) => findings.push(format!(
                "chart: `{text}` is refused without \"{reason}\": {error:#}"
            )),
        }
    }
    Ok(Outcome {
        line: format!(
            "chart: {} values rendered, {servers} servers take their arguments, {} values refused, {} findings",
            GOOD.len(),
            BAD.len(),
            findings.len()
        ),
        findings,
    })
}

fn render(renderer: &Path, values: Option<&Path>) -> anyhow::Result<Vec<Value>> {
    let mut command = Command::new(renderer);
    command
        .arg(programs::root().join("deploy/helm/barque"))
        .args(values);
    let output = command.output().context("cannot start the renderer")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Asks each server whether its arguments are good (`-p` prints the settings and ends), and one broker whether these settings are
/// among its own. The number of servers.
fn check(binary: &Path, objects: &[Value], settings: &[&str]) -> anyhow::Result<usize> {
    let (mut servers, mut found) = (0, settings.is_empty());
    for object in objects.iter().filter(|object| object["kind"] == "StatefulSet") {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let replicas = object["spec"]["replicas"].as_u64().unwrap_or_default();
        let pod = &object["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let words = strings(&container["command"]).chain(strings(&container["args"]));
        let mut command = Command::new(binary);
        command
            .args(words.skip(1).map(|word| word.replace("$(POD_IP)", "10.0.0.1")))
            .arg("-p");
        for env in container["env"].as_array().into_iter().flatten() {
            if let (Some(key), Some(value)) = (env["name"].as_str(), env["value"].as_str()) {
                command.env(key, value);
            }
        }
        let output = command.output().context("cannot start barque")?;
        let told = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{name}: {command:?}: {told}");
        }
        if pod["securityContext"]["runAsNonRoot"] != true {
            bail!("{name} may run as root");
        }
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        found |= settings
            .iter()
            .all(|setting| printed.lines().any(|line| line == *setting));
        servers += usize::try_from(replicas)?;
    }
    if !found {
        bail!("no server has the settings {settings:?}");
    }
    Ok(servers)
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}
