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
