// SPDX-License-Identifier: Apache-2.0
//! Where in the wheel a message goes: pure arithmetic, the reference's to the letter.
//!
//! Time is cut into ticks of the precision. A message that is to be delivered at `t` belongs to the last tick that begins
//! before `t`, and a tick fires when it is over: never early, at most one precision late.

/// The tick in front of a delivery time. An exact multiple of the precision belongs to the tick that ends there.
#[must_use]
pub fn tick_of(deliver_ms: i64, precision_ms: i64) -> i64 {
    let tick = floor(deliver_ms, precision_ms);
    if tick == deliver_ms {
        tick.saturating_sub(precision_ms)
    } else {
        tick
    }
}

/// The tick that a moment lies in.
pub(crate) fn floor(ms: i64, precision_ms: i64) -> i64 {
    ms.saturating_sub(ms.rem_euclid(precision_ms))
}

/// How far ahead the wheel is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) precision_ms: i64,
    /// In ticks.
    pub(crate) ticks: i64,
}

impl Window {
    fn ms(&self) -> i64 {
        self.ticks.saturating_mul(self.precision_ms)
    }
}

/// What becomes of a message that has been read from the timer topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its tick is over: it is delivered at once.
    Now,
    /// It waits in this tick.
    Tick(i64),
    /// It lies further ahead than the window. It waits in this tick and is then written to the timer topic anew.
    Roll(i64),
}

/// Places a message of the tick `out_ms`. Ticks before `write_ms` have fired or are firing; the clock says `now_ms`.
pub(crate) fn place(out_ms: i64, write_ms: i64, now_ms: i64, window: &Window) -> Place {
    if out_ms < write_ms {
        if out_ms.saturating_add(window.precision_ms) <= now_ms {
            return Place::Now;
        }
        // The clock was set back behind ticks that have fired. The next one that has not is later than asked for, but
        // delivering now would be early.
        return Place::Tick(write_ms);
    }
    let beyond = out_ms.saturating_sub(write_ms).saturating_sub(window.ms());
    if beyond < 0 {
        return Place::Tick(out_ms);
    }
    // Not so far that the rest would be too short for another turn.
    let step = if beyond < window.ticks / 3 * window.precision_ms {
        window.ticks / 2 * window.precision_ms
    } else {
        window.ms()
    };
    Place::Roll(write_ms.saturating_add(step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Window = Window {
        precision_ms: 1000,
        ticks: 172_800,
    };

    #[test]
    fn a_tick_ends_at_or_before_the_delivery_time_plus_one_precision() {
        assert_eq!(tick_of(5_999, 1000), 5_000);
        assert_eq!(tick_of(6_000, 1000), 5_000);
        assert_eq!(tick_of(6_001, 1000), 6_000);
        assert_eq!(tick_of(6_001, 1), 6_000);
    }

    #[test]
    fn a_message_beyond_the_window_waits_at_its_end_or_in_its_middle() {
        let day = 86_400_000;
        assert_eq!(place(2 * day - 1000, 0, 0, &WINDOW), Place::Tick(2 * day - 1000));
        assert_eq!(place(2 * day, 0, 0, &WINDOW), Place::Roll(day));
        assert_eq!(place(2 * day + 57_600_000, 0, 0, &WINDOW), Place::Roll(2 * day));
        assert_eq!(place(365 * day, 0, 0, &WINDOW), Place::Roll(2 * day));
    }

    #[test]
    fn a_clock_that_was_set_back_delivers_late_rather_than_early() {
        assert_eq!(place(5_000, 60_000, 6_000, &WINDOW), Place::Now);
        assert_eq!(place(5_000, 60_000, 5_500, &WINDOW), Place::Tick(60_000));
    }

    proptest! {
        #[test]
        fn nothing_fires_early_and_every_roll_comes_nearer(
            deliver in 1_i64..400 * 86_400_000, now in 0_i64..400 * 86_400_000,
            precision in prop::sample::select(vec![1_i64, 10, 100, 1000]), ticks in 2_i64..604_740,
        ) {
            let window = Window { precision_ms: precision, ticks };
            let (out, write) = (tick_of(deliver, precision), floor(now, precision));
            prop_assert!(out < deliver && out + precision >= deliver);
            match place(out, write, now, &window) {
                Place::Now => prop_assert!(deliver <= now),
                Place::Tick(at) => prop_assert!(at >= write && at == out),
                Place::Roll(at) => prop_assert!(at > write && at <= out && at - write <= ticks * precision),
            }
        }
    }
}
