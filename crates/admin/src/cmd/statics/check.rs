// SPDX-License-Identifier: Apache-2.0
//! What must hold for a static topic before it is changed, and after: the brokers say the same of it, each logical queue is
//! written to on exactly one of them, and no two share a queue. The reference's rules.

use std::collections::{BTreeMap, BTreeSet};

use wire::Str;
use wire::body::topic_route::LogicQueueItem;

use super::layout::{Layout, Part, in_order};

/// What all brokers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreed {
    pub epoch: i64,
    pub queues: i32,
}

/// Who writes a logical queue.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leader<'a> {
    pub broker: &'a Str,
    pub items: &'a [LogicQueueItem],
}

/// By logical queue.
pub(super) type Leaders<'a> = BTreeMap<i32, Leader<'a>>;

/// What to do about brokers that do not say the same.
const CARRY_ON: &str =
    "a change did not reach all of them: run it again with -mf and the .after file that it named";

/// Everything that must hold.
pub(super) fn all<'a>(topic: &str, parts: &'a Layout) -> Result<(Agreed, Leaders<'a>), String> {
    let agreed = agreement(topic, parts)?;
    let leaders = leaders(parts, agreed.queues)?;
    queues(parts)?;
    Ok((agreed, leaders))
}

/// Whether all brokers mean the same topic, in the same state.
fn agreement(topic: &str, parts: &Layout) -> Result<Agreed, String> {
    let mut first: Option<(&Str, &Part)> = None;
    for (broker, part) in in_order(parts) {
        let mapping = &part.mapping;
        if mapping.bname != *broker {
            return Err(format!(
                "what {broker} has of the topic is meant for {}: give the broker its old name back, or delete the topic there",
                mapping.bname
            ));
        }
        if mapping.dirty {
            return Err(format!(
                "what {broker} has of the topic is marked as dirty; wait until the broker is done with it"
            ));
        }
        if mapping.topic != topic || part.topic.topic_name != topic {
            return Err(format!(
                "what {broker} has is the mapping of the topic '{}' and the settings of '{}', not '{topic}'",
                mapping.topic, part.topic.topic_name
            ));
        }
        let Some((other, known)) = first else {
            first = Some((broker, part));
            continue;
        };
        let known = &known.mapping;
        let differs = |what: &str, theirs: &dyn std::fmt::Display, ours: &dyn std::fmt::Display| {
            Err(format!(
                "{other} has the {what} {theirs}, {broker} has {ours}; {CARRY_ON}"
            ))
        };
        if known.scope != mapping.scope {
            return differs("scope", &known.scope, &mapping.scope);
        }
        if known.epoch != mapping.epoch {
            return differs("epoch", &known.epoch, &mapping.epoch);
        }
        if known.total_queues != mapping.total_queues {
            return differs("number of queues", &known.total_queues, &mapping.total_queues);
        }
    }
    let (_, part) = first.ok_or("no broker has the topic")?;
    Ok(Agreed {
        epoch: part.mapping.epoch,
        queues: part.mapping.total_queues,
    })
}

/// Who writes each logical queue: exactly one broker.
fn leaders(parts: &Layout, count: i32) -> Result<Leaders<'_>, String> {
    let mut leaders = Leaders::new();
    for (broker, part) in in_order(parts) {
        for (queue, items) in part.hosted() {
            fault_of(items).map_err(|why| format!("queue {queue}, as {broker} has it: {why}"))?;
            if items.last().is_none_or(|last| last.bname != *broker) {
                continue;
            }
            if let Some(other) = leaders.insert(queue, Leader { broker, items }) {
                return Err(format!(
                    "queue {queue} is written to on {} and on {broker}; {CARRY_ON}",
                    other.broker
                ));
            }
        }
    }
    if let Some(missing) = (0..count).find(|queue| !leaders.contains_key(queue)) {
        return Err(format!(
            "there are {count} queues, and no broker writes queue {missing}; {CARRY_ON}"
        ));
    }
    if let Some(beyond) = leaders.keys().find(|queue| !(0..count).contains(*queue)) {
        return Err(format!(
            "there are {count} queues, and one has the number {beyond}"
        ));
    }
    apart(&leaders)?;
    Ok(leaders)
}

/// No two logical queues have a stretch of the same queue.
fn apart(leaders: &Leaders<'_>) -> Result<(), String> {
    let mut used: BTreeMap<(&Str, i32), i32> = BTreeMap::new();
    for (queue, leader) in leaders {
        for item in leader.items {
            if let Some(other) = used.insert((&item.bname, item.queue_id), *queue) {
                return Err(format!(
                    "the queues {other} and {queue} share queue {} of {}",
                    item.queue_id, item.bname
                ));
            }
        }
    }
    Ok(())
}

/// Every stretch is in a queue that its broker has.
fn queues(parts: &Layout) -> Result<(), String> {
    for (broker, part) in in_order(parts) {
        if part.topic.read_queue_nums < part.topic.write_queue_nums {
            return Err(format!(
                "{broker} has {} queues to write and {} to read; a static topic needs as many to read: updateTopic -r",
                part.topic.write_queue_nums, part.topic.read_queue_nums
            ));
        }
        for (queue, items) in part.hosted() {
            for item in items {
                let told = |why: &str| {
                    Err(format!(
                        "queue {queue}, as {broker} has it, goes on in queue {} of {}, {why}",
                        item.queue_id, item.bname
                    ))
                };
                if item.start_offset != 0 {
                    return told("and not at its beginning");
                }
                match parts.get(&item.bname) {
                    None => return told("which does not have the topic; is that broker away?"),
                    Some(there) if item.queue_id >= there.topic.write_queue_nums => {
                        return told(&format!(
                            "which has only {} queues; give them back: updateTopic -r -w",
                            there.topic.write_queue_nums
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    Ok(())
}

/// Every logical queue is written to on one of these brokers.
pub(super) fn led_by(leaders: &Leaders<'_>, targets: &BTreeSet<Str>) -> Result<(), String> {
    let mut elsewhere = leaders.values().filter(|leader| !targets.contains(leader.broker));
    match elsewhere.next() {
        None => Ok(()),
        Some(leader) => Err(format!("a queue would stay on {}", leader.broker)),
    }
}

/// What is wrong with the stretches of a logical queue.
fn fault_of(items: &[LogicQueueItem]) -> Result<(), &'static str> {
    let Some((last, older)) = items.split_last() else {
        return Err("it has no stretch");
    };
    let is_negative =
        |item: &LogicQueueItem| item.start_offset < 0 || item.generation < 0 || item.queue_id < 0;
    if items.iter().any(is_negative) {
        return Err("a stretch has a negative number");
    }
    if older.iter().any(|item| item.logic_offset < 0) {
        return Err(
            "it went on before it was decided where; run that remapping again with -mf and its .after file",
        );
    }
    if items
        .iter()
        .any(|item| item.end_offset != -1 && item.end_offset < item.start_offset)
    {
        return Err("a stretch ends before it begins");
    }
    for (item, next) in older.iter().zip(items.iter().skip(1)) {
        if item.generation >= next.generation {
            return Err("the generations of its stretches do not grow");
        }
        let is_decided = next.logic_offset != -1;
        if is_decided && (item.logic_offset >= next.logic_offset || end_of(item) >= next.logic_offset) {
            return Err("its stretches overlap");
        }
    }
    if last.logic_offset < -1 {
        return Err("its last stretch begins at a negative offset");
    }
    Ok(())
}

/// Where a stretch ends, if that is decided; else where it begins.
fn end_of(item: &LogicQueueItem) -> i64 {
    let length = item.end_offset.saturating_sub(item.start_offset).max(0);
    item.logic_offset.saturating_add(length)
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::{item, layout};
    use super::*;

    fn fault(change: impl FnOnce(&mut Layout)) -> String {
        let mut parts = layout(&["a", "b", "a"]);
        assert!(all("T", &parts).is_ok());
        change(&mut parts);
        all("T", &parts).unwrap_err()
    }

    fn part<'a>(parts: &'a mut Layout, broker: &str) -> &'a mut Part {
        parts.get_mut(broker).unwrap()
    }

    #[test]
    fn a_topic_that_its_brokers_see_alike_is_right() {
        let parts = layout(&["a", "b", "a"]);
        let (agreed, leaders) = all("T", &parts).unwrap();
        assert_eq!((agreed.epoch, agreed.queues), (1_000, 3));
        let brokers: Vec<&str> = leaders.values().map(|leader| leader.broker.as_str()).collect();
        assert_eq!(brokers, ["a", "b", "a"]);
        assert!(led_by(&leaders, &["a".into(), "b".into()].into()).is_ok());
        assert!(led_by(&leaders, &["a".into()].into()).is_err());
    }

    #[test]
    fn brokers_that_do_not_agree_are_named() {
        let said = fault(|parts| part(parts, "b").mapping.epoch = 7);
        assert!(
            said.contains("epoch 1000, b has 7") && said.contains("-mf"),
            "{said}"
        );
        let said = fault(|parts| part(parts, "b").mapping.total_queues = 4);
        assert!(said.contains("number of queues 3, b has 4"), "{said}");
        let said = fault(|parts| part(parts, "b").mapping.scope = "other".into());
        assert!(said.contains("scope"), "{said}");
        let said = fault(|parts| part(parts, "b").mapping.bname = "c".into());
        assert!(said.contains("meant for c"), "{said}");
        let said = fault(|parts| part(parts, "b").mapping.dirty = true);
        assert!(said.contains("dirty"), "{said}");
        let said = fault(|parts| part(parts, "b").topic.topic_name = "U".into());
        assert!(said.contains("'U'"), "{said}");
        assert!(all("T", &Layout::new()).is_err());
    }

    #[test]
    fn a_queue_has_one_writer_and_queues_of_its_own() {
        let said = fault(|parts| part(parts, "a").put(1, vec![item(0, "a", 1, 0)]));
        assert!(said.contains("queue 1 is written to on a and on b"), "{said}");
        let said = fault(|parts| part(parts, "a").put(2, vec![item(0, "b", 0, 0)]));
        assert!(said.contains("no broker writes queue 2"), "{said}");
        let said = fault(|parts| part(parts, "a").put(2, vec![item(0, "a", 0, 0)]));
        assert!(said.contains("queues 0 and 2 share queue 0 of a"), "{said}");
        let said = fault(|parts| part(parts, "a").put(7, vec![item(0, "a", 1, 0)]));
        assert!(said.contains("the number 7"), "{said}");
    }

    #[test]
    fn stretches_are_in_queues_that_there_are() {
        let said = fault(|parts| part(parts, "b").topic.write_queue_nums = 0);
        assert!(said.contains("only 0 queues"), "{said}");
        let said = fault(|parts| part(parts, "b").topic.read_queue_nums = 0);
        assert!(said.contains("0 to read"), "{said}");
        let moved = || vec![item(0, "c", 0, 0), item(1, "b", 0, 10_000)];
        let said = fault(|parts| part(parts, "b").put(1, moved()));
        assert!(said.contains("of c, which does not have the topic"), "{said}");
        let said = fault(|parts| {
            let mut items = vec![item(0, "b", 0, 0)];
            items[0].start_offset = 3;
            part(parts, "b").put(1, items);
        });
        assert!(said.contains("not at its beginning"), "{said}");
    }

    #[test]
    fn rows_of_stretches_that_cannot_be_are_found() {
        let mut ended = item(0, "a", 0, 0);
        ended.end_offset = 50;
        let next = |logical| item(1, "b", 0, logical);
        assert_eq!(fault_of(&[ended.clone(), next(-1)]), Ok(()));
        assert_eq!(fault_of(&[ended.clone(), next(51)]), Ok(()));
        for wrong in [
            vec![],
            vec![item(0, "a", -1, 0)],
            vec![item(0, "a", 0, -1), next(10)],
            vec![ended.clone(), item(0, "b", 0, 60)],
            vec![ended.clone(), next(50)],
            vec![ended, next(0)],
            vec![item(0, "a", 0, -2)],
        ] {
            assert!(fault_of(&wrong).is_err(), "{wrong:?}");
        }
        let mut backwards = item(0, "a", 0, 0);
        backwards.end_offset = -2;
        assert!(fault_of(&[backwards]).is_err());
    }
}
