// SPDX-License-Identifier: Apache-2.0
//! What is said about the figures: the table, which of them are above or far below their ceilings, and which functions
//! have the most instructions.

use crate::callgrind::Counts;
use crate::ceilings::Ceilings;
use crate::cost::{Cost, FIGURES};
use crate::scenes::Scene;
use std::cmp::Reverse;
use std::io::Write as _;

/// A ceiling that would be so much lower today is told.
const WORTH_LOWERING: f64 = 0.9;
/// Functions of a scene that `--top` shows, and files of each.
const TOP: usize = 15;
const TOP_FILES: usize = 3;

/// Lines for whoever runs it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    /// What is above its ceiling.
    pub(crate) above: Vec<String>,
    /// Ceilings that could be lower.
    pub(crate) below: Vec<String>,
}

/// Holds what was counted against the ceilings.
pub(crate) fn verdict(costs: &[(&str, Cost)], ceilings: &Ceilings) -> Verdict {
    let mut verdict = Verdict::default();
    for (scene, cost) in costs {
        let Some(ceiling) = ceilings.of(scene) else {
            verdict.above.push(format!("{scene} has no ceilings"));
            continue;
        };
        for (figure, (counted, ceiling)) in FIGURES.iter().zip(cost.iter().zip(ceiling)) {
            let name = figure.name;
            let (now, allowed) = (figure.text(*counted), figure.text(*ceiling));
            if counted > ceiling {
                let more = (counted / ceiling - 1.0) * 100.0;
                verdict.above.push(format!(
                    "{scene}: {now} {name} per message, the ceiling is {allowed} ({more:.1} % above it)"
                ));
            } else if figure.ceiling(*counted) < WORTH_LOWERING * ceiling {
                verdict.below.push(format!(
                    "{scene}: {now} {name} per message, the ceiling of {allowed} can be lowered: cargo xtask guard --bless"
                ));
            }
        }
    }
    verdict
}

/// One line for each scene.
pub(crate) fn table(costs: &[(&str, Cost)], ceilings: &Ceilings) -> String {
    let mut text = format!("{:<16}", "per message");
    for figure in &FIGURES {
        text += &format!(" {:>16} {:>8}", figure.name, "ceiling");
    }
    text.push('\n');
    for (scene, cost) in costs {
        text += &format!("{scene:<16}");
        for (at, (figure, counted)) in FIGURES.iter().zip(cost).enumerate() {
            let ceiling = ceilings
                .of(scene)
                .map_or("-".to_owned(), |of| figure.text(of[at]));
            text += &format!(" {:>16} {ceiling:>8}", figure.text(*counted));
        }
        text.push('\n');
    }
    text
}

/// The functions of a scene with the most instructions of their own, and the files from which these come.
pub(crate) fn top(scene: &Scene, counts: &Counts) -> String {
    let per_message = |count: u64| count as f64 / scene.messages as f64;
    let all = counts.instructions();
    let mut text = format!(
        "\n{}: {:.0} instructions per message\n",
        scene.name,
        per_message(all)
    );
    let mut functions: Vec<_> = counts.functions.iter().collect();
    functions.sort_by_key(|(name, function)| (Reverse(function.instructions), *name));
    for (name, function) in functions.into_iter().take(TOP) {
        let own = function.instructions;
        let share = own as f64 / all as f64 * 100.0;
        text += &format!("{:>9.1} {share:>5.1} %  {name}\n", per_message(own));
        let mut files: Vec<_> = function.files.iter().collect();
        files.sort_by_key(|(file, count)| (Reverse(**count), *file));
        for (file, count) in files.into_iter().take(TOP_FILES) {
            let parts: Vec<&str> = file.rsplit('/').take(3).collect();
            let parts: Vec<&str> = parts.into_iter().rev().collect();
            text += &format!("{:>20.1}  {}\n", per_message(*count), parts.join("/"));
        }
    }
    text
}

/// Writes to stdout. That nobody reads it any more is no error.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ceilings::blessed;

    fn ceilings(cost: Cost) -> Ceilings {
        let page = "<!-- figures: cargo xtask guard --bless --><!-- end of the figures -->";
        Ceilings::read(&blessed(page, &[("a", cost)]).unwrap()).unwrap()
    }

    #[test]
    fn what_was_blessed_is_within_its_ceilings() {
        let cost = [1000.0, 100.0, 2.0, 0.125];
        assert_eq!(verdict(&[("a", cost)], &ceilings(cost)), Verdict::default());
    }

    #[test]
    fn each_figure_above_its_ceiling_is_told_with_by_how_much() {
        let ceilings = ceilings([1000.0, 100.0, 2.0, 0.125]);
        let above = verdict(&[("a", [2062.0, 100.0, 3.0, 0.125])], &ceilings).above;
        assert_eq!(
            above,
            [
                "a: 2062 instructions per message, the ceiling is 1031 (100.0 % above it)",
                "a: 3.000 allocations per message, the ceiling is 2.024 (48.2 % above it)",
            ]
        );
    }

    #[test]
    fn a_ceiling_far_above_what_is_counted_can_be_lowered_and_is_no_error() {
        let verdict = verdict(
            &[("a", [800.0, 100.0, 2.0, 0.125])],
            &ceilings([1000.0, 100.0, 2.0, 0.125]),
        );
        assert_eq!(verdict.above, [""; 0]);
        let [line] = verdict.below.as_slice() else {
            panic!("{verdict:?}");
        };
        assert!(
            line.starts_with("a: 800 instructions per message, the ceiling of 1031"),
            "{line}"
        );
    }

    #[test]
    fn a_scene_without_ceilings_is_an_error() {
        assert_eq!(
            verdict(&[("b", [1.0; 4])], &ceilings([1.0; 4])).above,
            ["b has no ceilings"]
        );
    }

    #[test]
    fn the_table_has_a_line_for_each_scene() {
        let table = table(&[("a", [1000.4, 100.0, 2.0, 0.125])], &ceilings([1000.0; 4]));
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            row,
            [
                "a", "1000", "1031", "100", "1305", "2.000", "1002.020", "0.125", "1020.010"
            ]
        );
    }
}
