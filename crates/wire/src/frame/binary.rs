// SPDX-License-Identifier: Apache-2.0
//! The binary header.
//!
//! ```text
//! code i16 | language u8 | version i16 | opaque i32 | flag i32
//! | n i32 | remark (n bytes)
//! | m i32 | m bytes of: k i16 | key (k bytes) | v i32 | value (v bytes)
//! ```
//!
//! A remark of length 0 is no remark, m = 0 is no extension fields. Codes beyond 16 bits do not fit: the low bits are sent,
//! as the reference does. Bytes after the extension fields are ignored.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Frame, FrameError, Language};
use crate::Str;
use crate::ext::{self, Ext};
use crate::scan::SyntaxError;

pub(super) fn parse(header: &Bytes, body: Bytes) -> Result<Frame, FrameError> {
    let mut rest = Rest { bytes: header, at: 0 };
    let code = i32::from(i16::from_be_bytes(rest.take("code")?));
    let [language] = rest.take("language")?;
    let version = i32::from(i16::from_be_bytes(rest.take("version")?));
    let opaque = i32::from_be_bytes(rest.take("opaque")?);
    let flag = i32::from_be_bytes(rest.take("flag")?);
    let remark = rest.span("remark")?;
    let remark = header
        .get(remark)
        .filter(|bytes| !bytes.is_empty())
        .map(Str::from_utf8_lossy);
    let pairs = rest.span("extension fields")?;
    ext::check_binary(header.get(pairs.clone()).unwrap_or_default())?;
    let ext = if pairs.is_empty() {
        Ext::default()
    } else {
        Ext::from_binary(header.slice(pairs))
    };
    Ok(Frame {
        code,
        language: Language::from_number(language),
        version,
        opaque,
        flag,
        remark,
        ext,
        body,
    })
}

struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Rest<'_> {
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], SyntaxError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (taken, _) = rest
            .split_first_chunk::<N>()
            .ok_or(SyntaxError { what, at: self.at })?;
        self.at += N;
        Ok(*taken)
    }

    /// The range of a field that begins with its length.
    fn span(&mut self, what: &'static str) -> Result<std::ops::Range<usize>, SyntaxError> {
        let error = SyntaxError { what, at: self.at };
        let length = usize::try_from(i32::from_be_bytes(self.take(what)?)).map_err(|_| error)?;
        let start = self.at;
        if length > self.bytes.len() - start {
            return Err(error);
        }
        self.at += length;
        Ok(start..self.at)
    }
}

pub(super) fn put(frame: &Frame, out: &mut BytesMut) {
    out.put_i16(low_bits(frame.code));
    out.put_u8(frame.language.number());
    out.put_i16(low_bits(frame.version));
    out.put_i32(frame.opaque);
    out.put_i32(frame.flag);
    let remark = frame.remark.as_deref().unwrap_or_default();
    out.put_i32(i32::try_from(remark.len()).unwrap_or(i32::MAX));
    out.put_slice(remark.as_bytes());
    let at = out.len();
    out.put_i32(0);
    frame.ext.put_binary(out);
    let length = i32::try_from(out.len() - at - 4).unwrap_or(i32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn low_bits(number: i32) -> i16 {
    let [_, _, high, low] = number.to_be_bytes();
    i16::from_be_bytes([high, low])
}
