// SPDX-License-Identifier: Apache-2.0
//! What one message costs, and how far a figure may grow before it is an error.

/// A figure that has a ceiling.
pub(crate) struct Figure {
    /// Over its column.
    pub(crate) name: &'static str,
    /// Digits behind the point.
    pub(crate) digits: usize,
    /// A ceiling is so many times what was counted, and so much more.
    margin: (f64, f64),
}

/// The order of the figures in a [`Cost`].
///
/// Our own instructions are the same wherever they run, but for what a crate chooses by the abilities of the processor; those
/// in the C library are another release's on another machine. Allocations and system calls are exact, but for those of what
/// goes on beside requests; their margins are less than one of them in each request of 32 messages.
pub(crate) const FIGURES: [Figure; 4] = [
    Figure {
        name: "instructions",
        digits: 0,
        margin: (1.03, 1.0),
    },
    Figure {
        name: "in the C library",
        digits: 0,
        margin: (1.3, 5.0),
    },
    Figure {
        name: "allocations",
        digits: 3,
        margin: (1.002, 0.02),
    },
    Figure {
        name: "system calls",
        digits: 3,
        margin: (1.02, 0.01),
    },
];

/// Of one message: instructions of our own, instructions in the C library, allocations, system calls.
pub(crate) type Cost = [f64; FIGURES.len()];

impl Figure {
    /// The ceiling for something that was counted.
    pub(crate) fn ceiling(&self, counted: f64) -> f64 {
        let unit = 10_f64.powi(self.digits as i32);
        ((counted * self.margin.0 + self.margin.1) * unit).ceil() / unit
    }

    pub(crate) fn text(&self, value: f64) -> String {
        format!("{value:.*}", self.digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_is_a_little_above_what_was_counted_and_has_the_digits_of_its_figure() {
        let ceilings: Vec<f64> = FIGURES.iter().map(|figure| figure.ceiling(10.0001)).collect();
        assert_eq!(ceilings, [12.0, 19.0, 10.041, 10.211]);
    }

    #[test]
    fn one_more_allocation_or_system_call_in_a_request_of_32_messages_is_above_the_ceiling() {
        let [.., allocations, calls] = FIGURES;
        assert!(allocations.ceiling(2.0) < 2.0 + 1.0 / 32.0);
        assert!(calls.ceiling(4.0 / 32.0) < 5.0 / 32.0);
    }
}
