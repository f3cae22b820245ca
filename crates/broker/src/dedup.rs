// SPDX-License-Identifier: Apache-2.0
//! A message that is sent again is stored once, on topics with the attribute `dedup.window=<duration>`.
//!
//! A producer that hears nothing sends again, and cannot know whether the first try arrived. Clients give a message a unique
//! id (`UNIQ_KEY`) before the first try and keep it, so a broker that remembers for a while what it stored can tell: the
//! second try is answered with the ids of the first, when the first is as safe as its sender was promised. A message counts
//! as the same when topic, producer group, id and body are; so an id that is used twice never swallows a message.
//!
//! Exempt is what the broker writes itself (retries, dead letters, delayed, timed and committed messages), and what is
//! kept back first. A topic without the attribute costs one comparison.
//!
//! # Across a restart
//!
//! What is remembered lies in the log: a start reads the messages of the window again ([`recover`]). All of it stands in the
//! record but the producer group, which comes with the request. So on these topics, and only there, messages are stored
//! with the property `PGROUP`: the reference's own name for the producer group, which its clients set on transactional
//! messages, let nobody set by hand, and read only there. A table beside the log would have to be written with every
//! message, or would be behind the log after a crash.
//!
//! # Memory
//!
//! Up to 220 bytes a message (measured, see `docs/benchmarks.md`). At `dedupMessagesMax` the oldest are forgotten before their time, which is counted
//! (`dedupForgottenEarly` of request 28): those of the topics that have more than an equal share. One that has less may
//! take its share at once, so until the next sweep there may be up to twice as many.

mod recover;
mod window;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};
use store::{AppendError, Gate, GateState, Level, Receipt};
use wire::Str;
use wire::properties::Properties;

use self::window::Window;
use crate::broker::Broker;
use crate::topic::Topics;

/// The property with the group of a message's producer.
const PRODUCER_GROUP: &str = "PGROUP";

/// Messages that a send forgets at most, those that are too old; a sweep forgets the rest.
const FORGOTTEN_BY_A_SEND: usize = 16;
/// Messages that are forgotten while their window is locked.
const FORGOTTEN_TOGETHER: usize = 1024;

/// What two tries of one message have in common, and different messages do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Print(u64, u64);

impl Print {
    pub(crate) fn of(group: &str, unique: &str, body: &[u8]) -> Print {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        let body_hash = hasher.finish();
        let mut hasher = DefaultHasher::new();
        (group, unique).hash(&mut hasher);
        Print(hasher.finish(), body_hash)
    }
}

/// Where a message was stored when it came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) pos: i64,
    pub(crate) queue_id: i32,
    pub(crate) queue_offset: i64,
    pub(crate) stored_at: i64,
    pub(crate) gate: Gate,
    /// Size of the record; 0 when it was stored before.
    pub(crate) size: usize,
}

impl First {
    pub(crate) fn of(receipt: &Receipt, queue_id: i32) -> First {
        First {
            pos: receipt.pos.0,
            queue_id,
            queue_offset: receipt.queue_offset,
            stored_at: receipt.stored_at,
            gate: receipt.gate,
            size: receipt.size,
        }
    }
}

/// What was stored lately.
#[derive(Debug, Default)]
pub(crate) struct Dedup {
    windows: RwLock<HashMap<Str, Arc<Mutex<Window>>>>,
    /// How many those are.
    topics: AtomicUsize,
    /// Messages of all windows.
    remembered: AtomicUsize,
    duplicates: AtomicU64,
    forgotten_early: AtomicU64,
}

/// For request 28.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) remembered: usize,
    pub(crate) duplicates: u64,
    pub(crate) forgotten_early: u64,
}

/// The topic, how long its window is, and the messages, without a print where one has no id of its own.
pub(crate) struct Offer<'a> {
    pub(crate) topic: &'a Str,
    pub(crate) window_ms: i64,
    pub(crate) prints: &'a [Option<Print>],
}

/// The properties as they are stored on topics with a window.
pub(crate) fn with_group(properties: &[u8], group: &str) -> Vec<u8> {
    let mut properties = Properties::from_bytes(properties);
    properties.set(PRODUCER_GROUP, group);
    properties.into_bytes()
}

impl Dedup {
    /// Stores those messages that are not remembered: `append` gets their places in the offer and stores them. Tells of
    /// every message where it is.
    pub(crate) fn once(
        &self,
        b: &Broker,
        offer: &Offer<'_>,
        append: impl FnOnce(&[usize]) -> Result<Vec<First>, AppendError>,
    ) -> Result<Vec<First>, AppendError> {
        let window = self.window(offer.topic);
        // Held over the append: two tries at the same time must not both be the first.
        let mut window = window.lock();
        let since_ms = b.env.clock.now_ms().saturating_sub(offer.window_ms);
        for _ in 0..FORGOTTEN_BY_A_SEND {
            if window.is_older(since_ms) {
                self.forget(window.forget_first());
            }
        }
        let known: Vec<Option<First>> = offer
            .prints
            .iter()
            .map(|print| {
                let first = window.find(&(*print)?, since_ms)?;
                let is_lost = b.store.state(&first.gate, Level::Written) == GateState::Failed;
                (!is_lost).then_some(First { size: 0, ..*first })
            })
            .collect();
        let (new, twins) = new_ones(offer.prints, &known);
        let stored = if new.is_empty() { Vec::new() } else { append(&new)? };
        let max = b.config().dedup_messages_max as usize;
        for (place, first) in new.iter().zip(&stored) {
            if let Some(print) = offer.prints.get(*place).copied().flatten() {
                self.remember(&mut window, (print, *first), max);
            }
        }
        drop(window);
        let duplicates = offer.prints.len() - stored.len();
        self.duplicates.fetch_add(duplicates as u64, Ordering::Relaxed);
        let at = |place: usize| {
            let at = new.iter().position(|new| *new == place)?;
            stored.get(at).copied()
        };
        let places = known.iter().enumerate().map(|(place, known)| {
            let twin = twins.get(&place).copied();
            let twin = twin.and_then(at).map(|first| First { size: 0, ..first });
            known.or_else(|| at(place)).or(twin).ok_or(AppendError::Empty)
        });
        places.collect()
    }

    /// Without room a topic forgets its own oldest, when it has its share already. One that has less takes what it needs, and
    /// those that have more give it back, two for one, or all at the next sweep.
    fn remember(&self, window: &mut Window, (print, first): (Print, First), max: usize) {
        for _ in 0..2 {
            if self.remembered.load(Ordering::Relaxed) >= max && window.len() >= self.share(max) {
                self.forget_early(window);
            }
        }
        let added = window.remember(print, first);
        self.remembered.fetch_add(added, Ordering::Relaxed);
    }

    fn forget_early(&self, window: &mut Window) {
        let forgotten = window.forget_oldest();
        self.forget(forgotten);
        self.forgotten_early
            .fetch_add(forgotten as u64, Ordering::Relaxed);
    }

    /// What each topic may remember, however much the others do.
    fn share(&self, max: usize) -> usize {
        let topics = self.topics.load(Ordering::Relaxed).max(1);
        (max / topics).max(1)
    }

    fn forget(&self, count: usize) {
        self.remembered.fetch_sub(count, Ordering::Relaxed);
    }

    fn window(&self, topic: &Str) -> Arc<Mutex<Window>> {
        if let Some(window) = self.windows.read().get(topic) {
            return Arc::clone(window);
        }
        let mut windows = self.windows.write();
        let window = Arc::clone(windows.entry(topic.clone()).or_default());
        self.topics.store(windows.len(), Ordering::Relaxed);
        window
    }

    /// Forgets all of a topic that was deleted, or has no window any more.
    pub(crate) fn forget_topic(&self, topic: &str) {
        let removed = {
            let mut windows = self.windows.write();
            let removed = windows.remove(topic);
            self.topics.store(windows.len(), Ordering::Relaxed);
            removed
        };
        if let Some(window) = removed {
            self.forget(window.lock().close());
        }
    }

    /// Forgets what is too old, all of topics that have no window any more, and what is more than there is room for. No lock
    /// is held for long: sends get their turn in between.
    pub(crate) fn sweep(&self, topics: &Topics, now_ms: i64, max: usize) {
        let all = topics.all();
        for (name, window) in self.all() {
            let window_ms = all.topics.get(&name).map_or(0, |topic| topic.dedup_window_ms);
            if window_ms <= 0 {
                self.forget_topic(&name);
                continue;
            }
            let since_ms = now_ms.saturating_sub(window_ms);
            some_by_some(&window, |window| {
                let is_older = window.is_older(since_ms);
                if is_older {
                    self.forget(window.forget_first());
                }
                is_older
            });
        }
        self.trim(max);
    }

    /// Takes from those that have more than their share what there is no room for.
    fn trim(&self, max: usize) {
        for (_, window) in self.all() {
            some_by_some(&window, |window| {
                let is_much = self.remembered.load(Ordering::Relaxed) > max && window.len() > self.share(max);
                if is_much {
                    self.forget_early(window);
                }
                is_much
            });
        }
    }

    fn all(&self) -> Vec<(Str, Arc<Mutex<Window>>)> {
        let windows = self.windows.read();
        let all = windows
            .iter()
            .map(|(name, window)| (name.clone(), Arc::clone(window)));
        all.collect()
    }

    /// How much is remembered, and how often it was of use.
    pub(crate) fn figures(&self) -> Figures {
        Figures {
            remembered: self.remembered.load(Ordering::Relaxed),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            forgotten_early: self.forgotten_early.load(Ordering::Relaxed),
        }
    }
}

/// Forgets as long as there is something to forget, and lets others have the window from time to time.
fn some_by_some(window: &Mutex<Window>, mut forget: impl FnMut(&mut Window) -> bool) {
    loop {
        let mut locked = window.lock();
        if !(0..FORGOTTEN_TOGETHER).all(|_| forget(&mut locked)) {
            locked.shrink();
            return;
        }
        MutexGuard::unlock_fair(locked);
    }
}

/// The places of messages that have to be stored, and by place those that are the same as an earlier one of the offer.
fn new_ones(prints: &[Option<Print>], known: &[Option<First>]) -> (Vec<usize>, HashMap<usize, usize>) {
    let (mut new, mut twins) = (Vec::new(), HashMap::new());
    let mut earlier: HashMap<Print, usize> = HashMap::new();
    for (place, (print, known)) in prints.iter().zip(known).enumerate() {
        if known.is_some() {
            continue;
        }
        match print.and_then(|print| earlier.get(&print).copied()) {
            Some(twin) => drop(twins.insert(place, twin)),
            None => {
                new.push(place);
                if let Some(print) = print {
                    earlier.insert(*print, place);
                }
            }
        }
    }
    (new, twins)
}
