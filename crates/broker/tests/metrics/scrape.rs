// SPDX-License-Identifier: Apache-2.0
//! Reads the port of a broker as a scraper does, and the text into values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::Rig;

/// Much longer than anything takes that a test waits for.
const WITHIN: Duration = Duration::from_secs(20);

/// Status and body of a page.
pub(crate) async fn page(addr: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// One line of the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// A text, read.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    /// By name.
    pub(crate) types: BTreeMap<String, String>,
    pub(crate) values: Vec<Value>,
}

impl Scrape {
    /// Reads a text strictly; lines may have no value.
    pub(crate) fn read(text: &str) -> Scrape {
        let mut scrape = Scrape::default();
        let mut lines = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                let before = scrape.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} comes twice");
            } else if !line.starts_with('#') {
                let value = value(line);
                let is_new = lines.insert((value.name.clone(), value.labels.clone()));
                assert!(is_new, "twice: {line}");
                scrape.values.push(value);
            }
        }
        scrape
    }

    pub(crate) async fn of(rig: &Rig) -> Scrape {
        let (status, text) = page(rig.metrics.unwrap(), "/metrics").await;
        assert_eq!(status, 200, "{text}");
        Scrape::read(&text)
    }

    /// The values of a name with these labels, among others.
    pub(crate) fn with(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let has = |value: &&Value| {
            let is_label =
                |(name, wanted): &(&str, &str)| value.labels.get(*name).map_or("", String::as_str) == *wanted;
            value.name == name && labels.iter().all(is_label)
        };
        self.values.iter().filter(has).map(|value| value.value).collect()
    }

    /// The one value of a name with these labels.
    pub(crate) fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let values = self.with(name, labels);
        assert_eq!(values.len(), 1, "{name} {labels:?}: {values:?}");
        values[0]
    }

    /// The sets of labels that values of a name have.
    pub(crate) fn label_sets(&self, name: &str) -> BTreeSet<BTreeSet<&str>> {
        let values = self.values.iter().filter(|value| value.name == name);
        values
            .map(|value| value.labels.keys().map(String::as_str).collect())
            .collect()
    }
}

/// Scrapes until it holds.
pub(crate) async fn until(rig: &Rig, what: &str, holds: impl Fn(&Scrape) -> bool) -> Scrape {
    let looking = async {
        loop {
            let scrape = Scrape::of(rig).await;
            if holds(&scrape) {
                return scrape;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(WITHIN, looking).await;
    found.unwrap_or_else(|_| panic!("waited for: {what}"))
}

fn value(line: &str) -> Value {
    let (name, rest) = match line.find('{') {
        Some(begin) => (&line[..begin], &line[begin..]),
        None => line.split_once(' ').unwrap_or((line, "")),
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_prefix('{').unwrap_or(rest);
    while let Some((label, after)) = rest.split_once("=\"") {
        let mut text = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (at, '"') => break at + 1,
                (_, '\\') => text.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => text.push(other),
            }
        };
        assert!(
            label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
            "{line}"
        );
        labels.insert(label.to_owned(), text);
        rest = after[end..].trim_start_matches(',');
    }
    let number = rest.trim_start_matches('}').trim();
    Value {
        name: name.to_owned(),
        labels,
        value: if number.is_empty() {
            0.0
        } else {
            number.parse().unwrap()
        },
    }
}
