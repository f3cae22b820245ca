// SPDX-License-Identifier: Apache-2.0
//! As much of PromQL as it takes to find the metrics and labels of a query, and to see that it hangs together.

use std::collections::BTreeSet;

const FUNCTIONS: &[&str] = &[
    "abs",
    "absent",
    "avg",
    "bottomk",
    "ceil",
    "changes",
    "clamp_max",
    "clamp_min",
    "count",
    "delta",
    "deriv",
    "floor",
    "histogram_quantile",
    "increase",
    "irate",
    "label_replace",
    "max",
    "max_over_time",
    "min",
    "min_over_time",
    "rate",
    "round",
    "scalar",
    "sum",
    "time",
    "topk",
    "vector",
];
/// Words that are followed by labels in brackets.
const GROUPING: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
const WORDS: &[&str] = &["and", "or", "unless", "bool", "offset"];

/// What a query speaks of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// Metrics, each with the labels it is chosen by.
    pub(crate) metrics: Vec<(String, BTreeSet<String>)>,
    /// Labels it is grouped or matched by.
    pub(crate) groups: BTreeSet<String>,
}

/// Reads a query; an error says what does not hang together.
pub(crate) fn read(text: &str) -> Result<Query, String> {
    let mut query = Query::default();
    let tokens = tokens(text)?;
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.as_str() {
            "(" | "[" => open.push(token.clone()),
            ")" | "]" => {
                let pair = (open.pop().unwrap_or_default(), token.as_str());
                if !matches!((pair.0.as_str(), pair.1), ("(", ")") | ("[", "]")) {
                    return Err(format!("\"{token}\" closes nothing"));
                }
            }
            "{" => return Err("labels without a metric".to_owned()),
            word if GROUPING.contains(&word) => {
                if tokens.get(at).map(String::as_str) != Some("(") {
                    return Err(format!("{word} without labels"));
                }
                let end = tokens[at..]
                    .iter()
                    .position(|token| token == ")")
                    .ok_or("no end of the labels")?;
                let labels = tokens[at + 1..at + end].iter().filter(|token| *token != ",");
                query.groups.extend(labels.cloned());
                at += end + 1;
            }
            word if WORDS.contains(&word) => {}
            word if is_name(word)
                && tokens.get(at).map(String::as_str) == Some("(")
                && !FUNCTIONS.contains(&word) =>
            {
                return Err(format!("there is no function {word}"));
            }
            word if is_name(word) && tokens.get(at).map(String::as_str) == Some("(") => {}
            // Aggregations may name their labels first.
            word if FUNCTIONS.contains(&word) => {
                let next = tokens.get(at).map_or("", String::as_str);
                if !GROUPING.contains(&next) {
                    return Err(format!("{word} without arguments"));
                }
            }
            word if is_name(word) && open.last().map(String::as_str) != Some("[") => {
                let mut labels = BTreeSet::new();
                if tokens.get(at).map(String::as_str) == Some("{") {
                    let end = tokens[at..]
                        .iter()
                        .position(|token| token == "}")
                        .ok_or("no end of the labels")?;
                    labels = matched(&tokens[at + 1..at + end])?;
                    at += end + 1;
                }
                query.metrics.push((word.to_owned(), labels));
            }
            _ => {}
        }
    }
    if let Some(open) = open.pop() {
        return Err(format!("\"{open}\" is not closed"));
    }
    if query.metrics.is_empty() {
        return Err("no metric".to_owned());
    }
    Ok(query)
}

/// The labels of `a="x",b=~"y"`.
fn matched(tokens: &[String]) -> Result<BTreeSet<String>, String> {
    let matchers = tokens.split(|token| token == ",");
    let labels = matchers.map(|matcher| match matcher {
        [label, operator, value]
            if ["=", "!=", "=~", "!~"].contains(&operator.as_str()) && value.starts_with('"') =>
        {
            Ok(label.clone())
        }
        _ => Err(format!("{matcher:?} matches no label")),
    });
    labels.collect()
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let mut token = c.to_string();
        match c {
            c if c.is_whitespace() => continue,
            '"' => loop {
                match chars.next().ok_or("a text without an end")? {
                    '"' => {
                        token.push('"');
                        break;
                    }
                    '\\' => token.push(chars.next().ok_or("a text without an end")?),
                    c => token.push(c),
                }
            },
            c if c.is_ascii_alphanumeric() || c == '_' || c == '$' => {
                while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || "_:.".contains(*c)) {
                    token.push(c);
                }
            }
            '=' | '!' | '<' | '>' => {
                if let Some(c) = chars.next_if(|c| "=~".contains(*c)) {
                    token.push(c);
                }
            }
            '(' | ')' | '[' | ']' | '{' | '}' | ',' | '+' | '-' | '*' | '/' => {}
            c => return Err(format!("\"{c}\" has no meaning here")),
        }
        tokens.push(token);
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_and_labels_of_a_query_are_found() {
        let query = read(
            r#"topk(10, sum by (topic, le) (rate(a_total{x=~"$x", y!="(}"}[$__rate_interval]))) / ignoring (z) b > 0.5"#,
        );
        let query = query.unwrap();
        let labels = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(
            query.metrics,
            [
                ("a_total".to_owned(), labels(&["x", "y"])),
                ("b".to_owned(), labels(&[]))
            ]
        );
        assert_eq!(query.groups, labels(&["topic", "le", "z"]));
    }

    #[test]
    fn a_query_that_does_not_hang_together_is_refused() {
        for text in [
            "sum(a",
            "a)",
            "rat(a[5m])",
            "a{x=y}",
            "a{x",
            "sum by a",
            "1 + 2",
            "a ; b",
            "a{x=\"y}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
