// SPDX-License-Identifier: Apache-2.0
//! The table of a run: a row for each class of damage, what barque and the reference made of it, over all stores.

use super::look::Seen;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What one case came to.
#[derive(Debug, Default)]
pub(super) struct Result {
    /// There was something to damage.
    pub(super) is_played: bool,
    /// A look at the stopped store finds something.
    pub(super) is_found: bool,
    /// The start was refused, with these words.
    pub(super) refused: Option<String>,
    pub(super) seen: Seen,
    /// What is against a promise.
    pub(super) wrong: Vec<String>,
}

#[derive(Debug, Default)]
struct Row {
    cases: usize,
    refused: usize,
    lost: usize,
    corrupt: usize,
    odd: usize,
    again: usize,
    blocked: usize,
    unfound: usize,
    tables: usize,
    words: String,
}

impl Row {
    fn add(&mut self, result: &Result) {
        let seen = &result.seen;
        self.cases += 1;
        self.refused += usize::from(result.refused.is_some());
        self.lost += seen.lost.len();
        self.corrupt += seen.corrupt;
        self.odd += seen.odd.len();
        self.again += seen.again;
        self.blocked += seen.blocked.len();
        self.unfound += seen.untagged.len() + seen.unkeyed.len();
        self.tables += seen.rewound + seen.changed;
        if let Some(words) = result.refused.as_ref().or(seen.refused.as_ref()) {
            self.words.clone_from(words);
        }
    }

    /// The cells of one side.
    fn told(&self) -> String {
        let mut text = format!("{}", self.cases);
        let counts = [
            (self.lost, "lost"),
            (self.corrupt, "corrupt"),
            (self.odd, "with a wrong field"),
            (self.again, "again"),
            (self.blocked, "queues blocked"),
            (self.unfound, "not found by key or tag"),
            (self.tables, "offsets or tables changed"),
            (self.refused, "starts refused"),
        ];
        let told: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let told = if told.is_empty() {
            "nothing lost".to_owned()
        } else {
            told.join(", ")
        };
        let _in_memory = write!(text, " | {told}");
        text
    }
}

/// All results so far.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By class and store, in the order in which they came.
    order: Vec<(String, &'static str)>,
    ours: BTreeMap<(String, &'static str), Row>,
    theirs: BTreeMap<(String, &'static str), Row>,
    findings: Vec<String>,
    cases: usize,
}

impl Table {
    pub(super) fn add(&mut self, store: &'static str, class: &str, result: Result) {
        if !result.is_played {
            return;
        }
        self.cases += 1;
        let key = (class.to_owned(), store);
        if !self.ours.contains_key(&key) {
            self.order.push(key.clone());
        }
        self.ours.entry(key).or_default().add(&result);
        let told = result
            .wrong
            .iter()
            .map(|wrong| format!("damage: store {store}, {class}: {wrong}"));
        self.findings.extend(told);
    }

    pub(super) fn add_java(&mut self, store: &'static str, class: &str, mut result: Result) {
        if !result.is_played {
            return;
        }
        // Not a promise of ours.
        if let Some(wrong) = result.wrong.pop() {
            result.seen.refused = Some(wrong);
        }
        let key = (class.to_owned(), store);
        self.theirs.entry(key).or_default().add(&result);
    }

    pub(super) fn told(&self) -> String {
        let mut text =
            String::from("| damage | store | cases | barque | reference |\n|---|---|---|---|---|\n");
        for key in &self.order {
            let (class, store) = key;
            let Some(ours) = self.ours.get(key) else { continue };
            let theirs = self.theirs.get(key).map(|row| {
                let cells = row.told();
                let cells = cells.split_once(" | ").map_or("", |(_, cells)| cells).to_owned();
                if row.words.is_empty() {
                    cells
                } else {
                    format!("{cells} ({})", short(&row.words))
                }
            });
            let _in_memory = writeln!(
                text,
                "| {class} | {store} | {} | {} |",
                ours.told(),
                theirs.unwrap_or_default()
            );
        }
        let mut words: Vec<&str> = self
            .ours
            .values()
            .map(|row| &*row.words)
            .filter(|words| !words.is_empty())
            .collect();
        words.sort_unstable();
        words.dedup();
        for words in words.iter().take(30) {
            let _in_memory = writeln!(text, "refused: {words}");
        }
        text
    }

    pub(super) fn headline(&self) -> String {
        let sum = |of: fn(&Row) -> usize| self.ours.values().map(of).sum::<usize>();
        format!(
            "{} cases: {} damaged messages lost, {} starts refused and mended, {} broken promises",
            self.cases,
            sum(|row| row.lost),
            sum(|row| row.refused),
            self.findings.len()
        )
    }

    pub(super) fn findings(&self, seed: u64) -> Vec<String> {
        self.findings
            .iter()
            .map(|finding| format!("{finding} (seed {seed})"))
            .collect()
    }
}

/// The first words, without what would end a cell.
fn short(words: &str) -> String {
    let line = words.lines().next().unwrap_or_default().replace('|', "/");
    line.chars().take(120).collect()
}
