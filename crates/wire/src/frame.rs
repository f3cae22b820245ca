// SPDX-License-Identifier: Apache-2.0
//! The frame: the unit in which requests and replies travel.
//!
//! ```text
//! 0        4                8                 8+H               4+LEN
//! | LEN i32 | T u8 | H u24  | header (H bytes) | body (LEN-4-H) |
//! ```
//!
//! `LEN` counts what follows it; `T` is the encoding of the header (0 JSON, 1 binary). Decoding copies nothing: the extension
//! fields and the body are slices of the buffer the frame arrived in. Whatever does not parse closes the connection, so a
//! `FrameError` says only what was wrong, not how to go on.

mod binary;
mod json;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::Str;
use crate::code::{Request, ResponseCode};
use crate::ext::Ext;
pub use crate::scan::SyntaxError;

/// The version this server says it has: 5.4.0.
pub const VERSION: i32 = 493;

/// Flag bit of a reply.
const FLAG_REPLY: i32 = 1;
/// Flag bit of a request that must not be answered.
const FLAG_ONEWAY: i32 = 2;
/// The header length is a 24-bit number.
const HEADER_BYTES_MAX: usize = 0xff_ffff;

/// A request or a reply.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Request code, or response code of a reply.
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// Version ordinal of the sender.
    pub version: i32,
    /// Request id, echoed by the reply; any number, may be negative.
    pub opaque: i32,
    /// Bit 0: reply; bit 1: one-way.
    pub flag: i32,
    /// Error text or status name.
    pub remark: Option<Str>,
    /// The extension fields, undecoded.
    pub ext: Ext,
    /// The body.
    pub body: Bytes,
}

/// How the header of a frame is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// A JSON object.
    Json,
    /// The compact form; it carries codes and versions up to 32767 only.
    Binary,
}

/// What the sender is written in. Names and numbers not listed here read as `Other`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Language {
    #[default]
    Java,
    Cpp,
    Dotnet,
    Python,
    Delphi,
    Erlang,
    Ruby,
    Other,
    Http,
    Go,
    Php,
    Oms,
    Rust,
    NodeJs,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is larger than this side accepts.
    #[error("frame of {bytes} bytes is larger than {max}")]
    TooLarge {
        /// Length of the whole frame.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The length word leaves no room for the second word.
    #[error("frame length {0} is too small")]
    TooSmall(i32),
    /// The header would be longer than the frame.
    #[error("header of {header} bytes does not fit a frame of {frame}")]
    HeaderOverrun {
        /// Claimed header length.
        header: usize,
        /// Length of the whole frame.
        frame: usize,
    },
    /// Neither JSON nor binary.
    #[error("header encoding {0} is unknown")]
    UnknownEncoding(u8),
    /// The JSON header is not UTF-8.
    #[error("header is not UTF-8")]
    NotUtf8,
    /// The header does not parse.
    #[error("header does not parse: {0}")]
    Header(#[from] SyntaxError),
}

impl Frame {
    /// A request with a typed header.
    pub fn request<R: Request>(opaque: i32, header: &R) -> Frame {
        Frame {
            code: R::CODE.0,
            flag: 0,
            ext: Ext::of(header),
            ..Frame::reply(opaque, ResponseCode::SUCCESS)
        }
    }

    /// A reply without extension fields, remark or body.
    pub fn reply(opaque: i32, code: ResponseCode) -> Frame {
        Frame {
            code: code.0,
            language: Language::Java,
            version: VERSION,
            opaque,
            flag: FLAG_REPLY,
            remark: None,
            ext: Ext::default(),
            body: Bytes::new(),
        }
    }

    /// The same frame with a body.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Frame {
        Frame {
            body: body.into(),
            ..self
        }
    }

    /// The same frame, marked as one the peer must not answer.
    #[must_use]
    pub fn oneway(self) -> Frame {
        Frame {
            flag: self.flag | FLAG_ONEWAY,
            ..self
        }
    }

    /// Whether this answers a request.
    pub fn is_reply(&self) -> bool {
        self.flag & FLAG_REPLY != 0
    }

    /// Whether the sender wants no answer, not even an error.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// Appends the whole frame, length word included.
    pub fn encode(&self, out: &mut BytesMut, encoding: Encoding) {
        self.encode_head(out, encoding);
        out.put_slice(&self.body);
    }

    /// Appends everything but the body, which the length word counts all the same: the caller sends it as its own chunk.
    ///
    /// A header too long for its 24-bit length goes out as a bare error instead.
    pub fn encode_head(&self, out: &mut BytesMut, encoding: Encoding) {
        let start = out.len();
        out.put_u64(0);
        self.put_header(out, encoding);
        if out.len() - start - 8 > HEADER_BYTES_MAX {
            out.truncate(start + 8);
            let bare = Frame {
                code: if self.is_reply() {
                    ResponseCode::SYSTEM_ERROR.0
                } else {
                    self.code
                },
                remark: Some(Str::const_new("the header is too long to be sent")),
                ext: Ext::default(),
                ..self.clone()
            };
            bare.put_header(out, encoding);
        }
        let header = out.len() - start - 8;
        let length = u32::try_from(4 + header + self.body.len()).unwrap_or(u32::MAX);
        let kind = match encoding {
            Encoding::Json => 0,
            Encoding::Binary => 1 << 24,
        };
        let second = kind | u32::try_from(header).unwrap_or_default();
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        out[start + 4..start + 8].copy_from_slice(&second.to_be_bytes());
    }

    fn put_header(&self, out: &mut BytesMut, encoding: Encoding) {
        match encoding {
            Encoding::Json => json::put(self, out),
            Encoding::Binary => binary::put(self, out),
        }
    }
}

/// Cuts frames off a stream of bytes.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    /// The longest frame accepted, its length word included.
    pub frame_bytes_max: usize,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder {
            frame_bytes_max: 16_777_216,
        }
    }
}

impl Decoder {
    /// Takes the first frame off `buf`; `None` while it is not complete. After an error the stream cannot be continued.
    pub fn next(&self, buf: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((length, _)) = buf.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*length);
        let rest = usize::try_from(length).map_err(|_| FrameError::TooSmall(length))?;
        if rest < 4 {
            return Err(FrameError::TooSmall(length));
        }
        let total = rest + 4;
        if total > self.frame_bytes_max {
            return Err(FrameError::TooLarge {
                bytes: total,
                max: self.frame_bytes_max,
            });
        }
        let Some((head, _)) = buf.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let [_, _, _, _, kind, high, middle, low] = *head;
        let header = usize::try_from(u32::from_be_bytes([0, high, middle, low])).unwrap_or(usize::MAX);
        if header > rest - 4 {
            return Err(FrameError::HeaderOverrun { header, frame: total });
        }
        if kind > 1 {
            return Err(FrameError::UnknownEncoding(kind));
        }
        if buf.len() < total {
            return Ok(None);
        }
        buf.advance(8);
        let header = buf.split_to(header).freeze();
        // Nothing of the buffer is kept for a body that is empty.
        let body = match total - 8 - header.len() {
            0 => Bytes::new(),
            bytes => buf.split_to(bytes).freeze(),
        };
        let frame = if kind == 0 {
            json::parse(&header, body)?
        } else {
            binary::parse(&header, body)?
        };
        Ok(Some(frame))
    }
}

const LANGUAGES: [(Language, &str); 14] = [
    (Language::Java, "JAVA"),
    (Language::Cpp, "CPP"),
    (Language::Dotnet, "DOTNET"),
    (Language::Python, "PYTHON"),
    (Language::Delphi, "DELPHI"),
    (Language::Erlang, "ERLANG"),
    (Language::Ruby, "RUBY"),
    (Language::Other, "OTHER"),
    (Language::Http, "HTTP"),
    (Language::Go, "GO"),
    (Language::Php, "PHP"),
    (Language::Oms, "OMS"),
    (Language::Rust, "RUST"),
    (Language::NodeJs, "NODE_JS"),
];

impl Language {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        LANGUAGES[usize::from(self.number())].1
    }

    /// The number in a binary header.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The language of a name.
    pub fn from_name(name: &str) -> Language {
        LANGUAGES
            .iter()
            .find(|(_, known)| *known == name)
            .map_or(Language::Other, |(language, _)| *language)
    }

    /// The language of a number.
    pub fn from_number(number: u8) -> Language {
        LANGUAGES
            .get(usize::from(number))
            .map_or(Language::Other, |(language, _)| *language)
    }
}

impl serde::Serialize for Language {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Language {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Language, D::Error> {
        Ok(Language::from_name(&Str::deserialize(deserializer)?))
    }
}
