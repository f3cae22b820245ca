// SPDX-License-Identifier: Apache-2.0
//! What other clients send, and what no client may send.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where an answer is not what it must be"
)]

use bytes::{BufMut, BytesMut};
use wire::api::offset::{BoundaryType, SearchOffsetByTimestamp};
use wire::api::pull::PullMessage;
use wire::api::register::QueryDataVersionReply;
use wire::code::{Code, Empty, NoHeader, ResponseCode};
use wire::ext::{Ext, ExtError};
use wire::frame::{Decoder, Encoding, Frame, FrameError, Language};

fn framed(kind: u8, header: &[u8], body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(4 + header.len() + body.len()).unwrap());
    out.put_u32(u32::from(kind) << 24 | u32::try_from(header.len()).unwrap());
    out.put_slice(header);
    out.put_slice(body);
    out
}

fn read(header: &str) -> Result<Frame, FrameError> {
    Decoder::default()
        .next(&mut framed(0, header.as_bytes(), b"body"))
        .map(Option::unwrap)
}

#[test]
fn keys_come_in_any_order_with_blanks_and_unknown_ones_between() {
    let frame = read(
        " { \"version\" : 317 , \"x\":{\"y\":[1,\"}\",{}]}, \"opaque\":-5,\n\"flag\":2,\"extFields\":{ \"topic\" : \"T\" },\
         \"language\":\"GO\",\"code\":105, \"serializeTypeCurrentRPC\":\"JSON\" } ",
    )
    .unwrap();
    assert_eq!(
        (frame.code, frame.version, frame.opaque, frame.flag),
        (105, 317, -5, 2)
    );
    assert_eq!(frame.language, Language::Go);
    assert!(frame.is_oneway() && !frame.is_reply());
    assert_eq!(frame.ext.get("topic").as_deref(), Some("T"));
    assert_eq!(&frame.body[..], b"body");
}

#[test]
fn a_header_may_leave_everything_out() {
    let frame = read("{}").unwrap();
    assert_eq!(
        (frame.code, frame.version, frame.opaque, frame.flag),
        (0, 0, 0, 0)
    );
    assert_eq!(frame.language, Language::Java);
    assert!(frame.ext.is_absent() && frame.remark.is_none());
}

#[test]
fn unknown_languages_nulls_and_numbers_in_quotes_are_accepted() {
    let frame =
        read("{\"code\":\"34\",\"language\":\"COBOL\",\"remark\":null,\"extFields\":null,\"version\":null}")
            .unwrap();
    assert_eq!((frame.code, frame.version), (34, 0));
    assert_eq!(frame.language, Language::Other);
    assert!(frame.remark.is_none() && frame.ext.is_absent());
}

#[test]
fn extension_values_that_are_no_strings_read_as_their_text() {
    let frame =
        read("{\"extFields\":{\"a\":true,\"b\":12,\"c\":null,\"d\":{\"x\":[1]},\"e\":-1.5,\"f\":\"s\"}}")
            .unwrap();
    let pairs: Vec<_> = frame.ext.iter().collect();
    let expected = [
        ("a", "true"),
        ("b", "12"),
        ("d", "{\"x\":[1]}"),
        ("e", "-1.5"),
        ("f", "s"),
    ];
    assert_eq!(pairs, expected.map(|(k, v)| (k.into(), v.into())));
    assert_eq!(frame.ext.get("c"), None);
}

#[test]
fn a_typed_header_takes_literals_strings_and_odd_booleans() {
    let ext = read("{\"extFields\":{\"topic\":\"T\",\"queueId\":3,\"timestamp\":\"17\",\"boundaryType\":\"upper\",\"x\":\"y\"}}")
        .unwrap()
        .ext;
    let header: SearchOffsetByTimestamp = ext.read().unwrap();
    assert_eq!(
        (header.queue_id, header.timestamp, header.boundary_type),
        (3, 17, Some(BoundaryType::Upper))
    );
    for (text, expected) in [
        ("\"True\"", true),
        ("true", true),
        ("\"yes\"", false),
        ("false", false),
        ("1", false),
    ] {
        let ext = read(&format!("{{\"extFields\":{{\"changed\":{text}}}}}"))
            .unwrap()
            .ext;
        assert_eq!(
            ext.read::<QueryDataVersionReply>().unwrap().changed,
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_missing_or_wrong_field_is_named() {
    let ext = Ext::default().with("consumerGroup", "g").with("topic", "t");
    assert_eq!(ext.read::<PullMessage>(), Err(ExtError::Missing("queueId")));
    let wrong = ext.with("queueId", "many").read::<PullMessage>().unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "the field queueId is not a 32-bit integer: many"
    );
}

#[test]
fn control_characters_and_escapes_in_strings_are_understood() {
    let frame = read(
        "{\"remark\":\"a\\u0001\\ud83d\\ude00\\n\\/\\ud83d.\u{2}\",\"extFields\":{\"\\u0061\":\"\\\"\\\\\"}}",
    )
    .unwrap();
    assert_eq!(frame.remark.as_deref(), Some("a\u{1}😀\n/\u{fffd}.\u{2}"));
    assert_eq!(frame.ext.get("a").as_deref(), Some("\"\\"));
}

#[test]
fn a_header_that_does_not_parse_is_refused() {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100), "]".repeat(100));
    let many = format!("{{\"extFields\":{{{}\"a\":\"\"}}}}", "\"a\":\"\",".repeat(5000));
    for header in [
        "",
        "[]",
        "{",
        "{\"code\"}",
        "{\"code\":}",
        "{\"code\":1",
        "{\"code\":1}x",
        "{\"code\":x}",
        "{\"code\":1 \"flag\":2}",
        "{\"code\":99999999999}",
        "{\"extFields\":{\"a\"}}",
        "{\"extFields\":[]}",
        "{\"extFields\":{\"a\":\"b}",
        "{\"remark\":\"\\",
        "{code:1}",
        &deep,
        &many,
    ] {
        assert!(matches!(read(header), Err(FrameError::Header(_))), "{header}");
    }
    let not_text = framed(0, b"{\"remark\":\"\xff\"}", b"");
    assert_eq!(
        Decoder::default().next(&mut not_text.clone()).unwrap_err(),
        FrameError::NotUtf8
    );
}

#[test]
fn lengths_that_cannot_be_are_refused_before_the_rest_has_arrived() {
    let next = |bytes: &[u8]| {
        Decoder {
            frame_bytes_max: 1000,
        }
        .next(&mut BytesMut::from(bytes))
    };
    assert_eq!(next(&[0, 0, 0, 3]).unwrap_err(), FrameError::TooSmall(3));
    assert_eq!(next(&[255, 255, 255, 255]).unwrap_err(), FrameError::TooSmall(-1));
    assert_eq!(
        next(&997u32.to_be_bytes()).unwrap_err(),
        FrameError::TooLarge {
            bytes: 1001,
            max: 1000
        }
    );
    assert!(next(&996u32.to_be_bytes()).unwrap().is_none());
    assert_eq!(
        next(&[0, 0, 0, 8, 0, 0, 0, 5]).unwrap_err(),
        FrameError::HeaderOverrun { header: 5, frame: 12 }
    );
    assert_eq!(
        next(&[0, 0, 0, 8, 2, 0, 0, 4]).unwrap_err(),
        FrameError::UnknownEncoding(2)
    );
    let mut whole = framed(0, b"{}", &[0; 16_777_216 - 10]);
    assert!(Decoder::default().next(&mut whole).unwrap().is_some());
}

#[test]
fn a_binary_header_with_a_length_beyond_its_end_is_refused() {
    let fixed: &[u8] = &[0, 10, 0, 1, 237, 0, 0, 0, 7, 0, 0, 0, 0];
    let header = |rest: &[&[u8]]| framed(1, &[&[fixed], rest].concat().concat(), b"");
    let next = |mut frame: BytesMut| Decoder::default().next(&mut frame);
    let frame = next(header(&[
        &[0, 0, 0, 2],
        b"ok",
        &[0, 0, 0, 8, 0, 1],
        b"k",
        &[0, 0, 0, 1],
        b"v",
        b"trailing",
    ]))
    .unwrap()
    .unwrap();
    assert_eq!(
        (frame.code, frame.version, frame.remark.as_deref()),
        (10, 493, Some("ok"))
    );
    assert_eq!(frame.ext.get("k").as_deref(), Some("v"));
    let none: &[u8] = &[0, 0, 0, 0];
    for rest in [
        &[&[0, 0, 0, 3][..], b"ok"][..],
        &[&[255, 255, 255, 255]],
        &[none],
        &[none, &[0, 0, 0, 1]],
        &[none, &[255, 255, 255, 255]],
        &[none, &[0, 0, 0, 3, 0, 1], b"k"],
        &[none, &[0, 0, 0, 8, 0, 1], b"k", &[0, 0, 0, 2], b"v"],
        &[none, &[0, 0, 0, 8, 255, 255], b"k", &[0, 0, 0, 1], b"v"],
    ] {
        assert!(
            matches!(next(header(rest)), Err(FrameError::Header(_))),
            "{rest:?}"
        );
    }
}

#[test]
fn an_empty_value_of_a_binary_header_is_no_value_for_an_optional_field() {
    let frame = Frame {
        ext: Ext::default()
            .with("topic", "")
            .with("queueId", "1")
            .with("timestamp", "2")
            .with("boundaryType", ""),
        ..Frame::reply(1, ResponseCode::SUCCESS)
    };
    let mut out = BytesMut::new();
    frame.encode(&mut out, Encoding::Binary);
    let header: SearchOffsetByTimestamp = Decoder::default()
        .next(&mut out)
        .unwrap()
        .unwrap()
        .ext
        .read()
        .unwrap();
    assert_eq!((header.topic.as_str(), header.boundary_type), ("", None));
}

#[test]
fn replies_are_written_the_way_the_reference_writes_them() {
    let mut out = BytesMut::new();
    let mut frame = Frame::reply(7, ResponseCode::SUCCESS);
    frame.encode(&mut out, Encoding::Json);
    assert_eq!(
        &out[8..],
        br#"{"code":0,"flag":1,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":493}"#
    );
    out.clear();
    frame.ext = Ext::of(&Empty {});
    frame.remark = Some("a \"b\"\n".into());
    frame.encode(&mut out, Encoding::Json);
    let expected = br#"{"code":0,"extFields":{},"flag":1,"language":"JAVA","opaque":7,"remark":"a \"b\"\n","serializeTypeCurrentRPC":"JSON","version":493}"#;
    assert_eq!(&out[8..], expected);
    assert!(Ext::of(&NoHeader).is_absent());
}

#[test]
fn a_header_too_long_for_its_length_field_goes_out_as_an_error() {
    let frame = Frame {
        remark: Some("x".repeat(17 << 20).into()),
        ..Frame::reply(7, ResponseCode::SUCCESS)
    };
    let mut out = BytesMut::new();
    frame.with_body(&b"body"[..]).encode(&mut out, Encoding::Json);
    let read = Decoder::default().next(&mut out).unwrap().unwrap();
    assert_eq!((read.code, read.opaque), (ResponseCode::SYSTEM_ERROR.0, 7));
}

#[test]
fn a_code_without_a_name_is_shown_as_its_number() {
    assert_eq!(Code::SEND_MESSAGE_V2.to_string(), "SEND_MESSAGE_V2 (310)");
    assert_eq!(Code(9999).to_string(), "9999");
    assert_eq!(ResponseCode(-1006).name(), Some("RPC_TIME_OUT"));
}
