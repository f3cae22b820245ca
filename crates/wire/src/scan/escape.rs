// SPDX-License-Identifier: Apache-2.0
//! Strings and numbers into JSON, and escapes out of it.

use bytes::BufMut;

use super::{HIGH_BITS, LOW_BITS, equal};

/// Resolves escapes in what is UTF-8. What is no valid escape stays as it is, without its backslash; half a surrogate pair
/// becomes U+FFFD.
pub(crate) fn unescape(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    loop {
        let plain = put_plain(&mut out, rest);
        let Some(escape) = rest.get(plain..).filter(|escape| !escape.is_empty()) else {
            break;
        };
        if let Some(control) = control_escape(escape) {
            out.push(control);
            rest = escape.get(6..).unwrap_or_default();
            continue;
        }
        let (character, taken) = match escape.get(1) {
            Some(b'u') => unicode_escape(escape),
            Some(b'n') => ('\n', 2),
            Some(b't') => ('\t', 2),
            Some(b'r') => ('\r', 2),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'\\') => ('\\', 2),
            // The backslash goes, and what follows it is plain text.
            Some(_) => {
                rest = escape.get(1..).unwrap_or_default();
                continue;
            }
            None => break,
        };
        if character.is_ascii() {
            out.push(character as u8);
        } else {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        rest = escape.get(taken..).unwrap_or_default();
    }
    String::from_utf8(out).unwrap_or_default()
}

/// The byte of a `\u0000` to `\u001f` a text begins with; these separate properties, so they come many at a time.
#[inline]
fn control_escape(bytes: &[u8]) -> Option<u8> {
    let (escape, _) = bytes.split_first_chunk::<6>()?;
    let [b'\\', b'u', b'0', b'0', high @ (b'0' | b'1'), low] = escape else {
        return None;
    };
    let low = match low {
        b'0'..=b'9' => low - b'0',
        b'a'..=b'f' => low - b'a' + 10,
        _ => return None,
    };
    Some((high - b'0') << 4 | low)
}

/// Appends what stands before the first backslash and says how much it is. Properties are full of escapes with few bytes
/// between them, so the bytes are copied while they are looked at.
fn put_plain(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let start = out.len();
    for word in words {
        out.extend_from_slice(word);
        let found = equal(u64::from_le_bytes(*word), b'\\') & HIGH_BITS;
        if found != 0 {
            out.truncate(out.len() - 8 + (found.trailing_zeros() / 8) as usize);
            return out.len() - start;
        }
    }
    let last = rest.iter().position(|byte| *byte == b'\\').unwrap_or(rest.len());
    out.extend_from_slice(rest.get(..last).unwrap_or_default());
    out.len() - start
}

/// The character of `\uXXXX` (or of a surrogate pair) `text` begins with, and how many bytes it takes.
fn unicode_escape(text: &[u8]) -> (char, usize) {
    let Some(first) = unit(text, 0) else {
        return (char::REPLACEMENT_CHARACTER, 2);
    };
    if let Some(character) = char::from_u32(first) {
        return (character, 6);
    }
    match (first, unit(text, 6)) {
        (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
            let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        _ => (char::REPLACEMENT_CHARACTER, 6),
    }
}

/// The UTF-16 unit of the `\uXXXX` at `at`.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    let (escape, _) = bytes.get(at..)?.split_first_chunk::<6>()?;
    let [b'\\', b'u', digits @ ..] = escape else {
        return None;
    };
    digits.iter().try_fold(0, |unit, &digit| {
        Some(unit << 4 | char::from(digit).to_digit(16)?)
    })
}

/// Writes `text` with its quotes, escaping what JSON requires and nothing else.
pub(crate) fn put_string(out: &mut impl BufMut, text: &str) {
    let bytes = text.as_bytes();
    out.put_u8(b'"');
    let mut from = 0;
    loop {
        let at = find_special(bytes, from);
        out.put_slice(bytes.get(from..at).unwrap_or_default());
        let Some(&byte) = bytes.get(at) else { break };
        from = at + 1;
        match byte {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            8 => out.put_slice(b"\\b"),
            12 => out.put_slice(b"\\f"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.put_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[usize::from(byte >> 4)],
                    HEX[usize::from(byte & 15)],
                ]);
            }
        }
    }
    out.put_u8(b'"');
}

/// Writes a number.
pub(crate) fn put_integer(out: &mut impl BufMut, number: i64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.put_slice(&digits[at..]);
}

/// `equal` for bytes below 0x20.
#[inline]
fn control(word: u64) -> u64 {
    word.wrapping_sub(LOW_BITS * 0x20) & !word
}

/// Where the next byte is, from `at` on, that JSON must escape; the length if there is none.
#[inline]
fn find_special(bytes: &[u8], mut at: usize) -> usize {
    let special = |word: u64| (equal(word, b'"') | equal(word, b'\\') | control(word)) & HIGH_BITS;
    let (words, rest) = bytes.get(at..).unwrap_or_default().as_chunks::<8>();
    for word in words {
        let found = special(u64::from_le_bytes(*word));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let mut last = [b' '; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    at + rest
        .len()
        .min((special(u64::from_le_bytes(last)).trailing_zeros() / 8) as usize)
}
