// SPDX-License-Identifier: Apache-2.0
//! Either side is killed at a random moment under load. While it is dead, every message that was acknowledged is in the
//! logs of both: the other side could go on alone. Then it comes back, and the next round begins.

use super::pair::{Pair, Promise, Running, commit, kind, tables_agree};
use super::stream::Stream;
use crate::dice::Dice;
use anyhow::Context as _;
use std::thread::sleep;
use std::time::Duration;

const NOTICED_WITHIN: Duration = Duration::from_secs(30);
/// Includes the start of a JVM, and the pauses of a slave of the reference.
const FLOWS_WITHIN: Duration = Duration::from_secs(90);
/// A kill comes so soon after messages are acknowledged again.
const SOON_MS: usize = 1500;
/// Of a machine that does much else. What is promised is less, and shown by a test that is alone.
const TABLES_WITHIN: Duration = Duration::from_secs(30);
/// After so many rounds everything is looked for, not only what came last.
const WHOLE_EVERY: usize = 10;

pub(super) fn play(
    pair: &Pair<'_>,
    mut running: Running,
    mut stream: Stream,
    rounds: usize,
) -> anyhow::Result<(Running, String)> {
    let mut dice = Dice::new(pair.parts.name().len() as u64);
    let dirs = pair.places();
    let mut looked = 0;
    for round in 0..rounds {
        stream
            .flows(100, FLOWS_WITHIN)
            .with_context(|| format!("before kill {round}"))?;
        sleep(Duration::from_millis(dice.below(SOON_MS) as u64));
        let context = |what: &str| format!("kill {round}, of the {what}");
        if round % 2 == 0 {
            let errors = stream.look()?.errors.len();
            running.master.kill()?;
            // Answers may still be on their way to the client: each sender fails after the last one.
            stream.until("senders to notice", NOTICED_WITHIN, |notes| {
                notes.errors.len() >= errors + 8
            })?;
            stream
                .notes
                .check(looked, dirs)
                .with_context(|| context("master"))?;
            running.master = pair.start_master(Promise::TwoReplicas)?;
        } else {
            running.slave.kill()?;
            let sent = stream.look()?.sent.len();
            stream.until("senders to notice", NOTICED_WITHIN, |notes| {
                notes.sent.len() > sent + 8
            })?;
            stream
                .notes
                .check(looked, dirs)
                .with_context(|| context("slave"))?;
            running.slave = pair.start_slave()?;
        }
        if kind(pair.parts.slave) == "barque" {
            // One of the reference looks only once in a minute.
            commit(&running.master, "CG_verify", "Load0", round as i64 + 2)?;
            tables_agree(&running.master, &running.slave, TABLES_WITHIN)
                .with_context(|| format!("after kill {round}"))?;
        }
        looked = if round % WHOLE_EVERY == WHOLE_EVERY - 1 {
            0
        } else {
            stream.notes.sent.len()
        };
    }
    stream.flows(100, FLOWS_WITHIN).context("after the last kill")?;
    let notes = stream.end()?;
    let bytes = pair.compare(&running)?;
    let kept = notes.check(0, dirs)?;
    let told = format!(
        "{rounds} kills, {kept} acknowledged messages are on both sides; {bytes} bytes are the same; {}",
        notes.summary()
    );
    Ok((running, told))
}
