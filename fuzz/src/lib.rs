// SPDX-License-Identifier: Apache-2.0
//! What targets share: damage to files, requests of every kind, and servers behind real sockets.

use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};

pub mod damage;
pub mod requests;
pub mod served;

/// Takes any bytes, and panics when something is not as it has to be.
pub type Target = fn(&[u8]);

/// Runs the one of the targets that `FUZZ_TARGET` names.
pub fn run(targets: &[(&str, Target)], bytes: &[u8]) {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let found = targets.iter().find(|(of, _)| *of == name);
        found.expect("FUZZ_TARGET names a target").1
    });
    chosen(bytes);
}

/// What the bytes stand for.
pub fn input<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> Option<T> {
    T::arbitrary_take_rest(Unstructured::new(bytes)).ok()
}
