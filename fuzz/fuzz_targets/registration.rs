// SPDX-License-Identifier: Apache-2.0
//! Any bytes are a registration of a broker or refused, plain and compressed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::body::register::RegisterBrokerBody;

fuzz_target!(|input: (i32, &[u8])| {
    let (version, bytes) = input;
    let _any = RegisterBrokerBody::decode_compressed(bytes, version);
    let _any = RegisterBrokerBody::decode(bytes);
});
