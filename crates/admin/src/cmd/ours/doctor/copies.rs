// SPDX-License-Identifier: Apache-2.0
//! Replication: whether there are the copies that settings promise, and how far they are.

use super::Findings;
use super::sample::{Broker, Sample};

/// Bytes a slave may lack before it is worth a word.
const BEHIND_BYTES: i64 = 64 << 20;

pub(super) fn examine(sample: &Sample, findings: &mut Findings) {
    for master in sample.brokers.iter().filter(|broker| broker.is_master()) {
        let slaves = sample.brokers.iter();
        let slaves: Vec<&Broker> = slaves
            .filter(|broker| broker.name == master.name && !broker.is_master())
            .collect();
        promise(master, slaves.len(), findings);
        links(master, slaves.len(), findings);
    }
}

/// Replicas that must have a message before it is acknowledged, the master among them.
fn wanted(master: &Broker) -> i64 {
    match master
        .setting("inSyncReplicas")
        .and_then(|text| text.parse().ok())
    {
        // Brokers of barque wait for one slave where nothing is set.
        Some(0) | None => 2,
        Some(count) => count,
    }
}

fn promise(master: &Broker, slaves: usize, findings: &mut Findings) {
    let subject = master.label();
    let in_step = master
        .replication
        .as_ref()
        .map(|replication| i64::from(replication.in_sync_slave_nums));
    let is_sync = master.setting("brokerRole") == Some("SYNC_MASTER");
    let wanted = wanted(master);
    if is_sync && wanted <= 1 {
        findings.warning(
            &subject,
            format!(
                "SYNC_MASTER with inSyncReplicas={wanted} waits for no slave, although its role promises it"
            ),
            "set inSyncReplicas=2, or call it what it is: ASYNC_MASTER",
        );
    }
    if is_sync && let Some(in_step) = in_step.filter(|in_step| in_step + 1 < wanted) {
        findings.error(
            &subject,
            format!(
                "SYNC_MASTER promises {wanted} replicas and {in_step} slaves are in step: every send is answered with \
                 SLAVE_NOT_AVAILABLE"
            ),
            "start a slave and see with `haStatus` that it catches up; or make it an ASYNC_MASTER",
        );
    }
    if !is_sync && slaves == 0 && master.setting("flushDiskType") == Some("ASYNC_FLUSH") {
        findings.info(
            &subject,
            "has no slave, and acknowledges messages before they are on disk: a power cut loses the last ones",
            "where that matters: SYNC_FLUSH, or a slave and SYNC_MASTER",
        );
    }
}

fn links(master: &Broker, slaves: usize, findings: &mut Findings) {
    let Some(replication) = &master.replication else {
        return;
    };
    let subject = master.label();
    let linked = replication.ha_connection_info.len();
    if linked < slaves {
        findings.error(
            &subject,
            format!("{slaves} slaves are registered, {linked} follow it"),
            "look at the logs of the slaves: haMasterAddress, haSecret, or a log that does not fit turns them away",
        );
    }
    for slave in &replication.ha_connection_info {
        let lacks = format!("slave {} lacks {} MiB", slave.addr, slave.diff >> 20);
        if !slave.in_sync {
            findings.error(
                &subject,
                format!("{lacks} and is not in step"),
                "see with `haStatus` whether it catches up; look at the network and at its disk",
            );
        } else if slave.diff > BEHIND_BYTES {
            findings.warning(&subject, lacks, "look at the network and at its disk");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;
    use crate::settings::Settings;
    use wire::body::ha::{HaConnectionRuntimeInfo, HaRuntimeInfo};

    fn broker(id: i64, settings: &str, links: &[(bool, i64)]) -> Broker {
        let links = links.iter().map(|(in_sync, diff)| HaConnectionRuntimeInfo {
            in_sync: *in_sync,
            diff: *diff,
            ..HaConnectionRuntimeInfo::default()
        });
        let links: Vec<_> = links.collect();
        let in_step = links.iter().filter(|link| link.in_sync).count();
        Broker {
            name: "a".into(),
            id,
            settings: Settings::parse(settings).ok(),
            replication: Some(HaRuntimeInfo {
                in_sync_slave_nums: i32::try_from(in_step).unwrap(),
                ha_connection_info: links,
                ..HaRuntimeInfo::default()
            }),
            table: Ok(Default::default()),
            ..Broker::default()
        }
    }

    fn found(brokers: Vec<Broker>) -> Vec<(Severity, String)> {
        let sample = Sample {
            brokers,
            ..Sample::default()
        };
        let mut findings = Findings::default();
        examine(&sample, &mut findings);
        findings.told()
    }

    #[test]
    fn a_sync_master_without_a_slave_in_step_is_an_error() {
        let alone = found(vec![broker(0, "brokerRole=SYNC_MASTER\n", &[])]);
        assert_eq!(alone[0].0, Severity::Error);
        assert!(
            alone[0]
                .1
                .contains("promises 2 replicas and 0 slaves are in step"),
            "{}",
            alone[0].1
        );
        let both = found(vec![
            broker(0, "brokerRole=SYNC_MASTER\n", &[(true, 0)]),
            broker(1, "brokerRole=SLAVE\n", &[]),
        ]);
        assert_eq!(both, []);
        let hollow = found(vec![broker(0, "brokerRole=SYNC_MASTER\ninSyncReplicas=1\n", &[])]);
        assert_eq!(hollow[0].0, Severity::Warning);
    }

    #[test]
    fn a_slave_that_does_not_follow_or_is_behind_is_found() {
        let away = found(vec![
            broker(0, "brokerRole=ASYNC_MASTER\n", &[]),
            broker(1, "brokerRole=SLAVE\n", &[]),
        ]);
        assert_eq!(away[0].1, "1 slaves are registered, 0 follow it");
        let behind = found(vec![
            broker(0, "brokerRole=ASYNC_MASTER\n", &[(true, 100 << 20)]),
            broker(1, "brokerRole=SLAVE\n", &[]),
        ]);
        assert_eq!(behind[0], (Severity::Warning, "slave  lacks 100 MiB".to_owned()));
    }
}
