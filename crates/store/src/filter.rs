// SPDX-License-Identifier: Apache-2.0
//! The question a reader asks of every message. The store knows no expressions.

/// Decides which messages a read returns.
pub trait Filter: Send + Sync {
    /// By the code of the message's tag: its Java hash, or the delivery time in the delay topic.
    fn by_code(&self, tags_code: i64) -> bool;
    /// By the whole record, asked only when [`Filter::needs_record`] and the code matched.
    fn by_record(&self, _record: &[u8]) -> bool {
        true
    }
    /// Whether the record has to be read to decide.
    fn needs_record(&self) -> bool {
        false
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
