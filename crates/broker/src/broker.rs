// SPDX-License-Identifier: Apache-2.0
//! One broker: its state, how it starts, what it does on its own, and how it ends.
//!
//! Each part of the state has one owner in one file; handlers reach all of them through [`Broker`]. A start goes
//! tables, store, sockets, name servers; a stop goes the other way round.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use net::{
    Answered, BoxFuture, Budget, Copies, Due, Fault, Leaving, Level, Limits, Outcome, Peer, Reply, Service,
    Ticket,
};
use store::{Env, Gate, GateState, Kind, Kinds, LogPos, Store, env};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};
use wire::Str;
use wire::body::group::SubscriptionGroupConfig;
use wire::body::topic::TopicConfig;
use wire::code::{Code, ResponseCode};
use wire::frame::Frame;
use wire::message_id::UniqueIds;

use crate::admin::elsewhere::ColdBounds;
use crate::admin::settings::Settings;
use crate::assign::Modes;
use crate::blocking::{self, Workers};
use crate::clients::Clients;
use crate::config::{BrokerRole, Config, ConfigError};
use crate::counts::Counts;
use crate::dedup::Dedup;
use crate::delay::Delays;
use crate::duty::Duty;
use crate::escape::Escape;
use crate::explain::Absences;
use crate::fast::FastPort;
use crate::fault::not_appended;
use crate::filter::{self, Filters};
use crate::group::Groups;
use crate::hold::Held;
use crate::lag::Lags;
use crate::lock::Locks;
use crate::logical::Mappings;
use crate::metrics::{self, Measured, Pages};
use crate::offset::Offsets;
use crate::peers::{Announced, Peers};
use crate::pop::Pop;
use crate::ports::Ports;
use crate::replication::Replication;
use crate::saved::{LoadError, SaveError};
use crate::send::ReplyRoom;
use crate::subject::Subject;
use crate::timer::{self, TimerCloseError, TimerError, Timing};
use crate::topic::{Topic, Topics};
use crate::traffic::Tick;
use crate::transaction::Transactions;
use crate::{
    delay, duty, group, heartbeat, memory, names, offset, peers, pop, rebuild, replication, topic,
    transaction,
};

/// How often the counters are sampled.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// A broker, open: it serves requests once [`Broker::run`] is called.
pub struct Broker {
    config: ArcSwap<Config>,
    config_changes: watch::Sender<()>,
    /// The world: clock, disk, randomness.
    pub env: Env,
    /// Messages.
    pub store: Arc<Store>,
    /// Topics and their settings.
    pub(crate) topics: Arc<Topics>,
    /// Topics of logical queues.
    pub(crate) logical: Mappings,
    /// Consumer groups and their settings.
    pub(crate) groups: Groups,
    /// How far groups have read.
    pub(crate) offsets: Offsets,
    /// How far delayed messages are delivered.
    pub(crate) delays: Delays,
    /// Messages that wait for a time of their own.
    pub(crate) timing: Timing,
    /// Room for replies that wait until those that asked have taken them.
    pub(crate) replies: Arc<ReplyRoom>,
    /// Messages stored lately, on topics that remember them.
    pub(crate) dedup: Dedup,
    /// Which transactions have not ended.
    pub(crate) transactions: Transactions,
    /// Messages that are with pop consumers.
    pub(crate) pop: Arc<Pop>,
    /// Which groups read which topics by pop.
    pub(crate) modes: Modes,
    /// Connected producers and consumers.
    pub(crate) clients: Clients,
    /// Requests that wait for the disk.
    pub(crate) workers: Workers,
    /// Since when groups are offline.
    pub(crate) absences: Absences,
    /// Queues held by orderly consumers.
    pub(crate) locks: Locks,
    /// What groups registered in SQL.
    pub(crate) filters: Arc<Filters>,
    /// Pulls that wait for a message.
    pub(crate) held: Held,
    pub(crate) leaving: Leaving,
    /// Name servers.
    pub(crate) peers: Peers,
    /// Slaves, or the master.
    pub(crate) replication: Replication,
    /// Whether deliveries run.
    pub(crate) duty: Duty,
    /// Where a slave that acts for its master sends what is due.
    pub(crate) escape: Escape,
    /// What happened since the start.
    pub(crate) counts: Counts,
    /// What is measured for metrics only.
    pub(crate) measured: Measured,
    /// How far groups are behind.
    pub(crate) lags: Lags,
    /// Whether one thread serves all connections.
    has_one_worker: OnceLock<bool>,
    is_stopping: AtomicBool,
    /// Ids for messages that come without.
    pub(crate) ids: UniqueIds,
    /// The settings as they stand in the file, and their version.
    pub(crate) settings: Settings,
    /// What operators said about cold reads.
    pub(crate) cold_bounds: ColdBounds,
    /// The address clients reach this broker by; it stands in every message.
    pub host: SocketAddr,
    /// The same address as it is told to name servers: possibly with a name.
    pub(crate) address: Str,
}

/// A consumer group that a client has joined, and what its retry topic is to be like.
pub(crate) struct Joined {
    pub(crate) group: Str,
    pub(crate) topic_flags: i32,
    /// `None`: that stays as it is.
    pub(crate) is_ordered: Option<bool>,
}

/// Why a broker does not start.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The settings do not go together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// A table is damaged.
    #[error(transparent)]
    Table(#[from] LoadError),
    /// A table that was mended cannot be written.
    #[error(transparent)]
    Mended(#[from] SaveError),
    /// The timers are damaged, or cannot be read with these settings.
    #[error(transparent)]
    Timers(#[from] TimerError),
    /// It cannot be found out which transactions have ended.
    #[error(transparent)]
    Transactions(#[from] transaction::RecoverError),
    /// It cannot be found out which messages are with pop consumers.
    #[error(transparent)]
    Pop(#[from] pop::PopError),
}

/// Why a broker stopped by itself. The process must end with an error.
#[derive(Debug, Error)]
pub enum RunError {
    /// A write or a flush of the log failed: nothing may be acknowledged any more.
    #[error("the store failed and takes no more messages: {0}")]
    StoreFailed(String),
}

/// Why a broker did not end in good order. The next start recovers.
#[derive(Debug, Error)]
pub enum CloseError {
    /// Offsets of consumers were lost: messages of the last seconds will be consumed again.
    #[error(transparent)]
    Offsets(#[from] SaveError),
    /// What is with pop consumers is not known to be on disk.
    #[error("journal of leases: {0}")]
    Pop(std::io::Error),
    /// How far timers have come was lost: some are repeated.
    #[error(transparent)]
    Timers(#[from] TimerCloseError),
    /// The store could not write its last bytes.
    #[error(transparent)]
    Store(#[from] store::CloseError),
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Reads the tables and opens the store. Blocks while the store recovers.
    pub fn open(config: Config, env: Env) -> Result<Arc<Broker>, OpenError> {
        config.check()?;
        let host = resolve(&config)?;
        let topics = Arc::new(Topics::open(&config, env.clone())?);
        let groups = Groups::open(&config, env.clone())?;
        Offsets::check(&config, &env)?;
        let delays = Delays::open(&config, env.clone())?;
        let filters = Arc::new(Filters::open(&config, env.clone())?);
        // Last, because it cannot be left as if nothing had happened.
        let kinds = Arc::clone(&topics);
        let mut store = config.store();
        let has_compaction = config.enable_compaction;
        store.kinds = Kinds::knowing(move |topic| {
            let kind = kinds.kind_of(topic)?;
            Some(Kind {
                is_compacted: kind.is_compacted && has_compaction,
                ..kind
            })
        });
        let store = Store::open(store, env.clone())?;
        // Its journal is written at once, which only whoever holds the directory may do.
        let offsets = Offsets::open(&config, env.clone())?;
        rebuild::complete(&config, (&topics, &groups), &offsets, &store)?;
        offset::reconcile(&offsets, &store);
        delays.reconcile(&store);
        let timing = Timing::open(&config, &env, &store)?;
        let transactions = Transactions::open(&config, &store, &offsets, host)?;
        let pop = Arc::new(Pop::open(&config, &env, &offsets, &store)?);
        let modes = Modes::open(&config, env.clone())?;
        let logical = Mappings::open(&config, env.clone())?;
        logical.keep(|topic| topics.get(topic).is_some())?;
        let settings = Settings::open(&config, &env)?;
        let now_ms = env.clock.now_ms();
        let salt = u32::try_from(env.rng.below(1 << 32)).unwrap_or_default();
        let dedup = Dedup::open(&config, &topics, &store);
        Ok(Arc::new(Broker {
            topics,
            logical,
            groups,
            offsets,
            delays,
            timing,
            dedup,
            transactions,
            pop,
            modes,
            replies: Arc::default(),
            clients: Clients::default(),
            workers: Workers::default(),
            absences: Absences::default(),
            locks: Locks::default(),
            filters,
            held: Held::default(),
            leaving: Leaving::default(),
            peers: Peers::of(&config),
            replication: Replication::of(&config, env.clock.instant()),
            duty: Duty::of(&config),
            escape: Escape::default(),
            counts: Counts::new(now_ms),
            measured: Measured::default(),
            lags: Lags::default(),
            has_one_worker: OnceLock::new(),
            is_stopping: AtomicBool::new(false),
            ids: UniqueIds::new(host.ip(), std::process::id(), salt),
            settings,
            cold_bounds: ColdBounds::default(),
            address: format!("{}:{}", config.broker_ip1, config.listen_port).into(),
            store,
            host,
            env,
            config: ArcSwap::from_pointee(config),
            config_changes: watch::Sender::default(),
        }))
    }

    /// The settings as they are now.
    pub fn config(&self) -> Guard<Arc<Config>> {
        self.config.load()
    }

    /// Changes the settings that may change while the broker runs.
    pub(crate) fn set_config(&self, config: Config) {
        self.replication.set_promise(&self.store, &config);
        self.config.store(Arc::new(config));
        self.config_changes.send_replace(());
    }

    /// Is told each time when settings have changed.
    pub fn config_changes(&self) -> watch::Receiver<()> {
        self.config_changes.subscribe()
    }

    /// Whether this broker follows another one, and takes no messages itself.
    pub(crate) fn is_slave(&self) -> bool {
        self.config().broker_role == BrokerRole::Slave
    }

    /// Serves requests until `stop`, or until the store fails. The broker is registered with its name servers meanwhile.
    pub async fn run(self: Arc<Self>, ports: Ports, stop: CancellationToken) -> Result<(), RunError> {
        let (serving, registered) = (CancellationToken::new(), CancellationToken::new());
        let (tasks, links) = (TaskTracker::new(), TaskTracker::new());
        let (feeding, feeds) = (CancellationToken::new(), TaskTracker::new());
        let limits = self.limits();
        let fast = Arc::new(FastPort(Arc::clone(&self)));
        info!(broker = %self.config().broker_name, address = %self.host, "broker is started");
        tasks.spawn(
            ports
                .main
                .serve(Arc::clone(&self), limits.clone(), serving.clone()),
        );
        tasks.spawn(ports.fast.serve(fast, limits, serving.clone()));
        let (watching, watched) = (CancellationToken::new(), TaskTracker::new());
        let turning = blocking::keep_turning(&self, &watched);
        if env::is_alone() {
            let (store, watching) = (Arc::clone(&self.store), watching.clone());
            watched.spawn(async move { watching.run_until_cancelled(store.take_turns()).await });
        }
        if let Some(showing) = &ports.metrics {
            showing.show(Pages::of(Arc::clone(&self), ports.beside));
        }
        metrics::push::start(&self, &watched, &watching);
        replication::serve(&self, ports.replication, &feeds, &feeding);
        self.start_tasks(&tasks, &serving);
        peers::keep_registered(&self, &links, &registered);
        let mut ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            reason = self.store.failed() => Err(RunError::StoreFailed(reason)),
        };
        if let Err(error) = &ended {
            let root = self.config().store_path_root_dir.clone();
            error!(file = %root, %error, "stopping; look at the disk before the next start");
        }
        self.is_stopping.store(true, Ordering::Relaxed);
        // Clients must not be sent here any more before connections end.
        registered.cancel();
        links.close();
        links.wait().await;
        if ended.is_ok() && self.config().enable_shutdown_gracefully {
            self.leaving.begin();
            let wait = Duration::from_secs(u64::from(self.config().shutdown_wait_time_seconds));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                reason = self.store.failed() => ended = Err(RunError::StoreFailed(reason)),
            }
        }
        serving.cancel();
        tasks.close();
        tasks.wait().await;
        if ended.is_ok() {
            // One of them may be the next master, and this log the one that follows.
            replication::hand_over(&self).await;
        }
        feeding.cancel();
        feeds.close();
        feeds.wait().await;
        watching.cancel();
        drop(turning);
        watched.close();
        watched.wait().await;
        if let Some(showing) = ports.metrics {
            showing.end().await;
        }
        info!("broker is stopped");
        ended
    }

    /// Starts what goes on beside requests, until `stop`.
    fn start_tasks(self: &Arc<Self>, tasks: &TaskTracker, stop: &CancellationToken) {
        replication::start(self, tasks, stop);
        delay::start_saving(self, tasks, stop);
        timer::start_flushing(self, tasks, stop);
        pop::start_flushing(self, tasks, stop);
        tasks.spawn(duty::keep(Arc::clone(self), stop.clone()));
        tasks.spawn(topic::keep_saving(Arc::clone(self), stop.clone()));
        tasks.spawn(group::keep_saving(Arc::clone(self), stop.clone()));
        tasks.spawn(offset::keep_saving(Arc::clone(self), stop.clone()));
        tasks.spawn(offset::keep_journal(Arc::clone(self), stop.clone()));
        tasks.spawn(filter::keep_saving(Arc::clone(self), stop.clone()));
        tasks.spawn(heartbeat::keep_watch(Arc::clone(self), stop.clone()));
        tasks.spawn(keep_sampling(Arc::clone(self), stop.clone()));
    }

    /// Saves what is only in memory and closes the store. Blocks. Nothing may be served any more.
    pub fn close(&self) -> Result<(), CloseError> {
        self.transactions.count(self);
        let popped = self.pop.close();
        let saved = self.save_offsets().and_then(|is_saved| {
            self.pop.orders.save()?;
            Ok(is_saved)
        });
        // Offsets that are older than the journal must not pass for somebody else's.
        let popped = popped.and_then(|()| match saved {
            Ok(true) => self.pop.note_end(),
            _ => Ok(()),
        });
        let popped = popped.map_err(CloseError::Pop);
        let saved = saved
            .map(drop)
            .and(self.topics.save())
            .and(self.groups.save())
            .and(self.filters.save(self.config().filter_data_clean_time_span));
        // What was delivered counts as delivered once it is durable.
        self.store.turn_flush();
        let saved = saved.and(self.delays.save(self.store.durable()).map(drop));
        let timed = self.timing.close(self);
        self.store.close()?;
        timed?;
        popped?;
        Ok(saved?)
    }

    /// Saves committed offsets, once everything is on disk that they are over. `false`: the store has failed.
    /// Blocks.
    pub(crate) fn save_offsets(&self) -> Result<bool, SaveError> {
        self.offsets.save_over(|| self.is_log_durable())
    }

    /// Makes the log durable. Blocks.
    pub(crate) fn is_log_durable(&self) -> bool {
        offset::is_durable(&self.store)
    }

    /// Returns when no change of the offsets so far is lost with the process. Blocks.
    pub(crate) fn keep_offsets(&self) -> Result<(), SaveError> {
        // A batch of before that begins where a group was set to looks like one of now, and would hold it up.
        self.pop.orders.save()?;
        self.pop.keep()?;
        self.offsets.keep(|| self.is_log_durable())
    }

    /// A consumer group; made when groups may come into being by themselves. Writes a file then.
    pub(crate) fn group(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        self.groups.get(&self.config(), group)
    }

    /// Tells the store of a topic that was made or changed. Waits for the disk.
    pub(crate) fn note_topic(&self, topic: &str) {
        if let Err(error) = self.store.note_topic(topic) {
            tracing::warn!(topic, %error, "files of older queues of a topic remain; trying again");
        }
    }

    /// A topic, made with these settings if there is none; name servers hear of it. Writes a file then.
    pub(crate) fn ensure_topic(&self, config: TopicConfig) -> Result<(Arc<Topic>, Announced), SaveError> {
        let (topic, made) = self.topics.ensure(config)?;
        let announced = if made {
            self.note_topic(&topic.config.topic_name);
            self.announce()
        } else {
            Announced::default()
        };
        Ok((topic, announced))
    }

    /// Makes many groups at once, if they may come into being by themselves, and the retry topics of all that are there
    /// then: a write to disk for each would cost the more the more there are.
    pub(crate) fn ensure_groups(&self, groups: &[Joined]) {
        self.groups
            .ensure_all(&self.config(), groups.iter().map(|joined| &joined.group));
        let retry_topic = |joined: &Joined| {
            let group = self.groups.find(&joined.group)?;
            Some((retry_topic_of(&group, joined.topic_flags), joined.is_ordered))
        };
        match self
            .topics
            .ensure_all(groups.iter().filter_map(retry_topic).collect())
        {
            Ok(None) => {}
            Ok(Some(made)) => {
                for topic in &made {
                    self.note_topic(topic);
                }
                self.announce();
            }
            Err(error) => {
                let group = groups.first().map(|joined| joined.group.as_str());
                tracing::warn!(
                    group, count = groups.len(), file = %error.path.display(), error = %error.source,
                    "retry topics of groups cannot be created or changed; trying again with their next heartbeat"
                );
            }
        }
    }

    /// Tells the name servers of new settings of topics; ends when all that are reachable have taken note.
    pub(crate) fn announce(&self) -> Announced {
        self.peers.announce()
    }

    fn limits(&self) -> Limits {
        let config = self.config();
        Limits {
            connections_max: config.connections_max as usize,
            gated_max: config.in_flight_per_connection_max as usize,
            held_max: config.held_per_connection_max as usize,
            reply_bytes_max: config.reply_bytes_per_connection_max as usize,
            push_max: config.push_frames_per_connection_max as usize,
            push_bytes_max: config.push_bytes_per_connection_max as usize,
            budget: Budget::of(memory::for_connections(config.connection_bytes_max)),
            unread_bytes: match config.server_socket_rcv_buf_size {
                0 => Limits::default().unread_bytes,
                bytes => bytes as usize,
            },
            idle: Duration::from_secs(u64::from(config.server_channel_max_idle_time_seconds)),
            drain: Duration::from_millis(u64::from(config.shutdown_drain_ms)),
            ..Limits::default()
        }
    }

    /// Waits until a gated answer may go out: for answers that are made outside of a connection.
    pub(crate) async fn pass<T>(&self, mut reply: Reply<T>, ticket: Ticket) -> Result<Reply<T>, Fault> {
        loop {
            let progress = self.store.progress();
            let looked = self.env.clock.instant().into();
            match self.due(&ticket) {
                Due::Passed => return Ok(reply),
                Due::Late(code) => {
                    reply.code = code;
                    return Ok(reply);
                }
                Due::Failed(fault) => return Err(fault),
                Due::Waiting => match ticket.next_deadline(looked) {
                    // Whether it was progress or the end of the time: `due` knows.
                    Some(deadline) => drop(tokio::time::timeout_at(deadline, progress).await),
                    None => progress.await,
                },
            }
        }
    }
}

impl Service for Broker {
    fn serve(self: &Arc<Self>, peer: &Arc<Peer>, frame: Frame) -> Outcome {
        self.serve_among(0, peer, frame)
    }

    fn is_grouped(&self, code: i32) -> bool {
        Code(code) == Code::SEND_MESSAGE_V2
    }

    fn serve_group(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        frames: &mut Vec<Frame>,
        answer: &mut dyn FnMut(Outcome),
    ) {
        if frames.len() > 1 && self.logical.is_empty() && self.takes_all(peer, frames) {
            return crate::send::send_group(self, peer, frames, answer);
        }
        let others = (0..frames.len()).rev();
        for (others, frame) in others.zip(frames.drain(..)) {
            answer(self.serve_among(others, peer, frame));
        }
    }

    fn keeps_frame(&self, code: i32) -> bool {
        // Sends that wait for their topic copy what they keep; of the others nothing but the header is kept, which is read.
        let keeps_nothing = matches!(
            Code(code),
            Code::SEND_MESSAGE
                | Code::SEND_MESSAGE_V2
                | Code::SEND_BATCH_MESSAGE
                | Code::PULL_MESSAGE
                | Code::LITE_PULL_MESSAGE
                | Code::UPDATE_CONSUMER_OFFSET
        );
        !keeps_nothing || !self.logical.is_empty()
    }

    fn may_administer(&self, peer: &Peer) -> bool {
        self.config()
            .admin_allowed_from
            .admit(peer.addr.ip(), peer.local.ip())
    }

    fn has_staged(&self) -> bool {
        self.store.has_staged_here()
    }

    fn settle(&self, is_crowded: bool) {
        // Whoever waits for the disk serves nobody meanwhile.
        if is_crowded
            || *self
                .has_one_worker
                .get_or_init(|| Handle::current().metrics().num_workers() == 1)
        {
            return self.store.drive();
        }
        if self.store.drive_to_sync() {
            // The next task of this very thread, so nobody has to be woken; and not the one of the connection, which tells its
            // peer in time when the disk hangs.
            let store = Arc::clone(&self.store);
            tokio::spawn(async move { store.sync_soon() });
        }
    }

    fn due(&self, ticket: &Ticket) -> Due {
        let gate = Gate {
            end: LogPos(ticket.pos),
            generation: ticket.generation,
        };
        let kept = match self.store.state(&gate, store_level(ticket.level)) {
            GateState::Passed => Due::Passed,
            GateState::Failed => {
                return Due::Failed(not_appended(&self.store.why_not_written(), Subject::default()));
            }
            GateState::Waiting if self.is_over(ticket.deadline) => {
                Due::Late(ResponseCode::FLUSH_DISK_TIMEOUT)
            }
            GateState::Waiting => return Due::Waiting,
        };
        match ticket.copies {
            Copies::None => kept,
            Copies::Missing => Due::Late(ResponseCode::SLAVE_NOT_AVAILABLE),
            Copies::Until(slaves, _) if self.replication.has_copies(slaves, ticket.pos) => kept,
            Copies::Until(_, deadline) if self.is_over(Some(deadline)) => {
                Due::Late(ResponseCode::FLUSH_SLAVE_TIMEOUT)
            }
            Copies::Until(..) => Due::Waiting,
        }
    }

    fn progress(&self, level: Level) -> BoxFuture<()> {
        Box::pin(self.store.progress_to(store_level(level)))
    }

    fn is_timed(&self) -> bool {
        self.config().enable_remoting_metrics
    }

    fn answered(&self, how: Answered, count: u32, took: Duration) {
        metrics::answered(self, how, count, took);
    }

    fn closed(&self, peer: &Arc<Peer>) {
        heartbeat::disconnected(self, peer.id);
    }
}

impl Broker {
    /// Whether it is about to end.
    pub(crate) fn is_leaving(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    fn is_over(&self, deadline: Option<tokio::time::Instant>) -> bool {
        deadline.is_some_and(|deadline| deadline.into_std() <= self.env.clock.instant())
    }
}

fn store_level(level: Level) -> store::Level {
    match level {
        Level::Written => store::Level::Written,
        Level::Durable => store::Level::Durable,
    }
}

/// The address of the broker: a message can only hold a number.
fn resolve(config: &Config) -> Result<SocketAddr, ConfigError> {
    let invalid = |what: &dyn fmt::Display| ConfigError::Invalid {
        key: "brokerIP1",
        what: format!("\"{}\" is no address: {what}", config.broker_ip1).into(),
    };
    let found: Vec<SocketAddr> = (config.broker_ip1.as_str(), config.listen_port)
        .to_socket_addrs()
        .map_err(|e| invalid(&e))?
        .collect();
    // Like the reference: every client can reach an IPv4 address, not every one the other kind.
    let first_v4 = found.iter().find(|addr| addr.is_ipv4());
    first_v4
        .or(found.first())
        .copied()
        .ok_or_else(|| invalid(&"nothing is known by that name"))
}

/// Samples the counters until `stop`.
async fn keep_sampling(b: Arc<Broker>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(SAMPLE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seconds = 0_u64;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now_ms = b.env.clock.now_ms();
        let due = Tick::at(seconds);
        b.counts
            .sample((now_ms, b.env.clock.utc_offset_secs() * 1000), due);
        b.counts.latencies.tick();
        if due.is_any() {
            let max = b.config().dedup_messages_max as usize;
            b.dedup.sweep(&b.topics, now_ms, max);
            // There may be very many: not on a thread that serves.
            let sampled = Arc::clone(&b);
            let sampling = env::aside(move || {
                for topic in sampled.topics.all().topics.values() {
                    topic.traffic.sample(now_ms, due);
                }
            });
            drop(sampling.await);
        }
        seconds += 1;
    }
}

fn retry_topic_of(group: &SubscriptionGroupConfig, sys_flag: i32) -> TopicConfig {
    let queues = group.retry_queue_nums.max(1);
    TopicConfig {
        topic_name: names::retry_topic(&group.group_name),
        read_queue_nums: queues,
        write_queue_nums: queues,
        topic_sys_flag: sys_flag,
        ..TopicConfig::default()
    }
}
