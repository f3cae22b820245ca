// SPDX-License-Identifier: Apache-2.0
//! What a pull of a queue means for the logical queue it is a stretch of. Pure.

use wire::api::pull::PullReply;
use wire::body::topic_route::LogicQueueItem;
use wire::code::ResponseCode;

use super::item::{behind, holding, is_ended, logical_end, to_logical};

/// The code and the header for the client. `asked` is the offset in the queue.
pub(super) fn revise(
    items: &[LogicQueueItem],
    item: &LogicQueueItem,
    asked: i64,
    (code, reply): (ResponseCode, PullReply),
) -> (ResponseCode, PullReply) {
    let is_leader = items
        .last()
        .is_some_and(|last| last.generation == item.generation);
    let is_first = holding(items, 0).is_some_and(|first| first.generation == item.generation);
    let mut now = Revised {
        item,
        code,
        next: reply.next_begin_offset,
        min: reply.min_offset,
        max: reply.max_offset,
    };
    if code != ResponseCode::SUCCESS {
        now.find_out(items, asked, (is_first, is_leader));
    }
    let item = now.item;
    if is_ended(item) {
        now.next = now.next.min(item.end_offset);
    }
    let newest = items.last().map_or(-1, logical_end);
    let reply = PullReply {
        next_begin_offset: to_logical(item, now.next),
        min_offset: to_logical(item, now.min),
        max_offset: to_logical(item, now.max).max(newest),
        offset_delta: Some(item.logic_offset - item.start_offset),
        ..reply
    };
    (now.code, reply)
}

struct Revised<'a> {
    item: &'a LogicQueueItem,
    code: ResponseCode,
    next: i64,
    min: i64,
    max: i64,
}

impl<'a> Revised<'a> {
    fn find_out(&mut self, items: &'a [LogicQueueItem], asked: i64, (is_first, is_leader): (bool, bool)) {
        if is_leader && asked > self.max && self.code == ResponseCode::PULL_OFFSET_MOVED {
            self.next = self.max;
        } else if is_first && asked < self.min {
            self.code = ResponseCode::PULL_OFFSET_MOVED;
            self.next = self.min;
        } else if asked < self.min {
            // What is missing in front of a later item is not in an earlier one either.
            self.code = ResponseCode::PULL_RETRY_IMMEDIATELY;
            self.next = self.min;
        } else if !is_leader && asked >= self.end() {
            self.go_on(items);
        }
    }

    /// Where the item ends in its queue, which others may go on writing to.
    fn end(&self) -> i64 {
        match is_ended(self.item) {
            true => self.max.min(self.item.end_offset),
            false => self.max,
        }
    }

    fn go_on(&mut self, items: &'a [LogicQueueItem]) {
        let Some(next) = behind(items, self.item) else {
            // It has not begun yet.
            self.code = ResponseCode::PULL_NOT_FOUND;
            return;
        };
        self.item = next;
        self.code = ResponseCode::PULL_RETRY_IMMEDIATELY;
        (self.next, self.min, self.max) = (next.start_offset, next.start_offset, next.start_offset);
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::tests::item;
    use super::*;

    fn reply((next, min, max): (i64, i64, i64)) -> PullReply {
        PullReply {
            next_begin_offset: next,
            min_offset: min,
            max_offset: max,
            ..PullReply::default()
        }
    }

    fn seen(
        items: &[LogicQueueItem],
        at: usize,
        asked: i64,
        (code, told): (ResponseCode, (i64, i64, i64)),
    ) -> (ResponseCode, (i64, i64, i64), i64) {
        let (code, reply) = revise(items, &items[at], asked, (code, reply(told)));
        let offsets = (reply.next_begin_offset, reply.min_offset, reply.max_offset);
        (code, offsets, reply.offset_delta.unwrap())
    }

    #[test]
    fn what_is_found_is_shifted() {
        let items = [item(0, "a", (0, -1, 0))];
        let found = (ResponseCode::SUCCESS, (3, 0, 9));
        assert_eq!(seen(&items, 0, 1, found), (ResponseCode::SUCCESS, (3, 0, 9), 0));
        let items = [item(0, "a", (0, 50, 0)), item(1, "b", (10, -1, 1000))];
        let found = (ResponseCode::SUCCESS, (13, 0, 30));
        assert_eq!(
            seen(&items, 1, 12, found),
            (ResponseCode::SUCCESS, (1003, 1000, 1020), 990)
        );
        let found = (ResponseCode::SUCCESS, (60, 0, 80));
        assert_eq!(
            seen(&items, 0, 40, found).1,
            (50, 0, 1000),
            "not beyond the end of the item; the newest offset is that of the last one"
        );
    }

    #[test]
    fn the_end_of_an_earlier_item_leads_to_the_next_one() {
        let items = [
            item(0, "a", (0, 50, 0)),
            item(1, "b", (10, -1, 1000)),
            item(2, "c", (0, -1, -1)),
        ];
        let none = (ResponseCode::PULL_NOT_FOUND, (50, 0, 50));
        assert_eq!(
            seen(&items, 0, 50, none),
            (ResponseCode::PULL_RETRY_IMMEDIATELY, (1000, 1000, 1000), 990)
        );
        let none = (ResponseCode::PULL_NOT_FOUND, (20, 0, 20));
        assert_eq!(
            seen(&items, 1, 20, none).0,
            ResponseCode::PULL_NOT_FOUND,
            "the next has not begun"
        );
    }

    #[test]
    fn an_offset_that_is_gone_is_moved_in_the_first_item_and_passed_over_in_later_ones() {
        let items = [item(0, "a", (0, 50, 0)), item(1, "b", (0, -1, 1000))];
        let moved = (ResponseCode::PULL_OFFSET_MOVED, (7, 7, 50));
        assert_eq!(
            seen(&items, 0, 3, moved),
            (ResponseCode::PULL_OFFSET_MOVED, (7, 7, 1000), 0)
        );
        assert_eq!(
            seen(&items, 1, 3, moved),
            (ResponseCode::PULL_RETRY_IMMEDIATELY, (1007, 1007, 1050), 1000)
        );
        let beyond = (ResponseCode::PULL_OFFSET_MOVED, (0, 0, 20));
        assert_eq!(
            seen(&items, 1, 30, beyond),
            (ResponseCode::PULL_OFFSET_MOVED, (1020, 1000, 1020), 1000)
        );
    }
}
