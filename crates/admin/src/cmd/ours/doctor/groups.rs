// SPDX-License-Identifier: Apache-2.0
//! Consumer groups: who falls behind, and whose members want different things.

use super::sample::Sample;
use super::{Findings, Limits};

/// The number of groups that were looked at.
pub(super) fn examine(sample: &Sample, limits: &Limits, findings: &mut Findings) -> usize {
    let lags = sample.lags();
    for (group, (before, now)) in &lags {
        if *now < limits.lag {
            continue;
        }
        let subject = format!("group {group}");
        let grown = now - before;
        match sample.members.get(group.as_str()) {
            Some(0) => findings.warning(
                &subject,
                format!("{now} messages wait, and no consumer is online"),
                "start its consumers; or, if nobody needs it, delete it with deleteSubGroup",
            ),
            _ if grown > 0 => {
                let rate = grown as f64 * 1000.0 / limits.interval_ms.max(1) as f64;
                findings.warning(
                    &subject,
                    format!("{now} messages wait, and it falls behind by {rate:.0} a second"),
                    "start more consumers (not more than the topic has queues), or make each faster; `consumerStatus` \
                     says how long a message takes",
                );
            }
            _ => findings.info(
                &subject,
                format!("{now} messages wait; between two looks they did not become more"),
                "`consumerProgress -g` says where they are",
            ),
        }
    }
    for conflict in sample.brokers.iter().flat_map(|broker| &broker.conflicts) {
        findings.error(
            format!("group {}", conflict.group),
            format!(
                "its members differ in {}: messages are lost to those whose subscription is not the last said",
                conflict.differs.join(", ")
            ),
            "give all members of a group the same subscription; LIST_SUBSCRIPTION_CONFLICTS names the clients",
        );
    }
    lags.len()
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::sample::Broker;
    use super::*;
    use wire::body::conflict::SubscriptionConflict;

    #[test]
    fn lag_that_grows_and_lag_that_nobody_works_on_are_found() {
        let lags = |pairs: &[(&str, i64)]| pairs.iter().map(|(group, lag)| ((*group).into(), *lag)).collect();
        let broker = Broker {
            lags: lags(&[
                ("grows", 5000),
                ("offline", 2000),
                ("shrinks", 3000),
                ("small", 10),
            ]),
            later_lags: lags(&[
                ("grows", 5600),
                ("offline", 2000),
                ("shrinks", 2500),
                ("small", 20),
            ]),
            conflicts: vec![SubscriptionConflict {
                group: "odd".into(),
                differs: vec!["topics".into()],
                ..SubscriptionConflict::default()
            }],
            ..Broker::default()
        };
        let sample = Sample {
            brokers: vec![broker],
            members: [("offline".to_owned(), 0), ("grows".to_owned(), 2)].into(),
            ..Sample::default()
        };
        let limits = Limits {
            interval_ms: 3000,
            lag: 1000,
        };
        let mut findings = Findings::default();
        assert_eq!(examine(&sample, &limits, &mut findings), 4);
        let seen: Vec<_> = findings
            .0
            .iter()
            .map(|known| (known.severity, known.subject.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                (Severity::Warning, "group grows"),
                (Severity::Warning, "group offline"),
                (Severity::Info, "group shrinks"),
                (Severity::Error, "group odd")
            ]
        );
        assert!(findings.0[0].finding.ends_with("falls behind by 200 a second"));
    }
}
