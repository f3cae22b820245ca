// SPDX-License-Identifier: Apache-2.0
//! Offsets of a logical queue and of the queues it is made of: arithmetic, as the reference does it. A logical queue is a row
//! of items, oldest first, each of which is a stretch of a queue on some broker; the last one is written to.

use wire::body::topic_route::LogicQueueItem;

/// Whether the item has begun: until it is decided where, it is -1.
pub(super) fn is_placed(item: &LogicQueueItem) -> bool {
    item.logic_offset >= 0
}

/// Whether it is decided where the item ends.
pub(super) fn is_ended(item: &LogicQueueItem) -> bool {
    item.end_offset > item.start_offset
}

/// The logical offset of one of the queue. In front of the item it is the item's first.
pub(super) fn to_logical(item: &LogicQueueItem, offset: i64) -> i64 {
    let within = offset.saturating_sub(item.start_offset).max(0);
    item.logic_offset.saturating_add(within)
}

/// The same within the end of the item; -1 while it is not decided where it begins.
pub(super) fn to_logical_within(item: &LogicQueueItem, offset: i64) -> i64 {
    if !is_placed(item) {
        return -1;
    }
    let end = match item.end_offset >= item.start_offset {
        true => offset.min(item.end_offset),
        false => offset,
    };
    to_logical(item, end)
}

/// The offset in the queue of a logical one.
pub(super) fn to_physical(item: &LogicQueueItem, offset: i64) -> i64 {
    offset
        .saturating_sub(item.logic_offset)
        .saturating_add(item.start_offset)
}

/// The first logical offset behind the item, if that is decided; else its first.
pub(super) fn logical_end(item: &LogicQueueItem) -> i64 {
    let length = item.end_offset.saturating_sub(item.start_offset).max(0);
    item.logic_offset.saturating_add(length)
}

/// The item that holds a logical offset; in front of all the first. Those that have not begun do not count.
pub(super) fn holding(items: &[LogicQueueItem], offset: i64) -> Option<&LogicQueueItem> {
    let placed = || items.iter().filter(|item| is_placed(item));
    placed()
        .rev()
        .find(|item| offset >= item.logic_offset)
        .or_else(|| placed().next())
}

/// The item behind another one, if it has begun.
pub(super) fn behind<'a>(items: &'a [LogicQueueItem], item: &LogicQueueItem) -> Option<&'a LogicQueueItem> {
    let at = items
        .iter()
        .position(|other| other.generation == item.generation)?;
    items.get(at + 1).filter(|next| is_placed(next))
}

/// What is wrong with a row of items, if anything is.
pub(super) fn fault_of(items: &[LogicQueueItem]) -> Option<&'static str> {
    let is_negative =
        |item: &LogicQueueItem| item.start_offset < 0 || item.generation < 0 || item.queue_id < 0;
    if items.iter().any(is_negative) {
        return Some("The field is illegal, should not be negative");
    }
    let older = items.len().saturating_sub(1);
    if !items.iter().take(older).all(is_placed) {
        return Some("The non-latest item has negative logic offset");
    }
    let ends_early = |item: &LogicQueueItem| item.end_offset != -1 && item.end_offset < item.start_offset;
    if items.iter().any(ends_early) {
        return Some("The endOffset is smaller than the start offset");
    }
    for (item, next) in items.iter().zip(items.iter().skip(1)) {
        if item.generation >= next.generation {
            return Some("The gen does not increase monotonically");
        }
        if is_placed(next)
            && (item.logic_offset >= next.logic_offset || logical_end(item) >= next.logic_offset)
        {
            return Some("The logic offset does not increase monotonically");
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An item from where to where in its queue, and where in the logical one.
    pub(in super::super) fn item(
        generation: i32,
        bname: &str,
        (start, end, logical): (i64, i64, i64),
    ) -> LogicQueueItem {
        LogicQueueItem {
            bname: bname.into(),
            end_offset: end,
            generation,
            logic_offset: logical,
            queue_id: generation,
            start_offset: start,
            ..LogicQueueItem::default()
        }
    }

    #[test]
    fn offsets_go_there_and_back() {
        let open = item(1, "b", (10, -1, 100));
        assert_eq!((to_logical(&open, 15), to_physical(&open, 105)), (105, 15));
        assert_eq!(to_logical(&open, 3), 100, "in front of it");
        assert!(!is_ended(&open) && logical_end(&open) == 100);
        let ended = item(0, "a", (0, 50, 0));
        assert_eq!((to_logical_within(&ended, 60), logical_end(&ended)), (50, 50));
        assert_eq!(to_logical_within(&item(2, "c", (0, -1, -1)), 7), -1);
        assert_eq!(to_logical(&open, i64::MAX), i64::MAX, "no overflow");
    }

    #[test]
    fn an_offset_is_in_the_last_item_that_has_begun_before_it() {
        let items = [
            item(0, "a", (0, 50, 0)),
            item(1, "b", (0, -1, 10_000)),
            item(2, "c", (0, -1, -1)),
        ];
        let found = |offset| holding(&items, offset).unwrap().generation;
        assert_eq!(
            (found(-1), found(0), found(9_999), found(10_000), found(i64::MAX)),
            (0, 0, 0, 1, 1)
        );
        assert_eq!(behind(&items, &items[0]).unwrap().generation, 1);
        assert!(behind(&items, &items[1]).is_none() && behind(&items, &items[2]).is_none());
        assert!(holding(&[], 0).is_none());
    }

    #[test]
    fn items_that_overlap_or_go_back_are_refused() {
        let first = item(0, "a", (0, 50, 0));
        assert_eq!(fault_of(&[first.clone(), item(1, "b", (0, -1, -1))]), None);
        assert_eq!(fault_of(&[first.clone(), item(1, "b", (0, -1, 10_000))]), None);
        for (second, what) in [
            (item(1, "b", (-1, -1, 60)), "negative"),
            (item(0, "b", (0, -1, 60)), "gen"),
            (item(1, "b", (0, -1, 40)), "logic offset"),
            (item(1, "b", (10, 5, 60)), "endOffset"),
        ] {
            let fault = fault_of(&[first.clone(), second]).unwrap();
            assert!(fault.contains(what), "{fault}");
        }
        assert!(fault_of(&[item(0, "a", (0, -1, -1)), item(1, "b", (0, -1, 1))]).is_some());
    }
}
