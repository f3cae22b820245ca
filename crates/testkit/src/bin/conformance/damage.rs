// SPDX-License-Identifier: Apache-2.0
//! A store that the built program has filled is damaged, every class of bytes of every kind of file, and the program is started
//! on it: what is lost, what is given out although it is wrong, whether readers get to the end, or with which words the start
//! is refused, and whether the command that it names mends it. With `--java` the reference writes a store of its own and is
//! started on damaged copies of it, and barque on the same ones; what the reference breaks is told and is no finding.
//!
//! What must hold for barque: only messages whose record was damaged are lost, and each is told with its file; no wrong body is
//! given out; every reader gets to the end; `barque store check` finds what costs a message; a start that is refused names file and
//! command, and that command mends it.
#![expect(
    clippy::disallowed_methods,
    reason = "a real process lives in real time, on real files"
)]

mod cases;
mod fill;
mod log;
mod look;
mod table;

use self::cases::{Case, Harm, cases, inflict, touched};
use self::fill::{Filled, Kind, fill, plan, start};
use self::look::{Seen, look};
use self::table::{Result, Table};
use crate::dice::Dice;
use crate::{Outcome, Sides};
use anyhow::{Context as _, bail};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::server::{Plan, Program, Server};

const SEED: u64 = 3;
/// What `barque store check` ends with when something is wrong, and when it cannot look at the store and says why.
const FOUND: i32 = 1;
const REFUSED: i32 = 2;
/// Cases of each store when nobody asks for all.
const SHORT: usize = 9;
/// How long nothing delayed may come until the rest counts as lost.
/// A damaged delay waits at most as long as its level, five seconds.
const PATIENCE: Duration = Duration::from_secs(7);
const JAVA_PATIENCE: Duration = Duration::from_secs(8);
/// The reference answers before its queues have all that is in its log.
const JAVA_READS_ON: Duration = Duration::from_secs(2);

const STORES: [Kind; 3] = [
    Kind {
        name: "stopped",
        is_killed: false,
        is_sealed: false,
        is_compact: false,
    },
    Kind {
        name: "killed, sealed",
        is_killed: true,
        is_sealed: true,
        is_compact: false,
    },
    Kind {
        name: "killed, compact",
        is_killed: true,
        is_sealed: false,
        is_compact: true,
    },
];

const JAVA_STORE: Kind = Kind {
    name: "of the reference",
    is_killed: false,
    is_sealed: false,
    is_compact: false,
};

/// What the reference is tried with, too; the first ones also on a store that was killed.
const BESIDE: [&str; 16] = [
    "middle record: size flipped",
    "middle record: body flipped",
    "newest record: body flipped",
    "middle page of the log: zeroed",
    "newest file of the log: deleted",
    "first file of the queue: position of an entry flipped",
    "directory consumequeue: deleted",
    "checkpoint: zeroed",
    "middle record: topic flipped",
    "middle record: queue offset flipped",
    "middle file of the log: deleted",
    "newest file of the log: cut in its last record",
    "first file of the index: first byte flipped",
    "first file of the timer log: cut",
    "topics.json and .bak: cut",
    "consumerOffset.json and .bak: deleted",
];
const BESIDE_KILLED: usize = 8;

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let barque = sides.barque.as_ref().context("the damage is for barque")?;
    let seed = sides.seeds.as_ref().map_or(SEED, |seeds| *seeds.start());
    let home = sides.dir.join("damage");
    let mut table = Table::default();
    let begun = Instant::now();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let home = &home;
        let play = |kind| store(sides, barque, (kind, seed), home);
        let threads = STORES.map(|kind| scope.spawn(move || play(kind)));
        for (kind, thread) in STORES.into_iter().zip(threads) {
            let played = thread.join().map_err(|_| anyhow::anyhow!("panicked"))??;
            for (class, result) in played {
                table.add(kind.name, &class, result);
            }
        }
        Ok(())
    })?;
    if let Some(reference) = sides.reference.as_ref().filter(|_| sides.kills.with_java) {
        beside(barque, reference, &home, (seed, &mut table))?;
    }
    let text = table.told();
    eprintln!("{text}");
    std::fs::write(sides.dir.join("damage.md"), &text)?;
    Ok(Outcome {
        line: format!(
            "damage: {} in {:.0?}, seed {seed}",
            table.headline(),
            begun.elapsed()
        ),
        findings: table.findings(seed),
    })
}

/// Fills a store and plays its cases.
fn store(
    sides: &Sides,
    barque: &Program,
    (kind, seed): (Kind, u64),
    home: &Path,
) -> anyhow::Result<Vec<(String, Result)>> {
    let dir = home.join(kind.name.replace([' ', ','], "-"));
    let filled = fill(barque, &dir, kind, None).with_context(|| format!("store {}", kind.name))?;
    let mut all = cases(&filled, &mut Dice::new(seed))?;
    let count = all.len();
    if !sides.all_cases {
        all = some(all, kind);
    }
    eprintln!("store {}: {} of {count} cases", kind.name, all.len());
    let bench = Bench::new(barque, barque, &dir, None);
    let mut played = Vec::new();
    for case in all {
        let result = bench.play(&filled, &case)?;
        for wrong in &result.wrong {
            eprintln!("damage: store {}, {}: {wrong}", kind.name, case.class);
        }
        played.push((case.class, result));
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(played)
}

/// A few of all, evenly: each store has others.
fn some(all: Vec<Case>, kind: Kind) -> Vec<Case> {
    let at = STORES.iter().position(|one| *one == kind).unwrap_or(0);
    let step = (all.len() / SHORT).max(1);
    let begin = at * step / STORES.len();
    all.into_iter().skip(begin).step_by(step).collect()
}

/// The reference and barque on damaged copies of one store that the reference wrote.
fn beside(
    barque: &Program,
    reference: &Program,
    home: &Path,
    (seed, table): (u64, &mut Table),
) -> anyhow::Result<()> {
    let names = Plan::new(barque, &home.join("names")).start_nameserver()?;
    let at = Some(names.nameserver());
    for is_killed in [false, true] {
        let kind = Kind {
            is_killed,
            name: if is_killed {
                "of the reference, killed"
            } else {
                JAVA_STORE.name
            },
            ..JAVA_STORE
        };
        let dir = home.join(if is_killed { "java-killed" } else { "java" });
        let filled = fill(reference, &dir, kind, at).context("the store of the reference")?;
        let all = cases(&filled, &mut Dice::new(seed))?;
        let most = if is_killed { BESIDE_KILLED } else { BESIDE.len() };
        let is_asked = |case: &&Case| BESIDE.iter().take(most).any(|class| *class == case.class);
        for case in all.iter().filter(is_asked) {
            let ours = Bench::new(barque, barque, &dir, None).play(&filled, case)?;
            table.add(kind.name, &case.class, ours);
            let theirs = Bench::new(reference, barque, &dir, at).play(&filled, case)?;
            table.add_java(kind.name, &case.class, theirs);
        }
        std::fs::remove_dir_all(&dir)?;
    }
    names.stop()
}

/// Where cases are played.
struct Bench<'a> {
    program: &'a Program,
    barque: &'a Program,
    dir: PathBuf,
    names: Option<SocketAddr>,
}

impl<'a> Bench<'a> {
    fn new(program: &'a Program, barque: &'a Program, home: &Path, names: Option<SocketAddr>) -> Bench<'a> {
        Bench {
            program,
            barque,
            dir: home.join("copy"),
            names,
        }
    }

    fn is_java(&self) -> bool {
        matches!(self.program, Program::Reference(_))
    }

    /// Damages a copy of the store and starts the program on it.
    fn play(&self, filled: &Filled, case: &Case) -> anyhow::Result<Result> {
        let played = self.played(filled, case);
        if self.dir.exists() {
            std::fs::remove_dir_all(&self.dir)?;
        }
        played.with_context(|| format!("store {}, {}", filled.kind.name, case.class))
    }

    fn played(&self, filled: &Filled, case: &Case) -> anyhow::Result<Result> {
        copy(&filled.root, &self.dir)?;
        let root = self.dir.join("store");
        let mut is_change = false;
        for harm in &case.harms {
            is_change |= inflict(&root, harm).with_context(|| format!("{harm:?}"))?;
        }
        let mut result = Result::default();
        if !is_change {
            return Ok(result);
        }
        result.is_played = true;
        let plan = plan(self.program, &self.dir, filled.kind, self.names)?;
        plan.write_settings()?;
        if !self.is_java() {
            let (code, told) = self.store("check", &root)?;
            result.is_found = [FOUND, REFUSED].contains(&code);
            if code != 0 && !result.is_found {
                result
                    .wrong
                    .push(format!("the check itself fails ({code}): {told}"));
            }
        }
        let excused = excused(filled, case);
        let server = match start(self.program, &plan)? {
            Ok(server) => server,
            Err(words) => {
                result.refused = Some(words.last().cloned().unwrap_or_default());
                if self.is_java() {
                    return Ok(result);
                }
                if let Err(wrong) = names_a_way_out(&words, case) {
                    result.wrong.push(wrong);
                }
                let (code, told) = self.store("repair", &root)?;
                match start(self.program, &plan)? {
                    Ok(server) => server,
                    Err(words) => {
                        let last = words.last().cloned().unwrap_or_default();
                        result
                            .wrong
                            .push(format!("repaired ({code}, {told}), and still refused: {last}"));
                        return Ok(result);
                    }
                }
            }
        };
        self.look(server, (filled, case, &excused), &mut result)?;
        Ok(result)
    }

    fn look(
        &self,
        mut server: Server,
        (filled, case, excused): (&Filled, &Case, &BTreeSet<usize>),
        result: &mut Result,
    ) -> anyhow::Result<()> {
        if self.is_java() {
            std::thread::sleep(JAVA_READS_ON);
        }
        let patience = if self.is_java() { JAVA_PATIENCE } else { PATIENCE };
        let seen = match look(server.broker(), filled, excused, patience) {
            Ok(seen) => seen,
            Err(error) => {
                let still = if server.is_running()? { "runs" } else { "has ended" };
                result
                    .wrong
                    .push(format!("it {still} and does not answer: {error:#}"));
                return Ok(());
            }
        };
        let lines = server.lines_with("")?;
        server.kill()?;
        if !self.is_java() {
            judge(&seen, (filled, case, excused), &lines, result);
        }
        result.seen = seen;
        Ok(())
    }

    /// `barque store` on the store; its code and its last line.
    fn store(&self, verb: &str, root: &Path) -> anyhow::Result<(i32, String)> {
        let Program::Barque(binary) = self.barque else {
            bail!("only ours has this command");
        };
        let mut command = Command::new(binary);
        command
            .args(["store", verb, "-c"])
            .arg(self.dir.join("broker.conf"));
        if verb == "repair" {
            command.arg("--write");
        }
        let output = command.arg(root).output()?;
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let last = told.lines().last().unwrap_or_default().to_owned();
        Ok((output.status.code().unwrap_or(-1), last))
    }
}

fn copy(root: &Path, dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    let status = Command::new("cp")
        .arg("-r")
        .arg(root)
        .arg(dir.join("store"))
        .status()?;
    if !status.success() {
        bail!("cp: {status}");
    }
    Ok(())
}

/// The messages whose record was damaged.
fn excused(filled: &Filled, case: &Case) -> BTreeSet<usize> {
    let touched = touched(filled, case);
    let is_touched = |place: &log::Place| {
        let end = place.pos + place.size;
        touched
            .iter()
            .any(|range| range.start < end && place.pos < range.end)
    };
    let hit = filled.sent.iter().filter(|(_, sent)| is_touched(&sent.place));
    hit.map(|(number, _)| *number).collect()
}

/// Whether it names a damaged file, or its directory.
fn names(words: &str, case: &Case) -> bool {
    let is_named = |harm: &Harm| {
        let both = harm.path.ancestors().take(2).filter_map(Path::file_stem);
        let mut names = both.map(|name| name.to_string_lossy().into_owned());
        // What any line could contain says nothing.
        names.any(|name| name.len() > 2 && name != "config" && words.contains(&name))
    };
    case.harms.iter().any(is_named)
}

/// A refusal names the file that is to blame, or its directory, and the command.
fn names_a_way_out(words: &[String], case: &Case) -> std::result::Result<(), String> {
    let all = words.join("\n");
    let last = words.last().cloned().unwrap_or_default();
    if !names(&all, case) {
        return Err(format!("refused without the name of the file: {last}"));
    }
    if !all.contains("barque store") {
        return Err(format!("refused without a way out: {last}"));
    }
    Ok(())
}

/// Whether the damaged field is one that a record without a CRC of its own says nothing against.
fn has_no_crc(case: &Case) -> bool {
    let Some((_, field)) = case.class.split_once(" record: ") else {
        return false;
    };
    !["size", "magic", "CRC", "position", "body size", "body"]
        .iter()
        .any(|checked| field == format!("{checked} flipped"))
        && field.ends_with("flipped")
}

/// What of it is against a promise.
fn judge(
    seen: &Seen,
    (filled, case, excused): (&Filled, &Case, &BTreeSet<usize>),
    lines: &[String],
    result: &mut Result,
) {
    let wrong = &mut result.wrong;
    let more: Vec<_> = seen.lost.difference(excused).collect();
    if !more.is_empty() {
        wrong.push(format!(
            "{} messages lost that were not damaged: {:?}",
            more.len(),
            more.first()
        ));
    }
    // Without both, nobody knows which delays were delivered: all that are in the log are, again.
    let is_progress_gone = case.class.starts_with("delayOffset.json and .bak");
    if seen.again > 0 && !is_progress_gone {
        wrong.push(format!("{} messages came more than once", seen.again));
    }
    if seen.corrupt > 0 {
        wrong.push(format!("{} wrong bodies given out", seen.corrupt));
    }
    let odd: Vec<_> = seen
        .odd
        .iter()
        .filter(|number| filled.kind.is_sealed || !excused.contains(number))
        .collect();
    if !odd.is_empty() {
        wrong.push(format!(
            "{} messages with a wrong field: {:?}",
            odd.len(),
            odd.first()
        ));
    }
    wrong.extend(
        seen.blocked
            .iter()
            .map(|place| format!("a reader does not get on: {place}")),
    );
    wrong.extend(seen.refused.clone());
    let is_of_tag = case.class.contains("tag of an entry") || case.class.contains("file of the queue");
    let is_of_check = is_of_tag && result.is_found;
    if !seen.untagged.is_empty() && !is_of_check {
        wrong.push(format!(
            "{} messages are not found by their tag",
            seen.untagged.len()
        ));
    }
    // An index may begin late: that its first file is missing is not noticed.
    let begins_late = case.class.starts_with("first file of the index");
    if !seen.unkeyed.is_empty() && !result.is_found && !begins_late {
        wrong.push(format!(
            "{} messages are not found by their key: {:?}",
            seen.unkeyed.len(),
            seen.unkeyed.first()
        ));
    }
    judge_words(seen, (filled, case), lines, result);
}

/// What is not told of it, and had to be.
fn judge_words(seen: &Seen, (filled, case): (&Filled, &Case), lines: &[String], result: &mut Result) {
    let wrong = &mut result.wrong;
    let is_covered = filled.kind.is_sealed || !has_no_crc(case);
    if !seen.lost.is_empty() && !result.is_found && result.refused.is_none() && is_covered {
        wrong.push("`barque store check` finds nothing".to_owned());
    }
    let is_told = |line: &String| line.contains("WARN") || line.contains("ERROR");
    let told: Vec<&String> = lines.iter().filter(|line| is_told(line)).collect();
    if result.refused.is_none() && is_covered {
        let untold = seen
            .lost
            .iter()
            .filter_map(|number| filled.sent.get(number))
            .find(|sent| !told.iter().any(|line| line.contains(&sent.place.file)));
        // Nothing says how far the log of the reference had reached: damage at its end is taken for what a kill has torn.
        let ends_unknown = filled.kind.name.starts_with(JAVA_STORE.name) && case.class.starts_with("newest");
        if let Some(sent) = untold.filter(|_| !ends_unknown) {
            wrong.push(format!("a lost message of {} is not told", sent.place.file));
        }
    }
    let is_silent = result.refused.is_none() && !told.iter().any(|line| names(line, case));
    if (seen.rewound > 0 || seen.changed > 0) && is_silent {
        let what = format!(
            "{} offsets and {} tables are others, and nobody says so",
            seen.rewound, seen.changed
        );
        wrong.push(what);
    }
}
