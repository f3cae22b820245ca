// SPDX-License-Identifier: Apache-2.0
//! `barque dev`: a name server and a broker in one process, with everything they store below one directory.

use crate::{cli, cmd, configuration, listen, report, stop};
use broker::{Broker, Config, Ports};
use nameserver::nameserver::NameServer;
use net::Channel;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::env::Env;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use wire::api::route::GetBrokerClusterInfo;
use wire::frame::Frame;

/// How long the broker may take to register with the name server beside it before we say that it is ready anyway.
const REGISTRATION_MAX: Duration = Duration::from_secs(5);

pub(crate) fn run(options: &cli::Dev) -> anyhow::Result<()> {
    let config = configuration::broker(options.config.as_deref(), &options.settings)?;
    let runtime = cmd::runtime()?;
    let (broker, ended) = runtime.block_on(serve(options, config))?;
    super::broker::finish(&broker, ended)
}

/// All ports are taken before anything is opened, so a refusal leaves the disk as it was.
async fn serve(options: &cli::Dev, mut config: Config) -> anyhow::Result<(Arc<Broker>, anyhow::Result<()>)> {
    let registry = listen::take(options.host, options.nameserver_port, "--nameserver-port").await?;
    let nameserver = reachable(registry.local_addr());
    let ports = place(&mut config, options, nameserver).await?;
    let names = nameserver::config::Config::new(&options.data);

    let env = Env::real();
    let broker = Broker::open(config, env.clone());
    let broker = broker.map_err(|error| report::not_opened(error, &options.data, "--data"))?;
    let nameserver_stop = CancellationToken::new();
    let serving = tokio::spawn(NameServer::open(names, env)?.run(registry, nameserver_stop.clone()));

    let stop = stop::on_signal()?;
    let announcing = tokio::spawn(announce(Arc::clone(&broker), nameserver, options.data.clone()));
    let ended = Arc::clone(&broker).run(ports, stop).await;
    announcing.abort();
    nameserver_stop.cancel();
    serving.await?;
    Ok((broker, ended.map_err(Into::into)))
}

/// Gives the broker the place that the options say and takes its ports.
async fn place(config: &mut Config, options: &cli::Dev, nameserver: SocketAddr) -> anyhow::Result<Ports> {
    config.bind_address = options.host.to_string().into();
    config.listen_port = options.broker_port;
    config.namesrv_addr = nameserver.to_string().into();
    config.store_path_commit_log = "".into();
    config.store_path_root_dir = options.data.join("store").display().to_string().into();
    if config.broker_name.is_empty() {
        config.broker_name = "broker-a".into();
    }
    if config.broker_ip1.is_empty() && !options.host.is_unspecified() {
        config.broker_ip1 = options.host.to_string().into();
    }
    config.complete(&configuration::surroundings())?;
    let ports = Ports::bind(config)
        .await
        .map_err(|error| listen::refused(&error, "--broker-port"))?;
    config.listen_port = ports.port();
    Ok(ports)
}

/// Says where everything is as soon as clients can find the broker.
async fn announce(broker: Arc<Broker>, nameserver: SocketAddr, data: impl AsRef<Path>) {
    let name = broker.config().broker_name.clone();
    if tokio::time::timeout(REGISTRATION_MAX, registered(nameserver, &name))
        .await
        .is_err()
    {
        warn!("the broker is not registered with the name server yet");
    }
    cmd::print(&format!(
        "barque {} is ready, Ctrl-C stops it.\n  \
           name server  {nameserver}\n  \
           broker       {} ({name}, data in {})\n\
         Send a first message with any RocketMQ client; the topic is created by it:\n  \
           producer.setNamesrvAddr(\"{nameserver}\");\n  \
           producer.start();\n  \
           producer.send(new Message(\"hello\", \"Hello, barque\".getBytes()));\n",
        env!("CARGO_PKG_VERSION"),
        broker.host,
        data.as_ref().display(),
    ));
}

/// Returns when the name server knows the broker.
async fn registered(nameserver: SocketAddr, name: &str) {
    let quoted = format!("\"{name}\"");
    let second = Duration::from_secs(1);
    loop {
        if let Ok(channel) = Channel::connect(nameserver, second).await {
            let asked = channel
                .call(Frame::request(1, &GetBrokerClusterInfo), second)
                .await;
            if asked.is_ok_and(|reply| {
                reply
                    .body
                    .windows(quoted.len())
                    .any(|part| part == quoted.as_bytes())
            }) {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The address by which a client on this machine reaches a port.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}
