// SPDX-License-Identifier: Apache-2.0
//! Messages: to find, to print, to send.

pub(super) mod by_id;
pub(super) mod by_key;
pub(super) mod compaction;
pub(super) mod consume;
mod find;
pub(super) mod print;
pub(super) mod send;
mod show;
pub(super) mod trace;
mod track;
