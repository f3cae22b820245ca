// SPDX-License-Identifier: Apache-2.0
//! The line between both is damaged in each way for a while, under load: what is acknowledged meanwhile is on both sides
//! while the damage lasts, the others are told so, and afterwards the pair is in step again.

use super::Tell;
use super::pair::Pair;
use super::relay::Damage;
use super::stream::{SEND_OK, Stream};
use anyhow::ensure;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for messages that wait, and for links that are given up.
const DAMAGED_FOR: Duration = Duration::from_secs(4);
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// A slave of the reference waits 5 s before it connects again.
const MENDED_WITHIN: Duration = Duration::from_secs(40);
/// What a producer may be told while the promise is not kept.
const TOLD: [&str; 3] = [SEND_OK, "FLUSH_SLAVE_TIMEOUT", "SLAVE_NOT_AVAILABLE"];

pub(super) fn run(pair: &Pair<'_>, stream: &mut Stream, (damages, tell): (&[Damage], Tell<'_>)) {
    for damage in damages.iter().copied() {
        let begun = Instant::now();
        let went = cut(pair, stream, damage);
        pair.relay.set(Damage::None);
        let what = format!("behind a line that is {}", damage.name());
        if !tell(&what, begun, went) {
            return;
        }
    }
}

fn cut(pair: &Pair<'_>, stream: &mut Stream, damage: Damage) -> anyhow::Result<String> {
    let from = stream.look()?.sent.len();
    let errors = stream.notes.errors.len();
    pair.relay.set(damage);
    stream.until("a message that is not acknowledged", TOLD_WITHIN, |notes| {
        notes.sent.iter().skip(from).any(|sent| sent.status != SEND_OK)
    })?;
    sleep(DAMAGED_FOR);
    // Before it is mended: what is there must have come before.
    let kept = stream.look()?.check(from, pair.places())?;
    let all = stream.notes.sent.len() - from;
    pair.relay.set(Damage::None);
    stream.flows(100, MENDED_WITHIN)?;
    ensure!(
        stream.notes.errors.len() == errors,
        "sends failed: {:?}",
        stream.notes.errors.last()
    );
    let strange = stream
        .notes
        .sent
        .iter()
        .find(|sent| !TOLD.contains(&&*sent.status));
    ensure!(strange.is_none(), "{strange:?}");
    Ok(format!("{kept} of {all} messages were acknowledged meanwhile"))
}
