// SPDX-License-Identifier: Apache-2.0
//! Consumer groups: who falls behind, and whose members want different things.

use std::collections::BTreeMap;

use wire::body::conflict::{ConflictingClient, SubscriptionConflict};

use super::super::super::connection::name;
use super::super::shortened;
use super::sample::Sample;
use super::{Findings, Limits};

/// The number of groups that were looked at.
pub(super) fn examine(sample: &Sample, limits: &Limits, findings: &mut Findings) -> usize {
    let lags = sample.lags();
    for (group, lag) in &lags {
        let now = lag.now;
        if now < limits.lag {
            continue;
        }
        let subject = format!("group {group}");
        match (sample.members.get(group.as_str()), lag.rate) {
            (Some(0), _) => findings.warning(
                &subject,
                format!("{now} messages wait, and no consumer is online"),
                "start its consumers; or, if nobody needs it, delete it with deleteSubGroup",
            ),
            (_, Some(rate)) if rate > 0.0 => findings.warning(
                &subject,
                format!("{now} messages wait, and it falls behind by {rate:.0} a second"),
                "start more consumers (not more than the topic has queues), or make each faster; `consumerStatus` \
                 says how long a message takes",
            ),
            (_, rate) => {
                let change = match rate {
                    Some(_) => "between two looks they did not become more",
                    None => "whether they become more is not known",
                };
                findings.info(
                    &subject,
                    format!("{now} messages wait; {change}"),
                    "`consumerProgress -g` says where they are",
                );
            }
        }
    }
    not_asked(sample, findings);
    conflicts(sample, findings);
    lags.len()
}

/// Brokers that did not say how far groups are: that nothing is found there means nothing.
fn not_asked(sample: &Sample, findings: &mut Findings) {
    for broker in &sample.brokers {
        let (what, why) = match (&broker.lags, &broker.later_lags) {
            (Some(Err(why)), _) => ("could not be asked how far groups are", why),
            (_, Some(Err(why))) => ("could not be asked a second time how far groups are", why),
            _ => continue,
        };
        findings.info(
            broker.label(),
            format!("{what}: {why}"),
            "what is said of groups leaves it out; ask again, or look at its log",
        );
    }
}

fn conflicts(sample: &Sample, findings: &mut Findings) {
    // Clients say the same to all brokers.
    let mut groups: BTreeMap<&str, &SubscriptionConflict> = BTreeMap::new();
    for broker in &sample.brokers {
        for conflict in &broker.conflicts {
            groups.entry(&conflict.group).or_insert(conflict);
        }
        let left_out = broker.conflicts_left_out;
        if left_out > 0 {
            findings.info(
                broker.label(),
                format!("the members of {left_out} more groups differ in what they subscribe to"),
                "mend those that are named, and look again",
            );
        }
    }
    for conflict in groups.values() {
        findings.error(
            format!("group {}", conflict.group),
            format!(
                "its members differ in {}: messages are lost to those whose subscription is not the last said. {}",
                conflict.differs.join(", "),
                said(conflict)
            ),
            "give all members of a group the same subscription",
        );
    }
}

/// Kinds of clients that are told, and what each wants.
const KINDS: usize = 3;
const WISHES: usize = 3;
/// Letters of an expression.
const LETTERS: usize = 60;

/// Who says what.
fn said(conflict: &SubscriptionConflict) -> String {
    let mut words: Vec<String> = Vec::new();
    for client in conflict.clients.iter().take(KINDS) {
        let same = match client.same {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        words.push(format!(
            "{}{same}: {}",
            client.client_id,
            wishes(conflict, client)
        ));
    }
    if conflict.kinds > words.len() {
        words.push(format!("{} kinds more", conflict.kinds - words.len()));
    }
    words.join("; ")
}

/// What a client says and not all others do.
fn wishes(conflict: &SubscriptionConflict, client: &ConflictingClient) -> String {
    let mut words = Vec::new();
    for differs in &conflict.differs {
        match differs.as_str() {
            "consumeType" => words.push(name(&client.consume_type)),
            "messageModel" => words.push(name(&client.message_model)),
            "consumeFromWhere" => words.push(name(&client.consume_from_where)),
            _ => {}
        }
    }
    let is_own = |wish: &&_| {
        let mut clients = conflict.clients.iter();
        clients.any(|other| !other.subscriptions.contains(wish))
    };
    let own: Vec<_> = client.subscriptions.iter().filter(is_own).collect();
    words.extend(own.iter().take(WISHES).map(|wish| {
        let expression = shortened(&wish.sub_string, LETTERS);
        format!("{} {} {expression}", wish.topic, wish.expression_type)
    }));
    if own.len() > WISHES {
        words.push(format!("{} other topics", own.len() - WISHES));
    }
    match words.is_empty() {
        true => "none of these".to_owned(),
        false => words.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::sample::{Broker, Lags, Said};
    use super::*;
    use wire::body::conflict::ConflictingSubscription;

    fn lags(at_ms: i64, pairs: &[(&str, i64)]) -> Option<Result<Said<Lags>, String>> {
        let what = pairs.iter().map(|(group, lag)| ((*group).into(), *lag)).collect();
        Some(Ok(Said { what, at_ms }))
    }

    fn found(brokers: Vec<Broker>, members: &[(&str, usize)]) -> Findings {
        let members = members.iter().map(|(group, count)| ((*group).to_owned(), *count));
        let sample = Sample {
            brokers,
            members: members.collect(),
            ..Sample::default()
        };
        let mut findings = Findings::default();
        examine(&sample, &Limits { lag: 1000 }, &mut findings);
        findings
    }

    #[test]
    fn lag_that_grows_and_lag_that_nobody_works_on_are_found() {
        let broker = Broker {
            lags: lags(
                1000,
                &[
                    ("grows", 5000),
                    ("offline", 2000),
                    ("shrinks", 3000),
                    ("small", 10),
                ],
            ),
            later_lags: lags(
                // Longer after than anybody has asked for: a broker in between did not answer.
                7000,
                &[
                    ("grows", 5600),
                    ("offline", 2000),
                    ("shrinks", 2500),
                    ("small", 20),
                ],
            ),
            ..Broker::default()
        };
        let findings = found(vec![broker], &[("offline", 0), ("grows", 2)]);
        assert_eq!(
            findings.subjects(),
            [
                (Severity::Warning, "group grows"),
                (Severity::Warning, "group offline"),
                (Severity::Info, "group shrinks"),
            ]
        );
        assert!(findings.0[0].finding.ends_with("falls behind by 100 a second"));
    }

    #[test]
    fn a_broker_that_was_not_asked_is_no_broker_without_lag() {
        let once = |later_lags| Broker {
            lags: lags(0, &[("G", 5000)]),
            later_lags,
            ..Broker::default()
        };
        let none = found(vec![once(Some(Err("gone".into())))], &[]);
        let seen: Vec<_> = none.0.iter().map(|known| known.finding.as_str()).collect();
        assert_eq!(
            seen,
            [
                "5000 messages wait; whether they become more is not known",
                "could not be asked a second time how far groups are: gone"
            ]
        );
        // What one broker does not say is no growth at the other.
        let twice = once(lags(1000, &[("G", 5000)]));
        let both = found(vec![once(Some(Err("gone".into()))), twice], &[]);
        assert_eq!(
            both.0[0].finding,
            "10000 messages wait; between two looks they did not become more"
        );
    }

    #[test]
    fn members_that_differ_are_named_with_what_they_want() {
        let client = |id: &str, same, wishes: &[(&str, &str)]| ConflictingClient {
            client_id: id.into(),
            same,
            subscriptions: wishes
                .iter()
                .map(|(topic, expression)| ConflictingSubscription {
                    expression_type: "TAG".into(),
                    sub_string: (*expression).into(),
                    topic: (*topic).into(),
                })
                .collect(),
            ..ConflictingClient::default()
        };
        let conflict = SubscriptionConflict {
            group: "odd".into(),
            differs: vec!["expressions".into()],
            clients: vec![
                client("one", 2, &[("T", "a"), ("U", "*")]),
                client("two", 1, &[("T", "b"), ("U", "*")]),
            ],
            kinds: 3,
            ..SubscriptionConflict::default()
        };
        let broker = |left_out| Broker {
            conflicts: vec![conflict.clone()],
            conflicts_left_out: left_out,
            ..Broker::default()
        };
        let findings = found(vec![broker(0), broker(7)], &[]);
        let seen: Vec<_> = findings.0.iter().map(|known| known.finding.as_str()).collect();
        assert_eq!(
            seen,
            [
                "the members of 7 more groups differ in what they subscribe to",
                "its members differ in expressions: messages are lost to those whose subscription is not the last \
                 said. one and 1 more: T TAG a; two: T TAG b; 1 kinds more"
            ]
        );
    }
}
