// SPDX-License-Identifier: Apache-2.0
//! Totals of moments that are past, so that it can be told how much came in the last minute, hour and day: as the reference
//! samples them, every ten seconds, ten minutes and hour. What was never touched keeps nothing.

use std::collections::VecDeque;

/// Samples that are kept for a minute and an hour.
const KEPT: usize = 7;
/// And for a day.
const KEPT_OF_DAY: usize = 25;
const TEN_SECONDS_MS: i64 = 10_000;
const TEN_MINUTES_MS: i64 = 600_000;
const HOUR_MS: i64 = 3_600_000;

/// What is counted of a topic, or of a group that reads it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Messages.
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    /// Sends, or answers with messages.
    pub(crate) times: u64,
    pub(crate) waited_ms: u64,
    pub(crate) backs: u64,
    pub(crate) acks: u64,
    pub(crate) leases: u64,
}

impl Totals {
    fn minus(self, earlier: Totals) -> Totals {
        Totals {
            number: self.number.saturating_sub(earlier.number),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            times: self.times.saturating_sub(earlier.times),
            waited_ms: self.waited_ms.saturating_sub(earlier.waited_ms),
            backs: self.backs.saturating_sub(earlier.backs),
            acks: self.acks.saturating_sub(earlier.acks),
            leases: self.leases.saturating_sub(earlier.leases),
        }
    }
}

/// Which samples are due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tick {
    pub(crate) minute: bool,
    pub(crate) hour: bool,
    pub(crate) day: bool,
}

impl Tick {
    /// Those that are due so many seconds after the start.
    pub(crate) fn at(seconds: u64) -> Tick {
        Tick {
            minute: seconds.is_multiple_of(10),
            hour: seconds.is_multiple_of(600),
            day: seconds.is_multiple_of(3_600),
        }
    }

    pub(crate) fn is_any(self) -> bool {
        self.minute || self.hour || self.day
    }
}

/// What was counted over a span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Span {
    pub(crate) ms: i64,
    pub(crate) grown: Totals,
}

impl Span {
    /// Per second. The reference divides by no time at all as well, and tells what comes of it.
    pub(crate) fn per_second(&self, number: u64) -> f64 {
        if self.ms <= 0 {
            0.0
        } else {
            number as f64 * 1000.0 / self.ms as f64
        }
    }
}

type Samples = VecDeque<(i64, Totals)>;

/// The samples. Boxed: most topics and groups have none.
#[derive(Debug, Default)]
pub(crate) struct History(Option<Box<[Samples; 3]>>);

impl History {
    /// Remembers totals.
    pub(crate) fn sample(&mut self, now_ms: i64, tick: Tick, totals: Totals) {
        if totals == Totals::default() {
            return;
        }
        let [minute, hour, day] = &mut **self.0.get_or_insert_with(Box::default);
        let due = [
            (tick.minute, minute, KEPT, TEN_SECONDS_MS),
            (tick.hour, hour, KEPT, TEN_MINUTES_MS),
            (tick.day, day, KEPT_OF_DAY, HOUR_MS),
        ];
        for (is_due, samples, kept, step_ms) in due {
            if !is_due {
                continue;
            }
            if samples.is_empty() {
                samples.push_back((now_ms - step_ms, Totals::default()));
            }
            samples.push_back((now_ms, totals));
            if samples.len() > kept {
                samples.pop_front();
            }
        }
    }

    /// The last minute, hour and day, as far as there are samples; `None` for what was never touched.
    pub(crate) fn spans(&self, touched: u64) -> Option<[Span; 3]> {
        match &self.0 {
            None => (touched > 0).then(Default::default),
            Some(samples) => Some(std::array::from_fn(|at| span(&samples[at]))),
        }
    }
}

fn span(samples: &Samples) -> Span {
    match (samples.front(), samples.back()) {
        (Some((began, first)), Some((ended, last))) => Span {
            ms: ended - began,
            grown: last.minus(*first),
        },
        _ => Span::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(number: u64) -> Totals {
        Totals {
            number,
            times: number,
            ..Totals::default()
        }
    }

    #[test]
    fn a_minute_is_the_last_seven_samples_and_the_first_begins_at_nothing() {
        let mut history = History::default();
        assert_eq!(history.spans(0), None, "never touched");
        assert_eq!(history.spans(3), Some(Default::default()), "not sampled yet");
        history.sample(0, Tick::at(0), messages(0));
        assert_eq!(history.spans(0), None, "nothing to remember");
        for at in 1..=10_u64 {
            let now_ms = i64::try_from(at * 10_000).unwrap();
            history.sample(now_ms, Tick::at(at * 10), messages(at * 5));
        }
        let [minute, hour, day] = history.spans(50).unwrap();
        assert_eq!((minute.ms, minute.grown.number), (60_000, 30));
        assert_eq!(minute.per_second(minute.grown.number), 0.5);
        assert_eq!((hour, day), (Span::default(), Span::default()));
    }

    #[test]
    fn what_is_touched_first_counts_from_a_step_before_its_first_sample() {
        let mut history = History::default();
        history.sample(7_200_000, Tick::at(7_200), messages(6));
        let [minute, hour, day] = history.spans(6).unwrap();
        assert_eq!((minute.ms, hour.ms, day.ms), (10_000, 600_000, 3_600_000));
        assert_eq!(day.grown.number, 6);
    }
}
