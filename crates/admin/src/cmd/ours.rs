// SPDX-License-Identifier: Apache-2.0
//! Commands that the reference does not have. They print tables, or data with `--output`.

pub(super) mod changes;
pub(super) mod dlq;
pub(super) mod doctor;
pub(super) mod explain;
pub(super) mod tail;
pub(super) mod timers;
pub(super) mod transactions;

use wire::Str;
use wire::code::ResponseCode;

use super::lookup;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::Args;

/// The masters a command is meant for, with their names: that of `-b`, those of the cluster of `-c`, or all.
async fn masters(ctx: &Ctx, args: &Args) -> Result<Vec<(Str, Str)>, Failure> {
    if let Some(addr) = args.get("b") {
        return Ok(vec![(addr.into(), addr.into())]);
    }
    let clusters = lookup::clusters(ctx).await?;
    let wanted: Option<Vec<&Str>> = match args.get("c") {
        Some(cluster) => Some(lookup::broker_names(&clusters, cluster)?),
        None => None,
    };
    let brokers = clusters.broker_addr_table.iter();
    let brokers = brokers.filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(name)));
    let masters: Vec<(Str, Str)> = brokers
        .filter_map(|(name, replicas)| Some((name.clone(), lookup::master_addr(replicas)?.clone())))
        .collect();
    if masters.is_empty() {
        return Err(Failure::Other("the name server knows no master".to_owned()));
    }
    Ok(masters)
}

/// Whether a broker does not know requests that only ours know.
fn is_of_reference(failure: &Failure) -> bool {
    failure.response_code() == Some(ResponseCode::REQUEST_CODE_NOT_SUPPORTED)
}

/// A span of time for people: the two largest units of it.
fn span(ms: i64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if seconds.abs() < 60 {
        format!("{seconds}s")
    } else if minutes.abs() < 60 {
        format!("{minutes}m{}s", (seconds % 60).abs())
    } else if hours.abs() < 24 {
        format!("{hours}h{}m", (minutes % 60).abs())
    } else {
        format!("{days}d{}h", (hours % 24).abs())
    }
}

/// A span of time as people write it: `90s`, `10m`, `2h`, `7d`. In ms.
fn parse_span(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds * 1000).filter(|ms| *ms >= 0)
}

/// What fits into a line of a table.
fn shortened(text: &str, most: usize) -> String {
    let shown: String = text
        .chars()
        .flat_map(char::escape_debug)
        .take(most.saturating_add(1))
        .collect();
    if shown.chars().count() > most {
        let cut: String = shown.chars().take(most).collect();
        return format!("{cut}…");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_shown_in_their_largest_units() {
        assert_eq!(parse_span("10m"), Some(600_000));
        assert_eq!(parse_span("7d"), Some(7 * 86_400_000));
        for wrong in ["", "10", "m", "-1h", "1w", "9999999999999999999d"] {
            assert_eq!(parse_span(wrong), None, "{wrong}");
        }
        assert_eq!(span(59_999), "59s");
        assert_eq!(span(90_000), "1m30s");
        assert_eq!(span(3_700_000), "1h1m");
        assert_eq!(span(90_000_000), "1d1h");
    }

    #[test]
    fn a_body_stays_on_its_line() {
        assert_eq!(shortened("a\nb", 10), "a\\nb");
        assert_eq!(shortened("abcdef", 3), "abc…");
    }
}
