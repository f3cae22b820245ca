// SPDX-License-Identifier: Apache-2.0
//! `barque broker`.

use crate::log::Log;
use crate::{cli, cmd, configuration, listen, report, stop};
use anyhow::{Context as _, bail};
use broker::{Broker, Config, Ports};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use store::env::Env;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// What `-m` prints: the settings that most installations change.
const IMPORTANT: [&str; 18] = [
    "brokerClusterName",
    "brokerName",
    "brokerId",
    "brokerRole",
    "brokerIP1",
    "listenPort",
    "namesrvAddr",
    "brokerPermission",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
    "defaultTopicQueueNums",
    "storePathRootDir",
    "storePathCommitLog",
    "flushDiskType",
    "fileReservedTime",
    "deleteWhen",
    "diskMaxUsedSpaceRatio",
    "maxMessageSize",
];

pub(crate) fn run(options: &cli::Broker) -> anyhow::Result<()> {
    if options.enable_proxy {
        bail!(
            "--enable-proxy: there is no proxy; leave it out, remoting clients connect to the broker itself"
        );
    }
    let (mut config, warnings) = configuration::broker(options.config.as_deref(), &options.settings)?;
    if let Some(list) = &options.nameservers {
        config.set("namesrvAddr", list)?;
    }
    config.complete(&configuration::surroundings())?;
    if options.print || options.print_important {
        cmd::tell_at_once(&warnings);
    }
    if options.print {
        let all = config.all();
        cmd::print(&wire::java_properties::write(
            all.iter().map(|(key, value)| (*key, value.as_str())),
        ));
        return Ok(());
    }
    if options.print_important {
        let lines = IMPORTANT
            .iter()
            .filter_map(|key| Some(format!("{key}={}\n", config.get(key)?)));
        cmd::print(&lines.collect::<String>());
        return Ok(());
    }
    let log = Log::start(&options.logging, "broker", "info")?;
    log.set(&config.log_level);
    cmd::tell(&warnings);
    let runtime = cmd::runtime()?;
    let (broker, ended) = runtime.block_on(serve(config, &log))?;
    finish(&broker, ended)
}

async fn serve(mut config: Config, log: &Log) -> anyhow::Result<(Arc<Broker>, anyhow::Result<()>)> {
    let ports = Ports::bind(&mut config)
        .await
        .map_err(|error| listen::refused(&error.source, error.setting))?;
    let alone = config.namesrv_addr.is_empty();
    let dir = PathBuf::from(config.store_path_root_dir.as_str());
    let broker = Broker::open(config, Env::real());
    let broker = broker.map_err(|error| report::not_opened(error, &dir, "storePathRootDir"))?;
    if alone {
        warn!(
            key = "namesrvAddr",
            "no name server is configured: clients cannot find this broker (-n HOST:PORT)"
        );
    }
    let stop = stop::on_signal()?;
    cmd::print(&success(&broker.config(), broker.host));
    let ended = until_it_ends(&broker, ports, stop, log).await;
    Ok((broker, ended))
}

/// Runs a broker while the log follows its settings.
pub(super) async fn until_it_ends(
    broker: &Arc<Broker>,
    ports: Ports,
    stop: CancellationToken,
    log: &Log,
) -> anyhow::Result<()> {
    tokio::select! {
        ended = Arc::clone(broker).run(ports, stop) => ended.map_err(Into::into),
        () = log.follow(broker.config_changes(), || broker.config().log_level.clone()) => Ok(()),
    }
}

/// What the reference's broker prints when it has started; scripts look for "boot success".
fn success(config: &Config, host: SocketAddr) -> String {
    let servers = match config.namesrv_addr.as_str() {
        "" => String::new(),
        servers => format!(" and name server is {servers}"),
    };
    format!(
        "The broker[{}, {host}] boot success. serializeType=JSON{servers}\n",
        config.broker_name
    )
}

/// Closes the store. When the broker ended by itself, that is the error to tell.
pub(super) fn finish(broker: &Broker, ended: anyhow::Result<()>) -> anyhow::Result<()> {
    let closed = broker
        .close()
        .context("the store was not closed cleanly; the next start recovers");
    ended.and(closed)
}
