// SPDX-License-Identifier: Apache-2.0
//! One client that sends as much as it can, and others beside it: how long they wait, and what they get.

use std::time::Duration;

use super::load::{self, Load, Manner, Quiet, Seen, joined};
use super::{BODY, QUIET};

/// Connections of the noisy client, and requests that it has under way on each.
const NOISY: (usize, u64) = (16, 4096);
/// Quiet ones beside it, each with one connection and one request at a time.
const MANY: usize = 32;

/// What the others saw.
pub(super) struct Neighbours {
    /// p99 of somebody who asks little, beside the noisy one, ms.
    pub(super) one: f64,
    /// p99 of all of many quiet ones, and of that one who fared worst, ms.
    pub(super) many: (f64, f64),
    /// What the one got that got least of them, of an equal share.
    pub(super) least: f64,
    /// How many messages a second the quiet ones got together, and the noisy one.
    pub(super) rates: (f64, f64),
    /// How much one with 32 requests under way gets beside one with 4096, of an equal share.
    pub(super) equal: f64,
    /// What was sent to a connection that ended, or answered too late.
    pub(super) unanswered: u64,
}

/// `noisy` says what the noisy one sends; how and how long is said here.
pub(super) async fn play(noisy: &Load, length: Duration) -> anyhow::Result<Neighbours> {
    let (connections, in_flight) = NOISY;
    let loud = Load {
        connections,
        manner: Manner::Closed(in_flight),
        length,
        ..noisy.clone()
    };
    let modest = |connections, in_flight| Load {
        topic: QUIET,
        queues: 1,
        connections,
        manner: Manner::Closed(in_flight),
        ..loud.clone()
    };
    let one = Quiet::start(noisy.broker, QUIET, BODY)?;
    let many = load::run_apart(modest(MANY, 1));
    let seen = load::run(&loud).await?;
    let mut many = joined(many)?;
    let one = super::p99(&one.stop()?);
    let worst = many
        .iter_mut()
        .map(|seen| seen.quantile(0.99))
        .fold(0.0, f64::max);
    let stored: Vec<u64> = many.iter().map(|seen| seen.ok).collect();
    let mut all = sum(many);

    let deep = Load {
        connections: 1,
        ..loud.clone()
    };
    let shallow = load::run_apart(modest(1, 32));
    let deep = load::run(&deep).await?;
    let shallow = sum(joined(shallow)?);
    let unanswered = [&all, &seen, &deep, &shallow].map(|seen| seen.unanswered);
    let (deep, shallow) = (deep.per_second(length), shallow.per_second(length));
    let mean = stored.iter().sum::<u64>() as f64 / stored.len().max(1) as f64;
    Ok(Neighbours {
        one,
        many: (all.quantile(0.99), worst),
        least: stored.iter().min().copied().unwrap_or_default() as f64 / mean.max(1.0),
        rates: (all.per_second(length), seen.per_second(length)),
        equal: shallow / ((deep + shallow) / 2.0),
        unanswered: unanswered.iter().sum(),
    })
}

fn sum(seen: Vec<Seen>) -> Seen {
    let mut all = Seen::default();
    seen.into_iter().for_each(|one| all.add(one));
    all
}

impl Neighbours {
    pub(super) fn text(&self) -> String {
        let (connections, in_flight) = NOISY;
        format!(
            "beside one client with {connections} connections of {in_flight} requests ({:.0}/s): p99 of one who asks little {:.1} ms; \
             {MANY} with one request at a time get {:.0}/s, p99 {:.1} ms, of the worst of them {:.1} ms, the least of them gets {:.0} % \
             of an equal share; 32 requests on a connection beside 4096 on another get {:.0} % of an equal share",
            self.rates.1,
            self.one,
            self.rates.0,
            self.many.0,
            self.many.1,
            100.0 * self.least,
            100.0 * self.equal,
        )
    }

    /// What is not fair about it, where nobody may wait so many milliseconds.
    pub(super) fn findings(&self, p99_ms: f64) -> Vec<String> {
        let promises = [
            (
                self.one < p99_ms && self.many.1 < p99_ms,
                format!("quiet clients wait {:.1} and {:.1} ms", self.one, self.many.1),
            ),
            (
                self.least > 0.5,
                format!(
                    "one of the quiet clients gets {:.2} of an equal share",
                    self.least
                ),
            ),
            (
                self.equal > 0.25,
                format!("32 requests beside 4096 get {:.2} of an equal share", self.equal),
            ),
        ];
        let broken = promises.into_iter().filter(|(is_kept, _)| !is_kept);
        broken.map(|(_, what)| what).collect()
    }
}
