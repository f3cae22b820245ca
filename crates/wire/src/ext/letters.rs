// SPDX-License-Identifier: Apache-2.0
//! Headers whose field names are single letters, read without serde: those of sends, which are most of what a broker reads.
//!
//! Gives up (`None`) wherever a header is out of the ordinary. The typed reader then reads it again, and has the words for what is wrong with it.

use super::json::Field;
use super::{Ext, Raw};
use crate::Str;

/// Letters that are looked at: `a` to `n`.
const LETTERS: usize = 14;

/// The fields of a header, by their letter. Fields with other names are nobody's business.
pub(crate) struct Letters<'a>([Option<Text<'a>>; LETTERS]);

/// One value as it stands in the frame.
#[derive(Clone, Copy)]
enum Text<'a> {
    Plain(&'a [u8]),
    Escaped(&'a [u8]),
}

/// An integer of a header field.
pub(crate) trait Integer: TryFrom<i64> {}
impl Integer for i32 {}
impl Integer for i64 {}

impl<'a> Letters<'a> {
    pub(crate) fn of(ext: &'a Ext) -> Option<Letters<'a>> {
        match &ext.0 {
            Raw::Json { header, fields, .. } => Letters::in_json(header, fields),
            Raw::Binary(pairs) => Letters::in_binary(pairs),
            Raw::Absent | Raw::Built(_) => None,
        }
    }

    fn in_json(header: &'a [u8], fields: &[Field]) -> Option<Letters<'a>> {
        let mut found = Letters([None; LETTERS]);
        for field in fields {
            let value = field.value.bytes(header);
            if field.key.is_escaped() || field.value.is_bare() && value == b"null" {
                return None;
            }
            let value = if field.value.is_escaped() {
                Text::Escaped(value)
            } else {
                Text::Plain(value)
            };
            found.note(field.key.bytes(header), value)?;
        }
        Some(found)
    }

    fn in_binary(mut pairs: &'a [u8]) -> Option<Letters<'a>> {
        let mut found = Letters([None; LETTERS]);
        while let Some((key, value)) = super::next_raw(&mut pairs) {
            // May stand for null: the binary encoding has no other way to say it.
            if value.is_empty() {
                return None;
            }
            found.note(key, Text::Plain(value))?;
        }
        Some(found)
    }

    /// `None`: the field is there twice.
    fn note(&mut self, key: &[u8], value: Text<'a>) -> Option<()> {
        let [letter] = key else { return Some(()) };
        let Some(slot) = self.0.get_mut(usize::from(letter.wrapping_sub(b'a'))) else {
            return Some(());
        };
        slot.replace(value).is_none().then_some(())
    }

    fn get(&self, letter: u8) -> Option<Text<'a>> {
        *self.0.get(usize::from(letter.wrapping_sub(b'a')))?
    }

    /// A text that must be there.
    pub(crate) fn text(&self, letter: u8) -> Option<Str> {
        self.get(letter)?.text()
    }

    /// A number that must be there.
    pub(crate) fn number<T: Integer>(&self, letter: u8) -> Option<T> {
        self.get(letter)?.number()
    }

    /// A text that may be there.
    pub(crate) fn maybe_text(&self, letter: u8) -> Option<Option<Str>> {
        self.get(letter)
            .map_or(Some(None), |value| value.text().map(Some))
    }

    /// A number that may be there.
    pub(crate) fn maybe_number<T: Integer>(&self, letter: u8) -> Option<Option<T>> {
        self.get(letter)
            .map_or(Some(None), |value| value.number().map(Some))
    }

    /// A boolean that may be there.
    pub(crate) fn maybe_bool(&self, letter: u8) -> Option<Option<bool>> {
        self.get(letter)
            .map_or(Some(None), |value| value.bool().map(Some))
    }
}

impl Text<'_> {
    fn text(self) -> Option<Str> {
        match self {
            Text::Plain(bytes) => Str::from_utf8(bytes).ok(),
            Text::Escaped(bytes) => Some(crate::scan::unescape(bytes).into()),
        }
    }

    fn number<T: Integer>(self) -> Option<T> {
        let Text::Plain(bytes) = self else {
            return None;
        };
        let (is_negative, digits) = match bytes {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        // So many digits cannot overflow.
        if digits.is_empty() || digits.len() > 18 {
            return None;
        }
        let mut number = 0;
        for digit in digits {
            let digit = digit.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number = number * 10 + i64::from(digit);
        }
        T::try_from(if is_negative { -number } else { number }).ok()
    }

    fn bool(self) -> Option<bool> {
        let Text::Plain(bytes) = self else {
            return None;
        };
        Some(bytes.eq_ignore_ascii_case(b"true"))
    }
}
