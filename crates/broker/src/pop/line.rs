// SPDX-License-Identifier: Apache-2.0
//! One queue as one group pops it: its flight, who reads it just now, and what is committed for it.
//!
//! A change is decided, written to the journal, and made, under one lock; so the journal has the changes of a queue in the
//! order in which they were made.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::bell::Bell;
use super::flight::Flight;
use super::log::Name;
use crate::broker::Broker;
use crate::names::popped_topic;
use crate::traffic::Reader;

/// One group on one queue.
#[derive(Debug)]
pub(crate) struct Line {
    pub(super) id: u32,
    pub(super) name: Name,
    pub(super) bell: Arc<Bell>,
    pub(super) state: Mutex<State>,
    /// Somebody is between looking into the queue and handing out what is there.
    taken: AtomicBool,
    /// Somebody else passed by meanwhile.
    missed: AtomicBool,
    /// Where is counted what the group takes out of the topic, also out of its retry topic, and whether that topic is one
    /// of the system's.
    reader: OnceLock<(Arc<Reader>, bool)>,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) flight: Flight,
    /// What this line has committed. Another offset in the table was committed by somebody else.
    pub(super) published: Option<i64>,
    /// The time at which the line stands among those that have to be looked at.
    pub(super) hint: Option<i64>,
    /// Its topic or group was deleted.
    pub(super) is_dropped: bool,
}

impl State {
    /// Whether what was read from this offset on may be handed out.
    pub(super) fn is_at(&self, next: i64) -> bool {
        self.flight.next() == next && !self.is_dropped
    }
}

/// The right to hand out of a queue.
#[derive(Debug)]
pub(super) struct Turn(Arc<Line>);

impl Line {
    pub(super) fn new(id: u32, name: Name, bell: Arc<Bell>, flight: Flight, published: Option<i64>) -> Line {
        Line {
            id,
            name,
            bell,
            state: Mutex::new(State {
                flight,
                published,
                hint: None,
                is_dropped: false,
            }),
            taken: AtomicBool::new(false),
            missed: AtomicBool::new(false),
            reader: OnceLock::new(),
        }
    }

    /// Where is counted what the group takes out of the topic, and whether that is one of the system's.
    pub(super) fn reader(&self, b: &Broker) -> &(Arc<Reader>, bool) {
        self.reader.get_or_init(|| {
            let group = &self.name.group;
            match b.topics.get(popped_topic(&self.name.topic, group)) {
                Some(topic) => (topic.traffic.reader(group), topic.is_system),
                None => Default::default(),
            }
        })
    }

    /// `None`: somebody has it. The bell rings when it is free again.
    pub(super) fn take_turn(self: &Arc<Line>) -> Option<Turn> {
        for _ in 0..2 {
            // Two flags, and each side writes one and reads the other: only one order for both loses no ring.
            if !self.taken.swap(true, Ordering::SeqCst) {
                return Some(Turn(Arc::clone(self)));
            }
            // Between the two it may have become free without a ring.
            self.missed.store(true, Ordering::SeqCst);
        }
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::SeqCst);
        if self.0.missed.swap(false, Ordering::SeqCst) {
            self.0.bell.ring();
        }
    }
}
