// SPDX-License-Identifier: Apache-2.0
//! From an entry of the timers to the copy of its message, appended to the topic it is meant for.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;
use store::{AppendError, Gate, GateState, Level, LogPos, ReadError, Timed, TimerEntry};
use tracing::{error, warn};
use wire::Str;
use wire::properties::name::{CRC32, REAL_QID, REAL_TOPIC, UNIQ_KEY};
use wire::properties::{Properties, get};
use wire::record::{Parts, RecordHead};

use crate::broker::Broker;
use crate::names::{TIMER_TOPIC, takes_no_sends, topic_error};
use crate::put::Put;
use crate::send::properties::name::TIMER_DEL_UNIQKEY;

const ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
const DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
pub(super) const ROLL_TIMES: &str = "TIMER_ROLL_TIMES";

/// Whether a topic may get messages of the timers: not itself, which would go round for ever, and none that takes no sends.
pub(super) fn may_get(real: &str) -> bool {
    real != TIMER_TOPIC && !takes_no_sends(real) && topic_error(real).is_none()
}

/// What a turn has appended, until it is written.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// One per generation of the log: all must pass.
    pub(super) gates: Vec<Gate>,
    /// To be given an entry.
    pub(super) parked: Vec<Timed>,
    /// Where reading goes on then.
    pub(super) queue_offset: Option<i64>,
    /// Entries of the tick that fires which are dealt with then.
    pub(super) fired: Option<usize>,
    /// By how much the counts change, by topic.
    pub(super) counts: Vec<(Str, i64)>,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// The store took no more.
    pub(super) is_cut_short: bool,
}

impl Staged {
    fn wait_for(&mut self, gate: Gate) {
        match self.gates.last_mut() {
            Some(last) if last.generation == gate.generation => *last = gate,
            _ => self.gates.push(gate),
        }
    }
}

/// Unique ids that are taken back in the tick that fires, the topic each is meant for, and whether one was found.
pub(super) type Recalls = HashMap<Box<str>, (Str, bool)>;

/// Why nothing can be appended now.
enum Refused {
    /// It may be tried again.
    Later,
    /// Never: the message is at fault.
    Never(AppendError),
}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Refused {
        match error {
            AppendError::BodyTooLarge { .. }
            | AppendError::RecordTooLarge { .. }
            | AppendError::PropertiesTooLarge { .. }
            | AppendError::Topic
            | AppendError::Empty => Refused::Never(error),
            _ => Refused::Later,
        }
    }
}

/// The message of an entry; `None` when it is gone, or when what lies there is no message of the timers.
pub(super) fn record_of(b: &Broker, entry: &TimerEntry) -> io::Result<Option<Bytes>> {
    let record = match b.store.record_at(LogPos(entry.pos)) {
        Ok(record) => record,
        Err(ReadError::NoRecord(pos)) => {
            warn!(%pos, "a timer message is no longer in the log");
            return Ok(None);
        }
        Err(error) => return Err(io::Error::other(error)),
    };
    let is_timed = RecordHead::scan(&record).is_ok_and(|head| {
        head.parts.topic == TIMER_TOPIC && get(head.parts.properties, REAL_TOPIC).is_some()
    });
    if !is_timed {
        warn!(
            pos = entry.pos,
            "the timer log points to something that is no timer message"
        );
    }
    Ok(is_timed.then_some(record))
}

/// What the entries of a tick take back.
pub(super) fn recalls(b: &Broker, deletes: &[TimerEntry]) -> Recalls {
    let mut recalls = Recalls::new();
    for entry in deletes {
        let Ok(Some(record)) = record_of(b, entry) else {
            continue;
        };
        let Ok(head) = RecordHead::scan(&record) else {
            continue;
        };
        let properties = head.parts.properties;
        if let (Some(key), Some(topic)) = (get(properties, TIMER_DEL_UNIQKEY), get(properties, REAL_TOPIC)) {
            recalls.insert(key.into(), (topic.into(), false));
        }
    }
    recalls
}

pub(super) fn is_recalled(parts: &Parts<'_>, is_roll: bool, recalls: &mut Recalls) -> bool {
    if is_roll || recalls.is_empty() {
        return false;
    }
    let Some(unique) = get(parts.properties, UNIQ_KEY) else {
        return false;
    };
    let topic = get(parts.properties, REAL_TOPIC).unwrap_or_default();
    // With and without its topic: what is written depends on a setting (appendTopicForTimerDeleteKey).
    let found = match recalls.get_mut(unique) {
        Some(found) => Some(found),
        None => recalls.get_mut(format!("{topic}+{unique}").as_str()),
    };
    found.is_some_and(|(_, is_found)| {
        *is_found = true;
        true
    })
}

/// Appends the copy of a message for its own topic or, when it rolls, for that of the timers. An error: the store takes
/// no more now.
pub(super) fn deliver(
    b: &Broker,
    parts: &Parts<'_>,
    (written_ms, is_roll): (i64, bool),
    staged: &mut Staged,
) -> Result<(), ()> {
    let mut properties = Properties::from_bytes(parts.properties);
    // It sealed another record.
    properties.remove(CRC32);
    let bare = properties.clone();
    let times = properties
        .get(ROLL_TIMES)
        .and_then(|times| times.parse::<i64>().ok());
    properties.set(ENQUEUE_MS, &written_ms.to_string());
    if is_roll {
        properties.set(ROLL_TIMES, &(times.unwrap_or(0) + 1).to_string());
    }
    properties.set(DEQUEUE_MS, &b.env.clock.now_ms().to_string());
    let real = get(parts.properties, REAL_TOPIC).unwrap_or_default();
    let queue_id = get(parts.properties, REAL_QID).and_then(|id| id.parse().ok());
    let (topic, queue_id) = if is_roll {
        (TIMER_TOPIC, 0)
    } else {
        (real, queue_id.unwrap_or(0))
    };
    let put = |properties: &[u8]| b.put(&Put::again(parts, (topic, queue_id), properties));
    let mut done = put(properties.as_bytes());
    if matches!(
        done,
        Err(AppendError::PropertiesTooLarge { .. } | AppendError::RecordTooLarge { .. })
    ) {
        // Rather without the marks of the timers than not at all.
        done = put(bare.as_bytes());
    }
    match done.map_err(Refused::from) {
        Ok(receipt) => {
            staged.wait_for(receipt.gate);
            staged.messages += 1;
            staged.bytes += receipt.size as u64;
            Ok(())
        }
        Err(Refused::Never(error)) => {
            error!(topic, %error, "a timer message cannot be delivered, and is given up");
            Ok(())
        }
        Err(Refused::Later) => Err(()),
    }
}

/// Whether everything that was staged is written.
pub(super) fn state(b: &Broker, staged: &Staged) -> GateState {
    let mut all = GateState::Passed;
    for gate in &staged.gates {
        match b.store.state(gate, Level::Written) {
            GateState::Passed => {}
            GateState::Waiting => all = GateState::Waiting,
            GateState::Failed => return GateState::Failed,
        }
    }
    all
}
