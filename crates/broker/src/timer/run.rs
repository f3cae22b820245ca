// SPDX-License-Identifier: Apache-2.0
//! What drives the timers: turns, each of which reads some messages of the timer topic or delivers some that are due.
//!
//! A turn appends what has to be delivered, drives the store once, and counts the messages as dealt with when all of them
//! are written; so what fails is done again, and sends of clients find the store free between two turns. Turns run where
//! they may wait for the disk, never on the threads that serve sockets.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{All, Batch, GateState, LogPos, Queue, ReadError, ReadLimit, Timed, TimerMark, Timers};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use wire::properties::name::REAL_TOPIC;
use wire::properties::{get, java_hash};
use wire::record::RecordHead;

use super::deliver::{Staged, Unread, deliver, is_missing, may_get, record_of, state};
use super::recalls::{Recalls, is_recalled, recalls_in};
use crate::broker::Broker;
use crate::names::TIMER_TOPIC;
use crate::send::properties::MessageType;
use crate::send::properties::name::{TIMER_DEL_UNIQKEY, TIMER_OUT_MS};
use crate::traffic::DELAY_BOUNDS;

/// Messages and bytes of one turn.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Messages that a slave that acts for its master sends in one turn.
const SENT_TOGETHER: usize = 32;
/// Batches that a slave reads in a row to follow its master.
const FOLLOWED_BATCHES: usize = 64;
/// Turns in a row before the thread goes back to its pool.
const TURNS: usize = 16;
/// After an error, and while the store is busy.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause before the disk is asked again for what it does not give.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often old files of the log are looked for.
const CLEAN_EVERY: Duration = Duration::from_secs(30);
/// Longest sleep: the clock may jump.
const NAP: Duration = Duration::from_millis(100);

const LIMIT: ReadLimit = ReadLimit {
    count: BATCH,
    bytes: BATCH_BYTES,
    scan: BATCH,
    far: None,
};

/// What comes after a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Another one.
    Again,
    /// Another one when the log has moved.
    Written,
    /// Another one after a while: something failed.
    Pause,
    /// Nothing to do until then, or until there is a message at this offset of the timer topic.
    Idle(Duration, i64),
}

/// The timers at work.
pub(super) struct Running {
    pub(super) timers: Timers,
    staged: Option<Staged>,
    recalls: Option<Recalls>,
    /// Messages of the timer topic to read before anything fires: what takes others back may be among those that were sent
    /// before the last end.
    first_read: Option<i64>,
    /// Where the search for messages that have lost their entries goes on, in the timer topic.
    searching: Option<i64>,
    /// What is due, and the disk does not give.
    unread: Patience,
    /// What another broker did not take.
    unsent: Patience,
    /// What is not read of the timer topic.
    unread_topic: Patience,
    /// Up to here the timer topic is read one by one: not every message of a batch could be read.
    singly_below: i64,
    /// Reading and firing take turns.
    is_reading: bool,
    /// On a slave: how far its master is.
    master: Option<TimerMark>,
    cleaned: Instant,
}

impl Running {
    pub(super) fn new(timers: Timers, now: Instant) -> Running {
        Running {
            timers,
            staged: None,
            recalls: None,
            first_read: None,
            searching: None,
            unread: Patience::default(),
            unsent: Patience::default(),
            unread_topic: Patience::default(),
            singly_below: 0,
            is_reading: true,
            master: None,
            cleaned: now,
        }
    }

    pub(super) fn close(&mut self, b: &Broker) -> io::Result<()> {
        b.store.drive();
        self.rest(b)?;
        self.timers.close(&b.store)
    }

    /// Brings a slave's timers to where those of its master are: what the master has read is read here too, and what it has
    /// fired does not fire here.
    pub(super) fn follow(&mut self, b: &Broker, master: TimerMark) -> io::Result<()> {
        self.timers.pass(master.read_ms)?;
        self.master = Some(master);
        for _ in 0..FOLLOWED_BATCHES {
            if self.timers.queue_offset() >= master.master_queue_offset {
                break;
            }
            let from = self.timers.queue_offset();
            let Some(mut staged) = self.read(b)? else {
                break;
            };
            self.settle(b, &mut staged)?;
            if self.timers.queue_offset() <= from {
                break;
            }
        }
        Ok(())
    }

    /// Takes over what a slave has fired that acted for this master. It is fired again where the slave had fewer timers
    /// than there are here: nobody knows which it lacked, and those would be lost. Nothing may fire meanwhile.
    pub(super) fn take_back(&mut self, b: &Broker, slave: TimerMark) -> io::Result<()> {
        if slave.read_ms <= self.timers.mark().read_ms {
            // It has fired nothing that is not fired here.
            return Ok(());
        }
        if self.timers.queue_offset() > slave.queue_offset {
            let (offset, expected) = (slave.queue_offset, self.timers.queue_offset());
            warn!(
                topic = TIMER_TOPIC,
                offset,
                expected,
                "a slave that acted had not read all timers that are here: those due meanwhile fire again"
            );
            return Ok(());
        }
        let known = TimerMark {
            master_queue_offset: slave.queue_offset,
            ..slave
        };
        loop {
            let before = self.timers.queue_offset();
            self.follow(b, known)?;
            let now = self.timers.queue_offset();
            if now >= slave.queue_offset || now <= before {
                break;
            }
        }
        self.lead();
        Ok(())
    }

    /// From now on what is due fires here, whoever did that before.
    pub(super) fn lead(&mut self) {
        self.master = None;
        self.first_read = None;
        self.recalls = None;
        self.unsent = Patience::default();
    }

    /// Nothing fires here any more: what is done with is noted.
    pub(super) fn rest(&mut self, b: &Broker) -> io::Result<()> {
        if let Some(mut staged) = self.staged.take()
            && state(b, &staged) == GateState::Passed
        {
            self.settle(b, &mut staged)?;
        }
        Ok(())
    }

    /// One turn.
    pub(super) fn turn(&mut self, b: &Broker) -> Turn {
        match self.try_turn(b) {
            Ok(turn) => turn,
            Err(error) => {
                b.store.fail_if_unsynced("timers", &error);
                error!(topic = TIMER_TOPIC, offset = self.timers.queue_offset(), %error, "timers have to wait; trying again");
                Turn::Pause
            }
        }
    }

    fn try_turn(&mut self, b: &Broker) -> io::Result<Turn> {
        if let Some(mut staged) = self.staged.take() {
            match state(b, &staged) {
                GateState::Waiting => {
                    self.staged = Some(staged);
                    return Ok(Turn::Written);
                }
                GateState::Failed => {
                    warn!(
                        topic = TIMER_TOPIC,
                        count = staged.puts.len(),
                        "timer messages were not written; trying again"
                    );
                    return Ok(Turn::Pause);
                }
                GateState::Passed => {
                    if let Err(error) = self.settle(b, &mut staged) {
                        self.staged = Some(staged);
                        return Err(error);
                    }
                    return Ok(if staged.is_cut_short {
                        Turn::Pause
                    } else {
                        Turn::Again
                    });
                }
            }
        }
        self.timers.advance()?;
        if self.timers.lost().is_some()
            && let Some(left) = self.unread_topic.left(b.env.clock.instant())
        {
            return Ok(Turn::Idle(left.min(NAP), i64::MAX));
        }
        if let Some(staged) = self.search(b)? {
            b.store.drive();
            self.staged = Some(staged);
            return Ok(Turn::Again);
        }
        for _ in 0..2 {
            self.is_reading = !self.is_reading;
            let staged = if self.is_reading {
                self.read(b)?
            } else {
                self.fire(b)?
            };
            if let Some(staged) = staged {
                b.store.drive();
                self.staged = Some(staged);
                return Ok(Turn::Again);
            }
        }
        self.idle(b)
    }

    /// How long nothing will happen by itself.
    fn idle(&mut self, b: &Broker) -> io::Result<Turn> {
        let config = b.config();
        let now_ms = b.env.clock.now_ms();
        let due = self.timers.next_due_ms()?.filter(|_| !config.timer_stop_dequeue);
        let wait = due.map_or(NAP, |due| {
            Duration::from_millis(due.saturating_sub(now_ms).max(1).unsigned_abs())
        });
        // What is due may have to wait for the disk.
        let now = b.env.clock.instant();
        let unread = self.unread.left(now).max(self.unread_topic.left(now));
        let unread = unread.max(self.unsent.left(now));
        let wait = wait.max(unread.map_or(Duration::ZERO, |left| left.min(PAUSE)));
        // While nothing is read, news of the topic wake nobody.
        let is_deaf =
            config.timer_stop_enqueue || self.timers.is_far_behind() || self.unread_topic.left(now).is_some();
        let from = if is_deaf {
            i64::MAX
        } else {
            self.timers.queue_offset()
        };
        Ok(Turn::Idle(wait.min(NAP), from))
    }

    /// Removes what is over.
    fn clean(&mut self, b: &Broker) -> io::Result<()> {
        let now = b.env.clock.instant();
        if now.duration_since(self.cleaned) >= CLEAN_EVERY {
            self.cleaned = now;
            self.timers.clean(b.store.min_pos())?;
        }
        Ok(())
    }

    /// Takes note of what a turn did, now that it is written. After an error it can be called again:
    /// nothing has happened then, as nothing fails once the messages have their entries.
    fn settle(&mut self, b: &Broker, staged: &mut Staged) -> io::Result<()> {
        self.timers.park(&staged.parked)?;
        let parked = std::mem::take(&mut staged.parked);
        if let Err(error) = self.note_crowds(b, &parked) {
            warn!(topic = TIMER_TOPIC, %error, "how many messages some ticks have is not known, and senders are not told");
        }
        if let Some(offset) = staged.queue_offset {
            self.timers.set_queue_offset(offset);
        }
        if let Some((next, is_over)) = staged.searched {
            self.searching = Some(next).filter(|_| !is_over);
            if is_over {
                self.timers.found();
            }
        }
        if let Some(fired) = staged.fired
            && self.timers.done(fired)
            && let Some(recalls) = self.recalls.take()
        {
            b.timing.crowds.lock().remove(&recalls.tick_ms);
            // Those that found nothing had been counted as taking a message away.
            for (topic, count) in recalls.idle() {
                b.timing.counts.add(&topic, count);
            }
        }
        for (topic, count) in &staged.counts {
            b.timing.counts.add(topic, *count);
        }
        count(b, staged);
        Ok(())
    }

    /// Reads some messages of the timer topic: those that are due are delivered, the others get an entry.
    fn read(&mut self, b: &Broker) -> io::Result<Option<Staged>> {
        if b.config().timer_stop_enqueue || self.timers.is_far_behind() {
            return Ok(None);
        }
        let now = b.env.clock.instant();
        if self.unread_topic.left(now).is_some() || self.unsent.left(now).is_some() {
            return Ok(None);
        }
        let from = self.timers.queue_offset();
        let queue = b.store.find_queue(TIMER_TOPIC, 0);
        let read = queue.map_or(Err(ReadError::NoQueue), |queue| self.read_topic(b, &queue, from));
        let batch = match read.map_err(|error| or_beyond_end(error, from)) {
            Ok(batch) => batch,
            // Older messages are gone from the log, or it has lost its end.
            Err(ReadError::TooSmall { min: to, .. } | ReadError::BeyondEnd { max: to, .. }) => {
                warn!(
                    topic = TIMER_TOPIC,
                    from, to, "the timer topic does not have this offset any more; going on"
                );
                self.timers.set_queue_offset(to);
                return Ok(Some(Staged::default()));
            }
            Err(ReadError::AtEnd { .. } | ReadError::Empty | ReadError::NoQueue) => return Ok(None),
            Err(error) if !is_missing(&error) => return Err(io::Error::other(error)),
            Err(error) => {
                if self.is_passed_over(b, from, &error) {
                    self.timers.set_queue_offset(from + 1);
                }
                return Ok(Some(Staged::default()));
            }
        };
        let mut staged = Staged {
            queue_offset: Some(batch.next_offset),
            ..Staged::default()
        };
        let recalls = recalls_in(&batch.bytes);
        let mut rest: &[u8] = &batch.bytes;
        while let Ok(head) = RecordHead::scan(rest) {
            let offset = head.stamp.queue_offset;
            rest = rest.get(head.total_size..).unwrap_or_default();
            if self
                .master
                .is_some_and(|master| offset >= master.master_queue_offset)
            {
                staged.queue_offset = Some(offset);
                break;
            }
            if self.take(b, (&head, &recalls), &mut staged).is_err() {
                staged.queue_offset = Some(offset);
                staged.is_cut_short = true;
                if b.is_slave() {
                    self.unsent.failed(now);
                }
                break;
            }
        }
        Ok(Some(staged))
    }

    /// Reads messages of the timer topic from an offset on. What the disk does not give it may give later: until then
    /// nobody asks for it all the time.
    fn read_topic(&mut self, b: &Broker, queue: &Queue, from: i64) -> Result<Batch, ReadError> {
        let count = if from < self.singly_below { 1 } else { BATCH };
        let limit = ReadLimit { count, ..LIMIT };
        let done = b.store.read(queue, from, &limit, &All);
        match &done {
            Err(error @ (ReadError::Io(_) | ReadError::NotCached)) if !is_missing(error) => {
                self.unread_topic.failed(b.env.clock.instant());
                self.singly_below = from + BATCH as i64;
            }
            _ => self.unread_topic = Patience::default(),
        }
        done
    }

    /// Whether the message at an offset is the one of its batch that is missing.
    fn is_passed_over(&mut self, b: &Broker, from: i64, error: &ReadError) -> bool {
        if from >= self.singly_below {
            self.singly_below = from + BATCH as i64;
            return false;
        }
        b.timing.pass_over();
        error!(topic = TIMER_TOPIC, offset = from, %error, "a message of the timer topic is damaged or missing, and is passed over");
        true
    }

    /// Decides about one message of the topic. An error: the store takes no more now.
    fn take(
        &mut self,
        b: &Broker,
        (head, recalls): (&RecordHead<'_>, &[(&str, &str)]),
        staged: &mut Staged,
    ) -> Result<(), ()> {
        let (properties, pos) = (head.parts.properties, LogPos(head.stamp.physical_offset));
        let Some((out_ms, real)) = claims(properties) else {
            // Anybody may send to this topic, and claim anything.
            warn!(topic = TIMER_TOPIC, offset = head.stamp.queue_offset, %pos, "a message of the timer topic says no time or no topic, and is passed over");
            return Ok(());
        };
        if self.timers.knows(pos) {
            return Ok(());
        }
        let is_delete = get(properties, TIMER_DEL_UNIQKEY).is_some();
        if let Some(master) = self.master {
            if out_ms < master.read_ms {
                // The master has delivered it.
                return Ok(());
            }
        } else if self.timers.is_due(out_ms) {
            if !is_delete && !is_recalled(&head.parts, recalls) {
                // The reference's word for: it never had an entry.
                deliver(b, &head.parts, (i64::MAX, false), staged)?;
                staged.enqueued.push((real.into(), seconds_to_wait(out_ms, head)));
                staged.dequeued.push(real.into());
                return Ok(());
            }
            if !is_delete || !self.timers.can_recall(out_ms) {
                return Ok(());
            }
        }
        staged.counts.push((real.into(), if is_delete { -1 } else { 1 }));
        if !is_delete {
            staged.enqueued.push((real.into(), seconds_to_wait(out_ms, head)));
        }
        staged.parked.push(Timed {
            out_ms,
            pos,
            size: head.total_size,
            topic_hash: java_hash(real),
            is_delete,
        });
        Ok(())
    }

    /// Looks for messages that have lost their entries, in the part of the timer topic they lie in.
    fn search(&mut self, b: &Broker) -> io::Result<Option<Staged>> {
        let Some(lost) = self.timers.lost().cloned() else {
            return Ok(None);
        };
        let (end, mut staged) = (self.timers.queue_offset(), Staged::default());
        let Some(queue) = b.store.find_queue(TIMER_TOPIC, 0) else {
            self.timers.found();
            return Ok(Some(staged));
        };
        let from = match self.searching {
            Some(from) => from,
            None => lost.after.and_then(|pos| offset_behind(b, pos)).unwrap_or(0),
        };
        let from = from.max(queue.min());
        if from >= end {
            staged.searched = Some((from, true));
            return Ok(Some(staged));
        }
        let batch = match self.read_topic(b, &queue, from) {
            Ok(batch) => batch,
            Err(ReadError::TooSmall { min, .. }) => {
                staged.searched = Some((min, false));
                return Ok(Some(staged));
            }
            Err(
                ReadError::BeyondEnd { .. } | ReadError::AtEnd { .. } | ReadError::Empty | ReadError::NoQueue,
            ) => {
                staged.searched = Some((from, true));
                return Ok(Some(staged));
            }
            Err(error) if !is_missing(&error) => return Err(io::Error::other(error)),
            Err(error) => {
                let passed = i64::from(self.is_passed_over(b, from, &error));
                staged.searched = Some((from + passed, false));
                return Ok(Some(staged));
            }
        };
        let is_behind = |pos| lost.before.is_some_and(|before| pos >= before);
        let (mut next, mut is_over) = (batch.next_offset, batch.next_offset >= end);
        let recalls = recalls_in(&batch.bytes);
        let mut rest: &[u8] = &batch.bytes;
        while let Ok(head) = RecordHead::scan(rest) {
            let (pos, offset) = (LogPos(head.stamp.physical_offset), head.stamp.queue_offset);
            rest = rest.get(head.total_size..).unwrap_or_default();
            if offset >= end || is_behind(pos) {
                is_over = true;
                break;
            }
            let claims = claims(head.parts.properties);
            let is_missing = claims.is_some_and(|(out_ms, _)| self.timers.is_missing(&lost, out_ms));
            if !is_missing || Some(pos) <= lost.after {
                continue;
            }
            warn!(topic = TIMER_TOPIC, offset, %pos, "a timer message whose entry was damaged is found again");
            if self.take(b, (&head, &recalls), &mut staged).is_err() {
                (next, is_over, staged.is_cut_short) = (offset, false, true);
                break;
            }
        }
        staged.searched = Some((next, is_over));
        Ok(Some(staged))
    }

    /// Delivers some of the messages that are due.
    fn fire(&mut self, b: &Broker) -> io::Result<Option<Staged>> {
        let now = b.env.clock.instant();
        let is_waiting = self.unread.left(now).is_some() || self.unsent.left(now).is_some();
        if b.config().timer_stop_dequeue || is_waiting {
            return Ok(None);
        }
        let end = || b.store.find_queue(TIMER_TOPIC, 0).map_or(0, |queue| queue.max());
        let first_read = *self.first_read.get_or_insert_with(end);
        let is_reading = !b.config().timer_stop_enqueue && !self.timers.is_far_behind();
        if is_reading && self.timers.queue_offset() < first_read {
            return Ok(None);
        }
        let Some((tick, deletes)) = self.timers.due()? else {
            return Ok(None);
        };
        let recalls = match &mut self.recalls {
            Some(known) if known.tick_ms == tick => known,
            other => other.insert(Recalls::new(tick)),
        };
        let unread = &mut self.unread;
        if !recalls.read_some(deletes, |pos| reading(b, unread, pos, record_of(b, pos)))? {
            return Ok(Some(Staged::default()));
        }
        let tick_end = tick.saturating_add(self.timers.precision_ms());
        let (mut staged, mut fired) = (Staged::default(), 0);
        // Others wait for the timers while messages are on their way to another broker.
        let batch = if b.is_slave() { SENT_TOGETHER } else { BATCH };
        for entry in self.timers.batch(batch)? {
            if staged.bytes as usize > BATCH_BYTES {
                break;
            }
            let is_roll = entry.is_roll();
            if !entry.is_delete() {
                let pos = LogPos(entry.pos);
                let record = record_of(b, pos);
                let wanted = record.and_then(|record| {
                    let is_taken = match RecordHead::scan(&record) {
                        Ok(head) if !is_roll => recalls.takes(b, &head.parts)?,
                        _ => false,
                    };
                    Ok((!is_taken).then_some(record))
                });
                let record = match reading(b, &mut self.unread, pos, wanted) {
                    Ok(record) => record.flatten(),
                    // Those in front of it are appended already.
                    Err(_) if fired > 0 => break,
                    Err(error) => return Err(error),
                };
                if let Some(record) = record
                    && let Ok(head) = RecordHead::scan(&record)
                    && let Some((out_ms, real)) = claims(head.parts.properties)
                    // The log may have lost the message since, and another lies there now, which has an entry of its own.
                    && (is_roll || out_ms < tick_end)
                {
                    if deliver(b, &head.parts, (entry.written_ms, is_roll), &mut staged).is_err() {
                        staged.is_cut_short = true;
                        if b.is_slave() {
                            self.unsent.failed(now);
                        }
                        break;
                    }
                    self.unsent = Patience::default();
                    staged.counts.push((real.into(), -1));
                    staged.dequeued.push(real.into());
                }
            }
            fired += 1;
        }
        staged.fired = Some(fired);
        Ok(Some(staged))
    }

    /// Notes which ticks have more messages than the limit, for those who send.
    fn note_crowds(&mut self, b: &Broker, parked: &[Timed]) -> io::Result<()> {
        let limit = b.config().timer_congest_num_each_slot;
        if limit >= i32::MAX.unsigned_abs() || parked.is_empty() {
            return Ok(());
        }
        let ticks: BTreeSet<i64> = parked.iter().map(|timed| timed.out_ms).collect();
        let first = self.timers.mark().read_ms;
        for tick in ticks {
            let count = self.timers.count_at(tick)?;
            let mut crowds = b.timing.crowds.lock();
            crowds.retain(|tick, _| *tick >= first);
            if i64::from(count) > i64::from(limit) {
                crowds.insert(tick, count);
            } else {
                crowds.remove(&tick);
            }
        }
        Ok(())
    }
}

/// What the disk does not give: it is asked again, less and less often, for ever.
#[derive(Debug, Default)]
struct Patience {
    tries: u32,
    until: Option<Instant>,
}

impl Patience {
    fn failed(&mut self, now: Instant) {
        self.until = Some(now + (PAUSE * (1 << self.tries)).min(PAUSE_MAX));
        self.tries = (self.tries + 1).min(16);
    }

    /// How long nobody is to ask.
    fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.until?.checked_duration_since(now)?;
        (!left.is_zero()).then_some(left)
    }
}

/// Takes note of what a turn did, for metrics.
fn count(b: &Broker, staged: &Staged) {
    for (topic, bytes) in &staged.puts {
        b.count_put(topic, (MessageType::Delay, 1, *bytes));
    }
    b.counts.timers_in.add(staged.enqueued.len() as u64);
    b.counts.timers_out.add(staged.dequeued.len() as u64);
    for (topic, seconds) in &staged.enqueued {
        if let Some(topic) = b.topics.get(topic) {
            let timers = topic.traffic.timers();
            timers.enqueued.add(1);
            timers.delay.add(DELAY_BOUNDS, *seconds, 1);
        }
    }
    for topic in &staged.dequeued {
        if let Some(topic) = b.topics.get(topic) {
            topic.traffic.timers().dequeued.add(1);
        }
    }
}

fn seconds_to_wait(out_ms: i64, head: &RecordHead<'_>) -> u64 {
    out_ms.saturating_sub(head.parts.born_at).max(0).unsigned_abs() / 1000
}

/// What was read; `None` when there is nothing and never will be. An error: it is to be tried again.
fn reading<T>(
    b: &Broker,
    unread: &mut Patience,
    pos: LogPos,
    read: Result<T, Unread>,
) -> io::Result<Option<T>> {
    match read {
        Ok(found) => {
            *unread = Patience::default();
            Ok(Some(found))
        }
        Err(error @ Unread::Gone(_)) => {
            b.timing.pass_over();
            error!(topic = TIMER_TOPIC, %pos, %error, "a timer message cannot be read, and is passed over");
            Ok(None)
        }
        Err(error) => {
            unread.failed(b.env.clock.instant());
            Err(io::Error::other(error))
        }
    }
}

/// The tick and the topic that a message of the timer topic claims.
fn claims(properties: &[u8]) -> Option<(i64, &str)> {
    let out_ms = get(properties, TIMER_OUT_MS).and_then(|text| text.parse().ok())?;
    let real = get(properties, REAL_TOPIC).filter(|real| may_get(real))?;
    Some((out_ms, real))
}

/// Where in the timer topic the message behind the one at a place of the log lies.
fn offset_behind(b: &Broker, pos: LogPos) -> Option<i64> {
    let record = record_of(b, pos).ok()?;
    Some(RecordHead::scan(&record).ok()?.stamp.queue_offset + 1)
}

/// Runs the timers until `stop`.
pub(crate) async fn keep_running(b: Arc<Broker>, stop: CancellationToken) {
    // Many messages that are sent one after the other are better read together.
    let linger = Duration::from_millis(u64::from((b.config().timer_precision_ms / 50).min(20)));
    loop {
        let progress = b.store.progress();
        let working = Arc::clone(&b);
        let Ok(turn) = store::env::aside(move || turns(&working)).await else {
            return;
        };
        let queue = b.store.queue(TIMER_TOPIC, 0);
        let pause = async {
            match turn {
                Turn::Again => tokio::task::yield_now().await,
                Turn::Written => progress.await,
                Turn::Pause => tokio::time::sleep(PAUSE).await,
                Turn::Idle(wait, from) => {
                    let news = async {
                        queue.wait_past(from).await;
                        tokio::time::sleep(linger).await;
                    };
                    drop(tokio::time::timeout(wait, news).await);
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = pause => {}
        }
    }
}

/// Makes the timers durable from time to time until `stop`.
pub(crate) async fn keep_flushing(b: Arc<Broker>, stop: CancellationToken) {
    let interval = Duration::from_millis(u64::from(b.config().timer_flush_interval_ms));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        let flushing = Arc::clone(&b);
        let flush = move || flush(&flushing);
        match store::env::aside(flush).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                b.store.fail_if_unsynced("timers", &error);
                error!(file = %b.config().store_path_root_dir, %error, "the timers are not durable yet; trying again");
            }
            Err(_) => return,
        }
    }
}

/// Makes durable what was done so far. The timers go on meanwhile.
pub(super) fn flush(b: &Broker) -> io::Result<()> {
    let Some(running) = &b.timing.running else {
        return Ok(());
    };
    let taken = running.lock().timers.begin_flush();
    if let Some(taken) = taken {
        let done = taken.run(&b.store);
        running.lock().timers.end_flush(&taken, done, &b.store)?;
        b.timing.counts.save().map_err(io::Error::other)?;
    }
    running.lock().clean(b)
}

/// Some turns in a row.
fn turns(b: &Broker) -> Turn {
    let Some(running) = &b.timing.running else {
        return Turn::Idle(NAP, i64::MAX);
    };
    for _ in 0..TURNS {
        let turn = running.lock().turn(b);
        if turn != Turn::Again {
            return turn;
        }
    }
    Turn::Again
}

/// In a queue of which nothing is left the next message will be the first.
fn or_beyond_end(error: ReadError, from: i64) -> ReadError {
    match error {
        ReadError::Empty | ReadError::NoQueue if from > 0 => ReadError::BeyondEnd { min: 0, max: 0 },
        error => error,
    }
}
