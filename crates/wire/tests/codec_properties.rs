// SPDX-License-Identifier: Apache-2.0
//! What holds for every frame and for every sequence of bytes.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use wire::api::send::{SendMessage, SendMessageV2};
use wire::body::register::RegisterBrokerBody;
use wire::body::stats::TopicStats;
use wire::body::subscription::HeartbeatBody;
use wire::code::ResponseCode;
use wire::ext::Ext;
use wire::fastjson;
use wire::frame::{Decoder, Encoding, Frame, Language};

/// Text with everything that needs care in JSON: quotes, backslashes, controls, characters of two UTF-16 units.
fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![
            4 => proptest::char::range(' ', '~'),
            2 => proptest::char::range('\0', '\x1f'),
            1 => any::<char>(),
            1 => Just('"'),
            1 => Just('\\'),
        ],
        0..40,
    )
    .prop_map(|characters| characters.into_iter().collect())
}

fn pairs() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(text(), text(), 0..8)
}

/// Frames both encodings can carry: the binary one has 16 bits for code and version and no empty remark.
fn frame() -> impl Strategy<Value = Frame> {
    (
        (any::<i16>(), any::<i16>(), any::<i32>(), any::<i32>(), 0..14u8),
        prop::option::of(text().prop_filter("not empty", |t| !t.is_empty())),
        prop::option::of(pairs()),
        prop::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(
            |((code, version, opaque, flag, language), remark, ext, body)| Frame {
                code: code.into(),
                language: Language::from_number(language),
                version: version.into(),
                opaque,
                flag,
                remark: remark.map(Into::into),
                ext: ext.map_or_else(Ext::default, |pairs| Ext::of(&pairs)),
                body: body.into(),
            },
        )
}

fn encoding() -> impl Strategy<Value = Encoding> {
    prop_oneof![Just(Encoding::Json), Just(Encoding::Binary)]
}

fn encoded(frame: &Frame, encoding: Encoding) -> BytesMut {
    let mut out = BytesMut::new();
    frame.encode(&mut out, encoding);
    out
}

fn fields(ext: &Ext) -> BTreeMap<String, String> {
    ext.iter().map(|(k, v)| (k.into(), v.into())).collect()
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(frame in frame(), encoding in encoding(), next in any::<[u8; 3]>()) {
        let mut bytes = encoded(&frame, encoding);
        bytes.extend_from_slice(&next);
        let read = Decoder::default().next(&mut bytes).unwrap().unwrap();
        prop_assert_eq!(&bytes[..], &next[..]);
        prop_assert_eq!(
            (read.code, read.version, read.opaque, read.flag, read.language),
            (frame.code, frame.version, frame.opaque, frame.flag, frame.language)
        );
        prop_assert_eq!(&read.remark, &frame.remark);
        prop_assert_eq!(fields(&read.ext), fields(&frame.ext));
        prop_assert_eq!(&read.body, &frame.body);
        if encoding == Encoding::Json {
            prop_assert_eq!(read.ext.is_absent(), frame.ext.is_absent());
        }
        prop_assert_eq!(encoded(&read, encoding), encoded(&frame, encoding));
    }

    #[test]
    fn a_head_is_the_frame_without_its_body(frame in frame(), encoding in encoding()) {
        let mut head = BytesMut::new();
        frame.encode_head(&mut head, encoding);
        head.extend_from_slice(&frame.body);
        prop_assert_eq!(head, encoded(&frame, encoding));
    }

    #[test]
    fn a_frame_that_has_not_arrived_whole_is_waited_for(frame in frame(), encoding in encoding(), cut in any::<prop::sample::Index>()) {
        let whole = encoded(&frame, encoding);
        let cut = cut.index(whole.len());
        let mut prefix = BytesMut::from(&whole[..cut]);
        prop_assert!(Decoder::default().next(&mut prefix).unwrap().is_none());
        prop_assert_eq!(&prefix[..], &whole[..cut], "nothing is taken");
    }

    #[test]
    fn a_damaged_frame_is_read_or_refused_but_never_panics(
        frame in frame(),
        encoding in encoding(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encoded(&frame, encoding);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(Some(read)) = Decoder::default().next(&mut bytes) {
            let _read = fields(&read.ext);
            let _read = read.ext.read::<SendMessageV2>();
            let _read = encoded(&read, Encoding::Json);
            let _read = encoded(&read, Encoding::Binary);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _read = Decoder::default().next(&mut BytesMut::from(&bytes[..]));
        for kind in [0u8, 1] {
            let length = u32::try_from(bytes.len()).unwrap();
            let mut framed = BytesMut::new();
            framed.extend_from_slice(&(length + 4).to_be_bytes());
            framed.extend_from_slice(&(u32::from(kind) << 24 | length).to_be_bytes());
            framed.extend_from_slice(&bytes);
            let _read = Decoder::default().next(&mut framed);
        }
        let _read = fastjson::from_slice::<HeartbeatBody>(&bytes);
        let _read = fastjson::from_slice::<serde_json::Value>(&bytes);
        let _read = RegisterBrokerBody::decode_compressed(&bytes, 493);
    }

    #[test]
    fn json_like_noise_never_panics(noise in "[\\[\\]{}:,\"'0-9a-c\\\\u \n.-]{0,120}") {
        let _read = fastjson::from_str::<serde_json::Value>(&noise);
        let _read = fastjson::from_str::<TopicStats>(&noise);
        let header = format!("{{\"code\":1,\"extFields\":{noise}}}");
        let mut framed = BytesMut::new();
        framed.extend_from_slice(&(header.len() as u32 + 4).to_be_bytes());
        framed.extend_from_slice(&(header.len() as u32).to_be_bytes());
        framed.extend_from_slice(header.as_bytes());
        if let Ok(Some(frame)) = Decoder::default().next(&mut framed) {
            let _read = fields(&frame.ext);
            let _read = frame.ext.read::<SendMessage>();
        }
    }

    #[test]
    fn the_typed_reader_and_the_iterator_see_the_same_fields(pairs in pairs(), encoding in encoding()) {
        let frame = Frame { ext: Ext::of(&pairs), ..Frame::reply(1, wire::code::ResponseCode::SUCCESS) };
        let read = Decoder::default().next(&mut encoded(&frame, encoding)).unwrap().unwrap();
        prop_assert_eq!(fields(&read.ext), pairs.clone());
        prop_assert_eq!(read.ext.read::<BTreeMap<String, String>>().unwrap(), pairs.clone());
        for (key, value) in &pairs {
            let got = read.ext.get(key);
            prop_assert_eq!(got.as_deref(), Some(&**value));
        }
    }

    #[test]
    fn a_field_added_later_is_there_with_the_others(pairs in pairs(), key in text(), value in text(), encoding in encoding()) {
        let frame = Frame { ext: Ext::of(&pairs), ..Frame::reply(1, wire::code::ResponseCode::SUCCESS) };
        let read = Decoder::default().next(&mut encoded(&frame, encoding)).unwrap().unwrap();
        let mut expected = pairs.clone();
        expected.insert(key.clone(), value.clone());
        prop_assert_eq!(fields(&read.ext.with(&key, &value)), expected.clone());
        prop_assert_eq!(fields(&frame.ext.with(&key, &value)), expected);
    }

    #[test]
    fn json_bodies_read_back_as_they_were_written(
        strings in prop::collection::btree_map(text(), text(), 0..6),
        numbers in prop::collection::btree_map(any::<i64>(), text(), 0..6),
    ) {
        // A key that begins with NUL and a brace is the one thing the bare form keeps for itself.
        let value: (BTreeMap<String, String>, BTreeMap<i64, String>) =
            (strings.into_iter().filter(|(key, _)| !key.starts_with("\0{")).collect(), numbers);
        for written in [fastjson::to_vec(&value), fastjson::to_vec_standard(&value), fastjson::to_vec_pretty(&value)] {
            let read: (BTreeMap<String, String>, BTreeMap<i64, String>) = fastjson::from_slice(&written).unwrap();
            prop_assert_eq!(&read, &value);
        }
        let standard: (BTreeMap<String, String>, BTreeMap<i64, String>) =
            serde_json::from_slice(&fastjson::to_vec_standard(&value)).unwrap();
        prop_assert_eq!(&standard, &value);
    }

    #[test]
    fn both_send_headers_carry_the_same_fields(topic in text(), properties in text(), queue_id in any::<i32>(), unit in any::<Option<bool>>()) {
        let v2 = SendMessageV2 {
            topic: topic.into(),
            properties: Some(properties.into()),
            queue_id,
            unit_mode: unit,
            born_timestamp: i64::from(queue_id) << 20,
            ..SendMessageV2::default()
        };
        let v1 = SendMessage::from(v2.clone());
        prop_assert_eq!(SendMessageV2::from(v1.clone()), v2.clone());
        prop_assert_eq!(Ext::of(&v2).read::<SendMessageV2>().unwrap(), v2);
        prop_assert_eq!(Ext::of(&v1).read::<SendMessage>().unwrap(), v1);
    }
}

#[test]
fn frames_that_arrive_in_one_buffer_are_cut_apart_without_copying() {
    let mut buf = BytesMut::new();
    for opaque in 0..3 {
        Frame::reply(opaque, wire::code::ResponseCode::SUCCESS)
            .with_body(Bytes::from(vec![opaque as u8; 100]))
            .encode(&mut buf, Encoding::Json);
    }
    let range = buf.as_ptr_range();
    for opaque in 0..3 {
        let frame = Decoder::default().next(&mut buf).unwrap().unwrap();
        assert_eq!(frame.opaque, opaque);
        assert!(range.contains(&frame.body.as_ptr()));
    }
    assert!(Decoder::default().next(&mut buf).unwrap().is_none());
}

#[test]
fn a_frame_without_fields_and_body_does_not_keep_the_buffer_it_arrived_in() {
    for encoding in [Encoding::Json, Encoding::Binary] {
        let mut buf = encoded(&Frame::reply(1, ResponseCode::SUCCESS), encoding);
        let bytes = buf.len();
        let frame = Decoder::default().next(&mut buf);
        assert!(matches!(frame, Ok(Some(_))));
        assert!(
            buf.try_reclaim(bytes),
            "{encoding:?}: the room of the frame is free"
        );
    }
}
