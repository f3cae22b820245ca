// SPDX-License-Identifier: Apache-2.0
//! A slave's side of a link: takes the log of its master, and says how far it is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use net::socket::Stream;
use net::{BoxFuture, LinkError, LinkReader, LinkWriter};
use store::{FlushMode, LogPos, Replica, ReplicateError, Store};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use wire::Str;
use wire::ha::TransferHead;

use super::Master;
use super::hello::{HelloError, say_hello};
use super::status::Follower;
use super::tables::{self, FetchError};
use crate::broker::Broker;
use crate::config::Config;

/// The first pause after a failure; each next one is twice as long, up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(5);
/// A slave that knows no master for so long says so.
const UNKNOWN_AFTER: Duration = Duration::from_secs(5);
/// A link that lasted so long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// A link that lasted so long was not cut for what was wrong before.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Why a slave leaves its master, to come back a little later.
#[derive(Debug, Error)]
pub(super) enum FollowError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Log(#[from] ReplicateError),
    #[error("cannot be reached: {0}")]
    Connect(#[source] io::Error),
    #[error("cannot be asked: {0}")]
    Ask(#[from] Box<FetchError>),
    #[error("the master has moved")]
    Moved,
    #[error("hello: {0}")]
    Hello(#[from] HelloError),
    #[error(
        "no name server knows a master on the host that haMasterAddress names, so nothing can be proved: set namesrvAddr, or haAllowUnproven=true"
    )]
    NoAddress,
    #[error(
        "no name server knows a master of this brokerName in this brokerClusterName: haMasterAddress may be that of another one"
    )]
    Nobody,
}

/// Asks the master for its topics.
pub(super) type Learn = dyn Fn() -> BoxFuture<Result<(), FetchError>> + Send + Sync;

/// How a link is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// A report at least so often.
    pub(super) heartbeat: Duration,
    /// A link on which nothing is heard for so long is cut.
    pub(super) silence_max: Duration,
}

impl Pace {
    fn of(config: &Config) -> Pace {
        let ms = |ms: u32| Duration::from_millis(u64::from(ms.max(1)));
        Pace {
            heartbeat: ms(config.ha_send_heartbeat_interval),
            silence_max: ms(config.ha_housekeeping_interval),
        }
    }
}

/// Follows whoever is the master, until `stop`.
pub(super) async fn keep_following(b: Arc<Broker>, stop: CancellationToken) {
    let mut known = b.replication.master.subscribe();
    let mut pause = PAUSE_FIRST;
    let mut said = String::new();
    let mut is_unknown = false;
    loop {
        let Some(address) = address_of(&b.config(), &known.borrow_and_update()) else {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = known.changed() => {}
                () = tokio::time::sleep(UNKNOWN_AFTER), if !is_unknown => {
                    is_unknown = true;
                    warn!(
                        broker = %b.address,
                        "following nobody: no name server knows a master of this brokerName in this brokerClusterName"
                    );
                }
            }
            continue;
        };
        let begun = Instant::now();
        let error = tokio::select! {
            () = stop.cancelled() => return,
            error = follow_at(&b, &address) => error,
            () = moved(&b, &mut known, &address) => FollowError::Moved,
        };
        if begun.elapsed() >= GOOD_AFTER || matches!(error, FollowError::Moved) {
            pause = PAUSE_FIRST;
        }
        if !b.replication.follower.is_troubled() {
            said.clear();
        }
        let now = format!("{address}: {error}");
        if now != said {
            warn!(master = %address, %error, "not following the master; trying again");
            said = now;
        }
        b.replication.follower.troubled();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_LAST),
            // It says that it is back, or name servers say where it is.
            _ = known.changed() => pause = PAUSE_FIRST,
        }
    }
}

fn address_of(config: &Config, master: &Master) -> Option<Str> {
    match config.ha_master_address.as_str() {
        "" => master.replication.clone(),
        fixed => Some(fixed.into()),
    }
}

/// Ends when the master is somewhere else.
async fn moved(b: &Broker, known: &mut tokio::sync::watch::Receiver<Master>, address: &Str) {
    while known.changed().await.is_ok() {
        if address_of(&b.config(), &known.borrow_and_update()).as_ref() != Some(address) {
            return;
        }
    }
    std::future::pending().await
}

async fn follow_at(b: &Arc<Broker>, address: &Str) -> FollowError {
    let (wait, pace) = {
        let config = b.config();
        (
            Duration::from_millis(u64::from(config.connect_timeout_millis)),
            Pace::of(&config),
        )
    };
    let token = match opening(b, address).await {
        Ok(token) => token,
        Err(error) => return error,
    };
    let stream = match timeout(wait, Stream::connect_to(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return FollowError::Connect(error),
        Err(_) => return FollowError::Connect(io::ErrorKind::TimedOut.into()),
    };
    if let Err(error) = stream.prepare() {
        return FollowError::Connect(error);
    }
    let _linked = b.replication.follower.connected(address);
    let (reader, mut writer) = stream.into_split();
    if let Some(token) = token
        && let Err(error) = writer.write_i64(-token).await
    {
        return FollowError::Connect(error);
    }
    let asking = Arc::clone(b);
    let learn = move || -> BoxFuture<Result<(), FetchError>> {
        let b = Arc::clone(&asking);
        Box::pin(async move {
            match tables::learn(&b).await {
                // Nobody says where to ask: what is unknown is kept as most topics are.
                Err(FetchError::Unknown) => Ok(()),
                done => done,
            }
        })
    };
    follow(
        &b.store,
        (&b.replication.follower, &learn),
        (reader, writer),
        pace,
    )
    .await
}

/// What opens the link, if the master wants something of the kind.
async fn opening(b: &Arc<Broker>, link: &Str) -> Result<Option<i64>, FollowError> {
    let is_fixed = !b.config().ha_master_address.is_empty();
    if is_fixed && !b.config().namesrv_addr.is_empty() {
        let mut asked = b.replication.asked.subscribe();
        let first = timeout(UNKNOWN_AFTER, asked.wait_for(|asked| *asked));
        // Where no name server can be reached the settings are believed.
        if first.await.is_ok() && b.replication.master.borrow().address.is_none() {
            return Err(FollowError::Nobody);
        }
    }
    let address = b.replication.master.borrow().address.clone();
    // With `haMasterAddress` the link may go elsewhere.
    let host = |address: &Str| address.rsplit_once(':').map(|(host, _)| Str::from(host));
    let is_there = |address: &Str| !is_fixed || host(address) == host(link);
    let Some(address) = address.filter(is_there) else {
        let config = b.config();
        return if config.ha_secret.get().is_some() && !config.ha_allow_unproven {
            Err(FollowError::NoAddress)
        } else {
            Ok(None)
        };
    };
    let channel = tables::connect(b, &address).await.map_err(Box::new)?;
    Ok(say_hello(b, &channel).await?)
}

/// Follows a master until the link ends.
pub(super) async fn follow<R, W>(
    store: &Arc<Store>,
    (follower, learn): (&Follower, &Learn),
    (reader, writer): (R, W),
    pace: Pace,
) -> FollowError
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut reader = LinkReader::new(reader, pace.silence_max);
    let mut writer = LinkWriter::new(writer, pace.silence_max);
    let mut replica = store.follow();
    let begun = Instant::now();
    let mut is_told = false;
    let now_ms = || store.env().clock.now_ms();
    // Where the next bytes belong, which is taken for an acknowledgement of all before.
    let mut told = replica.next().0;
    kept(store, told).await;
    let mut said = None;
    loop {
        let progress = store.progress();
        // Not more than came again from this master.
        let end = promised(store).min(replica.next().0);
        let due = said.map(|said: Instant| said + pace.heartbeat);
        if end > told || due.is_none_or(|due| due <= Instant::now()) {
            told = told.max(end);
            if let Err(error) = writer.report(told).await {
                return error.into();
            }
            follower.said(now_ms());
            said = Some(Instant::now());
        }
        let due = said.unwrap_or_else(Instant::now) + pace.heartbeat;
        tokio::select! {
            transfer = reader.transfer() => {
                let before = replica.next().0;
                if let Err(error) = take(store, (&mut replica, learn), &mut reader, transfer).await {
                    return error;
                }
                follower.took(replica.next().0 - before, now_ms());
                // It lets us in, and has what we have. After a complaint that must last a moment, or it is said each time.
                let is_well = !follower.is_troubled() || begun.elapsed() >= SETTLED_AFTER;
                if !is_told && is_well && replica.next() >= store.written() {
                    is_told = true;
                    follower.accepted(replica.next().0);
                }
            }
            () = progress => {}
            // Counted from what was said last: the master may say something more often.
            () = tokio::time::sleep_until(due) => {}
        }
    }
}

/// Waits until the log up to there is as safe as the master counts on when it is told so.
async fn kept(store: &Store, end: i64) {
    loop {
        let progress = store.progress();
        if promised(store) >= end.min(store.written().0) {
            return;
        }
        progress.await;
    }
}

/// Up to where this slave has the log in the way its master may count on: on disk, if it flushes at once.
fn promised(store: &Store) -> i64 {
    match store.config().flush {
        FlushMode::Sync => store.durable().0,
        FlushMode::Async => store.written().0,
    }
}

/// Takes a transfer, and those that have come with it.
async fn take<R: AsyncRead + Unpin>(
    store: &Arc<Store>,
    (replica, learn): (&mut Replica, &Learn),
    reader: &mut LinkReader<R>,
    transfer: Result<(TransferHead, bytes::Bytes), LinkError>,
) -> Result<(), FollowError> {
    let (mut head, mut body) = transfer?;
    loop {
        let mut done = store.replicate(replica, LogPos(head.at), &body);
        while let Err(ReplicateError::Topic { topic }) = done {
            debug!(topic, "a topic that is not known here");
            learn().await.map_err(Box::new)?;
            replica.asked();
            done = store.replicate(replica, replica.next(), &[]);
        }
        done?;
        if !reader.has_transfer() {
            return Ok(());
        }
        (head, body) = reader.transfer().await?;
    }
}
