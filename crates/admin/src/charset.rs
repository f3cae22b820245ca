// SPDX-License-Identifier: Apache-2.0
//! Texts in other encodings than UTF-8. Operators read bodies as their senders wrote them; GBK is what the help of the
//! reference names.

use std::borrow::Cow;

use encoding_rs::Encoding;

use crate::failure::Failure;

/// An encoding of text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Charset {
    /// One of the web's.
    Known(&'static Encoding),
    /// Each byte is its own code point.
    Latin1,
    /// The same up to 127.
    Ascii,
}

impl Charset {
    /// The encoding that is called so.
    pub(crate) fn named(name: &str) -> Result<Charset, Failure> {
        match name.to_ascii_uppercase().as_str() {
            // The web takes these two for windows-1252.
            "ISO-8859-1" | "ISO8859-1" | "ISO8859_1" | "LATIN1" => return Ok(Charset::Latin1),
            "US-ASCII" | "ASCII" => return Ok(Charset::Ascii),
            // The web takes it for the other byte order.
            "UTF-16" => return Ok(Charset::Known(encoding_rs::UTF_16BE)),
            _ => {}
        }
        let known = Encoding::for_label(name.as_bytes());
        known.map(Charset::Known).ok_or_else(|| {
            Failure::Usage(format!(
                "'{name}' is no encoding of text that is known here; UTF-8, GBK and ISO-8859-1 are"
            ))
        })
    }

    /// The text these bytes are. What cannot be read is replaced.
    pub(crate) fn read(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Charset::Known(encoding) => encoding.decode_without_bom_handling(bytes).0,
            Charset::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            Charset::Ascii => {
                let letter = |byte: &u8| {
                    if byte.is_ascii() {
                        char::from(*byte)
                    } else {
                        '\u{FFFD}'
                    }
                };
                bytes.iter().map(letter).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_in_the_encoding_of_its_sender() {
        let gbk = Charset::named("gbk").unwrap();
        assert_eq!(gbk.read(&[0xC4, 0xE3, 0xBA, 0xC3]), "你好");
        let utf8 = Charset::named("UTF-8").unwrap();
        assert_eq!(utf8.read("grün".as_bytes()), "grün");
        assert_eq!(Charset::named("ISO-8859-1").unwrap().read(&[0x67, 0xFC]), "gü");
        assert_eq!(Charset::named("nosuch").unwrap_err().exit_code(), 2);
    }
}
