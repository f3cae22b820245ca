// SPDX-License-Identifier: Apache-2.0
//! Name servers: their settings, their key-value table, and which brokers they let be written.

pub(super) mod config;
pub(super) mod kv;
pub(super) mod perm;
