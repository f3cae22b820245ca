// SPDX-License-Identifier: Apache-2.0
//! Chance that is the same in every run.

/// A row of numbers that follows from its seed.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The row of a seed; rows of neighbouring seeds have nothing in common.
    pub(crate) fn new(seed: u64) -> Dice {
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Dice((mixed ^ (mixed >> 27)).max(1))
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap_or(0) % limit
    }

    /// Another row that follows from this one.
    pub(crate) fn branch(&mut self) -> Dice {
        Dice::new(self.below(usize::MAX >> 20) as u64)
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub(crate) fn one<T: Copy + Default>(&mut self, all: &[T]) -> T {
        let at = self.below(all.len());
        all.get(at).copied().unwrap_or_default()
    }
}
