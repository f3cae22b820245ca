// SPDX-License-Identifier: Apache-2.0
//! The master is dead, and official consumers that begin now read everything from its slave, and commit there.

use super::pair::{Pair, Promise, Running, table};
use super::stream::Stream;
use super::{Ground, client};
use anyhow::{Context as _, ensure};
use std::time::Duration;
use testkit::line::Line;
use testkit::server::Server;
use wire::body::stats::OffsetTable;
use wire::code::Code;

const GROUP: &str = "CG_from_slave";
const TOPICS: [&str; 3] = ["Load0", "Load1", "Load2"];
/// Includes the start of a JVM, and the pauses of a slave of the reference.
const FLOWS_WITHIN: Duration = Duration::from_secs(90);

/// Reads what was noted when it was sent, each message that is acknowledged at least once. The master is back afterwards.
pub(super) fn play(
    pair: &Pair<'_>,
    mut running: Running,
    stream: &mut Stream,
    ground: &Ground<'_>,
) -> anyhow::Result<(Running, String)> {
    let from = stream.look()?.sent.len().saturating_sub(500);
    running.master.kill()?;
    let read = read(pair, &running.slave, ground);
    stream
        .look()?
        .check(from, pair.places())
        .context("with a dead master")?;
    running.master = pair.start_master(Promise::TwoReplicas)?;
    let read = read?;
    stream.flows(100, FLOWS_WITHIN).context("with the master back")?;
    let told = format!("{read} messages were read and committed on the slave");
    Ok((running, told))
}

/// Returns how many messages the offsets say that the group has read.
fn read(pair: &Pair<'_>, slave: &Server, ground: &Ground<'_>) -> anyhow::Result<i64> {
    let notes = ground.dir.join("acknowledged").display().to_string();
    client(pair, ground, &["drain", GROUP, &notes])?;
    let mut line = Line::open(slave.broker())?;
    let offsets: OffsetTable = table(&mut line, Code::GET_ALL_CONSUMER_OFFSET)?.context("no offsets")?;
    let mut read = 0;
    for topic in TOPICS {
        let committed = offsets.offset_table.get(&*format!("{topic}@{GROUP}"));
        let committed =
            committed.with_context(|| format!("nothing of {topic} was committed on the slave"))?;
        ensure!(committed.len() == 4, "{topic}: {committed:?}");
        read += committed.values().sum::<i64>();
    }
    let all = std::fs::read_to_string(&notes)?;
    let sent = all.lines().filter(|note| !note.starts_with("later")).count();
    ensure!(
        read == i64::try_from(sent)?,
        "{read} of {sent} messages are behind the offsets"
    );
    Ok(read)
}
