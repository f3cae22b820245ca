// SPDX-License-Identifier: Apache-2.0
//! The JSON header.
//!
//! Read in one pass in any key order; keys nobody knows are skipped, `extFields` is checked and kept as its raw span.
//! Written the way the reference writes it: keys in alphabetical order, what is absent left out.

use bytes::{BufMut, Bytes, BytesMut};

use super::{FLAG_REPLY, Frame, FrameError, Language};
use crate::Str;
use crate::code::ResponseCode;
use crate::ext::Ext;
use crate::scan::{Scan, SyntaxError, put_integer, put_string};

pub(super) fn parse(header: &Bytes, body: Bytes) -> Result<Frame, FrameError> {
    let text = std::str::from_utf8(header).map_err(|_| FrameError::NotUtf8)?;
    let mut frame = Frame {
        version: 0,
        flag: 0,
        body,
        ..Frame::reply(0, ResponseCode::SUCCESS)
    };
    let mut scan = Scan::new(text);
    scan.expect(b'{', "a header begins with {")?;
    let mut first = true;
    while !scan.accept(b'}') {
        if !std::mem::take(&mut first) {
            scan.expect(b',', "a comma is expected")?;
        }
        match key(&mut scan)? {
            Key::Code => frame.code = number(&mut scan)?,
            Key::Version => frame.version = number(&mut scan)?,
            Key::Opaque => frame.opaque = number(&mut scan)?,
            Key::Flag => frame.flag = number(&mut scan)?,
            Key::Language => frame.language = language(&mut scan)?,
            Key::Remark => frame.remark = remark(&mut scan)?,
            Key::ExtFields => frame.ext = ext_fields(&mut scan, header)?,
            Key::Other => scan.value_token().map(|_| ())?,
        }
    }
    match scan.peek() {
        None => Ok(frame),
        Some(_) => Err(scan.error("the header goes on after its end").into()),
    }
}

#[derive(Clone, Copy)]
enum Key {
    Code,
    ExtFields,
    Flag,
    Language,
    Opaque,
    Remark,
    Version,
    Other,
}

/// The next key and its colon. Most peers write no blanks, so a key is first looked for as one literal.
fn key(scan: &mut Scan<'_>) -> Result<Key, SyntaxError> {
    let known = match scan.ahead(1) {
        Some(b'c') if scan.take(b"\"code\":") => Some(Key::Code),
        Some(b'e') if scan.take(b"\"extFields\":") => Some(Key::ExtFields),
        Some(b'f') if scan.take(b"\"flag\":") => Some(Key::Flag),
        Some(b'l') if scan.take(b"\"language\":") => Some(Key::Language),
        Some(b'o') if scan.take(b"\"opaque\":") => Some(Key::Opaque),
        Some(b'r') if scan.take(b"\"remark\":") => Some(Key::Remark),
        Some(b's') if scan.take(b"\"serializeTypeCurrentRPC\":") => Some(Key::Other),
        Some(b'v') if scan.take(b"\"version\":") => Some(Key::Version),
        _ => None,
    };
    if let Some(key) = known {
        return Ok(key);
    }
    let name = scan.string()?.raw;
    scan.expect(b':', "a colon is expected")?;
    Ok(match name {
        "code" => Key::Code,
        "extFields" => Key::ExtFields,
        "flag" => Key::Flag,
        "language" => Key::Language,
        "opaque" => Key::Opaque,
        "remark" => Key::Remark,
        "version" => Key::Version,
        _ => Key::Other,
    })
}

/// A number, a number in quotes, or null, which counts as 0.
fn number(scan: &mut Scan<'_>) -> Result<i32, SyntaxError> {
    if let Some(number) = scan.integer() {
        return Ok(number);
    }
    let wrong = scan.error("a number is expected");
    let text = match scan.peek() {
        Some(b'"') => scan.string()?.raw,
        _ => scan.bare()?,
    };
    if text == "null" {
        Ok(0)
    } else {
        text.parse().map_err(|_| wrong)
    }
}

fn language(scan: &mut Scan<'_>) -> Result<Language, SyntaxError> {
    if scan.take(b"\"JAVA\"") {
        return Ok(Language::Java);
    }
    match scan.peek() {
        Some(b'"') => Ok(Language::from_name(scan.string()?.raw)),
        _ => Ok(if scan.value()? == "null" {
            Language::Java
        } else {
            Language::Other
        }),
    }
}

fn remark(scan: &mut Scan<'_>) -> Result<Option<Str>, SyntaxError> {
    match scan.peek() {
        Some(b'"') => Ok(Some(Str::from(scan.string()?.text()))),
        _ => Ok(Some(scan.value()?).filter(|text| *text != "null").map(Str::from)),
    }
}

fn ext_fields(scan: &mut Scan<'_>, header: &Bytes) -> Result<Ext, SyntaxError> {
    if scan.peek() == Some(b'{') {
        return Ext::take_json(scan, header);
    }
    let wrong = scan.error("extFields is not an object");
    if scan.value()? == "null" {
        Ok(Ext::default())
    } else {
        Err(wrong)
    }
}

pub(super) fn put(frame: &Frame, out: &mut BytesMut) {
    out.reserve(128 + frame.ext.size_hint() + frame.remark.as_ref().map_or(0, Str::len));
    out.put_slice(b"{\"code\":");
    put_integer(out, frame.code.into());
    if !frame.ext.is_absent() {
        out.put_slice(b",\"extFields\":");
        frame.ext.put_json(out);
    }
    // What nearly all frames have is written at once.
    if (frame.flag, frame.language) == (FLAG_REPLY, Language::Java) {
        out.put_slice(b",\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
    } else {
        out.put_slice(b",\"flag\":");
        put_integer(out, frame.flag.into());
        out.put_slice(b",\"language\":\"");
        out.put_slice(frame.language.name().as_bytes());
        out.put_slice(b"\",\"opaque\":");
    }
    put_integer(out, frame.opaque.into());
    if let Some(remark) = &frame.remark {
        out.put_slice(b",\"remark\":");
        put_string(out, remark);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_integer(out, frame.version.into());
    out.put_u8(b'}');
}
