// SPDX-License-Identifier: Apache-2.0
//! Data as a table, JSON or YAML: what `--output` asks for instead of the text of the reference.

mod report;
mod table;
mod yaml;

pub(crate) use report::Report;

use crate::options::Format;

/// A document, with a line feed behind it.
pub(crate) fn document(report: &Report, format: Format) -> String {
    match format {
        Format::Table => table::render(report),
        Format::Yaml => yaml::render(report),
        Format::Json | Format::Reference => {
            let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
            text.push('\n');
            text
        }
    }
}

/// A piece of a list that is printed as it comes; together with its end the list is the same as in one document.
pub(crate) fn item(report: &Report, index: usize, format: Format) -> String {
    match format {
        Format::Json => {
            let text = serde_json::to_string_pretty(report).unwrap_or_default();
            let before = if index == 0 { "[" } else { "," };
            // No text has a line feed in it: that is written as two letters.
            format!("{before}\n  {}", text.replace('\n', "\n  "))
        }
        _ => yaml::item(report),
    }
}

/// What ends such a list.
pub(crate) fn list_end(format: Format) -> &'static str {
    match format {
        Format::Json => "\n]\n",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_is_the_same_whether_it_is_printed_at_once_or_piece_by_piece() {
        let rows = [
            json!({"name": "a\nb", "tags": ["x", "y"], "none": {}}),
            json!({"name": null, "parts": [{"id": 1}, {"id": 2}]}),
            json!("word"),
            json!([]),
        ];
        for format in [Format::Json, Format::Yaml] {
            let pieces = rows.iter().enumerate();
            let pieces = pieces.map(|(index, row)| item(&Report::of(row), index, format));
            let pieces: String = pieces.collect();
            let whole = document(&Report::of(&rows), format);
            assert_eq!(format!("{pieces}{}", list_end(format)), whole);
        }
    }
}
