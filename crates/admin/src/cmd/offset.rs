// SPDX-License-Identifier: Apache-2.0
//! Offsets of groups: to move, to copy.

pub(super) mod copy;
mod offline;
pub(super) mod reset;
