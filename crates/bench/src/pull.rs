// SPDX-License-Identifier: Apache-2.0
//! Reads queues of one broker by pulls, one under way for each queue. A pull at the end of a queue is held by the broker
//! until a message comes.

use std::collections::VecDeque;

use wire::Str;
use wire::api::pull::{PullMessage, PullReply};
use wire::code::ResponseCode;
use wire::frame::Frame;

use crate::ledger::Order;
use crate::line::{Line, Lost, Next, Work};
use crate::receive::Receiver;
use crate::schedule::SECOND_NS;

/// How long the broker may hold a pull, ms.
pub(crate) const HOLD_MS: u64 = 15_000;
/// How long to leave a queue alone that gave an error.
pub(crate) const PAUSE_NS: u64 = SECOND_NS / 2;
/// The pull may be held, and brings its subscription with it.
const SUSPEND_AND_SUBSCRIPTION: i32 = 2 | 4;

/// A queue as its reader sees it.
pub(crate) struct Queue {
    pub(crate) id: i32,
    /// What is read next.
    pub(crate) offset: i64,
    /// It is read up to there only.
    pub(crate) end: Option<i64>,
    pub(crate) order: Order,
}

/// Queues that are to be asked, now or later.
pub(crate) struct Turns {
    ready: VecDeque<usize>,
    later: VecDeque<(u64, usize)>,
}

impl Turns {
    /// All of so many queues, at once.
    pub(crate) fn new(queues: usize) -> Turns {
        Turns {
            ready: (0..queues).collect(),
            later: VecDeque::new(),
        }
    }

    pub(crate) fn again(&mut self, queue: usize) {
        self.ready.push_back(queue);
    }

    pub(crate) fn pause(&mut self, queue: usize, now: u64) {
        self.later.push_back((now + PAUSE_NS, queue));
    }

    pub(crate) fn next(&mut self, now: u64) -> Option<usize> {
        while let Some((_, queue)) = self.later.pop_front_if(|(at, _)| *at <= now) {
            self.ready.push_back(queue);
        }
        self.ready.pop_front()
    }

    /// When the next queue that was left alone is to be asked.
    pub(crate) fn wake(&self) -> Next {
        self.later.front().map_or(Next::Answer, |(at, _)| Next::At(*at))
    }
}

/// A connection that pulls.
pub(crate) struct Pull {
    receiver: Receiver,
    queues: Vec<Queue>,
    turns: Turns,
    broker: Str,
    /// Queues that have not reached their end.
    open: usize,
}

/// A pull under way.
pub(crate) struct Pulled {
    queue: usize,
    at: u64,
}

impl Pull {
    pub(crate) fn new(receiver: Receiver, queues: Vec<Queue>, broker: &Str) -> Pull {
        let unread = |queue: &Queue| queue.end.is_none_or(|end| queue.offset < end);
        let queues: Vec<Queue> = queues.into_iter().filter(unread).collect();
        Pull {
            receiver,
            turns: Turns::new(queues.len()),
            open: queues.len(),
            queues,
            broker: broker.clone(),
        }
    }

    fn ask_for(&self, queue: &Queue) -> Frame {
        let options = &self.receiver.shared.options;
        let header = PullMessage {
            consumer_group: options.group.as_str().into(),
            topic: options.topic.as_str().into(),
            queue_id: queue.id,
            queue_offset: queue.offset,
            max_msg_nums: options.pull_max,
            sys_flag: SUSPEND_AND_SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_millis: HOLD_MS as i64,
            subscription: Some(options.tag.as_deref().unwrap_or("*").into()),
            sub_version: 0,
            expression_type: Some(Str::const_new("TAG")),
            ..PullMessage::default()
        };
        let mut frame = Frame::request(0, &header);
        if !self.broker.is_empty() {
            frame.ext = frame.ext.with("bname", &self.broker);
        }
        frame
    }

    fn fail(&mut self, pulled: &Pulled, why: &str, now: u64) {
        self.receiver.tally().lock().failure(why, 1);
        self.turns.pause(pulled.queue, now);
    }
}

impl Work for Pull {
    type Asked = Pulled;

    fn feed(&mut self, line: &mut Line<Pulled>, now: u64) -> Next {
        let shared = &self.receiver.shared;
        if self.open == 0 || shared.is_enough() {
            // What the broker holds would be answered much later.
            line.forget();
            return Next::Done;
        }
        let deadline = now + HOLD_MS * 1_000_000 + shared.options.timeout.as_nanos() as u64;
        while line.has_room()
            && let Some(place) = self.turns.next(now)
        {
            if let Some(queue) = self.queues.get(place) {
                let pulled = Pulled {
                    queue: place,
                    at: now,
                };
                line.ask(self.ask_for(queue), pulled, deadline);
            }
        }
        self.turns.wake()
    }

    fn answered(&mut self, pulled: Pulled, frame: &Frame, now: u64) {
        let Some(queue) = self.queues.get_mut(pulled.queue) else {
            return;
        };
        let code = ResponseCode(frame.code);
        match code {
            ResponseCode::SUCCESS => {
                self.receiver
                    .answer((frame, &mut queue.order), (pulled.at, now), |_| {});
            }
            ResponseCode::PULL_NOT_FOUND
            | ResponseCode::PULL_RETRY_IMMEDIATELY
            | ResponseCode::PULL_OFFSET_MOVED => {
                self.receiver.tally().lock().counts.empty += 1;
            }
            _ => {
                let remark = frame.remark.as_deref().unwrap_or_default();
                let why = format!("a pull was refused with {code}: {remark}");
                return self.fail(&pulled, &why, now);
            }
        }
        match frame.ext.read::<PullReply>() {
            Ok(reply) => queue.offset = reply.next_begin_offset,
            Err(error) => {
                let why = format!("the answer to a pull cannot be read: {error}");
                return self.fail(&pulled, &why, now);
            }
        }
        if queue.end.is_some_and(|end| queue.offset >= end) {
            self.open -= 1;
            return;
        }
        self.turns.again(pulled.queue);
    }

    fn lost(&mut self, pulled: Pulled, why: Lost, now: u64) {
        if why == Lost::Ended {
            // Perhaps there was nothing to bring.
            return;
        }
        self.fail(&pulled, &format!("pull: {}", why.reason()), now);
    }
}
