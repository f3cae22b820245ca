// SPDX-License-Identifier: Apache-2.0
//! The JSON tokens both the frame header and the fastjson reader are made of.
//!
//! A cursor over text that never copies: strings come back as the raw characters between the quotes and are unescaped only
//! when somebody asks. Control characters inside strings are accepted, as the reference accepts them.

mod escape;

use std::borrow::Cow;

pub(crate) use escape::{put_integer, put_string, unescape};

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
            Cow::Owned(unescape(self.raw.as_bytes()))
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

/// Where a string (without its quotes) or another value stands in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    start: u32,
    end: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Escaped,
    Bare,
}

impl Token {
    /// Texts are shorter than 2^32 bytes, so the places fit.
    #[inline]
    fn new(start: usize, end: usize, kind: Kind) -> Token {
        Token {
            start: start as u32,
            end: end as u32,
            kind,
        }
    }

    /// The characters of the token in the text it was found in.
    #[inline]
    pub(crate) fn raw<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    #[inline]
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let raw = self.raw(text);
        if self.kind == Kind::Escaped {
            Cow::Owned(unescape(raw.as_bytes()))
        } else {
            Cow::Borrowed(raw)
        }
    }

    /// The same in the bytes of that text.
    #[inline]
    pub(crate) fn bytes<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// Whether [`Token::raw`] is not the text itself.
    #[inline]
    pub(crate) fn is_escaped(&self) -> bool {
        self.kind == Kind::Escaped
    }

    /// Whether there are no quotes around it.
    #[inline]
    pub(crate) fn is_bare(&self) -> bool {
        self.kind == Kind::Bare
    }

    pub(crate) fn is_null(&self, text: &str) -> bool {
        self.kind == Kind::Bare && self.raw(text) == "null"
    }
}

/// A cursor over JSON text.
#[derive(Debug, Clone)]
pub(crate) struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// Where the next backslash is.
    backslash: usize,
}

impl<'a> Scan<'a> {
    /// A text of 4 GiB or more reads as empty.
    pub(crate) fn new(text: &'a str) -> Scan<'a> {
        let text = if u32::try_from(text.len()).is_ok() {
            text
        } else {
            ""
        };
        Scan {
            text,
            at: 0,
            backslash: find(text.as_bytes(), 0, b'\\'),
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
        let found = match self.ahead(0) {
            Some(byte) if byte > b' ' => byte == wanted,
            _ => self.peek() == Some(wanted),
        };
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

    /// Takes `literal` if it is next, blanks not passed over.
    #[inline]
    pub(crate) fn take<const N: usize>(&mut self, literal: &[u8; N]) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let found = rest.first_chunk::<N>() == Some(literal);
        self.at += if found { N } else { 0 };
        found
    }

    /// The byte `ahead` of the cursor.
    #[inline]
    pub(crate) fn ahead(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    /// A plain integer, if the value that is next is one.
    #[inline]
    pub(crate) fn integer(&mut self) -> Option<i32> {
        let negative = self.ahead(0) == Some(b'-');
        let start = self.at + usize::from(negative);
        let (mut at, mut value) = (start, 0i64);
        let bytes = self.text.as_bytes();
        while let Some(digit) = bytes
            .get(at)
            .map(|byte| byte.wrapping_sub(b'0'))
            .filter(|digit| *digit < 10)
        {
            value = value * 10 + i64::from(digit);
            at += 1;
            if at > start + 10 {
                return None;
            }
        }
        if at == start || !matches!(bytes.get(at), Some(b',' | b'}')) {
            return None;
        }
        let value = i32::try_from(if negative { -value } else { value }).ok()?;
        self.at = at;
        Some(value)
    }

    /// Two strings with a colon between them, if that is next without a blank: what nearly all of a header is.
    #[inline]
    pub(crate) fn plain_pair(&mut self) -> Option<(Token, Token)> {
        let bytes = self.text.as_bytes();
        if self.ahead(0) != Some(b'"') {
            return None;
        }
        let key = self.at + 1;
        // Those of a send are single letters.
        let key_end = match bytes.get(key + 1) {
            Some(b'"') if bytes.get(key) != Some(&b'"') => key + 1,
            _ => find_near(bytes, key, b'"'),
        };
        let value = key_end + 3;
        if bytes.get(key_end..value) != Some(b"\":\"") {
            return None;
        }
        let value_end = find_near(bytes, value, b'"');
        if value_end >= bytes.len() || self.backslash < key_end {
            return None;
        }
        let key = Token::new(key, key_end, Kind::Plain);
        if self.backslash < value_end {
            self.at = value - 1;
            return Some((key, self.escaped(value_end, b'"').ok()?));
        }
        self.at = value_end + 1;
        Some((key, Token::new(value, value_end, Kind::Plain)))
    }

    /// A string in the quotes that are next: double, or single as fastjson allows.
    #[inline(never)]
    pub(crate) fn string(&mut self) -> Result<Quoted<'a>, SyntaxError> {
        let token = self.string_token()?;
        Ok(Quoted {
            raw: token.raw(self.text),
            escaped: token.kind == Kind::Escaped,
        })
    }

    /// Any value: a string without its quotes, anything else as it is written.
    #[inline]
    pub(crate) fn value_token(&mut self) -> Result<Token, SyntaxError> {
        if let Some(b'"' | b'\'') = self.peek() {
            return self.string_token();
        }
        let start = self.at;
        self.value()?;
        Ok(Token::new(start, self.at, Kind::Bare))
    }

    #[inline]
    pub(crate) fn string_token(&mut self) -> Result<Token, SyntaxError> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return self.odd_string();
        }
        let end = find_near(bytes, self.at + 1, b'"');
        if self.backslash < end {
            return self.escaped(end, b'"');
        }
        self.until(end, Kind::Plain)
    }

    /// A string after blanks or in single quotes.
    #[inline(never)]
    fn odd_string(&mut self) -> Result<Token, SyntaxError> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => {
                let end = find(self.text.as_bytes(), self.at + 1, quote);
                self.escaped(end, quote)
            }
            _ => Err(self.error("a string is expected")),
        }
    }

    /// The string that ends at `end` or, if the quote there is escaped, at a later one.
    #[inline(never)]
    fn escaped(&mut self, mut end: usize, quote: u8) -> Result<Token, SyntaxError> {
        let bytes = self.text.as_bytes();
        let is_escaped = |end: usize| {
            let before = bytes.get(self.at + 1..end).unwrap_or_default();
            end < bytes.len() && before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
        };
        while is_escaped(end) {
            end = find(bytes, end + 1, quote);
        }
        let kind = if self.backslash < end {
            Kind::Escaped
        } else {
            Kind::Plain
        };
        self.backslash = find(bytes, end, b'\\');
        self.until(end, kind)
    }

    /// The string that ends before the quote at `end`.
    #[inline]
    fn until(&mut self, end: usize, kind: Kind) -> Result<Token, SyntaxError> {
        if end >= self.text.len() {
            return Err(self.error("a string does not end"));
        }
        let token = Token::new(self.at + 1, end, kind);
        self.at = end + 1;
        Ok(token)
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

pub(super) const LOW_BITS: u64 = 0x0101_0101_0101_0101;
pub(super) const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte of `word` that equals `byte`. Of the other bits, those below the first such byte are clear.
#[inline]
pub(super) fn equal(word: u64, byte: u8) -> u64 {
    let zero = word ^ (LOW_BITS * u64::from(byte));
    zero.wrapping_sub(LOW_BITS) & !zero
}

/// Where the next `wanted` is, from `at` on; the length if there is none.
fn find(bytes: &[u8], at: usize, wanted: u8) -> usize {
    bytes
        .get(at..)
        .and_then(|rest| memchr::memchr(wanted, rest))
        .map_or(bytes.len(), |found| at + found)
}

/// `find` for what is expected to be near: the first bytes are compared eight at a time here in the loop, which is faster than
/// calling a vector search for the short strings most of a header is.
#[inline]
pub(crate) fn find_near(bytes: &[u8], at: usize, wanted: u8) -> usize {
    const NEAR: usize = 3;
    let mut at = at;
    if let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let found = equal(u64::from_le_bytes(*word), wanted) & HIGH_BITS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    for word in bytes
        .get(at..)
        .unwrap_or_default()
        .as_chunks::<8>()
        .0
        .iter()
        .take(NEAR)
    {
        let found = equal(u64::from_le_bytes(*word), wanted) & HIGH_BITS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    find(bytes, at, wanted)
}
