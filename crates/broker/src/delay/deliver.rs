// SPDX-License-Identifier: Apache-2.0
//! Delivery of the messages of one delay level: read what is due, append copies to where they belong, go on.
//!
//! A batch is appended all or none, and the offset moves behind it only when it is written: a write that fails is done
//! again as a whole, without a message twice or out of order.

use std::sync::Arc;
use std::time::Duration;

use store::{
    All, AppendError, Batch, Draft, Entry, EntryCode, Level, LogPos, Queue, ReadError, ReadLimit, ReadStatus,
    Store,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use wire::properties;
use wire::record::{Parts, RecordHead};

use super::plan::Schedule;
use crate::broker::Broker;
use crate::escape::{self, Leaver};
use crate::names::{SCHEDULE_GROUP, SCHEDULE_TOPIC, may_be_real, real_queue_id};
use crate::send::properties::MessageType;

/// Messages of one batch.
const BATCH_COUNT: usize = 256;
/// Bytes of one batch; a single message may be larger.
const BATCH_BYTES: usize = 1 << 20;
/// How often the clock is looked at while a message is awaited: it may be set.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// When something fails, it is tried again after that.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A message that another broker does not take is tried more and more seldom, down to this.
const AWAY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// One level.
pub(super) struct Line {
    b: Arc<Broker>,
    level: i32,
    queue: Arc<Queue>,
    delay_ms: Option<i64>,
    schedule: Schedule,
    /// Everything below is delivered.
    at: i64,
    /// Below, messages go one by one, because one of them cannot be appended at all.
    singly_below: i64,
    is_in_trouble: bool,
    /// Before the next attempt to send a message to another broker.
    away_pause: Duration,
}

/// What has to happen before the next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing; others get their turn.
    Turn,
    /// That time.
    Until(i64),
    /// A message that is put behind.
    Growth,
    /// Something failed.
    Retry,
    /// Another broker did not take a message.
    Pause(Duration),
}

/// Why a batch was not delivered.
enum Undelivered {
    /// It may go well later.
    Later(AppendError),
    /// It never will.
    Never(AppendError),
}

impl Line {
    pub(super) fn new(b: &Arc<Broker>, id: u32, delay_ms: Option<i64>) -> Line {
        let level = i32::try_from(id).unwrap_or(i32::MAX - 1) + 1;
        Line {
            b: Arc::clone(b),
            level,
            queue: b.store.queue(SCHEDULE_TOPIC, id),
            delay_ms,
            schedule: Schedule::new(delay_ms),
            at: b.delays.start(&b.store, level),
            singly_below: 0,
            is_in_trouble: false,
            away_pause: RETRY_AFTER,
        }
    }

    /// Delivers until `stop`.
    pub(super) async fn keep_delivering(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wait = self.turn().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.pass(wait) => {}
            }
        }
    }

    /// One look, and one batch if something is due.
    pub(super) async fn turn(&mut self) -> Wait {
        if self.queue.is_deleted() {
            self.queue = self.b.store.queue(SCHEDULE_TOPIC, self.queue.id());
            return Wait::Retry;
        }
        // First the end, then the time: what is below the end was stored by then.
        let (min, end) = (self.queue.min(), self.queue.max());
        let now = self.b.env.clock.now_ms();
        if self.at < min || self.at > end {
            warn!(
                level = self.level,
                offset = self.at,
                min,
                end,
                "delayed messages are gone, going on with those that are there"
            );
            self.advance(self.at.clamp(min, end.max(min)), LogPos(0));
        }
        if self.at >= end {
            return Wait::Growth;
        }
        let dues = match self.dues().await {
            Ok(dues) => dues,
            Err(error) => return self.unreadable(&error),
        };
        let plan = self.schedule.plan(now, &dues, end);
        match plan.next_at {
            _ if dues.is_empty() => self.pass_over().await,
            Some(at) if plan.due == 0 => {
                // A level appears in the table with its first message.
                self.b.delays.advance(self.level, self.at, LogPos(0));
                Wait::Until(at)
            }
            _ => self.deliver(plan.due).await,
        }
    }

    /// Goes on behind entries whose file is gone.
    async fn pass_over(&mut self) -> Wait {
        match self.read(1).await {
            Ok(batch) if batch.status == ReadStatus::EntriesMissing => {
                let (level, from, to) = (self.level, self.at, batch.next_offset);
                warn!(
                    level,
                    from, to, "entries of delayed messages are gone and passed over"
                );
                self.advance(to.max(from), LogPos(0));
                Wait::Turn
            }
            // They are there: nobody has looked yet when they are due.
            Ok(_) => Wait::Retry,
            Err(error) => self.unreadable(&error),
        }
    }

    async fn pass(&self, wait: Wait) {
        match wait {
            Wait::Turn => tokio::task::yield_now().await,
            Wait::Growth => self.queue.wait_past(self.at).await,
            Wait::Retry => tokio::time::sleep(RETRY_AFTER).await,
            Wait::Pause(pause) => tokio::time::sleep(pause).await,
            Wait::Until(at) => {
                let mut left = at - self.b.env.clock.now_ms();
                while left > 0 {
                    let ms = Duration::from_millis(left.unsigned_abs());
                    tokio::time::sleep(ms.min(LOOK_EVERY)).await;
                    let before = std::mem::replace(&mut left, at - self.b.env.clock.now_ms());
                    if left > before {
                        // The clock was set back: it has to be decided anew.
                        return;
                    }
                }
            }
        }
    }

    /// When the next messages are due.
    async fn dues(&self) -> Result<Vec<(i64, Option<i64>)>, ReadError> {
        let count = self.count_max();
        match self.b.store.entries_cached(&self.queue, self.at, count) {
            Ok(entries) if !entries.iter().any(|entry| entry.code == EntryCode::Elsewhere) => {
                Ok(entries.iter().map(|entry| (entry.offset, due(entry))).collect())
            }
            Ok(_) | Err(ReadError::NotCached) => {
                let (b, queue) = (Arc::clone(&self.b), Arc::clone(&self.queue));
                let (at, delay_ms) = (self.at, self.delay_ms.unwrap_or_default());
                blocking(move || {
                    let entries = b.store.entries(&queue, at, count)?;
                    let mut dues = Vec::with_capacity(entries.len());
                    for entry in &entries {
                        let due = match entry.code {
                            EntryCode::Elsewhere => stored_due(&b.store, &queue, entry, delay_ms),
                            _ => Ok(due(entry)),
                        };
                        match due {
                            Ok(due) => dues.push((entry.offset, due)),
                            Err(error) if dues.is_empty() => return Err(error),
                            // What comes in front of it does not wait for it.
                            Err(_) => break,
                        }
                    }
                    Ok(dues)
                })
                .await
            }
            Err(error) => Err(error),
        }
    }

    fn count_max(&self) -> usize {
        if self.at < self.singly_below {
            1
        } else {
            BATCH_COUNT
        }
    }

    /// Delivers at most `count` messages.
    async fn deliver(&mut self, count: usize) -> Wait {
        let b = Arc::clone(&self.b);
        let _turn = b.delays.turns.acquire().await;
        let batch = match self.read(count).await {
            Ok(batch) => batch,
            Err(error) => return self.unreadable(&error),
        };
        if b.is_slave() {
            return self.send_away(&batch).await;
        }
        match self.put(&batch).await {
            Ok(end) => {
                self.advance(batch.next_offset.max(self.at), end);
                if std::mem::take(&mut self.is_in_trouble) {
                    info!(level = self.level, "delayed messages are delivered again");
                }
                Wait::Turn
            }
            Err(Undelivered::Never(error)) if batch.count <= 1 => {
                let topic = first_topic(&batch.bytes);
                error!(topic, level = self.level, offset = self.at, %error, "a delayed message cannot be delivered and is skipped");
                self.advance(batch.next_offset.max(self.at), LogPos(0));
                Wait::Turn
            }
            Err(Undelivered::Never(_)) => {
                self.singly_below = batch.next_offset;
                Wait::Turn
            }
            Err(Undelivered::Later(error)) => {
                if !std::mem::replace(&mut self.is_in_trouble, true) {
                    let topic = first_topic(&batch.bytes);
                    warn!(topic, level = self.level, offset = self.at, %error, "delayed messages cannot be delivered now; trying again");
                }
                Wait::Retry
            }
        }
    }

    /// Sends the messages of a batch to another master, one after the other: this broker acts for its own, and writes nothing.
    async fn send_away(&mut self, batch: &Batch) -> Wait {
        let mut records: &[u8] = &batch.bytes;
        while let Ok(head) = RecordHead::scan(records) {
            records = records.get(head.total_size..).unwrap_or_default();
            let Some((topic, _)) = real_queue_or_warn(&head) else {
                continue;
            };
            let leaver = Leaver {
                // A message that was given back: its group reads the topic it came from.
                beside: properties::get(head.parts.properties, properties::name::RETRY_TOPIC),
                ..Leaver::of(head.parts, topic)
            };
            if let Err(error) = escape::send(&self.b, leaver).await {
                if !std::mem::replace(&mut self.is_in_trouble, true) {
                    warn!(topic, level = self.level, offset = self.at, %error, "delayed messages find no way out now; trying again");
                }
                self.away_pause = (self.away_pause * 2).min(AWAY_PAUSE_MAX);
                return Wait::Pause(self.away_pause);
            }
            self.advance(head.stamp.queue_offset + 1, LogPos(0));
            self.away_pause = RETRY_AFTER;
        }
        self.advance(batch.next_offset.max(self.at), LogPos(0));
        if std::mem::take(&mut self.is_in_trouble) {
            info!(level = self.level, "delayed messages are delivered again");
        }
        Wait::Turn
    }

    async fn read(&self, count: usize) -> Result<Batch, ReadError> {
        let segment_bytes = usize::try_from(self.b.store.config().segment_bytes).unwrap_or(BATCH_BYTES);
        let limit = ReadLimit {
            count,
            // The copies, with longer topics perhaps, have to fit into one file.
            bytes: BATCH_BYTES.min(segment_bytes / 4),
            scan: count,
            far: None,
        };
        match self.b.store.read_cached(&self.queue, self.at, &limit, &All) {
            Err(ReadError::NotCached) => {
                let (b, queue, at) = (Arc::clone(&self.b), Arc::clone(&self.queue), self.at);
                blocking(move || b.store.read(&queue, at, &limit, &All)).await
            }
            done => done,
        }
    }

    /// Appends copies of the messages of a batch; returns where they end once they are written.
    async fn put(&self, batch: &Batch) -> Result<LogPos, Undelivered> {
        let copies = copies(&self.b, &batch.bytes);
        if copies.is_empty() {
            return Ok(LogPos(0));
        }
        let drafts: Vec<Draft<'_>> = copies.iter().map(|copy| copy.draft(&self.b)).collect();
        let receipts = self.b.store.append_batch(&drafts).map_err(|error| match error {
            AppendError::RecordTooLarge { .. }
            | AppendError::PropertiesTooLarge { .. }
            | AppendError::Topic
            | AppendError::InnerBatch
            | AppendError::Empty => Undelivered::Never(error),
            AppendError::Busy { .. }
            | AppendError::DiskFull { .. }
            | AppendError::Deleted
            | AppendError::Follows
            | AppendError::Closed
            | AppendError::Failed => Undelivered::Later(error),
        })?;
        self.b.store.drive();
        let Some(last) = receipts.last() else {
            return Ok(LogPos(0));
        };
        let written = self.b.store.reach(last.gate, Level::Written).await;
        written.map_err(Undelivered::Later)?;
        let sizes: Vec<u64> = receipts.iter().map(|receipt| receipt.size as u64).collect();
        self.count(&copies, &sizes);
        Ok(last.gate.end)
    }

    /// Takes note of messages that were delivered, and of how large their records are.
    fn count(&self, copies: &[Copied<'_>], sizes: &[u64]) {
        let mut sizes = sizes.iter();
        let mut bytes = 0;
        for run in copies.chunk_by(|one, other| one.queue.topic() == other.queue.topic()) {
            let Some(topic) = run.first().map(|copy| copy.queue.topic()) else {
                continue;
            };
            let topic = self.b.topics.get(topic);
            for size in sizes.by_ref().take(run.len()) {
                bytes += size;
                match &topic {
                    Some(topic) => self.b.counts.put(topic, (MessageType::Delay, 1, *size)),
                    None => self.b.counts.put_anywhere((MessageType::Delay, 1, *size)),
                }
            }
        }
        if let Some(topic) = self.b.topics.get(SCHEDULE_TOPIC) {
            let reader = topic.traffic.reader(SCHEDULE_GROUP);
            reader.pulled.add(copies.len() as u64, bytes);
        }
    }

    fn advance(&mut self, offset: i64, end: LogPos) {
        self.at = offset;
        self.b.delays.advance(self.level, offset, end);
    }

    fn unreadable(&mut self, error: &ReadError) -> Wait {
        if !std::mem::replace(&mut self.is_in_trouble, true) {
            error!(level = self.level, offset = self.at, %error, "delayed messages cannot be read; trying again");
        }
        Wait::Retry
    }
}

/// When an entry is due; `None` when there is nothing to wait for.
fn due(entry: &Entry) -> Option<i64> {
    match entry.code {
        EntryCode::Code(due) => Some(due),
        EntryCode::Nothing | EntryCode::Elsewhere => None,
    }
}

/// The same for an entry that does not say it: it is damaged, or its time stands in a file that is not kept here.
fn stored_due(store: &Store, queue: &Queue, entry: &Entry, delay_ms: i64) -> Result<Option<i64>, ReadError> {
    let stored_at = store.stored_at_sought(queue, entry.offset)?;
    Ok(stored_at.map(|at| at.saturating_add(delay_ms)))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    match store::env::aside(work).await {
        Ok(done) => done,
        // The process is being torn down.
        Err(_) => Err(ReadError::NotCached),
    }
}

/// A message on its way to its own queue.
struct Copied<'a> {
    parts: Parts<'a>,
    queue: Arc<Queue>,
}

/// The messages of a batch, with the queues they belong to. What does not say where it belongs is left out.
fn copies<'a>(b: &Broker, mut records: &'a [u8]) -> Vec<Copied<'a>> {
    let mut copies: Vec<Copied<'a>> = Vec::new();
    while let Ok(head) = RecordHead::scan(records) {
        records = records.get(head.total_size..).unwrap_or_default();
        let Some((topic, id)) = real_queue_or_warn(&head) else {
            continue;
        };
        let last = copies.last().map(|copy| &copy.queue);
        let queue = match last
            .filter(|queue| queue.topic() == topic && queue.id() == id && !queue.is_deleted())
        {
            Some(queue) => Arc::clone(queue),
            None => match b.home_of(topic, id) {
                Some(id) => b.store.queue(topic, id),
                None => {
                    error!(
                        topic,
                        pos = head.stamp.physical_offset,
                        "a delayed message for a topic that does not exist is dropped: there are too many (topicsMax)"
                    );
                    continue;
                }
            },
        };
        copies.push(Copied {
            parts: head.parts,
            queue,
        });
    }
    copies
}

fn real_queue_or_warn<'a>(head: &RecordHead<'a>) -> Option<(&'a str, u32)> {
    let real = real_queue(head.parts.properties);
    if real.is_none() {
        warn!(
            offset = head.stamp.queue_offset,
            pos = head.stamp.physical_offset,
            "a delayed message does not say where it belongs, and is dropped"
        );
    }
    real
}

/// Where the first of these messages belongs, for what is logged of it.
fn first_topic(records: &[u8]) -> Option<&str> {
    let head = RecordHead::scan(records).ok()?;
    real_queue(head.parts.properties).map(|(topic, _)| topic)
}

/// The queue a parked message was sent to. Not one that takes no sends, such as that of the half messages.
fn real_queue(properties: &[u8]) -> Option<(&str, u32)> {
    let topic = properties::get(properties, properties::name::REAL_TOPIC)?;
    let id = real_queue_id(properties::get(properties, properties::name::REAL_QID)?)?;
    may_be_real(topic).then_some((topic, id))
}

impl Copied<'_> {
    /// The message as it was sent. It keeps the properties of parking, as in the reference.
    fn draft<'d>(&'d self, b: &Broker) -> Draft<'d> {
        Draft {
            queue: &self.queue,
            flag: self.parts.flag,
            sys_flag: self.parts.sys_flag,
            born_at: self.parts.born_at,
            born_host: self.parts.born_host,
            store_host: b.host,
            reconsume_times: self.parts.reconsume_times,
            prepared_pos: 0,
            body: self.parts.body,
            properties: self.parts.properties,
            wait: false,
        }
    }
}
