// SPDX-License-Identifier: Apache-2.0
//! A name server and a broker in the test's own process, on real sockets and free ports, with files in a directory that
//! goes away with the test.

use anyhow::{Context as _, ensure};
use broker::{Broker, Config, Ports};
use nameserver::nameserver::NameServer;
use net::{Channel, Server};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use store::Env;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::api::route::GetBrokerClusterInfo;
use wire::frame::Frame;

const SOON: Duration = Duration::from_secs(10);

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

/// What runs.
pub struct Cluster {
    /// Where the name server listens.
    pub nameserver: SocketAddr,
    /// Where the broker listens.
    pub broker: SocketAddr,
    broker_itself: Arc<Broker>,
    dir: TempDir,
    stop: CancellationToken,
    /// The broker, then the name server: the order in which they are stopped.
    running: (JoinHandle<Result<(), broker::RunError>>, JoinHandle<()>),
    names_stop: CancellationToken,
}

impl Cluster {
    /// A name server and a broker that have found each other.
    pub async fn start(settings: &[(&str, &str)]) -> anyhow::Result<Cluster> {
        Cluster::start_in(tempfile::tempdir()?, settings).await
    }

    /// The same on what another broker left behind.
    pub async fn start_in(dir: TempDir, settings: &[(&str, &str)]) -> anyhow::Result<Cluster> {
        let listening = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let nameserver = listening.local_addr();
        let names = NameServer::open(nameserver::config::Config::new(dir.path()), Env::real())?;
        let names_stop = CancellationToken::new();
        let names_running = tokio::spawn(names.run(listening, names_stop.clone()));

        let mut config = Config::default();
        let store = dir.path().join("store").display().to_string();
        let places = [
            ("storePathRootDir", store.as_str()),
            ("namesrvAddr", &nameserver.to_string()),
        ];
        for (key, value) in SETTINGS.iter().chain(&places).chain(settings) {
            config.set(key, value)?;
        }
        let ports = Ports::bind(&config).await?;
        config.listen_port = ports.port();
        let opened = tokio::task::spawn_blocking(|| Broker::open(config, Env::real())).await??;
        let broker = opened.host;
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&opened).run(ports, stop.clone()));
        let cluster = Cluster {
            nameserver,
            broker,
            broker_itself: opened,
            dir,
            stop,
            running: (running, names_running),
            names_stop,
        };
        tokio::time::timeout(SOON, cluster.registered())
            .await
            .context("the broker does not register")??;
        Ok(cluster)
    }

    /// Ends both in good order; the files remain with the directory.
    pub async fn stop(self) -> anyhow::Result<TempDir> {
        self.stop.cancel();
        self.running.0.await??;
        let broker = self.broker_itself;
        tokio::task::spawn_blocking(move || broker.close()).await??;
        self.names_stop.cancel();
        self.running.1.await?;
        Ok(self.dir)
    }

    async fn registered(&self) -> anyhow::Result<()> {
        let channel = Channel::connect(self.nameserver, SOON).await?;
        loop {
            let cluster = channel
                .call(Frame::request(1, &GetBrokerClusterInfo), SOON)
                .await?;
            ensure!(cluster.code == 0, "{:?}", cluster.remark);
            if cluster.body.windows(8).any(|part| part == b"broker-a") {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
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
