// SPDX-License-Identifier: Apache-2.0
//! What connections note while they work. There are a few tallies, each shared by some connections; once a second their
//! notes are taken and added up, so that a run of any length keeps one histogram per measure and some numbers per second.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest time that is told apart from longer ones, µs: an hour.
pub(crate) const LATENCY_MAX_US: u64 = 3_600_000_000;
/// Digits of a time that are kept.
const DIGITS: u8 = 3;
/// Different reasons that are kept; more are counted as one.
const REASONS_MAX: usize = 64;

/// What is measured, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// From when a message was due until its send was answered (one-way: until it was written).
    Send,
    /// From when a message was due until it was written.
    Wait,
    /// From a pull or pop until the answer that brings messages.
    Pull,
    /// From an acknowledgement until it is answered.
    Ack,
    /// From when a message was due until it was received.
    EndToEnd,
    /// How long after its promised time a message was received.
    Late,
    /// How long before.
    Early,
    /// From when a half message was due until it was answered.
    Half,
    /// From the commit or rollback until it is answered.
    End,
    /// From the commit until the message was received.
    Visible,
}

pub(crate) type Latencies = Histogram<u64>;

pub(crate) fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS).expect("the bounds are constant and right")
}

/// The numbers of a run, or of a part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Messages that were due.
    pub due: u64,
    /// Messages that ended well: answered with success, or received.
    pub ok: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Answers that brought messages, or to sends.
    pub requests: u64,
    /// Pulls and pops that brought nothing.
    pub empty: u64,
    /// Connections that broke and were made again.
    pub reconnects: u64,
    /// Halves about which the broker asked.
    pub checks: u64,
    /// Messages by the code that answered them.
    pub answers: BTreeMap<String, u64>,
    /// Messages that were not answered, and why; and other failures.
    pub failures: BTreeMap<String, u64>,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.due += other.due;
        self.ok += other.ok;
        self.bytes += other.bytes;
        self.requests += other.requests;
        self.empty += other.empty;
        self.reconnects += other.reconnects;
        self.checks += other.checks;
        for (table, others) in [
            (&mut self.answers, other.answers),
            (&mut self.failures, other.failures),
        ] {
            for (reason, count) in others {
                bump(table, reason, count);
            }
        }
    }

    /// Everything that did not end well.
    pub fn errors(&self) -> u64 {
        let success = self.answers.get(SUCCESS).copied().unwrap_or_default();
        self.answers.values().sum::<u64>() - success + self.failures.values().sum::<u64>()
    }
}

/// What success is called in the table of answers.
pub(crate) const SUCCESS: &str = "SUCCESS (0)";

fn bump(table: &mut BTreeMap<String, u64>, reason: String, count: u64) {
    let reason = if table.len() < REASONS_MAX || table.contains_key(&reason) {
        reason
    } else {
        "others".to_owned()
    };
    *table.entry(reason).or_default() += count;
}

/// Notes of some connections since they were taken last.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    latencies: BTreeMap<Measure, Latencies>,
    /// What servers said with codes that are no success, once per code.
    remarks: BTreeMap<String, String>,
}

impl Tally {
    /// A time of so many messages, ns.
    pub(crate) fn time(&mut self, measure: Measure, ns: u64, messages: u64) {
        let histogram = self.latencies.entry(measure).or_insert_with(latencies);
        histogram.saturating_record_n((ns / 1000).max(1), messages);
    }

    /// Messages that were answered with a code.
    pub(crate) fn answer(&mut self, code: i32, remark: Option<&str>, messages: u64) {
        if code == 0 {
            match self.counts.answers.get_mut(SUCCESS) {
                Some(count) => *count += messages,
                None => bump(&mut self.counts.answers, SUCCESS.to_owned(), messages),
            }
            return;
        }
        let name = wire::code::ResponseCode(code).to_string();
        if let Some(remark) = remark.filter(|_| self.remarks.len() < REASONS_MAX) {
            let remark: String = remark.chars().take(300).collect();
            self.remarks.entry(name.clone()).or_insert(remark);
        }
        bump(&mut self.counts.answers, name, messages);
    }

    /// Messages that were not answered.
    pub(crate) fn failure(&mut self, reason: &str, messages: u64) {
        bump(&mut self.counts.failures, reason.to_owned(), messages);
    }

    /// Adds what `other` has noted, and leaves it empty.
    pub(crate) fn take(&mut self, other: &mut Tally) {
        self.counts.add(std::mem::take(&mut other.counts));
        for (measure, theirs) in &mut other.latencies {
            if theirs.is_empty() {
                continue;
            }
            let ours = self.latencies.entry(*measure).or_insert_with(latencies);
            // Both have the same bounds.
            let _fits = ours.add(&*theirs);
            theirs.reset();
        }
        for (code, remark) in std::mem::take(&mut other.remarks) {
            self.remarks.entry(code).or_insert(remark);
        }
    }

    pub(crate) fn histogram(&self, measure: Measure) -> Option<&Latencies> {
        self.latencies.get(&measure)
    }

    pub(crate) fn histograms(&self) -> impl Iterator<Item = (Measure, &Latencies)> {
        self.latencies
            .iter()
            .map(|(measure, histogram)| (*measure, histogram))
    }

    pub(crate) fn remarks(&self) -> &BTreeMap<String, String> {
        &self.remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_added_and_gone() {
        let mut all = Tally::default();
        for ms in [1_u64, 2, 3] {
            let mut part = Tally::default();
            part.time(Measure::Send, ms * 1_000_000, 2);
            part.answer(0, None, 2);
            part.answer(2, Some("busy"), 1);
            part.failure("no answer in time", 1);
            all.take(&mut part);
            assert_eq!(part.counts, Counts::default());
            assert!(part.histogram(Measure::Send).unwrap().is_empty());
        }
        let sends = all.histogram(Measure::Send).unwrap();
        assert_eq!((sends.len(), sends.max() / 1000), (6, 3));
        assert_eq!(all.counts.answers["SYSTEM_BUSY (2)"], 3);
        assert_eq!(all.counts.errors(), 6);
        assert_eq!(all.remarks()["SYSTEM_BUSY (2)"], "busy");
    }

    #[test]
    fn times_beyond_the_bound_count_as_the_bound_and_reasons_beyond_the_limit_as_one() {
        let mut tally = Tally::default();
        tally.time(Measure::Send, u64::MAX, 1);
        let max = tally.histogram(Measure::Send).unwrap().max();
        assert!(max >= LATENCY_MAX_US, "{max}");
        for code in 1000..2000 {
            tally.answer(code, Some("x"), 1);
        }
        assert!(tally.counts.answers.len() <= REASONS_MAX + 1);
        assert_eq!(tally.counts.errors(), 1000);
    }
}
