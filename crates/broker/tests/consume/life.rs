// SPDX-License-Identifier: Apache-2.0
//! A broker on a disk that does what it is told, which may end the machine at any write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Config, Ports, RunError};
use store::Env;
use store::disk::Disk;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::code::Request;
use wire::frame::Frame;

use crate::rig::{Client, Rig};

/// Longer than an answer takes when the disk works.
const PATIENCE: Duration = Duration::from_secs(4);

/// From a start to the end of the process, or of the machine.
pub(crate) struct Life {
    pub(crate) broker: Arc<Broker>,
    pub(crate) client: Client,
    pub(crate) addr: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), RunError>>,
}

impl Life {
    /// `None` when the machine ended during the start.
    pub(crate) async fn start(disk: Arc<dyn Disk>, settings: &[(&str, &str)]) -> Option<Life> {
        let env = Env { disk, ..Env::real() };
        let mut config = Config::default();
        let own = [
            ("storePathRootDir", "/store"),
            ("brokerName", "broker-a"),
            ("brokerIP1", "127.0.0.1"),
            ("bindAddress", "127.0.0.1"),
            ("listenPort", "0"),
            ("mappedFileSizeCommitLog", "65536"),
            ("maxHashSlotNum", "100"),
            ("maxIndexNum", "1000"),
        ];
        for (key, value) in own.iter().chain(settings) {
            config.set(key, value).unwrap();
        }
        let ports = Ports::bind(&mut config).await.unwrap();
        // The ids of messages hold the address: all lives have the same.
        config.listen_port = 10911;
        let addr = ([127, 0, 0, 1], ports.port()).into();
        let opened = tokio::task::spawn_blocking(|| Broker::open(config, env))
            .await
            .unwrap();
        let broker = opened.inspect_err(|error| eprintln!("{error}")).ok()?;
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&broker).run(ports, stop.clone()));
        Some(Life {
            broker,
            client: Rig::client_at(addr).await,
            addr,
            stop,
            running,
        })
    }

    /// Ends it; the last writes of a machine that has ended fail.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        drop(self.running.await.unwrap());
        let broker = self.broker;
        drop(tokio::task::spawn_blocking(move || broker.close()).await.unwrap());
    }

    /// Asks on a machine that may end any moment; `None` without a good answer, which nothing to pop (210) is, too.
    pub(crate) async fn try_ask<R: Request>(&self, header: &R, body: &str) -> Option<Frame> {
        let frame = Frame::request(0, header).with_body(body.to_owned());
        let reply = self.client.channel.call(frame, PATIENCE).await.ok()?;
        matches!(reply.code, 0 | 210).then_some(reply)
    }
}
