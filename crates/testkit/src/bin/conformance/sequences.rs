// SPDX-License-Identifier: Apache-2.0
//! Rows of requests that are put together by chance, the same in every run: pulls, leases, offsets, subscriptions, resets,
//! locks and members, as no client would mix them. Both servers get the same topics, then each row is played on both and every
//! answer is compared, remarks included. A row has groups of its own, so each can be played alone: `--seed N`.
//!
//! A row that found something is kept as a case in [`crate::cases`], because a seed means another row as soon as
//! somebody adds a request to the generator. What such a row was is in `row-N` among the files of the run.
#![expect(clippy::disallowed_methods, reason = "rows are written to real files")]

mod clients;
mod generate;
mod offsets;
mod pops;
mod pulls;
mod topics;

use crate::{Outcome, Sides};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use testkit::diff::{Case, Side, play};
use testkit::server::Plan;
use topics::Moments;

/// The rows of every run.
const SEEDS: RangeInclusive<u64> = 1..=300;
/// Rows played at the same time: most of the time of a row is waiting for held pulls.
const AT_ONCE: usize = 16;
/// Findings told of one row; one mistake makes many.
const TOLD_MAX: usize = 3;

/// Both servers' addresses, and when their messages were stored.
struct Ground {
    name: &'static str,
    nameserver: SocketAddr,
    broker: SocketAddr,
    moments: Moments,
}

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let mut servers = Vec::new();
    let mut played = Vec::new();
    for (name, program) in sides.all() {
        let plan = Plan::new(program, &sides.dir.join("sequences").join(name));
        let server = plan.set("enablePropertyFilter", "true").start()?;
        played.push((name, Side::new(server.nameserver(), server.broker())));
        servers.push((name, server));
    }
    let moments = topics::prepare(&mut played)?;
    let grounds: Vec<Ground> = servers
        .iter()
        .zip(moments)
        .map(|((name, server), moments)| Ground {
            name,
            nameserver: server.nameserver(),
            broker: server.broker(),
            moments,
        })
        .collect();
    let seeds = sides.seeds.clone().unwrap_or(SEEDS);
    let next = AtomicU64::new(*seeds.start());
    let played = Mutex::new((0, 0, Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let case = generate::row(seed);
                    let found = differences(&case, &grounds);
                    if !found.is_empty() {
                        keep(&sides.dir.join(format!("sequences/row-{seed}")), &case);
                    }
                    let Ok(mut all) = played.lock() else { return };
                    all.0 += case.steps.len();
                    all.1 += usize::from(!found.is_empty());
                    all.2.extend(found);
                }
            });
        }
    });
    for (_, server) in servers {
        server.stop()?;
    }
    let (requests, failed, findings) = played.into_inner().unwrap_or_default();
    let rows = seeds.count();
    Ok(Outcome {
        line: format!(
            "sequences: {} passed, {failed} failed; {requests} requests",
            rows - failed
        ),
        findings,
    })
}

/// Plays one row; what differed.
fn differences(case: &Case, grounds: &[Ground]) -> Vec<String> {
    let mut sides: Vec<(&str, Side)> = Vec::new();
    for ground in grounds {
        let mut side = Side::new(ground.nameserver, ground.broker);
        for (name, moment) in &ground.moments {
            side.note(name, moment);
        }
        sides.push((ground.name, side));
    }
    let mut found = play(case, &mut sides);
    let more = found.len().saturating_sub(TOLD_MAX);
    found.truncate(TOLD_MAX);
    let found = found.into_iter().map(|what| format!("sequences: {what}"));
    let mut found: Vec<String> = found.collect();
    if let (Some(last), true) = (found.last_mut(), more > 0) {
        last.push_str(&format!("\n  and {more} more differences"));
    }
    found
}

/// Writes down a row for whoever looks for what is wrong.
fn keep(file: &Path, case: &Case) {
    let steps: Vec<String> = case.steps.iter().map(ToString::to_string).collect();
    if let Err(error) = std::fs::write(file, steps.join("\n")) {
        eprintln!("{}: {error}", file.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_always_the_same_row() {
        let told = |seed| {
            let steps = generate::row(seed).steps;
            steps.iter().map(ToString::to_string).collect::<Vec<String>>()
        };
        assert_eq!(told(7), told(7));
        assert_ne!(told(7), told(8));
        assert!(SEEDS.clone().all(|seed| (10..=80).contains(&told(seed).len())));
    }
}
