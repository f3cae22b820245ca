// SPDX-License-Identifier: Apache-2.0
//! The result of a run, as JSON and as a table. The JSON is described in docs/bench-tool.md; its version changes when a
//! field changes its meaning or goes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::cluster::Server;
use crate::ledger::Delivery;
use crate::options::Kind;
use crate::percentiles::Percentiles;
use crate::tally::{Counts, Latencies, Measure};

/// Version of the JSON.
pub const VERSION: u32 = 1;

/// A distribution of times, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// The shortest.
    pub min_us: u64,
    /// The mean.
    pub mean_us: f64,
    /// The standard deviation.
    pub stdev_us: f64,
    /// The longest.
    pub max_us: u64,
    /// So many percent are not longer.
    pub percentiles: Percentiles,
    /// All of it: an HDR histogram, V2, compressed, in base 64, as in the logs of HdrHistogram.
    pub hdr: String,
}

impl Latency {
    pub(crate) fn of(histogram: &Latencies, percentiles: &[f64]) -> Latency {
        let mut bytes = Vec::new();
        let written = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
        let at = |p: &f64| {
            (
                p.to_string(),
                histogram.value_at_percentile(*p).min(histogram.max()),
            )
        };
        Latency {
            count: histogram.len(),
            min_us: histogram.min(),
            mean_us: histogram.mean(),
            stdev_us: histogram.stdev(),
            max_us: histogram.max(),
            percentiles: percentiles.iter().map(at).collect(),
            // Writing to memory does not fail.
            hdr: written.map_or_else(
                |_| String::new(),
                |_| base64::engine::general_purpose::STANDARD.encode(&bytes),
            ),
        }
    }
}

/// What happened in one second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Its end, seconds since the begin of the measurement.
    pub end: f64,
    /// How long it was; the last one may be shorter.
    pub seconds: f64,
    /// Messages that ended well.
    pub ok: u64,
    /// Those that did not.
    pub errors: u64,
    /// Bytes of bodies.
    pub bytes: u64,
    /// Half of the times of [`Report::main`] are not longer.
    pub p50_us: u64,
    /// And 99 of a hundred.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// See [`VERSION`].
    pub version: u32,
    /// The program.
    pub tool: String,
    /// What was measured.
    pub kind: String,
    /// Free text of the caller.
    pub label: Option<String>,
    /// When the run started, ms since 1970.
    pub started_ms: u64,
    /// `open` or `closed`.
    #[serde(rename = "loop")]
    pub loop_kind: String,
    /// Whether somebody ended it early.
    pub interrupted: bool,
    /// All options of the run.
    pub options: serde_json::Value,
    /// Who was measured.
    pub servers: Vec<Server>,
    /// How long was measured.
    pub seconds: f64,
    /// Messages that ended well in that time, per second.
    pub messages_per_second: f64,
    /// Bytes of their bodies, per second.
    pub bytes_per_second: f64,
    /// The numbers of the run; more may have ended after the measured time.
    pub counts: Counts,
    /// Messages that did not end well.
    pub errors: u64,
    /// What servers said with their refusals.
    pub remarks: BTreeMap<String, String>,
    /// How connections broke.
    pub breaks: BTreeMap<String, u64>,
    /// What became of the messages; where they are read again or verified.
    pub delivery: Option<Delivery>,
    /// The measure that the series tells of.
    pub main: Measure,
    /// Times.
    pub latencies: BTreeMap<Measure, Latency>,
    /// Second by second.
    pub series: Vec<Second>,
    /// Time of the processors that this program used since it measured, seconds.
    pub cpu_seconds: f64,
    /// The same for each message.
    pub cpu_us_per_message: f64,
    /// What to know when reading this.
    pub notes: Vec<String>,
}

impl Report {
    /// Why the run is no success, if it is none: more errors than allowed, or messages that are lost, changed, or came
    /// though they should not.
    pub fn complaint(&self, errors_max: u64) -> Option<String> {
        let mut all = Vec::new();
        if self.errors > errors_max {
            all.push(format!("{} errors, {errors_max} allowed", self.errors));
        }
        let delivery = self.delivery.unwrap_or_default();
        for (count, what) in [
            (delivery.lost, "lost"),
            (delivery.corrupt, "not as they were sent"),
            (delivery.forbidden, "received though rolled back"),
        ] {
            if count > 0 {
                all.push(format!("{count} messages {what}"));
            }
        }
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut out = String::new();
        self.put_head(&mut out);
        self.put_times(&mut out);
        self.put_delivery(&mut out);
        self.put_errors(&mut out);
        let cpu = format!(
            "{:.2} s, {:.1} us per message",
            self.cpu_seconds, self.cpu_us_per_message
        );
        line(&mut out, "own cpu time", &cpu);
        for note in &self.notes {
            line(&mut out, "note", note);
        }
        out
    }

    fn put_head(&self, out: &mut String) {
        let label = self
            .label
            .as_deref()
            .map_or(String::new(), |label| format!(" ({label})"));
        let early = if self.interrupted { ", ended early" } else { "" };
        line(
            out,
            &self.kind,
            &format!("{} loop, {:.1} s{early}{label}", self.loop_kind, self.seconds),
        );
        for server in &self.servers {
            let version = if server.version.is_empty() {
                "version unknown"
            } else {
                &server.version
            };
            let text = format!("{} at {}, {version}", server.name, server.address);
            line(out, "server", &text);
        }
        let rate = format!(
            "{:.0} messages/s, {:.2} MB/s",
            self.messages_per_second,
            self.bytes_per_second / 1e6
        );
        line(out, "throughput", &rate);
        let counts = &self.counts;
        let mut text = format!("{} ok, {} errors", counts.ok, self.errors);
        if counts.due > 0 {
            text = format!("{} due, {text}", counts.due);
        }
        line(out, "messages", &text);
    }

    fn put_times(&self, out: &mut String) {
        let columns: Vec<&str> = match self.latencies.values().next() {
            Some(first) => first.percentiles.names().collect(),
            None => return,
        };
        let mut text = format!("{:<12}", "times (ms)");
        for column in &columns {
            put(&mut text, format_args!(" {:>10}", format!("p{column}")));
        }
        put(
            &mut text,
            format_args!(" {:>10} {:>10} {:>10}\n", "max", "mean", "count"),
        );
        for (measure, latency) in &self.latencies {
            put(&mut text, format_args!("{:<12}", name(*measure)));
            for column in &columns {
                let us = latency.percentiles.get(column).unwrap_or_default();
                put(&mut text, format_args!(" {:>10}", milliseconds(us as f64)));
            }
            let (max, mean) = (milliseconds(latency.max_us as f64), milliseconds(latency.mean_us));
            put(
                &mut text,
                format_args!(" {max:>10} {mean:>10} {:>10}\n", latency.count),
            );
        }
        out.push_str(&text);
    }

    fn put_delivery(&self, out: &mut String) {
        let Some(delivery) = &self.delivery else {
            return;
        };
        let all = [
            (delivery.expected, "expected"),
            (delivery.received, "received"),
            (delivery.lost, "lost"),
            (delivery.doubled, "doubled"),
            (delivery.out_of_order, "out of order"),
            (delivery.unacknowledged, "unacknowledged"),
            (delivery.forbidden, "though rolled back"),
            (delivery.corrupt, "corrupt"),
            (delivery.foreign, "foreign"),
        ];
        let always = if delivery.expected > 0 { 5 } else { 0 };
        let shown = all
            .iter()
            .enumerate()
            .filter(|(at, (count, _))| *at < always || *count > 0);
        let shown: Vec<String> = shown
            .map(|(_, (count, what))| format!("{count} {what}"))
            .collect();
        let text = if shown.is_empty() {
            "all as they were sent".to_owned()
        } else {
            shown.join(", ")
        };
        line(out, "delivery", &text);
    }

    fn put_errors(&self, out: &mut String) {
        for (code, count) in &self.counts.answers {
            if code != crate::tally::SUCCESS {
                let remark = self.remarks.get(code).map_or("", String::as_str);
                line(out, "refused", &format!("{count} with {code}: {remark}"));
            }
        }
        for (reason, count) in &self.counts.failures {
            line(out, "failed", &format!("{count}: {reason}"));
        }
        if self.counts.reconnects > 0 || !self.breaks.is_empty() {
            line(out, "reconnects", &self.counts.reconnects.to_string());
        }
        for (reason, count) in &self.breaks {
            line(out, "broken", &format!("{count}: {reason}"));
        }
        if self.counts.checks > 0 {
            line(out, "checks", &format!("{} by the broker", self.counts.checks));
        }
    }
}

/// The measure that says most about a kind.
pub(crate) fn main_measure(kind: Kind) -> Measure {
    match kind {
        Kind::Produce => Measure::Send,
        Kind::Consume => Measure::Pull,
        Kind::E2e => Measure::EndToEnd,
        Kind::Delay => Measure::Late,
        Kind::Transaction => Measure::Half,
    }
}

fn name(measure: Measure) -> &'static str {
    match measure {
        Measure::Send => "send",
        Measure::Wait => "wait",
        Measure::Pull => "pull",
        Measure::Ack => "ack",
        Measure::EndToEnd => "end to end",
        Measure::Late => "late",
        Measure::Early => "early",
        Measure::Half => "half",
        Measure::End => "end",
        Measure::Visible => "visible",
    }
}

fn milliseconds(us: f64) -> String {
    format!("{:.3}", us / 1000.0)
}

fn line(out: &mut String, name: &str, text: &str) {
    put(out, format_args!("{name:<12} {text}\n"));
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;

    #[test]
    fn percentiles_keep_the_order_in_which_they_were_asked_for() {
        let latency = Latency::of(&crate::tally::latencies(), &[5.0, 50.0, 100.0, 99.9, 50.0]);
        let asked = ["5", "50", "100", "99.9"];
        let json = serde_json::to_string(&latency).unwrap();
        assert!(
            json.contains(r#""percentiles":{"5":0,"50":0,"100":0,"99.9":0}"#),
            "{json}"
        );
        let read: Latency = serde_json::from_str(&json).unwrap();
        assert_eq!(read.percentiles.names().collect::<Vec<_>>(), asked);
    }

    #[test]
    fn histograms_of_two_runs_can_be_put_together() {
        let one = |values: [u64; 3]| {
            let mut histogram = crate::tally::latencies();
            for value in values {
                histogram.record(value).unwrap();
            }
            Latency::of(&histogram, &[50.0, 99.9])
        };
        let (a, b) = (one([1, 2, 3]), one([1000, 2000, 3_000_000]));
        assert_eq!((a.count, a.percentiles.get("50"), a.max_us), (3, Some(2), 3));
        assert!(
            a.hdr.starts_with("HISTFAAA"),
            "as other tools write it: {}",
            a.hdr
        );
        let read = |text: &str| -> Latencies {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
            Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap()
        };
        let mut both = read(&a.hdr);
        both.add(read(&b.hdr)).unwrap();
        assert_eq!(both.len(), 6);
        assert!(both.max() >= 3_000_000);
    }
}
