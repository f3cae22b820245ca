// SPDX-License-Identifier: Apache-2.0
//! Writes extension fields without serde: for headers that are written by the hundred thousand.

use super::{Ext, Raw};
use crate::scan::{put_integer, put_string};

/// Room for an answer to a send.
const BYTES: usize = 192;

/// A JSON object of strings that is being written.
pub(crate) struct Object(Vec<u8>);

impl Object {
    pub(crate) fn new() -> Object {
        let mut text = Vec::with_capacity(BYTES);
        text.push(b'{');
        Object(text)
    }

    /// Opens the string of a field. The key is a name in our own source: there is nothing to escape in it.
    fn key(&mut self, key: &str) {
        let open: &[u8] = if self.0.len() == 1 { b"\"" } else { b",\"" };
        self.0.extend_from_slice(open);
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        put_string(&mut self.0, value);
    }

    pub(crate) fn number(&mut self, key: &str, value: i64) {
        self.key(key);
        self.0.push(b'"');
        put_integer(&mut self.0, value);
        self.0.push(b'"');
    }
}

impl From<Object> for Ext {
    fn from(mut object: Object) -> Ext {
        object.0.push(b'}');
        Ext(Raw::Built(object.0))
    }
}
