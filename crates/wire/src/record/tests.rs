// SPDX-License-Identifier: Apache-2.0
//! Records: encode and decode are inverse, and no cut or flipped byte passes or panics.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[test]
fn the_smallest_record_has_91_bytes_and_the_fields_lie_where_tools_expect_them() {
    let host: SocketAddr = ([127, 0, 0, 1], 50468).into();
    let parts = Parts {
        queue_id: 7,
        flag: 0,
        sys_flag: sysflag::COMPRESSED,
        born_at: 5,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_pos: 0,
        body: b"",
        body_crc: 0,
        topic: "",
        properties: b"",
    };
    let stamp = Stamp {
        queue_offset: 3,
        physical_offset: 4,
        stored_at: 6,
    };
    let mut out = Vec::new();
    encode_record(&mut out, &parts, &stamp, Seal::Absent);
    assert_eq!(out.len(), RECORD_BYTES_MIN);
    assert_eq!(out[QUEUE_OFFSET_AT..QUEUE_OFFSET_AT + 8], 3_i64.to_be_bytes());
    assert_eq!(
        out[PHYSICAL_OFFSET_AT..PHYSICAL_OFFSET_AT + 8],
        4_i64.to_be_bytes()
    );
    assert_eq!(out[SYS_FLAG_AT..SYS_FLAG_AT + 4], 1_i32.to_be_bytes());
    assert_eq!(out[48..56], [127, 0, 0, 1, 0, 0, 0xC5, 0x24]);
    assert_eq!(out[56..64], 6_i64.to_be_bytes());
}

#[test]
fn seal_digits_are_written_least_significant_first() {
    let mut out = Vec::new();
    put_seal(&mut out, 12345);
    assert_eq!(out, b"__CRC32#\x015432100000\x02");
    assert_eq!(out.len(), SEAL_BYTES);
}

#[derive(Debug, Clone)]
struct Fields {
    numbers: (u32, i32, i32, i64, i32, i64),
    hosts: (SocketAddr, SocketAddr),
    body: Vec<u8>,
    topic: String,
    properties: Vec<u8>,
    stamp: (i64, i64, i64),
    seal: Seal,
}

fn fields() -> impl Strategy<Value = Fields> {
    let host =
        (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port));
    (
        any::<(u32, i32, i32, i64, i32, i64)>(),
        (host.clone(), host),
        vec(any::<u8>(), 0..200),
        prop_oneof!["[a-zA-Z%_-]{0,127}", "[a-z]{128,255}"],
        vec(any::<u8>(), 0..100),
        any::<(i64, i64, i64)>(),
        prop_oneof![Just(Seal::Absent), Just(Seal::Present)],
    )
        .prop_map(|(numbers, hosts, body, topic, properties, stamp, seal)| Fields {
            numbers,
            hosts,
            body,
            topic,
            properties,
            stamp,
            seal,
        })
}

impl Fields {
    fn encode(&self) -> Vec<u8> {
        let (queue_id, flag, sys_flag, born_at, reconsume_times, prepared_pos) = self.numbers;
        let parts = Parts {
            queue_id,
            flag,
            sys_flag,
            born_at,
            born_host: self.hosts.0,
            store_host: self.hosts.1,
            reconsume_times,
            prepared_pos,
            body: &self.body,
            body_crc: crc31(&self.body),
            topic: &self.topic,
            properties: &self.properties,
        };
        let stamp = Stamp {
            queue_offset: self.stamp.0,
            physical_offset: self.stamp.1,
            stored_at: self.stamp.2,
        };
        let mut out = Vec::new();
        encode_record(&mut out, &parts, &stamp, self.seal);
        assert_eq!(out.len(), record_len(&parts, self.seal));
        out
    }
}

proptest! {
    #[test]
    fn a_record_comes_back_and_encodes_to_the_same_bytes(fields in fields()) {
        let bytes = Bytes::from(fields.encode());
        let record = Record::decode(&bytes).unwrap();
        prop_assert_eq!(&record.body[..], &fields.body[..]);
        prop_assert_eq!(record.topic.as_str(), fields.topic.as_str());
        prop_assert!(record.properties.starts_with(&fields.properties));
        prop_assert_eq!((record.born_host, record.store_host), fields.hosts);
        let head = RecordHead::scan(&bytes).unwrap();
        prop_assert_eq!(head.check_seal(&bytes).is_ok(), fields.seal == Seal::Present);
        prop_assert_eq!(head.is_sealed(), fields.seal == Seal::Present);
        let mut again = Vec::new();
        encode_record(&mut again, &record.parts(), &record.stamp(), Seal::Absent);
        prop_assert_eq!(&again[..], &bytes[..]);
    }

    #[test]
    fn a_cut_record_is_short(fields in fields(), cut in any::<prop::sample::Index>()) {
        let bytes = fields.encode();
        let cut = cut.index(bytes.len());
        let short = matches!(RecordHead::scan(&bytes[..cut]), Err(RecordError::Short { .. }));
        prop_assert!(short);
    }

    #[test]
    fn a_wrong_length_does_not_add_up(fields in fields(), at in 0usize..4, flip in 1u8..=255) {
        let mut bytes = fields.encode();
        let len = bytes.len();
        bytes[at] ^= flip;
        bytes.resize(len + 300, 0);
        prop_assert!(RecordHead::scan(&bytes).is_err());
    }

    #[test]
    fn a_seal_notices_every_flipped_byte(fields in fields(), at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let fields = Fields { seal: Seal::Present, ..fields };
        let mut bytes = fields.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let sound = RecordHead::scan(&bytes).is_ok_and(|head| head.check_seal(&bytes).is_ok());
        prop_assert!(!sound);
    }

    #[test]
    fn any_bytes_are_scanned_without_panic(tail in vec(any::<u8>(), 0..200), v2: bool, size in 0u32..220) {
        let mut bytes = size.to_be_bytes().to_vec();
        bytes.extend_from_slice(&(if v2 { MAGIC_V2 } else { MAGIC_V1 }).to_be_bytes());
        bytes.extend_from_slice(&tail);
        if let Ok(head) = RecordHead::scan(&bytes) {
            prop_assert_eq!(head.total_size, size as usize);
        }
    }
}
