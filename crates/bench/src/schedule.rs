// SPDX-License-Identifier: Apache-2.0
//! When each message is due, and on which connection and queue it goes. Pure: no clock, no socket.
//!
//! All messages of a run have numbers. They go round robin over the targets (queues of all brokers); the queues of a broker
//! are dealt out to its connections, so that one queue is fed by one connection and keeps its order, unless there are more
//! connections than queues. A connection knows its own numbers without asking the others.
//!
//! A schedule does not look at the server. What is due while the server does not answer stays due at its time: latency is
//! counted from there, so that a stall is seen by every message that it held up.

use crate::random::Random;

/// A second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// Where the messages of one connection go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Targets of the run.
    pub(crate) targets: u64,
    /// The first target of this connection's broker.
    pub(crate) first: u64,
    /// Targets of this connection's broker.
    pub(crate) queues: u64,
    /// Which of its connections this is.
    pub(crate) lane: u64,
    /// How many it has.
    pub(crate) lanes: u64,
}

impl Share {
    /// Queues that this connection alone feeds; none where queues are shared.
    fn owned(&self) -> u64 {
        (self.queues + self.lanes - 1 - self.lane) / self.lanes
    }

    /// The number of the connection's request that comes at this place, and its queue among those of the broker.
    pub(crate) fn at(&self, place: u64) -> (u64, u64) {
        let (round, queue) = if self.lanes <= self.queues {
            let owned = self.owned();
            (place / owned, self.lane + self.lanes * (place % owned))
        } else {
            let of_broker = self.lane + place * self.lanes;
            (of_broker / self.queues, of_broker % self.queues)
        };
        (round * self.targets + self.first + queue, queue)
    }

    /// How much of all requests goes here.
    fn weight(&self) -> f64 {
        if self.lanes <= self.queues {
            return self.owned() as f64 / self.targets as f64;
        }
        self.queues as f64 / self.targets as f64 / self.lanes as f64
    }
}

/// A request that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// Its number in the run.
    pub(crate) number: u64,
    /// Its queue among those of the broker.
    pub(crate) queue: u64,
    /// When, ns since the start.
    pub(crate) at: u64,
}

/// How due times follow each other.
#[derive(Debug, Clone)]
pub(crate) enum Pace {
    /// Always due: whoever has room sends.
    Closed,
    /// Each request at its number's time: requests per second.
    Steady(f64),
    /// At random. The sum of independent random streams is one with the sum of their rates, so each connection
    /// draws its own.
    Poisson {
        /// Mean time between two requests of this connection, ns.
        gap: f64,
        random: Random,
        /// When the last was due.
        at: f64,
    },
}

/// The requests of one connection, in order.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    share: Share,
    pace: Pace,
    place: u64,
    next: Option<Due>,
    /// Nothing is due from then on, ns.
    end: u64,
    /// Nor from this number on.
    requests: u64,
}

impl Schedule {
    /// `rate` is that of the requests of the whole run; without one the loop is closed.
    pub(crate) fn new(
        share: Share,
        rate: Option<(f64, Option<Random>)>,
        (end, requests): (u64, u64),
    ) -> Schedule {
        let pace = match rate {
            None => Pace::Closed,
            Some((rate, None)) => Pace::Steady(rate),
            Some((rate, Some(random))) => Pace::Poisson {
                gap: SECOND_NS as f64 / (rate * share.weight()),
                random,
                at: 0.0,
            },
        };
        let mut schedule = Schedule {
            share,
            pace,
            place: 0,
            next: None,
            end,
            requests,
        };
        schedule.step();
        schedule
    }

    /// What is due next, however far off; `None` when that was all.
    pub(crate) fn peek(&self) -> Option<Due> {
        self.next
    }

    /// What is due now. In a closed loop that is always the next one, and due this moment.
    pub(crate) fn take(&mut self, now: u64) -> Option<Due> {
        let mut due = self.next?;
        match self.pace {
            Pace::Closed if now >= self.end => {
                self.next = None;
                return None;
            }
            Pace::Closed => due.at = now,
            _ if due.at > now => return None,
            _ => {}
        }
        self.step();
        Some(due)
    }

    /// That was all.
    pub(crate) fn close(&mut self) {
        self.next = None;
    }

    fn step(&mut self) {
        let (number, queue) = self.share.at(self.place);
        self.place += 1;
        let at = match &mut self.pace {
            Pace::Closed => 0,
            Pace::Steady(rate) => (number as f64 / *rate * SECOND_NS as f64) as u64,
            Pace::Poisson { gap, random, at } => {
                *at += *gap * random.exponential();
                *at as u64
            }
        };
        self.next = (at < self.end && number < self.requests).then_some(Due { number, queue, at });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn shares(brokers: &[u64], lanes: u64) -> Vec<Share> {
        let targets = brokers.iter().sum();
        let mut first = 0;
        let mut all = Vec::new();
        for queues in brokers {
            all.extend((0..lanes).map(|lane| Share {
                targets,
                first,
                queues: *queues,
                lane,
                lanes,
            }));
            first += queues;
        }
        all
    }

    fn all_of(share: Share, rate: Option<(f64, Option<Random>)>, ends: (u64, u64)) -> Vec<Due> {
        let mut schedule = Schedule::new(share, rate, ends);
        let mut all = Vec::new();
        while let Some(due) = schedule.peek() {
            assert_eq!(schedule.take(due.at), Some(due));
            all.push(due);
        }
        all
    }

    #[test]
    fn each_number_is_sent_once_and_the_queues_get_the_same() {
        for (brokers, lanes) in [
            (vec![8], 1),
            (vec![8], 3),
            (vec![8], 8),
            (vec![4], 16),
            (vec![3], 7),
            (vec![8, 4, 1], 2),
            (vec![2, 5], 5),
        ] {
            let total = brokers.iter().sum::<u64>() * 70;
            let mut numbers = BTreeMap::new();
            for share in shares(&brokers, lanes) {
                for due in all_of(share, Some((1000.0, None)), (u64::MAX, total)) {
                    let target = share.first + due.queue;
                    assert_eq!(due.number % share.targets, target, "{share:?}");
                    assert!(due.queue < share.queues);
                    assert!(numbers.insert(due.number, target).is_none(), "twice: {due:?}");
                    // Each thousandth of a second one.
                    assert_eq!(due.at / 1000, due.number * 1000);
                }
            }
            assert_eq!(numbers.len() as u64, total, "{brokers:?} {lanes}");
        }
    }

    #[test]
    fn a_queue_is_fed_by_one_connection_when_there_are_enough_queues() {
        let mut feeds = BTreeMap::new();
        for share in shares(&[8], 3) {
            for due in all_of(share, Some((1.0, None)), (u64::MAX, 800)) {
                assert_eq!(*feeds.entry(due.queue).or_insert(share.lane), share.lane);
            }
        }
        assert_eq!(feeds.len(), 8);
    }

    #[test]
    fn what_is_due_stays_due_at_its_time_however_late_it_is_taken() {
        let share = shares(&[1], 1)[0];
        let mut schedule = Schedule::new(share, Some((1000.0, None)), (SECOND_NS, u64::MAX));
        assert_eq!(schedule.take(0).map(|due| due.at), Some(0));
        assert_eq!(schedule.take(999_999), None);
        // The server stalls: everything of half a second is due at once, each since its own time.
        let late: Vec<u64> = std::iter::from_fn(|| schedule.take(500_000_000))
            .map(|due| due.at)
            .collect();
        assert_eq!(late.len(), 500);
        assert_eq!(late[0], 1_000_000);
        assert_eq!(late[499], 500_000_000);
    }

    #[test]
    fn a_closed_loop_sends_when_there_is_room_and_ends_in_time() {
        let share = shares(&[2], 1)[0];
        let mut schedule = Schedule::new(share, None, (100, u64::MAX));
        assert_eq!(schedule.take(7).map(|due| (due.number, due.at)), Some((0, 7)));
        assert_eq!(schedule.take(99).map(|due| (due.number, due.at)), Some((1, 99)));
        assert_eq!(schedule.take(100), None);
        assert_eq!(schedule.peek(), None);
    }

    #[test]
    fn random_times_have_the_mean_and_the_spread_of_a_poisson_process_and_repeat_with_the_seed() {
        let take = |seed: u64| {
            let streams = shares(&[4], 2).into_iter().enumerate().flat_map(|(lane, share)| {
                let random = Random::new(seed + lane as u64);
                all_of(share, Some((1000.0, Some(random))), (100 * SECOND_NS, u64::MAX))
            });
            let mut at: Vec<u64> = streams.map(|due| due.at).collect();
            at.sort_unstable();
            at
        };
        let times = take(1);
        assert_eq!(times, take(1));
        assert_ne!(times, take(2));
        let count = times.len() as f64;
        assert!((98_000.0..102_000.0).contains(&count), "{count}");
        // Counts per tenth of a second vary as much as their mean.
        let mut counts = vec![0.0; 1000];
        for at in &times {
            counts[(at / (SECOND_NS / 10)) as usize] += 1.0;
        }
        let mean = counts.iter().sum::<f64>() / 1000.0;
        let variance = counts.iter().map(|c| (c - mean) * (c - mean)).sum::<f64>() / 1000.0;
        assert!((0.8..1.25).contains(&(variance / mean)), "{variance} {mean}");
    }

    /// A server that answers one request in 100 µs, one after the other, and stands still for a second in between.
    fn finish_times(sent: &[u64]) -> Vec<u64> {
        let mut free = 0;
        let stall = 2 * SECOND_NS..3 * SECOND_NS;
        let finish = |at: &u64| {
            let mut begin = free.max(*at);
            if stall.contains(&begin) {
                begin = stall.end;
            }
            free = begin + 100_000;
            free
        };
        sent.iter().map(finish).collect()
    }

    #[test]
    fn a_stall_of_a_second_is_in_the_p99_of_the_open_loop_and_hidden_by_the_closed_one() {
        let share = shares(&[1], 1)[0];
        let p99 = |mut latencies: Vec<u64>| {
            latencies.sort_unstable();
            latencies[latencies.len() * 99 / 100]
        };
        let due: Vec<u64> = all_of(share, Some((1000.0, None)), (10 * SECOND_NS, u64::MAX))
            .iter()
            .map(|due| due.at)
            .collect();
        let open = finish_times(&due)
            .iter()
            .zip(&due)
            .map(|(done, due)| done - due)
            .collect();
        // The closed loop sends the next one when the last is answered: one message saw the stall.
        let mut closed = Vec::new();
        let mut schedule = Schedule::new(share, None, (10 * SECOND_NS, u64::MAX));
        let mut now = 0;
        while let Some(due) = schedule.take(now) {
            let done = finish_times(&[due.at])[0];
            closed.push(done - due.at);
            now = done;
        }
        assert!(p99(open) > 800_000_000);
        assert_eq!(p99(closed), 100_000);
    }
}
