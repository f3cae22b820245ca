// SPDX-License-Identifier: Apache-2.0
//! Which broker gets the next logical queue: one of those that have the fewest, in the reference's order where that decides.

use std::collections::{BTreeMap, BTreeSet};

use store::env::Rng;
use wire::Str;
use wire::properties::java_hash;

use crate::hash_order::{hash_map, in_buckets};

/// Who comes first among brokers with equally few.
pub(super) enum First<'a> {
    /// Chance, so that topics of few queues are not all on the same brokers.
    Any(&'a dyn Rng),
    /// Whoever had fewer before; so that less is moved.
    Had(&'a BTreeMap<Str, i32>),
}

/// Brokers and how many logical queues each has, in the order of the reference's table.
pub(super) struct Allot<'a> {
    counts: Vec<(Str, i32)>,
    first: First<'a>,
    /// Those with the fewest that have not had their turn, by their place among the counts.
    waiting: Vec<usize>,
    /// What the reference takes for the place of the next one of them.
    at: usize,
}

impl<'a> Allot<'a> {
    /// For these brokers, each with what it has.
    pub(super) fn new(brokers: &BTreeSet<Str>, has: impl Fn(&Str) -> i32, first: First<'a>) -> Allot<'a> {
        let counts = hash_map(brokers, |broker| broker)
            .into_iter()
            .map(|broker| (broker.clone(), has(broker)));
        // Its table is made at the right size for the brokers.
        let buckets = (brokers.len() * 4 / 3 + 1).next_power_of_two();
        Allot {
            counts: in_buckets(buckets, counts, |(broker, _)| java_hash(broker)),
            first,
            waiting: Vec::new(),
            at: 0,
        }
    }

    /// The broker of the next queue; none if there are no brokers.
    pub(super) fn next(&mut self) -> Option<Str> {
        if self.waiting.is_empty() {
            self.refill();
        }
        let place = self.at.checked_rem(self.waiting.len())?;
        let index = self.waiting.remove(place);
        let (broker, count) = self.counts.get_mut(index)?;
        *count += 1;
        Some(broker.clone())
    }

    /// Brokers with what they have now.
    pub(super) fn counts(self) -> Vec<(Str, i32)> {
        self.counts
    }

    fn refill(&mut self) {
        let fewest = self.counts.iter().map(|(_, count)| *count).min();
        let all = self.counts.iter().enumerate();
        let fewest = all.filter(|(_, (_, count))| Some(*count) == fewest);
        self.waiting = fewest.map(|(index, _)| index).collect();
        match &self.first {
            First::Any(rng) => shuffle(&mut self.waiting, *rng),
            First::Had(before) => {
                let had = |index: &usize| {
                    let broker = self.counts.get(*index).map(|(broker, _)| broker);
                    broker.and_then(|broker| before.get(broker)).copied().unwrap_or(0)
                };
                self.waiting.sort_by_key(had);
            }
        }
        self.at = self.waiting.len().saturating_sub(1);
    }
}

fn shuffle(items: &mut [usize], rng: &dyn Rng) {
    for last in (1..items.len()).rev() {
        let other = usize::try_from(rng.below(last as u64 + 1)).unwrap_or(0);
        items.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(names: &[&str]) -> BTreeSet<Str> {
        names.iter().map(|name| Str::from(*name)).collect()
    }

    #[test]
    fn whoever_has_fewest_is_next() {
        let env = store::Env::real();
        let has = |broker: &Str| if *broker == "a" { 3 } else { 0 };
        let mut allot = Allot::new(&brokers(&["a", "b", "c"]), has, First::Any(env.rng.as_ref()));
        for _ in 0..6 {
            assert_ne!(allot.next().unwrap(), "a");
        }
        let mut last: Vec<Str> = (0..3).filter_map(|_| allot.next()).collect();
        last.sort();
        assert_eq!(last, ["a", "b", "c"]);
        assert!(allot.counts().iter().all(|(_, count)| *count == 4));
        assert!(
            Allot::new(&brokers(&[]), has, First::Any(env.rng.as_ref()))
                .next()
                .is_none()
        );
    }

    #[test]
    fn whoever_had_more_keeps_more() {
        let had = BTreeMap::from([("b".into(), 5), ("c".into(), 1)]);
        let mut allot = Allot::new(&brokers(&["a", "b", "c"]), |_| 0, First::Had(&had));
        // The reference counts from the end, and then on from the beginning of what is left.
        let order: Vec<Str> = (0..4).filter_map(|_| allot.next()).collect();
        assert_eq!(order, ["b", "a", "c", "b"]);
    }
}
