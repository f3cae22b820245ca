//! Consuming by lease: a pop, then an acknowledgement for each of its messages, one after the other per slot.

use crate::engine::{Done, Job};
use crate::wire::{self, code, Frame, Request, Serializer};
use std::collections::{HashMap, VecDeque};

/// How messages are acknowledged.
#[derive(Clone, Copy, PartialEq)]
pub enum Ack {
    /// One request each, as the official client does.
    Each,
    /// Not at all: what was popped stays in flight.
    Never,
}

pub struct Pop {
    pub ser: Serializer,
    pub topic: String,
    pub group: String,
    pub queues: i32,
    pub max: i32,
    pub invisible_ms: i64,
    pub ack: Ack,
    pub at: i32,
    /// By connection and slot: queue, offset and handle of what is not acknowledged yet.
    pub leases: HashMap<(usize, usize), VecDeque<(i32, i64, String)>>,
    /// Slots whose request under way is an acknowledgement.
    pub acking: HashMap<(usize, usize), bool>,
    /// Ends when this many pops in a row brought nothing.
    pub empty: usize,
    /// Messages to take before it ends.
    pub left: u64,
}

impl Job for Pop {
    fn next(&mut self, conn: usize, slot: usize, opaque: u32, out: &mut Vec<u8>) -> bool {
        if let Some((queue, offset, handle)) = self.leases.get_mut(&(conn, slot)).and_then(VecDeque::pop_front) {
            self.acking.insert((conn, slot), true);
            Request::new(out, self.ser, code::ACK_MESSAGE, opaque)
                .str("consumerGroup", self.group.as_bytes())
                .str("topic", self.topic.as_bytes())
                .int("queueId", queue as i64)
                .str("extraInfo", handle.as_bytes())
                .int("offset", offset)
                .finish(|_| {});
            return true;
        }
        if self.empty > 4 * self.queues as usize || self.left == 0 {
            return false;
        }
        self.acking.insert((conn, slot), false);
        self.at = (self.at + 1) % self.queues;
        Request::new(out, self.ser, code::POP_MESSAGE, opaque)
            .str("consumerGroup", self.group.as_bytes())
            .str("topic", self.topic.as_bytes())
            .int("queueId", self.at as i64)
            .int("maxMsgNums", self.max as i64)
            .int("invisibleTime", self.invisible_ms)
            .int("pollTime", 0)
            .int("bornTime", crate::jobs::now_ms())
            .int("initMode", 0)
            .str("expType", b"TAG")
            .str("exp", b"*")
            .str("order", b"false")
            .finish(|_| {});
        true
    }

    fn done(&mut self, conn: usize, slot: usize, f: &Frame) -> Result<Done, i32> {
        if self.acking[&(conn, slot)] {
            return if f.code == code::OK { Ok(Done { msgs: 1, bytes: 0 }) } else { Err(f.code) };
        }
        if f.code != code::OK {
            self.empty += 1;
            // Nothing there, held places full, or polled out: none is a failure.
            return if matches!(f.code, code::PULL_NOT_FOUND | 207..=210) { Ok(Done::default()) } else { Err(f.code) };
        }
        self.empty = 0;
        let (Some(pop_time), Some(invisible), Some(revive)) =
            (f.ext_int("popTime"), f.ext_int("invisibleTime"), f.ext_int("reviveQid"))
        else {
            return Err(-3);
        };
        let starts = f.ext_text("startOffsetInfo").ok_or(-3)?;
        let mut leases = VecDeque::new();
        wire::each_message(f.body, |m| {
            let queue = wire::be32(m, 12) as i32;
            let offset = i64::from_be_bytes(m[20..28].try_into().unwrap());
            // `retry queue start` for each queue.
            let start = starts.split(';').find_map(|s| {
                let mut parts = s.split(' ').skip(1);
                (parts.next()?.parse() == Ok(queue)).then(|| parts.next())?
            });
            let handle = format!("{} {pop_time} {invisible} {revive} 0 broker-a {queue} {offset}", start.unwrap_or("0"));
            leases.push_back((queue, offset, handle));
        });
        let count = leases.len() as u64;
        self.left = self.left.saturating_sub(count);
        if self.ack == Ack::Never {
            return Ok(Done { msgs: count, bytes: f.body.len() as u64 });
        }
        self.leases.insert((conn, slot), leases);
        Ok(Done::default())
    }
}
