// SPDX-License-Identifier: Apache-2.0
//! Any bytes are a record or refused, by both readers.

use bytes::Bytes;
use wire::record::{Record, RecordHead};

pub(crate) fn run(bytes: &[u8]) {
    let head = RecordHead::scan(bytes);
    if Record::decode(&Bytes::copy_from_slice(bytes)).is_ok() {
        assert!(head.is_ok());
    }
    for record in Record::decode_all(&Bytes::copy_from_slice(bytes)).take(1000) {
        if record.is_err() {
            break;
        }
    }
}
