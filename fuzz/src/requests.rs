// SPDX-License-Identifier: Apache-2.0
//! Requests: as the reference was seen to get them, with some of their fields replaced by what is implausible.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::{Bytes, BytesMut};
use testkit::golden;
use wire::code::Code;
use wire::ext::Ext;
use wire::frame::{Encoding, Frame};

const NUMBERS: &[&str] = &[
    "-1",
    "0",
    "1",
    "2",
    "4",
    "8",
    "32",
    "255",
    "65536",
    "2147483647",
    "-2147483648",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "1800000000000",
    "1e308",
    "NaN",
    "-0",
    "",
    " 7 ",
    "true",
    "false",
];

const NAMES: &[&str] = &[
    "T",
    "G",
    "kept",
    "T2",
    "../../../../escaped",
    "..",
    "/",
    "a\u{0}b",
    "%RETRY%",
    "%RETRY%G",
    "%RETRY%../../x",
    "%DLQ%G",
    "\u{fc}\u{20ac}\u{1d11e}",
    "a\nb",
    "a\u{1}b\u{2}c",
    "TBW102",
    "SCHEDULE_TOPIC_XXXX",
    "rmq_sys_wheel_timer",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "*",
    "TAG",
    "SQL92",
    "a > 1 AND b IS NOT NULL",
    "broker-a",
    "DefaultCluster",
    "KEYS\u{1}k\u{2}TAGS\u{1}t\u{2}",
    "DELAY\u{1}3\u{2}",
    "TIMER_DELAY_SEC\u{1}5\u{2}",
    "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}G\u{2}UNIQ_KEY\u{1}u\u{2}",
];

/// Fields that many requests have.
const FIELDS: &[&str] = &[
    "topic",
    "consumerGroup",
    "group",
    "queueId",
    "queueOffset",
    "offset",
    "key",
    "value",
    "a",
    "b",
    "c",
    "e",
    "i",
    "m",
    "extraInfo",
    "brokerName",
    "timestamp",
    "msgId",
    "lo",
    "namespace",
    "bname",
    "sysFlag",
    "maxMsgNums",
    "order",
    "properties",
    "clientID",
];

/// The codes of a server, each with what was captured of it.
pub struct Known(Vec<(Code, Vec<Frame>)>);

impl Known {
    pub fn of(codes: impl Iterator<Item = Code>) -> Known {
        static CAPTURED: OnceLock<BTreeMap<i32, Vec<Frame>>> = OnceLock::new();
        let captured = CAPTURED.get_or_init(|| {
            let mut all: BTreeMap<i32, Vec<Frame>> = BTreeMap::new();
            for exchange in golden::exchanges().expect("the golden frames are there") {
                all.entry(exchange.request.code)
                    .or_default()
                    .push(exchange.request);
            }
            all
        });
        let with = |code: Code| (code, captured.get(&code.0).cloned().unwrap_or_default());
        Known(codes.map(with).collect())
    }

    /// All that were captured, as they are.
    pub fn plausible(&self) -> BytesMut {
        let mut out = BytesMut::new();
        for frame in self.0.iter().flat_map(|(_, captured)| captured) {
            Frame {
                flag: 0,
                opaque: 1,
                ..frame.clone()
            }
            .encode(&mut out, Encoding::Json);
        }
        out
    }

    /// Some requests, and the bytes they are sent as.
    pub fn requests(&self, input: &mut Unstructured<'_>) -> Result<BytesMut> {
        let mut out = BytesMut::new();
        for opaque in 0..input.int_in_range(1..=6)? {
            let (frame, encoding) = self.request(input, opaque)?;
            frame.encode(&mut out, encoding);
        }
        Ok(out)
    }

    fn request(&self, input: &mut Unstructured<'_>, opaque: i32) -> Result<(Frame, Encoding)> {
        let (code, captured) = input.choose(&self.0)?;
        let mut frame = Frame::reply(opaque, wire::code::ResponseCode(code.0));
        frame.flag = 0;
        if !captured.is_empty() {
            let seen = input.choose(captured)?;
            frame = Frame {
                opaque,
                flag: 0,
                ..seen.clone()
            };
        }
        let fields: Vec<(String, String)> = frame
            .ext
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        let mut ext = Ext::default();
        for (name, value) in fields {
            ext = match input.int_in_range(0..=7)? {
                0 => ext.with(&name, input.choose(NUMBERS)?),
                1 => ext.with(&name, input.choose(NAMES)?),
                2 => ext.with(&name, <&str>::arbitrary(input)?),
                3 => ext,
                _ => ext.with(&name, &value),
            };
        }
        for _ in 0..input.int_in_range(0..=2)? {
            let value = if bool::arbitrary(input)? {
                input.choose(NUMBERS)?
            } else {
                input.choose(NAMES)?
            };
            ext = ext.with(input.choose(FIELDS)?, value);
        }
        frame.ext = ext;
        frame.body = body(input, &frame.body)?;
        if input.ratio(1, 8)? {
            frame = frame.oneway();
        }
        let encoding = if input.ratio(1, 4)? {
            Encoding::Binary
        } else {
            Encoding::Json
        };
        // A binary header has no room for these codes.
        let fits = i16::try_from(frame.code).is_ok();
        Ok((frame, if fits { encoding } else { Encoding::Json }))
    }
}

fn body(input: &mut Unstructured<'_>, seen: &Bytes) -> Result<Bytes> {
    Ok(match input.int_in_range(0..=5)? {
        0 => Bytes::copy_from_slice(<&[u8]>::arbitrary(input)?),
        1 => Bytes::new(),
        2 => {
            // Some bytes of it are others.
            let mut bytes = seen.to_vec();
            let (at, new) = (usize::arbitrary(input)?, <&[u8]>::arbitrary(input)?);
            let at = at % (bytes.len() + 1);
            bytes[at..].iter_mut().zip(new).for_each(|(old, new)| *old = *new);
            bytes.into()
        }
        3 => {
            // A text or a number in it is another one.
            let text = String::from_utf8_lossy(seen).into_owned();
            let with = if bool::arbitrary(input)? {
                input.choose(NUMBERS)?
            } else {
                input.choose(NAMES)?
            };
            let places: Vec<usize> = text.match_indices(':').map(|(at, _)| at).collect();
            if places.is_empty() {
                return Ok(seen.clone());
            }
            let at = input.choose(&places)? + 1;
            let end = text[at..].find([',', '}']).map_or(text.len(), |end| at + end);
            let quoted = if bool::arbitrary(input)? {
                format!("\"{with}\"")
            } else {
                (*with).to_string()
            };
            format!("{}{quoted}{}", &text[..at], &text[end..]).into()
        }
        _ => seen.clone(),
    })
}
