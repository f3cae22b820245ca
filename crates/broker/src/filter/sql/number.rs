// SPDX-License-Identifier: Apache-2.0
//! Numbers in the values of properties, read as Java reads them: `Integer.valueOf`, `Long.valueOf`, `Double.valueOf`.
//! What Java takes and Rust does not: digits of other scripts in whole numbers; blanks around, a type letter behind, and
//! hexadecimal digits in others.

/// The zeros of all scripts whose digits Java counts with, as far as they take one UTF-16 unit; nine digits follow each.
const ZEROS: [u16; 37] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50,
    0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40,
    0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
];

/// `Integer.valueOf`.
pub(super) fn int(text: &str) -> Option<i32> {
    long(text).and_then(|number| number.try_into().ok())
}

/// `Long.valueOf`.
pub(super) fn long(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    // Downwards, because there is one more negative number.
    let below_zero = digits.chars().try_fold(0_i64, |number, c| {
        number.checked_mul(10)?.checked_sub(i64::from(digit(c)?))
    })?;
    if is_negative {
        Some(below_zero)
    } else {
        below_zero.checked_neg()
    }
}

fn digit(c: char) -> Option<u16> {
    let unit = u16::try_from(u32::from(c)).ok()?;
    let zero = ZEROS[..ZEROS.partition_point(|zero| *zero <= unit)].last()?;
    Some(unit - zero).filter(|value| *value < 10)
}

/// `Double.valueOf`.
pub(super) fn double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c| c <= ' ');
    let (is_negative, size) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let number = match size {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        _ => {
            let digits = size.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(size);
            match size.strip_prefix("0x").or_else(|| size.strip_prefix("0X")) {
                Some(_) => hexadecimal(digits.get(2..)?)?,
                None => decimal(digits)?,
            }
        }
    };
    Some(if is_negative { -number } else { number })
}

fn decimal(text: &str) -> Option<f64> {
    let (digits, exponent) = split_exponent(text, ['e', 'E']);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_valid = is_number(whole)
        && is_number(part)
        && !(whole.is_empty() && part.is_empty())
        && exponent.is_none_or(is_exponent);
    if is_valid { text.parse().ok() } else { None }
}

/// Digits with a binary exponent, which must be there: `1.8p-3`.
fn hexadecimal(text: &str) -> Option<f64> {
    let (digits, exponent) = split_exponent(text, ['p', 'P']);
    let exponent = exponent.filter(|exponent| is_exponent(exponent))?;
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_number(whole) || !is_number(part) || (whole.is_empty() && part.is_empty()) {
        return None;
    }
    // Beyond any number of digits there can be, so that the sums below stay small.
    let exponent = exponent.parse::<i64>().unwrap_or(if exponent.starts_with('-') {
        -(1 << 40)
    } else {
        1 << 40
    });
    let mut binary = exponent.clamp(-(1 << 40), 1 << 40) - 4 * part.len() as i64;
    let (mut mantissa, mut is_more) = (0_u64, false);
    for value in whole.chars().chain(part.chars()).filter_map(|c| c.to_digit(16)) {
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(value);
        } else {
            is_more |= value != 0;
            binary += 4;
        }
    }
    Some(scaled(mantissa, is_more, binary))
}

fn split_exponent(text: &str, marks: [char; 2]) -> (&str, Option<&str>) {
    match text.find(marks) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn is_exponent(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `mantissa · 2^binary`, rounded to the nearest double, and to the even one of two. `is_more`: the true value is a little
/// above that.
fn scaled(mantissa: u64, is_more: bool, binary: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let zeros = mantissa.leading_zeros();
    let mantissa = mantissa << zeros;
    let exponent = binary - i64::from(zeros) + 63;
    if exponent > 1023 {
        return f64::INFINITY;
    }
    // 53 bits are kept; of a number below the normal ones, fewer.
    let lost = 11 + (-1022 - exponent).max(0);
    if lost > 64 {
        return 0.0;
    }
    let (kept, rest) = if lost == 64 {
        (0, mantissa)
    } else {
        (mantissa >> lost, mantissa << (64 - lost))
    };
    let half = 1 << 63;
    let is_up = rest > half || (rest == half && (is_more || kept & 1 == 1));
    // A carry out of the mantissa goes into the exponent, which is what rounding up means there too.
    let biased = u64::try_from((exponent + 1022).max(0)).unwrap_or(0);
    f64::from_bits((biased << 52) + kept + u64::from(is_up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_as_java_reads_them() {
        assert_eq!(int("2147483647"), Some(i32::MAX));
        assert_eq!(int("-2147483648"), Some(i32::MIN));
        assert_eq!(int("2147483648"), None);
        assert_eq!(long("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(long("9223372036854775808"), None);
        assert_eq!(int("+007"), Some(7));
        assert_eq!(int("٤２"), Some(42));
        for text in ["", "+", "-", "5.0", " 5", "5L", "0x5", "1_000", "𝟓", "½"] {
            assert_eq!(long(text), None, "{text}");
        }
    }

    #[test]
    fn other_numbers_are_read_as_java_reads_them() {
        let table = [
            ("5", 5.0),
            ("5.", 5.0),
            (".5", 0.5),
            ("\t 5e3 ", 5000.0),
            ("1d", 1.0),
            ("-1.5F", -1.5),
            ("1e400", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("0x10p0", 16.0),
            ("0x.8P1d", 1.0),
            ("0x1.p-3", 0.125),
            ("0x1p2000", f64::INFINITY),
            ("0x1p-2000", 0.0),
            ("0x0p99999999999999999999", 0.0),
            ("0x1p-1074", 4.9e-324),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", 4.9e-324),
            ("0x1.fffffffffffffp-1023", f64::MIN_POSITIVE),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x1.fffffffffffff8p1023", f64::INFINITY),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000001p0", 1.0 + f64::EPSILON),
            ("0x1.00000000000018p0", 1.0 + 2.0 * f64::EPSILON),
        ];
        for (text, number) in table {
            assert_eq!(double(text), Some(number), "{text}");
        }
        assert!(double("-NaN").is_some_and(f64::is_nan));
        for text in [
            "", " ", ".", "e5", "1e", "1e+", "1ff", "nan", "inf", "infinity", "0x1", "0xp1", "0x.p1",
        ] {
            assert_eq!(double(text), None, "{text}");
        }
    }
}
