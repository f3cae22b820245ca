// SPDX-License-Identifier: Apache-2.0
//! The ports of a broker: taken before anything is opened, so that a refusal leaves the disk as it was.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use net::{BindError, Listening, Server};
use thiserror::Error;
use tracing::warn;

use crate::config::{Config, MetricsExporterType};
use crate::metrics::{Beside, Showing};

/// A port could not be taken.
#[derive(Debug, Error)]
#[error("{setting}: {source}")]
pub struct PortError {
    /// What chooses another one.
    pub setting: &'static str,
    /// Why.
    pub source: BindError,
}

async fn take(setting: &'static str, place: (IpAddr, u16)) -> Result<Listening, PortError> {
    let taken = Server::bind(SocketAddr::from(place)).await;
    taken.map_err(|source| PortError { setting, source })
}

/// The ports of a broker.
pub struct Ports {
    pub(crate) main: Listening,
    /// Two below the main one: everything but the pulls, for producers that want a port of their own.
    pub(crate) fast: Listening,
    /// For slaves.
    pub(crate) replication: Listening,
    /// For those who watch: served already, so that they can while the store is opened.
    pub(crate) metrics: Option<Showing>,
    pub(crate) beside: Option<Beside>,
}

impl Ports {
    /// Takes the ports of the settings, and says in them which ones these are: port 0 takes any free ones. That for metrics
    /// says from now on that the broker is starting.
    pub async fn bind(config: &mut Config) -> Result<Ports, PortError> {
        let ip = config
            .bind_address
            .parse()
            .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let main = config.listen_port;
        let fast = take("listenPort", (ip, main.saturating_sub(2))).await?;
        let main = take("listenPort", (ip, main)).await?;
        // The one above, where nobody says anything else.
        let above = config.listen_port.checked_add(u16::from(config.listen_port > 0));
        let port = Some(config.ha_listen_port).filter(|port| *port > 0).or(above);
        let replication = take("haListenPort", (ip, port.unwrap_or(0))).await?;
        let metrics = Ports::bind_metrics(config, ip).await?;
        config.listen_port = main.local_addr().port();
        config.ha_listen_port = replication.local_addr().port();
        Ok(Ports {
            main,
            fast,
            replication,
            metrics,
            beside: None,
        })
    }

    /// Takes the port for metrics. One that nobody has chosen may be another process's: there are metrics of one of them
    /// then. Where the main port is any free one, so is this.
    async fn bind_metrics(config: &mut Config, ip: IpAddr) -> Result<Option<Showing>, PortError> {
        if config.metrics_exporter_type == MetricsExporterType::Disable {
            return Ok(None);
        }
        let ip = config.metrics_prom_exporter_host.parse().unwrap_or(ip);
        let port = config.metrics_prom_exporter_port;
        let number = if port.is_chosen || config.listen_port > 0 {
            port.number
        } else {
            0
        };
        match Server::bind(SocketAddr::new(ip, number)).await {
            Ok(listening) => {
                config.metrics_prom_exporter_port.number = listening.local_addr().port();
                Ok(Some(Showing::start(listening)))
            }
            Err(source) if port.is_chosen => Err(PortError {
                setting: "metricsPromExporterPort",
                source,
            }),
            Err(BindError { addr, source }) => {
                warn!(
                    key = "metricsPromExporterPort", listen = %addr, error = %source,
                    "there is no port for /metrics, /healthz and /readyz; choose another with this key"
                );
                Ok(None)
            }
        }
    }

    /// Where metrics are read, if they are.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|showing| showing.addr)
    }

    /// Shows other numbers in front of those of the broker.
    pub fn show_beside(&mut self, beside: Beside) {
        self.beside = Some(beside);
    }

    /// The number of the main port.
    pub fn port(&self) -> u16 {
        self.main.local_addr().port()
    }

    /// The number of the port for slaves.
    pub fn replication_port(&self) -> u16 {
        self.replication.local_addr().port()
    }

    /// The number of the other port.
    pub fn fast_port(&self) -> u16 {
        self.fast.local_addr().port()
    }
}
