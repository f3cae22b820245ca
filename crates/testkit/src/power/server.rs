// SPDX-License-Identifier: Apache-2.0
//! What `barque dev` runs, on a noted disk: broker and name server in one process. It takes the part of the command line of
//! `barque dev` that `server` uses, so that it can stand for our binary there.

use super::disk::NotedDisk;
use anyhow::{Context as _, bail};
use broker::config::Surroundings;
use broker::{Broker, Config, Ports};
use nameserver::nameserver::NameServer;
use net::Server;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::disk::real::RealDisk;
use store::disk::{Disk, backup_of};
use store::env::Env;
use tokio_util::sync::CancellationToken;

/// Names the file that notes go to.
pub const NOTES: &str = "BARQUE_NOTES";

/// Where it is to listen, and what it reads.
#[derive(Debug, Default)]
struct Options {
    nameserver: u16,
    broker: u16,
    data: PathBuf,
    config: PathBuf,
}

/// Runs until it is killed.
pub fn run(args: &[String]) -> anyhow::Result<()> {
    let options = Options::of(args)?;
    let notes = std::env::var_os(NOTES).with_context(|| format!("{NOTES} is not set"))?;
    let disk: Arc<dyn Disk> = Arc::new(NotedDisk::noting_to(Path::new(&notes))?);
    let env = Env { disk, ..Env::real() };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(serve(&options, env))
}

impl Options {
    fn of(args: &[String]) -> anyhow::Result<Options> {
        let mut options = Options::default();
        for pair in args.chunks(2) {
            let [name, value] = pair else {
                bail!("{pair:?}: an option without a value");
            };
            match name.as_str() {
                "--data" => options.data = value.into(),
                "--config" => options.config = value.into(),
                "--nameserver-port" => options.nameserver = value.parse()?,
                "--broker-port" => options.broker = value.parse()?,
                "--host" => {}
                other => bail!("{other}: not known here"),
            }
        }
        Ok(options)
    }
}

async fn serve(options: &Options, env: Env) -> anyhow::Result<()> {
    let registry = Server::bind((Ipv4Addr::LOCALHOST, options.nameserver).into()).await?;
    let nameserver: SocketAddr = registry.local_addr();
    let text = match RealDisk.load(&options.config)? {
        None => RealDisk.load(&backup_of(&options.config))?,
        found => found,
    };
    let text = text.context("no configuration")?;
    let text = broker::config::text_of(text);
    let (mut config, _) = Config::load(&text, &options.config.display().to_string())?;
    config.broker_config_path = options.config.display().to_string().into();
    config.set("bindAddress", "127.0.0.1")?;
    config.set("namesrvAddr", &nameserver.to_string())?;
    config.set("listenPort", &options.broker.to_string())?;
    let ports = Ports::bind(&mut config).await?;
    config.complete(&Surroundings::default())?;
    let names = nameserver::config::Config::new(&options.data);
    let names = NameServer::open(names, env.clone())?;
    let broker = tokio::task::spawn_blocking(|| Broker::open(config, env)).await??;
    let stop = CancellationToken::new();
    let serving = tokio::spawn(names.run(registry, stop.clone()));
    let ended = broker.run(ports, stop.clone()).await;
    stop.cancel();
    serving.await?;
    Ok(ended?)
}
