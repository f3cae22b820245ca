// SPDX-License-Identifier: Apache-2.0
//! Master and slave as processes, each the Java reference or barque, under the load of the official client: whether the
//! log of the slave is that of the master, whether what was acknowledged is on both after a kill and behind a damaged
//! line, and whether a cluster can go from the reference to barque and back while it is used.
#![expect(clippy::disallowed_methods, reason = "real processes live in real time")]

mod acting;
mod cuts;
mod freezes;
mod fulls;
mod kills;
mod logs;
mod migration;
mod pair;
mod reads;
mod relay;
mod secrets;
mod stream;

use self::pair::{Pair, Parts, Promise, Running};
use self::relay::Damage;
use self::stream::Stream;
use crate::clients::java_program;
use crate::{Outcome, Sides};
use anyhow::{Context as _, bail, ensure};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use testkit::process::Process;
use testkit::programs;
use testkit::server::Program;

/// Enough for several files of the log.
const MESSAGES: usize = 2500;
const LOAD_WITHIN: Duration = Duration::from_secs(240);
const FLOWS_WITHIN: Duration = Duration::from_secs(60);
/// Kills of a run that says nothing else.
pub(crate) const ROUNDS: usize = 6;

/// What the parts of this section came to.
#[derive(Default)]
struct Report {
    told: Mutex<Vec<String>>,
    failures: Mutex<Vec<String>>,
}

impl Report {
    /// Notes how something went. `true` when it went well.
    fn tell(&self, what: &str, begun: Instant, went: anyhow::Result<String>) -> bool {
        let took = begun.elapsed().as_secs();
        let is_well = went.is_ok();
        match went {
            Ok(more) => {
                eprintln!("{what}: {more} ({took} s)");
                push(&self.told, what.to_owned());
            }
            Err(error) => {
                eprintln!("{what}: FAILED after {took} s: {error:#}");
                push(&self.failures, format!("replicas: {what}: {error:#}"));
                push(&self.told, format!("{what} FAILED"));
            }
        }
        is_well
    }

    fn outcome(self) -> Outcome {
        let [told, failures] = [self.told, self.failures].map(|lines| {
            let mut lines = lines
                .into_inner()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            // Pairs are played side by side: whichever was quicker, the lines are the same.
            lines.sort_by(|one, other| pair_of(one).cmp(pair_of(other)));
            lines
        });
        let line = format!(
            "replicas: {} passed, {} failed; {}",
            told.len() - failures.len(),
            failures.len(),
            told.join(", ")
        );
        Outcome {
            line,
            findings: failures,
        }
    }
}

fn push(to: &Mutex<Vec<String>>, what: String) {
    to.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .push(what);
}

/// What every part of this section needs.
struct Ground<'a> {
    dir: PathBuf,
    classes: &'a str,
    report: &'a Report,
    names: &'a Program,
    /// Kills for one pair.
    rounds: usize,
}

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let classes = programs::java_client()?;
    let report = Report::default();
    let all = sides.all();
    let pairs = match sides.both() {
        Some((reference, barque)) => vec![(reference, barque), (barque, reference), (barque, barque)],
        None => all.iter().map(|(_, only)| (*only, *only)).collect(),
    };
    let (_, names) = all.last().context("nothing to run")?;
    let is_chosen = |name: &str| sides.pair.as_deref().is_none_or(|pair| pair == name);
    let pairs = pairs.into_iter().map(|(master, slave)| Parts { master, slave });
    let pairs: Vec<Parts<'_>> = pairs.collect();
    let chosen = pairs.iter().copied().filter(|parts| is_chosen(&parts.name()));
    let chosen: Vec<Parts<'_>> = chosen.collect();
    let rounds = sides.rounds.unwrap_or(ROUNDS).div_ceil(chosen.len().max(1));
    std::thread::scope(|scope| {
        if let Some((reference, barque)) = sides.both().filter(|_| is_chosen("migration")) {
            let ground = Ground {
                dir: sides.dir.join("replicas").join("migration"),
                classes: &classes,
                report: &report,
                names,
                rounds,
            };
            scope.spawn(move || {
                let begun = Instant::now();
                let went = migration::play(reference, barque, &ground);
                ground.report.tell("migration", begun, went);
            });
        }
        for &parts in &chosen {
            let ground = Ground {
                dir: sides.dir.join("replicas").join(parts.name().replace('/', "-")),
                classes: &classes,
                report: &report,
                names,
                rounds,
            };
            scope.spawn(move || {
                let begun = Instant::now();
                if let Err(error) = play(parts, &ground) {
                    ground.report.tell(&parts.name(), begun, Err(error));
                }
            });
        }
    });
    if is_chosen("acting") {
        // Afterwards: so many brokers at a time are too much for a small machine.
        play_acting(
            &pairs,
            sides,
            &Ground {
                dir: sides.dir.join("replicas").join("acting"),
                classes: &classes,
                report: &report,
                names,
                rounds,
            },
        );
    }
    Ok(report.outcome())
}

/// Slaves that act for their masters, all pairs at a time.
fn play_acting(pairs: &[Parts<'_>], sides: &Sides, ground: &Ground<'_>) {
    std::thread::scope(|scope| {
        for &parts in pairs {
            // What leaves goes to the program that does not act, so that each takes what the other sends.
            let other = match (sides.both(), pair::kind(parts.slave)) {
                (Some((reference, _)), "barque") => reference,
                (Some((_, barque)), _) => barque,
                (None, _) => parts.master,
            };
            scope.spawn(move || {
                let begun = Instant::now();
                let ground = Ground {
                    dir: ground.dir.join(parts.name().replace('/', "-")),
                    ..*ground
                };
                let went = acting::play(parts, other, &ground);
                let what = format!("{} acting for the master", parts.name());
                ground.report.tell(&what, begun, went);
            });
        }
    });
}

fn pair_of(line: &str) -> &str {
    let line = line.strip_prefix("replicas: ").unwrap_or(line);
    line.split(' ').next().unwrap_or_default()
}

/// Everything that one pair goes through.
fn play(parts: Parts<'_>, ground: &Ground<'_>) -> anyhow::Result<()> {
    let pair = Pair::new(parts, ground.names, &ground.dir)?;
    let name = parts.name();
    let tell = |what: &str, begun, went| ground.report.tell(&format!("{name} {what}"), begun, went);

    let begun = Instant::now();
    let mut running = pair.start(Promise::Nothing)?;
    tell("ASYNC_MASTER", begun, copied(&pair, &running, ground));

    // The slave stays.
    let begun = Instant::now();
    running.master.stop()?;
    running.master = pair.start_master(Promise::TwoReplicas)?;
    // All pairs of a short run share one small machine and a few minutes.
    let is_short = ground.rounds <= ROUNDS;
    let pace: &[&str] = if is_short { &["--slowly"] } else { &[] };
    let is_barque = [parts.master, parts.slave].map(|program| pair::kind(program) == "barque") == [true; 2];
    let damages: &[Damage] = if is_short && !is_barque {
        &Damage::SOME
    } else {
        &Damage::ALL
    };
    let mut stream = Stream::start(ground.classes, pair.names(), &ground.dir.join("stream"), pace)?;
    stream.flows(500, FLOWS_WITHIN)?;
    cuts::run(&pair, &mut stream, (damages, &tell));
    tell("SYNC_MASTER", begun, followed(&pair, &running));
    freezes::run(&pair, &running, &mut stream, &tell);
    fulls::run(&pair, &running, &mut stream, &tell);
    // Each of these hands on what runs, or ends with it.
    let goes_on = |what: &str, begun, went: anyhow::Result<(Running, String)>| match went {
        Ok((running, told)) => {
            tell(what, begun, Ok(told));
            Some(running)
        }
        Err(error) => {
            tell(what, begun, Err(error));
            None
        }
    };
    let begun = Instant::now();
    let read = reads::play(&pair, running, &mut stream, ground);
    let Some(running) = goes_on("read with a dead master", begun, read) else {
        return Ok(());
    };
    let begun = Instant::now();
    let killed = kills::play(&pair, running, stream, ground.rounds);
    let Some(mut running) = goes_on("kills", begun, killed) else {
        return Ok(());
    };
    if secrets::is_mixed(&pair) {
        let begun = Instant::now();
        let proved = secrets::play(&pair, running);
        match goes_on("with a secret", begun, proved) {
            Some(still) => running = still,
            None => return Ok(()),
        }
    }
    running.slave.stop()?;
    running.master.stop()
}

/// Loads the pair, and compares the logs.
fn copied(pair: &Pair<'_>, running: &Running, ground: &Ground<'_>) -> anyhow::Result<String> {
    let notes = ground.dir.join("acknowledged");
    let file = notes.display().to_string();
    client(pair, ground, &["load", &file, "0", &MESSAGES.to_string()])?;
    let acknowledged = std::fs::read_to_string(&notes)?.lines().count();
    ensure!(
        acknowledged >= MESSAGES,
        "only {acknowledged} messages were acknowledged"
    );
    // Reads everything, and commits offsets.
    client(pair, ground, &["verify", "--later", &file])?;
    let bytes = pair.compare(running)?;
    Ok(format!("{bytes} bytes are the same"))
}

/// Tables and reading, which with a slave of the reference take their time.
fn followed(pair: &Pair<'_>, running: &Running) -> anyhow::Result<String> {
    let begun = Instant::now();
    if let Program::Barque(_) = pair.parts.slave {
        // Something that it has not seen before; one of the reference looks for the first time after a minute.
        pair::commit(&running.master, "CG_verify", "Load0", 1)?;
    }
    pair.tables_agree(running)?;
    let took = begun.elapsed();
    let mut compared = 0;
    for topic in ["Load0", "Load1", "Load2"] {
        compared += pair::reads_agree(running, topic, 4)?;
    }
    Ok(format!(
        "tables agreed after {took:?}, {compared} bytes were read on both"
    ))
}

/// Runs the official client to its end.
fn client(pair: &Pair<'_>, ground: &Ground<'_>, words: &[&str]) -> anyhow::Result<()> {
    let mut java = java_program(ground.classes, &ground.dir.join("client"));
    java.arg("conformance.Main")
        .arg(pair.names().to_string())
        .args(words);
    let mut client = Process::start(words[0], &ground.dir, java)?;
    let status = client.finish(LOAD_WITHIN)?;
    if !status.success() {
        bail!("{}: {}", words[0], client.last_words());
    }
    Ok(())
}

/// How a part says how it went: what, since when, and what to say.
type Tell<'a> = &'a dyn Fn(&str, Instant, anyhow::Result<String>) -> bool;
