// SPDX-License-Identifier: Apache-2.0
//! Whether name servers answer and agree, and whether the brokers they tell of are there.

use std::collections::BTreeSet;

use super::Findings;
use super::sample::{NameServer, Sample, View};

pub(super) fn examine(sample: &Sample, findings: &mut Findings) {
    for names in &sample.names {
        if let Err(why) = &names.view {
            findings.error(
                format!("name server {}", names.addr),
                format!("does not answer: {why}"),
                "start it, or take it out of namesrvAddr of brokers and clients",
            );
        }
    }
    agreement(&sample.names, findings);
    for broker in &sample.brokers {
        if let Err(why) = &broker.table {
            findings.error(
                broker.label(),
                format!("is registered and does not answer: {why}"),
                "look whether its process runs, and at its log; name servers forget it after two minutes of silence",
            );
        }
    }
    let with_master: BTreeSet<&str> = sample
        .brokers
        .iter()
        .filter(|broker| broker.is_master())
        .map(|broker| broker.name.as_str())
        .collect();
    let names: BTreeSet<&str> = sample.brokers.iter().map(|broker| broker.name.as_str()).collect();
    for name in names.difference(&with_master) {
        findings.error(
            *name,
            "has no master: nothing can be sent to it, and what only the master had cannot be read",
            "start the master, or make the slave with the largest commitLogMaxOffset the master (docs/replication.md)",
        );
    }
}

fn agreement(servers: &[NameServer], findings: &mut Findings) {
    let views: Vec<(&str, &View)> = servers
        .iter()
        .filter_map(|names| Some((names.addr.as_str(), names.view.as_ref().ok()?)))
        .collect();
    let brokers: BTreeSet<_> = views.iter().flat_map(|(_, view)| &view.brokers).collect();
    let topics: BTreeSet<_> = views.iter().flat_map(|(_, view)| &view.topics).collect();
    for (addr, view) in views {
        let subject = format!("name server {addr}");
        for (_, name, id, broker) in brokers.iter().filter(|known| !view.brokers.contains(**known)) {
            findings.error(
                &subject,
                format!("does not know {name} {id} ({broker}), which another name server knows"),
                "look at namesrvAddr of the broker, and at the way between the two; clients that ask here miss it",
            );
        }
        let missing: Vec<_> = topics
            .iter()
            .filter(|topic| !view.topics.contains(**topic))
            .collect();
        if let Some(first) = missing.first() {
            findings.warning(
                &subject,
                format!(
                    "does not know {} topics that another name server knows, such as {first}",
                    missing.len()
                ),
                "brokers tell all name servers every 30 s; if it stays so, look at the way between them",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::sample::Broker;
    use super::*;

    fn names(addr: &str, brokers: &[&str]) -> NameServer {
        let known = brokers
            .iter()
            .map(|name| ("C".into(), (*name).into(), 0, format!("{name}:1").into()));
        NameServer {
            addr: addr.to_owned(),
            view: Ok(View {
                brokers: known.collect(),
                topics: BTreeSet::new(),
            }),
        }
    }

    #[test]
    fn a_name_server_that_lacks_a_broker_or_is_away_is_an_error() {
        let sample = Sample {
            names: vec![
                names("n1", &["a", "b"]),
                names("n2", &["a"]),
                NameServer {
                    addr: "n3".to_owned(),
                    view: Err("gone".to_owned()),
                },
            ],
            ..Sample::default()
        };
        let mut findings = Findings::default();
        examine(&sample, &mut findings);
        assert_eq!(
            findings.subjects(),
            [
                (Severity::Error, "name server n3"),
                (Severity::Error, "name server n2")
            ]
        );
        assert!(findings.0[1].finding.contains("does not know b 0 (b:1)"));
    }

    #[test]
    fn a_broker_without_a_master_is_an_error() {
        let slave = Broker {
            name: "a".into(),
            id: 1,
            table: Ok(Default::default()),
            ..Broker::default()
        };
        let sample = Sample {
            brokers: vec![slave],
            ..Sample::default()
        };
        let mut findings = Findings::default();
        examine(&sample, &mut findings);
        assert_eq!(findings.0.len(), 1);
        assert!(findings.0[0].finding.starts_with("has no master"));
    }
}
