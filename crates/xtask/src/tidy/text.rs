// SPDX-License-Identifier: Apache-2.0
//! What no text file may hold: paths of one machine, notes to self, links to files that are not there.

use super::Finding;
use std::path::Path;

const ENDINGS: [&str; 14] = [
    ".rs", ".toml", ".md", ".sh", ".py", ".java", ".go", ".xml", ".yml", ".yaml", ".mod", ".js", "/run",
    "NOTICE",
];

/// Where somebody's files live. Written in pieces, so that this file passes its own rule. `/home` is left out: it is
/// where the made-up users of our tests live.
const MACHINE_PATHS: [&str; 3] = [
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
];

const NOTES: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
];

pub(super) fn check(root: &Path, file: &str, content: &str, findings: &mut Vec<Finding>) {
    if !ENDINGS.iter().any(|e| file.ends_with(e)) {
        return;
    }
    for (i, line) in content.lines().enumerate() {
        if let Some(path) = MACHINE_PATHS.iter().find(|p| starts_a_path(line, p)) {
            findings.push(Finding::new(
                file,
                i + 1,
                format!("`{path}` is a path of one machine"),
            ));
        }
        if let Some(note) = NOTES.iter().find(|n| line.contains(**n)) {
            findings.push(Finding::new(
                file,
                i + 1,
                format!("`{note}`: do it or write an issue"),
            ));
        }
    }
    if file.ends_with(".md") {
        links(root, file, content, findings);
    }
}

/// Whether an absolute path starting with `prefix` is written in the line (and not the middle of another path).
fn starts_a_path(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.})~".contains(c))
    })
}

/// Relative links `](path)` of a page must lead to a file of the tree.
fn links(root: &Path, file: &str, content: &str, findings: &mut Vec<Finding>) {
    let folder = root.join(file).parent().unwrap_or(root).to_path_buf();
    for (i, line) in content.lines().enumerate() {
        for (at, _) in line.match_indices("](") {
            let Some(link) = line[at + 2..].split(')').next() else {
                continue;
            };
            let path = link.split('#').next().unwrap_or_default();
            let external = link.contains("://") || link.starts_with("mailto:") || path.is_empty();
            if !external && !folder.join(path).exists() {
                findings.push(Finding::new(
                    file,
                    i + 1,
                    format!("the link leads nowhere: {link}"),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(file: &str, content: &str) -> usize {
        let mut found = Vec::new();
        check(&crate::tool::root(), file, content, &mut found);
        found.len()
    }

    #[test]
    fn paths_of_one_machine_are_refused() {
        for home in MACHINE_PATHS {
            assert_eq!(findings("a.toml", &format!("path = \"{home}me/x\"")), 1);
            assert_eq!(findings("a.toml", &format!("path = \"$DIR{home}x\"")), 0);
            assert_eq!(findings("a.toml", &format!("path = \"src{home}x\"")), 0);
        }
    }

    #[test]
    fn a_dead_link_is_found_and_a_live_one_passes() {
        assert_eq!(
            findings(
                "README.md",
                "[a](Cargo.toml) [b](https://example.org/x) [c](#part)"
            ),
            0
        );
        assert_eq!(findings("README.md", "[a](no-such-file.md)"), 1);
    }
}
