// SPDX-License-Identifier: Apache-2.0
//! From an entry of the timers to the copy of its message, appended to the topic it is meant for.

use std::io;

use bytes::Bytes;
use store::{AppendError, Gate, GateState, Level, LogPos, ReadError, Timed};
use tracing::{error, warn};
use wire::Str;
use wire::properties::name::{CRC32, REAL_QID, REAL_TOPIC, UNIQ_KEY};
use wire::properties::{Properties, get};
use wire::record::{Parts, RecordHead};

use crate::broker::Broker;
use crate::escape::{self, EscapeError, Leaver};
use crate::names::{TIMER_TOPIC, may_be_real, quoted, real_queue_id};
use crate::put::Put;

const ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
const DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
pub(super) const ROLL_TIMES: &str = "TIMER_ROLL_TIMES";

/// Whether a topic may get messages of the timers: not itself, which would go round for ever.
pub(super) fn may_get(real: &str) -> bool {
    real != TIMER_TOPIC && may_be_real(real)
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
    /// Where the search for what was lost goes on then, and whether it is over.
    pub(super) searched: Option<(i64, bool)>,
    /// Entries of the tick that fires which are dealt with then.
    pub(super) fired: Option<usize>,
    /// By how much the counts change, by topic.
    pub(super) counts: Vec<(Str, i64)>,
    /// Messages that were appended: to which topic, and how large.
    pub(super) puts: Vec<(Str, u64)>,
    pub(super) bytes: u64,
    /// Messages that came in, by the topic they are meant for, and how many seconds they were to wait from their birth.
    pub(super) enqueued: Vec<(Str, u64)>,
    /// Messages that were dealt with, by the topic they are meant for.
    pub(super) dequeued: Vec<Str>,
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
            AppendError::RecordTooLarge { .. }
            | AppendError::PropertiesTooLarge { .. }
            | AppendError::Topic
            | AppendError::InnerBatch
            | AppendError::Empty => Refused::Never(error),
            _ => Refused::Later,
        }
    }
}

/// Why there is no message to deliver.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// It may be tried again.
    #[error("read: {0}")]
    Io(ReadError),
    /// There is none, and never will be.
    #[error("{0}")]
    Gone(&'static str),
}

/// Whether what was to be read is not there, and no later try will find it. Any other error may pass: too many open files,
/// a disk that stalls.
pub(super) fn is_missing(error: &ReadError) -> bool {
    match error {
        ReadError::NoRecord(_) => true,
        // The file is gone, or shorter than it was.
        ReadError::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

/// The timer message at a place of the log.
pub(super) fn record_of(b: &Broker, pos: LogPos) -> Result<Bytes, Unread> {
    let record = match b.store.record_at(pos) {
        Ok(record) => record,
        Err(error) if is_missing(&error) => {
            return Err(Unread::Gone("it is damaged, or no longer in the log"));
        }
        Err(error) => return Err(Unread::Io(error)),
    };
    let is_timed = RecordHead::scan(&record).is_ok_and(|head| {
        head.parts.topic == TIMER_TOPIC && get(head.parts.properties, REAL_TOPIC).is_some()
    });
    if is_timed {
        Ok(record)
    } else {
        Err(Unread::Gone("what lies there is no timer message"))
    }
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
    if b.is_slave() {
        return send_away(b, parts, if is_roll { TIMER_TOPIC } else { real }, properties);
    }
    let queue_id = get(parts.properties, REAL_QID).and_then(real_queue_id);
    let (topic, queue_id) = if is_roll {
        (TIMER_TOPIC, 0)
    } else if let Some(queue_id) = b.home_of(real, queue_id.unwrap_or(0)) {
        (real, queue_id.cast_signed())
    } else {
        error!(
            topic = real,
            id = get(parts.properties, UNIQ_KEY).map(quoted),
            "a timer message for a topic that does not exist is given up: there are too many (topicsMax)"
        );
        return Ok(());
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
            staged.puts.push((topic.into(), receipt.size as u64));
            staged.bytes += receipt.size as u64;
            Ok(())
        }
        Err(Refused::Never(error)) => {
            error!(topic, queue = queue_id, id = get(parts.properties, UNIQ_KEY).map(quoted), %error, "a timer message cannot be delivered, and is given up");
            Ok(())
        }
        Err(Refused::Later) => Err(()),
    }
}

/// The same for a slave that acts for its master: another one stores the message.
fn send_away(b: &Broker, parts: &Parts<'_>, topic: &str, properties: Properties) -> Result<(), ()> {
    let leaver = Leaver {
        properties,
        ..Leaver::of(*parts, topic)
    };
    escape::send_blocking(b, leaver).map_err(|error| match error {
        EscapeError::Over => {}
        error => warn!(topic, %error, "timer messages find no way out now; trying again"),
    })
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
