// SPDX-License-Identifier: Apache-2.0
//! What drives the timers: turns, each of which reads some messages of the timer topic or delivers some that are due.
//!
//! A turn appends what has to be delivered, drives the store once, and counts the messages as dealt with when all of them
//! are written; so what fails is done again, and sends of clients find the store free between two turns. Turns run where
//! they may wait for the disk, never on the threads that serve sockets.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use store::{All, GateState, LogPos, ReadError, ReadLimit, Timed, Timers};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use wire::properties::name::REAL_TOPIC;
use wire::properties::{get, java_hash};
use wire::record::RecordHead;

use super::deliver::{Recalls, Staged, deliver, is_recalled, may_get, recalls, record_of, state};
use crate::broker::Broker;
use crate::names::TIMER_TOPIC;
use crate::send::properties::name::{TIMER_DEL_UNIQKEY, TIMER_OUT_MS};

/// Messages and bytes of one turn.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Turns in a row before the thread goes back to its pool.
const TURNS: usize = 16;
/// After an error, and while the store is busy.
const PAUSE: Duration = Duration::from_millis(50);
/// How often old files of the log are looked for.
const CLEAN_EVERY: Duration = Duration::from_secs(30);
/// Longest sleep: the clock may jump.
const NAP: Duration = Duration::from_millis(100);

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
    recalls: Option<(i64, Recalls)>,
    /// Reading and firing take turns.
    is_reading: bool,
    cleaned: Instant,
}

impl Running {
    pub(super) fn new(timers: Timers, now: Instant) -> Running {
        Running {
            timers,
            staged: None,
            recalls: None,
            is_reading: true,
            cleaned: now,
        }
    }

    pub(super) fn close(&mut self, b: &Broker) -> io::Result<()> {
        if let Some(staged) = self.staged.take() {
            b.store.drive();
            if state(b, &staged) == GateState::Passed {
                self.settle(b, &staged)?;
            }
        }
        self.timers.close(&b.store)
    }

    /// One turn.
    pub(super) fn turn(&mut self, b: &Broker) -> Turn {
        match self.try_turn(b) {
            Ok(turn) => turn,
            Err(error) => {
                error!(%error, "timers have to wait");
                Turn::Pause
            }
        }
    }

    fn try_turn(&mut self, b: &Broker) -> io::Result<Turn> {
        if let Some(staged) = self.staged.take() {
            match state(b, &staged) {
                GateState::Waiting => {
                    self.staged = Some(staged);
                    return Ok(Turn::Written);
                }
                GateState::Failed => {
                    warn!("timer messages were not written, and will be again");
                    return Ok(Turn::Pause);
                }
                GateState::Passed => {
                    if let Err(error) = self.settle(b, &staged) {
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
        // While nothing is read, news of the topic wake nobody.
        let is_deaf = config.timer_stop_enqueue || self.timers.is_far_behind();
        let from = if is_deaf {
            i64::MAX
        } else {
            self.timers.queue_offset()
        };
        Ok(Turn::Idle(wait.min(NAP), from))
    }

    /// Makes durable what was done so far, and removes what is over.
    pub(super) fn flush(&mut self, b: &Broker) -> io::Result<()> {
        if self.timers.is_changed() {
            self.timers.flush(&b.store)?;
            b.timing.counts.save().map_err(io::Error::other)?;
        }
        let now = b.env.clock.instant();
        if now.duration_since(self.cleaned) >= CLEAN_EVERY {
            self.cleaned = now;
            self.timers.clean(b.store.min_pos())?;
        }
        Ok(())
    }

    /// Takes note of what a turn did, now that it is written. After an error it can be called again.
    fn settle(&mut self, b: &Broker, staged: &Staged) -> io::Result<()> {
        self.timers.park(&staged.parked)?;
        if let Some(offset) = staged.queue_offset {
            self.timers.set_queue_offset(offset);
        }
        if let Some(fired) = staged.fired
            && self.timers.done(fired)
            && let Some((_, recalls)) = self.recalls.take()
        {
            // Those that found nothing had been counted as taking a message away.
            for (topic, _) in recalls.into_values().filter(|(_, found)| !found) {
                b.timing.counts.add(&topic, 1);
            }
        }
        for (topic, count) in &staged.counts {
            b.timing.counts.add(topic, *count);
        }
        b.counts.puts.add(staged.messages);
        b.counts.put_bytes.fetch_add(staged.bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Reads some messages of the timer topic: those that are due are delivered, the others get an entry.
    fn read(&mut self, b: &Broker) -> io::Result<Option<Staged>> {
        if b.config().timer_stop_enqueue || self.timers.is_far_behind() {
            return Ok(None);
        }
        let Some(queue) = b.store.find_queue(TIMER_TOPIC, 0) else {
            return Ok(None);
        };
        let limit = ReadLimit {
            count: BATCH,
            bytes: BATCH_BYTES,
            scan: BATCH,
            far: None,
        };
        let from = self.timers.queue_offset();
        let batch = match b.store.read(&queue, from, &limit, &All) {
            Ok(batch) => batch,
            Err(ReadError::TooSmall { min, .. }) => {
                warn!(from, min, "messages of the timer topic are gone");
                self.timers.set_queue_offset(min);
                return Ok(Some(Staged::default()));
            }
            Err(ReadError::BeyondEnd { max, .. }) => {
                warn!(from, max, "the timer topic is shorter than it was");
                self.timers.set_queue_offset(max);
                return Ok(Some(Staged::default()));
            }
            Err(ReadError::AtEnd { .. } | ReadError::Empty | ReadError::NoQueue) => return Ok(None),
            Err(error) => return Err(io::Error::other(error)),
        };
        let mut staged = Staged {
            queue_offset: Some(batch.next_offset),
            ..Staged::default()
        };
        let mut rest = batch.bytes;
        while let Ok(head) = RecordHead::scan(&rest) {
            let (size, offset) = (head.total_size, head.stamp.queue_offset);
            if self.take(b, &head, &mut staged).is_err() {
                staged.queue_offset = Some(offset);
                staged.is_cut_short = true;
                break;
            }
            rest = rest.split_off(size);
        }
        Ok(Some(staged))
    }

    /// Decides about one message of the topic. An error: the store takes no more now.
    fn take(&mut self, b: &Broker, head: &RecordHead<'_>, staged: &mut Staged) -> Result<(), ()> {
        let (properties, pos) = (head.parts.properties, LogPos(head.stamp.physical_offset));
        let out_ms = get(properties, TIMER_OUT_MS).and_then(|text| text.parse::<i64>().ok());
        let real = get(properties, REAL_TOPIC).filter(|real| may_get(real));
        let (Some(out_ms), Some(real)) = (out_ms, real) else {
            // Anybody may send to this topic, and claim anything.
            warn!(%pos, "a message of the timer topic says no time or no topic, and is passed over");
            return Ok(());
        };
        if self.timers.knows(pos) {
            return Ok(());
        }
        let is_delete = get(properties, TIMER_DEL_UNIQKEY).is_some();
        if self.timers.is_due(out_ms) {
            if is_delete {
                return Ok(());
            }
            // The reference's word for: it never had an entry.
            return deliver(b, &head.parts, (i64::MAX, false), staged);
        }
        staged.counts.push((real.into(), if is_delete { -1 } else { 1 }));
        staged.parked.push(Timed {
            out_ms,
            pos,
            size: head.total_size,
            topic_hash: java_hash(real),
            is_delete,
        });
        Ok(())
    }

    /// Delivers some of the messages that are due.
    fn fire(&mut self, b: &Broker) -> io::Result<Option<Staged>> {
        if b.config().timer_stop_dequeue {
            return Ok(None);
        }
        let Some((tick, deletes)) = self.timers.due()? else {
            return Ok(None);
        };
        let (_, recalls) = match &mut self.recalls {
            Some(known) if known.0 == tick => known,
            other => other.insert((tick, recalls(b, deletes))),
        };
        let mut staged = Staged::default();
        let mut fired = 0;
        for entry in self.timers.batch(BATCH)? {
            if staged.bytes as usize > BATCH_BYTES {
                break;
            }
            if !entry.is_delete()
                && let Some(record) = record_of(b, &entry)?
                && let Ok(head) = RecordHead::scan(&record)
                && !is_recalled(&head.parts, entry.is_roll(), recalls)
                && get(head.parts.properties, REAL_TOPIC).is_some_and(may_get)
            {
                let real = get(head.parts.properties, REAL_TOPIC).unwrap_or_default();
                if deliver(b, &head.parts, (entry.written_ms, entry.is_roll()), &mut staged).is_err() {
                    staged.is_cut_short = true;
                    break;
                }
                staged.counts.push((real.into(), -1));
            }
            fired += 1;
        }
        staged.fired = Some(fired);
        Ok(Some(staged))
    }
}

/// Runs the timers until `stop`.
pub(crate) async fn keep_running(b: Arc<Broker>, stop: CancellationToken) {
    // Many messages that are sent one after the other are better read together.
    let linger = Duration::from_millis(u64::from((b.config().timer_precision_ms / 50).min(20)));
    loop {
        let progress = b.store.progress();
        let working = Arc::clone(&b);
        let Ok(turn) = tokio::task::spawn_blocking(move || turns(&working)).await else {
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
        let flush = move || {
            let Some(running) = &flushing.timing.running else {
                return Ok(());
            };
            // The long part without the lock, so that what is due meanwhile is not late.
            if running.lock().timers.is_changed() {
                flushing.store.turn_flush();
            }
            running.lock().flush(&flushing)
        };
        match tokio::task::spawn_blocking(flush).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "the timers are not durable yet, and will be tried again"),
            Err(_) => return,
        }
    }
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
