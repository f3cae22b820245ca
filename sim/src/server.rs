// SPDX-License-Identifier: Apache-2.0
//! The nodes that are the product itself: name servers and brokers, as their programs start them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker::{Broker, Config, Ports};
use nameserver::nameserver::NameServer;
use net::Server;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::client::Shared;
use crate::world::{Begin, Log, now_ms};

pub(crate) const NAMES_PORT: u16 = 9876;
pub(crate) const BROKER_PORT: u16 = 10911;

/// Ends the process that runs on a node in good order.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    token: Arc<Mutex<CancellationToken>>,
    is_closed: Arc<AtomicBool>,
}

impl Stop {
    fn renew(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.token.lock() = token.clone();
        self.is_closed.store(false, Ordering::Relaxed);
        token
    }

    /// Whether it was stopped, and could save everything.
    pub(crate) fn is_in_order(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.token.lock().cancel();
    }
}

/// A name server.
pub(crate) fn names(log: Log) -> (Begin, Stop) {
    let stop = Stop::default();
    let stopping = stop.clone();
    let begin: Begin = Box::new(move |env| {
        let (stop, log) = (stopping.renew(), log.clone());
        Box::pin(async move {
            let opened = NameServer::open(
                nameserver::config::Config::new(std::path::Path::new("/names")),
                env,
            );
            let names = match opened {
                Ok(names) => names,
                Err(error) => return log.line("names", format!("does not open: {error}")),
            };
            let any = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), NAMES_PORT);
            match Server::bind(any).await {
                Ok(listening) => names.run(listening, stop).await,
                Err(error) => log.line("names", error),
            }
        })
    });
    (begin, stop)
}

/// A broker with these settings. Why it ended is in the log.
pub(crate) fn broker(name: &str, settings: Vec<(String, String)>, shared: Shared) -> (Begin, Stop) {
    let stop = Stop::default();
    let stopping = stop.clone();
    let name = name.to_owned();
    let begin: Begin = Box::new(move |env| {
        let (stop, log, name) = (stopping.renew(), shared.log.clone(), name.clone());
        let history = Arc::clone(&shared.history);
        let is_closed = Arc::clone(&stopping.is_closed);
        let mut config = Config::default();
        for (key, value) in &settings {
            config
                .set(key, value)
                .expect("settings of the simulation are sound");
        }
        Box::pin(async move {
            let ports = match Ports::bind(&mut config).await {
                Ok(ports) => ports,
                Err(error) => return log.line(&name, error),
            };
            let broker = match Broker::open(config, env) {
                Ok(broker) => broker,
                Err(error) => return log.line(&name, format!("does not open: {error}")),
            };
            history.lock().note_opened(&name, now_ms());
            if let Err(error) = Arc::clone(&broker).run(ports, stop).await {
                return log.line(&name, format!("ended: {error}"));
            }
            match broker.close() {
                Ok(()) => {
                    is_closed.store(true, Ordering::Relaxed);
                    log.line(&name, "is closed");
                }
                Err(error) => log.line(&name, format!("does not close: {error}")),
            }
        })
    });
    (begin, stop)
}
