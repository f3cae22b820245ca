// SPDX-License-Identifier: Apache-2.0
//! Any bytes are properties; what is found by name is among the pairs.

use wire::properties;

pub(crate) fn run(bytes: &[u8]) {
    for (name, _) in properties::pairs(bytes) {
        assert!(properties::get(bytes, name).is_some());
        let _code = properties::tags_code(name);
    }
    let _indexed = properties::indexed(bytes);
}
