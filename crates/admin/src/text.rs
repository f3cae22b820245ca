// SPDX-License-Identifier: Apache-2.0
//! Numbers and times as the reference prints them.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// `%.2f` and the like. The reference rounds the decimal digits it would print, halves away from zero; Rust rounds the
/// binary value.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return double(value);
    }
    let digits = format!("{value}");
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let cut = fraction.get(decimals..).unwrap_or_default();
    let kept = fraction.get(..decimals).unwrap_or(fraction);
    let mut out: Vec<u8> = format!("{whole}{kept:0<decimals$}").into_bytes();
    if cut.bytes().next().is_some_and(|digit| digit >= b'5') {
        let carried = out.iter_mut().rev().find_map(|digit| match digit {
            b'9' => {
                *digit = b'0';
                None
            }
            b'-' => Some(false),
            _ => {
                *digit += 1;
                Some(true)
            }
        });
        if carried != Some(true) {
            out.insert(usize::from(carried.is_some()), b'1');
        }
    }
    let mut out = String::from_utf8(out).unwrap_or_default();
    if decimals > 0 {
        out.insert(out.len() - decimals, '.');
    }
    out
}

/// As `Double.toString` writes it.
pub(crate) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

/// The first letters of a text.
pub(crate) fn front(text: &str, most: usize) -> &str {
    text.char_indices()
        .nth(most)
        .and_then(|(end, _)| text.get(..end))
        .unwrap_or(text)
}

/// `2025-01-31 13:45:07,042`, in the time zone of this machine.
pub(crate) fn time(ms: i64) -> String {
    let at = local(ms);
    format!("{},{:03}", at.strftime("%Y-%m-%d %H:%M:%S"), at.millisecond())
}

/// The same to the second, in the time zone of China, whichever this machine has.
pub(crate) fn china_time(ms: i64) -> String {
    let zone = TimeZone::fixed(jiff::tz::offset(8));
    let at = Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(zone);
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A moment in the time zone of this machine.
pub(crate) fn local(ms: i64) -> Zoned {
    Timestamp::from_millisecond(ms)
        .unwrap_or_default()
        .to_zoned(TimeZone::system())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_the_reference_rounds_them() {
        assert_eq!(fixed(0.125, 2), "0.13");
        assert_eq!(fixed(1.005, 2), "1.01");
        assert_eq!(fixed(9.999, 2), "10.00");
        assert_eq!(fixed(-9.999, 2), "-10.00");
        assert_eq!(fixed(0.0, 4), "0.0000");
        assert_eq!(fixed(2.5, 0), "3");
        assert_eq!(fixed(1e21, 1), "1000000000000000000000.0");
        assert_eq!(fixed(f64::NAN, 2), "NaN");
    }

    #[test]
    fn a_double_is_written_as_java_writes_it() {
        assert_eq!(double(0.0), "0.0");
        assert_eq!(double(12.5), "12.5");
        assert_eq!(double(1e7), "1.0E7");
        assert_eq!(double(1.234e-5), "1.234E-5");
        assert_eq!(double(-9_999_999.0), "-9999999.0");
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(front("grün", 3), "grü");
        assert_eq!(front("ab", 3), "ab");
    }
}
