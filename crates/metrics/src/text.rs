// SPDX-License-Identifier: Apache-2.0
//! Values as the text that Prometheus reads (exposition format 0.0.4).

use std::fmt::Write as _;

use crate::sink::{Kind, Metric, Sink};

/// What the text is, for the header of an answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text so far.
pub struct Text {
    out: String,
    /// `a="b",c="d"`.
    base: String,
    metric: Option<(&'static Metric, String)>,
}

impl Text {
    /// Empty; every value will carry these labels.
    pub fn new(base: &[(String, String)]) -> Text {
        let mut text = String::new();
        for (name, value) in base {
            label(&mut text, name, value);
        }
        Text {
            out: String::new(),
            base: text,
            metric: None,
        }
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.out
    }

    /// Begins a line of the metric at hand: name, suffix, labels, and one more label.
    fn line(&mut self, suffix: &str, values: &[&str], bound: Option<&str>) {
        let Some((metric, name)) = &self.metric else {
            return;
        };
        self.out.push_str(name);
        self.out.push_str(suffix);
        self.out.push('{');
        let begin = self.out.len();
        self.out.push_str(&self.base);
        let own = metric.labels.iter().zip(values);
        for (name, value) in own.filter(|(_, value)| !value.is_empty()) {
            comma(&mut self.out, begin);
            label_one(&mut self.out, name, value);
        }
        if let Some(bound) = bound {
            comma(&mut self.out, begin);
            label_one(&mut self.out, "le", bound);
        }
        self.out.push_str("} ");
    }

    fn number(&mut self, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        _ = writeln!(self.out, "{value}");
    }
}

impl Sink for Text {
    fn begin(&mut self, metric: &'static Metric) {
        let name = metric.text_name();
        _ = writeln!(self.out, "# HELP {name} {}", metric.help);
        _ = writeln!(self.out, "# TYPE {name} {}", metric.kind.name());
        self.metric = Some((metric, name));
    }

    fn value(&mut self, labels: &[&str], value: i64) {
        self.line("", labels, None);
        self.number(value);
    }

    fn histogram(&mut self, labels: &[&str], counts: &[u64], sum: u64) {
        let Some((
            Metric {
                kind: Kind::Histogram(bounds),
                ..
            },
            _,
        )) = &self.metric
        else {
            return;
        };
        let mut total = 0;
        for (range, count) in counts.iter().enumerate() {
            total += count;
            // As the reference writes them, who looks one up by its text finds it.
            let bound = bounds
                .get(range)
                .map_or("+Inf".to_owned(), |bound| format!("{bound}.0"));
            self.line("_bucket", labels, Some(&bound));
            self.number(total);
        }
        self.line("_count", labels, None);
        self.number(total);
        self.line("_sum", labels, None);
        self.number(sum);
    }
}

fn label(out: &mut String, name: &str, value: &str) {
    comma(out, 0);
    label_one(out, name, value);
}

fn comma(out: &mut String, begin: usize) {
    if out.len() > begin {
        out.push(',');
    }
}

fn label_one(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{Export, Unit};

    const LAG: Metric = Metric {
        name: "lag",
        kind: Kind::Gauge,
        unit: Unit::Milliseconds,
        labels: &["group", "topic"],
        help: "How far behind.",
    };
    const SIZE: Metric = Metric {
        name: "size_bytes",
        kind: Kind::Histogram(&[10, 100]),
        unit: Unit::Bytes,
        labels: &[],
        help: "How large.",
    };

    #[test]
    fn a_value_has_its_unit_in_the_name_and_only_labels_that_say_something() {
        let mut text = Text::new(&[("node".to_owned(), "a\"b".to_owned())]);
        let mut export = Export::new(&mut text, None);
        export.metric(&LAG, |lag| {
            lag.value(&["g", "t\n"], 7);
            lag.value(&["", "t"], -1);
        });
        assert_eq!(
            text.finish(),
            "# HELP lag_milliseconds How far behind.\n# TYPE lag_milliseconds gauge\n\
             lag_milliseconds{node=\"a\\\"b\",group=\"g\",topic=\"t\\n\"} 7\n\
             lag_milliseconds{node=\"a\\\"b\",topic=\"t\"} -1\n"
        );
    }

    #[test]
    fn the_ranges_of_a_histogram_add_up() {
        let mut text = Text::new(&[]);
        Export::new(&mut text, None).metric(&SIZE, |size| size.histogram(&[], &[1, 0, 2], 315));
        assert_eq!(
            text.finish(),
            "# HELP size_bytes How large.\n# TYPE size_bytes histogram\n\
             size_bytes_bucket{le=\"10.0\"} 1\nsize_bytes_bucket{le=\"100.0\"} 1\nsize_bytes_bucket{le=\"+Inf\"} 3\n\
             size_bytes_count{} 3\nsize_bytes_sum{} 315\n"
        );
    }

    #[test]
    fn values_beyond_the_limit_of_a_metric_are_left_out_and_counted() {
        let mut text = Text::new(&[]);
        let mut export = Export::new(&mut text, Some(2));
        export.metric(&LAG, |lag| {
            (0..5).for_each(|n| lag.value(&["g", &n.to_string()], n))
        });
        export.metric(&LAG, |_| {});
        assert_eq!(export.dropped().get("lag"), Some(&3));
        assert_eq!(text.finish().lines().count(), 4);
    }
}
