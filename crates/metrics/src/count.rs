// SPDX-License-Identifier: Apache-2.0
//! Numbers that many threads add to. An addition is relaxed: nothing is ordered by it, and whoever reads gets what has
//! arrived by then.

use std::sync::atomic::{AtomicU64, Ordering};

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
    /// How many values there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
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
}
