// SPDX-License-Identifier: Apache-2.0
//! The JSON tokens both the frame header and the fastjson reader are made of.
//!
//! A cursor over text that never copies: strings come back as the raw characters between the quotes and are unescaped only
//! when somebody asks. Control characters inside strings are accepted, as the reference accepts them.

use std::borrow::Cow;

use bytes::BufMut;

/// How deep values may nest; deeper input is refused rather than recursed into.
pub(crate) const DEPTH_MAX: usize = 64;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct SyntaxError {
    /// What was missing or wrong.
    pub what: &'static str,
    /// Byte offset into the text.
    pub at: usize,
}

/// The characters between two quotes, still escaped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quoted<'a> {
    pub(crate) raw: &'a str,
    pub(crate) escaped: bool,
}

impl<'a> Quoted<'a> {
    pub(crate) fn text(self) -> Cow<'a, str> {
        if self.escaped {
            Cow::Owned(unescape(self.raw))
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

/// A cursor over JSON text.
#[derive(Debug, Clone)]
pub(crate) struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// Where the block begins that `marks` is about.
    block: usize,
    /// One bit for each byte of the block that is a double quote or a backslash; bits before `at` may be gone.
    marks: u64,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(text: &'a str) -> Scan<'a> {
        Scan {
            text,
            at: 0,
            block: 0,
            marks: marks(text.as_bytes()),
        }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    pub(crate) fn error(&self, what: &'static str) -> SyntaxError {
        SyntaxError { what, at: self.at }
    }

    /// The next character that is not blank, left in place.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Takes the next character if it is `wanted`.
    #[inline]
    pub(crate) fn accept(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    #[inline]
    pub(crate) fn expect(&mut self, wanted: u8, what: &'static str) -> Result<(), SyntaxError> {
        if self.accept(wanted) {
            Ok(())
        } else {
            Err(self.error(what))
        }
    }

    /// A string in the quotes that are next: double, or single as fastjson allows.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Quoted<'a>, SyntaxError> {
        let quote = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => quote,
            _ => return Err(self.error("a string is expected")),
        };
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let (mut end, mut escaped) = (start, false);
        loop {
            end = if quote == b'"' {
                self.marked(end)
            } else {
                find(bytes, end, |b| b == quote || b == b'\\')
            };
            match bytes.get(end) {
                Some(b'\\') => {
                    escaped = true;
                    end += 2;
                }
                Some(_) => break,
                None => return Err(self.error("a string does not end")),
            }
        }
        self.at = end + 1;
        let raw = self.text.get(start..end).ok_or(SyntaxError {
            what: "a string is cut inside a character",
            at: start,
        })?;
        Ok(Quoted { raw, escaped })
    }

    /// Where the next double quote or backslash is, from `from` on; the length of the text if there is none.
    #[inline]
    fn marked(&mut self, from: usize) -> usize {
        loop {
            if from >= self.block + BLOCK {
                self.load(from);
            }
            while self.marks != 0 {
                let at = self.block + self.marks.trailing_zeros() as usize;
                if at >= from {
                    return at;
                }
                self.marks &= self.marks - 1;
            }
            if self.block + BLOCK >= self.text.len() {
                return self.text.len();
            }
            self.load(self.block + BLOCK);
        }
    }

    fn load(&mut self, at: usize) {
        self.block = at;
        self.marks = marks(self.text.as_bytes().get(at..).unwrap_or_default());
    }

    /// A token without quotes: a number, `true`, `false`, `null`, a bare key.
    pub(crate) fn bare(&mut self) -> Result<&'a str, SyntaxError> {
        self.peek();
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|byte| {
                matches!(
                    byte,
                    b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"' | b'\'' | b' ' | b'\t' | b'\n' | b'\r'
                )
            })
            .unwrap_or(rest.len());
        if length == 0 {
            return Err(self.error("a value is expected"));
        }
        self.at += length;
        Ok(self.since(start))
    }

    /// Takes any value and gives back its text.
    pub(crate) fn value(&mut self) -> Result<&'a str, SyntaxError> {
        self.peek();
        let start = self.at;
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => self.at += 1,
                Some(b'"' | b'\'') => {
                    self.string()?;
                }
                _ => {
                    self.bare()?;
                }
            }
            if depth == 0 {
                return Ok(self.since(start));
            }
            if depth > DEPTH_MAX {
                return Err(self.error("values nest too deep"));
            }
        }
    }
}

/// How many bytes are looked at together.
const BLOCK: usize = 64;

/// One bit for each of the first `BLOCK` bytes that is a double quote or a backslash.
///
/// Nearly all of a header is strings; finding their ends is most of the work of reading it. The comparison compiles to vector
/// instructions, the product gathers the low bits of eight bytes into one.
fn marks(bytes: &[u8]) -> u64 {
    let mut found = [0; BLOCK];
    match bytes.first_chunk::<BLOCK>() {
        Some(block) => found
            .iter_mut()
            .zip(block)
            .for_each(|(mark, byte)| *mark = u8::from(is_mark(*byte))),
        None => found
            .iter_mut()
            .zip(bytes)
            .for_each(|(mark, byte)| *mark = u8::from(is_mark(*byte))),
    }
    let words = found.as_chunks::<8>().0.iter().rev();
    words.fold(0, |marks, word| {
        marks << 8 | u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
}

fn is_mark(byte: u8) -> bool {
    byte == b'"' || byte == b'\\'
}

/// Where the first byte is, from `at` on, that is `wanted`; the length if there is none.
fn find(bytes: &[u8], at: usize, wanted: impl Fn(u8) -> bool) -> usize {
    bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|&byte| wanted(byte)))
        .map_or(bytes.len(), |found| at + found)
}

/// Resolves escapes. What is no valid escape stays as it is, without its backslash; half a surrogate pair becomes U+FFFD.
pub(crate) fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    loop {
        let at = find(rest.as_bytes(), 0, |byte| byte == b'\\');
        let Some((before, after)) = rest.split_at_checked(at) else {
            return out;
        };
        out.push_str(before);
        if after.is_empty() {
            return out;
        }
        let mut tail = after.chars();
        tail.next();
        match tail.next() {
            Some('u') => {
                let (character, taken) = unicode_escape(after);
                out.push(character);
                rest = after.get(taken..).unwrap_or_default();
                continue;
            }
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some(other) => out.push(other),
            None => {}
        }
        rest = tail.as_str();
    }
}

/// The character of `\uXXXX` (or of a surrogate pair) `text` begins with, and how many bytes it takes.
fn unicode_escape(text: &str) -> (char, usize) {
    let Some(first) = unit(text.as_bytes(), 0) else {
        return (char::REPLACEMENT_CHARACTER, 2);
    };
    if let Some(character) = char::from_u32(first) {
        return (character, 6);
    }
    match (first, unit(text.as_bytes(), 6)) {
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
    out.put_u8(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let at = find(bytes, from, |byte| byte < 0x20 || is_mark(byte));
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
