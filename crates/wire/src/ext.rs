// SPDX-License-Identifier: Apache-2.0
//! The extension fields of a frame: text keys with text values, kept as the bytes they came in.
//!
//! A typed header is read straight from those bytes and written straight into new ones; no map is ever built. Values that
//! came as JSON numbers or booleans read as their text, nulls read as absent, an unknown field is nobody's business.

mod json;
pub(crate) mod letters;
pub(crate) mod object;
mod read;
mod write;

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use crate::Str;
use crate::scan::{Scan, SyntaxError, Token, put_string};
use json::{Field, Fields};
pub use read::ExtError;

/// The extension fields of one frame, undecoded.
#[derive(Clone, Default)]
pub struct Ext(Raw);

#[derive(Clone, Default)]
enum Raw {
    #[default]
    Absent,
    /// A header in JSON, where the object is in it, braces included, and where the fields are.
    Json {
        header: Bytes,
        object: Range<usize>,
        fields: Fields,
    },
    /// Checked binary pairs.
    Binary(Bytes),
    /// A JSON object this side wrote.
    Built(Vec<u8>),
}

impl Ext {
    /// Writes a typed header. `None` fields are left out; a header without fields gives `{}`, a unit struct gives nothing.
    ///
    /// A header type that is no flat struct or map of plain values is a bug of the caller: its odd fields are left out.
    pub fn of<T: Serialize>(header: &T) -> Ext {
        Ext(write::object(header).map_or(Raw::Absent, Raw::Built))
    }

    /// Reads a typed header.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ExtError> {
        read::header(self)
    }

    /// The value of a field; the last one if it occurs twice.
    pub fn get(&self, key: &str) -> Option<Str> {
        self.pairs()
            .filter(|(name, value)| name == key && !value.is_null())
            .last()
            .map(|(_, value)| Str::from(value.text()))
    }

    /// All fields with a value, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (Str, Str)> + '_ {
        self.pairs()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (Str::from(name), Str::from(value.text())))
    }

    /// Copies the fields out of the buffer they arrived in, which is kept no longer for their sake.
    pub fn detach(&mut self) {
        match &mut self.0 {
            Raw::Json { header: bytes, .. } | Raw::Binary(bytes) => *bytes = Bytes::copy_from_slice(bytes),
            Raw::Absent | Raw::Built(_) => {}
        }
    }

    /// The same fields and one more.
    #[must_use]
    pub fn with(self, key: &str, value: &str) -> Ext {
        let mut object = match self.0 {
            Raw::Built(object) => object,
            Raw::Absent => b"{}".to_vec(),
            _ => {
                let mut object = Vec::with_capacity(self.size_hint() + key.len() + value.len() + 8);
                self.put_json(&mut object);
                object
            }
        };
        object.pop();
        if object.last() != Some(&b'{') {
            object.push(b',');
        }
        put_string(&mut object, key);
        object.push(b':');
        put_string(&mut object, value);
        object.push(b'}');
        Ext(Raw::Built(object))
    }

    /// Whether there are no extension fields at all, as opposed to an empty set.
    pub fn is_absent(&self) -> bool {
        matches!(self.0, Raw::Absent)
    }

    /// Takes the object that is next in a header. It is gone through once: what is kept of it is well formed.
    pub(crate) fn take_json(scan: &mut Scan<'_>, header: &Bytes) -> Result<Ext, SyntaxError> {
        let start = scan.at();
        let fields = json::fields(scan)?;
        Ok(Ext(Raw::Json {
            header: header.clone(),
            object: start..scan.at(),
            fields,
        }))
    }

    pub(crate) fn from_binary(pairs: Bytes) -> Ext {
        Ext(Raw::Binary(pairs))
    }

    /// About how many bytes they take.
    pub fn size_hint(&self) -> usize {
        match &self.0 {
            Raw::Absent => 0,
            Raw::Json { object, .. } => object.len(),
            Raw::Binary(pairs) => pairs.len() + pairs.len() / 4,
            Raw::Built(object) => object.len(),
        }
    }

    /// Appends the fields as a JSON object; nothing when absent.
    pub(crate) fn put_json(&self, out: &mut impl BufMut) {
        match &self.0 {
            Raw::Absent => {}
            Raw::Json { header, object, .. } => out.put_slice(header.get(object.clone()).unwrap_or_default()),
            Raw::Built(object) => out.put_slice(object),
            Raw::Binary(_) => {
                let mut open = b'{';
                for (name, value) in self.pairs() {
                    out.put_u8(open);
                    put_string(out, &name);
                    out.put_u8(b':');
                    put_string(out, &value.text());
                    open = b',';
                }
                out.put_slice(if open == b'{' { b"{}" } else { b"}" });
            }
        }
    }

    /// Appends the fields as binary pairs. A key too long for its 16-bit length is left out.
    pub(crate) fn put_binary(&self, out: &mut BytesMut) {
        if let Raw::Binary(pairs) = &self.0 {
            out.put_slice(pairs);
            return;
        }
        for (name, value) in self.pairs().filter(|(_, value)| !value.is_null()) {
            let text = value.text();
            let (Ok(name_length), Ok(length)) = (i16::try_from(name.len()), i32::try_from(text.len())) else {
                continue;
            };
            out.put_i16(name_length);
            out.put_slice(name.as_bytes());
            out.put_i32(length);
            out.put_slice(text.as_bytes());
        }
    }

    fn pairs(&self) -> Pairs<'_> {
        match &self.0 {
            Raw::Absent => Pairs::Binary(&[]),
            Raw::Json { header, fields, .. } => Pairs::json(header, Cow::Borrowed(fields)),
            Raw::Built(object) => {
                let fields = std::str::from_utf8(object).map(|text| json::fields(&mut Scan::new(text)));
                let fields = fields.ok().and_then(Result::ok).unwrap_or_default();
                Pairs::json(object, Cow::Owned(fields.into_vec()))
            }
            Raw::Binary(pairs) => Pairs::Binary(pairs),
        }
    }
}

impl std::fmt::Debug for Ext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_absent() {
            return f.write_str("absent");
        }
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Walks binary pairs to their end.
pub(crate) fn check_binary(mut pairs: &[u8]) -> Result<(), SyntaxError> {
    let total = pairs.len();
    while !pairs.is_empty() {
        let at = total - pairs.len();
        next_raw(&mut pairs).ok_or(SyntaxError {
            what: "an extension field is cut",
            at,
        })?;
    }
    Ok(())
}

/// A value as it stands in the frame.
#[derive(Debug, Clone)]
enum Value<'a> {
    Json(&'a str, Token),
    Plain(Cow<'a, str>),
}

impl<'a> Value<'a> {
    fn is_null(&self) -> bool {
        matches!(self, Value::Json(text, token) if token.is_null(text))
    }

    fn text(self) -> Cow<'a, str> {
        match self {
            Value::Json(text, token) => token.text(text),
            Value::Plain(text) => text,
        }
    }
}

/// Goes through the fields, whatever they are encoded in.
enum Pairs<'a> {
    Json {
        text: &'a str,
        fields: Cow<'a, [Field]>,
        next: usize,
    },
    Binary(&'a [u8]),
}

impl<'a> Pairs<'a> {
    fn json(text: &'a [u8], fields: Cow<'a, [Field]>) -> Pairs<'a> {
        Pairs::Json {
            text: std::str::from_utf8(text).unwrap_or_default(),
            fields,
            next: 0,
        }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Pair<'a>> {
        match self {
            Pairs::Json { text, fields, next } => {
                let field = fields.get(*next)?;
                *next += 1;
                Some((field.key.text(text), Value::Json(text, field.value)))
            }
            Pairs::Binary(pairs) => next_binary(pairs),
        }
    }
}

type Pair<'a> = (Cow<'a, str>, Value<'a>);

fn next_binary<'a>(pairs: &mut &'a [u8]) -> Option<Pair<'a>> {
    let (key, value) = next_raw(pairs)?;
    Some((
        String::from_utf8_lossy(key),
        Value::Plain(String::from_utf8_lossy(value)),
    ))
}

fn next_raw<'a>(pairs: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (length, rest) = pairs.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_at_checked(usize::try_from(i16::from_be_bytes(*length)).ok()?)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)?;
    *pairs = rest;
    Some((key, value))
}
