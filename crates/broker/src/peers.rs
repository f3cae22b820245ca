// SPDX-License-Identifier: Apache-2.0
//! The name servers this broker is registered with.
//!
//! Each has one task with one lasting connection: a name server forgets a broker when its connection ends. After
//! connecting, the task registers all topics; then again in every period, and topics that changed at once. A name server
//! that cannot be reached is tried again with growing pauses, and is logged when that changes, not each time.

mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use net::{BoxFuture, CallError, Channel, ConnectError, Outcome, Peer, Service};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};
use wire::api::register::{
    QueryDataVersion, QueryDataVersionReply, RegisterBroker, RegisterBrokerReply, UnregisterBroker,
};
use wire::api::route::GetRouteinfoByTopic;
use wire::body::register::RegisterBrokerBody;
use wire::body::stats::KvTable;
use wire::body::topic::{DataVersion, TopicConfig, TopicConfigTable};
use wire::body::topic_route::TopicRoute;
use wire::code::ResponseCode;
use wire::ext::ExtError;
use wire::frame::{Encoding, Frame};
use wire::record::crc31;
use wire::{Str, fastjson};

use self::members::Said;
pub(crate) use self::members::min_id_changed;
use crate::broker::Broker;
use crate::config::Config;
use crate::replication::Master;

/// The first pause after a failure; each next one is twice as long, up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_LAST: Duration = Duration::from_secs(5);
/// The bounds of `registerNameServerPeriod`.
const PERIOD_MIN_MS: u32 = 10_000;
const PERIOD_MAX_MS: u32 = 60_000;
/// How often a slave that has no link to its master asks where that is.
const MASTER_SOUGHT_EVERY: Duration = Duration::from_secs(2);
/// How long a change waits for the name servers before it is answered.
const ANNOUNCE_MAX: Duration = Duration::from_secs(3);
/// How long a stop waits for a name server.
const LEAVE_MAX: Duration = Duration::from_secs(3);
/// How long a client's question waits for a name server.
const ROUTE_MAX: Duration = Duration::from_secs(3);

/// The name servers of a broker.
pub(crate) struct Peers {
    links: Vec<Arc<Link>>,
    /// Moves when one of them says who is alive, or cannot be asked.
    heard: watch::Sender<()>,
}

/// How many name servers know the broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) registered: usize,
    /// Those that do not.
    pub(crate) others: usize,
}

/// One name server.
struct Link {
    server: Str,
    /// Whether it has taken the broker, and the connection has not ended since.
    is_registered: AtomicBool,
    news: Mutex<News>,
    wake: Notify,
    /// While it is connected.
    channel: Mutex<Option<Arc<Channel>>>,
    /// Who it says is alive.
    said: Mutex<Said>,
    /// Somebody wants to know now.
    ask: Notify,
}

/// What name servers say about a topic.
pub(crate) enum Route {
    /// Where it is.
    Found(TopicRoute),
    /// There is no name server to ask.
    NoServers,
    /// Nobody knows it, or nobody answers.
    Unknown,
}

/// Changes that a name server has not heard of.
#[derive(Default)]
struct News {
    /// The step of the topics that it was told last.
    told: u64,
    /// Whether changes are worth noting: otherwise the next connection brings everything anyway.
    connected: bool,
    /// Who waits until the name server knows.
    waiting: Vec<oneshot::Sender<()>>,
}

/// Why a name server does not take a request.
#[derive(Debug, Error)]
enum PeerError {
    #[error("the address has no host")]
    NoSuchHost,
    #[error("the name is not resolved: {0}")]
    Resolve(#[source] std::io::Error),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the name server answers {code}: {remark}")]
    Refused { code: ResponseCode, remark: Str },
    #[error("the answer makes no sense: {0}")]
    Reply(#[from] ExtError),
}

impl PeerError {
    /// Whether the connection is of no use any more.
    fn is_fatal(&self) -> bool {
        !matches!(self, PeerError::Refused { .. } | PeerError::Reply(_))
    }
}

/// Ends when every name server that is connected has taken note of a change, or after a while.
#[derive(Default)]
pub(crate) struct Announced(Option<BoxFuture<()>>);

impl Future for Announced {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(future) => future.as_mut().poll(cx),
            None => Poll::Ready(()),
        }
    }
}

impl Peers {
    pub(crate) fn of(config: &Config) -> Peers {
        let servers = config.name_servers().unwrap_or_default();
        let link = |server| {
            Arc::new(Link {
                server,
                is_registered: AtomicBool::new(false),
                news: Mutex::default(),
                wake: Notify::new(),
                channel: Mutex::default(),
                said: Mutex::default(),
                ask: Notify::new(),
            })
        };
        Peers {
            links: servers.into_iter().map(link).collect(),
            heard: watch::Sender::default(),
        }
    }

    /// Asks the first name server that answers where a topic is.
    pub(crate) async fn route(&self, b: &Broker, topic: &Str) -> Route {
        if self.links.is_empty() {
            return Route::NoServers;
        }
        let timeout =
            Duration::from_millis(u64::from(b.config().register_broker_timeout_mills)).min(ROUTE_MAX);
        let ask = GetRouteinfoByTopic {
            topic: Some(topic.clone()),
            ..GetRouteinfoByTopic::default()
        };
        for link in &self.links {
            let channel = link.channel.lock().clone();
            let Some(channel) = channel else { continue };
            match channel.call(Frame::request(0, &ask), timeout).await {
                Ok(reply) if reply.code == ResponseCode::SUCCESS.0 => {
                    return fastjson::from_slice(&reply.body).map_or(Route::Unknown, Route::Found);
                }
                Ok(_) => return Route::Unknown,
                Err(error) => {
                    debug!(server = %link.server, %error, "name server does not say where a topic is")
                }
            }
        }
        Route::Unknown
    }

    /// How many name servers know the broker.
    pub(crate) fn standing(&self) -> Standing {
        let links = self.links.iter();
        let registered = links
            .filter(|link| link.is_registered.load(Ordering::Relaxed))
            .count();
        Standing {
            registered,
            others: self.links.len() - registered,
        }
    }

    /// Tells all name servers that topics have changed.
    pub(crate) fn announce(&self) -> Announced {
        let waiting: Vec<_> = self.links.iter().filter_map(|link| link.tell()).collect();
        if waiting.is_empty() {
            return Announced::default();
        }
        Announced(Some(Box::pin(async move {
            let all = async {
                for done in waiting {
                    // An error: the connection ended, and the next one brings everything.
                    drop(done.await);
                }
            };
            drop(tokio::time::timeout(ANNOUNCE_MAX, all).await);
        })))
    }
}

/// Starts a task per name server in `tasks`. They unregister and end when `stop` comes.
pub(crate) fn keep_registered(b: &Arc<Broker>, tasks: &TaskTracker, stop: &CancellationToken) {
    for link in &b.peers.links {
        tasks.spawn(keep_link(Arc::clone(b), Arc::clone(link), stop.clone()));
    }
}

impl Link {
    fn tell(&self) -> Option<oneshot::Receiver<()>> {
        let mut news = self.news.lock();
        if !news.connected {
            return None;
        }
        let (done, waiting) = oneshot::channel();
        news.waiting.push(done);
        self.wake.notify_one();
        Some(waiting)
    }

    /// From now on changes are noted: they are not in the registration that comes first, or come twice.
    fn open(&self) {
        self.news.lock().connected = true;
    }

    /// Forgets what is noted; whoever waits for it goes on.
    fn shut(&self) {
        self.is_registered.store(false, Ordering::Relaxed);
        *self.news.lock() = News::default();
    }
}

/// How the attempts to register went lately.
struct Luck {
    /// Before the next attempt.
    pause: Duration,
    /// The last attempt failed, and that was logged.
    is_bad: bool,
}

/// Connects again and again.
async fn keep_link(b: Arc<Broker>, link: Arc<Link>, stop: CancellationToken) {
    let mut luck = Luck {
        pause: PAUSE_FIRST,
        is_bad: false,
    };
    loop {
        let attempt = tokio::select! {
            () = stop.cancelled() => return,
            attempt = connect(&b, &link) => attempt,
        };
        let error = match attempt {
            Ok((channel, ended)) => {
                let channel = Arc::new(channel);
                *link.channel.lock() = Some(Arc::clone(&channel));
                let error = tokio::select! {
                    () = stop.cancelled() => return leave(&b, &link, &channel).await,
                    () = ended.cancelled() => CallError::Ended(channel.peer().addr).into(),
                    error = attend(&b, &link, &channel, &mut luck) => error,
                    error = members::keep_asking(&b, &link, &channel) => error,
                    error = members::keep_beating(&b, &link, &channel) => error,
                };
                link.shut();
                *link.channel.lock() = None;
                error
            }
            Err(error) => error,
        };
        link.said.lock().has_failed = true;
        b.peers.heard.send_replace(());
        if !luck.is_bad {
            warn!(server = %link.server, %error, "not registered with name server; trying again");
            luck.is_bad = true;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(luck.pause) => luck.pause = (luck.pause * 2).min(PAUSE_LAST),
        }
    }
}

async fn connect(b: &Arc<Broker>, link: &Link) -> Result<(Channel, CancellationToken), PeerError> {
    let timeout = Duration::from_millis(u64::from(b.config().connect_timeout_millis));
    let addresses = tokio::net::lookup_host(link.server.as_str())
        .await
        .map_err(PeerError::Resolve)?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    // An address where nobody answers must not use up the time of the others.
    let share = timeout / u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let mut failed = PeerError::NoSuchHost;
    // A name such as localhost may stand for ::1 first while the name server listens on 127.0.0.1 only.
    for address in addresses {
        let ended = CancellationToken::new();
        let service = Arc::new(Watch { ended: ended.clone() });
        match Channel::connect_with(address, share, service, Encoding::Json).await {
            Ok(channel) => return Ok((channel, ended)),
            Err(error) => failed = error.into(),
        }
    }
    Err(failed)
}

/// Registers everything, then again in every period, and changes at once, until the connection is of no use.
async fn attend(b: &Arc<Broker>, link: &Link, channel: &Channel, luck: &mut Luck) -> PeerError {
    b.replication.in_service().await;
    link.open();
    if let Err(error) = register_all(b, link, channel).await {
        return error;
    }
    link.is_registered.store(true, Ordering::Relaxed);
    info!(server = %link.server, "registered with name server");
    *luck = Luck {
        pause: PAUSE_FIRST,
        is_bad: false,
    };
    let period_ms = b
        .config()
        .register_name_server_period
        .clamp(PERIOD_MIN_MS, PERIOD_MAX_MS);
    let period = Duration::from_millis(u64::from(period_ms));
    let mut tick = tokio::time::interval_at(Instant::now() + period, period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut search = tokio::time::interval_at(Instant::now() + MASTER_SOUGHT_EVERY, MASTER_SOUGHT_EVERY);
    search.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_refused = false;
    loop {
        let done = tokio::select! {
            () = link.wake.notified() => register_news(b, link, channel).await,
            _ = tick.tick() => register_again(b, link, channel).await,
            // Only the answer to a registration says where the master is.
            _ = search.tick() => match b.is_slave() && !b.replication.has_master() {
                true => register_all(b, link, channel).await,
                false => continue,
            },
        };
        match done {
            Ok(()) => is_refused = false,
            Err(error) if error.is_fatal() => return error,
            Err(error) if is_refused => debug!(server = %link.server, %error, "name server still refuses"),
            Err(error) => {
                warn!(server = %link.server, %error, "name server refuses the registration; trying again");
                is_refused = true;
            }
        }
    }
}

async fn register_all(b: &Arc<Broker>, link: &Link, channel: &Channel) -> Result<(), PeerError> {
    let all = b.topics.all().clone();
    let settings = all.topics.values().map(|topic| topic.config.clone()).collect();
    register(b, channel, all.version, settings).await?;
    link.news.lock().told = all.step;
    Ok(())
}

async fn register_again(b: &Arc<Broker>, link: &Link, channel: &Channel) -> Result<(), PeerError> {
    if !b.config().force_register && !is_outdated(b, channel).await? {
        return Ok(());
    }
    register_all(b, link, channel).await
}

/// Tells what changed since the name server was told last, so that a new topic costs the same however many there are. The version
/// that goes with it says that the name server has everything, so everything between the two goes with it.
async fn register_news(b: &Arc<Broker>, link: &Link, channel: &Channel) -> Result<(), PeerError> {
    let (waiting, told) = {
        let mut news = link.news.lock();
        (std::mem::take(&mut news.waiting), news.told)
    };
    if waiting.is_empty() {
        return Ok(());
    }
    let all = b.topics.all().clone();
    let news = b
        .config()
        .register_changes_only
        .then(|| b.topics.since(&all, told))
        .flatten();
    match news {
        // Somebody else's news, told already.
        Some(topics) if topics.is_empty() => {}
        Some(topics) => match register(b, channel, all.version, topics).await {
            Ok(()) => link.news.lock().told = all.step,
            // One that has forgotten this broker takes no single topic of it.
            Err(error) if !error.is_fatal() => register_all(b, link, channel).await?,
            Err(error) => return Err(error),
        },
        None => register_all(b, link, channel).await?,
    }
    for done in waiting {
        let _nobody_waits_any_more = done.send(());
    }
    Ok(())
}

/// Code 103.
async fn register(
    b: &Arc<Broker>,
    channel: &Channel,
    data_version: DataVersion,
    topics: Vec<TopicConfig>,
) -> Result<(), PeerError> {
    let frame = registration(b, data_version, topics);
    let reply = call(b, channel, frame).await?;
    if b.is_slave() {
        let found: RegisterBrokerReply = reply.ext.read()?;
        b.replication.found(Master {
            address: found.master_addr,
            replication: found.ha_server_addr,
            in_service: true,
        });
    }
    if reply.body.is_empty() {
        return Ok(());
    }
    // Which topics are ordered, as the name servers know it.
    match fastjson::from_slice::<KvTable>(&reply.body) {
        Ok(ordered) => {
            let b = Arc::clone(b);
            let marking =
                store::env::aside(move || b.topics.mark_ordered(ordered.table.keys().map(Str::as_str)));
            if let Ok(Err(error)) = marking.await {
                let server = channel.peer().addr;
                warn!(%server, file = %error.path.display(), error = %error.source, "ordered topics are not saved; trying again");
            }
        }
        Err(error) => {
            let server = channel.peer().addr;
            warn!(%server, %error, "the list of ordered topics makes no sense and is left out");
        }
    }
    Ok(())
}

fn registration(b: &Broker, data_version: DataVersion, topics: Vec<TopicConfig>) -> Frame {
    let config = b.config();
    let mask = i32::try_from(config.broker_permission).unwrap_or_default();
    let masked = |mut topic: TopicConfig| {
        if mask != crate::topic::perm::READ_WRITE {
            topic.perm &= mask;
        }
        (topic.topic_name.clone(), topic)
    };
    let table: BTreeMap<_, _> = topics.into_iter().map(masked).collect();
    let body = RegisterBrokerBody {
        filter_server_list: Vec::new(),
        topic_config_serialize_wrapper: TopicConfigTable {
            data_version,
            mapping_data_version: Some(b.logical.version()),
            topic_queue_mapping_info_map: Some(b.logical.infos(|topic| table.contains_key(topic))),
            topic_config_table: table,
            topic_queue_mapping_detail_map: Some(BTreeMap::new()),
        },
    };
    let body = fastjson::to_vec(&body);
    let header = RegisterBroker {
        broker_name: config.broker_name.clone(),
        broker_addr: b.address.clone(),
        cluster_name: config.broker_cluster_name.clone(),
        ha_server_addr: config.replication_address(),
        broker_id: config.broker_id,
        heartbeat_timeout_millis: config
            .enable_slave_acting_master
            .then_some(i64::from(config.broker_not_active_timeout_millis)),
        enable_acting_master: Some(config.enable_slave_acting_master),
        compressed: Some(false),
        body_crc32: i32::try_from(crc31(&body)).ok(),
        ..RegisterBroker::default()
    };
    Frame::request(0, &header).with_body(body)
}

/// Code 322: whether the name server has other topics than we.
async fn is_outdated(b: &Arc<Broker>, channel: &Channel) -> Result<bool, PeerError> {
    let config = b.config();
    let header = QueryDataVersion {
        broker_name: config.broker_name.clone(),
        broker_addr: b.address.clone(),
        cluster_name: config.broker_cluster_name.clone(),
        broker_id: config.broker_id,
    };
    drop(config);
    let frame = Frame::request(0, &header).with_body(fastjson::to_vec(&b.topics.all().version));
    let reply: QueryDataVersionReply = call(b, channel, frame).await?.ext.read()?;
    Ok(reply.changed)
}

/// Code 104, at a clean stop.
async fn leave(b: &Arc<Broker>, link: &Link, channel: &Channel) {
    if !b.replication.is_in_service() {
        return;
    }
    let config = b.config();
    let header = UnregisterBroker {
        broker_name: config.broker_name.clone(),
        broker_addr: b.address.clone(),
        cluster_name: config.broker_cluster_name.clone(),
        broker_id: config.broker_id,
    };
    drop(config);
    let frame = Frame::request(0, &header);
    match tokio::time::timeout(LEAVE_MAX, call(b, channel, frame)).await {
        Ok(Ok(_)) => info!(server = %link.server, "unregistered from name server"),
        Ok(Err(error)) => debug!(server = %link.server, %error, "not unregistered"),
        Err(_) => debug!(server = %link.server, "not unregistered: no answer"),
    }
}

async fn call(b: &Arc<Broker>, channel: &Channel, frame: Frame) -> Result<Frame, PeerError> {
    let timeout = Duration::from_millis(u64::from(b.config().register_broker_timeout_mills));
    let reply = channel.call(frame, timeout).await?;
    if reply.code == ResponseCode::SUCCESS.0 {
        return Ok(reply);
    }
    Err(PeerError::Refused {
        code: ResponseCode(reply.code),
        remark: reply.remark.unwrap_or_default(),
    })
}

/// Takes the requests of a name server, of which there are none, and notes the end of the connection.
struct Watch {
    ended: CancellationToken,
}

impl Service for Watch {
    fn serve(self: &Arc<Self>, _peer: &Arc<Peer>, frame: Frame) -> Outcome {
        net::routes::unsupported(&frame)
    }

    fn closed(&self, _peer: &Arc<Peer>) {
        self.ended.cancel();
    }
}
