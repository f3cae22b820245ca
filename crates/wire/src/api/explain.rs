// SPDX-License-Identifier: Apache-2.0
//! What became of a message. The reference has no such request.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};

/// Asks why a group has not consumed a message, or, without a group, what became of the message. It is named in one of
/// three ways: by its offset id, by its unique id, or by its queue and offset there. The body of the answer is an
/// [`Explanation`](crate::body::explain::Explanation).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainMessage {
    /// Topic the message was sent to.
    pub topic: Str,
    /// Consumer group; all that have to do with the topic when it is absent.
    pub group: Option<Str>,
    /// Offset id, of the message or of any copy of it.
    pub offset_msg_id: Option<Str>,
    /// Unique id.
    pub uniq_key: Option<Str>,
    /// Queue number, with `queue_offset`.
    pub queue_id: Option<i32>,
    /// Offset in that queue.
    pub queue_offset: Option<i64>,
}

impl Request for ExplainMessage {
    const CODE: Code = Code::EXPLAIN_MESSAGE;
    type Reply = NoHeader;
}
