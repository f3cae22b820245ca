// SPDX-License-Identifier: Apache-2.0
//! `barque nameserver`.

use crate::log::Log;
use crate::{cli, cmd, configuration, listen, stop};
use anyhow::anyhow;
use nameserver::config::Config;
use nameserver::nameserver::NameServer;
use std::net::IpAddr;
use std::sync::Arc;
use store::env::Env;
use tokio_util::sync::CancellationToken;

pub(crate) fn run(options: &cli::Nameserver) -> anyhow::Result<()> {
    let (config, warnings) = configuration::nameserver(options.config.as_deref(), &options.settings)?;
    if options.print {
        cmd::tell_at_once(&warnings);
        cmd::print(&config.to_properties());
        return Ok(());
    }
    let log = Log::start(&options.logging, "namesrv", "info")?;
    log.set(&config.log_level);
    cmd::tell(&warnings);
    cmd::runtime()?.block_on(serve(config, &log))
}

async fn serve(config: Config, log: &Log) -> anyhow::Result<()> {
    let host: IpAddr = config.bind_address.parse().map_err(|_| {
        anyhow!(
            "bindAddress: expected an IP address, found \"{}\"",
            config.bind_address
        )
    })?;
    let listening = listen::take(host, config.listen_port, "listenPort").await?;
    let metrics = match config.metrics_prom_exporter_port {
        0 => None,
        port => Some(listen::take(host, port, "metricsPromExporterPort").await?),
    };
    let server = NameServer::open(config, Env::real())?;
    let stop = stop::on_signal()?;
    let addr = listening.local_addr();
    // As the reference's name server prints it; scripts look for "boot success".
    cmd::print(&format!(
        "The Name Server boot success. serializeType=JSON, address {addr}\n"
    ));
    let shown = CancellationToken::new();
    let showing = metrics.map(|metrics| tokio::spawn(Arc::clone(&server).show(metrics, shown.clone())));
    tokio::select! {
        () = Arc::clone(&server).run(listening, stop) => {}
        () = log.follow(server.config_changes(), || server.levels()) => {}
    }
    shown.cancel();
    if let Some(showing) = showing {
        showing.await?;
    }
    Ok(())
}
