// SPDX-License-Identifier: Apache-2.0
//! Replication as users of the reference know it: one master, slaves of the same name that copy its log byte by byte over
//! the replication port, and tables that follow by requests.
//!
//! | what | where |
//! |---|---|
//! | who has how much, and what senders and readers may be told because of that | `replication/quorum.rs`, pure |
//! | the replication port, and a master's side of one link | `replication/feed.rs` |
//! | a slave's side | `replication/follow.rs` |
//! | who is at the other end of a link | `replication/hello.rs` |
//! | topics, groups, offsets and how far delays are | `replication/tables.rs` |
//! | what a slave does not do | `replication/slave.rs` |
//! | what is due on a slave that acts for its master leaves it | `escape.rs`, `transaction/away.rs`; `duty.rs` begins and ends it |
//! | how long ago the log ended where a slave is, and when that is worth a line | `replication/lag.rs`, pure |
//! | how many bytes a slave is sent in a second | `replication/rate.rs`, pure |
//! | what operators ask (907) | `replication/status.rs` |
//! | whether a slave acts for its master | `replication/members.rs` |
//! | what comes before a broker is in service | `replication/online.rs` |
//! | who tells whom where the master is (906) | `replication/exchange.rs` |

mod exchange;
mod feed;
mod follow;
mod hello;
mod lag;
mod members;
mod online;
mod quorum;
mod rate;
mod slave;
mod status;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use net::{Copies, Listening};
use parking_lot::Mutex;
use store::{LogPos, Store};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use wire::Str;

pub(crate) use self::exchange::exchange;
pub(crate) use self::hello::hello;
use self::lag::{Ends, Laggards, News};
use self::online::Service;
pub(crate) use self::online::refusal_before_service;
use self::quorum::{Promise, Quorum, Slave, Wanted};
pub(crate) use self::slave::{NO_POPS, refusal};
pub(crate) use self::status::{ha_status, set_master_flush_offset};
pub(crate) use self::tables::{FetchError, connect};
use crate::broker::Broker;
use crate::config::{BrokerRole, Config};

/// Most slaves that can be told apart.
pub(crate) const SLAVES_MAX: usize = 64;
/// How often the time is told to the quorum.
const TICK: Duration = Duration::from_millis(100);
/// How long a master that stops goes on for slaves that lack something, and how often it looks.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
const HAND_OVER_TICK: Duration = Duration::from_millis(10);

/// What a broker knows of its slaves, or of its master.
#[derive(Debug)]
pub(crate) struct Replication {
    quorum: Mutex<Quorum>,
    /// How far so many slaves have the log, and one more than the index says: read by every answer that waits.
    acked_by: [AtomicI64; SLAVES_MAX],
    links: AtomicU64,
    /// As the name servers say, or the master itself.
    master: watch::Sender<Master>,
    /// Whether this broker is in service.
    service: Service,
    /// Moves when a slave has opened a link.
    joined: watch::Sender<()>,
    /// Whether a name server was asked where it is.
    asked: watch::Sender<bool>,
    follower: status::Follower,
    hellos: hello::Hellos,
    turned_away: feed::TurnedAway,
    begun: Instant,
    ends: Mutex<Ends>,
}

/// How far a slave is behind.
#[derive(Debug)]
pub(crate) struct Lag {
    pub(crate) slave: Slave,
    pub(crate) bytes: i64,
    pub(crate) ms: i64,
}

/// Where the master is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Master {
    /// For requests, `host:port`.
    pub(crate) address: Option<Str>,
    /// Its replication port, `host:port`.
    pub(crate) replication: Option<Str>,
    /// Its tables count: it is not one that comes back, and has yet to learn what its slaves know.
    pub(crate) in_service: bool,
}

impl Replication {
    pub(crate) fn of(config: &Config, now: Instant) -> Replication {
        Replication {
            quorum: Mutex::new(Quorum::new(promise_of(config))),
            acked_by: [const { AtomicI64::new(0) }; SLAVES_MAX],
            links: AtomicU64::new(1),
            master: watch::Sender::new(Master::default()),
            service: Service::of(config),
            joined: watch::Sender::default(),
            asked: watch::Sender::new(false),
            follower: status::Follower::default(),
            hellos: hello::Hellos::default(),
            turned_away: feed::TurnedAway::default(),
            begun: now,
            ends: Mutex::default(),
        }
    }

    /// A name server says where the master is. What it leaves out stays as it is: one that has just started knows nobody.
    pub(crate) fn found(&self, said: Master) {
        self.master.send_if_modified(|master| {
            let now = Master {
                in_service: master.in_service || said.address.as_ref().is_some_and(|a| !a.is_empty()),
                address: said.address.filter(|a| !a.is_empty()).or(master.address.take()),
                replication: said
                    .replication
                    .filter(|a| !a.is_empty())
                    .or(master.replication.take()),
            };
            let is_new = *master != now;
            *master = now;
            is_new
        });
        self.asked.send_replace(true);
    }

    fn now_ms(&self, b: &Broker) -> i64 {
        let passed = b.env.clock.instant().saturating_duration_since(self.begun);
        i64::try_from(passed.as_millis()).unwrap_or(i64::MAX)
    }

    /// How far the slaves are behind.
    pub(crate) fn lags(&self, b: &Broker) -> Vec<Lag> {
        let (now_ms, end) = (self.now_ms(b), b.store.written().0);
        let slaves: Vec<Slave> = self.quorum.lock().slaves().to_vec();
        let ends = self.ends.lock();
        let lag = |slave: Slave| Lag {
            slave,
            bytes: (end - slave.acked).max(0),
            ms: ends.lag_ms(slave.acked, now_ms, end),
        };
        slaves.into_iter().map(lag).collect()
    }

    /// Whether a slave is connected to its master.
    pub(crate) fn is_linked(&self) -> bool {
        self.follower.is_linked()
    }

    /// Whether a slave is connected to its master, and that is in service as far as anybody knows.
    pub(crate) fn has_master(&self) -> bool {
        let master = self.master.borrow();
        self.is_linked() && (master.in_service || master.address.is_none())
    }

    /// Whether this broker is registered with name servers, or is to be.
    pub(crate) fn is_in_service(&self) -> bool {
        self.service.is_on()
    }

    /// Returns when this broker is in service.
    pub(crate) async fn in_service(&self) {
        self.service.on().await;
    }

    /// The settings have changed.
    pub(crate) fn set_promise(&self, store: &Store, config: &Config) {
        self.note(store, |quorum| quorum.set_promise(promise_of(config)));
    }

    /// What the answer to a sender waits for whose message was just stored.
    pub(crate) fn copies(&self, store: &Store, now: tokio::time::Instant) -> Copies {
        let quorum = self.quorum.lock();
        match quorum.wanted(store.written().0) {
            Wanted::Slaves(0) => Copies::None,
            Wanted::Slaves(slaves) => {
                let patience = quorum.promise().timeout_ms.unsigned_abs();
                Copies::Until(slaves, now + Duration::from_millis(patience))
            }
            Wanted::Missing | Wanted::Refused => Copies::Missing,
        }
    }

    /// Whether a message must not even be stored, because too few slaves are in step.
    pub(crate) fn is_refused(&self, store: &Store) -> bool {
        self.quorum.lock().wanted(store.written().0) == Wanted::Refused
    }

    /// Whether so many slaves have the log up to a position.
    pub(crate) fn has_copies(&self, slaves: usize, pos: i64) -> bool {
        let Some(place) = slaves.checked_sub(1) else {
            return true;
        };
        self.acked_by
            .get(place)
            .is_some_and(|acked| acked.load(Ordering::Acquire) >= pos)
    }

    fn next_link(&self) -> u64 {
        self.links.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes up to where a slave was sent the log. Nothing follows from that alone.
    fn sent(&self, link: u64, upto: i64) {
        self.quorum.lock().sent(link, upto);
    }

    /// Does something to what is known, and tells those that wait what follows from it, if anything does.
    fn note<T>(&self, store: &Store, change: impl FnOnce(&mut Quorum) -> T) -> T {
        let mut quorum = self.quorum.lock();
        let done = change(&mut quorum);
        let mut is_news = false;
        for (place, acked) in self.acked_by.iter().enumerate().take(quorum.slaves().len() + 1) {
            let now = quorum.acked_by(place + 1);
            is_news |= acked.swap(now, Ordering::AcqRel) != now;
        }
        let promise = quorum.promise();
        let was_held_back = store.visible() != Store::UNHINDERED;
        if promise.replicas > 1 || promise.all || was_held_back {
            let end = store.written().0;
            quorum.hold(end, store.max_pos().0);
            let visible = quorum.visible(end).map_or(Store::UNHINDERED, LogPos);
            if is_news || visible != store.visible() {
                // Under the lock: a later change must not be overtaken by an earlier one.
                store.show(visible);
            }
        }
        done
    }
}

/// The promise of these settings.
fn promise_of(config: &Config) -> Promise {
    let is_sync = config.broker_role == BrokerRole::SyncMaster;
    let replicas = match (is_sync, config.in_sync_replicas) {
        (false, _) => 1,
        (true, 0) => 2,
        (true, said) => said as usize,
    };
    Promise {
        replicas,
        at_least: (is_sync && config.enable_auto_in_sync_replicas)
            .then_some(config.min_in_sync_replicas as usize),
        all: is_sync && config.all_ack_in_sync_state_set,
        gap_max: i64::try_from(config.ha_max_gap_not_in_sync).unwrap_or(i64::MAX),
        timeout_ms: i64::from(config.slave_timeout),
    }
}

/// Serves slaves until `stop`.
pub(crate) fn serve(b: &Arc<Broker>, port: Listening, tasks: &TaskTracker, stop: &CancellationToken) {
    tasks.spawn(feed::keep_feeding(Arc::clone(b), port, stop.clone()));
}

/// Returns when the slaves have everything, or when they had time enough. Nothing may be stored any more.
pub(crate) async fn hand_over(b: &Broker) {
    let end = b.store.written().0;
    let lacks = || {
        let quorum = b.replication.quorum.lock();
        let lacks = quorum.slaves().iter().map(|slave| end - slave.acked);
        lacks.max().unwrap_or(0)
    };
    let all = async {
        let mut tick = tokio::time::interval(HAND_OVER_TICK);
        while lacks() > 0 {
            tick.tick().await;
        }
    };
    if tokio::time::timeout(HAND_OVER_MAX, all).await.is_err() {
        warn!(
            end,
            bytes = lacks(),
            "stopped before every slave has the whole log; do not make one that lacks something the master"
        );
    }
}

/// Starts what else a broker does for its slaves, or as one.
pub(crate) fn start(b: &Arc<Broker>, tasks: &TaskTracker, stop: &CancellationToken) {
    if !b.replication.is_in_service() {
        tasks.spawn(online::come_online(Arc::clone(b), stop.clone()));
    }
    let found = b.store.written().0;
    b.replication.service.began_at(found);
    if b.is_slave() {
        tasks.spawn(follow::keep_following(Arc::clone(b), stop.clone()));
        tasks.spawn(tables::keep_fetching(Arc::clone(b), stop.clone()));
        if b.config().enable_slave_acting_master {
            tasks.spawn(members::keep_duty(Arc::clone(b), stop.clone()));
        }
    } else {
        b.replication.note(&b.store, |quorum| quorum.begin(found));
        tasks.spawn(keep_time(Arc::clone(b), stop.clone()));
    }
}

/// Lets what has waited long enough be seen, and says which slaves lag.
async fn keep_time(b: Arc<Broker>, stop: CancellationToken) {
    let mut laggards = Laggards::default();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now_ms = b.replication.now_ms(&b);
        let end = b.store.written().0;
        b.replication.ends.lock().tick(now_ms, end);
        b.replication.note(&b.store, |quorum| quorum.tick(now_ms, end));
        let lags = b.replication.lags(&b);
        laggards.retain(|link| lags.iter().any(|lag| lag.slave.link == link));
        for Lag { slave, bytes, ms } in lags {
            match laggards.news(slave.link, ms) {
                Some(News::Lags) => warn!(slave = %slave.addr, bytes, ms, "a slave lags"),
                Some(News::CaughtUp) => info!(slave = %slave.addr, "a slave has caught up"),
                None => {}
            }
        }
    }
}
