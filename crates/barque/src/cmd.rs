// SPDX-License-Identifier: Apache-2.0
//! The commands, one file each. What they share is here: the runtime, and printing.

pub(crate) mod admin;
pub(crate) mod bench;
pub(crate) mod broker;
pub(crate) mod dev;
pub(crate) mod nameserver;
pub(crate) mod shutdown;
pub(crate) mod store;

use crate::configuration::Warning;
use anyhow::Context as _;
use std::io::Write as _;
use tokio::runtime::{Builder, Runtime};
use tracing::warn;

/// Threads for work that waits for the disk; more would only wait beside them.
const DISK_THREADS_MAX: usize = 64;

/// A runtime with one worker for each core that the process may use.
fn runtime() -> anyhow::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let built = Builder::new_multi_thread()
        .worker_threads(cores)
        .max_blocking_threads(DISK_THREADS_MAX)
        .thread_name("barque-worker")
        .enable_all()
        .build();
    built.context("cannot start the worker threads")
}

/// Logs what there is to say about the settings.
fn tell(warnings: &[Warning]) {
    for warning in warnings {
        let Warning { place, key, why } = warning;
        warn!(place, key, "a setting does nothing: {why}");
    }
}

/// The same to stderr, where a program ends before there is a log.
fn tell_at_once(warnings: &[Warning]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// Writes to stdout. That nobody reads it any more is no error.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed_pipe = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
