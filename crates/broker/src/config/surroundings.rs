// SPDX-License-Identifier: Apache-2.0
//! What a broker finds out about the host it runs on, for settings that nobody set.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;

use wire::Str;

use super::value::Value as _;
use super::{BrokerRole, Config, ConfigError, MetricsExporterType, is_host_port};
use crate::names::TOPIC_BYTES_MAX;

/// The host, as far as settings depend on it. The binary fills this in; see [`Surroundings::probe`].
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Name servers (environment NAMESRV_ADDR).
    pub name_servers: Option<Str>,
    /// Home of the installation (environment ROCKETMQ_HOME).
    pub rocketmq_home: Option<Str>,
    /// Home directory of the user (environment HOME).
    pub home: Option<Str>,
    /// Name of the host.
    pub host_name: Option<Str>,
    /// An address of the host that others reach it by.
    pub address: Option<IpAddr>,
}

impl Surroundings {
    /// Looks around; `env` reads an environment variable.
    pub fn probe(env: impl Fn(&str) -> Option<String>) -> Surroundings {
        let get = |key: &str| env(key).map(Str::from).filter(|value| !value.is_empty());
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let host_name = host_name
            .map(|name| Str::from(name.trim()))
            .filter(|name| !name.is_empty());
        Surroundings {
            name_servers: get("NAMESRV_ADDR"),
            rocketmq_home: get("ROCKETMQ_HOME"),
            home: get("HOME"),
            host_name: host_name.or_else(|| get("HOSTNAME")),
            address: own_address(),
        }
    }
}

/// The address the host would send from. Connecting a datagram socket sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

impl Config {
    /// Fills in what nobody set from what was found on the host, and checks what is left.
    pub fn complete(&mut self, found: &Surroundings) -> Result<(), ConfigError> {
        let fill = |setting: &mut Str, value: Option<Str>| {
            if let (true, Some(value)) = (setting.is_empty(), value) {
                *setting = value;
            }
        };
        fill(&mut self.namesrv_addr, found.name_servers.clone());
        fill(&mut self.rocketmq_home, found.rocketmq_home.clone());
        fill(&mut self.broker_name, found.host_name.clone());
        fill(
            &mut self.broker_ip1,
            found.address.map(|ip| ip.to_string().into()),
        );
        fill(&mut self.broker_ip1, Some(Str::const_new("127.0.0.1")));
        fill(&mut self.broker_ip2, Some(self.broker_ip1.clone()));
        let store = found
            .home
            .as_ref()
            .map(|home| PathBuf::from(home.as_str()).join("store"));
        fill(
            &mut self.store_path_root_dir,
            store.map(|path| path.display().to_string().into()),
        );
        self.check()
    }

    /// Fills in what nobody set from settings that were completed on this host.
    pub(crate) fn borrow_names(&mut self, here: &Config) {
        for (setting, known) in [
            (&mut self.namesrv_addr, &here.namesrv_addr),
            (&mut self.broker_name, &here.broker_name),
            (&mut self.broker_ip1, &here.broker_ip1),
            (&mut self.store_path_root_dir, &here.store_path_root_dir),
        ] {
            if setting.is_empty() {
                setting.clone_from(known);
            }
        }
    }

    /// Whether the broker can start with this: the settings that nobody can guess are there.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let must = [
            ("brokerName", &self.broker_name),
            ("brokerClusterName", &self.broker_cluster_name),
            ("brokerIP1", &self.broker_ip1),
            ("storePathRootDir", &self.store_path_root_dir),
        ];
        for (key, value) in must {
            if value.is_empty() {
                return Err(ConfigError::Invalid {
                    key,
                    what: "is not set and cannot be guessed".into(),
                });
            }
        }
        for (key, name) in [
            ("brokerName", &self.broker_name),
            ("brokerClusterName", &self.broker_cluster_name),
        ] {
            // Topics are called after both. Host names with dots are fine, though topics that clients make may have none.
            let is_illegal = |c: char| c.is_whitespace() || c.is_control() || c == '/';
            if name.contains(is_illegal) || name.len() > TOPIC_BYTES_MAX {
                let what =
                    format!("\"{name}\" is not a valid name: it is too long, or has blanks or slashes");
                return Err(ConfigError::Invalid {
                    key,
                    what: what.into(),
                });
            }
        }
        if self.listen_port == 1 || self.listen_port == 2 {
            let what = format!("{} leaves no port two below it", self.listen_port);
            return Err(ConfigError::Invalid {
                key: "listenPort",
                what: what.into(),
            });
        }
        if (self.broker_role == BrokerRole::Slave) != (self.broker_id > 0) {
            let what = match self.broker_id {
                0 => "must be > 0 for a slave (brokerRole=SLAVE)".to_owned(),
                id => format!(
                    "{id} is the id of a slave, but brokerRole is {}; 0 is the id of a master",
                    self.broker_role.show()
                ),
            };
            return Err(ConfigError::Invalid {
                key: "brokerId",
                what: what.into(),
            });
        }
        if self.name_servers().is_none() {
            let what = format!(
                "expected host:port, several joined by ; but found \"{}\"",
                self.namesrv_addr
            );
            return Err(ConfigError::Invalid {
                key: "namesrvAddr",
                what: what.into(),
            });
        }
        self.check_collector()
    }

    /// Whether it is said where numbers are pushed to, if they are.
    fn check_collector(&self) -> Result<(), ConfigError> {
        if self.metrics_exporter_type != MetricsExporterType::OtlpGrpc {
            return Ok(());
        }
        let target = self.metrics_grpc_exporter_target.as_str();
        let what = match target.strip_prefix("http://") {
            Some(place) if is_host_port(place.trim_end_matches('/')) => return Ok(()),
            Some(_) => "expected http://host:port",
            None if target.is_empty() => "must say where numbers are pushed to, http://host:port",
            None => {
                "means an encrypted connection unless it begins with http://, and those are not there yet"
            }
        };
        Err(ConfigError::Invalid {
            key: "metricsGrpcExporterTarget",
            what: format!("\"{target}\": {what}").into(),
        })
    }
}
