// SPDX-License-Identifier: Apache-2.0
//! A master's side of a link: sends the log from where the slave asks on, and listens how far it is.

use std::mem::Discriminant;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::{LinkError, LinkReader, LinkWriter, Listening};
use parking_lot::Mutex;
use store::{LogPos, Store, TransferError};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::quorum::Acked;
use super::{Replication, SLAVES_MAX};
use crate::broker::Broker;
use crate::config::Config;

/// Read from the log at once: several transfers go out in one write.
const CHUNK_BYTES: usize = 256 << 10;

/// Connections at a time that have not said yet what they want.
const STRANGERS_MAX: usize = 64;
/// For how long they may take; one of the reference takes up to five seconds.
const FIRST_REPORT_MAX: Duration = Duration::from_secs(10);

/// How a link is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Most log bytes in one transfer.
    pub(super) body_max: usize,
    /// Something is said at least so often.
    pub(super) heartbeat: Duration,
    /// A link on which nothing is heard for so long is cut.
    pub(super) silence_max: Duration,
    /// Most log bytes in a second; 0: any number.
    pub(super) bytes_per_second: u64,
}

impl Pace {
    fn of(config: &Config) -> Pace {
        let ms = |ms: u32| Duration::from_millis(u64::from(ms.max(1)));
        Pace {
            body_max: config.ha_transfer_batch_size as usize,
            heartbeat: ms(config.ha_send_heartbeat_interval),
            silence_max: ms(config.ha_housekeeping_interval),
            bytes_per_second: if config.ha_flow_control_enable {
                config.max_ha_transfer_byte_in_second
            } else {
                0
            },
        }
    }
}

/// Why a master cuts a link.
#[derive(Debug, Error)]
pub(super) enum FeedError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(
        "{0}; the slave has messages that this master lacks: make it the master, or move its store away so that it begins anew"
    )]
    Ahead(TransferError),
    #[error("{0}; the slave was away for too long: move its store away so that it begins anew")]
    Gone(TransferError),
    #[error("the log cannot be read: {0}")]
    Log(TransferError),
    #[error(
        "the slave says that it has the log up to {said}, and was sent less: it is no slave of this master"
    )]
    Boast { said: i64 },
    #[error("the first report of the slave is {0}")]
    Start(i64),
    #[error(
        "it says no hello, or a wrong one: a slave needs the haSecret of its master, and one of the reference haAllowUnproven=true here"
    )]
    Unproven,
    #[error("the same slave has opened another link")]
    Replaced,
    #[error("nothing was heard of it for {FIRST_REPORT_MAX:?}")]
    Mute,
    #[error("{0} slaves are served already (haSlavesMax)")]
    Full(usize),
}

impl From<TransferError> for FeedError {
    fn from(error: TransferError) -> FeedError {
        match error {
            TransferError::Ahead { .. } => FeedError::Ahead(error),
            TransferError::Gone { .. } => FeedError::Gone(error),
            TransferError::NotCached | TransferError::Io(_) => FeedError::Log(error),
        }
    }
}

/// Serves the replication port until `stop`.
pub(super) async fn keep_feeding(b: Arc<Broker>, port: Listening, stop: CancellationToken) {
    let links = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = port.accept() => accepted,
        };
        let slaves_max = (b.config().ha_slaves_max as usize).min(SLAVES_MAX);
        match accepted {
            Ok((_, addr)) if links.len() >= slaves_max + STRANGERS_MAX => {
                warn!(slave = %addr, limit = slaves_max + STRANGERS_MAX, "turned away: too many connections to the replication port");
            }
            Ok((stream, addr)) => {
                let (b, stop) = (Arc::clone(&b), stop.clone());
                links.spawn(async move {
                    let pace = Pace::of(&b.config());
                    let door = Door::of(&b, slaves_max);
                    let fed = feed(&b.store, &b.replication, (addr, door), stream.into_split(), pace);
                    tokio::select! {
                        () = stop.cancelled() => {}
                        error = fed => {
                            let now = b.env.clock.instant();
                            // It tries again and again.
                            if b.replication.turned_away.is_news(addr.ip(), &error, now) {
                                warn!(slave = %addr, %error, "the link to a slave has ended");
                            } else {
                                debug!(slave = %addr, %error, "the link to a slave has ended");
                            }
                        }
                    }
                });
            }
            Err(error) => {
                // Out of descriptors: accepting again at once would spin.
                warn!(listen = %port.local_addr(), %error, "cannot accept slaves; trying again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    links.close();
    links.wait().await;
}

/// For so long the same thing is not said again of those that come from one host and are not let in.
const SAID_FOR: Duration = Duration::from_secs(60);
/// Most hosts and reasons that are remembered.
const SAID_MAX: usize = 64;

/// Whom this master has turned away of late, and why.
#[derive(Debug, Default)]
pub(super) struct TurnedAway(Mutex<Vec<Refused>>);

#[derive(Debug)]
struct Refused {
    host: IpAddr,
    what: Discriminant<FeedError>,
    why: String,
    at: std::time::Instant,
}

impl TurnedAway {
    /// Whether that is worth a line: a slave that is refused is back after seconds, with other numbers.
    fn is_news(&self, host: IpAddr, error: &FeedError, now: std::time::Instant) -> bool {
        let mut said = self.0.lock();
        said.retain(|refused| now.saturating_duration_since(refused.at) < SAID_FOR);
        let what = std::mem::discriminant(error);
        if said.iter().any(|of| (of.host, of.what) == (host, what)) {
            return false;
        }
        if said.len() >= SAID_MAX {
            said.remove(0);
        }
        said.push(Refused {
            host,
            what,
            why: error.to_string(),
            at: now,
        });
        true
    }

    /// Why one of these hosts was turned away last.
    pub(super) fn why(&self, hosts: &[IpAddr]) -> Option<String> {
        let said = self.0.lock();
        let last = said.iter().rev().find(|of| hosts.contains(&of.host));
        last.map(|of| of.why.clone())
    }

    /// One from there is let in: how that ends is news.
    fn forget(&self, host: IpAddr) {
        self.0.lock().retain(|of| of.host != host);
    }
}

/// Who may come in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Door {
    /// Also those that do not say who they are.
    pub(super) is_open: bool,
    /// How many at a time.
    pub(super) slaves_max: usize,
}

impl Door {
    fn of(b: &Broker, slaves_max: usize) -> Door {
        let config = b.config();
        Door {
            is_open: config.ha_secret.get().is_none() || config.ha_allow_unproven,
            slaves_max,
        }
    }
}

/// Takes a slave out of the quorum, also when the task ends in the middle.
struct Member<'a> {
    store: &'a Store,
    replication: &'a Replication,
    link: u64,
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.replication
            .note(self.store, |quorum| quorum.leave(self.link));
    }
}

/// Feeds one slave until the link ends.
pub(super) async fn feed<R, W>(
    store: &Arc<Store>,
    replication: &Replication,
    (addr, door): (SocketAddr, Door),
    (reader, writer): (R, W),
    pace: Pace,
) -> FeedError
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut reader = LinkReader::new(reader, pace.silence_max);
    let mut writer = LinkWriter::new(writer, pace.silence_max);
    let link = replication.next_link();
    let starting = start(store, replication, door, &mut reader);
    let Start { id, from, lacks } = match timeout(FIRST_REPORT_MAX, starting).await {
        Ok(Ok(started)) => started,
        Ok(Err(error)) => return error,
        Err(_) => return FeedError::Mute,
    };
    let joined = replication.note(store, |quorum| {
        let is_full = quorum.slaves().len() >= door.slaves_max && !quorum.has(id);
        (!is_full).then(|| {
            quorum.join(link, (addr, id), from);
            quorum.lacks(link, lacks);
        })
    });
    if joined.is_none() {
        return FeedError::Full(door.slaves_max);
    }
    replication.turned_away.forget(addr.ip());
    let name = id.map_or_else(|| "not said".to_owned(), |id| id.to_string());
    info!(slave = %addr, id = name, from, behind = store.written().0 - from, "a slave follows");
    let _member = Member {
        store,
        replication,
        link,
    };
    replication.joined.send_replace(());
    tokio::select! {
        error = listen(store, replication, link, &mut reader) => error,
        error = send(store, replication, (link, from), &mut writer, pace) => error,
    }
}

/// Where a slave begins.
struct Start {
    /// Which it is, if it says so.
    id: Option<i64>,
    from: i64,
    /// Up to here it has nothing, and never will.
    lacks: i64,
}

/// Which slave it is, if it says so, and where to begin: where the slave is, or for one that has nothing at the newest file,
/// as the reference does.
async fn start<R: AsyncRead + Unpin>(
    store: &Store,
    replication: &Replication,
    door: Door,
    reader: &mut LinkReader<R>,
) -> Result<Start, FeedError> {
    let mut first = reader.first_report().await?;
    let mut id = None;
    if let Some(token) = first.checked_neg().filter(|token| *token > 0) {
        id = replication.hellos.take_token(token, store.env().clock.instant());
        if id.is_none() {
            return Err(FeedError::Unproven);
        }
        first = reader.first_report().await?;
    } else if !door.is_open {
        return Err(FeedError::Unproven);
    }
    match first {
        0 => {
            let from = store.last_file().0;
            Ok(Start {
                id,
                from,
                lacks: from,
            })
        }
        from if from < 0 => Err(FeedError::Start(from)),
        from => {
            // Refuses what is ahead or gone.
            store
                .log_bytes(LogPos(from), 0, false)
                .map(drop)
                .or_else(|error| match error {
                    TransferError::NotCached => Ok(()),
                    error => Err(error),
                })?;
            Ok(Start { id, from, lacks: 0 })
        }
    }
}

async fn listen<R: AsyncRead + Unpin>(
    store: &Store,
    replication: &Replication,
    link: u64,
    reader: &mut LinkReader<R>,
) -> FeedError {
    loop {
        let said = match reader.report().await {
            Ok(said) => said,
            Err(error) => return error.into(),
        };
        match replication.note(store, |quorum| quorum.acked(link, said)) {
            Acked::Taken => {}
            Acked::Boast => return FeedError::Boast { said },
            Acked::NoLink => return FeedError::Replaced,
        }
    }
}

async fn send<W: AsyncWrite + Unpin>(
    store: &Arc<Store>,
    replication: &Replication,
    (link, from): (u64, i64),
    writer: &mut LinkWriter<W>,
    pace: Pace,
) -> FeedError {
    let mut at = from;
    let mut said = Instant::now();
    let mut budget = Budget::new(pace.bytes_per_second);
    loop {
        // Before the look, so that nothing is missed.
        let progress = store.progress();
        let chunk = match chunk(store, at, budget.room(CHUNK_BYTES).await).await {
            Ok(chunk) => chunk,
            Err(error) => return error.into(),
        };
        let sent = if chunk.is_empty() {
            // Counted from what was said last: there may be progress all the time, and nothing to send.
            match tokio::time::timeout_at(said + pace.heartbeat, progress).await {
                Ok(()) => continue,
                Err(_) => writer.transfer(at, &[], pace.body_max).await,
            }
        } else {
            let end = at + chunk.len() as i64;
            // Before it is sent: the answer may be quicker than the note.
            replication.sent(link, end);
            let sent = writer.transfer(at, &chunk, pace.body_max).await;
            budget.take(chunk.len());
            at = end;
            sent
        };
        if let Err(error) = sent {
            return error.into();
        }
        said = Instant::now();
    }
}

/// Bytes of the log; what is not in memory is read where it does not keep others waiting.
async fn chunk(store: &Arc<Store>, at: i64, max: usize) -> Result<Bytes, TransferError> {
    match store.log_bytes(LogPos(at), max, false) {
        Err(TransferError::NotCached) => {
            let store = Arc::clone(store);
            let read = store::env::aside(move || store.log_bytes(LogPos(at), max, true));
            read.await
                .unwrap_or_else(|ended| Err(TransferError::Io(std::io::Error::other(ended))))
        }
        other => other,
    }
}

/// What may be sent in the second that runs.
struct Budget {
    per_second: u64,
    left: u64,
    until: Instant,
}

impl Budget {
    fn new(per_second: u64) -> Budget {
        Budget {
            per_second,
            left: per_second,
            until: Instant::now() + Duration::from_secs(1),
        }
    }

    /// How much may be sent now, at most `max`; waits for the next second when there is nothing left.
    async fn room(&mut self, max: usize) -> usize {
        if self.per_second == 0 {
            return max;
        }
        if self.left == 0 {
            tokio::time::sleep_until(self.until).await;
        }
        if Instant::now() >= self.until {
            self.left = self.per_second;
            self.until = Instant::now() + Duration::from_secs(1);
        }
        usize::try_from(self.left).unwrap_or(max).min(max)
    }

    fn take(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_slave_was_turned_away_is_known_until_it_is_let_in() {
        let turned_away = TurnedAway::default();
        let now = store::Env::real().clock.instant();
        let host = IpAddr::from([10, 0, 0, 1]);
        let other = IpAddr::from([10, 0, 0, 2]);
        assert!(turned_away.is_news(host, &FeedError::Start(-7), now));
        assert!(!turned_away.is_news(host, &FeedError::Start(-8), now));
        assert_eq!(
            turned_away.why(&[other, host]).as_deref(),
            Some("the first report of the slave is -7")
        );
        assert_eq!(turned_away.why(&[other]), None);
        turned_away.forget(host);
        assert_eq!(turned_away.why(&[host]), None);
    }
}
