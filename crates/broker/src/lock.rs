// SPDX-License-Identifier: Apache-2.0
//! Locks of orderly consumers: one client of a group at a time may work on a queue.
//!
//! Advisory and in memory only: a pull does not ask for the lock, and a restart forgets it. A client renews its locks
//! every 20 s; one that is not renewed for [`LIFETIME`] is free again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::{Answer, Call, Fault, Reply};
use parking_lot::Mutex;
use wire::api::lock::{LockBatchMq, UnlockBatchMq};
use wire::body::queue::{LockBatch, LockedQueues, MessageQueue};
use wire::code::{NoHeader, ResponseCode};
use wire::{Str, fastjson};

use crate::broker::Broker;
use crate::fault::bad_body;

/// How long a lock lives that is not renewed.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);

/// Longest name that is kept.
const NAME_BYTES_MAX: usize = 255;

/// Who holds a queue, and since when.
#[derive(Debug)]
struct Held {
    client: Str,
    renewed: Instant,
}

/// The locks of all consumer groups.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    groups: HashMap<Str, HashMap<MessageQueue, Held>>,
    count: usize,
}

impl Locks {
    /// Takes or renews the queues that are free, expired or already the client's, as long as there are fewer than
    /// `locks_max` locks in all; returns those it took.
    pub(crate) fn take(&self, wanted: &LockBatch, (now, locks_max): (Instant, usize)) -> Vec<MessageQueue> {
        let LockBatch {
            consumer_group: group,
            client_id: client,
            mq_set,
            ..
        } = wanted;
        let mut table = self.table.lock();
        let Table { groups, count } = &mut *table;
        let held = groups.entry(group.clone()).or_default();
        let mut taken = Vec::with_capacity(mq_set.len());
        for queue in mq_set.iter().collect::<BTreeSet<_>>() {
            match held.get_mut(queue) {
                Some(lock) if lock.client == *client || lock.is_expired(now) => lock.renew(client, now),
                Some(_) => continue,
                // At the limit nothing new is locked: the client asks again with its next round.
                None if *count >= locks_max => continue,
                None => {
                    held.insert(
                        queue.clone(),
                        Held {
                            client: client.clone(),
                            renewed: now,
                        },
                    );
                    *count += 1;
                }
            }
            taken.push(queue.clone());
        }
        if held.is_empty() {
            groups.remove(group);
        }
        taken
    }

    /// Gives back those of the queues that the client holds.
    pub(crate) fn give_back(&self, queues: &LockBatch) {
        let LockBatch {
            consumer_group: group,
            client_id: client,
            mq_set,
            ..
        } = queues;
        let mut table = self.table.lock();
        let Table { groups, count } = &mut *table;
        let Some(held) = groups.get_mut(group) else { return };
        for queue in mq_set {
            if held.get(queue).is_some_and(|lock| lock.client == *client) {
                held.remove(queue);
                *count -= 1;
            }
        }
        if held.is_empty() {
            groups.remove(group);
        }
    }

    /// Whether any client of the group holds a lock that has not expired: the group consumes in order.
    pub(crate) fn holds_any(&self, group: &str, now: Instant) -> bool {
        let table = self.table.lock();
        table
            .groups
            .get(group)
            .is_some_and(|held| held.values().any(|lock| !lock.is_expired(now)))
    }

    /// The client that holds the lock of a queue, if any does.
    pub(crate) fn holder(&self, group: &str, queue: &MessageQueue, now: Instant) -> Option<Str> {
        let table = self.table.lock();
        let lock = table.groups.get(group)?.get(queue)?;
        (!lock.is_expired(now)).then(|| lock.client.clone())
    }

    /// Forgets what has expired, so that groups that went away cost nothing.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut table = self.table.lock();
        table.groups.retain(|_, held| {
            held.retain(|_, lock| !lock.is_expired(now));
            !held.is_empty()
        });
        table.count = table.groups.values().map(HashMap::len).sum();
    }
}

impl Held {
    fn renew(&mut self, client: &Str, now: Instant) {
        *self = Held {
            client: client.clone(),
            renewed: now,
        };
    }

    fn is_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.renewed) > LIFETIME
    }
}

/// Code 41. Answers with the queues that the client holds now; those of others are just missing.
pub(crate) fn lock_queues(b: &Arc<Broker>, call: Call<LockBatchMq>) -> Result<Answer<NoHeader>, Fault> {
    let wanted = read_batch(&call.body)?;
    let limit = b.config().queue_locks_max as usize;
    let lock_ok_mq_set = b.locks.take(&wanted, (b.env.clock.instant(), limit));
    Ok(Reply::ok(NoHeader)
        .with_body(fastjson::to_vec(&LockedQueues { lock_ok_mq_set }))
        .into())
}

/// Code 42. Clients do not wait for the answer.
pub(crate) fn unlock_queues(b: &Arc<Broker>, call: Call<UnlockBatchMq>) -> Result<Answer<NoHeader>, Fault> {
    b.locks.give_back(&read_batch(&call.body)?);
    Ok(Reply::ok(NoHeader).into())
}

fn read_batch(body: &[u8]) -> Result<LockBatch, Fault> {
    let mut batch: LockBatch = fastjson::from_slice(body).map_err(|error| bad_body(&error))?;
    for (what, name) in [
        ("consumerGroup", &batch.consumer_group),
        ("clientId", &batch.client_id),
    ] {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let remark = format!(
                "{what} has {} bytes, allowed are 1 to {NAME_BYTES_MAX}",
                name.len()
            );
            return Err(Fault::new(ResponseCode::INVALID_PARAMETER, remark));
        }
    }
    // Such a queue cannot exist.
    batch
        .mq_set
        .retain(|queue| queue.topic.len() <= NAME_BYTES_MAX && queue.broker_name.len() <= NAME_BYTES_MAX);
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(client: &str, queues: impl IntoIterator<Item = i32>) -> LockBatch {
        let queue = |queue_id| MessageQueue {
            broker_name: "b".into(),
            queue_id,
            topic: "T".into(),
        };
        LockBatch {
            client_id: client.into(),
            consumer_group: "G".into(),
            mq_set: queues.into_iter().map(queue).collect(),
            only_this_broker: false,
        }
    }

    fn ids(taken: Vec<MessageQueue>) -> Vec<i32> {
        taken.into_iter().map(|queue| queue.queue_id).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "only differences to it matter")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_queue_belongs_to_its_first_client_until_it_is_given_back() {
        let (locks, now) = (Locks::default(), start());
        assert_eq!(ids(locks.take(&batch("a", [0, 1]), (now, 9))), [0, 1]);
        assert_eq!(ids(locks.take(&batch("b", [1, 2]), (now, 9))), [2]);
        locks.give_back(&batch("b", [1]));
        assert!(
            locks.take(&batch("b", [1]), (now, 9)).is_empty(),
            "only the owner gives back"
        );
        locks.give_back(&batch("a", [1]));
        assert_eq!(ids(locks.take(&batch("b", [1]), (now, 9))), [1]);
    }

    #[test]
    fn a_lock_that_is_not_renewed_expires() {
        let (locks, now) = (Locks::default(), start());
        locks.take(&batch("a", [0]), (now, 9));
        let renewed = now + LIFETIME;
        assert_eq!(ids(locks.take(&batch("a", [0]), (renewed, 9))), [0]);
        assert!(locks.take(&batch("b", [0]), (renewed + LIFETIME, 9)).is_empty());
        assert!(locks.holds_any("G", renewed + LIFETIME));
        let late = renewed + LIFETIME + Duration::from_millis(1);
        assert!(!locks.holds_any("G", late));
        assert_eq!(ids(locks.take(&batch("b", [0]), (late, 9))), [0]);
    }

    #[test]
    fn at_the_limit_nothing_new_is_locked_until_old_locks_are_swept() {
        let (locks, now) = (Locks::default(), start());
        assert_eq!(ids(locks.take(&batch("a", 0..5), (now, 3))), [0, 1, 2]);
        assert_eq!(
            ids(locks.take(&batch("a", 0..5), (now, 3))),
            [0, 1, 2],
            "renewing is always possible"
        );
        let late = now + LIFETIME * 2;
        locks.sweep(late);
        assert_eq!(ids(locks.take(&batch("b", 3..5), (late, 3))), [3, 4]);
    }
}
