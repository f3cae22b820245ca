// SPDX-License-Identifier: Apache-2.0
//! Where the log goes, in which format, and what of it. The level can change while the program runs; the place cannot.
//!
//! In files the log is where the reference has it (`~/logs/rocketmqlogs/broker.log`, older files in `otherdays`), and the access
//! log is a file of its own beside it.

mod files;
mod line;

use crate::cli;
use anyhow::{Context as _, anyhow};
use files::{Bounds, Lines};
use line::OneLine;
use net::Levels;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use tokio::sync::watch;
use tracing::{info, warn};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// The target of the lines about administration.
const ACCESS: &str = "access";
/// Below the home directory, as in the reference.
const PLACE: &str = "logs/rocketmqlogs";

/// The log of this process. Dropped, it has written all that was logged.
pub(crate) struct Log {
    levels: reload::Handle<EnvFilter, Registry>,
    unset: &'static str,
    files: Vec<Lines>,
}

type Boxed<S> = Box<dyn Layer<S> + Send + Sync>;

impl Log {
    /// Starts to log. `name` is that of the files, `unset` the level where nobody says one.
    pub(crate) fn start(options: &cli::Logging, name: &str, unset: &'static str) -> anyhow::Result<Log> {
        let (filter, levels) = reload::Layer::new(filter(None, unset));
        let registry = tracing_subscriber::registry().with(filter);
        let mut files = Vec::new();
        let layers: Vec<Boxed<_>> = match options.log {
            cli::LogTo::Stderr => {
                let ansi = std::io::stderr().is_terminal();
                vec![layer(options.log_format, std::io::stderr, ansi)]
            }
            cli::LogTo::Stdout => {
                let ansi = std::io::stdout().is_terminal();
                vec![layer(options.log_format, std::io::stdout, ansi)]
            }
            cli::LogTo::Files => {
                let dir = directory(options)?;
                let bounds = Bounds {
                    bytes: u64::from(options.log_file_mib.get()) << 20,
                    older: options.log_files,
                };
                let open = |name: &str| {
                    Lines::open(&dir, name, bounds).with_context(|| {
                        format!(
                            "cannot write the log to {}; choose another directory with --log-dir, or --log stderr",
                            dir.display()
                        )
                    })
                };
                let (main, access) = (open(name)?, open(ACCESS)?);
                let layers = vec![
                    layer(options.log_format, main.writer(), false)
                        .with_filter(filter_fn(|event| event.target() != ACCESS))
                        .boxed(),
                    layer(options.log_format, access.writer(), false)
                        .with_filter(filter_fn(|event| event.target() == ACCESS))
                        .boxed(),
                ];
                files.extend([main, access]);
                layers
            }
        };
        registry
            .with(layers)
            .try_init()
            .map_err(|error| anyhow!("cannot start the log: {error}"))?;
        Ok(Log { levels, unset, files })
    }

    /// Logs at these levels from now on.
    pub(crate) fn set(&self, levels: &Levels) {
        if let Err(error) = self.levels.reload(filter(levels.get(), self.unset)) {
            warn!(key = "logLevel", levels = %levels, %error, "the level of the log stays as it is; set it again");
        }
    }

    /// Follows the levels that the settings of a server have, whenever they change.
    pub(crate) async fn follow(&self, mut changes: watch::Receiver<()>, levels: impl Fn() -> Levels) {
        let mut now = levels();
        while changes.changed().await.is_ok() {
            let next = levels();
            if next != now {
                self.set(&next);
                info!(levels = %next, "the level of the log has changed");
                now = next;
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        for lines in self.files.drain(..) {
            lines.close();
        }
    }
}

/// What the settings say, else the environment, else the default.
fn filter(set: Option<&str>, unset: &str) -> EnvFilter {
    match set {
        Some(levels) => EnvFilter::new(levels),
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(unset)),
    }
}

fn layer<S, W>(format: cli::LogFormat, writer: W, ansi: bool) -> Boxed<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let to = OneLine {
        to: writer,
        format,
        ansi,
    };
    let layer = fmt::layer().with_writer(to).with_ansi(ansi);
    match format {
        cli::LogFormat::Text => layer.with_target(false).boxed(),
        cli::LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    }
}

fn directory(options: &cli::Logging) -> anyhow::Result<PathBuf> {
    if let Some(dir) = &options.log_dir {
        return Ok(dir.clone());
    }
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.ok_or_else(|| anyhow!("there is no home directory to log to; set HOME, or --log-dir"))?;
    Ok(home.join(PLACE))
}
