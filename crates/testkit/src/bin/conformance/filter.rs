// SPDX-License-Identifier: Apache-2.0
//! SQL expressions: what the reference's own evaluator makes of them, and what ours does. Chosen ones, and some thousands
//! that are put together by chance but the same in every run, each for all of the messages.
#![expect(
    clippy::disallowed_methods,
    reason = "what is asked and answered are real files"
)]

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use broker::sql::Sql;
use testkit::process::Process;
use testkit::programs;
use testkit::server::Program;

use crate::dice::Dice;
use crate::{Outcome, Sides};

const WITHIN: Duration = Duration::from_secs(120);
/// Expressions that are made by chance.
const RANDOM: u64 = 6_000;
/// Differences that are told; one mistake makes many.
const TOLD_MAX: usize = 20;

/// The values a property of a message may have; each has `a`, some have `b`.
const VALUES: [&str; 40] = [
    "5",
    "05",
    "+5",
    "-5",
    "5.0",
    "5.",
    ".5",
    "5e0",
    "5d",
    "5f",
    "5L",
    " 5",
    "5 ",
    "-0",
    "-0.0",
    "0",
    "2147483647",
    "2147483648",
    "-2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "1e400",
    "-1e400",
    "4.9e-324",
    "0x5",
    "0x5p0",
    "0x1.8p1f",
    "0x1.fffffffffffff8p1023",
    "NaN",
    "-NaN",
    "Infinity",
    "infinity",
    "٥",
    "５",
    "𝟓",
    "true",
    "TrUe",
    "x",
    "it's 'x'",
    "5x",
];

/// Expressions that mean something, or come close.
const CHOSEN: &str = include_str!("filter/expressions.txt");

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let Some(Program::Reference(jars)) = &sides.reference else {
        return Ok(Outcome {
            line: "filter: SKIPPED, needs the reference".to_owned(),
            findings: Vec::new(),
        });
    };
    let dir = sides.dir.join("filter");
    std::fs::create_dir_all(&dir)?;
    let (messages, expressions) = (messages(), expressions());
    let mut asked = String::new();
    let all = messages.iter().map(|message| ('P', message));
    for (kind, text) in all.chain(expressions.iter().map(|text| ('E', text))) {
        writeln!(asked, "{kind} {}", hex(text))?;
    }
    let (file, answers) = (dir.join("asked"), dir.join("answers"));
    std::fs::write(&file, asked)?;
    let mut java = Command::new("java");
    java.arg("-cp").arg(jars.join("*"));
    java.arg(programs::root().join("conformance/java-filter/Evaluate.java"));
    java.arg(&file).arg(&answers);
    let mut process = Process::start("evaluate", &dir, java)?;
    let status = process.finish(WITHIN)?;
    ensure!(status.success(), "{}", process.last_words());

    let answers = std::fs::read_to_string(&answers).context("the reference's answers")?;
    let answers: Vec<&str> = answers.lines().collect();
    ensure!(
        answers.len() == expressions.len(),
        "the reference answered {} times",
        answers.len()
    );
    let mut findings = Vec::new();
    let (mut compiled, mut differing) = (0, 0);
    for (text, theirs) in expressions.iter().zip(answers) {
        compiled += usize::from(theirs != "-");
        let ours = answer(text, &messages);
        if ours != theirs {
            differing += 1;
            findings.push(difference(text, &messages, theirs, &ours));
        }
    }
    findings.truncate(TOLD_MAX);
    let line = format!(
        "filter: {} expressions ({compiled} compile) for {} messages; {differing} answered differently",
        expressions.len(),
        messages.len()
    );
    Ok(Outcome { line, findings })
}

/// As the reference's program says it.
fn answer(text: &str, messages: &[String]) -> String {
    let Ok(sql) = Sql::compile(text) else {
        return "-".to_owned();
    };
    let letter = |message: &String| match sql.evaluate(message.as_bytes()) {
        Ok(Some(true)) => 'T',
        Ok(Some(false)) => 'F',
        Ok(None) => 'N',
        Err(_) => 'X',
    };
    messages.iter().map(letter).collect()
}

fn difference(text: &str, messages: &[String], theirs: &str, ours: &str) -> String {
    let first = theirs.chars().zip(ours.chars()).position(|(a, b)| a != b);
    let message = match first.and_then(|at| messages.get(at)) {
        Some(message) if theirs != "-" && ours != "-" => format!("{message:?}"),
        _ => "compiled".to_owned(),
    };
    format!("filter: {text:?}, {message}:\n  reference {theirs}\n  barque    {ours}")
}

fn messages() -> Vec<String> {
    let mut messages = vec![
        String::new(),
        "b\u{1}5\u{2}".to_owned(),
        "a\u{1}1\u{2}a\u{1}5\u{2}".to_owned(),
        "a\u{1}\u{2}b\u{1}x\u{2}".to_owned(),
        "\u{1}a\u{2}a\u{1}5\u{1}x\u{2}noise\u{2}b\u{1}5".to_owned(),
    ];
    for (at, value) in VALUES.iter().enumerate() {
        messages.push(format!("TAGS\u{1}t\u{2}a\u{1}{value}\u{2}"));
        if at % 3 == 0 {
            let other = VALUES.get(at * 7 % VALUES.len()).unwrap_or(value);
            messages.push(format!("b\u{1}{other}\u{2}a\u{1}{value}\u{2}"));
        }
    }
    messages
}

fn expressions() -> Vec<String> {
    let chosen = CHOSEN
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let unescaped = |line: &str| {
        line.replace("\\n", "\n")
            .replace("\\r", "\r")
            .replace("\\f", "\u{c}")
    };
    let mut all: Vec<String> = chosen.map(unescaped).collect();
    let mut dice = Dice::new(0x5eed);
    for round in 0..RANDOM {
        all.push(match round % 3 {
            0 => dice.words(),
            _ => dice.condition(4),
        });
    }
    all
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

impl Dice {
    fn value(&mut self) -> String {
        self.one(&[
            "a",
            "a",
            "a",
            "b",
            "missing",
            "5",
            "-5",
            "05",
            "5L",
            "2147483648",
            "5.0",
            ".5",
            "5e0",
            "'5'",
            "'x'",
            "''",
            "TRUE",
            "false",
            "NULL",
            "-a",
            "- -5",
            "+a",
            "(b)",
            "0",
            "1e308",
            "-5.5",
        ])
        .to_owned()
    }

    fn condition(&mut self, depth: usize) -> String {
        let deeper = |dice: &mut Dice| dice.condition(depth.saturating_sub(1));
        let kind = self.below(if depth == 0 { 9 } else { 14 });
        let (left, right) = (self.value(), self.value());
        match kind {
            0..=3 => format!("{left} {} {right}", self.one(&["=", "<>", ">", ">=", "<", "<="])),
            4 => format!(
                "{left} {} '{}'",
                self.one(&["contains", "startswith", "not endswith", "not contains"]),
                { self.one(&["5", "x", "", "0", "''"]) }
            ),
            5 => format!("{left} {} ('5', 'x', '5.0')", self.one(&["in", "not in"])),
            6 => format!(
                "{left} {} {right} and {}",
                self.one(&["between", "not between"]),
                self.value()
            ),
            7 => format!("{left} is {}", self.one(&["null", "not null"])),
            8 => left,
            9 => format!("not {}", deeper(self)),
            10 => format!(
                "({}) {} ({})",
                deeper(self),
                self.one(&["=", "<>", "and", "or"]),
                deeper(self)
            ),
            11 | 12 => format!("{} {} {}", deeper(self), self.one(&["and", "or"]), deeper(self)),
            _ => format!(
                "({}) {}",
                deeper(self),
                self.one(&["is null", "= true", "is not null", "contains 'x'"])
            ),
        }
    }

    /// Words without an order.
    fn words(&mut self) -> String {
        let words = [
            "a", "b", "A", "a", "5", "5.0", "'x'", "TRUE", "NULL", "=", "<>", ">", "<=", "IS", "NULL", "NOT",
            "AND", "OR", "BETWEEN", "IN", "CONTAINS", "(", ")", ",", "+", "-", "--", "/* */", "!", "'", ".",
            "5e", "\n", "é",
        ];
        let count = 2 + self.below(7);
        let mut text = self
            .one(&["a = 5", "a", "not a", "a > 1 and b", "(a", ""])
            .to_owned();
        for _ in 0..count {
            text.push_str(self.one(&["", " ", " "]));
            text.push_str(self.one(&words));
        }
        text
    }
}
