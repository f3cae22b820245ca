// SPDX-License-Identifier: Apache-2.0
//! `lockInStrictMode`: a queue is locked only when more than half of the brokers of this name lock it, so that no other
//! client gets it from a slave that acts for its master. What too few of them lock is given back everywhere: the client is
//! told that it has no lock, and another one must not wait for it until it expires.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::{Channel, Peer};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::debug;
use wire::api::lock::{LockBatchMq, UnlockBatchMq};
use wire::body::queue::{LockBatch, LockedQueues, MessageQueue};
use wire::code::{Request, ResponseCode};
use wire::frame::Frame;
use wire::{Str, fastjson};

use crate::broker::Broker;
use crate::config::Config;
use crate::replication::connect;

/// How long one of the others has for its answer, and all of them together.
const ANSWER_MAX: Duration = Duration::from_secs(1);
const ANSWERS_MAX: Duration = Duration::from_secs(2);

/// Requests to the others at a time that wait for an answer, and as many that give something back.
const OPEN_MAX: usize = 64;

/// The other brokers of this name.
#[derive(Debug)]
pub(super) struct Others {
    channels: Mutex<HashMap<Str, Arc<Channel>>>,
    asking: Semaphore,
    giving_back: Arc<Semaphore>,
}

impl Default for Others {
    fn default() -> Others {
        Others {
            channels: Mutex::default(),
            asking: Semaphore::new(OPEN_MAX),
            giving_back: Arc::new(Semaphore::new(OPEN_MAX)),
        }
    }
}

/// How many brokers have to lock the queues of this request, if it is not only this one.
pub(super) fn quorum(config: &Config, batch: &LockBatch) -> Option<usize> {
    let quorum = config.total_replicas as usize / 2 + 1;
    (config.lock_in_strict_mode && !batch.only_this_broker && quorum > 1).then_some(quorum)
}

/// Whether another broker of this name asks: all its clients lock through one connection.
pub(super) fn is_for_another_broker(b: &Broker, batch: &LockBatch, peer: &Peer) -> bool {
    if !b.config().lock_in_strict_mode || !batch.only_this_broker {
        return false;
    }
    let from = peer.addr.ip().to_string();
    let is_it = |address: &Str| address.rsplit_once(':').is_some_and(|(host, _)| host == from);
    b.peers.others(b).iter().any(|(_, address)| is_it(address))
}

/// Those of the queues, all of which are locked here, that enough brokers lock.
pub(super) async fn agree(b: &Arc<Broker>, mut batch: LockBatch, quorum: usize) -> Vec<MessageQueue> {
    if batch.mq_set.is_empty() {
        return Vec::new();
    }
    batch.only_this_broker = true;
    let deadline = Instant::now() + ANSWERS_MAX;
    let mut answers = JoinSet::new();
    let body = Bytes::from(fastjson::to_vec(&batch));
    for address in others(b) {
        let (b, body) = (Arc::clone(b), body.clone());
        answers.spawn(async move { ask_for_locks(&b, &address, body).await });
    }
    let mut votes: HashMap<MessageQueue, usize> =
        batch.mq_set.iter().map(|queue| (queue.clone(), 1)).collect();
    while let Ok(Some(answer)) = timeout_at(deadline, answers.join_next()).await {
        // One that names a queue twice does not vote twice.
        for queue in answer.into_iter().flatten().collect::<BTreeSet<_>>() {
            if let Some(count) = votes.get_mut(&queue) {
                *count += 1;
            }
        }
    }
    let is_agreed = |queue: &MessageQueue| votes.get(queue).is_some_and(|count| *count >= quorum);
    let (agreed, failed): (Vec<_>, Vec<_>) = batch.mq_set.iter().cloned().partition(is_agreed);
    if !failed.is_empty() {
        debug!(group = %batch.consumer_group, queues = failed.len(), "too few brokers lock them");
        batch.mq_set = failed;
        b.locks.give_back(&batch);
        give_back(b, batch);
    }
    agreed
}

/// Gives queues back to the others. Nobody waits for it: where too much is given back already, locks end with their time.
pub(super) fn give_back(b: &Arc<Broker>, mut batch: LockBatch) {
    batch.only_this_broker = true;
    let body = Bytes::from(fastjson::to_vec(&batch));
    for address in others(b) {
        let Ok(permit) = Arc::clone(&b.locks.others.giving_back).try_acquire_owned() else {
            debug!(group = %batch.consumer_group, %address, "not given back: too much is at the same time");
            continue;
        };
        let (b, body) = (Arc::clone(b), body.clone());
        tokio::spawn(async move {
            let _permit = permit;
            call(&b, &address, &UnlockBatchMq {}, body).await
        });
    }
}

/// One address for each of them.
fn others(b: &Broker) -> Vec<Str> {
    let mut ids = BTreeSet::new();
    let all = b.peers.others(b).into_iter();
    all.filter(|(id, _)| ids.insert(*id)).map(|(_, at)| at).collect()
}

async fn ask_for_locks(b: &Broker, address: &Str, body: Bytes) -> Vec<MessageQueue> {
    // An error: it ends with the broker.
    let _permit = b.locks.others.asking.acquire().await;
    let reply = call(b, address, &LockBatchMq {}, body).await;
    let locked = reply.and_then(|reply| fastjson::from_slice::<LockedQueues>(&reply.body).ok());
    locked.map(|locked| locked.lock_ok_mq_set).unwrap_or_default()
}

async fn call<Q: Request + Serialize>(b: &Broker, address: &Str, ask: &Q, body: Bytes) -> Option<Frame> {
    let asked = async {
        let known = b.locks.others.channels.lock().get(address).cloned();
        let channel = match known.filter(|channel| channel.is_open()) {
            Some(channel) => channel,
            None => {
                let channel = connect(b, address).await.map_err(|error| error.to_string())?;
                let channel = Arc::new(channel);
                let mut open = b.locks.others.channels.lock();
                open.retain(|_, channel| channel.is_open());
                open.insert(address.clone(), Arc::clone(&channel));
                channel
            }
        };
        let frame = Frame::request(0, ask).with_body(body);
        let reply = channel.call(frame, ANSWER_MAX).await;
        reply.map_err(|error| error.to_string())
    };
    let reply = match tokio::time::timeout(ANSWER_MAX, asked).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => {
            debug!(%address, error, "locks of another broker are not known");
            return None;
        }
        Err(_) => return None,
    };
    (reply.code == ResponseCode::SUCCESS.0).then_some(reply)
}
