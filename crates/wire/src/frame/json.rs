// SPDX-License-Identifier: Apache-2.0
//! The JSON header.
//!
//! Read in one pass in any key order; keys nobody knows are skipped, `extFields` is checked and kept as its raw span.
//! Written the way the reference writes it: keys in alphabetical order, what is absent left out.

use bytes::{BufMut, Bytes, BytesMut};
use compact_str::ToCompactString;

use super::{Frame, FrameError, Language};
use crate::Str;
use crate::code::ResponseCode;
use crate::ext::{self, Ext};
use crate::scan::{Scan, SyntaxError, put_string};

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
        let key = scan.string()?;
        scan.expect(b':', "a colon is expected")?;
        match key.raw {
            "code" => frame.code = number(&mut scan)?,
            "version" => frame.version = number(&mut scan)?,
            "opaque" => frame.opaque = number(&mut scan)?,
            "flag" => frame.flag = number(&mut scan)?,
            "language" => {
                frame.language = text_of(&mut scan)?.map_or(Language::Java, |name| Language::from_name(&name))
            }
            "remark" => frame.remark = text_of(&mut scan)?,
            "extFields" => frame.ext = ext_fields(&mut scan, header)?,
            _ => {
                scan.value()?;
            }
        }
    }
    match scan.peek() {
        None => Ok(frame),
        Some(_) => Err(scan.error("the header goes on after its end").into()),
    }
}

/// A number, a number in quotes, or null, which counts as 0.
fn number(scan: &mut Scan<'_>) -> Result<i32, SyntaxError> {
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

fn text_of(scan: &mut Scan<'_>) -> Result<Option<Str>, SyntaxError> {
    match scan.peek() {
        Some(b'"') => Ok(Some(Str::from(scan.string()?.text()))),
        _ => Ok(Some(scan.value()?).filter(|text| *text != "null").map(Str::from)),
    }
}

fn ext_fields(scan: &mut Scan<'_>, header: &Bytes) -> Result<Ext, SyntaxError> {
    if scan.peek() != Some(b'{') {
        let wrong = scan.error("extFields is not an object");
        return if scan.value()? == "null" {
            Ok(Ext::default())
        } else {
            Err(wrong)
        };
    }
    let start = scan.at();
    ext::check_json(scan)?;
    Ok(Ext::from_json(header.slice(start..scan.at())))
}

pub(super) fn put(frame: &Frame, out: &mut BytesMut) {
    out.reserve(128 + frame.ext.size_hint() + frame.remark.as_ref().map_or(0, Str::len));
    out.put_slice(b"{\"code\":");
    put_number(out, frame.code);
    if !frame.ext.is_absent() {
        out.put_slice(b",\"extFields\":");
        frame.ext.put_json(out);
    }
    out.put_slice(b",\"flag\":");
    put_number(out, frame.flag);
    out.put_slice(b",\"language\":\"");
    out.put_slice(frame.language.name().as_bytes());
    out.put_slice(b"\",\"opaque\":");
    put_number(out, frame.opaque);
    if let Some(remark) = &frame.remark {
        out.put_slice(b",\"remark\":");
        put_string(out, remark);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_number(out, frame.version);
    out.put_u8(b'}');
}

fn put_number(out: &mut BytesMut, number: i32) {
    out.put_slice(number.to_compact_string().as_bytes());
}
