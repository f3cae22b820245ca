// SPDX-License-Identifier: Apache-2.0
//! Any bytes are a frame, no frame yet, or refused; what is read is written and read again the same.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use wire::frame::{Decoder, Encoding};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(frame)) = Decoder::default().next(&mut BytesMut::from(bytes)) else {
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
});
