// SPDX-License-Identifier: Apache-2.0
//! What went into a topic and out of it, counted beside the topic: by the kind of message that came in, and by the group
//! that read.
//!
//! A send costs two relaxed additions here, a pull that found something a look for its group and three. All that is told of a topic (metrics,
//! request 315, the rate in its statistics) comes from these numbers; they live as long as the topic.

mod history;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use metrics::{Counter, Histogram};
use parking_lot::{Mutex, RwLock};
use wire::Str;

pub(crate) use self::history::{History, Span, Tick, Totals};
use crate::send::properties::MessageType;

/// Bounds of the sizes of messages, as in the reference.
pub(crate) const SIZE_BOUNDS: &[u64] = &[1 << 10, 4 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];
/// Bounds of what transactions took, in seconds.
pub(crate) const FINISH_BOUNDS: &[u64] = &[5, 60, 600, 3_600, 43_200, 86_400];
/// Bounds of how long timer messages are to wait, in seconds.
pub(crate) const DELAY_BOUNDS: &[u64] = &[60, 600, 3_600, 43_200, 86_400, 259_200];

/// Pairs of topic and group that are counted in a process. Both are made by clients, the pairs by what they read: some 3 KiB each.
const READERS_MAX: usize = 250_000;
/// Who the others are.
const OTHERS: &str = "%OTHERS%";

/// How many there are.
static READERS: AtomicUsize = AtomicUsize::new(0);

/// What went into and out of one topic.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    kinds: [Inflow; MessageType::ALL.len()],
    /// By group.
    readers: RwLock<HashMap<Str, Arc<Reader>>>,
    /// Made when the first of its transactions ends.
    transactions: OnceLock<Box<Ended>>,
    /// Made with the first of its messages that waits for a time of its own.
    timers: OnceLock<Box<Timed>>,
    history: Mutex<History>,
}

/// Messages of one kind that came in. What the histogram says and what was counted differ by batches: each is one value, of
/// the average size, as in the reference.
#[derive(Debug, Default)]
struct Inflow {
    bytes: Counter,
    sizes: Histogram<7>,
    /// Messages of batches beyond the first of each.
    batched: Counter,
    /// Their bytes.
    batched_bytes: Counter,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// How many sends there were, by the size of their messages.
    pub(crate) sends: [u64; 7],
    /// The sum of those sizes.
    pub(crate) sum: u64,
}

/// How transactions of a topic ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) commits: Counter,
    pub(crate) rollbacks: Counter,
    /// Seconds from birth to commit.
    pub(crate) took: Histogram<7>,
}

/// Messages that wait for a time of their own.
#[derive(Debug, Default)]
pub(crate) struct Timed {
    pub(crate) enqueued: Counter,
    pub(crate) dequeued: Counter,
    /// Seconds they are to wait.
    pub(crate) delay: Histogram<7>,
}

/// What one group took out of a topic.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) pulled: Outflow,
    pub(crate) popped: Outflow,
    /// From its retry topic.
    pub(crate) popped_again: Outflow,
    /// Messages handed out by pop that have to be settled.
    pub(crate) leases: Counter,
    /// Messages settled.
    pub(crate) acks: Counter,
    /// Messages that were not, and come again.
    pub(crate) revived: Counter,
    /// Messages given back.
    pub(crate) backs: Counter,
    /// Messages given up.
    pub(crate) dead: Counter,
    /// Milliseconds its pulls waited for the disk.
    pub(crate) waited_ms: Counter,
    history: Mutex<History>,
}

impl Default for Reader {
    fn default() -> Reader {
        READERS.fetch_add(1, Ordering::Relaxed);
        Reader {
            pulled: Outflow::default(),
            popped: Outflow::default(),
            popped_again: Outflow::default(),
            leases: Counter::default(),
            acks: Counter::default(),
            revived: Counter::default(),
            backs: Counter::default(),
            dead: Counter::default(),
            waited_ms: Counter::default(),
            history: Mutex::default(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        READERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Messages that went out in one way.
#[derive(Debug, Default)]
pub(crate) struct Outflow {
    messages: Counter,
    bytes: Counter,
    answers: Counter,
}

impl Outflow {
    /// One answer with so many messages.
    pub(crate) fn add(&self, messages: u64, bytes: u64) {
        self.messages.add(messages);
        self.bytes.add(bytes);
        self.answers.add(1);
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages.total()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.total()
    }
}

impl Inflow {
    fn add(&self, messages: u64, bytes: u64) {
        let size = bytes.checked_div(messages).unwrap_or(0);
        self.bytes.add(bytes);
        self.sizes.place(SIZE_BOUNDS, size, u64::from(messages > 0));
        if messages > 1 {
            self.batched.add(messages - 1);
            self.batched_bytes.add(bytes - size);
        }
    }

    fn read(&self) -> Came {
        let sends = self.sizes.read().counts;
        let bytes = self.bytes.total();
        Came {
            messages: sends.iter().sum::<u64>() + self.batched.total(),
            bytes,
            sends,
            // The two are not read in one moment.
            sum: bytes.saturating_sub(self.batched_bytes.total()),
        }
    }
}

impl Traffic {
    /// One send of so many messages.
    pub(crate) fn put(&self, kind: MessageType, messages: u64, bytes: u64) {
        self.kinds[kind as usize].add(messages, bytes);
    }

    /// What came in of one kind.
    pub(crate) fn came(&self, kind: MessageType) -> Came {
        self.kinds[kind as usize].read()
    }

    /// What came in of all kinds.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for kind in &self.kinds {
            let came = kind.read();
            totals.number += came.messages;
            totals.bytes += came.bytes;
            totals.times += came.sends.iter().sum::<u64>();
        }
        totals
    }

    /// What a group takes out.
    pub(crate) fn reader(&self, group: &str) -> Arc<Reader> {
        if let Some(reader) = self.readers.read().get(group) {
            return Arc::clone(reader);
        }
        let is_full = READERS.load(Ordering::Relaxed) >= READERS_MAX;
        self.reader_within(group, is_full)
    }

    /// The same of a new group; where there are too many, that of all others.
    fn reader_within(&self, group: &str, is_full: bool) -> Arc<Reader> {
        let mut readers = self.readers.write();
        let name = if is_full && !readers.contains_key(group) {
            OTHERS
        } else {
            group
        };
        Arc::clone(readers.entry(name.into()).or_default())
    }

    /// The same if it has taken anything.
    pub(crate) fn find_reader(&self, group: &str) -> Option<Arc<Reader>> {
        self.readers.read().get(group).cloned()
    }

    /// All groups that have taken anything.
    pub(crate) fn readers(&self) -> Vec<(Str, Arc<Reader>)> {
        let readers = self.readers.read();
        let all = readers
            .iter()
            .map(|(group, reader)| (group.clone(), Arc::clone(reader)));
        all.collect()
    }

    /// Forgets a group.
    pub(crate) fn forget(&self, group: &str) {
        if self.readers.read().contains_key(group) {
            self.readers.write().remove(group);
        }
    }

    pub(crate) fn transactions(&self) -> &Ended {
        self.transactions.get_or_init(Box::default)
    }

    pub(crate) fn find_transactions(&self) -> Option<&Ended> {
        self.transactions.get().map(Box::as_ref)
    }

    pub(crate) fn timers(&self) -> &Timed {
        self.timers.get_or_init(Box::default)
    }

    pub(crate) fn find_timers(&self) -> Option<&Timed> {
        self.timers.get().map(Box::as_ref)
    }

    /// Remembers the totals of this moment, of the topic and of all who read it.
    pub(crate) fn sample(&self, now_ms: i64, tick: Tick) {
        self.history.lock().sample(now_ms, tick, self.totals());
        for reader in self.readers.read().values() {
            reader.history.lock().sample(now_ms, tick, reader.totals());
        }
    }

    /// What came in lately; `None` when nothing ever did.
    pub(crate) fn lately(&self) -> Option<[Span; 3]> {
        self.history.lock().spans(self.totals().times)
    }
}

impl Reader {
    fn totals(&self) -> Totals {
        let flows = [&self.pulled, &self.popped, &self.popped_again];
        let sum = |of: fn(&Outflow) -> &Counter| flows.iter().map(|flow| of(flow).total()).sum();
        Totals {
            number: sum(|flow| &flow.messages),
            bytes: sum(|flow| &flow.bytes),
            times: sum(|flow| &flow.answers),
            waited_ms: self.waited_ms.total(),
            backs: self.backs.total(),
            acks: self.acks.total(),
            leases: self.leases.total(),
        }
    }

    /// What went out lately.
    pub(crate) fn lately(&self) -> Option<[Span; 3]> {
        let totals = self.totals();
        let touched = totals.times + totals.backs + totals.acks;
        self.history.lock().spans(touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_one_send_of_the_average_size_and_all_its_messages() {
        let traffic = Traffic::default();
        traffic.put(MessageType::Normal, 1, 1024);
        traffic.put(MessageType::Normal, 3, 6_000);
        traffic.put(MessageType::Delay, 1, 5 << 20);
        let normal = traffic.came(MessageType::Normal);
        assert_eq!((normal.messages, normal.bytes), (4, 7_024));
        assert_eq!((normal.sends, normal.sum), ([1, 1, 0, 0, 0, 0, 0], 3_024));
        assert_eq!(traffic.came(MessageType::Delay).sends, [0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(traffic.came(MessageType::Fifo).messages, 0);
        let totals = traffic.totals();
        assert_eq!((totals.number, totals.times), (5, 3));
    }

    #[test]
    fn groups_beyond_the_limit_are_counted_together() {
        let traffic = Traffic::default();
        traffic.reader_within("known", false).backs.add(1);
        for group in ["known", "one", "another"] {
            traffic.reader_within(group, true).backs.add(1);
        }
        let mut seen: Vec<_> = traffic.readers().into_iter().collect();
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        let seen: Vec<_> = seen
            .iter()
            .map(|(group, reader)| (group.as_str(), reader.backs.total()))
            .collect();
        assert_eq!(seen, [(OTHERS, 2), ("known", 2)]);
    }

    #[test]
    fn a_group_that_is_deleted_begins_anew() {
        let traffic = Traffic::default();
        traffic.reader("G").pulled.add(2, 100);
        assert_eq!(traffic.find_reader("G").unwrap().pulled.messages(), 2);
        traffic.forget("G");
        assert!(traffic.find_reader("G").is_none());
        assert_eq!(traffic.reader("G").pulled.messages(), 0);
    }
}
