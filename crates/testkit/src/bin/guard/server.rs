// SPDX-License-Identifier: Apache-2.0
//! The counted process: a broker of which all connections are on one thread, and a port at which the other process says
//! where counting begins and ends.

use anyhow::Context as _;
use broker::config::Surroundings;
use broker::{Broker, Config, Ports};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use store::Env;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

/// Later than the end of any run.
const NEVER_MS: &str = "3600000";

/// What goes on beside requests is put off: when it happened would be left to chance. Queue entries and messages are
/// therefore read from memory, as by a consumer that keeps up.
const SETTINGS: [(&str, &str); 9] = [
    ("brokerName", "broker-a"),
    ("brokerIP1", "127.0.0.1"),
    ("bindAddress", "127.0.0.1"),
    ("listenPort", "0"),
    ("metricsExporterType", "DISABLE"),
    ("flushIntervalCommitLog", NEVER_MS),
    ("flushIntervalConsumeQueue", NEVER_MS),
    ("maxHashSlotNum", "100000"),
    ("maxIndexNum", "400000"),
];

/// Runs until nobody makes marks any more.
pub(crate) fn serve(dir: &Path) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let broker = runtime.block_on(run(dir))?;
    Ok(broker.close()?)
}

async fn run(dir: &Path) -> anyhow::Result<Arc<Broker>> {
    let mut config = Config::default();
    for (key, value) in SETTINGS {
        config.set(key, value)?;
    }
    config.set("storePathRootDir", &dir.display().to_string())?;
    let ports = Ports::bind(&mut config).await?;
    // As the binary does.
    config.complete(&Surroundings::default())?;
    let broker = Broker::open(config, Env::real())?;
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&broker).run(ports, stop.clone()));
    let marks = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    tell(broker.host.port(), marks.local_addr()?.port())?;
    let (marks, _) = marks.accept().await?;
    obey(marks).await?;
    stop.cancel();
    running.await.context("the broker panicked")??;
    Ok(broker)
}

fn tell(port: u16, marks: u16) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{port} {marks}")?;
    Ok(out.flush()?)
}

/// Makes a mark for each byte that comes, and sends it back.
async fn obey(mut marks: TcpStream) -> anyhow::Result<()> {
    marks.set_nodelay(true)?;
    let mut byte = [0];
    while marks.read(&mut byte).await? > 0 {
        mark(&byte);
        marks.write_all(&byte).await?;
    }
    Ok(())
}

/// Whenever this is entered, callgrind writes away what it has counted so far, and goes on from nothing (`--dump-before`).
#[inline(never)]
fn mark(byte: &[u8; 1]) {
    std::hint::black_box(byte);
}
