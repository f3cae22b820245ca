// SPDX-License-Identifier: Apache-2.0
//! The name server as a whole: what it owns, how it starts and stops.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use metrics::Rpc;
use net::{Answer, Fault, Leaving, Listening, Outcome, Peer, Service};
use parking_lot::{Mutex, RwLock};
use store::env::Env;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wire::frame::Frame;

use crate::config::Config;
use crate::kv::{Kv, LoadError};
use crate::registry::{Limits, Notice, Registry};
use crate::settings::Changes;
use crate::{liveness, notify, routes};

/// Notices that wait for being sent; more are dropped, since brokers also ask (code 901).
const NOTICES_MAX: usize = 1024;

/// The name server could not start.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Kv(#[from] LoadError),
}

/// What handlers return.
pub(crate) type Answered<T> = Result<Answer<T>, Fault>;

/// A name server.
pub struct NameServer {
    pub(crate) config: ArcSwap<Config>,
    pub(crate) config_changes: watch::Sender<()>,
    pub(crate) changes: Changes,
    pub(crate) registry: RwLock<Registry>,
    pub(crate) kv: Kv,
    pub(crate) env: Env,
    /// Connections that brought a registration, to close them when the broker falls silent.
    pub(crate) registrants: Mutex<HashMap<u64, Arc<Peer>>>,
    notices: mpsc::Sender<Notice>,
    outgoing: Mutex<Option<mpsc::Receiver<Notice>>>,
    leaving: Leaving,
    /// How long requests take.
    pub(crate) rpc: Rpc,
    started: Instant,
}

impl NameServer {
    /// Loads the key-value table; takes no port.
    pub fn open(config: Config, env: Env) -> Result<Arc<NameServer>, OpenError> {
        let kv = Kv::open(Arc::clone(&env.disk), PathBuf::from(&config.kv_config_path))?;
        let (notices, outgoing) = mpsc::channel(NOTICES_MAX);
        Ok(Arc::new(NameServer {
            changes: Changes::open(&config, &env),
            config: ArcSwap::from_pointee(config),
            config_changes: watch::Sender::default(),
            registry: RwLock::new(Registry::new(Limits::default())),
            kv,
            registrants: Mutex::default(),
            notices,
            outgoing: Mutex::new(Some(outgoing)),
            leaving: Leaving::default(),
            rpc: Rpc::of(routes::ROUTES.iter().map(|(code, _)| *code)),
            started: env.clock.instant(),
            env,
        }))
    }

    /// Serves until `stop`; returns when the last connection has ended.
    pub async fn run(self: Arc<Self>, listening: Listening, stop: CancellationToken) {
        let config = self.config.load_full();
        let held_max = usize::try_from(config.connection_bytes_max.get()).unwrap_or(usize::MAX);
        let limits = net::Limits {
            idle: Duration::from_secs(config.server_channel_max_idle_time_seconds.get()),
            budget: net::Budget::of(held_max),
            ..net::Limits::default()
        };
        info!(addr = %listening.local_addr(), "name server started");
        let outgoing = self.outgoing.lock().take();
        let end = CancellationToken::new();
        let serve = listening.serve(Arc::clone(&self), limits, end.clone());
        tokio::join!(
            serve,
            self.leave(&stop, &end),
            liveness::watch(&self, &end),
            notify::send_all(outgoing, &end)
        );
        info!("name server stopped");
    }

    /// Upon `stop`, tells clients to go elsewhere for a while if settings want that; then connections end.
    async fn leave(&self, stop: &CancellationToken, end: &CancellationToken) {
        stop.cancelled().await;
        let config = self.config.load_full();
        if config.enable_shutdown_gracefully {
            self.leaving.begin();
            tokio::time::sleep(Duration::from_secs(config.shutdown_wait_time_seconds)).await;
        }
        end.cancel();
    }

    /// What is logged at this moment.
    pub fn levels(&self) -> net::Levels {
        self.config.load().log_level.clone()
    }

    /// Is told each time when settings have changed.
    pub fn config_changes(&self) -> watch::Receiver<()> {
        self.config_changes.subscribe()
    }

    /// Whether it is about to end.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.has_begun()
    }

    /// How long ago it was opened.
    pub(crate) fn uptime(&self) -> Duration {
        self.env.clock.instant().saturating_duration_since(self.started)
    }

    /// The time that the registry lives by: it never goes back.
    pub(crate) fn now_ms(&self) -> i64 {
        i64::try_from(self.uptime().as_millis()).unwrap_or(i64::MAX)
    }

    /// Queues a notice, if settings want notices.
    pub(crate) fn notify(&self, notice: Option<Notice>) {
        let Some(notice) = notice.filter(|_| self.config.load().notify_min_broker_id_changed) else {
            return;
        };
        let broker = notice.broker.clone();
        if let Err(error) = self.notices.try_send(notice) {
            warn!(%broker, %error, "a change of the smallest broker id is not told; brokers see it when they ask");
        }
    }
}

impl Service for NameServer {
    fn serve(self: &Arc<Self>, peer: &Arc<Peer>, frame: Frame) -> Outcome {
        match self.leaving.refusal(&frame) {
            Some(refusal) => refusal,
            None => routes::route(self, peer, frame),
        }
    }

    fn may_administer(&self, peer: &Peer) -> bool {
        self.config
            .load()
            .admin_allowed_from
            .admit(peer.addr.ip(), peer.local.ip())
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn answered(&self, how: net::Answered, count: u32, took: Duration) {
        self.rpc.add(how, count, took);
    }

    fn closed(&self, peer: &Arc<Peer>) {
        liveness::connection_ended(self, peer);
    }
}
