// SPDX-License-Identifier: Apache-2.0
//! Writes a typed header as extension fields: a serde serializer that puts every value down as a string.

use std::fmt;

use bytes::BufMut;
use compact_str::ToCompactString;
use serde::ser::{Impossible, Serialize, SerializeMap, SerializeStruct, Serializer};

use crate::Str;
use crate::scan::put_string;

/// A value that cannot be an extension field, such as a list.
#[derive(Debug)]
pub(super) struct NotFlat;

impl fmt::Display for NotFlat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a flat value")
    }
}

impl std::error::Error for NotFlat {}

impl serde::ser::Error for NotFlat {
    fn custom<T: fmt::Display>(_: T) -> NotFlat {
        NotFlat
    }
}

/// The header as a JSON object; `None` for a header that has no fields by type.
pub(super) fn object<T: Serialize>(header: &T) -> Option<Vec<u8>> {
    header.serialize(Header).ok().flatten()
}

macro_rules! refuse {
    ($($method:ident($($type:ty),*);)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<Self::Ok, NotFlat> { Err(NotFlat) })*
    };
}

macro_rules! refuse_compounds {
    () => {
        type SerializeSeq = Impossible<Self::Ok, NotFlat>;
        type SerializeTuple = Impossible<Self::Ok, NotFlat>;
        type SerializeTupleStruct = Impossible<Self::Ok, NotFlat>;
        type SerializeTupleVariant = Impossible<Self::Ok, NotFlat>;
        type SerializeStructVariant = Impossible<Self::Ok, NotFlat>;

        fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, NotFlat> {
            Err(NotFlat)
        }

        fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, NotFlat> {
            Err(NotFlat)
        }

        fn serialize_tuple_struct(
            self,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleStruct, NotFlat> {
            Err(NotFlat)
        }

        fn serialize_tuple_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleVariant, NotFlat> {
            Err(NotFlat)
        }

        fn serialize_struct_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeStructVariant, NotFlat> {
            Err(NotFlat)
        }

        fn serialize_newtype_struct<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            value: &T,
        ) -> Result<Self::Ok, NotFlat> {
            value.serialize(self)
        }

        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<Self::Ok, NotFlat> {
            Err(NotFlat)
        }
    };
}

/// Takes the struct (or map) a header is.
struct Header;

impl Serializer for Header {
    type Ok = Option<Vec<u8>>;
    type Error = NotFlat;
    type SerializeMap = Object;
    type SerializeStruct = Object;

    refuse_compounds!();
    refuse! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_none(self) -> Result<Option<Vec<u8>>, NotFlat> {
        Ok(None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Option<Vec<u8>>, NotFlat> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Option<Vec<u8>>, NotFlat> {
        Ok(None)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Option<Vec<u8>>, NotFlat> {
        Ok(None)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object, NotFlat> {
        Ok(Object::new())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object, NotFlat> {
        Ok(Object::new())
    }
}

struct Object {
    out: Vec<u8>,
    key: Str,
}

impl Object {
    fn new() -> Object {
        let mut out = Vec::with_capacity(256);
        out.push(b'{');
        Object {
            out,
            key: Str::default(),
        }
    }

    /// Writes a field, or nothing if its value is null.
    fn put<T: Serialize + ?Sized>(&mut self, key: impl FnOnce(&mut Vec<u8>), value: &T) {
        let before = self.out.len();
        if before > 1 {
            self.out.push(b',');
        }
        key(&mut self.out);
        self.out.push(b':');
        if !matches!(value.serialize(Text { out: &mut self.out }), Ok(Written::Value)) {
            self.out.truncate(before);
        }
    }

    fn close(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }
}

impl SerializeStruct for Object {
    type Ok = Option<Vec<u8>>;
    type Error = NotFlat;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), NotFlat> {
        // The name of a field in our own source: there is nothing to escape in it.
        let put_key = |out: &mut Vec<u8>| {
            out.push(b'"');
            out.extend_from_slice(key.as_bytes());
            out.push(b'"');
        };
        self.put(put_key, value);
        Ok(())
    }

    fn end(self) -> Result<Option<Vec<u8>>, NotFlat> {
        Ok(Some(self.close()))
    }
}

impl SerializeMap for Object {
    type Ok = Option<Vec<u8>>;
    type Error = NotFlat;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotFlat> {
        let mut quoted = Vec::new();
        key.serialize(Text { out: &mut quoted })?;
        let text = std::str::from_utf8(&quoted).unwrap_or_default();
        self.key = crate::scan::Scan::new(text)
            .string()
            .map_or_else(|_| Str::default(), |key| Str::from(key.text()));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotFlat> {
        let key = std::mem::take(&mut self.key);
        self.put(|out| put_string(out, &key), value);
        Ok(())
    }

    fn end(self) -> Result<Option<Vec<u8>>, NotFlat> {
        Ok(Some(self.close()))
    }
}

/// Whether a value wrote itself or was null.
enum Written {
    Value,
    Nothing,
}

/// Puts one value down as a string.
struct Text<'a> {
    out: &'a mut Vec<u8>,
}

impl Text<'_> {
    /// A text that needs no escaping.
    fn put(self, text: &str) -> Result<Written, NotFlat> {
        self.out.put_u8(b'"');
        self.out.put_slice(text.as_bytes());
        self.out.put_u8(b'"');
        Ok(Written::Value)
    }
}

macro_rules! numbers {
    ($($method:ident $type:ty;)*) => {
        $(fn $method(self, value: $type) -> Result<Written, NotFlat> { self.put(&value.to_compact_string()) })*
    };
}

impl Serializer for Text<'_> {
    type Ok = Written;
    type Error = NotFlat;
    type SerializeMap = Impossible<Written, NotFlat>;
    type SerializeStruct = Impossible<Written, NotFlat>;

    refuse_compounds!();
    numbers! {
        serialize_i8 i8;
        serialize_i16 i16;
        serialize_i32 i32;
        serialize_i64 i64;
        serialize_u8 u8;
        serialize_u16 u16;
        serialize_u32 u32;
        serialize_u64 u64;
        serialize_f32 f32;
        serialize_f64 f64;
    }
    refuse! {
        serialize_bytes(&[u8]);
    }

    fn serialize_bool(self, value: bool) -> Result<Written, NotFlat> {
        self.put(if value { "true" } else { "false" })
    }

    fn serialize_char(self, value: char) -> Result<Written, NotFlat> {
        self.serialize_str(&value.to_compact_string())
    }

    fn serialize_str(self, value: &str) -> Result<Written, NotFlat> {
        put_string(self.out, value);
        Ok(Written::Value)
    }

    fn serialize_none(self) -> Result<Written, NotFlat> {
        Ok(Written::Nothing)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Written, NotFlat> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Written, NotFlat> {
        Ok(Written::Nothing)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Written, NotFlat> {
        Ok(Written::Nothing)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Written, NotFlat> {
        self.serialize_str(variant)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, NotFlat> {
        Err(NotFlat)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, NotFlat> {
        Err(NotFlat)
    }
}
