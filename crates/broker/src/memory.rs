// SPDX-License-Identifier: Apache-2.0
//! How much memory this host has: messages farther behind the end of the log than a part of it count as being on disk.

use std::sync::OnceLock;

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
    fn the_total_is_read_in_bytes() {
        assert_eq!(parse("MemFree: 7 kB\nMemTotal:       16 kB\n"), Some(16 * 1024));
        assert_eq!(parse("MemFree: 7 kB\n"), None);
    }
}
