// SPDX-License-Identifier: Apache-2.0
//! What to remove, and when the disk counts as full: decided from numbers alone.

use crate::config::StoreConfig;

/// How things stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage<'a> {
    /// Last change of each log file, oldest file first.
    pub(crate) modified_ms: &'a [i64],
    pub(crate) now_ms: i64,
    /// Hour of the local day.
    pub(crate) hour: u8,
    pub(crate) used_percent: u64,
    /// Somebody asked for it.
    pub(crate) is_manual: bool,
}

/// Percent of the disk from which on appends are refused. Above 90 it is not believed, as in the reference.
pub(crate) fn full_above(config: &StoreConfig) -> u64 {
    config.disk_warning.clamp(35, 90)
}

pub(crate) fn local_hour(now_ms: i64, utc_offset_secs: i64) -> u8 {
    ((now_ms.div_euclid(1000) + utc_offset_secs).rem_euclid(86_400) / 3600) as u8
}

/// The reference's rule: expired files go at the hour, on request, or when the disk is fuller than `disk_used_max`; above
/// `disk_clean_forcibly` the oldest go even if they are not expired. Never the last file. Returns how many of the oldest go.
pub(crate) fn decide(config: &StoreConfig, usage: &Usage<'_>) -> usize {
    let is_full = usage.used_percent > full_above(config);
    let is_pressed = is_full || usage.used_percent > config.disk_clean_forcibly.clamp(30, 85);
    let is_time = usage.is_manual
        || config.delete_when.contains(&usage.hour)
        || usage.used_percent > config.disk_used_max
        || is_pressed;
    if !is_time {
        return 0;
    }
    let reserved_ms = i64::try_from(config.reserved.as_millis()).unwrap_or(i64::MAX);
    let removable = usage
        .modified_ms
        .len()
        .saturating_sub(1)
        .min(config.delete_batch_max);
    let oldest = usage.modified_ms.iter().take(removable);
    oldest
        .take_while(|modified| {
            (is_pressed && config.clean_forcibly) || usage.now_ms >= modified.saturating_add(reserved_ms)
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HOUR_MS: i64 = 3_600_000;

    fn removed(change: impl Fn(&mut StoreConfig, &mut Usage<'_>)) -> usize {
        let mut config = StoreConfig {
            reserved: Duration::from_secs(72 * 3600),
            ..StoreConfig::at("/")
        };
        let now_ms = 1000 * HOUR_MS;
        let modified_ms = [
            now_ms - 100 * HOUR_MS,
            now_ms - 73 * HOUR_MS,
            now_ms - 71 * HOUR_MS,
            now_ms,
        ];
        let mut usage = Usage {
            modified_ms: &modified_ms,
            now_ms,
            hour: 12,
            used_percent: 10,
            is_manual: false,
        };
        change(&mut config, &mut usage);
        decide(&config, &usage)
    }

    #[test]
    fn expired_files_go_at_the_hour_on_request_or_when_the_disk_fills_up() {
        assert_eq!(removed(|_, _| ()), 0);
        assert_eq!(removed(|_, usage| usage.hour = 4), 2);
        assert_eq!(removed(|_, usage| usage.is_manual = true), 2);
        assert_eq!(removed(|_, usage| usage.used_percent = 75), 0);
        assert_eq!(removed(|_, usage| usage.used_percent = 76), 2);
    }

    #[test]
    fn a_pressed_disk_loses_its_oldest_files_but_never_the_last() {
        assert_eq!(removed(|_, usage| usage.used_percent = 86), 3);
        assert_eq!(removed(|_, usage| usage.used_percent = 91), 3);
        let kept = removed(|config, usage| {
            usage.used_percent = 91;
            config.clean_forcibly = false;
        });
        assert_eq!(kept, 2);
        let few = removed(|config, usage| {
            usage.used_percent = 86;
            config.delete_batch_max = 1;
        });
        assert_eq!(few, 1);
    }

    #[test]
    fn limits_are_clamped_as_in_the_reference() {
        let full_above = |disk_warning| {
            super::full_above(&StoreConfig {
                disk_warning,
                ..StoreConfig::at("/")
            })
        };
        assert_eq!([99, 50, 1].map(full_above), [90, 50, 35]);
    }

    #[test]
    fn the_hour_is_local() {
        assert_eq!(local_hour(0, 0), 0);
        assert_eq!(local_hour(0, 8 * 3600), 8);
        assert_eq!(local_hour(0, -3600), 23);
        assert_eq!(local_hour(1_795_210_176_132, 0), 21);
    }
}
