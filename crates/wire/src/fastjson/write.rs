// SPDX-License-Identifier: Apache-2.0
//! The writer: serde_json with a formatter that holds back the opening quote of a map key until it knows what the key is.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// Writes the form peers expect: integer map keys and objects as map keys bare.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write(
        value,
        Dialect {
            quote_keys: false,
            ascii: false,
            tabs: None,
            key: Key::None,
            empty: false,
        },
    )
}

/// The same as text.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(to_vec(value)).unwrap_or_default()
}

/// Writes legal JSON: integer keys quoted, everything outside ASCII as `\u` escapes.
pub fn to_vec_standard<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write(
        value,
        Dialect {
            quote_keys: true,
            ascii: true,
            tabs: None,
            key: Key::None,
            empty: false,
        },
    )
}

/// Writes the form of the configuration files: like `to_vec`, one entry a line, indented with tabs.
pub fn to_vec_pretty<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write(
        value,
        Dialect {
            quote_keys: false,
            ascii: false,
            tabs: Some(0),
            key: Key::None,
            empty: false,
        },
    )
}

/// A body is a plain struct: the only thing that can fail is a map key that is neither text, integer nor `QueueKey`, which
/// is a bug here and gives `{}`.
fn write<T: Serialize + ?Sized>(value: &T, dialect: Dialect) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    match value.serialize(&mut Serializer::with_formatter(&mut out, dialect)) {
        Ok(()) => out,
        Err(_) => b"{}".to_vec(),
    }
}

/// What begins the text of a map key that is an object. No real key begins so.
const OBJECT_MARK: &str = "\0{";

/// Text of a map key that `Dialect` writes as a bare object.
pub(crate) struct ObjectKey(String);

impl Serialize for ObjectKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Makes a map key of an object.
pub(crate) fn object_key<T: Serialize>(value: &T) -> ObjectKey {
    let text = to_string(value);
    ObjectKey(
        text.strip_prefix('{')
            .map_or_else(|| text.clone(), |rest| format!("{OBJECT_MARK}{rest}")),
    )
}

/// How much of a map key has been seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    /// Not in a key.
    None,
    /// The key has begun, its first character has not come.
    Begun,
    /// The mark of an object has begun.
    Marked,
    Number,
    Text,
    Object,
}

struct Dialect {
    quote_keys: bool,
    ascii: bool,
    tabs: Option<usize>,
    key: Key,
    /// Nothing has been written inside the innermost bracket.
    empty: bool,
}

impl Dialect {
    fn line<W: Write + ?Sized>(&self, out: &mut W) -> io::Result<()> {
        let Some(depth) = self.tabs else { return Ok(()) };
        out.write_all(b"\n")?;
        (0..depth).try_for_each(|_| out.write_all(b"\t"))
    }

    fn open<W: Write + ?Sized>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.tabs = self.tabs.map(|depth| depth + 1);
        self.empty = true;
        out.write_all(bracket)
    }

    fn separate<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.empty = false;
        if !first {
            out.write_all(b",")?;
        }
        self.line(out)
    }

    fn close<W: Write + ?Sized>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.tabs = self.tabs.map(|depth| depth.saturating_sub(1));
        self.empty = false;
        self.line(out)?;
        out.write_all(bracket)
    }

    fn number<W: Write + ?Sized>(&mut self, out: &mut W, number: impl std::fmt::Display) -> io::Result<()> {
        if self.key == Key::Begun {
            self.key = Key::Number;
            if self.quote_keys {
                out.write_all(b"\"")?;
            }
        }
        write!(out, "{number}")
    }

    fn text<W: Write + ?Sized>(&self, out: &mut W, text: &str) -> io::Result<()> {
        if !self.ascii || text.is_ascii() {
            return out.write_all(text.as_bytes());
        }
        for character in text.chars() {
            if character.is_ascii() {
                write!(out, "{character}")?;
            } else {
                let mut units = [0; 2];
                character
                    .encode_utf16(&mut units)
                    .iter()
                    .try_for_each(|unit| write!(out, "\\u{unit:04x}"))?;
            }
        }
        Ok(())
    }

    /// The key turns out to be plain text.
    fn begin_text<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        match self.key {
            Key::Begun => out.write_all(b"\"")?,
            Key::Marked => out.write_all(b"\"\\u0000")?,
            _ => return Ok(()),
        }
        self.key = Key::Text;
        Ok(())
    }
}

macro_rules! numbers {
    ($($method:ident $type:ty;)*) => {
        $(fn $method<W: Write + ?Sized>(&mut self, out: &mut W, value: $type) -> io::Result<()> { self.number(out, value) })*
    };
}

impl Formatter for Dialect {
    numbers! {
        write_i8 i8;
        write_i16 i16;
        write_i32 i32;
        write_i64 i64;
        write_u8 u8;
        write_u16 u16;
        write_u32 u32;
        write_u64 u64;
    }

    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"{")
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        if self.empty {
            // The reference leaves an indented blank line inside an empty object.
            self.line(out)?;
        }
        self.close(out, b"}")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.key = Key::Begun;
        self.separate(out, first)
    }

    fn end_object_key<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.key = Key::None;
        Ok(())
    }

    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"[")
    }

    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        if self.empty {
            self.tabs = self.tabs.map(|depth| depth.saturating_sub(1));
            self.empty = false;
            return out.write_all(b"]");
        }
        self.close(out, b"]")
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.separate(out, first)
    }

    fn begin_string<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        if self.key == Key::Begun {
            Ok(())
        } else {
            out.write_all(b"\"")
        }
    }

    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if self.key == Key::Marked && fragment.starts_with('{') {
            self.key = Key::Object;
            if self.quote_keys {
                out.write_all(b"\"")?;
            }
        }
        self.begin_text(out)?;
        self.text(out, fragment)
    }

    fn write_char_escape<W: Write + ?Sized>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        if self.key == Key::Begun && matches!(escape, CharEscape::AsciiControl(0)) {
            self.key = Key::Marked;
            return Ok(());
        }
        self.begin_text(out)?;
        let bare = self.key == Key::Object && !self.quote_keys;
        let escaped: &[u8] = match escape {
            CharEscape::Quote if bare => b"\"",
            CharEscape::ReverseSolidus if bare => b"\\",
            CharEscape::Quote => b"\\\"",
            CharEscape::ReverseSolidus => b"\\\\",
            CharEscape::Solidus => b"/",
            CharEscape::Backspace => b"\\b",
            CharEscape::FormFeed => b"\\f",
            CharEscape::LineFeed => b"\\n",
            CharEscape::CarriageReturn => b"\\r",
            CharEscape::Tab => b"\\t",
            CharEscape::AsciiControl(byte) => return write!(out, "\\u{byte:04x}"),
        };
        out.write_all(escaped)
    }

    fn end_string<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        match self.key {
            Key::Number | Key::Object if !self.quote_keys => Ok(()),
            Key::Begun => out.write_all(b"\"\""),
            Key::Marked => out.write_all(b"\"\\u0000\""),
            _ => out.write_all(b"\""),
        }
    }
}
