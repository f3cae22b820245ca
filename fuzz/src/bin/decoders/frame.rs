// SPDX-License-Identifier: Apache-2.0
//! Any bytes are a frame, no frame yet, or refused; what is read is written and read again the same.

use bytes::{BufMut, BytesMut};
use wire::frame::{Decoder, Encoding};

pub(crate) fn run(bytes: &[u8]) {
    read(BytesMut::from(bytes));
    // Few bytes begin with their number.
    let Ok(length) = u32::try_from(bytes.len()) else {
        return;
    };
    let mut whole = BytesMut::new();
    whole.put_u32(length);
    whole.put_slice(bytes);
    read(whole);
}

fn read(mut bytes: BytesMut) {
    let Ok(Some(frame)) = Decoder::default().next(&mut bytes) else {
        return;
    };
    let mut out = BytesMut::new();
    frame.encode(&mut out, Encoding::Json);
    let again = Decoder::default()
        .next(&mut out)
        .expect("our frames parse")
        .expect("our frames are whole");
    assert_eq!(again.code, frame.code);
    assert_eq!(again.opaque, frame.opaque);
    assert_eq!(again.body, frame.body);
    assert!(again.ext.iter().eq(frame.ext.iter()));
}
