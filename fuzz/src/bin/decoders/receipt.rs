// SPDX-License-Identifier: Apache-2.0
//! Any text is the handle of a lease or refused; one that was understood is written so that it is understood the same.

use wire::receipt::Receipt;

pub(crate) fn run(bytes: &[u8]) {
    let Some(handle) = fuzz::input::<&str>(bytes) else {
        return;
    };
    let Ok(receipt) = Receipt::parse(handle) else {
        return;
    };
    let written = receipt.handle("T", 3, 77);
    let again = Receipt::parse(&written).expect("what we write is understood");
    assert_eq!(again.handle("T", 3, 77), written);
}
