// SPDX-License-Identifier: Apache-2.0
//! The world a process is given at its top: clock, disk, randomness. Nothing below calls the system for them, so that
//! tests and simulations decide what time it is, which write fails and which number comes next.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::disk::Disk;
use crate::disk::real::RealDisk;

pub mod sim;

/// Everything a component may want from outside.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
}

impl Env {
    /// The real world.
    #[must_use]
    pub fn real() -> Env {
        Env {
            clock: Arc::new(RealClock),
            disk: Arc::new(RealDisk),
            rng: Arc::new(RealRng::seeded()),
        }
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").finish_non_exhaustive()
    }
}

/// Work was not done: the process is being torn down.
#[derive(Debug, thiserror::Error)]
#[error("the process is ending")]
pub struct Ending;

thread_local! {
    static IS_ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Keeps on this thread what runs on it, from now on: a simulation decides in which order things happen.
pub fn stay_on_this_thread() {
    IS_ALONE.set(true);
}

/// Whether nothing may run on another thread.
#[must_use]
pub fn is_alone() -> bool {
    IS_ALONE.get()
}

/// Runs work that may wait for the disk where it keeps nobody else waiting.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Ending> {
    if is_alone() {
        tokio::task::yield_now().await;
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Ending)
}

/// What time it is.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970, UTC. May jump.
    fn now_ms(&self) -> i64;
    /// Monotonic time.
    fn instant(&self) -> Instant;
    /// What local time is ahead of UTC, in seconds: for `deleteWhen` and the names of index files.
    fn utc_offset_secs(&self) -> i64;
}

/// Randomness that decides placement, never secrecy.
pub trait Rng: Send + Sync {
    /// The next number.
    fn next_u64(&self) -> u64;
    /// A number below `bound`, 0 when the bound is 0.
    fn below(&self, bound: u64) -> u64 {
        // The high half of the product is as even as the source; no division.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

/// The system's clocks.
#[derive(Debug, Clone, Copy)]
pub struct RealClock;

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "the one home of the system clock")]
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        since.as_millis() as i64
    }

    #[expect(clippy::disallowed_methods, reason = "the one home of the monotonic clock")]
    fn instant(&self) -> Instant {
        Instant::now()
    }

    /// By `TZ`, else `/etc/localtime`; UTC when neither says anything.
    fn utc_offset_secs(&self) -> i64 {
        let now = jiff::Timestamp::from_millisecond(self.now_ms()).unwrap_or_default();
        i64::from(jiff::tz::TimeZone::system().to_offset(now).seconds())
    }
}

/// A seed of the process, then splitmix64.
#[derive(Debug)]
pub struct RealRng {
    state: AtomicU64,
}

impl RealRng {
    /// Takes its seed from the hasher keys of the process, which come from the system.
    #[must_use]
    pub fn seeded() -> RealRng {
        use std::hash::{BuildHasher, RandomState};
        RealRng {
            state: AtomicU64::new(RandomState::new().hash_one(0_u8)),
        }
    }

    pub(crate) fn from_seed(seed: u64) -> RealRng {
        RealRng {
            state: AtomicU64::new(seed),
        }
    }
}

impl Rng for RealRng {
    fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
