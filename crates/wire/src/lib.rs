// SPDX-License-Identifier: Apache-2.0
//! Every byte a peer can see: frames, typed headers, JSON bodies, stored messages.
//!
//! Sans-IO: nothing here knows sockets, files, clocks or threads. Bytes from a peer never panic; every length is checked
//! before it is believed.

#![warn(missing_docs)]

pub mod api;
pub mod batch;
pub mod body;
pub mod code;
pub mod ext;
pub mod fastjson;
pub mod frame;
pub mod ha;
pub mod java_properties;
pub mod message_id;
pub mod properties;
pub mod receipt;
pub mod record;
mod scan;
pub mod version;

/// A short string: up to 24 bytes without an allocation.
pub type Str = compact_str::CompactString;
