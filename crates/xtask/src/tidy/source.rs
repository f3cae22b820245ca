// SPDX-License-Identifier: Apache-2.0
//! The shape of a Rust file: licence line, module doc, size, and what tests may not do.

use super::Finding;

/// Most lines of a file before its tests.
const LINES_MAX: usize = 800;

const LICENCE: &str = "// SPDX-License-Identifier: Apache-2.0";

pub(super) fn check(file: &str, content: &str, findings: &mut Vec<Finding>) {
    if file.starts_with("bench/") {
        return; // own workspace, measured and not shipped
    }
    let mut lines = content.lines().map(str::trim);
    if lines.next() != Some(LICENCE) {
        findings.push(Finding::new(
            file,
            1,
            format!("the first line must be `{LICENCE}`"),
        ));
    }
    let first = lines.find(|l| !l.is_empty()).unwrap_or_default();
    if !first.starts_with("//!") && !file.ends_with("/tests.rs") {
        findings.push(Finding::new(
            file,
            2,
            "a `//!` must say what this file is for, right after the licence line",
        ));
    }
    if !is_test(file) {
        let count = lines_before_tests(content);
        if count > LINES_MAX {
            findings.push(Finding::new(
                file,
                1,
                format!("{count} lines before its tests, the limit is {LINES_MAX}"),
            ));
        }
    }
    for (i, line) in content.lines().enumerate().map(|(i, l)| (i + 1, l.trim())) {
        if line.starts_with("#[ignore") {
            findings.push(Finding::new(file, i, "a test runs or goes; it is not ignored"));
        }
        if line.starts_with("#![allow(") && is_crate_root(file) {
            let text = "allow a lint where it is needed, with a reason, not for a whole crate";
            findings.push(Finding::new(file, i, text));
        }
    }
}

/// Whether a file holds only tests.
fn is_test(file: &str) -> bool {
    file.contains("/tests/") || file.ends_with("/tests.rs")
}

fn is_crate_root(file: &str) -> bool {
    file.ends_with("src/lib.rs") || file.ends_with("src/main.rs")
}

fn lines_before_tests(content: &str) -> usize {
    let lines: Vec<&str> = content.lines().collect();
    let tests = lines
        .windows(2)
        .position(|w| w[0] == "#[cfg(test)]" && w[1].starts_with("mod tests"));
    tests.unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(file: &str, content: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(file, content, &mut found);
        found.into_iter().map(|f| f.text).collect()
    }

    #[test]
    fn a_file_with_licence_and_doc_passes() {
        assert!(findings("a/src/b.rs", &format!("{LICENCE}\n//! Doc.\n\nfn f() {{}}\n")).is_empty());
    }

    #[test]
    fn a_missing_licence_and_doc_are_two_findings() {
        assert_eq!(findings("a/src/b.rs", "fn f() {}\n").len(), 2);
    }

    #[test]
    fn only_the_lines_before_the_tests_count() {
        let body = "fn f() {}\n".repeat(LINES_MAX - 2);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(500));
        assert!(findings("a/src/b.rs", &format!("{LICENCE}\n//! Doc.\n{body}{tests}")).is_empty());
        assert_eq!(
            findings(
                "a/src/b.rs",
                &format!("{LICENCE}\n//! Doc.\n{body}fn g() {{}}\n{tests}")
            )
            .len(),
            1
        );
    }
}
