// SPDX-License-Identifier: Apache-2.0
//! The order in which the reference prints what it keeps in hash tables. Scripts compare outputs, and a broker of the
//! reference lists its settings in no better order, so ours is the same.

/// In the order of a `HashMap` or `HashSet` into which the items were put one after the other.
pub(crate) fn hash_map<T>(items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> &str) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    let mut buckets = 16_usize;
    while items.len() > buckets / 4 * 3 {
        buckets *= 2;
    }
    // Growing keeps the order within a bucket.
    items.sort_by_key(|item| spread(key(item)) as usize & (buckets - 1));
    items
}

/// In the order of a `Properties` that was read line by line. A key that comes again keeps its place and takes the new value.
pub(crate) fn properties<V>(entries: impl IntoIterator<Item = (String, V)>) -> Vec<(String, V)> {
    let mut table: Vec<Vec<(u32, String, V)>> = Vec::new();
    table.resize_with(16, Vec::new);
    let mut count = 0;
    for (key, value) in entries {
        let hash = spread(&key);
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
fn grown<V>(table: Vec<Vec<(u32, String, V)>>) -> Vec<Vec<(u32, String, V)>> {
    let bit = table.len();
    let mut low = Vec::with_capacity(bit * 2);
    let mut high = Vec::with_capacity(bit);
    for mut bucket in table {
        let goes_high = |entry: &(u32, String, V)| entry.0 as usize & bit != 0;
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

fn spread(key: &str) -> u32 {
    let hash = key.encode_utf16().fold(0_u32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(u32::from(unit))
    });
    hash ^ (hash >> 16)
}
