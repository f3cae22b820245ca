// SPDX-License-Identifier: Apache-2.0
//! JSON as the reference reads and writes it.
//!
//! Reading is tolerant: integer map keys without quotes, objects as map keys (the key is then the text of the object), single
//! quotes, trailing commas, numbers and booleans in quotes, nulls where a field has a default. Writing leaves integer map keys
//! unquoted and writes `QueueKey` as an object, which is not legal JSON, but what peers expect; `to_vec_standard` writes legal
//! JSON in ASCII.

mod read;
mod write;

pub use read::{JsonError, check, from_slice, from_str};
pub(crate) use write::object_key;
pub use write::{to_string, to_vec, to_vec_pretty, to_vec_standard};
