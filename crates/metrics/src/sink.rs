// SPDX-License-Identifier: Apache-2.0
//! The description of a number, and the way of its values out of a server.
//!
//! A server goes through its tables, metric by metric, and hands every value to an [`Export`]; behind that is the form it
//! leaves in. Values of one metric come together, so that no form has to sort them.

use std::collections::BTreeMap;

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the process ends.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Values spread over ranges, with these upper bounds.
    Histogram(&'static [u64]),
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }
}

/// What it is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nothing, or messages.
    None,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// The word for it, empty where there is none.
    pub fn name(self) -> &'static str {
        match self {
            Unit::None => "",
            Unit::Bytes => "bytes",
            Unit::Milliseconds => "milliseconds",
            Unit::Seconds => "seconds",
        }
    }
}

/// A number that a server tells about itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, without the unit.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// What it is measured in.
    pub unit: Unit,
    /// What its values differ by, besides what all metrics of the server have.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

impl Metric {
    /// The name in the text that Prometheus reads: it ends in the unit.
    pub fn text_name(&self) -> String {
        let unit = self.unit.name();
        if unit.is_empty() || self.name.ends_with(unit) {
            self.name.to_owned()
        } else {
            format!("{}_{unit}", self.name)
        }
    }
}

/// Labels that every value of a server carries.
pub type Base = Vec<(String, String)>;

/// The form in which values leave.
pub trait Sink {
    /// From here on values are those of this metric. Called only where there is one.
    fn begin(&mut self, metric: &'static Metric);
    /// One value. Labels are in the order of the metric's; an empty one is absent.
    fn value(&mut self, labels: &[&str], value: i64);
    /// One histogram: how many values were in each range, and their sum.
    fn histogram(&mut self, labels: &[&str], counts: &[u64], sum: u64);
    /// There is a value with these labels, and it is beyond what the metric may have.
    fn left_out(&mut self, _labels: &[&str]) {}
}

/// Hands values to a sink, and knows how many a metric may have.
pub struct Export<'a> {
    sink: &'a mut dyn Sink,
    series_max: usize,
    dropped: BTreeMap<&'static str, u64>,
}

impl<'a> Export<'a> {
    /// Values go to this sink, of each metric at most so many; `None`: all.
    pub fn new(sink: &'a mut dyn Sink, series_max: Option<usize>) -> Export<'a> {
        Export {
            sink,
            series_max: series_max.unwrap_or(usize::MAX),
            dropped: BTreeMap::new(),
        }
    }

    /// All values of one metric. A metric without values is left out.
    pub fn metric(&mut self, metric: &'static Metric, values: impl FnOnce(&mut Series<'_>)) {
        self.limited(metric, self.series_max, values);
    }

    /// The same for one whose values the limit does not count.
    pub fn unlimited(&mut self, metric: &'static Metric, values: impl FnOnce(&mut Series<'_>)) {
        self.limited(metric, usize::MAX, values);
    }

    fn limited(&mut self, metric: &'static Metric, left: usize, values: impl FnOnce(&mut Series<'_>)) {
        let mut series = Series {
            sink: &mut *self.sink,
            metric,
            left,
            is_begun: false,
            dropped: 0,
        };
        values(&mut series);
        if series.dropped > 0 {
            *self.dropped.entry(metric.name).or_default() += series.dropped;
        }
    }

    /// A metric that has one value.
    pub fn value(&mut self, metric: &'static Metric, value: i64) {
        self.metric(metric, |series| series.value(&[], value));
    }

    /// How many values were left out for the limit, by metric.
    pub fn dropped(&self) -> &BTreeMap<&'static str, u64> {
        &self.dropped
    }
}

/// The values of one metric.
pub struct Series<'a> {
    sink: &'a mut dyn Sink,
    metric: &'static Metric,
    left: usize,
    is_begun: bool,
    dropped: u64,
}

impl Series<'_> {
    /// One value. Labels are in the order of the metric's; an empty one is absent.
    pub fn value(&mut self, labels: &[&str], value: i64) {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "{}", self.metric.name);
        if self.take(labels) {
            self.sink.value(labels, value);
        }
    }

    /// The value of a counter.
    pub fn count(&mut self, labels: &[&str], value: u64) {
        self.value(labels, i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// One histogram.
    pub fn histogram(&mut self, labels: &[&str], counts: &[u64], sum: u64) {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "{}", self.metric.name);
        if self.take(labels) {
            self.sink.histogram(labels, counts, sum);
        }
    }

    fn take(&mut self, labels: &[&str]) -> bool {
        if self.left == 0 {
            self.dropped += 1;
            self.sink.left_out(labels);
            return false;
        }
        self.left -= 1;
        if !std::mem::replace(&mut self.is_begun, true) {
            self.sink.begin(self.metric);
        }
        true
    }
}
