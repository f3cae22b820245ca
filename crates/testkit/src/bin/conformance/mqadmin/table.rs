// SPDX-License-Identifier: Apache-2.0
//! docs/mqadmin.md: command by command what came out. Written with BARQUE_BLESS=1, compared otherwise.
#![expect(clippy::disallowed_methods, reason = "the table is a real file")]

use super::Verdict;
use super::step::{Difference, Differs, Step};
use super::steps::{Area, COMMANDS};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use testkit::programs;

const LANES: [&str; 3] = ["java-barque", "ours-reference", "ours-barque"];

const HEAD: &str = "\
# mqadmin

<!-- Written by `BARQUE_BLESS=1 cargo xtask conformance mqadmin` from what that run saw; do not edit. -->

Every command of the reference's `mqadmin` (Apache RocketMQ 5.4.0) is run with the command lines in
`crates/testkit/src/bin/conformance/mqadmin/steps`, by the official tool and by `barque admin`, on a Java cluster and on
barque, which were prepared in the same way. What the official tool prints of the Java cluster is right. A number is how
many of the steps of a command printed the same, after times, addresses, ids and figures that the machine makes were masked;
`+ n` are differences on purpose, which are listed below.

Our tool fails where the official one does, in words of its own. Three things it does otherwise everywhere, and they count as `+ n`: a
mistake that the official tool prints to stdout as if nothing were wrong (a cluster that does not exist) is an error on stderr, with
an exit code; so is a command that is not part of barque; and `-h` is never a mistake.

";

/// What is wrong with the table in docs.
pub(crate) fn check(
    steps: &[Step],
    verdicts: &BTreeMap<&'static str, Vec<Verdict>>,
) -> anyhow::Result<Vec<String>> {
    let file = programs::root().join("docs/mqadmin.md");
    let table = render(steps, verdicts);
    if std::env::var_os("BARQUE_BLESS").is_some() {
        std::fs::write(&file, &table)?;
    }
    let is_current = std::fs::read_to_string(&file).unwrap_or_default() == table;
    let finding = "mqadmin: docs/mqadmin.md is not what this run saw; BARQUE_BLESS=1 writes it".to_owned();
    Ok((!is_current).then_some(finding).into_iter().collect())
}

fn render(steps: &[Step], verdicts: &BTreeMap<&'static str, Vec<Verdict>>) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| command | steps | official tool, barque | our tool, Java | our tool, barque | |\n|---|---|---|---|---|---|\n");
    for (command, area) in COMMANDS {
        let mine: Vec<usize> = (0..steps.len())
            .filter(|at| steps[*at].command() == *command)
            .collect();
        write!(text, "| `{command}` | {} |", mine.len()).unwrap_or_default();
        for lane in LANES {
            let cell = verdicts
                .get(lane)
                .map_or_else(|| "–".to_owned(), |verdicts| cell(&mine, verdicts));
            write!(text, " {cell} |").unwrap_or_default();
        }
        writeln!(text, " {} |", area.told()).unwrap_or_default();
    }
    purposes(&mut text, steps);
    text
}

fn cell(mine: &[usize], verdicts: &[Verdict]) -> String {
    let count = |wanted| {
        mine.iter()
            .filter(|at| verdicts.get(**at) == Some(&wanted))
            .count()
    };
    let mut cell = count(Verdict::Same).to_string();
    if let purpose @ 1.. = count(Verdict::OnPurpose) {
        cell.push_str(&format!(" + {purpose}"));
    }
    if let differ @ 1.. = count(Verdict::Differs) {
        cell.push_str(&format!(", **{differ} differ**"));
    }
    cell
}

fn purposes(text: &mut String, steps: &[Step]) {
    let told = [
        (
            Differs::Server,
            "\n## Where barque answers otherwise, on purpose\n\n",
        ),
        (
            Differs::Words,
            "\n## Where barque refuses with the same code, in other words\n\n",
        ),
        (
            Differs::Tool,
            "\n## Where our tool says it otherwise, on purpose\n\n",
        ),
    ];
    for (wanted, heading) in told {
        let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
        for step in steps {
            for Difference { why, .. } in step.differs.iter().filter(|known| known.of == wanted) {
                let line = format!("`{}`", step.told().trim_end_matches(" -n $namesrv"));
                match reasons.iter_mut().find(|(known, _)| known == why) {
                    Some((_, lines)) if lines.contains(&line) => {}
                    Some((_, lines)) => lines.push(line),
                    None => reasons.push((why, vec![line])),
                }
            }
        }
        if !reasons.is_empty() {
            text.push_str(heading);
        }
        for (why, lines) in reasons {
            writeln!(text, "- {why}: {}", lines.join(", ")).unwrap_or_default();
        }
    }
}

impl Area {
    fn told(self) -> &'static str {
        match self {
            Area::Here => "",
            Area::Controller => "other area: controller",
            Area::Container => "other area: container",
            Area::Auth => "other area: auth",
            Area::ColdData => "other area: cold data",
            Area::RocksDb => "other area: RocksDB",
        }
    }
}
