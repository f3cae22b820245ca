// SPDX-License-Identifier: Apache-2.0
//! The body of a batch never yields more bytes than it has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::batch;

fuzz_target!(|bytes: &[u8]| {
    let bodies: usize = batch::sub_messages(bytes)
        .map_while(Result::ok)
        .map(|message| message.body.len())
        .sum();
    assert!(bodies <= bytes.len());
});
