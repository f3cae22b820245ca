// SPDX-License-Identifier: Apache-2.0
//! The server is killed at random moments under every kind of load, also while it starts, and what it acknowledged is looked
//! for after each restart. With `--power` it runs on a disk that loses what was not synced; under ASYNC_FLUSH that must show,
//! or the disk proves nothing. With `--java` the reference is killed, too, for the table of docs/reliability.md; what it breaks is
//! told and is no finding.
#![expect(
    clippy::disallowed_methods,
    reason = "a real process lives in real time, on real files"
)]

pub(crate) mod actor;
mod large;
mod later;
mod offsets;
mod pops;
mod sends;
mod tables;
mod transactions;

use self::actor::{Actor, After, At, Letter, Rules, Verdict, now_ms, send};
use crate::dice::Dice;
use crate::{Outcome, Sides};
use anyhow::{Context as _, bail, ensure};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::line::Line;
use testkit::power::cut::{Durable, Loss};
use testkit::power::server::NOTES;
use testkit::server::{Plan, Ports, Program, Server};

/// Kills of each series when nobody says how many.
const SHORT: usize = 3;
const SEED: u64 = 9;
/// After so many kills a new directory begins, and what has to come in the end is waited for.
const ROUNDS_OF_A_STORE: usize = 25;
/// Everything is looked at again after so many.
const WHOLE_EVERY: usize = 5;
/// A kill comes so long after the load has begun.
const LOAD_MS: std::ops::Range<usize> = 100..2_500;
/// So much longer lasts every third: what is delivered meanwhile is recorded when the kill comes.
const LONG_MS: usize = 3_500;
/// One that comes while it starts.
const START_MS: usize = 150;
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// The reference answers before its queues have all that is in its log.
const JAVA_READS_ON: Duration = Duration::from_secs(2);

/// What the command line says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// Only this one of the two.
    pub(crate) is_sync: Option<bool>,
    /// Cut the power at each kill.
    pub(crate) with_power: bool,
    /// Kill the reference, too.
    pub(crate) with_java: bool,
    /// Only time the start with a log of so many GiB.
    pub(crate) large_gib: Option<u64>,
}

/// What no run lacks: a broker that refuses everything keeps each promise.
const PLAYED: [&str; 9] = [
    "messages read and compared",
    "keys found",
    "delayed messages delivered",
    "transactions committed",
    "offsets looked at",
    "leases acknowledged",
    "topics, groups, settings and keys looked at",
    "questions about transactions",
    "resets looked at",
];

const SETTINGS: [(&str, &str); 12] = [
    ("mappedFileSizeCommitLog", "2097152"),
    ("mappedFileSizeConsumeQueue", "60000"),
    ("maxHashSlotNum", "2000"),
    ("maxIndexNum", "8000"),
    ("transactionCheckInterval", "1000"),
    ("transactionTimeOut", "1000"),
    ("transactionCheckMax", "1000"),
    ("flushDelayOffsetInterval", "1000"),
    ("maxTransferCountOnMessageInMemory", "1000"),
    ("maxTransferCountOnMessageInDisk", "1000"),
    ("maxTransferBytesOnMessageInMemory", "1000000"),
    ("maxTransferBytesOnMessageInDisk", "1000000"),
];

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let asked = sides.kills;
    if let Some(gib) = asked.large_gib {
        let told = large::play(sides, gib, asked.is_sync.unwrap_or_default())?;
        return Ok(Outcome {
            line: format!("kills: {told}"),
            findings: Vec::new(),
        });
    }
    let rounds = sides.rounds.unwrap_or(SHORT);
    let seed = sides.seeds.as_ref().map_or(SEED, |seeds| *seeds.start());
    let is_short = sides.rounds.is_none() && !asked.with_power;
    let flushes = [false, true]
        .into_iter()
        .filter(|is_sync| asked.is_sync.is_none_or(|only| only == *is_sync));
    let mut series = Vec::new();
    for is_sync in flushes {
        for has_cuts in [false, true] {
            if is_short || has_cuts == asked.with_power {
                series.push((Rules { is_sync, has_cuts }, false));
            }
        }
        if asked.with_java {
            series.push((
                Rules {
                    is_sync,
                    has_cuts: false,
                },
                true,
            ));
        }
    }
    let (mut told, mut findings) = (Vec::new(), Vec::new());
    for (rules, is_java) in series {
        let program = if is_java { &sides.reference } else { &sides.barque };
        let Some(program) = program else { continue };
        let mut series = Series::new(sides, program, rules, seed)?;
        let begun = Instant::now();
        series
            .play(rounds)
            .with_context(|| format!("{}, seed {seed}", series.name))?;
        let summary = series.summary(rounds, begun.elapsed());
        eprintln!("{summary}");
        told.push(series.headline(rounds));
        if !is_java {
            findings.extend(
                series
                    .verdict
                    .examples
                    .iter()
                    .map(|words| format!("kills: {words} (seed {seed})")),
            );
        }
    }
    Ok(Outcome {
        line: format!("kills: {}", told.join("; ")),
        findings,
    })
}

/// Kills of one program under one promise.
struct Series {
    name: String,
    program: Program,
    rules: Rules,
    dir: PathBuf,
    dice: Dice,
    /// Which knows the reference; ours brings its own.
    names: Option<Server>,
    verdict: Verdict,
    restarts: Vec<Duration>,
    lost_changes: u64,
    kills: usize,
}

/// A directory and the servers that follow each other on it.
struct Home {
    plan: Plan,
    notes: PathBuf,
    durable: Option<Durable>,
    life: usize,
}

impl Series {
    fn new(sides: &Sides, program: &Program, rules: Rules, seed: u64) -> anyhow::Result<Series> {
        let flush = if rules.is_sync {
            "SYNC_FLUSH"
        } else {
            "ASYNC_FLUSH"
        };
        let cuts = if rules.has_cuts { " with power cuts" } else { "" };
        let (kind, names) = match program {
            Program::Reference(_) => {
                let keeper = sides.barque.as_ref().unwrap_or(program);
                (
                    "reference",
                    Some(Plan::new(keeper, &sides.dir.join("kills-names")).start_nameserver()?),
                )
            }
            Program::Barque(_) => ("barque", None),
        };
        let name = format!("{kind} {flush}{cuts}");
        let program = match program {
            Program::Barque(_) if rules.has_cuts => Program::Barque(std::env::current_exe()?),
            other => other.clone(),
        };
        Ok(Series {
            dir: sides.dir.join(format!("kills-{}", name.replace(' ', "-"))),
            name,
            program,
            rules,
            dice: Dice::new(seed),
            names,
            verdict: Verdict::default(),
            restarts: Vec::new(),
            lost_changes: 0,
            kills: 0,
        })
    }

    fn is_java(&self) -> bool {
        matches!(self.program, Program::Reference(_))
    }

    fn play(&mut self, rounds: usize) -> anyhow::Result<()> {
        let mut left = rounds;
        let mut store = 0;
        while left > 0 {
            let now = left.min(ROUNDS_OF_A_STORE);
            self.store(store, now)
                .with_context(|| format!("directory {store}"))?;
            left -= now;
            store += 1;
        }
        for what in PLAYED {
            if !self.is_java() && self.verdict.counts.get(what).is_none_or(|count| *count == 0) {
                self.verdict
                    .against("nothing was played", || format!("{what}: none"));
            }
        }
        if self.rules.may_lose() && !self.verdict.counts.contains_key("messages lost with the power") {
            self.verdict.against("the power cuts do not bite", || {
                "nothing was lost under ASYNC_FLUSH".to_owned()
            });
        }
        Ok(())
    }

    /// So many kills on a directory of its own.
    fn store(&mut self, number: usize, rounds: usize) -> anyhow::Result<()> {
        let mut home = self.home(number)?;
        let dice = &mut self.dice;
        let mut actors: Vec<Box<dyn Actor>> = vec![
            Box::new(sends::Sends::new(dice)),
            Box::new(later::Later::new(dice)),
            Box::new(transactions::Transactions::new(dice)),
            Box::new(offsets::Offsets::new(dice)),
            Box::new(pops::Pops::new(dice)),
            Box::new(tables::Tables::new(dice)),
        ];
        let (mut server, mut at) = self.start(&mut home)?;
        for actor in &mut actors {
            actor.prepare(at)?;
        }
        let mut after = None;
        for round in 0..rounds {
            self.verdict.place = format!("{} store {number} kill {round}", self.name);
            let killed = self.load(&mut actors, at, server)?;
            let killed_ms = now_ms();
            ensure!(
                home.durable.is_none() || home.notes.exists(),
                "the layer between broker and disk has noted nothing"
            );
            self.cut(&home)?;
            let mut killed_again_ms = None;
            if !self.is_java() && self.dice.once_in(5) {
                killed_again_ms = Some(self.kill_while_starting(&mut home)?);
            }
            (server, at) = self.start(&mut home)?;
            let looked = After {
                at,
                rules: self.rules,
                killed,
                killed_ms,
                killed_again_ms,
                is_whole: self.rules.has_cuts || round % WHOLE_EVERY == 0 || round + 1 == rounds,
            };
            for actor in &mut actors {
                actor.look(&looked, &mut self.verdict)?;
            }
            after = Some(looked);
        }
        self.verdict.place = format!("{} store {number} in the end", self.name);
        // What is lost with the power would be waited for in vain.
        if let Some(after) = after.filter(|after| !after.rules.may_lose()) {
            for actor in &mut actors {
                actor.end(&after, &mut self.verdict)?;
            }
        }
        server.kill()?;
        std::fs::remove_dir_all(self.dir.join(number.to_string()))?;
        Ok(())
    }

    fn home(&self, number: usize) -> anyhow::Result<Home> {
        let dir = self.dir.join(number.to_string());
        let notes = dir.join("notes");
        let place = dir.join("home");
        let mut plan = Plan::new(&self.program, &place)
            .on(Ports::free()?)
            .keeping_settings()
            .printing_to(&dir)
            .told(NOTES, &notes);
        let flush = if self.rules.is_sync {
            "SYNC_FLUSH"
        } else {
            "ASYNC_FLUSH"
        };
        for (key, value) in SETTINGS.into_iter().chain([("flushDiskType", flush)]) {
            plan = plan.set(key, value);
        }
        if !self.is_java() && number % 2 == 1 {
            plan = plan.set("consumeQueueLayout", "compact");
        }
        if let Some(names) = &self.names {
            plan = plan.known_to(names.nameserver());
        }
        plan.write_settings()?;
        let durable = self
            .rules
            .has_cuts
            .then(|| Durable::of(&place, &dir.join("image")));
        Ok(Home {
            plan,
            notes,
            durable: durable.transpose()?,
            life: 0,
        })
    }

    /// Starts the server and waits until it takes a message.
    fn start(&mut self, home: &mut Home) -> anyhow::Result<(Server, At)> {
        home.life += 1;
        let begun = Instant::now();
        let (mut server, nameserver) = if self.is_java() {
            (home.plan.start_broker()?, None)
        } else {
            let server = home.plan.start_unready()?;
            let nameserver = server.nameserver();
            (server, Some(nameserver))
        };
        let broker = server.broker();
        while !takes_a_message(broker) {
            let is_running = server.is_running()?;
            if !is_running || begun.elapsed() > STARTS_WITHIN {
                let lines = server.lines_with("")?;
                let last = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default();
                bail!(
                    "life {} does not begin within {:?}, running: {is_running}: {last:#?}",
                    home.life,
                    begun.elapsed()
                );
            }
            sleep(Duration::from_millis(2));
        }
        if home.life > 1 {
            self.restarts.push(begun.elapsed());
        }
        if self.is_java() {
            sleep(JAVA_READS_ON);
        }
        let at = At {
            broker,
            nameserver,
            life: home.life,
        };
        Ok((server, at))
    }

    /// Loads the server and kills it; returns when.
    fn load(&mut self, actors: &mut [Box<dyn Actor>], at: At, server: Server) -> anyhow::Result<Instant> {
        let mut wait = LOAD_MS.start + self.dice.below(LOAD_MS.len());
        if self.kills % 3 == 2 {
            wait += LONG_MS;
        }
        let is_killed = AtomicBool::new(false);
        let mut killed = Instant::now();
        let mut early = Vec::new();
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let is_killed = &is_killed;
            let work = |actor: &'_ mut Box<dyn Actor>| -> Option<anyhow::Error> {
                let error = actor.load(at);
                (!is_killed.load(Ordering::SeqCst)).then_some(error)
            };
            let threads: Vec<_> = actors
                .iter_mut()
                .map(|actor| scope.spawn(move || work(actor)))
                .collect();
            sleep(Duration::from_millis(wait as u64));
            is_killed.store(true, Ordering::SeqCst);
            killed = Instant::now();
            server.kill()?;
            for thread in threads {
                let ended = thread.join();
                early.extend(ended.unwrap_or_else(|_| Some(anyhow::anyhow!("an actor has panicked"))));
            }
            Ok(())
        })?;
        self.kills += 1;
        for error in early {
            self.verdict.against("stopped answering", || format!("{error:#}"));
        }
        Ok(killed)
    }

    fn cut(&mut self, home: &Home) -> anyhow::Result<()> {
        let Some(durable) = home.durable.as_ref().filter(|_| home.notes.exists()) else {
            return Ok(());
        };
        let loss = if self.dice.once_in(3) {
            Loss::Everything
        } else {
            Loss::Random
        };
        let lost = durable.cut(&home.notes, loss, self.dice.below(1 << 40) as u64)?;
        self.lost_changes += lost.changes + lost.names;
        std::fs::remove_file(&home.notes)?;
        Ok(())
    }

    fn kill_while_starting(&mut self, home: &mut Home) -> anyhow::Result<i64> {
        home.life += 1;
        let server = home.plan.start_unready()?;
        sleep(Duration::from_millis(self.dice.below(START_MS) as u64));
        server.kill()?;
        let killed_ms = now_ms();
        self.kills += 1;
        self.cut(home)?;
        Ok(killed_ms)
    }

    fn headline(&self, rounds: usize) -> String {
        let broken: u64 = self.verdict.broken.values().sum();
        format!(
            "{} {rounds} rounds, {} kills, {broken} broken promises",
            self.name, self.kills
        )
    }

    fn summary(&mut self, rounds: usize, took: Duration) -> String {
        let mut text = format!("{} in {took:.0?}\n", self.headline(rounds));
        for (what, count) in &self.verdict.counts {
            text.push_str(&format!("  {count:>9} {what}\n"));
        }
        for (what, value) in &self.verdict.most {
            text.push_str(&format!("  {value:>9} {what}\n"));
        }
        if self.rules.has_cuts {
            text.push_str(&format!(
                "  {:>9} changes of files and names lost with the power\n",
                self.lost_changes
            ));
        }
        for (what, count) in &self.verdict.broken {
            text.push_str(&format!("  {count:>9} BROKEN: {what}\n"));
        }
        self.restarts.sort();
        let at = |share: usize| {
            self.restarts
                .get((self.restarts.len() * share / 100).min(self.restarts.len().saturating_sub(1)))
        };
        text.push_str(&format!(
            "  from start to the first accepted message: median {:?}, longest {:?}",
            at(50),
            at(100)
        ));
        for example in &self.verdict.examples {
            text.push_str(&format!("\n  {example}"));
        }
        text
    }
}

fn takes_a_message(broker: SocketAddr) -> bool {
    let letter = Letter {
        topic: "Probe",
        queue: 0,
        properties: "UNIQ_KEY\u{1}probe\u{2}",
        sys_flag: 0,
        is_batch: false,
        body: b"probe",
    };
    Line::open(broker).is_ok_and(|mut line| matches!(send(&mut line, &letter), Ok(Some(_))))
}

/// Whether this program was started as the server with the noted disk: the words behind its name are then its own.
pub(crate) fn serves(args: &[String]) -> Option<anyhow::Result<()>> {
    let (first, options) = args.split_first()?;
    (first == "dev").then(|| testkit::power::server::run(options))
}
