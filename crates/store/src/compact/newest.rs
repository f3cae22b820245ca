// SPDX-License-Identifier: Apache-2.0
//! The newest offset of each key, in bounded memory.

use std::collections::HashMap;

/// What an entry takes besides its key.
const ENTRY_BYTES: usize = 64;

/// Offsets by key, of messages in the order of their queue.
#[derive(Debug)]
pub(super) struct Newest {
    by_key: HashMap<Box<[u8]>, i64>,
    /// Bytes left for more keys.
    room: usize,
    /// The last offset taken; -1 for none.
    upto: i64,
}

impl Newest {
    pub(super) fn within(bytes: usize) -> Newest {
        Newest {
            by_key: HashMap::new(),
            room: bytes,
            upto: -1,
        }
    }

    /// Takes a message. `false` when there is no room for it: it and all behind it are for another time. One key
    /// always fits.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        if let Some(newest) = self.by_key.get_mut(key) {
            *newest = offset;
        } else {
            let left = self.room.checked_sub(key.len() + ENTRY_BYTES);
            if left.is_none() && !self.by_key.is_empty() {
                return false;
            }
            self.room = left.unwrap_or(0);
            self.by_key.insert(key.into(), offset);
        }
        self.upto = offset;
        true
    }

    /// The offset up to which messages were taken.
    pub(super) fn upto(&self) -> i64 {
        self.upto
    }

    /// Whether a message stays: it was not looked at yet, or nothing newer has its key. A message without a body only
    /// says that its key is gone, and goes itself.
    pub(super) fn retains(&self, key: &[u8], offset: i64, is_empty: bool) -> bool {
        offset > self.upto || (!is_empty && self.by_key.get(key).is_none_or(|newest| offset >= *newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_key_stays_and_what_was_not_looked_at() {
        let mut newest = Newest::within(1000);
        for (offset, key) in [(1, "a"), (2, "b"), (3, "a")] {
            assert!(newest.put(key.as_bytes(), offset));
        }
        let stays = |key: &str, offset, is_empty| newest.retains(key.as_bytes(), offset, is_empty);
        assert!(!stays("a", 1, false) && stays("b", 2, false) && stays("a", 3, false));
        assert!(!stays("a", 3, true), "what only deletes goes");
        assert!(stays("c", 0, false), "what is older and alone stays");
        assert!(stays("a", 4, true) && stays("a", 4, false));
    }

    #[test]
    fn what_does_not_fit_is_for_another_time() {
        let mut newest = Newest::within(2 * ENTRY_BYTES + 2);
        assert!(newest.put(b"a", 1) && newest.put(b"b", 2) && newest.put(b"a", 3));
        assert!(!newest.put(b"c", 4));
        assert_eq!(newest.upto(), 3);
        assert!(Newest::within(0).put(b"large", 9));
    }
}
