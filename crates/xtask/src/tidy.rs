// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask tidy`: the rules of the tree that neither compiler nor clippy checks. There is no list of accepted
//! violations: a rule that needs one is a wrong rule.

mod log;
mod names;
mod routes;
mod source;
mod text;

use crate::tool::root;
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};

/// Most packages Cargo.lock may hold, our own included.
const PACKAGES_MAX: usize = 250;

/// Directories that hold no text of ours, wherever they are.
const NOT_OURS: [&str; 7] = [
    "target",
    ".git",
    "lib",
    "node_modules",
    "__pycache__",
    "barque-data",
    "golden",
];

/// A broken rule, and where.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    text: String,
}

impl Finding {
    fn new(file: &str, line: usize, text: impl Into<String>) -> Finding {
        Finding {
            file: file.into(),
            line,
            text: text.into(),
        }
    }
}

/// Checks the whole tree; the error says how many rules are broken after each was printed.
pub(crate) fn run() -> anyhow::Result<()> {
    eprintln!("\n==> tidy");
    let root = root();
    let mut findings = Vec::new();
    let mut files = Vec::new();
    walk(&root, &root, &mut files)?;
    let mut fields = log::Names::of(&std::fs::read_to_string(root.join(log::PAGE))?);
    for file in &files {
        let Ok(content) = std::fs::read_to_string(root.join(file)) else {
            continue; // not text
        };
        if file.ends_with(".rs") {
            source::check(file, &content, &mut findings);
            names::check(file, &content, &mut findings);
            fields.check(file, &content, &mut findings);
        }
        text::check(&root, file, &content, &mut findings);
        if file == "Cargo.lock" {
            packages(&content, &mut findings);
        }
    }
    routes::check(&root, &mut findings);
    fields.finish(&mut findings);
    findings.sort();
    for f in &findings {
        eprintln!("{}:{}: {}", f.file, f.line, f.text);
    }
    match findings.len() {
        0 => {
            eprintln!("tidy: {} files, nothing to say", files.len());
            Ok(())
        }
        n => bail!("tidy found {n} broken rule(s), listed above"),
    }
}

fn packages(lock: &str, findings: &mut Vec<Finding>) {
    let count = lock.lines().filter(|l| *l == "[[package]]").count();
    if count > PACKAGES_MAX {
        findings.push(Finding::new(
            "Cargo.lock",
            1,
            format!("{count} packages, the budget is {PACKAGES_MAX}"),
        ));
    }
}

/// Collects the files below `dir` as paths relative to `root` with forward slashes, in a fixed order.
fn walk(root: &Path, dir: &Path, out: &mut Vec<String>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if !NOT_OURS.contains(&name.as_str()) {
                walk(root, &path, out)?;
            }
        } else if let Ok(relative) = path.strip_prefix(root) {
            out.push(relative.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}
