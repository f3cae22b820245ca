// SPDX-License-Identifier: Apache-2.0
//! `barque nameserver`.

use crate::{cli, cmd, configuration, listen, stop};
use anyhow::anyhow;
use nameserver::config::Config;
use nameserver::nameserver::NameServer;
use std::net::IpAddr;
use store::env::Env;

pub(crate) fn run(options: &cli::Nameserver) -> anyhow::Result<()> {
    let config = configuration::nameserver(options.config.as_deref(), &options.settings)?;
    if options.print {
        cmd::print(&config.to_properties());
        return Ok(());
    }
    cmd::runtime()?.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let host: IpAddr = config.bind_address.parse().map_err(|_| {
        anyhow!(
            "bindAddress: expected an IP address, found \"{}\"",
            config.bind_address
        )
    })?;
    let listening = listen::take(host, config.listen_port, "listenPort").await?;
    let server = NameServer::open(config, Env::real())?;
    let stop = stop::on_signal()?;
    server.run(listening, stop).await;
    Ok(())
}
