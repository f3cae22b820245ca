// SPDX-License-Identifier: Apache-2.0
//! Reads queues of one broker by pops, one under way for each queue, and acknowledges each message by a request of its
//! own, as the consumer of the reference does.

use std::collections::VecDeque;

use wire::Str;
use wire::api::pop::{AckMessage, PopMessage, PopReply};
use wire::code::ResponseCode;
use wire::frame::Frame;
use wire::receipt::{Origin, Receipt};
use wire::record::RecordHead;

use crate::line::{Line, Lost, Next, Work};
use crate::pull::{HOLD_MS, Queue, Turns};
use crate::receive::Receiver;
use crate::tally::Measure;

/// How long nobody else gets what was handed out, ms.
const INVISIBLE_MS: i64 = 60_000;
/// Acknowledgements that wait; beyond them nothing more is popped.
const ACKS_MAX: usize = 1 << 16;

/// A connection that pops.
pub(crate) struct Pop {
    receiver: Receiver,
    queues: Vec<Queue>,
    turns: Turns,
    broker: Str,
    acks: VecDeque<AckMessage>,
    /// Acknowledgements under way.
    settling: usize,
}

/// A request under way.
pub(crate) enum Popped {
    Pop { queue: usize, at: u64 },
    Ack { at: u64 },
}

impl Pop {
    pub(crate) fn new(receiver: Receiver, queues: Vec<Queue>, broker: &Str) -> Pop {
        Pop {
            receiver,
            turns: Turns::new(queues.len()),
            queues,
            broker: broker.clone(),
            acks: VecDeque::new(),
            settling: 0,
        }
    }

    fn ask_for(&self, queue: &Queue, now: u64) -> Frame {
        let shared = &self.receiver.shared;
        let options = &shared.options;
        Frame::request(
            0,
            &PopMessage {
                consumer_group: options.group.as_str().into(),
                topic: options.topic.as_str().into(),
                queue_id: queue.id,
                max_msg_nums: options.pull_max.min(32),
                invisible_time: INVISIBLE_MS,
                poll_time: HOLD_MS as i64,
                born_time: shared.clock.wall_ms(now) as i64,
                init_mode: 0,
                exp_type: Some(Str::const_new("TAG")),
                exp: Some(options.tag.as_deref().unwrap_or("*").into()),
                order: Some(false),
                attempt_id: None,
            },
        )
    }

    fn take(&mut self, place: usize, (frame, reply): (&Frame, &PopReply), times: (u64, u64)) {
        let Some(queue) = self.queues.get_mut(place) else {
            return;
        };
        let group = &self.receiver.shared.options.group;
        let topic = &self.receiver.shared.options.topic;
        let starts = reply.start_offset_info.as_deref().unwrap_or_default();
        let (acks, broker) = (&mut self.acks, &self.broker);
        self.receiver.answer((frame, &mut queue.order), times, |record| {
            let lease = Lease::of(record, (reply, starts), (topic, group), broker);
            acks.push_back(AckMessage {
                consumer_group: group.as_str().into(),
                topic: lease.topic,
                queue_id: lease.queue,
                extra_info: lease.handle,
                offset: lease.offset,
            });
        });
    }
}

impl Work for Pop {
    type Asked = Popped;

    fn feed(&mut self, line: &mut Line<Popped>, now: u64) -> Next {
        let timeout = self.receiver.shared.options.timeout.as_nanos() as u64;
        while line.has_room()
            && let Some(ack) = self.acks.pop_front()
        {
            self.settling += 1;
            line.ask(Frame::request(0, &ack), Popped::Ack { at: now }, now + timeout);
        }
        if self.receiver.shared.is_enough() {
            // What the broker holds would be answered much later.
            if self.acks.is_empty() && self.settling == 0 {
                line.forget();
            }
            return Next::Done;
        }
        while line.has_room()
            && self.acks.len() < ACKS_MAX
            && let Some(place) = self.turns.next(now)
        {
            if let Some(queue) = self.queues.get(place) {
                let popped = Popped::Pop {
                    queue: place,
                    at: now,
                };
                line.ask(
                    self.ask_for(queue, now),
                    popped,
                    now + HOLD_MS * 1_000_000 + timeout,
                );
            }
        }
        if self.acks.is_empty() {
            self.turns.wake()
        } else {
            Next::Room
        }
    }

    fn answered(&mut self, popped: Popped, frame: &Frame, now: u64) {
        let code = ResponseCode(frame.code);
        let (place, at) = match popped {
            Popped::Pop { queue, at } => (queue, at),
            Popped::Ack { at } => {
                self.settling -= 1;
                let mut tally = self.receiver.tally().lock();
                if code == ResponseCode::SUCCESS {
                    if now >= self.receiver.shared.warm {
                        tally.time(Measure::Ack, now - at, 1);
                    }
                } else {
                    let remark = frame.remark.as_deref().unwrap_or_default();
                    tally.failure(
                        &format!("an acknowledgement was refused with {code}: {remark}"),
                        1,
                    );
                }
                return;
            }
        };
        match code {
            ResponseCode::SUCCESS => match frame.ext.read::<PopReply>() {
                Ok(reply) => {
                    self.take(place, (frame, &reply), (at, now));
                    self.turns.again(place);
                }
                Err(error) => {
                    let why = format!("the answer to a pop cannot be read: {error}");
                    self.receiver.tally().lock().failure(&why, 1);
                    self.turns.pause(place, now);
                }
            },
            ResponseCode::POLLING_TIMEOUT | ResponseCode::PULL_NOT_FOUND | ResponseCode::NO_MESSAGE => {
                self.receiver.tally().lock().counts.empty += 1;
                self.turns.again(place);
            }
            ResponseCode::POLLING_FULL => {
                self.receiver.tally().lock().counts.empty += 1;
                self.turns.pause(place, now);
            }
            _ => {
                let remark = frame.remark.as_deref().unwrap_or_default();
                let why = format!("a pop was refused with {code}: {remark}");
                self.receiver.tally().lock().failure(&why, 1);
                self.turns.pause(place, now);
            }
        }
    }

    fn lost(&mut self, popped: Popped, why: Lost, now: u64) {
        let what = match popped {
            // Perhaps there was nothing to bring.
            Popped::Pop { .. } if why == Lost::Ended => return,
            Popped::Pop { queue, .. } => {
                self.turns.pause(queue, now);
                "pop"
            }
            Popped::Ack { .. } => {
                self.settling -= 1;
                "acknowledgement"
            }
        };
        let why = format!("{what}: {}", why.reason());
        self.receiver.tally().lock().failure(&why, 1);
    }
}

/// What settles a message that was handed out.
struct Lease {
    topic: Str,
    queue: i32,
    offset: i64,
    handle: Str,
}

impl Lease {
    /// A message that comes again carries its handle; for others it is made of the header.
    fn of(
        record: &RecordHead<'_>,
        (reply, starts): (&PopReply, &str),
        (topic, group): (&str, &str),
        broker: &Str,
    ) -> Lease {
        let carried = wire::properties::get(record.parts.properties, "POP_CK").and_then(|handle| {
            let words: Vec<&str> = handle.split(' ').collect();
            let [_, _, _, _, origin, _, queue, offset, ..] = words.as_slice() else {
                return None;
            };
            Some(Lease {
                topic: Origin::parse(origin)?.topic(topic, group),
                queue: queue.parse().ok()?,
                offset: offset.parse().ok()?,
                handle: handle.into(),
            })
        });
        if let Some(lease) = carried {
            return lease;
        }
        let (queue, offset) = (record.parts.queue_id as i32, record.stamp.queue_offset);
        let origin = Origin::of(record.parts.topic);
        let receipt = Receipt {
            start_offset: start_of(starts, origin, queue).unwrap_or(offset),
            pop_time: reply.pop_time,
            invisible_time: reply.invisible_time,
            revive_qid: reply.revive_qid,
            broker_name: broker.clone(),
        };
        Lease {
            topic: origin.topic(topic, group),
            queue,
            offset,
            handle: receipt.handle(record.parts.topic, queue, offset).into(),
        }
    }
}

/// The first offset of a queue in `startOffsetInfo`.
fn start_of(starts: &str, origin: Origin, queue: i32) -> Option<i64> {
    starts.split(';').find_map(|entry| {
        let mut words = entry.split(' ');
        let is_origin = Origin::parse(words.next()?)? == origin;
        let is_queue = words.next()?.parse() == Ok(queue);
        (is_origin && is_queue).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_queue_is_found_among_those_of_others() {
        let starts = "0 1 10;0 2 20;1 1 30;2 1 40";
        assert_eq!(start_of(starts, Origin::Topic, 1), Some(10));
        assert_eq!(start_of(starts, Origin::Topic, 2), Some(20));
        assert_eq!(start_of(starts, Origin::RetryV1, 1), Some(30));
        assert_eq!(start_of(starts, Origin::RetryV2, 1), Some(40));
        assert_eq!(start_of(starts, Origin::Topic, 3), None);
        assert_eq!(start_of("", Origin::Topic, 1), None);
    }
}
