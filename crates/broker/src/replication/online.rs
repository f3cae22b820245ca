// SPDX-License-Identifier: Apache-2.0
//! What comes before a broker is in service where slaves act for their master (`totalReplicas` above 1): nobody is told of
//! it by name servers until it has found the others.
//!
//! A slave that comes asks the master where its log is (906), and waits until it follows. A master that comes back tells
//! each slave where its log is (906), waits until that follows, and when all do takes back what they know better: how far
//! groups have read (43), and what was delivered (45, 60). Until then its own tables are those of before it went, and it
//! gives them to nobody ([`refusal_before_service`]). A slave that acts ends its deliveries before it answers 906, so
//! that what is taken back is where they ended. A slave that comes while there is no master takes back the same from the
//! slave that acted until then.
//!
//! A name server that has just started knows nobody: who misses some of the others waits a while for them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use net::{CallError, Channel, Fault};
use parking_lot::Mutex;
use store::TimerMark;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wire::Str;
use wire::api::ha::ExchangeBrokerHaInfo;
use wire::api::offset::{GetAllConsumerOffset, GetAllDelayOffset};
use wire::body::stats::{DelayOffsetTable, OffsetTable};
use wire::code::{Code, ResponseCode};
use wire::ext::ExtError;
use wire::frame::Frame;

use super::Master;
use super::tables::{self, FetchError};
use crate::broker::Broker;
use crate::config::Config;
use crate::pull::MASTER_ID;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// How long another broker has to answer 906: longer than a slave looks at who says so and ends its deliveries.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// So many signs of life after the first answer of a name server those that are alive have registered there again: they
/// try at least each 5 s, and a sign comes each second if nobody says otherwise.
const BEATS: u32 = 6;
/// The same for a slave that misses its master; less, so that a master that starts at the same time sees it.
const BEATS_OF_SLAVE: u32 = 2;
/// How long a link may take.
pub(super) const LINK_MAX: Duration = Duration::from_secs(10);
/// Most of those that it looks at at a time.
const LOOKS_MAX: usize = 8;
/// A line about those that are not believed at most so often.
const REFUSAL_SAID_EVERY: Duration = Duration::from_secs(10);

/// Whether this broker is in service, and what it told or was told before.
#[derive(Debug)]
pub(super) struct Service {
    on: watch::Sender<bool>,
    /// Where the log ended at the start.
    pub(super) began: AtomicI64,
    /// A master said that it comes back; until then it may.
    pub(super) awaited: Mutex<Option<Instant>>,
    /// For those that say that they are the master.
    pub(super) looks: Semaphore,
    /// When it was logged last that somebody is not believed.
    refused: Mutex<Option<Instant>>,
}

impl Service {
    pub(super) fn of(config: &Config) -> Service {
        Service {
            on: watch::Sender::new(!config.starts_apart()),
            began: AtomicI64::new(0),
            awaited: Mutex::default(),
            looks: Semaphore::new(LOOKS_MAX),
            refused: Mutex::default(),
        }
    }

    pub(super) fn began_at(&self, end: i64) {
        self.began.store(end, Ordering::Relaxed);
    }

    pub(super) fn is_on(&self) -> bool {
        *self.on.borrow()
    }

    pub(super) async fn on(&self) {
        // An error: it ends with the broker.
        drop(self.on.subscribe().wait_for(|is_on| *is_on).await);
    }

    /// Whether a slave lets a master that comes back have its way.
    pub(super) fn awaits_master(&self, now: Instant) -> bool {
        self.awaited.lock().is_some_and(|until| now < until)
    }

    /// Whether it is worth a line that somebody is not believed.
    pub(super) fn is_refusal_news(&self, now: Instant) -> bool {
        let mut said = self.refused.lock();
        let is_news = said.is_none_or(|said| now.saturating_duration_since(said) >= REFUSAL_SAID_EVERY);
        if is_news {
            *said = Some(now);
        }
        is_news
    }
}

/// Why a broker is not in service yet.
#[derive(Debug, Error)]
enum NotYet {
    #[error("no name server says which brokers of this name are alive")]
    NoNameServer,
    #[error("broker {id} at {address} cannot be asked: {error}")]
    Unreached { id: i64, address: Str, error: AskError },
    #[error(
        "slave {id} at {address} does not follow{why}; stop it, or set skipPreOnline=true to be in service without it"
    )]
    NoLink { id: i64, address: Str, why: String },
    #[error("what broker {id} at {address} knows cannot be taken back: {error}")]
    NotTaken {
        id: i64,
        address: Str,
        error: FetchError,
    },
    #[error("the link to the master is not there")]
    NotFollowing,
}

/// Why 906 brings nothing.
#[derive(Debug, Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Connect(#[from] FetchError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{code}: {remark}")]
    Refused { code: i32, remark: Str },
    #[error("the answer makes no sense: {0}")]
    Reply(#[from] ExtError),
}

/// Does what comes before, again until it is done.
pub(super) async fn come_online(b: Arc<Broker>, stop: CancellationToken) {
    let mut begun = None;
    let mut said = String::new();
    loop {
        let ready = tokio::select! {
            () = stop.cancelled() => return,
            ready = prepare(&b, &mut begun) => ready,
        };
        let Err(error) = ready else { break };
        let now = error.to_string();
        if now != said {
            warn!(broker = %b.address, %error, "not in service yet; trying again");
            said = now;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => b.peers.ask(),
        }
    }
    info!("in service");
    // The duty of a slave depends on what name servers say then.
    b.duty.set(!b.is_slave());
    b.replication.service.on.send_replace(true);
}

/// One attempt. `begun` is when a name server answered first.
async fn prepare(b: &Arc<Broker>, begun: &mut Option<tokio::time::Instant>) -> Result<(), NotYet> {
    if !b.peers.are_any() {
        return Ok(());
    }
    b.peers.all_tried().await;
    if b.peers.views(b).is_empty() {
        return Err(NotYet::NoNameServer);
    }
    let begun = *begun.get_or_insert_with(tokio::time::Instant::now);
    see_others(b, begun).await;
    let others = b.peers.others(b);
    if b.is_slave() {
        // The smallest id first.
        return match others.into_iter().next() {
            Some((MASTER_ID, address)) => follow(b, MASTER_ID, address).await,
            Some((id, address)) => take_back(b, id, &address).await,
            None => Ok(()),
        };
    }
    for (id, address) in &others {
        lead(b, *id, address).await?;
    }
    // Only now: until the last of them follows, readers commit on the first, and after a failed attempt it may have acted.
    for (id, address) in &others {
        take_back(b, *id, address).await?;
    }
    Ok(())
}

/// Returns when all of the others have been seen that there should be, or when those that are missing had time enough.
async fn see_others(b: &Broker, begun: tokio::time::Instant) {
    let (total, beat) = {
        let config = b.config();
        let beat = Duration::from_millis(u64::from(config.broker_heartbeat_interval));
        (config.total_replicas as usize, beat)
    };
    let beats = if b.is_slave() { BEATS_OF_SLAVE } else { BEATS };
    let is_enough = || {
        let ids: BTreeSet<i64> = b.peers.others(b).into_iter().map(|(id, _)| id).collect();
        has_seen_enough(&ids, total, b.is_slave())
    };
    if is_enough() {
        return;
    }
    let mut heard = b.peers.heard();
    // An error: they are taken for gone, or it ends with the broker.
    drop(timeout_at(begun + beat * beats, heard.wait_for(|()| is_enough())).await);
}

/// Whether nobody is missing whom it is worth waiting for.
fn has_seen_enough(others: &BTreeSet<i64>, total: usize, is_slave: bool) -> bool {
    others.len() + 1 >= total || (is_slave && others.contains(&MASTER_ID))
}

/// A slave follows the master that is there.
async fn follow(b: &Arc<Broker>, id: i64, address: Str) -> Result<(), NotYet> {
    let answer = ask(b, &address, ExchangeBrokerHaInfo::default()).await;
    let answer = answer.map_err(|error| NotYet::Unreached { id, address, error })?;
    let Some(replication) = answer.master_ha_address else {
        return Ok(());
    };
    b.replication.found(Master {
        address: answer.master_address,
        replication: Some(replication),
        in_service: true,
    });
    let linked = async {
        let mut links = b.replication.follower.links();
        // An error: it ends with the broker.
        drop(links.wait_for(|is_linked| *is_linked).await);
    };
    timeout(LINK_MAX, linked).await.map_err(|_| NotYet::NotFollowing)
}

/// A master tells a slave where it is, and waits until that follows.
async fn lead(b: &Arc<Broker>, id: i64, address: &Str) -> Result<(), NotYet> {
    let told = ExchangeBrokerHaInfo {
        master_ha_address: Some(b.config().replication_address()),
        master_flush_offset: Some(b.replication.service.began.load(Ordering::Relaxed)),
        master_address: Some(b.address.clone()),
    };
    let told = ask(b, address, told).await;
    told.map_err(|error| NotYet::Unreached {
        id,
        address: address.clone(),
        error,
    })?;
    let mut joined = b.replication.joined.subscribe();
    let hosts = hosts_of(address).await;
    let follows = joined.wait_for(|()| {
        let quorum = b.replication.quorum.lock();
        let is_it = |slave: &super::Slave| match slave.id {
            Some(said) => said == id,
            // One of the reference does not say who it is.
            None => hosts.contains(&slave.addr.ip()),
        };
        quorum.slaves().iter().any(is_it)
    });
    if timeout(LINK_MAX, follows).await.is_err() {
        let why = b.replication.turned_away.why(&hosts);
        return Err(NotYet::NoLink {
            id,
            address: address.clone(),
            why: why.map(|why| format!(" ({why})")).unwrap_or_default(),
        });
    }
    Ok(())
}

/// Takes back what a slave knows better.
async fn take_back(b: &Arc<Broker>, id: i64, address: &Str) -> Result<(), NotYet> {
    let taken = async {
        let channel = tables::connect(b, address).await?;
        let mut bytes = 0;
        let delays: DelayOffsetTable = tables::whole(&channel, &GetAllDelayOffset, &mut bytes).await?;
        let offsets: OffsetTable = tables::whole(&channel, &GetAllConsumerOffset, &mut bytes).await?;
        let timers = tables::timer_mark(&channel, &mut bytes).await?;
        tables::blocking(b, move |b| keep(b, delays, offsets, timers)).await
    };
    match taken.await {
        Ok(count) => {
            info!(slave = id, %address, offsets = count, "has back what this slave knows");
            Ok(())
        }
        Err(error) => Err(NotYet::NotTaken {
            id,
            address: address.clone(),
            error,
        }),
    }
}

/// Keeps what a slave said, where it is further: whatever is further has been consumed, or delivered. How many offsets
/// that were. Blocks.
fn keep(
    b: &Broker,
    delays: DelayOffsetTable,
    offsets: OffsetTable,
    timers: Option<TimerMark>,
) -> Result<usize, FetchError> {
    let count = b.offsets.take_back(offsets, |group, topic, queue| {
        let is_known = b.topics.get(topic).is_some() && is_group(b, group);
        is_known.then(|| {
            let queue = u32::try_from(queue)
                .ok()
                .and_then(|id| b.store.find_queue(topic, id));
            queue.map_or(0, |queue| queue.max())
        })
    });
    b.keep_offsets()?;
    let own = b.delays.offsets();
    let further = delays
        .offset_table
        .into_iter()
        .filter(|(level, offset)| own.get(level).is_none_or(|own| own < offset));
    let further = DelayOffsetTable {
        data_version: b.delays.version().newest(delays.data_version),
        offset_table: further.collect(),
    };
    b.delays.follow(&further, b.store.written());
    if let Some(mark) = timers {
        b.timing.take_back(b, mark).map_err(FetchError::Timers)?;
    }
    Ok(count)
}

/// Whether a group exists, or would at the first sign of its consumers: it may have come into being on the slave that acted.
fn is_group(b: &Broker, group: &str) -> bool {
    b.groups.find(group).is_some() || b.groups.may_come_into_being(&b.config(), group)
}

pub(super) async fn hosts_of(address: &Str) -> Vec<IpAddr> {
    let found = tokio::net::lookup_host(address.as_str()).await;
    found.map_or_else(|_| Vec::new(), |found| found.map(|at| at.ip()).collect())
}

async fn ask(
    b: &Broker,
    address: &Str,
    said: ExchangeBrokerHaInfo,
) -> Result<ExchangeBrokerHaInfo, AskError> {
    let channel = tables::connect(b, address).await?;
    ask_on(&channel, said).await
}

pub(super) async fn ask_on(
    channel: &Channel,
    said: ExchangeBrokerHaInfo,
) -> Result<ExchangeBrokerHaInfo, AskError> {
    let reply = channel.call(Frame::request(0, &said), ANSWER_MAX).await?;
    if reply.code != ResponseCode::SUCCESS.0 {
        return Err(AskError::Refused {
            code: reply.code,
            remark: reply.remark.unwrap_or_default(),
        });
    }
    Ok(reply.ext.read()?)
}

/// What a master does not tell before it is in service: it is older than what its slaves know.
pub(crate) fn refusal_before_service(b: &Broker, frame: &Frame) -> Option<Fault> {
    // The code first: this is asked of every request.
    let is_about_tables = matches!(
        Code(frame.code),
        Code::GET_ALL_CONSUMER_OFFSET | Code::GET_ALL_DELAY_OFFSET | Code::GET_TIMER_CHECK_POINT
    );
    if !is_about_tables || b.is_slave() || b.replication.is_in_service() {
        return None;
    }
    let remark = "this master is not in service yet: it has to learn what its slaves know";
    Some(Fault::new(ResponseCode::SYSTEM_ERROR, remark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_waits_for_all_others_and_a_slave_for_its_master() {
        let ids = |ids: &[i64]| ids.iter().copied().collect::<BTreeSet<_>>();
        assert!(!has_seen_enough(&ids(&[]), 2, false));
        assert!(has_seen_enough(&ids(&[1]), 2, false));
        assert!(!has_seen_enough(&ids(&[1]), 3, false));
        assert!(!has_seen_enough(&ids(&[2]), 3, true));
        assert!(has_seen_enough(&ids(&[0]), 3, true));
        assert!(has_seen_enough(&ids(&[1, 2]), 3, false));
    }

    #[test]
    fn those_that_are_not_believed_do_not_fill_the_log() {
        let service = Service::of(&Config::default());
        let now = store::Env::real().clock.instant();
        assert!(service.is_refusal_news(now));
        assert!(!service.is_refusal_news(now + REFUSAL_SAID_EVERY / 2));
        assert!(service.is_refusal_news(now + REFUSAL_SAID_EVERY));
    }
}
