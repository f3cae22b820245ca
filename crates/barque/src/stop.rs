// SPDX-License-Identifier: Apache-2.0
//! Ctrl-C and SIGTERM: the first asks everything to stop, a second one ends the process where it stands.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// A token that is cancelled by the first signal. From here on signals no longer kill the process.
pub(crate) fn on_signal() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        next(&mut interrupt, &mut terminate).await;
        info!("stopping");
        token.cancel();
        let signal = next(&mut interrupt, &mut terminate).await;
        warn!(
            signal,
            "second signal, the process ends without a clean stop; the next start recovers"
        );
        std::process::exit(1);
    });
    Ok(stop)
}

/// The name of the next one.
async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
