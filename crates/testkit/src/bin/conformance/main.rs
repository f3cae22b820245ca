// SPDX-License-Identifier: Apache-2.0
//! The conformance run: official clients, bare requests and whole directories, against the Java reference and against
//! barque, and what differs. `cargo xtask conformance` builds barque and starts this.

mod cases;
mod chart;
mod clients;
mod damage;
mod dice;
mod filter;
mod halves;
mod harsh;
mod kills;
mod leases;
mod mqadmin;
mod overload;
mod reach;
mod replicas;
mod requests;
mod sequences;
mod swap;
mod upgrade;

use anyhow::{Context as _, bail};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use testkit::programs;
use testkit::server::Program;

const USAGE: &str = "\
usage: cargo xtask conformance [SECTION...] [--only reference|barque] [--seed N|FROM-TO] [--rounds N] [--pair NAME] [--ours]
                               [--flush sync|async|both] [--power] [--java] [--large GIB] [--all] [--long]

sections, all of them but overload and harsh when none is named:
  java   the official Java client, both header encodings
  go     the official Go client
  diff   single requests, answers compared field by field
  sequences
         rows of requests made by chance, the same in every run; --seed plays one row, or all from one to another
  filter SQL expressions, evaluated by the reference's own code and by ours
  swap   one store directory opened by the two brokers in turn, after a stop and after a kill
  replicas
         master and slave of each kind: logs, tables, kills (--rounds of them, shared by the pairs), damaged lines, frozen
         and full sides, a migration, slaves that act for a killed master;
         --pair plays one alone: reference/barque, barque/reference, barque/barque, migration or acting
  kills  the server killed at random moments under every kind of load (--rounds of them for each value of --flush), and what it had
         acknowledged; --power: on a disk that loses what was not synced; --java: the reference, too, for comparison;
         --large: only times the start after kills with a log of so many GiB
  damage bytes of every class of every file of a store flipped, zeroed, overwritten, cut and deleted, and what a start makes of it;
         a few of the cases, or --all; --java: the reference, too, on stores that it wrote
  reach  brokers of one kind registered with name servers of the other
  upgrade
         docs/upgrade.md, its commands run as they stand there: from Java to barque and back on one directory
  chart  the Helm chart, rendered by Helm's own engine
  mqadmin
         every command of the official mqadmin, and of ours once it has all, at both servers; --ours asks for ours anyway;
         BARQUE_BLESS=1 writes docs/mqadmin.md
  overload
         ten times what a broker can take: latency, throughput, memory, recovery, and how others fare beside one that sends too
         much; only when it is named, because it measures: nothing else may run; --long: longer, and held to the figures that
         are promised, which takes a release build in BARQUE
  harsh  a disk that is full, peers that flood or never read, settings that strangers want; only when it is named, because
         it takes minutes and gigabytes; --java: the reference, too, for comparison

environment:
  BARQUE  the binary to test (cargo xtask builds one when it is not set)
  CI      `true` makes a missing tool (java, mvn, go) an error instead of a skipped section";

/// The servers that a run is about.
pub(crate) struct Sides {
    pub(crate) reference: Option<Program>,
    pub(crate) barque: Option<Program>,
    /// The rows of `sequences` that were asked for.
    pub(crate) seeds: Option<RangeInclusive<u64>>,
    /// How many kills `replicas` and `kills` play.
    pub(crate) rounds: Option<usize>,
    /// Which ones `kills` plays.
    pub(crate) kills: kills::Options,
    /// Whether `damage` plays all that it knows.
    pub(crate) all_cases: bool,
    /// The one that it plays, if not all.
    pub(crate) pair: Option<String>,
    /// Whether our `mqadmin` is compared although it lacks commands.
    pub(crate) with_ours: bool,
    /// Whether `overload` takes its time.
    pub(crate) is_long: bool,
    /// Where servers and clients keep their files and logs.
    pub(crate) dir: PathBuf,
}

impl Sides {
    pub(crate) fn all(&self) -> Vec<(&'static str, &Program)> {
        let named = [("reference", &self.reference), ("barque", &self.barque)];
        named
            .into_iter()
            .filter_map(|(name, program)| Some((name, program.as_ref()?)))
            .collect()
    }

    /// Both, for sections that need them together.
    pub(crate) fn both(&self) -> Option<(&Program, &Program)> {
        self.reference.as_ref().zip(self.barque.as_ref())
    }
}

/// What a section came to.
pub(crate) struct Outcome {
    /// The line that closes the section.
    pub(crate) line: String,
    /// Details, one per line.
    pub(crate) findings: Vec<String>,
}

/// What a section needs, and how it runs.
struct Section {
    name: &'static str,
    tools: &'static [&'static str],
    run: fn(&Sides) -> anyhow::Result<Outcome>,
}

const SECTIONS: [Section; 15] = [
    Section {
        name: "java",
        tools: &["java", "mvn"],
        run: clients::java,
    },
    Section {
        name: "go",
        tools: &["java", "mvn", "go"],
        run: clients::go,
    },
    Section {
        name: "diff",
        tools: &["java", "mvn"],
        run: requests::run,
    },
    Section {
        name: "sequences",
        tools: &["java", "mvn"],
        run: sequences::run,
    },
    Section {
        name: "filter",
        tools: &["java", "mvn"],
        run: filter::run,
    },
    Section {
        name: "swap",
        tools: &["java", "mvn"],
        run: swap::run,
    },
    Section {
        name: "replicas",
        tools: &["java", "mvn"],
        run: replicas::run,
    },
    Section {
        name: "kills",
        tools: &["cp"],
        run: kills::run,
    },
    Section {
        name: "damage",
        tools: &["cp"],
        run: damage::run,
    },
    Section {
        name: "reach",
        tools: &["java", "mvn"],
        run: reach::run,
    },
    Section {
        name: "upgrade",
        tools: &["java", "mvn", "bash", "pgrep"],
        run: upgrade::run,
    },
    Section {
        name: "chart",
        tools: &["go"],
        run: chart::run,
    },
    Section {
        name: "mqadmin",
        tools: &["java", "mvn"],
        run: mqadmin::run,
    },
    Section {
        name: "overload",
        tools: &[],
        run: overload::run,
    },
    Section {
        name: HARSH,
        tools: &[],
        run: harsh::run,
    },
];

/// The section that measures: a run of everything leaves it out.
const OVERLOAD: &str = "overload";
/// And so it does the one that wants the whole machine.
const HARSH: &str = "harsh";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = kills::serves(&args).map_or_else(|| run(args), |served| served.map(|()| true));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the closing lines are the output of this program"
)]
fn run(args: Vec<String>) -> anyhow::Result<bool> {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return Ok(true);
    }
    let chosen = choose(args)?;
    let dir = programs::target().join("conformance/run");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    let mut closing = Vec::new();
    let mut passed = true;
    let mut sides: Option<Sides> = None;
    for section in &chosen.sections {
        if let Some(programs::Missing(tool)) = programs::missing(section.tools) {
            if is_ci() {
                bail!("{}: {tool} is not installed", section.name);
            }
            closing.push(format!("{}: SKIPPED, {tool} is not installed", section.name));
            continue;
        }
        let sides = match &mut sides {
            Some(known) => &*known,
            none => none.insert(resolve(&chosen, dir.clone())?),
        };
        eprintln!("==> {}", section.name);
        let outcome = (section.run)(sides).with_context(|| format!("section {}", section.name))?;
        passed &= outcome.findings.is_empty();
        outcome.findings.iter().for_each(|finding| println!("{finding}"));
        eprintln!("{}", outcome.line);
        closing.push(outcome.line);
    }
    closing.iter().for_each(|line| println!("{line}"));
    Ok(passed)
}

/// Whether nothing may be left out.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1")
}

/// What the command line asks for.
struct Chosen {
    sections: Vec<&'static Section>,
    only: Option<String>,
    seeds: Option<RangeInclusive<u64>>,
    rounds: Option<usize>,
    kills: kills::Options,
    pair: Option<String>,
    with_ours: bool,
    all_cases: bool,
    is_long: bool,
}

fn choose(args: Vec<String>) -> anyhow::Result<Chosen> {
    let mut names = Vec::new();
    let (mut only, mut seeds, mut pair) = (None, None, None);
    let (mut rounds, mut kills) = (None, kills::Options::default());
    let (mut with_ours, mut all_cases, mut is_long) = (false, false, false);
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "--only" {
            only = Some(
                args.next()
                    .filter(|side| side == "reference" || side == "barque")
                    .context(USAGE)?,
            );
        } else if arg == "--seed" {
            seeds = Some(args.next().as_deref().and_then(range).context(USAGE)?);
        } else if arg == "--rounds" {
            rounds = Some(args.next().and_then(|n| n.parse().ok()).context(USAGE)?);
        } else if arg == "--flush" {
            kills.is_sync = match args.next().as_deref() {
                Some("sync") => Some(true),
                Some("async") => Some(false),
                Some("both") => None,
                _ => bail!(USAGE),
            };
        } else if arg == "--large" {
            kills.large_gib = Some(args.next().and_then(|n| n.parse().ok()).context(USAGE)?);
        } else if arg == "--power" {
            kills.with_power = true;
        } else if arg == "--java" {
            kills.with_java = true;
        } else if arg == "--all" {
            all_cases = true;
        } else if arg == "--ours" {
            with_ours = true;
        } else if arg == "--long" {
            is_long = true;
        } else if arg == "--pair" {
            pair = Some(args.next().context(USAGE)?);
        } else if SECTIONS.iter().any(|section| section.name == arg) {
            names.push(arg);
        } else {
            bail!("`{arg}` is no section\n{USAGE}");
        }
    }
    let chosen = SECTIONS.iter().filter(|s| {
        names.iter().any(|name| name == s.name) || names.is_empty() && ![OVERLOAD, HARSH].contains(&s.name)
    });
    Ok(Chosen {
        sections: chosen.collect(),
        only,
        seeds,
        rounds,
        kills,
        pair,
        with_ours,
        all_cases,
        is_long,
    })
}

/// `7`, or `7-20`.
fn range(text: &str) -> Option<RangeInclusive<u64>> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    Some(from.parse().ok()?..=to.parse().ok()?)
}

fn resolve(chosen: &Chosen, dir: PathBuf) -> anyhow::Result<Sides> {
    let only = chosen.only.as_deref();
    let reference = match only {
        Some("barque") => None,
        _ => Some(Program::Reference(programs::java_server()?)),
    };
    let barque = match only {
        Some("reference") => None,
        _ => Some(Program::Barque(binary()?)),
    };
    Ok(Sides {
        reference,
        barque,
        seeds: chosen.seeds.clone(),
        rounds: chosen.rounds,
        kills: chosen.kills,
        pair: chosen.pair.clone(),
        with_ours: chosen.with_ours,
        all_cases: chosen.all_cases,
        is_long: chosen.is_long,
        dir,
    })
}

fn binary() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("BARQUE").map(PathBuf::from);
    let built = ["debug", "release"].map(|profile| programs::target().join(profile).join("barque"));
    let mut candidates = named.iter().chain(&built);
    let found = candidates.find(|path| Path::exists(path));
    found
        .cloned()
        .context("there is no barque binary: set BARQUE, or run `cargo build -p barque`")
}
