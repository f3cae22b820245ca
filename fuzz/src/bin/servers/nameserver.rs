// SPDX-License-Identifier: Apache-2.0
//! Any requests over a real connection: a name server answers what comes after them, and starts again from what they have left.

use std::cell::RefCell;
use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use fuzz::requests::Known;
use fuzz::served::Served;

static KNOWN: OnceLock<Known> = OnceLock::new();
thread_local!(static SERVED: RefCell<Served> = RefCell::new(Served::nameserver()));

pub(crate) fn run(bytes: &[u8]) {
    let known = KNOWN.get_or_init(|| Known::of(nameserver::routes::ROUTES.iter().map(|(code, _)| *code)));
    let mut input = Unstructured::new(bytes);
    let Ok(requests) = known.requests(&mut input) else {
        return;
    };
    let tail = if input.ratio(1, 16).unwrap_or(false) {
        <&[u8]>::arbitrary(&mut input).unwrap_or_default()
    } else {
        &[]
    };
    SERVED.with_borrow_mut(|served| served.turn(&requests, tail));
}
