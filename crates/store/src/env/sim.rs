// SPDX-License-Identifier: Apache-2.0
//! A clock that moves when told and randomness from a seed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::{Clock, RealRng, Rng};

/// Stands still until it is moved.
#[derive(Debug)]
pub struct SimClock {
    now_ms: AtomicI64,
    start_ms: i64,
    origin: Instant,
}

impl SimClock {
    /// Starts at `now_ms`.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant cannot be made from nothing; only differences are used"
    )]
    pub fn at(now_ms: i64) -> SimClock {
        SimClock {
            now_ms: AtomicI64::new(now_ms),
            start_ms: now_ms,
            origin: Instant::now(),
        }
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }

    /// Jumps, also back.
    pub fn set(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn instant(&self) -> Instant {
        let since = self.now_ms().saturating_sub(self.start_ms).max(0);
        self.origin + Duration::from_millis(since.unsigned_abs())
    }

    fn utc_offset_secs(&self) -> i64 {
        0
    }
}

/// The same numbers for the same seed.
#[derive(Debug)]
pub struct SimRng(RealRng);

impl SimRng {
    /// Starts from a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> SimRng {
        SimRng(RealRng::from_seed(seed))
    }
}

impl Rng for SimRng {
    fn next_u64(&self) -> u64 {
        self.0.next_u64()
    }
}
