// SPDX-License-Identifier: Apache-2.0
//! Clusters as a whole.

pub(super) mod list;
pub(super) mod rt;
