// SPDX-License-Identifier: Apache-2.0
//! Numbers that many threads add to. An addition is relaxed: nothing is ordered by it, and whoever reads gets what has
//! arrived by then.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Something that is counted.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// All that was counted.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How values are spread over `N` ranges; the last one has no upper bound. The bounds are the caller's, always the same.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    counts: [AtomicU64; N],
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Histogram<N> {
        Histogram {
            counts: [const { AtomicU64::new(0) }; N],
            sum: AtomicU64::new(0),
        }
    }
}

impl<const N: usize> Histogram<N> {
    /// Adds `count` equal values. A value belongs to the first bound that is not below it.
    pub fn add(&self, bounds: &[u64], value: u64, count: u64) {
        self.place(bounds, value, count);
        self.sum.fetch_add(value.saturating_mul(count), Ordering::Relaxed);
    }

    /// The same, for whoever knows the sum already.
    pub fn place(&self, bounds: &[u64], value: u64, count: u64) {
        let range = bounds.iter().position(|bound| value <= *bound).unwrap_or(N - 1);
        if let Some(place) = self.counts.get(range) {
            place.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What was added until now.
    pub fn read(&self) -> Reading<N> {
        Reading {
            counts: std::array::from_fn(|range| self.counts[range].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// A histogram at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading<const N: usize> {
    /// How many values there were in each range.
    pub counts: [u64; N],
    /// Of all values.
    pub sum: u64,
}

impl<const N: usize> Reading<N> {
    /// Both together.
    pub fn plus(&self, other: &Reading<N>) -> Reading<N> {
        Reading {
            counts: std::array::from_fn(|range| self.counts[range] + other.counts[range]),
            sum: self.sum.saturating_add(other.sum),
        }
    }

    /// How many values there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Copies of what many threads count in at once.
const SHARDS: usize = 8;

/// Something that every thread has a copy of, or shares with few others: so that they do not take a line of memory away from
/// each other for numbers that nobody reads meanwhile. Whoever reads adds the copies up.
#[derive(Debug)]
pub struct Sharded<T>(Box<[T]>);

impl<T> Sharded<T> {
    /// All copies, made one by one.
    pub fn new(make: impl Fn() -> T) -> Sharded<T> {
        Sharded((0..SHARDS).map(|_| make()).collect())
    }

    /// The copy of this thread.
    pub fn own(&self) -> &T {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        std::thread_local! {
            static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        &self.0[SHARD.with(|shard| *shard)]
    }

    /// All copies.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<T: Default> Default for Sharded<T> {
    fn default() -> Sharded<T> {
        Sharded::new(T::default)
    }
}

impl<const N: usize> Sharded<Histogram<N>> {
    /// What was added to all of them until now.
    pub fn read(&self) -> Reading<N> {
        let none = Reading {
            counts: [0; N],
            sum: 0,
        };
        self.all().fold(none, |all, one| all.plus(&one.read()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_within_it_and_one_beyond_all_is_in_the_last_range() {
        let histogram = Histogram::<3>::default();
        histogram.add(&[10, 20], 10, 1);
        histogram.add(&[10, 20], 11, 2);
        histogram.add(&[10, 20], 21, 1);
        let reading = histogram.read();
        assert_eq!(reading.counts, [1, 2, 1]);
        assert_eq!((reading.sum, reading.total()), (53, 4));
    }

    #[test]
    fn what_many_threads_count_adds_up() {
        let sharded = Sharded::<Histogram<2>>::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| sharded.own().add(&[10], 3, 2));
            }
        });
        let reading = sharded.read();
        assert_eq!((reading.counts, reading.sum), ([40, 0], 120));
    }
}
