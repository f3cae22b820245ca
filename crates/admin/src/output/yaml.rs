// SPDX-License-Identifier: Apache-2.0
//! Writes YAML: block style, and every text in quotes that could be read as something else. A hundred lines of our own,
//! because the well-known crate for it is no longer kept.

use super::Report;

pub(super) fn render(value: &Report) -> String {
    let mut out = String::new();
    if has_parts(value) {
        block(&mut out, value, 0);
    } else {
        out.push_str(&inline(value));
        out.push('\n');
    }
    out
}

/// A piece of a list.
pub(super) fn item(value: &Report) -> String {
    let mut out = String::new();
    entry(&mut out, "-", value, 0);
    out
}

/// Writes lines at a depth; the first one begins where the caller stands.
fn block(out: &mut String, value: &Report, depth: usize) {
    let entries: Vec<(String, &Report)> = match value {
        Report::Record(fields) => fields
            .iter()
            .map(|(key, value)| (format!("{}:", text(key)), value))
            .collect(),
        Report::List(items) => items.iter().map(|item| ("-".to_owned(), item)).collect(),
        _ => Vec::new(),
    };
    for (index, (head, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            out.push_str(&" ".repeat(depth));
        }
        entry(out, &head, value, depth);
    }
}

/// Writes a value behind its name, or behind the dash of an item.
fn entry(out: &mut String, head: &str, value: &Report, depth: usize) {
    out.push_str(head);
    if !has_parts(value) {
        out.push(' ');
        out.push_str(&inline(value));
        out.push('\n');
    } else if head == "-" {
        out.push(' ');
        block(out, value, depth + 2);
    } else {
        out.push('\n');
        // Lists may stand as deep as their name.
        let inner = if matches!(value, Report::List(_)) {
            depth
        } else {
            depth + 2
        };
        out.push_str(&" ".repeat(inner));
        block(out, value, inner);
    }
}

fn has_parts(value: &Report) -> bool {
    match value {
        Report::Record(fields) => !fields.is_empty(),
        Report::List(items) => !items.is_empty(),
        _ => false,
    }
}

fn inline(value: &Report) -> String {
    match value {
        Report::Text(string) => text(string),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

/// Plain where it can only be read as text, else in double quotes, whose rules are those of JSON.
fn text(string: &str) -> String {
    let plain_start = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/');
    let plain = string
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@' | '+'));
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_word = words.iter().any(|word| string.eq_ignore_ascii_case(word));
    if plain_start && plain && !is_word {
        string.to_owned()
    } else {
        serde_json::to_string(string).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_nested_by_their_depth() {
        let value = json!({
            "cluster": {"brokers": [{"id": 0, "addr": "127.0.0.1:10911"}, {"id": 1, "tags": []}], "none": {}},
            "list": [["a", "b"], "c"],
        });
        let expected = concat!(
            "cluster:\n",
            "  brokers:\n",
            "  - addr: \"127.0.0.1:10911\"\n",
            "    id: 0\n",
            "  - id: 1\n",
            "    tags: []\n",
            "  none: {}\n",
            "list:\n",
            "- - a\n",
            "  - b\n",
            "- c\n",
        );
        assert_eq!(render(&Report::of(&value)), expected);
    }

    #[test]
    fn text_that_looks_like_something_else_is_quoted() {
        let quoted = ["yes", "12", "", "a: b", "0x1", "-x", "null", "line\nbreak", "~"];
        for string in quoted {
            assert!(text(string).starts_with('"'), "{string}");
        }
        assert_eq!(text("topic-a_1"), "topic-a_1");
    }
}
