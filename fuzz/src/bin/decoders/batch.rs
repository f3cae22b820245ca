// SPDX-License-Identifier: Apache-2.0
//! The body of a batch never yields more bytes than it has.

use wire::batch;

pub(crate) fn run(bytes: &[u8]) {
    let bodies: usize = batch::sub_messages(bytes)
        .map_while(Result::ok)
        .map(|message| message.body.len())
        .sum();
    assert!(bodies <= bytes.len());
}
