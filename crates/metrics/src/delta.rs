// SPDX-License-Identifier: Apache-2.0
//! What counters and histograms have grown by since somebody was told last. What was told counts once the one it was told to has
//! taken it, so that a push that fails loses nothing. What is gone is forgotten: a value that a round does not meet, although it
//! meets others of the metric (of a metric that is switched off everything is kept, for when it comes back).

use std::collections::{HashMap, HashSet};

use crate::sink::{Kind, Metric, Sink};

/// A metric and the labels of one of its values.
type Key = (&'static str, Box<str>);

/// Totals that were told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Count(i64),
    Histogram(Vec<u64>, u64),
}

/// What was told last of a value, and in which round the value was last met.
#[derive(Debug)]
struct Last {
    told: Told,
    round: u64,
}

/// What was told so far.
#[derive(Debug, Default)]
pub struct Deltas {
    told: HashMap<Key, Last>,
    round: u64,
    /// Metrics that this round met.
    met: HashSet<&'static str>,
    pending: Vec<(Key, Told)>,
    taken: usize,
}

impl Deltas {
    /// A sink that hands on to another one what has grown. A round begins: the one before met all values that there were.
    pub fn since<'a>(&'a mut self, sink: &'a mut dyn Sink) -> Since<'a> {
        let Deltas { told, round, met, .. } = self;
        told.retain(|(metric, _), last| last.round == *round || !met.contains(metric));
        met.clear();
        *round += 1;
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
        let round = self.round;
        let last = |(key, told): &(Key, Told)| {
            let told = told.clone();
            (key.clone(), Last { told, round })
        };
        self.told.extend(taken.iter().map(last));
        self.taken = end;
    }

    /// What was told last of a value that there is.
    fn meet(&mut self, key: &Key) -> Option<&Told> {
        let last = self.told.get_mut(key)?;
        last.round = self.round;
        Some(&last.told)
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
        self.deltas.met.insert(metric.name);
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
        let before = match self.deltas.meet(&key) {
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
        let (before, sum_before) = match self.deltas.meet(&key) {
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

    fn left_out(&mut self, labels: &[&str]) {
        if let Some(metric) = self.metric {
            self.deltas.meet(&key(metric, labels));
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

    /// What is told of these counts by topic, where a metric may have so many values.
    fn told_of(deltas: &mut Deltas, limit: Option<usize>, sent: &[(&str, i64)]) -> String {
        let mut text = Text::new(&[]);
        let mut since = deltas.since(&mut text);
        Export::new(&mut since, limit).metric(&SENT, |series| {
            sent.iter()
                .for_each(|(topic, count)| series.value(&[topic], *count));
        });
        deltas.all_taken();
        let told = text.finish();
        let lines = told.lines().filter(|line| !line.starts_with('#'));
        lines.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_value_that_is_gone_is_forgotten() {
        let mut deltas = Deltas::default();
        for round in 0..100 {
            let fleeting = format!("t{round}");
            told_of(&mut deltas, None, &[("stays", 1), (&fleeting, 1)]);
        }
        assert!(deltas.told.len() <= 3, "{}", deltas.told.len());
        assert_eq!(
            told_of(&mut deltas, None, &[("stays", 3)]),
            "sent{topic=\"stays\"} 2"
        );
    }

    #[test]
    fn what_was_told_of_a_value_is_kept_while_it_is_left_out_or_its_metric_is_switched_off() {
        let mut deltas = Deltas::default();
        assert_eq!(told_of(&mut deltas, Some(1), &[("b", 5)]), "sent{topic=\"b\"} 5");
        for _ in 0..3 {
            told_of(&mut deltas, Some(1), &[("a", 1), ("b", 6)]);
        }
        assert_eq!(told_of(&mut deltas, Some(1), &[("b", 7)]), "sent{topic=\"b\"} 2");
        for _ in 0..3 {
            told_of(&mut deltas, None, &[]);
        }
        assert_eq!(told_of(&mut deltas, None, &[("b", 8)]), "sent{topic=\"b\"} 1");
    }
}
