// SPDX-License-Identifier: Apache-2.0
//! The order in which the reference prints what it keeps in hash tables. Scripts compare outputs, and a broker of the
//! reference lists its settings in no better order, so ours is the same.

use wire::properties::java_hash;

/// In the order of a `HashMap` or `HashSet` into which the items were put one after the other.
pub(crate) fn hash_map<T>(items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> &str) -> Vec<T> {
    by_hash(items, |item| java_hash(key(item)))
}

/// The same of things that have a hash of their own in the reference.
pub(crate) fn by_hash<T>(items: impl IntoIterator<Item = T>, hash: impl Fn(&T) -> i32) -> Vec<T> {
    in_buckets(16, items, hash)
}

/// In the order of a `HashMap` that was made for at most four.
pub(crate) fn small_hash_map<T>(items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> &str) -> Vec<T> {
    in_buckets(4, items, |item| java_hash(key(item)))
}

/// The same of a table that began with this many buckets, a power of two.
pub(crate) fn in_buckets<T>(
    mut buckets: usize,
    items: impl IntoIterator<Item = T>,
    hash: impl Fn(&T) -> i32,
) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    while items.len() > buckets / 4 * 3 {
        buckets *= 2;
    }
    // Growing keeps the order within a bucket.
    items.sort_by_key(|item| spread(hash(item)) as usize & (buckets - 1));
    items
}

/// In the order of a `Properties` that was read line by line. A key that comes again keeps its place and takes the new value.
pub(crate) fn properties<V>(entries: impl IntoIterator<Item = (String, V)>) -> Vec<(String, V)> {
    concurrent(entries, |key| java_hash(key))
}

/// In the order of a `ConcurrentHashMap` into which the entries were put one after the other.
pub(crate) fn concurrent<K: PartialEq, V>(
    entries: impl IntoIterator<Item = (K, V)>,
    hash: impl Fn(&K) -> i32,
) -> Vec<(K, V)> {
    let mut table: Vec<Vec<(u32, K, V)>> = Vec::new();
    table.resize_with(16, Vec::new);
    let mut count = 0;
    for (key, value) in entries {
        let hash = spread(hash(&key));
        let buckets = table.len();
        let Some(bucket) = table.get_mut(hash as usize & (buckets - 1)) else {
            continue;
        };
        if let Some(known) = bucket.iter_mut().find(|(_, name, _)| *name == key) {
            known.2 = value;
            continue;
        }
        bucket.push((hash, key, value));
        count += 1;
        if count >= buckets / 4 * 3 {
            table = grown(table);
        }
    }
    table
        .into_iter()
        .flatten()
        .map(|(_, key, value)| (key, value))
        .collect()
}

/// A table of twice the size. What goes to one half behind the last change of halves keeps its order, what is before it is
/// put in front one by one.
fn grown<K, V>(table: Vec<Vec<(u32, K, V)>>) -> Vec<Vec<(u32, K, V)>> {
    let bit = table.len();
    let mut low = Vec::with_capacity(bit * 2);
    let mut high = Vec::with_capacity(bit);
    for mut bucket in table {
        let goes_high = |entry: &(u32, K, V)| entry.0 as usize & bit != 0;
        let last = bucket.last().is_some_and(goes_high);
        let run = bucket
            .iter()
            .rev()
            .take_while(|entry| goes_high(entry) == last)
            .count();
        let tail = bucket.split_off(bucket.len() - run);
        let (mut to_high, mut to_low): (Vec<_>, Vec<_>) = bucket.into_iter().rev().partition(goes_high);
        if last { &mut to_high } else { &mut to_low }.extend(tail);
        low.push(to_low);
        high.push(to_high);
    }
    low.append(&mut high);
    low
}

fn spread(hash: i32) -> u32 {
    let hash = hash as u32;
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_the_order_of_the_tables_of_the_reference() {
        // What a JVM of version 17 prints for these.
        let names = (0..13).map(|n| format!("topic-{n}"));
        let order = hash_map(names, |name| name).join(" ");
        assert_eq!(order, HASH_MAP);
        let settings = (0..30).map(|n| (format!("setting{n}"), ()));
        let order: Vec<String> = properties(settings).into_iter().map(|(key, ())| key).collect();
        assert_eq!(order.join(" "), PROPERTIES);
    }

    const HASH_MAP: &str = "topic-6 topic-7 topic-8 topic-9 topic-0 topic-1 topic-2 topic-3 topic-10 topic-4 topic-11 \
        topic-5 topic-12";
    const PROPERTIES: &str = "setting26 setting27 setting28 setting29 setting22 setting23 setting24 setting25 setting20 \
        setting21 setting2 setting15 setting3 setting16 setting0 setting17 setting1 setting18 \
        setting11 setting6 setting12 setting7 setting4 setting13 setting5 setting14 setting8 \
        setting9 setting19 setting10";
}
