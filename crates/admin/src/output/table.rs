// SPDX-License-Identifier: Apache-2.0
//! Rows under their names, each column as wide as its widest value, up to a limit. One record stands upright.
//!
//! What stands in a cell may come from anybody who can send a message: nothing in it reaches a terminal as a command.

use super::Report;
use crate::text::harmless;

pub(super) fn render(report: &Report) -> String {
    match report {
        Report::List(rows) => list(rows),
        Report::Record(fields) => record(fields),
        other => format!("{}\n", cell(other)),
    }
}

fn list(rows: &[Report]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(fields) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return rows.iter().map(|row| format!("{}\n", cell(row))).collect();
    }
    let mut lines = vec![names.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| {
        let field = |name: &&str| fields(row).iter().find(|(known, _)| known == name);
        let value = |name| field(name).map(|(_, value)| cell(value)).unwrap_or_default();
        names.iter().map(value).collect()
    }));
    columns(&lines)
}

fn fields(row: &Report) -> &[(String, Report)] {
    match row {
        Report::Record(fields) => fields,
        _ => &[],
    }
}

/// Lists of records within a record follow it, each under its name.
fn record(fields: &[(String, Report)]) -> String {
    let (lists, plain): (Vec<_>, Vec<_>) = fields.iter().partition(|(_, value)| is_table(value));
    let lines: Vec<Vec<String>> = plain
        .iter()
        .map(|(name, value)| vec![name.clone(), cell(value)])
        .collect();
    let mut out = columns(&lines);
    for (name, value) in lists {
        out.push_str(&format!("\n{name}:\n{}", render(value)));
    }
    out
}

fn is_table(value: &Report) -> bool {
    matches!(value, Report::List(rows) if rows.iter().any(|row| matches!(row, Report::Record(_))))
}

/// What is wider stands as it is, and moves what is behind it: one long value makes no other line long.
const WIDTH_MAX: usize = 100;

fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.min(WIDTH_MAX)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// What stands in one cell; what has parts, as JSON on one line.
fn cell(value: &Report) -> String {
    match value {
        Report::Null => "-".to_owned(),
        Report::Text(text) => harmless(text).into_owned(),
        other => harmless(&serde_json::to_string(other).unwrap_or_default()).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_values() {
        let rows = json!([{"topic": "a-long-name", "queues": 8}, {"topic": "b", "queues": null}]);
        assert_eq!(
            render(&Report::of(&rows)),
            "QUEUES  TOPIC\n8       a-long-name\n-       b\n"
        );
        let one = json!({"name": "x", "tags": ["a", "b"]});
        assert_eq!(render(&Report::of(&one)), "name  x\ntags  [\"a\",\"b\"]\n");
    }

    #[test]
    fn what_a_sender_wrote_stays_in_its_cell() {
        let row = json!([{"tags": "a\n\u{1b}[31mb", "keys": ["\u{9b}2J"]}]);
        assert_eq!(
            render(&Report::of(&row)),
            "KEYS          TAGS\n[\"\\u{9b}2J\"]  a\\n\\u{1b}[31mb\n"
        );
    }

    #[test]
    fn one_long_value_does_not_widen_the_others() {
        let rows = json!([{"a": "x".repeat(5000), "b": 1}, {"a": "y", "b": 2}]);
        let table = render(&Report::of(&rows));
        let widths: Vec<usize> = table.lines().map(str::len).collect();
        assert_eq!(widths, [103, 5003, 103]);
    }
}
