// SPDX-License-Identifier: Apache-2.0
//! The dashboard and the alert rules in `deploy/`: every query speaks of numbers that running brokers tell, with labels that
//! these have.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::promql;
use crate::rig::Rig;
use crate::scrape::{Scrape, until};
use crate::traffic;

const DASHBOARD: &str = include_str!("../../../../deploy/grafana/barque.json");
const ALERTS: &str = include_str!("../../../../deploy/prometheus/barque-alerts.yml");

/// The name of a histogram without what Prometheus adds.
const HISTOGRAM: [&str; 3] = ["_bucket", "_count", "_sum"];

/// All labels that a number has on running brokers, by name.
async fn told() -> (BTreeMap<String, BTreeSet<String>>, [Rig; 2]) {
    let (rig, _client, scrape) = traffic::busy().await;
    let (master, slave) = pair().await;
    let of_master = until(&master, "the slave is known", |scrape| {
        !scrape.with("barque_slave_lag_bytes", &[]).is_empty()
    })
    .await;
    let limited = Rig::start_with(&[("metricsOtelCardinalityLimit", "1")]).await;
    let of_limited = Scrape::of(&limited).await;
    limited.stop().await;
    slave.stop().await;
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for value in [scrape, of_master, of_limited]
        .into_iter()
        .flat_map(|scrape| scrape.values)
    {
        labels
            .entry(value.name)
            .or_default()
            .extend(value.labels.into_keys());
    }
    (labels, [rig, master])
}

async fn pair() -> (Rig, Rig) {
    let master = Rig::start().await;
    let at = master.replication.to_string();
    let slave = Rig::start_with(&[
        ("brokerRole", "SLAVE"),
        ("brokerId", "1"),
        ("haMasterAddress", at.as_str()),
    ])
    .await;
    (master, slave)
}

fn check(text: &str, told: &BTreeMap<String, BTreeSet<String>>) -> Result<(), String> {
    let query = promql::read(text)?;
    let mut all = BTreeSet::new();
    for (name, labels) in &query.metrics {
        let known = told.get(name).ok_or_else(|| format!("no broker tells {name}"))?;
        if let Some(strange) = labels.iter().find(|label| !known.contains(*label)) {
            return Err(format!("{name} has no label {strange}"));
        }
        all.extend(known);
    }
    match query.groups.iter().find(|label| !all.contains(label)) {
        Some(strange) => Err(format!("nothing in it has the label {strange}")),
        None => Ok(()),
    }
}

/// Every query of the dashboard, with the title of its panel.
fn queries(dashboard: &Json) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push((title.to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let inner = query
                .strip_prefix("label_values(")
                .unwrap()
                .strip_suffix(')')
                .unwrap();
            let (metric, label) = inner.rsplit_once(',').unwrap();
            queries.push((query.to_owned(), format!("sum by ({label}) ({metric})")));
        }
    }
    queries
}

#[tokio::test]
async fn every_query_that_is_shipped_speaks_of_what_running_brokers_tell() {
    let (told, rigs) = told().await;
    let dashboard: Json = serde_json::from_str(DASHBOARD).unwrap();
    let queries = queries(&dashboard);
    assert!(queries.len() > 40, "{}", queries.len());
    for (title, query) in &queries {
        check(query, &told).unwrap_or_else(|why| panic!("{title}: {query}: {why}"));
    }
    for rule in rules(ALERTS).unwrap() {
        check(&rule["expr"], &told).unwrap_or_else(|why| panic!("{}: {why}", rule["alert"]));
    }
    // The check is one: a name and a label that nobody has are found.
    assert!(check("rocketmq_no_such_number", &told).is_err());
    assert!(check("barque_up{topic=\"x\"}", &told).is_err());
    for rig in rigs {
        rig.stop().await;
    }
}

#[test]
fn the_dashboard_has_one_place_for_each_panel_and_says_what_each_shows() {
    let dashboard: Json = serde_json::from_str(DASHBOARD).unwrap();
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{title}");
        let place = &panel["gridPos"];
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| place[side].as_i64().unwrap());
        assert!(x >= 0 && x + w <= 24, "{title}");
        for x in x..x + w {
            for y in y..y + h {
                assert!(places.insert((x, y)), "{title} covers another panel");
            }
        }
        if panel["type"] != "row" {
            assert!(panel["description"].as_str().unwrap().ends_with('.'), "{title}");
            assert!(
                !panel["fieldConfig"]["defaults"]["unit"]
                    .as_str()
                    .unwrap()
                    .is_empty(),
                "{title}"
            );
        }
    }
}

/// `absent` is silent as long as any broker is left.
#[test]
fn an_alert_compares_which_brokers_there_are_with_which_there_were_and_names_the_one_that_is_gone() {
    let rules = rules(ALERTS).unwrap();
    let compares = |expr: &str| expr.contains("barque_up offset ") && expr.contains(" unless ");
    let rule = rules.iter().find(|rule| compares(&rule["expr"])).unwrap();
    let labels = BTreeSet::from(["cluster", "node_id"].map(str::to_owned));
    assert_eq!(promql::read(&rule["expr"]).unwrap().groups, labels);
}

#[test]
fn every_alert_says_when_it_fires_how_bad_it_is_and_what_to_do() {
    let rules = rules(ALERTS).unwrap();
    assert!(rules.len() > 10, "{}", rules.len());
    let mut names = BTreeSet::new();
    for rule in &rules {
        let name = &rule["alert"];
        assert!(names.insert(name) && name.starts_with("Barque"), "{name}");
        promql::read(&rule["expr"]).unwrap_or_else(|why| panic!("{name}: {why}"));
        let (number, unit) = rule["for"].split_at(rule["for"].len() - 1);
        assert!(
            number.parse::<u32>().is_ok() && ["s", "m", "h"].contains(&unit),
            "{name}"
        );
        assert!(
            ["critical", "warning"].contains(&rule["labels.severity"].as_str()),
            "{name}"
        );
        for text in ["annotations.summary", "annotations.action"] {
            let text = &rule[text];
            assert!(text.len() > 20, "{name}");
            assert_eq!(text.matches("{{").count(), text.matches("}}").count(), "{name}");
        }
        // A label that the summary names is one that the expression keeps.
        let query = promql::read(&rule["expr"]).unwrap();
        if rule["expr"].contains(" by (") {
            for part in rule["annotations.summary"].split("$labels.").skip(1) {
                let label = part.split(' ').next().unwrap();
                assert!(query.groups.contains(label), "{name}: {label}");
            }
        }
        let keys: BTreeSet<_> = rule.keys().map(String::as_str).collect();
        let wanted = [
            "alert",
            "annotations.action",
            "annotations.summary",
            "expr",
            "for",
            "labels.severity",
        ];
        assert_eq!(keys, BTreeSet::from(wanted), "{name}");
    }
}

/// The rules of a file, each as its fields by their path. Reads as much of YAML as such a file needs: maps, lists, texts in
/// quotation marks, and `>-`. Anything else is an error.
fn rules(text: &str) -> Result<Vec<BTreeMap<String, String>>, String> {
    let mut rules: Vec<BTreeMap<String, String>> = Vec::new();
    let (mut section, mut folded): (String, Option<(String, usize)>) = (String::new(), None);
    for (number, line) in text.lines().enumerate() {
        let bare = line.trim();
        let indent = line.len() - line.trim_start().len();
        if let Some((key, at)) = &folded
            && indent > *at
        {
            let field = rules.last_mut().unwrap().get_mut(key).unwrap();
            field.push_str(if field.is_empty() { "" } else { " " });
            field.push_str(bare);
            continue;
        }
        folded = None;
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        let wrong = |why: &str| format!("line {}: {why}: {line}", number + 1);
        let (item, indent) = match bare.strip_prefix("- ") {
            Some(item) => (item, indent + 2),
            None => (bare, indent),
        };
        let (key, value) = item.split_once(':').ok_or_else(|| wrong("no key"))?;
        let value = value.trim();
        match (indent, key) {
            (0, "groups") | (4, "name" | "rules") => {}
            (8, "alert") => {
                rules.push(BTreeMap::from([(key.to_owned(), value.to_owned())]));
            }
            (8, "labels" | "annotations") if value.is_empty() => section = key.to_owned(),
            (8, "expr" | "for") | (10, _) => {
                let key = if indent == 10 {
                    format!("{section}.{key}")
                } else {
                    key.to_owned()
                };
                let value = match value.strip_prefix('"') {
                    Some(rest) => rest
                        .strip_suffix('"')
                        .ok_or_else(|| wrong("a text without an end"))?,
                    None if value == ">-" => {
                        folded = Some((key.clone(), indent));
                        ""
                    }
                    // A bare text may not begin like something else, nor hold what ends it.
                    None if value.starts_with(['{', '[', '&', '*', '!', '|', '%', '@', '`'])
                        || value.contains(": ")
                        || value.contains(" #") =>
                    {
                        return Err(wrong("a text that needs quotation marks"));
                    }
                    None => value,
                };
                let rule = rules.last_mut().ok_or_else(|| wrong("a field of no rule"))?;
                if rule.insert(key, value.to_owned()).is_some() {
                    return Err(wrong("it comes twice"));
                }
            }
            _ => return Err(wrong("nothing of that name belongs here")),
        }
    }
    Ok(rules)
}

#[test]
fn a_histogram_is_asked_for_by_the_names_that_prometheus_gives_its_parts() {
    let dashboard: Json = serde_json::from_str(DASHBOARD).unwrap();
    for (title, query) in queries(&dashboard) {
        for (name, _) in promql::read(&query).unwrap().metrics {
            let is_histogram = broker::METRICS.iter().any(|metric| {
                matches!(metric.kind, metrics::Kind::Histogram(_)) && metric.text_name() == name
            });
            assert!(!is_histogram, "{title}: {name} needs one of {HISTOGRAM:?}");
        }
    }
}
