// SPDX-License-Identifier: Apache-2.0
//! Any text is a file of settings or refused; a setting that is changed in it is read as it was written.

use wire::java_properties::{edit, parse};

pub(crate) fn run(bytes: &[u8]) {
    let Some((text, key, value)) = fuzz::input::<(&str, &str, &str)>(bytes) else {
        return;
    };
    let Ok(edited) = edit(text, key, value) else {
        return;
    };
    let entries = parse(&edited).expect("what was written is well formed");
    let last = entries.iter().rfind(|entry| entry.key == key);
    assert_eq!(last.map(|entry| &*entry.value), Some(value));
}
