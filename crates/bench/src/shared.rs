// SPDX-License-Identifier: Apache-2.0
//! What the connections of a run share: its clock, its notes, and whether it goes on.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::body::Filler;
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::tally::Tally;

/// Different breaks of connections that are remembered.
const BREAKS_MAX: usize = 20;

/// Commits whose message has not been received: of more the time is not taken.
const COMMITS_MAX: usize = 1 << 20;

/// One for all connections of a run.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) filler: Filler,
    /// Names the run in its messages.
    pub(crate) run: u64,
    /// What is due before is not measured, ns.
    pub(crate) warm: u64,
    /// Nothing is due from then on, ns.
    end: AtomicU64,
    pub(crate) ledger: Mutex<Ledger>,
    /// When what was committed and has not been received was committed, by number.
    pub(crate) commits: Mutex<HashMap<u64, u64>>,
    /// Halves whose end the broker has to ask for.
    unknown: AtomicI64,
    tallies: Vec<Mutex<Tally>>,
    breaks: Mutex<BTreeMap<String, u64>>,
    reconnects: AtomicU64,
    /// Received, whenever they were due.
    pub(crate) received: AtomicU64,
    stopping: AtomicBool,
    resting: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    pub(crate) fn new(options: &Options, tallies: usize) -> Shared {
        let clock = Clock::start();
        let warm = options.warmup.as_nanos() as u64;
        Shared {
            filler: Filler::new(options.seed),
            run: clock.run_id(),
            warm,
            end: AtomicU64::new(warm + options.duration.as_nanos() as u64),
            ledger: Mutex::default(),
            commits: Mutex::default(),
            unknown: AtomicI64::new(0),
            tallies: (0..tallies.max(1)).map(|_| Mutex::default()).collect(),
            breaks: Mutex::default(),
            reconnects: AtomicU64::new(0),
            received: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            over: AtomicBool::new(false),
            options: options.clone(),
            clock,
        }
    }

    /// Where the connection of a number notes what happens.
    pub(crate) fn tally(&self, connection: usize) -> &Mutex<Tally> {
        let at = connection % self.tallies.len();
        self.tallies
            .get(at)
            .unwrap_or_else(|| unreachable!("{at} is within"))
    }

    /// Adds all notes to `sum`.
    pub(crate) fn collect(&self, sum: &mut Tally) {
        for tally in &self.tallies {
            sum.take(&mut tally.lock());
        }
        sum.counts.reconnects += self.reconnects.swap(0, Ordering::Relaxed);
    }

    /// The commit of a message goes out now.
    pub(crate) fn note_commit(&self, number: u64, now: u64) {
        let mut commits = self.commits.lock();
        if commits.len() < COMMITS_MAX {
            commits.insert(number, now);
        }
    }

    /// More halves, or fewer, whose end the broker has to ask for.
    pub(crate) fn note_unknown(&self, more: i64) {
        self.unknown.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed).max(0) as u64
    }

    /// Nothing is due from then on, ns.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Nothing more is due; what is under way goes on.
    pub(crate) fn stop(&self) {
        self.end.fetch_min(self.clock.now(), Ordering::Relaxed);
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Nothing more is read: all that was to come has come, or is not waited for.
    pub(crate) fn rest(&self) {
        self.resting.store(true, Ordering::Relaxed);
    }

    /// Whether a reader has read enough.
    pub(crate) fn is_enough(&self) -> bool {
        let reads_only = !self.options.kind.sends();
        let most = self.options.messages.filter(|_| reads_only);
        self.resting.load(Ordering::Relaxed)
            || reads_only && self.is_stopping()
            || most.is_some_and(|most| self.received.load(Ordering::Relaxed) >= most)
    }

    /// All connections end.
    pub(crate) fn finish(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(crate) fn note_break(&self, what: &str) {
        let mut breaks = self.breaks.lock();
        if breaks.len() < BREAKS_MAX || breaks.contains_key(what) {
            *breaks.entry(what.to_owned()).or_default() += 1;
        }
    }

    pub(crate) fn note_reconnect(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn breaks(&self) -> BTreeMap<String, u64> {
        self.breaks.lock().clone()
    }
}
