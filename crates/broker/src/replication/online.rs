// SPDX-License-Identifier: Apache-2.0
//! What comes before a broker is in service where slaves act for their master (`totalReplicas` above 1): nobody is told of
//! it by name servers until it has found the others.
//!
//! A slave that comes asks the master where its log is (906), and waits until it follows. A master that comes back tells
//! each slave where its log is (906), waits until that follows, and takes back what the slave knows better: how far groups
//! have read (43), and what was delivered (45, 60). Until then its own tables are those of before it went, and it
//! gives them to nobody ([`refusal_before_service`]). A slave that acts ends its deliveries before it answers 906, so
//! that what is taken back is where they ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use net::{Answer, Call, CallError, Fault, Reply};
use parking_lot::Mutex;
use store::TimerMark;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wire::Str;
use wire::api::ha::ExchangeBrokerHaInfo;
use wire::api::offset::{GetAllConsumerOffset, GetAllDelayOffset};
use wire::body::stats::{DelayOffsetTable, OffsetTable};
use wire::code::{Code, ResponseCode};
use wire::ext::ExtError;
use wire::frame::Frame;

use super::tables::{self, FetchError};
use super::{Master, Replication};
use crate::broker::Broker;
use crate::config::{Config, is_host_port};
use crate::pull::MASTER_ID;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// How long another broker has to answer 906.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// How long a link may take.
const LINK_MAX: Duration = Duration::from_secs(10);
/// How long a slave does not act after a master said that it comes back, unless there is a link then.
const AWAITED_MAX: Duration = Duration::from_secs(3);
/// How long the deliveries of a slave may take to end; less than who waits for the answer does.
const DUTY_END_MAX: Duration = Duration::from_secs(2);

/// Whether this broker is in service, and what it told or was told before.
#[derive(Debug)]
pub(super) struct Service {
    on: watch::Sender<bool>,
    /// Where the log ended at the start.
    began: AtomicI64,
    /// A master said that it comes back; until then it may.
    awaited: Mutex<Option<Instant>>,
}

impl Service {
    pub(super) fn of(config: &Config) -> Service {
        Service {
            on: watch::Sender::new(!config.starts_apart()),
            began: AtomicI64::new(0),
            awaited: Mutex::default(),
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
}

/// Why a broker is not in service yet.
#[derive(Debug, Error)]
enum NotYet {
    #[error("no name server says which brokers of this name are alive")]
    NoNameServer,
    #[error("broker {id} at {address} does not answer: {error}")]
    Unreached { id: i64, address: Str, error: AskError },
    #[error(
        "slave {id} at {address} does not follow; stop it, or set skipPreOnline=true to be in service without it"
    )]
    NoLink { id: i64, address: Str },
    #[error("what slave {id} at {address} knows cannot be taken back: {error}")]
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
enum AskError {
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
    let mut done = BTreeSet::new();
    let mut said = String::new();
    loop {
        let ready = tokio::select! {
            () = stop.cancelled() => return,
            ready = prepare(&b, &mut done) => ready,
        };
        let Err(error) = ready else { break };
        let now = error.to_string();
        if now != said {
            warn!(%error, "not in service yet; trying again");
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

/// One attempt. `done` are the slaves from which everything was taken back.
async fn prepare(b: &Arc<Broker>, done: &mut BTreeSet<Str>) -> Result<(), NotYet> {
    if !b.peers.are_any() {
        return Ok(());
    }
    b.peers.all_tried().await;
    if b.peers.views(b).is_empty() {
        return Err(NotYet::NoNameServer);
    }
    let others = b.peers.others(b);
    if b.is_slave() {
        return match others.into_iter().find(|(id, _)| *id == MASTER_ID) {
            Some((id, address)) => follow(b, id, address).await,
            None => Ok(()),
        };
    }
    for (id, address) in others {
        if !done.contains(&address) {
            take_back(b, id, &address).await?;
            done.insert(address);
        }
    }
    Ok(())
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

/// A master tells a slave where it is, and takes back what that knows better.
async fn take_back(b: &Arc<Broker>, id: i64, address: &Str) -> Result<(), NotYet> {
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
        let address = address.clone();
        return Err(NotYet::NoLink { id, address });
    }
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
    let count = b.offsets.take_back(offsets);
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

async fn hosts_of(address: &Str) -> Vec<std::net::IpAddr> {
    let found = tokio::net::lookup_host(address.as_str()).await;
    found.map_or_else(|_| Vec::new(), |found| found.map(|at| at.ip()).collect())
}

async fn ask(
    b: &Broker,
    address: &Str,
    said: ExchangeBrokerHaInfo,
) -> Result<ExchangeBrokerHaInfo, AskError> {
    let channel = tables::connect(b, address).await?;
    let reply = channel.call(Frame::request(0, &said), ANSWER_MAX).await?;
    if reply.code != ResponseCode::SUCCESS.0 {
        return Err(AskError::Refused {
            code: reply.code,
            remark: reply.remark.unwrap_or_default(),
        });
    }
    Ok(reply.ext.read()?)
}

/// Code 906. With an address: a master comes back, and says so to this slave. Without: somebody asks where the master is.
pub(crate) fn exchange(
    b: &Arc<Broker>,
    call: Call<ExchangeBrokerHaInfo>,
) -> Result<Answer<ExchangeBrokerHaInfo>, Fault> {
    let said = call.header;
    let Some(replication) = said.master_ha_address.filter(|at| !at.is_empty()) else {
        let answer = match b.is_slave() {
            true => ExchangeBrokerHaInfo::default(),
            false => ExchangeBrokerHaInfo {
                master_ha_address: Some(b.config().replication_address()),
                master_flush_offset: Some(b.replication.service.began.load(Ordering::Relaxed)),
                master_address: Some(b.address.clone()),
            },
        };
        return Ok(Reply::ok(answer).into());
    };
    let nothing = || Reply::ok(ExchangeBrokerHaInfo::default());
    let address = said.master_address.filter(|at| is_host_port(at));
    if !b.is_slave() || !b.config().enable_slave_acting_master || !is_host_port(&replication) {
        return Ok(nothing().into());
    }
    let told = Master {
        address,
        replication: Some(replication),
        in_service: false,
    };
    if !b.replication.awaits(told, b.env.clock.instant()) {
        warn!(
            from = %call.peer.addr,
            "somebody says that it is the master, while this slave follows one"
        );
        return Ok(nothing().into());
    }
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        b.duty.set(false);
        // Otherwise something is delivered twice, which is better than a master that does not come back.
        drop(timeout(DUTY_END_MAX, b.duty.ended()).await);
        Ok(nothing())
    })))
}

impl Replication {
    /// A master comes back. `false`: there is another one, which this slave follows.
    fn awaits(&self, told: Master, now: Instant) -> bool {
        let is_same = self.master.borrow().replication == told.replication;
        if self.is_linked() && !is_same {
            return false;
        }
        *self.service.awaited.lock() = Some(now + AWAITED_MAX);
        self.master.send_replace(told);
        true
    }
}

/// What a master does not tell before it is in service: it is older than what its slaves know.
pub(crate) fn refusal_before_service(b: &Broker, frame: &Frame) -> Option<Fault> {
    if b.replication.is_in_service() || b.is_slave() {
        return None;
    }
    match Code(frame.code) {
        Code::GET_ALL_CONSUMER_OFFSET | Code::GET_ALL_DELAY_OFFSET | Code::GET_TIMER_CHECK_POINT => {
            let remark = "this master is not in service yet: it has to learn what its slaves know";
            Some(Fault::new(ResponseCode::SYSTEM_ERROR, remark))
        }
        _ => None,
    }
}
