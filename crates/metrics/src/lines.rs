// SPDX-License-Identifier: Apache-2.0
//! Values as lines of a log.

use crate::sink::{Base, Metric, Sink};

/// One line for each value.
#[derive(Debug, Default)]
pub struct Lines {
    base: Base,
    metric: Option<&'static Metric>,
    lines: Vec<String>,
}

impl Lines {
    /// No line yet; each will carry these labels.
    pub fn new(base: &[(String, String)]) -> Lines {
        Lines {
            base: base.to_vec(),
            ..Lines::default()
        }
    }

    /// All of them.
    pub fn finish(self) -> Vec<String> {
        self.lines
    }

    fn line(&mut self, labels: &[&str], value: &str) {
        let Some(metric) = self.metric else { return };
        let own = metric.labels.iter().copied().zip(labels.iter().copied());
        let base = self
            .base
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = base.chain(own).filter(|(_, value)| !value.is_empty());
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
        let line = format!("{}{{{}}} {value}", metric.text_name(), labels.join(","));
        self.lines.push(line);
    }
}

impl Sink for Lines {
    fn begin(&mut self, metric: &'static Metric) {
        self.metric = Some(metric);
    }

    fn value(&mut self, labels: &[&str], value: i64) {
        self.line(labels, &value.to_string());
    }

    fn histogram(&mut self, labels: &[&str], counts: &[u64], sum: u64) {
        let total: u64 = counts.iter().sum();
        self.line(labels, &format!("count={total} sum={sum} ranges={counts:?}"));
    }
}
