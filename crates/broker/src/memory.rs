// SPDX-License-Identifier: Apache-2.0
//! How much memory this host has: messages farther behind the end of the log than a part of it count as being on disk, and
//! connections may hold a part of it.

use std::sync::OnceLock;

const CONNECTIONS_MIN: i64 = 256 << 20;
const CONNECTIONS_MAX: i64 = 1 << 30;

/// Bytes that all connections may hold, by the setting for it.
pub(crate) fn for_connections(setting: u64) -> usize {
    let bytes = match setting {
        0 => of_host(total_bytes()),
        set => set,
    };
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn of_host(total: Option<i64>) -> u64 {
    let part = total.map_or(CONNECTIONS_MAX, |total| total / 4);
    part.clamp(CONNECTIONS_MIN, CONNECTIONS_MAX).unsigned_abs()
}

/// Bytes of memory of the host; `None` where it does not say. Read once: it does not change.
pub(crate) fn total_bytes() -> Option<i64> {
    static TOTAL: OnceLock<Option<i64>> = OnceLock::new();
    *TOTAL.get_or_init(|| parse(&std::fs::read_to_string("/proc/meminfo").ok()?))
}

fn parse(meminfo: &str) -> Option<i64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<i64>()
        .ok()?
        .checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_may_hold_a_part_of_the_memory_within_bounds() {
        let of_mib = |mib: i64| of_host(Some(mib << 20)) >> 20;
        assert_eq!([512, 2048, 65_536].map(of_mib), [256, 512, 1024]);
        assert_eq!(for_connections(7), 7);
    }

    #[test]
    fn the_total_is_read_in_bytes() {
        assert_eq!(parse("MemFree: 7 kB\nMemTotal:       16 kB\n"), Some(16 * 1024));
        assert_eq!(parse("MemFree: 7 kB\n"), None);
    }
}
