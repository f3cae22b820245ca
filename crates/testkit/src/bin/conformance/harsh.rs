// SPDX-License-Identifier: Apache-2.0
//! What a broker meets when things are bad and nobody is kind: a disk that is really full, peers that flood it or never read,
//! strangers who want other settings. The same is played at barque and, with `--java`, at the reference, and told in one table.
//! Promises are barque's: where it breaks one the section fails; what the reference does is only told.
//!
//! It takes minutes, and with the reference gigabytes, so it runs only when it is named.
#![expect(
    clippy::disallowed_methods,
    reason = "real processes live in real time, on real files"
)]

mod full;
mod hostile;
mod next_door;
mod small;
mod strangers;

use crate::kills::actor::{in_the_end, make_topic};
use crate::{Outcome, Sides};
use anyhow::{Context as _, ensure};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use testkit::line::Line;
use testkit::server::{Plan, Program, Server};

const MIB: u64 = 1 << 20;
const STARTS_WITHIN: Duration = Duration::from_secs(90);

/// A broker to be treated badly.
struct Side<'a> {
    program: &'a Program,
    home: PathBuf,
    /// The reference is ready when it has registered there.
    names: SocketAddr,
}

/// What one case came to at one broker.
struct Played {
    case: &'static str,
    told: String,
    /// What is against a promise of barque.
    broken: Vec<String>,
}

type Case = fn(&Side<'_>) -> anyhow::Result<Vec<Played>>;

const CASES: [(&str, Case); 3] = [
    ("full disk", full::play),
    ("hostile peers", hostile::play),
    ("strangers", strangers::play),
];

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let keeper = sides.barque.as_ref().or(sides.reference.as_ref());
    let keeper = keeper.context("no broker to play it with")?;
    let home = sides.dir.join("harsh");
    let names = Plan::new(keeper, &home.join("names")).start_nameserver()?;
    let asked = sides
        .all()
        .into_iter()
        .rev()
        .filter(|(_, program)| is_ours(program) || sides.kills.with_java || sides.barque.is_none());
    let (mut table, mut findings) = (Table::default(), Vec::new());
    for (name, program) in asked {
        let side = Side {
            program,
            home: home.join(name),
            names: names.nameserver(),
        };
        for (what, case) in CASES {
            let played = match case(&side) {
                Err(error) if !is_ours(program) => vec![Played {
                    case: what,
                    told: format!("ended with: {error:#}"),
                    broken: Vec::new(),
                }],
                played => played.with_context(|| format!("{what}, {name}"))?,
            };
            for one in played {
                eprintln!("harsh: {name}: {}: {}", one.case, one.told);
                if is_ours(program) {
                    let told = one
                        .broken
                        .iter()
                        .map(|what| format!("harsh: {}: {what}", one.case));
                    findings.extend(told);
                }
                table.add(name, one);
            }
        }
    }
    names.stop()?;
    let text = table.text();
    eprintln!("{text}");
    std::fs::write(sides.dir.join("harsh.md"), &text)?;
    let line = format!(
        "harsh: {} cases in {:.0?}, {} broken promises",
        table.rows.len(),
        begun.elapsed(),
        findings.len()
    );
    Ok(Outcome { line, findings })
}

fn is_ours(program: &Program) -> bool {
    matches!(program, Program::Barque(_))
}

impl Side<'_> {
    fn is_ours(&self) -> bool {
        is_ours(self.program)
    }

    /// A broker of its own for one case, as its users would run it.
    fn plan(&self, case: &str) -> Plan {
        let plan = Plan::new(self.program, &self.home.join(case)).known_to(self.names);
        if self.is_ours() {
            return plan;
        }
        plan.set("brokerFastFailureEnable", "true")
            .set("osPageCacheBusyTimeOutMills", "1000")
    }
}

/// Starts it, and makes its topic as soon as it lets somebody.
fn start_with(plan: &Plan, topic: &str) -> anyhow::Result<Server> {
    let server = plan.start_broker()?;
    let made = in_the_end(STARTS_WITHIN, || {
        let Ok(mut line) = Line::open(server.broker()) else {
            return Ok(false);
        };
        Ok(make_topic(&mut line, topic, 1).is_ok_and(|answer| answer.code == 0))
    });
    ensure!(made?, "it makes no topic");
    Ok(server)
}

/// Threads for the clients of a case.
fn clients() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

/// Rows by case, with what each broker made of it.
#[derive(Default)]
struct Table {
    sides: Vec<&'static str>,
    rows: Vec<(&'static str, Vec<(&'static str, String)>)>,
}

impl Table {
    fn add(&mut self, side: &'static str, played: Played) {
        if !self.sides.contains(&side) {
            self.sides.push(side);
        }
        match self.rows.iter_mut().find(|(case, _)| *case == played.case) {
            Some((_, cells)) => cells.push((side, played.told)),
            None => self.rows.push((played.case, vec![(side, played.told)])),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "| case | {} |\n|---|{}\n",
            self.sides.join(" | "),
            "---|".repeat(self.sides.len())
        );
        for (case, cells) in &self.rows {
            let told = self.sides.iter().map(|side| {
                let cell = cells.iter().find(|(name, _)| name == side);
                cell.map_or("", |(_, told)| told.as_str())
            });
            let told = told.collect::<Vec<_>>().join(" | ");
            let _in_memory = writeln!(text, "| {case} | {told} |");
        }
        text
    }
}
