// SPDX-License-Identifier: Apache-2.0
//! Every request that a server routes must have a golden frame: bytes captured from the reference, in
//! `crates/wire/tests/golden`, in a file called `<code>-<NAME>-…`. Requests of our own, which the reference does not have,
//! are those that `wire::code` declares one by one, and not in its list.

use super::Finding;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const TABLES: [&str; 2] = ["crates/broker/src/routes.rs", "crates/nameserver/src/routes.rs"];
const HEADERS: &str = "crates/wire/src/api";
const GOLDEN: &str = "crates/wire/tests/golden";
const CODES: &str = "crates/wire/src/code.rs";

pub(super) fn check(root: &Path, findings: &mut Vec<Finding>) {
    let mut codes = BTreeMap::new();
    for entry in std::fs::read_dir(root.join(HEADERS))
        .into_iter()
        .flatten()
        .flatten()
    {
        codes.extend(codes_of(
            &std::fs::read_to_string(entry.path()).unwrap_or_default(),
        ));
    }
    let mut golden = golden_names(&root.join(GOLDEN));
    golden.extend(own_codes(
        &std::fs::read_to_string(root.join(CODES)).unwrap_or_default(),
    ));
    for table in TABLES {
        let text = std::fs::read_to_string(root.join(table)).unwrap_or_default();
        let routed = requests_of(&text);
        if routed.is_empty() {
            findings.push(Finding::new(table, 1, "no `routes!` table was found here"));
        }
        for (line, request) in routed {
            match codes.get(&request) {
                Some(code) if golden.contains(code) => {}
                Some(code) => findings.push(Finding::new(
                    table,
                    line,
                    format!("{request} has no golden frame: capture one as {GOLDEN}/<code>-{code}-…"),
                )),
                None => findings.push(Finding::new(
                    table,
                    line,
                    format!("{request}: no such request in {HEADERS}"),
                )),
            }
        }
    }
}

/// `impl Request for X { const CODE: Code = Code::Y; … }` as X → Y.
fn codes_of(text: &str) -> Vec<(String, String)> {
    let after = text.split("impl Request for ").skip(1);
    after
        .filter_map(|s| {
            Some((
                word(s).to_owned(),
                word(s.split_once("Code = Code::")?.1).to_owned(),
            ))
        })
        .collect()
}

/// `pub const X: Code = Code(900_001);`
fn own_codes(text: &str) -> BTreeSet<String> {
    let after = text.split("pub const ").skip(1);
    after
        .filter(|s| s[word(s).len()..].starts_with(": Code = Code(9"))
        .map(|s| word(s).to_owned())
        .collect()
}

/// The request types of the `routes!` tables in a file, with their lines.
fn requests_of(text: &str) -> Vec<(usize, String)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        inside = if inside {
            !line.starts_with('}')
        } else {
            line.contains("routes! {")
        };
        let Some((left, _)) = line.split_once("=>") else {
            continue;
        };
        let request = left.rsplit("::").next().unwrap_or(left).trim();
        if inside && !line.starts_with("//") && !request.is_empty() {
            found.push((i + 1, word(request).to_owned()));
        }
    }
    found
}

/// The names in `<code>-<NAME>-…` of all files below a folder.
fn golden_names(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            names.append(&mut golden_names(&entry.path()));
        }
        let file = entry.file_name().to_string_lossy().into_owned();
        names.extend(file.split(['-', '.']).nth(1).map(str::to_owned));
    }
    names
}

fn word(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_from_the_table_only() {
        let text = "use x;\nroutes! { Broker;\n    // Old => old::f, open;\n    SendMessageV2 => send::f, open;\n    api::Pull => pull::f, logged;\n}\nmatch x { A => b }\n";
        assert_eq!(
            requests_of(text),
            [(4, "SendMessageV2".to_owned()), (5, "Pull".to_owned())]
        );
    }

    #[test]
    fn requests_of_our_own_need_no_captured_frame() {
        let text = "    PUT = 100,\n    pub const OURS: Code = Code(900_036);\n    pub const ALL: &'static [Code] = &[];\n";
        assert_eq!(own_codes(text), BTreeSet::from(["OURS".to_owned()]));
    }

    #[test]
    fn a_request_leads_to_the_name_of_its_code() {
        let text = "impl Request for PutKv {\n    const CODE: Code = Code::PUT_KV_CONFIG;\n    type Reply = NoHeader;\n}\n";
        assert_eq!(codes_of(text), [("PutKv".to_owned(), "PUT_KV_CONFIG".to_owned())]);
    }
}
