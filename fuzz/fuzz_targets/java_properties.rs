// SPDX-License-Identifier: Apache-2.0
//! Any text is a file of settings or refused; a setting that is changed in it is read as it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::java_properties::{edit, parse};

fuzz_target!(|input: (&str, &str, &str)| {
    let (text, key, value) = input;
    let Ok(edited) = edit(text, key, value) else { return };
    let entries = parse(&edited).expect("what was written is well formed");
    let last = entries.iter().rfind(|entry| entry.key == key);
    assert_eq!(last.map(|entry| &*entry.value), Some(value));
});
