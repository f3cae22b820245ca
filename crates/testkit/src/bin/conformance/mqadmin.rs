// SPDX-License-Identifier: Apache-2.0
//! `mqadmin`: the official one and ours, each against the reference and against barque, on the same prepared state. What
//! the official one prints of the reference is right; the table of what came out is docs/mqadmin.md.
#![expect(clippy::disallowed_methods, reason = "servers and tools keep real files")]

mod mask;
mod step;
mod steps;
mod table;
mod tool;

use crate::{Outcome, Sides};
use anyhow::Context as _;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use step::{Differs, Keys, Step};
use steps::Area;
use testkit::process::{Process, eventually};
use testkit::server::{Plan, Program};
use tool::{Printed, Tool};

/// Preparing a server: clients that consume, trace and give up.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// What is off by default and asked about; and pulls that come back soon, so that consumers come to rest.
const SETTINGS: [(&str, &str); 4] = [
    ("enablePropertyFilter", "true"),
    ("traceTopicEnable", "true"),
    ("longPollingEnable", "false"),
    ("shortPollingTimeMills", "500"),
];

/// A tool at a server.
struct Lane<'a> {
    tool: Tool,
    side: &'static str,
    program: &'a Program,
}

impl Lane<'_> {
    fn name(&self) -> &'static str {
        match (&self.tool, self.side) {
            (Tool::Java, "reference") => "java-reference",
            (Tool::Java, _) => "java-barque",
            (Tool::Ours(_), "reference") => "ours-reference",
            (Tool::Ours(_), _) => "ours-barque",
        }
    }

    /// Which deliberate differences may be seen here.
    fn may_differ(&self, differs: Differs) -> bool {
        match differs {
            Differs::Server => self.side == "barque",
            Differs::Words => self.side == "barque" && self.tool == Tool::Java,
            Differs::Tool => self.tool != Tool::Java,
        }
    }
}

/// What one step came to in one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    OnPurpose,
    Differs,
}

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    tool::jvm(&sides.dir)?; // built once, before the lanes need it
    let steps = steps::all();
    let dir = sides.dir.join("mqadmin");
    let all = sides.all();
    let mut played: Vec<(Lane<'_>, Vec<Seen>)> = Vec::new();
    for tool in tools(sides, &dir)? {
        let lanes = all.iter().map(|(side, program)| Lane {
            tool: tool.clone(),
            side,
            program,
        });
        played.extend(at_once(lanes.collect(), &steps, &dir)?);
    }
    let mut findings = Vec::new();
    let mut verdicts: BTreeMap<&'static str, Vec<Verdict>> = BTreeMap::new();
    let (truth, others) = played.split_first().context("nothing to run")?;
    for (lane, seen) in others {
        let compared = steps.iter().zip(&truth.1).zip(seen);
        let compared = compared.map(|((step, truth), seen)| compare(lane, step, truth, seen));
        for (verdict, finding) in compared {
            verdicts.entry(lane.name()).or_default().push(verdict);
            findings.extend(finding);
        }
    }
    if sides.both().is_some() {
        findings.extend(table::check(&steps, &verdicts)?);
    }
    let line = format!("mqadmin: {}", summary(&steps, &verdicts));
    Ok(Outcome { line, findings })
}

/// The official one; and ours, once it has all commands or when it is asked for.
fn tools(sides: &Sides, dir: &Path) -> anyhow::Result<Vec<Tool>> {
    let mut tools = vec![Tool::Java];
    if let Some(Program::Barque(binary)) = &sides.barque {
        let lacking = tool::lacking(binary)?;
        if lacking.is_empty() || sides.with_ours {
            tools.push(Tool::ours(&std::path::absolute(binary)?, dir)?);
        } else {
            eprintln!(
                "our tool lacks {} commands and is left out; --ours compares what is there",
                lacking.len()
            );
        }
    }
    Ok(tools)
}

fn summary(steps: &[Step], verdicts: &BTreeMap<&'static str, Vec<Verdict>>) -> String {
    let mut words = vec![format!("{} commands", steps.len())];
    for (lane, verdicts) in verdicts {
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
        let (purpose, differ) = (count(Verdict::OnPurpose), count(Verdict::Differs));
        words.push(format!("{lane}: {purpose} differ on purpose, {differ} otherwise"));
    }
    words.join("; ")
}

/// What a step showed in a lane, masked.
struct Seen {
    lines: Vec<String>,
    /// What it complained about, without stack traces.
    complaints: Vec<String>,
    status: i64,
    is_late: bool,
}

fn at_once<'a>(
    lanes: Vec<Lane<'a>>,
    steps: &[Step],
    dir: &Path,
) -> anyhow::Result<Vec<(Lane<'a>, Vec<Seen>)>> {
    let seen: Vec<anyhow::Result<Vec<Seen>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = lanes
            .iter()
            .map(|lane| scope.spawn(move || play(lane, steps, &dir.join(lane.name()))))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|played| played.unwrap_or_else(|_| Err(anyhow::anyhow!("panicked"))))
            .collect()
    });
    lanes
        .into_iter()
        .zip(seen)
        .map(|(lane, seen)| {
            let seen = seen.with_context(|| lane.name())?;
            Ok((lane, seen))
        })
        .collect()
}

/// A server with its state, and all steps.
fn play(lane: &Lane<'_>, steps: &[Step], dir: &Path) -> anyhow::Result<Vec<Seen>> {
    let mut plan = Plan::new(lane.program, &dir.join("server"));
    for (key, value) in SETTINGS {
        plan = plan.set(key, value);
    }
    let names = plan.start_nameserver()?;
    let broker = plan.known_to(names.nameserver()).start_broker()?;
    let mut known = vec![
        ("namesrv".to_owned(), names.nameserver().to_string()),
        ("broker".to_owned(), broker.broker().to_string()),
        ("long".to_owned(), "T".repeat(128)),
    ];
    let (state, facts) = prepare(&known, dir)?;
    known.extend(facts);
    let scratch = dir.join("tool");
    steps::files(&scratch, &known)?;
    known.push(("dir".to_owned(), scratch.display().to_string()));
    known.push(("server".to_owned(), dir.join("server").display().to_string()));
    let printed = lane.tool.run(steps, &known, &scratch)?;
    drop(state);
    broker.kill()?; // the reference takes ten seconds to stop, and nothing is kept
    names.kill()?;
    let seen = steps
        .iter()
        .zip(&printed)
        .map(|(step, printed)| see(step, printed, &known, &scratch));
    let seen: Vec<Seen> = seen.collect::<anyhow::Result<_>>()?;
    write_down(steps, &printed, &seen, &dir.join("transcript"))?;
    Ok(seen)
}

/// Starts the clients that stay, and waits for what they tell.
fn prepare(known: &[(String, String)], dir: &Path) -> anyhow::Result<(Process, Vec<(String, String)>)> {
    let home = dir.join("state");
    std::fs::create_dir_all(&home)?;
    let facts: PathBuf = home.join("facts.json");
    let mut java = tool::jvm(&home)?;
    java.arg("state")
        .args(known.iter().take(2).map(|(_, value)| value))
        .arg(&facts);
    let mut process = Process::start("state", &home, java)?;
    eventually("the prepared state", READY_WITHIN, || {
        let is_there = facts.exists();
        anyhow::ensure!(is_there || process.is_running()?, "{}", process.last_words());
        Ok(is_there)
    })
    .with_context(|| process.last_words())?;
    let told: BTreeMap<String, Value> = serde_json::from_str(&std::fs::read_to_string(&facts)?)?;
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let facts = told.into_iter().map(|(name, value)| (name, text(value)));
    Ok((process, facts.collect()))
}

fn see(step: &Step, printed: &Printed, known: &[(String, String)], scratch: &Path) -> anyhow::Result<Seen> {
    let mut lines = mask::masked(&printed.out, known, &step.masks);
    if let Some(count) = step.lines {
        lines.truncate(count);
    }
    if step.is_sorted {
        lines.sort();
    }
    for file in &step.files {
        let text = std::fs::read_to_string(scratch.join(file)).unwrap_or_else(|_| "(no file)".to_owned());
        let mut text = mask::masked(&text, known, &step.masks);
        if step.is_sorted {
            text.sort();
        }
        lines.extend(text.into_iter().map(|line| format!("{file}: {line}")));
    }
    let complaints = mask::masked(&printed.err, known, &step.masks);
    let is_frame = |line: &String| line.starts_with("\tat ") || line.starts_with("\t... ");
    Ok(Seen {
        lines,
        complaints: complaints.into_iter().filter(|line| !is_frame(line)).collect(),
        status: printed.status,
        is_late: printed.is_late,
    })
}

fn compare(lane: &Lane<'_>, step: &Step, truth: &Seen, seen: &Seen) -> (Verdict, Option<String>) {
    let purpose = step.differs.iter().find(|known| lane.may_differ(known.of));
    let found = found(lane, step, truth, seen);
    let told = |what: &str| Some(format!("mqadmin: {}: {}:{what}", lane.name(), step.told()));
    if seen.is_late {
        return (
            Verdict::Differs,
            told(&format!(" did not end within {} s", step.seconds)),
        );
    }
    match (found.is_empty(), purpose) {
        (true, None) => (Verdict::Same, None),
        (true, Some(known)) => {
            // Where both may differ, what one prints can hide what the other does.
            let is_wrong = match known.of {
                Differs::Tool => lane.side == "reference",
                Differs::Server | Differs::Words => lane.tool == Tool::Java,
            };
            let told = told(" declares a difference that is not there");
            (Verdict::Same, told.filter(|_| is_wrong))
        }
        (false, Some(known)) if known.of == Differs::Words => {
            let found = self::found(lane, step, &truth.without_remarks(), &seen.without_remarks());
            match found.is_empty() {
                true => (Verdict::OnPurpose, None),
                false => (Verdict::Differs, told(&format!("\n{}", found.join("\n")))),
            }
        }
        (false, Some(known)) if seen.shows(known.shows) || seen.is_of_another_area(step) => {
            (Verdict::OnPurpose, None)
        }
        (false, Some(known)) => (
            Verdict::Differs,
            told(&format!(
                " declares \"{}\", and that is not seen\n{}",
                known.shows,
                found.join("\n")
            )),
        ),
        (false, None) if lane.tool != Tool::Java && seen.is_refusal() && seen.may_refuse(step, truth) => {
            (Verdict::OnPurpose, None)
        }
        (false, None) => (Verdict::Differs, told(&format!("\n{}", found.join("\n")))),
    }
}

impl Seen {
    /// With the codes of refusals, without what servers say about them.
    fn without_remarks(&self) -> Seen {
        let cut = |line: &String| match line.split_once("DESC: ") {
            Some((before, _)) => format!("{before}DESC"),
            None => line.clone(),
        };
        Seen {
            lines: self.lines.clone(),
            complaints: self.complaints.iter().map(cut).collect(),
            status: self.status,
            is_late: self.is_late,
        }
    }
}

/// What differs between the two.
fn found(lane: &Lane<'_>, step: &Step, truth: &Seen, seen: &Seen) -> Vec<String> {
    if lane.tool != Tool::Java && truth.has_failed() {
        // What was printed before a failure is nobody's promise.
        let told = || format!("  the official tool fails: {}", truth.complaints.join(" / "));
        let is_as_wrong = seen.is_refusal() && (truth.is_without_answer() || !seen.is_without_answer());
        return (!is_as_wrong).then(told).into_iter().collect();
    }
    let mut found = match step.keys {
        Keys::All => differences(&truth.lines, &seen.lines),
        Keys::Reference => differences(&truth.lines, &having(&seen.lines, &truth.lines)),
        Keys::Both => differences(
            &having(&truth.lines, &seen.lines),
            &having(&seen.lines, &truth.lines),
        ),
    };
    if lane.tool == Tool::Java {
        found.extend(differences(&truth.complaints, &seen.complaints));
    } else if !found.is_empty() {
        found.extend(seen.complaints.iter().take(3).map(|line| format!("  ! {line}")));
    }
    found
}

/// How the tools say that nobody answered: three ways of ours, and the exceptions of the official one.
const NO_ANSWER: [&str; 6] = [
    "is the server running",
    "no answer from ",
    "closed the connection before it answered",
    "RemotingConnectException",
    "RemotingTimeoutException",
    "RemotingSendRequestException",
];

/// What the official tool prints as if nothing were wrong. Ours says on stderr what is, and ends with a code.
const MISTAKES: [&str; 10] = [
    "[error] Make sure the specified clusterName exists",
    " not exist.",
    " does not exists",
    "cluster [NoCluster] not exist",
    "clusterAddrTable is empty",
    "broker not exit or broker is not master",
    "miss dump log file name",
    "engineType must be R or F",
    "set the read mode error",
    "Rocksdb path is invalid",
];

impl Seen {
    /// With a stack trace; a mistake in the options ends with 1 and the usage, which is compared.
    fn has_failed(&self) -> bool {
        self.status == 0 && !self.complaints.is_empty()
    }

    fn is_refusal(&self) -> bool {
        self.status != 0 && !self.complaints.is_empty()
    }

    /// Whether our tool may refuse what the official one does not.
    fn may_refuse(&self, step: &Step, truth: &Seen) -> bool {
        truth.tells_mistake() && !self.is_without_answer() || self.is_of_another_area(step)
    }

    /// Whether our tool has only the name of the command.
    fn is_of_another_area(&self, step: &Step) -> bool {
        let is_elsewhere = steps::area(step.command()) != Area::Here;
        is_elsewhere && self.complaints.iter().any(|line| line.contains(tool::LACKING))
    }

    /// Whether it failed because nobody answered: no server of a run is away, so that is never what was meant unless the
    /// official tool was told to ask nobody, too.
    fn is_without_answer(&self) -> bool {
        let mut lines = self.complaints.iter();
        lines.any(|line| NO_ANSWER.iter().any(|word| line.contains(word)))
    }

    /// Whether a declared difference is the one that is seen.
    fn shows(&self, text: &str) -> bool {
        if text.is_empty() {
            return self.status == 0 && self.lines.is_empty() && self.complaints.is_empty();
        }
        let mut lines = self.lines.iter().chain(&self.complaints);
        lines.any(|line| line.contains(text))
    }

    fn tells_mistake(&self) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|line| line == "false" || MISTAKES.iter().any(|mistake| line.contains(mistake)))
    }
}

/// The lines whose keys others have too.
fn having(lines: &[String], others: &[String]) -> Vec<String> {
    let key = |line: &String| {
        let key = line.split(['=', ':']).next().unwrap_or_default();
        key.trim_end_matches("<value>").trim_end().to_owned()
    };
    let keys: std::collections::BTreeSet<String> = others.iter().map(key).collect();
    lines
        .iter()
        .filter(|line| keys.contains(&key(line)))
        .cloned()
        .collect()
}

/// The lines that only one of the two has, and no more of them than one can read.
fn differences(truth: &[String], seen: &[String]) -> Vec<String> {
    const TOLD_MAX: usize = 24;
    // How many lines the rests from here on have in common.
    let mut common = vec![vec![0_usize; seen.len() + 1]; truth.len() + 1];
    for (a, theirs) in truth.iter().enumerate().rev() {
        for (b, ours) in seen.iter().enumerate().rev() {
            common[a][b] = match theirs == ours {
                true => common[a + 1][b + 1] + 1,
                false => common[a + 1][b].max(common[a][b + 1]),
            };
        }
    }
    let (mut a, mut b) = (0, 0);
    let mut told = Vec::new();
    while a < truth.len() || b < seen.len() {
        match (truth.get(a), seen.get(b)) {
            (Some(theirs), Some(ours)) if theirs == ours => (a, b) = (a + 1, b + 1),
            (Some(theirs), ours) if ours.is_none() || common[a + 1][b] >= common[a][b + 1] => {
                told.push(format!("  - {theirs}"));
                a += 1;
            }
            (_, Some(ours)) => {
                told.push(format!("  + {ours}"));
                b += 1;
            }
            _ => break,
        }
    }
    let more = told.len().saturating_sub(TOLD_MAX);
    told.truncate(TOLD_MAX);
    told.extend((more > 0).then(|| format!("  … {more} more")));
    told
}

/// Everything that was printed, for whoever looks for a difference.
fn write_down(steps: &[Step], printed: &[Printed], seen: &[Seen], file: &Path) -> anyhow::Result<()> {
    let mut text = String::new();
    for ((step, printed), seen) in steps.iter().zip(printed).zip(seen) {
        text.push_str(&format!(
            "$ {}   ({} ms)\n",
            step.told(),
            printed.took.as_millis()
        ));
        seen.lines
            .iter()
            .for_each(|line| text.push_str(&format!("{line}\n")));
        seen.complaints
            .iter()
            .for_each(|line| text.push_str(&format!("! {line}\n")));
        text.push_str(&format!("= {}\n\n", printed.status));
    }
    Ok(std::fs::write(file, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
        assert!(differences(&lines("a b"), &lines("a b")).is_empty());
        assert_eq!(differences(&lines("a b c"), &lines("a x c")), ["  - b", "  + x"]);
        assert_eq!(differences(&lines("a c"), &lines("a b c")), ["  + b"]);
    }

    fn seen(complaint: &str, status: i64) -> Seen {
        Seen {
            lines: Vec::new(),
            complaints: vec![complaint.to_owned()],
            status,
            is_late: false,
        }
    }

    const LANE: Lane<'_> = Lane {
        tool: Tool::Ours(PathBuf::new()),
        side: "barque",
        program: &Program::Barque(PathBuf::new()),
    };

    #[test]
    fn a_command_that_does_not_end_or_reaches_nobody_is_no_difference_on_purpose() {
        let verdict = |step: &Step, truth: &Seen, seen: &Seen| compare(&LANE, step, truth, seen).0;
        let failed = seen("SubCommandException: no such topic", 0);
        let refused = seen("error: no such topic", 1);
        let away = seen(
            "error: cannot connect; is the server running, and is this its address?",
            1,
        );
        let plain = step::bare("topicRoute -t T");
        assert_eq!(verdict(&plain, &failed, &refused), Verdict::Same);
        assert_eq!(verdict(&plain, &failed, &away), Verdict::Differs);
        let nobody = seen("RemotingConnectException: connect to <addr> failed", 0);
        assert_eq!(verdict(&plain, &nobody, &away), Verdict::Same);
        let late = Seen {
            is_late: true,
            ..seen("error: no such topic", 1)
        };
        assert_eq!(verdict(&plain, &failed, &late), Verdict::Differs);
        let declared = step::bare("topicRoute -t T").our_tool("it is said", "no such topic");
        let done = Seen {
            complaints: Vec::new(),
            ..seen("", 0)
        };
        assert_eq!(verdict(&declared, &done, &refused), Verdict::Same);
        let printed = Seen {
            lines: vec!["a route".to_owned()],
            complaints: Vec::new(),
            ..seen("", 0)
        };
        assert_eq!(verdict(&declared, &printed, &refused), Verdict::OnPurpose);
        assert_eq!(verdict(&declared, &printed, &away), Verdict::Differs);
    }
}
