// SPDX-License-Identifier: Apache-2.0
//! The store against a map: whatever is appended, tidied, reopened and read in whatever order, it answers as the map.

#[path = "support/rig.rs"]
mod rig;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use rig::*;
use store::{Filter, FlushMode, ReadError, ReadLimit, ReadStatus};
use wire::properties::tags_code;
use wire::record::Record;

const TAGS: [&str; 3] = ["", "A", "B"];

#[derive(Debug, Clone)]
enum Step {
    Append {
        queue: u32,
        tag: usize,
        len: usize,
    },
    Read {
        queue: u32,
        from: i64,
        count: usize,
        bytes: usize,
        scan: usize,
        tag: usize,
    },
    Tidy(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u32..3, 0usize..3, 0usize..400).prop_map(|(queue, tag, len)| Step::Append { queue, tag, len }),
        8 => (0u32..4, -2i64..60, 1usize..20, 1usize..4000, 1usize..30, 0usize..3).prop_map(
            |(queue, from, count, bytes, scan, tag)| Step::Read { queue, from, count, bytes, scan, tag }
        ),
        2 => (1u64..100).prop_map(Step::Tidy),
        1 => Just(Step::Reopen),
    ]
}

struct Tag(usize);

impl Filter for Tag {
    fn by_code(&self, code: i64) -> bool {
        self.0 == 0 || code == tags_code(TAGS[self.0])
    }
}

/// What a queue of the map answers: offsets of the messages, and where to go on.
fn expected(queue: &[(usize, usize)], from: i64, limit: &ReadLimit, tag: usize) -> (Vec<i64>, i64) {
    let (mut found, mut bytes, mut next) = (Vec::new(), 0, from);
    for (offset, (size, has)) in queue.iter().enumerate().skip(from as usize).take(limit.scan) {
        // Whether there is room is asked before whether the message is wanted, as in the reference.
        if !found.is_empty() && (found.len() >= limit.count || bytes + size > limit.bytes) {
            break;
        }
        if tag == 0 || *has == tag {
            bytes += size;
            found.push(offset as i64);
        }
        next = offset as i64 + 1;
    }
    (found, next)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_reads_as_a_map_does(steps in vec(step(), 1..120), is_sync: bool) {
        let rig = Rig::new(1, if is_sync { FlushMode::Sync } else { FlushMode::Async });
        let mut store = rig.open();
        // Size and tag of every message.
        let mut map: BTreeMap<u32, Vec<(usize, usize)>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Append { queue, tag, len } => {
                    let handle = store.queue("T", queue);
                    let properties = if tag == 0 { String::new() } else { format!("TAGS\u{1}{}\u{2}", TAGS[tag]) };
                    let body = vec![b'x'; len];
                    let receipt = store.append(&draft(&handle, &body, properties.as_bytes())).unwrap();
                    store.drive();
                    store.turn_flush();
                    let of_queue = map.entry(queue).or_default();
                    prop_assert_eq!(receipt.queue_offset, of_queue.len() as i64);
                    of_queue.push((receipt.size, tag));
                }
                Step::Read { queue, from, count, bytes, scan, tag } => {
                    let limit = ReadLimit { count, bytes, scan, far: None };
                    let of_queue = map.get(&queue).map_or(&[][..], Vec::as_slice);
                    let max = of_queue.len() as i64;
                    let handle = store.queue("T", queue);
                    match store.read(&handle, from, &limit, &Tag(tag)) {
                        Ok(batch) => {
                            prop_assert!((0..max).contains(&from));
                            let records: Result<Vec<_>, _> = Record::decode_all(&batch.bytes).collect();
                            let offsets: Vec<i64> = records.unwrap().iter().map(|record| record.queue_offset).collect();
                            let (found, next) = expected(of_queue, from, &limit, tag);
                            let status = if found.is_empty() { ReadStatus::NoMatch } else { ReadStatus::Found };
                            prop_assert_eq!((offsets, batch.next_offset, batch.status), (found, next, status));
                            prop_assert_eq!((batch.min, batch.max), (0, max));
                        }
                        Err(ReadError::Empty) => prop_assert_eq!(max, 0),
                        Err(ReadError::TooSmall { .. }) => prop_assert!(from < 0),
                        Err(ReadError::AtEnd { .. }) => prop_assert_eq!(from, max),
                        Err(ReadError::BeyondEnd { .. }) => prop_assert!(from > max),
                        Err(error) => prop_assert!(false, "{}", error),
                    }
                }
                Step::Tidy(seconds) => rig.tidy_after(&store, seconds),
                Step::Reopen => {
                    store.close().unwrap();
                    drop(store);
                    store = rig.open();
                }
            }
        }
    }
}
