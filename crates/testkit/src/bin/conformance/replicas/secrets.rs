// SPDX-License-Identifier: Apache-2.0
//! With `haSecret` barque follows nobody and is followed by nobody that does not prove that it has the secret too, as the
//! reference cannot, unless `haAllowUnproven` says so.

use super::pair::{self, Pair, Promise, Running, end_of, ha_status, kind};
use anyhow::{Context as _, ensure};
use std::time::{Duration, Instant};
use testkit::line::Line;
use testkit::process::eventually;
use testkit::server::{Program, Server};

const SECRET: (&str, &str) = ("haSecret", "a secret of the pair");
const LAX: (&str, &str) = ("haAllowUnproven", "true");
/// A slave of the reference waits 5 s before it connects again, and 5 s before it says something.
const TRIED_WITHIN: Duration = Duration::from_secs(40);
const LINKED_WITHIN: Duration = Duration::from_secs(40);

/// Whether the two come together: not with the secret alone, but with the leave. Only for pairs with one of each.
pub(super) fn play(pair: &Pair<'_>, running: Running) -> anyhow::Result<(Running, String)> {
    match pair.parts.master {
        Program::Barque(_) => of_master(pair, running),
        Program::Reference(_) => of_slave(pair, running),
    }
}

/// Whether pairs of these need to trust each other without a proof.
pub(super) fn is_mixed(pair: &Pair<'_>) -> bool {
    kind(pair.parts.master) != kind(pair.parts.slave)
}

fn of_master(pair: &Pair<'_>, mut running: Running) -> anyhow::Result<(Running, String)> {
    running.master.stop()?;
    running.master = pair.start_master_with(Promise::TwoReplicas, &[SECRET])?;
    is_told(&running.master, "it says no hello, or a wrong one")?;
    let status = ha_status(&mut Line::open(running.master.broker())?)?;
    ensure!(
        status.ha_connection_info.is_empty(),
        "it is a slave: {:?}",
        status.ha_connection_info
    );
    let sent = pair::send(&running.master, "Load0", "nobody has it")?;
    ensure!(
        sent == 11,
        "a send was answered {sent}, and not SLAVE_NOT_AVAILABLE"
    );

    running.master.stop()?;
    running.master = pair.start_master_with(Promise::TwoReplicas, &[SECRET, LAX])?;
    together(pair, running)
}

fn of_slave(pair: &Pair<'_>, mut running: Running) -> anyhow::Result<(Running, String)> {
    running.slave.stop()?;
    let sent = pair::send(&running.master, "Load0", "the slave is away")?;
    ensure!(
        sent == 12,
        "a send was answered {sent}, and not FLUSH_SLAVE_TIMEOUT"
    );
    running.slave = pair.start_slave_with(&[SECRET])?;
    is_told(&running.slave, "the master does not prove that it has the secret")?;
    let status = ha_status(&mut Line::open(running.master.broker())?)?;
    ensure!(status.ha_connection_info.is_empty(), "the slave is linked");
    let [master, slave] = [&running.master, &running.slave].map(|it| end_of(&mut Line::open(it.broker())?));
    let (master, slave) = (master?, slave?);
    ensure!(slave < master, "the slave has {slave} of {master} bytes");

    running.slave.stop()?;
    running.slave = pair.start_slave_with(&[SECRET, LAX])?;
    together(pair, running)
}

/// One clear line: it tries all the time, and says it once.
fn is_told(server: &Server, words: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    eventually("a line about the secret", TRIED_WITHIN, || {
        Ok(!server.lines_with(words)?.is_empty())
    })?;
    // Two more attempts.
    std::thread::sleep(begun.elapsed().min(Duration::from_secs(2)));
    let lines = server.lines_with(words)?;
    ensure!(lines.len() == 1, "{} lines: {lines:?}", lines.len());
    Ok(())
}

fn together(pair: &Pair<'_>, running: Running) -> anyhow::Result<(Running, String)> {
    let mut answer = 0;
    let done = eventually("a message that both have", LINKED_WITHIN, || {
        answer = pair::send(&running.master, "Load0", "both have it")?;
        Ok(answer == 0)
    });
    done.with_context(|| format!("the last send was answered {answer}"))?;
    let bytes = pair.compare(&running)?;
    Ok((running, format!("{bytes} bytes are the same")))
}
