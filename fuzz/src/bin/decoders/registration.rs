// SPDX-License-Identifier: Apache-2.0
//! Any bytes are a registration of a broker or refused, plain and compressed.

use wire::body::register::RegisterBrokerBody;

pub(crate) fn run(bytes: &[u8]) {
    let Some((version, bytes)) = fuzz::input::<(i32, &[u8])>(bytes) else {
        return;
    };
    let _any = RegisterBrokerBody::decode_compressed(bytes, version);
    let _any = RegisterBrokerBody::decode(bytes);
}
