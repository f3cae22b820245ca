// SPDX-License-Identifier: Apache-2.0
//! Names: what ends in Manager, Helper or Util says nothing, so it is refused. The rules are few and
//! never wrong, so that nobody has to argue with them; the rest of CONTRIBUTING.md is for reviewers.

use super::Finding;

/// Type names may not end so.
const TYPE_ENDINGS: [&str; 12] = [
    "Manager", "Helper", "Helpers", "Util", "Utils", "Impl", "Wrapper", "Adapter", "Facade", "Context",
    "Inner", "Service",
];

/// Nor so, except in `wire`, whose bodies carry the names of the protocol (`ClusterInfo`, `SubscriptionData`).
const TYPE_ENDINGS_OUTSIDE_WIRE: [&str; 2] = ["Info", "Data"];

/// Files and modules may not be called so, nor end in `_` and one of these.
const FILE_NAMES: [&str; 14] = [
    "common", "util", "utils", "helper", "helpers", "misc", "manager", "impl", "inner", "internal", "base",
    "model", "models", "types",
];

/// Functions may not start so.
const FUNCTION_STARTS: [&str; 3] = ["do_", "process_", "test_"];

pub(super) fn check(file: &str, content: &str, findings: &mut Vec<Finding>) {
    if file.starts_with("bench/") {
        return;
    }
    let stem = file
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .trim_end_matches(".rs");
    if stem == "mod" {
        findings.push(Finding::new(
            file,
            1,
            "a module `foo` lives in foo.rs, not foo/mod.rs",
        ));
    }
    // A test may be called after its method: tests/model.rs compares with a model.
    let is_test = file.contains("/tests/");
    if !is_test
        && FILE_NAMES
            .iter()
            .any(|n| stem == *n || stem.strip_suffix(n).is_some_and(|s| s.ends_with('_')))
    {
        findings.push(Finding::new(
            file,
            1,
            format!("`{stem}` is no name for a file: say what is in it"),
        ));
    }
    for (i, line) in content.lines().enumerate() {
        let named = declared(line, &["struct ", "enum ", "trait ", "type "]);
        if let Some(name) = named.filter(|name| banned_type(file, name)) {
            let text = format!("`{name}`: its ending says nothing, name the thing itself");
            findings.push(Finding::new(file, i + 1, text));
        }
        if let Some(name) = declared(line, &["fn "]).filter(|name| banned_function(name)) {
            findings.push(Finding::new(
                file,
                i + 1,
                format!("`{name}`: say what it does (a test: what holds)"),
            ));
        }
    }
}

fn banned_type(file: &str, name: &str) -> bool {
    // The one type that is what its ending says: `net::Service`, what a server serves.
    let always = name != "Service" && TYPE_ENDINGS.iter().any(|e| name.ends_with(e));
    let outside_wire = !file.starts_with("crates/wire/");
    always || outside_wire && TYPE_ENDINGS_OUTSIDE_WIRE.iter().any(|e| name.ends_with(e))
}

fn banned_function(name: &str) -> bool {
    FUNCTION_STARTS.iter().any(|s| name.starts_with(s)) || name.ends_with("_internal")
}

/// The name a line declares with one of these keywords, when the line is a declaration.
fn declared<'a>(line: &'a str, keywords: &[&str]) -> Option<&'a str> {
    let mut rest = line.trim_start();
    if rest.starts_with("pub") {
        rest = rest.strip_prefix("pub")?;
        if let Some(scope) = rest.strip_prefix('(') {
            rest = scope.split_once(')')?.1;
        }
        rest = rest.strip_prefix(' ')?;
    }
    for word in ["const ", "async "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let rest = keywords.iter().find_map(|k| rest.strip_prefix(k))?;
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(file: &str, content: &str) -> usize {
        let mut found = Vec::new();
        check(file, content, &mut found);
        found.len()
    }

    #[test]
    fn furniture_is_refused() {
        assert_eq!(
            findings("crates/broker/src/a.rs", "pub(crate) struct TopicManager {"),
            1
        );
        assert_eq!(findings("crates/broker/src/a.rs", "struct SendInfo;"), 1);
        assert_eq!(
            findings("crates/broker/src/a.rs", "    pub async fn process_send(&self) {"),
            1
        );
        assert_eq!(findings("crates/broker/src/string_utils.rs", ""), 1);
    }

    #[test]
    fn words_of_the_protocol_and_uses_pass() {
        assert_eq!(
            findings("crates/wire/src/body/a.rs", "pub struct ClusterInfo {"),
            0
        );
        assert_eq!(
            findings("crates/net/src/service.rs", "pub trait Service: Send {"),
            0
        );
        assert_eq!(
            findings(
                "crates/barque/src/a.rs",
                "use anyhow::Context;\nlet x: ClusterInfo = y;"
            ),
            0
        );
    }
}
