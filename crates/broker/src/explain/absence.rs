// SPDX-License-Identifier: Apache-2.0
//! Since when groups are offline. Kept of those that left last, as long as the broker runs.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use wire::Str;

/// Departures that are remembered.
const KEPT_MAX: usize = 10_000;

/// When the last members of groups have gone.
#[derive(Debug, Default)]
pub(crate) struct Absences {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    since_ms: HashMap<Str, i64>,
    /// The same, oldest first; also departures that a later one of the same group has replaced.
    order: VecDeque<(Str, i64)>,
}

impl Absences {
    /// The last member of a group has gone.
    pub(crate) fn note(&self, group: &str, now_ms: i64) {
        let mut table = self.table.lock();
        let Table { since_ms, order } = &mut *table;
        if order.len() == KEPT_MAX
            && let Some((oldest, at_ms)) = order.pop_front()
            && since_ms.get(&oldest) == Some(&at_ms)
        {
            since_ms.remove(&oldest);
        }
        since_ms.insert(group.into(), now_ms);
        order.push_back((group.into(), now_ms));
    }

    /// When the last member of a group that is offline has gone, if that was not too long ago.
    pub(super) fn since_ms(&self, group: &str) -> Option<i64> {
        self.table.lock().since_ms.get(group).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_departures_of_the_last_ten_thousand_are_kept() {
        let absences = Absences::default();
        absences.note("first", 1);
        absences.note("again", 2);
        for n in 0..9_998 {
            absences.note(&format!("G{n}"), 3);
        }
        assert_eq!(absences.since_ms("first"), Some(1));
        absences.note("again", 4);
        absences.note("last", 5);
        assert_eq!(
            ["first", "again", "last"].map(|group| absences.since_ms(group)),
            [None, Some(4), Some(5)]
        );
        assert_eq!(absences.table.lock().order.len(), KEPT_MAX);
    }
}
