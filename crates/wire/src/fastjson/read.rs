// SPDX-License-Identifier: Apache-2.0
//! The tolerant reader: a serde deserializer over the dialect.

use std::borrow::Cow;

use serde::de::value::StrDeserializer;
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, Visitor};

use crate::scan::{DEPTH_MAX, Scan, SyntaxError};

/// Why a text is not the value that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} near byte {at}")]
pub struct JsonError {
    message: String,
    at: usize,
}

impl de::Error for JsonError {
    fn custom<T: std::fmt::Display>(message: T) -> JsonError {
        JsonError {
            message: message.to_string(),
            at: 0,
        }
    }
}

impl From<SyntaxError> for JsonError {
    fn from(error: SyntaxError) -> JsonError {
        JsonError {
            message: error.what.to_owned(),
            at: error.at,
        }
    }
}

/// Reads a value from UTF-8 text; nothing but blanks may follow it.
pub fn from_slice<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, JsonError> {
    let text = std::str::from_utf8(text).map_err(|error| JsonError {
        message: "the text is not UTF-8".to_owned(),
        at: error.valid_up_to(),
    })?;
    from_str(text)
}

/// Reads a value from text; nothing but blanks may follow it.
pub fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, JsonError> {
    let mut reader = Reader {
        scan: Scan::new(text),
        depth: 0,
    };
    let value = T::deserialize(&mut reader).map_err(|error| reader.locate(error))?;
    match reader.scan.peek() {
        None => Ok(value),
        Some(_) => Err(reader.scan.error("the text goes on after its value").into()),
    }
}

/// Whether bytes are a value, whatever it says.
pub fn check(text: &[u8]) -> Result<(), JsonError> {
    from_slice::<serde_json::Value>(text).map(drop)
}

struct Reader<'de> {
    scan: Scan<'de>,
    depth: usize,
}

/// A value without structure.
enum Scalar<'de> {
    Text(Cow<'de, str>),
    Bare(&'de str),
}

impl Scalar<'_> {
    fn as_str(&self) -> &str {
        match self {
            Scalar::Text(text) => text,
            Scalar::Bare(text) => text,
        }
    }
}

impl<'de> Reader<'de> {
    fn locate(&self, error: JsonError) -> JsonError {
        if error.at == 0 {
            JsonError {
                at: self.scan.at(),
                ..error
            }
        } else {
            error
        }
    }

    fn scalar(&mut self) -> Result<Scalar<'de>, JsonError> {
        match self.scan.peek() {
            Some(b'"' | b'\'') => Ok(Scalar::Text(self.scan.string()?.text())),
            Some(b'{' | b'[') => Err(self.scan.error("a plain value is expected").into()),
            _ => Ok(Scalar::Bare(self.scan.bare()?)),
        }
    }

    /// An integer, also in quotes or with a fraction of zero.
    fn integer(&mut self) -> Result<i128, JsonError> {
        let wrong = self.scan.error("an integer is expected");
        let scalar = self.scalar()?;
        let text = scalar.as_str();
        let whole = text
            .split_once('.')
            .filter(|(_, fraction)| fraction.bytes().all(|b| b == b'0'));
        whole
            .map_or(text, |(whole, _)| whole)
            .parse()
            .map_err(|_| wrong.into())
    }

    /// Takes null if it is next.
    fn null(&mut self) -> bool {
        if self.scan.peek() != Some(b'n') {
            return false;
        }
        let mut ahead = self.scan.clone();
        let null = ahead.bare() == Ok("null");
        if null {
            self.scan = ahead;
        }
        null
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, JsonError>) -> Result<T, JsonError> {
        if self.depth >= DEPTH_MAX {
            return Err(self.scan.error("values nest too deep").into());
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }
}

macro_rules! integers {
    ($($method:ident $type:ty, $visit:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            let wrong = self.scan.error("an integer does not fit");
            let integer = self.integer()?;
            visitor.$visit(<$type>::try_from(integer).map_err(|_| wrong)?)
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = JsonError;

    integers! {
        deserialize_i8 i8, visit_i8;
        deserialize_i16 i16, visit_i16;
        deserialize_i32 i32, visit_i32;
        deserialize_i64 i64, visit_i64;
        deserialize_u8 u8, visit_u8;
        deserialize_u16 u16, visit_u16;
        deserialize_u32 u32, visit_u32;
        deserialize_u64 u64, visit_u64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scan.peek() {
            Some(b'{') => self.deserialize_map(visitor),
            Some(b'[') => self.deserialize_seq(visitor),
            Some(b'"' | b'\'') => self.deserialize_str(visitor),
            _ => match self.scan.bare()? {
                "null" => visitor.visit_unit(),
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                text => {
                    if let Ok(integer) = text.parse::<i64>() {
                        return visitor.visit_i64(integer);
                    }
                    if let Ok(integer) = text.parse::<u64>() {
                        return visitor.visit_u64(integer);
                    }
                    let number = text.parse().map_err(|_| self.scan.error("a value is expected"))?;
                    visitor.visit_f64(number)
                }
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        let wrong = self.scan.error("a boolean is expected");
        let scalar = self.scalar()?;
        let text = scalar.as_str();
        if text.eq_ignore_ascii_case("true") || text == "1" {
            visitor.visit_bool(true)
        } else if text.eq_ignore_ascii_case("false") || text == "0" {
            visitor.visit_bool(false)
        } else {
            Err(wrong.into())
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        let wrong = self.scan.error("a number is expected");
        visitor.visit_f64(self.scalar()?.as_str().parse().map_err(|_| wrong)?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    /// Text; numbers and nested values are taken as they are written.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scan.peek() {
            Some(b'"' | b'\'') => match self.scan.string()?.text() {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            _ => visitor.visit_borrowed_str(self.scan.value()?),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if self.null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.scan.value()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.scan.expect(b'[', "a list is expected")?;
        self.nested(|reader| {
            let mut entries = Entries {
                reader,
                first: true,
                closed: false,
            };
            let value = visitor.visit_seq(&mut entries)?;
            entries.finish(b']')?;
            Ok(value)
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.scan.expect(b'{', "an object is expected")?;
        self.nested(|reader| {
            let mut entries = Entries {
                reader,
                first: true,
                closed: false,
            };
            let value = visitor.visit_map(&mut entries)?;
            entries.finish(b'}')?;
            Ok(value)
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        let scalar = self.scalar()?;
        let name: StrDeserializer<'_, JsonError> = scalar.as_str().into_deserializer();
        visitor.visit_enum(name)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.scan.value()?;
        visitor.visit_unit()
    }
}

/// What is between two brackets.
struct Entries<'a, 'de> {
    reader: &'a mut Reader<'de>,
    first: bool,
    closed: bool,
}

impl Entries<'_, '_> {
    /// Moves to the next entry, over any commas; false at the end.
    fn advance(&mut self, close: u8) -> Result<bool, JsonError> {
        let scan = &mut self.reader.scan;
        let comma = scan.accept(b',');
        while scan.accept(b',') {}
        if scan.accept(close) {
            self.closed = true;
            return Ok(false);
        }
        if !comma && !std::mem::take(&mut self.first) {
            return Err(scan.error("a comma or the end is expected").into());
        }
        self.first = false;
        Ok(true)
    }

    /// Takes the closing bracket of entries whose reader knew how many there are.
    fn finish(&mut self, close: u8) -> Result<(), JsonError> {
        if !self.closed && self.advance(close)? {
            return Err(self.reader.scan.error("there are too many entries").into());
        }
        Ok(())
    }
}

impl<'de> de::SeqAccess<'de> for Entries<'_, 'de> {
    type Error = JsonError;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, JsonError> {
        if !self.advance(b']')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_, 'de> {
    type Error = JsonError;

    /// Entries with the value null are passed over, so that the default of the field holds.
    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, JsonError> {
        while self.advance(b'}')? {
            let key = match self.reader.scan.peek() {
                Some(b'"' | b'\'') => self.reader.scan.string()?.text(),
                Some(b'{' | b'[') => Cow::Borrowed(self.reader.scan.value()?),
                _ => Cow::Borrowed(self.reader.scan.bare()?),
            };
            self.reader.scan.expect(b':', "a colon is expected")?;
            if !self.reader.null() {
                return seed.deserialize(MapKey(key)).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, JsonError> {
        seed.deserialize(&mut *self.reader)
    }
}

/// A map key; integers are parsed from its text.
struct MapKey<'de>(Cow<'de, str>);

macro_rules! integer_keys {
    ($($method:ident $visit:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            let key = self.0.parse().map_err(|_| <JsonError as de::Error>::custom("a map key is no integer that fits"))?;
            visitor.$visit(key)
        })*
    };
}

impl<'de> Deserializer<'de> for MapKey<'de> {
    type Error = JsonError;

    integer_keys! {
        deserialize_i8 visit_i8;
        deserialize_i16 visit_i16;
        deserialize_i32 visit_i32;
        deserialize_i64 visit_i64;
        deserialize_u8 visit_u8;
        deserialize_u16 visit_u16;
        deserialize_u32 visit_u32;
        deserialize_u64 visit_u64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        let name: StrDeserializer<'_, JsonError> = (&*self.0).into_deserializer();
        visitor.visit_enum(name)
    }

    serde::forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}
