// SPDX-License-Identifier: Apache-2.0
//! What counters and histograms have grown by since somebody was told last. What was told counts once the one it was told to has
//! taken it, so that a push that fails loses nothing.

use std::collections::HashMap;

use crate::sink::{Kind, Metric, Sink};

/// A metric and the labels of one of its values.
type Key = (&'static str, Box<str>);

/// Totals that were told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Count(i64),
    Histogram(Vec<u64>, u64),
}

/// What was told so far.
#[derive(Debug, Default)]
pub struct Deltas {
    told: HashMap<Key, Told>,
    pending: Vec<(Key, Told)>,
    taken: usize,
}

impl Deltas {
    /// A sink that hands on to another one what has grown.
    pub fn since<'a>(&'a mut self, sink: &'a mut dyn Sink) -> Since<'a> {
        self.pending.clear();
        self.taken = 0;
        Since {
            deltas: self,
            sink,
            metric: None,
            is_begun: false,
        }
    }

    /// The next so many values of counters and histograms were taken.
    pub fn taken(&mut self, count: usize) {
        let end = (self.taken + count).min(self.pending.len());
        let taken = self.pending.get(self.taken..end).unwrap_or_default();
        self.told.extend(taken.iter().cloned());
        self.taken = end;
    }

    /// Everything was taken that was handed on.
    pub fn all_taken(&mut self) {
        self.taken(self.pending.len());
    }
}

/// See [`Deltas::since`].
pub struct Since<'a> {
    deltas: &'a mut Deltas,
    sink: &'a mut dyn Sink,
    metric: Option<&'static Metric>,
    is_begun: bool,
}

impl Since<'_> {
    fn begun(&mut self, metric: &'static Metric) {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.sink.begin(metric);
        }
    }
}

impl Sink for Since<'_> {
    fn begin(&mut self, metric: &'static Metric) {
        self.metric = Some(metric);
        self.is_begun = false;
    }

    fn value(&mut self, labels: &[&str], value: i64) {
        let Some(metric) = self.metric else { return };
        if metric.kind != Kind::Counter {
            self.begun(metric);
            self.sink.value(labels, value);
            return;
        }
        let key = key(metric, labels);
        let before = match self.deltas.told.get(&key) {
            // A topic that was deleted and made again begins anew.
            Some(Told::Count(before)) if *before <= value => *before,
            _ => 0,
        };
        if value > before {
            self.begun(metric);
            self.sink.value(labels, value - before);
            self.deltas.pending.push((key, Told::Count(value)));
        }
    }

    fn histogram(&mut self, labels: &[&str], counts: &[u64], sum: u64) {
        let Some(metric) = self.metric else { return };
        let key = key(metric, labels);
        let (before, sum_before) = match self.deltas.told.get(&key) {
            Some(Told::Histogram(before, sum)) if before.iter().zip(counts).all(|(b, now)| b <= now) => {
                (before.clone(), *sum)
            }
            _ => (vec![0; counts.len()], 0),
        };
        let grown: Vec<u64> = counts
            .iter()
            .zip(&before)
            .map(|(now, before)| now - before)
            .collect();
        if grown.iter().any(|count| *count > 0) {
            self.begun(metric);
            self.sink
                .histogram(labels, &grown, sum.saturating_sub(sum_before));
            self.deltas
                .pending
                .push((key, Told::Histogram(counts.to_vec(), sum)));
        }
    }
}

fn key(metric: &Metric, labels: &[&str]) -> Key {
    (metric.name, labels.join("\0").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Export, Text, Unit};

    const SENT: Metric = Metric {
        name: "sent",
        kind: Kind::Counter,
        unit: Unit::None,
        labels: &["topic"],
        help: "h",
    };
    const NOW: Metric = Metric {
        name: "now",
        kind: Kind::Gauge,
        labels: &[],
        ..SENT
    };

    fn told(deltas: &mut Deltas, sent: i64) -> String {
        let mut text = Text::new(&[]);
        let mut since = deltas.since(&mut text);
        let mut export = Export::new(&mut since, None);
        export.metric(&SENT, |series| series.value(&["a"], sent));
        export.value(&NOW, 7);
        let told = text.finish();
        told.lines()
            .filter(|line| !line.starts_with('#'))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn what_was_not_taken_is_told_again_and_gauges_always() {
        let mut deltas = Deltas::default();
        assert_eq!(told(&mut deltas, 3), "sent{topic=\"a\"} 3 now{} 7");
        assert_eq!(told(&mut deltas, 5), "sent{topic=\"a\"} 5 now{} 7");
        deltas.all_taken();
        assert_eq!(told(&mut deltas, 9), "sent{topic=\"a\"} 4 now{} 7");
        deltas.all_taken();
        assert_eq!(told(&mut deltas, 9), "now{} 7");
        assert_eq!(told(&mut deltas, 2), "sent{topic=\"a\"} 2 now{} 7");
    }
}
