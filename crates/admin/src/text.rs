// SPDX-License-Identifier: Apache-2.0
//! Numbers and times as the reference prints them.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use jiff::civil::DateTime;
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

/// The same text with everything escaped that a terminal takes for a command, or that makes it show letters in another order.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_command) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_command(letter) {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}

fn is_command(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
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

/// The same without milliseconds.
pub(crate) fn time_of_second(ms: i64) -> String {
    local(ms).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `20250131134507042`, in the time zone of this machine.
pub(crate) fn dense_time(ms: i64) -> String {
    let at = local(ms);
    format!("{}{:03}", at.strftime("%Y%m%d%H%M%S"), at.millisecond())
}

/// A moment as operators give it: milliseconds since 1970, or `yyyy-MM-dd#HH:mm:ss:SSS` in the time zone of this machine.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    if let Ok(ms) = text.parse() {
        return Some(ms);
    }
    let (date, clock) = text.split_once('#')?;
    let numbers =
        |text: &str, mark| -> Option<Vec<i16>> { text.split(mark).map(|part| part.parse().ok()).collect() };
    let [year, month, day] = numbers(date, '-')?[..] else {
        return None;
    };
    let [hour, minute, second, ms] = numbers(clock, ':')?[..] else {
        return None;
    };
    let small = |number: i16| i8::try_from(number).ok();
    let nanos = i32::from(ms).checked_mul(1_000_000)?;
    let at = DateTime::new(
        year,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        nanos,
    );
    let zoned = at.ok()?.to_zoned(TimeZone::system()).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

/// An address as the reference prints it: of the newer kind in full.
pub(crate) fn host(addr: SocketAddr) -> String {
    match addr.ip() {
        IpAddr::V4(_) => addr.to_string(),
        ip @ IpAddr::V6(_) => format!("[{}]:{}", self::ip(ip), addr.port()),
    }
}

/// The same without a port.
pub(crate) fn ip(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let parts: Vec<String> = ip.segments().iter().map(|part| format!("{part:x}")).collect();
            parts.join(":")
        }
    }
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
    fn a_time_is_read_as_operators_give_it() {
        assert_eq!(parse_time("1795306840000"), Some(1_795_306_840_000));
        let at = parse_time("2026-11-22#00:20:40:848").unwrap();
        assert_eq!(time(at), "2026-11-22 00:20:40,848");
        assert_eq!(
            parse_time("2026-1-2#3:4:5:6").map(dense_time).as_deref(),
            Some("20260102030405006")
        );
        for wrong in [
            "",
            "now",
            "2026-13-01#00:00:00:000",
            "2026-11-22 00:20:40",
            "2026-11-22#00:20",
        ] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_address_is_printed_in_full() {
        assert_eq!(host("127.0.0.1:80".parse().unwrap()), "127.0.0.1:80");
        assert_eq!(host("[::1]:80".parse().unwrap()), "[0:0:0:0:0:0:0:1]:80");
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(front("grün", 3), "grü");
        assert_eq!(front("ab", 3), "ab");
    }
}
