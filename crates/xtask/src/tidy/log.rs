// SPDX-License-Identifier: Apache-2.0
//! Lines of the log that somebody has to act on: each `warn!` and `error!` names what it is about in a field, and calls it
//! as all others do. The names are those of the table in docs/logging.md, which has none that no line uses.

use super::Finding;
use std::collections::BTreeSet;

pub(super) const PAGE: &str = "docs/logging.md";

/// The heading that the table of names stands under.
const HEADING: &str = "## Fields of warnings and errors";

/// What went wrong, which is not what it is about.
const REASONS: [&str; 3] = ["error", "remark", "what"];

/// The names of the table, and those that were met.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: BTreeSet<String>,
    used: BTreeSet<String>,
}

impl Names {
    /// Those between backticks in the first column.
    pub(super) fn of(page: &str) -> Names {
        let lines = page.lines().skip_while(|line| *line != HEADING).skip(1);
        let rows = lines
            .take_while(|line| !line.starts_with("## "))
            .filter_map(|line| line.strip_prefix("| ")?.split('|').next());
        let known = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned));
        Names {
            known: known.collect(),
            used: BTreeSet::new(),
        }
    }

    pub(super) fn check(&mut self, file: &str, content: &str, findings: &mut Vec<Finding>) {
        if !file.starts_with("crates/") || !file.contains("/src/") {
            return;
        }
        let code = without_text(content);
        for (line, arguments) in calls(&code) {
            let fields: Result<Vec<&str>, &str> = fields(arguments).collect();
            let fields = match fields {
                Ok(fields) => fields,
                Err(part) => {
                    let text = format!("`{part}` has no name of its own in the log: write `name = …`");
                    findings.push(Finding::new(file, line, text));
                    continue;
                }
            };
            if fields.iter().all(|field| REASONS.contains(field)) {
                let text = "no field says what this line of the log is about (topic, queue, client, file, …)";
                findings.push(Finding::new(file, line, text));
            }
            for field in fields {
                if !self.known.contains(field) {
                    let text = format!("the field `{field}` is not in {PAGE}: is there a name for it?");
                    findings.push(Finding::new(file, line, text));
                }
                self.used.insert(field.to_owned());
            }
        }
    }

    /// After all files.
    pub(super) fn finish(&self, findings: &mut Vec<Finding>) {
        if self.known.is_empty() {
            findings.push(Finding::new(PAGE, 1, format!("no table under `{HEADING}`")));
        }
        for name in self.known.difference(&self.used) {
            let text = format!("no warning and no error has a field `{name}`");
            findings.push(Finding::new(PAGE, 1, text));
        }
    }
}

/// Every `warn!(…)` and `error!(…)`: its line, and what stands between the brackets.
fn calls(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for name in ["warn!(", "error!("] {
        for (at, _) in code.match_indices(name) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue; // compile_error!
            }
            let inside = &code[at + name.len()..];
            let line = code[..at].matches('\n').count() + 1;
            found.push((line, split(inside, ')').0));
        }
    }
    found
}

/// What stands in front of the first `end` that is in no bracket, and behind it.
fn split(code: &str, end: char) -> (&str, Option<&str>) {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            _ if c == end && depth == 0 => return (&code[..at], Some(&code[at + 1..])),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    (code, None)
}

/// The names of the fields in front of the sentence; an error for one that is named after a place in the code.
fn fields(arguments: &str) -> impl Iterator<Item = Result<&str, &str>> {
    let mut rest = Some(arguments);
    let parts = std::iter::from_fn(move || {
        let (part, behind) = split(rest?, ',');
        rest = behind;
        Some(part.trim())
    });
    let parts = parts.take_while(|part| !part.starts_with('"') && !part.is_empty());
    parts.map(|part| {
        let text = part.trim_start_matches(['%', '?']);
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        let (name, behind) = text.split_at(end.unwrap_or(text.len()));
        let behind = behind.trim_start();
        match !name.is_empty() && (behind.is_empty() || behind.starts_with('=')) {
            true => Ok(name),
            false => Err(part),
        }
    })
}

/// The code with blanks for comments, and for what stands in strings and characters.
fn without_text(content: &str) -> String {
    let mut code = String::with_capacity(content.len());
    let mut rest = content;
    while let Some(c) = rest.chars().next() {
        let (len, shown) = match c {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), ""),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |at| at + 2), ""),
            '"' => (string_len(rest), "\"\""),
            // No word ends in front of a quotation mark: what could be one is the prefix.
            'r' => match raw_string_len(rest) {
                Some(len) => (len, "\"\""),
                None => (1, "r"),
            },
            '\'' => (char_len(rest), ""),
            _ => (c.len_utf8(), &rest[..c.len_utf8()]),
        };
        let (taken, behind) = rest.split_at(len);
        code.push_str(shown);
        if shown != taken {
            code.extend(taken.chars().filter(|c| *c == '\n'));
        }
        rest = behind;
    }
    code
}

fn string_len(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            _ => is_escaped = c == '\\' && !is_escaped,
        }
    }
    text.len()
}

/// `r"…"` or `r#"…"#`, if it is one.
fn raw_string_len(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|b| *b == b'#').count();
    let inside = text[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(
        inside
            .find(&end)
            .map_or(text.len(), |at| 2 + hashes + at + end.len()),
    )
}

/// A character; the apostrophe alone where it begins a lifetime.
fn char_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text
            .get(3..)
            .and_then(|text| text.find('\''))
            .map_or(1, |at| at + 4),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# Logs\n| `other` | |\n## Fields of warnings and errors\n| field | |\n|---|---|\n| `topic`, `queue` | x `not_this` |\n| `error` | |\n## More\n| `later` | |\n";

    fn findings(content: &str) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        Names::of(TABLE).check("crates/a/src/b.rs", content, &mut found);
        found.into_iter().map(|f| (f.line, f.text)).collect()
    }

    #[test]
    fn names_are_those_of_the_first_column_under_the_heading() {
        let known: Vec<_> = Names::of(TABLE).known.into_iter().collect();
        assert_eq!(known, ["error", "queue", "topic"]);
    }

    #[test]
    fn a_line_that_names_what_it_is_about_passes() {
        let code = r#"
            warn!(%topic, queue = f(a, &[1, 2]), ?error, "lost, (as ever)");
            tracing::error!(
                topic = names["a, b"].len(), // the first, if any
                "sentence {x}",
                x = 1
            );
            compile_error!("x"); let s = "warn!(x)"; let t = r"\"; let c = '"'; // error!("y")
        "#;
        assert_eq!(findings(code), []);
    }

    #[test]
    fn a_line_without_a_subject_is_found_where_it_stands() {
        let found =
            findings("fn f<'a>(x: &'a str) {\n    warn!(\"lost\");\n    error!(%error, \"lost\");\n}\n");
        let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3], "{found:?}");
        assert!(
            found[0].1.contains("what this line of the log is about"),
            "{found:?}"
        );
    }

    #[test]
    fn a_name_that_is_not_in_the_table_is_found() {
        let found = findings("warn!(topic, queue_id, \"x\")");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.contains("`queue_id`"), "{found:?}");
        let found = findings("warn!(%header.topic, \"x\")");
        assert!(found[0].1.contains("`%header.topic`"), "{found:?}");
    }

    #[test]
    fn lines_of_tests_and_of_other_trees_are_not_looked_at() {
        let mut found = Vec::new();
        for file in ["crates/a/tests/b.rs", "bench/src/b.rs"] {
            Names::of(TABLE).check(file, "warn!(\"lost\");", &mut found);
        }
        assert_eq!(found, []);
    }

    #[test]
    fn a_name_that_no_line_uses_is_found_and_so_is_a_page_without_a_table() {
        let mut names = Names::of(TABLE);
        let mut found = Vec::new();
        names.check("crates/a/src/b.rs", "warn!(topic, %error, \"x\")", &mut found);
        names.finish(&mut found);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].text.contains("`queue`"), "{found:?}");
        Names::of("# Logs\n").finish(&mut found);
        assert!(found[1].text.contains("no table"), "{found:?}");
    }
}
