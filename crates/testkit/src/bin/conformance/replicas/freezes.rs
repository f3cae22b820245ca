// SPDX-License-Identifier: Apache-2.0
//! One side is stopped where it is (SIGSTOP) under load, for longer than a link may be silent, and goes on (SIGCONT). Its
//! connections stay open meanwhile, so nobody is told. What is acknowledged is on both sides at any time, and afterwards
//! the pair is in step again.

use super::Tell;
use super::pair::{Pair, Running};
use super::stream::{SEND_OK, Stream};
use anyhow::{Context as _, ensure};
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::server::Server;

/// Longer than a link may be silent, and shorter than a client waits for an answer.
const FROZEN_FOR: Duration = Duration::from_secs(4);
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// A slave of the reference waits 5 s before it connects again.
const MENDED_WITHIN: Duration = Duration::from_secs(40);
const DOUBTS: [&str; 2] = ["FLUSH_SLAVE_TIMEOUT", "SLAVE_NOT_AVAILABLE"];

pub(super) fn run(pair: &Pair<'_>, running: &Running, stream: &mut Stream, tell: Tell<'_>) {
    let begun = Instant::now();
    let went = slave(pair, &running.slave, stream);
    tell("with a slave that is frozen", begun, went);
    let begun = Instant::now();
    let went = master(pair, &running.master, stream);
    tell("with a master that is frozen", begun, went);
}

/// Freezes one side while something is looked at; whatever comes of that, it goes on.
fn frozen<T>(server: &Server, meanwhile: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    server.freeze()?;
    let seen = meanwhile();
    server.thaw()?;
    seen
}

fn slave(pair: &Pair<'_>, slave: &Server, stream: &mut Stream) -> anyhow::Result<String> {
    let from = stream.look()?.sent.len();
    let errors = stream.notes.errors.len();
    let kept = frozen(slave, || {
        stream.until("a message that is not acknowledged", TOLD_WITHIN, |notes| {
            notes.sent.iter().skip(from).any(|sent| sent.status != SEND_OK)
        })?;
        sleep(FROZEN_FOR);
        stream.look()?.check(from, pair.places())
    })?;
    let all = stream.notes.sent.len() - from;
    stream.flows(100, MENDED_WITHIN)?;
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

fn master(pair: &Pair<'_>, master: &Server, stream: &mut Stream) -> anyhow::Result<String> {
    let from = stream.look()?.sent.len();
    let during = frozen(master, || {
        sleep(FROZEN_FOR);
        stream.look()?.check(from, pair.places())
    })?;
    stream.flows(100, MENDED_WITHIN)?;
    let after = stream.notes.check(from, pair.places()).context("afterwards")?;
    Ok(format!(
        "{after} messages were acknowledged, {during} of them just before"
    ))
}
