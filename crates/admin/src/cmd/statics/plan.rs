// SPDX-License-Identifier: Apache-2.0
//! What a static topic is to become: more logical queues, or the same on other brokers. Nobody is asked and nothing is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use store::env::Rng;
use wire::Str;
use wire::body::topic_route::LogicQueueItem;

use super::allot::{Allot, First};
use super::check;
use super::layout::{Layout, Part};

/// How much later than the last change the next one is at least, ms: brokers take nothing older than what they have.
const LATER_MS: i64 = 1000;

/// What a topic becomes when logical queues move.
pub(super) struct Moved {
    pub parts: Layout,
    /// Brokers that get logical queues, and those that lose some. None does both.
    pub into: BTreeSet<Str>,
    pub out_of: BTreeSet<Str>,
}

/// Gives a topic more logical queues: on these brokers, and those that have the topic already. Without parts it is made.
pub(super) fn grow(
    topic: &str,
    queues: i32,
    targets: &BTreeSet<Str>,
    mut parts: Layout,
    (now, rng): (i64, &dyn Rng),
) -> Result<Layout, String> {
    let mut writers: BTreeMap<Str, i32> = BTreeMap::new();
    let (mut epoch, mut known) = (now, 0);
    if !parts.is_empty() {
        let (agreed, leaders) = check::all(topic, &parts)?;
        (epoch, known) = (agreed.epoch, agreed.queues);
        for leader in leaders.values() {
            *writers.entry(leader.broker.clone()).or_default() += 1;
        }
    }
    if queues <= known {
        return Err(match queues == known {
            true => format!("the topic {topic} has {known} queues already; there is nothing to do"),
            false => format!(
                "the topic {topic} has {known} queues; a static topic keeps its queues, so say more than {known} with -qn"
            ),
        });
    }
    let brokers: BTreeSet<Str> = targets.iter().chain(parts.keys()).cloned().collect();
    let has = |broker: &Str| writers.get(broker).copied().unwrap_or(0);
    let mut allot = Allot::new(&brokers, has, First::Any(rng));
    for queue in known..queues {
        let broker = allot.next().ok_or("there is no broker to put a queue on")?;
        let part = parts
            .entry(broker.clone())
            .or_insert_with(|| Part::empty(topic, &broker));
        let physical = part.add_queue();
        part.put(queue, vec![stretch(0, &broker, physical, 0)]);
    }
    settle(&mut parts, after(epoch, now), queues);
    check::all(topic, &parts)?;
    Ok(parts)
}

/// Moves the logical queues of a topic to these brokers, as evenly as it goes, and no more of them than it takes.
pub(super) fn spread(
    topic: &str,
    targets: &BTreeSet<Str>,
    mut parts: Layout,
    now: i64,
) -> Result<Moved, String> {
    let (agreed, leaders) = check::all(topic, &parts)?;
    let mut before: BTreeMap<Str, i32> = BTreeMap::new();
    for leader in leaders.values() {
        *before.entry(leader.broker.clone()).or_default() += 1;
    }
    let mut allot = Allot::new(targets, |_| 0, First::Had(&before));
    for _ in 0..agreed.queues {
        allot.next().ok_or("there is no broker to put a queue on")?;
    }
    let mut room = allot.counts();
    let mut waiting = VecDeque::new();
    for (queue, leader) in &leaders {
        match room.iter_mut().find(|(broker, _)| broker == leader.broker) {
            Some((_, left)) if *left > 0 => *left -= 1,
            _ => waiting.push_back((*queue, leader.items.to_vec())),
        }
    }
    let (mut into, mut out_of) = (BTreeSet::new(), BTreeSet::new());
    let places = room
        .into_iter()
        .flat_map(|(broker, left)| (0..left).map(move |_| broker.clone()));
    for (broker, (queue, mut items)) in places.zip(waiting) {
        let Some(last) = items.last() else { continue };
        let (from, generation) = (last.bname.clone(), last.generation.saturating_add(1));
        let part = parts
            .entry(broker.clone())
            .or_insert_with(|| Part::empty(topic, &broker));
        let physical = part.add_queue();
        // Where it begins is decided when the broker before it takes no more messages.
        items.push(stretch(generation, &broker, physical, -1));
        part.put(queue, items.clone());
        if let Some(part) = parts.get_mut(&from) {
            part.put(queue, items);
        }
        into.insert(broker);
        out_of.insert(from);
    }
    settle(&mut parts, after(agreed.epoch, now), agreed.queues);
    let (_, leaders) = check::all(topic, &parts)?;
    check::led_by(&leaders, targets)?;
    Ok(Moved { parts, into, out_of })
}

fn after(epoch: i64, now: i64) -> i64 {
    epoch.saturating_add(LATER_MS).max(now)
}

fn settle(parts: &mut Layout, epoch: i64, queues: i32) {
    for part in parts.values_mut() {
        part.mapping.epoch = epoch;
        part.mapping.total_queues = queues;
    }
}

fn stretch(generation: i32, broker: &Str, queue_id: i32, logic_offset: i64) -> LogicQueueItem {
    LogicQueueItem {
        bname: broker.clone(),
        generation,
        logic_offset,
        queue_id,
        ..LogicQueueItem::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::{item, layout};
    use super::*;

    fn brokers(names: &[&str]) -> BTreeSet<Str> {
        names.iter().map(|name| Str::from(*name)).collect()
    }

    fn grown(queues: i32, targets: &[&str], parts: Layout) -> Result<Layout, String> {
        let env = store::Env::real();
        grow("T", queues, &brokers(targets), parts, (5_000, env.rng.as_ref()))
    }

    #[test]
    fn a_new_topic_is_spread_evenly() {
        let parts = grown(5, &["a", "b"], Layout::new()).unwrap();
        let mut written: Vec<usize> = parts.values().map(|part| part.written().len()).collect();
        written.sort_unstable();
        assert_eq!(written, [2, 3]);
        let a = &parts["a"];
        assert_eq!((a.mapping.epoch, a.mapping.total_queues), (6_000, 5));
        assert_eq!(a.topic.write_queue_nums, a.topic.read_queue_nums);
        assert_eq!(a.topic.write_queue_nums as usize, a.written().len());
    }

    #[test]
    fn a_topic_grows_where_it_has_least_and_never_shrinks() {
        let parts = grown(4, &["b"], layout(&["a", "a"])).unwrap();
        assert_eq!(
            (parts["a"].written(), parts["b"].written()),
            (vec![0, 1], vec![2, 3])
        );
        assert_eq!(
            parts["a"].mapping.epoch, 5_000,
            "now, which is more than 1000 + 1000"
        );
        assert!(
            grown(2, &["a"], layout(&["a", "a"]))
                .unwrap_err()
                .contains("nothing to do")
        );
        assert!(
            grown(1, &["a"], layout(&["a", "a"]))
                .unwrap_err()
                .contains("more than 2")
        );
    }

    #[test]
    fn queues_move_away_with_an_end_that_is_still_open() {
        let moved = spread("T", &brokers(&["b"]), layout(&["a", "a"]), 5_000).unwrap();
        assert_eq!((moved.into, moved.out_of), (brokers(&["b"]), brokers(&["a"])));
        let (a, b) = (&moved.parts["a"], &moved.parts["b"]);
        assert_eq!(b.items(1), [item(0, "a", 1, 0), item(1, "b", 1, -1)]);
        assert_eq!(a.items(1), b.items(1), "both have the same row");
        assert_eq!((a.topic.write_queue_nums, b.topic.write_queue_nums), (2, 2));
        assert_eq!((a.mapping.epoch, b.mapping.epoch), (5_000, 5_000));
    }

    #[test]
    fn no_more_is_moved_than_it_takes() {
        let moved = spread("T", &brokers(&["a", "b"]), layout(&["a", "a", "a"]), 5_000).unwrap();
        assert_eq!(moved.parts["a"].written().len(), 2);
        assert_eq!(moved.parts["b"].written().len(), 1);
        let same = spread("T", &brokers(&["a"]), layout(&["a", "a"]), 5_000).unwrap();
        assert!(same.into.is_empty() && same.out_of.is_empty());
        assert_eq!(same.parts["a"].mapping.epoch, 5_000);
    }

    #[test]
    fn a_queue_that_has_not_arrived_does_not_move_on() {
        let moved = spread("T", &brokers(&["b"]), layout(&["a"]), 5_000).unwrap();
        let again = spread("T", &brokers(&["a"]), moved.parts, 6_000);
        assert!(again.err().unwrap().contains("-mf"));
    }
}
