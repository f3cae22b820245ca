// SPDX-License-Identifier: Apache-2.0
//! Any text is an id of a message or refused; an id that was understood is written as it was.

use wire::message_id::{decode_offset_id, offset_id};

pub(crate) fn run(bytes: &[u8]) {
    let Some(text) = fuzz::input::<&str>(bytes) else {
        return;
    };
    if let Some((host, pos)) = decode_offset_id(text) {
        let again = decode_offset_id(&offset_id(host, pos));
        assert_eq!(
            again.map(|(host, pos)| (host.port(), pos)),
            Some((host.port(), pos))
        );
    }
}
