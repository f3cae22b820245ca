//! Pulls over many queues, one after the other: what it costs that they are many.

use crate::engine::{Done, Job};
use crate::jobs;
use crate::wire::{self, code, Frame, Serializer};
use std::collections::HashMap;

pub struct Sweep {
    ser: Serializer,
    topics: Vec<String>,
    /// (topic, queue) in the order they are pulled from.
    targets: Vec<(u32, i32)>,
    at: usize,
    max: i32,
    /// Where the next pull of each target begins; at the end it begins again.
    offsets: Vec<i64>,
    /// By connection and slot: the target of the pull under way.
    pulling: HashMap<(usize, usize), usize>,
}

impl Sweep {
    pub fn new(ser: Serializer, topics: Vec<String>, targets: Vec<(u32, i32)>, max: i32, thread: usize) -> Sweep {
        let offsets = vec![0; targets.len()];
        Sweep { ser, topics, at: thread * 7 % targets.len(), targets, max, offsets, pulling: HashMap::new() }
    }
}

impl Job for Sweep {
    fn next(&mut self, conn: usize, slot: usize, opaque: u32, out: &mut Vec<u8>) -> bool {
        let target = self.at;
        self.at = (self.at + 1) % self.targets.len();
        let (topic, queue) = self.targets[target];
        jobs::pull(out, self.ser, &self.topics[topic as usize], queue, self.offsets[target], self.max, 0, opaque);
        // Others may pull from the same queue before this answer is there.
        self.offsets[target] += i64::from(self.max);
        self.pulling.insert((conn, slot), target);
        true
    }

    fn done(&mut self, conn: usize, slot: usize, f: &Frame) -> Result<Done, i32> {
        let target = self.pulling[&(conn, slot)];
        match f.code {
            code::OK => {
                let mut msgs = 0;
                wire::each_message(f.body, |_| msgs += 1);
                if f.ext_int("nextBeginOffset") >= f.ext_int("maxOffset") {
                    self.offsets[target] = 0;
                }
                Ok(Done { msgs, bytes: f.body.len() as u64 })
            }
            code::PULL_NOT_FOUND | code::PULL_OFFSET_MOVED | code::PULL_RETRY_IMMEDIATELY => {
                self.offsets[target] = 0;
                Ok(Done::default())
            }
            c => Err(c),
        }
    }
}
