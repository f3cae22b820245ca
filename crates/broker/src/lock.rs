// SPDX-License-Identifier: Apache-2.0
//! Locks of orderly consumers: one client of a group at a time may work on a queue.
//!
//! Advisory and in memory only: a pull does not ask for the lock, and a restart forgets it. A client renews its locks
//! every 20 s; one that is not renewed for [`LIFETIME`] is free again. A client that leaves its group (35) leaves its locks at
//! once; one whose connection just ends may be working on, and keeps them for that time.

mod strict;

use std::collections::hash_map::Entry;
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
/// Clients that are remembered to have left. Who leaves beyond that can still lock until it falls silent.
const LEFT_MAX: usize = 20_000;

/// How many queues may be locked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// In all.
    pub(crate) all: usize,
    /// By one connection.
    pub(crate) of_peer: usize,
}

/// Who holds a queue, and since when.
#[derive(Debug)]
struct Held {
    client: Str,
    /// The connection that renewed it last.
    peer: u64,
    renewed: Instant,
}

/// The locks of all consumer groups.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    table: Mutex<Table>,
    /// The other brokers of this name, which lock the same.
    others: strict::Others,
}

#[derive(Debug, Default)]
struct Table {
    groups: HashMap<Str, HashMap<MessageQueue, Held>>,
    counts: Counts,
    /// When clients left their groups, by group and client id.
    left: HashMap<(Str, Str), Instant>,
}

/// How many locks there are.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// By connection.
    of_peers: HashMap<u64, usize>,
}

impl Counts {
    fn of(&self, peer: u64) -> usize {
        self.of_peers.get(&peer).copied().unwrap_or(0)
    }

    fn add(&mut self, peer: u64) {
        self.all += 1;
        *self.of_peers.entry(peer).or_default() += 1;
    }

    fn remove(&mut self, peer: u64) {
        self.all -= 1;
        if let Entry::Occupied(mut of_peer) = self.of_peers.entry(peer) {
            *of_peer.get_mut() -= 1;
            if *of_peer.get() == 0 {
                of_peer.remove();
            }
        }
    }
}

impl Locks {
    /// Takes or renews the queues that are free, expired or already the client's, as far as the limits allow; returns those
    /// it took.
    pub(crate) fn take(
        &self,
        wanted: &LockBatch,
        peer: u64,
        now: Instant,
        limits: Limits,
    ) -> Vec<MessageQueue> {
        let LockBatch {
            consumer_group: group,
            client_id: client,
            mq_set,
            ..
        } = wanted;
        let mut table = self.table.lock();
        let Table { groups, counts, left } = &mut *table;
        // It was on its way when the client left: nobody would renew the lock, nor give it back.
        if left
            .get(&(group.clone(), client.clone()))
            .is_some_and(|at| !is_over(*at, now))
        {
            return Vec::new();
        }
        let held = groups.entry(group.clone()).or_default();
        let mut taken = Vec::with_capacity(mq_set.len());
        for queue in mq_set.iter().collect::<BTreeSet<_>>() {
            // At a limit nothing new is locked: the client asks again with its next round.
            let has_room = counts.of(peer) < limits.of_peer;
            match held.get_mut(queue) {
                Some(lock) if lock.client != *client && !is_over(lock.renewed, now) => continue,
                Some(lock) if lock.peer == peer => {}
                Some(lock) if has_room => counts.remove(lock.peer),
                None if has_room && counts.all < limits.all => {}
                _ => continue,
            }
            let lock = Held {
                client: client.clone(),
                peer,
                renewed: now,
            };
            if held
                .insert(queue.clone(), lock)
                .is_none_or(|before| before.peer != peer)
            {
                counts.add(peer);
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
        let Table { groups, counts, .. } = &mut *table;
        let Some(held) = groups.get_mut(group) else { return };
        for queue in mq_set {
            if held.get(queue).is_some_and(|lock| lock.client == *client)
                && let Some(lock) = held.remove(queue)
            {
                counts.remove(lock.peer);
            }
        }
        if held.is_empty() {
            groups.remove(group);
        }
    }

    /// A client has left a group: its locks are free, and it gets none until it is [back](Locks::is_back).
    pub(crate) fn leave(&self, group: &str, client: &str, now: Instant) {
        let mut table = self.table.lock();
        let Table { groups, counts, left } = &mut *table;
        if left.len() < LEFT_MAX {
            left.insert((group.into(), client.into()), now);
        }
        let Some(held) = groups.get_mut(group) else { return };
        held.retain(|_, lock| {
            let stays = lock.client != client;
            if !stays {
                counts.remove(lock.peer);
            }
            stays
        });
        if held.is_empty() {
            groups.remove(group);
        }
    }

    /// A client shows that it is in a group.
    pub(crate) fn is_back(&self, group: &Str, client: &Str) {
        let left = &mut self.table.lock().left;
        if !left.is_empty() {
            left.remove(&(group.clone(), client.clone()));
        }
    }

    /// Whether any client of the group holds a lock that has not expired: the group consumes in order.
    pub(crate) fn holds_any(&self, group: &str, now: Instant) -> bool {
        let table = self.table.lock();
        table
            .groups
            .get(group)
            .is_some_and(|held| held.values().any(|lock| !is_over(lock.renewed, now)))
    }

    /// The client that holds the lock of a queue, if any does.
    pub(crate) fn holder(&self, group: &str, queue: &MessageQueue, now: Instant) -> Option<Str> {
        let table = self.table.lock();
        let lock = table.groups.get(group)?.get(queue)?;
        (!is_over(lock.renewed, now)).then(|| lock.client.clone())
    }

    /// Forgets what has expired, so that groups that went away cost nothing.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut table = self.table.lock();
        let Table { groups, counts, left } = &mut *table;
        groups.retain(|_, held| {
            held.retain(|_, lock| {
                let stays = !is_over(lock.renewed, now);
                if !stays {
                    counts.remove(lock.peer);
                }
                stays
            });
            !held.is_empty()
        });
        left.retain(|_, at| !is_over(*at, now));
    }
}

fn is_over(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) > LIFETIME
}

/// Code 41. Answers with the queues that the client holds now; those of others are just missing.
pub(crate) fn lock_queues(b: &Arc<Broker>, call: Call<LockBatchMq>) -> Result<Answer<NoHeader>, Fault> {
    let wanted = read_batch(&call.body)?;
    let config = b.config();
    let all = config.queue_locks_max as usize;
    let of_peer = match strict::is_for_another_broker(b, &wanted, &call.peer) {
        true => all,
        false => config.queue_locks_per_connection_max as usize,
    };
    let limits = Limits { all, of_peer };
    let taken = b.locks.take(&wanted, call.peer.id, b.env.clock.instant(), limits);
    match strict::quorum(&config, &wanted) {
        None => Ok(locked(taken).into()),
        Some(quorum) => {
            let b = Arc::clone(b);
            Ok(Answer::Later(Box::pin(async move {
                let batch = LockBatch {
                    mq_set: taken,
                    ..wanted
                };
                Ok(locked(strict::agree(&b, batch, quorum).await))
            })))
        }
    }
}

fn locked(lock_ok_mq_set: Vec<MessageQueue>) -> Reply<NoHeader> {
    Reply::ok(NoHeader).with_body(fastjson::to_vec(&LockedQueues { lock_ok_mq_set }))
}

/// Code 42. Clients do not wait for the answer.
pub(crate) fn unlock_queues(b: &Arc<Broker>, call: Call<UnlockBatchMq>) -> Result<Answer<NoHeader>, Fault> {
    let batch = read_batch(&call.body)?;
    b.locks.give_back(&batch);
    if strict::quorum(&b.config(), &batch).is_some() {
        strict::give_back(b, batch);
    }
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

    const NINE: Limits = Limits { all: 9, of_peer: 9 };

    #[expect(clippy::disallowed_methods, reason = "only differences to it matter")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_queue_belongs_to_its_first_client_until_it_is_given_back() {
        let (locks, now) = (Locks::default(), start());
        assert_eq!(ids(locks.take(&batch("a", [0, 1]), 1, now, NINE)), [0, 1]);
        assert_eq!(ids(locks.take(&batch("b", [1, 2]), 1, now, NINE)), [2]);
        locks.give_back(&batch("b", [1]));
        assert!(
            locks.take(&batch("b", [1]), 1, now, NINE).is_empty(),
            "only the owner gives back"
        );
        locks.give_back(&batch("a", [1]));
        assert_eq!(ids(locks.take(&batch("b", [1]), 1, now, NINE)), [1]);
    }

    #[test]
    fn a_lock_that_is_not_renewed_expires() {
        let (locks, now) = (Locks::default(), start());
        locks.take(&batch("a", [0]), 1, now, NINE);
        let renewed = now + LIFETIME;
        assert_eq!(ids(locks.take(&batch("a", [0]), 1, renewed, NINE)), [0]);
        assert!(
            locks
                .take(&batch("b", [0]), 1, renewed + LIFETIME, NINE)
                .is_empty()
        );
        assert!(locks.holds_any("G", renewed + LIFETIME));
        let late = renewed + LIFETIME + Duration::from_millis(1);
        assert!(!locks.holds_any("G", late));
        assert_eq!(ids(locks.take(&batch("b", [0]), 1, late, NINE)), [0]);
    }

    #[test]
    fn at_the_limit_nothing_new_is_locked_until_old_locks_are_swept() {
        let (locks, now) = (Locks::default(), start());
        let three = Limits { all: 3, of_peer: 9 };
        assert_eq!(ids(locks.take(&batch("a", 0..5), 1, now, three)), [0, 1, 2]);
        assert_eq!(
            ids(locks.take(&batch("a", 0..5), 1, now, three)),
            [0, 1, 2],
            "renewing is always possible"
        );
        let late = now + LIFETIME * 2;
        locks.sweep(late);
        assert_eq!(ids(locks.take(&batch("b", 3..5), 1, late, three)), [3, 4]);
    }

    #[test]
    fn a_connection_cannot_lock_what_others_need_and_takes_over_the_locks_of_its_client() {
        let (locks, now) = (Locks::default(), start());
        let limits = Limits { all: 9, of_peer: 3 };
        let take =
            |client: &str, queues: [i32; 4], peer| ids(locks.take(&batch(client, queues), peer, now, limits));
        assert_eq!(take("a", [0, 1, 2, 3], 1), [0, 1, 2]);
        assert_eq!(take("invented", [3, 4, 5, 6], 1), [0; 0]);
        assert_eq!(take("b", [3, 4, 5, 6], 2), [3, 4, 5]);
        assert_eq!(take("a", [0, 1, 2, 3], 1), [0, 1, 2], "its own again");
        // On a new connection, which they count for then.
        assert_eq!(take("a", [0, 1, 2, 6], 3), [0, 1, 2]);
        assert_eq!(take("c", [6, 7, 8, 9], 1), [6, 7, 8]);
        assert_eq!(take("a", [0, 1, 2, 9], 1), [0; 0], "which has its share");
        locks.give_back(&batch("c", 6..9));
        assert_eq!(take("a", [0, 1, 2, 9], 1), [0, 1, 2]);
        locks.sweep(now + LIFETIME * 2);
        let table = locks.table.lock();
        assert!(table.groups.is_empty() && table.counts.all == 0 && table.counts.of_peers.is_empty());
    }

    #[test]
    fn who_left_is_remembered_as_long_as_a_lock_lives() {
        let (locks, now) = (Locks::default(), start());
        locks.leave("G", "a", now);
        assert_eq!(ids(locks.take(&batch("a", [0]), 1, now + LIFETIME, NINE)), [0; 0]);
        let late = now + LIFETIME + Duration::from_millis(1);
        assert_eq!(ids(locks.take(&batch("a", [0]), 1, late, NINE)), [0]);
        locks.sweep(late);
        assert!(locks.table.lock().left.is_empty());
        for n in 0..=LEFT_MAX {
            locks.leave("G", &n.to_string(), now);
        }
        assert_eq!(locks.table.lock().left.len(), LEFT_MAX);
    }
}
