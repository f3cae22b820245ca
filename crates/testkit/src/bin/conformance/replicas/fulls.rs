// SPDX-License-Identifier: Apache-2.0
//! One side can write no more to its log, under load, as on a full disk, and later again. A limit on the size of its files
//! (`RLIMIT_FSIZE`) stands for the disk: it needs no rights, and the write fails as on a full one (EFBIG for ENOSPC).

use super::Tell;
use super::pair::{Pair, Running};
use super::stream::{SEND_OK, Stream};
use anyhow::{Context as _, ensure};
use std::time::{Duration, Instant};
use testkit::programs::{self, Missing};
use testkit::server::{Program, Server};

/// More than any file but those of the log.
const FILE_BYTES: u64 = 192 << 10;
/// The master fills a file or two before.
const TOLD_WITHIN: Duration = Duration::from_secs(90);
const MENDED_WITHIN: Duration = Duration::from_secs(40);
/// So many messages in a row tell that it is full, not that it is slow.
const FULL: usize = 12;
const DOUBTS: [&str; 2] = ["FLUSH_SLAVE_TIMEOUT", "SLAVE_NOT_AVAILABLE"];

/// Fills each side that is barque's.
pub(super) fn run(pair: &Pair<'_>, running: &Running, stream: &mut Stream, tell: Tell<'_>) {
    if let Some(Missing(tool)) = programs::missing(&["prlimit"]).filter(|_| !crate::is_ci()) {
        eprintln!(
            "{} with a side that is full: SKIPPED, {tool} is not installed",
            pair.parts.name()
        );
        return;
    }
    if let Program::Barque(_) = pair.parts.slave {
        let begun = Instant::now();
        let went = slave(pair, &running.slave, stream);
        tell("with a slave that is full", begun, went);
    }
    if let Program::Barque(_) = pair.parts.master {
        let begun = Instant::now();
        let went = master(pair, &running.master, stream);
        tell("with a master that is full", begun, went);
    }
}

/// Fills one side while something is looked at; whatever comes of that, there is room again.
fn full<T>(server: &Server, meanwhile: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    server.limit_files(Some(FILE_BYTES))?;
    let seen = meanwhile();
    server.limit_files(None)?;
    seen
}

/// The master goes on, and says of each message that only it has it.
fn slave(pair: &Pair<'_>, slave: &Server, stream: &mut Stream) -> anyhow::Result<String> {
    let from = stream.look()?.sent.len();
    let errors = stream.notes.errors.len();
    let kept = full(slave, || {
        stream.until("a slave that takes nothing", TOLD_WITHIN, |notes| {
            let mut last = notes.sent.iter().skip(from).rev().take(FULL);
            notes.sent.len() >= from + FULL && last.all(|sent| DOUBTS.contains(&&*sent.status))
        })?;
        stream.look()?.check(from, pair.places())
    })?;
    let all = stream.notes.sent.len() - from;
    let lines = slave.lines_with("the log cannot grow")?;
    ensure!(!lines.is_empty(), "the slave says nothing of it");
    ensure!(lines.len() <= 3, "the slave says it again and again: {lines:?}");
    stream.flows(100, MENDED_WITHIN).context("with room again")?;
    let (sent, failed) = (&stream.notes.sent, &stream.notes.errors);
    ensure!(failed.len() == errors, "sends failed: {:?}", failed.last());
    let strange = sent
        .iter()
        .skip(from)
        .find(|sent| sent.status != SEND_OK && !DOUBTS.contains(&&*sent.status));
    ensure!(strange.is_none(), "{strange:?}");
    stream.notes.check(from, pair.places()).context("afterwards")?;
    Ok(format!("{kept} of {all} messages were acknowledged meanwhile"))
}

/// Sends are refused. What was acknowledged before is on the slave, which follows as soon as there is something.
fn master(pair: &Pair<'_>, master: &Server, stream: &mut Stream) -> anyhow::Result<String> {
    let from = stream.look()?.sent.len();
    let errors = stream.notes.errors.len();
    let kept = full(master, || {
        stream.until("sends that are refused", TOLD_WITHIN, |notes| {
            notes.errors.len() >= errors + FULL
        })?;
        stream.look()?.check(from, pair.places())
    })?;
    let refused = stream.notes.errors.len() - errors;
    stream.flows(100, MENDED_WITHIN).context("with room again")?;
    stream.notes.check(from, pair.places()).context("afterwards")?;
    Ok(format!("{kept} messages were acknowledged, {refused} refused"))
}
