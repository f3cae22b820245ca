// SPDX-License-Identifier: Apache-2.0
//! A table by name that is copied when it changes, but only a small part of it: readers keep the snapshot they have, and a
//! change of one of 100,000 entries copies some hundred.

use std::collections::HashMap;
use std::sync::Arc;

use wire::Str;

/// Parts of a table.
const SHARDS: usize = 256;

/// A table by name; a copy shares all of it.
#[derive(Debug)]
pub(crate) struct Shards<V> {
    shards: Box<[Arc<HashMap<Str, V>>]>,
    len: usize,
}

impl<V> Clone for Shards<V> {
    fn clone(&self) -> Shards<V> {
        Shards {
            shards: self.shards.clone(),
            len: self.len,
        }
    }
}

impl<V> Default for Shards<V> {
    fn default() -> Shards<V> {
        let empty = Arc::new(HashMap::new());
        Shards {
            shards: (0..SHARDS).map(|_| Arc::clone(&empty)).collect(),
            len: 0,
        }
    }
}

impl<V: Clone> Shards<V> {
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.shards.get(shard_of(name))?.get(name)
    }

    pub(crate) fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Str, &V)> + Clone {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Str> {
        self.iter().map(|(name, _)| name)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// What was there under that name.
    pub(crate) fn insert(&mut self, name: Str, value: V) -> Option<V> {
        let shard = self.shards.get_mut(shard_of(&name))?;
        let before = Arc::make_mut(shard).insert(name, value);
        self.len += usize::from(before.is_none());
        before
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<V> {
        let shard = self.shards.get_mut(shard_of(name))?;
        if !shard.contains_key(name) {
            return None;
        }
        let before = Arc::make_mut(shard).remove(name);
        self.len -= usize::from(before.is_some());
        before
    }
}

impl<V: Clone> Extend<(Str, V)> for Shards<V> {
    fn extend<T: IntoIterator<Item = (Str, V)>>(&mut self, entries: T) {
        for (name, value) in entries {
            self.insert(name, value);
        }
    }
}

impl<V: Clone> FromIterator<(Str, V)> for Shards<V> {
    fn from_iter<T: IntoIterator<Item = (Str, V)>>(entries: T) -> Shards<V> {
        let mut shards = Shards::default();
        shards.extend(entries);
        shards
    }
}

impl<V: Clone + PartialEq> PartialEq for Shards<V> {
    fn eq(&self, other: &Shards<V>) -> bool {
        self.len == other.len && self.iter().all(|(name, value)| other.get(name) == Some(value))
    }
}

/// Names may differ anywhere, and mostly do so in a few places: all of it decides. Eight bytes at once, since every request does it.
fn shard_of(name: &str) -> usize {
    /// Odd, with its bits spread.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = name.len() as u64;
    for part in name.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(SPREAD);
    }
    // What was multiplied gathers in the high bits.
    (hash >> 56) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_stays_as_it_is_while_the_table_changes() {
        let mut table: Shards<u32> = (0..1000).map(|i| (Str::from(format!("topic-{i}")), i)).collect();
        let snapshot = table.clone();
        assert_eq!(table.insert("topic-7".into(), 70), Some(7));
        assert_eq!(table.insert("new".into(), 1), None);
        assert_eq!(table.remove("topic-8"), Some(8));
        assert_eq!(table.remove("topic-8"), None);
        assert_eq!((table.len(), snapshot.len()), (1000, 1000));
        assert_eq!(
            (table.get("topic-7"), snapshot.get("topic-7")),
            (Some(&70), Some(&7))
        );
        assert_eq!(
            (table.contains_key("topic-8"), snapshot.contains_key("topic-8")),
            (false, true)
        );
        assert_eq!(table.iter().count(), table.len());
        assert!(table != snapshot);
    }

    #[test]
    fn a_change_copies_a_small_part_only() {
        let table: Shards<u32> = (0..10_000)
            .map(|i| (Str::from(format!("topic-{i}")), i))
            .collect();
        let mut changed = table.clone();
        changed.insert("one more".into(), 0);
        let copied = table
            .shards
            .iter()
            .zip(&changed.shards)
            .filter(|(a, b)| !Arc::ptr_eq(a, b));
        let copied: usize = copied.map(|(_, shard)| shard.len()).sum();
        assert!(copied < 200, "{copied}");
    }

    #[test]
    fn names_that_differ_in_a_number_are_spread() {
        let names: [fn(u32) -> String; 4] = [
            |i| format!("orders-of-shop-{i:06}-eu"),
            |i| format!("tenant-{i:05}-orders"),
            |i| format!("topic{i}"),
            |i| format!("{i}-of-a-name-that-is-rather-long-and-ends-alike"),
        ];
        for name in names {
            let table: Shards<()> = (0..10_000).map(|i| (Str::from(name(i)), ())).collect();
            let fullest = table.shards.iter().map(|shard| shard.len()).max();
            assert!(fullest < Some(200), "{}: {fullest:?}", name(7));
        }
    }
}
