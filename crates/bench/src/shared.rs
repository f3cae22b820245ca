// SPDX-License-Identifier: Apache-2.0
//! What the connections of a run share: its clock, its notes, and whether it goes on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

/// Halves that failed, and may be asked about nevertheless: more of them count as ended well when they are.
const FAILED_MAX: usize = 1 << 20;

/// The broker asks about a half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// For the first time.
    First,
    /// For the first time; that it failed has been counted.
    OfFailed,
    /// Once more.
    Again,
}

/// Halves whose end the broker has to ask for.
#[derive(Debug, Default)]
struct Unknown {
    /// It has not asked about so many that were sent and did not fail.
    open: u64,
    /// Those that failed, by number.
    failed: HashSet<u64>,
}

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
    /// Taken before the ledger.
    unknown: Mutex<Unknown>,
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
            unknown: Mutex::default(),
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

    /// A half is sent whose end the broker has to ask for.
    pub(crate) fn unknown_sent(&self) {
        self.unknown.lock().open += 1;
    }

    /// It was refused, or not answered. Whether that is an error: when the broker has asked before, it has ended well.
    pub(crate) fn unknown_failed(&self, number: u64) -> bool {
        let mut unknown = self.unknown.lock();
        if self.ledger.lock().has_acked(number) {
            return false;
        }
        unknown.open = unknown.open.saturating_sub(1);
        if unknown.failed.len() < FAILED_MAX {
            unknown.failed.insert(number);
        }
        true
    }

    /// The broker asks for its end, and is told to commit it.
    pub(crate) fn unknown_asked(&self, number: u64) -> Question {
        let mut unknown = self.unknown.lock();
        if !self.ledger.lock().acked(number) {
            return Question::Again;
        }
        if unknown.failed.remove(&number) {
            return Question::OfFailed;
        }
        unknown.open = unknown.open.saturating_sub(1);
        Question::First
    }

    /// Halves that the broker still has to ask about.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown.lock().open
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
