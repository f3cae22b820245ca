// SPDX-License-Identifier: Apache-2.0
//! Reads a typed header from extension fields: a serde deserializer over text values.
//!
//! Every value is text; the field's type says what it must parse as. A boolean is true iff its text is "true" in any case,
//! as in the reference.

use std::borrow::Cow;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};

use super::{Ext, Pairs, Value};
use crate::Str;

/// Why extension fields are not the header that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtError {
    /// A field the request cannot do without is not there.
    #[error("the field {0} is missing")]
    Missing(&'static str),
    /// A field does not parse.
    #[error("the field {field} is not {expected}: {value}")]
    Invalid {
        /// Its name.
        field: Str,
        /// Its text.
        value: Str,
        /// What it should have been.
        expected: &'static str,
    },
    /// Anything else a header type complains about.
    #[error("{0}")]
    Refused(Str),
}

impl de::Error for ExtError {
    fn custom<T: std::fmt::Display>(message: T) -> ExtError {
        ExtError::Refused(compact_str::format_compact!("{message}"))
    }

    fn missing_field(field: &'static str) -> ExtError {
        ExtError::Missing(field)
    }
}

pub(super) fn header<T: DeserializeOwned>(ext: &Ext) -> Result<T, ExtError> {
    T::deserialize(Header { pairs: ext.pairs() })
}

struct Header<'a> {
    pairs: Pairs<'a>,
}

impl<'de> Deserializer<'de> for Header<'de> {
    type Error = ExtError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ExtError> {
        visitor.visit_map(Fields {
            pairs: self.pairs,
            field: Cow::Borrowed(""),
            value: None,
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ExtError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ExtError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ExtError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Fields<'a> {
    pairs: Pairs<'a>,
    field: Cow<'a, str>,
    value: Option<Value<'a>>,
}

impl<'de> de::MapAccess<'de> for Fields<'de> {
    type Error = ExtError;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ExtError> {
        let Some((field, value)) = self.pairs.find(|(_, value)| !value.is_null()) else {
            return Ok(None);
        };
        self.value = Some(value);
        self.field = field;
        let key: StrDeserializer<'_, ExtError> = (&*self.field).into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ExtError> {
        let value = self.value.take().unwrap_or(Value::Plain(Cow::Borrowed("")));
        seed.deserialize(Text(value)).map_err(|error| match error {
            ExtError::Invalid { value, expected, .. } => ExtError::Invalid {
                field: Str::from(&*self.field),
                value,
                expected,
            },
            other => other,
        })
    }
}

/// One value; its text is parsed into whatever the field wants.
struct Text<'a>(Value<'a>);

fn parse<T: std::str::FromStr>(value: Value<'_>, expected: &'static str) -> Result<T, ExtError> {
    let text = value.text();
    text.parse().map_err(|_| ExtError::Invalid {
        field: Str::default(),
        value: Str::from(text),
        expected,
    })
}

macro_rules! numbers {
    ($($method:ident $visit:ident $expected:literal;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ExtError> {
            visitor.$visit(parse(self.0, $expected)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = ExtError;

    numbers! {
        deserialize_i8 visit_i8 "an 8-bit integer";
        deserialize_i16 visit_i16 "a 16-bit integer";
        deserialize_i32 visit_i32 "a 32-bit integer";
        deserialize_i64 visit_i64 "a 64-bit integer";
        deserialize_u8 visit_u8 "an 8-bit natural number";
        deserialize_u16 visit_u16 "a 16-bit natural number";
        deserialize_u32 visit_u32 "a 32-bit natural number";
        deserialize_u64 visit_u64 "a 64-bit natural number";
        deserialize_f32 visit_f32 "a number";
        deserialize_f64 visit_f64 "a number";
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ExtError> {
        visitor.visit_bool(self.0.text().eq_ignore_ascii_case("true"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ExtError> {
        match self.0.text() {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    /// The binary encoding has no other way to say null than an empty value.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ExtError> {
        match &self.0 {
            Value::Plain(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ExtError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ExtError> {
        let name = self.0.text();
        let name: StrDeserializer<'_, ExtError> = (&*name).into_deserializer();
        visitor.visit_enum(name)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ExtError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
    }
}
