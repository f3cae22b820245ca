// SPDX-License-Identifier: Apache-2.0
//! Both ways to read a send, held against each other.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::frame::{Decoder, Encoding, Frame};

/// What the header reads as, the fast way and the usual one.
fn both_ways(frame: &Frame) -> (Option<SendMessageV2>, Result<SendMessageV2, ExtError>) {
    (SendMessageV2::by_letters(&frame.ext), frame.ext.read())
}

fn in_json(fields: &str) -> Frame {
    let header = format!("{{\"code\":310,\"extFields\":{{{fields}}}}}");
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&u32::try_from(header.len() + 4).unwrap().to_be_bytes());
    bytes.extend_from_slice(&u32::try_from(header.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(header.as_bytes());
    Decoder::default().next(&mut bytes).unwrap().unwrap()
}

fn over_the_wire(header: &SendMessageV2, encoding: Encoding) -> Frame {
    let mut bytes = BytesMut::new();
    Frame::request(7, header).encode(&mut bytes, encoding);
    Decoder::default().next(&mut bytes).unwrap().unwrap()
}

const NEEDED: &str = r#""a":"g","b":"t","c":"d","d":"4","e":"-1","f":"0","g":"1700000000000","h":"0""#;

#[test]
fn a_header_as_clients_send_it_is_read_the_fast_way() {
    let frame = in_json(&format!(
        r#"{NEEDED},"i":"KEYS\u0001k\u0002","j":"1","k":"false","l":"16","m":"true","n":"broker-a","unknown":"x""#
    ));
    let (fast, usual) = both_ways(&frame);
    assert_eq!(fast.unwrap(), usual.unwrap());
}

#[test]
fn a_binary_header_is_read_the_fast_way_unless_a_value_is_empty() {
    let full = SendMessageV2 {
        producer_group: "g".into(),
        topic: "t".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: -1,
        born_timestamp: 1_700_000_000_000,
        properties: Some("KEYS\u{1}k\u{2}".into()),
        reconsume_times: Some(1),
        unit_mode: Some(false),
        max_reconsume_times: Some(16),
        batch: Some(true),
        bname: Some("broker-a".into()),
        ..SendMessageV2::default()
    };
    let (fast, usual) = both_ways(&over_the_wire(&full, Encoding::Binary));
    assert!(fast.is_some());
    assert_eq!(fast, usual.ok());
    let empty = SendMessageV2 {
        properties: Some("".into()),
        ..full
    };
    let (fast, usual) = both_ways(&over_the_wire(&empty, Encoding::Binary));
    assert_eq!((fast, usual.unwrap().properties), (None, None));
}

#[test]
fn whatever_is_out_of_the_ordinary_is_left_to_the_usual_way() {
    for odd in [
        r#""b":"t","c":"d","d":"4","e":"0","f":"0","g":"1","h":"0""#.to_owned(),
        NEEDED.replace("\"-1\"", "\"many\""),
        NEEDED.replace("\"-1\"", "\"\""),
        NEEDED.replace("\"-1\"", "\"4294967296\""),
        NEEDED.replace("\"-1\"", "\"-99999999999999999999\""),
        NEEDED.replace("\"-1\"", "\"\\u0031\""),
        NEEDED.replace("\"-1\"", "null"),
        format!("{NEEDED},\"a\":\"again\""),
        format!("{NEEDED},\"i\":null"),
        format!("{NEEDED},\"\\u0069\":\"x\""),
    ] {
        assert_eq!(SendMessageV2::by_letters(&in_json(&odd).ext), None, "{odd}");
    }
}

#[test]
fn numbers_and_booleans_without_quotes_are_read_alike() {
    let frame = in_json(&format!("{},\"k\":true,\"j\":3", NEEDED.replace("\"-1\"", "-1")));
    let (fast, usual) = both_ways(&frame);
    assert_eq!(fast.unwrap(), usual.unwrap());
}

proptest! {
    #[test]
    fn both_ways_agree_on_any_header(
        texts in prop::array::uniform4("\\PC{0,40}|[a-z\u{1}\u{2}\"\\\\]{0,60}"),
        numbers in prop::array::uniform4(any::<i32>()),
        born_timestamp in any::<i64>(),
        properties in proptest::option::of("[ -~\u{1}\u{2}äß日]{0,300}"),
        optional in any::<(Option<i32>, Option<bool>, Option<i32>, Option<bool>)>(),
        is_binary in any::<bool>(),
    ) {
        let [producer_group, topic, default_topic, bname] = texts.map(Str::from);
        let [default_topic_queue_nums, queue_id, sys_flag, flag] = numbers;
        let (reconsume_times, unit_mode, max_reconsume_times, batch) = optional;
        let header = SendMessageV2 {
            producer_group, topic, default_topic, default_topic_queue_nums, queue_id, sys_flag, born_timestamp, flag,
            properties: properties.map(Str::from), reconsume_times, unit_mode, max_reconsume_times, batch,
            bname: Some(bname),
        };
        let encoding = if is_binary { Encoding::Binary } else { Encoding::Json };
        let (fast, usual) = both_ways(&over_the_wire(&header, encoding));
        match fast {
            Some(fast) => prop_assert_eq!(fast, usual.unwrap()),
            // Only these are out of the ordinary: long numbers, and what is empty in the binary encoding.
            None => prop_assert!(is_binary || born_timestamp.unsigned_abs() >= 1_000_000_000_000_000_000),
        }
    }

    #[test]
    fn both_ways_agree_on_damaged_headers(at in 0..NEEDED.len(), with in "[ -~]") {
        let mut damaged = NEEDED.to_owned();
        damaged.replace_range(at..=at, &with);
        let header = format!("{{\"code\":310,\"extFields\":{{{damaged}}}}}");
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&u32::try_from(header.len() + 4).unwrap().to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(header.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(header.as_bytes());
        if let Ok(Some(frame)) = Decoder::default().next(&mut bytes)
            && let (Some(fast), usual) = both_ways(&frame)
        {
            prop_assert_eq!(Ok(fast), usual);
        }
    }

    #[test]
    fn a_receipt_is_written_as_serde_writes_it(
        texts in prop::array::uniform4("\\PC{0,40}|[a-z\u{1}\u{2}\"\\\\]{0,60}"),
        queue_id in any::<i32>(),
        queue_offset in any::<i64>(),
        given in any::<[bool; 5]>(),
    ) {
        let [msg_id, id, handle, region] = texts.map(Str::from);
        let maybe = |at: usize, text: &Str| given[at].then(|| text.clone());
        let receipt = SendReceipt {
            transaction_id: maybe(0, &id),
            batch_uniq_id: maybe(1, &id),
            recall_handle: maybe(2, &handle),
            region: maybe(3, &region),
            trace_on: maybe(4, &Str::const_new("true")),
            msg_id, queue_id, queue_offset,
        };
        let written = |ext: Ext| { let mut out = Vec::new(); ext.put_json(&mut out); out };
        prop_assert_eq!(written(receipt.ext()), written(Ext::of(&receipt)));
    }
}
