// SPDX-License-Identifier: Apache-2.0
//! A name server and a broker in the test's own process, on real sockets and free ports, with files in a directory that
//! goes away with the test.

use anyhow::{Context as _, ensure};
use broker::config::Surroundings;
use broker::{Broker, Config, Ports};
use nameserver::nameserver::NameServer;
use net::{Channel, Server};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::Env;
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::api::route::GetBrokerClusterInfo;
use wire::frame::Frame;

const SOON: Duration = WITHIN;

/// Much longer than anything takes that a test waits for.
const WITHIN: Duration = Duration::from_secs(30);

/// Asks again until it holds.
pub async fn until(what: &str, mut probe: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let holds = async {
        while !probe().await? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    let in_time = tokio::time::timeout(WITHIN, holds).await;
    in_time.with_context(|| format!("waited for: {what}"))?
}

/// Returns when a slave has all that its master has now.
pub async fn in_step(master: &Node, slave: &Node) -> anyhow::Result<()> {
    let end = master.broker.store.written();
    until("the slave has the log", async || {
        Ok(slave.broker.store.written() >= end)
    })
    .await
}

/// The settings of every cluster: small files, no waiting for a second process.
const SETTINGS: [(&str, &str); 7] = [
    ("brokerName", "broker-a"),
    ("brokerIP1", "127.0.0.1"),
    ("bindAddress", "127.0.0.1"),
    ("listenPort", "0"),
    ("mappedFileSizeCommitLog", "1048576"),
    ("maxHashSlotNum", "100"),
    ("maxIndexNum", "1000"),
];

/// A name server that runs.
pub struct Names {
    /// Where it listens.
    pub addr: SocketAddr,
    dir: TempDir,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Names {
    /// Starts one that knows nobody.
    pub async fn start() -> anyhow::Result<Names> {
        Names::start_with("").await
    }

    /// The same with settings, one per line.
    pub async fn start_with(settings: &str) -> anyhow::Result<Names> {
        let dir = tempfile::tempdir()?;
        let listening = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let addr = listening.local_addr();
        let mut config = nameserver::config::Config::new(dir.path());
        config.apply("namesrv.conf", settings)?;
        let names = NameServer::open(config, Env::real())?;
        let stop = CancellationToken::new();
        let running = tokio::spawn(names.run(listening, stop.clone()));
        Ok(Names {
            addr,
            dir,
            stop,
            running,
        })
    }

    /// Ends it.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.running.await?;
        drop(self.dir);
        Ok(())
    }

    /// Returns when the name server knows a broker at an address.
    pub async fn knows(&self, broker: SocketAddr) -> anyhow::Result<()> {
        let channel = Channel::connect(self.addr, SOON).await?;
        let broker = format!("\"{broker}\"");
        let known = async {
            loop {
                let cluster = channel
                    .call(Frame::request(1, &GetBrokerClusterInfo), SOON)
                    .await?;
                ensure!(cluster.code == 0, "{:?}", cluster.remark);
                if cluster
                    .body
                    .windows(broker.len())
                    .any(|part| part == broker.as_bytes())
                {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, known)
            .await
            .context("the broker does not register")?
    }
}

/// A broker that runs.
pub struct Node {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where its slaves connect.
    pub replication: SocketAddr,
    /// The broker.
    pub broker: Arc<Broker>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), broker::RunError>>,
    /// Its own threads, if it has any.
    threads: Option<Runtime>,
}

impl Node {
    /// Starts one on a directory, and waits until its name server knows it.
    pub async fn start(names: &Names, dir: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Node> {
        let mut config = config(names, dir, settings)?;
        let node = Node::run(&mut config, Handle::current()).await?;
        names.knows(node.broker.host).await?;
        Ok(node)
    }

    /// The same on threads of its own, so that it can be [killed](Node::kill). Does not wait for the name server.
    pub async fn start_apart(names: &Names, dir: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Node> {
        let mut config = config(names, dir, settings)?;
        let threads = Runtime::new()?;
        let handle = threads.handle().clone();
        let mut node = threads
            .spawn(async move { Node::run(&mut config, handle).await })
            .await??;
        node.threads = Some(threads);
        Ok(node)
    }

    async fn run(config: &mut Config, handle: Handle) -> anyhow::Result<Node> {
        let ports = Ports::bind(config).await?;
        let replication = (Ipv4Addr::LOCALHOST, ports.replication_port()).into();
        // As the binary does.
        config.complete(&Surroundings::default())?;
        let config = config.clone();
        let broker = tokio::task::spawn_blocking(|| Broker::open(config, Env::real())).await??;
        let stop = CancellationToken::new();
        let running = handle.spawn(Arc::clone(&broker).run(ports, stop.clone()));
        Ok(Node {
            addr: broker.host,
            replication,
            broker,
            stop,
            running,
            threads: None,
        })
    }

    /// Ends it in the middle of whatever it does, with its connections. Only for one that was started apart. Its files stay
    /// locked: what comes after it begins with a copy of them.
    pub fn kill(self) {
        if let Some(threads) = self.threads {
            threads.shutdown_background();
        }
    }

    /// Ends it in good order.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.running.await??;
        let broker = self.broker;
        tokio::task::spawn_blocking(move || broker.close()).await??;
        if let Some(threads) = self.threads {
            threads.shutdown_background();
        }
        Ok(())
    }
}

fn config(names: &Names, dir: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Config> {
    let mut config = Config::default();
    let store = dir.join("store").display().to_string();
    let places = [
        ("storePathRootDir", store.as_str()),
        ("namesrvAddr", &names.addr.to_string()),
    ];
    for (key, value) in SETTINGS.iter().chain(&places).chain(settings) {
        config.set(key, value)?;
    }
    Ok(config)
}

/// A name server and a broker.
pub struct Cluster {
    /// Where the name server listens.
    pub nameserver: SocketAddr,
    /// Where the broker listens.
    pub broker: SocketAddr,
    names: Names,
    node: Node,
    dir: TempDir,
}

impl Cluster {
    /// A name server and a broker that have found each other.
    pub async fn start(settings: &[(&str, &str)]) -> anyhow::Result<Cluster> {
        Cluster::start_in(tempfile::tempdir()?, settings).await
    }

    /// The same on what another broker left behind.
    pub async fn start_in(dir: TempDir, settings: &[(&str, &str)]) -> anyhow::Result<Cluster> {
        let names = Names::start().await?;
        let node = Node::start(&names, dir.path(), settings).await?;
        Ok(Cluster {
            nameserver: names.addr,
            broker: node.addr,
            names,
            node,
            dir,
        })
    }

    /// Starts one more broker, with another name, in a directory of its own.
    pub async fn join(&self, name: &str, settings: &[(&str, &str)]) -> anyhow::Result<Node> {
        let settings: Vec<(&str, &str)> = [("brokerName", name)]
            .into_iter()
            .chain(settings.iter().copied())
            .collect();
        Node::start(&self.names, &self.dir.path().join(name), &settings).await
    }

    /// Ends both in good order; the files remain with the directory.
    pub async fn stop(self) -> anyhow::Result<TempDir> {
        self.node.stop().await?;
        self.names.stop().await?;
        Ok(self.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::request;
    use wire::code::Code;

    async fn ask(cluster: &Cluster, code: Code, fields: &[(&str, &str)]) -> Frame {
        let channel = Channel::connect(cluster.broker, SOON).await.unwrap();
        let reply = channel.call(request(code, fields, b"body"), SOON).await.unwrap();
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
        reply
    }

    #[tokio::test]
    async fn a_cluster_that_starts_in_the_directory_of_another_has_its_messages() {
        let cluster = Cluster::start(&[]).await.unwrap();
        let fields = [
            ("a", "PG"),
            ("b", "T"),
            ("c", "TBW102"),
            ("d", "1"),
            ("e", "0"),
            ("f", "0"),
            ("g", "1"),
            ("h", "0"),
        ];
        ask(&cluster, Code::SEND_MESSAGE_V2, &fields).await;
        let dir = cluster.stop().await.unwrap();
        let cluster = Cluster::start_in(dir, &[]).await.unwrap();
        let max = ask(
            &cluster,
            Code::GET_MAX_OFFSET,
            &[("topic", "T"), ("queueId", "0")],
        )
        .await;
        assert_eq!(max.ext.get("offset").unwrap(), "1");
        cluster.stop().await.unwrap();
    }
}
