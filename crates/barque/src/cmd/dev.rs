// SPDX-License-Identifier: Apache-2.0
//! `barque dev`: a name server and a broker in one process, with everything they store below one directory.

use crate::log::Log;
use crate::{cli, cmd, configuration, listen, report, stop};
use broker::{Broker, Config, Ports};
use nameserver::nameserver::NameServer;
use net::Channel;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::env::Env;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use wire::api::route::GetBrokerClusterInfo;
use wire::frame::Frame;

/// Where everything is stored that no option or configuration puts elsewhere.
const DATA: &str = "barque-data";
/// How long the broker may take to register with the name server beside it before we say that it is ready anyway.
const REGISTRATION_MAX: Duration = Duration::from_secs(5);

pub(crate) fn run(options: &cli::Dev) -> anyhow::Result<()> {
    let (config, warnings) = configuration::broker(options.config.as_deref(), &options.settings)?;
    let log = Log::start(&options.logging, "broker", "warn")?;
    log.set(&config.log_level);
    cmd::tell(&warnings);
    let keys = configuration::keys(options.config.as_deref(), &options.settings)?;
    let runtime = cmd::runtime()?;
    let (broker, ended) = runtime.block_on(serve(options, (config, &keys), &log))?;
    super::broker::finish(&broker, ended)
}

/// All ports are taken before anything is opened, so a refusal leaves the disk as it was.
async fn serve(
    options: &cli::Dev,
    (mut config, keys): (Config, &BTreeSet<String>),
    log: &Log,
) -> anyhow::Result<(Arc<Broker>, anyhow::Result<()>)> {
    let host = options.host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let registry = listen::take(host, options.nameserver_port, "--nameserver-port").await?;
    let nameserver = reachable(registry.local_addr());
    place(&mut config, keys, options, nameserver)?;
    let mut ports = Ports::bind(&mut config).await.map_err(|error| {
        let setting = match error.setting {
            "listenPort" => "--broker-port",
            other => other,
        };
        listen::refused(&error.source, setting)
    })?;
    let metrics = ports.metrics_addr();
    let data = options.data.clone().unwrap_or_else(|| DATA.into());
    let mut names = nameserver::config::Config::new(&data);
    names.admin_allowed_from = config.admin_allowed_from.clone();
    let store = PathBuf::from(config.store_path_root_dir.as_str());

    let env = Env::real();
    // Before the store, which does not stay as it was when it is opened.
    let names = NameServer::open(names, env.clone())?;
    let told = Arc::clone(&names);
    ports.show_beside(Arc::new(move || told.metrics()));
    let broker = Broker::open(config, env);
    let (dir, setting) = if store.starts_with(&data) {
        (&data, "--data")
    } else {
        (&store, "storePathRootDir")
    };
    let broker = broker.map_err(|error| report::not_opened(error, dir, setting))?;
    let nameserver_stop = CancellationToken::new();
    let serving = tokio::spawn(names.run(registry, nameserver_stop.clone()));

    let stop = stop::on_signal()?;
    let announcing = tokio::spawn(announce(Arc::clone(&broker), (nameserver, metrics), dir.clone()));
    let ended = super::broker::until_it_ends(&broker, ports, stop, log).await;
    announcing.abort();
    nameserver_stop.cancel();
    serving.await?;
    Ok((broker, ended))
}

/// Gives the broker the place that the options say. Where an option is not given, what the configuration says stays;
/// `keys` are the settings that it has.
fn place(
    config: &mut Config,
    keys: &BTreeSet<String>,
    options: &cli::Dev,
    nameserver: SocketAddr,
) -> anyhow::Result<()> {
    if options.host.is_some() || !keys.contains("bindAddress") {
        let host = options.host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        config.bind_address = host.to_string().into();
    }
    if let Some(port) = options.broker_port {
        config.listen_port = port;
    }
    // Clients are told of the name server beside the broker, so it must know the broker too.
    let own = nameserver.to_string();
    config.namesrv_addr = match config.namesrv_addr.as_str() {
        "" => own.into(),
        others => format!("{others};{own}").into(),
    };
    if options.data.is_some() || !keys.contains("storePathRootDir") {
        let data = options.data.as_deref().unwrap_or(Path::new(DATA));
        config.store_path_root_dir = data.join("store").display().to_string().into();
    }
    // One log must not get two roots: `--data` moves all of the store that the file of another broker may describe.
    let is_set_here = options
        .settings
        .set
        .iter()
        .any(|(key, _)| key == "storePathCommitLog");
    if options.data.is_some() && !is_set_here {
        config.store_path_commit_log = "".into();
    }
    if config.broker_name.is_empty() {
        config.broker_name = "broker-a".into();
    }
    let host: Option<IpAddr> = config.bind_address.parse().ok();
    if let Some(host) = host.filter(|host| config.broker_ip1.is_empty() && !host.is_unspecified()) {
        config.broker_ip1 = host.to_string().into();
    }
    config.complete(&configuration::surroundings())?;
    Ok(())
}

/// Says where everything is as soon as clients can find the broker.
async fn announce(
    broker: Arc<Broker>,
    (nameserver, metrics): (SocketAddr, Option<SocketAddr>),
    data: impl AsRef<Path>,
) {
    let name = broker.config().broker_name.clone();
    if tokio::time::timeout(REGISTRATION_MAX, registered(nameserver, &name))
        .await
        .is_err()
    {
        warn!(broker = %name, server = %nameserver, "the broker is not registered with the name server yet; trying again");
    }
    let metrics = metrics.map_or_else(String::new, |addr| {
        format!("  metrics      http://{}/metrics\n", reachable(addr))
    });
    cmd::print(&format!(
        "barque {} is ready, Ctrl-C stops it.\n  \
           name server  {nameserver}\n  \
           broker       {} ({name}, data in {})\n\
         {metrics}\
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
