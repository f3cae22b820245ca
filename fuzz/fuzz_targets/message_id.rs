// SPDX-License-Identifier: Apache-2.0
//! Any text is an id of a message or refused; an id that was understood is written as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::message_id::{decode_offset_id, offset_id};

fuzz_target!(|text: &str| {
    if let Some((host, pos)) = decode_offset_id(text) {
        let again = decode_offset_id(&offset_id(host, pos));
        assert_eq!(again.map(|(host, pos)| (host.port(), pos)), Some((host.port(), pos)));
    }
});
