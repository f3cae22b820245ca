// SPDX-License-Identifier: Apache-2.0
//! Single brokers: versions, disks, queues of requests, settings that differ or do not hold what they promise.

use std::collections::{BTreeMap, BTreeSet};

use super::super::span;
use super::Findings;
use super::sample::{Broker, Said, Sample, Table, number};

pub(super) fn examine(sample: &Sample, findings: &mut Findings) {
    versions(sample, findings);
    differences(sample, findings);
    for broker in &sample.brokers {
        if let Ok(table) = &broker.table {
            disk(broker, table, findings);
            load(broker, &table.what, findings);
        }
        if let Some(Err(why)) = &broker.later {
            findings.info(
                broker.label(),
                format!("it answered once and not again: {why}"),
                "what only a change tells is not known of it; ask again, and look at its log",
            );
        }
        promises(broker, findings);
    }
}

fn versions(sample: &Sample, findings: &mut Findings) {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for broker in &sample.brokers {
        let table = broker.table.as_ref().ok();
        if let Some(version) = table.and_then(|table| table.what.get("brokerVersionDesc")) {
            versions.entry(version).or_default().push(&broker.addr);
        }
    }
    if versions.len() > 1 {
        let shown: Vec<String> = versions
            .iter()
            .map(|(version, addrs)| format!("{version}: {}", addrs.join(", ")))
            .collect();
        findings.warning(
            "versions",
            format!(
                "brokers are of {} versions ({})",
                versions.len(),
                shown.join("; ")
            ),
            "bring all to one version; until then use nothing that only some of them know",
        );
    }
}

/// Settings that mean something else to producers and consumers from broker to broker.
const SAME: [&str; 9] = [
    "autoCreateSubscriptionGroup",
    "autoCreateTopicEnable",
    "enablePropertyFilter",
    "enableSlaveActingMaster",
    "fileReservedTime",
    "flushDiskType",
    "maxMessageSize",
    "messageDelayLevel",
    "timerWheelEnable",
];

fn differences(sample: &Sample, findings: &mut Findings) {
    let mut clusters: BTreeMap<&str, Vec<&Broker>> = BTreeMap::new();
    for broker in sample.brokers.iter().filter(|broker| broker.is_master()) {
        clusters.entry(&broker.cluster).or_default().push(broker);
    }
    for (cluster, masters) in clusters {
        for key in SAME {
            let values: BTreeSet<&str> = masters.iter().filter_map(|broker| broker.setting(key)).collect();
            if values.len() > 1 {
                let shown: Vec<String> = masters
                    .iter()
                    .filter_map(|broker| Some(format!("{} {}", broker.name, broker.setting(key)?)))
                    .collect();
                findings.warning(
                    format!("cluster {cluster}"),
                    format!("{key} differs between masters: {}", shown.join(", ")),
                    "set it alike, or know why not: which broker a message gets to is a matter of chance",
                );
            }
        }
    }
}

/// A forecast below this many hours is an error; below the second a warning.
const HOURS_ERROR: f64 = 6.0;
const HOURS_WARNING: f64 = 72.0;

fn disk(broker: &Broker, table: &Said<Table>, findings: &mut Findings) {
    let subject = broker.label();
    let percent = |key: &str, default: f64| {
        let set = broker.setting(key).and_then(|text| text.parse::<f64>().ok());
        set.unwrap_or(default)
    };
    let used = number::<f64>(&table.what, "commitLogDiskRatio").unwrap_or(0.0) * 100.0;
    let (refuses, removes) = (
        percent("diskSpaceWarningLevelRatio", 90.0),
        percent("diskMaxUsedSpaceRatio", 75.0),
    );
    if used > refuses {
        findings.error(
            &subject,
            format!("the disk of its log is {used:.0} % full: above {refuses:.0} % it takes no messages"),
            "make room, or move the store to a larger disk",
        );
    } else if used > removes {
        findings.warning(
            &subject,
            format!("the disk of its log is {used:.0} % full: above {removes:.0} % files are removed before fileReservedTime"),
            "make room, keep messages for less long, or raise diskMaxUsedSpaceRatio",
        );
    }
    let Some((hours, rate)) = forecast(table, broker.again()) else {
        return;
    };
    // The log stops growing when files become older than they are kept.
    let kept: f64 = percent("fileReservedTime", 72.0);
    if hours >= kept.min(HOURS_WARNING) {
        return;
    }
    let finding = format!(
        "at the rate of just now ({:.1} MiB/s) its disk is full in {}, and messages are kept for {kept:.0} hours",
        rate / 1_048_576.0,
        span((hours * 3_600_000.0) as i64)
    );
    let advice = "make room, lower fileReservedTime, or spread the load over more brokers";
    if hours < HOURS_ERROR {
        findings.error(&subject, finding, advice);
    } else {
        findings.warning(&subject, finding, advice);
    }
}

/// Hours until the disk is full, and bytes a second.
fn forecast(table: &Said<Table>, later: Option<&Said<Table>>) -> Option<(f64, f64)> {
    let later = later?;
    let written = |said: &Said<Table>| number::<f64>(&said.what, "commitLogMaxOffset");
    let bytes = written(later)? - written(table)?;
    let free = free_bytes(later.what.get("commitLogDirCapacity")?)?;
    let rate = bytes * 1000.0 / later.after(table);
    (rate > 0.0).then(|| (free / rate / 3600.0, rate))
}

/// `Total : 252.0 GiB, Free : 9.6 GiB.`
fn free_bytes(text: &str) -> Option<f64> {
    let (_, free) = text.split_once("Free : ")?;
    let (number, unit) = free.trim_end_matches('.').split_once(' ')?;
    let scale = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        .iter()
        .position(|known| *known == unit)?;
    let number: f64 = number.parse().ok()?;
    Some(number * 1024_f64.powi(i32::try_from(scale).ok()?))
}

/// How long the oldest request may wait, ms.
const WAIT_MS: i64 = 200;
/// Bytes of the log that may wait to be put into queues.
const DISPATCH_BYTES: i64 = 64 << 20;
/// Timers that may wait to be written to the wheel.
const TIMERS_BEHIND: i64 = 100_000;
/// How old a transaction may get.
const TRANSACTION_MS: i64 = 60 * 60 * 1000;

fn load(broker: &Broker, table: &Table, findings: &mut Findings) {
    let subject = broker.label();
    for kind in ["send", "pull", "ack", "query"] {
        let key = format!("{kind}ThreadPoolQueueHeadWaitTimeMills");
        let waits = number::<i64>(table, &key).unwrap_or(0);
        if waits > WAIT_MS {
            findings.warning(
                &subject,
                format!("{kind} requests wait for {waits} ms"),
                "it cannot keep up: look at its disk and processors, or spread the load",
            );
        }
    }
    let behind = number::<i64>(table, "dispatchBehindBytes").unwrap_or(0);
    if behind > DISPATCH_BYTES {
        findings.warning(
            &subject,
            format!(
                "consumers see messages late: {} MiB of the log are not in queues yet",
                behind >> 20
            ),
            "it cannot keep up: look at its disk and processors",
        );
    }
    let timers = number::<i64>(table, "timerOffsetBehind").unwrap_or(0);
    if timers > TIMERS_BEHIND {
        findings.warning(
            &subject,
            format!("{timers} timer messages are not in the wheel yet, and may come late"),
            "look at its disk; timerDequeueTps and timerEnqueueTps say how fast it is",
        );
    }
    let failures = |table: &Table| number::<i64>(table, "putMessageFailedTimes");
    let more = broker
        .again()
        .and_then(|said| failures(&said.what))
        .zip(failures(table));
    if let Some((later, before)) = more.filter(|(later, before)| later > before) {
        findings.error(
            &subject,
            format!(
                "{} messages could not be stored between two looks",
                later - before
            ),
            "its log says why",
        );
    }
    if let Some((age, count)) = broker.transactions.filter(|(age, _)| *age > TRANSACTION_MS) {
        findings.warning(
            &subject,
            format!(
                "{count} transactions have not ended, the oldest for {}",
                span(age)
            ),
            "`transactions` lists them: their producers do not answer, or answer that they do not know",
        );
    }
    // A slave is only active while it acts for its master.
    let is_idle = table.get("brokerActive").is_some_and(|text| text == "false");
    if broker.is_master() && is_idle {
        findings.warning(
            &subject,
            "is not active: a slave may act for it, or it does not serve yet",
            "look at its log; `haStatus` says how far its replicas are",
        );
    }
}

fn promises(broker: &Broker, findings: &mut Findings) {
    if !broker.is_master() {
        return;
    }
    let subject = broker.label();
    if broker.is_set("autoCreateTopicEnable") {
        findings.info(
            &subject,
            "autoCreateTopicEnable is on: a mistyped topic comes into being with its first message",
            "switch it off where topics are made by operators",
        );
    }
    let wants_filter = broker.is_set("enableCalcFilterBitMap") || broker.is_set("filterSupportRetry");
    if wants_filter && !broker.is_set("enablePropertyFilter") {
        findings.warning(
            &subject,
            "settings of SQL filters are on, and enablePropertyFilter is off: consumers with such a filter are refused",
            "switch enablePropertyFilter on",
        );
    }
    if broker.is_set("enableAutoInSyncReplicas") && broker.setting("brokerRole") != Some("SYNC_MASTER") {
        findings.warning(
            &subject,
            "enableAutoInSyncReplicas is on, but it is no SYNC_MASTER: it waits for no copies",
            "set brokerRole=SYNC_MASTER, or switch it off",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;
    use crate::settings::Settings;

    fn table(pairs: &[(&str, &str)]) -> Table {
        pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect()
    }

    /// What is said after so many ms.
    fn after(at_ms: i64, pairs: &[(&str, &str)]) -> Option<Result<Said<Table>, String>> {
        let what = table(pairs);
        Some(Ok(Said { what, at_ms }))
    }

    fn broker(name: &str, settings: &str, pairs: &[(&str, &str)]) -> Broker {
        Broker {
            name: name.into(),
            cluster: "C".into(),
            settings: Settings::parse(settings).ok(),
            table: Ok(Said {
                what: table(pairs),
                at_ms: 1000,
            }),
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
    fn a_disk_is_judged_by_how_full_it_is_and_by_how_fast_it_fills() {
        let full = |ratio: &str| found(vec![broker("a", "", &[("commitLogDiskRatio", ratio)])]);
        assert_eq!(full("0.5"), []);
        assert_eq!(full("0.8")[0].0, Severity::Warning);
        assert_eq!(full("0.95")[0].0, Severity::Error);
        let capacity = ("commitLogDirCapacity", "Total : 252.0 GiB, Free : 10.0 GiB.");
        let mut fast = broker("a", "", &[("commitLogMaxOffset", "0"), capacity]);
        // Twenty MiB in two seconds, whatever was meant to lie between the looks.
        fast.later = after(3000, &[("commitLogMaxOffset", "20971520"), capacity]);
        let found = found(vec![fast]);
        assert_eq!(found[0].0, Severity::Error);
        assert!(
            found[0].1.contains("(10.0 MiB/s) its disk is full in 17m4s"),
            "{}",
            found[0].1
        );
    }

    #[test]
    fn free_room_is_read_in_any_unit() {
        assert_eq!(free_bytes("Total : 2.0 MiB, Free : 1.5 KiB."), Some(1536.0));
        assert_eq!(free_bytes("nothing"), None);
    }

    #[test]
    fn a_master_that_does_not_serve_is_found_and_a_slave_need_not() {
        let idle = |id| {
            let mut idle = broker("a", "", &[("brokerActive", "false")]);
            idle.id = id;
            found(vec![idle]).len()
        };
        assert_eq!((idle(0), idle(1)), (1, 0));
    }

    #[test]
    fn versions_and_settings_that_differ_are_found() {
        let version = |text| [("brokerVersionDesc", text)];
        let found = found(vec![
            broker("a", "flushDiskType=SYNC_FLUSH\n", &version("V5_4_0")),
            broker("b", "flushDiskType=ASYNC_FLUSH\n", &version("V5_3_0")),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].1.starts_with("brokers are of 2 versions"));
        assert!(
            found[1]
                .1
                .contains("flushDiskType differs between masters: a SYNC_FLUSH, b ASYNC_FLUSH")
        );
    }

    #[test]
    fn requests_that_wait_and_messages_that_are_not_stored_are_found() {
        let mut slow = broker(
            "a",
            "",
            &[
                ("sendThreadPoolQueueHeadWaitTimeMills", "900"),
                ("putMessageFailedTimes", "1"),
            ],
        );
        slow.later = after(2000, &[("putMessageFailedTimes", "3")]);
        slow.transactions = Some((2 * TRANSACTION_MS, 4));
        let found = found(vec![slow]);
        assert_eq!(found[0].1, "send requests wait for 900 ms");
        assert_eq!(found[1].1, "2 messages could not be stored between two looks");
        assert_eq!(found[2].1, "4 transactions have not ended, the oldest for 2h0m");
    }

    #[test]
    fn a_broker_that_answers_only_once_is_told() {
        let mut gone = broker("a", "", &[]);
        gone.later = Some(Err("no answer".into()));
        let found = found(vec![gone]);
        assert_eq!(
            found,
            [(
                Severity::Info,
                "it answered once and not again: no answer".to_owned()
            )]
        );
    }
}
