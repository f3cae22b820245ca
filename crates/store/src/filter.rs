// SPDX-License-Identifier: Apache-2.0
//! The question a reader asks of every message. The store knows no expressions.

/// Decides which messages a read returns.
pub trait Filter: Send + Sync {
    /// By the code of the message's tag: its Java hash, or the delivery time in the delay topic.
    fn by_code(&self, tags_code: i64) -> bool;
    /// By the properties as they are stored, asked only when the code matched.
    fn by_properties(&self, _properties: &[u8]) -> bool {
        true
    }
}

/// Lets everything pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct All;

impl Filter for All {
    fn by_code(&self, _tags_code: i64) -> bool {
        true
    }
}
