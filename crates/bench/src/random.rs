// SPDX-License-Identifier: Apache-2.0
//! Numbers that look random and repeat with their seed, so that a run can be repeated and a body can be checked by
//! whoever knows the seed (splitmix64).

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// With mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        // 53 bits above zero and up to one, so that the logarithm is finite.
        let uniform = ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -uniform.ln()
    }
}

/// The number at a place of a seed's table, without the ones before it.
pub(crate) fn at(seed: u64, place: u64) -> u64 {
    mix(seed ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
